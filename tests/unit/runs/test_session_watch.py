"""What watches a session: thresholds from the configuration, calls of an exchange, and its clock at speed."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from tests.builders import START_NS, some_bars

from peak_trade.compose import DataChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side
from peak_trade.risk.gate import Mode
from peak_trade.risk.triggers import CORE_EXCEPTION
from peak_trade.runs.drills.emulated_session import EmulatedTerms
from peak_trade.runs.incidents import flush_reports, tracked
from peak_trade.runs.safety.liquidation import _hold_all
from peak_trade.runs.sessions.expectation import expectation, expected_profit
from peak_trade.runs.sessions.plan import Paper, SessionRequest, plan_session
from peak_trade.runs.trading.session import Watcher, run_session
from peak_trade.runs.trading.watch import HoldWatch, SessionWatch, thresholds_of
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import PauseTriggers, load_config
from peak_trade.strategy.catalogue import make
from peak_trade.venue.kraken.classes import class_of
from peak_trade.venue.kraken.gateway import ObservedCall

NS = 1_000_000_000


class Hands:
    """A machine's clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def elapsed_s(self) -> float:
        return self.s


@pytest.fixture
def parts(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[live_risk]\nsymbols = ['BTC/EUR', 'ETH/EUR']\n[pause_triggers]\ndata_gap_s = 120\napi_errors_min = 2\n")
    with closing(Parts(load_config(config), exchange_speed=60.0)) as made:
        made.clock = Hands()
        yield made


def a_session(parts: Parts, folder, *symbols: str):
    """Return the plan of a session of two strategies over made-up bars."""
    data = []
    for number, symbol in enumerate(symbols):
        path = folder / f"{symbol.replace('/', '-')}.parquet"
        bars = some_bars(300, seed=number, timeframe="1m", instrument=parts.instrument(symbol))
        bars.to_polars().write_parquet(path)
        data.append(DataChoice(path=path, symbol=symbol, timeframe="1m"))
    paper = Paper(
        start_balance=Decimal(10_000),
        fee_rate=Decimal("0.002"),
        maker_fee_rate=Decimal("0.001"),
        slippage_bps=Decimal(5),
        position_fraction=Decimal("0.2"),
        side=Side.LONG,
    )
    strategies = (("ma_crossover", {"fast_window": 3, "slow_window": 8}), ("breakout", {}))
    request = SessionRequest(
        mode=Stage.SHADOW,
        run_type="live_session_shadow",
        strategies=strategies[: len(symbols)],
        data=tuple(data),
        paper=paper,
        account="paper",
        course=Course(),
        speed=None,
        env_name="test",
    )
    return plan_session(parts, request)


def a_watch(parts: Parts, plan, **changes: object) -> SessionWatch:
    """Return the watch of a session whose plan is as given, but for these."""
    told = SimpleNamespace(datasets=plan.datasets, first=plan.first, followed=True, **changes)
    account = HoldWatch(parts, plan, "paper", "s", rehearsal=False)
    return SessionWatch(parts, told, account, lambda _words: None)


def test_the_configuration_gives_the_thresholds(parts):
    """Exact, and in nanoseconds; the defaults are the design's."""
    given = thresholds_of(parts.settings.file.pause_triggers)

    assert (given.data_gap_ns, given.api_errors_min) == (120 * NS, 2)
    assert thresholds_of(PauseTriggers(api_error_pct=0.1)).api_error_pct == Decimal("0.1")
    assert thresholds_of(PauseTriggers()).data_gap_ns == thresholds_of(PauseTriggers()).api_error_window_ns == 300 * NS


def test_calls_of_the_exchange_age_at_its_speed(parts, tmp_path):
    """Five of its minutes are five seconds here, at sixty times the speed; whoever watches no more hears nothing."""
    watch = a_watch(parts, a_session(parts, tmp_path, "BTC/EUR"))
    for number in range(10):
        parts.call_seen(ObservedCall("OHLC", 0.1, "ok" if number < 8 else "unknown", ""))
    assert watch.api_errors().code == "api_error_rate"
    parts.clock.s = 4.999
    assert watch.api_errors() is not None
    parts.clock.s = 5.0
    assert watch.api_errors() is None

    watch.close()
    for _ in range(20):
        parts.call_seen(ObservedCall("OHLC", 0.1, "unknown", ""))
    assert watch.api_errors() is None


@pytest.mark.parametrize(
    ("words", "fires"),
    [
        ("EOrder:Insufficient funds", False),
        ("EOrder:Invalid price", False),
        ("EOrder:Tick size check failed", False),
        ("EOrder:Order minimum not met", False),
        ("EOrder:Unknown order", False),
        ("EOrder:Invalid order", True),
        ("EOrder:Rate limit exceeded", True),
        ("EService:Unavailable", True),
        ("EService:Market in cancel_only mode", True),
        ("EGeneral:Invalid arguments", True),
        ("EGeneral:Permission denied", True),
        ("EAPI:Invalid nonce", True),
        ("EAPI:Invalid key", True),
        ("ETrade:User Locked", True),
        ("EOrder:Something not in any list", True),
    ],
)
def test_an_order_that_the_exchange_refuses_is_no_error_of_its_api(parts, tmp_path, words, fires):
    """It is an answer with a reason, and counts among the requests; at the limit one real error more makes the difference."""
    watch, found = a_watch(parts, a_session(parts, tmp_path, "BTC/EUR")), class_of(words)
    for number in range(10):
        refused = number % 5 == 0
        parts.call_seen(
            ObservedCall("AddOrder", 0.1, found.verdict.name.lower() if refused else "ok", found.code if refused else "")
        )
    assert (watch.api_errors() is not None) == fires
    for _ in range(2):
        parts.call_seen(ObservedCall("Balance", 0.1, "unknown", "no_answer"))
    assert watch.api_errors().evidence[:2] == (("errors", "4" if fires else "2"), ("requests", "12"))


def test_silence_is_measured_by_the_exchanges_clock(parts, tmp_path):
    """A bar of a minute and two more minutes, three seconds here; setting the machine's clock changes nothing."""
    plan = a_session(parts, tmp_path, "BTC/EUR")
    told = {"BTC/EUR": -1}
    silence = a_watch(parts, plan).silence(SimpleNamespace(now_ns=lambda: START_NS, heard=lambda: told))

    parts.clock.s = 2.999
    assert silence() is None
    parts.clock.s = 3.0
    assert silence().code == "data_gap"
    told["BTC/EUR"] = START_NS + 60 * NS
    assert silence() is None


@pytest.mark.parametrize("symbols", [("BTC/EUR",), ("BTC/EUR", "ETH/EUR")])
def test_the_expected_profit_is_the_reports(parts, tmp_path, symbols):
    """At every length, of one strategy and of several; too few bars have none."""
    plan = a_session(parts, tmp_path, *symbols)
    assert expected_profit(parts, plan, 1) is None
    standing = SimpleNamespace(equity=Decimal(0), prices={})
    profits = set()
    for bars in (2, 120, 300):
        wanted, _ = expectation(parts, plan, standing, bars, ())
        # Of several symbols the report counts the bars of the first one; the others' come after it at each moment.
        count = bars if len(symbols) == 1 else 2 * bars - 1
        profit = expected_profit(parts, plan, count)
        assert float(profit) == pytest.approx(wanted["final_equity"] - 10_000, abs=1e-6)
        profits.add(profit)
    assert len(profits) == 3


# ---- what outlives a session ---------------------------------------------------------------------------------------


def test_what_holds_an_account_opens_an_incident(parts, tmp_path):
    """One for as often as it comes, written by another thread; a rehearsal does neither."""
    plan = a_session(parts, tmp_path, "BTC/EUR")
    HoldWatch(parts, plan, "paper", "r", rehearsal=True).latch(CORE_EXCEPTION, "it broke")
    held = HoldWatch(parts, plan, "paper", "s", rehearsal=False)
    for code in ("data_gap", CORE_EXCEPTION, CORE_EXCEPTION):
        held.latch(code, "it broke\n\x1b[2J")
    assert flush_reports(parts)
    [hold] = parts.holds.of("paper")
    [incident] = tracked(parts).values()
    assert (hold.code, incident.key) == (CORE_EXCEPTION, f"{CORE_EXCEPTION}.paper")
    assert (incident.session_id, incident.severity.value, incident.why) == ("s", "high", "it broke  [2J")


def test_what_a_disk_refuses_to_hold_is_raised_and_opens_nothing(parts, tmp_path):
    plan = a_session(parts, tmp_path, "BTC/EUR")
    parts.holds.folder.parent.mkdir(parents=True, exist_ok=True)
    parts.holds.folder.write_text("no folder")
    with pytest.raises(StorageError):
        HoldWatch(parts, plan, "paper", "s", rehearsal=False).latch(CORE_EXCEPTION, "it broke")
    assert flush_reports(parts)
    assert tracked(parts) == {}


def test_a_strategy_is_closed_with_what_is_made_of_it(parts, tmp_path):
    plan = a_session(parts, tmp_path, "BTC/EUR")
    leg = plan.legs[0]
    mixed = SimpleNamespace(legs=(replace(leg, name="composite", strategy=make("composite", {})), leg))
    for key, names in (("rsi_reversion", ("composite",)), ("ma_crossover", ("composite", leg.name)), ("macd", None)):
        watch = HoldWatch(parts, mixed, key, "s", rehearsal=False)
        now = parts.clock.now()
        parts.holds.place(key, Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.CLOSE, "rollback", (key,)), now)
        assert [demand.legs for demand in watch.demands()] == ([] if names is None else [names])


