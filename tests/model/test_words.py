"""Words as numbers: what is counted on a pool."""

from __future__ import annotations

import numpy as np

from toughcall.model import words
from toughcall.model.words import Words


def test_the_weights_are_those_of_the_corpus_given() -> None:
    """P13: weights that were counted before are used for the same texts alone, and nobody can spoil them."""
    one, two = ["a cat sat", "a dog"], ["a cat sat", "a cat"]
    first, again = Words.fit(one), Words.fit(list(one))
    assert np.array_equal(first.idf, again.idf)
    again.idf[:] = 0
    assert np.array_equal(Words.fit(one).idf, first.idf)
    assert not np.array_equal(Words.fit(two).idf, first.idf)
    words._idf.cache_clear()
    assert np.array_equal(Words.fit(one).idf, first.idf)


def test_a_rare_word_weighs_more() -> None:
    """The weight of a column is ln((1 + n) / (1 + df)) + 1, over an empty corpus 1."""
    fitted = Words.fit(["cat", "cat dog", "cat"])
    cat, dog = (int(words._counts([word]).indices[0]) for word in ("cat", "dog"))
    assert np.isclose(fitted.idf[cat], 1.0)
    assert np.isclose(fitted.idf[dog], np.log(4 / 2) + 1.0)
    assert (Words.fit([]).idf == 1.0).all()
