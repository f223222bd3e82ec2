"""Requests that break between us and a real Label Studio: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes import campaign, postgres
from fakes.crowd import Crowd, persons
from fakes.expert import Place, made, task
from fakes.label_studio import FakeStudio
from fakes.proxy import AFTER, BEFORE, MODES, FaultProxy, Rule

from toughcall import loop
from toughcall.annotate import server, sync
from toughcall.annotate.connection import Gone
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import RemoteError
from toughcall.workspace import opened

# ---- the proxy itself


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    """Yield the fake server that stands behind the proxy where no real one is needed."""
    with FakeStudio() as fake:
        yield fake


def through(proxy: FaultProxy, fake: FakeStudio, *, sends: int = 3) -> httpx.Response | str:
    """Send tasks through the proxy, once; return the answer, or the name of what went wrong."""
    with httpx.Client(trust_env=False, timeout=30) as web:
        try:
            return web.post(
                f"{proxy.url}/api/projects/1/import",
                json=[task(f"u{number}") for number in range(sends)],
                headers={"Authorization": f"Token {fake.token}"},
            )
        except httpx.TransportError as error:
            return type(error).__name__


def test_a_calm_proxy_changes_nothing(studio: FakeStudio) -> None:
    """Without a plan every request and answer goes through the proxy as it is, and no fault is counted."""
    place = made(studio)
    number = place.project()
    with FaultProxy(studio.url) as proxy:
        found = through(proxy, studio)
        assert not isinstance(found, str)
        assert (found.status_code, found.json()) == (201, {"task_count": 3, "annotation_count": 0})
        assert (proxy.log, len(proxy.seen)) == ([], 1)
    assert studio.uids(number) == ["u0", "u1", "u2"]


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_is_what_it_is_called(studio: FakeStudio, mode: str) -> None:
    """After a commit the server has it, before one it has not; the client sees the fault, and it is counted once."""
    place = made(studio)
    number = place.project()
    with FaultProxy(studio.url, late=(0.05, 0.1)) as proxy:
        proxy.fail("/import", 1, mode)
        proxy.during = "push"
        found = through(proxy, studio)
        if mode == "delay then commit later":
            assert studio.uids(number) == []
        proxy.settle()
        (fired,) = proxy.log
        whole = through(proxy, studio)
        assert not isinstance(whole, str)
        assert whole.status_code == 201
        assert len(proxy.log) == 1
    stored = len(studio.uids(number)) - 3
    assert stored == (3 if mode in AFTER else 0)
    assert (fired.mode, fired.request, fired.during) == (mode, "POST /api/projects/1/import", "push")
    assert fired.status == (201 if mode in AFTER else 0)
    if mode[:3].isdigit():
        assert not isinstance(found, str)
        assert found.status_code == int(mode[:3])
    elif mode == "half body, no length":
        assert not isinstance(found, str)
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            found.json()
    else:
        assert found == ("ReadError" if mode == "reset" else "RemoteProtocolError")


def test_nobody_listens_for_a_while(studio: FakeStudio) -> None:
    """After a refused connection the next ones are refused as well, until the port is open again."""
    made(studio).project()
    with FaultProxy(studio.url, away=0.3) as proxy:
        proxy.fail("/import", 1, "refused")
        assert through(proxy, studio) == "RemoteProtocolError"
        assert through(proxy, studio) == "ConnectError"
        proxy.settle()
        assert not isinstance(through(proxy, studio), str)


@pytest.mark.parametrize("mode", AFTER)
def test_a_fault_that_found_nothing_to_break_is_none(studio: FakeStudio, mode: str) -> None:
    """A fault after the commit does not count when the server refused the request; its words go through."""
    with FaultProxy(studio.url, late=(0.01, 0.02)) as proxy:
        proxy.fail("/import", 1, mode)
        found = through(proxy, studio)
        proxy.settle()
        assert proxy.log == []
    if mode != "delay then commit later":
        assert not isinstance(found, str)
        assert found.status_code == 404


def test_the_plan_is_the_same_for_a_seed(studio: FakeStudio) -> None:
    """A seed draws the same faults for the same requests; the share of broken ones is the rule's."""

    def drawn(seed: int) -> list[str]:
        with FaultProxy(studio.url, [Rule("^GET ", 0.3), Rule("nothing", 1.0)], seed=seed) as proxy:
            return [proxy.mode(f"{'GET' if turn % 2 else 'POST'} /api/tasks/") for turn in range(2000)]

    first = drawn(5)
    assert first == drawn(5) != drawn(6)
    assert not any(first[::2])
    assert 0.25 < sum(map(bool, first[1::2])) / 1000 < 0.35
    assert set(first[1::2]) == {"", *MODES}


# ---- one fault at a time, on the real server


@pytest.fixture
def place(studio_server: server.Local) -> Iterator[tuple[Place, FaultProxy]]:
    """Yield a client that goes through a proxy to the real server, and the proxy."""
    with FaultProxy(studio_server.url, late=(0.3, 0.6)) as proxy:
        direct = made(studio_server)
        studio = type(direct.studio)(proxy.url, direct.token)
        yield Place(studio, direct.hand, direct.token, direct.email), proxy
        studio.close()


