"""Making a project, and the settings that a command line overrides."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toughcall import project as projects
from toughcall.loop import import_file
from toughcall.model import kinds
from toughcall.project import Columns
from toughcall.reading import raw_rows
from toughcall.records import SetAside, UsageError
from toughcall.store import Store
from toughcall.workspace import Telling, Workspace


def columns_of(settled: Columns, options: Mapping[str, str | None]) -> Columns:
    """Return the project's columns with the command line's in their place; labels only when asked for."""
    names = {"text": "text", "text_b": "text_b", "key": "id", "key_b": "id_b", "label": "label", "encoding": "encoding"}
    given: dict[str, Any] = {names[key]: value for key, value in options.items() if key in names and value is not None}
    return dataclasses.replace(settled, **given)


def parse_labels(text: str) -> dict[str, str]:
    """Return {label: description} of 'a,b' or 'a=what a means,b=what b means'."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, hint = part.partition("=")
        if name.strip():
            found[name.strip()] = hint.strip()
    return found


def make_project(
    root: Path,
    telling: Telling,
    *,
    labels: str | Mapping[str, str] = "",
    settings: Mapping[str, Any] | None = None,
    **options: str,
) -> dict[str, Any]:
    """Make a project folder and import its file; nothing is left behind when that fails (C01, C02).

    `labels`: {label: description}, or what `parse_labels` reads. `settings` overrides defaults by dotted
    name ("mine.batch").
    """
    projects.check_name(root.name, "project name")
    kind = kinds.get(options["kind"])
    if root.exists():
        raise UsageError(f"{root} exists already: choose another name, or go into it and run toughcall status")
    columns = Columns(
        text=options["text"],
        text_b=options["text_b"],
        id=options["key"],
        label=options["label"],
        group=options["group"],
        encoding=options["encoding"],
    )
    data = Path(options["data"]) if options["data"] else None
    labels = parse_labels(labels) if isinstance(labels, str) else dict(labels)
    labels = labels or dict.fromkeys(kind.default_labels, "")
    if not labels and data and columns.label:
        labels = dict.fromkeys(found_labels(data, columns, single=kind.single), "")
    if not labels:
        raise UsageError(f'{kind.name} needs labels: add --labels "name=what it means,other=…", or --label COLUMN')
    text = projects.render(
        root.name,
        kind.name,
        labels,
        {k: v for k, v in dataclasses.asdict(columns).items() if isinstance(v, str)},
        guideline=options["guideline"],
        encoder=options["encoder"],
        settings=settings or {},
    )
    aside = root.with_name(f".{root.name}.making")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        made = projects.parse(text, aside, kinds.KINDS)
        (aside / projects.FILE).write_text(text, encoding="utf-8")
        row: dict[str, Any] = {"project": str(root), "kind": kind.name, "labels": len(labels)}
        with Store(made.ledger, create=True) as store:
            ws = Workspace(made, store, telling)
            if data:
                added = import_file(ws, data, columns)
                row |= {"read": added.read, "new": added.new, "known": added.known, "set aside": len(added.set_aside)}
        aside.rename(root)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return row


def found_labels(path: Path, columns: Columns, *, single: bool) -> list[str]:
    """Return the distinct labels of a file's label column, sorted."""
    found: set[str] = set()
    for _, row in raw_rows(path, columns):
        if isinstance(row, SetAside) or row.get(columns.label) is None:
            continue
        value = row[columns.label]
        names = value if isinstance(value, list) else [value] if single else str(value).split(columns.separator)
        found.update(str(name).strip() for name in names if str(name).strip())
    if len(found) > 200:
        raise UsageError(
            f"column {columns.label!r} of {path} holds {len(found)} different labels: is it the right column?"
        )
    return sorted(found)


def review_command(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment that serve the review page: loopback, no usage statistics (C82)."""
    projects.load(folder, kinds.KINDS)
    page = Path(__file__).with_name("review") / "page.py"
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(page),
        "--server.address",
        "127.0.0.1",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
        "--browser.gatherUsageStats",
        "false",
        "--client.showErrorDetails",
        "none",
        "--server.fileWatcherType",
        "none",
        "--client.toolbarMode",
        "minimal",
    ]
    return command, {**os.environ, "TOUGHCALL_PROJECT": str(folder.resolve())}
