"""The front door: every command, every error as one sentence, every exit code.

Invariant: heavy libraries load inside the command that needs them, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Sequence

import typer

from peak_trade import __version__
from peak_trade.cli import (
    alert,
    backtest,
    backup,
    checklist,
    config,
    dashboard,
    data,
    drill,
    emulator,
    experiments,
    fills,
    flow,
    gate,
    holdout,
    incident,
    journal,
    kill,
    liquidate,
    operator,
    pause,
    portfolio,
    readiness,
    regimes,
    robustness,
    rollback,
    scheduler,
    session,
    shutdown,
    smoke,
    status,
    strategies,
    strategy,
    supervisor,
    sweep,
    testnet,
    verdict,
    walkforward,
)
from peak_trade.cli.show import sentence
from peak_trade.model.errors import PeakTradeError
from peak_trade.strategy.aside import listening

INTERRUPTED = 130
STOPPED = "interrupted; what was stored stays"

#: What the option parser raises for a wrong option; typer exports only its subclass.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="peak-trade",
    help="The controlled path of a trading strategy from idea to real money.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("backtest")(backtest.command)
app.command("sweep")(sweep.command)
app.command("verdict")(verdict.command)
app.command("robustness")(robustness.command)
app.command("regimes")(regimes.command)
app.command("walkforward")(walkforward.command)
app.command("portfolio")(portfolio.command)
app.command("reproduce")(experiments.reproduce_command)
app.command("report")(experiments.report_command)
app.add_typer(experiments.app, name="experiments")
app.add_typer(session.app, name="session")
app.add_typer(testnet.app, name="testnet")
app.command("readiness")(readiness.command)
app.command("smoke")(smoke.command)
app.add_typer(gate.app, name="gate")
app.add_typer(holdout.app, name="holdout")
app.add_typer(fills.app, name="fills")
app.add_typer(flow.app, name="flow")
app.add_typer(checklist.app, name="checklist")
app.add_typer(drill.app, name="drill")
app.add_typer(journal.app, name="journal")
app.add_typer(backup.app, name="backup")
app.command("restore")(backup.restore_command)
app.add_typer(scheduler.app, name="scheduler")
app.command("status")(status.command)
app.command("kill")(kill.kill_command)
app.command("release")(kill.release_command)
app.add_typer(shutdown.app, name="shutdown")
app.command("pause")(pause.pause_command)
app.command("resume")(pause.resume_command)
app.add_typer(rollback.app, name="rollback")
app.add_typer(incident.app, name="incident")
app.command("liquidate")(liquidate.command)
app.add_typer(alert.app, name="alert")
app.add_typer(supervisor.app, name="supervisor")
app.add_typer(operator.app, name="operator")
app.command("dashboard")(dashboard.command)
app.add_typer(data.app, name="data")
app.add_typer(emulator.app, name="emulator")
app.add_typer(strategies.app, name="strategies")
app.add_typer(strategy.app, name="strategy")
app.add_typer(config.app, name="config")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"peak-trade {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """The controlled path of a trading strategy from idea to real money."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 negative, 2 wrong input, 3 refused by safety, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with listening():
            code = app(given, prog_name="peak-trade", standalone_mode=False)
        print(end="", flush=True)
        return _refuse(STOPPED, INTERRUPTED) if code == INTERRUPTED else code if isinstance(code, int) else 0
    except PeakTradeError as error:
        return _refuse(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _refuse(STOPPED, INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`): not our failure. Keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit:
        return 0  # the option parser ends so when the reader of the output has gone away
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error)
            return 2
        words = error.format_message() if hasattr(error, "format_message") else str(error)
        return _refuse(f"{words.rstrip('.?')}; {_command_of(error)} --help shows how", 2)
    except RecursionError:
        return _refuse("expected input of ordinary depth, found one nested too deeply; flatten it", 2)
    except MemoryError:
        return _refuse("the machine's memory is used up; choose a shorter period or a coarser grid", 1)
    except OSError as error:
        return _refuse(
            f"the system refused: {error.strerror or error} ({error.filename or 'no file'}); check disk and permissions", 1
        )
    except Exception as error:  # noqa: BLE001 - the last net: a fault of ours is logged and told in one sentence
        from peak_trade.cli.log import log_fault

        where = log_fault(error, given)
        return _refuse(f"internal fault ({type(error).__name__}: {error}); {where}", 1)


def run_and_exit() -> None:
    """Run the command line of this process and end it with its exit code."""
    sys.exit(main())


def _refuse(message: str, code: int) -> int:
    print(f"peak-trade: {sentence(message)}", file=sys.stderr)
    return code


def _command_of(error: Exception) -> str:
    """Return the command that an option error came from."""
    return getattr(getattr(error, "ctx", None), "command_path", None) or "peak-trade"
