"""What the queue tab shows, as small frames: DuckDB counts and cuts, so no table is ever loaded whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toughcall.records import Answer, Pick, Value
from toughcall.review.live import Live, Scored
from toughcall.review.plain import short
from toughcall.schema import numbers_of

if TYPE_CHECKING:
    import pandas as pd

BINS = 40
"""Bars of the histogram: 0.4 and 0.6 are edges of bars."""
PAGE = 100
"""Rows of the queue that are drawn at once."""
LONGEST = 20_000
"""Characters of one text that are sent to the browser."""
OPEN, ALL, UNASKED = "\x00open", "\x00all", "\x00unasked"
"""What a `Filter` shows when it is not one batch: open batches, every batch, items nobody was asked about."""

Picks = Sequence[tuple[str, Pick]]
Answers = Mapping[str, Sequence[Answer]]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of the queue are wanted.

    `show` is a batch's name, OPEN, ALL or UNASKED; `column` the class whose probability is the score ("" =
    see `score_sql`); `label` keeps the items of one class; `band` keeps scores inside it, both ends included.
    """

    show: str = ALL
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
class Page:
    """One page of queue rows: columns item, batch, text, text_b, class, score, reason, note, state, answer."""

    rows: pd.DataFrame
    total: int
    number: int


@dataclass(frozen=True, slots=True)
class Detail:
    """One item in full: (key, text) of each of its records, what the model says of it, why it was asked, answers.

    `chances` has class and p; `numbers` has dimension, predicted and range; both are empty where there is none.
    """

    item: str
    texts: tuple[tuple[str, str], ...]
    chances: pd.DataFrame
    numbers: pd.DataFrame
    picks: tuple[tuple[str, Pick], ...] = ()
    answers: tuple[Answer, ...] = ()
    cut: bool = False


def name_sql(label: str) -> str:
    """Return the quoted name of a label's column: a label is any printable text."""
    return '"p:' + label.replace('"', '""') + '"'


def text_sql(text: str) -> str:
    """Return `text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


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
    return f"[{', '.join(names)}][{_place(live, names)}]"


def class_sql(live: Live, scored: Scored) -> str:
    """Return SQL for the class named beside a score: the likeliest, or the one nearest to 0.5; '' without classes."""
    if not live.kind.labelled:
        return "''"
    names = [name_sql(label) for label in scored.labels]
    if len(names) == 1:
        other = next((label for label in live.schema.labels if label != scored.labels[0]), "")
        return f"CASE WHEN {names[0]} >= 0.5 THEN {text_sql(scored.labels[0])} ELSE {text_sql(other)} END"
    return f"[{', '.join(text_sql(label) for label in scored.labels)}][{_place(live, names)}]"


def _place(live: Live, names: Sequence[str]) -> str:
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
    """Count the scores in equal bars; None before the first scores."""
    import pandas as pd

    scored = live.scored
    if scored is None:
        return None
    rows = live.sql(
        f"WITH s AS (SELECT ({score_sql(live, scored, column)})::FLOAT AS score FROM read_parquet(?))"
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
    names = [row["name"] for row in live.batches]
    return [(name, pick) for name in reversed(names) for pick in live.store.batch(name).picks]


def answers_by_item(live: Live) -> dict[str, list[Answer]]:
    """Return the current answers of each item."""
    found: dict[str, list[Answer]] = {}
    for answer in live.store.answers():
        found.setdefault(answer.item, []).append(answer)
    return found


def state(live: Live, batch: str, answers: Sequence[Answer]) -> str:
    """Return "answered" (studio.overlap answers are in), "waiting", "not sent" or "closed" (its batch is done)."""
    if len(answers) >= live.project.studio.overlap:
        return "answered"
    return {"planned": "not sent", "done": "closed"}.get(live.states.get(batch, ""), "waiting")


def counts(live: Live, picks: Picks, answers: Answers) -> tuple[int, int]:
    """Return how many of the items asked wait for an answer (closed batches do not), and how many have theirs."""
    states = [state(live, batch, answers.get(pick.item, ())) for batch, pick in picks]
    return states.count("waiting") + states.count("not sent"), states.count("answered")


def _spoken(value: Value) -> list[str]:
    return [one if isinstance(one, str) else f"{one[0]} {one[1]:g}" for one in value]


def said(answers: Sequence[Answer]) -> str:
    """Return in a few words what the experts answered, "" when nobody did."""
    words = {"skip": "skipped", "cant_tell": "can't tell"}
    each = [words.get(a.outcome) or ", ".join(_spoken(a.value)) or "none of them" for a in answers]
    return " / ".join(dict.fromkeys(each))


def reasons(picks: Picks) -> list[str]:
    """Return the reasons that occur, sorted."""
    return sorted({pick.reason for _, pick in picks})


def worded(reason: str) -> str:
    """Return a reason's name as words."""
    return reason.replace("_", " ")


