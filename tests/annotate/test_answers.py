"""Annotation JSON → answers: nothing lost, nothing believed, nothing raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.annotate.answers import read_answers
from toughcall.annotate.tasks import to_result, to_tasks
from toughcall.records import CANT_TELL, NONE, Answer, Batch, Item, Pair, Pick, SetAside, Text
from toughcall.schema import Schema

SINGLE = Schema("multiclass", ("animal", "machine", "food"), True)
MANY = Schema("multilabel", ("a", "b", "c"), False)
ITEM = Text("A heron.", key="k1")

odd_labels = st.lists(
    st.text(min_size=1, max_size=20).filter(lambda one: not one.startswith("__")), min_size=2, max_size=6, unique=True
)


def exported(result: Any, schema: Schema = SINGLE, item: Item = ITEM, **more: Any) -> dict[str, Any]:
    """One task as the server's JSON export holds it, with one annotation."""
    tasks, _ = to_tasks(
        Batch("b001", schema.version, "m1", (Pick(item.id, "uncertain", 0.1, 0),)), {item.id: item}, schema
    )
    annotation = {
        "id": 17,
        "unique_id": "u-17",
        "completed_by": 3,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-21T02:45:36.000000Z",
        "updated_at": "2026-11-21T02:45:37.000000Z",
        "lead_time": 4.5,
        "project": 1,
        **more,
    }
    task = {**tasks[0], "id": 5, "project": 1, "drafts": [], "annotations": [annotation]}
    found: dict[str, Any] = json.loads(json.dumps(task))
    return found


def read(
    *tasks: Any, schema: Schema = SINGLE, item: Item = ITEM, instance: str = "studio-1"
) -> tuple[list[Answer], list[SetAside]]:
    return read_answers(list(tasks), {"b001": schema}, {item.id: item}, instance)


def reason_of(*tasks: Any, schema: Schema = SINGLE) -> str:
    """The reason of the only thing set aside, which must name the annotation."""
    answers, aside = read(*tasks, schema=schema)
    assert answers == []
    assert [one.where for one in aside] == ["annotation 17 of task 5"]
    return aside[0].reason


def choice(*labels: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"from_name": "answer", "to_name": "text", "type": "choices", "value": {"choices": list(labels)}, **more}]


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "pair"])
@settings(max_examples=60, deadline=None)
@given(labels=odd_labels, data=st.data())
def test_task_result_answer_is_a_round_trip(kind: str, labels: list[str], data: st.DataObject) -> None:
    """What to_result says, read_answers reads: any kind, odd labels, any subset, in the schema's order."""
    schema = Schema(kind, tuple(labels), kind != "multilabel")
    item: Item = Pair(Text("one"), Text("two")) if kind == "pair" else ITEM
    subset = data.draw(st.permutations(labels)) if kind == "multilabel" else [data.draw(st.sampled_from(labels))]
    values = subset[: data.draw(st.integers(0, len(subset)))] if kind == "multilabel" else subset
    answers, aside = read(exported(to_result(schema, values), schema, item), schema=schema, item=item)
    assert aside == []
    assert [(one.outcome, one.item, one.batch, one.schema) for one in answers] == [
        ("label", item.id, "b001", schema.version)
    ]
    assert answers[0].value == tuple(label for label in labels if label in values)
    unsure, _ = read(exported(to_result(schema, [CANT_TELL]), schema, item), schema=schema, item=item)
    assert [(one.outcome, one.value) for one in unsure] == [("cant_tell", ())]


def test_every_field_of_an_answer() -> None:
    """Provenance travels: annotator, time, seconds, batch, schema, origin; source person, trust gold."""
    answer = read(exported(choice("food")))[0][0]
    assert (answer.annotator, answer.at, answer.seconds) == ("3", "2026-11-21T02:45:37.000000Z", 4.5)
    assert (answer.source, answer.trust, answer.value) == ("person", "gold", ("food",))
    assert dict(answer.origin) == {
        "task": "5",
        "annotation": "17",
        "project": "1",
        "model": "m1",
        "reason": "uncertain",
    }


@pytest.mark.parametrize(
    ("given_by", "annotator"),
    [
        (3, "3"),
        ({"id": 3, "email": "ann@example.org"}, "ann@example.org"),
        ({"id": 3}, "3"),
        ("ann@example.org", "ann@example.org"),
        (None, "unknown"),
        ([], "unknown"),
        (True, "unknown"),
    ],
)
def test_the_annotator_is_the_email_or_the_id(given_by: Any, annotator: str) -> None:
    """Export gives an id, the task view an object; a removed account never costs the label."""
    assert read(exported(choice("food"), completed_by=given_by))[0][0].annotator == annotator


@pytest.mark.parametrize("lead_time", [None, float("inf"), -1.0, "4", True, 10**400])
def test_seconds_that_are_no_time_are_none(lead_time: Any) -> None:
    """lead_time is client-supplied: anything but a finite number is None."""
    task = exported(choice("food"))
    task["annotations"][0]["lead_time"] = lead_time
    assert read(task)[0][0].seconds is None


