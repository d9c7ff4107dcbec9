"""What a portfolio's result says: who earned what, what moved together, what was held, and what the limits did.

Invariant: the parts of a table of profits add up to its total in every digit that is written.
"""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.report.facts import Pair
from peak_trade.report.figures import NOT_COMPUTABLE, amount, decimal, figure_number, money_digits, percent, plural
from peak_trade.research.portfolio import BITTEN, QUIET, LegPaths, Portfolio

#: Digits after the point of the amounts in a run's document; pages round them to those of the currency.
AMOUNT_DIGITS = 8
#: Columns of the tables.
LEG_HEADS = ("Leg", "Profit", "Fees", "Fills", "Closed trades", "Alone: return", "Alone: Sharpe ratio", "Alone: drawdown")
PART_HEADS = ("", "Legs", "Profit", "Fees")
WEIGHT_HEADS = ("Leg", "Mean weight", "Least", "Most", "Last")
LIMIT_HEADS = ("Limit", "Set to", "Made weights smaller", "Which", "Exposure above it at")


def portfolio_facts(result: Portfolio, names: Sequence[str], paths: LegPaths) -> dict[str, Any]:
    """Return attribution, correlation, weights, exposure and limits as a JSON object.

    Amounts are text in quote currency, shares of the equity and correlations are fractions.

    Args:
        names: of the legs, in the order of the sleeves.
    """
    return {
        "attribution": _attribution(result, names),
        "correlation": {
            "legs": {"names": list(names), "cells": correlations(_contributions(result, paths))},
            "symbols": {"names": _symbols(result), "cells": correlations(_returns(result.closes))},
        },
        "weights": [
            {
                "leg": name,
                "mean": float(own.mean()),
                "least": float(own.min()),
                "most": float(own.max()),
                "last": float(own[-1]),
            }
            for name, own in zip(names, result.weights.T, strict=True)
        ],
        **_limits(result, paths),
    }


def apportioned(parts: Sequence[float | Decimal], total: float | Decimal, digits: int) -> list[Decimal]:
    """Round parts to *digits* after the point so that they add up to the rounded total: the largest remainders go up."""
    unit = Decimal(1).scaleb(-digits)
    exact = [Decimal(part) for part in parts]
    down = [part.quantize(unit, ROUND_FLOOR) for part in exact]
    left = int((Decimal(total).quantize(unit) - sum(down)) / unit)
    each, more = divmod(left, len(parts))
    order = sorted(range(len(parts)), key=lambda place: down[place] - exact[place])
    for place in order:
        down[place] += each * unit
    for place in order[:more]:
        down[place] += unit
    return down


def correlations(columns: F64) -> list[list[float | None]]:
    """Return the correlation of each two columns of (steps, columns); None where one never moved."""
    steps, count = columns.shape
    spread = columns.std(axis=0, ddof=1) if steps > 1 else np.zeros(count)
    known = spread > QUIET
    scaled = np.divide(columns - columns.mean(axis=0), spread, out=np.zeros(columns.shape), where=known) if steps else columns
    found = np.clip((scaled.T @ scaled) / max(steps - 1, 1), -1.0, 1.0)
    return [
        [(1.0 if one == other else float(found[one, other])) if known[one] and known[other] else None for other in range(count)]
        for one in range(count)
    ]


def exposures(result: Portfolio, paths: LegPaths) -> tuple[F64, F64, F64]:
    """Return positions over equity at each close: all, longs less shorts (both (steps,)), and by symbol (steps, symbols).

    Both sides count in the first and last. Where no equity is left they are not a number.
    """
    chosen = [item.symbol for item in result.sleeves]
    each = np.zeros(result.closes.shape)
    for column, symbol in zip(paths.values.T, chosen, strict=True):
        each[:, symbol] += np.abs(column)
    equity = np.where(result.equity > 0.0, result.equity, np.nan)
    return each.sum(axis=1) / equity, paths.values.sum(axis=1) / equity, each / equity[:, None]


