"""`peak-trade verdict` and the ledger of trials: what counts, what does not, what is said, and what is refused."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.builders import some_bars
from tests.edges import noise, trending

from peak_trade.compose import DataChoice, Parts
from peak_trade.runs.research.trials import Trials, tried
from peak_trade.settings import load_config

PAIR = ("--symbol", "BTC/EUR", "--timeframe", "1d")
GRID = "fast_window = [5, 10, 20]\nslow_window = [40, 60, 80]"
COSTS = 'side = "both"\nfee_bps = 10.0\nslippage_bps = 2.0'


def kept(project, bars, name: str = "bars.csv") -> Path:
    """Write bars into a file."""
    path = project.folder / name
    bars.to_polars().with_columns(pl.col("timestamp").dt.epoch("s")).write_csv(path)
    return path


def ledger(project, file: Path, first: int = 0, last: int | None = None, strategy: str = "ma_crossover") -> Trials:
    """Return what was tried on a part of a file."""
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        whole = parts.dataset(DataChoice(path=file, symbol=PAIR[1], timeframe=PAIR[3]))
        return tried(parts, strategy, type(whole)(bars=whole.bars[slice(first, last)], origin=whole.origin))


def backtest(project, file: Path, *more: str, strategy: str = "ma_crossover"):
    ended = project.run("backtest", "--strategy", strategy, "--data", str(file), *PAIR, *more, "--no-tear-sheet", "--json")
    assert ended.code == 0, ended.err
    return ended.json


def swept(project, file: Path, grid: str = GRID) -> None:
    project.sweep_file(grid, COSTS)
    ended = project.run("sweep", "--config", "sweep.toml", "--no-html", "--data", str(file), *PAIR)
    assert ended.code == 0, ended.err


def verdict(project, file: Path, *more: str):
    return project.run("verdict", "--strategy", "ma_crossover", "--data", str(file), *PAIR, *more)


def test_the_ledger_counts_what_was_tried_on_the_market(project):
    """Every different combination once, of every strategy, sweep and backtest; repeats and deleted folders change nothing."""
    file = kept(project, noise(1, days=600))
    swept(project, file)
    once = ledger(project, file)
    swept(project, file)
    backtest(project, file, strategy="macd")
    backtest(project, file, strategy="macd")
    shutil.rmtree(project.folder / "reports")
    found = ledger(project, file)

    assert (once.different, once.of_strategy, once.total, once.count) == (9, 9, 9, 9)
    assert (found.different, found.of_strategy, found.total, found.windows) == (10, 9, 20, 0)
    assert len(found.done) == found.periods.shape[1] == len(found.ratios) == 10
    assert 1.0 <= found.effective <= 10.0
    assert found.variance == found.deviation**2 > 0.0


def test_periods_that_overlap_count_together_and_others_not(project):
    """A period that shares one bar is the same data; one that begins after it is other data."""
    file = kept(project, noise(1, days=600))
    backtest(project, file, "--end", "2024-07-01")
    cut = 182  # bars from 2024-01-01 to 2024-06-30

    assert ledger(project, file, 0, 10).different == 1
    assert ledger(project, file, cut - 1).different == 1
    assert ledger(project, file, cut).different == 0


def test_other_periods_of_one_combination_are_other_trials(project):
    """Where to begin is a choice, and where to end if bars that were there are left out; more data is none."""
    file = kept(project, noise(1, days=600))
    counted = []
    for more in (
        ("--end", "2025-03-01"),
        ("--end", "2025-03-02"),  # a bar more
        (),
        ("--end", "2025-03-01"),  # bars less
        ("--end", "2025-03-01"),  # the same again
        ("--start", "2024-01-02"),  # begun one bar later
        ("--start", "2024-03-01"),
    ):
        backtest(project, file, *more)
        counted.append(ledger(project, file).count)

    assert counted == [1, 1, 1, 2, 2, 3, 4]
    found = ledger(project, file)
    assert (found.different, found.windows, found.total) == (1, 3, 7)


def test_other_terms_are_another_trial_and_other_markets_are_not(project):
    file = kept(project, noise(1, days=600))
    backtest(project, file)
    backtest(project, file, "--fee-bps", "10")
    project.run("backtest", "--strategy", "ma_crossover", "--data", str(file), "--symbol", "ETH/EUR", "--no-tear-sheet")

    assert ledger(project, file).different == 2


def test_the_same_bars_under_another_name_are_the_same_market(project):
    """Also a part of them, and under other trading steps; bars that differ are another market, which a family is made of."""
    file, other = kept(project, noise(1, days=600)), kept(project, noise(2, days=600), "other.csv")
    for symbol, data, more in (
        ("TWIN/EUR", file, ()),
        ("PART/EUR", file, ("--start", "2024-01-02")),
        ("OTHER/EUR", other, ()),
    ):
        ended = project.run(
            *("backtest", "--strategy", "ma_crossover", "--data", str(data), "--symbol", symbol, "--timeframe", "1d"),
            *(*more, "--no-tear-sheet"),
        )
        assert ended.code == 0, ended.err
    found = verdict(project, file, "--param", "fast_window=6", "--json", "--no-html").json
    warned = verdict(project, file, "--param", "fast_window=6", "--no-html")

    assert found["tried"]["same_bars"] == ["PART/EUR", "TWIN/EUR"]
    assert (found["tried"]["different"], found["tried"]["windows"]) == (2, 1)
    assert found["family"]["size"] == 2
    assert project.run("reproduce", found["run_id"]).code == 0
    assert "under another name" in (Path(found["folder"]) / "report.md").read_text("utf-8")
    assert "Markets that the strategy was tried on" in warned.out


def test_the_best_of_many_markets_has_to_stand_out(project):
    """An edge on one market is none as the best of five that were looked at, unless it is five times as certain."""
    file = kept(project, trending(5, 0.2))
    swept(project, file)
    alone = verdict(project, file, "--json", "--no-html").json
    for number in range(4):
        other = kept(project, noise(number + 20, days=300), "other.csv")
        ended = project.run(
            *("backtest", "--strategy", "ma_crossover", "--data", str(other), "--symbol", f"M{number}/EUR"),
            *("--timeframe", "1d", "--no-tear-sheet"),
        )
        assert ended.code == 0, ended.err
    among = verdict(project, file, "--json", "--no-html").json

    assert (alone["answer"], alone["family"]["size"]) == ("edge", 1)
    assert among["family"]["size"] == 5
    assert among["family"]["holm"] == pytest.approx(min(5.0 * alone["family"]["own"], 1.0))
    line = next(line for line in among["lines"] if line["name"] == "family")
    assert line["holds"] is (among["family"]["holm"] <= 0.05)
    assert (among["answer"] == "edge") is line["holds"]
    ended = project.run(
        *("backtest", "--strategy", "ma_crossover", "--data", str(other), "--symbol", "LATER/EUR"),
        *("--timeframe", "1d", "--no-tear-sheet"),
    )
    assert ended.code == 0, ended.err
    assert project.run("reproduce", among["run_id"]).code == 0


@pytest.mark.parametrize("status", ["started", "aborted", "failed"])
def test_what_an_ended_sweep_had_done_counts(project, status):
    """A sweep that was killed, interrupted or failed has shown what it had stored: its combinations count."""
    file = kept(project, noise(1, days=600))
    swept(project, file)
    with closing(sqlite3.connect(project.folder / "var" / "registry.db")) as connection, connection:
        connection.execute("delete from trials where number >= 4")
        connection.execute("update runs set status = ?, finished_at = null", (status,))

    assert ledger(project, file).different == 4


def test_another_name_for_a_strategy_lowers_nothing(project):
    """Trials of every strategy count on a market, so that a copy under another name begins where the first one ended."""
    file = kept(project, noise(1, days=600))
    swept(project, file)

    assert ledger(project, file, strategy="macd").count == 9


def test_a_trial_done_again_gains_what_its_backtest_did(project):
    file = kept(project, noise(3, days=700))
    record = backtest(project, file, "--param", "fast_window=7", "--side", "both")
    found = ledger(project, file)

    assert np.prod(1.0 + found.periods[:, 0]) - 1.0 == pytest.approx(record["metrics"]["total_return"], rel=1e-9)
    assert found.ratios[0] * 365**0.5 == pytest.approx(record["metrics"]["sharpe"])


def test_one_idea_on_several_timeframes_is_several_trials(project):
    """Each length of bars raises the count and the hurdle, and lowers the deflated Sharpe ratio of the first."""
    file = kept(project, noise(6, days=3_000))
    told = []
    for length in ("1d", "1h", "4h"):
        if length != "1d":
            other = kept(project, some_bars(300, timeframe=length), f"{length}.csv")
            ended = project.run(
                *("backtest", "--strategy", "ma_crossover", "--data", str(other), "--symbol", "BTC/EUR"),
                *("--timeframe", length, "--param", "fast_window=9", "--no-tear-sheet"),
            )
            assert ended.code == 0, ended.err
        told.append(verdict(project, file, "--param", "fast_window=9", "--json", "--no-html").json)

    assert [item["tried"]["counted"] for item in told] == [1, 2, 3]
    assert [item["tried"]["elsewhere"] for item in told] == [0, 1, 2]
    hurdles = [item["hurdle"] for item in told]
    deflated = [next(line["found"] for line in item["lines"] if line["name"] == "dsr") for item in told]
    assert hurdles == sorted(set(hurdles))
    assert deflated == sorted(set(deflated), reverse=True)


def test_trials_on_other_timeframes_count_without_being_done_again(project):
    file = kept(project, noise(1, days=600))
    backtest(project, file)
    hours = project.bars("hours.csv", count=200)
    ended = project.run("backtest", "--strategy", "macd", "--data", str(hours), "--symbol", "BTC/EUR", "--no-tear-sheet")
    assert ended.code == 0
    found = ledger(project, file)

    assert (found.different, len(found.done)) == (2, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "update trials set params = '{'",
        "update trials set params = '[1]'",
        "update runs set strategy = 'gone'",
        "update runs set spec = '{}'",
        "update runs set spec = 'x'",
    ],
)
def test_what_cant_be_done_again_still_counts(project, damage):
    """A damaged row, a run without terms or a strategy that is not installed any more lowers no count."""
    file = kept(project, noise(1, days=600))
    backtest(project, file)
    with closing(sqlite3.connect(project.folder / "var" / "registry.db")) as connection, connection:
        connection.execute(damage)
    found = ledger(project, file)

    assert (found.different, len(found.done)) == (1, 0)
    again = verdict(project, file, "--param", "fast_window=6", "--json", "--no-html")
    assert again.json["tried"]["counted"] == 2


def test_noise_is_no_edge_after_a_sweep(project):
    """The best of the sweep is judged, all of it is counted, the answer has its page, and the exit code is 1."""
    file = kept(project, noise(4))
    swept(project, file)
    ended = verdict(project, file, "--json")
    record = ended.json
    folder = Path(record["folder"])
    best = max((json.loads(figures)["sharpe"] for _, _, figures in trials_of(project, "sweep")), default=None)

    assert (ended.code, record["answer"]) == (1, "no edge")
    assert "found no edge after 9 trials" in ended.err
    assert record["tried"]["counted"] == 9
    assert record["metrics"]["sharpe"] == best
    assert [line["name"] for line in record["lines"]] == [
        *("trades", "length", "psr", "dsr", "min_track_record", "spa_cash", "spa_market", "pbo", "costs", "family")
    ]
    page = (folder / "verdict.html").read_text("utf-8")
    text = (folder / "report.md").read_text("utf-8")
    for title in ("Deflated Sharpe ratio", "9 combinations were tried", "No edge was shown"):
        assert title in page
        assert title in text
    assert json.loads((folder / "run.json").read_text("utf-8"))["answer"] == "no edge"


def trials_of(project, kind: str) -> list[tuple[int, str, str]]:
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        return parts.registry.trials(parts.registry.get(f"latest:{kind}").run_id)


def test_a_planted_edge_is_found_after_a_sweep(project):
    """True Sharpe ratio of 2 a year: exit code 0, every line holds, and the same again from the same seed."""
    file = kept(project, trending(5, 0.2))
    swept(project, file)
    first = verdict(project, file, "--json", "--no-html")
    second = verdict(project, file, "--json", "--no-html")

    assert (first.code, first.json["answer"], first.err) == (0, "edge", "")
    assert {line["name"] for line in first.json["lines"] if line["holds"] is not True} == {"family"}
    assert [line["found"] for line in first.json["lines"]] == [line["found"] for line in second.json["lines"]]


def test_what_a_verdict_looks_at_counts_as_tried(project):
    """Judging parameters that nobody tried before is a trial; judging them again is none."""
    file = kept(project, noise(4, days=900))
    counted = [
        verdict(project, file, "--param", f"fast_window={fast}", "--json", "--no-html").json["tried"]["counted"]
        for fast in (5, 6, 6)
    ]

    assert counted == [1, 2, 2]
    assert "page" not in verdict(project, file, "--no-html").out


def test_too_short_is_an_open_question(project):
    ended = verdict(project, kept(project, noise(4, days=400)), "--no-html")

    assert ended.code == 1
    assert "Not enough data to tell." in ended.out
    assert "import a longer history" in ended.err


def test_without_costs_there_is_no_edge(project):
    """However good: what was tried without fees is not chosen, and what is judged without them fails that line."""
    file = kept(project, trending(5, 0.2))
    config = project.folder / "config.toml"
    config.write_text(
        config.read_text().replace("fee_bps = 40.0", "fee_bps = 0.0").replace('side = "long"', 'side = "both"', 1)
    )
    ended = verdict(project, file, "--json", "--no-html")

    assert ended.code == 1
    assert {line["name"]: line["holds"] for line in ended.json["lines"]}["costs"] is False


def keep_back(project, date: str) -> None:
    """Set up a hold-out from a date on."""
    config = project.folder / "config.toml"
    text = config.read_text()
    assert "[research.holdout]" in text
    lines = [f'{line}\n"BTC/EUR" = "{date}"' if line.startswith("[research.holdout]") else line for line in text.splitlines()]
    config.write_text("\n".join(lines) + "\n")


def test_a_hold_out_is_not_read(project):
    """The verdict ends where the hold-out begins; one that is asked to go on is refused, as is an older backtest's stress."""
    file = kept(project, noise(4, days=900))
    backtest(project, file)
    keep_back(project, "2025-06-01")
    found = verdict(project, file, "--json", "--no-html").json
    beyond = verdict(project, file, "--end", "2025-07-01", "--no-html")
    stressed = project.run("robustness", "latest:backtest", "--no-html")

    assert found["dataset"]["last"] == "2025-05-31T00:00:00Z"
    assert found["tried"]["counted"] == 1
    assert (beyond.code, stressed.code) == (3, 3)
    assert "hold-out" in beyond.err
    assert "hold-out" in stressed.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--param", "fast=3"), "fast_window"),
        (("--param", "fast_window=90"), "should be below slow_window"),
        (("--start", "2031-01-01"), "expected at least 2 bars"),
    ],
)
def test_what_makes_no_sense_is_refused(project, more, words):
    ended = verdict(project, kept(project, noise(4, days=300)), *more)

    assert ended.code == 2
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_nothing_heavy_loads_before_it_is_needed():
    """Neither help nor the words of a verdict load charts, compilers or other statistics."""
    code = (
        "import sys, peak_trade.cli.main, peak_trade.runs.research.trials, peak_trade.research.edge;"
        "import peak_trade.report.verdict_facts;"
        "print(*(name for name in ('scipy', 'arch', 'statsmodels', 'numba', 'bokeh', 'jinja2') if name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == ""
