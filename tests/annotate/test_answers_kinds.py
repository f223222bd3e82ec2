"""Numbers, choices per task and marked texts on their way back: exact, checked against what was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.annotate.answers import read_answers
from toughcall.annotate.tasks import to_result, to_tasks
from toughcall.records import CANT_TELL, NONE, Answer, Batch, Item, Pair, Pick, Relation, SetAside, Span, Text
from toughcall.schema import Dimension, Schema

TYPES = (("occurs_in", (("TAXON", "STRAT"),)), ("above", (("STRAT", "STRAT"),)))
RELATION = Schema("relation", ("occurs_in", "above", "none"), True, null="none", types=TYPES)
PAIR = Schema("pair", ("same", "other"), True, dimensions=(Dimension("alike", 0, 5),))
SCORES = Schema("scores", (), True, dimensions=(Dimension("clarity"), Dimension("tone", -1, 1)))
MANY = Schema("multilabel", ("a", "b"), False, dimensions=(Dimension("sure", 0, 1),))
LAYERS = Relation(Text("Lias above <Trias> & co"), Span(0, 4, "STRAT"), Span(12, 17, "STRAT"))
ITEMS: dict[str, Item] = {
    "relation": LAYERS,
    "pair": Pair(Text("one"), Text("two")),
    "scores": Text("An essay."),
    "multilabel": Text("A clause."),
}
SCHEMAS = {one.kind: one for one in (RELATION, PAIR, SCORES, MANY)}


def exported(schema: Schema, result: Any) -> dict[str, Any]:
    """One task as the server's JSON export holds it, with one annotation."""
    item = ITEMS[schema.kind]
    batch = Batch("b001", schema.version, "m1", (Pick(item.id, "uncertain", 0.1, 0),))
    (task,), _ = to_tasks(batch, {item.id: item}, schema)
    note = {"id": 17, "unique_id": "u-17", "completed_by": 3, "result": result, "was_cancelled": False}
    found: dict[str, Any] = json.loads(json.dumps({**task, "id": 5, "annotations": [note]}))
    return found


def read(schema: Schema, task: dict[str, Any]) -> tuple[list[Answer], list[SetAside]]:
    item = ITEMS[schema.kind]
    return read_answers([task], {"b001": schema}, {item.id: item}, "studio-1")


def reason_of(schema: Schema, result: Any) -> str:
    """Why the only annotation was set aside."""
    answers, aside = read(schema, exported(schema, result))
    assert answers == []
    assert [one.where for one in aside] == ["annotation 17 of task 5"]
    return aside[0].reason


def region(name: str, value: Any, pane: str = "text") -> dict[str, Any]:
    """What one control said, as the editor stores it."""
    kind = "choices" if name == "answer" else "number"
    return {"from_name": name, "to_name": pane, "type": kind, "value": {kind: value}, "origin": "manual"}


@pytest.mark.parametrize("kind", SCHEMAS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_task_result_answer_is_a_round_trip(kind: str, data: st.DataObject) -> None:
    """What to_result says, read_answers reads, for labels and any part of the numbers, in any order of regions."""
    schema = SCHEMAS[kind]
    labels = list(schema.offered(ITEMS[kind]))
    chosen: list[str] = []
    if labels:
        size = {"min_size": 1, "max_size": 1} if schema.single else {}
        chosen = data.draw(st.lists(st.sampled_from(labels), unique=True, **size))
    few = {"min_size": 1} if not labels else {}
    asked = data.draw(st.lists(st.sampled_from(schema.dimensions), unique=True, **few)) if schema.dimensions else []
    numbers = [(one.name, data.draw(st.floats(one.low, one.high))) for one in asked]
    value = data.draw(st.permutations([*chosen, *numbers]))
    result = data.draw(st.permutations(to_result(schema, value)))
    answers, aside = read(schema, exported(schema, result))
    assert aside == []
    assert [(one.outcome, one.value) for one in answers] == [("label", schema.ordered(tuple(value)))]
    unsure, _ = read(schema, exported(schema, to_result(schema, [CANT_TELL])))
    assert [(one.outcome, one.value) for one in unsure] == [("cant_tell", ())]


def test_the_regions_of_an_answer() -> None:
    """A choices region where labels are asked, a number region per number given; to_result refuses the rest."""
    assert to_result(PAIR, ["same", ("alike", 4.5)]) == [
        {"from_name": "answer", "to_name": "text_a", "type": "choices", "value": {"choices": ["same"]}},
        {"from_name": "d0", "to_name": "text_a", "type": "number", "value": {"number": 4.5}},
    ]
    assert [one["from_name"] for one in to_result(SCORES, [("tone", 0.0)])] == ["d1"]
    assert to_result(RELATION, ["none"])[0]["to_name"] == "html"
    assert to_result(MANY, [("sure", 1.0)])[0]["value"] == {"choices": [NONE]}
    for schema, value in (
        (SCORES, []),
        (SCORES, [("tone", 2.0)]),
        (SCORES, [("tone", float("nan"))]),
        (PAIR, [("alike", 1.0)]),
        (PAIR, ["same", ("unlike", 1.0)]),
        (SCORES, [CANT_TELL, ("tone", 0.0)]),
    ):
        with pytest.raises(ValueError, match=r"number|tone|choices|dimension|label"):
            to_result(schema, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (10.5, "clarity is 10.5, outside 0 to 10"),
        (-1, "clarity is -1, outside 0 to 10"),
        (float("nan"), "clarity is NaN, outside 0 to 10"),
        (float("inf"), "clarity is Infinity, outside 0 to 10"),
        pytest.param(10**400, f"clarity is 1{'0' * 199}, outside 0 to 10", id="endless"),
        (True, "clarity is not a number: true"),
        ("7", 'clarity is not a number: "7"'),
        (None, "clarity is not a number: null"),
        ([7], "clarity is not a number: [7]"),
    ],
)
def test_c46_what_is_no_number_in_the_range_is_set_aside_by_its_dimension(number: Any, reason: str) -> None:
    """C46: the server stores any number, so range and type are checked; the other numbers do not save it."""
    task = exported(SCORES, [region("d0", 7), region("d1", 0)])
    task["annotations"][0]["result"][0]["value"]["number"] = number
    answers, aside = read(SCORES, task)
    assert (answers, [one.reason for one in aside]) == ([], [reason])


