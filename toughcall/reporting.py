"""The report of a stored model, from its folder and the ledger alone: nothing is trained or scored for it."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toughcall.files import write_atomically
from toughcall.model.evaluate import METRICS, Report
from toughcall.model.linting import lint
from toughcall.model.report import (
    Mistake,
    Origins,
    caveats,
    class_figures,
    dimension_figures,
    metric_name,
    mistakes,
    named_metrics,
    notes,
    recall_interval,
)
from toughcall.planning import POSITIVES, ClassPlan, next_rows, plan
from toughcall.records import IntegrityError, Item, UsageError
from toughcall.status import few
from toughcall.workspace import Workspace

FILES = (
    *("metrics.json", "evaluation_report.json", "error_analysis.json", "predictions_sample.json"),
    *("training_history.json", "training_metadata.json", "report.html", "report.md"),
)
SAMPLE, WORST = 50, 30
ORDER = ("majority", "tfidf", "untouched", "champion", "candidate")
"""What is shown first: what costs nothing."""
TARGETS = ("target ", "floor of ")
"""How the gate's checks begin that hold a figure against what was asked for."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """What is known of one model: its folder's files, and what the ledger says of it."""

    version: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    report: Report | None
    event: Mapping[str, Any]
    """The retrain that judged it, {} when none did."""
    parameters: Mapping[str, list[int]]
    """The shape of every array of its weights, read from the weights themselves."""


def read_model(ws: Workspace, version: str = "") -> Stored:
    """Return what is stored of a model ("": the newest), its files checked; UsageError when there is none."""
    from safetensors import safe_open

    known = ws.registry.versions()
    if not known:
        raise UsageError(f"no model is stored in {ws.project.models}: toughcall retrain trains one")
    version = version or known[-1]
    if version not in known:
        raise UsageError(f"no model {version[:80]!r} in {ws.project.models}: toughcall status lists them")
    ws.registry.check(version)
    folder = ws.registry.path(version)
    parts = {name: json.loads((folder / f"{name}.json").read_bytes()) for name in ("manifest", "config", "report")}
    with safe_open(folder / "weights.safetensors", framework="numpy") as weights:
        shapes = {name: list(weights.get_slice(name).get_shape()) for name in sorted(weights.keys())}
    told = [event for _, event in ws.store.events("retrain") if event.get("version") == version]
    return Stored(
        version,
        parts["manifest"],
        parts["config"],
        Report.from_json(parts["report"]) if parts["report"] else None,
        told[-1] if told else {},
        shapes,
    )


def collect(ws: Workspace, version: str = "") -> dict[str, Any]:
    """Return the content of every JSON file of a report by its name; nothing is written."""
    model = read_model(ws, version)
    report = model.report
    wrong = mistakes(report) if report else []
    shown = _sample(report) if report else []
    items = ws.pool.items({one.item for one in wrong[:WORST]} | {report.ids[row] for row in shown if report})
    evaluation = _evaluation(ws, model)
    head = {"version": model.version, "role": "candidate", "n": report.n if report else 0}
    return {
        "metrics.json": {**head, "gate": evaluation["metric"], "metrics": evaluation["metrics"]},
        "evaluation_report.json": evaluation,
        "error_analysis.json": _errors(report, wrong, items),
        "predictions_sample.json": [_row(report, row, items) for row in shown] if report else [],
        "training_history.json": list(model.config.get("history", ())),
        "training_metadata.json": _metadata(ws, model),
    }


def check(found: Mapping[str, Any]) -> None:
    """Raise IntegrityError with the first contradiction among a report's figures."""
    evaluation = found["evaluation_report.json"]
    wrong = lint(evaluation)
    if wrong:
        raise IntegrityError(
            f"the figures of {evaluation['version']} contradict each other: {wrong[0]}; no report was written: "
            "toughcall retrain --force measures it again"
        )


