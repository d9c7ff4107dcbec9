"""`peak-trade journal verify` as its users see it: each way to tamper with a journal, and what the command says."""

import json
import os
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from peak_trade.journal.chain import canonical, seal

RUN = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html")


class Journal:
    """The journal of two sessions of one account; `path` is that of the newer one."""

    def __init__(self, project) -> None:
        self.project = project
        self.records = [project.run(*RUN, "--json").json for _ in range(2)]
        self.older, self.path = (Path(record["journal"]["path"]) for record in self.records)
        self.heads = self.path.with_suffix(".heads.jsonl")

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)

    def write(self, lines: list[bytes]) -> None:
        self.path.write_bytes(b"".join(lines))


@pytest.fixture
def journal(project, monkeypatch) -> Journal:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    return Journal(project)


def a_byte(journal: Journal) -> int:
    """Change one digit of a price."""
    lines = journal.lines()
    place = lines[4].index(b'"price":"') + len(b'"price":"')
    digit = lines[4][place : place + 1]
    lines[4] = lines[4][:place] + (b"1" if digit != b"1" else b"2") + lines[4][place + 1 :]
    journal.write(lines)
    return 4


def a_line_less(journal: Journal) -> int:
    """Remove a fill."""
    lines = journal.lines()
    journal.write(lines[:4] + lines[5:])
    return 4


def a_line_twice(journal: Journal) -> int:
    """Write a fill twice."""
    lines = journal.lines()
    journal.write(lines[:5] + lines[4:])
    return 4


def two_lines_swapped(journal: Journal) -> int:
    """Write the fill before the order."""
    lines = journal.lines()
    journal.write([*lines[:2], lines[4], lines[3], lines[2], *lines[5:]])
    return 3


def the_tail(journal: Journal) -> int:
    """Cut off the last three records."""
    lines = journal.lines()
    journal.write(lines[:-3])
    return len(lines) - 3


def half_a_line(journal: Journal) -> int:
    """Cut the last record in its middle."""
    lines = journal.lines()
    journal.write([*lines[:-1], lines[-1][:40]])
    return len(lines) - 1


def the_whole_story(journal: Journal) -> int:
    """Double a fill and make every hash anew, as somebody without the key would."""
    records = [json.loads(line) for line in journal.lines()]
    body = records[4]["body"]
    assert records[4]["kind"] == "filled"
    body["quantity"] = str(2 * Decimal(body["quantity"]))
    prev, written = records[0]["prev"], []
    for record in records:
        line, prev = seal(canonical(record["at"], record["body"], record["kind"], prev, record["seq"]))
        written.append(line)
    journal.write(written)
    return len(written) - 1


#: What is done to the journal, the codes that tell of it, and whether it still counts as unchanged and as complete.
TAMPERINGS: list[tuple[Callable[[Journal], int], set[str], bool, bool]] = [
    (a_byte, {"changed"}, False, True),
    (a_line_less, {"removed"}, False, False),
    (a_line_twice, {"inserted"}, False, True),
    (two_lines_swapped, {"reordered"}, False, True),
    (the_tail, {"cut"}, True, False),
    (half_a_line, {"cut", "torn"}, True, False),
    (the_whole_story, {"rewritten"}, False, True),
]


def test_untouched(journal):
    """Before: exit code 0, both sessions, every record counted."""
    ended, found = journal.project.run("journal", "verify"), journal.project.run("journal", "verify", "--json").json
    account = found["accounts"][0]

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[2].split() == [
        *("paper", "2", str(sum(record["journal"]["records"] for record in journal.records)), "yes", "yes")
    ]
    assert (found["intact"], found["complete"], len(account["segments"])) == (True, True, 2)
    assert [segment["signed_to"] for segment in account["segments"]] == [
        record["journal"]["head_seq"] for record in journal.records
    ]


@pytest.mark.parametrize(
    ("tamper", "codes", "intact", "complete"), TAMPERINGS, ids=lambda value: getattr(value, "__name__", "")
)
def test_tampering_is_found_and_named(journal, tamper, codes, intact, complete):
    """Exit code 1, the session and the record by number, in words and as JSON; the files stay as they are."""
    number = tamper(journal)
    before = journal.path.read_bytes()
    ended, document = (journal.project.run("journal", "verify", *more) for more in ([], ["--json"]))
    account = document.json["accounts"][0]
    segment = account["segments"][-1]
    told = [(item["code"], item["seq"]) for item in segment["findings"]]

    assert (ended.code, document.code) == (1, 1)
    assert codes <= {code for code, _ in told}
    assert number in {seq for _, seq in told}
    assert f"session {journal.path.stem}, record {number}" in ended.out
    assert (document.json["intact"], document.json["complete"]) == (intact, complete)
    assert len(ended.err.splitlines()) == len(document.err.splitlines()) == 1
    assert "keep the files as they are" in ended.err
    assert journal.path.read_bytes() == before


def test_the_next_session_proves_the_end_of_the_one_before(journal):
    """A tail cut off an older session is found without heads and registry: its follower names the last record."""
    lines = journal.older.read_bytes().splitlines(keepends=True)
    journal.older.write_bytes(b"".join(lines[:-3]))

    ended = journal.project.run("journal", "verify")

    assert ended.code == 1
    assert f"cut: session {journal.older.stem}, record {len(lines) - 3}" in ended.out
    assert f"broken_link: session {journal.path.stem}, record 0" in ended.out


