"""The unlabelled pool: immutable Parquet shards named by their content, queried with DuckDB.

A shard is complete or absent (written aside, synced, renamed), so a killed import leaves whole shards
and the same command adds only what is missing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toughcall.files import write_atomically
from toughcall.reading import Row
from toughcall.records import IntegrityError, Item, Pair, Relation, SetAside, Span, Text, Value, digest

if TYPE_CHECKING:
    import pyarrow as pa

SHARD = 20_000
"""Items per shard: the unit that a killed import can lose."""

TABLES: dict[str, dict[str, str]] = {
    "texts": dict.fromkeys(("id", "key", "text", "grp", "twin", "block"), "VARCHAR") | {"time": "DOUBLE"},
    "pairs": dict.fromkeys(("id", "a", "b", "origin"), "VARCHAR") | {"cosine": "DOUBLE", "probability": "DOUBLE"},
    "relations": {"id": "VARCHAR", "text": "VARCHAR"}
    | {"s_start": "BIGINT", "s_end": "BIGINT", "s_type": "VARCHAR"}
    | {"o_start": "BIGINT", "o_end": "BIGINT", "o_type": "VARCHAR"}
    | {"origin": "VARCHAR"},
}
"""The columns of each table; `text` of a relation is its record's id. Texts come first: the others name them.

Of a mined pair, `cosine` and `probability` (its chance of being a candidate) are stored; of an imported one they
are not known.
"""


@dataclass(frozen=True, slots=True)
class Odds:
    """How a pair came to be a candidate: its origin, and where it was mined its cosine and chance."""

    origin: str
    cosine: float | None = None
    probability: float | None = None


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


def twin_key(text: str) -> str:
    """Return the text as a careless reader sees it: NFKC, case folded, white space squeezed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


