"""Break requests, kill commands and servers, and count what is lost or doubled; and how quick push and pull are.

    TOUGHCALL_STUDIO=.venv-studio python benchmarks/faults.py [--faults 1000] [--seed 0] [--share 0.15]
    TOUGHCALL_STUDIO=.venv-studio python benchmarks/faults.py --kills 20 [--items 24]
    TOUGHCALL_STUDIO=.venv-studio python benchmarks/faults.py --rates [5000] [--large 20000]

A real Label Studio in a temporary folder, stopped at the end; --postgres lets it keep its data in a PostgreSQL
that is thrown away too. Faults: a proxy stands between us and the server and breaks each request with
probability --share, one that stores something twice as often, in one of ten ways (tests/fakes/proxy.py). People
answer past the proxy, also while a pull runs, change their mind, skip, and delete tasks. Whatever they were told
was stored must be in the ledger once, with its value, and nothing else; each item must be on the server once. A
command that ends with exit 4 is run again, as a user would; one that ends with exit 2 only if a 404 of ours made
it say so. A fault counts if it fired, and one after the server's work only if the server had said 2xx. Waiting
is fifty times shorter than the product's, requests hold a few items each. Kills: benchmarks/kills.py; rates:
benchmarks/rates.py. Exit 1 when anything is lost, doubled or different.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import kills
import rates
from fakes import campaign, postgres
from fakes.crowd import Crowd, persons
from fakes.proxy import MODES, FaultProxy, Fired

from toughcall.annotate import server
from toughcall.project import TOKEN_VARIABLE
from toughcall.telling import rows_out


class Progress:
    """Says what happens, and since when."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)


def table(log: list[Fired]) -> list[dict[str, Any]]:
    """Return a line for each mode with how many fired while which command ran, and one for all."""
    fired = Counter((one.mode, one.during) for one in log)
    rows: list[dict[str, Any]] = [
        {"fault": mode, "push": fired[mode, "push"], "pull": fired[mode, "pull"]} for mode in MODES
    ]
    rows.append({"fault": "all", **{verb: sum(row[verb] for row in rows) for verb in ("push", "pull")}})
    return [{**row, "both": row["push"] + row["pull"]} for row in rows]


def faulty(args: argparse.Namespace, base: Path, local: server.Local, progress: Progress) -> int:
    """Run projects of a few turns each until enough faults have fired; return how much is wrong."""
    who = persons(local, ("anna", "ben", "carl"))
    log: list[Fired] = []
    commands: Counter[str] = Counter()
    wrong: list[str] = []
    answers = projects = 0
    while len(log) < args.faults:
        seed = args.seed + projects
        with FaultProxy(local.url, campaign.rules(args.share), seed=seed) as proxy, campaign.hurried():
            site = campaign.Site(base / f"faults-{seed}", local, proxy)
            campaign.new_project(site.root, args.turns * args.items, studio__url=proxy.url)
            crowd = None

            def made(number: int, schema: Any, seed: int = seed) -> Crowd:
                return Crowd(local, number, schema, who, random.Random(seed))

            try:
                for turn in range(args.turns):
                    crowd = campaign.turn(site, crowd, made, args.items, last=turn == args.turns - 1)
            except AssertionError as error:
                wrong += [f"seed {seed}: {line}" for line in str(error).splitlines()]
        log += proxy.log
        commands += site.commands
        answers += len(crowd.acts) if crowd else 0
        projects += 1
        progress.say(f"{len(log)} faults, {answers} answers, {projects} projects, {len(wrong)} wrong")
    print()
    rows_out(table(log), as_json=False)
    lost = sum("lost" in line or "deleted" in line for line in wrong)
    doubled = sum("twice" in line for line in wrong)
    row: dict[str, Any] = {"faults": len(log), "projects": projects, "acts of people": answers}
    row["copies removed"] = commands["copies removed"]
    for verb in ("push", "pull"):
        row[verb] = commands[verb]
        row[f"{verb} again"] = commands[f"{verb} exit 4"] + commands[f"{verb} exit 2"]
    print()
    rows_out([{**row, "lost": lost, "doubled": doubled, "other": len(wrong) - lost - doubled}], as_json=False)
    print("".join(f"\n{line}" for line in wrong))
    return len(wrong)


def main() -> int:
    """Start a server and do what was asked; 1 when anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000, help="how many faults must fire")
    parser.add_argument("--kills", type=int, default=0, help="kill commands so often, and the server, instead")
    parser.add_argument("--rates", type=int, nargs="?", const=5000, default=0, help="measure with so many tasks")
    parser.add_argument("--large", type=int, default=0, help="pull a project of so many tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.15, help="of the requests that break")
    parser.add_argument("--items", type=int, default=24, help="in a batch")
    parser.add_argument("--turns", type=int, default=4, help="of one project")
    parser.add_argument("--folder", type=Path, help="keep the projects and the server here")
    parser.add_argument("--postgres", action="store_true", help="the server keeps its data in PostgreSQL")
    args = parser.parse_args()
    progress, wrong = Progress(), 0
    with contextlib.ExitStack() as stack:
        home = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toughcall-faults-")))
        home.mkdir(parents=True, exist_ok=True)
        base = Path(tempfile.mkdtemp(prefix="run-", dir=home.resolve()))
        folder = home.resolve() / "studio"
        if args.postgres:
            if why := postgres.missing():
                raise SystemExit(why)
            os.environ |= stack.enter_context(postgres.cluster()).environment()
            folder = base / "studio"
        stack.callback(server.down, folder)
        local = server.up(folder, say=progress.say)
        os.environ |= {TOKEN_VARIABLE: local.token, "HF_HUB_OFFLINE": "1"}
        if args.rates:
            rates.side_by_side(base, folder, local, args.rates)
        if args.large:
            rates.large(base, folder, local, args.large)
        if args.kills:
            wrong += kills.campaign_of(base, folder, local, args.kills, args.items, args.seed, progress.say)
        elif not (args.rates or args.large):
            wrong += faulty(args, base, local, progress)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
