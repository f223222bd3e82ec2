"""Training an encoder further on labelled rows, with transformers' Trainer: watched, stopped early, best state kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toughcall.model.evaluate import METRICS, Report, evaluate
from toughcall.model.kind import Exclusive, Kind, masked
from toughcall.model.linear import Rows, Setting
from toughcall.model.losses import How, Loss, LossSettings, loss_function, sampling_weights, word_dropout
from toughcall.model.network import Network
from toughcall.model.watch import Watch, to_json
from toughcall.records import Bools, Floats, IntegrityError, Item, Label, Reals, Scores, UsageError
from toughcall.schema import Schema

OUT_RATE = 1e-3
"""The output layer's learning rate: it starts from a converged fit and is ten parameters a class, not millions."""


@dataclass(frozen=True)
class Tuning:
    """How an encoder is trained further. Defaults are what the post-mortems asked for."""

    rate: float = 3e-5
    epochs: int = 8
    batch: int = 16
    warmup: float = 0.1
    """The share of all steps over which the learning rate rises."""
    decay: float = 0.01
    clip: float = 1.0
    patience: int = 3
    dropout: tuple[float, float] = (0.3, 0.1)
    """In what share of the training texts words are dropped, and what share of the words."""
    resample: bool = False
    loss: LossSettings = field(default_factory=LossSettings)


@dataclass(frozen=True, eq=False)
class Run:
    """What a run gave: the weights of its best epoch, their logits on the held-out rows, and every epoch's figures."""

    state: dict[str, Floats]
    held: Reals
    """Shape (rows held out, k)."""
    history: list[dict[str, Any]]
    why: str
    """Which epoch was kept, and by what."""
    epoch: int
    """0 = the linear fit before the first one."""


def how_of(kind: Kind) -> How:
    """Return what the columns of a kind's outputs are to a loss."""
    if not kind.labelled:
        return "numbers"
    return "exclusive" if isinstance(kind, Exclusive) else "independent"


def probed(network: Network, kind: Kind, truth: Any, items: Sequence[Item], legal: Bools | None) -> Floats:
    """Set the output layer to the converged linear fit on the network's features; return the logits of the items.

    Training that starts from a random layer bends the encoder before the layer knows anything (LP-FT: Kumar
    et al., ICLR 2022, §3).
    """
    found = network.each(items, network.features).astype(np.float64)
    at = Setting(1.0 if how_of(kind) == "numbers" else 10.0)
    coef, bias = kind.fit(Rows(found), truth, at, None, legal)
    network.set_out(coef, bias)
    return np.asarray(found @ coef.T + bias, dtype=np.float32)


def report_of(
    kind: Kind, schema: Schema, labels: Sequence[Label], items: Sequence[Item], logits: Reals, seed: int
) -> Report:
    """Return the figures of logits on labelled rows, at thresholds fitted on these very rows: to compare epochs by."""
    values = kind.link(masked(logits, kind.legal(schema, items))).astype(np.float32)
    truth = kind.targets(schema, [label.value for label in labels])
    cuts = np.asarray(kind.thresholds(schema, truth, values, seed), dtype=np.float32)
    scores = Scores(tuple(item.id for item in items), kind.columns(schema), values, "epoch")
    return evaluate("epoch", kind, schema, labels, scores, cuts, seed=seed, role="candidate", bounds=False)


