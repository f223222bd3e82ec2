"""Free fixes of a stored model: found on left-out training rows, never on the sealed ones, with a way to have them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from worlds import WORLDS, World, multiclass, multilabel, relation

from toughcall import fixing, project, retraining
from toughcall.cli import main
from toughcall.mining.batch import AUDIT
from toughcall.model.fixes import Fix
from toughcall.model.kind import Kind
from toughcall.model.train import Basis
from toughcall.records import Answer, Batch, NotEnoughData, Pick, UsageError, digest
from toughcall.workspace import Workspace, opened

pytestmark = pytest.mark.usefixtures("quick")


def parted(ws: Workspace, part: str) -> list[str]:
    """Return what may be asked of one part: texts or relations, in the order of their ids."""
    items = ws.pool.relations() if ws.kind.spanned else ws.pool.texts()
    parts = ws.store.parts() if ws.vectors.ids else {}
    return sorted(item.id for item in items if ws.part(item, parts) == part)


def named(found: list[Fix], name: str) -> Fix:
    """Return the one fix of a name."""
    (fix,) = [one for one in found if one.name == name]
    return fix


@pytest.fixture(autouse=True)
def three_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out a third at a time instead of a fifth: fewer fits."""
    monkeypatch.setattr(fixing, "FOLDS", 3)


def spoilt(patch: pytest.MonkeyPatch, ws: Workspace, cut: float) -> None:
    """Train a model whose thresholds are all the same, whatever its rows say."""
    with patch.context() as context:
        context.setattr(Kind, "cuts", lambda self, schema, truth, p, seed: (np.full(p.shape[1], cut, np.float32), ()))
        retraining.retrain(ws, force=True)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[World], Path]:
    """Return a function that makes a world's project with every item answered."""

    def make(world: World) -> Path:
        root = world.make(tmp_path)
        with opened(root, "test") as ws:
            world.answer(ws, [*parted(ws, "train"), *parted(ws, "test")])
        return root

    return make


