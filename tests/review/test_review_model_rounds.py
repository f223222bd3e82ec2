"""What moved from retrain to retrain: the curve, random order, classes, looks at the sealed set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_project import Filled, class_row, report, verdict

from toughcall import judging, simulation, spending
from toughcall.model.numbers import DimensionRow
from toughcall.review import held_out, rounds
from toughcall.workspace import opened


def event(value: float, labels: int, n: int = 60, metric: str = "macro_f1", **more: Any) -> dict[str, Any]:
    """Return a retrain with a figure."""
    reports = [report("untouched", 0.4, n=n, metric=metric), report("candidate", value, n=n, metric=metric, **more)]
    return verdict("KEEP", f"p-{labels}", labels=labels, reports=reports)


def test_only_what_was_measured_alike_is_one_curve() -> None:
    """A retrain before the newest seal, on other rows or by another metric is no point of the curve, and is counted."""
    events: list[tuple[str, Any]] = [
        ("seal", {"items": ["a"]}),
        ("retrain", event(0.9, 10)),
        ("seal", {"items": ["a", "b"]}),
        ("retrain", event(0.5, 20, metric="roc_auc")),
        ("retrain", event(0.5, 30)),
        ("retrain", event(0.5, 40, n=61)),
        ("retrain", verdict("UNDECIDED", "p-45", labels=45, reports=[])),
        ("retrain", event(0.625, 50)),
    ]
    found = rounds.curve(events)
    assert found.points["labels"].to_list() == [30, 50]
    assert found.points["round"].to_list() == [3, 6], "counted among all retrains, as people count them"
    assert [one["labels"] for one in spending.comparable(events)] == [30, 50], "as toughcall plan compares them"
    assert (found.metric, found.n, found.floor, found.apart) == ("macro_f1", 60, 0.4, 3)
    assert rounds.step(found) == (0.125, 20)
    assert rounds.step(rounds.curve(events[:2])) is None
    assert rounds.curve([]).points.empty


def turn(spent: int, value: float | None, note: str = "") -> tuple[str, Any]:
    low = None if value is None else value - 0.1
    return "demo_round", {
        "round": 1,
        "control": {"spent": spent, "value": value, "low": low, "high": value, "note": note},
    }


def test_random_order_is_what_the_demo_measured(tmp_path: Path) -> None:
    """The demo's control gives the points since the newest seal; where it could not learn its reason is the note."""
    events = [turn(10, 0.3), ("seal", {}), turn(50, None, "2 labels are too few: label more"), turn(100, 0.6)]
    found = rounds.control(events, tmp_path, "macro_f1")
    assert found.points.to_dict("records") == [{"labels": 100, "value": 0.6, "low": 0.5, "high": 0.6}]
    assert "random order" in found.note
    found = rounds.control(events[1:3], tmp_path, "macro_f1")
    assert found.points.empty
    assert found.note == "random order: 2 labels are too few"


def test_random_order_is_else_what_a_simulation_replayed(tmp_path: Path) -> None:
    """Without a demo's control the simulation's random order is shown, only at budgets that every replay reached."""
    path = tmp_path.joinpath(*rounds.SIMULATION)
    none = rounds.control([], tmp_path, "macro_f1")
    assert (none.points.empty, none.note, none.command) == (
        True,
        "random order was not measured here:",
        "toughcall simulate",
    )
    path.parent.mkdir()
    curves = [
        simulation.Curve("queue", 0, (50, 100), (0.9, 0.9)),
        simulation.Curve(simulation.RANDOM, 0, (50, 100, 150), (None, 0.5, 0.6)),
        simulation.Curve(simulation.RANDOM, 1, (50, 100, 150), (0.2, 0.7, 0.8)),
    ]
    told = {"metric": "macro_f1", "test": 321, "curves": simulation.as_json(curves)}
    path.write_text(json.dumps(told))
    found = rounds.control([], tmp_path, "macro_f1")
    assert found.points["labels"].to_list() == [100, 150]
    assert found.points["value"].to_list() == pytest.approx([0.6, 0.7])
    assert found.points["low"].to_list() == [0.5, 0.6]
    assert "mean of 2 replays on 321 held-out items" in found.note
    found = rounds.control([], tmp_path, "roc_auc")
    assert found.points.empty
    assert "simulation.json holds macro f1, make it again:" in found.note


