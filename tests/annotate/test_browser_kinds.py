"""Every kind in a real browser: what is shown, answered by keyboard alone, and read back exactly.

With TOUGHCALL_PICTURES=FOLDER the filled-in answers are also saved there as task-KIND.png.
"""

from __future__ import annotations

import os
import string
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes.browser import CHROMIUM, MISSING
from fakes.expert import exported

from toughcall.annotate import server, sync
from toughcall.annotate.answers import read_answers
from toughcall.annotate.studio import Studio
from toughcall.annotate.tasks import labelling_config, shown, to_tasks
from toughcall.records import Answer, Batch, Item, Pair, Pick, Relation, SetAside, Span, Text, Value
from toughcall.schema import Dimension, Schema

pytestmark = [
    pytest.mark.studio,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]


def marked(text: str, *ends: tuple[str, str]) -> Relation:
    """Return the relation between the first places where two words stand, each with its type."""
    spans = [Span(text.index(words), text.index(words) + len(words), kind) for words, kind in ends]
    return Relation(Text(text), *spans)


@dataclass(frozen=True)
class Work:
    """A schema, an item, the keys that answer it (choices, then number fields from the first on), and the value."""

    schema: Schema
    item: Item
    keys: str
    numbers: Sequence[str]
    value: Value


CLAUSES = Schema(
    "multilabel",
    ("collection", "use", "sharing", "retention", "security", "choice", "children"),
    False,
    "Tick everything the clause speaks of. A purpose counts only when it is named.",
    (
        "which data are gathered, and how",
        "what they are used for",
        "who else gets them",
        "how long they are kept",
        "how they are protected",
        "what the user may refuse or ask for",
        "what holds for minors",
    ),
)
CLAUSE = Text(
    'When you fill in a form (even one that begins with <script> or ends with "&amp;"), we collect your name & '
    "e-mail address. We keep them for two years, or until you have spent $5 or more.\n\n"
    "We share them with partners who deliver your orders; each of them has signed that it will not use them for "
    "anything else. You may object at any time: write to us, and we stop within 14 days."
)
HOMES = {
    "positive": ("admiration", "amusement", "gratitude", "joy", "love", "relief"),
    "negative": ("anger", "annoyance", "disappointment", "fear", "grief", "sadness"),
    "ambiguous": ("confusion", "curiosity", "surprise"),
    "neutral": ("neutral",),
}
FEELINGS = Schema(
    "multiclass",
    tuple(label for labels in HOMES.values() for label in labels),
    True,
    "Which feeling does the author show most?",
    coarse=tuple(home for home, labels in HOMES.items() for _ in labels),
)
COMMENT = Text('I typed <script>alert("hi")</script> & it WORKED. $5 well spent, thank you so much!!')
STRATA = Schema(
    "relation",
    ("occurs_in", "overlies", "correlates_with", "no_relation"),
    True,
    "What does the text say of these two, read from left to right? Background knowledge does not count.",
    ("the taxon is found in the unit", "lies directly above", "is of the same age", "nothing of these is said"),
    null="no_relation",
    types=(
        ("occurs_in", (("TAXON", "STRAT"),)),
        ("overlies", (("STRAT", "STRAT"),)),
        ("correlates_with", (("STRAT", "STRAT"),)),
    ),
)
SECTION = (
    "In the quarry the Posidonia Shale rests on the Amaltheen Clay, whose top holds Pleuroceras <script> & "
    '"belemnites" (entry $5).\nThe ammonite Harpoceras falciferum is common in the Posidonia Shale and missing below.'
)
BUGS = Schema(
    "pair",
    ("same", "related", "different"),
    True,
    "Do both reports tell of the same bug?",
    ("one fix would close both", "the same part of the program", "two bugs"),
    dimensions=(Dimension("Similarity", 0, 5, hint="0 = nothing in common, 5 = the same", step=0.5),),
)
REPORT_A = Text(
    "Crash when the title holds <script>\n\nSteps: 1. New document. 2. Type <script>alert(1)</script> & "
    '"quotes" as the title. 3. Save. The window closes, and nothing is saved.'
)
REPORT_B = Text(
    'Saving a document named "A & B <draft> for $5" ends the program without a message. Version 4.2, Linux.'
)
ESSAYS = Schema(
    "scores",
    (),
    True,
    "Score what is on the page, not what was meant.",
    dimensions=(
        Dimension("Cohesion", 1, 5, hint="do the parts follow from one another?", step=0.5),
        Dimension("Syntax", 1, 5, hint="sentences: right, and of more than one shape", step=0.5),
        Dimension("Vocabulary", 1, 5, hint="the fitting word, and more than one", step=0.5),
        Dimension("Phraseology", 1, 5, hint="idioms and collocations", step=0.5),
        Dimension("Grammar", 1, 5, hint="the rules of the language are kept", step=0.5),
        Dimension("Conventions", 1, 5, hint="spelling, capitals, punctuation", step=0.5),
        Dimension("Argument", 0, 10, hint="is the claim carried by reasons?"),
        Dimension("Off topic", 0, 100, hint="percent of the text", step=5),
    ),
)
ESSAY = Text(
    "Some people think that a student should choose a career at a young age. Others says that there is time.\n\n"
    "I agree with the first ones, because when you know what you want you can work for it. For example, my cousin "
    "wanted to be a programmer. He wrote <script> tags when he was ten & sold his first page for $5, "
    '"which made him proud". Today he have his own company and he help other young people to begin.\n\n'
    "On the other side a young person do not know the world yet. She can change her mind, and a bad choice cost "
    "time and money. My sister studied two years of law before she found that she is not made for it. But to change "
    "is not to lose: what you learn stays with you, and she says that nobody cheats her with a contract now.\n\n"
    "In conclusion, I think that it is good to begin early, if the parents and the teachers help and do not push."
)
WORK = {
    "multilabel": Work(CLAUSES, CLAUSE, "1346", (), ("collection", "sharing", "retention", "choice")),
    "multiclass": Work(FEELINGS, COMMENT, "3", (), ("gratitude",)),
    "relation": Work(
        STRATA,
        marked(SECTION, ("Harpoceras falciferum", "TAXON"), ("Posidonia Shale", "STRAT")),
        "1",
        (),
        ("occurs_in",),
    ),
    "pair": Work(BUGS, Pair(REPORT_A, REPORT_B), "q", ("4.5",), ("same", ("Similarity", 4.5))),
    "scores": Work(
        ESSAYS,
        ESSAY,
        "",
        ("3.5", "3", "2.5", "3", "", "4", "7.25", "10"),
        (
            ("Cohesion", 3.5),
            ("Syntax", 3.0),
            ("Vocabulary", 2.5),
            ("Phraseology", 3.0),
            ("Conventions", 4.0),
            ("Argument", 7.25),
            ("Off topic", 10.0),
        ),
    ),
}


