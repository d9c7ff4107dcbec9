"""The report of a session: one HTML page with its outcome, its orders, what was expected and how to check it."""

from peak_trade.journal.run import JsonObject
from peak_trade.report import session_facts as facts
from peak_trade.report import session_tables as tables
from peak_trade.report.facts import param_pairs, version_pairs
from peak_trade.report.page import render
from peak_trade.report.session_charts import charted, session_charts
from peak_trade.report.session_rows import SessionSeries, latest_orders
from peak_trade.report.thinning import MARKED_MAX, POINTS_MAX
from peak_trade.report.trade_rows import ROWS_MAX

#: Incidents listed; the journal has all.
INCIDENTS_MAX = 200


def session_html(record: JsonObject, series: SessionSeries) -> str:
    """Return the report of a session as one page that opens without a network.

    Args:
        record: the session's JSON document.
        series: what its charts and its table of orders are made of.
    """
    record = facts.whole(record)
    drawn = charted(series)
    charts = session_charts(series, start_equity(record, series), record["quote"], record["traded_from"])
    page = {
        "record": record,
        "title": facts.title(record),
        "kind": facts.kind(record),
        "badges": facts.badges(record),
        "period": facts.period(record),
        "verdict": facts.verdict(record),
        "warnings": facts.warnings(record),
        "headlines": facts.headlines(record),
        "groups": {name: tables.figure_pairs(record, names) for name, names in facts.groups(record).items()},
        "unknown": tables.unknown_figures(record),
        "markets": [(f"price-chart-{number}", symbol) for number, symbol in enumerate(drawn)],
        "hidden_markets": [symbol for symbol in series.bars if symbol not in drawn] if drawn else [],
        "marked_max": MARKED_MAX if any(_fills(series, symbol) > MARKED_MAX for symbol in drawn) else None,
        "thinned_from": max((len(bars) for bars in drawn.values() if len(bars) * len(drawn) > POINTS_MAX), default=None),
        "marked": len(series.stamps) > 0,
        "both": series.expected is not None,
        "expected_words": facts.expected_words(record),
        "expected": tables.expected_rows(record),
        "split": tables.split_rows(record),
        "legs": (tables.leg_heads(record), tables.leg_rows(record)),
        "orders": latest_orders(series.orders, ROWS_MAX),
        "order_count": len(series.orders),
        "several": len(record["legs"]) > 1,
        "reasons": tables.reason_rows(record),
        "reason_heads": tables.REASON_HEADS,
        "check_heads": tables.CHECK_HEADS,
        "checks": tables.check_rows(record),
        "incidents": tables.incident_rows(record, INCIDENTS_MAX),
        "terms": tables.term_pairs(record),
        "limits": tables.limit_pairs(record),
        "data": tables.data_pairs(record),
        "params": None if record["legs"][1:] else param_pairs(record["params"]),
        "strategies": (tables.PARAM_HEADS, tables.param_rows(record)),
        "identity": tables.identity_pairs(record),
        "versions": version_pairs(record),
        "commands": facts.commands(record),
    }
    return render("session_sheet.html", charts, page)


def _fills(series: SessionSeries, symbol: str) -> int:
    return sum(fill.symbol == symbol for fill in series.fills)


def start_equity(record: JsonObject, series: SessionSeries) -> float:
    """Return the equity that drawdown is measured from."""
    given = record["metrics"]["start_equity"] or float(record["terms"].get("start_balance", 0.0))
    return given if given > 0.0 else float(max(series.equity[0], 1.0)) if len(series.equity) else 1.0
