"""Kill push and pull with `kill -9` at random moments, and the server too: the end must be that of a quiet run.

Part of benchmarks/faults.py (--kills). Two experts answer every item; what they disagree on goes to adjudication,
where the first of them decides. A quiet run comes first; then the same round in fresh projects, where each command
is killed up to twice and then run again to its end, until enough kills have fired; in the last one Label Studio
itself is killed under a push and under a pull, and started again. A moment is drawn from the time that the command
holds the project's lock, as long as it took undisturbed: a kill before that would come before any work.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fakes import campaign
from fakes.crowd import SAID, Crowd, persons

from toughcall import experts
from toughcall.annotate import people, server
from toughcall.annotate.tasks import to_result
from toughcall.exchange import places
from toughcall.telling import rows_out
from toughcall.voting import ADJUDICATION, role_of
from toughcall.workspace import Workspace, opened

STEPS = ("push", "half", "pull", "push", "rest", "pull", "adjudicate", "decide", "pull")
"""A round: commands, and between them what people do."""
AGAIN = 2
"""So often one command is killed before it may end."""
TRIES = 8
"""So often a command that is killed too late is given another chance before the round goes on."""


@dataclass
class Round:
    """One project of its own on the server, and what happened to its commands."""

    root: Path
    folder: Path
    local: server.Local
    experts: Sequence[people.Person]
    items: int
    moments: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    """How long a command held the lock, by step; of an undisturbed run."""

    def begin(self) -> None:
        """Make the project and plan its batch."""
        campaign.new_project(self.root, self.items, studio__folder=str(self.folder), studio__overlap=2)
        with opened(self.root, "mine") as ws:
            campaign.planned(ws, self.items)

    def crowd(self) -> Crowd:
        """Return who looks at the project past our own client."""
        with opened(self.root, "check") as ws:
            number = int(ws.store.get("studio_project"))
            return Crowd(self.local, number, ws.schema, list(self.experts), random.Random(0))

    def answer(self, part: str) -> None:
        """Have both experts answer half of the items, or the rest: the same words in every run."""
        crowd = self.crowd()
        tasks: dict[str, int] = {}
        for task in crowd.tasks():
            tasks[task["data"]["uid"]] = min(task["id"], tasks.get(task["data"]["uid"], task["id"]))
        uids = sorted(tasks)
        for uid in uids[: len(uids) // 2] if part == "half" else uids[len(uids) // 2 :]:
            for number, person in enumerate(self.experts):
                drawn = sha256(f"{uid} {number}".encode()).digest()
                value = SAID[drawn[0] % len(SAID)] if drawn[1] % 3 else SAID[sha256(uid.encode()).digest()[0] % 3]
                person.answer(tasks[uid], to_result(crowd.schema, value), drawn[2] / 4)

    def decide(self) -> None:
        """Have somebody decide what the two disagree on: the same words in every run."""
        with opened(self.root, "check") as ws:
            number = places(ws).get(ADJUDICATION)
            schema = ws.schema
        for task in Crowd(self.local, number, schema, list(self.experts), random.Random(0)).tasks() if number else ():
            value = SAID[sha256(f"{task['data']['uid']} decided".encode()).digest()[0] % len(SAID)]
            self.experts[0].answer(task["id"], to_result(schema, value), 1.0)

    def start(self, verb: str) -> subprocess.Popen[bytes]:
        """Start a command and return when it holds the project's lock, or has ended."""
        command = [sys.executable, "-m", "toughcall.cli", "--project", str(self.root), verb, "--json"]
        with (self.root / "log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        lock = self.root / ".lock"
        while process.poll() is None:
            if lock.exists() and f"(process {process.pid})" in lock.read_text(encoding="utf-8"):
                break
            time.sleep(0.002)
        return process

    def finish(self, verb: str) -> float:
        """Run a command to its end, again after exit 4, and return how long the last one held the lock."""
        for _ in range(10):
            process, begun = self.start(verb), time.monotonic()
            if process.wait() == 0:
                return time.monotonic() - begun
            self.checked(process, verb)
        raise SystemExit(f"{verb} in {self.root} ended ten times with exit 4: see {self.root / 'log'}")

    def checked(self, process: subprocess.Popen[bytes], verb: str) -> None:
        """Raise SystemExit when a command ended in any other way than done, unreachable or killed."""
        if process.returncode not in (0, 4, -signal.SIGKILL):
            said = (self.root / "log").read_text(encoding="utf-8", errors="replace")[-500:]
            raise SystemExit(f"{verb} in {self.root} ended with {process.returncode}: {said}")

    def kill(self, verb: str, after: float) -> bool:
        """Start a command, kill it so many seconds after it took the lock, and return whether that was in time."""
        process = self.start(verb)
        time.sleep(after)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.checked(process, verb)
        if process.returncode != -signal.SIGKILL:
            return False
        with opened(self.root, "check") as ws:
            states = ", ".join(f"{row['name']} {row['state']}" for row in ws.store.batches())
            held = len([one for one in ws.store.answers() if one.source == "person"])
            project = ws.store.get("studio_project")
        there = len(self.crowd().tasks()) if project else 0
        moment = {"killed": verb, "s after the lock": f"{after:.2f}", "batch": states}
        self.moments.append({**moment, "tasks on the server": there, "answers in the ledger": held})
        return True

    def kill_server(self, verb: str, after: float) -> bool:
        """Kill Label Studio under a command, start it again, and return whether the command was still at work."""
        process = self.start(verb)
        time.sleep(after)
        working = process.poll() is None
        os.killpg(int(str(server.status(self.folder)["pid"])), signal.SIGKILL)
        while server.status(self.folder)["pid"]:
            time.sleep(0.02)
        server.up(self.folder)
        process.wait()
        self.checked(process, verb)
        if working:
            ended = f"ended with {process.returncode}"
            self.moments.append(
                {"killed": f"Label Studio under {verb}", "s after the lock": f"{after:.2f}", "batch": ended}
            )
        return working

    def play(self, disturb: Callable[[int, str], None] = lambda step, verb: None) -> None:
        """Play the round; `disturb` is called before each command is run to its end."""
        for step, verb in enumerate(STEPS):
            if verb in ("half", "rest"):
                self.answer(verb)
            elif verb == "decide":
                self.decide()
            else:
                disturb(step, verb)
                self.seconds[step] = self.finish(verb)


def end_state(ws: Workspace, crowd: Crowd) -> dict[str, Any]:
    """Return what must be the same in every run: labels, disagreements, answers, batches, tasks by item."""
    labels, torn = ws.store.labels(ws.schema.version)
    said = [one for one in ws.store.answers(history=True) if one.source == "person"]
    answers: dict[str, list[Any]] = {}
    for one in said:
        answers.setdefault(f"{one.item} {one.annotator}", []).append([one.outcome, list(one.value), one.seconds])
    there = Counter(f"{task['data']['batch']} {task['data']['uid']}" for task in crowd.tasks())
    given = [one["id"] for task in crowd.tasks() for one in task["annotations"]]
    return {
        "labels": {label.item: [list(label.value), label.annotators] for label in labels},
        "torn": sorted(torn),
        "answers": answers,
        "annotations on the server": len(given),
        "batches": {row["name"]: [row["state"], row["size"]] for row in ws.store.batches()},
        "tasks": dict(there),
        "set aside": [str(one) for one in ws.store.set_aside()],
        "damage": ws.store.damage(),
        "decided": {one.item: list(one.value) for one in said if role_of(one) == ADJUDICATION},
        "agreement": experts.rows(ws)[0][1],
        "annotators": experts.rows(ws)[1][1],
    }


def differences(due: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return how two end states differ, a phrase for each part."""
    return [
        f"{part} is {str(found[part])[:300]}, not {str(due[part])[:300]}" for part in due if due[part] != found[part]
    ]


def campaign_of(
    base: Path,
    folder: Path,
    local: server.Local,
    kills: int,
    items: int,
    seed: int,
    say: Callable[[str], None],
) -> int:
    """Kill so many commands and the server twice; print the moments and return how many differences there are.

    Args:
        base: where projects are made.
        folder: the running server's.
        local: its account.
        kills: how many kills of commands must fire.
        items: in the batch of a round; two experts answer each.
        seed: of the moments.
        say: told one line a run.

    """
    both = persons(local, ("dora", "emil"))
    rng = random.Random(seed)
    moments: list[dict[str, Any]] = []
    wrong: list[str] = []

    def state_of(one: Round) -> dict[str, Any]:
        crowd = one.crowd()
        with opened(one.root, "check") as ws:
            return end_state(ws, crowd)

    quiet = Round(base / "quiet", folder, local, both, items)
    quiet.begin()
    quiet.play()
    due = state_of(quiet)
    took = ", ".join(f"{STEPS[step]} {seconds:.1f} s" for step, seconds in quiet.seconds.items())
    counted = f"{len(due['labels'])} labels, {len(due['decided'])} of them decided, {len(due['torn'])} torn"
    say(f"undisturbed: {took}; {counted}")

    def compared(one: Round) -> None:
        moments.extend(one.moments)
        found = differences(due, state_of(one))
        wrong.extend(f"{one.root.name}: {line}" for line in found)
        say(f"{one.root.name}: {len(moments)} kills; {'; '.join(found) or 'ends as the undisturbed run'}")

    turn = 0
    while len(moments) < kills:
        one = Round(base / f"killed-{turn}", folder, local, both, items)
        one.begin()
        turn += 1

        def disturb(step: int, verb: str, one: Round = one) -> None:
            fired = 0
            for _ in range(TRIES):
                if fired == AGAIN or len(moments) + len(one.moments) == kills:
                    return
                fired += one.kill(verb, rng.uniform(0.0, quiet.seconds[step]))

        one.play(disturb)
        compared(one)
    last = Round(base / "server-killed", folder, local, both, items)
    last.begin()

    def disturb_server(step: int, verb: str) -> None:
        if step in (0, 2):
            for _ in range(TRIES):
                if last.kill_server(verb, rng.uniform(0.0, 0.6 * quiet.seconds[step])):
                    return
            wrong.append(f"Label Studio was never killed in the middle of a {verb}")

    last.play(disturb_server)
    compared(last)
    print()
    rows_out(moments, as_json=False)
    print("".join(f"\n{line}" for line in wrong))
    print(f"{'FAIL' if wrong else 'PASS'}: {len(moments)} kills, {turn + 1} disturbed rounds, {len(wrong)} differences")
    return len(wrong)
