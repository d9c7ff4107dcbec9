"""Research from Python: the same bits as the commands', frames in and out, and no way around the count of trials."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.builders import some_bars
from tests.paths import ROOT

import peak_trade as pt
from peak_trade.cli.main import main
from peak_trade.model.errors import CheckFailed, DataError, InputError, SafetyRefused, StrategyError
from peak_trade.settings import PATH_VARIABLE
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.ma_crossover import MaCrossover

CROSS = {"fast_window": 5, "slow_window": 20}
GRID = {"fast_window": range(4, 9, 2), "slow_window": [20, 30]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder, and in it the present folder."""
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder without a project."""
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(capsys, *words):
    """Return what a command prints as JSON."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def hourly(count=600, **changes):
    return some_bars(count, gap=0.001, **changes)


def crossing(bars):
    """A causal rule: long above the average of ten closes."""
    average = np.convolve(bars.close, np.ones(10) / 10)[: len(bars)]
    found = (bars.close > average).astype(float)
    found[:10] = 0.0
    return found


def test_importing_the_package_loads_nothing():
    """`import peak_trade` stays light, and names what it has."""
    code = "import sys, peak_trade; print(dir(peak_trade)); print([n for n in sys.modules if n in ('numpy','polars','numba')])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, heavy = ended.stdout.splitlines()

    assert heavy == "[]"
    assert all(name in names for name in ("load_bars", "backtest", "sweep", "walk_forward", "check"))
    with pytest.raises(AttributeError, match="no attribute 'trade_live'"):
        _ = pt.trade_live


def test_a_backtest_is_the_commands_bit_for_bit(project, capsys):
    """The same bars give the same result hash from a file, loaded bars and frames of both kinds."""
    bars = hourly()
    bars.to_polars().write_parquet(project / "bars.parquet")
    line = ["backtest", "--strategy", "ma_crossover", "--data", "bars.parquet", "--symbol", "BTC/EUR", "--no-tear-sheet"]
    params = [word for name, value in CROSS.items() for word in ("--param", f"{name}={value}")]
    said = command(capsys, *line, *params, "--fee-bps", "10", "--side", "both")

    loaded = pt.load_bars("bars.parquet", symbol="BTC/EUR")
    inputs = ["bars.parquet", bars.to_polars(), bars.to_pandas(), bars.to_pandas().reset_index()]
    made = [pt.backtest(one, "ma_crossover", CROSS, symbol="BTC/EUR", fee_bps=10, side="both") for one in inputs]
    made.append(pt.backtest(loaded, "ma_crossover", CROSS, fee_bps=10, side="both"))

    assert {one.result.sha256() for one in made} == {said["result_sha256"]}
    assert all(one.metrics == said["metrics"] and one.registered for one in made)
    assert made[-1].record["trials_on_dataset"] == {"total": 6, "different": 1}
    assert len(list((project / "var").rglob("frames/*/*.parquet"))) == 1


def test_a_run_over_a_frame_can_be_done_again(project, capsys):
    """The registry alone, with the kept frame, gives the same result."""
    done = pt.backtest(hourly().to_polars(), "ma_crossover", CROSS, symbol="BTC/EUR")

    assert main(["reproduce", done.record["run_id"]]) == 0, capsys.readouterr()


def test_results_go_out_as_frames_and_pages(project):
    """Equity to both kinds of frame, a page in a frame of its own, a text with the figures; nothing is opened."""
    done = pt.backtest(hourly().to_polars(), "ma_crossover", CROSS, symbol="BTC/EUR")
    polars, pandas = done.to_polars(), done.to_pandas()

    assert np.array_equal(polars["equity"].to_numpy(), done.result.equity)
    assert np.array_equal(pandas["equity"].to_numpy(), done.result.equity)
    assert list(pandas.index.view("i8") if hasattr(pandas.index, "view") else []) == done.result.bars.timestamp.tolist()
    assert str(pandas.index.tz) == "UTC"
    page = done.plot()
    assert page.save("page.html").read_text("utf-8") == page.html
    assert page._repr_html_().startswith("<iframe")
    assert 'srcdoc="' in page._repr_html_()
    assert f"run {done.record['run_id']}" in repr(done)
    assert "buy and hold" in done._repr_html_()


