"""Many sessions at a glance: how they ended, what they made, what was blocked, and how far they were from what was expected.

Invariant: money of different run types, modes or currencies is never added up; each of these is a group of its own.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote as url_quote

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.report import session_facts as facts
from peak_trade.report.facts import Pair, moment
from peak_trade.report.figures import amount, duration, money, percent, plural, signed
from peak_trade.report.markdown import code, document, listed, pairs, plain, table, warned
from peak_trade.report.page import render
from peak_trade.report.session_tables import REASON_HEADS, reason_rows
from peak_trade.report.session_totals import counted, group_totals, session_row
from peak_trade.report.thinning import thinned

#: Size of a session's small chart, and points in it.
_WIDE, _HIGH, _POINTS = 120.0, 32.0, 120


def summary_facts(records: Iterable[JsonObject], filters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what the sessions come to, as a JSON object.

    Args:
        records: the sessions' JSON documents, in the order in which they are to be listed.
        filters: what was asked for, by name; shown with the summary.
    """
    found = [facts.whole(record) for record in records]
    groups: dict[tuple[str, str, str], list[JsonObject]] = {}
    for record in found:
        groups.setdefault((record["run_type"], record["mode"], record["quote"]), []).append(record)
    return {
        "sessions": len(found),
        "filters": dict(filters or {}),
        "by_status": counted(record["status"] for record in found),
        "by_mode": counted(record["mode"] for record in found),
        "groups": [group_totals(*key, members) for key, members in sorted(groups.items())],
        "list": [session_row(record) for record in found],
    }


def summary_markdown(summary: JsonObject, *, summary_only: bool) -> str:
    """Return the summary as Markdown; *summary_only* leaves out the single sessions."""
    asked = _asked(summary)
    head = ("# Sessions", plain(asked) if asked else "", plain(verdict(summary)))
    if not summary["sessions"]:
        return document(*head, "Make one:" if asked else "Make the first one:", code(facts.FIRST_SESSION))
    blocks = [block for group in summary["groups"] for block in _group_blocks(summary, group, summary_only=summary_only)]
    return document(*head, warned(warnings(summary)), *blocks)


def summary_html(
    summary: JsonObject,
    *,
    sheets: Mapping[str, str] | None = None,
    curves: Mapping[str, F64] | None = None,
    summary_only: bool = False,
) -> str:
    """Return the summary as one page that opens without a network.

    Args:
        summary: what `summary_facts` returned.
        sheets: by session, the path of its own page, relative to this one.
        curves: by session, its equity over time, shape (marks,); drawn small.
        summary_only: leaves out the single sessions.
    """
    sheets, curves = sheets or {}, curves or {}
    groups = [
        {
            "title": group_title(group),
            "kind": facts.kind(group),
            "quote": group["quote"],
            "headlines": group_tiles(group),
            "money": money_pairs(group),
            "orders": order_pairs(group),
            "reasons": reason_rows(group),
            "rows": [] if summary_only else [_cells(row, sheets, curves) for row in _members(summary, group)],
        }
        for group in summary["groups"]
    ]
    page = {
        "title": "Sessions",
        "period": _asked(summary) or "All sessions",
        "verdict": verdict(summary),
        "warnings": warnings(summary),
        "groups": groups,
        "reason_heads": REASON_HEADS,
        "first": facts.FIRST_SESSION,
    }
    return render("session_summary.html", {}, page)


def verdict(summary: JsonObject) -> str:
    """Return one sentence on how many sessions there are and how they ended."""
    if not summary["sessions"]:
        return "No session matches what was asked for." if summary["filters"] else "There is no session yet."
    return f"{plural(summary['sessions'], 'session')}: {facts.ends(summary['by_status'])}."


