"""Ways to make a model behind one interface: what is offered, what each gives, what `auto` takes, what is stored."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_encoder import tiny

from toughcall.mining.embed import embed, load_encoder
from toughcall.model import kinds, recipes
from toughcall.model.evaluate import evaluate
from toughcall.model.kind import Kind
from toughcall.model.kinds import RelationKind, ScoresKind
from toughcall.model.linear import Rows
from toughcall.model.recipes import AUTO, Job, auto, blended, fit, gain, minutes, offered, pulled
from toughcall.model.registry import Registry, item_json, load_folder
from toughcall.model.scorers import Head
from toughcall.model.train import Basis, Trained
from toughcall.model.tuned import Tuned
from toughcall.proof import probe_scores, prove
from toughcall.records import IntegrityError, Item, Label, NotEnoughData, Scores, Text, UsageError, Vectors

FITS = {
    **dict.fromkeys(("multilabel", "multiclass", "scores"), ("head", "lora", "full")),
    "relation": ("head", "stages", "lora", "full"),
    "pair": ("head", "blend", "lora", "full", "cross"),
}
SHORT: dict[str, Any] = {"epochs": 1, "rate": 3e-3}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one setting of a head instead of eight."""
    for kind in (Kind, ScoresKind, RelationKind):
        monkeypatch.setattr(kind, "settings", kind.settings[4:5])


def job_of(data: Any, **more: Any) -> Job:
    """Return the job of some planted rows; `said` of its `say` is what was told."""
    rows = sorted(range(len(data.items)), key=lambda row: data.items[row].id)
    items, labels = [data.items[row] for row in rows], [data.labels[row] for row in rows]
    hints = data.hints if data.kind.hinted else None
    basis = Basis.of(data.kind, data.schema, items, data.vectors, corpus=data.corpus, seed=0, hints=hints)
    given: dict[str, Any] = {"say": lambda text: None, "bar": lambda what: lambda done, total: None}
    given |= {"clock": lambda: 0.0, "device": "cpu", "tuning": SHORT, "base": tiny, "seed": 0}
    return Job(basis, range(len(items)), labels, **{**given, **more})


def restored(trained: Trained, base: Callable[[], Path] = tiny) -> Head | Tuned:
    """Return the model made again of what is stored of it."""
    config = json.loads(json.dumps(trained.config(), allow_nan=False))
    if "shape" in config:
        return Tuned.restore(config, trained.arrays(), trained.name, base)
    return Head.restore(config, trained.arrays(), trained.name)


@pytest.mark.parametrize("name", sorted(FITS))
def test_each_kind_is_offered_what_fits_it(planted: Callable[..., Any], name: str) -> None:
    """T6, T8, B5: stages for relations with a null label, blending and cross reading for pairs; the cheapest first."""
    data = planted(name, n=12)
    assert offered(data.kind, data.schema) == FITS[name]
    with pytest.raises(UsageError, match=f"no recipe 'lara' for kind {name}: choose {', '.join(FITS[name])}, auto"):
        fit("lara", job_of(data))


def test_stages_need_a_label_that_says_none(planted: Callable[..., Any]) -> None:
    """T8: without a null label nothing is decided first."""
    data = planted("relation", n=12)
    assert "stages" not in offered(data.kind, dataclasses.replace(data.schema, null=""))


