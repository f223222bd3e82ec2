"""`toughcall serve` beside a real Label Studio, and what the fake one shares with it (C73, C75, C76, C85)."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.expert import Hand, Place, made
from fakes.hooks import HookedStudio
from fakes.serve import Serve, waiting

from toughcall import exchange, loop, retraining
from toughcall.annotate import hooks, server, sync
from toughcall.annotate.quiet import CLOSED
from toughcall.annotate.tasks import to_result
from toughcall.files import lock
from toughcall.model import registry
from toughcall.records import Answer, Batch, BusyError, Pick, Text, UsageError, digest
from toughcall.serving import Door, bound, listening
from toughcall.workspace import opened

SECRET = "correct-horse-battery-staple"
TOPICS = {
    "animal": "dog cat horse goat spider whale",
    "machine": "lathe drill crane pump robot tractor",
    "food": "soup bread",
}
TEXTS = {
    f"{start} {word} was in the yard.": topic
    for topic, words in TOPICS.items()
    for word in words.split()
    for start in ("The", "No")
}


# ---- registering: the same on the fake and on the real server


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.studio)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "real":
        yield made(request.getfixturevalue("studio_server"))
    else:
        with HookedStudio() as fake:
            yield made(fake)


@pytest.fixture
def project(place: Place) -> int:
    """Make a project with three tasks in our order."""
    number = place.project()
    tasks = [
        {
            "data": {"uid": f"u{n}", "batch": "b001", "text": f"text {n}"},
            "predictions": [{"model_version": "m1", "score": (n + 1) / 4, "result": []}],
        }
        for n in range(3)
    ]
    sync.push(place.studio, number, tasks)
    place.studio.set_model_version(number, "m1")
    return number


def of(place: Place, project: int, what: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = place.studio.call("GET", "listing", f"api/{what}/", params={"project": project})
    return rows


def fields(place: Place, project: int) -> tuple[Any, Any]:
    found = place.studio.call("GET", "reading", f"api/projects/{project}/")
    return found["model_version"], found["show_collab_predictions"]


@pytest.fixture
def door() -> Iterator[tuple[str, list[str]]]:
    """Answer as a backend; yield the address and what was told."""
    said: list[str] = []
    socket = bound("127.0.0.1", 0)
    with listening(Door(SECRET, lambda: said.append("hint"), lambda: "m1 live", say=said.append), socket):
        yield f"http://127.0.0.1:{socket.getsockname()[1]}", said


def test_a_webhook_is_made_once_changed_and_removed(place: Place, project: int) -> None:
    """C75: registering again changes nothing, from another port it moves the one webhook; a stranger's stays."""
    other = {"url": "http://127.0.0.1:2/other", "project": project, "headers": {"X-Other": "1"}}
    place.studio.call("POST", "a stranger's", "api/webhooks/", body=other)
    first = hooks.ensure_webhook(place.studio, project, "http://127.0.0.1:9", SECRET)
    before = of(place, project, "webhooks")
    assert hooks.ensure_webhook(place.studio, project, "http://127.0.0.1:9", SECRET) == first
    assert of(place, project, "webhooks") == before
    assert hooks.ensure_webhook(place.studio, project, "http://127.0.0.1:10", SECRET * 2) == first
    (mine,) = [one for one in of(place, project, "webhooks") if one["id"] == first]
    assert (mine["url"], mine["headers"]) == ("http://127.0.0.1:10/webhook", {hooks.HEADER: SECRET * 2})
    assert (mine["send_payload"], mine["send_for_all_actions"], mine["is_active"]) == (False, False, True)
    assert sorted(mine["actions"]) == sorted(hooks.ACTIONS)
    place.studio.call("PATCH", "switching it off", f"api/webhooks/{first}/", body={"is_active": False})
    second = {**other, "headers": {hooks.HEADER: "old"}}
    place.studio.call("POST", "one of a serve that was killed", "api/webhooks/", body=second)
    assert hooks.ensure_webhook(place.studio, project, "http://127.0.0.1:10", SECRET) == first
    assert sorted(one["url"] for one in of(place, project, "webhooks")) == [
        "http://127.0.0.1:10/webhook",
        "http://127.0.0.1:2/other",
    ]
    assert all(one["is_active"] for one in of(place, project, "webhooks"))
    assert hooks.remove_webhook(place.studio, project, "http://127.0.0.1:10") == 1
    assert hooks.remove_webhook(place.studio, project, "http://127.0.0.1:10") == 0
    assert [one["url"] for one in of(place, project, "webhooks")] == [other["url"]]


