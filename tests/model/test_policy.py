"""Policy: what each class is trusted with, from the lower bound of its precision."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binomtest

from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate, from_confusion
from toughcall.model.policy import MIN_SUPPORT, as_rows, policy
from toughcall.records import Label, Scores, UsageError

RELATIONS = ("NO_RELATION", "occurs_in", "found_at", "assigned_to", "part_of")
TABLE = [[294, 24, 26, 0, 0], [7, 34, 3, 0, 0], [1, 1, 100, 0, 0], [5, 6, 1, 0, 0], [0, 14, 0, 0, 0]]


def fossils() -> Report:
    """Return the report of post-mortem 004's confusion table."""
    kind = kinds.get("relation")
    return from_confusion("deberta", kind, kind.schema(RELATIONS), TABLE)


def one_label(rows: list[tuple[float, bool]], threshold: float = 0.5) -> Report:
    """Return a report on label a of some (score, truth) rows."""
    kind = kinds.get("multilabel")
    schema = kind.schema(("a", "b"))
    ids = tuple(f"r{n}" for n in range(len(rows)))
    labels = [Label(one, ("a",) if true else ()) for one, (_, true) in zip(ids, rows, strict=True)]
    values = np.array([[score, 0.1] for score, _ in rows], dtype=np.float32)
    cuts = np.array([threshold, 0.5], dtype=np.float32)
    return evaluate("m", kind, schema, labels, Scores(ids, schema.labels, values, "m"), cuts, seed=0, role="candidate")


def test_004_found_at_ships_occurs_in_goes_to_people_the_rare_two_are_held() -> None:
    """004: found_at ship, occurs_in to people at precision 0.43, 0 of 12 and 0 of 14 held; no null label."""
    for report in (fossils(), dataclasses.replace(fossils(), ids=(), truth=(), values=(), said=())):
        found = {one.label: one for one in policy(report, wanted={"occurs_in": 0.9})}
        assert {label: one.do for label, one in found.items()} == {
            "occurs_in": "send to people",
            "found_at": "ship",
            "assigned_to": "hold",
            "part_of": "hold",
        }
        assert found["found_at"].reason == "precision 0.77 [0.69, 0.83] reaches 0.60, F1 0.86"
        assert found["occurs_in"].reason.startswith("precision 0.43 [0.33, 0.54] does not surely reach 0.90")
        assert found["assigned_to"].reason == "0 of 12 found (at most 24%), never predicted: label more of it"
        assert found["part_of"].reason == "0 of 14 found (at most 22%), never predicted: label more of it"
        assert [one.coverage for one in found.values()] == [0.0, 1.0, 0.0, 0.0]


def test_the_lower_bound_decides_not_the_share() -> None:
    """Rule: 100 of 130 are 0.77, and at least 0.69: asked for 0.69 they ship, for 0.70 they do not."""
    low = binomtest(100, 130).proportion_ci(method="wilson").low
    for wanted, due in ((low - 1e-6, "ship"), (low + 1e-6, "send to people")):
        assert {one.label: one.do for one in policy(fossils(), wanted=wanted)}["found_at"] == due


def test_the_smallest_score_that_is_surely_right_is_found_with_what_it_covers() -> None:
    """Rule: 40 right ones above 0.8, then half and half: the cut lies where the lower bound still holds."""
    rows = [(0.9 + n / 1e3, True) for n in range(40)] + [(0.6 + n / 1e3, n % 2 == 0) for n in range(40)]
    rows += [(0.2, False)] * 40
    (found, _) = policy(one_label(rows), wanted=0.8)
    assert found.do == "ship above"
    assert found.threshold is not None
    shipped = [true for score, true in rows if np.float32(score) >= np.float32(found.threshold)]
    assert binomtest(sum(shipped), len(shipped)).proportion_ci(method="wilson").low >= 0.8
    assert found.precision == pytest.approx(sum(shipped) / len(shipped))
    assert found.coverage == pytest.approx(len(shipped) / 80)
    assert 40 <= len(shipped) < 60
    # no smaller score would do
    scores = sorted({score for score, _ in rows if 0.5 <= score < found.threshold - 1e-6}, reverse=True)
    for score in scores:
        lower = [true for one, true in rows if one >= score - 1e-9]
        assert binomtest(sum(lower), len(lower)).proportion_ci(method="wilson").low < 0.8
    assert as_rows([found])[0]["do"] == f"ship above {found.threshold:.3f}"
    assert as_rows([found])[0]["coverage"] == f"{len(shipped) / 80:.0%}"


def test_equal_scores_are_never_parted_and_a_handful_carries_no_threshold() -> None:
    """Rule: rows of one score ship together or not at all; nine right ones on top are too few to go by."""
    tied = [(0.9, True)] * 30 + [(0.9, False)] * 20 + [(0.1, False)] * 20
    assert policy(one_label(tied), wanted=0.6)[0].do == "send to people"
    for top, due in ((MIN_SUPPORT - 1, "send to people"), (MIN_SUPPORT, "ship above")):
        rows = [(0.9 + n / 1e3, True) for n in range(top)] + [(0.6, n % 3 == 0) for n in range(60)]
        assert policy(one_label(rows), wanted=0.65)[0].do == due


def test_a_precise_class_that_misses_most_of_its_members_goes_to_people() -> None:
    """Rule: precision alone does not ship a class whose F1 is below the floor; a lower floor ships it."""
    rows = [(0.9, True)] * 20 + [(0.1, True)] * 80
    (found, _) = policy(one_label(rows), wanted=0.8)
    assert found.do == "send to people"
    assert "is enough, but recall is 0.200 [0.133, 0.289]: F1 0.33 below 0.50" in found.reason
    assert policy(one_label(rows), wanted=0.8, floor_f1=0.3)[0].do == "ship"


def test_a_class_with_few_members_or_no_right_prediction_is_held() -> None:
    """Rule: nine members measure nothing; ten predictions of which none is right ship nowhere."""
    few = policy(one_label([(0.9, True)] * 9 + [(0.1, False)] * 9))[0]
    assert (few.do, few.reason) == ("hold", "9 test rows, 10 are needed to measure it")
    assert policy(one_label([(0.9, True)] * 9 + [(0.1, False)] * 9), min_support=9)[0].do == "ship"
    wrong = policy(one_label([(0.1, True)] * 10 + [(0.9, False)] * 10))[0]
    assert wrong.do == "hold"
    assert "0 of 10 found (at most 28%), none of its 10 predictions is right" in wrong.reason


def test_a_lower_threshold_in_force_is_the_one_to_begin_at() -> None:
    """Rule: the search begins at the threshold that serves, and never goes below it."""
    rows = [(0.4 + n / 1e3, True) for n in range(30)] + [(0.2, False)] * 30
    assert policy(one_label(rows, threshold=0.3), wanted=0.8)[0].do == "ship"
    assert policy(one_label(rows, threshold=0.1), wanted=0.8)[0].do == "ship above"
    assert policy(one_label(rows, threshold=0.5), wanted=0.8)[0].do == "hold"


def test_what_is_asked_of_no_class_is_refused() -> None:
    """Rule: a misspelt class and a precision above 1 are refused by name (exit 2)."""
    with pytest.raises(
        UsageError, match=r"no class 'found_att' \(did you mean 'found_at'\?\) in the report of deberta"
    ):
        policy(fossils(), wanted={"found_att": 0.9})
    with pytest.raises(UsageError, match="the precision wanted of occurs_in is 60, a share from 0 to 1 is needed"):
        policy(fossils(), wanted={"occurs_in": 60})
    assert policy(dataclasses.replace(fossils(), per_class=())) == []
