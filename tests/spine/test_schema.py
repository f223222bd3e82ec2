"""What may be answered: what makes a new version, what an item is offered, which answers are refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall.records import Pair, Relation, Span, Text, Value, digest
from toughcall.schema import Dimension, Schema, Tiers, chosen_of, names_of, numbers_of, schema_from, value_of

PLAIN = Schema("multiclass", ("a", "b"), True)
MANY = Schema("multilabel", ("a", "b", "c"), False)
SCORED = Schema("scores", (), False, dimensions=(Dimension("mood", -4, 4), Dimension("force", 0, 10, 2.0)))
GRADED = Schema("pair", ("same", "other"), True, dimensions=(Dimension("grade", 0, 1),))
TYPED = Schema(
    "relation",
    ("none", "in", "at"),
    True,
    null="none",
    types=(("in", (("TAXON", "STRAT"), ("STRAT", "STRAT"))), ("at", (("TAXON", "LOC"),))),
)
FULL = dataclasses.replace(
    SCORED,
    guideline="how?",
    dimensions=(Dimension("mood", -4, 4, 0.8, "how it feels", 0.5), Dimension("force", 0, 10, 0.2)),
    tiers=Tiers((("low", -4.0), ("high", 2.5)), "mood", -0.5),
)
TEXT = Text("Ammonites lie in the Lias of Dorset.")


def related(subject: str, object_: str) -> Relation:
    return Relation(TEXT, Span(0, 9, subject), Span(21, 25, object_))


def test_the_version_of_a_schema_without_numbers_is_what_it_always_was() -> None:
    """C86: labels that were stored by an older toughcall still belong to their project: the digest is pinned."""
    for schema in (PLAIN, MANY, TYPED, Schema("pair", ("similar", "not_similar"), True)):
        plain = ["schema", schema.kind, list(schema.labels), schema.single]
        assert schema.version == digest(*plain)[:12]
    assert PLAIN.version == "2bc966ab1cf2"
    assert Schema("pair", ("similar", "not_similar"), True).version == "b81c5449322c"


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        (PLAIN, {"guideline": "other"}),
        (PLAIN, {"hints": ("x", "y")}),
        (PLAIN, {"null": "a"}),
        (PLAIN, {"coarse": ("up", "down")}),
        (TYPED, {"types": ()}),
        (FULL, {"tiers": Tiers()}),
        (FULL, {"dimensions": tuple(dataclasses.replace(d, weight=9, hint="", step=1) for d in FULL.dimensions)}),
    ],
)
def test_what_leaves_the_version(schema: Schema, change: dict[str, Any]) -> None:
    """P14: what only explains, weighs or narrows leaves every stored answer valid."""
    assert dataclasses.replace(schema, **change).version == schema.version


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        (PLAIN, {"labels": ("b", "a")}),
        (PLAIN, {"labels": ("a", "b", "c")}),
        (PLAIN, {"single": False}),
        (PLAIN, {"kind": "relation"}),
        (PLAIN, {"dimensions": SCORED.dimensions}),
        (SCORED, {"dimensions": SCORED.dimensions[:1]}),
        (SCORED, {"dimensions": SCORED.dimensions[::-1]}),
        (SCORED, {"dimensions": (Dimension("mood", -4, 5), SCORED.dimensions[1])}),
        (SCORED, {"dimensions": (Dimension("mood", -3, 4), SCORED.dimensions[1])}),
        (SCORED, {"dimensions": (Dimension("Mood", -4, 4), SCORED.dimensions[1])}),
    ],
)
def test_what_makes_a_new_version(schema: Schema, change: dict[str, Any]) -> None:
    """P14: other labels or other ranges ask another question, and old answers do not train."""
    assert dataclasses.replace(schema, **change).version != schema.version


@pytest.mark.parametrize(
    ("item", "labels"),
    [
        (related("TAXON", "STRAT"), ("none", "in")),
        (related("STRAT", "TAXON"), ("none",)),
        (related("TAXON", "LOC"), ("none", "at")),
        (related("", ""), ("none",)),
        (TEXT, ("none", "in", "at")),
        (Pair(TEXT, Text("other")), ("none", "in", "at")),
    ],
)
def test_the_types_of_two_spans_decide_what_is_offered(item: Any, labels: tuple[str, ...]) -> None:
    """A label in the table is offered to its own types in their direction only; one that is not in it to all."""
    assert TYPED.offered(item) == labels
    assert dataclasses.replace(TYPED, types=()).offered(item) == TYPED.labels


def test_a_type_table_may_leave_nothing_to_offer() -> None:
    """When every label is in the table, spans of other types have no answer."""
    full = dataclasses.replace(TYPED, types=(*TYPED.types, ("none", (("A", "B"),))))
    assert full.offered(related("X", "Y")) == ()


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        (PLAIN, ("a",), ""),
        (PLAIN, (), "0 choices where exactly one is due"),
        (PLAIN, ("a", "b"), "2 choices where exactly one is due"),
        (PLAIN, ("x",), "label not in schema: 'x'"),
        (PLAIN, ("a", ("mood", 1.0)), "dimension not in schema: 'mood'"),
        (MANY, (), ""),
        (MANY, ("c", "a"), ""),
        (MANY, ("a", "a"), "the same label twice"),
        (SCORED, (("mood", -4.0), ("force", 10.0)), ""),
        (SCORED, (("force", 0.0),), ""),
        (SCORED, (), "no number given"),
        (SCORED, (("mood", 4.01),), "mood is 4.01, outside -4 to 4"),
        (SCORED, (("force", -0.5),), "force is -0.5, outside 0 to 10"),
        (SCORED, (("mood", float("nan")),), "mood is nan, outside -4 to 4"),
        (SCORED, (("mood", float("inf")),), "mood is inf, outside -4 to 4"),
        (SCORED, (("size", 1.0),), "dimension not in schema: 'size'"),
        (SCORED, (("mood", 1.0), ("mood", 1.0)), "the same label twice"),
        (SCORED, ("a", ("mood", 1.0)), "label not in schema: 'a'"),
        (GRADED, ("same",), ""),
        (GRADED, ("same", ("grade", 0.5)), ""),
        (GRADED, (("grade", 0.5),), "0 choices where exactly one is due"),
        (GRADED, ("same", ("grade", 2.0)), "grade is 2, outside 0 to 1"),
    ],
)
def test_what_is_an_answer(schema: Schema, value: Value, says: str) -> None:
    """Labels, numbers or both: what does not fit the schema is refused in words, and never by a traceback."""
    assert schema.check(value) == says


def test_an_answer_is_held_against_what_was_offered() -> None:
    """A label of the schema that is not legal for the item is refused; without an item all are legal."""
    offered = TYPED.offered(related("TAXON", "STRAT"))
    assert TYPED.check(("in",), offered) == ""
    assert TYPED.check(("at",), offered) == "label not legal for the types of this item: 'at'"
    assert TYPED.check(("at",)) == ""
    assert TYPED.check(("none",), ()) == "label not legal for the types of this item: 'none'"


def test_an_answer_has_one_order() -> None:
    """Labels and dimensions come in the schema's order, labels first, so that equal answers are equal."""
    assert MANY.ordered(("c", "a")) == ("a", "c")
    assert SCORED.ordered((("force", 1.0), ("mood", 2.0))) == (("mood", 2.0), ("force", 1.0))
    assert GRADED.ordered((("grade", 0.5), "other")) == ("other", ("grade", 0.5))
    assert MANY.ordered(()) == ()


