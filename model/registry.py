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

from toughcall.files import sync, write_atomically
from toughcall.model.evaluate import Report
from toughcall.model.scorers import Head, Scorer
from toughcall.model.train import Trained
from toughcall.model.tuned import Base, Tuned
from toughcall.records import (
    DiskError,
    Floats,
    IntegrityError,
    Item,
    Pair,
    Relation,
    Span,
    Text,
    UsageError,
    Vectors,
    digest,
)

FORMAT = 1
ALLOWED = {"weights.safetensors", "config.json", "report.json", "probe.json", "manifest.json"}
SAME = 1e-4
"""How far a probability may move between two processes: embedding anew in other batches moves it by 1e-7."""
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}-v([0-9]{3,9})")
NEEDED = ("labels", "n_labels", "seed", "encoder", "encoder_sha", "schema", "base_scores")
"""What `save` must be told of how a model was made: without it nobody can make it again (C64)."""
LIBRARIES = ("toughcall", "torch", "transformers", "sentence-transformers", "scikit-learn", "numpy", "safetensors")


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda aside: aside.write_bytes(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True).encode()


def _signed(manifest: Mapping[str, Any]) -> bytes:
    """Return the manifest's bytes with the sha256 of everything else in it, so that no byte of it can turn."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return _json({**rest, "sha256": hashlib.sha256(_json(rest)).hexdigest()})


def code_digest() -> str:
    """Return the sha256 over the source files that turn labels into a model."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


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
        whole = (folder / "manifest.json").read_bytes() == _signed(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise IntegrityError(f"{folder / 'manifest.json'} is missing or damaged: the model cannot be trusted")
    if manifest.get("format") != FORMAT:
        raise UsageError(f"{folder} has format {manifest.get('format')!r}, this toughcall reads {FORMAT}")
    for name in sorted(ALLOWED - {"manifest.json"} | set(files)):
        path, due = folder / name, files.get(name)
        if name not in ALLOWED or not path.is_file():
            raise IntegrityError(f"{path} is missing: restore it from a backup")
        if hashlib.sha256(path.read_bytes()).hexdigest() != due:
            raise IntegrityError(f"{path} was changed after it was stored: restore it, or toughcall rollback")
    return manifest


def no_base() -> Path:
    """Refuse: this registry was not told where the encoder lies that a tuned model is put on."""
    raise IntegrityError("a model with a tuned encoder was loaded without one: set name in [encoder]")


def load_folder(folder: Path, base: Base = no_base) -> tuple[Scorer, dict[str, Any]]:
    """Return (model, what its manifest says of how it was made) of a folder whose files are all as stored.

    `base`: gives the folder of the encoder that a tuned model is put on.
    """
    from safetensors.numpy import load

    manifest = check_folder(folder)
    config = json.loads((folder / "config.json").read_bytes())
    arrays = load((folder / "weights.safetensors").read_bytes())
    version = str(manifest["version"])
    # only a tuned model has a network, whose shape is in its settings
    model = Tuned.restore(config, arrays, version, base) if "shape" in config else Head.restore(config, arrays, version)
    return model, dict(manifest["info"])


def read_probe(folder: Path) -> list[Item]:
    """Return the items on which a stored model proves itself."""
    raw = json.loads((folder / "probe.json").read_bytes())
    return [item_of(one) for one in raw["items"]]


def item_json(item: Item) -> dict[str, Any]:
    """Return an item as JSON that `item_of` reads."""
    texts = [{"text": t.text, "key": t.key, "group": t.group} for t in item.texts]
    return {"texts": texts, "spans": list(item.spans) if isinstance(item, Relation) else []}


def item_of(raw: Mapping[str, Any]) -> Item:
    """Return the item that `item_json` wrote."""
    texts = [Text(t["text"], t["key"], t["group"]) for t in raw["texts"]]
    if raw["spans"]:
        return Relation(texts[0], Span(*raw["spans"][:3]), Span(*raw["spans"][3:]))
    return texts[0] if len(texts) == 1 else Pair(*texts)


class Registry:
    """A folder with one sub-folder per version, and `champion.json`: the champion and the line that led to it."""

    def __init__(self, folder: Path, base: Base = no_base) -> None:
        self.folder = folder
        self.base = base

    def versions(self) -> list[str]:
        """Return the complete models, oldest first: a folder without manifest is not one (C57, C58)."""
        found = [path.parent.name for path in self.folder.glob("*/manifest.json")]
        return sorted((name for name in found if _number(name)), key=lambda name: (_number(name), name))

    def next_version(self, name: str) -> str:
        """Return the version that the next save of `name` gets: name-v001, name-v002 and so on."""
        # every folder counts, so that what is left of a damaged one is not written over
        return f"{name[:40]}-v{1 + max((_number(path.name) for path in self.folder.glob('*')), default=0):03d}"

    def load(self, version: str) -> Scorer:
        """Return a stored model, its files checked."""
        self.check(version)
        return load_folder(self.path(version), self.base)[0]

    def check(self, version: str) -> None:
        """Raise IntegrityError unless the folder of a version holds that very version, whole."""
        stored = check_folder(self.path(version))["version"]
        if stored != version:
            raise IntegrityError(f"{self.path(version)} holds {stored}: it was renamed or copied; remove it")

    def path(self, version: str) -> Path:
        """Return a version's folder; UsageError for a name that could leave the registry (C02)."""
        if not VERSION.fullmatch(version):
            raise UsageError(f"{version[:40]!r} is not the name of a model: toughcall status lists them")
        return self.folder / version

    def discard(self, version: str) -> None:
        """Remove a version that nobody has judged; nothing happens when it is not there."""
        folder = self.path(version)
        if folder.is_dir() and version != self.champion():
            # out of the list at once: without its manifest it is no model, however far the rest gets
            (folder / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def report(self, version: str) -> Report | None:
        """Return the report a model was stored with."""
        self.check(version)
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
        again: Callable[[Floats], float | None] | None = None,
    ) -> str:
        """Store a model that proves itself and return its version; IntegrityError and nothing stored otherwise.

        `prove` scores the stored probe, and behind it the test rows, in a fresh process that knows only the files.
        Its answer must equal what the trained model says in this process (C60), and differ from the untouched
        base's (C59); `again` measures it on the test rows, and the figure must be the report's.
        """
        from safetensors.numpy import save

        missing = [key for key in NEEDED if key not in info]
        if missing:
            raise ValueError(f"a model is stored with {', '.join(NEEDED)}: {', '.join(missing)} missing")
        version = self.next_version(name)
        self.path(version)
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
                "probe.json": _json({"items": [item_json(item) for item in probe], "scores": said.tolist()}),
            }
            for file, content in files.items():
                _write(aside / file, content)
            manifest = {
                "format": FORMAT,
                "version": version,
                "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
                "info": {
                    **{key: value for key, value in info.items() if key != "base_scores"},
                    "code": code_digest(),
                    "thresholds": hashlib.sha256(trained.thresholds.astype("<f4").tobytes()).hexdigest(),
                    "test": digest("test", report.ids, report.truth) if report else "",
                    "libraries": {one: importlib.metadata.version(one) for one in LIBRARIES},
                    "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
                },
            }
            _write(aside / "manifest.json", _signed(manifest))
            proof = prove(aside)
            check_proof(proof[: len(said)], said, np.asarray(info["base_scores"], dtype=np.float32), version)
            if report is not None and again is not None:
                check_metric(report, again(proof[len(said) :]), version)
            try:
                aside.rename(self.folder / version)
                sync(self.folder)
            except OSError as error:
                raise DiskError(
                    f"cannot move {aside} to {version}: {error.strerror}; free some space and run it again"
                ) from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return version

    def champion(self) -> str:
        """Return the version that serves, "" when none was ever promoted."""
        line = self.history()
        return str(line[-1]["version"]) if line else ""

    def promote(self, version: str, *, verdict: Mapping[str, Any]) -> None:
        """Point to another champion: the old or the new one is there at any moment (C70)."""
        if version not in self.versions():
            raise UsageError(f"no model {version!r} in {self.folder}: toughcall status lists them")
        self.check(version)
        line = self.history()
        if line and line[-1]["version"] == version:
            # a second promotion of the same model would make rollback a step on the spot
            return
        self._point(version, [*line, {"version": version, "verdict": dict(verdict)}])

    def rollback(self) -> str:
        """Point back to the champion before this one and return it (C71); UsageError when there is none."""
        past = self.history()
        if len(past) < 2:
            raise UsageError("there is no earlier champion to go back to: toughcall status lists the models")
        version = str(past[-2]["version"])
        self.check(version)
        self._point(version, past[:-1], undone=past[-1]["version"])
        return version

    def history(self) -> list[dict[str, Any]]:
        """Return the line of champions that led to today's, oldest first."""
        path = self.folder / "champion.json"
        try:
            raw = json.loads(path.read_bytes())
            line = [dict(step) for step in raw["line"]]
            if not all(VERSION.fullmatch(step["version"]) for step in line) or line[-1]["version"] != raw["version"]:
                raise ValueError("two champions")
        except FileNotFoundError:
            return []
        except (ValueError, LookupError, TypeError):
            raise IntegrityError(
                f"{path} is damaged: restore it from a backup, or remove it and run toughcall promote"
            ) from None
        return line

    def _point(self, version: str, line: Sequence[Mapping[str, Any]], undone: str = "") -> None:
        # pointer and history are one file, so that no crash can tell two stories
        _write(self.folder / "champion.json", _json({"version": version, "line": list(line), "undone": undone}))


