"""What goes to Label Studio and comes back: connect, push, pull, each safe to repeat."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toughcall.project import TOKEN_VARIABLE
from toughcall.records import UsageError, digest
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.annotate.studio import Studio


def connect(ws: Workspace) -> Studio:
    """Return a client of the project's Label Studio: the url of project.toml, or the local server."""
    from toughcall.annotate import server
    from toughcall.annotate.studio import Studio

    url = ws.project.studio.url
    if url:
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            raise UsageError(f"{TOKEN_VARIABLE} is not set: put the token of {url} (Account & Settings) into it")
        return Studio(url, token)
    if not server.status(ws.project.server).get("running"):
        raise UsageError("no Label Studio is running for this project: toughcall studio up starts it")
    local = server.credentials(ws.project.server)
    return Studio(local.url, local.token)


@dataclass(frozen=True)
class Pushed:
    """What a push did: read = sent + already there + set aside."""

    project: int
    sent: int = 0
    already: int = 0
    removed: int = 0
    set_aside: int = 0


def ledger_id(ws: Workspace) -> str:
    """Return the ledger's own id, made once: two projects of one name on one server stay two."""
    if not ws.store.get("ledger_id"):
        ws.store.put("ledger_id", secrets.token_hex(8))
    return ws.store.get("ledger_id")


def studio_project(ws: Workspace, studio: Studio) -> int:
    """Return the id of our project on the server, made on first use; UsageError when its interface differs."""
    from toughcall.annotate.tasks import labelling_config

    config = labelling_config(ws.schema)
    stored = ws.store.get("studio_project")
    title = ws.project.studio.title or f"{ws.project.name[:40]} {ws.project.kind}"[:50]
    number = studio.ensure_project(
        title,
        config,
        description=ws.project.guideline,
        project=int(stored) if stored else None,
        overlap=ws.project.studio.overlap,
        owner=ledger_id(ws),
    )
    ws.store.put("studio_project", str(number))
    problem = studio.config_problem(number, config, ws.schema)
    if problem:
        raise UsageError(problem)
    return number


def push(ws: Workspace) -> Pushed:
    """Send every open batch; each item once, however often this runs and whatever fails on the way."""
    from toughcall.annotate import sync
    from toughcall.annotate.tasks import to_tasks

    waiting = [row for row in ws.store.batches() if row["state"] != "done"]
    if not waiting:
        return Pushed(0)
    studio = connect(ws)
    number = studio_project(ws, studio)
    total = Pushed(number)
    for row in waiting:
        batch = ws.store.batch(row["name"])
        if batch.schema != ws.schema.version:
            raise UsageError(
                f"batch {batch.name} was made for other labels: restore [labels] in project.toml to send it"
            )
        tasks, bad = to_tasks(batch, ws.pool.items([pick.item for pick in batch.picks]), ws.schema)
        done = sync.push(studio, number, tasks, progress=ws.telling.bar(f"pushing {batch.name}"))
        refused = [*bad, *done.set_aside]
        ws.note_set_aside("push", refused)
        present = {task["data"]["uid"] for task in tasks} - {found.where for found in done.set_aside}
        lost = [pick.item for pick in batch.picks if pick.item not in present]
        studio.set_model_version(number, batch.model)
        ws.store.mark_batch(batch.name, "sent", lost)
        total = Pushed(
            number,
            total.sent + done.sent,
            total.already + done.already,
            total.removed + done.removed,
            total.set_aside + len(refused),
        )
    return total


@dataclass(frozen=True)
class Pulled:
    """What a pull found: answers read, how many were new, how many set aside, open items per batch."""

    read: int = 0
    new: int = 0
    set_aside: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)


def note_gone(ws: Workspace, present: Collection[str]) -> list[str]:
    """Note the answers that two complete pulls in a row did not find any more, and return their keys (C45).

    What was deleted in Label Studio, by whomever, is told and stays a label here: only an expert's other
    answer takes a label's place.
    """
    noted = {key for _, event in ws.store.events("gone") for key in event["keys"]}
    absent = {a.key for a in ws.store.answers() if a.source == "person"} - set(present) - noted
    before = set(json.loads(ws.store.get("absent", "[]")))
    gone = sorted(absent & before)
    if gone:
        ws.store.add_event("gone", {"keys": gone})
        ws.telling.say(f"{len(gone)} answers are no longer in Label Studio; they stay in the ledger as they were")
    left = json.dumps(sorted(absent - before))
    if left != ws.store.get("absent", "[]"):
        ws.store.put("absent", left)
    return gone


def pull(ws: Workspace) -> Pulled:
    """Read every answer from Label Studio into the ledger; the same pull twice adds nothing."""
    from toughcall.annotate.answers import read_answers

    stored = ws.store.get("studio_project")
    batches = ws.store.batches()
    if not stored or not batches:
        return Pulled()
    studio = connect(ws)
    ws.telling.say("reading answers from Label Studio")
    number = studio_project(ws, studio)
    # the type table may have changed since a batch was sent: every answer is kept, `split` leaves out the illegal
    schemas = {row["name"]: dataclasses.replace(ws.store.schema(row["schema"]), types=()) for row in batches}
    sent = ws.pool.items({pick.item for _, pick in ws.store.picks()})
    # not the address: the same server on another port holds the same answers
    instance = digest("instance", ledger_id(ws), number)
    answers, bad = read_answers(studio.export(number), schemas, sent, instance)
    new = ws.store.add_answers(answers)
    ws.note_set_aside("pull", bad)
    note_gone(ws, {answer.key for answer in answers})
    done: dict[str, int] = {}
    for answer in ws.store.answers():
        done[answer.item] = done.get(answer.item, 0) + (answer.outcome != "deleted")
    waiting = {}
    for row in batches:
        missing = sum(done.get(p.item, 0) < ws.project.studio.overlap for p in ws.store.batch(row["name"]).picks)
        waiting[row["name"]] = missing
        if not missing and row["state"] == "sent":
            ws.store.mark_batch(row["name"], "done")
    return Pulled(len(answers), new, len(bad), waiting)
