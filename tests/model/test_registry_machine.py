"""Any order of saves, promotions, rollbacks and damage: the registry never lies about what serves."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from toughcall.model.kinds import KINDS
from toughcall.model.registry import Registry, load_folder
from toughcall.model.scorers import Head
from toughcall.model.train import Trained
from toughcall.records import Floats, IntegrityError, Text, UsageError, Vectors

KIND = KINDS["multilabel"]
SCHEMA = KIND.schema(("a", "b"))
ITEMS = [Text(f"t{i}") for i in range(4)]
VECTORS = Vectors(tuple(t.id for t in ITEMS), np.eye(4, dtype=np.float32), "eye")
INFO = {"labels": "l", "n_labels": 4, "seed": 0, "encoder": "eye", "encoder_sha": "e", "schema": "s"}
FILES = ("config.json", "manifest.json", "probe.json", "report.json", "weights.safetensors")


def model(seed: int) -> Trained:
    """Return a tiny model of its own."""
    rng = np.random.default_rng(seed)
    ones = np.ones(2, dtype=np.float32)
    head = Head(KIND, SCHEMA, rng.normal(size=(2, 4)).astype(np.float32), 0 * ones, ones, 0 * ones, 0.5 * ones, None)
    return Trained(dataclasses.replace(head, name="tiny"), (), {}, {})


class Machine(RuleBasedStateMachine):
    """A registry beside what it should be: versions with their scores, a line of champions, the damaged ones."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.scores: dict[str, bytes] = {}
        self.line: list[str] = []
        self.damaged: set[str] = set()

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.root)

    @initialize()
    def opened(self) -> None:
        """Start without a folder."""
        self.registry = Registry(self.root / "models")

    @rule(seed=st.integers(0, 99), proof=st.sampled_from(["good", "good", "other", "base"]))
    def save(self, seed: int, proof: str) -> None:
        """Save: listed with its scores, or refused and not there."""
        made = model(seed)
        said = made.score(ITEMS, VECTORS).values

        def prove(folder: Path) -> Floats:
            return said[::-1] if proof == "other" else load_folder(folder)[0].score(ITEMS, VECTORS).values

        base = (said if proof == "base" else 1 - said).tolist()
        given: dict[str, Any] = {"report": None, "info": {**INFO, "base_scores": base}, "prove": prove}
        if proof != "good":
            with pytest.raises(IntegrityError):
                self.registry.save(made, name="m", probe=ITEMS, probe_vectors=VECTORS, **given)
            return
        version = self.registry.save(made, name="m", probe=ITEMS, probe_vectors=VECTORS, **given)
        assert version not in self.scores
        self.scores[version] = said.tobytes()

    @precondition(lambda self: self.scores)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        """Promote: the whole ones only."""
        version = data.draw(st.sampled_from(sorted(self.scores)))
        if version in self.damaged:
            with pytest.raises(IntegrityError):
                self.registry.promote(version, verdict={})
            return
        self.registry.promote(version, verdict={})
        if self.line[-1:] != [version]:
            self.line.append(version)

    @rule()
    def rollback(self) -> None:
        """Roll back: one step along the line, refused at its start and into a damaged model."""
        if len(self.line) < 2 or self.line[-2] in self.damaged:
            with pytest.raises(UsageError if len(self.line) < 2 else IntegrityError):
                self.registry.rollback()
            return
        self.line.pop()
        assert self.registry.rollback() == self.line[-1]

    @precondition(lambda self: self.scores)
    @rule(data=st.data(), place=st.floats(0, 0.999))
    def corrupt(self, data: st.DataObject, place: float) -> None:
        """Turn one byte of one file of one model."""
        version = data.draw(st.sampled_from(sorted(set(self.scores) - self.damaged) or [""]))
        if not version:
            return
        path = self.registry.path(version) / data.draw(st.sampled_from(FILES))
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1
        path.write_bytes(bytes(content))
        self.damaged.add(version)

    @rule()
    def reopen(self) -> None:
        """A new process knows no more than the folder."""
        self.registry = Registry(self.root / "models")

    @invariant()
    def the_champion_is_one_of_the_versions(self) -> None:
        """Rule: champion() is "" or listed, and is the end of the line."""
        assert self.registry.versions() == list(self.scores)
        assert self.registry.champion() == (self.line[-1] if self.line else "")
        assert [step["version"] for step in self.registry.history()] == self.line
        scrap = {path.name for path in self.registry.folder.glob("*")} - set(self.scores) - {"champion.json"}
        assert not scrap

    @invariant()
    def what_loads_says_what_it_was_saved_with(self) -> None:
        """Rule: every version gives its scores bit for bit, or is refused because it was damaged."""
        for version, said in self.scores.items():
            if version in self.damaged:
                with pytest.raises(IntegrityError):
                    self.registry.load(version)
            else:
                assert self.registry.load(version).score(ITEMS, VECTORS).values.tobytes() == said


def test_c69_c70_c71_the_registry_never_lies_about_what_serves() -> None:
    """C57, C59, C60, C69-C71: a state machine of saves, promotions, rollbacks, damage and reopening."""
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))
