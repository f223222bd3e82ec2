"""Where a token may go: the server's address, checked before anything is sent, and what kind of token it is."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import socket
from urllib.parse import urlsplit

from toughcall.records import UsageError


def checked_url(url: str) -> str:
    """Return the address without a trailing slash; UsageError for one that must not get a token (C41)."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError("studio.url is not an address: write it as http://127.0.0.1:8080") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"studio.url must begin with http:// or https://, not {parts.scheme or 'nothing'!r}")
    if parts.username is not None or parts.password is not None:
        raise UsageError("studio.url must not hold a user name or password: only the token logs in")
    if parts.query or parts.fragment:
        raise UsageError(f"studio.url must end after the path: {parts.scheme}://{host}{parts.path}")
    address = _address(host)
    if address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified):
        raise UsageError(f"studio.url names {host}, which is no server's address")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path}".rstrip("/")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(host)
        return getattr(found, "ipv4_mapped", None) or found
    # 2852039166 and 0xa9fea9fe are spellings of 169.254.169.254
    with contextlib.suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def loopback(url: str) -> bool:
    """Return whether an address leads to this machine only."""
    host = urlsplit(url).hostname or ""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def is_jwt(token: str) -> bool:
    """Return whether a token decodes as a JWT, which only a personal access token does."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    try:
        for part in parts[:2]:
            if not isinstance(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))), dict):
                return False
    except ValueError:
        return False
    return True
