"""The queue tab: the band that is moved, rows with their states, what reviewers decide, and the push."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeStudio
from review_project import HOSTILE, Filled, answer, save_scores
from streamlit.testing.v1 import AppTest

from toughcall.files import lock
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, Pick
from toughcall.review import curation, pushing, views
from toughcall.review import page as page_module
from toughcall.store import Store
from toughcall.voting import Decision

FIVE = ((0.9, 0.06, 0.04), (0.35, 0.1, 0.3), (0.2, 0.7, 0.1), (0.45, 0.45, 0.1), (0.1, 0.3, 0.6))


@pytest.fixture
def queue(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Filled, AppTest]]:
    """Return a function (kind, …) → (a filled project, its page with the items nobody was asked about)."""

    def make(kind: str = "multiclass", show: str = views.UNASKED, **more: Any) -> tuple[Filled, AppTest]:
        if kind == "multiclass":
            more.setdefault("values", FIVE)
        made = filled(kind, **more)
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
        app = page()
        if show:
            app.selectbox("shown").select(show).run()
        return made, app

    return make


def page() -> AppTest:
    app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
    assert not app.exception
    return app


def rows(app: AppTest) -> dict[str, str]:
    """Return the state of each row by its text, as it stands in the table."""
    table = app.dataframe[0].value
    return dict(zip(table["text"], table["state"], strict=True))


def press(app: AppTest, action: str) -> AppTest:
    app.button(f"queue-{action}" if action != "push" else "push").click().run()
    assert not app.exception
    return app


def named(app: AppTest, who: str = "Lee") -> AppTest:
    app.text_input("curator").input(who).run()
    return app


def select(app: AppTest, *places: int) -> AppTest:
    """Select rows as a click on their boxes does."""
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": list(places), "columns": [], "cells": []}}
    app.run()
    assert not app.exception
    return app


def decisions(root: Path, *, history: bool = True) -> list[Decision]:
    with Store(root / "ledger.sqlite") as store:
        return store.decisions(history=history)


def said(elements: Any) -> str:
    return "\n".join(str(one.value).replace("\\", "") for one in elements)


# ---- the band


def test_a_band_that_is_moved_changes_the_rows(queue: Callable[..., Any]) -> None:
    """Slid or typed, the band filters the rows and both controls agree; nothing is scored anew."""
    made, app = queue()
    before = (made.root / "scores" / "latest.parquet").stat()
    assert list(rows(app)) == ["four dogs", "five bikes"]
    assert not app.toggle("inside").value
    app.slider("band").set_value((0.6, 0.7)).run()
    assert app.toggle("inside").value
    assert list(rows(app)) == ["five bikes"]
    assert (app.number_input("band-low").value, app.number_input("band-high").value) == (0.6, 0.7)
    app.number_input("band-low").set_value(0.5).run()
    assert list(rows(app)) == ["four dogs", "five bikes"]
    assert app.slider("band").value == (0.5, 0.7)
    assert "**3** of 5 in the band" in said(app.markdown)
    app.number_input("band-low").set_value(0.9).run()
    assert app.slider("band").value == (0.7, 0.9), "ends that were typed the wrong way round"
    after = (made.root / "scores" / "latest.parquet").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_a_band_that_is_drawn_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn on the chart is the band, in steps, and the chart is not drawn anew; a bare click is nothing."""
    import streamlit as st

    from toughcall.review import tab_queue

    state: dict[str, Any] = {"band-turn": 0, "band-begun": (0.4, 0.6), "band-kept": (0.4, 0.6)}
    monkeypatch.setattr(st, "session_state", state)
    for ends in ([], [0.5, 0.5], [0.4, 0.6]):
        state["drawn-0"] = {"selection": {"band": {"low": ends}}}
        tab_queue._drawn("drawn-0")
        assert "inside" not in state
    state["drawn-0"] = {"selection": {"band": {"low": [0.8012, 0.4517]}}}
    tab_queue._drawn("drawn-0")
    assert (state["band"], state["inside"], state["band-turn"]) == ((0.45, 0.8), True, 0)
    assert state["band-begun"] == (0.4, 0.6)
    tab_queue.set_band(0.2, 0.3, drawn=False)
    assert (state["band-turn"], state["band-begun"]) == (1, (0.2, 0.3))


def test_an_empty_band_says_what_to_do(queue: Callable[..., Any]) -> None:
    """Nothing in the band: the histogram and the rows say so, each with a command."""
    _, app = queue()
    app.slider("band").set_value((0.955, 0.96)).run()
    assert "No score lies from 0.955 to 0.960" in said(app.caption)
    assert "No item matches: none of these has a score" in said(app.info)
    assert said(app.info).count("`toughcall round`") == 1


def test_scores_that_know_one_class_are_said_to(queue: Callable[..., Any]) -> None:
    """Where a model takes every item for one class, the page says so and what helps."""
    _, app = queue(values=[(0.9, 0.06, 0.04)] * 5)
    assert "takes every item for “animal”" in said(app.caption)
    _, other = queue(values=FIVE, name="q")
    assert "takes every item" not in said(other.caption)


