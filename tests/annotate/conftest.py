"""A real Label Studio for the tests that talk to one, never installed from here, and the fake beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import postgres
from fakes.browser import account, logged_in
from fakes.expert import Place, made
from fakes.label_studio import FakeStudio

from toughcall.annotate import server

POSTGRES = "TOUGHCALL_TEST_POSTGRES"
"""Set to anything: the same tests on a Label Studio whose database is a throw-away PostgreSQL."""


@pytest.fixture(scope="session")
def studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Local]:
    """Yield a Label Studio that runs in `<base temp>/studio` until the session ends; its first start takes a minute."""
    named = os.environ.get(server.VARIABLE)
    home = Path(named or Path(__file__).parents[2] / ".venv-studio")
    if not (home / "bin" / server.NAME).is_file():
        # where the environment was named, as `make test` does, tests that cannot run must not look green
        (pytest.fail if named else pytest.skip)(
            f"no label-studio program in {home}: set {server.VARIABLE} to an environment that has it"
        )
    folder = tmp_path_factory.getbasetemp() / "studio"
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(server.VARIABLE, str(home))
        if os.environ.get(POSTGRES):
            if why := postgres.missing():
                pytest.skip(why)
            for name, value in stack.enter_context(postgres.cluster()).environment().items():
                patch.setenv(name, value)
        try:
            yield server.up(folder)
        finally:
            server.down(folder)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.studio)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The same contract on the fake and on the real server."""
    if request.param == "real":
        server = request.getfixturevalue("studio_server")
        yield made(server)
    else:
        with FakeStudio() as fake:
            yield made(fake)


@pytest.fixture(scope="session")
def expert(studio_server: server.Local) -> tuple[str, str]:
    """Return e-mail and password of an account made as `toughcall studio users add` makes it."""
    return account(studio_server, "clara")


@pytest.fixture
def page(studio_server: server.Local, expert: tuple[str, str]) -> Iterator[Any]:
    """Yield a page of a browser in which the expert has logged in; leaving it, nothing outside was asked."""
    with logged_in(studio_server.url, *expert) as made:
        yield made
