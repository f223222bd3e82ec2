"""A report's data → a page of HTML that needs nothing else, and the same in Markdown. Pure strings, no I/O.

`report`, `errors`, `history` and `made` are what `toughcall.reporting` writes as evaluation_report.json,
error_analysis.json, training_history.json and training_metadata.json. Every text of theirs is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toughcall.model.drawings import CONTROL, axis, curves, interval_row, nice, safe
from toughcall.model.page_style import STYLE
from toughcall.model.report import folded

Data = Mapping[str, Any]
ROLES = {"untouched": "untouched encoder", "tfidf": "TF-IDF + linear", "majority": "majority guess"}
STATES = {True: "yes", False: "no", None: "?"}
MOST_TEXT, MOST_ERRORS = 700, 12
MARKUP = re.compile(r"([\\`*\[\]<>|#~$&!]|(?<![^\W_])_|_(?![^\W_]))")
"""What means something in Markdown; an underscore does not where it stands inside a word."""


def figure(value: float | None, digits: int = 3) -> str:
    """Return a figure with three decimals, "–" where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(low: float | None, high: float | None) -> str:
    """Return an interval, "" where there is none."""
    return "" if low is None or high is None else f"{low:.3f}–{high:.3f}"


def role(row: Data) -> str:
    """Return what a model is to this report; what takes the encoder's place is called by its own name."""
    if row["role"] == "untouched" and row["model"] not in ("", "untouched"):
        return str(row["model"])
    return ROLES.get(row["role"], str(row["role"]))


LEADS = {"PROMOTE": "may serve", "KEEP": "stays out", "UNDECIDED": "cannot be told yet"}


def headline(report: Data) -> str:
    """Return the verdict in one sentence: what becomes of the model, and the figures of the check that decided."""
    verdict = report["verdict"]
    why = str(verdict["sentence"]).removeprefix(str(verdict["outcome"])).strip()
    # the gate names what serves from now on, which the lead says already
    name, colon, rest = why.partition(": ")
    why = rest if colon and " " not in name else why
    return f"{report['version']} {LEADS.get(verdict['outcome'], 'was not judged')}: {named(report, why)}"


def named(report: Data, text: object) -> str:
    """Return a sentence of the gate with its metric called as everywhere else here."""
    return str(text).replace(report["gate_metric"], report["metric"]) if report["gate_metric"] else str(text)


def html_page(report: Data, errors: Data, history: Sequence[Data], made: Data) -> str:
    """Return the whole report as one HTML page: no script, nothing from outside, light and dark."""
    parts = [
        ("Targets", _targets(report)),
        ("Baselines first, then the candidate", _models(report)),
        ("Per class" if report["per_class"] else "Per dimension", _classes(report) + _dimensions(report)),
        ("Confusion", _confusion(report)),
        ("Training", _history(history)),
        ("The surest mistakes" if report["per_class"] else "The greatest errors", _errors(errors)),
        ("What to do next", _next(report)),
        ("What the figures do not say", _sentences([*report["notes"], *report["caveats"]])),
        ("How it was made", _made(made)),
    ]
    body = "".join(f"<section><h2>{title}</h2>{content}</section>" for title, content in parts if content)
    title = f"{report['project']} · {report['version']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{safe(title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{_head(report)}{body}</main></body></html>\n"
    )


def _head(report: Data) -> str:
    outcome = str(report["verdict"]["outcome"])
    own = next((row for row in report["models"] if row["role"] == "candidate"), None)
    better = "" if report["greater_is_better"] else ", smaller is better"
    cards = []
    if own is not None:
        cards.append((figure(own["value"]), f"{report['metric']}{better}", span(own["low"], own["high"])))
    cards += [(f"{report['n']:,}", "held-out rows", ""), (f"{report['labels']:,}", "labels trained on", "")]
    if report["per_class"]:
        dead = report["never_predicted"]
        cards.append((str(len(dead)), f"of {len(report['per_class'])} classes never predicted", ", ".join(dead)))
    shown = "".join(
        f"<div><b>{safe(big)}</b><span>{safe(small)}</span><em>{safe(more)}</em></div>" for big, small, more in cards
    )
    checks = report["verdict"]["checks"]
    rows = [[_state(one["passed"]), safe(one["name"]), safe(named(report, one["detail"]))] for one in checks]
    title = f"{safe(report['project'])} <small>{safe(report['version'])}</small>"
    badge = f'<strong class="badge {safe(outcome.lower())}">{safe(outcome)}</strong>'
    return (
        f'<header><p class="eyebrow">toughcall · {safe(report["kind"])}</p><h1>{title}</h1>'
        f'<p class="verdict">{badge} {safe(headline(report))}</p><div class="cards">{shown}</div>'
        f"{_table(('', 'check', 'what was found'), rows, 'checks') if rows else ''}</header>"
    )


