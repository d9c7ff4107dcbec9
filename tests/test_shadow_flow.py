"""The whole order flow of a shadow session leaves its trace, and the trace agrees with the figures."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.builders import START_NS, an_instrument, some_bars

from peak_trade.cli.main import main
from peak_trade.compose import DataChoice, Parts
from peak_trade.engine import step as engine_step
from peak_trade.engine.runner import Course
from peak_trade.journal.chain import Record, read
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side
from peak_trade.risk.gate import CODES, Approved, Refused, judge
from peak_trade.runs.sessions import plan as session_plan
from peak_trade.runs.sessions.again import redecide
from peak_trade.runs.sessions.files import EndedSession
from peak_trade.runs.sessions.plan import Paper, SessionRequest
from peak_trade.runs.trading.session import Watcher, run_session
from peak_trade.settings import load_config

#: Limits that never bind.
UNBOUND = {
    "max_order_notional": "1e15",
    "max_symbol_exposure_notional": "1e15",
    "max_total_exposure_notional": "1e15",
    "max_daily_loss_abs": "1e15",
    "max_daily_loss_pct": 100.0,
    "max_order_quantity": "1e15",
    "max_orders_per_day": 100_000,
}
HOUR_NS = 3_600_000_000_000


class Desk:
    """A folder with bars in it and sessions over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def configure(self, **limits: Any) -> None:
        """Set limits; what is not given never binds."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in {**UNBOUND, **limits}.items()]
        (self.folder / "config.toml").write_text("\n".join(["[live_risk]", *lines, ""]))

    def bars(self, symbol: str = "BTC/EUR", keep: Callable[[int], bool] = lambda _row: True, **changes: Any) -> DataChoice:
        """Write a file of bars, without the rows that *keep* leaves out, and return what names it."""
        made = some_bars(**{"count": 600, "gap": 0.001, **changes}, instrument=an_instrument(symbol))
        frame = made.to_polars().with_columns(pl.col("timestamp").dt.epoch("s"))
        path = self.folder / f"{symbol.replace('/', '-')}-{made.timeframe.label}.csv"
        frame.filter(pl.Series([keep(row) for row in range(len(frame))])).write_csv(path)
        return DataChoice(path=path, symbol=symbol, timeframe=made.timeframe.label)

    def run(
        self,
        *data: DataChoice,
        strategies: tuple[str, ...] = ("ma_crossover",),
        speed: float | None = None,
        steps: int | None = None,
        watcher: Watcher | None = None,
        **paper: Any,
    ) -> EndedSession:
        """Run a session that is not registered; terms are those of `Paper`."""
        terms = {
            "start_balance": Decimal(100_000),
            "fee_rate": Decimal("0.002"),
            "maker_fee_rate": Decimal("0.001"),
            "slippage_bps": Decimal(5),
            "position_fraction": Decimal("0.3"),
            "side": Side.LONG,
            **{name: Decimal(value) if isinstance(value, str) else value for name, value in paper.items()},
        }
        quick = {
            "ma_crossover": {"fast_window": 4, "slow_window": 9},
            "macd": {"fast_window": 4, "slow_window": 9, "signal_window": 3},
            "breakout": {},
        }
        request = SessionRequest(
            mode=Stage.SHADOW,
            run_type="shadow_run",
            strategies=tuple((name, quick[name]) for name in strategies),
            data=data,
            paper=Paper(**terms),
            account="paper",
            course=Course(steps=steps),
            speed=speed,
            env_name="test",
            register=False,
        )
        with closing(Parts(load_config(self.folder / "config.toml"))) as parts:
            return run_session(parts, request, watcher or Watcher())


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.chdir(tmp_path)
    made = Desk(tmp_path)
    made.configure()
    return made


def journal(session: EndedSession) -> list[Record]:
    """Return every record of a session."""
    return list(read(Path(session.record["journal"]["path"])))


def of_kind(records: list[Record], *kinds: str) -> Iterator[Record]:
    return (record for record in records if record.kind in kinds)


def plain_orders(session: EndedSession) -> list[dict[str, Any]]:
    """Return the orders and refusals of a session without what names it: the names of the orders."""
    found = of_kind(journal(session), "sending", "refused")
    return [{"kind": record.kind, **record.body["intent"], "client_id": ""} for record in found]


def plain_fills(session: EndedSession) -> list[tuple[Any, ...]]:
    return [(fill.leg, fill.bar_ns, fill.quantity, fill.price, fill.fee, fill.reason) for fill in session.series.fills]


def lives(session: EndedSession) -> dict[str, tuple[str, ...]]:
    """Return the kinds of all records about each order, in their order."""
    found: dict[str, tuple[str, ...]] = {}
    for record in journal(session):
        name = record.body["intent"]["client_id"] if "intent" in record.body else record.body.get("client_id")
        if name:
            found[name] = (*found.get(name, ()), record.kind)
    return found


#: Terms under which every exit comes up, and the kinds of records that end an order.
EXITS = {"side": Side.BOTH, "stop_loss": "0.02", "trailing_stop": "0.03", "take_profit": "0.05"}
ENDS = ("filled", "closed", "rejected", "refused")


# ---- the trace -------------------------------------------------------------------------------------------------------


def test_an_order_is_written_down_before_it_is_sent_and_its_fate_after(desk):
    """`sending` comes before `opened`, that before `filled` or `closed`, for every order, exits and cancels included."""
    session = desk.run(desk.bars(), **EXITS)
    shapes = Counter(life[: 1 + max(life.index(end) for end in ENDS if end in life)] for life in lives(session).values())

    assert set(shapes) == {
        ("sending", "opened", "filled"),
        ("sending", "opened", "cancelling", "closed"),
        ("sending", "opened", "cancelling", "cancel_taken", "closed"),  # another exit had just made it pointless
    }
    metrics = session.record["metrics"]
    assert sum(shapes.values()) == metrics["num_orders"]
    assert shapes["sending", "opened", "filled"] == metrics["num_fills"] == len(session.series.fills)
    assert metrics["num_orders"] == metrics["orders_filled"] + metrics["orders_cancelled"]


def test_an_order_that_ended_is_left_alone(desk):
    """Nothing is asked for about an order whose end is known: a real venue would answer with an error."""
    session = desk.run(desk.bars(), **EXITS)

    assert {life for life in lives(session).values() if life[-1] not in ENDS} == set()


def test_nothing_is_sent_without_the_gates_yes(desk, monkeypatch):
    """Journal and venue hold exactly the orders that the gate approved, and refusals those that it refused."""
    desk.configure(max_orders_per_day=2)
    verdicts: list[Approved | Refused] = []

    def watched(*arguments: Any) -> Approved | Refused:
        verdicts.append(judge(*arguments))
        return verdicts[-1]

    monkeypatch.setattr(engine_step, "judge", watched)
    session = desk.run(desk.bars(), side=Side.BOTH, stop_loss="0.05")
    records = journal(session)
    log = desk.folder / "var" / "venue" / "paper" / f"{session.record['session_id']}.jsonl"
    submitted = [
        line["submitted"]["client_id"] for line in map(json.loads, log.read_text().splitlines()) if "submitted" in line
    ]
    approved = [verdict.intent.client_id for verdict in verdicts if isinstance(verdict, Approved)]
    refused = [verdict.intent.client_id for verdict in verdicts if isinstance(verdict, Refused)]

    assert len(approved) > 10
    assert len(refused) > 0
    assert [record.body["intent"]["client_id"] for record in of_kind(records, "sending")] == approved == submitted
    assert [record.body["intent"]["client_id"] for record in of_kind(records, "refused")] == refused
    assert len({*approved, *refused}) == len(approved) + len(refused)
    assert not {record.body["client_id"] for record in of_kind(records, "opened", "filled", "closed")} & set(refused)


@pytest.mark.parametrize(
    ("limits", "terms", "codes"),
    [
        ({"max_order_notional": "100"}, {}, {"max_order_notional"}),
        ({"max_symbol_exposure_notional": "100"}, {}, {"max_symbol_exposure_notional"}),
        ({"max_total_exposure_notional": "100"}, {}, {"max_total_exposure_notional"}),
        ({"max_order_quantity": "0.5"}, {}, {"max_order_quantity"}),
        ({"max_orders_per_day": 1}, {}, {"repeated_execution"}),
        ({"max_order_notional": "100", "max_order_quantity": "0.5"}, {}, {"max_order_notional", "max_order_quantity"}),
        ({"max_daily_loss_abs": "100"}, {"position_fraction": "1"}, {"paused"}),
        ({"max_daily_loss_pct": 0.5}, {"position_fraction": "1"}, {"paused"}),
    ],
)
def test_refusals_have_their_reasons_and_are_counted(desk, limits, terms, codes):
    """Every reason is in the journal, in the metrics by code, and beside the order in `orders.csv`."""
    desk.configure(**limits)
    session = desk.run(desk.bars(), **terms)
    refused = list(of_kind(journal(session), "refused"))
    counted = Counter(reason["code"] for record in refused for reason in record.body["reasons"])
    rows = list(csv.DictReader((session.folder / "orders.csv").read_text().splitlines()))

    assert set(counted) == codes <= CODES
    assert session.record["blocked_by_code"] == counted
    assert session.record["metrics"]["orders_blocked_risk"] == len(refused) > 0
    assert [row["why"] for row in rows if row["state"] == "refused"] == [
        ", ".join(reason["code"] for reason in record.body["reasons"]) for record in refused
    ]
    assert all(len(reason["words"]) > 20 for record in refused for reason in record.body["reasons"])


def test_a_loss_limit_pauses_and_still_lets_positions_be_left(desk):
    """Once the day's loss is reached nothing is opened any more, the position is left, and an incident says so."""
    desk.configure(max_daily_loss_abs="500")
    session = desk.run(desk.bars(), position_fraction="1")
    records = journal(session)
    pause = next(record for record in records if record.kind == "incident")
    after = [record for record in records if record.seq > pause.seq and record.kind == "filled"]

    assert session.record["mode_at_end"] == "paused"
    assert session.record["incidents"][0]["code"] == "max_daily_loss_abs"
    assert all(Decimal(record.body["quantity"]) < 0 for record in after)
    assert session.record["by_leg"][0]["position"] in ("0", "0.000")
    assert session.record["status"] == "completed"