def _number(name: str) -> int:
    """Return the number of a version, 0 for a name that is none (a backup, a stranger's folder)."""
    found = VERSION.fullmatch(name)
    return int(found[1]) if found else 0


def check_metric(report: Report, value: float | None, version: str) -> None:
    """Raise IntegrityError unless the reloaded model has the figure on the test rows that its report says (R3)."""
    same = value is None if report.value is None else value is not None and abs(value - report.value) <= SAME
    if not same:
        shown = ("not defined" if one is None else f"{one:.4f}" for one in (report.value, value))
        raise IntegrityError(
            f"{version} was measured with {report.metric} {next(shown)}, reloaded in a fresh process it has "
            f"{next(shown)}: it was not stored"
        )


def check_proof(loaded: Floats, trained: Floats, base: Floats, version: str) -> None:
    """Raise IntegrityError unless the reloaded model equals the trained one and differs from its base."""
    if loaded.shape != trained.shape or not np.isfinite(loaded).all():
        raise IntegrityError(f"{version} reloaded in a fresh process gives other outputs: it was not stored")
    gap = float(np.abs(loaded - trained).max(initial=0.0))
    if not math.isfinite(gap) or gap > SAME:
        raise IntegrityError(
            f"{version} reloaded in a fresh process differs from the trained model by {gap:.4f}: it was not stored"
        )
    # written so that base scores that are missing or not finite refuse too
    if base.shape != loaded.shape or not float(np.abs(loaded - base).max(initial=0.0)) > SAME:
        raise IntegrityError(
            f"{version} is identical to its base, training had no effect or the adapter is not applied: "
            "it was not stored"
        )
