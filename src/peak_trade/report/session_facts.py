"""What a session's record says, in words: sentences, tables and label-value pairs that every format of its report shares.

Invariant: every sentence is computed from the record, and every mode says whose money it was.
A record may lack what its stage does not have or what a session that died early never reached; `whole` fills that in.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import NamedTuple

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.facts import Pair, moment
from peak_trade.report.figures import (
    amount,
    duration,
    figure_label,
    figure_number,
    money,
    percent,
    plural,
    signed,
)
from peak_trade.report.session_rows import words_of

#: The metrics in the two groups in which they are read.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Result": (
        "start_equity",
        "final_equity",
        "total_return",
        "realized_pnl",
        "unrealized_pnl",
        "fees_paid",
        "max_drawdown",
        "traded_notional",
    ),
    "Orders and events": (
        "num_bars",
        "num_decisions",
        "num_orders",
        "num_fills",
        "num_trades",
        "orders_filled",
        "orders_rejected",
        "orders_cancelled",
        "orders_unknown",
        "orders_blocked_risk",
        "orders_warned",
        "orders_skipped",
        "incidents",
    ),
}
#: What sessions have besides whose orders an exchange was asked about.
AT_EXCHANGE: Mapping[str, tuple[str, ...]] = {
    "At the exchange": (
        "orders_checked",
        "order_success_rate",
        "check_latency_p50_ms",
        "check_latency_p99_ms",
        "slippage_vs_book_bps",
    )
}
#: How a session makes a first appearance in the registry.
FIRST_SESSION = "python scripts/run_execution_session.py --strategy ma_crossover --steps 100 --speed max"
#: What each mode does with money.
MODES: Mapping[str, str] = {
    "shadow": "orders are simulated, no money is at stake",
    "testnet": "the exchange validates every order and executes none, fills are simulated",
    "shadow_live": "live prices, simulated orders, no money is at stake",
    "live": "real orders with real money",
}
_STATUS = {
    "started": ("busy", "running"),
    "completed": ("good", "completed"),
    "failed": ("bad", "failed"),
    "aborted": ("warn", "aborted"),
    "damaged": ("bad", "damaged"),
}
PARTS = {
    "signal": "orders that only one of the two had",
    "timing": "fills in another bar",
    "fill": "prices or sizes of the same fills",
    "fee": "fees charged differently",
}
_NO_DATA: JsonObject = {
    "sha256": None,
    "bars": 0,
    "first": None,
    "last": None,
    "gaps": {"holes": 0, "missing_bars": 0, "by_kind": {}},
    "origin": "no data was loaded",
    "accepted": [],
    "notes": [],
}
_OBJECTS = ("params", "terms", "limits", "blocked_by_code", "warned_by_code", "rejected_by_code", "versions", "checks")
_LISTS = ("tags", "cli_args", "legs", "by_leg", "incidents")
_NOTHING = (
    *("elapsed_s", "finished_at", "notes", "error", "continues", "traded_from", "expected", "journal"),
    *("account", "tier", "env_name", "host", "process", "config_sha256", "result_sha256", "decisions_sha256"),
)
_EMPTY: JsonObject = {
    **dict.fromkeys(_NOTHING),
    **{name: {} for name in _OBJECTS},
    **{name: [] for name in _LISTS},
    "mode_at_end": "running",
    "code": {"version": "unknown", "clean": True},
}


class Badge(NamedTuple):
    """A state in words, and the shape and colour that repeat it."""

    kind: str
    text: str


class Headline(NamedTuple):
    """A figure that is shown large, with a line below it."""

    label: str
    value: str
    beside: str


def whole(record: JsonObject) -> JsonObject:
    """Return the record with every part that reports read; what it lacks is empty."""
    given = {name: value for name, value in record.items() if value is not None}
    metrics = {name: None for names in groups(given).values() for name in names} | dict(given.get("metrics", {}))
    return {**_EMPTY, **given, "metrics": metrics, "dataset": {**_NO_DATA, **given.get("dataset", {})}}


def groups(record: JsonObject) -> Mapping[str, tuple[str, ...]]:
    """Return the metrics that a session has, in the groups in which they are read."""
    asked = record.get("checks") or "orders_checked" in record.get("metrics", {})
    return {**GROUPS, **AT_EXCHANGE} if asked else GROUPS


def title(record: JsonObject) -> str:
    """Return what ran on what; several strategies and markets are all named."""
    legs = record["legs"]
    if len(legs) < 2:
        return facts.title(record)
    names = (", ".join(dict.fromkeys(str(leg[key]) for leg in legs)) for key in ("strategy", "symbol", "timeframe"))
    return "{} on {}, {}".format(*names)


def kind(record: JsonObject) -> str:
    """Return the mode and whose money it was."""
    mode = str(record["mode"])
    words = MODES.get(mode)
    name = f"{words_of(mode).capitalize()} session"
    return f"{name}: {words}" if words else name


def badges(record: JsonObject) -> list[Badge]:
    """Return the session's status, and its mode at the end where it was not simply running."""
    status, mode = str(record["status"]), str(record["mode_at_end"])
    found = [status_badge(status)]
    if mode != "running":
        found.append(Badge("bad" if mode == "killed" else "warn", mode))
    return found


