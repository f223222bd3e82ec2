"""The plan: what each class lacks, what that takes and what to do; the post-mortems are the fixtures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from toughcall import evidence, judging, planning, project, starting
from toughcall.cli import main
from toughcall.mining.proportions import wilson
from toughcall.mining.reasons import choose
from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate, from_confusion
from toughcall.planning import Amount, ClassPlan, answers_for, class_plans, needed
from toughcall.reading import Row
from toughcall.records import Answer, Batch, Item, Label, Pick, Scores, Text, Value, digest
from toughcall.schema import Schema
from toughcall.workspace import Silent, Workspace, opened

FOSSILS = {"NO_RELATION": (2442, 344), "occurs_in": (340, 44), "found_at": (738, 102)}
FOSSILS |= {"assigned_to": (91, 12), "part_of": (52, 14)}
CONFUSION = ((294, 24, 26, 0, 0), (7, 34, 3, 0, 0), (1, 1, 100, 0, 0), (5, 6, 1, 0, 0), (0, 14, 0, 0, 0))
CLAUSES = {
    "data_collection_extensive": (0, 9),
    "data_collection_minimal": (0, 8),
    "consent_explicit": (2, 5),
    "consent_implied": (7, 8),
    "purpose_specific": (5, 8),
    "purpose_broad": (0, 10),
}
"""Post-mortem 000: true positives and support among 44 evaluated rows; there was no false positive."""


def make(folder: Path, kind: str, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], more: str = "") -> Path:
    """Make a project whose items nobody has split; `more` is added to its project.toml."""
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = {
        "labels": dict.fromkeys(labels, ""),
        "label": "label" if rows and "label" in rows[0] else "",
        "kind": kind,
        "data": path if rows else None,
    }
    starting.make_project(folder / "p", Silent(), **given, settings={"encoder.device": "cpu"})
    with (folder / "p" / project.FILE).open("a", encoding="utf-8") as file:
        file.write(more)
    return folder / "p"


def plan_of(root: Path, positives: int = 20) -> dict[str, ClassPlan]:
    with opened(root, "test", writing=False) as ws:
        return {one.label: one for one in planning.plan(ws, positives)}


def split(ws: Workspace, held_out: Callable[[Item], bool]) -> None:
    """Give every record its part."""
    items: Sequence[Item] = ws.pool.relations() if ws.kind.spanned else ws.pool.texts()
    ws.store.add_parts(
        {text.id: "test" if held_out(item) else "train" for item in items for text in item.texts},
        {text.id: text.id for item in items for text in item.texts},
    )


def judged(ws: Workspace, reports: Sequence[Report], dead: Sequence[str]) -> None:
    """Store a retrain event as retraining writes it."""
    told = [judging.short(report) for report in reports]
    ws.store.add_event("retrain", {"version": "p-1", "dead": list(dead), "reports": told})


@pytest.fixture(scope="module")
def fossils(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Post-mortem 004 as a project: 3,663 + 516 labelled relations and the stored report with its confusion."""
    folder = tmp_path_factory.mktemp("fossils")
    rows = [
        {"text": f"[SUBJ] t{i} [/SUBJ] {part} {label} [OBJ] s{i} [/OBJ]", "label": label}
        for label, counts in FOSSILS.items()
        for part, count in zip(("train", "test"), counts, strict=True)
        for i in range(count)
    ]
    root = make(folder, "relation", rows, list(FOSSILS))
    with opened(root, "test") as ws:
        split(ws, lambda item: " test " in item.texts[0].text)
        report = from_confusion("p-1", ws.kind, ws.schema, CONFUSION)
        guess = [[sum(row), 0, 0, 0, 0] for row in CONFUSION]
        judged(ws, [from_confusion("majority", ws.kind, ws.schema, guess, role="majority"), report], report.dead)
    return root


