"""What moved from retrain to retrain, read from the ledger: the learning curve, each class, looks at the sealed set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toughcall.review import verdict
from toughcall.review.verdict import FLOOR, WINNER, Event, number

if TYPE_CHECKING:
    import pandas as pd

Events = Sequence[tuple[str, Event]]
"""Every event of the ledger, (verb, content), oldest first."""
RANDOM = "random"
"""What `toughcall simulate` calls its control."""
SIMULATION = ("simulation", "simulation.json")
"""Where `toughcall simulate` leaves its answer, below the project's folder."""
SIMULATE = "toughcall simulate"
MOST_ROUNDS, MOST_CLASSES = 12, 30


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What each retrain reached with how many labels, all measured on the same rows as the newest.

    `points`: the columns of `verdict.rounds`; `floor`: what has to be beaten, None where no report says it;
    `apart`: how many retrains were measured on other rows and are not among the points.
    """

    points: pd.DataFrame
    metric: str = ""
    n: int = 0
    floor: float | None = None
    apart: int = 0


@dataclass(frozen=True, eq=False)
class Control:
    """What random order reached: `points` has labels, value, low and high (the least and the greatest replay).

    `note`: where the points come from, or why there are none, in words that may quote a label or a file;
    `command`: what measures them, "" where they are there.
    """

    points: pd.DataFrame
    note: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Seal:
    """A sealed test set: how many items it holds, and the models it has judged, each once, oldest first."""

    items: int
    looks: tuple[str, ...]


def retrains(events: Events) -> list[Event]:
    """Return the retrains alone."""
    return [event for verb, event in events if verb == "retrain"]


def measured(event: Event, role: str = WINNER) -> tuple[str, int] | None:
    """Return (metric, number of held-out rows) of one report of a retrain, None where it has no figure."""
    found = verdict.report_of(event, role)
    if number(found.get("value")) is None:
        return None
    return str(found.get("metric") or "value"), int(number(found.get("n")) or 0)


def curve(events: Events) -> LearningCurve:
    """Return the learning curve: only figures since the newest seal with the newest one's metric and rows compare."""
    kept: list[Event] = []
    whole = 0
    for verb, event in events:
        if verb == "seal":
            kept = []
        elif verb == "retrain" and measured(event) is not None:
            kept.append(event)
            whole += 1
    newest = measured(kept[-1]) if kept else None
    same = [event for event in kept if measured(event) == newest]
    points = verdict.rounds(same)
    if newest is None:
        return LearningCurve(points, apart=whole)
    # the place among all retrains, which is how people count them
    places = {id(event): place for place, event in enumerate(retrains(events), start=1)}
    points["round"] = [places[id(event)] for event in same]
    floor = number(verdict.report_of(same[-1], FLOOR).get("value"))
    return LearningCurve(points, *newest, floor, whole - len(same))


def step(found: LearningCurve) -> tuple[float, int] | None:
    """Return (by how much the figure changed, with how many labels more) from the last retrain but one to the last."""
    if len(found.points) < 2:
        return None
    before, after = (found.points.iloc[place] for place in (-2, -1))
    return float(after["value"] - before["value"]), int(after["labels"] - before["labels"])


def control(events: Events, root: Path, metric: str) -> Control:
    """Return random order on the same data: what the demo measured after each round, else the newest simulation."""
    import pandas as pd

    rows: list[tuple[int, float, float | None, float | None]] = []
    note = ""
    for verb, event in events:
        if verb == "seal":
            rows = []
        one = event.get("control") if verb == "demo_round" else None
        if not isinstance(one, Mapping):
            continue
        value, spent = number(one.get("value")), number(one.get("spent"))
        if value is not None and spent:
            rows.append((int(spent), value, number(one.get("low")), number(one.get("high"))))
        elif one.get("note"):
            note = f"random order: {str(one['note']).partition(':')[0]}"
    if rows:
        table = pd.DataFrame(rows, columns=["labels", "value", "low", "high"])
        told = "grey: as many items in random order, the mean of several draws"
        return Control(table.astype({"low": "float64", "high": "float64"}), told)
    found = simulated(root.joinpath(*SIMULATION), metric)
    return found if len(found.points) or not note else Control(found.points, note)


