"""The loop replayed on data whose answers are known, to see whether the queue beats random order there.

A strategy is a mix of quotas, nothing else: each goes through the same queue, head and test part as a real
round, starts from the same labels, and is compared with random order seed by seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.mining.batch import warmed
from toughcall.mining.queue import next_batch
from toughcall.model.evaluate import METRICS, Report, evaluate
from toughcall.model.train import Basis, Trained
from toughcall.records import Label, NotEnoughData, UsageError, Vectors
from toughcall.schema import Schema, names_of
from toughcall.settings import MineSettings

if TYPE_CHECKING:
    from toughcall.model.kind import Kind
    from toughcall.model.scorers import Scorer

RANDOM = "random"
LEAST = 20
"""So many held-out labels measure at least."""
RARE = 0.05
"""A class below this share of the pool counts as rare; where none is, the smallest one does."""


@dataclass(frozen=True)
class Bench:
    """Labelled items to replay on: what may be asked, and what measures."""

    kind: Kind
    schema: Schema
    basis: Basis
    """The items that may be asked, then those that measure."""
    answers: Sequence[Label]
    """The answers of `basis.items`, in their order."""
    pool: int
    """How many of them may be asked."""
    vectors: Vectors
    untouched: Scorer
    """What asks while nothing can be learnt."""

    @property
    def test(self) -> Sequence[Label]:
        """The answers that measure."""
        return self.answers[self.pool :]

    def rare(self) -> tuple[str, ...]:
        """Return the classes that are rare in the pool; none where answers are numbers."""
        counts = dict.fromkeys(self.schema.labels, 0)
        for label in self.answers[: self.pool]:
            for name in names_of(label.value):
                counts[name] = counts.get(name, 0) + 1
        there = {name: counts[name] for name in self.schema.labels if counts[name] and name != self.schema.null}
        low = tuple(name for name, count in there.items() if count < RARE * self.pool)
        return low or tuple(sorted(there, key=lambda name: (there[name], name))[:1])


@dataclass(frozen=True)
class Plan:
    """How long a replay is: `start` labels drawn at random, then batches until `budget` labels are there.

    With start 0 the first batch is asked for as in a real project, by the encoder as it came.
    """

    start: int = 50
    batch: int = 50
    budget: int = 500

    def budgets(self, pool: int) -> list[int]:
        """Return the label counts at which the model is measured, at most `pool`."""
        last = min(self.budget, pool)
        return [*range(self.start or self.batch, last, self.batch), last]


@dataclass(frozen=True)
class Curve:
    """One replay: what was reached with how many labels. None where too few labels of some class were found."""

    strategy: str
    seed: int
    budgets: tuple[int, ...]
    values: tuple[float | None, ...]
    others: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    rare: tuple[int, ...] = ()
    """Labels of rare classes found so far, at each budget."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Labels of each class at the last budget."""

    def series(self, figure: str = "") -> list[float]:
        """Return the metric, or another figure by its name, at each budget; NaN where there is none."""
        given = self.others[figure] if figure else self.values
        return [np.nan if value is None else value for value in given]

    def area(self, figure: str = "") -> float:
        """Return the mean over the budgets: the area under the curve as a share of its width; NaN with a gap."""
        return float(np.mean(self.series(figure)))


def turns(
    bench: Bench,
    quotas: Mapping[str, float],
    *,
    seed: int,
    plan: Plan,
    settings: MineSettings,
    known: Sequence[int] = (),
) -> Iterator[tuple[list[int], Trained | None]]:
    """Yield (the rows answered so far, the head they give) at each budget of one replay.

    `known`: rows that have an answer already, in place of the start. Without either the first is ([], None),
    before anything is asked.
    """
    ids = [item.id for item in bench.basis.items]
    where = {one: row for row, one in enumerate(ids[: bench.pool])}
    budgets = plan.budgets(bench.pool)
    start = np.random.default_rng([seed, 0]).choice(bench.pool, size=min(plan.start, bench.pool), replace=False)
    rows = list(known) or [int(row) for row in start]
    budgets = [len(rows), *(one for one in budgets if one > len(rows))] if known else budgets
    for turn, budget in enumerate([*([0] if not rows else []), *budgets]):
        trained = _fitted(bench, rows, seed)
        yield list(rows), trained
        due = (budgets[0] if not budget else next((one for one in budgets if one > budget), budget)) - len(rows)
        if due > 0:
            rows += [where[one] for one in _asked(bench, trained, rows, quotas, due, [seed, 1, turn], settings)]