def test_post_mortem_004_names_the_two_rare_relations_and_what_they_take(fossils: Path) -> None:
    """assigned_to (91) and part_of (52): never predicted, not measurable, confused with occurs_in, P5's 35,700."""
    found = plan_of(fossils)
    assert {name: (one.train, one.held_out) for name, one in found.items()} == FOSSILS
    assert {name for name, one in found.items() if one.judged.never_predicted} == {"assigned_to", "part_of"}
    assert {name for name, one in found.items() if one.judged.learnt} == set(FOSSILS) - {"assigned_to", "part_of"}
    part, assigned = found["part_of"], found["assigned_to"]
    assert (part.judged.confused, assigned.judged.confused) == ("occurs_in (14 of 14)", "occurs_in (6 of 12)")
    assert (part.judged.recall, part.missing, assigned.missing) == (0.0, 93 - 14, 93 - 12)
    assert part.judged.recall_high == pytest.approx(0.2153, abs=1e-3)
    assert (part.basis, part.share.low) == ("labels", None)
    assert part.share.value == pytest.approx(66 / 4179)
    assert part.next == (
        "never predicted with 52 labels: as many again",
        "import more records, all are asked: 52 take about 3,290 drawn at random",
        "say in the guideline how it differs from occurs_in",
        "measurable only with 79 more held-out (about 5,000 drawn at random): "
        "toughcall import FILE --held-out, or audits",
    )
    assert assigned.next[0] == "never predicted with 91 labels: as many again"
    assert found["found_at"].next == ("fine",)
    assert found["NO_RELATION"].judged.guess == pytest.approx(0.8, abs=1e-3)
    assert found["occurs_in"].next[0].startswith("measurable only with 49 more held-out")
    p5 = answers_for(500, Amount(0.014, None, None))
    assert (round(p5.value or 0, -2), str(p5)) == (35_700, "about 35,700")


def test_p5_a_class_of_1_4_percent_takes_35700_random_answers_for_500(tmp_path: Path) -> None:
    """P5: 14 of 1,000 labels are of the class; 500 of it take about 35,700 random answers, 198 h at 20 s each."""
    rows = [{"text": f"text {i:04d}", "label": "rare" if i < 14 else "plain"} for i in range(1000)]
    root = make(tmp_path, "multiclass", rows, ["rare", "plain"])
    with opened(root, "test") as ws:
        split(ws, lambda item: False)
        found = planning.plan(ws, 500)
        assert str(found[0].random) == "about 35,700"
        assert (found[0].want, found[1].want, found[0].missing) == (486, 0, 93)
        assert found[0].measure_random.value == pytest.approx(93 / 0.014)
        pace = planning.pace_of(ws.store.answers(), 2)
        learn, measure, plain = planning.price_rows(found, 500, pace, 30.0)
    shown = CliRunner().invoke(main, ["--project", str(root), "plan", "--positives", "500", "--price-per-hour", "30"])
    assert shown.exit_code == 0, shown.output
    assert "about 35,700" in shown.stdout
    assert "What it takes" in shown.stdout
    assert "20 s an answer is assumed" in shown.stderr
    assert (learn["class"], learn["to be"]) == ("rare", "learnable: 486 more")
    assert (learn["random"], learn["hours random"]) == ("about 34,700", "about 386")
    assert learn["price random"] == "about 11,600"
    assert (learn["mined"], learn["hours mined"], learn["price mined"]) == ("–", "–", "–")
    assert (measure["to be"], measure["random"]) == ("measurable (±0.10): 93 more", "about 6,640")
    assert plain["class"] == "plain"


def test_hours_are_the_median_of_what_persons_took() -> None:
    """Nobody timed: 20 s, and it says so; else the median of persons' answers, times the experts an item has."""
    assert str(planning.pace_of([])) == "20 s an answer is assumed, nobody's was timed yet"
    plain = {"key": "k", "item": "i", "annotator": "ana", "outcome": "label", "value": (), "batch": "", "schema": ""}
    times = [8.0, 9.0, 10.0, 30.0, 40_000.0, None]
    said = [Answer(**{**plain, "seconds": one}) for one in times]
    said += [Answer(**{**plain, "source": "oracle", "seconds": 0.1}) for _ in range(9)]
    found = planning.pace_of(said, 3)
    assert (found.seconds, found.n, found.hours(120)) == (10.0, 5, 1.0)
    assert str(found) == "10 s an answer, the median of 5, 3 experts an item"


