"""One opened project: its settings, ledger, pool, registry, vectors and the split that is frozen for good."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from toughcall import project as projects
from toughcall.files import lock, write_atomically
from toughcall.model import kinds
from toughcall.model.kind import Kind
from toughcall.pool import Pool
from toughcall.records import Floats, Item, Label, Part, Scores, SetAside, Text, UsageError, Vectors, digest
from toughcall.schema import Schema
from toughcall.settings import Project
from toughcall.store import Store

if TYPE_CHECKING:
    from toughcall.mining.embed import Encoder
    from toughcall.model.registry import Registry
    from toughcall.model.scorers import Scorer


class Telling(Protocol):
    """Where a verb reports how far it is."""

    def say(self, sentence: str) -> None:
        """Tell one sentence."""

    def bar(self, what: str) -> Callable[[int, int], None]:
        """Start a progress bar; the returned function takes (done, total)."""


class Silent:
    """A `Telling` that tells nobody."""

    def say(self, sentence: str) -> None:
        """Drop it."""

    def bar(self, what: str) -> Callable[[int, int], None]:
        """Return a function that drops its progress."""
        return lambda done, total: None


def schema_of(project: Project) -> Schema:
    """Return what experts may answer in a project; UsageError when it has no labels."""
    kind = kinds.get(project.kind)
    labels = project.labels or kind.default_labels
    if kind.labelled and not labels:
        raise UsageError(f"{project.root / projects.FILE} has no labels: list them under [labels]")
    return kind.schema(
        labels,
        guideline=project.guideline,
        hints=project.hints if project.labels else (),
        dimensions=project.dimensions,
        types=project.types,
        coarse=project.coarse,
        tiers=project.tiers,
        **({"null": project.null} if project.null in labels else {}),
    )


@dataclass
class Workspace:
    """A project at work. `known` holds vectors once computed, so that one command embeds once."""

    project: Project
    store: Store
    telling: Telling = field(default_factory=Silent)

    @cached_property
    def kind(self) -> Kind:
        """The kind of work."""
        return kinds.get(self.project.kind)

    @cached_property
    def schema(self) -> Schema:
        """What experts may answer now; remembered in the ledger under its version."""
        made = schema_of(self.project)
        self.store.add_schema(made)
        return made

    @cached_property
    def pool(self) -> Pool:
        """The records."""
        return Pool(self.project.pool)

    @cached_property
    def registry(self) -> Registry:
        """The models."""
        from toughcall.model.registry import Registry

        return Registry(self.project.models, lambda: self.encoder.folder)

    @cached_property
    def encoder(self) -> Encoder:
        """The sentence encoder, loaded on first use."""
        from toughcall.mining.embed import load_encoder

        settings = self.project.encoder
        self.telling.say(f"loading the encoder {settings.name}")
        return load_encoder(settings.name, settings.device, batch_size=settings.batch)

    @cached_property
    def vectors(self) -> Vectors:
        """A unit vector for every stored record and whatever else the encoder reads of what may be asked.

        What cannot be embedded is set aside by name (C25).
        """
        from toughcall.mining.embed import embed
        from toughcall.mining.index import clean

        texts = self.pool.texts()
        if not texts:
            raise UsageError("the pool is empty: toughcall import FILE --text COLUMN fills it")
        views = {view.id: view for item in self.pool.relations() for view in item.views}
        wanted = list({**{text.id: text for text in texts}, **views}.values())
        made = embed(wanted, self.encoder, self.project.vectors, self.telling.bar("embedding texts"))
        good, bad = clean(made)
        if bad:
            self.store.add_set_aside("embed", bad)
            self.telling.say(f"{len(bad)} texts have no usable vector and were set aside")
        self.freeze_split(texts, self.of_records(good))
        self._tell_truncated(texts)
        return good

    def of_records(self, vectors: Vectors) -> Vectors:
        """Return the vectors of the stored records alone."""
        ids = [text.id for text in self.pool.texts() if text.id in vectors.where]
        return vectors if len(ids) == len(vectors.ids) else Vectors(tuple(ids), vectors.rows(ids), vectors.encoder)

    def _tell_truncated(self, texts: Sequence[Text]) -> None:
        """Say once per pool how many texts the encoder cuts off (C22)."""
        seen = digest("truncated", sorted(text.id for text in texts), self.encoder.sha)
        if self.store.get("truncated") == seen:
            return
        cut = self.encoder.truncated([text.text for text in texts])
        if cut:
            self.telling.say(f"{cut} of {len(texts)} texts are longer than the encoder reads: their end is not seen")
        self.store.put("truncated", seen)

    @cached_property
    def hint_vectors(self) -> Floats:
        """A vector for each label's description, shape (k, d): what the untouched encoder compares with."""
        from toughcall.mining.embed import embed

        hints = [Text(hint) for hint in self.schema.hints or self.schema.labels]
        # kept like any other text: without it every command would load the encoder for a few words
        return embed(hints, self.encoder, self.project.vectors / "descriptions").array

    @property
    def label_hints(self) -> Floats | None:
        """The same vectors for training, None where a description is no example of its label."""
        return self.hint_vectors if self.kind.hinted else None

    @property
    def untouched(self) -> Scorer:
        """The encoder as it came, with no label learnt: the baseline every model has to beat."""
        from toughcall.model.scorers import Untouched

        told = self.kind.labelled and not self.kind.warm
        return Untouched(self.kind, self.schema, self.hint_vectors if told else np.zeros((0, 0), np.float32))

    def freeze_split(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """Give every new record its part, train or test, once for all, never splitting near-duplicates.

        A record joins the test part when its group already has a record there, else by the group's digest.
        """
        from toughcall.mining.index import near_duplicates
        from toughcall.model.split import group_of, part_of

        parts = self.store.parts()
        groups = self.store.groups()
        if all(text.id in parts and groups[text.id] for text in texts):
            return
        near = near_duplicates(vectors, self.project.mine.near_duplicate)
        groups = group_of(texts, near)
        held = {groups[one] for one, part in parts.items() if part == "test" and one in groups}
        new: dict[str, Part] = {}
        for text in texts:
            group = groups[text.id]
            share = self.project.gate.test_share
            drawn = part_of(group, share, self.project.seed)
            new[text.id] = parts.get(text.id) or ("test" if group in held or drawn == "test" else "train")
        self.store.add_parts(new, {one: groups[one] for one in new})

    @property
    def corpus(self) -> list[str]:
        """What word weights are counted on: the words that are read of whatever is stored."""
        items: Sequence[Item] = self.pool.relations() if self.kind.spanned else self.pool.texts()
        return self.kind.words_of(items)

    def training_pool(self) -> list[Text]:
        """Return the records of the training part: all that a model may learn from, labelled or not."""
        parts = self.store.parts()
        return [text for text in self.pool.texts() if parts.get(text.id) == "train"]

    def part(self, item: Item, parts: dict[str, Part]) -> Part | None:
        """Return the part of an item, None when its records lie on both sides (it is used on neither)."""
        found = {parts.get(text.id) for text in item.texts}
        return found.pop() if len(found) == 1 else None

    def leaky(self, item: Item, parts: dict[str, Part], groups: dict[str, str], held: set[str]) -> bool:
        """Return whether a training item has a near-duplicate in the test part (C61)."""
        return any(groups.get(text.id) in held for text in item.texts)

    def split(self) -> tuple[list[Label], list[Label], dict[str, Item], dict[str, int]]:
        """Return (training labels, held-out labels, their items, counts of what was left out and why).

        Only gold labels evaluate; a label on a record that was set aside is left out and counted.
        """
        vectors = self.vectors
        labels, torn = self.store.labels(self.schema.version)
        items = self.pool.items([label.item for label in labels])
        parts, groups = self.store.parts(), self.store.groups()
        usable = set(vectors.ids)
        held = {groups[one] for one, part in parts.items() if part == "test"}
        left = {
            "disagreement": len(torn),
            "straddles": 0,
            "near_duplicate_of_test": 0,
            "no_vector": 0,
            "illegal": 0,
            "silver_test": 0,
        }
        train: list[Label] = []
        test: list[Label] = []
        for label in labels:
            item = items.get(label.item)
            if item is None or any(view.id not in usable for view in item.views):
                left["no_vector"] += 1
                continue
            if self.schema.check(label.value, self.schema.offered(item)):
                # answered before the type table said otherwise
                left["illegal"] += 1
                continue
            part = self.part(item, parts)
            if part is None:
                left["straddles"] += 1
            elif part == "test" and label.trust != "gold":
                left["silver_test"] += 1
            elif part == "test":
                test.append(label)
            elif self.leaky(item, parts, groups, held):
                left["near_duplicate_of_test"] += 1
            else:
                train.append(label)
        return train, test, items, left

    def save_scores(self, scores: Scores) -> Path:
        """Write the scores of one model as Parquet for the queue and the review page."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "id": pa.array(scores.ids, pa.string()),
                "uncertainty": pa.array(self.kind.uncertainty(scores)),
                **{f"p:{label}": pa.array(scores.values[:, j]) for j, label in enumerate(scores.labels)},
                **{f"part:{name}": pa.array(part) for name, part in scores.parts.items() if part.ndim == 1},
            }
        ).replace_schema_metadata({"model": scores.model, "labels": json.dumps(scores.labels)})
        path = self.project.root / "scores" / "latest.parquet"
        write_atomically(path, lambda aside: pq.write_table(table, aside))
        return path

    def note_set_aside(self, stage: str, found: Sequence[SetAside]) -> None:
        """Remember what was not used and say how many there were."""
        if found:
            self.store.add_set_aside(stage, found)
            self.telling.say(f"{len(found)} set aside, e.g. {found[0].where}: {found[0].reason}")

    def labels_digest(self, labels: Sequence[Label]) -> str:
        """Return a digest of a set of labels, whatever their order."""
        return digest("labels", sorted([label.item, list(label.value)] for label in labels))


@contextlib.contextmanager
def opened(root: Path, command: str, telling: Telling | None = None, *, writing: bool = True) -> Iterator[Workspace]:
    """Open the project of `root`; a writing command holds the project's lock while it runs (P16)."""
    project = projects.load(root, kinds.KINDS)
    with contextlib.ExitStack() as stack:
        if writing:
            stack.enter_context(lock(project.root, command))
        store = stack.enter_context(Store(project.ledger))
        yield Workspace(project, store, telling or Silent())
