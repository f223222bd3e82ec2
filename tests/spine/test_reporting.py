"""Reports of real small projects: from the stored model and the ledger alone, complete, sound, the same every time."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from worlds import WORLDS, hasten, multiclass

from toughcall import loop, project, reporting, retraining, status
from toughcall.mining import embed
from toughcall.records import Answer, IntegrityError, UsageError, digest
from toughcall.workspace import Workspace, opened

EVIL = '</script><script>alert("x")</script><img src=http://evil.example/x> | [a](http://evil.example) \u202egnp'


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, encoder: embed.Encoder, one_thread: None) -> Path:
    """A project of hostile texts: a champion, more labels, a second model, both judged on one sealed test set."""
    world = multiclass()
    # texts that differ in one word and share a long tail would be near-duplicates of each other
    rows = [{"text": f"{row['text']} {EVIL if n % 9 == 0 else ''}"} for n, row in enumerate(world.rows)]
    folder = tmp_path_factory.mktemp("judged")
    root = dataclasses.replace(world, rows=rows).make(folder, gate__targets=["macro F1 >= 0.99"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "load_encoder", lambda *args, **more: encoder)
        hasten(patch)
        with opened(root, "test") as ws:
            ids = sorted(loop.score(ws).ids)
            parts = ws.store.parts()
            train = [one for one in ids if parts[one] == "train"]
            world.answer(ws, set(ids) - set(train[::3]))
            retraining.retrain(ws)
            ws.registry.promote("p-v001", verdict={})
        path = root / project.FILE
        path.write_text(
            path.read_text(encoding="utf-8").replace("macro F1 >= 0.99", "macro F1 >= 0.6"), encoding="utf-8"
        )
        with opened(root, "test") as ws:
            world.answer(ws, train[::3])
            retraining.retrain(ws)
    # out of the patches again: a report needs no encoder and trains nothing
    return root


def copied(root: Path, folder: Path) -> Path:
    """Return a copy of a project that may be changed."""
    return shutil.copytree(root, folder / "p")


def read(paths: list[Path]) -> dict[str, Any]:
    """Return the JSON files by name; NaN is no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return {path.name: json.loads(path.read_bytes(), parse_constant=refuse) for path in paths if path.suffix == ".json"}


def test_every_file_of_a_report_is_written(judged: Path) -> None:
    """P1: eight files beside each other, valid JSON with null and never NaN; the newest model when none is named."""
    with opened(judged, "test", writing=False) as ws:
        paths = reporting.write(ws)
        report = ws.registry.report("p-v002")
    assert report is not None
    assert [path.name for path in paths] == list(reporting.FILES)
    assert {path.parent for path in paths} == {judged / "reports" / "p-v002"}
    found = read(paths)
    metrics, evaluation = found["metrics.json"], found["evaluation_report.json"]
    assert (metrics["gate"], metrics["n"]) == ("macro_f1", report.n)
    assert metrics["metrics"]["macro_f1"] == {
        "value": report.value,
        "low": report.low,
        "high": report.high,
        "n": report.n,
    }
    assert {"accuracy", "mean_average_precision"} <= set(metrics["metrics"])
    assert [row["role"] for row in evaluation["models"]] == ["majority", "tfidf", "untouched", "champion", "candidate"]
    assert evaluation["verdict"]["outcome"] in ("PROMOTE", "KEEP", "UNDECIDED")
    assert {"enough rows", "beats untouched", "above majority"} <= {
        one["name"] for one in evaluation["verdict"]["checks"]
    }
    assert [row["label"] for row in evaluation["per_class"]] == ["animal", "machine"]
    assert evaluation["test_labels"] == [{"source": "person", "trust": "gold", "n": report.n}]
    assert evaluation["next"][0]["do"].startswith("toughcall fixes")
    assert found["training_history.json"] == []


def test_a_report_says_how_a_model_was_made(judged: Path) -> None:
    """R6, R7: data digest, seed, libraries and recipe from the manifest, sizes from the weights, the parent."""
    with opened(judged, "test", writing=False) as ws:
        first, second = (reporting.collect(ws, one)["training_metadata.json"] for one in ("p-v001", "p-v002"))
        events = [event for _, event in ws.store.events("retrain")]
    assert (first["parent"], second["parent"]) == ("", "p-v001")
    assert [first["data_digest"], second["data_digest"]] == [event["labels_digest"] for event in events]
    assert second["labels"] == events[1]["labels"] > first["labels"]
    assert second["recipe"] == json.loads((judged / "models" / "p-v002" / "config.json").read_bytes())["recipe"]
    assert second["encoder"].endswith("minilm")
    assert "scikit-learn" in second["libraries"]
    rows, columns = (int(side) for side in second["arrays"]["coef"].split(" × "))
    assert rows == 2
    assert second["parameters"] > rows * columns > 100