def tune(
    network: Network,
    kind: Kind,
    schema: Schema,
    items: Sequence[Item],
    labels: Sequence[Label],
    held: Bools,
    *,
    tuning: Tuning,
    seed: int,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Train a network on the rows that are not `held` (shape (n,)), judge every epoch on those that are.

    Returns the state with the best figure by the gate's metric, the untrained one with its fitted output
    layer included (epoch 0). Raises IntegrityError when loss or gradient stop being numbers (C65), or when no gradient
    arrives; UsageError without accelerate.
    """
    try:
        import accelerate  # noqa: F401 - the Trainer asks for it
        from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
    except ImportError:
        raise UsageError("fine-tuning needs accelerate: pip install 'toughcall[tune]'") from None
    import torch

    set_seed(seed)
    rng = np.random.default_rng([seed, 7])
    truth, legal = kind.targets(schema, [label.value for label in labels]), kind.legal(schema, items)
    inside, outside = np.flatnonzero(~held), np.flatnonzero(held)
    answered = np.isfinite(truth) if truth.dtype != bool else np.ones(truth.shape, dtype=bool)
    goal, texts = np.nan_to_num(truth.astype(np.float32)), network.texts(items)
    sample = rng.permutation(inside)[: max(50, len(outside))]
    metric = kind.metric(schema)
    watch = Watch(kind.columns(schema) if kind.labelled else (), metric, patience=tuning.patience)
    loss = loss_function(
        tuning.loss, truth[inside], how=how_of(kind), labels=kind.columns(schema), answered=answered[inside]
    )
    start: dict[str, Any] = {}
    best: dict[str, Any] = {}
    losses: list[float] = []
    steps = [0]
    faint: list[str] = []

    def figure_of(rows: Any, logits: Reals) -> tuple[float | None, Report]:
        some = [items[row] for row in rows]
        report = report_of(kind, schema, [labels[row] for row in rows], some, logits, seed)
        return (None if report.value is None else METRICS[metric][1] * report.value), report

    def judge(number: int) -> None:
        logits = network.score([items[row] for row in outside])
        if not np.isfinite(logits).all():
            raise IntegrityError(
                f"the outputs are no numbers after epoch {number} (step {steps[-1]}): training stopped and no model "
                "was stored; lower the learning rate, or look for broken rows with toughcall doctor"
            )
        figure, report = figure_of(outside, logits)
        made = {"figure": figure, "held": logits, "epoch": number}
        if not number:
            start.update(made, state=network.state())
            return
        inner, _ = figure_of(sample, network.score([items[row] for row in sample]))
        told = watch.epoch(
            number,
            train_loss=float(np.mean(losses)),
            held_loss=_held_loss(loss, logits, goal[outside], answered[outside], legal, outside),
            figure=figure,
            train_figure=inner,
            per_class={row.label: row.f1 for row in report.per_class},
            dead=report.dead,
            others=report.others,
        )
        losses.clear()
        if how_of(kind) == "independent" and (low := below_half(kind, schema, truth[outside], logits)) != faint:
            faint[:] = low
            if low:
                told.append(f"epoch {number}: {', '.join(low)}: predicted only at thresholds below 0.5")
        for sentence in told:
            say(sentence)
        if watch.improved:
            best.update(made, state=network.state())

    train_legal = None if legal is None else legal[inside]
    probed(network, kind, truth[inside], [items[row] for row in inside], train_legal)
    judge(0)

    def collate(rows: Sequence[int]) -> dict[str, Any]:
        some = [texts[row] for row in rows]
        sides = [word_dropout(list(side), rng, *tuning.dropout) for side in zip(*some, strict=True)]
        made: dict[str, Any] = {"sides": network.batch(list(zip(*sides, strict=True)))}
        made |= {"goal": torch.as_tensor(goal[rows]), "answered": torch.as_tensor(answered[rows])}
        return made if legal is None else {**made, "legal": torch.as_tensor(legal[rows])}

    class Training(Trainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            logits = network.logits(inputs["sides"])
            value = loss(logits.float(), inputs["goal"], inputs["answered"], inputs.get("legal"))
            losses.append(float(value.detach()))
            return (value, logits) if return_outputs else value

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            weight = sampling_weights(truth[inside]) if tuning.resample else np.ones(len(inside))
            return by_length([sum(map(len, texts[row])) for row in inside], weight, tuning.batch, rng)

    class Watching(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "grad_norm" in logs:
                steps[-1] = state.global_step
                watch.step(state.global_step, losses[-1], float(logs["grad_norm"]))
                if progress:
                    progress(state.global_step, state.max_steps)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            judge(round(state.epoch))
            network.body.train()
            control.should_training_stop = watch.stop

    with tempfile.TemporaryDirectory(prefix="toughcall-") as folder:
        settings = TrainingArguments(
            output_dir=folder,
            num_train_epochs=tuning.epochs,
            per_device_train_batch_size=tuning.batch,
            learning_rate=tuning.rate,
            warmup_steps=tuning.warmup,
            max_grad_norm=tuning.clip,
            seed=seed,
            use_cpu=network.device == "cpu",
            bf16=network.device == "cuda",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        run = Training(
            network.body,
            settings,
            data_collator=collate,
            train_dataset=[int(row) for row in inside],
            callbacks=[Watching()],
            optimizers=(_optimizer(network, tuning), None),
        )
        run.remove_callback(PrinterCallback)
        network.body.train()
        try:
            run.train()
        finally:
            network.body.eval()
    figure = best.get("figure")
    paid = figure is not None and (start["figure"] is None or figure > start["figure"])
    kept = best if paid else start
    why = watch.best()[1] if paid else "no epoch was better than the linear fit that training started from"
    return Run(kept["state"], kept["held"], to_json(watch.history, metric), why, kept["epoch"])


def below_half(kind: Kind, schema: Schema, truth: Any, logits: Reals) -> list[str]:
    """Return the labels that some rows have and no row is given with 0.5: 000's three were among such, untold.

    A threshold of their own still finds some; that they need one is told while the training goes on.
    """
    most = kind.link(logits).max(axis=0, initial=0.0)
    return [label for j, label in enumerate(kind.columns(schema)) if truth[:, j].any() and most[j] < 0.5]


def _held_loss(loss: Loss, logits: Reals, goal: Reals, answered: Bools, legal: Bools | None, rows: Any) -> float:
    import torch

    there = None if legal is None else torch.as_tensor(legal[rows])
    with torch.inference_mode():
        return float(loss(torch.as_tensor(logits), torch.as_tensor(goal), torch.as_tensor(answered), there))


def by_length(lengths: Sequence[int], weight: Reals, batch: int, rng: np.random.Generator) -> Any:
    """Return an iterable over rows, anew each epoch: drawn by weight, in batches of similar length.

    Rows are sorted within blocks of 8 batches, so that padding wastes little and no two epochs are the same.
    """

    class Order:
        def __len__(self) -> int:
            return len(lengths)

        def __iter__(self) -> Any:
            n = len(lengths)
            even = bool(np.all(weight == weight[0]))
            drawn = rng.permutation(n) if even else rng.choice(n, n, p=weight / weight.sum())
            blocks = [drawn[start : start + 8 * batch] for start in range(0, n, 8 * batch)]
            batches = []
            for block in blocks:
                ordered = block[np.argsort([lengths[row] for row in block], kind="stable")]
                batches += [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
            # a short batch comes last: anywhere else it would shift the rows of all that follow
            turn = sorted(rng.permutation(len(batches)).tolist(), key=lambda place: len(batches[place]) < batch)
            return iter(int(row) for place in turn for row in batches[place])

    return Order()


def _optimizer(network: Network, tuning: Tuning) -> Any:
    """Return AdamW over what is trained: no weight decay for biases and norms, the output layer at its own rate."""
    import torch

    groups: dict[tuple[float, float], list[Any]] = {}
    for name, one in network.trained():
        rate = max(tuning.rate, OUT_RATE) if name.startswith("out.") else tuning.rate
        groups.setdefault((rate, tuning.decay if one.ndim > 1 else 0.0), []).append(one)
    made = [{"params": some, "lr": rate, "weight_decay": decay} for (rate, decay), some in groups.items()]
    return torch.optim.AdamW(made, lr=tuning.rate)
