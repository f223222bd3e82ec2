"""Faults between us and a real Label Studio: a project behind a proxy, people who answer past it, and the count.

What was acknowledged to them must be in the ledger, once, with its value, and nothing else; each item must be on
the server once, and no answer may go away.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import importlib
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.crowd import Crowd
from fakes.proxy import MODES, READS, FaultProxy, Rule

from toughcall import loop
from toughcall import project as projects
from toughcall.annotate import server
from toughcall.annotate.connection import Gone
from toughcall.model import kinds
from toughcall.records import Batch, Pick, RemoteError
from toughcall.settings import Columns
from toughcall.store import Store
from toughcall.workspace import Workspace, opened

LABELS = {"animal": "about an animal", "machine": "about a machine", "food": "about something to eat"}
SMALL: dict[str, dict[str, Any]] = {
    "toughcall.annotate.sync": {"CHUNK_TASKS": 8},
    "toughcall.annotate.studio": {"PAGE": 10},
    "toughcall.annotate.patient": {"PAUSES": (0.01, 0.04)},
    "toughcall.annotate.pulling": {"PAGE": 10, "OVERLAP": datetime.timedelta(seconds=5)},
}
"""Requests of a few items each: many places to break in a batch of a few dozen."""
WRITES = (*MODES, *(3 * ["delay then commit later"]))
"""Three times as likely as another fault: nothing else makes copies where every answer is doubted."""
HURRY = 0.02
"""A second that the product waits takes so long here."""
BREATH = 0.1
"""Seconds after which a command that gave up is run again."""
PATIENCE = 12.0
"""So many seconds mean a few failures in a row."""


def rules(share: float) -> list[Rule]:
    """Return a plan in which every request breaks with this probability, one that stores something twice as often."""
    return [Rule("^GET ", share, READS), Rule("", min(2 * share, 0.6), WRITES)]


@contextlib.contextmanager
def hurried(patience: float = PATIENCE) -> Iterator[None]:
    """Make the product wait a fiftieth of its time, give up early, and send and read in small pieces.

    `patience`: seconds on the product's clock after which a push gives up. That clock counts only waiting, so a slow
    machine changes nothing.
    """
    clock = [0.0]

    def wait(seconds: float) -> None:
        clock[0] += seconds
        time.sleep(HURRY * seconds)

    ours = {"wait": wait, "now": lambda: clock[0], "deadline": patience}
    undo: list[Callable[[], None]] = []
    for name, values in SMALL.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for one, value in values.items():
            undo.append(lambda m=module, o=one, v=getattr(module, one): setattr(m, o, v))  # type: ignore[misc]
            setattr(module, one, value)
        for _, function in inspect.getmembers(module, inspect.isfunction):
            given = function.__kwdefaults__
            if given and "wait" in given:
                undo.append(lambda f=function, g=given: setattr(f, "__kwdefaults__", g))  # type: ignore[misc]
                function.__kwdefaults__ = given | {key: ours[key] for key in given.keys() & ours.keys()}
    assert undo, "nothing waits any more where it did"
    try:
        yield
    finally:
        for back in undo:
            back()


def new_project(root: Path, items: int, **settings: Any) -> None:
    """Make a project of so many short texts; `settings` by dotted name, with __ for the dot."""
    root.mkdir(parents=True)
    changed = {key.replace("__", "."): value for key, value in settings.items()}
    quotas = kinds.get("multiclass").quotas
    tables = {"labels": LABELS}
    text = projects.render(root.name, "multiclass", tables, {"text": "text"}, quotas=quotas, settings=changed)
    (root / projects.FILE).write_text(text, encoding="utf-8")
    Store(root / "ledger.sqlite", create=True).close()
    pool = root / "pool.csv"
    with pool.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([f"Text {number}: the {number * 7919 % 1000003:07d}th thing seen."] for number in range(items))
    with opened(root, "import") as ws:
        loop.import_file(ws, pool, Columns())


def planned(ws: Workspace, size: int) -> str:
    """Save a batch of items never asked before, without scoring, and return its name."""
    asked = ws.store.asked()
    ids = sorted(text.id for text in ws.pool.texts() if text.id not in asked)[:size]
    assert len(ids) == size, "the pool is empty"
    name = ws.store.next_batch_name()
    picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate(ids))
    ws.store.add_batch(Batch(name, ws.schema.version, "untouched", picks))
    return name


@dataclass
class Site:
    """A project behind a proxy, how its commands went, and what is wrong with it."""

    root: Path
    local: server.Local
    proxy: FaultProxy
    commands: Counter[str] = field(default_factory=Counter)
    """By verb, by verb and exit code for those that had to be run again, and how many copies went."""

    def run(self, verb: str) -> Any:
        """Run push or pull as a user does: again after every exit 4, and after a 404 that says it is all gone."""
        while True:
            before, self.proxy.during = len(self.proxy.log), verb
            try:
                with opened(self.root, verb) as ws:
                    self.commands[verb] += 1
                    done = getattr(loop, verb)(ws)
                self.commands["copies removed"] += getattr(done, "removed", 0)
                return done
            except RemoteError:
                self.commands[f"{verb} exit 4"] += 1
            except Gone:
                # the words are true of a real 404; only one that we made is a reason to go on
                if not any(one.mode == "404" for one in self.proxy.log[before:]):
                    raise
                self.commands[f"{verb} exit 2"] += 1
            time.sleep(BREATH)

    def pushed(self) -> None:
        """Push until nothing that was cut off can still arrive: the last push has every other fault."""
        self.run("push")
        self.proxy.settle()
        with self.proxy.under(*(Rule(rule.pattern, rule.probability, READS) for rule in self.proxy.rules)):
            self.run("push")

    def task_faults(self, crowd: Crowd) -> list[str]:
        """Return what is wrong with the tasks: each item once in its batch, and no answer deleted (P2)."""
        tasks = crowd.tasks()
        there = Counter((task["data"]["batch"], task["data"]["uid"]) for task in tasks)
        with opened(self.root, "check") as ws:
            due = {(row["name"], p.item) for row in ws.store.batches() for p in ws.store.batch(row["name"]).picks}
        found = [f"task twice: {key} is there {times} times" for key, times in sorted(there.items()) if times > 1]
        found += [f"task lost: {key}" for key in sorted(due - there.keys() - crowd.removed)]
        found += [f"task made up: {key}" for key in sorted(there.keys() - due)]
        kept = {one["id"]: float(one["lead_time"]) for task in tasks for one in task["annotations"]}
        for number, act in sorted(crowd.newest.items()):
            if number not in crowd.dead and kept.get(number) != act.number:
                found.append(f"answer deleted on the server: {act}")
        return found

    def answer_faults(self, crowd: Crowd, *, complete: bool) -> list[str]:
        """Return what is wrong with the ledger: what was acknowledged is in it, once, and nothing else (P1).

        `complete`: a pull has ended since the last act, so that everything has to be there.
        """
        with opened(self.root, "check") as ws:
            history = [one for one in ws.store.answers(history=True) if one.source == "person"]
            current = [one for one in ws.store.answers() if one.source == "person"]
            found = list(ws.store.damage())
            found += [f"set aside: {stage} {what}" for stage, what in ws.store.set_aside()]
        times = Counter(int(one.seconds or 0) for one in history)
        found += [f"answer twice: {crowd.acts.get(number)}" for number, n in sorted(times.items()) if n > 1]
        for one in history:
            act = crowd.acts.get(int(one.seconds or 0))
            if act is None or not act.says(one):
                found.append(f"answer made up: {one}, for {act}")
        if complete:
            crowd.settled |= {act.number: act for number, act in crowd.newest.items() if number not in crowd.dead}
        found += [f"answer lost: {act}" for number, act in sorted(crowd.settled.items()) if not times[number]]
        by_annotation: dict[int, int] = {}
        for number, act in crowd.settled.items():
            by_annotation[act.annotation] = max(number, by_annotation.get(act.annotation, 0))
        now = Counter(int(one.seconds or 0) for one in current)
        for annotation, number in sorted(by_annotation.items()):
            # one that somebody edited and then deleted with its task may have been seen in between
            may = {n for n, act in crowd.acts.items() if act.annotation == annotation and n >= number}
            if sum(now[n] for n in may) != 1:
                found.append(f"answer not the current one: {crowd.acts[number]}")
        return found


def turn(site: Site, crowd: Crowd | None, made: Callable[[int, Any], Crowd], size: int, *, last: bool) -> Crowd:
    """Run one turn: a batch out, answers in, both with faults, and nothing lost; return who works there.

    Args:
        site: the project.
        crowd: who works there, None before the first turn.
        made: makes it, of the project's number on the server and the schema.
        size: items in the batch.
        last: everything is answered; else two items wait for the next turn.

    """
    with opened(site.root, "mine") as ws:
        planned(ws, size)
        schema = ws.schema
    number = site.run("push").project
    crowd = crowd or made(number, schema)
    waiting = crowd.open()
    cut = 2 * len(waiting) // 3
    early, late = waiting[:cut], waiting[cut:] if last else waiting[cut:-2]
    for task in early:
        crowd.answer(task)
    # what was cut off in the push above has arrived by now: further copies, some of them answered
    site.proxy.settle()
    site.pushed()
    told(site.task_faults(crowd))
    living = {task["id"] for task in crowd.tasks()}
    late = [task for task in late if task["id"] in living]
    with crowd.at_work(late):
        site.run("pull")
    told(site.answer_faults(crowd, complete=False))
    if last:
        for task in crowd.open():
            crowd.answer(task)
    site.run("pull")
    told(site.answer_faults(crowd, complete=True))
    told(site.task_faults(crowd))
    return crowd


def told(found: Sequence[str]) -> None:
    """Raise AssertionError with everything that is wrong."""
    assert not found, "\n".join(found)
