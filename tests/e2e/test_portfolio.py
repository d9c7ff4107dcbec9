"""`peak-trade portfolio`: what it registers, counts, writes and refuses."""

import csv
import json
from contextlib import closing
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from tests.builders import some_bars

from peak_trade.compose import DataChoice, Parts
from peak_trade.runs.research.trials import tried
from peak_trade.settings import load_config

FAST = "ma_crossover:fast_window=5,slow_window=20"
TWO = ("portfolio", "--strategy", FAST, "--strategy", "macd", "--symbol", "BTC/EUR", "--symbol", "ETH/EUR")
HOURLY = ("--timeframe", "1h", "--fee-bps", "5")
RUN = (*TWO, *HOURLY)


def keep(project, symbol: str, count: int = 400, seed: int = 7, first: int = 0) -> None:
    """Put hourly bars of a symbol into the store."""
    path = project.folder / "bars.parquet"
    some_bars(count, seed=seed, gap=0.001)[first:].to_polars().write_parquet(path)
    assert project.run("data", "import", "bars.parquet", "--symbol", symbol, "--timeframe", "1h").code == 0


@pytest.fixture
def markets(project):
    """A project with two markets, of which the second begins later."""
    keep(project, "BTC/EUR")
    keep(project, "ETH/EUR", seed=8, first=100)
    return project


def opened(project) -> Parts:
    return Parts(load_config(project.folder / "config.toml"))


def test_what_it_tells(markets):
    """One account over the union of both histories, four legs, and profits that add up in every digit."""
    record = markets.run(*RUN, "--no-html", "--json").json
    told = record["attribution"]

    assert (record["run_type"], record["strategy"], record["symbol"]) == ("portfolio", "ma_crossover+macd", "BTC/EUR+ETH/EUR")
    assert record["dataset"]["bars"] == 400
    assert [leg["leg"] for leg in told["legs"]] == [
        f"{name}@{symbol}" for symbol in ("BTC/EUR", "ETH/EUR") for name in ("ma_crossover", "macd")
    ]
    for kind in ("legs", "strategies", "symbols"):
        for amount in ("profit", "fees"):
            assert sum(Decimal(part[amount]) for part in told[kind]) == Decimal(told[amount]), (kind, amount)
    gain = record["metrics"]["final_equity"] - 10_000
    assert abs(Decimal(told["profit"]) - Decimal(gain)) <= Decimal("5e-9")
    assert record["legs"][0]["params"]["fast_window"] == 5
    assert record["allotting"]["weighing"] == "equal"
    assert [len(row) for row in record["correlation"]["legs"]["cells"]] == [4] * 4


def test_one_leg_is_the_backtest(markets):
    one = ("--strategy", "macd", "--symbol", "BTC/EUR", *HOURLY, "--json")
    mixed = markets.run("portfolio", *one, "--no-html").json
    alone = markets.run("backtest", *one, "--no-tear-sheet").json

    assert mixed["metrics"] == alone["metrics"] == mixed["legs"][0]["alone"]
    assert mixed["benchmark"] == alone["benchmark"]


def test_it_comes_out_the_same(markets):
    """`reproduce` finds every weight, fill and figure again; `report` writes the folder anew, byte for byte."""
    record = json.loads(markets.run(*RUN, "--weights", "inverse-volatility", "--correlation-limit", "0.5", "--json").out)
    folder = markets.folder / record["folder"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    again = markets.run("reproduce", "latest:portfolio")
    for path in folder.iterdir():
        path.unlink()
    made = markets.run("report", "latest:portfolio")

    assert (again.code, again.out.splitlines()[-1][:9]) == (0, "identical")
    assert made.code == 0, made.err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"run.json", "report.md", "trades.csv", "weights.csv", "equity.parquet", "tear_sheet.html"}


def test_another_outcome_is_noticed(markets):
    """A figure, a trial or a hash that does not come out again is a difference, exit code 1, and no report."""
    markets.run(*RUN, "--no-html")
    for change, words in (
        ("update metrics set value = value + 1e-12 where name = 'sharpe'", "sharpe"),
        ("""update trials set metrics = '{"sharpe":9.0}' where number = 2""", "ma_crossover@ETH/EUR alone"),
        ("delete from trials where number = 3", "number of trials"),
        ("update runs set result_sha256 = 'no'", "sha256"),
    ):
        with closing(opened(markets)) as parts, parts.registry._writing() as connection:
            connection.exec_driver_sql(change)
        again = markets.run("reproduce", "latest:portfolio")

        assert again.code == 1
        assert words in again.out
    assert markets.run("report", "latest:portfolio").code == 1


