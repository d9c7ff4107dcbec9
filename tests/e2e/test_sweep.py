"""`peak-trade sweep`: results, interruption, two at once, faults."""

import json
import signal
import subprocess
import time
from contextlib import closing, suppress

import pytest
from tests.paths import ROOT

GRID = "fast_window = { start = 2, stop = 20, step = 2 }\nslow_window = { start = 25, stop = 60, step = 5 }"


def sweep(project, *more: str):
    return project.run("sweep", "--config", "sweep.toml", "--no-html", *more)


def trial_numbers(project) -> list[int]:
    from peak_trade.compose import Parts
    from peak_trade.journal.registry import RunFilter
    from peak_trade.settings import load_config

    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        runs = parts.registry.find(RunFilter(run_type="sweep"), 10)
        assert len(runs) == 1
        return [number for number, _, _ in parts.registry.trials(runs[0].run_id)]


def test_every_combination_is_tried_and_counted(project):
    """The grid without what the constraint rules out, each once, all in the registry."""
    project.sweep_file("fast_window = [5, 10, 30]\nslow_window = [20, 40]", 'constraints = ["fast_window < slow_window"]')

    record = sweep(project, "--json").json

    assert (record["trials"], record["trials_on_dataset"]) == (5, {"total": 5, "different": 5})
    assert trial_numbers(project) == [0, 1, 2, 3, 4]


def test_a_trial_equals_its_backtest(project):
    """The figures of a combination are those of a backtest with its parameters, bit for bit."""
    project.sweep_file("fast_window = [7]\nslow_window = [33]", 'side = "both"\nstop_loss = 0.05')

    best = sweep(project, "--json").json["best"][0]
    single = project.run(
        *("backtest", "--strategy", "ma_crossover", "--param", "fast_window=7", "--param", "slow_window=33"),
        *("--side", "both", "--stop-loss", "0.05", "--json", "--no-tear-sheet"),
    ).json

    assert (best["metrics"], best["params"]) == (single["metrics"], single["params"])


def test_executors_agree(project):
    """Threads and processes, one worker or two, give the same trials."""
    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    hashes = {
        sweep(project, "--executor", executor, "--workers", workers, "--json").json["result_sha256"]
        for executor, workers in (("local", "1"), ("threads", "1"), ("threads", "2"), ("processes", "2"))
    }

    assert len(hashes) == 1


SEARCH = ("--trials", "40", "--seed", "3", "--json")


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_does_not_depend_on_who_works(project, method):
    """The same seed gives the same trials with any number of workers, another seed others."""
    project.sweep_file(GRID)
    hashes = [
        sweep(project, "--search", method, "--executor", executor, "--workers", workers, *SEARCH, *more).json["result_sha256"]
        for executor, workers, more in (
            ("local", "1", ()),
            ("threads", "1", ()),
            ("threads", "3", ()),
            ("threads", "1", ("--seed", "4")),
        )
    ]

    assert len(set(hashes[:3])) == 1
    assert hashes[3] != hashes[0]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_trials_of_a_search_are_backtests(project, method):
    """Each is counted, is a combination of the grid, and has the figures of the grid's sweep."""
    project.sweep_file(GRID, "top = 100")
    every = {json.dumps(row["params"]): row["metrics"] for row in sweep(project, "--json").json["best"]}
    record = sweep(project, "--search", method, *SEARCH).json

    assert (record["trials"], len(record["best"]), len(every)) == (40, 40, 80)
    assert all(every[json.dumps(row["params"])] == row["metrics"] for row in record["best"])
    assert record["search"]["method"] == method


def cut_off(project, kept: int) -> None:
    """Leave a sweep of which the first trials are stored, as a kill would."""
    from peak_trade.compose import Parts
    from peak_trade.settings import load_config

    with closing(Parts(load_config(project.folder / "config.toml"))) as parts, parts.registry._writing() as connection:
        connection.exec_driver_sql(f"delete from trials where number >= {kept}")
        connection.exec_driver_sql("update runs set status = 'started', finished_at = null, result_sha256 = null")


