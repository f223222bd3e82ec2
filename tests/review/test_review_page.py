"""The page itself, run by Streamlit's own test runner."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_models import TEXTS, judge, promoted
from review_project import HOSTILE, class_row, report, verdict
from streamlit.testing.v1 import AppTest

from toughcall.review import live, promoting, tab_model
from toughcall.review import page as page_module
from toughcall.store import Store

PAGE = Path(page_module.__file__)
APP = Path(__file__).parents[2] / "streamlit_app.py"
MARKDOWN = ("markdown", "caption", "title", "header", "subheader", "info", "success", "warning", "error", "metric")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Return a function (project folder) → the page after one run, which must not have failed."""

    def show(root: Path, script: Path = PAGE) -> AppTest:
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(root))
        app = AppTest.from_file(str(script), default_timeout=120).run()
        assert not app.exception
        return app

    return show


def read(elements: Any) -> str:
    """Return the words of some elements, one a line."""
    return "\n".join(str(one.value) for one in elements)


@pytest.mark.parametrize("script", [PAGE, APP])
def test_an_empty_project_says_what_to_do(
    make_project: Callable[..., Path], shown: Callable[..., AppTest], script: Path
) -> None:
    """Each empty tab names the next command in one sentence; both ways in draw the same page."""
    app = shown(make_project(), script)
    assert [tab.label for tab in app.tabs] == ["Queue", "Labels", "Model", "Plan"]
    for tab in app.tabs:
        assert "toughcall import FILE" in read(tab.info)
    assert [(one.label, one.value) for one in app.metric][-1] == ("Champion", "none yet")


