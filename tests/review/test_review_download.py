"""What the page gives away as a file: no cell of it is a formula, and Streamlit's own download is not offered (C83)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from fakes.browser import CHROMIUM, MISSING
from queue_page import Queue, opener
from review_project import Filled
from test_review_queue_browser import seen

from toughcall.review import downloading

RISKY = "=HYPERLINK(A1)"


@pytest.fixture
def queue(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a function (kind, …) → (a filled project, its page with the items nobody was asked about)."""
    return opener(filled, monkeypatch)


def test_c83_cells_are_no_formulas_and_counted() -> None:
    """C83: a cell that begins like a formula gets a leading ', numbers stay numbers, and the heading is held so too."""
    rows = pd.DataFrame({"text": [RISKY, "plain"], "score": [-0.5, 0.25], "@who": ["-", ""]})
    data, changed = downloading.csv_of(rows)
    assert changed == 3
    assert list(csv.reader(io.StringIO(data.decode(), newline=""))) == [
        ["text", "score", "'@who"],
        [f"'{RISKY}", "-0.5", "'-"],
        ["plain", "0.25", ""],
    ]


def test_c83_the_queue_is_downloaded_as_it_is_shown(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """C83: the button of the queue hands out the rows of this page and filter, made safe."""
    given: list[pd.DataFrame] = []
    monkeypatch.setattr(downloading, "csv_of", lambda rows, made=downloading.csv_of: given.append(rows) or made(rows))
    _, app = queue()
    (button,) = app.get("download_button")
    assert list(given[-1]["text"]) == list(app.dataframe[0].value["text"]) == ["four dogs", "five bikes"]
    assert button.proto.label == "CSV"
    app.text_input("search").input("dogs").run()
    assert list(given[-1]["text"]) == ["four dogs"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_c83_only_the_safe_file_is_offered(filled: Callable[..., Filled], tmp_path: Path) -> None:
    """C83: in a browser the table has no download of its own, and what our button saves has no formula."""
    made = filled(texts=("one", RISKY, "three", "four", "five"))
    with seen(made.root, tmp_path / "log") as page:
        page.locator("[data-testid=stDataFrame]").first.hover()
        page.locator('[data-testid=stElementToolbar] [aria-label^="Search"]').first.wait_for()
        assert not [one for one in page.locator('[aria-label^="Download as CSV"]').all() if one.is_visible()]
        with page.expect_download() as waiting:
            page.locator("[data-testid=stDownloadButton] button").first.click()
        waiting.value.save_as(tmp_path / "rows.csv")
    found = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text(encoding="utf-8"), newline="")))
    assert any(row["text"] == f"'{RISKY}" for row in found)
    assert not [cell for row in found for cell in row.values() if cell.startswith("=")]
