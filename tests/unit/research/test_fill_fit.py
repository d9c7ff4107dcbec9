"""The fill model: its law, its fit on made orders whose answer is known, and the shipped numbers from the recordings."""

import json
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.paths import MARKET_DATA, needs_market_data

from peak_trade.cli.main import main
from peak_trade.market.books import looks, read_book, walked
from peak_trade.market.trades import RawTrades
from peak_trade.model.errors import DataError, InputError
from peak_trade.model.fill_model import RANGE_PER_SIGMA, SHIPPED, FillModel, impact_of
from peak_trade.research import kernel
from peak_trade.research.fill_fit import OrderCosts, bars_of, fit_fills, fitted, followed_costs
from peak_trade.venue.matching import SLIPPAGE_MAX

SECOND = 1_000_000_000
sizes = st.floats(0.0, 1e9)
volumes = st.floats(1e-6, 1e9)
ranges = st.floats(1.0, 2.0)


@given(sizes, sizes, volumes, ranges, ranges)
def test_larger_and_wilder_never_costs_less(one, other, volume, narrow, wide):
    """The cost rises with size and range, is half the spread at no size, and never less than that."""
    small, large = sorted((one, other))
    calm, wild = sorted((narrow, wide))

    assert SHIPPED.slippage_bps(0.0, volume, wild, 1.0) == SHIPPED.half_spread_bps
    assert SHIPPED.half_spread_bps <= SHIPPED.slippage_bps(small, volume, calm, 1.0)
    assert SHIPPED.slippage_bps(small, volume, calm, 1.0) <= SHIPPED.slippage_bps(large, volume, calm, 1.0)
    assert SHIPPED.slippage_bps(small, volume, calm, 1.0) <= SHIPPED.slippage_bps(small, volume, wild, 1.0)


