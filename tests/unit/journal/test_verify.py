"""The journal's check: an unchanged journal passes, every attack is found and its place is told; and the key behind it."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peak_trade.journal import verify
from peak_trade.journal.chain import ZERO, Chain, canonical, head_line, head_message, heads_path, parse, parse_head, read, seal
from peak_trade.journal.signing import Signer, Verifier, public_path
from peak_trade.journal.verify import ALTERED, MISSING, NOTES, AccountReport, verify_account
from peak_trade.model.errors import ConfigError, InputError, NotFound, StorageError

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ACCOUNT = "paper"
ROOT = Path(__file__).resolve().parents[3]
# Each example works in a folder of its own.
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer.load_or_make(tmp_path_factory.mktemp("keys") / "journal.pem")


@pytest.fixture(scope="module")
def verifier(tmp_path_factory, signer):
    path = next(tmp_path_factory.getbasetemp().glob("keys*/journal.pub.pem"))
    found = Verifier.load(path)
    assert found.key_id == signer.key_id
    return found


def session(root: Path, name: str, signer: Signer, *, records: int = 6, ended: bool = True, signed=(2, 4)) -> dict:
    """Write a session of records 0 to *records*, signed after some, and return its head as a registry would know it."""
    chain = Chain.begin(root, ACCOUNT, name, {"cash": "100.00"}, at=AT, signer=signer)
    for n in range(1, records + 1):
        last = ended and n == records
        chain.append("ended" if last else "order", {"n": n, "price": "1.50"}, at=AT)
        if n in signed or last:
            chain.sign(at=AT)
    chain.close()
    return {name: chain.head}


@pytest.fixture(scope="module")
def history(tmp_path_factory, signer):
    """An account with two sessions that ended and one in between that died."""
    root = tmp_path_factory.mktemp("history")
    session(root, "s1", signer)
    session(root, "s2", signer, ended=False)
    with (root / ACCOUNT / "s2.jsonl").open("ab") as file:
        file.write(b'{"at":"20')
    session(root, "s3", signer)
    return root


@pytest.fixture
def root(history, tmp_path):
    """A copy of the history to damage."""
    shutil.copytree(history, tmp_path / "journal")
    return tmp_path / "journal"


@pytest.fixture
def check(root, verifier):
    """Verify the copy."""
    return lambda **expected: verify_account(root, ACCOUNT, verifier, expected=expected)


def codes(report: AccountReport) -> list[tuple[str, str, int | None]]:
    """Name what was found, without the note that is in the history."""
    return [(flaw.code, flaw.segment, flaw.seq) for flaw in report.flaws if flaw.code != "torn"]


def segment(root: Path, name: str = "s3") -> Path:
    return root / ACCOUNT / f"{name}.jsonl"


def edit(path: Path, change: Callable[[list[bytes]], object]) -> None:
    """Change a file's lines in place."""
    content = path.read_bytes().splitlines(keepends=True)
    change(content)
    path.write_bytes(b"".join(content))


def rehash(path: Path, start: int, **changes: object) -> None:
    """Write the records from *start* on anew: change that one and make all later ones fit, as one without the key can."""
    records = [parse(line) for line in path.read_bytes().splitlines(keepends=True)]
    prev = records[start].prev
    out = []
    for record in records[start:]:
        found = record._replace(prev=prev)
        if record.seq == start:
            found = found._replace(**changes)
        line, prev = seal(canonical(found.at, found.body, found.kind, found.prev, found.seq))
        out.append(line)
    edit(path, lambda content: content.__setitem__(slice(start, None), out))


def test_an_unchanged_journal_passes(check, root):
    """Sessions that ended and one that died are intact and complete, with and without what the registry remembers."""
    heads = {name: list(read(segment(root, name)))[-1] for name in ("s1", "s2", "s3")}

    for report in (check(), check(**{name: (last.seq, last.sha256) for name, last in heads.items()})):
        assert report.intact
        assert report.complete
        assert [part.session_id for part in report.segments] == ["s1", "s2", "s3"]
        assert [part.records for part in report.segments] == [7, 7, 7]
        assert [part.ended for part in report.segments] == [True, False, True]
        assert [part.signed_to for part in report.segments] == [6, 4, 6]
        assert [(flaw.code, flaw.segment) for flaw in report.flaws] == [("torn", "s2")]
        assert all(part.intact and part.complete for part in report.segments)


