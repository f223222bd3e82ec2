"""What a person is told of a project: the rows of `status`, of `score` and of a verdict."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.model import kinds
from toughcall.model.report import notes
from toughcall.pool import Pool
from toughcall.records import Label, Scores
from toughcall.schema import Schema, names_of, numbers_of
from toughcall.store import Store
from toughcall.telling import rows_out
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.retraining import Retrained


def most_uncertain(ws: Workspace, scores: Scores, top: int) -> list[dict[str, Any]]:
    """Return the `top` most uncertain items, ties by id."""
    doubt = ws.kind.uncertainty(scores)
    order = sorted(range(len(scores.ids)), key=lambda row: (-float(doubt[row]), scores.ids[row]))[:top]
    items = ws.pool.items([scores.ids[row] for row in order])
    rows = []
    for row in order:
        best = int(np.argmax(scores.values[row]))
        told: dict[str, Any] = {"top": scores.labels[best], "p": float(scores.values[row, best])}
        if not ws.kind.labelled:
            told = numbers_of(ws.kind.decode(ws.schema, scores.values[[row]], ws.kind.plain(ws.schema))[0])
        shown = " | ".join(text.replace("\n", " ")[:60] for text in items[scores.ids[row]].fields().values())
        rows.append(
            {
                "item": scores.ids[row],
                "uncertainty": float(doubt[row]),
                **told,
                "text": shown,
            }
        )
    return rows


def class_counts(
    store: Store, pool: Pool, schema: Schema, labels: Sequence[Label] | None = None
) -> list[dict[str, Any]]:
    """Return class, train, held_out, unsplit for every class of the schema, in its order.

    `unsplit` counts labels of items that have no part yet (before the first score) or whose records lie
    on both sides of the split: they neither train nor evaluate. `labels`: those of this schema, where they are read
    already.
    """
    labels = store.labels(schema.version)[0] if labels is None else labels
    ids, what = [label.item for label in labels], kinds.get(schema.kind).items
    records: dict[str, tuple[str, ...]] = {one: (one,) for one in ids}
    if what != "texts":
        records = {one: tuple(text.id for text in item.texts) for one, item in pool.items(ids, what).items()}
    parts = store.parts_of({one for each in records.values() for one in each})
    tally: dict[str, Counter[str]] = {"train": Counter(), "test": Counter(), "": Counter()}
    for label in labels:
        sides = {parts.get(one, "") for one in records.get(label.item, ())}
        tally[sides.pop() if len(sides) == 1 else ""].update(names_of(label.value))
    return [
        {
            "class": name,
            "train": tally["train"][name],
            "held_out": tally["test"][name],
            "unsplit": tally[""][name],
        }
        for name in (*schema.labels, *(d.name for d in schema.dimensions))
    ]


def class_rows(ws: Workspace) -> list[dict[str, Any]]:
    """Return labels per class: how many train, are held out, or do neither, and the share of all labels."""
    labels, _ = ws.store.labels(ws.schema.version)
    total = max(1, len(labels))
    return [
        {
            "class": row["class"],
            "train": row["train"],
            "held out": row["held_out"],
            "neither": row["unsplit"],
            "share": (row["train"] + row["held_out"] + row["unsplit"]) / total,
        }
        for row in class_counts(ws.store, ws.pool, ws.schema, labels)
    ]


def status_rows(ws: Workspace) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the tables of `toughcall status`, each with its title."""
    texts, pairs, relations = ws.pool.counts()
    labels, torn = ws.store.labels(ws.schema.version)
    outcomes = Counter(answer.outcome for answer in ws.store.answers())
    head = {
        "records": texts,
        **({"relations": relations} if ws.kind.spanned else {"pairs": pairs}),
        "labels": len(labels),
        "disagreements": len(torn),
        "skipped": outcomes["skip"],
        "can't tell": outcomes["cant_tell"],
        "set aside": len(ws.store.set_aside()),
    }
    batches = [
        {
            "batch": b["name"],
            "state": b["state"],
            "items": b["size"],
            "answered": b["answered"],
            "waiting": b["waiting"],
            "scored by": b["model"],
        }
        for b in ws.store.batches()
    ]
    champion = ws.registry.champion()
    retrains = [event for _, event in ws.store.events("retrain")]
    models = [
        {
            "model": event["version"],
            "labels": event["labels"],
            "verdict": event["outcome"],
            "champion": "yes" if event["version"] == champion else "",
            "says": event["sentence"],
        }
        for event in retrains
    ]
    sentence, command = next_step(texts, ws.store.batches(), retrains, champion)
    return [
        ("Project", [{"project": ws.project.name, "kind": ws.project.kind, **head}]),
        ("Labels per class", class_rows(ws)),
        ("Batches", batches),
        ("Models", models),
        ("Next", [{"do": command, "because": sentence.rstrip(":")}]),
    ]


