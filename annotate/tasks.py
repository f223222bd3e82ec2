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
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from toughcall.records import CANT_TELL, NONE, Batch, Item, Pick, Relation, SetAside, Span, UsageError, mark
from toughcall.schema import Dimension, Schema, chosen_of, numbers_of

CONTROL = "answer"
"""The name of the control in which experts choose, in every kind."""

LONGEST = 1_000_000
"""Characters per text field; beyond it browsers stop scrolling and imports hit the server's body limit."""

KEYS = "1234567890" + "qwetasdfgcvbyiopjklm"
"""Hot keys of the labels. `n` is none of these, `x` is can't tell, `u` belongs to the editor."""

SAID = "answers"
"""The field of a task with what others said of it; only adjudicators get one."""

LISTED = frozenset({"text", "question"})
"""What a task with a marked text carries for Label Studio's list of tasks alone."""

NOTE = (
    "Fields may stay empty. A number that you delete becomes 0: take it back with undo, below. "
    "To submit: Tab out of the fields, then Ctrl+Enter."
)
"""What experts read below the number fields of Label Studio, which cannot be emptied once they were filled."""

_SMALL = "font-size: 13px; font-weight: 400; line-height: 1.3; opacity: 0.75"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_KEY = 0xE000  # from here on: characters for private use, which no keyboard has
_SPANS = ('<span class="tc-subj">', "</span>", '<span class="tc-obj">', "</span>")


def _read(name: str) -> ElementTree.Element:
    text = (resources.files("toughcall.annotate.templates") / name).read_text(encoding="utf-8")
    return ElementTree.fromstring(text)  # noqa: S314 (our own file)


def _template(kind: str) -> ElementTree.Element:
    name = f"{kind}.xml"
    if not kind.isidentifier() or not (resources.files("toughcall.annotate.templates") / name).is_file():
        raise UsageError(f"there is no labelling interface for kind {kind!r}: set project.kind in project.toml")
    return _read(name)


@lru_cache(maxsize=16)
def _fields(kind: str) -> tuple[str, frozenset[str]]:
    """Return the name of a template's first text pane and the task's fields that it shows."""
    elements = list(_template(kind).iter())
    bound = [one for one in elements if one.get("value", "").startswith("$")]
    panes = [one.get("name", "") for one in bound if one.get("name") and not one.get("toName")]
    return panes[0], frozenset(one.get("value", "")[1:] for one in bound)


def target(schema: Schema) -> str:
    """Return the name of the text pane that answers point to."""
    return _fields(schema.kind)[0]


def control(position: int) -> str:
    """Return the name of the control of the dimension at this place: its own name may hold anything."""
    return f"d{position}"


def _plain(text: str) -> str:
    # a word joiner after the dollar keeps the editor from reading a field's name
    return _NOT_XML.sub(" ", text).replace("$", "$\u2060")


def _choice(stored: str, shown: str, hint: str, key: str) -> dict[str, str]:
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
    return names


def _choices(schema: Schema) -> dict[str, dict[str, str]]:
    """Return the choice of each label; its key belongs to its place in the schema, whatever else is offered."""
    hints = schema.hints if len(schema.hints) == len(schema.labels) else schema.labels
    # the editor takes the first digit that a numeric keypad types into a clicked number field for a hot key as well
    keys = KEYS.lstrip("0123456789") if schema.dimensions else KEYS
    made = {}
    for position, (label, hint) in enumerate(zip(schema.labels, hints, strict=True)):
        if not label or label in (NONE, CANT_TELL) or _NOT_XML.search(label):
            raise UsageError(f"{label!r} cannot be shown as a label: rename it under [labels] in project.toml")
        made[label] = _choice(label, label, hint, keys[position] if position < len(keys) else "")
    return made


def _cant_tell() -> dict[str, str]:
    return _choice(CANT_TELL, "can't tell", "", "x")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _header(text: str, style: str) -> ElementTree.Element:
    return ElementTree.Element("Header", {"value": _plain(text), "size": "5", "style": f"margin: 0; {style}"})