def test_every_code_has_one_verdict(root):
    """Each code that can be found is in a list that says what it means; only what shows both ways is in two."""
    assert {"removed", "broken_link"} == ALTERED & MISSING
    assert not NOTES & (ALTERED | MISSING)


def test_a_changed_record_is_named(check, root):
    """One other digit: that record is changed, nothing else is wrong."""
    edit(segment(root), lambda content: content.__setitem__(3, content[3].replace(b'"1.50"', b'"1.51"')))
    report = check()

    assert codes(report) == [("changed", "s3", 3)]
    assert not report.intact
    assert report.complete
    assert not report.segments[2].intact
    assert report.segments[1].intact


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"\xff\xfe\n", b"[" * 5_000 + b"\n", b'{"at":1}\n'], ids=len)
def test_nonsense_is_a_changed_record(check, root, line):
    """A line that is no record at all is told as the record that should be there."""
    edit(segment(root), lambda content: content.__setitem__(2, line))

    assert codes(check()) == [("changed", "s3", 2)]


@pytest.mark.parametrize(
    "form",
    [
        json.dumps,
        lambda stated: json.dumps(dict(reversed(stated.items())), separators=(",", ":")),
        lambda stated: json.dumps(stated, separators=(",", ":")).replace("order", "\\u006frder"),
        lambda stated: json.dumps(stated, separators=(",", ":")).replace('"seq":3', '"seq":3,"seq":3'),
    ],
    ids=["spaces", "order", "escapes", "twice"],
)
def test_another_form_is_told(check, root, form):
    """The same content in other bytes is not canonical, and nothing else is wrong."""
    edit(segment(root), lambda content: content.__setitem__(3, form(json.loads(content[3])).encode() + b"\n"))

    report = check()
    assert codes(report) == [("not_canonical", "s3", 3)]
    assert not report.intact


@pytest.mark.parametrize("body", ['{"n":1.5}', '{"n": 1}', '{"b":1,"a":2}', '{"n":9007199254740992}', '{"n":"\\u0041"}'])
def test_a_hash_does_not_excuse_the_form(check, root, signer, body):
    """Bytes that are hashed right but that we never write are not canonical."""
    session(root, "s4", signer, records=1, ended=False, signed=())
    last = list(read(segment(root, "s4")))[-1]
    base = f'{{"at":"{last.at}","body":{body},"kind":"order","prev":"{last.sha256}","seq":2}}'.encode()
    with segment(root, "s4").open("ab") as file:
        file.write(seal(base)[0])

    assert codes(check()) == [("not_canonical", "s4", 2)]


@pytest.mark.parametrize("which", [0, 1, 3, 5])
def test_a_removed_record_is_named(check, root, which):
    """A record that is gone is named, and both verdicts are negative."""
    edit(segment(root), lambda content: content.pop(which))
    report = check()

    assert codes(report) == [("removed", "s3", which)]
    assert not report.intact
    assert not report.complete


def test_many_removed_records_are_one_finding(check, root):
    """Records that are gone side by side are told in one sentence."""
    edit(segment(root), lambda content: content.__delitem__(slice(2, 5)))

    assert codes(check()) == [("removed", "s3", 2)]
    assert "records 2 to 4 are gone" in check().segments[2].findings[0].words


def test_a_float_is_a_changed_record(check, root):
    """A value that we never write, in a record whose hash does not fit, is a change."""
    edit(segment(root), lambda content: content.__setitem__(3, content[3].replace(b'"1.50"', b"1.50")))

    assert codes(check()) == [("changed", "s3", 3)]