def test_post_mortem_000_names_the_three_labels_never_predicted(tmp_path: Path) -> None:
    """291 clauses, 44 of them evaluated: three labels with recall 0 of 9, 8 and 10, 0 of 9 being 0–30 % (G4)."""
    rows = []
    for i in range(291):
        names = [name for place, name in enumerate(CLAUSES) if (i - place) % 6 == 0 and i >= 44]
        starts = np.cumsum([0, *(support for _, support in CLAUSES.values())])
        names += [name for place, name in enumerate(CLAUSES) if starts[place] <= i < starts[place + 1] and i < 44]
        # the last four supports do not fit on rows of their own
        names += ["purpose_broad"] * (i < 4)
        rows.append({"text": f"clause {i:03d}", "label": sorted(set(names))})
    root = make(tmp_path, "multilabel", rows, list(CLAUSES))
    with opened(root, "test") as ws:
        split(ws, lambda item: int(item.texts[0].text[-3:]) < 44)
        test = [one for one in ws.store.labels(ws.schema.version)[0] if ws.store.parts()[one.item] == "test"]
        judged(ws, [clauses(ws.schema, test)], [])
    found = plan_of(root)
    dead = {"data_collection_extensive", "data_collection_minimal", "purpose_broad"}
    assert {name for name, one in found.items() if one.judged.never_predicted} == dead
    assert {name: one.held_out for name, one in found.items()} == {name: n for name, (_, n) in CLAUSES.items()}
    first = found["data_collection_extensive"].judged
    assert f"{first.recall_low:.0%}–{first.recall_high:.0%}" == "0%–30%"
    assert first.confused == "", "labels that do not exclude each other are not confused"
    for name in dead:
        assert found[name].next[0] == f"never predicted with {found[name].train} labels: as many again"
    shown = CliRunner().invoke(main, ["--project", str(root), "plan"])
    assert shown.exit_code == 0
    assert shown.stdout.count("never predicted (recall 0%–") == 3


def clauses(schema: Schema, test: Sequence[Label]) -> Report:
    """The report of a model with the true positives of the post-mortem and no false ones."""
    left = {name: hits for name, (hits, _) in CLAUSES.items()}
    values = np.zeros((len(test), len(schema.labels)), np.float32)
    for row, label in enumerate(test):
        for name in label.value:
            if left[str(name)]:
                left[str(name)] -= 1
                values[row, schema.labels.index(str(name))] = 1.0
    kind = kinds.get("multilabel")
    scores = Scores(tuple(label.item for label in test), schema.labels, values, "p-1")
    return evaluate("p-1", kind, schema, test, scores, kind.plain(schema), seed=0, role="candidate")


def asked(ws: Workspace, batch: str, reason: str, items: Sequence[str], label: str = "") -> None:
    """Save a batch of picks that one reason made."""
    picks = [Pick(one, reason, 0.5, rank, 1.0, f"{label}: near") for rank, one in enumerate(items)]
    ws.store.add_batch(Batch(batch, ws.schema.version, "m", tuple(picks)))


def answered(ws: Workspace, said: Mapping[str, Value], **more: Any) -> None:
    plain = {"annotator": "ana", "outcome": "label", "batch": "b001", "schema": ws.schema.version, **more}
    ws.store.add_answers([Answer(key=digest(one), item=one, value=value, **plain) for one, value in said.items()])


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Workspace]:
    """A multiclass project of 1,000 unlabelled texts, all in the training part."""
    root = make(tmp_path, "multiclass", [{"text": f"text {i:04d}"} for i in range(1000)], ["rare", "plain"])
    with opened(root, "test") as ws:
        split(ws, lambda item: False)
        yield ws


def test_the_share_is_what_the_audit_says(texts: Workspace) -> None:
    """Wilson's interval over the drawn ones alone; mined answers, however many, say nothing of the share."""
    ids = [text.id for text in texts.pool.texts()]
    asked(texts, "b001", "random_audit", ids[:100])
    asked(texts, "b002", "rare_class", ids[100:140], "rare")
    answered(texts, {one: ("rare",) if i % 50 == 0 else ("plain",) for i, one in enumerate(ids[:90])})
    answered(texts, {one: ("rare",) if i < 10 else ("plain",) for i, one in enumerate(ids[100:140])})
    rare, plain = planning.plan(texts)
    assert rare.basis == "audit"
    assert rare.share == Amount(*wilson(2, 90))
    assert (rare.train, plain.train) == (12, 88 + 30)
    assert rare.random == Amount(20 / (2 / 90), 20 / wilson(2, 90)[2], 20 / wilson(2, 90)[1])
    assert str(rare.random) == "900 (260–3,300)"
    assert rare.mined.value == pytest.approx(20 / (10 / 40))
    assert (rare.measure_mined.value, rare.measure_random.value) == (pytest.approx(93 * 4), pytest.approx(93 * 45))
    assert [one.value for one in rare.to_learn(20)] == pytest.approx([8 * 45, 8 * 4])
    assert rare.left.value == pytest.approx(860 * 2 / 90)
    assert rare.next == (
        "mine 32 more for 8 of it",
        "measurable only with 93 more held-out (about 4,200 drawn at random): "
        "toughcall import FILE --held-out, or audits",
    )
    assert planning.plan(texts, 100)[0].mined.value == pytest.approx(400)
    assert plain.next[0].startswith("measurable only")


