"""Marked texts, choices per task, number fields and nested labels: what an expert sees is what is asked."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.annotate.interface import differences
from toughcall.annotate.tasks import KEYS, labelling_config, shown, target, to_result, to_tasks
from toughcall.records import CANT_TELL, Batch, Item, Pair, Pick, Relation, Span, Text, UsageError
from toughcall.schema import Dimension, Schema

TYPES = (("occurs_in", (("TAXON", "STRAT"),)), ("above", (("STRAT", "STRAT"),)))
RELATION = Schema("relation", ("occurs_in", "above", "none"), True, null="none", types=TYPES)
GRADE = Dimension("How alike?", 0, 5, hint="5 = the same")
PAIR = Schema("pair", ("same", "other"), True, dimensions=(GRADE,))
SCORES = Schema("scores", (), True, dimensions=(Dimension("Clarity"), Dimension("x $text", -1.5, 1e-7, step=0.25)))
COARSE = Schema("multiclass", ("joy", "rage", "pride", "grief"), True, coarse=("good", "bad", "good", "bad"))
SCHEMAS = (RELATION, PAIR, SCORES, COARSE)


def relation(text: str, *spans: tuple[int, int, str]) -> Relation:
    return Relation(Text(text), *(Span(*span) for span in spans))


def root_of(schema: Schema) -> ElementTree.Element:
    return ElementTree.fromstring(labelling_config(schema))


spans = st.text("ab<&>\"' \n$5é🙂", min_size=2, max_size=12).flatmap(
    lambda text: st.tuples(
        st.just(text), *[st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))) for _ in "so"]
    )
)


@settings(max_examples=300, deadline=None)
@given(spans)
def test_a_marked_text_is_well_formed_and_says_what_the_text_says(
    drawn: tuple[str, tuple[int, int], tuple[int, int]],
) -> None:
    """Apart, nested, crossing or touching: read as HTML it is the text, and each colour covers its span exactly."""
    text, *ends = drawn
    pairs = [(min(a, b - 1), max(a + 1, b)) for a, b in ends]
    if pairs[0] == pairs[1]:
        return
    item = relation(text, (*pairs[0], "A"), (*pairs[1], "B"))
    made = shown(item, RELATION)["html"]
    root = ElementTree.fromstring(f"<p>{made}</p>")
    assert "".join(root.itertext()) == text
    covered: dict[str, str] = {"tc-subj": "", "tc-obj": ""}

    def walk(element: ElementTree.Element, inside: frozenset[str]) -> None:
        inside |= {element.get("class", "")} - {""}
        for part in [element.text or "", *element]:
            if isinstance(part, str):
                for name in inside:
                    covered[name] += part
                continue
            walk(part, inside)
            for name in inside:
                covered[name] += part.tail or ""

    walk(root, frozenset())
    assert (covered["tc-subj"], covered["tc-obj"]) == item.ends


def test_a_relation_shows_its_direction_and_its_own_choices() -> None:
    """Subject → object with types; only legal labels, under the same key in every task, and can't tell."""
    text = "Trilobites & <b> in the\nLias above the Trias for $5"
    a, b, c = ((text.index(w), text.index(w) + len(w)) for w in ("Trilobites", "the\nLias", "Trias"))
    first = shown(relation(text, (*a, "TAXON"), (*b, "STRAT")), RELATION)
    second = shown(relation(text, (*c, "STRAT"), (*b, "STRAT")), RELATION)
    assert first["text"] == text
    assert (first["subject"], first["object"]) == ("Trilobites (TAXON)", "the Lias (STRAT)")
    assert first["question"] == "Trilobites (TAXON) → the Lias (STRAT)"
    assert second["question"] == "Trias (STRAT) → the Lias (STRAT)"
    assert first["html"].startswith(
        '<span class="tc-subj">Trilobites</span> &amp; &lt;b&gt; in <span class="tc-obj">the'
    )
    keys = [[(one["alias"], one["hotkey"]) for one in task["options"]] for task in (first, second)]
    assert keys[0] == [("occurs_in", "1"), ("none", "3"), (CANT_TELL, "x")]
    assert keys[1] == [("above", "2"), ("none", "3"), (CANT_TELL, "x")]
    assert shown(relation("ab", (0, 1, ""), (1, 2, "")), RELATION)["question"] == "a → b"