def test_a_session_heeds_what_holds_its_key(parts, tmp_path):
    """Once, in words that name whose hold it is; what pauses this one names the key for others."""
    plan, now = a_session(parts, tmp_path, "BTC/EUR"), parts.clock.now()
    watch = HoldWatch(parts, plan, "mine", "s", rehearsal=False, key="a1")
    keyless = HoldWatch(parts, plan, "mine", "s", rehearsal=False)
    hold = Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.PAUSE, "asked", keys=("a1",))
    parts.holds.place("theirs", hold, now)
    [demand] = watch.demands()
    assert (demand.mode, demand.words.partition(" is held")[0]) == (
        Mode.PAUSED,
        "the account theirs, which trades with the same exchange key,",
    )
    assert [*watch.demands(), *keyless.demands()] == []
    watch.latch(CORE_EXCEPTION, "it broke")
    assert flush_reports(parts)
    assert [(found.code, found.keys) for found in parts.holds.of("mine")] == [(CORE_EXCEPTION, ("a1",))]


def test_no_session_begins_with_a_key_that_is_held(tmp_path, monkeypatch):
    """Whatever its account is called, before its exchange is asked for anything, and the key shows in no file."""
    config = tmp_path / "config.toml"
    config.write_text(
        "[exchange.kraken_testnet]\nenabled = true\nbase_url = 'http://127.0.0.1:9'\n"
        "[testnet_limits.symbols.'BTC/EUR']\nmax_exposure_notional = 100\nmax_order_notional = 50\n"
    )
    monkeypatch.setenv("KRAKEN_TESTNET_API_KEY", "our-key")
    monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", "c2VjcmV0")
    with closing(Parts(load_config(config))) as parts:
        key = parts.api_keys().short
        _hold_all(parts, "kim", "everything off", [], [])
        request = EmulatedTerms(account="another").request(parts.settings)
        with pytest.raises(SafetyRefused, match=rf"hold the exchange key {key} with which another is to trade, .* main"):
            run_session(parts, request, Watcher())
        assert not (parts.journal / "another").exists()
        parts.holds.lift("main")
        parts.holds.check_free("another", [], key)
        secrets = [path for path in parts.state.rglob("*") if path.is_file() and b"our-key" in path.read_bytes()]
    assert secrets == []
