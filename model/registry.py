"""The models on disk: proven before they are listed, immutable after, one atomic pointer to the champion."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toughcall.model.evaluate import Report
from toughcall.model.scorers import Head, Scorer
from toughcall.model.train import Trained
from toughcall.records import DiskError, Floats, IntegrityError, Item, Pair, Text, UsageError, Vectors

FORMAT = 1
ALLOWED = {"weights.safetensors", "config.json", "report.json", "probe.json", "manifest.json"}
SAME = 1e-4
"""How far a probability may move between two processes: embedding anew in other batches moves it by 1e-7."""
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
LIBRARIES = ("torch", "transformers", "sentence-transformers", "scikit-learn", "numpy", "safetensors")


def _write(path: Path, content: bytes) -> None:
    """Write a file whole and synced, or raise DiskError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise DiskError(
            f"cannot write {path}: {error.strerror}; free some space and run the same command again"
        ) from None


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True).encode()


def check_folder(folder: Path) -> dict[str, Any]:
    """Return the manifest of a model folder after checking every file of it against its sha256.

    Raises IntegrityError naming the file: changed, missing, a link, or of a kind that is never loaded (C69, C72).
    """
    if folder.is_symlink() or not folder.is_dir():
        raise IntegrityError(f"{folder} is no model folder: toughcall status lists the models")
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file() or path.name not in ALLOWED:
            raise IntegrityError(
                f"{path} does not belong in a model (only {', '.join(sorted(ALLOWED))}): nothing was loaded; remove it"
            )
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise IntegrityError(f"{folder / 'manifest.json'} is missing or damaged: the model cannot be trusted") from None
    if manifest.get("format") != FORMAT:
        raise UsageError(f"{folder} has format {manifest.get('format')!r}, this toughcall reads {FORMAT}")
    for name, due in files.items():
        path = folder / name
        if name not in ALLOWED or not path.is_file():
            raise IntegrityError(f"{path} is missing: restore it from a backup")
        if hashlib.sha256(path.read_bytes()).hexdigest() != due:
            raise IntegrityError(f"{path} was changed after it was stored: restore it, or toughcall rollback")
    return manifest


def load_folder(folder: Path) -> tuple[Scorer, dict[str, Any]]:
    """Return (model, what its manifest says of how it was made) of a folder whose files are all as stored."""
    from safetensors.numpy import load

    manifest = check_folder(folder)
    config = json.loads((folder / "config.json").read_bytes())
    arrays = load((folder / "weights.safetensors").read_bytes())
    return Head.restore(config, arrays, str(manifest["version"])), dict(manifest["info"])


def read_probe(folder: Path) -> list[Item]:
    """Return the items on which a stored model proves itself."""
    raw = json.loads((folder / "probe.json").read_bytes())
    items: list[Item] = []
    for texts in raw["items"]:
        made = [Text(t["text"], t["key"], t["group"]) for t in texts]
        items.append(made[0] if len(made) == 1 else Pair(*made))
    return items


