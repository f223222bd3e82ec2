"""The model tab as Streamlit draws it: every kind, every view, every state of a project."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from review_models import TEXTS, judge, measured, promoted, seal, store_model
from review_project import HOSTILE, Filled, report, verdict
from streamlit.testing.v1 import AppTest

from toughcall import judging
from toughcall.model import kinds
from toughcall.records import IntegrityError, Scores
from toughcall.review import held_out, mistaken, tab_model
from toughcall.review import page as page_module
from toughcall.review.tab_model_detail import FIGURES, GATE
from toughcall.review.tab_model_rows import CALIBRATION, ERRORS, THRESHOLDS
from toughcall.store import Store
from toughcall.workspace import opened

KINDS = tuple(kinds.KINDS)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], AppTest]:
    """Return a function (project folder) → the page after one run, which must not have failed."""

    def show(root: Path) -> AppTest:
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(root))
        app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
        assert not app.exception
        return app

    return show


def read(elements: Any) -> str:
    return "\n".join(str(one.value) for one in elements).replace("\\", "").replace("\u2060", "")


def views(app: AppTest) -> Any:
    return next(one for one in app.button_group if one.key == "model-view")


def turn(app: AppTest, view: str) -> AppTest:
    views(app).set_value(view)
    done = app.run()
    assert not done.exception
    return done


def tab(app: AppTest) -> Any:
    return next(one for one in app.tabs if one.label == "Model")


def box(app: AppTest, label: str) -> Any:
    return next(one for one in tab(app).selectbox if one.label == label)


def filled_model(filled: Callable[..., Filled], kind: str, **more: Any) -> Filled:
    """Return a project with two judged and stored models, the first of which serves."""
    made = filled(kind, texts=TEXTS, **more)
    seal(made)
    judge(made, "p-v001", labels=50)
    judge(made, "p-v002", "KEEP", labels=90)
    promoted(made, ["p-v001"])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_view_of_every_kind(filled: Callable[..., Filled], page: Callable[..., AppTest], kind: str) -> None:
    """Each kind of work draws each of its views: figures, errors with texts, calibration, thresholds, history."""
    made = filled_model(filled, kind)
    app = page(made.root)
    said = read(tab(app).markdown)
    labelled = kind != "scores"
    assert "KEEP" in said
    assert "Learning curve" in said
    assert ("F1 per class, retrain by retrain" in said) == labelled
    assert ("Error per dimension, retrain by retrain" in said) != labelled
    notes = read(tab(app).caption)
    assert "with 90 labels" in notes
    assert "(+40 labels)" in notes
    assert "`toughcall simulate`" in notes
    assert views(app).options == (
        [FIGURES, ERRORS, CALIBRATION, THRESHOLDS, GATE] if labelled else [FIGURES, ERRORS, GATE]
    )
    app = turn(app, ERRORS)
    head = {"scores": "Predicted against true", "multilabel": "Errors per label"}.get(kind, "What was taken for what")
    assert head in read(tab(app).markdown)
    texts = read(tab(app).text)
    assert any(text.split()[1] in texts for text in TEXTS)
    if labelled:
        app = turn(app, CALIBRATION)
        assert "Does a probability mean what it says?" in read(tab(app).markdown)
        assert "Expected calibration error" in [one.label for one in app.metric]
        app = turn(app, THRESHOLDS)
        assert "Nothing here changes the model." in read(tab(app).caption)
        assert [one.label for one in app.metric][-4:] == ["precision", "recall", "F1", "cost of 1,000 items"]
    app = turn(app, GATE)
    assert f"The sealed set of {len(made.items)} items has judged 2: p-v001, p-v002." in read(tab(app).text)
    assert [one.label.replace("\\", "") for one in tab(app).expander] == [
        "2 · p-v002 · KEEP · 90 labels",
        "1 · p-v001 · PROMOTE · 50 labels",
    ]


def test_the_older_model_can_be_looked_at(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """The newest model is shown until another is chosen; the verdict above stays the newest."""
    made = filled_model(filled, "multiclass")
    app = page(made.root)
    assert box(app, "Model").value == "p-v002"
    assert [one.replace("\\", "") for one in box(app, "Model").options] == [
        "p-v002 · KEEP",
        "p-v001 · PROMOTE · in service",
    ]
    app = turn(app, CALIBRATION)
    before = [one.value for one in app.metric][-1]
    box(app, "Model").select("p-v001")
    app.run()
    assert [one.value for one in app.metric][-1] != before
    assert "KEEP" in read(tab(app).markdown)


def test_a_cell_opens_its_texts(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """The most frequent mistake is open at first; another cell shows its own texts and says how many of how many."""
    made = filled_model(filled, "multiclass")
    app = turn(page(made.root), ERRORS)
    truth, said = box(app, "True").value, box(app, "Said").value
    assert truth != said
    assert f"true {truth}, said {said}" in read(tab(app).markdown)
    box(app, "True").select("food")
    box(app, "Said").select("food")
    app.run()
    assert not app.exception
    rows, total = mistaken.behind(held_out.of_report(measured(made, seed=90)), (), ["food"], ["food"])
    assert total
    assert f"{len(rows)} of {total}, the surest first" in read(tab(app).caption)
    texts = {item.id: item.texts[0].text for item in made.items}
    shown = read(tab(app).text)
    assert all(texts[row.item] in shown for row in rows)


@pytest.mark.parametrize("kind", ["multiclass", "pair"])
def test_c78_texts_behind_a_cell_are_shown_letter_by_letter(
    filled: Callable[..., Filled], page: Callable[..., AppTest], kind: str
) -> None:
    """C78, P12: scripts, Markdown and pictures behind a cell are text; none of it reaches a Markdown element."""
    made = filled(kind, texts=(*HOSTILE, *TEXTS))
    judge(made, "p-v001")
    app = turn(page(made.root), ERRORS)
    first = next(item for item in made.items if HOSTILE[0] in item.fields().values())
    at = next(i for i, one in enumerate(measured(made, seed=50).ids) if one == first.id)
    told = measured(made, seed=50)
    names = [row.label for row in told.per_class]
    real, said = (side[at].index(1) if 1 in side[at] else -1 for side in (told.truth, told.said))
    pair = ["similar", "not_similar"]
    box(app, "True").select(names[real] if kind != "pair" else pair[real])
    box(app, "Said").select(names[said] if kind != "pair" else pair[said])
    app.run()
    assert HOSTILE[0] in [one.value for one in tab(app).text]
    for element in ("markdown", "caption"):
        words = "\n".join(str(one.value) for one in tab(app).get(element))
        assert not any(mark in words for mark in ("<script", "![picture", "**bold**", ":red["))


def test_c78_a_note_that_quotes_a_label_is_no_markdown(
    filled: Callable[..., Filled], page: Callable[..., AppTest]
) -> None:
    """C78: why random order could not learn names the labels, and these are whatever somebody called them."""
    made = filled_model(filled, "multiclass")
    note = "2 labels are too few (**bold** [a](b) 1)"
    with Store(made.root / "ledger.sqlite") as store:
        store.add_event("demo_round", {"control": {"spent": 9, "value": None, "note": note}})
    app = page(made.root)
    shown = [one.value for one in tab(app).caption if "too few" in one.value]
    assert len(shown) == 1
    assert "**bold**" not in shown[0]
    assert "[a](b)" not in shown[0]
    assert note in read(tab(app).caption)


def test_a_cut_changes_figures_and_nothing_else(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """The slider starts at the model's own cut; moved, figures and pool change, and no file of the project does."""
    made = filled_model(filled, "multilabel")
    with Store(made.root / "ledger.sqlite") as store:
        before = store.events()
    files = {path: path.read_bytes() for path in (made.root / "models").rglob("*") if path.is_file()}
    app = turn(page(made.root), THRESHOLDS)
    row = measured(made, seed=90).per_class[0]
    slider = next(one for one in tab(app).select_slider if one.label == "Cut")
    assert slider.value == pytest.approx(row.threshold)
    metrics = list(app.metric)[-4:]
    assert [one.value for one in metrics][:3] == [f"{each:.3f}" for each in (row.precision, row.recall, row.f1)]
    assert not any(one.delta for one in metrics)
    slider.set_value(1.0)
    app.run()
    assert not app.exception
    assert [one.value for one in app.metric][-4:-1] == ["–", "0.000", "0.000"]
    assert [one.delta for one in app.metric][-3] == f"{-(row.recall or 0):+.3f}"
    for label, price in (("Price of a false alarm", 3.0), ("Price of a miss", 7.0)):
        next(one for one in tab(app).number_input if one.label == label).set_value(price)
    app.run()
    assert [one.value for one in app.metric][-1] == f"{row.support * 7.0 * 1000 / len(TEXTS):,.1f}"
    assert {path: path.read_bytes() for path in files} == files
    with Store(made.root / "ledger.sqlite") as store:
        assert store.events() == before


