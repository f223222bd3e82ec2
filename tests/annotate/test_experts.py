"""Several experts: who is asked what, blind, who decides, what is known of each; the real server: test_two_experts."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fakes.expert import Place
from fakes.expert import made as client
from fakes.label_studio import FakeStudio

from toughcall import exchange, experts, loop, taking
from toughcall.annotate.studio import Studio
from toughcall.annotate.tasks import to_result
from toughcall.cli import main
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Answer, Batch, Pick, UsageError
from toughcall.settings import Columns
from toughcall.workspace import Workspace, opened

ANNA, BEN, CARO = "anna@example.com", "ben@example.com", "caro@example.com"


@pytest.fixture
def place() -> Iterator[Place]:
    """The fake server, on which several people have accounts."""
    with FakeStudio() as fake:
        fake.users = dict(enumerate((ANNA, BEN, CARO), 1))
        yield client(fake)


@pytest.fixture
def made(
    place: Place, make_project: Callable[..., Path], write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Return a function (settings) → a project on the server with 30 texts, of the labels animal, machine and food."""

    def make(size: int = 30, **settings: Any) -> Path:
        monkeypatch.setenv(TOKEN_VARIABLE, place.token)
        root = make_project(studio__url=place.studio.url, **settings)
        rows = [{"text": f"text number {n} of thirty", "label": ""} for n in range(size)]
        with opened(root, "import") as ws:
            loop.import_file(ws, write_csv("pool.csv", rows), Columns())
            ws.store.add_parts(
                {text.id: "train" for text in ws.pool.texts()}, {text.id: text.id for text in ws.pool.texts()}
            )
        return root

    return make


def planned(ws: Workspace, size: int, name: str = "b001", reason: str = "in_band") -> list[str]:
    """Save a batch of the first items that were never asked."""
    ids = [one for one in sorted(text.id for text in ws.pool.texts()) if one not in ws.store.asked()][:size]
    picks = tuple(Pick(one, reason, 0.5, rank, note="p(food) = 0.51") for rank, one in enumerate(ids))
    ws.store.add_batch(Batch(name, ws.schema.version, "p-v001", picks))
    return ids


def tasks_of(ws: Workspace, studio: Studio, where: str, batch: str = "b001") -> dict[str, int]:
    """Return uid → task of a batch in one of the project's projects."""
    return {row["uid"]: row["id"] for row in studio.listed(exchange.places(ws)[where], batch)}


def say(place: Place, ws: Workspace, task: int, label: str, who: str = ANNA) -> None:
    """Answer a task over HTTP as one of the three."""
    body = {"result": to_result(ws.schema, (label,)), "completed_by": (ANNA, BEN, CARO).index(who) + 1}
    assert place.hand.post(f"/api/tasks/{task}/annotations/", body).status_code == 201


def test_each_expert_gets_their_own_items_and_nothing_else(place: Place, made: Callable[..., Path]) -> None:
    """P2, A3: two of three experts are asked each item, each in a project of their own, loads even, and no task says
    what a model or a colleague thinks of it.
    """
    with opened(made(studio__experts=[ANNA, BEN, CARO], studio__overlap=2), "test") as ws:
        ids = planned(ws, 9)
        done = loop.push(ws)
        assert (done.sent, done.already, done.set_aside) == (18, 0, 0)
        assert loop.push(ws).sent == 0
        has = {who: set(tasks_of(ws, place.studio, who)) for who in (ANNA, BEN, CARO)}
        assert Counter(itertools.chain(*has.values())) == Counter(dict.fromkeys(ids, 2))
        assert sorted(map(len, has.values())) == [6, 6, 6]
        assert all(has[a] & has[b] for a, b in itertools.combinations(has, 2)), "every two share items"
        for who in has:
            number = exchange.places(ws)[who]
            for one in tasks_of(ws, place.studio, who).values():
                say(place, ws, one, "food", who)
            for task in place.studio.exported(number, list(tasks_of(ws, place.studio, who).values())):
                assert set(task["meta"]) == {"rank", "schema"}
                assert not set(task["data"]) - {"text", "uid", "batch"}
                assert len(task["annotations"]) == 1, "nobody else's answer is in it"
        assert loop.pull(ws).waiting == {"b001": 0}
        assert Counter(answer.annotator for answer in ws.store.answers()) == {ANNA: 6, BEN: 6, CARO: 6}