@pytest.mark.parametrize(("name", "recipe"), [(name, one) for name, fits in FITS.items() for one in fits])
def test_every_recipe_trains_scores_and_comes_back(planted: Callable[..., Any], name: str, recipe: str) -> None:
    """T6, R1, R5: each recipe gives finite, legal scores, and the very same ones when made again of its files."""
    data = planted(name, n=40)
    job = job_of(data)
    trained = fit(recipe, job)
    assert (trained.model.recipe, restored(trained).recipe) == (recipe, recipe)
    assert trained.name.startswith(f"{recipe}-")
    assert (trained.tuned is not None) == bool(trained.history) == (recipe in recipes.NETWORKS)
    said = trained.score(job.items, data.vectors)
    assert said.values.shape == (40, len(data.kind.columns(data.schema)))
    assert said.values.min() >= 0
    assert said.values.max() <= 1
    if name in ("multiclass", "relation"):
        assert said.values.sum(axis=1) == pytest.approx(np.ones(40), abs=1e-4)
    legal = data.kind.legal(data.schema, job.items)
    assert legal is None or not said.values[~legal].any()
    again = restored(trained).score(job.items, data.vectors)
    assert again.values == pytest.approx(said.values, abs=1e-6)
    assert again.parts.keys() == said.parts.keys()
    assert ("network" in said.parts) == (name == "pair" and recipe in recipes.NETWORKS)
    assert trained.outside is not None
    assert trained.outside.shape == said.values.shape
    json.dumps(trained.config(), allow_nan=False)


def test_networks_never_train_on_the_fifth_they_are_chosen_on(planted: Callable[..., Any], monkeypatch: Any) -> None:
    """C61, P5: a fifth of the rows, every class among them, is held out of the network; the share is chosen on it."""
    data = planted("multiclass", n=50)
    job, seen = job_of(data), []
    real = recipes.tune
    monkeypatch.setattr(recipes, "tune", lambda *args, **more: seen.append(args[5]) or real(*args, **more))
    trained = fit("lora", job)
    assert (seen[0] == job.held).all()
    assert 5 <= job.held.sum() <= 15
    assert job.truth[job.held].any(axis=0).all()
    assert trained.chosen["held_out"] == job.held.sum()
    assert trained.chosen["share"] in trained.chosen["by_share"]
    assert trained.chosen["share"] > 0, "who asks for a network gets some of it"
    few = job_of(planted("multiclass", n=50))
    monkeypatch.setattr(recipes.Job, "held", property(lambda job: np.arange(len(job.rows)) >= 2))
    with pytest.raises(NotEnoughData, match="labels are too few for recipe lora: toughcall retrain --recipe head"):
        fit("lora", few)


def test_b5_blending_finds_the_planted_share(planted: Callable[..., Any]) -> None:
    """B5, 001: of 0.7 · one cosine + 0.3 · the other the share is found within 0.1."""
    data, rng = planted("pair", n=400), np.random.default_rng(1)
    parts = {name: rng.random(400).astype(np.float32) for name in ("cosine", "tfidf")}
    mixed = 0.7 * parts["cosine"] + 0.3 * parts["tfidf"]
    job = job_of(data)
    labels = [Label(item.id, (data.schema.labels[int(z <= 0.5)],)) for item, z in zip(job.items, mixed, strict=True)]
    job = dataclasses.replace(job, labels=labels, basis=dataclasses.replace(job.basis, parts=parts))
    found = blended(job)
    assert found.chosen["w"] == pytest.approx(0.7, abs=0.1)
    assert found.chosen["by_w"][1.0] < found.chosen["out_of_fold"] > found.chosen["by_w"][0.0]
    assert len(found.chosen["by_w"]) == 21


def stubbed(name: str, job: Job, beside: Trained) -> Trained:
    """Return the head under the name of a network."""
    return dataclasses.replace(beside, head=dataclasses.replace(beside.head, recipe=name))


