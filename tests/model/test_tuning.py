"""Training an encoder further: repeatable, watched, stopped when it breaks, and blind to the held-out rows."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tiny_encoder import tiny

from toughcall.model import kinds, tuning
from toughcall.model.kind import Kind
from toughcall.model.losses import LossSettings
from toughcall.model.network import Network, Shape, reads_of
from toughcall.model.tuning import Run, Tuning, below_half, by_length, tune
from toughcall.records import IntegrityError, Item, Label, Text, UsageError
from toughcall.schema import Schema

NAMES = "fox wolf hare pump gear motor bread soup pear clarity warmth reach shale marl clay quarry"
SHORT = Tuning(rate=3e-3, epochs=2, patience=9)


@dataclasses.dataclass
class Task:
    """Labelled rows of which every fourth is held out, a network for them, and what was said in training."""

    kind: Kind
    schema: Schema
    items: list[Item]
    labels: list[Label]
    held: Any
    rank: int = 0
    said: list[str] = dataclasses.field(default_factory=list)
    network: Network = dataclasses.field(init=False)

    def run(self, how: Tuning = SHORT, seed: int = 0) -> Run:
        """Train a fresh network."""
        shape = Shape(reads_of(self.kind), len(self.kind.columns(self.schema)), self.rank)
        self.network = Network(tiny(), shape, device="cpu", seed=seed)
        rows = (self.items, self.labels, self.held)
        return tune(self.network, self.kind, self.schema, *rows, tuning=how, seed=seed, say=self.said.append)


def order() -> Task:
    """Who bites whom: both answers have the very same words."""
    kind = kinds.get("multiclass")
    texts = [text for name in NAMES.split() for end in ("", " today", " once more") for text in ordered(name, end)]
    items: list[Item] = [Text(text, f"k{n}") for n, text in enumerate(texts)]
    labels = [Label(item.id, (("bites", "bitten")[n % 2],)) for n, item in enumerate(items)]
    return Task(kind, kind.schema(("bites", "bitten")), items, labels, np.arange(len(items)) // 2 % 4 == 0)


def ordered(name: str, end: str) -> tuple[str, str]:
    return f"the dog bites the {name}{end}", f"the {name} bites the dog{end}"


@pytest.fixture
def planted_task(planted: Callable[..., Any]) -> Callable[..., Task]:
    """Return a function (kind, n) → a task of planted data."""

    def make(name: str = "multiclass", n: int = 40, **more: Any) -> Task:
        data = planted(name, n=n)
        return Task(data.kind, data.schema, data.items, data.labels, np.arange(n) % 4 == 0, **more)

    return make


def weight_hash(state: dict[str, Any]) -> str:
    return hashlib.sha256(b"".join(name.encode() + state[name].tobytes() for name in sorted(state))).hexdigest()


@pytest.mark.parametrize("rank", [0, 2])
def test_c62_one_seed_gives_one_model(planted_task: Callable[..., Task], rank: int) -> None:
    """C62, T1: two runs with one seed end in the same weights, bit for bit; another seed ends elsewhere."""
    ends = []
    for seed in (1, 1, 2):
        task = planted_task(rank=rank)
        run = task.run(seed=seed)
        ends.append((weight_hash(task.network.state()), weight_hash(run.state), run.held.tobytes(), str(run.history)))
    assert ends[0] == ends[1]
    assert ends[0][0] != ends[2][0]


@pytest.mark.parametrize("rank", [0, 2])
def test_what_words_alone_cannot_tell_is_learnt(rank: int) -> None:
    """T6: who bites whom has the same words both ways; training learns it, keeps every epoch and lowers the loss."""
    task = order()
    task.rank = rank
    run = task.run(Tuning(rate=3e-3 if not rank else 1e-2, epochs=6, patience=9))
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5, 6]
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    assert run.epoch > 0, "the linear fit before the first epoch is worse"
    before = Network(tiny(), task.network.shape, device="cpu").state()
    assert any(name.startswith("encoder.") and (run.state[name] != one).any() for name, one in before.items())
    truth = [label.value[0] for label, away in zip(task.labels, task.held, strict=True) if away]
    said = [("bites", "bitten")[best] for best in run.held.argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.9


@pytest.mark.parametrize("batch", [8, 64])
@pytest.mark.parametrize("rank", [0, 2])
def test_c65_a_rate_that_explodes_stops_with_the_step(planted_task: Callable[..., Task], rank: int, batch: int) -> None:
    """C65: at lr = 1e9 training ends with exit 6 and the step, also where an epoch has a single step."""
    with pytest.raises(IntegrityError, match=r"at step \d+: training stopped|\(step \d+\): training stopped") as caught:
        planted_task(rank=rank).run(Tuning(rate=1e9, epochs=3, batch=batch, warmup=0.0))
    assert caught.value.code == 6
    assert "no model was stored" in str(caught.value)


def test_c65_a_loss_that_is_no_number_stops_with_the_step(
    planted_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C65: the first step whose loss is NaN ends the run, naming it."""
    real, steps = tuning.loss_function, itertools.count(1)

    def broken(*args: Any, **more: Any) -> Any:
        loss = real(*args, **more)

        def value(logits: Any, *rest: Any) -> Any:
            spoilt = logits.requires_grad and next(steps) == 3
            return loss(logits, *rest) * (float("nan") if spoilt else 1.0)

        return value

    monkeypatch.setattr(tuning, "loss_function", broken)
    with pytest.raises(IntegrityError, match="the loss is nan at step 3: training stopped"):
        planted_task().run()


