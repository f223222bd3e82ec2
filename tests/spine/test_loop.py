"""A round: what is mined, what trains, what measures, what is refused (C10, C18, C27, C29, C56, C60, C61, C63, C67)."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from worlds import hasten

from toughcall import loop, project, retraining, taking
from toughcall.mining import embed
from toughcall.model.kind import MIXED
from toughcall.model.split import check_apart
from toughcall.records import Answer, GateRefused, IntegrityError, Item, NotEnoughData, UsageError, digest
from toughcall.settings import Columns
from toughcall.store import Store
from toughcall.workspace import Workspace, opened

WORDS = {
    "animal": "dog cat horse sparrow trout lizard spider whale goat beetle otter falcon mouse camel tiger toad donkey "
    "penguin rabbit wolf",
    "machine": "tractor engine printer lathe pump crane drill laptop turbine truck excavator robot elevator generator "
    "forklift scanner compressor chainsaw bulldozer centrifuge",
    "food": "soup bread cheese pancake noodles salad omelette sausage porridge pudding stew yoghurt curry dumpling pie "
    "sandwich cookie risotto pizza lasagne",
}
PLACES = (
    "The {} was in the yard.",
    "She looked at a {} yesterday.",
    "Everybody talks about this {}.",
    "No {} was left.",
)
TRUTH = {PLACES[n % 4].format(word): label for label, words in WORDS.items() for n, word in enumerate(words.split())}
SWAPPED = {"animal": "something to eat", "machine": "an animal", "food": "a machine with a motor"}


FRESH_PROCESS = retraining.prove
pytestmark = pytest.mark.usefixtures("quick")


def write(path: Path, lines: Iterable[str], label: Callable[[str], str] | None = None) -> Path:
    body = "".join(f"{line}\t{label(line) if label else ''}\n" for line in lines)
    path.write_text("text\tlabel\n" + body, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, encoder: embed.Encoder) -> Path:
    """Sixty records of three topics with their vectors; tests work on copies."""
    root = tmp_path_factory.mktemp("original") / "p"
    root.mkdir()
    settings = {"gate.min_items": 8, "gate.test_share": 0.35, "mine.batch": 10, "encoder.device": "cpu"}
    text = project.render("p", "multiclass", {"labels": SWAPPED}, {"text": "text"}, quotas=MIXED, settings=settings)
    (root / project.FILE).write_text(text, encoding="utf-8")
    Store(root / "ledger.sqlite", create=True).close()
    with opened(root, "test") as ws:
        loop.import_file(ws, write(root.parent / "pool.tsv", TRUTH), Columns())
        embed.embed(ws.pool.texts(), encoder, ws.project.vectors)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "p"))


@contextlib.contextmanager
def working(root: Path, **edits: str) -> Iterator[Workspace]:
    """Open a project after replacing values of its settings: seed="3" sets `seed = 3`."""
    file = root / project.FILE
    text = file.read_text(encoding="utf-8")
    for key, value in edits.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1, key
    file.write_text(text, encoding="utf-8")
    with opened(root, "test") as ws:
        yield ws


def answer(ws: Workspace, items: Iterable[Item | str], said: Callable[[str], str] = TRUTH.__getitem__) -> int:
    """Put an expert's answer to each item into the ledger."""
    found = ws.pool.items([item if isinstance(item, str) else item.id for item in items])
    return ws.store.add_answers(
        [
            Answer(
                digest("test", one),
                one,
                "anna",
                "label",
                (said(item.texts[0].text),),
                "b001",
                ws.schema.version,
            )
            for one, item in found.items()
        ]
    )


def records(ws: Workspace, part: str) -> list[Item]:
    parts = ws.store.parts() if ws.vectors.ids else {}
    return [text for text in ws.pool.texts() if parts[text.id] == part]


