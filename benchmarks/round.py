"""One whole round on a pool of a hundred thousand: pull 100 answers, retrain the head, judge, mine, push.

    TOUGHCALL_STUDIO=.venv-studio python benchmarks/round.py --cache FOLDER [--items 100000] [--rounds 2]

A real Label Studio in a temporary folder, stopped at the end. The pool is multilabel (goemotions, 28 labels, 500
of them known before, 1,000 held out, a champion); 10,000 of its texts are real ones under the packaged MiniLM,
the rest are joined from two of those: the labels of both, the mean of both vectors with Gaussian noise, at unit
length again. Embedding is not part of the round: the vectors lie in the project's cache before. Two simulated
experts answer each batch over HTTP; then `toughcall round` runs in a fresh process, as a user runs it, and that
is timed. A step's seconds are its own, without those of the steps inside it; CPU is the processor time of the
process and of those it starts, which on a busy machine says more than the clock. Label Studio's own is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import research

from toughcall import demo, loop, retraining
from toughcall.annotate import server
from toughcall.demo_data import Prepared
from toughcall.mining.embed import Encoder, embed, load_encoder
from toughcall.records import NONE, Floats, Text
from toughcall.settings import Columns
from toughcall.telling import Console, rows_out
from toughcall.workspace import Workspace, opened

REAL, KNOWN, HELD, BATCH = 10_000, 500, 1_000, 100
LIMIT = 60.0
"""Seconds that a round may take on two cores."""
NOISE = 0.3
"""Length of the noise beside a vector of length 1: joined texts lie near, not upon each other."""
STEPS = (
    ("toughcall.retraining", "one_round", "decide what is due"),
    ("toughcall.loop", "pull", "pull"),
    ("toughcall.mining.embed", "embed", "read cached vectors"),
    ("toughcall.workspace:Workspace", "freeze_split", "look at the split"),
    ("toughcall.workspace:Workspace", "split", "labels by part"),
    ("toughcall.mining.embed:SentenceEncoder", "encode", "encode descriptions"),
    ("toughcall.model.words:Words", "fit", "count the corpus"),
    ("toughcall.retraining", "retrain", "retrain: the rest"),
    ("toughcall.retraining", "hopeless", "difficulty of the rows"),
    ("toughcall.model.train:Basis", "of", "features of the labels"),
    ("toughcall.model.recipes", "fit", "train"),
    ("toughcall.retraining", "baselines", "baselines"),
    ("toughcall.retraining", "measured", "evaluate"),
    ("toughcall.judging", "measured", "evaluate"),
    ("toughcall.model.gate", "judge", "judge"),
    ("toughcall.retraining", "prove", "prove the stored model"),
    ("toughcall.reporting", "write", "write the report"),
    ("toughcall.loop", "score", "score the pool"),
    ("toughcall.workspace:Workspace", "save_scores", "save the scores"),
    ("toughcall.loop", "mine", "mine: the rest"),
    ("toughcall.asking", "context", "look for rare classes"),
    ("toughcall.mining.queue", "next_batch", "choose the batch"),
    ("toughcall.loop", "push", "push"),
)
"""What is timed, each where it is looked up: module (and class), name, what the table calls it."""
OUTSIDE = "start: Python and imports"


class Clock:
    """Gives every moment to the innermost step under way: seconds and processor seconds by step."""

    def __init__(self, began: float) -> None:
        self.spent: dict[str, list[float]] = {}
        self.under_way = [OUTSIDE]
        self.mark = (began, 0.0)

    def turn(self) -> None:
        """Give what went by since the last turn to the step under way."""
        now = time.monotonic(), sum(os.times()[:4])
        row = self.spent.setdefault(self.under_way[-1], [0.0, 0.0])
        row[0] += now[0] - self.mark[0]
        row[1] += now[1] - self.mark[1]
        self.mark = now

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, its time told to this clock."""

        @functools.wraps(function)
        def run(*args: Any, **more: Any) -> Any:
            self.turn()
            self.under_way.append(step)
            try:
                return function(*args, **more)
            finally:
                self.turn()
                self.under_way.pop()

        return run


def child(root: Path, out: Path, began: float, profile: Path | None) -> None:
    """Run `toughcall round` as the command line does, with a clock in it, and write what each step took."""
    import importlib

    clock, missing = Clock(began), []
    for where, name, step in STEPS:
        module, _, inner = where.partition(":")
        owner = importlib.import_module(module)
        owner = getattr(owner, inner) if inner else owner
        found = getattr(owner, name, None)
        if found is None:
            missing.append(f"{where}.{name}")
            continue
        # a class method is bound already
        timed = clock.timed(step, found)
        setattr(owner, name, staticmethod(timed) if getattr(found, "__self__", None) is owner else timed)
    from toughcall.cli import main as command

    def run() -> None:
        command(["--project", str(root), "round"], standalone_mode=False)

    if profile:
        import cProfile

        cProfile.runctx("run()", {"run": run}, {}, str(profile))
    else:
        run()
    clock.turn()
    out.write_text(json.dumps({"steps": clock.spent, "missing": missing}), encoding="utf-8")


