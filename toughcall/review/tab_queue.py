"""The queue tab: where the model is unsure, what was asked and why, and one item in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toughcall.records import Answer, Pick, digest
from toughcall.review import views
from toughcall.review.live import Live
from toughcall.review.plain import literal

if TYPE_CHECKING:
    import pandas as pd

Picks = Sequence[tuple[str, Pick]]
Answers = Mapping[str, Sequence[Answer]]


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    if not live.counts[0]:
        st.info("There are no records yet. Import a file: `toughcall import FILE --text COLUMN`")
        return
    picks = views.asked_picks(live)
    answers = views.answers_by_item(live)
    found = views.counts(live, picks, answers)
    figures = [("Records", found.records)]
    if live.paired:
        figures.append(("Pairs", found.pairs))
    figures += [("Asked", found.asked), ("Answered", found.answered), ("Waiting", found.waiting)]
    for place, (name, value) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(name, f"{value:,}")
    column, band = _scores(live)
    if live.scored is None and not picks:
        return
    _queue(live, picks, answers, column, band)


def _scores(live: Live) -> tuple[str, tuple[float, float]]:
    """Draw the histogram; return the chosen class and the chosen band."""
    import streamlit as st

    from toughcall.review import charts

    settings = live.project.mine
    scored = live.scored
    if scored is None:
        st.info("Nothing is scored yet. Score the pool: `toughcall score`")
        return "", (settings.low, settings.high)
    whole = "likeliest class" if live.schema.single else "least certain class"
    options = list(scored.labels) if live.paired else ["", *scored.labels]
    drawn, chosen = st.columns([3, 1], gap="large")
    with chosen:
        column = st.selectbox("Probability of", options, format_func=lambda one: one or whole, key="column")
        band = st.slider("Uncertain band", 0.0, 1.0, (settings.low, settings.high), 0.025, key="band")
        found = views.histogram(live, column or "", *band)
        if found is not None:
            st.text(f"{found.in_band:,} of {found.total:,} items in the band\nscored by {scored.model}")
    if found is not None:
        with drawn:
            title = f"calibrated probability of {column or 'the ' + whole}"
            st.altair_chart(charts.scores(found.bars, *band, title), width="stretch")
    return column or "", band


def _queue(live: Live, picks: Picks, answers: Answers, column: str, band: tuple[float, float]) -> None:
    import streamlit as st

    st.subheader("Queue", anchor=False)
    wanted = _filters(live, picks, column, band)
    key = digest("queue", repr(wanted))[:12]
    page = views.queue_page(live, wanted, picks, answers)
    pages = max(1, -(-page.total // views.PAGE))
    if pages > 1:
        left, _, right = st.columns([3, 5, 1], vertical_alignment="bottom")
        number = right.number_input("Page", 1, pages, 1, key=f"page-{key}-{pages}")
        page = views.queue_page(live, views.turned(wanted, int(number) - 1), picks, answers)
        first = page.number * views.PAGE
        left.text(f"{first + 1:,}–{first + len(page.rows):,} of {page.total:,} items")
    if page.rows.empty:
        st.info("No item matches these filters.")
        return
    row = _table(page.rows, f"{key}-{page.number}")
    one = views.detail(live, str(page.rows["item"].iloc[row]), picks, answers)
    if one is not None:
        _item(one)


def _filters(live: Live, picks: Picks, column: str, band: tuple[float, float]) -> views.Filter:
    import streamlit as st

    scored = live.scored
    names = list(dict.fromkeys(batch for batch, _ in picks))
    batches = (["", *names] if picks else []) + ([views.UNASKED] if scored else [])
    called = {"": "All batches", views.UNASKED: "Not asked yet"}
    at = st.columns([1.3, 1.3, 1.5, 2.2, 1.2], vertical_alignment="bottom")
    batch = at[0].selectbox("Batch", batches, format_func=lambda one: called.get(one, one), key="batch")
    reasons = ["", *views.reasons(picks)]
    unasked = batch == views.UNASKED
    reason = at[1].selectbox(
        "Reason",
        reasons,
        format_func=lambda one: one.replace("_", " ") or "All reasons",
        key="reason",
        disabled=unasked,
    )
    classes = ["", *(scored.labels if scored else ())]
    label = at[2].selectbox("Class", classes, format_func=lambda one: one or "All classes", key="class")
    search = at[3].text_input("Text contains", key="search")
    inside = at[4].toggle("In the band only", key="inside", disabled=scored is None)
    return views.Filter(
        batch or "", "" if unasked else reason or "", label or "", column, band if inside else None, search
    )


def _table(rows: pd.DataFrame, key: str) -> int:
    """Draw the rows and return the place of the selected one, the first when none is selected."""
    import streamlit as st

    config = st.column_config
    shown = rows.drop(columns=["item"])
    shown["reason"] = shown["reason"].str.replace("_", " ")
    empty = [name for name in ("batch", "reason", "note", "answer") if not shown[name].any()]
    order = [
        name
        for name in ("text", "class", "score", "reason", "note", "answer", "batch")
        if name not in empty
    ]
    chosen = st.dataframe(
        shown,
        hide_index=True,
        height=min(len(shown), 9) * 35 + 38,
        column_order=order,
        column_config={
            "text": config.TextColumn("Text", width="large"),
            "class": config.TextColumn("Class", width="small"),
            "score": config.ProgressColumn("Score", width="small", format="%.2f", min_value=0, max_value=1),
            "reason": config.TextColumn("Reason", width="small"),
            "note": config.TextColumn("Note", width="medium"),
            "answer": config.TextColumn("Answer", width="small"),
            "batch": config.TextColumn("Batch", width="small"),
        },
        on_select="rerun",
        selection_mode="single-row",
        key=f"table-{key}",
    )
    picked = list(chosen.selection.rows)
    return picked[0] if picked and picked[0] < len(rows) else 0


def _item(one: views.Detail) -> None:
    import streamlit as st

    from toughcall.review import charts

    for place, title, (_, text) in zip(st.columns(len(one.texts)), views.titles(one), one.texts, strict=True):
        with place:
            st.caption(literal(title))
            st.code(text, language=None, wrap_lines=True)
    if one.cut:
        st.caption(f"Only the first {views.LONGEST:,} characters of a long text are shown.")
    left, right = st.columns(2, gap="large")
    with left:
        for batch, pick in one.picks:
            st.text(f"{batch} · {pick.reason.replace('_', ' ')} · {pick.note or 'no note'}")
        for answer in one.answers:
            st.text(f"{answer.annotator}: {views.said([answer])}")
        if not one.answers:
            st.text("No answer yet.")
    with right:
        if len(one.chances):
            st.altair_chart(charts.chances(one.chances.head(8)), width="stretch")
