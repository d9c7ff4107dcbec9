"""A portfolio as a run: several strategies on several markets, registered, reproducible, each leg counted as a trial.

A leg is a strategy on a market; it is called `STRATEGY@SYMBOL`, and `STRATEGY#2@SYMBOL` where the strategy is there with
other parameters already.

Invariant: a leg counts as what it is, a trial of its strategy with its parameters and the portfolio's terms on its market
and period; alone it would count the same. Its figures in the ledger are those that it has alone.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_bytes, write_text
from peak_trade.journal.registry import RunFilter, stamp
from peak_trade.journal.run import Run, RunStatus, Trial, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.backtest import Result, backtest, plain_terms
from peak_trade.research.portfolio import Allotting, LegPaths, Portfolio, Sleeve, portfolio
from peak_trade.research.terms import Terms
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import (
    PORTFOLIO,
    Json,
    document_of,
    exact_choice,
    provenance,
    recorded_data,
    steps_of,
    tried_on,
    versions_of,
)
from peak_trade.runs.research.backtest import TEAR_SHEET
from peak_trade.runs.research.research_data import research_data
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.buy_and_hold import BuyAndHold
from peak_trade.strategy.catalogue import Value, find, make

#: Legs of one portfolio; a matrix of more can't be read.
LEGS_MAX = 100
#: Characters that the registry keeps of the names of all strategies, and of all symbols.
NAMES_MAX = 255
#: Registered portfolios that are looked at to count the different ones.
LISTED_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioRequest:
    """What a portfolio needs: strategies with the parameters given, markets, terms, and how the cash is allotted.

    Attributes:
        weights: of each leg, by market, then by strategy; where they are given.
    """

    strategies: tuple[tuple[str, Mapping[str, Value]], ...]
    markets: tuple[DataChoice, ...]
    terms: Terms
    allotting: Allotting
    weights: tuple[float, ...] | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What a portfolio goes over, from a request or from a registered run; `names` are those of the legs."""

    datasets: tuple[Dataset, ...]
    sleeves: tuple[Sleeve, ...]
    names: tuple[str, ...]
    terms: Terms
    allotting: Allotting

    def result(self) -> Portfolio:
        """Run it."""
        return portfolio([one.bars for one in self.datasets], self.sleeves, self.terms, self.allotting)

    def beside(self) -> Portfolio:
        """Buy every market with the same share of the cash at the first chance and keep it: same costs, no exits."""
        held = [Sleeve(strategy=BuyAndHold(), symbol=place) for place in range(len(self.datasets))]
        return portfolio([one.bars for one in self.datasets], held, plain_terms(self.terms), Allotting())

    def alone(self) -> list[Result]:
        """Run each leg with all of the cash."""
        return [backtest(self.datasets[item.symbol].bars, item.strategy, self.terms) for item in self.sleeves]

    def dataset_sha256(self) -> str:
        """Return one hash over the bars of all markets."""
        return sha256_of([[one.bars.instrument.symbol, one.bars.sha256()] for one in self.datasets])


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioDone:
    """A finished portfolio: its record (the JSON document), what it gave, buy and hold beside it, and its folder."""

    record: Json
    result: Portfolio
    yardstick: Portfolio
    paths: LegPaths
    folder: Path


def run_portfolio(parts: Parts, request: PortfolioRequest) -> PortfolioDone:
    """Run a portfolio, register it and write its folder, all but its HTML page.

    Raises:
        InputError, DataError: strategies, data, weights or terms don't fit; a strategy that fails while running is
            registered as failed.
        SafetyRefused: the period reaches into a hold-out.
        StorageError: the disk or the registry refused.
    """
    begun = parts.clock.elapsed_s()
    mixture = _mixture(parts, request)
    run = _planned(parts, request, mixture)
    try:
        result = mixture.result()
        alone = mixture.alone()
    except StrategyError as error:
        parts.registry.add(replace(_ended(parts, run, begun, RunStatus.FAILED), error=str(error), trials=0))
        raise
    ended = replace(
        _ended(parts, run, begun, RunStatus.COMPLETED), metrics=result.metrics.figures(), result_sha256=result.sha256()
    )
    tries = [
        (tried_on(mixture.datasets[item.symbol], request.terms), [_trial(place, item.strategy, found)])
        for place, (item, found) in enumerate(zip(mixture.sleeves, alone, strict=True))
    ]
    parts.registry.add_over(ended, tries)
    # As it is kept: its objects in the order in which a report that is written anew finds them.
    return finished_portfolio(parts, parts.registry.get(run.run_id), mixture, result, alone)


