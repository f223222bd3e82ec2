"""Kill the demo at random moments, run the same command again each time, and look for what is lost or doubled.

The kill is `kill -9`, which no program can catch.

    python benchmarks/crashes.py --kills 20 --seed 0 --kind pair --rounds 3

One Label Studio serves all runs. First the demo runs undisturbed; its labels, batches and verdicts are what
every killed run must arrive at. Then the same command is killed in a fresh folder, started again, killed
again; when a run reaches its end it is compared and a fresh folder follows, until enough kills have fired.
A kill that comes after the last round does not count. Exit 1 on any difference.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toughcall import demo, loop
from toughcall.annotate import pulling, server
from toughcall.model.registry import check_folder
from toughcall.records import CANT_TELL, NONE
from toughcall.telling import rows_out
from toughcall.workspace import Workspace, opened


@dataclass
class Plan:
    """What is run, and where."""

    base: Path
    kind: str
    rounds: int
    begun: float = field(default_factory=time.monotonic)
    done: int = 0

    def fresh(self, name: str) -> Path:
        """Return a new demo folder that uses the one Label Studio."""
        folder = self.base / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "studio").symlink_to(self.base / "studio")
        return folder

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own, its words appended to a log."""
        command = [sys.executable, "-m", "toughcall.cli", "demo", "--kind", self.kind, "--rounds", str(self.rounds)]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--folder", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )

    def over(self, folder: Path) -> bool:
        """Return whether the last round has ended."""
        return (folder / self.kind / "finished").exists()

    def say(self, text: str) -> None:
        """Print one line of progress."""
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)


def last_words(folder: Path, since: int = 0) -> list[str]:
    """Return a run's log from a byte on, as lines; a progress bar counts as its newest state."""
    with (folder / "log").open("rb") as file:
        file.seek(since)
        text = file.read().decode(errors="replace")
    return [part for part in (line.split("\r")[-1].strip() for line in text.splitlines()) if part]


