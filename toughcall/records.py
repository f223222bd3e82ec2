"""The nouns of toughcall: what travels between its parts. No I/O, no clock, no randomness.

An item's id is a digest of its canonical content and the user's own key, so the same file read
twice gives the same ids on every machine; row numbers and Label Studio ids are never identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]
Reals: TypeAlias = NDArray[np.floating[Any]]
Value: TypeAlias = tuple[str | tuple[str, float], ...]
"""What an answer says: the chosen labels, then (dimension, number) for each dimension that was answered."""

Source: TypeAlias = Literal["person", "pattern", "oracle", "import"]
Trust: TypeAlias = Literal["gold", "silver"]
Outcome: TypeAlias = Literal["label", "skip", "cant_tell", "deleted"]
Part: TypeAlias = Literal["train", "dev", "test"]

CANT_TELL = "__cant_tell__"
"""The answer of an expert who looked and cannot decide: never a negative, never a label."""
NONE = "__none__"
"""What says that somebody looked and no label applies, in files and in Label Studio."""
MARKS = ("[SUBJ]", "[/SUBJ]", "[OBJ]", "[/OBJ]")
"""What stands around the two spans of a relation."""


def digest(*parts: object) -> str:
    """Return 32 hex digits that depend on the parts' content and order, not on the process or machine."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=1 << 18)  # asked for again and again while pairs are built
def _text_id(key: str, text: str) -> str:
    return digest("text", key, text)


class ToughcallError(Exception):
    """A failure a person can act on: one sentence saying what, where and the next command.

    `code` is the exit code (the README lists them); subclasses fix it.
    """

    code = 1


class UsageError(ToughcallError):
    """Wrong use, configuration or credentials (exit 2)."""

    code = 2


class RemoteError(ToughcallError):
    """The server cannot be reached or did not finish; safe to run again (exit 4)."""

    code = 4


class GateRefused(ToughcallError):
    """The gate did not let a model through (exit 5)."""

    code = 5


class IntegrityError(ToughcallError):
    """Something stored is not what was stored, or a model is not what was trained (exit 6)."""

    code = 6


class BusyError(ToughcallError):
    """Another command holds the project's lock (exit 7)."""

    code = 7


class NotEnoughData(ToughcallError):
    """There is too little to learn or to measure (exit 8)."""

    code = 8


class DiskError(ToughcallError):
    """The disk is full or not writable (exit 9)."""

    code = 9


@dataclass(frozen=True, slots=True)
class Text:
    """One text. `key` is the user's own id ("" without one), `group` keeps related texts in one split.

    `block` and `time` decide which records may be paired: equal blocks, and times (in days) near each other.
    """

    text: str
    key: str = ""
    group: str = ""
    block: str = field(default="", compare=False)
    time: float | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The digest of key and text: the same text under two keys is two records."""
        return _text_id(self.key, self.text)

    def fields(self) -> dict[str, str]:
        """Return what an expert sees, by the name of the field in the labelling interface."""
        return {"text": self.text}

    @property
    def texts(self) -> tuple[Text, ...]:
        """The records an item is made of; a split never separates two items that share one."""
        return (self,)

    @property
    def views(self) -> tuple[Text, ...]:
        """What the encoder reads of an item, one vector each."""
        return (self,)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two different texts in canonical order (smaller id first), so that (a, b) and (b, a) are one pair."""

    a: Text
    b: Text

    def __post_init__(self) -> None:
        if self.a.id == self.b.id:
            raise ValueError("a pair needs two different records")
        if self.a.id > self.b.id:
            a, b = self.a, self.b
            object.__setattr__(self, "a", b)
            object.__setattr__(self, "b", a)

    @property
    def id(self) -> str:
        """The digest of both records' ids, free of their order."""
        return digest("pair", self.a.id, self.b.id)

    def fields(self) -> dict[str, str]:
        """Return what an expert sees, by the name of the field in the labelling interface."""
        return {"text_a": self.a.text, "text_b": self.b.text}

    @property
    def texts(self) -> tuple[Text, ...]:
        """Both records."""
        return (self.a, self.b)

    @property
    def views(self) -> tuple[Text, ...]:
        """Both records."""
        return (self.a, self.b)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text, and the type of what they name."""

    start: int
    end: int
    type: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """A text with two marked spans; from subject to object, so that (a, b) and (b, a) are two questions."""

    record: Text
    subject: Span
    object: Span

    def __post_init__(self) -> None:
        for span in (self.subject, self.object):
            if not 0 <= span.start < span.end <= len(self.record.text):
                raise ValueError(f"characters {span.start} to {span.end} are not in a text of {len(self.record.text)}")
        if (self.subject.start, self.subject.end) == (self.object.start, self.object.end):
            raise ValueError("a relation needs two different spans")

    @property
    def id(self) -> str:
        """The digest of the text's id and both spans with their types."""
        return digest("relation", self.record.id, *self.spans)

    @property
    def spans(self) -> tuple[int | str, ...]:
        """Start, end and type of the subject, then of the object."""
        s, o = self.subject, self.object
        return (s.start, s.end, s.type, o.start, o.end, o.type)

    @property
    def ends(self) -> tuple[str, str]:
        """What the subject's and the object's characters say."""
        text = self.record.text
        return text[self.subject.start : self.subject.end], text[self.object.start : self.object.end]

    @property
    def sides(self) -> tuple[Span, Span]:
        """The two spans in the order in which they begin."""
        return (self.subject, self.object) if self.subject.start <= self.object.start else (self.object, self.subject)

    @property
    def between(self) -> str:
        """The text from the end of the first span to the start of the second, "" where they overlap."""
        left, right = self.sides
        return self.record.text[left.end : max(left.end, right.start)]

    @property
    def marked(self) -> str:
        """The text with `[SUBJ] … [/SUBJ]` and `[OBJ] … [/OBJ]` around the spans."""
        return mark(self, [f" {sign}" if "/" in sign else f"{sign} " for sign in MARKS])

    def fields(self) -> dict[str, str]:
        """Return what an expert sees, by the name of the field in the labelling interface."""
        return {"text": self.marked}

    @property
    def texts(self) -> tuple[Text, ...]:
        """The text: every relation of one text is on the same side of a split."""
        return (self.record,)

    @property
    def views(self) -> tuple[Text, ...]:
        """What the encoder reads: the text, and what joins the spans ("TAXON was collected from the STRAT")."""
        left, right = self.sides
        joined = f"{left.type or 'it'} {self.between} {right.type or 'it'}"
        return self.record, Text(" ".join(joined.split()))


