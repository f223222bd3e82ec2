"""The local Label Studio: one per folder, on loopback, its secrets only where they belong."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from toughcall.annotate import people, server
from toughcall.annotate.people import Person, add_person, new_password
from toughcall.annotate.server import Local
from toughcall.records import RemoteError, UsageError

STUB = """#!{python}
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

with open("starts", "a") as file:
    file.write(json.dumps({{"pid": os.getpid(), "argv": sys.argv, "env": dict(os.environ)}}) + "\\n")
{first}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Token " + os.environ["LABEL_STUDIO_USER_TOKEN"]
        body = json.dumps({{"email": os.environ["LABEL_STUDIO_USERNAME"]}}).encode()
        self.send_response(200 if known or self.path == "/health" else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
Stub = Callable[..., Path]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Return a function that puts a small program in Label Studio's place and names the server's folder."""
    folder = tmp_path / "studio"
    program = tmp_path / "venv" / "bin" / "label-studio"

    def make(first: str = "") -> Path:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(STUB.format(python=sys.executable, first=first), encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("TOUGHCALL_STUDIO", str(tmp_path / "venv"))
        return folder

    yield make
    server.down(folder)
    # a second one, started by mistake, must not outlive the failed test
    for start in starts(folder) if (folder / "starts").exists() else []:
        command = Path(f"/proc/{start['pid']}/cmdline")
        if command.exists() and str(program).encode() in command.read_bytes():
            os.kill(start["pid"], signal.SIGKILL)


def starts(folder: Path) -> list[dict[str, Any]]:
    """What the stub saw each time it was started."""
    return [json.loads(line) for line in (folder / "starts").read_text(encoding="utf-8").splitlines()]


def test_two_commands_at_once_start_one_server(stub: Stub) -> None:
    """C84: up called by two processes at once gives both the same server, started once."""
    folder = stub("time.sleep(1)")
    # slow between looking for a server and starting one, so that without the lock both would start one
    code = (
        "import sys, time, pathlib; from toughcall.annotate import server; find = server.executable\n"
        "server.executable = lambda say: (time.sleep(2), find(say))[1]\n"
        "print(server.up(pathlib.Path(sys.argv[1])).url)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in pair]

    assert said[0] == said[1] != ""
    assert len(starts(folder)) == 1


def test_environment_is_clean(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7, C73: a stray HOST, PORT, DEBUG or proxy of the caller never reaches the server; quiet switches do."""
    for name in ("HOST", "PORT", "DEBUG", "USERNAME", "LABEL_STUDIO_API_KEY", "HTTPS_PROXY", "HEARTEX_HOST"):
        monkeypatch.setenv(name, "stray")
    folder = stub()
    server.up(folder)
    (start,) = starts(folder)

    assert "stray" not in start["env"].values()
    assert start["env"]["COLLECT_ANALYTICS"] == start["env"]["LATEST_VERSION_CHECK"] == "false"
    assert start["env"]["SENTRY_DSN"] == start["env"]["FRONTEND_SENTRY_DSN"] == ""
    assert start["argv"][start["argv"].index("--internal-host") + 1] == "127.0.0.1"


def test_a_dead_start_says_why_without_secrets(stub: Stub) -> None:
    """P8, C85: a server that dies gives one sentence with its last line and log file, secrets blotted out."""
    folder = stub('sys.exit("no disk " + os.environ["LABEL_STUDIO_PASSWORD"] + os.environ["LABEL_STUDIO_USER_TOKEN"])')
    with pytest.raises(RemoteError, match=r"no disk \*\*\*\*\*\*.*server\.log.*toughcall studio up") as error:
        server.up(folder)
    local = server.credentials(folder)

    assert local.password not in str(error.value)
    assert local.token not in str(error.value)
    assert server.status(folder)["pid"] is None


def test_taken_port_is_named(stub: Stub) -> None:
    """A port asked for and taken is an error that names it; without one, another is found."""
    folder = stub()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} "):
            server.up(folder, port=port)
        assert not (folder / "starts").exists()
        assert not server.up(folder).url.endswith(f":{port}")


def test_port_stays_over_a_restart(stub: Stub) -> None:
    """The address people have bookmarked, and the account, stay when the server starts again."""
    folder = stub()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first = server.up(folder, port=port)
    server.down(folder)

    assert first.url == f"http://127.0.0.1:{port}"
    assert server.up(folder) == first


def test_a_foreign_answer_is_not_ours(stub: Stub) -> None:
    """A server that does not know our token is refused and stopped, never used."""
    folder = stub('os.environ["LABEL_STUDIO_USER_TOKEN"] = "other"')
    with pytest.raises(UsageError, match=r"does not know the account of .*credentials\.json"):
        server.up(folder)

    assert server.status(folder)["running"] is False
    assert server.down(folder) is False


def test_a_moved_server_is_refused(stub: Stub) -> None:
    """Label Studio goes to the next port by itself when its own is taken: that is told, not waited for."""
    folder = stub('print("* Port 1 is in use.\\\\n* Trying to start at 2"); time.sleep(600)')
    with pytest.raises(RemoteError, match="another program took"):
        server.up(folder)

    assert server.down(folder) is False


