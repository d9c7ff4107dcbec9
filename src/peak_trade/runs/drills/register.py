"""Every drill there is, in one table: the commands, `drill list` and the page of the guide are made of it.

Invariant: a drill that is not here can't be run, and one that is here is run by `drill run --all`.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from peak_trade.model.errors import InputError
from peak_trade.runs.drills import machine, outages, stops, triggers
from peak_trade.runs.drills.bench import BenchSetting, DrillBench, DrillTrial, Steps, on_bench
from peak_trade.runs.drills.kill import try_kill_switch
from peak_trade.runs.drills.steps import DrillResult

#: How long a drill counts that no gate asks for.
LASTS = timedelta(days=30)
#: The drill that is of a strategy version, and needs one.
ORDER_LIFE = "order-life"


class Drill(NamedTuple):
    """A drill: what it tries, about how long it takes (seconds), which page of `docs/` tells what to do, and how it is run.

    `run` is None for the one that needs a strategy.
    """

    name: str
    tries: str
    takes_s: int
    page: str
    run: Callable[[DrillTrial], DrillResult] | None

    @property
    def in_evidence(self) -> str:
        """How evidence and the policy call it."""
        return self.name.replace("-", "_")


def _kill_switch(trial: DrillTrial) -> DrillResult:
    return try_kill_switch(trial.clock, trial.environment, trial.seed)


def _at_bench(
    name: str, tries: str, takes_s: int, page: str, steps: Callable[[DrillBench], Steps], setting: BenchSetting | None = None
) -> Drill:
    def run(trial: DrillTrial) -> DrillResult:
        return on_bench(name.replace("-", "_"), setting or BenchSetting(), steps, trial)

    return Drill(name, tries, takes_s, page, run)


_KILL, _PAUSE, _BACK = "guide/kill_switch.md", "runbooks/pause.md", "runbooks/rollback.md"
_TRIGGERS = "guide/pause_triggers.md"
DRILLS: tuple[Drill, ...] = (
    Drill("kill-switch", "the switch over sessions that work, hang and died, and its release", 60, _KILL, _kill_switch),
    _at_bench(
        "kill-levels",
        "each level in turn, at an exchange, while the session stands still",
        20,
        "runbooks/start_and_stop.md",
        stops.kill_levels,
    ),
    _at_bench(
        "dead-man",
        "the session stands still: the exchange cancels its orders by itself",
        15,
        "guide/dead_man_switch.md",
        stops.dead_man,
        stops.MINUTE_BENCH,
    ),
    _at_bench(
        "restart",
        "`kill -9` with an order at the exchange, and begun again",
        15,
        "runbooks/restart.md",
        machine.restarted,
    ),
    _at_bench(
        "trigger-daily-loss",
        "the day's loss reaches its limit",
        20,
        _TRIGGERS,
        triggers.daily_loss,
        triggers.LOSS_BENCH,
    ),
    _at_bench("trigger-api-errors", "too many calls fail", 20, "runbooks/api_errors.md", triggers.api_errors),
    _at_bench("trigger-data-gap", "the market falls silent", 30, _TRIGGERS, triggers.data_gap),
    _at_bench(
        "trigger-divergence",
        "the profit is not the one that is expected",
        70,
        _TRIGGERS,
        triggers.divergence,
        triggers.FEES_BENCH,
    ),
    _at_bench("trigger-exception", "what nobody foresaw, in a session's core", 10, _TRIGGERS, triggers.exception),
    _at_bench("pause", "the pause of an account, which outlives its session", 15, _PAUSE, stops.paused),
    _at_bench("rollback-stage", "everything down to the shadow", 15, _BACK, stops.rolled_back_stage, stops.TESTNET_BENCH),
    _at_bench("rollback-strategy", "a strategy closed and out of the rotation", 15, _BACK, stops.rolled_back_strategy),
    _at_bench(
        "liquidation",
        "everything off the exchange while the session stands still",
        15,
        "runbooks/liquidation.md",
        stops.liquidation,
    ),
    _at_bench("outage", "the exchange can't be reached for a while", 25, "runbooks/api_errors.md", outages.outage),
    _at_bench("maintenance", "neither placing nor cancelling works", 25, "runbooks/maintenance.md", outages.maintenance),
    _at_bench(
        "poisoned-nonce",
        "another program takes the key's numbers far ahead",
        25,
        "runbooks/key_rotation.md",
        outages.poisoned_nonce,
    ),
    _at_bench("full-disk", "the disk takes no byte of a session any more", 25, "runbooks/restart.md", machine.full_disk),
    _at_bench(
        "supervisor",
        "a session that hangs, and a supervisor that died",
        25,
        "guide/supervisor.md",
        machine.supervised,
        machine.WATCHED_BENCH,
    ),
    Drill(ORDER_LIFE, "50 orders of a strategy through everything that may befall one", 60, "guide/drills.md", None),
)


def drill_named(name: str) -> Drill:
    """Return a drill; `_` is as good as `-`.

    Raises:
        InputError: there is none of that name.
    """
    wanted = name.replace("_", "-")
    for drill in DRILLS:
        if drill.name == wanted:
            return drill
    names = ", ".join(drill.name for drill in DRILLS)
    raise InputError(f"expected one of the drills {names}, or --all, found {name[:40]!r}; choose one")
