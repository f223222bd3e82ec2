"""Sending and reading while things fail, on the fake; every test with a fault proves that it fired."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.expert import exported, hurried, made, task
from fakes.label_studio import FakeStudio

from toughcall.annotate import studio as studios
from toughcall.annotate import sync
from toughcall.annotate.studio import Studio
from toughcall.records import RemoteError, UsageError


@pytest.fixture
def fake() -> Iterator[FakeStudio]:
    """A fake server of its own."""
    with FakeStudio() as server:
        yield server


class TestPull:
    """Listings and exports."""

    @pytest.mark.parametrize("mode", ["404", "500 before", "half body", "half body, no length", "drop after commit"])
    def test_c42_broken_export(self, fake: FakeStudio, mode: str) -> None:
        """C42: an export that fails or breaks off in the middle is exit 4 and never half a list; again is whole."""
        place = made(fake)
        number = place.project()
        place.studio.send(number, [task(f"u{n}") for n in range(20)])
        for row in place.studio.listed(number, "b001"):
            place.hand.answers(row["id"])
        fake.fail("/export", 1, mode)
        with pytest.raises(RemoteError) as caught:
            exported(place.studio, number)
        assert fake.fired == 1
        assert caught.value.code == 4
        assert "canary-cookie" not in str(caught.value)
        assert len(exported(place.studio, number)) == 20

    def test_c42_page_missing_in_the_middle(self, fake: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> None:
        """C42: a 404 on the second page is not the end of the list."""
        monkeypatch.setattr(studios, "PAGE", 3)
        place = made(fake)
        number = place.project()
        place.studio.send(number, [task(f"u{n}") for n in range(7)])
        fake.fail("/api/tasks/", 1, "404", skip=1)
        assert len(place.studio.listed(number, "b001")) == 7
        assert fake.fired == 1

    def test_c43_tasks_deleted_while_listing(self, fake: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> None:
        """C43: tasks deleted between two pages hide no survivor."""
        monkeypatch.setattr(studios, "PAGE", 3)
        place = made(fake)
        number = place.project()
        place.studio.send(number, [task(f"u{n}") for n in range(12)])
        gone: list[int] = []

        def somebody(request: str) -> None:
            if request == "GET /api/tasks/" and not gone:
                gone.extend(sorted(fake.projects[number].tasks)[:2])
                for one in gone:
                    del fake.projects[number].tasks[one]

        fake.after = somebody
        assert sorted(row["uid"] for row in place.studio.listed(number, "b001")) == fake.uids(number)
        assert len(gone) == 2
        assert len(fake.uids(number)) == 10

    def test_c43_tasks_deleted_while_exporting(self, fake: FakeStudio) -> None:
        """C43: answers that went away while they were read are read again; answers that came do no harm."""
        place = made(fake)
        number = place.project()
        place.studio.send(number, [task(f"u{n}") for n in range(6)])
        ids = [row["id"] for row in place.studio.listed(number, "b001")]
        for one in ids[:4]:
            place.hand.answers(one)
        did: list[str] = []

        def somebody(request: str) -> None:
            if request.endswith("/export") and not did:
                did.append(request)
                del fake.projects[number].tasks[ids[0]]

        fake.after = somebody
        assert [one["id"] for one in exported(place.studio, number)][-3:] == ids[1:4], (
            "what is there is read in the end"
        )
        assert did
        assert sum(request.endswith("/export") for request in fake.seen) == 2

    def test_c42_export_with_fewer_answers_than_counted(
        self, fake: FakeStudio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C42: whole JSON that lacks answers the server counts is refused, not taken for all there is."""
        place = made(fake)
        number = place.project()
        place.studio.send(number, [task("a"), task("b")])
        for row in place.studio.listed(number, "b001"):
            place.hand.answers(row["id"])
        whole = place.studio.exported
        monkeypatch.setattr(place.studio, "exported", lambda project, ids: whole(project, ids)[:1])
        with pytest.raises(RemoteError, match="1 of 2"):
            exported(place.studio, number)