@pytest.mark.parametrize("method", ["random", "tpe"])
@pytest.mark.parametrize("kept", [1, 16, 21, 39])
def test_an_interrupted_search_goes_on(project, monkeypatch, method, kept):
    """It asks for the same combinations again, takes what is stored, computes the rest, and ends as if never interrupted."""
    from peak_trade.research.sweep import Evaluator

    project.sweep_file(GRID)
    whole = sweep(project, "--search", method, *SEARCH).json
    cut_off(project, kept)
    seen = []
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, params: seen.append(str(params)) or evaluate(self, params))

    again = sweep(project, "--search", method, "--workers", "1", *SEARCH).json

    assert (again["run_id"], again["result_sha256"]) == (whole["run_id"], whole["result_sha256"])
    assert len(set(seen)) == 40 - kept
    assert again["trials_on_dataset"]["total"] == 40


def test_a_killed_search_goes_on(project):
    """After SIGKILL the same command finishes what is missing."""
    config = project.folder / "config.toml"
    config.write_text(config.read_text().replace("chunk_s = 1.0", "chunk_s = 0.01"))
    project.sweep_file(GRID, 'symbol = "SYN/USD"\ntimeframe = "1m"')
    arguments = ("--config", "sweep.toml", "--no-html", "--search", "tpe", *SEARCH)
    process = project.start("sweep", *arguments)
    wait_for_trials(project, process, 1)
    process.kill()
    process.communicate(timeout=60)

    again = project.run("sweep", *arguments)

    assert again.json["trials"] == 40
    assert trial_numbers(project) == list(range(40))
    assert project.run("reproduce", "latest:sweep").code == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--search", "luck"), "grid, random, tpe"),
        (("--trials", "5"), "with --search random or tpe"),
        (("--seed", "5"), "with --search random or tpe"),
        (("--executor", "dask"), "local, threads, processes, ray"),
        (("--address", "auto"), "with --executor ray alone"),
        (("--search", "tpe", "--trials", "0"), "--trials"),
    ],
)
def test_wrong_searches_are_one_sentence(project, more, words):
    project.sweep_file(GRID)

    ended = sweep(project, *more)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_the_top_table_is_ranked(project):
    """The table shows the best by the chosen metric first."""
    project.sweep_file(GRID, 'metric = "total_return"\ntop = 4')

    record = sweep(project, "--json").json
    values = [row["metrics"]["total_return"] for row in record["best"]]

    assert values == sorted(values, reverse=True)
    assert len(values) == 4


def wait_for_trials(project, process, least: int) -> None:
    """Wait until the registry holds some trials of a running sweep."""
    import sqlite3

    path = project.folder / "var" / "registry.db"
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        if path.exists():
            connection = sqlite3.connect(path, timeout=30)
            try:
                if connection.execute("select count(*) from trials").fetchone()[0] >= least:
                    return
            except sqlite3.OperationalError:
                pass
            finally:
                connection.close()
        time.sleep(0.05)
    pytest.fail("the sweep stored nothing")


#: Combinations of the slow sweep.
SLOW = 59 * 116


def slow_sweep(project, executor="threads", **options):
    """Start a sweep long enough to be interrupted: many pairs over the minutes of the synthetic market."""
    config = project.folder / "config.toml"
    config.write_text(config.read_text().replace("chunk_s = 1.0", "chunk_s = 0.05"))
    project.sweep_file(
        "fast_window = { start = 2, stop = 60, step = 1 }\nslow_window = { start = 70, stop = 300, step = 2 }",
        'symbol = "SYN/USD"\ntimeframe = "1m"',
    )
    arguments = ("--config", "sweep.toml", "--no-html", "--workers", "1", "--executor", executor, "--json")
    return project.start("sweep", *arguments, **options)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_sweep_goes_on(project, end):
    """After Ctrl+C, SIGTERM or SIGKILL the same command finishes what is missing and recomputes nothing."""
    process = slow_sweep(project)
    wait_for_trials(project, process, 20)
    process.send_signal(end)
    _, err = process.communicate(timeout=60)
    listed = project.run("experiments", "--run-type", "sweep", "--json").json
    done = trial_numbers(project)
    again = slow_sweep(project)
    out, more = again.communicate(timeout=120)

    assert process.returncode == (-signal.SIGKILL if end is signal.SIGKILL else 130), err
    assert [(run["status"], run["trials"]) for run in listed] == [("aborted", len(done))]
    assert again.returncode == 0, more
    assert 20 <= len(done) < SLOW
    record = json.loads(out)
    assert (record["trials"], record["trials_on_dataset"]["total"]) == (SLOW, SLOW)
    assert trial_numbers(project) == list(range(SLOW))


