"""Streamlit with what the first visitor would wait for: libraries loaded, and the queue's figures read once.

    python -m toughcall.review.warm run PAGE [OPTIONS]

is `streamlit run PAGE [OPTIONS]`. What is read here lies in the caches that the page reads; what fails here fails
there again, where somebody sees it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading

from toughcall.records import ToughcallError
from toughcall.review import live as lives
from toughcall.review import views


def read() -> None:
    """Read what the queue tab shows first; a project that cannot be read is left to the page."""
    with contextlib.suppress(ToughcallError, sqlite3.Error), lives.opened(lives.folder()) as live:
        picks, answers = views.asked_picks(live), views.answers_by_item(live)
        if live.scored is not None and live.kind.labelled:
            views.histogram(live, "", live.project.mine.low, live.project.mine.high)
        still_open = any(state != "done" for state in live.states.values())
        if live.scored is not None or picks:
            shown = views.Filter(show=views.OPEN if still_open else views.UNASKED)
            rows = views.queue_page(live, shown, picks, answers).rows
            if len(rows):
                views.detail(live, str(rows["item"].iloc[0]), picks, answers)


def main() -> None:
    """Load the libraries, begin to read, and serve."""
    # before the thread: two threads that load one library at once may each see half of it
    import altair  # noqa: F401
    import pandas  # noqa: F401
    from streamlit.web import cli

    from toughcall.review import charts_queue, tab_queue  # noqa: F401

    threading.Thread(target=read, name="warm", daemon=True).start()
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
