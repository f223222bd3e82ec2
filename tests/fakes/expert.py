"""An interface, tasks for it, and an expert who answers them over plain HTTP, on the fake or a real server."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from toughcall.annotate import pulling, sync
from toughcall.annotate.studio import Studio
from toughcall.schema import Schema

CONFIG = """<View><Text name="text" value="$text"/><Choices name="answer" toName="text" choice="single-radio">
<Choice value="yes"/><Choice value="no"/></Choices></View>"""
SCHEMA = Schema("multiclass", ("yes", "no"), True)


def answer(label: str) -> list[dict[str, Any]]:
    """Return a result as Label Studio stores it."""
    return [{"from_name": "answer", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


def task(uid: str, batch: str = "b001", **more: Any) -> dict[str, Any]:
    """Return a task that both servers take."""
    predictions = [{"model_version": "m1", "score": 0.5, "result": answer("yes")}]
    return {"data": {"uid": uid, "batch": batch, "text": f"text of {uid}"}, "predictions": predictions, **more}


@dataclass
class Hand:
    """An expert's hand: the plain HTTP calls that only tests make."""

    url: str
    headers: dict[str, str]

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers=self.headers, timeout=60, trust_env=False)

    def answers(self, number: int, label: str = "yes", **more: Any) -> None:
        assert self.post(f"/api/tasks/{number}/annotations/", {"result": answer(label), **more}).status_code == 201


@dataclass
class Place:
    """A server, our client of it, and an expert."""

    studio: Studio
    hand: Hand
    token: str
    email: str

    def project(self, title: str = "") -> int:
        return self.studio.ensure_project(title or f"test {uuid.uuid4().hex[:12]}", CONFIG)


def made(server: Any) -> Place:
    studio = Studio(server.url, server.token)
    with studio._doing("asking for a header"):
        headers = studio._sdk._client_wrapper.get_headers()
    return Place(studio, Hand(server.url, headers), server.token, server.email)


def hurried(remote: Any, project: int, tasks: list[dict[str, Any]], **more: Any) -> sync.Done:
    """Push with a clock of its own: waiting takes no time, and the deadline still comes."""
    clock = [0.0]

    def wait(seconds: float) -> None:
        clock[0] += seconds

    return sync.push(remote, project, tasks, wait=wait, now=lambda: clock[0], **more)


def exported(studio: Studio, project: int, **more: Any) -> list[dict[str, Any]]:
    """Return every answered task, as a pull reads them."""
    found: list[dict[str, Any]] = []
    pulling.read(studio, project, found.extend, **more)
    return found
