"""What `toughcall doctor` looks at: every damage named, each with the next command."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

from toughcall import loop
from toughcall.model.registry import check_folder, read_probe
from toughcall.model.split import check_apart
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import ToughcallError
from toughcall.workspace import Workspace

Finding = tuple[str, bool | None, str]
"""(what was looked at, True fine / False damaged / None worth knowing, in words)."""


def checks(ws: Workspace) -> Iterator[Finding]:
    """Look at ledger, pool, split, models, encoder, FAISS and server, one after the other.

    A check that cannot even run is a fault of its own; the others still run.
    """
    parts: tuple[tuple[str, Callable[[Workspace], Iterator[Finding]]], ...] = (
        ("ledger", _ledger),
        ("pool", _pool),
        ("split", _split),
        ("models", _models),
        ("encoder", _encoder),
        ("FAISS", _faiss),
        ("Label Studio", _studio),
    )
    for name, look in parts:
        try:
            yield from look(ws)
        except ToughcallError as error:
            yield name, False, str(error)


def _ledger(ws: Workspace) -> Iterator[Finding]:
    damage = ws.store.damage()
    for line in damage:
        yield "ledger", False, f"{line}: restore the file from a backup"
    if not damage:
        yield "ledger", True, f"{len(ws.store.answers(history=True))} answers, {len(ws.store.batches())} batches"
    aside = ws.store.set_aside()
    if aside:
        stage, last = aside[-1]
        yield "set aside", None, f"{len(aside)} rows, the last at {stage}: {last.where}: {last.reason}"


def _pool(ws: Workspace) -> Iterator[Finding]:
    damage = list(ws.pool.damage())
    for line in damage:
        yield "pool", False, line
    if damage:
        return
    texts, pairs, relations = ws.pool.counts()
    yield "pool", True, f"{texts} records, {pairs} pairs" + (f", {relations} relations" if relations else "")
    items = {pick.item for _, pick in ws.store.picks()} | {answer.item for answer in ws.store.answers()}
    missing = items - set(ws.pool.items(items))
    if missing:
        yield "pool", False, f"{len(missing)} asked or answered items are no longer there: restore {ws.project.pool}"


def _split(ws: Workspace) -> Iterator[Finding]:
    parts = ws.store.parts()
    labels, torn = ws.store.labels(ws.schema.version)
    items = ws.pool.items([label.item for label in labels])
    sides: dict[str | None, list[str]] = {"train": [], "test": [], None: []}
    for item in items.values():
        sides[ws.part(item, parts)].append(item.id)
    leaks = check_apart(parts, [items[i] for i in sides["train"]], [items[i] for i in sides["test"]])
    yield (
        "split",
        not leaks,
        f"{len(leaks)} records stand in both parts" if leaks else f"{len(parts)} records have a part",
    )
    if torn:
        yield "answers", None, f"{len(torn)} items with a tie between annotators neither train nor evaluate"
    seals = ws.store.events("seal")
    if seals:
        gone = set(seals[-1][1]["items"]) - set(sides["test"])
        text = f"{len(seals[-1][1]['items'])} held-out labels" + (f", {len(gone)} of them lost" if gone else "")
        yield "sealed test set", not gone, text


def _models(ws: Workspace) -> Iterator[Finding]:
    versions = ws.registry.versions()
    for version in versions:
        folder = ws.registry.path(version)
        check_folder(folder)
        read_probe(folder)
    champion = ws.registry.champion()
    if champion and champion not in versions:
        yield "champion", False, f"{champion} is not in {ws.project.models}: toughcall rollback, or restore it"
    served = champion or "the untouched encoder"
    yield "models", True, f"{len(versions)} stored, every file as it was stored; {served} serves"


def _encoder(ws: Workspace) -> Iterator[Finding]:
    made = ws.encoder.encode(["toughcall"])
    norm = float((made**2).sum() ** 0.5)
    good = abs(norm - 1.0) < 1e-3
    yield "encoder", good, f"{ws.encoder.name}, {made.shape[1]} numbers a text, length {norm:.3f}"


def _faiss(ws: Workspace) -> Iterator[Finding]:
    try:
        import faiss
    except ImportError:
        yield "FAISS", False, "not installed: pip install 'toughcall[cpu]', or [gpu] on a machine with one"
        return
    from toughcall.mining.index import has_gpu

    where = f"{faiss.get_num_gpus()} GPU" if has_gpu() else "CPU"
    yield "FAISS", True, f"{faiss.__version__} on {where}"


def _studio(ws: Workspace) -> Iterator[Finding]:
    from toughcall.annotate import server

    own = ws.project.studio.url
    if not own and not server.status(ws.project.server).get("running"):
        yield "Label Studio", None, "the local server is not running: toughcall studio up"
        return
    if own and not os.environ.get(TOKEN_VARIABLE):
        yield "Label Studio", False, f"{TOKEN_VARIABLE} is not set: put the token of {own} (Account & Settings) into it"
        return
    studio = loop.connect(ws)
    found = studio.check()
    yield (
        "Label Studio",
        True,
        f"{found['version']} at {studio.url}, {studio.token_kind} token of {found['email']}",
    )
    if _older(found["version"]):
        yield "Label Studio", None, f"{found['version']} has known security holes: 1.23.2 or newer is advised"
    yield from _clock(studio.url)


def _older(version: str) -> bool:
    digits = [int(part) for part in version.split(".")[:3] if part.isdigit()]
    return len(digits) == 3 and digits < [1, 23, 2]


def _clock(url: str) -> Iterator[Finding]:
    import httpx

    told = httpx.get(f"{url}/health", trust_env=False, follow_redirects=False, timeout=10).headers.get("date")
    if told:
        gap = abs(time.time() - parsedate_to_datetime(told).timestamp())
        if gap > 120:
            yield "clock", None, f"this machine and the server differ by {gap:.0f} s: tokens may expire at once"
