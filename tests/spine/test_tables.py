"""Labels and answers as tables: what is written is what an import reads, and no cell is a formula (C83)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from worlds import WORLDS, World

from toughcall import loop, project, starting, tables
from toughcall.cli import Group
from toughcall.cli_files import export
from toughcall.records import Answer, DiskError, UsageError, Value, digest
from toughcall.settings import Columns
from toughcall.telling import Console
from toughcall.voting import ADJUDICATION
from toughcall.workspace import Silent, Workspace, opened

ENDS = (".csv", ".jsonl", ".parquet")


def run(root: Path, *words: object) -> Result:
    """Run `toughcall export …` on a project."""
    group = Group("toughcall", {"export": export})
    return CliRunner().invoke(group, ["export", *map(str, words)], obj={"folder": root, "console": Console()})


def answered(world: World, folder: Path) -> tuple[Path, dict[str, Value]]:
    """Return a world's project with every third item answered by two people, and its labels."""
    folder.mkdir()
    root = world.make(folder)
    with opened(root, "test") as ws:
        if ws.kind.paired:
            ids = [text.id for text in ws.pool.texts()]
            ws.pool.add_pairs(list(combinations(ids[:8], 2)), "mined")
        items = [*ws.pool.pairs(), *ws.pool.relations()] or ws.pool.texts()
        chosen = sorted(item.id for item in items)[::3]
        world.answer(ws, chosen)
        world.answer(ws, chosen[:4], "ben")
        found = {label.item: label.value for label in ws.store.labels(ws.schema.version)[0]}
        assert set(found) == set(chosen)
    return root, found


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_labels_come_back_in_a_fresh_project(tmp_path: Path, name: str, end: str) -> None:
    """A8: for every kind and format, the labels of one project are, imported in a new one, the same on the same ids."""
    world, path = WORLDS[name](), tmp_path / f"labels{end}"
    root, labels = answered(world, tmp_path / "one")
    assert run(root, "labels", path, "--raw").exit_code == 0
    starting.make_project(tmp_path / "fresh", Silent(), kind=name, encoder="minilm", **world.options)
    asked: dict[str, str | None] = {"label": "label"}
    if name == "pair":
        asked |= {"text": "text_a", "text_b": "text_b", "key": "id_a", "key_b": "id_b"}
    with opened(tmp_path / "fresh", "test") as ws:
        added = loop.import_file(ws, path, starting.columns_of(ws.project.data, asked))
        assert (added.read, added.new, added.set_aside) == (len(labels), len(labels), [])
        assert {one.item: one.value for one in ws.store.labels(ws.schema.version)[0]} == labels
    again = tmp_path / f"again{end}"
    assert run(root, "labels", again).exit_code == 0
    assert again.read_bytes() == path.read_bytes(), "nothing here looks like a formula"


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return what a file holds, by its ending."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


TEXTS = (
    '=HYPERLINK("http://x")',
    "+1",
    "-1",
    "@SUM(A1)",
    "\ttab",
    "\rreturn",
    "plain, = in it",
    "two\r\nlines",
    "'=quoted",
)


@pytest.fixture
def risky(make_project: Callable[..., Path], tmp_path: Path) -> Path:
    """A project whose texts look like formulas, labelled by an import, with ids and a dimension below zero."""
    root = make_project("multilabel", {"@home": "x", "animal": "y"})
    file = root / project.FILE
    file.write_text(file.read_text().replace('text = "text"', 'text = "text"\nid = "key"'), encoding="utf-8")
    data = tmp_path / "data.jsonl"
    each = [{"text": text, "key": f"0{n}", "label": ["@home"] if n else []} for n, text in enumerate(TEXTS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in each), encoding="utf-8")
    with opened(root, "import") as ws:
        assert not loop.import_file(ws, data, Columns(id="key", label="label")).set_aside
    return root


def test_c83_no_cell_is_a_formula(risky: Path, tmp_path: Path) -> None:
    """C83: in CSV every cell that begins like a formula gets a leading ', which is said with the count."""
    path = tmp_path / "labels.csv"
    result = run(risky, "labels", path, "--json")
    found = {row["key"]: row for row in rows_of(path)}
    assert not [
        cell for row in found.values() for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    ]
    assert [found[f"0{n}"]["text"] for n in range(len(TEXTS))] == [
        *(f"'{text}" for text in TEXTS[:6]),
        *TEXTS[6:],
    ]
    assert found["01"]["label"] == "'@home"
    assert found["00"]["label"] == "__none__"
    assert json.loads(result.stdout) == {"file": str(path), "rows": 9, "cells changed": 6 + 8}
    assert "14 cells of" in result.stderr
    assert "--raw" in result.stderr


