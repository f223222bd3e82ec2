"""An expert in a real browser: logs in, opens the stream, presses a key, submits; the label reaches the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.browser import CHROMIUM, MISSING, account

from toughcall import loop
from toughcall.annotate import people, server
from toughcall.records import Batch, Pick
from toughcall.settings import Columns
from toughcall.workspace import opened

pytestmark = [
    pytest.mark.studio,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]

TICKETS = (
    "Pump 3 in the north hall leaks oil at the shaft seal, about a cup per shift.",
    "Since the night shift the shaft seal of pump 3 drips; a pan stands under it.",
    "The PLC of line 2 lost its connection twice this morning.",
)
WORK: dict[str, tuple[dict[str, str], str, list[dict[str, str]]]] = {
    "multiclass": (
        {"machine": "pumps, drives, valves", "control": "PLC, sensors, network", "safety": "somebody was hurt"},
        "What is the trouble? Where two fit, choose the one that has to be put right first.",
        [{"text": text} for text in TICKETS[:2]],
    ),
    "multilabel": (
        {"collection": "what is gathered", "retention": "how long it is kept", "sharing": "who else gets it"},
        "Tick everything the clause speaks of. A purpose counts only when it is named.",
        [{"text": "We keep your address for two years."}, {"text": "We collect your e-mail and give it to partners."}],
    ),
    "pair": (
        {"similar": "both tickets tell of the same event", "not_similar": "two different events"},
        "Do both tickets tell of the same event? The same kind of trouble on another day is not the same event.",
        [{"a": a, "b": b} for a, b in (TICKETS[:2], TICKETS[1:])],
    ),
}


@pytest.mark.parametrize(
    ("kind", "keys", "value"),
    [
        ("multiclass", "1", ("machine",)),
        ("multilabel", "31", ("collection", "sharing")),
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
        loop.import_file(ws, write_csv("pool.csv", rows), columns)
        order = {frozenset(row.values()): place for place, row in enumerate(rows)}
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