def mark(item: Relation, marks: Sequence[str], escape: Callable[[str], str] = str) -> str:
    """Return a relation's text with four marks at subject start and end, object start and end.

    `escape` is applied to every piece of text between the marks. Where both spans begin, the longer one
    opens first; where both end, it closes last.
    """
    text = item.record.text
    points: list[tuple[int, int, int, str]] = []
    for span, opens, closes in ((item.subject, marks[0], marks[1]), (item.object, marks[2], marks[3])):
        # place, closing marks first, then the order among marks of one place
        points += [(span.start, 1, span.start - span.end, opens), (span.end, 0, span.end - span.start, closes)]
    out: list[str] = []
    last = 0
    for place, _, _, sign in sorted(points):
        out += [escape(text[last:place]), sign]
        last = place
    return "".join([*out, escape(text[last:])])


Item: TypeAlias = Text | Pair | Relation


@dataclass(frozen=True, slots=True)
class Answer:
    """One expert's answer to one item: an event, never edited.

    `key` identifies the annotation at its origin (server instance and unique id); a changed answer is
    a new event with the same key. `value` is empty unless `outcome` is "label".
    """

    key: str
    item: str
    annotator: str
    outcome: Outcome
    value: Value
    batch: str
    schema: str
    source: Source = "person"
    trust: Trust = "gold"
    at: str = ""
    seconds: float | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """A digest of what was said: differs exactly when the answer changed."""
        return digest("answer", self.item, self.annotator, self.outcome, list(self.value))


@dataclass(frozen=True, slots=True)
class Label:
    """The current, agreed answer to one item: what trains and what evaluates."""

    item: str
    value: Value
    source: Source = "person"
    trust: Trust = "gold"
    batch: str = ""
    annotators: int = 1


@dataclass(frozen=True, slots=True)
class SetAside:
    """Something read and not used, with where it stood, why, and its raw text (shortened)."""

    where: str
    reason: str
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated probabilities: `values[i, j]` is P(label j | item i), shape (n, k), float32 in [0, 1].

    `parts` keeps the raw ingredients by name (each shape (n,) or (n, k)) for explanation; `model` names
    the model version that scored.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    values: Floats
    model: str
    parts: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.ids), len(self.labels)):
            raise ValueError(
                f"values have shape {self.values.shape}, ids and labels say {(len(self.ids), len(self.labels))}"
            )
        if not np.isfinite(self.values).all():
            raise IntegrityError(
                f"model {self.model} gave a score that is not a number: nothing was stored; run toughcall doctor"
            )

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Scores:
        """Return the scores of some rows, ids and parts with them."""
        index = np.asarray(rows, dtype=np.intp)
        return Scores(
            tuple(self.ids[i] for i in index),
            self.labels,
            self.values[index],
            self.model,
            {name: part[index] for name, part in self.parts.items()},
        )


@dataclass(frozen=True)
class Vectors:
    """Embeddings: `array[i]` belongs to the text with id `ids[i]`; shape (n, d), float32, unit length."""

    ids: tuple[str, ...]
    array: Floats
    encoder: str

    def __post_init__(self) -> None:
        if self.array.ndim != 2 or len(self.array) != len(self.ids):
            raise ValueError(f"array has shape {self.array.shape}, there are {len(self.ids)} ids")

    @cached_property
    def where(self) -> dict[str, int]:
        """The row of each id."""
        return {one: row for row, one in enumerate(self.ids)}

    def rows(self, ids: Sequence[str]) -> Floats:
        """Return the vectors of `ids` in that order, shape (len(ids), d); KeyError names a missing one."""
        return self.array[[self.where[one] for one in ids]]


@dataclass(frozen=True, slots=True)
class Pick:
    """One item chosen for the experts, and why.

    `probability` is the chance with which this item was drawn into its slice (1.0 = certain);
    `score` is what its reason ranked by; `note` says it in words.
    """

    item: str
    reason: str
    score: float
    rank: int
    probability: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Picks that go to the experts together, in the order they should be seen."""

    name: str
    schema: str
    model: str
    picks: tuple[Pick, ...]
    shortfall: Mapping[str, int] = field(default_factory=dict)
