"""Files in: every row becomes an item or is set aside with its place and reason (C03–C11, C14–C17)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toughcall.pool import Pool
from toughcall.reading import Row, read
from toughcall.records import Pair, SetAside, Text, UsageError
from toughcall.schema import Schema
from toughcall.settings import Columns

SCHEMA = Schema("multiclass", ("A", "B"), True)
MULTI = Schema("multilabel", ("A", "B"), False)


def rows(path: Path, columns: Columns | None = None, schema: Schema = SCHEMA) -> list[Row | SetAside]:
    return list(read(path, columns or Columns(), schema))


def good(found: list[Row | SetAside]) -> list[str]:
    return [row.item.fields()["text"] for row in found if isinstance(row, Row)]


def bad(found: list[Row | SetAside]) -> list[SetAside]:
    return [row for row in found if isinstance(row, SetAside)]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_c03_numbers_and_null_words_stay_text(tmp_path: Path, suffix: str) -> None:
    """C03: `00123`, `1e5`, `NA`, `null`, `None` come back byte-equal from every format."""
    ids = ["00123", "1e5", "12345678901234567890"]
    texts = ["NA", "null", "None"]
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        write(path, "id,text\n" + "".join(f"{i},{t}\n" for i, t in zip(ids, texts, strict=True)))
    elif suffix == "jsonl":
        write(path, "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in zip(ids, texts, strict=True)))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": ids, "text": texts}), path)
    pool = Pool(tmp_path / "pool")
    pool.add(read(path, Columns(id="id"), SCHEMA))
    assert sorted((t.key, t.text) for t in pool.texts()) == sorted(zip(ids, texts, strict=True))


def test_c03_json_numbers_as_ids_keep_their_spelling(tmp_path: Path) -> None:
    """C03: an id written as the JSON number 1e5 is the id '1e5', not 100000.0."""
    found = rows(write(tmp_path / "a.jsonl", '{"id": 1e5, "text": "x"}\n'), Columns(id="id"))
    assert isinstance(found[0], Row)
    assert found[0].item.texts[0].key == "1e5"


@pytest.mark.parametrize("text", ["", "   ", "\t"])
def test_c04_empty_text_is_set_aside_with_its_row(tmp_path: Path, text: str) -> None:
    """C04: an empty or blank text is set aside with the row number."""
    found = rows(write(tmp_path / "a.csv", f"text,n\nok,1\n{text},2\n"))
    assert good(found) == ["ok"]
    assert (bad(found)[0].where, bad(found)[0].reason) == ("a.csv row 3", "text is empty")


def test_c05_one_malformed_line_costs_one_line(tmp_path: Path) -> None:
    """C05: 1 malformed line in 10,000 leaves 9,999 stored and 1 set aside."""
    lines = [json.dumps({"text": f"line {i}"}) for i in range(10_000)]
    lines[4321] = '{"text": "cut off'
    added = Pool(tmp_path / "pool").add(read(write(tmp_path / "a.jsonl", "\n".join(lines)), Columns(), SCHEMA))
    assert (added.read, added.new, len(added.set_aside)) == (10_000, 9_999, 1)
    assert added.set_aside[0].where == "a.jsonl line 4322"


def test_c06_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    """C06: a UTF-8 BOM does not become part of the first column's name."""
    assert good(rows(write(tmp_path / "a.csv", "text\nhello\n", "utf-8-sig"))) == ["hello"]


@pytest.mark.parametrize(("encoding", "hint"), [("utf-16", "utf-16"), ("latin-1", "latin-1")])
def test_c06_another_encoding_is_refused_with_offset_and_hint(tmp_path: Path, encoding: str, hint: str) -> None:
    """C06: UTF-16 and latin-1 stop before anything is stored, naming the byte and the option."""
    path = write(tmp_path / "a.csv", "text\ncafé\n", encoding)
    with pytest.raises(UsageError, match=rf"byte \d+.*--encoding {hint}"):
        rows(path)
    assert good(rows(path, Columns(encoding=encoding))) == ["café"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("a\ud83d", "U+D83D at position 1"), ("ab\x00", "U+0000 at position 2"), ("\x07x", "U+0007 at position 0")],
)
def test_c07_surrogates_and_control_characters_are_named(tmp_path: Path, text: str, says: str) -> None:
    """C07: the reason names the code point and its position."""
    found = rows(write(tmp_path / "a.jsonl", json.dumps({"text": text}) + "\n"))
    assert says in bad(found)[0].reason


