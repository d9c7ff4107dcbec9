"""The tables of a session's report as text: figures, what was expected, strategies, reasons, terms, limits, identity."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.facts import Pair, moment
from peak_trade.report.figures import (
    NOT_COMPUTABLE,
    amount,
    decimal,
    figure_label,
    figure_number,
    money,
    percent,
    plural,
    price_digits,
    signed,
    value_text,
)
from peak_trade.report.session_facts import PARTS, groups, most
from peak_trade.report.session_rows import plain_number

#: Every reason for which the risk gate blocks or warns.
REASONS: Mapping[str, str] = {
    "max_order_notional": "order worth more than allowed",
    "max_symbol_exposure_notional": "too much in one market",
    "max_total_exposure_notional": "too much in all markets together",
    "max_open_positions": "too many positions open",
    "max_daily_loss_abs": "the day's loss reached its limit",
    "max_daily_loss_pct": "the day's loss reached its share of equity",
    "price_collar": "price too far from the last one",
    "restricted": "the session was restricted to reducing positions",
    "paused": "the session was paused",
    "killed": "the kill switch was on",
    "symbol_not_allowed": "market not among the allowed ones",
    "max_order_quantity": "quantity larger than allowed",
    "order_rate": "too many orders in a minute",
    "duplicate_order": "the same order a moment before",
    "repeated_execution": "too many orders of one strategy in a day",
    "data_age": "the last price was too old",
    "clock_skew": "our clock and the venue's disagreed",
}
_OF_LEG = ("strategy", "symbol", "timeframe", "params")
PARAM_HEADS = ("Name", "Strategy", "Market", "Bars", "Of equity", "Parameters")
REASON_HEADS = ("Reason", "Meaning", "Blocked", "Warned only", "Rejected")
INCIDENT_HEADS = ("Time", "Code", "What happened")


class Against(NamedTuple):
    """A figure of the session beside the one expected."""

    label: str
    actual: str
    expected: str
    difference: str


def figure_pairs(record: JsonObject, names: tuple[str, ...]) -> list[Pair]:
    """Return metrics as text."""
    return [
        (figure_label(name, record["quote"]), figure_number(name, record["metrics"][name], record["quote"])) for name in names
    ]


def unknown_figures(record: JsonObject) -> bool:
    """Return whether a figure has no value."""
    return any(record["metrics"][name] is None for names in groups(record).values() for name in names)


def expected_rows(record: JsonObject) -> list[Against]:
    """Return the figures beside the expected ones; empty without an expectation."""
    expected, metrics, quote = record["expected"], record["metrics"], record["quote"]
    names = ("final_equity", "total_return", "max_drawdown", "fees_paid", "num_fills")
    return [
        Against(
            figure_label(name, quote),
            figure_number(name, metrics[name], quote),
            figure_number(name, expected[name], quote),
            _difference(name, metrics[name], expected[name], quote),
        )
        for name in names
        if expected and name in expected
    ]


def _difference(name: str, actual: float | None, expected: float | None, quote: str) -> str:
    if actual is None or expected is None:
        return NOT_COMPUTABLE
    return signed(figure_number(name, actual - expected, quote)).replace("%", " points")


def split_rows(record: JsonObject) -> list[Pair]:
    """Return where the difference comes from, in quote currency, session minus expected, and its sum."""
    expected, quote = record["expected"], record["quote"]
    if not expected:
        return []
    parts = expected["difference"]
    rows = [(f"{name.capitalize()}: {words}", signed(amount(float(parts[name]), quote))) for name, words in PARTS.items()]
    return [*rows, ("Total", signed(amount(float(parts["total"]), quote)))]


def leg_heads(record: JsonObject) -> tuple[str, ...]:
    """Return the heads of the table of strategies."""
    quote = record["quote"]
    money_heads = (f"Realised, {quote}", f"Unrealised, {quote}", f"Fees, {quote}")
    return ("Name", "Strategy", "Market", "Position", "Average cost", *money_heads, "Fills")


def leg_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return what each strategy holds and made."""
    quote = record["quote"]
    return [
        (
            str(leg["leg"]),
            str(leg["strategy"]),
            str(leg["symbol"]),
            ("-" if str(leg["position"]).startswith("-") else "") + plain_number(str(leg["position"])),
            _price(leg["average_cost"]),
            *(signed(amount(float(leg[name]), quote)) for name in ("realized_pnl", "unrealized_pnl")),
            amount(float(leg["fees"]), quote),
            f"{leg['fills']:,}",
        )
        for leg in record["by_leg"]
    ]


def _price(text: str | None) -> str:
    level = float(text or 0.0)
    return decimal(level, price_digits(level, Decimal("0.01"))) if level else ""


def reason_rows(record: JsonObject) -> list[tuple[str, str, str, str, str]]:
    """Return for each code: its meaning, and how many orders it blocked, let pass with a warning, or had rejected."""
    columns = [record[name] for name in ("blocked_by_code", "warned_by_code", "rejected_by_code")]
    total: dict[str, int] = {}
    for column in columns:
        for code, number in column.items():
            total[code] = total.get(code, 0) + number
    blocked, warned, rejected = columns
    return [
        (
            code,
            REASONS.get(code, "the venue's word" if code in rejected else ""),
            f"{blocked.get(code, 0):,}",
            f"{warned.get(code, 0):,}",
            f"{rejected.get(code, 0):,}",
        )
        for code, _ in most(total)
    ]


