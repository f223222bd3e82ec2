"""A network trained further, weighed against the linear head beside it: what fine-tuning makes and serving loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from toughcall.model.kind import Kind, masked
from toughcall.model.network import Shape
from toughcall.model.scorers import Head, scores_of
from toughcall.records import Floats, IntegrityError, Item, Reals, Scores, Vectors
from toughcall.schema import Schema

if TYPE_CHECKING:
    from toughcall.model.network import Network

Base = Callable[[], Path]
"""Where the encoder's folder is; asked only when a network is needed."""
INSIDE = "network."
BESIDE = "head."


@dataclass(frozen=True)
class Tuned:
    """logits = share · (network, calibrated) + (1 − share) · (head, calibrated), calibrated once more.

    A network fitted on a few hundred labels and a linear model with words beside it err on different items.
    """

    LEARNT: ClassVar[tuple[str, ...]] = ("net_slope", "net_offset", "share", "slope", "offset", "thresholds")

    recipe: str
    head: Head
    shape: Shape
    state: Mapping[str, Floats] = field(repr=False)
    """The network's trained weights by name."""
    base: Base = field(repr=False, compare=False)
    mark: str
    """Of the encoder it was trained on (`Network.mark`)."""
    net_slope: Floats
    net_offset: Floats
    share: Floats
    """Shape (1,), in [0, 1]."""
    slope: Floats
    offset: Floats
    thresholds: Floats
    device: str = "auto"
    seed: int = 0
    name: str = "tuned"

    @property
    def kind(self) -> Kind:
        """The kind of work."""
        return self.head.kind

    @property
    def schema(self) -> Schema:
        """What may be answered."""
        return self.head.schema

    @cached_property
    def network(self) -> Network:
        """The network with its stored weights, built on first use; IntegrityError when they do not fit the encoder."""
        from toughcall.model.network import Network

        folder = self.base()
        made = Network(folder, self.shape, device=self.device, seed=self.seed)
        made.load(self.state)
        if made.mark() != self.mark:
            raise IntegrityError(
                f"the encoder in {folder} is not the one that {self.name} was trained on: set name in [encoder] back"
            )
        return made

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return calibrated probabilities, shape (n, k), with what network and head alone would say."""
        made, parts = self.kind.features(items, vectors, self.head.words, self.head.reference)
        legal = self.kind.legal(self.schema, items)
        network, beside = self.network.score(items), self.head.raw(made, legal)
        values = self.kind.link(masked(self.blended(network, beside), legal))
        if network.shape[1] == 1:
            parts["network"] = self.kind.link(network * self.net_slope + self.net_offset)[:, 0].astype(np.float32)
        return scores_of(self.kind, self.schema, items, values, self.name, parts | self.head.widths(made))

    def blended(self, network: Reals, beside: Reals) -> Reals:
        """Return calibrated logits from the network's own and the head's calibrated ones, both shape (n, k)."""
        return (
            blend(float(self.share[0]), network * self.net_slope + self.net_offset, beside) * self.slope + self.offset
        )

    def arrays(self) -> dict[str, Floats]:
        """Return everything that was learnt, by name, for safetensors."""
        own = {name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in self.LEARNT}
        network = {f"{INSIDE}{name}": value for name, value in self.state.items()}
        return own | network | {f"{BESIDE}{name}": value for name, value in self.head.arrays().items()}

    def config(self) -> dict[str, Any]:
        """Return what arrays cannot hold, as JSON."""
        more = {"recipe": self.recipe, "shape": self.shape.to_json(), "device": self.device, "seed": self.seed}
        more["mark"] = self.mark
        return {**self.head.config(), **more}

    @classmethod
    def restore(cls, config: Mapping[str, Any], arrays: Mapping[str, Floats], name: str, base: Base) -> Tuned:
        """Build a tuned model from its files; IntegrityError when a part is missing."""

        def under(prefix: str) -> dict[str, Floats]:
            return {key.removeprefix(prefix): one for key, one in arrays.items() if key.startswith(prefix)}

        try:
            head = Head.restore(config, under(BESIDE), name)
            learnt: dict[str, Any] = {key: arrays[key] for key in cls.LEARNT}
            shape = Shape(**config["shape"])
            return cls(
                recipe=str(config["recipe"]),
                head=head,
                shape=shape,
                state=under(INSIDE),
                base=base,
                mark=str(config["mark"]),
                device=str(config["device"]),
                seed=int(config["seed"]),
                name=name,
                **learnt,
            )
        except (KeyError, TypeError) as error:
            raise IntegrityError(f"model {name} lacks {error}: its files do not belong together") from None


def blend(share: float, network: Reals, beside: Reals) -> Reals:
    """Return share · network + (1 − share) · beside, both shape (n, k)."""
    return np.asarray(share * network + (1.0 - share) * beside)