def test_c08_twins_are_stored_unchanged_and_counted(tmp_path: Path) -> None:
    """C08: RTL overrides, joined emoji and NFC/NFD twins are stored as they are; twins are counted."""
    texts = ["\u202eabc", "👩\u200d🔬 lab", "caf\u00e9", "cafe\u0301"]
    pool = Pool(tmp_path / "pool")
    added = pool.add(
        read(write(tmp_path / "a.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in texts)), Columns(), SCHEMA)
    )
    assert sorted(t.text for t in pool.texts()) == sorted(texts)
    assert added.twins == 1


def test_c09_same_id_same_text_is_known_and_another_text_is_a_conflict(tmp_path: Path) -> None:
    """C09: the first text under an id is kept; another one is set aside as a conflict."""
    pool = Pool(tmp_path / "pool")
    added = pool.add(read(write(tmp_path / "a.csv", "id,text\n1,a\n1,a\n1,b\n"), Columns(id="id"), SCHEMA))
    assert (added.new, added.known, len(added.set_aside)) == (1, 1, 1)
    assert "id conflict" in added.set_aside[0].reason
    assert [t.text for t in pool.texts()] == ["a"]


def test_c10_the_same_file_twice_adds_nothing(tmp_path: Path) -> None:
    """C10: a second import of a file adds 0 and writes no shard."""
    path = write(tmp_path / "a.csv", "text\none\ntwo\n")
    pool = Pool(tmp_path / "pool")
    pool.add(read(path, Columns(), SCHEMA))
    before = sorted(p.name for p in pool.folder.iterdir())
    added = pool.add(read(path, Columns(), SCHEMA))
    assert (added.new, added.known) == (0, 2)
    assert sorted(p.name for p in pool.folder.iterdir()) == before


def test_c11_a_long_text_is_flagged_and_a_huge_one_set_aside(tmp_path: Path) -> None:
    """C11: above `long` bytes a text is stored and flagged, above 20 times that it is set aside."""
    path = write(tmp_path / "a.csv", f"text\n{'x' * 150}\n{'y' * 2001}\n")
    added = Pool(tmp_path / "pool").add(read(path, Columns(long=100), SCHEMA))
    assert (added.new, added.long, len(added.set_aside)) == (1, 1, 1)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "3.5", "[1]", '{"a": 1}', "null", "true"])
def test_c14_what_is_no_text_is_set_aside_by_field(tmp_path: Path, value: str) -> None:
    """C14: a number, list, null or boolean where text is due is set aside naming the field."""
    found = rows(write(tmp_path / "a.jsonl", f'{{"text": {value}}}\n'))
    assert bad(found)[0].reason.startswith("text holds ")


def test_c15_a_pair_is_free_of_order_and_never_a_self_pair(tmp_path: Path) -> None:
    """C15: (a,b) and (b,a) are one pair; (a,a) is set aside."""
    path = write(tmp_path / "a.csv", "a,b\nx,y\ny,x\nx,x\n")
    pool = Pool(tmp_path / "pool")
    added = pool.add(read(path, Columns(text="a", text_b="b"), SCHEMA))
    assert (added.new, added.known, len(added.set_aside)) == (1, 1, 1)
    assert pool.pairs() == [Pair(Text("x"), Text("y"))]


def test_c16_an_unknown_gold_label_is_set_aside_with_its_value(tmp_path: Path) -> None:
    """C16: a label outside the schema is named, not dropped."""
    found = rows(write(tmp_path / "a.csv", "text,label\nx,A\ny,Z\n"), Columns(label="label"))
    assert [row.value for row in found if isinstance(row, Row)] == [("A",)]
    assert "'Z'" in bad(found)[0].reason


