"""The queue as data: what is counted, filtered and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from review_project import save_scores

from toughcall.records import Batch, IntegrityError, Pick, Text
from toughcall.review import live, views
from toughcall.store import Store

SURE, TORN = (0.9, 0.06, 0.04), (0.35, 0.1, 0.3)
FIVE = (SURE, TORN, (0.2, 0.7, 0.1), (0.45, 0.45, 0.1), (0.1, 0.1, 0.8))


def look(filled: Any, **wanted: Any) -> list[str]:
    """Return the texts of the queue under a filter."""
    with live.opened(filled.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        return list(views.queue_page(one, views.Filter(**wanted), picks, answers).rows["text"])


def test_histogram_counts_every_item_once(filled: Callable[..., Any]) -> None:
    """The bars sum to the scored items; the band counts both its ends."""
    made = filled("pair", values=[(0.4,), (0.6,), (0.61,), (1.0,)])
    with live.opened(made.root) as one:
        found = views.histogram(one, "similar", 0.4, 0.6)
    assert found is not None
    assert (found.total, found.in_band, int(found.bars["count"].sum())) == (4, 2, 4)
    assert int(found.bars["count"].iloc[-1]) == 1


def test_several_classes_are_held_against_the_band_as_mining_does(filled: Callable[..., Any]) -> None:
    """The score is P(first) / (P(first) + P(second)); with a class chosen it is that class's probability."""
    made = filled(values=FIVE)
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        rows = views.queue_page(one, views.Filter(), picks, answers).rows.set_index("text")
        food = views.queue_page(one, views.Filter(column="food"), picks, answers).rows.set_index("text")
    assert rows.loc["two cars", "score"] == pytest.approx(0.35 / 0.65, abs=1e-5)
    assert rows.loc["two cars", "class"] == "animal"
    assert food.loc["two cars", "score"] == pytest.approx(0.3)


def test_a_pair_has_one_column_and_two_classes(filled: Callable[..., Any]) -> None:
    """Below 0.5 the model's guess is the second label; the class filter knows it."""
    made = filled("pair", values=[(0.9,), (0.2,), (0.5,), (0.1,)])
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        rows = views.queue_page(one, views.Filter(), picks, answers).rows
        kept = views.queue_page(one, views.Filter(label="not_similar"), picks, answers)
    assert dict(zip(rows["item"], rows["class"], strict=True)) == {
        made.items[0].id: "similar",
        made.items[1].id: "not_similar",
        made.items[2].id: "similar",
    }
    assert list(kept.rows["item"]) == [made.items[1].id]
    assert rows["text_b"].all()


@pytest.mark.parametrize(
    ("wanted", "texts"),
    [
        ({}, ["two cars", "three pies", "one cat"]),
        ({"show": views.OPEN}, ["two cars", "three pies"]),
        ({"show": "b001"}, ["one cat"]),
        ({"show": views.UNASKED}, ["four dogs", "five bikes"]),
        ({"reason": "random_audit"}, ["three pies"]),
        ({"label": "animal"}, ["two cars", "one cat"]),
        ({"band": (0.4, 0.6)}, ["two cars"]),
        ({"search": " CAR "}, ["two cars"]),
        ({"search": "100%_'"}, []),
    ],
)
def test_filters(filled: Callable[..., Any], wanted: dict[str, Any], texts: list[str]) -> None:
    """Each filter keeps what it names; unasked items come most uncertain first."""
    assert look(filled(values=FIVE), **wanted) == texts


def test_states_and_counts(filled: Callable[..., Any]) -> None:
    """An item is answered when studio.overlap answers are in; what a closed batch lacks is not waited for."""
    made = filled(values=FIVE)
    twice = (made.root / "project.toml").read_text().replace("overlap = 1", "overlap = 2")
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        assert views.counts(one, picks, answers) == (1, 2)
        states = list(views.queue_page(one, views.Filter(), picks, answers).rows["state"])
    assert states == ["answered", "waiting", "answered"]
    (made.root / "project.toml").write_text(twice)
    with live.opened(made.root) as one:
        assert views.counts(one, picks, answers) == (2, 0)
        assert views.state(one, "b001", answers[made.items[0].id]) == "closed"


