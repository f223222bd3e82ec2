"""What a labelling interface asks: its controls, labels and fields, read from XML and compared (C36)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from toughcall.records import UsageError


@dataclass(frozen=True, slots=True)
class Control:
    """What an expert answers with. `options` is the task's field with the labels, where each task has its own."""

    tag: str
    target: str
    many: str
    labels: frozenset[str]
    options: str
    asked: str
    """The words that stand over a number; what it means."""
    limits: tuple[str, str]


def _float(text: str | None) -> str:
    """Return a number's digits in one spelling, so that 5 and 5.0 are one limit."""
    try:
        return repr(float(text or ""))
    except ValueError:
        return text or "no limit"


def _control(element: ElementTree.Element, above: ElementTree.Element | None) -> Control:
    labels = frozenset(
        child.get("alias") or child.get("value") or ""
        for child in element.iter()
        if child is not element and child.tag != "Header" and child.get("value")
    )
    numeric = element.tag == "Number"
    title = above.find("Header") if numeric and above is not None else None
    return Control(
        tag=element.tag,
        target=element.get("toName", ""),
        many="multiple" if element.get("choice") == "multiple" else "single",
        labels=labels,
        options=element.get("value", ""),
        asked=title.get("value", "") if title is not None else "",
        limits=(_float(element.get("min")), _float(element.get("max"))) if numeric else ("", ""),
    )


def controls(config: str) -> tuple[dict[str, Control], dict[str, str]]:
    """Return ({control name: what it asks}, {field name: what it shows}); headers count as one field, in order."""
    if "<!DOCTYPE" in config or "<!ENTITY" in config:
        raise UsageError("a labelling interface with a document type is not read")
    try:
        root = ElementTree.fromstring(config)  # noqa: S314
    except ElementTree.ParseError as error:
        raise UsageError(f"the labelling interface is not well-formed XML ({error})") from None
    above = {child: parent for parent in root.iter() for child in parent}
    asks: dict[str, Control] = {}
    shows: dict[str, str] = {}
    for element in root.iter():
        name, value = element.get("name", ""), element.get("value", "")
        if name and element.get("toName"):
            asks[name] = _control(element, above.get(element))
        elif value.startswith("$") and (name or re.fullmatch(r"\$\w+", value)):
            # two headers that changed places would turn a question round
            key = name or "headers"
            shows[key] = f"{shows[key]} {value}" if key in shows else value
    return asks, shows


def _differ(name: str, ours: Control, theirs: Control) -> list[str]:
    found = []
    if missing := sorted(ours.labels - theirs.labels):
        found.append(f"{name!r} lacks {', '.join(missing)} there")
    if extra := sorted(theirs.labels - ours.labels):
        found.append(f"{name!r} has {', '.join(extra)} only there")
    if (ours.tag, ours.target) != (theirs.tag, theirs.target):
        found.append(f"{name!r} is {theirs.tag} of {theirs.target!r} there, {ours.tag} of {ours.target!r} here")
    if ours.many != theirs.many:
        found.append(f"{name!r} takes {theirs.many} choices there, {ours.many} here")
    if ours.options != theirs.options:
        found.append(f"{name!r} takes its labels from {theirs.options or 'the interface'} there")
    if ours.asked != theirs.asked:
        found.append(f"{name!r} asks for {theirs.asked!r} there, for {ours.asked!r} here")
    if ours.limits != theirs.limits:
        found.append(f"{name!r} goes from {' to '.join(theirs.limits)} there, {' to '.join(ours.limits)} here")
    return found


def differences(ours: str, theirs: str, words: Mapping[str, str] | None = None) -> list[str]:
    """Return what `theirs` asks or shows differently, one phrase each; layout and wording do not count.

    `words`: for labels that are only there the one here that they mean.
    """
    (our_asks, our_shows), (their_asks, their_shows) = controls(ours), controls(theirs)
    known = words or {}
    their_asks = {
        name: replace(one, labels=frozenset(known.get(label, label) for label in one.labels))
        for name, one in their_asks.items()
    }
    found = []
    for name in sorted(our_asks.keys() | their_asks.keys()):
        if name not in their_asks:
            found.append(f"the control {name!r} is missing there")
        elif name not in our_asks:
            found.append(f"the control {name!r} is only there")
        else:
            found += _differ(name, our_asks[name], their_asks[name])
    for name in sorted(our_shows.keys() | their_shows.keys()):
        if our_shows.get(name) != their_shows.get(name):
            found.append(f"the field {name!r} shows {their_shows.get(name, 'nothing')} there")
    return found