def _attribution(result: Portfolio, names: Sequence[str]) -> dict[str, Any]:
    cash = float(result.terms.cash)
    total, paid = result.metrics.final_equity - cash, result.metrics.fees_paid
    profits = apportioned(result.profit.tolist(), total, AMOUNT_DIGITS)
    fees = apportioned(result.fees.tolist(), paid, AMOUNT_DIGITS)
    fills = np.bincount(result.sleeve, minlength=len(names)).tolist()
    legs = [
        {
            "leg": name,
            "strategy": item.strategy.key,
            "symbol": result.markets[item.symbol].instrument.symbol,
            "profit": f"{profit:f}",
            "fees": f"{fee:f}",
            "fills": fills[place],
            "trades": int(np.count_nonzero(result.trips[place].exit_bar >= 0)),
        }
        for place, (name, item, profit, fee) in enumerate(zip(names, result.sleeves, profits, fees, strict=True))
    ]
    return {
        "legs": legs,
        "strategies": _parts(legs, [name.rpartition("@")[0] for name in names]),
        "symbols": _parts(legs, [leg["symbol"] for leg in legs]),
        "profit": f"{sum(profits, Decimal(0)):f}",
        "fees": f"{sum(fees, Decimal(0)):f}",
    }


def _parts(legs: Sequence[JsonObject], owners: Sequence[str]) -> list[dict[str, Any]]:
    """Return the sums of the legs that belong together."""
    found = []
    for owner in dict.fromkeys(owners):
        own = [leg for leg, whose in zip(legs, owners, strict=True) if whose == owner]
        sums = {name: f"{sum((Decimal(leg[name]) for leg in own), Decimal(0)):f}" for name in ("profit", "fees")}
        found.append({"name": owner, "legs": len(own), **sums})
    return found


def _contributions(result: Portfolio, paths: LegPaths) -> F64:
    """Return what each leg earned at each step over the equity before it; nothing where none was left."""
    start = np.zeros((1, paths.profits.shape[1]))
    before = np.append(float(result.terms.cash), result.equity[:-1])[:, None]
    earned = np.diff(np.concatenate([start, paths.profits]), axis=0)
    return np.asarray(np.divide(earned, before, out=np.zeros(earned.shape), where=before > 0.0))


def _returns(closes: F64) -> F64:
    """Return the symbols' returns from the step on at which all have begun."""
    kept = closes[(closes > 0.0).all(axis=1)]
    return np.asarray(kept[1:] / kept[:-1] - 1.0)


def _symbols(result: Portfolio) -> list[str]:
    return [bars.instrument.symbol for bars in result.markets]


def _limits(result: Portfolio, paths: LegPaths) -> dict[str, Any]:
    gross, net, each = exposures(result, paths)
    known = np.isfinite(gross)
    plan, allotted, names = result.allotting, result.allotted, _symbols(result)

    def bitten(marks: Any) -> dict[str, Any]:
        return {
            "dates": int(np.count_nonzero(marks.any(axis=1))),
            "by_symbol": {name: int(count) for name, count in zip(names, marks.sum(axis=0), strict=True)},
        }

    above = gross[known] > plan.total_most * (1.0 + BITTEN)
    crowded = (each[known] > plan.symbol_most * (1.0 + BITTEN)).any(axis=1)
    return {
        "exposure": {
            "steps": len(gross),
            "without_equity": int(np.count_nonzero(~known)),
            "mean": float(gross[known].mean()) if known.any() else None,
            "most": float(gross[known].max()) if known.any() else None,
            "net_mean": float(net[known].mean()) if known.any() else None,
            "last": float(gross[-1]) if known[-1] else None,
        },
        "limits": {
            "dates": len(result.weighed),
            "correlation": {"limit": plan.correlation_most, **bitten(allotted.alike)},
            "symbol": {
                "limit": plan.symbol_most,
                **bitten(allotted.crowded),
                "steps_above": int(np.count_nonzero(crowded)),
            },
            "total": {
                "limit": plan.total_most,
                "dates": int(np.count_nonzero(allotted.full)),
                "steps_above": int(np.count_nonzero(above)),
            },
        },
    }


