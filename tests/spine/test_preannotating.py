"""What the champion says beside a task, in every kind of work, and where it keeps silent (C38, C50)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import WORLDS, hasten, multiclass

from toughcall import loop, retraining
from toughcall.annotate.answers import read_answers
from toughcall.annotate.tasks import to_tasks
from toughcall.mining import embed
from toughcall.model.registry import Registry
from toughcall.model.scorers import predict
from toughcall.preannotating import BLIND, MARK, Preannotator
from toughcall.records import Batch, Pick
from toughcall.voting import ADJUDICATION, GOLD
from toughcall.workspace import opened

pytestmark = pytest.mark.usefixtures("quick")


def trained(folder: Path, name: str) -> tuple[Path, list[str], list[str]]:
    """Return a project with a champion, ids of the training part it never saw, and ids of the test part."""
    world = WORLDS[name]()
    root = world.make(folder, **({"mine__window": 4.0} if name == "pair" else {}))
    with opened(root, "test") as ws:
        items = ws.pool.items(loop.score(ws).ids)
        parts = ws.store.parts()
        train = [one for one in sorted(items) if ws.part(items[one], parts) == "train"]
        held = [one for one in sorted(items) if ws.part(items[one], parts) == "test"]
        left = train[::4]
        world.answer(ws, set(items) - set(left))
        version = retraining.retrain(ws).version
        ws.registry.promote(version, verdict={})
    return root, left, held


def sent(root: Path, ids: list[str], name: str = "b001", role: str = "", **reasons: str) -> list[dict[str, Any]]:
    """Save a batch and return its tasks as Label Studio sends them; `reasons`: of some items."""
    with opened(root, "test") as ws:
        picks = tuple(Pick(one, reasons.get(one, "in_band"), 0.5, rank) for rank, one in enumerate(ids))
        batch = Batch(name, ws.schema.version, "untouched", picks)
        ws.store.add_batch(batch, role)
        tasks, bad = to_tasks(batch, ws.pool.items(ids), ws.schema)
    assert not bad
    return [{**task, "id": number, "predictions": 3, "annotations": "none"} for number, task in enumerate(tasks, 1)]


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_every_kind_is_answered_as_its_model_decides(tmp_path: Path, name: str) -> None:
    """C38: in each kind a task gets what the champion answers with its thresholds, readable as an expert's answer, with
    a score that rises with the rank.
    """
    root, left, _ = trained(tmp_path, name)
    tasks = sent(root, left)
    with opened(root, "test") as ws:
        items = ws.pool.items(left)
        due = predict(ws.kind, ws.schema, ws.registry.load("p-v001"), [items[one] for one in left], ws.vectors)
        schema = ws.schema
    door = Preannotator(root)
    made = door.answers(tasks)
    door.close()
    assert len(made) == len(left) > 3
    assert {len(one) for one in made} == {1}
    assert {one["model_version"] for (one,) in made} == {f"p-v001 {MARK}"}
    scores = [one["score"] for (one,) in made]
    assert scores == sorted(set(scores)) == [task["predictions"][0]["score"] for task in to_order(root, left)]
    answers, bad = read_answers(
        [
            {**t, "annotations": [{"id": n, "result": one["result"]}]}
            for n, (t, (one,)) in enumerate(zip(tasks, made, strict=True))
        ],
        {"b001": schema},
        items,
        "here",
    )
    assert not bad
    assert [answer.value for answer in answers] == [schema.ordered(value) for value in due]


def to_order(root: Path, ids: list[str]) -> list[dict[str, Any]]:
    with opened(root, "test") as ws:
        return to_tasks(ws.store.batch("b001"), ws.pool.items(ids), ws.schema)[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, encoder: embed.Encoder) -> tuple[Path, list[str], list[str]]:
    # over again before the first test: `quick` does the same for each of them
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "load_encoder", lambda *args, **more: encoder)
        hasten(patch)
        return trained(tmp_path_factory.mktemp("champion"), "multiclass")


def test_what_measures_stays_blind(project: tuple[Path, list[str], list[str]]) -> None:
    """P10: audits, the test part, checks on experts and adjudication get no answer of the model that they measure."""
    root, left, held = project
    tasks = sent(root, [*left[:4], *held[:2]], "b101", **{left[1]: BLIND[0], left[2]: BLIND[1]})
    check = sent(root, left[:2], "b102", GOLD)
    decide = sent(root, left[:2], "b103", ADJUDICATION)
    door = Preannotator(root)
    assert [len(one) for one in door.answers(tasks)] == [1, 0, 0, 1, 0, 0]
    assert door.answers([*check, *decide]) == [[]] * 4
    door.close()


def test_c50_a_task_that_is_not_as_sent_gets_nothing(project: tuple[Path, list[str], list[str]]) -> None:
    """C50, C76: another text, uid or batch, and whatever else is no task of ours, gets no prediction and harms none."""
    root, left, _ = project
    (good,) = sent(root, left[:1], "b201")
    bad: list[Any] = [None, 3, "task", [], {}, {"data": None}, {"data": {"uid": 3, "batch": []}}]
    for key, value in (
        ("text", "another text"),
        ("uid", "0" * 32),
        ("batch", "b999"),
        ("uid", "x' OR 1=1"),
        ("text", 3),
    ):
        one = copy.deepcopy(good)
        one["data"][key] = value
        bad.append(one)
    for key in ("text", "uid", "batch"):
        one = copy.deepcopy(good)
        del one["data"][key]
        bad.append(one)
    door = Preannotator(root)
    made = door.answers([*bad, good, good])
    assert made[: len(bad)] == [[]] * len(bad)
    assert [len(one) for one in made[len(bad) :]] == [1, 1]
    assert door.answers([]) == []
    door.close()


def test_without_a_champion_there_are_no_answers(tmp_path: Path) -> None:
    """Without a promoted model every task gets an empty list and the version is empty; no encoder is loaded."""
    root = multiclass().make(tmp_path)
    with opened(root, "test") as ws:
        ids = sorted(text.id for text in ws.pool.texts())[:3]
    door = Preannotator(root)
    assert door.warm() == ""
    assert door.answers(sent(root, ids)) == [[], [], []]
    assert door.version() == ""
    assert "encoder" not in door.ws.__dict__
    door.close()


def test_a_model_is_loaded_once_and_again_when_another_is_promoted(
    project: tuple[Path, list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: answers come from the champion of the moment; each is read from its folder once."""
    root, left, _ = project
    tasks = sent(root, left[:2], "b301")
    loaded: list[str] = []
    load = Registry.load
    monkeypatch.setattr(Registry, "load", lambda self, version: (loaded.append(version), load(self, version))[1])
    door = Preannotator(root)
    for _ in range(3):
        assert door.answers(tasks)[0][0]["model_version"] == f"p-v001 {MARK}"
    assert loaded == ["p-v001"]
    with opened(root, "test") as ws:
        second = retraining.retrain(ws, force=True).version
        ws.registry.promote(second, verdict={})
    loaded.clear()
    assert door.version() == f"{second} {MARK}"
    for _ in range(2):
        assert door.answers(tasks)[0][0]["model_version"] == f"{second} {MARK}"
    assert loaded == [second]
    door.close()


def test_c25_a_text_without_a_vector_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25: a text that the encoder gives no usable vector gets no answer, not "none of these"."""
    root, left, _ = trained(tmp_path, "multilabel")
    tasks = sent(root, left)
    door = Preannotator(root)
    assert all(door.answers(tasks))
    encode = door.ws.encoder.encode
    lame = tasks[0]["data"]["text"]
    monkeypatch.setattr(
        type(door.ws.encoder),
        "encode",
        lambda self, texts, progress=None: encode(texts) * np.array([[text != lame] for text in texts], np.float32),
    )
    made = door.answers(tasks)
    door.close()
    assert [bool(one) for one in made] == [False] + [True] * (len(tasks) - 1)


def test_torch_takes_one_thread(project: tuple[Path, list[str], list[str]]) -> None:
    """C77: the process that answers leaves the processors to the retrain beside it."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        door = Preannotator(project[0])
        assert door.warm()
        door.close()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
