"""An encoder that somebody trained: two recipes that lose it in silence, the good one, and what may hold code.

The recipes are those of post-mortem 001, carried out with the real libraries; a fresh process looks at what they saved.
"""

from __future__ import annotations

import json
import os
import pickle
import runpy
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall import proof
from toughcall.files import check_safe
from toughcall.proof import TEXTS, check_encoder
from toughcall.records import Floats, IntegrityError, UsageError

TINY = runpy.run_path(str(Path(__file__).parents[1] / "model" / "tiny_encoder.py"))
# peft asks transformers for something by its old name
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
OUT: dict[str, Any] = {"first": [[1.0, 0.0]], "second": [[1.0, 0.0]], "base": [[0.0, 1.0]], "told": []}


@pytest.fixture(scope="module")
def base() -> Path:
    """The folder of the encoder before training."""
    return Path(TINY["tiny"]())


def opened(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def adapters() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=True)


def stirred(model: Any) -> None:
    """Move the adapters as a training would: their second matrices begin at zero."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    there = [one for name, one in model.named_parameters() if "lora_B" in name]
    assert there, "there are adapters"
    for one in there:
        one.data = torch.randn(one.shape, generator=drawn)


def vectors(model: Any) -> Floats:
    return np.asarray(model.encode(list(TEXTS), normalize_embeddings=True, show_progress_bar=False), np.float32)


def wrong_level(base: Path, folder: Path) -> Floats:
    """Train adapters on the inner network, then put them around the whole encoder, where no name of theirs fits."""
    from peft import PeftModel, get_peft_model

    model = opened(base)
    wrapped = get_peft_model(model[0].auto_model, adapters())
    stirred(wrapped)
    trained = vectors(model)
    wrapped.save_pretrained(str(folder.with_name("adapter")))
    served = opened(base)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        merged = PeftModel.from_pretrained(served, str(folder.with_name("adapter"))).merge_and_unload()
    assert any("missing adapter keys" in str(one.message) for one in heard), "a warning is all that the library says"
    merged.save(str(folder), create_model_card=False)
    return trained


def assigned(base: Path, folder: Path) -> Floats:
    """Assign the wrapped network to `auto_model`, which is read-only: the adapters go in, `save` writes other names."""
    from peft import get_peft_model

    model = opened(base)
    model[0].auto_model = get_peft_model(model[0].auto_model, adapters())
    stirred(model)
    trained = vectors(model)
    model.save(str(folder), create_model_card=False)
    return trained


def added(base: Path, folder: Path) -> Floats:
    """Add the adapters through the encoder itself."""
    model = opened(base)
    model.add_adapter(adapters())
    stirred(model)
    trained = vectors(model)
    model.save(str(folder), create_model_card=False)
    return trained


def test_c59_001_an_adapter_at_the_wrong_level_is_refused_as_its_base(base: Path, tmp_path: Path) -> None:
    """C59, 001: what a library loads around the wrong level equals its base, and is refused in these words."""
    trained = wrong_level(base, tmp_path / "tuned")
    assert np.abs(trained - vectors(opened(base))).max() > 0.05, "the training itself had an effect"
    with pytest.raises(IntegrityError, match="tuned is identical to its base: the adapter is not applied") as caught:
        check_encoder(tmp_path / "tuned", base)
    assert caught.value.code == 6


def test_c60_001_an_encoder_saved_after_assignment_is_refused(base: Path, tmp_path: Path) -> None:
    """C60, R4, 001: what reloads as neither trained nor base is refused, with the trained vectors and without."""
    trained = assigned(base, tmp_path / "tuned")
    told = r"two loads of tuned differ by 0\.\d+|differs from the trained encoder|does not load whole: .*base_layer"
    with pytest.raises(IntegrityError, match=told) as caught:
        check_encoder(tmp_path / "tuned", base, trained=trained)
    assert caught.value.code == 6
    with pytest.raises(IntegrityError, match=told):
        check_encoder(tmp_path / "tuned", base)


def test_c59_c60_adapters_added_through_the_encoder_pass(base: Path, tmp_path: Path) -> None:
    """C59, C60, R1: the good recipe passes: equal to the trained encoder in a fresh process, unlike its base."""
    trained = added(base, tmp_path / "tuned")
    away = check_encoder(tmp_path / "tuned", base, trained=trained)
    assert away == pytest.approx(np.abs(trained - vectors(opened(base))).max(), abs=1e-4)
    assert away > 0.05


@pytest.mark.parametrize(
    ("found", "trained", "told"),
    [
        ({"first": [[np.nan, 0.0]], "second": [[np.nan, 0.0]]}, None, "not finite"),
        ({"second": [[0.9, 0.1]]}, None, r"two loads of tuned differ by 0\.1000"),
        ({}, [[0.9, 0.0]], r"differs from the trained encoder by 0\.1000"),
        ({}, [[1.0, 0.0, 0.0]], "differs from the trained encoder by nan"),
        ({}, [[np.nan, 0.0]], "differs from the trained encoder by nan"),
        ({"told": ["query.base_layer.weight | UNEXPECTED"]}, None, "does not load whole: query.base_layer"),
        ({"base": [[1.0, 5e-5]]}, None, "identical to its base"),
        ({"base": [[np.nan, 0.0]]}, None, "identical to its base"),
    ],
)
def test_the_proof_of_an_encoder_fails_closed(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: dict[str, Any],
    trained: Any,
    told: str,
) -> None:
    """P9, P10: whatever is missing, not finite, drawn at random or equal is exit 6 in its own words."""
    shutil.copytree(base, tmp_path / "tuned")
    monkeypatch.setattr(proof, "_fresh", lambda module, given: {**OUT, **found})
    given = None if trained is None else np.asarray(trained, np.float32)
    with pytest.raises(IntegrityError, match=told):
        check_encoder(tmp_path / "tuned", base, trained=given)


def test_another_width_is_no_base_of_it(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2: an encoder whose vectors are of another length than its base's is unlike it; a missing folder is told."""
    monkeypatch.setattr(proof, "_fresh", lambda module, given: {**OUT, "base": [[1.0, 0.0, 0.0]]})
    shutil.copytree(base, tmp_path / "tuned")
    assert check_encoder(tmp_path / "tuned", base) == float("inf")
    with pytest.raises(UsageError, match="nowhere is no folder of an encoder"):
        check_encoder(tmp_path / "nowhere", base)


