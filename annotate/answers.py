"""Annotation JSON → Answer or SetAside. Pure, and total: no JSON makes it raise or lose an annotation.

The server checks nothing of what it stores (unknown choices, empty results, other controls), so
everything is checked here, against the schema of the batch in which the item was sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from toughcall.annotate.tasks import CONTROL, control, shown, target
from toughcall.records import CANT_TELL, NONE, Answer, Item, Outcome, SetAside, Value, digest
from toughcall.schema import Schema

_SHOWN = 200


def _raw(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=True)[:_SHOWN]
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"


def _word(value: object) -> str:
    """Return an id, a name or a time as text that every store can hold; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).encode("utf-8", "backslashreplace").decode()[:_SHOWN]


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _annotator(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return _word(value) or "unknown"


def _choices(
    regions: Mapping[str, Any], schema: Schema, offered: Sequence[str], words: Mapping[str, str]
) -> tuple[list[str], str]:
    """Return what was chosen, which may be nothing, or why it is no choice (second, else "")."""
    if CONTROL not in regions:
        return [], ""
    choices = regions[CONTROL]
    if not isinstance(choices, list):
        return [], "garbage result: no choices"
    if not all(isinstance(one, str) for one in choices):
        return [], "garbage result: a choice is not a text"
    choices = [one if one in schema.labels else words.get(one, one) for one in choices]
    if len(choices) > 1 and (CANT_TELL in choices or NONE in choices):
        return [], "can't tell or none of these, together with another choice"
    if choices == [CANT_TELL] or (choices == [NONE] and schema.labels and not schema.single):
        return choices, ""
    # what was chosen is judged without the numbers, so that the reason names the choice
    return choices, schema.check(tuple(choices), offered) if choices else ""


def _numbers(regions: Mapping[str, Any], schema: Schema) -> tuple[dict[str, float], str]:
    """Return the numbers given by dimension, or why one is none (second, else "")."""
    numbers: dict[str, float] = {}
    for position, dimension in enumerate(schema.dimensions):
        name = control(position)
        if name not in regions:
            continue
        given = regions[name]
        if isinstance(given, bool) or not isinstance(given, int | float):
            return {}, f"{dimension.name} is not a number: {_raw(given)}"
        # an integer of JSON may be longer than any float
        if not dimension.low <= given <= dimension.high:
            return {}, f"{dimension.name} is {_raw(given)}, outside {dimension.low:g} to {dimension.high:g}"
        numbers[dimension.name] = float(given)
    return numbers, ""


def _regions(result: Sequence[Mapping[str, Any]], schema: Schema) -> tuple[dict[str, Any], str]:
    """Return what each control said, or why the result is garbage (second, else "")."""
    known = {CONTROL: "choices"} | {control(n): "number" for n, _ in enumerate(schema.dimensions)}
    found: dict[str, Any] = {}
    for region in result:
        name, pane = region.get("from_name"), region.get("to_name")
        if not isinstance(name, str) or name not in known or pane != target(schema):
            return {}, f"answered through another control: {_raw(name)} to {_raw(pane)}"
        if name in found:
            return {}, f"the control {name} twice in one answer"
        value = region.get("value")
        if region.get("type") != known[name] or not isinstance(value, dict) or known[name] not in value:
            return {}, f"garbage result: no {known[name]} of {name}"
        found[name] = value[known[name]]
    return found, ""


def _said(result: object, schema: Schema, item: Item, words: Mapping[str, str]) -> tuple[Outcome, Value, str]:
    """Return the outcome and the value of a result, or why it is none (third, else "")."""
    if result is None or result == []:
        return "label", (), "empty answer"
    if not isinstance(result, list) or not all(isinstance(one, dict) for one in result):
        return "label", (), "garbage result: not a list of regions"
    regions, problem = _regions(result, schema)
    if problem:
        return "label", (), problem
    chosen, problem = _choices(regions, schema, schema.offered(item), words)
    if problem:
        return "label", (), problem
    numbers, problem = _numbers(regions, schema)
    if problem:
        return "label", (), problem
    if not chosen and not numbers:
        return "label", (), "empty answer"
    if chosen == [CANT_TELL]:
        return ("label", (), "can't tell, together with a number") if numbers else ("cant_tell", (), "")
    if schema.labels and not chosen:
        return "label", (), "a number without a choice"
    value: Value = (*(one for one in chosen if one != NONE), *numbers.items())
    return "label", schema.ordered(value), ""


def _task_problem(data: Mapping[str, Any], schemas: Mapping[str, Schema], items: Mapping[str, Item]) -> str:
    uid, batch = data.get("uid"), data.get("batch")
    if not isinstance(uid, str) or uid not in items:
        return f"the task's uid {_raw(uid)} is none that we sent"
    if not isinstance(batch, str) or batch not in schemas:
        return f"the task's batch {_raw(batch)} is none that we sent"
    # choices per task hold hints, which may change at any time; what was chosen is checked by itself
    texts = {name: one for name, one in shown(items[uid], schemas[batch]).items() if isinstance(one, str)}
    changed = [name for name, text in texts.items() if data.get(name) != text]
    if changed:
        return f"text changed: {changed[0]} is not what was sent for item {uid}"
    return ""


def _answer(
    annotation: Mapping[str, Any],
    task: Mapping[str, Any],
    schema: Schema,
    item: Item,
    instance: str,
    words: Mapping[str, str],
) -> tuple[Answer | None, str]:
    data = task["data"]
    given = task.get("meta")
    meta = given if isinstance(given, dict) else {}
    number, key = annotation.get("id"), _key(annotation, data["uid"], instance)
    if not key:
        return None, "an annotation without unique_id and id"
    skipped = annotation.get("was_cancelled")
    outcome: Outcome
    value: Value
    if skipped is True:
        outcome, value, problem = "skip", (), ""
    elif skipped in (False, None):
        outcome, value, problem = _said(annotation.get("result"), schema, item, words)
    else:
        return None, f"garbage: was_cancelled is {_raw(skipped)}"
    if problem:
        # it may quote what somebody made up
        return None, problem[:300]
    answer = Answer(
        key=key,
        item=data["uid"],
        annotator=_annotator(annotation.get("completed_by")),
        outcome=outcome,
        value=value,
        batch=data["batch"],
        schema=schema.version,
        at=_word(annotation.get("updated_at")) or _word(annotation.get("created_at")),
        seconds=_seconds(annotation.get("lead_time")),
        origin={
            "task": _word(task.get("id")),
            "annotation": _word(number),
            "project": _word(task.get("project")) or _word(annotation.get("project")),
            "model": _word(meta.get("model")),
            "reason": _word(meta.get("reason")),
        },
    )
    return answer, ""


def _key(annotation: Mapping[str, Any], uid: object, instance: str) -> str:
    """Return what identifies an annotation at its origin, "" for one that nothing does."""
    number, unique = annotation.get("id"), annotation.get("unique_id")
    if isinstance(unique, str) and unique:
        return digest(instance, unique)
    return digest(instance, "id", _word(number), uid) if _word(number) else ""


def keys_of(tasks: Sequence[Mapping[str, Any]], instance: str) -> set[str]:
    """Return the key of every annotation of some tasks, whether it can be read or not."""
    found = set()
    for task in tasks:
        data = task.get("data")
        uid = data.get("uid") if isinstance(data, dict) else None
        notes = [note for note in _annotations(task) if isinstance(note, dict)]
        found |= {_key(note, uid if isinstance(uid, str) else "", instance) for note in notes}
    return found - {""}


def _annotations(task: Mapping[str, Any]) -> list[Any]:
    found = task.get("annotations")
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def read_answers(
    tasks: Sequence[dict[str, Any]],
    schemas: Mapping[str, Schema],
    items: Mapping[str, Item],
    instance: str,
    *,
    words: Mapping[str, str] | None = None,
    unread: list[dict[str, Any]] | None = None,
) -> tuple[list[Answer], list[SetAside]]:
    """Return the answers in a JSON export and what cannot be one: together, every annotation once.

    Args:
        tasks: The export of the server: tasks with `data`, `meta` and `annotations`; drafts are ignored.
        schemas: The schema of each batch, by the batch's name.
        items: The items that were sent, by their ids.
        instance: The id of the server instance; with an annotation's unique id it makes `Answer.key`.
        words: For labels outside a schema the one in it that they were said to mean.
        unread: Gets every task that holds something set aside, as it came.

    A task without annotations is nothing; something that is no task counts as one thing set aside.

    """
    if not isinstance(tasks, list | tuple):
        return [], [SetAside("the export", "not a list of tasks", _raw(tasks))]
    answers: list[Answer] = []
    aside: list[SetAside] = []
    keys: set[str] = set()
    for place, task in enumerate(tasks):
        if not isinstance(task, dict):
            aside.append(SetAside(f"entry {place} of the export", "not a task", _raw(task)))
            continue
        name = f"task {_word(task.get('id')) or f'at {place} of the export'}"
        data = task.get("data")
        task_problem = _task_problem(data if isinstance(data, dict) else {}, schemas, items)
        before, known = len(aside), words or {}
        for turn, annotation in enumerate(_annotations(task)):
            number = _word(annotation.get("id")) if isinstance(annotation, dict) else ""
            where = f"annotation {number or f'at {turn}'} of {name}"
            answer: Answer | None = None
            problem = task_problem
            if not isinstance(annotation, dict):
                problem = problem or "garbage: not an annotation"
            elif not problem and isinstance(data, dict):
                schema, item = schemas[data["batch"]], items[data["uid"]]
                answer, problem = _answer(annotation, task, schema, item, instance, known)
            if answer is not None and answer.key in keys:
                answer, problem = None, "the same annotation twice in one export"
            if answer is None:
                aside.append(SetAside(where, problem, _raw(annotation)))
            else:
                keys.add(answer.key)
                answers.append(answer)
        if unread is not None and len(aside) > before:
            unread.append(task)
    return answers, aside