def test_a_damaged_specification_is_told(markets):
    markets.run(*RUN, "--no-html")
    with closing(opened(markets)) as parts, parts.registry._writing() as connection:
        connection.exec_driver_sql("update runs set spec = '{}'")
    ended = markets.run("reproduce", "latest:portfolio")

    assert ended.code == 1
    assert "a damaged one" in ended.err


def test_each_leg_counts_where_it_was_tried(markets):
    """A leg is the trial that it is alone; other weights are another portfolio, and no other trial of a strategy."""
    first = markets.run(*RUN, "--no-html", "--json").json
    second = markets.run(*RUN, "--exposure-limit", "0.5", "--no-html", "--json").json
    markets.run("backtest", "--strategy", "macd", "--symbol", "ETH/EUR", *HOURLY, "--no-tear-sheet")
    with closing(opened(markets)) as parts:
        dataset = parts.dataset(DataChoice(path=None, symbol="ETH/EUR", timeframe="1h"))
        found = {name: tried(parts, name, dataset) for name in ("macd", "ma_crossover", "breakout")}

    assert (first["trials"], first["trials_on_dataset"]) == (4, {"total": 4, "different": 4})
    assert second["trials_on_dataset"] == {"total": 8, "different": 4}
    assert (first["portfolios_tried"], second["portfolios_tried"]) == (1, 2)
    assert (found["macd"].total, found["macd"].different) == (5, 2)
    assert {name: one.of_strategy for name, one in found.items()} == {"macd": 1, "ma_crossover": 1, "breakout": 0}
    assert sorted(item.strategy for item in found["macd"].done) == ["ma_crossover", "macd"]


def test_legs_that_can_not_be_told_any_more_count_all_the_same(markets):
    """A damaged specification hides no trial from a verdict; it is only not done again."""
    markets.run(*RUN, "--no-html")
    with closing(opened(markets)) as parts:
        with parts.registry._writing() as connection:
            connection.exec_driver_sql("""update runs set spec = '{"legs":[]}'""")
        found = tried(parts, "macd", parts.dataset(DataChoice(path=None, symbol="ETH/EUR", timeframe="1h")))

    assert (found.total, found.different, found.of_strategy, found.done) == (2, 2, 0, ())


def test_a_strategy_that_fails_is_registered_as_failed(markets, monkeypatch):
    """With its error and without a trial; it has no report."""
    monkeypatch.setattr("peak_trade.strategy.macd.Macd.targets", lambda _self, bars: np.full(len(bars), 2.0))
    ended = markets.run(*RUN, "--no-html")
    with closing(opened(markets)) as parts:
        run = parts.registry.get("latest:portfolio")

    assert ended.code == 2
    assert "found 2.0 at" in ended.err
    assert (run.status.value, run.trials, "found 2.0" in run.error) == ("failed", 0, True)
    assert markets.run("reproduce", "latest:portfolio").code == 1


def test_the_hold_out_is_kept_back(markets):
    """Of each market that has one nothing of it is read; a period that reaches into it is refused."""
    path = markets.folder / "config.toml"
    path.write_text(path.read_text().replace("[research.holdout] ", '[research.holdout]\n"BTC/EUR" = "2024-01-10"\n'))
    record = markets.run(*RUN, "--no-html", "--json").json
    refused = markets.run(*RUN, "--end", "2024-01-12", "--no-html")

    assert record["datasets"]["BTC/EUR"]["last"] == "2024-01-09T23:00:00Z"
    assert record["datasets"]["ETH/EUR"]["last"] > "2024-01-16"
    assert [note for note in record["dataset"]["notes"] if note.startswith("the hold-out from 2024-01-10")] != []
    assert (refused.code, "hold-out" in refused.err) == (3, True)


def test_given_weights(markets):
    """Each leg by its name; two of one strategy are told apart by a number; what is not given stays cash."""
    pair = ("portfolio", "--strategy", FAST, "--strategy", "ma_crossover", "--symbol", "BTC/EUR", *HOURLY, "--no-html")
    given = ("--weights", "given", "--weight", "ma_crossover#2@BTC/EUR=0.25", "--weight", "ma_crossover@BTC/EUR=0.5")
    record = markets.run(*pair, *given, "--json").json

    assert [(row["leg"], row["last"]) for row in record["weights"]] == [
        ("ma_crossover@BTC/EUR", 0.5),
        ("ma_crossover#2@BTC/EUR", 0.25),
    ]
    assert record["strategy"] == "ma_crossover"
    assert list(record["params"]) == ["ma_crossover", "ma_crossover#2"]
    assert "the weights given are 0.75 together; the rest stayed cash" in record["remarks"]


ONE = ("portfolio", "--strategy", "macd", "--symbol", "BTC/EUR", "--timeframe", "1h", "--no-html")