@pytest.mark.parametrize(
    ("schema", "result", "reason"),
    [
        (SCORES, [region("answer", [])], "empty answer"),
        (SCORES, [region("answer", [CANT_TELL]), region("d0", 7)], "can't tell, together with a number"),
        (SCORES, [region("answer", ["clarity"])], "label not in schema"),
        (SCORES, [region("answer", [NONE]), region("d0", 7)], "label not in schema"),
        (SCORES, [region("d2", 7)], 'another control: "d2"'),
        (SCORES, [region("clarity", 7)], 'another control: "clarity"'),
        (SCORES, [region("d0", 7, "text_a")], "another control"),
        (SCORES, [region("d0", 7), region("d0", 8)], "the control d0 twice"),
        (SCORES, [region("d0", 7) | {"type": "rating", "value": {"rating": 7}}], "garbage result: no number of d0"),
        (
            SCORES,
            [region("d0", 7) | {"type": "choices", "value": {"choices": ["7"]}}],
            "garbage result: no number of d0",
        ),
        (SCORES, [region("d0", 7), "x"], "garbage result"),
        (PAIR, [region("d0", 3, "text_a")], "a number without a choice"),
        (PAIR, [region("answer", [], "text_a"), region("d0", 3, "text_a")], "a number without a choice"),
        (PAIR, [region("answer", ["same"], "text_a"), region("d0", 6, "text_a")], "alike is 6, outside 0 to 5"),
        (PAIR, [region("answer", [CANT_TELL], "text_a"), region("d0", 3, "text_a")], "can't tell, together with"),
        (RELATION, [region("answer", ["occurs_in"], "html")], "label not legal for the types of this item"),
        (RELATION, [region("answer", ["below"], "html")], "label not in schema: 'below'"),
        (RELATION, [region("answer", ["above", CANT_TELL], "html")], "together with another choice"),
        (RELATION, [region("answer", ["above"], "text")], "another control"),
        (RELATION, [region("d0", 1, "html")], "another control"),
    ],
)
def test_c46_what_is_no_answer_is_set_aside(schema: Schema, result: Any, reason: str) -> None:
    """C46: foreign controls, a control twice, can't tell beside anything, labels not offered: never a label."""
    assert reason in reason_of(schema, result)


def test_part_of_the_numbers_and_whole_numbers_are_answers() -> None:
    """A field left empty is not in the answer; 7 is 7.0; NONE with a number is an answer without a label."""
    answers, _ = read(SCORES, exported(SCORES, [region("d1", 0)]))
    assert [one.value for one in answers] == [(("tone", 0.0),)]
    answers, _ = read(MANY, exported(MANY, [region("d0", 1), region("answer", [NONE])]))
    assert [one.value for one in answers] == [(("sure", 1.0),)]
    answers, _ = read(SCORES, exported(SCORES, [region("answer", []), region("d0", 7)]))
    assert [repr(one.value) for one in answers] == ["(('clarity', 7.0),)"]


@pytest.mark.parametrize("field", ["text", "html", "question", "subject", "object"])
def test_c50_a_relation_changed_in_label_studio_is_set_aside(field: str) -> None:
    """C50: whoever moves a mark or turns the question round there asks something else."""
    task = exported(RELATION, to_result(RELATION, ["above"]))
    assert len(read(RELATION, task)[0]) == 1
    task["data"][field] += " "
    assert [one.reason for one in read(RELATION, task)[1]] == [
        f"text changed: {field} is not what was sent for item {LAYERS.id}"
    ]


def test_a_hint_changed_since_costs_no_answer() -> None:
    """The choices that a task carries hold hints: they may change between push and pull."""
    task = exported(RELATION, to_result(RELATION, ["above"]))
    assert len(read(replace(RELATION, hints=("x", "y", "z"), guideline="new"), task)[0]) == 1


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["answer", "d0", "d1", "d2"]) | garbage
numbers = st.sampled_from([0, 7, 10, 10.1, -1, 0.5, True, "7", None, float("nan"), [CANT_TELL], [NONE], ["same"], []])
panes = st.sampled_from(["text", "text_a", "html"]) | garbage


@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(sorted(SCHEMAS)), data=st.data())
def test_c46_no_regions_raise_or_get_lost(kind: str, data: st.DataObject) -> None:
    """C46: any regions at all give one answer or one thing set aside, and an answer is one under the schema."""
    schema = SCHEMAS[kind]
    result = []
    for _ in range(data.draw(st.integers(0, 4))):
        said = data.draw(numbers | garbage)
        value = data.draw(st.sampled_from([{"number": said}, {"choices": said}, said]))
        form = data.draw(st.sampled_from(["number", "choices"]))
        result.append({"from_name": data.draw(names), "to_name": data.draw(panes), "type": form, "value": value})
    task = exported(schema, None)
    task["annotations"][0]["result"] = result
    answers, aside = read(schema, task)
    assert len(answers) + len(aside) == 1
    for answer in answers:
        json.dumps(list(answer.value), allow_nan=False)
        assert answer.outcome == "cant_tell" or schema.check(answer.value, schema.offered(ITEMS[kind])) == ""
    assert all(one.reason and len(one.reason) <= 300 for one in aside)
