"""What comes back from Label Studio: a pull that is safe to repeat, and what it could not read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toughcall.exchange import (
    config_of,
    connect,
    handed_out,
    instance,
    place_of,
    places,
    schema_of,
    strange,
    studio_project,
)
from toughcall.records import Answer, SetAside, UsageError, digest
from toughcall.voting import ADJUDICATION, GOLD
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.annotate.studio import Studio

NOWHERE = {"role": "\x00"}
WHOLE = 20
"""Every so many pulls everything is read, whatever seems to have changed: `updated_at` does not see it all."""


@dataclass(frozen=True)
class Pulled:
    """What a pull found: answers read, how many were new, how many set aside, open items per batch."""

    read: int = 0
    new: int = 0
    set_aside: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)


def note_gone(ws: Workspace, present: Collection[str], project: str = "") -> list[str]:
    """Note the answers that two complete pulls in a row did not find any more, and return their keys (C45).

    What was deleted in Label Studio, by whomever, is told and stays a label here: only an expert's other
    answer takes a label's place. `project`: the only one that was read, "" for all.
    """
    noted = {key for _, event in ws.store.events("gone") for key in event["keys"]}
    ours = {
        a.key
        for a in ws.store.answers()
        if a.source == "person" and (not project or a.origin.get("project") == project)
    }
    name = f"absent:{project}" if project else "absent"
    absent = ours - set(present) - noted
    before = set(json.loads(ws.store.get(name, "[]")))
    gone = sorted(absent & before)
    if gone:
        ws.store.add_event("gone", {"keys": gone})
        ws.telling.say(f"{len(gone)} answers are no longer in Label Studio; they stay in the ledger as they were")
    left = json.dumps(sorted(absent - before))
    if left != ws.store.get(name, "[]"):
        ws.store.put(name, left)
    return gone


class Taking:
    """Stores what comes back, a page at a time; whatever is taken twice is stored once (C49)."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        batches = ws.store.batches()
        # the type table may have changed since a batch was sent: every answer is kept, `split` leaves out the illegal
        self.schemas = {row["name"]: dataclasses.replace(ws.store.schema(row["schema"]), types=()) for row in batches}
        self.roles = {row["name"]: row["role"] for row in batches}
        self.models = {row["name"]: row["model"] for row in batches}
        self.reasons = {(batch, pick.item): pick.reason for batch, pick in ws.store.picks()}
        self.words = words(ws)
        self.keys: set[str] = set()
        self.aside: list[SetAside] = []
        self.read = self.new = 0

    def take(self, tasks: list[dict[str, Any]], project: object, *, kept: bool = False) -> None:
        """Store the answers of one page of an export, and as they came those that could not be read.

        `kept`: they were kept when they could not be read, and may have been changed since: what was said later
        stays.
        """
        from toughcall.annotate.answers import keys_of, read_answers

        asked = {item for _, item in self.reasons}
        datas = [task.get("data") for task in tasks if isinstance(task, dict)]
        uids = {data.get("uid") for data in datas if isinstance(data, dict)}
        items = self.ws.pool.items([one for one in uids if isinstance(one, str) and one in asked])
        unread: list[dict[str, Any]] = []
        answers, bad = read_answers(
            tasks, self.schemas, items, instance(self.ws, project), words=self.words, unread=unread
        )
        if kept:
            later = {answer.key: answer.at for answer in self.ws.store.answers()}
            answers = [one for one in answers if one.key not in later or one.at > later[one.key]]
        self.new += self.ws.store.add_answers([self._signed(answer, project) for answer in answers])
        self.ws.store.add_set_aside("pull", bad)
        if unread:
            texts = [json.dumps(task, sort_keys=True) for task in unread]
            number = project if isinstance(project, int) else 0
            self.ws.store.add_raw(number, {digest("raw", text): text for text in texts})
        # what cannot be read is there all the same: nobody deleted it
        self.keys |= {answer.key for answer in answers} | keys_of(unread, instance(self.ws, project))
        self.aside += bad
        self.read += len(answers)

    def _signed(self, answer: Answer, project: object) -> Answer:
        """Put beside an answer what the ledger knows of its question; the task does not say it to experts."""
        reason = self.reasons.get((answer.batch, answer.item), "")
        role = GOLD if reason == GOLD else self.roles[answer.batch]
        origin = {**answer.origin, "project": str(project), "model": self.models[answer.batch], "reason": reason}
        return dataclasses.replace(answer, origin=origin | ({"role": role} if role else {}))

    def told(self) -> None:
        """Say how much was set aside."""
        if self.aside:
            first = self.aside[0]
            self.ws.telling.say(f"{len(self.aside)} set aside, e.g. {first.where}: {first.reason}")


