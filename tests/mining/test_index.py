"""Nearest neighbours: exact, capped, never a phantom; and what counts as the same text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.mining import index as indexing
from toughcall.mining.index import Index, build, clean, has_gpu, near_duplicates
from toughcall.records import Vectors


def brute(vectors: Vectors, queries: np.ndarray, k: int) -> list[tuple[str, ...]]:
    cosines = np.round(queries.astype(np.float64) @ vectors.array.T.astype(np.float64), 6)
    return [tuple(one for _, one in sorted(zip(-row, vectors.ids, strict=True))[:k]) for row in cosines]


# corners of a square grid have exact, often equal cosines: ties everywhere
CORNERS = np.asarray([[a, b, c, 1] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], np.float32) / 2


@given(rows=st.lists(st.integers(0, 7), min_size=1, max_size=40), k=st.integers(1, 60), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_search_equals_brute_force_with_ties_by_id_c23_c24(rows: list[int], k: int, seed: int) -> None:
    """However many neighbours tie at the edge, the k nearest are those of brute force, ties by id (C23, C24)."""
    ids = [f"t{i}" for i in range(len(rows))]
    np.random.default_rng(seed).shuffle(ids)
    vectors = Vectors(tuple(ids), CORNERS[rows], "made")
    found, cosines = build(vectors, gpu=False).search(CORNERS, k)
    assert found == brute(vectors, CORNERS, k)
    lookup = dict(zip(ids, vectors.array, strict=True))
    for query, near, values in zip(CORNERS, found, cosines, strict=True):
        assert values == pytest.approx([float(query @ lookup[one]) for one in near], abs=1e-6)


@given(n=st.integers(1, 60), k=st.integers(1, 20), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_search_equals_brute_force(n: int, k: int, seed: int) -> None:
    """On vectors in general position the index is exact."""
    array = np.random.default_rng(seed).normal(size=(n, 6))
    array = (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)
    vectors = Vectors(tuple(f"t{i:02d}" for i in range(n)), array, "made")
    found, _ = build(vectors, gpu=False).search(array, k)
    best = -np.sort(-(array @ array.T), axis=1)[:, :k]
    for query, near, values in zip(array, found, best, strict=True):
        assert len(set(near)) == len(near) == min(k, n)
        assert vectors.rows(near) @ query == pytest.approx(values, abs=1e-5)


def test_three_items_and_k_500_c24(unit_vectors: Any) -> None:
    """A pool of 3 asked for 500 gives 3 different items and no phantom (C24)."""
    vectors = unit_vectors(3)
    ids, cosines = build(vectors).search(vectors.array, 500)
    assert [sorted(near) for near in ids] == [list(vectors.ids)] * 3
    assert [near[0] for near in ids] == list(vectors.ids)
    assert all(len(values) == 3 for values in cosines)


def test_phantom_rows_are_dropped_c24() -> None:
    """FAISS says -1 for "nothing": never the last item of the pool (C24)."""

    class Sparse:
        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            return np.asarray([[0.9, -3.4e38, -3.4e38]], np.float32)[:, :k], np.asarray([[1, -1, -1]])[:, :k]

    ids, cosines = Index(("a", "b", "c"), Sparse(), exact=False, on_gpu=False, width=2).search(
        np.ones((1, 2), np.float32), 2
    )
    assert ids == [("b",)]
    assert cosines[0] == pytest.approx([0.9])


def test_an_empty_index_finds_nothing_c24() -> None:
    """No vector, no neighbour; k = 0 likewise (C24)."""
    nothing = build(Vectors((), np.zeros((0, 3), np.float32), "made"))
    ids, cosines = nothing.search(np.ones((2, 3), np.float32), 5)
    assert ids == [(), ()]
    assert [len(values) for values in cosines] == [0, 0]


def test_a_gpu_is_never_asked_for_more_than_2048() -> None:
    """FAISS on a GPU refuses k above 2048: the extra neighbour that decides ties must fit in as well."""
    asked: list[int] = []

    class Card:
        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            asked.append(k)
            return np.ones((len(queries), k), np.float32), np.tile(np.arange(k), (len(queries), 1))

    card = Index(tuple(f"{i:05d}" for i in range(5000)), Card(), exact=True, on_gpu=True, width=2)
    ids, _ = card.search(np.ones((1, 2), np.float32), 9000)
    assert max(asked) <= 2048
    assert len(ids[0]) == 2048


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_a_bad_vector_is_set_aside_and_the_rest_searched_c25(unit_vectors: Any, bad: float) -> None:
    """A NaN, infinite or zero vector is set aside by name; the others are found as if it were not there (C25)."""
    vectors = unit_vectors(6)
    array = vectors.array.copy()
    array[2] = bad
    array[4, 1:] = bad
    if bad == 0:
        array[4] = 0
    kept, aside = clean(Vectors(vectors.ids, array, "made"))
    assert [one.where for one in aside] == ["v0002", "v0004"]
    assert all("its vector has length" in one.reason for one in aside)
    assert kept.ids == ("v0000", "v0001", "v0003", "v0005")
    assert np.array_equal(kept.array, vectors.array[[0, 1, 3, 5]])
    assert build(kept).search(kept.array, 9)[0] == brute(kept, kept.array, 9)


def test_good_vectors_stay_as_they_are_c25(unit_vectors: Any) -> None:
    """Nothing bad: nothing set aside, nothing copied (C25)."""
    vectors = unit_vectors(5)
    assert clean(vectors) == (vectors, [])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_query_that_is_no_number_is_refused_c25(unit_vectors: Any, bad: float) -> None:
    """A NaN query would return an arbitrary item: refused (C25)."""
    with pytest.raises(ValueError, match="not finite"):
        build(unit_vectors(3)).search(np.full((1, 5), bad, np.float32), 1)


@pytest.mark.parametrize("width", [4, 6])
def test_a_query_of_another_width_is_refused_c25(unit_vectors: Any, width: int) -> None:
    """A query of another model's width is refused with both widths in the message (C25)."""
    with pytest.raises(ValueError, match=rf"width {width}, the index has 5"):
        build(unit_vectors(3)).search(np.ones((1, width), np.float32), 1)


