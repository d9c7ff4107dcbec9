"""`peak-trade session run` and `shadow`: strategies through the full order flow."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError
from peak_trade.model.stage import Stage, not_allowed

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.runs.sessions.files import EndedSession
    from peak_trade.runs.sessions.plan import Paper, SessionRequest

#: The command that drives recorded bars through at once.
RECORDED = "shadow"


def _mode(text: str | None) -> str | None:
    """Refuse a stage that can't run while the options are being read, before anything else happens."""
    if text is None:
        return None
    names = {stage.value: stage for stage in Stage}
    stage = names.get(text.strip().lower().replace("-", "_"))
    if stage is None:
        raise InputError(f"expected a mode such as shadow, found {text!r}; there are {', '.join(names)}")
    if stage is Stage.RESEARCH:
        raise InputError(
            "expected a stage with sessions, found research; that is peak-trade backtest, or start with --mode shadow"
        )
    if stage not in (Stage.SHADOW, Stage.TESTNET):
        raise not_allowed(stage)
    return str(stage.value)


def start(
    context: typer.Context,
    strategy: Annotated[list[str] | None, typer.Option("--strategy", help="Name of a strategy; repeatable.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="NAME=VALUE, or STRATEGY.NAME=VALUE of several; repeatable.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", callback=_mode, help="Stage: shadow or testnet.")] = None,
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="Pair, such as BTC/EUR; repeatable.")] = None,
    timeframe: options.TimeframeName = None,
    data: options.DataFile = None,
    start_time: options.StartTime = None,
    end: options.EndTime = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="End after so many bars.")] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", min=0.001, max=10_000_000, help="End after so many minutes.")
    ] = None,
    speed: Annotated[str | None, typer.Option("--speed", help="Times real time, or max.")] = None,
    warmup: Annotated[int | None, typer.Option("--warmup-candles", help="Bars before the first decision.")] = None,
    fraction: Annotated[float | None, typer.Option("--position-fraction", help="Of equity, for each strategy.")] = None,
    balance: Annotated[str | None, typer.Option("--start-balance", help="Starting cash, quote currency.")] = None,
    fee_rate: Annotated[float | None, typer.Option("--fee-rate", help="Fee of a taker, fraction of the notional.")] = None,
    slippage_bps: options.SlippageBps = None,
    side: options.SideName = None,
    stop_loss: options.StopLoss = None,
    take_profit: options.TakeProfit = None,
    trailing_stop: options.TrailingStop = None,
    fills: options.FillKind = None,
    max_volume_share: options.VolumeShare = None,
    delay_bars: options.DelayBars = None,
    account: Annotated[str | None, typer.Option("--account", help="Account; one session at a time runs on it.")] = None,
    env_name: Annotated[str | None, typer.Option("--env-name", help="Name of this environment on the record.")] = None,
    tag: options.Tags = None,
    notes: Annotated[str, typer.Option("--notes", help="A remark for the record.")] = "",
    emulator: options.Emulated = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew even where a session that died could go on.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, then stop before anything begins.")] = False,
    no_registry: Annotated[
        bool, typer.Option("--no-registry", help="Keep it out of the registry; journal and report stay.")
    ] = False,
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the session's page.")] = True,
    list_strategies: Annotated[bool, typer.Option("--list-strategies", help="List the strategies, then stop.")] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Run strategies: every order passes the risk gate and is filled by the simulated venue; in testnet Kraken validates it."""
    if list_strategies:
        from peak_trade.cli.strategies import list_strategies as list_them

        list_them(as_json=as_json)
        return
    recorded = context.info_name == RECORDED
    given = options.Given(
        data=data,
        timeframe=timeframe,
        start=start_time,
        end=end,
        slippage_bps=slippage_bps,
        side=side,
        stop_loss=stop_loss,
        take_profit=take_profit,
        trailing_stop=trailing_stop,
        fills=fills,
        max_volume_share=max_volume_share,
        delay_bars=delay_bars,
    )
    with closing(options.open_parts(config)) as configured, ExitStack() as held:
        from peak_trade.engine.runner import Course
        from peak_trade.runs.sessions.plan import SessionRequest, check_ready
        from peak_trade.runs.trading import session as sessions

        stage = _stage(configured, mode)
        parts = held.enter_context(_exchange_of(configured, stage, speed, emulated=emulator, recorded=recorded))
        paper = parts.settings.file.shadow_paper
        kind = sessions.SHADOW_RUN if recorded else f"live_session_{stage.value}"
        usual = {sessions.SHADOW_RUN: f"{paper.account}-recorded", sessions.LIVE_SESSION_SHADOW: paper.account}
        request = SessionRequest(
            mode=stage,
            run_type=kind,
            strategies=_strategies(strategy or [], param or []),
            data=_choices(parts, given, symbol or [], stage),
            paper=_paper(parts, given, stage, warmup=warmup, fraction=fraction, balance=balance, fee_rate=fee_rate),
            account=usual.get(kind, stage.value) if account is None else account,
            course=Course(steps=steps, duration_s=None if duration is None else duration * 60),
            speed=1.0 if parts.follows(stage) else _speed(speed, None if recorded else 1.0),
            env_name=options.check_name(env_name, "--env-name", parts.settings.file.environment.name),
            tags=options.check_tags(tag),
            notes=options.check_notes(notes),
            cli_args=(Path(sys.argv[0]).name, *sys.argv[1:]),
            register=not no_registry,
            fresh=fresh,
        )
        if dry_run:
            _print_plan(parts, request, as_json)
            return
        check_ready(parts, stage)  # before the log is begun
        ended = sessions.run_session(parts, request, watcher_of(parts, request, log_level, verbose=verbose))
        tell_ended(ended, sheet=sheet, as_json=as_json)


def _stage(parts: "Parts", given: str | None) -> Stage:
    """Return the stage: what was given, else the configuration's; a checkout set up for research runs in the shadow."""
    configured = parts.settings.file.environment.mode
    return Stage(given) if given else Stage.SHADOW if configured is Stage.RESEARCH else configured


