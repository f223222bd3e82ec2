"""No server at all: tasks go out as files for Label Studio's own import, answers come home as its JSON exports."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from toughcall.entries import entries
from toughcall.exchange import HANDED, config_of, handed_out, instance, ledger_id, old_words, place_of, plan_tasks
from toughcall.files import write_atomically
from toughcall.records import SetAside, UsageError, digest
from toughcall.taking import Taking, finish
from toughcall.voting import ADJUDICATION
from toughcall.workspace import Workspace

README = "README.txt"
PAGE = 500
"""Entries of an export that are stored at a time: what memory holds, and what a kill can lose."""
DEEPEST = 100
"""Levels of lists and objects in a task; an export of Label Studio has about six."""


# ---- out


@dataclass(frozen=True)
class Handed:
    """One file of tasks: whose part of which batch, how many items, how many could not be shown; "" = no file."""

    batch: str
    expert: str
    file: str
    items: int
    set_aside: int


@dataclass(frozen=True)
class _Share:
    """What one expert gets of a batch, "" for whoever comes."""

    row: Mapping[str, Any]
    expert: str
    tasks: Sequence[Mapping[str, Any]]
    bad: Sequence[SetAside]
    asked: frozenset[str]

    @property
    def shown(self) -> set[str]:
        return {str(task["data"]["uid"]) for task in self.tasks}

    @property
    def interface(self) -> str:
        return f"interface-{ADJUDICATION}.xml" if self.row["role"] == ADJUDICATION else "interface.xml"

    @property
    def file(self) -> str:
        """The name of its file, also where file names know no upper case and no strange characters."""
        name = re.sub(r"[^a-z0-9@._+-]", "_", self.expert.lower())
        name += f"-{digest(self.expert)[:6]}" if name != self.expert else ""
        return f"{self.row['name']}{f'-{name}' if self.expert else ''}.json" if self.tasks else ""


def hand_out(ws: Workspace, folder: Path, name: str = "") -> list[Handed]:
    """Write the open batches for Label Studio's own import; what is written counts as sent (P2).

    The folder gets a file of tasks for each batch and expert, the labelling interface and README.txt; the same ledger
    gives the same bytes. What a push has sent is written only where the batch is named. When it was killed, the same
    command writes everything anew.

    Args:
        ws: the project, opened for writing.
        folder: a new or empty folder, or one this project was written to before.
        name: the batch to write, "" for all.

    Raises UsageError for a folder that holds other things, a batch that is not open, and labels that changed.

    """
    open_ = {row["name"]: row for row in ws.store.batches() if row["state"] != "done"}
    if name and name not in open_:
        raise UsageError(f"no batch {name!r} waits for answers: choose one of {', '.join(open_) or 'none'}")
    rows = [row for row in open_.values() if row["name"] == name or (not name and _due(ws, row))]
    if not rows:
        return []
    title = f"toughcall: tasks of project {ws.project.name} ({ledger_id(ws)})"
    _check_folder(folder, title)
    shares = [share for row in rows for share in _shares(ws, row)]
    # the note comes first: it says whose folder this is
    files = {README: _readme(ws, title, shares)}
    files |= {
        share.interface: config_of(ws, place_of(share.row, share.expert) + old_words(ws, share.row)) + "\n"
        for share in shares
    }
    files |= {share.file: _lines(share.tasks) for share in shares if share.file}
    for file, text in files.items():
        _write(folder / file, text)
    for row in rows:
        mine = [share for share in shares if share.row is row]
        for share in mine:
            ws.note_set_aside("push", share.bad)
            ws.store.mark_tasks(row["name"], share.expert, share.shown, "sent")
            ws.store.mark_tasks(row["name"], share.expert, share.asked - share.shown, "set_aside")
        ws.store.put(f"{HANDED}:{row['name']}", "1")
        ws.store.mark_batch(row["name"], "sent", {item for share in mine for item in share.asked - share.shown})
    return [Handed(one.row["name"], one.expert, one.file, len(one.tasks), len(one.bad)) for one in shares]


def _due(ws: Workspace, row: Mapping[str, Any]) -> bool:
    """Return whether a batch is written without being named: it was not sent, or as a file."""
    if row["state"] == "planned" or row["name"] in handed_out(ws):
        return True
    ws.telling.say(f"batch {row['name']} is in Label Studio already: --batch {row['name']} writes it all the same")
    return False


def _check_folder(folder: Path, title: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a new folder for the tasks")
    # what a killed command left under a name with a dot is nobody's
    if not folder.exists() or not [one for one in folder.iterdir() if not one.name.startswith(".")]:
        return
    note = folder / README
    if not note.is_file() or not note.read_text(encoding="utf-8", errors="replace").startswith(f"{title}\n"):
        raise UsageError(f"{folder} holds other files, which could be overwritten: name a new folder for the tasks")


def _shares(ws: Workspace, row: Mapping[str, Any]) -> Iterator[_Share]:
    """Yield what each expert gets of a batch, assigned as a push does it."""
    from toughcall.annotate.tasks import to_tasks
    from toughcall.experts import told

    batch = ws.store.batch(row["name"])
    if batch.schema != ws.schema.version:
        raise UsageError(
            f"batch {batch.name} was made for other labels: restore [labels] in project.toml to write it, "
            "or say what they mean now: toughcall map EARLIER=PRESENT"
        )
    plan_tasks(ws, batch, row["role"])
    states = [(expert, item) for _, item, expert, _, state in ws.store.tasks(batch.name) if state != "set_aside"]
    for expert in sorted({expert for expert, _ in states}):
        asked = frozenset(item for who, item in states if who == expert)
        mine = dataclasses.replace(batch, picks=tuple(pick for pick in batch.picks if pick.item in asked))
        said = told(ws, sorted(asked)) if row["role"] == ADJUDICATION else None
        tasks, bad = to_tasks(mine, ws.pool.items(asked), ws.schema, blind=ws.project.studio.blind, answers=said)
        # predictions only order the tasks where we made the project; in any other one they would be shown
        tasks = [{"data": task["data"], "meta": task["meta"]} for task in tasks]
        yield _Share(row, expert, tasks, bad, asked)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda aside: aside.write_bytes(text.encode()))


def _lines(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Return tasks as JSON that Label Studio imports, one a line, by rank: the order in which they are to be seen."""
    return "[\n" + ",\n".join(json.dumps(task, ensure_ascii=False, allow_nan=False) for task in tasks) + "\n]\n"