def warnings(summary: JsonObject) -> list[str]:
    """Return what needs a look before the figures, gravest first."""
    rows = summary["list"]
    checks: tuple[tuple[Callable[[JsonObject], bool], str], ...] = (
        (lambda row: row["mode"] == "live", "traded real money"),
        (lambda row: row["orders_unknown"] > 0, "left orders of unknown outcome; ask the venue"),
        (lambda row: row["status"] == "failed", "failed"),
        (lambda row: row["status"] == "aborted", "ended before the time"),
        (lambda row: row["mode_at_end"] != "running", "ended restricted, paused or killed"),
        (lambda row: row["incidents"] > 0, "had incidents"),
    )
    counted = ((sum(map(check, rows)), text) for check, text in checks)
    return [f"{plural(number, 'session')} {text}." for number, text in counted if number]


def group_title(group: JsonObject) -> str:
    """Return which sessions are added up: `live_session_shadow in EUR`."""
    return f"{group['run_type']} in {group['quote']}"


def group_tiles(group: JsonObject) -> list[facts.Headline]:
    """Return what is shown of a group first and large."""
    quote, orders, gains, expected = group["quote"], group["orders"], group["profit"], group["expected"]
    worst = group["drawdown"]["worst"]
    return [
        facts.Headline("Sessions", f"{group['sessions']:,}", facts.ends(group["by_status"])),
        facts.Headline(f"Profit, {quote}", signed(amount(gains["sum"], quote)), f"mean {signed(amount(gains['mean'], quote))}"),
        facts.Headline("Worst drawdown", percent(worst["value"] if worst else None), ""),
        facts.Headline("Orders filled", percent(orders["success_rate"]), f"{orders['filled']:,} of {orders['sent']:,} sent"),
        facts.Headline("Orders blocked by limits", f"{orders['blocked']:,}", ""),
        facts.Headline(
            f"Off expected, {quote}",
            signed(amount(expected["parts"]["total"] if expected["parts"] else None, quote)),
            f"{expected['identical']:,} of {expected['sessions']:,} identical",
        ),
    ]


def money_pairs(group: JsonObject) -> list[Pair]:
    """Return what a group made and how far it was from what was expected, as text."""
    quote, gains, drops, expected = group["quote"], group["profit"], group["drawdown"], group["expected"]

    def won(value: float | None) -> str:
        return signed(money(value, quote))

    rows = [
        ("Profit, sum", f"{won(gains['sum'])} over {plural(gains['sessions'], 'session')} with figures"),
        ("Profit, mean", won(gains["mean"])),
        ("Profit, best", _extreme(gains["best"], won)),
        ("Profit, worst", _extreme(gains["worst"], won)),
        ("Drawdown, worst", _extreme(drops["worst"], percent)),
        ("Drawdown, mean", percent(drops["mean"])),
        ("Fees paid", money(group["fees_paid"], quote)),
        ("Traded notional", money(group["traded_notional"], quote)),
        ("Held against a backtest", f"{plural(expected['sessions'], 'session')}, {expected['identical']:,} identical to it"),
    ]
    if expected["parts"]:
        parts = ", ".join(f"{name} {signed(amount(expected['parts'][name], quote))}" for name in facts.PARTS)
        rows += [
            ("Difference, sum", f"{won(expected['parts']['total'])} ({parts})"),
            ("Difference, largest", _extreme(expected["largest"], won)),
        ]
    return rows


def order_pairs(group: JsonObject) -> list[Pair]:
    """Return how a group's sessions ended, what became of their orders, and how long they took, as text."""
    orders, took, codes = group["orders"], group["duration"], group["incidents_by_code"]
    named = ("rejected", "cancelled", "unknown", "blocked", "warned")
    return [
        ("Sessions", f"{group['sessions']:,}: {facts.ends(group['by_status'])}"),
        ("Orders sent", f"{orders['sent']:,}"),
        ("Orders filled", f"{orders['filled']:,} ({percent(orders['success_rate'])} of those sent)"),
        *((f"Orders {name}", f"{orders[name]:,}") for name in named),
        ("Incidents", f"{group['incidents']:,}" + (f": {facts.coded(codes)}" if codes else "")),
        ("Time, sum", duration(took["sum_s"])),
        ("Time, mean", duration(took["mean_s"])),
        ("Time, longest", duration(took["longest_s"])),
    ]


