"""Stop or spend: what the next labels would bring, by the project's own learning curve, in hours and in money."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughcall.model.evaluate import METRICS, Report, evaluate, macro_f1, resampled, weights
from toughcall.model.learning_curve import Curve, Doubles, Point, f1_interval, fit
from toughcall.model.scorers import Head
from toughcall.model.split import connected, folds
from toughcall.model.train import Basis
from toughcall.planning import Amount, Pace, pace_of
from toughcall.records import IntegrityError, Item, Label, NotEnoughData
from toughcall.schema import Schema
from toughcall.workspace import Workspace

NOTICED = 0.005
"""A gain below that (of numbers: that share of their range) is one that nobody would notice."""
UNTOLD = "cannot be told"
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
SEEDS, FOLDS = 3, 5
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Series:
    """One figure at several numbers of labels, all measured on the same rows, and how to read it.

    `draws`, shape (r, k): resamples of the k points drawn together, None where only their intervals were stored.
    `start`: how many labels train now.
    """

    figure: str
    points: tuple[Point, ...]
    start: int
    draws: Doubles | None = None
    sign: int = 1
    best: float = 1.0

    def curve(self, seed: int) -> Curve:
        """Return the curve through the points."""
        rng = np.random.default_rng([seed, 4])
        return fit(self.points, rng=rng, sign=self.sign, best=self.best, draws=self.draws)


def comparable(events: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Return the retrains since the newest seal that were measured as the newest was: these figures can be compared."""
    kept: list[tuple[Mapping[str, Any], Any]] = []
    for verb, event in events:
        if verb == "seal":
            kept = []
        told = candidate(event) if verb == "retrain" else None
        if told is not None and told["value"] is not None and event.get("labels"):
            kept.append((event, (told["metric"], told["n"])))
    return [event for event, rows in kept if rows == kept[-1][1]]


