"""What must hold for every backtest, whatever the market: accounts that add up, no look-ahead, scale, and refusals."""

from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import an_instrument, flat_bars, random_targets, some_bars, some_terms
from tests.unit.research.reference import exactly

from peak_trade.model.bar import F64, Bars
from peak_trade.model.errors import DataError, StrategyError
from peak_trade.research.backtest import Result, Trade, backtest, run
from peak_trade.research.kernel import INTERPRETED, REASONS, compiled
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.buy_and_hold import BuyAndHold
from peak_trade.strategy.catalogue import catalogue

LEVELS = (-1.0, -0.4, 0.0, 0.3, 0.8, 1.0)

many = settings(max_examples=60, derandomize=True, database=None, deadline=None)
seeds = st.integers(0, 2**32 - 1)


class Given(Strategy):
    """Targets that a test gives."""

    key: ClassVar[str] = "given"
    source: ClassVar[str] = "a test"

    values: Any

    def targets(self, bars: Bars) -> F64:
        return self.values

    def warmup(self) -> int:
        return 1


@st.composite
def terms_of_every_kind(draw: st.DrawFn, **pinned: Any) -> Terms:
    """Draw terms with costs and exits on and off."""
    choices = {
        "fee_bps": st.sampled_from([0.0, 10.0, 250.0]),
        "slippage_bps": st.sampled_from([0.0, 5.0, 120.0]),
        "sizing": st.sampled_from(["fraction=1", "fraction=0.3", "quantity=40", "notional=15000"]),
        "side": st.sampled_from(["long", "short", "both", "both"]),
        "stop_loss": st.sampled_from([0.0, 0.0, 0.02]),
        "take_profit": st.sampled_from([0.0, 0.0, 0.03]),
        "trailing_stop": st.sampled_from([0.0, 0.0, 0.025]),
    }
    return some_terms(**{**{name: draw(choice) for name, choice in choices.items()}, **pinned})


def run_market(seed: int, terms: Terms, *, bars: int = 80, **changes: Any) -> Result:
    """Run random targets on a random market."""
    market = some_bars(bars, seed=seed, noise=0.02, gap=0.005, **changes)
    return run(market, BuyAndHold(), random_targets(bars, seed, LEVELS, stay=0.7), terms, INTERPRETED)


@many
@given(seeds, terms_of_every_kind())
def test_equity_is_cash_plus_position(seed: int, terms: Terms) -> None:
    """At each close the equity is the cash that the fills up to it left, plus the position at that close."""
    result = run_market(seed, terms)
    fills = result.fills
    booked = [fills.bar <= bar for bar in range(len(result.bars))]
    cash = [float(terms.cash) - np.sum((fills.quantity * fills.price + fills.fee)[done]) for done in booked]
    position = [np.sum(fills.quantity[done]) for done in booked]

    assert result.equity == pytest.approx(np.array(cash) + np.array(position) * result.bars.close, rel=1e-9)


@many
@given(seeds, terms_of_every_kind())
def test_costs_add_up(seed: int, terms: Terms) -> None:
    """Each fee is its share of the notional, and together they are the fees of the run and of its trades."""
    result = run_market(seed, terms)
    notional = np.abs(result.fills.quantity) * result.fills.price

    assert result.fills.fee == pytest.approx(notional * terms.fee_bps / 10_000, rel=1e-12)
    assert result.metrics.fees_paid == pytest.approx(np.sum(result.fills.fee), rel=1e-12)
    assert sum(trade.fees for trade in result.trades()) == pytest.approx(result.metrics.fees_paid, rel=1e-9)


@many
@given(seeds, terms_of_every_kind())
def test_every_fill_was_decided_before(seed: int, terms: Terms) -> None:
    """A fill by target follows a target that changed at the close before; an exit follows a position."""
    result = run_market(seed, terms)
    targets = random_targets(80, seed, LEVELS, stay=0.7)
    changed = np.concatenate([[targets[0] != 0.0], targets[1:] != targets[:-1]])
    position = 0.0
    for bar, quantity, reason in zip(result.fills.bar, result.fills.quantity, result.fills.reason, strict=True):
        if REASONS[reason] == "target":
            assert bar > 0
            assert changed[bar - 1]
        else:
            assert position != 0.0
            assert position + quantity == pytest.approx(0.0, abs=1e-9)
        position += quantity


