"""`peak-trade walkforward`: what it registers, counts, writes and refuses."""

import csv
import json
import math
import signal
from contextlib import closing, nullcontext

import pytest
from tests.e2e.test_sweep import wait_for_trials

GRID = ("--grid", "fast_window=5,10,20", "--grid", "slow_window=50:100:25")
WALK = ("walkforward", "--strategy", "ma_crossover", "--train", "1825d", "--test", "365d", *GRID)


def walk(project, *more: str):
    return project.run(*WALK, "--no-html", *more)


def trials_of(project, run_type: str):
    """Return what the registry holds of the trials of the newest run: number, parameters, figures, first and last bar."""
    from peak_trade.compose import Parts
    from peak_trade.settings import load_config

    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        run = parts.registry.get(f"latest:{run_type}")
        with parts.registry._reading() as connection:
            query = f"select number, params, metrics, first, last from trials where run_id = '{run.run_id}' order by number"
            return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_every_window_is_told(project):
    """Fifteen years are tested after five to learn from; each window has its parameters and figures."""
    record = walk(project, "--json").json

    assert len(record["windows"]) == 15
    assert all(window["params"]["fast_window"] in (5, 10, 20) for window in record["windows"])
    assert record["windows"][0]["train_start"] == "1999-01-04T00:00:00Z"
    assert all(window["train_end"] <= window["test_start"] for window in record["windows"])
    product = math.prod(1.0 + window["test_return"] for window in record["windows"])
    assert product - 1.0 == pytest.approx(record["metrics"]["total_return"])
    assert record["dataset"]["sha256"]


def test_all_combinations_of_all_windows_are_counted(project):
    """Each combination in each train stretch, the chosen ones in test, and all of them over the test stretches."""
    record = walk(project, "--json").json
    rows = trials_of(project, "walk_forward")

    assert record["combinations"] == 9
    assert record["trials"] == len(rows) == 15 * 9 + 15 + 9
    assert record["trials_on_dataset"] == {"total": len(rows), "different": 9}
    assert [row[0] for row in rows] == list(range(len(rows)))
    assert len({(first, last) for _, _, _, first, last in rows}) == 15 + 15 + 1


def test_the_chosen_one_is_the_best_trial_of_its_window(project):
    record = walk(project, "--metric", "calmar", "--json").json
    rows = trials_of(project, "walk_forward")
    for number, window in enumerate(record["windows"]):
        tried = [
            (json.loads(metrics)["calmar"], json.loads(params)) for _, params, metrics, *_ in rows[number * 9 : number * 9 + 9]
        ]
        best = max(tried, key=lambda item: -math.inf if item[0] is None else item[0])

        assert (best[0], window["params"]) == (window["train_metric"], {name: best[1][name] for name in window["params"]})


def test_it_comes_out_the_same(project):
    """`reproduce` finds every choice, fill and figure again; `report` writes the folder anew, byte for byte."""
    record = json.loads(project.run(*WALK, "--json").out)
    folder = project.folder / "reports" / "experiments" / record["run_id"]
    folder = folder if folder.is_dir() else next(project.folder.rglob(record["run_id"]))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    again = project.run("reproduce", "latest:walk_forward")
    for path in folder.iterdir():
        path.unlink()
    made = project.run("report", "latest:walk_forward")

    assert (again.code, again.out.splitlines()[-1][:9]) == (0, "identical")
    assert made.code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"run.json", "report.md", "windows.csv", "trades.csv", "equity.parquet", "walk_forward.html"}


def test_another_outcome_is_noticed(project):
    """A registered figure that does not come out again is a difference, and exit code 1."""
    from peak_trade.compose import Parts
    from peak_trade.settings import load_config

    walk(project)
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts, parts.registry._writing() as connection:
        connection.exec_driver_sql("update metrics set value = value + 1e-12 where name = 'sharpe'")

    assert project.run("reproduce", "latest:walk_forward").code == 1


def test_who_works_changes_nothing(project):
    hashes = {
        walk(project, "--executor", executor, "--workers", workers, "--json").json["result_sha256"]
        for executor, workers in (("local", "1"), ("threads", "2"), ("threads", "3"))
    }

    assert len(hashes) == 1