def test_c44_an_edit_is_the_same_key_with_other_content() -> None:
    """C44: an edited annotation keeps its key; its content differs, also when only its id changed hands."""
    before = read(exported(choice("food")))[0][0]
    after = read(exported(choice("animal"), updated_at="2026-11-22T00:00:00Z"))[0][0]
    assert before.key == after.key
    assert before.content != after.content
    assert read(exported(choice("food"), id=99))[0][0].key == before.key
    assert read(exported(choice("food"), unique_id="u-18"))[0][0].key != before.key
    assert read(exported(choice("food")), instance="studio-2")[0][0].key != before.key


def test_c44_without_unique_id_the_key_comes_from_id_and_item() -> None:
    """An export without unique_id still gives a stable key per annotation; without both ids it is set aside."""
    task = exported(choice("food"), unique_id=None)
    assert read(task)[0][0].key == read(task)[0][0].key
    assert read(task)[0][0].key != read(exported(choice("food"), unique_id=None, id=18))[0][0].key
    nameless = read(exported(choice("food"), unique_id=None, id=None))
    assert (nameless[0], [one.where for one in nameless[1]]) == ([], ["annotation at 0 of task 5"])


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (choice("plant"), "label not in schema: 'plant'"),
        (choice("Food"), "label not in schema: 'Food'"),
        (choice("food", "animal"), "2 choices where exactly one is due"),
        (choice("food", "food"), "the same label twice"),
        (choice("food") + choice("animal"), "the control answer twice in one answer"),
        (choice("food", CANT_TELL), "together with another choice"),
        (choice(NONE), "label not in schema: '__none__'"),
        (choice("food", from_name="other"), 'another control: "other"'),
        (choice("food", to_name="text_a"), "another control"),
        (choice("food", type="rating"), "garbage result"),
        (choice(["food"]), "garbage result"),
        (choice("food", value=None), "garbage result"),
        ([{}], "another control"),
        ([None], "garbage result"),
        ({"choices": ["food"]}, "garbage result"),
        ("food", "garbage result"),
        (0, "garbage result"),
        (choice("x" * 10_000), "label not in schema"),
    ],
)
def test_c46_c53_what_is_no_answer_is_set_aside_with_its_annotation(result: Any, reason: str) -> None:
    """C46, C53: unknown and renamed labels, two choices, garbage: set aside by annotation id, never trains."""
    found = reason_of(exported(result))
    assert reason in found
    assert len(found) <= 300


def test_c46_the_explicit_choices_stand_alone() -> None:
    """None of these and can't tell exclude every label and each other in multilabel."""
    for labels in (("a", NONE), (CANT_TELL, "b"), (NONE, CANT_TELL)):
        assert "together with another choice" in reason_of(exported(choice(*labels), MANY), schema=MANY)
    answer = read(exported(choice(NONE), MANY), schema=MANY)[0][0]
    assert (answer.outcome, answer.value) == ("label", ())


@pytest.mark.parametrize("result", [[], None, choice()])
def test_c47_an_empty_submit_is_no_answer(result: Any) -> None:
    """C47: empty results are set aside, in multilabel too, where nothing chosen is not 'none of these'."""
    assert reason_of(exported(result)) == "empty answer"
    assert reason_of(exported(result, MANY), schema=MANY) == "empty answer"


def test_c47_a_skip_is_a_skip_and_a_draft_is_nothing() -> None:
    """C47: was_cancelled gives outcome skip, never a label; drafts are ignored."""
    answers, aside = read(exported(choice("food"), was_cancelled=True))
    assert [(one.outcome, one.value) for one in answers] == [("skip", ())]
    assert aside == []
    draft = exported([])
    draft["drafts"] = [{"id": 1, "result": choice("food")}]
    draft["annotations"] = []
    assert read(draft) == ([], [])
    assert "was_cancelled" in reason_of(exported(choice("food"), was_cancelled="yes"))


def test_c48_four_annotators_give_four_answers() -> None:
    """C48: overlap keeps every row: four people, four answers with four keys and annotators."""
    task = exported(choice("food"))
    first = task["annotations"][0]
    said = ["food", "food", "animal", "machine"]
    task["annotations"] = [
        {**first, "id": n, "unique_id": f"u-{n}", "completed_by": n, "result": choice(label)}
        for n, label in enumerate(said, start=1)
    ]
    answers, aside = read(task)
    assert aside == []
    assert [one.value[0] for one in answers] == said
    assert len({one.key for one in answers}) == len({one.annotator for one in answers}) == 4


def test_c49_the_same_export_gives_the_same_answers() -> None:
    """C49: reading is a pure function; one annotation listed twice counts once and is told."""
    task = exported(choice("food"))
    assert read(task) == read(json.loads(json.dumps(task)))
    answers, aside = read(task, json.loads(json.dumps(task)))
    assert len(answers) == 1
    assert [one.reason for one in aside] == ["the same annotation twice in one export"]


