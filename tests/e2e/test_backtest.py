"""`peak-trade backtest` as its users see it."""

import csv
import json
import subprocess
import sys

import polars as pl
import pytest
from tests.paths import MARKET_DATA, ROOT, needs_market_data

BACKTEST = ("backtest", "--strategy", "ma_crossover", "--no-tear-sheet")

KEYS = {"run_id", "strategy", "params", "symbol", "timeframe", "dataset", "costs", "metrics", "versions", "elapsed_s"}
METRICS = {
    "final_equity",
    "total_return",
    "cagr",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "volatility",
    "num_trades",
    "num_entries",
    "win_rate",
    "profit_factor",
    "exposure",
    "turnover",
    "fees_paid",
    "orders_skipped",
}


def test_json_has_every_field(project):
    """One document on stdout with the promised fields, the log on stderr only."""
    ended = project.run(*BACKTEST, "--json")

    assert ended.code == 0
    assert ended.json.keys() >= KEYS
    assert ended.json["metrics"].keys() == METRICS == ended.json["benchmark"].keys()
    assert ended.json["dataset"].keys() >= {"sha256", "bars", "first", "last", "gaps"}


def test_text_shows_strategy_and_yardstick(project):
    """People see buy and hold beside the strategy, and where the report is."""
    ended = project.run("backtest", "--strategy", "ma_crossover")

    assert "buy and hold" in ended.out
    for name in ("report.md", "tear_sheet.html"):
        path = next(word for word in ended.out.split() if word.endswith(name))
        assert (project.folder / path).stat().st_size > 1_000


def test_the_folder_holds_everything(project):
    """Each run has a folder with its record, report, trades and equity."""
    record = project.run(*BACKTEST, "--json").json
    folder = project.folder / "reports" / "experiments" / record["run_id"]

    assert {path.name for path in folder.iterdir()} == {"run.json", "report.md", "trades.csv", "equity.parquet"}
    assert json.loads((folder / "run.json").read_text()) == record
    assert pl.read_parquet(folder / "equity.parquet")["equity"][-1] == record["metrics"]["final_equity"]


def test_the_same_run_gives_the_same_bits(project):
    """Two runs differ in nothing but their identity and time."""
    one, two = (project.run(*BACKTEST, "--json").json for _ in range(2))
    different = {key for key in one if one[key] != two[key]}

    assert different == {"run_id", "folder", "started_at", "elapsed_s", "trials_on_dataset"}


def test_options_reach_the_run(project):
    """Every option changes what it says: costs, cash, sizing, side, exits, period, parameters, tags."""
    project.bars("bars.csv")
    record = project.run(
        *BACKTEST,
        *("--data", "bars.csv", "--symbol", "BTC/EUR", "--start", "2024-01-02", "--end", "2024-01-15T12:00"),
        *("--param", "fast_window=5", "--param", "slow_window=12", "--fee-bps", "0", "--slippage-bps", "0"),
        *("--initial-cash", "5000", "--sizing", "quantity=2", "--side", "both", "--stop-loss", "0.05"),
        *("--take-profit", "0.1", "--trailing-stop", "0.03", "--tag", "a", "--tag", "b", "--json"),
    ).json

    assert record["params"] == {"fast_window": 5, "slow_window": 12}
    assert record["costs"] == {
        "initial_cash": "5000",
        "fee_bps": 0.0,
        "slippage_bps": 0.0,
        "sizing": "quantity=2",
        "side": "both",
        "stop_loss": 0.05,
        "take_profit": 0.1,
        "trailing_stop": 0.03,
    }
    assert (record["dataset"]["first"], record["dataset"]["last"]) == ("2024-01-02T00:00:00Z", "2024-01-15T11:00:00Z")
    assert (record["tags"], record["metrics"]["fees_paid"], record["timeframe"]) == (["a", "b"], 0.0, "1h")


def test_trades_and_equity_files(project):
    """--trades-out and --equity-out write one row for each trade and each bar."""
    project.bars("bars.csv")
    record = project.run(
        *BACKTEST, "--data", "bars.csv", "--symbol", "BTC/EUR", "--json", "--trades-out", "t.csv", "--equity-out", "deep/e.csv"
    ).json
    trades = list(csv.DictReader((project.folder / "t.csv").read_text().splitlines()))
    equity = list(csv.DictReader((project.folder / "deep" / "e.csv").read_text().splitlines()))

    assert len(trades) == record["metrics"]["num_entries"] > 0
    assert float(equity[-1]["equity"]) == record["metrics"]["final_equity"]
    assert len(equity) == record["dataset"]["bars"]