def test_what_is_known_of_a_question_comes_from_the_ledger(place: Place, made: Callable[..., Path]) -> None:
    """S9: the task is silent, and the answer has its reason and its model all the same."""
    with opened(made(), "test") as ws:
        planned(ws, 2)
        loop.push(ws)
        for one in tasks_of(ws, place.studio, "").values():
            say(place, ws, one, "food")
        assert loop.pull(ws).new == 2
        assert {(a.origin["reason"], a.origin["model"]) for a in ws.store.answers()} == {("in_band", "p-v001")}


def test_c48_a_disagreement_is_decided_by_one_more_answer(place: Place, made: Callable[..., Path]) -> None:
    """C48, A4: what two disagree on is no label; it goes to a project that shows both answers without names, and what
    is answered there is the label, whoever said what before.
    """
    with opened(made(studio__experts=[ANNA, BEN], studio__overlap=2, studio__adjudicator=CARO), "test") as ws:
        ids = planned(ws, 3)
        loop.push(ws)
        for who, label in ((ANNA, "food"), (BEN, "animal")):
            for uid, task in tasks_of(ws, place.studio, who).items():
                say(place, ws, task, "food" if uid == ids[0] else label, who)
        assert loop.pull(ws).new == 6
        labels, torn = ws.store.labels(ws.schema.version)
        assert ([label.item for label in labels], sorted(torn)) == ([ids[0]], sorted(ids[1:]))
        batch = experts.adjudicate(ws)
        assert [pick.item for pick in batch.picks] == sorted(ids[1:])
        assert experts.adjudicate(ws).picks == (), "nobody is asked twice to decide"
        assert loop.push(ws).sent == 2
        tasks = tasks_of(ws, place.studio, "adjudication", batch.name)
        for uid, task in tasks.items():
            say(place, ws, task, "machine" if uid == ids[1] else "animal", CARO)
        exported = place.studio.exported(exchange.places(ws)["adjudication"], list(tasks.values()))
        shown = {task["data"]["answers"] for task in exported}
        assert shown <= {"1. food\n2. animal", "1. animal\n2. food"}
        assert ws.store.labels(ws.schema.version)[1] == torn
        waiting = loop.pull(ws).waiting
        assert taking.asking(ws, waiting) == 0
        labels, torn = ws.store.labels(ws.schema.version)
        assert {label.item: label.value for label in labels} == dict(
            zip(ids, [("food",), ("machine",), ("animal",)], strict=True)
        )
        assert torn == []


def test_adjudication_holds_up_no_round(place: Place, made: Callable[..., Path]) -> None:
    """What waits for somebody to decide does not count as waiting for experts."""
    with opened(made(), "test") as ws:
        ids = planned(ws, 2)
        ws.store.add_answers([given(ws, ids[0], ANNA, "food"), given(ws, ids[0], BEN, "animal")])
        experts.adjudicate(ws)
        loop.push(ws)
        waiting = loop.pull(ws).waiting
        assert waiting == {"b001": 1, "b002": 1}
        assert taking.asking(ws, waiting) == 1


def given(ws: Workspace, item: str, who: str, *labels: str, **more: Any) -> Answer:
    """Return an answer as it lies in the ledger."""
    batch = more.pop("batch", "b001")
    return Answer(f"{item}-{who}-{batch}", item, who, "label", labels, batch, ws.schema.version, **more)


def test_a_decision_on_the_page_is_one_event(place: Place, made: Callable[..., Path]) -> None:
    """C79, C80: a decision has an id: twice it is one, another is one more and the newest holds; it needs a name."""
    with opened(made(), "test") as ws:
        (item,) = planned(ws, 1)
        ws.store.add_answers([given(ws, item, ANNA, "food"), given(ws, item, BEN, "animal")])
        assert experts.decide(ws, item, ("animal",), "Lee", "d1")
        assert not experts.decide(ws, item, ("animal",), "Lee", "d1")
        assert ws.store.labels(ws.schema.version)[0][0].value == ("animal",)
        assert experts.decide(ws, item, ("food",), "Kim", "d2")
        assert ws.store.labels(ws.schema.version)[0][0].value == ("food",)
        assert len(ws.store.answers(history=True)) == 4
        assert experts.torn(ws) == []
        for value, who, why in ((("ghost",), "Lee", "ghost"), (("food",), " ", "name")):
            with pytest.raises(UsageError, match=why):
                experts.decide(ws, item, value, who, "d3")
        with pytest.raises(UsageError, match="not in the pool"):
            experts.decide(ws, "nothing", ("food",), "Lee", "d4")
        assert experts.decide(ws, item, None, "Lee", "d5")
        assert ws.store.labels(ws.schema.version)[0][0].value == ("food",), "can't tell decides nothing"


