"""What stands out in a text: the words in which two records differ, the spans of a relation. Escaped HTML, pure.

Nothing of a text is markup here: every piece is escaped, and the only tags are ours.
"""

from __future__ import annotations

import html
import re
from difflib import SequenceMatcher
from functools import lru_cache

from toughcall.records import Relation, mark

WORDS = 2000
"""Longer texts are not compared: it takes time in the square of their length."""
SHARED = 1 / 3
"""Two records that share less of their words are simply different: all of them would be marked."""
MARKS = ('<mark class="tc-subject">', "</mark>", '<mark class="tc-object">', "</mark>")
LOOK = """<style>
.tc-record {white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55}
.tc-record mark {background: #14998c40; color: inherit; border-radius: 3px; padding: 0 1px}
.tc-record mark.tc-object {background: #d9622b40}
</style>"""
_WORD = re.compile(r"\w+|[^\w\s]+")


@lru_cache(maxsize=64)
def differing(a: str, b: str) -> tuple[str, str] | None:
    """Return both texts as HTML with the words marked that the other one lacks at that place.

    None where there is nothing to see: texts of more than `WORDS` words or signs, or that share less than `SHARED`
    of their words. Case is no difference. What matches is found as by Ratcliff and Metzener ("Pattern
    Matching: the Gestalt Approach", Dr. Dobb's Journal, July 1988), by `difflib`.
    """
    places = [[(one.start(), one.end()) for one in _WORD.finditer(text)] for text in (a, b)]
    if any(len(found) > WORDS for found in places):
        return None
    tokens = [[text[s:e].casefold() for s, e in found] for text, found in zip((a, b), places, strict=True)]
    blocks = SequenceMatcher(None, tokens[0], tokens[1], autojunk=False).get_opcodes()
    words = [sum(one[0].isalnum() for one in side) for side in tokens]
    same = sum(one[0].isalnum() for kind, i, j, _, _ in blocks if kind == "equal" for one in tokens[0][i:j])
    if 2 * same < SHARED * sum(words) or not same:
        return None
    apart = [one for one in blocks if one[0] != "equal"]
    return (
        _marked(a, [(places[0][i][0], places[0][j - 1][1]) for _, i, j, _, _ in apart if i < j]),
        _marked(b, [(places[1][i][0], places[1][j - 1][1]) for _, _, _, i, j in apart if i < j]),
    )


def _marked(text: str, spans: list[tuple[int, int]]) -> str:
    out, last = list[str](), 0
    for start, end in spans:
        out += [html.escape(text[last:start]), "<mark>", html.escape(text[start:end]), "</mark>"]
        last = end
    return "".join([*out, html.escape(text[last:])])


def spanned(item: Relation) -> str:
    """Return the text of a relation as HTML with its subject and its object marked."""
    return mark(item, MARKS, html.escape)


def record(marked: str) -> str:
    """Return a marked text as the HTML of one record."""
    return f'<div class="tc-record">{marked}</div>'
