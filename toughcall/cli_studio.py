"""The commands of the local Label Studio."""

from __future__ import annotations

from typing import Any

import click

from toughcall.cli_working import CONTEXT, json_option, working
from toughcall.telling import rows_out


@click.group(context_settings=CONTEXT)
def studio() -> None:
    """Start, stop and look at the project's local Label Studio."""


@studio.command("up")
@click.option("--port", type=int, help="The port (default: 8080 or a free one).")
@working(writing=False)
def studio_up(ws: Any, port: int | None) -> None:
    """Start Label Studio on loopback, its data in the project folder; the first start takes a minute.

    \b
    toughcall studio up
    """
    from toughcall.annotate import server

    up = server.up(ws.project.server, port=port or ws.project.studio.port or None, say=ws.telling.say)
    click.echo(f"Label Studio: {up.url}  (log in with the account in {ws.project.server / 'credentials.json'})")


@studio.command("down")
@working(writing=False)
def studio_down(ws: Any) -> None:
    """Stop the local Label Studio.

    \b
    toughcall studio down
    """
    from toughcall.annotate import server

    click.echo("stopped" if server.down(ws.project.server) else "it was not running")


@studio.command("status")
@json_option
@working(writing=False)
def studio_status(ws: Any, as_json: bool) -> None:
    """Say whether the local Label Studio runs, and where.

    \b
    toughcall studio status
    """
    from toughcall.annotate import server

    rows_out([server.status(ws.project.server)], as_json=as_json)


@studio.group("users")
def studio_users() -> None:
    """Make accounts for experts on the local server."""


@studio_users.command("add")
@click.argument("email")
@working(writing=False)
def studio_users_add(ws: Any, email: str) -> None:
    """Make an account for an expert and print its password once.

    \b
    toughcall studio users add anna@example.com
    """
    from toughcall.annotate import server
    from toughcall.annotate.people import add_person, new_password

    local = server.credentials(ws.project.server)
    password = new_password()
    add_person(local.url, local.token, email, password)
    click.echo(f"{local.url}  e-mail {email}  password {password}  (shown this once)")
