"""The ledger's tasks: who is to answer what, and what a batch still waits for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from toughcall import ledger
from toughcall.records import Answer, Batch, Pick
from toughcall.store import Store
from toughcall.voting import Decision

FORMATS = ("37c1203c1e71", "9ec873576bf1", "80b1037f2b12", "9fa20c5beba0")
"""The steps of the ledger's format as they landed: the first 12 digits of each one's SHA-256."""


def said(key: str, item: str, annotator: str) -> Answer:
    """Return a label of batch b001."""
    return Answer(key, item, annotator, "label", ("A",), "b001", "s1")


def test_c86_a_ledger_of_the_first_format_knows_its_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C86, P2: what an older toughcall sent counts as sent after the migration, so that nothing is sent twice."""
    path = tmp_path / "ledger.sqlite"
    with monkeypatch.context() as older:
        older.setattr(ledger, "MIGRATIONS", ledger.MIGRATIONS[:1])
        with Store(path, create=True) as store:
            for name, state in (("b001", "sent"), ("b002", "planned")):
                with store.transaction() as base:
                    base.execute(
                        "INSERT INTO batches (name, schema, model, shortfall, state) VALUES (?, 's', 'm', '{}', ?)",
                        (name, state),
                    )
                    base.executemany(
                        "INSERT INTO picks VALUES (?, ?, 'in_band', 0.5, 0, 1.0, '', ?)",
                        [(name, "one", "planned"), (name, "bad", "set_aside")],
                    )
    with Store(path) as store:
        assert store.tasks() == [("b001", "one", "", 1, "sent"), ("b002", "one", "", 1, "planned")]
        assert [(row["name"], row["role"], row["waiting"]) for row in store.batches()] == [
            ("b001", "", 1),
            ("b002", "", 1),
        ]


def test_c86_formats_that_ledgers_have_are_never_changed() -> None:
    """C86: a ledger counts the steps it went; one that is changed, or put before others, would be gone twice or never.

    A new step is one more line here.
    """
    assert [hashlib.sha256(one.encode()).hexdigest()[:12] for one in ledger.MIGRATIONS] == list(FORMATS)


def test_c86_a_ledger_from_before_places_keeps_its_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C86, P2: format 3 had tasks and decisions; opened now both are there, and tasks went to no known place."""
    path = tmp_path / "ledger.sqlite"
    decision = Decision("d1", "one", "pin", "", "lee", "2026-11-21T12:00:00")
    with monkeypatch.context() as older:
        older.setattr(ledger, "MIGRATIONS", ledger.MIGRATIONS[:3])
        with Store(path, create=True) as store:
            store.add_decisions([decision])
            store.add_tasks("b001", {("one", ""): 1})
    with Store(path) as store:
        assert store.decisions() == [decision]
        assert (store.tasks(), store.placed()) == ([("b001", "one", "", 1, "planned")], {})


def test_what_a_batch_waits_for(tmp_path: Path) -> None:
    """A batch waits for items that lack an answer of somebody they were given to; deleted and refused ones are not."""
    with Store(tmp_path / "ledger.sqlite", create=True) as store:
        picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate("abcd"))
        store.add_batch(Batch("b001", "s1", "m", picks))
        assert store.batches()[0]["waiting"] == 4
        store.add_tasks("b001", {(one, who): 1 for one in "abcd" for who in ("anna", "ben")})
        store.add_tasks("b001", {("a", "anna"): 9})
        store.add_answers([said(key=f"{one}{who}", item=one, annotator=who) for one, who in ("aa", "ab", "ba")])
        assert (store.batches()[0]["answered"], store.batches()[0]["waiting"]) == (2, 3)
        store.mark_tasks("b001", "ben", "b", "gone")
        store.mark_tasks("b001", "anna", "c", "gone")
        store.mark_tasks("b001", "ben", "c", "gone")
        store.mark_batch("b001", "sent", ["d"])
        assert (store.batches()[0]["answered"], store.batches()[0]["waiting"]) == (2, 0)


def test_parts_are_found_by_key(tmp_path: Path) -> None:
    """Of some records those that have a part, whatever their ids hold; the stamp changes when any gets one."""
    with Store(tmp_path / "ledger.sqlite", create=True) as store:
        before = store.split_stamp()
        odd = "'; DROP TABLE parts \u2028"
        store.add_parts({"a": "train", "b": "test", odd: "test"}, {"a": "", "b": "", odd: ""})
        assert store.parts_of(["a", odd, "c"]) == {"a": "train", odd: "test"}
        assert store.parts_of([]) == {}
        assert sorted(store.held_out()) == sorted(["b", odd])
        first = store.split_stamp()
        assert first != before
        store.add_parts({"a": "train"}, {"a": "another group"})
        assert store.split_stamp() == first
        store.add_parts({"c": "test"}, {"c": ""})
        assert store.split_stamp() != first
