"""What a project asks: [labels], [dimensions], [types], [taxonomy], [tiers], [seeds], [patterns] → typed values.

Every function appends what is wrong to `errors`, so that all mistakes of a file are reported at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from toughcall.schema import Dimension, Tiers

TABLES = ("labels", "dimensions", "types", "taxonomy", "tiers", "gatekeeper", "seeds", "patterns")
DIMENSION = {"low": 0.0, "high": 10.0, "weight": 1.0, "hint": "", "step": 0.0}


class Asks(Protocol):
    """What project.toml is checked against: what a kind of work asks for."""

    @property
    def labelled(self) -> bool:
        """Whether an answer chooses labels."""

    @property
    def numbered(self) -> bool:
        """Whether an answer may give numbers."""

    @property
    def spanned(self) -> bool:
        """Whether an item has two typed spans."""

    @property
    def default_labels(self) -> tuple[str, ...]:
        """The labels of the kind, () when the user names them."""

    @property
    def default_null(self) -> str:
        """The null label of the kind, "" when it has none of its own."""

    @property
    def quotas(self) -> Mapping[str, float]:
        """The shares of a batch, by reason, unless the project says others."""

    @property
    def reasons(self) -> Sequence[str]:
        """What may have a share."""


def near(word: str, known: Collection[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest known word, or "" when none is near."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def number(value: Any) -> bool:
    """Return whether a TOML value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _table(raw: Mapping[str, Any], name: str, errors: list[str]) -> dict[str, Any]:
    found = raw.get(name, {})
    if isinstance(found, dict):
        return found
    errors.append(f"[{name}] must be a table")
    return {}


def _nameable(name: str) -> bool:
    return bool(name.strip()) and not name.startswith("__") and len(name) <= 100 and name.isprintable()


def labels(raw: Mapping[str, Any], errors: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (labels, their descriptions: the name where there is none)."""
    table = raw.get("labels", {})
    if not isinstance(table, dict):
        errors.append('[labels] must be a table of label = "description"')
        return (), ()
    for label, hint in table.items():
        if not isinstance(hint, str):
            errors.append(f"labels.{label} must be a description in quotes, not {hint!r}")
        if not _nameable(label):
            errors.append(f"labels.{label!r} is not a label: 1 to 100 printable characters, not starting with '__'")
    if len(table) == 1:
        errors.append("[labels] needs at least two labels")
    return tuple(table), tuple(str(hint) or label for label, hint in table.items())


def dimensions(raw: Mapping[str, Any], errors: list[str]) -> tuple[Dimension, ...]:
    """Return the dimensions of [dimensions.NAME] in the order of the file."""
    found = []
    for name, table in _table(raw, "dimensions", errors).items():
        where = f"dimensions.{name}"
        if not _nameable(name) or name in ("answer", "text", "uid", "batch"):
            errors.append(f"{where} is not a name for a dimension: 1 to 100 printable characters, not one of ours")
        if not isinstance(table, dict):
            errors.append(f"[{where}] must be a table with low and high")
            continue
        for key, value in table.items():
            if key not in DIMENSION:
                errors.append(f"unknown key {where}.{key}{near(key, DIMENSION)}")
            elif not (isinstance(value, str) if key == "hint" else number(value)):
                errors.append(f"{where}.{key} must be a {'text' if key == 'hint' else 'number'}, not {value!r}")
        good = {**DIMENSION, **{k: v for k, v in table.items() if k in DIMENSION and type(v) is not bool}}
        if not all(number(good[key]) for key in ("low", "high", "weight", "step")):
            continue
        if good["low"] >= good["high"] or good["weight"] < 0 or good["step"] < 0:
            errors.append(f"{where} needs low below high, and weight and step from 0")
            continue
        low, high, weight, step = (float(good[key]) for key in ("low", "high", "weight", "step"))
        found.append(Dimension(name, low, high, weight, str(good["hint"]), step))
    if found and not sum(d.weight for d in found):
        errors.append("[dimensions] needs at least one weight above 0")
    return tuple(found)


def types(
    raw: Mapping[str, Any], known: Sequence[str], errors: list[str]
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return the type table: for a label the (subject type, object type) pairs it is legal for."""
    found = []
    for label, pairs in _table(raw, "types", errors).items():
        if label not in known:
            errors.append(f"types names {label!r}, which is no label{near(label, known)}")
        good = isinstance(pairs, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) and one for one in pair)
            for pair in pairs
        )
        if not good or not pairs:
            errors.append(f'types.{label} must be a list of pairs like [["TAXON", "STRAT"]], not {pairs!r}')
            continue
        found.append((label, tuple((str(a), str(b)) for a, b in pairs)))
    return tuple(found)


