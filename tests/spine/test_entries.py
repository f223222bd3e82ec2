"""A JSON list read entry by entry is what the standard library reads at once, or is refused where it breaks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall import entries as module
from toughcall.entries import entries
from toughcall.records import UsageError

WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
THINGS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks so small that everything lies across the edge of one."""
    monkeypatch.setattr(module, "BLOCK", 3)
    return


def read(text: str | bytes) -> list[Any]:
    """Return the entries of a file that holds this."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(entries(path))


@given(st.lists(THINGS, max_size=5), st.integers(1, 40), st.booleans(), st.sampled_from([None, 2]))
def test_c54_any_list_is_read_as_the_library_reads_it(
    things: list[Any], block: int, ascii_: bool, indent: int | None
) -> None:
    """C54: whatever the entries and wherever blocks end, what is yielded is what was written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        text = json.dumps(things, ensure_ascii=ascii_, indent=indent)
        found = read(text)
    assert found == json.loads(text)
    assert json.dumps(found) == json.dumps(json.loads(text)), "1 is not 1.0"


@given(st.lists(THINGS, min_size=1, max_size=4), st.data())
def test_a_list_that_is_cut_off_is_refused(things: list[Any], data: st.DataObject) -> None:
    """P1: a file that ends anywhere before its end is no whole file, and the sentence names its last byte or less."""
    text = json.dumps(things, ensure_ascii=False).encode()
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    with pytest.raises(UsageError, match=r"breaks at byte \d+, line 1"):
        read(cut)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("text", "byte", "line"),
    [
        ('[{"a": 1},\n {"ä": tru}]', 19, 2),
        ('[{"a": 1}\n{"b": 2}]', 10, 2),
        ('[{"a": 1},]', 10, 1),
        ('[{"a": 1}] x', 11, 1),
        ('[{"a": 1}', 9, 1),
        ("[", 1, 1),
        ('\ufeff[{"a" 1}]', 9, 1),
        ('[\n\n"a\nb"]', 5, 3),
    ],
)
def test_where_it_breaks(text: str, byte: int, line: int) -> None:
    """The sentence names the byte, counted from 0, and the line, counted from 1, whatever was dropped before."""
    with pytest.raises(UsageError, match=rf"breaks at byte {byte}, line {line} "):
        read(text)


@pytest.mark.usefixtures("small")
def test_what_one_entry_holds_spoils_no_other_one() -> None:
    """P6: numbers longer than any integer, bytes that are no UTF-8 and a byte order mark are read all the same."""
    found = read(b"\xef\xbb\xbf[" + b"9" * 5000 + b', "a\xffb", NaN, {"x": 1}, "\\ud83d\\ude00"]')
    assert found[0] == float("inf")
    assert found[1] == "a\udcffb"
    assert found[2] != found[2]
    assert found[3:] == [{"x": 1}, "😀"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("id,answer\n1,yes\n", "is no JSON export"),
        ('{"detail": "Not found."}', "is no JSON export"),
        ('[{"a": 1}]'.encode("utf-16"), "is no JSON export"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_other_files_are_refused(text: str | bytes, said: str) -> None:
    """What is no JSON list is one sentence that says what to choose in Label Studio."""
    with pytest.raises(UsageError, match=said):
        read(text)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    """A path that is no file is one sentence."""
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        list(entries(tmp_path / "no.json"))
    with pytest.raises(UsageError, match="is a folder"):
        list(entries(tmp_path))


@pytest.mark.usefixtures("small")
def test_memory_holds_the_longest_entry_and_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C54: what is read is forgotten: the most that is held is a few times the longest entry."""
    path, held = tmp_path / "export.json", list[int]()
    path.write_text(json.dumps([{"text": "x" * 100}] * 500), encoding="utf-8")
    more = module._Window.more

    def watched(window: module._Window) -> bool:
        found = more(window)
        held.append(len(window.text))
        return found

    monkeypatch.setattr(module._Window, "more", watched)
    told: list[tuple[int, int]] = []
    assert len(list(entries(path, lambda done, total: told.append((done, total))))) == 500
    assert len(held) > 500
    assert max(held) < 500
    assert told[-1] == (path.stat().st_size,) * 2
    assert [done for done, _ in told] == sorted(done for done, _ in told)
