"""Answers of several people → one label per item, by a stated rule; and what reviewers decide. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from toughcall.records import Answer, Label, Value
from toughcall.schema import chosen_of, numbers_of

ADJUDICATION = "adjudication"
GOLD = "gold"
"""Roles of a batch or an answer beside asking (""): deciding a disagreement, and checking on who answers."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer decided on an item of the queue: approve, pin, set_aside or clear. `id` is unique."""

    id: str
    item: str
    action: str
    reason: str
    who: str
    at: str


def role_of(answer: Answer) -> str:
    """Return the role in which an answer was given, "" for one that was simply asked for."""
    return str(answer.origin.get("role", ""))


def decided(answers: Iterable[Answer]) -> tuple[list[Label], list[str]]:
    """Return (agreed labels by item id, ids in disagreement).

    The rule: the newest adjudicated answer decides. Else an item's label is what more annotators said than
    anything else, each with their newest answer, with the mean of their numbers on each dimension; a tie is a
    disagreement and neither trains nor evaluates. Where a person answered, only persons vote: an imported or
    made label is what they were asked to check. Skips, "can't tell" and checks on known items do not vote.

    Args:
        answers: the current ones of one schema, oldest first.

    """
    votes: dict[str, dict[str, Answer]] = {}
    final: dict[str, Answer] = {}
    for answer in answers:
        role = role_of(answer)
        if answer.outcome != "label" or role == GOLD:
            continue
        if role == ADJUDICATION:
            final[answer.item] = answer
        else:
            votes.setdefault(answer.item, {})[answer.annotator] = answer
    labels: list[Label] = []
    torn: list[str] = []
    for item in sorted(votes.keys() | final.keys()):
        given = list(votes.get(item, {}).values())
        if item in final:
            last = final[item]
            batch = given[0].batch if given else last.batch
            labels.append(Label(item, last.value, last.source, last.trust, batch, len(given) + 1))
            continue
        said: dict[Value, list[Answer]] = {}
        for answer in [one for one in given if one.source == "person"] or given:
            said.setdefault(tuple(sorted(chosen_of(answer.value))), []).append(answer)
        ranked = sorted(said.values(), key=len, reverse=True)
        if len(ranked) > 1 and len(ranked[0]) == len(ranked[1]):
            torn.append(item)
            continue
        first = min(ranked[0], key=lambda answer: answer.trust != "gold")
        value: Value = (*chosen_of(first.value), *_means(ranked[0]))
        labels.append(Label(item, value, first.source, first.trust, first.batch, len(ranked[0])))
    return labels, torn


def _means(answers: Sequence[Answer]) -> list[tuple[str, float]]:
    """Return the mean of the numbers given on each dimension, in the order they were first given.

    Exact, so that a mean of numbers inside their range is inside it too, whoever answered first.
    """
    given: dict[str, list[float]] = {}
    for answer in answers:
        for name, number in numbers_of(answer.value).items():
            given.setdefault(name, []).append(number)
    return [(name, statistics.mean(numbers)) for name, numbers in given.items()]
