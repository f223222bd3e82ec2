"""When Label Studio is looked at again, and that hints change nothing but that (C75, C76, C84)."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doors import BUSY, SECRET, busy, served
from fakes.label_studio import FakeStudio

from toughcall import following, loop
from toughcall.annotate.tasks import to_result
from toughcall.following import Commands, Ended, Follower, Rhythm, next_work
from toughcall.records import Batch, Pick, Text
from toughcall.workspace import opened

# ---- when to look


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_when_the_next_look_is_due() -> None:
    """C75: a hint waits for quiet, but not for ever; without hints every poll is a look, failures come ever later."""
    rhythm = Rhythm(settle=3, longest=30, poll=60, pause=5)
    assert rhythm.due(100, None, None, 0) == 160
    assert rhythm.due(100, 110, 110, 0) == 113
    assert rhythm.due(100, 110, 139, 0) == 140
    assert rhythm.due(100, 159, 159, 0) == 160
    assert [rhythm.due(100, 110, 110, n) - 100 for n in (1, 2, 3, 4, 5, 6, 7, 8, 2000)] == [
        *(5, 10, 20, 40, 80, 160),
        *(300, 300, 300),
    ]


def followed(root: Path, run: Callable[[str], Ended], **more: Any) -> tuple[Follower, Clock, list[str]]:
    clock, said = Clock(), list[str]()
    return Follower(root, run, say=said.append, now=clock, **more), clock, said


def looks(follower: Follower, clock: Clock, until: float, hints: dict[float, int] | None = None) -> None:
    """Let time pass in quarters of a second; at each time of `hints` so many of them come."""
    while clock.time < until:
        for _ in range((hints or {}).get(clock.time, 0)):
            follower.hint()
        if follower.rhythm.due(follower._looked, follower._first, follower._last, follower._failures) <= clock.time:
            assert follower._wait()
            follower.look()
        clock.time += 0.25


def test_c75_a_hundred_hints_are_one_pull(make_project: Callable[..., Path]) -> None:
    """C75: a burst of hints is one look after it; hints without a pause are looked at every 30 s; a poll needs none."""
    ran: list[tuple[str, float]] = []
    follower, clock, _ = followed(make_project(), lambda verb: (ran.append((verb, clock.time)), Ended(0))[1])
    looks(follower, clock, 1005)
    assert ran == [("pull", 1000.0)]
    looks(follower, clock, 1020, {1005.0: 60, 1007.0: 39, 1007.5: 1})
    assert ran[1:] == [("pull", 1010.5)]
    looks(follower, clock, 1100, {1020.0 + n: 1 for n in range(60)})
    assert [time for _, time in ran[2:]] == [1050.0, 1081.0]
    looks(follower, clock, 1230)
    assert [time for _, time in ran[4:]] == [1141.0, 1201.0]


def test_c75_a_hint_during_a_pull_gets_a_pull_of_its_own(make_project: Callable[..., Path]) -> None:
    """C75: what arrives while a pull reads may come too late for it, so another one follows."""
    ran: list[float] = []

    def run(verb: str) -> Ended:
        ran.append(clock.time)
        if len(ran) == 1:
            clock.time += 2
            follower.hint()
        return Ended(0)

    follower, clock, _ = followed(make_project(), run)
    looks(follower, clock, 1040)
    assert ran == [1000.0, 1005.0]


def test_a_busy_project_and_a_server_that_is_away_are_tried_later(make_project: Callable[..., Path]) -> None:
    """C51, C35: exit 7 and 4 of a pull are told once and tried again with growing pauses until it works."""
    codes = [7, 7, 7, 4, 4]
    ran: list[float] = []

    def run(verb: str) -> Ended:
        ran.append(clock.time)
        code = codes.pop(0) if codes else 0
        return Ended(code, words={7: "the project is in use", 4: "nobody answers"}.get(code, ""))

    follower, clock, said = followed(make_project(), run)
    looks(follower, clock, 1260)
    assert [two - one for one, two in pairwise(ran)] == [5, 10, 20, 40, 80, 60]
    assert said == ["the project is in use", "nobody answers"]


def batch(root: Path, name: str, state: str, count: int = 2) -> None:
    """Put a batch in some state into the ledger."""
    with opened(root, "test") as ws:
        ws.pool.add([])
        ws.store.add_batch(
            Batch(
                name,
                ws.schema.version,
                "untouched",
                tuple(Pick(f"{name}-{n}", "in_band", 0.5, n) for n in range(count)),
            )
        )
        ws.store.mark_batch(name, state)


def mark(root: Path, name: str, state: str) -> None:
    with opened(root, "test") as ws:
        ws.store.mark_batch(name, state)


def test_a_round_runs_when_a_batch_is_answered_and_not_again(make_project: Callable[..., Path]) -> None:
    """A round needs every batch answered, or one that a killed round left unsent; it runs once for each such state."""
    root = make_project()
    ran: list[str] = []

    def run(verb: str) -> Ended:
        ran.append(verb)
        if verb == "round" and root.joinpath("more").exists():
            batch(root, "b002", "sent")
        return Ended(0)

    follower, _, _ = followed(root, run)
    follower.look()
    assert ran == ["pull"], "nothing was ever asked: the first round is a person's"
    batch(root, "b001", "sent")
    follower.look()
    assert ran == ["pull"] * 2
    mark(root, "b001", "done")
    follower.look()
    follower.look()
    assert ran == ["pull"] * 3 + ["round", "pull"], "nothing was left to ask, and nothing changed since"
    root.joinpath("more").touch()
    mark(root, "b001", "planned")
    follower.look()
    assert ran[5:] == ["pull", "round"]
    follower.look()
    assert ran[7:] == ["pull"]
    mark(root, "b001", "done")
    mark(root, "b002", "done")
    root.joinpath("more").unlink()
    follower.look()
    assert ran[8:] == ["pull", "round"]


def test_a_project_being_edited_ends_no_service(make_project: Callable[..., Path]) -> None:
    """P3: a project.toml that cannot be read for a while is told once and looked at again, until it is whole."""
    root = make_project()
    batch(root, "b001", "done")
    file = root / "project.toml"
    whole = file.read_text(encoding="utf-8")
    file.write_text("[labels", encoding="utf-8")
    ran: list[str] = []
    follower, clock, said = followed(root, lambda verb: (ran.append(verb), Ended(0))[1])
    looks(follower, clock, 1020)
    assert ran == ["pull"] * 3
    assert len(said) == 1
    assert "project.toml" in said[0]
    file.write_text(whole, encoding="utf-8")
    looks(follower, clock, 1100)
    assert "round" in ran


def test_no_retrain_only_pulls(make_project: Callable[..., Path]) -> None:
    """With --no-retrain no round ever runs; that the batch is answered is told once."""
    root = make_project()
    batch(root, "b001", "done")
    ran: list[str] = []
    follower, clock, said = followed(root, lambda verb: (ran.append(verb), Ended(0))[1], retrain=False)
    looks(follower, clock, 1300)
    assert set(ran) == {"pull"}
    assert said == ["the batch is answered: toughcall round retrains and asks for more"]


def test_a_round_that_fails_is_tried_more_and_more_rarely(make_project: Callable[..., Path]) -> None:
    """A round that ends with an error is tried again at growing distance while pulls go on; 7 means soon."""
    root = make_project()
    batch(root, "b001", "done")
    codes = [7, 6, 6, 6, 0]
    rounds: list[float] = []
    pulls: list[float] = []

    def run(verb: str) -> Ended:
        (rounds if verb == "round" else pulls).append(clock.time)
        return Ended(codes.pop(0) if verb == "round" else 0)

    follower, clock, said = followed(root, run)
    looks(follower, clock, 1700)
    assert [two - one for one, two in pairwise(rounds)] == [5, 60, 120, 240]
    assert len(pulls) == 2 + (1700 - 1005 - 1) // 60
    assert not codes
    assert sum("exit code 6" in one for one in said) == 3


# ---- the commands


def test_commands_do_not_inherit_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P8, C85: a child knows nothing of the hooks' secret; its last words and rows come back, with its exit code."""
    monkeypatch.setenv(following.SECRET_VARIABLE, SECRET)
    code = (
        "import json, os, sys; print('words'); print(json.dumps({'argv': sys.argv[1:], 'env': dict(os.environ)}));"
        "sys.stderr.write('first\\ntoughcall: the last\\n'); sys.exit(4)"
    )
    ended = Commands(tmp_path, program=(sys.executable, "-c", code))("pull")
    (row,) = ended.rows
    assert row["argv"] == ["--project", str(tmp_path), "--quiet", "pull", "--json"]
    assert SECRET not in json.dumps(row)
    assert (ended.code, ended.words) == (4, "the last")


