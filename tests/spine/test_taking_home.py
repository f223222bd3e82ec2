"""Answers home from exports: what a pull would have read, whatever the files hold, once however often they come."""

from __future__ import annotations

import functools
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeStudio
from handed import ANNA, BEN, CARO, Told, exported, row_of, run, say, tasks_in, thirty, written

from toughcall import exchange, handing, loop
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import CANT_TELL, IntegrityError, UsageError
from toughcall.workspace import Workspace, opened


@pytest.fixture
def make(make_project: Callable[..., Path], write_csv: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function (name, settings) → a project of 30 texts in which a batch of six is planned."""
    return functools.partial(thirty, make_project, write_csv)


@pytest.fixture
def handed(make: Callable[..., Path], tmp_path: Path) -> Iterator[tuple[Workspace, list[dict[str, Any]]]]:
    """A project whose batch went out, and its tasks."""
    with opened(make(), "test", Told()) as ws:
        handing.hand_out(ws, tmp_path / "out")
        yield ws, tasks_in(tmp_path / "out" / "b001.json")


def counts(found: handing.TakenHome) -> tuple[int, int, int, int]:
    assert found.read == found.new + found.known + found.set_aside
    return found.read, found.new, found.known, found.set_aside


Handed = tuple[Workspace, list[dict[str, Any]]]


class TestHome:
    """`toughcall answers`."""

    def test_a_file_is_what_a_pull_is(
        self, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A8, P1, C49: an export read from a file gives the rows that a pull gives, and after each the other adds 0."""
        with FakeStudio() as fake:
            fake.users = dict(enumerate((ANNA, BEN, CARO), 1))
            monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
            root = make(studio__url=fake.url)
            with opened(root, "push") as ws:
                loop.push(ws)
                number = exchange.places(ws)[""]
                given = [("food",), ("animal",), ("machine",), (CANT_TELL,), ("food",)]
                there = fake.projects[number].tasks.values()
                for task, said in zip(there, given, strict=False):
                    result = say(ws, *said)
                    result[0]["value"]["choices"] = ["unheard of"] if said == ("machine",) else list(said)
                    body = {"result": result, "lead_time": 1.25, "completed_by": 2, "updated_at": fake.now()}
                    fake.annotate(task["id"], query={}, body=body)
                fake.annotate(task["id"] + 1, query={}, body={"was_cancelled": True, "completed_by": 3})
                path = written(tmp_path / "e.json", [task | {"project": number} for task in there])
            copy = Path(shutil.copytree(root, tmp_path / "copy"))
            with opened(root, "pull") as one, opened(copy, "answers") as two:
                assert loop.pull(one).new == 5
                assert counts(handing.take_home(two, [path], {2: BEN, 3: CARO})) == (6, 5, 0, 1)
                rows = [ws.store.base.execute("SELECT * FROM answers ORDER BY seq").fetchall() for ws in (one, two)]
                assert [row[1:] for row in rows[0]] == [row[1:] for row in rows[1]]
                assert one.store.set_aside() == two.store.set_aside()
                assert loop.pull(two).new == 0
                assert counts(handing.take_home(one, [path])) == (6, 0, 5, 1), "who is who is known from the pull"

    def test_c49_whatever_comes_twice_is_stored_once(self, handed: Handed, tmp_path: Path) -> None:
        """C49, P1: the same file again, twice at once, or two files that share answers add what is new, once."""
        ws, tasks = handed
        some = exported(tasks, [say(ws, "food")] * 4 + [None] * 2)
        more = exported(tasks, [None] * 2 + [say(ws, "food")] * 4)
        one, two = written(tmp_path / "1.json", some), written(tmp_path / "2.json", more)
        assert counts(handing.take_home(ws, [one])) == (4, 4, 0, 0)
        assert counts(handing.take_home(ws, [one])) == (4, 0, 4, 0)
        found = handing.take_home(ws, [one, two, two])
        assert counts(found) == (12, 2, 10, 0)
        assert found.waiting == {"b001": 0}
        assert [row["state"] for row in ws.store.batches()] == ["done"]
        assert len(ws.store.answers(history=True)) == 6
        assert {a.batch for a in ws.store.answers()} == {"b001"}

    def test_c46_c47_c50_one_bad_answer_never_stops_the_rest(self, handed: Handed, tmp_path: Path) -> None:
        """C46, C47, C50, P6: a label that is none, two choices, nothing at all, garbage, another text and another
        task are set aside with their reasons; what is good is stored; a skip is a skip.
        """
        ws, tasks = handed
        two = say(ws, "food")
        two[0]["value"]["choices"] = ["food", "animal"]
        other = say(ws, "food")
        other[0]["value"]["choices"] = ["vegetable"]
        entries = exported([*tasks, tasks[0]], [say(ws, "food"), other, two, [], {"x": 1}, say(ws, "food"), []])
        entries[5]["data"] = {**entries[5]["data"], "text": "another text"}
        entries[6]["annotations"][0] |= {"was_cancelled": True, "unique_id": "skip", "completed_by": 3}
        entries += [5, None, {"data": 1, "annotations": 3, "project": 7}, {"annotations": [{}]}, {"id": 9}]
        deep: Any = {"annotations": [{}], "project": 7}
        for _ in range(200):
            deep = {"x": deep}
        entries.append(deep | {"annotations": [{}], "project": 7})
        found = handing.take_home(ws, [written(tmp_path / "e.json", entries)])
        assert counts(found) == (12, 2, 0, 10)
        assert {a.outcome for a in ws.store.answers()} == {"label", "skip"}
        reasons = " | ".join(one.reason for _, one in ws.store.set_aside())
        for said in (
            "label not in schema",
            "2 choices",
            "empty answer",
            "garbage result",
            "text changed",
            "not a task",
        ):
            assert said in reasons
        where = {one.where: one.reason for _, one in ws.store.set_aside()}
        assert (where["entry 8 of e.json"], where["entry 13 of e.json"]) == ("not a task", "not a task")

    def test_a_file_of_another_project_is_set_aside(
        self, handed: Handed, make: Callable[..., Path], tmp_path: Path
    ) -> None:
        """P6: answers to items that were never sent are set aside and counted, and not kept to be read again."""
        ws, tasks = handed
        for task in tasks:
            task["data"]["uid"] = uuid.uuid4().hex
        path = written(tmp_path / "e.json", exported(tasks, [say(ws, "food")] * 6))
        assert counts(handing.take_home(ws, [path])) == (6, 0, 0, 6)
        assert ws.store.raw() == []
        assert all("none that we sent" in one.reason for _, one in ws.store.set_aside())

    def test_a_file_of_several_projects(self, handed: Handed, tmp_path: Path) -> None:
        """Tasks of several projects may stand in one file, and one item may be answered in two."""
        ws, tasks = handed
        one = exported(tasks, [say(ws, "food")] * 6, project=7, who=2)
        two = exported(tasks, [say(ws, "animal")] * 6, project=8, who=3)
        mixed = [task for pair in zip(one, two, strict=True) for task in pair]
        assert counts(handing.take_home(ws, [written(tmp_path / "e.json", mixed)], {2: ANNA, 3: BEN})) == (12, 12, 0, 0)
        assert {(a.origin["project"], a.annotator) for a in ws.store.answers()} == {("7", ANNA), ("8", BEN)}
        assert len({a.key for a in ws.store.answers()}) == 12
        del mixed[0]["project"]
        assert counts(handing.take_home(ws, [written(tmp_path / "e.json", mixed)])) == (12, 0, 11, 1)

    def test_an_older_export_takes_no_answer_back(self, handed: Handed, tmp_path: Path) -> None:
        """C44, P1: a file from before an edit, read after it, is known: the newest word stays the label."""
        ws, tasks = handed
        old = written(
            tmp_path / "old.json", exported(tasks[:1], [say(ws, "food")], at="2026-11-21T14:30:00.000001+02:00")
        )
        new = written(tmp_path / "new.json", exported(tasks[:1], [say(ws, "animal")], at="2026-11-21T13:00:00Z"))
        assert counts(handing.take_home(ws, [new])) == (1, 1, 0, 0)
        assert counts(handing.take_home(ws, [old])) == (1, 0, 1, 0)
        assert [label.value for label in ws.store.labels(ws.schema.version)[0]] == [("animal",)]
        assert counts(handing.take_home(ws, [new, old])) == (2, 0, 2, 0)
        newer = written(tmp_path / "n.json", exported(tasks[:1], [say(ws, "machine")], at="2026-11-21T14:00:00Z"))
        assert counts(handing.take_home(ws, [newer])) == (1, 1, 0, 0)
        assert [a.value for a in ws.store.answers(history=True)] == [("animal",), ("machine",)]

    def test_who_a_number_is(self, handed: Handed, tmp_path: Path) -> None:
        """A number is a name only until somebody says whose it is; then that is the person, also without saying it."""
        ws, tasks = handed
        path = written(tmp_path / "e.json", exported(tasks, [say(ws, "food")] * 6, who=2))
        handing.take_home(ws, [path])
        assert {a.annotator for a in ws.store.answers()} == {"2"}
        assert isinstance(ws.telling, Told)
        assert "--who 2=E-MAIL" in ws.telling.said[-1]
        assert counts(handing.take_home(ws, [path], {2: ANNA})) == (6, 6, 0, 0)
        assert {a.annotator for a in ws.store.answers()} == {ANNA}
        told = len(ws.telling.said)
        assert counts(handing.take_home(ws, [path])) == (6, 0, 6, 0)
        assert not [one for one in ws.telling.said[told:] if "--who" in one]
        expanded = exported(tasks, [say(ws, "food")] * 6, who={"id": 3, "email": BEN})
        assert handing.take_home(ws, [written(tmp_path / "x.json", expanded)]).new == 6
        assert {a.annotator for a in ws.store.answers()} == {ANNA, BEN}

    def test_of_a_file_that_breaks_off_nothing_is_stored(self, handed: Handed, tmp_path: Path) -> None:
        """P1, P3: an export is all or nothing: where it breaks is said, and no file of the same command is stored."""
        ws, tasks = handed
        whole = written(tmp_path / "whole.json", exported(tasks, [say(ws, "food")] * 6))
        half = tmp_path / "half.json"
        half.write_bytes(whole.read_bytes()[:-1])
        with pytest.raises(UsageError, match=rf"half.json breaks at byte {half.stat().st_size}, line 1"):
            handing.take_home(ws, [whole, half])
        assert ws.store.answers() == []

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("e.csv", "text,uid,answer\na,b,food\n", "choose Export > JSON"),
            ("e.json", '[{"text": "a", "id": 1, "answer": "food", "annotator": 1, "annotation_id": 5}]', "JSON-MIN"),
            ("e.json", "", "is empty"),
            ("e.json", None, "cannot read"),
            ("", None, "is a folder"),
        ],
    )
    def test_other_files_are_exit_2(
        self, make: Callable[..., Path], tmp_path: Path, name: str, content: str | None, said: str
    ) -> None:
        """JSON-MIN, CSV, an empty file, a folder and a file that is not there are one sentence and exit 2."""
        root, path = make(), tmp_path / "given" / name
        (tmp_path / "given").mkdir()
        if content is not None:
            path.write_text(content, encoding="utf-8")
        result = run(root, "answers", path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
        assert "Traceback" not in result.stderr

    def test_c54_pages_bound_what_memory_holds(
        self, handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C54, P3: answers are stored page by page; what a kill left out comes with the same command."""
        ws, tasks = handed
        monkeypatch.setattr(handing, "PAGE", 4)
        pages: list[int] = []
        take = handing.Taking.take

        def watched(taking: handing.Taking, page: list[dict[str, Any]], project: object) -> None:
            pages.append(len(page))
            if len(pages) == 2:
                raise IntegrityError("killed")
            take(taking, page, project)

        monkeypatch.setattr(handing.Taking, "take", watched)
        path = written(tmp_path / "e.json", exported(tasks, [say(ws, "food")] * 6))
        with pytest.raises(IntegrityError):
            handing.take_home(ws, [path])
        assert (pages, len(ws.store.answers())) == ([4, 2], 4)
        assert counts(handing.take_home(ws, [path])) == (6, 2, 4, 0)

    def test_the_command_tells_what_it_read(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """P6: one row: read = new + known + set aside; --strict turns what was set aside into exit 3; a wrong --who is
        exit 2.
        """
        root = make()
        assert run(root, "export", "tasks", tmp_path / "out").exit_code == 0
        with opened(root, "test") as ws:
            result = [say(ws, "food")] * 5 + [[]]
        path = written(tmp_path / "e.json", exported(tasks_in(tmp_path / "out" / "b001.json"), result))
        row = row_of(run(root, "answers", path, "--who", f"2={ANNA}", "--json"))
        assert row == {"read": 6, "new": 5, "known": 0, "set aside": 1, "waiting": 1}
        assert run(root, "answers", path, "--strict").exit_code == 3
        for wrong in (["--who", "anna"], ["--who", "2="], ["--who", f"2={ANNA}", "--who", f"2={BEN}"]):
            assert run(root, "answers", path, *wrong).exit_code == 2
        empty = run(root, "answers", written(tmp_path / "none.json", []))
        assert "no answer in" in empty.stderr


def test_the_export_of_a_task_is_read_as_it_is() -> None:
    """What is no task, has no number or no uid is None, "" or nothing: no entry can make reading fail."""
    odd: list[Any] = [None, 5, "x", [], {}, {"project": True}, {"project": "7"}, {"data": 3}, {"data": {"uid": 4}}]
    assert [handing.project_of(one) for one in odd] == [None] * len(odd)
    assert {handing.uid_of(one) for one in odd if isinstance(one, Mapping)} == {""}
    assert [handing.number_of(one) for one in [*odd, {"completed_by": True}, {"completed_by": {"id": 1}}]] == [
        None
    ] * 11
