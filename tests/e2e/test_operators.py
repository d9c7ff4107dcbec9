"""Operators, their tokens, and the journal of what they do."""

import json
import os
import re
import shutil
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.rows import a_session

from peak_trade.compose import Parts
from peak_trade.journal.run import RunStatus
from peak_trade.journal.signing import public_path
from peak_trade.model.errors import InputError, StorageError
from peak_trade.runs import acts, operators
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.safety import kill
from peak_trade.settings import load_config

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def failed(project) -> str:
    """The id of a session that failed."""
    with closing(Parts(load_config())) as parts:
        session = parts.sessions.begin(a_session(), NOW, 30.0)
        parts.sessions.finish(session.session_id, RunStatus.FAILED, at=NOW, elapsed_s=1.0, metrics={}, summary={})
    return str(session.session_id)


def segments(project) -> list[Path]:
    """Return the files of the operators' journal, one for each action, oldest first."""
    folder = project.folder / "var" / "journal" / "operators"
    return sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name)


def bodies(path: Path) -> list[dict[str, object]]:
    return [json.loads(line)["body"] for line in path.read_text().splitlines()]


def refused(project, *arguments: str, code: int = 2) -> str:
    """Run a command that must be refused in one sentence, and return the sentence."""
    ended = project.run(*arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1), ended
    assert "internal fault" not in ended.err
    return ended.err


# ---- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_kept_nowhere(project):
    """Alone on stdout; no file of the project has it, or its hash outside of the registry."""
    ended = project.run("operator", "add", "kim")
    token = ended.out.strip()

    assert (ended.code, len(ended.out.splitlines())) == (0, 1)
    assert re.fullmatch(r"ptop_[A-Za-z0-9_-]{43}", token)
    assert "shown only now" in ended.err
    with closing(Parts(load_config())) as parts:
        assert parts.operators.holder(token) == "kim"
    hashed = operators.token_hash(token).encode()
    for path in project.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert token.encode() not in content, path
            assert hashed not in content or path.name == "registry.db", path


def test_two_tokens_differ(project):
    """Each is made of 32 random bytes."""
    tokens = {project.run("operator", "add", f"o{number}", "--json").json["token"] for number in range(5)}

    assert len(tokens) == 5


def test_list_and_revoke(project):
    """The list has names and times; a revoked token is nobody's."""
    assert "operator add NAME" in project.run("operator", "list").out
    token = project.run("operator", "add", "kim").out.strip()
    project.run("operator", "add", "alex")

    assert project.run("operator", "revoke", "kim").out == "the token of kim is revoked\n"

    listed = project.run("operator", "list", "--json").json
    assert [(row["name"], row["revoked_at"] is None) for row in listed] == [("alex", True), ("kim", False)]
    assert "alex" in project.run("operator", "list").out
    with closing(Parts(load_config())) as parts:
        assert parts.operators.holder(token) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "kim"), "operator revoke 'kim'"),
        (("add", "k/im"), "expected an operator's name"),
        (("revoke", "alex"), "peak-trade operator list"),
        (("revoke", "../x"), "expected an operator's name"),
    ],
)
def test_a_wrong_name_is_one_sentence(project, words, told):
    """Exit code 2."""
    project.run("operator", "add", "kim")

    assert told in refused(project, "operator", *words)


def test_adding_and_revoking_are_written_down(project):
    """Who, whom and how it ended; one that failed too."""
    project.run("operator", "add", "kim", "--by", "root one")
    project.run("operator", "add", "kim")
    project.run("operator", "revoke", "kim")

    told = [bodies(path) for path in segments(project)]
    assert [(begun["action"], begun["name"], ended["status"]) for begun, ended in told] == [
        ("operator_add", "kim", "completed"),
        ("operator_add", "kim", "failed"),
        ("operator_revoke", "kim", "completed"),
    ]
    assert (told[0][0]["by"], told[1][0]["by"]) == ("root one", acts.machine_user())
    assert "kim, who has a token" in told[1][1]["error"]
    assert project.run("journal", "verify").code == 0


