"""Relations in: three ways to say where two spans are; a bad one is set aside with its place and reason."""

from __future__ import annotations

import csv
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toughcall.pool import Pool
from toughcall.reading import Row, read
from toughcall.records import Relation, SetAside, Span, Text, UsageError
from toughcall.schema import Dimension, Schema
from toughcall.settings import Columns
from toughcall.spans import relations

NONE = "NO_RELATION"
PLAIN = Schema("relation", ("leads", "in", NONE), True, null=NONE)
TYPED = Schema(
    "relation", ("leads", "in", NONE), True, null=NONE, types=(("leads", (("PER", "LOC"),)), ("in", (("LOC", "LOC"),)))
)
TEXT = "Ada Poe runs the U.S. economy"
SPANS = Columns(subject="subj", object="obj")
ADA = {"start": 0, "end": 7, "type": "PER", "text": "Ada Poe"}
US = {"start": 17, "end": 21, "type": "LOC", "text": "U.S."}
DUE = Relation(Text(TEXT), Span(0, 7, "PER"), Span(17, 21, "LOC"))


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"text": TEXT, **row}) + "\n" for row in rows), "utf-8")
    return path


def found(path: Path, columns: Columns | None = None, schema: Schema = PLAIN) -> list[Row | SetAside]:
    return list(read(path, columns or Columns(), schema, spanned=True))


def items(rows: list[Row | SetAside]) -> list[Any]:
    """The item of every row, or where and why it is set aside."""
    return [(row.where, row.reason) if isinstance(row, SetAside) else row.item for row in rows]


def reason(tmp_path: Path, columns: Columns, **row: Any) -> str:
    """Why the one relation of one row is set aside."""
    (one,) = found(jsonl(tmp_path / "a.jsonl", row), columns)
    assert isinstance(one, SetAside)
    assert one.where == "a.jsonl line 1"
    return one.reason