def test_the_pool_says_what_would_go_to_people(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """Scored by this model, the pool's counts are told; scored by another, the command that scores it is."""
    made = filled_model(filled, "multiclass")
    app = turn(page(made.root), THRESHOLDS)
    assert "The pool was scored by m-1: toughcall score --model p-v002" in read(tab(app).caption)
    told = measured(made, seed=90)
    columns = tuple(row.label for row in told.per_class)
    with opened(made.root, "test", writing=False) as ws:
        values = np.array(told.values, dtype=np.float32)
        ws.save_scores(Scores(told.ids, columns, values, "p-v002", {}))
    app = turn(page(made.root), THRESHOLDS)
    assert f"Of {len(TEXTS)} scored items {len(TEXTS)} would be kept, 0 go to people." in read(tab(app).text)


def test_one_retrain_has_no_curve_yet(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """After the first retrain the details are there, and a sentence stands where the curve will be."""
    made = filled(texts=TEXTS)
    judge(made, "p-v001")
    app = page(made.root)
    assert "Learning curve" not in read(tab(app).markdown)
    assert "from the second retrain on" in read(tab(app).caption)
    assert "F1 per class" in read(tab(app).markdown)
    assert "No test set is sealed yet" in read(tab(turn(app, GATE)).text)


def test_a_model_without_a_verdict(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """Trained before there were held-out labels: no figure is invented, each view says what is missing."""
    made = filled(texts=TEXTS)
    with Store(made.root / "ledger.sqlite") as store:
        for version in ("p-v001", "p-v002"):
            store_model(made.root, version, None)
            store.add_event("retrain", verdict("UNDECIDED", version, reports=[], checks=[]))
    app = page(made.root)
    assert "No retrain was measured on held-out labels yet." in read(tab(app).caption)
    assert "was not measured" in read(tab(app).info)
    for view in (ERRORS, CALIBRATION, THRESHOLDS):
        app = turn(app, view)
        assert "no row to show" in read(tab(app).info)
    turn(app, GATE)


def test_dead_labels_are_marked(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """A label that is never predicted is named in the banner and edged in the map of classes."""
    made = filled(texts=TEXTS)
    with Store(made.root / "ledger.sqlite") as store:
        for version in ("p-1", "p-2"):
            store.add_event("retrain", verdict("KEEP", version, reports=[report("candidate", 0.4, dead=("food",))]))
    app = page(made.root)
    assert "Never predicted: food" in read(tab(app).text)
    assert "edged: never predicted" in read(tab(app).caption)


def test_one_class_alone_is_drawn(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """C66: held-out rows of one class only, never predicted at that: every view stands, what is undefined is a dash."""
    made = filled(texts=TEXTS)
    told = measured(made)
    n = len(told.ids)
    rows = [
        dataclasses.replace(row, support=0, predicted=0, precision=None, recall=None, f1=None) for row in told.per_class
    ]
    rows[0] = dataclasses.replace(rows[0], support=n, recall=0.0, f1=0.0)
    rows[1] = dataclasses.replace(rows[1], predicted=n, precision=0.0)
    one = dataclasses.replace(
        told,
        per_class=tuple(rows),
        dead=("animal",),
        truth=((1, 0, 0),) * n,
        said=((0, 1, 0),) * n,
        confusion=((0, n, 0), (0, 0, 0), (0, 0, 0)),
        value=0.0,
    )
    store_model(made.root, "p-v001", one)
    with Store(made.root / "ledger.sqlite") as store:
        for version in ("p-v000", "p-v001"):
            store.add_event("retrain", verdict("KEEP", version, reports=[judging.short(one)]))
    app = page(made.root)
    for view in (ERRORS, CALIBRATION, THRESHOLDS, GATE):
        app = turn(app, view)
    app = turn(app, THRESHOLDS)
    box(app, "Class").select("food")
    app.run()
    assert not app.exception
    assert [metric.value for metric in app.metric][-4:] == ["–", "–", "–", "0.0"]


def test_a_champion_older_than_the_candidate(filled: Callable[..., Filled], page: Callable[..., AppTest]) -> None:
    """The banner names who serves; both models are there to be looked at, the newest first."""
    made = filled_model(filled, "multiclass")
    app = page(made.root)
    assert "p-v002 · trained on 90 labels · in service: p-v001" in read(tab(app).text)


@pytest.mark.parametrize("damage", ["changed", "missing", "gone", "other"])
def test_c69_a_damaged_report_is_one_sentence(
    filled: Callable[..., Filled], page: Callable[..., AppTest], damage: str
) -> None:
    """C69, C82: a report that was changed, is missing or no report costs its own view one sentence, nothing else."""
    made = filled_model(filled, "multiclass")
    folder = made.root / "models" / "p-v002"
    if damage == "changed":
        (folder / "report.json").write_bytes(b"{}")
    elif damage == "missing":
        (folder / "report.json").unlink()
    elif damage == "gone":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    else:
        (folder / "model.pkl").write_bytes(b"x")
    app = page(made.root)
    assert "Against champion and baselines" in read(tab(app).markdown), "the ledger has its own copy of the figures"
    for view in (ERRORS, CALIBRATION, THRESHOLDS):
        app = turn(app, view)
        assert [one.value for one in tab(app).warning] == ["The held-out rows of this model cannot be read."]
        assert "p-v002" in read(tab(app).text)
        assert "Traceback" not in read(tab(app).text)
    box(app, "Model").select("p-v001")
    app.run()
    assert not tab(app).warning


def test_c82_the_ledger_that_breaks_between_two_drawings(
    filled: Callable[..., Filled], page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C82: the detail opens the project by itself; what it cannot open is a sentence in its place."""
    made = filled_model(filled, "multiclass")

    def broken(root: Path) -> Any:
        raise IntegrityError("the ledger is gone: restore a backup")

    monkeypatch.setattr(tab_model, "opened", broken)
    app = page(made.root)
    assert "This cannot be shown." in read(tab(app).warning)
    assert "the ledger is gone: restore a backup" in read(tab(app).text)
    assert "KEEP" in read(tab(app).markdown)
