"""The replayed loop: equal starts, honest pairs of seeds, nothing asked twice, a sentence that follows the interval."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from worlds import ANIMALS, MACHINES, hasten

from toughcall import simulating, simulation, starting
from toughcall.cli import main
from toughcall.model.kinds import KINDS
from toughcall.model.scorers import Untouched
from toughcall.model.train import Basis
from toughcall.records import Label, Text, UsageError, Vectors
from toughcall.settings import MineSettings
from toughcall.simulation import RANDOM, Bench, Curve, Plan, compare, replay, strategies_of
from toughcall.workspace import Silent

SETTINGS = MineSettings()
NAMES = ("common", "other", "rare")


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Three clouds of 240 texts, one of 12 of them; the last third measures."""
    rng = np.random.default_rng(5)
    home = rng.choice(3, size=360, p=[0.6, 0.36, 0.04])
    centre = rng.normal(size=(3, 24))
    array = centre[home] + rng.normal(scale=1.4, size=(360, 24))
    array = (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)
    texts = [Text(f"text number {n}") for n in range(360)]
    answers = [Label(text.id, (NAMES[one],)) for text, one in zip(texts, home, strict=True)]
    kind = KINDS["multiclass"]
    schema = kind.schema(NAMES)
    vectors = Vectors(tuple(text.id for text in texts), array, "made up")
    basis = Basis.of(kind, schema, texts, vectors, corpus=["text"], seed=0)
    return Bench(kind, schema, basis, answers, 240, vectors, Untouched(kind, schema, array[:3]))


def test_every_strategy_starts_from_the_same_labels_and_asks_nothing_twice(bench: Bench) -> None:
    """What differs between two curves of one seed is what was asked, not where they began; budgets are exact."""
    plan = Plan(start=20, batch=20, budget=80)
    all_ = strategies_of(bench.kind, bench.schema, {})
    curves = [replay(bench, name, mix, seed=1, plan=plan, settings=SETTINGS) for name, mix in all_.items()]
    assert len({curve.values[0] for curve in curves}) == 1
    assert {curve.budgets for curve in curves} == {(20, 40, 60, 80)}
    assert len({curve.values for curve in curves}) == len(curves)
    assert all(list(curve.rare) == sorted(curve.rare) for curve in curves)
    again = replay(bench, "queue", all_["queue"], seed=1, plan=plan, settings=SETTINGS)
    assert again == curves[0]


def test_a_whole_pool_is_asked_to_its_end_and_each_item_once(bench: Bench) -> None:
    """With every label bought all strategies hold the same labels, and so reach the same figure."""
    plan = Plan(start=30, batch=70, budget=10_000)
    ends = [
        replay(bench, name, mix, seed=0, plan=plan, settings=SETTINGS)
        for name, mix in (("random", {"random_audit": 1.0}), ("margin", {"margin": 1.0}))
    ]
    rare = sum(label.value == ("rare",) for label in bench.answers[: bench.pool])
    assert [curve.budgets[-1] for curve in ends] == [240, 240]
    assert [curve.rare[-1] for curve in ends] == [rare, rare]
    assert ends[0].values[-1] == ends[1].values[-1]


def test_asking_for_rare_classes_finds_more_of_them_than_random_order(bench: Bench) -> None:
    """What a strategy is for shows in its curve."""
    plan = Plan(start=30, batch=20, budget=90)

    def found(mix: dict[str, float]) -> int:
        return sum(replay(bench, "x", mix, seed=s, plan=plan, settings=SETTINGS).rare[-1] for s in range(4))

    assert bench.rare() == ("rare",)
    assert found({"rare_class": 1.0}) > 1.5 * found({"random_audit": 1.0})


def test_start_zero_asks_the_first_batch_with_the_encoder_as_it_came(bench: Bench) -> None:
    """As a real project begins: typical items, not uncertain ones, and no label before."""
    plan = Plan(start=0, batch=30, budget=60)
    curve = replay(bench, "queue", bench.kind.quotas, seed=0, plan=plan, settings=SETTINGS)
    assert curve.budgets == (30, 60)
    assert len(curve.values) == len(curve.rare) == 2
    doubt, typical = (
        replay(bench, reason, {reason: 1.0}, seed=0, plan=plan, settings=SETTINGS) for reason in ("in_band", "diverse")
    )
    assert doubt.values[0] == typical.values[0]
    assert doubt.values[1] != typical.values[1]


