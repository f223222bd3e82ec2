"""The labelled research sets beside the project, as items, answers and a schema; nothing of them is kept here.

They lie in ../shared/datasets and may not be redistributed: a benchmark prints figures on them, never a text.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toughcall.model import kinds
from toughcall.model.kind import Kind
from toughcall.records import Item, Label, Pair, Relation, Span, Text, Value
from toughcall.schema import Dimension, Schema

DATASETS = Path(__file__).resolve().parent.parent.parent / "shared" / "datasets"
KINDS = {
    "opp115": "multilabel",
    "goemotions": "multilabel",
    "conll04_pairs": "relation",
    "gitbugs_pairs": "pair",
    "ellipse_essays": "scores",
}
ENDS = {
    "Kill": ("Peop", "Peop"),
    "Live_In": ("Peop", "Loc"),
    "Located_In": ("Loc", "Loc"),
    "OrgBased_In": ("Org", "Loc"),
    "Work_For": ("Peop", "Org"),
}
"""conll04: the types of each relation, which this set lists in either order."""


@dataclass(frozen=True)
class Research:
    """One set: its kind and schema, and (items, labels) of its train and test parts, each item once."""

    name: str
    kind: Kind
    schema: Schema
    parts: Mapping[str, tuple[list[Item], list[Label]]]

    @property
    def texts(self) -> list[Text]:
        """Everything the encoder reads, each text once."""
        found = {view.id: view for items, _ in self.parts.values() for item in items for view in item.views}
        return list(found.values())


def rows_of(name: str, part: str) -> list[dict[str, Any]]:
    """Return the rows of one file of a set."""
    with gzip.open(DATASETS / name / f"{part}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def there(name: str) -> bool:
    """Return whether a set is on this machine."""
    return (DATASETS / name).is_dir()


def load(name: str, *, typed: bool = True) -> Research:
    """Return a set; `typed`: with the type table of the relations."""
    kind = kinds.get(KINDS[name])
    rows = {part: rows_of(name, part) for part in ("train", "test")}
    if name == "ellipse_essays":
        names = list(rows["train"][0]["scores"])
        schema = kind.schema((), dimensions=tuple(Dimension(one, 1.0, 5.0, step=0.5) for one in names))
    elif name == "gitbugs_pairs":
        schema = kind.schema(kind.default_labels)
    elif name == "conll04_pairs":
        table = tuple((label, tuple(sorted({(a, b), (b, a)}))) for label, (a, b) in ENDS.items())
        schema = kind.schema((kind.default_null, *ENDS), types=table if typed else ())
    else:
        schema = kind.schema(sorted({label for row in rows["train"] for label in row["labels"]}))
    parts = {}
    for part, found in rows.items():
        items = {item.id: (item, Label(item.id, answer(row, schema))) for row in found if (item := read(row))}
        parts[part] = ([item for item, _ in items.values()], [label for _, label in items.values()])
    return Research(name, kind, schema, parts)


def read(row: Mapping[str, Any]) -> Item | None:
    """Return a row's item; None for a pair of one text with itself."""
    if "subj" in row:
        spans = [Span(row[end]["start"], row[end]["end"], row[end]["type"]) for end in ("subj", "obj")]
        return Relation(Text(row["text"]), *spans)
    if "text_b" in row:
        return Pair(Text(row["text_a"]), Text(row["text_b"])) if row["text_a"] != row["text_b"] else None
    return Text(row["text"])


def answer(row: Mapping[str, Any], schema: Schema) -> Value:
    """Return a row's answer."""
    if "relation" in row:
        return (row["relation"],)
    if "scores" in row:
        return tuple((name, float(value)) for name, value in row["scores"].items())
    if "label" in row:
        return (schema.labels[0 if row["label"] else 1],)
    return tuple(row["labels"])
