"""Any order of everything that may happen to a loop: the promises hold after every step (P1, P2, P5, P6, P10, P14)."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeStudio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from loop_site import Site, quickened
from loop_told import ASKED, PEOPLE, named
from loop_trouble import PULLING, PUSHING, STOPS, killed, report, stored

from toughcall import experts, loop, mapping, retraining
from toughcall.model.gate import Gate, judge
from toughcall.records import GateRefused, ToughcallError, UsageError
from toughcall.workspace import Workspace

ACTS = (*["answer"] * 8, "edit", "edit", "erase", "draft", "flip", "delete", "copy")
WHAT = ("animal", "animal", "animal", "machine", "food", "food", "can't tell", "skip", "empty")
PLACE = st.integers(0, 50)
SEED = st.integers(0, 9999)


BROKEN = ("RemoteError", "Failed", "UsageError", "Gone", "Refused")
"""What a command may end with when a request broke."""


class Loop(RuleBasedStateMachine):
    """A project, its server and its people."""

    fake: FakeStudio
    folder: Path
    came: Counter[str]
    """What came of it all, over every order tried: faults by mode, kills, answers read, and so on."""

    @initialize(overlap=st.integers(1, 2), named=st.booleans(), gold=st.sampled_from((0.0, 0.5)))
    def start(self, overlap: int, named: bool, gold: float) -> None:
        """Make a project, for whoever comes or for two experts by name."""
        more = {"studio__experts": list(PEOPLE[:2])} if named else {}
        self.site = Site(self.fake, self.folder, studio__overlap=overlap, studio__gold=gold, **more)
        self.champions: list[str] = []
        self.torn: set[str] = set()
        self.good: dict[str, bool] = {}
        self.rows(range(10), [], labelled=False)
        self.rows(range(10, 16), ["food", "animal"], labelled=True)
        self.push(4, None, 0, 0, 0, again=False)

    def teardown(self) -> None:
        """Leave nothing behind."""
        if not hasattr(self, "site"):
            return
        told, now = self.site.told, self.ws.schema.version
        self.came["events"] += len(told.history)
        self.came["revisions"] += len(told.history) - len(self.site.newest())
        self.came["adjudicated"] += sum(self.site.role(one) == "adjudication" for one in told.history)
        self.came["checks"] += sum(self.site.role(one) == "gold" for one in told.history)
        self.came["translated"] += sum(one.schema != now for one in told.history)
        self.came["torn"] += len(self.torn)
        self.came["deleted"] += len(told.lost)
        self.came["promoted"] += len(self.champions)
        self.site.close()
        shutil.rmtree(self.site.root.parent)

    @property
    def ws(self) -> Workspace:
        return self.site.ws

    # ---- what goes in

    def rows(self, numbers: Iterable[int], labels: list[str], *, labelled: bool) -> None:
        texts = [chr(97 + n % 26) * 9 + "!?;:,."[n // 26 % 6] * 4 if n >= 0 else " " for n in numbers]
        given = labels or [""]
        made = [{"text": text, "label": given[turn % len(given)]} for turn, text in enumerate(texts)]
        self.site.import_rows(made, labelled)

    @rule(
        numbers=st.lists(st.integers(-1, 60), min_size=1, max_size=8),
        labels=st.lists(st.sampled_from(("animal", "beast", "food", "food", "", "ghost")), max_size=3),
        twice=st.booleans(),
    )
    def bring(self, numbers: list[int], labels: list[str], twice: bool) -> None:
        """Import new rows, known ones, bad ones; the same file twice."""
        for _ in range(1 + twice):
            self.rows(numbers, labels, labelled=bool(labels))

    @rule(size=st.integers(2, 6))
    def mine(self, size: int) -> None:
        """P5: nothing held out is asked, but to measure; nobody is asked again, but to be checked."""
        asked = self.ws.store.asked()
        batch = loop.mine(self.ws, size)
        self.site.note_batch(batch, "")
        parts, groups = self.ws.store.parts(), self.ws.store.groups()
        held = {groups[one] for one, part in parts.items() if part == "test"}
        for pick in batch.picks:
            assert pick.reason == "random_audit" or (parts[pick.item] == "train" and groups[pick.item] not in held)
            assert pick.reason == "gold" or pick.item not in asked
        train, test, _, _ = self.ws.split()
        assert all(parts[label.item] == "train" and groups[label.item] not in held for label in train)
        assert all(parts[label.item] == "test" for label in test)

    # ---- commands that talk to the server

    @contextlib.contextmanager
    def trouble(self, fault: tuple[str, str] | None, times: int, skip: int, meanwhile: int) -> Iterator[list[str]]:
        """Break requests while a command runs, and let somebody answer between two of them; say what came of it."""
        fake, came = self.fake, list[str]()
        if fault:
            fake.fail(fault[0], times, fault[1], skip)
        before, left = fake.fired, [meanwhile]

        def between(request: str) -> None:
            left[0] -= 1
            if meanwhile and left[0] == 0 and (open_ := self.site.tasks()):
                number, task = open_[meanwhile % len(open_)]
                self.site.answer(number, task, meanwhile % 3, "food")

        fake.after = between
        try:
            yield came
        except ToughcallError as error:
            came.append(type(error).__name__ if fake.fired > before else f"{error}")
        finally:
            self.came[fault[1] if fault else ""] += fake.fired - before
            fake.faults.clear()
            fake.after = lambda request: None

    @rule(
        size=st.integers(1, 4),
        fault=st.none() | st.sampled_from(PUSHING),
        times=st.integers(1, 3),
        skip=st.integers(0, 1),
        meanwhile=st.integers(0, 12),
        again=st.sampled_from((False, False, False, True)),
    )
    def push(
        self, size: int, fault: tuple[str, str] | None, times: int, skip: int, meanwhile: int, again: bool
    ) -> None:
        """P2, P3: a push that ended well, at once or when it was run again, leaves each item there once."""
        site = self.site
        site.plan(size)
        with self.trouble(fault, times, skip, meanwhile) as came:
            loop.push(self.ws, again=again)
        if again:
            site.came_back()
        if came and came[0] in BROKEN:
            return self.push(0, None, 0, 0, 0, again=False) if meanwhile % 2 else None
        if came:
            assert self.site.may_refuse(came[0]), came
            return None
        schemas = site.schemas()
        for row in self.ws.store.batches():
            if row["state"] == "sent" and schemas[row["name"]] == self.ws.schema.version:
                site.once(row["name"])
        return None

    @rule(
        acts=st.integers(0, 9),
        seed=SEED,
        fault=st.none() | st.sampled_from(PULLING),
        times=st.integers(1, 3),
        skip=st.integers(0, 1),
        meanwhile=st.integers(0, 12),
        whole=st.booleans(),
    )
    def pull(
        self, acts: int, seed: int, fault: tuple[str, str] | None, times: int, skip: int, meanwhile: int, whole: bool
    ) -> None:
        """P1, C49: a pull that ended well has all that was said before it; pulled again, nothing is new."""
        self.people(acts, seed)
        due = self.site.covered()
        with self.trouble(fault, times, skip, meanwhile) as came:
            loop.pull(self.ws, whole=whole)
        if came and came[0] in BROKEN:
            return self.pull(0, seed, None, 0, 0, 0, whole=False) if meanwhile % 2 else None
        assert not came or self.site.may_refuse(came[0]), came
        self.holds(due)
        if not meanwhile:
            before = self.ws.store.answers(history=True)
            with self.trouble(None, 0, 0, 0) as came:
                assert loop.pull(self.ws, whole=whole).new == 0
            assert not came or self.site.may_refuse(came[0]), came
            assert self.ws.store.answers(history=True) == before
        return None

    def holds(self, due: list[tuple[str, str, str, str, tuple[str, ...]]]) -> None:
        """Hold the ledger against what was said: each newest event says what was said last."""
        self.site.remember(self.ws.store.answers(history=True))
        newest = {one.key: (one.item, one.annotator, one.outcome, one.value) for one in self.site.newest()}
        for key, *said in due:
            assert newest.get(key) == tuple(said)

    @rule(
        stop=st.sampled_from(STOPS),
        turn=st.sampled_from((1, 1, 2, 3)),
        after=st.booleans(),
        size=st.integers(0, 3),
        seed=SEED,
    )
    def kill(self, stop: tuple[type, str], turn: int, after: bool, size: int, seed: int) -> None:
        """P3: a command that was killed is as good as one that was never begun, or that ended."""
        verb = loop.push if size else loop.pull
        self.site.plan(size) if size else self.people(5, seed)
        with killed(stop, turn, after=after) as ended, contextlib.suppress(UsageError):
            verb(self.ws)
        self.came["killed"] += len(ended)
        self.reopen()
        if ended and seed % 2:
            self.push(0, None, 0, 0, 0, again=False) if size else self.pull(0, seed, None, 0, 0, 0, whole=False)

    def reopen(self) -> None:
        self.site.close()
        self.site.open()

    @rule(what=st.sampled_from(("settle", "settle", "later", "reopen")))
    def wait(self, what: str) -> None:
        """What was cut off is stored at last; more than a minute passes; a new process begins."""
        if what == "settle":
            self.fake.settle()
            self.site.came_back()
        elif what == "later":
            self.fake.ticks += 70_000
        else:
            self.reopen()

    # ---- what people do

    @rule(acts=st.integers(1, 9), seed=SEED)
    def people(self, acts: int, seed: int) -> None:
        """Somebody labels, skips, cannot tell or submits nothing; changes or deletes it, or marks it as the true one;
        begins and does not submit; deletes a task; and tasks come a second time.
        """
        rng = np.random.default_rng(seed)
        for _ in range(acts):
            tasks = self.site.tasks()
            notes = [one for one in self.site.told.said if self.site.alive(one)]
            act = ACTS[rng.integers(len(ACTS))]
            if found := notes if act in ("edit", "erase", "flip") else tasks:
                self.act(act, found[rng.integers(len(found))], int(rng.integers(3)), WHAT[rng.integers(len(WHAT))])

    def act(self, act: str, found: Any, who: int, what: str) -> None:
        if act == "edit":
            self.site.edit(found, what)
        elif act == "erase":
            found.removed = True
            self.fake.erase(found.note["id"], query={}, body={})
        elif act == "flip":
            # no time moves
            found.note["ground_truth"] = not found.note["ground_truth"]
        elif act == "answer":
            self.site.answer(*found, who, what)
        elif act == "delete":
            self.site.delete(*found)
        elif act == "draft":
            self.fake.draft(found[1]["id"], query={}, body={"result": []})
        else:
            number, task = found
            self.fake.import_tasks(number, query={}, body=[{"data": task["data"], "meta": task["meta"]}])

    # ---- what labels are called

    @rule(what=st.sampled_from(("there", "here", "here and said", "said")), place=PLACE)
    def rename(self, what: str, place: int) -> None:
        """Somebody renames a label in Label Studio or takes that back; changes [labels]; says what they mean now."""
        if what == "there" and (numbers := sorted(self.site.numbers.values())):
            fields = self.fake.projects[numbers[place % len(numbers)]].fields
            one, other = ("food", "meal") if 'alias="food"' in fields["label_config"] else ("meal", "food")
            fields["label_config"] = fields["label_config"].replace(f'alias="{one}"', f'alias="{other}"')
        if "here" in what:
            self.site.write(ASKED[place % len(ASKED)])
            self.reopen()
        if "said" in what:
            self.translate()

    def translate(self) -> None:
        site, now = self.site, self.ws.schema.labels
        before = {one.schema for one in site.newest() if one.outcome == "label"} | set(site.schemas().values())
        older = before - {self.ws.schema.version}
        unknown = mapping.unknown(self.ws).keys()
        earlier = {word for version in older for word in site.told.asks[version]} | unknown
        meant = {word: named(word, now) for word in earlier if word not in now}
        mapping.translate(self.ws, meant)
        site.told.mapped.setdefault(self.ws.schema.version, set()).update(older)
        site.told.words |= unknown | {word for one, word in meant.items() if word not in ("", one)}

    # ---- who decides

    @rule(button=st.booleans(), place=PLACE, word=st.integers(0, 3))
    def decide(self, button: bool, place: int, word: int) -> None:
        """C48, C79, C80: what is in dispute is asked once of who decides; or it is decided on the page, twice."""
        told = self.site.told
        if not button:
            batch = experts.adjudicate(self.ws)
            self.site.note_batch(batch, "adjudication")
            assert {pick.item for pick in batch.picks} <= set(self.site.labels()[1])
            assert not experts.adjudicate(self.ws).picks
            return
        items, labels = sorted(text.id for text in self.ws.pool.texts()), ("", *self.ws.schema.labels)
        item, said, one = items[place % len(items)], labels[word % len(labels)], f"d{len(told.decisions)}"
        told.decisions[item, one] = said
        for turn in range(2):
            assert experts.decide(self.ws, item, (said,) if said else None, "lee", one) is not bool(turn)

    # ---- which model serves

    @rule(
        wrong=st.sampled_from((0, 0, 8, 20)),
        value=st.sampled_from((0.0, 0.0, 0.0, math.nan, math.inf, -math.inf, None)),
        missing=st.sampled_from((False, False, True)),
    )
    def judge(self, wrong: int, value: float | None, missing: bool) -> None:
        """P10: a model whose figure is missing, not finite, equal or worse is not let through, and cannot serve."""
        champion = report("champion", 8) if self.champions else None
        rivals = [] if missing else [report("untouched", 20)]
        found = judge(report("candidate", wrong, value), champion, rivals, Gate("macro_f1", min_items=20))
        good = value == 0.0 and wrong < (8 if self.champions else 20) and not missing
        assert (found.outcome == "PROMOTE") == good
        version = stored(self.ws, len(self.good))
        self.good[version] = good
        told = {"version": version, "outcome": found.outcome, "sentence": found.sentence(), "not_below": good}
        self.ws.store.add_event("retrain", {**told, "labels_digest": version, "reports": []})
        with contextlib.nullcontext() if good else pytest.raises(GateRefused):
            retraining.promote(self.ws)
            self.champions.append(version)

    @precondition(lambda self: self.good)
    @rule(back=st.booleans(), place=PLACE)
    def serve(self, back: bool, place: int) -> None:
        """P10, P11: only what the gate let through serves; one step back goes along the line."""
        if back and len(self.champions) < 2:
            with pytest.raises(UsageError):
                retraining.rollback(self.ws)
        elif back:
            self.champions.pop()
            assert retraining.rollback(self.ws) == self.champions[-1]
        else:
            version = sorted(self.good)[place % len(self.good)]
            with contextlib.nullcontext() if self.good[version] else pytest.raises(GateRefused):
                retraining.promote(self.ws, version)
            if self.good[version] and self.champions[-1:] != [version]:
                self.champions.append(version)

    # ---- what holds after every step

    @invariant()
    def the_promises_hold(self) -> None:
        """P1, P2, P10, P14: what must be so at any moment, whatever ran last and however it ended."""
        site, store = self.site, self.ws.store
        # P1: what was in the ledger stays; what is new was said, and nothing older comes after it
        site.remember(store.answers(history=True))
        gone = {key for _, event in store.events("gone") for key in event["keys"]}
        assert not gone & {site.key(one) for one in site.told.said if site.alive(one)}
        assert store.damage() == []
        # P14: labels are of the present schema or its mapping, and adjudicated answers win
        labels, torn = store.labels(self.ws.schema.version)
        assert ({label.item: label.value for label in labels}, torn) == site.labels()
        self.torn |= set(torn)
        counts = {row["name"]: (row["size"], row["answered"], row["waiting"]) for row in store.batches()}
        assert counts == site.counts()
        # P2: no answer was deleted by us, and what somebody deleted was not sent again
        assert all(site.alive(one) or one.removed for one in site.told.said)
        assert not [key for key in site.told.lost if site.copies(key)]
        # P10: the pointer is the end of the line, and everything on the line was let through
        assert self.ws.registry.champion() == (self.champions[-1] if self.champions else "")
        assert all(self.good[one] for one in self.champions)


@pytest.mark.hypothesis
def test_the_promises_hold_whatever_happens_in_whatever_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1, P2, P3, P5, P6, P10, P14, C29-C53, C79, C80: imports, batches, faults, kills, people, names and models."""
    came: Counter[str] = Counter()
    with FakeStudio() as fake:
        quickened(monkeypatch, fake)
        machine = type("LoopHere", (Loop,), {"fake": fake, "folder": tmp_path, "came": came})
        # a run of the suite tries some orders, always the same; `make search` tries hundreds of others
        tries = 40 if settings.default.derandomize else settings.default.max_examples
        tried = settings(max_examples=tries, stateful_step_count=40, suppress_health_check=list(HealthCheck))
        run_state_machine_as_test(machine, settings=tried)
    broken = sum(came[mode] for mode in {mode for _, mode in (*PUSHING, *PULLING)})
    assert min(broken, came["killed"]) >= 10, came
    assert came["events"] >= 200, came
    others = ("revisions", "adjudicated", "checks", "translated", "deleted", "torn", "promoted")
    assert not [one for one in others if not came[one]], came
