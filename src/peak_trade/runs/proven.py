"""Whether a strategy version passed its check, and who may run without: asked of the record, which costs no new check.

Invariant: what is installed beside Peak_Trade follows no market before its very version passed; a change of its code or its
parameters asks for another check. What failed last follows none, wherever it comes from.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.ladder import StrategyVersion
from peak_trade.model.errors import CheckFailed, SafetyRefused
from peak_trade.runs.acts import EVIDENCE, done
from peak_trade.runs.strategy_version import OURS, version_of
from peak_trade.strategy.base import Strategy

#: The suite of the whole check, among the facts of evidence.
CHECK = "strategy_check"


class ProvenState(NamedTuple):
    """What the newest check of a version came to: `passed` is None and `evidence` empty where there was none."""

    version: StrategyVersion
    passed: bool | None
    evidence: str
    at: str


def proven_state(parts: Parts, strategy: Strategy) -> ProvenState:
    """Return what the newest check of this very version came to.

    Raises:
        CheckFailed: the journal of operators is not as it was written. InputError: the strategy's source can't be read.
    """
    version = version_of(strategy)
    for act in reversed(done(parts)):
        if act.action != EVIDENCE or not act.went_well or act.begun.body["kind"] != EvidenceKind.TEST_RUN.value:
            continue
        facts, subject = act.last.body["facts"], act.begun.body["subject"]
        if facts.get("suite") == CHECK and subject and msgspec.convert(subject, Subject).strategy == version:
            return ProvenState(version, facts.get("passed") is True, act.segment, act.last.at)
    return ProvenState(version, None, "", "")


def check_command(strategy: Strategy) -> str:
    """Return what to type for a check of a strategy with its parameters."""
    usual = type(strategy).model_construct().model_dump(mode="json")
    other = {name: value for name, value in strategy.model_dump(mode="json").items() if value != usual.get(name)}
    words = [f"--param {name}={value}" for name, value in other.items() if isinstance(value, int | float | str)]
    return " ".join([f"peak-trade strategy check {strategy.key}", *words])


def is_ours(strategy: Strategy) -> bool:
    """Tell whether a strategy and all that it is made of are built in, which our own tests prove."""
    kinds = type(strategy).__module__.partition(".")[0] == OURS
    return kinds and all(is_ours(part) for part in strategy.parts())


def unproven(parts: Parts, strategies: Iterable[Strategy]) -> list[str]:
    """Return in sentences what keeps strategies from following a market: no check of an installed one, or one that failed."""
    found = []
    for strategy in strategies:
        try:
            state = proven_state(parts, strategy)
        except CheckFailed:
            # Where the record is damaged nothing is proven, and what is built in is proven by our tests.
            if is_ours(strategy):
                continue
            raise
        if state.passed or (state.passed is None and is_ours(strategy)):
            continue
        what = "no check of it" if state.passed is None else f"that its check failed (evidence {state.evidence})"
        found.append(
            f"expected a passed check of this version of {strategy.key} (code {state.version.code_sha256[:12]}, parameters "
            f"{state.version.params_sha256[:12]}), found {what}: {check_command(strategy)}"
        )
    return found


def check_proven(parts: Parts, strategies: Iterable[Strategy]) -> None:
    """Let strategies pass that may follow a market.

    Raises:
        SafetyRefused: one may not; the sentence says what to type.
    """
    if found := unproven(parts, strategies):
        raise SafetyRefused(found[0])
