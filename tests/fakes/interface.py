"""What Label Studio 1.23 refuses of a labelling interface and of a task's data; it looks at nothing else."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

TAKES = {"Text": (str, int, float, list), "HyperText": (str,), "Choices": (str, list)}
"""What a field must be, by the tag that names it; for any other tag a text."""


def refused_config(config: str) -> str:
    """Return why a project is not made with this interface, or ""."""
    try:
        ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        return str(error)
    names = re.findall(r'name="([^"]*)"', config)
    if len(set(names)) != len(names):
        return "Label config contains non-unique names"
    lost = [name for name in re.findall(r'toName="([^"]*)"', config) if name not in names]
    return f'toName="{lost[0]}" not found in names: {sorted(set(names))}' if lost else ""


def refused_data(config: str, data: dict[str, Any]) -> str:
    """Return why a task is not imported, or "": tags with a name need their field, headers need none."""
    for element in ElementTree.fromstring(config).iter():
        found = re.search(r"\$(\w+)", element.get("value", ""))
        if not element.get("name") or not found:
            continue
        key, takes = found.group(1), TAKES.get(element.tag, (str,))
        if key not in data:
            return f'"{key}" key is expected in task data'
        if not isinstance(data[key], takes):
            kind, wanted = type(data[key]).__name__, [one.__name__ for one in takes]
            return (
                f"data['{key}']={data[key]} is of type '{kind}', "
                f"but the object tag {element.tag} expects the following types: {wanted}"
            )
    return ""