def test_warnings_let_pass_and_are_counted(desk):
    """With `block_on_violation = false` the limits on size only warn."""
    desk.configure(max_order_notional="100", block_on_violation=False)
    session = desk.run(desk.bars())
    warned = [record for record in of_kind(journal(session), "sending") if record.body["warnings"]]

    assert session.record["warned_by_code"] == {"max_order_notional": len(warned)}
    assert session.record["metrics"]["orders_warned"] == len(warned) > 0
    assert session.record["expected"]["identical"] is True


# ---- several strategies and symbols ----------------------------------------------------------------------------------


def test_attribution_adds_up(desk):
    """Two strategies on two symbols: profit and fees of the four legs are the account's, to the last digit of the books."""
    data = (desk.bars("BTC/EUR"), desk.bars("ETH/EUR", seed=11, level=40.0))
    session = desk.run(*data, strategies=("ma_crossover", "macd"), position_fraction="0.2", stop_loss="0.03")
    legs, record = session.record["by_leg"], session.record
    profit = sum(Decimal(leg["realized_pnl"]) + Decimal(leg["unrealized_pnl"]) - Decimal(leg["fees"]) for leg in legs)
    fills = Counter(fill.leg for fill in session.series.fills)

    assert [leg["leg"] for leg in legs] == ["ma_crossover@BTC/EUR", "macd@BTC/EUR", "ma_crossover@ETH/EUR", "macd@ETH/EUR"]
    assert profit == Decimal(record["exact"]["final_equity"]) - 100_000 != 0
    assert {leg["leg"]: leg["fills"] for leg in legs} == dict(fills)
    assert min(fills.values()) > 5
    for leg in legs:
        mine = [fill for fill in session.series.fills if fill.leg == leg["leg"]]
        assert {fill.symbol for fill in mine} == {leg["symbol"]}
        assert sum(fill.quantity for fill in mine) == Decimal(leg["position"])
        assert sum(fill.fee for fill in mine) == Decimal(leg["fees"])
    assert sum(Decimal(leg["fees"]) for leg in legs) == pytest.approx(Decimal(repr(record["metrics"]["fees_paid"])))


