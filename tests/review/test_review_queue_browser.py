"""The queue tab in a real browser: a band drawn by hand, decisions by the keyboard alone, a push, hostile texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fakes.browser import CHROMIUM, FLAGS, MISSING
from fakes.label_studio import FakeStudio
from review_project import HOSTILE, Filled
from test_review_browser import served

from toughcall.project import TOKEN_VARIABLE
from toughcall.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]
FIVE = ((0.9, 0.06, 0.04), (0.35, 0.1, 0.3), (0.2, 0.7, 0.1), (0.45, 0.45, 0.1), (0.1, 0.3, 0.6))
IDLE = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"


@contextmanager
def seen(root: Path, log: Path) -> Iterator[Any]:
    """Yield the page in Chromium; leaving it, nothing outside this machine was asked for."""
    from playwright.sync_api import sync_playwright

    wanted: list[str] = []
    with served(root, log) as (port, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1300})
        page.set_default_timeout(120_000)
        page.on("request", lambda request: wanted.append(request.url))
        page.goto(f"http://127.0.0.1:{port}")
        page.locator(".st-key-record-0").wait_for()
        page.wait_for_function(IDLE)
        yield page
        browser.close()
    hosts = {urlsplit(one).hostname for one in wanted if urlsplit(one).scheme not in ("data", "blob")}
    assert hosts == {"127.0.0.1"}


def decided(root: Path) -> list[tuple[str, str, str]]:
    with Store(root / "ledger.sqlite") as store:
        return [(one.item, one.action, one.who) for one in store.decisions(history=True)]


def tab_to(page: Any, name: str, most: int = 60) -> None:
    """Press Tab until the button of that name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if name in (page.evaluate("document.activeElement.innerText || ''") or ""):
            return
    raise AssertionError(f"Tab never came to {name}")


def counted(page: Any, words: str) -> None:
    page.get_by_text(words).first.wait_for()
    page.wait_for_function(IDLE)


def at_rest(chart: Any) -> Any:
    """Return where a chart is, when it is drawn and does not move any more."""
    chart.locator("canvas, svg").first.wait_for()
    box = None
    while box != (now := chart.bounding_box()):
        box = now
        chart.page.wait_for_timeout(1000)
    return box


