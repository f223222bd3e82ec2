"""Promotion and rollback from the page: the real command, once a press, after the verdict was shown."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from review_models import TEXTS, judge, promoted, store_model
from review_project import Filled, verdict
from streamlit.testing.v1 import AppTest

from toughcall.files import lock
from toughcall.model.registry import Registry
from toughcall.review import live, promoting, tab_model
from toughcall.review import page as page_module
from toughcall.review.verdict import in_words
from toughcall.store import Store


@pytest.fixture
def trained(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Filled]:
    """Return a function (outcome, champions) → a project with two judged models, the newest with that outcome."""

    def make(outcome: str = "PROMOTE", champions: tuple[str, ...] = ("p-v001",)) -> Filled:
        made = filled(texts=TEXTS)
        judge(made, "p-v001", labels=50)
        judge(made, "p-v002", outcome, labels=90)
        promoted(made, champions)
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
        return made

    return make


def page() -> AppTest:
    app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
    assert not app.exception
    return app


def moves(root: Path) -> list[promoting.Move]:
    with live.opened(root) as one:
        return promoting.offered(one)


def champion(root: Path) -> str:
    return Registry(root / "models").champion()


def events(root: Path, verb: str) -> list[dict[str, Any]]:
    with Store(root / "ledger.sqlite") as store:
        return [event for _, event in store.events(verb)]


def buttons(app: AppTest) -> dict[str, Any]:
    return {one.label.replace("\\", ""): one for one in app.button if str(one.key).startswith("move-")}


def test_what_is_offered_follows_the_verdict_and_the_line(trained: Callable[..., Filled]) -> None:
    """Only the newest model with PROMOTE that does not serve may be promoted; back goes who has a champion before."""
    made = trained("PROMOTE", ("p-v001",))
    (one,) = moves(made.root)
    assert (one.verb, one.version, one.serving) == ("promote", "p-v002", "p-v001")
    promoted(made, ["p-v002"])
    (back,) = moves(made.root)
    assert (back.verb, back.version, back.serving) == ("rollback", "p-v001", "p-v002")
    assert back.sentence.startswith("PROMOTE p-v001")
    with Store(made.root / "ledger.sqlite") as store:
        store.add_event("retrain", verdict("PROMOTE", "p-v009"))
    assert [each.verb for each in moves(made.root)] == ["rollback"], "p-v009 is not stored"


@pytest.mark.parametrize("outcome", ["KEEP", "UNDECIDED"])
def test_c67_what_did_not_win_cannot_be_promoted(trained: Callable[..., Filled], outcome: str) -> None:
    """C67: no button where the gate did not say PROMOTE, and a move made up all the same is refused."""
    made = trained(outcome)
    assert moves(made.root) == []
    assert buttons(page()) == {}
    forged = promoting.Move("promote", "p-v002", "p-v001", 1, "")
    assert "Nothing was done" in promoting.carry_out(made.root, forged)
    assert champion(made.root) == "p-v001"


def test_the_verdict_stands_before_the_button_that_promotes(trained: Callable[..., Filled]) -> None:
    """Pressed, the model serves and one event says so; before it stood the verdict's sentence and figures."""
    made = trained()
    app = page()
    said = "\n".join(one.value for one in app.text)
    (one,) = moves(made.root)
    assert in_words(one.sentence) in said
    assert "macro_f1" not in said
    assert all(line in said for line in one.figures)
    assert any(line.startswith("candidate p-v002: macro F1 ") for line in one.figures)
    assert "p-v002 will serve instead of p-v001." in said
    app = buttons(app)["Promote p-v002"].click().run()
    assert not app.exception
    assert [one.value.replace("\\", "") for one in app.success] == ["p-v002 is in service now."]
    assert champion(made.root) == "p-v002"
    assert [event["version"] for event in events(made.root, "promote")] == ["p-v001", "p-v002"]
    assert next(one.value for one in app.metric if one.label == "Champion").replace("\\", "") == "p-v002"
    assert list(buttons(app)) == ["Roll back to p-v001"]


def test_the_page_rolls_back(trained: Callable[..., Filled]) -> None:
    """C71: rolled back from the page, the champion before serves again and may be promoted away from again."""
    made = trained(champions=("p-v001", "p-v002"))
    app = buttons(page())["Roll back to p-v001"].click().run()
    assert champion(made.root) == "p-v001"
    assert [event["version"] for event in events(made.root, "rollback")] == ["p-v001"]
    assert list(buttons(app)) == ["Promote p-v002"]


