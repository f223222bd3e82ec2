"""Numbers on dimensions: learnt where answered, said on their grid, with an honest spread, measured by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate, mae, weights
from toughcall.model.features import SURFACE, surface
from toughcall.model.linear import Setting
from toughcall.model.numbers import in_units, kappa, score_of, tiers_of
from toughcall.model.train import Trained, train
from toughcall.model.words import Words
from toughcall.records import Label, Scores, Text, Value, Vectors
from toughcall.schema import Dimension, Schema, Tiers

quick = settings(max_examples=60, deadline=None)
KIND = kinds.get("scores")
TWO = KIND.schema((), dimensions=(Dimension("a", 0.0, 10.0, 3.0), Dimension("b", 1.0, 5.0, 1.0)))
TIERS = Tiers((("low", 0.0), ("middle", 4.0), ("high", 7.0)), "a", 5.0)


def report_of(
    schema: Schema, given_: Sequence[Value], said: Sequence[Sequence[float]], constant: Sequence[float] | None = None
) -> Report:
    """Evaluate numbers said against numbers answered, both in the dimensions' units."""
    ids = tuple(f"i{n}" for n in range(len(given_)))
    shares = [[(v - d.low) / (d.high - d.low) for v, d in zip(row, schema.dimensions, strict=True)] for row in said]
    values = np.array(shares, dtype=np.float32).reshape(len(ids), len(schema.dimensions))
    mean = None
    if constant is not None:
        mean = np.array([(v - d.low) / (d.high - d.low) for v, d in zip(constant, schema.dimensions, strict=True)])
    labels = [Label(one, value) for one, value in zip(ids, given_, strict=True)]
    scores = Scores(ids, KIND.columns(schema), values, "m")
    plain = KIND.plain(schema)
    return evaluate("m", KIND, schema, labels, scores, plain, seed=0, role="candidate", constant=mean)


def fit(data: Any, **other: Any) -> Trained:
    """Train on planted numbers."""
    return train(data.kind, data.schema, data.items, data.vectors, data.labels, corpus=data.corpus, seed=0, **other)


def without(labels: Sequence[Label], name: str, rows: Any) -> list[Label]:
    """Return labels of which some rows leave one dimension out."""
    return [
        dataclasses.replace(one, value=tuple(v for v in one.value if v[0] != name)) if n in rows else one
        for n, one in enumerate(labels)
    ]


def test_a_dimension_learns_from_the_rows_that_answer_it_alone(
    planted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """003: a dimension answered in half the rows is learnt as if only those rows existed, whatever the others say."""
    monkeypatch.setattr(type(KIND), "settings", (Setting(3.0),))
    # what is read is scaled by all rows, which is not what this is about
    monkeypatch.setattr(type(KIND), "scaling", lambda self, dense: (np.zeros(dense.shape[1]), np.ones(dense.shape[1])))
    data = planted("scores", n=120)
    silent = range(60, 120)
    partly = dataclasses.replace(data, labels=without(data.labels, "clarity", silent))
    broken = [
        dataclasses.replace(one, value=(("warmth", 1.0 if n % 2 else 5.0),)) if n in silent else one
        for n, one in enumerate(partly.labels)
    ]
    alone = train(
        data.kind, data.schema, data.items[:60], data.vectors, data.labels[:60], corpus=data.corpus, seed=0
    ).score(data.items, data.vectors)
    for labels in (partly.labels, broken):
        model = fit(dataclasses.replace(data, labels=labels))
        found = model.score(data.items, data.vectors)
        assert found.values[:, 0] == pytest.approx(alone.values[:, 0], abs=1e-5)
        assert model.counts["clarity"] == 60
    whole = fit(data).score(data.items, data.vectors)
    assert np.abs(whole.values[:, 0] - alone.values[:, 0]).max() > 0.02


def test_a_dimension_that_nobody_answered_says_the_middle_and_breaks_nothing(planted: Callable[..., Any]) -> None:
    """003: no answer on one dimension: the others are learnt, this one says its middle, no NaN anywhere."""
    data = planted("scores", n=60)
    data = dataclasses.replace(data, labels=without(data.labels, "reach", range(60)))
    trained = fit(data)
    scores = trained.score(data.items, data.vectors)
    assert scores.values[:, 2] == pytest.approx(np.full(60, 0.5))
    assert np.isfinite(scores.parts["spread"]).all()
    assert trained.counts["reach"] == 0
    given_ = (data.schema, data.labels, scores, trained.thresholds)
    report = evaluate("m", KIND, *given_, seed=0, role="candidate", constant=np.full(3, 0.5, np.float32))
    empty = report.per_dimension[2]
    assert (empty.n, empty.mae, empty.rmse, empty.pearson, empty.constant_mae) == (0, None, None, None, None)
    assert report.value == pytest.approx(
        sum(row.weight * (row.mae or 0.0) for row in report.per_dimension[:2]) / 0.8, abs=1e-8
    )
    assert Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report


@quick
@given(
    st.sampled_from([(0.0, 10.0, 1.0), (1.0, 5.0, 0.5), (-3.0, 3.0, 0.25), (0.0, 100.0, 1.0), (0.0, 1.0, 0.05)]),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
)
def test_numbers_are_said_on_the_grid_of_their_answers(edges: tuple[float, float, float], shares: list[float]) -> None:
    """Rule: a prediction is the grid point next to it, inside its range; with step 0 it stays as it is."""
    low, high, step = edges
    for schema in (
        KIND.schema((), dimensions=(Dimension("d", low, high, step=step),)),
        KIND.schema((), dimensions=(Dimension("d", low, high),)),
    ):
        values = np.array(shares, dtype=np.float32)[:, None]
        for share, answer in zip(shares, KIND.decode(schema, values, KIND.plain(schema)), strict=True):
            ((name, found),) = answer
            exact = low + share * (high - low)
            assert name == "d"
            assert low <= found <= high
            assert schema.check(answer) == ""
            if not schema.dimensions[0].step:
                assert found == pytest.approx(exact, abs=1e-5 * (high - low))
                continue
            assert abs(found - exact) <= step / 2 + 1e-4 * step
            assert (found - low) / step == pytest.approx(round((found - low) / step), abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.1), (-0.1, 0.3), (0.1, 0.7), (-1e-3, 1e-3), (0.0, 1e6)])
