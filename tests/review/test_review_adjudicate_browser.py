"""Disagreements in a real browser: both sides read, decided by a double click, and two people who decide at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.browser import CHROMIUM, FLAGS, MISSING
from review_project import HOSTILE, Filled, answer
from test_review_browser import served

from toughcall.review import live
from toughcall.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]
TEXTS = (HOSTILE[0], "two cars", "three pies", "four dogs", "five bikes")


@contextmanager
def seen(root: Path, log: Path, tab: str, people: int = 1) -> Iterator[list[Any]]:
    """Yield the pages of so many people, each with cookies of their own, on one server."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=120_000)
    with served(root, log) as (port, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        pages = [browser.new_context(viewport={"width": 1280, "height": 1100}).new_page() for _ in range(people)]
        for page in pages:
            page.set_default_timeout(120_000)
            page.goto(f"http://127.0.0.1:{port}/?tab={tab}")
        yield pages
        browser.close()


def torn(filled: Callable[..., Filled]) -> Filled:
    """Return a project in which ana and ben differ on its first item."""
    made = filled(texts=TEXTS)
    with Store(made.root / "ledger.sqlite") as store:
        store.add_answers([answer(made.items[0], ("machine",), made.schema, "b001", "ben")])
    return made


def decided(made: Filled) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Return (who decided what on the first item, in order; the label that holds)."""
    with Store(made.root / "ledger.sqlite") as store:
        events = [one for one in store.answers(history=True) if one.origin.get("role") == "adjudication"]
    with live.opened(made.root) as one:
        labels = {label.item: label.value for label in one.labels[0]}
    assert {event.item for event in events} <= {made.items[0].id}
    said = [(event.annotator, str(event.value[0])) for event in events]
    return said, tuple(map(str, labels.get(made.items[0].id, ())))


def choose(page: Any, label: str, who: str) -> Any:
    """Fill the form; return its button."""
    page.get_by_test_id("stRadio").get_by_text(label, exact=True).click()
    page.get_by_label("Your name").fill(who)
    return page.get_by_role("button", name="Decide")


def test_adjudicate(filled: Callable[..., Filled], tmp_path: Path) -> None:
    """C78, C80: both answers stand beside the text with who gave them; a double click is one decision, the label."""
    from playwright.sync_api import expect

    made = torn(filled)
    assert decided(made) == ([], ())
    with seen(made.root, tmp_path / "log", "Labels") as (page,):
        case = page.locator(".st-key-disputes")
        expect(case.get_by_text(HOSTILE[0])).to_be_visible()
        for label, who in (("animal", "ana"), ("machine", "ben")):
            expect(case.locator("strong", has_text=label)).to_be_visible()
            expect(case.get_by_text(who, exact=True)).to_be_visible()
        expect(page.get_by_text("1 in disagreement")).to_be_visible()
        page.get_by_role("button", name="Decide").click()
        expect(page.get_by_text("Choose an answer first.")).to_be_visible()
        assert decided(made) == ([], ())
        choose(page, "machine", "Lee").dblclick()
        expect(page.get_by_text(re.compile("Lee decided:.? machine"))).to_be_visible()
        expect(page.get_by_text("To decide")).to_have_count(0)
        expect(page.get_by_text("in disagreement")).to_have_count(0)
        assert page.title() == "p · toughcall"
    assert decided(made) == ([("Lee", "machine")], ("machine",))


def test_c79_two_people_adjudicate_one_item(filled: Callable[..., Filled], tmp_path: Path) -> None:
    """C79: who decides from a page that is out of date is heard too: both are events, the later one is the label."""
    from playwright.sync_api import expect

    made = torn(filled)
    with seen(made.root, tmp_path / "log", "Labels", people=2) as (first, second):
        for page in (first, second):
            expect(page.get_by_text("1 in disagreement")).to_be_visible()
        choose(first, "animal", "Lee").click()
        expect(first.get_by_text(re.compile("Lee decided:.? animal"))).to_be_visible()
        choose(second, "food", "Kim").click()
        expect(second.get_by_text(re.compile("Kim decided:.? food"))).to_be_visible()
        for page in (first, second):
            page.get_by_role("button", name="Refresh").click()
            expect(page.get_by_text("2 agreed labels")).to_be_visible()
            page.get_by_role("tab", name="Queue").click()
            page.get_by_role("combobox", name="Show").click()
            page.get_by_role("option", name="Batch b001").click()
            expect(page.get_by_text("Kim: food")).to_be_visible()
            expect(page.get_by_text("Lee: animal")).to_be_visible()
    assert decided(made) == ([("Lee", "animal"), ("Kim", "food")], ("food",))
