"""What the queue tab shows, as small frames: DuckDB counts and cuts, so no table is ever loaded whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from toughcall.records import Answer, Pick
from toughcall.review.live import Live, Scored
from toughcall.review.plain import short

if TYPE_CHECKING:
    import pandas as pd

BINS = 40
"""Bars of the histogram: 0.4 and 0.6 are edges of bars."""
PAGE = 50
UNASKED = "\x00unasked"
"""The `batch` of a `Filter` that looks at scored items nobody was asked about."""
LONGEST = 20_000
"""Characters of one text that are sent to the browser."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of the queue are wanted; the default is every batch, newest first.

    `column` is the class whose probability is the score ("" = see `score_sql`); `label` keeps the items
    of one class; `band` keeps scores inside it, both ends included.
    """

    batch: str = ""
    reason: str = ""
    label: str = ""
    column: str = ""
    band: tuple[float, float] | None = None
    search: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of calibrated scores: `bars` has low, high, count for each of the `BINS` bars."""

    bars: pd.DataFrame
    total: int
    in_band: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The figures over the queue; answered + waiting = asked."""

    records: int
    pairs: int
    asked: int
    answered: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of queue rows: columns item, batch, text, class, score, reason, note, answer."""

    rows: pd.DataFrame
    total: int
    number: int


@dataclass(frozen=True, slots=True)
class Detail:
    """One item in full: (key, text) of each of its records, its classes' probabilities, why it was asked, answers."""

    item: str
    texts: tuple[tuple[str, str], ...]
    chances: pd.DataFrame
    picks: tuple[tuple[str, Pick], ...] = ()
    answers: tuple[Answer, ...] = ()
    cut: bool = False


def name_sql(label: str) -> str:
    """Return the quoted name of a label's column: a label is any printable text."""
    return '"p:' + label.replace('"', '""') + '"'


def score_sql(scored: Scored, column: str, *, single: bool) -> tuple[str, str]:
    """Return SQL for (score, class) of a row.

    With a column it is that class and its probability; else the likeliest class, or where a text may
    have several classes the one the model is least sure of (nearest to 0.5).
    """
    if column in scored.labels:
        return name_sql(column), literal_sql(column)
    names = [name_sql(label) for label in scored.labels]
    rank = names if single else [f"-abs({name} - 0.5)" for name in names]
    position = f"list_position([{', '.join(rank)}], greatest({', '.join(rank)}))"
    labels = ", ".join(literal_sql(label) for label in scored.labels)
    return f"[{', '.join(names)}][{position}]", f"[{labels}][{position}]"


