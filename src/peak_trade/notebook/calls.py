"""The calls of a notebook: bars, backtest, sweep, walk-forward, portfolio and check.

Each opens the project (the folder of `config.toml`, here or above), does what the command of the same name does, and closes
it. Outside of a project the same happens in a folder that is gone when Python ends.
"""

import atexit
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from peak_trade.compose import DataChoice, Parts
from peak_trade.model.bar import F64, Bars
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import InputError, SafetyRefused
from peak_trade.notebook.frames import LoadedBars, choice_of
from peak_trade.notebook.function_rule import FunctionRule
from peak_trade.notebook.results import Mixed, Proven, SweepTable, Tested, Walk, WalkPaths, market_title
from peak_trade.research.backtest import backtest as tried_once
from peak_trade.research.backtest import yardstick
from peak_trade.research.grid import made_plan
from peak_trade.research.portfolio import Allotting, Weighing
from peak_trade.research.proofs import Rule, Warmup, check_size, prove_causality, prove_warmup
from peak_trade.research.search import Method, SearchPlan
from peak_trade.research.splits import GroupPlan, Length, Scheme, WalkPlan
from peak_trade.research.sweep import COMBINATIONS_MAX
from peak_trade.research.terms import Terms
from peak_trade.runs.acts import machine_user
from peak_trade.runs.configured import configured_terms, side_of
from peak_trade.runs.research.backtest import BacktestRequest, run_backtest
from peak_trade.runs.research.combinatorial import FanRequest, run_combinatorial
from peak_trade.runs.research.grid_runs import unseen
from peak_trade.runs.research.portfolio import PortfolioRequest, run_portfolio
from peak_trade.runs.research.proofs import ProofRequest, prove
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.research.sweep import SweepRequest, run_sweep
from peak_trade.runs.research.walk_forward import WalkRequest, run_walk_forward
from peak_trade.settings import in_project, load_config
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, catalogue, made
from peak_trade.strategy.sizing import Sizing