def test_texts_and_pairs_are_shown_as_they_are() -> None:
    """What is not marked goes out unchanged, and answers point to the first pane of the template."""
    one, two = Text("a <b>"), Text("$5")
    assert shown(one, SCORES) == {"text": "a <b>"}
    assert shown(Pair(one, two), PAIR) == Pair(one, two).fields()
    assert [target(schema) for schema in SCHEMAS] == ["html", "text_a", "text", "text"]
    assert target(Schema("multilabel", ("a",), False)) == "text"


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.kind)
def test_the_sdk_accepts_interface_and_results(schema: Schema) -> None:
    """Label Studio's own validator takes every kind's interface, and results with labels, numbers and can't tell."""
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(labelling_config(schema))
    interface.validate()
    numbers = tuple((one.name, float(one.low)) for one in schema.dimensions)
    for value in ((*schema.labels[:1], *numbers), (CANT_TELL,)):
        result = to_result(schema, value)
        prediction = {"model_version": "m1", "score": 0.5, "result": result}
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert interface.validate_annotation({"result": result})


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.kind)
def test_the_editor_cannot_misread_it(schema: Schema) -> None:
    """No attribute but value, required, showInline and inline reads true or false; names are unique; CSS is raw."""
    root = root_of(replace(schema, guideline="true"))
    for element in root.iter():
        for name, value in element.items():
            assert name in ("value", "required", "showInline", "inline") or value not in ("true", "false")
    names = [one.get("name") for one in root.iter() if one.get("name")]
    assert len(set(names)) == len(names)
    assert [one.tag for one in root].count("Style") == 1
    assert not set("<>&") & set(root.findtext("Style") or "")


def test_number_fields_are_empty_and_bounded() -> None:
    """One per dimension by its place, from low to high on its grid; not pre-filled, not required, and without a key."""
    root = root_of(SCORES)
    fields = [dict(one.items()) for one in root.iter("Number")]
    keys = [one.pop("hotkey") for one in fields]
    assert [unicodedata.category(key) for key in keys] == ["Co"] * len(set(keys)) == ["Co"] * 2
    assert fields == [
        {"name": "d0", "toName": "text", "min": "0", "max": "10", "step": "any"},
        {"name": "d1", "toName": "text", "min": "-1.5", "max": "1e-07", "step": "0.25"},
    ]
    words = [one.get("value") for one in root.iter("Header")]
    assert words == ["Clarity", "0 to 10", "x $\u2060text", "-1.5 to 1e-07, step 0.25"]
    (choices,) = root.iter("Choices")
    assert choices.get("required") is None
    assert [(one.get("alias"), one.get("hotkey")) for one in choices] == [(CANT_TELL, "x")]


def test_a_grade_stands_under_the_choices() -> None:
    """Where labels and numbers are asked, no hot key is a digit: a numeric keypad would press it from a field."""
    root = root_of(PAIR)
    order = [one.get("name") for one in root.iter() if one.get("toName")]
    assert order == ["answer", "d0"]
    assert [one.get("hotkey") for one in root.iter("Choice")] == [*KEYS[10:12], "x"]
    assert [one.get("hotkey") for one in root_of(replace(PAIR, dimensions=())).iter("Choice")] == ["1", "2", "x"]
    assert not list(root_of(replace(PAIR, dimensions=())).iter("Number"))


def test_nested_labels_stand_under_their_coarse_class() -> None:
    """Groups in order of first appearance; key and stored string of a label stay those of its place."""
    choices = root_of(COARSE).find(".//Choices")
    assert choices is not None
    groups = {one[0].get("value"): [(c.get("alias"), c.get("hotkey")) for c in one[1:]] for one in choices.iter("View")}
    assert groups == {"good": [("joy", "1"), ("pride", "3")], "bad": [("rage", "2"), ("grief", "4")]}
    assert choices[-1].get("alias") == CANT_TELL
    plain = labelling_config(replace(COARSE, coarse=()))
    assert differences(labelling_config(COARSE), plain) == []


