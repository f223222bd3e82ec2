"""The queue tab: where the model is unsure, what was asked and why, and one item in full."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from toughcall.records import digest
from toughcall.review import views
from toughcall.review.live import Live
from toughcall.review.plain import literal

if TYPE_CHECKING:
    import pandas as pd

CALLED = {views.OPEN: "Open batches", views.ALL: "All batches", views.UNASKED: "Not asked yet"}


def show(live: Live, picks: views.Picks, answers: views.Answers) -> None:
    """Draw the tab."""
    import streamlit as st

    if not live.counts[0]:
        st.info("There are no records yet. Import a file: `toughcall import FILE --text COLUMN`")
        return
    column, band = _scores(live)
    if live.scored is None and not picks:
        return
    wanted = _filters(live, picks, column, band)
    key = digest("queue", repr(wanted))[:12]
    table, item = st.columns(2 if live.kind.paired else [7, 5], gap="large")
    with table:
        number = st.session_state.get(f"page-{key}", 1)
        page = views.queue_page(live, replace(wanted, page=number - 1), picks, answers)
        pages = max(1, -(-page.total // views.PAGE))
        if page.rows.empty:
            st.info("No item matches these filters.")
            return
        chosen = _table(live, page.rows, f"{key}-{number}", column)
        first = page.number * views.PAGE
        said, turn = st.columns([4, 1], vertical_alignment="center")
        said.caption(f"{first + 1:,}–{first + len(page.rows):,} of {page.total:,} items. Select a row to read it.")
        if pages > 1:
            turn.number_input("Page", 1, pages, key=f"page-{key}", label_visibility="collapsed")
    one = views.detail(live, str(page.rows["item"].iloc[chosen]), picks, answers)
    with item:
        if one is None:
            st.info("This item is not in the pool. Find out why: `toughcall doctor`")
        else:
            _item(one)


def _scores(live: Live) -> tuple[str, tuple[float, float] | None]:
    """Draw the histogram; return the chosen class and the chosen band, None where scores have no band."""
    import streamlit as st

    from toughcall.review import charts

    settings = live.project.mine
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
    drawn, chosen = st.columns([4, 1], gap="large")
    with chosen:
        column = ""
        if len(scored.labels) > 1:
            whole = "two likeliest classes" if live.schema.single else "least certain class"
            names = ["", *scored.labels]
            column = st.selectbox("Score", names, format_func=lambda one: one or whole.capitalize(), key="column") or ""
        band = st.slider("Uncertain band", 0.0, 1.0, (settings.low, settings.high), 0.025, key="band")
    found = views.histogram(live, column, *band)
    if found is not None:
        chosen.caption(f"{found.in_band:,} of {found.total:,} scored items are in the band")
        name, start = views.score_name(live, column), views.score_start(live, column, band[0])
        drawn.altair_chart(charts.scores(found.bars, band, name, start), width="stretch")
    return column, band


def _filters(live: Live, picks: views.Picks, column: str, band: tuple[float, float] | None) -> views.Filter:
    import streamlit as st

    scored = live.scored
    names = list(dict.fromkeys(batch for batch, _ in picks))
    still_open = any(live.states[name] != "done" for name in names)
    shown = [views.OPEN] * still_open + [views.ALL] * bool(names) + [views.UNASKED] * bool(scored) + names
    at = st.columns([1.2, 1.2, 1.2, 2.2, 1.1], vertical_alignment="bottom")
    which = at[0].selectbox("Show", shown, format_func=lambda one: CALLED.get(one, f"Batch {one}"), key="shown")
    unasked = which == views.UNASKED
    reason = at[1].selectbox(
        "Reason",
        ["", *views.reasons(picks)],
        format_func=lambda one: views.worded(one) or "All reasons",
        key="reason",
        disabled=unasked,
    )
    classes = ["", *(live.schema.labels if scored else ())]
    label = at[2].selectbox(
        "Class", classes, format_func=lambda one: one or "All classes", key="class", disabled=len(classes) == 1
    )
    search = at[3].text_input("Text contains", key="search")
    inside = at[4].toggle("In the band", key="inside", disabled=band is None)
    return views.Filter(
        which, "" if unasked else reason or "", label or "", column, band if inside else None, search or ""
    )


def _table(live: Live, rows: pd.DataFrame, key: str, column: str) -> int:
    """Draw the rows and return the place of the selected one, the first when none is selected."""
    import streamlit as st

    config, paired = st.column_config, live.kind.paired
    wanted = ("text", "text_b" if paired else "class", "score", "reason", "answer")
    order = [name for name in wanted if (rows[name] != "").any()]
    chosen = st.dataframe(
        rows.assign(answer=rows["answer"].where(rows["answer"] != "", rows["state"])),
        hide_index=True,
        height=min(len(rows), 12) * 35 + 38,
        column_order=order,
        column_config={
            "text": config.TextColumn("A" if paired else "Text", width=125 if paired else 250),
            "text_b": config.TextColumn("B", width=125),
            "class": config.TextColumn("Class", width=90, help="the model's guess"),
            "score": config.ProgressColumn(
                "Score", width=90, format="%.2f", min_value=0, max_value=1, help=views.score_name(live, column)
            ),
            "reason": config.TextColumn("Reason", width=95),
            "answer": config.TextColumn("Answer", width=90),
        },
        on_select="rerun",
        selection_mode="single-row",
        key=f"table-{key}",
    )
    picked = list(chosen.selection.rows)
    return picked[0] if picked and picked[0] < len(rows) else 0


def _item(one: views.Detail) -> None:
    """Draw one item: its texts letter by letter, side by side for a pair (C78), then why it was asked."""
    import streamlit as st

    from toughcall.review import charts

    tall: int | Literal["content"] = (
        300 if any(len(text) > 500 or text.count("\n") > 8 for _, text in one.texts) else "content"
    )
    titled = zip(st.columns(len(one.texts)), views.titles(one), one.texts, strict=True)
    for number, (place, title, (_, text)) in enumerate(titled):
        with place:
            st.caption(literal(title))
            with st.container(border=True, height=tall, key=f"record-{number}"):
                st.text(text)
    if one.cut:
        st.caption(f"Only the first {views.LONGEST:,} characters of a long text are shown.")
    left, right = st.columns(2)
    for batch, pick in one.picks:
        left.caption(f"Why it was asked · {literal(batch)}")
        left.text(f"{views.worded(pick.reason)}: {pick.note}" if pick.note else views.worded(pick.reason))
    if not one.picks:
        left.caption("Why it was asked")
        left.text("not asked yet")
    right.caption("What was answered")
    right.text("\n".join(f"{answer.annotator}: {views.said([answer])}" for answer in one.answers) or "nothing yet")
    if len(one.chances):
        st.caption("Calibrated probability")
        st.altair_chart(charts.chances(one.chances.head(8)), width="stretch")
    if len(one.numbers):
        st.caption("Predicted numbers")
        st.dataframe(one.numbers, hide_index=True)
