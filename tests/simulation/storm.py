"""A storm of every fault that the emulated exchange has, over testnet sessions that run through it."""

import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.testnet import Desk

from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.faults import FaultPlace
from peak_trade.model.errors import InputError

#: The one fault after which a session must halt, which is a test of its own.
LEFT_OUT = frozenset({"order.validate_executes"})
#: Errors of Kraken's that our own counters are there to prevent, and the faults that say so without a reason.
LIMITS = frozenset({"EAPI:Rate limit exceeded", "EOrder:Rate limit exceeded"})
LIMIT_FAULTS = frozenset({"limit.rest_counter", "limit.engine_counter"})
#: Exit codes of a session in a storm: done, negative, refused.
DEFINED = frozenset({0, 1, 3})
#: How a session may end in it.
ENDS = frozenset({"completed", "failed", "aborted"})


class Storm:
    """Sets and clears faults at random, and remembers what the exchange's log said."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk, self.chance = desk, random.Random(seed)
        self.set: Counter[str] = Counter()
        self.refused_by_limit = self.limits_struck = 0
        self._heard = 0

    def blow(self) -> None:
        """Set a fault, or now and then clear all of them, then read the log."""
        if self.chance.random() < 0.05:
            self.desk.clear()
        elif name := self._one():
            self.set[name] += 1
        emulator = self.desk.exchange.opened.emulator
        lines = self.desk.exchange.inside(lambda: [line for line in emulator.faults.log if line["number"] > self._heard])
        self._heard = lines[-1]["number"] if lines else self._heard
        self.refused_by_limit += sum(line["what"] == "call" and line.get("error") in LIMITS for line in lines)
        self.limits_struck += sum(line["what"] == "fault" and line["fault"] in LIMIT_FAULTS for line in lines)

    def _one(self) -> str:
        """Set a fault for a time and at a rate, or as far as its kind lets itself be told."""
        name = self.chance.choice(sorted(CATALOGUE.keys() - LEFT_OUT))
        lasts = {
            "for_s": self.chance.uniform(5, 300),
            "rate": self.chance.choice((0.05, 0.3, 1.0)),
            "seed": self.chance.random(),
        }
        for told in (lasts, {"for_s": lasts["for_s"]}, {}):
            try:
                self.desk.fault(name, **({"args": _short(name)} | told))
            except InputError:
                continue
            return name
        return ""


def _short(name: str) -> dict[str, Any]:
    """Return arguments with which a call is held for no longer than a moment of the wall clock."""
    kind = CATALOGUE[name]
    holds = kind.place is FaultPlace.WAIT or name.startswith(("rest.timeout", "order.cancel_lost"))
    return {"seconds": 0.2} if holds and "seconds" in kind.args else {"seconds": 60.0} if name == "auth.lockout" else {}


def weather(desk: Desk, minutes: int, seed: int) -> Storm:
    """Run testnet sessions through a storm until so many minutes of the exchange's clock are over, and check each end."""
    storm = Storm(desk, seed)
    emulator = desk.exchange.opened.emulator
    until_ns = emulator.now() + minutes * 60_000_000_000
    number = 0
    while (left := (until_ns - emulator.now()) / 60_000_000_000) > 2:
        written = _written(desk)
        process = desk.start("--duration", f"{left:.3f}", "--account", f"testnet-storm-{number}", "--stop-loss", "0.05")
        grown = _through(storm, process, written)
        done = desk.end(process)
        assert done.code in DEFINED | {2}, done
        assert "Traceback" not in done.err, done
        assert "internal fault" not in done.err, done
        assert grown < 60, f"a session grew by {grown:.0f} MiB"
        number += done.code == 0
        desk.clear()
    return storm


def _through(storm: Storm, process: "subprocess.Popen[str]", written: int) -> float:
    """Let it storm until the session has ended; return by how much it grew in the second half of what it wrote down, MiB.

    A process that is still importing is no session yet: what it takes for that is not growth.
    """
    seen: list[float] = []

    while process.poll() is None:
        storm.blow()
        if _written(storm.desk) > written and (memory := _resident(process.pid)):
            seen.append(memory)
        _pause(process, storm.chance.uniform(0.05, 0.4))
    later = seen[len(seen) // 2 :]
    return max(later, default=0.0) - (later[0] if later else 0.0)


def _written(desk: Desk) -> int:
    """Return how many bytes the journals of a desk have."""
    return sum(path.stat().st_size for path in desk.journals)


def _pause(process: "subprocess.Popen[str]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _resident(process: int) -> float:
    """Return a process's memory, MiB; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmRSS")), 0.0)


def check_after(desk: Desk, storm: Storm) -> None:
    """Every journal verifies and every session comes out again; no name was used twice, and no limit was run into.

    One that ended before its first bar has decided nothing that could come out again, and says so.
    """
    assert desk.command("journal", "verify").code == 0
    for path in desk.journals:
        again = desk.command("session", "replay", path.stem, "--json")
        if '"kind":"bar"' not in path.read_text():
            assert (again.code, "found none yet" in again.err) == (2, True), (again, path)
            continue
        assert again.code == 0, (again, path)
    sent = Counter(record["body"]["intent"]["client_id"] for record in desk.records("sending", every=True))
    asked = Counter(record["body"]["client_id"] for record in desk.records("validated", every=True))
    assert max(sent.values(), default=1) == max(asked.values(), default=1) == 1
    assert {record["body"]["status"] for record in desk.records("ended", every=True)} <= ENDS
    assert storm.refused_by_limit <= storm.limits_struck
