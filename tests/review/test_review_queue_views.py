"""What the queue tab draws, as data: states and counts, words that differ, what a score is made of, what is near."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_project import HOSTILE, Filled, answer, save_scores

from toughcall import neighbours
from toughcall.mining import embed
from toughcall.records import Floats, IntegrityError, Pair, Relation, Span, Text, digest
from toughcall.review import differing, item_views, live, near, score_views, views
from toughcall.store import Store

SURE, TORN = (0.9, 0.06, 0.04), (0.35, 0.1, 0.3)
FIVE = (SURE, TORN, (0.2, 0.7, 0.1), (0.45, 0.45, 0.1), (0.1, 0.1, 0.8))
SHA = "e" * 64


def states(made: Filled, **wanted: Any) -> dict[str, str]:
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        rows = views.queue_page(one, views.Filter(**wanted), picks, answers).rows
    return dict(zip(rows["text"], rows["state"], strict=True))


# ---- counting


def test_classes_in_the_band_are_counted(filled: Callable[..., Filled]) -> None:
    """The items in the band by the class the model guesses, the most first; they sum to the items in the band."""
    made = filled(values=FIVE)
    with live.opened(made.root) as one:
        found = views.histogram(one, "", 0.5, 0.8)
        chosen = views.histogram(one, "food", 0.1, 0.3)
    assert found is not None
    assert found.classes.to_dict("list") == {"class": ["animal", "machine"], "count": [2, 1]}
    assert found.in_band == 3
    assert chosen is not None
    assert chosen.classes.to_dict("list") == {"class": ["animal", "machine"], "count": [2, 1]}


def test_one_class_for_all_is_named(filled: Callable[..., Filled]) -> None:
    """A model that takes every item for one class is said to; several labels at once never compete."""
    made = filled(values=[SURE] * 5)
    with live.opened(made.root) as one:
        found = views.histogram(one, "", 0.4, 0.6)
    assert found is not None
    assert (found.only, found.in_band, len(found.classes)) == ("animal", 0, 0)
    several = filled("multilabel", values=[SURE] * 5, name="several")
    with live.opened(several.root) as one:
        found = views.histogram(one, "", 0.4, 0.6)
    assert found is not None
    assert found.only == ""


def test_every_scored_item_has_a_state(filled: Callable[..., Filled]) -> None:
    """The list of everything holds what is answered, waiting and free, the most uncertain first, each once."""
    made = filled(values=FIVE)
    assert states(made, show=views.EVERY) == {
        "four dogs": "not asked",
        "two cars": "answered",
        "three pies": "waiting",
        "five bikes": "not asked",
        "one cat": "answered",
    }
    assert list(states(made, show=views.EVERY))[:2] == ["four dogs", "two cars"]


def test_several_reasons_stand_together(filled: Callable[..., Filled]) -> None:
    """An item that was asked twice names both reasons where it stands once."""
    from toughcall.records import Batch, Pick

    made = filled(values=FIVE)
    with Store(made.root / "ledger.sqlite") as store:
        store.add_batch(Batch("b003", made.schema.version, "m", (Pick(made.items[0].id, "relabel", 1.0, 0),)))
    with live.opened(made.root) as one:
        picks, answers = views.asked_picks(one), views.answers_by_item(one)
        rows = views.queue_page(one, views.Filter(show=views.EVERY), picks, answers).rows.set_index("text")
    assert rows.loc["one cat", "reason"] == "relabel, in band"
    assert rows.loc["one cat", "batch"] == "b003"


@pytest.mark.parametrize("kind", ["multiclass", "pair", "relation"])
def test_pages_searches_and_bands_agree(
    filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever is filtered, the pages hold each item once, their total is right, and a search finds the words."""
    monkeypatch.setattr(views, "PAGE", 1)
    made = filled(kind)

    def pages(**wanted: Any) -> list[str]:
        found: list[str] = []
        with live.opened(made.root) as one:
            for number in range(9):
                page = views.queue_page(one, views.Filter(page=number, **wanted), [], {})
                found += list(page.rows["item"])
                assert page.total in (0, len(made.items)) or wanted.get("search")
        return found

    everything = pages(show=views.EVERY)
    assert sorted(everything) == sorted(item.id for item in made.items)
    assert pages(show=views.EVERY, band=(0.0, 1.0)) == everything
    assert pages(show=views.EVERY, band=(2.0, 3.0)) == []
    words = made.items[2].texts[0].text.upper()
    found = pages(show=views.EVERY, search=words)
    assert found == [one for one in everything if one in found]
    assert made.items[2].id in found
    assert len(found) == (2 if kind == "pair" else 1)


