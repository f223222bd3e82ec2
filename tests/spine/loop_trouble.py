"""What goes wrong with a loop, and figures of models that are good, bad or none."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall.annotate.studio import Studio
from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate
from toughcall.model.registry import load_folder
from toughcall.model.scorers import Head
from toughcall.model.train import Trained
from toughcall.records import Floats, Label, Scores, Text, Vectors
from toughcall.store import Store
from toughcall.workspace import Workspace

STORED = ("502 after commit", "drop after commit", "half body", "delay then commit later", "500 before", "404")
PUSHING = (
    *(("/import", mode) for mode in STORED),
    *(("GET /api/tasks", mode) for mode in ("half body", "500 before", "404", "redirect")),
    *(("POST /api/projects/", mode) for mode in ("502 after commit", "drop after commit")),
    *(("/dm/actions", mode) for mode in ("502 after commit", "500 before", "delay then commit later")),
)
PULLING = (
    *(("/export", mode) for mode in ("half body, no length", "half body", "drop after commit", "500 before", "404")),
    *(("GET /api/tasks", mode) for mode in ("half body", "500 before", "404")),
    *(("GET /api/projects", mode) for mode in ("500 before", "refuse token", "drop after commit")),
)
"""(part of a request, what happens to it)"""
STOPS: tuple[tuple[type, str], ...] = (
    *((Studio, name) for name in ("send", "listed", "exported", "ensure_project", "counted")),
    *((Store, name) for name in ("add_tasks", "place_tasks", "mark_tasks", "mark_batch", "add_answers", "add_raw")),
    *((Store, name) for name in ("add_set_aside", "mark_seen", "put", "add_event")),
)
"""Where a command may be killed, before or after the call."""


class Killed(BaseException):
    """The process ends here: nothing that catches errors may run on."""


@contextlib.contextmanager
def killed(stop: tuple[type, str], turn: int, *, after: bool) -> Iterator[list[str]]:
    """End the block before or after the turn-th call of a method; the list then has the method's name."""
    owner, name = stop
    real, calls, ended = getattr(owner, name), [0], list[str]()

    def counting(*args: Any, **more: Any) -> Any:
        calls[0] += 1
        found = real(*args, **more) if after or calls[0] != turn else None
        if calls[0] == turn:
            ended.append(name)
            raise Killed
        return found

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(owner, name, counting)
        yield ended


@functools.lru_cache
def report(role: str, wrong: int, value: float | None = 0.0) -> Report:
    """Return figures on 40 rows of which so many are wrong; `value` takes the place of the figure unless it is 0."""
    kind, labels = kinds.get("multiclass"), ("a", "b")
    truth = np.arange(40) % 2
    said = np.where(np.arange(40) < wrong, 1 - truth, truth)
    ids = tuple(f"i{n}" for n in range(40))
    rows = [Label(one, (labels[t],)) for one, t in zip(ids, truth, strict=True)]
    scores = Scores(ids, labels, np.eye(2, dtype=np.float32)[said], role)
    schema = kind.schema(labels)
    made = evaluate(role, kind, schema, rows, scores, kind.plain(schema), seed=0, role=role)
    return made if value == 0.0 else dataclasses.replace(made, value=value)


ITEMS = [Text(f"t{n}") for n in range(4)]
VECTORS = Vectors(tuple(text.id for text in ITEMS), np.eye(4, 64, dtype=np.float32), "letters")


def stored(ws: Workspace, seed: int) -> str:
    """Store a tiny model of its own and return its version."""
    rng = np.random.default_rng(seed)
    ones = np.ones(len(ws.schema.labels), dtype=np.float32)
    learnt = rng.normal(size=(len(ones), 64)).astype(np.float32)
    head = Head(ws.kind, ws.schema, learnt, 0 * ones, ones, 0 * ones, 0.5 * ones, None)
    trained = Trained(dataclasses.replace(head, name="tiny"), (), {}, {})

    def prove(folder: Path) -> Floats:
        return load_folder(folder)[0].score(ITEMS, VECTORS).values

    base = (1 - trained.score(ITEMS, VECTORS).values).tolist()
    info = {"labels": "l", "n_labels": 4, "seed": 0, "encoder": "minilm", "encoder_sha": "letters", "schema": "s"}
    given: dict[str, Any] = {"report": None, "info": {**info, "base_scores": base}, "prove": prove}
    return str(ws.registry.save(trained, name="p", probe=ITEMS, probe_vectors=VECTORS, **given))
