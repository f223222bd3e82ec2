"""The fresh process of the reload proof: it knows a model's files and the encoder's name, nothing else.

`python -m toughcall.proof FOLDER ENCODER DEVICE` prints the scores of the folder's probe as JSON, and behind them
those of the items it is given on standard input. `check_encoder` asks the same of any encoder that was trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toughcall.files import check_safe
from toughcall.model.registry import SAME
from toughcall.records import Floats, IntegrityError, Item, UsageError, Vectors

TEXTS = (
    "The printer on the third floor has stopped working again.",
    "We may share your address with partners.",
    "Trilobites were found in the shale above the quarry.",
    "Who wrote the opera that was played last night?",
)
"""What an encoder is asked to encode, where nobody gives it anything else."""


def probe_scores(folder: Path, encoder_name: str, device: str, rows: Sequence[Any] = ()) -> list[list[float]]:
    """Return the stored model's scores of its stored probe items and of others, embedded anew; shape (n, k).

    The model is loaded twice: what a load leaves to chance shows as a difference (IntegrityError). Scores say
    nothing of thresholds, so these are held against what the manifest says was in memory (R3).
    """
    from toughcall.mining.embed import load_encoder
    from toughcall.model.registry import item_of, load_folder, read_probe

    encoder = load_encoder(encoder_name, device)
    loads = [load_folder(folder, lambda: encoder.folder) for _ in range(2)]
    if loads[0][1].get("encoder_sha") != encoder.sha:
        raise IntegrityError(f"the encoder {encoder_name} is not the one the model was trained on")
    thresholds = np.asarray(loads[0][0].thresholds, dtype="<f4").tobytes()
    if loads[0][1].get("thresholds") != hashlib.sha256(thresholds).hexdigest():
        raise IntegrityError(f"{folder.name} holds other thresholds than it was judged with: it decides otherwise")
    probe = read_probe(folder)
    items = probe + [item_of(raw) for raw in rows]
    texts = {text.id: text for item in items for text in item.views}
    vectors = Vectors(tuple(texts), encoder.encode([text.text for text in texts.values()]), encoder.name)
    first = loads[0][0].score(items, vectors).values
    second = loads[1][0].score(probe, vectors).values
    gap = float(np.abs(first[: len(probe)] - second).max(initial=0.0))
    if not gap <= SAME:
        raise IntegrityError(f"two loads of {folder.name} differ by {gap:.4f}: a part of it is drawn at random")
    return [[float(p) for p in row] for row in first]


def prove(folder: Path, encoder: str, device: str, rows: Sequence[Item] = ()) -> Floats:
    """Return what a fresh process gives for a stored model's probe and then for other items, shape (m + n, k)."""
    from toughcall.model.registry import item_json

    given = json.dumps([item_json(item) for item in rows])
    return np.asarray(_fresh(["toughcall.proof", str(folder), encoder, device], given), dtype=np.float32)


def check_encoder(
    folder: Path, base: Path, texts: Sequence[str] = TEXTS, *, trained: Floats | None = None, device: str = "cpu"
) -> float:
    """Return how far a trained encoder's unit vectors lie from its base's at most; IntegrityError when it is no proof.

    Refused: a folder with code, pickles or links (C72); weights that the library says are missing or unexpected;
    two loads that differ; vectors that are those of the base (C59); vectors that are not `trained`, what the encoder
    gave in memory before it was saved, shape (n, d) (C60).
    """
    for one in (folder, base):
        if not one.is_dir():
            raise UsageError(f"{one} is no folder of an encoder: give the folder that was saved")
        check_safe(one)
    given = json.dumps([str(folder), str(base), device, list(texts)])
    found = _fresh(["toughcall.proof", "encoder"], given)
    first, second, before = (np.asarray(found[key], dtype=np.float32) for key in ("first", "second", "base"))
    name = folder.name
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise IntegrityError(f"{name} gives vectors that are not finite: it was not trained to an end")
    if (gap := float(np.abs(first - second).max(initial=0.0))) > SAME:
        raise IntegrityError(f"two loads of {name} differ by {gap:.4f}: a part of it is drawn at random")
    if trained is not None and (
        trained.shape != first.shape or not float(np.abs(first - trained).max(initial=0.0)) <= SAME
    ):
        gap = float(np.abs(first - trained).max(initial=0.0)) if trained.shape == first.shape else float("nan")
        raise IntegrityError(f"{name} reloaded in a fresh process differs from the trained encoder by {gap:.4f}")
    if found["told"]:
        raise IntegrityError(f"{name} does not load whole: {found['told'][0]}")
    away = float(np.abs(first - before).max(initial=0.0)) if before.shape == first.shape else float("inf")
    if not away > SAME:
        raise IntegrityError(f"{name} is identical to its base: the adapter is not applied, or training had no effect")
    return away


def _fresh(module: Sequence[str], given: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", *module],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise IntegrityError(
            f"the saved model could not be loaded in a fresh process ({last[:200]}): it was not stored"
        )
    return json.loads(done.stdout.splitlines()[-1])


def encoded(folder: str, base: str, device: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return the vectors of two loads of an encoder, those of its base, and what the library says is missing.

    What it says of the base too was so before the training: old files hold positions that nobody reads any more.
    """
    import logging

    from toughcall.mining.embed import load_encoder

    heard: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            heard.extend(line.strip() for line in text.splitlines() if "MISSING" in line or "UNEXPECTED" in line)

    logging.getLogger("transformers").addHandler(Heard())
    made, told = [], []
    for one in (folder, folder, base):
        heard.clear()
        made.append(load_encoder(one, device).encode(texts).tolist())
        told.append(set(heard))
    return {"first": made[0], "second": made[1], "base": made[2], "told": sorted((told[0] | told[1]) - told[2])}


if __name__ == "__main__":
    told = json.loads(sys.stdin.read() or "[]")
    if sys.argv[1] == "encoder":
        answer: Any = encoded(*told)
    else:
        answer = probe_scores(Path(sys.argv[1]), sys.argv[2], sys.argv[3], told)
    sys.stdout.write(json.dumps(answer) + "\n")
