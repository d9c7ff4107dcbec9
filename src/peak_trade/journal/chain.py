"""The journal of an account: lines of canonical JSON (RFC 8785), one file a session, each line with the hash of the one before.

    <root>/<account>/<session>.jsonl         {"at","body","kind","prev","seq","sha256"}, one record a line
    <root>/<account>/<session>.heads.jsonl   {"at","key","number","seq","sha256","signature"}, signed heads of it

Invariant: a file is only ever appended to, by the process that made it, and never changed afterwards.
Invariant: a line is written whole; only a crash can leave a torn one, only as the last, and nothing is written after it.
Invariant: what the disk did not confirm is never confirmed later: after a failed fsync the file takes no further line.
Invariant: a session's first record names the last record of the account's session before, so that all form one chain.
"""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from peak_trade.durable import force, storing, write_bytes, write_text
from peak_trade.journal.signing import Signer
from peak_trade.model.errors import (
    DataError,
    InputError,
    InvariantBroken,
    NotFound,
    SafetyRefused,
    StorageError,
    require,
)

#: What stands in for the hash before the first record of an account.
ZERO = "0" * 64
#: The kinds of the first record of a session and of the last one of a session that ended properly.
BEGUN = "begun"
ENDED = "ended"
#: Longest line, in bytes: a reader never needs more memory for it.
LINE_MAX = 1 << 24
#: Deepest nesting of a body; a reader's parser must not run out of stack.
DEPTH_MAX = 32
#: Integers from here on are not the same in every reader of JSON (RFC 8785, section 3.2.2.3; RFC 7493).
INTEGER_LIMIT = 1 << 53
#: First bytes of every signed message, so that a signature means nothing anywhere else.
HEAD_DOMAIN = b"peak-trade-journal-head\n"

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# No dot: `a.heads` would be taken for the heads of `a`.
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
#: Bytes of `,"sha256":"<64 digits>"}` and the newline.
_TAIL = 78
_INTERRUPTED = "a write to it was interrupted"

#: Sorts keys as RFC 8785 does as long as they are ASCII, and writes text as it does; `check_body` leaves no other numbers
#: than whole ones below 2^53. Seven times as fast as the standard library.
_to_json = msgspec.json.Encoder(order="sorted").encode
_Last = TypeVar("_Last")


class Record(NamedTuple):
    """One line of the journal; `prev` and `sha256` are the hashes of the line before and of this one."""

    seq: int
    at: str
    kind: str
    body: Mapping[str, Any]
    prev: str
    sha256: str


class Head(NamedTuple):
    """A signed statement that a session's record *seq* has the hash *sha256*; heads of a session are numbered from 0."""

    seq: int
    sha256: str
    at: str
    key_id: str
    signature: str
    number: int


class Holder(NamedTuple):
    """Who works on an account; `started` tells the process from a later one of its number, None where nobody knows."""

    session_id: str | None
    process: int | None
    host: str | None
    since: str | None
    started: str | None = None


