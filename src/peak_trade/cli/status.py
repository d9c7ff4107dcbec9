"""`peak-trade status`: everything at a glance, for whoever is called at night."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import typer

from peak_trade.cli import options


def command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show every session that runs, locks, kill switch, permits and budget; exit code 1 where something wants a person."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.overview.status import status

    with closing(options.open_parts(config)) as parts:
        found = status(parts, parts.clock.now())
    print(document(found) if as_json else printable("\n".join(_lines(found))))
    raise typer.Exit(1 if found["wants"] else 0)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what wants a person first, then the rest."""
    from peak_trade.cli.show import sentence, table

    wants = found["wants"]
    yield f"{len(wants)} things want a person:" if wants else "nothing wants a person"
    yield from (f"  {sentence(words)}" for words in wants)
    yield ""
    if found["sessions"]:
        heads = ["session", "stage", "strategy", "symbol", "account", "state", "heartbeat", "last record", "process"]
        yield table(heads, [_session(line) for line in found["sessions"]])
    else:
        yield "no session runs"
    yield ""
    yield "kill switch: " + ("off" if found["kill_switch"] is None else "ON")
    trouble, needed = found["supervisor"]["trouble"], " (one is required)" if found["supervisor"]["required"] else ""
    yield f"supervisor: {'at work' if trouble is None else f'none at work{needed}: {trouble}'}"
    for account, until in found["watch_closely"].items():
        yield f"{account} was resumed a short time ago: watch it closely until {until[:16].replace('T', ' ')} UTC"
    for lock in found["locks"]:
        yield f"{lock['name'].lower()}: {'closed' if lock['closed'] else 'OPEN'} ({'; '.join(lock['reasons'])})"
    if (budget := found["budget"]) is not None:
        yield (
            f"testnet on {budget['day']}: {budget['runs']} sessions, {budget['orders']} orders and "
            f"{float(budget['minutes']):g} minutes left"
        )
    for item in found["permits"]:
        state = f"good until {item['until']}" if item["good"] else "good no more"
        yield f"permit {item['id']} for {item['strategy']} in {item['stage']}: {state}"


def _session(line: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        line["session_id"],
        line["mode"],
        line["strategy"],
        line["symbol"],
        line["account"],
        line["state"] or "?",
        _age(line["heartbeat_age_s"]),
        _age(line["last_record_age_s"]),
        f"{line['process']} on {line['host']}",
    )


def _age(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.0f} s ago"