def test_a_round_steps_back_behind_everything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C77: a retrain has a lower priority and a bounded number of threads, unless the environment says how many."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    out = tmp_path / "seen.json"
    code = f"import json, os, time; time.sleep(0.5); json.dump([os.nice(0), dict(os.environ)], open({str(out)!r}, 'w'))"
    before = os.nice(0)
    monkeypatch.setattr(following, "NICE", before + 2)
    assert Commands(tmp_path, threads=3, program=(sys.executable, "-c", code))("round") == Ended(0)
    nice, environment = json.loads(out.read_text())
    assert nice == before + 2
    assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("3", "7")


def test_c84_a_running_command_is_stopped_as_ctrl_c_does(tmp_path: Path) -> None:
    """C84: stop interrupts the child, waits for it and leaves no process of its group; without one it does nothing."""
    code = (
        "import subprocess, sys\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import signal, time\\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\\nprint(1, flush=True)\\ntime.sleep(600)'], stdout=-1)\n"
        "other.stdout.readline()\n"
        # what a shell starts in the background, a script's test run for one, is deaf to Ctrl-C, and so is its child
        "import os, pathlib, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "pathlib.Path(sys.argv[2], 'pid').write_text(str(other.pid))\n"
        "try:\n    " + BUSY.replace("\n", "\n    ") + "\n"
        "except KeyboardInterrupt:\n    pathlib.Path(sys.argv[2], 'interrupted').touch()\n    os._exit(130)\n"
    )
    assert not Commands(tmp_path).stop()
    with busy(tmp_path, code) as commands:
        assert commands.stop()
        assert (tmp_path / "interrupted").exists()
        pid = int((tmp_path / "pid").read_text())
        while Path(f"/proc/{pid}/stat").exists() and f"{pid} " in Path(f"/proc/{pid}/stat").read_text():
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.01)
        assert not commands.stop()


