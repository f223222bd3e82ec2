"""A pool of a million items: what is looked up by its key, what is read once, and what is never read whole."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from review_project import Filled

from toughcall.pool import Pool
from toughcall.records import IntegrityError
from toughcall.review import curation, deciding, item_views, live, progress, score_views, views, warm
from toughcall.store import Store


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """Begin as a process that has shown nothing yet."""
    for one in (score_views._asked, score_views._asked_pool, score_views._held, item_views._lines, item_views._item):
        one.cache_clear()


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever loads the split or the records whole fail."""

    def whole(*_: object) -> Any:
        raise AssertionError("the split is loaded whole")

    texts = Pool.texts

    def some(self: Pool, ids: Collection[str] | None = None) -> Any:
        assert ids is not None, "all records are loaded"
        return texts(self, ids)

    monkeypatch.setattr(Store, "_split", whole)
    monkeypatch.setattr(Pool, "texts", some)


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("kind", ["multiclass", "pair", "relation", "scores"])
def test_looking_and_deciding_load_nothing_whole(filled: Callable[..., Filled], kind: str) -> None:
    """The lists, the counts of the labels tab and a decision look up the items they are about, and no others."""
    made = filled(kind)
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        for show in (views.OPEN, views.UNASKED, views.EVERY):
            assert len(views.queue_page(one, views.Filter(show=show), picks, answers).rows)
        assert progress.classes(one)[["train", "held_out", "unsplit"]].to_numpy().sum() > 0
    came = curation.decide(made.root, [item.id for item in made.items[3:]], "approve", "", "Lee", "press")
    assert (came.done, came.problem()) == (len(made.items) - 3, "")


