"""Files → items, losing nothing: every row becomes an item or is set aside with its number and reason.

`00123`, `NA` and `1e5` stay text: CSV is read with the csv module, JSON with numbers kept as written.
"""

from __future__ import annotations

import codecs
import csv
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toughcall.project import Columns, near
from toughcall.records import Item, Pair, Schema, SetAside, Text, UsageError, Value

HUGE = 20
"""A text this many times above `Columns.long` is set aside instead of stored."""


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


def bad_character(text: str) -> str:
    """Return what is wrong with a character of `text` (code point and position), or ""."""
    for position, c in enumerate(text):
        n = ord(c)
        if 0xD800 <= n <= 0xDFFF:
            return f"lone surrogate U+{n:04X} at position {position}"
        if n < 32 and c not in "\t\n\r":
            return f"control character U+{n:04X} at position {position}"
    return ""


def twin_key(text: str) -> str:
    """Return the text as a careless reader sees it: NFKC, case folded, white space squeezed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


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
                row = json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
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
                shown = {
                    k: _Number(v) if isinstance(v, int | float) and not isinstance(v, bool) else v
                    for k, v in row.items()
                }
                yield f"{path.name} row {number}", shown
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


def _value(row: Mapping[str, Any], columns: Columns, schema: Schema) -> tuple[Value | None, str]:
    """Return (label value, problem); an empty cell of a single-choice kind is no label."""
    given = row[columns.label]
    if given is None:
        return None, ""
    if isinstance(given, list):
        names = [str(name) for name in given]
    elif schema.single:
        names = [str(given)]
    else:
        names = [name.strip() for name in str(given).split(columns.separator) if name.strip()]
    if schema.single and names == [""]:
        return None, ""
    problem = schema.check(names)
    return (None, f"{columns.label}: {problem}") if problem else (tuple(sorted(names, key=schema.labels.index)), "")


def _needed(columns: Columns) -> list[str]:
    named = (columns.text, columns.text_b, columns.id, columns.id_b, columns.label, columns.group)
    return [name for name in named if name]


def read(path: Path, columns: Columns, schema: Schema) -> Iterator[Row | SetAside]:
    """Yield a Row or a SetAside for every row of the file, in order.

    Raises UsageError for a file that cannot be read at all: missing, wrong encoding, a missing column.
    """
    checked = False
    for where, row in raw_rows(path, columns):
        if isinstance(row, SetAside):
            yield row
            continue
        missing = [name for name in _needed(columns) if name not in row]
        if missing and not checked:
            hint = near(missing[0], row)
            raise UsageError(
                f"{path} has no column {missing[0]!r}{hint}: found {', '.join(row)}; say --text, --id or --label"
            )
        checked = True
        yield (
            _row(where, row, columns, schema)
            if not missing
            else SetAside(where, f"no field {missing[0]!r}", str(row)[:200])
        )


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
    value = cell(_value(row, columns, schema)) if columns.label else None
    item: Item | None = None
    if paired:
        text_b = cell(_text(row, columns.text_b, columns))
        key_b = cell(_key(row, columns.id_b)) if columns.id_b else ""
        if not problems:
            a, b = Text(text, key, group), Text(text_b, key_b, group)
            if a.id == b.id or (a.text == b.text and a.key == b.key):
                problems.append("a pair of a record with itself")
            else:
                item = Pair(a, b)
    elif not problems:
        item = Text(text, key, group)
    if problems or item is None:
        return SetAside(where, "; ".join(problems), str(row.get(columns.text, ""))[:200])
    return Row(where, item, value, any(len(t.text.encode()) > columns.long for t in item.texts))
