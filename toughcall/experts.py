"""Several people answer: who gets what, how far they agree, who decides, and when asking again pays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from toughcall.records import Answer, Batch, Item, Pick, UsageError, Value, digest
from toughcall.schema import chosen_of, numbers_of
from toughcall.voting import ADJUDICATION, GOLD, role_of
from toughcall.workspace import Workspace

RELABEL = "relabel"
SHARED = 20
"""So many items with two answers it takes to say how often people err."""


def votes(ws: Workspace) -> list[Answer]:
    """Return what people said of their own accord under the present labels: no checks, no adjudication, no imports."""
    return [one for one in ws.store.valid(ws.schema.version) if one.source == "person" and not role_of(one)]


def assigned(ws: Workspace, batch: Batch) -> dict[str, tuple[str, ...]]:
    """Return who answers which item of a batch: nobody one twice, loads even, every two people sharing some."""
    from toughcall.annotate.relabelling import assign

    settings = ws.project.studio
    load = dict.fromkeys(settings.experts, 0)
    had: dict[str, set[str]] = {}
    for _, item, expert, _, state in ws.store.tasks():
        if expert in load and state != "set_aside":
            load[expert] += 1
            had.setdefault(item, set()).add(expert)
    for answer in ws.store.answers():
        had.setdefault(answer.item, set()).add(answer.annotator)
    rng = np.random.default_rng([ws.project.seed, int(digest("assign", batch.name)[:8], 16)])
    new = [pick.item for pick in batch.picks if pick.reason not in (RELABEL, GOLD)]
    found = assign(new, settings.experts, settings.overlap, load=load, rng=rng)
    for experts in found.values():
        for expert in experts:
            load[expert] += 1
    for pick in batch.picks:
        if pick.item in found:
            continue
        others = [one for one in settings.experts if one not in had.get(pick.item, ())] or list(settings.experts)
        chosen = min(others, key=lambda one: (load[one], one))
        load[chosen] += 1
        found[pick.item] = (chosen,)
    return found


def said(value: Value) -> str:
    """Return an answer in words."""
    numbers = [f"{name} {number:g}" for name, number in numbers_of(value).items()]
    return ", ".join([*chosen_of(value), *numbers]) or "none of these"


def told(ws: Workspace, items: Sequence[str]) -> dict[str, str]:
    """Return what was answered of each item, a line for each answer, without names and in no order that tells them."""
    wanted, lines = set(items), dict[str, list[str]]()
    for answer in sorted(votes(ws), key=lambda one: digest("order", one.key)):
        if answer.item in wanted:
            word = {"label": said(answer.value), "cant_tell": "can't tell"}.get(answer.outcome, "skipped")
            lines.setdefault(answer.item, []).append(word)
    return {item: "\n".join(f"{n}. {one}" for n, one in enumerate(lines.get(item, ()), 1)) for item in items}


def torn(ws: Workspace) -> list[str]:
    """Return the items that people disagree on and nobody has been asked to decide yet."""
    roles = {row["name"]: row["role"] for row in ws.store.batches()}
    asked = {pick.item for batch, pick in ws.store.picks() if roles[batch] == ADJUDICATION}
    asked |= {answer.item for answer in ws.store.answers() if role_of(answer) == ADJUDICATION}
    return [item for item in ws.store.labels(ws.schema.version)[1] if item not in asked]


def adjudicate(ws: Workspace, size: int | None = None) -> Batch:
    """Make a batch of what people disagree on, for somebody to decide; empty when there is nothing."""
    items = torn(ws)[:size]
    lines = told(ws, items)
    picks = [
        Pick(item, ADJUDICATION, 0.5, rank, note=lines[item].replace("\n", " · ")) for rank, item in enumerate(items)
    ]
    batch = Batch(ws.store.next_batch_name(), ws.schema.version, "", tuple(picks))
    if picks:
        ws.store.add_batch(batch, ADJUDICATION)
    return batch


def decide(ws: Workspace, item: str, value: Value | None, who: str, decision: str, at: str = "") -> bool:
    """Store what somebody decided on an item (None: cannot be told); the same decision twice is one (C79, C80).

    Args:
        ws: the project, opened for writing.
        item: its id.
        value: the answer under the present labels.
        who: the name of the person who decides.
        decision: the id of this decision, made where the button was shown.
        at: when, as ISO 8601.

    Returns whether it was new. Raises UsageError for a value that is no answer, or without a name.

    """
    if not who.strip():
        raise UsageError("a decision needs the name of who decides: write it beside the button")
    found: Item | None = ws.pool.items([item]).get(item)
    if found is None:
        raise UsageError(f"item {item} is not in the pool: toughcall doctor says what is missing")
    if value is not None and (problem := ws.schema.check(value, ws.schema.offered(found))):
        raise UsageError(f"that is no answer ({problem}): choose again")
    answer = Answer(
        key=digest(ADJUDICATION, item, decision),
        item=item,
        annotator=who.strip(),
        outcome="cant_tell" if value is None else "label",
        value=ws.schema.ordered(value or ()),
        batch="",
        schema=ws.schema.version,
        at=at,
        origin={"role": ADJUDICATION, "decision": decision},
    )
    return ws.store.add_answers([answer]) > 0


# ---- what is asked beside new items


def known(ws: Workspace) -> dict[str, Value]:
    """Return the training items whose answer is beyond doubt: imported as gold, or adjudicated."""
    parts = ws.store.parts()
    final = {a.item: a.value for a in ws.store.valid(ws.schema.version) if role_of(a) == ADJUDICATION}
    given = {a.item: a.value for a in ws.store.valid(ws.schema.version) if a.source == "import" and a.trust == "gold"}
    items = ws.pool.items(given.keys() | final.keys())
    return {
        one: final.get(one, given.get(one, ()))
        for one, item in items.items()
        if all(parts.get(text.id) == "train" for text in item.texts)
    }


def checks(ws: Workspace, size: int, rng: np.random.Generator) -> list[Pick]:
    """Return items of known answer to mix into a batch of `size`, as `studio.gold` says; none was asked before."""
    wanted = round(ws.project.studio.gold * size)
    asked = {pick.item for _, pick in ws.store.picks()}
    open_ = sorted(known(ws).keys() - asked) if wanted else []
    chosen = [open_[row] for row in sorted(rng.choice(len(open_), min(wanted, len(open_)), replace=False))]
    return [Pick(item, GOLD, 1.0, 0, note="its answer is known: a check on who answers") for item in chosen]


def again(ws: Workspace, size: int) -> tuple[list[Pick], str]:
    """Return old items worth asking a second person about, best first, and a sentence; none without a measure of error.

    Taken are those where another answer is expected to be worth more than a new item's, at most `studio.relabel` of
    the batch.
    """
    from toughcall.annotate.relabelling import expected_worth, posteriors

    given = votes(ws)
    people: dict[str, set[str]] = {}
    for answer in given:
        people.setdefault(answer.item, set()).add(answer.annotator)
    if sum(len(who) > 1 for who in people.values()) < SHARED or not ws.kind.labelled:
        return [], ""
    parts = ws.store.parts()
    items = ws.pool.items(people)
    worth = expected_worth(posteriors(given, ws.schema))
    given_up = set(ws.store.labels(ws.schema.version)[1]) - set(torn(ws))
    picks = [
        Pick(item, RELABEL, gain, 0, note=f"another answer is worth {gain:.1f} new items")
        for item, gain in worth.ranked
        if item in items
        and item not in given_up
        and all(parts.get(text.id) == "train" for text in items[item].texts)
        and len(people[item]) < max(3, len(ws.project.studio.experts))
    ]
    return picks[: round(ws.project.studio.relabel * size)], worth.sentence


def beside(ws: Workspace, size: int, rng: np.random.Generator) -> tuple[list[Pick], str]:
    """Return what a batch of `size` asks beside mined items, and a sentence on why.

    First what reviewers asked for, as far as there is room; then, up to half of the rest, checks and old items.
    """
    from toughcall.curating import wanted

    chosen = wanted(ws)[:size]
    rest = size - len(chosen)
    found, why = again(ws, rest)
    return [*chosen, *[*checks(ws, rest, rng), *found][: rest // 2]], why if found else ""


def mixed(batch: Batch, more: Sequence[Pick], rng: np.random.Generator) -> Batch:
    """Return a batch with more picks at places drawn at random: nobody can tell a check by where it stands."""
    if not more:
        return batch
    picks = sorted(batch.picks, key=lambda pick: (pick.rank, pick.item))
    for pick in more:
        # what a reviewer pinned comes first
        picks.insert(0 if pick.reason == "pinned" else int(rng.integers(len(picks) + 1)), pick)
    return dataclasses.replace(
        batch, picks=tuple(dataclasses.replace(pick, rank=rank) for rank, pick in enumerate(picks))
    )


# ---- what people are told


def gold_checks(ws: Workspace) -> list[tuple[Answer, Value]]:
    """Return the answers to items whose answer is known, each with that."""
    truth = known(ws)
    found = [one for one in ws.store.valid(ws.schema.version) if role_of(one) == GOLD]
    return [(one, truth[one.item]) for one in found if one.item in truth]


def rows(ws: Workspace, *, gold: bool = False) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the tables of `toughcall agree`, each with its title; `gold`: the checks alone."""
    from toughcall.annotate.agreement import agreement, disagreements
    from toughcall.annotate.relabelling import annotators

    given, checked = votes(ws), gold_checks(ws)
    people = [
        {
            "annotator": one.name,
            "answers": one.answers,
            "median seconds": one.seconds,
            "skipped": one.skips,
            "agrees": one.agreement,
            "accuracy": one.accuracy,
            "weakest on": one.weakest,
            "known items right": f"{one.hits} of {one.checks}" if one.checks else "",
            "95 % interval": _interval(one.low, one.high),
        }
        for one in annotators(given, ws.schema, gold=checked)
    ]
    if gold:
        return [("Checks on items whose answer is known", [row for row in people if row["known items right"]])]
    alphas = [
        {
            "label": one.of,
            "items": one.items,
            "annotators": one.annotators,
            "alpha": one.alpha,
            "alpha 95 %": _interval(one.alpha_low, one.alpha_high),
            "kappa": one.kappa,
            "kappa 95 %": _interval(one.kappa_low, one.kappa_high),
            "agreeing": one.agreeing,
            "why": one.why,
        }
        for one in agreement(given, ws.schema, seed=ws.project.seed)
    ]
    final = {one.item for one in ws.store.valid(ws.schema.version) if role_of(one) == ADJUDICATION}
    texts = ws.pool.items({one.item for one in disagreements(given, ws.schema)})
    disputes = [
        {
            "item": one.item,
            "text": " | ".join(" ".join(text.split())[:50] for text in texts[one.item].fields().values()),
            "answers": " · ".join(f"{who}: {said(value)}" for who, value in one.said),
            "decided": "adjudicated" if one.item in final else "no" if one.torn else "by majority",
        }
        for one in disagreements(given, ws.schema)
        if one.item in texts
    ]
    return [("Agreement", alphas), ("Annotators", people), ("Disagreements", disputes)]


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.2f}–{high:.2f}"
