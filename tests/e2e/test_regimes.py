"""`peak-trade regimes`: what is said, what is left behind, and what is refused."""

import os
import shlex
from contextlib import closing
from pathlib import Path

import pytest
from tests.e2e.test_limits import HEAVY, loaded_by

from peak_trade.compose import Parts
from peak_trade.journal.registry import RunFilter
from peak_trade.settings import load_config

SAMPLE = ("regimes", "--strategy", "ma_crossover", "--end", "2003-01-01")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


def test_a_market_is_told_and_left_behind(project):
    """Offline, on the bundled bars: four families, each adding up; JSON, Markdown and page say the same; one trial counts."""
    record = project.run(*SAMPLE, "--json").json
    folder = Path(record["folder"])
    page, text = (folder / "regimes.html").read_text("utf-8"), (folder / "report.md").read_text("utf-8")

    assert [item["name"] for item in record["families"]] == ["volatility", "trend", "state", "change"]
    for family in record["families"]:
        rows = family["figures"]
        assert sum(row["bars"] for row in rows) == record["dataset"]["bars"]
        assert sum(row["trades"] for row in rows) == record["metrics"]["num_entries"]
        assert len(family["transitions"]) == len(family["classes"]) == len(family["spells"])
        for row in rows:
            assert f"| {row['name']} | {row['bars']:,} |" in text
    assert record["estimates"][0]["bars"] == 499
    assert record["trials_on_dataset"]["total"] == 1
    assert "After the last bar: volatility " in text
    assert "After the last bar: volatility " in page
    assert page.count('role="img"') == 10
    assert project.run("experiments", "--run-type", "regimes", "--json").json[0]["run_id"] == record["run_id"]


def test_a_person_reads_the_same(project):
    """The tables of every family, the warnings, and where the rest lies; a rerun by the command of the report agrees."""
    ended = project.run(*SAMPLE, "--param", "fast_window=10", "--no-html")
    folder = next((project.folder / "reports" / "experiments").iterdir())
    text = (folder / "report.md").read_text("utf-8")
    command = next(line for line in text.splitlines() if line.startswith("peak-trade regimes"))
    again = project.run(*shlex.split(command)[1:], "--end", "2003-01-01", "--no-html")

    assert (ended.code, again.code, ended.err) == (0, 0, "")
    assert "Volatility: " in ended.out
    assert "Change: " in ended.out
    assert not (folder / "regimes.html").exists()
    tables = [out.split("warning:")[0] for out in (ended.out, again.out)]
    assert tables[0] == tables[1]


def test_later_bars_change_nothing_that_was_said(project):
    """What was said of 2001 by the end of 2001 is what is said of it a year later: here, the changes and the estimates."""
    early = project.run("regimes", "--end", "2002-01-01", "--no-html", "--json").json
    late = project.run("regimes", "--end", "2003-01-01", "--no-html", "--json").json

    assert early["strategy"] == "buy_and_hold"
    assert early["changes"] == [item for item in late["changes"] if item["announced"] < "2002"]
    assert early["estimates"] == [item for item in late["estimates"] if item["since"] < "2002"]
    assert len(early["estimates"]) > 0


def test_few_bars_are_told_as_unknown(project):
    """Where there are too few bars for a family everything is unknown, which the page can show too."""
    bars = project.bars(count=60)
    ended = project.run("regimes", "--data", str(bars), "--symbol", "BTC/EUR", "--window", "5", "--history", "10", "--json")

    assert ended.code == 0
    assert [item["now"] is None for item in ended.json["families"]] == [False, False, True, True]
    assert ended.json["changes"] == []
    assert (Path(ended.json["folder"]) / "regimes.html").exists()


def test_a_hold_out_is_not_read(project):
    """The bars that research must not see are no regime's."""
    config = project.folder / "config.toml"
    lines = config.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("[research.holdout]"))
    config.write_text("\n".join([*lines[: place + 1], '"SPX/USD" = "2002-01-01"', *lines[place + 1 :]]) + "\n")
    kept = project.run("regimes", "--no-html", "--json")
    refused = project.run("regimes", "--end", "2003-01-01", "--no-html")

    assert kept.json["dataset"]["last"] < "2002"
    assert (refused.code, len(refused.err.splitlines())) == (3, 1)


def test_what_can_not_be_asked_is_refused(project):
    """One sentence, exit code 2, and nothing registered."""
    for arguments, words in (
        (("--strategy", "ma_crosover"), "did you mean ma_crossover?"),
        (("--window", "1"), "expected 2 to 100,000 as --window, found 1"),
        (("--threshold", "-1"), "expected 0 to 100 as --threshold, found -1"),
        (("--symbol", "XYZ/EUR"), "XYZ/EUR"),
    ):
        ended = project.run("regimes", *arguments)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1), arguments
        assert words in ended.err
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        assert parts.registry.find(RunFilter(), 1) == []


def test_help_loads_nothing_heavy(project):
    assert loaded_by("regimes", "--help", folder=project.folder).isdisjoint(HEAVY)
