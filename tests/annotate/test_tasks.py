"""Schema → interface, batch → tasks, value → result: nothing that the server or the editor would choke on."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.annotate.tasks import KEYS, LONGEST, labelling_config, to_result, to_tasks
from toughcall.records import CANT_TELL, NONE, Batch, Item, Pair, Pick, Text, UsageError
from toughcall.schema import Schema

HOSTILE = (
    'a<b & "c"',
    "it's",
    "true",
    "false",
    "$text",
    "$5 and $10",
    "]]>",
    "<!-- {",
    'name="text"',
    "<img src=x>",
    "Ünï 漢字 🙂",
    "can't tell",
    " spaced ",
)
KINDS = ("multiclass", "multilabel", "pair")

# as toughcall.project allows them: printable, up to 100, not starting with "__"
odd_labels = st.lists(
    st.text(
        st.characters(exclude_categories=["C", "Z"], include_characters=" \"'<>&$"), min_size=1, max_size=30
    ).filter(lambda one: one.strip() and not one.startswith("__")),
    min_size=2,
    max_size=8,
    unique=True,
)


def schema_of(kind: str, labels: tuple[str, ...] = HOSTILE, **more: object) -> Schema:
    return Schema(kind, labels, kind != "multilabel", **more)  # type: ignore[arg-type]


def stored(choice: ElementTree.Element) -> str:
    """What Label Studio 1.23 stores: the alias if there is one, else the value."""
    return choice.get("alias") or choice.get("value") or ""


def shown(choice: ElementTree.Element) -> str:
    span = ElementTree.fromstring(f"<p>{choice.get('html')}</p>")[0]
    return span.text or ""


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(labels=odd_labels)
def test_every_label_is_stored_and_shown_as_it_is(kind: str, labels: list[str]) -> None:
    """The interface parses; each choice stores the label itself and shows it literally."""
    root = ElementTree.fromstring(labelling_config(schema_of(kind, tuple(labels))))
    choices = root.findall(".//Choices[@name='answer']/Choice")
    special = [NONE, CANT_TELL] if kind == "multilabel" else [CANT_TELL]
    assert [stored(one) for one in choices] == [*labels, *special]
    assert [shown(one) for one in choices[: len(labels)]] == labels
    assert [shown(one) for one in choices[len(labels) :]] == ["none of these", "can't tell"][-len(special) :]


@pytest.mark.parametrize("kind", KINDS)
def test_the_editor_cannot_misread_a_hostile_schema(kind: str) -> None:
    """No attribute but value reads true or false, no value holds a $field, and names are unique (browser traps)."""
    hints = tuple("true" if n % 2 else f"hint $text <b>{n}</b>\n" for n in range(len(HOSTILE)))
    schema = schema_of(kind, guideline='Pay $text & <script>"x"</script>\nsecond line', hints=hints)
    config = labelling_config(schema)
    root = ElementTree.fromstring(config)
    for element in root.iter():
        for name, value in element.items():
            allowed = (element.tag, name) in {("Choice", "value"), ("Choices", "required"), ("Choices", "showInline")}
            assert allowed or value not in ("true", "false"), (element.tag, name)
            if element.tag in ("Choice", "Header") and name == "value":
                assert "$t" not in value
                assert "$5" not in value
        if element.tag == "Choice":
            tags = {inner.tag for inner in ElementTree.fromstring(f"<p>{element.get('html')}</p>").iter()}
            assert tags <= {"p", "span", "sup"}
    names = [e.get("name") for e in root.iter() if e.get("name")]
    assert len(set(names)) == len(names)
    style = root.findtext("Style") or ""
    assert not set("<>&") & set(style), "the editor reads the style as raw XML text"
    assert "Pay $\u2060text" in (root.find(".//Header").get("value") or "")  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_hot_keys_are_unique_and_x_is_cant_tell(kind: str) -> None:
    """1…9, 0, then letters; n is none of these, x can't tell; labels beyond the keys get none."""
    labels = tuple(f"label {n}" for n in range(40))
    choices = ElementTree.fromstring(labelling_config(schema_of(kind, labels))).findall(".//Choice")
    keys = [one.get("hotkey") for one in choices]
    assert keys[:11] == [*"1234567890", "q"]
    assert keys[len(KEYS)] is None
    used = [one for one in keys if one]
    assert len(set(used)) == len(used)
    assert choices[-1].get("hotkey") == "x"
    assert "u" not in used, "the editor's own key"


