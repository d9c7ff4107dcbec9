"""`peak-trade experiments`, `reproduce`, `report`, `config`, `strategies`."""

import csv
import io
import json

import pytest


@pytest.fixture
def runs(project):
    """Three backtests, the last the newest."""
    found = []
    for strategy, tag in (("ma_crossover", "a"), ("macd", "a"), ("buy_and_hold", "b")):
        found.append(project.run("backtest", "--strategy", strategy, "--tag", tag, "--no-tear-sheet", "--json").json)
    return found


def ids(ended) -> list[str]:
    return [run["run_id"] for run in ended.json]


def test_listing_without_a_subcommand(project, runs):
    """The playbook's call lists the newest first; filters narrow it."""
    newest = [run["run_id"] for run in reversed(runs)]

    assert ids(project.run("experiments", "--run-type", "backtest", "--limit", "50", "--json")) == newest
    assert ids(project.run("experiments", "--tag", "a", "--limit", "1", "--json")) == [newest[1]]
    assert ids(project.run("experiments", "--strategy", "macd", "--json")) == [newest[1]]
    assert ids(project.run("experiments", "--symbol", "BTC/EUR", "--json")) == []


def test_an_empty_registry_says_what_to_do(project):
    """The first look at the list tells how to make a run."""
    assert "peak-trade backtest" in project.run("experiments").out


def test_top_ranks_by_a_figure(project, runs):
    """The best by the figure leads."""
    ranked = project.run("experiments", "top", "--metric", "total_return", "--json").json
    values = [run["metrics"]["total_return"] for run in ranked]

    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("arguments", [("--sort-by", "luck"), ("--status", "great"), ("--strategy", "nope"), ("--limit", "0")])
def test_wrong_filters_are_refused(project, runs, arguments):
    """A filter that can't match anything is an error, not an empty list."""
    ended = project.run("experiments", *arguments)

    assert (ended.code, ended.out, len(ended.err.strip().splitlines())) == (2, "", 1)


def test_show_and_compare(project, runs):
    """Show prints one run, compare what differs and by how much."""
    shown = project.run("experiments", "show", runs[0]["run_id"])
    compared = project.run("experiments", "compare", runs[0]["run_id"], runs[1]["run_id"], "--json").json

    assert "fast_window=20" in shown.out
    assert compared["changed"]["strategy"] == {"first": "ma_crossover", "second": "macd"}
    assert compared["metrics"]["sharpe"] == {
        "first": runs[0]["metrics"]["sharpe"],
        "second": runs[1]["metrics"]["sharpe"],
    }


def test_export_as_csv_and_markdown(project, runs):
    """Both formats have a row for each run; figures in CSV are exact."""
    rows = list(csv.DictReader(io.StringIO(project.run("experiments", "export", "--csv").out)))
    lines = project.run("experiments", "export", "--markdown").out.splitlines()

    assert float(rows[-1]["sharpe"]) == runs[0]["metrics"]["sharpe"]
    assert (len(rows), len(lines)) == (3, 5)
    assert project.run("experiments", "export").code == 2


def test_reproduce_confirms(project, runs):
    """A run done again is identical in every figure."""
    ended = project.run("reproduce", runs[1]["run_id"], "--json")

    assert (ended.code, ended.json["identical"], ended.json["differences"]) == (0, True, [])


def test_reproduce_of_a_sweep_confirms(project):
    """A sweep done again is identical in every trial."""
    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    project.run("sweep", "--config", "sweep.toml", "--no-html")

    ended = project.run("reproduce", "latest:sweep", "--json")

    assert (ended.code, ended.json["identical"]) == (0, True)


def test_reproduce_sees_changed_data(project):
    """When the bars have changed since, the answer is no, with exit code 1."""
    path = project.bars("bars.csv")
    project.run("backtest", "--strategy", "macd", "--data", "bars.csv", "--symbol", "BTC/EUR", "--no-tear-sheet")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))

    ended = project.run("reproduce", "latest", "--json")

    assert (ended.code, ended.json["identical"], ended.json["data_same"]) == (1, False, False)
    assert "its data has changed" in ended.err


