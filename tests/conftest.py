"""What several test folders share: a project made in a temporary folder, without network."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from toughcall import project as projects
from toughcall.annotate import patient
from toughcall.model import kinds
from toughcall.store import Store

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A test run is a verdict on the change: the same examples every time. `make search` draws new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=400, deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a read that fails have failed for good: tests of faults name each; `test_patient` tries reads again."""
    monkeypatch.setattr(patient, "PAUSES", ())


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Return a function (name, rows of dicts) → a CSV file in the test's folder."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Path]:
    """Return a function (kind, labels, settings) → a project folder with an empty ledger.

    `asked`: the tables of questions, where labels alone are not enough.
    """

    def make(
        kind: str = "multiclass",
        labels: dict[str, str] | None = None,
        name: str = "p",
        asked: dict[str, dict[str, Any]] | None = None,
        **settings: Any,
    ) -> Path:
        root = tmp_path / name
        root.mkdir()
        given = labels or {"animal": "an animal", "machine": "a machine", "food": "something to eat"}
        quotas = kinds.get(kind).quotas
        changed = {k.replace("__", "."): v for k, v in settings.items()}
        tables = asked or {"labels": given}
        text = projects.render(name, kind, tables, {"text": "text"}, quotas=quotas, settings=changed)
        (root / projects.FILE).write_text(text, encoding="utf-8")
        Store(root / "ledger.sqlite", create=True).close()
        return root

    return make
