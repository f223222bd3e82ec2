"""What answers Label Studio over HTTP: who may ask, and what becomes of what nobody should send (C73, C74, C77)."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from doors import BASIC, SECRET, busy, served

from toughcall import following, hosting, serving
from toughcall.annotate.hooks import HEADER, USER
from toughcall.records import DiskError, IntegrityError, UsageError
from toughcall.serving import allowed, bound

ASKING = (("POST", "/webhook"), ("POST", "/setup"), ("POST", "/predict"), ("GET", "/versions"))


# ---- who may ask


@pytest.mark.parametrize(("method", "path"), ASKING)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER: ""},
        {HEADER: SECRET[:-1]},
        {HEADER: SECRET + "x"},
        {HEADER: SECRET.upper()},
        {"Authorization": "Basic " + base64.b64encode(f"{USER}:wrong".encode()).decode()},
        {"Authorization": "Basic " + base64.b64encode(f"root:{SECRET}".encode()).decode()},
        {"Authorization": "Basic not base64!"},
        {"Authorization": f"Bearer {SECRET}"},
        {HEADER: "wrong", "Authorization": BASIC},
    ],
)
def test_c74_without_the_secret_nothing_is_done(method: str, path: str, headers: dict[str, str]) -> None:
    """C74: no secret or a wrong one is 401 on every route but /health, and no hint, answer or version comes of it."""
    calls: list[str] = []
    more = {"answers": lambda tasks: calls.append("answers"), "version": lambda: calls.append("version")}
    with served(**more) as door:
        asked = door.ask(method, path, headers=headers, json={"tasks": []} if method == "POST" else None)
        assert asked.status_code == 401
        assert SECRET not in asked.text + str(asked.headers)
        assert (door.hints, calls) == ([], [])
        assert door.alive()


def test_c74_the_secret_opens_as_header_and_as_password() -> None:
    """C74: our header on a webhook and basic authentication on a backend's calls are the two ways in."""
    with served(version=lambda: "m1") as door:
        for headers in ({HEADER: SECRET}, {"Authorization": BASIC}):
            assert door.ask("POST", "/webhook", headers=headers, json={}).status_code == 200
            assert door.ask("POST", "/setup", headers=headers, json={}).json() == {"model_version": "m1"}
            assert door.ask("GET", "/versions", headers=headers).json() == {"versions": ["m1"]}
            assert door.ask("POST", "/predict", headers=headers, json={"tasks": [{}]}).json() == {"results": [[]]}
    assert len(door.hints) == 2


def test_c74_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """C74: what was given meets the secret in hmac.compare_digest and nowhere else."""
    met: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        met.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert not allowed(SECRET, SECRET, "")
    assert not allowed(SECRET, "", BASIC)
    assert not allowed(SECRET, "wörong", "")
    assert met == [(SECRET.encode(), SECRET.encode())] * 2 + [("wörong".encode(), SECRET.encode())]


def test_c77_what_is_too_big_is_413() -> None:
    """C77: 10 MB are 413, with their length told or not, and nothing is done; what is below the limit passes."""
    with served() as door:
        ten = b'{"action": "' + b"x" * 10_000_000 + b'"}'
        assert door.ask("POST", "/webhook", content=ten).status_code == 413
        assert door.ask("POST", "/webhook", content=iter([ten[:6_000_000], ten[6_000_000:]])).status_code == 413
        assert door.hints == []
        assert door.alive()
        assert door.ask("POST", "/webhook", content=b'{"a": "' + b"x" * 4_900_000 + b'"}').status_code == 200
        assert door.hints == ["hint"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"a": NaN', b"[" * 100_000, b"1" * 10_000, b"action=ANNOTATION_CREATED"]
)
def test_c77_what_is_no_json_is_400(body: bytes) -> None:
    """C77: a body that is no JSON, however it is broken, is 400 and no hint; the next request is answered."""
    with served() as door:
        assert door.ask("POST", "/webhook", content=body).status_code == 400
        assert door.ask("POST", "/predict", content=body).status_code == 400
        assert door.hints == []
        assert door.alive()


@pytest.mark.parametrize("body", [{}, [], 3, None, {"tasks": 3}, {"tasks": {"id": 1}}])
def test_c77_predict_without_tasks_is_400(body: Any) -> None:
    """C77: JSON that asks about no list of tasks is 400."""
    with served() as door:
        assert door.ask("POST", "/predict", content=json.dumps(body).encode()).status_code == 400
        assert door.alive()