@dataclass(frozen=True)
class StandIn:
    """An encoder that looks its vectors up: it fills the cache as the real one would, in seconds."""

    encoder: Encoder
    known: Mapping[str, Floats]
    name: str = field(init=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.encoder.name)
        object.__setattr__(self, "sha", self.encoder.sha)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return self.encoder.dimension

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Floats:
        """Return the vectors made for these texts, shape (n, d)."""
        return np.stack([self.known[text] for text in texts])

    def truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the encoder reads."""
        return self.encoder.truncated(texts)


@dataclass(frozen=True)
class World:
    """The texts of the pool and of the held-out rows, and what is true of each."""

    pool: Sequence[str]
    held: Sequence[str]
    truth: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, tuple[str, str]]
    """For a joined text the two it was made of."""


def world(items: int, seed: int = 0) -> World:
    """Return a pool of so many different texts: 10,000 real ones, the rest joined from two of them."""
    said: dict[str, tuple[str, ...]] = {}
    for row in research.rows_of("goemotions", "train"):
        said[str(row["text"])] = tuple(row["labels"])
    rng = np.random.default_rng(seed)
    texts = sorted(text for text in said if text == text.strip())
    drawn = [texts[row] for row in rng.permutation(len(texts))[: REAL + HELD]]
    held, pool = drawn[:HELD], drawn[HELD:][:items]
    truth = {text: said[text] for text in drawn}
    parents: dict[str, tuple[str, str]] = {}
    while len(pool) + len(parents) < items:
        a, b = (pool[row] for row in rng.integers(len(pool), size=2))
        joined = f"{a} {b}"
        if a != b and joined not in truth and joined not in parents:
            parents[joined] = (a, b)
    for joined, (a, b) in parents.items():
        truth[joined] = tuple(sorted({*truth[a], *truth[b]}))
    return World([*pool, *parents], held, truth, parents)


def fill_cache(made: World, asked: Sequence[str], cache: Path, folder: Path, seed: int = 1) -> None:
    """Write a vector for every text into a project's cache: the real ones by the encoder, the others made up.

    `asked`: joined texts that have to be real as well, because the proof of a stored model embeds some of what
    it was trained on anew. `cache`: where the real ones are kept beside.
    """
    encoder = load_encoder("minilm", "cpu")
    real = [Text(text) for text in (*made.held, *made.pool) if text not in made.parents]
    more = [Text(text) for text in asked if text in made.parents]
    vectors = embed([*real, *more], encoder, cache, Console().bar("embedding the real texts"))
    known = {text.text: row for text, row in zip([*real, *more], vectors.array, strict=True)}
    rng = np.random.default_rng(seed)
    names = list(made.parents)
    for start in range(0, len(names), 10_000):
        some = names[start : start + 10_000]
        block = np.stack([known[a] + known[b] for a, b in (made.parents[one] for one in some)])
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        block += rng.normal(scale=NOISE / np.sqrt(block.shape[1]), size=block.shape).astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        known = dict(zip(some, block.astype(np.float32), strict=True)) | known
    # the descriptions of the labels stay beside it, as a real cache has them from the round before
    shutil.rmtree(folder / encoder.sha[:16], ignore_errors=True)
    embed([Text(one) for one in sorted(known)], StandIn(encoder, known), folder)


def prepared(made: World, folder: Path) -> tuple[Prepared, Path, list[str]]:
    """Write the pool, the held-out rows and the labels known before; return the set, the last file, its texts."""
    labels = sorted({label for said in made.truth.values() for label in said})

    def write(name: str, texts: Sequence[str], *, told: bool) -> Path:
        path = folder / name
        with path.open("w", encoding="utf-8") as file:
            for text in texts:
                row = {"text": text, "label": "|".join(made.truth[text]) or NONE} if told else {"text": text}
                file.write(json.dumps(row) + "\n")
        return path

    data = Prepared(
        "multilabel",
        write("pool.jsonl", made.pool, told=False),
        write("held-out.jsonl", made.held, told=True),
        Columns(label="label"),
        lambda item, who: made.truth[item.texts[0].text],
        options={"labels": dict.fromkeys(labels, "")},
    )
    some = [made.pool[row] for row in np.random.default_rng(2).permutation(len(made.pool))[:KNOWN]]
    return data, write("known.jsonl", some, told=True), some


def set_up(base: Path, made: World, cache: Path, console: Console) -> Prepared:
    """Make what is missing of the project: pool, labels, a frozen split, a first model, a batch that was sent.

    The first model serves whatever the gate says, so that the round has a champion to judge against.
    """
    data, known, asked = prepared(made, base)
    root = base / "project"
    if not root.exists():
        # demo.make shares the folder beside the project
        fill_cache(made, asked, cache, base / "vectors")
        demo.make(root, data, console, {"mine.batch": BATCH, "gate.test_share": 0.2})
    with opened(root, "benchmark", console) as ws:
        demo.import_held_out(ws, data)
        loop.import_file(ws, known, Columns(label="label"))
        if not ws.registry.champion():
            done = retraining.retrain(ws)
            assert done.verdict is not None
            ws.registry.promote(done.version, verdict={"outcome": done.verdict.outcome, "sentence": "benchmark"})
        if not ws.store.batches():
            loop.mine(ws)
        loop.push(ws)
    return data


def answered(ws: Workspace, data: Prepared, made: World, base: Path, cache: Path) -> int:
    """Have the experts answer whatever is open over HTTP; return how many items that were."""
    asked = ws.pool.items(ws.store.asked())
    fill_cache(made, [text.text for item in asked.values() for text in item.texts], cache, base / "vectors")
    waiting = sum(loop.pull(ws).waiting.values())
    # the experts answer from threads of their own, where the ledger must not be read
    assert ws.schema.labels
    demo.experts_answer(ws, data, base, waiting)
    return waiting


def one(base: Path, turn: int, profile: Path | None) -> dict[str, Any]:
    """Run one `toughcall round` in a fresh process and return what it took, by step and as a whole."""
    root, out = base / "project", base / f"steps-{turn}.json"
    before = os.getloadavg()[0]
    began = time.monotonic()
    command = [sys.executable, __file__, "--child", str(root), "--out", str(out), "--began", repr(began)]
    command += ["--profile", str(profile)] if profile else []
    process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    _, status, used = os.wait4(process.pid, 0)
    ended = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"toughcall round ended with {process.returncode}: see above")
    # kilobytes, on a Mac bytes
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        **json.loads(out.read_text(encoding="utf-8")),
        "seconds": ended - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * scale,
        "load": before,
    }


def table(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """Return a line for each step, the costliest first, and one for what the process did at its end."""
    steps = dict(found["steps"])
    spent = [sum(row[side] for row in steps.values()) for side in (0, 1)]
    steps["end of the process"] = [found["seconds"] - spent[0], found["cpu"] - spent[1]]
    steps = dict(sorted(steps.items(), key=lambda row: -row[1][0]))
    steps["all"] = [found["seconds"], found["cpu"]]
    return [
        {"step": step, "seconds": f"{wall:.2f}", "CPU": f"{cpu:.2f}", "share": f"{wall / found['seconds']:.0%}"}
        for step, (wall, cpu) in steps.items()
    ]


def main() -> int:
    """Set up, run the rounds, print a table for each; 1 when one was slower than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="where embeddings are kept (default: temporary)")
    parser.add_argument("--folder", type=Path, help="keep project and server here; a project in it is used again")
    parser.add_argument("--profile", type=Path, help="write a cProfile of each round's process (it is slower then)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.out, given.began, given.profile)
        return 0
    if not research.there("goemotions"):
        sys.stdout.write(f"skipped: {research.DATASETS / 'goemotions'} is not here\n")
        return 0
    console, slow = Console(), 0
    with contextlib.ExitStack() as stack:
        base = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toughcall-round-")))
        base.mkdir(parents=True, exist_ok=True)
        base = base.resolve()
        stack.callback(server.down, base / "studio")
        server.up(base / "studio", say=console.say)
        cache, made = given.cache or base / "cache", world(given.items)
        data = set_up(base, made, cache, console)
        for turn in range(1, given.rounds + 1):
            with opened(base / "project", "benchmark", console) as ws:
                count = answered(ws, data, made, base, cache)
            found = one(base, turn, given.profile)
            slow += found["seconds"] >= LIMIT
            with opened(base / "project", "check", console, writing=False) as ws:
                newest, models = ws.store.batches()[-1], len(ws.registry.versions())
            sys.stdout.write(
                f"\nround {turn}: {given.items} records, {count} answers pulled, {models} models, batch "
                f"{newest['name']} of {newest['size']} is {newest['state']}; {os.cpu_count()} cores, load "
                f"{found['load']:.1f} before, peak memory {found['peak'] / 1e9:.2f} GB\n"
            )
            rows_out(table(found), as_json=False)
            if found["missing"]:
                sys.stdout.write(f"not timed by itself, there is no such thing: {', '.join(found['missing'])}\n")
    sys.stdout.write(f"\nto reach: under {LIMIT:.0f} s of clock on two cores\n")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