class Chain:
    """The journal of one session, open for writing; not for use by two threads at once."""

    path: Path

    def __init__(self, path: Path, signer: Signer, faults: Callable[[str], None]) -> None:
        """Make the file; `begin` is the way to a usable chain."""
        self.path = path
        self._signer = signer
        self._faults = faults
        self._segment: _Appender[tuple[int, str]] = _Appender(path, (-1, ZERO), faults, "journal")
        self._heads: _Appender[Head | None] | None = None
        self._ended = False

    @classmethod
    def begin(
        cls,
        root: Path,
        account: str,
        session_id: str,
        body: Mapping[str, Any],
        *,
        at: datetime,
        signer: Signer,
        faults: Callable[[str], None] = lambda _: None,
    ) -> "Chain":
        """Make a session's journal with its first record, on disk when this returns; the caller holds the account.

        Args:
            body: of the first record; `previous` and `torn_bytes` are added to it.
            faults: called with the name of each point where tests let the process die.

        Raises:
            InputError: the account's or session's name can't be a file name.
            DataError: the journal of the session before is damaged at its end.
            StorageError: the disk refused, or the session has a journal already.
        """
        path = folder_of(root, account) / f"{_checked_session(session_id)}.jsonl"
        require("previous" not in body and "torn_bytes" not in body, "a session's beginning leaves the links to the journal")
        before = [found for found in segments(root, account) if found != path]
        prev, torn_bytes = _last_of(before[-1]) if before else (ZERO, 0)
        links = {"previous": before[-1].stem if before else None, "torn_bytes": torn_bytes}
        base = canonical(_stamp(at), {**body, **links}, BEGUN, prev, 0)
        with storing(path):
            new = not path.parent.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            if new:
                force(path.parent.parent)
        chain = cls(path, signer, faults)
        try:
            line, digest = seal(base)
            chain._segment.put(line, (0, digest))
            chain._segment.flush()
            with storing(path):
                force(path.parent)
        except Exception:
            chain._segment.close()
            # It never began: no record of it was promised to anyone.
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return chain

    @property
    def head(self) -> tuple[int, str]:
        """The number and hash of the last record."""
        return self._segment.last

    def append(self, kind: str, body: Mapping[str, Any], *, at: datetime, durable: bool = False) -> Record:
        """Write one record; with *durable* it is on disk when this returns.

        Args:
            body: null, bool, str, int below 2^53, lists and dicts with ASCII keys; money is text.
            at: when it happened, aware.

        Raises:
            InvariantBroken: the body holds anything else, or the session has ended.
            StorageError: the disk refused. The record is then not in the journal; only where what was written of it could
                not be taken back, or an fsync failed, every later call is refused too.
        """
        if self._ended:
            raise InvariantBroken(f"expected no record after the session's end, found {kind!r} for {self.path}")
        segment = self._segment
        seq, prev = segment.last
        seq += 1
        moment = _stamp(at)
        line, digest = seal(canonical(moment, body, kind, prev, seq))
        segment.put(line, (seq, digest))
        if kind == ENDED:
            self._ended = True
        if durable:
            segment.flush()
        return Record(seq, moment, kind, body, prev, digest)

    def flush(self) -> None:
        """Force to disk what was written since the last time; nothing to do costs nothing.

        Raises:
            StorageError: the disk refused; nobody knows what it holds now, so that every later call is refused too.
        """
        self._segment.flush()

    def sign(self, *, at: datetime) -> Head:
        """Force the records to disk, then sign the last one and force the signature to disk.

        Without a record since the last time the same head is returned.

        Raises:
            StorageError: the disk refused.
        """
        self._segment.flush()
        seq, sha256 = self._segment.last
        if self._heads is None:
            heads_at = heads_path(self.path)
            self._heads = _Appender(heads_at, None, self._faults, "journal.head")
            with storing(heads_at):
                try:
                    force(heads_at.parent)
                except OSError:
                    self._heads.close()
                    raise
        last = self._heads.last
        if last is not None and last.seq == seq:
            self._heads.flush()
            return last
        moment = _stamp(at)
        number = last.number + 1 if last else 0
        key_id = self._signer.key_id
        message = head_message(self.path.parent.name, self.path.stem, seq, sha256, moment, number)
        head = Head(seq, sha256, moment, key_id, self._signer.sign(message), number)
        self._heads.put(head_line(head), head)
        self._heads.flush()
        return head

    def close(self) -> None:
        """Force what was written to disk and let go of the files; a second call does nothing.

        Raises:
            StorageError: the disk refused.
        """
        try:
            if self._segment.sound:
                self._segment.flush()
        finally:
            self._segment.close()
            if self._heads:
                self._heads.close()


def sign_end(path: Path, signer: Signer, *, at: datetime) -> Head | None:
    """Sign the end of a session whose process died before it could; None where it has no end. The caller holds the account.

    Raises:
        DataError: the segment is damaged.
        StorageError: the disk refused.
    """
    last = None
    for last in read(path):  # noqa: B007 - the last one is what counts
        pass
    if last is None or last.kind != ENDED:
        return None
    heads_at = heads_path(path)
    content = heads_at.read_bytes() if heads_at.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    known = [head for line in whole.splitlines(keepends=True) if (head := parse_head(line)) is not None]
    if known and known[-1].seq == last.seq:
        return known[-1]
    moment, number = _stamp(at), known[-1].number + 1 if known else 0
    message = head_message(path.parent.name, path.stem, last.seq, last.sha256, moment, number)
    head = Head(last.seq, last.sha256, moment, signer.key_id, signer.sign(message), number)
    write_bytes(heads_at, whole + head_line(head))
    return head


