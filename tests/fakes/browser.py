"""An expert in front of a real browser: Chromium as the tests start it, and accounts to log in with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from toughcall.annotate import people, server

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS = [*QUIET.split(), "--disable-component-update", "--disable-sync"]
MISSING = "no Chromium here: apt install chromium, then run pytest -m browser"
PASSWORDS: dict[str, str] = {}


def account(local: server.Local, name: str) -> tuple[str, str]:
    """Return e-mail and password of somebody's account, made at its first use."""
    email = f"{name}.browser@example.com"
    password = PASSWORDS.setdefault(email, people.new_password())
    people.add_person(local.url, local.token, email, password)
    return email, password


@contextmanager
def logged_in(url: str, email: str, password: str) -> Iterator[Any]:
    """Yield a page in which somebody has logged in; leaving it, nothing outside was asked."""
    from playwright.sync_api import sync_playwright

    wanted: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        made = browser.new_page(viewport={"width": 1366, "height": 768})
        made.set_default_timeout(120_000)
        made.on("request", lambda request: wanted.append(request.url))
        made.goto(f"{url}/user/login/")
        made.fill("input[name=email]", email)
        made.fill("input[name=password]", password)
        made.click("form [type=submit]")
        made.wait_for_url(lambda now: "/user/login" not in now)
        yield made
        browser.close()
    hosts = {urlsplit(one).hostname for one in wanted if urlsplit(one).scheme not in ("data", "blob")}
    assert len(wanted) > 20
    assert hosts == {"127.0.0.1"}
