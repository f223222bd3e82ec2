"""Every tab in every early and odd state of a project, for every kind of work: what is so, and the next command."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from review_models import TEXTS, judge, promoted
from review_project import Filled, answer, said
from streamlit.testing.v1 import AppTest

from toughcall.model import kinds
from toughcall.records import Batch, Pick
from toughcall.review import page as page_module
from toughcall.review import verdict
from toughcall.store import Store

KINDS = tuple(kinds.KINDS)
TABS = ("Queue", "Labels", "Model", "Plan")
IMPORT = "`toughcall import FILE --text COLUMN`"


def emptied(made: Filled, part: str = "train") -> Filled:
    """Take batches, answers and verdicts out of a filled project; every record is of one part."""
    for path in made.root.glob("ledger.sqlite*"):
        path.unlink()
    texts = {text.id for item in made.items for text in item.texts}
    with Store(made.root / "ledger.sqlite", create=True) as store:
        store.add_schema(made.schema)
        store.add_parts(dict.fromkeys(texts, part), dict.fromkeys(texts, ""))
    return made


def asked(made: Filled, places: Sequence[int], state: str = "sent", name: str = "b001") -> None:
    """Save a batch of some items."""
    picks = tuple(Pick(made.items[place].id, "in_band", 0.5, n) for n, place in enumerate(places))
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(Batch(name, made.schema.version, "m-1", picks))
        if state != "planned":
            store.mark_batch(name, state)


def answered(made: Filled, which: Callable[[int], int], batch: str = "b001", **more: Any) -> None:
    """Answer every item with the label, or the number, of a place."""
    with Store(made.root / "ledger.sqlite") as store:
        store.add_answers(
            [answer(one, said(made.schema, which(n)), made.schema, batch, **more) for n, one in enumerate(made.items)]
        )


# ---- the states


def empty(made: Filled) -> None:
    """No rows are imported."""
    for folder in ("pool", "scores"):
        shutil.rmtree(made.root / folder)
    emptied(made)


def unscored(made: Filled) -> None:
    """There are rows and no scores; nothing was split yet."""
    shutil.rmtree(emptied(made).root / "scores")
    with Store(made.root / "ledger.sqlite") as store:
        store.base.execute("DELETE FROM parts")


def scored(made: Filled) -> None:
    """There are scores; nothing was chosen or pushed."""
    emptied(made)


def planned(made: Filled) -> None:
    """A batch was chosen and not sent."""
    asked(emptied(made), (0, 1), "planned")


def sent(made: Filled) -> None:
    """A batch was sent and nobody has answered."""
    asked(emptied(made), (0, 1))


def one_class(made: Filled) -> None:
    """Everything is answered, each time with the same class."""
    asked(emptied(made), range(len(made.items)), "done")
    answered(made, lambda n: 0)


def all_answered(made: Filled) -> None:
    """Everything is answered, and nothing was trained."""
    asked(emptied(made), range(len(made.items)), "done")
    answered(made, lambda n: n % 2)


def held_out(made: Filled) -> None:
    """Every record is of the test part, and nobody was asked."""
    emptied(made, "test")


def measuring(made: Filled) -> None:
    """Every record is of the test part and came with its label, as `toughcall import --held-out` stores it."""
    emptied(made, "test")
    answered(made, lambda n: n % 2, "", by="import", source="import")


def keeping(made: Filled) -> None:
    """Everything is answered; the one retrain was judged KEEP, and no model was ever in service."""
    all_answered(made)
    judge(made, "p-v001", "KEEP")


STATES = (empty, unscored, scored, planned, sent, one_class, all_answered, held_out, measuring, keeping)
NOBODY = "No answers yet. Choose the first items and send them to the experts: `toughcall round`"
NOT_JUDGED = "No model has been judged yet. "
NO_ANSWERS = f"{NOT_JUDGED}There are no answers to learn from yet. "
ALL_HELD = "Every record is held out: it measures models, and n"
UNTOLD = "no answer shows how rare it is. Items drawn at random do, and every round asks some: `toughcall round`"
DONE = "Everything that is scored was asked, answered or set aside, or is held out. "
NO_DATA = "none measured; toughcall retrain measures again after the next batch"
SAYS: dict[str, tuple[str, str, str, str]] = {
    "empty": (
        f"There are no records yet. Import a file: {IMPORT}",
        f"There are no records to label yet. Import a file: {IMPORT}",
        f"{NOT_JUDGED}There are no records yet. Import a file: {IMPORT}",
        f"There is nothing to plan yet. Import a file: {IMPORT}",
    ),
    "unscored": (
        "Nothing is scored yet. Score the pool: `toughcall score`",
        NOBODY,
        f"{NO_ANSWERS}Start the next round: `toughcall round`",
        NO_DATA,
    ),
    "scored": (
        "Nothing to send: approve or pin items first, or let mining choose: `toughcall round`",
        NOBODY,
        f"{NO_ANSWERS}Start the next round: `toughcall round`",
        NO_DATA,
    ),
    "planned": (
        "2 of batch b001, made and not sent yet",
        "No answers yet: the batch is chosen and not sent. Send it to the experts: `toughcall push`",
        f"{NO_ANSWERS}The newest batch is chosen but not sent yet: `toughcall push`",
        NO_DATA,
    ),
    "sent": (
        "1–2 of 2 items.",
        "No answers yet. When experts have answered in Label Studio: `toughcall pull`",
        f"{NO_ANSWERS}2 items wait for an answer in Label Studio. When done: `toughcall round`",
        NO_DATA,
    ),
    "one_class": (
        f"{DONE}Import more: {IMPORT}",
        "Every answer to learn from is “{first}”: nothing can be learnt before another one is there: `toughcall round`",
        NOT_JUDGED + "Every answer to learn from is “{first}”: nothing can be learnt before another one is there: "
        "`toughcall round`",
        NO_DATA,
    ),
    "all_answered": (
        f"{DONE}Import more: {IMPORT}, or learn from the answers: `toughcall retrain`",
        "is on the Plan tab: `toughcall plan`",
        f"{NOT_JUDGED}Train and judge one: `toughcall retrain`",
        NO_DATA,
    ),
    "held_out": (
        f"{ALL_HELD}obody is asked about it by hand; ",
        NOBODY,
        f"{NOT_JUDGED}{ALL_HELD}one is there",
        NO_DATA,
    ),
    "measuring": (
        f"{ALL_HELD}obody is asked about it by hand; ",
        f"{ALL_HELD}one is there to learn from. Import others: {IMPORT}",
        f"{NOT_JUDGED}{ALL_HELD}one is there to learn from. Import others: {IMPORT}",
        NO_DATA,
    ),
    "keeping": (
        f"{DONE}Import more: {IMPORT}, or learn from the answers: `toughcall retrain`",
        "is on the Plan tab: `toughcall plan`",
        "No model is put into service. More answers may change that: `toughcall round`",
        "only 1 of them measured (50 labels)",
    ),
}
"""By state: what the four tabs have to say."""


def read(tab: Any) -> str:
    """Return every word of a tab, one element a line, as a reader sees it."""
    names = ("info", "success", "warning", "error", "markdown", "caption", "text")
    lines = [str(one.value) for name in names for one in tab.get(name)]
    return "\n".join(lines).replace("\\", "").replace("\u2060", "")


def shown(made: Filled, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """Return the page with all of its tabs, which must not have failed or shown a traceback."""
    monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
    app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
    assert not app.exception
    assert not app.error
    assert [tab.label for tab in app.tabs] == list(TABS)
    assert not any("Traceback" in one.value or "nan" in one.value.split() for one in [*app.text, *app.caption])
    return app


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", STATES, ids=lambda one: one.__name__)
def test_every_tab_says_what_is_so(
    filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch, kind: str, state: Callable[[Filled], None]
) -> None:
    """C82: in every state each of the four tabs says what is so and names a command; nothing fails, nothing is NaN."""
    made = filled(kind, texts=TEXTS[:12])
    state(made)
    app = shown(made, monkeypatch)
    numbers, first = kind == "scores", (*made.schema.labels, "")[0]
    for tab, words in zip(app.tabs, SAYS[state.__name__], strict=True):
        said = read(tab)
        if numbers and "{first}" in words:
            # the same number again and again is no class; ten of them are enough to fit a line
            assert ("toughcall retrain" if tab.label == "Model" else "toughcall plan") in said
        elif numbers and state in (one_class,) and tab.label == "Queue":
            assert DONE in said
        else:
            assert words.format(first=first) in said, tab.label
        # what is next is a command, or on the queue the button that does it
        assert "toughcall " in said or (state is planned and not app.button("push").disabled)
    assert ("“" + first in read(app.tabs[1])) == (state is one_class and not numbers)
    plan = read(app.tabs[3])
    assert "Every class has what you asked for" not in plan, "nobody has 20 examples of anything"
    # a class that no answer has shown yet is named, as is every class before the first answer
    assert (UNTOLD in plan) == (state is not empty and not numbers and bool(unseen(made)))
    for name in unseen(made) if UNTOLD in plan else ():
        assert name in plan
    assert [one.value for one in app.metric][-1] == "none yet"


def unseen(made: Filled) -> list[str]:
    """Return the labels that no answer has."""
    with Store(made.root / "ledger.sqlite") as store:
        given = {name for one in store.answers() for name in one.value}
    return [one for one in made.schema.labels if one not in given]


def test_too_few_answers_are_counted(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> None:
    """C55: with two classes and one label each the tabs say how many there are and how many are due."""
    made = emptied(filled(texts=TEXTS[:3]))
    del made.items[2:]
    answered(made, lambda n: n, "")
    app = shown(made, monkeypatch)
    for tab in (app.tabs[1], app.tabs[2]):
        assert (
            "The answers are too few to learn from yet (animal 1, machine 1, food 0): at least two classes with 2 "
            "labels each are due: `toughcall round`"
        ) in read(tab)


def test_answers_that_all_measure_teach_nothing(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: with records to train on, but answers on held-out ones alone, no retrain is offered."""
    made = filled(texts=TEXTS[:4])
    emptied(made, "test")
    with Store(made.root / "ledger.sqlite") as store:
        # a split is frozen, and this record is not split yet
        store.base.execute("DELETE FROM parts WHERE record = ?", (made.items[3].id,))
        store.add_parts({made.items[3].id: "train"}, {made.items[3].id: ""})
        store.add_answers([answer(one, ("food",), made.schema, "") for one in made.items[:3]])
    app = shown(made, monkeypatch)
    assert "Every answer is on a held-out item: it measures, and nothing is there to learn from" in read(app.tabs[2])
    assert "toughcall retrain" not in read(app.tabs[2])


