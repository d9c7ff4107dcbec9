"""The calls of a notebook: bars, backtest, sweep, walk-forward, portfolio and check.

Each opens the project (the folder of `config.toml`, here or above), does what the command of the same name does (a portfolio
has none), and closes it. Outside of a project the same happens in a folder that is gone when Python ends.
"""

import atexit
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

from peak_trade.compose import DataChoice, Parts
from peak_trade.model.bar import F64, Bars
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import InputError, SafetyRefused
from peak_trade.notebook.frames import LoadedBars, choice_of
from peak_trade.notebook.function_rule import FunctionRule
from peak_trade.notebook.results import Mixed, Proven, SweepTable, Tested, Walk, market_title
from peak_trade.research.backtest import backtest as tried_once
from peak_trade.research.backtest import yardstick
from peak_trade.research.grid import made_plan
from peak_trade.research.portfolio import Allotting, Sleeve, Weighing
from peak_trade.research.portfolio import portfolio as run_portfolio
from peak_trade.research.proofs import Rule, Warmup, check_size, prove_causality, prove_warmup
from peak_trade.research.search import Method, SearchPlan
from peak_trade.research.splits import Length, WalkPlan
from peak_trade.research.terms import Terms
from peak_trade.runs.acts import machine_user
from peak_trade.runs.configured import configured_params, configured_terms, side_of
from peak_trade.runs.research.backtest import BacktestRequest, run_backtest
from peak_trade.runs.research.proofs import ProofRequest, prove
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.research.sweep import SweepRequest, run_sweep
from peak_trade.runs.research.walk_forward import WalkRequest, run_walk_forward
from peak_trade.settings import in_project, load_config
from peak_trade.strategy.catalogue import Value, make
from peak_trade.strategy.sizing import Sizing

Moment = str | datetime
#: The mark of runs outside of a project; their pages show it.
UNKEPT = ("not registered",)


class TermWords(TypedDict, total=False):
    """What a call may say of cash, costs, sizing and exits; the rest is the configuration's.

    Units are those of the command line: quote currency, basis points, fractions of a price.
    """

    initial_cash: str | float | Decimal
    fee_bps: float
    slippage_bps: float
    sizing: str
    side: str
    stop_loss: float
    take_profit: float
    trailing_stop: float
    fills: str
    max_volume_share: float
    delay_bars: int


def load_bars(
    data: Any = None,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
) -> LoadedBars:
    """Load bars as research may read them: checked, and without what a hold-out keeps back.

    Args:
        data: path of a CSV or Parquet file, or a pandas or polars frame; None takes symbol and timeframe from the project's
            data or the bundled samples.
        symbol: pair, such as `BTC/EUR`. timeframe: length of a bar, such as `1h`.
        start, end: the first bar opens at or after, the last one before; UTC text or an aware datetime.

    Raises:
        InputError, DataError: there are no such bars, or a check fails.
        SafetyRefused: the period reaches into the hold-out.
    """
    with _opened() as (parts, _):
        choice = _during(choice_of(parts, data, symbol, timeframe), start, end)
        dataset = research_data(parts, choice)
        bars = dataset.bars
        return LoadedBars(
            dataset=dataset, choice=replace(choice, symbol=bars.instrument.symbol, timeframe=bars.timeframe.label)
        )


def backtest(
    data: Any,
    strategy: str | Callable[[Bars], F64],
    params: Mapping[str, Value] | None = None,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    tags: Sequence[str] = (),
    registered: bool | None = None,
    **terms: Unpack[TermWords],
) -> Tested:
    """Run a strategy over bars, with costs; the figures are those of `peak-trade backtest`.

    Args:
        data: see `load_bars`; also what that returned.
        strategy: key in the catalogue, or a function from bars to a target after each close, which is never registered.
        params: of the strategy; what is left out keeps the configured value, else its default.
        registered: True insists on it; False is for outside of a project. In one, every try of a strategy counts.

    Raises:
        InputError, DataError: strategy, data or terms don't fit.
        SafetyRefused: the period reaches into the hold-out, or a try in a project was not to count.
    """
    plain = callable(strategy)
    with _opened(registered=None if plain else registered) as (parts, counts):
        choice = _during(choice_of(parts, data, symbol, timeframe), start, end)
        found = _terms(parts, terms)
        if callable(strategy):
            _refuse_counting(params, registered=registered)
            bars = research_data(parts, choice).bars
            result = tried_once(bars, FunctionRule(rule=strategy), found)
            title = market_title(result.strategy, result)
            return Tested(title=title, registered=False, result=result, beside=yardstick(bars, found))
        request = BacktestRequest(
            strategy=strategy, params=dict(params or {}), data=choice, terms=found, tags=_marks(tags, counts=counts)
        )
        done = run_backtest(parts, request)
        return Tested(
            title=market_title(done.result.strategy, done.result),
            registered=counts,
            result=done.result,
            beside=done.yardstick,
            record=done.record,
            folder=done.folder if counts else None,
        )


