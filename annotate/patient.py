"""A connection that asks again when a read failed: one dropped answer in a thousand must not end a long pull.

Only GET is repeated, which stores nothing; whatever stores something is sent once, and looked after by `sync`.
"""

from __future__ import annotations

import time
from typing import Any

import httpx

PAUSES: tuple[float, ...] = (0.5, 2.0)
"""Seconds before a read is tried a second and a third time; who finds no server is told so after these."""


class Patient(httpx.Client):
    """An `httpx.Client` whose reads are tried again after a broken connection, a broken body, HTTP 429 and 5xx.

    What took too long is not asked again: the server is at work on it.
    """

    def send(self, request: httpx.Request, **more: Any) -> httpx.Response:
        """Send a request, a GET that is read whole up to three times, and return the last answer."""
        again = PAUSES if request.method == "GET" and not more.get("stream") else ()
        for pause in again:
            try:
                answer = super().send(request, **more)
            except httpx.TimeoutException:
                raise
            except httpx.TransportError:
                time.sleep(pause)
                continue
            if answer.status_code != 429 and answer.status_code < 500:
                return answer
            time.sleep(pause)
        return super().send(request, **more)
