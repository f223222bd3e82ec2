"""Files that nobody ever sees half of, and the one lock of a project."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toughcall.records import BusyError, DiskError, IntegrityError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, sync it, rename it: other processes see all of it or nothing.

    Raises DiskError when the disk is full or the folder not writable; nothing is left behind then.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        sync(path.parent)
    except OSError as error:
        raise DiskError(
            f"cannot write {path}: {error.strerror or error}; free some space and run the same command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Make what was renamed into a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock(root: Path, command: str) -> Iterator[None]:
    """Hold the project's one lock, or raise BusyError naming who does (C37, C51, C81).

    The kernel frees it when the process ends, however it ends: there is never a stale lock.
    """
    path = root / ".lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DiskError(f"cannot open {path}: {error.strerror}; check the folder's permissions") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another command"
            raise BusyError(f"{root} is in use by {holder}: wait for it to end, then run this again") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"toughcall {command} (process {os.getpid()})".encode(), 0)
        yield
    finally:
        os.close(handle)


SAFE = (".safetensors", ".json", ".txt", ".model", ".md")
"""What may lie in the folder of an encoder that somebody else trained: nothing that holds or names code."""


def check_safe(folder: Path) -> None:
    """Raise IntegrityError naming the file when a folder holds a link, a pickle, or anything that asks for code."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or (path.is_file() and path.suffix in SAFE)):
            raise IntegrityError(f"{path} is a link, or of a kind that may hold code: nothing was loaded; remove it")
        if path.suffix == ".json" and path.is_file():
            try:
                # parsed, because a name in JSON can be spelt "auto\u005fmap"
                asks = _names(json.loads(path.read_bytes()), "auto_map")
            except (ValueError, RecursionError):
                raise IntegrityError(f"{path} is no JSON: nothing was loaded; restore it, or remove it") from None
            if asks:
                raise IntegrityError(f"{path} asks for code of its own (auto_map): nothing was loaded; remove it")


def _names(value: Any, key: str) -> bool:
    """Return whether a JSON value holds a key, at any depth; a number under it is a word's place in a vocabulary."""
    if isinstance(value, dict):
        return not isinstance(value.get(key, 0), int) or any(_names(one, key) for one in value.values())
    return isinstance(value, list) and any(_names(one, key) for one in value)
