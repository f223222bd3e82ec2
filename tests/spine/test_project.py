"""project.toml: every mistake at once, what is rendered reads back, no secret is ever accepted or shown (C02, C85)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall import project as projects
from toughcall.model.kind import MIXED
from toughcall.model.kinds import KINDS
from toughcall.project import TOKEN_VARIABLE, check_name, load, parse, quoted, render
from toughcall.records import UsageError
from toughcall.settings import Project

LABELS = {"animal": "an animal", "machine": ""}
GOOD = 'format = 1\n[project]\nname = "p"\nkind = "multiclass"\n[labels]\na = "x"\nb = "y"\n'


def read(text: str) -> Project:
    return parse(text, Path("p"), KINDS)


def mistakes(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(text)
    return str(caught.value)


def test_every_mistake_is_told_at_once_with_the_nearest_word() -> None:
    """Ten typos are one run of one command: all of them are listed, each with what was probably meant."""
    text = (
        GOOD.replace("multiclass", "multiclas")
        + "[mien]\n[mine]\nbatsch = 5\nlow = 0.7\nhigh = 0.6\nquotas = {in_bnd = 0.5, diverse = 2}\n"
        + "[gate]\nfloors = {c = 0.5}\nmin_items = 0\n[encoder]\ndevice = 'gpu'\n[data]\ntext = 5\n"
    )
    said = mistakes(text)
    assert "10 mistakes" in said
    for part in (
        "unknown section [mien] (did you mean 'mine'?)",
        "not 'multiclas' (did you mean 'multiclass'?)",
        "unknown key mine.batsch (did you mean 'batch'?)",
        "mine.low (0.7) must be below mine.high (0.6)",
        "unknown key mine.quotas.in_bnd (did you mean 'in_band'?)",
        "mine.quotas.diverse must be a number from 0 to 1, not 2",
        "gate.floors names 'c', which is no label",
        "gate.min_items must be a whole number from 1, not 0",
        'encoder.device must be "auto", "cpu" or "cuda", not \'gpu\'',
        "data.text must be a str, not 5",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("[mine]\nlow = nan\n", "mine.low must be"),
        ("[mine]\nbatch = true\n", "mine.batch must be"),
        ("[mine]\nquotas = {in_band = 0}\n", "at least one share above 0"),
        ("[mine]\nquotas = 5\n", "must be a table"),
        ("[gate]\nconfidence = 1.0\n", "gate.confidence must be"),
        ("[gate]\ntest_share = 1.0\n", "gate.test_share must be"),
        ("[data]\ntext = ''\n", "data.text must be the name of a column"),
        ("[data]\nseparator = ''\n", "data.separator must be"),
        ("[studio]\nport = 70000\n", "studio.port must be"),
        ("studio = 5\n", "must be a table"),
        ("[project.kind]\n", "not valid TOML"),
    ],
)
def test_what_would_fail_later_fails_here(more: str, says: str) -> None:
    """A value that some command could not work with is refused when the file is read."""
    text = more + GOOD if "=" in more.splitlines()[0] else GOOD + more
    assert says in mistakes(text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "p"', "seed = -1", "project.seed must be"),
        ('kind = "multiclass"', 'kind = ["multiclass"]', "project.kind must be"),
        ('name = "p"', 'name = "../x"', "project.name '../x'"),
        ('a = "x"\nb = "y"', 'a = "x"', "at least two labels"),
        ('a = "x"', '"" = "x"', "is not a label"),
        ('a = "x"', '__cant_tell__ = "x"', "not starting with '__'"),
        ('a = "x"', "a = 5", "labels.a must be a description"),
        ("format = 1", "format = 2", "format 2, this toughcall reads 1"),
    ],
)
def test_c86_names_labels_and_formats_are_checked(old: str, new: str, says: str) -> None:
    """C02, C86: a name that is no folder, a label nobody can choose and a newer format are refused."""
    assert says in mistakes(GOOD.replace(old, new))


@pytest.mark.parametrize(
    "url",
    [
        "https://anna:s3cret@studio.example.com",
        "https://s3cret@studio.example.com/x",
        "https://anna:s3/cret@studio.example.com",
        "https://studio.example.com/?token=s3cret",
        "https://studio.example.com/#s3cret",
        "file:///etc/s3cret",
        "ftp://studio.example.com/s3cret",
        "studio.example.com s3cret",
    ],
)
def test_c85_a_secret_in_the_url_is_refused_and_not_shown(url: str) -> None:
    """C41, C85, P8: no user, password, token or other scheme in studio.url, and the message repeats none of it."""
    said = mistakes(GOOD + f'[studio]\nurl = "{url}"\n')
    assert "studio.url must be" in said
    assert TOKEN_VARIABLE in said
    assert "s3" not in said


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8080", "https://studio.example.com:8443/label/"])
def test_a_plain_url_is_taken(url: str) -> None:
    """A host, a port and a path are all that a url needs."""
    assert read(GOOD + f'[studio]\nurl = "{url}"\n').studio.url == url


def test_c85_there_is_no_place_for_a_token() -> None:
    """C85, P8: a token written into the file is an unknown key; its value is not repeated."""
    said = mistakes(GOOD + '[studio]\ntoken = "s3cret"\n')
    assert "unknown key studio.token" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "x" * 300, "a\0b", ".", "..", "a b", "ä"])
def test_c02_what_could_leave_the_folder_is_no_name(name: str) -> None:
    """C02: such a name is refused, and the message shows at most 40 characters of it, none of them raw."""
    with pytest.raises(UsageError, match="is not a name") as caught:
        check_name(name, "project name")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_c18_an_empty_folder_is_told_what_to_run(tmp_path: Path) -> None:
    """A folder without a project names toughcall init; a file in another encoding is named as such."""
    with pytest.raises(UsageError, match="toughcall init NAME"):
        load(tmp_path, KINDS)
    (tmp_path / projects.FILE).write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(UsageError, match="is not UTF-8"):
        load(tmp_path, KINDS)


NAMES = st.from_regex(projects.NAME, fullmatch=True)
CHARS = st.characters(exclude_categories=["Cs"])
WORDS = st.text(CHARS, min_size=1, max_size=30).filter(
    lambda word: word.strip() and not word.startswith("__") and word.isprintable()
)
ANYTHING = st.text(CHARS, max_size=60)


@given(
    NAMES,
    st.dictionaries(WORDS, ANYTHING, min_size=2, max_size=4),
    ANYTHING,
    st.text(CHARS, min_size=1, max_size=20),
    st.sampled_from(["multilabel", "multiclass"]),
)
def test_what_is_rendered_reads_back(name: str, labels: dict[str, str], guideline: str, column: str, kind: str) -> None:
    """Whatever characters names, labels, hints, guideline and columns hold: render → parse gives them back."""
    made = read(render(name, kind, {"labels": labels}, {"text": column}, guideline=guideline, quotas=MIXED))
    assert (made.name, made.kind, made.labels, made.guideline, made.data.text) == (
        *(name, kind, tuple(labels), guideline),
        column,
    )
    assert made.hints == tuple(hint or label for label, hint in labels.items())


@given(ANYTHING)
def test_a_quoted_string_is_one_line_of_printable_text(value: str) -> None:
    """A control character, a newline or an unassigned code point cannot break out of its line."""
    assert quoted(value).isprintable()


@pytest.mark.parametrize(
    ("dotted", "value"),
    [("mine.batch", 7), ("mine.quotas.in_band", 1.0), ("gate.test_share", 0.5), ("encoder.cache", "../v")],
)
def test_a_setting_given_at_the_start_is_in_the_file(dotted: str, value: Any) -> None:
    """Overrides by dotted name end up where the file is read."""
    made: Any = read(
        render("p", "multiclass", {"labels": LABELS}, {"text": "t"}, quotas=MIXED, settings={dotted: value})
    )
    for part in dotted.split("."):
        made = made[part] if isinstance(made, dict) else getattr(made, part)
    assert made == value


def test_a_rendered_file_holds_every_default_it_shows() -> None:
    """A file nobody has edited means exactly the defaults."""
    made = read(render("p", "multiclass", {"labels": LABELS}, {"text": "text"}, quotas=MIXED))
    plain = read(GOOD)
    assert (made.mine, made.gate, made.studio, made.encoder, made.data) == (
        *(plain.mine, plain.gate, plain.studio, plain.encoder),
        plain.data,
    )
