"""Free fixes: found where they were planted, refused where they are noise, never measured on what chose them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from toughcall.model import kinds
from toughcall.model.calibration import sigmoid
from toughcall.model.evaluate import from_confusion
from toughcall.model.fixes import (
    LEAST,
    SHARES,
    Fix,
    Outside,
    blend,
    calibration,
    checkpoint,
    compared,
    figures,
    measured_on,
    ranked,
    row_loss,
    sweep,
    thresholds,
    type_bounds,
    types,
    verdict_of,
)
from toughcall.schema import Dimension

# post-mortem 000: label, true positives, false negatives, of 44 rows and without a false positive
PRIVACY = (
    ("data_collection_extensive", 0, 9),
    ("data_collection_minimal", 0, 8),
    ("consent_explicit", 2, 3),
    ("consent_implied", 7, 1),
    ("purpose_specific", 5, 3),
    ("purpose_broad", 0, 10),
)
HALF = np.full(6, 0.5, dtype=np.float32)


def privacy(seed: int = 0) -> Outside:
    """Return 44 rows whose decisions at 0.5 are those of post-mortem 000; three labels lie between 0.3 and 0.48."""
    rng = np.random.default_rng(seed)
    truth, values = np.zeros((44, 6), dtype=bool), rng.uniform(0.02, 0.2, size=(44, 6))
    for j, (_, hit, missed) in enumerate(PRIVACY):
        own = rng.permutation(44)[: hit + missed]
        truth[own, j] = True
        values[own[:hit], j] = rng.uniform(0.6, 0.9, hit)
        if not hit:
            values[own, j] = rng.uniform(0.42, 0.48, missed)
    kind = kinds.get("multilabel")
    schema = kind.schema(tuple(name for name, *_ in PRIVACY))
    return Outside(kind, schema, truth, values.astype(np.float32), np.arange(44) % 5)


def noise(seed: int = 0, n: int = 200) -> Outside:
    """Return two labels whose probabilities are what they say: nothing is left to fix."""
    rng = np.random.default_rng(seed)
    values = sigmoid(rng.normal(size=(n, 2)) * 2)
    kind = kinds.get("multilabel")
    truth = rng.random(values.shape) < values
    return Outside(kind, kind.schema(("a", "b")), truth, values.astype(np.float32), np.arange(n) % 5)


@pytest.mark.parametrize("seed", range(5))
def test_postmortem_000_the_sweep_finds_the_three_labels_that_0_5_never_predicts(seed: int) -> None:
    """000: macro F1 0.379 at 0.5; thresholds of their own name the three labels, with the gain and its interval."""
    fix = thresholds(privacy(seed), HALF)
    assert fix.before == pytest.approx(0.379, abs=5e-4)
    assert (fix.metric, fix.n, fix.verdict) == ("macro_f1", 44, "take it")
    assert fix.after is not None
    assert fix.low is not None
    assert fix.gain == pytest.approx(fix.after - 0.379, abs=5e-4)
    assert fix.after > 0.6
    assert 0 < fix.low < fix.gain
    for label in ("data_collection_extensive", "data_collection_minimal", "purpose_broad"):
        assert f"{label} 0.50 to 0." in fix.note
    assert "0.3 gives 0.8" in fix.note
    assert "retrain" in fix.how


def test_postmortem_000_one_threshold_for_all_at_030_035_and_040() -> None:
    """000: the sweep it asked for: at 0.3, 0.35 and 0.4 three dead labels are perfect, at 0.5 they are dead."""
    found = dict(sweep(privacy()))
    alive = sum(2 * hit / (2 * hit + missed) for _, hit, missed in PRIVACY)
    assert [found[cut] for cut in (0.3, 0.35, 0.4)] == pytest.approx([(alive + 3) / 6] * 3)
    assert found[0.5] == pytest.approx(alive / 6)
    assert dict(sweep(privacy(), (0.99,))) == {0.99: 0.0}


def test_thresholds_that_are_there_already_gain_nothing() -> None:
    """Rule: where the fit gives what is in use there is no gain, though the fit on four fifths of the rows differs."""
    rows = noise()
    fix = thresholds(rows, rows.kind.thresholds(rows.schema, rows.truth, rows.values, 0))
    assert (fix.gain, fix.low, fix.high, fix.verdict) == (0.0, 0.0, 0.0, "inside the noise")
    assert "all as they are" in fix.note


def test_a_gain_inside_the_noise_is_refused() -> None:
    """Rule: on rows that say little a gain above 0 whose interval reaches 0 is refused."""
    found = [thresholds(noise(seed, 60), HALF[:2]) for seed in range(12)]
    refused = [fix for fix in found if (fix.gain or 0.0) > 0 and fix.verdict == "inside the noise"]
    assert refused
    for fix in refused:
        assert fix.low is not None
        assert fix.low <= 0


def test_thresholds_fitted_on_these_very_rows_flatter_and_the_note_says_so() -> None:
    """Rule: what was chosen on the rows it is measured on wins against an honest fit, and is not called better."""
    rows = noise()
    best = rows.kind.thresholds(rows.schema, rows.truth, rows.values, 0) - 0.006
    fix = thresholds(rows, best)
    assert fix.verdict == "worse"
    assert fix.note.startswith("those in use may have been fitted on these very rows; a ")


def test_no_row_is_decided_by_a_threshold_it_helped_to_choose() -> None:
    """Rule: turning the truth of one fold leaves the decisions on that fold alone."""
    rows = noise(n=60)
    turned = np.array(rows.truth)
    turned[rows.fold == 2] ^= True
    seen: list[np.ndarray] = []

    class Watched(type(rows.kind)):  # type: ignore[misc]
        def thresholds(self, schema, truth, values, seed):  # type: ignore[no-untyped-def]
            seen.append(np.array(truth))
            return super().thresholds(schema, truth, values, seed)

    for truth in (rows.truth, turned):
        thresholds(dataclasses.replace(rows, kind=Watched(), truth=truth), HALF[:2])
    before, after = seen[3], seen[9]
    assert len(before) == 48
    assert (before == after).all()
    assert not (seen[1] == seen[7]).all()


def test_a_blend_finds_the_half_that_the_words_know() -> None:
    """001: a hybrid's share is chosen on other folds: two judges with noise of their own are better together."""
    rng = np.random.default_rng(3)
    kind = kinds.get("multilabel")
    truth = rng.random((400, 2)) < 0.4
    one, other = (sigmoid(3.0 * (truth - 0.5) + rng.normal(scale=1.6, size=truth.shape)) for _ in range(2))
    rows = Outside(kind, kind.schema(("a", "b")), truth, one.astype(np.float32), np.arange(400) % 5)
    fix = blend(rows, other.astype(np.float32), HALF[:2])
    assert fix.verdict == "take it"
    share = float(fix.note.removeprefix("share of words "))
    assert 0.2 <= share <= 0.8
    assert fix.how.startswith(f"{1 - share:.1f} · model + {share:.1f} · TF-IDF")


