"""The command that answers Label Studio."""

from __future__ import annotations

import os
from typing import Any

import click

from toughcall.cli_working import working


@click.command()
@click.option("--port", default=9090, show_default=True, type=click.IntRange(0, 65535), help="0 = any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--beyond-loopback", is_flag=True, help="Allow a --host that other machines reach; needs a secret.")
@click.option("--address", default="", help="How Label Studio reaches this machine (default: host and port).")
@click.option("--poll", default=60.0, show_default=True, type=click.FloatRange(1), help="Look so often, in seconds.")
@click.option("--settle", default=3.0, show_default=True, type=click.FloatRange(0), help="Seconds without a hint.")
@click.option("--retrain/--no-retrain", default=True, show_default=True, help="Run a round when a batch is answered.")
@click.option("--threads", type=click.IntRange(1), help="For a retrain (default: half of the processors).")
@click.option("--predictions", is_flag=True, help="Show experts what the champion would answer: it biases them.")
@working(writing=False)
def serve(ws: Any, /, threads: int | None, poll: float, settle: float, beyond_loopback: bool, **options: Any) -> None:
    """Pull answers as they are given, and run a round when a batch is answered, until Ctrl-C.

    Label Studio is given a webhook, whose hints make toughcall look at once; without any it looks every --poll
    seconds. Nothing in a hint is believed. Both are removed at the end.

    --predictions also connects an ML backend: experts then find the champion's answer filled in. Off by default,
    because people agree with what is there: their labels would repeat the model's errors. What measures the model
    (audits, the test part, checks) is asked blind in any case.

    \b
    toughcall serve
    toughcall serve --no-retrain --poll 300
    TOUGHCALL_HOOK_SECRET=… toughcall serve --host 192.0.2.7 --beyond-loopback
    """
    from toughcall.following import Rhythm
    from toughcall.hosting import Serving
    from toughcall.hosting import serve as serve_project

    rhythm = Rhythm(settle=settle, poll=poll, longest=max(settle, Rhythm.longest))
    half = max(1, (os.cpu_count() or 2) // 2)
    serve_project(ws, Serving(rhythm=rhythm, threads=threads or half, beyond=beyond_loopback, **options))
