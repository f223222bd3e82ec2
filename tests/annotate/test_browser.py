"""An expert in a real browser: logs in, opens the stream, presses a key, submits; the label reaches the ledger.

With TOUGHCALL_SHOTS=FOLDER the interfaces are also saved there as task-KIND.png, for the documents.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from toughcall import demo_data, loop
from toughcall.annotate import people, server
from toughcall.project import Columns
from toughcall.records import Batch, Pick
from toughcall.workspace import opened

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS = [*QUIET.split(), "--disable-component-update", "--disable-sync"]
pytestmark = [
    pytest.mark.studio,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium, then run pytest -m browser"),
]

TROUBLE = {
    "machine": "pumps, drives, valves, anything that turns or leaks",
    "control": "PLC, sensors, alarms, signals, network",
    "building": "doors, roofs, heating, light, water on the floor",
    "safety": "somebody was hurt or could have been",
    "supplies": "fuel, parts or material are missing or wrong",
}


def tickets(*names: str) -> list[dict[str, str]]:
    """Return the demo's incident tickets of these numbers, in this order."""
    with demo_data.data_file("incidents/tickets.csv").open(encoding="utf-8", newline="") as file:
        found = {row["ticket"]: row for row in csv.DictReader(file)}
    return [found[name] for name in names]


def clauses(*names: str) -> list[dict[str, str]]:
    """Return the demo's privacy clauses of these numbers, in this order."""
    lines = demo_data.data_file("clauses/clauses.jsonl").read_text(encoding="utf-8").splitlines()
    found = {row["clause"]: row for row in map(json.loads, lines)}
    return [{"text": found[name]["text"]} for name in names]


WORK: dict[str, tuple[dict[str, str], str, Callable[[], list[dict[str, str]]]]] = {
    "multiclass": (
        TROUBLE,
        "What is the trouble? Where two fit, choose the one that has to be put right first.",
        lambda: [{"text": row["text"]} for row in tickets("t0002", "t0004")],
    ),
    "multilabel": (
        demo_data.CLAUSES,
        "Tick everything the clause speaks of. A purpose counts only when it is named.",
        lambda: clauses("cl-0003", "cl-0426"),
    ),
    "pair": (
        {"similar": "both tickets tell of the same event", "not_similar": "two different events"},
        "Do both tickets tell of the same event? The same kind of trouble on another day is not the same event.",
        lambda: [{"a": a["text"], "b": b["text"]} for a, b in [tickets("t0002", "t0004"), tickets("t0003", "t0004")]],
    ),
}


@pytest.fixture(scope="module")
def expert(studio_server: server.Local) -> tuple[str, str]:
    """Return e-mail and password of an account made as `toughcall studio users add` makes it."""
    return account(studio_server, "clara")


PASSWORDS: dict[str, str] = {}


def account(local: server.Local, name: str) -> tuple[str, str]:
    """Return e-mail and password of somebody's account, made at its first use."""
    email = f"{name}.browser@example.com"
    password = PASSWORDS.setdefault(email, people.new_password())
    people.add_person(local.url, local.token, email, password)
    return email, password


@pytest.fixture
def page(studio_server: server.Local, expert: tuple[str, str]) -> Iterator[Any]:
    """Yield a page of a browser in which the expert has logged in; leaving it, nothing outside was asked."""
    from playwright.sync_api import sync_playwright

    wanted: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        made = browser.new_page(viewport={"width": 1366, "height": 768})
        made.set_default_timeout(120_000)
        made.on("request", lambda request: wanted.append(request.url))
        made.goto(f"{studio_server.url}/user/login/")
        made.fill("input[name=email]", expert[0])
        made.fill("input[name=password]", expert[1])
        made.click("form [type=submit]")
        made.wait_for_url(lambda url: "/user/login" not in url)
        yield made
        browser.close()
    hosts = {urlsplit(url).hostname for url in wanted if urlsplit(url).scheme not in ("data", "blob")}
    assert len(wanted) > 20
    assert hosts == {"127.0.0.1"}


def shot(page: Any, name: str) -> None:
    """Save what the page shows, when somebody asked for pictures."""
    folder = os.environ.get("TOUGHCALL_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"task-{name}.png")


@pytest.mark.parametrize(
    ("kind", "keys", "value"),
    [
        ("multiclass", "1", ("machine",)),
        ("multilabel", "143", ("collection", "third_party_sharing", "consent_choice")),
        ("pair", "1", ("similar",)),
    ],
)
def test_a_key_and_submit_reach_the_ledger(
    make_project: Callable[..., Path],
    write_csv: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    studio_server: server.Local,
    expert: tuple[str, str],
    page: Any,
    kind: str,
    keys: str,
    value: tuple[str, ...],
) -> None:
    """An expert sees the first item that no colleague has open; the key is its label, under her name (C50)."""
    labels, guideline, rows = WORK[kind]
    studio = str(tmp_path_factory.getbasetemp() / "studio")
    root = make_project(kind, labels, name=f"browser-{kind}", studio__folder=studio)
    text = (root / "project.toml").read_text(encoding="utf-8")
    (root / "project.toml").write_text(text.replace('guideline = ""', f'guideline = "{guideline}"'), encoding="utf-8")
    columns = Columns(text="a", text_b="b") if kind == "pair" else Columns()
    with opened(root, "test") as ws:
        loop.import_file(ws, write_csv("pool.csv", rows()), columns)
        order = {frozenset(row.values()): place for place, row in enumerate(rows())}
        items = list(ws.pool.pairs() if kind == "pair" else ws.pool.texts())
        items.sort(key=lambda item: order[frozenset(item.fields().values())])
        picks = tuple(Pick(item.id, "in_band", 0.5, rank) for rank, item in enumerate(items, 1))
        ws.store.add_batch(Batch("b001", ws.schema.version, "untouched", picks))
        number = loop.push(ws).project

        # the address with ?labeling=1 would serve by task id and give the same task to everybody who opens it
        page.goto(f"{studio_server.url}/projects/{number}/data")
        colleague = people.Person(studio_server.url, *account(studio_server, "dora"))
        assert colleague.next_task(number)["data"]["uid"] == items[0].id
        page.get_by_text("Label All Tasks", exact=True).click()
        page.wait_for_selector(".tc-answer input")
        taken, due = (items[place].fields().values() for place in (0, 1))
        shown = page.inner_text(".tc-all")
        assert guideline in shown
        assert all(text in shown for text in due)
        assert not all(text in shown for text in taken)
        assert page.locator(".tc-answer input:checked").count() == 0
        shot(page, kind)
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_function(f"document.querySelectorAll('.tc-answer input:checked').length == {len(keys)}")
        with page.expect_response(lambda one: one.request.method == "POST" and "/annotations" in one.url) as stored:
            page.get_by_text("Submit", exact=True).click()
        assert stored.value.status == 201

        pulled = loop.pull(ws)
        assert (pulled.read, pulled.new, pulled.set_aside) == (1, 1, 0)
        (answer,) = ws.store.answers()
        assert (answer.item, answer.value, answer.annotator) == (items[1].id, value, expert[0])
        assert (answer.outcome, answer.batch, answer.schema) == ("label", "b001", ws.schema.version)
        assert answer.seconds is not None
        assert loop.pull(ws).new == 0
