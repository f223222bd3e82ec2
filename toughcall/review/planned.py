"""What the plan tab shows: what each class lacks, what that takes in answers, hours and money, and whether it pays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toughcall.project import FILE
from toughcall.review.live import Live

if TYPE_CHECKING:
    import pandas as pd

    from toughcall.planning import Amount, ClassPlan, Pace


@dataclass(frozen=True)
class Planned:
    """The plan of a project.

    `classes` has class, train, held out, share, measurable, learnable, confused with. `needs` has class, goal, way
    (random or mined), answers, low, high, hours, price; a way nobody can tell is left out. `points` has figure,
    labels, value, low, high of the learning curve. `steps` has class and next.
    """

    advice: str
    sentence: str
    pace: str
    classes: pd.DataFrame
    needs: pd.DataFrame
    points: pd.DataFrame
    steps: pd.DataFrame


def stamp(live: Live) -> tuple[int, ...]:
    """Return what changes when the ledger or the settings do: the plan is computed anew then, and only then."""
    newest = [f"SELECT coalesce(max(seq), 0) FROM {table}" for table in ("answers", "events", "batches", "decisions")]
    rows = live.store.base.execute(" UNION ALL ".join([*newest, "SELECT count(*) FROM parts"])).fetchall()
    return (*(int(row[0]) for row in rows), (live.project.root / FILE).stat().st_mtime_ns)


def planned_at(root: str, at: tuple[int, ...], positives: int, gain: float | None, price: float | None) -> Planned:
    """Return the plan as it was when the ledger had this stamp: what Streamlit keeps, for every viewer of a project."""
    return planned(Path(root), positives, gain, price)


def planned(root: Path, positives: int, gain: float | None, price: float | None) -> Planned:
    """Return the plan for so many examples of each class, a gain worth having (None: the usual), an hour's price."""
    import pandas as pd

    from toughcall import planning
    from toughcall.spending import spending
    from toughcall.workspace import opened

    with opened(root, "review", writing=False) as ws:
        found = planning.plan(ws, positives)
        # a price makes it return the figures; 0 is one
        spent = spending(ws, gain=gain, price=price or 0.0)
    columns = ["class", "train", "held out", "share", "measurable", "learnable", "confused with"]
    table = pd.DataFrame([planning.as_row(one, positives) for one in found], columns=columns)
    points = [(row["figure"], *point) for row in spent.rows for point in row["points"]]
    return Planned(
        spent.advice,
        _told(spent.sentence, price),
        str(spent.pace),
        table,
        needs(found, positives, spent.pace, price or 0.0),
        pd.DataFrame(points, columns=["figure", "labels", "value", "low", "high"]),
        pd.DataFrame([row for row in planning.next_rows(found) if row["next"] != "fine"], columns=["class", "next"]),
    )


def _told(sentence: str, price: float | None) -> str:
    """Return the advice without a sum of money where no price was named."""
    return sentence if price else sentence.replace(", 0 at 0 an hour", "")


def needs(plans: list[ClassPlan], positives: int, pace: Pace, price: float) -> pd.DataFrame:
    """Return a row for each class, goal and way of asking that can be told."""
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for one in plans:
        goals: list[tuple[str, tuple[Amount, Amount]]] = []
        if one.want:
            goals.append((f"learnable: {one.want} more", one.to_learn(positives)))
        if one.missing:
            goals.append((f"measurable: {one.missing} more", (one.measure_random, one.measure_mined)))
        for goal, ways in goals:
            for way, amount in zip(("random", "mined"), ways, strict=True):
                if amount.value is None:
                    continue
                hours = pace.hours(amount.value)
                rows.append((one.label, goal, way, amount.value, amount.low, amount.high, hours, hours * price))
    columns = ["class", "goal", "way", "answers", "low", "high", "hours", "price"]
    return pd.DataFrame(rows, columns=columns).astype({"low": "float64", "high": "float64"})