def test_postmortem_000_thresholds_that_name_no_label_are_found_in_the_project(
    made: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """000: a stored model that is never above its thresholds has macro F1 0; its own thresholds are worth taking."""
    with opened(made(multilabel()), "test") as ws:
        spoilt(monkeypatch, ws, 0.999)
        found = fixing.fixes(ws)
        fix = found[0]
        assert (fix.name, fix.metric, fix.verdict, fix.before) == ("thresholds", "macro_f1", "take it", 0.0)
        assert fix.after is not None
        assert fix.after > 0.6
        assert fix.n == len(ws.split()[0])
        assert "animal 1.00 to 0." in fix.note
        assert {one.name for one in found} == {"thresholds", "calibration", "blend with TF-IDF"}
        retraining.retrain(ws, force=True)
        again = named(fixing.fixes(ws, "p-v002"), "thresholds")
        assert again.before == pytest.approx(fix.after, abs=0.25)
        assert again.verdict != "take it"


def test_the_sealed_rows_change_nothing(made: Callable[[World], Path]) -> None:
    """L6: turning every held-out answer leaves every fix as it is."""
    world = multilabel()
    with opened(made(world), "test") as ws:
        retraining.retrain(ws)
        before, seal = fixing.fixes(ws), ws.store.events("seal")
        turned = dataclasses.replace(world, truth=lambda item: () if world.truth(item) else ("animal",))
        assert turned.answer(ws, parted(ws, "test"))
        assert fixing.fixes(ws) == before
        assert ws.store.events("seal") == seal


def test_no_row_is_spoken_of_by_a_model_that_saw_it_or_its_group(
    made: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """L4: what is scored in a fold was not fitted on, nor was anything of its group."""
    from toughcall.model.train import Basis

    fitted: list[set[str]] = []
    fit, score = Basis.fit, Basis.score

    def watched_fit(self, rows, labels, **more):  # type: ignore[no-untyped-def]
        fitted.append({self.items[row].id for row in rows})
        return fit(self, rows, labels, **more)

    scored: list[str] = []

    def watched_score(self, head, rows):  # type: ignore[no-untyped-def]
        said = [self.items[row] for row in rows]
        groups = {ws.store.groups()[item.texts[0].id] for item in said}
        seen = {ws.store.groups()[one] for one in fitted[-1]}
        assert not groups & seen
        scored.extend(item.id for item in said)
        return score(self, head, rows)

    with opened(made(multilabel()), "test") as ws:
        retraining.retrain(ws)
        # two training texts at a time belong together
        twins = {one: f"twins {n // 2}" for n, one in enumerate(parted(ws, "train"))}
        known = ws.store.groups() | twins
        monkeypatch.setattr(ws.store, "groups", lambda: known)
        monkeypatch.setattr(Basis, "fit", watched_fit)
        monkeypatch.setattr(Basis, "score", watched_score)
        fitted.clear()
        fixing.fixes(ws)
        # each training row twice: under the table of types in use, and under the other one
        assert sorted(scored) == sorted(parted(ws, "train") * 2)
        assert len(fitted) == fixing.FOLDS


def test_a_type_mask_is_taken_away_on_paper_and_the_loss_is_shown(made: Callable[[World], Path]) -> None:
    """T9, 004: a model that has the mask shows what it would be without; one that lacks it, what it would be with."""
    root = made(relation())
    with opened(root, "test") as ws:
        retraining.retrain(ws)
        found = fixing.fixes(ws)
        off = named(found, "type mask off")
        assert off.metric == "positive_macro_f1"
        assert off.gain is not None
        assert off.gain <= 0
        assert off.verdict != "take it"
    path = root / project.FILE
    text = path.read_text(encoding="utf-8")
    start = text.index("[types]")
    end = text.index("\n[", start)
    path.write_text(text[:start] + text[end + 1 :], encoding="utf-8")
    with opened(root, "test") as ws:
        assert not ws.schema.types
        retraining.retrain(ws, force=True)
        assert not [fix for fix in fixing.fixes(ws, "p-v002") if "type mask" in fix.name]
    path.write_text(text, encoding="utf-8")
    with opened(root, "test") as ws:
        on = named(fixing.fixes(ws, "p-v002"), "type mask on")
        assert on.gain is not None
        assert on.gain >= 0
        assert "toughcall retrain" in on.how


def audit(ws: Workspace, world: World, model: str, items: list[str]) -> None:
    """Put items into a batch that a model drew at random, and answer them there."""
    picks = tuple(Pick(one, AUDIT, 0.0, rank) for rank, one in enumerate(items))
    name = ws.store.next_batch_name()
    ws.store.add_batch(Batch(name, ws.schema.version, model, picks))
    known = ws.pool.items(items)
    ws.store.add_answers(
        [
            Answer(digest(name, one), one, "eve", "label", world.truth(known[one]), name, ws.schema.version)
            for one in items
        ]
    )


def test_another_checkpoint_is_judged_on_audits_that_neither_has_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T4: an older model is compared on what the newer one drew at random, and not before 20 of those are answered."""
    world = multilabel()
    root = world.make(tmp_path, gate__test_share=0.15)
    with opened(root, "test") as ws:
        train = parted(ws, "train")
        kept, late = train[:-20], train[-20:]
        assert len(kept) >= 20
        world.answer(ws, [*kept, *parted(ws, "test")])
        retraining.retrain(ws)
        spoilt(monkeypatch, ws, 0.999)
        none = named(fixing.fixes(ws, "p-v002"), "serve p-v001")
        assert (none.verdict, none.n, none.before) == ("cannot be told", 0, None)
        assert none.note == "0 audited labels that neither model has trained on, 20 needed"
        # drawn by the older model: the newer one may have trained on them
        audit(ws, world, "p-v001", late[:1])
        audit(ws, world, "p-v002", late[1:])
        assert named(fixing.fixes(ws, "p-v002"), "serve p-v001").n == 19
        monkeypatch.setattr(fixing, "LEAST", 19)
        monkeypatch.setattr("toughcall.model.fixes.LEAST", 19)
        good = named(fixing.fixes(ws, "p-v002"), "serve p-v001")
        assert (good.n, good.before, good.verdict) == (19, 0.0, "take it")
        assert good.how == "toughcall promote p-v001, if the gate let it through"
        assert named(fixing.fixes(ws, "p-v001"), "serve p-v002").verdict == "worse"


@pytest.mark.parametrize("name", [one for one in sorted(WORLDS) if one != "pair"])
def test_every_kind_has_its_fixes_and_rows_that_print(made: Callable[[World], Path], name: str) -> None:
    """P4: each row says what, before, after, gain, interval, verdict and how; plain JSON, never NaN."""
    with opened(made(WORLDS[name]()), "test") as ws:
        retraining.retrain(ws)
        steps: list[tuple[int, int]] = []
        monitored = type("Told", (type(ws.telling),), {"bar": lambda self, what: lambda *at: steps.append(at)})
        ws.telling = monitored()
        found = fixing.fixes(ws)
        due = {"blend with TF-IDF"} | ({"thresholds", "calibration"} if ws.kind.labelled else set())
        assert due <= {fix.name for fix in found}
        assert [at for at, _ in steps] == sorted(at for at, _ in steps)
        assert steps[-1][0] == steps[-1][1]
        rows = fixing.rows_of(found)
        assert [list(row) for row in rows] == [
            ["fix", "metric", "before", "after", "gain", "low", "high", "rows", "verdict", "how", "note"]
        ] * len(found)
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows
        for row in rows:
            assert row["how"]
            assert row["low"] is None or (math.isfinite(row["low"]) and row["low"] <= row["high"])


def test_without_a_model_or_labels_the_next_command_is_named(tmp_path: Path) -> None:
    """C18, C55: no model, other labels, or fewer than 20 checked labels refuse in one sentence."""
    world = multiclass()
    with opened(world.make(tmp_path), "test") as ws:
        with pytest.raises(UsageError, match="no model to fix yet: toughcall retrain"):
            fixing.fixes(ws)
        world.answer(ws, [*parted(ws, "train")[:19], *parted(ws, "test")])
        retraining.retrain(ws)
        with pytest.raises(NotEnoughData, match="19 checked training labels, 20 are needed"):
            fixing.fixes(ws)
        with pytest.raises(UsageError, match="is not the name of a model"):
            fixing.fixes(ws, "../elsewhere")
        ws.__dict__["schema"] = dataclasses.replace(ws.schema, labels=(*ws.schema.labels, "plant"))
        with pytest.raises(UsageError, match="p-v001 answers other labels"):
            fixing.fixes(ws)


def test_silver_labels_train_and_never_judge(made: Callable[[World], Path]) -> None:
    """W3: an imported silver answer is fitted on, but no figure is measured on it."""
    with opened(made(multilabel()), "test") as ws:
        retraining.retrain(ws)
        train, *rest = ws.split()
        silver = [dataclasses.replace(one, trust="silver") if n % 3 == 0 else one for n, one in enumerate(train)]
        ws.split = lambda: (silver, *rest)  # type: ignore[method-assign,assignment,return-value]
        for fix in fixing.fixes(ws):
            assert fix.n == sum(one.trust == "gold" for one in silver)


def test_a_model_of_a_version_is_fitted_again_by_its_own_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T8: `toughcall fixes VERSION` looks at that model; one of two stages is left out and fitted in two stages."""
    world = relation()
    root = world.make(tmp_path)
    with opened(root, "test") as ws:
        world.answer(ws, parted(ws, "train"))
        assert retraining.retrain(ws, recipe="stages").version == "p-v001"
        assert retraining.retrain(ws, recipe="head").version == "p-v002"
    stages: list[int] = []
    real = Basis.fit

    def fit(self: Basis, *given: Any, **more: Any) -> Any:
        stages.append(more.get("null", -1))
        return real(self, *given, **more)

    monkeypatch.setattr(Basis, "fit", fit)
    for version in ("p-v001", "p-v002", "p-v009"):
        stages.clear()
        done = CliRunner().invoke(main, ["--project", str(root), "fixes", version])
        if version == "p-v009":
            assert done.exit_code != 0
            assert version in done.stderr
            continue
        assert done.exit_code == 0, done.stderr
        with opened(root, "test") as ws:
            null = ws.registry.load(version).null  # type: ignore[attr-defined]
        assert stages
        assert set(stages) == {null}
        assert (null >= 0) == (version == "p-v001")