def test_words_that_know_nothing_get_no_share() -> None:
    """Rule: ties go to the smaller share, and a blend that changes nothing is no gain."""
    rows = noise()
    fix = blend(rows, rows.values, HALF[:2])
    assert (fix.gain, fix.verdict, fix.note) == (0.0, "inside the noise", "share of words 0.0")
    assert SHARES[0] == 0.0
    assert SHARES[-1] == 1.0
    useless = blend(rows, np.random.default_rng(1).random((200, 2)).astype(np.float32), HALF[:2])
    assert useless.verdict != "take it"


@pytest.mark.parametrize("name", ["multilabel", "multiclass"])
def test_outputs_that_shout_are_calibrated_in_log_loss(name: str) -> None:
    """G9: probabilities from logits three times too large lose less once calibrated, and the error falls."""
    rng = np.random.default_rng(2)
    kind = kinds.get(name)
    z = rng.normal(size=(400, 3))
    p = kind.link(z)
    if kind.single:
        drawn = (p.cumsum(axis=1) < rng.random((400, 1))).sum(axis=1)
        truth = np.eye(3, dtype=bool)[np.minimum(drawn, 2)]
    else:
        truth = rng.random(p.shape) < p
    values = kind.link(3 * z).astype(np.float32)
    rows = Outside(kind, kind.schema(("a", "b", "c")), truth, values, np.arange(400) % 5)
    fix = calibration(rows)
    assert fix is not None
    assert (fix.metric, fix.verdict) == ("log_loss", "take it")
    assert fix.before is not None
    assert fix.after is not None
    assert fix.gain == pytest.approx(fix.before - fix.after)
    before, after = (float(part) for part in fix.note.removeprefix("calibration error ").split(" to "))
    assert after < before / 2
    again = calibration(dataclasses.replace(rows, values=p.astype(np.float32)))
    assert again is not None
    assert again.verdict != "take it"


def numbers(n: int = 40) -> Outside:
    """Return a dimension from 0 to 10 whose model is one too high everywhere."""
    kind = kinds.get("scores")
    schema = kind.schema((), dimensions=(Dimension("clarity", 0.0, 10.0),))
    truth = np.linspace(0.1, 0.8, n)[:, None]
    return Outside(kind, schema, truth, (truth + 0.1).astype(np.float32), np.arange(n) % 5)


