"""`toughcall serve` as a process, with a Label Studio that is a fake: C73, C75, C76, C84, C85."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.hooks import HookedStudio, ports
from fakes.serve import Serve, waiting

from toughcall import loop
from toughcall.annotate.hooks import HEADER, USER
from toughcall.annotate.tasks import to_result
from toughcall.records import Batch, BusyError, Pick, Text
from toughcall.workspace import Workspace, opened

ONLY_PULL = ("--no-retrain", "--settle", "0.2")


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookedStudio]:
    with HookedStudio() as fake:
        monkeypatch.setenv("TOUGHCALL_STUDIO_TOKEN", fake.token)
        yield fake


@pytest.fixture
def root(studio: HookedStudio, make_project: Callable[..., Path]) -> Path:
    """Make a project with a batch of three on the server, not answered yet."""
    made = make_project(studio__url=studio.url)
    with opened(made, "test") as ws:
        texts = [Text(f"The {one} was in the yard.") for one in ("dog", "lathe", "soup")]
        ws.pool._write(texts, [])
        picks = tuple(Pick(one.id, "in_band", 0.5, rank) for rank, one in enumerate(texts))
        ws.store.add_batch(Batch("b001", ws.schema.version, "untouched", picks))
        loop.push(ws)
    return made


def answer(studio: HookedStudio, root: Path, count: int) -> None:
    with opened(root, "test", writing=False) as ws:
        tasks = list(studio.projects[int(ws.store.get("studio_project"))].tasks)[:count]
        for task in tasks:
            studio.annotate(task, query={}, body={"result": to_result(ws.schema, ["animal"])})


@contextlib.contextmanager
def patiently(root: Path) -> Iterator[Workspace]:
    """Open a project for writing as soon as no pull of serve holds its lock."""
    with contextlib.ExitStack() as stack:
        while True:
            with contextlib.suppress(BusyError):
                ws = stack.enter_context(opened(root, "test"))
                break
            time.sleep(0.05)
        yield ws


def answers(root: Path) -> list[Any]:
    with opened(root, "test", writing=False) as ws:
        return ws.store.answers(history=True)


def listening(pid: int) -> set[str]:
    """Return the addresses in hexadecimal that a process listens on."""
    sockets = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(handle))
        except FileNotFoundError:
            continue
    inodes = {one[8:-1] for one in sockets if one.startswith("socket:[")}
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc here to ask who listens: run this on Linux")
def test_c73_c75_c76_from_a_hint_to_the_ledger(studio: HookedStudio, root: Path) -> None:
    """C73, C75, C76: it listens on 127.0.0.1 alone; a hint brings in what Label Studio has, never what stands in it."""
    with Serve(root, *ONLY_PULL, "--poll", "3000") as serve:
        url = serve.url
        assert listening(serve.process.pid) == {"0100007F"}
        (hook,) = studio.hooks.values()
        assert hook["url"] == f"{url}/webhook"
        assert (hook["send_payload"], hook["send_for_all_actions"], hook["is_active"]) == (False, False, True)
        for _ in waiting(lambda: "GET /api/tasks/" in studio.seen, serve):
            pass
        forged = {"action": "ANNOTATION_CREATED", "annotation": {"id": 9, "result": [], "completed_by": "eve"}}
        answer(studio, root, 2)
        assert httpx.post(hook["url"], json=forged, trust_env=False).status_code == 401
        for _ in range(30):
            sent = httpx.post(hook["url"], json=forged, headers=hook["headers"], trust_env=False)
            assert sent.status_code == 200
        for _ in waiting(lambda: answers(root), serve):
            pass
        assert len(answers(root)) == 2
        assert {one.annotator for one in answers(root)} == {studio.email}
        serve.until("2 new answers, 1 items still wait")
        assert serve.stop() == 130
        assert serve.said.count("new answers") == 1


def test_c75_without_hints_polling_finds_the_answers(studio: HookedStudio, root: Path) -> None:
    """C75: with every hook lost the next poll brings the same answers, and a removed webhook is put back."""
    with Serve(root, *ONLY_PULL, "--poll", "1") as serve:
        assert serve.url
        studio.hooks.clear()
        answer(studio, root, 3)
        for _ in waiting(lambda: len(answers(root)) == 3, serve):
            pass
        for _ in waiting(lambda: studio.hooks, serve):
            pass
        serve.until("the batch is answered: toughcall round retrains")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_c84_ctrl_c_takes_back_what_was_registered(studio: HookedStudio, root: Path, sign: signal.Signals) -> None:
    """C84: Ctrl-C and SIGTERM remove our webhook and nobody else's, say so, and exit 130."""
    number = next(iter(studio.projects))
    studio.hook("POST", 0, 0, {"url": "http://127.0.0.1:1/other", "project": number, "headers": {"X-Other": "1"}})
    with Serve(root, *ONLY_PULL) as serve:
        assert serve.url
        assert len(studio.hooks) == 2
        assert serve.stop(sign) == 130
        assert "removed from Label Studio: 1 webhooks and ML backends of ours" in serve.said
    assert [one["url"] for one in studio.hooks.values()] == ["http://127.0.0.1:1/other"]


def test_after_kill_9_there_is_one_webhook(studio: HookedStudio, root: Path) -> None:
    """P3: killed without a word and started again, on another port, there is one webhook of ours, to where we are."""
    with Serve(root, *ONLY_PULL) as first:
        assert first.url
        first.stop(signal.SIGKILL)
        assert len(studio.hooks) == 1
    with Serve(root, *ONLY_PULL) as second:
        port = int(second.url.rpartition(":")[2])
        assert ports(list(studio.hooks.values())) == [port]
        second.stop()
    assert not studio.hooks


