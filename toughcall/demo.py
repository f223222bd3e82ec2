"""The whole loop on real data: a real Label Studio, simulated experts with accounts of their own, a story.

Killed at any moment, the same command goes on where it stopped; run again after its end it starts over
and gives the same figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np

from toughcall import demo_data, judging, loop, pairing, retraining, starting
from toughcall import project as projects
from toughcall.model import evaluate
from toughcall.records import CANT_TELL, Item, Label, NotEnoughData, UsageError
from toughcall.telling import Console, rows_out
from toughcall.workspace import Workspace, opened

EXPERTS = ("anna@example.com", "ben@example.com")
BATCH = 50
SMALL = 1 / 6


def run(
    folder: Path,
    names: Sequence[str],
    rounds: int,
    console: Console,
    *,
    fresh: bool | None = None,
    small: bool = False,
    page: bool = True,
) -> None:
    """Run `rounds` rounds for each kind and print the story; raises UsageError for a kind without demo data.

    `small`: a sixth of the data and batches of 20, to see it work rather than to measure. `page`: open the
    review page at the end.
    """
    from toughcall.annotate import server

    folder = folder.resolve()
    prepared = prepare(folder, names, console, SMALL if small else 1.0)
    up = server.up(folder / "studio", say=console.say)
    # one finished kind beside an unfinished one is a run that was killed between them, to be gone on with
    over = all((folder / data.kind / "finished").exists() for data in prepared)
    for number, data in enumerate(prepared, 1):
        console.say(f"[{number}/{len(prepared)}] {data.kind}")
        root = folder / data.kind
        if fresh or (over and fresh is None):
            clear(root)
        if not (root / projects.FILE).exists():
            shutil.rmtree(root, ignore_errors=True)
            make(root, data, console, {"mine.batch": 20, "gate.min_items": 20} if small else None)
        with opened(root, "demo", console) as ws:
            import_held_out(ws, data)
            for turn in range(1, rounds + 1):
                one_turn(ws, data, turn, folder)
        (root / "finished").touch()
    console.end()
    for data in prepared:
        with opened(folder / data.kind, "demo", console, writing=False) as ws:
            story(ws)
    if page:
        print_addresses(folder, up.url, open_review(folder, names[-1]), names[-1])


def prepare(folder: Path, names: Sequence[str], console: Console, share: float = 1.0) -> list[demo_data.Prepared]:
    """Write the data files of some kinds; UsageError names the kinds there are."""
    for name in names:
        if name not in demo_data.SETS:
            raise UsageError(f"no demo data for the kind {name!r}: choose from {', '.join(demo_data.SETS)}")
    folder.mkdir(parents=True, exist_ok=True)
    return [demo_data.SETS[name](folder, console.say, share) for name in names]


def write_data(folder: Path, names: Sequence[str], console: Console) -> list[dict[str, Any]]:
    """Write the data files of some kinds and return where they are."""
    return [
        {"kind": data.kind, "pool": str(data.pool), "held out": str(data.held_out), "project": str(data.like)}
        for data in prepare(folder, names, console)
    ]


def clear(root: Path) -> None:
    """Remove a project folder; killed in the middle, no half project is left under its name."""
    aside = root.with_name(f".{root.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if root.exists():
        root.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def make(root: Path, data: demo_data.Prepared, console: Console, settings: Mapping[str, Any] | None = None) -> None:
    """Make the demo project: its own folder, but the server and the embeddings shared with the other ones.

    `settings` overrides by dotted name ("mine.batch").
    """
    shared = {"encoder.cache": "../vectors", "studio.folder": "../studio", "mine.batch": BATCH, "gate.test_share": 0.0}
    starting.make_project(
        root,
        console,
        kind=data.kind,
        data=str(data.pool),
        like=data.like,
        settings={**shared, **(settings or {})},
        **data.options,
    )


def import_held_out(ws: Workspace, data: demo_data.Prepared) -> None:
    """Import the labelled rows that measure and never train; a second time adds nothing."""
    if ws.store.events("held_out"):
        return
    added = loop.import_file(ws, data.held_out, data.held, held_out=True)
    ws.store.add_event("held_out", {"labels": len(added.labels)})


def one_turn(ws: Workspace, data: demo_data.Prepared, turn: int, folder: Path) -> None:
    """Do what is missing of one round: mine, push, have the experts answer, pull, retrain, judge, promote."""
    if any(event["round"] == turn for _, event in ws.store.events("demo_round")):
        return
    ws.telling.say(f"round {turn}")
    if len(ws.store.batches()) < turn:
        loop.mine(ws)
    loop.push(ws)
    while waiting := sum(loop.pull(ws).waiting.values()):
        experts_answer(ws, data, folder, waiting)
    retraining.retrain(ws)
    event = ws.store.events("retrain")[-1][1]
    if event["outcome"] == "PROMOTE" and ws.registry.champion() != event["version"]:
        retraining.promote(ws, event["version"])
    spent = sum(batch["size"] for batch in ws.store.batches())
    control = random_control(ws, data, spent)
    ws.store.add_event("demo_round", {"round": turn, "spent": spent, "version": event["version"], "control": control})


def passwords(folder: Path) -> dict[str, str]:
    """Return the simulated experts' passwords, made once and kept beside the server's own data."""
    path = folder / "studio" / "experts.json"
    if not path.exists():
        made = json.dumps({email: secrets.token_urlsafe(16) for email in EXPERTS})
        aside = path.with_suffix(".tmp")
        aside.touch(mode=0o600)
        aside.write_text(made, encoding="utf-8")
        aside.replace(path)
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def experts_answer(ws: Workspace, data: demo_data.Prepared, folder: Path, waiting: int) -> None:
    """Let every expert log in and answer over the server's own HTTP interface until nothing is left."""
    from toughcall.annotate import server
    from toughcall.annotate.people import Person, add_person
    from toughcall.annotate.tasks import to_result

    local = server.credentials(ws.project.server)
    asked = ws.pool.items({pick.item for _, pick in ws.store.picks()})
    number = int(ws.store.get("studio_project"))
    bar = ws.telling.bar("experts answering")
    done = 0
    counting = threading.Lock()
    failed: list[BaseException] = []

    def work(email: str, password: str) -> None:
        nonlocal done
        try:
            add_person(local.url, local.token, email, password)
            person = Person(local.url, email, password)
            while (task := person.next_task(number)) is not None:
                value = data.answer(asked[task["data"]["uid"]], email)
                person.answer(task["id"], to_result(ws.schema, value), 4.0)
                with counting:
                    done += 1
                    bar(min(done, waiting), waiting)
        except Exception as error:
            failed.append(error)

    people = [threading.Thread(target=work, args=pair, daemon=True) for pair in passwords(folder).items()]
    for person in people:
        person.start()
    for person in people:
        person.join()
    ws.telling.say(f"{done} answers given")
    if failed:
        raise failed[0]


