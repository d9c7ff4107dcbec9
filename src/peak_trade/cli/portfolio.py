"""`peak-trade portfolio`: several strategies on several symbols with one cash account."""

import re
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.compose import DataChoice, Parts
    from peak_trade.runs.research.portfolio import PortfolioDone
    from peak_trade.strategy.catalogue import Value

#: The word for weights that are given.
GIVEN = "given"
#: How weights may be found, as an option says it.
WEIGHTS = ("equal", "inverse-volatility", GIVEN)
_EXAMPLE = "ma_crossover:fast_window=10,slow_window=30"


def command(
    strategy: Annotated[list[str], typer.Option("--strategy", help=f"NAME, or with parameters {_EXAMPLE}; repeatable.")],
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="Pair, such as BTC/EUR; repeatable.")] = None,
    timeframe: options.TimeframeName = None,
    start: options.StartTime = None,
    end: options.EndTime = None,
    weights: Annotated[str, typer.Option("--weights", help="equal, inverse-volatility or given.")] = "equal",
    weight: Annotated[
        list[str] | None, typer.Option("--weight", help="STRATEGY@SYMBOL=0.3, with --weights given; one for each leg.")
    ] = None,
    every: Annotated[int, typer.Option("--every", help="Steps for which weights hold.")] = 24,
    resized: Annotated[bool, typer.Option("--resized", help="Resize positions whenever weights are renewed.")] = False,
    lookback: Annotated[int, typer.Option("--lookback", help="Returns that volatility and correlation are taken from.")] = 100,
    correlation: Annotated[
        float, typer.Option("--correlation-limit", help="Symbols above it share one allotment; 1 is off.")
    ] = 1.0,
    symbol_limit: Annotated[float, typer.Option("--symbol-limit", help="Most of the equity for one symbol.")] = 1.0,
    total_limit: Annotated[float, typer.Option("--exposure-limit", help="Most of the equity for all together.")] = 1.0,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    initial_cash: options.InitialCash = None,
    sizing: options.SizingText = None,
    side: options.SideName = None,
    stop_loss: options.StopLoss = None,
    take_profit: options.TakeProfit = None,
    trailing_stop: options.TrailingStop = None,
    tag: options.Tags = None,
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML report with its charts.")] = True,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Run every strategy on every symbol with one cash account, and register the result."""
    from peak_trade.cli.log import open_log
    from peak_trade.research.portfolio import Allotting, Weighing
    from peak_trade.runs.research.portfolio import PortfolioRequest, run_portfolio, write_portfolio_sheet

    if weights not in WEIGHTS:
        raise InputError(f"expected {', '.join(WEIGHTS)} as --weights, found {weights!r}; choose one")
    line = Given(
        timeframe=timeframe,
        start=start,
        end=end,
        fee_bps=fee_bps,
        slippage_bps=slippage_bps,
        initial_cash=initial_cash,
        sizing=sizing,
        side=side,
        stop_loss=stop_loss,
        take_profit=take_profit,
        trailing_stop=trailing_stop,
    )
    with closing(options.open_parts(config)) as parts:
        log = open_log(parts.settings, verbose=verbose)
        strategies = tuple(_strategy(text) for text in strategy)
        markets = _markets(parts, symbol, line)
        allotting = Allotting(
            weighing=Weighing(weights.replace("-", "_")),
            every=every,
            resized=resized,
            lookback=lookback,
            correlation_most=correlation,
            symbol_most=symbol_limit,
            total_most=total_limit,
        )
        request = PortfolioRequest(
            strategies=strategies,
            markets=markets,
            terms=options.choose_terms(parts, line),
            allotting=allotting,
            weights=_weights(weights, weight or [], [name for name, _ in strategies], [one.symbol or "" for one in markets]),
            tags=options.check_tags(tag),
        )
        log.info("portfolio begins", strategies=strategy, data=[one.to_json() for one in markets])
        done = run_portfolio(parts, request)
        log.info("portfolio registered", run_id=done.record["run_id"], elapsed_s=done.record["elapsed_s"])
        _print(done, as_json)
        if sheet:
            path = write_portfolio_sheet(done)
            log.info("report drawn", path=str(path))
            if not as_json:
                print(f"charts: {path}")


