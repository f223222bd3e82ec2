"""The plan tab: what each class lacks, what that takes, whether it pays; computed once for one state of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_project import Filled, answer, verdict
from streamlit.testing.v1 import AppTest

from toughcall import project as projects
from toughcall.model import kinds
from toughcall.review import page as page_module
from toughcall.review import planned
from toughcall.review.live import Live
from toughcall.store import Store


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], AppTest]:
    """Return a function (project folder) → the page with the plan tab open, which must not have failed."""

    def show(root: Path) -> AppTest:
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(root))
        app = AppTest.from_file(page_module.__file__, default_timeout=120)
        app.session_state["tab"] = "Plan"
        app.run()
        assert not app.exception
        return app

    return show


def test_an_empty_project_says_what_to_do(make_project: Callable[..., Path], shown: Callable[[Path], AppTest]) -> None:
    """Without records there is one sentence with the next command."""
    assert any("toughcall import FILE" in one.value for one in shown(make_project()).info)


@pytest.mark.parametrize("kind", ["multilabel", "multiclass", "relation", "pair", "scores"])
def test_every_kind_has_a_plan(filled: Callable[..., Filled], shown: Callable[[Path], AppTest], kind: str) -> None:
    """On the first day too: advice that it cannot be told yet, and for labels a row for each class."""
    app = shown(filled(kind).root)
    assert any("stop or spend cannot be told" in one.value for one in app.text)
    classes = [one.value for one in app.dataframe if "learnable" in one.value.columns]
    assert [list(one["class"]) for one in classes] == ([] if kind == "scores" else [list(filled_labels(kind))])


def filled_labels(kind: str) -> tuple[str, ...]:
    """Return the labels of the project that `filled` makes."""
    return {"pair": ("similar", "not_similar"), "relation": ("eats", "NO_RELATION")}.get(
        kind, ("animal", "machine", "food")
    )


def test_a_price_and_a_gain_change_what_is_told(
    filled: Callable[..., Filled], shown: Callable[[Path], AppTest]
) -> None:
    """More examples wanted take more answers; a price adds money to hours; without one no sum is named."""
    made = filled()
    with Store(made.root / "ledger.sqlite") as store:
        store.add_answers([answer(one, ("food",), made.schema, "b001", f"p{n}") for n, one in enumerate(made.items)])
        store.add_event("retrain", verdict("KEEP"))
    few, many = (planned.planned(made.root, n, None, None) for n in (5, 50))
    assert set(few.needs["class"]) <= set(many.needs["class"])
    for name in set(few.needs["class"]):
        rows = [
            one.needs[(one.needs["class"] == name) & one.needs["goal"].str.startswith("learn")] for one in (few, many)
        ]
        if len(rows[0]) and len(rows[1]):
            assert rows[0]["answers"].max() < rows[1]["answers"].max()
    assert not few.needs["price"].any()
    paid = planned.planned(made.root, 5, None, 60.0).needs
    assert paid["price"].tolist() == pytest.approx((paid["hours"] * 60).tolist())
    assert "an hour" not in few.sentence
    app = shown(made.root)
    next(one for one in app.number_input if one.label == "An expert's hour costs").set_value(60.0).run()
    assert not app.exception
    assert any("price" in one.value.columns for one in app.dataframe)


def test_it_is_computed_once_for_one_state(
    filled: Callable[..., Filled], shown: Callable[[Path], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn again it is not computed again; after one more answer it is."""
    made = filled()
    with Store(made.root / "ledger.sqlite") as store:
        live = Live(projects.load(made.root, kinds.KINDS), store)
        before = planned.stamp(live)
        assert planned.stamp(live) == before
        store.add_answers([answer(made.items[2], ("food",), made.schema, "b002", "new")])
        assert planned.stamp(live) != before
    ran: list[Any] = []
    real = planned.planned
    monkeypatch.setattr(planned, "planned", lambda *given: ran.append(given) or real(*given))
    app = shown(made.root)
    app.run()
    assert len(ran) == 1


def test_c78_labels_and_steps_are_shown_letter_by_letter(
    filled: Callable[..., Filled], shown: Callable[[Path], AppTest]
) -> None:
    """C78: a label that is markup is shown as it is written."""
    made = filled(labels={"**bold** $5": "", ":red[x]": "", "plain": ""})
    app = shown(made.root)
    said = "\n".join(one.value for one in [*app.markdown, *app.caption])
    assert "**bold** $5" not in said
    assert ":red[x]" not in said
