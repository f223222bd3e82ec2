"""Telling Label Studio where to send its hints, and whom to ask for pre-annotations: made, changed and removed by us.

Each call may be repeated: what is there already is looked up first, and of two of ours one goes. Nothing of anybody
else is touched. Facts of Label Studio 1.23.2 that decide how this is done are said where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from toughcall.annotate.sync import Failed
from toughcall.records import UsageError

HEADER = "X-Toughcall-Secret"
"""The header of every hint; a webhook of the project that carries it is ours."""
USER = "toughcall"
"""The user of the ML backend's basic authentication; a backend of the project that names it is ours."""
ACTIONS = ("ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED", "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "TASKS_DELETED")
"""What may change an answer. What our own push does is none of it."""


class Caller(Protocol):
    """What is needed of a server; see `toughcall.annotate.connection.Connection`."""

    url: str

    def call(
        self, method: str, what: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Send one request, once, and return the JSON of its answer."""


class Blocked(UsageError):
    """Label Studio may not send requests to our address."""


def ensure_webhook(studio: Caller, project: int, address: str, secret: str) -> int:
    """Return the id of the project's one webhook of ours, made or put right when it differs.

    It sends no payload: a hint says that something may be new, answers are read by a pull. People with an account
    on that Label Studio can read its header there, so the secret keeps out everybody else and no more.

    Args:
        studio: the server.
        project: its project.
        address: where we answer, without a trailing slash ("http://127.0.0.1:9090").
        secret: goes into HEADER.

    Raises:
        Blocked: the server may not send requests to this address.
        UsageError, RemoteError: as `Connection`.

    """
    wanted = {
        "url": f"{address}/webhook",
        "headers": {HEADER: secret},
        "actions": sorted(ACTIONS),
        "send_payload": False,
        "send_for_all_actions": False,
        "is_active": True,
    }
    first, *more = [*_webhooks(studio, project, address), None]
    what = f"registering the webhook of project {project}"
    if first is None:
        made = _told(studio, "POST", what, "api/webhooks/", {**wanted, "project": project})
        return _number(studio, what, made)
    number = _number(studio, what, first)
    if wanted != {**{key: first.get(key) for key in wanted}, "actions": sorted(first.get("actions") or ())}:
        _told(studio, "PATCH", what, f"api/webhooks/{number}/", wanted)
    for row in more[:-1]:
        studio.call("DELETE", "removing a second webhook", f"api/webhooks/{_number(studio, what, row)}/")
    return number


def remove_webhook(studio: Caller, project: int, address: str) -> int:
    """Remove the project's webhooks of ours and return how many there were."""
    mine = _webhooks(studio, project, address)
    for row in mine:
        what = f"removing the webhook of project {project}"
        studio.call("DELETE", what, f"api/webhooks/{_number(studio, what, row)}/")
    return len(mine)


def ensure_backend(studio: Caller, project: int, address: str, secret: str, order: str) -> int:
    """Return the id of the project's one ML backend of ours, and let its answers be shown.

    Label Studio asks a backend for a task's pre-annotation when the backend's title is the project's model version,
    and "Uncertainty sampling" serves lowest first the scores of predictions that carry that same version: so the
    backend gets that version for its title, and neither our order nor the question is lost.

    The server calls /health and /setup before it answers, so we must be listening. The webhook of `ensure_webhook`
    must be there first: for a backend without one it makes one, with all payload and without a secret.

    Args:
        studio: the server.
        project: its project.
        address: where we answer, without a trailing slash.
        secret: the password of the basic authentication.
        order: the model version of the predictions that order the tasks.

    """
    what = f"connecting the ML backend of project {project}"
    wanted = {
        "url": address,
        "title": order,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": USER,
        "is_interactive": False,
        "auto_update": True,
    }
    first, *more = [*_backends(studio, project, address), None]
    # a password cannot be read back; listing made the server call us with the one it has, CO = that worked
    right = first is not None and first.get("state") == "CO" and wanted == {key: first.get(key) for key in wanted}
    body = {**wanted, "basic_auth_pass": secret, "project": project}
    if first is None:
        number = _number(studio, what, _told(studio, "POST", what, "api/ml/", body))
    else:
        number = _number(studio, what, first)
        if not right:
            _told(studio, "PATCH", what, f"api/ml/{number}", body)
    for row in more[:-1]:
        studio.call("DELETE", "removing a second ML backend", f"api/ml/{_number(studio, what, row)}")
    _set(studio, project, show_collab_predictions=True, model_version=order)
    return number


def remove_backend(studio: Caller, project: int, address: str, order: str) -> int:
    """Remove the project's ML backends of ours and return how many there were; without one nothing is changed.

    Predictions are hidden again, and the version that orders the tasks is set again: the server clears it with the
    backend of that title.
    """
    mine = _backends(studio, project, address)
    if mine:
        _set(studio, project, show_collab_predictions=False)
    for row in mine:
        what = f"removing the ML backend of project {project}"
        studio.call("DELETE", what, f"api/ml/{_number(studio, what, row)}")
    if mine and order:
        _set(studio, project, model_version=order)
    return len(mine)


def _webhooks(studio: Caller, project: int, address: str) -> list[dict[str, Any]]:
    """Return the project's webhooks of ours, oldest first; one to our address is ours, whoever made it."""
    what = f"listing the webhooks of project {project}"
    found = _rows(studio, what, studio.call("GET", what, "api/webhooks/", params={"project": project}))
    return [row for row in found if HEADER in (row.get("headers") or {}) or row.get("url") == f"{address}/webhook"]


def _backends(studio: Caller, project: int, address: str) -> list[dict[str, Any]]:
    """Return the project's ML backends of ours, oldest first."""
    what = f"listing the ML backends of project {project}"
    found = _rows(studio, what, studio.call("GET", what, "api/ml/", params={"project": project}))
    return [row for row in found if row.get("basic_auth_user") == USER or str(row.get("url")).rstrip("/") == address]


def _set(studio: Caller, project: int, **fields: Any) -> None:
    """Set fields of a project where they differ."""
    what = f"reading project {project}"
    (there,) = _rows(studio, what, [studio.call("GET", what, f"api/projects/{project}/")])
    changed = {key: value for key, value in fields.items() if there.get(key) != value}
    if changed:
        studio.call(
            "PATCH", f"setting {' and '.join(changed)} of project {project}", f"api/projects/{project}/", body=changed
        )


def _told(studio: Caller, method: str, what: str, path: str, body: Mapping[str, Any]) -> Any:
    try:
        return studio.call(method, what, path, body=body)
    except UsageError as error:
        if "reserved network address" not in str(error):
            raise
        raise Blocked(
            f"{studio.url} may not send requests to this machine's own address: start it with "
            "SSRF_PROTECTION_ENABLED=false for webhooks and ML_BLOCK_LOCAL_IP=false for predictions; where toughcall "
            "started it, toughcall studio down and toughcall studio up are enough"
        ) from None


def _rows(studio: Caller, what: str, found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Failed(f"{studio.url} answered something that is not whole while {what}")
    return sorted(found, key=lambda row: int(row["id"]) if isinstance(row.get("id"), int) else 0)


def _number(studio: Caller, what: str, row: Any) -> int:
    if not isinstance(row, dict) or not isinstance(row.get("id"), int):
        raise Failed(f"{studio.url} answered something that is not whole while {what}")
    return int(row["id"])
