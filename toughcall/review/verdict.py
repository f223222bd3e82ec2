"""What the model tab shows, read from the retrain events: a figure that is missing is left out, never invented."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from toughcall.review.live import Live

Event = Mapping[str, Any]
ROLES = {
    "candidate": "candidate",
    "champion": "champion",
    "untouched": "untouched encoder",
    "tfidf": "TF-IDF + linear",
    "majority": "majority class",
}
WINNER, FLOOR = "candidate", "untouched"
"""The roles of what is judged and of what it has to beat: the encoder without labels, or the best constant."""
OUTCOMES = ("PROMOTE", "KEEP", "UNDECIDED")
LEFT_OUT = {
    "disagreement": "in disagreement",
    "straddles": "on both sides of the split",
    "near_duplicate_of_test": "near-duplicates of held-out items",
    "no_vector": "without a usable vector",
    "illegal": "not legal for their types",
    "silver_test": "held out but not gold",
}
METRICS = {
    "macro_f1": "macro F1",
    "positive_macro_f1": "macro F1 without the null label",
    "roc_auc": "ROC AUC",
    "weighted_mae": "weighted mean error, smaller is better",
}
NAMES = re.compile(rf"\b({'|'.join(METRICS)})\b")
TOLD = 6
"""So many classes are counted in a sentence."""
DIMENSIONS = {
    "label": "dimension",
    "n": "held out",
    "mae": "MAE",
    "constant_mae": "mean's MAE",
    "rmse": "RMSE",
    "spearman": "Spearman",
}
"""Columns of `per_dimension`: the key in the report → the heading."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The newest retrain in a few words."""

    version: str
    outcome: str
    sentence: str
    labels: int
    serving: bool
    dead: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()


def number(value: Any) -> float | None:
    """Return a finite number, or None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def judged(events: Sequence[Event], champion: str) -> Judged | None:
    """Return the newest retrain's verdict, None before the first retrain."""
    if not events:
        return None
    last = events[-1]
    version = str(last.get("version") or "")
    outcome = str(last.get("outcome") or "")
    # the badge says the outcome already
    sentence = str(last.get("sentence") or "").removeprefix(outcome).strip() or "the gate left no sentence"
    return Judged(
        version,
        outcome if outcome in OUTCOMES else "UNDECIDED",
        sentence,
        int(number(last.get("labels")) or 0),
        bool(version) and version == champion,
        tuple(_never(last)),
        tuple(left_out(last)),
    )


def in_words(sentence: str) -> str:
    """Return what the gate or the plan said with the metrics' names as people write them: "macro F1" for macro_f1."""
    return NAMES.sub(lambda found: METRICS[found[1]].partition(",")[0], sentence)


def then(last: Judged, champion: str) -> tuple[str, str]:
    """Return (what a verdict means for the model in service, the command that makes sense now, "" where none does)."""
    if last.serving:
        return "It is in service now.", ""
    if last.outcome == "PROMOTE":
        return "The gate let it through. To put it into service:", "toughcall promote"
    stays = f"{champion} stays in service" if champion else "No model is put into service"
    open_ = (
        "; too little is known to decide. More held-out answers" if last.outcome == "UNDECIDED" else ". More answers"
    )
    return f"{stays}{open_} may change that:", "toughcall round"


def all_held_out(live: Live) -> bool:
    """Return whether there are records and each of them measures models, so that none is there to learn from."""
    split = live.store.split_stamp()[0]
    if not split or split < live.counts[0]:
        return False
    return live.store.base.execute("SELECT 1 FROM parts WHERE part <> 'test' LIMIT 1").fetchone() is None


def untrained(live: Live, counted: pd.DataFrame) -> tuple[str, str]:
    """Return (what a first retrain lacks, the command that brings it); ("", "") where it has enough.

    `counted` has class, train, held_out and unsplit, as `progress.classes` returns it.
    """
    from toughcall.review.live import next_step

    if not live.counts[0]:
        return "There are no records yet. Import a file:", "toughcall import FILE --text COLUMN"
    if all_held_out(live):
        return (
            "Every record is held out: it measures models, and none is there to learn from. Import others:",
            "toughcall import FILE --text COLUMN",
        )
    known = live.labels[0]
    if not known:
        sentence, command = next_step(live)
        return f"There are no answers to learn from yet. {sentence}", command
    # a pair across the split stays out for good; a text without a part gets one when it is scored
    sides = ("train", "unsplit") if live.kind.items == "texts" or not live.store.split_stamp()[0] else ("train",)
    counts = {str(one["class"]): sum(int(one[side]) for side in sides) for one in counted.to_dict("records")}
    parts = {} if live.schema.single else live.store.parts_of(label.item for label in known)
    n = sum(counts.values()) if live.schema.single else sum(parts.get(one.item) != "test" for one in known)
    there = [name for name, count in counts.items() if count]
    if not n:
        return "Every answer is on a held-out item: it measures, and nothing is there to learn from:", "toughcall round"
    if live.kind.labelled and len(there) == 1 and counts[there[0]] == n:
        return (
            f"Every answer to learn from is “{there[0]}”: nothing can be learnt before another one is there:",
            "toughcall round",
        )
    if live.kind.too_few(counts, n):
        said = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:TOLD])
        more = f" and {len(counts) - TOLD} more" if len(counts) > TOLD else ""
        return (
            f"The answers are too few to learn from yet ({said}{more}): {live.kind.least} are due:",
            "toughcall round",
        )
    return "", ""