def test_what_the_base_lacked_before_is_no_fault_of_the_training(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C60: weights that the library misses in the base too are not told; those that it misses in the tuned one are."""
    import logging

    from safetensors.numpy import load_file, save_file

    old, worse = (Path(shutil.copytree(base, tmp_path / name)) for name in ("old", "worse"))
    weights = load_file(base / "model.safetensors")
    pooler = {name for name in weights if name.startswith("pooler")}
    assert pooler
    kept = {name: one for name, one in weights.items() if name not in pooler}
    save_file(kept, old / "model.safetensors", {"format": "pt"})
    layer = "encoder.layer.1.attention.self.query.weight"
    save_file({name: one for name, one in kept.items() if name != layer}, worse / "model.safetensors", {"format": "pt"})
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers])
    assert proof.encoded(str(old), str(old), "cpu", TEXTS)["told"] == []
    assert any(layer in line for line in proof.encoded(str(worse), str(old), "cpu", TEXTS)["told"])
    assert any("pooler" in line for line in proof.encoded(str(old), str(base), "cpu", TEXTS)["told"])


class Canary:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Tell pickle to make a folder on load."""
        return os.mkdir, (str(self.path),)


def pickled(name: str) -> Callable[[Path], Path]:
    def put(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(Canary(folder.parent / "canary")))
        return path

    return put


def code(folder: Path) -> Path:
    path = folder / "modeling_own.py"
    path.write_text(f"import os\nos.mkdir({str(folder.parent / 'canary')!r})\n", encoding="utf-8")
    return path


def link(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere.safetensors")
    return folder / "model.safetensors"


def folder_link(folder: Path) -> Path:
    (folder / "1_Pooling").rename(folder.parent / "pooling")
    (folder / "1_Pooling").symlink_to(folder.parent / "pooling")
    return folder / "1_Pooling"


def auto_map(spelt: str) -> Callable[[Path], Path]:
    def put(folder: Path) -> Path:
        path = folder / "config.json"
        text = path.read_text(encoding="utf-8").replace("{", f'{{"{spelt}": {{"AutoModel": "modeling_own.Own"}},', 1)
        assert json.loads(text)["auto_map"]
        path.write_text(text, encoding="utf-8")
        return path

    return put


HARMS = {
    "pkl": pickled("model_head.pkl"),
    "bin": pickled("pytorch_model.bin"),
    "deep": pickled("2_Dense/weights.pt"),
    "renamed": pickled("README"),
    **{"py": code, "link": link, "folder link": folder_link},
    **{"auto_map": auto_map("auto_map"), "escaped": auto_map("auto\\u005fmap")},
}


@pytest.mark.parametrize("harm", sorted(HARMS))
def test_c72_nothing_that_may_hold_code_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """C72, P15: a pickle, code, a link or a call for code, wherever it lies, is named; no process even starts."""
    for kind in ("tuned", "base"):
        shutil.copytree(base, tmp_path / kind / "one")
        shutil.copytree(base, tmp_path / kind / "other")
    monkeypatch.setattr(proof, "_fresh", lambda *args: pytest.fail("a process was started"))
    for kind, bad in (("tuned", "one"), ("base", "other")):
        path = HARMS[harm](tmp_path / kind / bad)
        with pytest.raises(IntegrityError, match="nothing was loaded") as caught:
            check_encoder(tmp_path / kind / "one", tmp_path / kind / "other")
        assert str(path) in str(caught.value)
        assert caught.value.code == 6
        assert not (tmp_path / kind / "canary").exists()


def test_c72_a_word_of_a_vocabulary_calls_for_no_code(base: Path, tmp_path: Path) -> None:
    """C72: what is refused is a call for code, not a token that is spelt like one; half a file is refused too."""
    shutil.copytree(base, tmp_path / "tuned")
    check_safe(tmp_path / "tuned")
    (tmp_path / "tuned" / "vocab.json").write_text('{"auto_map": 17}', encoding="utf-8")
    check_safe(tmp_path / "tuned")
    (tmp_path / "tuned" / "vocab.json").write_text('{"auto_map": ', encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"vocab\.json is no JSON"):
        check_safe(tmp_path / "tuned")