@many
@given(seeds, terms_of_every_kind())
def test_cash_is_never_borrowed_for_a_long(seed: int, terms: Terms) -> None:
    """After a fill that leaves a long position the cash is not below zero, but for a billionth of a lot."""
    result = run_market(seed, terms)
    fills = result.fills
    cash = float(terms.cash) - np.cumsum(fills.quantity * fills.price + fills.fee)
    long = np.cumsum(fills.quantity) > 5e-4

    assert np.all(cash[long] >= -1e-6)


@many
@given(seeds, terms_of_every_kind(), st.integers(-40, 40))
def test_prices_have_no_scale(seed: int, terms: Terms, power: int) -> None:
    """Prices, cash and minimum notional times a power of two give the same quantities and that much equity, bit for bit."""
    times = Decimal(2) ** power
    terms = some_terms(sizing="fraction=0.7", **without_sizing(terms))
    one = run_market(seed, terms, instrument=an_instrument(min_quantity="20", min_notional="1500"))
    bars = scaled(one.bars, 2.0**power, an_instrument(min_quantity="20", min_notional=Decimal(1500) * times))
    other = run(
        bars,
        BuyAndHold(),
        random_targets(80, seed, LEVELS, stay=0.7),
        some_terms(sizing="fraction=0.7", **{**without_sizing(terms), "cash": terms.cash * times}),
        INTERPRETED,
    )

    assert other.fills.quantity.tobytes() == one.fills.quantity.tobytes()
    assert other.fills.bar.tolist() == one.fills.bar.tolist()
    assert other.equity.tobytes() == (one.equity * 2.0**power).tobytes()
    assert other.metrics.sharpe == one.metrics.sharpe


@many
@given(seeds, terms_of_every_kind(), st.integers(-40, 40))
def test_quantities_have_no_scale(seed: int, terms: Terms, power: int) -> None:
    """Lots and minimum quantity times a power of two, prices divided by it, give that many times the quantities."""
    times = Decimal(2) ** power
    terms = some_terms(sizing="fraction=0.7", **without_sizing(terms))
    one = run_market(seed, terms, instrument=an_instrument(min_quantity="20", min_notional="1500"))
    steps = {"lot_step": Decimal("0.001") * times, "min_quantity": 20 * times, "min_notional": "1500"}
    bars = scaled(one.bars, 2.0**-power, an_instrument(**steps))
    other = run(bars, BuyAndHold(), random_targets(80, seed, LEVELS, stay=0.7), terms, INTERPRETED)

    assert other.fills.quantity.tobytes() == (one.fills.quantity * 2.0**power).tobytes()
    assert other.fills.fee.tobytes() == one.fills.fee.tobytes()
    assert other.equity.tobytes() == one.equity.tobytes()


def without_sizing(terms: Terms) -> dict[str, Any]:
    """Return the terms as arguments for `some_terms`, sizing left out."""
    names = ("cash", "fee_bps", "slippage_bps", "side", "stop_loss", "take_profit", "trailing_stop")
    return {name: getattr(terms, name) for name in names}


def scaled(bars: Bars, times: float, instrument: Any) -> Bars:
    """Return the bars with prices multiplied."""
    prices = {name: getattr(bars, name) * times for name in ("open", "high", "low", "close")}
    return some_bars(timestamp=bars.timestamp, instrument=instrument, **prices)


@many
@given(seeds, terms_of_every_kind(), st.integers(2, 79))
def test_the_future_changes_nothing_before_it(seed: int, terms: Terms, cut: int) -> None:
    """A run over the first bars gives the fills and the equity that the longer run has for them."""
    whole = run_market(seed, terms)
    targets = random_targets(80, seed, LEVELS, stay=0.7)
    part = run(whole.bars[:cut], BuyAndHold(), targets[:cut], terms, INTERPRETED)
    before = whole.fills.bar < cut

    assert part.equity.tobytes() == whole.equity[:cut].tobytes()
    for name in ("bar", "quantity", "price", "fee", "reason"):
        assert getattr(part.fills, name).tobytes() == getattr(whole.fills, name)[before].tobytes()