def _strategy(text: str) -> "tuple[str, dict[str, Value]]":
    """Read `NAME` or `NAME:PARAMETER=VALUE,PARAMETER=VALUE`; a value may be JSON with commas of its own.

    Raises:
        InputError: no name, or something after the colon that is no parameter.
    """
    name, colon, told = text.partition(":")
    if not name.strip() or "=" in name or (colon and not told.strip()):
        raise InputError(f"expected NAME or {_EXAMPLE} as --strategy, found {text!r}; correct it")
    # A comma divides parameters where a name and its sign follow it.
    parts = re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", told) if colon else []
    for part in parts:
        if not part.partition("=")[1]:
            raise InputError(f"expected {_EXAMPLE} as --strategy, found {part!r} without a sign; correct it")
    return name.strip(), options.parse_params(parts)


def _markets(parts: "Parts", symbols: list[str] | None, given: Given) -> "tuple[DataChoice, ...]":
    """Return which bars are meant; without a symbol those of the configuration."""
    from dataclasses import replace

    from peak_trade.model.instrument import parse_symbol

    plain = options.choose_data(parts, given)
    names = [parse_symbol(name) for name in symbols or [plain.symbol or ""]]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(f"expected each symbol once, found {name} twice; remove one")
    return tuple(replace(plain, symbol=name) for name in names)


def _weights(rule: str, texts: list[str], strategies: list[str], symbols: list[str]) -> tuple[float, ...] | None:
    """Return the weights of the legs in their order; None where they are not given.

    Raises:
        InputError: weights without `--weights given` or the other way round, a leg that there is not, none for a leg, or
            no number.
    """
    if rule != GIVEN:
        if texts:
            raise InputError(f"expected --weight with --weights given alone, found it with {rule}; leave one out")
        return None
    from peak_trade.runs.research.portfolio import leg_names

    legs = leg_names(strategies, symbols)
    found: dict[str, float] = {}
    for text in texts:
        name, sign, number = text.rpartition("=")
        if not sign or name.strip() not in legs:
            raise InputError(f"expected --weight LEG=0.3 for one of {', '.join(legs)}, found {text!r}; correct it")
        if name.strip() in found:
            raise InputError(f"expected each leg once, found {name.strip()} twice; remove one")
        try:
            found[name.strip()] = float(number)
        except ValueError as error:
            raise InputError(f"expected a number as the weight of {name.strip()}, found {number!r}; correct it") from error
    if missing := [name for name in legs if name not in found]:
        raise InputError(f"expected a weight for each leg, found none for {', '.join(missing)}; add --weight {missing[0]}=0.3")
    return tuple(found[name] for name in legs)


def _print(done: "PortfolioDone", as_json: bool) -> None:
    from peak_trade.cli.show import document, figure, printable, table, told_notes
    from peak_trade.report.figures import figure_label
    from peak_trade.report.portfolio_facts import LEG_HEADS, LIMIT_HEADS, leg_rows, limit_rows, tried_text

    record = done.record
    if as_json:
        print(document(record), flush=True)
        return
    quote, data = record["quote"], record["dataset"]
    print(f"{record['strategy']} on {record['symbol']} {record['timeframe']}")
    print(f"{data['bars']:,} steps from {data['first']} to {data['last']}")
    for code in data["accepted"]:
        print(f"warning: data was imported although the check {code} failed")
    print()
    told = (record["metrics"], record["benchmark"])
    rows = [(figure_label(name, quote), *(figure(name, part[name], quote) for part in told)) for name in told[0]]
    print(table(["", "portfolio", "buy and hold"], rows, right=(1, 2)))
    print()
    legs = [tuple(map(printable, row)) for row in leg_rows(record)]
    print(table([LEG_HEADS[0], f"{LEG_HEADS[1]}, {quote}", *LEG_HEADS[2:]], legs, right=range(1, len(LEG_HEADS))))
    print()
    print(table(list(LIMIT_HEADS), limit_rows(record), right=(1, 2, 4)))
    print(told_notes(record), end="")
    for remark in record["remarks"]:
        print(f"note: {printable(remark)}")
    print(tried_text(record))
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s")
    print(f"report: {done.folder / 'report.md'}", flush=True)