def test_what_was_counted_belongs_to_one_file(filled: Callable[..., Filled]) -> None:
    """Counted again after the file changed, and not where nothing did; another project is never answered from it."""
    made, other = filled(values=FIVE), filled(values=[SURE] * 5, name="other")
    score_views._asked.cache_clear()
    for root in (made.root, other.root, made.root):
        with live.opened(root) as one:
            found = views.histogram(one, "", 0.5, 0.8)
        assert found is not None
        assert found.in_band == (3 if root == made.root else 0)
    hits = score_views._asked.cache_info().hits
    assert hits >= 2
    save_scores(made.root, made.items, made.schema.labels, np.asarray([TORN] * 5, np.float32))
    with live.opened(made.root) as one:
        found = views.histogram(one, "", 0.5, 0.8)
    assert found is not None
    assert found.in_band == 5
    assert score_views._asked.cache_info().hits == hits


def test_a_damaged_pool_is_one_sentence(filled: Callable[..., Filled]) -> None:
    """A shard that cannot be read names the pool and the command that looks at it."""
    made = filled(values=FIVE)
    for path in (made.root / "pool").glob("texts-*.parquet"):
        path.write_bytes(path.read_bytes()[:-20])
    with live.opened(made.root) as one, pytest.raises(IntegrityError, match="toughcall doctor"):
        views.queue_page(one, views.Filter(show=views.EVERY), [], {})


# ---- one item


def test_a_score_shows_what_it_was_made_of(filled: Callable[..., Filled]) -> None:
    """The parts saved beside a score are shown by name, and its place among all that are scored."""
    made = filled(values=FIVE)
    parts = {"cosine": np.linspace(0, 1, 5, dtype=np.float32), "own": np.zeros(5, np.float32)}
    save_scores(made.root, made.items, made.schema.labels, np.asarray(FIVE, np.float32), **parts)
    with live.opened(made.root) as one:
        found = views.detail(one, made.items[3].id, [], {})
    assert found is not None
    assert found.parts == (("cosine of the encoder", 0.75), ("own", 0.0))
    assert found.place == (1, 5)


def test_held_out_records_are_known(filled: Callable[..., Filled]) -> None:
    """Of some records those of the test part, whatever their ids hold."""
    made = filled(values=FIVE)
    with live.opened(made.root) as one:
        ids = [item.id for item in made.items]
        assert item_views.held_out(one, ids) == {made.items[1].id}
        assert item_views.held_out(one, []) == set()
        assert item_views.held_out(one, ["'; DROP TABLE parts"]) == set()


# ---- words that differ

MARKUP = re.compile(r"</?mark(?: class=\"tc-\w+\")?>")


def plain(marked: str) -> str:
    return html.unescape(MARKUP.sub("", marked))


@given(st.text(), st.text(), st.lists(st.sampled_from(["alpha", "<b>", "&amp;", "beta", "\n"]), min_size=4))
def test_c78_marks_are_the_only_markup(a: str, b: str, shared: list[str]) -> None:
    """C78, P12: whatever two texts hold, without our marks and unescaped they are what they were."""
    first, second = (f"{text} {' '.join(shared)}" for text in (a, b))
    found = differing.differing(first, second)
    if found is not None:
        assert tuple(map(plain, found)) == (first, second)
        assert not any("<" in MARKUP.sub("", one) for one in found)


