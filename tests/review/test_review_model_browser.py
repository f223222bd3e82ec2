"""The model tab in a real browser: a double click, a click on a cell, the keyboard, the dark theme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_models import TEXTS, judge, promoted
from review_project import Filled
from test_review_browser import CHROMIUM, FLAGS, served

from toughcall.model.registry import Registry
from toughcall.store import Store

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium, then run pytest -m browser"),
]


def test_the_model_tab_in_a_browser(filled: Callable[..., Any], tmp_path: Path) -> None:
    """C80: a double click goes back one step and leaves no other offer open; cells open by mouse, views by keyboard."""
    from playwright.sync_api import expect, sync_playwright

    made: Filled = filled("multilabel", texts=TEXTS)
    for version, labels in (("p-v001", 50), ("p-v002", 90), ("p-v003", 120)):
        judge(made, version, labels=labels)
        promoted(made, [version])
    with served(made.root, tmp_path / "log") as (port, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        page.set_default_timeout(120_000)
        expect.set_options(timeout=120_000)
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_role("tab", name="Model").click()
        page.get_by_role("button", name="Roll back to p-v002").click()
        page.get_by_test_id("stPopoverBody").get_by_role("button").dblclick()
        expect(page.get_by_text("p-v002 is in service now.")).to_be_visible()
        expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)
        expect(page.get_by_role("button", name="Promote p-v003")).to_be_visible()
        views = page.get_by_role("tabpanel", name="Model").get_by_role("radio", name="Figures")
        views.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        expect(page.get_by_text("Errors per label")).to_be_visible()
        # nothing is wider than the phone
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= 390
        browser.close()
    assert Registry(made.root / "models").champion() == "p-v002"
    with Store(made.root / "ledger.sqlite") as store:
        assert len(store.events("rollback")) == 1
