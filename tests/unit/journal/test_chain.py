"""The journal's chain: what a line looks like, what survives a crash or a full disk, and who may write."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.journal import chain as journal
from peak_trade.journal.chain import Chain, Record, canonical, find_segment, holding, parse, read, seal, segments
from peak_trade.journal.signing import Signer
from peak_trade.model.errors import DataError, InputError, InvariantBroken, NotFound, SafetyRefused, StorageError

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ACCOUNT = "paper"
ROOT = Path(__file__).resolve().parents[3]

keys = st.text(st.characters(max_codepoint=127), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
bodies = st.dictionaries(keys, values, max_size=6)


class Died(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer.load_or_make(tmp_path_factory.mktemp("keys") / "journal.pem")


@pytest.fixture
def start(tmp_path, signer):
    """Begin a session; every chain is closed at the end of the test."""
    opened = []

    def begin(session_id="s1", faults=lambda _: None, **body):
        opened.append(Chain.begin(tmp_path, ACCOUNT, session_id, body, at=AT, signer=signer, faults=faults))
        return opened[-1]

    yield begin
    for chain in opened:
        chain.close()


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


def short_write(monkeypatch, size: int) -> None:
    """Let the disk take *size* more bytes and then be full."""
    real = os.write
    left = [size]

    def write(handle: int, content: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(handle, content[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)


def test_a_line_is_canonical_and_hashed(start):
    """A line holds the six keys in order, and its hash is that of the line without it."""
    chain = start(cash="100.00")
    record = chain.append("order", {"price": "1.50", "symbol": "BTC/EUR"}, at=AT)

    line = chain.path.read_bytes().splitlines(keepends=True)[1]
    assert line == (
        b'{"at":"2026-01-02T03:04:05.000006Z","body":{"price":"1.50","symbol":"BTC/EUR"},"kind":"order",'
        b'"prev":"%b","seq":1,"sha256":"%b"}\n' % (record.prev.encode(), record.sha256.encode())
    )
    stated = json.loads(line)
    del stated["sha256"]
    assert seal(rfc8785.dumps(stated))[1] == record.sha256
    assert chain.head == (1, record.sha256)


def test_records_are_read_back(start):
    """What is appended is what is read, each linked to the one before."""
    chain = start(cash="100.00")
    given_records = [chain.append("tick", {"n": n, "deep": [{"a": None}, True]}, at=AT) for n in range(5)]

    records = list(read(chain.path))

    assert records[1:] == given_records
    assert records[0].kind == "begun"
    assert records[0].body == {"cash": "100.00", "previous": None, "torn_bytes": 0}
    assert records[0].prev == "0" * 64
    assert all(before.sha256 == after.prev for before, after in pairwise(records))


@given(body=bodies, kind=st.text(max_size=5))
@settings(max_examples=300, deadline=None)
def test_bytes_are_rfc_8785(body, kind):
    """Our encoding is byte for byte that of the reference implementation, and is read back the same."""
    stated = {"at": "x", "body": body, "kind": kind, "prev": "0" * 64, "seq": 3}

    base = canonical(**stated)

    assert base == rfc8785.dumps(stated)
    line, digest = seal(base)
    assert line == rfc8785.dumps({**stated, "sha256": digest}) + b"\n"
    assert parse(line) == Record(3, "x", kind, body, "0" * 64, digest)


def deep(levels: int) -> dict:
    body: dict = {}
    for _ in range(levels - 1):
        body = {"a": body}
    return body


@pytest.mark.parametrize(
    "body",
    [
        {"a": 1.5},
        {"a": float("nan")},
        {"a": [1, {"b": 0.0}]},
        {"a": 2**53},
        {"a": [-(2**53)]},
        {"a": (1, 2)},
        {"a": b"x"},
        {"a": AT},
        {1: "a"},
        {"ä": 1},
        {"a": {None: 1}},
        {"a": "\ud800"},
        deep(33),
    ],
    ids=repr,
)
def test_what_has_no_one_form_is_refused(start, body):
    """Floats, large integers, other types, odd keys, half surrogates and deep nesting are refused, and nothing is written."""
    chain = start()
    before = chain.path.read_bytes()

    with pytest.raises(InvariantBroken):
        chain.append("order", body, at=AT)

    assert chain.path.read_bytes() == before
    assert chain.append("order", {}, at=AT).seq == 1


@pytest.mark.parametrize("body", [{"a": 2**53 - 1}, {"a": -(2**53) + 1}, {"a": ["ä😀\x00"]}, deep(32)], ids=repr)
def test_limits_are_within(start, body):
    """The largest integers, any whole text and the deepest nesting are read back."""
    chain = start()
    chain.append("order", body, at=AT)

    assert list(read(chain.path))[-1].body == body


def test_a_record_has_a_largest_size(start, monkeypatch):
    """A record of the longest line is taken, one byte more is not."""
    chain = start()
    chain.append("note", {"a": "x" * 500}, at=AT)
    monkeypatch.setattr(journal, "LINE_MAX", len(chain.path.read_bytes().splitlines(keepends=True)[-1]))

    assert chain.append("note", {"a": "x" * 500}, at=AT).seq == 2
    with pytest.raises(InvariantBroken, match="split it"):
        chain.append("note", {"a": "x" * 501}, at=AT)
    assert len(list(read(chain.path))) == 3


def test_moments_become_utc(start):
    """An aware moment of any zone is written as UTC; a naive one is refused."""
    chain = start()

    assert chain.append("a", {}, at=AT.astimezone(timezone(timedelta(hours=5)))).at == "2026-01-02T03:04:05.000006Z"
    with pytest.raises(InvariantBroken):
        chain.append("a", {}, at=AT.replace(tzinfo=None))


def test_nothing_follows_the_end(start):
    """After a record 'ended' a session takes no other."""
    chain = start()
    chain.append("ended", {}, at=AT)

    with pytest.raises(InvariantBroken, match="after the session's end"):
        chain.append("order", {}, at=AT)


def test_a_session_follows_the_one_before(start, tmp_path):
    """The first record names the session before and has its last record's hash; names need not sort."""
    first = start("b")
    last = first.append("ended", {}, at=AT)
    second = start("c")
    third = start("a")

    begun = next(read(second.path))
    assert begun.prev == last.sha256
    assert begun.body == {"previous": "b", "torn_bytes": 0}
    assert next(read(third.path)).body["previous"] == "c"
    assert [path.stem for path in segments(tmp_path, ACCOUNT)] == ["b", "c", "a"]


