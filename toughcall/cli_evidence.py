"""The commands that say what the answers so far are worth, and what more of them would be."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from toughcall.cli_working import json_option, project_folder, working
from toughcall.telling import rows_out


@click.command()
@click.option("--positives", default=20, show_default=True, type=click.IntRange(1), help="Examples wanted of a class.")
@click.option(
    "--gain", type=click.FloatRange(0, min_open=True), help="How much better the figure should get (default: 0.005)."
)
@click.option(
    "--batches", type=click.IntRange(1), help="Stop or spend on so many (default: 1; with --gain twice the labels)."
)
@click.option("--price-per-hour", "price", type=click.FloatRange(0), help="An expert's hour, in any currency.")
@click.option("--measure", is_flag=True, help="Train on 1/8 to all of the labels now, instead of reading retrains.")
@json_option
@working(writing=False)
def plan(
    ws: Any,
    positives: int,
    gain: float | None,
    batches: int | None,
    price: float | None,
    measure: bool,
    as_json: bool,
) -> None:
    """Say for each class whether it can be learnt and measured and what that takes; whether more labels pay at all.

    The advice is stop, spend, or that it cannot be told yet, by the learning curve of the retrains so far. With
    --measure the curve is measured now on parts of the training labels, which takes minutes.

    \b
    toughcall plan
    toughcall plan --positives 500 --json
    toughcall plan --gain 0.05 --price-per-hour 40 --measure
    """
    from toughcall import planning
    from toughcall.evidence import pattern_figures
    from toughcall.files import lock
    from toughcall.spending import shown, spending

    found = planning.plan(ws, positives)
    if not ws.kind.labelled:
        ws.telling.say(f"kind {ws.project.kind} asks for numbers, none of which is rare: toughcall status counts them")
    rows_out([planning.as_json(one) if as_json else planning.as_row(one, positives) for one in found], as_json=as_json)
    with lock(ws.project.root, "plan --measure") if measure else nullcontext():
        spent = spending(ws, gain=gain, batches=batches, price=price, measure=measure)
    patterns = [planning.pattern_row(one) for one in pattern_figures(ws)]
    if as_json:
        rows_out(patterns, as_json=True)
        asked = gain is not None or batches is not None or price is not None or measure
        rows_out([spent.as_json(), *spent.rows] if asked else [], as_json=True)
        return
    tables = {"Next": planning.next_rows(found), "Patterns": patterns}
    if price is not None:
        tables["What it takes"] = planning.price_rows(found, positives, spent.pace, price)
    tables[f"Learning curve, from {spent.source}"] = [shown(row) for row in spent.rows]
    for title, rows in tables.items():
        if rows:
            click.echo(f"\n{title}")
        rows_out(rows, as_json=False)
    click.echo(f"\n{spent.sentence}")
    if price is not None or gain is not None:
        ws.telling.say(f"hours are of {spent.pace}")


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