def test_a_replaced_record_is_named(check, root):
    """A record with a right hash of its own in place of another: the one that the next was written after is gone."""

    def replace(content: list[bytes]) -> None:
        found = parse(content[3])
        content[3] = seal(canonical(found.at, {"n": 99}, found.kind, found.prev, found.seq))[0]

    edit(segment(root), replace)

    assert codes(check()) == [("removed", "s3", 3)]


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 5), (0, 6)])
def test_records_in_another_order_are_told(check, root, first, second):
    """Two records that changed places are found as such; none is said to be removed."""

    def swap(content: list[bytes]) -> None:
        content[first], content[second] = content[second], content[first]

    edit(segment(root), swap)
    report = check()

    assert {code for code, *_ in codes(report)} - {"inserted"} == {"reordered"}
    assert ("reordered", "s3", first) in codes(report)
    assert not report.intact


def test_a_repeated_record_is_inserted(check, root):
    """A record that stands twice is inserted the second time."""
    edit(segment(root), lambda content: content.insert(4, content[3]))

    assert codes(check()) == [("inserted", "s3", 3)]


def test_nothing_stands_behind_the_end(check, root):
    """A record behind a session's end is inserted, even where it fits the chain."""
    last = list(read(segment(root)))[-1]
    with segment(root).open("ab") as file:
        file.write(seal(canonical(last.at, {}, "order", last.sha256, last.seq + 1))[0])

    assert codes(check()) == [("inserted", "s3", 7)]


@pytest.mark.parametrize("start", [1, 3, 6])
def test_a_rewrite_without_the_key_is_found(check, root, start):
    """A chain that was hashed anew from a record on fits itself, but not the heads: the stretch is named."""
    rehash(segment(root), start, body={"n": 99})
    report = check()

    assert [code for code, *_ in codes(report)] == ["rewritten"]
    (flaw,) = report.segments[2].findings
    signed = next(seq for seq in (2, 4, 6) if seq >= start)
    before = max(seq for seq in (-1, 2, 4) if seq < start)
    assert flaw.seq == signed
    assert flaw.words.startswith(f"records {before + 1} to {signed} were written anew: head ")
    assert not report.intact
    assert report.segments[2].signed_to == (before if before >= 0 else None)


def test_a_rewrite_without_heads_is_found(check, root):
    """Where the heads were deleted along with the rewrite, what the registry remembers shows it; without it, no_head does."""
    last = list(read(segment(root)))[-1]
    rehash(segment(root), 2, body={"n": 99})
    heads_path(segment(root)).unlink()

    assert codes(check()) == [("no_head", "s3", 6)]
    assert codes(check(s3=(last.seq, last.sha256))) == [("rewritten", "s3", 6), ("no_head", "s3", 6)]


def test_a_rewritten_older_session_breaks_the_link(check, root):
    """Hashing an older session anew also breaks the next one's link to it."""
    rehash(segment(root, "s1"), 6, body={"n": 99})

    assert codes(check()) == [("rewritten", "s1", 6), ("broken_link", "s2", 0)]


def test_a_rewritten_beginning_is_told(check, root):
    """A first record of another kind, hashed anew, is rewritten."""
    rehash(segment(root), 0, kind="order")

    assert codes(check()) == [("rewritten", "s3", 0), ("rewritten", "s3", 2)]


def test_a_cut_tail_is_found_by_its_head(check, root):
    """Records that a head proves are missing at the end: what is left is unchanged, but not complete."""
    edit(segment(root), lambda content: content.__delitem__(slice(4, None)))
    report = check()

    assert codes(report) == [("cut", "s3", 4)]
    assert "records 4 to 6 are cut off the end" in report.segments[2].findings[0].words
    assert report.intact
    assert not report.complete
    assert report.segments[2].signed_to == 2


def test_a_cut_tail_is_found_by_the_registry(check, root, signer):
    """Without a head only what the registry remembers shows a cut tail."""
    head = session(root, "s4", signer, ended=False, signed=())
    edit(segment(root, "s4"), lambda content: content.pop())

    assert codes(check()) == []
    assert codes(check(**head)) == [("cut", "s4", 6)]


