"""From labels, audits and reports to a plan: what each class lacks, how many answers that takes, what to do next."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toughcall.evidence import Evidence, Judged, evidence, judged_of
from toughcall.mining.batch import AUDIT
from toughcall.mining.patterns import Precision
from toughcall.mining.proportions import wilson
from toughcall.mining.yields import AIMED, Yield, alarms
from toughcall.records import Answer
from toughcall.workspace import Workspace

POSITIVES = 20
"""So many positives are asked for where nobody says otherwise."""
WIDTH = 0.10
"""A class is measurable when the 95 % interval of its recall is at most this far to either side."""
SECONDS = 20.0
"""So long an answer takes where nobody has given one yet."""
RECENT = 3
"""The mined yield is that of so many batches."""


def needed(width: float = WIDTH) -> int:
    """Return the fewest held-out positives for which recall is known to ± `width` at 95 %, whatever it is.

    The score interval (Wilson 1927) is widest where the recall is 0.5, z / (2 √(n + z²)) to either side.
    """
    z = 1.959964
    return math.ceil((z / (2 * width)) ** 2 - z * z)


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its 95 % interval; None = not known, and as `high` no end."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return "1,400 (900–2,300)", with two figures that mean something, "about 35,700" where no draw says it."""
        if self.value is None:
            return "–" if not self.low else f"more than {_round(self.low)}"
        if self.low is None:
            return f"about {_near(self.value)}"
        return f"{_round(self.value)} ({_round(self.low)}–{_round(self.high) if self.high is not None else ''})"


def _round(number: float) -> str:
    """Return a number of answers, rounded up to two leading digits."""
    step = 10 ** max(0, math.floor(math.log10(max(1.0, number))) - 1)
    return f"{math.ceil(round(number / step, 6)) * step:,}"


def _near(number: float) -> str:
    """Return a number of answers, rounded to three leading digits."""
    step = 10 ** max(0, math.floor(math.log10(max(1.0, number))) - 2)
    return f"{round(number / step) * step:,}"


def answers_for(positives: float, share: Amount) -> Amount:
    """Return how many answers hold so many positives where each is one with the chance `share`."""
    value, low, high = (None if not one else positives / one for one in (share.value, share.high, share.low))
    return Amount(value, low if share.high is not None else None, high if share.low is not None else None)


@dataclass(frozen=True, slots=True)
class ClassPlan:
    """One class: what there is, what it lacks, what that takes, and what to do next."""

    label: str
    train: int
    held_out: int
    neither: int
    share: Amount
    basis: str
    """Where the share comes from: "audit" (drawn at random), "labels" (all of them, not a sample), or ""."""
    missing: int
    """Held-out positives that recall still needs to be known to ± 0.10."""
    want: int
    """Training positives that the class still needs to be learnt: those asked for, or as many again."""
    judged: Judged
    random: Amount
    """Answers drawn at random that hold the positives asked for."""
    mined: Amount
    """The same of mined answers."""
    measure_random: Amount
    """Held-out answers drawn at random that hold the positives missing to be measurable."""
    measure_mined: Amount
    """The same of mined answers, on which recall comes out too high: what is mined is what is easier to find."""
    left: Amount
    """How many of the class nobody was asked about."""
    alarm: str
    next: tuple[str, ...]
    """What to do, the first thing first."""

    def to_learn(self, positives: int) -> tuple[Amount, Amount]:
        """Return how many answers (drawn at random, mined) hold what it still needs to be learnt."""
        return scaled(self.random, self.want / positives), scaled(self.mined, self.want / positives)


def scaled(one: Amount, by: float) -> Amount:
    """Return an amount so many times as large."""
    return Amount(*(None if end is None else end * by for end in (one.value, one.low, one.high)))