def test_what_cannot_be_learnt_is_measured_as_the_encoder_as_it_came(bench: Bench) -> None:
    """Two labels teach nothing: the curve begins at the untouched figure instead of a gap."""
    curve = replay(bench, "x", {"random_audit": 1.0}, seed=0, plan=Plan(2, 2, 4), settings=SETTINGS)
    assert curve.values[0] is not None
    assert (
        curve.values[0] == replay(bench, "y", {"margin": 1.0}, seed=3, plan=Plan(2, 2, 2), settings=SETTINGS).values[0]
    )


def curve(name: str, seed: int, values: Sequence[float | None], rare: int = 4) -> Curve:
    """Return a made-up curve over 10, 20, … labels."""
    return Curve(name, seed, tuple(10 * (n + 1) for n in range(len(values))), tuple(values), {}, (0, rare))


PAIRED = [
    *(curve(RANDOM, s, (0.2 + s / 10, 0.4 + s / 10)) for s in range(3)),
    *(curve("queue", s, (0.3 + s / 10, 0.5 + s / 10 + s / 100), 12) for s in range(3)),
]


def test_strategies_are_compared_seed_by_seed_with_a_t_interval() -> None:
    """Gains 0.100, 0.105, 0.110: by hand 0.105 ± 4.303 · 0.005 / √3; unpaired it would be 20 times as wide."""
    aim, (chance, queue) = compare(PAIRED, "macro_f1")
    assert aim == pytest.approx(0.5)
    assert (chance.low, chance.gain, chance.rare_ratio) == (None, 0.0, 1.0)
    assert queue.gain == pytest.approx(0.105)
    assert (queue.low, queue.high) == (pytest.approx(0.09258, abs=1e-5), pytest.approx(0.11742, abs=1e-5))
    assert (queue.rare, queue.rare_ratio) == (12, 3.0)
    # random order reaches its own end at 20; the queue goes from 0.40 to 0.61, so it passes 0.5 at 10 + 10 · 0.1 / 0.21
    assert chance.reached == 20
    assert queue.reached == pytest.approx(10 + 10 * 0.1 / 0.21)


def test_an_error_is_better_when_smaller() -> None:
    """The same numbers read as errors turn the sign, and the target is reached from above."""
    _, (_, queue) = compare(PAIRED, "weighted_mae", target=0.3)
    assert queue.gain == pytest.approx(-0.105)
    assert queue.reached is None


def test_a_gap_in_a_curve_gives_no_interval_and_no_claim() -> None:
    """A figure that is not there is no zero."""
    torn = [
        dataclasses.replace(one, values=(None, one.values[1])) if one.strategy == "queue" else one for one in PAIRED
    ]
    _, (_, queue) = compare(torn, "macro_f1")
    assert (queue.low, queue.high) == (None, None)
    assert "too few seeds" in simulating.verdict(compare(torn, "macro_f1")[1])


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 2, 3)])
def test_strategies_with_other_seeds_are_not_compared(seeds: tuple[int, ...]) -> None:
    """Pairs need partners."""
    others = [one for one in PAIRED if one.strategy == "queue"]
    with pytest.raises(ValueError, match="same seeds"):
        compare([*others, *(curve(RANDOM, s, (0.1, 0.2)) for s in seeds)], "macro_f1")


@pytest.mark.parametrize(
    ("shift", "says"), [(0.0, "the queue beats"), (-0.3, "random order beats"), (-0.1, "the interval reaches 0")]
)
def test_the_sentence_follows_the_interval(shift: float, says: str) -> None:
    """Three outcomes, each with its figures."""
    moved = [
        dataclasses.replace(one, values=tuple((v or 0) + shift for v in one.values)) if one.strategy == "queue" else one
        for one in PAIRED
    ]
    assert says in simulating.verdict(compare(moved, "macro_f1")[1])


def test_too_little_data_is_refused_in_one_sentence() -> None:
    """Nothing is replayed where nothing could be decided."""
    with pytest.raises(UsageError, match=r"240 labelled items to ask .* toughcall import FILE --label"):
        simulation.check(240, 120, Plan(batch=121))
    with pytest.raises(UsageError, match="5 to measure"):
        simulation.check(355, 5, Plan())


