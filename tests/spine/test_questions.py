"""What a project asks: every table read, every mistake at once, what a kind does not ask for refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall import project as projects
from toughcall.model.kinds import KINDS
from toughcall.project import parse, render
from toughcall.questions import TABLES
from toughcall.records import UsageError
from toughcall.schema import Dimension, Tiers
from toughcall.settings import Project
from toughcall.workspace import schema_of

HEAD = 'format = 1\n[project]\nname = "p"\n'
LABELS = '[labels]\nin = "in it"\nNO_RELATION = ""\n'
TWO = "[dimensions.mood]\nlow = -4\nhigh = 4\nstep = 0.5\n[dimensions.force]\nweight = 0.25\nhint = 'how hard'\n"
GOOD = {
    "multilabel": LABELS,
    "multiclass": LABELS + '[taxonomy]\nup = ["NO_RELATION"]\ndown = ["in"]\n',
    "relation": LABELS + '[types]\nin = [["A", "B"], ["B", "B"]]\n',
    "pair": "[labels]\nsame = ''\nother = ''\n[dimensions.grade]\nhigh = 1\n",
    "scores": TWO + "[tiers]\ngood = 2.5\nbad = -4\n[gatekeeper]\ndimension = 'mood'\nleast = 0\n",
}


def read(kind: str, more: str, head: str = "") -> Project:
    return parse(f'{HEAD}kind = "{kind}"\n{head}{more}', Path("p"), KINDS)


def mistakes(kind: str, more: str, head: str = "") -> list[str]:
    """The mistakes of a file, one each."""
    with pytest.raises(UsageError) as caught:
        read(kind, more, head)
    count, *listed = str(caught.value).split("\n  - ")
    assert count.endswith(f"has {len(listed)} mistake{'s' * (len(listed) > 1)}:")
    return listed


def test_a_good_file_of_each_kind() -> None:
    """Labels, nested labels, types, dimensions with their defaults, tiers lowest first, the kind's own quotas."""
    many, nested, related, alike, scored = (read(kind, GOOD[kind]) for kind in GOOD)
    assert (many.labels, many.hints) == (("in", "NO_RELATION"), ("in it", "NO_RELATION"))
    assert nested.coarse == ("down", "up")
    assert (many.coarse, many.types, many.dimensions, many.tiers) == ((), (), (), Tiers())
    assert related.types == (("in", (("A", "B"), ("B", "B"))),)
    assert alike.dimensions == (Dimension("grade", 0, 1),)
    assert scored.dimensions == (
        Dimension("mood", -4, 4, 1, "", 0.5),
        Dimension("force", 0, 10, 0.25, "how hard", 0),
    )
    assert scored.tiers == Tiers((("bad", -4.0), ("good", 2.5)), "mood", 0.0)
    assert [dict(read(kind, GOOD[kind]).mine.quotas) for kind in GOOD] == [dict(KINDS[kind].quotas) for kind in GOOD]


def test_the_null_label() -> None:
    """The null label is the kind's own where it is there, the one that is named, or none; a stranger is refused."""
    other = "[labels]\nyes = ''\nno = ''\n"
    assert schema_of(read("relation", LABELS)).null == "NO_RELATION"
    assert schema_of(read("relation", other)).null == "", "nobody has to have one"
    assert schema_of(read("relation", other, 'null = "no"\n')).null == "no"
    assert schema_of(read("multiclass", LABELS)).null == ""
    assert mistakes("relation", other, 'null = "now"\n') == [
        "project.null names 'now', which is no label (did you mean 'no'?): add it under [labels]"
    ]
    assert mistakes("multiclass", other, "null = 5\n") == ["project.null must be a str, not 5"]