def test_an_item_counts_once(filled: Callable[..., Any]) -> None:
    """However often an item was asked, to label it and to decide on it, it is one that waits or is answered."""
    made = filled(values=FIVE)
    picks = tuple(Pick(made.items[place].id, "disagreement", 1.0, rank) for rank, place in enumerate((1, 2)))
    with Store(made.root / "ledger.sqlite") as store:
        for name in ("b003", "b004"):
            store.add_batch(Batch(name, made.schema.version, "m", picks), "adjudication")
    with live.opened(made.root) as one:
        assert views.counts(one, views.asked_picks(one), views.answers_by_item(one)) == (1, 2)


def test_pages_are_cut_by_the_database(filled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A page holds PAGE rows, the total counts them all, and no row is on two pages."""
    monkeypatch.setattr(views, "PAGE", 2)
    made = filled(values=FIVE)
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        pages = [views.queue_page(one, views.Filter(page=page), picks, answers) for page in (0, 1)]
    assert [page.total for page in pages] == [3, 3]
    assert [*pages[0].rows["text"], *pages[1].rows["text"]] == ["two cars", "three pies", "one cat"]


def test_labels_may_hold_quotes(filled: Callable[..., Any]) -> None:
    """A label is any printable text: quotes in it are neither SQL nor a column of their own (C78)."""
    made = filled()
    odd = ('say "hi"', "it's; DROP", "p:x")
    values = np.asarray([[0.2, 0.7, 0.1]] * 5, dtype=np.float32)
    save_scores(made.root, made.items, odd, values)
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        rows = views.queue_page(one, views.Filter(column=odd[0]), picks, answers).rows
        found = views.detail(one, made.items[0].id, picks, answers)
    assert set(rows["class"]) == {"it's; DROP"}
    assert rows["score"].to_list() == pytest.approx([0.2] * 3)
    assert found is not None
    assert list(found.chances["class"]) == [odd[1], odd[0], odd[2]]


def test_detail_shows_both_records_whole(filled: Callable[..., Any]) -> None:
    """The text shown is the text stored, up to LONGEST characters; what is cut is said (P12)."""
    long = "x" * (views.LONGEST + 5)
    made = filled("pair", texts=("first\n  second", long, "third", "fourth"))
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        found = views.detail(one, made.items[0].id, picks, answers)
        missing = views.detail(one, Text("never stored").id, picks, answers)
    assert found is not None
    assert {text for _, text in found.texts} == {"first\n  second", long[: views.LONGEST]}
    assert found.cut
    assert [batch for batch, _ in found.picks] == ["b001"]
    assert sorted(views.titles(found)) in (["A · k0", "B · k1"], ["A · k1", "B · k0"])
    assert missing is None


def test_without_scores_the_queue_still_shows_the_picks(filled: Callable[..., Any]) -> None:
    """Before the first score there is no histogram, but what was asked can be read."""
    made = filled(values=FIVE)
    (made.root / "scores" / "latest.parquet").unlink()
    with live.opened(made.root) as one:
        assert views.histogram(one, "", 0.4, 0.6) is None
    assert look(made, band=(0.4, 0.6), label="animal") == ["two cars", "three pies", "one cat"]


@pytest.mark.parametrize("content", [b"", b"PAR1 not a table PAR1"])
def test_damaged_scores_are_one_sentence(filled: Callable[..., Any], content: bytes) -> None:
    """A scores file that cannot be read names itself and the command that mends it."""
    made = filled()
    (made.root / "scores" / "latest.parquet").write_bytes(content)
    with live.opened(made.root) as one, pytest.raises(IntegrityError, match=r"latest\.parquet .*toughcall score"):
        views.histogram(one, "", 0.4, 0.6)


def test_looking_writes_nothing(filled: Callable[..., Any]) -> None:
    """Every view together leaves the ledger as it was: the page only reads (C81)."""
    made = filled()
    with Store(made.root / "ledger.sqlite") as store:
        before = "\n".join(store.base.iterdump())
    look(made, show=views.UNASKED)
    with Store(made.root / "ledger.sqlite") as store:
        assert "\n".join(store.base.iterdump()) == before
    assert not (made.root / ".lock").exists()