def literal_sql(text: str) -> str:
    """Return `text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def histogram(live: Live, column: str, low: float, high: float) -> Histogram | None:
    """Count the scores of one class in equal bars; None before the first scores."""
    import pandas as pd

    scored = live.scored
    if scored is None:
        return None
    score, _ = score_sql(scored, column, single=live.schema.single)
    rows = live.sql(
        f"WITH s AS (SELECT ({score})::FLOAT AS score FROM read_parquet(?))"
        " SELECT least(floor(score * ?::FLOAT)::INTEGER, ?), count(*),"
        " count(*) FILTER (WHERE score BETWEEN ?::FLOAT AND ?::FLOAT) FROM s GROUP BY 1",
        [str(scored.path), BINS, BINS - 1, low, high],
    )
    found = {int(bar): (int(count), int(inside)) for bar, count, inside in rows}
    bars = pd.DataFrame(
        {
            "low": [bar / BINS for bar in range(BINS)],
            "high": [(bar + 1) / BINS for bar in range(BINS)],
            "count": [found.get(bar, (0, 0))[0] for bar in range(BINS)],
        }
    )
    return Histogram(bars, sum(n for n, _ in found.values()), sum(n for _, n in found.values()))


def asked_picks(live: Live) -> list[tuple[str, Pick]]:
    """Return (batch, pick) of everything sent or planned, newest batch first, without what was set aside."""
    names = [row["name"] for row in live.store.batches()]
    return [(name, pick) for name in reversed(names) for pick in live.store.batch(name).picks]


def answers_by_item(live: Live) -> dict[str, list[Answer]]:
    """Return the current answers of each item."""
    found: dict[str, list[Answer]] = {}
    for answer in live.store.answers():
        found.setdefault(answer.item, []).append(answer)
    return found


def counts(live: Live, picks: Sequence[tuple[str, Pick]], answers: Mapping[str, Sequence[Answer]]) -> Counts:
    """Count records and what became of the items asked; an item waits until `studio.overlap` answers are in."""
    asked = {pick.item for _, pick in picks}
    done = sum(len(answers.get(item, ())) >= live.project.studio.overlap for item in asked)
    return Counts(*live.counts, len(asked), done, len(asked) - done)


def said(answers: Sequence[Answer]) -> str:
    """Return in a few words what the experts answered, "" when nobody did."""
    words = {"skip": "skipped", "cant_tell": "can't tell"}
    each = [words.get(a.outcome) or ", ".join(a.value) or "none of them" for a in answers]
    return " / ".join(dict.fromkeys(each))


def reasons(picks: Sequence[tuple[str, Pick]]) -> list[str]:
    """Return the reasons that occur, sorted."""
    return sorted({pick.reason for _, pick in picks})


def queue_page(
    live: Live, wanted: Filter, picks: Sequence[tuple[str, Pick]], answers: Mapping[str, Sequence[Answer]]
) -> Page:
    """Return one page of the queue: picks in the order they are asked, or unasked items, most uncertain first."""
    import pandas as pd

    if wanted.batch == UNASKED:
        asked = sorted({pick.item for _, pick in picks} | set(answers))
        seats = "SELECT id AS item, NULL::BIGINT AS seat FROM s WHERE id NOT IN (SELECT unnest(?::VARCHAR[]))"
        values: list[Any] = [asked]
        order = "s.uncertainty DESC, item"
        kept: list[tuple[str, Pick]] = []
    else:
        kept = [
            (batch, pick)
            for batch, pick in picks
            if wanted.batch in ("", batch) and wanted.reason in ("", pick.reason)
        ]
        seats = "SELECT unnest(?::VARCHAR[]) AS item, unnest(?::BIGINT[]) AS seat"
        values = [[pick.item for _, pick in kept], list(range(len(kept)))]
        order = "seat"
    found, total = _cut(live, wanted, seats, values, order)
    rows = []
    for item, seat, score, name, words in found:
        batch, pick = kept[seat] if seat is not None else ("", None)
        rows.append(
            {
                "item": item,
                "batch": batch,
                "text": words or "",
                "class": name,
                "score": score,
                "reason": pick.reason if pick else "",
                "note": pick.note if pick else "",
                "answer": said(answers.get(item, ())),
            }
        )
    columns = ["item", "batch", "text", "class", "score", "reason", "note", "answer"]
    return Page(pd.DataFrame(rows, columns=columns), total, wanted.page)


def turned(wanted: Filter, page: int) -> Filter:
    """Return the same filter at another page, counted from 0."""
    return replace(wanted, page=page)


def _cut(
    live: Live, wanted: Filter, seats: str, values: list[Any], order: str
) -> tuple[list[tuple[Any, ...]], int]:
    """Run the one query of the queue; return (item, seat, score, class, text) rows and how many match."""
    scored = live.scored
    if scored is None:
        table = "SELECT NULL::VARCHAR AS id, 0.0 AS uncertainty, 0.0 AS score, NULL::VARCHAR AS name WHERE false"
        sources: list[Any] = []
    else:
        score, name = score_sql(scored, wanted.column, single=live.schema.single)
        table = (
            f"SELECT id, uncertainty, ({score})::FLOAT AS score, {name} AS name,"
            f" {_chosen(scored, wanted.label, single=live.schema.single)} AS chosen FROM read_parquet(?)"
        )
        sources = [str(scored.path)]
    if live.paired:
        words = (
            "SELECT pairs.id AS id, x.text AS a, y.text AS b FROM pairs"
            " JOIN texts x ON x.id = pairs.a JOIN texts y ON y.id = pairs.b"
        )
        shown = "left(w.a, 200) || '  ·  ' || left(w.b, 200)"
        hit = "(contains(lower(w.a), lower(?)) OR contains(lower(w.b), lower(?)))"
    else:
        words, shown, hit = "SELECT id, text AS a FROM texts", "left(w.a, 400)", "contains(lower(w.a), lower(?))"
    tests, bound = ["true"], list[Any]()
    if scored is not None and wanted.label in scored.labels:
        tests.append("s.chosen")
    if wanted.band is not None:
        tests.append("s.score BETWEEN ?::FLOAT AND ?::FLOAT")
        bound += list(wanted.band)
    if wanted.search.strip():
        tests.append(hit)
        bound += [wanted.search.strip()] * hit.count("?")
    named = f"WITH s AS ({table}), w AS ({words}), seats AS ({seats})"
    joined = (
        "FROM seats LEFT JOIN s ON s.id = seats.item LEFT JOIN w ON w.id = seats.item"
        f" WHERE {' AND '.join(tests)}"
    )
    given = [*sources, *values, *bound]
    total = int(live.sql(f"{named} SELECT count(*) {joined}", given)[0][0])
    found = live.sql(
        f"{named} SELECT seats.item AS item, seat, s.score, s.name, {shown} {joined}"
        f" ORDER BY {order} LIMIT {PAGE} OFFSET ?",
        [*given, wanted.page * PAGE],
    )
    return [(item, seat, score, name, short(text or "")) for item, seat, score, name, text in found], total


def _chosen(scored: Scored, label: str, *, single: bool) -> str:
    """Return SQL that is true for items of a class: its likeliest one, or one of its likely ones."""
    if label not in scored.labels:
        return "true"
    best = ", ".join(name_sql(one) for one in scored.labels)
    return f"{name_sql(label)} >= greatest({best})" if single else f"{name_sql(label)} >= 0.5"


def detail(
    live: Live, item: str, picks: Sequence[tuple[str, Pick]], answers: Mapping[str, Sequence[Answer]]
) -> Detail | None:
    """Return one item in full, None when the pool does not hold it; a very long text is cut."""
    import pandas as pd

    one = live.pool.items([item]).get(item)
    if one is None:
        return None
    parts = one.texts
    scored = live.scored
    chances = pd.DataFrame({"class": [], "p": []})
    if scored is not None:
        names = ", ".join(name_sql(label) for label in scored.labels)
        row = live.sql(f"SELECT {names} FROM read_parquet(?) WHERE id = ?", [str(scored.path), item])
        if row:
            chances = pd.DataFrame({"class": list(scored.labels), "p": [float(p) for p in row[0]]})
            chances = chances.sort_values(["p", "class"], ascending=[False, True], ignore_index=True)
    return Detail(
        item,
        tuple((part.key, part.text[:LONGEST]) for part in parts),
        chances,
        tuple((batch, pick) for batch, pick in picks if pick.item == item),
        tuple(answers.get(item, ())),
        any(len(part.text) > LONGEST for part in parts),
    )


def titles(one: Detail) -> tuple[str, ...]:
    """Return a heading for each record of an item: the user's own id where there is one."""
    plain = ("Record A", "Record B") if len(one.texts) == 2 else ("Text",)
    return tuple(f"{title} · {key}" if key else title for title, (key, _) in zip(plain, one.texts, strict=True))

