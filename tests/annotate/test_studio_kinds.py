"""What both servers do with the interfaces and tasks of every kind: the fake refuses what the real one refuses."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from fakes.expert import Place, exported

from toughcall.annotate import sync
from toughcall.annotate.answers import read_answers
from toughcall.annotate.tasks import labelling_config, shown, to_result, to_tasks
from toughcall.records import Batch, Item, Pair, Pick, Relation, Span, Text, UsageError, Value
from toughcall.schema import Dimension, Schema

RELATION = Schema("relation", ("above", "below"), True, types=(("below", (("TAXON", "STRAT"),)),))
SCORES = Schema("scores", (), True, dimensions=(Dimension("clarity $1"), Dimension("tone", -1, 1, step=0.5)))
HOSTILE = 'Lias <script>alert(1)</script> & "Trias" for $5 {{x}} ]]>'
LAYERS = Relation(Text(HOSTILE), Span(0, 4, "STRAT"), Span(33, 38, "STRAT"))
WORK: dict[str, tuple[Schema, Item, Value]] = {
    "multiclass": (
        Schema("multiclass", ("rage", "joy"), True, coarse=("bad", "good")),
        Text(HOSTILE),
        ("joy",),
    ),
    "pair": (
        Schema("pair", ("same", "other"), True, dimensions=(Dimension("alike", 0, 5),)),
        Pair(Text(HOSTILE), Text("two")),
        ("same", ("alike", 4.5)),
    ),
    "relation": (RELATION, LAYERS, ("above",)),
    "scores": (SCORES, Text(HOSTILE), (("clarity $1", 7.25), ("tone", -0.5))),
}


@pytest.mark.parametrize("kind", WORK)
def test_a_task_goes_out_and_its_answer_comes_back(place: Place, kind: str) -> None:
    """Interface and task are taken as they are, kept as they are, and the answer is read exactly."""
    schema, item, value = WORK[kind]
    config = labelling_config(schema)
    title = f"{kind} {uuid.uuid4().hex[:8]}"
    number = place.studio.ensure_project(title, config)
    assert place.studio.ensure_project(title, config) == number
    assert place.studio.config_problem(number, config, schema) == ""
    batch = Batch("b001", schema.version, "m1", (Pick(item.id, "r", 0.5, 0),))
    tasks, aside = to_tasks(batch, {item.id: item}, schema)
    assert aside == []
    assert sync.push(place.studio, number, tasks).sent == 1
    (row,) = place.studio.listed(number, "b001")
    body = {"result": to_result(schema, value)}
    assert place.hand.post(f"/api/tasks/{row['id']}/annotations/", body).status_code == 201
    export = exported(place.studio, number)
    assert {name: export[0]["data"][name] for name in tasks[0]["data"]} == tasks[0]["data"]
    answers, aside = read_answers(export, {"b001": schema}, {item.id: item}, "here")
    assert aside == []
    assert [(one.value, one.annotator) for one in answers] == [(value, place.email)]


def test_c36_numbers_that_differ_are_told(place: Place) -> None:
    """C36: the sentence names what is asked, what differs there and both tables to restore."""
    number = place.studio.ensure_project(f"numbers {uuid.uuid4().hex[:8]}", labelling_config(SCORES))
    narrow = labelling_config(SCORES).replace('max="10"', 'max="5"')
    problem = place.studio.config_problem(number, narrow, SCORES)
    assert "does not ask for clarity $1, tone: 'd0' goes from 0.0 to 10.0 there, 0.0 to 5.0 here" in problem
    assert "[dimensions]" in problem


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"html": None}, "html"),
        ({"html": 3}, "html"),
        ({"html": ["Lias"]}, "html"),
        ({"options": 3}, "options"),
        ({"options": {"value": "above"}}, "options"),
        ({"subject": 3}, ""),
        ({"options": []}, ""),
    ],
)
def test_c34_fields_of_another_type(place: Place, broken: dict[str, Any], reason: str) -> None:
    """C34: what a named tag cannot show is refused by its field without an echo; a header's field is not looked at."""
    number = place.studio.ensure_project(f"types {uuid.uuid4().hex[:8]}", labelling_config(RELATION))
    data = {**shown(LAYERS, RELATION), "uid": "u", "batch": "b001", **broken}
    if not reason:
        place.studio.send(number, [{"data": data}])
        assert place.studio.count(number) == 1
        return
    with pytest.raises(sync.Refused, match=rf"data\['{reason}'\]") as caught:
        place.studio.send(number, [{"data": data}])
    assert "Lias" not in str(caught.value)
    with pytest.raises(sync.Refused, match=f'"{reason}" key is expected'):
        place.studio.send(number, [{"data": {name: one for name, one in data.items() if name != reason}}])


@pytest.mark.parametrize(
    "config",
    [
        "<View>",
        '<View><Text name="a" value="$a"/><Text name="a" value="$a"/></View>',
        '<View><Text name="a" value="$a"/><Number name="d0" toName="b"/></View>',
    ],
)
def test_an_interface_that_is_none_is_refused(place: Place, config: str) -> None:
    """Broken XML, a name twice, an answer to nothing: no project is made."""
    with pytest.raises(UsageError, match="refuses the project"):
        place.studio.ensure_project(f"none {uuid.uuid4().hex[:8]}", config)