@pytest.mark.parametrize(
    ("a", "b", "marked"),
    [
        ("the red car", "the blue car", ("the <mark>red</mark> car", "the <mark>blue</mark> car")),
        (
            "Port 8080 is open",
            "port 8081 is open",
            ("Port <mark>8080</mark> is open", "port <mark>8081</mark> is open"),
        ),
        ("a b c", "a b c d e", ("a b c", "a b c <mark>d e</mark>")),
        ("same", "same", ("same", "same")),
        ("a <b>x</b> c", "a <b>y</b> c", None),
        ("one two", "three four", None),
        ("", "", None),
        ("!!!", "!!!", None),
        (HOSTILE[0], HOSTILE[1], None),
    ],
)
def test_words_that_differ_are_marked(a: str, b: str, marked: tuple[str, str] | None) -> None:
    """What the other record lacks is marked; texts that share next to nothing, or no word, are shown as they are."""
    found = differing.differing(a, b)
    if a.startswith("a <b>"):
        assert found == ("a &lt;b&gt;<mark>x</mark>&lt;/b&gt; c", "a &lt;b&gt;<mark>y</mark>&lt;/b&gt; c")
    else:
        assert found == marked


def test_long_texts_are_not_compared() -> None:
    """Texts too long to compare while somebody waits are shown without marks."""
    assert differing.differing("word " * (differing.WORDS + 1), "word") is None


def test_c78_spans_are_marked_and_escaped() -> None:
    """C78: the spans of a relation are marked in a text that is escaped, nested spans too."""
    text = "<i>Ada</i> saw Bo & Cy"
    start, end = text.index("Bo"), len(text)
    item = Relation(Text(text), Span(3, 6, "X"), Span(start, end, "Y"))
    marked = differing.spanned(item)
    assert plain(marked) == text
    assert '&lt;i&gt;<mark class="tc-subject">Ada</mark>' in marked
    assert '<mark class="tc-object">Bo &amp; Cy</mark>' in marked


# ---- what is near


