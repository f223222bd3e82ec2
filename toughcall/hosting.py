"""`toughcall serve` from its start to Ctrl-C: who may call, what Label Studio is told, and what is taken back."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toughcall.exchange import connect, places
from toughcall.files import lock, write_atomically
from toughcall.following import SECRET_VARIABLE, Commands, Follower, Rhythm
from toughcall.records import DiskError, RemoteError, ToughcallError, UsageError
from toughcall.serving import Door, bound, listening
from toughcall.voting import ADJUDICATION
from toughcall.workspace import Workspace, opened

if TYPE_CHECKING:
    from toughcall.annotate.studio import Studio

FOLDER = "serve"
SECRET = "secret"  # noqa: S105 - the name of a file
PORT = 9090
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Serving:
    """How to serve."""

    host: str = HOST
    port: int = PORT
    """0 = any free one."""
    beyond: bool = False
    """Whether a host beyond loopback was asked for in so many words."""
    address: str = ""
    """Where Label Studio reaches us, "" = host and port."""
    rhythm: Rhythm = field(default_factory=Rhythm)
    retrain: bool = True
    predictions: bool = False
    threads: int = 1


def checked_host(host: str, *, beyond: bool, secret: bool) -> str:
    """Return the IP address to listen on; UsageError for one beyond loopback without both its conditions (C73).

    `secret`: whether one was given in the environment.
    """
    try:
        found = ipaddress.IPv4Address(HOST if host == "localhost" else host)
    except ValueError:
        # Label Studio asks for the IPv4 address of a name and answers 500 to any other
        raise UsageError(f"--host must be an IPv4 address of this machine such as {HOST}, not {host!r}") from None
    if not found.is_loopback and not (beyond and secret):
        raise UsageError(
            f"{found} can be reached from other machines: if that is meant, toughcall serve --host {found} "
            f"--beyond-loopback with a secret of 16 characters or more in {SECRET_VARIABLE}"
        )
    return str(found)


def secret_of(folder: Path) -> str:
    """Return the secret: that of the environment, else the folder's own, made on first use for its owner's eyes.

    Raises UsageError for one that is too short or cannot stand in a header, without showing it.
    """
    given = os.environ.get(SECRET_VARIABLE, "")
    path = folder / SECRET
    if given:
        where = SECRET_VARIABLE
    else:
        where = f"{path} (remove it to get a new one)"
        if not path.exists():
            made = secrets.token_urlsafe(32)
            write_atomically(path, lambda aside: _private(aside, made))
        try:
            path.chmod(0o600)
            given = path.read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise DiskError(f"cannot read {path}: {error.strerror}; check the folder's permissions") from None
    if not re.fullmatch(r"[!-~]{16,200}", given):
        raise UsageError(f"the secret in {where} must have 16 to 200 characters, letters, digits and signs alone")
    return given


def _private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)


def reached_at(settings: Serving, host: str, port: int, studio_url: str) -> str:
    """Return the address that Label Studio is told; "" where that would be loopback and it is another machine."""
    from toughcall.annotate.address import checked_url, loopback

    shown = f"http://{host}:{port}"
    if settings.address:
        try:
            return checked_url(settings.address)
        except UsageError as error:
            raise UsageError(str(error).replace("studio.url", "--address")) from None
    return shown if loopback(studio_url) or not loopback(shown) else ""


def register(ws: Workspace, studio: Studio, address: str, secret: str, *, predictions: bool, first: bool) -> int:
    """Tell Label Studio where its hints go and, if so asked, whom to ask for predictions; return in how many projects.

    May be called again and again. `first`: what an earlier serve with predictions left behind is taken back too.
    """
    from toughcall.annotate import hooks

    found = places(ws)
    for place, number in found.items():
        order = _order(ws, place)
        hooks.ensure_webhook(studio, number, address, secret)
        # who decides between experts is shown what these said, and nothing else
        if predictions and order and place != ADJUDICATION:
            hooks.ensure_backend(studio, number, address, secret, order)
        elif first:
            hooks.remove_backend(studio, number, address, order)
    return len(found)


def take_back(ws: Workspace, studio: Studio, address: str) -> int:
    """Remove what `register` made and return how much that was."""
    from toughcall.annotate import hooks

    return sum(
        hooks.remove_backend(studio, number, address, _order(ws, place)) + hooks.remove_webhook(studio, number, address)
        for place, number in places(ws).items()
    )


def _order(ws: Workspace, place: str) -> str:
    """Return whose predictions order the tasks of a project on the server: its newest batch's, "" for none."""
    sent = [
        row["model"]
        for row in ws.store.batches()
        if row["state"] != "planned" and (row["role"] == ADJUDICATION) == (place == ADJUDICATION)
    ]
    return str(sent[-1]) if sent else ""


