"""The saved scores as the page sees them: DuckDB counts and cuts, and what was counted once is remembered.

What is remembered belongs to one file as it is now: its path, size, inode and time of change are part of the key,
so that neither another project nor newer scores are ever answered from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from toughcall.pool import Pool
from toughcall.records import IntegrityError
from toughcall.review.live import Live, Scored
from toughcall.store import Store

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

Rows: TypeAlias = tuple[tuple[Any, ...], ...]
Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Name, size, inode and time of change of some files."""
Split: TypeAlias = tuple[Stamp, Path, Path, str, tuple[int, int]]
"""What the held-out items depend on: the pool and its folder, the ledger, where items are kept, the split's stamp."""

BINS = 40
"""Bars of the histogram: 0.4 and 0.6 are edges of bars."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of calibrated scores: `bars` has low, high, count for each of the `BINS` bars.

    `classes` has class and count of the items in the band, the most first; `only` is the class that the model takes
    every item for, "" where it tells several apart.
    """

    bars: pd.DataFrame
    total: int
    in_band: int
    classes: pd.DataFrame
    only: str = ""


def stamp(paths: Sequence[Path]) -> Stamp:
    """Return what changes when one of some files does."""
    found = [(path, path.stat()) for path in paths]
    return tuple((str(path), seen.st_size, seen.st_ino, seen.st_mtime_ns) for path, seen in found)


@lru_cache(maxsize=1)
def _base() -> duckdb.DuckDBPyConnection:
    """Return one database for every query of the scores: a new one for each would take longer than some queries do."""
    import duckdb

    # what is remembered of a file is remembered here, by more than its name
    return duckdb.connect(":memory:", config={"enable_external_file_cache": "false"})


@lru_cache(maxsize=128)
def _asked(_: Stamp, query: str, values: tuple[Any, ...], split: Split | None) -> Rows:
    with _base().cursor() as base:
        if split:
            base.register("held", _held(*split))
        return tuple(base.execute(query, _lists(values)).fetchall())


@lru_cache(maxsize=128)
def _asked_pool(_: Stamp, folder: Path, query: str, values: tuple[Any, ...], split: Split | None) -> Rows:
    return tuple(Pool(folder).sql(query, _lists(values), {"held": _held(*split)} if split else None))


@lru_cache(maxsize=2)
def _held(_: Stamp, folder: Path, ledger: Path, what: str, split: tuple[int, int]) -> pa.Table:
    """Return the ids of the items that have a held-out record: read again only when pool or split have changed."""
    import pyarrow as pa

    with Store(ledger) as store:
        records = store.held_out()
    if what != "texts":
        sides = {"pairs": "a IN (FROM test) OR b IN (FROM test)", "relations": "text IN (FROM test)"}
        query = f"WITH test AS (SELECT unnest(?::VARCHAR[])) SELECT id FROM {what} WHERE {sides[what]}"
        records = [row[0] for row in Pool(folder).sql(query, [records])]
    return pa.table({"id": pa.array(records, pa.string())})


def split_of(live: Live) -> Split:
    """Return what the held-out items depend on: a query given it may name them, as the table `held`."""
    return pool_stamp(live), live.project.pool, live.project.ledger, live.kind.items, live.store.split_stamp()


def _lists(values: Sequence[Any]) -> list[Any]:
    # what is remembered by its values needs tuples, DuckDB takes lists
    return [list(one) if isinstance(one, tuple) else one for one in values]


def _tuples(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tuple(one) if isinstance(one, list) else one for one in values)


def rows(live: Live, scored: Scored, query: str, values: Sequence[Any] = (), split: Split | None = None) -> Rows:
    """Query the scores, which are the table of the first `?`; what was asked before is not computed again.

    Raises IntegrityError for a file that turns out damaged.
    """
    import duckdb

    try:
        return _asked(stamp([scored.path]), query, (str(scored.path), *_tuples(values)), split)
    except (duckdb.Error, OSError) as error:
        raise live.damaged(scored.path, error) from None


def pool_rows(
    live: Live, query: str, values: Sequence[Any] = (), beside: Sequence[Path] = (), split: Split | None = None
) -> Rows:
    """Query `texts`, `pairs` and `relations`, and files `beside` them; what was asked before is not computed again."""
    import duckdb

    folder = live.project.pool
    try:
        return _asked_pool((*pool_stamp(live), *stamp(beside)), folder, query, _tuples(values), split)
    except duckdb.Error as error:
        problem = str(error).splitlines()[0][:100]
        raise IntegrityError(f"the pool in {folder} is damaged ({problem}): run toughcall doctor") from None


def pool_stamp(live: Live) -> Stamp:
    """Return what changes when a shard of the pool is added, removed or damaged."""
    return stamp(sorted(live.project.pool.glob("*.parquet")))


