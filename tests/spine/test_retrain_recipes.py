"""A retrain with every recipe: proven, judged, reported; killed, full, exploding or hopeless it harms nothing."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from worlds import World, hasten, multilabel, pair, prove_here

from toughcall import files, judging, project, proof, retraining
from toughcall.cli import main
from toughcall.model import difficulty, recipes
from toughcall.model.tuned import Tuned
from toughcall.records import DiskError, IntegrityError, UsageError
from toughcall.workspace import Silent, Workspace, opened

TINY = runpy.run_path(str(Path(__file__).parents[1] / "model" / "tiny_encoder.py"))
REPORT = {"metrics.json", "evaluation_report.json", "error_analysis.json", "predictions_sample.json", "report.html"}
FRESH_PROCESS = retraining.prove
pytestmark = pytest.mark.usefixtures("one_thread")


class Told(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        """Keep it."""
        self.said.append(sentence)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting of a head, and proofs in this process: the real one has a test of its own."""
    hasten(monkeypatch)
    monkeypatch.setattr(proof, "prove", prove_here)


def with_tiny(world: World) -> World:
    return dataclasses.replace(world, options={**world.options, "encoder": str(TINY["tiny"]())})


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project over the tiny encoder with an answer to every record, one epoch a run; tests work on copies."""
    world = with_tiny(multilabel())
    root = world.make(tmp_path_factory.mktemp("answered"), train__epochs=1, train__rate=3e-3, mine__near_duplicate=1.0)
    with opened(root, "test") as ws:
        assert ws.vectors.array.shape[1] == TINY["WIDTH"]
        world.answer(ws, [text.id for text in ws.pool.texts()])
    return root


@pytest.fixture
def root(answered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(answered, tmp_path / "p"))


@pytest.fixture
def ws(root: Path) -> Iterator[Workspace]:
    with opened(root, "test", Told()) as made:
        yield made


def said(ws: Workspace) -> str:
    assert isinstance(ws.telling, Told)
    return "\n".join(ws.telling.said)


def edit(root: Path, **values: str) -> None:
    """Replace values of the project's settings: epochs="2" sets `epochs = 2`."""
    path = root / project.FILE
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1, key
    path.write_text(text, encoding="utf-8")