@many
@given(seeds, terms_of_every_kind())
def test_trades_agree_with_metrics(seed: int, terms: Terms) -> None:
    """Number, wins, profits and losses of the closed trades are the metrics'; with the open one they explain the equity."""
    result = run_market(seed, terms)
    trades = result.trades()
    closed = [trade.profit for trade in trades if trade.profit is not None]
    wins = [profit for profit in closed if profit > 0.0]
    losses = -sum(profit for profit in closed if profit <= 0.0)
    metrics = result.metrics

    assert [trade.profit is None for trade in trades[:-1]] == [False] * (len(trades) - 1)
    assert (metrics.num_trades, metrics.num_entries) == (len(closed), len(trades))
    assert metrics.win_rate == (pytest.approx(len(wins) / len(closed)) if closed else None)
    assert metrics.profit_factor == (pytest.approx(sum(wins) / losses, rel=1e-6) if losses > 0.0 else None)
    assert sum(closed) + open_profit(result) == pytest.approx(metrics.final_equity - float(terms.cash), abs=1e-6)


def open_profit(result: Result) -> float:
    """Return the profit so far of the trade that is still open, from the fills since the position was last flat or flipped."""
    position, profit = Decimal(0), Decimal(0)
    half_a_lot = result.bars.instrument.lot_step / 2
    for quantity, price, fee in zip(result.fills.quantity, result.fills.price, result.fills.fee, strict=True):
        bought, paid, costs = exactly(quantity), exactly(price), exactly(fee)
        after = position + bought
        if position * after < 0:
            profit = -after * paid - costs * abs(after / bought)
        else:
            profit = (profit if position else Decimal(0)) - bought * paid - costs
        position = Decimal(0) if abs(after) < half_a_lot else after
    return float(profit + position * exactly(result.bars.close[-1])) if position else 0.0


def test_a_trade_averages_its_fills() -> None:
    """Two purchases and two sales make one trade with average prices, its largest size, all fees and the last reason."""
    bars = flat_bars([100, 100, 120, 130, 110, 110])
    terms = some_terms(sizing="quantity=2", fee_bps=100.0)
    result = run(bars, BuyAndHold(), np.array([0.5, 1, 0.5, 0, 0, 0]), terms, INTERPRETED)

    assert result.trades() == [
        Trade(
            side=1,
            entry_bar=1,
            exit_bar=4,
            quantity=2.0,
            entry_price=110.0,
            exit_price=120.0,
            profit=pytest.approx(20.0 - 4.6),
            fees=pytest.approx(4.6),
            reason="target",
        )
    ]


def test_a_flip_ends_one_trade_and_begins_the_next() -> None:
    """The fee of a flip is shared by quantity: two of its three units close the long, one opens the short."""
    bars = flat_bars([100, 100, 110, 100])
    result = run(bars, BuyAndHold(), np.array([1, -0.5, -0.5, -0.5]), some_terms(sizing="quantity=2", fee_bps=100), INTERPRETED)
    first, second = result.trades()

    assert (first.side, first.exit_bar, first.exit_price, first.quantity) == (1, 2, 110.0, 2.0)
    assert (first.fees, first.profit) == (pytest.approx(2.0 + 2.2), pytest.approx(20.0 - 4.2))
    assert (second.side, second.entry_bar, second.entry_price, second.quantity) == (-1, 2, 110.0, 1.0)
    assert (second.fees, second.exit_bar, second.exit_price, second.profit, second.reason) == (pytest.approx(1.1), *[None] * 4)


def test_a_run_without_fills_has_no_trades() -> None:
    """Targets of zero give an equity that stays at the cash."""
    result = run(some_bars(10), BuyAndHold(), np.zeros(10), some_terms(), INTERPRETED)

    assert result.trades() == []
    assert result.equity.tolist() == [10_000.0] * 10
    assert len(result.sha256()) == 64


@pytest.mark.parametrize("first_open", [100.0, 103.0])
def test_buy_and_hold_earns_the_change_of_the_price(first_open: float) -> None:
    """Without costs and with tiny lots the return is the last close over an open not below the close it was sized from."""
    bars = some_bars(50, gap=0.01, instrument=an_instrument(lot_step="0.0000001"))
    opened = np.array(bars.open)
    opened[1] = bars.close[0] * first_open / 100.0
    bars = some_bars(instrument=bars.instrument, open=opened, high=bars.high, low=bars.low, close=bars.close)
    result = backtest(bars, BuyAndHold(), some_terms(side="long"))

    assert result.metrics.total_return == pytest.approx(bars.close[-1] / opened[1] - 1.0, rel=1e-6)


