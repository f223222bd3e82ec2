"""Estimates from the ledger: what was drawn measures, what was mined counts for itself, what trained never judges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from toughcall import estimating, starting
from toughcall.cli import main
from toughcall.estimating import common, ground, judged, rows_of
from toughcall.planning import plan
from toughcall.records import Answer, Batch, Item, Pick, Scores, UsageError, Vectors, digest
from toughcall.workspace import Silent, Workspace, opened

N = 60


def truth(item: str) -> tuple[str, ...]:
    """Return an item's label: a third of them are 'yes', by their content."""
    return ("yes",) if int(digest("truth", item)[:6], 16) % 3 == 0 else ("no",)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A project of 60 training records and 10 held out, whose vectors nobody needs."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": f"record {n}"}) + "\n" for n in range(N + 10)), encoding="utf-8")
    starting.make_project(tmp_path / "p", Silent(), kind="multiclass", data=path, labels={"yes": "", "no": ""})
    with opened(tmp_path / "p", "test") as made:
        ids = sorted(text.id for text in made.pool.texts())
        made.store.add_parts({one: "test" if row >= N else "train" for row, one in enumerate(ids)}, {i: i for i in ids})
        made.__dict__["vectors"] = Vectors(tuple(ids), np.zeros((len(ids), 1), np.float32), "none")
        yield made


def train_ids(ws: Workspace) -> list[str]:
    """Return the ids of the training part."""
    return sorted(one for one, part in ws.store.parts().items() if part == "train")


def asked(ws: Workspace, name: str, mined: Sequence[str], audited: Sequence[str], answered: int | None = None) -> None:
    """Save a batch and answer it, or only its first items."""
    picks = [*(Pick(one, "in_band", 0.5, 0) for one in mined), *(Pick(o, "random_audit", 0.1, 0, 0.1) for o in audited)]
    ws.store.add_batch(Batch(name, ws.schema.version, "m1", tuple(picks)))
    some = [pick.item for pick in picks][:answered]
    ws.store.add_answers(
        [Answer(digest(name, one), one, "anna", "label", truth(one), name, ws.schema.version) for one in some]
    )


def test_each_audit_is_drawn_from_what_was_left_then(ws: Workspace) -> None:
    """The second audit knows nothing of what the first batch asked; what was asked before is not left."""
    ids = train_ids(ws)
    asked(ws, "b001", ids[:5], ids[5:9])
    asked(ws, "b002", ids[9:14], ids[14:20])
    found = ground(ws)
    train = [row for row, one in enumerate(found.answers.ids) if one in set(ids)]
    (one, first), (two, second) = found.audits
    assert (one, two) == ("b001", "b002")
    assert (int(first.left[train].sum()), int(first.drawn.sum())) == (N, 4)
    assert (int(second.left[train].sum()), int(second.drawn.sum())) == (N - 9, 6)
    assert not (first.drawn & second.drawn).any()
    assert found.measuring == {"b001", "b002"}
    assert int(found.answers.known[:, 0].sum()) == 20


def test_a_pool_that_was_asked_to_its_end_is_counted(ws: Workspace) -> None:
    """With every answer there the share is the share, without any doubt."""
    ids = train_ids(ws)
    held = [text.id for text in ws.pool.texts() if text.id not in ids]
    asked(ws, "b001", [*ids[:40], *held], ids[40:])
    share, left = common(ground(ws))
    yes = sum(truth(text.id) == ("yes",) for text in ws.pool.texts()) / (N + 10)
    assert (share["yes"].value, share["yes"].low, share["yes"].high) == (pytest.approx(yes),) * 3
    assert left["yes"].high == 0


def test_mined_answers_do_not_move_the_estimate_of_the_rest(ws: Workspace) -> None:
    """Thirty mined members make a class no more common among what nobody was asked about."""
    ids = train_ids(ws)
    members = [one for one in ids if truth(one) == ("yes",)]
    others = [one for one in ids if one not in members]
    asked(ws, "b001", members[:10], others[:12])
    share, left = common(ground(ws))
    assert share["yes"].value is not None
    assert share["yes"].value < 0.3
    assert left["yes"].value == pytest.approx(0.0, abs=2.0)


