"""The plan tab: whether more labels pay, what each class lacks, and what that takes in answers, hours and money."""

from __future__ import annotations

from typing import Literal

from toughcall.review import planned
from toughcall.review.live import Live, folder
from toughcall.review.plain import literal
from toughcall.review.verdict import in_words

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
    positives = int(
        at[0].number_input("Examples wanted of each class", 5, 10_000, 20, key="positives", persist_state="session")
    )
    price = float(
        at[1].number_input("An expert's hour costs", 0.0, 10_000.0, 0.0, step=5.0, key="price", persist_state="session")
    )
    gain = float(
        at[2].number_input(
            "A gain worth having", 0.0, 0.5, 0.0, 0.005, format="%.3f", key="gain", persist_state="session"
        )
    )
    compute = st.cache_data(show_spinner="Reading answers and retrains", max_entries=16)(planned.planned_at)
    found = compute(str(folder().resolve()), planned.stamp(live), positives, gain or None, price or None)
    _advice(found)
    if len(found.classes):
        st.markdown("##### What each class has and lacks")
        st.dataframe(found.classes, hide_index=True)
    left, right = st.columns([3, 2], gap="large")
    with left:
        if len(found.needs):
            st.markdown("##### What that takes")
            st.caption(f"answers, with 95 % intervals where they can be told; hours at {found.pace}")
            st.altair_chart(charts_plan.needs(found.needs), width="stretch")
            _table(found, price)
        if not len(found.classes):
            st.caption("The answers are numbers, of which none is rare: there is no class that lacks examples.")
        elif not lacking(found):
            st.success("Every class has what you asked for, and recall of each can be told to ± 0.10.")
        elif untold := [one for one in lacking(found) if one not in set(found.needs["class"])]:
            rare = literal(", ".join(untold))
            st.info(
                f"How many answers that takes cannot be told yet for {rare}: no answer shows how rare it is. Items "
                "drawn at random do, and every round asks some: `toughcall round`"
            )
    with right:
        if len(found.points):
            st.markdown("##### What labels have brought so far")
            names = list(dict.fromkeys(found.points["figure"]))
            figure = st.selectbox(
                "Figure",
                names,
                format_func=in_words,
                label_visibility="collapsed",
                key="plan-figure",
                persist_state="session",
            )
            st.altair_chart(charts_plan.curve(found.points[found.points["figure"] == figure]), width="stretch")
        if len(found.steps):
            _steps(found)


def _advice(found: planned.Planned) -> None:
    """Draw stop or spend; the sentence may quote a label, so it is shown letter by letter."""
    import streamlit as st

    with st.container(border=True, gap="small", key="advice"):
        colour, icon = BADGES.get(found.advice, ("orange", ":material/question_mark:"))
        st.badge(found.advice, color=colour, icon=icon)
        # the badge says the advice already
        st.text(in_words(found.sentence).removeprefix(f"{found.advice}: "))


def lacking(found: planned.Planned) -> list[str]:
    """Return the classes that there is still something to do for, in their order."""
    return list(dict.fromkeys(found.steps["class"]))


def _steps(found: planned.Planned) -> None:
    """Draw what to do as lines that wrap: a table would cut them where the command stands."""
    import streamlit as st

    st.markdown("##### What to do next")
    rows = found.steps.to_dict("records")
    for label in list(dict.fromkeys(row["class"] for row in rows[:STEPS])):
        lines = [literal(str(row["next"])) for row in rows[:STEPS] if row["class"] == label]
        st.markdown("\n".join([f"**{literal(str(label))}**", "", *(f"- {line}" for line in lines)]))
    if len(rows) > STEPS:
        st.caption(f"and {len(rows) - STEPS:,} more: `toughcall plan`")


def _table(found: planned.Planned, price: float) -> None:
    import numpy as np
    import streamlit as st

    config = st.column_config
    shown = found.needs.drop(columns=["low", "high", *([] if price else ["price"])])
    shown["answers"] = np.ceil(shown["answers"]).astype("int64")
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            "answers": config.NumberColumn(format="localized", help="the likeliest number; the chart has its interval"),
            "hours": config.NumberColumn(format="%.1f"),
            "price": config.NumberColumn(format="localized"),
        },
    )
