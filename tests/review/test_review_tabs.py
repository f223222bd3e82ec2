"""What was set on a tab is still set after another tab was looked at: Streamlit keeps the open tab alone."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from review_models import TEXTS, judge, promoted, seal
from review_project import Filled, answer, save_scores
from streamlit.testing.v1 import AppTest

from toughcall.review import live, views
from toughcall.review import page as page_module
from toughcall.review.tab_model_detail import FIGURES
from toughcall.review.tab_model_rows import CALIBRATION, ERRORS, THRESHOLDS
from toughcall.store import Store


@pytest.fixture
def opened(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Filled, AppTest]]:
    """Return a function (tab, …) → (a filled project with two judged models, its page with that tab alone drawn)."""

    def open_(tab: str, **more: Any) -> tuple[Filled, AppTest]:
        made = filled(**{"texts": TEXTS, **more})
        seal(made)
        judge(made, "p-v001", labels=50)
        judge(made, "p-v002", "KEEP", labels=90)
        promoted(made, ["p-v001"])
        # both models' doubts, and who differs: three things to decide
        with Store(made.root / "ledger.sqlite") as store:
            for place in (0, 1):
                store.add_answers([answer(made.items[place], ("food",), made.schema, "b001", "ben")])
        monkeypatch.setattr(live, "LAZY", True)
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
        app = AppTest.from_file(page_module.__file__, default_timeout=120)
        return made, turned(app, tab)

    return open_


def turned(app: AppTest, tab: str) -> AppTest:
    """Open a tab as its address does; it alone is drawn."""
    app.query_params["tab"] = tab
    app.session_state["tab"] = tab
    app.run()
    assert not app.exception
    assert [one.label for one in app.tabs if len(one.children)] == [tab]
    return app


def away_and_back(app: AppTest, tab: str) -> AppTest:
    """Look at every other tab and come back."""
    for other in ("Queue", "Labels", "Model", "Plan"):
        if other != tab:
            turned(app, other)
    return turned(app, tab)


def inputs(app: AppTest) -> list[Any]:
    names = ("selectbox", "number_input", "slider", "select_slider", "text_input", "toggle", "button_group")
    return [one for name in names for one in app.get(name)]


def box(app: AppTest, label: str) -> Any:
    return next(one for one in inputs(app) if one.label == label)


def test_the_queue_keeps_filters_band_page_and_name(opened: Callable[..., tuple[Filled, AppTest]]) -> None:
    """The list, its filters, the score, the band, the page and the reviewer's name are as they were left."""
    many = [f"text {n} of many" for n in range(250)]
    values = np.full((250, 3), (0.4, 0.35, 0.25), np.float32)
    _, app = opened("Queue", texts=many, values=values)
    wanted = {
        "Show": views.EVERY,
        "Score": "animal",
        "Class": "animal",
        "From": 0.3,
        "To": 0.5,
        "Text contains": "many",
        "Who decides": "Lee",
        "Page": 3,
    }
    for label, value in wanted.items():
        box(app, label).set_value(value)
        app.run()
        assert not app.exception
    app = away_and_back(app, "Queue")
    assert {label: box(app, label).value for label in wanted} == wanted
    assert box(app, "In the band").value is True
    assert "201–250 of 250 items" in "\n".join(one.value for one in app.caption)


def test_a_list_that_became_shorter_has_a_last_page(opened: Callable[..., tuple[Filled, AppTest]]) -> None:
    """C79: whoever is on a page that others emptied is shown the last one there is, not an error."""
    made, app = opened("Queue", texts=[f"text {n}" for n in range(250)])
    box(app, "Show").set_value(views.EVERY)
    app.run()
    box(app, "Page").set_value(3)
    app.run()
    save_scores(made.root, made.items[:120], made.schema.labels, np.full((120, 3), 1 / 3, np.float32))
    app.run()
    assert not app.exception
    assert box(app, "Page").value == 2
    assert "101–120 of 120 items" in "\n".join(one.value for one in app.caption)


def test_the_labels_tab_keeps_the_case(opened: Callable[..., tuple[Filled, AppTest]]) -> None:
    """The case that was being looked at is open again."""
    _, app = opened("Labels")
    before = box(app, "Item").options
    box(app, "Item").set_value(1)
    app.run()
    app = away_and_back(app, "Labels")
    assert (box(app, "Item").value, box(app, "Item").options) == (1, before)
    assert [one.label for one in app.text_input] == ["Your name"]


def test_the_model_tab_keeps_model_view_and_prices(opened: Callable[..., tuple[Filled, AppTest]]) -> None:
    """Model, view, class, cut and prices are as they were left."""
    _, app = opened("Model")
    box(app, "Model").set_value("p-v001")
    app.run()
    for view, wanted in (
        (ERRORS, {"True": "food", "Said": "animal"}),
        (CALIBRATION, {"Class": "machine"}),
        (THRESHOLDS, {"Class": "food", "Price of a false alarm": 3.0, "Price of a miss": 7.5}),
    ):
        box(app, "View").set_value(view)
        app.run()
        for label, value in wanted.items():
            box(app, label).set_value(value)
            app.run()
        if view == THRESHOLDS:
            box(app, "Cut").set_value(1.0)
            app.run()
            wanted = {**wanted, "Cut": 1.0}
        app = away_and_back(app, "Model")
        assert {label: box(app, label).value for label in wanted} == wanted
        assert (box(app, "Model").value, box(app, "View").value) == ("p-v001", view)


def test_a_new_model_is_shown_at_once(opened: Callable[..., tuple[Filled, AppTest]]) -> None:
    """What was chosen before a retrain gives way to the model it stored, and can be chosen again."""
    made, app = opened("Model")
    assert (box(app, "Model").value, box(app, "View").value) == ("p-v002", FIGURES)
    box(app, "Model").set_value("p-v001")
    app.run()
    judge(made, "p-v003", "KEEP", labels=120)
    app.run()
    assert box(app, "Model").value == "p-v003"
    box(app, "Model").set_value("p-v001")
    app.run()
    assert box(app, "Model").value == "p-v001"


def test_the_plan_tab_keeps_what_was_asked(opened: Callable[..., tuple[Filled, AppTest]]) -> None:
    """Examples wanted, price, gain and figure are as they were left."""
    _, app = opened("Plan")
    wanted = {
        "Examples wanted of each class": 50,
        "An expert's hour costs": 40.0,
        "A gain worth having": 0.01,
        "Figure": "F1 of food",
    }
    for label, value in wanted.items():
        box(app, label).set_value(value)
        app.run()
        assert not app.exception
    app = away_and_back(app, "Plan")
    assert {label: box(app, label).value for label in wanted} == wanted


SETTINGS = {"selectbox", "number_input", "slider", "select_slider", "segmented_control"}
RESTORED = {"band", "band-low", "band-high", "shown", "reason", "class"}
"""Keys that the queue tab restores by itself."""


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SETTINGS:
            yield node


def test_no_setting_is_forgotten() -> None:
    """Every choice, number and slider of a tab has a key and is told to persist, or its tab restores it."""
    found = 0
    for path in sorted(Path(page_module.__file__).parent.glob("tab_*.py")):
        for call in calls(path):
            given = {one.arg: one.value for one in call.keywords}
            key = given.get("key")
            assert key is not None, f"{path.name}:{call.lineno} has no key"
            restored = isinstance(key, ast.Constant) and key.value in RESTORED
            kept = given.get("persist_state")
            lasts = isinstance(kept, ast.Constant) and kept.value == "session"
            assert restored or lasts, f"{path.name}:{call.lineno} forgets what was chosen"
            found += 1
    assert found > 15
