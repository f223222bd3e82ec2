"""Kinds: what each of them has to keep, whatever its labels and dimensions are called."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toughcall.model import kinds
from toughcall.model.evaluate import METRICS, Report, evaluate
from toughcall.model.gate import Gate, judge
from toughcall.model.kind import Kind
from toughcall.model.registry import item_json, item_of
from toughcall.model.scorers import Head, Majority, Scorer, Untouched, predict
from toughcall.model.train import Trained, train, words_alone
from toughcall.records import Item, Label, Pair, Relation, Scores, Span, Text, UsageError, Value, Vectors
from toughcall.schema import Dimension, Schema, numbers_of, schema_from

quick = settings(max_examples=60, deadline=None)
every = pytest.mark.parametrize("kind", kinds.KINDS.values(), ids=lambda kind: kind.name)
HOSTILE = ("", " ", "a,b", "a", 'quo"te', "<script>", "=1+1", "émoji 🎈", "a\nb", "None", "0", "\u202egnp")
names = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=6), min_size=2, max_size=6, unique=True)
logits = hnp.arrays(
    np.float64, (5, 4), elements=st.floats(-50, 50) | st.sampled_from([0.0, 1e3, -1e3, 1e30, -1e30, 1e300, -1e300])
)


def schema_of(kind: Kind, labels: list[str]) -> Schema:
    """Return a schema of a kind with some labels, or with dimensions of those names."""
    if kind.labelled:
        return kind.schema(labels[:2] if kind.paired else labels)
    ranges = [
        (0.0, 10.0, 0.0),
        (-1.0, 1.0, 0.0),
        (1.0, 5.0, 0.5),
        (0.0, 100.0, 10.0),
        (-3.0, 0.0, 1.0),
        (0.0, 0.1, 0.0),
    ]
    sides = zip(labels, ranges, strict=False)
    return kind.schema((), dimensions=tuple(Dimension(n, low, high, step=step) for n, (low, high, step) in sides))


def answers_of(kind: Kind, schema: Schema, data: st.DataObject) -> list[Value]:
    """Draw answers under a schema, in its order."""
    if kind.labelled:
        one = st.sampled_from(schema.labels).map(lambda v: (v,))
        many = st.sets(st.sampled_from(schema.labels)).map(lambda v: tuple(x for x in schema.labels if x in v))
        return data.draw(st.lists(one if kind.single else many, max_size=8))
    found: list[Value] = []
    for chosen in data.draw(st.lists(st.sets(st.sampled_from(schema.dimensions), min_size=1), max_size=5)):
        row = []
        for d in (d for d in schema.dimensions if d in chosen):
            share = data.draw(st.integers(0, round((d.high - d.low) / d.step)) if d.step else st.floats(0, 1))
            row.append((d.name, d.low + (share * d.step if d.step else share * (d.high - d.low))))
        found.append(tuple(row))
    return found


def scores_of(kind: Kind, schema: Schema, values: Any, **parts: Any) -> Scores:
    """Return values as scores of rows called 0, 1, 2."""
    ids = tuple(str(n) for n in range(len(values)))
    return Scores(ids, kind.columns(schema), np.asarray(values, dtype=np.float32), "m", parts)


def test_an_unknown_kind_is_answered_with_the_nearest_one() -> None:
    """C02-like typo: UsageError says what was meant and what there is."""
    with pytest.raises(UsageError, match=r"did you mean 'multilabel'.*multiclass, multilabel, pair, relation, scores"):
        kinds.get("multilable")
    with pytest.raises(UsageError, match="choose multiclass") as refused:
        kinds.get("zzz")
    assert "did you mean" not in str(refused.value)


def test_five_kinds_are_registered_under_their_names() -> None:
    """D1: the five kinds, each under its own name, each with a metric the gate can compare."""
    assert set(kinds.KINDS) == {"multilabel", "multiclass", "relation", "pair", "scores"}
    for name, kind in kinds.KINDS.items():
        schema = schema_of(kind, ["a", "b", "c"])
        assert (kind.name, schema.kind, kinds.get(name)) == (name, name, kind)
        assert kind.metric(schema) in METRICS
        assert 0 < len(kind.fewer) <= len(kind.settings)
        assert sum(kind.quotas.values()) == pytest.approx(1.0)
        assert kind.items in ("texts", "pairs", "relations")
        assert schema_from(json.loads(json.dumps(dataclasses.asdict(schema)))) == schema


@every
@quick
@given(labels=names, data=st.data())
def test_targets_read_back_as_the_answers_they_were_made_of(kind: Kind, labels: list[str], data: st.DataObject) -> None:
    """Rule: decode(targets(answers)) are the answers, for hostile names; NaN stands exactly where nobody answered."""
    schema = schema_of(kind, labels)
    answers = answers_of(kind, schema, data)
    assert all(schema.check(answer) == "" for answer in answers)
    truth = kind.targets(schema, answers)
    assert truth.shape == (len(answers), len(kind.columns(schema))) == kind.strata(truth).shape
    assert kind.strata(truth).dtype == bool
    back = kind.decode(schema, np.nan_to_num(truth.astype(np.float64)), kind.plain(schema))
    assert all(schema.check(answer) == "" for answer in back)
    if kind.labelled:
        assert (truth.dtype, back) == (np.dtype(bool), answers)
        return
    for answer, row, found in zip(answers, truth, back, strict=True):
        due = numbers_of(answer)
        assert [d.name in due for d in schema.dimensions] == np.isfinite(row).tolist()
        assert {n: v for n, v in numbers_of(found).items() if n in due} == pytest.approx(due, abs=1e-5)


@every
@quick
@given(raw=logits, mask=hnp.arrays(bool, (5, 4)), cuts=hnp.arrays(np.float32, 4, elements=st.floats(0, 1, width=32)))
def test_outputs_are_legal_numbers_between_zero_and_one(kind: Kind, raw: Any, mask: Any, cuts: Any) -> None:
    """Rule: any logits become values in [0, 1], what is not legal has 0 and is never chosen, doubt is in [0, 1]."""
    schema = schema_of(kind, ["a", "b", "c", "d"])
    width = len(kind.columns(schema))
    raw, legal, cuts = raw[:, :width], np.ones((5, width), dtype=bool), cuts[:width]
    if kind.spanned:
        legal = mask
        legal[~mask.any(axis=1), 2] = True
    values = kind.link(np.where(legal, raw, -np.inf))
    assert ((values >= 0) & (values <= 1)).all()
    assert (values[~legal] == 0).all()
    if kind.single and width > 1:
        assert (values[legal] > 0).all()
    for p in (values, values.astype(np.float32), np.where(legal, np.round(values), 0.0)):
        doubt = kind.uncertainty(scores_of(kind, schema, p, spread=p[:, 0]))
        assert doubt.shape == (5,)
        assert ((doubt >= 0) & (doubt <= 1)).all()
    # of numbers a threshold is the grid, which the schema says and nothing fits
    for limits in (kind.plain(schema), *([cuts] if kind.labelled else [])):
        said = kind.chosen(values.astype(np.float32), limits)
        assert said.shape == values.shape
        if kind.single and width > 1:
            assert said.sum(axis=1).tolist() == [1] * 5
            assert not said[~legal].any()
        for answer, open_ in zip(kind.decode(schema, values.astype(np.float32), limits), legal, strict=True):
            offered = [label for label, yes in zip(schema.labels, open_, strict=True) if yes] if kind.spanned else None
            assert schema.check(answer, offered) == ""


@every
@quick
@given(labels=names)
def test_plain_thresholds_say_what_an_untrained_model_uses(kind: Kind, labels: list[str]) -> None:
    """Rule: one float32 a column; one half for labels, the answers' grid as a share of the range for numbers."""
    schema = schema_of(kind, labels)
    plain = kind.plain(schema)
    assert (plain.shape, plain.dtype) == ((len(kind.columns(schema)),), np.float32)
    due = [0.5] * len(plain) if kind.labelled else [d.step / (d.high - d.low) for d in schema.dimensions]
    assert plain.tolist() == pytest.approx(due)