def test_checks_on_known_items_train_nothing(place: Place, made: Callable[..., Path]) -> None:
    """A5: a share of each batch is items of known answer; what is said to them is held against that and is no vote."""
    with opened(made(studio__gold=0.25), "test") as ws:
        ids = sorted(text.id for text in ws.pool.texts())
        ws.store.add_answers([given(ws, one, "import", "food", source="import", batch="") for one in ids[:10]])
        rng = np.random.default_rng(0)
        found = experts.checks(ws, 12, rng)
        assert len(found) == 3
        assert {pick.item for pick in found} <= set(ids[:10])
        new = Batch(
            "b001", ws.schema.version, "m", tuple(Pick(one, "in_band", 0.5, n) for n, one in enumerate(ids[20:25]))
        )
        batch = experts.mixed(new, found, rng)
        assert [pick.rank for pick in batch.picks] == list(range(8))
        assert [p.item for p in batch.picks if p.reason == "in_band"] == ids[20:25], "the others keep their order"
        ws.store.add_batch(batch)
        assert experts.checks(ws, 12, np.random.default_rng(0)) != found, "nobody is checked on the same item again"
        loop.push(ws)
        for n, (uid, task) in enumerate(sorted(tasks_of(ws, place.studio, "").items())):
            say(place, ws, task, "machine" if uid in {p.item for p in found} and n % 2 else "food")
        loop.pull(ws)
        labels = {label.item: label.value for label in ws.store.labels(ws.schema.version)[0]}
        assert all(labels[pick.item] == ("food",) for pick in found)
        ((_, told),) = experts.rows(ws, gold=True)
        right = sum(a.value == ("food",) for a, _ in experts.gold_checks(ws))
        assert [row["known items right"] for row in told] == [f"{right} of 3"]


def test_asking_again_where_that_is_worth_more(place: Place, made: Callable[..., Path]) -> None:
    """What somebody alone answered who is often wrong is asked of another one, in its share of the batch; among people
    who err alike nothing is, nor before it is known how often they err.
    """
    with opened(made(size=66, studio__experts=[ANNA, BEN, CARO], studio__relabel=0.4), "test") as ws:
        ids = planned(ws, 66)
        right = {one: ("food", "animal", "machine")[n % 3] for n, one in enumerate(ids)}
        wrong = {one: ("food", "animal", "machine")[(n + 1) % 3] if n % 3 else right[one] for n, one in enumerate(ids)}
        ws.store.add_answers([given(ws, one, BEN, right[one]) for one in ids[60:]])
        assert experts.again(ws, 10) == ([], ""), "nobody knows yet how often people err"
        ws.store.add_answers([given(ws, one, who, right[one]) for one in ids[:60] for who in (ANNA, CARO)])
        assert experts.again(ws, 10)[0] == []
        ws.store.add_answers([given(ws, one, BEN, wrong[one]) for one in ids[:60]])
        found, why = experts.again(ws, 10)
        assert 0 < len(found) <= 4
        assert {pick.item for pick in found} <= set(ids[60:])
        assert "asking again" in why
        assert experts.again(ws, 5)[0] == found[:2]
        batch = Batch("b002", ws.schema.version, "m", tuple(found))
        assert {who for people in experts.assigned(ws, batch).values() for who in people} == {ANNA, CARO}


def test_agree_prints_alpha_people_and_disputes(place: Place, made: Callable[..., Path]) -> None:
    """A4: `toughcall agree` shows alpha and kappa per label, what is known of each person, and every disagreement."""
    root = made()
    with opened(root, "test") as ws:
        ids = planned(ws, 12)
        for who, wrong in ((ANNA, ()), (BEN, ids[:2])):
            ws.store.add_answers(
                [
                    given(ws, one, who, "machine" if one in wrong else ("food", "animal")[n % 2])
                    for n, one in enumerate(ids)
                ]
            )
    done = CliRunner().invoke(main, ["--project", str(root), "agree", "--json"])
    assert done.exit_code == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    labels = {row["label"]: row for row in found if "label" in row}
    assert labels["animal"]["items"] == 12
    assert 0 < labels["animal"]["alpha"] < 1
    assert labels["machine"]["alpha"] <= 0
    assert {row["annotator"] for row in found if "annotator" in row} == {ANNA, BEN}
    disputes = [row for row in found if "decided" in row]
    assert {row["item"] for row in disputes} == set(ids[:2])
    assert all(row["decided"] == "no" and "text number" in row["text"] for row in disputes)