def test_the_same_sweep_twice_at_once_is_refused(project):
    """The second process names the reason; the first goes on."""
    first = slow_sweep(project)
    wait_for_trials(project, first, 1)
    second = slow_sweep(project)
    _, err = second.communicate(timeout=60)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)

    assert (second.returncode, first.returncode) == (2, 130)
    assert "found one that does" in err


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ("fast_window = []", "", "at least one value"),
        ("fast = [1]", "", "fast_window"),
        ("fast_window = [1, 1]", "", "found one twice"),
        ("fast_window = { start = 1, stop = 5 }", "", "start, stop and step"),
        ("fast_window = { start = 5, stop = 1, step = 1 }", "", "start <= stop"),
        ("fast_window = { start = 'a', stop = 1, step = 1 }", "", "numbers"),
        ("fast_window = { start = 1, stop = 1000000000, step = 1 }", "", "expected at most"),
        ("fast_window = { start = 1, stop = inf, step = 1 }", "", "expected finite start"),
        ("fast_window = { start = nan, stop = 5, step = 1 }", "", "expected finite start"),
        ("fast_window = [60]", "", "rule such combinations out"),
        ("fast_window = [10]", 'constraints = ["fast_window < nothing"]', "nothing"),
        ("fast_window = [10]", 'constraints = ["fast_window ~ 3"]', "constraint like"),
        ("fast_window = [10]", 'constraints = ["fast_window < 3"]', "found none of 1"),
        ("fast_window = [10]", 'metric = "luck"', "sharpe"),
        ("fast_window = [10]", "top = 0", "1 to 1000"),
        ("fast_window = [10]", "fee_bp = 1", "did you mean sweep.fee_bps"),
        ("fast_window = [10]", 'fee_bps = "free"', "number"),
        ("fast_window = { start = 1, stop = 2000000, step = 1 }", "", "step"),
        ("", "", "at least one parameter"),
    ],
)
def test_wrong_sweep_files_are_one_sentence(project, grid, options, words):
    """Each mistake in a sweep file ends with exit code 2 and says what to change."""
    project.sweep_file(grid, options)

    ended = sweep(project)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_sweeps_are_sound(path):
    """Every sweep file in the repository has a non-empty grid that its strategy accepts."""
    from peak_trade.research.grid import read_plan
    from peak_trade.research.sweep import combinations

    plan = read_plan(path)

    assert 50 <= len(combinations(plan.strategy, plan.grid, plan.constraints, {})) <= 2_000


def sweep_runs(project) -> list[dict]:
    return project.run("experiments", "--run-type", "sweep", "--json").json


def interrupted(project) -> None:
    """Leave a sweep of four combinations of which one is stored, as a kill would."""
    from peak_trade.compose import Parts
    from peak_trade.journal.registry import RunFilter
    from peak_trade.settings import load_config

    sweep(project)
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        run = parts.registry.find(RunFilter(run_type="sweep"), 1)[0]
        with parts.registry._writing() as connection:
            connection.exec_driver_sql("delete from trials where number > 0")
            connection.exec_driver_sql("update runs set status = 'started', finished_at = null")
        assert len(parts.registry.trials(run.run_id)) == 1


def same_sweep(project, monkeypatch) -> None:
    """Change nothing."""


def other_order(project, monkeypatch) -> None:
    project.sweep_file("slow_window = [20, 40]\nfast_window = [5, 10]")


def other_terms(project, monkeypatch) -> None:
    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]", "stop_loss = 0.1")


def other_code(project, monkeypatch) -> None:
    monkeypatch.setattr("peak_trade.runs.record.code_sha256", lambda: "something else")