@pytest.mark.parametrize("torn", [b"{", b'{"at":"2026', b"x" * 200_000], ids=len)
def test_a_torn_line_is_left_out(start, torn):
    """A reader stops before an unfinished last line; the next session says how long it is and does not touch it."""
    first = start("s1")
    last = first.append("order", {"long": "x" * 100_000}, at=AT)
    with first.path.open("ab") as file:
        file.write(torn)
    size = first.path.stat().st_size
    second = start("s2")

    assert list(read(first.path))[-1] == last
    begun = next(read(second.path))
    assert (begun.prev, begun.body["torn_bytes"]) == (last.sha256, len(torn))
    assert first.path.stat().st_size == size


def test_a_session_that_never_began_is_passed_over(start, tmp_path):
    """An empty segment and one with a torn first line are no part of the chain."""
    first = start("s1")
    (tmp_path / ACCOUNT / "s2.jsonl").touch()
    (tmp_path / ACCOUNT / "s3.jsonl").write_bytes(b'{"at"')
    fourth = start("s4")

    assert next(read(fourth.path)).body["previous"] == "s1"
    assert segments(tmp_path, ACCOUNT) == [first.path, fourth.path]


def test_a_damaged_end_is_not_followed(start, tmp_path):
    """A session does not begin behind a last record that is damaged, and leaves no file."""
    first = start("s1")
    content = first.path.read_bytes()
    first.path.write_bytes(content.replace(b'"torn_bytes":0', b'"torn_bytes":1'))

    with pytest.raises(DataError, match=r"s1\.jsonl, found a damaged one"):
        start("s2")

    assert not (tmp_path / ACCOUNT / "s2.jsonl").exists()


def test_odd_links_still_have_an_order(tmp_path):
    """Where links go in a circle, fork, or lead nowhere, each segment is listed once."""
    links = {"a": "b", "b": "a", "c": "gone", "d": "c", "e": "c", "f": 7, "g": None}
    (tmp_path / ACCOUNT).mkdir()
    for name, previous in links.items():
        line, _ = seal(canonical("x", {"previous": previous}, "begun", "0" * 64, 0))
        (tmp_path / ACCOUNT / f"{name}.jsonl").write_bytes(line)

    assert [path.stem for path in segments(tmp_path, ACCOUNT)] == ["a", "b", "c", "d", "e", "f", "g"]