def test_c18_scoring_needs_no_trained_model_and_names_a_missing_one(root: Path) -> None:
    """C18: without a model the untouched encoder scores; an unknown version is refused naming toughcall status."""
    with working(root) as ws:
        scores = loop.score(ws)
        assert (len(scores.ids), scores.model) == (60, ws.untouched.name)
        assert (ws.project.root / "scores" / "latest.parquet").is_file()
        with pytest.raises(UsageError, match="toughcall status lists them"):
            loop.score(ws, "p-v001")
        with pytest.raises(UsageError, match="toughcall retrain trains"):
            retraining.promote(ws)


def test_an_empty_pool_says_what_to_run(make_project: Callable[..., Path]) -> None:
    """Score, mine and retrain of an empty pool name toughcall import."""
    with opened(make_project(), "test") as ws:
        for verb in (loop.score, loop.mine, retraining.retrain):
            with pytest.raises(UsageError, match=r"the pool is empty: toughcall import"):
                verb(ws)


def test_c10_the_same_labelled_file_twice(root: Path, tmp_path: Path) -> None:
    """C10, C16: the second import adds no record and no answer; an unknown label is set aside each time."""
    path = write(tmp_path / "gold.tsv", list(TRUTH)[:5], lambda line: "tool" if "dog" in line else TRUTH[line])
    columns = Columns(label="label")
    with working(root) as ws:
        first, second = (loop.import_file(ws, path, columns) for _ in range(2))
        assert (first.read, first.known, len(first.labels), len(first.set_aside)) == (5, 4, 4, 1)
        assert (second.new, len(ws.store.answers(history=True)), len(ws.store.set_aside())) == (0, 4, 1)


def test_c29_batches_are_disjoint_until_nothing_is_left(root: Path) -> None:
    """C24, C29: what was asked or answered is not asked again; at the end the batch is empty and not stored."""
    with working(root) as ws:
        answered = [text.id for text in records(ws, "train")[:5]]
        answer(ws, answered)
        seen = list(answered)
        for _ in range(30):
            batch = loop.mine(ws, 16)
            seen += [pick.item for pick in batch.picks]
            if not batch.picks:
                break
        assert not batch.picks
        assert len(seen) == len(set(seen)) > 30
        assert [row["name"] for row in ws.store.batches()] == [f"b{n + 1:03d}" for n in range(len(ws.store.batches()))]
        assert all(row["size"] for row in ws.store.batches())


@pytest.mark.parametrize("seed", range(3))
def test_c27_c61_what_is_held_out_is_never_chosen_or_trained_on(root: Path, tmp_path: Path, seed: int) -> None:
    """C27, C61, P5: for any split, nothing of the test part nor near it is mined for training or trains; only the
    random audit may ask it, and that never trains."""
    with working(root, seed=str(seed)) as ws:
        known = records(ws, "train")[:4]
        twins = {f"{text.texts[0].text} ": TRUTH[text.texts[0].text] for text in known}
    with working(root) as ws:
        loop.import_file(ws, write(tmp_path / "held.tsv", twins, twins.get), Columns(label="label"), held_out=True)
        held = {text.id for text in records(ws, "test")}
        near = {text.id for text in known}
        assert near.isdisjoint(held)
        assert {text.id for text in ws.pool.texts() if text.text in twins} <= held
        for _ in range(3):
            batch = loop.mine(ws, 12)
            for pick in batch.picks:
                assert pick.item not in near
                assert pick.item not in held or pick.reason == "random_audit"
            answer(ws, [pick.item for pick in batch.picks])
        answer(ws, sorted(near))
        learnt, measured, items, left = ws.split()
        assert {label.item for label in learnt}.isdisjoint(held | near)
        assert {label.item for label in measured} <= held
        assert left["near_duplicate_of_test"] == 4
        assert check_apart(ws.store.parts(), [items[x.item] for x in learnt], [items[x.item] for x in measured]) == []


def test_c27_held_out_rows_come_before_the_split(root: Path, tmp_path: Path) -> None:
    """C27: a record of the training part cannot be declared held out afterwards; nothing changes."""
    with working(root) as ws:
        text = records(ws, "train")[0].texts[0].text
        before = ws.store.parts()
        with pytest.raises(UsageError, match="already in the training part"):
            loop.import_file(ws, write(tmp_path / "h.tsv", [text], TRUTH.get), Columns(label="label"), held_out=True)
        assert ws.store.parts() == before


