"""The page in a real browser: what it asks the network for, what it runs, where it listens."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from review_project import HOSTILE

from toughcall.starting import review_command

CHROMIUM = shutil.which("chromium", path="/usr/bin") or shutil.which("chromium")
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS = [*QUIET.split(), "--disable-component-update", "--disable-sync"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium, then run pytest -m browser"),
]


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def served(root: Path, log: Path) -> Iterator[tuple[int, int]]:
    """Serve the page as `toughcall review` does; yield (port, process id)."""
    port = free_port()
    command, environment = review_command(root, port)
    with log.open("w") as out, subprocess.Popen(command, env=environment, cwd=root, stdout=out, stderr=out) as server:
        try:
            while server.poll() is None:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()
                    break
                time.sleep(0.2)
            assert server.poll() is None, log.read_text()
            yield port, server.pid
        finally:
            server.terminate()


def listening(process: int) -> set[str]:
    """Return the addresses, in /proc's hexadecimal, on which a process listens."""
    inodes = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
    rows = [
        row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{process}/net/{name}").read_text().splitlines()
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc here to ask who listens: run this on Linux")
@pytest.mark.parametrize("kind", ["multiclass", "pair"])
def test_hostile_text_in_a_browser(filled: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    """Hostile text stands on the page letter by letter; nothing outside loopback is asked or listened on (C78, C82)."""
    from playwright.sync_api import sync_playwright

    made = filled(kind, texts=(*HOSTILE, "the last one"), keys=(*HOSTILE, "last"))
    shown = [HOSTILE[1]] if kind == "multiclass" else [HOSTILE[1], HOSTILE[2]]
    wanted: list[str] = []
    with served(made.root, tmp_path / "log") as (port, process), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        page.on("request", lambda request: wanted.append(request.url))
        page.goto(f"http://127.0.0.1:{port}")
        for place, _ in enumerate(shown):
            page.locator(f".st-key-record-{place} [data-testid=stText]").wait_for()
        texts = {page.locator(f".st-key-record-{n} [data-testid=stText]").inner_text() for n, _ in enumerate(shown)}
        assert texts == {shown[0]} if kind == "multiclass" else texts <= set(HOSTILE)
        said = page.locator("[data-testid=stMain]").inner_text().replace("\u2060", "")
        for text in shown if kind == "multiclass" else texts:
            assert said.count(text) == 2  # the record, and its key in the title above it
        for name in ("Labels", "Model", "Queue"):
            page.get_by_role("tab", name=name).click()
        page.wait_for_load_state("networkidle")
        made_by_text = ", ".join(f"[data-testid=stMain] {tag}" for tag in ("script", "img", "a[href*=evil]"))
        assert page.locator(made_by_text).evaluate_all("all => all.map(one => one.outerHTML)") == []
        assert page.title() == "p · toughcall"
        assert listening(process) == {"0100007F"}
        page.screenshot(path=tmp_path / "page.png")
        browser.close()
    assert (tmp_path / "page.png").stat().st_size > 10_000
    outside = [url for url in wanted if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))]
    assert wanted
    assert outside == []