def test_a_cut_tail_is_found_by_the_next_session(check, root):
    """What a dead session wrote after its last head is proven by the session that went on."""
    edit(segment(root, "s2"), lambda content: content.__delitem__(slice(6, None)))
    report = check()

    assert codes(report) == [("broken_link", "s3", 0)]
    assert not report.complete


def test_an_emptied_segment_is_found(check, root):
    """A segment of which nothing is left is cut, and the next one follows nothing."""
    segment(root, "s2").write_bytes(b"")
    report = check()

    assert codes(report) == [("broken_link", "s3", 0), ("cut", "s2", 0)]
    assert not report.complete


def test_a_torn_line_is_a_note(check, root, signer):
    """An unfinished last line after a crash is told, with its length, and is wrong in neither verdict."""
    session(root, "s4", signer, ended=False, signed=())
    with segment(root, "s4").open("ab") as file:
        file.write(b'{"at"')
    report = check()

    assert [(flaw.code, flaw.seq) for flaw in report.segments[3].findings] == [("torn", None)]
    assert "5 bytes behind record 6" in report.segments[3].findings[0].words
    assert report.intact
    assert report.complete


def test_a_changed_torn_line_breaks_the_link(check, root):
    """The next session knows how long the torn line was."""
    segment(root, "s2").write_bytes(segment(root, "s2").read_bytes()[:-1])

    assert codes(check()) == [("broken_link", "s3", 0)]


def test_a_session_that_never_began_is_a_note(check, root, signer):
    """An empty segment is told and wrong in neither verdict; the next session passes over it."""
    segment(root, "s4").touch()
    session(root, "s5", signer)
    report = check()

    assert codes(report) == []
    assert [part.session_id for part in report.segments] == ["s1", "s2", "s3", "s5", "s4"]
    assert report.segments[4].findings[0].code == "torn"
    assert report.complete


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_a_missing_segment_is_named(check, root, name):
    """A segment that the next one follows is missed, also without its heads."""
    segment(root, name).unlink()
    heads_path(segment(root, name)).unlink()
    report = check()

    assert codes(report) == [("missing_segment", name, None)]
    assert report.findings[0].words.endswith(f"session s{int(name[1]) + 1} follows it")
    assert report.intact
    assert not report.complete


def test_a_missing_last_segment_is_named(check, root):
    """The last segment is missed by its heads, or by what the registry remembers; with neither nobody knows of it."""
    last = list(read(segment(root)))[-1]
    segment(root).unlink()
    assert codes(check()) == [("missing_segment", "s3", None)]

    heads_path(segment(root)).unlink()
    assert codes(check()) == []
    assert codes(check(s3=(last.seq, last.sha256))) == [("missing_segment", "s3", None)]


def test_a_missing_account_is_told(tmp_path, verifier):
    """An account that nothing is known of is not found; one that the registry knows lacks its segments."""
    with pytest.raises(NotFound, match="check the account's name"):
        verify_account(tmp_path, ACCOUNT, verifier)
    with pytest.raises(InputError):
        verify_account(tmp_path, "../x", verifier)

    report = verify_account(tmp_path, ACCOUNT, verifier, expected={"s1": (3, ZERO)})
    assert codes(report) == [("missing_segment", "s1", None)]


@pytest.mark.parametrize(
    ("body", "prev", "found"),
    [
        ({"previous": "s3", "torn_bytes": 0}, "1" * 64, "broken_link"),
        ({"previous": "s3", "torn_bytes": 4}, None, "broken_link"),
        ({"previous": "s2", "torn_bytes": 9}, "s2", "inserted"),
        ({"previous": None, "torn_bytes": 0}, ZERO, "inserted"),
        ({"previous": None, "torn_bytes": 0}, None, "inserted"),
        ({"previous": 7}, None, "broken_link"),
        ({"previous": "s9"}, ZERO, "broken_link"),
    ],
)
def test_a_forged_segment_does_not_join(check, root, body, prev, found):
    """A segment that follows the wrong record, one that is followed already, nothing, or itself is found."""
    if prev is None or prev == "s2":
        prev = list(read(segment(root, prev or "s3")))[-1].sha256
    segment(root, "s9").write_bytes(seal(canonical("x", body, "begun", prev, 0))[0])
    report = check()

    assert (found, "s9", 0) in codes(report)
    assert {name for _, name, _ in codes(report)} <= {"s9", "s3"}
    assert not report.intact


