"""A network: what it reads, that stored weights fit exactly or not at all, and what LoRA changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_encoder import WIDTH, tiny

from toughcall.mining.embed import load_encoder
from toughcall.model import kinds
from toughcall.model.network import Network, Reads, Shape, reads_of
from toughcall.records import MARKS, IntegrityError, Pair, Relation, Span, Text, UsageError

TEXTS = [Text("the fox bites the dog"), Text("a note"), Text("bread, soup and pear 17 — zebra"), Text("x " * 200)]
PAIRS = [Pair(TEXTS[0], TEXTS[1]), Pair(TEXTS[2], TEXTS[3]), Pair(TEXTS[3], TEXTS[0])]
SITE = "site 1: the fox was found at the quarry today"
RELATIONS = [
    Relation(Text(SITE), Span(12, 15, "TAXON"), Span(33, 39, "LOC")),
    Relation(Text(SITE, "back"), Span(33, 39, "LOC"), Span(12, 15, "TAXON")),
    # the marks stand behind what is read of it
    Relation(Text("report " * 90 + SITE), Span(642, 645, "TAXON"), Span(663, 669, "LOC")),
]
ITEMS: dict[Reads, Any] = {"text": TEXTS, "marked": RELATIONS, "apart": PAIRS, "cross": PAIRS}


def network(
    reads: Reads = "text", outputs: int = 3, rank: int = 0, *, seed: int = 0, folder: Path | None = None
) -> Any:
    return Network(folder or tiny(), Shape(reads, outputs, rank), device="cpu", seed=seed)


def stirred(made: Network, seed: int = 0) -> Network:
    """Move every weight that training may move, so that each of them counts."""
    rng = np.random.default_rng(seed)
    made.load({name: one + 0.1 * rng.normal(size=one.shape).astype(np.float32) for name, one in made.state().items()})
    return made


def test_every_kind_is_read_in_its_own_way() -> None:
    """One text, a text with marks, two texts apart, or two texts as one where a pair is asked to be read so."""
    assert {name: reads_of(kind) for name, kind in kinds.KINDS.items()} == {
        **dict.fromkeys(("multilabel", "multiclass", "scores"), "text"),
        **{"relation": "marked", "pair": "apart"},
    }
    assert reads_of(kinds.get("pair"), cross=True) == "cross"
    assert network("text").texts(TEXTS)[1] == ("a note",)
    first, back = network("marked").texts(RELATIONS)[:2]
    assert first == ("site 1: the [SUBJ] fox [/SUBJ] was found at the [OBJ] quarry [/OBJ] today",)
    assert back != first, "the direction is read"
    apart, as_one = (network(reads).batch(network(reads).texts(PAIRS)) for reads in ("apart", "cross"))
    assert (len(apart), len(as_one)) == (2, 1)
    assert as_one[0]["token_type_ids"].max() == 1, "the second text is told from the first"
    assert as_one[0]["input_ids"].shape[1] <= 64


@pytest.mark.parametrize(("reads", "wide"), [("text", WIDTH), ("marked", 3 * WIDTH), ("apart", 1), ("cross", WIDTH)])
@pytest.mark.parametrize("rank", [0, 2])
def test_outputs_come_in_the_order_of_the_items(reads: Reads, wide: int, rank: int) -> None:
    """C19: whatever the batch, each item has its own finite outputs; a new network's are all zero."""
    made = network(reads, rank=rank)
    assert not made.score(ITEMS[reads]).any()
    assert made.each(ITEMS[reads], made.features).shape == (len(ITEMS[reads]), wide)
    together = stirred(made).score(ITEMS[reads])
    alone = np.vstack([made.score([item]) for item in ITEMS[reads]])
    assert np.isfinite(together).all()
    assert together == pytest.approx(alone, abs=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-4
    assert made.score([]).shape == (0, 3)


def test_untrained_features_are_the_encoder_s_own_vectors(tmp_path: Path) -> None:
    """Every part of the encoder is read, a dense layer behind the pooling too: nothing is left out in silence."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    plain = SentenceTransformer(str(tiny()), device="cpu")
    torch.manual_seed(0)
    parts = [plain[0], plain[1], Dense(WIDTH, 8)]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "dense"), create_model_card=False)
    texts = [text.text for text in TEXTS]
    for folder, width in ((tiny(), WIDTH), (tmp_path / "dense", 8)):
        for rank in (0, 2):
            made = network(rank=rank, folder=folder)
            found = made.each(TEXTS, made.features)
            assert found.shape == (len(TEXTS), width)
            assert found == pytest.approx(load_encoder(str(folder), "cpu").encode(texts), abs=1e-5)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("reads", ["text", "marked", "apart", "cross"])
def test_c60_stored_weights_give_the_very_same_outputs(reads: Reads, rank: int) -> None:
    """C60, P9: what was trained, loaded into a network of another seed, gives identical logits."""
    made = stirred(network(reads, rank=rank))
    again = network(reads, rank=rank, seed=5)
    before = again.score(ITEMS[reads])
    again.load(made.state())
    assert again.score(ITEMS[reads]).tobytes() == made.score(ITEMS[reads]).tobytes() != before.tobytes()
    kept = made.state()
    stirred(made, 1)
    assert any((kept[name] != one).any() for name, one in made.state().items()), "a state is a copy"


def lose(state: dict[str, Any]) -> None:
    state.pop(next(name for name in state if "lora_B" in name))


def rename(state: dict[str, Any]) -> None:
    name = next(name for name in state if "lora_B" in name)
    state[f"base_model.model.{name}"] = state.pop(name)


def add(state: dict[str, Any]) -> None:
    state["encoder.0.model.pooler.more"] = np.zeros(3, np.float32)


def turn(state: dict[str, Any]) -> None:
    name = next(name for name, one in state.items() if one.ndim == 2 and one.shape[0] != one.shape[1])
    state[name] = state[name].T


def spoil(state: dict[str, Any]) -> None:
    state["out.weight"][0, 0] = np.nan


@pytest.mark.parametrize("harm", [lose, rename, add, turn, spoil])
def test_c59_what_does_not_fit_exactly_is_refused(harm: Callable[[dict[str, Any]], None]) -> None:
    """C59, 001: a weight that is missing, renamed, too many, of another shape or no number is told by name."""
    state = stirred(network(rank=2)).state()
    harm(state)
    with pytest.raises(IntegrityError, match=r"adapter not applied: \S+ (is missing|is stored|has another)") as caught:
        network(rank=2).load(state)
    assert caught.value.code == 6


@pytest.mark.parametrize(("stored", "asked"), [((2, 3), (4, 3)), ((0, 3), (2, 3)), ((2, 3), (0, 3)), ((2, 3), (2, 4))])
def test_c59_the_state_of_another_recipe_is_refused(stored: tuple[int, int], asked: tuple[int, int]) -> None:
    """C59: weights of another rank, of a full fine-tune, of adapters, or of another number of labels fit nowhere."""
    made, other = (network(outputs=outputs, rank=rank) for rank, outputs in (stored, asked))
    with pytest.raises(IntegrityError, match="adapter not applied"):
        other.load(made.state())


def test_marks_are_single_tokens_and_a_cut_one_is_no_crash() -> None:
    """004: each mark is one token, the same in every process; where a text ends before its marks the first token
    stands in for them."""
    made = network("marked", rank=2)
    tokens = made.encoder.tokenizer.tokenize("a [SUBJ] fox [/SUBJ] bites [OBJ] bread [/OBJ]")
    assert tokens == ["a", "[SUBJ]", "fox", "[/SUBJ]", "bites", "[OBJ]", "bread", "[/OBJ]"]
    ids = [network("marked").encoder.tokenizer.convert_tokens_to_ids(sign) for sign in MARKS]
    assert ids == [made.encoder.tokenizer.convert_tokens_to_ids(sign) for sign in MARKS]
    found = made.each(RELATIONS, made.features).reshape(3, 3, WIDTH)
    assert np.linalg.norm(found, axis=2) == pytest.approx(np.ones((3, 3)), abs=1e-5)
    assert np.abs(found[0, 1] - found[0, 2]).max() > 0.01, "subject and object are read at their own marks"
    assert (found[2, 1] == found[2, 2]).all(), "neither is left: the first token stands in for both"


def test_lora_changes_adapters_and_the_output_layer_alone() -> None:
    """000, T6: of a network with adapters nothing else is trained; as they begin they change no vector."""
    made = network(rank=2)
    names = {name for name, _ in made.trained()}
    assert {name for name in names if "lora_" not in name} == {"out.weight", "out.bias"}
    assert len({name for name in names if "lora_" in name}) == 2 * 13, "every linear layer has its two matrices"
    assert made.encoder.active_adapters() == ["default"]
    assert {name for name, _ in network(rank=0).trained()} > {"out.weight", "encoder.0.model.pooler.dense.bias"}
    assert made.each(TEXTS, made.features).tobytes() == network().each(TEXTS, network().features).tobytes()


def test_without_peft_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """O5: the recipe that needs another package says which, exit 2; a full fine-tune does without."""
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"recipe lora needs peft: pip install") as caught:
        network(rank=2)
    assert caught.value.code == 2
    assert network(rank=0).score(TEXTS).shape == (4, 3)
