"""The ledger: what was said is never lost, never changed, and counted by a stated rule (C44, C48, C49, C51, C81)."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from toughcall import ledger
from toughcall.files import lock
from toughcall.records import Answer, Batch, BusyError, DiskError, IntegrityError, Pick, SetAside, UsageError
from toughcall.schema import Schema
from toughcall.store import Store

SCHEMA = Schema("multiclass", ("A", "B", "C"), True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "ledger.sqlite", create=True) as made:
        yield made


def said(value: str = "A", key: str = "k1", item: str = "i1", annotator: str = "anna", **more: Any) -> Answer:
    outcome = more.pop("outcome", "label")
    chosen = (value,) if outcome == "label" else ()
    return Answer(key, item, annotator, outcome, chosen, "b001", SCHEMA.version, **more)


def test_c52_a_commit_is_on_the_disk(store: Store) -> None:
    """P1, C52: write-ahead log, and every commit is synced before it is acknowledged."""
    assert store.base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store.base.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("sql", ["DELETE FROM answers", "UPDATE answers SET value = '[]'"])
def test_answers_are_append_only(store: Store, sql: str) -> None:
    """P1: the database itself refuses to delete or change an answer."""
    store.add_answers([said()])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store.base.execute(sql)
    assert [answer.value for answer in store.answers(history=True)] == [("A",)]


def test_an_answer_reads_back_as_it_was_given(store: Store) -> None:
    """P1: every field of an answer survives, down to its origin."""
    given = said(at="2025-01-01T00:00:00Z", seconds=1.5, origin={"task": 7, "text": "é\u2028"}, trust="silver")
    store.add_answers([given])
    assert store.answers() == [given]


def test_c49_the_same_answers_twice_add_nothing(store: Store) -> None:
    """C49: the second pull of the same answers adds 0 and no event, in any order."""
    answers = [said(key=f"k{n}", item=f"i{n}", value="ABC"[n % 3]) for n in range(9)]
    assert store.add_answers(answers) == 9
    assert store.add_answers(answers[::-1]) == 0
    assert len(store.answers(history=True)) == 9


def test_c44_an_edit_is_a_new_revision(store: Store) -> None:
    """C44: after an edit the latest counts and the old one is kept; going back is a third revision."""
    for value in "ABA":
        assert store.add_answers([said(value)]) == 1
    assert [answer.value for answer in store.answers()] == [("A",)]
    assert [answer.value for answer in store.answers(history=True)] == [("A",), ("B",), ("A",)]


def test_c45_a_deleted_answer_is_hidden_and_kept(store: Store) -> None:
    """C45: a tombstone takes an answer out of the labels; the answer stays in the history and may come back."""
    store.add_answers([said()])
    store.add_answers([said(outcome="deleted")])
    assert store.answers() == []
    assert store.labels(SCHEMA.version) == ([], [])
    assert [answer.outcome for answer in store.answers(history=True)] == ["label", "deleted"]
    assert store.add_answers([said()]) == 1
    assert [label.value for label in store.labels(SCHEMA.version)[0]] == [("A",)]


@pytest.mark.parametrize(
    ("votes", "label", "annotators"),
    [("AAAB", "A", 3), ("AABC", "A", 2), ("B", "B", 1), ("AABB", None, 0), ("ABC", None, 0)],
)
def test_c48_more_votes_win_and_a_tie_is_a_disagreement(
    store: Store, votes: str, label: str | None, annotators: int
) -> None:
    """C48: four annotators are four rows; the answer most gave is the label, a tie is shown as a disagreement."""
    store.add_answers([said(value, key=f"k{n}", annotator=f"p{n}") for n, value in enumerate(votes)])
    labels, torn = store.labels(SCHEMA.version)
    assert len(store.answers()) == len(votes)
    assert torn == ([] if label else ["i1"])
    assert [(one.value, one.annotators) for one in labels] == ([((label,), annotators)] if label else [])


def test_c48_skip_and_cannot_tell_do_not_vote(store: Store) -> None:
    """C48: a skip and a "can't tell" are stored and never outvote a label."""
    store.add_answers(
        [
            said("B", key="k1", annotator="p1"),
            said(key="k2", annotator="p2", outcome="skip"),
            said(key="k3", annotator="p3", outcome="cant_tell"),
        ]
    )
    assert [label.value for label in store.labels(SCHEMA.version)[0]] == [("B",)]
    assert len(store.answers()) == 3


def test_c48_one_annotator_has_one_vote(store: Store) -> None:
    """C48: two annotations of one person on an item are one vote, the later one."""
    store.add_answers([said("A", key="k1"), said("B", key="k2"), said("A", key="k3", annotator="ben")])
    labels, torn = store.labels(SCHEMA.version)
    assert (labels, torn) == ([], ["i1"])


def test_c48_an_expert_makes_a_label_gold(store: Store) -> None:
    """C48: when a pattern and an expert agree the label is the expert's, whoever came first."""
    store.add_answers([said(key="k1", annotator="pattern", source="pattern", trust="silver"), said(key="k2")])
    assert [(label.trust, label.source) for label in store.labels(SCHEMA.version)[0]] == [("gold", "person")]