class _Appender(Generic[_Last]):
    """One new file that whole lines are appended to; `last` is what the last whole line was."""

    def __init__(self, path: Path, last: _Last, faults: Callable[[str], None], name: str) -> None:
        self.path = path
        self.last = last
        self._faults = faults
        self._points = [f"{name}.{point}" for point in ("write.before", "write.after", "fsync.before", "fsync.after")]
        self._end = 0
        self._dirty = False
        self._trouble = ""
        with storing(path):
            try:
                self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640)
            except FileExistsError as error:
                raise StorageError(
                    f"expected no journal at {path}, found one; a session never goes on with a file, begin another session"
                ) from error

    @property
    def sound(self) -> bool:
        """Whether it takes lines."""
        return not self._trouble

    def put(self, line: bytes, last: _Last) -> None:
        """Write a whole line and remember what it was, or leave the file as it is and raise."""
        if self._trouble:
            self._refuse()
        before, after, _, _ = self._points
        # An exception from anywhere, a signal's too, between here and the end leaves it refusing, never in doubt.
        self._trouble = _INTERRUPTED
        self._faults(before)
        try:
            size = len(line)
            done = os.write(self._handle, line)
            while done < size:
                done += os.write(self._handle, line[done:]) or _nothing_written()
        except OSError:
            self._take_back()
            with storing(self.path):
                raise
        self._faults(after)
        self._end += size
        self._dirty = True
        self.last = last
        self._trouble = ""

    def flush(self) -> None:
        """Force what was written to disk, or refuse for ever: a second fsync may succeed over pages that were dropped."""
        if self._trouble:
            self._refuse()
        if not self._dirty:
            return
        _, _, before, after = self._points
        self._trouble = "its last fsync was interrupted"
        self._faults(before)
        try:
            os.fsync(self._handle)
        except OSError:
            self._trouble = "the disk failed to confirm it"
            with storing(self.path):
                raise
        self._faults(after)
        self._dirty = False
        self._trouble = ""

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            self._trouble = "it is closed"
            with contextlib.suppress(OSError):
                os.close(handle)

    def _take_back(self) -> None:
        """Cut off what was written of a line, so that the file ends with a whole one again."""
        self._trouble = "its last line is torn"
        with contextlib.suppress(OSError):
            os.ftruncate(self._handle, self._end)
            if os.fstat(self._handle).st_size == self._end:
                self._trouble = ""

    def _refuse(self) -> NoReturn:
        raise StorageError(
            f"expected {self.path} to take a record, found that {self._trouble}; end this session and begin another, "
            "which goes on after the last whole record"
        )


def _nothing_written() -> NoReturn:
    raise OSError(errno.EIO, "nothing was written")


def canonical(at: str, body: Mapping[str, Any], kind: str, prev: str, seq: int) -> bytes:
    """Return a record without its hash as canonical JSON.

    Raises:
        InvariantBroken: the body holds what has no one form in JSON.
    """
    plain = body if type(body) is dict else dict(body)
    check_body(plain)
    try:
        return _to_json({"at": at, "body": plain, "kind": kind, "prev": prev, "seq": seq})
    except UnicodeEncodeError as error:
        raise InvariantBroken(f"expected text in the journal, found half a surrogate pair in a record {kind!r}") from error


def seal(base: bytes) -> tuple[bytes, str]:
    """Return the line of a record and its hash; `sha256` sorts behind all other keys, so it is put at the end."""
    digest = hashlib.sha256(base).hexdigest()
    line = b'%b,"sha256":"%b"}\n' % (base[:-1], digest.encode())
    if len(line) > LINE_MAX:
        raise InvariantBroken(f"expected a record of at most {LINE_MAX} bytes, found {len(line)}; split it")
    return line, digest


