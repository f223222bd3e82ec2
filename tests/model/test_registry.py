"""The models on disk: whole or not there, never changed unseen, and one champion at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall.model import registry as registries
from toughcall.model.kinds import KINDS
from toughcall.model.registry import Registry, check_folder, check_proof, read_probe
from toughcall.model.train import Trained, train
from toughcall.records import DiskError, IntegrityError, UsageError

Make = Callable[..., Any]
PROMOTED = {"outcome": "PROMOTE", "sentence": "better"}
KEYS = ("labels", "n_labels", "seed", "encoder", "encoder_sha", "schema", "base_scores")
FILES = ("config.json", "manifest.json", "probe.json", "report.json", "weights.safetensors")


def state(registry: Registry) -> dict[str, bytes]:
    """Return every file of a registry with its content."""
    root = registry.folder
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_registry_starts_empty(registry: Registry) -> None:
    """Rule: without a folder there is no model, no champion and nothing to go back to."""
    assert (registry.versions(), registry.champion(), registry.history()) == ([], "", [])
    with pytest.raises(UsageError, match="no earlier champion"):
        registry.rollback()
    with pytest.raises(UsageError, match="toughcall status"):
        registry.promote("p-v001", verdict=PROMOTED)


def test_c60_a_stored_model_says_what_the_trained_one_said(planted: Make, registry: Registry, store: Make) -> None:
    """C60: for every kind, the same probabilities to the bit, thresholds, schema and report."""
    for number, name in enumerate(sorted(KINDS), start=1):
        mine = planted(name, n=40)
        rows = (mine.items, mine.vectors, mine.labels)
        head = train(mine.kind, mine.schema, *rows, corpus=mine.corpus, seed=7)
        version = store(registry, head, mine)
        assert version == f"p-v{number:03d}"
        back = registry.load(version)
        assert back.name == version
        due = head.score(mine.items, mine.vectors).values
        assert back.score(mine.items, mine.vectors).values.tobytes() == due.tobytes()
        assert back.thresholds.tobytes() == head.thresholds.tobytes()
        assert back.schema == mine.schema  # type: ignore[attr-defined]
        report = registry.report(version)
        assert report is not None
        assert report.n == 40
        assert [item.id for item in read_probe(registry.path(version))] == [item.id for item in mine.items[:8]]


@pytest.mark.parametrize("broken", [*range(1, 6), "rename"])
def test_c57_a_full_disk_leaves_what_was_there(
    stocked: Registry, trained: Trained, data: Any, broken: int | str, monkeypatch: pytest.MonkeyPatch, store: Make
) -> None:
    """C57: whichever write fails: exit 9, champion intact, nothing half listed, no leftovers; then it works again."""
    before, calls, whole = state(stocked), [0], registries._write

    def write(path: Path, content: bytes) -> None:
        calls[0] += 1
        if calls[0] == broken:
            raise DiskError(f"cannot write {path}: No space left on device")
        whole(path, content)

    def rename(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(registries, "_write", write)
        if broken == "rename":
            patch.setattr(Path, "rename", rename)
        with pytest.raises(DiskError, match="No space left"):
            store(stocked, trained, data)
    assert state(stocked) == before
    assert sorted(path.name for path in stocked.folder.iterdir()) == ["champion.json", "p-v001", "p-v002", "p-v003"]
    assert stocked.champion() == "p-v002"
    assert store(stocked, trained, data) == "p-v004"


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_c57_a_write_that_fails_inside_leaves_the_old_file_and_no_scrap(
    stocked: Registry, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C57, C70: no space at open, fsync or rename: a sentence, the old pointer byte for byte, no scrap."""
    before = state(stocked)

    opened = Path.open

    def full(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("mode") == "rb":
            return opened(*args, **kwargs)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*{"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[step], full)
        with pytest.raises(DiskError, match=r"champion\.json.*free some space") as failed:
            stocked.promote("p-v003", verdict=PROMOTED)
    assert failed.value.code == 9
    assert state(stocked) == before
    stocked.promote("p-v003", verdict=PROMOTED)
    assert stocked.champion() == "p-v003"


class Killed(BaseException):
    """The process ends here: nothing that catches errors may run on."""


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_c70_killed_at_any_call_the_pointer_is_the_old_or_the_new(
    stocked: Registry, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C70: stop before each system call of the write in turn: the champion is one of the two, always loadable."""
    seen, target = set(), {"promote": "p-v003", "rollback": "p-v001"}[verb]
    for stop in range(8):
        copy = Registry(stocked.folder.with_name(f"{verb}{stop}"))
        shutil.copytree(stocked.folder, copy.folder)
        calls = [0]

        def killing(whole: Callable[..., Any], calls: list[int] = calls, stop: int = stop) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if kwargs.get("mode") != "rb":
                    if calls[0] == stop:
                        raise Killed
                    calls[0] += 1
                return whole(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for owner, name in ((Path, "open"), (os, "fsync"), (Path, "replace"), (os, "open"), (os, "close")):
                patch.setattr(owner, name, killing(getattr(owner, name)))
            with contextlib.suppress(Killed):
                copy.promote(target, verdict=PROMOTED) if verb == "promote" else copy.rollback()
        seen.add(copy.champion())
        assert copy.champion() in {"p-v002", target}
        assert copy.load(copy.champion()).name == copy.champion()
        assert copy.history()[-1]["version"] == copy.champion()
        assert copy.versions() == ["p-v001", "p-v002", "p-v003"]
    assert seen == {"p-v002", target}


def test_c71_rollback_gives_the_earlier_predictions_to_the_bit_and_keeps_history(stocked: Registry, data: Any) -> None:
    """C71: back to the one before, bit-identical, no file of any model touched, the undone one still there."""
    first = stocked.load("p-v001").score(data.items, data.vectors).values.tobytes()
    before = state(stocked)
    assert stocked.rollback() == "p-v001" == stocked.champion()
    assert stocked.load(stocked.champion()).score(data.items, data.vectors).values.tobytes() == first
    after = state(stocked)
    assert {name for name in after if before.get(name) != after[name]} == {"champion.json"}
    assert set(after) == set(before)
    assert stocked.history() == [{"version": "p-v001", "verdict": PROMOTED}]
    assert json.loads(after["champion.json"])["undone"] == "p-v002"
    with pytest.raises(UsageError, match="no earlier champion"):
        stocked.rollback()
    assert stocked.champion() == "p-v001"


def test_a_second_promotion_of_the_champion_is_no_step(stocked: Registry) -> None:
    """C71: promoting what serves already changes nothing, so rollback still goes back to another model."""
    stocked.promote("p-v002", verdict=PROMOTED)
    assert [step["version"] for step in stocked.history()] == ["p-v001", "p-v002"]
    assert stocked.rollback() == "p-v001"


def test_c59_a_model_that_says_what_its_base_says_is_not_stored(
    registry: Registry, trained: Trained, data: Any, store: Make, info: dict[str, Any]
) -> None:
    """C59: training without effect: exit 6 and nothing stored; nor with base scores that prove nothing."""
    said = trained.score(data.items[:8], data.vectors).values
    for base in (said, said + 5e-5, np.full_like(said, np.nan), said[:, :1]):
        with pytest.raises(IntegrityError, match="training had no effect") as refused:
            store(registry, trained, data, info={**info, "base_scores": base.tolist()})
        assert refused.value.code == 6
        assert list(registry.folder.iterdir()) == []


@pytest.mark.parametrize("wrong", ["other", "one row", "nan", "shape", "raises"])
def test_c60_a_model_that_reloads_as_another_is_not_stored(
    registry: Registry, trained: Trained, data: Any, wrong: str, store: Make
) -> None:
    """C60: other scores from the fresh process, or none: exit 6, nothing stored."""
    said = trained.score(data.items[:8], data.vectors).values

    def prove(folder: Path) -> Any:
        assert (folder / "manifest.json").exists(), "what is proven is the finished folder"
        one = said.copy()
        one[3, 1] += 0.001
        if wrong == "raises":
            raise IntegrityError("could not be loaded in a fresh process")
        return {"other": said[::-1], "one row": one, "nan": said * np.nan, "shape": said[:, :2]}[wrong]

    with pytest.raises(IntegrityError, match="fresh process"):
        store(registry, trained, data, prove=prove)
    assert list(registry.folder.iterdir()) == []
    assert registry.versions() == []


def test_the_proof_allows_the_noise_of_other_batches_and_no_more() -> None:
    """C60: 1e-6 between two processes is noise, 1e-3 is another model."""
    said, base = np.full((4, 2), 0.3, dtype=np.float32), np.full((4, 2), 0.5, dtype=np.float32)
    check_proof(said + np.float32(1e-6), said, base, "v")
    with pytest.raises(IntegrityError, match=r"differs from the trained model by 0\.0010"):
        check_proof(said + np.float32(1e-3), said, base, "v")


def test_c64_the_manifest_tells_how_to_make_the_model_again(stocked: Registry, trained: Trained) -> None:
    """C64: data, base, code, seed, threads, libraries and thresholds: all there, none empty."""
    manifest = check_folder(stocked.path("p-v001"))
    assert set(manifest["files"]) == set(FILES) - {"manifest.json"}
    info = manifest["info"]
    for key in (
        "labels",
        "n_labels",
        "seed",
        "encoder",
        "encoder_sha",
        "schema",
        "code",
        "test",
        "threads",
        "thresholds",
    ):
        assert info[key] not in ("", None), key
    assert {"toughcall", "torch", "scikit-learn", "numpy"} <= set(info["libraries"])
    assert (info["labels"], info["seed"], info["encoder_sha"]) == ("l" * 32, 7, "e" * 64)
    assert info["thresholds"] == registries.hashlib.sha256(trained.thresholds.tobytes()).hexdigest()
    assert re.fullmatch("[0-9a-f]{64}", info["code"])
    assert info["code"] == check_folder(stocked.path("p-v002"))["info"]["code"]


@pytest.mark.parametrize("key", KEYS)
def test_c64_a_model_of_unknown_making_is_not_stored(
    registry: Registry, trained: Trained, data: Any, key: str, store: Make, info: dict[str, Any]
) -> None:
    """C64: whoever saves has to say what it was made of."""
    del (known := dict(info))[key]
    with pytest.raises(ValueError, match=f"{key} missing"):
        store(registry, trained, data, info=known)
    assert not registry.folder.exists()


def test_versions_are_in_the_order_they_were_made_and_numbers_are_not_used_twice(
    registry: Registry, trained: Trained, data: Any, store: Make
) -> None:
    """C58: v010 comes after v009; a folder without manifest is no model, and is not written over."""
    registry.folder.mkdir()
    (registry.folder / "p-v008").mkdir()
    assert registry.versions() == []
    assert [store(registry, trained, data) for _ in range(2)] == ["p-v009", "p-v010"]
    assert store(registry, trained, data, name="another-v2") == "another-v2-v011"
    assert registry.versions() == ["p-v009", "p-v010", "another-v2-v011"]
    assert registry.champion() == ""