def test_c63_a_label_counts_under_its_own_schema_only(store: Store) -> None:
    """C63, P14: an answer given under other labels is in nobody's labels but its own schema's."""
    store.add_answers([said(), dataclasses.replace(said("B", key="k2", item="i2"), schema="other")])
    assert [label.item for label in store.labels(SCHEMA.version)[0]] == ["i1"]
    assert store.answered_schemas() == {SCHEMA.version: 1, "other": 1}


def test_c86_a_ledger_from_the_future_is_refused_untouched(tmp_path: Path) -> None:
    """C86: a newer format is exit 2 naming the way out; the file is left as it was."""
    path = tmp_path / "ledger.sqlite"
    Store(path, create=True).close()
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"format 99.*install the newer toughcall"):
        Store(path)
    assert path.read_bytes() == before


def test_c86_an_older_ledger_is_backed_up_and_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C86: before an older ledger is migrated a copy is made, once; its answers are all still there."""
    path = tmp_path / "ledger.sqlite"
    with Store(path, create=True) as store:
        store.add_answers([said()])
    monkeypatch.setattr(ledger, "MIGRATIONS", (*ledger.MIGRATIONS, "CREATE TABLE later (x TEXT) STRICT;"))
    with Store(path) as store:
        assert store.base.execute("SELECT count(*) FROM later").fetchone() == (0,)
        assert len(store.answers()) == 1
    with sqlite3.connect(tmp_path / f"ledger.v{len(ledger.MIGRATIONS) - 1}.sqlite") as backup:
        assert backup.execute("PRAGMA user_version").fetchone() == (len(ledger.MIGRATIONS) - 1,)
        assert backup.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    backup.close()


def test_c86_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C86: half a migration is none: the ledger keeps its old format and its answers."""
    path = tmp_path / "ledger.sqlite"
    with Store(path, create=True) as store:
        store.add_answers([said()])
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "MIGRATIONS", (*ledger.MIGRATIONS, "CREATE TABLE later (x TEXT); SELECT nonsense;"))
        with pytest.raises(DiskError):
            Store(path)
    with Store(path) as store:
        assert len(store.answers()) == 1