def test_every_mistake_of_a_relation_is_told_at_once_with_the_nearest_word() -> None:
    """Labels, types and the null label: all in one run."""
    text = (
        '[labels]\nfound_at = 1\n"a\\nb" = ""\n[types]\nfound_a = [["A", "B"]]\nfound_at = [["A"]]\n'
        '[dimensions.mood]\nlow = 0\n[taxonomy]\nup = ["found_at", "foundat", "found_at"]\n"" = []\n'
        "[tiers]\na = 1\n[gatekeeper]\nleast = 1\n"
    )
    assert sorted(mistakes("relation", text, 'null = "found"\n')) == sorted(
        [
            "labels.found_at must be a description in quotes, not 1",
            "labels.'a\\nb' is not a label: 1 to 100 printable characters, not starting with '__'",
            "types names 'found_a', which is no label (did you mean 'found_at'?)",
            'types.found_at must be a list of pairs like [["TAXON", "STRAT"]], not [[\'A\']]',
            "taxonomy.up names 'foundat', which is no label (did you mean 'found_at'?)",
            "taxonomy puts 'found_at' under 'up' and 'up': one place each",
            "taxonomy. must be a list of labels, not []",
            "taxonomy has no place for a\nb: every label needs one",
            "[gatekeeper] needs dimension (one of mood) and least, a number",
            "kind relation asks for labels alone: take [dimensions] out",
            "kind relation has no nested labels: take [taxonomy] out",
            "project.null names 'found', which is no label (did you mean 'found_at'?): add it under [labels]",
        ]
    )


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("[dimensions.mood]\nhihg = 3\n", "unknown key dimensions.mood.hihg (did you mean 'high'?)"),
        ("[dimensions.mood]\nlow = '0'\n", "dimensions.mood.low must be a number, not '0'"),
        ("[dimensions.mood]\nweight = true\n", "dimensions.mood.weight must be a number, not True"),
        ("[dimensions.mood]\nhigh = inf\n", "dimensions.mood.high must be a number, not inf"),
        ("[dimensions.mood]\nstep = nan\n", "dimensions.mood.step must be a number, not nan"),
        ("[dimensions.mood]\nhint = 3\n", "dimensions.mood.hint must be a text, not 3"),
        ("[dimensions.mood]\nlow = 10\n", "dimensions.mood needs low below high, and weight and step from 0"),
        ("[dimensions.mood]\nstep = -1\n", "dimensions.mood needs low below high, and weight and step from 0"),
        ("[dimensions.mood]\nweight = 0\n", "[dimensions] needs at least one weight above 0"),
        ("[dimensions]\nmood = 3\n", "[dimensions.mood] must be a table with low and high"),
        ('[dimensions."__x"]\nlow = 0\n', "dimensions.__x is not a name for a dimension: 1 to 100 printable"),
        ("[dimensions.uid]\nlow = 0\n", "dimensions.uid is not a name for a dimension"),
        ("[tiers]\na = 1\nb = 2\n", "[tiers] needs at least two tiers, and [dimensions] to compute the score from"),
        ("", "kind scores needs [dimensions.NAME] with low and high"),
        (TWO + "[tiers]\na = 1\n", "[tiers] needs at least two tiers"),
        (TWO + "[tiers]\na = 1\nb = true\n", "[tiers] must be a table of name = least weighted score"),
        (TWO + "[tiers]\na = 1\nb = 1.0\n", "[tiers] holds two tiers that begin at the same score"),
        (TWO + "[gatekeeper]\ndimension = 'mood'\n", "[gatekeeper] needs [tiers]"),
        (
            TWO + "[tiers]\na=1\nb=2\n[gatekeeper]\ndimension='mod'\n",
            "[gatekeeper] needs dimension (one of mood, force)",
        ),
        (
            TWO + "[tiers]\na=1\nb=2\n[gatekeeper]\ndimension='mood'\nleats=1\n",
            "gatekeeper.leats (did you mean 'least'?)",
        ),
        (TWO + LABELS, "kind scores asks for numbers: take [labels] out"),
    ],
)
def test_a_mistake_in_the_numbers(more: str, says: str) -> None:
    """What is wrong about a dimension, a tier or the gatekeeper is said with its name, and is never a traceback."""
    assert any(says in one for one in mistakes("scores", more))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_table_that_is_none(kind: str, table: str) -> None:
    """A number where a table is due is one sentence for every kind."""
    with pytest.raises(UsageError, match=rf"\[{table}\] must be a table"):
        parse(f'{table} = 5\n{HEAD}kind = "{kind}"\n', Path("p"), KINDS)


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("multiclass", LABELS + TWO, "kind multiclass asks for labels alone: take [dimensions] out"),
        ("multilabel", LABELS + TWO, "kind multilabel asks for labels alone: take [dimensions] out"),
        ("multiclass", LABELS + '[types]\nin = [["A", "B"]]\n', "kind multiclass has no typed spans: take [types] out"),
        ("pair", '[types]\nsimilar = [["A", "B"]]\n', "kind pair has no typed spans: take [types] out"),
        ("scores", TWO + '[types]\nx = [["A", "B"]]\n', "kind scores has no typed spans: take [types] out"),
        ("scores", TWO + "[taxonomy]\nx = []\n", "kind scores has no nested labels: take [taxonomy] out"),
        ("pair", "[labels]\na=''\nb=''\nc=''\n", "kind pair asks which of 2 labels it is: [labels] names 3"),
        ("pair", "[labels]\na=''\nb=''\n[dimensions.a]\n", "a: a label and a dimension need two different names"),
    ],
)
def test_a_kind_refuses_what_it_does_not_ask_for(kind: str, more: str, says: str) -> None:
    """A table that a kind would ignore is a mistake, not a silent nothing."""
    assert says in mistakes(kind, more)


