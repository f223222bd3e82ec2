"""Stop or spend: from the retrains in the ledger or from parts of the labels, in figures, hours and money."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from worlds import multiclass

from toughcall import spending
from toughcall.cli import main
from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate
from toughcall.model.kind import Kind
from toughcall.model.learning_curve import Curve, Told
from toughcall.model.train import Basis
from toughcall.records import Answer, IntegrityError, Label, Scores, Text, Vectors
from toughcall.spending import Series, advise, comparable, retrained
from toughcall.workspace import Silent, Workspace, opened

Make = Callable[..., Path]


@pytest.fixture
def ws(make_project: Make) -> Iterator[Workspace]:
    """A multiclass project without records: what the ledger says is enough."""
    with opened(make_project(), "test") as made:
        yield made


def report(value: float | None, n: int = 400, metric: str = "macro_f1", half: float = 0.004) -> dict[str, Any]:
    """What a retrain event stores of its candidate."""
    row = {"label": "food", "support": 40, "predicted": 40, "precision": value, "recall": value, "f1": value}
    end = {"low": None if value is None else value - half, "high": None if value is None else value + half}
    return {"role": "candidate", "metric": metric, "n": n, "value": value, **end, "per_class": [row]}


def add(ws: Workspace, figures: dict[int, float | None], **more: Any) -> None:
    """Store one retrain at each number of labels."""
    for labels, value in figures.items():
        told = [{"role": "majority", "per_class": []}, report(value, **more)]
        ws.store.add_event("retrain", {"version": f"p-{labels}", "labels": labels, "reports": told})


MEASURE = "--measure"
CLIMBING: dict[int, float | None] = {n: 0.9 - 3.0 * n**-0.5 for n in (100, 200, 400, 800)}
FLAT: dict[int, float | None] = {100: 0.8, 400: 0.8005, 1600: 0.8, 6400: 0.8004}


def test_003_one_size_tells_nothing(make_project: Make) -> None:
    """003: with 3,778 articles and a weighted MAE of 0.934 nobody can say that 7,000-10,000 bring 0.8."""
    root = make_project("scores", asked={"dimensions": {"joy": {"low": 0, "high": 10}}})
    with opened(root, "test") as ws:
        add(ws, {3778: 0.934}, n=472, metric="weighted_mae", half=0.04)
        found = spending.spending(ws, gain=0.134)
    assert found.advice == "cannot be told"
    assert (
        "nothing can be told from fewer than 3 different numbers of labels, only 1 of them measured" in found.sentence
    )
    assert "(3,778 labels)" in found.sentence
    assert "toughcall plan --measure" in found.sentence
    assert found.rows[0]["needed"] == [None, None, None]
    shown = CliRunner().invoke(main, ["--project", str(root), "plan", "--gain", "0.134"])
    assert shown.exit_code == 0, shown.output
    assert "cannot be told" in shown.stdout.split("weighted_mae")[1]


def test_a_curve_that_climbs_says_spend_and_what_a_gain_takes(ws: Workspace) -> None:
    """A batch brings more than anybody would miss; +0.03 takes about 800 more labels, hours and money with it."""
    add(ws, CLIMBING)
    ws.store.add_answers(
        [Answer(str(i), f"i{i}", "ana", "label", ("food",), "b", ws.schema.version, seconds=36.0) for i in range(5)]
    )
    found = spending.spending(ws, gain=0.02, price=40.0)
    assert (found.advice, found.pace.seconds, found.source) == ("spend", 36.0, "the retrains so far")
    assert found.sentence.startswith("spend: 16 batches (800 labels) makes macro_f1 better by 0.03")
    assert found.sentence.endswith("more than 0.02; that takes 8.0 h, 320 at 40 an hour")
    main_row, food = found.rows
    assert (main_row["figure"], food["figure"], main_row["labels"]) == ("macro_f1", "F1 of food", 800)
    value, low, high = main_row["needed"]
    goal = (3.0 / (0.9 - CLIMBING[800] - 0.02)) ** 2 - 800  # type: ignore[operator]
    assert value == pytest.approx(goal, rel=0.1)
    assert low <= goal <= high
    assert main_row["hours"][0] == pytest.approx(value / 100)
    assert main_row["price"][0] == pytest.approx(value / 100 * 40)
    wide, narrow = (one["gain"][2] - one["gain"][1] for one in (food, main_row))
    assert wide > narrow, "forty members of the class say less than 400 rows"
    assert spending.shown(main_row)["+0.02 takes"].startswith(f"{round(value + 5, -1):,.0f} (")
    assert set(spending.shown(main_row)) == {
        *("figure", "labels", "now", "800 more bring", "+0.02 takes", "hours", "price")
    }


def test_a_curve_that_is_flat_says_stop(ws: Workspace) -> None:
    """Nothing brings 0.005 any more: the slope itself cannot be told from 0, its upper end can."""
    add(ws, FLAT)
    found = spending.spending(ws)
    assert found.advice == "stop"
    assert found.sentence.startswith("stop: the next batch (50 labels) makes macro_f1 better by at most 0.000")
    assert "less than 0.005" in found.sentence
    assert found.rows == (), "a table is printed when it is asked for"
    assert spending.spending(ws, gain=0.00001, batches=1).advice == "cannot be told"


def test_what_lies_in_between_cannot_be_told() -> None:
    """The advice follows the interval of the gain: above the least, below it, or on both sides of it."""
    found = np.array([0.8, 0.1, 0.5])
    series = Series("macro_f1", (), 100)

    def curve(*b: float) -> Curve:
        drawn = np.array([[0.8, one, 0.5] for one in b])
        return Curve((50, 100), Told(0.1, 0.05, 0.2), "", 1, found, drawn)

    assert advise(curve(0.09, 0.11), series, 100, 0.02)[0] == "spend"
    assert advise(curve(0.09, 0.11), series, 100, 0.04)[0] == "stop"
    word, sentence = advise(curve(0.05, 0.15), series, 100, 0.025)
    assert word == "cannot be told"
    assert "better by 0.029 (0.01" in sentence
    assert "0.025 lies in between" in sentence


def test_only_figures_on_the_same_rows_make_a_curve() -> None:
    """A new seal, another metric or other rows begin anew; retrains nobody judged and baselines do not count."""
    one, two, three = ({"labels": n, "reports": [report(0.5 + n / 1000)]} for n in (100, 200, 300))
    other = {"labels": 250, "reports": [report(0.9, n=500)]}
    unjudged = {"labels": 260, "reports": []}
    only_baseline = {"labels": 270, "reports": [{"role": "majority", "value": 0.3, "metric": "macro_f1", "n": 400}]}
    undefined = {"labels": 280, "reports": [report(None)]}
    plain = [("retrain", each) for each in (one, other, unjudged, only_baseline, undefined, two, three)]
    assert comparable(plain) == [one, two, three]
    assert comparable([("retrain", one), ("seal", {"items": []}), ("retrain", two), ("retrain", three)]) == [two, three]
    assert comparable([*plain, ("retrain", {**three, "reports": [report(0.3, metric="roc_auc")]})])[0]["labels"] == 300
    assert comparable([("push", {}), ("retrain", {"reports": [report(0.5)]})]) == []


def stored(n: int, version: str, ids: Sequence[str]) -> Report:
    """A report with rows: the later model is right wherever the earlier one is, and on some rows more."""
    kind, schema = kinds.get("multiclass"), kinds.get("multiclass").schema(("animal", "machine", "food"))
    labels = [Label(one, (schema.labels[row % 3],)) for row, one in enumerate(ids)]
    said = [row % 3 if row * 37 % 100 < n else (row + 1) % 3 for row in range(len(ids))]
    scores = Scores(tuple(ids), schema.labels, np.eye(3, dtype=np.float32)[said], version)
    return evaluate(version, kind, schema, labels, scores, kind.plain(schema), seed=0, role="candidate")


def test_stored_rows_are_drawn_together(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models judged on the same stored rows differ by less than their intervals say; a damaged one is said."""
    ids = [f"i{row:03d}" for row in range(150)]
    made = {f"p-{n}": stored(right, f"p-{n}", ids) for n, right in ((50, 60), (100, 70), (200, 78), (400, 84))}
    for version, one in made.items():
        flat = {key: value for key, value in one.to_json().items() if key != "rows"}
        ws.store.add_event("retrain", {"version": version, "labels": int(version[2:]), "reports": [flat]})
    apart = retrained(ws)
    monkeypatch.setattr(type(ws.registry), "versions", lambda self: list(made))
    monkeypatch.setattr(type(ws.registry), "report", lambda self, version: made[version])
    together = retrained(ws)
    names = ["macro_f1", "F1 of animal", "F1 of machine", "F1 of food"]
    assert [one.figure for one in together] == [one.figure for one in apart] == names
    assert [p.value for p in together[1].points] == pytest.approx([p.value for p in apart[1].points])
    assert [p.low for p in together[1].points] == pytest.approx([p.low for p in apart[1].points], abs=0.03)
    a, b = (one[0].curve(0).slope for one in (apart, together))
    assert (b.high or 0.0) - (b.low or 0.0) < 0.8 * ((a.high or 0.0) - (a.low or 0.0))
    made["p-50"] = stored(60, "p-50", [*ids[:-1], "other"])
    assert retrained(ws)[0].draws is None, "rows that differ are not drawn together"

    def damaged(self: Any, version: str) -> Report:
        raise IntegrityError(f"{version} is damaged: toughcall doctor says where")

    said: list[str] = []
    monkeypatch.setattr(type(ws.registry), "report", damaged)
    monkeypatch.setattr(ws.telling, "say", said.append, raising=False)
    assert retrained(ws)[0].draws is None
    assert said == ["p-50 is damaged: toughcall doctor says where; the stored intervals are used instead"]


