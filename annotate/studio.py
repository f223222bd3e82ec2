"""What we do on a Label Studio: its projects, tasks and answers. Listings are counted, and nothing is sent twice.

The SDK's pager takes a 404 for the end of a list; an export is no snapshot.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from toughcall.annotate.connection import ONCE, Connection, Gone
from toughcall.annotate.interface import differences
from toughcall.annotate.sync import Failed, Refused, encoded
from toughcall.records import UsageError, digest
from toughcall.schema import Schema

PAGE = 1000
TRIES = 5
"""So often a listing is read again because the server changed while it was read."""


class Studio(Connection):
    """One Label Studio server with one account's token. Nothing is sent before the first call of a method.

    Every method raises UsageError (exit 2) when the server refuses the token or knows no such project, and
    RemoteError (exit 4) when it cannot be reached, fails, or answers something that is not whole.
    """

    def check(self) -> dict[str, str]:
        """Return who the token belongs to and what runs there: {"email", "version", "token"}."""
        with self._doing("asking who we are"):
            who = self._sdk.users.whoami(request_options=ONCE)
            email = str(who.email)
        with self._doing("asking its version"):
            version = str(self._sdk.versions.get(request_options=ONCE).release)
        return {"email": email, "version": version, "token": self.token_kind}

    def _marker(self, title: str, config: str, owner: str) -> str:
        """Return what ends a project's description, so that one whose creation got no answer is found again."""
        return f"toughcall:{digest('project', title, config, owner)[:16]}"

    def ensure_project(
        self,
        title: str,
        config: str,
        *,
        description: str = "",
        project: int | None = None,
        overlap: int = 1,
        owner: str = "",
    ) -> int:
        """Return the id of our project, made on first use.

        Args:
            title: 3 to 50 characters.
            config: the labelling interface (XML).
            description: what the experts are told before they start.
            project: the id known from an earlier call; only looked up.
            overlap: how many people answer each item.
            owner: the ledger's id; the project another ledger made under the same title is never taken.

        """
        if project is not None:
            return self._known(project, title)
        if not 3 <= len(title) <= 50:
            raise UsageError(f"studio.title must have 3 to 50 characters, {title!r} has {len(title)}")
        found = self._find(title, config, owner)
        if found is not None:
            return found
        try:
            with self._doing("making the project"):
                made = self._sdk.projects.create(
                    title=title,
                    description=f"{description}\n\n{self._marker(title, config, owner)}".strip(),
                    label_config=config,
                    expert_instruction=description,
                    # it stands above every text already: no window in front of the first one
                    show_instruction=False,
                    sampling="Uncertainty sampling",
                    show_collab_predictions=False,
                    maximum_annotations=overlap,
                    request_options=ONCE,
                )
                return int(made.id)
        except Refused as error:
            raise UsageError(f"{self.url} refuses the project {title!r}: {error}") from None
        except Failed:
            # the project may be there although no answer said so
            found = self._find(title, config, owner)
            if found is None:
                raise
            return found

    def _known(self, project: int, title: str) -> int:
        there = self._project(project)
        if str(there.title) != title and "toughcall:" not in str(there.description or ""):
            raise UsageError(
                f"project {project} on {self.url} is {there.title!r} and was not made by toughcall: "
                "check studio.url and studio.title in project.toml"
            )
        return project

    def _find(self, title: str, config: str, owner: str) -> int | None:
        """Return the project this account made with that title and interface, the oldest if there are several."""
        marker = self._marker(title, config, owner)
        with self._doing("asking who we are"):
            me = int(self._sdk.users.whoami(request_options=ONCE).id)
        include = "id,title,description,label_config,created_by"
        rows = self._pages(
            "listing projects", "api/projects/", {"title": title, "include": include}, "results", "count"
        )
        with self._doing("listing projects"):
            mine = [
                int(row["id"])
                for row in rows
                if row["title"] == title
                and str(row["description"] or "").endswith(marker)
                and row["created_by"]["id"] == me
                and not differences(config, row["label_config"])
            ]
        return min(mine, default=None)

    def _project(self, project: int) -> Any:
        with self._doing(f"reading project {project}"):
            return self._sdk.projects.get(project, request_options=ONCE)

    def config_problem(self, project: int, config: str, schema: Schema, words: Mapping[str, str] | None = None) -> str:
        """Return "" or one sentence: how the interface on the server differs from ours in what it asks (C36).

        `words`: labels of another name there that were said to mean one of ours.
        """
        found = differences(config, str(self._project(project).label_config), words or {})
        if not found:
            return ""
        asked = (*schema.labels, *(dimension.name for dimension in schema.dimensions))
        return (
            f"the labelling interface of project {project} on {self.url} does not ask for {', '.join(asked)}: "
            f"{'; '.join(found)}; restore it there under Settings > Labeling Interface, restore [labels] and "
            "[dimensions] in project.toml, or say what a new label means: toughcall map NEW=OLD"
        )

    def count(self, project: int, batch: str = "") -> int:
        """Return how many tasks a project has, or a batch of it."""
        if not batch:
            return int(self._project(project).task_number or 0)
        what = f"counting batch {batch}"
        params = {"project": project, "query": self._of_batch(batch), "include": "id", "page": 1, "page_size": 1}
        body = self._get(what, "api/tasks/", params)
        with self._doing(what):
            return int(body["total"])

    def _of_batch(self, batch: str) -> str:
        column = {"filter": "filter:tasks:data.batch", "operator": "equal", "type": "String", "value": batch}
        return json.dumps({"filters": {"conjunction": "and", "items": [column]}, "ordering": ["tasks:id"]})

    def _pages(self, what: str, path: str, params: Mapping[str, Any], items: str, total: str) -> list[dict[str, Any]]:
        """Return a listing that is whole: as many different rows as counted before, while and after reading."""
        for _ in range(TRIES):
            rows: list[dict[str, Any]] = []
            counts: set[int] = set()
            with self._doing(what):
                for page in range(1, 1_000_000):
                    try:
                        body = self._get(what, path, {**params, "page": page, "page_size": PAGE})
                    except Gone:
                        # beyond the end: rows went away while reading; on the first page it is the project
                        if page == 1:
                            raise
                        break
                    counts.add(int(body[total]))
                    rows += body[items]
                    if len(rows) >= int(body[total]) or not body[items]:
                        break
                again = self._get(what, path, {**params, "include": "id", "page": 1, "page_size": 1})
                counts.add(int(again[total]))
                if counts == {len(rows)} and len({row["id"] for row in rows}) == len(rows):
                    return rows
        raise Failed(f"{self.url} gave another number of rows each time while {what}")

    def listed(self, project: int, batch: str) -> list[dict[str, Any]]:
        """Return every task of a batch as {"id", "uid", "annotations", "drafts"}; skips count as annotations."""
        params = {
            "project": project,
            "query": self._of_batch(batch),
            "fields": "all",
            "include": "id,data,total_annotations,cancelled_annotations,drafts",
            "resolve_uri": "false",
        }
        what = f"listing batch {batch}"
        rows = self._pages(what, "api/tasks/", params, "tasks", "total")
        with self._doing(what):
            return [
                {
                    "id": int(row["id"]),
                    "uid": str(row["data"].get("uid", "")),
                    "annotations": int(row["total_annotations"]) + int(row["cancelled_annotations"]),
                    "drafts": len(row["drafts"]),
                }
                for row in rows
                if row["data"].get("batch") == batch
            ]

    def send(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Store tasks in one request, tried once. Refused (400) means none of them was stored."""
        if not tasks:
            return
        for task in tasks:
            if problem := encoded(task)[1]:
                raise Refused(f"{task['data'].get('uid', 'a task')} holds {problem}")
        with self._doing(f"sending {len(tasks)} tasks"):
            self._sdk.projects.import_tasks(project, request=list(tasks), request_options=ONCE)

    def delete(self, project: int, ids: Sequence[int]) -> None:
        """Delete those of the tasks that have no annotation; the server looks again before it deletes (P2)."""
        if not ids:
            return
        unanswered = [
            {"filter": f"filter:tasks:{column}", "operator": "equal", "type": "Number", "value": 0}
            for column in ("total_annotations", "cancelled_annotations")
        ]
        with self._doing(f"deleting {len(ids)} copies"):
            self._sdk.actions.create(
                id="delete_tasks",
                project=project,
                filters={"conjunction": "and", "items": unanswered},
                selected_items={"all": False, "included": list(ids)},
                request_options=ONCE,
            )

    def answered(self, project: int, since: str = "") -> list[dict[str, Any]]:
        """Return {"id", "updated_at", "answers"} of every task with an answer, or of every one changed after `since`.

        Skips count as answers. A change is what moves the task's `updated_at`: an answer made, edited or deleted.
        """
        counts = ("total_annotations", "cancelled_annotations")
        wanted = [
            {"filter": f"filter:tasks:{one}", "operator": "greater", "type": "Number", "value": 0} for one in counts
        ]
        if since:
            wanted = [{"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": since}]
        query = {"filters": {"conjunction": "or", "items": wanted}, "ordering": ["tasks:id"]}
        params = {"project": project, "query": json.dumps(query), "include": ",".join(("id", "updated_at", *counts))}
        what = f"listing the answered tasks of project {project}"
        rows = self._pages(what, "api/tasks/", params, "tasks", "total")
        with self._doing(what):
            return [
                {"id": int(row["id"]), "updated_at": row["updated_at"], "answers": sum(int(row[one]) for one in counts)}
                for row in rows
            ]

    def exported(self, project: int, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return those of the tasks that have annotations, with all of them, skips and drafts, as exported.

        The server has no snapshots: what is said while it is read may be in it or come with the next reading.
        """
        if not ids:
            return []
        what = f"exporting project {project}"
        try:
            tasks = self._get(what, f"api/projects/{project}/export", {"exportType": "JSON", "ids[]": list(ids)})
        except Gone:
            raise Failed(f"{self.url} answered HTTP 404 while {what}", 404) from None
        with self._doing(what):
            # whatever is no list of tasks with their annotations is no export
            if not all(int(task["id"]) and isinstance(task["annotations"], list) for task in tasks):
                raise ValueError
        return self._signed(tasks)

    def _signed(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put e-mail addresses beside the numbers of who answered: another server numbers people anew."""
        numbers = {one.get("completed_by") for task in tasks for one in task["annotations"]}
        if not {one for one in numbers if isinstance(one, int)} <= self._people.keys():
            users = self._get("asking who is who", "api/users/", {})
            with self._doing("asking who is who"):
                self._people.update({user["id"]: {"id": user["id"], "email": user["email"]} for user in users})
        with self._doing("asking who is who"):
            for task in tasks:
                for one in task["annotations"]:
                    who = one.get("completed_by")
                    one["completed_by"] = self._people.get(who, who) if isinstance(who, int) else who
        return tasks

    @cached_property
    def _people(self) -> dict[int, dict[str, Any]]:
        return {}

    def counted(self, project: int) -> int:
        """Return how many annotations a project has, skips included."""
        there = self._project(project)
        with self._doing(f"counting the answers of project {project}"):
            return int(there.total_annotations_number or 0) + int(there.skipped_annotations_number or 0)

    def set_model_version(self, project: int, version: str) -> None:
        """Say whose predictions order the tasks: with another version than theirs the order is silently random.

        A version that no prediction there carries is left out: there is nothing to order by.
        """
        if not version or self._project(project).model_version == version:
            return
        with contextlib.suppress(Refused), self._doing(f"setting the model version of project {project}"):
            self._sdk.projects.update(project, model_version=version, request_options=ONCE)