def test_a_damaged_template_is_told() -> None:
    """A file of the folder that is no interface is not taken for one."""
    with pytest.raises(UsageError, match=r"project\.kind"):
        labelling_config(Schema("tc-style", ("a",), True))


def sent(item: Item, schema: Schema) -> str:
    """Why the item's task is not made, "" when it is."""
    batch = Batch("b001", schema.version, "m1", (Pick(item.id, "r", 0.5, 0),))
    tasks, aside = to_tasks(batch, {item.id: item}, schema)
    assert len(tasks) + len(aside) == 1
    return aside[0].reason if aside else ""


def test_an_item_of_another_kind_is_not_shown_in_part() -> None:
    """A relation never appears without its marks, nor a text or a pair where marks are due."""
    item, text = relation("a b", (0, 1, ""), (2, 3, "")), Text("a b")
    pair = Pair(text, Text("c"))
    plain = Schema("multiclass", ("a", "b"), True)
    assert [sent(item, RELATION), sent(pair, PAIR), sent(text, SCORES), sent(text, plain)] == [""] * 4
    for wrong, schema in (
        (item, plain),
        (item, SCORES),
        (item, PAIR),
        (text, RELATION),
        (pair, RELATION),
        (text, PAIR),
    ):
        assert "the interface shows" in sent(wrong, schema)
    assert "U+0001" in sent(relation("a \x01 b", (0, 1, ""), (2, 3, "")), RELATION)
    assert sent(relation("a   b", (1, 3, ""), (4, 5, "")), RELATION) == "subject is empty"
    typed = replace(RELATION, labels=RELATION.labels[:2], null="")
    assert sent(item, typed) == "no label is legal for the types of its two spans"


def changed(schema: Schema, *swaps: tuple[str, str]) -> list[str]:
    """What differs after somebody edited the interface in Label Studio."""
    ours = theirs = labelling_config(schema)
    for old, new in swaps:
        assert old in theirs
        theirs = theirs.replace(old, new)
    assert differences(ours, ours) == []
    return differences(ours, theirs)


def test_c36_what_somebody_changed_about_numbers_is_found() -> None:
    """C36: a renamed dimension, another range, a lost or foreign field; not a hint, a step or the layout."""
    assert changed(SCORES, ('"Clarity"', '"Style"')) == ["'d0' asks for 'Style' there, for 'Clarity' here"]
    assert changed(SCORES, ('max="10"', 'max="5"')) == ["'d0' goes from 0.0 to 5.0 there, 0.0 to 10.0 here"]
    assert changed(SCORES, ('min="0"', "")) == ["'d0' goes from no limit to 10.0 there, 0.0 to 10.0 here"]
    assert changed(SCORES, ('max="10"', 'max="10.0"'), ('"0.25"', '"0.5"'), ("tc-number", "other")) == []
    assert changed(SCORES, ('name="d1"', 'name="e"')) == [
        "the control 'd1' is missing there",
        "the control 'e' is only there",
    ]
    fewer = labelling_config(replace(SCORES, dimensions=SCORES.dimensions[:1]))
    assert differences(labelling_config(SCORES), fewer) == ["the control 'd1' is missing there"]
    assert changed(PAIR, ("5 = the same", "words"), ("0 to 5", "from 0 to 5")) == []


def test_c36_what_somebody_changed_about_a_relation_is_found() -> None:
    """C36: choices from elsewhere, another text, subject and object in each other's place; labels are in the tasks."""
    assert changed(RELATION, ('value="$options"', 'value="$others"')) == [
        "'answer' takes its labels from $others there"
    ]
    assert changed(RELATION, ('value="$html"', 'value="$text"')) == ["the field 'html' shows $text there"]
    swapped = (("$subject", "$tmp"), ("$object", "$subject"), ("$tmp", "$object"))
    assert changed(RELATION, *swapped) == ["the field 'headers' shows $object $subject there"]
    more = replace(RELATION, labels=(*RELATION.labels, "new"), guideline="Costs $5.")
    assert differences(labelling_config(RELATION), labelling_config(more)) == []