def _extreme(found: Mapping[str, Any] | None, write: Callable[[float], str]) -> str:
    return f"{write(found['value'])} ({found['session_id']})" if found else "none"


def _asked(summary: JsonObject) -> str:
    return ", ".join(f"{name} {value}" for name, value in summary["filters"].items())


def _members(summary: JsonObject, group: JsonObject) -> list[JsonObject]:
    names = ("run_type", "mode", "quote")
    return [row for row in summary["list"] if all(row[name] == group[name] for name in names)]


def _group_blocks(summary: JsonObject, group: JsonObject, *, summary_only: bool) -> list[str]:
    reasons = reason_rows(group)
    blocks = [
        f"## {plain(group_title(group))}",
        f"{plain(facts.kind(group))}.",
        pairs("Money", money_pairs(group)),
        pairs("Orders and time", order_pairs(group)),
        table(REASON_HEADS, reasons, words=(0, 1)) if reasons else "",
    ]
    if summary_only:
        return blocks
    rows = _members(summary, group)
    return [*blocks, table(_heads(group["quote"]), map(_texts, rows), words=(0, 1, 2, 3)), *map(_noted, rows)]


def _heads(quote: str) -> tuple[str, ...]:
    money_heads = (f"Profit {quote}", "Return", "Drawdown")
    return (
        "Session",
        "Status",
        "What ran",
        "Started",
        "Took",
        *money_heads,
        "Sent",
        "Filled",
        "Blocked",
        f"Off expected {quote}",
    )


def _texts(row: JsonObject) -> tuple[str, ...]:
    quote = row["quote"]
    return (
        row["session_id"],
        facts.status_badge(row["status"]).text,
        row["title"],
        moment(row["started_at"]),
        duration(row["elapsed_s"]),
        signed(amount(row["profit"], quote)),
        signed(percent(row["total_return"])),
        percent(row["max_drawdown"]),
        *(f"{row[name]:,}" for name in ("orders_sent", "orders_filled", "orders_blocked")),
        "" if row["difference"] is None else signed(amount(row["difference"], quote)),
    )


def _noted(row: JsonObject) -> str:
    """Return a session's own paragraphs."""
    return "\n\n".join(filter(None, (f"### {plain(row['session_id'])}", plain(row["verdict"]), listed(row["warnings"]))))


def _cells(row: JsonObject, sheets: Mapping[str, str], curves: Mapping[str, F64]) -> dict[str, Any]:
    """Return a session's row of the page; a link is always a path below or beside it, never another scheme."""
    name = row["session_id"]
    texts = dict(
        zip(
            ("name", "status", "title", "started", "took", "profit", "gain", "fall", "sent", "filled", "blocked", "off"),
            _texts(row),
            strict=True,
        )
    )
    return {
        **texts,
        "badge": facts.status_badge(row["status"]),
        "link": f"./{url_quote(sheets[name])}" if name in sheets else "",
        "curve": curve_points(curves[name]) if name in curves else None,
        "warnings": row["warnings"],
        "verdict": row["verdict"],
    }


def curve_points(equity: F64) -> dict[str, str] | None:
    """Return a small chart of 120 by 32: its line, the height of its first value, and both ends; None without values."""
    values = equity[np.isfinite(equity)]
    if not len(values):
        return None
    kept = thinned(values, _POINTS)
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    across = (kept / max(len(values) - 1, 1) * (_WIDE - 4.0) + 2.0).tolist()
    up = (_HIGH - 2.0 - (values[kept] - low) / span * (_HIGH - 4.0)).tolist()
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
    return {"line": line, "base": f"{up[0]:.1f}", "first": f"{values[0]:,.2f}", "last": f"{values[-1]:,.2f}"}
