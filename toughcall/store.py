"""The ledger: one SQLite file. Answers are append-only events; the current label is a view over them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toughcall.records import (
    Answer,
    Batch,
    BusyError,
    DiskError,
    IntegrityError,
    Label,
    Part,
    Pick,
    SetAside,
    UsageError,
    Value,
)
from toughcall.schema import Schema, chosen_of, numbers_of, schema_from, value_of

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE schemas (version TEXT PRIMARY KEY, content TEXT NOT NULL) STRICT;
    CREATE TABLE parts (
        record TEXT PRIMARY KEY, part TEXT NOT NULL CHECK (part IN ('train', 'test')), grp TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER parts_frozen BEFORE UPDATE OF part ON parts WHEN old.part <> new.part
        BEGIN SELECT raise(ABORT, 'a split is frozen'); END;
    CREATE TABLE batches (
        seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, schema TEXT NOT NULL, model TEXT NOT NULL,
        shortfall TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'sent', 'done'))
    ) STRICT;
    CREATE TABLE picks (
        batch TEXT NOT NULL, item TEXT NOT NULL, reason TEXT NOT NULL, score REAL NOT NULL, rank INTEGER NOT NULL,
        probability REAL NOT NULL, note TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'planned', PRIMARY KEY (batch, item)
    ) STRICT;
    CREATE TABLE answers (
        seq INTEGER PRIMARY KEY, key TEXT NOT NULL, content TEXT NOT NULL, item TEXT NOT NULL, annotator TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('label', 'skip', 'cant_tell', 'deleted')), value TEXT NOT NULL,
        batch TEXT NOT NULL, schema TEXT NOT NULL, source TEXT NOT NULL, trust TEXT NOT NULL, at TEXT NOT NULL,
        seconds REAL, origin TEXT NOT NULL
    ) STRICT;
    CREATE INDEX answers_key ON answers (key, seq);
    CREATE INDEX answers_item ON answers (item);
    CREATE TABLE set_aside (
        seq INTEGER PRIMARY KEY, stage TEXT NOT NULL, place TEXT NOT NULL, reason TEXT NOT NULL, raw TEXT NOT NULL,
        UNIQUE (stage, place, reason)
    ) STRICT;
    CREATE TABLE events (seq INTEGER PRIMARY KEY, verb TEXT NOT NULL, content TEXT NOT NULL) STRICT;
    CREATE VIEW current AS
        SELECT * FROM answers WHERE seq IN (SELECT max(seq) FROM answers GROUP BY key) AND outcome <> 'deleted';
    CREATE TRIGGER answers_kept BEFORE DELETE ON answers BEGIN SELECT raise(ABORT, 'answers are append-only'); END;
    CREATE TRIGGER answers_fixed BEFORE UPDATE ON answers BEGIN SELECT raise(ABORT, 'answers are append-only'); END;
    """,
)


def _storable(text: str) -> str:
    # a file's name or a cut text may hold what UTF-8 does not
    return text.encode("utf-8", "backslashreplace").decode()


def _means(answers: Sequence[Answer]) -> list[tuple[str, float]]:
    """Return the mean of the numbers given on each dimension, in the order they were first given.

    Exact, so that a mean of numbers inside their range is inside it too, whoever answered first.
    """
    given: dict[str, list[float]] = {}
    for answer in answers:
        for name, number in numbers_of(answer.value).items():
            given.setdefault(name, []).append(number)
    return [(name, statistics.mean(numbers)) for name, numbers in given.items()]


