"""Words that somebody else wrote, where Streamlit reads Markdown: shown letter by letter, never obeyed (C78)."""

from __future__ import annotations

import re

MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&^=@\"'/])")


def literal(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, on one line.

    Every mark is escaped; after a colon and an @ stands an invisible word joiner, since Streamlit turns `:smile:`
    and `:material/x:` into pictures and addresses into links even when these are escaped.
    """
    one_line = " ".join(text.split())
    return MARKS.sub(r"\\\1", one_line).replace("\\:", "\\:\u2060").replace("\\@", "\\@\u2060")


def short(text: str, most: int = 160) -> str:
    """Return the start of `text` on one line, with an ellipsis when something is left out."""
    one_line = " ".join(text[: 4 * most].split())
    return one_line if len(one_line) <= most and len(text) <= 4 * most else one_line[: most - 1].rstrip() + "…"
