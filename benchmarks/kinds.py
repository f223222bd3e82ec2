"""Every kind of work on real labelled data: the head trained on all of it, beside what it has to reach.

    python benchmarks/kinds.py [opp115] [goemotions] [conll04_pairs] [gitbugs_pairs] [ellipse_essays] --seeds 5

The frozen packaged encoder and the product's own training, thresholds, reports. A seed decides which rows
share a fold, and with that the setting, the calibration and the thresholds; the test rows stay out of all of
it. Beside each figure stand its mean and 95 % t-interval over the seeds, the bootstrap interval of one seed
over the test rows, and the figure to reach. Sets that are not on this machine are skipped, saying so.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import research

from toughcall.mining.embed import Encoder, embed, load_encoder
from toughcall.model import evaluate
from toughcall.model.evaluate import Report
from toughcall.model.kinds import RelationKind
from toughcall.model.linear import Rows
from toughcall.model.scorers import Majority, Untouched
from toughcall.model.train import Trained, train
from toughcall.model.words import Words
from toughcall.records import Floats, Item, Relation, Span, Text, Vectors
from toughcall.telling import Console, rows_out

Figure = tuple[str, float, float]
"""What was measured, its value, and what it has to reach."""
GOALS = {
    "opp115": {"average_precision": 0.797, "macro_f1": 0.715},
    "goemotions": {"average_precision": 0.35, "macro_f1": 0.376},
    "conll04_pairs": {"macro_f1": 0.684, "positive_micro_f1": 0.619},
}


def trained(data: research.Research, vectors: Vectors, encoder: Encoder, seed: int, few: Sequence[int] = ()) -> Trained:
    """Train on the whole train part, or on some rows of it."""
    items, labels = data.parts["train"]
    corpus = data.kind.words_of([text for item in items for text in item.texts] if data.kind.paired else items)
    some = list(few) or range(len(items))
    return train(
        data.kind,
        data.schema,
        [items[i] for i in some],
        vectors,
        [labels[i] for i in some],
        corpus=corpus,
        pool=[text for item in items for text in item.texts],
        seed=seed,
        hints=encoder.encode(list(data.schema.labels)) if data.kind.hinted else None,
    )


def report_of(data: research.Research, model: Trained | Untouched | Majority, vectors: Vectors) -> Report:
    """Measure a model on the test part."""
    items, labels = data.parts["test"]
    scores = model.score(items, vectors)
    return evaluate.evaluate(
        model.name, data.kind, data.schema, labels, scores, model.thresholds, seed=0, role="candidate"
    )


def figures(data: research.Research, report: Report, vectors: Vectors) -> Iterator[Figure]:
    """Yield what one model reached beside what it has to reach."""
    for name, goal in GOALS.get(data.name, {}).items():
        value = report.value if name == report.metric else report.others[name]
        yield name, value or 0.0, goal
    if data.kind.paired:
        untouched = report_of(data, Untouched(data.kind, data.schema, np.zeros((0, 0), np.float32)), vectors)
        yield report.metric, report.value or 0.0, untouched.value or 0.0
    if data.kind.numbered and not data.kind.labelled:
        mean = report_of(data, Majority.fit(data.kind, data.schema, data.parts["train"][1]), vectors)
        plain = [np.mean(np.abs(column - level)) for column, level in zip(_truth(mean).T, _means(data), strict=True)]
        yield "mean_mae below the constant mean's", 1 - (report.others["mean_mae"] or 0.0) / float(np.mean(plain)), 0.2


def _truth(report: Report) -> evaluate.Doubles:
    return np.array(report.truth, dtype=np.float64)


def _means(data: research.Research) -> evaluate.Doubles:
    given = np.array([[number for _, number in label.value] for label in data.parts["train"][1]], dtype=np.float64)
    return np.asarray(given.mean(axis=0))


def interval(values: Sequence[float]) -> str:
    """Return `mean [low, high]`: the 95 % t-interval of the mean over the seeds."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def one_set(name: str, seeds: int, encoder: Encoder, cache: Path, console: Console) -> list[dict[str, object]]:
    """Return a row per figure of one set."""
    data = research.load(name)
    vectors = embed(data.texts, encoder, cache, console.bar(f"embedding {name}"))
    found: dict[str, list[float]] = {}
    goals: dict[str, float] = {}
    reports, seconds = [], []
    for seed in range(seeds):
        begun = time.perf_counter()
        model = trained(data, vectors, encoder, seed)
        seconds.append(time.perf_counter() - begun)
        reports.append(report_of(data, model, vectors))
        rows_out([{"set": name, "seed": seed, "s": seconds[-1], **reports[-1].others}], as_json=True)
        for what, value, goal in figures(data, reports[-1], vectors):
            found.setdefault(what, []).append(value)
            goals[what] = goal
    first = reports[0]
    return [
        {
            "set": name,
            "kind": data.kind.name,
            "train": len(data.parts["train"][0]),
            "test": first.n,
            "figure": what,
            "reached": interval(values),
            "to reach": goals[what],
            "95 % of one seed": f"[{first.low:.3f}, {first.high:.3f}]" if what == first.metric else "",
            "met": "yes" if np.mean(values) >= goals[what] else "NO",
            "never predicted": ", ".join(first.dead) or "none",
            "s a fit": round(float(np.mean(seconds)), 1),
        }
        for what, values in found.items()
    ]