def test_doubt_is_whole_at_the_tie_and_none_at_certainty() -> None:
    """Rule: 1.0 where it is a toss-up, 0.0 where it is certain; of numbers the spread, and 0 where none is said."""
    for name, tie, sure in (
        ("multiclass", [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]),
        ("relation", [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]),
        ("multilabel", [0.0, 0.5, 1.0], [0.0, 1.0, 1.0]),
        ("pair", [0.5], [1.0]),
    ):
        kind = kinds.get(name)
        found = kind.uncertainty(scores_of(kind, schema_of(kind, ["a", "b", "c"]), [tie, sure]))
        assert found.tolist() == [1.0, 0.0]
    kind = kinds.get("scores")
    schema = schema_of(kind, ["a", "b"])
    told = np.array([0.25, 0.5], dtype=np.float32)
    assert kind.uncertainty(scores_of(kind, schema, [[0.5, 0.5]] * 2, spread=told)).tolist() == [0.25, 0.5]
    assert kind.uncertainty(scores_of(kind, schema, [[0.5, 0.5]] * 2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["multiclass", "relation"])
def test_one_class_a_row_ties_to_the_first_and_a_lower_threshold_wins_earlier(name: str) -> None:
    """Rule: equal thresholds are argmax; a class at half the threshold wins at half the probability."""
    kind = kinds.get(name)
    p = np.array([[0.4, 0.4, 0.2], [0.5, 0.2, 0.3]], dtype=np.float32)
    assert kind.chosen(p, np.full(3, 0.5)).argmax(axis=1).tolist() == [0, 0]
    assert kind.chosen(p, np.array([0.5, 0.5, 0.2])).argmax(axis=1).tolist() == [2, 2]
    assert kind.chosen(p, np.zeros(3)).sum(axis=1).tolist() == [1, 1]


def test_a_threshold_is_reached_at_the_threshold() -> None:
    """Rule: independent columns are predicted at or above their own threshold."""
    kind = kinds.get("multilabel")
    p = np.array([[0.3, 0.3]], dtype=np.float32)
    assert kind.chosen(p, np.array([0.3, 0.31], dtype=np.float32)).tolist() == [[True, False]]


@every
def test_the_best_constant_by_hand(kind: Kind) -> None:
    """B1: shares with one pseudo-count each way, one each for classes; of numbers the mean, the middle if unasked."""
    schema = schema_of(kind, ["a", "b", "c"])
    given_: list[Value] = [("a",), ("a",), ("a",), ("b",)]
    due = {"multilabel": [4 / 6, 2 / 6, 1 / 6], "pair": [4 / 6]}.get(kind.name, [4 / 7, 2 / 7, 1 / 7])
    if not kind.labelled:
        given_, due = [(("a", 2.0), ("b", -1.0)), (("a", 5.0),)], [0.35, 0.0, 0.5]
    found = kind.constant(kind.targets(schema, given_))
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(due)


spans = st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from(HOSTILE))