def run(root: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--project", str(root), *words])


def test_c56_c67_adapters_from_labels_to_a_verdict(ws: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C56, C67, R1, P1, 000: a run with adapters is proven, judged beside every baseline, reported and kept; the same
    again says nothing new, another recipe is something new and says how often the test set has judged."""
    done = retraining.retrain(ws, recipe="lora")
    assert done.verdict is not None
    assert [one.role for one in done.reports] == ["majority", "tfidf", "untouched", "candidate"]
    event = ws.store.events("retrain")[-1][1]
    assert (event["version"], event["recipe"], done.version) == ("p-v001", "lora", "p-v001")
    assert re.search(r"lora: .* of the answer is the network's, the rest the head's", said(ws))
    written = {path.name for path in (root / "reports" / "p-v001").iterdir()}
    assert written >= REPORT
    history = json.loads((root / "reports" / "p-v001" / "training_history.json").read_text(encoding="utf-8"))
    assert "train_loss" in json.dumps(history)
    model = ws.registry.load("p-v001")
    assert isinstance(model, Tuned)
    assert judging.verified(ws)["recipe"] == "lora"
    assert "nothing new" in retraining.retrain(ws, recipe="lora").note
    assert "has judged" not in said(ws), "the first verdict needs no warning"
    assert retraining.retrain(ws, recipe="full").version == "p-v002"
    assert re.search(r"judged 2 models: the chance that one of 2 no better ones passed is up to \d+%", said(ws))
    assert retraining.retrain(ws, recipe="head").version == "p-v003"
    assert ws.registry.versions() == ["p-v001", "p-v002", "p-v003"]
    assert ws.registry.champion() == ""
    with pytest.raises(IntegrityError, match="is not the one the model was trained on"):
        prove_here(ws.registry.path("p-v001"), str(TINY["tiny"](1)), "cpu")


def test_auto_on_the_command_line_says_what_it_left_out(root: Path) -> None:
    """O2, B6: without minutes `auto` names each network it left out, and the head goes to the gate; a recipe that is
    none is exit 2 with those there are, and the same command again says nothing new."""
    edit(root, budget="0.0")
    done = run(root, "retrain", "--recipe", "auto", "--json")
    assert done.exit_code == 0, done.output
    assert "lora is left out: about" in done.stderr
    assert "full is left out: about" in done.stderr
    assert "recipe head goes to the gate" in done.stderr
    assert all(json.loads(line) for line in done.stdout.splitlines())
    assert "nothing new" in run(root, "retrain", "--recipe", "auto").stderr
    wrong = run(root, "retrain", "--recipe", "lara")
    assert wrong.exit_code == 2
    assert "no recipe 'lara' for kind multilabel: choose head, lora, full, auto" in wrong.stderr


def test_pairs_are_blended(tmp_path: Path) -> None:
    """B5, 001: w · cosine + (1 − w) · words goes the way of every model: proven, judged, reported, verified."""
    world = with_tiny(pair())
    root = world.make(tmp_path, mine__window=4.0, train__recipe="blend", mine__near_duplicate=1.0)
    from toughcall import loop

    with opened(root, "test", Told()) as ws:
        world.answer(ws, loop.score(ws).ids)
        done = retraining.retrain(ws)
        assert done.verdict is not None
        assert ws.store.events("retrain")[-1][1]["recipe"] == "blend"
        model = ws.registry.load(done.version)
        coef = np.asarray(model.coef)[0]  # type: ignore[attr-defined]
        assert 0 <= coef[0] <= 1
        assert coef == pytest.approx([coef[0], 1 - coef[0], 0])
        assert judging.verified(ws, done.version)["two loads agree"] == "yes"
        assert (root / "reports" / done.version / "report.html").is_file()


KILLED = """
import os, signal, sys
from pathlib import Path
from toughcall import retraining
from toughcall.model.watch import Watch
from toughcall.workspace import opened

real = Watch.step
def step(self, number, loss, norm):
    real(self, number, loss, norm)
    if number == 2:
        print("step 2", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
Watch.step = step
with opened(Path(sys.argv[1]), "retrain") as ws:
    retraining.retrain(ws, recipe="lora")
"""


def test_c58_killed_in_the_middle_of_an_epoch(root: Path) -> None:
    """C58, P3: after kill -9 between two steps the champion serves, no model is listed, no file of it is left in the
    project, and the same command ends as if nothing had happened."""
    with opened(root, "test") as ws:
        champion = retraining.retrain(ws, recipe="head").version
        ws.registry.promote(champion, verdict={"outcome": "PROMOTE", "sentence": "better"})
    before = {path: path.read_bytes() for path in (root / "models").rglob("*") if path.is_file()}
    done = subprocess.run([sys.executable, "-c", KILLED, str(root)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "step 2\n"), done.stderr
    assert {path: path.read_bytes() for path in (root / "models").rglob("*") if path.is_file()} == before
    with opened(root, "test") as ws:
        assert ws.registry.champion() == champion
        assert ws.registry.load(champion).score(ws.pool.texts()[:2], ws.vectors).values.shape == (2, 2)
        assert len(ws.store.events("retrain")) == 1
        assert retraining.retrain(ws, recipe="lora").version == "p-v002"
        assert ws.registry.versions() == [champion, "p-v002"]


def test_c57_a_full_disk_while_saving(ws: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C57: exit 9 with a sentence, the champion as it was, no half model listed or left; with space it is made."""
    champion = retraining.retrain(ws, recipe="head").version
    ws.registry.promote(champion, verdict={"outcome": "PROMOTE", "sentence": "better"})
    fired: list[str] = []

    def full(handle: int) -> None:
        place = str(Path(f"/proc/self/fd/{handle}").resolve())
        if ".making-" in place:
            fired.append(place)
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(DiskError, match="No space left on device") as caught:
            retraining.retrain(ws, recipe="lora")
    assert caught.value.code == 9
    assert fired, "the fault came"
    assert {path.name for path in (root / "models").iterdir()} == {champion, "champion.json"}
    assert (ws.registry.champion(), ws.registry.versions()) == (champion, [champion])
    assert retraining.retrain(ws, recipe="lora").version == "p-v002"


def test_c65_a_run_that_explodes_stores_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """C65: training that stops being numbers is exit 6 with the step; no model, no verdict, no report."""
    rank, cross, tuning = recipes.NETWORKS["lora"]
    monkeypatch.setitem(recipes.NETWORKS, "lora", (rank, cross, dataclasses.replace(tuning, warmup=0.0)))
    job_of = retraining.job_of

    def hot(*args: Any) -> Any:
        job = job_of(*args)
        return dataclasses.replace(job, tuning={**job.tuning, "rate": 1e9, "epochs": 3})

    monkeypatch.setattr(retraining, "job_of", hot)
    with pytest.raises(IntegrityError, match=r"step \d+\)?: training stopped") as caught:
        retraining.retrain(ws, recipe="lora")
    assert caught.value.code == 6
    assert ws.registry.versions() == []
    assert ws.store.events("retrain") == []
    assert not (ws.project.root / "reports").exists()


def planted_difficulty(patch: pytest.MonkeyPatch) -> None:
    """Let the untouched encoder rank every training row right, and few rows be enough to say so."""
    real = judging.difficulty

    def easy(truth: Any, scores: Any, **more: Any) -> Any:
        return real(truth, truth.astype(np.float64), **more)

    patch.setattr(difficulty, "VETO_ROWS", 10)
    patch.setattr(judging, "difficulty", easy)


def test_b2_rows_that_teach_nothing_are_said_before_the_first_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B2, 001: a network on rows that the untouched encoder ranks right is exit 5 with the sentence, before anything
    is trained; `auto` goes on with the head, --force with the network."""
    from toughcall import loop

    planted_difficulty(monkeypatch)
    world = with_tiny(pair())
    root = world.make(tmp_path, mine__window=4.0, train__epochs=1)
    with opened(root, "test") as ws:
        world.answer(ws, loop.score(ws).ids)
    fitted: list[str] = []
    real = recipes.fit
    monkeypatch.setattr(recipes, "fit", lambda name, job: fitted.append(name) or real("head", job))
    refused = run(root, "retrain", "--recipe", "lora")
    assert refused.exit_code == 5, refused.output
    assert re.search(r"recipe lora was not started: .*too easy.*; --force trains it all the same", refused.stderr)
    assert fitted == []
    assert run(root, "difficulty").exit_code == 5
    assert run(root, "retrain", "--recipe", "auto").exit_code == 0
    forced = run(root, "retrain", "--recipe", "lora", "--force")
    assert forced.exit_code == 0, forced.output
    assert "too easy" in forced.stderr, "it is said all the same"
    assert fitted == ["head", "lora"]


def test_g1_targets_are_written_down_before_training(root: Path) -> None:
    """G1, 000: targets stand in the ledger before the first epoch; after a model they are edits, told from then on."""
    edit(root, targets='["macro F1 >= 0.9"]')
    with opened(root, "test", Told()) as ws:
        retraining.retrain(ws)
        verbs = [verb for verb, _ in ws.store.events()]
        assert verbs.index("targets") < verbs.index("retrain_begun")
        written = ws.store.events("targets")[-1][1]
        assert (written["lines"], written["edits"]) == (["macro F1 >= 0.90"], [])
        assert "macro F1" not in said(ws)
    edit(root, targets='["macro F1 >= 0.1"]')
    for _ in range(2):
        with opened(root, "test", Told()) as ws:
            done = retraining.retrain(ws, force=True)
            assert re.search(r"macro F1.*0\.9.*0\.1", said(ws)), said(ws)
            assert done.verdict is not None
            assert any("0.1" in check.name + check.detail for check in done.verdict.checks)
    with opened(root, "test") as ws:
        assert len(ws.store.events("targets")) == 2, "one event an edit"
    edit(root, targets='["makro F1 >= 0.1"]')
    with opened(root, "test") as ws, pytest.raises(UsageError, match="makro"):
        retraining.retrain(ws, force=True)


def test_t2_weights_by_hand_are_held_against_the_counts_and_used(root: Path) -> None:
    """T2, 002: [train.given] is told where the counts say otherwise, and trains."""
    path = root / project.FILE
    path.write_text(path.read_text(encoding="utf-8") + "\n[train.given]\nanimal = 0.2\n", encoding="utf-8")
    with opened(root, "test", Told()) as ws:
        assert retraining.retrain(ws, recipe="lora").version == "p-v001"
        assert re.search(r"given weights are .*animal 0\.2 against", said(ws))


def test_the_real_encoder_from_the_command_line_to_a_fresh_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Any
) -> None:
    """C60, P4, P9: the packaged MiniLM with adapters: trained, proven by a process with only the files, judged."""
    started: list[Any] = []
    fresh = proof._fresh
    monkeypatch.setattr(retraining, "prove", FRESH_PROCESS)
    monkeypatch.setattr(proof, "_fresh", lambda *args: started.append(args) or fresh(*args))
    world = multilabel()
    root = world.make(tmp_path, train__epochs=1)
    with opened(root, "test") as ws:
        world.answer(ws, [text.id for text in ws.pool.texts()])
    done = run(root, "retrain", "--recipe", "lora")
    assert done.exit_code == 0, done.output
    assert len(started) == 1
    assert re.search(r"p-v001: (PROMOTE|KEEP|UNDECIDED)", done.stdout)
    with opened(root, "test") as ws:
        model = ws.registry.load("p-v001")
        assert isinstance(model, Tuned)
        assert model.shape.rank == 8
    assert run(root, "verify").exit_code == 0


def test_verify_asks_which_folder_was_trained_from_a_base(root: Path, tmp_path: Path) -> None:
    """C59, 001: without a folder --base means nothing, exit 2; an encoder that equals its base is exit 6."""
    base = str(TINY["tiny"]())
    asked = run(root, "verify", "--base", base)
    assert (asked.exit_code, "toughcall verify FOLDER --base BASE" in asked.stderr) == (2, True)
    copy = str(shutil.copytree(base, tmp_path / "tuned"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_fresh", lambda module, given: proof.encoded(*json.loads(given)))
        found = run(root, "verify", copy, "--base", base)
    assert (found.exit_code, "tuned is identical to its base" in found.stderr) == (6, True)
