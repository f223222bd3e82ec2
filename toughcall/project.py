"""project.toml → `Project`: every setting typed, every mistake in the file reported at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from toughcall import questions
from toughcall.questions import Asks, near
from toughcall.records import UsageError
from toughcall.settings import (
    Columns,
    EncoderSettings,
    GateSettings,
    MineSettings,
    Project,
    StudioSettings,
    TrainSettings,
)

FILE = "project.toml"
FORMAT = 1
TOKEN_VARIABLE = "TOUGHCALL_STUDIO_TOKEN"  # noqa: S105 - the name of a variable, not a secret
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
URL = re.compile(r"https?://[^/\s@?#]+(/[^\s@?#]*)?")


SECTIONS: dict[str, type] = {
    "data": Columns,
    "encoder": EncoderSettings,
    "mine": MineSettings,
    "studio": StudioSettings,
    "gate": GateSettings,
    "train": TrainSettings,
}
TOP = {"format", "project", *questions.TABLES, *SECTIONS}
WEIGHTS = "train.given"
HEAD = {"name": str, "kind": str, "guideline": str, "seed": int, "null": str}


def _fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _at_least(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and value >= low


def _people(value: Any) -> bool:
    good = all(isinstance(one, str) and re.fullmatch(r"[^@\s#:/]+@[^@\s#:/]+", one) for one in value)
    return good and len(set(value)) == len(value)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "data.text": (bool, "the name of a column"),
    "data.separator": (bool, "at least one character"),
    "data.long": (_at_least(1), "a whole number from 1"),
    "mine.batch": (_at_least(1), "a whole number from 1"),
    "mine.low": (_fraction, "a number from 0 to 1"),
    "mine.high": (_fraction, "a number from 0 to 1"),
    "mine.per_record": (_at_least(1), "a whole number from 1"),
    "mine.near_duplicate": (_fraction, "a number from 0 to 1"),
    "mine.candidates": (_at_least(0), "a whole number from 0"),
    "mine.window": (lambda v: v >= 0, "a number of days from 0 (0 = no window)"),
    "encoder.device": (lambda v: v in ("auto", "cpu", "cuda"), '"auto", "cpu" or "cuda"'),
    "encoder.batch": (_at_least(1), "a whole number from 1"),
    "gate.confidence": (lambda v: _fraction(v) and 0.5 <= v < 1, "a number from 0.5 to below 1"),
    "gate.min_gain": (_fraction, "a number from 0 to 1"),
    "gate.min_items": (_at_least(1), "a whole number from 1"),
    "gate.test_share": (lambda v: _fraction(v) and v < 1, "a number from 0 to below 1"),
    "train.budget": (lambda v: v >= 0, "minutes from 0"),
    "train.epochs": (_at_least(1), "a whole number from 1"),
    "train.rate": (_fraction, "a number from 0 to 1 (0 = the recipe's own)"),
    "train.patience": (_at_least(1), "a whole number from 1"),
    "train.weights": (lambda v: v in ("none", "balanced"), '"none" or "balanced"'),
    "train.focal": (lambda v: v >= 0, "a number from 0"),
    "train.smoothing": (lambda v: 0 <= v < 0.5, "a number from 0 to below 0.5"),
    "train.adjust": (lambda v: v >= 0, "a number from 0"),
    "studio.overlap": (_at_least(1), "a whole number from 1"),
    "studio.experts": (_people, "a list of different e-mail addresses"),
    "studio.adjudicator": (lambda v: not v or _people([v]), "an e-mail address"),
    "studio.gold": (lambda v: 0 <= v <= 0.5, "a share from 0 to 0.5"),
    "studio.relabel": (lambda v: 0 <= v <= 0.5, "a share from 0 to 0.5"),
    "studio.port": (lambda v: isinstance(v, int) and 0 <= v < 65536, "a port number, 0 = any free one"),
}


def check_name(name: str, what: str) -> str:
    """Return the name, or raise UsageError when it could not be a folder of its own (C02)."""
    if not NAME.fullmatch(name):
        shown = name[:40].encode("unicode_escape").decode()
        raise UsageError(
            f"{what} {shown!r} is not a name: use 1 to 64 letters, digits, '.', '_' or '-', not starting with a sign"
        )
    return name


def _section(name: str, raw: Any, errors: list[str]) -> Any:
    """Build one settings section; every problem in it is appended to `errors`."""
    shape = SECTIONS[name]
    if not isinstance(raw, dict):
        errors.append(f"[{name}] must be a table")
        return shape()
    plain = shape()
    known = {f.name for f in fields(shape)}
    values: dict[str, Any] = {}
    for key, given in raw.items():
        where = f"{name}.{key}"
        if key not in known:
            errors.append(f"unknown key {where}{near(key, known)}")
            continue
        due = getattr(plain, key)
        value = float(given) if isinstance(due, float) and type(given) is int else given
        value = tuple(given) if isinstance(due, tuple) and isinstance(given, list) else value
        if isinstance(due, Mapping):
            values[key] = _shares(where, value, errors)
        elif type(value) is not type(due):
            errors.append(f"{where} must be a {type(due).__name__}, not {value!r}")
        elif isinstance(value, tuple) and not all(isinstance(one, str) and one for one in value):
            errors.append(f"{where} must be a list of texts, not {given!r}")
        elif where in CHECKS and not CHECKS[where][0](value):
            errors.append(f"{where} must be {CHECKS[where][1]}, not {value!r}")
        else:
            values[key] = value
    return shape(**values)


def _shares(where: str, value: Any, errors: list[str]) -> dict[str, float]:
    if not isinstance(value, dict):
        errors.append(f"{where} must be a table of numbers from 0{' to 1' * (where != WEIGHTS)}")
        return {}
    if where == WEIGHTS:
        good = {key: float(v) for key, v in value.items() if type(v) in (int, float) and v >= 0}
        errors += [f"{where}.{key} must be a number from 0, not {value[key]!r}" for key in value if key not in good]
        return good
    for key, share in value.items():
        if not _fraction(share):
            errors.append(f"{where}.{key} must be a number from 0 to 1, not {share!r}")
    if where == "mine.quotas" and not any(_fraction(share) and share > 0 for share in value.values()):
        errors.append("mine.quotas must hold at least one share above 0")
    return {key: float(share) for key, share in value.items() if _fraction(share)}


def parse(text: str, root: Path, kinds: Mapping[str, Asks]) -> Project:
    """Return the project that `text` (TOML) describes; UsageError lists every mistake at once."""
    where = root / FILE
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}; mend that line and run the command again") from None
    errors: list[str] = []
    for key in raw:
        if key not in TOP:
            errors.append(f"unknown section [{key}]{near(key, TOP)}")
    made = raw.get("format", FORMAT)
    if made != FORMAT:
        raise UsageError(f"{where} has format {made!r}, this toughcall reads {FORMAT}: use the toughcall that made it")
    head = raw.get("project", {})
    if not isinstance(head, dict):
        errors.append("[project] must be a table")
        head = {}
    for key, value in head.items():
        if key not in HEAD:
            errors.append(f"unknown key project.{key}{near(key, HEAD)}")
        elif type(value) is not HEAD[key]:
            errors.append(f"project.{key} must be a {HEAD[key].__name__}, not {value!r}")
    if isinstance(head.get("seed"), int) and head["seed"] < 0:
        errors.append(f"project.seed must be a whole number from 0, not {head['seed']}")
    kind = str(head.get("kind", ""))
    if kind not in kinds:
        errors.append(f"project.kind must be one of {', '.join(sorted(kinds))}, not {kind!r}{near(kind, kinds)}")
    name = head.get("name", root.name)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        errors.append(f"project.name {name!r} is not a name of letters, digits, '.', '_' or '-'")
    labels, hints = questions.labels(raw, errors)
    dimensions = questions.dimensions(raw, errors)
    types, coarse = questions.types(raw, labels, errors), questions.coarse(raw, labels, errors)
    tiers = questions.tiers(raw, dimensions, errors)
    known = labels or (kinds[kind].default_labels if kind in kinds else ())
    seeds, patterns = (questions.phrases(raw, table, known, errors) for table in ("seeds", "patterns"))
    if kind in kinds:
        questions.fitting(raw, kind, kinds[kind], dimensions, errors)
    null = head["null"] if isinstance(head.get("null"), str) else ""
    if null and labels and null not in labels:
        errors.append(f"project.null names {null!r}, which is no label{near(null, labels)}: add it under [labels]")
    made_sections = {key: _section(key, raw.get(key, {}), errors) for key in SECTIONS}
    mine: MineSettings = made_sections["mine"]
    if mine.window and not made_sections["data"].time:
        errors.append("mine.window needs data.time, the column that says when")
    if mine.low >= mine.high:
        errors.append(f"mine.low ({mine.low}) must be below mine.high ({mine.high})")
    for label in made_sections["gate"].floors:
        if labels and label not in labels:
            errors.append(f"gate.floors names {label!r}, which is no label{near(label, labels)}")
    for label in made_sections["train"].given:
        if labels and label not in labels:
            errors.append(f"{WEIGHTS} names {label!r}, which is no label{near(label, labels)}")
    if kind in kinds and not mine.quotas:
        made_sections["mine"] = replace(mine, quotas=kinds[kind].quotas)
    reasons = {reason for one in kinds.values() for reason in one.reasons}
    for reason in mine.quotas:
        if reason not in reasons:
            errors.append(f"unknown key mine.quotas.{reason}{near(reason, reasons)}")
        elif kind in kinds and reason not in kinds[kind].reasons:
            errors.append(f"mine.quotas.{reason} is not for kind {kind}: choose {', '.join(kinds[kind].reasons)}")
    studio: StudioSettings = made_sections["studio"]
    if studio.experts and studio.overlap > len(studio.experts):
        errors.append(f"studio.overlap is {studio.overlap}, but studio.experts names {len(studio.experts)} people")
    url = studio.url
    if url and not URL.fullmatch(url):
        errors.append(
            "studio.url must be http://HOST or https://HOST, with port and path if need be; a user, password or token "
            f"never stands in it (put the token in {TOKEN_VARIABLE})"
        )
    if errors:
        listed = "".join(f"\n  - {error}" for error in errors)
        raise UsageError(f"{where} has {len(errors)} mistake{'s' * (len(errors) > 1)}:{listed}")
    return Project(
        root,
        name,
        kind,
        labels,
        hints,
        head.get("guideline", ""),
        head.get("seed", 0),
        dimensions,
        null,
        types,
        coarse,
        tiers,
        seeds,
        patterns,
        **made_sections,
    )


def load(folder: Path, kinds: Mapping[str, Asks]) -> Project:
    """Read the project of `folder`; UsageError when there is none or its file has mistakes."""
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"no {FILE} in {folder.resolve()}: run this in a project folder, or make one with "
            "toughcall init NAME --kind multiclass --data FILE --text COLUMN"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return parse(text, folder.resolve(), kinds)


def quoted(value: str) -> str:
    """Return `value` as a TOML basic string."""
    out = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in out) + '"'


def toml(value: Any) -> str:
    """Return a text, number, truth value or list of them as TOML."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(one) for one in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def render(
    name: str,
    kind: str,
    asked: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, Any],
    *,
    guideline: str = "",
    null: str = "",
    quotas: Mapping[str, float],
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Return a new project.toml as text, with every setting a newcomer may want to change.

    `asked`: the tables of `questions.TABLES`, by name. `settings` overrides defaults by dotted name
    ("mine.batch", "mine.quotas.in_band").
    """
    mine, gate, train = MineSettings(), GateSettings(), TrainSettings()
    tables: dict[str, dict[str, Any]] = {
        **{table: dict(values) for table, values in asked.items() if table != "dimensions"},
        **{f"dimensions.{quoted(one)}": dict(values) for one, values in asked.get("dimensions", {}).items()},
        "data": {key: value for key, value in columns.items() if value},
        "encoder": {"name": EncoderSettings().name},
        "mine": {"batch": mine.batch, "low": mine.low, "high": mine.high},
        "mine.quotas": dict(quotas),
        "studio": {"url": "", "overlap": 1},
        "gate": {
            "confidence": gate.confidence,
            "min_gain": gate.min_gain,
            "min_items": gate.min_items,
            "test_share": gate.test_share,
            "targets": [],
        },
        "train": {"recipe": train.recipe, "budget": train.budget},
    }
    for dotted, value in (settings or {}).items():
        table, _, key = dotted.rpartition(".")
        tables.setdefault(table, {})[key] = value
    notes = {
        "labels": 'label = "what it means": shown to experts and read by the untouched encoder',
        "types": "which (subject type, object type) a label is legal for; a label not named here is legal for all",
        "taxonomy": "coarse class = its labels",
        "tiers": "name = from this weighted score on",
        "gatekeeper": "below `least` on this dimension an item is in the lowest tier",
        "seeds": "label = phrases an example might hold: where to look for a class that nobody has found yet",
        "patterns": "label = regular expressions (RE2, upper and lower case alike) that examples may match",
        "encoder": "minilm (packaged), a local folder, or a hub name",
        "mine": "low and high: the uncertain band on calibrated probability",
        "mine.quotas": "shares of a batch, by reason",
        "studio": f"url empty = the local server; for your own, set it and put its token in {TOKEN_VARIABLE}",
        "gate": 'what a model must show before it ships; targets = ["macro F1 >= 0.75", "every F1 >= 0.50"]',
        "train": "recipe: head, lora, full, …, or auto, which has `budget` minutes",
    }
    lines = [
        "# A toughcall project. Unknown keys are refused, so a typo cannot be ignored.",
        f"format = {FORMAT}",
        *("", "[project]", f"name = {quoted(name)}", f"kind = {quoted(kind)}"),
        *(f"guideline = {quoted(guideline)}", "seed = 0"),
        *([f"null = {quoted(null)}"] if null else []),
    ]
    for table, values in tables.items():
        if not values and table in questions.TABLES:
            continue
        lines += ["", f"[{table}]" + (f"  # {notes[table]}" if table in notes else "")]
        named = table in questions.TABLES and table != "gatekeeper"
        lines += [f"{quoted(key) if named else key} = {toml(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
