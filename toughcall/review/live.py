"""The project folder as the page sees it now: opened for reading, without the lock (C81)."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from toughcall import project as projects
from toughcall import status
from toughcall.model import kinds
from toughcall.model.kind import Kind
from toughcall.pool import Pool
from toughcall.records import Answer, IntegrityError, Item, Label
from toughcall.schema import Schema
from toughcall.settings import Project
from toughcall.store import Store
from toughcall.voting import decided
from toughcall.workspace import schema_of

VARIABLE = "TOUGHCALL_PROJECT"
PRESSES = threading.Lock()
"""Presses wait for one another: Streamlit runs the second click of a double click while the first is carried out."""
LAZY = True
"""Whether only the tab that is looked at is drawn; tests look at all of them at once."""


@dataclass(frozen=True)
class Scored:
    """The newest saved scores: their file, the model that gave them, and its labels or dimensions."""

    path: Path
    model: str
    labels: tuple[str, ...]


@dataclass
class Live:
    """One project opened for reading. What is read once stays for this view of the page only."""

    project: Project
    store: Store
    shown: dict[str, Item] = field(default_factory=dict)
    """Items whose words were read for this view, by id."""
    scores: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """The rows of the scores that were read for this view, by item: `item_views.score_columns`."""

    @property
    def pool(self) -> Pool:
        """The records."""
        return Pool(self.project.pool)

    @property
    def kind(self) -> Kind:
        """The kind of work."""
        return kinds.get(self.project.kind)

    @cached_property
    def schema(self) -> Schema:
        """What experts may answer; computed, never written (Workspace.schema would write it)."""
        return schema_of(self.project)

    @cached_property
    def counts(self) -> tuple[int, int, int]:
        """How many records, pairs and relations are stored."""
        return self.pool.counts()

    @cached_property
    def labels(self) -> tuple[list[Label], list[str]]:
        """Agreed labels of this schema, and the items in disagreement."""
        return decided(self.valid)

    @cached_property
    def answers(self) -> list[Answer]:
        """The current answers, oldest first, whatever they were given under."""
        return self.store.answers()

    @cached_property
    def valid(self) -> list[Answer]:
        """The current answers that say something under this schema, oldest first."""
        return self.store.valid(self.schema.version)

    @cached_property
    def batches(self) -> list[dict[str, Any]]:
        """Name, state, counts and model of every batch, oldest first."""
        return self.store.batches()

    @cached_property
    def states(self) -> dict[str, str]:
        """The state of every batch by its name: planned, sent or done."""
        return {row["name"]: row["state"] for row in self.batches}

    @cached_property
    def retrains(self) -> list[dict[str, Any]]:
        """What every retrain decided, oldest first."""
        return [content for _, content in self.store.events("retrain")]

    @cached_property
    def champion(self) -> str:
        """The version in service, "" before the first promotion."""
        from toughcall.model.registry import Registry

        return Registry(self.project.models).champion()

    @cached_property
    def scored(self) -> Scored | None:
        """The newest scores, None before the first `toughcall score`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.project.root / "scores" / "latest.parquet"
        try:
            found = pq.read_schema(path)
            meta = found.metadata or {}
            labels = tuple(str(name) for name in json.loads(meta.get(b"labels", b"[]")))
        except FileNotFoundError:
            return None
        except (pa.ArrowInvalid, OSError, ValueError) as error:
            raise self.damaged(path, error) from None
        if not labels or any(f"p:{name}" not in found.names for name in labels):
            raise self.damaged(path, ValueError("it does not name its labels"))
        return Scored(path, meta.get(b"model", b"").decode(), labels)

    @staticmethod
    def damaged(path: Path, error: Exception) -> IntegrityError:
        """Return the error that says a scores file cannot be used."""
        return IntegrityError(f"{path} cannot be read ({str(error).splitlines()[0][:100]}): run toughcall score again")

    def sql(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Query pool and scores together; a scores file that turns out damaged is said to be so."""
        import duckdb

        try:
            return self.pool.sql(query, values)
        except duckdb.Error as error:
            path = self.project.root / "scores" / "latest.parquet"
            raise self.damaged(path, error) from None


def folder() -> Path:
    """Return the project folder the page is about."""
    return Path(os.environ.get(VARIABLE) or ".")


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Live]:
    """Open the project of `root` for reading; UsageError when there is none."""
    project = projects.load(root, kinds.KINDS)
    with Store(project.ledger) as store:
        yield Live(project, store)


def next_step(live: Live) -> tuple[str, str]:
    """Return (one sentence, the command that makes sense now), as `toughcall status` does."""
    return status.next_step(live.counts[0], live.batches, live.retrains, live.champion)
