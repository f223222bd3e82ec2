"""What another threshold would do on the held-out rows and on the scored pool, and what its errors would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toughcall.records import Bools
from toughcall.review.held_out import HeldOut
from toughcall.review.score_views import name_sql

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from toughcall.review.live import Live

STEPS = 100
PER = 1000
"""Costs are told for so many items."""


@dataclass(frozen=True, eq=False)
class Rule:
    """What a cut decides about: of n rows the score, shape (n,), and whether calling the row is right.

    `score` is -1 where the model would not call the row whatever the cut; `members`: how many rows should be
    called; `own`: the model's own cut. `keeps`: the cut does not decide yes or no, it keeps what the model says and
    sends the rest to people: there the model's own cut is 0.
    """

    score: NDArray[np.float64]
    right: Bools
    members: int
    own: float
    keeps: bool


def rule(held: HeldOut, label: str) -> Rule:
    """Return the rule of one label; "" where one label excludes the others: the confidence of whatever was said."""
    rows = np.arange(len(held.ids))
    if held.exclusive:
        said = held.said.argmax(axis=1)
        p, right = held.values[rows, said], held.truth[rows, said].astype(bool)
        if not label:
            return Rule(p, right, len(rows), 0.0, True)
        place = held.columns.index(label)
        score = np.where(said == place, p, -1.0)
        return Rule(score, right & (said == place), int(held.truth[:, place].sum()), 0.0, True)
    place = held.columns.index(label)
    truth = held.truth[:, place].astype(bool)
    own = float(held.report.per_class[place].threshold)
    return Rule(held.values[:, place], truth, int(truth.sum()), own, False)


def grid(own: float) -> list[float]:
    """Return the cuts to choose from: hundredths from 0 to 1, and the model's own, in order."""
    return sorted({*(step / STEPS for step in range(STEPS + 1)), min(1.0, max(0.0, own))})


def swept(one: Rule, cuts: list[float]) -> pd.DataFrame:
    """Return cut, called, hit, false_alarms, misses, precision, recall, F1 at each cut; None where not defined."""
    import pandas as pd

    order = np.sort(one.score)
    hits = np.sort(one.score[one.right])
    called = len(order) - np.searchsorted(order, cuts, side="left")
    hit = len(hits) - np.searchsorted(hits, cuts, side="left")
    both = called + one.members
    return pd.DataFrame(
        {
            "cut": cuts,
            "called": called,
            "hit": hit,
            "false_alarms": called - hit,
            "misses": one.members - hit,
            "precision": np.where(called > 0, hit / np.maximum(called, 1), np.nan),
            "recall": hit / one.members if one.members else np.full(len(cuts), np.nan),
            "F1": np.where(one.members > 0, 2 * hit / np.maximum(both, 1), np.nan),
        }
    )


def priced(table: pd.DataFrame, n: int, alarm: float, miss: float) -> pd.DataFrame:
    """Return the table of `swept` with cost: what false alarms and misses cost on 1,000 rows like these n."""
    total = table["false_alarms"] * alarm + table["misses"] * miss
    return table.assign(cost=total * (PER / max(1, n)))


def cheapest(table: pd.DataFrame, own: float) -> float:
    """Return the cut with the least cost; of equal ones that nearest to the model's own."""
    least = table[table["cost"] <= table["cost"].min() + 1e-9]["cut"].to_numpy()
    return float(least[np.argmin(np.abs(least - own))])


@dataclass(frozen=True, slots=True)
class PoolSplit:
    """What a cut does to the scored pool: how many are scored, are called, and would go to people.

    To people goes what the model says but the cut does not keep; of a label's own cut what lies between that and
    the new one, whose answer would change.
    """

    total: int
    called: int
    people: int


def pool_split(live: Live, held: HeldOut, label: str, cut: float) -> PoolSplit | str:
    """Return what a cut does to the newest scores, or in one sentence why these are not this model's."""
    scored, model = live.scored, held.report.model
    if scored is None:
        return f"The pool is not scored: toughcall score --model {model}"
    if scored.model != model or scored.labels != held.columns:
        return f"The pool was scored by {scored.model or 'another model'}: toughcall score --model {model}"
    names = [f"{name_sql(one)}::DOUBLE" for one in held.columns]
    if not held.exclusive:
        place = held.columns.index(label)
        own = float(held.report.per_class[place].threshold)
        source, values = f"SELECT {names[place]} AS p, true AS said FROM read_parquet(?)", [str(scored.path)]
        low, high = min(cut, own), max(cut, own)
        people = "p >= ? AND p < ?"
        bounds = [low, high]
    else:
        # as Exclusive.chosen does: the greatest probability in proportion to its threshold, ties to the first
        shares = [
            f"({name_sql(row.label)}::FLOAT / {max(row.threshold, 1e-6)!r}::FLOAT)" for row in held.report.per_class
        ]
        at = f"list_position([{', '.join(shares)}], greatest({', '.join(shares)}))"
        said = "true" if not label else f"place = {held.columns.index(label) + 1}"
        source = (
            f"SELECT [{', '.join(names)}][place] AS p, {said} AS said FROM"
            f" (SELECT *, {at} AS place FROM read_parquet(?))"
        )
        values, people, bounds = [str(scored.path)], "said AND p < ?", [cut]
    query = (
        f"WITH s AS ({source}) SELECT count(*), count(*) FILTER (WHERE said AND p >= ?),"
        f" count(*) FILTER (WHERE {people}) FROM s"
    )
    ((total, called, sent),) = live.sql(query, [*values, cut, *bounds])
    return PoolSplit(int(total), int(called), int(sent))
