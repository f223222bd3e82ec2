"""Do the 95 % intervals of the audits cover the truth in 93 to 97 of 100 loops? On real labels, which are the truth.

    python benchmarks/coverage.py [opp115] [conll04_pairs] [goemotions] --loops 500 --cache DIR

One loop: 50 labels to begin with, then 5 rounds of 50, each from a new model: 20 drawn at random from what is
left, 15 nearest to a threshold, 15 likely members of the three classes with the fewest labels. The model is
ridge regression on the packaged encoder's vectors with leave-one-out thresholds: it has to be quick, not good.
After each loop the intervals of the estimates are held against what the set's own labels say: the share of
each class and its unasked members in the pool; precision, recall and F1 of the newest model on what was left
when it asked (20 answers), and of the five models together (100). A loop in which a figure does not exist (a
class that is never predicted has no precision) is left out of that figure; the column `loops` says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import research
from numpy.typing import NDArray

from toughcall.mining.embed import embed, load_encoder
from toughcall.mining.estimates import Answers, Audit, Estimate, prevalence, quality, unasked
from toughcall.mining.strategies import random_audit
from toughcall.records import Bools
from toughcall.telling import Console, rows_out

Doubles = NDArray[np.float64]
SETS = ("opp115", "conll04_pairs", "goemotions")
LOWEST, HIGHEST = 0.93, 0.97
Found = dict[tuple[str, str], list[tuple[float, float, float, float, float]]]
"""By quantity and class, one row a loop: truth, value (NaN: none), low, high, audited answers behind it."""


def fitted(alike: Doubles, truth: Bools, rows: NDArray[np.intp], ridge: float = 0.3) -> tuple[Doubles, Doubles]:
    """Return scores (N, k) of a ridge regression on some rows, and the k thresholds of greatest leave-one-out F1."""
    given = truth[rows].astype(np.float64)
    mean, n = given.mean(axis=0), len(rows)
    inverse = np.linalg.inv(alike[np.ix_(rows, rows)] + ridge * np.eye(n))
    weights = inverse @ (given - mean)
    # leave-one-out of kernel ridge: y - w / diag(inverse)
    out = given - weights / np.diag(inverse)[:, None]
    cuts = np.empty(truth.shape[1])
    for column in range(truth.shape[1]):
        order = np.argsort(-out[:, column], kind="stable")
        hit = np.cumsum(given[order, column])
        best = int((2 * hit / (np.arange(1, n + 1) + given[:, column].sum())).argmax())
        cuts[column] = out[order[[best, min(best + 1, n - 1)]], column].mean()
    return np.asarray(alike[:, rows] @ weights + mean), cuts


def one_loop(
    alike: Doubles, truth: Bools, ids: tuple[str, ...], rng: np.random.Generator, *, rounds: int, size: int, drawn: int
) -> tuple[Bools, list[Audit]]:
    """Return which rows were answered in the end, and the audits with what each round's model said."""
    where = {one: row for row, one in enumerate(ids)}
    known = np.zeros(len(ids), dtype=np.bool_)
    known[rng.choice(len(ids), size=size, replace=False)] = True
    audits = []
    for _ in range(rounds):
        rows = np.flatnonzero(known)
        scores, cuts = fitted(alike, truth, rows)
        left, audit = ~known, np.zeros_like(known)
        picks = random_audit([ids[row] for row in np.flatnonzero(left)], drawn, rng)
        audit[[where[pick.item] for pick in picks]] = True
        known = known | audit
        near, mined = np.abs(scores - cuts).min(axis=1), size - drawn
        open_ = np.flatnonzero(~known)
        known[open_[np.argsort(near[open_], kind="stable")[: mined // 2]]] = True
        rare = np.argsort(truth[rows].sum(axis=0), kind="stable")[:3]
        for turn in range(mined - mined // 2):
            open_ = np.flatnonzero(~known)
            known[open_[scores[open_, rare[turn % 3]].argmax()]] = True
        audits.append(Audit(left, audit, scores > cuts))
    return known, audits


def held(found: Found, what: str, label: str, estimate: Estimate, true: float) -> None:
    """Append one loop's estimate of one figure, unless the figure does not exist in it."""
    if np.isfinite(true):
        value = np.nan if estimate.value is None else estimate.value
        found[what, label].append((true, value, estimate.low, estimate.high, estimate.n))


def measured(found: Found, labels: tuple[str, ...], answers: Answers, truth: Bools, audits: list[Audit]) -> None:
    """Append everything that one loop estimates, beside the truth."""
    known = answers.known[:, 0]
    shares, rest = prevalence(answers, audits), unasked(answers, audits)
    for column, label in enumerate(labels):
        held(found, "prevalence", label, shares[label], float(truth[:, column].mean()))
        held(found, "unasked", label, rest[label], float((truth[:, column] & ~known).sum()))
    for models, some in (("newest model", audits[-1:]), ("all models", audits)):
        got = quality(answers, some)
        left = np.concatenate([truth[audit.left] for audit in some])
        said = np.concatenate([audit.said[audit.left] for audit in some if audit.said is not None])
        hit, called, members = ((left & said).sum(axis=0), said.sum(axis=0), left.sum(axis=0))
        with np.errstate(invalid="ignore"):
            true = {"precision": hit / called, "recall": hit / members, "f1": 2 * hit / (called + members)}
        for figure, by in (("precision", got.precision), ("recall", got.recall), ("f1", got.f1)):
            for column, label in enumerate(labels):
                held(found, f"{figure}, {models}", label, by[label], float(true[figure][column]))
            if figure in got.macro:
                there = [column for column, label in enumerate(labels) if label not in got.left_out[figure]]
                held(found, f"{figure}, {models}", "(mean)", got.macro[figure], float(true[figure][there].mean()))


def rows_of(name: str, found: Found, share: dict[str, float]) -> list[dict[str, object]]:
    """Return one row per figure: how often its interval covered the truth, with the binomial interval of that."""
    from scipy.stats import binomtest

    rows = []
    for (what, label), loops in found.items():
        true, value, low, high, n = np.array(loops).T
        under, over = int((low > true + 1e-9).sum()), int((high < true - 1e-9).sum())
        covered = len(loops) - under - over
        ends = binomtest(covered, len(loops)).proportion_ci(method="wilson")
        rate = covered / len(loops)
        rows.append(
            {
                "set": name,
                "figure": what,
                "class": label,
                "share": round(share[label], 4) if label in share else "",
                "loops": len(loops),
                "covered": f"{rate:.3f} [{ends.low:.3f}, {ends.high:.3f}]",
                "93–97 %": "yes" if LOWEST <= rate <= HIGHEST else "above" if rate > HIGHEST else "BELOW",
                "too high": under,
                "too low": over,
                "width": round(float((high - low).mean()), 3),
                "truth": round(float(true.mean()), 3),
                "mean error": round(float(np.nanmean(value - true)), 3) if np.isfinite(value).any() else "",
                "answers": round(float(n.mean()), 1),
            }
        )
    return rows


def one_set(name: str, given: argparse.Namespace, cache: Path) -> list[dict[str, object]]:
    """Return the rows of one set."""
    data = research.load(name)
    items, answers = data.parts["train"]
    vectors = embed(data.texts, load_encoder("minilm", "cpu"), cache, Console().bar(f"embedding {name}"))
    pool = np.random.default_rng(0).permutation(len(items))[: given.pool].tolist()
    where = {one: row for row, one in enumerate(vectors.ids)}
    array = np.array(
        [vectors.array[[where[view.id] for view in items[i].views]].mean(axis=0) for i in pool], np.float64
    )
    labels = data.schema.labels
    truth = np.array([[label in answers[i].value for label in labels] for i in pool], dtype=np.bool_)
    ids = tuple(items[i].id for i in pool)
    alike = array @ array.T + 0.5
    found: Found = defaultdict(list)
    for seed in range(given.loops):
        rng = np.random.default_rng([seed, given.rounds])
        known, audits = one_loop(alike, truth, ids, rng, rounds=given.rounds, size=given.size, drawn=given.drawn)
        seen = np.repeat(known[:, None], len(labels), axis=1)
        measured(found, labels, Answers(ids, labels, truth & seen, seen), truth, audits)
    share = {label: float(truth[:, column].mean()) for column, label in enumerate(labels)}
    return rows_of(name, found, share)


def main() -> None:
    """Run the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["opp115"], metavar="SET", help=", ".join(SETS))
    parser.add_argument("--loops", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=50, help="items of a round")
    parser.add_argument("--drawn", type=int, default=20, help="of which audited")
    parser.add_argument("--pool", type=int, default=3000, help="at most so many items of a set")
    parser.add_argument("--cache", type=Path, help="where embeddings are kept (default: temporary)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.sets:
            if not research.there(name):
                sys.stdout.write(f"{name}: skipped, {research.DATASETS / name} is not here\n")
                continue
            begun = time.perf_counter()
            rows = one_set(name, given, given.cache or Path(temporary))
            rows_out(rows, as_json=False)
            for what in dict.fromkeys(str(row["figure"]) for row in rows):
                some = [row for row in rows if row["figure"] == what and row["class"] != "(mean)"]
                mean = np.mean([float(str(row["covered"]).split()[0]) for row in some])
                inside = sum(row["93–97 %"] == "yes" for row in some)
                below = sum(row["93–97 %"] == "BELOW" for row in some)
                sys.stdout.write(
                    f"{what}: {mean:.3f} mean coverage; {inside} of {len(some)} classes in, {below} below\n"
                )
            sys.stdout.write(f"{name}: {given.loops} loops in {time.perf_counter() - begun:.0f} s\n\n")


if __name__ == "__main__":
    main()