def replaced(content: bytes, place: int) -> tuple[bytes, bytes]:
    """Return a line and another record with a right hash for its place."""
    line = content.splitlines(keepends=True)[place]
    found = parse(line)
    return line, seal(canonical(found.at, {"n": 99}, found.kind, found.prev, found.seq))[0]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda content: content.replace(b'"n":1', b'"n":7'), 3),
        (lambda content: b"".join(content.splitlines(keepends=True)[i] for i in (0, 2, 3)), 2),
        (lambda content: b"\n" + content, 1),
        (lambda content: content.replace(*replaced(content, 2)), 4),
        (lambda content: content.replace(b"\n", b" \n", 1), 1),
        (lambda content: b"\xff\n" + content, 1),
        (lambda content: b"[" * 100_000 + b"\n" + content, 1),
    ],
    ids=["changed", "removed", "empty line", "replaced", "space", "no text", "nested"],
)
def test_a_damaged_line_is_not_read(start, damage, line):
    """A reader gives no record from a damaged line on, and says which line it is."""
    chain = start()
    for n in range(3):
        chain.append("tick", {"n": n}, at=AT)
    chain.path.write_bytes(damage(chain.path.read_bytes()))

    with pytest.raises(DataError, match=rf"line {line} of .*s1\.jsonl") as refused:
        list(read(chain.path))

    assert refused.value.code == "journal"


def test_a_line_without_end_costs_no_memory(start, monkeypatch):
    """A line longer than any record is a damaged one, and the lines behind it are found again."""
    chain = start()
    whole = chain.path.read_bytes()
    monkeypatch.setattr(journal, "LINE_MAX", 1 << 10)

    chain.path.write_bytes(b"x" * 5_000 + b"\n" + whole)
    assert list(journal.lines(chain.path)) == [b"\n", whole]
    chain.path.write_bytes(whole + b"x" * 5_000)
    assert list(journal.lines(chain.path)) == [whole, b"\n"]


@pytest.mark.parametrize("account", ["", ".", "..", "a/b", ".hidden", "a" * 65, "a b", "ä", "a\n"])
def test_account_names_are_checked(tmp_path, account, signer):
    """A name that can't be a folder's is refused before anything is written."""
    with pytest.raises(InputError, match="account name"):
        Chain.begin(tmp_path, account, "s1", {}, at=AT, signer=signer)
    with pytest.raises(InputError), holding(tmp_path, account):
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("session_id", ["", "../x", "a.heads", "a/b", "a" * 65])
def test_session_ids_are_checked(start, tmp_path, session_id):
    """An id that can't be a file's, or would be taken for a heads file, is refused; looking for it finds nothing."""
    with pytest.raises(InputError, match="session id"):
        start(session_id)
    with pytest.raises(NotFound):
        find_segment(tmp_path, session_id)


def test_a_session_has_one_file(start, tmp_path):
    """A session id that has a journal already is refused, and the journal stays as it is."""
    chain = start("s1")
    before = chain.path.read_bytes()

    with pytest.raises(StorageError, match="begin another session"):
        start("s1")

    assert chain.path.read_bytes() == before
    assert stat.S_IMODE(chain.path.stat().st_mode) & ~0o640 == 0
    assert find_segment(tmp_path, "s1") == chain.path
    assert journal.accounts(tmp_path) == [ACCOUNT]
    with pytest.raises(NotFound):
        find_segment(tmp_path, "s2")
    assert journal.accounts(tmp_path / "nowhere") == []


def test_the_links_are_the_journals(start):
    """A caller can't set the links itself."""
    with pytest.raises(InvariantBroken):
        start("s1", previous="s0")


def test_a_full_disk_leaves_whole_lines(start, monkeypatch):
    """A record that did not fit is taken back, was not written, and the chain goes on when there is space."""
    chain = start()
    chain.append("order", {"n": 1}, at=AT)
    before = chain.path.read_bytes()
    with monkeypatch.context() as full:
        short_write(full, 50)
        with pytest.raises(StorageError, match="disk is full"):
            chain.append("order", {"n": 2}, at=AT)

    assert chain.path.read_bytes() == before
    chain.append("order", {"n": 3}, at=AT, durable=True)
    assert [record.body.get("n") for record in read(chain.path)] == [None, 1, 3]