def _readme(ws: Workspace, title: str, shares: Sequence[_Share]) -> str:
    people = ws.project.studio.overlap

    def whose(share: _Share) -> str:
        if share.expert or share.row["role"] == ADJUDICATION:
            return f"for {share.expert or 'whoever decides'}"
        return f"each for {people} people" if people > 1 else "for anybody"

    listed = "".join(
        f"     {share.file}  ({len(share.tasks)} items, {whose(share)}, with {share.interface})\n"
        for share in shares
        if share.file
    )
    return f"""{title}

How to have them answered in any Label Studio (toughcall was tried with 1.23.2):

1. Make a project in Label Studio. Before anything is imported, open Settings > Labeling Interface > Code, replace what
   stands there with the content of the interface named below, and save.
2. Import the tasks, as they are:
{listed}   Tasks for different people go into different projects, and so do tasks with different interfaces.
   Where each item is for several people, every one of them gets a project of their own with the same file.
3. Leave the texts and the labels alone: an answer to another text or under another label is set aside.
4. Now and then, and at the end: Export > JSON (not JSON-MIN, CSV or TSV). Bring the file home and run
     toughcall answers FILE.json
   The same answer is stored once, however often it comes.
5. An export says who answered by a number. The page /api/users/ of that Label Studio tells who has which number:
     toughcall answers FILE.json --who 1=anna@example.com --who 2=ben@example.com
"""


# ---- home


@dataclass(frozen=True)
class TakenHome:
    """What exports held: read = new + known + set aside, in answers; `waiting`: open items per batch."""

    read: int = 0
    new: int = 0
    known: int = 0
    set_aside: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)


class _Instances(dict[int, str]):
    """`exchange.instance` by project, asked of the ledger once each."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws

    def __missing__(self, project: int) -> str:
        return self.setdefault(project, instance(self.ws, project))


@dataclass
class _Door:
    """Takes the entries of one export; what the ledger held before it is known by the annotations' keys."""

    ws: Workspace
    taking: Taking
    instances: _Instances
    people: Mapping[tuple[int, int], str]
    older: int = 0
    numbers: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.held = {one.key: one.at for one in self.ws.store.answers()}
        self.asked = {item for _, item in self.taking.reasons}

    def take(self, page: Sequence[tuple[str, Any]]) -> None:
        """Store the answers of some entries, each with the place where it stood."""
        projects: dict[int, list[dict[str, Any]]] = {}
        aside: list[SetAside] = []
        for where, task in page:
            project = project_of(task)
            if not isinstance(task, dict) or _deep(task):
                aside.append(SetAside(where, "not a task"))
            elif not _notes(task):
                continue
            elif project is None:
                aside.append(SetAside(where, "it does not say of which project in Label Studio it is"))
            elif uid_of(task) not in self.asked:
                aside += _strange(task)
            else:
                task["annotations"] = self._fresh(_notes(task), project)
                projects.setdefault(project, []).append(task)
        for project, tasks in projects.items():
            self.taking.take(tasks, project)
        self.ws.store.add_set_aside("pull", aside)
        self.taking.aside += aside

    def _fresh(self, notes: list[Any], project: int) -> list[Any]:
        """Return annotations with the names of who made them, without those that are older than what is stored."""
        kept = []
        for note in notes:
            key = key_of(self.instances[project], note)
            if key in self.held and _later(self.held[key], note.get("updated_at")):
                self.older += 1
                continue
            number = number_of(note)
            if number is not None and (project, number) in self.people:
                # as a pull puts it: another server numbers people anew
                note["completed_by"] = {"id": number, "email": self.people[project, number]}
            elif number is not None:
                self.numbers.add(number)
            kept.append(note)
        return kept


