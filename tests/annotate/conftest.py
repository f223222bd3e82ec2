"""A real Label Studio for the tests that talk to one; it is never installed from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from toughcall.annotate import server


@pytest.fixture(scope="session")
def studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Local]:
    """Yield a Label Studio that runs in `<base temp>/studio` until the session ends; its first start takes a minute."""
    home = Path(os.environ.get(server.VARIABLE) or Path(__file__).parents[2] / ".venv-studio")
    if not (home / "bin" / server.NAME).is_file():
        pytest.skip(f"no label-studio program in {home}: set {server.VARIABLE} to an environment that has it")
    folder = tmp_path_factory.getbasetemp() / "studio"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(server.VARIABLE, str(home))
        try:
            yield server.up(folder)
        finally:
            server.down(folder)
