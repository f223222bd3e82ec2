"""What the champion would answer, for Label Studio to show beside a task; nothing for what has to stay blind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toughcall.records import Batch, Item, Text, Value, Vectors
from toughcall.voting import GOLD
from toughcall.workspace import Workspace, opened

if TYPE_CHECKING:
    from toughcall.model.scorers import Head
    from toughcall.model.tuned import Tuned

MARK = "pre-annotation"
"""Ends the name of the model's version: tasks carry a prediction of the version that chose them, which only orders."""
BLIND = ("random_audit", GOLD)
"""The reasons of picks whose answers measure the model or who answers, so that the model must not prompt them."""


class Preannotator:
    """The champion at the service of Label Studio, with a ledger opened for reading; all calls from one thread.

    A model is loaded once for each champion, and again when there is another: its folder never changes.
    """

    def __init__(self, root: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.root = root
        self.say = say
        self._open = contextlib.ExitStack()
        self._ws: Workspace | None = None
        self._version = ""
        self._model: Head | Tuned | None = None

    def close(self) -> None:
        """Close the ledger; the next call opens it again."""
        self._open.close()
        self._ws = None

    @property
    def ws(self) -> Workspace:
        """The project, opened on first use in the thread that asks."""
        if self._ws is None:
            self._ws = self._open.enter_context(opened(self.root, "serve", writing=False))
        return self._ws

    def version(self) -> str:
        """Return what predictions are signed with, "" without a champion."""
        champion = self.ws.registry.champion()
        return f"{champion} {MARK}" if champion else ""

    def warm(self) -> str:
        """Load champion and encoder ahead of the first question; return the champion, "" when there is none."""
        model = self._champion()
        if model is not None:
            self.ws.encoder.encode(["warm"])
        return self._version

    def _champion(self) -> Head | Tuned | None:
        champion = self.ws.registry.champion()
        if champion != self._version or (champion and self._model is None):
            self._model, self._version = None, champion
            if champion:
                import torch

                # the retrain beside us needs the processors more; one text takes one thread milliseconds
                torch.set_num_threads(1)
                self.say(f"pre-annotations come from {champion}")
                self._model = self.ws.registry.load(champion)  # type: ignore[assignment]
        return self._model

    def answers(self, tasks: Sequence[Any]) -> list[list[dict[str, Any]]]:
        """Return for each task, in order, a list with what the champion would answer, or an empty one.

        There is none without a champion; for a task that is not as we sent it, in a batch that checks or decides,
        of the audit or of the test part, whose answers measure the model; and where the model was trained for
        other labels than the batch asks. The score is the one that orders the task, lowest first.

        Args:
            tasks: as Label Studio sends them to /predict: {"id", "data", "meta", …}; nothing else of them is used.

        """
        made: list[list[dict[str, Any]]] = [[] for _ in tasks]
        model = self._champion()
        if model is None:
            return made
        batches = {row["name"]: row for row in self.ws.store.batches() if not row.get("role")}
        asked = {place: one for place, task in enumerate(tasks) if (one := _asked(task)) and one[1] in batches}
        items = self.ws.pool.items({uid for uid, _, _ in asked.values()})
        known = {name: self.ws.store.batch(name) for name in {one[1] for one in asked.values()}}
        parts = self.ws.store.parts() if asked else {}
        chosen = {
            place: items[uid]
            for place, (uid, batch, data) in asked.items()
            if uid in items
            and known[batch].schema == model.schema.version
            and self.ws.part(items[uid], parts) == "train"
            and not _blind(known[batch], uid)
            and _as_sent(items[uid], data, model)
        }
        said = dict(zip(chosen, self._said(model, list(chosen.values())), strict=True))
        for place, value in said.items():
            uid, batch, _ = asked[place]
            result = [] if value is None else _result(model, value)
            if result:
                made[place] = [{"model_version": self.version(), "score": _order(known[batch], uid), "result": result}]
        return made

    def _said(self, model: Head | Tuned, items: Sequence[Item]) -> list[Value | None]:
        """Return the model's answer to each item, None to one without a usable vector."""
        from toughcall.mining.index import clean
        from toughcall.model.scorers import predict

        views = list({view.id: view for item in items for view in item.views}.values())
        if not views:
            return []
        vectors, _ = clean(self._embedded(views))
        usable = [item for item in items if all(view.id in vectors.where for view in item.views)]
        found = dict(
            zip(
                (item.id for item in usable),
                predict(model.kind, model.schema, model, usable, vectors) if usable else (),
                strict=True,
            )
        )
        return [found.get(item.id) for item in items]

    def _embedded(self, texts: Sequence[Text]) -> Vectors:
        """Return vectors made anew: the cache is read whole, which would take longer than a few texts."""
        encoder = self.ws.encoder
        return Vectors(tuple(one.id for one in texts), encoder.encode([one.text for one in texts]), encoder.name)


def _asked(task: Any) -> tuple[str, str, Mapping[str, Any]] | None:
    """Return (uid, batch, data) of a task that may be ours."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("uid", "batch")):
        return None
    return data["uid"], data["batch"], data


def _as_sent(item: Item, data: Mapping[str, Any], model: Head | Tuned) -> bool:
    """Return whether a task shows what we made of its item."""
    from toughcall.annotate.tasks import shown

    return all(data.get(name) == text for name, text in shown(item, model.schema).items() if isinstance(text, str))


def _blind(batch: Batch, uid: str) -> bool:
    return not any(pick.item == uid and pick.reason not in BLIND for pick in batch.picks)


def _order(batch: Batch, uid: str) -> float:
    """Return the score under which a task was sent (`annotate.tasks.to_tasks`), in (0, 1)."""
    order = sorted(batch.picks, key=lambda pick: (pick.rank, pick.item))
    return (1 + [pick.item for pick in order].index(uid)) / (len(order) + 1)


def _result(model: Head | Tuned, value: Value) -> list[dict[str, Any]]:
    """Return a value as Label Studio shows it, [] for one that is no answer under the schema."""
    from toughcall.annotate.tasks import to_result

    if model.schema.check(value):
        return []
    return to_result(model.schema, value)
