"""The documents say what is there: commands, options, links, codes, and the README's shell blocks are run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from toughcall import project, records
from toughcall.cli import main
from toughcall.model import kinds
from toughcall.records import ToughcallError

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in ("docs", "data", "benchmarks") for path in (ROOT / folder).rglob("*.md"))]
)
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
OURSELVES = {"init", "import", "score", "mine", "status", "doctor", "plan", "estimates", "agree"}
"""The commands that need no server: a README line with one of them is run."""
WITH_SERVER = {
    "studio",
    "round",
    "push",
    "pull",
    "review",
    "demo",
    "retrain",
    "promote",
    "rollback",
    "simulate",
    "adjudicate",
    "serve",
}
ELSEWHERE = {"make", "pip", "export"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield (path, command) for every command and sub-command."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def shell_lines(text: str) -> list[str]:
    """Return the lines of every console or sh block, comments and empty lines left out."""
    lines = [
        line.strip() for kind, body in BLOCK.findall(text) if kind in ("console", "sh") for line in body.split("\n")
    ]
    return [line for line in lines if line and not line.startswith("#")]


def typed(line: str, here: Path) -> str:
    """Type one shell line in a folder and return what it prints; `toughcall` is that of this checkout."""
    first, *words = shlex.split(line, comments=True)
    command = [sys.executable, "-m", "toughcall.cli", *words] if first == "toughcall" else ["sh", "-c", line]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOUGHCALL_")}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def written_commands(text: str) -> list[str]:
    """Return what a reader could type: shell lines and code spans that start with toughcall."""
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text))]
    return [line for line in [*shell_lines(text), *spans] if line.startswith("toughcall ")]


def rows_of(header: str, text: str) -> dict[str, str]:
    """Return {first cell: second cell} of the table under a header line."""
    table = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first: second for first, second, *_ in cells}


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in commands(main)])
def test_every_command_is_named_in_readme_or_docs(path: str) -> None:
    """A command nobody reads about does not exist."""
    written = {" ".join(line.split()) for text in TEXTS.values() for line in written_commands(text)}

    assert any(f"{line} ".startswith(f"toughcall {path} ") for line in written)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_tells_to_type_exists(path: Path) -> None:
    """Every written command is one, and has the options it is written with."""
    for line in written_commands(TEXTS[path]):
        command: click.Command = main
        for word in shlex.split(line)[1:]:
            if isinstance(command, click.Group) and not word.startswith("-") and not word.isupper():
                assert word in command.commands, line
                command = command.commands[word]
            elif word.startswith("-"):
                known = {name for option in command.params for name in option.opts + option.secondary_opts}
                assert word in known | {"--help", "-h"}, line


@pytest.mark.parametrize(
    ("path", "target"),
    [
        pytest.param(path, target, id=f"{path.relative_to(ROOT)}:{target}")
        for path, text in TEXTS.items()
        for _, target in LINK.findall(BLOCK.sub("", text))
        if not re.match(r"https?:|mailto:", target)
    ],
)
def test_every_link_and_picture_is_there(path: Path, target: str) -> None:
    """An internal link leads to a file of the project, an anchor to one of its headings."""
    name, _, anchor = target.partition("#")
    found = path.parent / name if name else path

    assert found.is_file()
    assert found.resolve().is_relative_to(ROOT)
    if anchor:
        heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_readme_shell_blocks_run_in_order(tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    """What the README tells to type works when typed in that order; only lines that need a server are left out."""
    things = ("printer", "conveyor", "badge reader", "pump")
    write_csv(
        "incidents.csv",
        [{"ticket": f"t{i}", "description": f"The {things[i % 4]} on floor {i} stopped"} for i in range(12)],
    )
    write_csv(
        "more.csv", [{"ticket": f"u{i}", "description": f"No light in room {i} since the storm"} for i in range(6)]
    )
    pairs = [{"a": f"Leak in cellar {i}", "b": f"Water below house {i}", "answer": "similar"} for i in range(4)]
    write_csv("checked.csv", pairs)
    write_csv("pairs.csv", pairs)
    here, ran = tmp_path, set()

    for line in shell_lines(README):
        first, *words = shlex.split(line, comments=True)
        if first == "cd":
            here = here / words[0]
        elif first == "toughcall" and words[0] in OURSELVES:
            typed(line, here)
            ran.add(words[0])
        else:
            assert first in ELSEWHERE or (first == "toughcall" and words[0] in WITH_SERVER), line

    assert ran == OURSELVES
    rows = [json.loads(row) for row in typed("toughcall status --json", tmp_path / "tickets").splitlines()]
    assert (rows[0]["records"], rows[0]["set aside"]) == (12 + 6 + 8, 0)
    assert [row["held out"] for row in rows if row.get("class") == "similar"] == [4]


@pytest.mark.parametrize("block", [body for kind, body in BLOCK.findall(README) if kind == "toml"])
def test_readme_settings_are_settings(block: str) -> None:
    """What the README shows of project.toml is accepted: names, types and ranges."""
    labels = dict.fromkeys(["other", *tomllib.loads(block).get("gate", {}).get("floors", {})], "") | {"more": ""}
    head = '[project]\nname = "p"\nkind = "multiclass"\n[labels]\n' + "".join(f'"{name}" = ""\n' for name in labels)

    assert project.parse(head + block, ROOT, kinds.KINDS).kind == "multiclass"


def test_exit_codes_are_those_of_the_errors() -> None:
    """The README's table of exit codes has every code of an error class, with its meaning, and no other."""
    table = {int(code): meaning for code, meaning in rows_of("| exit code |", README).items()}
    errors = [one for one in vars(records).values() if isinstance(one, type) and issubclass(one, ToughcallError)]
    words = {
        "ToughcallError": "bug",
        "UsageError": "wrong use",
        "RemoteError": "server",
        "GateRefused": "gate",
        "IntegrityError": "damaged",
        "BusyError": "busy",
        "NotEnoughData": "not enough data",
        "DiskError": "disk",
    }

    assert {error.__name__ for error in errors} == set(words)
    assert {error.code for error in errors} | {0, 3, 130} == set(table)
    for error in errors:
        assert words[error.__name__] in table[error.code]


