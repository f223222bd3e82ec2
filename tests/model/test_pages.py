"""A report as a page: complete, self-contained, and deaf to what the texts in it say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from toughcall.model.drawings import axis, curves, interval_row, nice, place, safe
from toughcall.model.page_style import STYLE
from toughcall.model.pages import headline, html_page, markdown_page, plain

EVIL = (
    '</style></title><script>alert(1)</script><img src="https://evil.example/x" onerror=alert(1)>\u202egnp\x00 | a\n# b'
)


def class_row(label: str, **more: Any) -> dict[str, Any]:
    """Return a class as `report.class_figures` gives it."""
    ends = {f"{name}_{end}": at for name in ("precision", "recall", "f1") for end, at in (("low", 0.4), ("high", 0.8))}
    plain_row = {"label": label, "support": 10, "predicted": 10, "tp": 6, "fp": 4, "fn": 4, "threshold": 0.5}
    return {**plain_row, **ends, "precision": 0.6, "recall": 0.6, "f1": 0.6, **more}


def pages(name: str = "spam", text: str = "a plain text", **more: Any) -> tuple[Any, ...]:
    """Return the four parts of a report in which a class, a model and a text are called as given."""
    models = [
        {"role": role, "model": model, "metric": "macro_f1", "value": value, "low": value - 0.1, "high": value + 0.1}
        | {"n": 20, "never_predicted": [name] if role == "majority" else []}
        for role, model, value in (
            ("majority", "majority", 0.2),
            ("untouched", "untouched", 0.5),
            ("candidate", name, 0.6),
        )
    ]
    report = {
        **{"project": name, "version": "p-v001", "kind": "multiclass", "labels": 1234, "n": 20},
        "verdict": {
            "outcome": "KEEP",
            "sentence": f"KEEP untouched: {text}",
            "checks": [{"name": "enough rows", "passed": passed, "detail": text} for passed in (True, False, None)],
        },
        "targets": [{"target": f"F1 of {name} >= 0.7", "held": None, "detail": text}],
        **{"metric": "macro_f1", "gate_metric": "macro_f1", "greater_is_better": True, "models": models},
        "metrics": {
            "macro_f1": {"value": 0.6, "low": 0.5, "high": 0.7, "n": 20},
            "accuracy": {"value": None, "low": None, "high": None, "n": 20},
        },
        "per_class": [class_row(name), class_row("ham", predicted=0, precision=None, recall=0.0, f1=0.0)],
        **{"per_dimension": [], "confusion": [[6, 4], [10, 0]], "never_predicted": ["ham"]},
        **{"notes": [text], "caveats": ["the sealed test set was opened once"]},
        "next": [{"do": text, "class": name, "evidence": "because", "cost": "free"}] * 2,
        **more,
    }
    errors = {
        "unit": "probability",
        "confusions": [{"truth": name, "said": f"not {name}", "count": 3, "share_of_truth": 0.3}],
        "worst": [
            {
                "item": "0123456789",
                "keys": [name],
                "fields": {"text": text},
                "truth": name,
                "said": "ham",
                "size": 0.98,
            },
            {"item": "9876543210", "keys": [], "fields": None, "truth": f"not {name}", "said": name, "size": 0.97},
        ],
    }
    history = [
        {"epoch": n, "metric": text, "train_loss": 1 / n, "held_loss": 1.2 / n, "figure": 0.1 * n, "train_figure": None}
        for n in (1, 2, 3)
    ]
    return report, errors, history, {"version": "p-v001", "encoder": name, "counts": {name: 3}, "parent": ""}


class Seen(HTMLParser):
    """What a browser would make of a page: its tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(page: str) -> Seen:
    found = Seen()
    found.feed(page)
    found.close()
    assert not found.open, "every tag that is opened is closed"
    return found


