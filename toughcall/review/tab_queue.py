"""The queue tab: where the model is unsure, what was asked and why, one item in full, and what reviewers decide.

Everything can be reached with Tab and pressed with Enter; what is done with one item again and again also has a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from toughcall.records import digest
from toughcall.review import differing, downloading, progress, queue_actions, queue_item, verdict, views
from toughcall.review.live import Live
from toughcall.review.plain import literal

if TYPE_CHECKING:
    import pandas as pd

    from toughcall.review.score_views import Histogram

CALLED = {
    views.OPEN: "Open batches",
    views.ALL: "All batches",
    views.UNASKED: "Not asked yet",
    views.WANTED: "Approved and pinned",
    views.ASIDE: "Set aside",
    views.EVERY: "Every scored item",
}
STEP = 0.005
"""The band moves in such steps."""
CLASSES = 6
"""So many classes stand beside the histogram."""
TALLEST = 18
"""So many rows are in sight at once."""


def show(live: Live, picks: views.Picks, answers: views.Answers) -> None:
    """Draw the tab."""
    import streamlit as st

    if not live.counts[0]:
        st.info("There are no records yet. Import a file: `toughcall import FILE --text COLUMN`")
        return
    st.html(differing.LOOK)
    reviewed = views.decided(live, picks)
    column, band = _scores(live)
    if live.scored is None and not picks:
        return
    chosen = _filters(live, picks, column, band, reviewed)
    queue_actions.push_bar(live, picks, answers, reviewed)
    key = digest("queue", repr(chosen))[:12]
    left, right = st.columns(2 if live.kind.paired else [7, 5], gap="large")
    with left:
        number = st.session_state.get(f"page-{key}", 1)
        page = views.queue_page(live, replace(chosen, page=number - 1), picks, answers, reviewed)
        if number > 1 and page.rows.empty:
            # the list became shorter while somebody was on its last page
            total = views.queue_page(live, chosen, picks, answers, reviewed).total
            st.session_state[f"page-{key}"] = number = max(1, -(-total // views.PAGE))
            page = views.queue_page(live, replace(chosen, page=number - 1), picks, answers, reviewed)
        pages = max(1, -(-page.total // views.PAGE))
        ids = list(page.rows["item"])
        # rows are selected by their places: a list of other items is another table, in which none is selected yet
        table = f"table-{key}-{digest('rows', ids)[:12]}"
        marked = _table(live, page.rows, table, column)
        # an item that was just decided may have left the list: it stays in sight, so that it can be taken back
        at = queue_actions.place(key, table, ids, marked)
        if not (ids or at):
            st.info(_nothing(live, chosen))
            return
        first = page.number * views.PAGE
        said, saved, turn = st.columns([5, 1.5, 1.5], vertical_alignment="center")
        rows = f"{first + 1:,}–{first + len(ids):,} of {page.total:,} items" if ids else "Nothing is left here"
        said.caption(f"{rows}. Select a row to read it, several to decide on them together.")
        if ids:
            with saved:
                downloading.button(page.rows, f"{live.project.name}-queue", key="queue-csv")
        if pages > 1:
            turn.number_input(
                "Page", 1, pages, key=f"page-{key}", label_visibility="collapsed", persist_state="session"
            )
    states = dict(zip(ids, page.rows["state"], strict=True))
    shown = views.detail(live, at, picks, answers)
    with right:
        together = [ids[row] for row in marked if row < len(ids)] or [at]
        if at not in states:
            states[at] = queue_item.state(live, at, picks, answers, reviewed)
        if shown is None:
            st.info("This item is not in the pool. Find out why: `toughcall doctor`")
        else:
            queue_item.records(shown)
        queue_actions.bar(key, ids, at, {one: states[one] for one in together}, reviewed)
        if shown is not None:
            queue_item.show(live, shown, states[at], reviewed)


def _nothing(live: Live, chosen: views.Filter) -> str:
    """Return why there is no row, and what to do."""
    if chosen.search.strip() or chosen.label or chosen.reason:
        return "No item matches these filters. Take one back, or show every scored item."
    if chosen.band is not None:
        low, high = chosen.band
        return (
            f"No item matches: none of these has a score from {low:.3f} to {high:.3f}. Widen the band, or let mining "
            "choose: `toughcall round`"
        )
    if chosen.show == views.WANTED:
        return "Nothing is approved or pinned that was not asked already. Choose items under “Not asked yet”."
    if chosen.show == views.ASIDE:
        return "Nothing is set aside."
    if chosen.show == views.UNASKED:
        if verdict.all_held_out(live):
            return (
                "Every record is held out: it measures models, and nobody is asked about it by hand; it stands under "
                f"“{CALLED[views.EVERY]}”. Import records to learn from: `toughcall import FILE --text COLUMN`"
            )
        said = (
            "Everything that is scored was asked, answered or set aside, or is held out. Import more: "
            "`toughcall import FILE --text COLUMN`"
        )
        lacks, _ = verdict.untrained(live, progress.classes(live))
        return said if lacks else f"{said}, or learn from the answers: `toughcall retrain`"
    return "Nothing was asked in this batch. Choose the next one: `toughcall round`"


# ---- scores and the band


def _scores(live: Live) -> tuple[str, tuple[float, float] | None]:
    """Draw the histogram; return the chosen class and the chosen band, None where scores have no band."""
    import streamlit as st

    from toughcall.review import charts, charts_queue

    scored = live.scored
    if scored is None:
        st.info("Nothing is scored yet. Score the pool: `toughcall score`")
        return "", None
    if not live.kind.labelled:
        # numbers have a width and no middle: there is no band to ask in
        found = views.histogram(live, "", 0.0, 1.0)
        assert found is not None, "there are scores"
        st.caption(f"{found.total:,} scored items")
        st.altair_chart(charts.scores(found.bars, None, views.score_name(live, "")), width="stretch")
        return "", None
    _band_begins(live)
    drawn, beside, chosen = st.columns([6, 2.4, 2.2], gap="medium")
    with chosen:
        column = ""
        if len(scored.labels) > 1:
            whole = "two likeliest classes" if live.schema.single else "least certain class"
            names = ["", *scored.labels]
            column = (
                st.selectbox(
                    "Score",
                    names,
                    format_func=lambda one: one or whole.capitalize(),
                    key="column",
                    persist_state="session",
                )
                or ""
            )
        st.slider("Uncertain band", 0.0, 1.0, step=STEP, key="band", on_change=_slid)
        low, high = st.columns(2)
        low.number_input("From", 0.0, 1.0, step=STEP, format="%.3f", key="band-low", on_change=_typed)
        high.number_input("To", 0.0, 1.0, step=STEP, format="%.3f", key="band-high", on_change=_typed)
    band: tuple[float, float] = st.session_state["band"]
    found = views.histogram(live, column, *band)
    assert found is not None, "there are scores"
    name, start = views.score_name(live, column), views.score_start(live, column, band[0])
    with drawn:
        begun = st.session_state["band-begun"]
        key = f"drawn-{st.session_state['band-turn']}"
        alt = f"Histogram of {found.total} scores, {found.in_band} of them in the band"
        st.altair_chart(
            charts_queue.scores(found.bars, begun, name, start),
            width="stretch",
            key=key,
            on_select=lambda: _drawn(key),
            alt=alt,
        )
    with beside:
        _in_the_band(found, band)
    return column, band


def _in_the_band(found: Histogram, band: tuple[float, float]) -> None:
    """Say how many items are in the band, and of which classes."""
    import streamlit as st

    from toughcall.review import charts_queue

    st.markdown(f"**{found.in_band:,}** of {found.total:,} in the band")
    if not found.in_band:
        st.caption(
            f"No score lies from {band[0]:.3f} to {band[1]:.3f}. Widen the band, or ask what else is worth it: "
            "`toughcall round`"
        )
    elif len(found.classes):
        st.altair_chart(charts_queue.classes(found.classes.head(CLASSES)), width="stretch")
        if (more := len(found.classes) - CLASSES) > 0:
            st.caption(f"and {more} more classes")
    if found.only and found.total > 1:
        st.caption(
            f"The model takes every item for “{literal(found.only)}”. Answers teach it the others: `toughcall round`"
        )


def _band_begins(live: Live) -> None:
    """Set the band to the project's where nobody moved it yet; what was drawn stays in step with what is typed."""
    import streamlit as st

    state, settings = st.session_state, live.project.mine
    if "band" not in state:
        state["band"] = state.get("band-kept") or (settings.low, settings.high)
    state["band-low"], state["band-high"] = state["band-kept"] = state["band"]
    state.setdefault("band-turn", 0)
    state.setdefault("band-begun", state["band"])


