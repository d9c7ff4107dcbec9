"""The regimes of a market and what a strategy earned in each, in words and rows that Markdown, page and terminal share.

Invariant: every word is computed from the record. Loads no charts.
"""

import shlex

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.figures import decimal, percent, plural, value_text
from peak_trade.report.markdown import document, listed, plain, provenance_blocks, table, warned

EARNED = ("Regime", "Bars", "Share", "Return", "Market", "Sharpe ratio", "Deepest drawdown", "Trades", "With a profit")
LASTED = ("Regime", "Spells", "Mean bars", "Median bars", "Longest")
CHANGED = ("Announced", "Began, as it looked then")
#: Change points listed, the latest; the file beside the report has all.
CHANGES_MAX = 20
#: A class with fewer bars, or a figure over fewer trades, says little.
_FEW_BARS, _FEW_TRADES = 100, 30


def regime_sentence(record: JsonObject) -> str:
    """Return in a few sentences what the market is now, and where most was earned and lost."""
    now = ", ".join(f"{item['title'].lower()} {item['now'] or 'unknown'}" for item in record["families"])
    rows = [(row, item["title"].lower()) for item in record["families"] for row in item["figures"] if row["name"] != "unknown"]
    # Where nothing was earned or lost, nothing was held.
    rows = [(row, title) for row, title in rows if row["bars"] and row["total_return"]]
    text = f"After the last bar: {now}."
    if rows:
        best, worst = (pick(rows, key=lambda pair: pair[0]["total_return"]) for pick in (max, min))
        text += f" {record['strategy']} earned most while {_earned(best)}, and least while {_earned(worst)}."
    return text + f" {plural(len(record['changes']), 'change was', 'changes were')} announced."


def _earned(pair: tuple[JsonObject, str]) -> str:
    row, title = pair
    return f"{title} was {row['name']} ({percent(row['total_return'])} over {plural(row['bars'], 'bar')})"


def regime_warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know first."""
    found = facts.warnings(record)
    if record["estimates_failed"]:
        found.append(f"Of the estimates of the two states {record['estimates_failed']:,} could not be made.")
    if rested := sum(not item["converged"] for item in record["estimates"]):
        found.append(f"Of the estimates of the two states {rested:,} did not come to rest.")
    few = [
        f"{item['title'].lower()} {row['name']}"
        for item in record["families"]
        for row in item["figures"]
        if row["name"] != "unknown" and (row["bars"] < _FEW_BARS or row["trades"] < _FEW_TRADES)
    ]
    if few:
        found.append(
            f"Fewer than {_FEW_BARS} bars or {_FEW_TRADES} trades, too few to go by: {', '.join(few)}. A regime that is chosen "
            "because it earned here is one more thing that was tried."
        )
    return found


def earned_rows(family: JsonObject) -> list[tuple[str, ...]]:
    """Return what was earned in each class as text."""
    return [
        (
            row["name"],
            f"{row['bars']:,}",
            percent(row["share"], 1),
            percent(row["total_return"]),
            percent(row["market_return"]),
            decimal(row["sharpe"], 2),
            percent(row["max_drawdown"]),
            f"{row['trades']:,}",
            percent(row["win_rate"], 0),
        )
        for row in family["figures"]
    ]


def lasted_rows(family: JsonObject) -> list[tuple[str, ...]]:
    """Return how long each class lasts as text."""
    return [
        (row["name"], f"{row['spells']:,}", decimal(row["mean"], 1), decimal(row["median"], 1), decimal(row["longest"], 0))
        for row in family["spells"]
    ]


def moved_heads(family: JsonObject) -> tuple[str, ...]:
    """Return the heads of the matrix of transitions."""
    return ("From", *(f"to {name}" for name in family["classes"]), "Bars")


def moved_rows(family: JsonObject) -> list[tuple[str, ...]]:
    """Return the matrix of transitions as text: the share of bars that each class was followed by each."""
    rows = []
    for name, counts in zip(family["classes"], family["transitions"], strict=True):
        total = sum(counts)
        shares = [percent(count / total, 1) if total else percent(None) for count in counts]
        rows.append((name, *shares, f"{total:,}"))
    return rows


def change_rows(record: JsonObject) -> list[tuple[str, str]]:
    """Return the latest change points as text, the newest first."""
    latest = record["changes"][-CHANGES_MAX:][::-1]
    return [(facts.moment(item["announced"]), facts.moment(item["began"])) for item in latest]


def regime_notes(record: JsonObject) -> list[str]:
    """Return how the classes are told, with their windows."""
    rules = record["rules"]
    return [
        f"Volatility: standard deviation over {rules['window']:,} bars, ranked among its last {rules['history']:,} values; "
        "calm below a third of them, wild at two thirds.",
        f"Trend: change over {rules['trend_window']:,} bars beyond {decimal(rules['threshold'], 2)} standard deviations of a "
        "walk without drift.",
        "Switching state: filtered probability of Hamilton's two states, parameters from earlier bars only; wild from 50%.",
        "Change: probability that returns have changed of late (Adams and MacKay); changed from 70%.",
        "A bar counts for the regime known before it began, a trade for the one known when it was decided on.",
    ]


def regime_command(record: JsonObject) -> str:
    """Return the command that asks again."""
    words = ["peak-trade", "regimes", "--strategy", record["strategy"]]
    for name, value in record["params"].items():
        words += ["--param", f"{name}={value_text(value)}"]
    words += ["--symbol", record["symbol"], "--timeframe", record["timeframe"]]
    for name, value in record["rules"].items():
        words += [f"--{name.replace('_', '-')}", value_text(value)]
    return shlex.join(words)


def regime_markdown(record: JsonObject) -> str:
    """Return it as Markdown."""
    blocks = []
    for family in record["families"]:
        blocks += [
            f"## {family['title']}",
            table(EARNED, earned_rows(family)),
            table(LASTED, lasted_rows(family)),
            table(moved_heads(family), moved_rows(family)),
        ]
    changes = change_rows(record)
    return document(
        f"# Regimes of {plain(facts.title(record))}",
        plain(facts.period(record)),
        plain(regime_sentence(record)),
        warned(regime_warnings(record)),
        listed(regime_notes(record)),
        *blocks,
        "## Where it changed" if changes else "",
        f"The latest {len(changes)} of {len(record['changes']):,}; times are openings of bars, UTC." if changes else "",
        table(CHANGED, changes, words=(0, 1)) if changes else "",
        *provenance_blocks(record, regime_command(record)),
    )