def other_steps(project, monkeypatch) -> None:
    with (project.folder / "config.toml").open("a") as file:
        file.write('[instrument."SPX/USD"]\ntrading_days = 250\n')


@pytest.mark.parametrize(
    ("change", "runs"), [(same_sweep, 1), (other_order, 2), (other_terms, 2), (other_code, 2), (other_steps, 2)]
)
def test_only_the_same_sweep_is_taken_up(project, monkeypatch, change, runs):
    """An interrupted sweep goes on under the same plan, terms, steps and code; else a new one begins."""
    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    interrupted(project)
    change(project, monkeypatch)

    ended = sweep(project, "--tag", "second", "--json")

    assert ended.json["trials"] == 4
    assert len({json.dumps(row["params"]) for row in ended.json["best"]}) == 4
    assert len(sweep_runs(project)) == runs
    assert "second" in sweep_runs(project)[0]["tags"]


def test_processes_work_from_the_script(project):
    """The playbook's script can use processes; they do not run the script again."""
    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    process = project.start("--config", "sweep.toml", "--executor", "processes", "--no-html", "--json", script="run_sweep.py")
    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert json.loads(out)["trials"] == 4


def test_constraints_may_name_any_parameter(project):
    """A parameter outside the grid has its configured or default value in a constraint."""
    project.sweep_file("fast_window = [5, 10]", 'constraints = ["fast_window < slow_window"]')

    assert sweep(project, "--json").json["trials"] == 2


def test_a_value_written_in_two_ways_is_refused(project):
    """Five and five point nought are one combination."""
    project.sweep_file("window = [5, 5.0]", strategy="rsi_reversion")

    assert "twice" in sweep(project).err


def test_an_altered_trial_is_found(project):
    """A sweep whose stored figure was changed does not come out the same."""
    import sqlite3

    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    sweep(project)
    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute(
            "update trials set metrics = replace(metrics, '\"orders_skipped\":0', '\"orders_skipped\":1') where number = 2"
        )
    connection.close()

    ended = project.run("reproduce", "latest:sweep", "--json")

    assert (ended.code, [item["name"] for item in ended.json["differences"]]) == (1, ["stored trials (sha256)", "trial 2"])


@pytest.mark.parametrize(
    "change",
    [
        "delete from trials where number = 1",
        "update metrics set value = 99",
        "update runs set result_sha256 = '00'",
        "update runs set trials = 3",
    ],
)
def test_a_tampered_sweep_is_not_confirmed(project, change):
    """A missing trial, a wrong best figure, hash or count is a difference."""
    import sqlite3

    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    sweep(project)
    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute(change)
    connection.close()

    assert project.run("reproduce", "latest:sweep").code == 1


def test_a_finished_sweep_without_folder_only_gets_its_folder(project):
    """When the last step failed, the same command writes the folder and computes nothing."""
    import shutil

    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")
    first = sweep(project, "--json").json
    shutil.rmtree(project.folder / "reports")

    again = sweep(project, "--json").json

    assert (again["run_id"], again["trials_on_dataset"]["total"]) == (first["run_id"], 4)


def test_ctrl_c_with_processes_ends_cleanly(project):
    """SIGINT to the whole process group, as a terminal sends it, stops a sweep with processes without a fault."""
    import os

    codes = []
    for wait in (0.6, 1.5, 3.0):
        process = slow_sweep(project, start_new_session=True, executor="processes")
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert "Traceback" not in err, err
        assert "fault" not in err, err

    assert 130 in codes
    assert set(codes) <= {0, 130, -signal.SIGINT}


def test_the_report_has_yardstick_and_number_of_tries(project):
    """Terminal, Markdown and HTML say what buy and hold gave and how many combinations were tried."""
    project.sweep_file("fast_window = [5, 10]\nslow_window = [20, 40]")

    ended = project.run("sweep", "--config", "sweep.toml")
    folder = next((project.folder / "reports" / "experiments").iterdir())

    assert "buy and hold: sharpe 0.28" in ended.out
    for name in ("report.md", "sweep.html"):
        text = (folder / name).read_text()
        assert "Buy and hold: 0.28" in text
        assert "4 different combinations were tried on this data" in text