class Pool:
    """All records of one project folder, and what is made of them: pairs of records, relations within one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: tuple[list[tuple[str, int, int]], dict[str, Text]] = ([], {})
        """All records by id, and the shards they were read from: one command asks for them many times."""

    def _shards(self, what: str) -> list[Path]:
        return sorted(self.folder.glob(f"{what}-*.parquet"))

    def _state(self) -> list[tuple[str, int, int]]:
        """Return what changes when a shard of records is added, removed or damaged."""
        seen = [(path.name, path.stat()) for path in self._shards("texts")]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in seen]

    def sql(
        self, query: str, values: Sequence[Any] = (), beside: Mapping[str, pa.Table] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a DuckDB query over the views `texts`, `pairs` and `relations`, with the columns of `TABLES`.

        `beside`: Arrow tables that the query also names. Raises IntegrityError when a shard cannot be read.
        """
        import duckdb

        with duckdb.connect(":memory:") as base:
            base.execute("SET threads = 2")
            for what, columns in TABLES.items():
                shards = [str(path) for path in self._shards(what)]
                empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
                base.execute(f"CREATE VIEW {what}_empty AS SELECT {empty} WHERE false")
                try:
                    if shards:
                        base.read_parquet(shards, union_by_name=True).create_view(f"{what}_shards")
                    else:
                        base.execute(f"CREATE VIEW {what}_shards AS FROM {what}_empty")
                    # shards of an older toughcall lack columns; a text they do not have is empty, not unknown
                    full = ", ".join(f"coalesce({name}, '') AS {name}" if name == "block" else name for name in columns)
                    base.execute(
                        f"CREATE VIEW {what} AS SELECT {full} FROM "
                        f"(FROM {what}_empty UNION ALL BY NAME FROM {what}_shards)"
                    )
                except duckdb.Error as error:
                    raise IntegrityError(
                        f"the pool in {self.folder} is damaged ({_first_line(error)}): run toughcall doctor"
                    ) from None
            for name, table in (beside or {}).items():
                base.register(name, table)
            return base.execute(query, list(values)).fetchall()

    def counts(self) -> tuple[int, int, int]:
        """Return how many records, pairs and relations are stored: shards say it at their end, so none is read."""
        texts, pairs, relations = (sum(map(self._size, self._shards(what))) for what in TABLES)
        return texts, pairs, relations

    def _size(self, shard: Path) -> int:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return int(pq.read_metadata(shard).num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(
                f"the pool in {self.folder} is damaged ({_first_line(error)}): run toughcall doctor"
            ) from None

    def texts(self, ids: Collection[str] | None = None) -> list[Text]:
        """Return all records, or those with the given ids, ordered by id."""
        state = self._state()
        if state == self._read[0]:
            known = self._read[1]
            return list(known.values()) if ids is None else [known[one] for one in sorted(set(ids)) if one in known]
        if ids is not None and not ids:
            return []
        where = "" if ids is None else "WHERE id IN (SELECT unnest(?))"
        found = self.sql(
            f"SELECT id, text, key, grp, block, time FROM texts {where} ORDER BY id",
            () if ids is None else [sorted(ids)],
        )
        known = {row[0]: Text(*row[1:]) for row in found}
        if ids is None:
            self._read = (state, known)
        return list(known.values())

    def pairs(self, ids: Collection[str] | None = None) -> list[Pair]:
        """Return all stored pairs, or those with the given ids, ordered by id."""
        if ids is not None and not ids:
            return []
        where = "" if ids is None else "WHERE pairs.id IN (SELECT unnest(?))"
        found = self.sql(
            "SELECT x.text, x.key, x.grp, x.block, x.time, y.text, y.key, y.grp, y.block, y.time FROM pairs "
            f"JOIN texts x ON x.id = pairs.a JOIN texts y ON y.id = pairs.b {where} ORDER BY pairs.id",
            () if ids is None else [sorted(ids)],
        )
        return [Pair(Text(*row[:5]), Text(*row[5:])) for row in found]

    def relations(self, ids: Collection[str] | None = None) -> list[Relation]:
        """Return all stored relations, or those with the given ids, ordered by id."""
        if ids is not None and not ids:
            return []
        where = "" if ids is None else "WHERE r.id IN (SELECT unnest(?))"
        found = self.sql(
            "SELECT x.text, x.key, x.grp, x.block, x.time, s_start, s_end, s_type, o_start, o_end, o_type "
            f"FROM relations r JOIN texts x ON x.id = r.text {where} ORDER BY r.id",
            () if ids is None else [sorted(ids)],
        )
        return [Relation(Text(*row[:5]), Span(*row[5:8]), Span(*row[8:])) for row in found]

    def items(self, ids: Collection[str], what: str = "") -> dict[str, Item]:
        """Return the items with the given ids, whatever they are; an unknown id is absent.

        `what` is the table that holds them, where it is known: the others are not looked through.
        """
        if what:
            kept: dict[str, Callable[[Collection[str]], Sequence[Item]]] = {
                "texts": self.texts,
                "pairs": self.pairs,
                "relations": self.relations,
            }
            return {item.id: item for item in kept[what](ids)}
        found: dict[str, Item] = {text.id: text for text in self.texts(ids)}
        rest = set(ids).difference(found)
        for made in (self.pairs, self.relations) if rest else ():
            found |= {item.id: item for item in made(rest)}
        return found

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
        known.update(row[0] for row in self.sql("SELECT id FROM pairs UNION ALL SELECT id FROM relations"))
        added = Added()
        texts: list[Text] = []
        made: list[Pair | Relation] = []
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
                if text.id in known and not isinstance(row.item, Text):
                    continue
                known.add(text.id)
                texts.append(text)
                twin = digest("twin", twin_key(text.text))
                added.twins += twin in twins
                twins[twin] = text.id
            if not isinstance(row.item, Text):
                made.append(row.item)
            if len(texts) >= SHARD or len(made) >= SHARD:
                self._write(texts, made)
                texts, made = [], []
            if progress and added.read % 1000 == 0:
                progress(added.read)
        self._write(texts, made)
        if progress:
            progress(added.read)
        return added

    def pair_odds(self, ids: Collection[str] | None = None) -> dict[str, Odds]:
        """Return how all stored pairs, or those with the given ids, came to be candidates; an unknown id is absent."""
        where = "" if ids is None else "WHERE id IN (SELECT unnest(?))"
        found = self.sql(
            f"SELECT id, origin, cosine, probability FROM pairs {where} ORDER BY id",
            () if ids is None else [sorted(ids)],
        )
        return {row[0]: Odds(*row[1:]) for row in found}

    def add_pairs(self, pairs: Iterable[tuple[str, str]], odds: str | Sequence[Odds]) -> int:
        """Store candidate pairs between stored records, given by their ids; return how many are new.

        `odds`: how each pair came to be a candidate, or one origin for all. What is stored already stays as it was.
        """
        known = {row[0] for row in self.sql("SELECT id FROM pairs")}
        wanted = list(pairs)
        texts = {text.id: text for text in self.texts({one for pair in wanted for one in pair})}
        each = [Odds(odds)] * len(wanted) if isinstance(odds, str) else odds
        new: dict[str, tuple[Pair, Odds]] = {}
        for (a, b), known_odds in zip(wanted, each, strict=True):
            pair = Pair(texts[a], texts[b])
            if pair.id not in known:
                new[pair.id] = (pair, known_odds)
        made = [new[one] for one in sorted(new)]
        for start in range(0, len(made), SHARD):
            some = made[start : start + SHARD]
            self._shard("pairs", [(p.id, p.a.id, p.b.id, o.origin, o.cosine, o.probability) for p, o in some])
        return len(made)

    def _write(self, texts: Sequence[Text], made: Sequence[Pair | Relation]) -> None:
        # texts first: a pair or relation whose records are missing must never be seen
        twins = [digest("twin", twin_key(t.text)) for t in texts]
        self._shard(
            "texts",
            [(t.id, t.key, t.text, t.group, twin, t.block, t.time) for t, twin in zip(texts, twins, strict=True)],
        )
        self._shard("pairs", [(p.id, p.a.id, p.b.id, "import", None, None) for p in made if isinstance(p, Pair)])
        self._shard("relations", [(r.id, r.record.id, *r.spans, "import") for r in made if isinstance(r, Relation)])

    def _shard(self, what: str, rows: Sequence[tuple[Any, ...]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not rows:
            return
        types = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64()}
        name = digest("shard", [row[0] for row in rows])[:16]
        cells = zip(TABLES[what].items(), zip(*rows, strict=True), strict=True)
        table = pa.table({column: pa.array(values, types[kind]) for (column, kind), values in cells})
        write_atomically(self.folder / f"{what}-{name}.parquet", lambda path: pq.write_table(table, path))

    def damage(self) -> Iterator[str]:
        """Yield one sentence for each shard that cannot be read or does not hold what its name says."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for what in TABLES:
            for path in self._shards(what):
                try:
                    ids = pq.read_table(path, columns=["id"]).column("id").to_pylist()
                except (pa.ArrowInvalid, OSError, KeyError) as error:
                    yield f"{path} cannot be read ({_first_line(error)}): delete it and import its file again"
                    continue
                if path.name != f"{what}-{digest('shard', ids)[:16]}.parquet":
                    yield f"{path} does not hold the items its name says: delete it and import its file again"