def phrases(
    raw: Mapping[str, Any], table: str, known: Sequence[str], errors: list[str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the texts that [seeds] or [patterns] (`table`) holds for each label, in the order of the file.

    A pattern must be a regular expression of RE2, which DuckDB runs: RE2 reads a text once, so that no
    pattern can hang on one.
    """
    found = []
    for label, given in _table(raw, table, errors).items():
        if label not in known:
            errors.append(f"{table} names {label!r}, which is no label{near(label, known)}")
        if not isinstance(given, list) or not given or not all(isinstance(one, str) and one.strip() for one in given):
            errors.append(f'{table}.{label} must be a list of texts like ["one", "another"], not {given!r}')
            continue
        if twice := sorted({one for one in given if given.count(one) > 1}):
            errors.append(f"{table}.{label} holds {twice[0]!r} twice: once is enough")
        if table == "patterns":
            errors += [f"{table}.{label}: {said}" for one in given if (said := _not_a_pattern(one))]
        found.append((label, tuple(given)))
    return tuple(found)


def _not_a_pattern(pattern: str) -> str:
    """Return why RE2 does not take a regular expression, "" when it does."""
    import duckdb

    try:
        with duckdb.connect(":memory:") as base:
            base.execute("SELECT regexp_matches('', ?, 'i')", [pattern])
    except duckdb.Error as error:
        why = str(error).splitlines()[0].split("Error: ")[-1]
        return f"{pattern!r} is no regular expression for RE2 ({why}), which has no look-around and no back-references"
    return ""


def coarse(raw: Mapping[str, Any], known: Sequence[str], errors: list[str]) -> tuple[str, ...]:
    """Return the coarse class of each label from [taxonomy] coarse = [labels]; () without that table."""
    table = _table(raw, "taxonomy", errors)
    home: dict[str, str] = {}
    for parent, children in table.items():
        if not _nameable(parent) or not isinstance(children, list) or not all(isinstance(c, str) for c in children):
            errors.append(f"taxonomy.{parent} must be a list of labels, not {children!r}")
            continue
        for child in children:
            if child not in known:
                errors.append(f"taxonomy.{parent} names {child!r}, which is no label{near(child, known)}")
            elif child in home:
                errors.append(f"taxonomy puts {child!r} under {home[child]!r} and {parent!r}: one place each")
            home[child] = parent
    if table and (homeless := [label for label in known if label not in home]):
        errors.append(f"taxonomy has no place for {', '.join(homeless)}: every label needs one")
    return tuple(home.get(label, "") for label in known) if table else ()


def tiers(raw: Mapping[str, Any], known: Sequence[Dimension], errors: list[str]) -> Tiers:
    """Return the tiers of the weighted score, lowest first, with the gatekeeper."""
    table, gate = _table(raw, "tiers", errors), _table(raw, "gatekeeper", errors)
    if not all(number(value) for value in table.values()):
        errors.append("[tiers] must be a table of name = least weighted score")
        table = {}
    for key in gate:
        if key not in ("dimension", "least"):
            errors.append(f"unknown key gatekeeper.{key}{near(key, ('dimension', 'least'))}")
    names = [d.name for d in known]
    keeper, least = gate.get("dimension", ""), gate.get("least", 0.0)
    if gate and (keeper not in names or not number(least)):
        errors.append(f"[gatekeeper] needs dimension (one of {', '.join(names) or 'none yet'}) and least, a number")
        return Tiers()
    if len(table) == 1 or (table and not known):
        errors.append("[tiers] needs at least two tiers, and [dimensions] to compute the score from")
    if gate and not table:
        errors.append("[gatekeeper] needs [tiers]: below it an item is in the lowest tier")
    ordered = sorted(((str(name), float(value)) for name, value in table.items()), key=lambda one: one[1])
    if len({start for _, start in ordered}) < len(ordered):
        errors.append("[tiers] holds two tiers that begin at the same score: no item could be in one of them")
    return Tiers(tuple(ordered), str(keeper), float(least))


def fitting(raw: Mapping[str, Any], kind: str, asks: Asks, found: Sequence[Dimension], errors: list[str]) -> None:
    """Append what the tables hold that this kind of work does not ask for, or lacks."""
    given, due = raw.get("labels"), len(asks.default_labels)
    if isinstance(given, dict) and len(given) > 1 and due and len(given) != due:
        errors.append(f"kind {kind} asks which of {due} labels it is: [labels] names {len(given)}")
    if both := [d.name for d in found if isinstance(given, dict) and d.name in given]:
        errors.append(f"{', '.join(both)}: a label and a dimension need two different names")
    if not asks.labelled and raw.get("labels"):
        errors.append(f"kind {kind} asks for numbers: take [labels] out and name [dimensions]")
    if not asks.numbered and found:
        errors.append(f"kind {kind} asks for labels alone: take [dimensions] out")
    if not asks.labelled and not raw.get("dimensions"):
        errors.append(f"kind {kind} needs [dimensions.NAME] with low and high")
    if not asks.spanned and raw.get("types"):
        errors.append(f"kind {kind} has no typed spans: take [types] out")
    for table in ("seeds", "patterns"):
        if not asks.labelled and raw.get(table):
            errors.append(f"kind {kind} asks for numbers: no class is rare there, take [{table}] out")
        elif table == "seeds" and due and raw.get(table):
            errors.append(f"kind {kind} asks about two records: one phrase is no example of that, take [{table}] out")
    if (not asks.labelled or asks.spanned) and raw.get("taxonomy"):
        errors.append(f"kind {kind} has no nested labels: take [taxonomy] out")