def test_sweep_and_walk_are_the_commands(project, capsys):
    """Both rank and choose as the commands do, and count every trial."""
    hourly(900).to_polars().write_parquet(project / "bars.parquet")
    place = ["--data", "bars.parquet", "--symbol", "BTC/EUR"]
    grid = ["--grid", "fast_window=4:8:2", "--grid", "slow_window=20,30"]
    walked = command(
        capsys, "walkforward", "--strategy", "ma_crossover", *place, *grid, "--train", "20d", "--test", "5d", "--no-html"
    )
    loaded = pt.load_bars("bars.parquet", symbol="BTC/EUR")

    walk = pt.walk_forward(loaded, "ma_crossover", GRID, train="20d", test="5d")
    swept = pt.sweep(loaded, "ma_crossover", {**GRID, "slow_window": np.array([20, 30])})

    assert walk.record["result_sha256"] == walked["result_sha256"]
    assert walk.metrics == walked["metrics"]
    assert walk.windows == walked["windows"]
    assert swept.record["trials"] == 6 == len(swept.to_polars()) == len(swept.to_pandas())
    assert swept.metrics["sharpe"] == max(swept.to_polars()["sharpe"])
    one = pt.backtest(loaded, "ma_crossover", {name: swept.best[name] for name in GRID})
    assert one.metrics == swept.metrics
    for result in (walk, swept):
        assert "<script" in result.plot().html
        assert result.record["run_id"] in repr(result)


def test_a_portfolio_counts_each_of_its_legs(project, capsys):
    """It is one run, with a trial for each leg; profits add up; one leg alone is the backtest; it comes out again."""
    markets = [pt.load_bars(hourly(seed=seed).to_polars(), symbol=name) for seed, name in ((1, "BTC/EUR"), (2, "ETH/EUR"))]
    mixed = pt.portfolio(markets, [("ma_crossover", CROSS), "macd"], weighing="given", weights=[0.4, 0.1, 0.3, 0.2])
    alone = pt.portfolio(markets[:1], [("ma_crossover", CROSS)])
    tested = pt.backtest(markets[0], "ma_crossover", CROSS)

    cash = tested.result.terms.cash
    assert mixed.attribution()["profit"].sum() == pytest.approx(mixed.metrics["final_equity"] - float(cash), abs=1e-6)
    assert mixed.names == ["ma_crossover@BTC/EUR", "macd@BTC/EUR", "ma_crossover@ETH/EUR", "macd@ETH/EUR"]
    assert mixed.weights().columns == ["timestamp", *mixed.names]
    assert mixed.weights().row(0)[1:] == (0.4, 0.1, 0.3, 0.2)
    assert tested.record["trials_on_dataset"] == {"total": 4, "different": 2}
    assert alone.metrics == tested.metrics
    assert alone.to_pandas()["equity"].tolist() == tested.to_polars()["equity"].to_list()
    assert alone.to_pandas()["buy_and_hold"].tolist() == tested.to_polars()["buy_and_hold"].to_list()
    assert (mixed.registered, mixed.folder.is_dir(), alone.record["portfolios_tried"]) == (True, True, 2)
    assert main(["reproduce", mixed.record["run_id"]]) == 0, capsys.readouterr()


def test_a_portfolio_is_shown(nowhere):
    """Its page has every leg and chart and loads nothing; its text has the figures; its frame the profits of the legs."""
    markets = [pt.load_bars(hourly(seed=seed).to_polars(), symbol=name) for seed, name in ((1, "BTC/EUR"), (2, "ETH/EUR"))]
    mixed = pt.portfolio(markets, [("ma_crossover", CROSS), "macd"])
    page, frame = mixed.plot().html, mixed.to_pandas()

    assert "default-src 'none'" in page
    for name in mixed.names:
        assert name in page
        assert name in repr(mixed)
    profits = frame[[f"profit {name}" for name in mixed.names]].sum(axis=1)
    assert profits.to_numpy() == pytest.approx(frame["equity"].to_numpy() - 10_000, abs=1e-6)
    assert (mixed.registered, mixed.folder) == (False, None)
    assert "not evidence" in repr(mixed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weighing": "best"}, "as weighing"),
        ({"weighing": "given"}, "expected weights with"),
        ({"weights": [1.0]}, "expected weights with"),
        ({"weighing": "given", "weights": [0.5, 0.5]}, "1 weights, one for each pair"),
    ],
)
def test_unfit_portfolios_are_refused(nowhere, options, words):
    market = pt.load_bars(hourly(50).to_polars(), symbol="BTC/EUR")
    with pytest.raises(InputError, match=words):
        pt.portfolio([market], ["macd"], **options)
    with pytest.raises(InputError, match="load each first"):
        pt.portfolio([hourly(50).to_polars()], ["macd"])


