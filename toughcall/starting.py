"""Making a project, and the settings that a command line overrides."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toughcall import project as projects
from toughcall.loop import import_file
from toughcall.model import kinds
from toughcall.questions import TABLES, Asks, near
from toughcall.reading import raw_rows
from toughcall.records import SetAside, UsageError
from toughcall.settings import Columns
from toughcall.store import Store
from toughcall.workspace import Telling, Workspace

SETTLED = ("encoder", "mine", "studio", "gate")
"""The tables of a ready project.toml that are taken over as they are."""


def columns_of(settled: Columns, options: Mapping[str, str | None]) -> Columns:
    """Return the project's columns with the command line's in their place; labels only when asked for."""
    names = {"text": "text", "text_b": "text_b", "key": "id", "key_b": "id_b", "label": "label", "encoding": "encoding"}
    given: dict[str, Any] = {names[key]: value for key, value in options.items() if key in names and value is not None}
    if given.get("text_b"):
        # ready-made pairs: what decides who is paired is not asked of them
        given = {"block": (), "time": "", **given}
    return dataclasses.replace(settled, **given)


def parse_labels(text: str) -> dict[str, str]:
    """Return {label: description} of 'a,b' or 'a=what a means,b=what b means'."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, hint = part.partition("=")
        if name.strip():
            found[name.strip()] = hint.strip()
    return found


def parse_types(text: str) -> dict[str, list[list[str]]]:
    """Return {label: [[subject type, object type], …]} of 'occurs_in=TAXON>STRAT,found_at=TAXON>LOC'."""
    found: dict[str, list[list[str]]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        label, equals, ends = part.partition("=")
        subject, arrow, object_ = ends.partition(">")
        if not (equals and arrow and label.strip() and subject.strip() and object_.strip()):
            raise UsageError(f"--types {part!r} is not LABEL=SUBJECT>OBJECT, for example occurs_in=TAXON>STRAT")
        found.setdefault(label.strip(), []).append([subject.strip(), object_.strip()])
    return found


def ready_made(path: str | Path | None) -> dict[str, Any]:
    """Return a ready project.toml as plain tables, {} without one."""
    if not path:
        return {}
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path} as a project.toml: {error}") from None
    for name in ("project", "data", *SETTLED, *TABLES):
        if not isinstance(found.get(name, {}), dict):
            raise UsageError(f"[{name}] of {path} must be a table: mend it and run the command again")
    columns = {field.name for field in dataclasses.fields(Columns)}
    if strange := sorted(set(found.get("data", {})) - columns):
        raise UsageError(f"unknown key data.{strange[0]} in {path}{near(strange[0], columns)}")
    return found


def settled_of(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a ready project.toml by dotted name ("mine.window", "mine.quotas.diverse")."""
    found: dict[str, Any] = {}
    for table in SETTLED:
        for key, value in ready.get(table, {}).items():
            inner = {f"{table}.{key}.{one}": each for one, each in value.items()} if isinstance(value, dict) else {}
            found |= inner or {f"{table}.{key}": value}
    return found


def asked_of(ready: Mapping[str, Any], options: Mapping[str, Any], kind: Asks) -> dict[str, dict[str, Any]]:
    """Return the tables of questions: of a ready project.toml, with the command line's in their place."""
    tables = {name: dict(ready.get(name, {})) for name in TABLES}
    given = options.get("labels") or ""
    if labels := parse_labels(given) if isinstance(given, str) else dict(given):
        tables["labels"] = labels
    if kind.labelled and not tables["labels"]:
        tables["labels"] = dict.fromkeys(kind.default_labels, "")
    if dimensions := parse_labels(options.get("dimensions") or ""):
        ends = {"low": float(options.get("low", 0.0)), "high": float(options.get("high", 10.0))}
        tables["dimensions"] = {name: {**ends, "hint": hint} for name, hint in dimensions.items()}
    if types := parse_types(options.get("types") or ""):
        tables["types"] = types
    return tables


def make_project(
    root: Path, telling: Telling, *, settings: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Make a project folder and import its file; nothing is left behind when that fails (C01, C02).

    `options` are those of `toughcall init`; `labels` may also be {label: description}, `like` is a ready
    project.toml whose questions and columns are taken over. `settings` overrides by dotted name ("mine.batch").
    """
    projects.check_name(root.name, "project name")
    if root.exists():
        raise UsageError(f"{root} exists already: choose another name, or go into it and run toughcall status")
    ready = ready_made(options.get("like"))
    head = ready.get("project", {})
    name = options.get("kind") or str(head.get("kind", ""))
    if not name:
        raise UsageError(
            f"say what kind of work it is: --kind {', '.join(kinds.KINDS)}, or --like a ready project.toml"
        )
    kind = kinds.get(name)
    asked = asked_of(ready, options, kind)
    given = {"id" if key == "key" else key: value for key, value in options.items() if value}
    columns = {
        **ready.get("data", {}),
        **{field.name: given[field.name] for field in dataclasses.fields(Columns) if field.name in given},
    }
    columns = {key: tuple(value) if isinstance(value, list) else value for key, value in columns.items()}
    data = Path(options["data"]) if options.get("data") else None
    if kind.labelled and not asked["labels"] and data and columns.get("label"):
        asked["labels"] = dict.fromkeys(found_labels(data, Columns(**columns), single=kind.single), "")
    if kind.labelled and not asked["labels"]:
        raise UsageError(f'{kind.name} needs labels: add --labels "name=what it means,other=…", or --label COLUMN')
    if not kind.labelled and not asked["dimensions"]:
        raise UsageError(f'{kind.name} needs dimensions: add --dimensions "progress=what moves on,justice=…"')
    encoder = {"encoder.name": options["encoder"]} if options.get("encoder") else {}
    text = projects.render(
        root.name,
        kind.name,
        asked,
        columns,
        guideline=options.get("guideline") or str(head.get("guideline", "")),
        null=str(head.get("null", "")),
        quotas=kind.quotas,
        settings={**settled_of(ready), **encoder, **(settings or {})},
    )
    aside = root.with_name(f".{root.name}.making")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        made = projects.parse(text, aside, kinds.KINDS)
        (aside / projects.FILE).write_text(text, encoding="utf-8")
        asks = len(made.labels) or len(made.dimensions)
        row: dict[str, Any] = {"project": str(root), "kind": kind.name, "labels": asks}
        with Store(made.ledger, create=True) as store:
            ws = Workspace(made, store, telling)
            if data:
                added = import_file(ws, data, made.data)
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
        found.update(str(name).strip() for name in names if str(name).strip() not in ("", columns.none))
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
        "toughcall.review.warm",
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
