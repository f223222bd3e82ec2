"""A project whose tasks go out as files, and the exports that come home: what the tests of both ways share."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from toughcall import loop
from toughcall.annotate.tasks import to_result
from toughcall.cli import Group
from toughcall.cli_files import answers, export
from toughcall.records import Batch, Pick
from toughcall.settings import Columns
from toughcall.telling import Console
from toughcall.workspace import Silent, Workspace, opened

ANNA, BEN, CARO = "anna@example.com", "ben@example.com", "caro@example.com"


def run(root: Path, *words: object) -> Result:
    """Run `toughcall …` on a project."""
    group = Group("toughcall", {"export": export, "answers": answers})
    return CliRunner().invoke(group, list(map(str, words)), obj={"folder": root, "console": Console()})


def row_of(result: Result) -> dict[str, Any]:
    """Return the one row of a command that went well."""
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


class Told(Silent):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def planned(ws: Workspace, size: int, name: str = "b001", *, more: tuple[str, ...] = ()) -> list[str]:
    """Save a batch of items that were never asked."""
    ids = [one for one in sorted(text.id for text in ws.pool.texts()) if one not in ws.store.asked()][:size]
    picks = tuple(Pick(one, "in_band", 0.5, rank, note="p = 0.51") for rank, one in enumerate([*ids, *more]))
    ws.store.add_batch(Batch(name, ws.schema.version, "p-v001", picks))
    return ids


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what the files of a folder hold, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tasks_in(path: Path) -> list[dict[str, Any]]:
    """Return the tasks of a file."""
    return list(json.loads(path.read_text(encoding="utf-8")))


def exported(
    tasks: list[dict[str, Any]], results: list[Any], project: int = 7, who: Any = 2, at: str = "2026-11-21T12:00:00.0Z"
) -> list[dict[str, Any]]:
    """Return tasks as Label Studio exports them once somebody answered; None: nobody did."""
    found = []
    for number, (task, result) in enumerate(zip(tasks, results, strict=True), 1):
        note = {"id": 40 + number, "completed_by": who, "was_cancelled": False, "lead_time": 2.5, "updated_at": at}
        note |= {"result": result, "unique_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task['data']['uid']} {who}"))}
        each = [] if result is None else [note]
        found.append({"id": number, **task, "annotations": each, "drafts": [], "project": project})
    return found


def say(ws: Workspace, *labels: str) -> list[dict[str, Any]]:
    """Return the result that says these labels."""
    return to_result(ws.schema, labels)


def written(path: Path, tasks: Any) -> Path:
    """Write something as JSON."""
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def thirty(make_project: Callable[..., Path], write_csv: Callable[..., Path], name: str = "p", **settings: Any) -> Path:
    """Return a project of 30 texts in which a batch of six is planned."""
    root = make_project(name=name, **settings)
    with opened(root, "import") as ws:
        texts = [{"text": f"text number {n}, größer"} for n in range(30)]
        loop.import_file(ws, write_csv("pool.csv", texts), Columns())
        planned(ws, 6)
    return root
