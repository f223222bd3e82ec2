"""The queue tab as tests use it: opened, pressed, named, selected, and what was decided read from the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_project import Filled
from streamlit.testing.v1 import AppTest

from toughcall.review import page as page_module
from toughcall.review import views
from toughcall.store import Store
from toughcall.voting import Decision

FIVE = ((0.9, 0.06, 0.04), (0.35, 0.1, 0.3), (0.2, 0.7, 0.1), (0.45, 0.45, 0.1), (0.1, 0.3, 0.6))


Queue = Callable[..., tuple[Filled, AppTest]]


def opener(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a function (kind, …) → (a filled project, its page with the items nobody was asked about)."""

    def make(kind: str = "multiclass", show: str = views.UNASKED, **more: Any) -> tuple[Filled, AppTest]:
        if kind == "multiclass":
            more.setdefault("values", FIVE)
        made = filled(kind, **more)
        monkeypatch.setenv("TOUGHCALL_PROJECT", str(made.root))
        app = page()
        if show:
            app.selectbox("shown").select(show).run()
        return made, app

    return make


def page() -> AppTest:
    app = AppTest.from_file(page_module.__file__, default_timeout=120).run()
    assert not app.exception
    return app


def rows(app: AppTest) -> dict[str, str]:
    """Return the state of each row by its text, as it stands in the table."""
    table = app.dataframe[0].value
    return dict(zip(table["text"], table["state"], strict=True))


def press(app: AppTest, action: str) -> AppTest:
    app.button(f"queue-{action}" if action != "push" else "push").click().run()
    assert not app.exception
    return app


def named(app: AppTest, who: str = "Lee") -> AppTest:
    app.text_input("curator").input(who).run()
    return app


def select(app: AppTest, *places: int) -> AppTest:
    """Select rows as a click on their boxes does."""
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": list(places), "columns": [], "cells": []}}
    app.run()
    assert not app.exception
    return app


def decisions(root: Path, *, history: bool = True) -> list[Decision]:
    with Store(root / "ledger.sqlite") as store:
        return store.decisions(history=history)


def said(elements: Any) -> str:
    return "\n".join(str(one.value).replace("\\", "") for one in elements)