def test_what_is_tried_in_a_project_counts(project):
    """There is no call that tries a strategy of the catalogue unseen."""
    frame = hourly().to_polars()
    with pytest.raises(SafetyRefused, match="registered=False in a project"):
        pt.backtest(frame, "ma_crossover", CROSS, symbol="BTC/EUR", registered=False)
    with pytest.raises(SafetyRefused, match="registered=False in a project"):
        pt.sweep(frame, "ma_crossover", GRID, symbol="BTC/EUR", registered=False)

    for fast in (4, 5):
        done = pt.backtest(frame, "ma_crossover", {**CROSS, "fast_window": fast}, symbol="BTC/EUR", registered=True)

    assert done.record["trials_on_dataset"]["different"] == 2


def test_outside_of_a_project_nothing_is_kept(nowhere):
    """It works without a project, says that it is no evidence, and leaves nothing in the folder."""
    frame = hourly().to_polars()
    done = pt.backtest(frame, "ma_crossover", CROSS, symbol="BTC/EUR")

    assert (done.registered, done.folder) == (False, None)
    assert "not evidence" in repr(done)
    assert "not registered" in done.plot().html
    assert list(nowhere.iterdir()) == []
    with pytest.raises(InputError, match="expected a project to register in"):
        pt.backtest(frame, "ma_crossover", CROSS, symbol="BTC/EUR", registered=True)


def test_a_function_is_tried_but_is_no_evidence(project):
    """It decides as a strategy does, is not registered, and can't be."""
    frame = hourly().to_polars()
    done = pt.backtest(frame, crossing, symbol="BTC/EUR")

    assert done.metrics["num_trades"] > 0
    assert not done.registered
    assert "not evidence" in repr(done)
    assert "function on BTC/EUR 1h" in done.plot().html
    with pytest.raises(InputError, match="found a rule that is not in it and has no version"):
        pt.backtest(frame, crossing, symbol="BTC/EUR", registered=True)
    with pytest.raises(StrategyError, match="expected 600 targets"):
        pt.backtest(frame, lambda bars: bars.close[1:], symbol="BTC/EUR")


def test_a_leak_is_found(project):
    """A function that looks one bar ahead is found out; one that does not, is not; a strategy gets its evidence."""
    frame = hourly(800).to_polars()
    ahead = pt.check(frame, lambda bars: (np.append(bars.close[1:], 0) > bars.close).astype(float), symbol="BTC/EUR")
    fair = pt.check(frame, crossing, warmup=20, symbol="BTC/EUR")
    strategy = pt.check(frame, "ma_crossover", CROSS, symbol="BTC/EUR")

    assert not ahead.causality.causal
    assert "does not hold" in repr(ahead)
    with pytest.raises(CheckFailed, match="expected all proofs"):
        ahead.require()
    assert fair.causality.causal
    assert strategy.holds
    assert set(strategy.evidence) == {"causality", "warmup", "determinism", "strategy_check"}
    strategy.require()


def test_the_hold_out_is_kept_from_notebooks(project):
    """Loaded bars end before it, a frame's last part too, and asking for more is refused."""
    text = (project / "config.toml").read_text()
    mark = "[research.holdout]"
    assert mark in text or "[research" not in text
    rule = f'{mark}\n"BTC/EUR" = "25%"\n'
    (project / "config.toml").write_text(text.replace(mark, rule) if mark in text else f"{text}\n{rule}")
    bars = hourly(400)
    bars.to_polars().write_parquet(project / "bars.parquet")

    loaded = pt.load_bars("bars.parquet", symbol="BTC/EUR")

    assert len(loaded) == 300 == len(pt.backtest(bars.to_polars(), crossing, symbol="BTC/EUR").to_polars())
    assert len(pt.backtest(loaded, "ma_crossover", CROSS).to_polars()) == 300
    with pytest.raises(SafetyRefused, match="hold-out"):
        pt.load_bars("bars.parquet", symbol="BTC/EUR", end=datetime(2030, 1, 1, tzinfo=UTC))


