"""The ledger holds numbers beside labels: the votes decide, the numbers are averaged; a schema is stored whole."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall.records import Answer, Value
from toughcall.schema import Dimension, Schema, Tiers
from toughcall.store import Store

SCORES = Schema(
    "scores",
    (),
    False,
    "how?",
    dimensions=(Dimension("mood", -4, 4, 0.8, "how it feels", 0.5), Dimension("force", 0, 10, 0.2)),
    tiers=Tiers((("low", -4.0), ("high", 2.5)), "mood", -0.5),
)
PAIR = Schema("pair", ("same", "other"), True, dimensions=(Dimension("grade", 0, 4),))
RELATION = Schema(
    "relation",
    ("none", "in"),
    True,
    "g",
    ("no", "yes"),
    null="none",
    types=(("in", (("TAXON", "STRAT"), ("A", "B"))),),
    coarse=(),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "ledger.sqlite", create=True) as made:
        yield made


def say(store: Store, schema: Schema, *values: Value, item: str = "i1") -> None:
    """Put one answer of each of some people into the ledger."""
    store.add_answers(
        [Answer(f"{item}/{n}", item, f"p{n}", "label", value, "b001", schema.version) for n, value in enumerate(values)]
    )


def label(store: Store, schema: Schema) -> Value | None:
    """The one label there is, None when it is torn."""
    found, torn = store.labels(schema.version)
    assert len(found) + len(torn) == 1
    return found[0].value if found else None


def test_numbers_of_all_annotators_are_averaged(store: Store) -> None:
    """C48: without labels nobody disagrees: each dimension is the mean of those who answered it."""
    say(store, SCORES, (("mood", 1.0), ("force", 10.0)), (("mood", 2.0),), (("mood", -1.5), ("force", 4.0)))
    assert label(store, SCORES) == (("mood", 0.5), ("force", 7.0))
    assert store.labels(SCORES.version)[0][0].annotators == 3


def test_numbers_follow_the_winning_label(store: Store) -> None:
    """C48: the label most gave wins, and only their grades count; one winner without a grade is fine."""
    say(store, PAIR, ("same", ("grade", 3.0)), ("other", ("grade", 0.0)), ("same", ("grade", 4.0)), ("same",))
    assert label(store, PAIR) == ("same", ("grade", 3.5))


def test_a_tie_of_labels_is_a_disagreement_whatever_the_numbers(store: Store) -> None:
    """C48: equal grades do not settle a tie, other grades do not make one."""
    say(store, PAIR, ("same", ("grade", 2.0)), ("other", ("grade", 2.0)))
    assert label(store, PAIR) is None
    say(store, PAIR, ("same", ("grade", 2.0)), ("same", ("grade", 0.0)))
    assert label(store, PAIR) == ("same", ("grade", 1.0))


def test_a_changed_number_is_a_revision(store: Store) -> None:
    """C44: another number is a new answer, the same number read again is none."""
    say(store, SCORES, (("mood", 1.0),))
    say(store, SCORES, (("mood", 1.0),))
    say(store, SCORES, (("mood", 1.5),))
    assert label(store, SCORES) == (("mood", 1.5),)
    assert [answer.value for answer in store.answers(history=True)] == [(("mood", 1.0),), (("mood", 1.5),)]


def test_an_imported_number_gives_way_to_a_person(store: Store) -> None:
    """C48: where a person answered, an imported number is no part of the mean."""
    imported = Answer("k", "i1", "import", "label", (("mood", -4.0),), "", SCORES.version, source="import")
    store.add_answers([imported])
    assert label(store, SCORES) == (("mood", -4.0),)
    say(store, SCORES, (("mood", 1.0),), (("mood", 2.0),))
    assert label(store, SCORES) == (("mood", 1.5),)


@given(st.lists(st.floats(0.0, 0.1) | st.sampled_from([0.0, 0.1]), min_size=1, max_size=7))
def test_a_mean_stays_inside_the_range(given_: list[float]) -> None:
    """Three experts who all say 0.1 mean 0.1, not a hair more than the range allows; nobody's turn matters."""
    schema = Schema("scores", (), False, dimensions=(Dimension("d", 0, 0.1),))
    means = set()
    for order in itertools.islice(itertools.permutations(given_), 6):
        with Store(Path(":memory:"), create=True) as store:
            say(store, schema, *((("d", number),) for number in order))
            value = label(store, schema)
        assert value is not None
        assert schema.check(value) == ""
        means.add(value)
    assert len(means) == 1


@pytest.mark.parametrize("schema", [SCORES, PAIR, RELATION])
def test_a_schema_is_stored_whole(store: Store, schema: Schema) -> None:
    """P14: what a batch was asked under comes back with types, dimensions, tiers and the null label."""
    store.add_schema(schema)
    store.add_schema(schema)
    assert store.schema(schema.version) == schema


def test_c86_a_schema_of_an_older_toughcall_still_reads(store: Store) -> None:
    """C86: what was stored without numbers and types is read, and is the schema its labels name."""
    old = {"kind": "pair", "labels": ["similar", "not_similar"], "single": True, "guideline": "g", "hints": []}
    made = Schema("pair", ("similar", "not_similar"), True, "g")
    store.base.execute("INSERT INTO schemas VALUES (?, ?)", (made.version, json.dumps(old)))
    say(store, made, ("similar",))
    assert store.schema(made.version) == made
    assert label(store, made) == ("similar",)


def test_c86_an_answer_of_an_older_toughcall_still_reads(store: Store) -> None:
    """C86: a value that was stored as a list of labels is those labels, its digest the one it had."""
    say(store, PAIR, ("same",))
    assert store.base.execute("SELECT value FROM answers").fetchone() == ('["same"]',)
    assert store.base.execute("SELECT content FROM answers").fetchone() == (store.answers()[0].content,)
