"""The queue tab: what reviewers decide on its items, by whom, and what two people and two clicks do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from queue_page import Queue, decisions, named, opener, page, press, rows, said, select
from review_project import HOSTILE, Filled
from streamlit.testing.v1 import AppTest

from toughcall.files import lock
from toughcall.records import Batch, Pick
from toughcall.review import curation, views
from toughcall.review import page as page_module
from toughcall.store import Store


@pytest.fixture
def queue(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a function (kind, …) → (a filled project, its page with the items nobody was asked about)."""
    return opener(filled, monkeypatch)


# ---- deciding


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "pair", "relation", "scores"])
def test_every_kind_can_be_decided_on(queue: Queue, kind: str) -> None:
    """Whatever the kind: approved, pinned, set aside and taken back, each with who did it beside the state."""
    made, app = queue(kind, views.EVERY)
    row = next(n for n, now in enumerate(app.dataframe[0].value["state"]) if now == "not asked")
    free = app.dataframe[0].value["item"][row]
    named(select(app, row))
    assert app.button("queue-clear").disabled
    app.text_input("aside-reason").input("a duplicate").run()
    for action, state in (("approve", "approved"), ("pin", "pinned"), ("set_aside", "set aside")):
        press(app, action)
        assert app.dataframe[0].value.set_index("item").loc[free, "state"] == f"{state} · Lee"
        assert app.button(f"queue-{action}").disabled
        assert f"{state} by Lee" in said(app.text)
    press(app, "clear")
    assert app.dataframe[0].value.set_index("item").loc[free, "state"] == "not asked"
    assert [(one.item, one.action, one.reason) for one in decisions(made.root)] == [
        (free, "approve", ""),
        (free, "pin", ""),
        (free, "set_aside", "a duplicate"),
        (free, "clear", ""),
    ]


def test_several_rows_are_decided_together(queue: Queue) -> None:
    """Rows selected together get one decision each; afterwards none is selected and the button counts one again."""
    made, app = queue()
    named(select(app, 0, 1))
    assert app.button("queue-approve").label == "Approve 2"
    press(app, "approve")
    assert rows(app) == {"four dogs": "approved · Lee", "five bikes": "approved · Lee"}
    assert "2 items approved" in said(app.success)
    assert app.session_state[app.dataframe[0].key]["selection"]["rows"] == []
    assert app.button("queue-approve").label == "Approve"
    assert {one.item for one in decisions(made.root)} == {item.id for item in made.items[3:]}
    assert app.button("push").label == "Push 2 items to Label Studio"


def test_c79_a_selection_belongs_to_its_items(queue: Queue) -> None:
    """C79: when somebody else takes an item out of the list, no other one is selected in its place or decided on."""
    made, app = queue()
    first, second = app.dataframe[0].value["item"]
    named(select(app, 0))
    assert curation.decide(made.root, [first], "set_aside", "no", "Kim", "another").done
    app.run()
    assert list(app.dataframe[0].value["item"]) == [second]
    assert app.session_state[app.dataframe[0].key]["selection"]["rows"] == []
    assert "five bikes" in said(app.text)
    press(app, "approve")
    assert [(one.item, one.action) for one in decisions(made.root)] == [(first, "set_aside"), (second, "approve")]


def test_only_what_it_changes_is_decided(queue: Queue) -> None:
    """Of rows in several states a button counts and changes those it can; what was answered is decided by nobody."""
    _, app = queue(show=views.EVERY)
    named(select(app, *range(5)))
    states = rows(app)
    assert sorted(states.values()) == ["answered", "answered", "not asked", "not asked", "waiting"]
    assert app.button("queue-approve").label == "Approve 2"
    press(app, "approve")
    assert sorted(rows(app).values()) == ["answered", "answered", "approved · Lee", "approved · Lee", "waiting"]


