"""Hints in, pulls and rounds out: when to look at Label Studio again, and the commands that then do the work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toughcall.records import BusyError, RemoteError, ToughcallError, digest
from toughcall.store import Store

LATER = (RemoteError.code, BusyError.code)
"""Exit codes after which the same command is right again in a while."""
NICE = 10
"""How far a retrain steps back behind whatever else this machine does; 0 = not at all, 19 = wholly."""
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SECRET_VARIABLE = "TOUGHCALL_HOOK_SECRET"  # noqa: S105 - a name


@dataclass(frozen=True)
class Rhythm:
    """When to look again, all in seconds."""

    settle: float = 3.0
    """So long it must have been quiet after a hint: people answer one item after the other."""
    longest: float = 30.0
    """So long a hint waits at most, however many follow it."""
    poll: float = 60.0
    """So long after the last look comes another one without any hint: hints may be lost."""
    pause: float = 5.0
    """The first wait after a look that failed; each further one doubles it, up to five times `poll`."""

    def due(self, looked: float, first: float | None, last: float | None, failures: int) -> float:
        """Return when to look again.

        Args:
            looked: when the last look ended.
            first: when the first hint came that no look has answered, None without one.
            last: when the newest came.
            failures: how many looks in a row have failed.

        """
        if failures:
            return float(looked + min(self.pause * 2.0 ** min(failures - 1, 30), 5 * self.poll))
        if first is None or last is None:
            return looked + self.poll
        return min(last + self.settle, first + self.longest, looked + self.poll)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, its rows, and its last words on stderr."""

    code: int
    rows: tuple[dict[str, Any], ...] = ()
    words: str = ""


@dataclass
class Commands:
    """Runs the project's own commands, one at a time, each in a process of its own that takes the project's lock."""

    root: Path
    threads: int = 1
    """How many threads the libraries of a retrain may use; what the environment says already goes before."""
    program: Sequence[str] = (sys.executable, "-m", "toughcall.cli")
    child: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __call__(self, verb: str) -> Ended:
        """Run `toughcall VERB` to its end: a pull silently, a round for all to see and with the lowest claims."""
        shown = verb == "round"
        words = ["--project", str(self.root), *([] if shown else ["--quiet"]), verb, *([] if shown else ["--json"])]
        environment = {name: value for name, value in os.environ.items() if name != SECRET_VARIABLE}
        if shown:
            environment = {name: str(self.threads) for name in LIBRARIES} | environment
        pipe = None if shown else subprocess.PIPE
        child = self.child = subprocess.Popen(
            [*self.program, *words],
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=environment,
            # Ctrl-C at the terminal is for us: `stop` passes it on and waits
            start_new_session=True,
        )
        if shown:
            # before it has made a thread of its own, which would keep the old priority; it may be over already
            with contextlib.suppress(ProcessLookupError):
                ours = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, child.pid, max(ours, NICE))
        out, err = child.communicate()
        self.child = None
        lines = (err or "").strip().splitlines()
        return Ended(child.returncode, _rows(out or ""), lines[-1].removeprefix("toughcall: ") if lines else "")

    def stop(self, patience: float = 30.0) -> bool:
        """End the command that runs as Ctrl-C does and wait for it; return whether one ran.

        After `patience` seconds, or at a second Ctrl-C, it is killed: every command can be resumed after that too.
        """
        child = self.child
        if child is None or child.poll() is not None:
            return False
        try:
            for sign in (signal.SIGINT, signal.SIGTERM):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=patience)
                    break
        finally:
            with contextlib.suppress(ProcessLookupError):
                # whatever it started and left behind is of its group
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            self.child = None
        return True


def _rows(text: str) -> tuple[dict[str, Any], ...]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            found += [row] if isinstance(row, dict) else []
    return tuple(found)


def next_work(store: Store) -> str:
    """Return a digest of what a round would start from, "" while items wait for the experts or none was ever chosen.

    A batch that was chosen and not sent is what a killed round leaves: a round sends it.
    """
    batches = store.batches()
    if not batches or any(row["state"] == "sent" for row in batches):
        return ""
    states = [[row["name"], row["state"]] for row in batches]
    return digest("work", states, sorted([one.key, one.content] for one in store.answers()))


class Follower:
    """Looks at Label Studio when told to, and now and then by itself; runs a round when a batch is answered.

    `hint` may be called from any thread, everything else from one. Nothing a hint could say is used but that it came:
    the same hint a hundred times, in another order or never leads to the state of one pull (C75, C76).
    """

    def __init__(
        self,
        root: Path,
        run: Callable[[str], Ended],
        *,
        rhythm: Rhythm | None = None,
        retrain: bool = True,
        say: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.run = run
        self.rhythm = rhythm or Rhythm()
        self.retrain = retrain
        self.say = say
        self.now = now
        self._change = threading.Condition()
        self._first: float | None = None
        self._last: float | None = None
        self._looked = now() - self.rhythm.poll
        self._failures = 0
        self._worked = ""
        self._again = 0.0
        self._refusals = 0
        self._told = ""
        self._ended = False

    def hint(self) -> None:
        """Note that something may be new; returns at once."""
        with self._change:
            self._last = self.now()
            self._first = self._last if self._first is None else self._first
            self._change.notify()

    def end(self) -> None:
        """Let `follow` return after what it is doing."""
        with self._change:
            self._ended = True
            self._change.notify()

    def follow(self, after: Callable[[], None] = lambda: None) -> None:
        """Look whenever it is due, until `end` is called or an exception passes; `after` is called after each look."""
        while self._wait():
            self.look()
            after()

    def _wait(self) -> bool:
        with self._change:
            while not self._ended:
                left = self.rhythm.due(self._looked, self._first, self._last, self._failures) - self.now()
                if left <= 0:
                    # what comes from here on may be too late for this look, and gets one of its own
                    self._first = self._last = None
                    return True
                self._change.wait(left)
        return False

    def look(self) -> None:
        """Pull, and when that leaves nobody with anything to answer, run a round, once for each such state."""
        ended = self.run("pull")
        if ended.code == 0:
            for row in ended.rows:
                if row.get("new"):
                    self.say(f"{row['new']} new answers, {row.get('waiting', 0)} items still wait for the experts")
            try:
                ended = self._turn()
            except ToughcallError as error:
                # somebody is editing project.toml, for one: that ends no service
                ended = Ended(error.code, words=str(error))
        self._failures = self._failures + 1 if ended.code else 0
        if ended.code and ended.words != self._told:
            self.say(ended.words or f"toughcall ended with exit code {ended.code}")
        self._told = ended.words if ended.code else ""
        with self._change:
            self._looked = self.now()

    def _turn(self) -> Ended:
        work = self._work()
        if not work or work == self._worked or self.now() < self._again:
            return Ended(0)
        if not self.retrain:
            self._worked = work
            self.say("the batch is answered: toughcall round retrains and asks for more")
            return Ended(0)
        self.say("the batch is answered: toughcall round begins")
        ended = self.run("round")
        if ended.code in LATER:
            return ended
        if ended.code:
            # it may have taken hours to get there, and looking goes on meanwhile
            wait = min(self.rhythm.poll * 2.0 ** min(self._refusals, 30), 60 * self.rhythm.poll)
            self._refusals += 1
            self._again = self.now() + wait
            self.say(f"toughcall round ended with exit code {ended.code}: it is tried again in {wait:.0f} s")
            return Ended(0)
        self._refusals = 0
        self._worked = self._work() or work
        return ended

    def _work(self) -> str:
        from toughcall.workspace import opened

        with opened(self.root, "serve", writing=False) as ws:
            return next_work(ws.store)
