"""The ledger: one SQLite file. Answers are append-only events; the current label is a view over them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toughcall.ledger import Ledger
from toughcall.records import Answer, Batch, IntegrityError, Label, Part, Pick, UsageError
from toughcall.schema import Schema, schema_from, value_of
from toughcall.voting import Decision, decided


class Store(Ledger):
    """One project's ledger: schemas, the split, batches and their tasks, answers."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        super().__init__(path, create=create)
        self._frozen: tuple[tuple[int, int], tuple[dict[str, Part], dict[str, str]]] | None = None

    # ---- settings, schemas, splits

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

    def parts_of(self, records: Iterable[str]) -> dict[str, Part]:
        """Return the part of each of some records that has one: a look-up by key, however large the split is."""
        rows = self.base.execute(
            "SELECT record, part FROM parts WHERE record IN (SELECT value FROM json_each(?))",
            (json.dumps(list(records)),),
        )
        return {row[0]: row[1] for row in rows}

    def held_out(self) -> list[str]:
        """Return the records of the test part, without loading the others."""
        return [str(row[0]) for row in self.base.execute("SELECT record FROM parts WHERE part = 'test'")]

    def split_stamp(self) -> tuple[int, int]:
        """Return what changes when records are given a part: it is only ever given, never taken or changed."""
        # two queries: together SQLite would walk through every row
        count, newest = self.base.execute(
            "SELECT (SELECT count(*) FROM parts), (SELECT coalesce(max(rowid), 0) FROM parts)"
        ).fetchone()
        return int(count), int(newest)

    def groups(self) -> dict[str, str]:
        """Return the group of every record that has one: records of one group never straddle a split."""
        return dict(self._split()[1])

    # ---- batches and their tasks

    def next_batch_name(self) -> str:
        """Return the name of the batch to come: b001, b002 and so on."""
        return f"b{int(self.base.execute('SELECT count(*) FROM batches').fetchone()[0]) + 1:03d}"

    def add_batch(self, batch: Batch, role: str = "") -> None:
        """Save a batch before anything of it is sent; `role` as in `voting`."""
        with self.transaction() as base:
            base.execute(
                "INSERT INTO batches (name, schema, model, shortfall, role) VALUES (?, ?, ?, ?, ?)",
                (batch.name, batch.schema, batch.model, json.dumps(dict(batch.shortfall)), role),
            )
            base.executemany(
                "INSERT INTO picks (batch, item, reason, score, rank, probability, note) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(batch.name, p.item, p.reason, p.score, p.rank, p.probability, p.note) for p in batch.picks],
            )

    def batches(self) -> list[dict[str, Any]]:
        """Return name, schema, model, state, role and counts of every batch, oldest first.

        `size` counts its items, `answered` those that have one answer, `waiting` those that lack one they are to get.
        """
        rows = self.base.execute(
            "WITH given AS (SELECT batch, item, count(DISTINCT annotator) AS n FROM current GROUP BY batch, item),"
            " wanted AS (SELECT batch, item, sum(CASE state WHEN 'gone' THEN 0 ELSE due END) AS n FROM tasks"
            "   WHERE state <> 'set_aside' GROUP BY batch, item),"
            " counts AS (SELECT p.batch AS name, count(*) AS size, sum(g.n IS NOT NULL) AS answered,"
            "   sum(p.state <> 'set_aside' AND coalesce(g.n, 0) < coalesce(w.n, 1)) AS waiting"
            "   FROM picks p LEFT JOIN given g USING (batch, item) LEFT JOIN wanted w USING (batch, item)"
            "   GROUP BY p.batch)"
            " SELECT name, schema, model, state, role, shortfall, coalesce(size, 0), coalesce(answered, 0),"
            " coalesce(waiting, 0) FROM batches LEFT JOIN counts USING (name) ORDER BY seq"
        )
        names = ("name", "schema", "model", "state", "role", "shortfall", "size", "answered", "waiting")
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

    def adopt_planned(self, schema: str) -> None:
        """Let batches of which nothing was sent ask for the labels of another schema."""
        with self.transaction() as base:
            base.execute(
                "UPDATE batches SET schema = ? WHERE state = 'planned'"
                " AND name NOT IN (SELECT batch FROM tasks WHERE project > 0)",
                (schema,),
            )

    def adopt_batch(self, name: str, schema: str) -> None:
        """Let a batch of which nothing arrived ask for the labels of another schema, in whatever project it gets."""
        with self.transaction() as base:
            base.execute("UPDATE batches SET schema = ? WHERE name = ?", (schema, name))
            base.execute("UPDATE tasks SET project = 0 WHERE batch = ?", (name,))

    def add_tasks(self, batch: str, due: Mapping[tuple[str, str], int]) -> None:
        """Note who is to answer what: (item, expert) → how many answers; what is noted already stays as it is."""
        with self.transaction() as base:
            base.executemany(
                "INSERT OR IGNORE INTO tasks (batch, item, expert, due) VALUES (?, ?, ?, ?)",
                [(batch, item, expert, n) for (item, expert), n in due.items()],
            )

    def tasks(self, batch: str = "") -> list[tuple[str, str, str, int, str]]:
        """Return (batch, item, expert, answers due, state) of a batch's tasks, of all batches for ""."""
        rows = self.base.execute(
            "SELECT batch, item, expert, due, state FROM tasks WHERE ? IN ('', batch) ORDER BY batch, item, expert",
            (batch,),
        )
        return [(str(r[0]), str(r[1]), str(r[2]), int(r[3]), str(r[4])) for r in rows]

    def place_tasks(self, batch: str, expert: str, project: int) -> None:
        """Note, before anything of it is sent, which project of Label Studio an expert's part of a batch goes to."""
        with self.transaction() as base:
            base.execute(
                "UPDATE tasks SET project = ? WHERE batch = ? AND expert = ? AND project = 0", (project, batch, expert)
            )

    def placed(self) -> dict[tuple[str, str], int]:
        """Return the project of each (batch, expert) that was sent or begun to be sent."""
        rows = self.base.execute("SELECT DISTINCT batch, expert, project FROM tasks WHERE project > 0")
        return {(str(row[0]), str(row[1])): int(row[2]) for row in rows}

    def mark_tasks(self, batch: str, expert: str, items: Iterable[str], state: str) -> None:
        """Set the state of one expert's tasks: planned, sent, gone or set_aside."""
        with self.transaction() as base:
            base.executemany(
                "UPDATE tasks SET state = ? WHERE batch = ? AND expert = ? AND item = ?",
                [(state, batch, expert, item) for item in items],
            )

    def seen(self, project: int) -> dict[int, int]:
        """Return how many answers each task of a Label Studio project had when it was last read."""
        rows = self.base.execute("SELECT task, answers FROM seen WHERE project = ?", (project,))
        return {int(row[0]): int(row[1]) for row in rows}

    def mark_seen(self, project: int, answers: Mapping[int, int], *, whole: bool = False) -> None:
        """Note how many answers tasks have; `whole`: these are all tasks that have any."""
        with self.transaction() as base:
            if whole:
                base.execute("DELETE FROM seen WHERE project = ?", (project,))
            base.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", [(project, task, n) for task, n in answers.items()]
            )

    def asked(self) -> set[str]:
        """Return every item that was ever put in a batch, has an answer, or was set aside: never asked again (C29)."""
        aside = {one.item for one in self.decisions() if one.action == "set_aside"}
        return aside | {row[0] for row in self.base.execute("SELECT item FROM picks UNION SELECT item FROM answers")}

    def picks(self) -> list[tuple[str, Pick]]:
        """Return (batch, pick) for every pick ever made."""
        rows = self.base.execute(
            "SELECT batch, item, reason, score, rank, probability, note FROM picks ORDER BY batch, rank, item"
        )
        return [(row[0], Pick(*row[1:])) for row in rows]

    def add_decisions(self, decisions: Sequence[Decision]) -> int:
        """Append what reviewers decided on items of the queue; return how many are new: the same id twice is one (C80).

        An item that is set aside leaves the batches that are not sent yet. It comes back to its place in them with the
        decision that takes this back, but not to a batch whose tasks were given out meanwhile: it has none there.
        """
        unsent = "item = ? AND batch IN (SELECT name FROM batches WHERE state = 'planned')"
        given = "batch NOT IN (SELECT batch FROM tasks) OR (batch, item) IN (SELECT batch, item FROM tasks)"
        new = 0
        with self.transaction() as base:
            for one in decisions:
                last = base.execute(
                    "SELECT action FROM decisions WHERE item = ? ORDER BY seq DESC LIMIT 1", (one.item,)
                ).fetchone()
                added = base.execute(
                    "INSERT OR IGNORE INTO decisions (id, item, action, reason, who, at) VALUES (?, ?, ?, ?, ?, ?)",
                    dataclasses.astuple(one),
                ).rowcount
                if not added:
                    continue
                new += 1
                if one.action == "set_aside":
                    base.execute(f"UPDATE picks SET state = 'set_aside' WHERE {unsent}", (one.item,))
                elif last == ("set_aside",):
                    base.execute(
                        f"UPDATE picks SET state = 'planned' WHERE state = 'set_aside' AND {unsent} AND ({given})",
                        (one.item,),
                    )
        return new

    def decisions(self, *, history: bool = False) -> list[Decision]:
        """Return the newest decision on each item, or with `history` every one, oldest first."""
        last = "" if history else " WHERE seq IN (SELECT max(seq) FROM decisions GROUP BY item)"
        rows = self.base.execute(f"SELECT id, item, action, reason, who, at FROM decisions{last} ORDER BY seq")
        return [Decision(*row) for row in rows]

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

    def meanings(self, schema: str) -> dict[str, dict[str, str]]:
        """Return, for each other schema version whose labels were said to mean some of this one, what each means."""
        found: dict[str, dict[str, str]] = {}
        for _, event in self.events("mapping"):
            if event["to"] == schema:
                found |= event["from"]
        return found

    def valid(self, schema: str) -> list[Answer]:
        """Return the current answers that say something under a schema: given under it, or translated to it."""
        means = self.meanings(schema)
        target = self.schema(schema) if means else None
        found: list[Answer] = []
        for answer in self.answers():
            if answer.schema == schema:
                found.append(answer)
            elif target is not None and answer.schema in means and answer.outcome == "label":
                value = target.translated(answer.value, means[answer.schema])
                if value is not None:
                    found.append(dataclasses.replace(answer, value=value, schema=schema))
        return found

    def labels(self, schema: str) -> tuple[list[Label], list[str]]:
        """Return (agreed labels by item id, ids in disagreement) of one schema version, by `voting.decided`."""
        return decided(self.valid(schema))

    def add_raw(self, project: int, tasks: Mapping[str, str]) -> None:
        """Keep tasks that hold an answer which could not be read, as they came: digest → JSON."""
        with self.transaction() as base:
            base.executemany(
                "INSERT OR IGNORE INTO raw (project, key, task) VALUES (?, ?, ?)",
                [(project, key, task) for key, task in tasks.items()],
            )

    def raw(self) -> list[tuple[int, str]]:
        """Return (project, JSON of the task) of everything that could not be read, oldest first."""
        rows = self.base.execute("SELECT project, task FROM raw ORDER BY seq")
        return [(int(row[0]), str(row[1])) for row in rows]

    def answered_schemas(self) -> dict[str, int]:
        """Return how many current labels there are under each schema version."""
        rows = self.base.execute("SELECT schema, count(*) FROM current WHERE outcome = 'label' GROUP BY schema")
        return {str(row[0]): int(row[1]) for row in rows}