def test_the_table_beside_the_report(project):
    record = walk(project, "--json").json
    (path,) = project.folder.rglob("windows.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))

    assert [int(row["window"]) for row in rows] == list(range(1, 16))
    assert [int(row["fast_window"]) for row in rows] == [window["params"]["fast_window"] for window in record["windows"]]


def test_the_page_loads_nothing_and_has_all_windows(project):
    project.run(*WALK)
    (path,) = project.folder.rglob("walk_forward.html")
    text = path.read_text()

    assert "default-src 'none'" in text
    assert text.count("2018-12-29") >= 1
    for name in ("equity-chart", "drawdown-chart", "windows-chart", "path-chart-0", "path-chart-1"):
        assert f'id="{name}"' in text


def test_words_on_the_terminal(project):
    out = walk(project).out

    assert "Walk-forward efficiency" in out
    assert "different combinations were tried on this data" in out


def test_anchored_stretches_begin_with_the_data(project):
    record = walk(project, "--anchored", "--json").json

    assert {window["train_start"] for window in record["windows"]} == {"1999-01-04T00:00:00Z"}


def test_an_embargo_is_left_out(project):
    record = walk(project, "--embargo", "30d", "--json").json

    assert record["windows"][0]["test_start"] == "2004-02-02T00:00:00Z"
    assert record["windows"][0]["train_end"] <= "2004-01-03T00:00:00Z"


def test_the_sweep_file_of_a_strategy_is_the_default(project):
    """Without a grid the file in config/sweeps counts; its absence is one sentence."""
    missing = project.run("walkforward", "--strategy", "ma_crossover")
    folder = project.folder / "config" / "sweeps"
    folder.mkdir(parents=True)
    project.sweep_file("fast_window = [5, 10]\nslow_window = [50]", name="config/sweeps/ma_crossover_sweep.toml")
    found = project.run(
        "walkforward", "--strategy", "ma_crossover", "--train", "1825d", "--test", "365d", "--no-html", "--json"
    )

    assert missing.code == 2
    assert "expected --grid NAME=5:50:5 or --config FILE" in missing.err
    assert found.json["combinations"] == 2


def test_a_strategy_that_fails_is_registered_as_failed(project):
    """Targets that are no targets end the run, and say so in the registry."""
    ended = project.run("walkforward", "--strategy", "rsi_reversion", "--grid", "window=1,2", "--train", "900", "--test", "300")

    assert ended.code == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--train", "3y"), "a length like 365d"),
        (("--train", "1000"), "all time or all bars"),
        (("--train", "20000d"), "choose shorter stretches"),
        (("--test", "0"), "a length like 365d"),
        (("--metric", "luck"), "sharpe"),
        (("--metric", "volatility"), "more is better"),
        (("--grid", "fast_window=3"), "each parameter once"),
        (("--grid", "speed=3"), "speed"),
        (("--grid", "window"), "NAME=5:50:5"),
        (("--grid", "window=1:2"), "NAME=5:50:5"),
        (("--constraint", "fast_window > 90"), "at least one combination"),
        (("--config", "sweep.toml"), "leave one out"),
        (("--executor", "ray"), "--executor"),
    ],
)
def test_wrong_options_are_one_sentence(project, more, words):
    ended = walk(project, *more)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def set_back(project, kept: int, every: int, periods: int) -> None:
    """Leave a run of which the first combinations of all are stored with all their periods, as a kill would."""
    from peak_trade.compose import Parts
    from peak_trade.settings import load_config

    with closing(Parts(load_config(project.folder / "config.toml"))) as parts, parts.registry._writing() as connection:
        connection.exec_driver_sql(f"delete from trials where number % {every} >= {kept} or number >= {every * periods}")
        connection.exec_driver_sql("update runs set status = 'started', finished_at = null, result_sha256 = null")


def walk_runs(project) -> list[dict]:
    return project.run("experiments", "--json").json


SCHEMES = [
    pytest.param("walk_forward", ("--train", "1825d", "--test", "365d"), id="rolling"),
    pytest.param("combinatorial", ("--scheme", "combinatorial"), id="combinatorial"),
]


@pytest.mark.parametrize(("run_type", "way"), SCHEMES)
@pytest.mark.parametrize("kept", [1, 8, 9])
def test_an_interrupted_one_goes_on(project, monkeypatch, run_type, way, kept):
    """It takes what is stored, computes the rest, and ends as if never interrupted; no trial is there twice."""
    from peak_trade.research.combinatorial import SplitEvaluator
    from peak_trade.research.sweep import StretchEvaluator

    line = ("walkforward", "--strategy", "ma_crossover", *GRID, *way, "--no-html", "--workers", "1", "--json")
    whole = project.run(*line).json
    set_back(project, kept, 9, {"walk_forward": 16, "combinatorial": 15}[run_type])
    seen = []
    for kind in (StretchEvaluator, SplitEvaluator):
        evaluate = kind.evaluate
        monkeypatch.setattr(
            kind, "evaluate", lambda self, params, evaluate=evaluate: seen.append(str(params)) or evaluate(self, params)
        )

    again = project.run(*line).json

    assert (again["run_id"], again["result_sha256"]) == (whole["run_id"], whole["result_sha256"])
    assert len(set(seen)) == 9 - kept
    assert again["trials_on_dataset"] == whole["trials_on_dataset"]
    assert again["trials"] == whole["trials"] == len(trials_of(project, run_type))