@given(sizes, volumes, ranges, st.floats(0.0, 10.0))
def test_the_kernel_pays_by_the_same_law(size, volume, high, impact):
    """The kernel's own copy of the law gives the model's price, and its constants are the others'."""
    rules = kernel.Rules(1.0, 0.0, 0.001, 0, 1.0, 1, 1, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    scarcity = kernel.Scarcity(0.0, impact)
    lost = 0.001 + impact_of(impact, size, volume, high, 1.0)

    assert kernel.slipped(100.0, 1.0, size, (1.0, high, 1.0, volume), rules, scarcity) == 100.0 * (1.0 + lost)
    sold = kernel.slipped(100.0, -1.0, size, (1.0, high, 1.0, volume), rules, scarcity)
    assert sold == 100.0 * (1.0 - min(lost, 0.9999)) > 0.0
    assert (kernel.RANGE_PER_SIGMA, Decimal(repr(kernel.SLIPPAGE_MAX))) == (RANGE_PER_SIGMA, SLIPPAGE_MAX)


def test_the_fit_finds_the_line_that_covers_the_share():
    """Costs made of a line and a known noise: nine of ten lie under the fitted line, of the later half too."""
    random = np.random.default_rng(5)
    share = random.choice([0.01, 0.1], 4_000)
    volatility = random.uniform(5.0, 50.0, 4_000)
    weight = volatility * np.sqrt(share)
    cost = 2.0 + weight * random.uniform(0.0, 1.0, 4_000)

    line = fitted(weight, cost, 0.9)
    made = OrderCosts("made", "walked", 60, np.arange(4_000), share, volatility, cost)
    found = fit_fills([made], 0.9, "made")

    assert (line.half_spread_bps, line.impact) == (pytest.approx(2.0, abs=0.1), pytest.approx(0.9, abs=0.03))
    assert found.errors[0].exceeded == pytest.approx(0.1, abs=0.03)
    assert found.errors[0].shipped_exceeded <= 0.1
    assert fit_fills([made], 0.9, "made") == found


@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_no_part_of_a_line_goes_below_zero(slope):
    """Costs that fall with size, or that begin below nothing, give a line of zeros and positive parts."""
    weight = np.linspace(0.0, 10.0, 500)
    line = fitted(weight, slope * weight + (10.0 if slope < 0 else -5.0) + np.sin(weight), 0.9)

    assert min(line) >= 0.0
    assert max(line) > 0.0


def trades_of(prices, volumes, step=SECOND) -> RawTrades:
    stamps = np.arange(len(prices), dtype=np.int64) * step
    return RawTrades(name="made", timestamp=stamps, price=np.array(prices, float), volume=np.array(volumes, float))


def test_bars_are_whole_and_costs_are_of_both_sides():
    """First and last bar are left out; what a purchase pays a sale earns."""
    random = np.random.default_rng(1)
    trades = trades_of(100 + random.normal(0, 1, 900), np.ones(900))
    bars = bars_of(trades)
    costs = followed_costs(trades, bars)

    assert (bars.step_ns, len(bars.opened)) == (60 * SECOND, 13)
    assert set(bars.volume.tolist()) == {60.0}
    assert costs.cost[0::2] == pytest.approx(-costs.cost[1::2])
    # A thousandth of a bar's volume, 0.06, is all of the first trade's price.
    place = int(np.searchsorted(trades.timestamp, costs.at_ns[0]))
    assert costs.cost[0] == pytest.approx(1e4 * (trades.price[place] / trades.price[place - 1] - 1.0))
    with pytest.raises(DataError, match="at least 4 bars"):
        bars_of(trades_of([1.0, 2.0], [1.0, 1.0]))


def test_a_book_is_walked_level_by_level(tmp_path):
    """Levels change and vanish; an order pays their average, and none where they do not hold enough."""
    snapshot = {"timestamp": [0, 0, 0], "last_update_id": [5] * 3, "side": ["bid", "ask", "ask"]}
    snapshot |= {"price": [99.0, 101.0, 102.0], "size": [1.0, 1.0, 3.0]}
    changes = {"timestamp": [1_000_000_000, 2_500_000_000, 3_500_000_000], "first_update_id": [6, 8, 10]}
    changes |= {"final_update_id": [7, 9, 11], "side": ["ask"] * 3, "price": [101.0, 101.0, 101.0], "size": [2.0, 0.0, 1.0]}
    paths = [tmp_path / "s.parquet", tmp_path / "d.parquet"]
    for path, columns in zip(paths, (snapshot, changes), strict=True):
        pl.DataFrame(columns).with_columns(pl.from_epoch("timestamp", "ns").dt.replace_time_zone("UTC")).write_parquet(path)
    seen = list(looks(read_book(paths[::-1]), SECOND))

    assert [look.asks for look in seen] == [[(101.0, 2.0), (102.0, 3.0)], [(102.0, 3.0)]]
    assert walked(seen[0].asks, 4.0) == pytest.approx((2 * 101 + 2 * 102) / 4)
    assert walked(seen[0].asks, 5.0) is not None
    assert walked(seen[0].asks, 5.1) is None
    with pytest.raises(InputError, match="--book twice"):
        read_book(paths[:1])
    pl.DataFrame(changes | {"first_update_id": [6, 9, 10]}).write_parquet(paths[1])
    with pytest.raises(DataError, match="found one missing"):
        read_book(paths)


@pytest.mark.parametrize("changes", [{"impact": -0.1}, {"half_spread_bps": float("nan")}, {"quantile": 1.0}, {"more": 1}])
def test_a_model_that_can_not_be_is_refused(changes):
    """Each number has its range, and nothing else is in a model."""
    with pytest.raises(DataError):
        FillModel.from_json(SHIPPED.to_json() | changes)
    assert FillModel.from_json(SHIPPED.to_json()) == SHIPPED


@needs_market_data
def test_the_command_measures_what_is_shipped(tmp_path, monkeypatch, capsys):
    """`fills calibrate` over the recordings gives the shipped numbers, registers them, and they count from then on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("")
    assert main(["fills", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == SHIPPED.to_json()
    recorded = MARKET_DATA / "l2" / "BTCUSDT_spot_20240808_"
    books = [f"{recorded}snapshot.parquet", f"{recorded}depth.parquet"]
    kraken = [
        str(MARKET_DATA / "kraken" / f"{name}.parquet") for name in ("XBTEUR_trades_2016-01", "XBTUSDT_trades_2025-11-10")
    ]
    line = [word for path in books for word in ("--book", path)]
    line += [word for path in (f"{recorded}trades.parquet", *kraken) for word in ("--trades", path)]

    assert main(["fills", "calibrate", *line, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)

    assert record["model"]["half_spread_bps"] == pytest.approx(SHIPPED.half_spread_bps, abs=0.002)
    assert record["model"]["impact"] == pytest.approx(SHIPPED.impact, abs=0.002)
    assert all(item["exceeded"] <= 0.1 + 0.01 for item in record["recordings"])
    assert all(item["shipped_exceeded"] <= 0.1 for item in record["recordings"])
    assert main(["fills", "show"]) == 0
    assert record["run_id"] in capsys.readouterr().out
    assert main(["experiments", "--json"]) == 0
    assert record["run_id"] in capsys.readouterr().out
    (tmp_path / "var" / "fill_model.json").write_text("{}")
    assert main(["fills", "show"]) == 2
    assert "damaged" in capsys.readouterr().err


def test_trades_are_needed(tmp_path, monkeypatch, capsys):
    """Without trades, with bars instead of them or a share that says nothing, there is one sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "bars.csv").write_text("timestamp,open,high,low,close,volume\n0,1,1,1,1,1\n")
    for words in ([], ["--trades", "bars.csv"], ["--trades", "none.csv"], ["--trades", "bars.csv", "--quantile", "0.3"]):
        assert main(["fills", "calibrate", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("peak-trade: ")
        assert "Traceback" not in said
