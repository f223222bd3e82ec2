"""The model tab: the last verdict and what may be done about it, what moved, then one model in detail."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Literal

from toughcall.records import ToughcallError
from toughcall.review import progress, promoting, rounds, verdict
from toughcall.review.live import PRESSES, Live, folder, opened
from toughcall.review.plain import literal

if TYPE_CHECKING:
    import pandas as pd

# the banner's edge is coloured in page.LOOK by its key
BADGES: dict[str, tuple[Literal["green", "gray", "orange"], str]] = {
    "PROMOTE": ("green", ":material/check:"),
    "KEEP": ("gray", ":material/remove:"),
    "UNDECIDED": ("orange", ":material/question_mark:"),
}
ICONS = {"promote": ":material/upgrade:", "rollback": ":material/undo:"}
LARGEST = 3
"""So many classes are named of those that moved most."""


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    # always there, so that a message does not push what is below into other places while it is drawn anew
    with st.container():
        if done := st.session_state.pop("moved", ""):
            st.success(literal(done), icon=":material/check:")
        if problem := st.session_state.pop("unmoved", ""):
            st.warning(literal(problem))
    events = live.retrains
    last = verdict.judged(events, live.champion)
    if last is None:
        lacks, command = verdict.untrained(live, progress.classes(live))
        st.info(
            f"No model has been judged yet. {literal(lacks)} `{command}`"
            if lacks
            else "No model has been judged yet. Train and judge one: `toughcall retrain`"
        )
        return
    _banner(live, last)
    with st.container():
        _moved(live)
    # drawn by itself: moving a slider does not read the queue again
    st.fragment(_detail)()


def _banner(live: Live, last: verdict.Judged) -> None:
    """Draw the verdict; its sentence may quote a label, so it is shown letter by letter."""
    import streamlit as st

    with st.container(border=True, gap="small", key=f"verdict-{last.outcome}"):
        colour, icon = BADGES[last.outcome]
        st.badge(last.outcome, color=colour, icon=icon)
        st.text(verdict.in_words(last.sentence))
        if last.dead:
            st.text(f"Never predicted: {', '.join(last.dead)}")
        serving = "now in service" if last.serving else f"in service: {live.champion or 'no model yet'}"
        facts = [last.version or "not stored", f"trained on {last.labels:,} labels", serving]
        if last.left_out:
            facts.append("left out: " + ", ".join(f"{n} {why}" for why, n in last.left_out))
        with st.container(key="verdict-facts"):
            st.text(" · ".join(facts))
        said, command = verdict.then(last, live.champion)
        st.markdown(f"{literal(said)} `{command}`" if command else literal(said))
        moves = promoting.offered(live)
        if moves:
            with st.container(horizontal=True, gap="small"):
                for move in moves:
                    _offer(move)


def _offer(move: promoting.Move) -> None:
    """Draw a button that opens the verdict first, and under it the button that does it."""
    import streamlit as st

    title = f"Promote {move.version}" if move.verb == "promote" else f"Roll back to {move.version}"
    # without a key of its own the next offer would be open in the place of this one, its button under the same mouse
    with st.popover(f"{literal(title)} …", icon=ICONS[move.verb], key=f"offer-{move.id}"):
        st.text(verdict.in_words(move.sentence) or "No verdict of it is stored.")
        st.text(verdict.in_words("\n".join(move.figures)) or "No figure of it is stored.")
        after = f"{move.version} will serve instead of {move.serving or 'no model'}."
        st.text(after if move.verb == "promote" else f"{after} Nothing is trained, nothing is removed.")
        # the key names this one press: the second click of a double click finds no such button
        st.button(
            literal(title),
            key=f"move-{move.id}",
            icon=ICONS[move.verb],
            type="primary",
            on_click=_pressed,
            args=(move,),
        )


def _pressed(move: promoting.Move) -> None:
    """Carry a move out, once; what came of it is shown above the verdict."""
    import streamlit as st

    state = st.session_state
    with PRESSES:
        if state.get("last_move") == move.id:
            return
        again, state["pressed"] = state.get("pressed") == move.id, move.id
        problem = promoting.carry_out(folder(), move)
        # the first click of a double click did it, and was cut off before it could say so
        if problem and not (again and _serves(move.version)):
            state["unmoved"] = problem
            return
        state["last_move"] = move.id
        state["moved"] = f"{move.version} is in service now."


def _serves(version: str) -> bool:
    try:
        with opened(folder()) as live:
            return live.champion == version
    except ToughcallError:
        # what is wrong is said where the page is drawn
        return False


def _moved(live: Live) -> None:
    """Draw what moved: the figure over the labels, and each class from retrain to retrain."""
    import streamlit as st

    from toughcall.review import charts_model

    if len(live.retrains) < 2:
        st.caption("What moved is shown from the second retrain on.")
        return
    events = live.store.events()
    found, table = rounds.curve(events), rounds.by_class(live.retrains)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Learning curve")
        if found.points.empty:
            st.caption("No retrain was measured on held-out labels yet.")
        else:
            control = rounds.control(events, live.project.root, found.metric)
            metric, _, smaller = verdict.METRICS.get(found.metric, found.metric.replace("_", " ")).partition(", ")
            st.caption(literal(_progress(found)))
            drawn = charts_model.learning(found.points, control.points, metric, found.floor)
            st.altair_chart(drawn, width="stretch")
            floor = verdict.floor_of(live.retrains[-1])
            notes = [smaller, f"dashed: {floor}" if floor and found.floor is not None else "", control.note]
            said = literal(" · ".join(note for note in notes if note))
            st.caption(f"{said} `{control.command}`" if control.command else said)
    with right:
        if table.empty:
            return
        st.markdown(f"##### {'F1 per class' if live.kind.labelled else 'Error per dimension'}, retrain by retrain")
        st.caption(literal(_largest(table)))
        figure = "F1" if live.kind.labelled else "mean error"
        st.altair_chart(charts_model.by_round(table, figure, charts_model.ink()), width="stretch")
        if table["dead"].any():
            never = "never predicted" if live.kind.labelled else "no better than the training mean"
            st.caption(f"edged: {never}")


def _progress(found: rounds.LearningCurve) -> str:
    """Return the newest figure and its step in words."""
    newest = found.points.iloc[-1]
    said = f"{newest['value']:.3f} with {newest['labels']:,} labels"
    if step := rounds.step(found):
        said += f", {step[0]:+.3f} since the retrain before ({step[1]:+,} labels)"
    said += f"; on the same {found.n:,} held-out items"
    if found.apart:
        said += f". {found.apart} earlier retrains were measured on other items and are left out"
    return said


def _largest(table: pd.DataFrame) -> str:
    """Return which classes moved most in the last retrain."""
    moved = [f"{name} {by:+.2f}" for name, by in rounds.changes(table) if abs(by) >= 0.005][:LARGEST]
    return f"moved most: {', '.join(moved)}" if moved else "no class moved in the last retrain"


def _detail() -> None:
    """Draw one model in detail; it opens the project itself, since it is drawn again without the page."""
    import streamlit as st

    from toughcall.review import tab_model_detail

    try:
        with opened(folder()) as live:
            tab_model_detail.show(live)
    except ToughcallError as error:
        st.warning("This cannot be shown.", icon=":material/error:")
        st.text(str(error))
    except sqlite3.Error as error:
        st.warning("The ledger cannot be read now: reload the page, then run `toughcall doctor`")
        st.text(str(error))
