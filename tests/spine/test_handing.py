"""Tasks out as files: each item handed out once, as a push would send it, and nobody's files overwritten."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeStudio
from handed import ANNA, BEN, Told, files_of, planned, row_of, run, tasks_in, thirty

from toughcall import exchange, experts, handing, loop
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Answer, UsageError
from toughcall.workspace import opened


@pytest.fixture
def make(make_project: Callable[..., Path], write_csv: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function (name, settings) → a project of 30 texts in which a batch of six is planned."""
    return functools.partial(thirty, make_project, write_csv)


class TestOut:
    """`toughcall export tasks`."""

    def test_a_batch_is_written_once_and_counts_as_sent(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """A8, P2, C49: tasks, interface and note are written, the batch is sent, and again gives the same bytes."""
        root, folder = make(), tmp_path / "out"
        row = row_of(run(root, "export", "tasks", folder, "--json"))
        assert row == {"batch": "b001", "for": "", "file": str(folder / "b001.json"), "items": 6, "set aside": 0}
        first = files_of(folder)
        assert sorted(first) == ["README.txt", "b001.json", "interface.xml"]
        with opened(root, "test") as ws:
            assert first["interface.xml"].decode() == exchange.config_of(ws, "") + "\n"
            assert [row["state"] for row in ws.store.batches()] == ["sent"]
            assert {state for *_, state in ws.store.tasks()} == {"sent"}
            tasks = tasks_in(folder / "b001.json")
            assert [task["data"]["uid"] for task in tasks] == [pick.item for pick in ws.store.batch("b001").picks]
            assert {frozenset(task) for task in tasks} == {frozenset({"data", "meta"})}, "no prediction that is shown"
            assert {frozenset(task["meta"]) for task in tasks} == {frozenset({"rank", "schema"})}, "blind"
        assert "b001.json  (6 items, for anybody, with interface.xml)" in first["README.txt"].decode()
        assert row_of(run(root, "export", "tasks", folder, "--json")) == row
        assert files_of(folder) == first

    def test_a_push_does_not_send_what_was_handed_out(
        self, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P2: nothing of a batch that went out as a file is sent, unless that is asked for; the next batch is."""
        with FakeStudio() as fake:
            monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
            with opened(make(studio__url=fake.url), "test") as ws:
                handing.hand_out(ws, tmp_path / "out")
                ids = planned(ws, 2, "b002")
                assert loop.push(ws).sent == 2
                assert fake.uids(exchange.places(ws)[""]) == ids
                assert handing.handed_out(ws) == {"b001"}
                assert loop.push(ws, again=True).sent == 6

    def test_what_is_in_label_studio_is_written_only_when_named(
        self, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P2: a batch that was pushed is not handed out a second time, unless its name is given."""
        told = Told()
        with FakeStudio() as fake:
            monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
            with opened(make(studio__url=fake.url), "test", told) as ws:
                loop.push(ws)
                assert handing.hand_out(ws, tmp_path / "out") == []
                assert not (tmp_path / "out").exists()
                assert "--batch b001" in told.said[-1]
                assert [one.items for one in handing.hand_out(ws, tmp_path / "out", "b001")] == [6]
                with pytest.raises(UsageError, match="choose one of b001"):
                    handing.hand_out(ws, tmp_path / "out", "b009")

    def test_each_expert_gets_a_file(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """P2, A3: with named experts each gets the items a push would assign, in a file of their own."""
        root = make(studio__experts=[ANNA, BEN, "Caro@example.com"], studio__overlap=2)
        with opened(root, "test") as ws:
            assigned = experts.assigned(ws, ws.store.batch("b001"))
            done = handing.hand_out(ws, tmp_path / "out")
            assert {one.expert: one.file for one in done} == {
                "Caro@example.com": next(one.file for one in done if one.file.startswith("b001-caro@example.com-")),
                ANNA: "b001-anna@example.com.json",
                BEN: "b001-ben@example.com.json",
            }
            for one in done:
                mine = {item for item, people in assigned.items() if one.expert in people}
                assert {task["data"]["uid"] for task in tasks_in(tmp_path / "out" / one.file)} == mine
            assert sum(one.items for one in done) == 12
            assert all(state == "sent" for *_, state in ws.store.tasks())
            note = (tmp_path / "out" / "README.txt").read_text(encoding="utf-8")
            assert all(f"{one.file}  (4 items, for {one.expert}, with interface.xml)" in note for one in done)

    def test_who_decides_sees_what_was_said(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """A disagreement goes out with what was answered, without names, and with an interface that shows it."""
        with opened(make(), "test") as ws:
            item = ws.store.batch("b001").picks[0].item
            for who, label in ((ANNA, "food"), (BEN, "animal")):
                ws.store.add_answers([Answer(who, item, who, "label", (label,), "b001", ws.schema.version)])
            experts.adjudicate(ws)
            handing.hand_out(ws, tmp_path / "out")
            (task,) = tasks_in(tmp_path / "out" / "b002.json")
            assert sorted(line[3:] for line in task["data"]["answers"].splitlines()) == ["animal", "food"]
            shown = (tmp_path / "out" / "interface-adjudication.xml").read_text(encoding="utf-8")
            assert shown == exchange.config_of(ws, "adjudication") + "\n"
            assert "$answers" in shown
            assert "$answers" not in (tmp_path / "out" / "interface.xml").read_text(encoding="utf-8")

    def test_c34_what_cannot_be_shown_is_set_aside(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """C34, P6: an item that cannot be shown is set aside with its reason, as in a push; the others go out."""
        with opened(make(), "test") as ws:
            ids = planned(ws, 3, "b002", more=("nowhere",))
            (_, done) = handing.hand_out(ws, tmp_path / "out")
            assert (done.items, done.set_aside) == (3, 1)
            assert [task["data"]["uid"] for task in tasks_in(tmp_path / "out" / "b002.json")] == ids
            assert [(stage, one.where, one.reason) for stage, one in ws.store.set_aside()] == [
                ("push", "nowhere", "not in the pool")
            ]
            assert [pick.item for pick in ws.store.batch("b002").picks] == ids
            assert {row["name"]: row["waiting"] for row in ws.store.batches()} == {"b001": 6, "b002": 3}
            planned(ws, 0, "b003", more=("elsewhere",))
            assert [one.file for one in handing.hand_out(ws, tmp_path / "out", "b003")] == [""]
            assert not (tmp_path / "out" / "b003.json").exists()

    def test_a_folder_with_other_things_is_left_alone(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """Nobody's files are overwritten: only a new or empty folder, or one of the same project, is written to."""
        root, folder = make(), tmp_path / "out"
        folder.mkdir()
        (folder / "README.txt").write_text("my own notes", encoding="utf-8")
        result = run(root, "export", "tasks", folder)
        assert result.exit_code == 2
        assert "holds other files" in result.stderr
        assert files_of(folder) == {"README.txt": b"my own notes"}
        assert run(root, "export", "tasks", folder / "README.txt").exit_code == 2
        with opened(root, "test") as ws:
            assert [row["state"] for row in ws.store.batches()] == ["planned"]
        (folder / "README.txt").rename(folder / ".hidden.tmp")
        assert run(root, "export", "tasks", folder).exit_code == 0, "what a killed run left is nobody's"
        assert run(make(name="other"), "export", "tasks", folder).exit_code == 2

    @pytest.mark.parametrize("call", ["mark_tasks", "mark_batch", "put"])
    def test_p3_killed_on_the_way_it_is_run_again(
        self, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        """P3: stopped between the files and the ledger, the same command ends as one that was not stopped."""
        root, folder = make(), tmp_path / "out"
        with opened(root, "test") as ws, monkeypatch.context() as patch:
            exchange.ledger_id(ws)

            def killed(*_: Any, **__: Any) -> None:
                raise KeyboardInterrupt

            patch.setattr(ws.store, call, killed)
            with pytest.raises(KeyboardInterrupt):
                handing.hand_out(ws, folder)
        before = files_of(folder)
        assert run(root, "export", "tasks", folder).exit_code == 0
        assert files_of(folder) == before
        with opened(root, "test") as ws:
            assert [row["state"] for row in ws.store.batches()] == ["sent"]
            assert handing.handed_out(ws) == {"b001"}

    def test_c40_nothing_to_hand_out(self, make_project: Callable[..., Path], tmp_path: Path) -> None:
        """C40: without an open batch nothing is written and that is said, exit 0."""
        result = run(make_project(), "export", "tasks", tmp_path / "out")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "nothing to hand out" in result.stderr
        assert not (tmp_path / "out").exists()

    def test_c53_labels_that_changed_are_not_asked_in(self, make: Callable[..., Path], tmp_path: Path) -> None:
        """C53: a batch made for other labels is not written; the sentence says both ways out."""
        root = make()
        file = root / "project.toml"
        file.write_text(file.read_text(encoding="utf-8").replace('"machine" = ', '"engine" = '), encoding="utf-8")
        result = run(root, "export", "tasks", tmp_path / "out")
        assert result.exit_code == 2
        assert "toughcall map" in result.stderr
        assert not (tmp_path / "out").exists()
