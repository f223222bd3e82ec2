"""The files of a model: nothing changed, strange or outside is ever loaded (C69, C72, C02)."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall.model import registry as registries
from toughcall.model.registry import Registry, load_folder
from toughcall.model.train import Trained
from toughcall.records import IntegrityError, UsageError

Make = Callable[..., Any]
PROMOTED = {"outcome": "PROMOTE", "sentence": "better"}
KEYS = ("labels", "n_labels", "seed", "encoder", "encoder_sha", "schema", "base_scores")
FILES = ("config.json", "manifest.json", "probe.json", "report.json", "weights.safetensors")


@pytest.mark.parametrize("file", FILES)
def test_c69_any_changed_byte_of_any_file_is_named(stocked: Registry, file: str) -> None:
    """C69: flip one byte anywhere: IntegrityError naming the file, on load, promote, report and rollback."""
    path = stocked.path("p-v001") / file
    whole = path.read_bytes()
    places = sorted({int(p) for p in np.linspace(0, len(whole) - 1, 25)})
    for place in places:
        for bit in (1, 32):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(IntegrityError, match=re.escape(str(path))) as refused:
                stocked.load("p-v001")
            assert refused.value.code == 6
    for verb in (
        stocked.report,
        lambda version: stocked.promote(version, verdict=PROMOTED),
        lambda _: stocked.rollback(),
    ):
        with pytest.raises(IntegrityError, match=re.escape(file)):
            verb("p-v001")
    assert stocked.champion() == "p-v002"
    path.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match=re.escape(file)):
        stocked.load("p-v001")
    path.unlink()
    with pytest.raises(IntegrityError, match=re.escape(file)):
        load_folder(stocked.path("p-v001"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"version": 3}', b'{"version": "p-v001", "line": []}', b"\xff"]
)
def test_c69_a_damaged_pointer_is_named_and_never_read_as_no_champion(stocked: Registry, content: bytes) -> None:
    """C69: champion.json is whole or refused; so is one that names another model than its own history."""
    path = stocked.folder / "champion.json"
    for bad in (content, path.read_bytes().replace(b'"version": "p-v002"', b'"version": "p-v003"', 1)):
        path.write_bytes(bad)
        for verb in (stocked.champion, stocked.history, stocked.rollback):
            with pytest.raises(IntegrityError, match=r"champion\.json is damaged"):
                verb()


def test_c69_a_copied_or_renamed_model_is_not_the_version_it_is_called(stocked: Registry) -> None:
    """C69: a folder under another version's name is refused, a backup beside it is not listed and harms nothing."""
    shutil.rmtree(stocked.path("p-v003"))
    shutil.copytree(stocked.path("p-v001"), stocked.folder / "p-v003")
    shutil.copytree(stocked.path("p-v001"), stocked.folder / "p-v001.bak")
    shutil.copytree(stocked.path("p-v001"), stocked.folder / "copy")
    assert stocked.versions() == ["p-v001", "p-v002", "p-v003"]
    for verb in (stocked.load, lambda version: stocked.promote(version, verdict=PROMOTED)):
        with pytest.raises(IntegrityError, match="holds p-v001"):
            verb("p-v003")
    assert stocked.champion() == "p-v002"


