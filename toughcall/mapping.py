"""Labels that were renamed, split off or dropped: what earlier answers mean now, said by a person, never guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toughcall.exchange import ASKS, PLACE, places
from toughcall.records import NONE, UsageError
from toughcall.schema import Schema
from toughcall.taking import Taking, words
from toughcall.workspace import Workspace

KEPT = (NONE, "__cant_tell__")


def table(arguments: Sequence[str]) -> dict[str, str]:
    """Return EARLIER=PRESENT arguments as a table; UsageError for one without "=" or given twice."""
    found: dict[str, str] = {}
    for one in arguments:
        name, sign, meaning = one.partition("=")
        if not sign or not name.strip() or name.strip() in found:
            raise UsageError(f"{one!r} is not EARLIER=PRESENT: toughcall map car=vehicle, or car= to leave it out")
        found[name.strip()] = meaning.strip()
    return found


def _names(schema: Schema) -> list[str]:
    return [*schema.labels, *(dimension.name for dimension in schema.dimensions)]


def unknown(ws: Workspace) -> dict[str, int]:
    """Return labels that were answered in Label Studio and are in no schema, with how often (C53)."""
    found: dict[str, int] = {}
    schemas = {row["name"]: ws.store.schema(row["schema"]) for row in ws.store.batches()}
    known = words(ws)
    for _, text in ws.store.raw():
        task = json.loads(text)
        schema = schemas.get(str(task.get("data", {}).get("batch", "")))
        for choice in _choices(task) if schema else ():
            if schema and choice not in (*_names(schema), *KEPT) and choice not in known:
                found[choice] = found.get(choice, 0) + 1
    return found


def _choices(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield every label that the annotations of a task hold, whatever else they hold."""
    notes = task.get("annotations")
    for note in notes if isinstance(notes, list) else ():
        regions = note.get("result") if isinstance(note, dict) else None
        for region in regions if isinstance(regions, list) else ():
            value = region.get("value") if isinstance(region, dict) else None
            chosen = value.get("choices") if isinstance(value, dict) else None
            yield from (one for one in (chosen if isinstance(chosen, list) else ()) if isinstance(one, str))


def strangers(ws: Workspace) -> dict[str, int]:
    """Return how many labels were given under each other schema that nobody has translated yet (C63)."""
    current = ws.schema.version
    means = ws.store.meanings(current)
    return {v: n for v, n in ws.store.answered_schemas().items() if v != current and v not in means}


def translate(ws: Workspace, given: Mapping[str, str]) -> list[dict[str, Any]]:
    """Remember what labels mean now, read again what could not be read, and return what became of the answers.

    `given`: for an earlier or unknown label the present one, "" where it means none of them any more. A label of
    the same name means itself. Raises UsageError when one has no meaning yet, or a word nobody knows.
    """
    current = ws.schema
    here, raw = _names(current), unknown(ws)
    older = {v: ws.store.schema(v) for v in ws.store.answered_schemas() if v != current.version}
    older |= {row["schema"]: ws.store.schema(row["schema"]) for row in ws.store.batches()}
    older.pop(current.version, None)
    theirs = {name for schema in older.values() for name in _names(schema)} | raw.keys()
    if strange := sorted(given.keys() - theirs):
        raise UsageError(f"no answer says {strange[0]!r}: {_known(sorted(theirs - set(here)))}")
    if wrong := sorted(set(given.values()) - {"", *here}):
        raise UsageError(f"{wrong[0]!r} is no label of project.toml: choose {', '.join(here)}")
    before = [event for _, event in ws.store.events("mapping")]
    means: dict[str, dict[str, str]] = {}
    for version, schema in older.items():
        means[version] = {}
        for name in _names(schema):
            earlier = [event["from"][version].get(name, name) for event in before if version in event["from"]]
            before_that = next((given.get(one, one) for one in reversed(earlier)), name)
            now = given.get(name, name if name in here else before_that)
            if now and now not in here:
                raise UsageError(
                    f"{name!r} is no label any more: toughcall map {name}=LABEL, or {name}= to leave it out"
                )
            means[version][name] = now
    read = {name: label for name, label in given.items() if name in raw}
    # what is answered under a new name in a batch of the old labels is the old one
    back = {now: name for table in means.values() for name, now in table.items() if now and now != name}
    ws.store.add_event("mapping", {"to": current.version, "from": means, "words": back | read})
    part_ways(ws)
    taking = Taking(ws)
    for project, text in ws.store.raw():
        taking.take([json.loads(text)], project, kept=True)
    kept = dict.fromkeys(means, 0)
    for answer in ws.store.answers():
        value = current.translated(answer.value, means[answer.schema]) if answer.schema in means else None
        kept[answer.schema] = kept.get(answer.schema, 0) + (value is not None and answer.outcome == "label")
    counts = ws.store.answered_schemas()
    rows = [
        {"schema": v, "labels": counts.get(v, 0), "kept": kept[v], "left out": counts.get(v, 0) - kept[v]}
        for v in means
    ]
    return [
        *rows,
        {"schema": "read now", "labels": sum(raw.values()), "kept": taking.new, "left out": len(taking.aside)},
    ]


def part_ways(ws: Workspace) -> None:
    """Let the projects in Label Studio that ask for other labels be read only; batches not sent yet ask for ours."""
    current = ws.schema.version
    sent = [row["schema"] for row in ws.store.batches() if row["state"] != "planned"]
    for place, number in places(ws).items():
        asks = ws.store.get(f"{ASKS}:{number}", sent[-1] if sent else current)
        if "#" not in place and asks != current:
            ws.store.rename(_named(place), f"{PLACE}:{place}#{asks}~{number}")
            ws.telling.say(
                f"project {number} in Label Studio keeps its labels and is read on; new items get another one"
            )
    for place in places(ws):
        home, _, asks = place.partition("#")
        # back at labels that were asked for before: their project is asked in again
        if asks.partition("~")[0] == current and home not in places(ws):
            ws.store.rename(f"{PLACE}:{place}", _named(home))
    ws.store.adopt_planned(current)


def _named(place: str) -> str:
    return f"{PLACE}:{place}" if place else PLACE


def _known(found: list[str]) -> str:
    return f"earlier answers say {', '.join(found)}" if found else "all answers are of the present labels"