#: The heads of the table of what an exchange said.
CHECK_HEADS = ("What the exchange said", "Orders")


def check_rows(record: JsonObject) -> list[tuple[str, str]]:
    """Return how an exchange answered when it was asked about orders: its answers, its reasons, and how long they took."""
    checks = record.get("checks") or {}
    replies = [(name, f"{count:,}") for name, count in checks.get("replies", {}).items()]
    codes = [(f"because of {code}", f"{count:,}") for code, count in most(checks.get("codes", {}))]
    took = [
        (f"within {one['up_to']:,} ms" if one["up_to"] else "later", f"{one['count']:,}")
        for one in checks.get("latency_ms", [])
        if one["count"]
    ]
    return replies + codes + took


def incident_rows(record: JsonObject, limit: int) -> list[tuple[str, str, str]]:
    """Return the latest incidents, newest first: when, code and words."""
    found = record["incidents"]
    return [(moment(str(item["at"])), str(item["code"]), str(item["words"])) for item in found[max(0, len(found) - limit) :]][
        ::-1
    ]


def term_pairs(record: JsonObject) -> list[Pair]:
    """Return cash, costs, sizing and exits; terms that a stage does not have are left out."""
    terms = record["terms"]
    labels = {
        "start_balance": "Start balance",
        "fee_rate": "Fee",
        "maker_fee_rate": "Fee of a resting order",
        "slippage_bps": "Slippage",
        "latency_ms": "Latency",
        "volume_share": "Fillable of a bar's volume",
        "sizing": "Position size",
        "side": "Side",
        "warmup_candles": "Warm-up",
    }
    exits = {name: terms.get(name) for name in ("stop_loss", "take_profit", "trailing_stop")}
    rows = [(label, _term(name, terms[name], record["quote"])) for name, label in labels.items() if terms.get(name) is not None]
    return [*rows, *facts.fill_pairs(terms), *(facts.exit_pairs(exits) if terms else [])]


def _term(name: str, value: Any, quote: str) -> str:
    match name:
        case "start_balance":
            return money(float(value), quote)
        case "fee_rate" | "maker_fee_rate":
            return f"{facts.basis_points(float(value) * 10_000.0)} of the filled notional"
        case "slippage_bps":
            return f"{facts.basis_points(float(value))} of the price, against the strategy"
        case "latency_ms":
            return f"{value} ms from decision to venue"
        case "volume_share":
            return f"at most {percent(float(value))}" if float(value) else "not limited"
        case "warmup_candles":
            return plural(int(value), "bar")
        case _:
            return str(value)


def limit_pairs(record: JsonObject) -> list[Pair]:
    """Return the limits under the names they have in the configuration."""
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else value_text(value))
        for name, value in record["limits"].items()
    ]


def data_pairs(record: JsonObject) -> list[Pair]:
    """Return the data's extent, source and holes, and from when on it was traded."""
    if not record["dataset"]["first"]:
        return [("Bars", "none")]
    started = record["traded_from"]
    return [
        *facts.data_pairs(record),
        *([("Traded from", f"{moment(started)} UTC; bars before only warmed up")] if started else []),
    ]


def param_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return each strategy of a session: its name, market, bars, share of equity and parameters."""
    legs = record["legs"] or [{"leg": record["strategy"], "fraction": None, **{k: record[k] for k in _OF_LEG}}]
    return [
        (
            str(leg["leg"]),
            *(str(leg[name]) for name in ("strategy", "symbol", "timeframe")),
            "" if leg["fraction"] is None else percent(float(leg["fraction"])),
            ", ".join(f"{name} = {value}" for name, value in facts.param_pairs(leg["params"])) or "none",
        )
        for leg in legs
    ]


def identity_pairs(record: JsonObject) -> list[Pair]:
    """Return what identifies the session: ids, hashes, journal, code, machine and times."""
    journal = record["journal"] or {}
    rows = [
        ("Session", record["session_id"]),
        *facts.hash_pairs(record),
        ("Ended", f"{moment(record['finished_at'])} UTC" if record["finished_at"] else None),
        ("Decisions (SHA-256)", record["decisions_sha256"]),
        ("Journal", journal.get("path")),
        ("Journal's head", _head(journal)),
        ("Journal's head (SHA-256)", journal.get("head_sha256")),
        ("Continues", record["continues"]),
        ("Environment", record["env_name"]),
        ("Account", record["account"]),
        ("Tier", record["tier"]),
        ("Machine", record["host"]),
        ("Process", record["process"]),
    ]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def _head(journal: Mapping[str, Any]) -> str | None:
    """Say which record is the last; the registry alone does not know how many there are over all segments."""
    if journal.get("head_seq") is None:
        return None
    text = f"number {journal['head_seq']:,}"
    return f"{text}, {plural(journal['records'], 'record')} in all" if journal.get("records") else text