def test_c80_a_double_click_goes_back_one_step(trained: Callable[..., Filled]) -> None:
    """C80: the same press twice, in one window or in two, moves the champion once: never two steps back."""
    made = trained(champions=("p-v001", "p-v002"))
    judge(made, "p-v003", "KEEP", labels=120)
    promoted(made, ["p-v003"])
    (move,) = moves(made.root)
    app, other = page(), page()
    press = buttons(other)["Roll back to p-v002"]
    buttons(app)["Roll back to p-v002"].click().run()
    assert champion(made.root) == "p-v002"
    assert "the champion has changed" in promoting.carry_out(made.root, move)
    press.click().run()
    assert champion(made.root) == "p-v002"
    assert "has changed" in other.warning[0].value.replace("\\", "")
    assert len(events(made.root, "rollback")) == 1


def test_c80_a_press_is_its_own_even_when_all_else_is_equal(trained: Callable[..., Filled]) -> None:
    """C80: back and forth again, the offer looks the same and is another one: an old press does nothing."""
    made = trained(champions=("p-v001", "p-v002"))
    (old,) = moves(made.root)
    assert promoting.carry_out(made.root, old) == ""
    promoted(made, ["p-v002"])
    (new,) = moves(made.root)
    assert dataclasses.replace(new, changes=old.changes) == old
    assert new.id != old.id
    assert "the champion has changed" in promoting.carry_out(made.root, old)
    assert champion(made.root) == "p-v002"


def test_c80_a_champion_that_changes_after_the_check_is_left_alone(
    trained: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C80: somebody promotes between the page's look and its command: nothing is rolled back, and that is said."""
    made = trained(champions=("p-v001", "p-v002"))
    (move,) = moves(made.root)
    real, ran = promoting.command, []

    def meanwhile(root: Path, one: promoting.Move) -> list[str]:
        judge(made, "p-v003", "PROMOTE", labels=120)
        promoted(made, ["p-v003"])
        ran.append(one)
        return real(root, one)

    monkeypatch.setattr(promoting, "command", meanwhile)
    said = promoting.carry_out(made.root, move)
    assert ran == [move]
    assert said.endswith("exit code 2: nothing was done: p-v003 serves now, not p-v002: toughcall status")
    assert champion(made.root) == "p-v003"


def test_a_second_press_of_one_session_says_nothing(
    trained: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C80: the second click of a double click, already on its way, neither runs a command nor takes back the news."""
    made = trained()
    (move,) = moves(made.root)
    state: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", state)
    ran: list[promoting.Move] = []
    monkeypatch.setattr(promoting, "carry_out", lambda root, one: ran.append(one) or "")
    tab_model._pressed(move)
    tab_model._pressed(move)
    assert ran == [move]
    assert state["moved"] == "p-v002 is in service now."
    assert "unmoved" not in state


def test_c81_while_a_command_runs_the_page_says_who_holds_the_lock(trained: Callable[..., Filled]) -> None:
    """C81: a promotion that meets a running command is not done, and says which command it was."""
    made = trained()
    app = page()
    with lock(made.root, "retrain"):
        app = buttons(app)["Promote p-v002"].click().run()
        assert not app.exception
        said = app.warning[0].value.replace("\\", "")
    assert "toughcall promote ended with exit code 7" in said
    assert "in use by toughcall retrain" in said
    assert champion(made.root) == "p-v001"
    buttons(app)["Promote p-v002"].click().run()
    assert champion(made.root) == "p-v002"


def test_c69_a_changed_model_is_not_promoted(trained: Callable[..., Filled]) -> None:
    """C69: the command's own sentence, which names the changed file, reaches the page; the old champion serves on."""
    made = trained()
    app = page()
    (made.root / "models" / "p-v002" / "weights.safetensors").write_bytes(b"others")
    app = buttons(app)["Promote p-v002"].click().run()
    assert not app.exception
    said = app.warning[0].value.replace("\\", "")
    assert "exit code 6" in said
    assert "weights.safetensors was changed" in said
    assert champion(made.root) == "p-v001"


def test_the_command_is_the_real_one(trained: Callable[..., Filled]) -> None:
    """The child runs this very toughcall on this very project; no version can be taken for an option."""
    made = trained()
    (move,) = moves(made.root)
    told = promoting.command(made.root, move)
    assert told[:3] == [sys.executable, "-m", "toughcall.cli"]
    rest = ["--project", str(made.root.resolve()), "--quiet", "promote", "p-v002", "--while", "p-v001"]
    assert told[3:] == rest
    with Store(made.root / "ledger.sqlite") as store:
        store.add_event("retrain", verdict("PROMOTE", "--help"))
    store_model(made.root, "p-v003", None)
    assert moves(made.root) == []