def next_step(
    records: int, batches: Sequence[Mapping[str, Any]], retrains: Sequence[Mapping[str, Any]], champion: str
) -> tuple[str, str]:
    """Return (one sentence, the command that makes sense now)."""
    if not records:
        return "Import your records:", "toughcall import FILE --text COLUMN"
    waiting = [row for row in batches if row["state"] != "done" and not row.get("role")]
    if waiting and waiting[-1]["state"] == "planned":
        return "The newest batch is chosen but not sent yet:", "toughcall push"
    if waiting:
        left = waiting[-1]["waiting"]
        if not left:
            return "Every item of the newest batch is answered:", "toughcall round"
        wait = "1 item waits" if left == 1 else f"{left} items wait"
        return f"{wait} for an answer in Label Studio. When done:", "toughcall round"
    last = retrains[-1] if retrains else {}
    if last.get("outcome") == "PROMOTE" and last.get("version") != champion:
        return "The gate let the newest model through:", "toughcall promote"
    return "Start the next round:", "toughcall round"


def told(ws: Workspace, done: Retrained, as_json: bool) -> None:
    """Print a retrain: the figures beside the baselines, every check, and the verdict in one sentence."""
    if done.note:
        ws.telling.say(done.note)
    for why, count in done.left_out.items():
        if count:
            ws.telling.say(f"{count} labels left out: {why.replace('_', ' ')}")
    if done.dead and ws.kind.labelled:
        ws.telling.say(f"never predicted: {', '.join(done.dead)}")
    rows_out(report_rows(done), as_json=as_json)
    if done.reports and not as_json:
        for sentence in notes(done.reports[-1]):
            sys.stdout.write(f"{sentence}\n")
    if done.gap:
        ws.telling.say(done.gap)
    if rows := dimension_rows(done):
        sys.stdout.write("" if as_json else "\n")
        rows_out(rows, as_json=as_json)
    if done.verdict and not as_json:
        sys.stdout.write("\n")
        rows_out(
            [
                {"check": c.name, "passed": {True: "yes", False: "no", None: "?"}[c.passed], "detail": c.detail}
                for c in done.verdict.checks
            ],
            as_json=False,
        )
        sys.stdout.write(f"\n{done.version}: {done.verdict.sentence()}\n")


def dimension_rows(done: Retrained) -> list[dict[str, Any]]:
    """Return one row per dimension of the newest model, the error of the training mean beside its own."""
    return [
        {
            "dimension": row.label,
            "weight": row.weight,
            "n": row.n,
            "MAE": row.mae,
            "mean's MAE": row.constant_mae,
            "RMSE": row.rmse,
            "Pearson": row.pearson,
            "Spearman": row.spearman,
        }
        for row in (done.reports[-1].per_dimension if done.reports else ())
    ]


def few(names: Sequence[str], most: int = 6) -> str:
    """Return some names, and how many there are beyond the first `most`."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"


def report_rows(done: Retrained) -> list[dict[str, Any]]:
    """Return one row per report, trivial baselines first, each figure with its 95 % interval."""
    rows = []
    for report in done.reports:
        interval = "–" if report.low is None or report.high is None else f"{report.low:.3f}–{report.high:.3f}"
        rows.append(
            {
                "role": report.role,
                "model": report.model,
                "n": report.n,
                "metric": report.metric,
                "value": report.value,
                "95 % interval": interval,
                "never predicted": few(report.dead) or "none",
            }
        )
    return rows
