"""Each pause trigger tried on a real session: what it is to notice is made to happen, and what the session does is looked at.

The thresholds are the program's own, but for the loss that an account so small may make in a day.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from peak_trade.engine.records import FILLED, TRIPPED
from peak_trade.model.errors import PeakTradeError
from peak_trade.risk.gate import Mode
from peak_trade.risk.triggers import API_ERROR_RATE, CORE_EXCEPTION, DAILY_LOSS, DATA_GAP, PNL_DIVERGENCE
from peak_trade.runs.drills.bench import (
    HOLDING,
    PAIR_THERE,
    PATIENT_S,
    SPEED,
    BenchSetting,
    DrillBench,
    Steps,
    check_only_reduced,
    first_of,
    sign_of,
)
from peak_trade.runs.drills.emulated_session import emulated_session
from peak_trade.runs.drills.sessions import DrillSession
from peak_trade.runs.drills.steps import expect
from peak_trade.runs.trading.session import Watcher

#: A day's loss that a fall of a tenth makes, quote currency.
LOSS_BENCH: Final = BenchSetting(config={"live_risk": {"max_daily_loss_abs": "5"}})
#: A session that pays the exchange less than its configuration states, on books so small that it shows.
FEES_BENCH: Final = BenchSetting(
    terms=replace(HOLDING, cash=Decimal(200), fraction=Decimal("0.4"), stop_loss=Decimal(0)),
    config={"shadow_paper": {"fee_rate": 0.05}},
)


def _tried(
    bench: DrillBench,
    code: str,
    provoke: Callable[[DrillBench], str],
    *,
    latches: bool = False,
    bought: Callable[[DrillBench], DrillSession] = DrillBench.begin_holding,
) -> Steps:
    """Return the steps of a trigger: the session, what it is to notice, that it does, and what stays of that."""
    mode = Mode.PAUSED if latches else Mode.RESTRICTED
    found: list[DrillSession] = []

    def trade() -> str:
        found.append(bought(bench))
        return f"it has bought, and holds {bench.position:f} by what the exchange says"

    def notice() -> str:
        begun = bench.clock.elapsed_s()
        tripped = bench.tripped(found[0], code, mode.value)
        expect(tripped.body.get("evidence"), "expected the numbers that it saw, found none")
        bench.facts["seconds"] = f"{bench.clock.elapsed_s() - begun:.3f}"
        return f"{mode.value}: {tripped.body['words']}"

    def stays() -> str:
        bench.calm()
        ended = bench.end(found[0])
        tripped = sign_of(found[0].records(), code)
        if tripped is not None:
            check_only_reduced(found[0].records(), tripped)
        held = [hold.code for hold in bench.parts.holds.of(bench.terms.account)]
        if not latches:
            expect(not held, f"expected the account to be free, found it held: {', '.join(held)}")
            return f"{ended}, nothing was enlarged; the account is free"
        expect(held == [code], f"expected the account to be held by {code}, found {held}")
        return f"{ended}; {bench.check_refused('expected nothing to hold the account')}"

    return (
        ("a session holds a position", trade),
        ("what it is to notice happens", lambda: provoke(bench)),
        (f"it is {mode.value}", notice),
        ("nothing is enlarged, and what has to stay stays", stays),
        ("books and exchange agree", bench.check_books),
    )


def daily_loss(bench: DrillBench) -> Steps:
    """The price falls by a tenth: the loss of the day is over its limit."""

    def fall(bench: DrillBench) -> str:
        bench.fault("market.gap", match={"pair": PAIR_THERE}, args={"per_cent": -10.0})
        return "the price fell by 10 %"

    return _tried(bench, DAILY_LOSS[0], fall, latches=True)


def api_errors(bench: DrillBench) -> Steps:
    """The exchange answers what the session asks for in its turn with errors."""

    def refuse(bench: DrillBench) -> str:
        bench.fault("rest.internal_error", mine=True, endpoint="CancelAllOrdersAfter", for_s=PATIENT_S)
        return "the exchange refuses each refresh of the dead-man switch"

    return _tried(bench, API_ERROR_RATE, refuse)


def data_gap(bench: DrillBench) -> Steps:
    """The market falls silent: its stream says nothing, and who asks is told nothing."""

    def silence(bench: DrillBench) -> str:
        bench.fault("ws.silent", for_s=PATIENT_S)
        bench.fault("rest.service_unavailable", endpoint="OHLC", for_s=PATIENT_S)
        return "streams are open and silent, bars can't be asked for"

    return _tried(bench, DATA_GAP, silence)


def divergence(bench: DrillBench) -> Steps:
    """Fees are configured that the exchange does not take, so that the profit is not the one that is expected."""

    def nothing(_bench: DrillBench) -> str:
        return "the configuration states a fee of 5 %, the exchange takes its own"

    def bought(bench: DrillBench) -> DrillSession:
        session = bench.begin()
        session.wait_for("a fill", lambda records: first_of(records, FILLED))
        return session

    return _tried(bench, PNL_DIVERGENCE, nothing, bought=bought)


def exception(bench: DrillBench) -> Steps:
    """What nobody foresaw happens within a session, as soon as it has bought."""
    records: list[tuple[str, Mapping[str, Any]]] = []

    def fail(kind: str, body: Mapping[str, Any]) -> None:
        records.append((kind, body))
        if kind == FILLED and len([one for one, _ in records if one == FILLED]) == 1:
            raise RuntimeError("nobody foresaw this")

    def run() -> str:
        try:
            emulated_session(
                bench.parts.settings, bench.run, replace(bench.terms, minutes=10.0), speed=SPEED, watcher=Watcher(record=fail)
            )
        except (PeakTradeError, RuntimeError) as error:
            return f"it ended as failed: {error}"
        expect(False, "expected the session to end as failed, found that it went on")  # noqa: FBT003 - it always raises
        return ""

    def paused() -> str:
        tripped = next((body for kind, body in records if kind == TRIPPED and body["code"] == CORE_EXCEPTION), None)
        expect(tripped is not None and tripped["mode"] == Mode.PAUSED.value, "expected it to be paused, found no sign of it")
        return f"paused: {tripped['words']}" if tripped else ""

    def held() -> str:
        codes = [hold.code for hold in bench.parts.holds.of(bench.terms.account)]
        expect(codes == [CORE_EXCEPTION], f"expected the account to be held by {CORE_EXCEPTION}, found {codes}")
        return bench.check_refused("expected nothing to hold the account")

    return (("a session fails in its core", run), ("it is paused", paused), ("the account stays held", held))
