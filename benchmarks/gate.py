"""How often does the gate promote by luck, and how often does it see a gain? Replays with a known truth.

    python benchmarks/gate.py [multilabel] [multiclass] [pair] --replays 200 --rows 100 300 1000

One replay: fresh test rows, an untouched encoder at 0.55 (macro F1, ROC-AUC of pairs), a champion at 0.75 and a
candidate at 0.75 plus the planted gain. Half of the luck of each row is the same for all three, as it is for
models that learnt from one set. Printed are the shares of the three verdicts with Wilson's 95 % interval.
`none, looks better` are the replays of no gain in which the candidate has the greater figure: what is left of
KEEP there. With `--openings 10` ten candidates without any gain are judged on the same rows one after another:
a replay counts as PROMOTE when one of them ships, without and with the gate being told of the openings.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections import Counter

import numpy as np
from scipy.stats import binomtest, norm

from toughcall.model import evaluate
from toughcall.model.evaluate import METRICS, Report
from toughcall.model.gate import Gate, judge
from toughcall.records import Bools, Reals
from toughcall.telling import rows_out

METRIC = {"multilabel": "macro_f1", "multiclass": "macro_f1", "pair": "roc_auc"}
COLUMNS = {"multilabel": 6, "multiclass": 4, "pair": 1}
SHARE, UNTOUCHED, CHAMPION = 0.3, 0.55, 0.75
GAINS = {"none": 0.0, "-3 points": -0.03, "+1 point": 0.01, "+10 points": 0.1}


def truths(kind: str, n: int, rng: np.random.Generator) -> Bools:
    """Return planted answers, shape (n, k): 30 % members each, one class each, or half of the pairs."""
    width = COLUMNS[kind]
    if kind == "multiclass":
        return np.eye(width, dtype=bool)[rng.integers(width, size=n)]
    return rng.random((n, width)) < (SHARE if kind == "multilabel" else 0.5)


def answered(kind: str, truth: Bools, quality: float, luck: Reals, rng: np.random.Generator) -> tuple[Reals, Bools]:
    """Return (values, what is said), shape (n, k), of a model whose metric is `quality` on average."""
    n, width = truth.shape
    if kind == "pair":
        own = norm.ppf(rng.random((n, 1)))
        value = norm.cdf((norm.ppf(luck) + own) / np.sqrt(2) + np.sqrt(2) * norm.ppf(quality) * truth)
        return value, value >= 0.5
    luck = np.where(rng.random((n, 1)) < 0.5, luck, rng.random(truth.shape))
    if kind == "multilabel":
        # as many false positives as misses: precision, recall and F1 are all `quality`
        said = np.where(truth, luck < quality, luck < SHARE * (1 - quality) / (1 - SHARE))
    else:
        wrong = (truth.argmax(axis=1) + rng.integers(1, width, size=n)) % width
        said = np.where(luck[:, :1] < quality, truth, np.eye(width, dtype=bool)[wrong])
    return np.where(said, 0.9, 0.1), said


def reported(kind: str, role: str, truth: Bools, values: Reals, said: Bools) -> Report:
    """Return what the gate reads of a report: the rows and their metric."""
    rows = tuple(map(tuple, truth.astype(int).tolist()))
    ids, values = tuple(map(str, range(len(rows)))), values.astype(np.float32)
    shown = (tuple(map(tuple, values.tolist())), tuple(map(tuple, said.astype(int).tolist())))
    report = Report(role, role, METRIC[kind], len(rows), None, None, None, 0, (), (), {}, 0, ids, rows, *shown)
    value = float(METRICS[report.metric][0](report, np.ones((1, len(rows))))[0])
    return Report(role, role, METRIC[kind], len(rows), value, None, None, 0, (), (), {}, 0, ids, rows, *shown)


def replay(kind: str, n: int, gains: list[float], seed: int) -> tuple[list[Report], Report, Report]:
    """Return (a candidate for each planted gain, champion, untouched) on the same fresh rows."""
    rng = np.random.default_rng([seed, n, len(kind)])
    truth = truths(kind, n, rng)
    luck = rng.random(truth.shape)

    def model(role: str, quality: float) -> Report:
        return reported(kind, role, truth, *answered(kind, truth, quality, luck, rng))

    untouched, champion = model("untouched", UNTOUCHED), model("champion", CHAMPION)
    return [model("candidate", CHAMPION + gain) for gain in gains], champion, untouched


def shares(name: str, kind: str, n: int, found: Counter[str]) -> dict[str, object]:
    """Return a row: the share of each verdict with its interval."""
    total = sum(found.values())
    row: dict[str, object] = {"kind": kind, "rows": n, "planted": name, "replays": total}
    for outcome in ("PROMOTE", "KEEP", "UNDECIDED"):
        ends = binomtest(found[outcome], total).proportion_ci(method="wilson") if total else None
        row[outcome] = f"{found[outcome] / total:.3f} [{ends.low:.3f}, {ends.high:.3f}]" if ends else "–"
    return row


def of_kind(kind: str, n: int, replays: int, *, openings: int) -> list[dict[str, object]]:
    """Return the rows of one kind and size."""
    found: dict[str, Counter[str]] = {name: Counter() for name in (*GAINS, "none, looks better")}
    looks: dict[str, Counter[str]] = {
        name: Counter() for name in ("openings, untold", "openings, told") if openings > 1
    }
    for seed in range(replays):
        candidates, champion, untouched = replay(kind, n, list(GAINS.values()), seed)
        for name, candidate in zip(GAINS, candidates, strict=True):
            outcome = judge(candidate, champion, [untouched], Gate(METRIC[kind])).outcome
            found[name][outcome] += 1
            if name == "none" and evaluate.better(candidate, champion):
                found["none, looks better"][outcome] += 1
        if looks:
            candidates, champion, untouched = replay(kind, n, [0.0] * openings, replays + seed)
        for name in looks:
            gates = [Gate(METRIC[kind], openings=1 + told * name.endswith(", told")) for told in range(openings)]
            outcomes = {
                judge(candidate, champion, [untouched], gate).outcome
                for candidate, gate in zip(candidates, gates, strict=True)
                if evaluate.better(candidate, champion)
            }
            looks[name]["PROMOTE" if "PROMOTE" in outcomes else "UNDECIDED" if outcomes else "KEEP"] += 1
    return [shares(name, kind, n, one) for name, one in (found | looks).items()]


def main() -> None:
    """Run the kinds named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(METRIC), metavar="KIND", help=", ".join(METRIC))
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--openings", type=int, default=1, help="candidates without gain judged on the same rows")
    parser.add_argument("--resamples", type=int, default=evaluate.RESAMPLES, help="fewer are quicker than the gate is")
    given = parser.parse_args()
    # the gate draws the same resamples for equal seed and size: once is enough
    drawn = functools.partial(evaluate.weights, resamples=given.resamples)
    evaluate.weights = functools.lru_cache(maxsize=2)(drawn)
    begun = time.perf_counter()
    rows = [
        row
        for kind in given.kinds
        for n in given.rows
        for row in of_kind(kind, n, given.replays, openings=given.openings)
    ]
    rows_out(rows, as_json=False)
    sys.stdout.write(f"{given.replays} replays each in {time.perf_counter() - begun:.0f} s\n")


if __name__ == "__main__":
    main()