def set_band(low: float, high: float, *, drawn: bool) -> None:
    """Move the band; what it holds is then what the rows show. Only a band that was not drawn is drawn anew."""
    import streamlit as st

    state = st.session_state
    low, high = sorted((min(1.0, max(0.0, low)), min(1.0, max(0.0, high))))
    moved = (round(low, 4), round(high, 4))
    if drawn and moved == state.get("band-kept"):
        return
    state["band"] = state["band-kept"] = moved
    state["inside"] = True
    if not drawn:
        state["band-turn"] = state.get("band-turn", 0) + 1
        state["band-begun"] = moved


def _slid() -> None:
    import streamlit as st

    set_band(*st.session_state["band"], drawn=False)


def _typed() -> None:
    import streamlit as st

    set_band(st.session_state["band-low"], st.session_state["band-high"], drawn=False)


def _drawn(key: str) -> None:
    """Take over what was drawn on the chart, in steps; a click that draws nothing changes nothing."""
    import streamlit as st

    from toughcall.review.charts_queue import BAND

    ends: Sequence[float] = st.session_state[key].get("selection", {}).get(BAND, {}).get("low", ())
    if len(ends) == 2 and abs(ends[1] - ends[0]) >= STEP:
        set_band(*(round(end / STEP) * STEP for end in ends), drawn=True)


