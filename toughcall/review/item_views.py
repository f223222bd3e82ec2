"""One item of the queue in full: its records, what the model says of it, why it is here, what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from toughcall.pool import Pool
from toughcall.records import Answer, Item, Pick, Relation
from toughcall.review.asked_views import Answers, Picks
from toughcall.review.live import Live, Scored
from toughcall.review.plain import short
from toughcall.review.score_views import Stamp, name_sql, pool_stamp, rows
from toughcall.schema import numbers_of

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 20_000
"""Characters of one text that are sent to the browser."""
PARTS = {
    "cosine": "cosine of the encoder",
    "tfidf": "cosine of the words",
    "density": "how crowded it is around it",
    "spread": "half the 90 % interval",
}
"""What a part of a score is, in words; any other part stands under its own name."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One item in full: (key, text) of each of its records, what the model says of it, why it was asked, answers.

    `chances` has class and p; `numbers` has dimension, predicted and range; `parts` has what the score was made of
    and its value; each is empty where there is none. `place` is (its place by uncertainty, how many are scored).
    """

    item: str
    texts: tuple[tuple[str, str], ...]
    chances: pd.DataFrame
    numbers: pd.DataFrame
    picks: tuple[tuple[str, Pick], ...] = ()
    answers: tuple[Answer, ...] = ()
    cut: bool = False
    parts: tuple[tuple[str, float], ...] = ()
    place: tuple[int, int] = (0, 0)
    record: Item | None = None


def held_out(live: Live, records: Sequence[str]) -> set[str]:
    """Return which of some records are held out; one look-up by key, since a split may hold millions."""
    return {record for record, part in live.store.parts_of(records).items() if part == "test"}


def item_of(live: Live, item: str) -> Item | None:
    """Return one item of the pool, None when it is not there; looking it up in a large pool takes a while, once."""
    return live.shown.get(item) or _item(pool_stamp(live), live.project.pool, live.kind.items, item)


@lru_cache(maxsize=32)
def _item(_: Stamp, folder: Path, what: str, item: str) -> Item | None:
    return Pool(folder).items([item], what).get(item)


Line: TypeAlias = tuple[str, str, tuple[str, ...]]
"""One or two texts on one line each, cut, and the ids of the records."""


def lines(live: Live, ids: Sequence[str]) -> dict[str, Line]:
    """Return the lines of some items by id; what is not in the pool is absent.

    What was read for it need not be looked up again when one of them is read in full.
    """
    wanted = tuple(sorted(set(ids)))
    if not wanted:
        return {}
    found, short_ones = _lines(pool_stamp(live), live.project.pool, live.kind.items, wanted)
    live.shown.update(short_ones)
    return found


@lru_cache(maxsize=16)
def _lines(_: Stamp, folder: Path, what: str, ids: tuple[str, ...]) -> tuple[dict[str, Line], dict[str, Item]]:
    """Return the lines of some items, and of these items those that are short enough to be kept."""
    items = Pool(folder).items(ids, what)
    kept = {id_: item for id_, item in items.items() if sum(len(text.text) for text in item.texts) <= LONGEST}
    return {id_: _line(item) for id_, item in items.items()}, kept


def _line(item: Item) -> Line:
    first, *second = item.fields().values()
    line = around(first) if isinstance(item, Relation) else short(first)
    return line, short(second[0]) if second else "", tuple(text.id for text in item.texts)


def around(marked: str) -> str:
    """Return the part of a text that begins shortly before its first mark: where a long one is read."""
    start = min(marked.find("[SUBJ]"), marked.find("[OBJ]"))
    return short(marked) if start < 60 else short("…" + marked[start - 40 :])


def detail(live: Live, item: str, picks: Picks, answers: Answers) -> Detail | None:
    """Return one item in full, None when the pool does not hold it; a very long text is cut."""
    import pandas as pd

    one = item_of(live, item)
    if one is None:
        return None
    scored, shown = live.scored, tuple(one.fields().values())
    chances, numbers = pd.DataFrame({"class": [], "p": []}), pd.DataFrame({"dimension": []})
    parts, place = tuple[tuple[str, float], ...](), (0, 0)
    if scored is not None:
        names = part_names(scored)
        row = live.scores.get(item)
        if row is None:
            columns = ", ".join(score_columns(scored))
            row = next(iter(rows(live, scored, f"SELECT {columns} FROM read_parquet(?) WHERE id = ?", [item])), None)
        if row is not None:
            k = len(scored.labels)
            parts = tuple((PARTS.get(name, name), float(v)) for name, v in zip(names, row[k + 1 :], strict=True))
            place = _place(live, scored, row[k])
            if not live.kind.labelled:
                numbers = predicted(live, scored, row[:k])
            else:
                chances = pd.DataFrame({"class": list(scored.labels), "p": [float(p) for p in row[:k]]})
                chances = chances.sort_values(["p", "class"], ascending=[False, True], ignore_index=True)
    return Detail(
        item,
        tuple((part.key, text[:LONGEST]) for part, text in zip(one.texts, shown, strict=True)),
        chances,
        numbers,
        tuple((batch, pick) for batch, pick in picks if pick.item == item),
        tuple(answers.get(item, ())),
        any(len(text) > LONGEST for text in shown),
        parts,
        place,
        one,
    )


def part_names(scored: Scored) -> list[str]:
    """Return what a score was made of, as far as it was saved beside it."""
    import pyarrow.parquet as pq

    names = [str(name) for name in pq.read_schema(scored.path).names]
    return [name.removeprefix("part:") for name in names if name.startswith("part:") and '"' not in name]


def score_columns(scored: Scored) -> list[str]:
    """Return SQL for what is shown of one item's scores: a column for each label, its uncertainty, its parts."""
    parts = [f'"part:{name}"' for name in part_names(scored)]
    return [*(name_sql(label) for label in scored.labels), "uncertainty", *parts]


def _place(live: Live, scored: Scored, doubt: float) -> tuple[int, int]:
    """Return (the place of an uncertainty among all that are scored, from 1; how many are scored)."""
    above, total = rows(
        live,
        scored,
        "WITH s AS (SELECT uncertainty FROM read_parquet(?))"
        " SELECT count(*) FILTER (WHERE uncertainty > ?::FLOAT), count(*) FROM s",
        [doubt],
    )[0]
    return int(above) + 1, int(total)


def predicted(live: Live, scored: Scored, row: Sequence[float]) -> pd.DataFrame:
    """Return dimension, predicted and range, in each dimension's own units; none when the dimensions have changed."""
    import numpy as np
    import pandas as pd

    kind, schema = live.kind, live.schema
    table = []
    if scored.labels == kind.columns(schema):
        said = numbers_of(kind.decode(schema, np.array([row]), kind.plain(schema))[0])
        table = [(d.name, round(said[d.name], 2), f"{d.low:g} to {d.high:g}") for d in schema.dimensions]
    return pd.DataFrame(table, columns=["dimension", "predicted", "range"])


def titles(one: Detail) -> tuple[str, ...]:
    """Return a heading for each record of an item, with the user's own id where there is one."""
    plain = ("A", "B") if len(one.texts) == 2 else ("Text",)
    return tuple(f"{title} · {key}" if key else title for title, (key, _) in zip(plain, one.texts, strict=True))
