"""Reads are tried again, writes are not: what breaks for a moment ends no pull, and nothing is stored twice."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fakes.expert import CONFIG
from fakes.label_studio import FakeStudio

from toughcall.annotate import patient
from toughcall.annotate.studio import Studio
from toughcall.annotate.sync import Failed
from toughcall.records import UsageError

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def again(reads_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try reads again here, without waiting."""
    monkeypatch.setattr(patient, "PAUSES", (0.0, 0.0))


def broken(times: int, how: int | type[httpx.TransportError]) -> tuple[patient.Patient, list[str]]:
    """Return a client whose first requests break in one way, and the methods of all that were sent."""
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        if len(sent) > times:
            return httpx.Response(200, json={"whole": True})
        if isinstance(how, int):
            return httpx.Response(how)
        raise how("broken")

    return patient.Patient(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(answer)), sent


@pytest.mark.parametrize("how", [500, 502, 503, 429, httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
def test_a_read_that_breaks_for_a_moment_is_answered(how: int | type[httpx.TransportError]) -> None:
    """P1: a read is tried up to three times, after a broken connection, a body that broke off, 429 and 5xx."""
    client, sent = broken(2, how)
    assert client.get("/x").json() == {"whole": True}
    assert sent == ["GET"] * 3


@pytest.mark.parametrize("how", [500, httpx.ReadError])
def test_a_read_that_stays_broken_says_how(how: int | type[httpx.TransportError]) -> None:
    """P1: after the third time the last answer, or the last failure, is what there is."""
    client, sent = broken(9, how)
    if isinstance(how, int):
        assert client.get("/x").status_code == how
    else:
        with pytest.raises(how):
            client.get("/x")
    assert sent == ["GET"] * 3


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("how", [502, httpx.ReadError])
def test_c30_a_write_is_sent_once(method: str, how: int | type[httpx.TransportError]) -> None:
    """C30, P2: whatever stores or deletes something is never repeated by itself."""
    client, sent = broken(1, how)
    if isinstance(how, int):
        assert client.request(method, "/x", json={}).status_code == how
    else:
        with pytest.raises(how):
            client.request(method, "/x", json={})
    assert sent == [method]


@pytest.mark.parametrize("how", [400, 401, 404, httpx.ReadTimeout, httpx.ConnectTimeout])
def test_what_will_not_change_is_asked_once(how: int | type[httpx.TransportError]) -> None:
    """A refusal stays one, and a server that is at work on a long read is not given the same work again."""
    client, sent = broken(1, how)
    if isinstance(how, int):
        assert client.get("/x").status_code == how
    else:
        with pytest.raises(how):
            client.get("/x")
    assert sent == ["GET"]


@pytest.mark.parametrize("mode", ["502 after commit", "500 before", "drop after commit", "half body"])
def test_a_connection_reads_on(mode: str) -> None:
    """P1: the product's own connection, its client's calls and ours, reads on over faults that fired; a write fails."""
    with FakeStudio() as fake:
        studio = Studio(fake.url, fake.token)
        number = studio.ensure_project("patient", CONFIG, owner="x")
        fake.fail("GET /api", 2, mode)
        assert studio.counted(number) == 0
        assert fake.fired == 2
        fake.fail(f"POST /api/projects/{number}/import", 1, mode)
        with pytest.raises((Failed, UsageError)):
            studio.send(number, [{"data": {"text": "a"}}])
        assert fake.fired == 3
