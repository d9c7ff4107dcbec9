"""What a run's record says, in words: sentences and label-value pairs that every format of a report shares.

Invariant: every sentence is computed from the record; none claims that a strategy works.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peak_trade.journal.run import JsonObject
from peak_trade.report.figures import (
    FIGURES,
    decimal,
    duration,
    figure_label,
    figure_number,
    money,
    percent,
    plural,
    value_text,
)

Pair = tuple[str, str]

#: The metrics in the two groups in which they are read.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Return and risk": (
        "final_equity",
        "total_return",
        "cagr",
        "sharpe",
        "sortino",
        "calmar",
        "max_drawdown",
        "volatility",
    ),
    "Trading and costs": (
        "num_trades",
        "num_entries",
        "win_rate",
        "profit_factor",
        "exposure",
        "turnover",
        "fees_paid",
        "orders_skipped",
    ),
}
#: The metrics that are shown first and large.
HEADLINES = ("final_equity", "total_return", "max_drawdown", "sharpe", "num_trades")

_GAP_KINDS = {
    "closed": "market closed (weekend or night)",
    "holiday": "single weekdays: holidays, or lost days",
    "no_trade": "nobody traded",
    "outage": "outage: trades were to be expected",
    "missing": "missing, reason unknown",
}


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric as text, for the strategy and for buy and hold."""

    label: str
    strategy: str
    benchmark: str


def title(record: JsonObject) -> str:
    """Return what was run on what: `ma_crossover on BTC/EUR, 1h`."""
    return f"{record['strategy']} on {record['symbol']}, {record['timeframe']}"


def period(record: JsonObject) -> str:
    """Return the openings of the first and the last bar and how many bars there are; days only where bars are days."""
    dataset = record["dataset"]
    ends = [moment(dataset["first"]), moment(dataset["last"])]
    if all(end.endswith(" 00:00") for end in ends):
        ends = [end.removesuffix(" 00:00") for end in ends]
    return f"{ends[0]} to {ends[1]} UTC, {plural(dataset['bars'], 'bar')}"


def moment(text: str) -> str:
    """Write `2018-01-01T00:00:00Z` as `2018-01-01 00:00`, with seconds where there are any."""
    day, _, time = text.removesuffix("Z").partition("T")
    return f"{day} {time.partition('.')[0].removesuffix(':00')}"


def verdict(record: JsonObject) -> str:
    """Return one sentence on how the run ended beside buy and hold."""
    own, other, quote = record["metrics"], record["benchmark"], record["quote"]
    trades, entries = own["num_trades"] or 0, own["num_entries"] or 0
    if entries == 0:
        activity = "no position was opened"
    else:
        activity = f"{plural(trades, 'closed trade')}"
        if entries > trades:
            activity += " and one position still open, valued at the last close"
        activity += f"; deepest drawdown {percent(own['max_drawdown'])} (buy and hold: {percent(other['max_drawdown'])})"
    return (
        f"{money(float(record['costs']['initial_cash']), quote)} became {money(own['final_equity'], quote)} after costs "
        f"(buy and hold: {money(other['final_equity'], quote)}); {activity}."
    )


def warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know before believing the figures, gravest first."""
    found = []
    final = record.get("metrics", {}).get("final_equity")
    if final is not None and final <= 0.0:
        found.append("Equity fell to zero or below: with real money the account would have been lost.")
    if accepted := record["dataset"]["accepted"]:
        found.append(f"The data failed checks that a person accepted at import: {', '.join(map(str, accepted))}.")
    if not record["code"]["clean"]:
        found.append("The code had uncommitted changes, so the commit named below is not all of what ran.")
    different = record.get("trials_on_dataset", {}).get("different", 0)
    if different > 1:
        found.append(
            f"{different:,} different combinations were tried on this data; a good figure among many is expected by chance."
        )
    return found


def compared(record: JsonObject, names: Sequence[str]) -> list[Compared]:
    """Return metrics of the strategy beside those of buy and hold; amounts have their currency in the label."""
    own, other, quote = record["metrics"], record["benchmark"], record["quote"]
    return [
        Compared(
            figure_label(name, quote), figure_number(name, own.get(name), quote), figure_number(name, other.get(name), quote)
        )
        for name in names
    ]


def missing_reasons(record: JsonObject) -> list[str]:
    """Return, for the strategy and for buy and hold, a sentence on the metrics without a value and why there is none."""
    found = []
    for key, whose in (("metrics", "Strategy"), ("benchmark", "Buy and hold")):
        reasons = [f"{figure.label} ({figure.missing})" for name, figure in FIGURES.items() if record[key].get(name) is None]
        if reasons:
            found.append(f"{whose}: {', '.join(reasons)}.")
    return found


def cost_pairs(record: JsonObject) -> list[Pair]:
    """Return cash, costs, sizing and exits."""
    costs = record["costs"]
    return [
        ("Starting cash", money(float(costs["initial_cash"]), record["quote"])),
        ("Fee", f"{basis_points(costs['fee_bps'])} of the filled notional"),
        ("Slippage", f"{basis_points(costs['slippage_bps'])} of the price, against the strategy"),
        *fill_pairs(costs),
        ("Position size", str(costs["sizing"])),
        ("Side", str(costs["side"])),
        *exit_pairs(costs),
    ]


def fill_pairs(costs: Mapping[str, Any]) -> list[Pair]:
    """Return what limits fills besides, as far as it is on."""
    pairs = []
    if costs.get("impact"):
        pairs.append(("Cost of size", f"{float(costs['impact']):g} volatilities of the bar x root of the share of its volume"))
    if costs.get("max_volume_share"):
        pairs.append(("Fillable of a bar's volume", f"at most {percent(float(costs['max_volume_share']))}"))
    if costs.get("delay_bars"):
        pairs.append(("From decision to order", plural(int(costs["delay_bars"]), "bar")))
    return pairs


def exit_pairs(terms: Mapping[str, Any]) -> list[Pair]:
    """Return the exits that hold for every strategy."""
    exits = (
        ("stop_loss", "Stop-loss", "the entry price"),
        ("take_profit", "Take-profit", "the entry price"),
        ("trailing_stop", "Trailing stop", "the best price since entry"),
    )
    return [(label, f"{percent(terms[name])} from {level}" if terms[name] else "off") for name, label, level in exits]


def data_pairs(record: JsonObject) -> list[Pair]:
    """Return the data's extent, source and holes."""
    dataset = record["dataset"]
    gaps = dataset["gaps"]
    kinds = [f"{count:,} {_GAP_KINDS.get(kind, kind)}" for kind, count in sorted(gaps["by_kind"].items())]
    holes = f"{plural(gaps['holes'], 'hole')} with {plural(gaps['missing_bars'], 'bar')}"
    return [
        ("Bars", f"{dataset['bars']:,}"),
        ("First bar opens", f"{moment(dataset['first'])} UTC"),
        ("Last bar opens", f"{moment(dataset['last'])} UTC"),
        ("Source", str(dataset["origin"])),
        ("Holes", f"{holes}; never filled" if gaps["holes"] else "none"),
        *([("Bars that are not there", "; ".join(kinds))] if kinds else []),
        ("Failed checks accepted", ", ".join(map(str, dataset["accepted"])) or "none"),
    ]


def param_pairs(params: Mapping[str, Any]) -> list[Pair]:
    """Return parameters as text."""
    return [(name, value_text(value)) for name, value in params.items()]


def grid_pairs(record: JsonObject) -> list[Pair]:
    """Return each parameter's values as text, long lists by their ends, and the constraints."""
    pairs = []
    for name, values in record["grid"].items():
        texts = [value_text(value) for value in values]
        if len(texts) > 12:
            texts = [*texts[:3], "...", *texts[-2:]]
        pairs.append((name, f"{', '.join(texts)} ({plural(len(values), 'value')})"))
    return [*pairs, ("Constraints", "; ".join(record["constraints"]) or "none")]


def hash_pairs(record: JsonObject) -> list[Pair]:
    """Return what identifies the run: its id, the hashes and the code."""
    code = record["code"]
    hashes = (
        ("Data (SHA-256)", record["dataset"]["sha256"]),
        ("Configuration (SHA-256)", record["config_sha256"]),
        ("Result (SHA-256)", record.get("result_sha256")),
    )
    return [
        ("Run", str(record["run_id"])),
        *((label, str(value)) for label, value in hashes if value),
        ("Code", f"{code['version']}, {'no' if code['clean'] else 'with'} uncommitted changes"),
        ("Started", f"{moment(record['started_at'])} UTC, took {duration(record['elapsed_s'])}"),
    ]


def version_pairs(record: JsonObject) -> list[Pair]:
    """Return the versions of what computed the figures."""
    return [(str(name), str(version)) for name, version in record["versions"].items()]


def sheet_facts(record: JsonObject, command: str = "") -> dict[str, Any]:
    """Return what every page of a run says in its head and at its end.

    Args:
        command: one that asks anew, besides the one that does the same again and compares.
    """
    return {
        "record": record,
        "title": title(record),
        "period": period(record),
        "costs": cost_pairs(record),
        "data": data_pairs(record),
        "params": param_pairs(record.get("params", {})),
        "hashes": hash_pairs(record),
        "versions": version_pairs(record),
        "command": reproduce(record),
        "ask": command,
    }


def reproduce(record: JsonObject) -> str:
    """Return the command that runs it again and compares."""
    return f"peak-trade reproduce {record['run_id']}"


def basis_points(value: float) -> str:
    """Write hundredths of a per cent, and the per cent they are."""
    return f"{decimal(value, 2).rstrip('0').rstrip('.')} bps ({percent(value / 10_000.0, 3)})"