@pytest.mark.parametrize("strategy", ["rsi_strategy", "donchian", "momentum"])
def test_other_names_are_registered_by_key(project, strategy):
    """An alias runs the strategy and the registry holds its key."""
    record = project.run("backtest", "--strategy", strategy, "--no-tear-sheet", "--json").json

    assert record["strategy"] in ("rsi_reversion", "breakout", "momentum_1h")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strategy", "ma_crosover"], "did you mean ma_crossover"),
        (["--strategy", "ma_crossover", "--param", "fast=1"], "fast_window"),
        (["--strategy", "ma_crossover", "--param", "fast_window"], "NAME=VALUE"),
        (["--strategy", "ma_crossover", "--param", "fast_window=60"], "should be below slow_window"),
        (["--strategy", "ma_crossover", "--param", "fast_window=5", "--param", "fast_window=6"], "once"),
        (["--strategy", "ma_crossover", "--data", "none.csv"], "found none"),
        (["--strategy", "ma_crossover", "--symbol", "BTC"], "BTC/EUR"),
        (["--strategy", "ma_crossover", "--symbol", "ETH/EUR"], "peak-trade data import"),
        (["--strategy", "ma_crossover", "--timeframe", "1x"], "timeframe"),
        (["--strategy", "ma_crossover", "--start", "yesterday"], "--start"),
        (["--strategy", "ma_crossover", "--start", "2030-01-01"], "the data covers"),
        (["--strategy", "ma_crossover", "--start", "2010-01-01", "--end", "2009-01-01"], "--start before --end"),
        (["--strategy", "ma_crossover", "--fee-bps", "-1"], "fee_bps"),
        (["--strategy", "ma_crossover", "--fee-bps", "nan"], "fee_bps"),
        (["--strategy", "ma_crossover", "--fee-bps", "x"], "--help"),
        (["--strategy", "ma_crossover", "--initial-cash", "-5"], "cash above zero"),
        (["--strategy", "ma_crossover", "--initial-cash", "lots"], "money"),
        (["--strategy", "ma_crossover", "--sizing", "all"], "fraction=0.25"),
        (["--strategy", "ma_crossover", "--sizing", "fraction=2"], "at most 1"),
        (["--strategy", "ma_crossover", "--side", "up"], "long, short or both"),
        (["--strategy", "ma_crossover", "--stop-loss", "1"], "stop_loss"),
        (["--strategy", "ma_crossover", "--tag", ""], "tag"),
        (["--strategy", "ma_crossover", "--config", "none.toml"], "--config"),
        ([], "--strategy"),
        (["--strategy", "ma_crossover", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_input_is_one_sentence(project, arguments, words):
    """Wrong input ends with exit code 2 and one line on stderr that helps; nothing is registered."""
    ended = project.run("backtest", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not list(project.folder.glob("reports/**/run.json"))


def test_a_strategy_that_fails_is_registered_as_failed(project, monkeypatch):
    """A third-party strategy that raises leaves a failed run with its error, and no traceback."""
    from peak_trade.strategy.ma_crossover import MaCrossover

    def broken(self, bars):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(MaCrossover, "targets", broken)

    ended = project.run(*BACKTEST)
    listed = project.run("experiments", "--status", "failed", "--json").json

    assert (ended.code, "ZeroDivisionError" in ended.err, "Traceback" in ended.err) == (2, True, False)
    assert [run["strategy"] for run in listed] == ["ma_crossover"]


def test_the_script_is_the_command(project):
    """The playbook's script takes the same options and gives the same result."""
    process = project.start("--strategy", "ma_crossover", "--json", "--no-tear-sheet", script="run_backtest.py")
    out, err = process.communicate(timeout=60)
    record = project.run(*BACKTEST, "--json").json

    assert process.returncode == 0, err
    assert json.loads(out)["metrics"] == record["metrics"]


def test_verbose_speaks_on_stderr(project):
    """--verbose says what is done without touching stdout; the log has it as JSON lines anyway."""
    process = project.start(*BACKTEST, "--json", "--verbose")
    out, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in (project.folder / "logs" / "peak_trade.log").read_text().splitlines()]

    assert json.loads(out)["strategy"] == "ma_crossover"
    assert "backtest begins" in err
    assert [line["event"] for line in lines] == ["backtest begins", "backtest registered"]


def test_a_reader_that_leaves_is_no_error(project):
    """`| head` ends quietly."""
    command = f"{__import__('sys').executable} -m peak_trade experiments --help | head -1"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=project.folder, capture_output=True, text=True, check=False
    )

    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr


@needs_market_data
def test_the_issue_command_on_real_bars(project):
    """Import of a real series, then the full command line over three years of it."""
    imported = project.run(
        "data", "import", str(MARKET_DATA / "kraken" / "Kraken_BTCEUR_1h.parquet"), "--symbol", "BTC/EUR", "--timeframe", "1h"
    )
    record = project.run(
        *("backtest", "--strategy", "rsi_reversion", "--symbol", "BTC/EUR", "--timeframe", "1h", "--no-tear-sheet"),
        *("--start", "2018-01-01", "--end", "2020-12-01", "--fee-bps", "26", "--slippage-bps", "5", "--json"),
    ).json

    assert imported.code == 0
    assert (record["dataset"]["first"], record["dataset"]["last"]) == ("2018-01-01T00:00:00Z", "2020-11-30T23:00:00Z")
    assert record["metrics"]["num_trades"] > 100


def test_the_playbook_import_path():
    """The playbook's one-liner prints the exchange connection."""
    code = "from src.core.peak_config import load_config; c=load_config(); print(c.get('exchange.default_type'))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (ended.stdout.strip(), ended.stderr) == ("kraken_testnet", "")


def test_the_yardstick_keeps_what_it_bought(project):
    """Buy and hold is all in, long and without exits, whatever the strategy trades under."""
    plain = project.run(*BACKTEST, "--json").json["benchmark"]
    odd = project.run(
        *BACKTEST, "--json", "--side", "short", "--stop-loss", "0.02", "--take-profit", "0.01", "--sizing", "fraction=0.1"
    ).json["benchmark"]

    assert plain == odd
    assert (plain["num_entries"], plain["num_trades"]) == (1, 0)


@pytest.mark.parametrize(
    "outputs",
    [
        ["--trades-out", "config.toml"],
        ["--trades-out", "var/registry.db"],
        ["--equity-out", "var/data/BTC-EUR/1h.parquet"],
        ["--trades-out", "bars.csv"],
        ["--trades-out", "one.csv", "--equity-out", "./one.csv"],
    ],
)
def test_outputs_never_overwrite_what_is_in_use(project, outputs):
    """Configuration, state, input and the other output are refused as targets before anything runs."""
    project.bars("bars.csv")
    before = (project.folder / "bars.csv").read_bytes(), (project.folder / "config.toml").read_bytes()

    ended = project.run(*BACKTEST, "--data", "bars.csv", "--symbol", "BTC/EUR", *outputs)

    assert (ended.code, "in use" in ended.err) == (2, True)
    assert ((project.folder / "bars.csv").read_bytes(), (project.folder / "config.toml").read_bytes()) == before
    assert not (project.folder / "var" / "registry.db").exists()


@pytest.mark.parametrize("option", ["--side", "--sizing", "--symbol", "--timeframe"])
def test_an_empty_option_is_not_the_default(project, option):
    """Giving nothing is a mistake, not a wish for the default."""
    assert project.run(*BACKTEST, option, "").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--initial-cash", "1e400"],
        ["--initial-cash", "1e-400"],
        ["--sizing", "quantity=1e300"],
        ["--start", "9999-12-31T23:59:59-12:00"],
        ["--data", "~nobody-here/x.csv"],
    ],
)
def test_absurd_amounts_are_refused(project, arguments):
    """What floats can't hold is one sentence."""
    ended = project.run(*BACKTEST, *arguments)

    assert (ended.code, len(ended.err.strip().splitlines())) == (2, 1)
    assert "fault" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--start", "2018-12-01"], "the warm-up of 50 bars is longer than the data of 19"),
        (["--initial-cash", "1"], "orders were under the minimum"),
        ([], None),
    ],
)
def test_an_empty_result_says_why(project, arguments, words):
    """A run without trades, or one that ended early, has a note with the reason; an ordinary one has none."""
    remarks = project.run(*BACKTEST, *arguments, "--json").json["remarks"]

    assert any(words in remark for remark in remarks) if words else remarks == []


def test_the_number_of_tries_is_told(project):
    """From the second combination on, people are told how many were tried on this data."""
    project.run(*BACKTEST)

    ended = project.run(*BACKTEST, "--param", "fast_window=5")

    assert "2 different combinations were tried on this data" in ended.out


@pytest.mark.parametrize("arguments", [[], ["config"], ["data"]])
def test_a_command_without_arguments_shows_its_help(project, arguments):
    """The first thing a beginner types answers with the list of commands, in lines."""
    ended = project.run(*arguments)

    assert (ended.code, "Commands:" in ended.out, len(ended.out.splitlines()) > 5) == (2, True, True)