@pytest.mark.parametrize(
    ("outcome", "serving", "says"),
    [
        ("PROMOTE", "", "The gate let it through. To put it into service: `toughcall promote`"),
        ("PROMOTE", "p-v002", "It is in service now."),
        ("KEEP", "p-v001", "p-v001 stays in service. More answers may change that: `toughcall round`"),
        ("UNDECIDED", "", "No model is put into service; too little is known to decide. More held-out answers may"),
    ],
)
def test_a_verdict_says_what_follows(
    filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch, outcome: str, serving: str, says: str
) -> None:
    """Under each verdict stands what it means for the model in service, and the command that comes next."""
    made = filled(texts=TEXTS[:8])
    for version, said_of in (("p-v001", "PROMOTE"), ("p-v002", outcome)):
        judge(made, version, said_of)
    promoted(made, [serving] if serving else [])
    assert says in read(shown(made, monkeypatch).tabs[2])


def test_metrics_are_named_as_people_write_them() -> None:
    """What the gate and the plan say has "macro F1" where the ledger has macro_f1; a label of that name is whole."""
    assert verdict.in_words("p-2: macro_f1 0.7 against untouched 0.6") == "p-2: macro F1 0.7 against untouched 0.6"
    assert verdict.in_words("positive_macro_f1, roc_auc") == "macro F1 without the null label, ROC AUC"
    assert verdict.in_words("weighted_mae 1.2") == "weighted mean error 1.2"
    assert verdict.in_words("my_macro_f1s and macro_f1x") == "my_macro_f1s and macro_f1x"