def sweep(
    data: Any,
    strategy: str,
    grid: Mapping[str, object],
    *,
    constraints: Sequence[str] = (),
    metric: str = "sharpe",
    search: str = "grid",
    trials: int | None = None,
    seed: int = 0,
    workers: int = 0,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    tags: Sequence[str] = (),
    registered: bool | None = None,
    **terms: Unpack[TermWords],
) -> SweepTable:
    """Try combinations of parameters; each counts as a trial. Interrupted, the same call goes on where it ended.

    Args:
        grid: by parameter a list, range or array of values, one value, or `{"start": 5, "stop": 50, "step": 5}`, stop included.
        constraints: such as `fast_window < slow_window`.
        metric: what ranks. search: grid, random or tpe; `trials` and `seed` go with the last two.
        workers: how many threads; 0 is one a core.

    Raises:
        InputError, DataError, SafetyRefused: see `backtest`.
    """
    plan = made_plan(strategy, {name: _listed(values) for name, values in grid.items()}, constraints, metric)
    with _opened(registered=registered) as (parts, counts):
        request = SweepRequest(
            plan=plan,
            search=_search(search, trials, seed),
            data=_during(choice_of(parts, data, symbol, timeframe), start, end),
            terms=_terms(parts, terms),
            count=workers or parts.settings.file.sweep.workers,
            chunk_s=parts.settings.file.sweep.chunk_s,
            tags=_marks(tags, counts=counts),
        )
        done = run_sweep(parts, request, lambda _done, _before, _total: None, threading.Event())
        if done is None:
            raise InputError("expected a finished sweep, found one that was stopped; the same call goes on with it")
        return SweepTable(
            title=_market(plan.strategy, done.record),
            registered=counts,
            record=done.record,
            rows=done.rows,
            folder=done.folder if counts else None,
        )


def walk_forward(
    data: Any,
    strategy: str,
    grid: Mapping[str, object],
    *,
    train: str = "365d",
    test: str = "90d",
    embargo: str = "0",
    anchored: bool = False,
    flat: bool = False,
    constraints: Sequence[str] = (),
    metric: str = "sharpe",
    workers: int = 0,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    tags: Sequence[str] = (),
    registered: bool | None = None,
    **terms: Unpack[TermWords],
) -> Walk:
    """Choose parameters on one stretch, trade them on the next, and join what came of it.

    Args:
        grid, constraints, metric, workers: see `sweep`.
        train, test, embargo: lengths such as `365d`, or a number of bars as text.
        anchored: choose on everything from the first bar on. flat: close positions at the end of each test stretch.

    Raises:
        InputError, DataError, SafetyRefused: see `backtest`.
    """
    plan = made_plan(strategy, {name: _listed(values) for name, values in grid.items()}, constraints, metric)
    walk = WalkPlan(
        train=Length.parse(train, "train"),
        test=Length.parse(test, "test"),
        embargo=Length.parse(embargo, "embargo", zero=True),
        anchored=anchored,
    )
    with _opened(registered=registered) as (parts, counts):
        request = WalkRequest(
            plan=plan,
            walk=walk,
            flat_borders=flat,
            data=_during(choice_of(parts, data, symbol, timeframe), start, end),
            terms=_terms(parts, terms),
            count=workers or parts.settings.file.sweep.workers,
            tags=_marks(tags, counts=counts),
        )
        done = run_walk_forward(parts, request)
        return Walk(
            title=_market(plan.strategy, done.record),
            registered=counts,
            record=done.record,
            journey=done.journey,
            folder=done.folder if counts else None,
        )


