"""Items: what makes two of them one, what an expert sees of them, what the encoder reads."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toughcall.records import Answer, Pair, Relation, Span, Text, mark

TEXT = Text("Ammonites lie in the Lias of Dorset.", "k1", "g1", "block", 3.5)
TAXON, STRAT, LOC = Span(0, 9, "TAXON"), Span(21, 25, "STRAT"), Span(29, 35, "LOC")
HERE = Relation(TEXT, TAXON, STRAT)


def test_the_id_of_a_relation_is_pinned() -> None:
    """C86: stored answers name their items by these ids: they may never change."""
    assert Relation(Text("a b"), Span(0, 1, "X"), Span(2, 3)).id == "82036ae8dbe6a614a6e633ab47610d97"
    assert Text("a").id == "56225cdd66f18e1f0f546f912459fac2"
    assert Pair(Text("a"), Text("b")).id == "0ecfd10dd007d1cad8820d429b87a297"


@pytest.mark.parametrize(
    "other",
    [
        Relation(TEXT, STRAT, TAXON),
        Relation(TEXT, TAXON, LOC),
        Relation(TEXT, Span(0, 9, "LOC"), STRAT),
        Relation(TEXT, TAXON, Span(21, 25)),
        Relation(TEXT, Span(0, 8, "TAXON"), STRAT),
        Relation(Text(TEXT.text, "k2"), TAXON, STRAT),
        Relation(Text(TEXT.text + " ", "k1"), TAXON, STRAT),
    ],
)
def test_another_question_is_another_relation(other: Relation) -> None:
    """The direction, the characters, the types and the record all belong to what is asked."""
    assert other.id != HERE.id


def test_group_block_and_time_do_not_make_a_relation() -> None:
    """What only decides about splits and pairs leaves the id of a text and of its relations."""
    assert Relation(Text(TEXT.text, "k1"), TAXON, STRAT).id == HERE.id
    assert Text(TEXT.text, "k1", "g1") == TEXT


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 3), (0, 37), (36, 40)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_span_lies_in_its_text(start: int, end: int, turned: bool) -> None:
    """A span that is empty or outside of the text is refused, as subject and as object."""
    bad = Span(start, end)
    with pytest.raises(ValueError, match=rf"characters {start} to {end} are not in a text of 36"):
        Relation(TEXT, *((bad, STRAT) if turned else (STRAT, bad)))


def test_a_relation_needs_two_spans() -> None:
    """The same characters twice are no relation, whatever their types; nested and touching ones are."""
    with pytest.raises(ValueError, match="two different spans"):
        Relation(TEXT, TAXON, Span(0, 9, "OTHER"))
    assert Relation(TEXT, TAXON, Span(0, 8)).ends == ("Ammonites", "Ammonite")
    assert Relation(TEXT, Span(0, 4), Span(4, 9)).ends == ("Ammo", "nites")


@pytest.mark.parametrize(
    ("subject", "object_", "marked"),
    [
        ((0, 1), (2, 3), "<a> (b) c"),
        ((2, 3), (0, 1), "(a) <b> c"),
        ((0, 3), (2, 3), "<a (b)> c"),
        ((2, 3), (0, 3), "(a <b>) c"),
        ((0, 1), (0, 5), "(<a> b c)"),
        ((0, 5), (0, 1), "<(a) b c>"),
        ((0, 5), (4, 5), "<a b (c)>"),
        ((0, 2), (2, 5), "<a >(b c)"),
        ((2, 5), (0, 2), "(a )<b c>"),
        ((0, 5), (2, 3), "<a (b) c>"),
    ],
)
def test_marks_open_and_close_around_their_spans(
    subject: tuple[int, int], object_: tuple[int, int], marked: str
) -> None:
    """Apart, touching, nested, with equal starts or equal ends: each mark stands at its span, the longer outside."""
    one = Relation(Text("a b c"), Span(*subject), Span(*object_))
    assert mark(one, "<>()") == marked
    assert one.marked == "".join(
        {"<": "[SUBJ] ", ">": " [/SUBJ]", "(": "[OBJ] ", ")": " [/OBJ]"}.get(sign, sign) for sign in marked
    )
    assert one.fields() == {"text": one.marked}


@given(st.text(min_size=2, max_size=20), st.data())
def test_marks_never_change_the_text(text: str, data: st.DataObject) -> None:
    """For any two spans, crossing ones too: without its marks the text is the text, and each mark is there once."""
    assume(not set(text) & set("<>()"))
    edges = st.lists(st.integers(0, len(text)), min_size=2, max_size=2, unique=True).map(sorted)
    subject, object_ = data.draw(edges), data.draw(edges)
    assume(subject != object_)
    one = Relation(Text(text), Span(*subject), Span(*object_))
    marked = mark(one, "<>()")
    assert re.sub("[<>()]", "", marked) == text
    assert all(marked.count(sign) == 1 for sign in "<>()")
    for opens, closes, end in (("<", ">", one.ends[0]), ("(", ")", one.ends[1])):
        inside = marked[marked.index(opens) + 1 : marked.index(closes)]
        assert re.sub("[<>()]", "", inside) == end


def test_escaping_reaches_the_text_and_not_the_marks() -> None:
    """What is applied to the pieces sees all of the text, and no mark."""
    one = Relation(Text("a<b & c"), Span(0, 3), Span(6, 7))
    seen: list[str] = []

    def escape(piece: str) -> str:
        seen.append(piece)
        return piece.replace("&", "&amp;").replace("<", "&lt;")

    assert mark(one, ("<b>", "</b>", "<i>", "</i>"), escape) == "<b>a&lt;b</b> &amp; <i>c</i>"
    assert "".join(seen) == "a<b & c"


def test_the_encoder_reads_the_text_and_what_joins_the_spans() -> None:
    """The second view has the types in the order of the text; spans without a type are "it"."""
    back = Relation(TEXT, STRAT, TAXON)
    assert HERE.views[0] == back.views[0] == TEXT
    assert HERE.views[1] == back.views[1] == Text("TAXON lie in the STRAT")
    assert Relation(TEXT, Span(0, 9), LOC).views[1] == Text("it lie in the Lias of LOC")
    assert Relation(TEXT, Span(0, 35, "ALL"), STRAT).views[1] == Text("ALL STRAT"), "nested: nothing joins them"
    assert HERE.texts == (TEXT,)
    assert TEXT.views == TEXT.texts == (TEXT,)
    pair = Pair(TEXT, Text("other"))
    assert pair.views == pair.texts == (pair.a, pair.b)


def test_what_an_expert_sees_of_each_item() -> None:
    """The names of the fields are those of the labelling interfaces."""
    pair = Pair(Text("x"), Text("y"))
    assert TEXT.fields() == {"text": TEXT.text}
    assert pair.fields() == {"text_a": pair.a.text, "text_b": pair.b.text}
    assert HERE.fields() == {"text": "[SUBJ] Ammonites [/SUBJ] lie in the [OBJ] Lias [/OBJ] of Dorset."}


def test_an_answer_has_changed_exactly_when_it_says_something_else() -> None:
    """C44, C49: another number is another content; the same numbers read back are the same."""
    said = Answer("k", "i", "ana", "label", ("a", ("mood", 4.0)), "b", "s")
    same = Answer("k", "i", "ana", "label", ("a", ("mood", 4.0)), "b2", "s2", at="later", seconds=3.0)
    other = Answer("k", "i", "ana", "label", ("a", ("mood", 4.5)), "b", "s")
    assert said.content == same.content != other.content
    assert said.content != Answer("k", "i", "ana", "label", ("a",), "b", "s").content