def test_an_unsigned_end_is_told(check, root, signer):
    """A session that ended without a head for its last record is not proven to be complete; it is intact."""
    session(root, "s4", signer)
    edit(heads_path(segment(root, "s4")), lambda content: content.pop())
    report = check()

    assert codes(report) == [("no_head", "s4", 6)]
    assert report.intact
    assert not report.complete
    assert report.segments[3].signed_to == 4


def test_another_key_is_unknown(check, root, tmp_path):
    """Heads by a key that is not ours prove nothing, however well they are signed."""
    session(root, "s4", Signer.load_or_make(tmp_path / "other" / "journal.pem"))
    report = check()

    assert codes(report) == [("unknown_key", "s4", 2), ("unknown_key", "s4", 4), ("unknown_key", "s4", 6), ("no_head", "s4", 6)]
    assert not report.intact
    assert report.segments[3].signed_to is None


@pytest.mark.parametrize(
    "change", [{"seq": 3}, {"sha256": "1" * 64}, {"number": 5}, {"signature": "1" * 128}, {"at": "x"}], ids=str
)
def test_a_changed_head_is_told(check, root, change):
    """Every field of a head is under its signature."""

    def alter(content: list[bytes]) -> None:
        content[1] = json.dumps({**json.loads(content[1]), **change}, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    edit(heads_path(segment(root)), alter)
    report = check()

    assert codes(report) == [("bad_signature", "s3", change.get("seq", 4))]
    assert not report.intact


def test_a_signature_means_a_head_alone(check, root, signer):
    """A signature over the same statement without the domain in front, made for something else, is no head's."""

    def forge(content: list[bytes]) -> None:
        head = parse_head(content[2])
        stated = head_message(ACCOUNT, "s3", head.seq, head.sha256, head.at, head.number)
        assert stated.startswith(b"peak-trade-journal-head\n{")
        content[2] = head_line(head._replace(signature=signer.sign(stated.split(b"\n")[1])))

    edit(heads_path(segment(root)), forge)

    assert codes(check()) == [("bad_signature", "s3", 6), ("no_head", "s3", 6)]


def test_a_head_of_another_session_is_told(check, root):
    """A valid head does not stand for the same record of another session."""
    shutil.copy(heads_path(segment(root, "s1")), heads_path(segment(root)))

    assert {code for code, *_ in codes(check())} == {"bad_signature", "no_head"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda content: content.pop(0), [("removed", "s3", None)]),
        (lambda content: content.pop(1), [("removed", "s3", None)]),
        (lambda content: content.pop(2), [("no_head", "s3", 6)]),
        (lambda content: content.reverse(), [("reordered", "s3", 4), ("reordered", "s3", 2)]),
        (lambda content: content.append(content[0]), [("inserted", "s3", 2)]),
        (lambda content: content.__setitem__(1, b"{}\n"), [("changed", "s3", None)]),
        (lambda content: content.__setitem__(1, content[1].upper()), [("changed", "s3", None)]),
        (lambda content: content.__setitem__(1, content[1].replace(b",", b", ")), [("not_canonical", "s3", 4)]),
        (lambda content: content.__setitem__(2, content[2][:-9]), [("no_head", "s3", 6)]),
        (lambda content: content.clear(), [("no_head", "s3", 6)]),
    ],
    ids=["first", "middle", "last", "reversed", "repeated", "nonsense", "upper case", "spaces", "torn", "emptied"],
)
def test_the_heads_file_is_checked_itself(check, root, change, found):
    """Heads that are gone, moved, repeated, damaged or torn are told."""
    edit(heads_path(segment(root)), change)

    assert codes(check()) == found


