"""What the held-out rows of one model show: errors with their texts, calibration, and what another cut would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from toughcall.records import ToughcallError, digest
from toughcall.review import cuts, held_out, mistaken, reliability, verdict, views
from toughcall.review.live import Live
from toughcall.review.plain import literal

if TYPE_CHECKING:
    from toughcall.review.held_out import HeldOut

ERRORS, CALIBRATION, THRESHOLDS = "Errors", "Calibration", "Thresholds"
NARROW = 168
"""Width of a figure in pixels: two stand beside each other on a phone."""
TALL = 460
"""Height of the list of texts in pixels: the table it belongs to stays in sight."""


def show(live: Live, version: str, view: str) -> None:
    """Draw a view that counts the held-out rows; where they cannot be read one sentence says why."""
    import streamlit as st

    try:
        held = held_out.read(live, version)
    except ToughcallError as error:
        st.warning("The held-out rows of this model cannot be read.", icon=":material/error:")
        st.text(str(error))
        return
    if held is None:
        st.info("This model was not measured on held-out items, so there is no row to show: `toughcall round`")
        return
    {ERRORS: _errors, CALIBRATION: _calibration, THRESHOLDS: _thresholds}[view](live, held)


def _key(held: HeldOut, *parts: str) -> str:
    return digest("model tab", held.report.model, *parts)[:12]


def _errors(live: Live, held: HeldOut) -> None:
    """Draw what was taken for what on the left, and the texts behind the chosen cell on the right."""
    import streamlit as st

    left, right = st.columns([6, 5], gap="large")
    if held.numbers:
        found = _scatter(held, left)
    elif held.exclusive or live.kind.paired:
        found = _confusion(live, held, left)
    else:
        found = _labels(held, left)
    with right:
        _texts(live, held, *found)


Found = tuple[str, Sequence[mistaken.Wrong], int]
"""A heading, the rows shown, and how many there are."""


def _confusion(live: Live, held: HeldOut, place: Any) -> Found:
    import streamlit as st

    from toughcall.review import charts_model

    table = mistaken.confusion(held, live.schema.labels)
    key = _key(held, "confusion")
    names = list(dict.fromkeys([*table.names, *table.groups]))
    first = table.cells.sort_values(["right", "count"], ascending=[True, False], kind="stable")
    # the most frequent mistake; a model without one shows what it got right
    first = first[(first["count"] > 0)].head(1)
    truth, said = (f"{key}-truth", f"{key}-said")
    if len(first):
        st.session_state.setdefault(truth, first["truth"].iloc[0])
        st.session_state.setdefault(said, first["said"].iloc[0])

    def clicked() -> None:
        cells = _picked(st.session_state.get(f"{key}-chart"))
        if cells:
            st.session_state[truth], st.session_state[said] = cells[0]["truth"], cells[0]["said"]

    with place:
        st.markdown("##### What was taken for what")
        st.caption(f"of {len(held.ids):,} held-out items; choose a cell to read its texts")
        one, other = st.columns(2)
        real = one.selectbox("True", names, key=truth, persist_state="session")
        told = other.selectbox("Said", names, key=said, persist_state="session")
        drawn = charts_model.confusion(table.cells, (real, told), charts_model.ink())
        st.altair_chart(drawn, width="stretch", key=f"{key}-chart", on_select=clicked, selection_mode=charts_model.PICK)
    rows, total = mistaken.behind(
        held, live.schema.labels, table.groups.get(real, (real,)), table.groups.get(told, (told,))
    )
    return f"true {real}, said {told}", rows, total


def _picked(state: Any) -> list[Mapping[str, Any]]:
    """Return what was clicked in a chart."""
    found = (state or {}).get("selection", {}).get("cell", []) if isinstance(state, Mapping) else []
    return [one for one in found if isinstance(one, Mapping) and {"truth", "said"} <= set(one)]


def _labels(held: HeldOut, place: Any) -> Found:
    import streamlit as st

    table = mistaken.by_label(held)
    key = _key(held, "labels")
    label, what = f"{key}-label", f"{key}-what"
    st.session_state.setdefault(label, table["label"].iloc[0])
    st.session_state.setdefault(what, mistaken.MISSED)

    def chosen() -> None:
        cells = st.session_state[f"{key}-table"]["selection"]["cells"]
        if cells:
            row, column = cells[0]
            st.session_state[label] = table["label"].iloc[row]
            if column in (mistaken.FOUND, mistaken.MISSED, mistaken.WRONG):
                st.session_state[what] = column

    with place:
        st.markdown("##### Errors per label")
        st.caption(f"on {len(held.ids):,} held-out items; choose a cell to read its texts")
        one, other = st.columns(2)
        name = one.selectbox("Label", list(held.columns), key=label, persist_state="session")
        side = other.selectbox(
            "What", [mistaken.MISSED, mistaken.WRONG, mistaken.FOUND], key=what, persist_state="session"
        )
        share = {name: st.column_config.NumberColumn(format="%.2f") for name in ("precision", "recall", "F1")}
        st.dataframe(
            table,
            hide_index=True,
            column_config={**share, "label": st.column_config.TextColumn(width=130)},
            on_select=chosen,
            selection_mode="single-cell",
            key=f"{key}-table",
        )
    return f"{name}: {side}", *mistaken.behind_label(held, name, side)


def _scatter(held: HeldOut, place: Any) -> Found:
    import streamlit as st

    from toughcall.review import charts_model

    with place:
        st.markdown("##### Predicted against true")
        name = st.selectbox("Dimension", list(held.columns), key=_key(held, "dimension"), persist_state="session")
        table = mistaken.scatter(held, name)
        if table.empty:
            st.info("No held-out item has an answer on this dimension.")
            return "nothing to show", [], 0
        st.caption(f"{len(table):,} held-out items; dashed: predicted as it is")
        st.altair_chart(charts_model.scatter(table, name), width="stretch")
        low, high = float(table["truth"].min()), float(table["truth"].max())
        if low < high:
            low, high = st.slider(
                "True number between", low, high, (low, high), key=_key(held, "between", name), persist_state="session"
            )
    return f"{name}: farthest off first", *mistaken.worst(table, low, high)


def _texts(live: Live, held: HeldOut, title: str, rows: Sequence[mistaken.Wrong], total: int) -> None:
    """Draw the texts behind a cell letter by letter (C78), the surest first."""
    import streamlit as st

    st.markdown(f"##### {literal(title)}")
    st.caption(f"{len(rows):,} of {total:,}{'' if held.numbers else ', the surest first'}")
    if not rows:
        st.caption("no held-out item is in this cell")
        return
    items = live.pool.items([row.item for row in rows])
    tall: int | Literal["content"] = TALL if len(rows) > 3 else "content"
    with st.container(height=tall, border=False, key="behind"):
        for number, row in enumerate(rows):
            with st.container(border=True, gap="xsmall", key=f"record-behind-{number}"):
                size = f"off by {row.size:+.2f}" if held.numbers else f"probability {row.size:.3f}"
                st.caption(literal(f"true {row.truth} · said {row.said} · {size}"))
                item = items.get(row.item)
                if item is None:
                    st.text("This item is no longer in the pool.")
                for text in item.fields().values() if item is not None else ():
                    st.text(text[: views.LONGEST])


def _columns(held: HeldOut, whole: str, key: str) -> str:
    """Draw the choice of a label; "" stands for all of them, named `whole` ("" where there is no such choice)."""
    import streamlit as st

    names = [*([""] if whole else []), *held.columns]
    if len(names) == 1:
        return names[0]
    return (
        st.selectbox("Class", names, format_func=lambda one: one or whole, key=_key(held, key), persist_state="session")
        or ""
    )


def _calibration(live: Live, held: HeldOut) -> None:
    """Draw how often it was so when the model said p."""
    import streamlit as st

    from toughcall.review import charts_model

    left, right = st.columns([6, 5], gap="large")
    with left:
        st.markdown("##### Does a probability mean what it says?")
        several = len(held.columns) > 1
        whole = ("whatever was said" if held.exclusive else "all labels together") if several else ""
        label = _columns(held, whole, "calibrated")
        truth, p = reliability.column(held, label)
        table, error = reliability.bins(truth, p), reliability.error(truth, p)
        st.caption("dashed: said and seen agree; lines: 95 % intervals of the share that was so")
        st.altair_chart(charts_model.reliability(table), width="stretch")
    with right:
        if error is not None:
            st.metric("Expected calibration error", f"{error:.3f}", border=True, help="0 is perfect, 10 equal bins")
        stored = held.report.others.get("calibration_error")
        if stored is not None and several:
            st.caption(f"mean over the classes, as the report has it: {stored:.3f}")
        st.caption(f"{len(p):,} probabilities on {len(held.ids):,} held-out items")
        st.altair_chart(charts_model.counts(table, charts_model.ink()), width="stretch")


def _thresholds(live: Live, held: HeldOut) -> None:
    """Draw what another cut would do; nothing of the model is changed."""
    import streamlit as st

    from toughcall.review import charts_model

    st.markdown("##### What another cut would do")
    st.caption(
        "Nothing here changes the model. "
        + (
            "What the model says with less confidence than the cut goes to people."
            if held.exclusive
            else "At or above the cut the label is given."
        )
        + " To find cuts with proven precision: `toughcall policy`"
    )
    choose, slide, alarm, miss = st.columns([3, 5, 2, 2], vertical_alignment="bottom")
    with choose:
        label = _columns(held, "all classes" if held.exclusive else "", "cut of")
    one = cuts.rule(held, label)
    steps = cuts.grid(one.own)
    own = min(steps, key=lambda step: abs(step - one.own))
    chosen = float(
        slide.select_slider(
            "Cut",
            steps,
            value=own,
            format_func=lambda step: f"{step:.3g}",
            key=_key(held, "cut", label),
            persist_state="session",
        )
    )
    price = alarm.number_input(
        "Price of a false alarm", 0.0, value=1.0, step=0.5, key="price-alarm", persist_state="session"
    )
    loss = miss.number_input("Price of a miss", 0.0, value=1.0, step=0.5, key="price-miss", persist_state="session")
    table = cuts.priced(cuts.swept(one, steps), len(held.ids), price, loss)
    least = cuts.cheapest(table, own)
    now, before = (table.iloc[steps.index(cut)] for cut in (chosen, own))
    with st.container(horizontal=True, gap="small"):
        for name in ("precision", "recall", "F1", "cost"):
            _compared(name, now[name], before[name])
    split = cuts.pool_split(live, held, label, chosen)
    if isinstance(split, str):
        st.caption(literal(split))
    else:
        said = "kept" if one.keeps else "given the label"
        people = "go to people" if one.keeps else "lie between the model's own cut and this one: their answer changes"
        st.text(f"Of {split.total:,} scored items {split.called:,} would be {said}, {split.people:,} {people}.")
    left, right = st.columns(2, gap="large")
    with left:
        mark = "nothing goes to people" if one.keeps else f"{own:.3g}"
        members = f"{one.members:,} of {len(held.ids):,} held-out items are members"
        st.caption(f"{members}; dashed: the model's own cut, {mark}; arrows: against that")
        st.altair_chart(charts_model.cuts(table, own, chosen), width="stretch")
    with right:
        costs = dict(zip(table["cut"], table["cost"], strict=True))
        st.caption(
            f"cheapest at {least:.3g}: {costs[least]:,.1f} for 1,000 items like the held-out ones, "
            f"{costs[own]:,.1f} at the model's own cut"
        )
        st.altair_chart(charts_model.cost(table, own, chosen, least), width="stretch")
        wrong = "said and kept, but wrong" if one.keeps else "given, but wrong"
        missing = "a member that is not kept as one" if one.keeps else "a member that is not given the label"
        st.caption(f"false alarm: {wrong} · miss: {missing}")


def _compared(name: str, now: float, own: float) -> None:
    """Draw one figure; under it the difference from the model's own cut."""
    import streamlit as st

    shown = {"cost": ("cost of 1,000 items", ",.1f")}
    title, form = shown.get(name, (name, ".3f"))
    gap = verdict.number(now) is not None and verdict.number(own) is not None and abs(now - own) > 1e-9
    st.metric(
        title,
        format(now, form) if verdict.number(now) is not None else "–",
        format(now - own, "+" + form) if gap else None,
        delta_color="inverse" if name == "cost" else "normal",
        border=True,
        width=NARROW,
    )
