"""Targets as lines that a person can read ("macro F1 >= 0.75"): parsed, held against a report, watched for edits."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from toughcall.model import evaluate, numbers
from toughcall.model.evaluate import ClassRow, Report, interval, weights
from toughcall.model.numbers import Doubles
from toughcall.questions import near
from toughcall.records import UsageError
from toughcall.records import digest as digest_of

SMALL = 30
"""A share of fewer rows is known to no better than ±0.18: a miss there may be luck, from here on it is a miss."""
Z = 1.959964

WHOLE = ("macro F1", "micro F1", "accuracy", "ROC-AUC", "false positive rate", "Spearman", "weighted MAE", "mean MAE")
EACH = ("F1", "precision", "recall", "false positive rate", "MAE", "Spearman")
NUMERIC = ("Spearman", "weighted MAE", "mean MAE", "MAE")
LESS = ("false positive rate", "weighted MAE", "mean MAE", "MAE")
"""Where smaller is better."""
SHARES = 100_000
"""Shares are counted as so many rows."""
LINE = re.compile(
    r"(?:(?P<every>every|all)\s+|(?P<count>\d+)\s+of\s+(?P<of>\d+)\s+)?(?P<figure>.*?)(?:\s+of\s+(?P<label>.+?))?"
    r"\s*(?P<op>>=|<=|>|<|≥|≤)\s*(?P<value>\d*\.?\d+)\s*(?P<percent>%)?",
    re.IGNORECASE,
)
OPS = {"≥": ">=", "≤": "<="}


@dataclass(frozen=True)
class Target:
    """One line. `scope`: all rows at once ("whole"), one class or dimension, every one, or `count` of `of`."""

    figure: str
    op: str
    value: float
    scope: Literal["whole", "one", "every", "some"] = "whole"
    label: str = ""
    count: int = 0
    of: int = 0

    @property
    def what(self) -> str:
        """What is asked about, without the number: two targets with one `what` are two versions of one."""
        if self.scope == "one":
            return f"{self.figure} of {self.label}"
        return {"whole": "", "every": "every ", "some": f"{self.count} of {self.of} "}[self.scope] + self.figure

    @property
    def asked(self) -> str:
        """The number with at least two digits."""
        return f"{self.value:.2f}" if round(self.value, 2) == self.value else f"{self.value:g}"

    @property
    def line(self) -> str:
        """The target as a person writes it."""
        return f"{self.what} {self.op} {self.asked}"

    def met(self, value: float) -> bool:
        """Return whether a figure reaches the target; one within 1e-9 counts as equal."""
        equal = abs(value - self.value) <= 1e-9
        return self.op in (">=", "<=") if equal else (value > self.value) == self.op.startswith(">")


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval (None: none known) and how many rows speak of it; `note`: what it is of."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""

    def told(self) -> str:
        """Return the figure in words."""
        if self.value is None:
            return f"not defined{self.note}"
        ends = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{ends}{self.note}"


@dataclass(frozen=True)
class _Counts:
    """Right, said and true rows per class, each of shape (r, k), and all rows, shape (r, 1); r resamples."""

    hit: Doubles
    called: Doubles
    real: Doubles
    n: Doubles
    exclusive: bool

    def without(self, kept: Sequence[bool]) -> _Counts:
        """Return the counts of some classes."""
        mask = np.array(kept, dtype=bool)
        return replace(self, hit=self.hit[:, mask], called=self.called[:, mask], real=self.real[:, mask])


def parse(
    lines: Sequence[str], *, labels: Sequence[str] = (), dimensions: Sequence[str] = (), null: str = ""
) -> tuple[Target, ...]:
    """Return the targets of some lines; UsageError names the first line that is none, and what is nearest.

    `labels`: the outputs of the kind (`Kind.columns`), `dimensions`: what is answered by a number. "every" and
    "4 of 6" are about all labels but the null one, or for MAE about all dimensions.
    """
    found: list[Target] = []
    for line in lines:
        one = _parsed(line.strip(), labels, dimensions, null)
        if twice := [other.line for other in found if other.what == one.what]:
            raise UsageError(f"target {line!r} and {twice[0]!r} ask for one thing: keep one of them in project.toml")
        found.append(one)
    return tuple(found)


def _parsed(line: str, labels: Sequence[str], dimensions: Sequence[str], null: str) -> Target:
    def wrong(why: str) -> UsageError:
        return UsageError(f"target {line!r}: {why}; correct it in project.toml")

    words = LINE.fullmatch(line)
    if not words:
        raise wrong('it must read like "macro F1 >= 0.75"')
    op = OPS.get(words["op"], words["op"])
    value = float(words["value"]) / (100 if words["percent"] else 1)
    several, label = bool(words["every"] or words["count"]), words["label"] or ""
    known = EACH if several or label else WHOLE
    figure = {_plain(name): name for name in known}.get(_plain(words["figure"]))
    if figure is None:
        raise wrong(f"no figure {words['figure']!r}{near(words['figure'], known)}, one of {', '.join(known)} is needed")
    if several and label:
        raise wrong("it names several classes and one")
    names = dimensions if figure in NUMERIC else labels
    if not names:
        raise wrong(f"there are no {'dimensions' if figure in NUMERIC else 'labels'} here for {figure}")
    if label and label not in names:
        raise wrong(f"no {'dimension' if figure in NUMERIC else 'label'} {label!r}{near(label, names)}")
    if (figure in LESS) != op.startswith("<"):
        raise wrong(f"{figure} is better when {'smaller' if figure in LESS else 'greater'}, it points the other way")
    if value > 1 and "MAE" not in figure:
        raise wrong(f"{figure} is at most 1")
    counted = sum(name != null for name in names)
    if words["count"]:
        count, of = int(words["count"]), int(words["of"])
        if of != counted or not 1 <= count <= of:
            raise wrong(f"there are {counted} to choose from{f' beside {null}' if null in names else ''}")
        return Target(figure, op, value, "some", count=count, of=of)
    return Target(figure, op, value, "every" if several else "one" if label else "whole", label)


def _plain(word: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", word).casefold().split())


def held(target: Target, report: Report) -> tuple[bool | None, str]:
    """Return (whether a report holds a target, None = cannot be told; the sentence with the figure).

    Held when the figure and its whole 95 % interval reach the target. Missed when the figure does not, unless
    fewer than 30 rows speak of it and its interval reaches the target. Else it cannot be told. Where no
    interval is known (Spearman's mean, a report without its rows) the figure alone decides. Of a report with
    a null label, averages are over the other labels.
    """
    if target.scope in ("whole", "one"):
        found = figure_of(report, target.figure, target.label)
        passed = _decided(target, found)
        end = ", which these rows cannot tell" if passed is None else ""
        return passed, f"{target.what} is {found.told()}, target {target.op} {target.asked}{end}"
    each = {name: figure_of(report, target.figure, name) for name in _names(target, report)}
    states = {name: _decided(target, found) for name, found in each.items()}
    sure, open_ = (sum(state is wanted for state in states.values()) for wanted in (True, None))
    due = target.count or len(each)
    passed = True if each and sure >= due else None if not each or sure + open_ >= due else False
    rest = [
        f"{name} {each[name].told()}{' cannot be told' if state is None else ''}"
        for name, state in states.items()
        if state is not True
    ]
    return passed, "; ".join([f"{target.line}: {sure} of {len(each)} surely", *rest])


def _names(target: Target, report: Report) -> list[str]:
    """Return the classes or dimensions that a target is about, "" for all rows at once."""
    if target.scope in ("whole", "one"):
        return [target.label]
    rows = report.per_dimension if target.figure in NUMERIC else report.per_class
    return [row.label for row in rows if row.label != report.null]


def _decided(target: Target, found: Figure) -> bool | None:
    if found.value is None:
        return None
    met = target.met(found.value)
    if found.low is None or found.high is None:
        return met
    ends = target.met(found.low), target.met(found.high)
    if met:
        return all(ends) or None
    return None if any(ends) and found.n < SMALL else False


def wilson(yes: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), 0 to 1 without rows."""
    from scipy.stats import binomtest

    if not n:
        return 0.0, 1.0
    ends = binomtest(yes, n).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


def figure_of(report: Report, figure: str, label: str = "") -> Figure:
    """Return a figure of `WHOLE`, or of one class or dimension (`EACH`), with its interval.

    Shares of rows have Wilson's interval. F1 of a class is 2J / (1 + J), where J is the share of right ones among
    the rows that are or are called a member: Wilson's interval of J gives that of F1, also for 0 of 9.
    Averages have the percentile bootstrap's of 2,000 resamples of rows, where the report holds its rows.
    """
    if figure in NUMERIC:
        return _numeric(report, figure, label)
    rows = {row.label: place for place, row in enumerate(report.per_class)}
    if (label and label not in rows) or not rows:
        return Figure(None, note=f" (no figure of {label or 'classes'} in this report)")
    if figure == "ROC-AUC":
        return _auc(report)
    once = _counted(report, None)
    if label:
        absent = f" (no row of {label})"
        hit, called, real = (round(side[0, rows[label]]) for side in (once.hit, once.called, once.real))
        if figure == "F1":
            union = real + called - hit
            low, high = (2 * end / (1 + end) for end in wilson(hit, union))
            return Figure(2 * hit / (real + called), low, high, union) if real else Figure(None, note=absent)
        yes, n = {
            "precision": (hit, called),
            "recall": (hit, real),
            "false positive rate": (called - hit, report.n - real),
        }[figure]
        why = f" ({label} is never predicted)" if figure == "precision" else absent
        return Figure(yes / n, *wilson(yes, n), n) if n else Figure(None, note=why)
    kept = [row.label != report.null for row in report.per_class]
    some = once if figure == "accuracy" else once.without(kept)
    value = numbers.number(float(_average(figure, some)[0]))
    ends: tuple[float | None, float | None] = (None, None)
    if value is not None and report.truth:
        drawn = _counted(report, weights(report.n, report.seed))
        ends = interval(_average(figure, drawn if figure == "accuracy" else drawn.without(kept)))
    return Figure(value, *ends, report.n, _note(report, figure, once))


def _note(report: Report, figure: str, once: _Counts) -> str:
    accuracy, macro = (float(_average(name, once)[0]) for name in ("accuracy", "macro F1"))
    if figure == "micro F1" and once.exclusive:
        beside = f" without {report.null}" if report.null else ""
        return f"{beside} ({accuracy:.4f} over all {len(report.per_class)} classes is accuracy)"
    if figure == "macro F1" and report.null:
        return f" without {report.null} ({macro:.3f} with it)"
    return " on average over labels" if figure == "accuracy" and len(report.per_class) > 1 != once.exclusive else ""


def _counted(report: Report, drawn: Doubles | None) -> _Counts:
    """Return the counts of the rows as they are, or of each resample; from the class table where no row is held."""
    exclusive = bool(report.confusion)
    if not report.truth:
        rows = report.per_class
        table = [[(row.recall or 0.0) * row.support, row.predicted, row.support] for row in rows]
        hit, called, real = np.array(table, dtype=np.float64).T[:, None, :]
        return _Counts(hit, called, real, np.array([[float(report.n)]]), exclusive)
    drawn = np.ones((1, report.n)) if drawn is None else drawn
    truth, said = np.array(report.truth, dtype=bool), np.array(report.said, dtype=bool)
    return _Counts(drawn @ (truth & said), drawn @ said, drawn @ truth, drawn.sum(axis=1)[:, None], exclusive)


def _average(figure: str, c: _Counts) -> Doubles:
    """Return an average over classes in each resample, shape (r,); NaN where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if figure == "macro F1":
            f1 = np.where(c.real > 0, 2 * c.hit / (c.real + c.called), 0.0)
            return np.asarray(f1.sum(axis=1) / (c.real > 0).sum(axis=1))
        if figure == "micro F1":
            return np.asarray(2 * c.hit.sum(axis=1) / (c.real + c.called).sum(axis=1))
        if figure == "false positive rate":
            return np.asarray((c.called - c.hit).sum(axis=1) / (c.n - c.real).sum(axis=1))
        if c.exclusive:
            return np.asarray(c.hit.sum(axis=1) / c.n[:, 0])
        return np.asarray(((c.n - c.real - c.called + 2 * c.hit) / c.n).mean(axis=1))


def _auc(report: Report) -> Figure:
    """Return ROC-AUC, of several columns the mean over those with both sides."""
    if not report.truth:
        known = report.metric == "roc_auc"
        return Figure(report.value, report.low, report.high, report.n) if known else Figure(None)
    truth, p = np.array(report.truth, dtype=bool), np.array(report.values, dtype=np.float32)
    both = [j for j in range(truth.shape[1]) if truth[:, j].any() and not truth[:, j].all()]

    def mean(drawn: Doubles) -> Doubles:
        return np.asarray(np.mean([evaluate.roc_auc(truth[:, j], p[:, j], drawn) for j in both], axis=0))

    if not both:
        return Figure(None, note=" (one side only)")
    value = numbers.number(float(mean(np.ones((1, report.n)))[0]))
    return Figure(value, *interval(mean(weights(report.n, report.seed))), report.n)


def _numeric(report: Report, figure: str, label: str) -> Figure:
    rows = [row for row in report.per_dimension if not label or row.label == label]
    if figure == "Spearman":
        if label and rows:
            return _spearman(rows[0].spearman, rows[0].n)
        # a grade beside a label: its rows are not in the report
        names = [name for name in report.others if name.endswith("_spearman") and not rows]
        wanted = "mean_spearman" if rows else f"{label}_spearman" if label else names[0] if len(names) == 1 else ""
        return Figure(report.others.get(wanted), n=report.n)
    if not rows:
        return Figure(None, note=f" (no figure of {label or 'dimensions'} in this report)")
    by = np.array([row.weight if figure == "weighted MAE" else 1.0 for row in rows])
    value = numbers.weighted(tuple(rows), evenly=figure != "weighted MAE")
    ends: tuple[float | None, float | None] = (None, None)
    if value is not None and report.truth:
        names = [row.label for row in rows]
        columns = [j for j, row in enumerate(report.per_dimension) if row.label in names]
        truth, said = (np.array(side, dtype=np.float64)[:, columns] for side in (report.truth, report.values))
        ends = interval(evaluate.mae(truth, said, by, weights(report.n, report.seed)))
    return Figure(value, *ends, min(row.n for row in rows))


def _spearman(value: float | None, n: int) -> Figure:
    """Return a rank correlation with the interval of Bonett and Wright (Psychometrika 65, 2000), from 4 rows on."""
    if value is None or n < 4 or abs(value) >= 1:
        return Figure(value, n=n)
    half = Z * math.sqrt((1 + value * value / 2) / (n - 3))
    return Figure(value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half), n)


def trivial(
    targets: Sequence[Target], rows: Report | Mapping[str, float], *, single: bool = False, null: str = ""
) -> list[str]:
    """Return a sentence for each target that is passed without looking at a text.

    `rows`: any report on the rows (only their truth is read, and the training mean's error), or the share of
    each label, with whether one excludes the others. Tried: predicting nothing, or always the greatest class.
    """
    if not isinstance(rows, Report):
        table = tuple(ClassRow(one, round(share * SHARES), 0, None, None, None, 0.5) for one, share in rows.items())
        rows = Report("", "", "", SHARES, None, None, None, 0, table, (), {}, 0, null=null, confusion=((1,),) * single)
    top = max(rows.per_class, key=lambda row: row.support).label if rows.confusion and rows.per_class else ""
    said = tuple(
        replace(row, predicted=rows.n, recall=1.0) if row.label == top else replace(row, predicted=0, recall=0.0)
        for row in rows.per_class
    )
    means = tuple(replace(row, mae=row.constant_mae, spearman=None) for row in rows.per_dimension)
    constant = replace(rows, per_class=said, per_dimension=means, truth=(), value=None, others={})
    found = []
    for target in targets:
        values = [figure_of(constant, target.figure, one).value for one in _names(target, constant)]
        passed = [value for value in values if value is not None and target.met(value)]
        if not passed or len(passed) < (target.count or len(values)):
            continue
        name = (
            "the training mean" if target.figure in NUMERIC else f"always saying {top}" if top else "predicting nothing"
        )
        shown = _range(passed)
        if target.figure == "accuracy" and not top and len(said) > 1:
            shown = f"{_range([1 - row.support / rows.n for row in said])} by label, {passed[0]:.2f} on average"
        found.append(f"{target.line} is passed by {name} ({shown})")
    return found


def _range(values: Collection[float]) -> str:
    return "–".join(dict.fromkeys((f"{min(values):.2f}", f"{max(values):.2f}")))


def digest(targets: Sequence[Target]) -> str:
    """Return a digest of what is asked, whatever the order of the lines."""
    return digest_of("targets", sorted(target.line for target in targets))


def edits(before: Sequence[Target], after: Sequence[Target], version: str) -> list[str]:
    """Return a sentence for each target that was changed, taken out or added after a model was trained."""
    old, new = ({target.what: target for target in side} for side in (before, after))
    when = f"after {version} was trained"
    found = []
    for what in dict.fromkeys([*old, *new]):
        was, now = old.get(what), new.get(what)
        if was is None and now is not None:
            found.append(f"target was added {when}: {now.line}")
        elif now is None and was is not None:
            found.append(f"target was taken out {when}: {was.line}")
        elif was is not None and now is not None and was.line != now.line:
            to = now.asked if was.op == now.op else f"{now.op} {now.asked}"
            found.append(f"target was edited {when}: {was.line} → {to}")
    return found
