"""The pool survives being killed and says when it is damaged (C12, C13)."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
from pathlib import Path

import pytest

from toughcall import files
from toughcall import pool as pools
from toughcall.pool import Pool
from toughcall.reading import Row
from toughcall.records import DiskError, IntegrityError, Pair, Relation, Span, Text, digest

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
    assert pool.counts() == (20_000, 0, 0)
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


SENTENCE = Text("Ada 👩 saw Bo", group="doc")
THERE = Relation(SENTENCE, Span(0, 3, "PER"), Span(10, 12))
BACK = Relation(SENTENCE, THERE.object, THERE.subject)


def test_relations_are_stored_once_with_their_text(tmp_path: Path) -> None:
    """Both directions are relations of one record; the same again is known; items finds texts, pairs and relations."""
    pool = Pool(tmp_path / "pool")
    rows = [Row("1", THERE, ("A",)), Row("2", BACK), Row("3", THERE)]
    added = pool.add(rows)
    assert (added.read, added.new, added.known, added.labels) == (3, 2, 1, [(THERE.id, ("A",))])
    assert (pool.add(rows).new, pool.counts()) == (0, (1, 0, 2))
    assert pool.relations() == sorted([THERE, BACK], key=lambda one: one.id)
    assert pool.relations([BACK.id, "no such id"]) == [BACK]
    (back,) = pool.relations([BACK.id])
    assert (back.ends, back.record.group) == (("Bo", "Ada"), "doc")
    pair = Pair(Text("one"), Text("two"))
    pool.add([Row("4", pair)])
    wanted = [THERE.id, pair.id, pair.a.id, SENTENCE.id]
    assert pool.items(wanted) == {THERE.id: THERE, pair.id: pair, pair.a.id: pair.a, SENTENCE.id: SENTENCE}
    assert pool.sql("SELECT DISTINCT text, origin FROM relations") == [(SENTENCE.id, "import")]


def test_relations_of_many_shards_never_miss_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are written when they are full, texts first: after a full disk, what is stored still joins."""
    monkeypatch.setattr(pools, "SHARD", 3)
    pool = Pool(tmp_path / "pool")
    texts = [Text(f"text number {i}") for i in range(4)]
    rows = [Row("r", Relation(t, Span(0, 4), Span(i, 11))) for t in texts for i in range(5, 8)]
    pool.add(rows)
    assert pool.counts() == (4, 0, 12)
    assert len(pool.relations()) == 12
    assert len(list(pool.folder.glob("relations-*.parquet"))) == 4
    assert list(pool.damage()) == []


def test_a_damaged_relations_shard_is_named_and_refused(tmp_path: Path) -> None:
    """Doctor covers the relations; a query over a damaged shard says so instead of leaving rows out."""
    pool = Pool(tmp_path / "pool")
    pool.add([Row("1", THERE)])
    (shard,) = pool.folder.glob("relations-*.parquet")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:50])
    assert [line for line in pool.damage() if shard.name in line]
    with pytest.raises(IntegrityError, match="toughcall doctor"):
        pool.counts()
    shard.rename(shard.with_name("relations-0000.parquet"))
    (pool.folder / "relations-0000.parquet").write_bytes(whole)
    assert ["does not hold the items its name says" in line for line in pool.damage()] == [True]


def test_block_and_time_are_stored_with_a_text(tmp_path: Path) -> None:
    """What decides which records may be paired comes back, in texts and in the records of pairs."""
    pool = Pool(tmp_path / "pool")
    a, b = Text("one", block="x\x1fy", time=20458.5), Text("two")
    pool.add([Row("1", a), Row("2", b)])
    pool.add_pairs([(a.id, b.id)], "mined")
    assert {(t.text, t.block, t.time) for t in pool.texts()} == {("one", "x\x1fy", 20458.5), ("two", "", None)}
    assert {(t.block, t.time) for t in pool.texts([a.id])} == {("x\x1fy", 20458.5)}
    assert {(t.block, t.time) for t in pool.pairs()[0].texts} == {("x\x1fy", 20458.5), ("", None)}


def test_shards_without_block_and_time_still_read(tmp_path: Path) -> None:
    """A pool of an older toughcall, alone and beside new shards: its records have no block and no time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pool = Pool(tmp_path / "pool")
    pool.folder.mkdir()
    old = Text("old", "k", "g")
    row = {"id": old.id, "key": "k", "text": "old", "grp": "g", "twin": digest("twin", "old")}
    name = digest("shard", [old.id])[:16]
    pq.write_table(pa.Table.from_pylist([row]), pool.folder / f"texts-{name}.parquet")
    assert [(t, t.block, t.time) for t in pool.texts()] == [(old, "", None)]
    added = pool.add([Row("1", old), *(Row("2", Text(f"new {i}", block="b", time=float(i))) for i in range(3))])
    assert (added.known, added.new, list(pool.damage())) == (1, 3, [])
    assert sorted((t.text, t.block, t.time) for t in pool.texts()) == [
        *((f"new {i}", "b", float(i)) for i in range(3)),
        ("old", "", None),
    ]
    assert pool.texts([old.id]) == [old]


def test_what_was_read_once_never_outlives_the_files(tmp_path: Path) -> None:
    """P6: a second read gives what another command has added since, and a shard damaged since is refused."""
    pool = Pool(tmp_path)
    pool.add([Row("1", Text("one")), Row("2", Text("two"))])
    assert len(pool.texts()) == 2
    other = Pool(tmp_path)
    other.add([Row("3", Text("three"))])
    three, two = Text("three"), Text("two")
    assert set(pool.texts([three.id, "unknown"])) == {three}
    assert [text.id for text in pool.texts()] == sorted(text.id for text in other.texts())
    assert pool.items([two.id, three.id, "unknown"]) == {two.id: two, three.id: three}
    next(tmp_path.glob("texts-*.parquet")).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(IntegrityError, match="damaged"):
        pool.texts()


def test_who_changes_the_list_of_records_changes_nothing_else(tmp_path: Path) -> None:
    """P6: the records a caller was given are its own."""
    pool = Pool(tmp_path)
    pool.add([Row("1", Text("one"))])
    pool.texts().clear()
    pool.texts().clear()
    assert pool.texts() == [Text("one")]