def test_a_torn_head_is_a_note(check, root):
    """An unfinished last head of a session that died is wrong in neither verdict."""
    edit(heads_path(segment(root, "s2")), lambda content: content.__setitem__(1, content[1][:-9]))
    report = check()

    assert [flaw.code for flaw in report.segments[1].findings] == ["torn", "torn"]
    assert report.intact
    assert report.complete
    assert report.segments[1].signed_to == 2


def test_findings_have_a_limit(check, root, monkeypatch):
    """A file that is damaged all over does not fill the memory with findings."""
    monkeypatch.setattr(verify, "FLAWS_MAX", 10)
    segment(root).write_bytes(b"x\n" * 1_000)

    report = check()
    assert len(report.segments[2].findings) == 10
    assert not report.intact


def test_a_live_session_passes(root, verifier, signer):
    """A session that is being written is intact and complete at every moment, also when it is signed meanwhile."""
    chain = Chain.begin(root, ACCOUNT, "s4", {}, at=AT, signer=signer)
    real = verify.lines

    def go_on() -> None:
        chain.append("order", {}, at=AT)
        chain.sign(at=AT)

    def meanwhile(path: Path, size: int | None = None):
        found = real(path, size)
        if path == chain.path:
            go_on()
            yield next(found)
            go_on()
        yield from found

    go_on()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "lines", meanwhile)
        reports = [verify_account(root, ACCOUNT, verifier) for _ in range(3)]
    chain.close()

    assert all(report.intact and report.complete for report in reports)


def files(history: Path) -> list[Path]:
    return [Path(ACCOUNT) / f"{name}.jsonl" for name in ("s1", "s1.heads", "s2", "s2.heads", "s3", "s3.heads")]


def spoiled(root: Path, content: dict[Path, bytes], verifier: Verifier) -> AccountReport:
    """Verify a copy in which some files have another content; the copy is mended again."""
    before = {path: (root / path).read_bytes() for path in content}
    try:
        for path, damaged in content.items():
            (root / path).write_bytes(damaged)
        return verify_account(root, ACCOUNT, verifier)
    finally:
        for path, whole in before.items():
            (root / path).write_bytes(whole)


@given(data=st.data())
@settings(PROPERTY, max_examples=400)
def test_any_changed_byte_is_found(root, verifier, data):
    """Whichever byte of a record or head becomes another one, something is found wrong, never an error raised."""
    path = data.draw(st.sampled_from(files(root)))
    content = bytearray((root / path).read_bytes())
    whole = content.rfind(b"\n") + 1
    # The very last newline of heads is what a crash may leave out, but for the account's last session.
    place = data.draw(st.integers(0, whole - 1 - (path.name in ("s1.heads.jsonl", "s2.heads.jsonl"))))
    content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))

    report = spoiled(root, {path: bytes(content)}, verifier)

    assert not (report.intact and report.complete)
    assert all(flaw.segment in ("s1", "s2", "s3") for flaw in report.flaws)


@given(data=st.data())
@settings(PROPERTY, max_examples=150)
def test_any_inserted_or_missing_byte_is_found(root, verifier, data):
    """A byte more or less anywhere in a record or head is found."""
    path = data.draw(st.sampled_from(files(root)))
    content = (root / path).read_bytes()
    place = data.draw(st.integers(0, content.rfind(b"\n") - 1))
    extra = data.draw(st.none() | st.integers(0, 255))
    damaged = content[:place] + (b"" if extra is None else bytes([extra])) + content[place + (extra is None) :]

    report = spoiled(root, {path: damaged}, verifier)

    assert not (report.intact and report.complete)


