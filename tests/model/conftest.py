"""Planted data for the model's tests: random unit vectors with classes or numbers in them, no encoder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall.model import kinds
from toughcall.model.evaluate import evaluate
from toughcall.model.kind import Kind
from toughcall.model.registry import Registry, load_folder, read_probe
from toughcall.model.train import Trained, train
from toughcall.records import Floats, Item, Label, Pair, Relation, Scores, Span, Text, Vectors
from toughcall.schema import Dimension, Schema

LABELS = ("animal", "machine", "food")
WORDS = {"animal": "fox wolf hare", "machine": "pump gear motor", "food": "bread soup pear"}

TYPES = (
    ("occurs_in", (("TAXON", "STRAT"), ("TAXON", "LOC"))),
    ("found_at", (("TAXON", "LOC"), ("STRAT", "LOC"))),
    ("part_of", (("STRAT", "STRAT"), ("LOC", "LOC"))),
)
ENTITIES = {"TAXON": "fox wolf hare", "STRAT": "shale marl clay", "LOC": "quarry cliff cave"}
JOINED = {"NO_RELATION": "is not", "occurs_in": "occurs in", "found_at": "was found at", "part_of": "belongs to"}
"""What may stand between the spans of each relation; `TYPES` leaves the null label legal everywhere."""

DIMENSIONS = (
    Dimension("clarity", 0.0, 10.0, 0.5, step=1.0),
    Dimension("warmth", 1.0, 5.0, 0.3, step=0.5),
    Dimension("reach", -1.0, 1.0, 0.2),
)


def unit(array: Floats) -> Floats:
    """Return rows of length one."""
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class Planted:
    """Items, their vectors and labels, and a vector for each label's description."""

    kind: Kind
    schema: Schema
    items: list[Item]
    vectors: Vectors
    labels: list[Label]
    hints: Floats

    @property
    def corpus(self) -> list[str]:
        """Every text."""
        return [text.text for item in self.items for text in item.texts]

    def take(self, rows: Sequence[int]) -> Planted:
        """Return some rows; vectors stay whole."""
        items, labels = [self.items[r] for r in rows], [self.labels[r] for r in rows]
        return Planted(self.kind, self.schema, items, self.vectors, labels, self.hints)

    def scores(self, values: Floats, model: str = "m") -> Scores:
        """Return given probabilities as the scores of these items."""
        columns = self.kind.columns(self.schema)
        return Scores(tuple(i.id for i in self.items), columns, np.asarray(values, dtype=np.float32), model)


def _planted(
    name: str = "multiclass", n: int = 60, seed: int = 0, noise: float = 0.8, labels: tuple[str, ...] = LABELS
) -> Planted:
    kind, rng = kinds.get(name), np.random.default_rng(seed)
    if kind.spanned:
        return _relations(kind, n, rng, noise)
    if not kind.labelled:
        return _numbers(kind, n, rng, noise)
    centres = unit(rng.normal(size=(len(labels), 16)))
    if kind.paired:
        schema = kind.schema(kind.default_labels)
        left = [Text(f"report {i} about {rng.choice(list(WORDS))}", f"a{i}") for i in range(n)]
        right = [Text(f"report {i + int(rng.integers(2))} once more", f"b{i}") for i in range(n)]
        near = rng.random(n) < 0.5
        first = unit(rng.normal(size=(n, 16)))
        second = unit(
            np.where(near[:, None], first, unit(rng.normal(size=(n, 16)))) + noise * rng.normal(size=(n, 16)) / 4
        )
        pairs: list[Item] = [Pair(a, b) for a, b in zip(left, right, strict=True)]
        vectors = Vectors(tuple(t.id for t in (*left, *right)), np.vstack([first, second]), "planted")
        given = [schema.labels[0 if yes else 1] for yes in near]
        answers = [Label(p.id, (v,)) for p, v in zip(pairs, given, strict=True)]
        return Planted(kind, schema, pairs, vectors, answers, centres[:2])
    schema = kind.schema(labels)
    true = np.zeros((n, len(labels)), dtype=bool)
    true[np.arange(n), rng.integers(len(labels), size=n)] = True
    if not kind.single:
        true |= rng.random(true.shape) < 0.2
        true[rng.random(n) < 0.15] = False
    array = unit(true @ centres + noise * rng.normal(size=(n, 16)) / 4 + 1e-3)
    texts: list[Item] = []
    for i in range(n):
        words = [rng.choice(WORDS.get(labels[j], labels[j]).split()) for j in np.flatnonzero(true[i])]
        texts.append(Text(f"note {i} {' '.join(words)}", f"k{i}"))
    vectors = Vectors(tuple(t.id for t in texts), array, "planted")
    answers = [Label(t.id, tuple(labels[j] for j in np.flatnonzero(row))) for t, row in zip(texts, true, strict=True)]
    return Planted(kind, schema, texts, vectors, answers, centres)


