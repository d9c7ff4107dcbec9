"""What keeps orders from an exchange, each lock with its reasons.

The live lock is about permission: may the live stage run at all? It is closed while one of its bolts is shut. The safety lock
is about what would stop an order whatever runs: where orders can go, and whether the risk gate blocks. It is open once one of
its bolts is drawn.
"""

from peak_trade.compose import Parts
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.gates.permits import every_permit
from peak_trade.runs.gates.promotion import PERMITS
from peak_trade.runs.gates.record import gate_record
from peak_trade.webui.desk import Lock

LIVE_LOCK, SAFETY_LOCK = "Live lock", "Safety lock"


def locks_of(parts: Parts) -> tuple[Lock, ...]:
    """Return the live lock and the safety lock of an installation."""
    file = parts.settings.file
    stages = parts.stages()
    return (
        live_lock(enabled=file.live.enabled, runnable=Stage.LIVE in stages, permits=_live_permits(parts)),
        safety_lock(
            simulated=all(stage in (Stage.SHADOW, Stage.SHADOW_LIVE) for stage in stages if stage is not Stage.TESTNET),
            validates=file.exchange.kraken_testnet.validate_only,
            blocks=file.live_risk.block_on_violation,
        ),
    )


def _live_permits(parts: Parts) -> int:
    """Return how many permits for the live stage are good; none where their record can't be trusted."""
    if not (parts.state / PERMITS).is_dir():
        return 0
    try:
        found = every_permit(parts, gate_record(parts), parts.clock.now())
    except PeakTradeError:
        return 0
    return sum(item.permit is not None and item.permit.document.stage is Stage.LIVE for item in found)


def live_lock(*, enabled: bool, runnable: bool, permits: int) -> Lock:
    """Return whether the live stage is barred.

    Args:
        enabled: whether the configuration switches it on; that alone opens nothing.
        runnable: whether this version has a venue for it.
        permits: how many permits for it are in force.
    """
    reasons = (
        "live.enabled is true in the configuration" if enabled else "live.enabled is false in the configuration",
        "the live stage has a venue in this version" if runnable else "no venue of this version sends real orders",
        "a permit for the live stage is in force" if permits else "no permit for the live stage is in force",
    )
    return Lock(LIVE_LOCK, closed=not (enabled and runnable and permits), reasons=reasons)


def safety_lock(*, simulated: bool, validates: bool, blocks: bool) -> Lock:
    """Return whether an order that nobody should have sent would be stopped.

    Args:
        simulated: whether every venue but the test network's simulates its fills.
        validates: whether the test network only validates orders.
        blocks: whether the risk gate blocks what violates a limit on size.
    """
    reasons = (
        "orders only go to simulated venues" if simulated else "a venue sends real orders",
        "the test network only validates orders" if validates else "the test network executes orders",
        "the risk gate blocks what violates a limit" if blocks else "limits on size only warn: block_on_violation is false",
    )
    return Lock(SAFETY_LOCK, closed=simulated and validates and blocks, reasons=reasons)
