"""Everything that is known of one strategy on one market, on one page: what a risk officer reads before signing.

Invariant: every line is the newest of its kind, whatever it says; it names the run or act that it comes from.
"""

from collections.abc import Callable, Iterator

from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind
from peak_trade.journal.registry import RunFilter
from peak_trade.journal.run import Run, RunStatus, sha256_of
from peak_trade.model.errors import NotFound, PeakTradeError
from peak_trade.report.figures import decimal, percent, plural
from peak_trade.report.probe_facts import failed_lines
from peak_trade.report.regime_facts import regime_sentence
from peak_trade.runs.acts import EVIDENCE, Done, done
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import BACKTEST, HOLDOUT, VERDICT, WALK_FORWARD, Json
from peak_trade.runs.research.again import record_of
from peak_trade.runs.research.proofs import CAUSALITY, DETERMINISM, WARMUP
from peak_trade.runs.research.regimes import REGIMES
from peak_trade.runs.research.robustness import ROBUSTNESS
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.catalogue import find, make

#: What a strategy's check proves; these are acts and not runs.
PROOFS = (CAUSALITY, WARMUP, DETERMINISM)
#: Kinds of evidence in the order in which a reader asks for them.
KINDS = (*PROOFS, BACKTEST, WALK_FORWARD, VERDICT, ROBUSTNESS, REGIMES, HOLDOUT)
#: The newest runs of a strategy that are looked through for its markets.
_RUNS_MAX = 500
#: What evidence can say: it speaks for the strategy, against it, has to be read by a person, or is not there.
GOOD, BAD, OPEN, MISSING = "good", "bad", "open", "missing"


def strategy_evidence(parts: Parts, key: str, symbol: str = "") -> Json:
    """Return the newest evidence of each kind, and what was tried over time, as a JSON object.

    Args:
        key: of the strategy, or its other name. symbol: of the market; empty is that of its newest run.

    Raises:
        NotFound: there is no such strategy, or nothing was ever run with it on that market.
        StorageError: the registry can't be read.
    """
    key = _key(key)
    newest = parts.registry.find(RunFilter(strategy=key), _RUNS_MAX)
    markets = list(dict.fromkeys(run.symbol for run in newest if run.run_type in KINDS or run.trials))
    symbol = symbol or next(iter(markets), "")
    if symbol and symbol not in markets:
        raise NotFound(
            f"expected a market on which {key} was run, found {symbol!r}; there are {', '.join(markets) or 'none yet'}"
        )
    now = _version_now(parts, key)
    if not newest and not now["code_sha256"]:
        raise NotFound(f"expected a strategy, found {key!r}; peak-trade strategies list shows all")
    return {
        "strategy": key,
        "symbol": symbol,
        "markets": markets,
        "params_sha256": now["params_sha256"],
        "code_sha256": now["code_sha256"],
        "lines": [*_proofs(parts, key, symbol, now), *_runs(parts, key, symbol, now)],
        "tried": parts.registry.tried_over_time(key, symbol) if symbol else [],
    }


def _key(name: str) -> str:
    """Return the key of a strategy, by any of its names; one that is not installed any more keeps the name it ran under."""
    try:
        return find(name).key
    except PeakTradeError:
        return name


def _version_now(parts: Parts, key: str) -> dict[str, str]:
    """Return the hashes of the strategy as it is configured today; empty where it is not installed or not whole."""
    try:
        found = version_of(make(key, configured_params(parts, key, {})))
    except PeakTradeError:
        return {"params_sha256": "", "code_sha256": ""}
    return {"params_sha256": found.params_sha256, "code_sha256": found.code_sha256}


def _line(kind: str, answer: str, words: str, **more: object) -> Json:
    told: Json = {"kind": kind, "answer": answer, "words": words}
    return told | dict.fromkeys(("run_id", "params", "params_sha256", "timeframe", "first", "last", "at", "code_same")) | more


def _proofs(parts: Parts, key: str, symbol: str, now: dict[str, str]) -> Iterator[Json]:
    """Yield a line for each of the proofs: the newest that was written down for this strategy and market."""
    acts = [act for act in done(parts) if act.action == EVIDENCE and act.went_well and _about(act, key, symbol)]
    for suite, (fact, worded) in _PROVEN.items():
        found = next((act for act in reversed(acts) if _facts(act).get("suite") == suite), None)
        if found is None:
            yield _line(suite, MISSING, f"never proven: peak-trade strategy check {key}")
            continue
        told = _facts(found)
        yield _line(
            suite,
            GOOD if told.get(fact) is True else BAD,
            worded(told),
            params_sha256=told.get("params_sha256"),
            at=found.last.at,
            code_same=found.begun.body["subject"]["strategy"]["code_sha256"] == now["code_sha256"],
        )