def wanted(train: int, judged: Judged, positives: int) -> int:
    """Return how many more training positives a class needs: those asked for, or as many again if in vain."""
    missing = positives - train
    if missing <= 0 and (judged.never_predicted or judged.f1 is not None) and not judged.learnt:
        return train
    return max(0, missing)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an answer takes: `seconds` is the median of `n` answers, 20 with n = 0; `people` answer each item."""

    seconds: float
    n: int
    people: int = 1

    def hours(self, answers: float) -> float:
        """Return the hours that experts spend on so many items."""
        return answers * self.seconds * self.people / 3600.0

    def __str__(self) -> str:
        """Return where the pace comes from, in words."""
        each = f", {self.people} experts an item" if self.people > 1 else ""
        if not self.n:
            return f"{self.seconds:.0f} s an answer is assumed, nobody's was timed yet{each}"
        return f"{self.seconds:.0f} s an answer, the median of {self.n:,}{each}"


def pace_of(answers: Sequence[Answer], people: int = 1) -> Pace:
    """Return the pace of what persons answered: the median, because a page left open overnight is not work."""
    timed = [a.seconds for a in answers if a.source == "person" and a.outcome != "deleted" and a.seconds]
    return Pace(float(statistics.median(timed)) if timed else SECONDS, len(timed), people)


def shares(label: str, seen: Evidence) -> tuple[Amount, str]:
    """Return the share of a class in the pool and where it comes from: audited answers, else all labels."""
    if seen.audited:
        yes = sum(label in said for said in seen.audited.values())
        return Amount(*wilson(yes, len(seen.audited))), "audit"
    if not seen.total:
        return Amount(None, None, None), ""
    return Amount(sum(seen.counts[label].values()) / seen.total, None, None), "labels"


def mined_share(label: str, found: Sequence[Yield]) -> Amount:
    """Return the share of a class in the newest mined answers that were to find it, else in all mined ones."""
    for aimed in (True, False):
        each: dict[str, tuple[int, int]] = {}
        for one in found:
            if one.label == label and one.reason != AUDIT and (one.reason in AIMED) == aimed:
                for batch, n, yes in one.batches:
                    before = each.get(batch, (0, 0))
                    each[batch] = (before[0] + n, before[1] + yes)
        if each:
            newest = [each[batch] for batch in sorted(each, key=lambda name: (len(name), name))[-RECENT:]]
            return Amount(*wilson(sum(yes for _, yes in newest), sum(n for n, _ in newest)))
    return Amount(None, None, None)


def class_plans(seen: Evidence, positives: int = POSITIVES) -> list[ClassPlan]:
    """Return the plan of every class, in the order of the labels."""
    plans = []
    left: dict[str, tuple[float, float, float]] = {}
    for label in seen.labels:
        share, basis = shares(label, seen)
        there = Amount(*(None if one is None else one * seen.unasked for one in dataclasses.astuple(share)))
        if there.value is not None and there.low is not None and there.high is not None:
            left[label] = (there.value, there.low, there.high)
        count, judged = seen.counts[label], judged_of(label, seen.event)
        missing, mined = max(0, needed() - count["held_out"]), mined_share(label, seen.found)
        plans.append(
            ClassPlan(
                label,
                train=count["train"],
                held_out=count["held_out"],
                neither=count["neither"],
                share=share,
                basis=basis,
                missing=missing,
                want=wanted(count["train"], judged, positives),
                judged=judged,
                random=answers_for(positives, share),
                mined=answers_for(positives, mined),
                measure_random=answers_for(missing, share),
                measure_mined=answers_for(missing, mined),
                left=there,
                alarm="",
                next=(),
            )
        )
    told = alarms(seen.found, left)
    return [dataclasses.replace(one, alarm=told.get(one.label, ""), next=steps(one, seen, positives)) for one in plans]


def steps(plan: ClassPlan, seen: Evidence, positives: int = POSITIVES) -> tuple[str, ...]:
    """Return what to do about a class, in words, the first thing first; "fine" when there is nothing."""
    if not (seen.unasked or seen.total):
        return ("import records: toughcall import FILE --text COLUMN",)
    said = []
    if (plan.judged.never_predicted or plan.judged.f1 is not None) and not plan.judged.learnt:
        state = "never predicted" if plan.judged.never_predicted else "no better than the majority guess"
        said.append(f"{state} with {plan.train} labels" + ("" if plan.train < positives else ": as many again"))
    if plan.want:
        said.append(_find(plan, seen, plan.want, positives))
    if plan.want and plan.judged.confused and plan.judged.never_predicted:
        said.append(f"say in the guideline how it differs from {plan.judged.confused.split(' (')[0]}")
    if plan.missing:
        beside = _at_random(plan, plan.missing / positives)
        said.append(
            f"measurable only with {plan.missing} more held-out{f' ({beside})' if beside else ''}: "
            "toughcall import FILE --held-out, or audits"
        )
    return tuple(said) or ("fine",)


def _find(plan: ClassPlan, seen: Evidence, want: int, positives: int) -> str:
    """Return how to come by so many more of a class."""
    scale, drawn = want / positives, _at_random(plan, want / positives)
    most = plan.left.value if plan.left.high is None else plan.left.high
    if not seen.unasked or (most is not None and most < want and plan.left.value):
        there = f"the pool holds about {_round(plan.left.value or 0)} more of it" if seen.unasked else "all are asked"
        return f"import more records, {there}{f': {want} take {drawn}' if drawn else ''}"
    hint = ""
    if not plan.train + plan.held_out + plan.neither:
        if plan.label not in seen.hinted:
            return _where_to_look(plan.label, seen)
        hint = f" by its {seen.hinted[plan.label]}"
    if plan.mined.value:
        return f"mine {_round(plan.mined.value * scale)} more for {want} of it{hint}"
    if plan.mined.low:
        return f"the newest batches found none of it: {want} take more than {_round(plan.mined.low * scale)} mined"
    return f"mine {seen.batch} more{hint}, which shows how many {want} of it take{f' ({drawn})' if drawn else ''}"


def _at_random(plan: ClassPlan, scale: float) -> str:
    if not plan.random.value:
        return ""
    rounded = _near if plan.random.low is None else _round
    return f"about {rounded(plan.random.value * scale)} drawn at random"


def _where_to_look(label: str, seen: Evidence) -> str:
    quoted = label if label.isascii() and label.isidentifier() else f'"{label}"'
    if not seen.phrases:
        return f'write patterns: [patterns] {quoted} = ["…"] in project.toml, or import known ones'
    return f'write seeds: [seeds] {quoted} = ["a phrase of an example"] in project.toml, then toughcall mine'


def plan(ws: Workspace, positives: int = POSITIVES) -> list[ClassPlan]:
    """Return the plan of every class of a project; [] where answers are numbers, of which none is rare."""
    return class_plans(evidence(ws), positives) if ws.kind.labelled else []


def as_json(one: ClassPlan) -> dict[str, Any]:
    """Return a plan as plain JSON."""
    row = dataclasses.asdict(one)
    return {"class": row.pop("label"), **row, "measurable": not one.missing, "learnt": one.judged.learnt}


def as_row(one: ClassPlan, positives: int = POSITIVES) -> dict[str, Any]:
    """Return a plan as a row of the table that `toughcall plan` prints."""
    share, judged = one.share, one.judged
    shown = "–" if share.value is None else f"{share.value:.1%}"
    if one.basis == "audit":
        shown += f" ({share.low:.1%}–{share.high:.1%})"
    elif one.basis:
        shown += " of all labels"
    learnt = "no model yet" if judged.never_predicted is None else "not judged yet"
    if judged.never_predicted:
        learnt = "never predicted"
        if judged.recall_high is not None:
            learnt += f" (recall {judged.recall_low:.0%}–{judged.recall_high:.0%})"
    elif judged.f1 is not None:
        learnt = f"{'yes' if judged.learnt else 'no'}: F1 {judged.f1:.2f}, guess {judged.guess or 0.0:.2f}"
    return {
        "class": one.label,
        "train": one.train,
        "held out": one.held_out,
        "share": shown,
        "measurable": f"no: {one.missing} more" if one.missing else "yes",
        "random for ±0.10": str(one.measure_random) if one.missing else "–",
        "mined for ±0.10": str(one.measure_mined) if one.missing else "–",
        "learnable": learnt,
        "confused with": judged.confused or "–",
        f"random for {positives}": str(one.random),
        f"mined for {positives}": str(one.mined),
    }


def price_rows(plans: Sequence[ClassPlan], positives: int, pace: Pace, price: float) -> list[dict[str, Any]]:
    """Return what each class lacks, random and mined, in answers, hours and money: rows of a table."""
    out = []
    for one in plans:
        learn = one.to_learn(positives)
        goals = [(f"learnable: {one.want} more", *learn)] if one.want else []
        if one.missing:
            goals.append((f"measurable (±{WIDTH:.2f}): {one.missing} more", one.measure_random, one.measure_mined))
        for goal, *ways in goals:
            row: dict[str, Any] = {"class": one.label, "to be": goal}
            for way, amount in zip(("random", "mined"), ways, strict=True):
                hours = Amount(*(None if n is None else pace.hours(n) for n in _ends(amount)))
                row[way] = str(amount)
                row[f"hours {way}"] = str(hours)
                row[f"price {way}"] = str(Amount(*(None if h is None else h * price for h in _ends(hours))))
            out.append(row)
    return out


def _ends(one: Amount) -> tuple[float | None, float | None, float | None]:
    return one.value, one.low, one.high


def next_rows(plans: Sequence[ClassPlan]) -> list[dict[str, Any]]:
    """Return what to do as rows of a table, the classes in the order of the plan, alarms first."""
    told = [(one.label, step) for one in plans for step in (*filter(None, [one.alarm]), *one.next)]
    return [{"class": label, "next": step} for label, step in told]


def pattern_row(one: Precision) -> dict[str, Any]:
    """Return how good a pattern is as a row of a table."""
    return {
        "pattern": one.pattern,
        "class": one.label,
        "matches": one.matched,
        "answered": one.answered,
        "confirmed": one.confirmed,
        "95 % interval": f"{one.low:.0%}–{one.high:.0%}" if one.answered else "–",
        "says": one.dropped or one.sentence,
    }