def queue_page(live: Live, wanted: Filter, picks: Picks, answers: Answers) -> Page:
    """Return one page of the queue: picks in the order they are asked, or unasked items, most uncertain first."""
    import pandas as pd

    kept: list[tuple[str, Pick]] = []
    if wanted.show == UNASKED:
        seats = "SELECT id AS item, NULL::BIGINT AS seat FROM s WHERE id NOT IN (SELECT unnest(?::VARCHAR[]))"
        values: list[Any] = [sorted(live.store.asked())]
        order = "s.uncertainty DESC, item"
    else:
        still_open = {name for name, now in live.states.items() if now != "done"}
        shown = {ALL: set(live.states), OPEN: still_open}.get(wanted.show, {wanted.show})
        kept = [(batch, pick) for batch, pick in picks if batch in shown and wanted.reason in ("", pick.reason)]
        seats = "SELECT unnest(?::VARCHAR[]) AS item, unnest(?::BIGINT[]) AS seat"
        values = [[pick.item for _, pick in kept], list(range(len(kept)))]
        order = "seat"
    found, total = _cut(live, wanted, seats, values, order)
    rows = []
    for item, seat, score, name, text, text_b in found:
        batch, pick = kept[seat] if seat is not None else ("", None)
        given = answers.get(item, ())
        now = state(live, batch, given) if pick else ""
        why = (worded(pick.reason), pick.note) if pick else ("", "")
        rows.append((item, batch, text, text_b, name, score, *why, now, said(given)))
    columns = ["item", "batch", "text", "text_b", "class", "score", "reason", "note", "state", "answer"]
    return Page(pd.DataFrame(rows, columns=columns), total, wanted.page)


WORDS = {
    "texts": "SELECT id, text AS a, '' AS b FROM texts",
    "pairs": "SELECT pairs.id AS id, x.text AS a, y.text AS b FROM pairs"
    " JOIN texts x ON x.id = pairs.a JOIN texts y ON y.id = pairs.b",
    "relations": "SELECT r.id AS id, x.text AS a, '' AS b FROM relations r JOIN texts x ON x.id = r.text",
}
"""By where the pool keeps items: SQL for id and one or two texts."""


