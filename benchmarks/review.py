"""How long the review page takes over a pool of 1,000, 100,000 and 1,000,000 scored texts.

    python benchmarks/review.py [--sizes 1000 100000 1000000] [--folder FOLDER] [--browser] [--curate]

Pool, scores, split and ledger are made up without a model, in the product's own formats. "first" is the first time a
view function of the Queue tab is called in a process, "again" the same call with nothing changed; "cpu" is what of it
the process was at work, which other programs on the machine do not change much. With --browser the page is served as
`toughcall review` serves it, anew for each tab, and opened in Chromium by a first and by a second visitor: "paint" is
until what matters of the tab can be read (the first item, the labels per class, the verdict, the advice), "idle" until
the script has ended, "server" how long the server was at work for the visitor (Linux alone tells). With --curate also:
one decision, and a hundred together.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toughcall import project as projects
from toughcall.model import kinds
from toughcall.pool import SHARD, Pool
from toughcall.records import Answer, Batch, Pick, Scores, Text
from toughcall.review import curation, item_views, live, progress, score_views, views
from toughcall.starting import review_command
from toughcall.store import Store
from toughcall.telling import rows_out
from toughcall.workspace import opened, schema_of

LABELS = {name: f"about {name}" for name in ("person", "place", "number", "thing", "reason", "abbreviation")}
WORDS = np.array(["engine", "river", "stone", "market", "signal", "garden", "copper", "winter", "paper", "bridge"])
LENGTH, ASKED, LABELLED = 18, 50, 1000
"""Words of a text, items of each of two batches, imported labels."""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAINTED = {
    "Queue": ".st-key-record-0",
    "Labels": "h5",
    "Model": "[data-testid=stAlert], [class*=st-key-verdict-]",
    "Plan": ".st-key-advice",
}
"""What of a tab is waited for."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def made(root: Path, size: int) -> Path:
    """Make a project of `size` scored texts, one in five held out; return its folder."""
    root.mkdir(parents=True)
    text = projects.render(
        "review", "multiclass", {"labels": LABELS}, {"text": "text"}, quotas=kinds.get("multiclass").quotas
    )
    (root / projects.FILE).write_text(text, encoding="utf-8")
    project, rng, pool = projects.load(root, kinds.KINDS), np.random.default_rng(0), Pool(root / "pool")
    pool.folder.mkdir()
    ids: list[str] = []
    for start in range(0, size, SHARD):
        drawn = WORDS[rng.integers(0, len(WORDS), (min(SHARD, size - start), LENGTH))]
        texts = [Text(f"{' '.join(row)} {start + n}") for n, row in enumerate(drawn)]
        pool._write(texts, [])
        ids += [one.id for one in texts]
    schema, values = schema_of(project), rng.dirichlet(np.full(len(LABELS), 0.5), size).astype(np.float32)
    with Store(root / "ledger.sqlite", create=True) as store:
        store.add_schema(schema)
        held = rng.random(size) < 0.2
        store.add_parts(
            {one: "test" if out else "train" for one, out in zip(ids, held, strict=True)}, dict.fromkeys(ids, "")
        )
        for n, state in ((1, "done"), (2, "sent")):
            some = ids[(n - 1) * ASKED : n * ASKED]
            store.add_batch(
                Batch(f"b00{n}", schema.version, "m", tuple(Pick(one, "in_band", 0.9, r) for r, one in enumerate(some)))
            )
            store.mark_batch(f"b00{n}", state)
        given = ids[:ASKED] + ids[2 * ASKED : 2 * ASKED + min(LABELLED, size // 2)]
        say = schema.labels
        store.add_answers(
            [
                Answer(f"k{n}", one, "import", "label", (say[n % len(say)],), "", schema.version, "import")
                for n, one in enumerate(given)
            ]
        )
    with opened(root, "benchmark", writing=False) as ws:
        ws.save_scores(Scores(tuple(ids), tuple(LABELS), values, "m"))
    return root


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return how long something takes, and how long of it this process was at work."""
    begun, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - worked


def views_of(root: Path) -> list[tuple[str, Callable[[], Any]]]:
    """Return the name of each view function of the tab and a call of it, as the page makes them."""

    def on(work: Callable[[live.Live, Any, Any], Any]) -> Callable[[], Any]:
        def call() -> None:
            with live.opened(root) as one:
                work(one, views.asked_picks(one), views.answers_by_item(one))

        return call

    def page(**wanted: Any) -> Callable[[], Any]:
        return on(lambda one, picks, answers: views.queue_page(one, views.Filter(**wanted), picks, answers))

    with live.opened(root) as one:
        first = str(views.queue_page(one, views.Filter(show=views.UNASKED), [], {}).rows["item"].iloc[0])
    for remembered in (
        score_views._asked,
        score_views._asked_pool,
        score_views._held,
        item_views._lines,
        item_views._item,
    ):
        remembered.cache_clear()
    return [
        ("the ledger", on(lambda one, picks, answers: views.decided(one, picks))),
        ("histogram, classes in the band", on(lambda one, picks, answers: views.histogram(one, "", 0.4, 0.6))),
        ("histogram, another band", on(lambda one, picks, answers: views.histogram(one, "", 0.5, 0.7))),
        ("not asked yet", page(show=views.UNASKED)),
        ("not asked yet, in the band", page(show=views.UNASKED, band=(0.4, 0.6))),
        ("not asked yet, page 100", page(show=views.UNASKED, page=99)),
        ("not asked yet, one class", page(show=views.UNASKED, label="place")),
        ("a text searched for", page(show=views.UNASKED, search="copper winter paper")),
        ("all batches", page(show=views.ALL)),
        ("labels per class", on(lambda one, picks, answers: progress.classes(one))),
        ("one item in full", on(lambda one, picks, answers: views.detail(one, first, picks, answers))),
    ]


@contextlib.contextmanager
def served(root: Path) -> Iterator[tuple[str, int]]:
    """Serve the page as `toughcall review` does; yield its address and the id of its process."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    command, environment = review_command(root, port)
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, cwd=root, stdout=quiet, stderr=quiet) as server:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", server.pid
        finally:
            server.terminate()


def worked(process: int) -> float:
    """Return how many seconds a process was at work so far; 0 where the system does not tell as Linux does."""
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def painted(root: Path, tab: str) -> dict[str, float]:
    """Return the seconds until a tab can be read and until all is idle: first visitor of a server, and a second one."""
    from playwright.sync_api import sync_playwright

    found: dict[str, float] = {}
    with served(root) as (address, process), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for visit in ("first", "second"):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(60_000)
            begun, before = time.perf_counter(), worked(process)
            page.goto(f"{address}/?tab={tab}")
            page.locator(PAINTED[tab]).first.wait_for()
            found[f"{tab}: paint, {visit}"] = time.perf_counter() - begun
            page.wait_for_function(
                "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
            )
            found[f"{tab}: idle, {visit}"] = time.perf_counter() - begun
            found[f"{tab}: server, {visit}"] = worked(process) - before
            page.close()
        browser.close()
    return found


def curated(root: Path) -> dict[str, tuple[float, float]]:
    """Return the seconds of one decision and of a hundred together."""
    with live.opened(root) as one:
        rows = views.queue_page(one, views.Filter(show=views.UNASKED), [], {}).rows
    free = list(rows["item"][rows["state"] == "not asked"])
    once = seconds(lambda: curation.decide(root, free[:1], "approve", "", "bench", "once"))
    return {
        "one decision": once,
        f"{len(free)} decisions": seconds(lambda: curation.decide(root, free, "pin", "", "bench", "many")),
    }


def main() -> None:
    """Print a row for each view function and a column for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the projects are made and kept (default: temporary)")
    parser.add_argument("--browser", action="store_true", help="also open each tab of the page in Chromium")
    parser.add_argument("--curate", action="store_true", help="also decide, which changes the projects")
    given = parser.parse_args()
    table: dict[str, dict[str, object]] = {}

    def note(what: str, size: int, taken: float, at_work: float | None = None) -> None:
        shown = f"{taken:.2f} s" + ("" if at_work is None else f" (cpu {at_work:.2f})")
        table.setdefault(what, {"what": what})[f"{size:,}"] = shown

    with tempfile.TemporaryDirectory() as temporary:
        for size in given.sizes:
            root = (given.folder or Path(temporary)) / f"review-{size}"
            if not root.exists():
                sys.stderr.write(f"making {size:,} texts\n")
                made(root, size)
            for name, call in views_of(root):
                note(f"{name}, first", size, *seconds(call))
                note(f"{name}, again", size, *seconds(call))
            for tab in PAINTED if given.browser and CHROMIUM else ():
                for name, value in painted(root, tab).items():
                    note(name, size, value)
            if given.curate:
                for name, took in curated(root).items():
                    note(name, size, *took)
    rows_out([{**row} for row in table.values()], as_json=False)


if __name__ == "__main__":
    main()