def random_control(ws: Workspace, data: demo_data.Prepared, spent: int, draws: int = 3) -> dict[str, Any]:
    """Train the same recipe on as many randomly drawn items and measure it on the same sealed rows.

    What the queue is worth is the difference to this; the labels come from the same simulated experts.
    The mean of several draws, with the least and the greatest: one draw alone may be lucky.
    """
    parts = ws.store.parts()
    _, held, items, _ = ws.split()
    test = judging.sealed(ws, held)
    pool = [item for item in pairing.candidates(ws) if ws.part(item, parts) == "train"]
    bar = ws.telling.bar("random order, for comparison")
    found, notes = [], []
    for draw in range(draws):
        order = np.random.default_rng([ws.project.seed, 99, draw]).permutation(len(pool))[:spent]
        report, note = one_control(ws, data, [pool[i] for i in order], test, items)
        if report is not None and report.value is not None:
            found.append(report.value)
        notes.append(note)
        bar(draw + 1, draws)
    if len(found) < draws:
        note = next(note for note in notes if note)
        return {"spent": spent, "value": None, "low": None, "high": None, "note": note}
    return {"spent": spent, "value": float(np.mean(found)), "low": min(found), "high": max(found), "note": ""}


def one_control(
    ws: Workspace, data: demo_data.Prepared, drawn: Sequence[Item], test: Sequence[Label], items: Mapping[str, Item]
) -> tuple[evaluate.Report | None, str]:
    """Return the report of a model trained on these items, or None and why there is none."""
    told = [(item, value) for item in drawn if CANT_TELL not in (value := data.answer(item, EXPERTS[0]))]
    labels = [Label(item.id, value) for item, value in told]
    try:
        trained = retraining.fitted(ws, [item for item, _ in told], labels)
    except NotEnoughData as error:
        return None, str(error)
    return judging.measured(ws, "control", trained, test, items), ""