def serve(ws: Workspace, settings: Serving) -> None:
    """Serve until interrupted: answer Label Studio, pull what is new, run a round when a batch is answered.

    The project's lock stays free for the commands that do the work. Raises BusyError when another one serves this
    project, UsageError, RemoteError.
    """
    say = ws.telling.say
    folder = ws.project.root / FOLDER
    host = checked_host(settings.host, beyond=settings.beyond, secret=bool(os.environ.get(SECRET_VARIABLE)))
    _make(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock(folder, "serve"))
        secret = secret_of(folder)
        studio = connect(ws)
        stack.callback(studio.close)
        studio.check()
        made = bound(host, settings.port)
        port = int(made.getsockname()[1])
        address = reached_at(settings, host, port, studio.url)
        commands = Commands(ws.project.root, settings.threads)
        follower = Follower(ws.project.root, commands, rhythm=settings.rhythm, retrain=settings.retrain, say=say)
        door = Door(secret, follower.hint, say=say)
        if settings.predictions:
            say("experts see what the champion would answer: their labels lean towards it")
            door = stack.enter_context(predicting(ws.project.root, door))
        thread = stack.enter_context(listening(door, made))
        stack.enter_context(terminated())
        told = _Registration(ws.project.root, studio, address, secret, settings.predictions, say)
        try:
            told.begin()
            say(f"answering at http://{host}:{port}; looking every {settings.rhythm.poll:.0f} s in any case")
            follower.follow(lambda: told.again(thread))
        finally:
            if commands.stop():
                say("stopped the command that ran; it goes on from there when serve runs again")
            told.end()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise DiskError(f"cannot make {folder}: {error.strerror}; check the folder's permissions") from None


@dataclass
class _Registration:
    """What Label Studio was told; trouble after the start is said once and does not end the serving."""

    root: Path
    studio: Studio
    address: str
    secret: str = field(repr=False)
    predictions: bool
    say: Callable[[str], None]
    projects: int = 0
    trouble: str = ""

    def begin(self) -> None:
        """Register for the first time. Without hints we still look; without predictions there is nothing to serve."""
        from toughcall.annotate.hooks import Blocked

        if not self.address:
            if self.predictions:
                raise UsageError(
                    f"{self.studio.url} is another machine and cannot ask 127.0.0.1 here for predictions: say with "
                    "--address how it reaches this one"
                )
            self.say(f"{self.studio.url} is another machine: no hints from there without --address, looking goes on")
            return
        try:
            self._put(first=True)
        except Blocked as error:
            if self.predictions:
                raise
            self.trouble = str(error)
            self.say(f"no hints come: {error}")
        if not self.projects and not self.trouble:
            self.say("nothing was sent to Label Studio yet: toughcall round sends the first batch")

    def again(self, thread: threading.Thread) -> None:
        """Register anew where something is missing: a new project, another order, a webhook that somebody removed."""
        if not thread.is_alive():
            raise RemoteError("what answers Label Studio has stopped: run toughcall serve again")
        if not self.address:
            return
        try:
            self._put(first=False)
            self.trouble = ""
        except ToughcallError as error:
            if str(error) != self.trouble:
                self.trouble = str(error)
                self.say(f"Label Studio could not be told where its hints go: {error}")

    def end(self) -> None:
        """Take everything back and say so."""
        if not self.address:
            return
        try:
            with opened(self.root, "serve", writing=False) as ws:
                gone = take_back(ws, self.studio, self.address)
            self.say(f"removed from Label Studio: {gone} webhooks and ML backends of ours")
        except ToughcallError as error:
            self.say(f"our webhook stays in Label Studio, where it leads nowhere until serve runs again: {error}")

    def _put(self, *, first: bool) -> None:
        with opened(self.root, "serve", writing=False) as ws:
            self.projects = register(
                ws, self.studio, self.address, self.secret, predictions=self.predictions, first=first
            )


@contextlib.contextmanager
def predicting(root: Path, door: Door) -> Iterator[Door]:
    """Return the door with the champion behind it, in one thread that owns model and ledger."""
    from dataclasses import replace

    from toughcall.preannotating import Preannotator

    with ThreadPoolExecutor(1, "predictions") as pool:
        made = Preannotator(root, door.say)

        async def apart(function: Callable[..., Any], *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

        try:
            if not pool.submit(made.warm).result():
                door.say("no model was promoted yet: nothing is pre-annotated until one is")
            yield replace(door, version=made.version, answers=made.answers, apart=apart)
        finally:
            pool.submit(made.close).result()


@contextlib.contextmanager
def terminated() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, with everything taken back."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