def test_a_class_that_the_audit_never_met(texts: Workspace) -> None:
    """0 of 60 drawn is no share of 0: at least so many answers, and write seeds, until there are some (C28)."""
    ids = [text.id for text in texts.pool.texts()]
    asked(texts, "b001", "random_audit", ids[:60])
    answered(texts, dict.fromkeys(ids[:60], ("plain",)))
    rare = planning.plan(texts)[0]
    assert (rare.share.value, rare.random.value, rare.random.high) == (0.0, None, None)
    assert rare.random.low == pytest.approx(20 / wilson(0, 60)[2])
    assert str(rare.random) == "more than 340"
    assert rare.mined == Amount(None, None, None), "a draw is not mined"
    assert rare.next[0] == 'write seeds: [seeds] rare = ["a phrase of an example"] in project.toml, then toughcall mine'
    told = evidence.evidence(texts)
    for hint in ("seed phrases", "patterns"):
        hinted = class_plans(planning.dataclasses.replace(told, hinted={"rare": hint}))[0]
        assert hinted.next[0] == f"mine 50 more by its {hint}, which shows how many 20 of it take"
    pairs = class_plans(planning.dataclasses.replace(told, phrases=False))[0]
    assert pairs.next[0] == 'write patterns: [patterns] rare = ["…"] in project.toml, or import known ones'


def test_a_pool_without_enough_of_a_class_says_import(texts: Workspace) -> None:
    """What the pool can hold at most is less than what is wanted: no mining helps."""
    ids = [text.id for text in texts.pool.texts()]
    asked(texts, "b001", "random_audit", ids[:900])
    answered(texts, {one: ("rare",) if i < 3 else ("plain",) for i, one in enumerate(ids[:900])})
    rare = planning.plan(texts)[0]
    assert rare.left.high is not None
    assert rare.left.high < 17
    assert rare.next[0].startswith("import more records, the pool holds about 1 more of it: 17 take about 5,100 drawn")


def test_only_the_newest_mined_batches_are_the_yield(texts: Workspace) -> None:
    """Three batches count; when they found none, that is said, and a fall is an alarm."""
    ids = [text.id for text in texts.pool.texts()]
    asked(texts, "b001", "random_audit", ids[900:])
    answered(texts, {one: ("rare",) if i < 20 else ("plain",) for i, one in enumerate(ids[900:])})
    for number in range(4):
        some = ids[number * 20 : number * 20 + 20]
        asked(texts, f"b{number + 2:03d}", "seeds", some, "rare")
        answered(texts, {one: ("rare",) if number == 0 and i < 15 else ("plain",) for i, one in enumerate(some)})
    rare = planning.plan(texts, 50)[0]
    assert rare.mined.value is None
    assert rare.mined.low == pytest.approx(50 / wilson(0, 60)[2])
    assert rare.next[0] == "the newest batches found none of it: 15 take more than 250 mined"
    assert rare.alarm.startswith("seeds finds less of rare: 0 of the last 20, 15 of 60 before")
    assert planning.next_rows([rare])[0] == {"class": "rare", "next": rare.alarm}


def test_silver_on_a_held_out_item_measures_nothing(texts: Workspace) -> None:
    """Rule 14: a label nobody could say no to never evaluates; a held-out gold one does."""
    records = {f"h{i}": Text(f"held {i}") for i in range(2)}
    texts.pool.add([Row(str(i), text, None, False) for i, text in enumerate(records.values())])
    texts.store.add_parts({text.id: "test" for text in records.values()}, {t.id: t.id for t in records.values()})
    gold, silver = (text.id for text in records.values())
    answered(texts, {gold: ("rare",)})
    answered(texts, {silver: ("rare",)}, source="pattern", trust="silver")
    rare = planning.plan(texts)[0]
    assert (rare.train, rare.held_out, rare.neither, rare.missing) == (0, 1, 1, 92)


