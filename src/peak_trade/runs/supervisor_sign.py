"""The supervisor's sign: a small file that it writes every few seconds, and that sessions look at.

    trouble = supervisor_trouble(parts)     # None: it is at work, or none is required; else why not, in words

Invariant: the file is whole or not there; what can't be read, is of another boot or of the future counts as no sign.
Invariant: its age is told by the clock that runs from the machine's start, so that a wall clock that is set hides nothing.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from enum import Enum, unique
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.safety.watch import Alarm, Stand, Watch

#: How the file is called in the state folder.
SIGN = "supervisor.json"
#: What was seen last, for people and for the supervisor after this one, beside the sign.
SEEN = "supervisor.seen.json"
#: So far a sign may lie in the future: two readings of the clocks are not made at once.
AHEAD_S = 1.0
_BYTES_MAX = 4_096
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@unique
class Duty(Enum):
    """What a supervisor says of itself: it is at work, or it was stopped on purpose."""

    AT_WORK = "at work"
    STOPPED = "stopped"


class Uptime(NamedTuple):
    """Which start of the machine this is, empty where it does not tell, and seconds since then, also while it slept."""

    boot: str
    seconds: float


class Sign(NamedTuple):
    """What the file says: when (ISO 8601, UTC, and by the machine's uptime), by which process, and since when that runs."""

    at: str
    uptime: Uptime
    process: int
    host: str
    process_began: str
    duty: Duty


def machine_uptime() -> Uptime:
    """Return which start of the machine this is, and how long it is ago."""
    try:
        boot = _BOOT_ID.read_text("ascii").strip()
    except OSError:
        boot = ""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return Uptime(boot, time.monotonic() if clock is None else time.clock_gettime(clock))


def sign_path(parts: Parts) -> Path:
    """Return where the sign lies."""
    return parts.state / SIGN


def write_sign(parts: Parts, began: str, duty: Duty, uptime: Uptime) -> None:
    """Write the sign; the caller is the only supervisor of the state folder.

    Raises:
        OSError: the disk refused; the sign before stays, and grows old.
    """
    body = {
        "at": moment_text(nanoseconds(parts.clock.now())),
        "boot": uptime.boot,
        "uptime_s": round(uptime.seconds, 3),
        "process": os.getpid(),
        "host": platform.node(),
        "process_began": began,
        "duty": duty.value,
    }
    put_in_place(sign_path(parts), body)


def put_in_place(path: Path, body: dict[str, Any]) -> None:
    """Write a JSON object whole or not at all, and soon: not forced to disk.

    After a power cut it would be of another boot anyway, and a slow disk must not make it late.

    Raises:
        OSError: the disk refused; what was there before stays.
    """
    draft = path.with_name(f".{path.name}.draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.write_text(json.dumps(body, ensure_ascii=False) + "\n", "utf-8")
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def read_sign(parts: Parts) -> Sign:
    """Return the sign.

    Raises:
        FileNotFoundError: there is none.
        OSError, ValueError: it can't be read.
    """
    # Whatever stands there, a pipe even, must not keep a session waiting.
    with os.fdopen(os.open(sign_path(parts), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        content = file.read(_BYTES_MAX)
    try:
        given = json.loads(content or b"")
        words = [given[name] for name in ("at", "boot", "host", "process_began")]
        numbers = (float(given["uptime_s"]), int(given["process"]))
        if not all(isinstance(word, str) for word in words):
            raise ValueError("no words")
        parse_moment(given["at"])
        at, boot, host, began = words
        return Sign(at, Uptime(boot, numbers[0]), numbers[1], host, began, Duty(given["duty"]))
    except (KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError("it holds no words") from error


def supervisor_trouble(parts: Parts, uptime: Callable[[], Uptime] = machine_uptime) -> str | None:
    """Return why a session may not rely on a supervisor, None where it may or where none is required; neither waits nor raises.

    One read of a small file, where one is required; else nothing.
    """
    if not parts.settings.file.supervisor.required:
        return None
    return sign_trouble(parts, uptime)


def sign_trouble(parts: Parts, uptime: Callable[[], Uptime] = machine_uptime) -> str | None:
    """Return why the sign is none, None where it is fresh; whether one is required or not."""
    section = parts.settings.file.supervisor
    try:
        sign = read_sign(parts)
        found = _trouble(sign, uptime(), (parts.clock.now() - parse_moment(sign.at)).total_seconds(), section.sign_stale_s)
    except FileNotFoundError:
        found = "no supervisor has ever run on this state folder"
    except (OSError, ValueError, PeakTradeError) as error:
        found = f"the supervisor's sign can't be read ({getattr(error, 'strerror', None) or error})"
    return None if found is None else f"{found}: peak-trade supervisor run"


def _trouble(sign: Sign, now: Uptime, wall_age_s: float, stale_s: float) -> str | None:
    """Return what is wrong with a sign that could be read."""
    age_s = now.seconds - sign.uptime.seconds
    if sign.duty is Duty.STOPPED:
        return f"the supervisor was stopped on purpose at {sign.at}"
    if sign.uptime.boot != now.boot:
        return f"the supervisor's sign of {sign.at} is from before the machine was started"
    if age_s < -AHEAD_S or wall_age_s < -stale_s:
        return f"the supervisor's sign of {sign.at} is from the future"
    if not age_s < stale_s:  # what is no number is no sign either
        return f"the supervisor, process {sign.process}, has shown nothing for {age_s:.0f} s"
    # Where the machine does not tell its boots apart, only the wall clock can.
    if not now.boot and wall_age_s >= stale_s:
        return f"the supervisor, process {sign.process}, has shown nothing since {sign.at}"
    return None


def seen_path(parts: Parts) -> Path:
    """Return where lies what a supervisor saw last."""
    return parts.state / SEEN


def alarms_seen(parts: Parts) -> Iterator[tuple[str, Stand]]:
    """Yield the conditions that a supervisor saw last, by name, so that they are told once, and their end too."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        for told in json.loads(seen_path(parts).read_bytes())["alarms"]:
            names = {name: told[name] for name in Alarm._fields}
            alarm = Alarm(**names | {"watch": Watch(told["watch"]), "accounts": tuple(told["accounts"])})
            yield alarm.key, Stand(alarm, float(told["stood_s"]), 0.0)