@pytest.mark.parametrize(
    ("lora", "full", "taken"),
    [
        ((-0.1, 0.05), (0.0, 0.0), "head"),
        ((0.04, 0.05), (0.05, 0.05), "head"),
        ((0.06, 0.05), (0.1, 0.2), "lora"),
        ((0.2, 0.05), (0.3, 0.05), "full"),
        ((0.3, 0.05), (0.2, 0.01), "lora"),
    ],
)
def test_auto_takes_what_is_worth_its_trouble(
    planted: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    lora: tuple[float, float],
    full: tuple[float, float],
    taken: str,
) -> None:
    """B6: a recipe replaces the head when it is better by more than one standard error, and the best of those does."""
    planted_gains = iter((lora, full))
    monkeypatch.setattr(recipes, "further", stubbed)
    monkeypatch.setattr(recipes, "minutes", lambda name, job: 1.0)
    monkeypatch.setattr(recipes, "gain", lambda *args: next(planted_gains))
    told: list[str] = []
    found = fit(AUTO, job_of(planted("multiclass", n=30), say=told.append))
    assert found.model.recipe == taken
    rows = {row["recipe"]: row for row in found.chosen["tried"]}
    assert [name for name, row in rows.items() if row["taken"]] == [taken]
    assert (rows["lora"]["gain"], rows["full"]["gain"]) == (lora[0], full[0])
    assert told[-1] == f"recipe {taken} goes to the gate"
    assert any(one.startswith(f"lora: {lora[0]:+.3f} ± {lora[1]:.3f} against the head") for one in told)


