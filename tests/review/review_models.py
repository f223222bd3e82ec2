"""Judged and stored models for the review page, made without training: real reports, real folders, real events."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from review_project import Filled, verdict

from toughcall import judging
from toughcall.model import kinds, registry
from toughcall.model.evaluate import Report, evaluate
from toughcall.records import Label, Scores, Value
from toughcall.store import Store

TEXTS = tuple(
    f"{one} {other}" for one in ("red", "blue", "old", "new", "tall") for other in ("cat", "car", "pie", "dog")
)


def measured(made: Filled, version: str = "p-v001", seed: int = 0, sure: float = 1.5, **more: Any) -> Report:
    """Return a real report of a made-up model on every item of a filled project; `sure`: how right it mostly is."""
    kind, rng = kinds.get(made.schema.kind), np.random.default_rng([seed, 5])
    columns, n = kind.columns(made.schema), len(made.items)
    width = len(columns)
    if not kind.labelled:
        truth = rng.uniform(0.1, 0.9, size=(n, width))
        values = np.clip(truth + rng.normal(size=(n, width)) * 0.2, 0.0, 1.0)
        answers: list[Value] = list(kind.decode(made.schema, truth, kind.plain(made.schema)))
    else:
        real = np.eye(max(2, width), dtype=bool)[rng.integers(0, max(2, width), n)][:, :width]
        if not kind.single:
            real |= rng.uniform(size=real.shape) < 0.3
        values = kind.link(rng.normal(size=(n, width)) + sure * real)
        names = np.array(columns)
        answers = [tuple(names[row].tolist()) for row in real]
        if width == 1:
            answers = [(made.schema.labels[0 if row[0] else 1],) for row in real]
    labels = [Label(item.id, value) for item, value in zip(made.items, answers, strict=True)]
    scores = Scores(tuple(item.id for item in made.items), columns, values.astype(np.float32), version)
    cuts = np.linspace(0.3, 0.6, width, dtype=np.float32) if kind.labelled else kind.plain(made.schema)
    given: dict[str, Any] = {"seed": 0, "role": "candidate", **more}
    return evaluate(version, kind, made.schema, labels, scores, cuts, **given)


def store_model(root: Path, version: str, report: Report | None) -> Path:
    """Write a model's folder as the registry does, with weights that nobody loads; return it."""
    folder = root / "models" / version
    folder.mkdir(parents=True)
    files = {
        "weights.safetensors": b"nobody loads these",
        "config.json": b"{}",
        "report.json": registry._json(report.to_json() if report else {}),
        "probe.json": b"{}",
    }
    return resign(folder, version, files)


def resign(folder: Path, version: str, files: dict[str, bytes]) -> Path:
    """Write files into a model's folder together with a manifest that fits them."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format": registry.FORMAT, "version": version, "files": sums, "info": {}}
    (folder / "manifest.json").write_bytes(registry._signed(manifest))
    return folder


def seal(made: Filled) -> None:
    """Seal every item of a project."""
    with Store(made.root / "ledger.sqlite") as store:
        store.add_event("seal", {"items": sorted(item.id for item in made.items), "labels": "x"})


def judge(made: Filled, version: str, outcome: str = "PROMOTE", *, labels: int = 50, **more: Any) -> Report:
    """Store a model and the retrain that judged it; return its report."""
    report = measured(made, version, seed=labels, **more)
    floor = measured(made, "untouched", seed=99, sure=0.3, role="untouched", bounds=False)
    store_model(made.root, version, report)
    event = verdict(outcome, version, labels=labels, reports=[judging.short(floor), judging.short(report)])
    with Store(made.root / "ledger.sqlite") as store:
        store.add_event("retrain", {**event, "dead": list(report.dead)})
    return report


def promoted(made: Filled, versions: Sequence[str]) -> None:
    """Make each version the champion in turn, as the command does."""
    one = registry.Registry(made.root / "models")
    with Store(made.root / "ledger.sqlite") as store:
        for version in versions:
            one.promote(version, verdict={"outcome": "PROMOTE", "sentence": f"PROMOTE {version}: better"})
            store.add_event("promote", {"version": version, "sentence": ""})
