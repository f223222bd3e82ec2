"""Relations: nothing a model says is illegal, and what stands between two spans is what is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toughcall.model import kinds
from toughcall.model.features import span_types, span_words
from toughcall.model.scorers import Majority, Scorer, Untouched
from toughcall.model.train import train, words_alone
from toughcall.records import Item, Relation, Scores, Span, Text, Vectors
from toughcall.schema import Schema

KIND = kinds.get("relation")
TYPES = ("TAXON", "STRAT", "LOC", "", "<b>", "é 🎈", "NO_RELATION")
PIECES = ("a", "Ä", " ", "\n", "🎈", "shale", ".", "<b>", "\u202e", "occurs in", "'", "0")


def random_item(rng: np.random.Generator, types: tuple[str, ...] = TYPES) -> Relation:
    """Return two different spans, apart, side by side, nested or crossed, in a text of anything."""
    text = "".join(rng.choice(PIECES) for _ in range(int(rng.integers(2, 12)))) + "xy"
    while True:
        edges = [sorted(rng.integers(0, len(text) + 1, size=2).tolist()) for _ in range(2)]
        (a, b), (c, d) = edges
        if a < b and c < d and (a, b) != (c, d):
            kinds_ = [str(rng.choice(types)) for _ in range(2)]
            return Relation(Text(text, str(rng.integers(1 << 30))), Span(a, b, kinds_[0]), Span(c, d, kinds_[1]))


def random_schema(rng: np.random.Generator) -> Schema:
    """Return a schema of two to seven relations, at least one of them legal everywhere."""
    labels = tuple(f"relation {n}" for n in range(int(rng.integers(2, 8))))
    free = int(rng.integers(len(labels)))
    table = [
        (label, tuple(tuple(rng.choice(TYPES, size=2).tolist()) for _ in range(int(rng.integers(1, 9)))))
        for n, label in enumerate(labels)
        if n != free and rng.random() < 0.9
    ]
    return KIND.schema(labels, types=tuple(table))


def check(schema: Schema, items: list[Item], values: Any, thresholds: Any) -> None:
    """Fail where an answer or the greatest value is a relation that the types of the spans forbid."""
    assert np.isfinite(values).all()
    answers = KIND.decode(schema, values, thresholds)
    for item, answer, best in zip(items, answers, values.argmax(axis=1).tolist(), strict=True):
        offered = schema.offered(item)
        assert schema.check(answer, offered) == ""
        assert schema.labels[best] in offered


def test_t9_no_illegal_relation_in_10_000_random_inputs() -> None:
    """T9: any text, spans, types, table, logits and thresholds: what is decoded and what is greatest is legal."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        schema = random_schema(rng)
        items: list[Item] = [random_item(rng) for _ in range(50)]
        legal = KIND.legal(schema, items)
        legal = np.ones((50, len(schema.labels)), dtype=bool) if legal is None else legal
        size = rng.choice([0.0, 1.0, 30.0, 1e3, 1e30, 1e300], size=legal.shape)
        logits = rng.uniform(-1, 1, size=legal.shape) * size
        # some that are legal are impossible all the same, never all of them
        lost = (rng.random(legal.shape) < 0.2) & (np.cumsum(legal, axis=1) > 1)
        # what is forbidden is what the model likes best
        logits = np.where(lost, -np.inf, np.where(legal, logits, np.abs(logits) + 1.0))
        values = KIND.link(np.where(legal, logits, -np.inf)).astype(np.float32)
        cuts = rng.choice([0.0, 1e-9, 0.1, 0.5, 1.0], size=len(schema.labels)).astype(np.float32)
        check(schema, items, values, cuts)
        check(schema, items, values, KIND.plain(schema))
        refused += int((~legal).sum())
    assert refused > 10_000, "there was something to forbid"


