"""Does the suite notice? Lines of the product that promises hang on are broken in a copy; a test must turn red."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeStudio

from toughcall import files, loop
from toughcall.annotate.studio import Studio
from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate
from toughcall.model.gate import Gate, judge
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, Label, Pick, Scores
from toughcall.settings import Columns
from toughcall.workspace import opened

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("toughcall", "annotate", "model", "mining", "data", "tests", "pyproject.toml")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One line broken: in which file, what stands there, what takes its place, and the tests that must turn red."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


STUDIO, SYNC, PULLING = (f"tests/annotate/test_{one}.py" for one in ("studio", "sync", "pulling"))
EXPERTS, ANSWERS = (f"tests/annotate/test_{one}.py" for one in ("experts", "answers"))
POOL, STORE, SERVING = (f"tests/spine/test_{one}.py" for one in ("pool", "store", "serving"))
GATE = "tests/model/test_gate.py"
HERE = "tests/test_mutants.py"
MUTANTS = (
    Mutant(
        "the client repeats a write",
        "annotate/connection.py",
        'ONCE: dict[str, Any] = {"max_retries": 0}',
        'ONCE: dict[str, Any] = {"max_retries": 2}',
        (f"{STUDIO}::TestFaults::test_nothing_is_sent_twice_by_the_client",),
    ),
    Mutant(
        "an answer to a text that was changed there counts",
        "annotate/answers.py",
        "    if changed:\n",
        "    if False:\n",
        (f"{ANSWERS}::test_c50_another_text_than_sent_is_set_aside",),
    ),
    Mutant(
        "an answer to a stranger's task counts",
        "annotate/answers.py",
        "if not isinstance(uid, str) or uid not in items:",
        "if not isinstance(uid, str):",
        (f"{ANSWERS}::test_a_foreign_task_counts_only_with_annotations",),
    ),
    Mutant(
        "a draw is a win",
        "model/gate.py",
        "if gain <= gate.min_gain or high <= gate.min_gain:",
        "if gain < gate.min_gain or high < gate.min_gain:",
        (f"{GATE}::test_c67_equal_or_worse_is_kept_out_with_both_numbers",),
    ),
    Mutant(
        "a figure that is no number is one",
        "model/gate.py",
        "return value is not None and math.isfinite(value)",
        "return value is not None",
        (f"{HERE}::test_c68_a_baseline_without_a_figure_is_not_beaten",),
    ),
    Mutant(
        "a difference to a figure that is no number is one",
        "model/evaluate.py",
        "if not abs(measured - (report.value or 0.0)) <= 1e-6:",
        "if abs(measured - (report.value or 0.0)) > 1e-6:",
        (f"{GATE}::test_c68_a_figure_that_is_missing_or_not_finite_refuses",),
    ),
    Mutant(
        "a file is renamed before it is on the disk",
        "toughcall/files.py",
        "            os.fsync(file.fileno())\n",
        "            file.fileno()\n",
        (
            f"{HERE}::test_c13_c52_a_file_is_synced_then_renamed_then_its_folder_synced",
            f"{POOL}::test_c13_a_full_disk_stops_with_a_sentence_and_the_rerun_completes",
        ),
    ),
    Mutant(
        "a rename is not on the disk",
        "toughcall/files.py",
        "        os.fsync(handle)\n",
        "        os.fstat(handle)\n",
        (f"{HERE}::test_c13_c52_a_file_is_synced_then_renamed_then_its_folder_synced",),
    ),
    Mutant(
        "a commit is not on the disk",
        "toughcall/ledger.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        (f"{STORE}::test_c52_a_commit_is_on_the_disk",),
    ),
    Mutant(
        "a copy that somebody began is deleted",
        "annotate/sync.py",
        'for row in found if not row["annotations"] and not row["drafts"])',
        "for row in found)",
        (f"{SYNC}::test_p2_which_copies_may_go",),
    ),
    Mutant(
        "the cursor moves before the pages are stored",
        "toughcall/taking.py",
        "    before = set(taking.keys)\n",
        '    before = set(taking.keys)\n    ws.store.put(name, json.dumps({"since": "2026-11-21T12:59:59Z"}))\n',
        (f"{PULLING}::TestLedger::test_c42_a_pull_that_breaks_off_keeps_what_it_has_and_is_not_complete[404]",),
    ),
    Mutant(
        "what one look misses is gone",
        "toughcall/taking.py",
        "gone = sorted(absent & before)",
        "gone = sorted(absent)",
        (f"{PULLING}::TestLedger::test_c45_a_deleted_answer_is_told_after_two_looks_and_stays",),
    ),
    Mutant(
        "what somebody deleted is sent anew",
        "toughcall/exchange.py",
        "set(gone if again else ())",
        "set(gone)",
        (f"{PULLING}::TestLedger::test_c45_a_deleted_task_is_not_sent_again_by_itself",),
    ),
    Mutant(
        "what is to be sent counts as sent",
        "toughcall/exchange.py",
        "    done = sync.push(",
        '    ws.store.mark_tasks(batch.name, expert, send, "sent")\n    done = sync.push(',
        (f"{HERE}::test_c33_a_push_that_was_killed_is_taken_up",),
    ),
    Mutant(
        "who decides is one vote",
        "toughcall/voting.py",
        "        if item in final:\n",
        "        if item in final and item not in votes:\n",
        (f"{EXPERTS}::test_c48_a_disagreement_is_decided_by_one_more_answer",),
    ),
    Mutant(
        "checks vote",
        "toughcall/voting.py",
        'if answer.outcome != "label" or role == GOLD:',
        'if answer.outcome != "label":',
        (f"{EXPERTS}::test_checks_on_known_items_train_nothing",),
    ),
    Mutant(
        "an event may be changed",
        "toughcall/ledger.py",
        "BEFORE UPDATE ON answers BEGIN SELECT raise(ABORT, 'answers are append-only'); END;",
        "BEFORE UPDATE ON answers BEGIN SELECT 1; END;",
        (f"{STORE}::test_answers_are_append_only",),
    ),
    Mutant(
        "a listing that lost rows is whole",
        "annotate/studio.py",
        "if counts == {len(rows)} and",
        "if",
        (f"{SYNC}::TestPull::test_c42_page_missing_in_the_middle",),
    ),
    Mutant(
        "a cell may be a formula",
        "toughcall/tables.py",
        'FORMULA = ("=", "+", "-", "@", "\\t", "\\r")',
        'FORMULA = ("\\t", "\\r")',
        ("tests/spine/test_tables.py::test_c83_no_cell_is_a_formula",),
    ),
    Mutant(
        "a secret is compared letter by letter",
        "toughcall/serving.py",
        'hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())',
        "given == secret",
        (f"{SERVING}::test_c74_secrets_are_compared_in_constant_time",),
    ),
    Mutant(
        "nobody asks for the secret",
        "toughcall/serving.py",
        "if not allowed(door.secret,",
        "if False and not allowed(door.secret,",
        (f"{SERVING}::test_c74_without_the_secret_nothing_is_done",),
    ),
)


def broken(folder: Path, mutant: Mutant) -> str:
    """Return the text of a mutant's file in a folder with its line broken; fails when the line is not there."""
    text = (folder / mutant.file).read_text(encoding="utf-8")
    found = text.count(mutant.old)
    assert found == 1, f"{mutant.file} holds {mutant.old!r} {found} times, not once: update MUTANTS in {HERE}"
    return text.replace(mutant.old, mutant.new)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy of the product, which is then what is imported."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run some tests of a copy."""
    return python(folder, "-m", "pytest", "-p", "no:cacheprovider", "-x", "-q", *tests)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the product and its tests, in which the product is imported from the copy."""
    folder = tmp_path_factory.mktemp("mutants")
    for name in COPIED:
        if (ROOT / name).is_dir():
            left = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=left)
        else:
            shutil.copy(ROOT / name, folder / name)
    names = ("toughcall.files", "toughcall.annotate.sync", "toughcall.model.gate")
    shown = "".join(f"import {name}; print({name}.__file__); " for name in names)
    imported = [Path(line) for line in python(folder, "-c", shown).stdout.split()]
    assert len(imported) == len(names)
    assert all(path.is_relative_to(folder) for path in imported), imported
    return folder


def test_the_lines_are_there() -> None:
    """Every line that the list breaks is in the product, once; each mutant has a name of its own."""
    for mutant in MUTANTS:
        assert broken(ROOT, mutant)
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS)


def test_unbroken_every_test_passes(copy: Path) -> None:
    """What the mutants must turn red is green without them, in the copy."""
    done = run(copy, *sorted({test for mutant in MUTANTS for test in mutant.tests}))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_broken_line_turns_a_test_red(copy: Path, mutant: Mutant) -> None:
    """P1, P2, P10: where a line that a promise hangs on is broken, each of the tests that hold it fails."""
    path = copy / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(broken(copy, mutant), encoding="utf-8")
    try:
        for test in mutant.tests:
            done = run(copy, test)
            # 1: it ran and failed; anything else is a test that is not there, or could not be collected
            assert done.returncode == 1, f"{test} does not notice that {mutant.what}\n{done.stdout[-2000:]}"
            assert " failed" in done.stdout.splitlines()[-1], done.stdout[-2000:]
    finally:
        path.write_text(whole, encoding="utf-8")


# ---- tests that no other file has, and a mutant needs


def test_c13_c52_a_file_is_synced_then_renamed_then_its_folder_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C13, C52: a power cut finds the old file or the new one: the content is on the disk before the name, and then
    the name.
    """
    path, done = tmp_path / "a.json", list[tuple[str, int]]()
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append(("sync", os.fstat(handle).st_ino))
        sync(handle)

    def renamed(aside: Path, target: Path) -> Path:
        done.append(("rename", aside.stat().st_ino))
        return replace(aside, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    files.write_atomically(path, lambda aside: aside.write_text("new"))
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert done == [("sync", file), ("rename", file), ("sync", folder)]


def report(role: str, wrong: int) -> Report:
    """Return figures on 40 rows of two classes, of which so many are wrong."""
    kind, names, rows = kinds.get("multiclass"), ("a", "b"), np.arange(40)
    said = np.where(rows < wrong, 1 - rows % 2, rows % 2)
    labels = [Label(f"i{row}", (names[row % 2],)) for row in rows]
    scores = Scores(tuple(one.item for one in labels), names, np.eye(2, dtype=np.float32)[said], role)
    schema = kind.schema(names)
    return evaluate(role, kind, schema, labels, scores, kind.plain(schema), seed=0, role=role)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_c68_a_baseline_without_a_figure_is_not_beaten(value: float) -> None:
    """C68, P10: a figure of any other baseline that is no number refuses, below whatever it lies."""
    baselines = [report("untouched", 20), report("tfidf", 12)]
    gate = Gate("macro_f1", min_items=20)
    assert judge(report("candidate", 0), None, baselines, gate).outcome == "PROMOTE"
    baselines[1] = dataclasses.replace(baselines[1], value=value)
    assert judge(report("candidate", 0), None, baselines, gate).outcome == "KEEP"


class Killed(BaseException):
    """The process ends here: nothing that catches errors may run on."""


@pytest.mark.parametrize("after", [False, True], ids=["before it was sent", "after it was sent"])
def test_c33_a_push_that_was_killed_is_taken_up(
    make_project: Callable[..., Path], write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """C33, P2, P3: killed around the request that stores its tasks, a push run again has each item there once."""
    real = Studio.send

    def send(studio: Studio, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        if after:
            real(studio, project, tasks)
        raise Killed

    with FakeStudio() as fake:
        monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
        root = make_project(studio__url=fake.url)
        with opened(root, "test") as ws:
            loop.import_file(ws, write_csv("pool.csv", [{"text": f"text {n}"} for n in range(4)]), Columns())
            ids = sorted(text.id for text in ws.pool.texts())
            picks = tuple(Pick(one, "in_band", 0.5, rank) for rank, one in enumerate(ids))
            ws.store.add_batch(Batch("b001", ws.schema.version, "m", picks))
            with monkeypatch.context() as patch:
                patch.setattr(Studio, "send", send)
                with pytest.raises(Killed):
                    loop.push(ws)
        with opened(root, "test") as ws:
            done = loop.push(ws)
        assert (done.sent, done.already, done.gone) == ((0, 4, 0) if after else (4, 0, 0))
        assert fake.uids(done.project) == ids