def status_badge(status: str) -> Badge:
    """Return a status in words, with its shape."""
    return Badge(*_STATUS.get(status, ("warn", status)))


def ends(statuses: Mapping[str, int]) -> str:
    """Write how many sessions ended how: `3 completed, 1 failed`."""
    return ", ".join(f"{number:,} {status_badge(status).text}" for status, number in statuses.items())


def period(record: JsonObject) -> str:
    """Return which bars there were, how many of them it saw, and when and how long it ran."""
    took = record["elapsed_s"]
    ran = f"Ran on {moment(record['started_at'])} UTC" + (f" for {duration(took)}" if took is not None else "")
    if not record["dataset"]["first"]:
        return ran
    seen = count(record["metrics"], "num_bars")
    rest = f", of which it saw {seen:,}" if seen < record["dataset"]["bars"] else ""
    return f"Bars {facts.period(record)}{rest}. {ran}"


def verdict(record: JsonObject) -> str:
    """Return one sentence on how the session ended, or stands."""
    metrics, quote, busy = record["metrics"], record["quote"], record["status"] == "started"
    final = metrics["final_equity"]
    if final is None or not metrics["num_bars"]:
        return (
            "No bar has been marked yet."
            if busy
            else "The session ended before its first bar was marked; nothing was decided, and nothing was traded."
        )
    return (
        f"{money(metrics['start_equity'], quote)} {'is now worth' if busy else 'became'} {money(final, quote)} after costs "
        f"({signed(percent(metrics['total_return']))}); {_activity(metrics)}; "
        f"deepest drawdown {percent(metrics['max_drawdown'])}."
    )


def _activity(metrics: Mapping[str, float | None]) -> str:
    sent, blocked = count(metrics, "num_orders"), count(metrics, "orders_blocked_risk")
    text = f"{plural(sent, 'order')} sent, {count(metrics, 'orders_filled'):,} filled" if sent else "no order was sent"
    return f"{text}, {blocked:,} blocked by limits" if blocked else text


def count(metrics: Mapping[str, float | None], name: str) -> int:
    """Return a counted metric, zero where it was not recorded."""
    return int(metrics.get(name) or 0)


def profit(metrics: Mapping[str, float | None]) -> float | None:
    """Return what the session made, in quote currency; None where it marked nothing."""
    start, final = metrics.get("start_equity"), metrics.get("final_equity")
    return None if start is None or final is None else final - start


def warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know before believing the figures, gravest first."""
    metrics, error = record["metrics"], record["error"]
    because = f": {str(error).rstrip('.')}." if error else "."
    found = {
        "failed": f"The session failed{because}",
        "aborted": f"The session was ended before its time{because}",
        "started": "The session has not ended; all figures are those of its last mark.",
    }.get(record["status"], f"An error was recorded{because}" if error else "")
    modes = {
        "killed": "The kill switch was on at the end: nothing but reducing a position was allowed.",
        "paused": "The session was paused at the end: nothing but reducing a position was allowed.",
        "restricted": "The session was restricted at the end: nothing but reducing a position was allowed.",
    }
    counted = (
        ("orders_unknown", "of {} the outcome is unknown; ask the venue before anything else", "order"),
        ("orders_rejected", "the venue rejected {}", "order"),
        ("incidents", "{} happened", "incident"),
        ("orders_blocked_risk", "the risk limits blocked {}", "order"),
        ("orders_warned", "{} passed in spite of a limit, because limits only warned", "order"),
    )
    texts = [found, modes.get(record["mode_at_end"], "")]
    for name, text, noun in counted:
        if number := count(metrics, name):
            sentence = text.format(plural(number, noun))
            texts.append(sentence[0].upper() + sentence[1:] + _codes(record, name) + ".")
    return [*(text for text in texts if text), *facts.warnings(record)]


def _codes(record: JsonObject, name: str) -> str:
    key = {"orders_blocked_risk": "blocked_by_code", "orders_rejected": "rejected_by_code", "orders_warned": "warned_by_code"}
    codes = record[key[name]] if name in key else incident_codes([record]) if name == "incidents" else {}
    return f": {coded(codes)}" if codes else ""


def incident_codes(records: Iterable[JsonObject]) -> dict[str, int]:
    """Return how many incidents of each code there were, by code."""
    return dict(sorted(Counter(str(item["code"]) for record in records for item in record["incidents"]).items()))


def coded(codes: Mapping[str, int]) -> str:
    """Write counted codes, the most frequent first: `data_age (3), paused (1)`."""
    return ", ".join(f"{code} ({number:,})" for code, number in most(codes))


def most(codes: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return codes by number, the most frequent first."""
    return sorted(codes.items(), key=lambda item: (-item[1], item[0]))


