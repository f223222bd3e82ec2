"""The fresh process of the reload proof: it knows a model's files and the encoder's name, nothing else.

`python -m toughcall.proof FOLDER ENCODER DEVICE` prints the scores of the folder's probe as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from toughcall.records import IntegrityError, Vectors


def probe_scores(folder: Path, encoder_name: str, device: str) -> list[list[float]]:
    """Return the stored model's scores of its stored probe items, embedded anew; shape (n, k)."""
    from toughcall.mining.embed import load_encoder
    from toughcall.model.registry import load_folder, read_probe

    model, info = load_folder(folder)
    items = read_probe(folder)
    encoder = load_encoder(encoder_name, device)
    if info.get("encoder_sha") != encoder.sha:
        raise IntegrityError(f"the encoder {encoder_name} is not the one the model was trained on")
    texts = {text.id: text for item in items for text in item.views}
    vectors = Vectors(tuple(texts), encoder.encode([text.text for text in texts.values()]), encoder.name)
    return [[float(p) for p in row] for row in model.score(items, vectors).values]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe_scores(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
