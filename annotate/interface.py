"""What a labelling interface asks: its controls, labels and fields, read from XML and compared (C36)."""

from __future__ import annotations

from xml.etree import ElementTree

from toughcall.records import UsageError

Control = tuple[str, str, str, frozenset[str]]


def controls(config: str) -> tuple[dict[str, Control], dict[str, str]]:
    """Return ({control name: (tag, target, how many may be chosen, labels)}, {field name: what it shows})."""
    if "<!DOCTYPE" in config or "<!ENTITY" in config:
        raise UsageError("a labelling interface with a document type is not read")
    try:
        root = ElementTree.fromstring(config)  # noqa: S314
    except ElementTree.ParseError as error:
        raise UsageError(f"the labelling interface is not well-formed XML ({error})") from None
    asks: dict[str, Control] = {}
    shows: dict[str, str] = {}
    for element in root.iter():
        name = element.get("name", "")
        if name and element.get("toName"):
            labels = frozenset(
                child.get("alias") or child.get("value") or ""
                for child in element.iter()
                if child is not element and child.get("value")
            )
            many = "multiple" if element.get("choice") == "multiple" else "single"
            asks[name] = (element.tag, element.get("toName", ""), many, labels)
        elif name and element.get("value", "").startswith("$"):
            shows[name] = element.get("value", "")
    return asks, shows


def differences(ours: str, theirs: str) -> list[str]:
    """Return what `theirs` asks or shows differently, one phrase each; layout and wording do not count."""
    (our_asks, our_shows), (their_asks, their_shows) = controls(ours), controls(theirs)
    found = []
    for name in sorted(our_asks.keys() | their_asks.keys()):
        if name not in their_asks:
            found.append(f"the control {name!r} is missing there")
        elif name not in our_asks:
            found.append(f"the control {name!r} is only there")
        else:
            tag, target, many, labels = our_asks[name]
            other_tag, other_target, other_many, other_labels = their_asks[name]
            if missing := sorted(labels - other_labels):
                found.append(f"{name!r} lacks {', '.join(missing)} there")
            if extra := sorted(other_labels - labels):
                found.append(f"{name!r} has {', '.join(extra)} only there")
            if (tag, target) != (other_tag, other_target):
                found.append(f"{name!r} is {other_tag} of {other_target!r} there, {tag} of {target!r} here")
            if many != other_many:
                found.append(f"{name!r} takes {other_many} choices there, {many} here")
    for name in sorted(our_shows.keys() | their_shows.keys()):
        if our_shows.get(name) != their_shows.get(name):
            found.append(f"the field {name!r} shows {their_shows.get(name, 'nothing')} there")
    return found
