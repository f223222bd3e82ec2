"""An encoder with an output layer on top, as it is trained further: what it reads, says, stores and loads.

torch comes in with the first network, never with this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from toughcall.model.features import spans_of
from toughcall.model.kind import Kind
from toughcall.model.markers import add_marks
from toughcall.records import MARKS, Floats, IntegrityError, Item, UsageError

Reads = Literal["text", "marked", "apart", "cross"]
BATCH = 64


@dataclass(frozen=True)
class Shape:
    """What a network is, apart from its weights."""

    reads: Reads
    """One text; a text with marked spans; two texts apart, compared by cosine; two texts read as one."""
    outputs: int
    rank: int = 0
    """Of the LoRA adapters; 0 = every weight of the encoder is trained."""
    longest: int = 256
    """So many tokens of a text are read."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def reads_of(kind: Kind, *, cross: bool = False) -> Reads:
    """Return how the items of a kind are read."""
    if kind.paired:
        return "cross" if cross else "apart"
    return "marked" if kind.spanned else "text"


class Network:
    """A sentence-transformers model and a linear layer: logits of shape (n, outputs) for items."""

    def __init__(self, folder: Path, shape: Shape, *, device: str = "auto", seed: int = 0) -> None:
        """Load the base encoder of a folder and put adapters and an output layer of zeros on it."""
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        self.shape = shape
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        encoder = SentenceTransformer(
            str(folder),
            device=self.device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            local_files_only=True,
        )
        encoder.max_seq_length = min(int(encoder.max_seq_length or 512), shape.longest)
        if shape.reads == "marked":
            add_marks(encoder)
        if shape.rank:
            _adapt(encoder, shape.rank, seed)
        self.encoder: Any = encoder
        width = int(encoder.get_embedding_dimension() or 0)
        inputs = {"text": width, "marked": 3 * width, "apart": 1, "cross": width}[shape.reads]
        out = torch.nn.Linear(inputs, shape.outputs).to(self.device)
        with torch.no_grad():
            out.weight.zero_()
            out.bias.zero_()
        self.body: Any = torch.nn.ModuleDict({"encoder": encoder, "out": out})
        self.body.eval()

    def trained(self) -> Iterator[tuple[str, Any]]:
        """Yield what training changes, by name."""
        return ((name, one) for name, one in self.body.named_parameters() if one.requires_grad)

    def texts(self, items: Sequence[Item]) -> list[tuple[str, ...]]:
        """Return what is read of each item."""
        if self.shape.reads == "marked":
            return [(item.marked,) for item in spans_of(items)]
        return [tuple(text.text for text in item.texts) for item in items]

    def batch(self, texts: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """Return tokens of some items, one set of tensors per forward pass, on the network's device."""
        tokenizer, limit = self.encoder.tokenizer, self.encoder.max_seq_length
        settings: dict[str, Any] = {"padding": True, "truncation": True, "max_length": limit, "return_tensors": "pt"}
        sides = list(zip(*texts, strict=True))
        if self.shape.reads == "cross":
            made = [tokenizer(list(sides[0]), list(sides[1]), **{**settings, "truncation": "longest_first"})]
        else:
            made = [tokenizer(list(side), **settings) for side in sides]
        return [{key: tensor.to(self.device) for key, tensor in one.items()} for one in made]

    def features(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        """Return what the output layer reads, shape (b, f): unit vectors side by side, or a cosine."""
        import torch
        from torch.nn.functional import normalize

        parts: list[Any] = []
        for one in batch:
            made = dict(one)
            for part in self.encoder:
                # all of them: behind the pooling some encoders have a dense layer
                made = part(made)
            parts.append(normalize(made["sentence_embedding"], dim=-1))
            if self.shape.reads == "marked":
                starts = self._starts(one["input_ids"], made["token_embeddings"])
                parts += [normalize(state, dim=-1) for state in starts]
        if self.shape.reads == "apart":
            return (parts[0] * parts[1]).sum(dim=-1, keepdim=True)
        return torch.cat(parts, dim=-1)

    def _starts(self, ids: Any, states: Any) -> Iterator[Any]:
        """Yield the states at the opening marks of subject and object (Baldini Soares et al., ACL 2019, §3.2).

        Where a long text was cut before a mark, the first token stands in for it.
        """
        import torch

        rows = torch.arange(len(ids), device=ids.device)
        for sign in (MARKS[0], MARKS[2]):
            there = ids == self.encoder.tokenizer.convert_tokens_to_ids(sign)
            yield states[rows, there.int().argmax(dim=1)]

    def logits(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        """Return the outputs of a batch, shape (b, outputs), with their graph."""
        return self.body["out"](self.features(batch))

    def each(
        self, items: Sequence[Item], what: Callable[[Any], Any], progress: Callable[[int, int], None] | None = None
    ) -> Floats:
        """Return what a function of a batch gives for all items, in their order: shape (n, w), without a graph."""
        import torch

        texts = self.texts(items)
        order = sorted(range(len(texts)), key=lambda row: (sum(map(len, texts[row])), row))
        found: list[Floats] = []
        was, _ = self.body.training, self.body.eval()
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                some = [texts[row] for row in order[start : start + BATCH]]
                found.append(what(self.batch(some)).float().cpu().numpy())
                if progress:
                    progress(min(start + BATCH, len(order)), len(order))
        self.body.train(was)
        if not found:
            return np.zeros((0, self.shape.outputs), dtype=np.float32)
        out = np.empty((len(order), found[0].shape[1]), dtype=np.float32)
        out[order] = np.vstack(found)
        return out

    def score(self, items: Sequence[Item], progress: Callable[[int, int], None] | None = None) -> Floats:
        """Return the logits of items, shape (n, outputs)."""
        return self.each(items, self.logits, progress)

    def set_out(self, coef: Any, bias: Any) -> None:
        """Set the output layer: weights of shape (outputs, f), intercepts of shape (outputs,)."""
        import torch

        with torch.no_grad():
            self.body["out"].weight.copy_(torch.as_tensor(np.asarray(coef, dtype=np.float32)))
            self.body["out"].bias.copy_(torch.as_tensor(np.asarray(bias, dtype=np.float32)))

    def state(self) -> dict[str, Floats]:
        """Return a copy of what training changed, by name, for safetensors."""
        return {name: one.detach().cpu().numpy().astype(np.float32).copy() for name, one in self.trained()}

    def mark(self) -> str:
        """Return a digest of what training leaves alone: the frozen weights, and the words that the encoder knows.

        Another encoder of the same shapes would take stored weights without a word.
        """
        words = sorted(self.encoder.tokenizer.get_vocab().items())
        total = hashlib.sha256(json.dumps(words).encode())
        changed = {name for name, _ in self.trained()}
        for name, one in sorted(self.body.state_dict().items()):
            if name not in changed:
                total.update(name.encode() + one.detach().cpu().numpy().tobytes())
        return total.hexdigest()

    def load(self, state: Mapping[str, Floats]) -> None:
        """Put stored weights in place, each of them and no other; IntegrityError names the first that fits nowhere.

        A library would warn and go on with the base's own weights: that is how adapters are silently not applied.
        """
        import torch

        here = dict(self.trained())
        if wrong := sorted(set(here) ^ set(state)):
            raise IntegrityError(
                f"adapter not applied: {wrong[0]} is {'stored but fits nowhere' if wrong[0] in state else 'missing'} "
                f"({len(wrong)} of {len(here)} weights do not fit); the model was made for another encoder or recipe"
            )
        with torch.no_grad():
            for name, value in state.items():
                if tuple(here[name].shape) != value.shape or not np.isfinite(value).all():
                    raise IntegrityError(f"adapter not applied: {name} has another shape, or is not finite")
                here[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _adapt(encoder: Any, rank: int, seed: int) -> None:
    """Put LoRA adapters on every linear layer of the encoder (Hu et al., ICLR 2022), through its own `add_adapter`.

    peft.get_peft_model would wrap a copy that the encoder never calls, or one that reloads as neither trained nor base.
    """
    try:
        from peft import LoraConfig
    except ImportError:
        raise UsageError("recipe lora needs peft: pip install 'toughcall[tune]'") from None
    from transformers import set_seed

    set_seed(seed)
    encoder.add_adapter(
        LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear", bias="none")
    )