def _causal_words(told: Json) -> str:
    if told.get("causal") is True:
        return (
            f"uses nothing after its bar: {told.get('cuts'):,} cuts and {told.get('futures'):,} altered futures changed nothing"
        )
    return f"looks ahead: {told.get('first_bad')}"


def _warmup_words(told: Json) -> str:
    if told.get("warmup_enough") is True:
        return (
            f"the declared warm-up of {plural(int(told.get('declared') or 0), 'bar')} is enough ({told.get('needed')} needed)"
        )
    return f"the declared warm-up is too short: {told.get('first_bad')}"


def _steady_words(told: Json) -> str:
    if told.get("deterministic") is True:
        return f"decides the same whenever it is asked: {told.get('asked')} times in {told.get('ways')} ways"
    return f"is left to chance: {told.get('first_bad')}"


#: The fact that says whether a proof holds, and what it says in words.
_PROVEN: dict[str, tuple[str, Callable[[Json], str]]] = {
    CAUSALITY: ("causal", _causal_words),
    WARMUP: ("warmup_enough", _warmup_words),
    DETERMINISM: ("deterministic", _steady_words),
}


def _about(act: Done, key: str, symbol: str) -> bool:
    subject = act.begun.body.get("subject") or {}
    if act.begun.body.get("kind") != EvidenceKind.TEST_RUN.value:
        return False
    return bool(subject.get("strategy", {}).get("key") == key and symbol in subject.get("symbols", ()))


def _facts(act: Done) -> Json:
    return dict(act.last.body.get("facts") or {})


def _runs(parts: Parts, key: str, symbol: str, now: dict[str, str]) -> Iterator[Json]:
    """Yield a line for each kind of run: the newest that was completed."""
    for kind in KINDS[len(PROOFS) :]:
        where = RunFilter(run_type=kind, strategy=key, symbol=symbol, status=RunStatus.COMPLETED.value)
        found = parts.registry.find(where, 1) if symbol else []
        if not found:
            yield _line(kind, MISSING, "never done")
            continue
        run = found[0]
        answer, words = _said(parts, run)
        data = run.spec.get("data", {})
        # What was chosen anew in each window has no parameters of its own.
        params = None if kind == WALK_FORWARD else dict(run.params)
        yield _line(
            kind,
            answer,
            words,
            run_id=run.run_id,
            params=params,
            params_sha256=None if params is None else sha256_of(params),
            timeframe=run.timeframe,
            first=data.get("start"),
            last=data.get("end"),
            at=run.finished_at,
            code_same=bool(now["code_sha256"]) and run.versions.get("strategy") == now["code_sha256"],
        )


def _said(parts: Parts, run: Run) -> tuple[str, str]:
    """Return what a run says for or against its strategy, in words."""
    told = run.metrics.get
    if run.run_type == VERDICT:
        return _verdict(parts, run)
    if run.run_type == ROBUSTNESS:
        record = record_of(parts, run)
        robust = told("robust") == 1.0
        more = "" if record is None else f", on a {record['shape']} of its parameters"
        lost = f"; {percent(told('histories'), 0)} of drawn histories lose"
        return (GOOD if robust else BAD), ("robust" if robust else "not robust") + more + lost
    if run.run_type == WALK_FORWARD:
        words = f"{percent(told('total_return'))} out of sample; {percent(told('windows_with_profit'), 0)} of "
        words += f"{plural(int(told('windows') or 0), 'window')} with a profit; "
        return OPEN, f"{words}efficiency {percent(told('efficiency'), 0)}"
    earned = f"{percent(told('total_return'))}, Sharpe ratio {decimal(told('sharpe'), 2)}, "
    earned += f"deepest drawdown {percent(told('max_drawdown'))}, {plural(int(told('num_trades') or 0), 'closed trade')}"
    if run.run_type == REGIMES:
        record = record_of(parts, run)
        if record is not None:
            return OPEN, regime_sentence(record)
        return OPEN, earned
    if run.run_type == HOLDOUT:
        return OPEN, f"on bars kept back: {earned}"
    return OPEN, earned


def _verdict(parts: Parts, run: Run) -> tuple[str, str]:
    """Return a verdict's answer; where its folder does not say what was registered, what the registry has of it."""
    count = plural(int(run.metrics.get("tried", 0)), "trial")
    record = record_of(parts, run)
    if run.metrics.get("edge") == 1.0:
        return GOOD, f"edge, after {count}"
    if record is None:
        return BAD, f"no edge or not enough data, after {count}; peak-trade report {run.run_id} writes the whole answer anew"
    failed = ", ".join(failed_lines(record))
    return (OPEN if record["answer"] == "not enough data" else BAD), f"{record['answer']}, after {count}; what fails: {failed}"
