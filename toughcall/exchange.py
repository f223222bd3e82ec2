"""What goes to Label Studio: which project is whose, and a push that is safe to repeat."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, UsageError, digest
from toughcall.schema import Schema
from toughcall.voting import ADJUDICATION, GOLD
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.annotate.studio import Studio

ASKS = "asks"
"""In the ledger: the schema for which a project of Label Studio was made."""
PLACE = "studio_project"
"""In the ledger: which project of Label Studio is whose."""


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


def ledger_id(ws: Workspace) -> str:
    """Return the ledger's own id, made once: two projects of one name on one server stay two."""
    if not ws.store.get("ledger_id"):
        ws.store.put("ledger_id", secrets.token_hex(8))
    return ws.store.get("ledger_id")


def instance(ws: Workspace, project: object) -> str:
    """Return what makes annotation ids of one Label Studio project unique.

    Not the address: the same server on another port holds the same answers.
    """
    return digest("instance", ledger_id(ws), project)


# ---- the projects on the server: one for all, or one for each expert, and one for adjudication


def place_of(batch: Mapping[str, Any], expert: str) -> str:
    """Return the name of the project that a batch is sent to for an expert, "" for the one that all share."""
    return ADJUDICATION if batch["role"] == ADJUDICATION else expert


def places(ws: Workspace) -> dict[str, int]:
    """Return the projects that were made on the server, by their names here."""
    found = ws.store.named(PLACE)
    return {name.removeprefix(PLACE).removeprefix(":"): int(number) for name, number in found.items() if number}


def old_words(ws: Workspace, batch: Mapping[str, Any]) -> str:
    """Return what stands behind a place's name for a batch that asks for earlier labels, "" for the present ones."""
    return "" if batch["schema"] == ws.schema.version else f"#{batch['schema']}"


def config_of(ws: Workspace, place: str) -> str:
    """Return the labelling interface of a project: adjudicators see what was answered, nobody else does."""
    from toughcall.annotate.tasks import labelling_config

    return labelling_config(schema_of(ws, place), answers=place.partition("#")[0] == ADJUDICATION)


def schema_of(ws: Workspace, place: str) -> Schema:
    """Return what a project asks: the present labels, or those it was made for before they changed."""
    version = place.partition("#")[2].partition("~")[0]
    return ws.store.schema(version) if version else ws.schema


def studio_project(ws: Workspace, studio: Studio, place: str = "") -> int:
    """Return the id of one of our projects on the server, made on first use."""
    stored = places(ws).get(place)
    place = place.partition("#")[0]
    title = ws.project.studio.title or f"{ws.project.name[:40]} {ws.project.kind}"
    ending = f" · {place.partition('@')[0][:20]}" if place else ""
    number = studio.ensure_project(
        title[: 50 - len(ending)] + ending,
        config_of(ws, place),
        description=ws.project.guideline,
        project=stored,
        overlap=1 if place else ws.project.studio.overlap,
        owner=f"{ledger_id(ws)}{place}",
    )
    if number != stored:
        ws.store.put(f"{PLACE}:{place}" if place else PLACE, str(number))
        ws.store.put(f"{ASKS}:{number}", ws.schema.version)
    return number


def where(ws: Workspace, url: str) -> str:
    """Return the addresses at which experts answer."""
    found = [(place, f"{url}/projects/{number}/data") for place, number in sorted(places(ws).items())]
    found = [(place, page) for place, page in found if place != ADJUDICATION and "#" not in place]
    return ", ".join(f"{page} ({place})" if place else page for place, page in found) or url


def strange(schema: Schema, words: Mapping[str, str]) -> dict[str, str]:
    """Return the words that are no labels of a schema, with what they were said to mean."""
    return {word: label for word, label in words.items() if word not in schema.labels}


# ---- out

HANDED = "handed"
"""In the ledger: which batches went out as files."""


def handed_out(ws: Workspace) -> set[str]:
    """Return the batches that went out as files: of their tasks no server of ours knows."""
    return {name.removeprefix(f"{HANDED}:") for name in ws.store.named(f"{HANDED}:")}


@dataclass(frozen=True)
class Pushed:
    """What a push did: read = sent + already there + set aside; `gone`: sent before, deleted there since."""

    project: int
    sent: int = 0
    already: int = 0
    removed: int = 0
    set_aside: int = 0
    gone: int = 0

    def __add__(self, more: Pushed) -> Pushed:
        """Return both together, with the project of the second."""
        counted = ("sent", "already", "removed", "set_aside", "gone")
        counts = [getattr(self, one) + getattr(more, one) for one in counted]
        return Pushed(more.project or self.project, *counts)


def plan_tasks(ws: Workspace, batch: Batch, role: str) -> None:
    """Decide who answers what of a batch and note it, once: by expert where they are named, else by whoever comes."""
    if ws.store.tasks(batch.name):
        return
    settings = ws.project.studio
    items = [pick.item for pick in batch.picks]
    if role == ADJUDICATION:
        due = {(item, settings.adjudicator): 1 for item in items}
    elif settings.experts:
        from toughcall.experts import assigned

        due = {(item, expert): 1 for item, experts in assigned(ws, batch).items() for expert in experts}
    else:
        again = {pick.item for pick in batch.picks if pick.reason in (GOLD, "relabel")}
        due = {(item, ""): 1 if item in again else settings.overlap for item in items}
    ws.store.add_tasks(batch.name, due)