def test_when_everything_was_asked_the_next_step_is_said(queue: Callable[..., Any]) -> None:
    """An empty list of what nobody was asked about names what to do; so do lists of what nobody decided."""
    made, app = queue(show="")
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(
            Batch(
                "b003",
                made.schema.version,
                "m",
                tuple(Pick(i.id, "diverse", 0.1, n) for n, i in enumerate(made.items[3:])),
            )
        )
    app.selectbox("shown").select(views.UNASKED).run()
    assert "Everything that is scored was asked" in said(app.info)
    assert "`toughcall retrain`" in said(app.info)
    app.selectbox("shown").select(views.WANTED).run()
    assert "Nothing is approved or pinned" in said(app.info)
    app.selectbox("shown").select(views.ASIDE).run()
    assert "Nothing is set aside" in said(app.info)


# ---- deciding


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "pair", "relation", "scores"])
def test_every_kind_can_be_decided_on(queue: Callable[..., Any], kind: str) -> None:
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


def test_several_rows_are_decided_together(queue: Callable[..., Any]) -> None:
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


def test_c79_a_selection_belongs_to_its_items(queue: Callable[..., Any]) -> None:
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


def test_only_what_it_changes_is_decided(queue: Callable[..., Any]) -> None:
    """Of rows in several states a button counts and changes those it can; what was answered is decided by nobody."""
    _, app = queue(show=views.EVERY)
    named(select(app, *range(5)))
    states = rows(app)
    assert sorted(states.values()) == ["answered", "answered", "not asked", "not asked", "waiting"]
    assert app.button("queue-approve").label == "Approve 2"
    press(app, "approve")
    assert sorted(rows(app).values()) == ["answered", "answered", "approved · Lee", "approved · Lee", "waiting"]


def test_next_and_previous_read_the_list(queue: Callable[..., Any]) -> None:
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


def test_what_is_refused_is_a_sentence(queue: Callable[..., Any]) -> None:
    """Without a name, or a reason to set aside, nothing is stored and a sentence says what lacks."""
    made, app = queue()
    press(app, "approve")
    assert "needs the name" in said(app.warning)
    named(app)
    assert not app.warning
    press(app, "set_aside")
    assert "needs a reason" in said(app.warning)
    assert decisions(made.root) == []


def test_a_name_is_given_once_a_session(queue: Callable[..., Any]) -> None:
    """The name stays while the list and the item change, and when there is nothing to decide in between."""
    _, app = queue()
    named(app)
    app.text_input("search").input("zebra").run()
    app.text_input("search").input("").run()
    press(app, "next")
    assert app.text_input("curator").value == "Lee"


def test_p5_what_is_held_out_is_not_asked_by_hand(queue: Callable[..., Any]) -> None:
    """P5: an item of the test part is shown as held out and cannot be approved; nor by a press that is late."""
    made, app = queue(show="")
    with Store(made.root / "ledger.sqlite") as store:
        store.base.execute("DELETE FROM parts WHERE record = ?", (made.items[3].id,))
        store.add_parts({made.items[3].id: "test"}, {made.items[3].id: ""})
    app.selectbox("shown").select(views.UNASKED).run()
    named(app)
    assert rows(app)["four dogs"] == "held out"
    assert app.button("queue-approve").disabled
    assert app.button("queue-pin").disabled
    assert "it measures models" in said(app.caption)
    came = curation.decide(made.root, [item.id for item in made.items[3:]], "approve", "", "Lee", "late")
    assert (came.done, came.sentence()) == (1, "1 item approved")
    assert "1 not: this item is held out" in came.problem()


def test_c79_two_sessions_on_one_item(queue: Callable[..., Any]) -> None:
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


def test_c80_the_same_press_twice_is_one_decision(queue: Callable[..., Any]) -> None:
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


def test_c81_while_a_command_runs_nothing_is_lost(queue: Callable[..., Any]) -> None:
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


def test_what_was_set_aside_before_it_was_sent_is_shown_so(queue: Callable[..., Any]) -> None:
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


def test_every_button_is_reached_by_the_keyboard(queue: Callable[..., Any]) -> None:
    """Each action is a button of its own, so Tab and Enter press it, and has a key of its own besides."""
    _, app = queue()
    buttons = [app.button(f"queue-{one}") for one in ("approve", "pin", "set_aside", "clear", "previous", "next")]
    keys = [one.proto.shortcut for one in buttons]
    assert len(set(keys)) == len(keys)
    assert all(key.lower().startswith("alt+") for key in keys), "one letter alone would also work on the other tabs"