def write(ws: Workspace, version: str = "", folder: Path | None = None) -> list[Path]:
    """Write the eight files of a model's report ("": the newest model) and return their paths.

    They go to reports/VERSION in the project, or to `folder`. Everything is made and checked before the first byte
    is written; the same artefacts give the same bytes. UsageError without a model, IntegrityError when its files
    were changed or its figures contradict each other.
    """
    from toughcall.model.pages import html_page, markdown_page

    found = collect(ws, version)
    check(found)
    texts = {name: json.dumps(one, indent=1, ensure_ascii=False, allow_nan=False) + "\n" for name, one in found.items()}
    names = ("evaluation_report", "error_analysis", "training_history", "training_metadata")
    pages = [found[f"{name}.json"] for name in names]
    texts |= {"report.html": html_page(*pages), "report.md": markdown_page(*pages)}
    home = folder or ws.project.root / "reports" / found["evaluation_report.json"]["version"]
    for name in FILES:
        content = texts[name].encode("utf-8", "backslashreplace")
        write_atomically(home / name, lambda aside, content=content: aside.write_bytes(content))  # type: ignore[misc]
    return [home / name for name in FILES]


def report_rows(ws: Workspace, version: str = "") -> list[dict[str, Any]]:
    """Return one row a model for the terminal, trivial baselines first, each figure with its 95 % interval."""
    evaluation = collect(ws, version)["evaluation_report.json"]
    rows = []
    for one in evaluation["models"]:
        told = one["low"] is not None and one["high"] is not None
        rows.append(
            {
                "role": one["role"],
                "model": one["model"],
                "n": one["n"],
                "metric": one["metric"],
                "value": one["value"],
                "95 % interval": f"{one['low']:.3f}–{one['high']:.3f}" if told else "–",
                "never predicted": few(one["never_predicted"]) or "none",
            }
        )
    return rows


def _evaluation(ws: Workspace, model: Stored) -> dict[str, Any]:
    report, event = model.report, model.event
    checks = [dict(one) for one in event.get("checks", ())]
    asked = [one for one in checks if str(one["name"]).startswith(TARGETS)]
    others = [Report.from_json(raw) for raw in event.get("reports", ())]
    others = others or ([report] if report else [])
    others.sort(key=lambda one: ORDER.index(one.role) if one.role in ORDER else len(ORDER))
    origins = _origins(ws, model)
    plans = plan(ws)
    # one label a row: only then is there a confusion table
    exclusive = bool(report and report.confusion)
    return {
        "project": ws.project.name,
        "version": model.version,
        "kind": ws.project.kind,
        "labels": int(model.manifest["info"].get("n_labels", 0)),
        "n": report.n if report else 0,
        "verdict": {
            "outcome": event.get("outcome", "UNDECIDED"),
            "sentence": event.get("sentence") or "this model was never judged: toughcall retrain",
            "checks": checks,
        },
        "targets": [
            {"target": c["name"].removeprefix("target "), "held": c["passed"], "detail": c["detail"]} for c in asked
        ],
        "metric": metric_name(report.metric, report) if report else "",
        "gate_metric": report.metric if report else "",
        "greater_is_better": METRICS[report.metric][1] > 0 if report else True,
        "models": [_model(one) for one in others],
        "metrics": named_metrics(report) if report else {},
        "exclusive": exclusive,
        "null": report.null if report else "",
        "per_class": class_figures(report) if report else [],
        "per_dimension": dimension_figures(report) if report else [],
        "confusion": [list(row) for row in report.confusion] if report else [],
        "never_predicted": list(report.dead) if report else list(model.config.get("dead", ())),
        "test_labels": [
            {"source": source, "trust": trust, "n": n} for (source, trust), n in sorted(origins.labels.items())
        ],
        "openings": origins.openings,
        "left_out": {why: n for why, n in event.get("left_out", {}).items() if n},
        "notes": [*(notes(report) if report else []), *(_small(report) if report else [])],
        "caveats": [*_targets(ws, model.version).get("edits", ()), *caveats(origins), *_left_out(event)],
        "next": _next(plans, ws),
    }


def _model(report: Report) -> dict[str, Any]:
    return {
        "role": report.role,
        "model": report.model,
        "metric": metric_name(report.metric, report),
        "value": report.value,
        "low": report.low,
        "high": report.high,
        "n": report.n,
        "never_predicted": list(report.dead),
    }


