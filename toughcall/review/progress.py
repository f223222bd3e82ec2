"""What the labels tab shows: how far each class, batch and annotator has come."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
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
    outcomes = Counter(answer.outcome for answer in live.answers)
    return Totals(len(labels), len(torn), outcomes["skip"], outcomes["cant_tell"], len(live.store.set_aside()))


def classes(live: Live) -> pd.DataFrame:
    """Return class, train, held_out, unsplit for every class of the schema, in its order."""
    import pandas as pd

    return pd.DataFrame(status.class_counts(live.store, live.pool, live.schema, live.labels[0]))


def batches(live: Live) -> pd.DataFrame:
    """Return batch, state, items, answered, progress (0 to 1) and scored by, newest first."""
    import pandas as pd

    columns = ["batch", "state", "items", "answered", "progress", "scored by"]
    rows = [
        (b["name"], b["state"], b["size"], b["answered"], min(1.0, b["answered"] / max(1, b["size"])), b["model"])
        for b in reversed(live.batches)
    ]
    return pd.DataFrame(rows, columns=columns)


PAUSE = 900.0
"""Seconds without an answer after which somebody is not at work."""


def times(answers: Sequence[Answer]) -> list[datetime]:
    """Return when answers were given, in order; those without a time that can be read are left out."""
    found = []
    for answer in answers:
        with contextlib.suppress(ValueError):
            when = datetime.fromisoformat(answer.at)
            found.append(when if when.tzinfo else when.replace(tzinfo=UTC))
    return sorted(found)


def per_hour(answers: Sequence[Answer]) -> float | None:
    """Return somebody's answers an hour while at work, None where too few have a time to tell.

    Work is the time between two answers that are no more than `PAUSE` apart.
    """
    at = times(answers)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(at)]
    worked = [gap for gap in gaps if 0 < gap <= PAUSE]
    return 3600.0 * len(worked) / sum(worked) if len(worked) >= LEAST else None


LEAST = 5
"""So many pairs of answers it takes to tell a rate."""


def annotators(live: Live) -> pd.DataFrame:
    """Return what each annotator answered, how long one takes and how many an hour, most answers first."""
    import pandas as pd

    by: dict[str, list[Answer]] = {}
    for answer in live.answers:
        by.setdefault(answer.annotator, []).append(answer)
    rows = []
    for name, given in sorted(by.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        outcomes = Counter(answer.outcome for answer in given)
        seconds = sorted(answer.seconds for answer in given if answer.seconds is not None)
        middle = seconds[len(seconds) // 2] if seconds else None
        rows.append(
            (name, len(given), outcomes["label"], outcomes["skip"], outcomes["cant_tell"], middle, per_hour(given))
        )
    columns = ["annotator", "answers", "labels", "skipped", "can't tell", "median seconds", "an hour"]
    return pd.DataFrame(rows, columns=columns).astype({"median seconds": "float64", "an hour": "float64"})


def pace(live: Live) -> pd.DataFrame:
    """Return when (the start of a day, or of an hour where all is of one day), annotator and answers given then."""
    import pandas as pd

    people = [one for one in live.answers if one.source == "person" and one.at]
    stamped = [(when, one.annotator) for one in people for when in times([one])]
    days = {when.date() for when, _ in stamped}
    cut = {"minute": 0, "second": 0, "microsecond": 0} | ({"hour": 0} if len(days) > 1 else {})
    counted = Counter((when.astimezone(UTC).replace(**cut, tzinfo=None), name) for when, name in stamped)
    rows = [(when, name, n) for (when, name), n in sorted(counted.items())]
    return pd.DataFrame(rows, columns=["when", "annotator", "answers"])


def agreement(root: str, at: tuple[int, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of `toughcall agree` on labels and on people, for one state of the ledger (`planned.stamp`)."""
    import pandas as pd

    from toughcall.experts import rows
    from toughcall.workspace import opened

    with opened(Path(root), "review", writing=False) as ws:
        tables = dict(rows(ws))
    return pd.DataFrame(tables["Agreement"]), pd.DataFrame(tables["Annotators"])