def test_short_writes_are_finished(start, monkeypatch):
    """A line that the system takes in pieces is written whole."""
    chain = start()
    real = os.write
    with monkeypatch.context() as slow:
        slow.setattr(os, "write", lambda handle, content: real(handle, content[:7]))
        chain.append("order", {"n": 1}, at=AT)

    assert list(read(chain.path))[-1].body == {"n": 1}


def test_a_torn_line_is_never_written_behind(start, monkeypatch):
    """Where a part of a line can't be taken back the chain refuses for ever; the next session joins the last whole one."""
    chain = start()
    last = chain.head
    with monkeypatch.context() as full:
        short_write(full, 50)
        full.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(StorageError):
            chain.append("order", {"n": 1}, at=AT)
    torn = chain.path.read_bytes()

    for again in (lambda: chain.append("order", {"n": 2}, at=AT), chain.flush, lambda: chain.sign(at=AT)):
        with pytest.raises(StorageError, match="begin another"):
            again()
    assert chain.path.read_bytes() == torn
    assert next(read(start("s2").path))[4:5] == (last[1],)


def test_a_real_limit_leaves_whole_lines(tmp_path):
    """At the system's own limit on a file's size the last line is whole, and the chain goes on once it is lifted."""
    code = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from peak_trade.journal.chain import Chain
from peak_trade.journal.signing import Signer
from peak_trade.model.errors import StorageError
at = datetime(2026, 1, 1, tzinfo=UTC)
root = Path(sys.argv[1])
chain = Chain.begin(root, "paper", "s1", {}, at=at, signer=Signer.load_or_make(root / "keys" / "j.pem"))
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))
try:
    while True:
        chain.append("order", {"text": "x" * 100}, at=at)
except StorageError as error:
    print(chain.head[0], chain.path.stat().st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
chain.append("order", {}, at=at, durable=True)
"""
    ended = run_python(code, tmp_path)
    seq, size = map(int, ended.communicate()[0].split())

    assert ended.returncode == 0
    assert 2_500 < size <= 3_000
    assert len(list(read(find_segment(tmp_path, "s1")))) == seq + 2


def test_a_failed_beginning_leaves_no_file(start, tmp_path, monkeypatch):
    """Where the first record can't be written the session has no journal, and can be begun again."""
    with monkeypatch.context() as full:
        short_write(full, 50)
        with pytest.raises(StorageError):
            start("s1")

    assert not (tmp_path / ACCOUNT / "s1.jsonl").exists()
    assert start("s1").head[0] == 0


def failing_fsync(_: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_failed_fsync_breaks_for_ever(start, monkeypatch):
    """After the disk failed to confirm once it is not asked again: it might confirm what it has dropped."""
    chain = start()
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing_fsync)
        with pytest.raises(StorageError, match="Input/output error"):
            chain.append("order", {}, at=AT, durable=True)

    for again in (lambda: chain.append("order", {}, at=AT), chain.flush, lambda: chain.sign(at=AT)):
        with pytest.raises(StorageError, match="failed to confirm"):
            again()


def test_heads_nobody_can_find_are_refused(start, monkeypatch):
    """Where the heads file's folder can't be confirmed no head is ever signed; records are still taken."""
    chain = start()
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing_fsync)
        with pytest.raises(StorageError):
            chain.sign(at=AT)

    with pytest.raises(StorageError):
        chain.sign(at=AT)
    assert chain.append("a", {}, at=AT, durable=True).seq == 1


def test_the_session_before_is_forced_to_disk(start, monkeypatch):
    """A link is only made to what a power cut can't take away: records that a dead session left in memory are forced first."""
    first = start("s1")
    first.append("a", {}, at=AT)
    forced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (forced.append(os.fstat(handle).st_ino), real(handle))[1])
    second = start("s2")

    assert forced[:2] == [first.path.stat().st_ino, second.path.stat().st_ino]


