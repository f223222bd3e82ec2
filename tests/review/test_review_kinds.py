"""The page of a relation project and of a scores project: marks, numbers in their own units, errors per dimension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from review_project import report, save_scores, verdict
from streamlit.testing.v1 import AppTest

from toughcall.model.numbers import DimensionRow
from toughcall.pool import Pool
from toughcall.reading import Row
from toughcall.records import Relation, Span, Text
from toughcall.review import live, progress, views
from toughcall.review import page as page_module
from toughcall.review import verdict as verdicts
from toughcall.store import Store

ROWS = (
    DimensionRow("mood", 0.8, 20, 0.5, 0.7, 0.9, 0.8, 1.5),
    DimensionRow("force", 0.2, 19, 1.25, 1.5, 0.5, None, 1.0),
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Return a function (project folder) → the page after one run, which must not have failed."""

    def show(root: Path) -> AppTest:
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(root))
        app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
        assert not app.exception
        return app

    return show


def read(elements: Any) -> str:
    return "\n".join(str(one.value) for one in elements)


def judged(root: Path, *, model: str = "constant mean") -> None:
    """Put a verdict on numbers into the ledger."""
    plain: dict[str, Any] = {"metric": "weighted_mae", "per_dimension": ROWS}
    reports = [report("tfidf", 1.2, **plain), report("untouched", 2.4, **plain | {"model": model})]
    with Store(root / "ledger.sqlite") as store:
        store.add_event("retrain", verdict("PROMOTE", "p-2", reports=[*reports, report("candidate", 0.65, **plain)]))
        store.add_event("retrain", verdict("KEEP", "p-3", reports=[*reports, report("candidate", 0.65, **plain)]))


