"""Schema → labelling interface, Batch → tasks, Value → annotation result: pure functions, no server.

Label Studio 1.23 stores a choice's `alias` and shows its `html`. Two traps of its browser side decide
how they are written: an attribute that reads true or false, other than `value`, becomes a boolean and
breaks the page; and `$word` inside a `value` is replaced by a field of the task.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any
from xml.etree import ElementTree

from toughcall.records import CANT_TELL, Batch, Item, Pick, Schema, SetAside, UsageError

CONTROL = "answer"
"""The name of the one control that experts use, in every kind."""

NONE = "__none__"
"""The choice of an expert who looked and found that no label applies (`multilabel`); an empty submit is not that."""

LONGEST = 1_000_000
"""Characters per text field; beyond it browsers stop scrolling and imports hit the server's body limit."""

KEYS = "1234567890" + "qwetasdfgcvbyiopjklm"
"""Hot keys of the labels. `n` is none of these, `x` is can't tell, `u` belongs to the editor."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def target(schema: Schema) -> str:
    """Return the name of the text pane that answers point to."""
    return "text_a" if schema.kind == "pair" else "text"


def _template(kind: str) -> ElementTree.Element:
    path = resources.files("toughcall.annotate.templates") / f"{kind}.xml"
    if not kind.isidentifier() or not path.is_file():
        raise UsageError(f"there is no labelling interface for kind {kind!r}: set project.kind in project.toml")
    return ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (our own file)


def _plain(text: str) -> str:
    # a word joiner after the dollar keeps the editor from reading a field's name
    return _NOT_XML.sub(" ", text).replace("$", "$\u2060")


def _choice(stored: str, shown: str, hint: str, key: str) -> ElementTree.Element:
    hint = _NOT_XML.sub(" ", hint).strip()
    names = {"value": stored} if stored in ("true", "false") else {"alias": stored, "value": _plain(shown)}
    text = f'<span class="tc-label">{html.escape(shown)}</span>' + (f"<sup> [{key}]</sup>" if key else "")
    if hint and hint != shown:
        text += f'<span class="tc-hint">{html.escape(hint)}</span>'
        if hint not in ("true", "false"):
            names["hint"] = hint
    names["html"] = text
    if key:
        names["hotkey"] = key
    return ElementTree.Element("Choice", names)


def labelling_config(schema: Schema) -> str:
    """Return the XML of the labelling interface of `schema`; the stored strings are its labels, NONE and CANT_TELL.

    Raises UsageError for a kind without template and for a label that XML cannot hold or that we reserve.
    """
    root = _template(schema.kind)
    choices = root.find(f".//Choices[@name='{CONTROL}']")
    guide = root.find(".//View[@className='tc-guide']")
    if choices is None or guide is None:
        raise UsageError(f"the template {schema.kind}.xml is damaged: install toughcall again")
    if schema.guideline.strip():
        guide[0].set("value", _plain(schema.guideline.strip()))
    else:
        root.remove(guide)
    choices.set("choice", "single-radio" if schema.single else "multiple")
    hints = schema.hints if len(schema.hints) == len(schema.labels) else schema.labels
    for position, (label, hint) in enumerate(zip(schema.labels, hints, strict=True)):
        if not label or label in (NONE, CANT_TELL) or _NOT_XML.search(label):
            raise UsageError(f"{label!r} cannot be shown as a label: rename it under [labels] in project.toml")
        choices.append(_choice(label, label, hint, KEYS[position] if position < len(KEYS) else ""))
    if not schema.single:
        choices.append(_choice(NONE, "none of these", "", "n"))
    choices.append(_choice(CANT_TELL, "can't tell", "", "x"))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def _wrong(fields: Mapping[str, str], schema: Schema) -> tuple[str, str]:
    """Return why these fields must not be sent and the text in question, or two empty strings."""
    due = {"text_a", "text_b"} if schema.kind == "pair" else {"text"}
    if set(fields) != due:
        return f"the interface shows {' and '.join(sorted(due))}, the item has {' and '.join(sorted(fields))}", ""
    for name, text in fields.items():
        if not text.strip():
            return f"{name} is empty", ""
        if len(text) > LONGEST:
            return f"{name} has {len(text)} characters, more than {LONGEST}", text
        for position, c in enumerate(text):
            if "\ud800" <= c <= "\udfff" or (c < " " and c not in "\t\n\r"):
                return f"{name} holds U+{ord(c):04X} at position {position}, which the server cannot store", text
    return "", ""


def _safe(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _task(batch: Batch, pick: Pick, fields: Mapping[str, str], schema: Schema, score: float) -> dict[str, Any]:
    return {
        "data": {**fields, "uid": pick.item, "batch": batch.name},
        "meta": {
            "reason": _safe(pick.reason),
            "rank": int(pick.rank),
            "score": float(pick.score),
            "probability": float(pick.probability),
            "note": _safe(pick.note),
            "model": batch.model,
            "schema": schema.version,
        },
        "predictions": [{"model_version": batch.model, "score": score, "result": []}],
    }


def to_tasks(batch: Batch, items: Mapping[str, Item], schema: Schema) -> tuple[list[dict[str, Any]], list[SetAside]]:
    """Return one task per pick that can be shown, by rank, and the picks that cannot (C34, C38).

    Each task carries a prediction without a result: nothing is pre-selected, and its score in (0, 1)
    rises with the rank, because "Uncertainty sampling" serves the lowest score first.
    """
    tasks: list[dict[str, Any]] = []
    aside: list[SetAside] = []
    seen: set[str] = set()
    picks = sorted(batch.picks, key=lambda pick: (pick.rank, pick.item))
    for position, pick in enumerate(picks, start=1):
        item = items.get(pick.item)
        if pick.item in seen:
            aside.append(SetAside(pick.item, f"picked twice in batch {batch.name}"))
            continue
        seen.add(pick.item)
        if item is None:
            aside.append(SetAside(pick.item, "not in the pool"))
            continue
        if not (math.isfinite(pick.score) and math.isfinite(pick.probability)):
            aside.append(SetAside(pick.item, f"its {pick.reason} score or probability is not a finite number"))
            continue
        fields = item.fields()
        reason, raw = _wrong(fields, schema)
        if reason:
            aside.append(SetAside(pick.item, reason, raw[:200]))
            continue
        tasks.append(_task(batch, pick, fields, schema, position / (len(picks) + 1)))
    return tasks, aside


def to_result(schema: Schema, values: Sequence[str]) -> list[dict[str, Any]]:
    """Return the annotation result that says `values`: labels, CANT_TELL alone, or nothing at all (`multilabel`).

    Raises ValueError when `values` is no answer under the schema; the server itself would take anything.
    """
    if list(values) == [CANT_TELL]:
        choices = [CANT_TELL]
    else:
        problem = schema.check(values)
        if problem:
            raise ValueError(problem)
        choices = [label for label in schema.labels if label in values] or [NONE]
    return [{"from_name": CONTROL, "to_name": target(schema), "type": "choices", "value": {"choices": choices}}]
