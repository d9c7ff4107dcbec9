"""`peak-trade walkforward --scheme combinatorial`: what it registers, counts, writes, goes on with and refuses."""

import csv
import json

import pytest
from tests.e2e.pages import BROWSER_TESTS, opened, shrink

import peak_trade as pt

GRID = ("--grid", "fast_window=5,10,20", "--grid", "slow_window=50,100")
FAN = ("walkforward", "--strategy", "ma_crossover", "--scheme", "combinatorial", *GRID)


def fan(project, *more: str):
    return project.run(*FAN, "--no-html", *more)


def test_every_split_and_path_is_told(project):
    """Six groups, two held out: 15 splits, 5 paths; the purge is the longest warm-up; every trial is counted."""
    record = fan(project, "--json").json

    assert (len(record["splits"]), len(record["paths"])) == (15, 5)
    assert record["cut"] == {"groups": 6, "held": 2, "purge": 100, "embargo": 0, "flat_borders": False}
    assert record["trials"] == 15 * 6 + 15
    assert record["trials_on_dataset"] == {"total": 105, "different": 6}
    assert record["splits"][0]["groups"] == [1, 2]
    assert record["splits"][0]["train_bars"] + record["splits"][0]["test_bars"] == record["dataset"]["bars"] - 100
    ratios = sorted(path["metrics"]["sharpe"] for path in record["paths"])
    assert record["figures"]["sharpe_median"] == ratios[2]


def test_lengths_of_time_become_bars(project):
    """On daily bars 30 days are 30 bars, whatever is a weekend."""
    record = fan(project, "--groups", "4", "--held", "1", "--purge", "3d", "--embargo", "30d", "--flat", "--json").json

    assert record["cut"] == {"groups": 4, "held": 1, "purge": 3, "embargo": 30, "flat_borders": True}
    assert (len(record["splits"]), len(record["paths"])) == (4, 1)


def test_it_comes_out_the_same(project):
    """`reproduce` finds every choice and path again; `report` writes the folder anew, byte for byte."""
    record = project.run(*FAN, "--json").json
    (folder,) = project.folder.rglob(record["run_id"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    again = project.run("reproduce", "latest:combinatorial")
    for path in folder.iterdir():
        path.unlink()
    made = project.run("report", "latest:combinatorial")

    assert (again.code, again.out.splitlines()[-1][:9], made.code) == (0, "identical", 0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"run.json", "report.md", "splits.csv", "paths.csv", "equity.parquet", "combinatorial.html"}
    assert len(list(csv.DictReader(before["paths.csv"].decode().splitlines()))) == 5
    assert b"share" in before["run.json"]


def test_another_outcome_is_noticed(project):
    import sqlite3

    fan(project)
    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("update metrics set value = value + 1e-12 where name = 'sharpe_median'")
    connection.close()

    assert project.run("reproduce", "latest:combinatorial").code == 1


def test_who_works_changes_nothing(project):
    hashes = {
        fan(project, "--executor", executor, "--workers", workers, "--json").json["result_sha256"]
        for executor, workers in (("local", "1"), ("threads", "2"))
    }

    assert len(hashes) == 1


def test_the_notebook_gives_the_same(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    record = fan(project, "--json").json
    bars = pt.load_bars(symbol=record["symbol"], timeframe=record["timeframe"])

    grid = {"fast_window": [5, 10, 20], "slow_window": [50, 100]}
    done = pt.walk_forward(bars, "ma_crossover", grid, scheme="combinatorial")

    assert done.record["result_sha256"] == record["result_sha256"]
    assert done.sharpe == [path["metrics"]["sharpe"] for path in record["paths"]]
    assert done.to_polars().columns == ["timestamp", *(f"path_{number}" for number in range(1, 6))]
    assert "in the middle" in repr(done)
    assert "<script" in done.plot().html


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--train", "365d"), "leave them out"),
        (("--anchored",), "--anchored with --scheme anchored"),
        (("--groups", "1"), "groups"),
        (("--held", "6"), "groups"),
        (("--purge", "3y"), "a length like 365d"),
        (("--purge", "3000"), "bars to learn from in each split"),
        (("--groups", "30", "--held", "15"), "splits"),
        (("--scheme", "leap"), "rolling, anchored, combinatorial"),
    ],
)
def test_wrong_options_are_one_sentence(project, more, words):
    ended = fan(project, *more)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_options_of_groups_belong_to_groups(project):
    ended = project.run("walkforward", "--strategy", "ma_crossover", *GRID, "--held", "2")

    assert (ended.code, ended.out) == (2, "")
    assert "with --scheme combinatorial alone" in ended.err


class TestPage:
    """The page in a real browser, from a file and without a network."""

    pytestmark = BROWSER_TESTS

    def test_draws_without_trouble(self, browser, troubles, project):
        """Both charts are drawn, nothing is loaded, nothing is on the console, and it fits a phone."""
        done = json.loads(project.run(*FAN, "--json").out)
        (path,) = project.folder.rglob("combinatorial.html")
        page = opened(browser, project.folder / "page.html", path.read_text())

        assert done["trials"] == 105
        assert page.locator(".chart canvas").count() >= 2
        shrink(page)
        assert troubles == []