def _state(passed: bool | None) -> str:
    name = {True: "pass", False: "fail", None: "open"}[passed]
    return f'<span class="state {name}">{STATES[passed]}</span>'


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table whose cells are HTML already; on a phone each row becomes a block with the names beside."""
    head = "".join(f"<th>{safe(name)}</th>" for name in names)
    lines = [
        "".join(f'<td data-name="{safe(name)}">{cell}</td>' for name, cell in zip(names, row, strict=True))
        for row in rows
    ]
    inside = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table class="stack {kind}"><thead><tr>{head}</tr></thead><tbody>{inside}</tbody></table>'


def _targets(report: Data) -> str:
    rows = [[_state(one["held"]), safe(one["target"]), safe(named(report, one["detail"]))] for one in report["targets"]]
    return _table(("", "target", "what was found"), rows, "checks") if rows else ""


def _models(report: Data) -> str:
    models = [row for row in report["models"] if row["value"] is not None]
    ends = [row[name] for row in models for name in ("value", "low", "high") if row[name] is not None]
    if not ends:
        return ""
    scale, ticks = nice(ends, unit=max(ends) <= 1 and min(ends) >= 0)
    floor = next((row for row in models if row["role"] == "untouched"), None)
    mark, rows = floor["value"] if floor else None, []
    for row in models:
        value, low, high = row["value"], row["low"], row["high"]
        tone, shown = "accent" if row["role"] == "candidate" else "quiet", span(low, high)
        told = f"{role(row)}: {figure(value)} {shown}"
        drawn = interval_row(value, low, high, scale, told=told, tone=tone, mark=mark, ticks=ticks, height=30)
        name = f'<span class="{tone}">{safe(role(row))}</span>'
        figures = f"<span><b>{figure(value)}</b> <small>{shown}</small></span>"
        rows.append([name, drawn, figures, safe(", ".join(row["never_predicted"]) or "–")])
    rows.append(["", axis(scale, ticks), "", ""])
    width = 4 if report["per_class"] else 3
    names = ("model", f"{report['metric']}, 95 % interval", "value", "never predicted")[:width]
    better = "Greater" if report["greater_is_better"] else "Smaller"
    dashed = f"Dashed: {role(floor)}, which has to be beaten. " if floor else ""
    note = f"{dashed}{better} is better. {report['n']:,} rows that never trained."
    table = _table(names, [row[:width] for row in rows], "models")
    return f"{table}<p class='note'>{safe(note)}</p>{_metrics(report)}"


def _metrics(report: Data) -> str:
    rows = [
        [f"<code>{safe(name)}</code>", figure(one["value"]), span(one["low"], one["high"])]
        for name, one in report["metrics"].items()
    ]
    inside = _table(("figure", "value", "95 % interval"), rows, "plain")
    return f"<details><summary>Every figure of the candidate</summary>{inside}</details>" if rows else ""


def _cell(row: Data, name: str, tone: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return '<span class="none">–</span>'
    told = f"{name} of {row['label']}: {figure(value)} {span(low, high)}"
    drawn = interval_row(value, low, high, (0.0, 1.0), told=told, tone=tone, height=14)
    return f"<span><b>{value:.2f}</b> <small>{low:.0%}–{high:.0%}</small></span>{drawn}"


def _classes(report: Data) -> str:
    if not report["per_class"]:
        return ""
    rows = []
    for row in report["per_class"]:
        dead = row["label"] in report["never_predicted"]
        tone = "warn" if dead else "accent"
        badge = ' <span class="state fail">never predicted</span>' if dead else ""
        counts = [f"{row['support']:,}", f"{row['predicted']:,}"]
        cells = [_cell(row, name, tone) for name in ("precision", "recall", "f1")]
        rows.append([f"<b>{safe(row['label'])}</b>{badge}", *counts, *cells, f"{row['threshold']:.2f}"])
    names = ("class", "rows", "predicted", "precision", "recall", "F1", "threshold")
    note = "95 % intervals: Wilson's score interval; of F1 by the share TP / (TP + FP + FN)."
    return f"{_table(names, rows, 'classes')}<p class='note'>{note}</p>"


def _dimensions(report: Data) -> str:
    if not report["per_dimension"]:
        return ""
    most = max((one[name] or 0.0) for one in report["per_dimension"] for name in ("mae_high", "mae", "constant_mae"))
    scale, ticks = nice([0.0, most])
    rows = []
    for row in report["per_dimension"]:
        told = f"MAE of {row['label']}: {figure(row['mae'])}"
        ends = (row["mae"], row["mae_low"], row["mae_high"])
        drawn = interval_row(*ends, scale, told=told, mark=row["constant_mae"], ticks=ticks, height=26)
        told = span(row["mae_low"], row["mae_high"])
        shown = f"<span><b>{figure(row['mae'])}</b> <small>{told}</small></span>"
        more = [figure(row["constant_mae"]), figure(row["spearman"], 2), f"{row['weight']:g}", f"{row['n']:,}"]
        rows.append([f"<b>{safe(row['label'])}</b>", drawn, shown, *more])
    rows.append(["", axis(scale, ticks), *[""] * 5])
    names = ("dimension", "mean absolute error", "MAE", "training mean's", "Spearman", "weight", "rows")
    return f"{_table(names, rows, 'models')}<p class='note'>Dashed: the error of always saying the training mean.</p>"


def _confusion(report: Data) -> str:
    if not report["confusion"]:
        return ""
    labels, table = folded([row["label"] for row in report["per_class"]], report["confusion"])
    head = "".join(f"<th><span>{safe(label)}</span></th>" for label in labels)
    lines = []
    for i, (label, row) in enumerate(zip(labels, table, strict=True)):
        cells = []
        for j, count in enumerate(row):
            share = count / sum(row) if sum(row) else 0.0
            colour = "var(--hit)" if i == j else "var(--miss)"
            tone = f"background:rgba({colour},{0.08 + 0.72 * share:.2f})" if count else ""
            more = f"<small>{share:.0%}</small>" if count else ""
            cells.append(f'<td style="{tone}">{count or "·"}{more}</td>')
        lines.append(f"<tr><th>{safe(label)}</th>{''.join(cells)}</tr>")
    table_ = f'<table class="heat"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    note = "Rows: what is true. Columns: what was said. Per cent of the row."
    return f'<div class="wide">{table_}</div><p class="note">{note}</p>'


def _history(history: Sequence[Data]) -> str:
    drawn = []
    metric = next((str(row["metric"]) for row in history if row.get("metric")), "figure")
    for title, keys in (("loss", ("train_loss", "held_loss")), (metric, ("train_figure", "figure"))):
        points = {
            name: [
                (float(row.get("epoch", n)), float(row[key]))
                for n, row in enumerate(history, 1)
                if row.get(key) is not None
            ]
            for name, key in zip(("training rows", "held-out rows"), keys, strict=True)
        }
        if made := curves(points):
            drawn.append(f"<div><h3>{safe(title)}</h3>{made}</div>")
    return f'<div class="pair">{"".join(drawn)}</div>' if drawn else ""


def _errors(errors: Data) -> str:
    shown = []
    for one in errors["worst"][:MOST_ERRORS]:
        texts = "".join(f'<p class="text" dir="auto">{_cut(text)}</p>' for text in (one["fields"] or {}).values())
        size = f"{one['size']:.0%} sure" if errors["unit"] == "probability" else f"weighted error {one['size']:.2f}"
        said = _mistake(one["truth"], one["said"])
        named = safe(" · ".join(one["keys"]) or one["item"][:8])
        lost = "" if one["fields"] else "<p class='text none'>the text is no longer in the pool</p>"
        shown.append(f"<li><p class='said'>{said} <small>{size} · {named}</small></p>{texts}{lost}</li>")
    if not shown:
        return ""
    most = "".join(
        f"<li><b>{one['count']}</b> × {_mistake(one['truth'], one['said'])}"
        f" <small>{one['share_of_truth']:.0%} of such rows</small></li>"
        for one in errors["confusions"][:8]
    )
    listed = f"<h3>Most often</h3><ul class='most'>{most}</ul><h3>With the most confidence</h3>" if most else ""
    return f"{listed}<ol class='errors'>{''.join(shown)}</ol>"


def _mistake(truth: str, said: str) -> str:
    if said == f"not {truth}":
        return f"missed <b class='accent'>{safe(truth)}</b>"
    if truth == f"not {said}":
        return f"said <b class='warn'>{safe(said)}</b>, which it is not"
    return f"said <b class='warn'>{safe(said)}</b>, true is <b class='accent'>{safe(truth)}</b>"


def _cut(text: str) -> str:
    shown = safe(text[:MOST_TEXT])
    for sign in ("[SUBJ]", "[/SUBJ]", "[OBJ]", "[/OBJ]"):
        shown = shown.replace(sign, f'<i class="sign">{sign}</i>')
    rest = len(text) - MOST_TEXT
    return shown + (f" <small>… {rest:,} more characters in error_analysis.json</small>" if rest > 0 else "")


def _next(report: Data) -> str:
    rows, before = [], None
    for one in report["next"]:
        # several steps for one class share its evidence and its price
        shared = ["", "", ""] if one["class"] == before else [one["class"], one["evidence"], one["cost"]]
        rows.append([safe(one["do"]), *map(safe, shared)])
        before = one["class"]
    return _table(("what", "class", "because", "price"), rows, "next") if rows else ""


def _sentences(told: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{safe(one)}</li>' for one in told)}</ul>" if told else ""


def _made(made: Data) -> str:
    rows = [[safe(key), f"<code>{safe(value)}</code>"] for key, value in flat(made)]
    inside = _table(("what", "value"), rows, "plain made")
    return f"<details><summary>Data, seed, libraries, digests</summary>{inside}</details>"


def flat(made: Data) -> Iterator[tuple[str, str]]:
    """Yield (name, value in words) of what is not empty; what is nested becomes one line."""
    for key, value in made.items():
        shown = ", ".join(f"{name} {one}" for name, one in value.items()) if isinstance(value, Mapping) else value
        if shown not in (None, ""):
            yield key.replace("_", " "), str(shown)


def markdown_page(report: Data, errors: Data, history: Sequence[Data], made: Data) -> str:
    """Return the whole report as Markdown, in the order of the page."""
    lines = [f"# {plain(report['project'])} {plain(report['version'])}", ""]
    lines += [f"**{plain(report['verdict']['outcome'])}** {plain(headline(report))}", ""]
    checks = [[STATES[c["passed"]], c["name"], named(report, c["detail"])] for c in report["verdict"]["checks"]]
    lines += _rows("", ("passed", "check", "what was found"), checks)
    held = [[STATES[one["held"]], one["target"], one["detail"]] for one in report["targets"]]
    lines += _rows("Targets", ("held", "target", "what was found"), held)
    models = [
        [role(r), r["metric"], figure(r["value"]), span(r["low"], r["high"]), r["n"], ", ".join(r["never_predicted"])]
        for r in report["models"]
    ]
    names = ("model", "metric", "value", "95 % interval", "rows", "never predicted")
    lines += _rows("Baselines first, then the candidate", names, models)
    figures = [[name, figure(one["value"]), span(one["low"], one["high"])] for name, one in report["metrics"].items()]
    lines += _rows("Every figure of the candidate", ("figure", "value", "95 % interval"), figures)
    classes = [
        [r["label"], r["support"], r["predicted"], *(_short(r, name) for name in ("precision", "recall", "f1"))]
        for r in report["per_class"]
    ]
    lines += _rows("Per class", ("class", "rows", "predicted", "precision", "recall", "F1"), classes)
    numbers = [
        [r["label"], figure(r["mae"]), span(r["mae_low"], r["mae_high"]), figure(r["constant_mae"]), r["n"]]
        for r in report["per_dimension"]
    ]
    lines += _rows("Per dimension", ("dimension", "MAE", "95 % interval", "training mean's MAE", "rows"), numbers)
    if report["confusion"]:
        labels, table = folded([row["label"] for row in report["per_class"]], report["confusion"])
        confused = [[label, *row] for label, row in zip(labels, table, strict=True)]
        lines += _rows("Confusion", ("true, said →", *labels), confused)
    keys = [key for key in (history[0] if history else {}) if not isinstance(history[0][key], Mapping | list)]
    lines += _rows("Training", keys, [[row.get(key) for key in keys] for row in history])
    worst = [
        [
            one["truth"],
            one["said"],
            f"{one['size']:.2f}",
            " / ".join(text[:200] for text in (one["fields"] or {}).values()),
        ]
        for one in errors["worst"][:MOST_ERRORS]
    ]
    lines += _rows("The surest mistakes", ("true", "said", "size", "text"), worst)
    todo = [[one["do"], one["class"], one["evidence"], one["cost"]] for one in report["next"]]
    lines += _rows("What to do next", ("what", "class", "because", "price"), todo)
    told = [*report["notes"], *report["caveats"]]
    lines += ["## What the figures do not say", "", *(f"- {plain(one)}" for one in told), ""] if told else []
    lines += _rows("How it was made", ("what", "value"), list(flat(made)))
    return "\n".join(lines).rstrip("\n") + "\n"


def plain(text: object) -> str:
    """Return a text as one line of Markdown that shows it and does nothing else."""
    return MARKUP.sub(r"\\\1", " ".join(CONTROL.sub("\ufffd", str(text)).split()))


def _short(row: Data, name: str) -> str:
    value = row[name]
    return "–" if value is None else f"{value:.2f} ({row[f'{name}_low']:.0%}–{row[f'{name}_high']:.0%})"


def _rows(title: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return []
    head = [f"## {title}", ""] if title else []
    cells = [["–" if cell is None else plain(cell) for cell in row] for row in rows]
    lines = [[plain(name) for name in names], ["---"] * len(names), *cells]
    return [*head, *(f"| {' | '.join(line)} |" for line in lines), ""]