def push(ws: Workspace, *, again: bool = False) -> Pushed:
    """Send every open batch; each item once, however often this runs and whatever fails on the way.

    What was sent and is deleted there is told, and sent anew only with `again`.
    """
    # what went out as files is on no server of ours, and goes there only when asked for
    filed: set[str] = set() if again else handed_out(ws)
    waiting = [row for row in ws.store.batches() if row["state"] != "done" and row["name"] not in filed]
    if not waiting:
        return Pushed(0)
    studio = connect(ws)
    total = Pushed(0)
    means = ws.store.meanings(ws.schema.version)
    waiting = _said_before(ws, waiting, means.keys())
    for row in waiting:
        batch = ws.store.batch(row["name"])
        begun = any(name == batch.name for name, _ in ws.store.placed())
        if batch.schema != ws.schema.version and (begun or row["state"] == "sent") and batch.schema in means:
            # its answers are read and translated; nothing new is asked in those words
            there = Pushed(total.project) if row["state"] == "sent" else _as_it_is(ws, studio, row)
            if there:
                total += there
                continue
            batch = ws.store.batch(row["name"])
        if batch.schema != ws.schema.version:
            raise UsageError(
                f"batch {batch.name} was made for other labels: restore [labels] in project.toml to send it, "
                "or say what they mean now: toughcall map EARLIER=PRESENT"
            )
        plan_tasks(ws, batch, row["role"])
        lost: set[str] = set()
        for expert in sorted({expert for _, _, expert, _, _ in ws.store.tasks(batch.name)}):
            done, bad = _push_to(ws, studio, row, expert, again=again)
            lost |= bad
            total += done
        ws.store.mark_batch(batch.name, "sent", lost)
    return total


def _said_before(ws: Workspace, waiting: list[dict[str, Any]], known: Set[str]) -> list[dict[str, Any]]:
    """Return the batches as they are where `[labels]` went back to labels that others were translated to already."""
    from toughcall.mapping import part_ways

    now = ws.schema.version
    asked = {ws.store.get(f"{ASKS}:{number}", now) for place, number in places(ws).items() if "#" not in place}
    older = (asked | {row["schema"] for row in waiting}) - {now}
    if not older or older - known:
        return waiting
    part_ways(ws)
    names = {row["name"] for row in waiting}
    return [row for row in ws.store.batches() if row["name"] in names]


def _as_it_is(ws: Workspace, studio: Studio, row: Mapping[str, Any]) -> Pushed | None:
    """Close a batch that was sent in part, in words that are not asked any more: what is there is asked, no more.

    None where nothing of it arrived: then it asks for the present labels, like any that was never sent.
    """
    from toughcall.annotate import sync

    parts = {expert: number for (name, expert), number in ws.store.placed().items() if name == row["name"]}
    found = {expert: sync.reconcile(studio, number, row["name"]) for expert, number in parts.items()}
    if not any(there for there, _ in found.values()):
        ws.store.adopt_batch(row["name"], ws.schema.version)
        return None
    already = removed = 0
    for expert, (there, gone) in found.items():
        name = row["name"]
        mine = {item for _, item, who, _, state in ws.store.tasks(name) if who == expert and state == "planned"}
        ws.store.mark_tasks(name, expert, mine & there, "sent")
        ws.store.mark_tasks(name, expert, mine - there, "gone")
        already, removed = already + len(mine & there), removed + gone
    ws.store.mark_batch(row["name"], "sent")
    return Pushed(0, 0, already, removed)


def _push_to(
    ws: Workspace, studio: Studio, row: Mapping[str, Any], expert: str, *, again: bool
) -> tuple[Pushed, set[str]]:
    """Send one expert's part of a batch; return what that did and the items that could not be sent."""
    from toughcall.annotate import sync
    from toughcall.annotate.tasks import to_tasks
    from toughcall.taking import words

    batch, place = ws.store.batch(row["name"]), place_of(row, expert)
    # what was begun is finished where it was begun
    number = ws.store.placed().get((batch.name, expert)) or studio_project(ws, studio, place)
    states = {item: state for _, item, who, _, state in ws.store.tasks(batch.name) if who == expert}
    there, removed = sync.reconcile(studio, number, batch.name) if "sent" in states.values() else (set(), 0)
    gone = [item for item, state in states.items() if state == "gone" or (state == "sent" and item not in there)]
    send = {item for item, state in states.items() if state == "planned"} | set(gone if again else ())
    known = strange(ws.schema, words(ws))
    if send and (problem := studio.config_problem(number, config_of(ws, place), ws.schema, known)):
        raise UsageError(problem)
    ws.store.place_tasks(batch.name, expert, number)
    mine = dataclasses.replace(batch, picks=tuple(pick for pick in batch.picks if pick.item in send))
    told = _told(ws, sorted(send)) if row["role"] == ADJUDICATION else None
    items = ws.pool.items([pick.item for pick in mine.picks])
    tasks, bad = to_tasks(mine, items, ws.schema, blind=ws.project.studio.blind, answers=told)
    who = f" to {expert}" if expert else ""
    done = sync.push(studio, number, tasks, progress=ws.telling.bar(f"pushing {batch.name}{who}"))
    refused = [*bad, *done.set_aside]
    ws.note_set_aside("push", refused)
    present = {task["data"]["uid"] for task in tasks} - {found.where for found in done.set_aside}
    ws.store.mark_tasks(batch.name, expert, present, "sent")
    ws.store.mark_tasks(batch.name, expert, send - present, "set_aside")
    if mine.picks:
        studio.set_model_version(number, batch.model)
    if gone and not again:
        ws.telling.say(
            f"{len(gone)} items of batch {batch.name} were deleted in Label Studio and are not sent anew: "
            "toughcall push --again sends them"
        )
    counts = (done.sent, done.already + len(there & states.keys()), removed + done.removed, len(refused))
    return Pushed(number, *counts, 0 if again else len(gone)), send - present


def _told(ws: Workspace, items: Sequence[str]) -> dict[str, str]:
    """Return what was answered so far, in words and without names, for those who decide."""
    from toughcall.experts import told

    return told(ws, items)