# ---- filters and rows


def _filters(
    live: Live, picks: views.Picks, column: str, band: tuple[float, float] | None, reviewed: views.Decided
) -> views.Filter:
    import streamlit as st

    scored = live.scored
    names = list(dict.fromkeys(batch for batch, _ in picks))
    still_open = any(live.states[name] != "done" for name in names)
    first = [views.OPEN] * still_open + [views.UNASKED] * bool(scored)
    rest = [views.WANTED, views.ASIDE] * bool(scored or reviewed.last) + [views.ALL] * bool(names)
    shown = [*first, *rest, *[views.EVERY] * bool(scored), *names]
    classes = ["", *(live.schema.labels if scored else ())]
    offered = {"shown": shown, "reason": ["", *views.reasons(picks)], "class": classes, "search": None, "inside": None}
    _as_before(offered)
    at = st.columns([1.3, 1.2, 1.2, 2, 1.1], vertical_alignment="bottom")
    which = at[0].selectbox("Show", shown, format_func=lambda one: CALLED.get(one, f"Batch {one}"), key="shown")
    unasked = which in (views.UNASKED, views.EVERY, views.WANTED, views.ASIDE)
    reason = at[1].selectbox(
        "Reason",
        offered["reason"] or [""],
        format_func=lambda one: views.worded(one) or "All reasons",
        key="reason",
        disabled=unasked,
    )
    label = at[2].selectbox(
        "Class", classes, format_func=lambda one: one or "All classes", key="class", disabled=len(classes) == 1
    )
    search = at[3].text_input("Text contains", key="search")
    inside = at[4].toggle("In the band", key="inside", disabled=band is None)
    st.session_state["queue-filters"] = {name: st.session_state[name] for name in offered}
    return views.Filter(
        which, "" if unasked else reason or "", label or "", column, band if inside else None, search or ""
    )


def _as_before(offered: Mapping[str, Sequence[str] | None]) -> None:
    """Set the filters to what they were before another tab was looked at, as far as it is still offered."""
    import streamlit as st

    for name, value in st.session_state.get("queue-filters", {}).items():
        options = offered[name]
        if name not in st.session_state and (options is None or value in options):
            st.session_state[name] = value


def _table(live: Live, rows: pd.DataFrame, key: str, column: str) -> list[int]:
    """Draw the rows and return the places of the selected ones."""
    import streamlit as st

    if rows.empty:
        return []
    config, paired = st.column_config, live.kind.paired
    wanted = ("text", "text_b" if paired else "class", "score", "state", "reason", "answer")
    order = [name for name in wanted if (rows[name] != "").any()]
    by = rows["by"].where(rows["by"] == "", " · " + rows["by"])
    chosen = st.dataframe(
        rows.assign(state=rows["state"] + by),
        hide_index=True,
        height=min(len(rows), TALLEST) * 35 + 38,
        column_order=order,
        column_config={
            "text": config.TextColumn("A" if paired else "Text", width=125 if paired else 230),
            "text_b": config.TextColumn("B", width=125),
            "class": config.TextColumn("Class", width=80, help="the model's guess"),
            "score": config.ProgressColumn(
                "Score", width=80, format="%.2f", min_value=0, max_value=1, help=views.score_name(live, column)
            ),
            "state": config.TextColumn("State", width=95, help="and who decided it"),
            "reason": config.TextColumn("Reason", width=90),
            "answer": config.TextColumn("Answer", width=80),
        },
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
    )
    return [row for row in chosen.selection.rows if row < len(rows)]
