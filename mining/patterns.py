"""Regular expressions of a project against its items, and how often experts confirmed what they match."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from toughcall.mining.proportions import fell, wilson
from toughcall.records import Item, UsageError

BLOCK = 50_000
"""Items whose texts are held by DuckDB at once."""
DOUBT = 0.05
"""A pattern is dropped when chance alone would make it this bad less often than that."""
Matched = Mapping[str, Mapping[str, Collection[str]]]
"""For each label and each of its patterns the ids of the items it matches."""


def matches(
    items: Iterable[Item], patterns: Sequence[tuple[str, Sequence[str]]]
) -> dict[str, dict[str, frozenset[str]]]:
    """Return for each label and pattern the ids of the items that match it, whatever their letters' case.

    What is read is what an expert sees: the text, a relation's with `[SUBJ] … [/SUBJ] … [OBJ]` in it; of a
    pair both texts must match. RE2 (through DuckDB) needs time in proportion to the text, whatever the
    pattern. UsageError names a pattern that is no regular expression.
    """
    import duckdb
    import pyarrow as pa

    found: dict[str, dict[str, set[str]]] = {label: {one: set() for one in some} for label, some in patterns}
    if not any(some for _, some in patterns):
        return {label: {} for label, _ in patterns}
    left = iter(items)
    with duckdb.connect(":memory:") as base:
        base.execute("SET threads = 2")
        while block := list(islice(left, BLOCK)):
            fields = [(item.id, text) for item in block for text in item.fields().values()]
            base.register("shown", pa.table({"id": [one for one, _ in fields], "text": [text for _, text in fields]}))
            for label, some in patterns:
                for pattern in some:
                    try:
                        rows = base.execute(
                            "SELECT id FROM shown GROUP BY id HAVING bool_and(regexp_matches(text, ?, 'i'))", [pattern]
                        ).fetchall()
                    except duckdb.Error as error:
                        why = str(error).splitlines()[0].split("Error: ")[-1]
                        raise UsageError(
                            f"the pattern {pattern!r} of {label} is no regular expression for RE2 ({why}): "
                            "mend it under [patterns] of project.toml"
                        ) from None
                    found[label][pattern].update(one for (one,) in rows)
            base.unregister("shown")
    return {label: {one: frozenset(ids) for one, ids in some.items()} for label, some in found.items()}


@dataclass(frozen=True, slots=True)
class Precision:
    """How good one pattern of one label is: of `answered` matching items experts gave `confirmed` the label.

    `low` and `high` are the 95 % interval of that share (Wilson); `dropped` says in a sentence why the
    pattern is no longer asked about, "" while it is.
    """

    label: str
    pattern: str
    matched: int
    answered: int
    confirmed: int
    low: float
    high: float
    dropped: str = ""

    @property
    def sentence(self) -> str:
        """What a lead reads of it."""
        if not self.answered:
            return "none of its matches is answered yet"
        return f"{self.confirmed} of {self.answered} answers confirmed"


def precisions(
    matched: Matched, answers: Mapping[str, Sequence[str]], audited: Mapping[str, Sequence[str]] | None = None
) -> list[Precision]:
    """Return the measured precision of every pattern, in the order of `matched`.

    `answers`: the labels of each answered item; `audited`: those of the items that were drawn at random.
    A pattern is dropped when its precision is significantly below the share of the class among the drawn
    ones (Fisher's exact test, one-sided, p < 0.05): drawing at random finds more than asking about it.
    """
    drawn = audited or {}
    found = []
    for label, some in matched.items():
        share = sum(label in said for said in drawn.values())
        for pattern, ids in some.items():
            said = [label in answers[one] for one in ids if one in answers]
            _, low, high = wilson(sum(said), len(said))
            why = ""
            if said and drawn and fell(share, len(drawn), sum(said), len(said)) < DOUBT:
                why = (
                    f"the pattern {pattern!r} of {label} is no longer asked about: {sum(said)} of {len(said)} answers "
                    f"confirmed it, of items drawn at random {share} of {len(drawn)} are {label}"
                )
            found.append(Precision(label, pattern, len(ids), len(said), sum(said), low, high, why))
    return found
