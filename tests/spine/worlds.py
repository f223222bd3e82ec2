"""A small made-up world for each kind of work: a file to import, and somebody who knows every answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall import project, proof, retraining, starting
from toughcall.model.kind import Kind
from toughcall.model.kinds import ScoresKind
from toughcall.model.registry import item_json
from toughcall.records import Answer, Item, Relation, Value, digest
from toughcall.workspace import Silent, Workspace

READY = Path(project.__file__).with_name("data")
WORDS = {
    "animal": "dog cat horse sparrow trout lizard spider whale goat beetle otter falcon mouse camel",
    "machine": "tractor engine printer lathe pump crane drill laptop turbine truck excavator robot elevator forklift",
}
ANIMALS, MACHINES = (words.split() for words in WORDS.values())


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Try one setting instead of eight, and prove in this process instead of a fresh one."""
    for kind in (Kind, ScoresKind):
        patch.setattr(kind, "settings", kind.settings[4:5])
    patch.setattr(retraining, "prove", prove_here)


def prove_here(folder: Path, encoder: str, device: str, rows: Sequence[Item] = ()) -> Any:
    """Do what the fresh process does, in this one."""
    return np.asarray(proof.probe_scores(folder, encoder, device, [item_json(one) for one in rows]), dtype=np.float32)


@dataclass(frozen=True)
class World:
    """What `starting.make_project` is told, the rows of its file, and the answer to every item."""

    kind: str
    rows: Sequence[dict[str, Any]]
    truth: Callable[[Item], Value]
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, folder: Path, **settings: Any) -> Path:
        """Make the project with its records; `settings` override by name ("gate__min_items")."""
        path = folder / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        plain = {"gate.min_items": 8, "gate.test_share": 0.35, "mine.batch": 8, "encoder.device": "cpu"}
        plain |= {"gate.confidence": 0.9} | {key.replace("__", "."): value for key, value in settings.items()}
        given = {"encoder": "minilm", "kind": self.kind, "data": path, **self.options}
        made = starting.make_project(folder / "p", Silent(), settings=plain, **given)
        assert made["read"] == made["new"] + made["known"] + made["set aside"]
        assert not made["set aside"]
        return folder / "p"

    def answer(self, ws: Workspace, items: Iterable[str], who: str = "anna") -> int:
        """Put somebody's answer to each item into the ledger."""
        found = ws.pool.items(list(items))
        return ws.store.add_answers(
            [
                Answer(
                    digest(who, one), one, who, "label", ws.schema.ordered(self.truth(item)), "b001", ws.schema.version
                )
                for one, item in found.items()
            ]
        )


def _named(words: Sequence[str], item: Item) -> bool:
    return any(word in item.texts[0].text.split() for word in words)


def multilabel() -> World:
    """Sentences about animals, machines, both or neither."""
    plain = [f"We saw the {word} near the old barn" for word in (*ANIMALS, *MACHINES)]
    both = [f"A {a} slept under the {m}" for a, m in zip(ANIMALS, MACHINES, strict=True)]
    neither = [f"It rained for {n} days in {town}" for n, town in product((2, 3, 9), ("Rome", "Oslo", "Lima", "Bonn"))]

    def truth(item: Item) -> Value:
        return tuple(name for name, words in (("animal", ANIMALS), ("machine", MACHINES)) if _named(words, item))

    labels = {"animal": "a machine", "machine": "an animal"}
    return World("multilabel", [{"text": text} for text in (*plain, *both, *neither)], truth, {"labels": labels})


def multiclass() -> World:
    """Sentences about one animal or one machine each, with descriptions that mislead the untouched encoder."""
    rows = [
        {"text": text.format(word)} for word in (*ANIMALS, *MACHINES) for text in ("The {} is here", "No {} was left")
    ]
    labels = {"animal": "a machine", "machine": "an animal"}
    return World(
        "multiclass", rows, lambda item: ("animal" if _named(ANIMALS, item) else "machine",), {"labels": labels}
    )