def replay(
    bench: Bench,
    strategy: str,
    quotas: Mapping[str, float],
    *,
    seed: int,
    plan: Plan,
    settings: MineSettings,
    progress: Callable[[int], None] | None = None,
) -> Curve:
    """Replay the loop once with one mix of quotas."""
    rare = set(bench.rare())
    values: list[float | None] = []
    others: dict[str, list[float | None]] = {}
    found: list[int] = []
    rows: list[int] = []
    for turn, (rows, trained) in enumerate(turns(bench, quotas, seed=seed, plan=plan, settings=settings)):
        if rows:
            report = _measured(bench, trained)
            values.append(report.value)
            for name, figure in report.others.items():
                others.setdefault(name, []).append(figure)
            found.append(sum(bool(rare & set(names_of(bench.answers[row].value))) for row in rows))
        if progress:
            progress(turn + 1)
    budgets = plan.budgets(bench.pool)
    told = {name: tuple(series) for name, series in others.items() if len(series) == len(values)}
    counts = dict.fromkeys(bench.schema.labels, 0)
    for row in rows:
        for one in names_of(bench.answers[row].value):
            counts[one] = counts.get(one, 0) + 1
    return Curve(strategy, seed, tuple(budgets), tuple(values), told, tuple(found), counts)


def _fitted(bench: Bench, rows: Sequence[int], seed: int) -> Trained | None:
    """Return the head that these rows give, None when they are too few to learn from."""
    order = sorted(rows, key=lambda row: bench.basis.items[row].id)
    try:
        return bench.basis.fit(order, [bench.answers[row] for row in order], seed=seed)
    except NotEnoughData:
        return None


def _measured(bench: Bench, trained: Trained | None) -> Report:
    """Return the figures on the test part; while nothing can be learnt they are those of the encoder as it came."""
    model = bench.untouched if trained is None else trained.head
    items = bench.basis.items[bench.pool :]
    rows = range(bench.pool, len(bench.basis.items))
    scores = bench.untouched.score(items, bench.vectors) if trained is None else bench.basis.score(trained.head, rows)
    return evaluate(
        model.name, bench.kind, bench.schema, bench.test, scores, model.thresholds, seed=0, role="replay", bounds=False
    )


def _asked(
    bench: Bench,
    trained: Trained | None,
    rows: Sequence[int],
    quotas: Mapping[str, float],
    size: int,
    seed: Sequence[int],
    settings: MineSettings,
) -> list[str]:
    """Return the ids that the queue asks next."""
    taken = set(rows)
    left = [row for row in range(bench.pool) if row not in taken]
    items = bench.basis.items
    if trained is None:
        scores = bench.untouched.score([items[row] for row in left], bench.vectors)
    else:
        scores = bench.basis.score(trained.head, left)
    quotas = quotas if bench.kind.warm else warmed(quotas, len(rows))
    counts = dict.fromkeys(scores.labels, 0)
    answers = {items[row].id: names_of(bench.answers[row].value) for row in rows}
    for names in answers.values():
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    several = {} if bench.kind.items == "texts" else {items[row].id: items[row] for row in [*left, *rows]}
    batch = next_batch(
        scores,
        bench.vectors,
        settings,
        quotas,
        size,
        rng=np.random.default_rng(seed),
        name="replay",
        schema="",
        asked=list(answers),
        counts=counts,
        views={one: tuple(view.id for view in item.views) for one, item in several.items()},
        records={one: tuple(text.id for text in item.texts) for one, item in several.items()},
        collapse=bench.kind.items == "texts",
        more={
            "answers": answers,
            "null": bench.schema.null,
            "thresholds": (bench.untouched if trained is None else trained).thresholds,
        },
    )
    return [pick.item for pick in batch.picks]


