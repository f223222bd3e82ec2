"""The commands between us and the experts: push, pull, who agrees with whom, who decides, what a label means now."""

from __future__ import annotations

import sys
from typing import Any

import click

from toughcall.cli_working import json_option, strict_option, working
from toughcall.telling import rows_out


@click.command()
@click.option("--again", is_flag=True, help="Send anew what was deleted in Label Studio.")
@json_option
@working()
def push(ws: Any, again: bool, as_json: bool) -> None:
    """Send open batches to Label Studio, each item once however often this runs.

    With [studio] experts each expert gets a project of their own, and items are assigned: nobody sees what others said.

    \b
    toughcall push
    toughcall push --again
    """
    from toughcall.loop import push as push_batches

    done = push_batches(ws, again=again)
    if not (done.sent or done.already or done.set_aside or done.gone):
        ws.telling.say("nothing to send")
    row = {
        "sent": done.sent,
        "already there": done.already,
        "copies removed": done.removed,
        "set aside": done.set_aside,
        "deleted there": done.gone,
    }
    rows_out([row], as_json=as_json)


@click.command()
@click.option("--whole", is_flag=True, help="Read everything, not only what changed since the last pull.")
@strict_option
@json_option
@working()
def pull(ws: Any, whole: bool, strict: bool, as_json: bool) -> None:
    """Read the experts' answers into the ledger; the same pull twice adds nothing.

    \b
    toughcall pull
    toughcall pull --whole
    """
    from toughcall.loop import pull as pull_answers

    found = pull_answers(ws, whole=whole)
    row = {
        "answers": found.read,
        "new": found.new,
        "set aside": found.set_aside,
        "waiting": sum(found.waiting.values()),
    }
    rows_out([row], as_json=as_json)
    if strict and found.set_aside:
        sys.exit(3)


@click.command("map")
@click.argument("meanings", nargs=-1, required=True, metavar="EARLIER=PRESENT...")
@json_option
@working()
def map_(ws: Any, meanings: tuple[str, ...], as_json: bool) -> None:
    """Say what labels of earlier answers mean now, after [labels] or the interface in Label Studio changed.

    Every earlier label needs a meaning; one of the same name has it, and NAME= leaves its answers out. The answers
    themselves stay as they were given.

    \b
    toughcall map car=vehicle lorry=vehicle other=
    """
    from toughcall.mapping import table, translate

    rows_out(translate(ws, table(meanings)), as_json=as_json)


@click.command()
@click.option("--size", type=click.IntRange(1), help="So many at most (default: all).")
@json_option
@working()
def adjudicate(ws: Any, size: int | None, as_json: bool) -> None:
    """Send what experts disagree on to a project of its own in Label Studio, where somebody decides.

    It shows what was answered, without names. What is decided there, or on the review page, is the label.

    \b
    toughcall adjudicate --size 20
    """
    from toughcall.exchange import connect, places
    from toughcall.experts import adjudicate as make
    from toughcall.loop import push as push_batches
    from toughcall.voting import ADJUDICATION

    server = connect(ws)
    batch = make(ws, size)
    if not batch.picks:
        ws.telling.say("nothing to decide: nobody disagrees, or somebody was asked already")
    push_batches(ws)
    if (number := places(ws).get(ADJUDICATION)) is not None:
        who = ws.project.studio.adjudicator or "whoever decides"
        ws.telling.say(f"for {who}: {server.url}/projects/{number}/data (button: Label All Tasks)")
    rows_out([{"item": pick.item, "answers": pick.note} for pick in batch.picks], as_json=as_json)


@click.command()
@click.option("--gold", is_flag=True, help="Only the checks on items whose answer is known.")
@json_option
@working(writing=False)
def agree(ws: Any, gold: bool, as_json: bool) -> None:
    """Show how far experts agree per label (alpha, kappa), how good each is, and what they disagree on.

    \b
    toughcall agree
    toughcall agree --gold --json
    """
    from toughcall.experts import rows

    for title, found in rows(ws, gold=gold):
        if not as_json:
            click.echo(f"\n{title}")
        rows_out(found, as_json=as_json)