def headlines(record: JsonObject) -> list[Headline]:
    """Return what is shown first and large."""
    metrics, quote, codes = record["metrics"], record["quote"], record["blocked_by_code"]
    mode, blocked = record["mode_at_end"], count(metrics, "orders_blocked_risk")
    sent = plural(count(metrics, "num_orders"), "order")

    def against(name: str) -> Headline:
        expected = (record["expected"] or {}).get(name)
        beside = f"expected {figure_number(name, expected, quote)}" if expected is not None else ""
        return Headline(figure_label(name, quote), figure_number(name, metrics[name], quote), beside)

    return [
        against("final_equity"),
        Headline(f"Profit, {quote}", signed(amount(profit(metrics), quote)), signed(percent(metrics["total_return"]))),
        against("max_drawdown"),
        Headline("Fills", figure_number("num_fills", metrics["num_fills"], quote), f"of {sent} sent"),
        Headline("Orders blocked by limits", f"{blocked:,}", f"most by {most(codes)[0][0]}" if codes else ""),
        Headline("Incidents", f"{count(metrics, 'incidents'):,}", "" if mode == "running" else f"{mode} at the end"),
    ]


def expected_words(record: JsonObject) -> str:
    """Say in a sentence or two how the session differs from what a backtest of the same bars expects."""
    expected, quote = record["expected"], record["quote"]
    if not expected:
        return "There is no expected result to hold this session against."
    if expected["identical"]:
        return "Every fill, and with them the final equity, is what a backtest of the same bars expects."
    parts = {name: float(value) for name, value in expected["difference"].items()}
    shown = {name: text for name, value in parts.items() if (text := signed(amount(value, quote)))[0] in "+-"}
    text = "The session ended where a backtest of the same bars expects it to, but got there differently"
    if "total" in shown:
        away = f"{money(abs(parts['total']), quote)} {'above' if parts['total'] > 0 else 'below'}"
        text = f"The session ended {away} what a backtest of the same bars expects"
    if causes := sorted(shown.keys() & PARTS.keys(), key=lambda name: -abs(parts[name])):
        text += ": " + ", ".join(f"{shown[name]} from {PARTS[name]}" for name in causes)
    own, other = expected["actual_only"], expected["expected_only"]
    return (
        f"{text}. {plural(expected['matched'], 'fill')} {'matches' if expected['matched'] == 1 else 'match'}; "
        f"{own:,} happened only in the session and {other:,} only in the backtest."
    )


def commands(record: JsonObject) -> list[Pair]:
    """Return what each command does, and the command, ready to be copied."""
    found = [
        (
            "Replay its journal and compare every decision",
            f"peak-trade session replay {shlex.quote(str(record['session_id']))}",
        ),
        ("Check that no record of the journal was changed", "peak-trade journal verify"),
    ]
    return [("Run the same session again", call(record["cli_args"])), *found] if record["cli_args"] else found


def call(arguments: list[str]) -> str:
    """Return the command line of a session: arguments alone belong to the playbook's script, a path is cut to its name."""
    first, *rest = (str(argument) for argument in arguments)
    name = PurePath(first).name
    if name.endswith(".py") and not name.startswith("-"):
        start = ["peak-trade"] if name == "__main__.py" else ["python", f"scripts/{name}"]
    elif name == "peak-trade":
        start = [name]
    elif first.startswith("-"):
        start, rest = ["python", "scripts/run_execution_session.py"], [first, *rest]
    else:
        start, rest = ["peak-trade"], [first, *rest]
    return shlex.join([*start, *rest])