@pytest.mark.parametrize("end", ENDS)
def test_c83_raw_and_other_formats_are_exact(risky: Path, tmp_path: Path, end: str) -> None:
    """C83, P12: with --raw, and always in JSON lines and Parquet, every text and label is as it is stored."""
    path = tmp_path / f"labels{end}"
    result = run(risky, "labels", path, *(["--raw"] if end == ".csv" else []), "--json")
    assert json.loads(result.stdout)["cells changed"] == 0
    found = {row["key"]: row for row in rows_of(path)}
    assert [found[f"0{n}"]["text"] for n in range(len(TEXTS))] == list(TEXTS)
    assert found["01"]["label"] == ("@home" if end == ".csv" else ["@home"])
    assert found["00"]["label"] == ("__none__" if end == ".csv" else [])


def test_c83_a_number_below_zero_is_a_number(tmp_path: Path) -> None:
    """C83: numbers are no formulas: -3.5 is written as it is, and reads back."""
    root, labels = answered(WORLDS["scores"](), tmp_path / "one")
    result = run(root, "labels", tmp_path / "labels.csv", "--json")
    assert json.loads(result.stdout)["cells changed"] == 0
    found = {row["item"]: row for row in rows_of(tmp_path / "labels.csv")}
    assert {one: float(row["sentiment"]) for one, row in found.items()} == {
        one: dict(value)["sentiment"]  # type: ignore[arg-type]
        for one, value in labels.items()
    }
    assert min(float(row["sentiment"]) for row in found.values()) < 0
    assert "" in {row["strength"] for row in found.values()}, "what nobody rated is empty"


def say(ws: Workspace, item: str, who: str, value: Value, outcome: Any = "label", **more: Any) -> None:
    """Put an answer into the ledger."""
    given = {"batch": "b001", "schema": ws.schema.version, "at": "2026-11-21T12:00:00Z", "seconds": 1.5} | more
    assert ws.store.add_answers([Answer(digest(who, item, more.get("at", "")), item, who, outcome, value, **given)])


def filled(root: Path, write_csv: Callable[..., Path], size: int = 6) -> list[str]:
    """Import texts and return their ids, sorted."""
    with opened(root, "import") as ws:
        loop.import_file(ws, write_csv("pool.csv", [{"text": f"text {n}"} for n in range(size)]), Columns())
        ids = sorted(text.id for text in ws.pool.texts())
        ws.store.add_parts(
            {one: "test" if n == 1 else "train" for n, one in enumerate(ids[:5])}, dict.fromkeys(ids, "g")
        )
    return ids


@pytest.mark.parametrize("end", ENDS)
def test_a_label_carries_its_evidence(
    make_project: Callable[..., Path], write_csv: Callable[..., Path], tmp_path: Path, end: str
) -> None:
    """A label has its source, trust, number of people, whether it was decided, batch and part; rows come by id."""
    root = make_project()
    ids = filled(root, write_csv)
    with opened(root, "test") as ws:
        say(ws, ids[2], "anna", ("food",))
        say(ws, ids[0], "anna", ("animal",))
        say(ws, ids[0], "ben", ("animal",))
        say(ws, ids[1], "anna", ("animal",))
        say(ws, ids[1], "ben", ("food",))
        say(ws, ids[1], "caro", ("machine",), origin={"role": ADJUDICATION}, at="2026-11-22T12:00:00Z")
        say(ws, ids[3], "anna", ("animal",))
        say(ws, ids[3], "ben", ("food",))
        say(ws, ids[4], "anna", (), "skip")
        say(ws, ids[5], "llm", ("food",), source="oracle", trust="silver", batch="")
    path = tmp_path / f"labels{end}"
    result = run(root, "labels", path)
    assert "1 items are left out" in result.stderr
    found = rows_of(path)
    assert [row["item"] for row in found] == [ids[0], ids[1], ids[2], ids[5]]
    shown = [
        tuple(row[name] for name in ("label", "source", "trust", "annotators", "adjudicated", "batch", "part"))
        for row in found
    ]
    plain: list[tuple[Any, ...]] = [
        ("animal", "person", "gold", 2, False, "b001", "train"),
        ("machine", "person", "gold", 3, True, "b001", "test"),
        ("food", "person", "gold", 1, False, "b001", "train"),
        ("food", "oracle", "silver", 1, False, "", None),
    ]
    if end == ".csv":
        words = {"True": "true", "False": "false", "None": ""}
        plain = [tuple(words.get(str(cell), str(cell)) for cell in row) for row in plain]
    assert shown == plain
    first = path.read_bytes()
    assert run(root, "labels", path).exit_code == 0
    assert path.read_bytes() == first