def test_band_rows_approve_push(filled: Callable[..., Filled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C80, P2: a band drawn on the chart changes the rows; approved by Tab and Enter and pushed by a double click, the
    item is on the server once.
    """
    with FakeStudio() as studio:
        monkeypatch.setenv(TOKEN_VARIABLE, studio.token)
        made = filled(values=FIVE, studio__url=studio.url)
        with Store(made.root / "ledger.sqlite") as store:
            store.mark_batch("b002", "done")
        with seen(made.root, tmp_path / "log") as page:
            counted(page, "1–2 of 2 items")
            chart = at_rest(page.locator("[data-testid=stVegaLiteChart]").first)
            # the scale runs from 0.4 to 1: drawn is about 0.6 to 0.75, where only the last item lies
            left, width, middle = chart["x"] + 60, chart["width"] - 70, chart["y"] + chart["height"] / 3
            page.mouse.move(left + width * 0.36, middle)
            page.mouse.down()
            page.mouse.move(left + width * 0.5, middle, steps=5)
            page.mouse.move(left + width * 0.58, middle, steps=5)
            page.mouse.up()
            counted(page, "1–1 of 1 items")
            low, high = (float(page.get_by_label(name, exact=True).input_value()) for name in ("From", "To"))
            assert 0.55 < low < 0.65 < high < 0.8
            page.get_by_label("Who decides").fill("Lee")
            page.get_by_label("Who decides").press("Enter")
            page.wait_for_function(IDLE)
            page.locator("[data-testid=stHeading]").first.click()
            tab_to(page, "Approve")
            page.keyboard.press("Enter")
            counted(page, "1 item approved")
            assert decided(made.root) == [(made.items[4].id, "approve", "Lee")]
            page.get_by_role("button", name="Push 1 item to Label Studio").dblclick()
            counted(page, "1 sent")
            page.screenshot(path=tmp_path / "pushed.png")
        (project,) = studio.projects
        assert studio.uids(project) == [made.items[4].id]
    with Store(made.root / "ledger.sqlite") as store:
        assert [(row["name"], row["state"]) for row in store.batches()][2:] == [("b003", "sent")]


def test_keys_decide_without_a_mouse(filled: Callable[..., Filled], tmp_path: Path) -> None:
    """Every action has a key: pinned, the next one shown, set aside with a reason, taken back; typing presses none."""
    made = filled(values=FIVE)
    with Store(made.root / "ledger.sqlite") as store:
        store.mark_batch("b002", "done")
    with seen(made.root, tmp_path / "log") as page:
        name, why = page.get_by_label("Who decides"), page.get_by_label("Reason to set it aside")
        name.press_sequentially("Alapxz")
        name.press("Enter")
        page.wait_for_function(IDLE)
        assert decided(made.root) == []
        page.keyboard.press("Alt+p")
        counted(page, "1 item pinned")
        page.keyboard.press("Alt+n")
        page.locator(".st-key-record-0", has_text="five bikes").wait_for()
        why.fill("not ours")
        why.press("Enter")
        page.wait_for_function(IDLE)
        page.keyboard.press("Alt+x")
        counted(page, "1 item set aside")
        page.locator(".st-key-record-0", has_text="five bikes").wait_for()
        page.keyboard.press("Alt+z")
        counted(page, "1 item taken back")
        page.keyboard.press("Alt+b")
        page.locator(".st-key-record-0", has_text="four dogs").wait_for()
        for button in ("Approve", "Set aside", "Undo", "Previous", "Next", "Push 1 item"):
            page.locator("[data-testid=stHeading]").first.click()
            tab_to(page, button)
    assert [one[1] for one in decided(made.root)] == ["pin", "set_aside", "clear"]


def test_c79_two_sessions_on_one_item(filled: Callable[..., Filled], tmp_path: Path) -> None:
    """C79: two browsers decide on one item that both see as free: both decisions are kept, the later one holds, and
    each page shows it after a refresh.
    """
    from playwright.sync_api import expect

    expect.set_options(timeout=120_000)
    made = filled(values=FIVE)
    with Store(made.root / "ledger.sqlite") as store:
        store.mark_batch("b002", "done")
    with seen(made.root, tmp_path / "log") as lee:
        kim = lee.context.browser.new_context(viewport={"width": 1280, "height": 1300}).new_page()
        kim.set_default_timeout(120_000)
        kim.goto(lee.url)
        for page, who in ((lee, "Lee"), (kim, "Kim")):
            page.locator(".st-key-record-0", has_text="four dogs").wait_for()
            page.get_by_label("Who decides").fill(who)
            page.get_by_label("Who decides").press("Enter")
            page.wait_for_function(IDLE)
        lee.get_by_role("button", name="Approve").click()
        counted(lee, "1 item approved")
        # what Kim sees is out of date
        expect(kim.get_by_text("approved by Lee")).to_have_count(0)
        kim.get_by_label("Reason to set it aside").fill("a duplicate")
        kim.get_by_label("Reason to set it aside").press("Enter")
        kim.wait_for_function(IDLE)
        kim.get_by_role("button", name="Set aside").click()
        counted(kim, "1 item set aside")
        for page in (lee, kim):
            page.get_by_role("button", name="Refresh").click()
            expect(page.get_by_text("set aside by Kim: a duplicate")).to_be_visible()
            expect(page.get_by_role("button", name="Push 0 items to Label Studio")).to_be_disabled()
    item = made.items[3].id
    assert decided(made.root) == [(item, "approve", "Lee"), (item, "set_aside", "Kim")]
    with Store(made.root / "ledger.sqlite") as store:
        assert [(one.action, one.who) for one in store.decisions()] == [("set_aside", "Kim")]


@pytest.mark.parametrize("kind", ["pair", "relation"])
def test_c78_marked_texts_are_letters(filled: Callable[..., Filled], tmp_path: Path, kind: str) -> None:
    """C78: hostile texts with marks in them stand on the page letter by letter; nothing in them runs or is fetched."""
    same = "the pump in hall four stopped at noon and nobody knows why it did"
    made = filled(kind, texts=[f"{same} {one}" for one in (*HOSTILE, "at all")])
    with seen(made.root, tmp_path / "log") as page:
        record = page.locator(".st-key-record-0 .tc-record")
        record.wait_for()
        assert page.locator(".st-key-record-0 mark").count() >= 1
        shown = record.inner_text()
        assert any(shown.replace("\n", " ") == f"{same} {one}" for one in HOSTILE)
        made_by_text = ", ".join(f"[data-testid=stMain] {tag}" for tag in ("script", "img", "a[href*=evil]"))
        assert page.locator(made_by_text).count() == 0
        assert page.title() == "p · toughcall"
        page.screenshot(path=tmp_path / f"{kind}.png")
