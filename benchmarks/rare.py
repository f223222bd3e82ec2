"""Rare classes on real labels: how many positives 200 mined labels hold beside 200 random ones.

    python benchmarks/rare.py [goemotions] [opp115] [conll04_pairs] --vectors FOLDER --seeds 10

Every class whose share is near 1.4 % (the rarest of the post-mortems; `--low`, `--high`) is looked for as one
class among the rest. A run begins with 20 random labels, then asks four batches of 50, in equal shares
`rare_class`, `known_neighbours` and `seeds`, whose only phrase is the label's name; after each batch a
logistic head on the frozen packaged encoder learns again. Beside it 200 labels are drawn at random from the
same pool. The ratio is that of the sums over the seeds, with a bootstrap interval over seeds; "expected" is
against 200 times the true share, whose luck is none. With `--blind` nothing says where to look: until a
first positive turns up, every reason guesses. No text is ever printed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import research

from toughcall.mining import rare
from toughcall.mining.batch import pick_batch
from toughcall.mining.embed import embed, load_encoder
from toughcall.mining.reasons import choose
from toughcall.records import Floats, Pick, Scores, Vectors
from toughcall.telling import Console, rows_out

START, SIZE, ROUNDS, GOAL = 20, 50, 4, 3.0


@dataclass(frozen=True)
class World:
    """A pool with one rare class: ids, a unit vector each, who is of the class, the vector of its name."""

    label: str
    ids: tuple[str, ...]
    array: Floats
    yes: np.ndarray
    hint: Floats

    @property
    def vectors(self) -> Vectors:
        """The array with its ids."""
        return Vectors(self.ids, self.array, "minilm")


def probabilities(world: World, known: Sequence[int]) -> Floats:
    """Return P(class) of the whole pool from some answered rows: a logistic head, the name's cosine without one."""
    from sklearn.linear_model import LogisticRegression

    truth = world.yes[list(known)]
    if truth.all() or not truth.any():
        near = world.array @ world.hint[0]
        return np.asarray((near + 1.0) / 2.0, np.float32)
    head = LogisticRegression(C=3.0, class_weight="balanced", max_iter=200).fit(world.array[list(known)], truth)
    return np.asarray(head.predict_proba(world.array)[:, 1], np.float32)


def mined(world: World, reasons: Sequence[str], seed: int) -> tuple[dict[str, tuple[int, int]], list[int], list[int]]:
    """Return (picks and positives by reason, positives of each batch, the rows drawn at the start)."""
    rng = np.random.default_rng([seed, 1])
    start = sorted(int(i) for i in rng.choice(len(world.ids), START, replace=False))
    known, vectors = list(start), world.vectors
    where = vectors.where
    tally: Counter[tuple[str, bool]] = Counter()
    each = []
    for turn in range(ROUNDS):
        asked = {world.ids[row] for row in known}
        p = probabilities(world, known)
        open_ = [row for row in range(len(world.ids)) if world.ids[row] not in asked]
        values = np.stack([p, 1.0 - p], axis=1)[open_]
        scores = Scores(tuple(world.ids[row] for row in open_), (world.label, "rest"), values, "head")
        answers = {world.ids[row]: (world.label if world.yes[row] else "rest",) for row in known}
        context = {
            "vectors": vectors,
            "answers": answers,
            "counts": Counter(label for said in answers.values() for label in said),
            "seed_vectors": {world.label: world.hint},
            "null": "rest",
        }
        found: dict[str, Sequence[Pick]] = {
            reason: choose(reason, scores, 5 * SIZE, rng=rng, **context) for reason in reasons
        }
        quotas = dict.fromkeys(reasons, 1.0 / len(reasons))
        batch = pick_batch(found, quotas, SIZE, asked=asked, name=f"b{turn}", schema="", model="head")
        for pick in batch.picks:
            tally[pick.reason, bool(world.yes[where[pick.item]])] += 1
        each.append(int(sum(world.yes[where[pick.item]] for pick in batch.picks)))
        known += [where[pick.item] for pick in batch.picks]
    assert len(set(known)) == len(known) == START + ROUNDS * SIZE
    return (
        {reason: (tally[reason, False] + tally[reason, True], tally[reason, True]) for reason in reasons},
        each,
        start,
    )


