"""`peak-trade reproduce` of answers: they come out the same whatever was tried since, and say so; what changed is told."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_verdict import backtest, kept, swept, verdict
from tests.edges import noise

from peak_trade.compose import Parts
from peak_trade.report import regime_facts, robustness_facts, verdict_facts, walk_facts
from peak_trade.report.markdown import plain
from peak_trade.report.probe_facts import line_rows
from peak_trade.runs.research.again import record_of
from peak_trade.settings import load_config

FEES = ("--side", "both", "--fee-bps", "10", "--slippage-bps", "2")
DAYS = 900


@pytest.fixture
def file(project) -> Path:
    """A file of bars without an edge."""
    return kept(project, noise(4, days=DAYS))


def altered(project, statement: str) -> None:
    """Change the registry behind its back."""
    with closing(sqlite3.connect(project.folder / "var" / "registry.db")) as connection, connection:
        assert connection.execute(statement).rowcount


def again(project, run_id: str):
    return project.run("reproduce", run_id, "--json")


def test_a_verdict_is_of_the_trials_of_its_time(project, file):
    """Trials that are added later, and its own, change nothing of it; that there are more is said, with how many."""
    swept(project, file)
    record = verdict(project, file, "--json", "--no-html").json
    first = again(project, record["run_id"])
    swept(project, file, "fast_window = [7, 9]\nslow_window = [50]")
    later = again(project, record["run_id"])
    told = project.run("reproduce", record["run_id"])
    anew = verdict(project, file, "--json", "--no-html").json

    assert (first.code, first.json["identical"], first.json["notes"]) == (0, True, [])
    assert (later.code, later.json["identical"]) == (0, True)
    assert "has grown since: 2 more by 1 runs" in later.json["notes"][0]
    assert "note: the ledger of trials has grown since" in told.out
    assert "identical: the answer and each of its tests" in told.out
    assert (record["tried"]["counted"], anew["tried"]["counted"]) == (9, 11)
    assert again(project, anew["run_id"]).json["notes"] == []


def test_a_verdict_of_what_nobody_tried_before(project, file):
    """The judged combination counts although no run had it; done again it counts just so."""
    record = verdict(project, file, "--param", "fast_window=6", "--json", "--no-html").json

    assert record["tried"]["over_time"] == []
    assert again(project, record["run_id"]).json["identical"]


def test_trials_that_are_gone_are_told(project, file):
    """A registry that lost what counted gives other figures, and says which trials it lost."""
    swept(project, file)
    record = verdict(project, file, "--json", "--no-html").json
    altered(project, "delete from trials where number = 3")
    ended = again(project, record["run_id"])

    assert (ended.code, ended.json["identical"]) == (1, False)
    assert "1 trials of 1 runs that counted are no longer in the registry" in ended.json["notes"][0]
    assert "tried" in [item["name"] for item in ended.json["differences"]]


def test_what_is_not_what_was_registered_differs(project, file):
    """A figure or an answer that somebody changed in the registry is found."""
    record = verdict(project, file, "--json", "--no-html").json
    altered(project, "update metrics set value = 1.0 where name = 'edge'")
    ended = again(project, record["run_id"])

    assert ended.code == 1
    assert [item["name"] for item in ended.json["differences"]] == ["edge"]


def test_older_answers_say_what_they_lack(project, file):
    """A verdict or robustness that does not say what it rests on can't be done again, and says what to do instead."""
    backtest(project, file, *FEES)
    record = verdict(project, file, "--json", "--no-html").json
    shaken = project.run("robustness", "latest:backtest", "--json", "--no-html").json
    altered(project, "update runs set spec = json_remove(spec, '$.counted', '$.grids') where run_type <> 'backtest'")
    for run_id, words in ((record["run_id"], "which runs counted"), (shaken["run_id"], "which grids its neighbours")):
        ended = project.run("reproduce", run_id)
        assert (ended.code, len(ended.err.splitlines())) == (1, 1)
        assert words in ended.err
        assert "ask anew" in ended.err


def test_robustness_is_of_the_grids_of_its_time(project, file):
    """A sweep with other values, after it, gives a new question other neighbours and the old one its own."""
    swept(project, file)
    backtest(project, file, "--param", "fast_window=10", "--param", "slow_window=60", *FEES)
    record = project.run("robustness", "latest:backtest", "--json", "--no-html").json
    swept(project, file, "fast_window = [8, 10, 12]\nslow_window = [60]")
    ended = again(project, record["run_id"])
    anew = project.run("robustness", record["backtest"], "--json", "--no-html").json

    assert (ended.code, ended.json["identical"]) == (0, True)
    assert record["neighbours"] != anew["neighbours"]