def _row(position: int, dimension: Dimension, pane: str) -> ElementTree.Element:
    """Return what asks for one number: name, range, an empty field, and the hint below."""
    low, high = _number(float(dimension.low)), _number(float(dimension.high))
    # without a step of its own the browser would call every fraction invalid
    step = _number(float(dimension.step)) if dimension.step else "any"
    span = f"{low} to {high}" + ("" if step in ("any", "1") else f", step {step}")
    row = ElementTree.Element("View", {"className": "tc-number"})
    row.append(_header(dimension.name, "grid-area: name; font-size: 15px; align-self: baseline"))
    row.append(_header(span, f"grid-area: range; align-self: baseline; {_SMALL}"))
    asked = {"name": control(position), "toName": pane, "min": low, "max": high, "step": step}
    # without a key of its own the editor gives it one, 1 for the first, that fills in a number unseen
    asked["hotkey"] = chr(_NO_KEY + position)
    ElementTree.SubElement(row, "Number", asked)
    if dimension.hint.strip():
        row.append(_header(dimension.hint.strip(), f"grid-area: hint; {_SMALL}"))
    return row


def _fill_choices(choices: ElementTree.Element, schema: Schema) -> None:
    made = _choices(schema)
    if schema.labels:
        choices.set("choice", "single-radio" if schema.single else "multiple")
    if choices.get("value"):
        # which labels an item allows differs: they travel with its task
        return
    homes = dict(zip(schema.labels, schema.coarse, strict=True)) if schema.coarse else dict.fromkeys(schema.labels, "")
    groups: dict[str, ElementTree.Element] = {}
    for label, names in made.items():
        home = homes[label]
        if home and home not in groups:
            groups[home] = ElementTree.SubElement(choices, "View", {"className": "tc-group"})
            groups[home].append(_header(home, f"grid-column: 1 / -1; {_SMALL}"))
        ElementTree.SubElement(groups.get(home, choices), "Choice", names)
    if schema.labels and not schema.single:
        ElementTree.SubElement(choices, "Choice", _choice(NONE, "none of these", "", "n"))
    ElementTree.SubElement(choices, "Choice", _cant_tell())


def labelling_config(schema: Schema, *, answers: bool = False) -> str:
    """Return the XML of the labelling interface of `schema`; the stored strings are its labels, NONE and CANT_TELL.

    `answers`: for those who decide what others disagree on: it shows what these said (the field `answers`).

    Raises UsageError for a kind without template and for a label that XML cannot hold or that we reserve.
    """
    root = _template(schema.kind)
    parts = {one.get("className", ""): one for one in root.iter("View")}
    choices, numbers = root.find(f".//Choices[@name='{CONTROL}']"), parts.get("tc-numbers")
    if choices is None or numbers is None or "tc-guide" not in parts:
        raise UsageError(f"the template {schema.kind}.xml is damaged: install toughcall again")
    own = root.find("Style")
    style = _read("tc-style.xml")
    style.text = (style.text or "") + ((own.text or "") if own is not None else "")
    if own is not None:
        root.remove(own)
    root.insert(0, style)
    if schema.guideline.strip():
        parts["tc-guide"][0].set("value", _plain(schema.guideline.strip()))
    else:
        root.remove(parts["tc-guide"])
    if answers:
        panel = ElementTree.Element("View", {"className": "tc-said"})
        panel.append(_header("What was answered so far", _SMALL))
        ElementTree.SubElement(panel, "Text", {"name": "answers", "value": f"${SAID}", "valueType": "text"})
        home = next(one for one in root.iter() if one.get("className") == "tc-answer")
        root.insert(list(root).index(home), panel)
    _fill_choices(choices, schema)
    for position, dimension in enumerate(schema.dimensions):
        numbers.append(_row(position, dimension, target(schema)))
    if schema.dimensions:
        # an element of the page that takes the focus behind the last field: the editor hears no key inside a field
        note = {"name": "note", "value": f'<span class="tc-note" tabindex="0">{NOTE}</span>'}
        ElementTree.SubElement(numbers, "HyperText", {**note, "valueType": "text", "inline": "true"})
    else:
        home = next(one for one in root.iter() if numbers in list(one))
        home.remove(numbers)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def _marked(item: Relation) -> str:
    """Return a relation's text as HTML with both spans marked; well-formed also where they cross."""
    first, second = item.sides
    if not first.start < second.start < first.end < second.end:
        return mark(item, _SPANS, html.escape)
    text = item.record.text
    cuts = [0, first.start, second.start, first.end, second.end, len(text)]
    before, alone, both, rest, after = (html.escape(text[a:b]) for a, b in pairwise(cuts))
    outer, inner = (_SPANS[:2], _SPANS[2:]) if first is item.subject else (_SPANS[2:], _SPANS[:2])
    # the one that ends later is cut in two where the other one ends
    marked = f"{outer[0]}{alone}{inner[0]}{both}{inner[1]}{outer[1]}{inner[0]}{rest}{inner[1]}"
    return f"{before}{marked}{after}"