def check_body(body: Mapping[str, Any], depth: int = 1) -> None:
    """Refuse what JSON readers do not all read back as it was written.

    Raises:
        InvariantBroken: there is a float, a large integer, a key that is no ASCII text, another type, or deep nesting.
    """
    for key, value in body.items():
        if type(key) is not str or not key.isascii():
            raise InvariantBroken(f"expected keys of ASCII text in the journal, found {key!r}")
        kind = type(value)
        if not (kind is str or value is None or kind is bool):
            _check_value(value, depth)


def _check_value(value: object, depth: int) -> None:
    kind = type(value)
    if isinstance(value, int) and kind is int:
        if not -INTEGER_LIMIT < value < INTEGER_LIMIT:
            raise InvariantBroken(f"expected integers below 2^53 in the journal, found {value}; write it as text")
    elif kind in (dict, list) and depth >= DEPTH_MAX:
        raise InvariantBroken(f"expected at most {DEPTH_MAX} levels in a body of the journal, found more")
    elif isinstance(value, dict) and kind is dict:
        check_body(value, depth + 1)
    elif isinstance(value, list) and kind is list:
        for item in value:
            if type(item) is not str:
                _check_value(item, depth + 1)
    elif not (kind is str or value is None or kind is bool):
        raise InvariantBroken(f"expected null, bool, text, integers, lists and dicts in the journal, found {value!r} of {kind}")


def parse(line: bytes) -> Record | None:
    """Return the record of a line with its newline, or None where it is none or its hash does not fit."""
    base = line[:-_TAIL] + b"}"
    if line[-_TAIL:] != b',"sha256":"%b"}\n' % hashlib.sha256(base).hexdigest().encode():
        return None
    return parse_shape(line)


def parse_shape(line: bytes) -> Record | None:
    """Return what a line says it is, whether its hash fits or not; None where it has another shape than a record."""
    match _object(line):
        case {
            "at": str(at),
            "body": dict(body),
            "kind": str(kind),
            "prev": str(prev),
            "seq": int(seq),
            "sha256": str(sha256),
            **rest,
        } if not rest and type(seq) is int and seq >= 0 and _DIGEST.fullmatch(prev) and _DIGEST.fullmatch(sha256):
            return Record(seq, at, kind, body, prev, sha256)
    return None


def head_message(account: str, session_id: str, seq: int, sha256: str, at: str, number: int) -> bytes:
    """Return the bytes that a head's signature is made over."""
    stated = {"account": account, "at": at, "number": number, "seq": seq, "session_id": session_id, "sha256": sha256}
    return HEAD_DOMAIN + _to_json(stated)


def head_line(head: Head) -> bytes:
    """Return a head as its line of canonical JSON."""
    stated = {
        "at": head.at,
        "key": head.key_id,
        "number": head.number,
        "seq": head.seq,
        "sha256": head.sha256,
        "signature": head.signature,
    }
    return _to_json(stated) + b"\n"


def parse_head(line: bytes) -> Head | None:
    """Return the head of a line with its newline, or None where it has another shape."""
    match _object(line):
        case {
            "at": str(at),
            "key": str(key_id),
            "number": int(number),
            "seq": int(seq),
            "sha256": str(sha256),
            "signature": str(signature),
            **rest,
        } if not rest and type(seq) is int and type(number) is int and seq >= 0 and number >= 0:
            if at.isascii() and _DIGEST.fullmatch(sha256) and _KEY_ID.fullmatch(key_id) and _SIGNATURE.fullmatch(signature):
                return Head(seq, sha256, at, key_id, signature, number)
    return None


