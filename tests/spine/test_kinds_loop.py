"""One round of every kind of work without a server: made, scored, mined, answered, trained, judged, promoted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import WORLDS, multilabel, pair, relation, scores, write_csv

from toughcall import loop, pairing, project, retraining, status, taking
from toughcall.annotate.tasks import to_result, to_tasks
from toughcall.model import kinds
from toughcall.model.scorers import predict
from toughcall.model.split import check_apart
from toughcall.records import NotEnoughData, Pair, Relation, Text
from toughcall.schema import chosen_of, numbers_of
from toughcall.settings import Columns
from toughcall.workspace import Workspace, opened

pytestmark = pytest.mark.usefixtures("quick")
SORTS = {"texts": Text, "pairs": Pair, "relations": Relation}


def edit(root: Path, old: str, new: str) -> None:
    """Change one line of the project's settings."""
    path = root / project.FILE
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), encoding="utf-8")


def stored_uncertainty(root: Path) -> dict[str, float]:
    import pyarrow.parquet as pq

    table = pq.read_table(root / "scores" / "latest.parquet")
    return dict(zip(table["id"].to_pylist(), table["uncertainty"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_a_round(tmp_path: Path, name: str) -> None:
    """C18, C67: the untouched encoder scores, experts answer, the model that learnt it is promoted and asks better."""
    world = WORLDS[name]()
    root = world.make(tmp_path, **({"mine__window": 4.0} if name == "pair" else {}))
    kind = kinds.get(name)
    with opened(root, "test") as ws:
        first = loop.score(ws)
        items = ws.pool.items(first.ids)
        assert {type(item) for item in items.values()} == {SORTS[kind.items]}
        assert (first.model, first.labels) == ("untouched", kind.columns(ws.schema))
        assert set(stored_uncertainty(root)) == set(first.ids)
        batch = loop.mine(ws)
        assert len(batch.picks) == 8
        assert {pick.reason for pick in batch.picks} <= set(kind.quotas)
        assert kind.warm or "in_band" not in {pick.reason for pick in batch.picks}, "doubt of a cold model says nothing"
        assert max(Counter(t.id for p in batch.picks for t in items[p.item].texts).values()) <= 3
        assert world.answer(ws, [pick.item for pick in batch.picks]) == 8
        parts = ws.store.parts()
        left = [one for one in sorted(items) if ws.part(items[one], parts) == "train"][::4]
        world.answer(ws, set(items) - set(left))
        done = retraining.retrain(ws)
        assert done.verdict is not None
        assert done.verdict.outcome == "PROMOTE", done.verdict.sentence()
        assert not any(done.left_out.values())
        assert retraining.promote(ws) == "p-v001"
    with opened(root, "test") as ws:
        after = loop.score(ws)
        assert (after.model, after.ids, after.labels) == ("p-v001", first.ids, first.labels)
        doubt = stored_uncertainty(root)
        assert all(0 <= value <= 1 for value in doubt.values())
        assert max(doubt.values()) > 0
        again = loop.mine(ws)
        asked = {pick.item for pick in again.picks}
        assert asked
        assert asked <= set(left) - {pick.item for pick in batch.picks}
        assert ("spread" in after.parts) == ("spread" in {pick.reason for pick in again.picks}) == (not kind.labelled)
        check_right(ws, world.truth)
        rows = {row["class"]: row for row in status.class_rows(ws)}
        assert set(rows) == {*ws.schema.labels, *(d.name for d in ws.schema.dimensions)}
        top = status.most_uncertain(ws, after, 3)[0]
        assert top["uncertainty"] == pytest.approx(max(doubt.values()))
        told = {"top", "p"} if kind.labelled else {"sentiment", "strength"}
        assert set(top) == {"item", "uncertainty", *told, "text"}, (
            "numbers in their own units, labels with a probability"
        )


def check_right(ws: Workspace, truth: Any) -> None:
    """Hold the champion's answers to the held-out items against the truth."""
    train, held, items, _ = ws.split()
    assert check_apart(ws.store.parts(), [items[x.item] for x in train], [items[x.item] for x in held]) == []
    some = [items[label.item] for label in held]
    said = predict(ws.kind, ws.schema, ws.registry.load(ws.registry.champion()), some, ws.vectors)
    assert all(not ws.schema.check(value, ws.schema.offered(item)) for value, item in zip(said, some, strict=True))
    if ws.kind.labelled:
        right = [chosen_of(value) == chosen_of(truth(item)) for value, item in zip(said, some, strict=True)]
        assert np.mean(right) > 0.7
    else:
        gaps = [
            abs(numbers_of(value)[name] - number)
            for value, item in zip(said, some, strict=True)
            for name, number in numbers_of(truth(item)).items()
        ]
        assert np.mean(gaps) < 1.0


def test_an_answer_that_became_illegal_is_left_out_and_counted(tmp_path: Path) -> None:
    """C63: after the type table changed no answer is lost, but those it forbids neither train nor measure."""
    world = relation()
    root = world.make(tmp_path)
    with opened(root, "test") as ws:
        items = {item.id: item for item in pairing.candidates(ws)}
        assert ws.vectors
        world.answer(ws, items)
        version = ws.schema.version
        forbidden = {one for one, item in items.items() if world.truth(item) == ("found_at",)}
        assert len(forbidden) > 5
    edit(root, 'found_at" = [["TAXON", "LOC"]]', 'found_at" = [["TAXON", "AGE"]]')
    with opened(root, "test") as ws:
        assert ws.schema.version == version
        train, held, _, left = ws.split()
        assert left["illegal"] == len(forbidden)
        assert {label.item for label in [*train, *held]} == set(items) - forbidden
        done = retraining.retrain(ws)
        assert done.left_out["illegal"] == len(forbidden)
        assert ws.store.events("retrain")[-1][1]["left_out"]["illegal"] == len(forbidden)
        assert "found_at" in done.dead
        scored = loop.score(ws, done.version)
        column = scored.values[:, scored.labels.index("found_at")]
        assert not column.any(), "no type allows it any more"
    edit(root, 'found_at" = [["TAXON", "AGE"]]', 'found_at" = [["TAXON", "LOC"]]')
    with opened(root, "test") as ws:
        assert ws.split()[3]["illegal"] == 0, "the answers were there all the time"


def test_an_item_that_no_label_is_legal_for_is_set_aside(tmp_path: Path) -> None:
    """P6: what nobody could answer is told once and not scored; the other items are."""
    root = relation().make(tmp_path)
    edit(
        root, 'part_of" = [["STRAT", "STRAT"]]', 'part_of" = [["STRAT", "CHRONO"]]\n"NO_RELATION" = [["TAXON", "LOC"]]'
    )
    with opened(root, "test") as ws:
        silent = {one.id for one in ws.pool.relations() if one.subject.type == one.object.type == "STRAT"}
        assert len(silent) == 24
        for _ in range(2):
            scored = loop.score(ws)
            assert set(scored.ids) == {one.id for one in ws.pool.relations()} - silent
        assert {(stage, one.where) for stage, one in ws.store.set_aside()} == {("score", one) for one in silent}


class FakeStudio:
    """A Label Studio that holds one task for each relation, answered as the project's experts would."""

    url = "http://nowhere"

    def __init__(self, tasks: list[dict[str, Any]]) -> None:
        self.tasks = tasks

    def ensure_project(self, *_: Any, **__: Any) -> int:
        return 7

    def config_problem(self, *_: Any) -> str:
        return ""

    def counted(self, number: int) -> int:
        assert number == 7
        return len(self.tasks)

    def answered(self, number: int, since: str = "") -> list[dict[str, Any]]:
        when = "2026-11-21T12:00:00Z"
        return [] if since else [{"id": task["id"], "updated_at": when, "answers": 1} for task in self.tasks]

    def exported(self, number: int, ids: Sequence[int]) -> list[dict[str, Any]]:
        return [task for task in self.tasks if task["id"] in ids]


def test_pull_reads_answers_whatever_the_type_table_says_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: a table widened or narrowed after the first batch costs no answer and leaves no item waiting for good."""
    world = relation()
    root = world.make(tmp_path)
    with opened(root, "test") as ws:
        batch = loop.mine(ws)
        items = ws.pool.items([pick.item for pick in batch.picks])
        ws.store.put("studio_project", "7")
        ws.store.mark_batch(batch.name, "sent")
        tasks, _ = to_tasks(batch, items, ws.schema)
        result = to_result(ws.schema, ("part_of",))
    for n, task in enumerate(tasks):
        said = {"id": n, "unique_id": f"u{n}", "completed_by": 1, "was_cancelled": False, "result": result}
        task |= {"id": n, "annotations": [said]}
    monkeypatch.setattr(taking, "connect", lambda ws: FakeStudio(tasks))
    with opened(root, "test") as ws:
        found = loop.pull(ws)
        assert (found.read, found.new, found.set_aside, found.waiting) == (8, 8, 0, {batch.name: 0})
        assert {answer.value for answer in ws.store.answers()} == {("part_of",)}
        legal = [one for one, item in items.items() if "part_of" in ws.schema.offered(item)]
        train, held, _, left = ws.split()
        assert {label.item for label in [*train, *held]} == set(legal)
        assert left["illegal"] == 8 - len(legal) > 0
    edit(
        root, 'part_of" = [["STRAT", "STRAT"]]', 'part_of" = [["STRAT", "STRAT"], ["TAXON", "LOC"], ["TAXON", "STRAT"]]'
    )
    with opened(root, "test") as ws:
        assert loop.pull(ws).new == 0
        assert ws.split()[3]["illegal"] < 8 - len(legal)


def test_an_empty_cell_is_no_answer_and_none_of_them_is_one(tmp_path: Path) -> None:
    """C16: multilabel: what nobody looked at trains nothing; that no label applies is an answer that trains."""
    world = multilabel()
    root = world.make(tmp_path)
    texts = [row["text"] for row in world.rows]
    said = [(texts[0], ""), (texts[1], "__none__"), (texts[2], "animal|machine"), (texts[3], " "), (texts[4], "|")]
    path = write_csv(tmp_path / "answers.csv", ["text", "label"], said)
    with opened(root, "test") as ws:
        added = loop.import_file(ws, path, Columns(label="label"))
        assert (added.read, added.known, len(added.labels), added.set_aside) == (5, 5, 2, [])
        labels, torn = ws.store.labels(ws.schema.version)
        known = {Text(text).id: text for text in texts}
        assert {known[label.item]: label.value for label in labels} == {texts[1]: (), texts[2]: ("animal", "machine")}
        assert torn == []
        train, held, _, _ = ws.split()
        assert {known[label.item] for label in [*train, *held]} == {texts[1], texts[2]}
        answered = {known[one] for one in known if one in ws.store.asked()}
        assert answered == {texts[1], texts[2]}, "what nobody answered is still to be asked"


def test_no_pair_crosses_a_block_or_a_window(tmp_path: Path) -> None:
    """Pairs are mined within a site and within the days of the window, all of them, and from one part each."""
    world = pair()
    root = world.make(tmp_path, mine__window=4.0)
    with opened(root, "test") as ws:
        found = pairing.candidates(ws)
        texts, parts = ws.pool.texts(), ws.store.parts()
        assert {text.block for text in texts} == {"north", "south"}
        assert all(text.time is not None for text in texts)
        wanted = {
            Pair(a, b).id
            for a, b in combinations(texts, 2)
            if a.block == b.block and abs(a.time - b.time) <= 4 and parts[a.id] == parts[b.id]  # type: ignore[operator]
        }
        assert {one.id for one in found} == wanted
        assert len(found) == len(wanted) > 100
        assert {one.id for one in pairing.candidates(ws)} == wanted, "asked again, nothing is added"
        wide = ws.pool.counts()[1]
        assert wide == len(wanted), "and nothing else was stored"
    edit(root, "window = 4.0", "window = 1.0")
    with opened(root, "test") as ws:
        narrow = pairing.candidates(ws)
        assert ws.pool.counts()[1] == wide, "nothing stored is lost"
        assert 0 < len(narrow) < len(wanted)
        assert all(abs(one.a.time - one.b.time) <= 1 for one in narrow if isinstance(one, Pair))  # type: ignore[operator]


def test_a_grade_beside_the_label_trains_as_the_label(tmp_path: Path) -> None:
    """A pair's answer may hold a number too: it is averaged, shown and never taken for a label."""
    world = pair()
    root = world.make(tmp_path)
    with opened(root, "test") as ws:
        alike = [one.id for one in pairing.candidates(ws) if world.truth(one)[0] == "similar"][:6]
        world.answer(ws, alike)
        world.answer(ws, alike[:3], who="ben")
        labels, _ = ws.store.labels(ws.schema.version)
        assert {label.value for label in labels} == {("similar", ("grade", 9.5))}
        rows = {row["class"]: row for row in status.class_rows(ws)}
        assert sum(rows["grade"][part] for part in ("train", "held out", "neither")) == 6
        assert not ws.kind.targets(ws.schema, [("not_similar", ("grade", 9.5))]).any()


def test_scores_need_enough_numbers_and_name_them(tmp_path: Path) -> None:
    """C55: too few numbers on every dimension are exit 8 with the counts; one dimension alone may lag behind."""
    world = scores()
    root = world.make(tmp_path)
    with opened(root, "test") as ws:
        assert ws.vectors
        train = [text.id for text in ws.training_pool()]
        world.answer(ws, train[:9])
        with pytest.raises(NotEnoughData, match=r"sentiment 9, strength \d\): at least 10 answers") as no:
            retraining.retrain(ws)
        assert no.value.code == 8
        assert ws.registry.versions() == []