@pytest.mark.parametrize("schema", [SCHEMA, MULTI])
def test_an_empty_cell_is_unanswered(tmp_path: Path, schema: Schema) -> None:
    """Missing is not negative: an empty cell, null or a left-out field is no answer, for one choice and for many."""
    path = write(tmp_path / "a.csv", "text,label\nx,\ny,A\nz, \n")
    more = write(tmp_path / "a.jsonl", '{"text": "x"}\n{"text": "y", "label": "A"}\n{"text": "z", "label": null}\n')
    for one in (path, more):
        found = rows(one, Columns(label="label"), schema)
        assert [row.value for row in found if isinstance(row, Row)] == [None, ("A",), None]


def test_none_of_the_labels_is_an_answer_of_its_own(tmp_path: Path) -> None:
    """Many labels: `__none__` and an empty list say that somebody looked and none applies."""
    columns = Columns(label="label")
    cells = rows(write(tmp_path / "a.csv", "text,label\nx,__none__\ny,B|A\nz,|\n"), columns, MULTI)
    assert [row.value for row in cells if isinstance(row, Row)] == [(), ("A", "B"), None]
    lines = '{"text": "x", "label": []}\n{"text": "y", "label": ["__none__"]}\n{"text": "z", "label": ["B"]}\n'
    lists = rows(write(tmp_path / "a.jsonl", lines), columns, MULTI)
    assert [row.value for row in lists if isinstance(row, Row)] == [(), (), ("B",)]


@pytest.mark.parametrize(
    ("given", "schema", "says"),
    [
        ("__none__|A", MULTI, "label: '__none__' says that no label applies, yet 'A' does"),
        ("A|__none__", MULTI, "label: '__none__' says that no label applies, yet 'A' does"),
        ("__none__", SCHEMA, "label: label not in schema: '__none__'"),
    ],
)
def test_none_beside_a_label_is_set_aside(tmp_path: Path, given: str, schema: Schema, says: str) -> None:
    """C16: "none of these" together with a label, or where one choice is due, is set aside, not guessed."""
    found = rows(write(tmp_path / "a.csv", f"text,label\nx,{given}\n"), Columns(label="label"), schema)
    assert [one.reason for one in bad(found)] == [says]


def test_the_word_for_none_can_be_chosen_and_may_be_a_label(tmp_path: Path) -> None:
    """data.none names the word; a label of that name stays a label."""
    path = write(tmp_path / "a.csv", "text,label\nx,A\ny,nil\n")
    named = rows(path, Columns(label="label", none="nil"), MULTI)
    assert [row.value for row in named if isinstance(row, Row)] == [("A",), ()]
    same = rows(path, Columns(label="label", none="nil"), Schema("multilabel", ("A", "nil"), False))
    assert [row.value for row in same if isinstance(row, Row)] == [("A",), ("nil",)]


def test_a_field_that_no_line_has_is_a_wrong_name(tmp_path: Path) -> None:
    """C17: an optional field of JSON lines is refused when the whole file lacks it."""
    path = write(tmp_path / "a.jsonl", '{"text": "x"}\n{"text": "y", "lable": "A"}\n')
    with pytest.raises(UsageError, match="no column 'label'"):
        rows(path, Columns(label="label"), MULTI)


def test_c17_a_missing_or_double_column_is_refused_with_what_was_found(tmp_path: Path) -> None:
    """C17: the message lists the columns found and the nearest name."""
    with pytest.raises(UsageError, match=r"no column 'text' \(did you mean 'texte'\?\): found id, texte"):
        rows(write(tmp_path / "a.csv", "id,texte\n1,x\n"))
    with pytest.raises(UsageError, match="'text' more than once"):
        rows(write(tmp_path / "b.csv", "text,text\n1,x\n"))