def test_reports_are_written_anew(project, file):
    """Folders that are gone come back with the same answer, and the same pages' figures."""
    backtest(project, file, *FEES)
    market = ("--data", str(file), "--symbol", "BTC/EUR")
    made = [
        verdict(project, file, "--json", "--no-html").json,
        project.run("robustness", "latest:backtest", "--json", "--no-html").json,
        project.run("regimes", "--strategy", "ma_crossover", *market, "--json", "--no-html").json,
    ]
    shutil.rmtree(project.folder / "reports")
    for record in made:
        ended = project.run("report", record["run_id"])
        folder = Path(record["folder"])
        found = json.loads((folder / "run.json").read_text("utf-8"))
        assert ended.code == 0, ended.err
        assert Path(ended.out.strip()).parent.name == record["run_id"]
        assert {name: found[name] for name in record["sealed"]} == {name: record[name] for name in record["sealed"]}


def verdict_cells(record: Any) -> list[tuple[str, ...]]:
    return [
        *line_rows(record),
        *verdict_facts.tried_pairs(record),
        *verdict_facts.beside_pairs(record),
        *verdict_facts.day_rows(record),
    ]


def robustness_cells(record: Any) -> list[tuple[str, ...]]:
    return [*line_rows(record), *robustness_facts.drawn_rows(record), *robustness_facts.neighbour_rows(record)]


def regime_cells(record: Any) -> list[tuple[str, ...]]:
    rows = (regime_facts.earned_rows, regime_facts.lasted_rows, regime_facts.moved_rows)
    return [cells for family in record["families"] for each in rows for cells in each(family)]


def walk_cells(record: Any) -> list[tuple[str, ...]]:
    return [*walk_facts.walk_pairs(record), *walk_facts.window_rows(record), *walk_facts.steady_rows(record)]


WALK = ("--train", "400d", "--test", "200d", "--grid", "fast_window=5,10", "--grid", "slow_window=40,60")


@pytest.mark.parametrize(
    ("command", "page", "cells"),
    [
        (("verdict", "--strategy", "ma_crossover"), "verdict.html", verdict_cells),
        (("robustness", "latest:backtest"), "robustness.html", robustness_cells),
        (("regimes", "--strategy", "ma_crossover"), "regimes.html", regime_cells),
        (("walkforward", "--strategy", "ma_crossover", *WALK), "walk_forward.html", walk_cells),
    ],
)
def test_every_format_says_the_same(project, file, command: tuple[str, ...], page: str, cells: Callable[[Any], list[Any]]):
    """Every cell of every table stands in the page and in the Markdown as it is computed from the JSON document."""
    backtest(project, file, *FEES)
    given = () if command[0] == "robustness" else ("--data", str(file), "--symbol", "BTC/EUR")
    folder = Path(project.run(*command, *given, "--json").json["folder"])
    record = json.loads((folder / "run.json").read_text("utf-8"))
    html, text = (folder / page).read_text("utf-8"), (folder / "report.md").read_text("utf-8")
    rows = cells(record)

    assert len(rows) > 8
    for row in rows:
        assert f"| {' | '.join(plain(cell) for cell in row)} |" in text
        assert all(f">{escape(cell).replace('&#x27;', '&#39;').replace('&quot;', '&#34;')}<" in html for cell in row), row


def test_a_file_that_says_something_else_is_not_believed(project, file):
    """A folder's document counts while it has the hash that was registered; one altered word, or none, and it is none."""
    record = verdict(project, file, "--json", "--no-html").json
    path = Path(record["folder"]) / "run.json"
    text = path.read_text("utf-8")
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        run = parts.registry.get(record["run_id"])
        whole = record_of(parts, run)
        path.write_text(text.replace(f'"answer": "{record["answer"]}"', '"answer": "edge"'))
        altered_answer = record_of(parts, run)
        path.write_text("{")
        torn = record_of(parts, run)

    assert whole is not None
    assert whole["answer"] == record["answer"] != "edge"
    assert (altered_answer, torn) == (None, None)
