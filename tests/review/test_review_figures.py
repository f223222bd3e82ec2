"""Progress and verdict as data: what the labels tab and the model tab show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from review_project import answer, class_row, report, verdict

from toughcall.model.registry import Registry
from toughcall.review import live, plain, progress
from toughcall.review import verdict as verdicts
from toughcall.store import Store


def test_classes_count_train_held_out_and_neither(filled: Callable[..., Any]) -> None:
    """A label trains, evaluates, or is counted as neither; classes keep the schema's order."""
    made = filled()
    with Store(made.root / "ledger.sqlite") as store:
        store.base.execute("DELETE FROM parts WHERE record = ?", (made.items[2].id,))
        store.add_answers([answer(made.items[2], ("animal",), made.schema, "b002")])
    with live.opened(made.root) as one:
        rows = progress.classes(one).to_dict("records")
    assert rows == [
        {"class": "animal", "train": 1, "held_out": 0, "unsplit": 1},
        {"class": "machine", "train": 0, "held_out": 1, "unsplit": 0},
        {"class": "food", "train": 0, "held_out": 0, "unsplit": 0},
    ]


def test_a_pair_across_the_split_is_neither(filled: Callable[..., Any]) -> None:
    """A pair whose records lie on both sides neither trains nor evaluates."""
    made = filled("pair")
    with live.opened(made.root) as one:
        rows = progress.classes(one).set_index("class")
    assert rows.loc["similar"].to_list() == [0, 0, 1]


def test_batches_and_annotators(filled: Callable[..., Any]) -> None:
    """The newest batch comes first with its progress; an annotator's seconds are the median."""
    made = filled()
    with Store(made.root / "ledger.sqlite") as store:
        skip = answer(made.items[2], (), made.schema, "b002", outcome="skip", seconds=90.0)
        quick = answer(made.items[3], ("food",), made.schema, "b002", seconds=2.0)
        store.add_answers([skip, quick, answer(made.items[0], ("food",), made.schema, "b001", by="ben", seconds=None)])
    with live.opened(made.root) as one:
        batches = progress.batches(one).to_dict("records")
        people = progress.annotators(one).to_dict("records")
        sentence = progress.totals(one).sentence()
    assert [(b["batch"], b["items"], b["answered"], b["progress"]) for b in batches] == [
        ("b002", 2, 2, 1.0),
        ("b001", 1, 1, 1.0),
    ]
    assert [(p["annotator"], p["answers"], p["skipped"]) for p in people] == [("ana", 4, 1), ("ben", 1, 0)]
    assert people[0]["median seconds"] == 8.0
    assert sentence == "2 agreed labels · 1 in disagreement · 1 skipped"


def test_the_newest_verdict_is_shown() -> None:
    """The banner holds the newest outcome, its sentence without the outcome's name, and what is in service."""
    event = verdict("PROMOTE", "p-2", dead=["food"])
    found = verdicts.judged([verdict("KEEP"), event], "p-2")
    assert found is not None
    assert (found.outcome, found.serving) == ("PROMOTE", True)
    assert found.sentence == "p-2: macro_f1 0.700 against untouched 0.600", "the badge says PROMOTE already"
    assert found.dead == ("food",)
    assert found.left_out == (("on both sides of the split", 3),)
    assert verdicts.judged([], "") is None


def test_figures_checks_and_rounds() -> None:
    """Reports keep their order, a check that could not be decided is neither yes nor no."""
    event = verdict("KEEP")
    assert list(verdicts.figures(event)["role"]) == ["majority class", "untouched encoder", "candidate"]
    assert set(verdicts.figures(event)["metric"]) == {"macro F1"}
    assert list(verdicts.checks(event)["passed"]) == ["✓ yes", "✗ no", "? open"]
    history = verdicts.rounds([event, {"outcome": "UNDECIDED"}, event])
    assert history["round"].to_list() == [1, 3]
    assert history["untouched"].to_list() == [0.6, 0.6]


def test_per_class_names_the_never_predicted() -> None:
    """The worst class comes first; a never-predicted one is named even when it has no figure."""
    classes = (class_row("a", 0.5), class_row("b", 0.2), class_row("none of it", None, 0))
    event = verdict("KEEP", reports=[report("candidate", 0.5, per_class=classes, dead=("c",))])
    found = verdicts.per_class(event)
    assert list(found["class"]) == ["c", "b", "a"]
    assert list(found["dead"]) == [True, False, False]
    assert found["n"].to_list()[1:] == [4, 4]
    event = verdict("KEEP", dead=["none of it"], reports=[report("candidate", 0.5, per_class=classes)])
    found = verdicts.per_class(event)
    assert list(zip(found["class"], found["f1"], found["dead"], strict=True)) == [
        ("none of it", 0.0, True),
        ("b", 0.2, False),
        ("a", 0.5, False),
    ]


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("version", "labels", "outcome", "sentence", "left_out", "reports", "checks", "dead")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JUNK)))
def test_a_strange_event_never_stops_the_page(event: dict[str, Any]) -> None:
    """Whatever an older or newer version wrote, a figure that is missing is left out."""
    found = verdicts.judged([event], "")
    assert found is not None
    assert found.outcome in verdicts.OUTCOMES
    assert verdicts.figures(event)["value"].notna().all()
    verdicts.checks(event)
    verdicts.per_class(event)
    verdicts.per_dimension(event)
    verdicts.rounds([event])


def test_the_champion_follows_promotions_and_rollbacks(filled: Callable[..., Any]) -> None:
    """The registry's pointer decides, not what the ledger remembers of it; before the first there is none."""
    made = filled()
    registry = Registry(made.root / "models")
    registry.folder.mkdir()
    seen = []
    for line in (["p-v001"], ["p-v001", "p-v002"], ["p-v001"]):
        with live.opened(made.root) as one:
            seen.append(one.champion)
        registry._point(line[-1], [{"version": version} for version in line])
    with live.opened(made.root) as one:
        assert [*seen, one.champion] == ["", "p-v001", "p-v002", "p-v001"]


def test_next_step_follows_the_loop(filled: Callable[..., Any], make_project: Callable[..., Any]) -> None:
    """The page names the command that makes sense now, as `toughcall status` does."""
    with live.opened(make_project(name="empty")) as one:
        assert live.next_step(one)[1] == "toughcall import FILE --text COLUMN"
    made = filled()
    with live.opened(made.root) as one:
        assert live.next_step(one) == ("1 item waits for an answer in Label Studio. When done:", "toughcall round")
    with Store(made.root / "ledger.sqlite") as store:
        store.mark_batch("b002", "planned")
    with live.opened(made.root) as one:
        assert live.next_step(one)[1] == "toughcall push"
    with Store(made.root / "ledger.sqlite") as store:
        store.mark_batch("b002", "done")
        store.add_event("retrain", verdict("PROMOTE", "p-9"))
    with live.opened(made.root) as one:
        assert live.next_step(one)[1] == "toughcall promote"


def test_short_and_literal() -> None:
    """A long text is cut with an ellipsis; every Markdown mark is escaped (C78)."""
    assert plain.short("a\n b  c") == "a b c"
    assert len(plain.short("word " * 1000)) <= 160
    assert plain.short("word " * 1000).endswith("…")
    assert plain.literal("**a** $1 :red[x]") == "\\*\\*a\\*\\* \\$1 \\:\u2060red\\[x\\]"
