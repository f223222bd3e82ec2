"""An opened project: what one command leaves for the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall.mining import embed
from toughcall.workspace import opened


class Counting:
    """An encoder that counts what it is asked for."""

    name, sha, dimension = "counting", "0" * 64, 3

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str], progress: Any = None) -> np.ndarray:
        """Return vectors by length."""
        self.asked += texts
        return np.asarray([[len(text), 1.0, 0.0] for text in texts], np.float32)

    def truncated(self, texts: list[str]) -> int:
        """Return 0."""
        return 0


def test_descriptions_are_embedded_once(make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """P13: the next command has the same vectors of the descriptions without the encoder; a changed one is asked."""
    encoder = Counting()
    monkeypatch.setattr(embed, "load_encoder", lambda *args, **more: encoder)
    root = make_project(labels={"animal": "an animal", "machine": "a machine", "food": "an animal"})
    with opened(root, "test") as ws:
        first = ws.hint_vectors
    assert first.tolist() == [[9, 1, 0], [9, 1, 0], [9, 1, 0]]
    assert sorted(encoder.asked) == ["a machine", "an animal"]
    with opened(root, "test") as ws:
        assert np.array_equal(ws.hint_vectors, first)
        assert not ws.pool.texts()
    assert len(encoder.asked) == 2
    toml = root / "project.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace("a machine", "an engine or machine"), encoding="utf-8")
    with opened(root, "test") as ws:
        assert ws.hint_vectors[1].tolist() == [20, 1, 0]
    assert encoder.asked[2:] == ["an engine or machine"]