def test_two_vectors_with_one_id_are_refused() -> None:
    """FAISS accepts a duplicate id and then counts it twice; we refuse."""
    with pytest.raises(ValueError, match="one id"):
        build(Vectors(("a", "a"), np.eye(2, dtype=np.float32), "made"))


def test_above_a_size_the_index_approximates(unit_vectors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above EXACT vectors HNSW answers: same calls, nearly the same neighbours."""
    monkeypatch.setattr(indexing, "EXACT", 50)
    vectors = unit_vectors(400, 8)
    index = build(vectors, gpu=False)
    assert not index.exact
    near, truth = index.search(vectors.array, 10)[0], brute(vectors, vectors.array, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, truth, strict=True)]) > 0.95


@pytest.mark.parametrize("exact", [True, False])
def test_near_duplicates_are_found_once_each(unit_vectors: Any, monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    """Pairs at or above the threshold, each once, smaller id first, also across blocks and with HNSW."""
    monkeypatch.setattr(indexing, "CELLS", 7)
    monkeypatch.setattr(indexing, "EXACT", 10_000 if exact else 5)
    base = unit_vectors(40, 32)
    array = base.array.copy()
    for copy, of in ((33, 2), (6, 5), (20, 2)):
        array[copy] = array[of] + 0.01 * array[copy]
        array[copy] /= np.linalg.norm(array[copy])
    found = near_duplicates(Vectors(base.ids[::-1], array, "made"), 0.97)
    expected = {(33, 2), (6, 5), (20, 2), (33, 20)}
    assert found == sorted(tuple(sorted((base.ids[39 - a], base.ids[39 - b]))) for a, b in expected)


def test_the_threshold_of_near_duplicates_is_inclusive() -> None:
    """A cosine equal to the threshold counts, one below does not."""
    array = np.asarray([[1, 0], [0.5, np.sqrt(0.75)]], np.float32)
    vectors = Vectors(("b", "a"), array, "made")
    assert near_duplicates(vectors, 0.5) == [("a", "b")]
    assert near_duplicates(vectors, 0.51) == []


@pytest.mark.skipif(not has_gpu(), reason="FAISS sees no GPU")
def test_gpu_and_cpu_agree(unit_vectors: Any) -> None:
    """On a GPU the neighbours are those of the CPU."""
    vectors = unit_vectors(3000, 32)
    gpu, cpu = build(vectors, gpu=True), build(vectors, gpu=False)
    assert gpu.on_gpu
    assert gpu.search(vectors.array[:50], 10)[0] == cpu.search(vectors.array[:50], 10)[0]


def test_without_a_gpu_the_cpu_answers(unit_vectors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for a GPU that is not there is no error."""
    monkeypatch.setattr(indexing, "has_gpu", lambda: False)
    assert not build(unit_vectors(3), gpu=True).on_gpu