def test_a_backend_keeps_our_order_and_goes_without_a_trace(
    place: Place, project: int, door: tuple[str, list[str]]
) -> None:
    """C73: a backend's title is the version that orders; predictions are shown while it is there; no second webhook."""
    address, said = door
    assert hooks.remove_backend(place.studio, project, address, "m1") == 0
    assert fields(place, project) == ("m1", False)
    hooks.ensure_webhook(place.studio, project, address, SECRET)
    number = hooks.ensure_backend(place.studio, project, address, SECRET, "m1")
    assert fields(place, project) == ("m1", True)
    assert hooks.ensure_backend(place.studio, project, address, SECRET, "m1") == number
    (mine,) = of(place, project, "ml")
    assert (mine["title"], mine["state"], mine["basic_auth_user"]) == ("m1", "CO", hooks.USER)
    assert SECRET not in str(mine)
    assert len(of(place, project, "webhooks")) == 1
    assert "POST /setup 200" in said
    assert "POST /setup 401" not in said
    assert hooks.remove_backend(place.studio, project, address, "m1") == 1
    assert fields(place, project) == ("m1", False)
    assert of(place, project, "ml") == []


def test_a_backend_with_another_secret_is_put_right(place: Place, project: int, door: tuple[str, list[str]]) -> None:
    """C74: a backend that a killed serve left becomes ours again: of another address, or of another secret alone."""
    old = bound("127.0.0.1", 0)
    port = int(old.getsockname()[1])
    with listening(Door("another-secret-of-old", lambda: None), old):
        number = hooks.ensure_backend(place.studio, project, f"http://127.0.0.1:{port}", "another-secret-of-old", "m1")
    with listening(Door(SECRET, lambda: None), bound("127.0.0.1", port)):
        assert [one["state"] for one in of(place, project, "ml")] == ["ER"]
        assert hooks.ensure_backend(place.studio, project, f"http://127.0.0.1:{port}", SECRET, "m1") == number
        assert [one["state"] for one in of(place, project, "ml")] == ["CO"]
    assert hooks.ensure_backend(place.studio, project, door[0], SECRET, "m1") == number
    (mine,) = of(place, project, "ml")
    assert (mine["url"], mine["state"]) == (door[0], "CO")


# ---- what our own server lets through


def test_a_closed_server_is_told_from_a_wrong_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that may not call us gives one sentence with both settings; a refused token stays what it is."""
    with HookedStudio(closed=True) as fake:
        place = made(fake)
        number = place.project()
        with pytest.raises(hooks.Blocked, match=r"SSRF_PROTECTION_ENABLED=false .* ML_BLOCK_LOCAL_IP=false"):
            hooks.ensure_webhook(place.studio, number, "http://127.0.0.1:9", SECRET)
        fake.fail("POST /api/webhooks", 1, "refuse token")
        with pytest.raises(UsageError, match="refuses the legacy token") as error:
            hooks.ensure_webhook(place.studio, number, "http://127.0.0.1:9", SECRET)
        assert fake.fired == 1
        assert not isinstance(error.value, hooks.Blocked)


@pytest.mark.studio
@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"])
def test_our_server_calls_loopback_and_no_private_network(studio_server: server.Local, host: str) -> None:
    """C73: of the reserved addresses our own Label Studio sends to 127.0.0.0/8 alone, for webhooks and for backends."""
    place = made(studio_server)
    number = place.project()
    with pytest.raises(hooks.Blocked):
        hooks.ensure_webhook(place.studio, number, f"http://{host}:9", SECRET)
    with pytest.raises(hooks.Blocked):
        hooks.ensure_backend(place.studio, number, f"http://{host}:9", SECRET, "m1")
    assert of(place, number, "webhooks") == of(place, number, "ml") == []
    assert hooks.ensure_webhook(place.studio, number, "http://127.0.0.1:9", SECRET)


@pytest.mark.studio
def test_what_is_closed_is_what_this_version_closes(studio_server: server.Local) -> None:
    """C73: our list is the server's own of the version we run, without 127.0.0.0/8 and nothing else."""
    program = Path(os.environ[server.VARIABLE]) / "lib"
    (source,) = program.glob("python*/site-packages/label_studio/core/utils/io.py")
    text = re.search(r"default_banned_subnets = \[(.*?)\n    \]", source.read_text(encoding="utf-8"), re.DOTALL)
    assert text
    theirs = re.findall(r"'([0-9a-f.:]+/\d+)'", text[1])
    assert len(theirs) > 20
    assert sorted(theirs) == sorted([*CLOSED, "127.0.0.0/8"])