def test_a_hint_is_seen_only_where_it_says_more_than_the_label() -> None:
    """A hint that differs is visible under its label, escaped; an equal one is not repeated."""
    config = labelling_config(schema_of("multiclass", ("a", "b"), hints=("a", "means <b> & more")))
    first, second, _ = ElementTree.fromstring(config).findall(".//Choice")
    assert "tc-hint" not in (first.get("html") or "")
    assert first.get("hint") is None
    assert "means &lt;b&gt; &amp; more" in (second.get("html") or "")
    assert second.get("hint") == "means <b> & more"


@pytest.mark.parametrize("label", ["", NONE, CANT_TELL, "a\x00b", "\ud800"])
def test_a_label_that_cannot_be_shown_is_refused(label: str) -> None:
    """Reserved names and characters outside XML are a UsageError that says where to rename."""
    with pytest.raises(UsageError, match=r"\[labels\] in project.toml"):
        labelling_config(schema_of("multiclass", ("fine", label)))


@pytest.mark.parametrize("kind", ["ranking", "../x", ""])
def test_a_kind_without_template_is_refused(kind: str) -> None:
    """The error names the kind and what to set."""
    with pytest.raises(UsageError, match=r"project\.kind"):
        labelling_config(Schema(kind, ("a", "b"), True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sdk_accepts_the_interface_and_the_results(kind: str) -> None:
    """Label Studio's own validator takes config and results for a hostile label set, and refuses another label."""
    from label_studio_sdk.label_interface import LabelInterface

    schema = schema_of(kind, guideline="Read & decide.", hints=tuple(f"hint of {one}" for one in HOSTILE))
    interface = LabelInterface(labelling_config(schema))
    interface.validate()
    for values in [[one] for one in HOSTILE] + [[CANT_TELL]] + ([[], list(HOSTILE)] if kind == "multilabel" else []):
        result = to_result(schema, values)
        prediction = {"model_version": "m1", "score": 0.5, "result": result}
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert interface.validate_annotation({"result": result})
    wrong = to_result(schema, ["true"])
    wrong[0]["value"]["choices"] = ["no such label"]
    assert interface.validate_prediction({"model_version": "m1", "score": 0.5, "result": wrong}, return_errors=True)


def batch_of(items: list[Item], **more: object) -> Batch:
    picks = tuple(
        Pick(item.id, "uncertain", 0.5, rank, 0.25, "close call", **more)  # type: ignore[arg-type]
        for rank, item in enumerate(items)
    )
    return Batch("b001", "schema", "m1", picks)


def test_c34_one_bad_item_of_200_leaves_199() -> None:
    """C34: 199 tasks, 1 set aside with its id and reason."""
    items: list[Item] = [Text(f"text {n}") for n in range(199)] + [Text("bad \x00 text")]
    tasks, aside = to_tasks(batch_of(items), {one.id: one for one in items}, schema_of("multiclass"))
    assert len(tasks) == 199
    assert [(one.where, one.raw) for one in aside] == [(items[-1].id, "bad \x00 text")]
    assert "U+0000 at position 4" in aside[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\ud800", "U+D800"),
        ("\x1b[0m", "U+001B"),
        (" \n", "text is empty"),
        ("x" * (LONGEST + 1), "more than 1000000"),
    ],
)
def test_c34_text_that_would_poison_the_server_is_set_aside(text: str, reason: str) -> None:
    """C34: lone surrogates, controls, blank and endless texts never reach the server; raw stays short."""
    item = Text(text)
    tasks, aside = to_tasks(batch_of([item]), {item.id: item}, schema_of("multiclass"))
    assert tasks == []
    assert reason in aside[0].reason
    assert len(aside[0].raw) <= 200


def test_c34_missing_doubled_and_mismatched_items_are_set_aside() -> None:
    """C34: picks = tasks + set aside, for an item gone from the pool, one picked twice, a text in a pair project."""
    a, b, gone = Text("a"), Text("b"), Text("gone")
    pair = Pair(a, b)
    batch = batch_of([pair, gone, pair, a])
    tasks, aside = to_tasks(batch, {pair.id: pair, a.id: a}, schema_of("pair"))
    assert [task["data"]["uid"] for task in tasks] == [pair.id]
    assert [one.where for one in aside] == [gone.id, pair.id, a.id]
    assert len(tasks) + len(aside) == len(batch.picks)


def test_c38_a_score_that_is_no_number_is_not_sent() -> None:
    """C38: NaN or infinity in a pick is set aside; the rest stays strict JSON."""
    items: list[Item] = [Text("one"), Text("two"), Text("three")]
    good, nan, inf = (one.id for one in items)
    picks = (Pick(good, "r", 1.0, 0), Pick(nan, "r", float("nan"), 1), Pick(inf, "r", 1.0, 2, float("inf")))
    tasks, aside = to_tasks(Batch("b", "s", "m", picks), {one.id: one for one in items}, schema_of("multiclass"))
    assert [task["data"]["uid"] for task in tasks] == [good]
    assert {one.where for one in aside} == {nan, inf}
    json.dumps(tasks, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(ranks=st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True))
def test_scores_rise_with_the_rank_and_nothing_is_preselected(ranks: list[int]) -> None:
    """The lowest score is served first: scores lie strictly between 0 and 1, rise with the rank; results are empty."""
    items = {one.id: one for one in (Text(f"text {n}") for n in ranks)}
    picks = tuple(Pick(item, "r", 0.0, rank) for item, rank in zip(items, ranks, strict=True))
    schema = schema_of("multiclass")
    tasks, aside = to_tasks(Batch("b", schema.version, "m7", picks), items, schema)
    assert aside == []
    assert [task["meta"]["rank"] for task in tasks] == sorted(ranks)
    scores = [task["predictions"][0]["score"] for task in tasks]
    assert all(low < high for low, high in zip([0.0, *scores], [*scores, 1.0], strict=True))
    assert all(task["predictions"][0]["result"] == [] for task in tasks)
    assert {task["predictions"][0]["model_version"] for task in tasks} == {"m7"}


def test_a_task_carries_text_key_and_reasons() -> None:
    """What was picked, why, by which model and under which schema travels with the task; text is untouched (C78)."""
    item = Text("<script>alert(1)</script> $5 and $10 :red[x]\r\n\tend", key="k1")
    schema = schema_of("multiclass")
    tasks, _ = to_tasks(batch_of([item]), {item.id: item}, schema)
    assert tasks[0]["data"] == {"text": item.text, "uid": item.id, "batch": "b001"}
    assert tasks[0]["meta"] == {
        "reason": "uncertain",
        "rank": 0,
        "score": 0.5,
        "probability": 0.25,
        "note": "close call",
        "model": "m1",
        "schema": schema.version,
    }


def test_a_result_that_is_no_answer_cannot_be_made() -> None:
    """The server takes anything, so to_result refuses: unknown labels, none or two where one is due."""
    one, many = schema_of("multiclass", ("a", "b")), schema_of("multilabel", ("a", "b"))
    for schema, values in [(one, ["c"]), (one, []), (one, ["a", "b"]), (many, ["a", CANT_TELL]), (many, ["a", "a"])]:
        with pytest.raises(ValueError, match=r"label|choices"):
            to_result(schema, values)
    assert to_result(many, [])[0]["value"] == {"choices": [NONE]}
    assert to_result(many, ["b", "a"])[0]["value"] == {"choices": ["a", "b"]}
    assert to_result(schema_of("pair", ("a", "b")), ["a"])[0]["to_name"] == "text_a"
