"""Peak_Trade: the controlled path of a trading strategy from idea to real money.

Besides the command `peak-trade` there are calls for notebooks, loaded when they are first asked for:
`load_bars`, `backtest`, `sweep`, `walk_forward`, `portfolio` and `check`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peak_trade.notebook.calls import backtest, check, load_bars, portfolio, sweep, walk_forward

__version__ = "0.1.0"
__all__ = ["__version__", "backtest", "check", "load_bars", "portfolio", "sweep", "walk_forward"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("peak_trade.notebook.calls"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