class Canary:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Tell pickle to make a folder on load."""
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "name", ["model_head.pkl", "pytorch_model.bin", "modeling.py", "x.safetensors", ".hidden", "sub"]
)
def test_c72_a_stranger_in_the_folder_is_refused_and_never_run(stocked: Registry, tmp_path: Path, name: str) -> None:
    """C72: only the five files a model has; anything else is named, and the canary in it stays asleep."""
    canary, path = tmp_path / "canary", stocked.path("p-v002") / name
    if name == "sub":
        path.mkdir()
    else:
        path.write_bytes(pickle.dumps(Canary(canary)))
    for verb in (stocked.load, stocked.report, lambda _: load_folder(path.parent)):
        with pytest.raises(IntegrityError, match=re.escape(str(path))):
            verb("p-v002")
    assert not canary.exists()
    if name != "sub":
        pickle.loads(path.read_bytes())
        assert canary.exists(), "the canary would have sung"


@pytest.mark.parametrize("file", FILES)
def test_c72_a_pickle_under_a_good_name_is_refused(stocked: Registry, tmp_path: Path, file: str) -> None:
    """C72: the name alone opens nothing."""
    path, canary = stocked.path("p-v002") / file, tmp_path / "canary"
    path.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(IntegrityError, match=re.escape(str(path))):
        stocked.load("p-v002")
    assert not canary.exists()


def test_c72_links_are_refused(stocked: Registry) -> None:
    """C72: a linked file and a linked folder could change under us: both refused by name."""
    file = stocked.path("p-v001") / "config.json"
    file.rename(stocked.folder / "elsewhere.json")
    file.symlink_to(stocked.folder / "elsewhere.json")
    with pytest.raises(IntegrityError, match=re.escape(str(file))):
        stocked.load("p-v001")
    (stocked.folder / "p-v009").symlink_to(stocked.path("p-v002"))
    with pytest.raises(IntegrityError, match="p-v009 is no model folder"):
        stocked.load("p-v009")


@pytest.mark.parametrize("listed", ["../p-v001/config.json", "model.pkl"])
def test_c72_a_manifest_that_lists_files_elsewhere_is_refused(stocked: Registry, listed: str) -> None:
    """C72: also when it is signed again, a manifest reaches no file outside its folder, and hides none inside it."""
    path = stocked.path("p-v002") / "manifest.json"
    manifest = json.loads(path.read_bytes())
    for files in (
        {**manifest["files"], listed: "0" * 64},
        {k: v for k, v in manifest["files"].items() if k != "config.json"},
    ):
        path.write_bytes(registries._signed({**manifest, "files": files}))
        with pytest.raises(IntegrityError):
            stocked.load("p-v002")


def test_a_model_of_a_later_format_is_told_apart_from_a_damaged_one(stocked: Registry) -> None:
    """Rule: UsageError (exit 2) says which format this toughcall reads."""
    path = stocked.path("p-v002") / "manifest.json"
    path.write_bytes(registries._signed({**json.loads(path.read_bytes()), "format": 2}))
    with pytest.raises(UsageError, match="has format 2, this toughcall reads 1"):
        stocked.load("p-v002")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", ".x", "/tmp/x", "a\0b", "a\nb", "..", "x" * 300])
def test_c02_a_name_that_leaves_the_registry_is_refused(
    stocked: Registry, trained: Trained, data: Any, name: str, store: Make
) -> None:
    """C02: as a version and as a project's name: UsageError, and no file outside the registry."""
    outside = sorted(stocked.folder.parent.iterdir())
    for version in (name, f"{name}-v001"):
        for verb in (stocked.path, stocked.load, stocked.report, lambda v: stocked.promote(v, verdict=PROMOTED)):
            with pytest.raises(UsageError):
                verb(version)
    if len(name) < 300:
        with pytest.raises(UsageError):
            store(stocked, trained, data, name=name)
    else:
        assert len(store(stocked, trained, data, name=name)) < 60
    assert sorted(stocked.folder.parent.iterdir()) == outside
    assert not [path.name for path in stocked.folder.iterdir() if path.name.startswith(".")]


def test_a_head_whose_files_do_not_fit_its_labels_is_refused(stocked: Registry) -> None:
    """Rule: outputs and labels are counted against each other on load (setfit#587: drifting label order)."""
    from toughcall.model.scorers import Head

    head = stocked.load("p-v001")
    assert isinstance(head, Head)
    with pytest.raises(IntegrityError, match="2 outputs and 3 labels"):
        Head.restore(head.config(), {**head.arrays(), "coef": head.arrays()["coef"][:2]}, "m")
    with pytest.raises(IntegrityError, match="labels"):
        Head.restore({**head.config(), "columns": ["machine", "animal", "food"]}, head.arrays(), "m")
    same = Head.restore(head.config(), head.arrays(), "m")
    assert dataclasses.replace(same, name=head.name).config() == head.config()


def test_p10_a_manifest_without_its_signature_is_refused(stocked: Registry) -> None:
    """P10: leaving the signature out does not open the door that a wrong one closes."""
    path = stocked.path("p-v002") / "manifest.json"
    manifest = {key: value for key, value in json.loads(path.read_bytes()).items() if key != "sha256"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing or damaged"):
        stocked.load("p-v002")
