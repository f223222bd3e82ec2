"""The round trip by files against a real Label Studio: its export and its import dialog, without our client."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from toughcall import exchange, handing, loop
from toughcall.annotate import people, server
from toughcall.annotate.tasks import to_result
from toughcall.records import CANT_TELL, Batch, Pick, UsageError
from toughcall.settings import Columns
from toughcall.workspace import Workspace, opened

pytestmark = pytest.mark.studio

TEXTS = ("größer 😀", "two\nlines", "<b>bold</b> & $text", "plain", "=1+1", "one", "two", "three", "four", "five")


@pytest.fixture
def web(studio_server: server.Local) -> Iterator[httpx.Client]:
    """Plain HTTP with the token, as somebody who has no toughcall."""
    headers = {"Authorization": f"Token {studio_server.token}"}
    with httpx.Client(base_url=studio_server.url, headers=headers, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture
def project(
    make_project: Callable[..., Path],
    write_csv: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    studio_server: server.Local,
) -> Path:
    """Make a project of ten texts on the session's Label Studio."""
    root = make_project(
        name=re.sub("[^a-z0-9]", "-", request.node.name)[:40],
        studio__folder=str(tmp_path_factory.getbasetemp() / "studio"),
    )
    with opened(root, "import") as ws:
        loop.import_file(ws, write_csv("pool.csv", [{"text": text} for text in TEXTS]), Columns())
    return root


def planned(ws: Workspace) -> None:
    """Save a batch of whatever was never asked."""
    ids = [one for one in sorted(text.id for text in ws.pool.texts()) if one not in ws.store.asked()]
    picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate(ids))
    ws.store.add_batch(Batch(ws.store.next_batch_name(), ws.schema.version, "m", picks))


def annotated(ws: Workspace, person: people.Person, ids: list[int]) -> None:
    """Answer tasks in every way there is: three labels, can't tell, a skip, a label that is none, nothing at all."""
    for number, label in zip(ids, ("food", "animal", "machine", CANT_TELL), strict=False):
        person.answer(number, to_result(ws.schema, (label,)), 3.217)
    person.skip(ids[4])
    strange = to_result(ws.schema, ("food",))
    strange[0]["value"]["choices"] = ["vegetable"]
    person.answer(ids[5], strange, 1.0)
    person.answer(ids[6], [], 1.0)


def export(web: httpx.Client, number: int, path: Path, kind: str = "JSON") -> Path:
    """Save what Export > JSON saves."""
    answer = web.get(f"/api/projects/{number}/export", params={"exportType": kind})
    assert answer.status_code == 200
    path.write_bytes(answer.content)
    return path


def numbers(web: httpx.Client) -> dict[int, str]:
    """Return who has which number, as the page /api/users/ tells."""
    return {int(user["id"]): str(user["email"]) for user in web.get("/api/users/").json()}


def table(ws: Workspace) -> list[Any]:
    """Return every answer, as the ledger holds it, without its number."""
    return [row[1:] for row in ws.store.base.execute("SELECT * FROM answers ORDER BY seq")]


@pytest.fixture(scope="module")
def both(studio_server: server.Local) -> list[people.Person]:
    """Two experts with accounts."""
    found = []
    for name in ("anna.files@example.com", "ben.files@example.com"):
        password = people.new_password()
        people.add_person(studio_server.url, studio_server.token, name, password)
        found.append(people.Person(studio_server.url, name, password))
    return found


