"""What experts said of items like the one shown: its nearest labelled neighbours, from vectors that are there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from toughcall import neighbours
from toughcall.pool import Pool
from toughcall.records import Item
from toughcall.review.asked_views import spoken
from toughcall.review.live import Live
from toughcall.review.plain import short
from toughcall.review.score_views import Stamp, pool_stamp

MOST = 20_000
"""So many labels, the newest, are looked at: their vectors fit into memory."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest labelled items, nearest first: (text, answer, cosine); or in words why there are none."""

    rows: tuple[tuple[str, str, float], ...] = ()
    why: str = ""


def near(live: Live, item: Item) -> Near:
    """Return what is near an item; without a cache, or with another encoder's alone, only why not."""
    given = {label.item: label.value for label in live.labels[0][-MOST:]}
    cache = live.project.vectors
    if not given:
        return Near(why="Nothing is labelled yet: no neighbours to show.")
    if not any(cache.glob("*/*.safetensors")):
        return Near(why="No vectors are kept for this project, so no labelled neighbours are shown: toughcall score")
    sha = neighbours.encoder_sha(live.project.encoder.name)
    files = neighbours.shards(cache, sha)
    if not files:
        return Near(
            why="The vectors that are kept are another encoder's, so no labelled neighbours are shown: toughcall score"
        )
    there = tuple(path.name for path in files)
    items, known = _labelled(pool_stamp(live), live.project.pool, live.kind.items, tuple(given), cache, sha, there)
    found = neighbours.nearest(item, known, cache, sha, SHOWN)
    if found is None:
        return Near(why="This item has no vector yet, so no labelled neighbours are shown: toughcall score")
    return Near(
        tuple(
            (
                " | ".join(short(text, 160) for text in items[one.item].fields().values()),
                ", ".join(spoken(given[one.item])) or "none of them",
                one.cosine,
            )
            for one in found
        ),
        "" if found else "No other labelled item has a vector.",
    )


@lru_cache(maxsize=2)
def _labelled(
    _: Stamp, folder: Path, what: str, ids: tuple[str, ...], cache: Path, sha: str, files: tuple[str, ...]
) -> tuple[dict[str, Item], neighbours.Known]:
    """Return the labelled items and their vectors: read again only when labels, pool or vectors have changed."""
    items = Pool(folder).items(ids, what)
    return items, neighbours.known(cache, sha, list(items.values()))