def test_a_lost_race_for_a_port_is_run_again(stub: Stub) -> None:
    """Of two servers that chose one port at once, the slower takes another by itself."""
    first = 'if open("starts").read().count("argv") == 1: print("* Trying to start at 2"); time.sleep(600)'
    folder = stub(first)
    server.up(folder)

    assert len(starts(folder)) == 2


def test_lost_credentials_get_another_account(stub: Stub) -> None:
    """Data that outlived credentials.json gets a new administrator: a password is set only with the account."""
    folder = stub()
    first = server.up(folder)
    (folder / "data" / "label_studio.sqlite3").touch()
    (folder / "credentials.json").unlink()
    second = server.up(folder)

    assert second.email != first.email
    assert second.token != first.token


def test_down_spares_a_process_that_is_not_ours(stub: Stub) -> None:
    """A pid given to another program since is left alone: same number, other birth."""
    folder = stub()
    server.up(folder)
    state = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    server.down(folder)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        try:
            (folder / "server.json").write_text(json.dumps(state | {"pid": other.pid}), encoding="utf-8")
            assert server.down(folder) is False
            assert other.poll() is None
        finally:
            other.kill()


def test_credentials_need_a_server(tmp_path: Path) -> None:
    """Without a server there is no account, and the message names the command; a damaged file is not shown."""
    with pytest.raises(UsageError, match="toughcall studio up"):
        server.credentials(tmp_path)
    (tmp_path / "credentials.json").write_text('{"password": "hush-hush"', encoding="utf-8")
    with pytest.raises(UsageError, match="damaged") as error:
        server.credentials(tmp_path)
    assert "hush" not in str(error.value)


