"""Sessions whose content makes no sense are shown as damaged, with what is left, and take nothing else down."""

import math
from dataclasses import replace

from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session

#: What comes of reading a record in which something has another shape than it was written with.
MALFORMED = (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError)


def stripped(session: Session, error: Exception) -> Session:
    """Return a session as damaged, without the objects and figures that can't be shown."""
    run = session.run
    why = run.error or f"this row of the registry is damaged: {type(error).__name__}, {error}"
    finite = {name: value for name, value in run.metrics.items() if isinstance(value, int | float) and math.isfinite(value)}
    left = replace(run, status=RunStatus.DAMAGED, error=why, params={}, spec={}, versions={}, metrics=finite)
    return replace(session, run=left, feed={}, summary={}, cli_args=())
