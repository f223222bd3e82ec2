"""Nearest neighbours among allowed pairs: exact by rows, or within cells of like records where the pool is large."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from toughcall.mining.index import centres
from toughcall.mining.scan import Progress, single_threaded
from toughcall.mining.strata import NOTHING, Places, Reals64, ends_of
from toughcall.records import Floats

ROWS, PANEL = 256, 16_384
"""Queries and columns multiplied at once: 16 MB of cosines."""
EXACT = 60_000
"""Up to this many records every neighbour is found; above, those that share a cell."""
HOMES = 2
"""Each record lives in this many cells: a pair is seen when the two share one."""
SHARED = 1 << 13
"""At most this many records of one cell are compared with each other."""
QUERIES = 256
"""Records whose neighbours are looked for exactly, to say what the cells miss."""


@dataclass(frozen=True)
class Near:
    """Each pair of which one is among the other's nearest: places a < b, cosine, and the better of both ranks."""

    a: Places
    b: Places
    cosine: Reals64
    rank: Places
    recall: float
    """Share of the exact neighbours of a sample of records that were found; 1.0 where all are looked at."""


def nearest(
    array: Floats,
    k: int,
    *,
    ends: Places | None = None,
    queries: Places | None = None,
    rows: Places | None = None,
    least: float = -2.0,
    progress: Progress | None = None,
) -> tuple[Places, Places, Reals64, Places]:
    """Return (query, neighbour, cosine, rank from 0) of the k allowed partners of greatest cosine of each place.

    `array`, shape (n, d), float32, unit rows; `rows` and `ends` as in `strata.draw`; `queries`: only these places.
    Cosines are rounded to 6 digits, ties go to the lower place; nothing below `least`.
    """
    ends = ends_of(array if rows is None else rows, ends)
    wanted: Places = np.arange(len(ends)) if queries is None else queries
    block = partial(_block, array, k, ends, wanted, rows, least)
    parts = []
    with single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        for done, part in enumerate(pool.map(block, range(0, len(wanted), ROWS)), 1):
            parts.append(part)
            if progress:
                progress(min(done * ROWS, len(wanted)), len(wanted))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64), np.zeros(0, np.int64)
    query, other, value, rank = (np.concatenate(side) for side in zip(*parts, strict=True))
    return query, other, value, rank


def _block(
    array: Floats, k: int, ends: Places, wanted: Places, rows: Places | None, least: float, start: int
) -> tuple[Places, Places, Reals64, Places]:
    """Return what `nearest` does, for the queries from `start`."""
    free = bool((ends == len(ends)).all())
    places = wanted[start : start + ROWS]
    own = array[places if rows is None else rows[places]]
    floor: Reals64 = np.full(len(places), least - 1e-5)
    query: Places
    other: Places
    value: Reals64
    query, other, value = NOTHING
    for left in range(0, len(ends), PANEL):
        columns = np.arange(left, min(left + PANEL, len(ends)))
        cells = own @ (array[left : columns[-1] + 1] if rows is None else array[rows[columns]]).T
        if free:
            mine = (places >= left) & (places <= columns[-1])
            cells[mine, places[mine] - left] = -9.0
        else:
            low, high = np.minimum(places[:, None], columns), np.maximum(places[:, None], columns)
            cells[(low == high) | (high >= ends[low])] = -9.0
        sample = cells[:, :: max(1, min(8, cells.shape[1] // (4 * k)))]
        if sample.shape[1] > k:
            # what k of some columns reach, k of all reach too
            floor = np.maximum(floor, np.partition(sample, -k, axis=1)[:, -k] - 1e-5)
        where = np.flatnonzero(cells >= np.maximum(floor, -2.0).astype(np.float32)[:, None])
        row, column = np.divmod(where, len(columns))
        found = np.round(cells.ravel()[where].astype(np.float64), 6)
        query, other = np.concatenate([query, row]), np.concatenate([other, column + left])
        value = np.concatenate([value, found])
    query, other, value, rank = _ranked(query, other, value, k)
    good = value >= round(least, 6)
    return places[query[good]], other[good], np.clip(value[good], -1, 1), rank[good]


def _ranked(query: Places, other: Places, value: Reals64, k: int) -> tuple[Places, Places, Reals64, Places]:
    """Return the k best of each query, each neighbour once, with their ranks."""
    order = np.lexsort((other, -value, query))
    query, other, value = query[order], other[order], value[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    good = rank < k
    return query[good], other[good], value[good], rank[good]


def _pairs(n: int, query: Places, other: Places, value: Reals64, rank: Places, recall: float) -> Near:
    """Return directed neighbours as pairs, each once."""
    low, high = np.minimum(query, other), np.maximum(query, other)
    order = np.lexsort((rank, low * n + high))
    number = (low * n + high)[order]
    once = order[np.flatnonzero(np.diff(number, prepend=-1))]
    return Near(low[once], high[once], value[once], rank[once], recall)


def near_pairs(
    array: Floats,
    k: int,
    rng: np.random.Generator,
    *,
    ends: Places | None = None,
    rows: Places | None = None,
    least: float = -2.0,
    progress: Progress | None = None,
) -> Near:
    """Return the pairs of which one is among the k nearest of the other, as far as they reach `least`.

    Exact up to `EXACT` records. Above, each record is put into the cells of its `HOMES` nearest centres (k-means;
    an inverted file as in Jégou, Douze and Schmid, TPAMI 2011, with soft assignment), and neighbours are exact
    among the records of a cell; `recall` is measured on `QUERIES` records.
    """
    ends = ends_of(array if rows is None else rows, ends)
    n = len(ends)
    if n <= EXACT:
        found = nearest(array, k, ends=ends, rows=rows, least=least, progress=progress)
        return _pairs(n, *found, 1.0)
    homes = centres(array, rows, int(np.sqrt(HOMES * n)), HOMES, rng)
    cell = homes.ravel()
    order = np.argsort(cell, kind="stable")
    members = np.repeat(np.arange(n), HOMES)[order]
    bounds = np.searchsorted(cell[order], np.arange(cell.max() + 2)).tolist()

    def search(number: int) -> list[Any]:
        """Return the neighbours within one cell."""
        sides: list[Any] = []
        for first in range(bounds[number], bounds[number + 1], SHARED):
            places = members[first : min(first + SHARED, bounds[number + 1])]
            inner = np.searchsorted(places, ends[places])
            own = array[places if rows is None else rows[places]]
            for start in range(0, len(places), ROWS):
                query, other, value, _ = _block(own, k, inner, np.arange(len(places)), None, least, start)
                sides.append((places[query].astype(np.int32), places[other].astype(np.int32), value.astype(np.float32)))
        return sides

    sides: list[Any] = []
    with single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        for number, some in enumerate(pool.map(search, range(len(bounds) - 1)), 1):
            sides += some
            if progress:
                progress(bounds[number], len(members))
    query, other, value = (np.concatenate(side) for side in zip(*sides, strict=True))
    # two cells may have found the same
    _, once = np.unique(query.astype(np.int64) * n + other, return_index=True)
    ranked = _ranked(
        query[once].astype(np.int64), other[once].astype(np.int64), np.round(value[once].astype(float), 6), k
    )
    asked = np.sort(rng.choice(n, size=min(n, QUERIES), replace=False))
    truth = nearest(array, k, ends=ends, queries=asked, rows=rows, least=least)
    known = np.isin(truth[0] * n + truth[1], ranked[0] * n + ranked[1])
    return _pairs(n, *ranked, float(known.mean()) if len(known) else 1.0)
