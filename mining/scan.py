"""Every pair of a pool counted by its cosine, and a uniform sample of each stratum, in bounded memory.

Tiles of cosines are multiplied in single precision and filtered while they are in the cache; what comes near an
edge is taken again pair by pair, so that neither tiles nor threads decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.strata import (
    NOTHING,
    Keep,
    Places,
    Population,
    Reals64,
    Strata,
    cosines,
    count_of,
    drawn_of,
    ends_of,
    large_of,
    stratum_of,
    wanted_of,
)
from toughcall.records import Floats

Progress: TypeAlias = Callable[[int, int], None]

PAIRS = 1_300_000_000
"""Up to this many pairs a CPU looks at every one."""
CARD_PAIRS = 1_000_000_000_000
"""The same on a GPU."""
TILE = (256, 2048)
"""Rows and columns multiplied at once: 2 MB of cosines, which the filter then reads from the cache."""
CARD_TILE = (8192, 16384)
"""The same on a GPU."""
SLACK = 8192
"""Pairs that may wait before the smallest are sorted out."""
MARGIN = 5e-6
"""Single precision is never further off: what lies nearer to an edge is computed again."""


def in_reach(total: int) -> bool:
    """Return whether so many pairs can be looked at one by one within a minute: 51,000 records, 1.4 M on a GPU."""
    return total <= PAIRS or (total <= CARD_PAIRS and _on_card())


def _on_card() -> bool:
    import torch

    return torch.cuda.is_available()


def scan(
    array: Floats,
    edges: Sequence[float],
    keep: Keep,
    rng: np.random.Generator,
    *,
    ends: Places | None = None,
    most: int = 1 << 20,
    progress: Progress | None = None,
) -> Strata:
    """Count every allowed pair in its stratum [edges[s], edges[s + 1]) and return a uniform sample of each stratum.

    `array`, shape (n, d), float32, unit rows by place. `keep`: pairs kept of each stratum, or what says so given
    the populations; never more than `most`, which bounds the memory. A kept pair's probability is kept /
    population. Small strata are sampled on the way: of hashed pair numbers the smallest stay (bottom-k sampling,
    Cohen and Kaplan, PODC 2007), whatever the order of the tiles. Large strata are counted and drawn afterwards.
    """
    ends = ends_of(array, ends)
    total = count_of(ends)
    edges = [float(edge) for edge in np.round(edges, 6)]
    ceiling = min(keep, most) if isinstance(keep, int) else most
    large = large_of(array, edges, ceiling, ends, total, rng)
    sample = _Smallest(len(array), int(rng.integers(1 << 63)), ceiling, large)
    counts = np.zeros(len(edges) + 1, np.int64)
    done = 0

    def sift(a: Places, b: Places, value: Reals64) -> tuple[NDArray[np.int64], Any]:
        """Return how many lie in each slot, and of each stratum what may be among the smallest."""
        near = np.flatnonzero(np.any([np.abs(value - edge) <= 2 * MARGIN for edge in edges], axis=0))
        value[near] = cosines(array, a[near], b[near])
        stratum = stratum_of(value, edges)
        return np.bincount(stratum + 1, minlength=len(counts)), sample.sift(a, b, value, stratum)

    for seen, kept in _blocks(array, ends, _windows(edges, large), sift):
        counts += seen
        sample.add(kept)
        done += int(seen.sum())
        if progress:
            progress(done, total)
    populations = counts[1:-1].tolist()
    wanted = [min(n, ceiling, found) for n, found in zip(wanted_of(keep, populations), populations, strict=True)]
    parts = [
        drawn_of(array, edges, s, n, populations[s], ends, total, rng) if large[s] else sample.first(s, n)
        for s, n in enumerate(wanted)
    ]
    a, b, value = (np.concatenate([part[side] for part in parts]) for side in range(3))
    stratum = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    odds = np.asarray([n / max(1, found) for n, found in zip(wanted, populations, strict=True)])
    exact = [Population(low, high, n, n, n, True) for low, high, n in zip(edges, edges[1:], populations, strict=False)]
    return Strata(tuple(exact), total, a, b, np.clip(np.round(value, 6), -1.0, 1.0), stratum, odds[stratum])


def _mixed(numbers: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Return a random-looking priority for each number, none twice: SplitMix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


Sifted: TypeAlias = tuple[NDArray[np.uint64], Places, Places, Reals64]
"""Priorities, a, b, cosines."""


class _Smallest:
    """The pairs of smallest priority of each stratum, in bounded memory."""

    def __init__(self, n: int, key: int, ceiling: int, large: Sequence[bool]) -> None:
        self.n, self.key, self.ceiling, self.large = n, key, ceiling, large
        self.limits = [np.uint64((1 << 64) - 1) for _ in large]
        self.found: list[list[Sifted]] = [[] for _ in large]
        self.waiting = [0] * len(large)

    def sift(self, a: Places, b: Places, value: Reals64, stratum: Places) -> list[tuple[int, Sifted]]:
        """Return for each small stratum what may be among the smallest; changes nothing."""
        if not self.ceiling:
            return []
        priority = _mixed(a.astype(np.uint64) * np.uint64(self.n) + b.astype(np.uint64), self.key)
        found = []
        for s, limit in enumerate(self.limits):
            if not self.large[s]:
                good = np.flatnonzero((stratum == s) & (priority <= limit))
                found.append((s, (priority[good], a[good], b[good], value[good])))
        return found

    def add(self, found: Sequence[tuple[int, Sifted]]) -> None:
        """Take what was sifted."""
        for s, some in found:
            self.found[s].append(some)
            self.waiting[s] += len(some[0])
            if self.waiting[s] > 2 * self.ceiling + SLACK:
                self._squeeze(s, self.ceiling)

    def _squeeze(self, s: int, n: int) -> Sifted:
        priority, a, b, value = (np.concatenate(some) for some in zip(*self.found[s], strict=True))
        if n < len(priority):
            small = np.argpartition(priority, n - 1)[:n]
            priority, a, b, value = priority[small], a[small], b[small], value[small]
            self.limits[s] = priority.max()
        self.found[s], self.waiting[s] = [(priority, a, b, value)], len(priority)
        return priority, a, b, value

    def first(self, s: int, n: int) -> tuple[Places, Places, Reals64]:
        """Return the n pairs of smallest priority, in its order."""
        if not n:
            return NOTHING
        priority, a, b, value = self._squeeze(s, n)
        order = np.argsort(priority)
        return a[order], b[order], value[order]


@dataclass(frozen=True)
class _Filter:
    """Which cosines of a tile are looked at one by one (windows), and where those between the windows count."""

    windows: tuple[tuple[float, float], ...]
    slots: tuple[int, ...]
    """The stratum + 1 of what lies below each window, and of what lies above the last."""
    size: int


def _windows(edges: Sequence[float], large: Sequence[bool]) -> _Filter:
    """Return windows around every edge and over every small stratum, joined where they touch."""
    wide = [(low, high) for low, high, big in zip(edges, edges[1:], large, strict=False) if not big]
    inner = [(edge, edge) for edge in edges if -1 < edge <= 1]
    windows: list[tuple[float, float]] = []
    for low, high in sorted(wide + inner):
        reach = (max(low - MARGIN, -2.0), min(high + MARGIN, 2.0))
        if windows and reach[0] <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(windows[-1][1], reach[1]))
        else:
            windows.append(reach)
    points = [low for low, _ in windows] + ([windows[-1][1]] if windows else [0.0])
    return _Filter(tuple(windows), tuple((stratum_of(np.asarray(points), edges) + 1).tolist()), len(edges) + 1)


Look: TypeAlias = Callable[[slice, slice, Places, Places, bool], list[tuple[int, Any, Any]]]
"""(rows, columns, each row's first and last allowed column, whether all are) → for each window (how many cosines
are not below it, where in the tile those inside it are, these cosines)."""


def _looker(array: Floats, windows: Sequence[tuple[float, float]]) -> Look:
    """Return what multiplies a tile and filters it while it is in the cache; for one thread."""
    cells = np.empty(TILE[0] * TILE[1], np.float32)
    flags = np.empty((2, TILE[0] * TILE[1]), np.bool_)

    def look(
        rows: slice, columns: slice, first: Places, last: Places, full: bool
    ) -> list[tuple[int, Any, NDArray[np.float32]]]:
        shape = (len(first), columns.stop - columns.start)
        tile = cells[: shape[0] * shape[1]].reshape(shape)
        inside, below = (some[: tile.size].reshape(shape) for some in flags)
        np.dot(array[rows], array[columns].T, out=tile)
        if not full:
            for row, low, high in zip(tile, first, last, strict=True):
                row[:low] = row[high:] = -9.0
        found = []
        for low, high in windows:
            np.greater_equal(tile, low, out=inside)
            above = int(np.count_nonzero(inside))
            if high < 2 and above:
                inside &= np.less_equal(tile, high, out=below)
            where = np.flatnonzero(inside) if above else np.zeros(0, np.int64)
            found.append((above, where, tile.ravel()[where]))
        return found

    return look


def _card_looker(array: Floats, windows: Sequence[tuple[float, float]]) -> Look:
    """Return the same on a GPU, where single precision is fast enough: no half precision, hence nothing to repeat."""
    import torch

    held = torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def look(rows: slice, columns: slice, first: Places, last: Places, full: bool) -> list[tuple[int, Any, Any]]:
        tile = held[rows] @ held[columns].T
        if not full:
            place = torch.arange(tile.shape[1], device="cuda")
            low, high = (torch.from_numpy(edge).cuda()[:, None] for edge in (first, last))
            tile[(place < low) | (place >= high)] = -9.0
        found = []
        for least, most in windows:
            inside = tile >= least
            above = int(inside.sum())
            where = (inside & (tile <= most)).ravel().nonzero()[:, 0]
            found.append((above, where.cpu().numpy(), tile.ravel()[where].cpu().numpy()))
        return found

    return look


def _block(
    looker: Callable[[], Look],
    ends: Places,
    chosen: _Filter,
    sift: Callable[..., Any],
    tile: tuple[int, int],
    start: int,
) -> tuple[NDArray[np.int64], Any]:
    """Return the counts by slot of one block of rows, and what is kept of it."""
    look = looker()
    rows = slice(start, min(start + tile[0], len(ends)))
    places, reach = np.arange(rows.start, rows.stop), ends[rows]
    least = int(reach.min())
    counts = np.zeros(chosen.size, np.int64)
    sides: list[tuple[Places, Places, Reals64]] = []
    for left in range(start, int(reach.max()), tile[1]):
        columns = slice(left, min(left + tile[1], int(reach.max())))
        width = columns.stop - left
        below = len(places) * width
        first: Places = places
        last: Places = places
        full = left >= rows.stop and columns.stop <= least
        if not full:
            first = np.clip(places + 1 - left, 0, width)
            last = np.clip(reach - left, first, width)
            below = int((last - first).sum())
        if not below:
            continue
        seen = look(rows, columns, first, last, full)
        for slot, (above, where, values) in zip(chosen.slots, seen, strict=False):
            counts[slot] += below - above
            below = above - len(where)
            if len(where):
                row, column = np.divmod(where, width)
                sides.append((row + start, column + left, values.astype(np.float64)))
        counts[chosen.slots[-1]] += below
    a, b, value = (np.concatenate(side) for side in zip(*sides, strict=True)) if sides else NOTHING
    found, kept = sift(a, b, value)
    return counts + found, kept


def _blocks(array: Floats, ends: Places, chosen: _Filter, sift: Callable[..., Any]) -> Iterator[Any]:
    """Yield what `_block` makes of each block of rows: on a GPU where there is one, else on every core."""
    # a small pool is not worth the loading of torch
    if len(array) > CARD_TILE[0] and _on_card():
        look = _card_looker(array, chosen.windows)
        yield from (
            _block(lambda: look, ends, chosen, sift, CARD_TILE, start) for start in range(0, len(array), CARD_TILE[0])
        )
        return
    looker = partial(_looker, array, chosen.windows)
    with single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        yield from pool.map(partial(_block, looker, ends, chosen, sift, TILE), range(0, len(array), TILE[0]))


@contextmanager
def single_threaded() -> Iterator[int]:
    """Let each of the given number of threads multiply on its own: no core waits while another one filters."""
    from threadpoolctl import threadpool_info, threadpool_limits

    threads = max([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"], default=1)
    with threadpool_limits(1, "blas"):
        yield threads