def test_any_removed_line_is_found(root, verifier):
    """Whichever line of whichever file is taken out, it is found; only a last head that the next session stands for may be."""
    for path in files(root):
        content = (root / path).read_bytes().splitlines(keepends=True)
        for place in range(len(content)):
            if path.name in ("s1.heads.jsonl", "s2.heads.jsonl") and place == len(content) - 1:
                continue
            damaged = b"".join(content[:place] + content[place + 1 :])

            report = spoiled(root, {path: damaged}, verifier)

            assert not (report.intact and report.complete), (path, place)


def test_every_cut_is_found(root, verifier):
    """Cut after any byte, the last session lacks what its heads prove, and an unfinished line is told as such."""
    path = Path(ACCOUNT) / "s3.jsonl"
    content = (root / path).read_bytes()
    for size in range(len(content)):
        report = spoiled(root, {path: content[:size]}, verifier)

        whole = content[:size].count(b"\n")
        found = {flaw.code: flaw for flaw in report.flaws if flaw.segment == "s3"}
        assert found["cut"].seq == whole
        assert ("torn" in found) == (content[:size][-1:] not in (b"", b"\n"))
        assert set(found) <= {"cut", "torn"}
        assert report.intact
        assert not report.complete


def test_every_cut_without_heads_is_a_crash(tmp_path, verifier, signer):
    """Cut after any byte, a session without heads looks as after a crash: intact, with a note where a line is unfinished."""
    session(tmp_path, "s1", signer, records=2, ended=False, signed=())
    path = tmp_path / ACCOUNT / "s1.jsonl"
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        report = verify_account(tmp_path, ACCOUNT, verifier)

        torn = size == 0 or content[size - 1] != ord("\n")
        assert [flaw.code for flaw in report.flaws] == (["torn"] if torn else [])
        assert report.segments[0].records == content[:size].count(b"\n")


@given(start=st.integers(0, 6), body=st.dictionaries(st.just("n"), st.integers(0, 10)))
@settings(PROPERTY, max_examples=50)
def test_any_rewrite_is_found(root, verifier, start, body):
    """From whichever record on a chain is hashed anew without the key, the heads disagree."""
    path = segment(root)
    before = path.read_bytes()
    rehash(path, start, body={**body, "other": True, "previous": "s2", "torn_bytes": 9})
    report = spoiled(root, {}, verifier)
    path.write_bytes(before)

    assert [code for code, *_ in codes(report)] == ["rewritten"]


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("point", ["write.before", "write.after", "fsync.before", "fsync.after"])
@pytest.mark.parametrize("file", ["journal", "journal.head"])
@pytest.mark.parametrize("skip", [0, 1, 3])
def test_a_crash_leaves_a_sound_journal(tmp_path, signer, verifier, file, point, skip):
    """Wherever a session dies, the journal is intact and complete, before and after the next session."""
    left = [skip]

    def faults(name: str) -> None:
        if name == f"{file}.{point}":
            if not left[0]:
                raise Died
            left[0] -= 1

    def work() -> None:
        live = Chain.begin(tmp_path, ACCOUNT, "s1", {}, at=AT, signer=signer, faults=faults)
        for _ in range(4):
            live.append("order", {}, at=AT, durable=True)
            live.sign(at=AT)

    with pytest.raises(Died):
        work()
    reports = [verify_account(tmp_path, ACCOUNT, verifier)]
    session(tmp_path, "s2", signer)
    reports.append(verify_account(tmp_path, ACCOUNT, verifier))

    assert all(report.intact and report.complete for report in reports)


