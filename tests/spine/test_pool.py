"""The pool survives being killed and says when it is damaged (C12, C13)."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
from pathlib import Path

import pytest

from toughcall import files
from toughcall.pool import Pool
from toughcall.reading import Row
from toughcall.records import DiskError, Text

INGEST = """
import sys
from pathlib import Path
from toughcall import pool as pools
from toughcall.reading import Row
from toughcall.records import Text
pools.SHARD = 200
pool = pools.Pool(Path(sys.argv[1]))
print("go", flush=True)
pool.add(Row(f"row {i}", Text(f"text number {i}")) for i in range(20_000))
print("done", flush=True)
"""


def test_c12_an_import_killed_at_any_point_is_finished_by_the_same_command(tmp_path: Path) -> None:
    """C12: kill -9 at random moments, then run again: the same records as one clean run, none damaged."""
    rng = random.Random(1)
    fired = 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", INGEST, str(tmp_path / "pool")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(rng.uniform(0.05, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
            fired += 1
        process.wait()
        process.stdout.close()
    assert fired >= 1, "no kill fired, so this run proves nothing"
    subprocess.run([sys.executable, "-c", INGEST, str(tmp_path / "pool")], check=True, capture_output=True)
    pool = Pool(tmp_path / "pool")
    assert pool.counts() == (20_000, 0)
    assert list(pool.damage()) == []


def test_c13_a_full_disk_stops_with_a_sentence_and_the_rerun_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C13: DiskError, no half shard; with space again the same call finishes."""
    pool = Pool(tmp_path / "pool")
    rows = [Row("row 1", Text("one"))]

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(DiskError, match="No space left on device"):
            pool.add(rows)
    assert list((tmp_path / "pool").iterdir()) == []
    assert pool.add(rows).new == 1


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    """Doctor names a truncated shard; the pool refuses to give wrong results."""
    pool = Pool(tmp_path / "pool")
    pool.add([Row("row 1", Text("one"))])
    shard = next((tmp_path / "pool").iterdir())
    shard.write_bytes(shard.read_bytes()[:50])
    assert shard.name in next(iter(pool.damage()))


def test_mined_pairs_are_stored_once(tmp_path: Path) -> None:
    """The same candidate pair in both directions is one pair."""
    pool = Pool(tmp_path / "pool")
    a, b = Text("one"), Text("two")
    pool.add([Row("1", a), Row("2", b)])
    assert pool.add_pairs([(a.id, b.id), (b.id, a.id)], "mined") == 1
    assert pool.add_pairs([(b.id, a.id)], "mined") == 0