@quick
@given(st.text(min_size=12, max_size=12), st.sampled_from(HOSTILE), spans, spans)
def test_any_item_reads_back_from_its_json(text: str, key: str, one: Any, two: Any) -> None:
    """C60: a stored probe's texts, pairs and relations come back with the same id, whatever their spans are called."""
    items: list[Item] = [Text(text, key, "g"), Pair(Text(text, key), Text(text, f"{key}x"))]
    a, b = (Span(min(s, e), max(s, e) + 1, kind) for s, e, kind in (one, two))
    if (a.start, a.end) != (b.start, b.end):
        items.append(Relation(Text(text, key, "g"), a, b))
    for item in items:
        back = item_of(item_json(item))
        assert (back, back.id, type(back)) == (item, item.id, type(item))


NASTY = ("", "a,b", 'quo"te', "<b> & 🎈", "a\nb", "\u202egnp")


def renamed(data: Any) -> Any:
    """Return planted data whose labels, types and dimensions have the worst names there are."""
    known = (*data.schema.labels, *(d.name for d in data.schema.dimensions))
    new = dict(zip(known, NASTY, strict=False))
    types = tuple((new[label], tuple(pairs)) for label, pairs in data.schema.types)
    schema = dataclasses.replace(
        data.schema,
        labels=tuple(new[label] for label in data.schema.labels),
        dimensions=tuple(dataclasses.replace(d, name=new[d.name]) for d in data.schema.dimensions),
        types=types,
        null=new[data.schema.null] if data.schema.null else "",
    )
    labels = [
        Label(one.item, tuple(new[v] if isinstance(v, str) else (new[v[0]], v[1]) for v in one.value))
        for one in data.labels
    ]
    return dataclasses.replace(data, schema=schema, labels=labels)


@dataclasses.dataclass(frozen=True)
class Learnt:
    """Planted data of one kind, a head trained on two thirds of it, and the rest."""

    seen: Any
    held: Any
    corpus: list[str]
    trained: Trained

    def report(self, model: Scorer, role: str = "candidate") -> Report:
        """Evaluate a model on the held-out rows."""
        scores = model.score(self.held.items, self.held.vectors)
        rows = (self.held.kind, self.held.schema, self.held.labels, scores, model.thresholds)
        return evaluate(model.name, *rows, seed=0, role=role, constant=self.constant.shares)

    @property
    def constant(self) -> Majority:
        """What can be said without reading."""
        return Majority.fit(self.seen.kind, self.seen.schema, self.seen.labels)


@pytest.fixture(scope="module", params=[(name, nasty) for name in kinds.KINDS for nasty in (False, True)], ids=str)
def learnt(request: pytest.FixtureRequest, planted: Callable[..., Any]) -> Learnt:
    """Every kind, under plain names and under the worst ones."""
    name, nasty = request.param
    data = planted(name, n=150)
    data = renamed(data) if nasty else data
    seen, held = data.take(range(100)), data.take(range(100, 150))
    rows = (seen.items, seen.vectors, seen.labels)
    head = train(data.kind, data.schema, *rows, corpus=data.corpus, seed=1, hints=data.hints)
    return Learnt(seen, held, data.corpus, head)