def test_what_is_durable_was_forced(start, monkeypatch):
    """A durable record is forced to disk once, a flush forces only what is new, a signature forces records and head."""
    chain = start()
    forced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (forced.append(handle), real(handle))[1])

    def count(call) -> int:
        forced.clear()
        call()
        return len(forced)

    assert count(lambda: chain.append("a", {}, at=AT)) == 0
    assert count(chain.flush) == 1
    assert count(chain.flush) == 0
    assert count(lambda: chain.append("a", {}, at=AT, durable=True)) == 1
    assert count(lambda: chain.sign(at=AT)) == 2  # the folder, for the new file, and the head
    chain.append("a", {}, at=AT)
    assert count(lambda: chain.sign(at=AT)) == 2  # the record and the head
    assert count(lambda: chain.sign(at=AT)) == 0
    chain.append("a", {}, at=AT)
    assert count(chain.close) == 1
    assert count(chain.close) == 0


def test_a_closed_chain_refuses(start):
    """After closing nothing is written."""
    chain = start()
    chain.close()

    with pytest.raises(StorageError, match="closed"):
        chain.append("a", {}, at=AT)


def test_heads_are_numbered_and_not_repeated(start):
    """Heads count from 0; signing without a new record gives the same head and writes nothing."""
    chain = start()
    first = chain.sign(at=AT)
    again = chain.sign(at=AT + timedelta(hours=1))
    chain.append("a", {}, at=AT)
    second = chain.sign(at=AT)

    assert again == first
    assert (first.number, first.seq, second.number, second.seq) == (0, 0, 1, 1)
    assert second.sha256 == chain.head[1]
    heads = journal.heads_path(chain.path).read_bytes().splitlines(keepends=True)
    assert [journal.parse_head(line) for line in heads] == [first, second]
    assert heads == [rfc8785.dumps(json.loads(line)) + b"\n" for line in heads]


POINTS = [
    f"{name}.{point}"
    for name in ("journal", "journal.head")
    for point in ("write.before", "write.after", "fsync.before", "fsync.after")
]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_dying_anywhere_loses_nothing_confirmed(tmp_path, signer, point, skip):
    """Wherever a process dies, what was confirmed is there, no line is torn, and the next session joins on."""
    left = [skip]

    def faults(name: str) -> None:
        if name == point:
            if not left[0]:
                raise Died
            left[0] -= 1

    confirmed = []

    def work() -> None:
        live = Chain.begin(tmp_path, ACCOUNT, "s1", {}, at=AT, signer=signer, faults=faults)
        for _ in range(3):
            confirmed.append(live.append("order", {}, at=AT, durable=True))
            live.sign(at=AT)

    with pytest.raises(Died):
        work()

    after = Chain.begin(tmp_path, ACCOUNT, "s2", {}, at=AT, signer=signer)
    after.close()
    there = list(read(find_segment(tmp_path, "s1")))
    assert there[1 : 1 + len(confirmed)] == confirmed
    begun = next(read(after.path))
    assert begun.prev == (there[-1].sha256 if there else "0" * 64)
    assert begun.body["previous"] == ("s1" if there else None)


def test_an_interrupted_write_is_not_guessed_at(start):
    """An exception in the middle of a write leaves a chain that refuses, because nobody knows what was written."""
    armed = []

    def faults(name: str) -> None:
        if armed and name == "journal.write.after":
            raise KeyboardInterrupt

    chain = start(faults=faults)
    armed.append(1)
    with pytest.raises(KeyboardInterrupt):
        chain.append("order", {}, at=AT)
    armed.clear()

    with pytest.raises(StorageError, match="interrupted"):
        chain.append("order", {}, at=AT)


def test_a_killed_writer_leaves_whole_records(tmp_path, signer):
    """After kill -9 in the midst of writing every line but the last is whole, and the next session joins on."""
    code = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from peak_trade.journal.chain import Chain
from peak_trade.journal.signing import Signer
at = datetime(2026, 1, 1, tzinfo=UTC)
root = Path(sys.argv[1])
chain = Chain.begin(root, "paper", "s1", {}, at=at, signer=Signer.load_or_make(root / "keys" / "j.pem"))
for n in range(10**9):
    chain.append("order", {"n": n}, at=at)
    if n == 1000:
        print("writing", flush=True)