def test_where_less_is_better_a_gain_is_still_above_zero() -> None:
    """Rule: errors in their units, 1.0 before and 0 at half a share, are a gain; numbers are not calibrated."""
    rows = numbers()
    fix = blend(rows, (rows.truth - 0.1).astype(np.float32), rows.kind.plain(rows.schema))
    assert (fix.metric, fix.verdict, fix.note) == ("weighted_mae", "take it", "share of words 0.5")
    assert (fix.before, fix.after, fix.gain) == pytest.approx((1.0, 0.0, 1.0), abs=1e-5)
    assert calibration(rows) is None
    worse = blend(dataclasses.replace(rows, fold=np.zeros(40, dtype=np.intp)), rows.values, np.zeros(1))
    assert worse.gain == 0.0


def relations(n: int = 60) -> tuple[Outside, np.ndarray]:
    """Return relations of which a third is said to be one that its types forbid, and the outputs under the table."""
    kind = kinds.get("relation")
    schema = kind.schema(("NO_RELATION", "occurs_in", "part_of"))
    truth = np.eye(3, dtype=bool)[np.arange(n) % 3]
    said = np.where(truth, 0.8, 0.1)
    said[2::3] = [0.1, 0.5, 0.4]
    masked = np.array(said)
    masked[2::3] = [0.2, 0.0, 0.8]
    return Outside(kind, schema, truth, said.astype(np.float32), np.arange(n) % 5), masked.astype(np.float32)


def test_a_type_mask_is_measured_exactly_where_rows_are_known_and_may_be_worse() -> None:
    """T9: on, the mask lifts macro F1 of the real relations from 1/3 to 1; off, the same figure is a loss."""
    rows, other = relations()
    half = HALF[:3]
    on = types(rows, other, half, name="type mask on", how="retrain")
    assert (on.metric, on.verdict) == ("positive_macro_f1", "take it")
    assert (on.before, on.after) == pytest.approx((1 / 3, 1.0))
    off = types(dataclasses.replace(rows, values=other), rows.values, half, name="type mask off", how="")
    assert off.verdict == "worse"
    assert off.gain == pytest.approx(-2 / 3)


def test_postmortem_004_bounds_from_a_confusion_matrix_alone() -> None:
    """004: the type rule alone lifts macro F1 from 0.464 to at most 0.678, all cells to at most 0.845."""
    kind = kinds.get("relation")
    legal = {
        "occurs_in": ("TAXON", "STRAT"),
        "found_at": ("TAXON", "LOC"),
        "assigned_to": ("STRAT", "CHRONO"),
        "part_of": ("STRAT", "STRAT"),
    }
    schema = kind.schema(("NO_RELATION", *legal), types=tuple((name, (pair,)) for name, pair in legal.items()))
    table = [[294, 24, 26, 0, 0], [7, 34, 3, 0, 0], [1, 1, 100, 0, 0], [5, 6, 1, 0, 0], [0, 14, 0, 0, 0]]
    found = type_bounds(from_confusion("deberta", kind, schema, table), schema)
    first, last = found[0], found[-1]
    assert (first.name, first.verdict, first.n) == ("type mask, part_of never occurs_in", "at most", 516)
    assert (first.before, first.after) == pytest.approx((0.464, 0.678), abs=5e-4)
    assert first.gain == first.high
    assert first.low is not None
    assert first.low < 0.214
    assert (last.name, last.after) == ("type mask, all of it", pytest.approx(0.845, abs=5e-4))
    assert last.low == pytest.approx(0.483 - 0.464, abs=1e-3)
    assert last.note == "25 forbidden answers"
    free = dataclasses.replace(schema, types=())
    assert type_bounds(from_confusion("deberta", kind, free, table), free) == []


def test_another_checkpoint_is_compared_with_its_own_thresholds() -> None:
    """Rule: outputs that are right at 0.3 count as right where the other model decides at 0.3."""
    rows = noise(n=40)
    other = np.where(rows.truth, 0.4, 0.2).astype(np.float32)
    low = np.full(2, 0.3, dtype=np.float32)
    good = checkpoint(rows, HALF[:2], other, low, name="serve p-v001", how="promote")
    assert (good.after, good.verdict) == (1.0, "take it")
    assert checkpoint(rows, HALF[:2], other, HALF[:2], name="", how="").verdict == "worse"


