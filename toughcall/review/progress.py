"""What the labels tab shows: how far each class, batch and annotator has come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toughcall import status
from toughcall.records import Answer
from toughcall.review.live import Live

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures over the labels tab."""

    labels: int
    disagreements: int
    skipped: int
    cant_tell: int
    set_aside: int

    def sentence(self) -> str:
        """Return the figures in words, without those that are 0."""
        named = {
            "in disagreement": self.disagreements,
            "skipped": self.skipped,
            "can't tell": self.cant_tell,
            "rows set aside": self.set_aside,
        }
        rest = [f"{count:,} {name}" for name, count in named.items() if count]
        return " · ".join([f"{self.labels:,} agreed label{'s' * (self.labels != 1)}", *rest])


def totals(live: Live) -> Totals:
    """Count labels, disagreements and everything that is neither."""
    labels, torn = live.labels
    outcomes = Counter(answer.outcome for answer in live.store.answers())
    return Totals(len(labels), len(torn), outcomes["skip"], outcomes["cant_tell"], len(live.store.set_aside()))


def classes(live: Live) -> pd.DataFrame:
    """Return class, train, held_out, unsplit for every class of the schema, in its order."""
    import pandas as pd

    return pd.DataFrame(status.class_counts(live.store, live.pool, live.schema))


def batches(live: Live) -> pd.DataFrame:
    """Return batch, state, items, answered, progress (0 to 1) and scored by, newest first."""
    import pandas as pd

    columns = ["batch", "state", "items", "answered", "progress", "scored by"]
    rows = [
        (b["name"], b["state"], b["size"], b["answered"], min(1.0, b["answered"] / max(1, b["size"])), b["model"])
        for b in reversed(live.batches)
    ]
    return pd.DataFrame(rows, columns=columns)


def annotators(live: Live) -> pd.DataFrame:
    """Return what each annotator answered and their median seconds per answer, most answers first."""
    import pandas as pd

    by: dict[str, list[Answer]] = {}
    for answer in live.store.answers():
        by.setdefault(answer.annotator, []).append(answer)
    rows = []
    for name, given in sorted(by.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        outcomes = Counter(answer.outcome for answer in given)
        seconds = sorted(answer.seconds for answer in given if answer.seconds is not None)
        middle = seconds[len(seconds) // 2] if seconds else None
        rows.append((name, len(given), outcomes["label"], outcomes["skip"], outcomes["cant_tell"], middle))
    columns = ["annotator", "answers", "labels", "skipped", "can't tell", "median seconds"]
    return pd.DataFrame(rows, columns=columns).astype({"median seconds": "float64"})
