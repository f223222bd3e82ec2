"""The real thing once: the packaged encoder, a fresh process, and figures that come back from the files alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from toughcall import retraining
from toughcall.mining.embed import embed, load_encoder
from toughcall.model.evaluate import evaluate
from toughcall.model.kinds import get
from toughcall.model.registry import Registry, check_folder, load_folder
from toughcall.model.scorers import Untouched
from toughcall.model.train import train
from toughcall.records import IntegrityError, Label, Text

TEXTS = {
    "animal": "fox wolf hare otter heron badger salmon cricket lizard beetle",
    "machine": "pump gearbox motor crane lathe turbine tractor drill boiler press",
    "food": "bread soup pear cheese noodles porridge salad curry omelette pie",
}
LINES = ("the {} was seen near the river at dawn", "a note about the old {} from last week")


def test_c60_c72_a_stored_model_proves_itself_in_a_fresh_process_and_repeats_its_figures(
    tmp_path: Path,
) -> None:
    """C60, C64, C72, P4: train, prove, store, load from the files alone, embed anew: the very same report."""
    kind, schema = get("multiclass"), get("multiclass").schema(tuple(TEXTS))
    pairs = [(line.format(word), label) for label, words in TEXTS.items() for line in LINES for word in words.split()]
    items = [Text(text) for text, _ in pairs]
    labels = [Label(item.id, (label,)) for item, (_, label) in zip(items, pairs, strict=True)]
    encoder = load_encoder("minilm", "cpu")
    vectors = embed([*items, *(Text(label) for label in TEXTS)], encoder, tmp_path / "vectors")
    hints = vectors.rows([Text(label).id for label in TEXTS])
    seen, held = [i for i in range(60) if i % 3], [i for i in range(60) if not i % 3]
    learnt, told = [items[i] for i in seen], [labels[i] for i in seen]
    shown, truth = [items[i] for i in held], [labels[i] for i in held]
    corpus = [text for text, _ in pairs]
    trained = train(kind, schema, learnt, vectors, told, corpus=corpus, seed=0, hints=hints)
    named = {"seed": 0, "role": "candidate"}
    scores = trained.score(shown, vectors)
    report = evaluate("p-v001", kind, schema, truth, scores, trained.thresholds, seed=0, role="candidate")
    untouched = Untouched(kind, schema, hints)
    info = {
        "labels": "l",
        "n_labels": len(told),
        "seed": 0,
        "encoder": encoder.name,
        "encoder_sha": encoder.sha,
        "schema": schema.version,
        "base_scores": untouched.score(learnt[:16], vectors).values.tolist(),
    }
    registry = Registry(tmp_path / "models")
    given = {"name": "p", "report": report, "probe": learnt[:16], "probe_vectors": vectors}
    pids: list[int] = []

    def prove(folder: Path) -> np.ndarray:
        pids.append(os.getpid())
        return retraining.prove(folder, "minilm", "cpu")

    version = registry.save(trained, info=info, prove=prove, **given)
    assert pids, "the proof ran"
    manifest = check_folder(registry.path(version))
    assert manifest["info"]["encoder_sha"] == encoder.sha
    model, _ = load_folder(registry.path(version))
    again = embed(shown, encoder, tmp_path / "other vectors")
    stored = registry.report(version)
    assert stored is not None
    fresh = evaluate(version, kind, schema, truth, model.score(shown, again), model.thresholds, **named)
    assert stored.value is not None
    assert stored.value > 0.6
    assert (fresh.value, fresh.low, fresh.high) == (stored.value, stored.low, stored.high)
    assert (fresh.said, fresh.per_class, fresh.confusion) == (stored.said, stored.per_class, stored.confusion)
    same = evaluate(version, kind, schema, truth, model.score(shown, vectors), model.thresholds, **named)
    assert json.dumps(same.to_json(), sort_keys=True) == json.dumps(stored.to_json(), sort_keys=True)

    # the fresh process asks for the encoder the model was trained on, and knows only the files
    with pytest.raises(IntegrityError, match="is not the one the model was trained on"):
        registry.save(trained, info={**info, "encoder_sha": "0" * 64}, prove=prove, **given)
    assert registry.versions() == [version]
