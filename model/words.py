"""Words as numbers: hashed TF-IDF, whose weights travel with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from toughcall.records import Floats

SIZE = 1 << 16


@dataclass(frozen=True)
class Words:
    """TF-IDF over words and word pairs, hashed into 65,536 columns; idf of the pool it was made on."""

    idf: Floats

    @classmethod
    def fit(cls, corpus: Sequence[str]) -> Words:
        """Count in how many of the texts each column occurs: idf = ln((1 + n) / (1 + df)) + 1."""
        return cls(_idf(tuple(corpus)).copy())

    def rows(self, texts: Sequence[str]) -> Any:
        """Return a sparse matrix of unit rows, shape (n, 65,536); a text without a word is a zero row."""
        from sklearn.preprocessing import normalize

        made = _counts(texts)
        made.data = (1.0 + np.log(made.data)) * self.idf[made.indices]
        return normalize(made, copy=False)

    def rarity(self, texts: Sequence[str]) -> Any:
        """Return the mean idf of each text's words and word pairs, shape (n,); 0 for a text without a word.

        A word the corpus never had counts as one it had once: else new texts would look rarer than all known ones.
        """
        made = _counts(texts)
        total = made @ np.minimum(self.idf, self.idf.max() - np.log(2.0)).astype(np.float64)
        return total / np.maximum(np.asarray(made.sum(axis=1)).ravel(), 1.0)

    def cosines(self, a: Sequence[str], b: Sequence[str]) -> Floats:
        """Return the cosine of each a with its b, shape (n,); every distinct text is counted once."""
        place: dict[str, int] = {}
        for text in (*a, *b):
            place.setdefault(text, len(place))
        made = self.rows(list(place))
        out = np.zeros(len(a), dtype=np.float32)
        step = 20_000
        for start in range(0, len(a), step):
            left = made[[place[text] for text in a[start : start + step]]]
            right = made[[place[text] for text in b[start : start + step]]]
            out[start : start + step] = np.asarray(left.multiply(right).sum(axis=1)).ravel()
        return out


@lru_cache(maxsize=1)  # a retrain counts one pool twice: for the model and for the words alone
def _idf(corpus: tuple[str, ...]) -> Floats:
    counts = _counts(corpus) if corpus else None
    df = np.zeros(SIZE) if counts is None else np.bincount(counts.indices, minlength=SIZE)
    return np.asarray(np.log((1.0 + len(corpus)) / (1.0 + df)) + 1.0, dtype=np.float32)


def _counts(texts: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    counter = HashingVectorizer(
        n_features=SIZE,
        alternate_sign=False,
        norm=None,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",  # noqa: S106
    )
    return counter.transform(texts)