def test_promises_are_numbered_as_stated() -> None:
    """A promise keeps its number for ever: tests and issues name it by that."""
    found = re.findall(r"^- \*\*P(\d+)\*\* (.*)$", README, re.MULTILINE)
    words = (
        *("never lost", "sent twice", "crash", "byte for byte", "held-out", "bad row", "this machine only", "token"),
        *(
            "equals its base",
            "fails closed",
            "Rollback",
            "text shown",
            "Same data",
            "schema",
            "No code",
            "second stops",
        ),
    )

    assert [int(number) for number, _ in found] == list(range(1, 17))
    for (number, promise), word in zip(found, words, strict=True):
        assert word in promise, f"P{number}"


def test_every_dependency_says_why() -> None:
    """The record of dependencies names each one that pyproject.toml asks for."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[><=\[;]", one)[0] for one in asked["dependencies"]]
    record = (ROOT / "docs/decisions/0008-dependencies.md").read_text(encoding="utf-8")
    reasons = re.findall(r"^\| (.*?) \|", record, re.MULTILINE)

    assert [name for name in names if not any(re.search(rf"(^|, ){name}(,|$)", row) for row in reasons)] == []


def test_decisions_are_short_and_numbered() -> None:
    """A decision is one page with the next number and says so in its title."""
    found = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [int(path.name[:4]) for path in found] == list(range(1, len(found) + 1))
    for path in found:
        assert TEXTS[path].startswith(f"# {int(path.name[:4])}. ")
        assert TEXTS[path].count("\n") <= 25, path.name


def test_glossary_is_in_order() -> None:
    """A word is found where the alphabet has it."""
    text = TEXTS[ROOT / "docs/glossary.md"]
    words = [word.casefold() for word in rows_of("| word |", text)]

    assert words == sorted(set(words))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_no_machine(path: Path) -> None:
    """No path of somebody's machine, no folder outside the project, no package index by its address."""
    outside = r"(?<![\w.~])/(work|home|root|tmp|Users|mnt)/|\.\./shared|pypi\.org|pythonhosted|index-url"

    assert re.findall(outside, TEXTS[path]) == []