Moment = str | date
#: A strategy: its key in the catalogue, its class, one that is made, or a function from bars to targets.
Rules = str | type[Strategy] | Strategy | Callable[[Bars], F64]
Done = TypeVar("Done")
#: The mark of runs outside of a project; their pages show it.
UNKEPT = ("not registered",)
#: The same limits as the command line's.
SEED_MAX = 2**32 - 1
WORKERS_MAX = 256
#: More bars than any history has.
BARS_MAX = 10_000_000


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
        start, end: the first bar opens at or after, the last one before; UTC text, a date, or an aware datetime.

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
    strategy: Rules,
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
        strategy: key in the catalogue; a Strategy, made or its class; or a function from bars to a target after each close.
            What the catalogue does not have is never registered.
        params: of the strategy; what is left out keeps the configured value, else its default.
        registered: True insists on it; False is for outside of a project. In one, every try of a strategy counts.

    Raises:
        InputError, DataError: strategy, data or terms don't fit.
        SafetyRefused: the period reaches into the hold-out, or a try in a project was not to count.
    """
    asked, given = _asked(strategy, params)
    plain = isinstance(asked, Strategy)
    with _opened(registered=None if plain else registered) as (parts, counts):
        choice = _during(choice_of(parts, data, symbol, timeframe), start, end)
        found = _terms(parts, terms)
        if isinstance(asked, Strategy):
            _refuse_counting(registered=registered)
            bars = research_data(parts, choice).bars
            result = tried_once(bars, asked, found)
            title = market_title(result.strategy, result)
            return Tested(title=title, registered=False, result=result, beside=yardstick(bars, found))
        request = BacktestRequest(strategy=asked, params=given, data=choice, terms=found, tags=_marks(tags, counts=counts))
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
    plan = made_plan(_keyed(strategy), _gridded(grid), constraints, metric)
    with _opened(registered=registered) as (parts, counts):
        request = SweepRequest(
            plan=plan,
            search=_search(search, trials, seed),
            data=_during(choice_of(parts, data, symbol, timeframe), start, end),
            terms=_terms(parts, terms),
            count=_whole(workers, "workers", WORKERS_MAX) or parts.settings.file.sweep.workers,
            chunk_s=parts.settings.file.sweep.chunk_s,
            tags=_marks(tags, counts=counts),
        )
        done = _ended(run_sweep(parts, request, unseen, threading.Event()))
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
    scheme: str = "rolling",
    train: str | int = "365d",
    test: str | int = "90d",
    embargo: str | int = 0,
    anchored: bool = False,
    groups: int = 6,
    held: int = 2,
    purge: str | int | None = None,
    flat: bool = False,
    afresh: bool = False,
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
) -> Walk | WalkPaths:
    """Choose parameters on one stretch, trade them on the next, and join what came of it.

    Interrupted, the same call goes on where it ended.

    Args:
        grid, constraints, metric, workers: see `sweep`.
        scheme: rolling, anchored (choose on everything from the first bar on; `anchored=True` says the same) or combinatorial.
        train, test, embargo: lengths such as `365d`, or numbers of bars; of a combinatorial one only the embargo.
        groups, held, purge: of a combinatorial one: into how many groups bars are cut, how many are held out at a time, and
            the length left out beside these; None is the longest warm-up.
        flat: close positions at the end of each test stretch. afresh: begin anew, whatever was interrupted.

    Raises:
        InputError, DataError, SafetyRefused: see `backtest`.
    """
    plan = made_plan(_keyed(strategy), _gridded(grid), constraints, metric)
    kinds = [item.value for item in Scheme]
    if scheme not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as scheme, found {scheme!r}; choose one")
    after = Length.parse(_length(embargo, "embargo"), "embargo", zero=True)
    apart = None if purge is None else Length.parse(_length(purge, "purge"), "purge", zero=True)
    with _opened(registered=registered) as (parts, counts):
        common: dict[str, Any] = {
            "plan": plan,
            "flat_borders": flat,
            "afresh": afresh,
            "data": _during(choice_of(parts, data, symbol, timeframe), start, end),
            "terms": _terms(parts, terms),
            "count": _whole(workers, "workers", WORKERS_MAX) or parts.settings.file.sweep.workers,
            "chunk_s": parts.settings.file.sweep.chunk_s,
            "tags": _marks(tags, counts=counts),
        }
        if scheme == Scheme.COMBINATORIAL.value:
            cut = GroupPlan(groups=groups, held=held, purge=apart, embargo=after)
            fanned = _ended(run_combinatorial(parts, FanRequest(cut=cut, **common)))
            kept = fanned.folder if counts else None
            title = _market(plan.strategy, fanned.record)
            return WalkPaths(title=title, registered=counts, record=fanned.record, fan=fanned.fan, folder=kept)
        walk = WalkPlan(
            train=Length.parse(_length(train, "train"), "train"),
            test=Length.parse(_length(test, "test"), "test"),
            embargo=after,
            anchored=anchored or scheme == Scheme.ANCHORED.value,
        )
        done = _ended(run_walk_forward(parts, WalkRequest(walk=walk, **common)))
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
    """Run every strategy on every market with one cash account; the figures are those of `peak-trade portfolio`.

    Each pair is a leg, and counts as a trial of its strategy on its market.

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
    for name, items in (("markets", markets), ("strategies", strategies), ("weights", () if weights is None else weights)):
        if isinstance(items, str) or not (hasattr(items, "__len__") and hasattr(items, "__iter__")):
            raise InputError(f"expected a list as {name}, found {items!r}; put it into one")
    numbers: dict[str, object] = {"correlation_most": correlation_most, "symbol_most": symbol_most, "total_most": total_most}
    for name, value in [*numbers.items(), *(("weights", weight) for weight in (() if weights is None else weights))]:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f"expected numbers as {name}, found {value!r}; correct it")
    if weights is not None and len(weights) != len(markets) * len(strategies):
        raise InputError(f"expected {len(markets) * len(strategies)} weights, one for each pair, found {len(weights)}")
    if not all(isinstance(one, LoadedBars) for one in markets):
        raise InputError("expected what load_bars returned as markets, found something else; load each first")
    plan = Allotting(
        weighing=Weighing(weighing),
        every=_whole(every, "every", BARS_MAX),
        resized=resized,
        lookback=_whole(lookback, "lookback", BARS_MAX),
        correlation_most=correlation_most,
        symbol_most=symbol_most,
        total_most=total_most,
    )
    with _opened() as (parts, counts):
        request = PortfolioRequest(
            strategies=tuple(_pair(item) for item in strategies),
            markets=tuple(one.choice for one in markets),
            terms=_terms(parts, terms),
            allotting=plan,
            weights=None if weights is None else tuple(float(weight) for weight in weights),
            tags=_marks(tags, counts=counts),
        )
        done = run_portfolio(parts, request)
        return Mixed(
            registered=counts,
            result=done.result,
            beside=done.yardstick,
            paths=done.paths,
            record=done.record,
            folder=done.folder if counts else None,
        )


