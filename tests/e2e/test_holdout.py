"""`peak-trade holdout`, and what it keeps from every command of research."""

import json
import re
from contextlib import closing
from datetime import UTC, datetime

import pytest
from tests.paths import ROOT

OPEN = ("holdout", "open", "--strategy", "ma_crossover", "--no-tear-sheet")
WHY = ("--why", "research on it is over", "--by", "maria")
COMMANDS = {
    "backtest": ("backtest", "--strategy", "ma_crossover", "--no-tear-sheet", "--json"),
    "sweep": ("sweep", "--config", "sweep.toml", "--no-html", "--json"),
    "walkforward": (
        *("walkforward", "--strategy", "ma_crossover", "--train", "1000", "--test", "500"),
        *("--no-html", "--json", "--grid", "fast_window=5,10"),
    ),
    "verdict": ("verdict", "--strategy", "ma_crossover", "--no-html", "--json"),
    "check": ("strategy", "check", "ma_crossover", "--cuts", "24", "--json"),
}


def hold(project, rule: str, market: str = "SPX/USD") -> None:
    """Keep bars of a market back."""
    path = project.folder / "config.toml"
    path.write_text(path.read_text().replace("[research.holdout] ", f'[research.holdout]\n"{market}" = "{rule}"\n'))
    project.sweep_file("fast_window = [5, 10]")


def last_bar(project, name: str, *more: str) -> str:
    return project.run(*COMMANDS[name], *more).json["dataset"]["last"]


def test_nothing_is_kept_back_by_default(project):
    """Without a hold-out every command reads to the last bar, and says nothing of one."""
    project.sweep_file("fast_window = [5, 10]")

    records = [project.run(*COMMANDS[name]).json for name in COMMANDS]

    assert {record["dataset"]["last"] for record in records} == {"2018-12-31T00:00:00Z"}
    assert not any("hold-out" in note for record in records for note in record["dataset"]["notes"])


@pytest.mark.parametrize("name", COMMANDS)
def test_research_ends_where_the_hold_out_begins(project, name):
    """Each command reads the last bar before it and none after, and says so."""
    hold(project, "2015-01-01")

    record = project.run(*COMMANDS[name]).json

    assert record["dataset"]["last"] == "2014-12-31T00:00:00Z"
    assert [note for note in record["dataset"]["notes"] if note.startswith("the hold-out from 2015-01-02")] != []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_period_that_reaches_into_it_is_refused(project, name):
    """An --end on its first bar's opening is allowed; one later is refused with exit code 3."""
    hold(project, "2015-01-02")
    allowed = project.run(*COMMANDS[name], "--end", "2015-01-02")
    refused = project.run(*COMMANDS[name], "--end", "2015-01-03")
    begun = project.run(*COMMANDS[name], "--start", "2016-01-01")

    assert allowed.json["dataset"]["last"] == "2014-12-31T00:00:00Z"
    assert (refused.code, refused.out, begun.code) == (3, "", 3)
    assert "the hold-out of SPX/USD begins" in refused.err


@pytest.mark.parametrize(
    ("rule", "market", "kept"),
    [
        ("20%", "SPX/USD", 1006),
        ("0.02%", "SPX/USD", 1),
        ("0.01%", "SPX/USD", 0),
        ("2018-12-31", "SPX/USD", 1),
        ("2019-01-01", "SPX/USD", 0),
        ("20%", "SPX/USD 1d", 1006),
        ("20%", "SPX/USD 1h", 0),
        ("20%", "*", 1006),
        ("20%", "BTC/EUR", 0),
    ],
)
def test_whose_bars_are_kept_back(project, rule, market, kept):
    """A share is rounded down to whole bars, a date includes its bar, and a rule holds for its market alone."""
    hold(project, rule, market)

    assert project.run(*COMMANDS["backtest"]).json["dataset"]["bars"] == 5031 - kept


def test_the_nearest_rule_counts(project):
    """The timeframe's rule comes before the symbol's, and that before every market's."""
    hold(project, "50%", "*")
    hold_more = project.folder / "config.toml"
    hold_more.write_text(
        hold_more.read_text().replace('"*" = "50%"', '"*" = "50%"\n"SPX/USD" = "2018-01-01"\n"SPX/USD 1d" = "2017-01-01"')
    )

    assert last_bar(project, "backtest") == "2016-12-30T00:00:00Z"


def test_no_other_way_to_bars_that_are_counted():
    """Whatever counts trials gets its bars from `research_data`; only the opening itself loads all of them."""
    runs = ROOT / "src" / "peak_trade" / "runs"
    counting = {path.name: path.read_text() for path in runs.rglob("*.py") if "tried_on(" in path.read_text()}
    loading = {name for name, text in counting.items() if re.search(r"parts\.dataset\(", text)}

    assert {"backtest.py", "sweep.py", "walk_forward.py", "verdict.py"} < set(counting)
    assert loading == {"holdout.py", "record.py"}


