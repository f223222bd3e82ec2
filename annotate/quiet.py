"""The environment and settings in which our Label Studio runs: silent towards the network, closed to strangers."""

from __future__ import annotations

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
    "PYTHONUNBUFFERED": "1",
}
SETTINGS = """from importlib.util import find_spec

name = "label_studio.core.settings.label_studio"
# run in here, not imported: it looks at the half-made settings while it makes them
exec(find_spec(name).loader.get_code(name))
# no line per request: the address of an invitation holds its secret
LOGGING["loggers"]["django.server"] = {"level": "CRITICAL"}
"""
# all that the server inherits: it would read a stray HOST, PORT, DEBUG, USERNAME or PASSWORD
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
