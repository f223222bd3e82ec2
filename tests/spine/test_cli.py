"""The command line: every command explains itself, every failure is one sentence and its own exit code."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from toughcall.cli import main
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, Floats, Pick, UsageError
from toughcall.store import Store

HOLD = """
import sys, time
from pathlib import Path
from toughcall.files import lock
with lock(Path(sys.argv[1]), "retrain"):
    print("held", flush=True)
    time.sleep(600)
"""
ARGUMENTS = {
    "import": ["a.csv"],
    "map": ["a=b"],
    "export tasks": ["out"],
    "export labels": ["l.csv"],
    "answers": ["a.json"],
    "studio users add": ["anna@example.com"],
}


def leaves(group: click.Group = main, before: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its words: ("studio up", command)."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


COMMANDS = dict(leaves())
NEED_A_PROJECT = sorted(set(COMMANDS) - {"init", "demo"})


class Letters:
    """An encoder without a model: a text's vector counts its characters."""

    name = "minilm"
    sha = "letters"
    dimension = 64

    def encode(self, texts: list[str], progress: Any = None) -> Floats:
        rows = np.array([[sum(ord(c) % 64 == j for c in text) + 0.1 for j in range(64)] for text in texts], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def truncated(self, texts: list[str]) -> int:
        return 0


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with no project given by the environment."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TOUGHCALL_PROJECT", raising=False)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr("toughcall.mining.embed.load_encoder", lambda *args, **more: Letters())
    return folder


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def refused(result: Result, code: int) -> str:
    """The one line that a failed command says; fails on a traceback, a second line or another code."""
    assert isinstance(result.exception, SystemExit), result.exception
    said = [line for line in result.stderr.splitlines() if line.startswith("toughcall: ")]
    assert (result.exit_code, len(said)) == (code, 1), result.stderr
    assert "Traceback" not in result.stderr
    return said[0]


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
    }


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_help_lists_every_command() -> None:
    """`toughcall --help` names every command and begins with an example."""
    said = run("--help").stdout
    assert all(f"\n  {name} " in said for name in main.commands)
    assert "toughcall init" in said


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_every_command_shows_an_example(words: str) -> None:
    """The help of each command holds a line that can be typed, made of options the command has."""
    result = run(*words.split(), "--help")
    assert result.exit_code == 0
    examples = [line.strip() for line in result.stdout.splitlines() if line.strip().startswith(f"toughcall {words}")]
    assert examples, result.stdout
    for example in examples:
        given = shlex.split(example)[1 + len(words.split()) :]
        COMMANDS[words].make_context(words, given, resilient_parsing=False)


@pytest.mark.parametrize("words", NEED_A_PROJECT)
def test_c18_every_command_in_an_empty_folder_is_exit_2(words: str, elsewhere: Path, monkeypatch: Any) -> None:
    """C18: without a project each command says in one sentence what to run, and leaves nothing behind."""
    monkeypatch.setattr(os, "execve", lambda *args: pytest.fail("started although there is no project"))
    said = refused(run(*words.split(), *ARGUMENTS.get(words, [])), 2)
    assert "toughcall init NAME" in said
    assert list(elsewhere.iterdir()) == []


def test_c01_init_twice_changes_nothing(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    """C01: a second init is exit 2 and every byte of the first project is as it was."""
    data = write_csv("q.csv", [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}])
    options = ["--kind", "multiclass", "--data", data, "--label", "label"]
    assert run("init", "p", *options).exit_code == 0
    before = tree(tmp_path)
    assert "p exists already" in refused(run("init", "p", *options), 2)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 300, "a\0b", ".", "..", "/tmp/x"])
def test_c02_init_makes_nothing_outside(name: str, tmp_path: Path) -> None:
    """C02: a name that could leave the folder is exit 2 and no file is made anywhere."""
    assert "is not a name" in refused(run("init", "--kind", "multiclass", "--labels", "a,b", "--", name), 2)
    assert tree(tmp_path) == {"empty": ""}


