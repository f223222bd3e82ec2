"""A local Label Studio: one process per project folder, on loopback, its data and account in that folder.

The server phones home, listens everywhere and lets anybody sign up by default; the environment it
gets here switches all three off. Account and token travel in that environment, never in argv.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toughcall.annotate.quiet import KEPT, QUIET, SETTINGS
from toughcall.records import RemoteError, UsageError

VERSION = "1.23.2"
NAME = "label-studio"
VARIABLE = "TOUGHCALL_STUDIO"
EMAIL = "admin@toughcall.local"
HOST = "127.0.0.1"
CREDENTIALS, STATE, LOG, LOCK, DATA = "credentials.json", "server.json", "server.log", ".server.lock", "data"
PATIENCE = 900.0  # seconds until a start that neither answers nor dies is given up; first starts took 25 to 100

# servers this process started itself: they must be reaped, or they would look alive when dead
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Local:
    """Where the local server answers, and its administrator's account; the secrets stay out of repr."""

    url: str
    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)


class _Lost(RemoteError):
    """Another program was faster to take the port."""


def up(folder: Path, *, port: int | None = None, say: Callable[[str], None] = lambda _: None) -> Local:
    """Return the folder's Label Studio, started if need be and ready to be used.

    Without `port` it takes the one it had, else 8080, else a free one. Two callers at once get the same
    server. Raises UsageError (port taken) and RemoteError (it does not start; names the log).
    """
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with contextlib.suppress(_Lost):
        return _up(folder, port, say)
    say("another program took that port meanwhile: trying the next one")
    return _up(folder, port, say)


def _up(folder: Path, port: int | None, say: Callable[[str], None]) -> Local:
    with _locked(folder / LOCK, say):
        found = _running(folder)
        if found and not (folder / CREDENTIALS).exists():
            say("the running Label Studio has lost its credentials.json: starting it again with a new account")
            down(folder)
            found = None
        if found:
            local = credentials(folder)
            if port and not local.url.endswith(f":{port}"):
                say(f"already running at {local.url}: toughcall studio down first, to have it on port {port}")
        else:
            command = executable(say)
            local = _account(folder, _port(folder, port))
            say(f"starting Label Studio at {local.url} (the first start takes about a minute)")
            found = _start(folder, local, command)
        _wait(folder, local, int(found["pid"]), str(found["birth"]), say)
    return local


def down(folder: Path) -> bool:
    """Stop the folder's server and return whether one was running; a process that is not ours is left alone."""
    folder = folder.resolve()
    found = _running(folder)
    if found:
        pid, birth = int(found["pid"]), str(found["birth"])
        for sign, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, sign)
            end = time.monotonic() + seconds
            while _birth(pid) == birth and time.monotonic() < end:
                time.sleep(0.05)
            if _birth(pid) != birth:
                break
        else:
            raise RemoteError(f"Label Studio (process {pid}) in {folder} cannot be stopped: run toughcall studio down")
        # the port can outlive its process for a moment, and the next start wants it
        end = time.monotonic() + 3.0
        while not _free(int(str(found["url"]).rpartition(":")[2])) and time.monotonic() < end:
            time.sleep(0.05)
    (folder / STATE).unlink(missing_ok=True)
    return found is not None


def status(folder: Path) -> dict[str, object]:
    """Return running, url, pid, version, folder and log of the folder's server; starts and changes nothing.

    `running` means that it answers: a server that is still starting has a pid and is not running yet.
    """
    folder = folder.resolve()
    found = _running(folder) or {}
    url = str(found.get("url", ""))
    running = bool(url) and _get(url, "/health")[0] == 200
    version = ""
    if running and (folder / CREDENTIALS).exists():
        body = _get(url, "/api/version/", credentials(folder).token)[1]
        version = str(body.get("release", "")) if isinstance(body, dict) else ""
    pid = found.get("pid")
    log = str(folder / LOG)
    return {"running": running, "url": url, "pid": pid, "version": version, "folder": str(folder), "log": log}


def credentials(folder: Path) -> Local:
    """Return the account of the folder's server; UsageError when there is none yet or it cannot be read."""
    path = folder.resolve() / CREDENTIALS
    try:
        return Local(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"no Label Studio was started in {path.parent} yet: run toughcall studio up") from None
    except (ValueError, TypeError):
        # the cause would show the file's content
        raise UsageError(f"{path} is damaged: remove it, then toughcall studio down and toughcall studio up") from None


