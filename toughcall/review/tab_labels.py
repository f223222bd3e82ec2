"""The labels tab: how far the classes, the batches and the annotators are, and what somebody has to decide."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toughcall.records import Item, Value
from toughcall.review import deciding, planned, progress, verdict, views
from toughcall.review.live import PRESSES, Live, folder
from toughcall.review.plain import literal, short
from toughcall.schema import chosen_of

if TYPE_CHECKING:
    import pandas as pd

CANT = "can't tell"


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    from toughcall.review import charts

    if not live.counts[0]:
        st.info("There are no records to label yet. Import a file: `toughcall import FILE --text COLUMN`")
        return
    batches, people = progress.batches(live), progress.annotators(live)
    if people.empty and batches.empty:
        st.info("No answers yet. Choose the first items and send them to the experts: `toughcall round`")
        return
    _to_decide(live)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Labels per class" if live.kind.labelled else "##### Answers per dimension")
        if people.empty:
            st.info(_unanswered(live))
        else:
            st.caption(progress.totals(live).sentence())
            counted = progress.classes(live)
            lacks, command = verdict.untrained(live, counted)
            if lacks and not live.retrains:
                st.info(f"{literal(lacks)} `{command}`")
            if live.kind.labelled:
                _against_plan(live, counted)
            else:
                st.altair_chart(charts.progress(counted), width="stretch")
                st.caption("What more answers would bring is on the Plan tab: `toughcall plan`")
    with right:
        if len(batches):
            st.markdown("##### Batches")
            bar = st.column_config.ProgressColumn("progress", format="percent", min_value=0, max_value=1)
            st.dataframe(batches, hide_index=True, column_config={"progress": bar})
        if len(people):
            st.markdown("##### Annotators")
            whole = st.column_config.NumberColumn(format="%.0f", help="answers an hour while at work")
            seconds = st.column_config.NumberColumn("seconds", format="%.0f", help="the median of an answer")
            st.dataframe(people, hide_index=True, column_config={"median seconds": seconds, "an hour": whole})
    _pace(live)
    if live.store.batches() and len(people) > 1:
        _agreement(live)


def _unanswered(live: Live) -> str:
    """Return why there is no answer although there is a batch, and what to do."""
    if all(state == "planned" for state in live.states.values()):
        return "No answers yet: the batch is chosen and not sent. Send it to the experts: `toughcall push`"
    return "No answers yet. When experts have answered in Label Studio: `toughcall pull`"


def _against_plan(live: Live, counted: pd.DataFrame) -> None:
    """Draw for each class the labels there are beside those that `toughcall plan` says are needed."""
    import streamlit as st

    from toughcall import planning
    from toughcall.review import charts_labels

    # what the plan tab asks for; nothing of a plan is computed here, however large the project is
    wanted = int(st.session_state.get("positives", planning.POSITIVES))
    aims = charts_labels.aims(counted, _silver(live), live.retrains[-1] if live.retrains else {}, wanted)
    st.altair_chart(charts_labels.against_plan(aims), width="stretch")
    st.caption(
        f"A full bar is what the plan asks for: {wanted} that train, as many again where they taught nothing, and "
        f"{planning.needed()} held out, so that recall is known to ± {planning.WIDTH:.2f}. What that takes in answers "
        "and hours is on the Plan tab: `toughcall plan`"
    )


def _silver(live: Live) -> Counter[str]:
    """Return how many held-out labels of each class no person checked: they measure nothing."""
    known = [label for label in live.labels[0] if label.trust != "gold"]
    records = {label.item: [label.item] for label in known}
    if known and live.kind.items != "texts":
        records = {
            item.id: [text.id for text in item.texts]
            for item in live.pool.items(list(records), live.kind.items).values()
        }
    parts = live.store.parts_of(one for each in records.values() for one in each)
    held = {one for one, each in records.items() if all(parts.get(record) == "test" for record in each)}
    return Counter(name for label in known if label.item in held for name in chosen_of(label.value))


def _pace(live: Live) -> None:
    """Draw how many answers came when, by whom."""
    import streamlit as st

    from toughcall.review import charts_labels

    found = progress.pace(live)
    if found["when"].nunique() > 1:
        st.markdown("##### Answers over time")
        st.altair_chart(charts_labels.pace(found), width="stretch")


def _agreement(live: Live) -> None:
    """Draw how far people agree about each label, with intervals."""
    import streamlit as st

    from toughcall.review import charts_labels

    compute = st.cache_data(show_spinner="Comparing answers", max_entries=8)(progress.agreement)
    labels, people = compute(str(folder().resolve()), planned.stamp(live))
    if not (labels["items"] > 0).any():
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Agreement")
        if labels["alpha"].notna().any():
            st.caption("Krippendorff's alpha with its 95 % interval: 1 is perfect, 0 is chance")
            st.altair_chart(charts_labels.agreement(labels), width="stretch")
        else:
            st.caption(
                f"{int(labels['items'].max()):,} items have two answers: too few, or too alike, for Krippendorff's "
                "alpha. Each expert's items are told by `toughcall agree`"
            )
    if not live.kind.labelled:
        # numbers are near or far, not right or wrong
        return
    with right:
        st.markdown("##### How good is everybody")
        st.caption("accuracy by Dawid and Skene; known items are checks whose answer was known before")
        names = ["annotator", "agrees", "accuracy", "weakest on", "known items right"]
        two = st.column_config.NumberColumn(format="%.2f")
        st.dataframe(people[names], hide_index=True, column_config={"agrees": two, "accuracy": two})


def _to_decide(live: Live) -> None:
    """Draw what somebody has to decide: one case at a time, both sides beside each other."""
    import streamlit as st

    if done := st.session_state.pop("decided", ""):
        st.success(literal(done), icon=":material/gavel:")
    if problem := st.session_state.pop("refused", ""):
        st.warning(literal(problem))
    found: dict[str, Sequence[Any]] = {
        "Disagreements": deciding.disputes(live),
        "Labels that look wrong": deciding.suspects(live),
        "Twins that differ": deciding.contradictions(live),
    }
    open_ = [name for name, cases in found.items() if cases]
    if not open_:
        return
    st.markdown("##### To decide")
    names = {name: f"{name} ({len(found[name]):,})" for name in open_}
    which = st.segmented_control(
        "To decide",
        open_,
        format_func=names.__getitem__,
        default=open_[0],
        label_visibility="collapsed",
        key="case",
        persist_state="session",
    )
    # pressed again it is off
    which = which or open_[0]
    cases = found[which]
    with st.container(border=True, key="disputes"):
        if len(cases) > 1:
            shown = [_title(case) for case in cases]
            at = st.selectbox(
                "Item",
                range(len(cases)),
                format_func=shown.__getitem__,
                label_visibility="collapsed",
                key=f"item of {which}",
                persist_state="session",
            )
        else:
            at = 0
        case = cases[at if at < len(cases) else 0]
        if isinstance(case, tuple):
            _twins(live, *case)
        else:
            _one(live, case)


def _title(case: Any) -> str:
    first = case[0] if isinstance(case, tuple) else case
    return short(" | ".join(first.item.fields().values()), 90)


def _texts(item: Item) -> None:
    """Draw the texts of an item letter by letter (C78)."""
    import streamlit as st

    for place, (name, text) in zip(st.columns(len(item.fields())), item.fields().items(), strict=True):
        with place, st.container(border=True, key=f"record-{name}-{item.id}"):
            st.text(text[: views.LONGEST])


def _one(live: Live, case: deciding.Dispute | deciding.Doubt) -> None:
    """Draw one item with what was said of it, by whom, and the form that decides."""
    import streamlit as st

    _texts(case.item)
    if isinstance(case, deciding.Dispute):
        sides = {value: ", ".join(people) for value, people in deciding.chosen(case.answers).items()}
    else:
        sure = f"models that did not see it; they bear the label out by {case.quality:.2f}"
        sides = {_worded(case.given): "its label", _worded(case.said): sure}
    for place, (value, who) in zip(st.columns(len(sides)), sides.items(), strict=True):
        place.markdown(f"**{literal(value)}**")
        place.caption(literal(who))
    _decide(live, case.item)


def _twins(live: Live, one: deciding.Doubt, other: deciding.Doubt, cosine: float) -> None:
    """Draw two items that read alike and are labelled differently, each with its own form."""
    import streamlit as st

    st.caption(f"cosine {cosine:.2f}: they read almost alike, their labels differ")
    for place, side in zip(st.columns(2, gap="large"), (one, other), strict=True):
        with place:
            _texts(side.item)
            st.markdown(f"**{literal(_worded(side.given))}**")
            _decide(live, side.item)


def _worded(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none of these"


def _decide(live: Live, one: Item) -> None:
    """Draw the form; each showing of an item is one decision, however often its button is pressed (C80)."""
    import streamlit as st

    item = one.id
    st.session_state.setdefault(f"decision-{item}", uuid.uuid4().hex)
    with st.form(f"decide-{item}", border=False):
        choice, name, press = st.columns([5, 2, 1], vertical_alignment="bottom")
        options = [*live.schema.offered(one), CANT]
        if live.schema.single:
            choice.radio("Decision", options, index=None, horizontal=True, key=f"choice-{item}")
        else:
            title = "Decision (none chosen: none of these)"
            choice.pills(title, options, selection_mode="multi", wrap=True, key=f"choice-{item}")
        name.text_input("Your name", key=f"reviewer-{item}", value=st.session_state.get("reviewer", ""))
        # before the page is drawn anew: somebody else may have decided meanwhile, and then this form is gone (C79)
        press.form_submit_button(
            "Decide", icon=":material/gavel:", width="stretch", type="primary", on_click=_pressed, args=(item,)
        )


def _pressed(item: str) -> None:
    """Store what was chosen for an item; what came of it is shown above the disagreements."""
    import streamlit as st

    state = st.session_state
    choice, who = state.get(f"choice-{item}"), str(state.get(f"reviewer-{item}") or "")
    if choice is None:
        state["refused"] = "Choose an answer first."
        return
    state["reviewer"] = who
    several: list[str] = [choice] if isinstance(choice, str) else list(choice)
    value: Value | None = None if CANT in several else tuple(several)
    with PRESSES:
        decision = state.get(f"decision-{item}")
        if decision is None:
            # the second click of a double click, after the first has been told of
            return
        if problem := deciding.decide(folder(), item, value, who, decision):
            state["refused"] = problem
            return
        del state[f"decision-{item}"]
    state["decided"] = f"{who} decided: {CANT if value is None else ', '.join(several) or 'none of these'}"
