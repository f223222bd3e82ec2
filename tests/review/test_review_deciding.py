"""Disagreements on the labels tab: both sides beside each other, and a decision that is one event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_project import Filled, answer
from streamlit.testing.v1 import AppTest

from toughcall import project as projects
from toughcall.files import lock
from toughcall.model import kinds
from toughcall.review import deciding, tab_labels
from toughcall.review import page as page_module
from toughcall.review.live import Live
from toughcall.store import Store


@pytest.fixture
def torn(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Filled]:
    """Return a function (kind) → a filled project in which ana and ben differ on the item of the first batch."""

    def make(kind: str = "multiclass", *others: tuple[str, ...], **more: Any) -> Filled:
        made = filled(kind, **more)
        with Store(made.root / "ledger.sqlite") as store:
            for n, value in enumerate(others or [made.schema.labels[1:2]]):
                store.add_answers([answer(made.items[0], value, made.schema, "b001", f"ben{n}")])
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
        return made

    return make


def page() -> AppTest:
    app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
    assert not app.exception
    return app


def live(root: Path, store: Store) -> Live:
    return Live(projects.load(root, kinds.KINDS), store)


def answers(root: Path) -> list[Any]:
    with Store(root / "ledger.sqlite") as store:
        return [one for one in store.answers(history=True) if one.origin.get("role") == "adjudication"]


def press(app: AppTest) -> AppTest:
    (button,) = [one for one in app.button if one.label == "Decide"]
    done = button.click().run()
    assert not done.exception
    return done


def radio(app: AppTest) -> Any:
    return next(one for one in app.radio if one.label == "Decision")


def name(app: AppTest) -> Any:
    return next(one for one in app.text_input if one.label == "Your name")


@pytest.mark.parametrize("kind", ["multiclass", "pair", "relation"])
def test_a_decision_is_the_label(torn: Callable[..., Filled], kind: str) -> None:
    """A4, C80: chosen, named and pressed, the decision is the label and the disagreement is gone; pressed without a
    choice or a name nothing is stored and a sentence says why.
    """
    made = torn(kind)
    app = page()
    assert any(one.value == "##### To decide" for one in app.markdown)
    app = press(app)
    assert [one.value for one in app.warning] == ["Choose an answer first\\."]
    radio(app).set_value(made.schema.labels[1])
    app = press(app)
    assert "needs the name" in app.warning[0].value
    assert answers(made.root) == []
    name(app).input("Lee $5")
    app = press(app)
    (event,) = answers(made.root)
    assert (event.annotator, event.value, event.outcome) == ("Lee $5", made.schema.labels[1:2], "label")
    assert event.at
    assert not any("To decide" in one.value for one in app.markdown)
    with Store(made.root / "ledger.sqlite") as store:
        labels, left = live(made.root, store).labels
    assert left == []
    assert {label.item: label.value for label in labels}[made.items[0].id] == made.schema.labels[1:2]


def test_several_labels_or_none(torn: Callable[..., Filled]) -> None:
    """Multilabel: several may be chosen; none chosen says that none applies."""
    made = torn("multilabel")
    app = page()
    next(one for one in app.button_group if one.label.startswith("Decision")).set_value(
        [made.schema.labels[0], made.schema.labels[1]]
    )
    name(app).input("Lee")
    press(app)
    assert [one.value for one in answers(made.root)] == [made.schema.labels[:2]]


def test_c79_two_sessions_both_count(torn: Callable[..., Filled]) -> None:
    """C79: two people who decide the same item at once are both in the ledger; the later one holds."""
    made = torn()
    first, second = page(), page()
    for app, label, who in ((first, made.schema.labels[0], "Lee"), (second, made.schema.labels[2], "Kim")):
        radio(app).set_value(label)
        name(app).input(who)
        press(app)
    assert [(one.annotator, one.value[0]) for one in answers(made.root)] == [
        ("Lee", made.schema.labels[0]),
        ("Kim", made.schema.labels[2]),
    ]
    with Store(made.root / "ledger.sqlite") as store:
        found = {label.item: label.value for label in live(made.root, store).labels[0]}
    assert found[made.items[0].id] == (made.schema.labels[2],)


def test_c80_the_same_decision_twice_is_one(torn: Callable[..., Filled]) -> None:
    """C80: a double click sends one id twice: one event."""
    made = torn()
    for _ in range(2):
        assert deciding.decide(made.root, made.items[0].id, made.schema.labels[:1], "Lee", "the id") == ""
    assert len(answers(made.root)) == 1


def test_c81_while_a_command_runs_the_page_says_who_holds_the_lock(torn: Callable[..., Filled]) -> None:
    """C81: while a command runs the page says that a decision was not stored; pressed again later it is."""
    made = torn()
    app = page()
    radio(app).set_value(made.schema.labels[0])
    name(app).input("Lee")
    with lock(made.root, "retrain"):
        app = press(app)
        assert "in use by toughcall retrain" in app.warning[0].value.replace("\\", "")
        assert answers(made.root) == []
    press(app)
    assert len(answers(made.root)) == 1


def test_c78_what_was_said_and_by_whom_is_shown_letter_by_letter(torn: Callable[..., Filled]) -> None:
    """C78: markup in texts and names is shown, not obeyed; what more people said stands first."""
    made = torn("multiclass", ("machine",), ("machine",), ("animal",))
    with Store(made.root / "ledger.sqlite") as store:
        (dispute,) = deciding.disputes(live(made.root, store))
    assert deciding.chosen(dispute.answers) == {"animal": ["ana", "ben2"], "machine": ["ben0", "ben1"]}
    assert dispute.item == made.items[0]


def test_c80_two_clicks_at_once_are_one_decision(torn: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> None:
    """C80: Streamlit runs the second click while the first is being stored: it waits, and nothing is refused."""
    import streamlit as st

    made = torn()
    item = made.items[0].id
    state: dict[str, Any] = {f"choice-{item}": "food", f"reviewer-{item}": "Lee", f"decision-{item}": "one press"}
    monkeypatch.setattr(st, "session_state", state)
    real, entered, both = deciding.decide, list[str](), threading.Event()

    def slow(*given: Any) -> str:
        entered.append("in")
        if len(entered) > 1:
            both.set()
        both.wait(0.3)
        return real(*given)

    monkeypatch.setattr(deciding, "decide", slow)
    clicks = [threading.Thread(target=tab_labels._pressed, args=(item,)) for _ in range(2)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert entered == ["in"]
    assert (state.get("refused"), state["decided"]) == (None, "Lee decided: food")
    assert len(answers(made.root)) == 1
