"""What may be scheduled: a table of commands; for each kind how late and how long a run may be, and what it needs.

A job is a command that a person could type, with the same gates behind it. What opens a gate, lifts a latch or changes who may
do what is not in the table: that is for people.
"""

import difflib
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from peak_trade.model.errors import InputError
from peak_trade.settings import Settings

#: Secrets that a kind of job may need: the key of stage 2, and the addresses of alert channels.
KEYS, CHANNELS = "keys", "channels"


class JobKind(NamedTuple):
    """A kind of job.

    Attributes:
        grace: how long after its time a run may still begin; what is found later is missed.
        longest: how long a run may take unless the file says otherwise.
        trades: whether it begins sessions, which the kill switch and held accounts keep from beginning.
        needs: secrets that its process is given.
    """

    name: str
    grace: timedelta
    longest: timedelta
    trades: bool = False
    needs: tuple[str, ...] = ()


_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
#: Work whose result is as good later: it is caught up with, once, after the machine slept.
_RESEARCH = JobKind("research", grace=_DAY, longest=6 * _HOUR)
_DATA = JobKind("data", grace=_DAY, longest=2 * _HOUR)
_PROOF = JobKind("verification", grace=_DAY, longest=_HOUR)
_BACKUP = JobKind("backup", grace=7 * _DAY, longest=2 * _HOUR)
#: What tells how things are now: an hour later it still does.
_READINESS = JobKind("readiness", grace=_HOUR, longest=30 * _MINUTE, needs=(KEYS,))
_DRILL = JobKind("drill", grace=_HOUR, longest=_HOUR)
_ALERTS = JobKind("alerts", grace=_HOUR, longest=10 * _MINUTE, needs=(CHANNELS,))
#: A session hours after its time is another one than was planned.
_SESSION = JobKind("session", grace=_MINUTE, longest=_DAY, trades=True)
_TESTNET = JobKind("session", grace=_MINUTE, longest=_DAY, trades=True, needs=(KEYS,))

#: Every command that may be scheduled, by its first words.
COMMANDS: dict[tuple[str, ...], JobKind] = {
    ("backtest",): _RESEARCH,
    ("sweep",): _RESEARCH,
    ("strategy", "check"): _RESEARCH,
    ("data", "download"): _DATA,
    ("session", "run"): _SESSION,
    ("testnet", "run"): _TESTNET,
    ("testnet", "orchestrate"): _TESTNET,
    ("readiness",): _READINESS,
    ("smoke",): _READINESS,
    ("drill", "run"): _DRILL,
    ("journal", "verify"): _PROOF,
    ("backup", "verify"): _PROOF,
    ("backup",): _BACKUP,
    ("alert", "send"): _ALERTS,
}
#: Options that the scheduler gives itself, or that would make a job wait for a person.
_OURS = ("--config", "--json", "--help", "--stay")


def kind_of(command: Sequence[str]) -> JobKind:
    """Return the kind of a command.

    Raises:
        InputError: it is none that may be scheduled, or has an option that is the scheduler's to give.
    """
    words = tuple(word for word in command[:2] if not word.startswith("-"))
    kind = COMMANDS.get(words) or COMMANDS.get(words[:1])
    if kind is None:
        given, known = " ".join(words), [" ".join(words) for words in COMMANDS]
        close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"these may be: {', '.join(known)}"
        raise InputError(f"expected a command that may be scheduled, found {given or 'none'}; {hint}")
    for word in command:
        if word.partition("=")[0] in _OURS:
            raise InputError(f"expected a command without {word.partition('=')[0]}, found {' '.join(command)}; leave it out")
    return kind


def secrets_of(kind: JobKind, command: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return the variables of the environment whose secrets a job is given; an emulator makes keys of its own."""
    testnet = settings.file.exchange.kraken_testnet
    keys = (testnet.api_key_env, testnet.api_secret_env) if KEYS in kind.needs and "--emulator" not in command else ()
    return (*keys, *(settings.file.alerts.channels.values() if CHANNELS in kind.needs else ()))


def account_of(command: Sequence[str]) -> str | None:
    """Return the account that a command names with --account; None where it names none."""
    for place, word in enumerate(command):
        if word == "--account" and place + 1 < len(command):
            return command[place + 1]
        if word.startswith("--account="):
            return word.partition("=")[2]
    return None