def test_p16_the_second_is_told_who_serves(studio: HookedStudio, root: Path) -> None:
    """P16: a second serve of a project exits 7 and names the process that serves; commands are not in its way."""
    with Serve(root, *ONLY_PULL) as first:
        assert first.url
        with Serve(root, *ONLY_PULL) as second:
            assert second.ended() == 7
            assert f"is in use by toughcall serve (process {first.process.pid})" in second.said
        with patiently(root):
            assert first.process.poll() is None
        assert len(studio.hooks) == 1


def test_without_label_studio_it_does_not_start(studio: HookedStudio, root: Path) -> None:
    """C35: where Label Studio cannot be reached serve exits 4, with a wrong token 2, in one sentence each."""
    with Serve(root, *ONLY_PULL, TOUGHCALL_STUDIO_TOKEN="0" * 40) as serve:
        assert serve.ended() == 2
        assert "refuses the legacy token" in serve.said
    studio.server.server_close()
    with Serve(root, *ONLY_PULL) as serve:
        assert serve.ended() == 4
        assert "cannot be reached" in serve.said
        assert len(serve.lines) == 1


def test_a_closed_server_is_looked_at_all_the_same(make_project: Callable[..., Path], monkeypatch: Any) -> None:
    """Where Label Studio refuses our address the two settings are named, and answers come by polling."""
    with HookedStudio(closed=True) as studio:
        monkeypatch.setenv("TOUGHCALL_STUDIO_TOKEN", studio.token)
        root = make_project(studio__url=studio.url)
        with opened(root, "test") as ws:
            texts = [Text("one"), Text("two")]
            ws.pool._write(texts, [])
            picks = tuple(Pick(one.id, "in_band", 0.5, rank) for rank, one in enumerate(texts))
            ws.store.add_batch(Batch("b001", ws.schema.version, "untouched", picks))
            loop.push(ws)
        answer(studio, root, 1)
        with Serve(root, *ONLY_PULL, "--poll", "1") as serve:
            serve.until("SSRF_PROTECTION_ENABLED=false for webhooks and ML_BLOCK_LOCAL_IP=false for predictions")
            serve.until("1 new answers", 1)
            assert serve.said.count("SSRF_PROTECTION_ENABLED") == 1
        with Serve(root, *ONLY_PULL, "--predictions") as serve:
            assert serve.ended() == 2
            assert "ML_BLOCK_LOCAL_IP=false" in serve.lines[-1]


def test_c73_beyond_loopback_needs_flag_and_secret(root: Path) -> None:
    """C73: 0.0.0.0 without both flag and secret is exit 2 before anything listens."""
    for options, secret in ((("--host", "0.0.0.0"), "x" * 20), (("--host", "0.0.0.0", "--beyond-loopback"), "")):
        with Serve(root, *options, TOUGHCALL_HOOK_SECRET=secret) as serve:
            assert serve.ended() == 2
            assert "--beyond-loopback with a secret of 16 characters" in serve.said


def test_c85_no_secret_in_what_is_said_or_kept(studio: HookedStudio, root: Path) -> None:
    """C85, P8: the hooks' secret, the token and one handed to /setup stand in no output, argument or other file."""
    handed = "canary-access-token-of-somebody"
    with Serve(root, *ONLY_PULL, "--poll", "1") as serve:
        url = serve.url
        secret = (root / "serve" / "secret").read_text()
        for headers in ({HEADER: secret}, {HEADER: "wrong"}):
            body = {"access_token": handed, "project": "1.2", "schema": "<View/>", "extra_params": None}
            httpx.post(f"{url}/setup", json=body, headers=headers, trust_env=False)
        httpx.post(f"{url}/setup", json={"access_token": handed}, auth=(USER, secret), trust_env=False)
        httpx.post(f"{url}/predict", json={"tasks": [{"token": handed}]}, auth=(USER, secret), trust_env=False)
        serve.until(r"POST /predict 200")
        arguments = Path(f"/proc/{serve.process.pid}/cmdline").read_text()
        serve.stop()
    files = [path for path in root.rglob("*") if path.is_file()]
    held = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    for one in (secret, studio.token, handed):
        assert one not in serve.said
        assert one not in arguments
        assert [name for name, content in held.items() if one.encode() in content] == (
            ["serve/secret"] if one == secret else []
        )
    assert (root / "serve").stat().st_mode & 0o777 == 0o700
    assert json.dumps([one["headers"] for one in studio.hooks.values()]) == "[]"


def test_a_project_that_never_asked_waits_for_its_first_round(
    studio: HookedStudio, make_project: Callable[..., Path]
) -> None:
    """Serve may start before the first batch: it says what makes one, and registers once there is a project."""
    root = make_project(studio__url=studio.url)
    with Serve(root, *ONLY_PULL, "--poll", "1") as serve:
        serve.until("nothing was sent to Label Studio yet: toughcall round")
        assert not studio.hooks
        with patiently(root) as ws:
            texts = [Text("one")]
            ws.pool._write(texts, [])
            ws.store.add_batch(Batch("b001", ws.schema.version, "untouched", (Pick(texts[0].id, "in_band", 0.5, 0),)))
            loop.push(ws)
        for _ in waiting(lambda: studio.hooks, serve):
            pass
