"""The gate: pure, paired, and closed unless everything it asks for is there (C66–C68)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

from toughcall.model.evaluate import Report, better, paired
from toughcall.model.targets import Target, held

Outcome = Literal["PROMOTE", "KEEP", "UNDECIDED"]


@dataclass(frozen=True)
class Gate:
    """What a candidate has to show. `confidence` of the paired intervals, `min_gain` in units of the metric.

    `floors`: the least F1 a class may have, by label. `targets`: what the candidate's figures must reach: one
    missed refuses, one that cannot be told leaves it undecided. `openings`: how many candidates the sealed test
    set has been opened for, this one included.
    """

    metric: str
    confidence: float = 0.95
    min_gain: float = 0.0
    min_items: int = 50
    floors: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    openings: int = 1

    def __post_init__(self) -> None:
        if self.openings < 1:
            raise ValueError(f"openings is {self.openings}: the candidate that is judged is one")

    @property
    def spent(self) -> float:
        """The confidence of the paired intervals at this opening: 1 - alpha / k² at the k-th.

        A promotion by luck errs on one side only, alpha / (2 k²) each time. Over any number of openings that sums
        to alpha · π² / 12 = 0.82 alpha (Σ 1 / k² = π² / 6), and by Bonferroni's inequality the chance of one false
        promotion among them is no greater, however the candidates depend on each other.
        """
        return 1.0 - (1.0 - self.confidence) / self.openings**2


@dataclass(frozen=True)
class Check:
    """One question asked: True passed, False failed, None cannot be told from these rows."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class Verdict:
    """PROMOTE when every check passed; UNDECIDED when none failed but some cannot be told; else KEEP."""

    outcome: Outcome
    checks: tuple[Check, ...]
    candidate: str
    kept: str
    """What serves when the candidate does not: the champion's name, or the untouched encoder's."""

    def sentence(self) -> str:
        """Return the verdict in one sentence, with the figures of the check that decided."""
        if self.outcome == "PROMOTE":
            shown = [check.detail for check in self.checks if check.name.startswith("beats")]
            return f"PROMOTE {self.candidate}: {'; '.join(shown)}"
        wanted = False if self.outcome == "KEEP" else None
        why = "; ".join(check.detail for check in self.checks if check.passed is wanted)
        return f"{self.outcome} {self.kept}: {why}"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _told(report: Report) -> str:
    if report.value is None:
        return f"{report.model} not defined"
    return f"{report.model} {report.value:.3f}"


def judge(candidate: Report, champion: Report | None, baselines: Sequence[Report], gate: Gate) -> Verdict:
    """Return whether a candidate ships, from reports on the same rows alone.

    The candidate must be better than the champion (if there is one) and than the untouched encoder by more
    than `min_gain`, the whole paired interval above it; better than the other baselines on these rows; no
    class below its floor; and every target held. Missing, undefined, unaligned or equal figures refuse.
    """
    kept = champion.model if champion is not None else "untouched"
    if candidate.metric != gate.metric or not _finite(candidate.value):
        check = Check("measured", False, f"{gate.metric} of {_told(candidate)} on {candidate.n} rows")
        return Verdict("KEEP", (check,), candidate.model, kept)
    untouched = [report for report in baselines if report.role == "untouched"]
    checks = [
        Check(
            "enough rows",
            True if candidate.n >= gate.min_items else None,
            f"{candidate.n} held-out rows, {gate.min_items} asked for",
        )
    ]
    if not untouched:
        checks.append(Check("beats untouched", False, "no figure of the untouched encoder on these rows"))
    for rival in [*([champion] if champion is not None else []), *untouched]:
        checks.append(_beats(candidate, rival, gate))
    for rival in baselines:
        if rival.role == "untouched":
            continue
        # a baseline that separates nothing has no figure, and nothing to be compared with
        above = rival.value is None or (_finite(rival.value) and better(candidate, rival))
        aligned = (rival.ids, rival.truth, rival.metric) == (candidate.ids, candidate.truth, candidate.metric)
        checks.append(
            Check(f"above {rival.role}", above and aligned, f"{gate.metric} {_told(candidate)} against {_told(rival)}")
        )
    f1 = {row.label: row.f1 for row in candidate.per_class}
    for label, floor in sorted(gate.floors.items()):
        value = f1.get(label)
        passed = None if value is None else value >= floor
        shown = "n/a (no row of it)" if value is None else f"{value:.3f}"
        checks.append(Check(f"floor of {label}", passed, f"F1 of {label} is {shown}, floor {floor:.3f}"))
    checks += [Check(f"target {target.line}", *held(target, candidate)) for target in gate.targets]
    states = [check.passed for check in checks]
    outcome: Outcome = "KEEP" if False in states else "UNDECIDED" if None in states else "PROMOTE"
    return Verdict(outcome, tuple(checks), candidate.model, kept)


def _beats(candidate: Report, rival: Report, gate: Gate) -> Check:
    name = f"beats {rival.role}"
    both = f"{gate.metric} {_told(candidate)} against {_told(rival)}"
    found = paired(candidate, rival, seed=candidate.seed, confidence=gate.confidence)
    if found is None:
        return Check(name, False, f"{both}: no paired difference on the same rows")
    gain, low, high = found
    shown = f"{both}, difference {gain:+.3f} "
    if gate.openings > 1:
        # 2,000 resamples hold no quantile that far out: the interval they do hold is stretched, as a normal one would
        far, near = (NormalDist().inv_cdf((1 + share) / 2) for share in (gate.spent, gate.confidence))
        low, high = min(low, gain - (gain - low) * far / near), max(high, gain + (high - gain) * far / near)
        shown += f"[{low:+.3f}, {high:+.3f}] (opened {gate.openings} times: {gate.spent:.2%} interval)"
    else:
        shown += f"[{low:+.3f}, {high:+.3f}]"
    if gain <= gate.min_gain or high <= gate.min_gain:
        return Check(name, False, f"{shown}, not above {gate.min_gain:g}")
    if low <= gate.min_gain:
        return Check(name, None, f"{shown}, the interval reaches {gate.min_gain:g}")
    return Check(name, True, shown)