def _targets(ws: Workspace, version: str) -> dict[str, Any]:
    """Return what was asked for when a model was trained: lines, digest, and edits of what was asked before (G1)."""
    last: dict[str, Any] = {}
    for verb, event in ws.store.events():
        if verb == "retrain" and event.get("version") == version:
            break
        last = event if verb == "targets" else last
    return last


def _left_out(event: Mapping[str, Any]) -> list[str]:
    each = [f"{n} {why.replace('_', ' ')}" for why, n in event.get("left_out", {}).items() if n]
    return [f"labels that neither trained nor measured: {', '.join(each)}"] if each else []


def _small(report: Report) -> list[str]:
    """Say of each class that was never right how much its few rows leave open (post-mortem 000: 0 of 9, 0–30 %)."""
    found = []
    for row in report.per_class:
        if row.support and not row.recall:
            _, high = recall_interval(row)
            found.append(f"recall of {row.label} is 0 of {row.support}: 0–{high:.0%}")
    return found


def _origins(ws: Workspace, model: Stored) -> Origins:
    """Return where the test labels come from, who checked an oracle, and how often it was looked at."""
    looks: list[str] = []
    for verb, event in ws.store.events():
        if verb == "seal" and model.version not in looks:
            looks.clear()
        if verb == "retrain" and event.get("reports") and event["version"] not in looks:
            looks.append(event["version"])
    look = looks.index(model.version) + 1 if model.version in looks else 0
    labels = {label.item: label for label in ws.store.labels(_schema_of(ws, model))[0]}
    test: Counter[tuple[str, str]] = Counter(
        (labels[one].source, labels[one].trust) for one in (model.report.ids if model.report else ()) if one in labels
    )
    answers = [answer for answer in ws.store.answers() if answer.outcome == "label"]
    oracle = {answer.item: answer.value for answer in answers if answer.source == "oracle"}
    people = {answer.item: answer.value for answer in answers if answer.source == "person"}
    both = oracle.keys() & people.keys()
    agreed = sum(sorted(map(str, oracle[one])) == sorted(map(str, people[one])) for one in both)
    return Origins(test, len(looks), look, len(oracle), len(both), agreed)


def _schema_of(ws: Workspace, model: Stored) -> str:
    return str(model.manifest["info"].get("schema") or ws.schema.version)


def _next(plans: Sequence[ClassPlan], ws: Workspace) -> list[dict[str, Any]]:
    """Return what to do, ranked: what costs no answer first, then alarms, then the classes by what an answer buys."""
    free = {
        "do": "toughcall fixes tries what needs no label: thresholds, type rule, calibration, blending",
        "class": "all",
        "evidence": "chosen and measured without the test set",
        "cost": "no answer",
    }
    by_label = {one.label: one for one in plans}

    def rank(row: Mapping[str, Any]) -> tuple[int, float, str]:
        one = by_label[row["class"]]
        price = one.mined.value or one.random.value or float("inf")
        return (0 if row["next"] == one.alarm else 1 if one.judged.never_predicted else 2, price, one.label)

    rows = [row for row in next_rows(plans) if row["next"] != "fine"]
    told = [
        {"do": row["next"], "class": row["class"], **_why(by_label[row["class"]])} for row in sorted(rows, key=rank)
    ]
    return [free, *told] if ws.registry.versions() else told


def _why(one: ClassPlan) -> dict[str, str]:
    judged = one.judged
    why = f"{one.train} labels"
    if judged.support and judged.recall is not None:
        why = f"recall {judged.recall:.0%} ({judged.recall_low:.0%}–{judged.recall_high:.0%}) of {judged.support} rows"
    price = f"{one.mined} mined" if one.mined.value else f"{one.random} drawn" if one.random.value else ""
    told = f"{POSITIVES} more of it: {price}" if price else "not known yet"
    return {"evidence": f"{why}, {one.train} trained" if judged.support else why, "cost": told}


