"""Take the pictures of the review page that the documents show: each tab of each project that the demo made.

    make demo KIND="multiclass pair multilabel relation scores"
    python docs/pictures.py [--demo demo] [--into docs/img] [--kinds pair scores] [--tabs Queue Plan]

Each tab at 1280 pixels as `review-KIND-TAB.png`; those of the first kind also dark, and as on a phone, 390 pixels wide.
Needs Chromium and Playwright (extra dev). Pictures are reduced to 128 colours, which nobody sees.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from review import CHROMIUM, FLAGS, served

from toughcall import project as projects
from toughcall.model import kinds
from toughcall.records import ToughcallError

TABS = ("Queue", "Labels", "Model", "Plan")
KINDS = ("multiclass", "multilabel", "relation", "pair", "scores")
IDLE = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
HEIGHT = "document.querySelector('[data-testid=stMain]').scrollHeight"
WIDE, PHONE, TALLEST = 1280, 390, 3200
"""Widths of a desk and of a phone, and the most of a tab that is shown, in pixels."""
SEARCHED = {"scores": "birthday"}
"""By kind what is searched for in the queue: the strongest tweets are no picture for a document."""
SETTLES = 1500
"""Milliseconds in which charts and tables come to rest after the script has ended."""


def take(
    browser: Any, address: str, tab: str, into: Path, *, search: str = "", width: int = WIDE, scheme: str = "light"
) -> None:
    """Open one tab and keep what is seen of it, from the top to its end."""
    from PIL import Image

    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(120_000)
    page.goto(f"{address}/?tab={tab}")
    page.locator("[data-testid=stTabs]").first.wait_for()
    page.wait_for_function(IDLE)
    if search and tab == "Queue":
        page.get_by_label("Text contains").fill(search)
        page.get_by_label("Text contains").press("Enter")
        page.wait_for_timeout(SETTLES)
    # what is drawn only when it comes into view is drawn at the full height; then the height is the true one
    for _ in range(2):
        page.wait_for_timeout(SETTLES)
        page.set_viewport_size({"width": width, "height": min(max(page.evaluate(HEIGHT), 500), TALLEST)})
        page.wait_for_function(IDLE)
    page.wait_for_timeout(SETTLES)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(128).save(into, optimize=True)
    page.close()


def main() -> int:
    """Take every picture that was asked for and print its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="the folder of the demo's projects")
    parser.add_argument("--into", type=Path, default=Path("docs/img"), help="where the pictures go")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--tabs", nargs="+", choices=TABS, default=list(TABS))
    given = parser.parse_args()
    if CHROMIUM is None:
        sys.stderr.write("no Chromium here: apt install chromium, then run this again\n")
        return 2
    from playwright.sync_api import sync_playwright

    found: dict[str, Path] = {}
    for path in sorted(given.demo.glob(f"*/{projects.FILE}")):
        with contextlib.suppress(ToughcallError):
            found.setdefault(projects.load(path.parent, kinds.KINDS).kind, path.parent)
    if missing := [kind for kind in given.kinds if kind not in found]:
        sys.stderr.write(f"{given.demo} has no project of kind {missing[0]}: make demo KIND={missing[0]}\n")
        return 2
    given.into.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--hide-scrollbars"])
        for kind in given.kinds:
            with served(found[kind].resolve()) as (address, _):
                for tab in given.tabs:
                    name = given.into / f"review-{kind}-{tab.lower()}"
                    take(browser, address, tab, name.with_suffix(".png"), search=SEARCHED.get(kind, ""))
                    sys.stdout.write(f"{name}.png\n")
                    if kind == given.kinds[0]:
                        take(browser, address, tab, Path(f"{name}-dark.png"), scheme="dark")
                        take(browser, address, tab, Path(f"{name}-phone.png"), width=PHONE)
                        sys.stdout.write(f"{name}-dark.png\n{name}-phone.png\n")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