def check(
    data: Any,
    strategy: Rules,
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
    """Try to prove a strategy wrong: that it uses later bars, needs more warm-up than it declares, or is left to chance.

    Args:
        warmup: bars that a function needs; a strategy of the catalogue says so itself.
        cuts: places at which the future is exchanged. seed: another one tries other places.

    Raises:
        InputError, DataError, SafetyRefused: see `backtest`; also with too few bars.
    """
    asked, given = _asked(strategy, params, warmup)
    if warmup and not isinstance(asked, FunctionRule):
        raise InputError("expected warmup with a function, found it with a strategy, which declares its own; leave it out")
    with _opened() as (parts, counts):
        choice = _during(choice_of(parts, data, symbol, timeframe), start, end)
        if isinstance(asked, Strategy):
            bars, before = research_data(parts, choice).bars, asked.warmup()
            check_size(bars, before)
            chances = [random.Random(f"{seed} {name}") for name in ("causality", "warmup")]  # noqa: S311 - to be repeated
            causality = prove_causality(Rule.of(asked), bars, before, chances[0], cuts)
            found = prove_warmup(Rule.of(asked), bars, before, chances[1]) if causality.causal else Warmup.untried(before)
            title = "a function" if isinstance(asked, FunctionRule) else asked.key
            return Proven(title=title, causality=causality, warmup=found, evidence={})
        request = ProofRequest(strategy=asked, params=given, data=choice, cuts=cuts, seed=seed, by=machine_user())
        proofs = prove(parts, request)
        return Proven(
            title=f"{proofs.strategy.key} on {proofs.symbol} {proofs.timeframe}",
            causality=proofs.causality,
            warmup=proofs.warmup,
            evidence=proofs.evidence if counts else {},
            determinism=proofs.determinism,
        )


def _ended(done: Done | None) -> Done:
    """Return what is finished.

    Raises:
        InputError: it was stopped.
    """
    if done is None:
        raise InputError("expected a finished run, found one that was stopped; the same call goes on with it")
    return done


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


def _asked(strategy: Rules, params: Mapping[str, Value] | None, warmup: int = 0) -> tuple[str | Strategy, dict[str, Value]]:
    """Return key and parameters of what the catalogue has, else a rule that no registry can know.

    Raises:
        InputError: it is no strategy; StrategyError: its parameters don't fit.
    """
    if params is not None and not isinstance(params, Mapping):
        raise InputError(f'expected parameters by their names, such as {{"window": 20}}, found {params!r}; correct them')
    if not isinstance(warmup, int) or warmup < 0:
        raise InputError(f"expected a warmup of zero bars or more, found {warmup!r}; correct it")
    given = dict(params or {})
    if isinstance(strategy, str):
        return strategy, given
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return (strategy.key, given) if _listed_there(strategy) else (made(strategy, given), {})
    if not callable(strategy) and not isinstance(strategy, Strategy):
        raise InputError(f"expected the key of a strategy, a Strategy or a function, found {strategy!r}; pass one of them")
    if given:
        what = "a strategy that is made" if isinstance(strategy, Strategy) else "a function"
        raise InputError(f"expected no parameters with {what}, found some; put them into it")
    if isinstance(strategy, Strategy):
        # One of the catalogue counts as a trial however it is named.
        return (strategy.key, strategy.model_dump(mode="json")) if _listed_there(type(strategy)) else (strategy, {})
    return FunctionRule(rule=strategy, bars_before=warmup), {}


def _listed_there(kind: type[Strategy]) -> bool:
    """Tell whether the catalogue has this very class."""
    return kind in catalogue().values()


def _keyed(strategy: object) -> str:
    """Return the key of a strategy that has to be in the catalogue."""
    kind = strategy if isinstance(strategy, type) else type(strategy)
    if isinstance(strategy, str):
        return strategy
    if isinstance(strategy, type) and issubclass(kind, Strategy) and _listed_there(kind):
        return kind.key
    raise InputError(
        f"expected the key of a strategy in the catalogue, found {strategy!r}; peak-trade strategies list has them"
    )


def _refuse_counting(*, registered: bool | None) -> None:
    if registered:
        raise InputError(
            "expected a strategy of the catalogue to register, found a rule that is not in it and has no version; write it as "
            "a package (docs/guide/write_a_strategy.md), or leave registered out"
        )


def _pair(item: str | tuple[str, Mapping[str, Value]]) -> tuple[str, Mapping[str, Value]]:
    """Return key and parameters of a sleeve."""
    if isinstance(item, str):
        return item, {}
    if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], Mapping)):
        raise InputError(f"expected keys of strategies, or pairs of key and parameters, found {item!r}; correct it")
    return _keyed(item[0]), item[1]