def figures(patch: pytest.MonkeyPatch, held: Sequence[float], task: Task) -> None:
    """Plant the held-out figures: that of the untrained network, then one an epoch; training rows have 0.5."""
    real, planted = tuning.report_of, iter(held)
    away = {item.id for item, out in zip(task.items, task.held, strict=True) if out}

    def made(kind: Kind, schema: Schema, labels: Any, items: Sequence[Item], *rest: Any) -> Any:
        report = real(kind, schema, labels, items, *rest)
        return dataclasses.replace(report, value=next(planted) if items[0].id in away else 0.5)

    patch.setattr(tuning, "report_of", made)


@pytest.mark.parametrize(
    ("planted_figures", "epoch"),
    [((0.1, 0.9, 0.2), 1), ((0.1, 0.2, 0.9), 2), ((0.9, 0.2, 0.3), 0), ((0.3, 0.3, 0.3), 0)],
)
def test_t4_the_best_epoch_is_kept(
    planted_task: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
    planted_figures: tuple[float, ...],
    epoch: int,
) -> None:
    """T4, 004: the weights and the held-out outputs are those of the epoch with the best figure, also where that is
    not the last one or the fit before the first; why says so."""
    task = planted_task(rank=2)
    figures(monkeypatch, planted_figures, task)
    run = task.run()
    assert run.epoch == epoch
    assert run.why.startswith(f"epoch {epoch} of 2 is kept" if epoch else "no epoch was better than the linear fit")
    assert (weight_hash(task.network.state()) == weight_hash(run.state)) == (epoch == 2), "the last is on the network"
    task.network.load(run.state)
    again = task.network.score([item for item, away in zip(task.items, task.held, strict=True) if away])
    assert again.tobytes() == run.held.tobytes()


