"""How results look on a terminal."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

#: How each metric reads: `%` as a per cent, `m` as money, `r` as a ratio, `n` as a count.
KINDS = {
    "final_equity": "m",
    "total_return": "%",
    "cagr": "%",
    "sharpe": "r",
    "sortino": "r",
    "calmar": "r",
    "max_drawdown": "%",
    "volatility": "%",
    "num_trades": "n",
    "num_entries": "n",
    "win_rate": "%",
    "profit_factor": "r",
    "exposure": "%",
    "turnover": "r",
    "fees_paid": "m",
    "orders_skipped": "n",
}


def figure(name: str, value: float | None) -> str:
    """Return a metric as a reader expects it; a dash where it can't be computed."""
    if value is None:
        return "-"
    kind = KINDS.get(name.removeprefix("best_"), "r")
    if kind == "%":
        return f"{value:.2%}"
    if kind == "m":
        return f"{value:,.2f}"
    return f"{value:,.0f}" if kind == "n" else f"{value:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return aligned columns; those numbered in *right* are flush right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    flush = set(right)
    lines = []
    for number, row in enumerate(cells):
        parts = [
            cell.rjust(width) if column in flush else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def short(params: dict[str, Any]) -> str:
    """Return parameters in one line."""
    words = (f"{name}={value if isinstance(value, int | float | str) else json.dumps(value)}" for name, value in params.items())
    return " ".join(words)


def document(value: object) -> str:
    """Return a JSON document; not-a-number is a fault of ours and raises."""
    return json.dumps(value, indent=2, allow_nan=False)
