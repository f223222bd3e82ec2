"""Labels that somebody should look at again: those the model contradicts, and near twins that say different things."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toughcall.files import write_atomically
from toughcall.model.kind import Kind
from toughcall.records import Floats, Label, Reals, Value
from toughcall.schema import Schema, chosen_of
from toughcall.workspace import Workspace

FILE = "doubts.json"
MOST = 100
"""So many of each sort are kept, the most doubtful first."""
NEAR = 0.9
"""The cosine from which two texts are near twins whose labels should agree."""
BLOCK = 1_000


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that models which did not see it contradict. `quality`, in [0, 1]: how far they bear it out."""

    item: str
    given: tuple[str, ...]
    said: tuple[str, ...]
    quality: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two items that read almost alike (`cosine`) and have different labels."""

    item: str
    other: str
    given: tuple[str, ...]
    other_given: tuple[str, ...]
    cosine: float


def suspects(kind: Kind, schema: Schema, labels: Sequence[Label], p: Reals) -> list[Suspect]:
    """Return the labels that are likelier wrong than right, by confident learning, the worst first.

    Args:
        kind: the kind of work; numbers have no such errors.
        schema: what may be answered.
        labels: in the order of `p`.
        p: probabilities by models that did not see the row, shape (n, k).

    By cleanlab: Northcutt, Jiang and Chuang 2021, Confident Learning (JAIR 70), section 3; for any number of
    labels Thyagarajan et al. 2022. What it cannot judge, such as a label with no other example, is left out.

    """
    if not kind.labelled or len(labels) < 2 * len(schema.labels):
        return []
    truth = np.asarray(kind.targets(schema, [label.value for label in labels]), dtype=bool)
    if len(kind.columns(schema)) == 1:
        truth, p = np.column_stack([truth, ~truth]), np.column_stack([p, 1.0 - p])
    if schema.single:
        given = truth.argmax(axis=1)
        if len(np.unique(given)) < truth.shape[1]:
            # the library numbers classes without a gap
            kept = np.unique(given)
            given, p = np.searchsorted(kept, given), p[:, kept]
            names = [schema.labels[j] for j in kept]
        else:
            names = list(schema.labels)
        if len(names) < 2:
            return []
        p = p / np.maximum(p.sum(axis=1, keepdims=True), 1e-12)
        wrong, quality = _single(given, p)
        says: list[tuple[str, ...]] = [(names[j],) for j in p.argmax(axis=1)]
    else:
        wrong, quality = _several(truth, p)
        says = [tuple(name for name, high in zip(schema.labels, row >= 0.5, strict=True) if high) for row in p]
    order = sorted(np.flatnonzero(wrong), key=lambda row: (quality[row], labels[row].item))
    found = [Suspect(labels[row].item, chosen_of(labels[row].value), says[row], float(quality[row])) for row in order]
    return [one for one in found if one.given != one.said][:MOST]


def _single(given: Any, p: Reals) -> tuple[Any, Any]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        # it warns of classes with few examples, which is what there is
        warnings.simplefilter("ignore")
        return np.asarray(find_label_issues(given, p, n_jobs=1)), np.asarray(get_label_quality_scores(given, p))


def _several(truth: Any, p: Reals) -> tuple[Any, Any]:
    from cleanlab.multilabel_classification import get_label_quality_scores
    from cleanlab.multilabel_classification.filter import find_label_issues

    given = [np.flatnonzero(row).tolist() for row in truth]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = np.asarray(find_label_issues(given, np.asarray(p, dtype=float), n_jobs=1))
        return wrong, np.asarray(get_label_quality_scores(given, np.asarray(p, dtype=float)))


def contradictions(labels: Sequence[tuple[str, Value]], vectors: Floats, near: float = NEAR) -> list[Contradiction]:
    """Return pairs of items whose vectors are near and whose labels differ, the nearest first.

    `vectors`: of unit length, shape (n, d), in the order of `labels`.
    """
    found: list[Contradiction] = []
    said = [frozenset(chosen_of(value)) for _, value in labels]
    for start in range(0, len(labels), BLOCK):
        block = vectors[start : start + BLOCK] @ vectors.T
        for i, j in zip(*np.nonzero(block >= near), strict=True):
            a, b = start + int(i), int(j)
            if a < b and said[a] != said[b]:
                one, two = sorted((labels[a], labels[b]))
                values = (chosen_of(one[1]), chosen_of(two[1]))
                found.append(Contradiction(one[0], two[0], *values, round(float(min(1.0, block[i, j])), 4)))
    return sorted(found, key=lambda one: (-one.cosine, one.item, one.other))[:MOST]


def write(ws: Workspace, labels: Sequence[Label], p: Reals | None, version: str) -> Path:
    """Write what is doubtful of the training labels beside the scores, for the review page.

    `p`: what models say that did not see the rows, None where there are none.
    """
    usable = ws.kind.items == "texts" and ws.kind.labelled
    rows = [(label.item, label.value) for label in labels if label.item in ws.vectors.where] if usable else []
    twins = contradictions(rows, ws.vectors.rows([item for item, _ in rows])) if rows else []
    wrong = suspects(ws.kind, ws.schema, labels, p) if p is not None else []
    content = {
        "version": version,
        "schema": ws.schema.version,
        "labels": len(labels),
        "suspects": [asdict(one) for one in wrong],
        "contradictions": [asdict(one) for one in twins],
    }
    path = ws.project.root / "scores" / FILE
    write_atomically(path, lambda aside: aside.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8"))
    return path