def ticking(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        now += step
        yield now


def test_auto_leaves_out_what_does_not_fit_the_budget(planted: Callable[..., Any]) -> None:
    """O2: what a few forward passes say is too long is left out by name, with the minutes; the head always fits."""
    told: list[str] = []
    clock = ticking(600.0)
    job = job_of(planted("multiclass", n=30), say=told.append, clock=lambda: next(clock), budget=10.0)
    found = fit(AUTO, job)
    assert found.model.recipe == "head"
    left = [one for one in told if "is left out" in one]
    assert [one.split()[0] for one in left] == ["lora", "full"]
    assert "minutes" in left[0]
    assert "(train.budget)" in left[0]
    assert {row["recipe"]: row.get("left_out", False) for row in found.chosen["tried"]} == {
        **{"head": False, "lora": True, "full": True}
    }


def test_minutes_grow_with_rows_and_epochs(planted: Callable[..., Any]) -> None:
    """What a run takes is counted from a forward pass: in proportion to epochs, nothing where nothing passes."""
    job = job_of(planted("multiclass", n=30), clock=lambda c=ticking(6.4): next(c))
    one = minutes("lora", job)
    # 6.4 s for 30 rows, of which four fifths train at three times the price and all are measured
    assert one == pytest.approx(6.4 * (3 * 0.8 + 0.2) / 60)
    more = dataclasses.replace(job, tuning={"epochs": 5})
    assert minutes("full", more) == pytest.approx(5 * one)
    assert minutes("full", dataclasses.replace(job, clock=lambda: 0.0)) == 0


def ordered() -> tuple[list[Item], list[Label]]:
    """Who bites whom: both answers have the very same words."""
    names = "fox wolf hare pump gear motor bread soup pear clarity warmth reach shale marl clay quarry cliff cave"
    pairs = [
        (f"the dog bites the {one}{end}", f"the {one} bites the dog{end}")[n]
        for n in (0, 1)
        for one in names.split()
        for end in ("", " today", " once more")
    ]
    items: list[Item] = [Text(text) for text in sorted(pairs)]
    return items, [
        Label(item.id, ("bites" if item.texts[0].text.startswith("the dog") else "bitten",)) for item in items
    ]


def test_auto_takes_a_network_where_only_the_order_of_words_matters() -> None:
    """B6, T6: where bags of words and frozen vectors know nothing a network does, and is better by its own figure."""
    kind = kinds.get("multiclass")
    schema = kind.schema(("bites", "bitten"))
    items, labels = ordered()
    order = sorted(range(len(items)), key=lambda row: items[row].id)
    items, labels = [items[row] for row in order], [labels[row] for row in order]
    dense = np.random.default_rng(0).normal(size=(len(items), 8))
    vectors = Vectors(tuple(item.id for item in items), dense.astype(np.float32), "blind")
    basis = Basis.of(kind, schema, items, vectors, corpus=(), seed=0)
    told: list[str] = []
    job = Job(
        dataclasses.replace(basis, raw=Rows(dense)),
        range(len(items)),
        labels,
        **{"base": tiny, "seed": 0, "say": told.append, "bar": lambda what: lambda done, total: None},
        **{"clock": lambda: 0.0, "device": "cpu", "tuning": {"epochs": 5, "rate": 3e-3}},
    )
    found = auto(job, ("head", "full"))
    rows = {row["recipe"]: row for row in found.chosen["tried"]}
    assert found.model.recipe == "full", told
    assert rows["full"]["gain"] > max(0.2, rows["full"]["error"])
    assert found.chosen["share"] >= 0.5


def test_gain_is_signed_and_knows_its_own_error(planted: Callable[..., Any]) -> None:
    """B6: nothing against itself, positive for the better, and an error that shrinks with the rows."""
    kind, rng = kinds.get("multilabel"), np.random.default_rng(0)
    truth = rng.random((400, 2)) < 0.4
    good, bad = truth + rng.normal(size=(400, 2)), rng.normal(size=(400, 2))
    assert gain(kind, truth, good, good, 0) == (0.0, 0.0)
    up, error = gain(kind, truth, good, bad, 0)
    assert up > 5 * error > 0
    assert gain(kind, truth, bad, good, 0)[0] == -up
    assert gain(kind, truth[:40], good[:40], bad[:40], 0)[1] > 2 * error


def test_few_rows_pull_a_threshold_little() -> None:
    """T5: a cut fitted on n members goes n / (n + 10) of the way from the head's; a grid of numbers stays."""
    truth = np.zeros((100, 2), dtype=bool)
    truth[:10, 0] = truth[:90, 1] = True
    cuts, known = np.array([0.9, 0.9]), np.array([0.5, 0.5])
    assert pulled(cuts, known, kinds.get("multilabel"), truth) == pytest.approx([0.7, 0.86])
    assert pulled(cuts, known, kinds.get("scores"), truth) is cuts


@pytest.fixture(scope="module")
def real() -> tuple[Job, Trained, Vectors]:
    """Adapters trained on rows whose vectors are the tiny encoder's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kind, "settings", Kind.settings[4:5])
        kind = kinds.get("multiclass")
        items, labels = ordered()
        encoder = load_encoder(str(tiny()), "cpu")
        vectors = embed([item.texts[0] for item in items], encoder, tiny().with_name("vectors"))
        rows = sorted(range(len(items)), key=lambda row: items[row].id)
        basis = Basis.of(
            kind, kind.schema(("bites", "bitten")), [items[row] for row in rows], vectors, corpus=(), seed=0
        )
        given: dict[str, Any] = {"say": lambda text: None, "bar": lambda what: lambda done, total: None}
        given |= {"clock": lambda: 0.0, "device": "cpu", "tuning": {"epochs": 2, "rate": 1e-2}, "base": tiny, "seed": 0}
        job = Job(basis, range(len(items)), [labels[row] for row in rows], **given)
        return job, fit("lora", job), vectors


def saved(registry: Registry, real: tuple[Job, Trained, Vectors], proof: Any = None, again: Any = None) -> str:
    """Store the model as a retrain does."""
    job, trained, vectors = real
    encoder = load_encoder(str(tiny()), "cpu")
    test = job.items[:20]
    said = trained.score(test, vectors)
    given: dict[str, Any] = {"seed": 0, "role": "candidate"}
    report = evaluate("p-v001", job.kind, job.schema, job.labels[:20], said, trained.thresholds, **given)
    info = {"labels": "l", "n_labels": len(job.items), "seed": 0, "encoder": encoder.name, "encoder_sha": encoder.sha}
    return registry.save(
        trained,
        name="p",
        report=report,
        info={**info, "schema": "s", "base_scores": np.full((8, 2), 0.5).tolist()},
        probe=job.items[:8],
        probe_vectors=vectors,
        prove=proof or (lambda folder: prove(folder, encoder.name, "cpu", test)),
        again=again or (lambda fresh: figure(job, fresh, said, trained.thresholds)),
    )


def figure(job: Job, fresh: Any, said: Scores, thresholds: Any) -> float | None:
    scores = dataclasses.replace(said, values=np.asarray(fresh, np.float32))
    rows = (job.kind, job.schema, job.labels[:20], scores, thresholds)
    return evaluate("again", *rows, seed=0, role="again", bounds=False).value


def test_c60_a_tuned_model_proves_itself_in_a_fresh_process(tmp_path: Path, real: tuple[Job, Trained, Vectors]) -> None:
    """C60, R1, P9: stored after a real fresh process gave its scores; loaded again they are those of memory."""
    job, trained, vectors = real
    registry = Registry(tmp_path / "models", tiny)
    version = saved(registry, real)
    loaded = registry.load(version)
    assert isinstance(loaded, Tuned)
    assert loaded.shape.rank == 8
    now = loaded.score(job.items, vectors).values
    assert now == pytest.approx(trained.score(job.items, vectors).values, abs=1e-6)
    assert np.abs(now - trained.head.score(job.items, vectors).values).max() > 1e-3, "the network has its share"


def test_r3_other_thresholds_than_those_it_was_judged_with_are_refused(
    tmp_path: Path, real: tuple[Job, Trained, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3, R5, P4: thresholds changed in what is stored, or a figure that does not come back: exit 6, nothing stored."""
    job, trained, vectors = real
    said = trained.score(job.items[:20], vectors)
    registry = Registry(tmp_path / "models", tiny)
    # one label wins everywhere
    wrong = np.array([1e-6, 1.0], np.float32)
    with pytest.raises(IntegrityError, match=r"p-v001 was measured with macro_f1 [\d.]+, reloaded .* it has [\d.]+"):
        saved(registry, real, proof=here(job), again=lambda fresh: figure(job, fresh, said, wrong))
    arrays = Tuned.arrays
    monkeypatch.setattr(Tuned, "arrays", lambda self: arrays(self) | {"thresholds": wrong})
    with pytest.raises(IntegrityError, match="holds other thresholds than it was judged with") as caught:
        saved(registry, real, proof=here(job))
    assert caught.value.code == 6
    assert registry.versions() == []


def here(job: Job) -> Callable[[Path], Any]:
    """Return what the fresh process does, done in this one."""
    rows = [item_json(item) for item in job.items[:20]]
    return lambda folder: np.asarray(probe_scores(folder, str(tiny()), "cpu", rows), np.float32)


def test_a_tuned_model_asks_for_the_encoder_it_was_trained_on(
    tmp_path: Path, real: tuple[Job, Trained, Vectors]
) -> None:
    """001, R2: another encoder of the same shapes, and no encoder at all, are told; neither scores anything."""
    job, trained, vectors = real
    registry = Registry(tmp_path / "models", tiny)
    version = saved(registry, real, proof=here(job))
    for base, told in (
        (lambda: tiny(1), "is not the one that p-v001 was trained on"),
        (None, r"set name in \[encoder\]"),
    ):
        other = Registry(tmp_path / "models", *([base] if base else []))
        with pytest.raises(IntegrityError, match=told):
            other.load(version).score(job.items[:2], vectors)
    arrays = {key: one for key, one in trained.arrays().items() if key != "share"}
    with pytest.raises(IntegrityError, match="its files do not belong together"):
        Tuned.restore(trained.config(), arrays, "p-v001", tiny)
    assert load_folder(registry.path(version), tiny)[1]["n_labels"] == len(job.items)


def test_auto_goes_on_without_a_library(planted: Callable[..., Any], monkeypatch: Any) -> None:
    """Without peft `auto` says that lora is left out and how to get it, and the other recipes are still tried."""
    told: list[str] = []
    monkeypatch.setitem(sys.modules, "peft", None)
    found = fit(AUTO, job_of(planted("multiclass", n=30), say=told.append))
    assert [one for one in told if one.startswith("lora is left out: recipe lora needs peft: pip install")]
    assert [row["recipe"] for row in found.chosen["tried"]] == ["head", "full"]