class Registry:
    """A folder with one sub-folder per version, `champion.json` and `history.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[str]:
        """Return the complete models, oldest first: a folder without manifest is not one (C57, C58)."""
        found = [path.parent for path in self.folder.glob("*/manifest.json") if VERSION.fullmatch(path.parent.name)]
        return sorted((path.name for path in found), key=lambda name: (int(name.rpartition("-v")[2] or 0), name))

    def next_version(self, name: str) -> str:
        """Return the version that the next save of `name` gets: name-v001, name-v002 and so on."""
        return f"{name[:40]}-v{1 + max((int(v.rpartition('-v')[2]) for v in self.versions()), default=0):03d}"

    def load(self, version: str) -> Scorer:
        """Return a stored model, its files checked."""
        return load_folder(self.path(version))[0]

    def path(self, version: str) -> Path:
        """Return a version's folder; UsageError for a name that could leave the registry (C02)."""
        if not VERSION.fullmatch(version):
            raise UsageError(f"{version[:40]!r} is not the name of a model: toughcall status lists them")
        return self.folder / version

    def report(self, version: str) -> Report | None:
        """Return the report a model was stored with."""
        raw = json.loads((self.path(version) / "report.json").read_bytes())
        return Report.from_json(raw) if raw else None

    def save(
        self,
        trained: Trained,
        *,
        name: str,
        report: Report | None,
        info: Mapping[str, Any],
        probe: Sequence[Item],
        probe_vectors: Vectors,
        prove: Callable[[Path], Floats],
    ) -> str:
        """Store a model that proves itself and return its version; IntegrityError and nothing stored otherwise.

        `prove` scores the stored probe in a fresh process that knows only the files. Its answer must equal
        what the trained model says in this process (C60), and differ from the untouched base's (C59).
        """
        from safetensors.numpy import save

        version = self.next_version(name)
        aside = self.folder / f".making-{version}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        except OSError as error:
            raise DiskError(f"cannot write {aside}: {error.strerror}; free some space and run it again") from None
        try:
            said = trained.score(probe, probe_vectors).values
            files = {
                "weights.safetensors": save(trained.arrays()),
                "config.json": _json(trained.config()),
                "report.json": _json(report.to_json() if report else {}),
                "probe.json": _json(
                    {"items": [[_text(t) for t in item.texts] for item in probe], "scores": said.tolist()}
                ),
            }
            for file, content in files.items():
                _write(aside / file, content)
            manifest = {
                "format": FORMAT,
                "version": version,
                "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
                "info": {
                    **{key: value for key, value in info.items() if key != "base_scores"},
                    "libraries": {one: importlib.metadata.version(one) for one in LIBRARIES},
                    "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
                },
            }
            _write(aside / "manifest.json", _json(manifest))
            check_proof(prove(aside), said, np.asarray(info["base_scores"], dtype=np.float32), version)
            aside.rename(self.folder / version)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return version

    def champion(self) -> str:
        """Return the version that serves, "" when none was ever promoted."""
        path = self.folder / "champion.json"
        try:
            return str(json.loads(path.read_bytes())["version"])
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError):
            raise IntegrityError(f"{path} is damaged: restore it from a backup, or toughcall rollback") from None

    def promote(self, version: str, *, verdict: Mapping[str, Any]) -> None:
        """Point to another champion: the old or the new one is there at any moment (C70)."""
        if version not in self.versions():
            raise UsageError(f"no model {version!r} in {self.folder}: toughcall status lists them")
        check_folder(self.path(version))
        self._point(version, [*self.history(), {"version": version, "verdict": dict(verdict)}])

    def rollback(self) -> str:
        """Point back to the champion before this one and return it (C71); UsageError when there is none."""
        past = self.history()
        if len(past) < 2:
            raise UsageError("there is no earlier champion to go back to: toughcall status lists the models")
        version = str(past[-2]["version"])
        check_folder(self.path(version))
        self._point(version, past[:-1], undone=past[-1]["version"])
        return version

    def history(self) -> list[dict[str, Any]]:
        """Return the line of champions that led to today's, oldest first."""
        path = self.folder / "champion.json"
        if not path.exists():
            return []
        self.champion()
        return list(json.loads(path.read_bytes())["line"])

    def _point(self, version: str, line: Sequence[Mapping[str, Any]], undone: str = "") -> None:
        # pointer and history are one file, so that no crash can tell two stories
        _write(self.folder / "champion.json", _json({"version": version, "line": list(line), "undone": undone}))


def _text(text: Text) -> dict[str, str]:
    return {"text": text.text, "key": text.key, "group": text.group}


def check_proof(loaded: Floats, trained: Floats, base: Floats, version: str) -> None:
    """Raise IntegrityError unless the reloaded model equals the trained one and differs from its base."""
    if loaded.shape != trained.shape or not np.isfinite(loaded).all():
        raise IntegrityError(f"{version} reloaded in a fresh process gives other outputs: it was not stored")
    gap = float(np.abs(loaded - trained).max(initial=0.0))
    if not math.isfinite(gap) or gap > SAME:
        raise IntegrityError(
            f"{version} reloaded in a fresh process differs from the trained model by {gap:.4f}: it was not stored"
        )
    if base.shape == loaded.shape and float(np.abs(loaded - base).max(initial=0.0)) <= SAME:
        raise IntegrityError(f"{version} gives exactly what its base gives, training had no effect: it was not stored")
