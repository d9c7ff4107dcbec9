"""What an exchange does wrong for a while, tried on a real session: away, in maintenance, a poisoned key.

A session that can't see or act opens nothing, and the order that it can't follow is the exchange's to end or to keep.
"""

import signal
from dataclasses import replace

from peak_trade.engine.records import INCIDENT, TRIPPED
from peak_trade.journal.chain import Record
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.kill_level import KillLevel
from peak_trade.risk.gate import Mode
from peak_trade.runs.acts import COMMAND
from peak_trade.runs.drills.bench import BY, PATIENT_S, SPEED, DrillBench, Steps, check_only_reduced, holding
from peak_trade.runs.drills.emulated_session import emulated_session
from peak_trade.runs.drills.sessions import DrillSession
from peak_trade.runs.drills.steps import expect
from peak_trade.runs.safety import kill
from peak_trade.runs.safety.kill_first import StopOrder

#: How far ahead of its last number a key is taken with each call, nanoseconds.
AHEAD_NS = 1_000_000_000


def _blinded(bench: DrillBench, found: list[DrillSession]) -> str:
    """Wait until a session opens nothing any more, for whatever reason it gives; return that.

    Raises:
        CheckFailed: it does not in time, or has sent what enlarges a position since.
    """
    begun = bench.clock.elapsed_s()
    tripped = found[0].wait_for("a sign that it is restricted", _restricted)
    bench.facts["seconds"] = f"{bench.clock.elapsed_s() - begun:.3f}"
    check_only_reduced(found[0].records(), tripped)
    return f"restricted ({tripped.body['code']}): {tripped.body['words']}"


def _restricted(records: list[Record]) -> Record | None:
    return next((one for one in records if one.kind in (TRIPPED, INCIDENT) and one.body["mode"] == Mode.RESTRICTED.value), None)


def _again(bench: DrillBench, found: list[DrillSession]) -> str:
    """Lead a session to its end, and begin another, which works."""
    bench.calm()
    if found[0].process.poll() is None:
        words = bench.end(found[0])
    else:
        # It was told to end while it could not learn how its order ended: the same command does that now, and no more.
        code = bench.begin().end()
        expect(code == 0, f"expected the same command to end what it had begun, found code {code}")
        words = "the same command ended what could not be ended"
    session = bench.begin_again()
    ended = bench.end(session)
    expect(_restricted(session.records()) is None, "expected the one after it to work, found it restricted")
    return f"{words}; the one after it compared its books and worked; {ended}"


def outage(bench: DrillBench) -> Steps:
    """The exchange can't be reached for a while: calls are cut off, streams end and none opens."""
    found: list[DrillSession] = []

    def away() -> str:
        bench.fault("ws.drop_storm", for_s=PATIENT_S)
        bench.fault("rest.reset_before", mine=True, for_s=PATIENT_S)
        return "calls of the session are cut off, streams end and none opens"

    return (
        holding(bench, found),
        ("the exchange is away", away),
        ("it opens nothing", lambda: _blinded(bench, found)),
        ("the exchange is back: a restart leads out", lambda: _again(bench, found)),
        ("books and exchange agree", bench.check_books),
    )


def maintenance(bench: DrillBench) -> Steps:
    """Maintenance begins while a session works: it opens nothing, and none begins."""
    found: list[DrillSession] = []

    def close_down() -> str:
        bench.fault("market.maintenance", for_s=PATIENT_S)
        for endpoint in ("AddOrder", "CancelOrder", "CancelAll", "CancelAllOrdersAfter"):
            bench.fault("rest.service_unavailable", mine=True, endpoint=endpoint, for_s=PATIENT_S)
        return "neither placing nor cancelling works"

    def none_begins() -> str:
        found[0].tell(signal.SIGTERM)
        code, sent = found[0].end(), len(bench.shown().fills)
        try:
            emulated_session(bench.parts.settings, bench.run, replace(bench.terms, minutes=1.0), speed=SPEED)
        except PeakTradeError as error:
            words = f"one that is begun is refused: {error}"
        else:
            words = "one that is begun sends nothing"
        now = len(bench.shown().fills)
        expect(now == sent, f"expected no fill in maintenance, found {now - sent}")
        return f"the first ended with code {code}; {words}"

    return (
        holding(bench, found),
        ("maintenance begins", close_down),
        ("it opens nothing", lambda: _blinded(bench, found)),
        ("it ends, and none trades", none_begins),
        ("maintenance is over: a restart leads out", lambda: _again(bench, found)),
        ("books and exchange agree", bench.check_books),
    )


def poisoned_nonce(bench: DrillBench) -> Steps:
    """Another program takes the key's numbers far ahead: the session opens nothing, and the kill switch gets through."""
    found: list[DrillSession] = []

    def poison() -> str:
        bench.fault("auth.invalid_nonce_storm", mine=True, args={"ahead": AHEAD_NS}, for_s=PATIENT_S)
        return "the exchange sees ever greater numbers of this key from elsewhere, and refuses ours"

    def stop() -> str:
        bench.calm()
        level = KillLevel.CANCEL_ALL
        order = StopOrder(action="kill", by=BY, why="a drill", via=COMMAND, level=level, began_s=bench.clock.elapsed_s())
        report = kill.stop_everything(bench.parts, order, lambda _elapsed_s, _words: None)
        if (failure := report.failure()) is not None:
            raise failure
        expect(not bench.working(), "expected no working order, found one")
        bench.facts["kill_s"] = f"{report.took_s:.3f}"
        return f"{report.took_s:.2f} s, with the same key: it went ahead of the numbers"

    def ends() -> str:
        found[0].tell(signal.SIGTERM)
        code = found[0].end()
        expect(code in (0, 1), f"expected it to end by itself, found code {code}")
        kill.release(bench.parts, BY, "the drill is over")
        return f"code {code}: {found[0].words}"

    return (
        holding(bench, found),
        ("its key is poisoned", poison),
        ("it opens nothing", lambda: _blinded(bench, found)),
        ("the other has ended: the kill switch gets through", stop),
        ("it ends", ends),
        ("books and exchange agree", bench.check_books),
    )