class TestPush:
    """However it fails, each uid is there once at the end."""

    @pytest.mark.parametrize("times", [1, 2, 3])
    @pytest.mark.parametrize(
        "mode", ["502 after commit", "drop after commit", "500 before", "half body", "half body, no length"]
    )
    def test_c30_c31_each_uid_once(self, fake: FakeStudio, mode: str, times: int) -> None:
        """C30, C31: an answer lost after or before the tasks were stored makes neither copies nor holes."""
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n}") for n in range(10)]
        fake.fail("/import", times, mode)
        assert hurried(place.studio, number, tasks) == sync.Done(10, 0, 0, ())
        assert fake.fired == (times if mode == "500 before" else 1)
        assert hurried(place.studio, number, tasks) == sync.Done(0, 10, 0, ())
        assert fake.uids(number) == sorted(one["data"]["uid"] for one in tasks)

    @pytest.mark.parametrize("mode", ["500 before", "half body", "drop after commit"])
    def test_c30_listing_fails_too(self, fake: FakeStudio, mode: str) -> None:
        """C30: a listing that fails is repeated and nothing is sent on a guess."""
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n}") for n in range(4)]
        fake.fail("GET /api/tasks/", 3, mode)
        assert hurried(place.studio, number, tasks).sent == 4
        assert fake.fired == 3
        assert fake.uids(number) == ["u0", "u1", "u2", "u3"]

    def test_c32_late_commit(self, fake: FakeStudio) -> None:
        """C32: tasks of a request given up are stored later; the next push removes the copies nobody touched."""
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n}") for n in range(6)]
        fake.fail("/import", 1, "delay then commit later")
        assert hurried(place.studio, number, tasks).sent == 6
        assert fake.fired == 1
        first = place.studio.listed(number, "b001")
        fake.settle()
        copies = [row["id"] for row in place.studio.listed(number, "b001") if row not in first]
        assert len(copies) == 6
        place.hand.answers(copies[0])
        done = hurried(place.studio, number, tasks)
        assert (done.sent, done.already, done.removed) == (0, 6, 6)
        left = {row["id"] for row in place.studio.listed(number, "b001")}
        assert left == {row["id"] for row in first} - {first[0]["id"]} | {copies[0]}

    def test_c33_second_run_sends_only_the_rest(self, fake: FakeStudio) -> None:
        """C33: a push that was killed after half its tasks is finished by the next one, without copies."""
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n}") for n in range(8)]
        place.studio.send(number, tasks[:5])
        assert hurried(place.studio, number, tasks) == sync.Done(3, 5, 0, ())
        assert len(fake.uids(number)) == 8

    def test_c31_drop_until_the_deadline(self, fake: FakeStudio) -> None:
        """C31, C35: a server that never stores anything is exit 4 within the deadline, and safe to run again."""
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n}") for n in range(4)]
        fake.fail("/import", 10**6, "500 before")
        with pytest.raises(RemoteError, match="run the same command again") as caught:
            hurried(place.studio, number, tasks, deadline=60)
        assert "b001" in str(caught.value)
        assert "500" in str(caught.value)
        assert fake.fired > 2
        fake.faults.clear()
        assert hurried(place.studio, number, tasks).sent == 4
        assert len(fake.uids(number)) == 4

    def test_c35_down_from_the_start(self, fake: FakeStudio) -> None:
        """C35: a server that is gone is exit 4 after waiting no longer than the deadline."""
        with FakeStudio() as gone:
            studio = Studio(gone.url, gone.token)
        waited: list[float] = []
        with pytest.raises(RemoteError):
            sync.push(studio, 1, [task("a")], deadline=120, wait=waited.append, now=lambda: sum(waited))
        assert waited[:4] == [0.5, 1.0, 2.0, 4.0]
        assert sum(waited) <= 120

    @pytest.mark.parametrize("part", ["/import", "GET /api/tasks/"])
    def test_c35_refused_token_stops_at_once(self, fake: FakeStudio, part: str) -> None:
        """C35: a token that stops working is exit 2 at once: one request, no waiting."""
        place = made(fake)
        number = place.project()
        fake.fail(part, 10**6, "refuse token")
        with pytest.raises(UsageError, match="token"):
            hurried(place.studio, number, [task("a"), task("b")])
        assert fake.fired == 1
        assert fake.uids(number) == []

    def test_c34_many_bad_of_many(self, fake: FakeStudio) -> None:
        """C34: each task the server refuses is set aside with its reason, all others are there once."""
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n:03}") for n in range(200)]
        for n in (0, 7, 8, 199):
            del tasks[n]["data"]["text"]
        done = hurried(place.studio, number, tasks)
        assert [found.where for found in done.set_aside] == ["u000", "u007", "u008", "u199"]
        assert all("key is expected" in found.reason and "::" not in found.reason for found in done.set_aside)
        assert done.sent + done.already + len(done.set_aside) == 200
        assert len(fake.uids(number)) == len(set(fake.uids(number))) == 196

    def test_c39_body_over_the_limit(self) -> None:
        """C39: a request too big for the server (500) is split until it passes; all are there once."""
        with FakeStudio(body_limit=4_000) as fake:
            place = made(fake)
            number = place.project()
            tasks = [task(f"u{n:03}") for n in range(100)]
            assert hurried(place.studio, number, tasks).sent == 100
            assert len(fake.uids(number)) == len(set(fake.uids(number))) == 100
            assert sum("/import" in one for one in fake.seen) > 10

    def test_c39_one_task_the_server_always_fails_on(self) -> None:
        """C39, P6: a task that alone makes the server fail is set aside once others passed."""
        with FakeStudio(body_limit=4_000) as fake:
            place = made(fake)
            number = place.project()
            tasks = [task(f"u{n}") for n in range(7)]
            tasks[3]["data"]["text"] = "long " * 1_000
            done = hurried(place.studio, number, tasks)
            assert [(found.where, "500" in found.reason) for found in done.set_aside] == [("u3", True)]
            assert fake.uids(number) == ["u0", "u1", "u2", "u4", "u5", "u6"]

    def test_what_cannot_be_sent_is_set_aside_here(self, fake: FakeStudio) -> None:
        """P6: a lone surrogate or a number that is not finite never reaches the server and stops nothing."""
        place = made(fake)
        number = place.project()
        tasks = [task("a"), task("b"), task("c")]
        tasks[0]["data"]["text"] = "\ud83d"
        tasks[1]["predictions"][0]["score"] = float("nan")
        done = hurried(place.studio, number, tasks)
        assert [(found.where, found.reason.split()[1]) for found in done.set_aside] == [("a", "lone"), ("b", "number")]
        assert fake.uids(number) == ["c"]

    def test_copies_go_although_deleting_fails(self, fake: FakeStudio) -> None:
        """C32: a deletion whose answer is lost, or that failed, is looked at again and finished."""
        place = made(fake)
        number = place.project()
        for _ in range(2):
            place.studio.send(number, [task("a"), task("b")])
        fake.fail("/api/dm/actions", 1, "500 before")
        fake.fail("/api/dm/actions", 1, "drop after commit")
        assert hurried(place.studio, number, [task("a"), task("b")]) == sync.Done(0, 2, 2, ())
        assert fake.fired == 2
        assert fake.uids(number) == ["a", "b"]

    @pytest.mark.parametrize("seed", range(6))
    def test_c30_random_faults(self, fake: FakeStudio, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """C30 to C32, P2: after random faults and one more push each uid is there once, and no answer is gone."""
        monkeypatch.setattr(sync, "CHUNK_TASKS", 5)
        rng = random.Random(seed)
        place = made(fake)
        number = place.project()
        tasks = [task(f"u{n:02}") for n in range(20)]
        answered: set[str] = set()
        modes = ["502 after commit", "drop after commit", "500 before", "half body", "delay then commit later"]

        def expert(request: str) -> None:
            if request.endswith("/import") and fake.projects[number].tasks:
                one = rng.choice(list(fake.projects[number].tasks.values()))
                fake.annotate(one["id"], query={}, body={"result": []})
                answered.add(one["data"]["uid"])

        fake.after = expert
        for _ in range(8):
            part = rng.choice(["/import", "/import", "GET /api/tasks/", "/api/dm/actions"])
            mode = rng.choice(modes[:4] if part != "/import" else modes)
            fake.fail(part, 1, mode, skip=rng.randrange(4))
        hurried(place.studio, number, tasks)
        assert fake.fired
        fake.faults.clear()
        fake.settle()
        hurried(place.studio, number, tasks)
        kept = list(fake.projects[number].tasks.values())
        assert answered <= {one["data"]["uid"] for one in kept if one["annotations"]}
        untouched = [one["data"]["uid"] for one in kept if not one["annotations"]]
        touched = {one["data"]["uid"] for one in kept if one["annotations"]}
        assert len(untouched) == len(set(untouched))
        assert not touched & set(untouched)
        assert touched | set(untouched) == {one["data"]["uid"] for one in tasks}


class Slow:
    """A server that says yes and stores what it got only after so many listings, as the paid editions do."""

    def __init__(self, after: int) -> None:
        self.after, self.sends, self.looks = after, 0, 0
        self.waiting: list[Any] = []
        self.rows: list[dict[str, Any]] = []

    def listed(self, project: int, batch: str) -> list[dict[str, Any]]:
        self.looks += 1
        if self.waiting and self.looks > self.after:
            for one in self.waiting:
                self.rows.append({"id": len(self.rows) + 1, "uid": one["data"]["uid"], "annotations": 0, "drafts": 0})
            self.waiting = []
        return list(self.rows)

    def count(self, project: int, batch: str) -> int:
        return len(self.rows)

    def send(self, project: int, tasks: Any) -> None:
        self.sends += 1
        self.waiting += tasks

    def delete(self, project: int, ids: Any) -> None:
        self.rows = [row for row in self.rows if row["id"] not in ids]


def test_server_that_stores_later_is_sent_nothing_twice() -> None:
    """A yes without tasks is waited for before anything is sent again."""
    remote = Slow(after=4)
    assert hurried(remote, 1, [task("a"), task("b")]) == sync.Done(2, 0, 0, ())
    assert remote.sends == 1


def test_server_that_says_yes_and_stores_nothing() -> None:
    """C38: a yes is not believed: without the tasks it is exit 4, not done."""
    with pytest.raises(RemoteError, match="stored nothing"):
        hurried(Slow(after=10**6), 1, [task("a")])


def test_c40_nothing_to_send() -> None:
    """C40: no tasks is done without a request."""
    remote = Slow(after=0)
    assert hurried(remote, 1, []) == sync.Done(0, 0, 0, ())
    assert remote.looks == remote.sends == 0


def test_progress_grows_to_the_total() -> None:
    """Progress counts present and set-aside tasks over all batches and ends at the total."""
    told: list[tuple[int, int]] = []
    bad = task("bad")
    bad["data"]["text"] = "\ud83d"
    tasks = [task("a"), task("b"), bad]
    hurried(Slow(after=0), 1, tasks, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (3, 3)


def test_two_tasks_with_one_uid_are_a_mistake_of_ours() -> None:
    """A uid twice in one push cannot be told from a copy, so it is refused before anything is sent."""
    remote = Slow(after=0)
    with pytest.raises(ValueError, match="uid a"):
        hurried(remote, 1, [task("a"), task("a")])
    assert remote.sends == 0


def test_chunks_keep_both_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request holds at most so many tasks and bytes; a task bigger than that goes alone; order is kept."""
    monkeypatch.setattr(sync, "CHUNK_TASKS", 3)
    monkeypatch.setattr(sync, "CHUNK_BYTES", 10)
    sizes = {"a": 4, "b": 6, "c": 1, "d": 50, "e": 1, "f": 1, "g": 1, "h": 1}
    cut = sync.chunks([task(uid) for uid in sizes], sizes)
    assert [[one["data"]["uid"] for one in chunk] for chunk in cut] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e", "f", "g"],
        ["h"],
    ]


@pytest.mark.parametrize(
    ("touches", "expected"),
    [
        ([0], []),
        ([0, 0, 0], [2, 3]),
        ([0, 1, 0], [1, 3]),
        ([1, 1, 0], [3]),
        ([1, 1], []),
    ],
)
@pytest.mark.parametrize("kind", ["annotations", "drafts"])
def test_p2_which_copies_may_go(touches: list[int], expected: list[int], kind: str) -> None:
    """P2: of untouched copies the lowest id stays; where one was touched only touched ones stay."""
    rows = [
        {"id": number, "uid": "a", "annotations": 0, "drafts": 0, kind: touched}
        for number, touched in enumerate(touches, start=1)
    ]
    rows += [{"id": 9, "uid": "", "annotations": 0, "drafts": 0}, {"id": 10, "uid": "", "annotations": 0, "drafts": 0}]
    assert sync.copies(rows[::-1]) == expected
