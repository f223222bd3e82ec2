"""The commands that work without any server: tasks and labels out as files, answers home from files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from toughcall.cli_working import CONTEXT, json_option, strict_option, working
from toughcall.records import UsageError
from toughcall.telling import rows_out


@click.group(context_settings=CONTEXT)
def export() -> None:
    """Write tasks or labels to files; no server is asked."""


@export.command("tasks")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--batch", default="", help="Only this one, also when it is in Label Studio already.")
@json_option
@working()
def export_tasks(ws: Any, folder: Path, batch: str, as_json: bool) -> None:
    """Write open batches for Label Studio's own import, with the labelling interface and a note for who imports them.

    What is written counts as sent: toughcall push does not send it again. The answers come home with
    toughcall answers FILE. Run twice it writes the same bytes.

    \b
    toughcall export tasks handed-out
    toughcall export tasks handed-out --batch b002
    """
    from toughcall.handing import hand_out

    done = hand_out(ws, folder, batch)
    if not done:
        ws.telling.say("nothing to hand out: toughcall mine chooses a batch")
    elif any(one.file for one in done):
        ws.telling.say(f"{folder / 'README.txt'} says how to import them")
    rows_out(
        [
            {
                "batch": one.batch,
                "for": one.expert,
                "file": str(folder / one.file) if one.file else "",
                "items": one.items,
                "set aside": one.set_aside,
            }
            for one in done
        ],
        as_json=as_json,
    )


@export.command("labels")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--answers", is_flag=True, help="Every answer with its annotator, outcome and time, not the labels.")
@click.option("--raw", is_flag=True, help="CSV: leave cells alone that programs for tables would run as a formula.")
@json_option
@working(writing=False)
def export_labels(ws: Any, file: Path, answers: bool, raw: bool, as_json: bool) -> None:
    """Write the agreed labels to a .csv, .jsonl or .parquet file that toughcall import --label reads back.

    In CSV a cell that begins with = + - @ or a tab gets a leading ', because programs for tables would run it as a
    formula; --raw leaves it as it is, and .jsonl and .parquet always do. A file of that name is replaced.

    \b
    toughcall export labels labels.csv
    toughcall export labels labels.parquet
    toughcall export labels answers.jsonl --answers
    """
    from toughcall import tables

    table = tables.answers(ws) if answers else tables.labels(ws)
    changed = tables.write(file, table, raw=raw)
    if changed:
        ws.telling.say(
            f"{changed} cells of {file} begin like a formula and got a leading ': --raw leaves them as they are"
        )
    torn = [] if answers else ws.store.labels(ws.schema.version)[1]
    if torn:
        ws.telling.say(f"{len(torn)} items are left out, on which people disagree: toughcall adjudicate")
    rows_out([{"file": str(file), "rows": len(table.rows), "cells changed": changed}], as_json=as_json)


def people_of(given: tuple[str, ...]) -> dict[int, str]:
    """Return NUMBER=E-MAIL arguments as a table; UsageError for another form or a number given twice."""
    found: dict[int, str] = {}
    for one in given:
        number, _, email = one.partition("=")
        if not (number.strip().isdecimal() and email.strip()) or int(number) in found:
            raise UsageError(f"--who {one!r} is not NUMBER=E-MAIL, once for each number: --who 2=anna@example.com")
        found[int(number)] = email.strip()
    return found


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--who", multiple=True, metavar="NUMBER=E-MAIL", help="Who has this number in that Label Studio.")
@strict_option
@json_option
@working()
def answers(ws: Any, files: tuple[Path, ...], who: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Read JSON exports of Label Studio (Export > JSON): read = new + known + set aside.

    An answer is stored once, however often it comes, by file or by toughcall pull. An export names people by numbers:
    who was pulled before is known, for others say --who. Nothing is stored of a file that breaks off.

    \b
    toughcall answers project-3-at-2026-11-21.json
    toughcall answers anna.json ben.json --who 2=anna@example.com --who 3=ben@example.com
    """
    from toughcall.handing import take_home

    found = take_home(ws, files, people_of(who))
    if not found.read:
        ws.telling.say(f"no answer in {', '.join(map(str, files))}")
    row = {
        "read": found.read,
        "new": found.new,
        "known": found.known,
        "set aside": found.set_aside,
        "waiting": sum(found.waiting.values()),
    }
    rows_out([row], as_json=as_json)
    if strict and found.set_aside:
        sys.exit(3)
