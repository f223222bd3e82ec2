"""The model tab: the last verdict and the figures it stands on."""

from __future__ import annotations

from toughcall.review import verdict
from toughcall.review.live import Live

BADGES = {
    "PROMOTE": ("green", ":material/check:"),
    "KEEP": ("orange", ":material/block:"),
    "UNDECIDED": ("gray", ":material/question_mark:"),
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
    with st.container(border=True):
        badge, words = st.columns([1, 7], vertical_alignment="center")
        colour, icon = BADGES.get(last.outcome, BADGES["UNDECIDED"])
        badge.badge(last.outcome if last.outcome in BADGES else "UNDECIDED", color=colour, icon=icon)
        serving = "in service" if last.serving else f"in service: {live.champion or 'no model yet'}"
        words.text(last.sentence)
        words.text(f"{last.version or 'not stored'} · {last.labels:,} labels · {serving}")
    event = events[-1]
    table = verdict.figures(event)
    if table.empty:
        st.info("This model was not measured: there are too few held-out labels for a verdict yet.")
    left, right = st.columns(2, gap="large")
    with left:
        if len(table):
            st.subheader("Against champion and baselines", anchor=False)
            st.altair_chart(charts.figures(table, verdict.ROLES[verdict.WINNER]), width="stretch")
        classes = verdict.per_class(event)
        if len(classes):
            st.subheader("F1 per class", anchor=False)
            st.altair_chart(charts.per_class(classes), width="stretch")
    with right:
        checks = verdict.checks(event)
        if len(checks):
            st.subheader("Checks", anchor=False)
            st.dataframe(checks, hide_index=True)
        history = verdict.rounds(events)
        if len(history) > 1:
            st.subheader("By retrain", anchor=False)
            metric = str(table["metric"].iloc[-1]) if len(table) else "value"
            st.altair_chart(charts.rounds(history, metric), width="stretch")
    missing = verdict.left_out(event)
    if missing:
        st.text("Labels left out: " + ", ".join(f"{n} {why}" for why, n in missing))