def shown(item: Item, schema: Schema) -> dict[str, Any]:
    """Return the data of an item's task: its texts by field, and the choices where they depend on the item.

    The texts are compared when answers come back: to change what is made of an item here is to set aside
    the answers to every task that was sent before.
    """
    if not isinstance(item, Relation):
        return dict(item.fields())

    def named(words: str, span: Span) -> str:
        words = " ".join(words.split())
        return f"{words} ({span.type})" if span.type else words

    subject, object_ = map(named, item.ends, (item.subject, item.object))
    offered, choices = schema.offered(item), _choices(schema)
    return {
        "text": item.record.text,
        "html": _marked(item),
        "question": f"{subject} → {object_}",
        "subject": subject,
        "object": object_,
        "options": [*(choices[label] for label in offered), _cant_tell()],
    }


def _wrong(fields: Mapping[str, Any], schema: Schema) -> tuple[str, str]:
    """Return why these fields must not be sent and the text in question, or two empty strings."""
    due = _fields(schema.kind)[1] | ({SAID} & fields.keys())
    if due - fields.keys() or fields.keys() - due - (LISTED if "html" in due else set()):
        return f"the interface shows {' and '.join(sorted(due))}, the item has {' and '.join(sorted(fields))}", ""
    if len(fields.get("options", "many")) == 1:
        return "no label is legal for the types of its two spans", ""
    for name, text in fields.items():
        if not isinstance(text, str):
            continue
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


def _task(
    batch: Batch, pick: Pick, fields: Mapping[str, Any], schema: Schema, score: float, *, blind: bool
) -> dict[str, Any]:
    why: dict[str, Any] = {
        "reason": _safe(pick.reason),
        "score": float(pick.score),
        "probability": float(pick.probability),
        "note": _safe(pick.note),
        "model": batch.model,
    }
    return {
        "data": {**fields, "uid": pick.item, "batch": batch.name},
        "meta": {"rank": int(pick.rank), "schema": schema.version} | ({} if blind else why),
        "predictions": [{"model_version": batch.model, "score": score, "result": []}],
    }


def to_tasks(
    batch: Batch,
    items: Mapping[str, Item],
    schema: Schema,
    *,
    blind: bool = False,
    answers: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], list[SetAside]]:
    """Return one task per pick that can be shown, by rank, and the picks that cannot (C34, C38).

    `blind`: nothing of what a model said of an item goes with its task. `answers`: what was answered so far, by item,
    for those who decide.

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
        fields = shown(item, schema) | ({SAID: answers.get(pick.item, "")} if answers is not None else {})
        reason, raw = _wrong(fields, schema)
        if reason:
            aside.append(SetAside(pick.item, reason, raw[:200]))
            continue
        tasks.append(_task(batch, pick, fields, schema, position / (len(picks) + 1), blind=blind))
    return tasks, aside


def to_result(schema: Schema, value: Sequence[str | tuple[str, float]]) -> list[dict[str, Any]]:
    """Return the annotation result that says `value`: labels and numbers, CANT_TELL alone, or no label at all.

    Raises ValueError when `value` is no answer under the schema; the server itself would take anything.
    """
    said = tuple(value)
    if said != (CANT_TELL,):
        problem = schema.check(said)
        if problem:
            raise ValueError(problem)
        said = schema.ordered(said)
    chosen, numbers = list(chosen_of(said)), numbers_of(said)
    regions: list[tuple[str, str, Any]] = []
    if chosen or schema.labels:
        regions.append((CONTROL, "choices", chosen or [NONE]))
    for position, dimension in enumerate(schema.dimensions):
        if dimension.name in numbers:
            regions.append((control(position), "number", numbers[dimension.name]))
    return [
        {"from_name": name, "to_name": target(schema), "type": kind, "value": {kind: what}}
        for name, kind, what in regions
    ]
