"""Labels and answers as a table for other programs: CSV, JSON lines or Parquet, which `toughcall import` reads back."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toughcall.files import write_atomically
from toughcall.records import Answer, Item, Pair, Relation, Span, UsageError, Value
from toughcall.schema import Schema, chosen_of, numbers_of
from toughcall.settings import Columns
from toughcall.voting import ADJUDICATION, role_of
from toughcall.workspace import Workspace

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes programs for tables run a cell as a formula (OWASP, CSV injection)."""
SPAN = ("id", "start", "end", "type", "text")


@dataclass(frozen=True)
class Table:
    """Rows in the order of `columns`: name → what it holds (text, whole, number, yes, labels, spans, pairs).

    A cell that holds nothing is None. `names` says how a cell of CSV joins several labels.
    """

    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]
    names: Columns = dataclasses.field(default_factory=Columns)


# ---- what is written of an item and of a value


@dataclass(frozen=True)
class _Shape:
    """How items and values of one project become cells, under the names that its imports read."""

    schema: Schema
    names: Columns
    paired: bool
    spanned: bool
    keyed: bool

    @property
    def keys(self) -> tuple[str, ...]:
        if not self.keyed:
            return ()
        if not self.paired:
            return (self.names.id or "id",)
        return (self.names.id, self.names.id_b) if self.names.text_b and self.names.id_b else ("id_a", "id_b")

    @property
    def texts(self) -> tuple[str, ...]:
        names = self.names
        if self.paired:
            return (names.text, names.text_b) if names.text_b else ("text_a", "text_b")
        return (names.text,)

    @property
    def item_columns(self) -> list[tuple[str, str]]:
        group = [(self.names.group, "text")] if self.names.group else []
        spans = [("spans", "spans")] if self.spanned else []
        return [*((name, "text") for name in (*self.keys, *self.texts)), *group, *spans]

    @property
    def value_columns(self) -> list[tuple[str, str]]:
        pairs = [("pairs", "pairs")] if self.spanned else []
        label = [(self.names.label or "label", "text" if self.schema.single else "labels")]
        return [
            *pairs,
            *(label if self.schema.labels else ()),
            *((one.name, "number") for one in self.schema.dimensions),
        ]

    def item(self, item: Item | None) -> list[Any]:
        """Return the cells of `item_columns`."""
        if item is None:
            return [None] * len(self.item_columns)
        cells: list[Any] = [text.key for text in item.texts] if self.keyed else []
        cells += [text.text for text in item.texts]
        cells += [item.texts[0].group] if self.names.group else []
        if isinstance(item, Relation):
            ends = zip(("subject", "object"), (item.subject, item.object), item.ends, strict=True)
            cells.append([_span(name, span, words) for name, span, words in ends])
        return cells

    def value(self, value: Value | None) -> list[Any]:
        """Return the cells of `value_columns`; None is no answer, which an empty one is not."""
        numbers = {} if value is None else numbers_of(value)
        dimensions = [numbers.get(one.name) for one in self.schema.dimensions]
        label: Any = None
        if value is not None:
            label = next(iter(chosen_of(value)), None) if self.schema.single else list(chosen_of(value))
        # what is read back of two spans is the answer beside their names
        names = [one.name for one in self.schema.dimensions]
        said = {"subject": "subject", "object": "object", "label": label} | dict(zip(names, dimensions, strict=True))
        return [*([[said]] if self.spanned else []), *([label] if self.schema.labels else []), *dimensions]


def _span(name: str, span: Span, words: str) -> dict[str, Any]:
    return dict(zip(SPAN, (name, span.start, span.end, span.type, words), strict=True))


def _shape(ws: Workspace, items: Iterable[Item]) -> _Shape:
    names, found = ws.project.data, list(items)
    paired = ws.kind.paired or any(isinstance(item, Pair) for item in found)
    keyed = bool(names.id) or any(text.key for item in found for text in item.texts)
    return _Shape(ws.schema, names, paired, ws.kind.spanned, keyed)


def _columns(shape: _Shape, after: Mapping[str, str]) -> dict[str, str]:
    """Return all columns; where two are called alike, the project's keeps its name."""
    theirs: dict[str, str] = {}
    for name, kind in (*shape.item_columns, *shape.value_columns):
        theirs[_free(name, theirs)] = kind
    return {_free("item", theirs): "text"} | theirs | {_free(name, theirs): kind for name, kind in after.items()}


def _free(name: str, taken: Mapping[str, str]) -> str:
    return _free(f"{name}_", taken) if name in taken else name


# ---- the two tables