def flat(name: str, span: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_{key}": value for key, value in span.items()}


def test_all_forms_give_the_same_relation(tmp_path: Path) -> None:
    """Objects, columns, markers and lists, in JSON, CSV and Parquet: one relation with one id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    marked = {"text": DUE.marked, "subj_type": "PER", "obj_type": "LOC"}
    listed = {"spans": [{"id": "a", **ADA}, {"id": 2, **US}], "pairs": [{"subject": "a", "object": 2}]}
    rows = {
        "objects": {"subj": ADA, "obj": US},
        "columns": {**flat("subj", ADA), **flat("obj", US)},
        "marks": marked,
        "list": listed,
    }
    seen = []
    for name, row in rows.items():
        row = {"text": TEXT, **row}
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow({key: one if isinstance(one, str | int) else json.dumps(one) for key, one in row.items()})
        if name == "list":
            row["spans"] = [{"id": "a", **ADA}, {"id": "2", **US}]
            row["pairs"] = [{"subject": "a", "object": "2"}]
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{name}.parquet")
        jsonl(tmp_path / f"{name}.jsonl", row)
        for suffix in ("csv", "parquet", "jsonl"):
            seen += found(tmp_path / f"{name}.{suffix}", SPANS)
    assert items(seen) == [DUE] * 12
    assert {row.item.id for row in seen if isinstance(row, Row)} == {DUE.id}


def test_types_are_free_and_optional(tmp_path: Path) -> None:
    """A span without a type has the empty type; whole numbers may be written as 3.0."""
    path = jsonl(tmp_path / "a.jsonl", {"subj": {"start": 0, "end": 7.0}, "obj": {"start": "17", "end": 21, "type": 5}})
    assert items(found(path, SPANS)) == [Relation(Text(TEXT), Span(0, 7), Span(17, 21, "5"))]
    marked = jsonl(tmp_path / "b.jsonl", {"text": DUE.marked, "s_type": "PER", "obj_type": "x", "o_type": "LOC"})
    assert items(found(marked, Columns(subject="s", object="o"))) == [DUE]
    assert items(found(marked)) == [Relation(Text(TEXT), Span(0, 7), Span(17, 21, "x"))]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"text": "UK"}, "subj: the text at 17–21 is 'U.S.', not 'UK'"),
        ({"text": ["U.S."]}, "subj: the text at 17–21 is 'U.S.', not ['U.S.']"),
        ({"end": 99}, "subj: 17–99 is not inside the text of 29 characters"),
        ({"start": -1}, "subj: -1–21 is not inside the text of 29 characters"),
        ({"start": 21}, "subj: start 21 is not before end 21"),
        ({"start": 25}, "subj: start 25 is not before end 21"),
        ({"start": 17.5}, "subj: start holds '17.5' where a whole number is due"),
        ({"start": "x"}, "subj: start holds 'x' where a whole number is due"),
        ({"start": True}, "subj: start holds True where a whole number is due"),
        ({"start": [17]}, "subj: start holds ['17'] where a whole number is due"),
        ({"start": float("nan")}, "subj: start holds 'NaN' where a whole number is due"),
        ({"end": None}, "subj has no end"),
        ({"start": 16, "end": 17, "text": None}, "subj: the text at 16–17 is white space"),
        ({"type": ["LOC"]}, "subj: type holds ['LOC'] where a text is due"),
        ({"type": "a\ud83d"}, "subj: type: lone surrogate U+D83D at position 1"),
    ],
)
def test_c14_a_bad_span_is_set_aside(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    """C14: offsets, text or type that cannot be right are named, in an object and in columns alike."""
    assert reason(tmp_path, SPANS, subj=US | wrong, obj=ADA) == says
    assert reason(tmp_path, SPANS, **flat("subj", US | wrong), obj=ADA) == says


def test_c15_a_span_is_not_related_to_itself(tmp_path: Path) -> None:
    """C15: one span twice is no relation, whatever its types; the other direction is another relation."""
    assert reason(tmp_path, SPANS, subj=US, obj=US | {"type": "x"}) == "subj and obj are the same span (17–21)"
    path = jsonl(tmp_path / "b.jsonl", {"subj": US, "obj": ADA}, {"subj": ADA, "obj": US}, {"subj": US, "obj": ADA})
    added = Pool(tmp_path / "pool").add(read(path, SPANS, PLAIN, spanned=True))
    assert (added.new, added.known) == (2, 1)


def test_what_is_no_span_at_all_is_set_aside(tmp_path: Path) -> None:
    """C14: a row without spans, or with a word where a span is due, says what is missing."""
    assert reason(tmp_path, SPANS, subj="Ada", obj=US) == "subj holds 'Ada' where a span with start and end is due"
    assert reason(tmp_path, SPANS, subj=None, obj=US) == "subj has no start"
    assert reason(tmp_path, SPANS, subj="", obj="") == "subj has no start"
    assert reason(tmp_path, SPANS, text=" ", subj=ADA, obj=US) == "text is empty"


@pytest.mark.parametrize(
    ("marked", "text", "subject", "obj"),
    [
        ("[SUBJ] Ada [/SUBJ] and [OBJ] Bo [/OBJ].", "Ada and Bo.", "Ada", "Bo"),
        ("a  [OBJ] Bo [/OBJ]  saw  [SUBJ] Ada [/SUBJ]", "a  Bo  saw  Ada", "Ada", "Bo"),
        ("[SUBJ] the [OBJ] U.S. [/OBJ] economy [/SUBJ]", "the U.S. economy", "the U.S. economy", "U.S."),
        ("[OBJ] [SUBJ] Ada [/SUBJ] Poe [/OBJ] sang", "Ada Poe sang", "Ada", "Ada Poe"),
        ("[OBJ] Ada [SUBJ] Poe [/SUBJ] [/OBJ]", "Ada Poe", "Poe", "Ada Poe"),
        ("[SUBJ] Ada [/SUBJ][OBJ] 's [/OBJ]", "Ada's", "Ada", "'s"),
        ("[SUBJ]  Ada [/SUBJ] [OBJ] Bo  [/OBJ]", " Ada Bo ", " Ada", "Bo "),
    ],
)
def test_markers_leave_the_text_and_come_back(tmp_path: Path, marked: str, text: str, subject: str, obj: str) -> None:
    """Markers and one space inside each go; every other space stays; `marked` gives the same text back."""
    (row,) = found(jsonl(tmp_path / "a.jsonl", {"text": marked}))
    assert isinstance(row, Row)
    assert isinstance(row.item, Relation)
    assert (row.item.record.text, *row.item.ends) == (text, subject, obj)
    assert row.item.marked == marked


def test_markers_need_no_spaces(tmp_path: Path) -> None:
    """Markers set tight against the words mean the same relation."""
    tight = "[SUBJ]Ada[/SUBJ] and [OBJ]Bo[/OBJ]."
    spaced = "[SUBJ] Ada [/SUBJ] and [OBJ] Bo [/OBJ]."
    one, two = found(jsonl(tmp_path / "a.jsonl", {"text": tight}, {"text": spaced}))
    assert items([one]) == items([two])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Ada and Bo", "text: [SUBJ] is missing"),
        ("[SUBJ] Ada [/SUBJ] and Bo", "text: [OBJ] is missing"),
        ("[SUBJ] Ada [/SUBJ] and [OBJ] Bo", "text: [/OBJ] is missing"),
        ("[SUBJ] Ada and [OBJ] Bo [/OBJ]", "text: [/SUBJ] is missing"),
        ("[SUBJ] a [/SUBJ] [SUBJ] b [/SUBJ] [OBJ] c [/OBJ]", "text: [SUBJ] stands there twice"),
        ("[SUBJ] a [/SUBJ] [OBJ] c [/OBJ] [/OBJ]", "text: [/OBJ] stands there twice"),
        ("[/SUBJ] Ada [SUBJ] and [OBJ] Bo [/OBJ]", "text: [/SUBJ] stands before [SUBJ]"),
        ("[SUBJ] a [OBJ] b [/SUBJ] c [/OBJ]", "text: the marks of subject and object cross"),
        ("[OBJ] a [SUBJ] [/OBJ] c [/SUBJ]", "text: the marks of subject and object cross"),
        ("[SUBJ] [OBJ] Ada [/OBJ] [/SUBJ]", "subj and obj are the same span (0–3)"),
        ("[SUBJ]   [/SUBJ] [OBJ] Bo [/OBJ]", "text: nothing stands between [SUBJ] and [/SUBJ]"),
    ],
)
def test_c14_bad_markers_are_set_aside(tmp_path: Path, text: str, says: str) -> None:
    """C14: missing, doubled, crossed or unclosed markers cost their row and say which one."""
    assert reason(tmp_path, Columns(), text=text) == says


PIECE = st.text("ab  .é👩[/]", max_size=6)
WORD = PIECE.filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(st.tuples(PIECE, WORD, PIECE, WORD, PIECE), st.booleans())
def test_a_relation_comes_back_from_its_marked_text(pieces: tuple[str, ...], turned: bool) -> None:
    """For any text and two spans beside each other: relation → marked text → the same relation, to the character."""
    a, b, c, d = accumulate(map(len, pieces[:4]))
    subject, obj = ((c, d), (a, b)) if turned else ((a, b), (c, d))
    item = Relation(Text("".join(pieces)), Span(*subject, "X"), Span(*obj))
    ((_, back, _),) = relations(Text(item.marked), {"subj_type": "X"}, Columns(), PLAIN)
    assert back == item
    assert isinstance(back, Relation)
    assert back.marked == item.marked


@settings(max_examples=200, deadline=None)
@given(st.tuples(PIECE, PIECE, WORD, PIECE, PIECE))
def test_a_nested_relation_comes_back_from_its_marked_text(pieces: tuple[str, ...]) -> None:
    """The same where one span lies inside the other, with or without a shared edge."""
    assume(pieces[1] or pieces[3])
    a, b, c, d = accumulate(map(len, pieces[:4]))
    item = Relation(Text("".join(pieces)), Span(b, c), Span(a, d))
    ((_, back, _),) = relations(Text(item.marked), {}, Columns(), PLAIN)
    assert back == item


def test_a_label_must_be_legal_for_the_types(tmp_path: Path) -> None:
    """C16: a label outside the schema, or outside what the types allow, is set aside with its name."""
    names = ["leads", "in", NONE, "", "owns"]
    path = jsonl(tmp_path / "a.jsonl", *({"subj": ADA, "obj": US, "label": name} for name in names))
    rows = found(path, Columns(subject="subj", object="obj", label="label"), TYPED)
    assert [row.value for row in rows if isinstance(row, Row)] == [("leads",), (NONE,), None]
    assert [row.reason for row in rows if isinstance(row, SetAside)] == [
        "label: label not legal for the types of this item: 'in'",
        "label: label not in schema: 'owns'",
    ]


def test_the_id_of_a_pair_is_not_the_key_of_its_text(tmp_path: Path) -> None:
    """Two relations of one sentence share its record though their rows have ids; the group stays."""
    columns = Columns(subject="subj", object="obj", id="id", group="doc")
    path = jsonl(
        tmp_path / "a.jsonl", *({"subj": a, "obj": b, "id": i, "doc": "d"} for a, b, i in ((ADA, US, 1), (US, ADA, 2)))
    )
    pool = Pool(tmp_path / "pool")
    added = pool.add(read(path, columns, PLAIN, spanned=True))
    assert (added.new, pool.counts()) == (2, (1, 0, 2))
    assert [(text.key, text.group) for text in pool.texts()] == [("", "d")]


ECON = {"id": "e", "start": 22, "end": 29, "type": "THING"}
LIST = [{"id": "a", **ADA}, {"id": "u", **US}, ECON]


def pair(a: str, b: str, **more: Any) -> dict[str, Any]:
    return {"subject": a, "object": b, **more}


def test_each_listed_pair_is_a_row_of_its_own(tmp_path: Path) -> None:
    """A bad pair costs itself alone, with its number; labels come from the pair; the id is the text's key."""
    given_pairs = [
        pair("a", "u", label="leads"),
        pair("a", "x"),
        pair("u", "a", label="leads"),
        pair("u", "u"),
        pair("e", "u", label=NONE),
        pair("e", "a", label=""),
        {"subject": "a"},
        "a-u",
    ]
    path = jsonl(tmp_path / "a.jsonl", {"spans": LIST, "pairs": given_pairs, "key": "s1"})
    rows = found(path, Columns(id="key", label="gold"), TYPED)
    good = [row for row in rows if isinstance(row, Row)]
    assert [(row.where, row.item.fields()["text"][:3], row.value) for row in good] == [
        ("a.jsonl line 1 pair 1", "[SU", ("leads",)),
        ("a.jsonl line 1 pair 5", "Ada", (NONE,)),
        ("a.jsonl line 1 pair 6", "[OB", None),
    ]
    assert {row.item.texts[0].key for row in good} == {"s1"}
    assert [(row.where[-1], row.reason) for row in rows if isinstance(row, SetAside)] == [
        ("2", "object names the span 'x', which is not there"),
        ("3", "label: label not legal for the types of this item: 'leads'"),
        ("4", "span 'u' and span 'u' are the same span (17–21)"),
        ("7", "the pair has no object"),
        ("8", "a pair holds 'a-u' where an object with subject and object is due"),
    ]


def test_a_broken_span_costs_the_pairs_that_use_it(tmp_path: Path) -> None:
    """A span that is used fails its pairs; one that no pair uses, or without an id, is set aside by itself."""
    bad = [{"id": "b", "start": 0, "end": 99}, {"id": "c", "start": 5, "end": 5}, {"start": 0, "end": 3}, "span"]
    twice = [{**ECON, "id": "t"}, {**ECON, "id": "t", "start": 17}]
    pairs = [pair("a", "b"), pair("a", "u"), pair("b", "u"), pair("u", "t")]
    path = jsonl(tmp_path / "a.jsonl", {"spans": [*LIST, *bad, *twice], "pairs": pairs})
    aside = [(row.where[15:], row.reason) for row in found(path) if isinstance(row, SetAside)]
    assert sorted(aside) == [
        ("pair 1", "span 'b': 0–99 is not inside the text of 29 characters"),
        ("pair 3", "span 'b': 0–99 is not inside the text of 29 characters"),
        ("pair 4", "span 't' stands there twice"),
        ("span 5", "span 'c': start 5 is not before end 5"),
        ("span 6", "a span has no id"),
        ("span 7", "a span holds 'span' where an object with id, start and end is due"),
    ]
    assert items([row for row in found(path) if isinstance(row, Row)]) == [DUE]


def test_without_pairs_every_legal_pair_is_asked(tmp_path: Path) -> None:
    """All ordered pairs of different spans; with a type table those for which some label but the null one is legal."""
    twin = {**US, "id": "same place"}
    path = jsonl(tmp_path / "a.jsonl", {"spans": [*LIST, twin]})
    assert len([row for row in found(path) if isinstance(row, Row) and row.value is None]) == 10
    one, other = found(path, None, TYPED)
    assert items([one, other]) == [DUE, DUE]
    assert [one.where, other.where] == ["a.jsonl line 1 pair 1", "a.jsonl line 1 pair 2"]
    # nobody can tell which of two spans under one id was meant: neither is asked about
    doubled = jsonl(tmp_path / "b.jsonl", {"spans": [*LIST[:2], {**ECON, "id": "u"}]})
    assert items(found(doubled)) == [("b.jsonl line 1 span 3", "span 'u' stands there twice")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"spans": LIST[:1]}, ["fewer than two good spans"]),
        ({"spans": []}, ["fewer than two good spans"]),
        ({"spans": LIST[1:]}, ["no label fits any two of its spans"]),
        ({"spans": LIST, "pairs": []}, ["pairs is empty: leave it out to ask about all"]),
        ({"spans": LIST, "pairs": "a-u"}, ["pairs holds 'a-u' where a list of pairs is due"]),
        ({"spans": "a,u"}, ["spans holds 'a,u' where a list of spans is due"]),
        ({"spans": [{"id": "z", "start": 9, "end": 2}]}, ["span 'z': start 9 is not before end 2"]),
    ],
)
def test_a_row_that_gives_no_relation_is_set_aside(tmp_path: Path, row: dict[str, Any], says: list[str]) -> None:
    """P6: every row leaves a trace, also one whose spans make no pair."""
    rows = found(jsonl(tmp_path / "a.jsonl", row), None, TYPED)
    assert [one.reason for one in rows if isinstance(one, SetAside)] == says == [one for _, one in items(rows)]