def figure(report: dict[str, Any] | None) -> str:
    """Return `0.812 [0.77, 0.85]`, or a dash."""
    if not report or report.get("value") is None:
        return "–"
    if report.get("low") is None:
        return f"{report['value']:.3f}"
    return f"{report['value']:.3f} [{report['low']:.3f}, {report['high']:.3f}]"


def story(ws: Workspace) -> list[dict[str, Any]]:
    """Print what happened, round by round, and return the rows."""
    judged = {event["version"]: event for _, event in ws.store.events("retrain")}
    rows, sentences = [], []
    metric, n = "", 0
    for _, turn in ws.store.events("demo_round"):
        event = judged[turn["version"]]
        by_role = {report["role"]: report for report in event["reports"]}
        candidate = by_role.get("candidate", {})
        metric, n = candidate.get("metric", metric), candidate.get("n", n)
        rows.append(
            {
                "round": turn["round"],
                "labels": turn["spent"],
                "retrained": figure(candidate),
                by_role["untouched"]["model"]: figure(by_role.get("untouched")),
                **({"majority": figure(by_role["majority"])} if "majority" in by_role else {}),
                "TF-IDF": figure(by_role.get("tfidf")),
                "random order": figure(turn["control"]),
                "never predicted": ", ".join(candidate.get("dead", [])) or "none",
                "verdict": event["outcome"],
            }
        )
        sentences.append(f"  round {turn['round']}: {event['sentence']}")
        if turn["control"]["note"]:
            sentences.append(f"    random order: {turn['control']['note'].partition(':')[0]}")
    click.echo(f"\n{ws.project.kind}: {metric} with 95 % interval on {n} sealed rows, the same for every column")
    click.echo("random order: the same recipe on as many labels drawn at random, mean of 3 draws [least, greatest]")
    rows_out(rows, as_json=False)
    click.echo("\n".join(sentences))
    click.echo(f"  serving now: {ws.registry.champion() or 'the untouched encoder (no model has beaten it yet)'}")
    return rows


def print_addresses(folder: Path, studio: str, page: str, kind: str) -> None:
    """Tell where to look now, and how to stop what keeps running."""
    click.echo(f"\nLabel Studio: {studio}   (account in {folder / 'studio' / 'credentials.json'})")
    click.echo(f"Review page:  {page}   (project {folder / kind})")
    click.echo("Both keep running on this machine only; toughcall demo --down stops them.")


def free_port(first: int) -> int:
    """Return the first free loopback port from `first` on."""
    for port in range(first, first + 100):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise UsageError(f"no free port from {first} to {first + 99}: stop something and run it again")


def open_review(folder: Path, kind: str) -> str:
    """Serve the review page of one project in the background and return its address."""
    close_review(folder)
    port = free_port(8501)
    command, environment = starting.review_command(folder / kind, port)
    with (folder / "review.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "review.pid").write_text(str(process.pid), encoding="utf-8")
    address = f"http://127.0.0.1:{port}"
    for _ in range(60):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/_stcore/health", trust_env=False).status_code == 200:
                break
        time.sleep(0.5)
    return address


def close_review(folder: Path) -> bool:
    """Stop the review page that an earlier demo left running; True when there was one."""
    path = folder / "review.pid"
    if not path.exists():
        return False
    pid = int(path.read_text(encoding="utf-8"))
    path.unlink()
    command = Path(f"/proc/{pid}/cmdline")
    # a number can have been given to another program since: stop only what is ours
    if command.exists() and b"streamlit" in command.read_bytes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        # its port is wanted again
        for _ in range(50):
            if not command.exists() or not command.read_bytes():
                break
            time.sleep(0.1)
        return True
    return False


def down(folder: Path) -> None:
    """Stop the demo's Label Studio and review page."""
    from toughcall.annotate import server

    stopped = [
        name
        for name, did in (
            ("Label Studio", server.down(folder / "studio")),
            ("review page", close_review(folder)),
        )
        if did
    ]
    click.echo(f"stopped: {', '.join(stopped) or 'nothing was running'}")
