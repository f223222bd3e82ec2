"""What no reviewer should have to look for: layers, sizes, names, links, paths of one machine, cheap imports."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("annotate", "model", "mining", "data")
LIBRARIES = ("annotate", "model", "mining")
LOW: dict[str, tuple[str, ...]] = {
    "records": (),
    "schema": ("records",),
    "files": ("records",),
    "questions": ("records", "schema"),
    "settings": ("records", "schema"),
}
"""What every part may import, except settings, and all that these themselves import of ours."""
LEDGER = ("store", "ledger", "voting", "pool", "project", "reading", "spans")
SPINE = (
    *LEDGER,
    *("settings", "loop", "workspace", "retraining", "cli", "status", "starting", "demo", "demo_data", "pairing"),
    *("planning", "evidence", "estimating", "asking", "simulation", "simulating", "judging", "reporting"),
    *("fixing", "spending", "proof", "exchange", "taking", "mapping", "experts", "curating"),
    *("serving", "following", "hosting", "preannotating", "handing", "entries", "tables", "doubts", "neighbours"),
)
HEAVY = ("torch", "streamlit", "label_studio_sdk", "pandas", "sklearn", "faiss", "duckdb", "pyarrow", "transformers")


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows or would know, links left out; skipped where this is no checkout."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout, so which files belong to it cannot be told")
    found = [ROOT / name for name in listed]
    return [path for path in found if path.is_file() and not path.is_symlink()]


SOURCES = [
    path
    for folder in ("toughcall", *LIBRARIES)
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not (folder == "toughcall" and path.relative_to(ROOT).parts[1] in PARTS)
]


def name_of(path: Path) -> str:
    """The dotted name a module is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "toughcall" else ("toughcall", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, *, typing_too: bool = False) -> Iterator[str]:
    """Every module that a file imports anywhere, not counting what only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(child for part in node.body for child in ast.walk(part))
    for node in ast.walk(tree):
        if node in skipped and not typing_too:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import hides which copy of a module is meant"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(module: str, *roots: str) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def modules(*names: str) -> tuple[str, ...]:
    return tuple(f"toughcall.{name}" for name in names)


def test_there_are_sources() -> None:
    """The guards below look at something."""
    assert len(SOURCES) > 40
    assert {"toughcall.records", "toughcall.annotate.studio", "toughcall.review.page"} <= {name_of(p) for p in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_layers(path: Path) -> None:
    """Annotate, model and mining know records and schema, not the spine; the ledger, pool and project know no library;
    review only reads.
    """
    name = name_of(path)
    part = name.split(".")[1] if "." in name else ""
    free: tuple[str, ...] = ()
    if part in LIBRARIES:
        closed = modules(*(other for other in (*LIBRARIES, "review") if other != part), *SPINE)
    elif part in LOW:
        closed, free = ("toughcall",), modules(*LOW[part])
    elif part in LEDGER:
        closed = modules(*LIBRARIES, "review", "loop", "workspace", "cli")
    elif part == "review":
        closed = modules("annotate", "mining", "loop", "exchange", "taking", "retraining", "cli")
    else:
        closed = ()
    found = [one for one in imported(path, typing_too=True) if under(one, *closed) and not under(one, *free)]
    assert not found, f"{name} must not import {found}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_one_door_to_label_studio(path: Path) -> None:
    """Only annotate/connection.py imports the Label Studio SDK."""
    doors = {"label_studio_sdk": "toughcall.annotate.connection"}
    for library, door in doors.items():
        if name_of(path) != door:
            assert not [one for one in imported(path, typing_too=True) if under(one, library)]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_second_copy_of_a_module(path: Path) -> None:
    """`import model.x` would make a second copy of every class: only toughcall.model.x is used."""
    assert not [one for one in imported(path, typing_too=True) if under(one, *PARTS)]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    """A module begins with a docstring; only an empty __init__ may go without."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or (path.name == "__init__.py" and not text.strip())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_library_code_does_not_print_or_swallow(path: Path) -> None:
    """No print, no bare except, no `except Exception: pass`, no pickle, no eval, no shell, no global randomness."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "eval", "exec"), f"{path}:{node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno} catches everything"
            broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            assert not (broad and all(isinstance(line, ast.Pass) for line in node.body)), f"{path}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            raise AssertionError(f"{path}: runs a shell")
    assert not [one for one in imported(path) if under(one, "pickle", "joblib", "dill", "random")]
    assert not re.search(r"np\.random\.(?!default_rng|Generator|SeedSequence)\w+", text)


def test_no_file_is_too_long() -> None:
    """A source file has at most 400 lines."""
    long = {str(p.relative_to(ROOT)): n for p in tracked("*.py") if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_file_is_a_drawer() -> None:
    """A file is named after what it does."""
    drawers = re.compile(r"(?:^|_)(?:utils?|helpers?|common|manager|misc)$")
    assert not [path for path in tracked("*.py") if drawers.search(path.stem)]


def test_no_two_test_files_have_one_name() -> None:
    """Without packages in tests/, pytest needs every file's name once."""
    names = [path.name for path in tracked("tests/*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_every_test_states_its_rule() -> None:
    """Each test has a docstring, and no test in the same file shadows another one."""
    for path in tracked("tests/*test_*.py"):
        found = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        tests = [node for node in found if node.name.startswith("test_")]
        assert not [node.name for node in tests if not ast.get_docstring(node)], path
        assert len({node.name for node in tests}) == len(tests), path


@pytest.mark.parametrize("part", PARTS)
def test_links_point_where_they_should(part: str) -> None:
    """toughcall/annotate and its sisters are relative links to the top-level folders, in git as links."""
    link = ROOT / "toughcall" / part
    assert link.is_symlink()
    assert os.readlink(link) == f"../{part}"
    assert (link / "__init__.py").is_file()
    listed = subprocess.run(
        ["git", "ls-files", "-s", f"toughcall/{part}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.stdout:
        assert listed.stdout.startswith("120000 ")


def test_no_path_of_one_machine_and_no_secret() -> None:
    """No tracked text names a folder, a registry or a token of the machine it was written on."""
    # put together here, so that this file does not hold them itself
    wrong = re.compile(
        "|".join(
            [
                "/wo" + "rk/",
                "/tmp/bash" + "_jobs",
                "/ro" + "ot/",
                "BEGIN [A-Z ]*PRIVATE" + " KEY",
                r"index-url[= ]+https?://(?!pypi\.org|download\.pytorch\.org)",
            ]
        )
    )
    user = re.compile(r"https?://[^\s/:{]+:[^\s/@{]+@")
    found = []
    for path in tracked():
        if path.is_relative_to(ROOT / "data"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        own = not path.is_relative_to(ROOT / "tests")
        for n, line in enumerate(text.splitlines(), 1):
            if wrong.search(line) or (own and user.search(line)):
                found.append(f"{path.relative_to(ROOT)}:{n}")
    assert not found


@pytest.mark.parametrize("what", ["import toughcall", "import toughcall.cli", "help"])
def test_starting_is_cheap(what: str) -> None:
    """`toughcall --help` loads no model library, no server client and no page: it answers at once."""
    code = "from toughcall.cli import main; main(['--help'], standalone_mode=False)" if what == "help" else what
    shown = f"import sys; {code}; print('loaded', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_importing_everything_is_cheap() -> None:
    """No module of ours loads a heavy library when it is imported, the review page's parts aside."""
    names = [name_of(p) for p in SOURCES if "review" not in p.parts and p.stem != "__main__"]
    each = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    shown = f"{each}print('loaded', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"