def test_t4_of_equal_epochs_the_reason_names_the_one_that_is_kept(
    planted_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """T4: of equal figures the smaller held-out loss decides, for the weights as for the sentence."""
    task, losses = planted_task(rank=2), iter((3.0, 1.0, 2.0))
    figures(monkeypatch, (0.1, 0.6, 0.6, 0.6), task)
    monkeypatch.setattr(tuning, "_held_loss", lambda *args: next(losses))
    run = task.run(dataclasses.replace(SHORT, epochs=3))
    assert (run.epoch, run.why.split(":")[0]) == (2, "epoch 2 of 3 is kept")


def test_training_ends_when_nothing_gets_better(
    planted_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """002, T1: after `patience` epochs without a better figure or loss no further one is trained."""
    task, losses = planted_task(rank=2), itertools.count(1.0)
    figures(monkeypatch, (0.1, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1), task)
    monkeypatch.setattr(tuning, "_held_loss", lambda *args: next(losses))
    run = task.run(dataclasses.replace(SHORT, epochs=6, patience=2))
    assert ([row["epoch"] for row in run.history], run.epoch) == ([1, 2, 3], 1)


def test_only_training_rows_lose_words(planted_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> None:
    """T7: dropout thins what is trained on; what is measured on is, by hash, what was given."""
    seen: dict[bool, list[str]] = {True: [], False: []}
    real = Network.batch

    def batch(self: Network, texts: Any) -> Any:
        seen[self.body.training] += [text for one in texts for text in one]
        return real(self, texts)

    monkeypatch.setattr(Network, "batch", batch)
    task = planted_task()
    task.run(dataclasses.replace(SHORT, dropout=(1.0, 0.5)))
    given = {hashlib.sha256(item.texts[0].text.encode()).hexdigest() for item in task.items}
    measured, trained = ({hashlib.sha256(text.encode()).hexdigest() for text in seen[one]} for one in (False, True))
    assert measured == given
    assert len(trained - given) > 10
    held = {item.texts[0].text for item, away in zip(task.items, task.held, strict=True) if away}
    words = [set(text.split()) for text in held]
    assert not held & set(seen[True])
    assert not any(len(one) > 3 and one <= set(text.split()) for text in seen[True] for one in words)


@pytest.mark.parametrize("name", ["multiclass", "scores"])
def test_c61_held_out_rows_never_reach_the_loss(planted_task: Callable[..., Task], name: str) -> None:
    """C61, P5: other answers to the held-out rows leave every weight of every step as it was."""
    ends = []
    for poison in (False, True):
        task = planted_task(name)
        values = [label.value for label in task.labels]
        worst = values[0] if name == "multiclass" else tuple((d.name, d.high) for d in task.schema.dimensions)
        task.labels = [
            Label(label.item, worst if away and poison else label.value)
            for label, away in zip(task.labels, task.held, strict=True)
        ]
        loss = LossSettings(weights="balanced") if name == "multiclass" else LossSettings()
        run = task.run(dataclasses.replace(SHORT, loss=loss))
        ends.append((weight_hash(task.network.state()), run.history[-1]["train_loss"], run.history[-1]["held_loss"]))
    assert ends[0][:2] == ends[1][:2]
    assert ends[0][2] != ends[1][2], "they are measured, though"


def test_000_a_label_that_is_never_predicted_is_named_while_it_trains() -> None:
    """000, T10: a dead label is said by name in the epoch in which it is dead, not only in the report."""
    task = order()
    task.schema = task.kind.schema(("bites", "bitten", "barks"))
    # a fifth of the rows have an answer that nothing in them tells
    task.labels = [Label(one.item, ("barks",)) if n % 20 in (0, 9) else one for n, one in enumerate(task.labels)]
    run = task.run()
    told = [row["never_predicted"] for row in run.history]
    assert "barks" in told[0], "the fixture is one"
    assert task.said[0] == f"epoch 1: never predicted: {', '.join(told[0])} ({len(told[0])} of 3 labels)"


def test_000_a_label_that_stays_below_one_half_is_named_while_it_trains(planted: Callable[..., Any]) -> None:
    """000: of labels that stand for themselves thresholds find some of each, and those that need one are named."""
    data = planted("multilabel", n=60)
    rows = [tuple(name for name in label.value if name != "food") for label in data.labels]
    rows = [(*row, "food") if n % 10 in (0, 3) else row for n, row in enumerate(rows)]
    labels = [Label(item.id, row) for item, row in zip(data.items, rows, strict=True)]
    task = Task(data.kind, data.schema, data.items, labels, np.arange(60) % 4 == 0, rank=2)
    task.run()
    assert any(said.startswith("epoch 1: ") and "food" in said and "below 0.5" in said for said in task.said)
    truth = np.array([[True, True, False]])
    assert below_half(data.kind, data.schema, truth, np.array([[-1.0, 1.0, -1.0]])) == [data.schema.labels[0]]


def test_weights_given_by_hand_reach_the_loss(planted_task: Callable[..., Task]) -> None:
    """T2: a weight set by hand moves what is learnt, for labels and for numbers; a label that is none is refused."""
    for name, one in (("multiclass", "animal"), ("scores", "clarity")):
        ends = []
        for given in ({}, {one: 5.0}):
            task = planted_task(name)
            task.run(dataclasses.replace(SHORT, epochs=1, loss=LossSettings(given=given)))
            ends.append(weight_hash(task.network.state()))
        assert ends[0] != ends[1]
    with pytest.raises(UsageError, match=r"'animl'.*animal"):
        planted_task().run(dataclasses.replace(SHORT, loss=LossSettings(given={"animl": 2.0})))


def test_adapters_are_all_that_lora_trains(planted_task: Callable[..., Task]) -> None:
    """001, T6: after a run with adapters the encoder's own weights are, bit for bit, those of its folder."""
    task = planted_task(rank=2)
    task.run()
    plain = Network(tiny(), task.network.shape, device="cpu")
    kept = {name: one for name, one in plain.body.named_parameters() if not one.requires_grad}
    now = dict(task.network.body.named_parameters())
    assert len(kept) > 30
    assert all(bool((now[name] == one).all()) for name, one in kept.items())
    assert weight_hash(task.network.state()) != weight_hash(plain.state())


def test_rows_come_in_batches_of_similar_length() -> None:
    """Every row once an epoch, in another order each time, short batch last; a rare one more often where so asked."""
    rng = np.random.default_rng(0)
    lengths = [int(one) for one in rng.integers(1, 500, 100)]
    drawn = by_length(lengths, np.ones(100), 8, rng)
    first, second = list(drawn), list(drawn)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    spans = [np.ptp([lengths[row] for row in first[n : n + 8]]) for n in range(0, 96, 8)]
    assert np.mean(spans) < 150 < np.ptp(lengths)
    often = list(by_length(lengths, np.where(np.arange(100) < 10, 9.0, 1.0), 8, rng))
    assert sum(row < 10 for row in often) > 25


def test_without_accelerate_a_sentence_says_what_to_install(
    planted_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """O5: training further names the package it needs, exit 2, before anything is trained."""
    task = planted_task()
    task.network = Network(tiny(), Shape("text", 3), device="cpu")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    rows = (task.kind, task.schema, task.items, task.labels, task.held)
    with pytest.raises(UsageError, match="fine-tuning needs accelerate: pip install"):
        tune(task.network, *rows, tuning=SHORT, seed=0, say=task.said.append)
    assert not task.network.score(task.items).any()
