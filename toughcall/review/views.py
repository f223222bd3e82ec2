"""What the queue tab shows, as small frames: DuckDB counts and cuts, so no table is ever loaded whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toughcall.records import Pick
from toughcall.review.asked_views import (
    FREE,
    HELD,
    Answers,
    Decided,
    Picks,
    answers_by_item,
    asked_picks,
    counts,
    decided,
    reasons,
    said,
    state,
    state_of,
    wanted,
    worded,
)
from toughcall.review.item_views import LONGEST, Detail, detail, held_out, lines, score_columns, titles
from toughcall.review.live import Live
from toughcall.review.score_views import (
    BINS,
    Histogram,
    guesses,
    histogram,
    name_sql,
    place_sql,
    pool_rows,
    rows,
    score_name,
    score_sql,
    score_start,
    split_of,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ALL",
    "ASIDE",
    "BINS",
    "EVERY",
    "LONGEST",
    "OPEN",
    "PAGE",
    "UNASKED",
    "WANTED",
    "Answers",
    "Decided",
    "Detail",
    "Filter",
    "Histogram",
    "Page",
    "Picks",
    "answers_by_item",
    "asked_picks",
    "counts",
    "decided",
    "detail",
    "histogram",
    "queue_page",
    "reasons",
    "said",
    "score_name",
    "score_start",
    "state",
    "titles",
    "wanted",
    "worded",
]

PAGE = 100
"""Rows of the queue that are drawn at once."""
OPEN, ALL, UNASKED = "\x00open", "\x00all", "\x00unasked"
EVERY, WANTED, ASIDE = "\x00every", "\x00wanted", "\x00aside"
"""What a `Filter` shows when it is not one batch: open batches, every batch, items nobody was asked about; every
scored item, what reviewers approved or pinned and is not asked yet, what they set aside."""
COLUMNS = ("item", "batch", "text", "text_b", "class", "score", "reason", "note", "state", "by", "answer")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of the queue are wanted.

    `show` is a batch's name or one of OPEN, ALL, UNASKED, EVERY, WANTED, ASIDE; `column` the class whose probability
    is the score ("" = see `score_sql`); `label` keeps the items of one class; `band` keeps scores inside it, both
    ends included.
    """

    show: str = ALL
    reason: str = ""
    label: str = ""
    column: str = ""
    band: tuple[float, float] | None = None
    search: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page of queue rows, with the columns of `COLUMNS`, and how many rows there are on all pages."""

    rows: pd.DataFrame
    total: int
    number: int


def queue_page(live: Live, wanted: Filter, picks: Picks, answers: Answers, reviewed: Decided | None = None) -> Page:
    """Return one page of the queue: picks in the order they are asked, or scored items, most uncertain first.

    `reviewed`: what reviewers decided, read from the ledger when it is not given.
    """
    import pandas as pd

    reviewed = decided(live, picks) if reviewed is None else reviewed
    listed = _listed(live, wanted, picks, answers, reviewed)
    if listed is None:
        ids, total, scores = _most_uncertain(live, wanted)
        seats: Sequence[tuple[str, Pick | None]] = [("", None)] * len(ids)
    else:
        kept, total = _kept(live, wanted, listed)
        ids, seats = [one for one, _, _ in kept], [(batch, pick) for _, batch, pick in kept]
        scores = _scores_of(live, wanted, ids)
    texts = lines(live, ids)
    held = held_out(live, [record for _, _, records in texts.values() for record in records])
    newest: dict[str, list[tuple[str, Pick]]] = {}
    for batch, pick in picks if listed is None else ():
        newest.setdefault(pick.item, []).append((batch, pick))
    table = []
    for item, (where, picked) in zip(ids, seats, strict=True):
        mine = [(where, picked)] if picked else newest.get(item, [])
        text, text_b, records = texts.get(item, ("", "", ()))
        score, name = scores.get(item, (None, ""))
        given = answers.get(item, ())
        now = state_of(live, mine[0][0] if mine else "", given, reviewed, item)
        now = HELD if now == FREE and any(record in held for record in records) else now
        why = ", ".join(dict.fromkeys(worded(one.reason) for _, one in mine))
        note = mine[0][1].note if mine else reviewed.why(item)
        batch = mine[0][0] if mine else ""
        table.append((item, batch, text, text_b, name, score, why, note, now, reviewed.by(item), said(given)))
    return Page(pd.DataFrame(table, columns=list(COLUMNS)), total, wanted.page)


Listed = list[tuple[str, str, Pick | None]]


def _listed(live: Live, chosen: Filter, picks: Picks, answers: Answers, reviewed: Decided) -> Listed | None:
    """Return (item, batch, pick) of what is wanted, in its order; None where that is any scored item."""
    if chosen.show in (UNASKED, EVERY):
        return None
    if chosen.show == WANTED:
        return [(item, "", None) for item in wanted(live, picks, answers, reviewed)]
    if chosen.show == ASIDE:
        aside = [one.item for one in reversed(list(reviewed.last.values())) if one.action == "set_aside"]
        return [(item, "", None) for item in aside]
    still_open = {name for name, now in live.states.items() if now != "done"}
    shown = {ALL: set(live.states), OPEN: still_open}.get(chosen.show, {chosen.show})
    return [(p.item, batch, p) for batch, p in picks if batch in shown and chosen.reason in ("", p.reason)]


def _tests(live: Live, wanted: Filter) -> tuple[list[str], list[Any]]:
    """Return SQL conditions on a row of the scores and what they are bound to."""
    scored = live.scored
    tests, bound = list[str](), list[Any]()
    if scored is not None and wanted.label:
        names = guesses(live, scored)
        if live.schema.single:
            tests.append(f"({place_sql(live, scored)}) = ?")
            bound.append(names.index(wanted.label) + 1 if wanted.label in names else 0)
        else:
            tests.append(f"{name_sql(wanted.label)} >= 0.5" if wanted.label in scored.labels else "false")
    if scored is not None and wanted.band is not None:
        tests.append(f"({score_sql(live, scored, wanted.column)})::FLOAT BETWEEN ?::FLOAT AND ?::FLOAT")
        bound += list(wanted.band)
    return tests, bound


WORDS = {
    "texts": ("texts", "contains(lower(texts.text), lower(?))"),
    "pairs": (
        "pairs JOIN texts x ON x.id = pairs.a JOIN texts y ON y.id = pairs.b",
        "(contains(lower(x.text), lower(?)) OR contains(lower(y.text), lower(?)))",
    ),
    "relations": ("relations JOIN texts x ON x.id = relations.text", "contains(lower(x.text), lower(?))"),
}
"""By where the pool keeps items: SQL for their words, and for those that hold a text."""


def _hits(live: Live, search: str) -> tuple[str, list[Any]]:
    """Return SQL for the ids of all items that hold a text, and what it is bound to."""
    what = live.kind.items
    source, hit = WORDS[what]
    return f"SELECT {what}.id AS id FROM {source} WHERE {hit}", [search.strip()] * hit.count("?")


def _kept(live: Live, wanted: Filter, listed: Listed) -> tuple[Listed, int]:
    """Return what is on the page of a list and how long the list is after all filters, in its own order."""
    scored, (tests, bound) = live.scored, _tests(live, wanted)
    ids = list(dict.fromkeys(item for item, _, _ in listed))
    among = "id IN (SELECT unnest(?::VARCHAR[]))"
    if tests and scored is not None:
        test = " AND ".join([*tests, among])
        found = {row[0] for row in rows(live, scored, f"SELECT id FROM read_parquet(?) WHERE {test}", [*bound, ids])}
        listed = [row for row in listed if row[0] in found]
    if wanted.search.strip():
        hits, given = _hits(live, wanted.search)
        found = {row[0] for row in pool_rows(live, f"SELECT id FROM ({hits}) WHERE {among}", [*given, ids])}
        listed = [row for row in listed if row[0] in found]
    return listed[wanted.page * PAGE : (wanted.page + 1) * PAGE], len(listed)


Scores = dict[str, tuple[float | None, str]]
"""By item: its score and the class named beside it."""


def _scores_of(live: Live, wanted: Filter, ids: Sequence[str]) -> Scores:
    scored = live.scored
    if scored is None or not ids:
        return {}
    seen = [f"({score_sql(live, scored, wanted.column)})::FLOAT", place_sql(live, scored), *score_columns(scored)]
    query = f"SELECT id, {', '.join(seen)} FROM read_parquet(?) WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    found, names = rows(live, scored, query, [sorted(set(ids))]), guesses(live, scored)
    # one of them is going to be shown in full
    live.scores.update({row[0]: row[3:] for row in found})
    return {row[0]: (row[1], names[row[2] - 1] if row[2] else "") for row in found}


def _most_uncertain(live: Live, wanted: Filter) -> tuple[list[str], int, Scores]:
    """Return the scored items on a page, most uncertain first, how many there are, and their scores.

    The scores alone decide which items these are; only a search has to read the words of them all. Held-out items
    are not among what nobody was asked about: they are drawn at random, never chosen.
    """
    scored, (tests, bound) = live.scored, _tests(live, wanted)
    if scored is None:
        return [], 0, {}
    split = None
    if wanted.show == UNASKED:
        tests += ["id NOT IN (SELECT unnest(?::VARCHAR[]))", "id NOT IN (SELECT id FROM held)"]
        bound.append(sorted(live.store.asked()))
        split = split_of(live)
    searched = bool(wanted.search.strip())
    hits, given = _hits(live, wanted.search) if searched else ("", [])
    tests += [f"id IN ({hits})"] * searched
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    query = (
        f"WITH found AS MATERIALIZED (SELECT id, uncertainty FROM read_parquet(?){where})"
        f" SELECT id, (SELECT count(*) FROM found) FROM found ORDER BY uncertainty DESC, id LIMIT {PAGE} OFFSET ?"
    )
    bound += [*given, wanted.page * PAGE]
    if searched:
        page = pool_rows(live, query, [str(scored.path), *bound], [scored.path], split)
    else:
        page = rows(live, scored, query, bound, split)
    ids = [row[0] for row in page]
    return ids, int(page[0][1]) if page else 0, _scores_of(live, wanted, ids)
