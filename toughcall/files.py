"""Writing a file so that nobody ever sees half of it; the one place that knows how."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from toughcall.records import DiskError


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