@dataclass
class Desk:
    """A project with one task, opened by an expert as experts do."""

    studio: Studio
    project: int
    schema: Schema
    item: Item
    page: Any

    @property
    def focus(self) -> str:
        """The name of the field that has the focus, "" when it is no field."""
        found: str = self.page.evaluate("() => document.activeElement.name || ''")
        return found

    @property
    def fields(self) -> list[str]:
        """What the number fields show."""
        found: list[str] = self.page.eval_on_selector_all(".tc-number input", "all => all.map(one => one.value)")
        return found

    @property
    def offered(self) -> list[str]:
        """The names of the choices."""
        found: list[str] = self.page.locator(".tc-answer .tc-label").all_inner_texts()
        return found

    @property
    def ticked(self) -> int:
        count: int = self.page.locator(".tc-answer input:checked").count()
        return count

    def tab_to(self, name: str) -> None:
        for _ in range(12):
            if self.focus == name:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {name}")

    def submit(self) -> list[dict[str, Any]]:
        """Submit by keyboard and return the result as the server stored it."""
        with self.page.expect_response(
            lambda one: one.request.method == "POST" and "/annotations" in one.url
        ) as stored:
            self.page.keyboard.press("Control+Enter")
        assert stored.value.status == 201
        ((note,),) = (task["annotations"] for task in exported(self.studio, self.project))
        result: list[dict[str, Any]] = note["result"]
        return result

    def read(self) -> tuple[list[Answer], list[SetAside]]:
        """Pull the project and read what was answered."""
        export = exported(self.studio, self.project)
        return read_answers(export, {"b001": self.schema}, {self.item.id: self.item}, "here")


def opened(local: server.Local, page: Any, schema: Schema, item: Item) -> Desk:
    """Send one task to a project of its own and open it in the stream."""
    studio = Studio(local.url, local.token)
    project = studio.ensure_project(f"{schema.kind} {uuid.uuid4().hex[:8]}", labelling_config(schema))
    batch = Batch("b001", schema.version, "m1", (Pick(item.id, "in_band", 0.5, 0),))
    tasks, aside = to_tasks(batch, {item.id: item}, schema)
    assert (aside, sync.push(studio, project, tasks).sent) == ([], 1)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{local.url}/projects/{project}/data")
    page.get_by_text("Label All Tasks", exact=True).click()
    page.wait_for_selector(".tc-answer input")
    return Desk(studio, project, schema, item, page)


def words(text: str) -> str:
    """Return a text with every run of white space as one blank: pages show lines as they like."""
    return " ".join(text.split())


