"""Labels to look at again: planted errors are found, honest labels are not, near twins that differ are paired."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from worlds import multiclass

from toughcall import doubts, retraining
from toughcall.model import kinds
from toughcall.records import Label
from toughcall.schema import Schema
from toughcall.workspace import opened

LABELS = ("animal", "machine", "food")


def told(n: int, k: int, sure: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth of n rows among k classes, and probabilities of a model that is right and so sure."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    p = np.full((n, k), (1 - sure) / (k - 1))
    p[np.arange(n), truth] = sure
    return truth, np.clip(p + rng.normal(0, 0.01, p.shape), 1e-3, 1)


@pytest.mark.parametrize("kind", ["multiclass", "relation"])
def test_planted_errors_are_found(kind: str) -> None:
    """Of 90 labels three are turned: those three are named, with what the model says, the worst first."""
    truth, p = told(90, 3, 0.9)
    given = truth.copy()
    given[[4, 31, 77]] = (given[[4, 31, 77]] + 1) % 3
    p[31] = [0.001, 0.998, 0.001]
    labels = [Label(f"i{n:02}", (LABELS[j],)) for n, j in enumerate(given)]
    found = doubts.suspects(kinds.get(kind), Schema(kind, LABELS, True), labels, p)
    assert {one.item for one in found} == {"i04", "i31", "i77"}
    assert found[0].item == "i31"
    assert all(one.said == (LABELS[truth[int(one.item[1:])]],) for one in found)
    assert all(0 <= one.quality <= 0.5 for one in found)


def test_pairs_and_several_labels() -> None:
    """A pair's one probability and any number of labels are judged too; numbers have no such errors."""
    truth, p = told(60, 2, 0.9)
    two = Schema("pair", ("similar", "not_similar"), True)
    given = truth.copy()
    given[10] = 1 - given[10]
    labels = [Label(f"i{n:02}", (two.labels[j],)) for n, j in enumerate(given)]
    found = doubts.suspects(kinds.get("pair"), two, labels, p[:, :1])
    assert [(one.item, one.said) for one in found] == [("i10", (two.labels[truth[10]],))]
    many = Schema("multilabel", LABELS, False)
    rng = np.random.default_rng(1)
    yes = rng.random((80, 3)) < 0.5
    chance = np.where(yes, 0.95, 0.05)
    wrong = yes.copy()
    wrong[7] = ~wrong[7]
    labels = [Label(f"i{n:02}", tuple(np.array(LABELS)[row])) for n, row in enumerate(wrong)]
    assert "i07" in {one.item for one in doubts.suspects(kinds.get("multilabel"), many, labels, chance)}
    assert doubts.suspects(kinds.get("scores"), Schema("scores", (), False), labels, chance) == []


def test_too_few_or_one_class_says_nothing() -> None:
    """With hardly an example of a class, or one class only, nothing is suspected."""
    schema = Schema("multiclass", LABELS, True)
    assert doubts.suspects(kinds.get("multiclass"), schema, [Label("a", ("food",))], np.ones((1, 3)) / 3) == []
    labels = [Label(f"i{n}", ("food",)) for n in range(20)]
    assert doubts.suspects(kinds.get("multiclass"), schema, labels, np.tile([0.8, 0.1, 0.1], (20, 1))) == []


def test_near_twins_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items above the cosine whose labels differ are paired once, over block edges too; equal labels are none."""
    monkeypatch.setattr(doubts, "BLOCK", 2)
    vectors = np.array([[1, 0], [0.6, 0.8], [0.995, 0.0999], [1, 0], [0, 1]], dtype=np.float32)
    labels = [("a", ("x",)), ("b", ("x",)), ("c", ("y",)), ("d", ("x",)), ("e", ("y",))]
    found = doubts.contradictions(labels, vectors)
    assert [(one.item, one.other, one.given, one.other_given) for one in found] == [
        ("a", "c", ("x",), ("y",)),
        ("c", "d", ("y",), ("x",)),
    ]


@pytest.mark.usefixtures("quick")
def test_a_retrain_writes_them(tmp_path: Path) -> None:
    """After a retrain the page can read what is doubtful of the labels that trained; a turned label is among it."""
    world = multiclass()
    root = world.make(tmp_path)
    with opened(root, "test") as ws:
        assert ws.vectors
        items = {text.id: text for text in ws.pool.texts()}
        world.answer(ws, items)
        version = retraining.retrain(ws).version
    found = json.loads((root / "scores" / doubts.FILE).read_text(encoding="utf-8"))
    assert found["version"] == version
    assert found["labels"] > 0
    assert {one["item"] for one in found["suspects"]} <= set(items)
