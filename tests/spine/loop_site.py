"""A project on a fake Label Studio, what people do there, and what somebody does with it; the list is kept beside."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fakes.handler import FaultyHandler
from fakes.label_studio import FakeStudio
from loop_told import ASKED, CONCEPTS, PEOPLE, Beside, Said, Task, Told
from test_cli import Letters

from toughcall import exchange, loop, taking
from toughcall import project as projects
from toughcall.annotate import pulling, sync
from toughcall.annotate.studio import Studio
from toughcall.annotate.tasks import to_result
from toughcall.model import kinds
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import CANT_TELL, Batch, Pick
from toughcall.settings import Columns
from toughcall.store import Store
from toughcall.workspace import Workspace, opened


def result(labels: Sequence[str], word: str) -> list[dict[str, Any]]:
    """Return an annotation's result as the interface would send it, whatever the word."""
    made = to_result(kinds.get("multiclass").schema(tuple(labels)), (labels[0],))
    made[0]["value"]["choices"] = [word]
    return made


class Site(Beside):
    """One project, its server, and the list beside them."""

    def __init__(self, fake: FakeStudio, folder: Path, **settings: Any) -> None:
        self.fake, self.folder, self.settings = fake, folder, settings
        fake.projects.clear()
        fake.faults.clear()
        fake.late.clear()
        fake.ticks = 0
        fake.users = dict(enumerate(PEOPLE, 1))
        self.told = Told()
        self.root = Path(tempfile.mkdtemp(dir=folder)) / "p"
        self.root.mkdir()
        self.stack = ExitStack()
        self.write(ASKED[0])
        Store(self.root / "ledger.sqlite", create=True).close()
        self.open()

    def write(self, labels: Sequence[str]) -> None:
        """Write project.toml with these labels."""
        settings = {"studio.url": self.fake.url, "gate.min_items": 4, "gate.test_share": 0.35, "mine.batch": 4}
        settings |= {key.replace("__", "."): value for key, value in self.settings.items()}
        tables = {"labels": {one: f"about {one}" for one in labels}}
        quotas = kinds.get("multiclass").quotas
        text = projects.render("p", "multiclass", tables, {"text": "text"}, quotas=quotas, settings=settings)
        (self.root / projects.FILE).write_text(text, encoding="utf-8")

    def open(self) -> None:
        """Open the project as a new command does."""
        self.ws: Workspace = self.stack.enter_context(opened(self.root, "test"))
        # nothing here cuts the power: waiting for the disk would be most of the time
        self.ws.store.base.execute("PRAGMA synchronous = OFF")
        self.told.asks[self.ws.schema.version] = self.ws.schema.labels

    def close(self) -> None:
        """End the command, however it ended."""
        self.stack.close()

    # ---- what people do on the server

    def shown(self, number: int, word: str) -> str:
        """Return what somebody chooses who means this concept: what the interface of the project calls it."""
        config = self.fake.projects[number].fields["label_config"]
        return next((w for w in CONCEPTS if CONCEPTS[w] == CONCEPTS[word] and f'alias="{w}"' in config), "")

    def body(self, number: int, what: str) -> tuple[dict[str, Any], tuple[str, str]]:
        """Return an annotation and what it says: (outcome, word)."""
        if what in CONCEPTS and (word := self.shown(number, what)):
            return {"result": result(ASKED[0], word)}, ("label", word)
        if what == "can't tell":
            return {"result": result(ASKED[0], CANT_TELL)}, ("cant_tell", "")
        if what == "empty":
            return {"result": []}, ("empty", "")
        return {"result": [], "was_cancelled": True}, ("skip", "")

    def answer(self, number: int, task: Task, who: int, what: str) -> None:
        """Let one of the three answer a task."""
        body, meant = self.body(number, what)
        status, note = self.fake.annotate(task["id"], query={}, body={**body, "completed_by": 1 + who})
        assert status == 201
        self.told.said.append(Said(number, task, note, [meant]))

    def edit(self, one: Said, what: str) -> None:
        """Let somebody change an answer, or withdraw a skip."""
        body, meant = self.body(one.project, what)
        self.fake.edit(one.note["id"], query={}, body={"was_cancelled": False, **body})
        one.versions.append(meant)

    def delete(self, number: int, task: Task) -> None:
        """Let somebody delete a task."""
        del self.fake.projects[number].tasks[task["id"]]
        for one in self.told.said:
            one.removed = one.removed or one.task is task
        key = (number, task["data"]["batch"], task["data"]["uid"])
        if not self.copies(key):
            self.told.deleted.add(key)
            self.told.lost |= {key} & self.told.sent

    def came_back(self) -> None:
        """Note what is there again although somebody had deleted it: not by us."""
        self.told.lost = {key for key in self.told.lost if not self.copies(key)}

    # ---- what somebody does with the project

    def import_rows(self, rows: Iterable[Mapping[str, str]], labelled: bool) -> None:
        """Import a file and hold its counts against the rows (P6, C04, C10, C16)."""
        path = self.root.parent / "rows.csv"
        rows = list(rows)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        labels = self.ws.schema.labels
        good = [row for row in rows if row["text"].strip() and (not labelled or row["label"] in (*labels, ""))]
        new = {row["text"] for row in good} - self.told.texts
        added = loop.import_file(self.ws, path, Columns(label="label" if labelled else ""))
        assert added.read == len(rows) == added.new + added.known + len(added.set_aside)
        assert (added.new, len(added.set_aside)) == (len(new), len(rows) - len(good))
        self.told.texts |= new
        ids = {text.text: text.id for text in self.ws.pool.texts()}
        for row in good:
            if labelled and row["label"]:
                self.told.imported.setdefault(ids[row["text"]], set()).add(row["label"])

    def plan(self, size: int) -> None:
        """Save a batch of items that were never asked."""
        asked = self.ws.store.asked()
        ids = sorted(text.id for text in self.ws.pool.texts() if text.id not in asked)[:size]
        if ids:
            name = self.ws.store.next_batch_name()
            picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate(ids))
            self.ws.store.add_batch(Batch(name, self.ws.schema.version, "m", picks))
            self.note_batch(self.ws.store.batch(name), "")

    def note_batch(self, batch: Batch, role: str) -> None:
        """Write down what a batch asks."""
        if batch.picks:
            self.told.picks[batch.name] = {pick.item: pick.reason for pick in batch.picks}
            self.told.roles[batch.name] = role


def quickened(patch: pytest.MonkeyPatch, fake: FakeStudio) -> None:
    """Let waiting take no time, a connection be made once, texts be read without a model, and pages be small."""
    studio = Studio(fake.url, fake.token)
    clock = [0.0]

    def wait(seconds: float) -> None:
        clock[0] += seconds

    given: dict[str, Callable[..., Any]] = {"wait": wait, "now": lambda: clock[0]}
    for function in (sync.push, sync.reconcile):
        assert function.__kwdefaults__.keys() >= given.keys()
        patch.setattr(function, "__kwdefaults__", function.__kwdefaults__ | given)
    for module in (exchange, taking):
        patch.setattr(module, "connect", lambda ws: studio)
    patch.setenv(TOKEN_VARIABLE, fake.token)
    patch.setattr("toughcall.files.os.fsync", lambda handle: None)
    # head and body of an answer are two packets: the second would wait for word of the first, 40 ms each time
    patch.setattr(FaultyHandler, "disable_nagle_algorithm", True)
    patch.setattr("toughcall.mining.embed.load_encoder", lambda *args, **more: Letters())
    patch.setattr(sync, "CHUNK_TASKS", 3)
    patch.setattr(pulling, "PAGE", 3)
