"""A plain list of what happened around a project, and what its ledger must hold because of it, worked out by hand.

The list knows nothing of the product: what somebody said and the server took is written down when it is said, and what
a label means is known by its concept, whatever it is called. Held against the ledger, it is the promises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fakes.label_studio import FakeStudio

from toughcall import exchange
from toughcall.records import Answer, digest
from toughcall.workspace import Workspace

PEOPLE = ("anna@example.com", "ben@example.com", "caro@example.com")
CONCEPTS = {"animal": "A", "beast": "A", "machine": "M", "food": "F", "meal": "F"}
"""What each word means: two words of one concept are one label under two names."""
ASKED = (("animal", "machine", "food"), ("beast", "machine", "food"), ("animal", "food"), ("beast", "food"))
"""What [labels] of project.toml may hold; "meal" is a word of Label Studio alone."""

Task = dict[str, Any]
Key = tuple[int, str, str]
"""Project on the server, batch, item."""


@dataclass
class Said:
    """One annotation that the server took: where, by whom, and everything it ever said: (outcome, word)."""

    project: int
    task: Task
    note: Task
    versions: list[tuple[str, str]]
    removed: bool = False
    """Whether somebody deleted it, or its task."""
    read: int = 0
    """The version that the ledger has seen; no older one may come after it."""


@dataclass
class Told:
    """What happened outside the product."""

    said: list[Said] = field(default_factory=list)
    picks: dict[str, dict[str, str]] = field(default_factory=dict)
    """Reason by item, by batch."""
    roles: dict[str, str] = field(default_factory=dict)
    sent: set[Key] = field(default_factory=set)
    """What pushes that ended well have sent."""
    deleted: set[Key] = field(default_factory=set)
    """What somebody else deleted until no copy was left."""
    lost: set[Key] = field(default_factory=set)
    """What of it a push that ended well had sent: it must not come back by itself."""
    texts: set[str] = field(default_factory=set)
    imported: dict[str, set[str]] = field(default_factory=dict)
    decisions: dict[tuple[str, str], str] = field(default_factory=dict)
    """Word, "" for "can't tell", by item and decision."""
    mapped: dict[str, set[str]] = field(default_factory=dict)
    """Schema versions that were translated, by the version they were translated to."""
    asks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The labels of each schema version."""
    words: set[str] = field(default_factory=set)
    """Words outside a batch's schema that somebody gave a meaning."""
    history: list[Answer] = field(default_factory=list)


def named(word: str, labels: Sequence[str]) -> str:
    """Return what a word's concept is called among labels, "" when none of them means it."""
    return next((one for one in labels if CONCEPTS[one] == CONCEPTS[word]), "")