def test_only_the_tab_that_is_looked_at_is_drawn(
    make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not looked at costs nothing; the address says which tab is open."""
    monkeypatch.setattr(live, "LAZY", True)
    monkeypatch.setenv("TOUGHCALL_PROJECT", str(make_project()))
    for tab, words in (("", "There are no records yet"), ("Labels", "no records to label"), ("Model", "No model")):
        app = AppTest.from_file(str(PAGE), default_timeout=120)
        if tab:
            app.query_params["tab"] = tab
        app.run()
        assert not app.exception
        assert [words in one.value for one in app.info] == [True]


@pytest.mark.parametrize("kind", ["multiclass", "pair"])
def test_hostile_text_is_never_markdown(filled: Callable[..., Any], shown: Callable[..., AppTest], kind: str) -> None:
    """Scripts, Markdown, sums of money and pictures reach the page as plain text only (C78, P12)."""
    app = shown(filled(kind, texts=(*HOSTILE, "the last one"), keys=(*HOSTILE, "last")).root)
    plain = read(app.text)
    assert sum(text in plain for text in HOSTILE) == (2 if kind == "pair" else 1)
    for kind_of_element in MARKDOWN:
        said = read(app.get(kind_of_element))
        assert not any(mark in said for mark in ("<script", "![picture", "**bold**", ":red[", " $5 "))
    assert not app.get("code")


def test_a_pair_stands_side_by_side(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """Both records of the first item are shown whole, in two columns, with why it was asked and what was said."""
    made = filled("pair")
    app = shown(made.root)
    records = [
        column for column in app.columns if any(text.value in ("two cars", "three pies") for text in column.text)
    ]
    assert len(records) >= 2
    assert "rare class: P(food) = 0.20" in read(app.text)
    assert "ana: not_similar" in read(app.text)


def test_the_filters_work(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """Choosing a reason, a search or unasked items changes the rows; nothing left is said so."""
    app = shown(filled().root)
    assert list(app.dataframe[0].value["text"]) == ["two cars", "three pies"]
    app.selectbox("reason").select("random_audit").run()
    assert list(app.dataframe[0].value["text"]) == ["three pies"]
    app.text_input("search").input("zebra").run()
    assert "No item matches" in read(app.info)
    app.text_input("search").input("").run()
    app.selectbox("shown").select("\x00unasked").run()
    assert set(app.dataframe[0].value["text"]) == {"four dogs", "five bikes"}
    assert not app.exception


@pytest.mark.parametrize("outcome", ["PROMOTE", "KEEP", "UNDECIDED"])
def test_the_verdict(filled: Callable[..., Any], shown: Callable[..., AppTest], outcome: str) -> None:
    """The model tab names outcome, sentence, the never-predicted labels and every check."""
    made = filled()
    reports = [report("untouched", 0.6), report("candidate", 0.7, dead=["food"], per_class=(class_row("animal", 0.7),))]
    with Store(made.root / "ledger.sqlite") as store:
        store.add_event("retrain", verdict("KEEP"))
        store.add_event("retrain", verdict(outcome, "p-2", reports=reports if outcome != "UNDECIDED" else []))
    app = shown(made.root)
    tab = app.tabs[2]
    assert outcome in read(tab.markdown)
    assert {"PROMOTE": "p-2: macro F1 0.700", "KEEP": "untouched: not proven", "UNDECIDED": "untouched: no row of it"}[
        outcome
    ] in read(tab.text)
    assert ("Never predicted: food" in read(tab.text)) == (outcome != "UNDECIDED")
    assert list(tab.table[0].value["passed"]) == ["✓ yes", "✗ no", "? open"]


def test_a_broken_project_is_one_sentence(make_project: Callable[..., Path], shown: Callable[..., AppTest]) -> None:
    """A mistake in project.toml is said as the command line says it: no traceback, no half page (C82)."""
    root = make_project()
    path = root / "project.toml"
    path.write_text(path.read_text().replace("kind =", "knid ="))
    app = shown(root)
    assert "cannot be shown" in read(app.error)
    assert "project.knid (did you mean 'kind'?)" in read(app.text)
    assert not app.tabs
    assert "Traceback" not in read(app.text)


@pytest.mark.parametrize("content", [None, b"this is no database" * 99])
def test_a_missing_or_damaged_ledger_is_one_sentence(
    make_project: Callable[..., Path], shown: Callable[..., AppTest], content: bytes | None
) -> None:
    """Without a ledger the page says so; it never makes one."""
    root = make_project()
    for path in root.glob("ledger.sqlite*"):
        path.unlink()
    if content:
        (root / "ledger.sqlite").write_bytes(content)
    app = shown(root)
    assert "ledger.sqlite" in read(app.text)
    assert "backup" in read(app.text)
    assert (root / "ledger.sqlite").exists() == bool(content)


def test_damaged_scores_leave_the_frame(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """A damaged scores file is named with the command that mends it."""
    made = filled()
    (made.root / "scores" / "latest.parquet").write_bytes(b"x")
    assert "toughcall score" in read(shown(made.root).text)


BUSY = """
import sys
from pathlib import Path
from toughcall.files import lock
from toughcall.store import Store
root = Path(sys.argv[1])
with lock(root, "retrain"), Store(root / "ledger.sqlite") as store, store.transaction() as base:
    base.execute("INSERT INTO meta VALUES ('half', 'done')")
    print("busy", flush=True)
    sys.stdin.readline()
"""


def test_the_page_reads_while_a_command_runs(filled: Callable[..., Any], shown: Callable[..., AppTest]) -> None:
    """Another process holds the project's lock and an open write: the page still shows everything (C81)."""
    made = filled()
    command = [sys.executable, "-c", BUSY, str(made.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "busy\n"
        app = shown(made.root)
        assert other.poll() is None
        other.stdin.write("\n")
    assert other.returncode == 0
    assert "two cars" in read(app.text)
    assert [one.value for one in app.metric] == ["1", "2", "2", "none yet"]


def test_the_page_needs_no_model(filled: Callable[..., Any]) -> None:
    """Drawing a tab loads neither torch, an encoder, FAISS nor Label Studio's client; the plan's is the only one that
    may fit a curve.
    """
    made = filled()
    code = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        "for tab in ('Queue', 'Labels', 'Model'):\n"
        f"    app = AppTest.from_file({str(PAGE)!r}, default_timeout=120)\n"
        "    app.query_params['tab'] = tab; app.run()\n"
        "    assert len(app.tabs) == 4 and not app.exception\n"
        "heavy = {'torch', 'sentence_transformers', 'transformers', 'faiss', 'label_studio_sdk', 'sklearn'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "TOUGHCALL_PROJECT": str(made.root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_both_ways_in_are_configured_alike() -> None:
    """`streamlit run streamlit_app.py` and `toughcall review` listen on loopback and report nothing (C82)."""
    import tomllib

    ours, installed = (path.with_name(".streamlit") / "config.toml" for path in (APP, PAGE))
    assert ours.read_text() == installed.read_text()
    found = tomllib.loads(ours.read_text())
    assert found["server"]["address"] == "127.0.0.1"
    assert found["browser"]["gatherUsageStats"] is False
    assert found["client"]["showErrorDetails"] == "none"


def test_c80_a_click_that_was_cut_off_is_told_of_by_the_next(
    filled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C80: of a double click the first is carried out and may be stopped before it says so: the second one does, and
    only where the move has been made; another session's press is told that the champion has changed.
    """
    import streamlit as st

    made = filled(texts=TEXTS)
    for version in ("p-v001", "p-v002"):
        judge(made, version)
        promoted(made, [version])
    monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
    with live.opened(made.root) as one:
        (move,) = promoting.offered(one)
    for before, done, said in (("", "", "unmoved"), (move.id, "", "unmoved"), (move.id, "p-v001", "moved")):
        if done:
            promoted(made, [done])
        state: dict[str, Any] = {"pressed": before}
        monkeypatch.setattr(st, "session_state", state)
        monkeypatch.setattr(promoting, "carry_out", lambda root, one: "the champion has changed")
        tab_model._pressed(move)
        assert {"moved", "unmoved"} & state.keys() == {said}