def simulated(path: Path, metric: str) -> Control:
    """Return what random order reached in the newest simulation of a project, by the gate's metric."""
    import pandas as pd

    none = pd.DataFrame({name: pd.Series(dtype="float64") for name in ("labels", "value", "low", "high")})
    where = "/".join(SIMULATION)
    try:
        raw = json.loads(path.read_bytes())
        seeds = [dict(zip(one["budgets"], one["values"], strict=True)) for one in _random(raw)]
        told, n = str(raw["metric"]), int(raw["test"])
    except FileNotFoundError:
        return Control(none, "random order was not measured here:", SIMULATE)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Control(none, f"{where} cannot be read, make it again:", SIMULATE)
    if told != metric:
        return Control(none, f"{where} holds {told.replace('_', ' ')}, make it again:", SIMULATE)
    rows = []
    for budget in seeds[0] if seeds else ():
        # a replay that found too few of some class has no figure there, and the mean of the others would flatter
        each = [value for one in seeds if (value := number(one.get(budget))) is not None]
        if len(each) == len(seeds):
            rows.append((budget, sum(each) / len(each), min(each), max(each)))
    if not rows:
        return Control(none, f"{where} holds no figure of random order, make it again:", SIMULATE)
    points = pd.DataFrame(rows, columns=["labels", "value", "low", "high"])
    return Control(points, f"grey: random order in {where}, the mean of {len(seeds)} replays on {n:,} held-out items")


def _random(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in raw["curves"] if one["strategy"] == RANDOM]


def by_class(events: Sequence[Event]) -> pd.DataFrame:
    """Return round, labels, version, class, value, shade, dead, n of each class in the newest retrains.

    `value`: F1, or the mean absolute error in the dimension's own units; `shade`, 0 to 1: F1, or by how much the
    error is smaller than that of always saying the training mean; `dead`: never predicted, or no better than that
    mean. Classes in the newest retrain's order, worst first; at most 30 classes and 12 retrains.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for place, event in enumerate(events, start=1):
        where = (place, int(number(event.get("labels")) or 0), str(event.get("version") or ""))
        rows += [(*where, *one) for one in _classes(event)]
    table = pd.DataFrame(rows, columns=["round", "labels", "version", "class", "value", "shade", "dead", "n"])
    table = table.astype({"value": "float64", "shade": "float64", "dead": "bool", "n": "Int64"})
    kept = sorted(table["round"].unique())[-MOST_ROUNDS:]
    # newest first, so that its order of classes comes first
    order = list(dict.fromkeys(table.sort_values("round", ascending=False, kind="stable")["class"]))[:MOST_CLASSES]
    table = table[table["round"].isin(kept) & table["class"].isin(order)]
    place_of = {name: place for place, name in enumerate(order)}
    return table.sort_values(["class", "round"], key=lambda one: one.map(place_of) if one.name == "class" else one)


def _classes(event: Event) -> list[tuple[Any, ...]]:
    """Return (class, value, shade, dead, n) of one retrain, worst first."""
    out: list[tuple[Any, ...]] = []
    for row in verdict.per_dimension(event).to_dict("records"):
        error, mean = number(row["MAE"]), number(row["mean's MAE"])
        share = None if error is None or not mean else 1.0 - error / mean
        shade = None if share is None else min(1.0, max(0.0, share))
        out.append((row["dimension"], error, shade, share is not None and share <= 0, _whole(row["held out"])))
    for row in verdict.per_class(event).to_dict("records"):
        out.append((row["class"], number(row["f1"]), number(row["f1"]), bool(row["dead"]), _whole(row["n"])))
    return out


def _whole(value: Any) -> int | None:
    return None if number(value) is None else int(value)


def changes(table: pd.DataFrame) -> list[tuple[str, float]]:
    """Return (class, how its figure changed) between the last two retrains of `by_class`, the greatest first."""
    last = sorted(table["round"].unique())[-2:]
    if len(last) < 2:
        return []
    before, after = (table[table["round"] == place].set_index("class")["value"] for place in last)
    moved = (after - before).dropna()
    return sorted(((str(name), float(by)) for name, by in moved.items()), key=lambda one: (-abs(one[1]), one[0]))


def seals(events: Events) -> list[Seal]:
    """Return the sealed sets, oldest first; a retrain that had reports looked at the one that was sealed last."""
    found: list[tuple[int, dict[str, None]]] = []
    for verb, event in events:
        if verb == "seal":
            items = event.get("items")
            found.append((len(items) if isinstance(items, list) else 0, {}))
        elif verb == "retrain" and event.get("reports") and found:
            found[-1][1][str(event.get("version") or "")] = None
    return [Seal(items, tuple(looks)) for items, looks in found]


def moves(events: Events) -> list[tuple[str, str]]:
    """Return (what was done, the version in service afterwards) of every promotion and rollback, oldest first."""
    said = {"promote": "promoted", "rollback": "rolled back to"}
    return [(said[verb], str(event.get("version") or "")) for verb, event in events if verb in said]
