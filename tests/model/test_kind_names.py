"""Nobody but the kinds asks which kind of work it is: what differs belongs into their classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from toughcall.model import kinds

ROOT = Path(__file__).resolve().parents[2]
NAMES = set(kinds.KINDS)
CLASSES = {type(kind).__name__ for kind in kinds.KINDS.values()}
TABLES = ("toughcall/demo_data.py",)
"""Where one example of each kind is listed under its name; nothing there may compare."""
SOURCES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("toughcall", "annotate", "model", "mining")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != ROOT / "model" / "kinds.py" and not any(part.is_symlink() for part in path.parents)
]


def is_name(node: ast.expr) -> bool:
    """Return whether an expression is the literal name of a kind."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES


def is_kind(node: ast.expr) -> bool:
    """Return whether an expression is `x.kind`, `kind.name` or `x.kind.name`."""
    if not isinstance(node, ast.Attribute):
        return False
    owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    return node.attr == "kind" or (node.attr == "name" and owner == "kind")


def asks(source: str, *, table: bool = False) -> Iterator[str]:
    """Yield every place of a source that asks which kind of work it is; with `table` it may list one of each."""
    for node in ast.walk(ast.parse(source)):
        found: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            listed = [one for side in sides if isinstance(side, ast.Tuple | ast.List | ast.Set) for one in side.elts]
            found = [one for one in (*sides, *listed) if is_name(one) or is_kind(one)]
        elif isinstance(node, ast.MatchValue):
            found = [node.value] if is_name(node.value) else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("startswith", "endswith", "get", "index"):
                found = [one for one in node.args if is_name(one)]
        elif isinstance(node, ast.Dict) and not table:
            # one key may be a field that is called like a kind, two are a table of kinds
            keys = [key for key in node.keys if key is not None and is_name(key)]
            found = keys if len(keys) > 1 else []
        elif isinstance(node, ast.ImportFrom):
            found = [ast.Constant(one.name) for one in node.names if one.name in CLASSES]
        elif isinstance(node, ast.Attribute) and node.attr in CLASSES:
            found = [node]
        line = getattr(node, "lineno", getattr(getattr(node, "value", None), "lineno", 0))
        yield from (f"line {line}: {ast.unparse(one)}" for one in found)


@pytest.mark.parametrize("name", SOURCES)
def test_only_the_kinds_know_their_names(name: str) -> None:
    """Rule: outside model/kinds.py no name of a kind is compared, matched, looked up or imported as a class."""
    assert not list(asks((ROOT / name).read_text(encoding="utf-8"), table=name in TABLES))


def test_the_guard_looks_at_the_sources_and_sees_what_it_should() -> None:
    """The guard above sees every way to ask, and lets alone what only carries a kind."""
    assert {"toughcall/loop.py", "annotate/tasks.py", "model/train.py", "mining/batch.py"} <= set(SOURCES)
    for bad in (
        "if schema.kind == other: pass",
        "x = 'pair' == name",
        "x = name in ('scores', 'relation')",
        "x = ws.kind.name != y",
        "x = kind.name in known",
        "match kind:\n    case 'pair': pass",
        "x = {'pair': 1, 'scores': 2}[name]",
        "x = name.startswith('multi') or kinds.get('pair')",
        "from toughcall.model.kinds import PairKind",
        "x = isinstance(kind, kinds.ScoresKind)",
    ):
        assert list(asks(bad)), bad
    for good in ("x = {'scores': y}", "if kind.paired: pass", "say(ws.kind.name)", "x = kinds.get(schema.kind)"):
        assert not list(asks(good)), good
    assert not list(asks("x = {'pair': 1, 'scores': 2}", table=True))
    assert list(asks("x = {'pair': 1, 'scores': 2}[x if y == 'pair' else z]", table=True))