def test_timeframes_are_told_in_the_order_of_time(desk):
    """Hours of one symbol and quarters of another: decisions never go back in time, and none knows a later price."""
    hours = desk.bars("BTC/EUR", count=200)
    quarters = desk.bars("ETH/EUR", count=800, seed=3, timeframe="15m")
    session = desk.run(hours, quarters, position_fraction="0.2")
    records = journal(session)
    decided = [int(record.body["intent"]["decided_ns"]) for record in of_kind(records, "sending")]
    filled = {record.body["client_id"]: int(record.body["at_ns"]) for record in of_kind(records, "filled")}
    steps = {"BTC/EUR": HOUR_NS, "ETH/EUR": HOUR_NS // 4}

    assert decided == sorted(decided)
    assert list(filled.values()) == sorted(filled.values())
    assert {fill.symbol for fill in session.series.fills} == set(steps)
    for record in of_kind(records, "sending"):
        intent = record.body["intent"]
        at_ns = int(intent["decided_ns"])
        assert (at_ns - START_NS) % steps[intent["symbol"]] == 0
        assert filled.get(intent["client_id"], at_ns) == at_ns
    assert session.record["metrics"]["num_bars"] == 1_000


def test_the_order_of_symbols_is_no_matter(desk):
    """The other one first: the same fills of each."""
    data = (desk.bars("BTC/EUR", count=300), desk.bars("ETH/EUR", count=300, seed=3))
    one, two = (desk.run(*order, position_fraction="0.01") for order in (data, data[::-1]))

    assert len(plain_fills(one)) > 20
    assert {fill[0:2] for fill in plain_fills(one)} == {fill[0:2] for fill in plain_fills(two)}


def test_holes_stop_nothing(desk):
    """Bars that are missing, one and many: the session goes on behind them and still trades as the backtest."""
    data = desk.bars(keep=lambda row: row not in (50, 51, 300) and not 400 <= row < 450)
    session = desk.run(data)

    assert session.record["dataset"]["gaps"]["missing_bars"] == 53
    assert session.record["metrics"]["num_bars"] == 547
    assert session.record["ended_by"] == "the end of the data"
    assert session.record["expected"]["identical"] is True


# ---- the expectation -------------------------------------------------------------------------------------------------


def parts_of(session: EndedSession) -> dict[str, float]:
    """Return the parts of the difference that are not zero, after a check that they add up."""
    difference = dict(session.record["expected"]["difference"])
    total = difference.pop("total")
    assert sum(difference.values()) == pytest.approx(total, abs=1e-6)
    assert total == pytest.approx(session.record["metrics"]["final_equity"] - session.record["expected"]["final_equity"])
    return {name: value for name, value in difference.items() if abs(value) > 1e-6}


def test_other_terms_are_expected_too(desk):
    """Fees, slippage and sizing of the session are the expectation's: without limits and delays nothing differs."""
    data = desk.bars()
    for terms in ({"fee_rate": "0.01"}, {"slippage_bps": "50"}, {"maker_fee_rate": "0.3"}, {"position_fraction": "1"}):
        session = desk.run(data, **terms)

        assert (session.record["expected"]["identical"], parts_of(session)) == (True, {})


def test_a_refused_order_is_a_difference_of_signal(desk):
    """A limit so tight that nothing passes: the whole difference is the signal's."""
    desk.configure(max_order_notional="100")
    session = desk.run(desk.bars())
    expected = session.record["expected"]

    assert set(parts_of(session)) == {"signal"}
    assert (expected["identical"], expected["matched"], expected["actual_only"]) == (False, 0, 0)
    assert expected["expected_only"] == expected["num_fills"] > 10


def test_a_short_delay_is_a_difference_of_fill(desk):
    """Orders that arrive within the next bar have another price and so another fee, but no other time."""
    session = desk.run(desk.bars(), latency_ms=1_800_000)

    assert set(parts_of(session)) == {"fill", "fee"}
    assert session.record["expected"]["identical"] is False
    assert session.record["expected"]["matched"] == session.record["expected"]["num_fills"]


def test_a_long_delay_is_a_difference_of_timing(desk):
    """Orders that arrive a bar late are paired with those they answer to, and count as timing."""
    session = desk.run(desk.bars(), latency_ms=3_600_000)
    found = parts_of(session)

    assert {"timing", "fee"} <= set(found) <= {"timing", "fee", "signal"}
    assert session.record["expected"]["matched"] >= 0.8 * session.record["expected"]["num_fills"]


def test_a_share_of_the_volume_fills_in_parts(desk):
    """An order larger than its share is filled over several bars; the parts add up and are paired as one fill."""
    session = desk.run(desk.bars(volume=np.full(600, 100.0)), volume_share="0.5", position_fraction="1")
    records = journal(session)
    by_order: dict[str, list[Decimal]] = {}
    for record in of_kind(records, "filled"):
        by_order.setdefault(record.body["client_id"], []).append(abs(Decimal(record.body["quantity"])))
        assert abs(Decimal(record.body["quantity"])) <= 50
    wanted = {
        record.body["intent"]["client_id"]: abs(Decimal(record.body["intent"]["quantity"]))
        for record in of_kind(records, "sending")
    }

    assert max(map(len, by_order.values())) > 5
    assert all(sum(parts) <= wanted[name] for name, parts in by_order.items())
    # The kernel fills in the same parts.
    assert session.record["expected"]["identical"] is True


# ---- warm-up ---------------------------------------------------------------------------------------------------------


def test_a_start_takes_its_warm_up_from_before(desk):
    """With --start the bars before it are seen, and the first decision is that of the starting bar."""
    data = desk.bars()
    whole = desk.run(data, warmup_candles=300)
    with closing(Parts(load_config(desk.folder / "config.toml"))) as parts:
        start = parts.dataset(data).bars.timestamp[300]
    begun = desk.run(DataChoice(**{**data.to_json(), "path": data.path, "start": _moment(start)}), warmup_candles=120)

    assert begun.record["traded_from"] == whole.record["traded_from"] == moment_text(int(start))
    assert begun.record["dataset"]["first"] == moment_text(int(start) - 120 * HOUR_NS)
    assert (begun.record["metrics"]["num_bars"], whole.record["metrics"]["num_bars"]) == (420, 600)
    assert plain_fills(begun)[2:] == plain_fills(whole)[2:]
    assert min(int(order["decided_ns"]) for order in plain_orders(begun)) > start


def _moment(stamp: int) -> Any:
    from peak_trade.model.clock import moment

    return moment(int(stamp))


def test_without_a_start_the_first_bars_are_the_warm_up(desk):
    """The first 200 bars are seen and not decided on."""
    session = desk.run(desk.bars(), warmup_candles=200)

    assert session.record["traded_from"] == moment_text(START_NS + 200 * HOUR_NS)
    assert session.record["dataset"]["first"] == moment_text(START_NS)
    assert min(int(order["decided_ns"]) for order in plain_orders(session)) > START_NS + 200 * HOUR_NS
    assert session.record["expected"]["identical"] is True


def test_a_start_without_enough_before_keeps_the_whole_warm_up(desk):
    """Where too little comes before --start, the warm-up is completed from the bars behind it: it is never cut short."""
    data = desk.bars()
    first = DataChoice(**{**data.to_json(), "path": data.path, "start": _moment(START_NS + 50 * HOUR_NS)})
    session = desk.run(first, warmup_candles=200)

    assert session.record["traded_from"] == moment_text(START_NS + 200 * HOUR_NS)


def test_steps_count_from_the_first_decision(desk):
    """100 steps after 200 bars of warm-up are 300 bars."""
    session = desk.run(desk.bars(), warmup_candles=200, steps=100)

    assert (session.record["metrics"]["num_bars"], session.record["ended_by"]) == (300, "the number of steps")


@pytest.mark.parametrize("warmup", [600, 601, 5_000])
def test_too_little_data_is_one_sentence(desk, capsys, warmup):
    """No bar left behind the warm-up: refused with exit code 2 before anything is begun."""
    data = desk.bars()
    with pytest.raises(InputError, match="warm-up"):
        desk.run(data, warmup_candles=warmup)
    arguments = ["session", "shadow", "--strategy", "macd", "--data", str(data.path), "--symbol", "BTC/EUR"]

    assert main([*arguments, "--warmup-candles", str(warmup)]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "--warmup-candles" in told
    assert "600" in told
    assert not (desk.folder / "var" / "journal").exists()


def test_one_bar_behind_the_warm_up_is_enough(desk):
    """The limit itself works."""
    session = desk.run(desk.bars(), warmup_candles=599)

    assert (session.record["metrics"]["num_bars"], session.record["status"]) == (600, "completed")


# ---- determinism -----------------------------------------------------------------------------------------------------


def test_two_runs_decide_the_same(desk):
    """The same specification twice: the same orders, fills, equity and specification, to the last digit."""
    desk.configure(max_order_notional="25000")
    data = (desk.bars("BTC/EUR"), desk.bars("ETH/EUR", seed=5))
    one, two = (desk.run(*data, strategies=("ma_crossover", "breakout"), stop_loss="0.02") for _ in range(2))

    assert plain_orders(one) == plain_orders(two)
    assert plain_fills(one) == plain_fills(two)
    for name in ("metrics", "exact", "blocked_by_code", "by_leg", "terms", "limits", "expected", "datasets"):
        assert one.record[name] == two.record[name]


def test_two_runs_have_the_same_hash_of_decisions(desk):
    """The hash tells whether two sessions decided the same, so it does not depend on what a session is called."""
    data = desk.bars()
    one, two = (desk.run(data).record["decisions_sha256"] for _ in range(2))

    assert one == two


@pytest.mark.parametrize("block", [1, 7, 600])
def test_blocks_do_not_change_decisions(desk, monkeypatch, block):
    """However many bars a strategy is asked about at a time, it wants the same."""
    data = desk.bars()
    usual = desk.run(data, strategies=("macd",), stop_loss="0.03")
    monkeypatch.setattr(session_plan, "BLOCK", block)

    assert plain_orders(desk.run(data, strategies=("macd",), stop_loss="0.03")) == plain_orders(usual)


def test_speed_does_not_change_decisions(desk):
    """As fast as can be and a billion times real time are the same session, whatever the machine had to do meanwhile."""
    data = desk.bars()
    fast, timed = desk.run(data), desk.run(data, speed=1e9)

    assert plain_orders(timed) == plain_orders(fast)
    assert plain_fills(timed) == plain_fills(fast)


def test_every_session_decides_the_same_again(desk):
    """A session of two strategies with exits and refusals is decided again from its journal, in time and at once."""
    desk.configure(max_order_notional="25000")
    data = (desk.bars("BTC/EUR", count=300), desk.bars("ETH/EUR", count=300, seed=5))
    for speed in (None, 1e9):
        session = desk.run(*data, strategies=("ma_crossover", "macd"), stop_loss="0.02", speed=speed)
        with closing(Parts(load_config(desk.folder / "config.toml"))) as parts:
            again = redecide(parts, session.record["session_id"])

        assert (again.identical, again.difference) == (True, None)
        assert again.now == session.record["decisions_sha256"]


def test_whoever_watches_is_told_what_the_journal_holds(desk):
    """Records are told as they are written, in their order, to the log and to the page of a running session."""
    told: list[tuple[str, dict[str, Any]]] = []
    session = desk.run(desk.bars(), watcher=Watcher(record=lambda kind, body: told.append((kind, dict(body)))))
    written = [record for record in journal(session) if record.kind not in ("begun", "reconciled", "mark", "ended")]

    assert told == [(record.kind, record.body) for record in written]


# ---- warm-up of the strategies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "enough"), [(195, True), (194, False)])
def test_a_strategy_is_given_its_own_warm_up(desk, count, enough):
    """The longer of what the terms ask for and what the strategy needs; where there is not so much, one sentence says so."""
    if not enough:
        with pytest.raises(InputError, match=r"194 of warm-up, found 194 .* which macd needs with these parameters"):
            desk.run(desk.bars(count=count), strategies=("ma_crossover", "macd"), warmup_candles=20)
        return
    session = desk.run(desk.bars(count=count), strategies=("ma_crossover", "macd"), warmup_candles=20)

    assert session.record["traded_from"] == moment_text(START_NS + 194 * HOUR_NS)
    assert session.record["expected"]["identical"] is True