@pytest.fixture(scope="module")
def answered(original: Path, encoder: embed.Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with an answer to every record, trained once."""
    root = Path(shutil.copytree(original, tmp_path_factory.mktemp("answered") / "p"))
    with pytest.MonkeyPatch.context() as patch, working(root) as ws:
        patch.setattr(embed, "load_encoder", lambda *args, **more: encoder)
        hasten(patch)
        answer(ws, [text.id for text in ws.pool.texts()])
        done = retraining.retrain(ws)
        assert done.version == "p-v001"
        assert done.verdict
    return root


@pytest.fixture
def trained(answered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(answered, tmp_path / "p"))


def test_c56_c67_c71_a_round_trip_from_verdict_to_champion(trained: Path) -> None:
    """C56, C67, C71: no new label trains nothing; a winner is promoted, scores and has nothing to go back to."""
    with working(trained) as ws:
        event = ws.store.events("retrain")[-1][1]
        assert [report["role"] for report in event["reports"]] == ["majority", "tfidf", "untouched", "candidate"]
        again = retraining.retrain(ws)
        assert (again.version, again.verdict) == ("", None)
        assert "nothing new" in again.note
        assert ws.registry.versions() == ["p-v001"]
        assert len(ws.store.events("retrain")) == 1
        assert event["outcome"] == "PROMOTE", event["sentence"]
        assert retraining.promote(ws) == ws.registry.champion() == "p-v001"
        assert loop.score(ws).model == "p-v001"
        with pytest.raises(UsageError, match="no earlier champion"):
            retraining.rollback(ws)


def test_c67_the_gate_keeps_what_is_not_proven_better(trained: Path) -> None:
    """C67: trained again on the same labels a model equals the champion: KEEP, promote is exit 5, champion stays."""
    with working(trained) as ws:
        retraining.promote(ws)
        done = retraining.retrain(ws, force=True)
        assert done.verdict
        assert done.verdict.outcome == "KEEP"
        assert "champion" in [report.role for report in done.reports]
        with pytest.raises(GateRefused, match=r"p-v002 stays out: KEEP .*p-v001") as caught:
            retraining.promote(ws)
        assert (caught.value.code, ws.registry.champion()) == (5, "p-v001")


def test_c63_labels_under_another_schema_never_train(trained: Path) -> None:
    """C63, P14: after [labels] changed retrain is refused naming the way back; restored it works again."""
    file = trained / project.FILE
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"food" =', '"meal" ='), encoding="utf-8")
    with working(trained) as ws, pytest.raises(UsageError, match=r"60 labels were given under other \[labels\]"):
        retraining.retrain(ws)
    file.write_text(text, encoding="utf-8")
    with working(trained) as ws:
        assert "nothing new" in retraining.retrain(ws).note


def test_the_sealed_test_set_may_not_shrink(trained: Path) -> None:
    """P10: when sealed test labels vanish until too few are left, that is exit 6 and no model is stored."""
    with working(trained) as ws:
        held = ws.store.events("seal")[0][1]["items"]
        gone = [one for one in ws.store.answers() if one.item in held[3:]]
        ws.store.add_answers([Answer(a.key, a.item, a.annotator, "deleted", (), a.batch, a.schema) for a in gone])
        with pytest.raises(IntegrityError, match=rf"only 3 of the {len(held)} sealed"):
            retraining.retrain(ws, force=True)
        assert ws.registry.versions() == ["p-v001"]


def test_the_sealed_test_set_grows_only_when_asked(trained: Path, tmp_path: Path) -> None:
    """P5: held-out labels that came later are left out of the sealed set until --reseal, which is recorded."""
    more = {"A violin of bread was baked.": "food", "The elephant slept.": "animal"}
    with working(trained) as ws:
        sealed = len(ws.store.events("seal")[0][1]["items"])
        loop.import_file(ws, write(tmp_path / "h.tsv", more, more.get), Columns(label="label"), held_out=True)
        assert {report.n for report in retraining.retrain(ws, force=True).reports} == {sealed}
        assert {report.n for report in retraining.retrain(ws, reseal=True).reports} == {sealed + 2}
        assert len(ws.store.events("seal")) == 2


def test_without_held_out_labels_there_is_no_verdict_until_there_are(root: Path, tmp_path: Path) -> None:
    """A model trained before there was a test set is undecided; once held-out labels are there retrain judges."""
    with working(root, min_items="8") as ws:
        answer(ws, [text.id for text in records(ws, "train")])
        first = retraining.retrain(ws)
        assert (first.version, first.verdict, first.reports) == ("p-v001", None, ())
        assert "0 held-out labels, 8 are needed" in first.note
        with pytest.raises(GateRefused, match="0 held-out labels"):
            retraining.promote(ws)
        assert "nothing new" in retraining.retrain(ws).note
        answer(ws, [text.id for text in records(ws, "test")])
        second = retraining.retrain(ws)
        assert second.verdict
        assert second.version == "p-v002"


def test_c60_a_model_that_does_not_reload_is_not_stored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C60, P9: the proof runs in a real fresh process; other outputs there are exit 6, no model and no event."""
    with working(root) as ws:
        answer(ws, [text.id for text in ws.pool.texts()])
        monkeypatch.setattr(retraining, "prove", lambda *args: np.full((16, 3), 0.5, np.float32))
        with pytest.raises(IntegrityError, match="reloaded in a fresh process"):
            retraining.retrain(ws)
        assert ws.registry.versions() == []
        assert ws.store.events("retrain") == []
        monkeypatch.setattr(retraining, "prove", FRESH_PROCESS)
        assert retraining.retrain(ws).version == "p-v001"


def test_c58_a_model_stored_but_never_judged_is_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P3: killed between storing the model and judging it, the same command ends as if nothing had happened."""
    with working(root) as ws:
        answer(ws, [text.id for text in ws.pool.texts()])
        kept = ws.store.add_event

        def killed(verb: str, content: dict[str, object]) -> None:
            if verb == "retrain":
                raise KeyboardInterrupt
            kept(verb, content)

        monkeypatch.setattr(ws.store, "add_event", killed)
        with pytest.raises(KeyboardInterrupt):
            retraining.retrain(ws)
        assert ws.registry.versions() == ["p-v001"]
        assert not ws.store.events("retrain")
        monkeypatch.setattr(ws.store, "add_event", kept)
        assert retraining.retrain(ws).version == "p-v001"
        assert ws.registry.versions() == ["p-v001"]
        assert [event["version"] for _, event in ws.store.events("retrain")] == ["p-v001"]


def test_c45_what_vanished_twice_is_noted_once_and_stays_a_label(root: Path) -> None:
    """C45, P1: an answer that two pulls in a row do not find is told once; its label trains as before."""
    with working(root) as ws:
        answer(ws, [text.id for text in ws.pool.texts()[:4]])
        keys = [one.key for one in ws.store.answers()]
        labels = ws.store.labels(ws.schema.version)
        assert taking.note_gone(ws, keys) == []
        assert taking.note_gone(ws, keys[1:]) == []
        assert taking.note_gone(ws, keys) == [], "it was there again: the next absence starts anew"
        assert taking.note_gone(ws, keys[2:]) == []
        assert taking.note_gone(ws, keys[2:]) == sorted(keys[:2])
        assert taking.note_gone(ws, keys[2:]) == []
        assert [event["keys"] for _, event in ws.store.events("gone")] == [sorted(keys[:2])]
        assert ws.store.labels(ws.schema.version) == labels


def test_c55_one_class_is_too_little(root: Path) -> None:
    """C55: answers of one class only are exit 8 with the counts of every class."""
    with working(root) as ws:
        answer(ws, [text.id for text in records(ws, "train")[:9]], lambda text: "food")
        with pytest.raises(NotEnoughData, match="animal 0, machine 0, food 9"):
            retraining.retrain(ws)
        assert ws.registry.versions() == []
