"""What a head over pairs sees: density of the neighbourhood, and pairs nobody labelled that are not alike."""

from __future__ import annotations

import numpy as np
import pytest

from toughcall.model import kinds
from toughcall.model.scorers import Head, density
from toughcall.model.train import ENOUGH, made_up, sampled, train
from toughcall.model.words import Words
from toughcall.records import Item, Label, Pair, Text, Vectors

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
    few, _ = made_up(KIND, SCHEMA, texts[: ENOUGH - 1], vectors, words, vectors.array, None, 0)
    many, truth = made_up(KIND, SCHEMA, texts, vectors, words, vectors.array, None, 0)
    assert few is None
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
