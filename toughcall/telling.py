"""What a command says while it works: sentences and progress bars on stderr, rows on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Console:
    """Tells a person at a terminal; in a log file a bar becomes a line at its start and end."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None

    def say(self, sentence: str) -> None:
        """Write one sentence to stderr."""
        self.end()
        if not self.quiet:
            sys.stderr.write(f"  {sentence}\n")
            sys.stderr.flush()

    def bar(self, what: str) -> Callable[[int, int], None]:
        """Start a progress bar; it ends at done == total or when the next thing is told. Total 0 = nobody knows."""
        self.end()
        if self.quiet:
            return lambda done, total: None
        from tqdm import tqdm

        def update(done: int, total: int) -> None:
            if self._bar is None:
                if not done:
                    return
                self._bar = tqdm(total=total or None, desc=f"  {what}", file=sys.stderr, mininterval=0.5, leave=True)
            self._bar.total = max(total, done) if total else None
            self._bar.update(done - self._bar.n)
            if total and done >= total:
                self.end()

        return update

    def end(self) -> None:
        """Close the bar that is open, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def rows_out(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows to stdout: one JSON object a line, or a table with aligned columns."""
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=str) + "\n")
        return
    if not rows:
        return
    names = list(rows[0])
    cells = [[_shown(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    for line in [names, ["-" * width for width in widths], *cells]:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value)