class Untold(RelationKind):
    """Relations whose types the head is not told: only the rule knows them."""

    def features(
        self, items: Sequence[Item], vectors: Vectors, words: Words | None, reference: Floats | None
    ) -> tuple[Rows, dict[str, Floats]]:
        """Return the features of the same relations with their types taken off."""
        return super().features([untold(item) for item in items], vectors, words, reference)


def untold(item: Item) -> Item:
    """Return a relation without the types of its spans."""
    assert isinstance(item, Relation)
    return dataclasses.replace(item, subject=Span(*item.spans[:2]), object=Span(*item.spans[3:5]))  # type: ignore[arg-type]


def mask(seeds: int, encoder: Encoder, cache: Path, console: Console) -> list[dict[str, object]]:
    """Return what the type table is worth on conll04: the same head with and without it, few labels and all.

    Twice: for the head as it is, which reads the types of the spans, and for one that is not told them.
    """
    told = research.load("conll04_pairs")
    hidden = dataclasses.replace(told, kind=Untold())
    bare = [view for items, _ in told.parts.values() for item in items for view in untold(item).views]
    texts = list({text.id: text for text in [*told.texts, *bare]}.values())
    vectors = embed(texts, encoder, cache, console.bar("embedding conll04_pairs"))
    rows = []
    for name, typed in (("reads them", told), ("is not told", hidden)):
        plain = dataclasses.replace(typed, schema=dataclasses.replace(typed.schema, types=()))
        for size in (100, 200, 400, 0):
            gains: dict[str, list[float]] = {}
            illegal = 0
            # on all rows the fit hardly depends on the seed, and takes a minute
            tried = seeds if size else 1
            for seed in range(tried):
                order = np.random.default_rng(seed).permutation(len(typed.parts["train"][0]))[: size or None].tolist()
                both = (
                    report_of(data, trained(data, vectors, encoder, seed, order), vectors) for data in (typed, plain)
                )
                with_, without = both
                illegal += forbidden(typed, without)
                for figure in ("macro_f1", "positive_micro_f1"):
                    gain = (with_.others[figure] or 0.0) - (without.others[figure] or 0.0)
                    gains.setdefault(figure, []).append(gain)
                gains.setdefault("without", []).append(without.others["macro_f1"] or 0.0)
            rows.append(
                {
                    "the head": name,
                    "labels": size or len(typed.parts["train"][0]),
                    "seeds": tried,
                    "macro F1 without the table": interval(gains["without"]),
                    "gain in macro F1": interval(gains["macro_f1"]),
                    "gain in positive micro F1": interval(gains["positive_micro_f1"]),
                    "illegal answers without": round(illegal / tried, 1),
                }
            )
            rows_out(rows[-1:], as_json=True)
    return rows


def forbidden(data: research.Research, report: Report) -> int:
    """Return how many predictions the type table forbids."""
    legal = data.kind.legal(data.schema, data.parts["test"][0])
    return 0 if legal is None else int((np.array(report.said, dtype=bool) & ~legal).sum())


def random_inputs(model: Trained, encoder: Encoder, count: int = 10_000) -> int:
    """Return how many of `count` random texts with random spans and types get a relation their types forbid."""
    rng = np.random.default_rng(0)
    words = ["born", "in", "of", "killed", "near", "the", "works", "for", "$5", "<b>", "Ω", "and"]
    types = ["Peop", "Loc", "Org", "Other", "", "NEW"]
    items: list[Item] = []
    for number in range(count):
        text = " ".join(rng.choice(words, size=int(rng.integers(3, 9)))) + f" {number}"
        a, b = sorted(rng.choice(len(text), size=2, replace=False).tolist())
        kinds_ = rng.choice(types, size=2)
        items.append(Relation(Text(text), Span(0, a + 1, str(kinds_[0])), Span(a, b + 1, str(kinds_[1]))))
    views = list({view.id: view for item in items for view in item.views}.values())
    fake = rng.normal(size=(len(views), encoder.dimension)).astype(np.float32)
    vectors = Vectors(tuple(v.id for v in views), fake / np.linalg.norm(fake, axis=1, keepdims=True), "random")
    schema, kind = model.head.schema, model.head.kind
    said = kind.decode(schema, model.score(items, vectors).values, model.thresholds)
    return sum(bool(schema.check(value, schema.offered(item))) for item, value in zip(items, said, strict=True))


def main() -> None:
    """Run the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(research.KINDS), metavar="SET")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="where embeddings are kept (default: temporary)")
    given = parser.parse_args()
    console, encoder = Console(), load_encoder("minilm", "cpu")
    with tempfile.TemporaryDirectory() as temporary:
        cache = given.cache or Path(temporary)
        rows: list[dict[str, object]] = []
        for name in given.sets:
            if not research.there(name):
                sys.stdout.write(f"{name}: skipped, {research.DATASETS / name} is not here\n")
                continue
            rows += one_set(name, given.seeds, encoder, cache, console)
            rows_out(rows[-1:], as_json=True)
        rows_out(rows, as_json=False)
        if "conll04_pairs" in given.sets and research.there("conll04_pairs"):
            sys.stdout.write("\nthe type table of conll04, same rows and seeds with and without it\n")
            rows_out(mask(given.seeds, encoder, cache, console), as_json=False)
            data = research.load("conll04_pairs")
            vectors = embed(data.texts, encoder, cache)
            wrong = random_inputs(trained(data, vectors, encoder, 0), encoder)
            sys.stdout.write(f"\nillegal relations in 10,000 random inputs: {wrong}\n")


if __name__ == "__main__":
    main()