REFUSED = (
    (("--symbol", "BTC/EUR"), "each symbol once, found BTC/EUR twice"),
    (("--strategy", "macd"), "found macd twice on BTC/EUR"),
    (("--symbol", "SOL/EUR"), "expected bars of SOL/EUR 1h"),
    (("--symbol", "LTC/USD"), "one quote currency"),
    (("--strategy", "nothing"), "found 'nothing'"),
    (("--strategy", "ma_crossover:fast=3"), "it has fast_window"),
    (("--strategy", "ma_crossover:"), "as --strategy, found 'ma_crossover:'"),
    (("--strategy", "ma_crossover:fast_window"), "without a sign"),
    (("--weights", "best"), "as --weights, found 'best'"),
    (("--weight", "macd@BTC/EUR=1"), "with --weights given alone"),
    (("--weights", "given"), "found none for macd@BTC/EUR"),
    (("--weights", "given", "--weight", "macd=1"), "one of macd@BTC/EUR"),
    (("--weights", "given", "--weight", "macd@BTC/EUR=much"), "a number as the weight"),
    (("--weights", "given", *2 * ("--weight", "macd@BTC/EUR=0.3")), "each leg once"),
    (("--weights", "given", "--weight", "macd@BTC/EUR=1.2"), "together at most 1"),
    (("--sizing", "quantity=1"), "a fraction as the sizing"),
    (("--exposure-limit", "1.5"), "total_most above zero and up to 1"),
    (("--every", "0"), "every of at least 1"),
)


def test_what_does_not_fit_is_refused(markets):
    """One sentence, exit code 2, and nothing in the registry."""
    keep(markets, "LTC/USD", count=50)
    for more, words in REFUSED:
        ended = markets.run(*ONE, *more)

        assert (ended.code, ended.out) == (2, ""), more
        assert words in ended.err
        assert len(ended.err.splitlines()) == 1
    assert markets.run("experiments", "--json").json == []


def test_a_leg_that_never_trades(markets):
    """It is told, earns nothing, and has no correlation; the page is drawn all the same."""
    idle = ("--strategy", "ma_crossover:fast_window=200,slow_window=399")
    record = json.loads(markets.run("portfolio", "--strategy", "macd", *idle, "--symbol", "ETH/EUR", *HOURLY, "--json").out)
    page = (markets.folder / record["folder"] / "tear_sheet.html").read_text()

    assert record["attribution"]["legs"][1]["profit"] == "0.00000000"
    assert record["correlation"]["legs"]["cells"] == [[1.0, None], [None, None]]
    assert any("ma_crossover@ETH/EUR" in remark for remark in record["remarks"])
    assert "Empty: the leg never earned or lost." in page


def test_files_beside_the_report(markets):
    """Trades name their leg and lie in order of entry; equity and profits are those of the run; the text has every table."""
    record = json.loads(markets.run(*RUN, "--json").out)
    folder = markets.folder / record["folder"]
    trades = list(csv.DictReader((folder / "trades.csv").read_text().splitlines()))
    frame = pl.read_parquet(folder / "equity.parquet")
    text, page = (folder / "report.md").read_text(), (folder / "tear_sheet.html").read_text()

    assert len(trades) == record["metrics"]["num_entries"]
    assert [row["entry_time"] for row in trades] == sorted(row["entry_time"] for row in trades)
    assert {row["leg"] for row in trades} <= {leg["name"] for leg in record["legs"]}
    profits = frame.select(pl.sum_horizontal(pl.col("^profit .*$"))).to_series().to_numpy()
    assert profits == pytest.approx(frame["equity"].to_numpy() - 10_000, abs=1e-6)
    assert np.isclose(frame["equity"][-1], record["metrics"]["final_equity"])
    for name in ("macd@BTC/EUR", "Who earned it", "Of all together"):
        assert name in text
        assert name in page
    assert "default-src 'none'" in page
    assert "http" not in page.split("<script>")[0].replace("http-equiv", "")


def test_it_is_told_in_words(markets):
    """The terminal has figures, legs, limits, how it counts, and where the report lies; the list of runs has it."""
    ended = markets.run(*RUN, "--tag", "mixed")
    listed = markets.run("experiments", "--run-type", "portfolio", "--strategy", "macd", "--symbol", "ETH/EUR", "--json").json
    shown = markets.run("experiments", "show", "latest:portfolio")

    for words in ("macd@ETH/EUR", "Of all together", "each counted as a trial", "report: ", "charts: "):
        assert words in ended.out
    assert [(run["run_type"], run["tags"], run["trials"]) for run in listed] == [("portfolio", ["mixed"], 4)]
    assert shown.code == 0
    assert "ma_crossover+macd" in shown.out
