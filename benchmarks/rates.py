"""How quick push and pull are, beside what the SDK does by itself, on one server in one run.

Part of benchmarks/faults.py (--rates and --large). The SDK's calls only read or send; ours check every task and
answer, list what is there, and write the ledger. The answers are imported with their tasks, as one person's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from fakes import campaign
from fakes.crowd import SAID

from toughcall import loop
from toughcall.annotate import server
from toughcall.annotate.tasks import labelling_config, to_result, to_tasks
from toughcall.telling import Console, rows_out
from toughcall.workspace import Workspace, opened

PEAK = """import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""
"""Runs a command and prints its peak memory. A process of its own: a child counts what its parent held at its start."""
CALL = 500
"""Tasks in one call where there are several."""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds, what came of it); seconds are infinite when it raised, and the error's name comes of it."""
    begun = time.monotonic()
    try:
        done = work()
    except Exception as error:
        return float("inf"), f"{type(error).__name__} after {time.monotonic() - begun:.0f} s"
    return time.monotonic() - begun, done


def tasks_of(ws: Workspace, batch: str) -> list[dict[str, Any]]:
    """Return the tasks of a batch as a push sends them."""
    made = ws.store.batch(batch)
    tasks, bad = to_tasks(made, ws.pool.items([pick.item for pick in made.picks]), ws.schema)
    assert not bad
    return tasks


def answered(root: Path, folder: Path, local: server.Local, tasks: int) -> int:
    """Make a project whose tasks are on the server, each answered once; return its number there."""
    campaign.new_project(root, tasks + 1, studio__folder=str(folder))
    with opened(root, "benchmark", Console()) as ws:
        campaign.planned(ws, 1)
        number = loop.push(ws).project
        waiting = tasks_of(ws, campaign.planned(ws, tasks))
        for turn, task in enumerate(waiting):
            result = to_result(ws.schema, SAID[turn % len(SAID)])
            task["annotations"] = [{"result": result, "lead_time": 2.0, "ground_truth": False}]
        for start in range(0, tasks, CALL):
            httpx.post(
                f"{local.url}/api/projects/{number}/import",
                json=waiting[start : start + CALL],
                headers={"Authorization": f"Token {local.token}"},
                timeout=600,
                trust_env=False,
            ).raise_for_status()
        pushed = loop.push(ws)
        assert (pushed.sent, pushed.set_aside) == (0, 0), pushed
    return number


def sdk(local: server.Local) -> Any:
    """Return the SDK's client with its own defaults."""
    from label_studio_sdk import LabelStudio

    client: Any = LabelStudio
    return client(base_url=local.url, api_key=local.token)


def side_by_side(base: Path, folder: Path, local: server.Local, tasks: int) -> None:
    """Print seconds and tasks per second of push and pull, ours and the SDK's; ratio = theirs to ours."""
    client, found = sdk(local), []
    client.users.whoami()

    def row(verb: str, how: str, work: Callable[[], Any], counted: Callable[[Any], int], ours: float) -> float:
        seconds, done = timed(work)
        failed = isinstance(done, str)
        found.append(
            {
                "verb": verb,
                "how": how,
                "seconds": done if failed else f"{seconds:.1f}",
                "tasks": None if failed else counted(done),
                "tasks/s": None if failed else f"{tasks / seconds:.0f}",
                "ratio": None if failed or not ours else f"{seconds / ours:.2f}",
            }
        )
        return seconds

    sent = base / "sent"
    campaign.new_project(sent, tasks, studio__folder=str(folder))
    with opened(sent, "benchmark", Console()) as ws:
        waiting = tasks_of(ws, campaign.planned(ws, tasks))
        config = labelling_config(ws.schema)

        def other(title: str) -> int:
            return int(client.projects.create(title=title, label_config=config).id)

        def in_calls(number: int) -> None:
            for start in range(0, tasks, CALL):
                client.projects.import_tasks(number, request=waiting[start : start + CALL])

        def there(number: int) -> int:
            return int(client.projects.get(number).task_number or 0)

        whole, cut = other("in one call"), other("in several calls")
        ours = row("push", "toughcall push", lambda: loop.push(ws), lambda done: done.sent, 0.0)
        one = "projects.import_tasks, one call"
        row("push", one, lambda: client.projects.import_tasks(whole, request=waiting), lambda _: there(whole), ours)
        row("push", f"projects.import_tasks, {CALL} a call", lambda: in_calls(cut), lambda _: there(cut), ours)
        row("push", "toughcall push, again", lambda: loop.push(ws), lambda done: done.already, ours)
    root = base / "answered"
    number = answered(root, folder, local, tasks)
    with opened(root, "benchmark", Console()) as ws:
        ours = row("pull", "toughcall pull", lambda: loop.pull(ws), lambda done: done.new, 0.0)
    export = client.projects.exports.as_json
    row("pull", "projects.exports.as_json", lambda: export(number), len, ours)
    row("pull", "tasks.list, default pages", lambda: sum(1 for _ in client.tasks.list(project=number)), int, ours)
    with opened(root, "benchmark", Console()) as ws:
        row("pull", "toughcall pull, nothing new", lambda: loop.pull(ws), lambda done: done.read, ours)
    print()
    rows_out(found, as_json=False)


def large(base: Path, folder: Path, local: server.Local, tasks: int) -> None:
    """Print seconds, peak memory and progress of a pull of so many tasks, run as a user runs it (C54)."""
    root = base / "large"
    answered(root, folder, local, tasks)
    command = [sys.executable, "-m", "toughcall.cli", "--project", str(root), "pull"]
    begun = time.monotonic()
    with (root / "said").open("wb") as said:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            check=False,
        )
    seconds = time.monotonic() - begun
    words = (root / "said").read_text(encoding="utf-8")
    # kilobytes, on a Mac bytes
    peak = int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
    row = {
        "tasks": tasks,
        "exit": done.returncode,
        "seconds": f"{seconds:.1f}",
        "tasks/s": f"{tasks / seconds:.0f}",
        "peak MB": f"{peak / 1e6:.0f}",
        "states of progress shown": len(re.findall(r"\d+/\d+|\d+%", words)),
    }
    print()
    rows_out([row], as_json=False)
    print(f"\nit said: {words.strip().splitlines()[-1][-200:] if words.strip() else 'nothing'}")
