"""The commands about models: train and judge, ask what can be had for free, report, prove, ship, go back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from toughcall.cli_working import json_option, working
from toughcall.telling import rows_out


@click.command()
@click.option("--recipe", default="", help="head, stages, blend, lora, full, cross or auto (default: train.recipe).")
@click.option("--reseal", is_flag=True, help="Let the sealed test set grow to all held-out labels; recorded.")
@click.option("--force", is_flag=True, help="Train even when nothing has changed, and against the difficulty's veto.")
@json_option
@working()
def retrain(ws: Any, recipe: str, reseal: bool, force: bool, as_json: bool) -> None:
    """Train on the labels, prove the saved model, and judge it against champion and untouched baseline.

    `auto` trains every recipe that fits the budget (train.budget, minutes) and lets the gate judge the best of
    them. Writes reports/VERSION/report.html and six JSON files.

    \b
    toughcall retrain
    toughcall retrain --recipe auto
    """
    from toughcall.retraining import retrain as train_and_judge
    from toughcall.status import told

    told(ws, train_and_judge(ws, reseal=reseal, force=force, recipe=recipe), as_json)


@click.command()
@json_option
@working()
def difficulty(ws: Any, as_json: bool) -> None:
    """Say whether the labels so far can teach the untouched encoder anything, before an epoch is paid for.

    Exits 5 when they cannot: too easy, too hard, or one-sided.

    \b
    toughcall difficulty
    """
    from toughcall.judging import difficulty_rows

    rows, sentence, veto = difficulty_rows(ws)
    rows_out(rows, as_json=as_json)
    ws.telling.say(sentence)
    if veto:
        sys.exit(5)


@click.command()
@click.argument("version", default="")
@json_option
@working()
def fixes(ws: Any, version: str, as_json: bool) -> None:
    """Search what needs no label and no training: thresholds, type rules, blending, calibration, a stored model.

    Each gain is measured on training rows that the model did not see, never on the sealed test set, and is
    refused where its interval reaches 0.

    \b
    toughcall fixes
    toughcall fixes my-project-v002
    """
    from toughcall import fixing

    rows_out(fixing.rows_of(fixing.fixes(ws, version)), as_json=as_json)


@click.command()
@click.argument("version", default="")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it is written (default: reports/VERSION).")
@json_option
@working()
def report(ws: Any, version: str, folder: Path | None, as_json: bool) -> None:
    """Write a model's report from its own files and the ledger: HTML, Markdown and six JSON files.

    \b
    toughcall report
    toughcall report my-project-v002 --folder out
    """
    from toughcall import reporting

    written = reporting.write(ws, version, folder)
    rows_out(reporting.report_rows(ws, version), as_json=as_json)
    page = next(path for path in written if path.suffix == ".html")
    ws.telling.say(f"{len(written)} files in {page.parent}: open {page.name}")


@click.command()
@click.argument("version", default="")
@click.option("--precision", default=0.6, show_default=True, type=click.FloatRange(0, 1), help="Asked of each class.")
@json_option
@working(writing=False)
def policy(ws: Any, version: str, precision: float, as_json: bool) -> None:
    """Say for each class what production may do with a model: ship, ship above a score, send to people, or hold.

    \b
    toughcall policy --precision 0.9
    """
    from toughcall.model.policy import as_rows
    from toughcall.model.policy import policy as decide
    from toughcall.records import NotEnoughData
    from toughcall.reporting import read_model

    found = read_model(ws, version)
    if found.report is None or not found.report.per_class:
        raise NotEnoughData(
            f"{found.version} was never judged on held-out labels of classes: toughcall plan says how many"
        )
    rows_out(as_rows(decide(found.report, wanted=precision)), as_json=as_json)


@click.command()
@click.argument("model", default="")
@click.option("--base", type=click.Path(path_type=Path), help="The encoder that the folder MODEL was trained from.")
@json_option
@working(writing=False)
def verify(ws: Any, model: str, base: Path | None, as_json: bool) -> None:
    """Prove a stored model once more in a fresh process: whole, equal to what was judged, unlike its base.

    With --base, MODEL is the folder of a sentence encoder that somebody else trained; what a library loads
    without its adapters is refused as identical to its base (exit 6).

    \b
    toughcall verify
    toughcall verify tuned-encoder --base minilm-folder
    """
    from toughcall.judging import verified
    from toughcall.proof import check_encoder
    from toughcall.records import UsageError

    if base is not None:
        if not model:
            raise UsageError("say which folder was trained from it: toughcall verify FOLDER --base BASE")
        away = check_encoder(Path(model), base)
        rows_out([{"encoder": model, "two loads agree": "yes", "away from its base": round(away, 4)}], as_json=as_json)
        return
    rows_out([verified(ws, model)], as_json=as_json)


ONLY_WHILE = click.option(
    "--while", "serving", metavar="VERSION", help='Only while this model serves ("" for none), else nothing is done.'
)


@click.command()
@click.argument("version", default="")
@ONLY_WHILE
@working()
def promote(ws: Any, version: str, serving: str | None) -> None:
    """Make a judged model the champion; refused (exit 5) unless its verdict is PROMOTE.

    \b
    toughcall promote
    """
    from toughcall.retraining import promote as to_champion

    click.echo(f"champion: {to_champion(ws, version, serving=serving)}")


@click.command()
@ONLY_WHILE
@working()
def rollback(ws: Any, serving: str | None) -> None:
    """Return to the champion before this one, at once and without training.

    \b
    toughcall rollback
    """
    from toughcall.retraining import rollback as back

    click.echo(f"champion: {back(ws, serving=serving)}")