def same_walk(project, monkeypatch) -> tuple[str, ...]:
    return ()


def other_fee(project, monkeypatch) -> tuple[str, ...]:
    return ("--fee-bps", "11")


def other_code(project, monkeypatch) -> tuple[str, ...]:
    monkeypatch.setattr("peak_trade.runs.record.code_sha256", lambda: "something else")
    return ()


def other_bars(project, monkeypatch) -> tuple[str, ...]:
    project.bars("bars.csv", 600, seed=8)
    return ()


def other_steps(project, monkeypatch) -> tuple[str, ...]:
    with (project.folder / "config.toml").open("a") as file:
        file.write('[instrument."BTC/EUR"]\ntrading_days = 250\n')
    return ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (same_walk, ""),
        (other_fee, "other terms (fee_bps"),
        (other_code, "other code (code"),
        (other_bars, "other bars"),
        (other_steps, "other trading steps"),
    ],
)
def test_only_the_same_one_goes_on(project, monkeypatch, change, words):
    """With other data, code or terms it is refused in one sentence, and begins anew only where that is asked for."""
    project.bars("bars.csv", 600, seed=7)
    place = ("--data", "bars.csv", "--symbol", "BTC/EUR", "--train", "200", "--test", "100")
    line = ("walkforward", "--strategy", "ma_crossover", "--grid", "fast_window=5,10,20", "--no-html", *place)
    project.run(*line)
    set_back(project, 2, 3, 5)
    before = walk_runs(project)
    more = change(project, monkeypatch)

    ended = project.run(*line, *more, "--json")

    assert [run["status"] for run in before] == ["aborted"]
    if not words:
        assert (ended.code, ended.json["run_id"]) == (0, before[0]["run_id"])
        return
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "--afresh" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert len(walk_runs(project)) == 1
    assert project.run(*line, *more, "--afresh").code == 0
    assert project.run(*line, *more).code == 0
    assert len(walk_runs(project)) == 3


def test_a_killed_one_goes_on_and_two_at_once_are_refused(project):
    """While one works the second is refused; after SIGKILL the same command finishes what is missing."""
    config = project.folder / "config.toml"
    config.write_text(config.read_text().replace("chunk_s = 1.0", "chunk_s = 0.01"))
    line = (
        *("walkforward", "--strategy", "ma_crossover", "--symbol", "SYN/USD", "--timeframe", "1m", "--no-html", "--json"),
        *("--grid", "fast_window=2:40:1", "--grid", "slow_window=60:120:1", "--train", "10000", "--test", "10000"),
    )
    process = project.start(*line, "--workers", "1")
    wait_for_trials(project, process, 20)
    second = project.run(*line)
    process.kill()
    process.communicate(timeout=60)
    done = len(trials_of(project, "walk_forward"))

    again = project.run(*line)

    assert (second.code, process.returncode) == (2, -signal.SIGKILL)
    assert "found one that does" in second.err
    assert 0 < done < again.json["trials"]
    assert [row[0] for row in trials_of(project, "walk_forward")] == list(range(again.json["trials"]))
    assert len(walk_runs(project)) == 1


def test_a_wish_to_stop_leaves_one_to_go_on_with(project, monkeypatch):
    """Stopped after the first piece it exits with 130, says so, and is listed as aborted with what it has."""
    from contextlib import contextmanager
    from threading import Event

    from peak_trade.research.sweep import StretchEvaluator

    stop, evaluate = Event(), StretchEvaluator.evaluate

    @contextmanager
    def stopped():
        yield stop

    monkeypatch.setattr("peak_trade.cli.walkforward.stopping", stopped)
    monkeypatch.setattr(StretchEvaluator, "evaluate", lambda self, params: stop.set() or evaluate(self, params))
    ended = walk(project, "--executor", "local")
    left = walk_runs(project)
    monkeypatch.setattr("peak_trade.cli.walkforward.stopping", lambda: nullcontext(Event()))

    assert (ended.code, [run["status"] for run in left]) == (130, ["aborted"])
    assert "the same command goes on from here" in ended.err
    assert left[0]["trials"] < 15 * 9
    assert walk(project, "--json").json["run_id"] == left[0]["run_id"]
