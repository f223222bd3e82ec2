"""Experts' accounts and answers on a Label Studio, over plain HTTP the way a browser does it.

The SDK's users.create ignores the password, so an account is made as people make it:
invitation link, sign-up form, CSRF field. Reads are tried again, writes are not: nothing is answered twice.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from toughcall.records import RemoteError, UsageError

if TYPE_CHECKING:
    import httpx

READ_PAUSES = (0.2, 1.0)
"""Seconds before a read is tried a second and a third time."""
SECONDS = 120.0  # the server retries a locked database by itself, which shows as slowness


def new_password() -> str:
    """Return a random password of 20 characters that can be read aloud: no l, I, 1, O or 0."""
    letters = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(6)) for _ in range(3))


def add_person(url: str, token: str, email: str, password: str) -> None:
    """Make an account that can log in and see the projects; an existing one with this password is fine.

    `token` is an administrator's legacy token. Raises UsageError (token, e-mail or password refused, or
    the account has another password) and RemoteError.
    """
    url = url.rstrip("/")
    web = _browser(url)
    invite = _send(web, "GET", "/api/invite", headers={"Authorization": f"Token {token}"})
    if invite.status_code in {401, 403}:
        raise UsageError(f"{url} does not accept the administrator's token: toughcall studio up checks and repairs it")
    # the form's own session: with the administrator's token in its headers it would not be a new person
    where = {"token": str(_json(invite, "the invitation")["token"])}
    form = {"email": email, "password": password, "csrfmiddlewaretoken": _csrf(web, "/user/signup/", where)}
    answer = _send(web, "POST", "/user/signup/", params=where, data=form)
    if answer.status_code == 302:
        return
    if answer.status_code != 200:
        raise RemoteError(f"{url} answered {answer.status_code} to the sign-up of {email}: run the same command again")
    if "already exists" in answer.text:
        try:
            Person(url, email, password)
        except UsageError:
            raise UsageError(
                f"{email} already has an account at {url} with another password: use that one, "
                "or another address with toughcall studio users add EMAIL"
            ) from None
        return
    reasons = re.findall(r"<li>([^<]*)</li>", answer.text)
    raise UsageError(
        f"{url} refused an account for {email!r} ({' '.join(reasons)[:200]}): correct that and run it again"
    )


class Person:
    """An expert who is logged in: gets tasks and answers them. Holds a session, never the password."""

    def __init__(self, url: str, email: str, password: str) -> None:
        """Log in; UsageError when e-mail or password is wrong, RemoteError when nobody answers."""
        self.url = url.rstrip("/")
        self.email = email
        self._web = _browser(self.url)
        form = {"email": email, "password": password, "csrfmiddlewaretoken": _csrf(self._web, "/user/login/", {})}
        answer = _send(self._web, "POST", "/user/login/", data=form)
        if answer.status_code == 200:
            # the form again; success is a redirect
            raise UsageError(f"{self.url} refused the e-mail or password of {email}: toughcall studio users add EMAIL")
        if answer.status_code != 302:
            raise RemoteError(f"{self.url} answered {answer.status_code} to a log-in: run the same command again")

    def next_task(self, project: int) -> dict[str, Any] | None:
        """Return the task this person should answer next (the same one until answered), None when none is left."""
        answer = _send(self._web, "GET", f"/api/projects/{project}/next")
        if answer.status_code == 404:
            # the same code for "nothing left" and "no such project"
            self._checked(_send(self._web, "GET", f"/api/projects/{project}"), f"project {project}")
            return None
        return self._checked(answer, f"project {project}")

    def answer(self, task: int, result: list[dict[str, Any]], seconds: float) -> int:
        """Store an annotation and return its id; `result` as in an export, `seconds` the time it took."""
        body = {"result": result, "lead_time": seconds}
        answer = _send(self._web, "POST", f"/api/tasks/{task}/annotations/", json=body)
        return int(self._checked(answer, f"task {task}")["id"])

    def skip(self, task: int) -> None:
        """Skip a task: stored as a cancelled annotation, which is no answer."""
        body = {"result": [], "was_cancelled": True}
        self._checked(_send(self._web, "POST", f"/api/tasks/{task}/annotations/", json=body), f"task {task}")

    def _checked(self, answer: httpx.Response, what: str) -> dict[str, Any]:
        """Return the body of a success; UsageError for what does not exist or is not allowed."""
        if answer.status_code in {401, 403}:
            raise UsageError(f"{self.email} may not see {what} at {self.url}: log in again")
        if answer.status_code == 404:
            raise UsageError(f"there is no {what} at {self.url}: toughcall studio status names the server in use")
        return _json(answer, what)


def _browser(url: str) -> httpx.Client:
    """Return a client with its own cookies, past any proxy; it keeps no connection open, so needs no closing."""
    import httpx

    return httpx.Client(
        base_url=url,
        headers={"Referer": url + "/"},
        timeout=SECONDS,
        trust_env=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def _send(web: httpx.Client, method: str, path: str, **rest: Any) -> httpx.Response:
    """Send one request, a GET up to three times when it fails; RemoteError when nobody answers."""
    import httpx

    failed, pauses = "", READ_PAUSES if method == "GET" else ()
    for pause in (*pauses, None):
        try:
            answer = web.request(method, path, **rest)
        except httpx.TransportError as error:
            failed = type(error).__name__
        else:
            # two people who come at once may meet a locked database (SQLite), which is gone a moment later
            if answer.status_code < 500 or pause is None:
                return answer
        if pause is not None:
            time.sleep(pause)
    # the error's own text is left out: it can hold the address of an invitation
    raise RemoteError(
        f"Label Studio at {web.base_url} does not answer ({failed}): toughcall studio up, then run it again"
    )


def _csrf(web: httpx.Client, path: str, where: dict[str, str]) -> str:
    """Return the hidden field of a form; its cookie stays in `web`."""
    page = _send(web, "GET", path, params=where)
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    if page.status_code != 200 or not found:
        raise RemoteError(
            f"{web.base_url} shows no Label Studio form (status {page.status_code}): toughcall studio status"
        )
    return found.group(1)


def _json(answer: httpx.Response, what: str) -> dict[str, Any]:
    """Return the JSON object of a success, else RemoteError with the status."""
    if not answer.is_success:
        raise RemoteError(f"Label Studio answered {answer.status_code} for {what}: run the same command again")
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RemoteError(f"Label Studio answered something unreadable for {what}: run the same command again")
    return body
