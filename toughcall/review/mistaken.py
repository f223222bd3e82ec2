"""What a model got wrong on its held-out rows: a table of cells, and the rows behind each of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toughcall.review.held_out import HeldOut

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MOST = 50
"""So many rows behind a cell are shown."""
FOLDED = 12
"""Above so many classes the confusion table sums up those with the fewest errors."""
FOUND, MISSED, WRONG = "found", "missed", "wrongly given"
"""What can become of one label on one row."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One row behind a cell: its item, what was true and what was said, and the probability of what was said.

    Of numbers `size` is how far off the prediction is, in the dimension's units.
    """

    item: str
    truth: str
    said: str
    size: float


@dataclass(frozen=True, eq=False)
class Table:
    """A confusion table: `names` of all classes, `cells` with truth, said, count, share of the true ones, right.

    `groups`: what a row or column of the cells stands for; one that is folded stands for several classes.
    """

    names: tuple[str, ...]
    cells: pd.DataFrame
    groups: dict[str, tuple[str, ...]]


def sides(held: HeldOut, labels: Sequence[str]) -> tuple[tuple[str, ...], list[int], list[int]]:
    """Return (classes, the true one of each row, the said one) where a row has exactly one.

    `labels`: those of the schema; a pair has one column and two labels, the second where the first is not true.
    """
    if held.exclusive:
        return held.columns, held.truth.argmax(axis=1).tolist(), held.said.argmax(axis=1).tolist()
    other = next((one for one in labels if one not in held.columns), f"not {held.columns[0]}")
    truth, said = ((~side[:, 0].astype(bool)).astype(int).tolist() for side in (held.truth, held.said))
    return (held.columns[0], other), truth, said


def confusion(held: HeldOut, labels: Sequence[str]) -> Table:
    """Return the confusion table of rows that have one label each."""
    import pandas as pd

    from toughcall.model.report import folded

    names, truth, said = sides(held, labels)
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (truth, said), 1)
    shown, table = folded(names, counts.tolist(), FOLDED)
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in shown if name in names}
    if len(groups) < len(shown):
        groups[shown[-1]] = tuple(name for name in names if name not in shown)
    rows = []
    for one, row in zip(shown, table, strict=True):
        total = sum(row)
        rows += [
            (one, other, count, count / total if total else 0.0, one == other)
            for other, count in zip(shown, row, strict=True)
        ]
    return Table(names, pd.DataFrame(rows, columns=["truth", "said", "count", "share", "right"]), groups)


def behind(
    held: HeldOut, labels: Sequence[str], truths: Collection[str], answers: Collection[str]
) -> tuple[list[Wrong], int]:
    """Return (at most 50 rows that are one of `truths` and were said to be one of `answers`, how many there are).

    The surest first: the greatest probability of what was said.
    """
    names, truth, said = sides(held, labels)
    found = []
    for row, (real, told) in enumerate(zip(truth, said, strict=True)):
        if names[real] in truths and names[told] in answers:
            p = held.values[row, told] if held.exclusive else _of_pair(held.values[row, 0], told)
            found.append(Wrong(held.ids[row], names[real], names[told], float(p)))
    found.sort(key=lambda one: (-one.size, one.item))
    return found[:MOST], len(found)


def _of_pair(first: float, told: int) -> float:
    return first if told == 0 else 1.0 - first


def by_label(held: HeldOut) -> pd.DataFrame:
    """Return label, members, found, missed, wrongly given, precision, recall, F1; most errors first."""
    import pandas as pd

    from toughcall.model.report import class_figures

    rows = [
        (one["label"], one["support"], one["tp"], one["fn"], one["fp"], one["precision"], one["recall"], one["f1"])
        for one in class_figures(held.report)
    ]
    columns = ["label", "members", FOUND, MISSED, WRONG, "precision", "recall", "F1"]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[5:], "float64"))
    wrong = (table[MISSED] + table[WRONG]).to_numpy()
    return table.iloc[np.argsort(-wrong, kind="stable")].reset_index(drop=True)


def behind_label(held: HeldOut, label: str, what: str) -> tuple[list[Wrong], int]:
    """Return (at most 50 rows on which a label was found, missed or wrongly given, how many there are).

    The surest first: `size` is the label's probability, or, where it was not given, that of the opposite.
    """
    place = held.columns.index(label)
    truth, said, p = held.truth[:, place].astype(bool), held.said[:, place], held.values[:, place]
    rows = np.flatnonzero({FOUND: truth & said, MISSED: truth & ~said, WRONG: ~truth & said}[what])
    names = (label, f"not {label}")
    found = [
        Wrong(held.ids[row], names[not truth[row]], names[not said[row]], float(p[row] if said[row] else 1.0 - p[row]))
        for row in rows.tolist()
    ]
    found.sort(key=lambda one: (-one.size, one.item))
    return found[:MOST], len(found)


def scatter(held: HeldOut, dimension: str) -> pd.DataFrame:
    """Return item, truth, said and off (said minus true) of one dimension, where it was answered, worst first."""
    import pandas as pd

    place = held.columns.index(dimension)
    truth: NDArray[np.float64] = held.truth[:, place]
    rows = np.flatnonzero(np.isfinite(truth))
    off = held.values[rows, place] - truth[rows]
    table = pd.DataFrame(
        {
            "item": [held.ids[row] for row in rows],
            "truth": truth[rows],
            "said": held.values[rows, place],
            "off": off,
        }
    )
    return table.iloc[np.argsort(-np.abs(off), kind="stable")].reset_index(drop=True)


def worst(table: pd.DataFrame, low: float, high: float) -> tuple[list[Wrong], int]:
    """Return (at most 50 rows of `scatter` whose true number lies in [low, high], how many there are)."""
    inside = table[(table["truth"] >= low) & (table["truth"] <= high)]
    shown = [
        Wrong(str(row["item"]), f"{row['truth']:g}", f"{row['said']:.2f}", float(row["off"]))
        for row in inside.head(MOST).to_dict("records")
    ]
    return shown, len(inside)
