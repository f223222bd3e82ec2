"""FAISS behind a few calls: exact inner product on GPU or CPU, HNSW above a size, k-means; no phantom neighbours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.scan import scan, single_threaded
from toughcall.records import Floats, SetAside, Vectors

EXACT = 200_000
"""Up to this many vectors the search is exact."""
GPU_K = 2048
STEP = 512
"""Records put into cells at once."""
CELLS = 40_000_000
"""How many neighbours come back from one call of FAISS: 160 MB of cosines."""


def clean(vectors: Vectors) -> tuple[Vectors, list[SetAside]]:
    """Return the vectors that can be searched, and one SetAside per NaN, infinite or zero row (C25)."""
    norms = np.linalg.norm(vectors.array, axis=1)
    good = np.isfinite(norms) & (norms > 1e-6)
    if good.all():
        return vectors, []
    bad = [SetAside(vectors.ids[row], f"its vector has length {norms[row]}") for row in np.flatnonzero(~good)]
    keep = np.flatnonzero(good)
    return Vectors(tuple(vectors.ids[row] for row in keep), vectors.array[keep], vectors.encoder), bad


def has_gpu() -> bool:
    """Return whether FAISS can use a GPU: the wheel alone is not enough."""
    import faiss

    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


@dataclass(frozen=True)
class Index:
    """Built once from unit vectors; searched by cosine."""

    ids: tuple[str, ...]
    backend: Any
    exact: bool
    on_gpu: bool
    width: int

    def search(self, queries: Floats, k: int) -> tuple[list[tuple[str, ...]], list[Floats]]:
        """Return for each query the ids of at most k nearest vectors and their cosines, ties by id.

        k is capped at the number of vectors (C24) and on a GPU at 2048; FAISS's -1 rows are dropped.
        ValueError for queries that are not finite or of another width (C25).
        """
        if queries.shape[1] != self.width:
            raise ValueError(f"the query vectors have width {queries.shape[1]}, the index has {self.width}")
        if not np.isfinite(queries).all():
            raise ValueError("a query vector is not finite: clean() first")
        most = min(len(self.ids), GPU_K) if self.on_gpu else len(self.ids)
        k = min(k, most)
        ids: list[tuple[str, ...]] = [() for _ in queries]
        cosines: list[Floats] = [np.zeros(0, np.float32) for _ in queries]
        left = list(range(len(queries))) if k > 0 else []
        ask = min(k + 1, most)
        while left:
            tied = []
            step = max(1, CELLS // ask)
            for start in range(0, len(left), step):
                block = left[start : start + step]
                found, rows = self.backend.search(np.ascontiguousarray(queries[block], np.float32), ask)
                for query, near, where in zip(block, found, rows, strict=True):
                    real = [
                        (-round(float(c), 6), self.ids[r], float(c)) for c, r in zip(near, where, strict=True) if r >= 0
                    ]
                    # a tie at the edge may go on behind the last row: look further, so that ids decide, not FAISS
                    if ask < most and ask < max(k + 1, GPU_K) and len(real) == ask and real[k - 1][0] == real[-1][0]:
                        tied.append(query)
                        continue
                    real = sorted(real)[:k]
                    ids[query] = tuple(one for _, one, _ in real)
                    cosines[query] = np.asarray([c for _, _, c in real], np.float32)
            left, ask = tied, min(8 * ask, most, max(k + 1, GPU_K))
        return ids, cosines


def build(vectors: Vectors, *, gpu: bool | None = None) -> Index:
    """Return an index over unit vectors; on a GPU when there is one (or `gpu` says so)."""
    import faiss

    if len(set(vectors.ids)) != len(vectors.ids):
        raise ValueError("two vectors have one id")
    on_gpu = has_gpu() if gpu is None else gpu and has_gpu()
    dimension = vectors.array.shape[1]
    exact = on_gpu or len(vectors.ids) <= EXACT
    backend: Any = (
        faiss.IndexFlatIP(dimension) if exact else faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
    )
    if on_gpu:
        backend = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, backend)
    elif not exact:
        backend.hnsw.efSearch = 128
    # in the order of the ids, so that the order of the pool never matters
    order = sorted(range(len(vectors.ids)), key=vectors.ids.__getitem__)
    backend.add(np.ascontiguousarray(vectors.array[order], np.float32))
    return Index(tuple(vectors.ids[row] for row in order), backend, exact, on_gpu, dimension)


def near_duplicates(vectors: Vectors, threshold: float = 0.97) -> list[tuple[str, str]]:
    """Return pairs of ids with cosine ≥ threshold, each pair once, sorted: what must not straddle a split.

    Exact (a scan of all pairs) up to 200,000 vectors; above that each vector's 20 nearest neighbours are looked at.
    """
    n = len(vectors.ids)
    found: list[tuple[str, str]] = []
    if n <= EXACT:
        every = n * (n - 1) // 2
        alike = scan(vectors.array, (threshold, 2.0), every, np.random.default_rng(0), most=max(1, every))
        return sorted(_sorted(vectors.ids[a], vectors.ids[b]) for a, b in zip(alike.a, alike.b, strict=True))
    ids, cosines = build(vectors).search(vectors.array, 21)
    for one, near, values in zip(vectors.ids, ids, cosines, strict=True):
        found.extend(
            _sorted(one, other) for other, c in zip(near, values, strict=True) if other != one and c >= threshold
        )
    return sorted(set(found))


def _sorted(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)


def centres(
    array: Floats, rows: NDArray[np.int64] | None, count: int, homes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the cells of each record, shape (n, homes): those whose centres are nearest, the nearest first.

    `count` centres by spherical k-means (FAISS) on at most 40 records each; `rows` gives each record's row.
    """
    import faiss

    places = np.arange(len(array)) if rows is None else rows
    some = np.sort(rng.choice(len(places), size=min(len(places), 40 * count), replace=False))
    means = faiss.Kmeans(
        array.shape[1], count, niter=6, spherical=True, seed=int(rng.integers(1 << 30)), min_points_per_centroid=1
    )
    means.train(np.ascontiguousarray(array[places[some]], np.float32))
    there = np.asarray(means.centroids, np.float32)
    found = np.empty((len(places), homes), np.int64)

    def block(start: int) -> None:
        part = slice(start, min(start + STEP, len(places)))
        cells = array[part if rows is None else rows[part]] @ there.T
        for home in range(homes):
            found[part, home] = cells.argmax(axis=1)
            cells[np.arange(len(cells)), found[part, home]] = -9.0

    with single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        list(pool.map(block, range(0, len(places), STEP)))
    return found
