"""From a project's labels, or a demo set, to the answer of a simulation: curves, a table, a plot."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall import simulation
from toughcall.files import write_atomically
from toughcall.model.train import Basis
from toughcall.pairing import candidates
from toughcall.records import CANT_TELL, Item, Label, UsageError, digest
from toughcall.simulation import RANDOM, Bench, Compared, Curve, Plan
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.demo_data import Prepared
    from toughcall.telling import Console

MOST = 12_000
"""So many labelled items are replayed on at most, drawn at random: enough to see a difference."""


def bench_of(ws: Workspace, plan: Plan, answer: Callable[[Item], Label | None] | None = None) -> Bench:
    """Return what a project's labels can be replayed on: those of its training part are asked, the held-out measure.

    `answer` knows what nobody has labelled (a demo set's own truth), None for what cannot be told.
    """
    train, test, items, _ = ws.split()
    if answer is not None:
        train, items = _told(ws, answer, items)
    simulation.check(len(train), len(test), plan)
    if len(train) > MOST:
        drawn = np.sort(np.random.default_rng(ws.project.seed).choice(len(train), MOST, replace=False))
        ws.telling.say(f"{MOST} of {len(train)} labelled items are replayed on, drawn at random")
        train = [train[row] for row in drawn]
    answers = [*sorted(train, key=lambda label: label.item), *sorted(test, key=lambda label: label.item)]
    basis = Basis.of(
        ws.kind,
        ws.schema,
        [items[label.item] for label in answers],
        ws.vectors,
        corpus=ws.corpus,
        pool=ws.training_pool(),
        seed=ws.project.seed,
        hints=ws.label_hints,
    )
    return Bench(ws.kind, ws.schema, basis, answers, len(train), ws.vectors, ws.untouched)


def _told(
    ws: Workspace, answer: Callable[[Item], Label | None], items: Mapping[str, Item]
) -> tuple[list[Label], dict[str, Item]]:
    """Return every item of the training part with its answer, and the items by id."""
    parts, groups = ws.store.parts(), ws.store.groups()
    held = {groups[one] for one, part in parts.items() if part == "test"}
    open_ = {
        item.id: item
        for item in candidates(ws)
        if ws.part(item, parts) == "train" and not ws.leaky(item, parts, groups, held)
    }
    told = [label for one in sorted(open_) if (label := answer(open_[one]))]
    return told, {**items, **open_}


def truth_of(data: Prepared) -> Callable[[Item], Label | None]:
    """Return who answers for a demo set."""

    def answer(item: Item) -> Label | None:
        value = data.answer(item, "data")
        return None if value == (CANT_TELL,) else Label(item.id, value)

    return answer


def simulate(
    ws: Workspace,
    bench: Bench,
    strategies: Mapping[str, Mapping[str, float]],
    seeds: int,
    plan: Plan,
    folder: Path,
) -> list[Curve]:
    """Replay every strategy with every seed; what a killed run finished is read back from `curves.jsonl`."""
    held = [[label.item, list(label.value)] for label in bench.answers]
    settings = dataclasses.replace(ws.project.mine, batch=plan.batch)
    asked = [bench.schema.version, bench.schema.hints, ws.encoder.sha, dataclasses.astuple(plan)]
    rules = [settings.low, settings.high, settings.per_record, settings.near_duplicate]
    known = digest("bench", held, bench.pool, asked, rules)
    path = folder / "curves.jsonl"
    done = dict(finished(path))
    turns = len(plan.budgets(bench.pool)) + (not plan.start)
    bar, count = ws.telling.bar("replaying"), 0
    total = turns * seeds * len(strategies)
    out = []
    for seed in range(seeds):
        for name, quotas in strategies.items():
            key = digest("curve", known, sorted(quotas.items()), seed)
            if key not in done:
                curve = simulation.replay(
                    bench,
                    name,
                    quotas,
                    seed=seed,
                    plan=plan,
                    settings=settings,
                    progress=lambda turn, before=count: bar(before + turn, total),  # type: ignore[misc]
                )
                keep(path, key, curve)
                done[key] = curve
            count += turns
            out.append(dataclasses.replace(done[key], strategy=name))
    return out


def finished(path: Path) -> Iterator[tuple[str, Curve]]:
    """Yield the finished replays of a file; a line that a kill tore in two is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            yield row["key"], simulation.from_json([row["curve"]])[0]
        except (ValueError, KeyError, TypeError):
            continue


def keep(path: Path, key: str, curve: Curve) -> None:
    """Add a finished replay to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "curve": dataclasses.asdict(curve)}) + "\n")


def rows_of(compared: Sequence[Compared], budgets: Sequence[int]) -> list[dict[str, Any]]:
    """Return the printed table: the metric at some budgets, the area, and what it is worth against random order."""
    shown = sorted({0, len(budgets) // 4, len(budgets) // 2, len(budgets) - 1})
    out = []
    for one in compared:
        row: dict[str, Any] = {"strategy": one.strategy}
        row |= {f"@{budgets[place]}": one.mean[place] for place in shown}
        gain = "–" if one.low is None else f"{one.gain:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
        row |= {
            "area": one.area,
            f"against {RANDOM}": gain,
            "rare found": f"{one.rare:.0f}" + ("" if one.rare_ratio is None else f" ({one.rare_ratio:.1f}×)"),
            "labels to target": None if one.reached is None else f"{one.reached:.0f}",
        }
        out.append(row)
    return out


def verdict(compared: Sequence[Compared], name: str = "queue") -> str:
    """Return in one sentence whether the queue beats random order on this data."""
    one = next(row for row in compared if row.strategy == name)
    if one.low is None or one.high is None:
        return "too few seeds, or too few labels at some budget, to say whether the queue beats random order"
    told = f"area under the curve {one.gain:+.3f} [{one.low:+.3f}, {one.high:+.3f}] over {one.seeds} seeds"
    if one.low > 0:
        return f"the queue beats random order here: {told}"
    if one.high < 0:
        return f"random order beats the queue here: {told}; set mine.quotas, or ask in random order"
    return f"nothing speaks for the queue or for random order here: {told}, the interval reaches 0"


def write(folder: Path, bench: Bench, plan: Plan, curves: Sequence[Curve], target: float | None) -> list[Path]:
    """Write the simulation as JSON and as a plot, and return the paths."""
    metric = bench.kind.metric(bench.schema)
    aim, compared = simulation.compare(curves, metric, target)
    told = {
        "metric": metric,
        "kind": bench.kind.name,
        "pool": bench.pool,
        "test": len(bench.test),
        "rare classes": list(bench.rare()),
        "plan": dataclasses.asdict(plan),
        "target": aim,
        "strategies": [dataclasses.asdict(one) for one in compared],
        "curves": simulation.as_json(curves),
        "sentence": verdict(compared) if any(one.strategy == "queue" for one in compared) else "",
    }
    text = json.dumps(told, indent=1, ensure_ascii=False)
    paths = [folder / "simulation.json", folder / "simulation.svg"]
    write_atomically(paths[0], lambda aside: aside.write_text(text, encoding="utf-8"))
    from toughcall.review.charts import learning_curves

    drawn = learning_curves(_points(curves), metric, aim)
    write_atomically(paths[1], lambda aside: drawn.save(str(aside), format="svg"))
    return paths


def _points(curves: Sequence[Curve]) -> Any:
    """Return a table for the plot: mean of each strategy at each budget, least and greatest of its seeds."""
    import pandas as pd

    rows = [
        {"strategy": curve.strategy, "labels": budget, "value": value}
        for curve in curves
        for budget, value in zip(curve.budgets, curve.values, strict=True)
        if value is not None
    ]
    grouped = pd.DataFrame(rows).groupby(["strategy", "labels"], sort=False)["value"]
    return grouped.agg(mean="mean", least="min", greatest="max").reset_index()


def mixes(given: Sequence[str], standard: Mapping[str, Mapping[str, float]], reasons: Sequence[str]) -> dict[str, Any]:
    """Return the strategies named on the command line: "name" of a standard one, or "name=reason:share,…"."""
    if not given:
        return dict(standard)
    out: dict[str, Mapping[str, float]] = {}
    for text in given:
        name, _, parts = text.partition("=")
        if not parts:
            if name not in standard:
                raise UsageError(
                    f"no strategy {name!r}: choose {', '.join(standard)}, or a mix, mine=boundary:1,diverse:1"
                )
            out[name] = standard[name]
            continue
        quotas = {}
        for part in parts.split(","):
            reason, _, share = part.strip().partition(":")
            try:
                quotas[reason] = float(share or 1.0)
            except ValueError:
                raise UsageError(f"{share!r} in --strategy {text!r} is no number") from None
            if reason not in reasons or not quotas[reason] > 0:
                raise UsageError(
                    f"--strategy {text!r}: {part.strip()!r} is no reason with a share; {', '.join(reasons)}"
                )
        out[name] = quotas
    out.setdefault(RANDOM, standard[RANDOM])
    return out


@contextlib.contextmanager
def demo_project(
    folder: Path, kind: str, console: Console
) -> Iterator[tuple[Workspace, Callable[[Item], Label | None]]]:
    """Open a project over a demo set, made when it is not there, and who knows its answers."""
    from toughcall import demo
    from toughcall.workspace import opened

    (data,) = demo.prepare(folder, [kind], console)
    root = folder / f"{kind}-project"
    if not (root / "project.toml").exists():
        demo.make(root, data, console)
    with opened(root, "simulate", console) as ws:
        demo.import_held_out(ws, data)
        yield ws, truth_of(data)


def run(
    ws: Workspace,
    folder: Path,
    answer: Callable[[Item], Label | None] | None,
    *,
    seeds: int,
    start: int,
    batch: int,
    budget: int,
    target: float | None,
    strategy: Sequence[str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Simulate and write; return the table's rows and the sentences under it."""
    from toughcall.mining.reasons import STRATEGIES

    plan = Plan(start, batch, budget)
    bench = bench_of(ws, plan, answer)
    standard = simulation.strategies_of(bench.kind, bench.schema, ws.project.mine.quotas)
    chosen = mixes(strategy, standard, ["random_audit", *STRATEGIES])
    ws.telling.say(
        f"replaying {len(chosen)} strategies with {seeds} seeds on {bench.pool} labelled items, "
        f"measured on {len(bench.test)} held-out ones"
    )
    curves = simulate(ws, bench, chosen, seeds, plan, folder)
    aim, compared = simulation.compare(curves, bench.kind.metric(bench.schema), target)
    paths = write(folder, bench, plan, curves, target)
    told = [f"target {aim:.3f}; rare: {', '.join(bench.rare()) or 'no class'}"]
    if "queue" in chosen:
        told.append(verdict(compared))
    told.append(f"written to {paths[0]} and {paths[1].name}")
    return rows_of(compared, plan.budgets(bench.pool)), told
