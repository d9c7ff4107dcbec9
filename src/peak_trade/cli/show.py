"""How results look on a terminal."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

#: A message longer than this is cut in its middle: nobody reads a field of a megabyte.
MESSAGE_MAX = 1_500


def printable(text: str) -> str:
    """Show control characters as escapes, so that a file name or tag can't steer the terminal."""
    return "".join(mark if mark.isprintable() or mark == "\n" else repr(mark)[1:-1] for mark in text)


def sentence(text: str) -> str:
    """Return a message in one line of bounded length."""
    line = " ".join(printable(text).split("\n"))
    return line if len(line) <= MESSAGE_MAX else f"{line[: MESSAGE_MAX // 2]} ... {line[-MESSAGE_MAX // 2 :]}"


def figure(name: str, value: float | None, quote: str = "") -> str:
    """Return a metric, or the best of one in a sweep, as reports write it."""
    from peak_trade.report.figures import figure_number

    return figure_number(name.removeprefix("best_"), value, quote)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return aligned columns; those numbered in *right* are flush right."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
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


def told_notes(record: dict[str, Any]) -> str:
    """Return what a terminal tells of the data besides its figures: a hold-out that was not read; empty where there is none."""
    notes = [note for note in record["dataset"]["notes"] if note.startswith("the hold-out")]
    return printable("".join(f"note: {note}\n" for note in notes))


def document(value: object) -> str:
    """Return a JSON document; not-a-number is a fault of ours and raises."""
    return json.dumps(value, indent=2, allow_nan=False)