def test_next_and_previous_read_the_list(queue: Queue) -> None:
    """The item shown moves along the list and stops at its ends; after one that left the list comes its successor."""
    _, app = queue()
    assert "four dogs" in said(app.text)
    press(app, "next")
    assert "five bikes" in said(app.text)
    press(app, "next")
    assert "five bikes" in said(app.text)
    press(app, "previous")
    assert "four dogs" in said(app.text)
    named(app)
    app.text_input("aside-reason").input("not ours").run()
    press(app, "set_aside")
    assert "four dogs" in said(app.text)
    press(app, "next")
    assert "five bikes" in said(app.text)


def test_what_is_refused_is_a_sentence(queue: Queue) -> None:
    """Without a name, or a reason to set aside, nothing is stored and a sentence says what lacks."""
    made, app = queue()
    press(app, "approve")
    assert "needs the name" in said(app.warning)
    named(app)
    assert not app.warning
    press(app, "set_aside")
    assert "needs a reason" in said(app.warning)
    assert decisions(made.root) == []


def test_a_name_is_given_once_a_session(queue: Queue) -> None:
    """The name stays while the list and the item change, and when there is nothing to decide in between."""
    _, app = queue()
    named(app)
    app.text_input("search").input("zebra").run()
    app.text_input("search").input("").run()
    press(app, "next")
    assert app.text_input("curator").value == "Lee"


def test_another_tab_changes_nothing_here(queue: Queue) -> None:
    """Who looks at another tab and comes back finds the same list, band and name."""
    _, app = queue()
    named(app)
    app.slider("band").set_value((0.6, 0.7)).run()
    kept = {name: app.session_state[name] for name in ("queue-filters", "band-kept", "curator-kept")}
    assert kept["queue-filters"]["shown"] == views.UNASKED
    fresh = AppTest.from_file(page_module.__file__, default_timeout=120)
    for name, value in {**kept, "band-turn": 0, "band-begun": (0.6, 0.7)}.items():
        fresh.session_state[name] = value
    fresh.run()
    assert list(rows(fresh)) == ["five bikes"]
    assert fresh.slider("band").value == (0.6, 0.7)
    assert fresh.text_input("curator").value == "Lee"


def test_p5_what_is_held_out_is_not_asked_by_hand(queue: Queue) -> None:
    """P5: an item of the test part is shown as held out and cannot be approved; nor by a press that is late."""
    made, app = queue(show="")
    with Store(made.root / "ledger.sqlite") as store:
        store.base.execute("DELETE FROM parts WHERE record = ?", (made.items[3].id,))
        store.add_parts({made.items[3].id: "test"}, {made.items[3].id: ""})
    app.selectbox("shown").select(views.UNASKED).run()
    assert list(rows(app)) == ["five bikes"], "what cannot be asked by hand is not offered"
    app.selectbox("shown").select(views.EVERY).run()
    named(select(app, list(rows(app)).index("four dogs")))
    assert rows(app)["four dogs"] == "held out"
    assert app.button("queue-approve").disabled
    assert app.button("queue-pin").disabled
    assert "it measures models" in said(app.caption)
    came = curation.decide(made.root, [item.id for item in made.items[3:]], "approve", "", "Lee", "late")
    assert (came.done, came.sentence()) == (1, "1 item approved")
    assert "1 not: this item is held out" in came.problem()


def test_c79_two_sessions_on_one_item(queue: Queue) -> None:
    """C79: two people decide on one item that both see as free: both are kept, and both see the later one."""
    made, first = queue()
    second = page()
    second.selectbox("shown").select(views.UNASKED).run()
    for app, who in ((first, "Lee"), (second, "Kim")):
        named(app, who)
    press(first, "approve")
    second.text_input("aside-reason").input("a duplicate").run()
    press(second, "set_aside")
    assert [(one.who, one.action) for one in decisions(made.root)] == [("Lee", "approve"), ("Kim", "set_aside")]
    first.run()
    assert "set aside by Kim: a duplicate" in said(first.text)
    press(first, "clear")
    assert [one.who for one in decisions(made.root, history=False)] == ["Lee"]