def checks(event: Event) -> pd.DataFrame:
    """Return check, passed ("✓ yes", "✗ no" or "? open") and detail of one verdict."""
    import pandas as pd

    said = {"True": "✓ yes", "False": "✗ no"}
    rows = [
        (
            str(c.get("name", "")).replace("_", " "),
            said.get(str(c.get("passed")), "? open"),
            in_words(str(c.get("detail", ""))),
        )
        for c in _dicts(event.get("checks"))
    ]
    return pd.DataFrame(rows, columns=["check", "passed", "detail"])


def left_out(event: Event) -> list[tuple[str, int]]:
    """Return (why, how many) of the labels that were not used."""
    found = event.get("left_out")
    if not isinstance(found, Mapping):
        return []
    return [(LEFT_OUT.get(why, str(why).replace("_", " ")), int(n)) for why, n in found.items() if number(n)]


def figures(event: Event) -> pd.DataFrame:
    """Return role, model, metric, value, low, high, n, floor of every report that has a value, in the event's order."""
    import pandas as pd

    rows = []
    for report in _dicts(event.get("reports")):
        value = number(report.get("value"))
        if value is None:
            continue
        role, model = str(report.get("role") or report.get("model") or ""), str(report.get("model") or "")
        rows.append(
            (
                # where no encoder says anything without labels, something else takes its place and has a name
                model if role == FLOOR and model not in ("", FLOOR) else ROLES.get(role, role),
                model,
                METRICS.get(str(report.get("metric")), str(report.get("metric") or "value").replace("_", " ")),
                value,
                number(report.get("low")),
                number(report.get("high")),
                int(number(report.get("n")) or 0),
                role == FLOOR,
            )
        )
    table = pd.DataFrame(rows, columns=["role", "model", "metric", "value", "low", "high", "n", "floor"])
    return table.astype({"value": "float64", "low": "float64", "high": "float64", "floor": "bool"})


def floor_of(event: Event) -> str:
    """Return the name of what a candidate has to beat, "" where no report says it."""
    table = figures(event)
    return ", ".join(table["role"][table["floor"]])


def per_class(event: Event, role: str = WINNER) -> pd.DataFrame:
    """Return class, f1, n (held-out labels, None when unknown), dead of one report, worst class first."""
    import pandas as pd

    report = report_of(event, role)
    dead = set(_never(event, role))
    rows = [
        (str(one.get("label", "")), number(one.get("f1")), number(one.get("support")), one.get("label") in dead)
        for one in _dicts(report.get("per_class"))
    ]
    listed = {row[0] for row in rows}
    rows += [(name, 0.0, None, True) for name in sorted(dead - listed)]
    # a label that nobody held out and nothing predicts has no figure, and is named all the same
    rows = [
        (name, f1 or 0.0, None if n is None else int(n), gone) for name, f1, n, gone in rows if f1 is not None or gone
    ]
    rows.sort(key=lambda row: (row[1] or 0.0, row[0]))
    table = pd.DataFrame(rows, columns=["class", "f1", "n", "dead"])
    return table.astype({"f1": "float64", "n": "Int64", "dead": "bool"})


def per_dimension(event: Event, role: str = WINNER) -> pd.DataFrame:
    """Return each dimension's figures of one report, headed as in `DIMENSIONS`, the greatest error first."""
    import pandas as pd

    rows = []
    for one in _dicts(report_of(event, role).get("per_dimension")):
        figures = {name: number(one.get(key)) for key, name in DIMENSIONS.items() if key != "label"}
        if any(value is not None for value in figures.values()):
            rows.append({"dimension": str(one.get("label", "")), **figures})
    rows.sort(key=lambda row: (-(number(row["MAE"]) or 0.0), row["dimension"]))
    table = pd.DataFrame(rows, columns=list(DIMENSIONS.values()))
    return table.astype({name: "float64" for key, name in DIMENSIONS.items() if key != "label"})


def rounds(events: Sequence[Event]) -> pd.DataFrame:
    """Return round, labels, version, outcome, value, low, high, untouched of every retrain with a figure."""
    import pandas as pd

    rows = []
    for place, event in enumerate(events, start=1):
        reports = {str(r.get("role")): r for r in _dicts(event.get("reports"))}
        own = reports.get(WINNER, {})
        value = number(own.get("value"))
        if value is None:
            continue
        rows.append(
            (
                place,
                int(number(event.get("labels")) or 0),
                str(event.get("version") or ""),
                str(event.get("outcome") or ""),
                value,
                number(own.get("low")),
                number(own.get("high")),
                number(reports.get("untouched", {}).get("value")),
            )
        )
    columns = ["round", "labels", "version", "outcome", "value", "low", "high", "untouched"]
    floats = dict.fromkeys(("value", "low", "high", "untouched"), "float64")
    return pd.DataFrame(rows, columns=columns).astype(floats)


def report_of(event: Event, role: str = WINNER) -> Mapping[str, Any]:
    """Return what a retrain event reports of one role, {} where nothing."""
    return next((report for report in _dicts(event.get("reports")) if report.get("role") == role), {})


def _never(event: Event, role: str = WINNER) -> list[str]:
    """Return the labels that a report's model never predicted."""
    found = report_of(event, role).get("dead") or event.get("dead")
    return [str(name) for name in found] if isinstance(found, list | tuple) else []


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []
