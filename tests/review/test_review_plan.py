"""The plan tab: what each class lacks, what that takes, whether it pays; computed once for one state of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from review_models import TEXTS
from review_project import Filled, answer, class_row, report, verdict
from streamlit.testing.v1 import AppTest

from toughcall import planning
from toughcall import project as projects
from toughcall.model import kinds
from toughcall.review import charts_labels, live, planned, progress, tab_labels
from toughcall.review import page as page_module
from toughcall.review.live import Live
from toughcall.store import Store
from toughcall.workspace import opened


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
        one = Live(projects.load(made.root, kinds.KINDS), store)
        before = planned.stamp(one)
        assert planned.stamp(one) == before
        store.add_answers([answer(made.items[2], ("food",), made.schema, "b002", "new")])
        assert planned.stamp(one) != before
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


def aimed(root: Path, positives: int) -> dict[str, tuple[int, int]]:
    """Return by class how many more the chart of the labels tab asks for: (that train, held out)."""
    with live.opened(root) as one:
        event = one.retrains[-1] if one.retrains else {}
        table = charts_labels.aims(progress.classes(one), tab_labels._silver(one), event, positives)
    assert (table["share"] == (table["labels"] / table["wanted"]).clip(upper=1.0)).all()
    lacks = (table["wanted"] - table["labels"]).tolist()
    return dict(zip(table["class"][::2], zip(lacks[::2], lacks[1::2], strict=True), strict=True))


@pytest.mark.parametrize("kind", ["multilabel", "multiclass", "relation", "pair"])
def test_progress_is_against_what_the_plan_says(filled: Callable[..., Filled], kind: str) -> None:
    """For each class the labels tab lacks what `toughcall plan` says it lacks: with a class that was learnt in vain
    as many again, and no label that nobody checked counted as held out.
    """
    made = filled(kind, texts=TEXTS)
    first, second = made.schema.labels[:2]
    with Store(made.root / "ledger.sqlite") as store:
        for place, one in enumerate(made.items[3:14]):
            more: dict[str, Any] = {} if place % 3 else {"source": "oracle", "trust": "silver", "by": "llm"}
            given = (first,) if place else (second,)
            store.add_answers([answer(one, given, made.schema, "b001", **more)])
        rows = (class_row(first, 0.0), class_row(second, 0.9))
        reports = [
            report("majority", 0.3, per_class=(class_row(first, 0.6),)),
            report("candidate", 0.4, per_class=rows),
        ]
        store.add_event("retrain", verdict("KEEP", reports=reports))
    for positives in (5, 20):
        with opened(made.root, "test", writing=False) as ws:
            told = {one.label: (one.want, one.missing) for one in planning.plan(ws, positives)}
        assert aimed(made.root, positives) == told
    assert told[first][0] > 0


def test_silver_held_out_labels_measure_nothing(filled: Callable[..., Filled]) -> None:
    """A held-out label that no person checked is none of the held-out ones a class needs, as in the plan."""
    made = filled(texts=TEXTS)
    with Store(made.root / "ledger.sqlite") as store:
        store.base.execute("DELETE FROM parts WHERE record = ?", (made.items[4].id,))
        store.add_parts({made.items[4].id: "test"}, {made.items[4].id: ""})
        silver = answer(made.items[4], ("food",), made.schema, "", "llm", source="oracle", trust="silver")
        store.add_answers([silver])
        trust = {label.item: label.trust for label in store.labels(made.schema.version)[0]}
    assert trust[made.items[4].id] == "silver"
    with opened(made.root, "test", writing=False) as ws:
        told = {one.label: (one.want, one.missing) for one in planning.plan(ws, 20)}
    assert aimed(made.root, 20) == told
    assert told["food"] == (20, planning.needed())


def test_the_labels_tab_computes_no_plan(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> None:
    """However large a project is: the labels tab says what the plan asks for without computing one, in the number of
    examples that was set on the plan tab.
    """
    made = filled()

    def never(*_: Any) -> Any:
        raise AssertionError("a plan was computed")

    monkeypatch.setattr(planned, "planned", never)
    monkeypatch.setattr(live, "LAZY", True)
    monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
    app = AppTest.from_file(page_module.__file__, default_timeout=120)
    app.query_params["tab"] = "Labels"
    app.session_state["positives"] = 50
    app.run()
    assert not app.exception
    assert any("50 that train" in one.value and "toughcall plan" in one.value for one in app.caption)
    shown = charts_labels.against_plan(
        pd.DataFrame(
            [("animal", "train", 1, 50, 0.02, "1 of 50"), ("animal", "held out", 93, 93, 1.0, "93, enough")],
            columns=["class", "part", "labels", "wanted", "share", "said"],
        )
    ).to_dict()
    (rows,) = shown["datasets"].values()
    assert [row["said"] for row in rows] == ["1 of 50", "93, enough"]
    assert len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")) >= 1