def test_the_least_gain_is_in_the_units_of_the_figure(make_project: Make, ws: Workspace) -> None:
    """0.005 of an F1; of numbers from 0 to 10 as much of their range."""
    assert spending.noticed(ws.schema) == 0.005
    root = make_project("scores", name="s", asked={"dimensions": {"joy": {"low": 0, "high": 10}}})
    with opened(root, "test") as other:
        assert spending.noticed(other.schema) == pytest.approx(0.05)


def test_a_number_of_labels_in_words() -> None:
    """An interval without an end says never; a value that is never reached says from where on it may be."""
    needed = {(1400.0, 900.0, 2300.0): "1,400 (900–2,300)", (1400.0, 900.0, None): "1,400 (900–never)"}
    needed |= {(None, None, None): "never", (None, 900.0, None): "more than 900"}
    assert {key: spending._needed(key) for key in needed} == needed


def test_json_of_what_was_asked(ws: Workspace) -> None:
    """The advice and a row per figure are printed when one of the options asks for them, and never otherwise."""
    add(ws, CLIMBING)
    root = str(ws.project.root)
    plain = CliRunner().invoke(main, ["--project", root, "plan", "--json"])
    assert all("class" in json.loads(line) for line in plain.stdout.splitlines())
    asked = CliRunner().invoke(main, ["--project", root, "plan", "--json", "--batches", "4", "--gain", "0.006"])
    assert asked.exit_code == 0, asked.output
    advice, figure, _ = [row for row in map(json.loads, asked.stdout.splitlines()) if "class" not in row]
    assert (advice["advice"], advice["timed"], advice["people"]) == ("spend", 0, 1)
    assert (figure["more"], figure["for"], figure["reason"]) == (200, 0.006, "")
    assert CliRunner().invoke(main, ["--project", root, "plan", "--gain", "0"]).exit_code == 2


