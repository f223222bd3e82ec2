"""What is installed from a wheel is the whole program: every module, template, page setting and data file."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("toughcall", "annotate", "model", "mining", "data")


def sources() -> dict[str, Path]:
    """Every file of our packages by the path it has when installed."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for folder, names, files in os.walk(ROOT / package, followlinks=False):
            names[:] = [name for name in names if name != "__pycache__"]
            for file in files:
                path = Path(folder) / file
                inside = path.relative_to(ROOT).as_posix()
                if path.suffix != ".pyc" and not path.is_symlink():
                    found[inside if package == "toughcall" else f"toughcall/{inside}"] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that the checkout stays clean."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(re.match(r"\d+", version)[0]) < 77:  # type: ignore[index]
        pytest.skip(f"setuptools {version} is here, 77 or newer builds the wheel without a network")
    copy = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    made = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", made, copy],
        capture_output=True,
        text=True,
        check=False,
        cwd=made,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return next(made.glob("*.whl"))


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    """Nothing of ours is missing from the wheel, and nothing else is in it but its own description."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    due = set(sources())
    assert sorted(due - held) == []
    assert sorted(held - due) == []


def test_the_wheel_holds_what_is_no_module(wheel: Path) -> None:
    """Labelling templates, the review page's settings, the demo's data and the licence travel along."""
    held = zipfile.ZipFile(wheel).namelist()
    for pattern in (
        r"toughcall/annotate/templates/multiclass\.xml",
        r"toughcall/annotate/templates/multilabel\.xml",
        r"toughcall/annotate/templates/pair\.xml",
        r"toughcall/review/\.streamlit/config\.toml",
        r"toughcall/data/README\.md",
        r"toughcall/data/.+/.+\.(csv|jsonl)",
        r".+\.dist-info/entry_points\.txt",
        r".+\.dist-info/licenses/LICENSE",
    ):
        assert any(re.fullmatch(pattern, name) for name in held), pattern


def test_the_installed_program_starts_anywhere(wheel: Path, tmp_path: Path) -> None:
    """From an empty folder, with nothing but the unpacked wheel before the libraries, every package is its own."""
    home, empty = tmp_path / "home", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(home)
    environment = {**os.environ, "PYTHONPATH": str(home)}
    environment.pop("TOUGHCALL_PROJECT", None)

    def run(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, *args], cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = (
        "import toughcall.cli, toughcall.annotate.studio, toughcall.model.train, toughcall.mining.batch, toughcall.data"
    )
    show = (
        "print(*[m.__file__ for n, m in sys.modules.items() if n.startswith('toughcall.') and m.__file__], sep='\\n')"
    )
    places = run("-c", f"import sys; {code}; {show}").split("\n")[:-1]
    assert len(places) > 15
    assert all(place.startswith(str(home)) for place in places)
    assert "toughcall init" in run("-m", "toughcall.cli", "--help")
    made = run("-m", "toughcall.cli", "init", "p", "--kind", "multiclass", "--labels", "a=one,b=two")
    assert "multiclass" in made
    assert (empty / "p" / "project.toml").is_file()