def drawn(world: World, start: Sequence[int], seed: int) -> int:
    """Return the positives among 200 random rows that are not those of the start."""
    rest = np.setdiff1d(np.arange(len(world.ids)), start)
    rows = np.random.default_rng([seed, 2]).choice(rest, ROUNDS * SIZE, replace=False)
    return int(world.yes[rows].sum())


def ratio(ours: Sequence[int], theirs: Sequence[int]) -> tuple[float, float, float]:
    """Return the ratio of the sums with its 95 % bootstrap interval over seeds."""
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    rows = np.random.default_rng(0).integers(len(a), size=(2000, len(a)))
    low, high = np.quantile(a[rows].sum(axis=1) / np.maximum(b[rows].sum(axis=1), 1.0), [0.025, 0.975])
    return float(a.sum() / max(1.0, b.sum())), float(low), float(high)


def row_of(name: str, world: World, reasons: Sequence[str], seeds: int) -> dict[str, object]:
    """Return the figures of one class over all seeds."""
    ours, theirs, by = [], [], Counter[str]()
    asked: Counter[str] = Counter()
    batches = np.zeros(ROUNDS)
    for seed in range(seeds):
        tally, each, start = mined(world, reasons, seed)
        ours.append(sum(each))
        theirs.append(drawn(world, start, seed))
        batches += each
        for reason, (picks, yes) in tally.items():
            asked[reason] += picks
            by[reason] += yes
    value, low, high = ratio(ours, theirs)
    share = float(world.yes.mean())
    mean, expected = float(np.mean(ours)), share * ROUNDS * SIZE
    return {
        "set": name,
        "class": world.label,
        "share": f"{share:.2%}",
        "random": float(np.mean(theirs)),
        "mined": mean,
        "worst": min(ours),
        "ratio": value,
        "95 % interval": f"{low:.1f}–{high:.1f}",
        "expected": mean / expected,
        "by batch": " ".join(f"{one / seeds:.1f}" for one in batches),
        "precision by reason": ", ".join(f"{reason} {by[reason] / max(1, asked[reason]):.0%}" for reason in reasons),
        f"≥ {GOAL:g}×": "yes" if min(low, mean / expected) >= GOAL else "NO",
    }


def worlds(name: str, low: float, high: float, cache: Path, *, blind: bool = False) -> list[World]:
    """Return one world for each class of a set whose share of the training part is within bounds.

    `blind`: the name of a class says nothing, a random vector stands for it.
    """
    data = research.load(name)
    items, labels = data.parts["train"]
    encoder = load_encoder("minilm", "cpu")
    vectors = embed(data.texts, encoder, cache)
    ids = [item.id for item in items]
    views: Mapping[str, Sequence[str]] = {item.id: [view.id for view in item.views] for item in items}
    array = rare.centres(ids, vectors, views)
    found = []
    for label in data.schema.labels:
        yes = np.array([label in one.value for one in labels])
        if low <= yes.mean() <= high:
            hint = encoder.encode([label.replace("_", " ")])
            if blind:
                hint = np.random.default_rng(len(found)).normal(size=hint.shape).astype(np.float32)
                hint /= np.linalg.norm(hint)
            found.append(World(label, tuple(ids), array, yes, hint))
    return found


def main() -> None:
    """Print one row for each class."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["goemotions"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--low", type=float, default=0.012)
    parser.add_argument("--high", type=float, default=0.016)
    parser.add_argument("--vectors", type=Path, help="Where embeddings are kept (default: a folder that is removed).")
    parser.add_argument("--reasons", default="rare_class,known_neighbours,seeds")
    parser.add_argument("--blind", action="store_true", help="The names of the classes say nothing.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    console, rows = Console(), []
    reasons = given.reasons.split(",")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sets:
            if not research.there(name):
                console.say(f"{name} is not on this machine")
                continue
            found = worlds(name, given.low, given.high, given.vectors or Path(folder), blind=given.blind)
            if not found:
                console.say(f"{name} has no class between {given.low:.1%} and {given.high:.1%}")
            for world in found:
                console.say(f"{name}: {world.label}")
                rows.append(row_of(name, world, reasons, given.seeds))
    console.say(f"{given.seeds} seeds, {os.cpu_count()} cores, {START} random labels, then {ROUNDS} batches of {SIZE}")
    rows_out(rows, as_json=given.json)


if __name__ == "__main__":
    main()