def test_too_few_rows_tell_nothing() -> None:
    """Rule: below 20 rows there is no figure and no verdict, whatever the rows say."""
    rows = measured_on(privacy(), np.arange(44) < LEAST - 1)
    fix = thresholds(rows, HALF)
    assert (fix.n, fix.verdict, fix.before, fix.gain, fix.low) == (19, "cannot be told", None, None, None)
    assert fix.note == "19 rows, 20 needed"
    assert thresholds(measured_on(privacy(), np.arange(44) < LEAST), HALF).verdict != "cannot be told"


@pytest.mark.parametrize(
    ("low", "high", "due"),
    [
        (0.01, 0.2, "take it"),
        (0.0, 0.2, "inside the noise"),
        (-0.1, 0.2, "inside the noise"),
        (-0.1, 0.0, "inside the noise"),
        (-0.2, -0.1, "worse"),
        (None, None, "cannot be told"),
    ],
)
def test_an_interval_that_reaches_zero_is_noise(low: float | None, high: float | None, due: str) -> None:
    """Rule: only an interval wholly above 0 is taken, only one wholly below is worse."""
    assert verdict_of(low, high) == due


def test_the_same_rows_give_the_same_fix_and_one_fold_chooses_nothing() -> None:
    """C62: fixes are repeatable; with a single fold nothing could be chosen apart, so nothing changes."""
    assert thresholds(privacy(), HALF) == thresholds(privacy(), HALF)
    one = dataclasses.replace(privacy(), fold=np.zeros(44, dtype=np.intp))
    assert thresholds(one, HALF).gain == 0.0


def test_the_loss_of_a_row_by_hand() -> None:
    """Rule: -ln P of the one class, or the mean over independent columns; never infinite."""
    kind = kinds.get("multiclass")
    truth = np.array([[True, False], [False, True]])
    values = np.array([[0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
    rows = Outside(kind, kind.schema(("a", "b")), truth, values, np.arange(2))
    assert row_loss(rows, values).tolist() == pytest.approx([math.log(2), -math.log(1e-12)])
    many = dataclasses.replace(rows, kind=kinds.get("multilabel"))
    both = np.array([[0.5, 0.25], [0.5, 0.5]])
    assert row_loss(many, both).tolist() == pytest.approx([(math.log(2) - math.log(0.75)) / 2, math.log(2)])
    twice = figures(many, "log_loss", both, None, np.array([[2.0, 0.0]]))
    assert twice.tolist() == pytest.approx([(math.log(2) - math.log(0.75)) / 2])


def test_pairs_are_ranked_and_their_decisions_are_measured_as_decisions() -> None:
    """Rule: a blend of pairs is measured in ROC-AUC, their threshold in the F1 of the first label."""
    rng = np.random.default_rng(0)
    kind = kinds.get("pair")
    truth = (rng.random(100) < 0.3)[:, None]
    values = (0.3 * truth + 0.1 * rng.random((100, 1))).astype(np.float32)
    rows = Outside(kind, kind.schema(kind.default_labels), truth, values, np.arange(100) % 5)
    cut = thresholds(rows, HALF[:1])
    assert (cut.metric, cut.before, cut.after, cut.verdict) == ("macro_f1", 0.0, 1.0, "take it")
    mixed = blend(rows, values, HALF[:1])
    assert (mixed.metric, mixed.before, mixed.gain) == ("roc_auc", 1.0, 0.0)


def test_what_to_take_comes_first() -> None:
    """Rule: take it, bounds, noise, what cannot be told, what is worse; greater gains first; ties by name."""
    plain = Fix("n", "macro_f1", 0.5, 0.5, 0.0, 0.0, 0.0, "inside the noise", "", 44)
    made = [
        dataclasses.replace(plain, name=name, gain=gain, verdict=verdict)
        for name, gain, verdict in (
            ("e", -0.2, "worse"),
            ("d", None, "cannot be told"),
            ("c", 0.1, "inside the noise"),
            ("b", 0.1, "take it"),
            ("a", 0.3, "take it"),
            ("at", 0.9, "at most"),
        )
    ]
    assert [fix.name for fix in ranked(made)] == ["a", "b", "at", "c", "d", "e"]


def test_a_metric_that_is_not_defined_gives_no_verdict() -> None:
    """C66: without a member of any class there is no F1, and no gain is made up."""
    rows = dataclasses.replace(noise(n=30), truth=np.zeros((30, 2), dtype=bool))
    said = rows.values >= 0.5
    fix = compared(rows, "x", "macro_f1", (rows.values, said), (rows.values, ~said), how="")
    assert (fix.before, fix.gain, fix.verdict) == (None, None, "cannot be told")
