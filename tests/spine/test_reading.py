"""Files in: every row becomes an item or is set aside with its place and reason (C03–C11, C14–C17)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toughcall.pool import Pool
from toughcall.project import Columns
from toughcall.reading import Row, read
from toughcall.records import Pair, Schema, SetAside, Text, UsageError

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


def test_an_empty_cell_is_unlabelled_for_one_choice_and_none_of_them_for_many(tmp_path: Path) -> None:
    """Missing is not negative: an empty cell labels nothing where one choice is due."""
    path = write(tmp_path / "a.csv", "text,label\nx,\ny,B|A\n")
    single = [
        row
        for row in rows(write(tmp_path / "b.csv", "text,label\nx,\n"), Columns(label="label"))
        if isinstance(row, Row)
    ]
    many = [row for row in rows(path, Columns(label="label"), MULTI) if isinstance(row, Row)]
    assert single[0].value is None
    assert [row.value for row in many] == [(), ("A", "B")]


def test_c17_a_missing_or_double_column_is_refused_with_what_was_found(tmp_path: Path) -> None:
    """C17: the message lists the columns found and the nearest name."""
    with pytest.raises(UsageError, match=r"no column 'text' \(did you mean 'texte'\?\): found id, texte"):
        rows(write(tmp_path / "a.csv", "id,texte\n1,x\n"))
    with pytest.raises(UsageError, match="'text' more than once"):
        rows(write(tmp_path / "b.csv", "text,text\n1,x\n"))


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