def portfolio(
    markets: Sequence[Any],
    strategies: Sequence[str | tuple[str, Mapping[str, Value]]],
    *,
    weighing: str = "equal",
    weights: Sequence[float] | None = None,
    every: int = 24,
    resized: bool = False,
    lookback: int = 100,
    correlation_most: float = 1.0,
    symbol_most: float = 1.0,
    total_most: float = 1.0,
    tags: Sequence[str] = (),
    **terms: Unpack[TermWords],
) -> Mixed:
    """Run every strategy on every market with one cash account.

    In a project each pair is registered as a backtest of its own first, because it is tried; the portfolio is no run itself.

    Args:
        markets: of each symbol what `load_bars` returned.
        strategies: keys in the catalogue, or pairs of key and parameters.
        weighing: equal, inverse_volatility or given; `weights` go with the last, by market, then by strategy.
        every, resized, lookback, correlation_most, symbol_most, total_most: see `research.portfolio.Allotting`.

    Raises:
        InputError, DataError, SafetyRefused: see `backtest`; also where symbols don't go together, or weights are wrong.
    """
    kinds = [item.value for item in Weighing]
    if weighing not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as weighing, found {weighing!r}; choose one")
    if (weighing == Weighing.GIVEN.value) != (weights is not None):
        raise InputError(
            f'expected weights with weighing="given" alone, found {weighing} {"with" if weights else "without"} them'
        )
    if weights is not None and len(weights) != len(markets) * len(strategies):
        raise InputError(f"expected {len(markets) * len(strategies)} weights, one for each pair, found {len(weights)}")
    if not all(isinstance(one, LoadedBars) for one in markets):
        raise InputError("expected what load_bars returned as markets, found something else; load each first")
    plan = Allotting(
        weighing=Weighing(weighing),
        every=every,
        resized=resized,
        lookback=lookback,
        correlation_most=correlation_most,
        symbol_most=symbol_most,
        total_most=total_most,
    )
    with _opened() as (parts, counts):
        found = _terms(parts, terms)
        named = [(item, {}) if isinstance(item, str) else item for item in strategies]
        sleeves = [
            Sleeve(strategy=make(name, configured_params(parts, name, params)), symbol=place)
            for place in range(len(markets))
            for name, params in named
        ]
        if weights is not None:
            sleeves = [replace(item, weight=float(weight)) for item, weight in zip(sleeves, weights, strict=True)]
        bars = [research_data(parts, one.choice).bars for one in markets]
        runs = []
        for item in sleeves if counts else ():
            asked = BacktestRequest(
                strategy=item.strategy.key,
                params=item.strategy.model_dump(mode="json"),
                data=markets[item.symbol].choice,
                terms=found,
                tags=_marks((*tags, "portfolio"), counts=counts),
            )
            runs.append(str(run_backtest(parts, asked).record["run_id"]))
        return Mixed(result=run_portfolio(bars, sleeves, found, plan), runs=tuple(runs))


def check(
    data: Any,
    strategy: str | Callable[[Bars], F64],
    params: Mapping[str, Value] | None = None,
    *,
    warmup: int = 0,
    cuts: int = 64,
    seed: int = 1,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
) -> Proven:
    """Try to prove a strategy wrong: that it uses later bars, or needs more warm-up than it declares.

    Args:
        warmup: bars that a function needs; a strategy of the catalogue says so itself.
        cuts: places at which the future is exchanged. seed: another one tries other places.

    Raises:
        InputError, DataError, SafetyRefused: see `backtest`; also with too few bars.
    """
    with _opened() as (parts, counts):
        choice = _during(choice_of(parts, data, symbol, timeframe), start, end)
        if callable(strategy):
            _refuse_counting(params)
            rule, bars = FunctionRule(rule=strategy, bars_before=warmup), research_data(parts, choice).bars
            check_size(bars, warmup)
            chances = [random.Random(f"{seed} {name}") for name in ("causality", "warmup")]  # noqa: S311 - to be repeated
            causality = prove_causality(Rule.of(rule), bars, warmup, chances[0], cuts)
            found = prove_warmup(Rule.of(rule), bars, warmup, chances[1]) if causality.causal else Warmup.untried(warmup)
            return Proven(title="a function", causality=causality, warmup=found, evidence={})
        if warmup:
            raise InputError(f"expected warmup with a function, found it with {strategy}, which declares its own; leave it out")
        request = ProofRequest(
            strategy=strategy, params=dict(params or {}), data=choice, cuts=cuts, seed=seed, by=machine_user()
        )
        proofs = prove(parts, request)
        return Proven(
            title=f"{proofs.strategy.key} on {proofs.symbol} {proofs.timeframe}",
            causality=proofs.causality,
            warmup=proofs.warmup,
            evidence=proofs.evidence if counts else {},
        )


