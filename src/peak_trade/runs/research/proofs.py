"""The check of a strategy as evidence: three proofs tried over bars, what frictions cost it, and all of it written down.

Invariant: whatever a check comes to is written down, for this very version; costs are measured and decide about nothing here.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.governance.ladder import StrategyVersion
from peak_trade.model.clock import RunId, moment_text
from peak_trade.research.determinism import Determinism, prove_determinism
from peak_trade.research.probe import Probe
from peak_trade.research.proofs import Causality, Leak, Rule, Warmup, check_size, prove_causality, prove_warmup
from peak_trade.runs.acts import tell_evidence
from peak_trade.runs.configured import configured_params
from peak_trade.runs.proven import CHECK
from peak_trade.runs.record import Json
from peak_trade.runs.research.frictions import measure_frictions
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.sessions.evidence import digits
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, make

#: The names of the proofs, as the criteria of the gates have them.
CAUSALITY, WARMUP, DETERMINISM = "causality", "warmup", "determinism"
#: The newest bars of a longer period are taken, but at least so many times the warm-up: it is asked thousands of times.
BARS_MOST, WARMUPS_MOST = 20_000, 6
#: Longest sentence of evidence.
WORDS_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRequest:
    """What is to be proven: a strategy with the parameters given, over which bars, with how many cuts and which seed."""

    strategy: str
    params: Mapping[str, Value]
    data: DataChoice
    cuts: int
    seed: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """What came of it, with the ids of the evidence of each proof, and of the whole check.

    Attributes:
        costs: what was asked of the backtest with a bar of delay, missed fills and higher costs.
        dataset: facts of the chosen bars. bars: how many of them, the newest, were used. first, last: their open times.
    """

    strategy: Strategy
    version: StrategyVersion
    symbol: str
    timeframe: str
    dataset: Json
    bars: int
    first: str
    last: str
    seed: int
    causality: Causality
    warmup: Warmup
    determinism: Determinism
    costs: tuple[Probe, ...]
    evidence: dict[str, RunId]

    @property
    def hold(self) -> bool:
        """Whether all three do."""
        return not self.bad

    @property
    def bad(self) -> tuple[str, ...]:
        """The proofs that don't hold."""
        found = {"causality": self.causality.causal, "warm-up": self.warmup.enough, DETERMINISM: self.determinism.holds}
        return tuple(name for name, holds in found.items() if not holds)

    @property
    def why(self) -> str:
        """Why the first of them does not, or nothing."""
        return self.causality.words or self.warmup.words or self.determinism.words

    @property
    def verdict(self) -> str:
        """What it comes to, in a line."""
        if self.bad:
            return f"failed: {', '.join(self.bad)}"
        open_ = [line.title for line in self.costs if not line.holds]
        costs = "it stands later fills, missed fills and higher costs"
        return "passed: causal, warm-up long enough, deterministic; " + (
            f"its result does not stand: {', '.join(open_).lower()}" if open_ else costs
        )

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        causality, warmup = self.causality, self.warmup
        return {
            "strategy": self.strategy.key,
            "params": self.strategy.model_dump(mode="json"),
            "version": {"params_sha256": self.version.params_sha256, "code_sha256": self.version.code_sha256},
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "dataset": self.dataset,
            "bars": self.bars,
            "first": self.first,
            "last": self.last,
            "seed": self.seed,
            "hold": self.hold,
            "verdict": self.verdict,
            "evidence": self.evidence[CHECK],
            CAUSALITY: {
                "holds": causality.causal,
                "cuts": causality.cuts,
                "stretch": causality.stretch,
                "futures": causality.futures,
                "changes": causality.changes,
                "exposed": causality.exposed,
                "first_bad": None if causality.first is None else _leak(causality.first),
                "reason": causality.words,
                "evidence": self.evidence[CAUSALITY],
            },
            WARMUP: {
                "holds": warmup.enough,
                "declared": warmup.declared,
                "needed": warmup.needed,
                "longest": warmup.longest,
                "starts": warmup.starts,
                "stays_out": warmup.stays_out,
                "edges": warmup.edges,
                "example": warmup.example,
                "reason": warmup.words,
                "evidence": self.evidence[WARMUP],
            },
            DETERMINISM: {
                "holds": self.determinism.holds,
                "asked": self.determinism.asked,
                "processes": self.determinism.processes,
                "ways": self.determinism.ways,
                "reason": self.determinism.words,
                "evidence": self.evidence[DETERMINISM],
            },
            "costs": [asdict(line) for line in self.costs],
        }