def test_reproduce_sees_a_changed_figure(project, runs):
    """A figure altered in the registry is found and named."""
    import sqlite3

    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("update metrics set value = value + 1e-9 where name = 'sharpe' and run_id = ?", (runs[0]["run_id"],))
    connection.close()

    ended = project.run("reproduce", runs[0]["run_id"], "--json")

    assert (ended.code, [item["name"] for item in ended.json["differences"]]) == (1, ["sharpe"])


def test_reproduce_uses_the_steps_of_then(project):
    """Lot steps set in the configuration later do not change what an old run comes out as."""
    project.run("backtest", "--strategy", "macd", "--no-tear-sheet")
    config = project.folder / "config.toml"
    config.write_text(config.read_text() + '\n[instrument."SPX/USD"]\nlot_step = "1"\ntrading_days = 200\n')

    assert project.run("reproduce", "latest").code == 0


def test_report_is_made_anew(project, runs):
    """`report` writes the folder again from the registry alone."""
    import shutil

    folder = project.folder / "reports" / "experiments" / runs[0]["run_id"]
    before = json.loads((folder / "run.json").read_text())
    shutil.rmtree(project.folder / "reports")

    ended = project.run("report", runs[0]["run_id"])
    again = json.loads((folder / "run.json").read_text())

    assert ended.code == 0
    assert (folder / "tear_sheet.html").stat().st_size > 100_000
    assert {key for key in before if before[key] != again[key]} <= {"trials_on_dataset"}


def test_strategies_list_and_show(project):
    """Every built-in is listed; show gives limits and the configured values."""
    listed = project.run("strategies", "list", "--json").json
    config = project.folder / "config.toml"
    config.write_text(config.read_text().replace("fast_window = 20", "fast_window = 7"))
    shown = project.run("strategies", "show", "ma_crossover", "--json").json

    assert {item["key"] for item in listed} >= {"ma_crossover", "rsi_reversion", "macd", "buy_and_hold", "composite"}
    assert [(item["name"], item["value"]) for item in shown["params"]] == [("fast_window", 7), ("slow_window", 50)]


@pytest.mark.parametrize("key", ["ma_crossover", "composite", "vol_regime_filter", "buy_and_hold", "rsi_strategy"])
def test_every_strategy_can_be_shown(project, key):
    """The text names rule, source and warm-up."""
    ended = project.run("strategies", "show", key)

    assert (ended.code, "source:" in ended.out, "warm-up" in ended.out) == (0, True, True)


def test_config_check_show_explain(project):
    """The three commands work on the shipped file."""
    assert project.run("config", "check").code == 0
    assert project.run("config", "show", "backtest.fee_bps", "--json").json == 40.0
    assert "config.toml:" in project.run("config", "explain", "backtest.fee_bps").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[strategy.ma_crossover]\nfast_window = 90", "slow_window"),
        ("[strategy.ma_crosover]\nx = 1", "did you mean ma_crossover"),
        ('[backtest]\nsizing = "much"', "fraction=0.25"),
        ('[backtest]\nsymbol = "BTC"', "BTC/EUR"),
        ('[testnet_profiles.x]\nstrategy = "nope"', "strategy"),
        ('[instrument."BTC"]\nlot_step = "1"', "symbol"),
    ],
)
def test_config_check_looks_into_everything(project, text, words):
    """Values that only a part can judge are checked too."""
    (project.folder / "config.toml").write_text(text)

    ended = project.run("config", "check")

    assert (ended.code, words in ended.err) == (2, True)


def test_reproduce_sees_changed_fills(project, runs):
    """The hash over fills and equity is compared too."""
    import sqlite3

    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("update runs set result_sha256 = 'x' where run_id = ?", (runs[0]["run_id"],))
    connection.close()

    ended = project.run("reproduce", runs[0]["run_id"], "--json")

    assert (ended.code, ended.json["differences"][0]["name"]) == (1, "fills and equity (sha256)")