def take_home(ws: Workspace, paths: Sequence[Path], who: Mapping[int, str] | None = None) -> TakenHome:
    """Store the answers of JSON exports; whatever comes twice, in a file, another one or a pull, is stored once.

    All files are read to their end before anything is stored: of one that is not whole, nothing is. An answer that is
    older than what the ledger holds of the same annotation is known.

    Args:
        ws: the project, opened for writing.
        paths: the files; each may hold tasks of several projects, of any Label Studio.
        who: e-mail addresses by their numbers there. Without one, people are known from annotations that were pulled
            before, else they are stored under their numbers until the same file is read again with their names.

    Raises UsageError for a file that is no JSON export, or not a whole one.

    """
    stored = {one.key: one.annotator for one in ws.store.answers()}
    people: dict[tuple[int, int], str] = {}
    instances = _Instances(ws)
    counts = []
    for path in paths:
        counts.append(0)
        for task in entries(path, ws.telling.bar(f"checking {path.name}")):
            counts[-1] += 1
            _check_form(path, task)
            project = project_of(task)
            for note in _notes(task):
                number = number_of(note)
                if project is None or number is None:
                    continue
                name = (who or {}).get(number) or stored.get(key_of(instances[project], note), "")
                if name not in ("", str(number)):
                    people[project, number] = name
    taking = Taking(ws)
    older, numbers = 0, set[int]()
    for path, count in zip(paths, counts, strict=True):
        door, bar = _Door(ws, taking, instances, people), ws.telling.bar(f"storing {path.name}")
        page: list[tuple[str, Any]] = []
        for place, task in enumerate(entries(path), 1):
            page.append((f"entry {place} of {path.name}", task))
            if len(page) == PAGE or place == count:
                door.take(page)
                page = []
                bar(place, count)
        older += door.older
        numbers |= door.numbers
    taking.told()
    if numbers:
        ws.telling.say(
            f"who has the number {', '.join(map(str, sorted(numbers)))} is not known, and stored under it: "
            f"give the file again with --who {min(numbers)}=E-MAIL"
        )
    known = taking.read - taking.new + older
    read = taking.new + known + len(taking.aside)
    return TakenHome(read, taking.new, known, len(taking.aside), finish(ws))


def _check_form(path: Path, task: Any) -> None:
    if isinstance(task, dict) and "annotation_id" in task and not isinstance(task.get("data"), dict):
        raise UsageError(f"{path} is a JSON-MIN export, which leaves half out: in Label Studio choose Export > JSON")


def project_of(task: Any) -> int | None:
    """Return the number of the project in Label Studio that an exported task is of."""
    found = task.get("project") if isinstance(task, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def uid_of(task: Mapping[str, Any]) -> str:
    """Return the id of the item that a task asks about, "" without one."""
    data = task.get("data")
    uid = data.get("uid") if isinstance(data, dict) else None
    return uid if isinstance(uid, str) else ""


def _notes(task: Any) -> list[Any]:
    """Return the annotations of a task, be they annotations or not."""
    found = task.get("annotations") if isinstance(task, dict) else None
    return found if isinstance(found, list) else [] if found is None else [found]


def number_of(note: Any) -> int | None:
    """Return the number of who made an annotation, None where the export says more than that."""
    found = note.get("completed_by") if isinstance(note, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def key_of(instance: str, note: Any) -> str:
    """Return the key under which the ledger holds an annotation, "" for one without a `unique_id`."""
    unique = note.get("unique_id") if isinstance(note, dict) else None
    return digest(instance, unique) if isinstance(unique, str) and unique else ""


def _strange(task: dict[str, Any]) -> list[SetAside]:
    """Return the annotations of a task that is none of ours; unlike ours it is not kept to be read again."""
    from toughcall.annotate.answers import read_answers

    return read_answers([task], {}, {}, "")[1]


def _later(stored: str, given: Any) -> bool:
    """Return whether the first time is after the second; False where one of them is none."""
    try:
        return datetime.fromisoformat(stored) > datetime.fromisoformat(given)
    except (TypeError, ValueError):
        return False


def _deep(value: Any) -> bool:
    """Return whether something is nested so deeply that it can be no task, and writing it down would fail."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
        if not level:
            return False
    return True
