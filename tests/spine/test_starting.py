"""Starting a project from a ready project.toml: what is taken over, what the command line wins, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toughcall import project as projects
from toughcall.model.kinds import KINDS
from toughcall.records import UsageError
from toughcall.settings import Columns
from toughcall.starting import columns_of, make_project
from toughcall.workspace import Silent

READY = """
[project]
kind = "pair"
guideline = "One event?"
[labels]
same = "one event"
other = "two events"
[data]
text = "words"
block = ["site"]
time = "opened"
[encoder]
name = "theirs"
[mine]
window = 14
[mine.quotas]
diverse = 0.5
[gate]
min_items = 30
"""


def made(folder: Path, ready: str, **options: Any) -> Any:
    """Return the project that a ready file and the options of `init` make."""
    like = folder / "ready.toml"
    like.write_text(ready, encoding="utf-8")
    make_project(folder / "p", Silent(), like=like, **options)
    return projects.load(folder / "p", KINDS)


def test_a_ready_file_gives_questions_columns_and_settings(tmp_path: Path) -> None:
    """Every table is taken over; quotas that it does not name are the kind's own."""
    got = made(tmp_path, READY)
    assert (got.kind, got.labels, got.hints, got.guideline) == (
        *("pair", ("same", "other"), ("one event", "two events")),
        "One event?",
    )
    assert (got.data.text, got.data.block, got.data.time) == ("words", ("site",), "opened")
    assert (got.encoder.name, got.mine.window, got.gate.min_items) == ("theirs", 14.0, 30)
    assert got.mine.quotas == {**KINDS["pair"].quotas, "diverse": 0.5}


def test_the_command_line_wins_over_a_ready_file(tmp_path: Path) -> None:
    """What somebody types now counts more than what stood in the file."""
    got = made(tmp_path, READY, encoder="ours", text="note", labels="a,b", guideline="Alike?", kind="multiclass")
    assert (got.encoder.name, got.data.text, got.labels, got.guideline) == ("ours", "note", ("a", "b"), "Alike?")
    assert got.kind == "multiclass"


@pytest.mark.parametrize(
    ("ready", "says"),
    [
        ("labels = 5", r"\[labels\] of .*ready.toml must be a table"),
        ("mine = 5", r"\[mine\] of .*ready.toml must be a table"),
        ("[data]\ntextt = 'a'", "unknown key data.textt in .*did you mean 'text'"),
        ("[data", "cannot read .*ready.toml as a project.toml"),
        ("", "say what kind of work it is"),
        (READY.replace('time = "opened"\n', ""), "mine.window needs data.time"),
        (READY.replace("window", "windw"), r"unknown key mine.windw \(did you mean 'window'\?\)"),
    ],
)
def test_a_ready_file_with_a_mistake_is_refused_and_leaves_nothing(ready: str, says: str, tmp_path: Path) -> None:
    """C01: one sentence, and no half project."""
    with pytest.raises(UsageError, match=says):
        made(tmp_path, ready)
    assert [path.name for path in tmp_path.iterdir()] == ["ready.toml"]


def test_ready_made_pairs_are_not_asked_for_block_and_time() -> None:
    """A file of pairs has been paired already: it may lack the columns that decide who is paired."""
    settled = Columns(text="words", block=("site",), time="opened")
    assert columns_of(settled, {"text": "a", "text_b": "b"}) == Columns(text="a", text_b="b")
    assert columns_of(settled, {"text": "a"}) == Columns(text="a", block=("site",), time="opened")
