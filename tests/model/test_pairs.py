"""What a head over pairs sees: density of the neighbourhood, and pairs nobody labelled that are not alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from toughcall.model import kinds
from toughcall.model.evaluate import evaluate
from toughcall.model.features import density
from toughcall.model.scorers import Head
from toughcall.model.train import ENOUGH, made_up, sampled, train, words_alone
from toughcall.model.words import Words
from toughcall.records import Item, Label, Pair, Scores, Text, Vectors
from toughcall.schema import Dimension

KIND = kinds.get("pair")
SCHEMA = KIND.schema(KIND.default_labels)


def records(count: int, seed: int = 0) -> tuple[list[Text], Vectors]:
    """Records in pairs that lie near each other: 2n and 2n + 1 are one event."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(count // 2, 16)), 2, axis=0)
    array = centres + 0.6 * rng.normal(size=centres.shape)
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    texts = [Text(f"record {n} of event {n // 2}") for n in range(len(array))]
    return texts, Vectors(tuple(text.id for text in texts), array.astype(np.float32), "made")


def test_density_is_the_mean_cosine_to_the_nearest_without_itself() -> None:
    """The ten nearest reference records count, an equal vector (the record itself) does not."""
    texts, vectors = records(40)
    pair = Pair(texts[0], texts[1])
    cosines = vectors.array @ vectors.array.T
    due = np.mean([np.sort(np.delete(cosines[row], row))[-10:].mean() for row in (0, 1)])
    assert density([pair], vectors, vectors.array)[0] == pytest.approx(due, abs=1e-5)
    assert density([pair], vectors, vectors.array[:1])[0] == pytest.approx(cosines[0, 1] / 2, abs=1e-5)


def test_random_pairs_join_only_where_there_are_many_records() -> None:
    """Among few records a random pair may well be alike: then nothing is made up."""
    texts, vectors = records(ENOUGH + 20)
    words = Words.fit([text.text for text in texts])
    assert made_up(KIND, SCHEMA, texts[: ENOUGH - 1], vectors, words, vectors.array, None, 0) is None
    found = made_up(KIND, SCHEMA, texts, vectors, words, vectors.array, None, 0)
    assert found is not None
    many, truth = found
    assert len(many) == len(truth) > 250
    assert not truth.any()


def test_made_up_pairs_keep_cosine_in_its_place() -> None:
    """Asked only inside 0.4–0.6, labels may by chance fall with the cosine; random pairs keep its weight above 0."""
    texts, vectors = records(200)
    cosines = vectors.array @ vectors.array.T
    band = [(cosines[a, b], a, b) for a in range(200) for b in range(a) if 0.4 < cosines[a, b] < 0.6]
    asked: list[Item] = [Pair(texts[a], texts[b]) for _, a, b in sorted(band)[:60]]
    labels = [Label(item.id, ("similar" if n < 20 else "not_similar",)) for n, item in enumerate(asked)]

    def weight(pool: list[Text]) -> float:
        made = train(KIND, SCHEMA, asked, vectors, labels, corpus=[t.text for t in texts], pool=pool, seed=0)
        return float(made.arrays()["coef"][0, 0])

    assert weight([]) < 0 < weight(texts)


def test_the_reference_travels_with_the_head() -> None:
    """P4: what density is measured against is in the model's own arrays, bounded and drawn by the seed."""
    texts, vectors = records(240)
    items: list[Item] = [Pair(texts[n], texts[n + 1]) for n in range(0, 60)]
    labels = [Label(item.id, ("similar" if n % 2 == 0 else "not_similar",)) for n, item in enumerate(items)]
    trained = train(KIND, SCHEMA, items, vectors, labels, corpus=[t.text for t in texts], pool=texts, seed=0)
    again = Head.restore(trained.config(), trained.arrays(), "p-v001")
    np.testing.assert_array_equal(again.score(items, vectors).values, trained.score(items, vectors).values)
    assert len(trained.arrays()["reference"]) == len(texts)
    np.testing.assert_array_equal(sampled(items, texts[::-1], vectors, 0), sampled(items, texts, vectors, 0))


GRADED = dataclasses.replace(SCHEMA, dimensions=(Dimension("grade", 1.0, 5.0),))