def test_an_export_given_by_hand_is_what_a_pull_reads(
    project: Path, web: httpx.Client, both: list[people.Person], tmp_path: Path
) -> None:
    """A8, P1, C46, C47, C49: every row of the ledger is the same, by file or by pull, and after each the other adds 0;
    JSON-MIN and CSV exports are refused.
    """
    with opened(project, "push") as ws:
        planned(ws)
        number = loop.push(ws).project
        ids = [row["id"] for row in loop.connect(ws).listed(number, "b001")]
        annotated(ws, both[0], ids)
        annotated(ws, both[1], ids[::-1])
    path = export(web, number, tmp_path / "export.json")
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    with opened(project, "pull") as one, opened(copy, "answers") as two:
        pulled = loop.pull(one)
        assert (pulled.read, pulled.new, pulled.set_aside) == (10, 10, 4)
        read = handing.take_home(two, [path], numbers(both[0]._web))
        assert (read.read, read.new, read.known, read.set_aside) == (14, 10, 0, 4)
        assert sorted(table(one)) == sorted(table(two))
        assert len(table(one)) == 10
        assert {a.annotator for a in two.store.answers()} == {person.email for person in both}
        assert sorted(one.store.raw()) == sorted(two.store.raw()), "what could not be read is kept alike"
        assert sorted(map(str, one.store.set_aside())) == sorted(map(str, two.store.set_aside()))
        assert read.waiting == pulled.waiting
        after = loop.pull(two, whole=True)
        assert (after.read, after.new) == (10, 0)
        again = handing.take_home(one, [path])
        assert (again.read, again.new, again.known, again.set_aside) == (14, 0, 10, 4)
        assert sorted(table(one)) == sorted(table(two))
        for kind, said in (("JSON_MIN", "JSON-MIN"), ("CSV", "no JSON export"), ("TSV", "no JSON export")):
            with pytest.raises(UsageError, match=said):
                handing.take_home(one, [export(web, number, tmp_path / f"e.{kind}", kind)])


def test_what_is_handed_out_is_imported_by_hand_and_comes_home(
    project: Path, web: httpx.Client, both: list[people.Person], tmp_path: Path
) -> None:
    """A8, P2, P12: the dialog takes file and interface; the answers of a project nobody here knows are stored."""
    with opened(project, "export") as ws:
        planned(ws)
        handing.hand_out(ws, tmp_path / "out")
        assert not exchange.places(ws), "no server was asked"
        interface = (tmp_path / "out" / "interface.xml").read_text(encoding="utf-8")
        made = web.post("/api/projects/", json={"title": "made by hand"})
        number = made.json()["id"]
        # the settings page saves the interface before anything is there
        assert web.patch(f"/api/projects/{number}/", json={"label_config": interface}).status_code == 200
        # what the dialog does: the file goes up, then it is made into tasks
        with (tmp_path / "out" / "b001.json").open("rb") as file:
            up = web.post(
                f"/api/projects/{number}/import", params={"commit_to_project": "false"}, files={"b001.json": file}
            )
        assert up.status_code == 201, up.text
        body = {"file_upload_ids": up.json()["file_upload_ids"], "files_as_tasks_list": True}
        done = web.post(f"/api/projects/{number}/reimport", json=body)
        assert done.status_code in (200, 201), done.text
        listed = web.get("/api/tasks/", params={"project": number, "fields": "all", "page_size": 100}).json()["tasks"]
        texts = {task["data"]["uid"]: task["data"]["text"] for task in listed}
        assert texts == {item.id: item.text for item in ws.pool.texts()}
        assert {task["total_predictions"] for task in listed} == {0}
        first = both[0].next_task(number)
        assert first is not None
        assert first["data"]["uid"] == ws.store.batch("b001").picks[0].item, "in the order in which it was chosen"
        annotated(ws, both[0], sorted(task["id"] for task in listed))
        path = export(web, number, tmp_path / "export.json")
        read = handing.take_home(ws, [path], numbers(both[0]._web))
        assert (read.read, read.new, read.known, read.set_aside) == (7, 5, 0, 2)
        assert read.waiting == {"b001": 5}
        assert {(a.batch, a.annotator, a.origin["project"]) for a in ws.store.answers()} == {
            ("b001", both[0].email, str(number))
        }
        assert handing.take_home(ws, [path]).new == 0