# ---- whatever hints say, the state is that of one pull


TEXTS = [f"The {one} was in the yard." for one in ("dog", "cat", "lathe", "drill", "soup", "bread")]


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as fake:
        yield fake


@pytest.fixture
def sent(
    studio: FakeStudio, make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a function (name) → a project with one batch on the fake server and an answer to each item but one."""
    monkeypatch.setenv("TOUGHCALL_STUDIO_TOKEN", studio.token)

    def make(name: str) -> Path:
        root = make_project(name=name, studio__url=studio.url)
        with opened(root, "test") as ws:
            texts = [Text(one) for one in TEXTS]
            ws.pool._write(texts, [])
            picks = tuple(Pick(one.id, "in_band", 0.5, rank) for rank, one in enumerate(texts))
            ws.store.add_batch(Batch("b001", ws.schema.version, "untouched", picks))
            number = loop.push(ws).project
            for task in list(studio.projects[number].tasks.values())[:5]:
                answer = {"result": to_result(ws.schema, ["animal"]), "completed_by": 1}
                studio.annotate(task["id"], query={}, body=answer)
        return root

    return make


def state(root: Path) -> list[tuple[Any, ...]]:
    """Return what the ledger says of answers, without what numbers the server gave."""
    with opened(root, "test", writing=False) as ws:
        return sorted((a.item, a.annotator, a.outcome, a.value, a.batch) for a in ws.store.answers(history=True))


def pull_here(root: Path) -> Callable[[str], Ended]:
    def run(verb: str) -> Ended:
        with opened(root, verb) as ws:
            found = loop.pull(ws)
        return Ended(0, ({"new": found.new, "waiting": sum(found.waiting.values())},))

    return run


def test_c75_c76_the_state_is_that_of_one_pull(sent: Callable[[str], Path]) -> None:
    """C75, C76: a hundred forged, repeated and reordered hooks or none at all: the ledger holds what one pull reads."""
    once, many, none = sent("once"), sent("many"), sent("none")
    pull_here(once)("pull")
    forged = [
        {"action": action, "annotation": {"id": n, "result": [{"from_name": "answer"}], "completed_by": "eve"}}
        for n, action in enumerate(
            ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED") * 25
        )
    ]
    random.Random(5).shuffle(forged)
    follower, clock, said = followed(many, pull_here(many))
    with served(hint=follower.hint) as door:
        assert {door.ask("POST", "/webhook", json=one).status_code for one in forged} == {200}
    looks(follower, clock, 1200)
    quiet, clock, _ = followed(none, pull_here(none))
    looks(quiet, clock, 1200)
    assert len(state(once)) == 5
    assert state(many) == state(none) == state(once)
    assert "eve" not in {one[1] for one in state(many)}
    assert said == ["5 new answers, 1 items still wait for the experts"]


def test_next_work_changes_with_answers(sent: Callable[[str], Path]) -> None:
    """What a round would start from is another state once an answer is edited, so a round runs again."""
    root = sent("p")
    pull_here(root)("pull")
    with opened(root, "test") as ws:
        assert next_work(ws.store) == ""
        ws.store.mark_batch("b001", "done")
        before = next_work(ws.store)
        assert before
        first = ws.store.answers()[0]
        ws.store.add_answers([replace(first, value=("food",))])
        assert next_work(ws.store) not in ("", before)
