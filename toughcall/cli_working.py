"""What every command shares: which project is meant, opening it, and the common options."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from toughcall.records import UsageError
from toughcall.telling import Console

F = TypeVar("F", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def project_folder() -> Path:
    """Return the project meant: this folder, one above it, $TOUGHCALL_PROJECT, or the only one below it."""
    given = os.environ.get("TOUGHCALL_PROJECT")
    if given:
        return Path(given)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "project.toml").is_file():
            return folder
    below = sorted(path.parent for path in here.glob("*/project.toml"))
    if len(below) > 1:
        names = ", ".join(path.name for path in below)
        raise UsageError(f"{len(below)} projects here ({names}): go into one, or name it with --project FOLDER")
    return below[0] if below else here


def working(writing: bool = True) -> Callable[[F], F]:
    """Open the project around a command, holding its lock when it writes; the command gets (ws, …)."""

    def wrap(function: F) -> F:
        @click.pass_context
        @functools.wraps(function)
        def run(ctx: click.Context, *args: Any, **kwargs: Any) -> Any:
            from toughcall.workspace import opened

            console: Console = ctx.obj["console"]
            folder = ctx.obj["folder"] or project_folder()
            try:
                with opened(folder, ctx.info_name or "", console, writing=writing) as ws:
                    return function(ws, *args, **kwargs)
            finally:
                console.end()

        return run  # type: ignore[return-value]

    return wrap


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
strict_option = click.option("--strict", is_flag=True, help="Exit 3 when rows were set aside.")