def test_the_ends_of_a_range_are_answers(low: float, high: float) -> None:
    """Rule: a prediction of 0 or 1 in float32 is exactly the end of its range, never a hair outside it."""
    schema = KIND.schema((), dimensions=(Dimension("d", low, high),))
    answers = KIND.decode(schema, np.array([[0.0], [1.0]], dtype=np.float32), KIND.plain(schema))
    assert [schema.check(answer) for answer in answers] == ["", ""]
    assert answers == [(("d", low),), (("d", high),)]


def test_the_error_is_measured_on_the_grid() -> None:
    """Rule: what is served is what is measured: 3.4 is said as 3 where answers are whole numbers."""
    whole = KIND.schema((), dimensions=(Dimension("a", 0.0, 10.0, step=1.0),))
    report = report_of(whole, [(("a", 3.0),), (("a", 8.0),)], [[3.4], [6.6]])
    assert report.value == pytest.approx(0.5, abs=1e-6)
    free = KIND.schema((), dimensions=(Dimension("a", 0.0, 10.0),))
    assert report_of(free, [(("a", 3.0),), (("a", 8.0),)], [[3.4], [6.6]]).value == pytest.approx(0.9, abs=1e-6)


def test_the_spread_follows_the_error_and_covers_nine_of_ten() -> None:
    """S5: noise that grows along one direction: the spread ranks errors (Spearman > 0.3) and covers about 90 %."""
    rng = np.random.default_rng(0)
    n, seen = 900, 600
    array = rng.normal(size=(n, 16))
    array = (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)
    loud = 0.02 + 0.3 * np.clip(array[:, 0] + 0.3, 0.0, None)
    shares = np.clip(0.5 + 0.4 * array[:, 1] + loud * rng.normal(size=n), 0.0, 1.0)
    schema = KIND.schema((), dimensions=(Dimension("d", 0.0, 10.0),))
    items = [Text("one of many notes", f"k{n}") for n in range(n)]
    vectors = Vectors(tuple(item.id for item in items), array, "planted")
    labels = [Label(item.id, (("d", 10.0 * float(v)),)) for item, v in zip(items, shares, strict=True)]
    trained = train(KIND, schema, items[:seen], vectors, labels[:seen], corpus=["one of many notes"], seed=0)
    scores = trained.score(items[seen:], vectors)
    error = np.abs(scores.values[:, 0] - shares[seen:])
    spread = scores.parts["spread"]
    assert spread.dtype == np.float32
    assert ((spread >= 0) & (spread <= 1)).all()
    assert spearmanr(spread, error).statistic > 0.3
    assert 0.85 < (error <= spread).mean() < 0.95
    noisy = loud[seen:] > np.median(loud[seen:])
    assert spread[noisy].mean() > 1.3 * spread[~noisy].mean()
    assert (KIND.uncertainty(scores) == spread).all()


