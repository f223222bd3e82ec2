"""Push and pull in processes of their own, killed or failed by the kernel at every step; each fault is seen to fire."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeStudio

from toughcall import exchange, loop
from toughcall.annotate.tasks import to_result
from toughcall.project import TOKEN_VARIABLE
from toughcall.records import Batch, Pick
from toughcall.settings import Columns
from toughcall.workspace import opened

SIZE = 12
# stops the process dead at its n-th write to the ledger or the n-th request; what is written after it never happens
KILLED = """
import os, signal, sys
from toughcall import ledger
from toughcall.annotate import connection, pulling, studio
pulling.PAGE = 4
left = int(sys.argv.pop(1))
def step():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
def counted(real):
    def run(*args, **more):
        step()
        found = real(*args, **more)
        step()
        return found
    return run
studio.Studio.send = counted(studio.Studio.send)
ledger.Ledger.transaction = counted(ledger.Ledger.transaction)
connection.Connection.call = counted(connection.Connection.call)
from toughcall.cli import main
main()
"""


@pytest.fixture
def fake() -> Iterator[FakeStudio]:
    """A fake server of its own."""
    with FakeStudio() as server:
        yield server


@pytest.fixture
def project(
    fake: FakeStudio, make_project: Callable[..., Path], write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Make a project on the fake server with a batch that is not sent yet."""
    monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
    root = make_project(studio__url=fake.url)
    with opened(root, "import") as ws:
        loop.import_file(ws, write_csv("pool.csv", [{"text": f"text number {n}"} for n in range(SIZE)]), Columns())
        ids = sorted(text.id for text in ws.pool.texts())
        picks = tuple(Pick(one, "in_band", 0.5, n) for n, one in enumerate(ids))
        ws.store.add_batch(Batch("b001", ws.schema.version, "m", picks))
    return root


def answered(fake: FakeStudio, root: Path) -> None:
    """Let somebody answer every item that was sent."""
    with opened(root, "test", writing=False) as ws:
        result = to_result(ws.schema, ("food",))
        for task in list(fake.projects[exchange.places(ws)[""]].tasks.values()):
            fake.annotate(task["id"], query={}, body={"result": result})


def run(root: Path, verb: str, *before: str, code: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    words = ["-c", code, *before] if code else ["-m", "toughcall.cli"]
    front = [] if code else list(before)
    return subprocess.run(
        [*front, sys.executable, *words, "--project", str(root), "--quiet", verb],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        **more,
    )


def state(root: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Return who said what on which item, by history, and what is wrong with the ledger."""
    with opened(root, "test", writing=False) as ws:
        return Counter((a.item, str(a.value)) for a in ws.store.answers(history=True)), ws.store.damage()


def test_c33_c52_killed_at_every_step_of_push_and_pull(fake: FakeStudio, project: Path) -> None:
    """C33, C52, P1 to P3: killed before and after each write and request in turn, the same command run again
    ends as if nothing had happened: every uid once on the server, every answer once in the ledger.
    """
    for verb, least in (("push", 6), ("pull", 10)):
        kills = 0
        while True:
            done = run(project, verb, str(kills + 1), code=KILLED)
            if done.returncode == 0:
                break
            assert done.returncode == -signal.SIGKILL, done.stderr
            kills += 1
            if verb == "pull":
                # a killed pull leaves whole pages: nothing twice, nothing half
                assert all(n == 1 for n in state(project)[0].values())
        assert kills >= least, f"{kills} kills of {verb}: most faults did not fire"
        assert run(project, verb).returncode == 0
        if verb == "push":
            number = next(iter(fake.projects))
            assert len(fake.projects) == 1
            assert len(fake.uids(number)) == len(set(fake.uids(number))) == SIZE
            answered(fake, project)
    found, damage = state(project)
    assert sorted(found.values()) == [1] * SIZE
    assert damage == []


def strace_works() -> bool:
    """Return whether faults can be put into system calls here."""
    program = shutil.which("strace")
    if not program:
        return False
    probe = [program, "-f", "-e", "trace=write", "-e", "inject=write:error=EIO:when=999", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not strace_works(), reason="no strace here, or it may not trace: apt install strace")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_c52_a_failing_disk_loses_no_acknowledged_answer(
    fake: FakeStudio, project: Path, tmp_path: Path, call: str, error: str
) -> None:
    """C52: a write or sync that fails is exit 9 in one sentence; run again the pull ends as a clean one."""
    assert run(project, "push").returncode == 0
    answered(fake, project)
    fired = 0
    for when in (1, 2, 3, 5, 8):
        log = tmp_path / f"{call}-{when}.log"
        inject = f"inject={call}:error={error}:when={when}"
        done = run(project, "pull", "strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e", inject)
        if "(INJECTED)" not in log.read_text(errors="replace"):
            continue
        fired += 1
        assert done.returncode in (0, 9), done.stderr
        assert "Traceback" not in done.stderr
        assert state(project)[1] == []
        assert all(n == 1 for n in state(project)[0].values())
    assert fired, "no fault fired: this proved nothing"
    assert run(project, "pull").returncode == 0
    found, damage = state(project)
    assert sorted(found.values()) == [1] * SIZE
    assert damage == []


def test_c13_c52_a_full_disk(fake: FakeStudio, project: Path) -> None:
    """C52: where no file may grow a pull is exit 9 in one sentence, and with room again it ends as a clean one."""
    assert run(project, "push").returncode == 0
    answered(fake, project)
    full = (project / "ledger.sqlite").stat().st_size

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, full))

    done = run(project, "pull", preexec_fn=no_room)
    assert done.returncode == 9, done.stderr
    assert done.stderr.startswith("toughcall: ")
    assert "Traceback" not in done.stderr
    assert run(project, "pull").returncode == 0
    assert sorted(state(project)[0].values()) == [1] * SIZE


def test_push_and_pull_load_no_model() -> None:
    """Commands that only talk are quick to start: neither torch nor transformers is loaded by them."""
    code = (
        "import sys; from toughcall import loop, exchange, taking; from toughcall.annotate import pulling, answers;"
        "print({'torch', 'transformers', 'sklearn', 'streamlit'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
