"""What a combinatorial cross-validation found, in words and rows that every format of its report shares.

Invariant: every sentence is computed from the record; none claims that a strategy works.
"""

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.facts import Pair
from peak_trade.report.figures import decimal, figure_label, figure_number, figure_of, percent, plural
from peak_trade.report.markdown import code, document, listed, pairs, plain, table, warned
from peak_trade.report.walk_facts import chosen_text

#: Heads of the table of paths.
PATH_HEADS = ("Path", "Split traded in each group", "Sharpe ratio", "Total return", "Deepest drawdown", "Closed trades")


def fan_verdict(record: JsonObject) -> str:
    """Return how the Sharpe ratios of the paths lie, beside that of buy and hold."""
    figures, held = record["figures"], record["benchmark"]["sharpe"]
    count = plural(int(figures["paths"]), "path")
    if figures["sharpe_median"] is None:
        return f"None of {count} has a Sharpe ratio: equity never moved on any."
    return (
        f"Over {count}, each of which trades every bar once with what was chosen without it, the Sharpe ratio is "
        f"{decimal(figures['sharpe_median'], 2)} in the middle, {decimal(figures['sharpe_worst'], 2)} at worst and "
        f"{decimal(figures['sharpe_best'], 2)} at best; {percent(figures['share_below_zero'], 0)} of them are below zero "
        f"(buy and hold: {decimal(held, 2)})."
    )


def fan_pairs(record: JsonObject) -> list[Pair]:
    """Return how the bars were cut, and the distribution over the paths."""
    cut, figures = record["cut"], record["figures"]
    metric = figure_of(record["metric"]).label
    return [
        ("Groups, held out in each split", f"{cut['groups']:,}, {cut['held']:,}"),
        ("Splits, paths", f"{len(record['splits']):,}, {len(record['paths']):,}"),
        ("Purged beside what is held out", plural(cut["purge"], "bar")),
        ("Embargo after it", plural(cut["embargo"], "bar")),
        ("At the borders", "positions are closed" if cut["flat_borders"] else "positions are carried on"),
        ("Combinations", f"{record['combinations']:,} in each split, chosen by: {metric}"),
        ("Trials", f"{record['trials']:,}"),
        ("Sharpe ratio of the paths: median", decimal(figures["sharpe_median"], 2)),
        ("Mean, standard deviation", f"{decimal(figures['sharpe_mean'], 2)}, {decimal(figures['sharpe_deviation'], 2)}"),
        ("Worst, best", f"{decimal(figures['sharpe_worst'], 2)}, {decimal(figures['sharpe_best'], 2)}"),
        ("Share of paths below zero", percent(figures["share_below_zero"], 0)),
        ("Total return: median, worst", f"{percent(figures['return_median'])}, {percent(figures['return_worst'])}"),
        ("Deepest drawdown of any path", percent(figures["drawdown_worst"])),
        (f"{metric}, mean of what was learned from", decimal(figures["train_metric"], 2)),
        (f"{metric}, mean of what was held out", decimal(figures["test_metric"], 2)),
    ]


def split_heads(record: JsonObject) -> tuple[str, ...]:
    """Return the heads of the table of splits; the second and third column are words."""
    label = figure_label(record["metric"], record["quote"])
    return ("Split", "Groups held out", "Chosen", f"{label}: train", f"{label}: test", "Return in test", "Bars learned from")


def split_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the splits as text."""
    metric, quote = record["metric"], record["quote"]
    return [
        (
            str(split["split"]),
            ", ".join(map(str, split["groups"])),
            chosen_text(split["params"]) or "none had a value",
            figure_number(metric, split["train_metric"], quote),
            figure_number(metric, split["test_metric"], quote),
            percent(split["test_return"]),
            f"{split['train_bars']:,}",
        )
        for split in record["splits"]
    ]


def path_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the paths as text."""
    return [
        (
            str(path["path"]),
            ", ".join(map(str, path["splits"])),
            decimal(path["metrics"]["sharpe"], 2),
            percent(path["metrics"]["total_return"]),
            percent(path["metrics"]["max_drawdown"]),
            f"{path['metrics']['num_trades']:,}",
        )
        for path in record["paths"]
    ]


def fan_markdown(record: JsonObject) -> str:
    """Return the report from its JSON document."""
    return document(
        f"# Combinatorial cross-validation of {plain(facts.title(record))}",
        plain(facts.period(record)),
        plain(fan_verdict(record)),
        warned(facts.warnings(record)),
        "## The paths together",
        pairs("The cut", fan_pairs(record)),
        "## Paths",
        table(PATH_HEADS, path_rows(record), words=(1,)),
        "## Splits",
        table(split_heads(record), split_rows(record), words=(1, 2)),
        "## Grid",
        pairs("Parameter", facts.grid_pairs(record)),
        pairs("Fixed parameter", facts.param_pairs(record["params"])),
        "## Costs and rules",
        pairs("Rule", facts.cost_pairs(record)),
        "## Data quality",
        pairs("Data", facts.data_pairs(record)),
        listed(record["dataset"]["notes"]),
        "## Provenance",
        pairs("Identity", facts.hash_pairs(record)),
        pairs("Version of", facts.version_pairs(record)),
        "Run it again and compare:",
        code(facts.reproduce(record)),
    )
