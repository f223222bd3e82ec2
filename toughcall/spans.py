"""One row → its relations: two spans by offsets, by markers in the text, or as a list of spans with pairs. No I/O."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any, Literal, TypeAlias

from toughcall.questions import near
from toughcall.records import MARKS, Relation, Span, Text
from toughcall.schema import Schema
from toughcall.settings import Columns

Form: TypeAlias = Literal["columns", "list", "marks"]
Found: TypeAlias = tuple[str, Relation | str, Mapping[str, Any]]
"""Where in the row ("", " pair 2"), a relation or why there is none, and what holds its label."""

MARK = re.compile(r"(\[(?:SUBJ|OBJ)\]) ?| ?(\[/(?:SUBJ|OBJ)\])")
WHOLE = re.compile(r"(-?[0-9]{1,15})(?:\.0*)?")
"""A whole number; 3.0 is one, because pandas writes whole numbers so where some are missing."""


class Unusable(ValueError):
    """A span or pair that cannot be used; its text says why."""


def bad_character(text: str) -> str:
    """Return what is wrong with a character of `text` (code point and position), or ""."""
    for position, c in enumerate(text):
        n = ord(c)
        if 0xD800 <= n <= 0xDFFF:
            return f"lone surrogate U+{n:04X} at position {position}"
        if n < 32 and c not in "\t\n\r":
            return f"control character U+{n:04X} at position {position}"
    return ""


def unpacked(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the row with the JSON text in some of its cells, as CSV has it, read; numbers stay as written."""
    out = dict(row)
    for name in names:
        cell = row.get(name)
        if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
            # what is no JSON stays a text, and is refused as one by whoever reads the cell
            with contextlib.suppress(ValueError, RecursionError):
                out[name] = json.loads(cell, parse_int=str, parse_float=str, parse_constant=str)
    return out


def ends(columns: Columns) -> tuple[str, str]:
    """Return the names of subject and object: their column, or the start of their columns' names."""
    return columns.subject or "subj", columns.object or "obj"


def form_of(text: str, row: Mapping[str, Any], columns: Columns) -> Form:
    """Return how a row says where its spans are; where nothing does, the form that was meant."""
    named = bool(columns.subject or columns.object)
    edges = [f"{name}_{edge}" for name in ends(columns) for edge in ("start", "end")]
    if named and (any(isinstance(row.get(name), dict) for name in ends(columns)) or any(map(row.get, edges))):
        return "columns"
    if isinstance(row.get("spans"), list):
        return "list"
    if MARK.search(text):
        return "marks"
    if row.get("spans"):
        return "list"
    return "columns" if named else "marks"


def unfound(row: Mapping[str, Any], columns: Columns) -> list[str]:
    """Return the span columns that the settings name and a file, by its first row, does not have in any form."""
    if "spans" in row or MARK.search(str(row.get(columns.text))):
        return []
    named = [name for name in (columns.subject, columns.object) if name]
    return [name for name in named if name not in row and f"{name}_start" not in row]


def relations(record: Text, row: Mapping[str, Any], columns: Columns, schema: Schema) -> Iterator[Found]:
    """Yield every relation of a row, or why there is none; a bad span or pair costs what uses it, not the row.

    `record` has the row's text as it was written.
    """
    form = form_of(record.text, row, columns)
    if form == "list":
        yield from _listed(record, row, schema)
        return
    try:
        yield "", (_offset if form == "columns" else _marked)(record, row, columns), row
    except Unusable as error:
        yield "", str(error), row


def _span(text: str, part: Mapping[str, Any], name: str) -> Span:
    """Return the span that start, end, type and text of `part` describe."""
    edges = []
    for edge in ("start", "end"):
        value = part.get(edge)
        if value is None or value == "":
            raise Unusable(f"{name} has no {edge}")
        whole = WHOLE.fullmatch(value.strip()) if isinstance(value, str) else None
        if not whole:
            raise Unusable(f"{name}: {edge} holds {value!r:.40} where a whole number is due")
        edges.append(int(whole[1]))
    start, end = edges
    if not (start >= 0 and end <= len(text)):
        raise Unusable(f"{name}: {start}–{end} is not inside the text of {len(text)} characters")
    if start >= end:
        raise Unusable(f"{name}: start {start} is not before end {end}")
    found, said, kind = text[start:end], part.get("text"), part.get("type")
    if said not in (None, "", found):
        raise Unusable(f"{name}: the text at {start}–{end} is {found!r:.60}, not {said!r:.60}")
    if not found.strip():
        raise Unusable(f"{name}: the text at {start}–{end} is white space")
    return Span(start, end, _type(kind, name))


def _type(kind: Any, name: str) -> str:
    if kind is not None and not isinstance(kind, str):
        raise Unusable(f"{name}: type holds {kind!r:.40} where a text is due")
    if problem := bad_character(kind or ""):
        raise Unusable(f"{name}: type: {problem}")
    return str(kind or "")


def _related(record: Text, subject: Span, obj: Span, names: tuple[str, str]) -> Relation:
    if (subject.start, subject.end) == (obj.start, obj.end):
        raise Unusable(f"{names[0]} and {names[1]} are the same span ({subject.start}–{subject.end})")
    return Relation(record, subject, obj)


def _offset(record: Text, row: Mapping[str, Any], columns: Columns) -> Relation:
    """Return the relation whose spans stand in columns of their own."""
    found = []
    for name in ends(columns):
        part = row.get(name)
        flat = {key: row.get(f"{name}_{key}") for key in ("start", "end", "type", "text")}
        if not isinstance(part, dict):
            if part and not any(flat.values()):
                raise Unusable(f"{name} holds {part!r:.40} where a span with start and end is due")
            part = flat
        found.append(_span(record.text, part, name))
    return _related(record, found[0], found[1], ends(columns))


