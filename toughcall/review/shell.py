"""The frame of the page: title, next step, three tabs, and one sentence where something is wrong."""

from __future__ import annotations

import sqlite3

from toughcall.records import IntegrityError, ToughcallError
from toughcall.review.live import Live, folder, next_step, opened
from toughcall.review.plain import literal


def show() -> None:
    """Draw the whole page; a failure a person can act on is a sentence, never a traceback (C82)."""
    import streamlit as st

    try:
        with opened(folder()) as live:
            _page(live)
    except ToughcallError as error:
        _failed(error)
    except sqlite3.Error as error:
        _failed(IntegrityError(f"the ledger cannot be read now ({error}): reload the page, then run toughcall doctor"))
    st.space("small")


def _failed(error: ToughcallError) -> None:
    """Say what is wrong; the sentence may quote a file, so it is shown letter by letter."""
    import streamlit as st

    st.set_page_config(page_title="toughcall", layout="wide")
    st.error("This cannot be shown.", icon=":material/error:")
    st.text(str(error))


def _page(live: Live) -> None:
    import streamlit as st

    from toughcall.review import tab_labels, tab_model, tab_queue

    name, kind = live.project.name, live.project.kind
    st.set_page_config(page_title=f"{name} · {kind}", layout="wide", initial_sidebar_state="collapsed")
    head, again = st.columns([8, 1], vertical_alignment="bottom")
    head.header(f"{literal(name)} · {literal(kind)}", anchor=False)
    again.button("Refresh", icon=":material/refresh:", width="stretch")
    sentence, command = next_step(live)
    st.markdown(f"{sentence} `{command}`")
    queue, labels, model = st.tabs(["Queue", "Labels", "Model"])
    with queue:
        tab_queue.show(live)
    with labels:
        tab_labels.show(live)
    with model:
        tab_model.show(live)