def test_a_head_comes_back_from_arrays_and_json_to_the_bit(learnt: Learnt) -> None:
    """C60: train, arrays and JSON, restore: the same scores, parts, thresholds and answers, bit for bit."""
    trained, held = learnt.trained, learnt.held
    back = Head.restore(json.loads(json.dumps(trained.config())), trained.arrays(), "again")
    due, found = trained.score(held.items, held.vectors), back.score(held.items, held.vectors)
    assert (back.kind, back.schema) == (held.kind, held.schema)
    assert (found.ids, found.labels) == (due.ids, due.labels) == (due.ids, held.kind.columns(held.schema))
    assert found.values.tobytes() == due.values.tobytes()
    assert {k: v.tobytes() for k, v in found.parts.items()} == {k: v.tobytes() for k, v in due.parts.items()}
    assert back.thresholds.tobytes() == trained.thresholds.tobytes()
    assert set(back.arrays()) == set(trained.arrays())
    for model in (trained, back):
        answers = predict(held.kind, held.schema, model, held.items, held.vectors)
        for item, answer in zip(held.items, answers, strict=True):
            assert held.schema.check(answer, held.schema.offered(item)) == ""


def test_a_report_survives_json_and_the_gate_judges_it(learnt: Learnt) -> None:
    """C60, C67: a report is judged alike before and after JSON; its double and its own shuffled scores never ship."""
    report = learnt.report(learnt.trained)
    back = Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))
    assert back == report
    assert report.value is not None
    rows = learnt.trained.score(learnt.held.items, learnt.held.vectors)
    mixed = dataclasses.replace(rows, values=rows.values[np.random.default_rng(0).permutation(len(rows.ids))])
    given_ = (learnt.held.kind, learnt.held.schema, learnt.held.labels, mixed, learnt.trained.thresholds)
    weak = evaluate("shuffled", *given_, seed=0, role="untouched")
    gate = Gate(report.metric, min_items=50)
    for candidate in (report, back):
        assert judge(candidate, None, [weak], gate).outcome == "PROMOTE"
        assert judge(weak, candidate, [candidate], gate).outcome == "KEEP"
        assert judge(candidate, candidate, [weak], gate).outcome == "KEEP"


def test_the_constant_reads_nothing_and_is_beaten(learnt: Learnt) -> None:
    """B1: the constant says the same wherever the same is legal, and what was learnt is better."""
    kind, schema, held = learnt.held.kind, learnt.held.schema, learnt.held
    constant = learnt.constant
    values = constant.score(held.items, held.vectors).values
    legal = kind.legal(schema, held.items)
    if legal is None:
        assert (values == constant.shares).all()
    else:
        assert (values[~legal] == 0).all()
        share = np.where(legal, constant.shares, 0.0)
        assert values == pytest.approx(share / share.sum(axis=1, keepdims=True), abs=1e-6)
    own, plain = learnt.report(learnt.trained), learnt.report(constant, "untouched")
    if plain.value is None:
        # a constant ranks nothing, so that it has no figure where ranking is measured
        assert own.metric == "roc_auc"
        return
    assert judge(own, None, [plain], Gate(own.metric, min_items=50)).outcome == "PROMOTE"
    assert judge(plain, None, [own], Gate(own.metric, min_items=50)).outcome == "KEEP"


def test_words_alone_read_no_vector(learnt: Learnt) -> None:
    """B1: the word baseline says the same whatever the vectors hold, broken ones too, and every report takes it."""
    seen, held = learnt.seen, learnt.held
    words = words_alone(seen.kind, seen.schema, seen.items, seen.labels, corpus=learnt.corpus, seed=1)
    broken = Vectors(held.vectors.ids, np.full((len(held.vectors.ids), 3), np.nan, np.float32), "broken")
    due = words.score(held.items, held.vectors).values
    assert words.score(held.items, broken).values.tobytes() == due.tobytes()
    assert (words.name, words.blind) == ("tfidf", True)
    report = learnt.report(words, "tfidf")
    assert Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report
    assert report.value is not None
    plain = learnt.report(learnt.constant)
    if plain.value is not None:
        # the words that tell were planted too
        assert (report.value - plain.value) * METRICS[report.metric][1] > 0


def test_the_untouched_encoder_says_something_sane(learnt: Learnt) -> None:
    """B1: every kind has an answer without any label: in [0, 1], legal, and of the schema."""
    kind, schema, held = learnt.held.kind, learnt.held.schema, learnt.held
    model = Untouched(kind, schema, held.hints)
    values = model.score(held.items, held.vectors).values
    assert ((values >= 0) & (values <= 1)).all()
    for item, answer in zip(held.items, predict(kind, schema, model, held.items, held.vectors), strict=True):
        assert schema.check(answer, schema.offered(item)) == ""
    assert learnt.report(model, "untouched").n == 50