# ---- acknowledging ---------------------------------------------------------------------------------------------------


def test_a_failed_session_is_acknowledged(project, failed):
    """It leaves the list of the unhandled, and list, page and document say who took note."""
    before = project.run("session", "list", "--unhandled", "--json").json
    ended = project.run("session", "acknowledge", "latest", "--note", "the venue was down", "--by", "kim")
    shown = project.run("session", "show", failed)

    assert [item["session_id"] for item in before] == [failed]
    assert (ended.code, "by kim: the venue was down" in ended.out) == (0, True)
    assert "no session matches" in project.run("session", "list", "--unhandled").out
    assert "failed (acknowledged)" in project.run("session", "list").out
    assert re.search(r"^seen +\S+ by kim: the venue was down$", shown.out, re.M)
    assert project.run("session", "show", failed, "--json").json["acknowledged"]["by"] == "kim"
    begun, end = bodies(segments(project)[0])
    assert (begun["action"], begun["session_id"], begun["via"], end["status"]) == (
        "acknowledge",
        failed,
        "command",
        "completed",
    )


def test_a_second_acknowledgement_changes_nothing(project, failed):
    """It tells who was first, and is no action."""
    first = project.run("session", "acknowledge", failed, "--note", "seen", "--by", "kim", "--json")
    second = project.run("session", "acknowledge", failed, "--note", "me too", "--by", "alex", "--json")

    assert (first.code, second.code, first.json) == (0, 0, second.json)
    assert len(segments(project)) == 1


def test_what_did_not_fail_is_not_acknowledged(project):
    """Exit code 2, and nothing is written down, because nothing was done."""
    project.run(*RUN)

    assert "that failed, found" in refused(project, "session", "acknowledge", "latest", "--note", "x")
    assert "--note" in refused(project, "session", "acknowledge", "latest")
    assert "found none like" in refused(project, "session", "acknowledge", "nothing", "--note", "x")
    assert segments(project) == []


