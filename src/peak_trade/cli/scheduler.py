"""`peak-trade scheduler`: recurring jobs, each a command in a process of its own, with a record of every run and every miss."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, ConfigError, SafetyRefused

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.runs.schedule.file import Schedule

JobsFile = Annotated[Path | None, typer.Option("--config", help="File of jobs instead of config/scheduler.toml.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Configuration file instead of config.toml.")]

app = typer.Typer(
    help="Run recurring jobs: backups, checks, data, drills, sessions.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Run recurring jobs."""


@app.command()
def run(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Do what is due by now, then end.")] = False,
    config: JobsFile = None,
    settings: SettingsFile = None,
) -> None:
    """Run every job when it is due, until Ctrl+C or SIGTERM; a second one ends what still runs at once."""
    from peak_trade.runs.schedule.scheduler import run_scheduler

    with closing(options.open_parts(settings)) as parts:
        schedule = _schedule(context, parts, config)
        if not run_scheduler(parts, schedule, _say, once=once) and once:
            raise CheckFailed("expected every run to end well, found one that did not; peak-trade scheduler list tells which")


@app.command("run-once")
def run_once(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Name of the job.")],
    config: JobsFile = None,
    settings: SettingsFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Run one job now, also one that is not enabled, and keep it in the record."""
    from peak_trade.cli.show import document
    from peak_trade.runs.schedule.record import REFUSED, states_of
    from peak_trade.runs.schedule.scheduler import run_scheduler

    with closing(options.open_parts(settings)) as parts:
        schedule = _schedule(context, parts, config)
        chosen = schedule.job(job)
        good = run_scheduler(parts, schedule, _say, by_hand=chosen)
        last = states_of(parts)[job].last or {}
    if as_json:
        print(document(last))
    if not good:
        words = f"expected {job} to end well, found it {last.get('status')}: {last.get('said') or 'it said nothing'}"
        raise SafetyRefused(words) if last.get("status") == REFUSED else CheckFailed(words)


@app.command("list")
def list_command(
    runs: Annotated[int, typer.Option("--runs", min=0, max=1_000, help="Also the last so many runs and misses.")] = 0,
    config: JobsFile = None,
    settings: SettingsFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Show every job: when it is due next, how its last run ended, what it missed, what runs."""
    from peak_trade.cli.show import document, printable, table
    from peak_trade.runs.schedule.file import PLACE, read_schedule
    from peak_trade.runs.schedule.scheduler import schedule_facts

    with closing(options.open_parts(settings)) as parts:
        schedule = read_schedule(options.full_path(config) if config else parts.settings.root / PLACE)
        found = schedule_facts(parts, schedule, runs)
    if as_json:
        print(document(found))
        return
    at_work = found["scheduler"]
    print(f"a scheduler runs: process {at_work['process']} on {at_work['host']}" if at_work else "no scheduler runs")
    heads = ["job", "kind", "when (UTC)", "next due", "last run", "ended", "runs", "missed", "state"]
    print(table(heads, [_row(line) for line in found["jobs"]], right=(6, 7)))
    for line in found["jobs"]:
        if (last := line["last"]) and last["status"] not in ("completed", "stopped"):
            print(printable(f"{line['job']}: {last['said'] or 'it said nothing'}"))
        if missed := line["last_missed"]:
            print(printable(f"{line['job']} missed {missed['count']}, the last at {missed['last']}: {missed['words']}"))
    for item in found["runs"]:
        print(printable(_event(item)))


@app.command()
def check(
    context: typer.Context,
    config: JobsFile = None,
    settings: SettingsFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Check the file of jobs and every command in it; show when each is due, and what becomes of runs that can't be on time."""
    from datetime import datetime

    from peak_trade.cli.show import document, table

    with closing(options.open_parts(settings)) as parts:
        schedule = _schedule(context, parts, config)
        now = parts.clock.now()
    lines: list[dict[str, Any]] = []
    for job in schedule.jobs.values():
        dues: list[datetime] = []
        while len(dues) < 3 and (due := job.rule.after(dues[-1] if dues else now)) is not None:
            dues.append(due)
        lines.append(
            {
                "job": job.name,
                "kind": job.kind.name,
                "command": list(job.command),
                "rule": job.rule.text,
                "enabled": job.enabled,
                "dues": [due.isoformat() for due in dues],
                "grace_s": int(job.grace.total_seconds()),
                "timeout_s": int(job.longest.total_seconds()),
                "stopped_by_latches": job.kind.trades,
            }
        )
    if as_json:
        print(document({"file": str(schedule.path), "jobs": lines}))
        return
    rows = [
        (
            line["job"],
            line["kind"],
            line["rule"],
            "yes" if line["enabled"] else "no",
            ", ".join(_short(due) for due in line["dues"]),
            f"{line['grace_s']} s",
            f"{line['timeout_s']} s",
        )
        for line in lines
    ]
    print(table(["job", "kind", "when (UTC)", "enabled", "due", "at most late", "at most long"], rows))


def _schedule(context: typer.Context, parts: "Parts", config: Path | None) -> "Schedule":
    """Read the file of jobs, and let every command in it be parsed as it will be when it runs.

    Raises:
        ConfigError: the file or a command is wrong.
    """
    from peak_trade.runs.schedule.file import PLACE, read_schedule

    schedule = read_schedule(options.full_path(config) if config else parts.settings.root / PLACE)
    for job in schedule.jobs.values():
        if wrong := _objection(context.find_root().command, job.command):
            raise ConfigError(f"jobs.{job.name} in {schedule.path}: {wrong.rstrip('.')}; correct its command")
    return schedule


def _objection(command: Any, words: Sequence[str]) -> str:
    """Return what the option parser, whose outermost command is given, has against words; empty where it takes them."""
    left = [*words, "--json"]
    try:
        context = command.make_context("peak-trade", left)
        while hasattr(command, "resolve_command") and (left := [*context._protected_args, *context.args]):
            name, command, left = command.resolve_command(context, left)
            context = command.make_context(name, left, parent=context)
    except Exception as error:  # noqa: BLE001 - the parser has its own family of errors, which typer does not export
        return str(error.format_message() if hasattr(error, "format_message") else error)
    return ""


def _say(words: str) -> None:
    from peak_trade.cli.show import sentence

    print(sentence(words), file=sys.stderr, flush=True)


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    running, last = line["running"], line["last"]
    state = "off" if not line["enabled"] else "waits"
    if running:
        state = "cut off" if running.get("cut_off") else f"runs since {_short(running['started'])}"
    return (
        line["job"],
        line["kind"],
        line["rule"],
        _short(line["next_due"]),
        "-" if last is None else last["status"],
        "-" if last is None else _short(last["ended"]),
        str(line["runs"]),
        str(line["missed"]),
        state,
    )


def _event(item: Mapping[str, Any]) -> str:
    if item["kind"] == "job_missed":
        return f"{item['at']} {item['job']} missed {item['count']}: {item['words']}"
    made = f" {' '.join(item['made'])}" if item["made"] else ""
    return f"{item['at']} {item['job']} {item['status']}{made}"


def _short(text: str | None) -> str:
    """Return a moment to the second."""
    return "-" if text is None else text[:19].replace("T", " ")