def test_a_wrong_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TOUGHCALL_STUDIO without the program is an error, not a reason to install a gigabyte."""
    monkeypatch.setenv("TOUGHCALL_STUDIO", str(tmp_path))
    with pytest.raises(UsageError, match=f"TOUGHCALL_STUDIO is .*{tmp_path.name}"):
        server.executable()


def test_a_failed_install_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A venv that could not be filled has no stamp, so it is never taken for a good one; the error is one sentence."""
    monkeypatch.delenv("TOUGHCALL_STUDIO", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho no room >&2; exit 1\n", encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(RemoteError, match=r"could not be installed .*no room"):
            server.executable(said.append)

    assert len([line for line in said if line.startswith("installing")]) == 2
    assert not list(tmp_path.rglob(".ready"))


@pytest.fixture
def folder(studio_server: Local, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name the folder of the real server."""
    found = tmp_path_factory.getbasetemp() / "studio"
    assert server.credentials(found) == studio_server
    return found


@pytest.fixture
def project(studio_server: Local) -> Iterator[int]:
    """Make a project with three tasks, as the administrator, and remove it."""
    config = (
        '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'
    )
    headers = {"Authorization": f"Token {studio_server.token}"}
    with httpx.Client(base_url=studio_server.url, headers=headers, trust_env=False, timeout=120) as web:
        made = web.post("/api/projects", json={"title": "people", "label_config": config})
        number = int(made.raise_for_status().json()["id"])
        tasks = [{"data": {"text": f"text {i}"}} for i in range(3)]
        web.post(f"/api/projects/{number}/import", json=tasks).raise_for_status()
        yield number
        web.delete(f"/api/projects/{number}")


@pytest.mark.studio
def test_up_twice_is_one_server(studio_server: Local, folder: Path) -> None:
    """A second up returns the running server at once: same address, same account, same process."""
    before = server.status(folder)

    assert server.up(folder) == studio_server
    assert server.status(folder) == before
    assert before["running"] is True
    assert before["version"] == server.VERSION
    assert before["url"] == studio_server.url


@pytest.mark.studio
def test_loopback_only(studio_server: Local) -> None:
    """P7, C73: the socket table shows the port on 127.0.0.1 and nowhere else."""
    port = f"{int(studio_server.url.rpartition(':')[2]):04X}"
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        for line in path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and address.endswith(f":{port}"):
                listening.add(address)

    assert listening == {f"0100007F:{port}"}


@pytest.mark.studio
def test_secrets_stay_where_they_belong(studio_server: Local, folder: Path) -> None:
    """P8, C85: password, token and invitation stand in no repr, log or argv; their file is the owner's alone."""
    password = new_password()
    add_person(studio_server.url, studio_server.token, "quiet@example.com", password)
    headers = {"Authorization": f"Token {studio_server.token}"}
    invite = httpx.get(studio_server.url + "/api/invite", headers=headers, trust_env=False).json()["token"]
    log = (folder / server.LOG).read_text(encoding="utf-8")
    arguments = Path(f"/proc/{server.status(folder)['pid']}/cmdline").read_text(encoding="utf-8")

    for place in (repr(studio_server), log, arguments):
        for secret in (studio_server.password, studio_server.token, invite, password):
            assert secret not in place
    assert "--internal-host" in arguments
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in (server.CREDENTIALS, server.LOG, server.STATE):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


@pytest.mark.studio
def test_sign_up_needs_a_link(studio_server: Local) -> None:
    """P7: nobody makes an account without an invitation."""
    url = studio_server.url
    with httpx.Client(base_url=url, headers={"Referer": url + "/"}, trust_env=False, timeout=120) as web:
        page = web.get("/user/signup/").text
        field = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {"email": "eve@example.com", "password": "eve-eve-eve-1", "csrfmiddlewaretoken": field}
        assert web.post("/user/signup/", data=form).status_code == 403
    with pytest.raises(UsageError):
        Person(url, "eve@example.com", "eve-eve-eve-1")


@pytest.mark.studio
def test_adding_a_person_twice(studio_server: Local) -> None:
    """An account is made once: again with its password is fine, with another is told, bad input is refused."""
    url, token = studio_server.url, studio_server.token
    add_person(url, token, "Anna.twice@example.com", "anna-anna-1")
    add_person(url, token, "anna.twice@example.com", "anna-anna-1")
    with pytest.raises(UsageError, match=r"already has an account .* another password") as error:
        add_person(url, token, "anna.twice@example.com", "anna-anna-2")
    assert "anna-anna-2" not in str(error.value)
    with pytest.raises(UsageError, match="valid email"):
        add_person(url, token, "no address", "anna-anna-1")
    with pytest.raises(UsageError, match="token"):
        add_person(url, "0" * 40, "bob@example.com", "bob-bob-bob-1")


@pytest.mark.studio
def test_a_person_answers_until_nothing_is_left(studio_server: Local, project: int) -> None:
    """A signed-up person logs in, gets every task once, answers or skips it, and then gets None."""
    with pytest.raises(UsageError, match=r"password of carl@example\.com"):
        Person(studio_server.url, "carl@example.com", "not-his-password")
    add_person(studio_server.url, studio_server.token, "carl@example.com", "carl-carl-1")
    carl = Person(studio_server.url, "carl@example.com", "carl-carl-1")
    result = [{"from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}]
    seen = []
    while (task := carl.next_task(project)) is not None:
        seen.append(task["data"]["text"])
        if len(seen) == 1:
            assert carl.next_task(project)["id"] == task["id"]
            carl.skip(task["id"])
        else:
            assert carl.answer(task["id"], result, 2.5) > 0
    assert seen == ["text 0", "text 1", "text 2"]
    headers = {"Authorization": f"Token {studio_server.token}"}
    where = {"project": project, "fields": "all"}
    listed = httpx.get(studio_server.url + "/api/tasks/", params=where, headers=headers, trust_env=False, timeout=120)
    stored = [one["annotations"][0] for one in listed.json()["tasks"]]
    assert [one["was_cancelled"] for one in stored] == [True, False, False]
    assert [one["lead_time"] for one in stored[1:]] == [2.5, 2.5]
    with pytest.raises(UsageError, match="no project 99999"):
        carl.next_task(99999)
    with pytest.raises(UsageError, match="no task 99999"):
        carl.answer(99999, result, 1.0)


@pytest.mark.studio
def test_down_stops_it_once(studio_server: Local, folder: Path) -> None:
    """Down is True when something was stopped, then False; people then read what to do, and up starts it again."""
    assert server.down(folder) is True
    assert server.down(folder) is False
    assert server.status(folder)["running"] is False
    with pytest.raises(RemoteError, match="does not answer"):
        Person(studio_server.url, "carl@example.com", "carl-carl-1")
    assert server.up(folder) == studio_server


@pytest.mark.parametrize(("status", "said"), [(0, "ReadError"), (500, "answered 500")])
def test_a_read_is_tried_again_and_a_write_is_not(monkeypatch: pytest.MonkeyPatch, status: int, said: str) -> None:
    """A lost connection or a locked database never makes a second annotation: only reads are repeated, twice."""
    person = Person.__new__(Person)
    tried: list[str] = []
    monkeypatch.setattr(people, "READ_PAUSES", (0.0, 0.0))

    def lost(request: httpx.Request) -> httpx.Response:
        tried.append(request.method)
        if not status:
            raise httpx.ReadError("connection reset")
        return httpx.Response(status if len(tried) != 6 else 200, json={"id": 5})

    person.url, person.email = "http://127.0.0.1:1", "dora@example.com"
    person._web = httpx.Client(base_url=person.url, transport=httpx.MockTransport(lost))
    with pytest.raises(RemoteError, match=said):
        person.next_task(1)
    assert tried == ["GET"] * 3
    with pytest.raises(RemoteError, match=said):
        person.answer(1, [], 1.0)
    assert tried == ["GET"] * 3 + ["POST"]
    assert not status or person.next_task(1) == {"id": 5}, "the second try was answered"


def test_passwords_differ_and_are_accepted_in_length() -> None:
    """A new password is random and within Label Studio's 8 to 128 characters."""
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    assert {len(one) for one in made} == {20}
