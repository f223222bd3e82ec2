"""Items out to a server that forgets nothing and checks nothing: each item once, whatever fails on the way.

The server takes the same task twice, an answer may get lost after the task was stored, and one bad task
refuses a whole request. So nothing an answer says is believed: what is there is listed, only what is missing
is sent, and it is listed again until all is there. Copies that nobody has touched are removed.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from toughcall.records import RemoteError, SetAside, ToughcallError, UsageError

CHUNK_TASKS = 500
CHUNK_BYTES = 5_000_000
LONGEST_WAIT = 15.0
FAILURES = 3
"""So often may a single task make the server fail, while others pass, before it is set aside."""


class Refused(UsageError):
    """The server read the request and will not take it (400); the message is the server's words, shortened."""


class Failed(RemoteError):
    """The server did not finish: `what` says it in short, `status` is its HTTP status, 0 when no answer came."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(f"{what}: run the same command again, nothing is lost")
        self.what = what
        self.status = status


class Remote(Protocol):
    """What a push needs of a server."""

    def listed(self, project: int, batch: str) -> list[dict[str, Any]]:
        """Return every task of a batch as {"id", "uid", "annotations", "drafts"} (the last two are counts)."""

    def count(self, project: int, batch: str) -> int:
        """Return how many tasks of a batch there are."""

    def send(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Send tasks in one request, without a second try; Refused, RemoteError, or UsageError for a wrong token."""

    def delete(self, project: int, ids: Sequence[int]) -> None:
        """Delete those of the tasks that nobody has answered."""


@dataclass(frozen=True)
class Done:
    """What a push did: read = sent + already there + set aside; `removed` counts untouched copies deleted."""

    sent: int
    already: int
    removed: int
    set_aside: tuple[SetAside, ...]


