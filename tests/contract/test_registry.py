"""The registry of runs: one suite for every database it runs on."""

from contextlib import closing
from dataclasses import replace

import pytest
from tests.contract.rows import HOURS, NOW, a_run, a_trial, execute, start

from peak_trade.journal.registry import Registry, RunFilter
from peak_trade.journal.run import RunStatus
from peak_trade.model.clock import RunId
from peak_trade.model.errors import InputError, NotFound, StorageError


def test_a_run_comes_back_as_it_was(registry):
    """Every field, figure and tag survives, floats bit for bit."""
    run = a_run(metrics={"sharpe": 0.1 + 0.2, "cagr": -1e-300}, tags=("b", "a"), params={"nested": [1, {"x": None}]})

    registry.add(run)

    assert registry.get(run.run_id) == replace(run, tags=("a", "b"))


def test_newest_first(registry):
    """Without a wish the newest run leads."""
    runs = [a_run() for _ in range(3)]
    for run in runs:
        registry.add(run)

    assert [run.run_id for run in registry.find(RunFilter(), 2)] == sorted((run.run_id for run in runs), reverse=True)[:2]


def test_filters_combine(registry):
    """Type, status, strategy, symbol and tag each narrow the list, together too."""
    wanted = a_run(run_type="sweep", status=RunStatus.FAILED, strategy="macd", symbol="ETH/EUR", tags=("two",))
    registry.add(a_run())
    registry.add(wanted)
    filters = [
        RunFilter(run_type="sweep"),
        RunFilter(status="failed"),
        RunFilter(strategy="macd"),
        RunFilter(symbol="ETH/EUR"),
        RunFilter(tag="two"),
        RunFilter(run_type="sweep", tag="two"),
    ]

    assert [[run.run_id for run in registry.find(where, 10)] for where in filters] == [[wanted.run_id]] * 6
    assert registry.find(RunFilter(run_type="sweep", tag="one"), 10) == []


def test_sorting_by_a_figure(registry):
    """The best run leads; runs without the figure are left out."""
    best, worst = a_run(metrics={"sharpe": 2.0}), a_run(metrics={"sharpe": -1.0})
    for run in (worst, best, a_run(metrics={})):
        registry.add(run)

    assert [run.run_id for run in registry.find(RunFilter(), 10, "sharpe")] == [best.run_id, worst.run_id]


def test_get_by_part_and_latest(registry):
    """A clear beginning or end of an id is enough; `latest` and `latest:TYPE` name the newest."""
    first, second = (
        a_run(run_id=RunId("20260101T000000000Z-aaaaaa"), run_type="sweep"),
        a_run(run_id=RunId("20260102T000000000Z-bbbbbb")),
    )
    registry.add(first)
    registry.add(second)

    found = [registry.get(part).run_id for part in ("20260101", "bbbbbb", "latest", "latest:sweep")]

    assert found == [first.run_id, second.run_id, second.run_id, first.run_id]


@pytest.mark.parametrize("part", ["2026", "nothing", "", "%", "____", "latest:none", "' or 1=1 --"])
def test_unclear_ids_are_refused(registry, part):
    """Several matches, none, and attempts at wildcards are one sentence each."""
    registry.add(a_run(run_id=RunId("20260101T000000000Z-aaaaaa")))
    registry.add(a_run(run_id=RunId("20260102T000000000Z-bbbbbb")))

    with pytest.raises(NotFound):
        registry.get(part)


def test_finishing_replaces_figures(registry):
    """A run gets its end, its figures and its error once."""
    run = a_run(status=RunStatus.STARTED)
    registry.add(run)

    registry.finish(run.run_id, RunStatus.FAILED, at=NOW, elapsed_s=2.5, trials=7, metrics={"best": 1.0}, error="why")

    ended = registry.get(run.run_id)
    assert (ended.status, ended.elapsed_s, ended.trials, ended.metrics, ended.error, ended.finished_at) == (
        RunStatus.FAILED,
        2.5,
        7,
        {"best": 1.0},
        "why",
        "2026-01-02T03:04:05.000006Z",
    )


