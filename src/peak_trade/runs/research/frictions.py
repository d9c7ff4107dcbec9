"""What a bar of delay, missed fills and higher costs leave of a strategy's result: measured with its check, and counted.

Invariant: whoever sees a result has tried something, so that it counts as a trial like a backtest's.
"""

from dataclasses import asdict

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.market.dataset import Dataset
from peak_trade.research.backtest import backtest
from peak_trade.research.probe import Probe
from peak_trade.research.stress import StressLimits, frictions
from peak_trade.runs.configured import configured_terms
from peak_trade.runs.record import provenance, tried_on
from peak_trade.runs.research.backtest import BacktestRequest
from peak_trade.strategy.base import Strategy

FRICTIONS = "frictions"


def measure_frictions(parts: Parts, strategy: Strategy, dataset: Dataset, data: DataChoice, seed: int) -> tuple[Probe, ...]:
    """Backtest a strategy under the configured terms, ask what frictions cost it, and register that.

    Raises:
        StrategyError: the strategy failed. StorageError: the registry refused.
    """
    begun, started = parts.clock.elapsed_s(), parts.clock.now()
    terms = configured_terms(parts)
    result = backtest(dataset.bars, strategy, terms)
    limits = StressLimits(**parts.settings.file.robustness.model_dump())
    found = frictions(result, limits, seed)
    sha256 = dataset_facts(dataset)["sha256"]
    params = strategy.model_dump(mode="json")
    asked = BacktestRequest(strategy=strategy.key, params=params, data=data, terms=terms)
    run = Run(
        run_id=parts.ids.next_run(),
        run_type=FRICTIONS,
        status=RunStatus.COMPLETED,
        strategy=strategy.key,
        symbol=dataset.bars.instrument.symbol,
        timeframe=dataset.bars.timeframe.label,
        params=params,
        spec=asked.spec(strategy, dataset, sha256) | {"run_type": FRICTIONS, "limits": asdict(limits), "seed": seed},
        dataset_sha256=sha256,
        started_at=stamp(started),
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=1,
        result_sha256=result.sha256(),
        metrics=result.metrics.figures() | {line.name: line.found for line in found if line.found is not None},
        **provenance(parts, strategy),
    )
    trial = Trial(number=0, params=params, metrics=result.metrics._asdict())
    parts.registry.add(run, tried_on(dataset, terms), [trial])
    return found