def naive(frame):
    return frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (naive, "time zone"),
        (lambda f: pd.DataFrame({"timestamp": pd.to_datetime(["2024-01-01"]), "open": 1.0}), "time zone"),
        (lambda f: f.with_columns(pl.col("timestamp").dt.epoch("ms")), "time zone"),
        (lambda f: f.drop("volume"), "no volume"),
        (lambda f: f.with_columns(pl.lit("x").alias("open")), "numbers in open"),
        (lambda f: f.with_columns(pl.lit(None, dtype=pl.Float64).alias("close")), "number in every row of close"),
        (lambda f: f.reverse(), "ascending|descending|order"),
        (lambda f: f.head(1), "at least 2 bars"),
    ],
)
def test_unfit_frames_are_refused(nowhere, data, words):
    """A frame passes the checks of a file; each refusal is one sentence."""
    with pytest.raises(DataError, match=words) as caught:
        pt.load_bars(data(hourly(50).to_polars()), symbol="BTC/EUR")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (pt.load_bars, "symbol of the frame"),
        (lambda f: pt.load_bars([1, 2]), "found list"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", fees=3), "found fees"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", side="up"), "long, short or both as side"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", initial_cash="much"), "amount of money"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", start="soon"), "expected a date"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", start=datetime(2024, 1, 1)), "time zone"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", start="2025-01-01", end="2024-01-01"), "before end"),
        (lambda f: pt.backtest(f, crossing, {"a": 1}, symbol="BTC/EUR"), "no parameters with a function"),
        (lambda f: pt.backtest(f, "ma_crossover", symbol="BTC/EUR", tags=[""]), "a tag of 1 to 64"),
        (lambda f: pt.backtest(pt.load_bars(f, symbol="BTC/EUR"), "macd", symbol="ETH/EUR"), "know their market"),
        (lambda f: pt.sweep(f, "ma_crossover", GRID, symbol="BTC/EUR", search="luck"), "as search"),
        (lambda f: pt.sweep(f, "ma_crossover", GRID, symbol="BTC/EUR", trials=3), "a grid, which tries all"),
        (lambda f: pt.check(f, "ma_crossover", warmup=3, symbol="BTC/EUR"), "declares its own"),
    ],
)
def test_unfit_calls_are_refused(nowhere, call, words):
    """Each refusal is one sentence that names what was found."""
    with pytest.raises(InputError, match=words) as caught:
        call(hourly(50).to_polars())

    assert "\n" not in str(caught.value)


def test_bars_tell_what_they_are(nowhere):
    """A sample loads by name; its text has market, number and origin."""
    loaded = pt.load_bars(symbol="SPX/USD", timeframe="1d", start="2010-01-01")

    assert "SPX/USD 1d" in repr(loaded)
    assert f"{len(loaded):,}" in loaded._repr_html_()
    assert loaded.to_pandas()["close"].to_numpy().tolist() == loaded.to_polars()["close"].to_list()


class OfOurOwn(Strategy):
    """Long above the mean of some closes; in no catalogue."""

    key: ClassVar[str] = "of_our_own"
    source: ClassVar[str] = "a test"
    window: int = 10

    def targets(self, bars):
        mean = np.convolve(bars.close, np.ones(self.window) / self.window)[: len(bars)]
        found = (bars.close > mean).astype(float)
        found[: self.window] = 0.0
        return found

    def warmup(self):
        return self.window + 1


def test_a_strategy_may_be_given_itself(nowhere):
    """A class with parameters or one that is made: both proven and tested, with its own warm-up, and not registered."""
    bars = pt.load_bars(hourly().to_polars(), symbol="BTC/EUR")
    made = pt.backtest(bars, OfOurOwn(window=12))
    told = pt.check(bars, OfOurOwn, {"window": 12})

    assert made.result.sha256() == pt.backtest(bars, OfOurOwn, {"window": 12}).result.sha256()
    assert (made.registered, told.holds, told.warmup.declared, told.title) == (False, True, 13, "of_our_own")
    with pytest.raises(StrategyError, match="found windw"):
        pt.backtest(bars, OfOurOwn, {"windw": 12})


def test_one_of_the_catalogue_counts_however_it_is_named(project):
    """Given as a class or made, it is the run that its key would have been, and can't be kept from counting."""
    bars = pt.load_bars(hourly().to_polars(), symbol="BTC/EUR")
    runs = [
        pt.backtest(bars, "ma_crossover", CROSS),
        pt.backtest(bars, MaCrossover, CROSS),
        pt.backtest(bars, MaCrossover(**CROSS)),
    ]

    assert [run.registered for run in runs] == [True] * 3
    assert len({run.record["result_sha256"] for run in runs}) == 1
    with pytest.raises(SafetyRefused, match="found registered=False in a project"):
        pt.backtest(bars, MaCrossover(**CROSS), registered=False)
    with pytest.raises(InputError, match="no parameters with a strategy that is made"):
        pt.backtest(bars, MaCrossover(**CROSS), CROSS)


def twice(frame, name):
    return pd.concat([frame, frame[["open"]].rename(columns={"open": name})], axis=1)


