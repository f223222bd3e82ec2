"""Items → features: what a linear head on a frozen encoder reads, and the parts of it that a person can read."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from toughcall.model.linear import Rows
from toughcall.model.words import Words
from toughcall.records import Floats, IntegrityError, Item, Reals, Relation, Vectors

NEAREST = 10
SAME = 0.9999


def rows_of(items: Sequence[Item], vectors: Vectors) -> list[Floats]:
    """Return the vectors of the items' views: one array of shape (n, d) per view of an item.

    IntegrityError names a record whose vector is not finite: cut to [-1, 1] its cosine would look like any other.
    """
    if not items:
        return [vectors.array[:0]]
    views = [item.views for item in items]
    where = vectors.where
    out = []
    for side in range(len(views[0])):
        rows = [where[view[side].id] for view in views]
        found = vectors.array[rows]
        if not np.isfinite(found).all():
            bad = vectors.ids[rows[int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])]]
            raise IntegrityError(f"the vector of record {bad} is not finite: toughcall doctor checks the data")
        out.append(found)
    return out


def beside(dense: Reals, texts: Sequence[str], words: Words | None) -> Rows:
    """Return dense features with the texts' TF-IDF rows beside them, shape (n, d + 65,536), or the dense alone."""
    return Rows(np.asarray(dense, dtype=np.float64), None if words is None else words.rows(texts).astype(np.float64))


def cosine(items: Sequence[Item], vectors: Vectors) -> Floats:
    """Return the cosine of both records of each pair, shape (n,), in [-1, 1]."""
    a, b = rows_of(items, vectors)
    return np.asarray(np.clip(np.einsum("nd,nd->n", a, b), -1.0, 1.0), dtype=np.float32)


def pair_parts(items: Sequence[Item], vectors: Vectors, words: Words, reference: Floats) -> dict[str, Floats]:
    """Return what a head over pairs reads: the encoder's cosine, the words' cosine, and how crowded it is."""
    return {
        "cosine": cosine(items, vectors),
        "tfidf": words.cosines([item.texts[0].text for item in items], [item.texts[1].text for item in items]),
        "density": density(items, vectors, reference),
    }


def density(items: Sequence[Item], vectors: Vectors, reference: Floats) -> Floats:
    """Return how crowded it is around the two records of each pair, shape (n,): their mean cosine to neighbours.

    The mean over a record's 10 nearest reference records, itself left out. A cosine of 0.5 says much
    between two lonely records and little in a crowd (CSLS: Conneau et al., ICLR 2018, §2.3).
    """
    known: dict[str, float] = {}
    ids = list(dict.fromkeys(text.id for item in items for text in item.texts))
    for start in range(0, len(ids), 2000):
        block = ids[start : start + 2000]
        near = vectors.rows(block) @ reference.T
        near = np.sort(np.where(near > SAME, -1.0, near), axis=1)[:, -NEAREST:]
        there = near > -1.0
        mean = np.where(there, near, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        known.update(zip(block, mean.tolist(), strict=True))
    return np.array([sum(known[text.id] for text in item.texts) / 2 for item in items], dtype=np.float32)


def spans_of(items: Sequence[Item]) -> list[Relation]:
    """Return the items as relations; TypeError for one that is none."""
    found = [item for item in items if isinstance(item, Relation)]
    if len(found) != len(items):
        raise TypeError("features of relations are asked for items that have no spans")
    return found


def span_words(items: Sequence[Item]) -> list[str]:
    """Return the words around each relation, each with its place: left of both spans, between them, right of both.

    "born" between a person and a place is another word than "born" before them, and another again than
    between two places: words between come once alone and once with both types.
    """
    out = []
    for item in spans_of(items):
        (left, right), text, between = item.sides, item.record.text, _WORD.findall(item.between)
        typed = f"{left.type}x{right.type}x{_order(item)}"
        words = [f"l_{w}" for w in _WORD.findall(text[: left.start])[-3:]]
        words += [f"m_{w}" for w in between] + [f"{typed}m_{w}" for w in between]
        out.append(" ".join([*words, *(f"r_{w}" for w in _WORD.findall(text[right.end :])[:3])]))
    return out


def span_types(items: Sequence[Item]) -> list[str]:
    """Return both types of each relation, their pair, their order in the text, and how far apart they stand."""
    out = []
    for item in spans_of(items):
        (left, right), order = item.sides, _order(item)
        bin_ = sum(len(_WORD.findall(item.between)) >= edge for edge in (1, 2, 3, 5, 8, 12, 20))
        out.append(f"a_{left.type} b_{right.type} ab_{left.type}_{right.type}_{order} {order} apart{bin_}")
    return out


_WORD = re.compile(r"\w+")


def _order(item: Relation) -> str:
    return "so" if item.sides[0] is item.subject else "os"


SURFACE = 16


def surface(texts: Sequence[str], words: Words | None) -> Reals:
    """Return plain figures of how each text is written, shape (n, 16): lengths, variety, marks, rare words."""
    rare = np.zeros(len(texts)) if words is None else words.rarity(texts)
    return np.array([[*_written(text), value] for text, value in zip(texts, rare, strict=True)]).reshape(-1, SURFACE)


def _written(text: str) -> list[float]:
    words = _WORD.findall(text)
    count, long = max(1, len(words)), max(1, len(text))
    sentences = [len(part.split()) for part in re.split(r"[.!?]+", text) if part.strip()] or [count]
    small = [word.lower() for word in words]

    def rate(pattern: str) -> float:
        return len(re.findall(pattern, text)) / count

    return [
        np.log(count),
        sum(map(len, words)) / count,
        np.log(float(np.mean(sentences)) + 1.0),
        float(np.std(sentences) / max(1.0, float(np.mean(sentences)))),
        len(set(small)) / count,
        len(set(small[:150])) / max(1, min(count, 150)),
        sum(len(word) >= 8 for word in words) / count,
        rate(","),
        rate("[.!?]"),
        rate("'"),
        rate('[;:"()-]'),
        rate(r"\bi\b"),
        rate(r"[,.][A-Za-z]"),
        float(np.log1p(text.count("\n\n"))),
        sum(c.isupper() for c in text) / long,
    ]