@pytest.mark.parametrize("kind", WORK)
def test_an_answer_given_by_keyboard_is_read_back(
    studio_server: server.Local, expert: tuple[str, str], page: Any, tmp_path: Path, kind: str
) -> None:
    """Texts are shown letter by letter, nothing is filled in before; the answer comes back under her name (C50)."""
    work = WORK[kind]
    page.on("dialog", lambda dialog: pytest.fail(f"a script of the text ran: {dialog.message}"))
    desk = opened(studio_server, page, work.schema, work.item)
    panes = [words(text) for text in page.locator(".tc-text").all_inner_texts()]
    assert panes == [words(one.text) for one in work.item.texts]
    assert words(work.schema.guideline) in words(page.inner_text(".tc-all"))
    assert (desk.ticked, desk.fields) == (0, [""] * len(work.schema.dimensions))
    for key in work.keys:
        page.keyboard.press(key)
    page.wait_for_function(f"document.querySelectorAll('.tc-answer input:checked').length == {len(work.keys)}")
    for position, number in enumerate(work.numbers):
        desk.tab_to(f"d{position}")
        page.keyboard.type(number)
    if work.numbers:
        page.keyboard.press("Tab")
        assert desk.focus == ""
    assert desk.fields == list(work.numbers)
    inside = page.evaluate(
        "() => [...document.querySelectorAll('.tc-all, .tc-answer, .tc-number, .tc-answer .lsf-choice')].every("
        "one => one.getBoundingClientRect().bottom <= innerHeight - 50 && one.scrollHeight <= one.clientHeight + 1)"
    )
    assert inside, "something to answer is out of sight"
    folder = Path(os.environ.get("TOUGHCALL_PICTURES") or tmp_path)
    page.screenshot(path=folder / f"task-{kind}.png")
    desk.submit()
    answers, aside = read_answers(
        exported(desk.studio, desk.project), {"b001": work.schema}, {work.item.id: work.item}, "x"
    )
    assert aside == []
    assert [(one.value, one.annotator, one.outcome) for one in answers] == [(work.value, expert[0], "label")]


def test_a_relation_offers_what_its_types_allow_and_cannot_be_edited(studio_server: server.Local, page: Any) -> None:
    """Between two strata nothing occurs in anything; keys stay those of the labels; text can be swept, not marked."""
    item = marked(SECTION, ("Posidonia Shale", "STRAT"), ("Amaltheen Clay", "STRAT"))
    desk = opened(studio_server, page, STRATA, item)
    assert desk.offered == ["overlies", "correlates_with", "no_relation", "can't tell"]
    assert page.locator(".tc-question").inner_text().split("\n") == [
        "Posidonia Shale (STRAT)",
        "→",
        "Amaltheen Clay (STRAT)",
    ]
    page.keyboard.press("1")
    assert desk.ticked == 0
    for name, end in zip(("tc-subj", "tc-obj"), item.ends, strict=True):
        assert page.locator(f".tc-text .{name}").all_inner_texts() == [end]
    colours = [
        page.eval_on_selector(f"{place} .{name}", "one => getComputedStyle(one).backgroundColor")
        for place in (".tc-text", ".tc-question")
        for name in ("tc-subj", "tc-obj")
    ]
    assert colours[:2] == colours[2:]
    assert len(set(colours)) == 2
    box = page.locator(".tc-text .tc-obj").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 8, steps=5)
    page.mouse.up()
    page.keyboard.press("2")
    assert [one["value"] for one in desk.submit()] == [{"choices": ["overlies"]}]
    assert shown(item, STRATA)["html"] == exported(desk.studio, desk.project)[0]["data"]["html"]


def test_cant_tell_is_one_key_where_only_numbers_are_asked(studio_server: server.Local, page: Any) -> None:
    """Pressing x answers can't tell, and again takes it back; no other key fills in a number unseen."""
    desk = opened(studio_server, page, ESSAYS, ESSAY)
    assert desk.offered == ["can't tell"]
    for key in string.ascii_lowercase.replace("x", "") + string.digits:
        page.keyboard.press(key)
    assert (desk.ticked, set(desk.fields)) == (0, {""})
    for ticked in (1, 0, 1):
        page.keyboard.press("x")
        page.wait_for_function(f"document.querySelectorAll('.tc-answer input:checked').length == {ticked}")
    desk.submit()
    answers, _ = desk.read()
    assert [(one.outcome, one.value) for one in answers] == [("cant_tell", ())]


def test_what_the_note_below_number_fields_says_is_true(studio_server: server.Local, page: Any) -> None:
    """A deleted number becomes 0 and undo empties the field again; neither mouse nor keypad answers by the way."""
    desk = opened(studio_server, page, BUGS, Pair(REPORT_A, REPORT_B))
    box = page.locator("input[name=d0]").bounding_box()
    for step in range(4, int(box["width"]), 8):
        page.mouse.click(box["x"] + step, box["y"] + box["height"] / 3)
    assert (desk.focus, desk.fields) == ("d0", [""])
    keypad = page.context.new_cdp_session(page)
    for kind in ("keyDown", "keyUp"):
        keypad.send(
            "Input.dispatchKeyEvent",
            {"type": kind, "key": "1", "code": "Numpad1", "windowsVirtualKeyCode": 97, "location": 3, "isKeypad": True}
            | ({"text": "1"} if kind == "keyDown" else {}),
        )
    page.wait_for_function("document.querySelector('input[name=d0]').value == '1'")
    assert desk.ticked == 0
    page.keyboard.press("Backspace")
    assert desk.fields == ["0"]
    page.keyboard.press("Tab")
    for number in ("1", ""):
        page.keyboard.press("Control+z")
        page.wait_for_function(f"document.querySelector('input[name=d0]').value == '{number}'")
    page.keyboard.press("w")
    assert [one["value"] for one in desk.submit()] == [{"choices": ["related"]}]