STANDARD: dict[str, Any] = {"queue": {"in_band": 1.0}, RANDOM: {"random_audit": 1.0}}


def test_a_mix_from_the_command_line_brings_random_order_with_it() -> None:
    """A comparison without its control is none."""
    found = simulating.mixes(["mine=in_band:0.5,diverse"], STANDARD, ["in_band", "diverse"])
    assert found == {"mine": {"in_band": 0.5, "diverse": 1.0}, RANDOM: STANDARD[RANDOM]}
    assert simulating.mixes([], STANDARD, []) == STANDARD


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("quee", "no strategy 'quee': choose queue, random"),
        ("a=in_bnd:1", "'in_bnd:1' is no reason"),
        ("a=in_band:x", "'x' in --strategy .* is no number"),
        ("a=in_band:-1", "no reason with a share"),
    ],
)
def test_a_mix_with_a_mistake_is_refused(text: str, says: str) -> None:
    """One sentence: what and where."""
    with pytest.raises(UsageError, match=says):
        simulating.mixes([text], STANDARD, ["in_band"])


def test_curves_survive_a_torn_last_line(tmp_path: Path) -> None:
    """A killed run goes on from what it finished."""
    path = tmp_path / "curves.jsonl"
    simulating.keep(path, "k0", PAIRED[0])
    simulating.keep(path, "k1", PAIRED[1])
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + whole[:40], encoding="utf-8")
    assert dict(simulating.finished(path)) == {"k0": PAIRED[0], "k1": PAIRED[1]}


def test_what_is_written_is_what_was_measured(bench: Bench, tmp_path: Path) -> None:
    """The JSON gives back every curve; the plot is a picture of all strategies."""
    paths = simulating.write(tmp_path, bench, Plan(), PAIRED, None)
    told = json.loads(paths[0].read_text(encoding="utf-8"))
    assert simulation.from_json(told["curves"]) == PAIRED
    assert told["metric"] == "macro_f1"
    assert "the queue beats random order" in told["sentence"]
    picture = paths[1].read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert all(name in picture for name in ("queue", RANDOM, "macro f1"))


def test_a_labelled_project_is_replayed_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own data: a table, a sentence, two files; run again it reads what it finished, and says the same."""
    hasten(monkeypatch)
    words = {"animal": ANIMALS, "machine": MACHINES}
    rows = [
        {"text": text.format(word), "label": label}
        for label, own in words.items()
        for word in own
        for text in ("The {} is here", "No {} was left", "A {} for sale")
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = {"kind": "multiclass", "data": data, "label": "label", "labels": {"animal": "", "machine": ""}}
    settings = {"encoder.device": "cpu", "gate.test_share": 0.35}
    starting.make_project(tmp_path / "p", Silent(), settings=settings, **given)
    line = [
        "simulate",
        "--seeds",
        "2",
        "--start",
        "8",
        "--batch",
        "8",
        "--budget",
        "24",
        "--strategy",
        "queue",
        "--strategy",
        "margin",
        "--json",
    ]

    first = CliRunner().invoke(main, ["--project", str(tmp_path / "p"), *line])
    assert first.exit_code == 0, first.output
    table = [json.loads(row) for row in first.stdout.splitlines()]
    assert [row["strategy"] for row in table] == ["queue", "margin", "random"]
    assert all(0 < row["@24"] <= 1 for row in table)
    assert {path.name for path in (tmp_path / "p" / "simulation").iterdir()} == {
        *("simulation.json", "simulation.svg", "curves.jsonl")
    }
    monkeypatch.setattr(simulation, "replay", None)
    again = CliRunner().invoke(main, ["--project", str(tmp_path / "p"), *line])
    assert (again.exit_code, again.stdout) == (0, first.stdout), again.output


def test_an_unlabelled_project_says_what_it_needs(tmp_path: Path) -> None:
    """Nothing to replay on: one sentence, exit 2, no file."""
    data = tmp_path / "data.csv"
    data.write_text("text\none\ntwo\n", encoding="utf-8")
    starting.make_project(tmp_path / "p", Silent(), kind="multiclass", data=data, labels="a,b")
    done = CliRunner().invoke(main, ["--project", str(tmp_path / "p"), "simulate"])
    assert done.exit_code == 2
    assert "0 labelled items to ask and 0 to measure are too few" in done.output
    assert not (tmp_path / "p" / "simulation").exists()