def leg_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the legs with what each brought, and the sum of them; beside it what each did alone with all of the cash."""
    told, quote = record["attribution"], record["quote"]
    legs = told["legs"]
    profits, fees = (_rounded(record, name) for name in ("profit", "fees"))
    rows = []
    for place, leg in enumerate(legs):
        alone = record["legs"][place]["alone"]
        shown = (figure_number(name, alone[name], quote) for name in ("total_return", "sharpe", "max_drawdown"))
        counts = (f"{leg['fills']:,}", f"{leg['trades']:,}")
        rows.append((leg["leg"], _amount(profits[place], quote), _amount(fees[place], quote), *counts, *shown))
    total = (_amount(sum(column, Decimal(0)), quote) for column in (profits, fees))
    return [*rows, ("All", *total, *(f"{sum(leg[name] for leg in legs):,}" for name in ("fills", "trades")), "", "", "")]


def part_rows(record: JsonObject, kind: str) -> list[tuple[str, ...]]:
    """Return the profits by strategy or by symbol, and the sum of them; *kind* is `strategies` or `symbols`."""
    legs, quote = record["attribution"]["legs"], record["quote"]
    profits, fees = (_rounded(record, name) for name in ("profit", "fees"))
    owners = [leg["symbol"] if kind == "symbols" else leg["leg"].rpartition("@")[0] for leg in legs]
    rows = []
    for part in record["attribution"][kind]:
        own = [place for place, owner in enumerate(owners) if owner == part["name"]]
        sums = (_amount(sum((column[place] for place in own), Decimal(0)), quote) for column in (profits, fees))
        rows.append((part["name"], f"{part['legs']:,}", *sums))
    total = (_amount(sum(column, Decimal(0)), quote) for column in (profits, fees))
    return [*rows, ("All", f"{len(legs):,}", *total)]


def weight_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the weights of the legs over all dates."""
    return [(row["leg"], *(percent(row[name]) for name in ("mean", "least", "most", "last"))) for row in record["weights"]]


def limit_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return each limit, at how many dates it made weights smaller, of which symbols, and how often exposure stood above it."""
    told = record["limits"]
    dates, steps = plural(told["dates"], "date"), plural(record["exposure"]["steps"], "step")
    rows: list[tuple[str, ...]] = []
    for name, label in (("correlation", "Correlation"), ("symbol", "Of a symbol"), ("total", "Of all together")):
        limit = told[name]
        which = ", ".join(f"{symbol} {count:,}" for symbol, count in limit.get("by_symbol", {}).items() if count)
        own = decimal(limit["limit"], 2) if name == "correlation" else percent(limit["limit"])
        set_to = "off" if name == "correlation" and limit["limit"] >= 1.0 else own
        above = f"{limit['steps_above']:,} of {steps}" if "steps_above" in limit else ""
        rows.append((label, set_to, f"{limit['dates']:,} of {dates}", which, above))
    return rows


def correlation_rows(told: JsonObject) -> list[tuple[str, ...]]:
    """Return a matrix of correlations as text."""
    return [
        (name, *(NOT_COMPUTABLE if cell is None else decimal(cell, 2) for cell in line))
        for name, line in zip(told["names"], told["cells"], strict=True)
    ]


def plan_pairs(record: JsonObject) -> list[Pair]:
    """Return how allotments were found and held."""
    plan, exposure = record["allotting"], record["exposure"]
    kinds = {
        "equal": "the same for each leg",
        "inverse_volatility": f"inverse to the volatility of the last {plural(plan['lookback'], 'return')}",
        "given": "given",
    }
    lost = exposure["without_equity"]
    return [
        ("Weights", kinds[plan["weighing"]]),
        ("Renewed", f"every {plural(plan['every'], 'step')}"),
        ("Positions resized then", "yes" if plan["resized"] else "no, only when a target changes"),
        ("Correlation taken from", plural(plan["lookback"], "return")),
        ("Exposure, mean", percent(exposure["mean"])),
        ("Exposure, most", percent(exposure["most"])),
        ("Longs less shorts, mean", percent(exposure["net_mean"])),
        *([("Steps without equity", f"{lost:,} of {exposure['steps']:,}")] if lost else []),
    ]


def tried_text(record: JsonObject) -> str:
    """Return how the portfolio counts, in one sentence."""
    return (
        f"{plural(record['trials'], 'leg')}, each counted as a trial of its strategy on its market; "
        f"{plural(record['portfolios_tried'], 'different portfolio')} tried on these markets so far, this one included."
    )


def _rounded(record: JsonObject, name: str) -> list[Decimal]:
    """Return the legs' amounts in the digits of the currency, together the rounded total."""
    told = record["attribution"]
    return apportioned([Decimal(leg[name]) for leg in told["legs"]], Decimal(told[name]), money_digits(record["quote"]))


def _amount(value: Decimal, quote: str) -> str:
    return amount(float(value), quote)