class Store:
    """One project's ledger. Reading never blocks; writing is one transaction a call."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.exists():
            raise UsageError(
                f"no ledger {path}: make the project with toughcall init, or restore the file from a backup"
            )
        self.path = path
        self._frozen: tuple[tuple[int, int], tuple[dict[str, Part], dict[str, str]]] | None = None
        try:
            self.base = sqlite3.connect(path, timeout=30, isolation_level=None)
            try:
                self.base.execute("PRAGMA journal_mode = WAL")
                self.base.execute("PRAGMA synchronous = FULL")
                self._migrate()
            except BaseException:
                self.base.close()
                raise
        except sqlite3.OperationalError as error:
            raise DiskError(f"cannot open {path}: {error}; check the disk and the folder's permissions") from None
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                f"{path} is damaged ({error}): restore it from a backup, then run toughcall doctor"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self.base.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _migrate(self) -> None:
        version = int(self.base.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise UsageError(
                f"{self.path} has format {version}, this toughcall knows {len(MIGRATIONS)}: install the newer toughcall"
            )
        if 0 < version < len(MIGRATIONS):
            backup = self.path.with_suffix(f".v{version}.sqlite")
            if not backup.exists():
                aside = backup.with_suffix(".part")
                aside.unlink(missing_ok=True)
                self.base.execute("VACUUM INTO ?", (str(aside),))
                aside.replace(backup)
        for number in range(version, len(MIGRATIONS)):
            self.base.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or nothing of it."""
        try:
            self.base.execute("BEGIN IMMEDIATE")
            try:
                yield self.base
                self.base.execute("COMMIT")
            except BaseException:
                if self.base.in_transaction:
                    self.base.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BusyError(f"{self.path} is locked by another program: wait, then run this again") from None
            raise DiskError(
                f"cannot write {self.path}: {error}; free some space and run the same command again"
            ) from None

    # ---- settings, schemas, splits

    def get(self, key: str, default: str = "") -> str:
        """Return a small stored value by name."""
        row = self.base.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def put(self, key: str, value: str) -> None:
        """Store a small value by name."""
        with self.transaction() as base:
            base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_schema(self, schema: Schema) -> None:
        """Remember a schema under its version; writes only when it is new, so that a reader never waits."""
        if self.base.execute("SELECT 1 FROM schemas WHERE version = ?", (schema.version,)).fetchone():
            return
        with self.transaction() as base:
            base.execute(
                "INSERT OR IGNORE INTO schemas VALUES (?, ?)", (schema.version, json.dumps(dataclasses.asdict(schema)))
            )

    def schema(self, version: str) -> Schema:
        """Return a remembered schema."""
        row = self.base.execute("SELECT content FROM schemas WHERE version = ?", (version,)).fetchone()
        if row is None:
            raise IntegrityError(f"schema {version} is not in {self.path}: run toughcall doctor")
        return schema_from(json.loads(row[0]))

    def add_parts(self, parts: Mapping[str, Part], groups: Mapping[str, str]) -> None:
        """Freeze the part of new records; a record that has one keeps it, only its group may grow."""
        with self.transaction() as base:
            base.executemany(
                "INSERT INTO parts VALUES (?, ?, ?) ON CONFLICT (record) DO UPDATE SET grp = excluded.grp",
                [(record, part, groups[record]) for record, part in sorted(parts.items())],
            )

    def _split(self) -> tuple[dict[str, Part], dict[str, str]]:
        """Return parts and groups by record, read again only after the ledger has changed, by whomever."""
        state = int(self.base.execute("PRAGMA data_version").fetchone()[0]), self.base.total_changes
        if self._frozen is None or self._frozen[0] != state:
            rows = self.base.execute("SELECT record, part, grp FROM parts").fetchall()
            self._frozen = (state, ({row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}))
        return self._frozen[1]

    def parts(self) -> dict[str, Part]:
        """Return the part of every record that has one."""
        return dict(self._split()[0])

    def groups(self) -> dict[str, str]:
        """Return the group of every record that has one: records of one group never straddle a split."""
        return dict(self._split()[1])

    # ---- batches

    def next_batch_name(self) -> str:
        """Return the name of the batch to come: b001, b002 and so on."""
        return f"b{int(self.base.execute('SELECT count(*) FROM batches').fetchone()[0]) + 1:03d}"

    def add_batch(self, batch: Batch) -> None:
        """Save a batch before anything of it is sent."""
        with self.transaction() as base:
            base.execute(
                "INSERT INTO batches (name, schema, model, shortfall) VALUES (?, ?, ?, ?)",
                (batch.name, batch.schema, batch.model, json.dumps(dict(batch.shortfall))),
            )
            base.executemany(
                "INSERT INTO picks (batch, item, reason, score, rank, probability, note) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(batch.name, p.item, p.reason, p.score, p.rank, p.probability, p.note) for p in batch.picks],
            )

    def batches(self) -> list[dict[str, Any]]:
        """Return name, schema, model, state and counts of every batch, oldest first."""
        rows = self.base.execute(
            "SELECT name, schema, model, state, shortfall, (SELECT count(*) FROM picks WHERE batch = name),"
            " (SELECT count(DISTINCT item) FROM current WHERE batch = name) FROM batches ORDER BY seq"
        )
        names = ("name", "schema", "model", "state", "shortfall", "size", "answered")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**row, "shortfall": json.loads(row["shortfall"])} for row in found]

    def batch(self, name: str) -> Batch:
        """Return a saved batch, without the picks that were set aside at push."""
        row = self.base.execute("SELECT schema, model, shortfall FROM batches WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise UsageError(f"no batch {name!r}: toughcall status lists them")
        picks = self.base.execute(
            "SELECT item, reason, score, rank, probability, note FROM picks WHERE batch = ? AND state <> 'set_aside'"
            " ORDER BY rank, item",
            (name,),
        )
        return Batch(name, row[0], row[1], tuple(Pick(*p) for p in picks), json.loads(row[2]))

    def mark_batch(self, name: str, state: str, set_aside: Iterable[str] = ()) -> None:
        """Set a batch's state; items that could not be sent are marked so."""
        with self.transaction() as base:
            base.execute("UPDATE batches SET state = ? WHERE name = ?", (state, name))
            base.executemany(
                "UPDATE picks SET state = 'set_aside' WHERE batch = ? AND item = ?",
                [(name, item) for item in set_aside],
            )

    def asked(self) -> set[str]:
        """Return every item that was ever put in a batch or has an answer: never asked again (C29)."""
        return {row[0] for row in self.base.execute("SELECT item FROM picks UNION SELECT item FROM answers")}

    def picks(self) -> list[tuple[str, Pick]]:
        """Return (batch, pick) for every pick ever made."""
        rows = self.base.execute(
            "SELECT batch, item, reason, score, rank, probability, note FROM picks ORDER BY batch, rank, item"
        )
        return [(row[0], Pick(*row[1:])) for row in rows]

    # ---- answers

    def add_answers(self, answers: Sequence[Answer]) -> int:
        """Append the answers that say something new; return how many did (C49: the same pull twice adds 0)."""
        new = 0
        with self.transaction() as base:
            for a in answers:
                last = base.execute(
                    "SELECT content FROM answers WHERE key = ? ORDER BY seq DESC LIMIT 1", (a.key,)
                ).fetchone()
                if last is not None and last[0] == a.content:
                    continue
                new += 1
                base.execute(
                    "INSERT INTO answers (key, content, item, annotator, outcome, value, batch, schema, source, trust,"
                    " at, seconds, origin) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        a.key,
                        a.content,
                        a.item,
                        a.annotator,
                        a.outcome,
                        json.dumps(a.value),
                        a.batch,
                        a.schema,
                        a.source,
                        a.trust,
                        a.at,
                        a.seconds,
                        json.dumps(dict(a.origin), allow_nan=False),
                    ),
                )
        return new

    def answers(self, *, history: bool = False) -> list[Answer]:
        """Return the current answers, or with `history` every event, oldest first."""
        table = "answers" if history else "current"
        rows = self.base.execute(
            "SELECT key, item, annotator, outcome, value, batch, schema, source, trust, at, seconds, origin"
            f" FROM {table} ORDER BY seq"
        )
        return [
            Answer(
                key=r[0],
                item=r[1],
                annotator=r[2],
                outcome=r[3],
                value=value_of(json.loads(r[4])),
                batch=r[5],
                schema=r[6],
                source=r[7],
                trust=r[8],
                at=r[9],
                seconds=r[10],
                origin=json.loads(r[11]),
            )
            for r in rows
        ]

    def labels(self, schema: str) -> tuple[list[Label], list[str]]:
        """Return (agreed labels by item id, ids in disagreement) of one schema version.

        The rule: an item's label is the answer more annotators gave than any other, with the mean of their
        numbers on each dimension; a tie is a disagreement and neither trains nor evaluates. Where a person
        answered, only persons vote: an imported or made label is what they were asked to check. Skips and
        "can't tell" do not vote.
        """
        votes: dict[str, dict[str, Answer]] = {}
        for answer in self.answers():
            if answer.outcome == "label" and answer.schema == schema:
                votes.setdefault(answer.item, {})[answer.annotator] = answer
        labels: list[Label] = []
        torn: list[str] = []
        for item in sorted(votes):
            said: dict[Value, list[Answer]] = {}
            persons = [answer for answer in votes[item].values() if answer.source == "person"]
            for answer in persons or votes[item].values():
                said.setdefault(tuple(sorted(chosen_of(answer.value))), []).append(answer)
            ranked = sorted(said.values(), key=len, reverse=True)
            if len(ranked) > 1 and len(ranked[0]) == len(ranked[1]):
                torn.append(item)
                continue
            first = min(ranked[0], key=lambda answer: answer.trust != "gold")
            value: Value = (*chosen_of(first.value), *_means(ranked[0]))
            labels.append(Label(item, value, first.source, first.trust, first.batch, len(ranked[0])))
        return labels, torn

    def answered_schemas(self) -> dict[str, int]:
        """Return how many current labels there are under each schema version."""
        rows = self.base.execute("SELECT schema, count(*) FROM current WHERE outcome = 'label' GROUP BY schema")
        return {str(row[0]): int(row[1]) for row in rows}

    # ---- what was set aside, and what happened

    def add_set_aside(self, stage: str, found: Iterable[SetAside]) -> int:
        """Remember rows that were not used, once each; return how many are new."""
        with self.transaction() as base:
            before = base.total_changes
            base.executemany(
                "INSERT OR IGNORE INTO set_aside (stage, place, reason, raw) VALUES (?, ?, ?, ?)",
                [(stage, _storable(s.where), _storable(s.reason), _storable(s.raw)) for s in found],
            )
            return base.total_changes - before

    def set_aside(self) -> list[tuple[str, SetAside]]:
        """Return (stage, what) of everything set aside, oldest first."""
        rows = self.base.execute("SELECT stage, place, reason, raw FROM set_aside ORDER BY seq")
        return [(row[0], SetAside(*row[1:])) for row in rows]

    def add_event(self, verb: str, content: Mapping[str, Any]) -> None:
        """Append what a command decided, as JSON."""
        with self.transaction() as base:
            base.execute(
                "INSERT INTO events (verb, content) VALUES (?, ?)", (verb, json.dumps(dict(content), allow_nan=False))
            )

    def events(self, verb: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Return (verb, content) of the events, oldest first."""
        rows = self.base.execute("SELECT verb, content FROM events WHERE ? IN ('', verb) ORDER BY seq", (verb,))
        return [(row[0], json.loads(row[1])) for row in rows]

    def damage(self) -> list[str]:
        """Return what SQLite's own check finds wrong, a sentence each."""
        found = [str(row[0]) for row in self.base.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else [f"{self.path}: {line}" for line in found]
