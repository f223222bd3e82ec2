"""Files → items, losing nothing: every row becomes an item or is set aside with its number and reason.

`00123`, `NA` and `1e5` stay text: CSV is read with the csv module, JSON with numbers kept as written.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from toughcall import spans
from toughcall.questions import near
from toughcall.records import Item, Pair, SetAside, Text, UsageError, Value
from toughcall.schema import Schema
from toughcall.settings import Columns
from toughcall.spans import bad_character

HUGE = 20
"""A text this many times above `Columns.long` is set aside instead of stored."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_DAY = 2_932_897
"""The first day of the year 10000: a plain number beyond it is seconds or 20260105, not days."""
BETWEEN = "\x1f"
"""Stands between the values of a block; no value holds it, as control characters are refused."""


@dataclass(frozen=True, slots=True)
class Row:
    """One good row: where it stood, its item, and its label when the file has one."""

    where: str
    item: Item
    value: Value | None = None
    long: bool = False


class _Number(str):
    """A JSON number, as it was written: fine as an id, not as a text."""

    __slots__ = ()


_json = partial(json.loads, parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _spelled(value: Any) -> Any:
    """Return a Parquet value with its numbers spelled out, as JSON has them."""
    if isinstance(value, dict):
        return {key: _spelled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_spelled(one) for one in value]
    return _Number(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else value


def check_encoding(path: Path, encoding: str) -> None:
    """Raise UsageError with the byte offset when the file is not in `encoding` (C06)."""
    try:
        decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    except LookupError:
        raise UsageError(f"unknown encoding {encoding!r}: try --encoding utf-8, utf-16 or latin-1") from None
    done = 0
    try:
        with path.open("rb") as file:
            first = file.read(2)
            if encoding == "utf-8" and first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise UsageError(f"{path} is UTF-16, not utf-8 (byte 0): run again with --encoding utf-16")
            file.seek(0)
            while block := file.read(1 << 20):
                held = len(decoder.getstate()[0])
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    at = done - held + error.start
                    raise UsageError(
                        f"{path} is not {encoding} (byte {at}): run again with --encoding latin-1, or save it as UTF-8"
                    ) from None
                done += len(block)
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                raise UsageError(
                    f"{path} ends inside a character (byte {done}): the file was cut off; fetch it again"
                ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[str, dict[str, Any] | SetAside]]:
    csv.field_size_limit(1 << 31)
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="", errors="strict") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(reader, None)
        if not header:
            raise UsageError(f"{path} is empty: it needs a header line with the names of its columns")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise UsageError(
                f"{path} has the column {twice[0]!r} more than once: found {', '.join(header)}; rename one"
            )
        number = 1
        while True:
            number += 1
            where = f"{path.name} row {number}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield where, SetAside(where, f"malformed row: {error}")
                continue
            if not cells:
                number -= 1
                continue
            if len(cells) != len(header):
                yield where, SetAside(where, f"{len(cells)} cells where {len(header)} are due", ",".join(cells)[:200])
                continue
            yield where, dict(zip(header, cells, strict=True))


def _jsonl_rows(path: Path, encoding: str) -> Iterator[tuple[str, dict[str, Any] | SetAside]]:
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="\n") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name} line {number}"
            if not line.strip():
                continue
            try:
                row = _json(line)
            except (ValueError, RecursionError) as error:
                yield where, SetAside(where, f"malformed JSON: {error}"[:200], line[:200])
                continue
            if not isinstance(row, dict):
                yield where, SetAside(where, "not a JSON object", line[:200])
                continue
            yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | SetAside]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        for block in file.iter_batches(batch_size=10_000):
            for row in block.to_pylist():
                number += 1
                yield f"{path.name} row {number}", _spelled(row)
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"cannot read {path} as Parquet: {str(error).splitlines()[0]}") from None


def raw_rows(path: Path, columns: Columns) -> Iterator[tuple[str, dict[str, Any] | SetAside]]:
    """Yield (where, row) for every row of a CSV, TSV, JSONL or Parquet file."""
    if not path.is_file():
        raise UsageError(f"no file {path}: name an existing .csv, .tsv, .jsonl or .parquet file")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".jsonl", ".ndjson"):
        check_encoding(path, columns.encoding)
    if suffix == ".csv":
        return _csv_rows(path, columns.encoding, ",")
    if suffix == ".tsv":
        return _csv_rows(path, columns.encoding, "\t")
    if suffix in (".jsonl", ".ndjson"):
        return _jsonl_rows(path, columns.encoding)
    if suffix == ".parquet":
        return _parquet_rows(path)
    raise UsageError(f"{path} is of no known kind: give a .csv, .tsv, .jsonl or .parquet file")