def _sample(report: Report) -> list[int]:
    # an id is a digest: the smallest ones are as good as drawn, and the same every time
    return sorted(range(len(report.ids)), key=lambda row: report.ids[row])[:SAMPLE]


def _named(report: Report, row: int, values: Sequence[float | None]) -> list[str] | dict[str, float | None]:
    """Return a row of flags as the labels that are set, a row of numbers by dimension."""
    if report.per_dimension:
        return {at.label: values[j] for j, at in enumerate(report.per_dimension)}
    return [at.label for at, yes in zip(report.per_class, values, strict=True) if yes]


def _of_pool(item: Item | None) -> dict[str, Any]:
    """Return an item's texts as stored and the user's own ids; None for what the pool no longer has."""
    if item is None:
        return {"keys": [], "fields": None}
    return {"keys": [text.key for text in item.texts if text.key], "fields": item.fields()}


def _row(report: Report, row: int, items: Mapping[str, Item]) -> dict[str, Any]:
    names = [at.label for at in report.per_dimension or report.per_class]
    said = report.values[row] if report.per_dimension else report.said[row]
    return {
        "id": report.ids[row],
        **_of_pool(items.get(report.ids[row])),
        "truth": _named(report, row, report.truth[row]),
        "prediction": _named(report, row, said),
        "scores": {name: round(value, 6) for name, value in zip(names, report.values[row], strict=True)},
    }


def _errors(report: Report | None, wrong: Sequence[Mistake], items: Mapping[str, Item]) -> dict[str, Any]:
    numbers = bool(report and report.per_dimension)
    truths = Counter(one.truth for one in wrong)
    pairs = Counter((one.truth, one.said) for one in wrong)
    rows = {row.label: row for row in report.per_class} if report else {}
    n = report.n if report else 0
    of = {**{name: row.support for name, row in rows.items()}, **{f"not {k}": n - r.support for k, r in rows.items()}}
    confusions = [
        {"truth": truth, "said": said, "count": count, "share_of_truth": round(count / max(1, of[truth]), 6)}
        for (truth, said), count in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        if not numbers
    ]
    dead = []
    for name in report.dead if report else ():
        low, high = recall_interval(rows[name])
        dead.append({"label": name, "support": rows[name].support, "recall_low": low, "recall_high": round(high, 6)})
    return {
        "n": n,
        "wrong_rows": len({one.row for one in wrong}),
        "unit": "weighted error" if numbers else "probability",
        "confusions": confusions,
        "never_predicted": dead,
        "by_class": {
            name: {"missed": truths[name], "taken_for_it": sum(c for (_, said), c in pairs.items() if said == name)}
            for name in rows
        },
        "worst": [
            {"item": one.item, **_of_pool(items.get(one.item)), "truth": one.truth, "said": one.said, "size": one.size}
            for one in wrong[:WORST]
        ],
    }


def _metadata(ws: Workspace, model: Stored) -> dict[str, Any]:
    info = model.manifest["info"]
    sizes = {name: _product(shape) for name, shape in model.parameters.items()}
    return {
        "version": model.version,
        "parent": info.get("parent", ""),
        "recipe": model.config.get("recipe", ""),
        "labels": info.get("n_labels"),
        "counts": dict(model.config.get("counts", {})),
        "chosen": dict(model.config.get("chosen", {})),
        "seed": info.get("seed"),
        "encoder": info.get("encoder"),
        "encoder_sha": info.get("encoder_sha"),
        "data_digest": info.get("labels"),
        "schema": info.get("schema"),
        "targets_digest": _targets(ws, model.version).get("digest"),
        "thresholds_sha256": info.get("thresholds"),
        "test_digest": info.get("test"),
        "code_sha256": info.get("code"),
        "parameters": sum(sizes.values()),
        "arrays": {name: " × ".join(map(str, shape)) for name, shape in model.parameters.items()},
        "libraries": dict(info.get("libraries", {})),
        "threads": info.get("threads"),
    }


def _product(shape: Sequence[int]) -> int:
    total = 1
    for one in shape:
        total *= one
    return total