def recorded_mixture(parts: Parts, run: Run) -> Mixture:
    """Return what a registered portfolio went over, with the trading steps of then."""
    spec = run.spec
    datasets = [recorded_data(parts, item["choice"], item["instrument"]) for item in spec["data"]]
    places = {one.bars.instrument.symbol: place for place, one in enumerate(datasets)}
    return Mixture(
        datasets=tuple(datasets),
        sleeves=tuple(
            Sleeve(strategy=make(leg["strategy"], leg["params"]), symbol=places[leg["symbol"]], weight=leg["weight"])
            for leg in spec["legs"]
        ),
        names=tuple(leg["name"] for leg in spec["legs"]),
        terms=Terms.from_json(spec["terms"]),
        allotting=Allotting.from_json(spec["allotting"]),
    )


def mixed_versions(mixture: Mixture) -> dict[str, str]:
    """Return everything outside data and specification that can change a result; the code of each strategy by its name."""
    found: dict[str, str] = {}
    for name, item in zip(mixture.names, mixture.sleeves, strict=True):
        own = versions_of(item.strategy)
        code = own.pop("strategy")
        found |= own | {f"strategy {name.rpartition('@')[0]}": code}
    return found


def labels_of(keys: Sequence[str]) -> list[str]:
    """Return what the strategies of a portfolio are called: their keys, with a number from the second of the same on."""
    found: list[str] = []
    for place, key in enumerate(keys):
        before = keys[:place].count(key)
        found.append(f"{key}#{before + 1}" if before else key)
    return found


