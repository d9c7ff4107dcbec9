"""A sweep's combinations in order of a metric, and laid out over one or two of its parameters."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peak_trade.report.figures import value_text

Params = Mapping[str, Any]
Scores = Mapping[str, float | None]
#: A combination's parameters and its metrics.
Row = tuple[Params, Scores]

#: Cells on each side of a heat map; more are narrower than a pixel and weigh megabytes.
CELLS_MAX = 100
#: Quantiles that say how a metric spreads over all combinations.
_QUANTILES = (("Best", 1.0), ("Upper quarter", 0.75), ("Median", 0.5), ("Lower quarter", 0.25), ("Worst", 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A swept parameter: its name and a label for each step, in the grid's order.

    Attributes:
        span: how many neighbouring values share a step; 1 unless there are more than a drawing can show.
    """

    name: str
    labels: tuple[str, ...]
    span: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The best value of a metric at each step of one or two parameters.

    Attributes:
        across: the horizontal axis.
        up: the vertical axis; None with a single swept parameter.
        cells: rows of the vertical axis, each with a value for every step of the horizontal one; None where no
            combination has a value.
        others: further swept parameters, over which each cell is the best.
    """

    across: Axis
    up: Axis | None
    cells: tuple[tuple[float | None, ...], ...]
    others: tuple[str, ...]


def ranked(rows: Iterable[Row], metric: str) -> list[Row]:
    """Return the rows by metric descending, those without a value last; equal ones keep the sweep's order."""
    return sorted(rows, key=lambda row: -math.inf if (value := score(row, metric)) is None else value, reverse=True)


def score(row: Row, metric: str) -> float | None:
    """Return a row's value of the metric, None where it has none that is a number."""
    value = row[1].get(metric)
    return None if value is None or math.isnan(value) else float(value)


def spread(rows: Iterable[Row], metric: str) -> list[tuple[str, float]]:
    """Return named quantiles of the metric over the rows that have a value; empty where none has."""
    found = [value for row in rows if (value := score(row, metric)) is not None]
    return [(name, float(np.quantile(found, share))) for name, share in _QUANTILES] if found else []


def swept(grid: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the parameters with more than one value, in the grid's order."""
    return [name for name, values in grid.items() if len(values) > 1]


def landscape(grid: Mapping[str, Sequence[Any]], rows: Iterable[Row], metric: str, limit: int = CELLS_MAX) -> Landscape | None:
    """Lay the metric out over the first two swept parameters; None where no parameter was swept.

    With more values than *limit* on an axis, neighbours share a cell, which again is the best of them. A single
    swept parameter is drawn as a line, which needs no limit.
    """
    names = swept(grid)
    if not names:
        return None
    rows = list(rows)
    across, columns = _axis(names[0], grid, rows, limit if len(names) > 1 else len(grid[names[0]]))
    up, lines = _axis(names[1], grid, rows, limit) if len(names) > 1 else (None, {})
    cells: list[list[float | None]] = [[None] * len(across.labels) for _ in range(len(up.labels) if up else 1)]
    for row in rows:
        value = score(row, metric)
        if value is None:
            continue
        line = lines[_key(row[0].get(up.name))] if up else 0
        column = columns[_key(row[0].get(across.name))]
        best = cells[line][column]
        cells[line][column] = value if best is None else max(best, value)
    return Landscape(across=across, up=up, cells=tuple(tuple(line) for line in cells), others=tuple(names[2:]))


def _axis(name: str, grid: Mapping[str, Sequence[Any]], rows: Sequence[Row], limit: int) -> tuple[Axis, dict[str, int]]:
    """Return the axis and, for each value, its step."""
    labels = {_key(value): value_text(value) for value in grid[name]}
    labels |= {key: value_text(row[0].get(name)) for row in rows if (key := _key(row[0].get(name))) not in labels}
    span = -(-len(labels) // max(limit, 1))
    texts = list(labels.values())
    steps = [texts[first : first + span] for first in range(0, len(texts), span)]
    shown = tuple(step[0] if len(step) == 1 else f"{step[0]} to {step[-1]}" for step in steps)
    return Axis(name=name, labels=shown, span=span), {key: index // span for index, key in enumerate(labels)}


def _key(value: Any) -> str:
    """Return the same text for 2 and 2.0, which a grid and a strategy's parameters write differently."""
    return value_text(value)
