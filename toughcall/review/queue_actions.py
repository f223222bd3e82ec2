"""What reviewers do on the queue tab: which item is shown, the buttons that decide on it, and the push.

Each drawing of the buttons is one press, with an id of its own: however often it arrives, it is one decision (C80).
Every write happens before the page is drawn anew, and what came of it is said in a sentence.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from toughcall.review import curation, pushing, views
from toughcall.review.asked_views import unsent
from toughcall.review.live import PRESSES, Live, folder
from toughcall.review.plain import literal

BUTTONS = {
    "approve": ("Approve", ":material/check:", "Alt+A", "Ask this in the next batch."),
    "pin": ("Pin", ":material/keep:", "Alt+P", "Ask this first in the next batch."),
    "set_aside": ("Set aside", ":material/block:", "Alt+X", "Never ask this. Write the reason above."),
    "clear": ("Undo", ":material/undo:", "Alt+Z", "Take back what was decided."),
}
"""By action: name, icon, key and what it means. One key alone would also work while another tab is in front."""


# ---- which item is shown


def place(key: str, table: str, ids: Sequence[str], rows: Sequence[int]) -> str:
    """Return the item that is shown, "" when there is none.

    It is the one selected last; one that was just decided stays although it may have left the list.

    Args:
        key: what the list shows, by its filters.
        table: the key of the table of its rows.
        ids: the items of the rows.
        rows: the places of those that are selected.

    """
    import streamlit as st

    state = st.session_state
    at, (kept, where, _) = state.get("queue-at", ""), state.get("queue-kept", ("", "", 0))
    seen, before = state.get("queue-rows", ("", []))
    new = [row for row in rows if seen != table or row not in before]
    state["queue-rows"] = (table, list(rows))
    if new or (rows and list(rows) != before):
        at = ids[(new or rows)[-1]]
    if at not in ids and (at, key) != (kept, where):
        at = ids[0] if ids else ""
    state["queue-at"] = at
    return str(at)


def _unselect() -> None:
    import streamlit as st

    state = st.session_state
    if table := state.get("queue-rows", ("", []))[0]:
        state[table] = {"selection": {"rows": [], "columns": [], "cells": []}}
        state["queue-rows"] = (table, [])


def _step(key: str, ids: Sequence[str], at: str, by: int) -> None:
    """Show the next or the previous row; after an item that has left the list, the one that took its place."""
    import streamlit as st

    state = st.session_state
    now = ids.index(at) + by if at in ids else state.get("queue-kept", ("", "", 0))[2] + min(by, 0)
    _unselect()
    if ids:
        state["queue-at"] = ids[min(max(now, 0), len(ids) - 1)]


# ---- deciding


def bar(key: str, ids: Sequence[str], at: str, states: Mapping[str, str], reviewed: views.Decided) -> None:
    """Draw the buttons for some items, by their states: those selected, or the one shown."""
    import streamlit as st

    state = st.session_state
    if done := state.pop("curated", ""):
        st.success(literal(done), icon=":material/check:")
    if problem := state.pop("not-curated", ""):
        st.warning(literal(problem))
    state.setdefault("queue-press", uuid.uuid4().hex)
    open_to = {action: curation.open_to(action, states) for action in BUTTONS}
    # what left its batch before it was sent is not a decision to take back, nor is another's word on what is asked
    open_to["clear"] = [one for one in open_to["clear"] if reviewed.undone(one)]
    with st.container(border=True, key="curation", gap="small"):
        name, why = st.columns([2, 3])
        if "curator" not in state:
            state["curator"] = state.get("curator-kept") or state.get("reviewer") or ""
        name.text_input("Who decides", key="curator", placeholder="your name", on_change=_named)
        why.text_input("Reason to set it aside", key="aside-reason", placeholder="why it should not be asked")
        with st.container(horizontal=True, gap="small"):
            for action in BUTTONS:
                _button(action, key, ids, at, open_to[action], len(states))
            for called, way, shortcut in (("Previous", -1, "Alt+B"), ("Next", 1, "Alt+N")):
                icon = ":material/arrow_back:" if way < 0 else ":material/arrow_forward:"
                st.button(
                    called,
                    key=f"queue-{called.lower()}",
                    icon=icon,
                    shortcut=shortcut,
                    type="tertiary",
                    on_click=_step,
                    args=(key, tuple(ids), at, way),
                )


def _named() -> None:
    """Keep the name for the session, whatever of the page is drawn."""
    import streamlit as st

    st.session_state["curator-kept"] = st.session_state["curator"]


def _button(action: str, key: str, ids: Sequence[str], at: str, items: Sequence[str], of: int) -> None:
    import streamlit as st

    name, icon, shortcut, meaning = BUTTONS[action]
    st.button(
        f"{name} {len(items)}" if of > 1 and items else name,
        icon=icon,
        key=f"queue-{action}",
        help=meaning if items else f"{meaning} Nothing that is chosen can be: see its state.",
        disabled=not items,
        shortcut=shortcut,
        type="primary" if action == "approve" else "secondary",
        on_click=_pressed,
        args=(action, key, tuple(ids), at, tuple(items), st.session_state["queue-press"]),
    )


def _pressed(action: str, key: str, ids: Sequence[str], at: str, items: Sequence[str], press: str) -> None:
    """Store a decision on some items; the item shown stays in sight, and the next press is another one."""
    import streamlit as st

    state = st.session_state
    with PRESSES:
        if state.get("queue-press") != press:
            # the second click of a double click: what the first did is told
            return
        reason = str(state.get("aside-reason") or "") if action == "set_aside" else ""
        who = str(state.get("curator") or "")
        came = curation.decide(folder(), items, action, reason, who, f"{press}-{action}")
        state["curated"], state["not-curated"] = came.sentence(), came.problem()
        if not came.done:
            return
        state["queue-kept"] = (at, key, ids.index(at) if at in ids else 0)
        state["queue-press"] = uuid.uuid4().hex
        state["curator-kept"] = who
        _unselect()
        if action == "set_aside":
            state["aside-reason"] = ""


# ---- sending


def push_bar(live: Live, picks: views.Picks, answers: views.Answers, reviewed: views.Decided) -> None:
    """Draw the button that sends what was asked for, and say how far it is and what came of it."""
    import streamlit as st

    state = st.session_state
    if state.pop("push-now", False):
        _push()
    if done := state.pop("pushed", ""):
        st.success(literal(f"Label Studio: {done}."), icon=":material/send:")
    if problem := state.pop("not-pushed", ""):
        st.warning(literal(problem))
    chosen, planned = len(views.wanted(live, picks, answers, reviewed)), unsent(live, picks)
    count = chosen + sum(planned.values())
    if not (count or reviewed.last or live.scored):
        return
    state.setdefault("push-press", uuid.uuid4().hex)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key="push-bar"):
        st.button(
            f"Push {count:,} item{'s' * (count != 1)} to Label Studio",
            icon=":material/send:",
            key="push",
            disabled=not count,
            on_click=_push_pressed,
            args=(state["push-press"],),
            help="Makes a batch of what is approved and pinned, and sends every batch that was not sent yet.",
        )
        st.caption(_to_send(chosen, planned))


def _to_send(chosen: int, planned: Mapping[str, int]) -> str:
    """Return in words what a push would send."""
    parts = [f"{chosen:,} approved or pinned"] if chosen else []
    parts += [f"{count:,} of batch {literal(batch)}, made and not sent yet" for batch, count in planned.items()]
    return " · ".join(parts) or "Nothing to send: approve or pin items first, or let mining choose: `toughcall round`"


def _push_pressed(press: str) -> None:
    """Make the batch; it is sent where the page can say how far that is. Pressed twice it is one (C80)."""
    import streamlit as st

    state = st.session_state
    with PRESSES:
        if state.get("push-press") != press:
            return
        _, problem = curation.make_batch(folder())
        if problem:
            state["not-pushed"] = problem
            return
        state["push-press"] = uuid.uuid4().hex
        state["push-now"] = True


def _push() -> None:
    """Run the push and say how far it is; whatever interrupts the page, the command ends and is told of."""
    import streamlit as st

    state = st.session_state
    started = pushing.start(folder())
    if isinstance(started, str):
        state["not-pushed"] = started
        return
    said = st.empty()
    try:
        with st.spinner("Sending to Label Studio…"):
            for line in started.lines():
                said.caption(literal(line))
    finally:
        sent = started.end()
        state["pushed"], state["not-pushed"] = sent.sentence, sent.problem
    st.rerun()
