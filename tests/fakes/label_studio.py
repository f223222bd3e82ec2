"""Label Studio 1.23 in one process, with the behaviours that hurt, and faults on request.

It copies what was measured on the real one: the same task twice is two tasks, ids are used again after a
delete, one bad task refuses a whole import, a lone surrogate is stored and then breaks every listing and
export, annotations are not checked. The contract tests run against it and against a real server.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from fakes.handler import FaultyHandler
from fakes.interface import refused_config, refused_data
from fakes.listing import matches, page

Answer = tuple[int, Any]

MODES = {
    "502 after commit",
    "drop after commit",
    "500 before",
    "404",
    "half body",  # stored; the answer breaks off although its length was told
    "half body, no length",  # stored; it breaks off and nothing tells that it did
    "delay then commit later",  # the connection closes; stored when `settle` is called
    "redirect",  # sent on to another host
    "refuse token",  # 401
}


def jwt(kind: str) -> str:
    claims = {"token_type": kind, "exp": int(time.time()) + 10_000, "jti": uuid.uuid4().hex}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)] + [b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@dataclass
class Fault:
    """`mode` for the next `times` requests whose "METHOD path" holds `part`, after `skip` that pass."""

    part: str
    times: int
    mode: str
    skip: int = 0


@dataclass
class Project:
    fields: dict[str, Any]
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)


class FakeStudio:
    """A server on a free port of 127.0.0.1; use it in a with statement."""

    def __init__(self, body_limit: int = 250_000_000) -> None:
        self.email = "admin@example.com"
        self.token = uuid.uuid4().hex + "01234567"
        self.pat = jwt("refresh")
        self.access: set[str] = set()
        self.body_limit = body_limit
        self.projects: dict[int, Project] = {}
        self.faults: list[Fault] = []
        self.fired = 0
        self.ticks = 0
        self.users = {1: self.email}
        self.late: list[Callable[[], Answer]] = []
        self.seen: list[str] = []
        self.after: Callable[[str], None] = lambda request: None
        """Called after every request with "METHOD path": for what other people do meanwhile."""
        self.lock = threading.RLock()
        fake = self

        class Handler(FaultyHandler):
            studio = fake

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> FakeStudio:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fail(self, part: str, times: int, mode: str, skip: int = 0) -> None:
        """Break the next `times` requests whose "METHOD path" holds `part`; `fired` counts those broken."""
        assert mode in MODES, mode
        self.faults.append(Fault(part, times, mode, skip))

    def settle(self) -> None:
        """Store what was sent in requests that were cut off before it was stored."""
        with self.lock:
            waiting, self.late = self.late, []
            for work in waiting:
                work()

    def fault(self, request: str) -> str:
        """Return the mode of the fault that takes this request, "" for none."""
        with self.lock:
            for one in self.faults:
                if one.times and one.part in request:
                    if one.skip:
                        one.skip -= 1
                        return ""
                    one.times -= 1
                    self.fired += 1
                    return one.mode
        return ""

    def uids(self, project: int) -> list[str]:
        """Return the uid of every stored task, sorted; for assertions."""
        return sorted(str(task["data"].get("uid", "")) for task in self.projects[project].tasks.values())

    def respond(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        """Return (status, JSON) as Label Studio would."""
        with self.lock:
            for pattern, verb, work in ROUTES:
                if verb == method and (match := re.fullmatch(pattern, path)):
                    return work(self, *(int(one) for one in match.groups()), query=query, body=body)
        return 404, {"status_code": 404, "detail": "Not found."}

    def allowed(self, header: str) -> bool:
        """Return whether an Authorization header is of a live token, each kind in its own scheme."""
        kind, _, token = header.partition(" ")
        return (kind == "Token" and token == self.token) or (kind == "Bearer" and token in self.access)

    def now(self) -> str:
        """Return the server's time, later with every look."""
        self.ticks += 1
        return f"2026-11-21T12:{self.ticks // 60000:02}:{self.ticks // 1000 % 60:02}.{self.ticks % 1000:03}000Z"

    def whoami(self, *, query: dict[str, str], body: Any) -> Answer:
        return 200, {"id": 1, "email": self.email, "username": ""}

    def people(self, **_: Any) -> Answer:
        return 200, [{"id": number, "email": email} for number, email in self.users.items()]

    def version(self, *, query: dict[str, str], body: Any) -> Answer:
        return 200, {"release": "1.23.2", "edition": "Community"}

    def refresh(self, *, query: dict[str, str], body: Any) -> Answer:
        if body.get("refresh") != self.pat:
            return 401, {"status_code": 401, "detail": "Token is invalid"}
        token = jwt("access")
        self.access.add(token)
        return 200, {"access": token}

    def list_projects(self, *, query: dict[str, str], body: Any) -> Answer:
        wanted = query.get("title", "").lower()
        rows = [self.shown(n) for n, one in self.projects.items() if wanted in one.fields["title"].lower()]
        return page(rows, query, "results", "count", size=30)

    def create_project(self, *, query: dict[str, str], body: Any) -> Answer:
        if not 3 <= len(body["title"]) <= 50:
            return 400, {"detail": "Validation error", "validation_errors": {"title": ["Ensure this field has ..."]}}
        if problem := refused_config(body["label_config"]):
            return 400, {"detail": "Validation error", "validation_errors": {"label_config": [problem]}}
        number = max(self.projects, default=0) + 1
        made = {
            "description": "",
            "model_version": "",
            "sampling": "Sequential sampling",
            "show_collab_predictions": True,
            "maximum_annotations": 1,
            "expert_instruction": "",
            "show_instruction": False,
            "created_by": {"id": 1, "email": self.email},
        }
        self.projects[number] = Project({**made, **body, "id": number})
        return 201, self.shown(number)

    def shown(self, number: int) -> dict[str, Any]:
        one = self.projects[number]
        notes = [note for task in one.tasks.values() for note in task["annotations"]]
        return {
            **one.fields,
            "task_number": len(one.tasks),
            "total_annotations_number": sum(not note["was_cancelled"] for note in notes),
            "skipped_annotations_number": sum(note["was_cancelled"] for note in notes),
        }

    def get_project(self, number: int, *, query: dict[str, str], body: Any) -> Answer:
        if number not in self.projects:
            return 404, {"status_code": 404, "detail": "No Project matches the given query."}
        return 200, self.shown(number)

    def patch_project(self, number: int, *, query: dict[str, str], body: Any) -> Answer:
        one = self.projects[number]
        made = {p.get("model_version") for task in one.tasks.values() for p in task["predictions"]}
        if body.get("model_version") and body["model_version"] not in made:
            return 400, {"validation_errors": {"model_version": ["Model version doesn't exist either as live model."]}}
        one.fields.update(body)
        return 200, self.shown(number)

    def import_tasks(self, number: int, *, query: dict[str, str], body: Any) -> Answer:
        if number not in self.projects:
            return 404, "<!doctype html>"
        one = self.projects[number]
        bad = [refused_data(one.fields["label_config"], task["data"]) for task in body]
        errors = [f"Error at item {n}: {one} [assume: ...] :: {body[n]}" if one else {} for n, one in enumerate(bad)]
        if any(errors) or not body:
            return 400, {"detail": "Validation error", "validation_errors": {"non_field_errors": errors or ["none"]}}
        for task in body:
            # latest id + 1: the id of a deleted last task is used again
            new = max((i for p in self.projects.values() for i in p.tasks), default=0) + 1
            one.tasks[new] = {
                "id": new,
                "updated_at": self.now(),
                "data": copy.deepcopy(task["data"]),
                "meta": task.get("meta", {}),
                "predictions": copy.deepcopy(task.get("predictions", [])),
                "annotations": [],
                "drafts": [],
            }
        return 201, {"task_count": len(body), "annotation_count": 0}

    def export(self, number: int, *, query: dict[str, str], body: Any) -> Answer:
        if number not in self.projects:
            return 404, "<!doctype html>"
        wanted = {int(one) for one in query.get("ids[]", "").split() if one}
        tasks = [one for one in self.projects[number].tasks.values() if one["annotations"]]
        return 200, copy.deepcopy([one for one in tasks if not wanted or one["id"] in wanted])

    def list_tasks(self, *, query: dict[str, str], body: Any) -> Answer:
        one = self.projects.get(int(query["project"]))
        if one is None:
            return 404, {"detail": "No Project matches the given query."}
        wanted = json.loads(query.get("query", "{}")).get("filters", {})
        rows = [
            {
                "id": task["id"],
                "data": task["data"],
                "updated_at": task["updated_at"],
                "total_annotations": sum(not note["was_cancelled"] for note in task["annotations"]),
                "cancelled_annotations": sum(note["was_cancelled"] for note in task["annotations"]),
                "drafts": task["drafts"] if query.get("fields") == "all" else [],
            }
            for task in one.tasks.values()
            if matches(task, wanted)
        ]
        return page(rows, query, "tasks", "total", size=100)

    def act(self, *, query: dict[str, str], body: Any) -> Answer:
        assert query["id"] == "delete_tasks", query
        one = self.projects[int(query["project"])]
        wanted = body.get("filters") or {}
        ids = [i for i in body["selectedItems"]["included"] if i in one.tasks and matches(one.tasks[i], wanted)]
        for i in ids:
            del one.tasks[i]
        return 200, {"processed_items": len(ids)}

    def annotate(self, task: int, *, query: dict[str, str], body: Any) -> Answer:
        """Store an annotation; like the server, without a look at what it says."""
        found = next((p.tasks[task] for p in self.projects.values() if task in p.tasks), None)
        if found is None:
            return 404, {"detail": "No Task matches the given query."}
        number = max(
            (n["id"] for p in self.projects.values() for t in p.tasks.values() for n in t["annotations"]), default=0
        )
        note = {
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": None,
            "result": [],
            "completed_by": 1,
            **body,
        }
        note |= {"id": number + 1, "unique_id": str(uuid.uuid4())}
        found["annotations"].append(note)
        found["updated_at"] = self.now()
        return 201, note

    def note(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the task and the annotation of a number; LookupError when there is none."""
        every = ((t, n) for p in self.projects.values() for t in p.tasks.values() for n in t["annotations"])
        found = next((one for one in every if one[1]["id"] == number), None)
        if found is None:
            raise LookupError(f"no annotation {number}")
        return found

    def edit(self, number: int, *, query: dict[str, str], body: Any) -> Answer:
        """Change an annotation; a change of nothing moves the task's time too."""
        task, note = self.note(number)
        note |= body
        task["updated_at"] = self.now()
        return 200, note

    def erase(self, number: int, *, query: dict[str, str], body: Any) -> Answer:
        task, note = self.note(number)
        task["annotations"].remove(note)
        task["updated_at"] = self.now()
        return 204, None

    def draft(self, task: int, *, query: dict[str, str], body: Any) -> Answer:
        found = next(p.tasks[task] for p in self.projects.values() if task in p.tasks)
        found["drafts"].append({"id": 1, "result": body["result"]})
        return 201, found["drafts"][-1]


ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    (r"/api/current-user/whoami/?", "GET", FakeStudio.whoami),
    (r"/api/users/?", "GET", FakeStudio.people),
    (r"/api/version/?", "GET", FakeStudio.version),
    (r"/api/token/refresh/?", "POST", FakeStudio.refresh),
    (r"/api/projects/?", "GET", FakeStudio.list_projects),
    (r"/api/projects/?", "POST", FakeStudio.create_project),
    (r"/api/projects/(\d+)/?", "GET", FakeStudio.get_project),
    (r"/api/projects/(\d+)/?", "PATCH", FakeStudio.patch_project),
    (r"/api/projects/(\d+)/import/?", "POST", FakeStudio.import_tasks),
    (r"/api/projects/(\d+)/export/?", "GET", FakeStudio.export),
    (r"/api/tasks/?", "GET", FakeStudio.list_tasks),
    (r"/api/dm/actions/?", "POST", FakeStudio.act),
    (r"/api/tasks/(\d+)/annotations/?", "POST", FakeStudio.annotate),
    (r"/api/annotations/(\d+)/?", "PATCH", FakeStudio.edit),
    (r"/api/annotations/(\d+)/?", "DELETE", FakeStudio.erase),
    (r"/api/tasks/(\d+)/drafts/?", "POST", FakeStudio.draft),
]