@pytest.mark.parametrize("schema", [PLAIN, MANY, SCORED, GRADED, TYPED, FULL])
def test_a_schema_comes_back_from_its_json(schema: Schema) -> None:
    """What a ledger and a model keep of a schema is the schema, with the types it had."""
    back = schema_from(json.loads(json.dumps(dataclasses.asdict(schema))))
    assert back == schema
    assert hash(back) == hash(schema)


def test_the_json_of_an_older_toughcall_reads() -> None:
    """C86: a stored schema without numbers, types, tiers and nested labels has none of them."""
    old = {"kind": "multiclass", "labels": ["a", "b"], "single": True, "guideline": "g", "hints": ["x", "y"]}
    made = schema_from(old)
    assert made == Schema("multiclass", ("a", "b"), True, "g", ("x", "y"))
    assert made.version == PLAIN.version


NAMES = st.text(min_size=1, max_size=6)
VALUES = st.builds(
    lambda labels, numbers: (*labels, *numbers.items()),
    st.lists(NAMES, max_size=3),
    st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


@given(VALUES)
def test_a_value_comes_back_from_its_json(value: Value) -> None:
    """Labels and numbers survive the ledger, whatever their names, and are told apart."""
    assert value_of(json.loads(json.dumps(value))) == value
    assert names_of(value) == (*chosen_of(value), *numbers_of(value))


def test_a_whole_number_is_a_number() -> None:
    """JSON writes 4.0 as 4 in some programs: it is read as the same answer."""
    assert value_of(["a", ["mood", 4]]) == ("a", ("mood", 4.0))
    assert isinstance(numbers_of(value_of([["mood", 4]]))["mood"], float)