def test_c78_names_and_reasons_are_shown_letter_by_letter(queue: Callable[..., Any]) -> None:
    """C78: what reviewers write is text: in the table, in the sentences and beside the item."""
    _, app = queue()
    named(app, HOSTILE[3])
    app.text_input("aside-reason").input(HOSTILE[0]).run()
    press(app, "set_aside")
    assert HOSTILE[0] in "\n".join(one.value for one in app.text)
    for shown in ("markdown", "caption", "success", "warning", "info"):
        assert not any(mark in str(one.value) for one in app.get(shown) for mark in ("<script", "<img", "!["))
    assert not [one for one in app.get("html") if "<script" in str(one) or "<img" in str(one)]


# ---- sending


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Label Studio in this process, its token in the environment."""
    with FakeStudio() as fake:
        monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
        yield fake


def test_c80_what_was_approved_is_sent_once(queue: Callable[..., Any], studio: FakeStudio) -> None:
    """P2, C80: the push makes one batch of what was approved and pinned and sends it; pressed again nothing is new."""
    made, app = queue(studio__url=studio.url)
    with Store(made.root / "ledger.sqlite") as store:
        store.mark_batch("b002", "done")
    named(select(app, 0, 1))
    press(app, "approve")
    press(app, "push")
    assert "2 sent" in said(app.success)
    (project,) = studio.projects
    assert studio.uids(project) == sorted(item.id for item in made.items[3:])
    app.selectbox("shown").select("b003").run()
    assert rows(app) == {"four dogs": "waiting · Lee", "five bikes": "waiting · Lee"}
    assert app.button("push").disabled
    assert curation.make_batch(made.root) == (0, "")
    again = pushing.Push(made.root)
    assert again.end() == pushing.Sent("2 already there")
    assert len(studio.uids(project)) == len(set(studio.uids(project))) == 2
    with Store(made.root / "ledger.sqlite") as store:
        assert [row["name"] for row in store.batches()] == ["b001", "b002", "b003"]


def test_c81_a_push_that_cannot_be_made_loses_nothing(queue: Callable[..., Any]) -> None:
    """C81: while a command runs no batch is made; without a server the batch waits and the next push sends it."""
    made, app = queue()
    named(app)
    press(app, "approve")
    with lock(made.root, "round"):
        press(app, "push")
        assert "in use by toughcall round" in said(app.warning)
    assert app.button("push").label == "Push 1 item to Label Studio"
    press(app, "push")
    assert "toughcall studio up" in said(app.warning)
    assert "1 of batch b003, made and not sent yet" in said(app.caption)
    assert app.button("push").label == "Push 1 item to Label Studio"


@pytest.mark.parametrize(
    ("code", "out", "told", "sentence", "problem"),
    [
        (0, '{"sent": 3, "already there": 2, "set aside": 0}\n', "  loading\n", "3 sent, 2 already there", ""),
        (0, '{"sent": 0}\n', "", "nothing was left to send", ""),
        (0, "", "", "", "push ended without saying what it did: run toughcall status"),
        (7, "", "  bar\rtoughcall: x is in use by y: wait\n", "", "x is in use by y: wait"),
        (4, "", "toughcall: first\ntoughcall: no answer: run it again\n", "", "no answer: run it again"),
        (1, "", "Traceback", "", "push ended with 1: run toughcall push to see why"),
    ],
)
def test_what_a_push_says(code: int, out: str, told: str, sentence: str, problem: str) -> None:
    """What the command did is one sentence; why it failed is the command's own, without the rest it wrote."""
    assert pushing.result(code, out, told) == pushing.Sent(sentence, problem)


def test_a_push_that_is_left_alone_ends(queue: Callable[..., Any], studio: FakeStudio) -> None:
    """P3: whatever becomes of the page, the command runs to its end; its result is read without having listened."""
    made, _ = queue(studio__url=studio.url)
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(Batch("b003", made.schema.version, "m", (Pick(made.items[3].id, "diverse", 0.1, 0),)))
    push = pushing.Push(made.root)
    next(push.lines(), "")
    assert push.end().problem == ""
    (project,) = studio.projects
    assert made.items[3].id in studio.uids(project)


def test_imported_answers_are_answered(queue: Callable[..., Any]) -> None:
    """An item whose answer was imported is answered in the list of everything, and not among what nobody was asked."""
    made, app = queue(show="")
    with Store(made.root / "ledger.sqlite") as store:
        store.add_answers([answer(made.items[3], ("food",), made.schema, "", "import", source="import")])
    app.selectbox("shown").select(views.EVERY).run()
    assert rows(app)["four dogs"] == "answered"
    app.selectbox("shown").select(views.UNASKED).run()
    assert list(rows(app)) == ["five bikes"]


def test_newer_scores_are_shown_at_once(queue: Callable[..., Any]) -> None:
    """What was counted of a scores file is never shown of the next one."""
    made, app = queue()
    app.slider("band").set_value((0.4, 0.52)).run()
    assert list(rows(app)) == ["four dogs"]
    save_scores(made.root, made.items, made.schema.labels, np.asarray([FIVE[3]] * 5, np.float32))
    app.run()
    assert set(rows(app)) == {"four dogs", "five bikes"}