def _relations(kind: Kind, n: int, rng: np.random.Generator, noise: float) -> Planted:
    """Two typed spans in a text; what stands between them, and its vector, say which legal relation it is."""
    schema = kind.schema(tuple(JOINED), types=TYPES)
    centres, table = unit(rng.normal(size=(len(JOINED), 16))), dict(TYPES)
    everywhere = tuple(sorted({pair for pairs in table.values() for pair in pairs}))
    items: list[Item] = []
    vectors: dict[str, Floats] = {}
    answers = []
    for i in range(n):
        true = int(rng.integers(len(JOINED)))
        label = schema.labels[true]
        possible = table.get(label, everywhere)
        types = possible[int(rng.integers(len(possible)))]
        subject, object_ = (str(rng.choice(ENTITIES[one].split())) for one in types)
        middle = f" {JOINED[label]} {i} "
        text = f"site {i}: {subject}{middle}{object_} today"
        start = text.index(subject)
        behind = start + len(subject) + len(middle)
        item = Relation(
            Text(text, f"r{i}"),
            Span(start, start + len(subject), types[0]),
            Span(behind, behind + len(object_), types[1]),
        )
        vectors[item.views[0].id] = rng.normal(size=16)
        vectors[item.views[1].id] = centres[true] + noise * rng.normal(size=16) / 4
        items.append(item)
        answers.append(Label(item.id, (label,)))
    return Planted(
        kind, schema, items, Vectors(tuple(vectors), unit(np.array([*vectors.values()])), "p"), answers, centres
    )


def _numbers(kind: Kind, n: int, rng: np.random.Generator, noise: float) -> Planted:
    """A direction of the vectors for each dimension, and a word where its number is above the middle."""
    schema = kind.schema((), dimensions=DIMENSIONS)
    array, ways = unit(rng.normal(size=(n, 16))), unit(rng.normal(size=(len(DIMENSIONS), 16)))
    shares = np.clip(0.5 + 0.9 * array @ ways.T + 0.05 * noise * rng.normal(size=(n, len(DIMENSIONS))), 0.0, 1.0)
    texts: list[Item] = []
    answers = []
    for i, row in enumerate(shares):
        words = [
            f"much {d.name}" if share > 0.5 else f"little {d.name}" for d, share in zip(DIMENSIONS, row, strict=True)
        ]
        texts.append(Text(f"note {i}: {', '.join(words)}", f"s{i}"))
        given = [d.low + float(share) * (d.high - d.low) for d, share in zip(DIMENSIONS, row, strict=True)]
        given = [round(v / d.step) * d.step if d.step else v for d, v in zip(DIMENSIONS, given, strict=True)]
        answers.append(Label(texts[-1].id, tuple((d.name, v) for d, v in zip(DIMENSIONS, given, strict=True))))
    return Planted(kind, schema, texts, Vectors(tuple(t.id for t in texts), array, "planted"), answers, ways)


@pytest.fixture(scope="session")
def planted() -> Callable[..., Planted]:
    """Return a function (kind, n, seed, noise, labels) → planted data."""
    return _planted


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Run the small linear algebra of these tests on one thread: two that wait for each other take ten times longer."""
    import sklearn.linear_model
    from threadpoolctl import threadpool_limits

    assert sklearn.linear_model, "loaded first, so that its libraries are limited too"
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def data() -> Planted:
    """Forty labelled texts."""
    return _planted(n=40)


@pytest.fixture(scope="session")
def trained(data: Planted) -> Trained:
    """A head trained on them."""
    rows = (data.items, data.vectors, data.labels)
    return train(data.kind, data.schema, *rows, corpus=data.corpus, seed=7, hints=data.hints)


@pytest.fixture(scope="session")
def info() -> dict[str, Any]:
    """Return what a retrain says of how its model was made."""
    digests = {"labels": "l" * 32, "encoder_sha": "e" * 64, "schema": "s" * 12}
    return {**digests, "n_labels": 40, "seed": 7, "encoder": "minilm", "base_scores": [[0.5] * 3] * 8}


@pytest.fixture(scope="session")
def store(info: dict[str, Any]) -> Callable[..., str]:
    """Return a function (registry, trained, data, settings) that saves as a retrain does, proven in this process."""

    def save(registry: Registry, trained: Trained, data: Planted, **other: Any) -> str:
        scores = trained.score(data.items, data.vectors)
        given: dict[str, Any] = {"seed": 7, "role": "candidate"}
        settings = {
            "name": "p",
            "report": evaluate("p", data.kind, data.schema, data.labels, scores, trained.thresholds, **given),
            "info": {**info, "base_scores": np.full((8, scores.values.shape[1]), 0.5).tolist()},
            "probe": data.items[:8],
            "probe_vectors": data.vectors,
            "prove": lambda folder: load_folder(folder)[0].score(read_probe(folder), data.vectors).values,
        }
        return registry.save(trained, **{**settings, **other})

    return save


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory, trained: Trained, data: Planted, store: Callable[..., str]) -> Path:
    """A registry's folder with three versions of which the second serves; copied, never changed."""
    registry = Registry(tmp_path_factory.mktemp("stock") / "models")
    for _ in range(3):
        store(registry, trained, data)
    for version in ("p-v001", "p-v002"):
        registry.promote(version, verdict={"outcome": "PROMOTE", "sentence": "better"})
    return registry.folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "models")


@pytest.fixture
def stocked(registry: Registry, stock: Path) -> Registry:
    """A registry with three versions of which the second serves."""
    shutil.copytree(stock, registry.folder)
    return registry