def test_c77_other_methods_and_paths() -> None:
    """C77: GET on a POST route is 405, as is POST on /health; every other path is 404."""
    with served() as door:
        for method, path in (("GET", "/webhook"), ("GET", "/setup"), ("GET", "/predict"), ("POST", "/health")):
            assert door.ask(method, path).status_code == 405, (method, path)
        for path in ("/", "/webhook/", "/webhook/x", "/train", "/../serve/secret", "/docs", "/openapi.json"):
            assert door.ask("GET", path).status_code == 404, path
        assert door.ask("DELETE", "/webhook").status_code == 405
        assert door.ask("OPTIONS", "/webhook").status_code == 405
        assert door.hints == []


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /webh",
        b"POST /webhook HTTP/1.1\r\nHost: here\r\nX-Slow",
        b"POST /webhook HTTP/1.1\r\nHost: here\r\n%s: %s\r\nContent-Length: 500\r\n\r\n{"
        % (HEADER.encode(), SECRET.encode()),
    ],
)
def test_c77_a_slow_client_is_408(sent: bytes) -> None:
    """C77: whoever does not finish a request is told 408 and let go, in its head as in its body."""
    with served(patience=0.3) as door:
        with socket.create_connection(("127.0.0.1", int(door.url.rpartition(":")[2]))) as slow:
            slow.sendall(sent)
            assert door.alive()
            got = b""
            while more := slow.recv(4096):
                got += more
        assert got.startswith(b"HTTP/1.1 408 ")
        assert door.hints == []
        assert door.alive()


def test_c85_the_access_log_repeats_nothing_that_came_in() -> None:
    """C85: what is told of a request is its method, its path where we know it, and the status."""
    with served() as door:
        door.ask("POST", "/setup?key=canary", json={"access_token": "canary", "hostname": "canary"})
        door.ask("POST", "/canary%1b%5b31m", json={})
        door.ask("CANARY", "/webhook", headers={HEADER: "canary", "User-Agent": "canary"}, json={})
        door.alive()
    assert door.said == ["POST /setup 200", "POST (another path) 404", "(another method) /webhook 405"]