def test_an_audit_of_the_held_out_part_says_how_common_a_class_is_and_judges_no_model(ws: Workspace) -> None:
    """It fills the test part: the gate measures with it, on its own terms."""
    ids = train_ids(ws)
    held = sorted(text.id for text in ws.pool.texts() if text.id not in ids)
    asked(ws, "b001", ids[:3], held[:4])
    found = ground(ws)
    assert (len(found.audits), found.measuring) == (1, frozenset())
    assert common(found)[0]["yes"].n == 4
    assert judged(ws, found) == []


class Always:
    """A model that says yes to whatever it is asked to."""

    name, thresholds = "m1", np.array([0.5, 0.5], np.float32)

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return P(yes) = 0.9 for true members and for every fifth other item."""
        said = [truth(item.id) == ("yes",) or n % 5 == 0 for n, item in enumerate(items)]
        return Scores(
            tuple(i.id for i in items), ("yes", "no"), np.array([[0.9, 0.1] if y else [0.1, 0.9] for y in said]), "m1"
        )


def test_a_model_is_judged_on_the_audit_it_asked(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recall 1 and a precision below it, as planted; audits nobody answered and models that are gone say nothing."""
    ids = train_ids(ws)
    monkeypatch.setattr(estimating, "_model", lambda ws, name: Always())
    asked(ws, "b001", ids[:4], ids[4:34])
    asked(ws, "b002", ids[34:36], ids[36:40], answered=2)
    found = ground(ws)
    kept = judged(ws, found)
    assert [name for name, _ in kept] == ["b001"]
    rows, told = rows_of(ws)
    row = next(one for one in rows if one["class"] == "yes")
    assert row["recall"].startswith("1.00 [")
    assert 0.5 < float(row["precision"].split()[0]) < 1.0
    assert any("b001" in sentence and "had not seen" in sentence for sentence in told)
    monkeypatch.setattr(estimating, "_model", lambda ws, name: None)
    assert judged(ws, found) == []


def test_without_an_audit_the_table_says_what_is_possible(ws: Workspace) -> None:
    """No figure out of nothing; the sentence says where one comes from."""
    rows, told = rows_of(ws)
    assert rows[0]["share of the pool"] == "not known yet, in [0.0%, 100.0%]"
    assert "toughcall round asks" in told[0]


def test_numbers_have_no_classes_to_estimate(tmp_path: Path) -> None:
    """One sentence instead of an empty table."""
    starting.make_project(tmp_path / "p", Silent(), kind="scores", dimensions="depth=how deep")
    with opened(tmp_path / "p", "test") as ws, pytest.raises(UsageError, match="gives numbers, no classes"):
        ground(ws)


def test_the_command_answers_in_an_empty_project(tmp_path: Path) -> None:
    """Bad or no data: rows or a sentence, never a traceback."""
    starting.make_project(tmp_path / "p", Silent(), kind="multiclass", labels="a,b")
    done = CliRunner().invoke(main, ["--project", str(tmp_path / "p"), "estimates", "--json"])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["class"] for line in done.stdout.splitlines()] == ["a", "b"]


def test_a_plan_never_counts_the_banded_audit_of_pairs_as_if_it_were_uniform(tmp_path: Path) -> None:
    """Three similar pairs of four audited are not 75 % of all pairs: the plan says "labels" and gives no interval."""
    path = tmp_path / "pairs.jsonl"
    rows = [{"a": f"one {n}", "b": f"two {n}"} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    starting.make_project(tmp_path / "p", Silent(), kind="pair", data=path, text="a", text_b="b")
    with opened(tmp_path / "p", "test") as ws:
        ids = sorted(pair.id for pair in ws.pool.pairs())
        picks = tuple(Pick(one, "random_audit", 0.5, row, 0.5) for row, one in enumerate(ids[:4]))
        ws.store.add_batch(Batch("b001", ws.schema.version, "m1", picks))
        said = ["similar", "similar", "similar", "not_similar"]
        ws.store.add_answers(
            [
                Answer(digest("a", one), one, "anna", "label", (value,), "b001", ws.schema.version)
                for one, value in zip(ids[:4], said, strict=True)
            ]
        )
        (similar, _) = plan(ws)
        assert (similar.basis, similar.share.low, similar.share.high) == ("labels", None, None)
