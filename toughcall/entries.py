"""The entries of a JSON list in a file, however big it is, or the place at which it is no JSON.

The standard library's own decoder, so that a number or a text is what a pull would have made of it.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from toughcall.records import UsageError

BLOCK = 1 << 20
"""Characters that are read at a time."""
LONGEST_WORD = 16
"""So near the end of what is read, JSON may look wrong only because it is cut off: `-Infinity`, half an escape."""
_WHITE = re.compile(r"[ \t\n\r]*")


def _whole(digits: str) -> int | float:
    # Python refuses to read an integer of some thousand digits; as a float it is a number that nobody meant
    return int(digits) if len(digits) < 1000 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole)


@dataclass
class _Window:
    """What memory holds of a file: `text` from `at` on is not read yet; `size` bytes and `lines` lie before `text`."""

    path: Path
    file: TextIO
    size: int
    text: str = ""
    at: int = 0
    lines: int = 0

    def more(self) -> bool:
        """Forget what was read and hold twice as much of the rest; False at the end of the file."""
        self._forget(self.at)
        block = self.file.read(max(BLOCK, len(self.text)))
        self.text += block
        return bool(block)

    def _forget(self, end: int) -> None:
        gone = self.text[:end]
        self.size += len(gone.encode("utf-8", "surrogateescape"))
        self.lines += gone.count("\n")
        self.text, self.at = self.text[end:], 0

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end of the file."""
        while True:
            white = _WHITE.match(self.text, self.at)
            self.at = white.end() if white else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> Any:
        """Return the JSON value that begins here, and stand behind it."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                place = error.pos - self.at
                cut_off = error.pos > len(self.text) - LONGEST_WORD or error.msg.startswith("Unterminated string")
                if cut_off and self.more():
                    continue
                raise self.broken(place, error.msg) from None
            except RecursionError:
                raise self.broken(0, "nested too deeply") from None
            length = end - self.at
            # a number may go on in what is not read yet: 1 in 1.5, 2 in 2e-9
            if isinstance(found, int | float) and end > len(self.text) - LONGEST_WORD and self.more():
                continue
            self.at += length
            return found

    def broken(self, place: int, why: str) -> UsageError:
        """Return the error to raise for what stands `place` characters after the one to be read next."""
        self._forget(self.at + place)
        return UsageError(
            f"{self.path} breaks at byte {self.size}, line {self.lines + 1} ({why}), so nothing of it was stored: "
            "export it again and give the whole file"
        )


def entries(path: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[Any]:
    """Yield what the JSON list in a file holds, one thing after the other; memory holds a block, or the longest thing.

    Bytes that are no UTF-8 become lone surrogates, so that they spoil the entry that holds them and no other one.

    Args:
        path: the file, with or without a byte order mark.
        progress: called as (bytes read, bytes of the file).

    Raises UsageError for a file that cannot be read, is empty or no JSON list, and with the byte (from 0) and the line
    (from 1) where the JSON breaks or ends too early; what was yielded before is of a file that is not whole.

    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the JSON exports in it")
    try:
        with path.open("rb") as raw:
            marked = raw.read(3) == codecs.BOM_UTF8
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            window, whole = _Window(path, file, 3 * marked), path.stat().st_size
            first = window.peek()
            if not first:
                raise UsageError(f"{path} is empty: in Label Studio choose Export > JSON")
            if first != "[":
                raise UsageError(
                    f"{path} is no JSON export: in Label Studio choose Export > JSON, which is not JSON-MIN, CSV or TSV"
                )
            window.at += 1
            sign = window.peek()
            while sign != "]":
                window.peek()
                yield window.value()
                sign = window.peek()
                if sign not in (",", "]"):
                    raise window.broken(0, "a comma or the end of the list is due" if sign else "it ends too early")
                window.at += sign == ","
                if progress:
                    progress(window.size, whole)
            window.at += 1
            if window.peek():
                raise window.broken(0, "something follows its end")
            if progress:
                progress(whole, whole)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}; name a JSON export of Label Studio") from None
