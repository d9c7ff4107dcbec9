"""A backtest that no registry has, as one page: figures and charts, and nothing of provenance, because there is none."""

from peak_trade.model.clock import moment_text
from peak_trade.report.charts import TimeAxis, drawdown_chart, equity_chart, price_chart
from peak_trade.report.facts import HEADLINES
from peak_trade.report.figures import figure_label, figure_number
from peak_trade.report.page import render
from peak_trade.report.trade_rows import marked_rows
from peak_trade.research.backtest import Result


def plain_html(title: str, standing: str, result: Result, yardstick: Result) -> str:
    """Return the page.

    Args:
        title: what was tried. standing: what the result is worth, as a sentence.
        yardstick: buy and hold over the same bars under the same costs.
    """
    axis, quote, stamps = TimeAxis.of(result), result.bars.instrument.quote, result.bars.timestamp
    own, other = result.metrics._asdict(), yardstick.metrics._asdict()
    page = {
        "title": title,
        "period": f"{moment_text(int(stamps[0]))} to {moment_text(int(stamps[-1]))}",
        "verdict": standing,
        "warnings": [],
        "figures": [
            (figure_label(name, quote), figure_number(name, own[name], quote), figure_number(name, other[name], quote))
            for name in HEADLINES
        ],
        "captions": [
            ("price-chart", "Closes, with entries and exits at the prices they were filled at"),
            ("equity-chart", "Equity of the strategy (wide) and of buy and hold (narrow)"),
            ("drawdown-chart", "Fall from the highest equity so far"),
        ],
    }
    charts = {
        "price-chart": price_chart(result, marked_rows(result, result.trades()), axis),
        "equity-chart": equity_chart(result, yardstick, axis),
        "drawdown-chart": drawdown_chart(result, yardstick, axis),
    }
    return render("plain_sheet.html", charts, page)
