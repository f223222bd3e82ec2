"""Candidate pairs in a project: stored once, with their odds, and told in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import pair

from toughcall.mining.pairs import Candidates
from toughcall.mining.strata import Population
from toughcall.pairing import candidates, told
from toughcall.pool import Odds, Pool
from toughcall.reading import Row
from toughcall.records import Pair, Text, digest
from toughcall.workspace import Silent, opened


class Heard(Silent):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_candidates_are_stored_with_their_odds_once(tmp_path: Path) -> None:
    """Each mined pair has its cosine, chance and origin; the counts are told once; asked again, nothing changes."""
    root, heard = pair().make(tmp_path, mine__candidates=150), Heard()
    with opened(root, "test", heard) as ws:
        found = candidates(ws)
        odds = ws.pool.pair_odds()
        assert {one.id for one in found} == set(odds)
        assert {one.origin for one in odds.values()} <= {"near", "missed", "all", "drawn"}
        for one in found:
            assert isinstance(one, Pair)
            a, b = ws.vectors.rows([one.a.id, one.b.id])
            known = odds[one.id]
            assert known.cosine == pytest.approx(float(a @ b), abs=2e-6)
            assert known.probability is not None
            assert 0 < known.probability <= 1
        assert any(known.probability < 1 for known in odds.values() if known.probability is not None)
        said = [line for line in heard.sentences if "pairs are allowed" in line]
        assert [line.split(":")[0] for line in said] == ["train", "test"]
        assert [one.id for one in candidates(ws)] == [one.id for one in found]
        assert len([line for line in heard.sentences if "pairs are allowed" in line]) == 2
        assert ws.pool.pair_odds() == odds


def test_an_older_pool_and_an_imported_pair_have_no_odds(tmp_path: Path) -> None:
    """Shards without cosine and probability still read, beside new ones; imported pairs have neither."""
    pool = Pool(tmp_path / "pool")
    a, b, c, d = (Text(text) for text in "abcd")
    pool.add([*(Row(text.text, text) for text in (a, b, c)), Row("pair", Pair(c, d))])
    old = Pair(a, b)
    row = {"id": old.id, "a": old.a.id, "b": old.b.id, "origin": "mined"}
    pq.write_table(pa.Table.from_pylist([row]), pool.folder / f"pairs-{digest('shard', [old.id])[:16]}.parquet")
    new = Odds("drawn", 0.5, 0.25)
    assert pool.add_pairs([(c.id, a.id), (b.id, a.id)], [new, new]) == 1
    odds = {old.id: Odds("mined"), Pair(c, d).id: Odds("import"), Pair(a, c).id: new}
    assert pool.pair_odds() == odds
    assert pool.pair_odds([old.id, "no such id"]) == {old.id: Odds("mined")}
    assert list(pool.damage()) == []
    assert len(pool.pairs()) == 3


def test_the_sentence_says_what_is_counted_and_what_is_estimated() -> None:
    """Exact counts as such; estimates with their interval and the recall of the search."""
    nothing = (np.zeros(0), ("near",), np.ones(1), np.zeros(1, np.int64))
    exact = (Population(-1, 0.2, 1234, 1234, 1234, True), Population(0.8, 1.0001, 5, 5, 5, True))
    assert told(Candidates(("a",), ("b",), *nothing, exact), "train") == (
        "train: 1,239 pairs are allowed, 1 are candidates (counted; below 0.2: 1,234, cosine 0.8 to 1.0: 5)"
    )
    rough = (Population(-1, 0.2, 1e6, 9e5, 1.1e6, False),)
    assert told(Candidates(("a",), ("b",), *nothing, rough, 0.93), "test") == (
        "test: 1,000,000 pairs are allowed, 1 are candidates (estimated, 95 % interval; below 0.2: 1,000,000 "
        "(900,000 to 1,100,000)); 93% of the nearest neighbours were found"
    )
