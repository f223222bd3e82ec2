"""The fake Label Studio with webhooks and ML backends, as far as we use them; held to the real one by a contract."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import httpx
from fakes.label_studio import Answer, FakeStudio

HOOK = {"is_active": True, "send_payload": True, "send_for_all_actions": True, "headers": {}, "actions": []}


class HookedStudio(FakeStudio):
    """`closed`: it refuses loopback addresses, as the server does by default."""

    def __init__(self, *, closed: bool = False) -> None:
        super().__init__()
        self.closed = closed
        self.hooks: dict[int, dict[str, Any]] = {}
        self.backends: dict[int, dict[str, Any]] = {}

    def respond(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        found = re.fullmatch(r"/api/(webhooks|ml)/(\d+)?/?", path)
        if not found:
            return super().respond(method, path, query, body)
        kept = self.hooks if found[1] == "webhooks" else self.backends
        if found[2] and int(found[2]) not in kept:
            return 404, {"status_code": 404, "detail": "Not found."}
        if body and self.closed:
            return 403, {"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}
        work = self.hook if kept is self.hooks else self.backend
        return work(method, int(found[2] or 0), int(query.get("project", 0)), body)

    def hook(self, method: str, number: int, project: int, body: Any) -> Answer:
        if method == "GET":
            return 200, [one for one in self.hooks.values() if one["project"] == project]
        if method == "DELETE":
            del self.hooks[number]
            return 204, None
        number = number or max(self.hooks, default=0) + 1
        made = {**HOOK, "project": None, **self.hooks.get(number, {}), **body, "id": number}
        self.hooks[number] = {**made, "actions": sorted(made["actions"])}
        return 201 if method == "POST" else 200, self.hooks[number]

    def backend(self, method: str, number: int, project: int, body: Any) -> Answer:
        if method == "GET":
            return 200, [self.shown_backend(one) for one in self.backends.values() if one["project"] == project]
        if method == "DELETE":
            gone = self.backends.pop(number)
            fields = self.projects[gone["project"]].fields
            # the version that orders the tasks goes with the backend of that title
            fields["model_version"] = "" if fields["model_version"] == gone["title"] else fields["model_version"]
            return 204, None
        number = number or max(self.backends, default=0) + 1
        made = {**self.backends.get(number, {}), **body, "id": number}
        if self.state(made) != "CO":
            return 400, {"detail": "Validation error", "validation_errors": {"non_field_errors": ["Can't connect"]}}
        self.backends[number] = made
        if not [one for one in self.hooks.values() if one["url"] == f"{made['url']}/webhook"]:
            self.hook("POST", 0, 0, {"url": f"{made['url']}/webhook", "project": made["project"]})
        return 201 if method == "POST" else 200, self.shown_backend(made)

    def shown_backend(self, one: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in one.items() if key != "basic_auth_pass"}
        return {**shown, "basic_auth_pass_is_set": True, "state": self.state(one)}

    def state(self, one: dict[str, Any]) -> str:
        """Ask a backend whether it is there and takes the password it was given, as every look at it does."""
        ours = (one.get("basic_auth_user", ""), one.get("basic_auth_pass", ""))
        with httpx.Client(base_url=one["url"], trust_env=False, timeout=5, auth=ours) as web:
            try:
                web.get("/health").raise_for_status()
                told = {"project": f"{one['project']}.1", "access_token": self.token, "schema": "<View/>"}
                return "CO" if web.post("/setup", json=told).is_success else "ER"
            except httpx.HTTPError:
                return "DI"

    def call_hooks(self, action: str = "ANNOTATION_CREATED", times: int = 1) -> list[int]:
        """Send what the server sends when somebody answers; return the answers' statuses, 0 for none."""
        found = []
        for one in [one for one in self.hooks.values() if one["is_active"]] * times:
            try:
                body = {"action": action, **({"annotation": {"result": []}} if one["send_payload"] else {})}
                sent = httpx.post(one["url"], json=body, headers=one["headers"], timeout=1, trust_env=False)
                found.append(sent.status_code)
            except httpx.HTTPError:
                found.append(0)
        return found


def ports(hooks: list[dict[str, Any]]) -> list[int | None]:
    """Return the ports that webhooks lead to."""
    return [urlsplit(one["url"]).port for one in hooks]
