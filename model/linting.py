"""What figures of one report say against each other: a contradiction is a sentence, and refuses the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ROUNDED = 6e-4
"""So far two figures may lie apart that were rounded to three decimals each."""
SHARES = ("accuracy", "precision", "recall", "f1", "average_precision", "roc_auc", "share", "agreement")
"""A figure with one of these in its name is a share, from 0 to 1."""
OPPOSED = ({"ship", "hold"}, {"ship", "send to people"}, {"take", "leave"})
"""Advice that nobody can follow together for one class."""


def lint(figures: Mapping[str, Any]) -> list[str]:
    """Return what is contradictory in a report's figures, one sentence each, the gravest first; [] when sound.

    Read, each only where it is there: `n` rows; `exclusive`, whether a row has one label; `null`, the label left
    out of positive figures; `per_class`, rows with label, support, predicted, precision, recall, f1, threshold;
    `confusion` in their order; `never_predicted`; `metrics`, name → a number or {"value", "low", "high"};
    `models`, rows with role, value, low, high; `shares`, label → share of the rows; `advice`, rows with class and do.
    """
    return [
        *_not_numbers(figures, ""),
        *_units(figures),
        *_of_classes(figures),
        *_of_confusion(figures),
        *_of_averages(figures),
        *_of_intervals(figures),
        *_of_advice(figures),
    ]


def _not_numbers(value: Any, where: str) -> Iterator[str]:
    """Say where something is NaN or infinite: what is not defined is None."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where or 'a figure'} is {value}: what is not defined is null"
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _not_numbers(one, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            name = one.get("label", place) if isinstance(one, Mapping) else place
            yield from _not_numbers(one, f"{where}.{name}")


def _value(raw: Any) -> float | None:
    """Return a figure given plainly or with its interval; None for what is not there or not finite."""
    found = raw.get("value") if isinstance(raw, Mapping) else raw
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def _units(figures: Mapping[str, Any]) -> Iterator[str]:
    shown = [(name, raw) for name, raw in (figures.get("metrics") or {}).items() if any(one in name for one in SHARES)]
    for row in figures.get("per_class") or ():
        shown += [(f"{name} of {row['label']}", row.get(name)) for name in ("precision", "recall", "f1")]
    shares: Mapping[str, Any] = figures.get("shares") or {}
    shown += [(f"share of {label}", share) for label, share in shares.items()]
    for name, raw in shown:
        value = _value(raw)
        if value is not None and not 0.0 <= value <= 1.0:
            hint = f": write {value / 100:g}" if 1.0 < value <= 100.0 else ""
            yield f"{name} is {value:g}, a share lies between 0 and 1{hint}"
    for row in figures.get("per_class") or ():
        cut = _value(row.get("threshold"))
        if cut is not None and not 0.0 <= cut <= 1.0:
            yield f"the threshold of {row['label']} is {cut:g}, outside 0 to 1"
    known = [value for share in shares.values() if (value := _value(share)) is not None]
    # each share may be rounded by half a unit of its third decimal
    if figures.get("exclusive") and known and abs(sum(known) - 1.0) > 5e-4 * len(known) + 1e-9:
        yield f"the shares of the {len(known)} classes sum to {sum(known):.3f}, one label a row makes 1"


def _of_classes(figures: Mapping[str, Any]) -> Iterator[str]:
    """Say which class's own figures cannot belong together."""
    rows, n = list(figures.get("per_class") or ()), figures.get("n")
    dead = figures.get("never_predicted")
    for row in rows:
        label, support, predicted = row["label"], row.get("support"), row.get("predicted")
        precision, recall, f1 = (_value(row.get(name)) for name in ("precision", "recall", "f1"))
        yield from _identity(label, precision, recall, f1)
        if recall is not None and support and abs(recall * support - round(recall * support)) > ROUNDED * support:
            yield f"recall {recall:g} of {label} is no number of hits among its {support} rows"
        if recall and not support and support is not None:
            yield f"recall of {label} is {recall:g} although no row has it"
        if precision and predicted == 0:
            yield f"precision of {label} is {precision:g} although it was never predicted"
        if dead is not None and label in dead and (precision or recall or f1 or predicted):
            yield f"{label} is listed as never predicted and has predictions"
        if dead is not None and label not in dead and predicted == 0 and support:
            yield f"{label} has {support} rows, no prediction, and is not listed as never predicted"
        if n is not None and any(count is not None and not 0 <= count <= n for count in (support, predicted)):
            yield f"{label} counts {support} rows and {predicted} predictions among {n} rows"
    for key, what in (("support", "rows"), ("predicted", "predictions")):
        given = [row.get(key) for row in rows]
        if figures.get("exclusive") and n is not None and rows and None not in given and sum(given) != n:
            yield f"the classes have {sum(given)} {what} together, there are {n}: one label a row"


def _identity(label: str, precision: float | None, recall: float | None, f1: float | None) -> Iterator[str]:
    if precision is None or recall is None or f1 is None:
        return
    if f1 > max(precision, recall) + ROUNDED:
        yield f"F1 {f1:g} of {label} is above both its precision {precision:g} and its recall {recall:g}"
        return
    both = precision + recall
    due = 2 * precision * recall / both if both else 0.0
    # rounding of precision and recall moves F1 by as much at most
    if abs(f1 - due) > 2 * ROUNDED:
        yield f"F1 of {label} is {f1:g}, its precision {precision:g} and recall {recall:g} make {due:.3f}"


def _of_confusion(figures: Mapping[str, Any]) -> Iterator[str]:
    table, rows = figures.get("confusion") or (), list(figures.get("per_class") or ())
    if not table:
        return
    if len(table) != len(rows) or any(len(line) != len(rows) for line in table):
        yield f"the confusion matrix is not {len(rows)} by {len(rows)}"
        return
    for place, (row, line) in enumerate(zip(rows, table, strict=True)):
        column = sum(other[place] for other in table)
        if row.get("support") is not None and sum(line) != row["support"]:
            yield f"the confusion matrix has {sum(line)} rows of {row['label']}, its support is {row['support']}"
        if row.get("predicted") is not None and column != row["predicted"]:
            yield f"the confusion matrix predicts {row['label']} {column} times, its row says {row['predicted']}"
        for name, whole in (("recall", sum(line)), ("precision", column)):
            value = _value(row.get(name))
            if value is not None and whole and abs(value - line[place] / whole) > ROUNDED:
                yield f"{name} of {row['label']} is {value:g}, its confusion matrix makes {line[place] / whole:.3f}"
    total = sum(map(sum, table))
    if figures.get("n") is not None and total != figures["n"]:
        yield f"the confusion matrix holds {total} rows, the report {figures['n']}"
    said = _value((figures.get("metrics") or {}).get("accuracy"))
    right = sum(line[place] for place, line in enumerate(table))
    if said is not None and total and abs(said - right / total) > ROUNDED:
        yield f"accuracy is {said:g}, the confusion matrix makes {right / total:.4f}"


def _of_averages(figures: Mapping[str, Any]) -> Iterator[str]:
    """Say which averages are one figure under two names, and which are not what the classes make."""
    metrics: Mapping[str, Any] = figures.get("metrics") or {}
    rows, null = list(figures.get("per_class") or ()), figures.get("null") or ""
    micro, accuracy = _value(metrics.get("micro_f1")), _value(metrics.get("accuracy"))
    if figures.get("exclusive") and micro is not None and accuracy is not None:
        if abs(micro - accuracy) <= ROUNDED:
            beside = _value(metrics.get(f"micro_f1_without_{null}")) if null else None
            other = "" if beside is None else f"; over the real classes it is {beside:.3f}"
            yield f"micro F1 equals accuracy ({accuracy:g}), one label each: one figure under two names{other}"
        else:
            yield f"micro F1 is {micro:g} and accuracy {accuracy:g}: with one label a row they are the same figure"
    for name, left_out in (("macro_f1", ""), *(((f"macro_f1_without_{null}", null),) if null else ())):
        given = _value(metrics.get(name))
        each = [_value(row.get("f1")) for row in rows if row.get("support") and row["label"] != left_out]
        known = [one for one in each if one is not None]
        if given is not None and known and len(known) == len(each) and abs(given - sum(known) / len(known)) > ROUNDED:
            yield f"{name} is {given:g}, the mean F1 of its {len(known)} classes is {sum(known) / len(known):.4f}"


def _of_intervals(figures: Mapping[str, Any]) -> Iterator[str]:
    shown = [(name, raw) for name, raw in (figures.get("metrics") or {}).items() if isinstance(raw, Mapping)]
    shown += [(f"the figure of {row.get('role')}", row) for row in figures.get("models") or ()]
    for name, raw in shown:
        low, high = _value(raw.get("low")), _value(raw.get("high"))
        if low is not None and high is not None and low > high:
            yield f"the interval of {name} runs from {low:g} down to {high:g}"
    metric, own = (
        figures.get("metric"),
        next((r for r in figures.get("models") or () if r["role"] == "candidate"), None),
    )
    stored = _value((figures.get("metrics") or {}).get(metric))
    judged = _value(own)
    if stored is not None and judged is not None and abs(stored - judged) > ROUNDED:
        yield f"{metric} is {judged:g} where the model was judged and {stored:g} where it is stored"


def _of_advice(figures: Mapping[str, Any]) -> Iterator[str]:
    told: dict[str, set[str]] = {}
    for row in figures.get("advice") or ():
        told.setdefault(str(row["class"]), set()).add(str(row["do"]))
    for label, said in told.items():
        for pair in OPPOSED:
            if pair <= said:
                yield f"the advice for {label} is to {' and to '.join(sorted(pair))} at once"
        if label in (figures.get("never_predicted") or ()) and "ship" in said:
            yield f"the advice for {label} is to ship although it was never predicted"


def explain(figure: float, per_class: Sequence[Mapping[str, Any]], *, exclusive: bool = False, null: str = "") -> str:
    """Return which average a bare figure is, in words, with what the other averages of the same counts are.

    `per_class`: rows with label, tp, fp and fn. A figure is recognised within half a unit of its second decimal,
    so that 0.45 and 0.4516 are one. Post-mortem 000: eval_f1 0.45 and F1 0.379 of the same predictions.
    """
    known = averages(per_class, exclusive=exclusive, null=null)
    same = [name for name, value in known.items() if abs(value - figure) <= 0.005 + 1e-9]
    rest = ", ".join(f"{name} {value:.3f}" for name, value in known.items() if name not in same)
    totals = f"TP {_sum(per_class, 'tp')}, FP {_sum(per_class, 'fp')}, FN {_sum(per_class, 'fn')}"
    if not same:
        return f"{figure:g} is no average of these counts ({totals}): {rest}"
    beside = f"; of the same predictions: {rest}" if rest else ""
    return f"{figure:g} is {' and '.join(same)} ({totals}){beside}"


def averages(per_class: Sequence[Mapping[str, Any]], *, exclusive: bool = False, null: str = "") -> dict[str, float]:
    """Return every average of F1 that counts of TP, FP and FN give, by a name that says what it runs over."""
    rows = [row for row in per_class if row["tp"] + row["fn"]]
    kept = [row for row in per_class if row["label"] != null]
    support = sum(row["tp"] + row["fn"] for row in rows)
    named = {
        "accuracy (micro F1 over all classes)" if exclusive else "micro F1": _f1(per_class),
        "macro F1": sum(_f1([row]) for row in rows) / max(1, len(rows)),
        "F1 weighted by support": sum(_f1([row]) * (row["tp"] + row["fn"]) for row in rows) / max(1, support),
    }
    if null:
        there = [row for row in kept if row["tp"] + row["fn"]]
        named[f"micro F1 without {null}"] = _f1(kept)
        named[f"macro F1 without {null}"] = sum(_f1([row]) for row in there) / max(1, len(there))
    return named


def _sum(rows: Sequence[Mapping[str, Any]], key: str) -> int:
    return int(sum(row[key] for row in rows))


def _f1(rows: Sequence[Mapping[str, Any]]) -> float:
    hit = _sum(rows, "tp")
    both = 2 * hit + _sum(rows, "fp") + _sum(rows, "fn")
    return 2 * hit / both if both else 0.0
