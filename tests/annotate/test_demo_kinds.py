"""The demo of every kind of work, small: real Label Studio, real encoder, real data, a verdict at its end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from toughcall import demo, demo_data
from toughcall.annotate import server
from toughcall.model import kinds
from toughcall.records import RemoteError
from toughcall.telling import Console
from toughcall.workspace import opened

pytestmark = pytest.mark.studio


def test_every_kind_has_a_demo() -> None:
    """A kind without demo data would be a kind nobody has seen at work."""
    assert set(demo_data.SETS) == set(kinds.KINDS)


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_the_demo_of_a_kind_goes_from_files_to_a_verdict(
    kind: str,
    studio_server: server.Local,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two small rounds: every item answered by real accounts, figures for each model, a story, a verdict."""
    folder = tmp_path_factory.getbasetemp()
    console = Console(quiet=True)
    try:
        demo.prepare(folder, [kind], console, demo.SMALL)
    except RemoteError as error:
        pytest.skip(f"the demo data cannot be fetched here: {error}")
    try:
        demo.run(folder, [kind], 2, console, small=True, page=False)
    except RemoteError:
        # a busy server now and then answers 500; what was begun goes on with the same command
        demo.run(folder, [kind], 2, console, small=True, page=False)
    told = capsys.readouterr().out
    assert re.search(rf"^{kind}: \w+ with 95 % interval on \d+ sealed rows", told, re.MULTILINE)
    with opened(Path(folder) / kind, "test", writing=False) as ws:
        answers = [answer for answer in ws.store.answers() if answer.source == "person"]
        retrains = [event for _, event in ws.store.events("retrain")]
        batches = ws.store.batches()
        items = ws.pool.items([answer.item for answer in answers])
        assert [row["state"] for row in batches] == ["done", "done"]
        # the server now and then hands one task to two experts at once: both answers are kept
        assert {answer.item for answer in answers} == {pick.item for _, pick in ws.store.picks()}
        assert len({(answer.item, answer.annotator) for answer in answers}) == len(answers)
        assert {answer.outcome for answer in answers} <= {"label", "cant_tell"}
        for answer in answers:
            if answer.outcome == "label":
                assert ws.schema.check(answer.value, ws.schema.offered(items[answer.item])) == ""
        judged = [event for event in retrains if event["reports"]]
        assert judged
        assert all(event["outcome"] in ("PROMOTE", "KEEP", "UNDECIDED") for event in judged)
        roles = {report["role"]: report for report in judged[-1]["reports"]}
        assert {"tfidf", "untouched", "candidate"} <= set(roles)
        assert all(report["value"] is not None for role, report in roles.items() if role != "majority")
