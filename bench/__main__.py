"""Runs every row, prints a table, then one JSON line for each row."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from peak_trade.cli.show import table

PROCESS_REPEATS = 5


def row(name: str, *arguments: str, module: str = "bench.rows") -> dict[str, float]:
    """Run a row in a fresh process and return what it printed."""
    command = [sys.executable, "-m", module, name, *arguments]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def cpu_of(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the least CPU seconds and the peak MiB of a command over several fresh processes, after one warm-up."""
    found = []
    for _ in range(PROCESS_REPEATS + 1):
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        found.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    return min(seconds for seconds, _ in found[1:]), max(memory for _, memory in found[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; the ratio is to the bare loop, for whole processes to a bare process."""

    row: str
    value: float
    unit: str
    goal: str = "-"
    met: bool | None = None
    ratio_to_bare: float | None = None
    peak_mib: float


def measure(folder: Path) -> list[Row]:
    """Return all rows."""
    shutil.copy(Path(__file__).parents[1] / "config.toml", folder)
    row("small_file", str(folder))
    trade = str(Path(sys.executable).parent / "peak-trade")
    first = [trade, "backtest", "--strategy", "ma_crossover", "--data", "small.parquet", "--symbol", "BTC/EUR", "--json"]
    bare_job = f"from bench.rows import bare_process; bare_process({str(folder)!r})"
    bare, _ = cpu_of([sys.executable, "-c", bare_job], Path.cwd())
    empty, _ = cpu_of([sys.executable, "-c", "pass"], folder)
    one, many = row("one_backtest"), row("many_pairs")
    walk, whole = row("walk_windows", str(folder)), row("whole_portfolio")
    row("write_csv", str(folder))
    large = row("large_import", str(folder))
    return [
        at_most(25, "one backtest, 1M bars", one["value"], "ns/bar", one["ratio"], one["peak_mib"]),
        at_most(3, "one backtest, its ratio to the bare loop", one["ratio"], "x", one["ratio"], one["peak_mib"]),
        Row(
            row="sweep, 1,000 pairs x 100k bars",
            value=many["value"],
            unit="pairs/s",
            goal=">= 2500",
            met=many["value"] >= 2500,
            ratio_to_bare=many["ratio"],
            peak_mib=many["peak_mib"],
        ),
        at_most(5, "walk-forward, 20 windows x 100 x 100k bars", walk["value"], "s", None, walk["peak_mib"]),
        at_most(2, "portfolio, 20 symbols x 5 strategies x 100k bars", whole["value"], "s", None, whole["peak_mib"]),
        at_most(300, "sweep, its peak memory", many["peak_mib"], "MiB", None, many["peak_mib"]),
        process_row(1.0, "fresh process to result, 10k bars", [*first, "--no-tear-sheet"], folder, bare),
        process_row(None, "fresh process to result and tear sheet", first, folder, bare),
        process_row(0.3, "peak-trade --help", [trade, "--help"], folder, empty),
        Row(row="import and backtest, 5M bars", value=large["value"], unit="s", peak_mib=large["peak_mib"]),
        at_most(2048, "5M bars, their peak memory", large["peak_mib"], "MiB", None, large["peak_mib"]),
        *session_rows(),
        *testnet_rows(),
        *dashboard_rows(folder),
        *gate_rows(folder),
        *emulator_rows(folder),
    ]


def emulator_rows(folder: Path) -> list[Row]:
    """Return the rows about the emulator; bare there is an application that answers a constant through the same server."""
    calls, orders, stream, hour = (
        row(name, str(folder), module="bench.emulator") for name in ("calls", "orders", "stream", "half_hour")
    )
    memory = stream["server_mib"]
    return [
        at_least(
            2_000, "emulator, REST calls", calls["per_s"], "/s", calls["bare_per_s"] / calls["per_s"], calls["server_mib"]
        ),
        at_least(10_000, "emulator, stream messages of 140 readers", stream["per_s"], "/s", None, memory),
        at_least(9.5, "its market's steps meanwhile, of 10 due", stream["steps_per_s"], "/s", None, memory),
        Row(row="how late these were, p99", value=stream["late"], unit="ms", peak_mib=memory),
        Row(row="made to read, p99", value=stream["under_way"], unit="ms", peak_mib=memory),
        Row(row="emulator, AddOrder at 200/s, p50", value=orders["p50"], unit="ms", peak_mib=orders["server_mib"]),
        at_most(10, "emulator, AddOrder at 200/s, p99", orders["p99"], "ms", None, orders["server_mib"]),
        at_most(16, "emulator, its growth, minutes 10 to 30", hour["growth"], "MiB", None, hour["peak_mib"]),
    ]


def dashboard_rows(folder: Path) -> list[Row]:
    """Return the rows about the dashboard; the bare answer there is a file from memory through the same server."""
    row("fill", str(folder), module="bench.dashboard")
    one, many = (row(name, str(folder), module="bench.dashboard") for name in ("one_reader", "many_readers"))
    asked = ("list", "filter", "filter by text", "sort", "stats", "home")
    memory = one["server_mib"]
    return [
        *(
            at_most(50, f"dashboard, 100,000 sessions, {name}, p95", one[name], "ms", one[name] / one["bare"], memory)
            for name in asked
        ),
        at_most(150, "dashboard, its first page", one["first page"], "ms", None, memory),
        at_most(0, "1,000 requests of 20 clients, errors", many["errors"], "", None, memory),
        Row(row="the same, answers", value=many["per_s"], unit="/s", peak_mib=memory),
        Row(row="the same, p95", value=many["p95"], unit="ms", peak_mib=memory),
        Row(row="decision to venue without them, p50", value=many["calm_p50"], unit="us", peak_mib=memory),
        at_most(100, "decision to venue beside them, p50", many["busy_p50"], "us", None, memory),
        Row(row="decision to venue without them, p99", value=many["calm_p99"], unit="us", peak_mib=memory),
        at_most(1_000, "decision to venue beside them, p99", many["busy_p99"], "us", None, memory),
    ]


def gate_rows(folder: Path) -> list[Row]:
    """Return the rows about the gates' overview: many versions in a large registry, and very many sessions of one."""
    rows = []
    for name, words in (("many", "100,000 sessions"), ("crowd", "20,000 of one version")):
        house = folder / f"gates-{name}"
        house.mkdir()
        shutil.copy(Path(__file__).parents[1] / "config.toml", house)
        subprocess.run([sys.executable, "-m", "bench.gates", name, str(house)], check=True)
        found = row("overview", str(house), module="bench.gates")
        rows.append(at_most(300, f"gate status, {words}", found["value"], "ms", None, found["peak_mib"]))
        rows.append(Row(row="the same, with its process", value=found["process"], unit="ms", peak_mib=found["peak_mib"]))
    return rows


def testnet_rows() -> list[Row]:
    """Return the rows about testnet sessions: an order a second to an emulator, everything on the disk."""
    wire, charges, long = (row(name, module="bench.testnet") for name in ("to_wire", "charges", "long_session"))
    memory = wire["peak_mib"]
    return [
        at_most(2, "testnet, decision to the wire, p50", wire["value"], "ms", None, memory),
        at_most(10, "testnet, decision to the wire, p99", wire["p99"], "ms", None, memory),
        Row(row="the same, computed by its process, p50", value=wire["computed"], unit="CPU ms", peak_mib=memory),
        Row(row="an order charged to the day's budget, p99", value=charges["p99"], unit="ms", peak_mib=charges["peak_mib"]),
        Row(row="the same, charged before, p99", value=charges["before"], unit="ms", peak_mib=charges["peak_mib"]),
        Row(row="a strategy asked after a week of minutes, p50", value=long["value"], unit="ms", peak_mib=long["peak_mib"]),
        at_most(16, "the growth of its process in that week", long["growth"], "MiB", None, long["peak_mib"]),
    ]


def session_rows() -> list[Row]:
    """Return the rows about the engine; the bare loop there marks a position at each bar in exact decimals."""
    names = ("quiet_bars", "busy_bars", "decision_delay", "million_bars")
    quiet, busy, delay, million = (row(name, module="bench.sessions") for name in names)
    return [
        at_most(10, "engine, a bar without an order", quiet["value"], "us/bar", quiet["ratio"], quiet["peak_mib"]),
        at_most(60, "engine, a bar with strategy and order", busy["value"], "us/bar", busy["ratio"], busy["peak_mib"]),
        Row(row="the same, with journal and venue's log", value=busy["written"], unit="us/bar", peak_mib=busy["peak_mib"]),
        Row(row="the same, waiting for the disk", value=busy["forced"], unit="us/bar", peak_mib=busy["peak_mib"]),
        at_most(100, "decision to venue, p50", delay["value"], "us", None, delay["peak_mib"]),
        at_most(1_000, "decision to venue, p99", delay["p99"], "us", None, delay["peak_mib"]),
        Row(row="a session over 1M bars", value=million["value"], unit="s", peak_mib=million["peak_mib"]),
        at_most(16, "its growth after the first 100,000", million["growth"], "MiB", None, million["peak_mib"]),
    ]


def at_most(goal: float, name: str, value: float, unit: str, ratio: float | None, memory: float) -> Row:
    """Return a row whose value should not exceed the goal."""
    return Row(row=name, value=value, unit=unit, goal=f"<= {goal:g}", met=value <= goal, ratio_to_bare=ratio, peak_mib=memory)


def at_least(goal: float, name: str, value: float, unit: str, ratio: float | None, memory: float) -> Row:
    """Return a row whose value should reach the goal."""
    return Row(row=name, value=value, unit=unit, goal=f">= {goal:g}", met=value >= goal, ratio_to_bare=ratio, peak_mib=memory)


def process_row(goal: float | None, name: str, command: list[str], folder: Path, bare: float) -> Row:
    """Measure a whole command in CPU seconds."""
    value, memory = cpu_of(command, folder)
    if goal is None:
        return Row(row=name, value=value, unit="CPU s", ratio_to_bare=value / bare, peak_mib=memory)
    return at_most(goal, name, value, "CPU s", value / bare, memory)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name))
    words = {True: "yes", False: "NO", None: ""}
    cells = [
        [
            item.row,
            f"{item.value:,.3f}",
            item.unit,
            item.goal,
            words[item.met],
            "" if item.ratio_to_bare is None else f"{item.ratio_to_bare:.2f} x",
            f"{item.peak_mib:,.0f}",
        ]
        for item in rows
    ]
    print("bare: for a job, one numba loop that does only it; for a command, a process that does only the bare job;")
    print("for --help, a Python process that does nothing. Times are the best of several, memory is the peak.\n")
    print(table(["what", "value", "unit", "goal", "met", "to bare", "peak MiB"], cells, right=(1, 5, 6)))
    print()
    for item in rows:
        print(json.dumps(asdict(item)))


main()