@pytest.mark.parametrize("text", ["A heron. ", "", None, ["A heron."]])
def test_c50_another_text_than_sent_is_set_aside(text: Any) -> None:
    """C50: an answer to a text that is not byte for byte the sent one is not believed, a skip of it neither."""
    for skipped in (False, True):
        task = exported(choice("food"), was_cancelled=skipped)
        task["data"]["text"] = text
        assert reason_of(task).startswith("text changed: text is not what was sent")


@pytest.mark.parametrize(("field", "value"), [("uid", "x"), ("uid", None), ("batch", "b999"), ("batch", ["b001"])])
def test_a_foreign_task_counts_only_with_annotations(field: str, value: Any) -> None:
    """A task that we did not send is set aside with its id when somebody answered it, else it is nothing."""
    task = exported(choice("food"))
    task["data"][field] = value
    assert f"the task's {field}" in reason_of(task)
    assert read({**task, "annotations": []}) == ([], [])


def test_c53_each_batch_is_read_under_its_own_schema() -> None:
    """C53: a label that is new in batch 2 is an answer there and set aside in batch 1."""
    wider = Schema("multiclass", (*SINGLE.labels, "plant"), True)
    old, new = exported(choice("plant")), exported(choice("plant"), unique_id="u-18")
    new["data"]["batch"] = "b002"
    answers, aside = read_answers([old, new], {"b001": SINGLE, "b002": wider}, {ITEM.id: ITEM}, "studio-1")
    assert [(one.batch, one.schema, one.value) for one in answers] == [("b002", wider.version, ("plant",))]
    assert [one.reason for one in aside] == ["label not in schema: 'plant'"]


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["id", "unique_id", "completed_by", "result", "was_cancelled", "updated_at", "created_at", "lead_time"]


def seen(tasks: list[Any]) -> int:
    """How many things an export holds that must be accounted for."""
    count = 0
    for task in tasks:
        found = task.get("annotations") if isinstance(task, dict) else [task]
        count += 0 if found is None else len(found) if isinstance(found, list) else 1
    return count


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_c46_no_json_raises_or_loses_an_annotation(data: st.DataObject) -> None:
    """C46: any field of task or annotation may be any JSON: answers + set aside = annotations, all storable."""
    tasks: list[Any] = []
    for _ in range(data.draw(st.integers(0, 3))):
        task: Any = exported(choice("food"))
        task["annotations"][0].update(data.draw(st.dictionaries(st.sampled_from(FIELDS), garbage, max_size=3)))
        task["annotations"] += data.draw(st.lists(garbage, max_size=2))
        task.update(data.draw(st.dictionaries(st.sampled_from([*task, "x"]), garbage, max_size=1)))
        tasks.append(data.draw(st.sampled_from([task, task, task, data.draw(garbage)])))
    answers, aside = read(*tasks)
    assert len(answers) + len(aside) == seen(tasks)
    for answer in answers:
        json.dumps(dict(answer.origin), allow_nan=False)
        f"{answer.key}{answer.annotator}{answer.at}".encode()
        assert answer.seconds is None or answer.seconds >= 0
        assert answer.outcome != "label" or SINGLE.check(answer.value) == ""
    for one in aside:
        assert one.where
        assert one.reason
        f"{one.where}{one.reason}{one.raw}".encode()


@settings(max_examples=100, deadline=None)
@given(result=garbage, region=st.dictionaries(st.sampled_from(["from_name", "to_name", "type", "value"]), garbage))
def test_c46_garbage_inside_a_result_never_becomes_a_label(result: Any, region: dict[str, Any]) -> None:
    """C46: a result with any broken part is set aside, none is guessed at."""
    for broken in (result, [{**choice("food")[0], **region, "value": result}], choice(result)):
        answers, aside = read(exported(None) | {"annotations": [{"id": 1, "unique_id": "u", "result": broken}]})
        assert (len(answers), len(aside)) == (0, 1)


@pytest.mark.parametrize("export", [{"detail": "Not found."}, None, "x", 3])
def test_an_export_that_is_no_list_is_one_thing_set_aside(export: Any) -> None:
    """An error body in place of an export gives no answers and says so."""
    answers, aside = read_answers(export, {}, {}, "studio-1")
    assert (answers, [one.where for one in aside]) == ([], ["the export"])


@pytest.mark.parametrize("field", ["completed_by", "updated_at", "id"])
def test_half_a_character_from_the_server_can_be_stored(field: str) -> None:
    """A lone surrogate in any text of an annotation never reaches the ledger as such."""
    answer = read(exported(choice("food"), **{field: "\ud800"}))[0][0]
    f"{answer.annotator}{answer.at}{answer.origin['annotation']}".encode()
