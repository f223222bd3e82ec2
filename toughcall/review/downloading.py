"""Rows of the page as a file: Streamlit's own download would write cells that programs for tables run (C83)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from toughcall.tables import to_csv

if TYPE_CHECKING:
    import pandas as pd

# Streamlit has no setting that takes its button away
LOOK = """<style>
[data-testid="stElementToolbarButton"]:has([aria-label^="Download as CSV"]) {display: none}
</style>"""


def csv_of(rows: pd.DataFrame) -> tuple[bytes, int]:
    """Return rows as CSV with a heading, UTF-8, and how many cells got a leading ' so that none is a formula."""
    file = io.StringIO(newline="")
    cells = [[value if isinstance(value, (int, float)) else str(value) for value in row] for row in rows.to_numpy()]
    changed = to_csv(file, [[str(name) for name in rows.columns], *cells])
    return file.getvalue().encode(), changed


def button(rows: pd.DataFrame, name: str, *, key: str) -> None:
    """Draw a button that hands rows to the browser as NAME.csv; what was changed for safety is said beside it."""
    import streamlit as st

    data, changed = csv_of(rows)
    said = f"{changed} cells began like a formula and got a leading '. toughcall export has them as they are."
    st.download_button(
        "CSV",
        data,
        f"{name}.csv",
        "text/csv",
        key=key,
        icon=":material/download:",
        help=said if changed else "these rows, as a file",
        on_click="ignore",
    )
