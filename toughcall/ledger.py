"""The ledger's file: one SQLite database in a format that migrates, small values, events, and what was set aside."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from toughcall.records import BusyError, DiskError, IntegrityError, SetAside, UsageError

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
    # who is to answer what (expert '' = whoever comes), what was last seen there, and what could not be read
    """
    ALTER TABLE batches ADD COLUMN role TEXT NOT NULL DEFAULT '';
    CREATE TABLE tasks (
        batch TEXT NOT NULL, item TEXT NOT NULL, expert TEXT NOT NULL, due INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'sent', 'gone', 'set_aside')),
        PRIMARY KEY (batch, item, expert)
    ) STRICT;
    INSERT INTO tasks SELECT p.batch, p.item, '', 1, CASE b.state WHEN 'planned' THEN 'planned' ELSE 'sent' END
        FROM picks p JOIN batches b ON b.name = p.batch WHERE p.state <> 'set_aside';
    CREATE TABLE seen (
        project INTEGER NOT NULL, task INTEGER NOT NULL, answers INTEGER NOT NULL, PRIMARY KEY (project, task)
    ) STRICT;
    CREATE TABLE raw (
        seq INTEGER PRIMARY KEY, project INTEGER NOT NULL, key TEXT NOT NULL UNIQUE, task TEXT NOT NULL
    ) STRICT;
    """,
    # what reviewers decide on the queue
    """
    CREATE TABLE decisions (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, item TEXT NOT NULL,
        action TEXT NOT NULL CHECK (action IN ('approve', 'pin', 'set_aside', 'clear')),
        reason TEXT NOT NULL, who TEXT NOT NULL, at TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER decisions_kept BEFORE DELETE ON decisions
        BEGIN SELECT raise(ABORT, 'decisions are append-only'); END;
    """,
    # which project of Label Studio a task was sent to: whatever the labels are called later, it is there
    """
    ALTER TABLE tasks ADD COLUMN project INTEGER NOT NULL DEFAULT 0;
    """,
)


def _storable(text: str) -> str:
    # a file's name or a cut text may hold what UTF-8 does not
    return text.encode("utf-8", "backslashreplace").decode()


class Ledger:
    """One project's SQLite file. Reading never blocks; writing is one transaction a call."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.exists():
            raise UsageError(
                f"no ledger {path}: make the project with toughcall init, or restore the file from a backup"
            )
        self.path = path
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

    def __enter__(self) -> Self:
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

    def get(self, key: str, default: str = "") -> str:
        """Return a small stored value by name."""
        row = self.base.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def named(self, prefix: str) -> dict[str, str]:
        """Return the small values whose names begin so, by name."""
        rows = self.base.execute("SELECT key, value FROM meta WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))
        return {str(row[0]): str(row[1]) for row in rows}

    def rename(self, old: str, new: str) -> None:
        """Give a small value another name."""
        with self.transaction() as base:
            base.execute("UPDATE meta SET key = ? WHERE key = ?", (new, old))

    def put(self, key: str, value: str) -> None:
        """Store a small value by name."""
        with self.transaction() as base:
            base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

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