def test_the_key_is_made_once_and_private(tmp_path):
    """The first use makes the key, readable by its owner alone, and its public half; later uses read the same one."""
    path = tmp_path / "keys" / "journal.pem"
    made = Signer.load_or_make(path)
    again = Signer.load_or_make(path)
    known = Verifier.load(public_path(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.key_id == again.key_id == known.key_id
    assert len(made.key_id) == 16
    assert public_path(path).name == "journal.pub.pem"
    assert known.fits(b"message", again.sign(b"message"))
    assert not known.fits(b"messagf", again.sign(b"message"))
    assert not known.fits(b"message", "zz")
    assert "PRIVATE" not in repr(made)


def test_the_key_is_never_open_to_others(tmp_path, monkeypatch):
    """No file that holds the secret is ever readable by others, whatever the umask."""
    path = tmp_path / "journal.pem"
    real = os.fsync
    seen = []

    def watching(handle: int) -> None:
        seen.extend(
            (found.name, stat.S_IMODE(found.stat().st_mode)) for found in tmp_path.iterdir() if b"PRIVATE" in found.read_bytes()
        )
        real(handle)

    monkeypatch.setattr(os, "fsync", watching)
    umask = os.umask(0)
    try:
        Signer.load_or_make(path)
    finally:
        os.umask(umask)

    assert seen
    assert {mode for _, mode in seen} == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_open_to_others_is_refused(tmp_path, mode):
    """A key that the group or others can use is refused, and the sentence says what to do."""
    path = tmp_path / "journal.pem"
    Signer.load_or_make(path)
    path.chmod(mode)

    with pytest.raises(ConfigError, match=f"found mode {mode:o}; chmod 600"):
        Signer.load_or_make(path)


def other_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


@pytest.mark.parametrize("content", [lambda: b"", lambda: b"nonsense", lambda: b"\x00" * 100_000, other_key, locked_key])
@pytest.mark.parametrize("half", [lambda path: path, public_path], ids=["private", "public"])
def test_another_key_file_is_refused(tmp_path, content, half):
    """A file that holds no Ed25519 key, or one behind a password, is refused in one sentence."""
    path = tmp_path / "journal.pem"
    Signer.load_or_make(path)
    half(path).write_bytes(content())

    with pytest.raises(ConfigError, match=r"expected an Ed25519 (private|public) key"):
        Signer.load_or_make(path)


def test_a_lost_public_half_is_made_again(tmp_path):
    """The public half is written again where it is missing, and refused where it is another key's."""
    path = tmp_path / "journal.pem"
    made = Signer.load_or_make(path)
    public_path(path).unlink()

    with pytest.raises(NotFound):
        Verifier.load(public_path(path))
    assert Signer.load_or_make(path).key_id == Verifier.load(public_path(path)).key_id == made.key_id
    path.unlink()
    with pytest.raises(ConfigError, match="another key's"):
        Signer.load_or_make(path)


def test_an_unreadable_key_is_one_sentence(tmp_path):
    """A folder in the place of either half, or a file in the place of the folder, is told in one sentence."""
    (tmp_path / "journal.pem").mkdir()
    (tmp_path / "journal.pub.pem").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="can't be read"):
        Signer.load_or_make(tmp_path / "journal.pem")
    with pytest.raises(StorageError, match="can't be read"):
        Verifier.load(tmp_path / "journal.pub.pem")
    with pytest.raises(StorageError):
        Signer.load_or_make(tmp_path / "file" / "journal.pem")


def test_two_makers_end_with_one_key(tmp_path):
    """Processes that make the key at once all sign with the same one."""
    code = (
        "import sys; from pathlib import Path; from peak_trade.journal.signing import Signer\n"
        "print('ready', flush=True); sys.stdin.readline(); print(Signer.load_or_make(Path(sys.argv[1])).key_id)"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "keys" / "journal.pem")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        for _ in range(4)
    ]
    assert {maker.stdout.readline() for maker in makers} == {"ready\n"}
    for maker in makers:
        maker.stdin.write("go\n")
        maker.stdin.flush()
    made = {maker.communicate()[0] for maker in makers}

    assert len(made) == 1
    assert made == {f"{Signer.load_or_make(tmp_path / 'keys' / 'journal.pem').key_id}\n"}


def test_an_unsigned_end_is_proven_by_the_next_session(check, root):
    """A session that died between its end and its signature is complete once the next, signed one was written after it."""
    edit(heads_path(segment(root, "s1")), lambda content: content.pop())

    report = check()

    assert [flaw.segment for flaw in report.flaws if flaw.code == "unsigned_end"] == ["s1"]
    assert report.intact
    assert report.complete