"""
    writer = run_python(code, tmp_path)
    assert writer.stdout.readline() == "writing\n"
    writer.kill()
    writer.communicate()

    *_, last = read(find_segment(tmp_path, "s1"))
    after = Chain.begin(tmp_path, ACCOUNT, "s2", {}, at=AT, signer=signer)
    after.close()
    assert last.seq > 1000
    assert next(read(after.path)).prev == last.sha256


def test_a_reader_never_holds_the_writer(start):
    """A reader in the middle of a file stops no write, signature or closing."""
    chain = start()
    chain.append("a", {}, at=AT)
    reader = read(chain.path)
    next(reader)

    chain.append("b", {}, at=AT, durable=True)
    chain.sign(at=AT)
    chain.append("ended", {}, at=AT)
    chain.close()

    assert [record.kind for record in reader] == ["a"]
    assert [record.kind for record in read(chain.path)] == ["begun", "a", "b", "ended"]


def test_a_reader_sees_only_whole_records(start):
    """A process that reads over and over sees a growing beginning of the chain and never a part of a record."""
    code = """
import sys
from pathlib import Path
from peak_trade.journal.chain import read
seen, rounds = 0, 0
while True:
    records = list(read(Path(sys.argv[1])))
    assert len(records) >= seen
    seen, rounds = len(records), rounds + 1
    if rounds == 1:
        print("reading", flush=True)
    if records[-1].kind == "ended":
        print(seen, rounds)
        break
"""
    chain = start()
    reader = run_python(code, chain.path)
    assert reader.stdout.readline() == "reading\n"
    for n in range(2_000):
        chain.append("order", {"n": n, "text": "x" * (n % 5_000)}, at=AT)
    chain.append("ended", {}, at=AT, durable=True)

    seen, rounds = map(int, reader.communicate()[0].split())
    assert reader.returncode == 0
    assert seen == 2_002
    assert rounds >= 1


HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from peak_trade.journal.chain import holding
with holding(Path(sys.argv[1]), "paper", session_id="s1", at=datetime(2026, 1, 1, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_account_has_one_holder(tmp_path):
    """A second process is refused by a sentence that names the first; another account is free; the end frees it."""
    first = run_python(HOLD, tmp_path)
    assert first.stdout.readline() == "held\n"

    with pytest.raises(SafetyRefused) as refused, holding(tmp_path, ACCOUNT):
        pass
    with holding(tmp_path, "other"):
        pass
    words = str(refused.value)
    assert "session s1" in words
    assert f"`kill {first.pid}`" in words
    assert "since 2026-01-01T00:00:00.000000Z" in words
    assert "another --account" in words
    assert refused.value.exit_code == 3

    first.communicate("")
    with holding(tmp_path, ACCOUNT):
        assert journal.holder(tmp_path, ACCOUNT).process == os.getpid()
    assert not (tmp_path / ACCOUNT / ".holder").exists()


def test_kill_frees_the_account(tmp_path):
    """After kill -9 the account is free at once, whatever the note still says."""
    first = run_python(HOLD, tmp_path)
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()

    assert journal.holder(tmp_path, ACCOUNT).session_id == "s1"
    with holding(tmp_path, ACCOUNT, session_id="s2", at=AT):
        assert journal.holder(tmp_path, ACCOUNT).session_id == "s2"


@pytest.mark.parametrize("note", [None, b"", b"\xff", b"[]", b'{"process":"x","session_id":7}'], ids=repr)
def test_a_holder_without_a_note_is_still_one(tmp_path, note):
    """An account whose holder's note is missing or nonsense is refused all the same, also within one process."""
    with holding(tmp_path, ACCOUNT):
        (tmp_path / ACCOUNT / ".holder").unlink()
        if note is not None:
            (tmp_path / ACCOUNT / ".holder").write_bytes(note)

        with pytest.raises(SafetyRefused, match="found another process working on it"), holding(tmp_path, ACCOUNT):
            pass


def test_a_read_only_folder_is_one_sentence(tmp_path, signer):
    """A folder that can't be made is a storage error for the lock and for the chain."""
    (tmp_path / ACCOUNT).write_text("a file")

    with pytest.raises(StorageError), holding(tmp_path, ACCOUNT):
        pass
    with pytest.raises(StorageError):
        Chain.begin(tmp_path, ACCOUNT, "s1", {}, at=AT, signer=signer)


def test_an_unreadable_file_is_one_sentence(tmp_path):
    """A missing segment is not found, a folder in its place can't be read."""
    with pytest.raises(NotFound):
        list(read(tmp_path / "x.jsonl"))
    with pytest.raises(StorageError, match="can't be read"):
        list(read(tmp_path))
