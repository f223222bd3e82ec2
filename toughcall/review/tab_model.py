"""The model tab: the last verdict and the figures it stands on."""

from __future__ import annotations

from typing import Literal

from toughcall.review import verdict
from toughcall.review.live import Live
from toughcall.review.plain import literal

# the banner's edge is coloured in page.LOOK by its key
BADGES: dict[str, tuple[Literal["green", "gray", "orange"], str]] = {
    "PROMOTE": ("green", ":material/check:"),
    "KEEP": ("gray", ":material/remove:"),
    "UNDECIDED": ("orange", ":material/question_mark:"),
}


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    from toughcall.review import charts

    events = live.retrains
    last = verdict.judged(events, live.champion)
    if last is None:
        st.info("No model has been judged yet. Train and judge one: `toughcall retrain`")
        return
    _banner(last, live.champion)
    event = events[-1]
    table, classes, dimensions = verdict.figures(event), verdict.per_class(event), verdict.per_dimension(event)
    checks, history = verdict.checks(event), verdict.rounds(events)
    if table.empty:
        st.info("This model was not measured: too few held-out labels for a verdict yet. Ask more: `toughcall round`")
    left, right = st.columns(2, gap="large")
    with left:
        if len(table):
            st.markdown("##### Against champion and baselines")
            n, floor = int(table["n"].iloc[-1]), ", ".join(table["role"][table["floor"]])
            dashed = f"; dashed: {literal(floor)}" if floor else ""
            st.caption(f"on the same {n} held-out items, with 95 % intervals{dashed}")
            st.altair_chart(charts.figures(table, verdict.ROLES[verdict.WINNER]), width="stretch")
        if len(dimensions):
            st.markdown("##### Error per dimension")
            st.caption("in each dimension's own units; beside it the error of always saying the training mean")
            two = {
                name: st.column_config.NumberColumn(format="%.2f") for name in ("MAE", "mean's MAE", "RMSE", "Spearman")
            }
            st.dataframe(
                dimensions, hide_index=True, column_config={**two, "held out": st.column_config.NumberColumn()}
            )
        elif len(classes):
            st.markdown("##### F1 per class")
            st.altair_chart(charts.per_class(classes), width="stretch")
    with right:
        if len(checks):
            st.markdown("##### Checks of the gate")
            width = {"check": 150, "passed": 70}
            fixed = {name: st.column_config.TextColumn(width=size) for name, size in width.items()}
            st.dataframe(checks, hide_index=True, column_config=fixed)
        if len(history) > 1:
            st.markdown("##### Round by round")
            st.caption("the candidate of each retrain; dashed: what it has to beat")
            metric = str(table["metric"].iloc[-1]) if len(table) else "value"
            st.altair_chart(charts.rounds(history, metric), width="stretch")


def _banner(last: verdict.Judged, champion: str) -> None:
    """Draw the verdict; its sentence may quote a label, so it is shown letter by letter."""
    import streamlit as st

    with st.container(border=True, gap="small", key=f"verdict-{last.outcome}"):
        colour, icon = BADGES[last.outcome]
        st.badge(last.outcome, color=colour, icon=icon)
        st.text(last.sentence)
        if last.dead:
            st.text(f"Never predicted: {', '.join(last.dead)}")
        serving = "now in service" if last.serving else f"in service: {champion or 'no model yet'}"
        facts = [last.version or "not stored", f"trained on {last.labels:,} labels", serving]
        if last.left_out:
            facts.append("left out: " + ", ".join(f"{n} {why}" for why, n in last.left_out))
        with st.container(key="verdict-facts"):
            st.text(" · ".join(facts))
