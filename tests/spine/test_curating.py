"""What reviewers decide on the queue: pinned, approved, set aside; each an event, and what a batch makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from toughcall import curating, experts, loop
from toughcall.records import Batch, Pick, UsageError
from toughcall.settings import Columns
from toughcall.voting import Decision
from toughcall.workspace import Workspace, opened


@pytest.fixture
def ws(make_project: Callable[..., Path], write_csv: Callable[..., Path]) -> Iterator[Workspace]:
    """A project of ten texts, of which the last two are held out."""
    with opened(make_project(), "test") as made:
        loop.import_file(made, write_csv("pool.csv", [{"text": f"text number {n}"} for n in range(10)]), Columns())
        texts = made.pool.texts()
        made.store.add_parts(
            {text.id: "test" if n > 7 else "train" for n, text in enumerate(texts)},
            {text.id: text.id for text in texts},
        )
        yield made


ids = itertools.count()


def said(ws: Workspace, item: str, action: str, reason: str = "", who: str = "Lee", name: str = "") -> bool:
    return curating.decide(ws, Decision(name or f"d{next(ids)}", item, action, reason, who, "2026-11-21T12:00:00"))


def test_pinned_and_approved_items_are_asked_first(ws: Workspace) -> None:
    """What reviewers asked for fills the next batch, pinned before approved, and says by whom; it is asked once."""
    a, b, c, *_ = items = [text.id for text in ws.pool.texts()]
    said(ws, a, "approve", "looks odd")
    said(ws, b, "pin")
    said(ws, c, "approve")
    said(ws, c, "clear")
    assert [(p.item, p.reason, p.note) for p in curating.wanted(ws)] == [
        (b, "pinned", "by Lee"),
        (a, "approved", "by Lee: looks odd"),
    ]
    more, _ = experts.beside(ws, 4, np.random.default_rng(0))
    assert [pick.item for pick in more] == [b, a]
    assert [pick.item for pick in experts.beside(ws, 1, np.random.default_rng(0))[0]] == [b]
    mined = Batch(
        "b001", ws.schema.version, "m", tuple(Pick(one, "in_band", 0.5, n) for n, one in enumerate(items[4:7]))
    )
    assert experts.mixed(mined, more, np.random.default_rng(3)).picks[0].item == b
    made = curating.batch(ws)
    assert [pick.item for pick in made.picks] == [b, a]
    assert curating.wanted(ws) == []
    assert curating.batch(ws).picks == ()
    assert len(ws.store.batches()) == 1


def test_what_is_set_aside_is_never_asked(ws: Workspace) -> None:
    """Set aside with a reason, an item is not mined any more and leaves a batch that is not sent yet; one that was
    cleared may be asked again.
    """
    a, b, *_ = [text.id for text in ws.pool.texts()]
    ws.store.add_batch(Batch("b001", ws.schema.version, "m", (Pick(a, "in_band", 0.5, 0), Pick(b, "in_band", 0.5, 1))))
    said(ws, a, "set_aside", "a duplicate of another ticket")
    assert [pick.item for pick in ws.store.batch("b001").picks] == [b]
    other = ws.pool.texts()[5].id
    said(ws, other, "set_aside", "not ours")
    assert other in ws.store.asked()
    said(ws, other, "clear")
    assert other not in ws.store.asked()


def planned(ws: Workspace, *items: str) -> list[str]:
    """Make batch b001 of some items; return what is in it."""
    if not ws.store.batches():
        picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate(items))
        ws.store.add_batch(Batch("b001", ws.schema.version, "m", picks))
    return [pick.item for pick in ws.store.batch("b001").picks]


@pytest.mark.parametrize("back", ["clear", "approve", "pin"])
def test_what_is_taken_back_returns_to_its_batch(ws: Workspace, back: str) -> None:
    """Set aside out of a batch that is not sent yet and taken back, an item is in its place again, and asked once."""
    a, b, *_ = [text.id for text in ws.pool.texts()]
    assert planned(ws, a, b) == [a, b]
    said(ws, a, "set_aside", "a duplicate", name="aside")
    assert planned(ws) == [b]
    said(ws, a, back)
    assert planned(ws) == [a, b]
    assert not said(ws, a, "set_aside", "a duplicate", name="aside"), "a press that arrives again, late"
    assert planned(ws) == [a, b]
    assert curating.wanted(ws) == []


def test_what_a_push_left_out_does_not_return(ws: Workspace) -> None:
    """A decision brings back what a decision took: neither what could not be sent, nor into a batch that was sent,
    nor where the tasks of the batch were given out meanwhile.
    """
    a, b, c, d, *_ = [text.id for text in ws.pool.texts()]
    planned(ws, a, b, c, d)
    ws.store.mark_batch("b001", "planned", [a])
    said(ws, a, "approve")
    said(ws, a, "clear")
    assert planned(ws) == [b, c, d]
    said(ws, b, "set_aside", "no")
    ws.store.add_tasks("b001", {(one, ""): 1 for one in (c, d)})
    said(ws, b, "clear")
    assert planned(ws) == [c, d], "it has no task there: nobody would ever be asked"
    said(ws, c, "set_aside", "no")
    said(ws, c, "clear")
    assert planned(ws) == [c, d]
    said(ws, d, "set_aside", "no")
    ws.store.mark_batch("b001", "sent")
    said(ws, d, "clear")
    assert planned(ws) == [c]


def test_many_are_decided_at_once(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """C80, P5: each is an event of its own; what is refused is told by its sentence, counted, and stops no other."""
    monkeypatch.setattr(ws.store, "_split", None)
    free, held = [text.id for text in ws.pool.texts()][:3], [text.id for text in ws.pool.texts()][8:]
    decisions = [Decision(f"d-{one}", one, "approve", "", "Lee", "now") for one in [*free, *held, "nothing"]]
    new, refused = curating.decide_all(ws, decisions)
    assert new == 3
    assert [count for why, count in refused.items() if "held out" in why] == [2]
    assert [count for why, count in refused.items() if "not in the pool" in why] == [1]
    assert [one.item for one in ws.store.decisions()] == free
    assert curating.decide_all(ws, decisions)[0] == 0
    assert curating.decide_all(ws, []) == (0, {})


def test_c79_c80_each_decision_is_kept_once(ws: Workspace) -> None:
    """C79, C80: the same decision twice is one event, two people's are two, the newest holds, none is ever changed."""
    item = ws.pool.texts()[0].id
    assert said(ws, item, "approve", name="one id")
    assert not said(ws, item, "approve", name="one id")
    assert said(ws, item, "set_aside", "no", who="Kim")
    assert [(one.who, one.action) for one in ws.store.decisions(history=True)] == [
        ("Lee", "approve"),
        ("Kim", "set_aside"),
    ]
    assert [one.action for one in ws.store.decisions()] == ["set_aside"]
    with pytest.raises(Exception, match="append-only"):
        ws.store.base.execute("DELETE FROM decisions")


@pytest.mark.parametrize(
    ("place", "action", "reason", "who", "why"),
    [
        (0, "approve", "", " ", "name"),
        (0, "set_aside", " ", "Lee", "reason"),
        (0, "ask", "", "Lee", "'ask' is no decision"),
        (9, "pin", "", "Lee", "held out"),
        (9, "approve", "", "Lee", "held out"),
    ],
)
def test_what_is_no_decision_is_refused(
    ws: Workspace, place: int, action: str, reason: str, who: str, why: str
) -> None:
    """P5: nobody asks of the held-out part by hand; a decision needs a name, and a reason where it takes away."""
    with pytest.raises(UsageError, match=why):
        said(ws, ws.pool.texts()[place].id, action, reason, who)
    with pytest.raises(UsageError, match="not in the pool"):
        said(ws, "nothing", "approve")
    assert ws.store.decisions() == []
