"""A project as the review page meets it: records, scores, two batches, answers and verdicts, made without a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toughcall import judging
from toughcall.model.evaluate import ClassRow, Report
from toughcall.model.gate import Check, Verdict
from toughcall.records import Answer, Batch, Item, Pick, Scores, Value
from toughcall.schema import Schema
from toughcall.store import Store
from toughcall.workspace import opened

HOSTILE = (
    "<script>document.title='owned'</script>",
    "# Heading with **bold**, _italics_ and [a link](https://evil.example/x)",
    "It costs $5 and $10, a sum :red[x] :smile: :material/home:",
    "![picture](https://evil.example/p.png) <img src=https://evil.example/q.png>",
)


@dataclass
class Filled:
    """A filled project: its folder, items in the order they were made, and schema."""

    root: Path
    items: list[Item]
    schema: Schema


def report(role: str, value: float, **more: Any) -> dict[str, Any]:
    """Return a report as a retrain event holds it: the real class, written by the real function."""
    plain: dict[str, Any] = {"model": role, "role": role, "metric": "macro_f1", "n": 60, "value": value}
    plain |= {"low": value - 0.05, "high": value + 0.05, "classes": 2, "per_class": (), "dead": (), "others": {}}
    return judging.short(Report(**{**plain, "seed": 0, **more}))


def class_row(label: str, f1: float | None, support: int = 4) -> ClassRow:
    """Return the figures of one class."""
    return ClassRow(label, support, 3, 0.5, 0.5, f1, 0.5)


def verdict(outcome: str, version: str = "p-1", **more: Any) -> dict[str, Any]:
    """Return a retrain event."""
    checks = (
        Check("beats untouched", True, "macro_f1 0.700 against untouched 0.600"),
        Check("above tfidf", False, "not proven"),
        Check("floor of food", None, "no row of it"),
    )
    said = Verdict(outcome, checks, version, "untouched")  # type: ignore[arg-type]
    return {
        "version": version,
        "labels": 80,
        "dead": [],
        "outcome": said.outcome,
        "sentence": said.sentence(),
        "left_out": {"straddles": 3, "no_vector": 0},
        "reports": [report("majority", 0.1), report("untouched", 0.6), report("candidate", 0.7)],
        "checks": [dataclasses.asdict(check) for check in said.checks],
        **more,
    }


def save_scores(root: Path, items: Sequence[Item], columns: Sequence[str], values: Any, **parts: Any) -> None:
    """Write scores/latest.parquet: the real function, whatever the project's own columns are."""
    scores = Scores(tuple(item.id for item in items), tuple(columns), values, "m-1", parts)
    with opened(root, "test", writing=False) as ws:
        ws.save_scores(scores)


def answer(item: Item, value: Sequence[Any], schema: Schema, batch: str, by: str = "ana", **more: Any) -> Answer:
    """Return one expert's answer."""
    plain: dict[str, Any] = {"key": f"{item.id}/{by}", "outcome": "label", "seconds": 8.0, **more}
    return Answer(item=item.id, annotator=by, value=tuple(value), batch=batch, schema=schema.version, **plain)


def said(schema: Schema, place: int) -> Value:
    """Return an answer: the label at a place, or that place's number on each dimension."""
    return schema.labels[place : place + 1] or tuple((d.name, place + 1.0) for d in schema.dimensions)


def ask(store: Store, schema: Schema, items: Sequence[Item]) -> None:
    """Save the closed batch b001 and the open batch b002 with their answers."""
    first = Pick(items[0].id, "in_band", 0.9, 0, 1.0, "animal 0.50 against food 0.40")
    store.add_batch(Batch("b001", schema.version, "untouched", (first,)))
    second = [Pick(items[1].id, "rare_class", 0.2, 0, 1.0, "P(food) = 0.20"), Pick(items[2].id, "random_audit", 0.1, 1)]
    store.add_batch(Batch("b002", schema.version, "m-1", tuple(second)))
    store.mark_batch("b001", "done")
    store.mark_batch("b002", "sent")
    store.add_answers(
        [
            answer(items[0], said(schema, 0), schema, "b001"),
            answer(items[1], said(schema, 1), schema, "b002"),
        ]
    )