def test_buying_below_the_deciding_close_leaves_cash() -> None:
    """Sized at a close of 100 and bought at an open of 80, a fifth of the cash stays cash."""
    bars = some_bars(open=[100, 80, 80], high=[100, 80, 160], low=[100, 80, 80], close=[100, 80, 160])
    result = backtest(bars, BuyAndHold(), some_terms())

    assert result.equity.tolist() == [10_000.0, 10_000.0, 2_000.0 + 100 * 160.0]


@pytest.mark.parametrize("key", [key for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade.")])
def test_the_same_run_twice_is_the_same_run(key: str) -> None:
    """The same bars, strategy and terms give the same hash, in either loop; other terms give another."""
    bars = some_bars(600, noise=0.02)
    strategy, terms = catalogue()[key](), some_terms(fee_bps=10.0, stop_loss=0.05)
    hashes = {run(bars, strategy, strategy.targets(bars), terms, loop).sha256() for loop in (INTERPRETED, compiled())}
    again = backtest(bars, strategy, terms).sha256()
    other = backtest(bars, strategy, some_terms(fee_bps=10.5, stop_loss=0.05)).sha256()

    assert hashes == {again}
    assert other != again


@pytest.mark.parametrize("name", ["equity", "bar", "quantity", "price", "fee", "reason"])
def test_the_hash_sees_every_value(name: str) -> None:
    """The last bit of any value of the equity or of a fill changes the hash."""
    result = backtest(some_bars(100), BuyAndHold(), some_terms())
    before = result.sha256()
    column = result.equity if name == "equity" else getattr(result.fills, name)
    column.view(np.uint8)[0] ^= 1

    assert result.sha256() != before


def test_a_run_leaves_its_arguments_alone() -> None:
    """Neither the bars nor the targets are written to, and the equity of a run is its own."""
    bars, targets = some_bars(50), random_targets(50, 3, LEVELS)
    before = (bars.sha256(), targets.tobytes())
    first = run(bars, BuyAndHold(), targets, some_terms(), compiled())
    kept = first.equity.tobytes()
    run(bars, BuyAndHold(), -targets, some_terms(), compiled())

    assert (bars.sha256(), targets.tobytes()) == before
    assert first.equity.tobytes() == kept


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_needs_two_bars(count: int) -> None:
    """With fewer than two bars nothing can be decided and filled."""
    with pytest.raises(DataError, match=f"expected at least 2 bars in the chosen period, found {count}") as refused:
        backtest(some_bars(5)[:count], BuyAndHold(), some_terms())

    assert refused.value.code == "empty"


@pytest.mark.parametrize("values", [np.ones(4), np.ones(6), np.ones((5, 1)), np.float64(1.0), None])
def test_targets_of_another_shape_are_refused(values: Any) -> None:
    """A strategy gives one target for each bar, or a sentence says what it gave."""
    with pytest.raises(StrategyError, match="expected 5 targets from given, one for each bar, found the shape"):
        backtest(some_bars(5), Given(values=values), some_terms())


@pytest.mark.parametrize("loop", [INTERPRETED, compiled()], ids=["interpreted", "compiled"])
@pytest.mark.parametrize("bad", [1.0000001, -1.5, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_targets_outside_the_range_are_refused(bad: float, place: int, loop: Any) -> None:
    """A target above 1, below -1 or not a number is refused with its value and its time, on whichever bar it is."""
    targets = np.zeros(5)
    targets[place] = bad

    with pytest.raises(StrategyError, match=rf"found {bad} at 2024-01-01T0{place}:00:00Z"):
        run(some_bars(5), BuyAndHold(), targets, some_terms(), loop)


def test_targets_that_are_texts_are_refused() -> None:
    """Targets that can't become numbers are refused like any other wrong target."""
    with pytest.raises(StrategyError, match=r"the strategy given failed with ValueError in .*: could not convert string"):
        backtest(some_bars(2), Given(values=["up", "down"]), some_terms())


@pytest.mark.parametrize("values", [[1, 0, 1, 0, 1], (1, 0, 0, 1, 1), np.array([1, 0, 0, 1, 1], dtype=np.int8)])
def test_targets_may_be_any_numbers(values: Any) -> None:
    """Lists and arrays of whole numbers are taken as targets."""
    taken = backtest(some_bars(5), Given(values=values), some_terms())
    same = backtest(some_bars(5), Given(values=np.array(values, dtype=np.float64)), some_terms())

    assert taken.sha256() == same.sha256()
