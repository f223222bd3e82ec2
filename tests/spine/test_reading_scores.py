"""Numbers in: nested or flat, complete or not, every bad one set aside with its dimension (C14, C16)."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from toughcall.pool import Pool
from toughcall.reading import Row, read
from toughcall.records import SetAside
from toughcall.schema import Dimension, Schema
from toughcall.settings import Columns

SCHEMA = Schema("scores", (), False, dimensions=(Dimension("progress"), Dimension("justice", 1, 5)))
GRADED = Schema("pair", ("same", "other"), True, dimensions=(Dimension("grade", 0, 4),))
BOTH = (("progress", 7.0), ("justice", 2.5))


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"text": f"text {n}", **row}) + "\n" for n, row in enumerate(rows)), "utf-8")
    return path


def values(path: Path, columns: Columns | None = None, schema: Schema = SCHEMA) -> list[Any]:
    """The value of every row, or the reason of what is set aside."""
    return [one.reason if isinstance(one, SetAside) else one.value for one in read(path, columns or Columns(), schema)]


def test_every_form_gives_the_same_ids_and_values(tmp_path: Path) -> None:
    """An object, an object of objects, JSON in a CSV cell, columns and Parquet: one item, one value."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = {"justice": 2.5, "progress": 7}
    deep = {"progress": {"score": 7, "why": "it moves"}, "justice": {"score": 2.5, "why": ""}}
    files = [
        lines(tmp_path / "nested.jsonl", {"scores": flat}),
        lines(tmp_path / "deep.jsonl", {"scores": deep}),
        lines(tmp_path / "flat.jsonl", flat),
    ]
    for name, row in (("cells", {"scores": json.dumps(deep)}), ("columns", flat)):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", *row])
            writer.writeheader()
            writer.writerow({"text": "text 0", **row})
        files.append(tmp_path / f"{name}.csv")
    for name, row in (("struct", {"scores": deep}), ("wide", flat)):
        pq.write_table(pa.Table.from_pylist([{"text": "text 0", **row}]), tmp_path / f"{name}.parquet")
        files.append(tmp_path / f"{name}.parquet")
    found = [one for path in files for one in read(path, Columns(), SCHEMA)]
    assert [one.value for one in found if isinstance(one, Row)] == [BOTH] * 7
    assert len({one.item.id for one in found if isinstance(one, Row)}) == 1


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ({"progress": "7", "justice": ""}, (("progress", 7.0),)),
        ({"progress": None, "justice": " 1e0 "}, (("justice", 1.0),)),
        ({"scores": {"progress": None, "justice": {"score": None}}}, None),
        ({"scores": {"justice": 5}, "progress": 3}, (("justice", 5.0),)),
        ({"scores": {}}, None),
        ({"scores": ""}, None),
        ({}, None),
    ],
)
def test_an_empty_cell_is_an_unanswered_dimension(tmp_path: Path, row: dict[str, Any], value: Any) -> None:
    """Missing is not zero: an empty, null or left-out number is unanswered; no number at all is no value."""
    assert values(lines(tmp_path / "a.jsonl", row)) == [value]


@pytest.mark.parametrize("cell", ["seven", float("nan"), "nan", float("inf"), "1e999", "1_0", "٣", True, [3], "7,5"])
def test_c14_what_is_no_number_is_set_aside_by_dimension(tmp_path: Path, cell: Any) -> None:
    """C14: a word, NaN, infinity, a list or a truth value where a number is due costs its row, by name."""
    for row in ({"progress": 3, "justice": cell}, {"scores": {"progress": 3, "justice": cell}}):
        (reason,) = values(lines(tmp_path / "a.jsonl", row))
        assert reason.startswith("justice holds ") or reason == "justice is inf, outside 1 to 5"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"progress": -0.1}, "progress is -0.1, outside 0 to 10"),
        ({"scores": {"justice": {"score": "5.5"}}}, "justice is 5.5, outside 1 to 5"),
        ({"scores": {"justice": {"points": 5}}}, "justice holds no score"),
        ({"justice": {"score": 5}}, "justice holds {'score': '5'} where a number is due"),
        (
            {"scores": {"progres": 7}},
            "scores: dimension not in schema: 'progres' (did you mean 'progress'?)",
        ),
        ({"scores": [7, 2]}, "scores holds ['7', '2'] where an object of dimensions and numbers is due"),
        ({"scores": "{cut off"}, "scores holds '{cut off' where an object of dimensions and numbers is due"),
    ],
)
def test_c16_numbers_outside_the_schema_are_set_aside(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    """C16: what is out of range, unknown or of another shape is named, not dropped."""
    assert values(lines(tmp_path / "a.jsonl", row)) == [says]


def test_a_row_with_a_bad_number_costs_one_row(tmp_path: Path) -> None:
    """P6: read = new + known + set aside, whatever the numbers are."""
    path = lines(tmp_path / "a.jsonl", {"progress": 3}, {"progress": "x"}, {})
    added = Pool(tmp_path / "pool").add(read(path, Columns(), SCHEMA))
    assert (added.read, added.new, len(added.set_aside)) == (3, 2, 1)
    assert [value for _, value in added.labels] == [(("progress", 3.0),)]


def test_the_column_of_the_numbers_has_a_name(tmp_path: Path) -> None:
    """data.scores names the column; a dimension of that name is still read from its own column."""
    assert values(lines(tmp_path / "a.jsonl", {"marks": {"progress": 7}}), Columns(scores="marks")) == [
        (("progress", 7.0),)
    ]
    own = Schema("scores", (), False, dimensions=(Dimension("scores"),))
    assert values(lines(tmp_path / "b.jsonl", {"scores": 7}), None, own) == [(("scores", 7.0),)]


def test_without_labels_the_label_column_is_ignored(tmp_path: Path) -> None:
    """Where only numbers are asked, data.label need not exist and is not read."""
    assert values(lines(tmp_path / "a.jsonl", {"progress": 7}), Columns(label="label")) == [(("progress", 7.0),)]
    assert values(lines(tmp_path / "b.jsonl", {"label": "A"}), Columns(label="label")) == [None]


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ({"label": "same", "grade": 4}, ("same", ("grade", 4.0))),
        ({"label": "same"}, ("same",)),
        ({"label": ""}, None),
        ({"label": "", "grade": 4}, "grade is given, but no label in label"),
        ({"label": "sane", "grade": 4}, "label: label not in schema: 'sane'"),
        ({"label": "same", "grade": 5}, "grade is 5, outside 0 to 4"),
    ],
)
def test_a_grade_stands_beside_a_label(tmp_path: Path, row: dict[str, Any], value: Any) -> None:
    """A label with an optional number is one value; a number without its label is no answer and is told."""
    path = lines(tmp_path / "a.jsonl", {"text_b": "other", **row})
    assert values(path, Columns(text_b="text_b", label="label"), GRADED) == [value]


def test_a_number_alone_never_says_that_no_label_applies(tmp_path: Path) -> None:
    """Many labels and a number: an empty label cell with a number is set aside, not read as none of them."""
    many = Schema("multilabel", ("A", "B"), False, dimensions=(Dimension("sure", 0, 1),))
    path = lines(tmp_path / "a.jsonl", {"label": None, "sure": 1}, {"label": [], "sure": 1})
    assert values(path, Columns(label="label"), many) == ["sure is given, but no label in label", (("sure", 1.0),)]