def test_what_the_registry_refuses_is_written_down_as_failed(project, failed, monkeypatch):
    """The journal comes first: it says what was to be done, and that it was not."""
    with closing(Parts(load_config())) as parts, monkeypatch.context() as patch:

        def refuse(*_arguments: object) -> None:
            raise StorageError("the registry can't be used: the disk is full; free some space")

        patch.setattr(parts.sessions, "acknowledge", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            operators.acknowledge(parts, failed, "kim", "seen", acts.DASHBOARD)

        assert parts.sessions.get(failed).acknowledged is None
    begun, end = bodies(segments(project)[0])
    assert (begun["via"], end["status"], "the disk is full" in str(end["error"])) == ("dashboard", "failed", True)


# ---- the journal -----------------------------------------------------------------------------------------------------


def test_the_account_is_reserved(project):
    """No session may use it, in any spelling that a disk might take for the same."""
    for name in ("operators", "Operators", "OPERATORS"):
        assert "under which the journal of operators lies" in refused(project, *RUN, "--account", name)
    assert project.run(*RUN, "--account", "operators-desk").code == 0


def test_an_action_is_no_session(project):
    """Its records can be looked at; it can't be decided again."""
    project.run("operator", "add", "kim")
    name = segments(project)[0].stem

    assert "operator_add" in project.run("session", "tail", name).out
    refused(project, "session", "replay", name)


@pytest.mark.parametrize("tamper", ["change", "cut", "remove", "remove the last", "remove all"])
def test_tampering_is_found(project, tamper):
    """A changed word, a lost end, a lost action, the last one lost with its signature, all of them lost."""
    for name in ("kim", "alex", "sam"):
        project.run("operator", "add", name)
    first, second, last = segments(project)
    if tamper == "change":
        second.write_bytes(second.read_bytes().replace(b"alex", b"alec"))
    elif tamper == "cut":
        last.write_bytes(last.read_bytes().splitlines(keepends=True)[0])
    elif tamper == "remove all":
        shutil.rmtree(first.parent)
    else:
        gone = second if tamper == "remove" else last
        gone.with_suffix(".heads.jsonl").unlink()
        gone.unlink()

    ended = project.run("journal", "verify")

    assert ended.code == 1
    wanted = {"change": "changed", "cut": "cut"}.get(tamper, "missing_segment")
    assert wanted in ended.out


def test_an_action_that_died_before_its_signature_is_mended(project):
    """A process killed just then leaves an end without a signature; the next action signs it first."""
    project.run("operator", "add", "kim")
    segments(project)[0].with_suffix(".heads.jsonl").unlink()
    assert project.run("journal", "verify").code == 1

    project.run("operator", "revoke", "kim")

    assert project.run("journal", "verify").code == 0


@pytest.mark.parametrize("lines", [0, 1])
def test_an_action_that_died_before_its_end_is_no_flaw(project, lines):
    """What was begun and not ended stays so, with a torn line too; the next action goes on behind it."""
    project.run("operator", "add", "kim")
    project.run("operator", "add", "alex")
    last = segments(project)[-1]
    last.with_suffix(".heads.jsonl").unlink()
    content = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(content[0] + content[1][: 40 * lines])
    with closing(Parts(load_config())) as parts:
        # The registry is told last.
        key = parts.signer.key_id
        before = segments(project)[0]
        end = json.loads(before.read_text().splitlines()[-1])
        parts.operators.remember(key, before.stem, (end["seq"], end["sha256"]))

    assert project.run("journal", "verify").code == 0
    project.run("operator", "revoke", "kim")
    assert project.run("journal", "verify").code == 0


def test_a_damaged_journal_does_not_keep_the_switch_from_working(project):
    """The last action's record is damaged: the switch is on, and the sentence says what is wrong."""
    project.run("operator", "add", "kim")
    path = segments(project)[0]
    path.write_bytes(path.read_bytes().replace(b'"status":"completed"', b'"status":"completes"'))

    told = refused(project, "kill", "--why", "a drill", code=1)

    assert "the kill switch is on" in told
    assert "damaged" in told
    assert project.run("kill", "--status").code == 1
    assert refused(project, "release", "--why", "x", code=3)


def test_many_at_once_wait_for_each_other(project):
    """Threads of one process, as a dashboard's are: every action is written down, in one chain."""
    with closing(Parts(load_config())) as parts:
        assert parts.signer
        assert parts.sessions
        gate = threading.Barrier(8)
        errors: list[Exception] = []

        def act(number: int) -> None:
            gate.wait()
            try:
                kill.kill(parts, f"k{number}", "a drill", acts.DASHBOARD)
            except Exception as error:  # noqa: BLE001 - any would be a fault
                errors.append(error)

        threads = [threading.Thread(target=act, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reports = verify_journals(parts, None)

    assert errors == []
    assert [(report.account, len(report.segments), report.flaws) for report in reports] == [("operators", 8, ())]
    assert sorted(bodies(path)[0]["by"] for path in segments(project)) == [f"k{number}" for number in range(8)]
    assert public_path(parts.key).exists()


def test_words_of_any_kind_are_written_down(project, failed):
    """Half characters and zero bytes, as a browser may send them, are replaced, not refused."""
    with closing(Parts(load_config())) as parts:
        kill.kill(parts, "k\udcff", "a\0b\udcff", acts.DASHBOARD)
        operators.acknowledge(parts, failed, "k\udcff", "n\0\udcff", acts.DASHBOARD)
        with pytest.raises(InputError):
            operators.create_token(parts, "k\udcff")

    assert [bodies(path)[0]["by"] for path in segments(project)] == ["k?", "k?"]
    assert project.run("journal", "verify").code == 0