def test_an_error_behind_the_door_is_told_at_the_terminal_alone() -> None:
    """P8: what goes wrong behind /predict is 503 without a reason; the sentence goes to whoever runs serve."""

    def broken(tasks: Any) -> Any:
        raise IntegrityError("p-v001/weights.safetensors was changed after it was stored")

    with served(answers=broken) as door:
        asked = door.ask("POST", "/predict", json={"tasks": [{}]})
        assert asked.status_code == 503
        assert "weights" not in asked.text
        assert "p-v001/weights.safetensors was changed after it was stored" in door.said
        assert door.alive()


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("secret", [False, True])
def test_c73_what_is_listened_on(beyond: bool, secret: bool) -> None:
    """C73: loopback needs nothing; any other address needs the flag and a secret in the environment, both."""
    for host in ("127.0.0.1", "localhost", "127.3.2.1"):
        assert hosting.checked_host(host, beyond=beyond, secret=secret).startswith("127.")
    for host in ("0.0.0.0", "192.0.2.7"):
        if beyond and secret:
            assert hosting.checked_host(host, beyond=beyond, secret=secret) == host
        else:
            with pytest.raises(UsageError, match=r"--beyond-loopback with a secret .* TOUGHCALL_HOOK_SECRET"):
                hosting.checked_host(host, beyond=beyond, secret=secret)
    for host in ("", "example.com", "::1", "127.1", "2130706433", "0"):
        with pytest.raises(UsageError, match="IPv4 address of this machine"):
            hosting.checked_host(host, beyond=beyond, secret=secret)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C73, P8: without a variable a secret of 43 characters is made and kept, mode 0600; the variable goes first."""
    monkeypatch.delenv(following.SECRET_VARIABLE, raising=False)
    made = hosting.secret_of(tmp_path)
    assert len(made) == 43
    path = tmp_path / "secret"
    path.chmod(0o644)
    assert hosting.secret_of(tmp_path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv(following.SECRET_VARIABLE, SECRET)
    assert hosting.secret_of(tmp_path) == SECRET
    for bad in ("short", "with a space in it all", "with\na line in it all", "ünï" * 10, "x" * 300):
        monkeypatch.setenv(following.SECRET_VARIABLE, bad)
        with pytest.raises(UsageError, match="TOUGHCALL_HOOK_SECRET must have 16 to 200") as error:
            hosting.secret_of(tmp_path)
        assert bad not in str(error.value)
    monkeypatch.delenv(following.SECRET_VARIABLE)
    path.write_text("cut")
    with pytest.raises(UsageError, match="remove it to get a new one"):
        hosting.secret_of(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DiskError):
        hosting.secret_of(tmp_path)


@pytest.mark.parametrize(
    ("studio", "host", "given", "told"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1", "", "http://127.0.0.1:9"),
        ("https://label.example.com", "127.0.0.1", "", ""),
        ("https://label.example.com", "192.0.2.7", "", "http://192.0.2.7:9"),
        ("https://label.example.com", "127.0.0.1", "https://hints.example.com/", "https://hints.example.com"),
    ],
)
def test_another_machine_is_never_told_loopback(studio: str, host: str, given: str, told: str) -> None:
    """P8: a Label Studio elsewhere is not told 127.0.0.1, where its secret would go to whoever listens there."""
    assert hosting.reached_at(hosting.Serving(address=given), host, 9, studio) == told


def test_an_address_with_a_password_is_refused() -> None:
    """P8: --address is checked like studio.url, and the sentence names the option."""
    with pytest.raises(UsageError, match="--address must not hold a user name"):
        hosting.reached_at(hosting.Serving(address="http://a:b@c"), "127.0.0.1", 9, "http://d")


def test_c77_every_route_answers_while_a_retrain_runs(tmp_path: Path) -> None:
    """C77: hints, questions and bad requests are all answered while a retrain keeps a processor busy."""
    with busy(tmp_path) as commands, served(version=lambda: "m1") as door:
        child = commands.child
        assert child is not None
        for _ in range(5):
            assert door.alive()
            assert door.ask("POST", "/webhook", json={}).status_code == 200
            assert door.ask("POST", "/setup", json={}).status_code == 200
            assert door.ask("GET", "/versions").json() == {"versions": ["m1"]}
            assert door.ask("POST", "/predict", json={"tasks": [{}]}).json() == {"results": [[]]}
            assert door.ask("POST", "/webhook", content=b"{").status_code == 400
            assert door.ask("GET", "/webhook").status_code == 405
            assert door.ask("POST", "/webhook", headers={}).status_code == 401
        assert child.poll() is None, "the child was busy all the while"


def test_hints_are_taken_while_an_answer_is_computed(tmp_path: Path) -> None:
    """C77: a question that takes long keeps nobody else from being answered."""
    go = threading.Event()

    def slow(tasks: Any) -> list[list[dict[str, Any]]]:
        go.wait()
        return [[] for _ in tasks]

    with served(answers=slow) as door:
        asked: list[httpx.Response] = []
        waiting = threading.Thread(target=lambda: asked.append(door.ask("POST", "/predict", json={"tasks": [{}]})))
        waiting.start()
        try:
            assert door.alive()
            assert door.ask("POST", "/webhook", json={}).status_code == 200
            assert not asked
        finally:
            go.set()
            waiting.join()
        assert asked[0].status_code == 200


def test_help_says_what_predictions_do_to_experts() -> None:
    """The help of serve says why predictions are off unless asked for."""
    from click.testing import CliRunner

    from toughcall.cli_serve import serve

    shown = CliRunner().invoke(serve, ["--help"])
    assert shown.exit_code == 0
    assert "it biases them" in " ".join(shown.output.split())
    assert "Off by default" in shown.output


def test_importing_serving_loads_no_server() -> None:
    """The HTTP libraries are loaded when somebody serves, not with the module."""
    loaded = "import toughcall.serving, toughcall.hosting, toughcall.cli_serve, toughcall.preannotating"
    code = f"import sys; {loaded}; print({{'starlette', 'uvicorn'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """A port that is taken is exit 2 naming --port."""
    with contextlib.closing(bound("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="--port ANOTHER"):
        bound("127.0.0.1", taken.getsockname()[1])
    assert serving.LIMIT == 5_000_000