def prove(parts: Parts, request: ProofRequest) -> Proofs:
    """Try the proofs, measure what frictions cost, and write down what they came to.

    Raises:
        InputError: strategy, data or cuts don't fit, or the strategy's source can't be read.
        StorageError: the evidence could not be written down.
    """
    strategy = make(request.strategy, configured_params(parts, request.strategy, request.params))
    version = version_of(strategy)
    dataset = research_data(parts, request.data)
    declared = strategy.warmup()
    bars = dataset.bars[-max(BARS_MOST, WARMUPS_MOST * declared) :]
    check_size(bars, declared)
    rule = Rule.of(strategy)
    # A seed of its own for each, so that what one draws does not depend on the others.
    chances = [random.Random(f"{request.seed} {suite}") for suite in (CAUSALITY, WARMUP, DETERMINISM)]  # noqa: S311 - to be repeated
    causality = prove_causality(rule, bars, declared, chances[0], request.cuts)
    warmup = prove_warmup(rule, bars, declared, chances[1]) if causality.causal else Warmup.untried(declared)
    [determinism] = prove_determinism([strategy], bars, chances[2], parts.settings.environment())
    # A rule that sees the future, or answers otherwise each time, has no result whose costs could be told.
    sound = causality.causal and determinism.holds
    costs = measure_frictions(parts, strategy, dataset, request.data, request.seed) if sound else ()
    subject = Subject(strategy=version, symbols=(bars.instrument.symbol,))
    facts = dataset_facts(dataset)
    common: dict[str, Fact] = {
        "params_sha256": version.params_sha256,
        "dataset_sha256": facts["sha256"],
        "bars": len(bars),
        "seed": request.seed,
    }
    told = {CAUSALITY: _of_causality(causality), WARMUP: _of_warmup(warmup), DETERMINISM: _of_determinism(determinism)}
    passed = causality.causal and warmup.enough and determinism.holds
    told[CHECK] = {"passed": passed, **{line.name: digits(line.found) for line in costs if line.found is not None}}
    evidence = {
        suite: tell_evidence(parts, EvidenceKind.TEST_RUN, {"suite": suite, **common, **found}, subject, request.by)
        for suite, found in told.items()
    }
    return Proofs(
        strategy=strategy,
        version=version,
        symbol=bars.instrument.symbol,
        timeframe=bars.timeframe.label,
        dataset=facts,
        bars=len(bars),
        first=moment_text(int(bars.timestamp[0])),
        last=moment_text(int(bars.timestamp[-1])),
        seed=request.seed,
        causality=causality,
        warmup=warmup,
        determinism=determinism,
        costs=costs,
        evidence=evidence,
    )


def _of_causality(found: Causality) -> dict[str, Fact]:
    """Return the facts of evidence; the names are those of the policy's criterion."""
    return {
        "causal": found.causal,
        "cuts": found.cuts,
        "stretch": found.stretch,
        "futures": found.futures,
        "changes": found.changes,
        "first_bad": found.words[:WORDS_MAX],
    }


def _of_warmup(found: Warmup) -> dict[str, Fact]:
    tried = f"more than {found.longest}" if found.longest else "unknown"
    return {
        "warmup_enough": found.enough,
        "declared": found.declared,
        "needed": tried if found.needed is None else found.needed,
        "longest": found.longest,
        "starts": found.starts,
        "stays_out": found.stays_out,
        "edges": found.edges,
        "first_bad": found.words[:WORDS_MAX],
    }


def _of_determinism(found: Determinism) -> dict[str, Fact]:
    return {
        "deterministic": found.holds,
        "asked": found.asked,
        "processes": found.processes,
        "ways": found.ways,
        "first_bad": found.words[:WORDS_MAX],
    }


def _leak(found: Leak) -> Json:
    values = {"without": found.without, "with": found.found}
    plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {
        "bar": found.bar,
        "at": found.at,
        "until": found.until,
        "future": found.future,
        "made_up": found.made_up,
        **plain,
    }