@pytest.mark.studio
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_a_broken_import(place: tuple[Place, FaultProxy], mode: str, times: int) -> None:
    """C30, C31, C32: whatever breaks an import, up to three times, each uid is there once, and answers stay."""
    here, proxy = place
    number, batch = here.project(), f"b{uuid.uuid4().hex[:8]}"
    tasks = [task(f"{batch}-{turn}", batch) for turn in range(5)]
    if mode == "404":
        # nothing is there any more, as the server says: no reason to go on
        proxy.fail("/import", 1, mode)
        with pytest.raises(Gone), campaign.hurried():
            sync.push(here.studio, number, tasks)
    else:
        proxy.fail("/import", times, mode)
        with campaign.hurried(120.0):
            sync.push(here.studio, number, tasks)
    proxy.settle()
    first = here.studio.listed(number, batch)
    if first:
        # the newest copy of one item is answered before the next command comes
        here.hand.answers(max(row["id"] for row in first if row["uid"] == f"{batch}-0"))
    done = sync.push(here.studio, number, tasks)
    rows = here.studio.listed(number, batch)
    assert Counter(row["uid"] for row in rows) == Counter({one["data"]["uid"]: 1 for one in tasks})
    assert sum(row["annotations"] for row in rows) == bool(first)
    assert done.removed == len(first) - len({row["uid"] for row in first})
    fired = [one.mode for one in proxy.log if one.request.endswith("/import")]
    # what was stored although its answer got lost is not sent again, so that no second fault finds it
    assert mode in fired
    assert set(fired) == {mode}
    if mode in BEFORE and mode != "404":
        assert len(fired) == times


# ---- many faults, whole commands


def rounds(local: server.Local, root: Path, *, faults: int, seed: int) -> tuple[campaign.Site, FaultProxy, Crowd]:
    """Play turns of push, answers and pull in one project until so many faults have fired, and one more."""
    who, crowd, items, last = persons(local, ("anna", "ben")), None, 12, False
    with FaultProxy(local.url, campaign.rules(0.12), seed=seed) as proxy, campaign.hurried():
        site = campaign.Site(root, local, proxy)
        campaign.new_project(root, 20 * items, studio__url=proxy.url)
        while not last:
            last = len(proxy.log) >= faults
            crowd = campaign.turn(
                site,
                crowd,
                lambda number, schema: Crowd(local, number, schema, who, random.Random(seed)),
                items,
                last=last,
            )
    assert crowd is not None
    return site, proxy, crowd


@pytest.mark.studio
def test_nothing_is_lost_or_doubled_while_everything_breaks(
    studio_server: server.Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C30, C31, C32, C33, C42, C43, P1, P2: each item is on the server once, each answer in the ledger once."""
    monkeypatch.setenv(TOKEN_VARIABLE, studio_server.token)
    site, proxy, crowd = rounds(studio_server, tmp_path / "faults", faults=25, seed=3)
    fired = Counter(one.during for one in proxy.log)
    assert fired.total() >= 25, fired
    assert min(fired["push"], fired["pull"]) >= 3, fired
    assert {one.mode for one in proxy.log} & set(AFTER)
    assert {one.mode for one in proxy.log} & set(BEFORE)
    # commands did give up, and the same command went on
    assert site.commands["push exit 4"] + site.commands["pull exit 4"] > 0
    outcomes = Counter(act.outcome for act in crowd.acts.values())
    assert len(outcomes) > 1
    assert crowd.removed
    assert len(crowd.acts) > len(crowd.newest) >= 24


@pytest.mark.studio
def test_on_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C30, C42, P1, P2: the same holds where Label Studio keeps its data in PostgreSQL."""
    if why := postgres.missing():
        pytest.skip(why)
    folder = tmp_path / "studio"
    with postgres.cluster() as base:
        for name, value in base.environment().items():
            monkeypatch.setenv(name, value)
        try:
            local = server.up(folder)
            assert not list(folder.rglob("*.sqlite3"))
            assert base.password not in (folder / server.STATE).read_text()
            monkeypatch.setenv(TOKEN_VARIABLE, local.token)
            _, proxy, crowd = rounds(local, tmp_path / "faults", faults=5, seed=1)
        finally:
            server.down(folder)
    assert len(proxy.log) >= 5
    assert len(crowd.newest) >= 24


@pytest.mark.studio
@pytest.mark.parametrize(
    ("mode", "times"), [("404", 1), ("500 before", 3), ("half body", 3), ("half body, no length", 1)]
)
def test_a_pull_that_broke_in_the_middle_is_not_complete(
    studio_server: server.Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, times: int
) -> None:
    """C42: a pull that broke keeps what it has, says exit 4, and notes nothing as gone; run again it is complete.

    `times`: a read that fails in plain sight is tried twice more, so that it has to break three times.
    """
    monkeypatch.setenv(TOKEN_VARIABLE, studio_server.token)
    root = tmp_path / "faults"
    with FaultProxy(studio_server.url) as proxy, campaign.hurried():
        campaign.new_project(root, 24, studio__url=proxy.url)
        site = campaign.Site(root, studio_server, proxy)
        with opened(root, "mine") as ws:
            campaign.planned(ws, 24)
            schema = ws.schema
        number = site.run("push").project
        crowd = Crowd(studio_server, number, schema, persons(studio_server, ("anna",)), random.Random(1))
        for one in crowd.open():
            crowd.answer(one)
        proxy.fail("/export", times, mode)
        with opened(root, "pull") as ws, pytest.raises(RemoteError):
            loop.pull(ws)
        assert [one.mode for one in proxy.log] == [mode] * times
        campaign.told(site.answer_faults(crowd, complete=False))
        site.run("pull")
        campaign.told(site.answer_faults(crowd, complete=True))
        with opened(root, "check") as ws:
            assert ws.store.events("gone") == []
