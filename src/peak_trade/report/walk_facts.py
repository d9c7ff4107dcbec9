"""What a walk-forward found, in words and rows that every format of its report shares.

Invariant: every sentence is computed from the record; none claims that a strategy works.
"""

from typing import Any

from peak_trade.journal.run import JsonObject
from peak_trade.report.facts import Pair, moment
from peak_trade.report.figures import (
    NOT_COMPUTABLE,
    decimal,
    figure_label,
    figure_number,
    figure_of,
    figure_text,
    money,
    percent,
    plural,
    value_text,
)

#: Heads of the table of parameters.
STEADY_HEADS = ("Parameter", "Chosen in each window", "Different values", "Windows with a change", "Mean move")


def walk_verdict(record: JsonObject) -> str:
    """Return how the joined test stretches ended, and how much of the train stretches' growth was left in them."""
    own, other, quote = record["metrics"], record["benchmark"], record["quote"]
    figures = record["figures"]
    text = (
        f"Over {plural(len(record['windows']), 'test stretch', 'test stretches')}, each traded with what was chosen before it, "
        f"{money(float(record['costs']['initial_cash']), quote)} became {money(own['final_equity'], quote)} after costs "
        f"(buy and hold: {money(other['final_equity'], quote)})."
    )
    if record["hindsight"] is not None:
        best = record["hindsight"]["metrics"]["final_equity"]
        text += f" The combination that was best with hindsight would have made it {money(best, quote)}."
    if figures["efficiency"] is None:
        return f"{text} Walk-forward efficiency can't be computed: the train stretches did not grow on average."
    return f"{text} Walk-forward efficiency: {percent(figures['efficiency'], 0)} of the growth in the train stretches was left."


def walk_pairs(record: JsonObject) -> list[Pair]:
    """Return how the windows were laid, and the figures of the walk."""
    walk, figures, tested = record["walk"], record["figures"], record["tested"]
    metric = figure_of(record["metric"]).label
    left_out = record["bars_left_out"]
    return [
        ("Windows", f"{len(record['windows']):,}, {'anchored' if walk['anchored'] else 'rolling'}"),
        ("Train, embargo, test", f"{walk['train']}, {walk['embargo']}, {walk['test']}"),
        ("At the borders", "positions are closed" if walk["flat_borders"] else "positions are carried on"),
        ("Tested", f"{moment(tested['tested_start'])} to {moment(tested['tested_end'])} UTC, {tested['tested_bars']:,} bars"),
        ("Left out at the end", f"{plural(left_out, 'bar')}, too few for a test stretch" if left_out else "nothing"),
        ("Combinations", f"{record['combinations']:,} in each window, chosen by: {metric}"),
        ("Trials", f"{record['trials']:,}"),
        ("Walk-forward efficiency", percent(figures["efficiency"], 0)),
        (f"{metric}, mean of train stretches", decimal(figures["train_metric"], 2)),
        (f"{metric}, mean of test stretches", decimal(figures["test_metric"], 2)),
        ("Test stretches with a profit", percent(figures["windows_with_profit"], 0)),
        *_hindsight(record),
    ]


def _hindsight(record: JsonObject) -> list[Pair]:
    best = record["hindsight"]
    if best is None:
        return []
    metric = record["metric"]
    value = figure_text(metric, best["metrics"][metric], record["quote"])
    return [("Best with hindsight", f"{chosen_text(best['params'])}: {figure_of(metric).label} {value}")]


def window_heads(record: JsonObject) -> tuple[str, ...]:
    """Return the heads of the table of windows; the first three columns are words."""
    label = figure_label(record["metric"], record["quote"])
    return (
        "Train",
        "Test",
        "Chosen",
        f"{label}: train",
        f"{label}: test",
        "Return in test",
        "Deepest drawdown",
        "Closed trades",
    )


def window_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the windows as text."""
    metric, quote = record["metric"], record["quote"]
    return [
        (
            f"{_day(window['train_start'])} to {_day(window['train_end'])}",
            f"{_day(window['test_start'])} to {_day(window['test_end'])}",
            chosen_text(window["params"]) or "none had a value",
            figure_number(metric, window["train_metric"], quote),
            figure_number(metric, window["test_metric"], quote),
            percent(window["test_return"]),
            percent(window["test_drawdown"]),
            f"{window['test_trades']:,}",
        )
        for window in record["windows"]
    ]


def steady_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the parameters with what was chosen of them, window by window."""
    return [
        (
            item["name"],
            ", ".join(NOT_COMPUTABLE if value is None else value_text(value) for value in item["path"]),
            f"{item['distinct']:,} of {item['tried']:,}",
            percent(item["changes"], 0),
            f"{percent(item['drift'], 0)} of its range",
        )
        for item in record["steadiness"]
    ]


def chosen_text(params: JsonObject) -> str:
    """Return parameters as `fast_window = 5, slow_window = 20`."""
    return ", ".join(f"{name} = {value_text(value)}" for name, value in params.items())


def _day(text: Any) -> str:
    """Write a moment, without its time where that is midnight."""
    return moment(str(text)).removesuffix(" 00:00")
