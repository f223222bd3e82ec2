"""The plan tab: whether more labels pay, what each class lacks, and what that takes in answers, hours and money."""

from __future__ import annotations

from typing import Literal

from toughcall.review import planned
from toughcall.review.live import Live, folder

BADGES: dict[str, tuple[Literal["green", "gray", "orange"], str]] = {
    "spend": ("green", ":material/trending_up:"),
    "stop": ("gray", ":material/stop_circle:"),
}
STEPS = 12
"""So many things to do are listed."""


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    from toughcall.review import charts_plan

    if not live.counts[0]:
        st.info("There is nothing to plan yet. Import a file: `toughcall import FILE --text COLUMN`")
        return
    at = st.columns([1, 1, 1], vertical_alignment="bottom")
    positives = int(at[0].number_input("Examples wanted of each class", 5, 10_000, 20, key="positives"))
    price = float(at[1].number_input("An expert's hour costs", 0.0, 10_000.0, 0.0, step=5.0, key="price"))
    gain = float(at[2].number_input("A gain worth having", 0.0, 0.5, 0.0, 0.005, format="%.3f", key="gain"))
    compute = st.cache_data(show_spinner="Reading answers and retrains", max_entries=16)(planned.planned_at)
    found = compute(str(folder().resolve()), planned.stamp(live), positives, gain or None, price or None)
    _advice(found)
    left, right = st.columns([3, 2], gap="large")
    with left:
        if len(found.classes):
            st.markdown("##### What each class has and lacks")
            st.dataframe(found.classes, hide_index=True)
        if len(found.needs):
            st.markdown("##### What that takes")
            st.caption(f"answers, with 95 % intervals where they can be told; hours at {found.pace}")
            st.altair_chart(charts_plan.needs(found.needs), width="stretch")
            _table(found, price)
        elif len(found.classes):
            st.success("Every class has what you asked for, and recall of each can be told to ± 0.10.")
    with right:
        if len(found.points):
            st.markdown("##### What labels have brought so far")
            names = list(dict.fromkeys(found.points["figure"]))
            worded = {name: name.replace("_", " ") for name in names}
            figure = st.selectbox("Figure", names, format_func=worded.__getitem__, label_visibility="collapsed")
            st.altair_chart(charts_plan.curve(found.points[found.points["figure"] == figure]), width="stretch")
        if len(found.steps):
            st.markdown("##### What to do next")
            st.dataframe(
                found.steps, hide_index=True, column_config={"next": st.column_config.TextColumn(width="large")}
            )


def _advice(found: planned.Planned) -> None:
    """Draw stop or spend; the sentence may quote a label, so it is shown letter by letter."""
    import streamlit as st

    with st.container(border=True, gap="small", key="advice"):
        colour, icon = BADGES.get(found.advice, ("orange", ":material/question_mark:"))
        st.badge(found.advice, color=colour, icon=icon)
        st.text(found.sentence)


def _table(found: planned.Planned, price: float) -> None:
    import streamlit as st

    config = st.column_config
    shown = found.needs.drop(columns=["low", "high", *([] if price else ["price"])])
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            "answers": config.NumberColumn(format="localized", help="the likeliest number; the chart has its interval"),
            "hours": config.NumberColumn(format="%.1f"),
            "price": config.NumberColumn(format="localized"),
        },
    )