def test_the_same_artefacts_give_the_same_bytes(judged: Path, tmp_path: Path) -> None:
    """P13: nothing depends on the clock or on when it is asked; a folder may be named."""
    with opened(judged, "test", writing=False) as ws:
        one = reporting.write(ws, "p-v001", tmp_path / "one")
    with opened(judged, "test", writing=False) as ws:
        other = reporting.write(ws, "p-v001", tmp_path / "other")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(reporting.FILES), "nothing else is left"


def test_texts_are_shown_as_stored_and_obeyed_nowhere(judged: Path, tmp_path: Path) -> None:
    """C78: the text in a report is the text in the pool, and on the page it is text."""
    with opened(judged, "test", writing=False) as ws:
        paths = {path.name: path for path in reporting.write(ws, folder=tmp_path)}
        stored = {text.id: text.text for text in ws.pool.texts()}
    sample = json.loads(paths["predictions_sample.json"].read_bytes())
    errors = json.loads(paths["error_analysis.json"].read_bytes())
    assert 8 <= len(sample) <= 50
    for row in sample:
        assert row["fields"]["text"] == stored[row["id"]]
        assert len(row["truth"]) == len(row["prediction"]) == 1
        assert sum(row["scores"].values()) == pytest.approx(1.0, abs=1e-4)
        assert row["prediction"] == [max(row["scores"], key=lambda name: row["scores"][name])]
    for row in errors["worst"]:
        assert row["fields"]["text"] == stored[row["item"]]
    wrong = sum(row["truth"] != row["prediction"] for row in sample)
    assert errors["wrong_rows"] == wrong == sum(one["count"] for one in errors["confusions"])
    page = paths["report.html"].read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert 'href="http' not in page


def test_every_opening_of_the_test_set_is_counted(judged: Path) -> None:
    """003, L6: two models were judged on one sealed set, and each report says which look was its own."""
    with opened(judged, "test", writing=False) as ws:
        told = reporting.collect(ws, "p-v001")["evaluation_report.json"]["caveats"]
    assert told[0].startswith("the sealed test set was opened 2 times, this model was look 1")


def test_postmortem_003_a_test_set_that_was_never_opened(tmp_path: Path, quick: None) -> None:
    """003: with too few held-out labels every file is written all the same, and the report says what is missing."""
    world = multiclass()
    root = world.make(tmp_path, gate__min_items=1000)
    with opened(root, "test") as ws:
        world.answer(ws, loop.score(ws).ids)
        retraining.retrain(ws)
        paths = reporting.write(ws)
        assert reporting.report_rows(ws) == []
    found = read(paths)
    assert found["evaluation_report.json"]["caveats"][0].startswith("the test set was never opened")
    assert found["evaluation_report.json"]["verdict"]["outcome"] == "UNDECIDED"
    assert (found["metrics.json"]["metrics"], found["predictions_sample.json"]) == ({}, [])
    assert "the test set was never opened" in (root / "reports" / "p-v001" / "report.md").read_text(encoding="utf-8")


def answered(ws: Workspace, items: list[str], source: Any, value: Any = None) -> None:
    """Let a source answer items, as everybody did or with one value."""
    labels = {label.item: label.value for label in ws.store.labels(ws.schema.version)[0]}
    given = {"annotator": source, "outcome": "label", "batch": "", "schema": ws.schema.version, "source": source}
    ws.store.add_answers(
        [Answer(key=digest(source, one), item=one, value=value or labels[one], **given) for one in items]
    )


def test_postmortem_003_who_checked_the_oracle(judged: Path, tmp_path: Path) -> None:
    """003: an oracle's labels that people also answered are counted with their agreement, from the ledger."""
    with opened(copied(judged, tmp_path), "test") as ws:
        ids = [label.item for label in ws.store.labels(ws.schema.version)[0]]
        answered(ws, ids[:3], "oracle")
        value = {label.item: label.value for label in ws.store.labels(ws.schema.version)[0]}[ids[3]]
        answered(ws, ids[3:4], "oracle", ("machine",) if value == ("animal",) else ("animal",))
        told = reporting.collect(ws)["evaluation_report.json"]["caveats"]
    assert "4 of 4 oracle labels were also answered by people, 3 the same way (30%–95%)" in told


def test_postmortem_004_test_labels_made_by_regexes_are_silver(judged: Path, tmp_path: Path) -> None:
    """004: where the test labels come from patterns, the report says silver, whatever they call themselves."""
    with opened(copied(judged, tmp_path), "test") as ws:
        report = ws.registry.report("p-v002")
        assert report is not None
        # the people's answers are gone as deleted events would have it: patterns alone remain
        every = [one for one in ws.store.answers() if one.item in report.ids]
        answered(ws, [one.item for one in every], "pattern")
        ws.store.add_answers([dataclasses.replace(one, outcome="deleted", value=()) for one in every])
        evaluation = reporting.collect(ws)["evaluation_report.json"]
    assert evaluation["test_labels"] == [{"source": "pattern", "trust": "gold", "n": report.n}]
    assert any(
        one.startswith(f"{report.n} of {report.n} test labels are the same regexes (silver), not gold")
        for one in evaluation["caveats"]
    )


