"""The gate replayed on planted truths: luck does not ship, a loss is kept out, a real gain ships (post-mortem 001)."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from toughcall.model import evaluate, kinds
from toughcall.model.evaluate import METRICS, Report, better
from toughcall.model.gate import Gate, judge
from toughcall.records import Bools, Label, Reals, Scores
from toughcall.schema import Dimension

METRIC = {"multilabel": "macro_f1", "multiclass": "macro_f1", "pair": "roc_auc"}
WIDTH = {"multilabel": 6, "multiclass": 4, "pair": 1}
REPLAYS = 200


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 resamples, drawn once: the gate draws the same ones for equal seed and size."""
    drawn = functools.lru_cache(maxsize=4)(functools.partial(evaluate.weights, resamples=400))
    monkeypatch.setattr(evaluate, "weights", drawn)


def answered(kind: str, truth: Bools, quality: float, luck: Reals, rng: np.random.Generator) -> tuple[Reals, Bools]:
    """Return (values, said) of a model whose metric is `quality` on average; half of its luck is the rows' own."""
    n, width = truth.shape
    if kind == "pair":
        noise = (norm.ppf(luck) + rng.normal(size=(n, 1))) / np.sqrt(2)
        values = norm.cdf(noise + np.sqrt(2) * norm.ppf(quality) * truth)
        return values, values >= 0.5
    luck = np.where(rng.random((n, 1)) < 0.5, luck, rng.random(truth.shape))
    if kind == "multilabel":
        said = np.where(truth, luck < quality, luck < 0.3 * (1 - quality) / 0.7)
    else:
        other = np.eye(width, dtype=bool)[(truth.argmax(axis=1) + rng.integers(1, width, size=n)) % width]
        said = np.where(luck[:, :1] < quality, truth, other)
    return np.where(said, 0.9, 0.1), said


def planted(kind: str, n: int, seed: int, gain: float) -> tuple[Report, Report, Report]:
    """Return (candidate, champion at 0.75, untouched at 0.55) on fresh rows."""
    rng = np.random.default_rng([seed, n])
    width = WIDTH[kind]
    truth = rng.random((n, width)) < (0.3 if kind == "multilabel" else 0.5)
    if kind == "multiclass":
        truth = np.eye(width, dtype=bool)[rng.integers(width, size=n)]
    luck = rng.random(truth.shape)

    def model(role: str, quality: float) -> Report:
        values, said = answered(kind, truth, quality, luck, rng)
        sides = (tuple(map(tuple, side.tolist())) for side in (truth, values.astype(np.float32), said))
        ids, name = tuple(map(str, range(n))), METRIC[kind]
        report = Report(role, role, name, n, None, None, None, 0, (), (), {}, 0, ids, *sides)
        value = float(METRICS[name][0](report, np.ones((1, n)))[0])
        return Report(
            role, role, name, n, value, None, None, 0, (), (), {}, 0, ids, report.truth, report.values, report.said
        )

    return model("candidate", 0.75 + gain), model("champion", 0.75), model("untouched", 0.55)


def replayed(kind: str, n: int, gain: float) -> tuple[Counter[str], Counter[str]]:
    """Return the verdicts of 200 replays, and of those in which the candidate has the greater figure."""
    every: Counter[str] = Counter()
    better_ones: Counter[str] = Counter()
    for seed in range(REPLAYS):
        candidate, champion, untouched = planted(kind, n, seed, gain)
        outcome = judge(candidate, champion, [untouched], Gate(METRIC[kind])).outcome
        every[outcome] += 1
        better_ones[outcome] += better(candidate, champion)
    return every, better_ones


@pytest.mark.parametrize("kind", METRIC)
def test_no_gain_is_promoted_in_at_most_one_of_twenty(kind: str) -> None:
    """G2, P10: equally good models on 100 rows: at most 5 % PROMOTE; what looks better by luck is UNDECIDED."""
    every, better_ones = replayed(kind, 100, 0.0)
    assert every["PROMOTE"] <= 0.05 * REPLAYS
    assert better_ones["KEEP"] == 0
    assert sum(better_ones.values()) > 0.3 * REPLAYS
    assert better_ones["UNDECIDED"] >= 0.85 * sum(better_ones.values())


@pytest.mark.parametrize("kind", METRIC)
def test_three_points_lost_are_kept_out(kind: str) -> None:
    """G2, 001: a planted −3 points on 300 rows is hardly ever promoted and mostly KEEP."""
    every, _ = replayed(kind, 300, -0.03)
    assert every["PROMOTE"] <= 0.01 * REPLAYS
    assert every["KEEP"] >= 0.8 * REPLAYS


@pytest.mark.parametrize("kind", METRIC)
def test_ten_points_gained_ship(kind: str) -> None:
    """G2: a planted +10 points on 400 rows is promoted in 95 of 100 replays (on 300 rows multiclass has 94)."""
    every, _ = replayed(kind, 400, 0.1)
    assert every["PROMOTE"] >= 0.95 * REPLAYS


def of_pairs(model: str, spearman: float, role: str = "candidate", n: int = 400) -> Report:
    """Return a report on `n` pairs, half similar, whose scores have a rank correlation with the grade.

    Scores are normal quantiles, shifted. Of a yes-or-no truth, half yes, it is (2 · AUC - 1) · sqrt(3) / 2: post-mortem
    001's 0.5038 and its ROC-AUC of 0.7909 are one figure.
    """
    kind = kinds.get("pair")
    schema = kind.schema(kind.default_labels, dimensions=(Dimension("grade", 0.0, 1.0),))
    auc = 0.5 + spearman / np.sqrt(3)
    level = norm.ppf((np.arange(n // 2) + 0.5) / (n // 2))
    values = norm.cdf(np.concatenate([level + np.sqrt(2) * norm.ppf(auc), level])).astype(np.float32)
    ids = tuple(f"p{i}" for i in range(n))
    rows = [Label(one, (schema.labels[i >= n // 2], ("grade", float(i < n // 2)))) for i, one in enumerate(ids)]
    scores = Scores(ids, kind.columns(schema), values[:, None], model)
    return evaluate.evaluate(model, kind, schema, rows, scores, kind.plain(schema), seed=0, role=role, bounds=False)


@pytest.mark.parametrize(
    ("model", "spearman", "share"),
    [("LoRA 2025-12-26", 0.4882, -0.031), ("full 2025-12-10", 0.4669, -0.073), ("LoRA 2025-12-27", 0.3818, -0.242)],
)
def test_001_all_three_tuned_models_are_kept_out(model: str, spearman: float, share: float) -> None:
    """001: −3.1 %, −7.3 % and −24.2 % against the untouched MPNet: KEEP untouched, with both numbers."""
    untouched, tuned = of_pairs("MPNet", 0.5038, "untouched"), of_pairs(model, spearman)
    assert untouched.value == pytest.approx(0.7909, abs=5e-4)
    before, after = (report.others["grade_spearman"] or 0.0 for report in (untouched, tuned))
    assert (before, after) == pytest.approx((0.5038, spearman), abs=2e-3)
    assert after / before - 1 == pytest.approx(share, abs=4e-3)
    found = judge(tuned, None, [untouched], Gate("roc_auc"))
    assert (found.outcome, found.kept) == ("KEEP", "untouched")
    assert f"{model} {tuned.value:.3f} against MPNet {untouched.value:.3f}, difference -0." in found.sentence()