def test_every_figure_of_a_dimension_by_hand() -> None:
    """G7: n, MAE, RMSE, Pearson, Spearman and the training mean's MAE, over the rows that answered; by hand."""
    given_: list[Value] = [(("a", 2.0), ("b", 1.0)), (("a", 4.0),), (("a", 9.0), ("b", 5.0)), (("a", 5.0), ("b", 3.0))]
    said = [[3.0, 2.0], [4.0, 5.0], [7.0, 4.0], [4.5, 4.0]]
    report = report_of(TWO, given_, said, constant=[5.0, 3.0])
    a, b = report.per_dimension
    assert (a.label, a.weight, a.n, b.n) == ("a", 3.0, 4, 3)
    assert (a.mae, b.mae) == pytest.approx(((1 + 0 + 2 + 0.5) / 4, 1.0), abs=1e-6)
    assert (a.rmse, b.rmse) == pytest.approx((np.sqrt((1 + 4 + 0.25) / 4), 1.0), abs=1e-6)
    assert a.pearson == pytest.approx(pearsonr([2, 4, 9, 5], [3, 4, 7, 4.5]).statistic, abs=1e-6)
    assert a.spearman == pytest.approx(1.0)
    assert b.spearman == pytest.approx(spearmanr([1, 5, 3], [2, 4, 4]).statistic, abs=1e-6)
    # the training means 5 and 3: |2-5|, |4-5|, |9-5|, |5-5| and |1-3|, |5-3|, |3-3|
    assert (a.constant_mae, b.constant_mae) == pytest.approx((2.0, 4 / 3), abs=1e-6)
    assert report.metric == "weighted_mae"
    assert report.value == pytest.approx((3 * 0.875 + 1.0) / 4, abs=1e-6)
    assert report.others["mean_mae"] == pytest.approx((0.875 + 1.0) / 2, abs=1e-6)
    assert report.others["mean_rmse"] == pytest.approx(((a.rmse or 0) + 1.0) / 2, abs=1e-6)
    assert report.others["constant_weighted_mae"] == pytest.approx((3 * 2.0 + 4 / 3) / 4, abs=1e-6)
    # the score of the rows that answer both: (3a + b) / 4
    true, told = np.array([1.75, 8.0, 4.5]), np.array([2.75, 6.25, 4.375])
    assert report.others["score_mae"] == pytest.approx(mean_absolute_error(true, told), abs=1e-6)
    assert report.others["score_spearman"] == pytest.approx(spearmanr(true, told).statistic, abs=1e-6)
    assert "tier_kappa" not in report.others
    bare = report_of(TWO, given_, said)
    assert [row.constant_mae for row in bare.per_dimension] == [None, None]
    assert bare.others["constant_weighted_mae"] is None
    assert bare.value == report.value


def test_tiers_and_their_agreement_by_hand() -> None:
    """G7: tiers by the weighted score, the lowest under the gatekeeper; kappa by hand and as sklearn's."""
    schema = dataclasses.replace(TWO, tiers=TIERS)
    numbers = np.array([[9.0, 5.0], [6.0, 1.0], [4.9, 5.0], [5.0, 4.0], [4.0, 4.0], [9.0, np.nan], [8.0, 4.0]])
    # scores 8.0, 4.75, 4.925 (under the gatekeeper), 4.75, 4.0 (under it), none, 7.0 (just there)
    assert score_of(schema, numbers)[[0, 6]].tolist() == [8.0, 7.0]
    assert tiers_of(schema, numbers).tolist() == [2, 1, 0, 1, 0, -1, 2]
    free = dataclasses.replace(schema, tiers=Tiers(TIERS.names))
    assert tiers_of(free, numbers).tolist() == [2, 1, 1, 1, 1, -1, 2]
    given_: list[Value] = [tuple(zip("ab", row, strict=True)) for row in numbers.tolist() if np.isfinite(row).all()]
    said = [[9.0, 5.0], [4.0, 1.0], [6.0, 5.0], [5.0, 4.0], [4.0, 4.0], [8.0, 4.0]]
    # truth 2 1 0 1 0 2, said 2 0 1 1 0 2: 4 of 6 agree, by chance 1/9 + 1/9 + 1/9
    report = report_of(schema, given_, said)
    assert report.others["tier_kappa"] == pytest.approx((4 / 6 - 1 / 3) / (1 - 1 / 3), abs=1e-6)


@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20))
def test_kappa_is_sklearns_where_it_is_defined(pairs: list[tuple[int, int]]) -> None:
    """Rule: Cohen's kappa; None without rows, and where both say one same class only."""
    a, b = (np.array([pair[side] for pair in pairs], dtype=np.intp) for side in (0, 1))
    found = kappa(a, b)
    if len(set(a.tolist()) | set(b.tolist())) < 2:
        assert found is None
    else:
        assert found == pytest.approx(cohen_kappa_score(a, b), abs=1e-8)