def test_a_relation_is_shown_with_its_marks(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """The queue and the detail mark subject and object; search reads the text as it is; classes can be chosen."""
    made = filled("relation", values=[(0.9, 0.1), (0.6, 0.4), (0.2, 0.8), (0.5, 0.5), (0.7, 0.3)])
    app = shown(made.root)
    table = app.dataframe[0].value
    assert list(table["text"]) == ["[SUBJ] two [/SUBJ] [OBJ] cars [/OBJ]", "[SUBJ] three [/SUBJ] [OBJ] pies [/OBJ]"]
    assert list(table["class"]) == ["eats", "NO_RELATION"]
    assert "[SUBJ] two [/SUBJ] [OBJ] cars [/OBJ]" in read(app.text)
    assert "ana: NO_RELATION" in read(app.text)
    assert "k1" in read(app.caption)
    app.text_input("search").input("three pies").run()
    assert list(app.dataframe[0].value["text"]) == ["[SUBJ] three [/SUBJ] [OBJ] pies [/OBJ]"]
    app.text_input("search").input("").run()
    app.selectbox("class").select("eats").run()
    assert list(app.dataframe[0].value["item"]) == [made.items[1].id]
    app.selectbox("shown").select(views.UNASKED).run()
    assert app.dataframe[0].value["text"].iloc[0] == "[SUBJ] four [/SUBJ] [OBJ] dogs [/OBJ]", "the most uncertain first"
    assert not app.exception


def test_a_long_text_is_shown_where_its_marks_are(filled: Callable[..., Any]) -> None:
    """Of a long passage the queue shows what is asked about; the detail shows all of it."""
    made = filled("relation")
    long = Text("word " * 200 + "Ada saw Bo" + " word" * 200)
    item = Relation(long, Span(1000, 1003, "X"), Span(1008, 1010, "Y"))
    Pool(made.root / "pool").add([Row("1", item)])
    save_scores(made.root, [item], made.schema.labels, np.array([[0.5, 0.5]], np.float32))
    with live.opened(made.root) as one:
        page = views.queue_page(one, views.Filter(show=views.UNASKED), [], {})
        found = views.detail(one, item.id, [], {})
    assert list(page.rows["item"]) == [item.id]
    assert "[SUBJ] Ada [/SUBJ] saw [OBJ] Bo [/OBJ]" in page.rows["text"].iloc[0]
    assert page.rows["text"].iloc[0].startswith("…")
    assert found is not None
    assert found.texts == (("", item.marked),)


def test_numbers_are_queued_by_their_expected_error(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """The score is half the prediction interval; no band, no class, and the prediction in its own units."""
    made = filled("scores", values=[(0.0, 1.0), (0.53, 0.333), (0.5, 0.5), (0.9, 0.1), (1.0, 0.0)])
    app = shown(made.root)
    table = app.dataframe[0].value
    assert list(table["text"]) == ["two cars", "three pies"]
    assert list(table["score"]) == pytest.approx([0.125, 0.25])
    assert not table["class"].any()
    assert not [one for one in app.slider if one.key == "band"]
    assert app.toggle("inside").disabled
    assert app.selectbox("class").disabled
    predicted = app.dataframe[1].value
    assert predicted.to_dict("records") == [
        {"dimension": "mood", "predicted": 0.0, "range": "-4 to 4"},
        {"dimension": "force", "predicted": 3.33, "range": "0 to 10"},
    ]
    assert "ana: mood 2, force 2" in read(app.text)
    app.selectbox("shown").select(views.UNASKED).run()
    assert list(app.dataframe[0].value["text"]) == ["five bikes", "four dogs"], "the widest first"
    assert not app.exception
    with live.opened(made.root) as one:
        found = views.histogram(one, "", 0.0, 1.0)
        assert views.score_name(one, "") == "half the 90 % interval, as a share of the range"
    assert found is not None
    assert (found.total, int(found.bars["count"].sum())) == (5, 5)
    assert found.bars.loc[found.bars["count"] > 0, "low"].to_list() == [0.0, 0.125, 0.25, 0.375, 0.5]


def test_scores_of_other_dimensions_are_not_read_as_these(filled: Callable[..., Any]) -> None:
    """After the dimensions changed the old scores still order the queue; their numbers are shown nowhere."""
    made = filled("scores")
    path = made.root / "project.toml"
    path.write_text(path.read_text().replace('dimensions."force"', 'dimensions."might"'))
    with live.opened(made.root) as one:
        found = views.detail(one, made.items[0].id, [], {})
    assert found is not None
    assert found.numbers.empty
    assert found.chances.empty


def test_the_model_tab_tells_errors_per_dimension(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """Each dimension's error stands beside the training mean's, the worst first; the mean is not called an encoder."""
    made = filled("scores")
    judged(made.root)
    app = shown(made.root)
    tab = app.tabs[2]
    rows = next(one.value for one in tab.dataframe if "mean's MAE" in one.value)
    assert rows.to_dict("list") == {
        "dimension": ["force", "mood"],
        "held out": [19.0, 20.0],
        "MAE": [1.25, 0.5],
        "mean's MAE": [1.0, 1.5],
        "RMSE": [1.5, 0.7],
        "Spearman": [pytest.approx(np.nan, nan_ok=True), 0.8],
    }
    assert "Error per dimension" in read(tab.markdown)
    assert "F1 per class" not in read(tab.markdown)
    assert "dashed: constant mean" in read(tab.caption)
    assert "encoder" not in read(tab.caption)
    with live.opened(made.root) as one:
        table = verdicts.figures(one.retrains[-1])
    assert list(table["role"]) == ["TF-IDF + linear", "constant mean", "candidate"]
    assert list(table["floor"]) == [False, True, False]
    assert set(table["metric"]) == {"weighted mean error, smaller is better"}


def test_an_error_above_one_is_inside_the_chart(filled: Callable[..., Any]) -> None:
    """Errors are in units and may be above 1: the chart's scale holds every dot and interval."""
    from toughcall.review import charts

    made = filled("scores")
    judged(made.root)
    with live.opened(made.root) as one:
        table = verdicts.figures(one.retrains[-1])
    drawn = charts.figures(table, "candidate").to_dict()
    domains = [
        layer["encoding"]["x"]["scale"]["domain"]
        for layer in drawn["layer"]
        if "scale" in layer["encoding"].get("x", {})
    ]
    assert domains
    for low, high in domains:
        assert 0 <= low < table["low"].min()
        assert high > table["high"].max()


def test_the_labels_tab_counts_by_dimension(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """What was answered is counted for each dimension, in the schema's order, under a heading that says so."""
    made = filled("scores")
    with live.opened(made.root) as one:
        rows = progress.classes(one).to_dict("records")
    assert rows == [{"class": name, "train": 1, "held_out": 1, "unsplit": 0} for name in ("mood", "force")]
    tab = shown(made.root).tabs[1]
    assert "Answers per dimension" in read(tab.markdown)
    assert "2 agreed labels" in read(tab.caption)