def test_contradictory_figures_refuse_the_report(judged: Path, tmp_path: Path) -> None:
    """P3: a ledger that judged another figure than the stored model's writes nothing, and names both."""
    root = copied(judged, tmp_path)
    with opened(root, "test") as ws:
        event = ws.store.events("retrain")[-1][1]
        event["reports"][-1] |= {"value": 0.123, "low": 0.1, "high": 0.2}
        ws.store.add_event("retrain", event)
        with pytest.raises(
            IntegrityError, match=r"macro_f1 is 0\.123 where the model was judged .* no report was written"
        ):
            reporting.write(ws, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_has_no_report(judged: Path, tmp_path: Path) -> None:
    """C69: a stored report that was edited is refused before anything of it is shown."""
    root = copied(judged, tmp_path)
    path = root / "models" / "p-v002" / "report.json"
    path.write_bytes(path.read_bytes().replace(b'"macro_f1"', b'"accuracy"', 1))
    with (
        opened(root, "test", writing=False) as ws,
        pytest.raises(IntegrityError, match="was changed after it was stored"),
    ):
        reporting.write(ws, folder=tmp_path / "out")


def test_targets_are_the_checks_that_were_asked_for(judged: Path, tmp_path: Path) -> None:
    """P2: the gate's targets and floors are a table of their own, by the words they were written in."""
    with opened(copied(judged, tmp_path), "test") as ws:
        event = ws.store.events("retrain")[-1][1]
        event["checks"].append({"name": "floor of animal", "passed": True, "detail": "F1 of animal is 0.900"})
        ws.store.add_event("retrain", event)
        evaluation = reporting.collect(ws)["evaluation_report.json"]
    assert [one["target"] for one in evaluation["targets"]] == ["macro F1 >= 0.60", "floor of animal"]
    assert evaluation["targets"][1]["held"] is True


def test_an_edited_target_is_shown_as_an_edit(judged: Path) -> None:
    """G1: a target that was changed after a model was trained is told first, in the reports of later models alone."""
    with opened(judged, "test", writing=False) as ws:
        first, second = (reporting.collect(ws, one) for one in ("p-v001", "p-v002"))
    edits = [found["evaluation_report.json"]["caveats"][0] for found in (first, second)]
    assert "edited" not in edits[0]
    assert edits[1].startswith("target was edited after p-v001 was trained")
    digests = [found["training_metadata.json"]["targets_digest"] for found in (first, second)]
    assert all(digests)
    assert digests[0] != digests[1]


def test_without_a_model_there_is_nothing_to_report(judged: Path, tmp_path: Path) -> None:
    """C02: no model, or one that is not stored, is told with the next command."""
    root = copied(judged, tmp_path)
    with opened(root, "test", writing=False) as ws:
        for name in ("p-v009", "../p-v001"):
            with pytest.raises(UsageError, match="toughcall status lists them"):
                reporting.write(ws, name, tmp_path / "out")
        shutil.rmtree(root / "models")
        with pytest.raises(UsageError, match=r"no model is stored .* toughcall retrain"):
            reporting.write(ws, "", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_for_the_terminal(judged: Path) -> None:
    """B1: trivial baselines first, each figure with its interval."""
    with opened(judged, "test", writing=False) as ws:
        rows = reporting.report_rows(ws)
    assert [row["role"] for row in rows] == ["majority", "tfidf", "untouched", "champion", "candidate"]
    assert rows[-1]["model"] == "p-v002"
    assert all("–" in row["95 % interval"] for row in rows)
    assert rows[0]["never predicted"] != "none"


@pytest.mark.parametrize("name", ["pair", "scores"])
def test_every_kind_of_work_has_its_report(tmp_path: Path, quick: None, name: str) -> None:
    """P1: pairs and numbers, which have no confusion table: every file is there and sound."""
    world = WORLDS[name]()
    root = world.make(tmp_path, **({"mine__window": 4.0} if name == "pair" else {}))
    with opened(root, "test") as ws:
        world.answer(ws, loop.score(ws).ids)
        done = retraining.retrain(ws)
        found = read(reporting.write(ws))
    evaluation = found["evaluation_report.json"]
    assert evaluation["models"][-1]["value"] == done.reports[-1].value
    assert bool(evaluation["per_dimension"]) == (name == "scores")
    assert not evaluation["confusion"], "only where one label excludes the others"
    sample = found["predictions_sample.json"]
    assert all(row["fields"] and row["scores"] for row in sample)
    assert (name == "scores") == any(isinstance(row["truth"], dict) for row in sample)
    if name == "scores":
        assert any(row["truth"]["strength"] is None for row in sample), "an unanswered dimension is null"


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    """000: labels that are never predicted are named, and where they are very many, counted."""
    assert status.few(("a", "b")) == "a, b"
    assert status.few([f"l{n}" for n in range(28)]) == "l0, l1, l2, l3, l4, l5 and 22 more"
    assert status.few(()) == ""