@pytest.mark.parametrize("register", [True, False])
def test_a_deleted_session_is_missed(project, monkeypatch, register):
    """Its follower, its heads and the registry each know of it; one of them is enough."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    more = [] if register else ["--no-registry"]
    path = Path(project.run(*RUN, *more, "--json").json["journal"]["path"])
    project.run(*RUN, *more)
    path.unlink()
    path.with_suffix(".heads.jsonl").unlink()

    ended = project.run("journal", "verify")

    assert ended.code == 1
    assert f"session {path.stem}" in ended.out
    assert "cut short" in ended.err


def test_the_newest_session_deleted_whole_is_missed_by_the_registry(journal):
    """Journal and heads of the last one gone: only the registry remembers it."""
    journal.path.unlink()
    journal.path.with_suffix(".heads.jsonl").unlink()

    ended = journal.project.run("journal", "verify")

    assert (ended.code, f"missing_segment: session {journal.path.stem}, the whole file" in ended.out) == (1, True)
    assert "the registry remembers it" in ended.out


def test_a_deleted_account_is_missed(journal):
    """The whole folder gone."""
    shutil.rmtree(journal.path.parent)

    ended = journal.project.run("journal", "verify")

    assert ended.code == 1
    assert journal.older.stem in ended.out
    assert journal.path.stem in ended.out


def test_deleted_heads_are_missed(journal):
    """A session that ended must have a head that stands for its end."""
    journal.heads.unlink()

    ended = journal.project.run("journal", "verify")

    assert (ended.code, "no_head" in ended.out, journal.path.stem in ended.out) == (1, True, True)


def test_heads_of_another_key_are_no_heads(journal):
    """A rewrite signed with a key of one's own is found, although every hash fits."""
    the_whole_story(journal)
    last = json.loads(journal.lines()[-1])
    heads = [json.loads(line) for line in journal.heads.read_text().splitlines()]
    forged = {**heads[-1], "sha256": last["sha256"], "signature": "0" * 128}
    lines = [json.dumps(head, sort_keys=True, separators=(",", ":")) + "\n" for head in (*heads[:-1], forged)]
    journal.heads.write_text("".join(lines))

    ended = journal.project.run("journal", "verify")

    assert (ended.code, "bad_signature" in ended.out) == (1, True)


def test_one_account_of_several(journal):
    """--account looks at one; damage elsewhere is not its matter, and all together find it."""
    journal.project.run(*RUN, "--account", "other")
    a_byte(journal)

    assert journal.project.run("journal", "verify", "--account", "other").code == 0
    assert journal.project.run("journal", "verify", "--account", "paper").code == 1
    both = journal.project.run("journal", "verify")
    assert both.code == 1
    assert [line.split()[3:] for line in both.out.splitlines()[2:4]] == [["yes", "yes"], ["NO", "yes"]]


def test_an_account_that_is_not_there(journal):
    """Named with those there are; one that never ran says so."""
    ended = journal.project.run("journal", "verify", "--account", "nobody")

    assert (ended.code, ended.out, "paper" in ended.err, len(ended.err.splitlines())) == (2, "", True, 1)


def test_no_journal_yet(project):
    """The first look tells how to begin; it is no failure."""
    ended = project.run("journal", "verify")

    assert (ended.code, "peak-trade session run" in ended.out, ended.err) == (0, True, "")
    told = project.run("journal", "verify", "--json").json
    assert told == {"intact": True, "complete": True, "accounts": [], "lost_holds": []}


def test_a_lost_key_is_one_sentence(journal):
    """Without the public key nothing can be proved: said so, and not called tampering."""
    shutil.rmtree(journal.project.folder / "var" / "keys")

    ended = journal.project.run("journal", "verify")

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert "journal.pub.pem" in ended.err
    assert "internal fault" not in ended.err


def test_a_new_session_goes_on_behind_a_damaged_one(journal):
    """Damage further back neither stops the next session nor is it covered by it; the damage is still told."""
    path, journal.path = journal.path, journal.older
    a_byte(journal)

    assert journal.project.run(*RUN).code == 0
    ended = journal.project.run("journal", "verify")
    assert (ended.code, f"session {journal.older.stem}, record 4" in ended.out) == (1, True)
    assert path.stem not in ended.out


def test_no_session_begins_behind_a_damaged_last_one(journal):
    """Nobody could tell what it would go on from: refused in one sentence; another account is free."""
    a_byte(journal)

    ended = journal.project.run(*RUN)

    assert (ended.code > 0, ended.out, len(ended.err.splitlines())) == (True, "", 1)
    assert str(journal.path) in ended.err
    assert "another account" in ended.err
    assert journal.project.run(*RUN, "--account", "other").code == 0


def test_replay_refuses_a_changed_journal(journal):
    """What does not verify is not decided again, in one sentence that leads to the check."""
    a_byte(journal)

    ended = journal.project.run("session", "replay", journal.path.stem)

    assert (ended.code > 0, ended.out, len(ended.err.splitlines())) == (True, "", 1)
    assert "verify" in ended.err
