"""The page: title, next step, four figures, four tabs, and one sentence where something is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from toughcall.records import IntegrityError, ToughcallError
from toughcall.review import downloading
from toughcall.review import live as lives
from toughcall.review.live import Live, folder, next_step, opened
from toughcall.review.plain import literal

# Less air above the title, the four figures in twos on a phone, and texts that keep their lines. A comment, since
# Streamlit would print a string here.
LOOK = """<style>
.stMainBlockContainer {padding-top: 2.4rem; padding-bottom: 3rem; max-width: 1500px}
[data-testid="stMetric"] {padding: .5rem .9rem}
[data-testid="stMetric"] > div {padding: 0}
[data-testid="stMetricValue"] {font-size: 1.4rem}
@media (max-width: 640px) {
  .st-key-figures [data-testid="stColumn"] {min-width: calc(50% - 1rem); flex: 1 1 calc(50% - 1rem)}
}
.st-key-verdict-PROMOTE {border-left: 6px solid #2e9e5b}
.st-key-verdict-KEEP {border-left: 6px solid #8a94a0}
.st-key-verdict-UNDECIDED {border-left: 6px solid #e0a100}
.st-key-verdict-facts {opacity: .7; font-size: .875rem}
[class*="st-key-record"] [data-testid="stText"] {line-height: 1.55; overflow-wrap: anywhere; white-space: pre-wrap}
</style>"""


def show() -> None:
    """Draw the whole page; a failure a person can act on is a sentence, never a traceback (C82)."""
    import streamlit as st

    st.set_page_config(page_title="toughcall", layout="wide", initial_sidebar_state="collapsed")
    st.html(LOOK)
    st.html(downloading.LOOK)
    try:
        with opened(folder()) as live:
            _page(live)
    except ToughcallError as error:
        _failed(error)
    except sqlite3.Error as error:
        _failed(IntegrityError(f"the ledger cannot be read now ({error}): reload the page, then run toughcall doctor"))


def _failed(error: ToughcallError) -> None:
    """Say what is wrong; the sentence may quote a file, so it is shown letter by letter."""
    import streamlit as st

    st.error("This project cannot be shown.", icon=":material/error:")
    st.text(str(error))


def _page(live: Live) -> None:
    import streamlit as st

    from toughcall.review import tab_labels, tab_model, tab_plan, tab_queue, views

    st.set_page_config(page_title=f"{live.project.name} · toughcall")
    picks, answers = views.asked_picks(live), views.answers_by_item(live)
    head, again = st.columns([8, 1], vertical_alignment="bottom")
    sentence, command = next_step(live)
    names = dict.fromkeys((live.project.name, live.project.kind))
    head.subheader(" · ".join(map(literal, names)), anchor=False)
    head.markdown(f"{sentence} `{command}`")
    again.button("Refresh", icon=":material/refresh:", width="stretch")
    waiting, answered = views.counts(live, picks, answers)
    figures = {
        "Waiting for an answer": f"{waiting:,}",
        "Answered": f"{answered:,}",
        "Labels": f"{len(live.labels[0]):,}",
        "Champion": literal(live.champion) or "none yet",
    }
    with st.container(key="figures"):
        for place, (name, value) in zip(st.columns([1, 1, 1, 2]), figures.items(), strict=True):
            place.metric(name, value, border=True)
    drawn: dict[str, Callable[[], None]] = {
        "Queue": lambda: tab_queue.show(live, picks, answers),
        "Labels": lambda: tab_labels.show(live),
        "Model": lambda: tab_model.show(live),
        "Plan": lambda: tab_plan.show(live),
    }
    # only what is looked at is computed, and the address says which tab that is
    more: dict[str, Any] = {"key": "tab", "bind": "query-params", "on_change": "rerun"} if lives.LAZY else {}
    for tab, draw in zip(st.tabs(list(drawn), **more), drawn.values(), strict=True):
        if tab.open or not lives.LAZY:
            with tab:
                draw()


if __name__ == "__main__":
    show()