@contextmanager
def _opened(*, registered: bool | None = None) -> Iterator[tuple[Parts, bool]]:
    """Open the project, or a folder that lasts as long as Python; tell whether what is done counts."""
    project = in_project()
    if project and registered is False:
        raise SafetyRefused(
            "expected a try that counts, found registered=False in a project: results are judged by how many were tried; "
            "leave it out, or work outside of the project's folder"
        )
    if not project and registered:
        raise InputError("expected a project to register in, found no config.toml here or above; go to its folder")
    parts = Parts(load_config(None if project else _throwaway()))
    try:
        yield parts, project
    finally:
        parts.close()


@cache
def _throwaway() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="peak_trade_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "config.toml"
    path.write_text("", "utf-8")
    return path


def _refuse_counting(params: Mapping[str, Value] | None, *, registered: bool | None = None) -> None:
    if registered:
        raise InputError(
            "expected a strategy of the catalogue to register, found a function, which has no version; write it as a Strategy "
            "(docs/guide/write_a_strategy.md), or leave registered out"
        )
    if params:
        raise InputError("expected no parameters with a function, found some; put them into the function")


def _terms(parts: Parts, words: TermWords) -> Terms:
    """Return the configured terms with what a call says over them."""
    given: dict[str, Any] = dict(words)
    unknown = sorted(set(given) - set(TermWords.__annotations__))
    if unknown:
        known = ", ".join(TermWords.__annotations__)
        raise InputError(f"expected terms by the names {known}, found {unknown[0]}; correct it")
    for name, value in given.items():
        if TermWords.__annotations__[name] is float:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"expected a number as {name}, found {value!r}; correct it")
            # 10 and 10.0 are the same terms, and the same trial.
            given[name] = float(value)
    if "initial_cash" in given:
        try:
            given["cash"] = Decimal(str(given.pop("initial_cash")))
        except InvalidOperation as error:
            raise InputError(f"expected an amount of money as initial_cash, found {words['initial_cash']!r}") from error
    if "sizing" in given:
        given["sizing"] = Sizing.parse(given["sizing"])
    if "side" in given:
        given["side"] = side_of(given["side"])
    return replace(configured_terms(parts), **given)


def _during(choice: DataChoice, start: Moment | None, end: Moment | None) -> DataChoice:
    """Narrow a choice to a period, within the one that it has already."""
    first, last = _moment(start, "start"), _moment(end, "end")
    if choice.start and first:
        first = max(first, choice.start)
    if choice.end and last:
        last = min(last, choice.end)
    found = replace(choice, start=first or choice.start, end=last or choice.end)
    if found.start and found.end and found.start >= found.end:
        raise InputError(f"expected start before end, found {found.start} and {found.end}; correct one")
    return found


def _moment(value: Moment | None, name: str) -> datetime | None:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InputError(f"expected {name} with a time zone, found {value}; add tzinfo, such as datetime.UTC")
        return value.astimezone(UTC)
    if value is None:
        return None
    try:
        return parse_moment(value)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"expected a date like 2018-01-01 or 2018-01-01T12:00 as {name}, found {value!r}; correct it"
        ) from error


def _search(name: str, trials: int | None, seed: int) -> SearchPlan:
    kinds = [item.value for item in Method]
    if name not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as search, found {name!r}; choose one")
    if Method(name) is Method.GRID:
        if trials is not None or seed:
            raise InputError(
                "expected trials and seed with a random or tpe search, found a grid, which tries all; leave them out"
            )
        return SearchPlan()
    if trials is None:
        raise InputError(f"expected trials with the search {name}, found none; say how many")
    return SearchPlan(method=Method(name), trials=trials, seed=seed)


def _listed(values: object) -> object:
    """Return ranges, tuples and arrays as lists of plain numbers."""
    if hasattr(values, "tolist"):
        return values.tolist()
    return list(values) if isinstance(values, range | tuple) else values


def _marks(tags: Sequence[str], *, counts: bool) -> tuple[str, ...]:
    for tag in tags:
        if not tag.strip() or len(tag) > 64 or not tag.isprintable():
            raise InputError(f"expected a tag of 1 to 64 printable characters, found {tag[:80]!r}; shorten or correct it")
    return (*dict.fromkeys(tags), *(() if counts else UNKEPT))


def _market(strategy: str, record: Mapping[str, Any]) -> str:
    return f"{strategy} on {record['symbol']} {record['timeframe']}, {record['dataset']['bars']:,} bars"
