"""Is a fine-tuned encoder worth it, and is what ships ever worse than the untouched one? 500 mined labels, five seeds.

Each seed mines 500 labels with the default queue, trains `--recipe auto` on them and measures on the untouched test
split, beside the frozen head of the same labels and the untouched encoder; the gate decides what would ship.

On the bug reports the pairs are mined from the training part's reports, not from the listed pairs alone.

    python benchmarks/recipes.py opp115 conll04_pairs gitbugs_pairs --seeds 5 --budget 10
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import label_efficiency
import numpy as np
import research

from toughcall.mining.embed import embed, load_encoder
from toughcall.model import recipes
from toughcall.model.evaluate import Report, evaluate
from toughcall.model.gate import Gate, judge
from toughcall.model.scorers import Scorer, Untouched
from toughcall.model.train import Basis
from toughcall.records import Item, Label, Pair, Text
from toughcall.settings import MineSettings
from toughcall.simulation import Bench, Plan, turns
from toughcall.telling import Console, rows_out

SETS = ("opp115", "conll04_pairs", "gitbugs_pairs")
LABELS = 500
NEAREST = 15
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}
"""Student's t for a 95 % interval of a mean, by the number of seeds."""


def bug_reports(folder: Path, console: Console) -> tuple[Bench, int]:
    """Return (pairs to mine, how many at their end are listed): reports of the training part with their nearest others.

    Two reports are similar when the training pairs join them, directly or through others; duplicates that nobody
    reported count as different. No report of a test pair is among them.
    """
    found = research.load("gitbugs_pairs")
    test, held = found.parts["test"]
    closed = {one for row in research.rows_of(found.name, "test") for one in row["id"].split("|")}
    texts: dict[str, Text] = {}
    for row in research.rows_of(found.name, "pool"):
        if row["id"] not in closed:
            texts.setdefault(row["id"], Text(row["text"]))
    known = [row for row in research.rows_of(found.name, "train") if not closed & set(row["id"].split("|"))]
    home: dict[str, str] = {}

    def root(one: str) -> str:
        while home.setdefault(one, one) != one:
            one = home[one]
        return one

    for row in known:
        if row["label"]:
            a, b = sorted(map(root, row["id"].split("|")))
            home[b] = a
    encoder, names = load_encoder("minilm"), sorted(texts)
    views = {text.id: text for item in test for text in item.texts} | {text.id: text for text in texts.values()}
    vectors = embed(list(views.values()), encoder, folder / "vectors", console.bar("embedding reports"))
    array = vectors.rows([texts[one].id for one in names])
    near = np.argsort(-(array @ array.T), axis=1)[:, 1 : NEAREST + 1]
    pairs: dict[str, tuple[Item, Label]] = {}
    joined = [(names[i], names[int(j)]) for i in range(len(names)) for j in near[i]]
    listed = [tuple(row["id"].split("|")) for row in known]
    new = 0
    for place, (a, b) in enumerate([*joined, *listed]):
        if place == len(joined):
            new = len(pairs)
        if a in texts and b in texts and texts[a].id != texts[b].id:
            pair = Pair(texts[a], texts[b])
            label = Label(pair.id, (found.schema.labels[0 if root(a) == root(b) else 1],))
            # a listed pair goes to the end, also when it was found before
            new -= place >= len(joined) and pair.id in pairs
            pairs.pop(pair.id, None)
            pairs[pair.id] = (pair, label)
    pool, asked = [item for item, _ in pairs.values()], [label for _, label in pairs.values()]
    corpus = [text.text for text in texts.values()]
    basis = Basis.of(
        found.kind, found.schema, [*pool, *test], vectors, corpus=corpus, pool=list(texts.values()), seed=0
    )
    untouched = Untouched(found.kind, found.schema, np.zeros((0, 0), np.float32))
    bench = Bench(found.kind, found.schema, basis, [*asked, *held], len(pool), vectors, untouched)
    return bench, len(pool) - new


def mined(bench: Bench, seed: int, listed: int = 0) -> list[int]:
    """Return the rows that the default queue asks for, 50 of them drawn at random first.

    `listed`: so many rows at the end of the pool have an answer already, and stand in place of the random ones.
    """
    plan = Plan(50, 50, min(LABELS, bench.pool))
    known = range(bench.pool - listed, bench.pool)
    *_, (rows, _) = turns(bench, bench.kind.quotas, seed=seed, plan=plan, settings=MineSettings(), known=known)
    return sorted(rows, key=lambda row: bench.basis.items[row].id)


