"""Answers home from a server that has no snapshots: page by page, counted before and after.

What changed since the last reading is found by the server's own `updated_at` of its tasks, which misses some
changes; so what is held is counted against what the server counts, and when that differs, or now and then
anyway, everything is read anew. Only such a whole reading can tell that an answer went away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from toughcall.annotate.sync import Failed

PAGE = 500
"""Tasks per export: a page is what memory holds, and what a kill can lose."""
TRIES = 5
"""So often everything is read again because answers went away while it was read."""
OVERLAP = timedelta(seconds=60)
"""A task may become visible after one with a later time: so far back is looked each time."""


class Source(Protocol):
    """What a pull needs of a server."""

    def counted(self, project: int) -> int:
        """Return how many answers there are, skips included."""

    def answered(self, project: int, since: str = "") -> list[dict[str, Any]]:
        """Return {"id", "updated_at", "answers"} of each task with an answer, or of each that changed after `since`."""

    def exported(self, project: int, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return those of the tasks that have answers, as Label Studio exports them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: up to which server time, how many answers each task had, and whether that is all there is."""

    since: str
    answers: Mapping[int, int]
    whole: bool


def read(
    source: Source,
    project: int,
    take: Callable[[list[dict[str, Any]]], None],
    *,
    since: str = "",
    known: Mapping[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reading:
    """Hand every task with a new answer to `take`, a page at a time; the same page may come twice.

    Args:
        source: the server; see `toughcall.annotate.studio.Studio`.
        project: its project.
        take: stores a page; it must take an answer it knows already.
        since: the time that the last reading returned; "" reads everything.
        known: how many answers each task had then.
        progress: called as (tasks read, tasks to read).

    Raises RemoteError when it fails or holds fewer answers than were counted; what was taken stays valid.

    """
    if since:
        found = _changed(source, project, take, since, dict(known or {}), progress)
        if found is not None:
            return found
    for _ in range(TRIES):
        before = source.counted(project)
        rows = source.answered(project)
        seen = _pages(source, project, take, rows, progress)
        after = source.counted(project)
        held = sum(seen.values())
        if before <= after and before <= held:
            return Reading(_newest(rows, since), seen, whole=True)
    raise Failed(f"project {project} gave {held} of {before} annotations while exporting it")


def _changed(
    source: Source,
    project: int,
    take: Callable[[list[dict[str, Any]]], None],
    since: str,
    known: dict[int, int],
    progress: Callable[[int, int], None] | None,
) -> Reading | None:
    """Read what changed; None when that cannot be all, or when an answer went away."""
    before = source.counted(project)
    rows = source.answered(project, _back(since))
    if any(row["answers"] < known.get(row["id"], 0) for row in rows):
        return None
    changed = _pages(source, project, take, [row for row in rows if row["answers"]], progress)
    held = sum((known | changed).values())
    if not before <= held <= source.counted(project):
        return None
    return Reading(_newest(rows, since), changed, whole=False)


def _pages(
    source: Source,
    project: int,
    take: Callable[[list[dict[str, Any]]], None],
    rows: Sequence[Mapping[str, Any]],
    progress: Callable[[int, int], None] | None,
) -> dict[int, int]:
    """Export tasks by their ids, hand on each page, and return how many answers each task had in it."""
    seen: dict[int, int] = {}
    for start in range(0, len(rows), PAGE):
        page = source.exported(project, [row["id"] for row in rows[start : start + PAGE]])
        take(page)
        seen |= {int(task["id"]): len(task["annotations"]) for task in page}
        if progress:
            progress(min(start + PAGE, len(rows)), len(rows))
    return seen


def _newest(rows: Sequence[Mapping[str, Any]], since: str) -> str:
    """Return the latest of the server's own times; a clock of ours is never asked."""
    times = [str(row["updated_at"]) for row in rows] + ([since] if since else [])
    return max(times, key=datetime.fromisoformat, default="")


def _back(since: str) -> str:
    """Return the time to look from, in the only spelling that the server's filter reads: with microseconds."""
    earlier = datetime.fromisoformat(since).astimezone(UTC) - OVERLAP
    return earlier.isoformat(timespec="microseconds").replace("+00:00", "Z")