def years(frame, count):
    return frame.set_axis(frame.index.as_unit("s") + pd.DateOffset(years=count))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: twice(frame, "open"), "expected one column open in the frame, found it twice"),
        (lambda frame: twice(frame, "Open"), "expected one column open in the frame, found it twice"),
        (lambda frame: frame.astype(complex), "expected numbers in open, found complex128"),
        (lambda frame: years(frame, 500), "expected times of 1970 to 2261, found 25"),
        (lambda frame: years(frame, -100), "expected times of 1970 to 2261, found 19"),
        (lambda frame: frame.set_axis(frame.index[:-1].append(pd.DatetimeIndex([None], tz="UTC"))), "found none in row 599"),
        (lambda frame: frame.set_axis(pd.MultiIndex.from_product([frame.columns, ["BTC"]]), axis=1), "of several levels"),
        (lambda frame: frame.iloc[::-1], "sort the rows by time"),
    ],
)
def test_frames_that_can_not_be_bars_are_refused_before_they_are_kept(nowhere, change, words):
    """One sentence each, and nothing is left in the data folder."""
    with pytest.raises(DataError, match=words):
        pt.load_bars(change(hourly().to_pandas()), symbol="BTC/EUR")
    assert list(nowhere.rglob("*.parquet")) == []


def test_a_time_column_may_have_the_names_that_a_file_s_may_have(nowhere):
    """What pandas calls Date after reset_index is a time; a lazy frame is told how to become a frame."""
    bars = hourly()
    named = pt.load_bars(bars.to_pandas().rename_axis("Date").reset_index(), symbol="BTC/EUR")

    assert named.bars.sha256() == pt.load_bars(bars.to_polars(), symbol="BTC/EUR").bars.sha256()
    with pytest.raises(InputError, match=r"found LazyFrame; collect\(\) it"):
        pt.load_bars(bars.to_polars().lazy(), symbol="BTC/EUR")


def test_words_of_another_kind_are_refused_in_a_sentence(nowhere):
    """Never Python's own error, and never a text taken for the list of its letters."""
    bars = pt.load_bars(hourly().to_polars(), symbol="BTC/EUR")
    wrong = [
        (lambda: pt.load_bars(hourly().to_polars(), symbol=3), "expected text as symbol, found 3"),
        (lambda: pt.load_bars(symbol="SPX/USD", start=2001), "expected a date like"),
        (lambda: pt.backtest(bars, None), "a Strategy or a function, found None"),
        (lambda: pt.backtest(bars, "macd", [1]), "expected parameters by their names"),
        (lambda: pt.backtest(bars, "macd", tags="abc"), "expected a list of tags, found the text 'abc'"),
        (lambda: pt.backtest(bars, "macd", tags=[3]), "printable characters, found 3"),
        (lambda: pt.backtest(bars, "macd", sizing=0.5), "fraction=0.25"),
        (lambda: pt.check(bars, crossing, warmup=-1), "a warmup of zero bars or more, found -1"),
        (lambda: pt.check(bars, crossing, warmup=2.5), "a warmup of zero bars or more, found 2.5"),
        (lambda: pt.sweep(bars, "macd", None), "expected a grid such as"),
        (lambda: pt.sweep(bars, "macd", {"fast_window": range(1, 10**12)}), "choose a coarser grid"),
        (lambda: pt.sweep(bars, OfOurOwn, {"window": [3]}), "a strategy in the catalogue, found"),
        (lambda: pt.sweep(bars, "macd", {"fast_window": [3]}, workers=-1), "from 0 to 256 as workers, found -1"),
        (lambda: pt.sweep(bars, "macd", {"fast_window": [3]}, search="tpe", trials=2, seed=-1), "as seed, found -1"),
        (lambda: pt.walk_forward(bars, "macd", {"fast_window": [3]}, train=2.5), "as train, found 2.5"),
        (lambda: pt.portfolio([bars], [("macd",)]), "pairs of key and parameters"),
        (lambda: pt.portfolio(bars, ["macd"]), "expected a list as markets"),
        (lambda: pt.portfolio([bars], "macd"), "expected a list as strategies"),
        (lambda: pt.portfolio([bars], ["macd"], weighing="given", weights=["a"]), "expected numbers as weights, found 'a'"),
        (lambda: pt.portfolio([bars], ["macd"], symbol_most="a"), "expected numbers as symbol_most, found 'a'"),
        (lambda: pt.portfolio([bars], ["macd"], every=1.5), "every"),
    ]
    for call, words in wrong:
        with pytest.raises(InputError, match=words):
            call()
    assert pt.backtest(bars, "macd", fee_bps=np.int64(3)).result.terms.fee_bps == 3.0
    assert len(pt.load_bars(symbol="SPX/USD", timeframe="1d", start=date(2018, 1, 1))) == 251