@pytest.mark.parametrize("high", [10.0, 100.0, 7.0, 1.0])
def test_a_number_on_the_edge_of_a_tier_is_in_it(high: float) -> None:
    """Rule: an answer and a prediction of exactly the least number count as reached, whatever floats make of them."""
    steps = 100 if high == 100.0 else 10
    for place in range(1, steps + 1):
        edge = place * high / steps
        tiers = Tiers((("low", 0.0), ("high", edge)), "a", edge)
        dimensions = (Dimension("a", 0.0, high, 0.7, high / steps), Dimension("b", 0.0, high, 0.3, high / steps))
        schema = KIND.schema((), dimensions=dimensions, tiers=tiers)
        truth = KIND.targets(schema, [(("a", edge), ("b", edge))])
        said = KIND.chosen(truth.astype(np.float32), KIND.plain(schema))
        under = KIND.targets(schema, [(("a", edge - high / steps), ("b", edge))])
        found = [tiers_of(schema, in_units(schema, one)).tolist() for one in (truth, said, under)]
        assert found == [[1], [1], [0]], edge


rows_ = st.lists(
    st.tuples(st.one_of(st.none(), st.floats(0, 10)), st.one_of(st.none(), st.floats(1, 5)), st.floats(0, 5)),
    min_size=1,
    max_size=12,
)


@quick
@given(rows_, st.integers(0, 9))
def test_the_weighted_error_is_that_of_the_rows_drawn(given_: Any, seed: int) -> None:
    """Rule: in every resample the mean over dimensions answered in it, by their weights; NaN where none was."""
    truth = np.array([[np.nan if v is None else v for v in row[:2]] for row in given_], dtype=np.float64)
    said = np.array([[row[2], row[2]] for row in given_])
    weight = np.array([3.0, 1.0])
    drawn = np.vstack([np.ones(len(truth)), weights(len(truth), seed, 5)])
    for counts, found in zip(drawn, mae(truth, said, weight, drawn), strict=True):
        again = np.repeat(np.arange(len(truth)), counts.astype(int))
        each = [np.abs(said[again, j] - truth[again, j]) for j in range(2)]
        means = [(w, e[np.isfinite(e)].mean()) for w, e in zip(weight, each, strict=True) if np.isfinite(e).any()]
        if not means:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(sum(w * m for w, m in means) / sum(w for w, _ in means))


def test_c66_a_constant_ranks_nothing_and_no_row_has_no_error() -> None:
    """C66: a constant has no correlation, no row has no figure at all: None, and null in JSON."""
    given_: list[Value] = [(("a", 2.0), ("b", 1.0)), (("a", 4.0), ("b", 2.0)), (("a", 9.0), ("b", 5.0))]
    flat = report_of(TWO, given_, [[5.0, 3.0]] * 3)
    assert [(row.pearson, row.spearman) for row in flat.per_dimension] == [(None, None)] * 2
    assert (flat.others["mean_spearman"], flat.others["score_spearman"]) == (None, None)
    for rows in ([], given_[:1], [(("a", 1.0),)], [(("b", 2.0),)] * 2):
        report = report_of(dataclasses.replace(TWO, tiers=TIERS), rows, [[5.0, 3.0]] * len(rows))
        assert (report.value is None) == (not rows)
        assert Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report


@pytest.mark.parametrize("text", ["", " ", "🎈", "...", "\u202e\n\n\n", "A" * 5000, "''\"\"--", "1,2,3.4"])
def test_figures_of_writing_are_finite_for_any_text(text: str) -> None:
    """Rule: sixteen finite figures, whatever was written."""
    words = Words.fit(["a note", "another note"])
    for given_ in (words, None):
        assert surface([text, "a note"], given_).shape == (2, SURFACE)
        assert np.isfinite(surface([text], given_)).all()


def test_figures_of_writing_by_hand() -> None:
    """Rule: length, word length, sentence length and its spread, variety, marks, a small "i", capitals, rarity."""
    found = surface(["i came, I saw.\n\nThen nothing!"], None)[0]
    # i came I saw Then nothing: 6 words, 20 letters; sentences of 4 and 2 words
    assert found[:6] == pytest.approx([np.log(6), 20 / 6, np.log(4.0), 1 / 3, 5 / 6, 5 / 6])
    assert found[6:11] == pytest.approx([0.0, 1 / 6, 2 / 6, 0.0, 0.0])
    assert found[11:] == pytest.approx([1 / 6, 0.0, np.log(2), 2 / 29, 0.0])
    rare = surface(["common", "rare"], Words.fit(["common"] * 9 + ["rare"]))[:, -1]
    assert rare[1] - rare[0] == pytest.approx(np.log(10 / 2), abs=1e-5)