@pytest.mark.parametrize("rule", ["", "20", "0%", "100%", "soon", "-5%"])
def test_wrong_rules_are_refused(project, rule):
    hold(project, rule)

    ended = project.run(*COMMANDS["backtest"])

    assert ended.code == 2
    assert 'share such as "20%"' in ended.err


def test_a_file_of_bars_has_the_hold_out_of_its_symbol(project):
    hold(project, "10%", "BTC/EUR")
    path = project.bars(count=500)

    record = project.run(*COMMANDS["backtest"], "--data", str(path), "--symbol", "BTC/EUR").json

    assert record["dataset"]["bars"] == 450


def test_it_is_opened_once(project):
    """The first opening runs over the hold-out alone and is on record; a second one is refused with exit code 3."""
    hold(project, "2015-01-01")
    first = project.run(*OPEN, *WHY, "--json")
    again = project.run(*OPEN, "--why", "once more")
    listed = project.run("holdout", "list", "--json").json

    record = first.json
    assert (first.code, record["dataset"]["first"], record["dataset"]["last"]) == (
        0,
        "2015-01-02T00:00:00Z",
        "2018-12-31T00:00:00Z",
    )
    assert (again.code, again.out) == (3, "")
    assert "by maria: research on it is over" in again.err
    assert [(item["by"], item["run_id"], item["before"]) for item in listed["openings"]] == [("maria", record["run_id"], 0)]
    assert project.run("reproduce", "latest:holdout").code == 0
    assert project.run("journal", "verify").code == 0


def test_the_strategy_is_warm_and_begins_flat(project):
    """Its figures are those of a backtest's targets over the same bars, run from the hold-out's first bar."""
    from peak_trade.compose import DataChoice, Parts
    from peak_trade.research.backtest import run
    from peak_trade.research.kernel import INTERPRETED
    from peak_trade.settings import load_config
    from peak_trade.strategy.catalogue import make

    hold(project, "2015-01-01")
    record = project.run(*OPEN, *WHY, "--json").json
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        bars = parts.dataset(DataChoice(path=None, symbol="SPX/USD", timeframe="1d")).bars
        strategy = make("ma_crossover", record["params"])
        first = len(bars.between(None, datetime(2015, 1, 1, tzinfo=UTC)))
        from peak_trade.cli.options import Given, choose_terms

        beside = run(bars[first:], strategy, strategy.targets(bars)[first:], choose_terms(parts, Given()), INTERPRETED)

    assert record["result_sha256"] == beside.sha256()
    assert len(beside.fills) > 0


def test_another_version_is_counted(project):
    """Other parameters may open it, but every opening before is told, in the result and as evidence."""
    hold(project, "2015-01-01")
    project.run(*OPEN, *WHY)
    other = project.run(*OPEN, *WHY, "--param", "fast_window=15", "--json")

    assert (other.code, other.json["openings_before"]) == (0, 1)
    facts = evidence_of(project, other.json["evidence"])
    assert (facts["suite"], facts["openings_before"], facts["unspoiled"]) == ("holdout", 1, False)


def test_an_opening_counts_also_where_its_process_died(project, monkeypatch):
    """What was written before the bars were read is enough to refuse a second look."""
    hold(project, "2015-01-01")
    monkeypatch.setattr("peak_trade.runs.research.holdout._run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    died = project.run(*OPEN, *WHY)
    monkeypatch.undo()
    monkeypatch.chdir(project.folder)

    again = project.run(*OPEN, *WHY)

    assert (died.code, again.code) == (130, 3)
    assert "without a result" in again.err


def test_trials_of_an_opening_are_counted(project):
    hold(project, "2015-01-01")
    record = project.run(*OPEN, *WHY, "--json").json

    assert record["trials_on_dataset"] == {"total": 1, "different": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (OPEN, "expected --why TEXT"),
        ((*OPEN, *WHY, "--symbol", "SYN/USD", "--timeframe", "1m"), "expected a hold-out of SYN/USD"),
    ],
)
def test_what_an_opening_needs(project, arguments, words):
    hold(project, "2015-01-01")

    ended = project.run(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_openings_are_listed_in_words(project):
    hold(project, "2015-01-01")
    before = project.run("holdout", "list").out
    project.run(*OPEN, *WHY)
    after = project.run("holdout", "list").out

    assert "no hold-out was opened yet" in before
    assert "research on it is over" in after
    assert "kept back: SPX/USD: 2015-01-01" in after


def evidence_of(project, segment: str) -> dict:
    """Return the facts of a piece of evidence as the journal has them."""
    (path,) = (project.folder / "var" / "journal").rglob(f"{segment}.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return next(found["facts"] for record in records for found in [record.get("body", record)] if "facts" in found)