def candidate(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a retrain event reports of the model it trained, None before there were held-out labels."""
    return next((r for r in reversed(event.get("reports") or ()) if r["role"] == "candidate"), None)


def retrained(ws: Workspace) -> list[Series]:
    """Return the series of the metric and of each class's F1 from the retrains in the ledger; [] before the first.

    Where every model is still stored, its rows are drawn together; else each interval stands for itself.
    """
    events = comparable(ws.store.events())
    told = [report for event in events if (report := candidate(event))]
    if not told:
        return []
    sizes = [int(event["labels"]) for event in events]
    stored = _stored(ws, [str(event.get("version", "")) for event in events])
    if stored:
        drawn = weights(stored[0].n, ws.project.seed, RESAMPLES)
        return _together(ws.schema, sizes, [[report] for report in stored], [drawn], max(sizes))
    sign, best = _reading(told[-1]["metric"])
    points = tuple(
        Point(n, one["value"], one["value"] if one["low"] is None else one["low"], _end(one))
        for n, one in zip(sizes, told, strict=True)
    )
    out = [Series(told[-1]["metric"], points, max(sizes), None, sign, best)]
    rng = np.random.default_rng([ws.project.seed, 5])
    each = [(n, row) for n, one in zip(sizes, told, strict=True) for row in one["per_class"] if row["f1"] is not None]
    for label in [row["label"] for row in told[-1]["per_class"]]:
        found = tuple(
            Point(n, row["f1"], *f1_interval(_hits(row), int(row["support"]), int(row["predicted"]), rng))
            for n, row in each
            if row["label"] == label
        )
        if found:
            out.append(Series(f"F1 of {label}", found, max(sizes)))
    return out


def _end(one: Mapping[str, Any]) -> float:
    return float(one["value"] if one["high"] is None else one["high"])


def _hits(row: Mapping[str, Any]) -> int:
    return round(float(row["recall"] or 0.0) * int(row["support"]))


def _reading(metric: str) -> tuple[int, float]:
    """Return (1 where greater is better else -1, the best value there is)."""
    sign = METRICS[metric][1]
    return sign, 1.0 if sign > 0 else 0.0


def _stored(ws: Workspace, versions: Sequence[str]) -> list[Report]:
    """Return the reports with their rows, [] unless all are stored and of the same rows."""
    known = set(ws.registry.versions())
    if not set(versions) <= known:
        return []
    try:
        found = [report for one in versions if (report := ws.registry.report(one)) is not None]
    except IntegrityError as error:
        ws.telling.say(f"{error}; the stored intervals are used instead")
        return []
    same = len({(report.ids, report.truth, report.metric) for report in found}) == 1
    return found if same and len(found) == len(versions) and found[0].ids else []


def _together(
    schema: Schema, sizes: Sequence[int], reports: Sequence[Sequence[Report]], drawn: Sequence[Doubles], start: int
) -> list[Series]:
    """Return the series of reports at each size, one report a seed; `drawn`: for each seed its rows' resamples.

    A point is the mean over the seeds. A resample draws seeds, and within each its rows, the same for all sizes.
    """
    first = reports[0][0]
    seeds = len(reports[0])
    took = np.random.default_rng([first.seed, 6]).integers(0, seeds, size=(RESAMPLES, seeds))
    figures = [(first.metric, -1), *((f"F1 of {row.label}", j) for j, row in enumerate(first.per_class))]
    out = []
    for name, place in figures:
        values = np.array([[_value(report, place) for report in row] for row in reports])
        # a class that some rows have no member of is measured by the seeds that have one
        usable = np.isfinite(values).all(axis=0)
        if not usable.any():
            continue
        each = np.array([[_drawn(r, place, d) for r, d in zip(row, drawn, strict=True)] for row in reports])
        each = np.where(np.isfinite(each), each, values[:, :, None])
        picked = each[:, took, np.arange(RESAMPLES)[:, None]]
        weight = usable[took].astype(np.float64)
        total = weight.sum(axis=1)
        mean = np.where(np.isfinite(picked), picked, 0.0) * weight
        draws = (mean.sum(axis=2) / np.maximum(total, 1.0)).T[total > 0]
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        middle = values[:, usable].mean(axis=1)
        points = tuple(
            Point(n, float(m), float(a), float(b)) for n, m, a, b in zip(sizes, middle, low, high, strict=True)
        )
        sign, best = _reading(first.metric) if place < 0 else (1, 1.0)
        out.append(Series(name, points, start, draws, sign, best))
    return out


def _value(report: Report, place: int) -> float:
    found = report.value if place < 0 else report.per_class[place].f1
    return math.nan if found is None else found


def _drawn(report: Report, place: int, drawn: Doubles) -> Doubles:
    if place < 0:
        return resampled(report, drawn)
    truth, said = (np.array(one, dtype=bool)[:, [place]] for one in (report.truth, report.said))
    return macro_f1(truth, said, drawn)


def measured(ws: Workspace) -> list[Series]:
    """Return the series measured now: heads trained on an eighth, a quarter, half and all of the training labels.

    Three seeds; each holds out another fifth of the training labels, records and near-duplicates kept together, and
    draws nested parts of the rest. The sealed test set is never looked at. Sizes that teach nothing are left out.
    The caller holds the project's lock: whoever embeds first freezes the split.
    """
    train, _, items, _ = ws.split()
    labels = sorted(train, key=lambda label: label.item)
    asked = [items[label.item] for label in labels]
    if len(labels) < 2 * FOLDS:
        return []
    basis = Basis.of(
        ws.kind,
        ws.schema,
        asked,
        ws.vectors,
        corpus=ws.corpus,
        pool=ws.training_pool(),
        seed=ws.project.seed,
        hints=ws.label_hints,
    )
    truth = ws.kind.strata(ws.kind.targets(ws.schema, [label.value for label in labels]))
    fold = folds(_groups(ws, asked), truth, FOLDS, ws.project.seed)
    bar, done = ws.telling.bar("training on parts of the labels"), 0
    found: dict[float, list[Report]] = {share: [] for share in SHARES}
    sizes: dict[float, list[int]] = {share: [] for share in SHARES}
    drawn = []
    for seed in range(SEEDS):
        held, rest = np.flatnonzero(fold == seed), np.flatnonzero(fold != seed)
        drawn.append(weights(len(held), seed, RESAMPLES))
        order = np.random.default_rng([ws.project.seed, 7, seed]).permutation(rest)
        for share in SHARES:
            rows = np.sort(order[: round(share * len(rest))])
            report = _part(basis, labels, rows.tolist(), held.tolist(), ws.project.seed)
            done += 1
            bar(done, SEEDS * len(SHARES))
            if report is not None:
                found[share].append(report)
                sizes[share].append(len(rows))
    kept = [share for share in SHARES if len(found[share]) == SEEDS]
    if not kept:
        return []
    means = [round(sum(sizes[share]) / SEEDS) for share in kept]
    return _together(ws.schema, means, [found[share] for share in kept], drawn, len(labels))


def _groups(ws: Workspace, items: Sequence[Item]) -> list[str]:
    """Return a group for each item: pairs that share a record, texts that are near-duplicates."""
    if ws.kind.paired:
        return connected(items)
    groups = ws.store.groups()
    return [groups.get(item.texts[0].id) or item.texts[0].id for item in items]


def _part(basis: Basis, labels: Sequence[Label], rows: Sequence[int], held: Sequence[int], seed: int) -> Report | None:
    """Return the figures of a head trained on some rows, on others; None where they teach or measure nothing."""
    try:
        trained = basis.fit(rows, [labels[row] for row in rows], seed=seed)
    except NotEnoughData:
        return None
    assert isinstance(trained.head, Head), "a basis fits heads"
    scores, truth = basis.score(trained.head, held), [labels[row] for row in held]
    report = evaluate(
        "part", basis.kind, basis.schema, truth, scores, trained.thresholds, seed=seed, role="part", bounds=False
    )
    return None if report.value is None else report


def noticed(schema: Schema) -> float:
    """Return the least gain that a person would notice: 0.005, of numbers that share of their mean range."""
    if not schema.dimensions or schema.labels:
        return NOTICED
    total = sum(d.weight for d in schema.dimensions)
    return NOTICED * sum(d.weight * (d.high - d.low) for d in schema.dimensions) / total


def advise(curve: Curve, series: Series, more: int, least: float, what: str = "the next batch") -> tuple[str, str]:
    """Return ("stop", "spend" or "cannot be told", a sentence with the figures) on `more` labels.

    Stop: not even the upper end of their gain reaches `least`. Spend: the lower end does.
    """
    told = curve.gain(series.start, more)
    labels = f"{what} ({more:,} labels)"
    if told.high is not None and told.high < least:
        return "stop", (
            f"stop: {labels} makes {series.figure} better by at most {told.high:.4f}, less than {least:g}"
            + (f" ({curve.reason})" if curve.reason else "")
        )
    if curve.reason or told.value is None:
        return UNTOLD, f"stop or spend cannot be told of {series.figure}: {curve.reason}"
    figures = f"{labels} makes {series.figure} better by {told.value:.3f} ({told.low:.3f}–{told.high:.3f})"
    if told.low is not None and told.low > least:
        return "spend", f"spend: {figures}, more than {least:g}"
    return UNTOLD, f"stop or spend cannot be told: {figures}, and {least:g} lies in between"


@dataclass(frozen=True)
class Spending:
    """The answer to stop or spend: the advice, one sentence, where the points come from, and a row per figure."""

    advice: str
    sentence: str
    source: str
    pace: Pace
    rows: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the advice as plain JSON, without its rows."""
        told = {"advice": self.advice, "sentence": self.sentence, "from": self.source}
        return {**told, "seconds": self.pace.seconds, "timed": self.pace.n, "people": self.pace.people}


def spending(
    ws: Workspace,
    *,
    gain: float | None = None,
    batches: int | None = None,
    price: float | None = None,
    measure: bool = False,
) -> Spending:
    """Return whether more labels pay: from the retrains in the ledger, or with `measure` from parts of the labels.

    `gain`: what the figure should gain, and what counts as worth it. `batches`: how many more the advice is about:
    1, or with `gain` as many as double the labels. `price`: of an expert's hour. Labels are those that train;
    what is skipped, or joins the held-out part, comes on top.
    """
    pace = pace_of(ws.store.answers(), ws.project.studio.overlap)
    found = measured(ws) if measure else retrained(ws)
    source = "parts of the training labels" if measure else "the retrains so far"
    if not found:
        metric = ws.kind.metric(ws.schema)
        found = [Series(metric, (), 1, None, *_reading(metric))]
    least = noticed(ws.schema) if gain is None else gain
    size = ws.project.mine.batch
    count = batches or (1 if gain is None else max(1, math.ceil(found[0].start / size)))
    what = "the next batch" if count == 1 else f"{count} batches"
    main = found[0].curve(ws.project.seed)
    advice, sentence = advise(main, found[0], count * size, least, what)
    hours = pace.hours(count * size)
    paid = "" if price is None else f", {hours * price:,.0f} at {price:g} an hour"
    if found[0].points:
        sentence += f"; that takes {hours:.1f} h{paid}"
    if advice == UNTOLD:
        now = "" if measure else ", toughcall plan --measure measures on parts of the labels now"
        sentence += f"; toughcall retrain measures again after the next batch{now}"
    rows = []
    if gain is not None or price is not None or measure:
        for series in found:
            curve = main if series is found[0] else series.curve(ws.project.seed)
            rows.append(row_of(series, curve, count * size, gain, pace, price))
    return Spending(advice, sentence, source, pace, tuple(row for row in rows if row["labels"]))


def row_of(
    series: Series, curve: Curve, more: int, gain: float | None, pace: Pace, price: float | None
) -> dict[str, Any]:
    """Return one figure as plain JSON: measured points, what `more` labels bring, what a gain takes."""
    told = curve.gain(series.start, more)
    row: dict[str, Any] = {
        "figure": series.figure,
        "labels": series.start if series.points else 0,
        "points": [[p.n, p.value, p.low, p.high] for p in series.points],
        "more": more,
        "gain": [told.value, told.low, told.high],
        "reason": curve.reason,
    }
    if gain is not None:
        need = curve.needed(gain, series.start)
        row |= {"for": gain, "needed": [need.value, need.low, need.high]}
        row["hours"] = [None if n is None else pace.hours(n) for n in row["needed"]]
        if price is not None:
            row["price"] = [None if h is None else h * price for h in row["hours"]]
    return row


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `Spending` as one of the table that `toughcall plan` prints."""
    newest = row["points"][-1]
    out = {"figure": row["figure"], "labels": row["labels"], "now": newest[1], f"{row['more']} more bring": _gain(row)}
    if "for" in row:
        name = f"+{row['for']:g} takes"
        out[name] = UNTOLD if row["reason"] else _needed(row["needed"])
        for unit, key in (("hours", "hours"), ("price", "price")):
            if key in row:
                out[unit] = str(Amount(*row[key])) if row[key][0] is not None else "–"
    return out


def _gain(row: Mapping[str, Any]) -> str:
    value, low, high = row["gain"]
    if value is None:
        return UNTOLD if high is None else f"at most {high:.3f}"
    return f"{value:+.3f} ({low:.3f}–{high:.3f})"


def _needed(need: Sequence[float | None]) -> str:
    """Return "1,400 (900–2,300)"; an end that 20 times the labels do not reach is "never"."""
    if need[0] is None:
        return "never" if need[1] is None else f"more than {Amount(need[1], None, None)}".replace("about ", "")
    if need[2] is None:
        return f"{Amount(need[0], need[1], None)}".replace("–)", "–never)")
    return str(Amount(*need))