class Beside:
    """What is beside a project: its server, and the list."""

    ws: Workspace
    fake: FakeStudio
    told: Told
    settings: Mapping[str, Any]

    @property
    def numbers(self) -> dict[str, int]:
        """The projects on the server by place."""
        return exchange.places(self.ws)

    def tasks(self) -> list[tuple[int, Task]]:
        """Return every task there with its project, in a fixed order."""
        return [(n, task) for n, one in sorted(self.fake.projects.items()) for _, task in sorted(one.tasks.items())]

    def copies(self, key: Key) -> list[Task]:
        """Return the tasks of one item in one batch of one project."""
        there = self.fake.projects[key[0]].tasks.values() if key[0] in self.fake.projects else ()
        return [task for task in there if (task["data"]["batch"], task["data"]["uid"]) == key[1:]]

    def alive(self, one: Said) -> bool:
        """Return whether an annotation is still on the server."""
        held = self.fake.projects[one.project].tasks.values()
        return any(task is one.task for task in held) and any(note is one.note for note in one.task["annotations"])

    def readable(self, one: Said, turn: int = -1) -> tuple[str, tuple[str, ...]] | None:
        """Return the outcome and value that an annotation is in the ledger, None for what cannot be read."""
        outcome, word = one.versions[turn]
        batch = one.task["data"]["batch"]
        if outcome == "empty" or batch not in self.told.picks:
            return None
        if outcome != "label":
            return outcome, ()
        labels = self.told.asks[self.schemas()[batch]]
        if word not in labels:
            word = named(word, labels) if word in self.told.words else ""
        return ("label", (word,)) if word else None

    def untold(self) -> bool:
        """Return whether something was asked in words whose present meaning nobody has said."""
        now = self.ws.schema.version
        return bool(set(self.schemas().values()) - {now} - self.told.mapped.get(now, set()))

    def renamed(self) -> bool:
        """Return whether a project there has a word whose meaning nobody has said."""
        configs = [self.fake.projects[number].fields["label_config"] for number in self.numbers.values()]
        return "meal" not in self.told.words and any('alias="meal"' in config for config in configs)

    def may_refuse(self, why: str) -> bool:
        """Return whether a command that met no fault may refuse so."""
        if "made for other labels" in why:
            return self.untold()
        return "labelling interface of project" in why and (self.untold() or self.renamed())

    def once(self, batch: str) -> None:
        """P2: each item of a batch is there once for each who is to answer it, or somebody deleted it."""
        asked = Counter(item for _, item, _, _, _ in self.ws.store.tasks(batch))
        for item, people in asked.items():
            keys = {(number, batch, item) for number in self.fake.projects}
            there = {key for key in keys if self.copies(key)}
            assert len(there) <= people <= len(there | (keys & self.told.deleted)), (batch, item, there)
            for key in there:
                touched = [task for task in self.copies(key) if task["annotations"] or task["drafts"]]
                assert len(self.copies(key)) == (len(touched) or 1), key
            self.told.sent |= there

    def schemas(self) -> dict[str, str]:
        """Return the schema version of each batch."""
        return {row["name"]: row["schema"] for row in self.ws.store.batches()}

    def key(self, one: Said) -> str:
        """Return under which key an annotation is in the ledger."""
        return digest(exchange.instance(self.ws, one.project), one.note["unique_id"])

    def covered(self) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
        """Return what a whole and a partial pull must leave as newest: key, item, who, outcome, value."""
        ours = set(self.numbers.values())
        found = []
        for one in self.told.said:
            said = self.readable(one)
            if said and one.project in ours and self.alive(one):
                who = PEOPLE[one.note["completed_by"] - 1]
                found.append((self.key(one), one.task["data"]["uid"], who, *said))
        return found

    def remember(self, history: list[Answer]) -> None:
        """Hold the ledger's events against those known, and each new one against what was said; then know them."""
        old, by_key = self.told.history, {self.key(one): one for one in self.told.said}
        assert history[: len(old)] == old, "an event changed or went away"
        for event in history[len(old) :]:
            word = str(event.value[0]) if event.value else ""
            if event.source == "import":
                assert word in self.told.imported[event.item]
            elif "decision" in event.origin:
                assert self.told.decisions[event.item, event.origin["decision"]] == word
            else:
                one = by_key[event.key]
                assert (event.item, event.annotator) == (one.task["data"]["uid"], PEOPLE[one.note["completed_by"] - 1])
                said = [(outcome, CONCEPTS.get(w)) for outcome, w in one.versions]
                now = (event.outcome, CONCEPTS.get(word))
                assert now in said[one.read :], "made up, or older than what is known"
                one.read = said.index(now, one.read)
        self.told.history = history

    def role(self, answer: Answer) -> str:
        """Return in which role an answer was given, by the list alone."""
        if not answer.batch:
            return "adjudication" if answer.source == "person" else ""
        reason = self.told.picks[answer.batch].get(answer.item, "")
        return "gold" if reason == "gold" else self.told.roles[answer.batch]

    def newest(self) -> list[Answer]:
        """Return the newest event of each key, oldest first."""
        last = {answer.key: turn for turn, answer in enumerate(self.told.history)}
        return [self.told.history[turn] for turn in sorted(last.values())]

    def labels(self) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        """Return value by item and the items in dispute, voted by hand from the history."""
        now = self.ws.schema.version
        votes: dict[str, dict[str, tuple[str, bool]]] = {}
        final: dict[str, str] = {}
        for one in self.newest():
            means = {now, *self.told.mapped.get(now, ())}
            role = self.role(one)
            if one.outcome != "label" or one.schema not in means or role == "gold":
                continue
            word = named(str(one.value[0]), self.told.asks[now])
            if word and role:
                final[one.item] = word
            elif word:
                votes.setdefault(one.item, {})[one.annotator] = (word, one.source == "person")
        found, torn = dict(final), []
        for item in sorted(votes.keys() - final.keys()):
            given = list(votes[item].values())
            asked = [word for word, person in given if person] or [word for word, _ in given]
            (first, most), *rest = Counter(asked).most_common()
            if rest and rest[0][1] == most:
                torn.append(item)
            else:
                found[item] = first
        return {item: (word,) for item, word in found.items()}, torn

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Return size, answered and waiting by batch, counted by hand."""
        people: dict[tuple[str, str], set[str]] = {}
        for one in self.newest():
            people.setdefault((one.batch, one.item), set()).add(one.annotator)
        tasks = self.ws.store.tasks()
        planned = {batch for batch, _, _, _, _ in tasks}
        gone = Counter((batch, item) for batch, item, _, _, state in tasks if state == "gone")
        found = {}
        for batch, picks in self.told.picks.items():
            had = {item: len(people.get((batch, item), ())) for item in picks}
            wanted = {item: self.due(batch, item) if batch in planned else 1 for item in picks}
            each = len(self.experts) > 1 and not self.told.roles[batch]
            left = {item: wanted[item] - gone[batch, item] * (1 if each else wanted[item]) for item in picks}
            waiting = sum(had[item] < left[item] for item in picks)
            found[batch] = (len(picks), sum(map(bool, had.values())), waiting)
        return found

    @property
    def experts(self) -> Sequence[str]:
        """Who is asked by name."""
        return self.settings.get("studio__experts", ())

    def due(self, batch: str, item: str) -> int:
        """Return how many answers an item of a batch is to get."""
        once = self.told.roles[batch] or self.told.picks[batch][item] == "gold"
        return 1 if once else int(self.settings.get("studio__overlap", 1))
