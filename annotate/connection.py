"""One connection to Label Studio, with its client's surprises taken out. The only file that imports its SDK.

The SDK repeats a request that failed, also one that stores something; its errors print response headers. Here
only reads are tried again (`patient`), and every failure becomes a UsageError or RemoteError in our own words,
without headers, cookies or the token.
"""

from __future__ import annotations

import contextlib
import re
import warnings
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from toughcall.annotate.address import checked_url, is_jwt, loopback
from toughcall.annotate.sync import Failed, Refused
from toughcall.records import ToughcallError, UsageError

ONCE: dict[str, Any] = {"max_retries": 0}
"""For every request that stores something: the server does not notice a repetition."""

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0


class Gone(UsageError):
    """HTTP 404."""


class Connection:
    """One Label Studio server with one account's token. Nothing is sent before the first call of a method.

    Every method raises UsageError (exit 2) when the server refuses the token or knows no such project, and
    RemoteError (exit 4) when it cannot be reached, fails, or answers something that is not whole.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = checked_url(url)
        self._token = token.strip()
        if not re.fullmatch(r"[!-~]+", self._token):
            raise UsageError(f"the token for {self.url} is empty or holds characters no token has: copy it again")
        self.token_kind = "personal access" if is_jwt(self._token) else "legacy"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, {self.token_kind} token)"

    @cached_property
    def _http(self) -> Any:
        """The one connection pool: no proxy for a loopback address, and no redirect is followed (C41)."""
        import httpx

        from toughcall.annotate.patient import Patient

        seconds = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        client = Patient(timeout=seconds, follow_redirects=False, trust_env=not loopback(self.url))
        weakref.finalize(self, client.close)
        return client

    @cached_property
    def _sdk(self) -> Any:
        from label_studio_sdk import LabelStudio

        client: Any = LabelStudio
        # the trailing slash: the exchange of a personal access token drops the last part of the path without it
        return client(base_url=f"{self.url}/", api_key=self._token, httpx_client=self._http, max_retries=0)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if "_http" in self.__dict__:
            self._http.close()
        self.__dict__.pop("_http", None)
        self.__dict__.pop("_sdk", None)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """Turn every failure of the client into ours; `what` names the request for the message."""
        import httpx
        from label_studio_sdk.core.api_error import ApiError
        from label_studio_sdk.core.parse_error import ParsingError

        try:
            with warnings.catch_warnings():
                # the SDK calls what pydantic 2 calls deprecated
                warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"label_studio_sdk\.")
                yield
        except ToughcallError:
            raise
        except ApiError as error:
            raise self._problem(what, error.status_code or 0, error.body, error.headers or {}) from None
        except httpx.TimeoutException:
            raise Failed(f"{self.url} did not answer in time while {what}") from None
        except httpx.InvalidURL:
            raise UsageError(f"studio.url {self.url} is not an address a request can go to") from None
        except httpx.TransportError as error:
            raise Failed(
                f"{self.url} cannot be reached while {what} ({type(error).__name__}; is it running?)"
            ) from None
        except (httpx.HTTPError, ParsingError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failed(
                f"{self.url} answered something that is not whole while {what} ({type(error).__name__})"
            ) from None

    def _problem(self, what: str, status: int, body: Any, headers: Mapping[str, str]) -> ToughcallError:
        words = self._words(body)
        if 300 <= status < 400:
            target = urlsplit({k.lower(): v for k, v in headers.items()}.get("location", "")).hostname
            return UsageError(
                f"{self.url} sends requests on to {target or 'another path'}; the token was not sent there: "
                "put the server's own address into studio.url"
            )
        if status in (401, 403):
            return UsageError(
                f"{self.url} refuses the {self.token_kind} token (HTTP {status}{': ' if words else ''}{words}): make a "
                "personal access token there under Account & Settings and put it into TOUGHCALL_STUDIO_TOKEN"
            )
        if status == 404:
            return Gone(f"{self.url} has no such thing ({what}): check studio.url, and if it was deleted there")
        if status == 400:
            return Refused(words or f"{self.url} refused {what} without a reason")
        if 200 <= status < 300:
            return Failed(f"{self.url} answered something that is not whole while {what}", status)
        return Failed(f"{self.url} answered HTTP {status} while {what}", status)

    def _words(self, body: Any) -> str:
        """Return the server's reason in at most 200 characters: no HTML, no echo of the data, no token."""
        if not isinstance(body, Mapping):
            return ""
        found: list[str] = []
        waiting: list[Any] = [body.get("validation_errors")]
        while waiting:
            one = waiting.pop(0)
            if isinstance(one, Mapping):
                waiting += one.values()
            elif isinstance(one, list):
                waiting += one
            elif isinstance(one, str) and one.strip():
                one = re.sub(r"(?s)(data\['\w+'\])=.*", r"\1 is of a type that its tag does not show", one)
                found.append(re.split(r" \[assume| :: ", one)[0])
        text = " ".join((found or [str(body.get("detail") or "")])[0].split())
        return text.replace(self._token, "(token)")[:200]

    def _get(self, what: str, path: str, params: Mapping[str, Any]) -> Any:
        """Return the JSON of a GET, read whole; for what the SDK reads slowly or would truncate silently."""
        return self.call("GET", what, path, params=params)

    def call(
        self, method: str, what: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Send one request, once, and return the JSON of its answer, None when that is empty.

        Args:
            method: GET, POST, PATCH or DELETE.
            what: what it does, for a message ("listing projects").
            path: below the server's address, without a leading slash.
            params: of the query.
            body: sent as JSON.

        """
        from label_studio_sdk.core.api_error import ApiError

        with self._doing(what):
            headers = self._sdk._client_wrapper.get_headers()
            more = {} if body is None else {"json": body}
            answer = self._http.request(
                method, f"{self.url}/{path}", params=dict(params or {}), headers=headers, **more
            )
            if not 200 <= answer.status_code < 300:
                with contextlib.suppress(ValueError):
                    raise ApiError(
                        status_code=answer.status_code, headers=dict(answer.headers), body=answer.json()
                    ) from None
                raise ApiError(status_code=answer.status_code, headers=dict(answer.headers)) from None
            return answer.json() if answer.content else None
