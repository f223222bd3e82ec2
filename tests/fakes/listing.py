"""How Label Studio filters its tasks and cuts a listing into pages."""

from __future__ import annotations

import re
from typing import Any

Answer = tuple[int, Any]


def matches(task: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Return whether a task passes the filters the client uses; any other column is a 500 on the server too."""
    found = [passes(task, one) for one in filters.get("items", [])]
    return not found or (any if filters.get("conjunction") == "or" else all)(found)


def passes(task: dict[str, Any], one: dict[str, Any]) -> bool:
    """Return whether a task passes one filter."""
    column = one["filter"].removeprefix("filter:tasks:")
    if column.startswith("data."):
        found = task["data"].get(column[5:])
    elif column in ("total_annotations", "cancelled_annotations"):
        skipped = column == "cancelled_annotations"
        found = sum(note["was_cancelled"] is skipped for note in task["annotations"])
    elif column == "updated_at":
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", one["value"]):
            raise LookupError(f"time data {one['value']!r} does not match the format")
        found = task["updated_at"]
    else:
        raise LookupError(f"Cannot resolve keyword {column!r}")
    if one["operator"] == "greater":
        return bool(found > one["value"])
    return bool(found == one["value"])


def page(rows: list[dict[str, Any]], query: dict[str, str], items: str, total: str, size: int) -> Answer:
    """Return one page of rows with the number of all; beyond the end is a 404."""
    size, number = int(query.get("page_size", size)), int(query.get("page", 1))
    if number > 1 and (number - 1) * size >= len(rows):
        return 404, {"status_code": 404, "detail": "Invalid page."}
    wanted = query.get("include", "")
    shown = rows[(number - 1) * size : number * size]
    if wanted:
        shown = [{key: row[key] for key in wanted.split(",") if key in row} for row in shown]
    return 200, {total: len(rows), items: shown}