def test_later_bars_do_not_change_an_old_run(project):
    """A run over all bars there were comes out the same after more were imported."""
    path = project.bars("bars.csv", count=600)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:500]))
    arguments = ("data", "import", "bars.csv", "--symbol", "BTC/EUR", "--timeframe", "1h")
    project.run(*arguments)
    project.run("backtest", "--strategy", "macd", "--symbol", "BTC/EUR", "--timeframe", "1h", "--no-tear-sheet")
    path.write_text("\n".join(lines))
    project.run(*arguments)

    assert project.run("reproduce", "latest").code == 0


def test_a_section_for_no_strategy_is_refused(project):
    """A misspelt strategy section is an error wherever parameters are read, not only in config check."""
    config = project.folder / "config.toml"
    config.write_text(config.read_text().replace("[strategy.ma_crossover]", "[strategy.ma_crossovr]"))

    ended = project.run("backtest", "--strategy", "macd", "--no-tear-sheet")

    assert (ended.code, "did you mean ma_crossover" in ended.err) == (2, True)


def test_configured_exits_apply(project):
    """Stops of the [risk] section hold where the command line gives none."""
    config = project.folder / "config.toml"
    config.write_text(config.read_text().replace("stop_loss = 0.0", "stop_loss = 0.03"))

    record = project.run("backtest", "--strategy", "ma_crossover", "--no-tear-sheet", "--json").json

    assert record["costs"]["stop_loss"] == 0.03


def test_exported_words_are_no_formulas(project):
    """A tag that a spreadsheet would take for a formula is exported as text."""
    project.run("backtest", "--strategy", "macd", "--no-tear-sheet", "--tag", "=1+1")

    row = next(csv.DictReader(io.StringIO(project.run("experiments", "export", "--csv").out)))

    assert row["tags"] == "'=1+1"


def test_comparing_sweeps_shows_their_grids(project):
    """What differs between two sweeps is named."""
    for values in ("[5, 10]", "[5, 15]"):
        project.sweep_file(f"fast_window = {values}\nslow_window = [20, 40]")
        project.run("sweep", "--config", "sweep.toml", "--no-html")
    first, second = (run["run_id"] for run in project.run("experiments", "--json").json)

    assert "spec.grid" in project.run("experiments", "compare", first, second, "--json").json["changed"]


@pytest.mark.parametrize(
    "change",
    [
        "spec = '{broken'",
        "params = 'null'",
        "versions = '[1]'",
        "status = 'exploded'",
        "trials = 'many'",
        "run_id = '../../evil'",
    ],
)
def test_a_damaged_row_hides_nothing(project, runs, change):
    """A row that can't be read is shown as damaged beside the others and refused where it is used."""
    import sqlite3

    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"update runs set {change} where run_id = ?", (runs[0]["run_id"],))
    connection.close()

    listed = project.run("experiments", "--json")
    states = sorted(run["status"] for run in listed.json)
    used = [project.run(command, listed.json[-1]["run_id"]) for command in ("reproduce", "report")]

    assert (listed.code, states) == (0, ["completed", "completed", "damaged"])
    assert [ended.code for ended in used] == [1, 1]
    assert project.run("experiments", "export", "--csv").code == 0


def test_a_metric_that_is_no_number_hides_nothing(project, runs):
    """So with a figure that is a word."""
    import sqlite3

    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("update metrics set value = 'abc' where name = 'sharpe' and run_id = ?", (runs[0]["run_id"],))
    connection.close()

    assert [run["status"] for run in project.run("experiments", "--json").json] == ["completed", "completed", "damaged"]


def test_a_specification_without_content_is_one_sentence(project, runs):
    """A run that can't be done again says so."""
    import sqlite3

    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("update runs set spec = '{}'")
    connection.close()

    ended = project.run("reproduce", "latest")

    assert (ended.code, "damaged" in ended.err, len(ended.err.strip().splitlines())) == (1, True, 1)


def test_marks_in_tags_stay_words(project):
    """Tags can't steer the terminal, and Markdown and HTML take them for text."""
    project.run("backtest", "--strategy", "macd", "--no-tear-sheet", "--tag", "<script>[x](javascript:1)|")

    assert "<script>" not in project.run("experiments", "export", "--markdown").out.replace("\\<", "")