def report_of(bench: Bench, model: Scorer, role: str) -> Report:
    """Return the figures of a model on the test split."""
    items = bench.basis.items[bench.pool :]
    scores = model.score(items, bench.vectors)
    return evaluate(model.name, bench.kind, bench.schema, bench.test, scores, model.thresholds, seed=0, role=role)


def one_seed(
    bench: Bench, listed: int, name: str, seed: int, budget: float, recipe: str, tuning: dict[str, Any]
) -> dict[str, Any]:
    """Return what one seed gave: figures of the untouched encoder, the head and what was taken, and the verdict."""
    encoder, rows, began = load_encoder("minilm"), mined(bench, seed, listed), time.monotonic()
    say = Console().say
    job = recipes.Job(
        bench.basis,
        rows,
        [bench.answers[row] for row in rows],
        lambda: encoder.folder,
        seed,
        lambda sentence: say(f"{name} seed {seed}: {sentence}"),
        lambda what: lambda done, total: None,
        time.monotonic,
        budget=budget,
        tuning=tuning,
    )
    head = recipes.fit("head", job)
    taken = recipes.fit(recipe, job)
    minutes = (time.monotonic() - began) / 60
    untouched, plain, new = (
        report_of(bench, model, role)
        for model, role in ((bench.untouched, "untouched"), (head.model, "head"), (taken.model, "candidate"))
    )
    verdict = judge(new, None, [untouched], Gate(metric=new.metric))
    shipped = new.value if verdict.outcome == "PROMOTE" else untouched.value
    return {
        "set": name,
        "seed": seed,
        "metric": new.metric,
        "untouched": untouched.value,
        "head": plain.value,
        "taken": taken.model.recipe,
        "value": new.value,
        "verdict": verdict.outcome,
        "ships": shipped,
        "minutes": round(minutes, 1),
        "tried": [{key: row.get(key) for key in ("recipe", "gain", "error")} for row in taken.chosen.get("tried", [])],
    }


def told(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row for a set: means, and the paired 95 % t-interval of what was taken over the head."""
    gains = np.array([row["value"] - row["head"] for row in rows])
    half = T.get(len(rows), 1.96) * gains.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else float("nan")
    return {
        "set": rows[0]["set"],
        "metric": rows[0]["metric"],
        "seeds": len(rows),
        "untouched": float(np.mean([row["untouched"] for row in rows])),
        "head": float(np.mean([row["head"] for row in rows])),
        "taken": float(np.mean([row["value"] for row in rows])),
        "over the head": f"{gains.mean():+.3f} [{gains.mean() - half:+.3f}, {gains.mean() + half:+.3f}]",
        "other than head": sum(row["taken"] != "head" for row in rows),
        "promoted": sum(row["verdict"] == "PROMOTE" for row in rows),
        "ships below untouched": sum(row["ships"] < row["untouched"] for row in rows),
        "minutes each": float(np.mean([row["minutes"] for row in rows])),
    }


def main() -> None:
    """Run the sets one after the other; finished seeds are kept in --keep and not run again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=10.0, help="minutes for networks, each seed")
    parser.add_argument("--recipe", default=recipes.AUTO)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="a file with a line for each finished seed")
    parser.add_argument("--vectors", type=Path, help="a folder to keep vectors in")
    given = parser.parse_args()
    known: list[dict[str, Any]] = []
    if given.keep and given.keep.exists():
        known = [json.loads(line) for line in given.keep.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        table = []
        for name in given.sets:
            if not research.there(name):
                sys.stdout.write(f"{name}: skipped, {research.DATASETS / name} is not here\n")
                continue
            where, listed = given.vectors or Path(folder), 0
            if name == "gitbugs_pairs":
                bench, listed = bug_reports(where, Console())
            else:
                bench = label_efficiency.bench_of(name, where, Console())
            rows = [row for row in known if row["set"] == name]
            for seed in range(given.seeds):
                if any(row["seed"] == seed for row in rows):
                    continue
                rows.append(one_seed(bench, listed, name, seed, given.budget, given.recipe, {"epochs": given.epochs}))
                if given.keep:
                    with given.keep.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
            rows_out([{k: v for k, v in row.items() if k != "tried"} for row in rows], as_json=False)
            table.append(told(rows))
            sys.stdout.write("\n")
        rows_out(table, as_json=False)


if __name__ == "__main__":
    main()
