"""What befalls a session's machine, tried on a real one: it is killed, its disk is full, nobody watches it."""

import resource
import signal
import subprocess
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from peak_trade.engine.records import SENDING
from peak_trade.journal.chain import Record
from peak_trade.risk.gate import Mode
from peak_trade.runs.drills.bench import BenchSetting, DrillBench, Steps, check_only_reduced, holding
from peak_trade.runs.drills.sessions import DrillSession
from peak_trade.runs.drills.steps import expect
from peak_trade.runs.supervisor_sign import supervisor_trouble

#: A supervisor that has to be there, and notices within seconds.
WATCHED_BENCH: Final = BenchSetting(
    config={"supervisor": {"required": True, "interval_s": 0.2, "sign_s": 0.2, "sign_stale_s": 5.0, "restart_s": 0.0}}
)


def _goes_on(bench: DrillBench, found: list[DrillSession]) -> Callable[[], str]:
    """Return the step that begins a session once more: it finds its order and its position, and sends nothing twice."""

    def again() -> str:
        session = bench.begin_again()
        found.append(session)
        bench.until("its stop at the exchange", lambda: bench.working() or None, session)
        ended = bench.end(session)
        first = session.records()[0].body
        expect(first.get("continues"), "expected a session that goes on, found one that began anew")
        sent = [record.body["intent"] for one in found for record in one.records() if record.kind == SENDING]
        bought = [intent for intent in sent if Decimal(intent["quantity"]) > 0]
        expect(len(bought) == 1, f"expected one order that enlarges, found {len(bought)}")
        return f"it went on with {first['continues']}, and ordered nothing twice; {ended}"

    return again


def restarted(bench: DrillBench) -> Steps:
    """A session is killed with an order at the exchange, and begun again."""
    found: list[DrillSession] = []

    def die() -> str:
        found[0].tell(signal.SIGKILL)
        code = found[0].end()
        expect(len(bench.working()) == 1, "expected its order to work still, found none")
        return f"it ended with code {code}; its order works still"

    return (
        holding(bench, found),
        ("kill -9", die),
        ("begun again, it goes on", _goes_on(bench, found)),
        ("books and exchange agree", bench.check_books),
    )


def full_disk(bench: DrillBench) -> Steps:
    """The disk takes no byte of a session any more: it ends, sends nothing that it could not write down, and goes on later."""
    found: list[DrillSession] = []

    def fill() -> str:
        # What a file may grow to, of that process alone: what lies there stays, and every further byte is refused.
        resource.prlimit(found[0].process.pid, resource.RLIMIT_FSIZE, (0, 0))
        return "no file of the session may grow"

    def ends() -> str:
        before = len(found[0].records())
        begun = bench.clock.elapsed_s()
        code = found[0].end()
        bench.facts["seconds"] = f"{bench.clock.elapsed_s() - begun:.3f}"
        expect(code == 1, f"expected it to end with exit code 1, found {code}")
        expect(len(found[0].records()) <= before + 1, "expected it to write nothing any more, found that it did")
        return "it ended with exit code 1; its words had no place either"

    return (
        holding(bench, found),
        ("the disk is full", fill),
        ("it ends, and writes nothing more", ends),
        ("with space again, it goes on", _goes_on(bench, found)),
        ("books and exchange agree", bench.check_books),
    )


def supervised(bench: DrillBench) -> Steps:
    """A session that hangs is noticed by its supervisor, and a supervisor that died by its session."""
    found: list[DrillSession] = []
    watching: list[subprocess.Popen[bytes]] = []
    held: list[Record] = []
    account = bench.terms.account

    def begin() -> str:
        watching.append(_supervisor(bench))
        bench.until("a supervisor's sign", lambda: True if supervisor_trouble(bench.parts) is None else None)
        found.append(bench.begin_holding())
        return f"both are at work; it holds {bench.position:f}"

    def hang() -> str:
        begun = bench.clock.elapsed_s()
        found[0].tell(signal.SIGSTOP)
        bench.until("a hold on the account", lambda: bench.parts.holds.of(account) or None)
        bench.facts["held_s"] = f"{bench.clock.elapsed_s() - begun:.3f}"
        found[0].tell(signal.SIGCONT)
        tripped = bench.tripped(found[0], "hold", Mode.RESTRICTED.value)
        held.append(tripped)
        return f"held after {bench.facts['held_s']} s; gone on, it heeds that: {tripped.body['words']}"

    def unwatched() -> str:
        begun = bench.clock.elapsed_s()
        watching[0].kill()
        watching[0].wait()
        tripped = bench.tripped(found[0], "supervisor_lost", Mode.RESTRICTED.value)
        bench.facts["lost_s"] = f"{bench.clock.elapsed_s() - begun:.3f}"
        return f"noticed after {bench.facts['lost_s']} s: {tripped.body['words']}"

    def ends() -> str:
        ended = bench.end(found[0])
        check_only_reduced(found[0].records(), held[0])
        return ended

    return (
        ("a session and its supervisor", begin),
        ("the session hangs", hang),
        ("the supervisor dies", unwatched),
        ("it ends", ends),
        ("books and exchange agree", bench.check_books),
    )


def _supervisor(bench: DrillBench) -> "subprocess.Popen[bytes]":
    """Start a supervisor over the bench; it ends with it."""
    words = ["supervisor", "run", "--config", str(bench.folder / "config.toml")]
    return bench.start(words)