SAID = {
    "found_at": (
        "was dug up at|was unearthed near|turned up in the fields of|was collected by hand at|came out of a pit at|"
        "lay in the quarry of|was hammered from a cliff by|was picked from the beach of|emerged from the mud beside|"
        "was excavated behind|has its only locality at|was discovered by children close to",
        *("TAXON", "LOC"),
    ),
    "NO_RELATION": (
        "is on show far away in|was sold to a dealer in|is only a rumour at|was named by a professor from|"
        "is printed on a stamp of|was drawn by an artist in|is kept in a drawer in|gave its name to a pub in|"
        "was lectured on at|was stolen in|was auctioned in|is the mascot of a school in",
        *("TAXON", "LOC"),
    ),
    "occurs_in": ("comes from the|is common in the|is preserved within the|weathers out of the", *("TAXON", "STRAT")),
    "part_of": ("is the lowest member of the|belongs to the|was placed inside the", *("STRAT", "STRAT")),
}
NAMES = {
    "TAXON": ("Harpoceras", "Ichthyosaurus", "Thalassodraco", "Zaianites", "Spirifer", "Belemnites"),
    "LOC": ("Skerry Nab", "Porto Verrano", "Untersteig", "Collesecco"),
    "STRAT": ("Dunmarrow Shale", "Tizguit Limestone", "Pennock Grit", "Aldersyke Beds"),
}


def relation() -> World:
    """Sentences with two names each, asked from the first to the second and, between two beds, back."""
    known: dict[tuple[Any, ...], str] = {}
    rows = []
    for label, (phrases, subject, object_) in SAID.items():
        for place, (a, b) in enumerate(product(NAMES[subject], NAMES[object_])):
            each = phrases.split("|")
            text = f"{a} {each[place % len(each)]} {b}."
            one = {"id": "s", "start": 0, "end": len(a), "type": subject}
            other = {"id": "o", "start": text.index(b, len(a)), "end": len(text) - 1, "type": object_}
            if a != b:
                rows.append({"text": text, "spans": [one, other]})
                known[(text, 0, len(a))] = label

    def truth(item: Item) -> Value:
        assert isinstance(item, Relation)
        # backwards, nothing is said
        return (known.get((item.record.text, item.subject.start, item.subject.end), "NO_RELATION"),)

    return World("relation", rows, truth, {"like": str(READY / "fossils" / "project.toml")})


UNITS = ("A7", "B3", "C9", "D2", "E5", "F8")
TALES = (
    "is leaking oil on the floor|loses lubricant, there is a puddle under it|drips, and the ground is slippery",
    "will not start in the morning|stays dead when the key is turned|cannot be switched on since the weekend",
    "makes a loud grinding noise|screeches so that we wear ear plugs|howls and rattles when it runs",
    "shows the wrong temperature|reads forty degrees too many|has a thermometer that cannot be right",
)


def pair() -> World:
    """Tickets about six units on two sites within a month: one trouble of one unit is one event, told three times."""
    event: dict[str, str] = {}
    rows = []
    for (place, unit), (trouble, tale) in product(enumerate(UNITS), enumerate(TALES)):
        for turn, words in enumerate(tale.split("|")):
            text = f"{unit} {words}"
            event[text] = f"{unit} {trouble}"
            row = {"text": text, "ticket": f"{unit}-{trouble}-{turn}", "site": "north" if place % 2 else "south"}
            rows.append({**row, "opened": f"2026-01-{1 + 3 * trouble + turn:02d}T05:30"})
    return World(
        "pair",
        rows,
        lambda item: (
            ("similar", ("grade", 9.5)) if len({event[text.text] for text in item.texts}) == 1 else ("not_similar",)
        ),
        {
            "like": str(READY / "incidents" / "project.toml"),
            **{"block": ["site"], "time": "opened"},
            **{"dimensions": "grade=how alike", "low": 0.0, "high": 10.0},
        },
    )


FEELINGS = {
    "awful": -4.0,
    "terrible": -3.5,
    "bad": -2.0,
    "sad": -2.0,
    "dull": -1.0,
    "ordinary": 0.0,
    "fine": 1.0,
    "nice": 1.5,
    "good": 2.0,
    "lovely": 3.0,
    "wonderful": 4.0,
}


def scores() -> World:
    """Remarks whose one adjective says how good and how strong they are; nobody rates the strength of a talk."""
    things = ("day", "film", "meal", "trip", "song", "talk")
    texts = {f"What a {word} {thing} that was": number for word, number in FEELINGS.items() for thing in things}

    def truth(item: Item) -> Value:
        number = texts[item.texts[0].text]
        strength = () if "talk" in item.texts[0].text else (("strength", abs(number)),)
        return (("sentiment", number), *strength)

    like = str(READY / "tweets" / "project.toml")
    return World("scores", [{"text": text} for text in texts], truth, {"like": like})


WORLDS = {made.__name__: made for made in (multilabel, multiclass, relation, pair, scores)}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
