"""How results look on a terminal."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from peak_trade.report.figures import figure_number


def figure(name: str, value: float | None, quote: str = "") -> str:
    """Return a metric, or the best of one in a sweep, as reports write it."""
    return figure_number(name.removeprefix("best_"), value, quote)


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