def leg_names(strategies: Sequence[str], symbols: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all legs, by market, then by strategy.

    Raises:
        StrategyError: there is no such strategy.
    """
    labels = labels_of([find(name).key for name in strategies])
    return tuple(f"{label}@{symbol}" for symbol in symbols for label in labels)


def _mixture(parts: Parts, request: PortfolioRequest) -> Mixture:
    legs = len(request.strategies) * len(request.markets)
    if not 1 <= legs <= LEGS_MAX:
        raise InputError(f"expected 1 to {LEGS_MAX} legs, a strategy on a symbol each, found {legs}; name fewer of either")
    kinds = [make(name, configured_params(parts, name, params)) for name, params in request.strategies]
    datasets = tuple(research_data(parts, choice) for choice in request.markets)
    symbols = [one.bars.instrument.symbol for one in datasets]
    weights = request.weights or (None,) * legs
    if len(weights) != legs:
        raise InputError(f"expected {legs} weights, one for each leg, found {len(weights)}; correct them")
    sleeves = [
        Sleeve(strategy=kind, symbol=place, weight=weights[place * len(kinds) + number])
        for place in range(len(datasets))
        for number, kind in enumerate(kinds)
    ]
    return Mixture(
        datasets=datasets,
        sleeves=tuple(sleeves),
        names=leg_names([kind.key for kind in kinds], symbols),
        terms=request.terms,
        allotting=request.allotting,
    )


def _planned(parts: Parts, request: PortfolioRequest, mixture: Mixture) -> Run:
    first = mixture.datasets[0].bars
    symbols = [one.bars.instrument.symbol for one in mixture.datasets]
    strategies = _joined("strategies", [item.strategy.key for item in mixture.sleeves])
    markets = _joined("symbols", symbols)
    legs = [
        {
            "name": name,
            "strategy": item.strategy.key,
            "params": item.strategy.model_dump(mode="json"),
            "symbol": symbols[item.symbol],
            "weight": item.weight,
        }
        for name, item in zip(mixture.names, mixture.sleeves, strict=True)
    ]
    spec = {
        "run_type": PORTFOLIO,
        "legs": legs,
        "data": [
            {
                "choice": exact_choice(choice, one).to_json(),
                "dataset_sha256": one.bars.sha256(),
                "instrument": steps_of(one),
            }
            for choice, one in zip(request.markets, mixture.datasets, strict=True)
        ],
        "allotting": request.allotting.to_json(),
        "terms": request.terms.to_json(),
    }
    told = provenance(parts, mixture.sleeves[0].strategy) | {"versions": mixed_versions(mixture)}
    return Run(
        run_id=parts.ids.next_run(),
        run_type=PORTFOLIO,
        status=RunStatus.STARTED,
        strategy=strategies,
        symbol=markets,
        timeframe=first.timeframe.label,
        params={str(leg["name"]).rpartition("@")[0]: leg["params"] for leg in legs},
        spec=spec,
        dataset_sha256=mixture.dataset_sha256(),
        started_at=stamp(parts.clock.now()),
        trials=len(legs),
        tags=request.tags,
        **told,
    )


def _joined(what: str, names: Sequence[str]) -> str:
    """Return different names as the registry keeps them, with a plus between.

    Raises:
        InputError: they are too long together.
    """
    text = "+".join(dict.fromkeys(names))
    if len(text) > NAMES_MAX:
        raise InputError(
            f"expected {what} with names of at most {NAMES_MAX} characters together, found {len(text)}; name fewer"
        )
    return text


def _ended(parts: Parts, run: Run, begun: float, status: RunStatus) -> Run:
    return replace(run, status=status, finished_at=stamp(parts.clock.now()), elapsed_s=parts.clock.elapsed_s() - begun)


def _trial(place: int, strategy: Strategy, found: Result) -> Trial:
    params = strategy.model_dump(mode="json")
    return Trial(number=place, params=params, metrics=found.metrics._asdict(), strategy=strategy.key)


def finished_portfolio(parts: Parts, run: Run, mixture: Mixture, result: Portfolio, alone: Sequence[Result]) -> PortfolioDone:
    """Put buy and hold beside a registered portfolio and write the run's folder, all but its HTML page."""
    from peak_trade.report.portfolio_facts import portfolio_facts
    from peak_trade.report.portfolio_text import portfolio_markdown

    paths, beside = result.paths(), mixture.beside()
    record = document_of(parts, run, _facts(mixture, result), mixture.terms, mixture.datasets[0]) | {
        "legs": [leg | {"alone": found.metrics._asdict()} for leg, found in zip(run.spec["legs"], alone, strict=True)],
        "allotting": run.spec["allotting"],
        "spec": dict(run.spec),
        "datasets": {one.bars.instrument.symbol: dataset_facts(one) for one in mixture.datasets},
        "trials": run.trials,
        "trials_on_dataset": _trials(parts, mixture),
        "portfolios_tried": _different(parts, run),
        "metrics": result.metrics._asdict(),
        "benchmark": beside.metrics._asdict(),
        "remarks": _remarks(mixture, result),
        **portfolio_facts(result, mixture.names, paths),
    }
    done = PortfolioDone(record=record, result=result, yardstick=beside, paths=paths, folder=parts.reports / run.run_id)
    write_text(done.folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(done.folder / "report.md", portfolio_markdown(record))
    write_text(done.folder / "trades.csv", _trade_frame(mixture, result).write_csv())
    write_text(done.folder / "weights.csv", weight_frame(result, mixture.names).write_csv())
    buffer = io.BytesIO()
    equity_table(result, mixture.names, paths).write_parquet(buffer)
    write_bytes(done.folder / "equity.parquet", buffer.getvalue())
    return done


def write_portfolio_sheet(done: PortfolioDone) -> Path:
    """Draw the portfolio's page into its folder."""
    from peak_trade.report.portfolio_sheet import portfolio_html

    path = done.folder / TEAR_SHEET
    write_text(path, portfolio_html(done.record, done.result, done.yardstick, done.paths))
    return path


def equity_table(result: Portfolio, names: Sequence[str], paths: LegPaths) -> pl.DataFrame:
    """Return timestamp (UTC), equity and the profit of each leg so far at each close, quote currency."""
    columns = {f"profit {name}": column for name, column in zip(names, paths.profits.T, strict=True)}
    return timed({"timestamp": result.timestamp, "equity": result.equity} | columns)


def weight_frame(result: Portfolio, names: Sequence[str]) -> pl.DataFrame:
    """Return the weights of the legs by timestamp (UTC) of the date at which they were renewed."""
    return timed({"timestamp": result.weighed} | dict(zip(names, result.weights.T, strict=True)))


def timed(columns: Mapping[str, object]) -> pl.DataFrame:
    """Return columns as a frame, their timestamps (nanoseconds UTC) as times."""
    return pl.DataFrame(dict(columns)).with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))


