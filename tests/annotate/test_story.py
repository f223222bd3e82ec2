"""One round from files to a verdict through a real Label Studio, answered over HTTP by people with accounts."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from toughcall import loop, retraining
from toughcall.annotate import people, server
from toughcall.annotate.tasks import to_result
from toughcall.records import CANT_TELL, Batch, GateRefused, Pick
from toughcall.settings import Columns
from toughcall.workspace import Workspace, opened

pytestmark = pytest.mark.studio

WHO = {
    "animal": (
        "The old dog",
        "A grey horse",
        "My sister's cat",
        "Some wild goose",
        "The brown cow",
        "That lame donkey",
    ),
    "machine": ("The new lathe", "A steam engine", "Our tractor", "The drill press", "A fork lift", "That conveyor"),
    "food": ("The rye bread", "A bowl of soup", "Our apple pie", "The goat cheese", "A roast potato", "That stew"),
}
DOES = {
    "animal": ("slept in the straw", "ran over the meadow", "drank from the pond", "called its young at dusk"),
    "machine": ("needs oil on its bearings", "stopped with a blown fuse", "runs at full load", "got a new gearbox"),
    "food": ("tastes of salt and thyme", "was eaten at noon", "burnt in the oven", "went stale overnight"),
}


def written(when: str) -> dict[str, str]:
    """Return 72 short texts and what each is about."""
    return {f"{who} {does} {when}.": topic for topic in WHO for who, does in itertools.product(WHO[topic], DOES[topic])}


POOL = written("last week")
HELD_OUT = dict(list(written("in the winter before").items())[::2])
LABELS = {"animal": "about an animal", "machine": "about a machine", "food": "about something to eat"}


def said(text: str) -> list[str]:
    """Return what every expert answers: the truth, and can't tell where the text is of a donkey."""
    return [CANT_TELL] if "donkey" in text else [POOL[text]]


def on_server(ws: Workspace) -> Counter[str]:
    """Return how many tasks each uid has on the server, over all batches."""
    studio = loop.connect(ws)
    number = int(ws.store.get("studio_project"))
    found = Counter(task["uid"] for row in ws.store.batches() for task in studio.listed(number, row["name"]))
    assert found.total() == studio.count(number)
    return found


