"""The queue tab: the band that is moved, the rows it leaves, and the push of what was approved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeStudio
from queue_page import FIVE, Queue, named, opener, press, rows, said, select
from review_project import Filled, answer, save_scores

from toughcall.files import lock
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, Pick
from toughcall.review import curation, pushing, views
from toughcall.store import Store


@pytest.fixture
def queue(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a function (kind, …) → (a filled project, its page with the items nobody was asked about)."""
    return opener(filled, monkeypatch)


# ---- the band


def test_a_band_that_is_moved_changes_the_rows(queue: Queue) -> None:
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


def test_an_empty_band_says_what_to_do(queue: Queue) -> None:
    """Nothing in the band: the histogram and the rows say so, each with a command."""
    _, app = queue()
    app.slider("band").set_value((0.955, 0.96)).run()
    assert "No score lies from 0.955 to 0.960" in said(app.caption)
    (told,) = [one for one in app.info if "No item matches: none of these has a score" in one.value]
    assert said([told]).count("`toughcall round`") == 1


def test_scores_that_know_one_class_are_said_to(queue: Queue) -> None:
    """Where a model takes every item for one class, the page says so and what helps."""
    _, app = queue(values=[(0.9, 0.06, 0.04)] * 5)
    assert "takes every item for “animal”" in said(app.caption)
    _, other = queue(values=FIVE, name="q")
    assert "takes every item" not in said(other.caption)


def test_when_everything_was_asked_the_next_step_is_said(queue: Queue) -> None:
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
    (told,) = [one for one in app.info if "Everything that is scored was asked" in one.value]
    assert "`toughcall import FILE --text COLUMN`" in said([told])
    app.selectbox("shown").select(views.WANTED).run()
    assert "Nothing is approved or pinned" in said(app.info)
    app.selectbox("shown").select(views.ASIDE).run()
    assert "Nothing is set aside" in said(app.info)


# ---- sending


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Label Studio in this process, its token in the environment."""
    with FakeStudio() as fake:
        monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
        yield fake


def test_c80_what_was_approved_is_sent_once(queue: Queue, studio: FakeStudio) -> None:
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


def test_c80_a_double_click_pushes_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """C80: the second of two quick clicks carries the id of the first: it makes no batch and starts no push."""
    import streamlit as st

    from toughcall.review import queue_actions

    made, app = queue()
    named(app)
    press(app, "approve")
    state: dict[str, Any] = {"push-press": "one"}
    monkeypatch.setattr(st, "session_state", state)
    queue_actions._push_pressed("one")
    assert state.pop("push-now")
    queue_actions._push_pressed("one")
    assert "push-now" not in state
    with Store(made.root / "ledger.sqlite") as store:
        assert [row["size"] for row in store.batches()][2:] == [1]


def test_c81_a_push_that_cannot_be_made_loses_nothing(queue: Queue) -> None:
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


def test_a_push_that_is_left_alone_ends(queue: Queue, studio: FakeStudio) -> None:
    """P3: whatever becomes of the page, the command runs to its end; its result is read without having listened."""
    made, _ = queue(studio__url=studio.url)
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(Batch("b003", made.schema.version, "m", (Pick(made.items[3].id, "diverse", 0.1, 0),)))
    push = pushing.Push(made.root)
    next(push.lines(), "")
    assert push.end().problem == ""
    (project,) = studio.projects
    assert made.items[3].id in studio.uids(project)


def test_imported_answers_are_answered(queue: Queue) -> None:
    """An item whose answer was imported is answered in the list of everything, and not among what nobody was asked."""
    made, app = queue(show="")
    with Store(made.root / "ledger.sqlite") as store:
        store.add_answers([answer(made.items[3], ("food",), made.schema, "", "import", source="import")])
    app.selectbox("shown").select(views.EVERY).run()
    assert rows(app)["four dogs"] == "answered"
    app.selectbox("shown").select(views.UNASKED).run()
    assert list(rows(app)) == ["five bikes"]


def test_newer_scores_are_shown_at_once(queue: Queue) -> None:
    """What was counted of a scores file is never shown of the next one."""
    made, app = queue()
    app.slider("band").set_value((0.4, 0.52)).run()
    assert list(rows(app)) == ["four dogs"]
    save_scores(made.root, made.items, made.schema.labels, np.asarray([FIVE[3]] * 5, np.float32))
    app.run()
    assert set(rows(app)) == {"four dogs", "five bikes"}