def test_trials_are_counted_once_for_each_combination(registry):
    """The same parameters on the same data count twice in all and once as different."""
    for run in (a_run(), a_run()):
        registry.add(run, HOURS, [a_trial(number) for number in range(3)])

    assert registry.count_trials(HOURS) == (6, 3)


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({}, (2, 1)),
        ({"terms": {"fee_bps": 0}}, (2, 2)),
        ({"first": 200, "last": 300}, (2, 1)),
        ({"first": 201, "last": 300}, (1, 1)),
        ({"first": 0, "last": 99}, (1, 1)),
        ({"first": 0, "last": 100}, (2, 1)),
        ({"symbol": "ETH/EUR"}, (1, 1)),
        ({"timeframe": "4h"}, (1, 1)),
    ],
)
def test_trials_on_overlapping_data_count(registry, change, counted):
    """A trial counts where its period touches ours by a bar; other terms make another trial."""
    registry.add(a_run(), HOURS, [a_trial(0)])
    registry.add(a_run(), replace(HOURS, **change), [a_trial(0)])

    assert registry.count_trials(HOURS) == counted


def test_trials_are_stored_all_or_none(registry):
    """A batch with a number that is there already changes nothing."""
    run = a_run()
    registry.add(run, HOURS, [a_trial(1)])

    with pytest.raises(StorageError):
        registry.add_trials(run, HOURS, [a_trial(0), a_trial(1)])

    assert [number for number, _, _ in registry.trials(run.run_id)] == [1]


def test_a_run_and_its_trials_are_one(registry):
    """A run whose trials can't be stored is not there either."""
    run = a_run()

    with pytest.raises(StorageError):
        registry.add(run, HOURS, [a_trial(1), a_trial(1)])

    assert registry.find(RunFilter(), 10) == []


def test_trials_on_several_markets_are_one_with_their_run(registry):
    """Each counts on its market, as a trial of its own strategy; where one can't be stored, nothing is."""
    other = replace(HOURS, symbol="ETH/EUR")
    registry.add(a_run(strategy="macd"), other, [a_trial(0, w=1)])
    mixed = a_run(run_type="portfolio", strategy="ma_crossover+macd")
    registry.add_over(mixed, [(HOURS, [a_trial(0, w=1)]), (other, [replace(a_trial(1, w=1), strategy="macd")])])

    with pytest.raises(StorageError):
        registry.add_over(a_run(), [(HOURS, [a_trial(0)]), (other, [a_trial(0)])])

    assert registry.count_trials(HOURS) == (1, 1)
    assert registry.count_trials(other) == (2, 1)
    assert [row.number for row in registry.tried_on("ETH/EUR", 100, 200)] == [0, 1]
    assert len(registry.find(RunFilter(), 10)) == 2


def test_dead_runs_are_closed_and_running_ones_are_not(registry):
    """A started run that nobody holds is closed as aborted; one that somebody holds stays."""
    dead, alive, other = (
        a_run(run_type=kind, status=RunStatus.STARTED, spec={"n": n}) for n, kind in enumerate(("sweep", "sweep", "other"))
    )
    for run in (dead, alive, other):
        registry.add(run)

    with registry.working_on(alive.spec_sha256) as free:
        closed = registry.close_dead("sweep", NOW)

    assert (free, closed) == (True, 1)
    assert [registry.get(run.run_id).status for run in (dead, alive, other)] == [
        RunStatus.ABORTED,
        RunStatus.STARTED,
        RunStatus.STARTED,
    ]
    assert registry.get(dead.run_id).elapsed_s is None


def test_work_is_held_by_one(registry, url):
    """Another connection to the same registry, wherever its configuration lies, sees that the work is taken."""
    other = Registry(url)

    with registry.working_on("a") as first, other.working_on("a") as second, other.working_on("b") as third:
        held = (first, second, third)
    with other.working_on("a") as again:
        pass
    other.close()

    assert (held, again) == ((True, False, True), True)


def test_order_is_that_of_code_points(registry):
    """Texts sort alike in every database, whatever its language; what has no value leads."""
    for strategy in ("macd", "ma_crossover", "Macd"):
        registry.add(a_run(strategy=strategy, tags=("b", "A", "a")))
    registry.add(a_run(strategy="z", elapsed_s=1.0))

    found = registry.find(RunFilter(), 10, "strategy")

    assert [run.strategy for run in found] == ["Macd", "ma_crossover", "macd", "z"]
    assert found[0].tags == ("A", "a", "b")
    assert registry.find(RunFilter(), 10, "elapsed_s")[-1].strategy == "z"


def test_what_no_database_can_keep_is_left_out(registry):
    """Zero bytes and halves of characters in an error do not lose the run; a figure that is no number has no row."""
    run = a_run(status=RunStatus.STARTED, error="a\0b", metrics={"sharpe": float("nan"), "cagr": 1.0})
    registry.add(run)
    registry.finish(run.run_id, RunStatus.FAILED, at=NOW, elapsed_s=1.0, trials=1, error="file \udcff\0 is gone")

    assert registry.get(run.run_id).error == "file ? is gone"


