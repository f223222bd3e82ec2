"""The four marks of a relation as tokens of their own, for encoders that are trained further."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toughcall.records import MARKS

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

NEAR = dict(zip(MARKS, ("subject", "subject", "object", "object"), strict=True))
"""The word whose vector a mark starts from: a mark that starts at random is noise until it is trained."""


def add_marks(encoder: SentenceTransformer) -> int:
    """Make the marks special tokens of an encoder, in place; return how many were new (0 the second time).

    A tokenizer would cut "[SUBJ]" into pieces that also occur in texts (entity markers: Baldini Soares et al.,
    ACL 2019). The new rows of the embedding start from the words "subject" and "object", so that
    texts without marks keep their vectors and those with marks start near them.
    """
    import torch

    part: Any = encoder[0]
    tokenizer, network = part.tokenizer, part.model if hasattr(part, "model") else part.auto_model
    added = int(tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)}))
    if not added:
        return 0
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = network.get_input_embeddings().weight
    with torch.no_grad():
        for mark in MARKS:
            word = tokenizer(NEAR[mark], add_special_tokens=False)["input_ids"]
            rows[tokenizer.convert_tokens_to_ids(mark)] = rows[word].mean(dim=0)
    return added
