"""The unlabelled pool: immutable Parquet shards named by their content, queried with DuckDB.

A shard is complete or absent (written aside, synced, renamed), so a killed import leaves whole shards
and the same command adds only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toughcall.files import write_atomically
from toughcall.reading import Row, twin_key
from toughcall.records import IntegrityError, Item, Pair, SetAside, Text, Value, digest

SHARD = 20_000
"""Items per shard: the unit that a killed import can lose."""


@dataclass
class Added:
    """What an import did; read = new + known + set aside, always."""

    read: int = 0
    new: int = 0
    known: int = 0
    twins: int = 0
    long: int = 0
    labels: list[tuple[str, Value]] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


class Pool:
    """All records, and for kinds of two records the pairs between them, of one project folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _shards(self, what: str) -> list[Path]:
        return sorted(self.folder.glob(f"{what}-*.parquet"))

    def sql(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a DuckDB query over the views `texts` (id, key, text, grp, twin) and `pairs` (id, a, b, origin).

        Raises IntegrityError when a shard cannot be read.
        """
        import duckdb

        with duckdb.connect(":memory:") as base:
            base.execute("SET threads = 2")
            for what, columns in (("texts", "id, key, text, grp, twin"), ("pairs", "id, a, b, origin")):
                shards = [str(path) for path in self._shards(what)]
                try:
                    if shards:
                        base.read_parquet(shards).create_view(what)
                    else:
                        empty = ", ".join(f"NULL::VARCHAR AS {name}" for name in columns.split(", "))
                        base.execute(f"CREATE VIEW {what} AS SELECT {empty} WHERE false")
                except duckdb.Error as error:
                    raise IntegrityError(
                        f"the pool in {self.folder} is damaged ({_first_line(error)}): run toughcall doctor"
                    ) from None
            return base.execute(query, list(values)).fetchall()

    def counts(self) -> tuple[int, int]:
        """Return how many records and how many pairs are stored."""
        texts, pairs = self.sql("SELECT (SELECT count(*) FROM texts), (SELECT count(*) FROM pairs)")[0]
        return int(texts), int(pairs)

    def texts(self, ids: Collection[str] | None = None) -> list[Text]:
        """Return all records, or those with the given ids, ordered by id."""
        if ids is None:
            found = self.sql("SELECT text, key, grp FROM texts ORDER BY id")
        else:
            found = self.sql(
                "SELECT text, key, grp FROM texts WHERE id IN (SELECT unnest(?)) ORDER BY id", [sorted(ids)]
            )
        return [Text(*row) for row in found]

    def pairs(self, ids: Collection[str] | None = None) -> list[Pair]:
        """Return all stored pairs, or those with the given ids, ordered by id."""
        where = "" if ids is None else "WHERE pairs.id IN (SELECT unnest(?))"
        found = self.sql(
            "SELECT x.text, x.key, x.grp, y.text, y.key, y.grp FROM pairs "
            f"JOIN texts x ON x.id = pairs.a JOIN texts y ON y.id = pairs.b {where} ORDER BY pairs.id",
            () if ids is None else [sorted(ids)],
        )
        return [Pair(Text(*row[:3]), Text(*row[3:])) for row in found]

    def items(self, ids: Collection[str]) -> dict[str, Item]:
        """Return the items with the given ids, records and pairs alike; an unknown id is absent."""
        found: list[Item] = [*self.texts(ids), *self.pairs(ids)]
        return {item.id: item for item in found}

    def add(self, rows: Iterable[Row | SetAside], progress: Callable[[int], None] | None = None) -> Added:
        """Store what is new, shard by shard; the same file twice adds nothing."""
        keys: dict[str, str] = {}
        twins: dict[str, str] = {}
        known: set[str] = set()
        for one, key, twin in self.sql("SELECT id, key, twin FROM texts"):
            known.add(one)
            twins[twin] = one
            if key:
                keys[key] = one
        known.update(row[0] for row in self.sql("SELECT id FROM pairs"))
        added = Added()
        texts: list[Text] = []
        pairs: list[Pair] = []
        for row in rows:
            added.read += 1
            if isinstance(row, SetAside):
                added.set_aside.append(row)
                continue
            clash = next((t for t in row.item.texts if t.key and keys.get(t.key, t.id) != t.id), None)
            if clash is not None:
                added.set_aside.append(
                    SetAside(
                        row.where, f"id conflict: {clash.key!r} is already stored with another text", clash.text[:200]
                    )
                )
                continue
            if row.value is not None:
                added.labels.append((row.item.id, row.value))
            if row.item.id in known:
                added.known += 1
                continue
            added.new += 1
            added.long += row.long
            known.add(row.item.id)
            for text in row.item.texts:
                if text.key:
                    keys[text.key] = text.id
                if text.id in known and isinstance(row.item, Pair):
                    continue
                known.add(text.id)
                texts.append(text)
                twin = digest("twin", twin_key(text.text))
                added.twins += twin in twins
                twins[twin] = text.id
            if isinstance(row.item, Pair):
                pairs.append(row.item)
            if len(texts) >= SHARD or len(pairs) >= SHARD:
                self._write(texts, pairs)
                texts, pairs = [], []
            if progress and added.read % 1000 == 0:
                progress(added.read)
        self._write(texts, pairs)
        if progress:
            progress(added.read)
        return added

    def add_pairs(self, pairs: Iterable[tuple[str, str]], origin: str) -> int:
        """Store candidate pairs between stored records, given by their ids; return how many are new."""
        known = {row[0] for row in self.sql("SELECT id FROM pairs")}
        wanted = list(pairs)
        texts = {text.id: text for text in self.texts({one for pair in wanted for one in pair})}
        new: dict[str, Pair] = {}
        for a, b in wanted:
            pair = Pair(texts[a], texts[b])
            if pair.id not in known:
                new[pair.id] = pair
        made = sorted(new.values(), key=lambda pair: pair.id)
        for start in range(0, len(made), SHARD):
            self._write([], made[start : start + SHARD], origin)
        return len(made)

    def _write(self, texts: Sequence[Text], pairs: Sequence[Pair], origin: str = "import") -> None:
        # texts first: a pair whose records are missing must never be seen
        if texts:
            rows = [
                {"id": t.id, "key": t.key, "text": t.text, "grp": t.group, "twin": digest("twin", twin_key(t.text))}
                for t in texts
            ]
            self._shard("texts", rows)
        if pairs:
            self._shard("pairs", [{"id": p.id, "a": p.a.id, "b": p.b.id, "origin": origin} for p in pairs])

    def _shard(self, what: str, rows: list[dict[str, str]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = digest("shard", [row["id"] for row in rows])[:16]
        table = pa.table({key: pa.array([row[key] for row in rows], pa.string()) for key in rows[0]})
        write_atomically(self.folder / f"{what}-{name}.parquet", lambda path: pq.write_table(table, path))

    def damage(self) -> Iterator[str]:
        """Yield one sentence for each shard that cannot be read or does not hold what its name says."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for what in ("texts", "pairs"):
            for path in self._shards(what):
                try:
                    ids = pq.read_table(path, columns=["id"]).column("id").to_pylist()
                except (pa.ArrowInvalid, OSError, KeyError) as error:
                    yield f"{path} cannot be read ({_first_line(error)}): delete it and import its file again"
                    continue
                if path.name != f"{what}-{digest('shard', ids)[:16]}.parquet":
                    yield f"{path} does not hold the items its name says: delete it and import its file again"
