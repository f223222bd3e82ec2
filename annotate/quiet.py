"""The environment and settings in which our Label Studio runs: silent towards the network, closed to strangers."""

from __future__ import annotations

CLOSED = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "233.252.0.0/24", "240.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
    *("2001:0000::/32", "2001:20::/28", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
)
"""Where our Label Studio sends nothing: what it closes by default (1.23.2), without 127.0.0.0/8.

`toughcall serve` gets its hints there. The switches that its manual names for that, SSRF_PROTECTION_ENABLED=false
and ML_BLOCK_LOCAL_IP=false, would open every private network and a cloud's address for secrets, 169.254.169.254, to
everybody with an account: importing from an address is enough. This opens this machine's loopback to them alone,
which whoever reaches a server on loopback is on already, unless somebody passes its port on to other machines.
"""

QUIET = {
    # with these five no connection leaves the machine (seen with strace)
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "FEATURE_FLAGS_OFFLINE": "true",
    # nobody signs up without an invitation, no settings in error pages, no other site speaks through a browser
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "LABEL_STUDIO_DEBUG": "false",
    "LABEL_STUDIO_ALLOWED_HOSTS": "127.0.0.1,localhost",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(CLOSED),
    "PYTHONUNBUFFERED": "1",
}
SETTINGS = """from importlib.util import find_spec

name = "label_studio.core.settings.label_studio"
# run in here, not imported: it looks at the half-made settings while it makes them
exec(find_spec(name).loader.get_code(name))
# no line per request: the address of an invitation holds its secret
LOGGING["loggers"]["django.server"] = {"level": "CRITICAL"}
"""
# DJANGO_DB=default and these: PostgreSQL instead of the file in the project folder (Label Studio spells them so)
DATABASE = ("DJANGO_DB", *(f"POSTGRE_{one}" for one in ("USER", "PASSWORD", "NAME", "HOST", "PORT")))
# all that the server inherits: it would read a stray HOST, PORT, DEBUG, USERNAME or PASSWORD
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", *DATABASE)