def _cut(live: Live, wanted: Filter, seats: str, values: list[Any], order: str) -> tuple[list[tuple[Any, ...]], int]:
    """Run the one query of the queue; return (item, seat, score, class, text, text_b) rows and how many match."""
    scored = live.scored
    if scored is None:
        table = "SELECT NULL::VARCHAR AS id, 0.0 AS uncertainty, 0.0 AS score, NULL::VARCHAR AS name WHERE false"
        sources: list[Any] = []
    else:
        chosen = f"{name_sql(wanted.label)} >= 0.5" if wanted.label in scored.labels else "false"
        table = (
            f"SELECT id, uncertainty, ({score_sql(live, scored, wanted.column)})::FLOAT AS score,"
            f" {class_sql(live, scored)} AS name, {chosen} AS chosen FROM read_parquet(?)"
        )
        sources = [str(scored.path)]
    words, hit = WORDS[live.kind.items], "(contains(lower(w.a), lower(?)) OR contains(lower(w.b), lower(?)))"
    tests, bound = ["true"], list[Any]()
    if scored is not None and wanted.label:
        tests.append(f"s.name = {text_sql(wanted.label)}" if live.schema.single else "s.chosen")
    if scored is not None and wanted.band is not None:
        tests.append("s.score BETWEEN ?::FLOAT AND ?::FLOAT")
        bound += list(wanted.band)
    if wanted.search.strip():
        tests.append(hit)
        bound += [wanted.search.strip()] * hit.count("?")
    named = f"WITH s AS ({table}), w AS ({words}), seats AS ({seats})"
    where = " AND ".join(tests)
    joined = f"FROM seats LEFT JOIN s ON s.id = seats.item LEFT JOIN w ON w.id = seats.item WHERE {where}"
    given = [*sources, *values, *bound]
    total = int(live.sql(f"{named} SELECT count(*) {joined}", given)[0][0])
    found = live.sql(
        f"{named} SELECT seats.item AS item, seat, s.score, s.name, left(w.a, 400), left(w.b, 400) {joined}"
        f" ORDER BY {order} LIMIT {PAGE} OFFSET ?",
        [*given, wanted.page * PAGE],
    )
    marked = live.pool.items([row[0] for row in found]) if live.kind.spanned else {}
    rows = []
    for item, seat, score, name, a, b in found:
        text = short(a or "") if item not in marked else around(marked[item].fields()["text"])
        rows.append((item, seat, score, name or "", text, short(b or "")))
    return rows, total


def around(marked: str) -> str:
    """Return the part of a text that begins shortly before its first mark: where a long one is read."""
    start = min(marked.find("[SUBJ]"), marked.find("[OBJ]"))
    return short(marked) if start < 60 else short("…" + marked[start - 40 :])


def detail(live: Live, item: str, picks: Picks, answers: Answers) -> Detail | None:
    """Return one item in full, None when the pool does not hold it; a very long text is cut."""
    import pandas as pd

    one = live.pool.items([item]).get(item)
    if one is None:
        return None
    scored, shown = live.scored, tuple(one.fields().values())
    chances, numbers = pd.DataFrame({"class": [], "p": []}), pd.DataFrame({"dimension": []})
    if scored is not None:
        names = ", ".join(name_sql(label) for label in scored.labels)
        row = live.sql(f"SELECT {names} FROM read_parquet(?) WHERE id = ?", [str(scored.path), item])
        if row and not live.kind.labelled:
            numbers = predicted(live, scored, row[0])
        elif row:
            chances = pd.DataFrame({"class": list(scored.labels), "p": [float(p) for p in row[0]]})
            chances = chances.sort_values(["p", "class"], ascending=[False, True], ignore_index=True)
    return Detail(
        item,
        tuple((part.key, text[:LONGEST]) for part, text in zip(one.texts, shown, strict=True)),
        chances,
        numbers,
        tuple((batch, pick) for batch, pick in picks if pick.item == item),
        tuple(answers.get(item, ())),
        any(len(text) > LONGEST for text in shown),
    )


def predicted(live: Live, scored: Scored, row: Sequence[float]) -> pd.DataFrame:
    """Return dimension, predicted and range, in each dimension's own units; none when the dimensions have changed."""
    import numpy as np
    import pandas as pd

    kind, schema = live.kind, live.schema
    rows = []
    if scored.labels == kind.columns(schema):
        said = numbers_of(kind.decode(schema, np.array([row]), kind.plain(schema))[0])
        rows = [(d.name, round(said[d.name], 2), f"{d.low:g} to {d.high:g}") for d in schema.dimensions]
    return pd.DataFrame(rows, columns=["dimension", "predicted", "range"])


def titles(one: Detail) -> tuple[str, ...]:
    """Return a heading for each record of an item, with the user's own id where there is one."""
    plain = ("A", "B") if len(one.texts) == 2 else ("Text",)
    return tuple(f"{title} · {key}" if key else title for title, (key, _) in zip(plain, one.texts, strict=True))
