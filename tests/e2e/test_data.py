"""`peak-trade data`: import, join, inspect, refuse."""

import pytest
from tests.builders import some_bars


def imported(project, name: str, *more: str):
    return project.run("data", "import", name, "--symbol", "BTC/EUR", "--timeframe", "1h", *more)


def test_import_then_inspect(project):
    """What was imported is what is shown, with the same hash."""
    project.bars("bars.csv")

    first = imported(project, "bars.csv", "--json")
    shown = project.run("data", "inspect", "BTC/EUR", "1h", "--json")

    assert (first.code, shown.code) == (0, 0)
    assert first.json["sha256"] == shown.json["sha256"]
    assert first.json["added"] == 500


def test_importing_twice_adds_nothing(project):
    """The same file again leaves the dataset as it is."""
    project.bars("bars.csv")
    before = imported(project, "bars.csv", "--json").json

    again = imported(project, "bars.csv", "--json").json

    assert (again["added"], again["sha256"], again["origin"]) == (0, before["sha256"], before["origin"])


@pytest.mark.parametrize(
    ("change", "code"),
    [({"close": [-1.0] * 500}, "close"), ({"timestamp": [1_700_000_000] * 500}, "twice"), ({"high": [0.001] * 500}, "swapped")],
)
def test_a_refused_import_changes_nothing(project, change, code):
    """The store is byte for byte as before, the error is one line, the exit code 2."""
    project.bars("good.csv")
    imported(project, "good.csv")
    stored = project.folder / "var" / "data" / "BTC-EUR" / "1h.parquet"
    before = stored.read_bytes()
    project.bars("bad.csv", **change)

    ended = imported(project, "bad.csv")

    assert (ended.code, len(ended.err.strip().splitlines())) == (2, 1)
    assert code in ended.err
    assert stored.read_bytes() == before


def test_a_conflict_names_the_way_out(project):
    """Other prices for the same hours are refused, --replace takes them."""
    project.bars("one.csv")
    project.bars("two.csv", seed=8)
    imported(project, "one.csv")

    refused = imported(project, "two.csv")
    replaced = imported(project, "two.csv", "--replace")

    assert (refused.code, "--replace" in refused.err) == (2, True)
    assert replaced.code == 0


def test_accepting_is_remembered_and_shown(project):
    """A dataset with an accepted defect says so in every later result."""
    highs = some_bars(500, gap=0.001).high.copy()
    highs[7] = 0.5 * highs[7]
    project.bars("odd.csv", high=highs)
    refused = imported(project, "odd.csv")
    accepted = imported(project, "odd.csv", "--accept", "high_low")
    result = project.run("backtest", "--strategy", "macd", "--symbol", "BTC/EUR", "--timeframe", "1h", "--no-tear-sheet")

    assert (refused.code, accepted.code) == (2, 0)
    assert "warning: this data was imported although the check high_low failed" in result.out


def test_holes_are_listed_and_exported(project):
    """Inspect shows the longest holes and writes the whole ledger."""
    path = project.bars("bars.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:100] + lines[103:200] + lines[201:]))
    imported(project, "bars.csv")

    ended = project.run("data", "inspect", "BTC/EUR", "1h", "--gaps-out", "gaps.csv")

    assert "bars that are not there: 4 missing" in ended.out
    assert (project.folder / "gaps.csv").read_text().splitlines() == [
        "start,bars,kind",
        "2024-01-05T03:00:00Z,3,missing",
        "2024-01-09T07:00:00Z,1,missing",
    ]


def test_list_names_samples_and_imports(project):
    """Both bundled samples and what was imported are listed."""
    project.bars("bars.csv")
    imported(project, "bars.csv")

    keys = {(item["symbol"], item["timeframe"]) for item in project.run("data", "list", "--json").json}

    assert keys == {("BTC/EUR", "1h"), ("SPX/USD", "1d"), ("SYN/USD", "1m")}


def test_two_imports_at_once_keep_both(project):
    """Two processes that import different months at the same moment lose neither."""
    path = project.bars("whole.csv", count=4_000)
    lines = path.read_text().splitlines()
    for number in range(4):
        part = [lines[0], *lines[1 + number * 1_000 : 1 + (number + 1) * 1_000]]
        (project.folder / f"part{number}.csv").write_text("\n".join(part))
    started = [
        project.start("data", "import", f"part{number}.csv", "--symbol", "BTC/EUR", "--timeframe", "1h") for number in range(4)
    ]
    codes = [(process.communicate(timeout=60), process.returncode)[1] for process in started]

    shown = project.run("data", "inspect", "BTC/EUR", "1h", "--json").json

    assert codes == [0] * 4
    assert (shown["bars"], shown["gaps"]["holes"]) == (4_000, 0)


def test_a_file_of_another_pair_is_refused(project):
    """A file whose name says another pair is not taken for this one, unless a person says so."""
    project.bars("Kraken_ETHEUR_1h.csv")

    refused = imported(project, "Kraken_ETHEUR_1h.csv")
    accepted = imported(project, "Kraken_ETHEUR_1h.csv", "--accept", "symbol")

    assert (refused.code, "says ETH/EUR" in refused.err, accepted.code) == (2, True, 0)


def test_a_dataset_can_be_removed(project):
    """What was imported by mistake goes away; removing it again is an error."""
    project.bars("bars.csv")
    imported(project, "bars.csv")

    removed = project.run("data", "remove", "BTC/EUR", "1h")
    again = project.run("data", "remove", "BTC/EUR", "1h")

    assert (removed.code, again.code) == (0, 2)


def test_one_damaged_dataset_hides_no_other(project):
    """A file that can't be read is listed with what is wrong."""
    project.bars("bars.csv")
    imported(project, "bars.csv")
    (project.folder / "var" / "data" / "BTC-EUR" / "1h.parquet").write_bytes(b"PAR1 broken")
    (project.folder / "var" / "data" / "BTC-EUR" / "copy.parquet").write_bytes(b"")

    listed = project.run("data", "list", "--json")

    assert listed.code == 0
    assert [item["symbol"] for item in listed.json if "bars" in item] == ["SPX/USD", "SYN/USD"]
    assert len([item for item in listed.json if "error" in item]) == 2


def test_a_code_that_accepts_nothing_is_refused(project):
    """A misspelt --accept would wave nothing through and say nothing."""
    project.bars("bars.csv")
    refused = imported(project, "bars.csv", "--accept", "outlier")

    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "found 'outlier'; choose one" in refused.err
    assert imported(project, "bars.csv", "--accept", "outliers").code == 0


def test_a_file_that_leads_in_circles_is_one_sentence(project):
    """As input and as output: no fault of ours, whatever a path leads to."""
    (project.folder / "loop.csv").symlink_to("loop.csv")
    backtest = ("backtest", "--strategy", "macd", "--no-tear-sheet")
    read = project.run(*backtest, "--data", "loop.csv", "--symbol", "BTC/EUR")
    written = project.run(*backtest, "--trades-out", "loop.csv")

    assert (read.code, len(read.err.splitlines())) == (2, 1)
    assert written.code in (0, 1)
    assert "internal fault" not in read.err + written.err


def test_the_newest_of_a_type_that_is_not_there_names_the_list(project):
    """A backtest would make no sweep."""
    ended = project.run("reproduce", "latest:sweep")

    assert ended.code == 2
    assert "of type sweep, found none; peak-trade experiments lists" in ended.err
