"""[seeds] and [patterns] of project.toml: read, rendered, every mistake at once, refused where they make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from toughcall.model.kinds import KINDS
from toughcall.project import parse, render
from toughcall.records import UsageError
from toughcall.settings import Project
from toughcall.workspace import schema_of

HEAD = 'format = 1\n[project]\nname = "p"\n'
LABELS = '[labels]\nin = "in it"\nNO_RELATION = ""\n'
SEEDS = '[seeds]\nin = ["it lies in the bed", "was found in"]\n'
PATTERNS = "[patterns]\nin = ['found (in|at) the', '\\bin\\b']\n"


def read(kind: str, more: str) -> Project:
    return parse(f'{HEAD}kind = "{kind}"\n{more}', Path("p"), KINDS)


def mistakes(kind: str, more: str) -> list[str]:
    """The mistakes of a file, one each."""
    with pytest.raises(UsageError) as caught:
        read(kind, more)
    return str(caught.value).split("\n  - ")[1:]


@pytest.mark.parametrize("kind", ["multilabel", "multiclass", "relation"])
def test_phrases_and_patterns_of_a_rare_class(kind: str) -> None:
    """Both tables are read in the order of the file, rendered, read back, and no part of the schema's version."""
    made = read(kind, LABELS + SEEDS + PATTERNS)
    assert made.seeds == (("in", ("it lies in the bed", "was found in")),)
    assert made.patterns == (("in", ("found (in|at) the", r"\bin\b")),)
    assert schema_of(made).version == schema_of(read(kind, LABELS)).version
    plain = read(kind, LABELS)
    assert (plain.seeds, plain.patterns) == ((), ())
    asked = {"labels": {"in": "in it", "NO_RELATION": ""}, "seeds": dict(made.seeds), "patterns": dict(made.patterns)}
    again = parse(render("p", kind, asked, {}, quotas=KINDS[kind].quotas), Path("p"), KINDS)
    assert (again.seeds, again.patterns) == (made.seeds, made.patterns)


def test_every_mistake_in_phrases_and_patterns_is_told_at_once() -> None:
    """Unknown labels with the nearest word, wrong shapes, what is there twice, and what RE2 does not take, by name."""
    text = (
        LABELS + '[seeds]\ninn = ["a"]\nin = "a phrase"\nNO_RELATION = ["a", "b", "a"]\n'
        "[patterns]\nNO_RELATON = ['x']\nin = ['a(', 'fine', '(?=look)a', '(a)\\1', '(a{1000}){1000}']\n"
        "NO_RELATION = ['  ']\n"
    )
    no = "which has no look-around and no back-references"
    assert sorted(mistakes("multiclass", text)) == sorted(
        [
            "seeds names 'inn', which is no label (did you mean 'in'?)",
            'seeds.in must be a list of texts like ["one", "another"], not \'a phrase\'',
            "seeds.NO_RELATION holds 'a' twice: once is enough",
            "patterns names 'NO_RELATON', which is no label (did you mean 'NO_RELATION'?)",
            f"patterns.in: 'a(' is no regular expression for RE2 (missing ): a(), {no}",
            f"patterns.in: '(?=look)a' is no regular expression for RE2 (invalid perl operator: (?=), {no}",
            f"patterns.in: '(a)\\\\1' is no regular expression for RE2 (invalid escape sequence: \\1), {no}",
            "patterns.in: '(a{1000}){1000}' is no regular expression for RE2 "
            f"(invalid repetition size: {{1000}}), {no}",
            'patterns.NO_RELATION must be a list of texts like ["one", "another"], not [\'  \']',
        ]
    )
    assert mistakes("multiclass", LABELS + "[patterns]\nin = []\n") == [
        'patterns.in must be a list of texts like ["one", "another"], not []'
    ]


def test_phrases_and_patterns_where_they_make_no_sense() -> None:
    """Numbers have no rare class; one phrase is no example of a pair, a pattern that both records match may be."""
    pair = "[patterns]\nsimilar = ['pump']\n"
    assert read("pair", pair).patterns == (("similar", ("pump",)),)
    assert mistakes("pair", "[seeds]\nsimilar = ['pump']\n") == [
        "kind pair asks about two records: one phrase is no example of that, take [seeds] out"
    ]
    assert mistakes("pair", "[patterns]\nsimilr = ['pump']\n") == [
        "patterns names 'similr', which is no label (did you mean 'similar'?)"
    ]
    assert mistakes(
        "scores", "[dimensions.mood]\nlow = -4\n[seeds]\nmood = ['pump']\n" + "[patterns]\nmood = ['pump']\n"
    ) == [
        "seeds names 'mood', which is no label",
        "patterns names 'mood', which is no label",
        "kind scores asks for numbers: no class is rare there, take [seeds] out",
        "kind scores asks for numbers: no class is rare there, take [patterns] out",
    ]