def test_too_long_a_wait_is_one_sentence(url, registry, monkeypatch):
    """A writer that waits too long says whom to wait for; nothing was written, and later it can be."""
    monkeypatch.setattr("peak_trade.journal.database.LOCK_WAIT_S", 0)
    with closing(Registry(url)) as patient:
        with registry.database.writing(), pytest.raises(StorageError, match="held its write lock"):
            patient.add(a_run())
        patient.add(a_run())

        assert len(patient.find(RunFilter(), 10)) == 1


WRITER = """
import sys
from peak_trade.journal.registry import Registry
from peak_trade.model.clock import RunId
from tests.contract.rows import HOURS, a_run, a_trial
registry = Registry(sys.argv[1])
for number in range(int(sys.argv[3])):
    run = a_run(run_id=RunId(f"{sys.argv[2]}-{number:04d}"))
    registry.add(run)
    registry.add_trials(run, HOURS, [a_trial(n) for n in range(20)])
    print(number, flush=True)
"""


def test_several_processes_at_once(url):
    """Processes that create the registry and write at the same moment lose nothing and damage nothing."""
    writers = [start(WRITER, url, f"writer{n}", "25") for n in range(4)]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]

    with closing(Registry(url)) as registry:
        total, _ = registry.count_trials(HOURS)
        runs = registry.find(RunFilter(), 1_000)
    assert (errors, len(runs), total) == ([""] * 4, 100, 2_000)
    if url.startswith("sqlite"):
        assert execute(url, "PRAGMA integrity_check") == [("ok",)]


def test_a_killed_writer_leaves_a_sound_registry(url):
    """After SIGKILL in the middle of writing the registry opens, and a run has all of its batch or none."""
    seen = []
    for number in range(3):
        with start(WRITER, url, f"killed{number}", "100000") as writer:
            lines = [writer.stdout.readline() for _ in range(7)]
            writer.kill()
        with closing(Registry(url)) as registry:
            seen += [len(registry.trials(run.run_id)) for run in registry.find(RunFilter(), 100_000)]

    assert lines[-1] == "6\n"
    assert set(seen) <= {0, 20}
    assert 20 in seen


HOLDER = """
import sys
from peak_trade.journal.registry import Registry
with Registry(sys.argv[1]).working_on("a") as free:
    print(free, flush=True)
    sys.stdin.read()
"""


def test_work_of_a_killed_process_is_free(url, registry):
    """Who waits gets the work when its holder is killed; who does not wait is told at once that it is taken."""
    with start(HOLDER, url) as holder:
        held = holder.stdout.readline()
        with registry.working_on("a", wait_s=0.05) as during:
            pass
        holder.kill()
        with registry.working_on("a", wait_s=30.0) as after:
            pass

    assert (held, during, after) == ("True\n", False, True)


def test_an_error_while_working_lets_go(registry):
    """The work is free again after whatever ended it."""
    with pytest.raises(KeyError), registry.working_on("a"):
        raise KeyError
    with registry.working_on("a") as free:
        assert free


def test_runs_come_in_pages(registry):
    """With the id that a page ends with, the next one goes on behind it; filters hold on all of them."""
    runs = [a_run(run_id=RunId(f"20260101T000000{n:03d}Z-aaaaaa"), run_type="sweep" if n % 3 else "backtest") for n in range(9)]
    for run in runs:
        registry.add(run)
    pages, before = [], None
    while page := registry.find(RunFilter(run_type="sweep"), 4, before=before):
        pages.append([run.run_id for run in page])
        before = page[-1].run_id

    sweeps = [run.run_id for run in runs if run.run_type == "sweep"][::-1]
    assert pages == [sweeps[:4], sweeps[4:]]


@pytest.mark.parametrize("order", ["sharpe", "strategy"])
def test_a_page_of_another_order_is_refused(registry, order):
    """Only the newest can be paged through."""
    with pytest.raises(InputError, match="pages are of the newest first"):
        registry.find(RunFilter(), 5, order, before="20260101")


def test_tag_names(registry):
    """Every tag once, in order."""
    assert registry.tag_names() == []
    for tags in (("b", "a"), ("a",), (), ("Z", "ä")):
        registry.add(a_run(tags=tags))

    assert registry.tag_names() == ["Z", "a", "b", "ä"]