def test_what_a_new_project_is_told(tmp_path: Path) -> None:
    """C18: without a record, without an answer and for numbers the plan says what to run, exit 0."""
    root = make(tmp_path, "multiclass", [], ["a", "b"])
    done = CliRunner().invoke(main, ["--project", str(root), "plan"])
    assert (done.exit_code, done.stdout.count("import records: toughcall import FILE --text COLUMN")) == (0, 2)
    assert "no model yet" in done.stdout
    (tmp_path / "n").mkdir()
    path = tmp_path / "n" / "d.jsonl"
    path.write_text('{"text": "one"}\n', encoding="utf-8")
    starting.make_project(
        tmp_path / "n" / "p", Silent(), kind="scores", dimensions="good=how good", low=0, high=1, data=path
    )
    numbers = CliRunner().invoke(main, ["--project", str(tmp_path / "n" / "p"), "plan", "--json"])
    assert (numbers.exit_code, numbers.stdout) == (0, "")
    assert "kind scores asks for numbers" in numbers.stderr


def test_json_says_the_same(fossils: Path) -> None:
    """One object a class, numbers as numbers."""
    done = CliRunner().invoke(main, ["--project", str(fossils), "plan", "--json", "--positives", "500"])
    rows = {row["class"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == list(FOSSILS)
    assert rows["part_of"]["judged"]["never_predicted"] is True
    assert rows["part_of"]["random"]["value"] == pytest.approx(500 / (66 / 4179))
    assert (rows["part_of"]["measurable"], rows["found_at"]["measurable"]) == (False, True)
    assert isinstance(rows["part_of"]["next"], list)


@pytest.mark.usefixtures("quick")
def test_c28_a_real_project_looks_for_what_nobody_found(tmp_path: Path) -> None:
    """C28: what a project gives the rare reasons finds the needles by a phrase, by a pattern, then by their likes."""
    needles = [
        "Lava ran down the slope of the volcano",
        "The volcano threw ash over the town",
        "A crater full of magma",
    ]
    rows = [{"text": f"The {word} is late {when}"} for word in ("bus", "tram", "ferry", "train") for when in "abcdefgh"]
    more = "[seeds]\neruption = ['a mountain spits fire']\n[patterns]\neruption = ['\\bash\\b', 'late']\n"
    root = make(tmp_path, "multilabel", [*rows, *({"text": text} for text in needles)], ["eruption", "delay"], more)
    with opened(root, "test") as ws:
        assert len(ws.vectors.ids) == len(rows) + 3
        items = {text.id: text for text in ws.pool.texts()}
        lava, ash, crater = (next(one for one, item in items.items() if item.text == text) for text in needles)

        def picks(reason: str, train: Sequence[Label], n: int) -> list[Pick]:
            context = evidence.rare_context(ws, train, items)
            open_ = [one for one in items if one not in {label.item for label in train}]
            scores = Scores(tuple(open_), ws.schema.labels, np.full((len(open_), 2), 0.5, np.float32), "m")
            counts = {name: sum(name in label.value for label in train) for name in ws.schema.labels}
            return choose(reason, scores, n, rng=np.random.default_rng(0), vectors=ws.vectors, counts=counts, **context)

        by_phrase = [one for one in picks("seeds", [], 6) if one.note.startswith("eruption: no label yet")]
        assert {one.item for one in by_phrase} == {lava, ash, crater}
        assert "seed phrase 1 of 1" in by_phrase[0].note
        assert any(
            "delay: no label yet, the guess is from its description" in one.note for one in picks("seeds", [], 6)
        )
        train = [Label(lava, ("eruption",)), *(Label(one, ()) for one in sorted(items) if "late" in items[one].text)]
        [first] = picks("patterns", train, 1)
        assert (first.item, first.note) == (
            ash,
            "eruption: matches '\\\\bash\\\\b', none of its matches is answered yet",
        )
        assert {one.item for one in picks("known_neighbours", train, 2)} == {ash, crater}
    shown = CliRunner().invoke(main, ["--project", str(root), "plan"])
    assert shown.exit_code == 0, shown.stderr
    assert "mine 50 more by its seed phrases" in shown.stdout
    assert shown.stdout.split("Patterns\n")[1].splitlines()[2].split()[:5] == ["\\bash\\b", "eruption", "1", "0", "0"]


def test_what_is_needed_is_the_least_that_is_enough() -> None:
    """± 0.10 on a recall of a half: 93 positives, not 92, by the interval itself."""
    assert needed() == 93
    for n, enough in ((93, True), (92, False)):
        z2 = 1.959964**2
        width = 1.959964 * np.sqrt(0.25 / n + z2 / (4 * n * n)) / (1 + z2 / n)
        assert bool(width <= 0.10) == enough
    assert (wilson(47, 94)[2] - wilson(47, 94)[1]) / 2 < 0.10
