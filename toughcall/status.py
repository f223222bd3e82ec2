"""What a person is told of a project: the rows of `status`, of `score` and of a verdict."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np

from toughcall.records import Scores
from toughcall.retraining import Retrained
from toughcall.telling import rows_out
from toughcall.workspace import Workspace


def most_uncertain(ws: Workspace, scores: Scores, top: int) -> list[dict[str, Any]]:
    """Return the `top` most uncertain items, ties by id."""
    doubt = ws.kind.uncertainty(scores.values)
    order = sorted(range(len(scores.ids)), key=lambda row: (-float(doubt[row]), scores.ids[row]))[:top]
    items = ws.pool.items([scores.ids[row] for row in order])
    rows = []
    for row in order:
        best = int(np.argmax(scores.values[row]))
        shown = " | ".join(text.replace("\n", " ")[:60] for text in items[scores.ids[row]].fields().values())
        rows.append(
            {
                "item": scores.ids[row],
                "uncertainty": float(doubt[row]),
                "top": scores.labels[best],
                "p": float(scores.values[row, best]),
                "text": shown,
            }
        )
    return rows


def class_rows(ws: Workspace) -> list[dict[str, Any]]:
    """Return labels per class: how many train, how many are held out, and the share."""
    labels, _ = ws.store.labels(ws.schema.version)
    parts = ws.store.parts()
    items = ws.pool.items([label.item for label in labels])
    train: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for label in labels:
        part = ws.part(items[label.item], parts) if label.item in items else None
        (held if part == "test" else train).update(label.value)
    total = max(1, len(labels))
    return [
        {"class": name, "train": train[name], "held out": held[name], "share": (train[name] + held[name]) / total}
        for name in ws.schema.labels
    ]


def status_rows(ws: Workspace) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the tables of `toughcall status`, each with its title."""
    texts, pairs = ws.pool.counts()
    labels, torn = ws.store.labels(ws.schema.version)
    outcomes = Counter(answer.outcome for answer in ws.store.answers())
    head = {
        "records": texts,
        "pairs": pairs,
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
            "scored by": b["model"],
        }
        for b in ws.store.batches()
    ]
    champion = ws.registry.champion()
    models = [
        {
            "model": event["version"],
            "labels": event["labels"],
            "verdict": event["outcome"],
            "champion": "yes" if event["version"] == champion else "",
            "says": event["sentence"],
        }
        for _, event in ws.store.events("retrain")
    ]
    return [
        ("Project", [{"project": ws.project.name, "kind": ws.project.kind, **head}]),
        ("Labels per class", class_rows(ws)),
        ("Batches", batches),
        ("Models", models),
        ("Next", [{"do": next_step(ws, texts, batches, models)}]),
    ]


def next_step(ws: Workspace, texts: int, batches: list[dict[str, Any]], models: list[dict[str, Any]]) -> str:
    """Return the command that makes sense now."""
    if not texts:
        return "toughcall import FILE --text COLUMN"
    waiting = [b for b in batches if b["state"] != "done"]
    if waiting and waiting[-1]["state"] == "planned":
        return "toughcall push"
    if waiting:
        return f"answer {waiting[-1]['items'] - waiting[-1]['answered']} items in Label Studio, then toughcall round"
    if models and models[-1]["verdict"] == "PROMOTE" and not models[-1]["champion"]:
        return "toughcall promote"
    return "toughcall round"


def told(ws: Workspace, done: Retrained, as_json: bool) -> None:
    """Print a retrain: the figures beside the baselines, every check, and the verdict in one sentence."""
    if done.note:
        ws.telling.say(done.note)
    for why, count in done.left_out.items():
        if count:
            ws.telling.say(f"{count} labels left out: {why.replace('_', ' ')}")
    if done.dead:
        ws.telling.say(f"never predicted: {', '.join(done.dead)}")
    rows_out(report_rows(done), as_json=as_json)
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
                "never predicted": ", ".join(report.dead) or "none",
            }
        )
    return rows
