"""What keeps a session's account paused: a folder of small files for each account, which only the restart procedure removes.

A person pauses an account, or a trigger does; a session that runs on it heeds every hold within a second, and none begins.
Where the account trades at an exchange its hold reaches every other account that does so with the same API key: names of
accounts are ours, and the exchange knows keys.

Invariant: a hold is on disk before anyone is told of it, and one that can't be read counts as a pause.
Invariant: of a key no more is written than its short name, a hash; which keys an account has is never guessed to be fewer.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection
from datetime import datetime
from enum import Enum, unique
from pathlib import Path
from typing import NamedTuple

from peak_trade.durable import force, storing, write_text
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import SafetyRefused, StorageError

#: What stands where a hold can't be read.
UNREADABLE = "unreadable"
_BYTES_MAX = 65_536
#: Longest words of a hold, characters.
_WORDS_MAX = 2_000
#: Stands for every key, where nobody can tell which ones an account has.
ANY_KEY = "*"


@unique
class HoldKind(Enum):
    """What a hold asks of a session, from the mildest on.

    - `RESTRICT`: positions may only be reduced.
    - `PAUSE`: besides, working orders that could enlarge one are cancelled, and the account stays so after the session.
    - `CLOSE`: besides, the positions of some strategies, or of all, are closed and nothing is opened for them again.
    """

    RESTRICT = "restrict"
    PAUSE = "pause"
    CLOSE = "close"


class Hold(NamedTuple):
    """Since when (ISO 8601, UTC), by whom, why, under which code.

    `strategies` by their keys, none for all; `keys` are short names of the API keys that the account trades with, none where it
    never was at an exchange, or where the hold is older than these names.
    """

    at: str
    by: str
    why: str
    kind: HoldKind
    code: str
    strategies: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind.value} since {self.at}, by {self.by}: {self.why}"

    def keeps(self, strategies: Collection[str] | None) -> bool:
        """Tell whether it keeps strategies, by their keys, from being started; None: nobody knows which they are.

        What closes some strategies keeps those alone.
        """
        return self.kind is not HoldKind.CLOSE or not self.strategies or bool(set(strategies or ()) & set(self.strategies))

    def name_on(self, account: str) -> str:
        """Return a name by which acts know a hold of an account: of when, what and under which code, and not of its words."""
        told = [account, self.at, self.kind.value, self.code, *self.strategies]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class AccountKeys:
    """With which API keys accounts trade, by the keys' short names: an empty file for each, in a folder for each account."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bind(self, account: str, key: str) -> None:
        """Remember for good that an account trades with a key; it is on disk when this returns.

        Raises:
            StorageError: the disk refused.
        """
        path = self.folder / account / key
        if not path.exists():
            write_text(path, "")

    def of(self, account: str) -> tuple[str, ...]:
        """Return the keys of an account; `ANY_KEY` where they can't be seen."""
        try:
            return tuple(sorted(path.name for path in (self.folder / account).iterdir() if not path.name.startswith(".")))
        except FileNotFoundError:
            return ()
        except OSError:
            return (ANY_KEY,)

    def sharing(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return the accounts that trade with one of these keys; nobody where they can't be seen."""
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError:
            return ()
        return tuple(name for name in names if _meets(keys, self.of(name)))

    def forget(self, key: str) -> None:
        """Forget a key that nobody will use again, such as an emulator's that has ended."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"*/{key}"):
                path.unlink(missing_ok=True)


class AccountHolds:
    """The holds of all accounts of one state folder."""

    def __init__(self, folder: Path, keys: AccountKeys | None = None) -> None:
        """Take the folder of the holds, and which keys accounts trade with; without that it lies beside the folder."""
        self.folder = folder
        self.keys = keys or AccountKeys(folder.with_name("account_keys"))

    def place(self, account: str, hold: Hold, at: datetime) -> Hold:
        """Place a hold; it is on disk when this returns, and is returned as it can be read there: its words may be cut.

        The keys that the account trades with are added to it.

        Raises:
            StorageError: the disk refused; nothing is held by it.
        """
        keys = tuple(sorted({*hold.keys, *self.keys.of(account)}))
        hold = hold._replace(by=_plain(hold.by), why=_plain(hold.why), code=_plain(hold.code), keys=keys)
        body = hold._asdict() | {"kind": hold.kind.value, "strategies": list(hold.strategies), "keys": list(keys)}
        stamp = nanoseconds(at)
        with storing(self.folder):
            (self.folder / account).mkdir(parents=True, exist_ok=True)
            while (path := self.folder / account / f"{stamp:020d}.json").exists():
                stamp += 1
        write_text(path, json.dumps(body, ensure_ascii=False) + "\n")
        return hold

    def held(self, account: str) -> bool:
        """Return whether anything holds an account; one look at a folder's entry where nothing does."""
        try:
            with os.scandir(self.folder / account) as entries:
                return any(entry.name.endswith(".json") for entry in entries)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # something may be there, and we are kept from seeing it

    def of(self, account: str) -> tuple[Hold, ...]:
        """Return the holds of an account, oldest first."""
        if not self.held(account):
            return ()
        try:
            paths = sorted((self.folder / account).glob("*.json"))
        except OSError:
            paths = []
        found = tuple(hold for path in paths if (hold := _read(path)) is not None)
        return found or ((_unknown("its folder can't be read"),) if self.held(account) else ())

    def accounts(self) -> tuple[str, ...]:
        """Return the accounts that something holds.

        Raises:
            StorageError: nobody can tell, because the folder can't be read.
        """
        try:
            return tuple(sorted(path.name for path in self.folder.iterdir() if self.held(path.name)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StorageError(
                f"expected to see which accounts are held, found {self.folder} not readable ({error.strerror})"
            ) from error

    def lift(self, account: str, keep: Callable[[Hold], bool] = lambda _hold: False) -> tuple[Hold, ...]:
        """Remove the holds of an account but for those to *keep*; return what was removed. Only the restart procedure calls it.

        Raises:
            StorageError: the disk refused; what is left still holds.
        """
        lifted = []
        with storing(self.folder):
            for path in sorted((self.folder / account).glob("*.json")):
                hold = _read(path)
                if hold is None or keep(hold):
                    continue
                path.unlink(missing_ok=True)
                lifted.append(hold)
            with contextlib.suppress(FileNotFoundError):
                force(self.folder / account)
        return tuple(lifted)

    def keeping(self, account: str, strategies: Collection[str] | None = None) -> tuple[Hold, ...]:
        """Return the holds of an account itself that keep strategies, by their keys, from being started on it, oldest first.

        Where *strategies* is None, nobody knows which they are, and only such holds don't count that may be about others.
        """
        return tuple(hold for hold in self.of(account) if hold.keeps(strategies))

    def beyond(self, account: str, keys: Collection[str]) -> tuple[tuple[str, Hold], ...]:
        """Return the holds of other accounts that reach one which trades with these keys, each with its account."""
        if not keys:
            return ()
        try:
            others = [name for name in self.accounts() if name != account]
        except StorageError as error:
            return ((UNREADABLE, _unknown(str(error))._replace(keys=(ANY_KEY,))),)
        found = ((name, hold) for name in others for hold in self.of(name))
        return tuple((name, hold) for name, hold in found if _meets(keys, (*hold.keys, *self.keys.of(name))))

    def reaches(self, account: str, hold: Hold) -> tuple[str, ...]:
        """Return the other accounts that a hold of an account reaches, as far as they have traded."""
        return tuple(name for name in self.keys.sharing({*hold.keys, *self.keys.of(account)}) if name != account)

    def check_free(self, account: str, strategies: Collection[str], key: str | None = None) -> None:
        """Let strategies, by the keys of them and of what they are made of, pass that nothing keeps from an account.

        Args:
            key: short name of the API key that they would trade with; None where they ask no exchange.

        Raises:
            SafetyRefused: something does; the sentence says what, and how to go on.
        """
        if found := self.keeping(account, strategies):
            raise SafetyRefused(
                f"expected nothing to hold the account {account}, found {'; '.join(map(str, found[:3]))}; nothing was begun: "
                f"peak-trade resume {account} leads through the restart"
            )
        shared = [item for item in self.beyond(account, (key,) if key else ()) if item[1].keeps(strategies)]
        if shared:
            other = shared[0][0]
            raise SafetyRefused(
                f"expected nothing to hold the exchange key {key} with which {account} is to trade, found that the account "
                f"{other}, which trades with it too, is held: {'; '.join(str(hold) for _, hold in shared[:3])}; nothing was "
                f"begun: peak-trade resume {other} leads through the restart"
            )


def _meets(keys: Collection[str], others: Collection[str]) -> bool:
    """Tell whether two sets of keys have one in common, or may have."""
    both = bool(keys) and bool(others)
    return both and (ANY_KEY in keys or ANY_KEY in others or not set(keys).isdisjoint(others))


def _read(path: Path) -> Hold | None:
    """Read a hold; None where it was removed since."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            given = json.loads(file.read(_BYTES_MAX))
        words = [given[name] for name in ("at", "by", "why", "code")]
        names, keys = tuple(given["strategies"]), tuple(given.get("keys", ()))
        if not all(isinstance(word, str) for word in (*words, *names, *keys)):
            return _unknown(f"{path.name} holds no words", _written_ns(path))
        at, by, why, code = words
        parse_moment(at)
        return Hold(at, by, why, HoldKind(given["kind"]), code, names, keys)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return _unknown(f"{path.name} can't be read", _written_ns(path))


def _plain(text: str) -> str:
    """Return text that every file and journal takes, of bounded length: what is said must not keep a hold from being placed."""
    return text.replace("\0", "").encode(errors="replace").decode()[:_WORDS_MAX]


def _written_ns(path: Path) -> int:
    """Return when a file was last written, nanoseconds UTC; 0 where nobody can tell."""
    try:
        return min(max(os.lstat(path).st_mtime_ns, 0), 2**62)  # no date is so early or late that it can't be written
    except OSError:
        return 0


def _unknown(why: str, since_ns: int = 0) -> Hold:
    """Return a hold of which only its existence is known: the account is paused, and nothing is closed on a guess."""
    return Hold(moment_text(since_ns), UNREADABLE, why, HoldKind.PAUSE, UNREADABLE)