def test_blocks_join_the_values_of_their_columns(tmp_path: Path) -> None:
    """A block is the values of its columns, kept apart; empty is a value, and it is no part of an id."""
    path = write(tmp_path / "a.csv", "text,author,kind\nx,ab,c\ny,a,bc\nz,,\n")
    found = [row.item.texts[0] for row in rows(path, Columns(block=("author", "kind"))) if isinstance(row, Row)]
    assert [text.block for text in found] == ["ab\x1fc", "a\x1fbc", "\x1f"]
    assert found[0].id == Text("x").id
    with pytest.raises(UsageError, match=r"no column 'auther' \(did you mean 'author'\?\)"):
        rows(path, Columns(block=("auther",)))


@pytest.mark.parametrize("block", ['["a"]', '{"a": 1}', '"a\\u001fb"', '"\\ud83d"'])
def test_c14_a_block_that_is_no_single_value_is_set_aside(tmp_path: Path, block: str) -> None:
    """C14: a list, an object or a control character where a block's value is due is named by its column."""
    found = rows(write(tmp_path / "a.jsonl", f'{{"text": "x", "by": {block}}}\n'), Columns(block=("by",)))
    assert bad(found)[0].reason.startswith("by")


@pytest.mark.parametrize(
    ("time", "days"),
    [
        ("1970-01-02", 1.0),
        ("2026-01-05", 20458.0),
        ("2026-01-05T12:00", 20458.5),
        ("2026-01-05 12:00:00Z", 20458.5),
        ("2026-01-05T12:00+12:00", 20458.0),
        ("20458.25", 20458.25),
        ("-3", -3.0),
        (" ", None),
    ],
)
def test_times_are_days_since_1970(tmp_path: Path, time: str, days: float | None) -> None:
    """A date, a time with or without zone (then UTC) and a plain number become days; empty is no time."""
    found = rows(write(tmp_path / "a.csv", f"text,when\nx,{time}\n"), Columns(time="when"))
    assert [row.item.texts[0].time for row in found if isinstance(row, Row)] == [days]


@pytest.mark.parametrize("time", ['"soon"', '"2026-13-01"', "20260105", "1.7e9", "NaN", "[1]", "true"])
def test_c14_a_time_that_cannot_be_read_is_set_aside(tmp_path: Path, time: str) -> None:
    """C14: what is no date is named; so is a number too large for days (seconds, or a date without dashes)."""
    found = rows(write(tmp_path / "a.jsonl", f'{{"text": "x", "when": {time}}}\n'), Columns(time="when"))
    assert bad(found)[0].reason.startswith("when holds ")


def test_times_and_blocks_of_parquet_files(tmp_path: Path) -> None:
    """Parquet has dates and whole numbers of its own: they read like the same words in CSV."""
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    days = [datetime.date(1970, 1, 3), None]
    table = {"text": ["x", "y"], "by": [7, None], "day": days, "at": [datetime.datetime(1970, 1, 1, 6), None]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    for column, due in (("day", 2.0), ("at", 0.25)):
        found = rows(tmp_path / "a.parquet", Columns(block=("by",), time=column))
        records = [row.item.texts[0] for row in found if isinstance(row, Row)]
        assert [(record.block, record.time) for record in records] == [("7", due), ("", None)]


def test_both_records_of_a_pair_have_its_block_and_time(tmp_path: Path) -> None:
    """A row of two texts says block and time for both."""
    path = write(tmp_path / "a.csv", "a,b,by,when\nx,y,me,3\n")
    found = rows(path, Columns(text="a", text_b="b", block=("by",), time="when"))
    assert [(t.block, t.time) for row in found if isinstance(row, Row) for t in row.item.texts] == [("me", 3.0)] * 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40), max_size=8
    )
)
def test_what_is_read_is_stored_known_or_set_aside(tmp_path: Path, texts: list[str]) -> None:
    """P6: for any texts, read = new + known + set aside, and what is stored reads back equal."""
    import shutil

    shutil.rmtree(tmp_path / "pool", ignore_errors=True)
    path = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts))
    pool = Pool(tmp_path / "pool")
    added = pool.add(read(path, Columns(), SCHEMA))
    assert added.read == added.new + added.known + len(added.set_aside) == len(texts)
    assert {t.text for t in pool.texts()} == {t for t in texts if t.strip()}