def name_sql(label: str) -> str:
    """Return the quoted name of a label's column: a label is any printable text."""
    return '"p:' + label.replace('"', '""') + '"'


def score_sql(live: Live, scored: Scored, column: str) -> str:
    """Return SQL for the score of a row: what the band is held against.

    With a column it is that class's probability. Without one it is what mining uses: where classes compete,
    the likeliest class against the runner-up, P(first) / (P(first) + P(second)); else the probability
    nearest to 0.5; without classes, what the model expects to miss by.
    """
    if not live.kind.labelled:
        return "uncertainty"
    names = [name_sql(label) for label in scored.labels]
    if column in scored.labels or len(names) == 1:
        return name_sql(column) if column in scored.labels else names[0]
    if live.schema.single:
        return "1 - uncertainty / 2"
    return f"[{', '.join(names)}][{_nearest(live, names)}]"


def place_sql(live: Live, scored: Scored) -> str:
    """Return SQL for the place in `guesses` of the class named beside a score: the likeliest, or nearest to 0.5."""
    names = [name_sql(label) for label in scored.labels]
    if not live.kind.labelled:
        return "NULL"
    return f"CASE WHEN {names[0]} >= 0.5 THEN 1 ELSE 2 END" if len(names) == 1 else _nearest(live, names)


def guesses(live: Live, scored: Scored) -> tuple[str, ...]:
    """Return the classes that may be named beside a score; none where numbers are asked."""
    if not live.kind.labelled:
        return ()
    if len(scored.labels) > 1:
        return scored.labels
    return (scored.labels[0], next((label for label in live.schema.labels if label != scored.labels[0]), ""))


def _nearest(live: Live, names: Sequence[str]) -> str:
    rank = list(names) if live.schema.single else [f"-abs({name} - 0.5)" for name in names]
    return f"list_position([{', '.join(rank)}], greatest({', '.join(rank)}))"


def score_name(live: Live, column: str) -> str:
    """Return what the score of a row is, in words."""
    if not live.kind.labelled:
        return "half the 90 % interval, as a share of the range"
    scored = live.scored
    if column or (scored is not None and len(scored.labels) == 1):
        return f"probability of {column or (scored.labels[0] if scored else '')}"
    return "likeliest class against the runner-up" if live.schema.single else "probability nearest to 0.5"


def score_start(live: Live, column: str, low: float) -> float:
    """Return where the scale of scores starts: the likeliest of two classes is never below 0.5."""
    two = live.schema.single and not column and live.scored is not None and len(live.scored.labels) > 1
    return min(0.4, low) if two else 0.0


def histogram(live: Live, column: str, low: float, high: float) -> Histogram | None:
    """Count the scores in equal bars, and the classes inside a band with both its ends; None before any scores."""
    import pandas as pd

    scored = live.scored
    if scored is None:
        return None
    score = f"({score_sql(live, scored, column)})::FLOAT"
    counted = rows(
        live,
        scored,
        f"WITH s AS (SELECT {score} AS score FROM read_parquet(?))"
        " SELECT least(floor(score * ?::FLOAT)::INTEGER, ?), count(*),"
        " count(*) FILTER (WHERE score BETWEEN ?::FLOAT AND ?::FLOAT) FROM s GROUP BY 1",
        [BINS, BINS - 1, low, high],
    )
    found = {int(bar): (int(count), int(inside)) for bar, count, inside in counted}
    bars = pd.DataFrame(
        {
            "low": [bar / BINS for bar in range(BINS)],
            "high": [(bar + 1) / BINS for bar in range(BINS)],
            "count": [found.get(bar, (0, 0))[0] for bar in range(BINS)],
        }
    )
    inside = sum(n for _, n in found.values())
    names, classes = guesses(live, scored), pd.DataFrame({"class": [], "count": []})
    if names and inside:
        each = rows(
            live,
            scored,
            f"SELECT {place_sql(live, scored)}, count(*) FROM read_parquet(?)"
            f" WHERE {score} BETWEEN ?::FLOAT AND ?::FLOAT GROUP BY 1 ORDER BY 2 DESC, 1",
            [low, high],
        )
        classes = pd.DataFrame([(names[place - 1], count) for place, count in each], columns=["class", "count"])
    return Histogram(bars, sum(n for n, _ in found.values()), inside, classes, _only(live, scored, names))


def _only(live: Live, scored: Scored, names: Sequence[str]) -> str:
    """Return the one of several classes that every item is taken for, "" where they differ or do not compete."""
    if len(names) < 2 or not live.schema.single:
        return ""
    place = f"({place_sql(live, scored)})"
    # the first row that differs ends the search
    first = rows(live, scored, f"SELECT {place} FROM read_parquet(?) LIMIT 1")
    other = first and rows(live, scored, f"SELECT 1 FROM read_parquet(?) WHERE {place} <> ? LIMIT 1", [first[0][0]])
    return names[first[0][0] - 1] if first and not other else ""
