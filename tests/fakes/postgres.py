"""A PostgreSQL of our own for one test session: on loopback, with a password, thrown away afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("initdb", "pg_ctl", "createdb")
UNPRIVILEGED = ("postgres", "nobody")
"""Whom the server runs as where we are root: it refuses to run as root."""
NAMES = ("DJANGO_DB", "POSTGRE_USER", "POSTGRE_PASSWORD", "POSTGRE_NAME", "POSTGRE_HOST", "POSTGRE_PORT")
"""What Label Studio reads (it spells PostgreSQL without its S)."""


def programs() -> Path | None:
    """Return the folder that holds PROGRAMS: one of PATH, what it links to, or the newest that Debian has installed."""
    on_path = shutil.which(PROGRAMS[0])
    folders = [Path(on_path).parent, Path(on_path).resolve().parent] if on_path else []
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    whole = (folder for folder in folders if all((folder / name).is_file() for name in PROGRAMS))
    return next(whole, None)


def runner() -> tuple[list[str], int, int] | None:
    """Return (what a command begins with, user id, group id) to run without root's rights; None when nothing does."""
    if os.getuid():
        return [], os.getuid(), os.getgid()
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            who = pwd.getpwnam(name)
            if shutil.which("setpriv"):
                ids = [f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"]
                return ["setpriv", *ids, "--"], who.pw_uid, who.pw_gid
            if shutil.which("runuser"):
                return ["runuser", "-u", name, "--"], who.pw_uid, who.pw_gid
    return None


def missing() -> str:
    """Return "" or a sentence that says why no PostgreSQL can be started here."""
    if programs() is None:
        return f"no PostgreSQL here: {', '.join(PROGRAMS)} are neither on PATH nor below /usr/lib/postgresql"
    if runner() is None:
        return "PostgreSQL refuses to run as root, and there is no unprivileged user with setpriv or runuser"
    return ""


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL: its port, and the account that owns its one database."""

    port: int
    password: str = field(repr=False)
    user: str = "studio"
    name: str = "studio"
    host: str = "127.0.0.1"

    def environment(self) -> Mapping[str, str]:
        """Return what makes Label Studio keep its data here."""
        values = ("default", self.user, self.password, self.name, self.host, str(self.port))
        return dict(zip(NAMES, values, strict=True))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield an empty database on a free port of loopback; leaving it, server and files are gone.

    Its folder lies beside pytest's own, which nobody but their owner may enter. Raises RuntimeError with
    PostgreSQL's last words.
    """
    found, way = programs(), runner()
    if found is None or way is None:
        raise RuntimeError(missing())
    prefix, user, group = way
    home = Path(tempfile.mkdtemp(prefix="toughcall-postgres-"))
    try:
        made = Cluster(free_port(), secrets.token_urlsafe(24))
        password = home / "password"
        password.touch(mode=0o600)
        password.write_text(made.password, encoding="utf-8")
        for path in (home, password):
            os.chown(path, user, group)
        data, log = home / "data", home / "log"

        def run(program: str, arguments: Sequence[str], secret: Mapping[str, str] | None = None) -> None:
            """Run one of PostgreSQL's programs, silent unless it fails."""
            done = subprocess.run(
                [*prefix, str(found / program), *arguments],
                cwd=home,
                env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", **(secret or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                said = log.read_text(encoding="utf-8") if log.exists() else ""
                raise RuntimeError(f"{program} ended with {done.returncode}: {(done.stdout + said)[-500:]}")

        run(
            "initdb",
            ["-D", str(data), "-U", made.user, "-A", "scram-sha-256", "--pwfile", str(password), "-E", "UTF8", "-N"],
        )
        password.unlink()
        # what survives a crash of the machine is not asked of a server that is thrown away
        settings = f"-c listen_addresses={made.host} -c port={made.port} -c unix_socket_directories= -c fsync=off"
        started = ["-D", str(data), "-l", str(log), "-w", "-o", settings]
        try:
            run("pg_ctl", ["start", *started])
            where = ["-h", made.host, "-p", str(made.port), "-U", made.user]
            run("createdb", [*where, made.name], {"PGPASSWORD": made.password})
            yield made
        finally:
            if (data / "postmaster.pid").exists():
                run("pg_ctl", ["stop", "-D", str(data), "-m", "immediate", "-w"])
    finally:
        shutil.rmtree(home)