CHARS = st.characters(exclude_categories=["Cs"])
NAMES = st.text(CHARS, min_size=1, max_size=12).filter(
    lambda name: (
        bool(name.strip())
        and name.isprintable()
        and not name.startswith("__")
        and name not in ("answer", "text", "uid", "batch")
    )
)
HOSTILE = st.sampled_from(
    ['say "hi"', "it's; DROP", "a.b", "[x]", "#", "=", "\\", "\u2066x", "ünïcödé 👩", "a = 1", "labels", "''", '"""']
).filter(str.isprintable)
ANY_NAME = NAMES | HOSTILE
ANYTHING = st.text(CHARS, max_size=30)
NUMBERS = st.floats(-1e6, 1e6) | st.integers(-100, 100)


@st.composite
def asked(draw: st.DrawFn, kind: str) -> dict[str, dict[str, Any]]:
    """The tables of a project of one kind, whatever the names are."""
    made: dict[str, dict[str, Any]] = {}
    one = KINDS[kind]
    if one.labelled:
        most = 2 if one.default_labels else 4
        made["labels"] = draw(st.dictionaries(ANY_NAME, ANYTHING, min_size=2, max_size=most))
    labels = list(made.get("labels", ()))
    if one.numbered:
        low, weight = draw(NUMBERS), draw(st.floats(0.1, 9))
        plain = {"low": low, "high": low + draw(st.floats(0.5, 99)), "weight": weight, "step": draw(st.floats(0, 2))}
        names = draw(st.lists(ANY_NAME.filter(lambda name: name not in labels), min_size=1, max_size=3, unique=True))
        made["dimensions"] = {name: {**plain, "hint": draw(ANYTHING)} for name in names}
        least = draw(st.lists(NUMBERS, min_size=2, max_size=3, unique_by=float))
        made["tiers"] = dict(zip("bca", least, strict=False)) | {draw(ANY_NAME): max(least) + 1}
        made["gatekeeper"] = {"dimension": draw(st.sampled_from(names)), "least": draw(NUMBERS)}
    if one.spanned:
        made["types"] = {draw(st.sampled_from(labels)): [[draw(ANY_NAME), draw(ANY_NAME)]]}
    if kind == "multiclass":
        made["taxonomy"] = {"first": labels[:1], draw(ANY_NAME.filter(lambda name: name != "first")): labels[1:]}
    return made


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(data=st.data(), guideline=ANYTHING)
@settings(max_examples=60, deadline=None)
def test_what_is_rendered_reads_back(kind: str, data: st.DataObject, guideline: str) -> None:
    """Whatever characters names and hints hold, and whatever the numbers: render → parse gives every table back."""
    tables = data.draw(asked(kind))
    labels = tables.get("labels", {})
    null = data.draw(st.sampled_from(["", *labels]))
    one = KINDS[kind]
    text = render("p", kind, tables, {"text": "t"}, guideline=guideline, null=null, quotas=one.quotas)
    made = parse(text, Path("p"), KINDS)
    assert (made.kind, made.guideline, made.null, made.mine.quotas) == (kind, guideline, null, one.quotas)
    assert (made.labels, made.hints) == (tuple(labels), tuple(hint or label for label, hint in labels.items()))
    assert made.dimensions == tuple(Dimension(name, **table) for name, table in tables.get("dimensions", {}).items())
    assert dict(made.tiers.names) == tables.get("tiers", {})
    assert [least for _, least in made.tiers.names] == sorted(tables.get("tiers", {}).values())
    if keeper := tables.get("gatekeeper"):
        assert (made.tiers.gatekeeper, made.tiers.least) == (keeper["dimension"], keeper["least"])
    assert {label: [list(pair) for pair in pairs] for label, pairs in made.types} == tables.get("types", {})
    homes = {child: parent for parent, children in tables.get("taxonomy", {}).items() for child in children}
    assert made.coarse == tuple(homes.get(label, "") for label in labels if homes)
    assert render("p", kind, tables, {"text": "t"}, guideline=guideline, null=null, quotas=one.quotas) == text


def test_the_ready_files_are_good() -> None:
    """Every data/<set>/project.toml that is installed with the tool reads, and is of a kind there is."""
    found = sorted((Path(projects.__file__).parent / "data").glob("*/project.toml"))
    made = {projects.parse(path.read_text("utf-8"), path.parent, KINDS).kind for path in found}
    assert made == set(KINDS)
