"""The commands that say what the answers so far are worth, and what more of them would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toughcall.cli_working import json_option, project_folder, working
from toughcall.telling import rows_out


@click.command()
@click.option("--positives", default=20, show_default=True, type=click.IntRange(1), help="Examples wanted of a class.")
@json_option
@working(writing=False)
def plan(ws: Any, positives: int, as_json: bool) -> None:
    """Say for each class whether it can be learnt and measured, and how many answers that takes.

    \b
    toughcall plan
    toughcall plan --positives 500 --json
    """
    from toughcall import planning
    from toughcall.evidence import pattern_figures

    found = planning.plan(ws, positives)
    if not ws.kind.labelled:
        ws.telling.say(f"kind {ws.project.kind} asks for numbers, none of which is rare: toughcall status counts them")
    rows_out([planning.as_json(one) if as_json else planning.as_row(one, positives) for one in found], as_json=as_json)
    tables = {} if as_json else {"Next": planning.next_rows(found)}
    tables["Patterns"] = [planning.pattern_row(one) for one in pattern_figures(ws)]
    for title, rows in tables.items():
        if rows and not as_json:
            click.echo(f"\n{title}")
        rows_out(rows, as_json=as_json)


@click.command()
@json_option
@working()
def estimates(ws: Any, as_json: bool) -> None:
    """Estimate from what was drawn at random how common each class is and how good the model that asked was.

    \b
    toughcall estimates
    """
    from toughcall.estimating import rows_of

    rows, told = rows_of(ws)
    rows_out(rows, as_json=as_json)
    for sentence in told:
        ws.telling.say(sentence)


@click.command()
@click.option("--demo", "kind", default="", help="Replay on a demo set of this kind; no project is needed.")
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(2, 100), help="Replays of each strategy.")
@click.option("--start", default=50, show_default=True, type=click.IntRange(0), help="Labels drawn at random first.")
@click.option("--batch", default=50, show_default=True, type=click.IntRange(1), help="Labels asked for at a time.")
@click.option("--budget", default=500, show_default=True, type=click.IntRange(10), help="Labels in the end.")
@click.option("--target", type=float, help="The figure to reach (default: what random order reaches in the end).")
@click.option("--strategy", multiple=True, help="queue, random, margin, …, or a mix 'mine=boundary:0.5,diverse:0.3'.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it is written (default: simulation).")
@json_option
@click.pass_context
def simulate(ctx: click.Context, /, kind: str, folder: Path | None, as_json: bool, **options: Any) -> None:
    """Replay the loop on labelled data, to see whether the queue beats random order on it.

    Every strategy starts from the same labels and is measured on the same held-out part with every seed. Writes
    simulation.json and simulation.svg; a killed run goes on where it stopped.

    \b
    toughcall simulate --seeds 10
    toughcall simulate --demo multiclass --strategy queue --strategy "mine=boundary:0.6,random_audit:0.4"
    """
    from toughcall import simulating
    from toughcall.workspace import opened

    console = ctx.obj["console"]
    try:
        if kind:
            with simulating.demo_project(folder or Path("simulation"), kind, console) as (ws, answer):
                rows, told = simulating.run(ws, folder or Path("simulation"), answer, **options)
        else:
            with opened(ctx.obj["folder"] or project_folder(), "simulate", console) as ws:
                rows, told = simulating.run(ws, folder or ws.project.root / "simulation", None, **options)
    finally:
        console.end()
    rows_out(rows, as_json=as_json)
    for sentence in told:
        console.say(sentence)