def _terms(parts: Parts, words: TermWords) -> Terms:
    """Return the configured terms with what a call says over them."""
    given: dict[str, Any] = dict(words)
    unknown = sorted(set(given) - set(TermWords.__annotations__))
    if unknown:
        known = ", ".join(TermWords.__annotations__)
        raise InputError(f"expected terms by the names {known}, found {unknown[0]}; correct it")
    for name, value in given.items():
        if TermWords.__annotations__[name] is float:
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InputError(f"expected a number as {name}, found {value!r}; correct it")
            # 10 and 10.0 are the same terms, and the same trial.
            given[name] = float(value)
    if "initial_cash" in given:
        try:
            given["cash"] = Decimal(str(given.pop("initial_cash")))
        except InvalidOperation as error:
            raise InputError(f"expected an amount of money as initial_cash, found {words['initial_cash']!r}") from error
    if "sizing" in given:
        given["sizing"] = Sizing.parse(str(given["sizing"]))
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
        return parse_moment(value.isoformat() if isinstance(value, date) else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"expected a date like 2018-01-01 or 2018-01-01T12:00 as {name}, found {value!r}; correct it"
        ) from error


def _length(value: str | int, name: str) -> str:
    """Return a length as the command line has it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"expected a length like 365d, 12h or a number of bars as {name}, found {value!r}; correct it")
    return str(value)


def _whole(value: int, name: str, most: int) -> int:
    """Return a whole number that is none or more."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"expected a whole number from 0 to {most} as {name}, found {value!r}; correct it")
    return value


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
    return SearchPlan(
        method=Method(name), trials=_whole(trials, "trials", COMBINATIONS_MAX), seed=_whole(seed, "seed", SEED_MAX)
    )


def _gridded(grid: Mapping[str, object]) -> dict[str, object]:
    """Return a grid with ranges, tuples and arrays as lists of plain numbers."""
    if not isinstance(grid, Mapping):
        raise InputError(f'expected a grid such as {{"window": [10, 20]}}, found {grid!r}; correct it')
    return {name: _listed(name, values) for name, values in grid.items()}


def _listed(name: str, values: object) -> object:
    if isinstance(values, range | tuple) and len(values) > COMBINATIONS_MAX:
        raise InputError(f"expected up to {COMBINATIONS_MAX:,} values of {name}, found {len(values):,}; choose a coarser grid")
    if hasattr(values, "tolist"):
        return values.tolist()
    return list(values) if isinstance(values, range | tuple) else values


def _marks(tags: Sequence[str], *, counts: bool) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise InputError(f"expected a list of tags, found the text {tags[:80]!r}; write [{tags[:80]!r}]")
    for tag in tags:
        if not isinstance(tag, str):
            raise InputError(f"expected a tag of 1 to 64 printable characters, found {tag!r}; correct it")
        if not tag.strip() or len(tag) > 64 or not tag.isprintable():
            raise InputError(f"expected a tag of 1 to 64 printable characters, found {tag[:80]!r}; shorten or correct it")
    return (*dict.fromkeys(tags), *(() if counts else UNKEPT))


def _market(strategy: str, record: Mapping[str, Any]) -> str:
    return f"{strategy} on {record['symbol']} {record['timeframe']}, {record['dataset']['bars']:,} bars"
