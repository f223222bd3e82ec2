"""The labels tab: how far the classes, the batches and the annotators are, and what somebody has to decide."""

from __future__ import annotations

import uuid

from toughcall.records import Value
from toughcall.review import deciding, progress, views
from toughcall.review.live import Live, folder
from toughcall.review.plain import literal, short

CANT = "can't tell"


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    from toughcall.review import charts

    batches, people = progress.batches(live), progress.annotators(live)
    if people.empty and batches.empty:
        st.info("No answers yet. Choose the first items and send them to the experts: `toughcall round`")
        return
    _disputes(live)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Labels per class" if live.kind.labelled else "##### Answers per dimension")
        if people.empty:
            st.info("No answers yet. When experts have answered in Label Studio: `toughcall pull`")
        else:
            st.caption(progress.totals(live).sentence())
            st.altair_chart(charts.progress(progress.classes(live)), width="stretch")
    with right:
        if len(batches):
            st.markdown("##### Batches")
            bar = st.column_config.ProgressColumn("progress", format="percent", min_value=0, max_value=1)
            st.dataframe(batches, hide_index=True, column_config={"progress": bar})
        if len(people):
            st.markdown("##### Annotators")
            seconds = st.column_config.NumberColumn("median seconds", format="%.0f")
            st.dataframe(people, hide_index=True, column_config={"median seconds": seconds})


def _disputes(live: Live) -> None:
    """Draw one disagreement with both sides beside each other, and the buttons that decide it."""
    import streamlit as st

    if done := st.session_state.pop("decided", ""):
        st.success(literal(done), icon=":material/gavel:")
    if problem := st.session_state.pop("refused", ""):
        st.warning(literal(problem))
    found = deciding.disputes(live)
    if not found:
        return
    st.markdown(f"##### {len(found):,} disagreement{'s' * (len(found) != 1)} to decide")
    with st.container(border=True, key="disputes"):
        ids = [one.item.id for one in found]
        shown = {one.item.id: short(" | ".join(one.item.fields().values()), 90) for one in found}
        item = st.selectbox("Item", ids, format_func=shown.__getitem__, key="dispute", label_visibility="collapsed")
        one = found[ids.index(item)] if item in ids else found[0]
        for place, (name, text) in zip(st.columns(len(one.item.fields())), one.item.fields().items(), strict=True):
            with place, st.container(border=True, key=f"record-dispute-{name}"):
                st.text(text[: views.LONGEST])
        sides = deciding.chosen(one.answers)
        for place, (value, people) in zip(st.columns(len(sides)), sides.items(), strict=True):
            place.markdown(f"**{literal(value)}**")
            place.caption(literal(", ".join(people)))
        _decide(live, one)


def _decide(live: Live, one: deciding.Dispute) -> None:
    """Draw the form; each showing of an item is one decision, however often its button is pressed (C80)."""
    import streamlit as st

    item = one.item.id
    st.session_state.setdefault(f"decision-{item}", uuid.uuid4().hex)
    with st.form(f"decide-{item}", border=False):
        choice, name, press = st.columns([5, 2, 1], vertical_alignment="bottom")
        options = [*one.offered, CANT]
        if live.schema.single:
            choice.radio("Decision", options, index=None, horizontal=True, key=f"choice-{item}")
        else:
            title = "Decision (none chosen: none of these)"
            choice.pills(title, options, selection_mode="multi", key=f"choice-{item}")
        name.text_input("Your name", key="reviewer")
        # before the page is drawn anew: somebody else may have decided meanwhile, and then this form is gone (C79)
        press.form_submit_button(
            "Decide", icon=":material/gavel:", width="stretch", type="primary", on_click=_pressed, args=(item,)
        )


def _pressed(item: str) -> None:
    """Store what was chosen for an item; what came of it is shown above the disagreements."""
    import streamlit as st

    state = st.session_state
    choice, who = state.get(f"choice-{item}"), str(state.get("reviewer") or "")
    if choice is None:
        state["refused"] = "Choose an answer first."
        return
    several: list[str] = [choice] if isinstance(choice, str) else list(choice)
    value: Value | None = None if CANT in several else tuple(several)
    if problem := deciding.decide(folder(), item, value, who, state[f"decision-{item}"]):
        state["refused"] = problem
        return
    del state[f"decision-{item}"]
    state["decided"] = f"{who} decided: {CANT if value is None else ', '.join(several) or 'none of these'}"
