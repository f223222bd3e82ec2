"""People who answer past us, and the list of what was acknowledged to them.

As Jepsen does it, everybody keeps their own list: each act of a person has a number, which travels as the seconds
it took (`lead_time`), so that what was acknowledged is found again, once, or is lost.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from toughcall.annotate import people, server
from toughcall.annotate.tasks import to_result
from toughcall.records import CANT_TELL, Answer
from toughcall.schema import Schema

SAID = (("animal",), ("machine",), ("food",), (CANT_TELL,))
"""What a person may answer."""


def persons(local: server.Local, names: Sequence[str]) -> list[people.Person]:
    """Return people with accounts of their own, logged in past the proxy."""
    made = []
    for name in names:
        email, password = f"{name}.faults@example.com", f"{name}-{local.token[:16]}"
        people.add_person(local.url, local.token, email, password)
        made.append(people.Person(local.url, email, password))
    return made


@dataclass(frozen=True)
class Act:
    """One thing a person did and the server acknowledged; `number` is its name everywhere."""

    number: int
    annotation: int
    task: int
    uid: str
    batch: str
    who: str
    outcome: str
    value: tuple[str, ...]

    def says(self, answer: Answer) -> bool:
        """Tell whether an answer in the ledger is this act."""
        return (answer.item, answer.batch, answer.annotator, answer.outcome, tuple(map(str, answer.value))) == (
            *(self.uid, self.batch, self.who, self.outcome),
            self.value,
        )


@dataclass
class Crowd:
    """People who work on one project of the server, and the list of what was acknowledged to them."""

    local: server.Local
    project: int
    schema: Schema
    people: list[people.Person]
    random: random.Random
    acts: dict[int, Act] = field(default_factory=dict)
    newest: dict[int, Act] = field(default_factory=dict)
    """By annotation."""
    settled: dict[int, Act] = field(default_factory=dict)
    """By number: what a complete pull had to find."""
    removed: set[tuple[str, str]] = field(default_factory=set)
    """(batch, uid) of the tasks that people deleted."""
    dead: set[int] = field(default_factory=set)
    """Annotations that went with them."""

    def tasks(self) -> list[dict[str, Any]]:
        """Return every task of the project with its annotations, read past our client and the proxy."""
        answer = httpx.get(
            f"{self.local.url}/api/projects/{self.project}/export",
            params={"exportType": "JSON", "download_all_tasks": "true"},
            headers={"Authorization": f"Token {self.local.token}"},
            timeout=600,
            trust_env=False,
        )
        answer.raise_for_status()
        return list(answer.json())

    def open(self) -> list[dict[str, Any]]:
        """Return one task for each item without an answer: any of its copies, not the one we would choose."""
        by_item: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for task in self.tasks():
            by_item.setdefault((task["data"]["batch"], task["data"]["uid"]), []).append(task)
        chosen = [
            self.random.choice(copies)
            for _, copies in sorted(by_item.items())
            if not any(copy["annotations"] for copy in copies)
        ]
        # the oldest batch first, so that it gets done
        return sorted(self.random.sample(chosen, len(chosen)), key=lambda task: str(task["data"]["batch"]))

    def send(self, person: people.Person, method: str, path: str, body: Any) -> int | None:
        """Send what a browser sends and return the annotation's id; None when its task is gone."""
        answer = person._web.request(method, path, json=body)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return int(answer.json()["id"])

    def note(self, annotation: int, task: int, uid: str, batch: str, who: str, value: tuple[str, ...] | None) -> None:
        outcome = "skip" if value is None else "cant_tell" if value == (CANT_TELL,) else "label"
        kept = value if value is not None and outcome == "label" else ()
        act = Act(len(self.acts) + 1, annotation, task, uid, batch, who, outcome, kept)
        self.acts[act.number] = self.newest[annotation] = act

    def answer(self, task: dict[str, Any], *, skips: float = 0.1) -> None:
        """Have somebody answer or skip a task."""
        person, value = self.random.choice(self.people), self.random.choice(SAID)
        skipped = self.random.random() < skips
        body: dict[str, Any] = {"result": [] if skipped else to_result(self.schema, value)}
        body |= {"lead_time": float(len(self.acts) + 1), "was_cancelled": skipped}
        made = self.send(person, "POST", f"/api/tasks/{task['id']}/annotations/", body)
        if made is not None:
            data = task["data"]
            self.note(made, task["id"], data["uid"], data["batch"], person.email, None if skipped else value)

    def edit(self) -> None:
        """Have somebody change their mind to what they never said of this item: a return would be no news."""
        living = [act for number, act in sorted(self.newest.items()) if number not in self.dead and act.value]
        if not living:
            return
        act = self.random.choice(living)
        before = {one.value for one in self.acts.values() if one.annotation == act.annotation}
        left = [value for value in SAID[:3] if value not in before]
        if not left:
            return
        value = self.random.choice(left)
        person = next(one for one in self.people if one.email == act.who)
        body = {"result": to_result(self.schema, value), "lead_time": float(len(self.acts) + 1)}
        if self.send(person, "PATCH", f"/api/annotations/{act.annotation}/", body) is not None:
            self.note(act.annotation, act.task, act.uid, act.batch, act.who, value)

    def remove(self) -> None:
        """Have somebody delete a task whose answer a complete pull has seen (C43, C45)."""
        seen = sorted({act.annotation for act in self.settled.values()} - self.dead)
        if not seen:
            return
        act = self.newest[self.random.choice(seen)]
        self.people[0]._web.request("DELETE", f"/api/tasks/{act.task}/").raise_for_status()
        self.removed.add((act.batch, act.uid))
        self.dead |= {one.annotation for one in self.newest.values() if one.task == act.task}

    @contextlib.contextmanager
    def at_work(self, answers: Sequence[dict[str, Any]], *, removing: bool = True) -> Iterator[None]:
        """Answer these tasks, edit, and delete one, while what is inside runs; leaving it, all is done."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                for turn, task in enumerate(answers):
                    self.answer(task)
                    if turn % 3 == 1:
                        self.edit()
                    if removing and turn == 1:
                        self.remove()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if failed:
            raise failed[0]