def executable(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the label-studio program: of $TOUGHCALL_STUDIO, beside this Python, on PATH, or a venv made for it.

    The venv is the user's (below $XDG_DATA_HOME) and made once. Raises UsageError, RemoteError.
    """
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(given).expanduser().absolute() / "bin" / NAME
        if not path.is_file():
            raise UsageError(f"{VARIABLE} is {given!r}, where bin/{NAME} is missing: name an environment that has it")
        return path
    beside = Path(sys.executable).with_name(NAME)
    if beside.is_file():
        return beside
    on_path = shutil.which(NAME)
    if on_path:
        return Path(on_path).absolute()
    home = os.environ.get("XDG_DATA_HOME")
    base = (Path(home) if home else Path.home() / ".local" / "share") / "toughcall"
    venv = base / f"{NAME}-{VERSION}"
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base / f".{venv.name}.lock", say):
        if not ((venv / ".ready").exists() and (venv / "bin" / NAME).is_file()):
            _install(venv, base / f"{venv.name}.log", say)
    return venv / "bin" / NAME


def _install(venv: Path, log: Path, say: Callable[[str], None]) -> None:
    """Make the venv with Label Studio in it; the stamp comes last, so a broken-off one is made anew."""
    say(f"installing Label Studio {VERSION} into {venv}: about 1 GB and a few minutes, once")
    shutil.rmtree(venv, ignore_errors=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    with log.open("wb") as out:
        for command in ([sys.executable, "-m", "venv", str(venv)], [*pip, f"{NAME}=={VERSION}"]):
            began, ended = time.monotonic(), None
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process:
                while ended is None:
                    try:
                        ended = process.wait(timeout=10)
                    except subprocess.TimeoutExpired:
                        say(f"installing Label Studio: {time.monotonic() - began:.0f} s so far")
            if ended:
                raise RemoteError(
                    f"Label Studio could not be installed into {venv} ({_last_line(log)}; all of it in {log}): run the "
                    f"same command again, or set {VARIABLE} to an environment with label-studio=={VERSION}"
                )
    (venv / ".ready").touch()


def _port(folder: Path, wanted: int | None) -> int:
    """Return a free port on loopback: `wanted` or an error, else the last one used, 8080, any."""
    if wanted:
        if _free(wanted):
            return wanted
        raise UsageError(f"port {wanted} on {HOST} is taken or not allowed: toughcall studio up --port ANOTHER")
    last = int(credentials(folder).url.rpartition(":")[2]) if (folder / CREDENTIALS).exists() else 0
    # 8081 and on before "any": the system gives an ephemeral port away again within the minute a first start takes
    for port in (*([last] if last else []), *range(8080, 8180), 0):
        free = _free(port)
        if free:
            return free
    raise UsageError(f"no free port on {HOST}: close a program that listens, or toughcall studio up --port PORT")


def _free(port: int) -> int:
    """Return the port that could be bound (any for 0), 0 when that failed."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as the server itself does: connections of a server just stopped do not block it
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except (OSError, OverflowError):
            return 0
        return int(probe.getsockname()[1])


def _account(folder: Path, port: int) -> Local:
    """Return the account, made on the first start; only the address in its file ever changes."""
    url = f"http://{HOST}:{port}"
    if (folder / CREDENTIALS).exists():
        old = credentials(folder)
        local = Local(url, old.email, old.password, old.token)
    else:
        # a password is set only when its account is made: data that outlived its credentials gets another account
        outlived = (folder / DATA / "label_studio.sqlite3").exists() or os.environ.get(
            "DJANGO_DB", "sqlite"
        ) != "sqlite"
        email = EMAIL.replace("@", f"-{secrets.token_hex(3)}@") if outlived else EMAIL
        local = Local(url, email, secrets.token_urlsafe(18), secrets.token_hex(20))
    _write(folder / CREDENTIALS, asdict(local))
    return local


def _start(folder: Path, local: Local, command: Path) -> dict[str, Any]:
    """Start the server in its own session and return what was written to server.json about it."""
    settings = folder / "settings" / "toughcall_studio.py"
    for made in (folder / DATA, settings.parent):
        made.mkdir(mode=0o700, exist_ok=True)
    settings.write_text(SETTINGS, encoding="utf-8")
    log = folder / LOG
    if log.exists():
        os.replace(log, log.with_suffix(".log.1"))
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= QUIET | {
        "PYTHONPATH": str(settings.parent),
        "DJANGO_SETTINGS_MODULE": settings.stem,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / DATA),
        "LABEL_STUDIO_HOST": local.url,
        "LABEL_STUDIO_USERNAME": local.email,
        "LABEL_STUDIO_PASSWORD": local.password,
        "LABEL_STUDIO_USER_TOKEN": local.token,
    }
    port = local.url.rpartition(":")[2]
    arguments = ["start", "--no-browser", "--internal-host", HOST, "--port", port, "--log-level", "WARNING"]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [str(command), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise RemoteError(f"{command} cannot be started ({error.strerror}): toughcall studio up after repair") from None
    finally:
        os.close(handle)
    _children[process.pid] = process
    found = {"pid": process.pid, "birth": _birth(process.pid), "url": local.url}
    _write(folder / STATE, found)
    return found


def _wait(folder: Path, local: Local, pid: int, birth: str, say: Callable[[str], None]) -> None:
    """Return when the server answers to our own token; only that shows that it is ours and not a neighbour's."""
    log = folder / LOG
    began = told = time.monotonic()
    while True:
        if _birth(pid) != birth or not birth:
            (folder / STATE).unlink(missing_ok=True)
            raise RemoteError(
                f"Label Studio stopped while starting ({_last_line(log, local)}; all of it in {log}): "
                "repair that, then toughcall studio up"
            )
        if _get(local.url, "/health")[0] == 200:
            code, body = _get(local.url, "/api/current-user/whoami", local.token)
            if code == 200 and isinstance(body, dict) and body.get("email") == local.email:
                return
            if code in {401, 403}:
                down(folder)
                if not _free(int(local.url.rpartition(":")[2])):
                    raise _Lost(f"another program took {local.url} while Label Studio started: toughcall studio up")
                raise UsageError(
                    f"what answers at {local.url} does not know the account of {folder / CREDENTIALS}: run toughcall "
                    "studio up again, and if that changes nothing, move the file away to get a new account"
                )
        now = time.monotonic()
        if _moved(log):
            down(folder)
            raise _Lost(f"another program took {local.url} while Label Studio started: toughcall studio up")
        if now - began > PATIENCE:
            raise RemoteError(f"Label Studio does not answer after {PATIENCE:.0f} s (log: {log}): toughcall studio up")
        if now - told >= 10:
            told = now
            say(f"Label Studio is starting: {now - began:.0f} s so far (first start: about a minute)")
        time.sleep(0.5)


def _moved(log: Path) -> bool:
    """Tell whether the server found its port taken and went to the next one, which it does by itself."""
    with log.open("rb") as file:
        return b"* Trying to start at" in file.read(100_000)


def _get(url: str, path: str, token: str = "") -> tuple[int, Any]:
    """Return status code and JSON body of a GET; 0 when nobody answers, None when it is no JSON."""
    import httpx

    headers = {"Authorization": f"Token {token}"} if token else {}
    try:
        answer = httpx.get(url + path, headers=headers, timeout=10, trust_env=False, follow_redirects=True)
        return answer.status_code, answer.json()
    except httpx.HTTPError:
        return 0, None
    except ValueError:
        return answer.status_code, None


def _running(folder: Path) -> dict[str, Any] | None:
    """Return what server.json says when that very process lives, else None."""
    try:
        found: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    birth = found.get("birth")
    return found if birth and _birth(int(found["pid"])) == birth else None


def _birth(pid: int) -> str:
    """Return when process `pid` began ("" = no such process): a number given out again has another birth."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return ""
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
        # after the name, which may hold anything: state, ..., start time in ticks since boot (proc(5))
        fields = text.rpartition(")")[2].split()
        if fields[0] not in {"Z", "X"}:
            return fields[19]
        if child is not None:
            # it ended after the look above
            child.wait()
        return ""
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = shown.stdout.strip().partition(" ")
    return "" if state[:1] in {"", "Z"} else since.strip()


def _last_line(log: Path, local: Local | None = None) -> str:
    """Return the last line a log says, shortened, without the account's secrets."""
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    line = said.splitlines()[-1].strip() if said else "it said nothing"
    for secret in (*((local.password, local.token) if local else ()), os.environ.get("POSTGRE_PASSWORD", "")):
        line = line.replace(secret, "***") if secret else line
    return line[:200]


@contextlib.contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock on `path`; say so when another process has it, then wait for it."""
    import fcntl

    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another command is starting Label Studio: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, value: dict[str, Any]) -> None:
    """Write JSON for the owner's eyes only, all or nothing."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