def doing(folder: Path, kind: str, since: int) -> dict[str, str]:
    """Return what a run was at, from what its log says after `since` bytes and from the ledger."""
    said = (last_words(folder, since) or ["starting"])[-1].split("|")[0].rstrip(": ")
    path = folder / kind / "ledger.sqlite"
    ledger = "no ledger yet"
    if path.exists():
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as base:
            batch = base.execute("SELECT name || ' ' || state FROM batches ORDER BY seq DESC LIMIT 1").fetchone()
            event = base.execute("SELECT verb FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            given = base.execute("SELECT count(*) FROM answers WHERE source <> 'import'").fetchone()
        ledger = f"{batch[0] if batch else 'no batch'}, {given[0]} answers, last event {event[0] if event else 'none'}"
    return {"it was": said[:44], "ledger": ledger}


def end_state(ws: Workspace) -> dict[str, Any]:
    """Return what must be the same in every run: labels, batches, and each round's verdict with its figures."""
    labels, torn = ws.store.labels(ws.schema.version)
    judged = {event["version"]: event for _, event in ws.store.events("retrain")}
    rounds = {}
    for _, turn in ws.store.events("demo_round"):
        event = judged[turn["version"]]
        candidate = [report["value"] for report in event["reports"] if report["role"] == "candidate"]
        rounds[str(turn["round"])] = [event["outcome"], event["labels"], [round(value, 6) for value in candidate]]
    picks: dict[str, list[str]] = {}
    for batch, pick in ws.store.picks():
        picks.setdefault(batch, []).append(pick.item)
    return {
        "labels": {label.item: sorted(label.value) for label in labels},
        "torn": sorted(torn),
        "batches": picks,
        "rounds": rounds,
    }


def differences(due: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return how two end states differ, a phrase for each part."""
    told = []
    for part, want in due.items():
        have = found[part]
        if have == want:
            continue
        if isinstance(want, dict):
            wrong = sorted(key for key in want.keys() | have.keys() if want.get(key) != have.get(key))
            first = f"{wrong[0]} is {str(have.get(wrong[0]))[:90]}, not {str(want.get(wrong[0]))[:90]}"
            told.append(f"{part}: {len(wrong)} differ, e.g. {first}")
        else:
            told.append(f"{part}: {have}, not {want}")
    return told


def faults(ws: Workspace) -> tuple[list[str], str]:
    """Return (what is doubled, lost or half in a finished run, a phrase a fault; what was counted)."""
    found = list(ws.store.damage())
    studio = loop.connect(ws)
    number = int(ws.store.get("studio_project"))
    tasks = 0
    for row in ws.store.batches():
        there = Counter(task["uid"] for task in studio.listed(number, row["name"]))
        due = {pick.item for pick in ws.store.batch(row["name"]).picks}
        tasks += there.total()
        twice = [uid for uid, times in there.items() if times > 1]
        found += [f"{len(twice)} items of {row['name']} are on the server twice"] if twice else []
        wrong = due ^ there.keys()
        found += [f"{len(wrong)} items of {row['name']} are on one side only"] if wrong else []
    if studio.count(number) != tasks:
        found.append(f"project {number} holds {studio.count(number)} tasks, its batches {tasks}")
    export: list[dict[str, Any]] = []
    pulling.read(studio, number, export.extend)
    given = {
        (task["data"]["uid"], str(one["id"])): sorted(one["result"][0]["value"]["choices"])
        for task in export
        for one in task["annotations"]
    }
    held = {
        (answer.item, answer.origin["annotation"]): [CANT_TELL]
        if answer.outcome == "cant_tell"
        else sorted(answer.value) or [NONE]
        for answer in ws.store.answers()
        if answer.source != "import"
    }
    lost = [key for key in given if given[key] != held.get(key)]
    found += [f"{len(lost)} of {len(given)} answers on the server are not in the ledger"] if lost else []
    made_up = held.keys() - given.keys()
    found += [f"{len(made_up)} answers in the ledger are not on the server"] if made_up else []
    again = loop.pull(ws)
    if again.new or again.set_aside or any(again.waiting.values()):
        found.append(f"one more pull: {again.new} new, {again.set_aside} set aside, {again.waiting} waiting")
    listed = ws.registry.versions()
    for version in listed:
        check_folder(ws.registry.path(version))
        ws.registry.load(version)
    judged = {event["version"] for _, event in ws.store.events("retrain")}
    unjudged = len(set(listed) - judged)
    found += [f"judged models {sorted(judged - set(listed))} are not there"] if judged - set(listed) else []
    counted = f"{tasks} tasks, {len(given)} answers, {len(listed)} models ({unjudged} stored but killed before judged)"
    return found, counted


def compared(plan: Plan, folder: Path, due: dict[str, Any] | None) -> tuple[list[str], dict[str, Any]]:
    """Return (every fault and difference of a finished run, its end state), and say what was found."""
    with opened(folder / plan.kind, "check") as ws:
        found, counted = faults(ws)
        state = end_state(ws)
        found += differences(due, state) if due else []
    plan.done += 1
    plan.say(f"{folder.name}: {len(state['labels'])} labels, {counted}: {'; '.join(found) or 'as it should be'}")
    return [f"{folder.name}: {one}" for one in found], state


def undisturbed(plan: Plan) -> tuple[float, Path]:
    """Run the demo to its end without a kill, once; return (seconds until its last round ended, its folder)."""
    folder, note = plan.base / "undisturbed", plan.base / "undisturbed-seconds"
    if note.exists():
        return float(note.read_text()), folder
    shutil.rmtree(folder, ignore_errors=True)
    plan.fresh("undisturbed")
    begun = time.monotonic()
    process = plan.start(folder)
    try:
        while process.poll() is None and not plan.over(folder):
            time.sleep(0.2)
        seconds = time.monotonic() - begun
        finish(plan, process, folder)
    finally:
        stop(process, folder)
    note.write_text(str(seconds))
    plan.say(f"undisturbed: {seconds:.0f} s until the end of round {plan.rounds}")
    return seconds, folder


def finish(plan: Plan, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for the command's own end; SystemExit with its last words when it failed."""
    if process.wait() != 0 or not plan.over(folder):
        raise SystemExit(
            "\n".join([f"the demo in {folder} ended with {process.returncode}:", *last_words(folder)[-5:]])
        )


def stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End whatever is left of a run: the command, what it started, and the review page it serves."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    demo.close_review(folder)


def killed(plan: Plan, folder: Path, seconds: float) -> dict[str, Any] | None:
    """Start the command and kill it after `seconds`; None when its last round ended before."""
    log = folder / "log"
    since = log.stat().st_size if log.exists() else 0
    process = plan.start(folder)
    begun = time.monotonic()
    try:
        while (past := time.monotonic() - begun) < seconds:
            if process.poll() is not None or plan.over(folder):
                finish(plan, process, folder)
                return None
            time.sleep(min(0.05, seconds - past))
        # the command alone, as a kill does it; what it started lives on as long as it likes
        os.kill(process.pid, signal.SIGKILL)
        after = time.monotonic() - begun
        if process.wait() != -signal.SIGKILL:
            finish(plan, process, folder)
            return None
        return {"run": folder.name, "killed after s": f"{after:.2f}", **doing(folder, plan.kind, since), "fired": "yes"}
    finally:
        if process.returncode != -signal.SIGKILL:
            stop(process, folder)


def campaign(plan: Plan, kills: int, window: float, rng: np.random.Generator, due: dict[str, Any]) -> list[str]:
    """Kill until `kills` have fired, compare every run that ends, print the moments; return what is wrong."""
    moments: list[dict[str, Any]] = []
    wrong: list[str] = []
    folder = plan.fresh("run1")
    while len(moments) < kills:
        moment = killed(plan, folder, float(rng.uniform(0.0, window)))
        if moment:
            moments.append({"kill": len(moments) + 1, **moment})
            plan.say("kill {kill} in {run} after {killed after s} s: {it was} ({ledger})".format_map(moments[-1]))
            continue
        wrong += compared(plan, folder, due)[0]
        folder = plan.fresh(f"run{plan.done}")
    if (folder / "log").exists():
        process = plan.start(folder)
        try:
            finish(plan, process, folder)
        finally:
            stop(process, folder)
        wrong += compared(plan, folder, due)[0]
    print()
    rows_out(moments, as_json=False)
    return wrong


def main() -> int:
    """Run the campaign and print the verdict; 1 when anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many kills must fire")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kind", default="pair", help="pair, multiclass or multilabel")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=float, default=0.5, help="moments are drawn from this share of a whole run")
    parser.add_argument("--folder", type=Path, help="keep everything here; an undisturbed run in it is used again")
    parser.add_argument("--studio", type=Path, help="a stopped Label Studio's folder to copy, which starts faster")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        base = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toughcall-crashes-")))
        base.mkdir(parents=True, exist_ok=True)
        plan = Plan(base.resolve(), args.kind, args.rounds)
        if args.studio and not (plan.base / "studio").exists():
            shutil.copytree(args.studio, plan.base / "studio")
        stack.callback(server.down, plan.base / "studio")
        server.up(plan.base / "studio", say=plan.say)
        before = server.status(plan.base / "studio")["pid"]
        seconds, folder = undisturbed(plan)
        wrong, due = compared(plan, folder, None)
        rng = np.random.default_rng(args.seed)
        wrong += campaign(plan, args.kills, args.window * seconds, rng, due)
        if server.status(plan.base / "studio")["pid"] != before:
            wrong.append("Label Studio itself did not live through it")
    ended = f"{args.kills} kills fired in {plan.done - 1} runs of {args.rounds} rounds ({args.kind}, seed {args.seed})"
    if wrong:
        print("\n".join(["", *wrong]))
        print(f"FAIL: {ended}; {len(wrong)} faults")
        return 1
    print(f"\nPASS: {ended}; each ended with the undisturbed run's labels, no task twice, no answer lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
