"""A sentence encoder that is made in a second: two layers of BERT, drawn at random, that know the words of the tests.

Other test folders read it with runpy: only this folder and tests/ itself are on pytest's path.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import string
import tempfile
from pathlib import Path

WORDS = """
fox wolf hare pump gear motor bread soup pear much little clarity warmth reach is not occurs in was found at belongs
to site today report about once more shale marl clay quarry cliff cave subject object note the a of and bites dog man
"""
WIDTH = 32


def build(folder: Path, seed: int = 0) -> Path:
    """Save the encoder as a sentence-transformers folder with safetensors; another seed is another encoder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    pieces = [*string.digits, *string.ascii_lowercase, *string.punctuation]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *pieces, *(f"##{one}" for one in pieces)]
    vocab = list(dict.fromkeys(vocab))
    bert = folder.with_name(f"{folder.name}-bert")
    bert.mkdir(parents=True)
    tokenizer = BertTokenizer({word: place for place, word in enumerate(vocab)}, model_max_length=64)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertModel(
            BertConfig(
                vocab_size=len(vocab),
                hidden_size=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=64,
                # vectors of two texts would all but coincide with what BERT starts from, 0.02
                initializer_range=0.3,
            )
        )
    network.save_pretrained(bert)
    tokenizer.save_pretrained(bert)
    first = Transformer(str(bert), max_seq_length=64)
    made = SentenceTransformer(modules=[first, Pooling(WIDTH, "mean"), Normalize()], device="cpu")
    made.save(str(folder), create_model_card=False)
    return folder


@functools.cache
def _kept() -> Path:
    folder = tempfile.mkdtemp(prefix="tiny-encoder-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def tiny(seed: int = 0) -> Path:
    """Return the folder of the encoder, made once in a session."""
    return build(_kept() / f"tiny{seed}", seed)
