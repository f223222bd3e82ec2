"""The demo's command: stopping what does not run, writing data alone, and names it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from toughcall.cli import main


def test_down_in_an_empty_folder_says_that_nothing_was_running(tmp_path: Path) -> None:
    """`make down` twice in a row is no error."""
    for _ in range(2):
        done = CliRunner().invoke(main, ["demo", "--down", "--folder", str(tmp_path)])
        assert (done.exit_code, done.output.strip()) == (0, "stopped: nothing was running")


@pytest.mark.parametrize("kind", ["relation", "multilabel", "pair"])
def test_data_only_writes_the_files_and_starts_nothing(kind: str, tmp_path: Path) -> None:
    """Pool and held-out rows are there, each of them readable; no server, no project."""
    done = CliRunner().invoke(main, ["--quiet", "demo", "--kind", kind, "--data-only", "--folder", str(tmp_path / "d")])
    assert done.exit_code == 0, done.output
    files = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert len(files) == 2
    assert all((tmp_path / "d" / name).stat().st_size > 1000 for name in files)
    if kind == "relation":
        rows = [json.loads(line) for line in (tmp_path / "d" / "passages.jsonl").read_text("utf-8").splitlines()]
        assert all(pair["label"] is None for row in rows for pair in row["pairs"])


def test_a_kind_without_demo_data_is_refused_with_the_names(tmp_path: Path) -> None:
    """Exit 2 and one sentence; nothing is started or written."""
    done = CliRunner().invoke(main, ["demo", "--kind", "songs", "--folder", str(tmp_path / "d")])
    assert done.exit_code == 2
    assert "no demo data for the kind 'songs'" in done.output
    assert not (tmp_path / "d").exists()
