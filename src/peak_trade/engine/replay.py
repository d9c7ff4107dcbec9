"""Deciding a recorded session again, from its journal and its bars, without a venue."""

from typing import NamedTuple

from peak_trade.engine.engine import Engine, OffTheTape
from peak_trade.engine.runner import Marks, Outlook
from peak_trade.engine.state import State


class Replayed(NamedTuple):
    """What came of it: `whole` is false where the journal ends in the middle, as one of a dead process does."""

    state: State
    marks: Marks
    completed: int
    whole: bool


async def replay(engine: Engine, outlook: Outlook, last_tick: int | None) -> Replayed:
    """Play a journal through the engine, up to a tick; None: until the journal ends.

    Raises:
        CheckFailed: the engine decides otherwise than the journal says.
    """
    marks, completed = Marks(), 0
    first = next(iter(outlook.series))
    whole = last_tick is not None
    try:
        await engine.catch_up()
        for number, tick in enumerate(outlook.ticks(), 1):
            if engine.state.settling or (number > last_tick if last_tick is not None else not engine.replaying):
                break
            if tick.complete:
                targets = outlook.deciders[tick.bar.symbol].targets(tick.number)
                await engine.close_bar(tick.bar, targets)
                marks.add(tick.bar.closed_ns, float(engine.state.equity))
                completed = tick.number + 1 if tick.bar.symbol == first else completed
            else:
                await engine.open_bar(tick.bar)
            await engine.catch_up()
    except OffTheTape:
        if last_tick is not None:
            raise
        whole = False
    return Replayed(engine.state, marks, completed, whole)