def test_a_grade_is_compared_with_the_probability_where_it_was_given() -> None:
    """001: Spearman of the probability with the grade, over the pairs that have one; by hand and as scipy's."""
    grades = [5.0, None, 2.0, 4.0, None, 1.0, 3.0]
    p = np.array([0.9, 0.1, 0.3, 0.6, 0.99, 0.2, 0.7], dtype=np.float32)
    ids = tuple(f"i{n}" for n in range(len(p)))
    labels = [
        Label(one, ("similar" if n % 2 else "not_similar", *((("grade", grade),) if grade else ())))
        for n, (one, grade) in enumerate(zip(ids, grades, strict=True))
    ]
    assert [GRADED.check(label.value) for label in labels] == [""] * 7

    def others(rows: list[int]) -> dict[str, float | None]:
        some = [labels[row] for row in rows]
        scores = Scores(tuple(ids[row] for row in rows), ("similar",), p[rows, None], "m")
        report = evaluate("m", KIND, GRADED, some, scores, KIND.plain(GRADED), seed=0, role="candidate")
        return dict(report.others)

    there = [0, 2, 3, 5, 6]
    due = spearmanr([5, 2, 4, 1, 3], p[there]).statistic
    # ranks of the grades 5 2 4 1 3, of the probabilities 5 2 3 1 4: 1 - 6 * 2 / (5 * 24)
    assert due == pytest.approx(0.9)
    assert others(list(range(7)))["grade_spearman"] == pytest.approx(due)
    assert others(there)["grade_spearman"] == pytest.approx(due)
    assert others([0, 1, 2, 4])["grade_spearman"] is None, "two grades rank nothing"
    assert others([1, 4])["grade_spearman"] is None
    plain = Scores(ids[1:2], ("similar",), p[1:2, None], "m")
    bare = evaluate("m", KIND, SCHEMA, labels[1:2], plain, KIND.plain(SCHEMA), seed=0, role="candidate")
    assert "grade_spearman" not in bare.others


def test_a_grade_changes_neither_training_nor_what_is_decoded() -> None:
    """001: a pair's label is what is learnt and said; a grade beside it is only compared with."""
    texts, vectors = records(80)
    items: list[Item] = [Pair(texts[n], texts[n + 1]) for n in range(60)]
    labels = [Label(item.id, ("similar" if n % 2 == 0 else "not_similar",)) for n, item in enumerate(items)]
    graded = [dataclasses.replace(one, value=(*one.value, ("grade", 3.0))) for one in labels[::2]]
    graded = [graded[n // 2] if n % 2 == 0 else one for n, one in enumerate(labels)]
    heads = [
        train(KIND, schema, items, vectors, given, corpus=[t.text for t in texts], seed=0)
        for schema, given in ((SCHEMA, labels), (GRADED, graded))
    ]
    plain, also = (head.score(items, vectors).values.tobytes() for head in heads)
    assert plain == also
    assert heads[1].counts == {"similar": 30, "not_similar": 30, "grade": 30}
    values = heads[1].score(items, vectors).values
    assert set(KIND.decode(GRADED, values, heads[1].thresholds)) == {("similar",), ("not_similar",)}


def test_the_word_baseline_does_not_count_common_words_against_a_pair() -> None:
    """Rule: the queue asks about near-misses that share many words; random pairs of the pool keep the sign right."""
    things, faults = ("pump", "door", "light", "fan", "belt"), ("leaks", "sticks", "hums", "stops")
    names = [f"{thing} {fault}" for thing in things for fault in faults]
    pool = [Text(f"{name} in hall {n} today", f"p{name}{n}") for name in names for n in range(8)]
    drawn = np.random.default_rng(0).choice(len(pool) - 1, size=24, replace=False)
    # alike: other words; not alike: nearly the same words
    alike: list[Item] = [Pair(Text(f"smoke seen {i}"), Text(f"fire alarm rang {i}")) for i in range(12)]
    apart: list[Item] = [Pair(pool[a], pool[a + 1]) for a in drawn]
    labels = [Label(item.id, SCHEMA.labels[:1]) for item in alike] + [
        Label(item.id, SCHEMA.labels[1:]) for item in apart
    ]
    corpus = [text.text for text in pool]
    bare = words_alone(KIND, SCHEMA, [*alike, *apart], labels, corpus=corpus, seed=0)
    fair = words_alone(KIND, SCHEMA, [*alike, *apart], labels, corpus=corpus, pool=pool, seed=0)
    assert bare.coef[0, 1] < fair.coef[0, 1]