def strategies_of(kind: Kind, schema: Schema, quotas: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    """Return what is compared unless somebody says otherwise: the project's queue, random order, the usual rivals."""
    out: dict[str, Mapping[str, float]] = {"queue": quotas or kind.quotas, RANDOM: {"random_audit": 1.0}}
    if not kind.labelled:
        return {**out, "spread": {"spread": 1.0}, "diverse": {"diverse": 1.0}}
    return {**out, "margin": {"margin": 1.0}, "class-balanced": {"class_balanced": 1.0}}


@dataclass(frozen=True)
class Compared:
    """One strategy over all seeds beside random order; intervals are 95 % t-intervals over the seeds' differences."""

    strategy: str
    seeds: int
    mean: tuple[float, ...]
    """The metric at each budget, mean over seeds."""
    area: float
    gain: float
    low: float | None
    high: float | None
    """How much greater the area is than that of the control with the same seed (smaller, for errors)."""
    rare: float
    """Labels of rare classes at the last budget, mean over seeds."""
    rare_ratio: float | None
    reached: float | None
    """The number of labels that reach the target, None where no budget did."""


def compare(
    curves: Sequence[Curve], metric: str, target: float | None = None, *, control: str = RANDOM, figure: str = ""
) -> tuple[float, list[Compared]]:
    """Return (the target, one row per strategy): the target is what the control reaches in the end, if not given.

    `control`: what the others are compared with. `figure`: another figure than the metric, greater is better.
    ValueError without a replay of the control, or when strategies were not replayed with the same seeds.
    """
    by: dict[str, dict[int, Curve]] = {}
    for curve in curves:
        by.setdefault(curve.strategy, {})[curve.seed] = curve
    if control not in by or any(set(one) != set(by[control]) for one in by.values()):
        raise ValueError("every strategy is replayed with the same seeds, and the control is one of them")
    sign = 1 if figure else METRICS[metric][1]
    seeds = sorted(by[control])
    budgets = by[control][seeds[0]].budgets

    def means(name: str) -> list[float]:
        table = [by[name][seed].series(figure) for seed in seeds]
        return [float(value) for value in np.mean(table, axis=0)]

    aim = means(control)[-1] if target is None else target
    chance = float(np.mean([by[control][seed].rare[-1] for seed in seeds]))
    out = []
    for name, own in by.items():
        gains = [sign * (own[seed].area(figure) - by[control][seed].area(figure)) for seed in seeds]
        low, high = _interval(gains) if name != control else (None, None)
        found = float(np.mean([own[seed].rare[-1] for seed in seeds]))
        out.append(
            Compared(
                name,
                len(seeds),
                tuple(means(name)),
                float(np.mean(means(name))),
                float(np.mean(gains)),
                low,
                high,
                found,
                found / chance if chance else None,
                _reached(budgets, means(name), aim, sign),
            )
        )
    return aim, out


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % t-interval of a mean; (None, None) below two values or with one that is missing."""
    from scipy.stats import t

    if len(values) < 2 or not np.isfinite(values).all():
        return None, None
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    middle = float(np.mean(values))
    return middle - half, middle + half


def _reached(budgets: Sequence[int], means: Sequence[float], aim: float, sign: int) -> float | None:
    """Return how many labels reach the aim, on straight lines between budgets."""
    before: tuple[int, float] | None = None
    for budget, mean in zip(budgets, means, strict=True):
        if sign * (mean - aim) >= 0:
            if before is None or mean == before[1]:
                return float(budget)
            share = (aim - before[1]) / (mean - before[1])
            return before[0] + share * (budget - before[0])
        before = budget, mean
    return None


def check(asked: int, measuring: int, plan: Plan) -> None:
    """Refuse labels too few to decide anything, in one sentence."""
    if asked < 2 * plan.batch or measuring < LEAST:
        raise UsageError(
            f"{asked} labelled items to ask and {measuring} to measure are too few to replay a loop: at least "
            f"{2 * plan.batch} and {LEAST} are needed; toughcall import FILE --label COLUMN adds labelled rows"
        )


def as_json(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return curves as JSON."""
    return [dataclasses.asdict(curve) for curve in curves]


def from_json(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Return curves from JSON."""
    return [
        Curve(
            row["strategy"],
            row["seed"],
            tuple(row["budgets"]),
            tuple(row["values"]),
            {name: tuple(series) for name, series in row["others"].items()},
            tuple(row["rare"]),
            row["counts"],
        )
        for row in rows
    ]