# ---- serving


@pytest.fixture
def root(
    make_project: Callable[..., Path], studio_server: server.Local, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Make a project on the test session's server with a champion and a batch of items it never saw."""
    home = tmp_path_factory.getbasetemp() / "studio"
    settings = {"gate__min_items": 4, "gate__test_share": 0.0, "encoder__device": "cpu"}
    name = f"serve-{uuid.uuid4().hex[:8]}"
    root = make_project("multiclass", name=name, studio__folder=str(home), **settings)
    with opened(root, "test") as ws:
        texts = [Text(one) for one in TEXTS]
        ws.pool._write(texts, [])
        assert len(ws.vectors.ids) == len(texts)
        known = texts[::2]
        answers = [
            Answer(digest("t", t.id), t.id, "import", "label", (TEXTS[t.text],), "", ws.schema.version, source="import")
            for t in known
        ]
        ws.store.add_answers(answers)
        trained = retraining.fitted(ws, known, ws.store.labels(ws.schema.version)[0]).named(f"{name}-v001")
        save(ws, trained, known)
        ws.registry.promote(f"{name}-v001", verdict={})
        picks = [
            Pick(one.id, "random_audit" if rank == 1 else "in_band", 0.5, rank)
            for rank, one in enumerate(texts[1:10:2])
        ]
        ws.store.add_batch(Batch("b001", ws.schema.version, f"{name}-v001", tuple(picks)))
        loop.push(ws)
    return root


def save(ws: Any, trained: Any, probe: list[Text]) -> None:
    """Store a model without the proof in a fresh process, which other tests are about."""
    said = trained.score(probe, ws.vectors).values
    info: dict[str, Any] = dict.fromkeys(registry.NEEDED, "") | {"base_scores": (said * 0).tolist()}
    more: dict[str, Any] = {"report": None, "info": info, "probe": probe, "probe_vectors": ws.vectors}
    ws.registry.save(trained, name=ws.project.name, prove=lambda folder: said, **more)


def hand(local: server.Local) -> Hand:
    return Hand(local.url, {"Authorization": f"Token {local.token}"})


def number_of(root: Path) -> int:
    with opened(root, "test", writing=False) as ws:
        return next(iter(exchange.places(ws).values()))


def next_task(local: server.Local, root: Path) -> dict[str, Any]:
    url = f"{local.url}/api/projects/{number_of(root)}/next"
    found: dict[str, Any] = httpx.get(url, headers=hand(local).headers, timeout=60, trust_env=False).json()
    return found


def answer(local: server.Local, root: Path, task: dict[str, Any], label: str = "food") -> None:
    with opened(root, "test", writing=False) as ws:
        body = {"result": to_result(ws.schema, [label])}
    assert hand(local).post(f"/api/tasks/{task['id']}/annotations/", body).status_code == 201


def free(root: Path) -> bool:
    """Return whether no command holds the project's lock."""
    with contextlib.suppress(BusyError), lock(root, "test"):
        return True
    return False


def answered(root: Path) -> set[tuple[str, tuple[Any, ...]]]:
    with opened(root, "test", writing=False) as ws:
        return {(one.item, one.value) for one in ws.store.answers() if one.source == "person"}


@pytest.mark.studio
def test_c75_an_answer_is_in_the_ledger_although_nobody_pulled(studio_server: server.Local, root: Path) -> None:
    """C75, C76: an expert answers over HTTP, the server's own webhook comes, and the answer is in the ledger."""
    with Serve(root, "--no-retrain", "--settle", "0.2", "--poll", "3000") as serve:
        assert serve.url
        # the look at the start is over before anybody answers
        for _ in waiting(lambda: "toughcall pull" in (root / ".lock").read_text() and free(root), serve):
            pass
        task = next_task(studio_server, root)
        answer(studio_server, root, task)
        serve.until("POST /webhook 200")
        for _ in waiting(lambda: answered(root), serve):
            pass
        assert answered(root) == {(task["data"]["uid"], ("food",))}
        assert serve.stop() == 130
    place = made(studio_server)
    assert of(place, number_of(root), "webhooks") == []


@pytest.mark.studio
def test_c75_polling_alone_finds_the_answer(studio_server: server.Local, root: Path) -> None:
    """C75: with hooks that lead nowhere the next poll brings the answer."""
    with Serve(root, "--no-retrain", "--poll", "1", "--address", "http://127.0.0.1:9") as serve:
        assert serve.url
        task = next_task(studio_server, root)
        answer(studio_server, root, task)
        for _ in waiting(lambda: answered(root), serve):
            pass
        assert answered(root) == {(task["data"]["uid"], ("food",))}
        assert "/webhook" not in serve.said


@pytest.mark.studio
def test_predictions_arrive_in_our_order_and_go(studio_server: server.Local, root: Path) -> None:
    """C38, C85: --predictions shows the champion's answer, not on audits, in our order, till Ctrl-C; no token stays."""
    place = made(studio_server)
    with opened(root, "test", writing=False) as ws:
        order = [pick.item for pick in ws.store.batch("b001").picks]
        champion = ws.registry.champion()
    shown = []
    with Serve(root, "--no-retrain", "--predictions", "--poll", "3000") as serve:
        assert serve.url
        assert fields(place, number_of(root)) == (champion, True)
        for _ in range(3):
            task = next_task(studio_server, root)
            shown.append((task["data"]["uid"], [(p["model_version"], p["result"]) for p in task["predictions"]]))
            answer(studio_server, root, task)
        assert serve.stop() == 130
        assert serve.said.count("POST /predict 200") == 3
        assert "POST /setup 200" in serve.said
    assert [uid for uid, _ in shown] == order[:3]
    assert [len(predictions) for _, predictions in shown] == [1, 0, 1]
    for _, ((version, result),) in (shown[0], shown[2]):
        assert version == f"{champion} pre-annotation"
        assert result[0]["value"]["choices"][0] in TOPICS
    last = next_task(studio_server, root)
    assert (last["data"]["uid"], last["predictions"]) == (order[3], [])
    assert fields(place, number_of(root)) == (champion, False)
    assert of(place, number_of(root), "ml") == of(place, number_of(root), "webhooks") == []
    token = studio_server.token.encode()
    held = [path for path in root.rglob("*") if path.is_file() and token in path.read_bytes()]
    assert not held
    assert studio_server.token not in serve.said


@pytest.mark.studio
def test_a_dead_serve_stops_nobody(studio_server: server.Local, root: Path) -> None:
    """P3: killed with everything registered, experts go on without predictions; the next serve takes them back."""
    place = made(studio_server)
    with Serve(root, "--no-retrain", "--predictions", "--poll", "3000") as serve:
        assert serve.url
        serve.process.kill()
        serve.ended()
    task = next_task(studio_server, root)
    assert task["predictions"] == []
    answer(studio_server, root, task)
    with Serve(root, "--no-retrain", "--poll", "3000") as serve:
        assert serve.url
        assert of(place, number_of(root), "ml") == []
        assert fields(place, number_of(root))[1] is False
        assert [one["url"] for one in of(place, number_of(root), "webhooks")] == [f"{serve.url}/webhook"]
        for _ in waiting(lambda: answered(root), serve):
            pass
        assert serve.stop() == 130