def _strategies(names: list[str], params: list[str]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return each strategy with its parameters; with several, a parameter names the strategy it belongs to."""
    if not names:
        raise InputError("expected --strategy NAME, found none; --list-strategies shows them")
    if len(set(names)) < len(names):
        raise InputError(f"expected each strategy once, found {', '.join(names)}; remove one")
    given = options.parse_params(params)
    if len(names) == 1:
        return ((names[0], given),)
    split = {
        name: {key.removeprefix(f"{name}."): value for key, value in given.items() if key.startswith(f"{name}.")}
        for name in names
    }
    if lost := [key for key in given if not any(key.startswith(f"{name}.") for name in names)]:
        raise InputError(f"expected --param STRATEGY.NAME=VALUE with several strategies, found {lost[0]}; name its strategy")
    return tuple(split.items())


def _exchange_of(
    parts: "Parts", stage: Stage, speed: str | None, *, emulated: bool, recorded: bool
) -> AbstractContextManager["Parts"]:
    """Return the parts with the exchange that a session asks: the configured one, or an emulator of this run.

    Raises:
        SafetyRefused: the stage has no sessions yet. InputError: the options are of another stage.
    """
    if stage not in parts.stages():
        raise not_allowed(stage)
    if recorded and stage is not Stage.SHADOW:
        raise InputError(
            f"expected a shadow run over recorded bars, found the stage {stage.value}; that is peak-trade session run"
        )
    if not parts.follows(stage):
        if emulated:
            raise InputError("expected --emulator with --mode testnet, found a stage that asks no exchange; leave it out")
        return nullcontext(parts)
    from peak_trade.runs.testnet.profile import at_exchange

    pace = _speed(speed, 1.0)
    if pace is None:
        raise InputError("expected a number as --speed of an emulator, found max; 60 is a minute a second")
    return at_exchange(parts, emulated=emulated, speed=pace)


def _choices(parts: "Parts", given: options.Given, symbols: list[str], stage: Stage) -> Any:
    from dataclasses import replace

    file = parts.settings.file
    if given.data is not None and len(symbols) > 1:
        raise InputError("expected one --symbol with --data, found several; import the files, then leave out --data")
    if parts.follows(stage):
        usual = (next(iter(file.testnet_limits.symbols), None), "1m")
    else:
        usual = (file.shadow.symbol, file.shadow.timeframe)
    names: list[str | None] = [*symbols] or [None if given.data else usual[0]]
    timeframe = given.timeframe if given.data or given.timeframe else usual[1]
    return tuple(options.choose_data(parts, replace(given, symbol=name, timeframe=timeframe)) for name in names)


def _paper(
    parts: "Parts",
    given: options.Given,
    stage: Stage,
    *,
    warmup: int | None,
    fraction: float | None,
    balance: str | None,
    fee_rate: float | None,
) -> "Paper":
    from peak_trade.research.terms import Side
    from peak_trade.runs.configured import fill_costs
    from peak_trade.runs.sessions.plan import Paper

    file = parts.settings.file
    paper, shadow = file.shadow_paper, file.shadow
    side = shadow.side if given.side is None else given.side
    if side not in [item.value for item in Side]:
        raise InputError(f"expected long, short or both as --side, found {side!r}; choose one")
    start = options.money(balance, "--start-balance", paper.start_balance)
    usual = shadow.position_fraction
    if stage is Stage.TESTNET:
        # A little less than its largest order, so that a price that rises meanwhile does not make every entry too large.
        most = file.testnet_limits.run.max_order_notional
        usual = min(usual, float(most * Decimal("0.9") / start))
    kind = paper.fills if given.fills is None else given.fills
    slippage = options.precise(given.slippage_bps, "--slippage-bps", paper.slippage_bps)
    slippage_bps, impact = fill_costs(parts, kind, float(slippage))
    return Paper(
        start_balance=start,
        fee_rate=options.precise(fee_rate, "--fee-rate", paper.fee_rate),
        maker_fee_rate=options.precise(None, "the configuration", paper.maker_fee_rate),
        slippage_bps=Decimal(repr(slippage_bps)),
        impact=Decimal(repr(impact)) if impact else Decimal(0),
        delay_bars=paper.delay_bars if given.delay_bars is None else given.delay_bars,
        position_fraction=options.precise(fraction, "--position-fraction", usual),
        side=Side(side),
        latency_ms=paper.latency_ms,
        volume_share=options.precise(given.max_volume_share, "--max-volume-share", paper.volume_share),
        stop_loss=options.precise(given.stop_loss, "--stop-loss", file.risk.stop_loss),
        take_profit=options.precise(given.take_profit, "--take-profit", file.risk.take_profit),
        trailing_stop=options.precise(given.trailing_stop, "--trailing-stop", file.risk.trailing_stop),
        warmup_candles=shadow.warmup_candles if warmup is None else warmup,
    )


def _speed(text: str | None, default: float | None) -> float | None:
    if text is None:
        return default
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed <= 1e9:
        raise InputError(f"expected a number above 0 or max as --speed, found {text!r}; 60 is a minute a second")
    return speed


def watcher_of(parts: "Parts", request: "SessionRequest", level: str, *, verbose: bool) -> Any:
    """Return who tells a session's records and remarks to the log and the terminal."""
    from peak_trade.cli.log import LEVELS, open_log
    from peak_trade.runs.trading.session import Watcher

    if level not in LEVELS:
        raise InputError(f"expected debug, info, warning or error as --log-level, found {level!r}; choose one")
    log = open_log(parts.settings, verbose=verbose, level=level)
    log.info("session begins", run_type=request.run_type, account=request.account, tags=list(request.tags))

    def record(kind: str, body: Mapping[str, Any]) -> None:
        log.info(kind, **{name: value for name, value in body.items() if name != "event"})

    def say(words: str) -> None:
        log.warning(words)
        if not verbose:
            print(f"peak-trade: {words}", file=sys.stderr)

    # Over recorded bars at full speed the journal is the log; writing it twice would cost more than the session.
    return Watcher(record=record if verbose or request.speed is not None else None, say=say)


def _print_plan(parts: "Parts", request: "SessionRequest", as_json: bool) -> None:
    from peak_trade.cli.show import document, short
    from peak_trade.runs.sessions.plan import plan_session
    from peak_trade.runs.sessions.record import plan_facts

    plan = plan_session(parts, request)
    facts = plan_facts(plan) | {"account": request.account, "run_type": request.run_type, "spec_sha256": plan.spec_sha256}
    if as_json:
        print(document(facts))
        return
    print(f"dry run: {request.run_type} on account {request.account}; nothing was begun")
    for leg in facts["legs"]:
        print(f"{leg['leg']}: {leg['strategy']} {short(leg['params'])} on {leg['symbol']} {leg['timeframe']}")
    for symbol, data in facts["datasets"].items():
        print(f"{symbol}: {data['bars']:,} bars from {data['first']} to {data['last']}, traded from {facts['traded_from']}")
    print(f"terms: {short(facts['terms'])}")
    print(f"limits: {short(facts['limits'])}")


def tell_ended(ended: "EndedSession", *, sheet: bool, as_json: bool) -> None:
    """Print how a session ended, and draw its page where that is wanted.

    Raises:
        CheckFailed: it did not stay running.
    """
    from peak_trade.runs.sessions.files import write_session_sheet

    _print_ended(ended, as_json)
    if sheet:
        path = write_session_sheet(ended)
        if not as_json:
            print(f"page: {path}")
    if ended.record["mode_at_end"] != "running":
        raise CheckFailed(
            f"expected the session to stay running, found it {ended.record['mode_at_end']} at its end; "
            f"{ended.record['incidents'][0]['words']}"
        )


def _print_ended(ended: "EndedSession", as_json: bool) -> None:
    from peak_trade.cli.show import document, figure, short, table
    from peak_trade.report.figures import figure_label

    record = ended.record
    if as_json:
        print(document(record), flush=True)
        return
    quote, metrics = record["quote"], record["metrics"]
    print(f"{record['run_type']} {record['session_id']} {record['status']}, ended by {record['ended_by']}")
    print(f"{record['strategy']} {short(record['params'])}")
    print(f"{record['symbol']} {record['timeframe']}, account {record['account']}")
    print()
    wanted = record["expected"] or {}
    rows = [
        (figure_label(name, quote), figure(name, value, quote), figure(name, wanted[name], quote) if name in wanted else "")
        for name, value in metrics.items()
        if value or name in ("final_equity", "total_return", "num_orders", "num_fills", "orders_blocked_risk")
    ]
    print(table(["", "session", "backtest"], rows, right=(1, 2)))
    if wanted:
        parts = ", ".join(f"{name} {value:+.2f}" for name, value in wanted["difference"].items())
        by = "a backtest of the same bars" if wanted["by"] == "kernel" else "an ideal session over the same bars"
        print(f"compared with {by}: {'every fill is the same' if wanted['identical'] else f'difference in {quote}: {parts}'}")
    for title, key in (("blocked by the risk gate", "blocked_by_code"), ("rejected by the venue", "rejected_by_code")):
        if record[key]:
            print(f"{title}: " + ", ".join(f"{code} {count}" for code, count in record[key].items()))
    for incident in record["incidents"]:
        print(f"incident: {incident['code']}: {incident['words']}")
    for leg in record["by_leg"]:
        if float(leg["position"]):
            held = f"{leg['position']} {leg['symbol']} of {leg['leg']}"
            print(f"still open: {held}, valued at the last close; its exits were cancelled")
    print()
    print(f"journal: {record['journal']['path']}")
    print(f"report: {ended.folder / 'report.md'}", flush=True)
