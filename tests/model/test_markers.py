"""Marks as tokens: one id each, kept through save and load, and nothing else of the encoder moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toughcall.mining.embed import load_encoder
from toughcall.model.markers import add_marks
from toughcall.records import MARKS, Relation, Span, Text


@pytest.fixture(scope="module")
def marked() -> tuple[object, np.ndarray]:
    """The packaged encoder with the marks added, and what it said of a plain text before."""
    encoder = load_encoder("minilm", "cpu").model
    before = encoder.encode(["a subject and an object"])
    assert add_marks(encoder) == len(MARKS)
    return encoder, before


def test_a_mark_is_one_token_and_is_added_once(marked: tuple[object, np.ndarray], tmp_path: Path) -> None:
    """Rule: each mark is one id, wherever it stands; a second call adds nothing; save and load keep both."""
    from sentence_transformers import SentenceTransformer

    encoder, _ = marked
    item = Relation(Text("Ann works for Acme."), Span(0, 3, "PER"), Span(14, 18, "ORG"))
    assert add_marks(encoder) == 0
    encoder.save(str(tmp_path / "e"))
    again = SentenceTransformer(str(tmp_path / "e"), device="cpu")
    for one in (encoder, again):
        tokens = one.tokenizer.tokenize(item.marked)
        assert [token for token in tokens if token in MARKS] == list(MARKS)
        assert one.tokenizer.unk_token not in tokens
    assert np.allclose(encoder.encode([item.marked]), again.encode([item.marked]), atol=1e-6)


def test_a_text_without_marks_keeps_its_vector_and_marks_move_one_with_them(marked: tuple[object, np.ndarray]) -> None:
    """Rule: adding tokens changes nothing that has none of them; subject and object are told apart from the start."""
    encoder, before = marked
    assert np.allclose(encoder.encode(["a subject and an object"]), before, atol=1e-6)
    one, other = encoder.encode(
        ["[SUBJ] Ann [/SUBJ] pays [OBJ] Bob [/OBJ]", "[OBJ] Ann [/OBJ] pays [SUBJ] Bob [/SUBJ]"]
    )
    assert float(np.abs(one - other).max()) > 1e-3