def test_a_page_holds_every_section_and_figure() -> None:
    """P2: verdict, targets, baselines before the candidate, classes, confusion, curves, errors, next, caveats."""
    page = seen(html_page(*pages()))
    order = (
        *(
            "p-v001 stays out: a plain text",
            "Targets",
            "Baselines first",
            "majority guess",
            "untouched encoder",
        ),
        *("Per class", "never predicted", "Confusion", "Training", "missed spam", "which it is not", "What to do next"),
        *("What the figures do not say", "opened once", "How it was made"),
    )
    places = [page.text.find(words) for words in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    models = page.text[places[2] :]
    rows = [models.find(words) for words in ("majority guess", "untouched encoder", "0.500–0.700")]
    assert -1 not in rows
    assert rows == sorted(rows), "what costs nothing stands first"
    assert page.tags.count("svg") == 3 + 1 + 5 + 2, "a row a model, an axis, five bars of classes, two curves"
    for shown in ("0.600", "0.500–0.700", "1,234", "98% sure", "spam 3"):
        assert shown in page.text
    assert "the text is no longer in the pool" in page.text


def test_a_page_asks_for_nothing_from_outside() -> None:
    """C78: no script, no link, no image, no font, no address to fetch; a policy forbids what is not there."""
    page = html_page(*pages())
    found = seen(page)
    assert not {"script", "link", "img", "iframe", "object", "form", "a", "base"} & set(found.tags)
    assert not {"src", "href", "srcset", "action", "xlink:href"} & {name for name, _ in found.attributes}
    assert not re.search(r"https?://|//\w|url\(|@import|javascript:", page)
    assert not re.search(r"url\(|@import", STYLE)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page


def test_a_hostile_text_is_shown_and_does_nothing() -> None:
    """C78: markup in a text, a class, a project or a sentence stays text, control characters become visible."""
    whole = html_page(*pages(EVIL, EVIL))
    page = seen(whole)
    assert not {"script", "img"} & set(page.tags)
    assert page.tags.count("style") == page.tags.count("title") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 8
    assert not re.search(r"[\x00-\x08\u202a-\u202e]", whole)
    assert safe("\u202egnp\x00") == "\ufffdgnp\ufffd"
    same = seen(html_page(*pages()))
    assert page.tags == same.tags, "what the texts say changes no tag"


def test_markdown_says_the_same_and_obeys_no_text() -> None:
    """C78, P2: a text stays in its cell: no row, heading, link or tag can begin in it."""
    good, bad = markdown_page(*pages()), markdown_page(*pages(EVIL, EVIL))
    titles = [line for line in good.splitlines() if line.startswith("#")]
    assert titles[0] == "# spam p-v001"
    assert [line for line in bad.splitlines() if line.startswith("#")][1:] == titles[1:]
    assert len(bad.splitlines()) == len(good.splitlines())
    for line, other in zip(good.splitlines(), bad.splitlines(), strict=True):
        bars = [len(re.findall(r"(?<!\\)\|", one)) for one in (line, other)]
        assert bars[0] == bars[1]
    assert not re.search(r"(?<!\\)<", bad)
    assert "| candidate | macro_f1 | 0.600 | 0.500–0.700 | 20 |" in good
    assert "| ham | 10 | 0 | – | 0.00 (40%–80%) | 0.00 (40%–80%) |" in good
    assert plain("a|b*c_d __e_ [x](y) <z>") == r"a\|b\*c_d \_\_e\_ \[x\](y) \<z\>"


def test_the_headline_is_one_sentence() -> None:
    """P2: what becomes of the model, then why, with the metric named by its averaging."""
    report = pages(metric="macro_f1_without_NO", gate_metric="positive_macro_f1")[0]
    for outcome, sentence, due in (
        (
            "KEEP",
            "KEEP untouched: positive_macro_f1 a 0.1 against b 0.2",
            "stays out: macro_f1_without_NO a 0.1 against b 0.2",
        ),
        ("PROMOTE", "PROMOTE p-v001: positive_macro_f1 up", "may serve: macro_f1_without_NO up"),
        ("UNDECIDED", "UNDECIDED untouched: 12 held-out rows", "cannot be told yet: 12 held-out rows"),
        (
            "UNDECIDED",
            "3 held-out labels, 50 are due: import",
            "cannot be told yet: 3 held-out labels, 50 are due: import",
        ),
    ):
        report["verdict"] = {"outcome": outcome, "sentence": sentence, "checks": []}
        assert headline(report) == f"p-v001 {due}"


def test_a_report_without_figures_is_still_a_page() -> None:
    """003: a model whose test set was never opened has no plot, and the page says why."""
    bare = {
        "models": [],
        "metrics": {},
        "per_class": [],
        "confusion": [],
        "never_predicted": [],
        "targets": [],
        "next": [],
    }
    report, _, _, made = pages(**bare, caveats=["the test set was never opened"], n=0)
    page = html_page(report, {"unit": "probability", "confusions": [], "worst": []}, [], made)
    assert "the test set was never opened" in seen(page).text
    assert "<svg" not in page
    assert "never opened" in markdown_page(report, {"unit": "probability", "confusions": [], "worst": []}, [], made)


def test_long_texts_are_cut_on_the_page() -> None:
    """P2: a page stays readable; how much was left out is said, and where it stands in full."""
    page = seen(html_page(*pages(text="x" * 2000)))
    assert "… 1,300 more characters in error_analysis.json" in page.text


@pytest.mark.parametrize(
    ("values", "unit", "scale", "ticks"),
    [
        ([0.0, 0.72], True, (0.0, 0.8), [0.0, 0.2, 0.4, 0.6, 0.8]),
        ([0.31, 0.98], True, (0.2, 1.0), [0.2, 0.4, 0.6, 0.8, 1.0]),
        ([12.0, 47.0], False, (10.0, 50.0), [10.0, 20.0, 30.0, 40.0, 50.0]),
        ([0.5, 0.5], False, (0.5, 0.6), [0.5, 0.6]),
    ],
)
def test_scales_are_round_and_hold_every_value(values: list[float], unit: bool, scale: Any, ticks: list[float]) -> None:
    """P2: an axis begins and ends at a round number, with few ticks."""
    found, shown = nice(values, unit=unit)
    assert found == pytest.approx(scale)
    assert shown == pytest.approx(ticks)


def test_drawings_stand_where_their_figures_are() -> None:
    """P2: a value's dot, its interval and what has to be beaten stand at their share of the scale."""
    assert [place(value, (0.2, 0.6)) for value in (0.1, 0.2, 0.3, 0.6, 9.0)] == [0, 0, 25, 100, 100]
    row = interval_row(0.5, 0.4, 0.6, (0.0, 1.0), told='"<a>', mark=0.25)
    for shown in ('cx="50.0%"', 'x1="40.0%" x2="60.0%"', 'x1="25.0%"', 'aria-label="&quot;&lt;a&gt;"'):
        assert shown in row
    assert "circle" not in interval_row(None, None, None, (0.0, 1.0), told="none")
    assert 'text-anchor="start">0<' in axis((0.0, 1.0), [0.0, 0.5, 1.0])
    drawn = curves({"training": [(1, 2.0), (2, 1.0)], "no points": [], "held out": [(1, 2.5)]})
    assert drawn.count("<polyline") == 2
    assert "no points" not in drawn
    assert curves({"a": []}) == ""