def test_answers_tell_who_said_what_and_when(
    make_project: Callable[..., Path], write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    """With --answers every current answer is a row, skips and "can't tell" too, also one of labels that changed."""
    root = make_project()
    ids = filled(root, write_csv)
    with opened(root, "test") as ws:
        say(ws, ids[0], "ben", ("food",))
        say(ws, ids[0], "anna", ("animal",))
        say(ws, ids[1], "anna", (), "skip", seconds=None, at="")
        say(ws, ids[2], "anna", (), "cant_tell")
        say(ws, ids[3], "anna", ("car",), schema="other")
    path = tmp_path / "answers.jsonl"
    assert json.loads(run(root, "labels", path, "--answers", "--json").stdout)["rows"] == 5
    found = rows_of(path)
    names = ("item", "annotator", "outcome", "label", "said", "time", "seconds")
    assert [tuple(row[name] for name in names) for row in found] == [
        (ids[0], "anna", "label", "animal", "animal", "2026-11-21T12:00:00Z", 1.5),
        (ids[0], "ben", "label", "food", "food", "2026-11-21T12:00:00Z", 1.5),
        (ids[1], "anna", "skip", None, None, None, None),
        (ids[2], "anna", "cant_tell", None, None, "2026-11-21T12:00:00Z", 1.5),
        (ids[3], "anna", "label", None, "car", "2026-11-21T12:00:00Z", 1.5),
    ]
    assert [row["schema"] for row in found][-1] == "other"


def test_the_projects_names_go_before_ours(make_project: Callable[..., Path], tmp_path: Path) -> None:
    """A dimension called like a column of ours keeps its name, so that it reads back; ours gets another one."""
    root = make_project("scores", asked={"dimensions": {"trust": {"low": 0, "high": 5}, "item": {"low": 0, "high": 5}}})
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"text": "one", "trust": 2, "item": 3.5}) + "\n", encoding="utf-8")
    with opened(root, "import") as ws:
        loop.import_file(ws, data, Columns())
        one = ws.pool.texts()[0].id
    path = tmp_path / "labels.jsonl"
    assert run(root, "labels", path).exit_code == 0
    (row,) = rows_of(path)
    assert (row["trust"], row["item"], row["trust_"], row["item_"]) == (2, 3.5, "gold", one)


@pytest.mark.parametrize("end", ENDS)
def test_a_project_without_labels_gives_an_empty_table(
    make_project: Callable[..., Path], tmp_path: Path, end: str
) -> None:
    """No label is no error: the file has its columns and no row."""
    path = tmp_path / f"labels{end}"
    assert run(make_project(), "labels", path).exit_code == 0
    assert rows_of(path) == []
    assert path.is_file()


@pytest.mark.parametrize("name", ["labels.xlsx", "labels", "labels.csv.gz", "folder.csv"])
def test_another_ending_is_refused(make_project: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """What is no file of a known format is exit 2 naming the three."""
    (tmp_path / "folder.csv").mkdir()
    result = run(make_project(), "labels", tmp_path / name)
    assert result.exit_code == 2
    assert ".csv, .jsonl or .parquet" in result.stderr


def test_c13_a_file_that_cannot_be_written_is_whole_or_not_there(tmp_path: Path) -> None:
    """C13, P3: when writing fails there is no half file, and the one that was there stays."""
    path = tmp_path / "t.csv"
    path.write_text("before", encoding="utf-8")

    class Full(list[Any]):
        def __iter__(self) -> Any:
            yield ["a"]
            raise OSError(28, "No space left on device")

    with pytest.raises(DiskError, match="No space left"):
        tables.write(path, tables.Table({"x": "text"}, Full([["a"]])))
    assert path.read_text(encoding="utf-8") == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["t.csv"]
    with pytest.raises(UsageError):
        tables.write(tmp_path, tables.Table({"x": "text"}, []))