@pytest.fixture
def project(
    make_project: Callable[..., Path],
    write_csv: Callable[..., Path],
    studio_server: server.Local,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Path:
    """Make a project on the test session's Label Studio, its pool and held-out labels imported."""
    root = make_project(
        "multiclass",
        LABELS,
        name=re.sub("[^a-z0-9]", "-", request.node.name)[:40],
        studio__folder=str(tmp_path_factory.getbasetemp() / "studio"),
        mine__batch=24,
        gate__min_items=30,
        gate__test_share=0.0,
    )
    rows = [{"text": text} for text in POOL]
    pool = write_csv("pool.csv", [*rows, {"text": "   "}])
    gold = write_csv("gold.csv", [{"text": text, "label": topic} for text, topic in HELD_OUT.items()])
    with opened(root, "import") as ws:
        added = loop.import_file(ws, pool, Columns())
        assert (added.read, added.new, len(added.set_aside)) == (73, 72, 1)
        loop.import_file(ws, gold, Columns(label="label"), held_out=True)
    return root


def test_one_round_from_files_to_a_verdict(project: Path, studio_server: server.Local) -> None:
    """A round keeps what was promised: each item once, what experts said is what trains, sealed rows never asked."""
    with opened(project, "test") as ws:
        batch = loop.mine(ws)
        assert len(batch.picks) == 24
        first = loop.push(ws)
        assert (first.sent, first.already, first.removed, first.set_aside) == (24, 0, 0, 0)
        assert on_server(ws) == Counter({pick.item: 1 for pick in batch.picks})
        again = loop.push(ws)
        assert (again.sent, again.already) == (0, 24)
        assert on_server(ws) == Counter({pick.item: 1 for pick in batch.picks})
        assert loop.pull(ws).waiting == {"b001": 24}

        told: dict[str, tuple[str, list[str]]] = {}
        experts = ("anna.story@example.com", "ben.story@example.com")
        made = [(email, people.new_password()) for email in experts]
        for email, password in made:
            people.add_person(studio_server.url, studio_server.token, email, password)
        both = [people.Person(studio_server.url, email, password) for email, password in made]
        for person in itertools.cycle(both):
            task = person.next_task(first.project)
            if task is None:
                break
            value = said(task["data"]["text"])
            person.answer(task["id"], to_result(ws.schema, value), 3.5)
            assert task["data"]["uid"] not in told
            told[task["data"]["uid"]] = (person.email, value)
        assert set(told) == {pick.item for pick in batch.picks}

        pulled = loop.pull(ws)
        assert (pulled.read, pulled.new, pulled.set_aside, pulled.waiting) == (24, 24, 0, {"b001": 0})
        found = {answer.item: answer for answer in ws.store.answers() if answer.source != "import"}
        assert {one: (a.annotator, list(a.value) or [CANT_TELL]) for one, a in found.items()} == told
        assert {answer.seconds for answer in found.values()} == {3.5}
        history = len(ws.store.answers(history=True))
        assert (loop.pull(ws).new, loop.push(ws).sent) == (0, 0)
        assert len(ws.store.answers(history=True)) == history
        assert [row["state"] for row in ws.store.batches()] == ["done"]

        done = retraining.retrain(ws)
        wanted = {one: tuple(value) for one, (_, value) in told.items() if value != [CANT_TELL]}
        train, held, _, left = ws.split()
        assert {label.item: label.value for label in train} == wanted
        assert (done.labels, len(held), any(left.values())) == (len(wanted), len(HELD_OUT), False)
        seals = ws.store.events("seal")
        assert [seal["items"] for _, seal in seals] == [sorted(label.item for label in held)]
        assert not {pick.item for _, pick in ws.store.picks()} & set(seals[0][1]["items"])
        assert ws.registry.versions() == [done.version]
        assert done.verdict is not None
        assert {report.n for report in done.reports} == {len(HELD_OUT)}
        assert {"candidate", "untouched", "majority", "tfidf"} <= {report.role for report in done.reports}
        if done.verdict.outcome == "PROMOTE":
            assert retraining.promote(ws) == ws.registry.champion() == done.version
        else:
            with pytest.raises(GateRefused):
                retraining.promote(ws)
            assert ws.registry.champion() == ""
        assert "nothing new" in retraining.retrain(ws).note

        second = loop.mine(ws)
        assert not {pick.item for pick in second.picks} & set(told)
        assert loop.push(ws).sent == len(second.picks) == 24
        assert set(on_server(ws).values()) == {1}
        assert ws.store.damage() == []


def test_two_ledgers_of_one_name_share_a_server_and_nothing_else(project: Path, tmp_path: Path) -> None:
    """A project made again under its old name gets a project of its own there, not the old one's tasks (P2)."""
    numbers = []
    for turn in range(2):
        with opened(project, "test") as ws:
            if turn:
                ws.store.put("ledger_id", "")
                ws.store.put("studio_project", "")
            else:
                planned(ws, 3)
            numbers.append(loop.push(ws).project)
            assert set(on_server(ws).values()) == {1}
            ws.store.mark_batch("b001", "planned")
            ws.store.mark_tasks("b001", "", [item for _, item, *_ in ws.store.tasks()], "planned")
            ws.store.adopt_batch("b001", ws.schema.version)
    assert len(set(numbers)) == 2


def planned(ws: Workspace, size: int) -> list[str]:
    """Save a batch of the first items of the pool; return their ids."""
    ids = sorted(text.id for text in ws.pool.texts() if text.text in POOL)[:size]
    picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate(ids))
    ws.store.add_batch(Batch("b001", ws.schema.version, "untouched", picks))
    return ids


def command(project: Path, verb: str) -> subprocess.Popen[str]:
    """Start a toughcall command on the project."""
    return subprocess.Popen(
        [sys.executable, "-m", "toughcall.cli", "--project", str(project), verb, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_two_at_once(project: Path, studio_server: server.Local, verb: str) -> None:
    """Of two pushes or pulls at once one runs, the other exits 7 and names the holder; each uid once (C37, C51)."""
    with opened(project, "test") as ws:
        ids = planned(ws, 40)
        if verb == "pull":
            number = loop.push(ws).project
            answer = {"result": to_result(ws.schema, ["food"])}
            for task in loop.connect(ws).listed(number, "b001"):
                httpx.post(
                    f"{studio_server.url}/api/tasks/{task['id']}/annotations/",
                    json=answer,
                    headers={"Authorization": f"Token {studio_server.token}"},
                    trust_env=False,
                    timeout=60,
                ).raise_for_status()
    first, lock = command(project, verb), project / ".lock"
    while f"(process {first.pid})" not in lock.read_text():
        assert first.poll() is None, first.communicate()
        time.sleep(0.002)
    # while the first holds the lock it stands still, so that the second surely comes in between
    os.kill(first.pid, signal.SIGSTOP)
    second = command(project, verb)
    words, complaint = second.communicate()
    os.kill(first.pid, signal.SIGCONT)
    output, _ = first.communicate()

    assert (first.returncode, second.returncode) == (0, 7)
    assert words == ""
    assert re.fullmatch(
        rf"toughcall: {re.escape(str(project))} is in use by toughcall {verb} \(process {first.pid}\): wait [^.]*\n",
        complaint,
    )
    with opened(project, "test") as ws:
        assert on_server(ws) == Counter(dict.fromkeys(ids, 1))
        if verb == "push":
            assert '"sent": 40' in output
        else:
            assert '"new": 40' in output
            assert sorted(a.item for a in ws.store.answers(history=True) if a.source != "import") == ids
