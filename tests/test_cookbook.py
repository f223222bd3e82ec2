"""The cookbook is true: its settings are settings, its files are read, its lines run in order."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_docs import BLOCK, ROOT, shell_lines, typed

from toughcall import project
from toughcall.model import kinds

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/cookbook").glob("*.md"))}
FETCHED = {"multiclass": "questions-held-out.csv", "scores": "tweets-held-out.csv"}
"""The pages whose data is a package that pip fetches, and the file that says it is there."""
SERVED = {"studio", "round", "push", "pull", "review"}
"""The commands that need a server: they stand at a page's end and are not run."""
SHOWN = re.compile(r"`([\w-]+\.(?:csv|jsonl|toml))`[^`]*:\n\n```(?:csv|json|toml)\n(.*?)^```$", re.M | re.S)
PRINTS = {
    "multilabel": ["never predicted", "beats untouched", "automated_decisions"],
    "multiclass": ["accuracy is", "micro F1 over all classes is the same figure", "champion: questions-v001"],
    "relation": ["plain accuracy", "without NO_RELATION micro F1 is", "above tfidf"],
    "pair": ["roc_auc", "beats untouched", "in_band", "not_similar"],
    "scores": ["weighted MAE", "the training mean alone has", "Cohen's kappa", "mean's MAE", "90 % interval of"],
}
"""What the lines of each page have to print."""


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the questions and tweets that the demo fetches; skips where pip reaches no index."""
    folder = tmp_path_factory.mktemp("package")
    both = [part for kind in FETCHED for part in ("--kind", kind)]
    command = [sys.executable, "-m", "toughcall.cli", "demo", *both, "--data-only", "--folder", "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 4:
        pytest.skip(f"the page's data is a package, and pip reaches no index here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return folder / "demo"


def files_of(text: str) -> dict[str, str]:
    """Return the files a page shows, by name; JSON that is broken over lines is one line in its file."""
    return {
        name: json.dumps(json.loads(body)) + "\n" if name.endswith(".jsonl") else body
        for name, body in SHOWN.findall(text)
    }


def cells(printed: str, column: str) -> list[str]:
    """Return what stands below a column of a printed table."""
    head, _, *rows = (re.split(r" {2,}", line.strip()) for line in printed.strip().splitlines())
    return [row[head.index(column)] for row in rows]


def squeezed(text: str) -> str:
    """Return a text with single spaces."""
    return " ".join(text.split())


def headers(text: str) -> list[str]:
    """Return the header lines of the tables in a page's blocks of output."""
    shown = [body.splitlines() for kind, body in BLOCK.findall(text) if kind == "text"]
    return [squeezed(line) for body in shown for line, below in itertools.pairwise(body) if below.startswith("--")]


def test_every_kind_has_a_page() -> None:
    """Each kind of work has one page, and no page is about something else."""
    assert set(PAGES) == set(kinds.KINDS) == set(PRINTS)


@pytest.mark.parametrize("kind", PAGES)
def test_settings_are_settings(kind: str) -> None:
    """What a page shows of project.toml is accepted for its kind: names, types and ranges."""
    blocks = [body for form, body in BLOCK.findall(PAGES[kind]) if form == "toml"]

    assert blocks
    for block in blocks:
        head = "" if "[project]" in block else f'[project]\nkind = "{kind}"\n'
        assert project.parse(head + block, ROOT, kinds.KINDS).kind == kind


@pytest.mark.parametrize("kind", PAGES)
def test_a_ready_file_is_shown_as_it_is(kind: str) -> None:
    """What a page shows of a file of the project stands in that file."""
    found = re.search(r"This is \[(data/\w+/project\.toml)\].*?```toml\n(.*?)^```$", PAGES[kind], re.M | re.S)
    if not found:
        return
    ready, block = tomllib.loads((ROOT / found[1]).read_text(encoding="utf-8")), tomllib.loads(found[2])
    for table in block.keys() - {"gate"}:
        assert block[table].items() <= ready[table].items(), table


@pytest.mark.parametrize("kind", PAGES)
def test_page_runs_in_order(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A page's lines work when typed in that order, read every row, and print what the page says they print."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    if kind in FETCHED:
        shutil.copytree(request.getfixturevalue("fetched"), tmp_path / "demo")
    for name, body in files_of(PAGES[kind]).items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    here, said, served = tmp_path, "", False
    for line in shell_lines(PAGES[kind]):
        words = line.split()
        if words[0] == "cd":
            here = here / words[1]
            continue
        served = served or (words[0] == "toughcall" and words[1] in SERVED)
        if served:
            assert words[0] == "toughcall", f"{line} stands behind a line that needs a server"
            continue
        printed = typed(line, here)
        if words[:2] in (["toughcall", "init"], ["toughcall", "import"]):
            assert cells(printed, "set aside") == ["0"], line
        said += printed

    assert served
    assert [part for part in PRINTS[kind] if part not in said] == []
    assert [head for head in headers(PAGES[kind]) if head not in squeezed(said)] == []