class Heard(Silent):
    """Keeps how far a bar came."""

    def __init__(self) -> None:
        self.bars: dict[str, list[tuple[int, int]]] = {}

    def bar(self, what: str) -> Callable[[int, int], None]:
        """Remember each step."""
        return lambda done, total: self.bars.setdefault(what, []).append((done, total))


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A project of 56 labelled sentences with made vectors, a third of them held out, near-duplicates in twos."""
    monkeypatch.setattr(Kind, "settings", Kind.settings[4:5])
    world = multiclass()
    with opened(world.make(tmp_path), "test", Heard()) as ws:
        texts = sorted(ws.pool.texts(), key=lambda text: text.id)
        world.answer(ws, [text.id for text in texts])
        ws.store.add_parts(
            {text.id: "test" if row % 6 < 2 else "train" for row, text in enumerate(texts)},
            {text.id: f"g{row // 2}" for row, text in enumerate(texts)},
        )
        drawn = np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32)
        drawn[:, 0] += [3.0 if world.truth(text) == ("animal",) else -3.0 for text in texts]
        ws.__dict__["vectors"] = Vectors(tuple(text.id for text in texts), drawn, "made")
        ws.__dict__["hint_vectors"] = np.eye(2, 8, dtype=np.float32)
        yield ws


def test_measuring_trains_on_nested_parts_and_never_looks_at_the_sealed_test(
    labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5, C61: 3 seeds of 1/8 to all training labels, measured on a fifth that they share no group with."""
    fitted: list[tuple[set[int], set[int]]] = []
    seen: list[str] = []
    part = spending._part

    def spied(basis: Basis, labels: Sequence[Label], rows: Sequence[int], held: Sequence[int], seed: int) -> Any:
        seen[:] = [label.item for label in labels]
        assert [item.id for item in basis.items] == seen
        fitted.append((set(rows), set(held)))
        return part(basis, labels, rows, held, seed)

    monkeypatch.setattr(spending, "_part", spied)
    found = spending.spending(labelled, gain=0.05, measure=True)
    assert found.source == "parts of the training labels"
    assert labelled.telling.bars == {"training on parts of the labels": [(n, 12) for n in range(1, 13)]}  # type: ignore[attr-defined]
    assert len(fitted) == 12
    parts, groups = labelled.store.parts(), labelled.store.groups()
    assert set(seen) == {one for one, side in parts.items() if side == "train"}
    assert len(seen) > 30
    for seed in range(3):
        own = fitted[4 * seed : 4 * seed + 4]
        (first, held), (last, _) = own[0], own[-1]
        assert all(a < b for (a, _), (b, _) in pairwise(own))
        assert all(one == held for _, one in own)
        assert last | held == set(range(len(seen)))
        assert not {groups[seen[row]] for row in last} & {groups[seen[row]] for row in held}
        assert len(first) == round(len(last) / 8)
    assert len({frozenset(held) for _, held in fitted}) == 3