def test_c80_the_same_press_twice_is_one_decision(queue: Queue) -> None:
    """C80: a double click, quick or slow, is one decision, and a refresh or a way back decides nothing."""
    made, app = queue()
    item = made.items[3].id
    assert [curation.decide(made.root, [item], "pin", "", "Lee", "one press").done for _ in range(2)] == [1, 0]
    app.run()
    named(app)
    press(app, "approve")
    assert app.button("queue-approve").disabled, "the second of two slow clicks finds nothing to do"
    app.run()
    page()
    assert [one.action for one in decisions(made.root)] == ["pin", "approve"]


def test_c81_while_a_command_runs_nothing_is_lost(queue: Queue) -> None:
    """C81: the page says who holds the lock, keeps what was written, and the same press stores it later."""
    made, app = queue()
    named(app)
    app.text_input("aside-reason").input("a duplicate").run()
    with lock(made.root, "retrain"):
        press(app, "set_aside")
        assert "in use by toughcall retrain" in said(app.warning)
        press(app, "push") if not app.button("push").disabled else None
    assert decisions(made.root) == []
    assert app.text_input("aside-reason").value == "a duplicate"
    press(app, "set_aside")
    assert [one.reason for one in decisions(made.root)] == ["a duplicate"]


def test_what_was_set_aside_before_it_was_sent_is_shown_so(queue: Queue) -> None:
    """An item that left its batch is set aside in every list, and can be read among what was set aside."""
    made, app = queue(show="")
    item = made.items[3]
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(Batch("b003", made.schema.version, "m", (Pick(item.id, "diverse", 0.1, 0),)))
    app.run()
    app.selectbox("shown").select("b003").run()
    assert rows(app) == {"four dogs": "not sent"}
    assert app.button("queue-approve").disabled
    named(app)
    app.text_input("aside-reason").input("not ours").run()
    press(app, "set_aside")
    app.selectbox("shown").select(views.EVERY).run()
    assert rows(app)["four dogs"] == "set aside · Lee"
    app.selectbox("shown").select(views.ASIDE).run()
    assert rows(app) == {"four dogs": "set aside · Lee"}


def test_what_was_set_aside_by_mistake_is_asked_after_all(queue: Queue) -> None:
    """Taken back, an item that left its batch before it was sent is in it again, and waits to be sent."""
    made, app = queue(show="")
    item = made.items[3]
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(Batch("b003", made.schema.version, "m", (Pick(item.id, "diverse", 0.1, 0),)))
    app.run()
    app.selectbox("shown").select("b003").run()
    named(app)
    app.text_input("aside-reason").input("not ours").run()
    press(app, "set_aside")
    app.selectbox("shown").select(views.ASIDE).run()
    press(app, "clear")
    app.selectbox("shown").select("b003").run()
    assert rows(app) == {"four dogs": "not sent"}
    assert "1 of batch b003, made and not sent yet" in said(app.caption)


def test_every_button_is_reached_by_the_keyboard(queue: Queue) -> None:
    """Each action is a button of its own, so Tab and Enter press it, and has a key of its own besides."""
    _, app = queue()
    buttons = [app.button(f"queue-{one}") for one in ("approve", "pin", "set_aside", "clear", "previous", "next")]
    keys = [one.proto.shortcut for one in buttons]
    assert len(set(keys)) == len(keys)
    assert all(key.lower().startswith("alt+") for key in keys), "one letter alone would also work on the other tabs"


def test_c78_names_and_reasons_are_shown_letter_by_letter(queue: Queue) -> None:
    """C78: what reviewers write is text: in the table, in the sentences and beside the item."""
    _, app = queue()
    named(app, HOSTILE[3])
    app.text_input("aside-reason").input(HOSTILE[0]).run()
    press(app, "set_aside")
    assert HOSTILE[0] in "\n".join(one.value for one in app.text)
    for shown in ("markdown", "caption", "success", "warning", "info"):
        assert not any(mark in str(one.value) for one in app.get(shown) for mark in ("<script", "<img", "!["))
    assert not [one for one in app.get("html") if "<script" in str(one) or "<img" in str(one)]
