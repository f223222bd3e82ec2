"""Reading answers page by page: what changed, what went away, what is read again; on the fake and the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.expert import Place, answer, exported, made, task
from fakes.label_studio import FakeStudio

from toughcall import exchange, loop, mapping, taking
from toughcall.annotate import pulling, sync
from toughcall.annotate.tasks import to_result
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, Pick, RemoteError, UsageError
from toughcall.settings import Columns
from toughcall.workspace import Workspace, opened


class Pages:
    """Takes pages and remembers them."""

    def __init__(self) -> None:
        self.pages: list[list[dict[str, Any]]] = []

    def __call__(self, tasks: list[dict[str, Any]]) -> None:
        self.pages.append(tasks)

    @property
    def uids(self) -> list[str]:
        return [one["data"]["uid"] for page in self.pages for one in page]


def filled(place: Place, size: int, answered: int) -> tuple[int, dict[str, int]]:
    """Return a project with `size` tasks, the first of them answered, and task by uid."""
    number = place.project()
    place.studio.send(number, [task(f"u{n:03}") for n in range(size)])
    ids = {row["uid"]: row["id"] for row in place.studio.listed(number, "b001")}
    for one in sorted(ids)[:answered]:
        place.hand.answers(ids[one])
    return number, ids


class TestCursor:
    """What changed is found by the server's own times, and held against its own counts."""

    def test_only_what_changed_is_read(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Incremental: a second reading asks for what was answered or edited since, and for nothing else."""
        monkeypatch.setattr(pulling, "OVERLAP", pulling.timedelta(0))
        number, ids = filled(place, 5, 3)
        pages = Pages()
        first = pulling.read(place.studio, number, pages)
        assert first.whole
        assert pages.uids == ["u000", "u001", "u002"]
        again = Pages()
        second = pulling.read(place.studio, number, again, since=first.since, known=first.answers)
        assert (again.pages, second.whole, second.since) == ([], False, first.since)
        place.hand.answers(ids["u004"])
        place.hand.answers(ids["u000"])
        new = Pages()
        third = pulling.read(place.studio, number, new, since=second.since, known=first.answers)
        assert not third.whole
        assert new.uids == ["u000", "u004"]
        assert third.answers == {ids["u000"]: 2, ids["u004"]: 1}
        assert third.since > first.since

    def test_c44_an_edit_is_a_change(self, place: Place) -> None:
        """C44: an answer edited after it was read is read again."""
        number, _ = filled(place, 2, 2)
        first = pulling.read(place.studio, number, Pages())
        note = exported(place.studio, number)[0]["annotations"][0]["id"]
        place.studio.call("PATCH", "editing", f"api/annotations/{note}/", body={"result": answer("no")})
        pages = Pages()
        second = pulling.read(place.studio, number, pages, since=first.since, known=first.answers)
        assert not second.whole
        results = [
            one["result"][0]["value"]["choices"] for page in pages.pages for t in page for one in t["annotations"]
        ]
        assert ["no"] in results

    def test_c45_an_answer_that_went_away_makes_everything_be_read(self, place: Place) -> None:
        """C45: only a whole reading can tell that an answer is gone, so a lower count leads to one."""
        number, ids = filled(place, 3, 3)
        first = pulling.read(place.studio, number, Pages())
        note = exported(place.studio, number)[0]["annotations"][0]["id"]
        place.studio.call("DELETE", "deleting", f"api/annotations/{note}/")
        pages = Pages()
        second = pulling.read(place.studio, number, pages, since=first.since, known=first.answers)
        assert second.whole
        assert pages.uids == ["u001", "u002"]
        assert second.answers == {ids["u001"]: 1, ids["u002"]: 1}

    def test_what_the_times_do_not_show_is_found_by_counting(self, place: Place) -> None:
        """An answer that moved no time is found, because the server counts one more than is held."""
        number, ids = filled(place, 3, 3)
        first = pulling.read(place.studio, number, Pages())
        known = {task: n for task, n in first.answers.items() if task != ids["u001"]}
        pages = Pages()
        second = pulling.read(place.studio, number, pages, since="2099-01-01T00:00:00Z", known=known)
        assert second.whole
        assert pages.uids == ["u000", "u001", "u002"]

    def test_c54_pages_bound_what_memory_holds(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """C54: however many tasks there are, one page of them is held at a time, and each page is told."""
        monkeypatch.setattr(pulling, "PAGE", 3)
        number, _ = filled(place, 8, 8)
        pages, told = Pages(), list[tuple[int, int]]()
        pulling.read(place.studio, number, pages, progress=lambda done, total: told.append((done, total)))
        assert [len(page) for page in pages.pages] == [3, 3, 2]
        assert told == [(3, 8), (6, 8), (8, 8)]
        assert len(set(pages.uids)) == 8


@pytest.fixture
def fake() -> Iterator[FakeStudio]:
    """A fake server of its own."""
    with FakeStudio() as server:
        yield server


@pytest.fixture
def project(
    fake: FakeStudio, make_project: Callable[..., Path], write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Make a project on the fake server with one batch of eight sent."""
    monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
    root = make_project(studio__url=fake.url)
    with opened(root, "import") as ws:
        loop.import_file(ws, write_csv("pool.csv", [{"text": f"text number {n}"} for n in range(12)]), Columns())
        send(ws, 8)
    return root


def send(ws: Workspace, size: int, name: str = "b001") -> list[str]:
    """Push a batch of items that were never asked."""
    ids = [one for one in sorted(text.id for text in ws.pool.texts()) if one not in ws.store.asked()][:size]
    ws.store.add_batch(
        Batch(name, ws.schema.version, "m", tuple(Pick(one, "in_band", 0.5, n) for n, one in enumerate(ids)))
    )
    loop.push(ws)
    return ids


def tasks(ws: Workspace, fake: FakeStudio) -> dict[str, dict[str, Any]]:
    """Return the tasks of the project there by uid."""
    return {one["data"]["uid"]: one for one in fake.projects[exchange.places(ws)[""]].tasks.values()}


def say(ws: Workspace, fake: FakeStudio, item: str, *labels: str) -> None:
    """Answer a task with labels, be they in the schema or not."""
    result = to_result(ws.schema, ("food",))
    result[0]["value"]["choices"] = list(labels)
    fake.annotate(tasks(ws, fake)[item]["id"], query={}, body={"result": result})


class TestLedger:
    """A pull into the ledger, however it ends."""

    @pytest.mark.parametrize("mode", ["404", "500 before", "half body", "half body, no length", "drop after commit"])
    def test_c42_a_pull_that_breaks_off_keeps_what_it_has_and_is_not_complete(
        self, fake: FakeStudio, project: Path, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        """C42, P1: broken on its second page it is exit 4: what was read is kept, the cursor stays, again is whole."""
        monkeypatch.setattr(pulling, "PAGE", 3)
        with opened(project, "test") as ws:
            for item in tasks(ws, fake):
                say(ws, fake, item, "food")
            fake.fail("/export", 1, mode, skip=1)
            with pytest.raises(RemoteError):
                loop.pull(ws)
            assert fake.fired == 1
            assert len(ws.store.answers()) == 3
            assert not ws.store.named("pull:")
            assert loop.pull(ws).new == 5
            assert len(ws.store.answers(history=True)) == 8
            assert loop.pull(ws).new == 0

    def test_c44_an_edit_is_a_revision(self, fake: FakeStudio, project: Path) -> None:
        """C44, P1: what somebody says anew is one more event; the old one stays, the newest is the label."""
        with opened(project, "test") as ws:
            item = min(tasks(ws, fake))
            say(ws, fake, item, "food")
            loop.pull(ws)
            note = tasks(ws, fake)[item]["annotations"][0]
            fake.edit(note["id"], query={}, body={"result": to_result(ws.schema, ("animal",))})
            assert loop.pull(ws).new == 1
            assert [a.value for a in ws.store.answers(history=True)] == [("food",), ("animal",)]
            assert [label.value for label in ws.store.labels(ws.schema.version)[0]] == [("animal",)]

    def test_c45_a_deleted_answer_is_told_after_two_looks_and_stays(self, fake: FakeStudio, project: Path) -> None:
        """C45, P1: the label of an answer deleted there is kept; two whole pulls must miss it to say so."""
        with opened(project, "test") as ws:
            item = min(tasks(ws, fake))
            say(ws, fake, item, "food")
            loop.pull(ws)
            fake.erase(tasks(ws, fake)[item]["annotations"][0]["id"], query={}, body={})
            loop.pull(ws)
            assert not ws.store.events("gone")
            loop.pull(ws, whole=True)
            assert len(ws.store.events("gone")) == 1
            loop.pull(ws, whole=True)
            assert len(ws.store.events("gone")) == 1
            assert len(ws.store.labels(ws.schema.version)[0]) == 1

    def test_c45_a_deleted_task_is_not_sent_again_by_itself(self, fake: FakeStudio, project: Path) -> None:
        """C45, P2: items deleted there wait for nobody once two looks missed them; only `push --again` sends them."""
        with opened(project, "test") as ws:
            number = exchange.places(ws)[""]
            gone = sorted(tasks(ws, fake))[:2]
            for item in gone:
                del fake.projects[number].tasks[tasks(ws, fake)[item]["id"]]
            pushed = loop.push(ws)
            assert (pushed.sent, pushed.gone) == (0, 2)
            assert loop.pull(ws).waiting == {"b001": 8}, "one look is not enough"
            assert loop.pull(ws).waiting == {"b001": 6}
            assert {item for _, item, _, _, state in ws.store.tasks() if state == "gone"} == set(gone)
            assert loop.push(ws).sent == 0
            assert len(fake.uids(number)) == 6
            assert loop.push(ws, again=True).sent == 2
            assert loop.pull(ws).waiting == {"b001": 8}
            assert sorted(fake.uids(number)) == sorted(set(fake.uids(number)))

    def test_c32_copies_that_come_late_go_with_the_next_pull(self, fake: FakeStudio, project: Path) -> None:
        """C32, P2: a pull too removes copies that a push given up left behind, but none that was answered."""
        with opened(project, "test") as ws:
            number = exchange.places(ws)[""]
            copies = [{**one, "annotations": []} for one in tasks(ws, fake).values()]
            fake.import_tasks(number, query={}, body=copies)
            assert len(fake.uids(number)) == 16
            say(ws, fake, copies[0]["data"]["uid"], "food")
            loop.pull(ws)
            assert len(fake.uids(number)) == 8
            assert len(ws.store.answers()) == 1

    def test_c32_a_copy_that_comes_after_the_last_answer_goes_too(self, fake: FakeStudio, project: Path) -> None:
        """C32, P2: a batch that is done is looked at by the pulls that read everything."""
        with opened(project, "test") as ws:
            number = exchange.places(ws)[""]
            for item in tasks(ws, fake):
                say(ws, fake, item, "food")
            copies = [{**one, "annotations": []} for one in tasks(ws, fake).values()]
            loop.pull(ws)
            assert [row["state"] for row in ws.store.batches()] == ["done"]
            fake.import_tasks(number, query={}, body=copies[:3])
            assert len(fake.uids(number)) == 11
            loop.pull(ws, whole=True)
            assert len(fake.uids(number)) == 8

    def test_everything_is_read_now_and_then(
        self, fake: FakeStudio, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What neither times nor counts show is found by the pull that reads everything: one in a few, or `--whole`."""
        monkeypatch.setattr(taking, "WHOLE", 4)
        with opened(project, "test") as ws:
            item = min(tasks(ws, fake))
            say(ws, fake, item, "food")
            loop.pull(ws)
            fake.ticks += 200_000
            say(ws, fake, max(tasks(ws, fake)), "food")
            loop.pull(ws)
            # changed behind the back of everything that tells of changes
            tasks(ws, fake)[item]["annotations"][0]["result"][0]["value"]["choices"] = ["animal"]
            assert loop.pull(ws).new == 0
            assert loop.pull(ws).new == 1
            assert {label.value for label in ws.store.labels(ws.schema.version)[0]} == {("animal",), ("food",)}

    def test_c49_twice_is_once(self, fake: FakeStudio, project: Path) -> None:
        """C49: a pull repeated, whole or not, appends nothing."""
        with opened(project, "test") as ws:
            for item in tasks(ws, fake):
                say(ws, fake, item, "food")
            loop.pull(ws)
            before = ws.store.answers(history=True)
            assert [loop.pull(ws).new, loop.pull(ws, whole=True).new] == [0, 0]
            assert ws.store.answers(history=True) == before


class TestMeaning:
    """Labels that are called something else now."""

    def test_c53_a_label_renamed_there_asks_for_its_meaning(self, fake: FakeStudio, project: Path) -> None:
        """C53: after a label was renamed there a pull stores all it can, keeps the rest as it came and is exit
        2; with the meaning said the kept answers are read, and the next pull is content.
        """
        with opened(project, "test") as ws:
            number = exchange.places(ws)[""]
            first, second = sorted(tasks(ws, fake))[:2]
            say(ws, fake, first, "food")
            config = fake.projects[number].fields["label_config"]
            assert 'alias="animal"' in config
            fake.projects[number].fields["label_config"] = config.replace('alias="animal"', 'alias="beast"')
            say(ws, fake, second, "beast")
            with pytest.raises(UsageError, match=r"beast only there.*toughcall map"):
                loop.pull(ws)
            assert [a.item for a in ws.store.answers()] == [first]
            assert len(ws.store.raw()) == 1
            del fake.projects[number].tasks[tasks(ws, fake)[second]["id"]]
            with pytest.raises(UsageError, match="no answer says 'ghost': earlier answers say beast"):
                mapping.translate(ws, {"ghost": "food"})
            mapping.translate(ws, {"beast": "animal"})
            labels, _ = ws.store.labels(ws.schema.version)
            assert {label.item: label.value for label in labels} == {first: ("food",), second: ("animal",)}
            assert loop.pull(ws).new == 0

    def test_c63_labels_of_an_earlier_schema_train_once_mapped(self, fake: FakeStudio, project: Path) -> None:
        """C63, P14: renamed and dropped labels: nothing trains before each has a meaning; then the answers count
        under it, the events stay as they were, and a batch still open goes on in its old words.
        """
        with opened(project, "test") as ws:
            a, b, c, d = sorted(tasks(ws, fake))[:4]
            for item, label in ((a, "food"), (b, "animal"), (c, "machine")):
                say(ws, fake, item, label)
            loop.pull(ws)
            history = ws.store.answers(history=True)
        toml = project / "project.toml"
        toml.write_text(
            toml.read_text(encoding="utf-8")
            .replace('"animal" = "an animal"', 'thing = "no food"')
            .replace('"machine" = "a machine"', 'drink = "something to drink"'),
            encoding="utf-8",
        )
        with opened(project, "test") as ws:
            assert ws.schema.labels == ("thing", "drink", "food")
            assert ws.store.labels(ws.schema.version) == ([], [])
            assert sum(mapping.strangers(ws).values()) == 3
            with pytest.raises(UsageError, match=r"'animal' is no label any more: toughcall map animal="):
                mapping.translate(ws, {"machine": ""})
            with pytest.raises(UsageError, match=r"'stone' is no label of project\.toml"):
                mapping.translate(ws, {"animal": "stone", "machine": ""})
            assert sum(mapping.strangers(ws).values()) == 3
            rows = mapping.translate(ws, {"animal": "thing", "machine": ""})
            assert (rows[0]["labels"], rows[0]["kept"], rows[0]["left out"]) == (3, 2, 1)
            assert mapping.strangers(ws) == {}
            assert ws.store.answers(history=True) == history
            labels, _ = ws.store.labels(ws.schema.version)
            assert {label.item: label.value for label in labels} == {a: ("food",), b: ("thing",)}
            # the old batch is answered on, in its own words; a new one asks in the new words, in a project of its own
            old = exchange.places(ws)
            assert all("#" in name for name in old)
            fake_task = {t["data"]["uid"]: t for t in fake.projects[next(iter(old.values()))].tasks.values()}[d]
            result = to_result(ws.store.schema(ws.store.batches()[0]["schema"]), ("animal",))
            fake.annotate(fake_task["id"], query={}, body={"result": result})
            assert loop.pull(ws).new == 1
            assert {label.item: label.value for label in ws.store.labels(ws.schema.version)[0]}[d] == ("thing",)
            send(ws, 2, "b002")
            assert exchange.places(ws)[""] != next(iter(old.values()))
            assert loop.pull(ws).waiting["b002"] == 2

    def test_map_wants_a_meaning(self) -> None:
        """An argument without "=", or twice, is refused with an example."""
        assert mapping.table(["a=b", " c = "]) == {"a": "b", "c": ""}
        for wrong in (["a"], ["=b"], ["a=b", "a=c"]):
            with pytest.raises(UsageError, match="EARLIER=PRESENT"):
                mapping.table(wrong)


def test_c30_what_was_only_counted_is_looked_at(fake: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """C30, P2: after each request a count says that all is there; in the end each task is looked at once, and what was
    miscounted is sent.
    """
    place = made(fake)
    number = place.project()
    monkeypatch.setattr(sync, "CHUNK_TASKS", 4)

    def somebody(request: str) -> None:
        # as many as were sent are there, and one of them is another one
        if request.endswith("/import") and "u02" in fake.uids(number):
            task = next(t for t in fake.projects[number].tasks.values() if t["data"]["uid"] == "u02")
            task["data"]["uid"] = "stranger"
            fake.after = lambda request: None

    fake.after = somebody
    done = sync.push(place.studio, number, [task(f"u{n:02}") for n in range(10)])
    assert done.sent == 10
    assert sorted(fake.uids(number)) == sorted(["stranger", *(f"u{n:02}" for n in range(10))])
    listings = [one for one in fake.seen if one == "GET /api/tasks/"]
    imports = [one for one in fake.seen if one.endswith("/import")]
    assert len(imports) == 4
    assert len(listings) < 4 * len(imports)