def test_a_size_that_teaches_nothing_is_left_out(labelled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one seed's eighth holds too few classes that size has no point; the others keep theirs."""
    part = spending._part
    small: list[int] = []

    def failing(basis: Basis, labels: Sequence[Label], rows: Sequence[int], held: Sequence[int], seed: int) -> Any:
        small.append(len(rows))
        return None if len(small) == 1 else part(basis, labels, rows, held, seed)

    monkeypatch.setattr(spending, "_part", failing)
    series = spending.measured(labelled)
    assert labelled.store.events("seal") == []
    assert len(series[0].points) == 3
    assert series[0].start > max(small) >= max(p.n for p in series[0].points) - 1
    assert [one.figure for one in series] == ["macro_f1", "F1 of animal", "F1 of machine"]
    assert all(p.low <= p.value <= p.high for p in series[0].points)
    assert series[0].points[-1].value > 0.8


def test_only_one_measures_at_a_time(make_project: Make) -> None:
    """P16: measuring may embed and freeze the split, so it holds the lock; reading the ledger never waits."""
    root = make_project()
    with opened(root, "mine"):
        codes = [
            CliRunner().invoke(main, ["--project", str(root), "plan", *more]).exit_code for more in ([], [MEASURE])
        ]
    assert codes == [0, 7]


def test_measuring_needs_labels(make_project: Make) -> None:
    """With a handful of labels nothing is trained, and the answer says so."""
    with opened(make_project(), "test") as ws:
        text = Text("a dog")
        ws.__dict__["vectors"] = Vectors((text.id,), np.ones((1, 2), np.float32), "none")
        found = spending.spending(ws, measure=True)
    assert (found.advice, found.rows) == ("cannot be told", ())
    assert "none measured" in found.sentence
    assert "--measure" not in found.sentence, "what was just done is no advice"