def _marked(record: Text, row: Mapping[str, Any], columns: Columns) -> Relation:
    """Return the relation whose spans are marked in the text, the text without the marks."""
    at: dict[str, int] = {}
    text, last = "", 0
    for match in MARK.finditer(record.text):
        text += record.text[last : match.start()]
        last = match.end()
        sign = match[1] or match[2]
        if sign in at:
            raise Unusable(f"{columns.text}: {sign} stands there twice")
        at[sign] = len(text)
    text += record.text[last:]
    order = list(at)
    for sign in MARKS:
        if sign not in at:
            raise Unusable(f"{columns.text}: {sign} is missing")
    for opens, closes in (MARKS[:2], MARKS[2:]):
        if order.index(closes) < order.index(opens):
            raise Unusable(f"{columns.text}: {closes} stands before {opens}")
        if not text[at[opens] : at[closes]].strip():
            raise Unusable(f"{columns.text}: nothing stands between {opens} and {closes}")
    # the order of the marks, not their places, tells nested from crossed where two marks meet
    if order[2] == f"[/{order[0][1:]}":
        raise Unusable(f"{columns.text}: the marks of subject and object cross")
    spans = [
        Span(at[opens], at[closes], _type(row.get(f"{name}_type"), name))
        for name, opens, closes in zip(ends(columns), MARKS[::2], MARKS[1::2], strict=True)
    ]
    return _related(replace(record, text=text), spans[0], spans[1], ends(columns))


def _listed(record: Text, row: Mapping[str, Any], schema: Schema) -> Iterator[Found]:
    """Yield the relations of a row that lists its spans, and the pairs of them unless all are asked about."""
    if not isinstance(row["spans"], list):
        yield "", f"spans holds {row['spans']!r:.40} where a list of spans is due", row
        return
    good, broken, nowhere = _known_spans(record, row["spans"])
    for place, reason in nowhere:
        yield place, reason, {}
    listed = row.get("pairs")
    # an empty cell names no pairs, an empty list says that there are none
    everything = listed is None or listed == ""
    if everything:
        made = _every(record, good, schema)
        unused = dict(broken)
    elif isinstance(listed, list):
        made = [_pair(record, pair, good, broken) for pair in listed]
        used = {str(pair.get(end)) for pair in listed if isinstance(pair, dict) for end in ("subject", "object")}
        unused = {name: where for name, where in broken.items() if name not in used}
    else:
        yield "", f"pairs holds {listed!r:.40} where a list of pairs is due", row
        return
    for n, (item, source) in enumerate(made, 1):
        yield f" pair {n}", item, source
    for place, reason in unused.values():
        yield place, reason, {}
    # every row must leave a trace
    if not (made or unused or nowhere):
        why = "no label fits any two of its spans" if everything else "pairs is empty: leave it out to ask about all"
        yield "", why if len(good) > 1 else "fewer than two good spans", row


def _known_spans(
    record: Text, listed: list[Any]
) -> tuple[dict[str, Span], dict[str, tuple[str, str]], list[tuple[str, str]]]:
    """Return the good spans by id, (where, why not) of the broken ones by id, and of those without an id."""
    good: dict[str, Span] = {}
    broken: dict[str, tuple[str, str]] = {}
    nowhere: list[tuple[str, str]] = []
    for n, one in enumerate(listed, 1):
        place = f" span {n}"
        if not isinstance(one, dict):
            nowhere.append((place, f"a span holds {one!r:.40} where an object with id, start and end is due"))
            continue
        name = one.get("id")
        if not isinstance(name, str) or not name.strip():
            nowhere.append((place, "a span has no id"))
        elif name in good or name in broken:
            # two spans under one id: nobody can tell which one a pair means
            good.pop(name, None)
            broken[str(name)] = (place, f"span {str(name)!r} stands there twice")
        else:
            try:
                good[str(name)] = _span(record.text, one, f"span {str(name)!r}")
            except Unusable as error:
                broken[str(name)] = (place, str(error))
    return good, broken, nowhere


def _every(record: Text, good: Mapping[str, Span], schema: Schema) -> list[tuple[Relation | str, Mapping[str, Any]]]:
    """Return every ordered pair of different spans that some label other than the null one is legal for."""
    places = [(a, b) for a, b in permutations(good.values(), 2) if (a.start, a.end) != (b.start, b.end)]
    made = [Relation(record, a, b) for a, b in places]
    return [(item, {}) for item in made if not schema.types or any(one != schema.null for one in schema.offered(item))]


def _pair(
    record: Text, pair: Any, good: Mapping[str, Span], broken: Mapping[str, tuple[str, str]]
) -> tuple[Relation | str, Mapping[str, Any]]:
    """Return the relation of one listed pair, or why there is none, and the pair itself for its label."""
    if not isinstance(pair, dict):
        return f"a pair holds {pair!r:.40} where an object with subject and object is due", {}
    names = [pair.get(end) for end in ("subject", "object")]
    for end, name in zip(("subject", "object"), names, strict=True):
        if name is None or name == "":
            return f"the pair has no {end}", pair
        if str(name) in broken:
            return broken[str(name)][1], pair
        if str(name) not in good:
            return f"{end} names the span {str(name)!r}, which is not there{near(str(name), good)}", pair
    try:
        a, b = (str(name) for name in names)
        return _related(record, good[a], good[b], (f"span {a!r}", f"span {b!r}")), pair
    except Unusable as error:
        return str(error), pair
