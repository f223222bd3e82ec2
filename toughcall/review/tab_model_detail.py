"""One model in detail: figures and checks, what its held-out rows show, and the gate's history."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from toughcall.review import held_out, rounds, tab_model_rows, verdict
from toughcall.review.live import Live
from toughcall.review.plain import literal
from toughcall.review.tab_model_rows import CALIBRATION, ERRORS, THRESHOLDS

FIGURES, GATE = "Figures", "Gate history"
HISTORY = 20
"""So many retrains are told in full."""


def show(live: Live) -> None:
    """Draw the choice of model and view, then the view."""
    import streamlit as st

    from toughcall.model.registry import Registry

    events = live.retrains
    judged = {str(event.get("version") or ""): event for event in events}
    names = held_out.versions(events, Registry(live.project.models).versions())
    state = st.session_state
    # what was chosen stays while other tabs are looked at, but a new model is shown at once
    if names and state.get("model-newest") != names[0]:
        state["model-newest"] = state["model"] = names[0]
    place, choice = st.columns([2, 5], vertical_alignment="bottom")
    version = ""
    if names:
        version = place.selectbox(
            "Model", names, format_func=lambda one: _called(live, judged, one), key="model", persist_state="session"
        )
    options = [FIGURES, ERRORS, CALIBRATION, THRESHOLDS, GATE] if live.kind.labelled else [FIGURES, ERRORS, GATE]
    view = choice.segmented_control(
        "View",
        options,
        default=FIGURES,
        required=True,
        key="model-view",
        label_visibility="collapsed",
        wrap=True,
        persist_state="session",
    )
    event = judged.get(version, {})
    if view == GATE:
        _history(live)
    elif view == FIGURES:
        _figures(event)
    else:
        tab_model_rows.show(live, version, str(view))


def _called(live: Live, judged: Mapping[str, verdict.Event], version: str) -> str:
    """Return a model's name with its verdict, and whether it serves."""
    outcome = str(judged.get(version, {}).get("outcome") or "never judged")
    return " · ".join([version, outcome, *(["in service"] * (version == live.champion))])


def _figures(event: verdict.Event) -> None:
    """Draw the figures beside champion and baselines, the gate's checks, and each class."""
    import streamlit as st

    from toughcall.review import charts

    table, classes, dimensions = verdict.figures(event), verdict.per_class(event), verdict.per_dimension(event)
    checks = verdict.checks(event)
    if not event:
        st.info("No verdict of this model is in the ledger. Judge one: `toughcall retrain`")
    elif table.empty:
        st.info("This model was not measured: too few held-out labels for a verdict yet. Ask more: `toughcall round`")
    left, right = st.columns(2, gap="large")
    with left:
        if len(table):
            st.markdown("##### Against champion and baselines")
            n, floor = int(table["n"].iloc[-1]), verdict.floor_of(event)
            dashed = f"; dashed: {literal(floor)}" if floor else ""
            st.caption(f"on the same {n:,} held-out items, with 95 % intervals{dashed}")
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
    with right:
        if len(checks):
            st.markdown("##### Checks of the gate")
            _checks(checks)
        if len(classes) and not len(dimensions):
            st.markdown("##### F1 per class")
            st.altair_chart(charts.per_class(classes), width="stretch")


def _checks(table: Any) -> None:
    """Draw the checks in a table that wraps: what a check says ends with its figures. Its cells are Markdown (C78)."""
    import streamlit as st

    st.table(table.map(lambda one: literal(str(one))), hide_index=True, border="horizontal")


def _history(live: Live) -> None:
    """Draw how often the sealed set was opened, who served, and every retrain with its checks."""
    import streamlit as st

    from toughcall.judging import luck

    events = live.store.events()
    seals = rounds.seals(events)
    if seals:
        newest = seals[-1]
        looks = ", ".join(newest.looks) or "no model yet"
        times = f"; sealed anew {len(seals) - 1} times before" if len(seals) > 1 else ""
        st.text(f"The sealed set of {newest.items:,} items has judged {len(newest.looks)}: {looks}{times}.")
        if sentence := luck(len(newest.looks), live.project.gate.confidence):
            st.text(sentence)
    else:
        st.text("No test set is sealed yet: the first retrain with enough held-out labels seals it.")
    if moves := rounds.moves(events):
        # to promote what serves already is an event too, and no change
        each = [" ".join(move) for move, _ in itertools.groupby(moves)]
        st.text(f"In service: {', then '.join(each)}")
    told = list(enumerate(live.retrains, start=1))[::-1]
    st.caption(f"{min(len(told), HISTORY)} of {len(told)} retrains, the newest first")
    for place, event in told[:HISTORY]:
        one = verdict.judged([event], live.champion)
        assert one is not None, "there is an event"
        title = f"{place} · {one.version or 'not stored'} · {one.outcome} · {one.labels:,} labels"
        with st.expander(literal(title), expanded=place == len(told)):
            st.text(verdict.in_words(one.sentence))
            checks, table = verdict.checks(event), verdict.figures(event)
            if len(checks):
                _checks(checks)
            if len(table):
                numbers = {name: st.column_config.NumberColumn(format="%.3f") for name in ("value", "low", "high")}
                st.dataframe(table.drop(columns=["floor"]), hide_index=True, column_config=numbers)