class Compass:
    """An encoder whose vectors are known: the angle that a text ends in, in degrees."""

    name, sha, dimension = "compass", SHA, 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode(self, texts: list[str], progress: Any = None) -> Floats:
        angles = np.deg2rad([float(text.rsplit(" ", 1)[-1]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def truncated(self, texts: list[str]) -> int:
        return 0


TEXTS = tuple(f"at {angle}" for angle in (0, 10, 25, 45, 100))


@pytest.fixture
def turned(filled: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch) -> Filled:
    """A project whose vectors are kept: items at 0°, 10°, 25°, 45° and 100°, the first two and the last labelled."""
    made = filled(texts=TEXTS, values=FIVE)
    monkeypatch.setattr(embed, "SHARD", 2)
    embed.embed([item for item in made.items if isinstance(item, Text)], Compass(made.root), made.root / "vectors")
    monkeypatch.setattr(neighbours, "encoder_sha", lambda name: SHA)
    with Store(made.root / "ledger.sqlite") as store:
        store.add_answers([answer(made.items[4], ("food",), made.schema, "", "import", source="import")])
    return made


def test_the_nearest_labelled_items_are_shown(turned: Filled) -> None:
    """Nearest first with what was answered and the cosine; the item itself and what nobody answered are left out."""
    with live.opened(turned.root) as one:
        found = near.near(one, turned.items[2])
        own = near.near(one, turned.items[0])
    angles = [np.cos(np.deg2rad(degrees)) for degrees in (15, 25, 75)]
    assert [row[:2] for row in found.rows] == [("at 10", "machine"), ("at 0", "animal"), ("at 100", "food")]
    assert [row[2] for row in found.rows] == pytest.approx(angles, abs=1e-5)
    assert [row[0] for row in own.rows] == ["at 10", "at 100"]


def test_only_the_vectors_that_are_needed_are_read(turned: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each shard rows are read by slices, never a shard that holds nothing of it, and labelled ones only once."""
    import safetensors

    opened, rows = [], []
    real = safetensors.safe_open

    class Counting:
        def __init__(self, path: Path, framework: str) -> None:
            opened.append(Path(path).name)
            self.file = real(path, framework=framework)

        def __enter__(self) -> Counting:
            self.file.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.file.__exit__(*error)

        def get_slice(self, name: str) -> Any:
            cut = self.file.get_slice(name)

            class Cut:
                def __getitem__(self, place: slice) -> Any:
                    rows.append(place.stop - place.start)
                    return cut[place]

            return Cut()

    monkeypatch.setattr(safetensors, "safe_open", Counting)
    near._labelled.cache_clear()
    with live.opened(turned.root) as one:
        near.near(one, turned.items[2])
        assert rows == [1] * 4
        assert len(opened) <= 4
        rows.clear()
        near.near(one, turned.items[3])
    assert rows == [1], "the labelled ones are known by now"


def test_without_vectors_neighbours_are_left_out(turned: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, another encoder's cache, an item without a vector: each is left out with a sentence."""
    with live.opened(turned.root) as one:
        assert "no vector yet" in near.near(one, Text("at 7")).why
        monkeypatch.setattr(neighbours, "encoder_sha", lambda name: "f" * 64)
        assert "another encoder's" in near.near(one, turned.items[2]).why
        monkeypatch.setattr(neighbours, "encoder_sha", lambda name: "")
        assert "another encoder's" in near.near(one, turned.items[2]).why
        for path in (turned.root / "vectors").rglob("*.safetensors"):
            path.unlink()
        assert "No vectors are kept" in near.near(one, turned.items[2]).why


def test_damaged_vectors_are_passed_over(turned: Filled) -> None:
    """A shard that is cut off, of another encoder, or holds what is no unit vector gives no neighbour and no error."""
    from safetensors.numpy import save

    folder = turned.root / "vectors" / SHA[:16]
    keys = {item.id: digest("content", item.texts[0].text) for item in turned.items}
    for path in folder.glob("*.safetensors"):
        path.unlink()
    every = list(keys.values())

    def shard(name: str, rows: Any, sha: str = SHA) -> None:
        (folder / f"{name}.safetensors").write_bytes(
            save({"vectors": np.asarray(rows, np.float32)}, {"keys": json.dumps(every), "encoder": sha})
        )

    shard("another", [[1, 0]] * 5, "f" * 64)
    shard("broken", [[np.nan, 0], [3, 4], [0, 1], [0, 1], [0, 1]])
    shard("cut", [[1, 0]] * 5)
    (folder / "cut.safetensors").write_bytes((folder / "cut.safetensors").read_bytes()[:-9])
    found = neighbours.read_vectors(turned.root / "vectors", SHA, every)
    assert {key: vector.tolist() for key, vector in found.items()} == {key: [0.0, 1.0] for key in every[2:]}
    shard("later", [[1, 0], [0, 1], [1, 0], [1, 0], [1, 0]])
    found = neighbours.read_vectors(turned.root / "vectors", SHA, every)
    assert found[every[0]].tolist() == [1.0, 0.0], "whole elsewhere"


def test_pairs_are_compared_in_both_orders(tmp_path: Path) -> None:
    """The cosine of two pairs is the mean over both records, in the better of both orders."""
    texts = [Text(f"at {angle}") for angle in (0, 90, 80, 10, 45)]
    embed.embed(texts, Compass(tmp_path), tmp_path)
    item, crossed, far = Pair(texts[0], texts[1]), Pair(texts[2], texts[3]), Pair(texts[3], texts[4])
    known = neighbours.known(tmp_path, SHA, [crossed, far])
    assert known.array.shape == (2, 2, 2)
    found = neighbours.nearest(item, known, tmp_path, SHA)
    assert found is not None
    assert [one.item for one in found] == [crossed.id, far.id]
    assert found[0].cosine == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-5)


def test_the_hub_is_never_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: an encoder that is not on this machine has no digest here; one in a folder has that of its files."""
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def download(name: str, **more: Any) -> str:
        asked.append(more)
        raise FileNotFoundError(name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    neighbours.encoder_sha.cache_clear()
    assert neighbours.encoder_sha("somebody/some-model") == ""
    assert asked == [{"local_files_only": True}]
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert neighbours.encoder_sha(str(tmp_path)) == embed.folder_sha(tmp_path)
