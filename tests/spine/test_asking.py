"""What a round gives its strategies: the model's own thresholds, only what a quota needs, the odds of pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall import asking, loop, starting
from toughcall.pool import Odds
from toughcall.records import Answer, Batch, Pick, Scores, Vectors, digest
from toughcall.workspace import Silent, Workspace, opened


class Told(Silent):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, sentence: str) -> None:
        """Keep it."""
        self.heard.append(sentence)


class Model:
    """Stands for a scorer of which only the thresholds are read."""

    name, thresholds = "m1", np.array([0.2, 0.7], np.float32)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A project of texts with two classes, a pattern of one of them."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": f"record {n}"}) + "\n" for n in range(6)), encoding="utf-8")
    starting.make_project(tmp_path / "p", Silent(), kind="multiclass", data=path, labels="yes,no")
    with (tmp_path / "p" / "project.toml").open("a", encoding="utf-8") as file:
        file.write('\n[patterns]\nyes = ["record [12]"]\n')
    with opened(tmp_path / "p", "test", Told()) as made:
        yield made


def context(ws: Workspace, **quotas: float) -> dict[str, Any]:
    """Return what a mix of quotas is given, before any label."""
    items = {text.id: text for text in ws.pool.texts()}
    return asking.context(ws, Model(), quotas, [], items, list(items))  # type: ignore[arg-type]


def test_every_strategy_reads_the_thresholds_of_the_model_that_asks(ws: Workspace) -> None:
    """A boundary is where that model decides."""
    assert context(ws, boundary=1.0)["thresholds"].tolist() == Model.thresholds.tolist()


def test_nothing_is_made_for_a_reason_without_a_quota(ws: Workspace) -> None:
    """Patterns are matched, phrases encoded and committees fitted only where somebody asks for them."""
    assert set(context(ws, boundary=1.0, patterns=0.0)) == {"thresholds", "null"}
    found = context(ws, patterns=1.0)
    matched = {ws.pool.items([one])[one].texts[0].text for one in found["matched"]["yes"]["record [12]"]}
    assert matched == {"record 1", "record 2"}
    assert "committee" not in context(ws, committee=1.0), "without a label there is none"


def test_a_pattern_that_is_dropped_is_told(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out in silence."""
    from toughcall.mining.patterns import Precision

    gone = Precision("yes", "record [12]", 2, 2, 0, 0.0, 0.1, "the pattern finds fewer than chance")
    monkeypatch.setattr(asking, "precisions", lambda *given: [gone])
    context(ws, patterns=1.0)
    assert ws.telling.heard[-1:] == ["the pattern finds fewer than chance"]  # type: ignore[attr-defined]


def test_a_pair_is_asked_with_the_odds_of_its_candidacy(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance of being a candidate times chance of being picked; an imported pair was always one."""
    monkeypatch.setattr(ws.pool, "pair_odds", lambda ids: {"a": Odds("drawn", 0.5, 0.25), "b": Odds("import")})
    picks = (Pick("a", "random_audit", 0.1, 0, 0.2), Pick("b", "random_audit", 0.1, 1, 0.2))
    found = loop.of_all_pairs(ws, Batch("b001", "s", "m1", picks))
    assert [pick.probability for pick in found.picks] == [pytest.approx(0.05), 0.2]


def test_held_out_answers_do_not_count_as_asked_where_typical_items_are_looked_for(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region of the pool that only held-out rows cover has taught nothing yet; they are still never asked (C27)."""
    ids = sorted(text.id for text in ws.pool.texts())
    ws.store.add_parts({one: "test" if row < 2 else "train" for row, one in enumerate(ids)}, {one: one for one in ids})
    ws.__dict__["vectors"] = Vectors(tuple(ids), np.eye(len(ids), dtype=np.float32), "none")
    ws.store.add_answers(
        [
            Answer(digest("t", one), one, "import", "label", ("yes",), "", ws.schema.version, "import")
            for one in ids[1:3]
        ]
    )
    given: dict[str, Any] = {}

    def caught(scores: Scores, *args: Any, **kwargs: Any) -> Batch:
        given.update(kwargs, pool=scores.ids)
        return Batch("b001", "s", "m1", ())

    values = np.full((len(ids), 2), 0.5, np.float32)
    monkeypatch.setattr(loop, "scorer", lambda ws: Model())
    monkeypatch.setattr(loop, "score", lambda ws, model: Scores(tuple(ids), ("yes", "no"), values, "m1"))
    monkeypatch.setattr("toughcall.mining.queue.next_batch", caught)
    loop.mine(ws, 2)
    assert given["more"]["asked"] == {ids[2]}
    assert given["asked"] == {ids[1], ids[2]}
    assert set(given["pool"]) == set(ids[3:])