def push(
    remote: Remote,
    project: int,
    tasks: Sequence[dict[str, Any]],
    *,
    progress: Callable[[int, int], None] | None = None,
    deadline: float = 120.0,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Done:
    """Bring every task onto the server once.

    Args:
        remote: the server; see `toughcall.annotate.studio.Studio`.
        project: its project.
        tasks: each with a unique `data.uid`; one push may hold several `data.batch`.
        progress: called as (present or set aside, total).
        deadline: seconds without any progress after which the server counts as gone.
        wait: how to wait, for tests.
        now: what time it is in seconds, for tests.

    Raises:
        UsageError: at once, for a wrong token or a project that is not there.
        RemoteError: no progress for `deadline` seconds; running the same again goes on from there.

    """
    by_batch: dict[str, list[dict[str, Any]]] = {}
    seen: set[str] = set()
    for task in tasks:
        if task["data"]["uid"] in seen:
            raise ValueError(f"two tasks carry the uid {task['data']['uid']}")
        seen.add(task["data"]["uid"])
        by_batch.setdefault(task["data"]["batch"], []).append(task)
    done, total = Done(0, 0, 0, ()), len(tasks)
    for batch, mine in by_batch.items():
        before = done.sent + done.already + len(done.set_aside)
        told = (lambda n, before=before: progress(before + n, total)) if progress else None
        one = _Push(remote, project, batch, mine, told, deadline, wait, now).run()
        done = Done(
            done.sent + one.sent,
            done.already + one.already,
            done.removed + one.removed,
            done.set_aside + one.set_aside,
        )
    return done


def reconcile(
    remote: Remote,
    project: int,
    batch: str,
    *,
    deadline: float = 120.0,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> tuple[set[str], int]:
    """Return (the uids of a batch that are there, how many untouched copies were removed); nothing is sent."""
    push = _Push(remote, project, batch, [], None, deadline, wait, now)
    push.moved()
    push.look()
    removed = push.tidy()
    return {row["uid"] for row in push.rows}, removed


@dataclass
class _Push:
    """One batch on its way. `present` and `aside` grow until they hold every uid; then copies are removed."""

    remote: Remote
    project: int
    batch: str
    tasks: Sequence[dict[str, Any]]
    told: Callable[[int], None] | None
    deadline: float
    wait: Callable[[float], None]
    now: Callable[[], float]
    rows: list[dict[str, Any]] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    aside: dict[str, SetAside] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    doubtful: dict[str, int] = field(default_factory=dict)
    """How many tasks were there when a request that held this uid first made the server fail."""
    counted: bool = False
    """Whether some of `present` was only counted, not seen."""
    moved_at: float = 0.0
    delay: float = 0.5

    def run(self) -> Done:
        self.moved()
        sizes = {}
        for task in self.tasks:
            size, problem = encoded(task)
            sizes[task["data"]["uid"]] = size
            if problem:
                self.put_aside(task, problem)
        self.look()
        already = set(self.present)
        self.send_all(deque(chunks([task for task in self.tasks if self.missing(task)], sizes)))
        # what a count said is looked at once, task by task, before anything is called done
        while self.counted:
            self.counted = False
            self.present.clear()
            self.look()
            self.send_all(deque(chunks([task for task in self.tasks if self.missing(task)], sizes)))
        removed = self.tidy()
        sent = len(self.present - already)
        return Done(sent, len(already), removed, tuple(self.aside[uid] for uid in sorted(self.aside)))

    def send_all(self, queue: deque[list[dict[str, Any]]]) -> None:
        self.tell()
        while queue:
            chunk = [task for task in queue.popleft() if self.missing(task)]
            if not chunk:
                continue
            error = self.attempt(chunk)
            rest = [task for task in chunk if self.missing(task)]
            if isinstance(error, Refused):
                if len(rest) == 1:
                    self.put_aside(rest[0], f"Label Studio refused it: {error}")
                queue.extendleft(reversed(halves([task for task in rest if self.missing(task)])))
            elif isinstance(error, Failed) and error.status in (413, 500):
                self.doubt(rest, error)
                queue.extend(halves([task for task in rest if self.missing(task)]))
            elif rest:
                queue.appendleft(rest)
            self.tell()

    def missing(self, task: Mapping[str, Any]) -> bool:
        uid = task["data"]["uid"]
        return uid not in self.present and uid not in self.aside

    def attempt(self, chunk: list[dict[str, Any]]) -> UsageError | RemoteError | None:
        """Send once and look what arrived. Without an arrival, wait and look again before anything is resent.

        An import may be stored only after its answer, or after a timeout: looking again first avoids copies.
        """
        error: UsageError | RemoteError | None = None
        try:
            self.remote.send(self.project, chunk)
        except (Refused, RemoteError) as problem:
            error = problem
        if error is None and self.all_there(chunk):
            return None
        arrived = self.look()
        if isinstance(error, Refused):
            return error
        for _ in range(1 if error else 5):
            if arrived or not any(self.missing(task) for task in chunk):
                break
            self.pause(error)
            arrived = self.look()
        return error

    def all_there(self, chunk: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the server, which said yes, now counts so many more tasks: quick, where a listing is not."""
        try:
            now = self.remote.count(self.project, self.batch)
        except RemoteError:
            return False
        if now != len(self.rows) + len(chunk):
            return False
        uids = {task["data"]["uid"] for task in chunk}
        self.rows = [*self.rows, *({"id": 0, "uid": uid, "annotations": 0, "drafts": 0} for uid in sorted(uids))]
        self.present |= uids
        self.counted = True
        self.moved()
        return True

    def doubt(self, rest: list[dict[str, Any]], error: Failed) -> None:
        """Note that the server failed on these; a single one is given up when others passed meanwhile (C39)."""
        for task in rest:
            self.doubtful.setdefault(task["data"]["uid"], len(self.present))
        if len(rest) != 1:
            return
        uid = rest[0]["data"]["uid"]
        self.failures[uid] = self.failures.get(uid, 0) + 1
        if self.failures[uid] >= FAILURES and len(self.present) > self.doubtful[uid]:
            self.put_aside(rest[0], f"Label Studio fails on this task alone (HTTP {error.status})")

    def put_aside(self, task: Mapping[str, Any], reason: str) -> None:
        uid = task["data"]["uid"]
        raw = json.dumps(task["data"], ensure_ascii=True)[:200]
        self.aside[uid] = SetAside(where=uid, reason=reason, raw=raw)
        self.moved()

    def look(self) -> bool:
        """List the batch, waiting until the server answers; return whether something arrived since."""
        while True:
            try:
                self.rows = self.remote.listed(self.project, self.batch)
                break
            except RemoteError as error:
                self.pause(error)
        there = {row["uid"] for row in self.rows}
        arrived = {task["data"]["uid"] for task in self.tasks} & there - self.present
        self.present |= arrived
        for uid in arrived:
            self.aside.pop(uid, None)
        if arrived:
            self.moved()
        return bool(arrived)

    def moved(self) -> None:
        self.moved_at = self.now()
        self.delay = 0.5

    def tell(self) -> None:
        if self.told:
            self.told(len(self.present) + len(self.aside))

    def pause(self, error: ToughcallError | None) -> None:
        """Wait, each time twice as long; RemoteError when nothing moved for `deadline` seconds."""
        if self.now() - self.moved_at + self.delay > self.deadline:
            left = len(self.tasks) - len(self.present) - len(self.aside)
            why = getattr(error, "what", str(error)) if error else "Label Studio said yes and stored nothing"
            raise RemoteError(
                f"{left} items of batch {self.batch} are not on the server after {self.deadline:.0f} s without "
                f"progress ({why}): run the same command again, it sends only what is missing"
            ) from None
        self.wait(self.delay)
        self.delay = min(2 * self.delay, LONGEST_WAIT)

    def tidy(self) -> int:
        """Delete copies nobody has touched until each uid is there once; return how many went (P2)."""
        removed = 0
        error: RemoteError | None = None
        while extra := copies(self.rows)[:CHUNK_TASKS]:
            try:
                self.remote.delete(self.project, extra)
            except RemoteError as problem:
                error = problem
            self.look()
            gone = set(extra) - {row["id"] for row in self.rows}
            removed += len(gone)
            if gone:
                self.moved()
            else:
                self.pause(error)
        return removed


def copies(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the ids of tasks that may go: further copies of a uid, with neither annotation nor draft.

    Where a copy has been touched, every untouched one goes; where none has, the lowest id stays.
    """
    by_uid: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["uid"]:
            by_uid.setdefault(row["uid"], []).append(row)
    extra: list[int] = []
    for found in by_uid.values():
        untouched = sorted(row["id"] for row in found if not row["annotations"] and not row["drafts"])
        extra += untouched if len(untouched) < len(found) else untouched[1:]
    return sorted(extra)


def encoded(task: Mapping[str, Any]) -> tuple[int, str]:
    """Return (bytes of a task as JSON, why it must not be sent or "")."""
    try:
        return len(json.dumps(task, ensure_ascii=False, allow_nan=False).encode()), ""
    except UnicodeEncodeError as error:
        return 0, f"a lone surrogate (U+{ord(error.object[error.start]):04X}), which would break every later export"
    except ValueError:
        return 0, "a number that is not finite"


def chunks(tasks: Sequence[dict[str, Any]], sizes: Mapping[str, int]) -> list[list[dict[str, Any]]]:
    """Cut tasks into requests of at most CHUNK_TASKS tasks and CHUNK_BYTES bytes (a bigger task goes alone)."""
    made: list[list[dict[str, Any]]] = []
    room = 0
    for task in tasks:
        size = sizes[task["data"]["uid"]]
        if not made or len(made[-1]) >= CHUNK_TASKS or size > room:
            made.append([])
            room = CHUNK_BYTES
        made[-1].append(task)
        room -= size
    return made


def halves(tasks: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return both halves; one task is a list of its own, none is nothing."""
    middle = len(tasks) // 2
    return [half for half in (tasks[:middle], tasks[middle:]) if half]
