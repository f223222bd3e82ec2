"""What may be answered: labels, dimensions, and which of them an item allows. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toughcall.records import Item, Relation, Value, digest


@dataclass(frozen=True, slots=True)
class Dimension:
    """A number that an answer may give, from `low` to `high`; `weight` is its share in the weighted score."""

    name: str
    low: float = 0.0
    high: float = 10.0
    weight: float = 1.0
    hint: str = ""
    step: float = 0.0
    """The grid that answers lie on; 0 = any number."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """Names for ranges of the weighted score: (name, from this score on), lowest first.

    An item whose `gatekeeper` dimension is below `least` is in the lowest tier, whatever its score.
    """

    names: tuple[tuple[str, float], ...] = ()
    gatekeeper: str = ""
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class Schema:
    """What may be answered. Its version is stored with every batch; an answer outside it never trains."""

    kind: str
    labels: tuple[str, ...]
    single: bool
    guideline: str = ""
    hints: tuple[str, ...] = ()
    """One description per label, shown as a hint and used by the untouched encoder; empty = the names."""
    dimensions: tuple[Dimension, ...] = ()
    null: str = ""
    """The label that says "none of the others" (NO_RELATION): left out of positive-class figures."""
    types: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """For some labels the (subject type, object type) pairs they are legal for; other labels are legal everywhere."""
    coarse: tuple[str, ...] = ()
    """The coarse class of each label, where labels are nested; empty = they are not."""
    tiers: Tiers = Tiers()

    @property
    def version(self) -> str:
        """A digest of what decides whether an answer is valid: not of guideline, hints, types, weights or tiers."""
        asked: list[Any] = ["schema", self.kind, list(self.labels), self.single]
        if self.dimensions:
            asked.append([[d.name, d.low, d.high] for d in self.dimensions])
        return digest(*asked)[:12]

    def offered(self, item: Item) -> tuple[str, ...]:
        """Return the labels that are legal for an item: by the types of its two spans, else all."""
        if not isinstance(item, Relation) or not self.types:
            return self.labels
        ends = (item.subject.type, item.object.type)
        table = dict(self.types)
        return tuple(label for label in self.labels if label not in table or ends in table[label])

    def check(self, value: Value, offered: Sequence[str] | None = None) -> str:
        """Return why `value` is not an answer under this schema, or "" when it is one.

        `offered`: the labels that are legal for the item (all when not given).
        """
        chosen, numbers = chosen_of(value), numbers_of(value)
        for name in chosen:
            if name not in self.labels:
                return f"label not in schema: {name!r}"
            if offered is not None and name not in offered:
                return f"label not legal for the types of this item: {name!r}"
        if len(set(chosen)) != len(chosen) or len(numbers) + len(chosen) != len(value):
            return "the same label twice"
        if self.single and self.labels and len(chosen) != 1:
            return f"{len(chosen)} choices where exactly one is due"
        if not self.labels and not numbers:
            return "no number given"
        known = {d.name: d for d in self.dimensions}
        for name, number in numbers.items():
            if name not in known:
                return f"dimension not in schema: {name!r}"
            if not known[name].low <= number <= known[name].high:
                return f"{name} is {number:g}, outside {known[name].low:g} to {known[name].high:g}"
        return ""

    def translated(self, value: Value, means: Mapping[str, str]) -> Value | None:
        """Return an answer given under other labels in these, None when it says nothing here.

        `means`: for a label or dimension of theirs the one here, "" where there is none; its own name otherwise.
        """
        labels = tuple(dict.fromkeys(means.get(one, one) for one in chosen_of(value)))
        numbers = {means.get(name, name): number for name, number in numbers_of(value).items()}
        kept: Value = (*(one for one in labels if one), *((name, number) for name, number in numbers.items() if name))
        if (value and not kept) or self.check(kept):
            return None
        return self.ordered(kept)

    def ordered(self, value: Value) -> Value:
        """Return an answer with labels and dimensions in the schema's order."""
        chosen, numbers = chosen_of(value), numbers_of(value)
        labels = tuple(label for label in self.labels if label in chosen)
        return (*labels, *((d.name, numbers[d.name]) for d in self.dimensions if d.name in numbers))


def schema_from(raw: Mapping[str, Any]) -> Schema:
    """Return a schema from the JSON of its fields; what an older toughcall did not write has its default."""
    types = tuple((str(label), tuple((str(a), str(b)) for a, b in pairs)) for label, pairs in raw.get("types", ()))
    tiers = raw.get("tiers") or {"names": (), "gatekeeper": "", "least": 0.0}
    names = tuple((str(name), float(least)) for name, least in tiers["names"])
    return Schema(
        raw["kind"],
        tuple(raw["labels"]),
        bool(raw["single"]),
        raw["guideline"],
        tuple(raw["hints"]),
        tuple(Dimension(**one) for one in raw.get("dimensions", ())),
        raw.get("null", ""),
        types,
        tuple(raw.get("coarse", ())),
        Tiers(names, tiers["gatekeeper"], tiers["least"]),
    )


def chosen_of(value: Value) -> tuple[str, ...]:
    """Return the labels of an answer."""
    return tuple(one for one in value if isinstance(one, str))


def numbers_of(value: Value) -> dict[str, float]:
    """Return the numbers of an answer by dimension."""
    return dict(one for one in value if not isinstance(one, str))


def names_of(value: Value) -> tuple[str, ...]:
    """Return the labels chosen and the dimensions answered."""
    return tuple(one if isinstance(one, str) else one[0] for one in value)


def value_of(raw: Sequence[Any]) -> Value:
    """Return an answer's value from its JSON."""
    return tuple(one if isinstance(one, str) else (str(one[0]), float(one[1])) for one in raw)