def _text(row: Mapping[str, Any], column: str, columns: Columns) -> tuple[str, str]:
    """Return (text, problem): one of the two is empty."""
    value = row[column]
    if not isinstance(value, str) or isinstance(value, _Number):
        shown = (
            "nothing"
            if value is None
            else f"the {'number' if isinstance(value, _Number) else type(value).__name__} {value!s:.40}"
        )
        return "", f"{column} holds {shown} where text is due"
    if not value.strip():
        return "", f"{column} is empty"
    if len(value.encode("utf-8", "surrogatepass")) > HUGE * columns.long:
        return "", f"{column} is longer than {HUGE * columns.long} bytes"
    problem = bad_character(value)
    return ("", f"{column}: {problem}") if problem else (value, "")


def _key(row: Mapping[str, Any], column: str) -> tuple[str, str]:
    """Return (key, problem) of an id or group column."""
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        return "", f"{column} holds no id"
    problem = bad_character(value)
    return ("", f"{column}: {problem}") if problem else (str(value), "")


def _chosen(given: Any, columns: Columns, schema: Schema) -> tuple[list[str] | None, str]:
    """Return (labels, problem) of a label cell: None = unanswered, [] = somebody looked and no label applies."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return None, ""
    if isinstance(given, list):
        names = [str(name) for name in given]
    elif schema.single:
        names = [str(given)]
    else:
        names = [name.strip() for name in str(given).split(columns.separator) if name.strip()]
        if not names:
            return None, ""
    if schema.single or columns.none in schema.labels or columns.none not in names:
        return names, ""
    others = [name for name in names if name != columns.none]
    return ([], "") if not others else (None, f"{columns.none!r} says that no label applies, yet {others[0]!r} does")


def _numbers(row: Mapping[str, Any], columns: Columns, schema: Schema) -> tuple[list[tuple[str, float]], str]:
    """Return ((dimension, number) of each that was answered, problem), from one cell or a column for each."""
    known, held = {one.name: one for one in schema.dimensions}, row.get(columns.scores)
    cells = held if isinstance(held, dict) else row
    if cells is row and columns.scores not in known and not (held is None or held == ""):
        return [], f"{columns.scores} holds {held!r:.40} where an object of dimensions and numbers is due"
    if cells is held and (strange := [name for name in held if name not in known]):
        return [], f"{columns.scores}: dimension not in schema: {strange[0]!r}{near(strange[0], known)}"
    found = []
    for name, one in known.items():
        cell = cells.get(name)
        if cells is held and isinstance(cell, dict):
            if "score" not in cell:
                return [], f"{name} holds no score"
            cell = cell["score"]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        if not isinstance(cell, str) or not NUMBER.fullmatch(cell.strip()):
            return [], f"{name} holds {cell!r:.40} where a number is due"
        number = float(cell)
        if not one.low <= number <= one.high:
            return [], f"{name} is {number:g}, outside {one.low:g} to {one.high:g}"
        found.append((name, number))
    return found, ""


def _value(
    row: Mapping[str, Any], columns: Columns, schema: Schema, offered: Sequence[str] | None = None
) -> tuple[Value | None, str]:
    """Return (answer, problem) of a row; what is empty or missing is unanswered, never a "no"."""
    column = columns.label if schema.labels else ""
    chosen, problem = _chosen(row.get(column), columns, schema) if column else (None, "")
    if problem:
        return None, f"{column}: {problem}"
    numbers, problem = _numbers(row, columns, schema) if schema.dimensions else ([], "")
    if problem or (chosen is None and not numbers):
        return None, problem
    if schema.labels and chosen is None:
        # kept alone, the number would say that no label applies
        return None, f"{numbers[0][0]} is given, but no label{f' in {column}' if column else ''}"
    value = (*(chosen or ()), *numbers)
    problem = schema.check(value, offered)
    return (None, f"{column}: {problem}") if problem else (schema.ordered(value), "")


def _block(row: Mapping[str, Any], columns: Columns) -> tuple[str, str]:
    """Return (what two records must share to be paired, problem); a value may be empty."""
    cells = {name: "" if row[name] is None else row[name] for name in columns.block}
    for name, cell in cells.items():
        if isinstance(cell, dict | list):
            return "", f"{name} holds {cell!r:.40} where one value is due"
        if problem := bad_character(str(cell)):
            return "", f"{name}: {problem}"
    return BETWEEN.join(map(str, cells.values())), ""


def _time(row: Mapping[str, Any], column: str) -> tuple[float | None, str]:
    """Return (days since 1970-01-01, problem) of a date, a time or a number of days; no zone means UTC."""
    value = row[column].isoformat() if isinstance(row[column], date) else row[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        return None, ""
    with contextlib.suppress(ValueError):
        if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
            if abs(float(value)) < LAST_DAY:
                return float(value), ""
        elif isinstance(value, str):
            at = datetime.fromisoformat(value.strip())
            return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH) / timedelta(days=1), ""
    return None, f"{column} holds {value!r:.40} where a date like 2026-01-05 is due, or days since 1970-01-01"


def _needed(columns: Columns, *, spanned: bool) -> list[str]:
    named = [columns.text, columns.id, columns.group]
    if not spanned:
        named += [columns.text_b, columns.id_b, *columns.block, columns.time]
    return [name for name in named if name]


def _unnamed(row: Mapping[str, Any], columns: Columns, schema: Schema, *, spanned: bool) -> list[str]:
    """Return the columns for labels and spans that the settings name and a row does not have."""
    label = columns.label if schema.labels and not (spanned and "spans" in row) else ""
    return [*([label] if label and label not in row else []), *(spans.unfound(row, columns) if spanned else [])]


def read(path: Path, columns: Columns, schema: Schema, *, spanned: bool = False) -> Iterator[Row | SetAside]:
    """Yield a Row or a SetAside for every row of the file, in order; with `spanned` for every relation of a row.

    Raises UsageError for a file that cannot be read at all: missing, wrong encoding, a missing column.
    """
    checked = False
    for where, row in raw_rows(path, columns):
        if isinstance(row, SetAside):
            yield row
            continue
        missing = absent = [name for name in _needed(columns, spanned=spanned) if name not in row]
        if not checked and not missing:
            absent = _unnamed(row, columns, schema, spanned=spanned)
            # a row may leave out what is unanswered: only a column that no row has is a wrong name
            others = (other for _, other in raw_rows(path, columns) if isinstance(other, dict))
            if absent and any(not _unnamed(other, columns, schema, spanned=spanned) for other in others):
                absent = []
        if absent and not checked:
            hint = near(absent[0], row)
            raise UsageError(
                f"{path} has no column {absent[0]!r}{hint}: found {', '.join(row)}; say --text, --id or --label"
            )
        checked = True
        if missing:
            yield SetAside(where, f"no field {missing[0]!r}", str(row)[:200])
        elif spanned:
            held = (columns.scores, *spans.ends(columns), "spans", "pairs")
            yield from _relations(where, spans.unpacked(row, held), columns, schema)
        else:
            yield _row(where, spans.unpacked(row, [columns.scores]), columns, schema)


def _relations(where: str, row: Mapping[str, Any], columns: Columns, schema: Schema) -> Iterator[Row | SetAside]:
    text, problem = _text(row, columns.text, columns)
    # an id beside two spans names the pair, not the text: as a key it would hide that two pairs share a text
    whole = not problem and spans.form_of(text, row, columns) == "list"
    key, unkeyed = _key(row, columns.id) if columns.id and whole else ("", "")
    group, ungrouped = _key(row, columns.group) if columns.group else ("", "")
    raw = str(row.get(columns.text, ""))[:200]
    if problem := "; ".join(filter(None, (problem, unkeyed, ungrouped))):
        yield SetAside(where, problem, raw)
        return
    for place, item, held in spans.relations(Text(text, key, group), row, columns, schema):
        if isinstance(item, str):
            yield SetAside(where + place, item, raw)
            continue
        own = columns if held is row else replace(columns, label="label")
        value, problem = _value(held, own, schema, schema.offered(item))
        long = len(item.record.text.encode()) > columns.long
        yield SetAside(where + place, problem, raw) if problem else Row(where + place, item, value, long)


def _row(where: str, row: Mapping[str, Any], columns: Columns, schema: Schema) -> Row | SetAside:
    problems: list[str] = []

    def cell(found: tuple[Any, str]) -> Any:
        if found[1]:
            problems.append(found[1])
        return found[0]

    text = cell(_text(row, columns.text, columns))
    paired = bool(columns.text_b)
    # a lone id column of a pair file names the pair, not its records: as a key it would hide that
    # two pairs share a record
    key = cell(_key(row, columns.id)) if columns.id and (columns.id_b or not paired) else ""
    group = cell(_key(row, columns.group)) if columns.group else ""
    block = cell(_block(row, columns))
    time = cell(_time(row, columns.time)) if columns.time else None
    value = cell(_value(row, columns, schema))
    item: Item | None = None
    if paired:
        text_b = cell(_text(row, columns.text_b, columns))
        key_b = cell(_key(row, columns.id_b)) if columns.id_b else ""
        if not problems:
            a, b = Text(text, key, group, block, time), Text(text_b, key_b, group, block, time)
            if a.id == b.id or (a.text == b.text and a.key == b.key):
                problems.append("a pair of a record with itself")
            else:
                item = Pair(a, b)
    elif not problems:
        item = Text(text, key, group, block, time)
    if problems or item is None:
        return SetAside(where, "; ".join(problems), str(row.get(columns.text, ""))[:200])
    return Row(where, item, value, any(len(t.text.encode()) > columns.long for t in item.texts))