def labels(ws: Workspace) -> Table:
    """Return the agreed labels under the present schema, by item id.

    Columns: item, the user's keys and texts, group, spans; the label (all of them where several may be chosen) and a
    number for each dimension; source, trust, how many people said so, whether it was adjudicated, batch, and its part
    (train, test, or nothing before the first score and where its records lie on both sides).
    """
    found, _ = ws.store.labels(ws.schema.version)
    items = ws.pool.items([label.item for label in found])
    final = {one.item for one in ws.store.valid(ws.schema.version) if role_of(one) == ADJUDICATION}
    shape, parts = _shape(ws, items.values()), ws.store.parts()
    rows = []
    for label in sorted(found, key=lambda one: one.item):
        item = items.get(label.item)
        part = ws.part(item, parts) if item else None
        evidence = [label.source, label.trust, label.annotators, label.item in final, label.batch, part]
        rows.append([label.item, *shape.item(item), *shape.value(label.value), *evidence])
    after = {"source": "text", "trust": "text", "annotators": "whole", "adjudicated": "yes", "batch": "text"}
    return Table(_columns(shape, after | {"part": "text"}), rows, ws.project.data)


def answers(ws: Workspace) -> Table:
    """Return every current answer, by item and annotator.

    Columns: as of `labels` up to the value, which is empty where an answer says nothing under the present schema; then
    annotator, outcome (label, skip or cant_tell), what was said in words, under the schema it was asked in, time (ISO
    8601), seconds, batch, source, trust, role (adjudication, gold or nothing) and that schema's version.
    """
    from toughcall.experts import said

    valid = {one.key: one.value for one in ws.store.valid(ws.schema.version)}
    found = sorted(ws.store.answers(), key=lambda one: (one.item, one.annotator, one.key))
    items = ws.pool.items({one.item for one in found})
    shape = _shape(ws, items.values())

    def row(one: Answer) -> list[Any]:
        value = valid.get(one.key) if one.outcome == "label" else None
        words = said(one.value) if one.outcome == "label" else None
        told = [one.annotator, one.outcome, words, one.at or None, one.seconds]
        more = [one.batch, one.source, one.trust, role_of(one), one.schema]
        return [one.item, *shape.item(items.get(one.item)), *shape.value(value), *told, *more]

    after = {"annotator": "text", "outcome": "text", "said": "text", "time": "text", "seconds": "number"}
    after |= dict.fromkeys(("batch", "source", "trust", "role", "schema"), "text")
    return Table(_columns(shape, after), [row(one) for one in found], ws.project.data)


# ---- files


def write(path: Path, table: Table, *, raw: bool = False) -> int:
    """Write a table in the format its name ends with, whole or not at all; the same table gives the same bytes.

    In CSV, cells of text that programs for tables would run as a formula get a leading ' unless `raw`; returns how
    many. Numbers stay as they are, and so does everything in JSON lines and Parquet.

    Raises UsageError for another ending or a folder, DiskError when it cannot be written.
    """
    writers: dict[str, Callable[[Path], int]] = {
        ".csv": lambda aside: _write_csv(aside, table, raw=raw),
        ".jsonl": lambda aside: _write_lines(aside, table),
        ".parquet": lambda aside: _write_parquet(aside, table),
    }
    if path.suffix.lower() not in writers or path.is_dir():
        raise UsageError(f"{path} is no file to write a table to: name one that ends in .csv, .jsonl or .parquet")
    changed: list[int] = []
    write_atomically(path, lambda aside: changed.append(writers[path.suffix.lower()](aside)))
    return changed[0]


def _cell(value: Any, names: Columns) -> str | int | float:
    """Return a cell of CSV: labels joined as an import reads them, spans as JSON, true and false in small letters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return names.separator.join(value) if value else names.none
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _write_csv(path: Path, table: Table, *, raw: bool) -> int:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = ([_cell(value, table.names) for value in row] for row in (list(table.columns), *table.rows))
        return to_csv(file, rows, raw=raw)


def to_csv(file: IO[str], rows: Iterable[Sequence[str | int | float]], *, raw: bool = False) -> int:
    """Write cells as CSV, one that begins like a formula behind a ' unless `raw`; return how many such cells (C83)."""
    writer, changed = csv.writer(file), 0
    for row in rows:
        risky = [not raw and isinstance(cell, str) and cell.startswith(FORMULA) for cell in row]
        changed += sum(risky)
        writer.writerow([f"'{cell}" if bad else cell for cell, bad in zip(row, risky, strict=True)])
    return changed


def _write_lines(path: Path, table: Table) -> int:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in table.rows:
            line = json.dumps(dict(zip(table.columns, row, strict=True)), ensure_ascii=False, allow_nan=False)
            file.write(line + "\n")
    return 0


def _write_parquet(path: Path, table: Table) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "yes": pa.bool_()}
    types["labels"] = pa.list_(pa.string())
    cells = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    # what spans and pairs hold is seen from them
    made = [pa.array(column, types.get(kind)) for column, kind in zip(cells, table.columns.values(), strict=True)]
    pq.write_table(pa.Table.from_arrays(made, names=list(table.columns)), path)
    return 0
