"""Two experts with accounts of their own on a real Label Studio: assigned, blind, in disagreement, decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from toughcall import exchange, experts, loop, taking
from toughcall.annotate import people, server
from toughcall.annotate.tasks import to_result
from toughcall.records import Batch, Pick
from toughcall.settings import Columns
from toughcall.workspace import Workspace, opened

pytestmark = pytest.mark.studio
ANNA, BEN, LEE = (f"{name}.two@example.com" for name in ("anna", "ben", "lee"))


@pytest.fixture
def accounts(studio_server: server.Local) -> dict[str, people.Person]:
    """Return three people who are logged in, by their addresses."""
    made = {}
    for email in (ANNA, BEN, LEE):
        password = people.new_password()
        people.add_person(studio_server.url, studio_server.token, email, password)
        made[email] = people.Person(studio_server.url, email, password)
    return made


@pytest.fixture
def project(
    make_project: Callable[..., Path],
    write_csv: Callable[..., Path],
    studio_server: server.Local,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Make a project whose two experts answer each item, on the test session's Label Studio; one batch of six."""
    root = make_project(
        name="two-experts",
        studio__folder=str(tmp_path_factory.getbasetemp() / "studio"),
        studio__experts=[ANNA, BEN],
        studio__overlap=2,
        studio__adjudicator=LEE,
    )
    with opened(root, "import") as ws:
        loop.import_file(ws, write_csv("pool.csv", [{"text": f"text number {n}"} for n in range(6)]), Columns())
        ids = sorted(text.id for text in ws.pool.texts())
        picks = tuple(Pick(one, "in_band", 0.5, n, note="p(food) = 0.51") for n, one in enumerate(ids))
        ws.store.add_batch(Batch("b001", ws.schema.version, "p-v001", picks))
    return root


def answer_all(ws: Workspace, person: people.Person, place: str, says: Callable[[str], str]) -> list[str]:
    """Answer a person's stream to its end; return the uids in the order in which they came."""
    came = []
    while task := person.next_task(exchange.places(ws)[place]):
        # blind: neither a score nor anybody's answer comes with it
        assert set(task.get("meta") or {}) <= {"rank", "schema"}
        assert not task.get("predictions")
        assert not task["annotations"]
        person.answer(task["id"], to_result(ws.schema, (says(task["data"]["uid"]),)), 2.0)
        came.append(task["data"]["uid"])
    return came


def test_two_experts_blind_and_one_who_decides(project: Path, accounts: dict[str, people.Person]) -> None:
    """A3, A4, C48: each is asked everything in our order and sees nothing of the other; two answers each come home
    under their names; what they differ on is decided by a third who sees both answers, and that is the label.
    """
    with opened(project, "test") as ws:
        ids = sorted(text.id for text in ws.pool.texts())
        assert loop.push(ws).sent == 12
        assert exchange.places(ws).keys() == {ANNA, BEN}
        assert answer_all(ws, accounts[ANNA], ANNA, lambda uid: "food") == ids
        assert loop.pull(ws).waiting == {"b001": 6}
        assert answer_all(ws, accounts[BEN], BEN, lambda uid: "animal" if uid in ids[:2] else "food") == ids
        assert loop.pull(ws).waiting == {"b001": 0}
        assert Counter(answer.annotator for answer in ws.store.answers()) == {ANNA: 6, BEN: 6}
        assert ws.store.labels(ws.schema.version)[1] == ids[:2]
        batch = experts.adjudicate(ws)
        loop.push(ws)
        seen = []
        while task := accounts[LEE].next_task(exchange.places(ws)["adjudication"]):
            seen.append(task["data"]["answers"])
            accounts[LEE].answer(task["id"], to_result(ws.schema, ("machine",)), 2.0)
        assert [sorted(one[3:] for one in text.splitlines()) for text in seen] == [["animal", "food"]] * 2
        waiting = loop.pull(ws).waiting
        assert (waiting[batch.name], taking.asking(ws, waiting)) == (0, 0)
        labels, torn = ws.store.labels(ws.schema.version)
        assert torn == []
        assert {label.item: label.value for label in labels} == {
            one: ("machine",) if one in ids[:2] else ("food",) for one in ids
        }
        tables = dict(experts.rows(ws))
        assert [row["decided"] for row in tables["Disagreements"]] == ["adjudicated"] * 2
        assert {row["annotator"]: row["answers"] for row in tables["Annotators"]} == {ANNA: 6, BEN: 6}
        assert loop.pull(ws).new == 0