def test_c02_a_name_that_looks_like_an_option_is_exit_2() -> None:
    """C02: `-x` is read as an option and refused."""
    assert run("init", "-x", "--kind", "multiclass").exit_code == 2
    refused(run("init", "--kind", "multiclass", "--labels", "a,b", "--", "-x"), 2)


@pytest.mark.parametrize("command", [["promote"], ["score", "--model"]])
@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "x" * 300])
def test_c02_a_model_name_cannot_leave_the_registry(command: list[str], name: str, filled: Path) -> None:
    """C02: a model that could lie elsewhere is exit 2."""
    refused(run("--project", filled, *command, name), 2)


@pytest.mark.parametrize(
    "args",
    [
        ["--kind", "multiclas", "--labels", "a,b"],
        ["--kind", "multiclass"],
        ["--kind", "multiclass", "--labels", "a"],
        ["--kind", "multiclass", "--labels", "a,b", "--data", "nothing.csv"],
        ["--kind", "multiclass", "--labels", "a,b", "--data", "latin.csv"],
        ["--kind", "multiclass", "--labels", "a,b", "--data", "wrong.csv"],
    ],
)
def test_a_failed_init_leaves_nothing(args: list[str], elsewhere: Path) -> None:
    """C01, P3: when init fails there is no half project, so the mended command can be typed again."""
    (elsewhere / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    (elsewhere / "wrong.csv").write_text("texte\nx\n", encoding="utf-8")
    before = tree(elsewhere)
    refused(run("init", "p", *args), 2)
    assert tree(elsewhere) == before


@pytest.fixture
def filled(make_project: Callable[..., Path], write_csv: Callable[..., Path]) -> Path:
    """A project with twelve records and no answer."""
    root = make_project()
    data = write_csv("twelve.csv", [{"text": f"{word} number {n}"} for n in range(4) for word in ("cat", "bus", "jam")])
    assert run("--project", root, "import", data).exit_code == 0
    return root


def test_exit_3_and_the_count_of_an_import(filled: Path, write_csv: Callable[..., Path]) -> None:
    """P6, C10, C16: read = new + known + set aside; --strict turns rows set aside into exit 3, else it is 0."""
    lines = [("cat number 0", "animal"), ("an owl", "animal"), ("a pump", "tool"), (" ", "food"), ("a pear", "food")]
    data = write_csv("more.csv", [{"text": text, "label": label} for text, label in lines])
    strict = run("--project", filled, "import", data, "--label", "label", "--strict", "--json")
    assert strict.exit_code == 3
    found = json.loads(strict.stdout)
    assert found == {"read": 5, "new": 2, "known": 1, "set aside": 2, "labels": 3, "near-duplicates": 0, "long": 0}
    assert found["read"] == found["new"] + found["known"] + found["set aside"]
    again = rows(run("--project", filled, "import", data, "--label", "label", "--json"))[0]
    assert (again["read"], again["new"], again["known"], again["set aside"]) == (5, 0, 3, 2)
    with Store(filled / "ledger.sqlite") as store:
        assert [found.reason for _, found in store.set_aside()] == [
            "label: label not in schema: 'tool'",
            "text is empty",
        ]
        assert len(store.answers(history=True)) == 3


def test_c17_a_missing_column_is_exit_2(filled: Path, write_csv: Callable[..., Path]) -> None:
    """C17: the sentence lists what was found and the options to set."""
    said = refused(run("--project", filled, "import", write_csv("x.csv", [{"texte": "a", "n": 1}])), 2)
    assert "found texte, n; say --text" in said


def test_exit_4_when_the_server_cannot_be_reached(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C35: a server that is down is exit 4, the batch still waits, and the token is not printed."""
    file = filled / "project.toml"
    file.write_text(file.read_text().replace('url = ""', 'url = "http://127.0.0.1:1"'), encoding="utf-8")
    with Store(filled / "ledger.sqlite") as store:
        item = rows(run("--project", filled, "score", "--top", "1", "--json"))[0]["item"]
        schema = store.base.execute("SELECT version FROM schemas").fetchone()[0]
        store.add_batch(Batch("b001", schema, "m", (Pick(item, "in_band", 0.5, 0),)))
    assert TOKEN_VARIABLE in refused(run("--project", filled, "push"), 2)
    monkeypatch.setenv(TOKEN_VARIABLE, "s3cret-token")
    result = run("--project", filled, "push")
    assert "127.0.0.1:1" in refused(result, 4)
    assert "s3cret" not in result.output
    with Store(filled / "ledger.sqlite") as store:
        assert [row["state"] for row in store.batches()] == ["planned"]


def test_exit_5_when_the_gate_refuses(filled: Path) -> None:
    """C67: promote of a model whose verdict is not PROMOTE is exit 5 with the verdict's figures."""
    with Store(filled / "ledger.sqlite") as store:
        store.add_event("retrain", {"version": "p-v001", "outcome": "KEEP", "sentence": "KEEP: 0.51 against 0.60"})
    assert "p-v001 stays out: KEEP: 0.51 against 0.60" in refused(run("--project", filled, "promote"), 5)


@pytest.mark.parametrize("command", ["status", "retrain"])
def test_c86_exit_6_when_the_ledger_is_damaged(filled: Path, command: str) -> None:
    """C86: a ledger that is no database any more is exit 6 naming the file and the way out."""
    (filled / "ledger.sqlite").write_bytes(b"no database" * 1000)
    for left in filled.glob("ledger.sqlite-*"):
        left.unlink()
    assert "ledger.sqlite is damaged" in refused(run("--project", filled, command), 6)


def test_c86_exit_6_when_a_shard_is_damaged(filled: Path) -> None:
    """C86: a truncated shard never gives a short answer: exit 6 naming doctor."""
    shard = next((filled / "pool").glob("texts-*"))
    shard.write_bytes(shard.read_bytes()[:100])
    assert "toughcall doctor" in refused(run("--project", filled, "score"), 6)


def test_c81_exit_7_while_another_command_runs(filled: Path, write_csv: Callable[..., Path]) -> None:
    """C51, C81: a writing command beside another one is exit 7 naming it; status still answers."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(filled)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        for words in ("import", "score", "mine", "push", "pull", "retrain", "round", "promote", "rollback"):
            said = refused(run("--project", filled, *words.split(), *ARGUMENTS.get(words, [])), 7)
            assert f"toughcall retrain (process {process.pid})" in said
        assert run("--project", filled, "status").exit_code == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert run("--project", filled, "score").exit_code == 0


def test_c55_exit_8_when_there_is_nothing_to_train_on(filled: Path, write_csv: Callable[..., Path]) -> None:
    """C55: no label, or one class only, is exit 8 with the counts; no model folder appears."""
    assert "no label to train on yet" in refused(run("--project", filled, "retrain"), 8)
    data = write_csv("one.csv", [{"text": f"cat number {n}", "label": "animal"} for n in range(4)])
    assert run("--project", filled, "import", data, "--label", "label").exit_code == 0
    assert "machine 0" in refused(run("--project", filled, "retrain"), 8)
    assert not (filled / "models").exists()


SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from toughcall.cli import main
main()
"""


def test_c13_exit_9_when_the_disk_is_full(filled: Path, tmp_path: Path) -> None:
    """C13: a file that cannot be written is exit 9; nothing half stays, and with space the same command completes."""
    data = tmp_path / "big.csv"
    noise = np.random.default_rng(1)
    data.write_text("text\n" + "".join(f"{noise.bytes(30).hex()}\n" for _ in range(3000)), encoding="utf-8")
    before = sorted(path.name for path in (filled / "pool").iterdir())
    command = [sys.executable, "-c", SMALL_DISK, "--project", str(filled), "import", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert "Traceback" not in done.stderr
    assert "run the same command again" in done.stderr
    assert sorted(path.name for path in (filled / "pool").iterdir()) == before
    again = rows(run("--project", filled, "import", data, "--json"))[0]
    assert (again["read"], again["new"]) == (3000, 3000)


def test_c84_ctrl_c_is_exit_130_and_the_same_command_completes(filled: Path, tmp_path: Path) -> None:
    """C84: Ctrl-C in the middle of a big import says so and exits 130; run again it completes, nothing twice."""
    data = tmp_path / "big.csv"
    data.write_text("text\n" + "".join(f"line number {n} of many\n" for n in range(120_000)), encoding="utf-8")
    command = [sys.executable, "-m", "toughcall.cli", "--project", str(filled), "import", str(data)]
    # tests that run in the background inherit "ignore Ctrl-C", and so would the command
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed)
    while len(list((filled / "pool").glob("texts-*"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert "interrupted; run the same command again" in said
    assert "Traceback" not in said
    assert list((filled / "pool").glob(".*")) == []
    again = rows(run("--project", filled, "import", data, "--json"))[0]
    assert (again["read"], again["new"] + again["known"]) == (120_000, 120_000)
    assert again["known"] > 0, "the interrupted import had stored nothing, so this run proves nothing"
    assert rows(run("--project", filled, "status", "--json"))[0]["records"] == 120_012


@pytest.mark.parametrize("words", ["status", "score --top 3", "mine --size 4", "push", "pull", "import a.csv"])
def test_json_is_one_object_a_line(words: str, filled: Path, elsewhere: Path) -> None:
    """With --json every line of stdout is one JSON object; what is told to a person goes to stderr."""
    (elsewhere / "a.csv").write_text("text\n$5 and é\n", encoding="utf-8")
    assert all(isinstance(row, dict) for row in rows(run("--project", filled, *words.split(), "--json")))
    assert run("--project", filled, *words.split()).exit_code == 0


def test_c40_an_empty_queue_has_nothing_to_send(filled: Path) -> None:
    """C40: push without a batch is exit 0 and says "nothing to send", without asking for a server."""
    result = run("--project", filled, "push", "--json")
    assert "nothing to send" in result.stderr
    assert rows(result) == [{"sent": 0, "already there": 0, "copies removed": 0, "set aside": 0, "deleted there": 0}]


def test_c29_a_pool_that_is_used_up_says_so(filled: Path) -> None:
    """C24, C29: batches are disjoint; when nothing is left that is said with the next command, exit 0."""
    seen: list[str] = []
    for _ in range(20):
        result = run("--project", filled, "mine", "--size", "5", "--json")
        found = [row["item"] for row in rows(result)]
        seen += found
        if not found:
            break
    assert len(seen) == len(set(seen)) > 6
    assert "nothing left to ask: toughcall import FILE" in result.stderr


def test_quiet_is_quiet_and_debug_tells_all(filled: Path) -> None:
    """--quiet leaves stderr empty when all is well; only --debug lets an error through with its traceback."""
    assert run("--project", filled, "--quiet", "score").stderr == ""
    assert isinstance(run("--debug", "--project", filled, "promote").exception, UsageError)
    assert "toughcall retrain" in refused(run("--project", filled, "promote"), 2)


def test_a_file_name_that_is_not_utf8_is_no_trouble(filled: Path, elsewhere: Path) -> None:
    """P6: rows of a file with an undecodable name are set aside like any other."""
    path = os.path.join(os.fsencode(elsewhere), b"caf\xe9.csv")
    with open(path, "wb") as file:
        file.write(b"text\nok\n \n")
    result = run("--project", filled, "import", os.fsdecode(path), "--json")
    assert rows(result)[0]["set aside"] == 1


def test_what_the_review_page_is_started_with(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C82: the page listens on loopback, sends no statistics and shows no error details."""
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *args: started.append(args))
    assert run("--project", filled, "review", "--port", "8600").exit_code == 0
    command, environment = started[0][1], started[0][2]
    pairs = dict(itertools.pairwise(command))
    assert (pairs["--server.address"], pairs["--server.port"]) == ("127.0.0.1", "8600")
    assert (pairs["--browser.gatherUsageStats"], pairs["--client.showErrorDetails"]) == ("false", "none")
    assert environment["TOUGHCALL_PROJECT"] == str(filled.resolve())