@pytest.mark.parametrize("kind", ["multiclass", "pair", "relation", "scores"])
def test_what_a_list_shows_is_not_looked_up_again(
    filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """An item that stands in the list is opened without another look at the pool, and is the one that is stored."""
    made = filled(kind)
    asked: list[str] = []
    real, scored = Pool.sql, score_views._asked.__wrapped__

    def counted(self: Pool, query: str, *more: Any) -> Any:
        asked.append(query)
        return real(self, query, *more)

    with live.opened(made.root) as one:
        alone = [views.detail(one, item.id, [], {}) for item in made.items]
    item_views._item.cache_clear()
    monkeypatch.setattr(Pool, "sql", counted)
    monkeypatch.setattr(score_views, "_asked", lambda *key: asked.append(key[1]) or scored(*key))
    for visitor in (1, 2):
        with live.opened(made.root) as one:
            views.queue_page(one, views.Filter(show=views.EVERY), [], {})
            assert bool([query for query in asked if " texts" in query]) == (visitor == 1)
            asked.clear()
            listed = [views.detail(one, item.id, [], {}) for item in made.items]
            assert not [query for query in asked if "count(*)" not in query]
            asked.clear()
    for before, now in zip(alone, listed, strict=True):
        assert before is not None
        assert now is not None
        assert (before.record, before.texts, before.place, before.parts) == (
            now.record,
            now.texts,
            now.place,
            now.parts,
        )
        assert before.chances.equals(now.chances)
        assert before.numbers.equals(now.numbers)


def test_long_texts_are_not_kept(filled: Callable[..., Filled]) -> None:
    """A text that is too long to be sent whole is shown by its beginning and read again when it is opened."""
    long = "word " * item_views.LONGEST
    made = filled(texts=("one cat", "two cars", "three pies", "four dogs", long))
    with live.opened(made.root) as one:
        rows = views.queue_page(one, views.Filter(show=views.UNASKED), [], {}).rows.set_index("item")
        assert made.items[4].id not in one.shown
        assert made.items[3].id in one.shown
        found = views.detail(one, made.items[4].id, [], {})
    assert rows.loc[made.items[4].id, "text"].startswith("word word")
    assert len(rows.loc[made.items[4].id, "text"]) < 200
    assert found is not None
    assert found.cut


def test_shards_are_counted_by_what_they_say(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many records, pairs and relations there are is read from the ends of the shards; a damaged one is named."""
    made = filled("pair")
    monkeypatch.setattr(Pool, "sql", None)
    pool = Pool(made.root / "pool")
    assert pool.counts() == (5, 4, 0)
    assert Pool(made.root / "nothing").counts() == (0, 0, 0)
    shard = next(pool.folder.glob("pairs-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match="toughcall doctor"):
        pool.counts()


def test_answers_are_read_twice_for_all_figures(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of a view are all counted from answers that were read once as they are and once as labels."""
    made = filled()
    read: list[Path] = []
    real = Store.answers
    monkeypatch.setattr(Store, "answers", lambda self, **how: read.append(self.path) or real(self, **how))
    with live.opened(made.root) as one:
        assert views.answers_by_item(one)
        assert progress.totals(one).labels == 2
        assert len(progress.annotators(one)) == 1
        assert len(progress.classes(one)) == 3
        assert progress.pace(one).empty, "none of them has a time"
        for undecided in (deciding.disputes, deciding.suspects, deciding.contradictions):
            assert not undecided(one)
    assert len(read) == 2


@pytest.mark.parametrize("kind", ["multiclass", "pair", "relation"])
def test_p5_what_is_held_out_is_not_offered(filled: Callable[..., Filled], kind: str) -> None:
    """P5: what nobody was asked about is offered without the items of the test part; scores still count them."""
    made = filled(kind, texts=("one cat", "two cars", "three pies", "four dogs", "five bikes", "six cows", "ten eggs"))

    def having(word: str) -> list[str]:
        return [item.id for item in made.items[3:] if any(word in text.text for text in item.texts)]

    def offered(**wanted: Any) -> list[str]:
        with live.opened(made.root) as one:
            page = views.queue_page(one, views.Filter(show=views.UNASKED, **wanted), [], {})
            found = views.histogram(one, "", 0.4, 0.6)
        assert page.total == len(page.rows)
        assert found is not None
        assert found.total == len(made.items)
        assert set(page.rows["state"]) <= {"not asked"}
        return sorted(page.rows["item"])

    everything = {item.id for item in made.items[3:]}
    assert offered() == sorted(everything)
    record = next(text.id for item in made.items for text in item.texts if text.text == "four dogs")
    with Store(made.root / "ledger.sqlite") as store:
        store.base.execute("DELETE FROM parts WHERE record = ?", (record,))
        store.add_parts({record: "test"}, {record: ""})
    held = set(having("dogs"))
    assert held
    assert offered() == sorted(everything - held)
    assert offered(search="DOGS") == []
    assert offered(search="eggs") == sorted(having("eggs"))


def test_what_is_read_before_anybody_comes_is_what_the_page_asks_for(
    filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first visitor's figures and rows were read when the server started; nothing was written for it."""
    made = filled("multiclass")
    monkeypatch.setenv(live.VARIABLE, str(made.root))
    written = (made.root / "ledger.sqlite").stat().st_mtime_ns
    warm.read()
    known = score_views._asked.cache_info().misses
    assert known
    with live.opened(made.root) as one:
        views.histogram(one, "", one.project.mine.low, one.project.mine.high)
        shown = views.Filter(show=views.OPEN)
        assert len(views.queue_page(one, shown, views.asked_picks(one), views.answers_by_item(one)).rows)
    assert score_views._asked.cache_info().misses == known
    assert (made.root / "ledger.sqlite").stat().st_mtime_ns == written


def test_what_cannot_be_read_is_left_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C82: in an empty folder and before a damaged file nothing fails: the page says it, where somebody looks."""
    monkeypatch.setenv(live.VARIABLE, str(tmp_path))
    warm.read()
    (tmp_path / "project.toml").write_text("[project", encoding="utf-8")
    warm.read()
    assert score_views._asked.cache_info().misses == 0
