"""What looking at every pair costs: the scan against its own matrix product and against paraphrase mining.

    python benchmarks/pairs.py [ratio] [million] [interval] --folder vectors

Figures on real vectors (goemotions and opp115, MiniLM), no texts. The sets lie beside the project in
../shared/datasets; without them nothing is measured. `--folder` keeps embeddings from one run to the next.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from research import rows_of, there

from toughcall.mining import scan as scanning
from toughcall.mining.embed import embed, load_encoder
from toughcall.mining.pairs import EDGES, candidate_pairs
from toughcall.mining.strata import draw
from toughcall.records import Floats, Text, Vectors

BAND = (0.4, 0.6)
TIMES = 3


def real(n: int, cache: Path) -> Floats:
    """Return the vectors of n texts of the research sets, shape (n, 384)."""
    texts = dict.fromkeys(row["text"] for part in ("train", "test", "dev") for row in rows_of("goemotions", part))
    texts |= dict.fromkeys(row["text"] for row in rows_of("opp115", "train"))
    return embed([Text(text) for text in list(texts)[:n]], load_encoder("minilm", "cpu"), cache).array


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds, result)."""
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def bare(array: Floats) -> None:
    """Multiply the tiles of the scan, on the same threads, and throw the results away."""
    rows, columns = scanning.TILE

    def block(start: int) -> None:
        out = np.empty(rows * columns, np.float32)
        for left in range(start, len(array), columns):
            one, other = array[start : start + rows], array[left : left + columns]
            np.dot(one, other.T, out=out[: len(one) * len(other)].reshape(len(one), len(other)))

    with scanning.single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        list(pool.map(block, range(0, len(array), rows)))


def plain(array: Floats) -> None:
    """Multiply the upper triangle in blocks of 2048 whole rows, as one would write it."""
    for start in range(0, len(array), 2048):
        _ = array[start : start + 2048] @ array[start:].T


def ratio(cache: Path) -> None:
    """Print how fast the scan is against the bare product and against paraphrase mining, and what that one finds."""
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings

    array = real(20_000, cache)
    seconds: dict[str, list[float]] = {}
    every = len(array) * (len(array) - 1) // 2

    def look(edges: tuple[float, ...], keep: int) -> Any:
        return scanning.scan(array, edges, keep, np.random.default_rng(0), most=every)

    works: dict[str, Callable[[], Any]] = {
        "bare product, same tiles": lambda: bare(array),
        "plain numpy product": lambda: plain(array),
        "plain torch product": lambda: plain(torch.from_numpy(array)),  # type: ignore[arg-type]
        "scan of the band, all pairs": lambda: look(BAND, every),
        "scan of the band, 100,000 kept": lambda: look(BAND, 100_000),
        "scan of five strata, counted": lambda: look(EDGES, 0),
        "scan of five strata, 20,000 of each": lambda: look(EDGES, 20_000),
    }
    for _ in range(TIMES):
        for name, work in works.items():
            seconds.setdefault(name, []).append(timed(work)[0])
    least = {name: min(some) for name, some in seconds.items()}
    for name, some in least.items():
        ratios = [a / b for a, b in zip(seconds["bare product, same tiles"], seconds[name], strict=True)]
        share = least["bare product, same tiles"] / some
        print(f"{name:38s} {some:6.2f} s  speed of the bare product: {share:.2f} (best of a turn {max(ratios):.2f})")
    found = look(BAND, every)
    took, mined = timed(lambda: paraphrase_mining_embeddings(torch.from_numpy(array), top_k=100, max_pairs=10**8))
    ours = set((found.a * len(array) + found.b).tolist())
    theirs = {min(i, j) * len(array) + max(i, j) for _, i, j in mined}
    print(
        f"paraphrase_mining_embeddings, top_k=100: {took:.1f} s, {took / least['scan of the band, all pairs']:.1f} "
        f"times the scan; it returns {len(ours & theirs) / len(ours):.1%} of the band's {len(ours):,} pairs, "
        f"the scan {len(ours) / found.populations[0].count:.0%}"
    )


def million(cache: Path) -> None:
    """Print what a band queue of 500 pairs costs over a million perturbed vectors."""
    rng = np.random.default_rng(1)
    base = real(20_000, cache)
    array = np.empty((1_000_000, base.shape[1]), np.float32)
    for start in range(0, len(array), 50_000):
        part = base[rng.integers(0, len(base), size=50_000)]
        part = part + 0.3 / np.sqrt(base.shape[1]) * rng.standard_normal(part.shape, np.float32)
        array[start : start + 50_000] = part / np.linalg.norm(part, axis=1, keepdims=True)
    vectors = Vectors(tuple(f"r{row:07d}" for row in range(len(array))), array, "perturbed")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    def queue() -> Any:
        found = candidate_pairs(vectors, rng=np.random.default_rng(0))
        band = np.flatnonzero((found.cosine >= BAND[0]) & (found.cosine < BAND[1]))
        chosen = np.random.default_rng(0).choice(band, size=500, replace=False)
        return found, chosen, found.probability[chosen] * 500 / len(band)

    cpu = time.process_time()
    took, (found, chosen, odds) = timed(queue)
    cpu = time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"1 M vectors: {len(chosen)} pairs of the band in {took:.0f} s ({cpu:.0f} s of CPU)")
    print(f"  {most:.2f} GB at most, {before:.2f} before")
    print(f"  probabilities {odds.min():.3g} to {odds.max():.3g}; neighbours found {found.recall}")
    for one in found.strata:
        print(f"  {one.low:5.1f} to {one.high:.1f}: {one.count:.4g} pairs ({one.least:.4g} to {one.most:.4g})")
    for origin in sorted(set(found.origin)):
        print(f"  {origin}: {found.origin.count(origin):,} candidates")
    inside = found.cosine[chosen]
    print(f"  the queue's cosines {inside.min():.3f} to {inside.max():.3f}")


def interval(cache: Path) -> None:
    """Print how often the estimated population of each stratum has the exact count in its interval, N = 50,000."""
    array = real(50_000, cache)
    took, exact = timed(lambda: scanning.scan(array, EDGES, 1000, np.random.default_rng(0)))
    print(f"exact scan of {len(array):,} vectors: {took:.1f} s, {exact.total:,} pairs")
    runs = [draw(array, EDGES, 0, np.random.default_rng(seed), draws=200_000) for seed in range(40)]
    for s, one in enumerate(exact.populations):
        held = [run.populations[s].least <= one.count <= run.populations[s].most for run in runs]
        first = runs[0].populations[s]
        print(
            f"  {one.low:5.1f} to {one.high:.1f}: exact {one.count:,}, estimated {first.count:,.0f} "
            f"({first.least:,.0f} to {first.most:,.0f}): held {held[0]}, in {sum(held)} of {len(held)} draws"
        )


def main() -> None:
    """Run the parts named on the command line."""
    parts = {"ratio": ratio, "million": million, "interval": interval}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), metavar="PART")
    parser.add_argument("--folder", type=Path, help="where embeddings are kept (default: temporary)")
    given = parser.parse_args()
    if not there("goemotions"):
        sys.stdout.write("skipped: the research sets are not here\n")
        return
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.parts:
            parts[name](given.folder or Path(temporary))


if __name__ == "__main__":
    main()
