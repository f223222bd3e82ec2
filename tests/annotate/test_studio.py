"""What Studio promises, held against the fake and against a real Label Studio, so that the fake cannot drift."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Iterator

import httpx
import pytest
from fakes.expert import CONFIG, SCHEMA, Place, answer, exported, hurried, made, task
from fakes.label_studio import FakeStudio

from toughcall.annotate import studio as studios
from toughcall.annotate import sync
from toughcall.annotate.studio import Studio
from toughcall.records import RemoteError, ToughcallError, UsageError


@pytest.fixture
def fake() -> Iterator[FakeStudio]:
    """A fake server of its own."""
    with FakeStudio() as server:
        yield server


POSTGRES = bool(os.environ.get("TOUGHCALL_TEST_POSTGRES"))
"""Whether the real server keeps its data in PostgreSQL, which differs in two points."""


class TestContract:
    """Both servers keep these."""

    def test_check_tells_who_and_what(self, place: Place) -> None:
        """A working token answers with its account, the server's version and its own kind."""
        found = place.studio.check()
        assert found["email"] == place.email
        assert found["version"].split(".")[0].isdigit()
        assert found["token"] == place.studio.token_kind

    def test_c35_wrong_token(self, place: Place) -> None:
        """C35: a wrong token is exit 2, names its kind, says where to get one, and is not in the message."""
        secret = uuid.uuid4().hex + "89abcdef"
        with pytest.raises(UsageError) as caught:
            Studio(place.studio.url, secret).check()
        assert "legacy token" in str(caught.value)
        assert "Account & Settings" in str(caught.value)
        assert secret not in str(caught.value)

    def test_project_is_made_once(self, place: Place) -> None:
        """The same title and interface is one project, hidden predictions, lowest score first."""
        title = f"once {uuid.uuid4().hex[:8]}"
        number = place.studio.ensure_project(title, CONFIG, description="Be careful.", overlap=2)
        assert place.studio.ensure_project(title, CONFIG, description="Other words.") == number
        assert place.studio.ensure_project(title, CONFIG, project=number) == number
        there = place.studio._project(number)
        assert there.sampling == "Uncertainty sampling"
        assert there.show_collab_predictions is False
        assert there.maximum_annotations == 2
        assert there.expert_instruction == "Be careful."
        assert there.show_instruction is False

    def test_other_interface_is_another_project(self, place: Place) -> None:
        """A project of the same title that asks something else is not taken for ours."""
        title = f"twin {uuid.uuid4().hex[:8]}"
        number = place.studio.ensure_project(title, CONFIG)
        assert place.studio.ensure_project(title, CONFIG.replace("yes", "maybe")) != number

    def test_c41_project_of_somebody_else(self, place: Place) -> None:
        """C41: an id that is not there, or of a project made by somebody else, is exit 2."""
        with pytest.raises(UsageError):
            place.studio.ensure_project("whatever", CONFIG, project=10**6)
        other = place.hand.post("/api/projects/", {"title": "Holiday photos", "label_config": CONFIG}).json()["id"]
        with pytest.raises(UsageError, match="Holiday photos"):
            place.studio.ensure_project("whatever", CONFIG, project=other)

    def test_c36_interface_differs(self, place: Place) -> None:
        """C36: labels that differ are named; layout is no difference."""
        number = place.project()
        assert place.studio.config_problem(number, CONFIG, SCHEMA) == ""
        assert place.studio.config_problem(number, CONFIG.replace("\n", ""), SCHEMA) == ""
        problem = place.studio.config_problem(number, CONFIG.replace('"no"', '"never"'), SCHEMA)
        assert "lacks never there" in problem
        assert "has no only there" in problem

    def test_listed_sees_one_batch_whole(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A listing over several pages holds every task of its batch and none of another, with its touches."""
        monkeypatch.setattr(studios, "PAGE", 3)
        number = place.project()
        place.studio.send(number, [task(f"u{n}") for n in range(7)] + [task("x", "b0010")])
        ids = {row["uid"]: row["id"] for row in place.studio.listed(number, "b001")}
        assert sorted(ids) == [f"u{n}" for n in range(7)]
        place.hand.answers(ids["u1"])
        place.hand.answers(ids["u2"], was_cancelled=True)
        assert place.hand.post(f"/api/tasks/{ids['u3']}/drafts", {"result": answer("no")}).status_code == 201
        rows = {row["uid"]: (row["annotations"], row["drafts"]) for row in place.studio.listed(number, "b001")}
        assert [rows[f"u{n}"] for n in range(5)] == [(0, 0), (1, 0), (1, 0), (0, 1), (0, 0)]
        assert place.studio.count(number) == 8
        assert place.studio.listed(number, "b002") == []

    def test_nothing_is_deduplicated_there(self, place: Place) -> None:
        """The server keeps a task twice; a push removes the untouched copy and never one with an answer (P2)."""
        number = place.project()
        for _ in range(3):
            place.studio.send(number, [task("a"), task("b"), task("c")])
        rows = place.studio.listed(number, "b001")
        assert len(rows) == 9
        copies = {uid: sorted(row["id"] for row in rows if row["uid"] == uid) for uid in "abc"}
        place.hand.answers(copies["b"][2])
        place.hand.post(f"/api/tasks/{copies['c'][1]}/drafts", {"result": answer("no")})
        done = hurried(place.studio, number, [task("a"), task("b"), task("c")])
        assert (done.sent, done.already, done.removed) == (0, 3, 6)
        left = {row["uid"]: row["id"] for row in place.studio.listed(number, "b001")}
        assert left == {"a": copies["a"][0], "b": copies["b"][2], "c": copies["c"][1]}

    def test_delete_leaves_what_was_answered(self, place: Place) -> None:
        """P2: asked to delete a task that got an answer meanwhile, the server's own look keeps it."""
        number = place.project()
        place.studio.send(number, [task("a"), task("b"), task("c")])
        ids = {row["uid"]: row["id"] for row in place.studio.listed(number, "b001")}
        place.hand.answers(ids["a"])
        place.hand.answers(ids["b"], was_cancelled=True)
        place.studio.delete(number, list(ids.values()))
        assert sorted(row["uid"] for row in place.studio.listed(number, "b001")) == ["a", "b"]

    @pytest.mark.skipif(POSTGRES, reason="PostgreSQL gives an id out once")
    def test_ids_are_used_again(self, place: Place) -> None:
        """After the last task is deleted the next one gets its id, so an id never identifies an item."""
        number = place.project()
        place.studio.send(number, [task("a"), task("b")])
        last = max(row["id"] for row in place.studio.listed(number, "b001"))
        place.studio.delete(number, [last])
        place.studio.send(number, [task("c")])
        assert {row["uid"]: row["id"] for row in place.studio.listed(number, "b001")}["c"] == last

    def test_c34_one_bad_task_of_many(self, place: Place) -> None:
        """C34: a task the server refuses refuses the request; a push sends the rest and sets that one aside."""
        number = place.project()
        bad = {"data": {"uid": "bad", "batch": "b001"}}
        with pytest.raises(sync.Refused, match="text"):
            place.studio.send(number, [task("a"), bad])
        assert place.studio.count(number) == 0
        done = hurried(place.studio, number, [*(task(f"u{n}") for n in range(9)), bad, task("last")])
        assert done.sent == place.studio.count(number) == 10
        assert [found.where for found in done.set_aside] == ["bad"]
        assert "text" in done.set_aside[0].reason

    def test_export_holds_every_answered_task(self, place: Place) -> None:
        """Answers, skips and answers to no label of ours are exported with their unique id; open tasks are not."""
        number = place.project()
        place.studio.send(number, [task(f"u{n}") for n in range(5)])
        ids = {row["uid"]: row["id"] for row in place.studio.listed(number, "b001")}
        assert exported(place.studio, number) == []
        place.hand.answers(ids["u0"], "no")
        place.hand.answers(ids["u0"], "no such label")
        place.hand.answers(ids["u1"], was_cancelled=True)
        found = {one["data"]["uid"]: one["annotations"] for one in exported(place.studio, number)}
        assert {uid: len(notes) for uid, notes in found.items()} == {"u0": 2, "u1": 1}
        assert found["u0"][1]["result"][0]["value"]["choices"] == ["no such label"]
        assert [note["was_cancelled"] for note in found["u0"] + found["u1"]] == [False, False, True]
        assert len({note["unique_id"] for notes in found.values() for note in notes}) == 3
        assert {note["completed_by"]["email"] for notes in found.values() for note in notes} == {place.email}

    @pytest.mark.skipif(POSTGRES, reason="PostgreSQL refuses what breaks every export where the database is a file")
    def test_lone_surrogate_never_leaves(self, place: Place) -> None:
        """One lone surrogate breaks every export of its project for good, so it is refused before it is sent."""
        number = place.project()
        poison = task("p")
        poison["data"]["text"] = "half a \ud83d face"
        with pytest.raises(sync.Refused, match="D83D"):
            place.studio.send(number, [task("a"), poison])
        raw = httpx.post(
            f"{place.studio.url}/api/projects/{number}/import",
            content=b'[{"data": {"uid": "p", "batch": "b001", "text": "\\ud83d"}}]',
            headers={**place.hand.headers, "Content-Type": "application/json"},
            timeout=60,
        )
        assert raw.status_code == 201
        with pytest.raises(RemoteError, match="500"):
            place.studio.listed(number, "b001")

    def test_model_version_follows_predictions(self, place: Place) -> None:
        """A version that predictions carry is set; another one is left out without an error."""
        number = place.project()
        place.studio.send(number, [task("a"), {**task("b"), "predictions": [{"model_version": "m2", "result": []}]}])
        for version, expected in (("m2", "m2"), ("m1", "m1"), ("nobody's", "m1"), ("", "m1")):
            place.studio.set_model_version(number, version)
            assert place.studio._project(number).model_version == expected


class TestFaults:
    """What goes wrong on the way, on the fake; each test proves that its fault fired."""

    def test_c35_personal_access_token(self, fake: FakeStudio) -> None:
        """A personal access token is recognised, exchanged and works; a revoked one is exit 2 by that name."""
        assert Studio(fake.url, fake.pat).check()["token"] == "personal access"
        secret, fake.pat = fake.pat, "revoked"
        with pytest.raises(UsageError, match="personal access token") as caught:
            Studio(fake.url, secret).check()
        assert secret not in str(caught.value)

    def test_c35_server_is_down(self, fake: FakeStudio) -> None:
        """C35: a server that is not there, or whose name is not known, is exit 4 and names the address."""
        with FakeStudio() as gone:
            url = gone.url
        for address in (url, "http://toughcall.invalid"):
            with pytest.raises(RemoteError, match=address) as caught:
                Studio(address, fake.token).check()
            assert caught.value.code == 4

    @pytest.mark.parametrize("mode", ["502 after commit", "drop after commit", "half body"])
    def test_lost_answer_to_create_makes_one_project(self, fake: FakeStudio, mode: str) -> None:
        """The project is made once although the answer to its creation was lost, now or on an earlier run."""
        place = made(fake)
        fake.fail("POST /api/projects/", 1, mode)
        number = place.studio.ensure_project("a project", CONFIG)
        assert fake.fired == 1
        assert place.studio.ensure_project("a project", CONFIG) == number
        assert list(fake.projects) == [number]

    def test_project_changed_there_is_not_found_again(self, fake: FakeStudio) -> None:
        """A project of ours whose interface somebody changed since is not taken for a new one of the same name."""
        place = made(fake)
        number = place.project("a project")
        fake.projects[number].fields["label_config"] = CONFIG.replace("yes", "perhaps")
        assert place.project("a project") != number

    def test_project_of_another_account_is_not_taken(self, fake: FakeStudio) -> None:
        """Two people with projects of one name and interface on one server do not get mixed up."""
        place = made(fake)
        number = place.project("a project")
        fake.projects[number].fields["created_by"] = {"id": 2, "email": "other@example.com"}
        assert place.project("a project") != number

    def test_nothing_is_sent_twice_by_the_client(self, fake: FakeStudio) -> None:
        """One call is one request: the client's own repetition, which doubles tasks, is off for every write."""
        place = made(fake)
        number = place.project()
        fake.fail("/import", 9, "502 after commit")
        with pytest.raises(RemoteError):
            place.studio.send(number, [task("a")])
        assert fake.fired == 1
        assert fake.uids(number) == ["a"]

    def test_c41_redirect_to_another_host(self, fake: FakeStudio) -> None:
        """C41: a server that sends requests elsewhere is exit 2 and the token stays here."""
        studio = Studio(fake.url, fake.token)
        fake.fail("", 1, "redirect")
        with pytest.raises(UsageError, match=r"elsewhere\.invalid"):
            studio.check()
        assert fake.fired == 1

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "file:///etc/passwd",
            "ftp://example.org",
            "example.org",
            "http://",
            "http://user:secret@example.org",
            "http://example.org?token=1",
            "http://example.org:port",
            "http://169.254.169.254",
            "http://2852039166",
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]:8080",
            "http://0.0.0.0:8080",
        ],
    )
    def test_c41_addresses_that_get_no_token(self, url: str) -> None:
        """C41: no address of a file, with a password, link-local in any spelling, or that is none."""
        with pytest.raises(UsageError) as caught:
            Studio(url, "token")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "https://label.example.org/studio//", "http://[::1]:80"])
    def test_addresses_that_do(self, url: str) -> None:
        """An ordinary address is kept without its trailing slash."""
        assert Studio(url, "token").url == url.rstrip("/")

    @pytest.mark.parametrize("token", ["", " ", "two words", "naïve", "line\nbreak"])
    def test_tokens_that_are_none(self, token: str) -> None:
        """A token no header can carry is exit 2 without being repeated."""
        with pytest.raises(UsageError) as caught:
            Studio("http://127.0.0.1", token)
        assert not token.strip() or token not in str(caught.value)

    @pytest.mark.parametrize(
        "mode", ["500 before", "404", "half body", "refuse token", "redirect", "drop after commit"]
    )
    def test_c85_no_secret_in_any_error(self, fake: FakeStudio, mode: str) -> None:
        """C85: whatever fails, neither message nor repr nor traceback holds token or cookie."""
        for token in (fake.token, fake.pat):
            studio = Studio(fake.url, token)
            fake.fail("", 1, mode)
            with pytest.raises(ToughcallError) as caught:
                studio.check()
            shown = "".join(traceback.format_exception(caught.value)) + repr(studio) + repr(caught.value)
            assert token not in shown
            assert "canary-cookie" not in shown
        assert fake.fired == 2


def test_client_is_loaded_late() -> None:
    """Importing our module loads neither the SDK nor httpx, so that --help stays quick."""
    code = "import sys, toughcall.annotate.studio; print({'httpx', 'label_studio_sdk'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
