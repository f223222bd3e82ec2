"""What a person at a terminal is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from toughcall.cli_working import project_folder
from toughcall.records import UsageError
from toughcall.telling import Console, rows_out


def test_a_bar_without_a_known_end_stays_one_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """Reading a file whose length nobody knows is one bar, not a finished one for every thousand rows."""
    console = Console()
    update = console.bar("importing")
    for done in (1000, 2000, 3000):
        update(done, 0)
    console.end()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "3000" in said
    assert "100%" not in said


def test_a_bar_ends_at_its_total_and_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """At done == total the bar is closed by itself; --quiet writes neither bars nor sentences."""
    console = Console()
    update = console.bar("scoring")
    update(0, 10)
    update(10, 10)
    assert "100%" in capsys.readouterr().err
    quiet = Console(quiet=True)
    quiet.bar("scoring")(5, 10)
    quiet.say("nothing")
    assert capsys.readouterr().err == ""


def test_rows_show_undefined_as_a_dash_and_json_as_null(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that is not defined is a dash in the table and null in JSON, never 0 or NaN (C66)."""
    rows_out([{"a": None, "b": 0.5}], as_json=False)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["–", "0.500"]
    rows_out([{"a": None}], as_json=True)
    assert capsys.readouterr().out == '{"a": null}\n'


def test_the_project_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_project: Callable[..., Path]) -> None:
    """The project is this folder, one above, the one below or the variable's; two below are never guessed."""
    root = make_project()
    monkeypatch.chdir(tmp_path)
    assert project_folder() == root
    (root / "pool" / "deep").mkdir(parents=True)
    monkeypatch.chdir(root / "pool" / "deep")
    assert project_folder() == root
    other = make_project(name="other")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"2 projects here \(other, p\)"):
        project_folder()
    monkeypatch.setenv("TOUGHCALL_PROJECT", str(other))
    assert project_folder() == other