def test_c86_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    """C86: a file that is no database is exit 6, and a missing one exit 2, each with the next step."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(IntegrityError, match="restore it from a backup"):
        Store(path)
    with pytest.raises(UsageError, match="toughcall init"):
        Store(tmp_path / "other.sqlite")


HOLD = """
import sys, time
from pathlib import Path
from toughcall.files import lock
with lock(Path(sys.argv[1]), "pull"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_c51_a_second_command_is_told_who_holds_the_lock(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """C37, C51: while another process holds the lock, BusyError (7) names its command and process at once."""
    with pytest.raises(BusyError, match=rf"in use by toughcall pull \(process {holder.pid}\)") as caught:
        lock(tmp_path, "push").__enter__()
    assert caught.value.code == 7


def test_c51_a_killed_command_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """C51, P3: after kill -9 of the holder the lock is free, nothing has to be removed by hand."""
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock(tmp_path, "push"):
        assert f"push (process {os.getpid()})" in (tmp_path / ".lock").read_text()


def test_c81_reading_works_while_another_process_writes(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """C81: with the lock held and a write transaction open, everything can be read and known schemas noted."""
    path = tmp_path / "ledger.sqlite"
    with Store(path, create=True) as writer:
        writer.add_answers([said()])
        writer.add_schema(SCHEMA)
        with writer.transaction() as base, Store(path) as reader:
            base.execute("INSERT INTO events (verb, content) VALUES ('half', '{}')")
            reader.add_schema(SCHEMA)
            assert len(reader.answers()) == 1
            assert reader.batches() == []
            assert reader.events() == []
    assert holder.poll() is None


def test_c81_a_write_beside_another_program_is_busy(store: Store) -> None:
    """C81: a ledger locked by another program is exit 7, not a traceback."""
    with Store(store.path) as other:
        other.base.execute("PRAGMA busy_timeout = 10")
        with store.transaction(), pytest.raises(BusyError, match="locked by another program"):
            other.put("a", "b")


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    """P3: when one of several answers cannot be stored none of them is."""
    with pytest.raises(ValueError, match="JSON"):
        store.add_answers([said(), said(key="k2", origin={"x": float("nan")})])
    assert store.answers() == []


def test_c27_the_split_is_frozen(store: Store) -> None:
    """C27, P5: a record keeps its part for good; only its group may grow."""
    store.add_parts({"r1": "test", "r2": "train"}, {"r1": "g1", "r2": "g2"})
    store.add_parts({"r1": "train"}, {"r1": "g9"})
    assert store.parts() == {"r1": "test", "r2": "train"}
    assert store.groups() == {"r1": "g9", "r2": "g2"}
    with pytest.raises(sqlite3.IntegrityError, match="a split is frozen"):
        store.base.execute("UPDATE parts SET part = 'train'")


def test_parts_written_by_anybody_are_read(store: Store) -> None:
    """C27: parts and groups are as the file has them now, also after somebody else wrote."""
    store.add_parts({"r1": "test"}, {"r1": "g1"})
    store.parts().clear()
    assert (store.parts(), store.groups()) == ({"r1": "test"}, {"r1": "g1"})
    with Store(store.path) as other:
        other.add_parts({"r2": "train"}, {"r2": "g2"})
    assert store.parts() == {"r1": "test", "r2": "train"}
    store.add_parts({"r2": "train"}, {"r2": "g3"})
    assert store.groups() == {"r1": "g1", "r2": "g3"}


def test_events_are_kept_in_order(store: Store) -> None:
    """P1: what commands decided reads back oldest first, all of it or by verb; NaN is refused."""
    for n, verb in enumerate(("retrain", "promote", "retrain")):
        store.add_event(verb, {"n": n})
    assert store.events() == [("retrain", {"n": 0}), ("promote", {"n": 1}), ("retrain", {"n": 2})]
    assert store.events("retrain") == [("retrain", {"n": 0}), ("retrain", {"n": 2})]
    with pytest.raises(ValueError, match="JSON"):
        store.add_event("retrain", {"n": float("nan")})


def test_c29_what_was_ever_picked_or_answered_is_asked(store: Store) -> None:
    """C29: an item of any batch and an item with any answer, deleted ones too, counts as asked."""
    store.add_batch(Batch("b001", SCHEMA.version, "m", (Pick("i1", "in_band", 0.5, 0),), {"diverse": 2}))
    store.add_answers([said(item="i2"), said(item="i2", outcome="deleted")])
    assert store.asked() == {"i1", "i2"}
    store.mark_batch("b001", "sent", ["i1"])
    assert store.batch("b001").picks == ()
    assert store.asked() == {"i1", "i2"}
    assert store.next_batch_name() == "b002"
    with pytest.raises(UsageError, match="toughcall status lists them"):
        store.batch("b009")


def test_set_aside_is_remembered_once_and_never_refused(store: Store) -> None:
    """P6: a row set aside twice is one entry; a file name or text that is not UTF-8 is stored escaped."""
    found = [SetAside("caf\udce9.csv row 2", "bad \ud83d", "raw \ud83d"), SetAside("a.csv row 3", "text is empty")]
    assert store.add_set_aside("import", found) == 2
    assert store.add_set_aside("import", found) == 0
    assert [stage for stage, _ in store.set_aside()] == ["import", "import"]
    assert store.set_aside()[0][1].where == "caf\\udce9.csv row 2"


class Ledger(RuleBasedStateMachine):
    """P1: for any series of answers, edits and deletions the ledger equals a dictionary of lists."""

    folder: Path

    @initialize()
    def start(self) -> None:
        self.path = self.folder / f"{len(list(self.folder.glob('*.sqlite')))}.sqlite"
        self.store = Store(self.path, create=True)
        self.history: dict[str, list[Answer]] = {}
        self.order: list[str] = []

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from(["k1", "k2", "k3", "k4"]),
                st.sampled_from("ABC"),
                st.sampled_from(["label", "label", "skip", "cant_tell", "deleted"]),
            ),
            max_size=5,
        )
    )
    def pull(self, batch: list[tuple[str, str, str]]) -> None:
        new = 0
        answers = [
            said(value, key=key, item=f"i{int(key[1]) % 2}", annotator=key, outcome=outcome)
            for key, value, outcome in batch
        ]
        for answer in answers:
            past = self.history.setdefault(answer.key, [])
            if not past or past[-1] != answer:
                past.append(answer)
                new += 1
        assert self.store.add_answers(answers) == new

    @rule()
    def close_and_open(self) -> None:
        self.store.close()
        self.store = Store(self.path)

    @invariant()
    def nothing_is_lost(self) -> None:
        stored: dict[str, list[Answer]] = {}
        for answer in self.store.answers(history=True):
            stored.setdefault(answer.key, []).append(answer)
        assert stored == {key: past for key, past in self.history.items() if past}

    @invariant()
    def the_latest_counts(self) -> None:
        latest = {key: past[-1] for key, past in self.history.items() if past and past[-1].outcome != "deleted"}
        assert {answer.key: answer for answer in self.store.answers()} == latest
        votes: dict[str, list[str]] = {}
        for answer in latest.values():
            if answer.outcome == "label":
                votes.setdefault(answer.item, []).append(answer.value[0])
        labels, torn = self.store.labels(SCHEMA.version)
        assert {one.item for one in labels} | set(torn) == set(votes)
        for label in labels:
            mine = votes[label.item].count(label.value[0])
            assert all(votes[label.item].count(other) < mine for other in set(votes[label.item]) - {label.value[0]})
        for item in torn:
            counts = sorted((votes[item].count(value) for value in set(votes[item])), reverse=True)
            assert counts[0] == counts[1]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_the_ledger_equals_a_model_of_it(tmp_path: Path) -> None:
    """P1, C44, C45, C48, C49: any series of pulls, edits, deletions and reopenings equals the model."""
    machine = type("LedgerHere", (Ledger,), {"folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
