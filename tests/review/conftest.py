"""The fixture that makes a filled project for the review page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from review_project import Filled, ask, save_scores

from toughcall import project as projects
from toughcall.model import kinds
from toughcall.pool import Pool
from toughcall.reading import Row
from toughcall.records import Item, Pair, Relation, Span, Text
from toughcall.review import live
from toughcall.store import Store
from toughcall.workspace import schema_of

ASKED: dict[str, dict[str, dict[str, Any]]] = {
    "pair": {"labels": {"similar": "", "not_similar": ""}},
    "relation": {"labels": {"eats": "", "NO_RELATION": ""}, "types": {"eats": [["X", "Y"]]}},
    "scores": {"dimensions": {"mood": {"low": -4.0, "high": 4.0, "step": 0.5}, "force": {"hint": "how hard"}}},
}


@pytest.fixture(autouse=True)
def every_tab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw all tabs at once: a test reads what it is about."""
    monkeypatch.setattr(live, "LAZY", False)


@pytest.fixture
def filled(make_project: Callable[..., Path]) -> Callable[..., Filled]:
    """Return a function (kind, texts, values) → a project with scores, a closed and an open batch.

    For `pair` the items are the pairs of neighbouring texts, for `relation` each text's first two words. The
    closed batch b001 holds item 0, answered with the schema's first label; the open batch b002 holds items 1
    and 2, item 1 answered with the second label. For `scores` the answers are 1 and 2 on each dimension.
    """

    def fill(
        kind: str = "multiclass",
        texts: Sequence[str] = ("one cat", "two cars", "three pies", "four dogs", "five bikes"),
        values: Sequence[Sequence[float]] | None = None,
        keys: Sequence[str] | None = None,
        **settings: Any,
    ) -> Filled:
        root = make_project(kind, asked=ASKED.get(kind), **settings)
        one = kinds.get(kind)
        schema = schema_of(projects.load(root, kinds.KINDS))
        made = [Text(text, keys[place] if keys else f"k{place}") for place, text in enumerate(texts)]
        items: list[Item] = list(made)
        if kind == "pair":
            items = [Pair(a, b) for a, b in itertools.pairwise(made)]
        if one.spanned:
            cuts = [text.text.index(" ") for text in made]
            items = [
                Relation(t, Span(0, c, "X"), Span(c + 1, len(t.text), "Y")) for t, c in zip(made, cuts, strict=True)
            ]
        Pool(root / "pool").add([Row(f"row {place}", item) for place, item in enumerate(items)])
        columns = one.columns(schema)
        if values is None:
            given = np.random.default_rng(0).dirichlet(np.ones(max(2, len(columns))), len(items))[:, : len(columns)]
        else:
            given = np.asarray(values)
        parts = {} if one.labelled else {"spread": np.linspace(0.0, 0.5, len(items), dtype=np.float32)}
        save_scores(root, items, columns, given.astype(np.float32), **parts)
        with Store(root / "ledger.sqlite") as store:
            store.add_schema(schema)
            store.add_parts({t.id: "test" if n == 1 else "train" for n, t in enumerate(made)}, {t.id: "" for t in made})
            ask(store, schema, items)
        return Filled(root, items, schema)

    return fill
