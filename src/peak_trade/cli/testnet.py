"""`peak-trade testnet`: sessions by profile, whose orders an exchange validates and nobody executes."""

import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, session_start
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.runs.testnet.profile import Lowered, ProfileTerms
    from peak_trade.runs.testnet.series import SeriesEnd
    from peak_trade.runs.trading.testnet_budget import Left

app = typer.Typer(help="Run testnet sessions by profile, within a daily budget.", no_args_is_help=True, rich_markup_mode=None)

Profile = Annotated[str | None, typer.Option("--profile", help="Name of a section [testnet_profiles.NAME].")]
Duration = Annotated[float | None, typer.Option("--duration", help="Minutes; at most the profile's.")]
MaxOrders = Annotated[int | None, typer.Option("--max-orders", help="Orders; at most the profile's.")]
MaxNotional = Annotated[
    str | None, typer.Option("--max-order-notional", help="Largest order, quote currency; at most the profile's.")
]
Speed = Annotated[
    float | None, typer.Option("--speed", min=0.01, max=10_000, help="How much faster than ours an emulator's clock goes.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, begin nothing.")]


@app.command()
def run(
    profile: Profile = None,
    duration: Duration = None,
    max_orders: MaxOrders = None,
    max_order_notional: MaxNotional = None,
    emulator: options.Emulated = False,
    speed: Speed = None,
    dry_run: DryRun = False,
    tag: options.Tags = None,
    notes: Annotated[str, typer.Option("--notes", help="A remark for the record.")] = "",
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the session's page.")] = True,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Run the session of a profile: live prices, orders that the exchange validates, fills that are simulated."""
    from peak_trade.runs.testnet.profile import at_exchange, narrowed, request_of

    name = _named(profile)
    lowered = _lowered(duration, max_orders, max_order_notional)
    with closing(options.open_parts(config)) as given:
        [terms] = _checked(given, [name], lowered)
        if dry_run:
            _print_plans(given, [terms], as_json)
            return
        _check_key(given, emulated=emulator)
        tags, remark = options.check_tags(tag), options.check_notes(notes)
        with at_exchange(given, emulated=emulator, speed=speed or 1.0) as there:
            from peak_trade.compose import Parts
            from peak_trade.runs.trading.session import run_session

            with closing(Parts(narrowed(there.settings, terms), there.exchange_speed)) as parts:
                args = (Path(sys.argv[0]).name, *sys.argv[1:])
                request = request_of(parts, terms, tags=tags, notes=remark, cli_args=args)
                watcher = session_start.watcher_of(parts, request, log_level, verbose=verbose)
                ended = run_session(parts, request, watcher)
        session_start.tell_ended(ended, sheet=sheet, as_json=as_json)


@app.command("list")
def list_profiles(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """List the profiles with what they may do, and whether the limits allow them."""
    with closing(options.open_parts(config)) as parts:
        _print_profiles(parts, as_json)


@app.command()
def budget(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show what is left of the daily budget."""
    with closing(options.open_parts(config)) as parts:
        _print_budget(parts, as_json)


@app.command()
def orchestrate(
    profile: Annotated[list[str] | None, typer.Option("--profile", help="Name of a profile; repeatable.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of testnet_orchestration.profiles, in their order.")] = False,
    list_them: Annotated[bool, typer.Option("--list", help="List the profiles, then stop.")] = False,
    show_budget: Annotated[bool, typer.Option("--budget", help="Show what is left of today, then stop.")] = False,
    duration: Duration = None,
    max_orders: MaxOrders = None,
    max_order_notional: MaxNotional = None,
    emulator: options.Emulated = False,
    speed: Speed = None,
    dry_run: DryRun = False,
    tag: options.Tags = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Run sessions of profiles one after the other, each in a process of its own, and show how they ended."""
    if sum((bool(profile), every, list_them, show_budget)) != 1:
        raise InputError("expected one of --list, --budget, --profile NAME and --all; choose one")
    with closing(options.open_parts(config)) as parts:
        if list_them:
            _print_profiles(parts, as_json)
            return
        if show_budget:
            _print_budget(parts, as_json)
            return
        file = parts.settings.file
        names = profile or [*(file.testnet_orchestration.profiles or file.testnet_profiles)]
        if not names:
            raise InputError("expected profiles to run, found none; add a section [testnet_profiles.NAME]")
        lowered = _lowered(duration, max_orders, max_order_notional)
        plans = _checked(parts, names, lowered)
        if dry_run:
            _print_plans(parts, plans, as_json)
            return
        _check_key(parts, emulated=emulator)
        passed_on = [*_options(lowered), "--no-html", *(["--emulator"] if emulator else [])]
        passed_on += [] if speed is None else ["--speed", str(speed)]
        passed_on += [part for word in options.check_tags(tag) for part in ("--tag", word)]
        _run_series(parts, plans, [*passed_on, "--config", str(parts.settings.path)], as_json)


def _run_series(parts: "Parts", plans: "list[ProfileTerms]", passed_on: list[str], as_json: bool) -> None:
    """Run the sessions and print how they ended; raises `typer.Exit` with the series' exit code."""
    from peak_trade.runs.testnet.series import Entry, Series, exit_code_of, session_command

    rules = parts.settings.file.testnet_orchestration
    entries = [
        Entry(
            profile=terms.name,
            command=session_command(terms.name, passed_on),
            longest_s=terms.minutes * 60 + rules.grace_s,
        )
        for terms in plans
    ]
    series = Series(rules, lambda words: print(words, file=sys.stderr, flush=True))
    ended = series.run(entries)
    _print_outcomes(ended, as_json)
    sys.stdout.flush()
    raise typer.Exit(exit_code_of(ended, interrupted=series.interrupted))


def _named(profile: str | None) -> str:
    if profile is None:
        raise InputError("expected --profile NAME, found none; peak-trade testnet list shows them")
    return profile


def _check_key(parts: "Parts", *, emulated: bool) -> None:
    """Let pass where there is a key for the exchange: nothing is asked of it before.

    Raises:
        InputError: there is none, or it is no key.
    """
    if not emulated:
        parts.api_keys()


def _lowered(duration: float | None, max_orders: int | None, notional: str | None) -> "Lowered":
    from peak_trade.runs.testnet.profile import Lowered

    amount = None if notional is None else options.money(notional, "--max-order-notional", Decimal(0))
    return Lowered(minutes=duration, max_orders=max_orders, max_order_notional=amount)


def _options(lowered: "Lowered") -> list[str]:
    """Return the options that say the same to another process."""
    given = {
        "--duration": lowered.minutes,
        "--max-orders": lowered.max_orders,
        "--max-order-notional": lowered.max_order_notional,
    }
    return [part for name, value in given.items() if value is not None for part in (name, str(value))]


def _checked(parts: "Parts", names: list[str], lowered: "Lowered") -> "list[ProfileTerms]":
    """Return the terms of sessions that may begin now, one after the other.

    Raises:
        InputError: there is no such profile, or it makes no sense.
        SafetyRefused: the kill switch is on, a limit is violated, or the day's budget is used up.
    """
    from peak_trade.runs.testnet.profile import budget_of, terms_of

    parts.kill_switch.check_off()
    plans = [terms_of(parts, name, lowered) for name in names]
    budget_of(parts).check_runs(parts.clock.now(), len(plans), sum(terms.minutes for terms in plans))
    return plans


def _left_json(left: "Left") -> dict[str, Any]:
    return {"day": left.day.isoformat(), "runs": left.runs, "orders": left.orders, "minutes": float(left.minutes)}


def _print_budget(parts: "Parts", as_json: bool) -> None:
    from peak_trade.cli.show import document, table
    from peak_trade.runs.testnet.profile import budget_of

    daily = parts.settings.file.testnet_limits.daily
    left = budget_of(parts).left(parts.clock.now())
    if as_json:
        print(document({"left": _left_json(left), "limits": daily.model_dump(mode="json")}))
        return
    rows = [
        ("sessions", f"{left.runs:,}", f"{daily.max_runs:,}"),
        ("orders", f"{left.orders:,}", f"{daily.max_orders:,}"),
        ("minutes", f"{float(left.minutes):,.1f}", f"{daily.max_minutes:,.1f}"),
    ]
    print(f"testnet budget of {left.day.isoformat()}, UTC")
    print(table(["", "left", "of"], rows, right=(1, 2)))


def _print_profiles(parts: "Parts", as_json: bool) -> None:
    from peak_trade.cli.show import document, printable, table
    from peak_trade.model.errors import PeakTradeError
    from peak_trade.runs.testnet.profile import terms_of

    found = []
    for name, profile in parts.settings.file.testnet_profiles.items():
        try:
            words = ""
            facts = terms_of(parts, name).to_json()
        except PeakTradeError as error:
            words = str(error)
            facts = {"profile": name} | profile.model_dump(mode="json")
        found.append(facts | {"allowed": not words, "words": words})
    if as_json:
        print(document(found))
        return
    rows = [
        (
            facts["profile"],
            facts["strategy"],
            "+".join(facts["symbols"]),
            facts["timeframe"],
            f"{facts['duration_minutes']:g} min",
            str(facts["max_orders"]),
            str(facts["max_order_notional"]),
            facts["description"] if facts["allowed"] else "NOT ALLOWED",
        )
        for facts in found
    ]
    if not rows:
        print("there is no profile yet; add a section [testnet_profiles.NAME]")
        return
    print(table(["profile", "strategy", "pairs", "bars", "length", "orders", "largest", ""], rows, right=(4, 5, 6)))
    for facts in found:
        if not facts["allowed"]:
            print(f"{facts['profile']}: {printable(facts['words'])}")


def _print_plans(parts: "Parts", plans: "list[ProfileTerms]", as_json: bool) -> None:
    from peak_trade.cli.show import document, short
    from peak_trade.runs.testnet.profile import budget_of, narrowed, remarks_on

    left = budget_of(parts).left(parts.clock.now())
    facts = []
    for terms in plans:
        limits = narrowed(parts.settings, terms).file.live_risk.model_dump(mode="json")
        facts.append(terms.to_json() | {"limits": limits, "remarks": remarks_on(parts, terms)})
    minutes = sum(terms.minutes for terms in plans)
    try:
        parts.api_keys()
        key = "set"
    except InputError as error:
        key = str(error)
    if as_json:
        print(document({"dry_run": True, "sessions": facts, "minutes": minutes, "left": _left_json(left), "key": key}))
        return
    print(f"dry run: {len(plans)} testnet session{'s' if len(plans) > 1 else ''}; nothing was begun")
    for one in facts:
        print(f"{one['profile']}: {one['strategy']} {short(one['params'])} on {'+'.join(one['symbols'])} {one['timeframe']}")
        print(f"  at most {one['duration_minutes']:g} minutes, {one['max_orders']} orders, {one['max_order_notional']} each")
        print(f"  limits: {short(one['limits'])}")
        for words in one["remarks"]:
            print(f"  WARNING: {words}")
    print(f"left today: {left.runs} sessions, {left.orders} orders, {float(left.minutes):g} minutes; asked for: {minutes:g}")


def _print_outcomes(ended: "list[SeriesEnd]", as_json: bool) -> None:
    from peak_trade.cli.show import document, figure, printable, table

    found = [one.to_json() for one in ended]
    if as_json:
        print(document(found))
        return
    rows = [
        (
            facts["profile"],
            facts["status"],
            "-" if facts["exit_code"] is None else str(facts["exit_code"]),
            facts["session_id"] or "-",
            *(
                "-" if facts[name] is None else figure(name, facts[name])
                for name in ("num_orders", "num_fills", "realized_pnl")
            ),
            printable(facts["words"])[:80],
        )
        for facts in found
    ]
    print(table(["profile", "status", "exit", "session", "orders", "fills", "profit", ""], rows, right=(2, 4, 5, 6)))