def words(ws: Workspace) -> dict[str, str]:
    """Return what labels that are in no schema were said to mean, the newest word last."""
    return {one: label for _, event in ws.store.events("mapping") for one, label in event["words"].items()}


def pull(ws: Workspace, *, whole: bool = False) -> Pulled:
    """Read the answers from Label Studio into the ledger; the same pull twice adds nothing.

    `whole`: everything, not only what changed since the last one. Answers given through an interface that was
    changed there are stored first; then UsageError says what differs (C53).
    """
    if not places(ws) or not ws.store.batches():
        return Pulled()
    studio = connect(ws)
    ws.telling.say("reading answers from Label Studio")
    taking = Taking(ws)
    problems = [_pull_from(ws, studio, taking, place, whole=whole) for place in sorted(places(ws))]
    taking.told()
    done = finish(ws)
    if problem := next(filter(None, problems), ""):
        raise UsageError(problem)
    return Pulled(taking.read, taking.new, len(taking.aside), done)


def _pull_from(ws: Workspace, studio: Studio, taking: Taking, place: str, *, whole: bool) -> str:
    """Read one project; return how its interface differs from ours, "" when it does not."""
    from toughcall.annotate import pulling

    number = studio_project(ws, studio, place)
    name = f"pull:{number}"
    last = json.loads(ws.store.get(name, "{}"))
    turn = int(last.get("turn", 0)) + 1
    known = ws.store.seen(number)
    fresh = whole or turn % WHOLE == 0 or last.get("words") != taking.words
    before = set(taking.keys)
    found = pulling.read(
        studio,
        number,
        lambda tasks: taking.take(tasks, number),
        since="" if fresh else last.get("since", ""),
        known=known,
        progress=ws.telling.bar(f"pulling {place or 'answers'}"),
    )
    ws.store.mark_seen(number, found.answers, whole=found.whole)
    # the cursor comes last: a pull that was killed before is done again
    ws.store.put(name, json.dumps({"since": found.since, "turn": turn, "words": taking.words}))
    if found.whole:
        note_gone(ws, taking.keys - before, str(number))
    _note_missing(ws, studio, number, place, whole=found.whole)
    schema = schema_of(ws, place)
    return studio.config_problem(number, config_of(ws, place), schema, strange(schema, taking.words))


def _note_missing(ws: Workspace, studio: Studio, number: int, place: str, *, whole: bool) -> None:
    """Remove copies that came late, and note tasks that two looks in a row did not find any more.

    Looked at one by one only where the server counts another number of tasks than were sent, or `whole`; batches that
    are done then too, since a copy may come after the last answer.
    """
    from toughcall.annotate import sync

    states = ("sent", "done") if whole else ("sent",)
    filed = handed_out(ws)
    open_ = {row["name"]: row for row in ws.store.batches() if row["state"] in states and row["name"] not in filed}
    sent: dict[tuple[str, str], set[str]] = {}
    placed = ws.store.placed()
    for batch, item, expert, _, state in ws.store.tasks():
        # what an older toughcall sent has no place noted: it went where its batch still goes
        at_home = placed.get((batch, expert), number if place_of(open_.get(batch, NOWHERE), expert) == place else 0)
        if state == "sent" and batch in open_ and at_home == number:
            sent.setdefault((batch, expert), set()).add(item)
    name = f"missing:{number}"
    before = set(json.loads(ws.store.get(name, "[]")))
    missing: set[str] = set()
    for (batch, expert), items in sorted(sent.items()):
        done = open_[batch]["state"] == "done"
        if (done or not whole) and not before and studio.count(number, batch) == len(items):
            continue
        there, removed = sync.reconcile(studio, number, batch)
        if removed:
            ws.telling.say(f"{removed} copies removed from batch {batch}")
        if done:
            # nobody waits for these any more
            continue
        lost = {item for item in items - there if f"{batch} {item}" in before}
        if lost:
            ws.store.mark_tasks(batch, expert, lost, "gone")
            ws.telling.say(
                f"{len(lost)} items of batch {batch} were deleted in Label Studio: toughcall push --again sends them"
            )
        missing |= {f"{batch} {item}" for item in items - there - lost}
    if missing != before:
        ws.store.put(name, json.dumps(sorted(missing)))


def finish(ws: Workspace) -> dict[str, int]:
    """Close the batches whose every item has the answers it was to get; return how many each still lacks."""
    waiting = {}
    for row in ws.store.batches():
        waiting[row["name"]] = row["waiting"]
        if not row["waiting"] and row["state"] == "sent":
            ws.store.mark_batch(row["name"], "done")
    return waiting


def asking(ws: Workspace, waiting: Mapping[str, int]) -> int:
    """Return how many items wait for experts: adjudication holds up nobody."""
    roles = {row["name"]: row["role"] for row in ws.store.batches()}
    return sum(n for name, n in waiting.items() if roles[name] != ADJUDICATION)
