"""The model tab in a real browser: a double click, a promotion that is read first, the keyboard, the dark theme."""

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


def test_promote_is_read_before_it_is_done(filled: Callable[..., Any], tmp_path: Path) -> None:
    """C80, C81: the first press shows the verdict and does nothing; the second, by the keyboard, promotes once; going
    back is confirmed the same way, and a page that was opened before shows who serves after a refresh.
    """
    from playwright.sync_api import expect, sync_playwright

    made: Filled = filled("multiclass", texts=TEXTS)
    judge(made, "p-v001", labels=50)
    promoted(made, ["p-v001"])
    judge(made, "p-v002", labels=90)

    def moves(verb: str) -> list[str]:
        with Store(made.root / "ledger.sqlite") as store:
            return [str(event["version"]) for _, event in store.events(verb)]

    with served(made.root, tmp_path / "log") as (port, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        expect.set_options(timeout=120_000)
        pages = [browser.new_context(viewport={"width": 1280, "height": 900}).new_page() for _ in range(2)]
        for page in pages:
            page.set_default_timeout(120_000)
            page.goto(f"http://127.0.0.1:{port}/?tab=Model")
            expect(page.get_by_text("The gate let it through.")).to_be_visible()
        page, other = pages
        page.get_by_role("button", name="Promote p-v002").click()
        offer = page.get_by_test_id("stPopoverBody")
        expect(offer.get_by_text("p-v002 will serve instead of p-v001.")).to_be_visible()
        expect(offer.get_by_text("candidate p-v002: macro F1")).to_be_visible()
        page.keyboard.press("Escape")
        expect(offer).to_have_count(0)
        assert moves("promote") == ["p-v001"]
        page.get_by_role("button", name="Promote p-v002").click()
        offer.get_by_role("button", name="Promote p-v002").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("p-v002 is in service now.")).to_be_visible()
        assert moves("promote") == ["p-v001", "p-v002"]
        other.get_by_role("button", name="Refresh").click()
        expect(other.get_by_text("It is in service now.")).to_be_visible()
        expect(other.get_by_role("button", name="Promote p-v002")).to_have_count(0)
        # the first page still offers to go back to p-v001: done on the other one, it is refused here
        for one in (other, page):
            one.get_by_role("button", name="Roll back to p-v001").click()
        for one in (other, page):
            one.get_by_test_id("stPopoverBody").get_by_role("button", name="Roll back to p-v001").click()
            said = "p-v001 is in service now." if one is other else "the champion has changed since this was shown"
            expect(one.get_by_text(said)).to_be_visible()
        assert moves("rollback") == ["p-v001"]
        browser.close()
    assert Registry(made.root / "models").champion() == "p-v001"
