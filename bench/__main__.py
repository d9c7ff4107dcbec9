"""Runs every row, prints a table, then one JSON line for each row."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from peak_trade.cli.show import table

PROCESS_REPEATS = 5


def row(name: str, *arguments: str) -> dict[str, float]:
    """Run a row in a fresh process and return what it printed."""
    command = [sys.executable, "-m", "bench.rows", name, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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


def small_project(folder: Path) -> None:
    """Make a project folder with 10,000 bars."""
    from bench.rows import some_bars

    shutil.copy(Path(__file__).parents[1] / "config.toml", folder)
    some_bars(10_000).to_polars().write_parquet(folder / "small.parquet")


def measure(folder: Path) -> list[dict[str, object]]:
    """Return all rows."""
    small_project(folder)
    trade = str(Path(sys.executable).parent / "peak-trade")
    first = [trade, "backtest", "--strategy", "ma_crossover", "--data", "small.parquet", "--symbol", "BTC/EUR", "--json"]
    quick, quick_mib = cpu_of([*first, "--no-tear-sheet"], folder)
    drawn, drawn_mib = cpu_of(first, folder)
    bare, _ = cpu_of([sys.executable, "-c", f"from bench.rows import bare_process; bare_process({str(folder)!r})"], Path.cwd())
    helped, help_mib = cpu_of([trade, "--help"], folder)
    empty, _ = cpu_of([sys.executable, "-c", "pass"], folder)
    one, many = row("one_backtest"), row("many_pairs")
    row("write_csv", str(folder))
    large = row("large_import", str(folder))
    return [
        entry("one backtest, 1M bars", one["value"], "ns/bar", "<= 25", one["value"] <= 25, one["ratio"], one["peak_mib"]),
        entry("  its ratio to the bare loop", one["ratio"], "x", "<= 3", one["ratio"] <= 3, one["ratio"], one["peak_mib"]),
        entry(
            "sweep, 1,000 pairs x 100k bars",
            many["value"],
            "pairs/s",
            ">= 2500",
            many["value"] >= 2500,
            many["ratio"],
            many["peak_mib"],
        ),
        entry("  its peak memory", many["peak_mib"], "MiB", "<= 300", many["peak_mib"] <= 300, None, many["peak_mib"]),
        entry("fresh process to result, 10k bars", quick, "CPU s", "<= 1.0", quick <= 1.0, quick / bare, quick_mib),
        entry("  the same with tear sheet", drawn, "CPU s", "-", None, drawn / bare, drawn_mib),
        entry("peak-trade --help", helped, "CPU s", "<= 0.3", helped <= 0.3, helped / empty, help_mib),
        entry("import and backtest, 5M bars", large["value"], "s", "-", None, None, large["peak_mib"]),
        entry("  its peak memory", large["peak_mib"], "MiB", "<= 2048", large["peak_mib"] <= 2048, None, large["peak_mib"]),
    ]


def entry(
    name: str, value: float, unit: str, goal: str, met: bool | None, ratio: float | None, memory: float
) -> dict[str, object]:
    """Return one row; the ratio is to the bare loop, for whole processes to a bare process."""
    return {
        "row": name.strip(),
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "met": met,
        "ratio_to_bare": None if ratio is None else round(ratio, 2),
        "peak_mib": round(memory, 1),
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name))
    cells = [
        [
            str(item["row"]),
            f"{item['value']:,}",
            str(item["unit"]),
            str(item["goal"]),
            {True: "yes", False: "NO", None: ""}[item["met"]],
            "" if item["ratio_to_bare"] is None else f"{item['ratio_to_bare']} x",
            f"{item['peak_mib']:,}",
        ]
        for item in rows
    ]
    print(table(["what", "value", "unit", "goal", "met", "to bare", "peak MiB"], cells, right=(1, 5, 6)))
    print()
    for item in rows:
        print(json.dumps(item))


main()
