"""Every command: parse, call the loop, print. No decisions are made here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from toughcall.cli_evidence import estimates, plan, simulate
from toughcall.cli_experts import adjudicate, agree, map_, pull, push
from toughcall.cli_files import answers, export
from toughcall.cli_models import difficulty, fixes, policy, promote, report, retrain, rollback, verify
from toughcall.cli_serve import serve
from toughcall.cli_studio import studio
from toughcall.cli_working import CONTEXT, json_option, project_folder, strict_option, working
from toughcall.records import ToughcallError
from toughcall.telling import Console, rows_out


class Group(click.Group):
    """Turns our errors into one sentence and an exit code, and Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the README lists the exit codes."""
        try:
            return super().invoke(ctx)
        except ToughcallError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"toughcall: {error}", err=True)
            ctx.exit(error.code)
        except KeyboardInterrupt:
            click.echo("toughcall: interrupted; run the same command again to go on", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            where = f" {error.filename}" if error.filename else ""
            click.echo(
                f"toughcall: {error.strerror}:{where}; check the disk and permissions, then run it again", err=True
            )
            ctx.exit(9)


@click.group(cls=Group, context_settings=CONTEXT)
@click.option("--project", "folder", type=click.Path(path_type=Path), help="The project folder (default: here).")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.version_option(package_name="toughcall")
@click.pass_context
def main(ctx: click.Context, folder: Path | None, debug: bool, quiet: bool) -> None:
    """Find the tough calls, ask experts in Label Studio, retrain, ship only what is proven better.

    \b
    toughcall init my-project --kind pair --data incidents.csv --text description
    toughcall studio up
    toughcall round
    """
    ctx.obj = {"folder": folder, "console": Console(quiet=quiet)}


@main.command()
@click.argument("name")
@click.option("--kind", default="", help="multilabel, multiclass, relation, pair or scores (default: that of --like).")
@click.option("--data", type=click.Path(path_type=Path), help="A .csv, .tsv, .jsonl or .parquet file to import.")
@click.option("--text", default="", help="The column that holds the text (default: text).")
@click.option("--text-b", default="", help="The second text of ready-made pairs.")
@click.option("--id", "key", default="", help="The column that holds your own id.")
@click.option("--label", default="", help="The column that holds known labels.")
@click.option("--group", default="", help="A column whose equal values stay in one split.")
@click.option("--labels", default="", help="The labels, comma-separated; 'name=what it means' adds a description.")
@click.option("--types", default="", help="relation: which types a label is legal for, 'occurs_in=TAXON>STRAT,…'.")
@click.option("--subject", default="", help="relation: the column or column prefix of the first span (default: marks).")
@click.option("--object", default="", help="relation: the column or column prefix of the second span.")
@click.option("--dimensions", default="", help="scores: the dimensions, comma-separated, 'progress=what moves on,…'.")
@click.option("--low", default=0.0, show_default=True, help="scores: the least number of each dimension.")
@click.option("--high", default=10.0, show_default=True, help="scores: the greatest number of each dimension.")
@click.option("--block", multiple=True, help="pair: a column whose values both records must share (repeatable).")
@click.option("--time", default="", help="pair: the column that says when; mine.window holds the days.")
@click.option("--like", type=click.Path(path_type=Path), help="A ready project.toml: its questions and columns.")
@click.option("--guideline", default="", help="A sentence shown to the experts.")
@click.option("--encoder", default="", help="minilm (the default), a local folder, or a hub name.")
@click.option("--encoding", default="utf-8", show_default=True, help="The file's encoding.")
@json_option
@click.pass_context
def init(ctx: click.Context, /, name: str, as_json: bool, **options: Any) -> None:
    """Make a project folder and import its data.

    \b
    toughcall init tickets --kind pair --data incidents.csv --text description --id ticket
    toughcall init questions --kind multiclass --data q.csv --labels "person=about a person,place=about a place"
    toughcall init fossils --kind relation --data f.jsonl --labels "occurs_in,NO_RELATION" --types occurs_in=TAXON>STRAT
    toughcall init news --kind scores --data n.csv --dimensions "progress=what moves on,justice=who is treated fairly"
    """
    from toughcall.project import check_name
    from toughcall.starting import make_project

    check_name(name, "project name")
    rows_out([make_project(Path(name), ctx.obj["console"], **options)], as_json=as_json)


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--text", help="The column that holds the text (default: as in project.toml).")
@click.option("--text-b", help="The second text: the file holds ready-made pairs.")
@click.option("--id", "key", help="The column that holds your own id.")
@click.option("--id-b", "key_b", help="The id of the second text.")
@click.option("--label", help="The column that holds known labels.")
@click.option("--encoding", help="The file's encoding.")
@click.option("--held-out", is_flag=True, help="These labelled rows form the test part: they never train.")
@strict_option
@json_option
@working()
def import_(ws: Any, file: Path, held_out: bool, strict: bool, as_json: bool, **options: str | None) -> None:
    """Add a file's rows to the pool: read = new + known + set aside.

    \b
    toughcall import more.csv
    toughcall import gold.csv --label answer --held-out
    toughcall import pairs.csv --text a --text-b b
    """
    from toughcall.loop import import_file
    from toughcall.starting import columns_of

    added = import_file(ws, file, columns_of(ws.project.data, options), held_out=held_out)
    row = {
        "read": added.read,
        "new": added.new,
        "known": added.known,
        "set aside": len(added.set_aside),
        "labels": len(added.labels),
        "near-duplicates": added.twins,
        "long": added.long,
    }
    rows_out([row], as_json=as_json)
    if strict and added.set_aside:
        sys.exit(3)


@main.command()
@click.option("--model", default="", help="A model version, or 'untouched' (default: the one that mines).")
@click.option("--top", default=10, show_default=True, help="How many of the most uncertain to print.")
@json_option
@working()
def score(ws: Any, model: str, top: int, as_json: bool) -> None:
    """Score the pool and print the most uncertain items.

    \b
    toughcall score --top 20 --json
    """
    from toughcall.loop import score as score_pool
    from toughcall.status import most_uncertain

    scores = score_pool(ws, model)
    rows_out(most_uncertain(ws, scores, top), as_json=as_json)


@main.command()
@click.option("--size", type=click.IntRange(1), help="Items in the batch (default: mine.batch).")
@json_option
@working()
def mine(ws: Any, size: int | None, as_json: bool) -> None:
    """Choose the next batch and say why each item is in it.

    \b
    toughcall mine --size 20
    """
    from toughcall.loop import mine as mine_batch

    batch = mine_batch(ws, size)
    if not batch.picks:
        ws.telling.say("nothing left to ask: toughcall import FILE adds records")
    for reason, missing in batch.shortfall.items():
        ws.telling.say(f"{reason}: {missing} fewer than its quota")
    rows_out(
        [
            {"batch": batch.name, "item": p.item, "reason": p.reason, "score": p.score, "note": p.note}
            for p in batch.picks
        ],
        as_json=as_json,
    )


@main.command()
@click.option("--anyway", is_flag=True, help="Make a new batch although items are still waiting for an answer.")
@json_option
@working()
def round(ws: Any, anyway: bool, as_json: bool) -> None:
    """One turn of the loop: pull, retrain, judge, promote, mine, push.

    \b
    toughcall round
    """
    from toughcall.retraining import one_round

    one_round(ws, anyway=anyway, as_json=as_json)


@main.command()
@json_option
@working(writing=False)
def status(ws: Any, as_json: bool) -> None:
    """Show batches, labels per class, models and what to do next.

    \b
    toughcall status --json
    """
    from toughcall.status import status_rows

    for title, rows in status_rows(ws):
        if not as_json:
            click.echo(f"\n{title}")
        rows_out(rows, as_json=as_json)


@main.command()
@click.option("--port", default=8501, show_default=True, help="Port on this machine only.")
@click.pass_context
def review(ctx: click.Context, port: int) -> None:
    """Open the review page on loopback.

    \b
    toughcall review --port 8600
    """
    from toughcall.starting import review_command

    folder = ctx.obj["folder"] or project_folder()
    command, environment = review_command(folder, port)
    os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter


@main.command()
@json_option
@working(writing=False)
def doctor(ws: Any, as_json: bool) -> None:
    """Check the project, its files, the encoder, FAISS and the server; name every damage (exit 6).

    \b
    toughcall doctor
    """
    from toughcall.doctor import checks

    found = list(checks(ws))
    rows_out(
        [
            {"check": name, "ok": "ok" if good else "FAULT" if good is False else "note", "says": text}
            for name, good, text in found
        ],
        as_json=as_json,
    )
    if any(good is False for _, good, _ in found):
        sys.exit(6)


@main.command()
@click.option("--kind", multiple=True, help="One of the five kinds (default: multiclass and pair).")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option("--folder", default="demo", show_default=True, type=click.Path(path_type=Path))
@click.option("--fresh/--resume", default=None, help="Start over, or go on (default: go on when unfinished).")
@click.option("--small", is_flag=True, help="A sixth of the data, batches of 20: to see it work, not to measure.")
@click.option("--data-only", is_flag=True, help="Only write the kinds' data files into the folder.")
@click.option("--down", is_flag=True, help="Stop the demo's Label Studio and review page.")
@click.pass_context
def demo(ctx: click.Context, /, kind: tuple[str, ...], folder: Path, **options: Any) -> None:
    """Run the whole loop on real data with a real Label Studio and simulated experts.

    \b
    toughcall demo --kind pair --rounds 2
    """
    from toughcall import demo as whole

    names = kind or ("multiclass", "pair")
    if options["down"]:
        whole.down(folder)
    elif options["data_only"]:
        rows_out(whole.write_data(folder, names, ctx.obj["console"]), as_json=False)
    else:
        more = {name: options[name] for name in ("fresh", "small")}
        whole.run(folder, names, options["rounds"], ctx.obj["console"], **more)


for command in (push, pull, adjudicate, agree, map_, serve, export, answers):
    main.add_command(command)
for command in (studio, plan, estimates, simulate):
    main.add_command(command)
for command in (retrain, difficulty, fixes, report, policy, verify, promote, rollback):
    main.add_command(command)


if __name__ == "__main__":
    main()
