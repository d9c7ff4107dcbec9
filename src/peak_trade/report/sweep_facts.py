"""What a sweep found, in words and rows that every format of its report shares."""

from collections.abc import Sequence
from dataclasses import dataclass

from peak_trade.journal.run import JsonObject
from peak_trade.report.facts import Pair
from peak_trade.report.figures import figure_label, figure_number, figure_of, figure_text, plural, value_text
from peak_trade.report.ranking import Landscape, Row, ranked, score, spread, swept

#: Metrics in the table besides the one that ranks it.
_BESIDE = ("total_return", "sharpe", "max_drawdown", "num_trades", "win_rate", "profit_factor")


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text: the heads of its parameter columns and of its metric columns, and its rows, best first."""

    params: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def sweep_verdict(record: JsonObject, rows: Sequence[Row]) -> str:
    """Return one or two sentences on the best combination and on what it is worth."""
    metric, quote = record["metric"], record["quote"]
    label = figure_of(metric).label
    best = ranked(rows, metric)[:1]
    value = score(best[0], metric) if best else None
    if value is None:
        return f"None of {plural(len(rows), 'combination')} gave a value for: {label}."
    names = swept(record["grid"]) or list(record["grid"])
    chosen = ", ".join(f"{name} = {value_text(best[0][0].get(name))}" for name in names)
    text = f"The best of {plural(len(rows), 'combination')} by {label} is {chosen}, with {figure_text(metric, value, quote)}."
    if len(rows) > 1:
        text += " The best of many is high by chance alone: judge it by its neighbours and on data it has not seen."
    if beside := record.get("benchmark"):
        text += f" Buy and hold: {figure_text(metric, beside[metric], quote)}."
    return text


def top_table(record: JsonObject, rows: Sequence[Row]) -> Table:
    """Return the best combinations: the swept parameters, the metric that ranks, and the ones to judge it by."""
    metric, quote = record["metric"], record["quote"]
    params = tuple(swept(record["grid"]) or record["grid"])
    metrics = (metric, *(name for name in _BESIDE if name != metric))
    best = ranked(rows, metric)[: record["top"]]
    return Table(
        params=params,
        metrics=tuple(figure_label(name, quote) for name in metrics),
        rows=tuple(
            (
                tuple(value_text(values.get(name)) for name in params),
                tuple(figure_number(name, figures.get(name), quote) for name in metrics),
            )
            for values, figures in best
        ),
    )


def spread_pairs(record: JsonObject, rows: Sequence[Row]) -> list[Pair]:
    """Return how the metric spreads over all combinations, and how many have none."""
    metric, quote = record["metric"], record["quote"]
    without = sum(score(row, metric) is None for row in rows)
    pairs = [(name, figure_text(metric, value, quote)) for name, value in spread(rows, metric)]
    return [*pairs, ("Without a value", f"{without:,} of {len(rows):,}")]


def landscape_caption(land: Landscape | None, metric: str) -> str:
    """Say what the picture of the sweep shows, and what it hides."""
    label = figure_of(metric).label
    if land is None:
        return "Only one combination was tried, so there is nothing to compare."
    if land.up is None:
        return f"{label} at each value of {land.across.name}; a gap is a combination without a value."
    text = f"{label} over {land.across.name} and {land.up.name}"
    if land.others:
        text += f", each cell the best over {' and '.join(land.others)}"
    shared = [axis.name for axis in (land.across, land.up) if axis.span > 1]
    if shared:
        text += f"; neighbouring values of {' and '.join(shared)} share a cell, which shows the best of them"
    return (
        f"{text}. The best cell is outlined; an empty cell has no combination or no value. "
        "Colours end at the 1st and 99th percentile of the cells."
    )