def _object(line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        return None


def lines(path: Path, size: int | None = None) -> Iterator[bytes]:
    """Yield a file's lines with their newlines up to *size* bytes, by default those it has now; only the last may be torn.

    A line longer than any record comes as an empty one, which is no record either.

    Raises:
        NotFound: there is no such file.
        StorageError: it can't be read.
    """
    with _reading(path), path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size if size is None else size
        while left > 0:
            line = file.readline(min(LINE_MAX, left))
            if not line:
                return
            left -= len(line)
            if len(line) == LINE_MAX and not line.endswith(b"\n"):
                while left > 0 and (rest := file.readline(min(LINE_MAX, left))):
                    left -= len(rest)
                    if rest.endswith(b"\n"):
                        break
                line = b"\n"
            yield line


def read(path: Path) -> Iterator[Record]:
    """Yield a segment's records up to the last whole one that was there at the first step; a torn last line is left out.

    Raises:
        NotFound: there is no such file.
        DataError: a line is no record, its hash does not fit, or it does not follow the one before.
    """
    seq, prev = -1, None
    for line in lines(path):
        if not line.endswith(b"\n"):
            return
        record = parse(line)
        if record is None or record.seq != seq + 1 or prev not in (None, record.prev):
            found = "a line that is damaged" if record is None else f"record {record.seq}, which does not follow"
            raise DataError(
                "journal",
                f"expected record {seq + 1} of the journal in line {seq + 2} of {path}, found {found}; "
                "peak-trade journal verify tells more, --account NAME goes on under another account",
            )
        seq, prev = record.seq, record.sha256
        yield record


def accounts(root: Path) -> list[str]:
    """Return the accounts that have a journal, by name."""
    with _reading(root):
        return (
            sorted(path.name for path in root.iterdir() if _ACCOUNT.fullmatch(path.name) and path.is_dir())
            if root.is_dir()
            else []
        )


def segments(root: Path, account: str) -> list[Path]:
    """Return an account's segments in the order of their links, the oldest first.

    Segments without a whole first record are left out: they never began, and nothing follows from them. Where a link's
    goal is missing or two follow the same one, names decide, which sort by time.
    """
    links: dict[str, str | None] = {}
    paths = {path.stem: path for path in segment_files(root, account)}
    for name, path in paths.items():
        first = next(lines(path), b"")
        if first.endswith(b"\n"):
            record = parse_shape(first)
            previous = record.body.get("previous") if record else None
            links[name] = previous if isinstance(previous, str) else None
    followers: dict[str | None, list[str]] = {}
    for name in sorted(links, reverse=True):
        followers.setdefault(links[name] if links[name] in links else None, []).append(name)
    order: list[str] = []
    waiting = followers.get(None, [])
    while waiting:
        order.append(waiting.pop())
        waiting += followers.get(order[-1], [])
    # What links to itself in a circle has no place; the last one in order must not be one of these.
    circles = sorted(set(links) - set(order))
    return [paths[name] for name in circles + order]


def segment_files(root: Path, account: str) -> list[Path]:
    """Return an account's segment files by name, also those that never began."""
    folder = folder_of(root, account)
    with _reading(folder):
        found = folder.glob("*.jsonl") if folder.is_dir() else ()
        # A pipe by that name would keep whoever opens it waiting for ever.
        return sorted(path for path in found if _SESSION.fullmatch(path.stem) and path.is_file())


def find_segment(root: Path, session_id: str) -> Path:
    """Return the segment of a session, whatever its account.

    Raises:
        NotFound: no account has one.
    """
    if _SESSION.fullmatch(session_id):
        for account in accounts(root):
            path = root / account / f"{session_id}.jsonl"
            if path.is_file():
                return path
    raise NotFound(f"expected the journal of session {session_id!r} under {root}, found none; check the session's id")


def folder_of(root: Path, account: str) -> Path:
    """Return the folder of an account.

    Raises:
        InputError: the name can't be an account's.
    """
    if not _ACCOUNT.fullmatch(account):
        raise InputError(
            "expected an account name of 1 to 64 letters, digits, '.', '_' and '-' that starts with a letter or digit, "
            f"found {account!r}; choose another --account"
        )
    return root / account


def heads_path(path: Path) -> Path:
    """Return where the signed heads of a segment lie."""
    return path.with_name(f"{path.stem}.heads.jsonl")


@contextlib.contextmanager
def holding(
    root: Path, account: str, *, session_id: str | None = None, at: datetime | None = None, wait_s: float = 0.0
) -> Iterator[None]:
    """Hold an account while the block runs; the operating system lets go of it when the process ends, however it ends.

    Args:
        session_id: what the next one that wants the account is told, with *at*, this process and this machine.
        wait_s: how long to wait for another one to let go of it.

    Raises:
        InputError: the name can't be an account's.
        SafetyRefused: another one holds it; the sentence says who.
        StorageError: the disk refused.
    """
    import filelock

    folder = folder_of(root, account)
    note = folder / ".holder"
    lock = filelock.FileLock(folder / ".lock", timeout=wait_s, thread_local=False)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise SafetyRefused(_in_use(account, holder(root, account))) from error
    try:
        holds = Holder(session_id, os.getpid(), platform.node(), _stamp(at) if at else None, process_started(os.getpid()))
        write_text(note, json.dumps(holds._asdict()))
        yield
    finally:
        # Before the lock goes: afterwards the note may be another's.
        with contextlib.suppress(OSError):
            note.unlink()
        lock.release()


def holder(root: Path, account: str) -> Holder:
    """Return who wrote last that it holds an account; only the lock itself tells whether it still does."""
    stated: object = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        stated = json.loads((folder_of(root, account) / ".holder").read_text("utf-8"))
    given = stated if isinstance(stated, dict) else {}
    process = given.get("process")
    session_id, host, since, started = (
        text if isinstance(text, str) else None
        for text in (given.get(name) for name in ("session_id", "host", "since", "started"))
    )
    return Holder(session_id, process if type(process) is int else None, host, since, started)


def process_started(process: int) -> str | None:
    """Return when a process began, in the system's own count since it was booted; None where nobody knows (not Linux, gone)."""
    try:
        # The name in brackets may hold blanks and brackets itself; what follows the last one are numbers (proc(5), field 22).
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def is_held(root: Path, account: str) -> bool:
    """Tell whether somebody holds an account; where nobody does, it is held for that moment."""
    import filelock

    lock = filelock.FileLock(folder_of(root, account) / ".lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _in_use(account: str, found: Holder) -> str:
    session = f"session {found.session_id}" if found.session_id else "another process"
    facts = [f"process {found.process}" if found.process else "", f"on {found.host}" if found.host else ""]
    facts.append(f"since {found.since}" if found.since else "")
    where = " ".join(fact for fact in facts if fact)
    kill = f" or `kill {found.process}`" if found.process else ""
    return (
        f"expected account {account!r} to be free, found {session}{f' ({where})' if where else ''} working on it; "
        f"wait until it ends, stop it with Ctrl+C{kill}, or choose another --account"
    )


def _checked_session(session_id: str) -> str:
    if not _SESSION.fullmatch(session_id):
        raise InputError(f"expected a session id of 1 to 64 letters, digits, '_' and '-', found {session_id!r}")
    return session_id


def _last_of(path: Path) -> tuple[str, int]:
    """Return the hash of a segment's last whole record and the length of the torn line behind it, both on disk by then."""
    with _reading(path), path.open("rb") as file:
        # What a killed process wrote may still be in memory alone: a power cut must not take what we are about to link to.
        with storing(path):
            os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        span = 1 << 16
        while True:
            start = max(0, size - span)
            file.seek(start)
            end = file.read(size - start)
            whole = end.rfind(b"\n") + 1
            begin = end.rfind(b"\n", 0, max(0, whole - 1)) + 1
            if begin or start == 0:
                break
            span *= 4
    record = parse(end[begin:whole]) if whole - begin <= LINE_MAX else None
    if record is None:
        raise DataError(
            "journal",
            f"expected a whole record at the end of {path}, found a damaged one; "
            "verify the journal and go on under another --account",
        )
    return record.sha256, len(end) - whole


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"expected the journal {path}, found no such file; check the session's id") from error
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror or error}; check its owner and mode") from error


def _stamp(at: datetime) -> str:
    """Return an aware moment as UTC text of fixed length, to the microsecond."""
    if at.tzinfo is not UTC:
        if at.utcoffset() is None:
            raise InvariantBroken(f"expected an aware moment for the journal, found {at}")
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"