def _facts(mixture: Mixture, result: Portfolio) -> Json:
    """Return what the run says of all its data together; bars are the steps, the union of all times."""
    every = [dataset_facts(one) for one in mixture.datasets]
    symbols = [one.bars.instrument.symbol for one in mixture.datasets]
    kinds: dict[str, int] = {}
    for facts in every:
        for kind, count in facts["gaps"]["by_kind"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    return {
        "sha256": mixture.dataset_sha256(),
        "bars": len(result.timestamp),
        "first": moment_text(int(result.timestamp[0])),
        "last": moment_text(int(result.timestamp[-1])),
        "gaps": {
            **{name: sum(facts["gaps"][name] for facts in every) for name in ("holes", "missing_bars")},
            "by_kind": dict(sorted(kinds.items())),
        },
        "origin": "; ".join(f"{symbol}: {facts['origin']}" for symbol, facts in zip(symbols, every, strict=True)),
        "accepted": sorted({str(code) for facts in every for code in facts["accepted"]}),
        "notes": [f"{note} ({symbol})" for symbol, facts in zip(symbols, every, strict=True) for note in facts["notes"]],
    }


def _trials(parts: Parts, mixture: Mixture) -> Json:
    """Return how many trials there are on the markets, added up."""
    found = [parts.registry.count_trials(tried_on(one, mixture.terms)) for one in mixture.datasets]
    return {"total": sum(total for total, _ in found), "different": sum(different for _, different in found)}


def _different(parts: Parts, run: Run) -> int:
    """Return how many different portfolios were completed that share a market and a part of the period with the run."""
    own = _extents(run)
    seen = {run.spec_sha256}
    for other in parts.registry.find(RunFilter(run_type=PORTFOLIO, status=RunStatus.COMPLETED.value), LISTED_MAX):
        theirs = _extents(other)
        shared = own.keys() & theirs.keys()
        if any(own[key][0] < theirs[key][1] and theirs[key][0] < own[key][1] for key in shared):
            seen.add(other.spec_sha256)
    return len(seen)


def _extents(run: Run) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the period of each market, nanoseconds UTC, the end excluded; none where the specification is damaged."""
    try:
        choices = [item["choice"] for item in run.spec["data"]]
        return {
            (one["symbol"], one["timeframe"]): (nanoseconds(parse_moment(one["start"])), nanoseconds(parse_moment(one["end"])))
            for one in choices
        }
    except (LookupError, TypeError, ValueError):
        return {}


def _remarks(mixture: Mixture, result: Portfolio) -> list[str]:
    """Return what a reader should know of legs that did nothing, and of cash that nobody was given."""
    found = []
    for place, (name, item) in enumerate(zip(mixture.names, mixture.sleeves, strict=True)):
        bars, warmup = result.markets[item.symbol], item.strategy.warmup()
        if warmup > len(bars):
            found.append(f"the warm-up of {name}, {warmup:,} bars, is longer than the data of {len(bars):,}")
        elif not len(result.trips[place]):
            found.append(f"{name} never opened a position")
    if result.metrics.orders_skipped:
        found.append(f"{result.metrics.orders_skipped:,} orders were under the minimum, or no cash was left for them")
    given = [item.weight for item in mixture.sleeves if item.weight is not None]
    if given and sum(given) < 1.0 - 1e-9:
        found.append(f"the weights given are {sum(given):.4g} together; the rest stayed cash")
    return found


def _trade_frame(mixture: Mixture, result: Portfolio) -> pl.DataFrame:
    """Return the round trips of all legs in order of entry; times in UTC, money in quote currency, empty while open."""
    found = [(trade.entry_bar, place, trade) for place, trips in enumerate(result.trips) for trade in trips.trades()]
    stamps = result.timestamp
    rows = [
        (
            number,
            mixture.names[place],
            "long" if trade.side > 0 else "short",
            moment_text(int(stamps[trade.entry_bar])),
            None if trade.exit_bar is None else moment_text(int(stamps[trade.exit_bar])),
            trade.quantity,
            trade.entry_price,
            trade.exit_price,
            trade.profit,
            trade.fees,
            trade.reason,
        )
        for number, (_, place, trade) in enumerate(sorted(found, key=lambda row: row[:2]), 1)
    ]
    words, numbers = pl.String, pl.Float64
    schema = {"number": pl.Int64, "leg": words, "side": words, "entry_time": words, "exit_time": words}
    schema |= dict.fromkeys(("quantity", "entry_price", "exit_price", "profit", "fees"), numbers)
    return pl.DataFrame(rows, schema=schema | {"reason": words}, orient="row")
