"""The held-out rows of one stored model as arrays: what errors, calibration and thresholds are counted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.records import Bools, IntegrityError
from toughcall.review.verdict import Event

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from toughcall.model.evaluate import Report
    from toughcall.review.live import Live


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A model's report and its n rows over k columns: labels, for a pair the first one, for numbers dimensions.

    `truth`: which columns are true, or numbers with NaN where unanswered; `values`: probabilities in [0, 1], or
    numbers in the dimensions' units; `said`: which columns were predicted (none for numbers).
    """

    report: Report
    columns: tuple[str, ...]
    truth: NDArray[Any]
    values: NDArray[np.float64]
    said: Bools

    @property
    def numbers(self) -> bool:
        """Whether the columns are dimensions."""
        return bool(self.report.per_dimension)

    @property
    def exclusive(self) -> bool:
        """Whether one label excludes the others."""
        return bool(self.report.confusion)

    @property
    def ids(self) -> tuple[str, ...]:
        """The item of each row."""
        return self.report.ids


def of_report(report: Report) -> HeldOut:
    """Return the rows of a report as arrays; ValueError when they are not aligned."""
    columns = tuple(row.label for row in report.per_dimension or report.per_class)
    shape = (len(report.ids), len(columns))
    numbers = bool(report.per_dimension)
    truth = np.array(report.truth, dtype=np.float64 if numbers else bool).reshape(shape)
    said = np.zeros(shape, dtype=bool) if numbers else np.array(report.said, dtype=bool).reshape(shape)
    return HeldOut(report, columns, truth, np.array(report.values, dtype=np.float64).reshape(shape), said)


def versions(events: Sequence[Event], stored: Sequence[str]) -> list[str]:
    """Return the models to choose from, the newest first: those the ledger judged, then what else is stored."""
    judged = [str(event.get("version") or "") for event in events]
    return list(dict.fromkeys([*(one for one in reversed(judged) if one), *reversed(stored)]))


def read(live: Live, version: str) -> HeldOut | None:
    """Return the rows a stored model was judged on; None when it was never judged on any.

    IntegrityError or UsageError, one sentence, when its folder is missing or any file of it was changed.
    """
    from toughcall.model.registry import Registry

    folder = Registry(live.project.models).path(version)
    # a stored model never changes: what was checked once is checked again only when a file is another one
    state = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.glob("*"))]
    return _read(live.project.models, version, tuple(state))


@lru_cache(maxsize=4)
def _read(models: Path, version: str, state: tuple[tuple[str, int, int], ...]) -> HeldOut | None:
    from toughcall.model.registry import Registry

    registry = Registry(models)
    try:
        report = registry.report(version)
        return of_report(report) if report is not None and report.ids else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(
            f"{registry.path(version) / 'report.json'} is not a report this toughcall reads "
            f"({type(error).__name__}): toughcall retrain --force measures again"
        ) from None