def test_one_file_may_mix_the_forms(tmp_path: Path) -> None:
    """Each row is recognised by itself."""
    path = jsonl(
        tmp_path / "a.jsonl", {"subj": ADA, "obj": US}, {"text": DUE.marked, "subj_type": "PER"}, {"spans": LIST}
    )
    assert [type(row.item) for row in found(path, SPANS) if isinstance(row, Row)] == [Relation] * 8


def test_c17_a_missing_span_column_is_refused_with_what_was_found(tmp_path: Path) -> None:
    """C17: span columns that the settings name and no row has in any form stop the import with the nearest name."""
    path = jsonl(tmp_path / "a.jsonl", {"subjct": ADA, "obj": US})
    with pytest.raises(UsageError, match=r"no column 'subj' \(did you mean 'subjct'\?\): found text, subjct, obj"):
        found(path, SPANS)
    with pytest.raises(UsageError, match="no column 'label'"):
        found(
            jsonl(tmp_path / "b.jsonl", {"subj": ADA, "obj": US}), Columns(subject="subj", object="obj", label="label")
        )


def test_numbers_may_stand_beside_a_relation(tmp_path: Path) -> None:
    """A dimension is read from the row, and for listed pairs from the pair."""
    schema = Schema("relation", ("leads", NONE), True, dimensions=(Dimension("sure", 0, 1),))
    rows = [{"subj": ADA, "obj": US, "gold": "leads", "sure": 1}]
    rows += [{"spans": LIST, "pairs": [pair("a", "u", label="leads", sure=0.5), pair("u", "a", label="leads", sure=7)]}]
    one, two, three = found(
        jsonl(tmp_path / "a.jsonl", *rows), Columns(subject="subj", object="obj", label="gold"), schema
    )
    assert [row.value for row in (one, two) if isinstance(row, Row)] == [
        ("leads", ("sure", 1)),
        ("leads", ("sure", 0.5)),
    ]
    assert isinstance(three, SetAside)
    assert three.reason == "sure is 7, outside 0 to 1"