@pytest.fixture(scope="module")
def heads(planted: Callable[..., Any]) -> tuple[Schema, list[Scorer]]:
    """A head trained on few, rare and noisy labels, and what else gives scores of relations."""
    data = planted("relation", n=60, noise=3.0)
    rows = (data.items, data.vectors, data.labels)
    head = train(data.kind, data.schema, *rows, corpus=data.corpus, seed=0)
    words = words_alone(data.kind, data.schema, data.items, data.labels, corpus=data.corpus, seed=0)
    majority = Majority.fit(data.kind, data.schema, data.labels)
    return data.schema, [head, words, majority, Untouched(data.kind, data.schema, data.hints)]


def test_t9_no_model_says_an_illegal_relation_of_10_000_random_texts(heads: Any) -> None:
    """T9: the trained head and every baseline, on texts and types they never saw and vectors of any length."""
    rng = np.random.default_rng(1)
    schema, models = heads
    items: list[Item] = [random_item(rng, ("TAXON", "STRAT", "LOC", "", "é 🎈")) for _ in range(10_000)]
    ids = list(dict.fromkeys(view.id for item in items for view in item.views))
    size = rng.choice([0.0, 1e-30, 1.0, 1e6, 1e18], size=(len(ids), 1))
    vectors = Vectors(tuple(ids), (rng.normal(size=(len(ids), 16)) * size).astype(np.float32), "random")
    legal = KIND.legal(schema, items)
    assert legal is not None
    assert (~legal).sum() > 10_000
    assert legal.sum(axis=1).max() > 2
    for model in models:
        values = model.score(items, vectors).values
        assert (values[~legal] == 0).all()
        cuts = rng.uniform(0, 1, size=len(schema.labels)).astype(np.float32)
        for thresholds in (model.thresholds, cuts):
            check(schema, items, values, thresholds)


def test_where_nothing_is_legal_nothing_is_in_doubt() -> None:
    """T9: a type that no label is legal for gives 0 for every label and is not asked about, without a NaN."""
    schema = KIND.schema(("a", "b"), types=(("a", (("X", "Y"),)), ("b", (("Y", "X"),))))
    record = Text("one two three")
    items: list[Item] = [
        Relation(record, Span(0, 3, subject), Span(4, 7, object_)) for subject, object_ in (("X", "Y"), ("Z", "Z"))
    ]
    legal = KIND.legal(schema, items)
    assert legal is not None
    values = KIND.link(np.where(legal, 1.0, -np.inf)).astype(np.float32)
    assert values.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert KIND.uncertainty(Scores(("x", "y"), schema.labels, values, "m")).tolist() == [0.0, 0.0]
    vectors = Vectors((), np.zeros((0, 3), np.float32), "none")
    constant = Majority(KIND, schema, np.array([0.3, 0.7], dtype=np.float32)).score(items, vectors)
    assert constant.values.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_words_are_told_by_their_place_and_by_both_types() -> None:
    """Rule: three words before, all between (also with types and order), three behind; types and distance."""
    text = "in the far north the fox was seen in shale of the old quarry"
    fox, shale = text.index("fox"), text.index("shale")
    one = Relation(Text(text), Span(fox, fox + 3, "TAXON"), Span(shale, shale + 5, "STRAT"))
    two = Relation(Text(text), Span(shale, shale + 5, "STRAT"), Span(fox, fox + 3, "TAXON"))
    between = ["was", "seen", "in"]
    for item, order in ((one, "so"), (two, "os")):
        typed = f"TAXONxSTRATx{order}m_"
        due = ["l_far", "l_north", "l_the", *(f"m_{w}" for w in between), *(typed + w for w in between)]
        assert span_words([item])[0].split() == [*due, "r_of", "r_the", "r_old"]
        assert span_types([item]) == [f"a_TAXON b_STRAT ab_TAXON_STRAT_{order} {order} apart3"]
    # one span inside another: nothing stands between them
    inside = Relation(Text(text), Span(0, 20, "LOC"), Span(3, 6, ""))
    assert "m_" not in span_words([inside])[0]
    assert span_types([inside])[0].endswith("apart0")
    with pytest.raises(TypeError, match="no spans"):
        span_words([Text("no spans")])