@pytest.mark.parametrize("content", [b"", b"[]", b'{"curves": 3}', b'{"curves": [{"strategy": "random"}]}', b"\xff"])
def test_a_damaged_simulation_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """C82: whatever stands in simulation.json, the note names it and the command that makes it again."""
    path = tmp_path.joinpath(*rounds.SIMULATION)
    path.parent.mkdir()
    path.write_bytes(content)
    found = rounds.control([], tmp_path, "macro_f1")
    assert found.points.empty
    assert found.note == "simulation/simulation.json cannot be read, make it again:"
    assert found.command == "toughcall simulate"


def test_classes_by_retrain_mark_the_dead_and_what_moved() -> None:
    """Each class keeps its figure of each retrain, the newest's worst first; never predicted is dead, not 0."""
    first = event(0.5, 10, per_class=(class_row("a", 0.5), class_row("b", 0.25)))
    second = event(0.5, 20, per_class=(class_row("a", 0.75), class_row("b", 0.25)), dead=("c",))
    table = rounds.by_class([first, second])
    assert list(dict.fromkeys(table["class"])) == ["c", "b", "a"]
    assert table[table["dead"]][["round", "class"]].to_numpy().tolist() == [[2, "c"]]
    assert rounds.changes(table) == [("a", 0.25), ("b", 0.0)]
    assert rounds.changes(rounds.by_class([first])) == []
    many = event(0.5, 30, per_class=tuple(class_row(f"c{n:02}", n / 100) for n in range(50)))
    assert len(rounds.by_class([many])) == rounds.MOST_CLASSES
    assert len(set(rounds.by_class([first] * 50)["round"])) == rounds.MOST_ROUNDS


def test_dimensions_by_retrain_are_held_against_the_mean() -> None:
    """Numbers are shaded by how much less they err than the training mean; no better than it is marked."""
    rows = (
        DimensionRow("mood", 1.0, 20, 0.5, 0.7, 0.9, 0.8, 2.0),
        DimensionRow("force", 1.0, 20, 3.0, 3.5, 0.1, None, 2.0),
    )
    table = rounds.by_class([event(0.5, 10, metric="weighted_mae", per_dimension=rows)])
    assert table[["class", "value", "shade", "dead"]].to_numpy().tolist() == [
        ["force", 3.0, 0.0, True],
        ["mood", 0.5, 0.75, False],
    ]


def test_looks_are_counted_as_the_gate_counts_them(filled: Callable[..., Filled]) -> None:
    """The openings shown are those that `gate.spend` corrects for; a retrain without reports looked at nothing."""
    made = filled()
    with opened(made.root, "test") as ws:
        ws.store.add_event("retrain", verdict("UNDECIDED", "p-v000", reports=[]))
        for version in ("p-v001", "p-v002", "p-v002"):
            ws.store.add_event("seal", {"items": ["a", "b"]}) if version == "p-v001" else None
            ws.store.add_event("retrain", verdict("KEEP", version))
        events = ws.store.events()
        assert rounds.seals(events) == [rounds.Seal(2, ("p-v001", "p-v002"))]
        assert len(rounds.seals(events)[-1].looks) == judging.openings(ws)
        ws.store.add_event("seal", {"items": ["a", "b", "c"]})
        assert rounds.seals(ws.store.events())[-1] == rounds.Seal(3, ())
        assert judging.openings(ws) == 0
    assert rounds.seals([("retrain", verdict("KEEP"))]) == []
    told = [("promote", {"version": "p-v001"}), ("rollback", {"version": "p-v000"}), ("pull", {})]
    assert rounds.moves(told) == [("promoted", "p-v001"), ("rolled back to", "p-v000")]


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("version", "labels", "outcome", "sentence", "reports", "checks", "dead", "items", "control")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["retrain", "seal", "promote", "demo_round", "other"]),
            st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JUNK)),
        ),
        max_size=4,
    )
)
def test_strange_events_never_stop_the_tab(tmp_path_factory: pytest.TempPathFactory, events: Any) -> None:
    """C82: whatever an older or newer version wrote, what moved is told without it."""
    rounds.curve(events)
    rounds.control(events, tmp_path_factory.getbasetemp(), "macro_f1")
    rounds.changes(rounds.by_class(rounds.retrains(events)))
    rounds.seals(events)
    held_out.versions(rounds.retrains(events), ["p-v001"])
