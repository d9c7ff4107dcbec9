"""The checks of every stage: the machine, the code, the files, the configuration, and the exchange."""

import base64
import re
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from peak_trade.compose import Parts, code_in_use, code_sha256
from peak_trade.governance.criteria import EvidenceKind
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.instrument import parse_symbol
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import machine_user, tell_evidence
from peak_trade.runs.exchange_look import Silence
from peak_trade.runs.gates.repository import RUNBOOKS, missing_runbooks
from peak_trade.runs.holds_kept import lost_holds
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.testnet import readiness_gates, tested
from peak_trade.runs.testnet.health import check_all
from peak_trade.runs.testnet.profile import budget_of, remarks_on, terms_of
from peak_trade.runs.testnet.readiness import Grade, Look, Seen, StageCheck
from peak_trade.settings import split_key
from peak_trade.strategy.catalogue import find
from peak_trade.venue.kraken.reading import AssetPair

EVERY = frozenset({Stage.SHADOW, Stage.TESTNET, Stage.SHADOW_LIVE, Stage.LIVE})
REAL = frozenset({Stage.SHADOW_LIVE, Stage.LIVE})
TESTNET = frozenset({Stage.TESTNET})
EXCHANGE = TESTNET | REAL
#: The playbook's table 9.1, with what each stage needs of those below.
SECTIONS = {
    Stage.SHADOW: ("shadow", "shadow_paper", "live_risk"),
    Stage.TESTNET: (
        *("exchange", "exchange.kraken_testnet", "live_risk"),
        *("testnet_limits.run", "testnet_limits.daily", "testnet_limits.symbols", "testnet_profiles"),
    ),
    Stage.SHADOW_LIVE: ("live_exchange", "live_risk"),
    Stage.LIVE: ("exchange", "exchange.kraken_testnet", "testnet_limits", "live_exchange", "live_risk", "live"),
}
#: Rights that stage 2 needs of a key, in Kraken's words, and what each is for.
NEEDED = {
    "query-funds": "read the balance",
    "query-open-trades": "look for orders that should not be there",
    "query-closed-trades": "look for orders whose outcome is unknown",
    "modify-trades": "have orders validated",
    "close-trades": "cancel an order that should not be there",
}
#: Oldest result of tests, days.
TESTS_MAX_DAYS = 7.0
#: Our checkout, where this code runs from one.
ROOT = Path(__file__).resolve().parents[4]
PYTHON_MIN = (3, 11)


def try_tests(parts: Parts, stage: Stage, say: Callable[[str], None], *, every: bool) -> tested.TestResult:
    """Run the tests of a stage, or all; remember the result and write it down for the gates.

    Raises:
        InputError: there is no checkout to run them in. StorageError: the disk refused.
    """
    targets = () if every else tested.TARGETS.get(stage, ())
    say(f"running {', '.join(targets) or 'all tests'}")
    code = (code_in_use(), code_sha256())
    result = tested.run_tests(ROOT, targets, stage, code, parts.clock, parts.settings.environment())
    tested.keep_result(parts.state, result)
    suite = stage.value if targets else tested.ALL
    tell_evidence(parts, EvidenceKind.TEST_RUN, tested.facts_of(result, suite), None, machine_user())
    return result


def _ok(found: str) -> Seen:
    return Seen(Grade.OK, found)


def _sections(look: Look) -> Seen:
    settings = look.parts.settings
    wanted = SECTIONS[look.stage]
    missing = [name for name in wanted if not _holds(settings.raw, split_key(name))]
    if missing:
        return Seen(
            Grade.FAILED,
            f"{settings.path} lacks [{'], ['.join(missing)}]",
            "add each section, as config.toml of the repository has it",
        )
    for strategy in settings.file.testnet_profiles.values():
        find(strategy.strategy)
    return _ok(f"{settings.path} has {', '.join(wanted)}")


def _holds(node: object, names: list[str]) -> bool:
    for name in names:
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True


def _python(_look: Look) -> Seen:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return Seen(Grade.FAILED, f"Python {found}", "install Python 3.11 or newer, then make setup")
    if sys.prefix == sys.base_prefix:
        return Seen(Grade.WARNING, f"Python {found} outside of a virtual environment", "source .venv/bin/activate")
    return _ok(f"Python {found} in {sys.prefix}")


def _packages(_look: Look) -> Seen:
    path = ROOT / "requirements.lock"
    if not path.exists():
        return Seen(Grade.UNKNOWN, "there is no requirements.lock beside the code", "run this from a clone of the repository")
    wanted: dict[str, set[str]] = {}
    loose: set[str] = set()
    for name, pinned, marker in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)\s*(;)?", path.read_text("utf-8"), re.M):
        wanted.setdefault(name, set()).add(pinned)
        loose |= {name} if marker else set()
    wrong = []
    for name, versions in wanted.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = ""
        if found not in versions and (found or name not in loose):
            wrong.append(f"{name} {found or 'missing'} instead of {' or '.join(sorted(versions))}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Seen(Grade.WARNING, "; ".join(wrong[:3]) + more, "make setup")
    return _ok(f"{len(wanted)} packages as in requirements.lock")


def _health(component: str) -> Callable[[Look], Seen]:
    def look_at(look: Look) -> Seen:
        [found] = [one for one in check_all(look.parts) if one.component == component]
        if found.healthy:
            return _ok(found.found)
        words, _, todo = found.found.rpartition("; ")
        return Seen(Grade.FAILED, words or found.found, todo)

    return look_at


def _writable(look: Look) -> Seen:
    paths = look.parts.settings.file.paths
    folders = [look.parts.settings.folder(path) for path in (paths.state, paths.reports, paths.logs)]
    for folder in folders:
        present = folder
        while not present.exists():
            present = present.parent
        try:
            with tempfile.TemporaryFile(dir=present) as file:
                file.write(b"x")
        except OSError as error:
            return Seen(Grade.FAILED, f"{present} can't be written ({error.strerror})", "change its owner, mode or disk")
    return _ok(", ".join(map(str, folders)))


def _journal(look: Look) -> Seen:
    reports = verify_journals(look.parts, None)
    flaws = [flaw for report in reports for flaw in report.flaws]
    if not all(report.intact and report.complete for report in reports):
        return Seen(
            Grade.FAILED, f"{len(flaws)} flaws; the first: {flaws[0].words}", "peak-trade journal verify; keep the files"
        )
    records = sum(part.records for report in reports for part in report.segments)
    return _ok(f"{len(reports)} accounts, {records:,} records, unchanged and complete")


def _kept(look: Look) -> Seen:
    """Whether every hold is there that acts tell of; that an account is held is the restart's to say."""
    lost = lost_holds(look.parts)
    if lost:
        return Seen(Grade.FAILED, f"{lost[0]}, is gone", f"peak-trade resume {lost[0].account} puts it back")
    return _ok(f"as the acts tell; held are {', '.join(look.parts.holds.accounts()) or 'none'}")


def _kill_switch(look: Look) -> Seen:
    killed = look.parts.kill_switch.state()
    if killed is not None:
        return Seen(Grade.FAILED, str(killed), "once the cause is gone: peak-trade release --why TEXT")
    return _ok("off")


def _runbooks(look: Look) -> Seen:
    if missing := missing_runbooks(look.parts.settings.root, look.stage):
        return Seen(Grade.FAILED, f"docs/runbooks lacks {', '.join(missing)}", "take them from the repository")
    return _ok(f"{len(RUNBOOKS[look.stage])} pages in docs/runbooks")


def _tests(look: Look) -> Seen:
    again = f"python scripts/check_live_readiness.py --stage {look.stage.value} --run-tests"
    grade = Grade.FAILED if look.stage in REAL else Grade.WARNING
    result = tested.last_result(look.parts.state)
    if result is None:
        return Seen(grade, "the tests have not run", again)
    told = f"{result.passed:,} passed, {result.failed:,} failed, {result.skipped:,} skipped at {result.at} ({result.stage})"
    if not result.good:
        return Seen(Grade.FAILED, f"tests failed: {told}", "pytest -v for details, then " + again)
    if result.code_sha256 != code_sha256():
        return Seen(grade, f"they ran for other code, {result.commit[:12]}: {told}", again)
    if tested.age_of(result, look.parts.clock.now()) > TESTS_MAX_DAYS:
        return Seen(grade, f"they are over {TESTS_MAX_DAYS:g} days old: {told}", again)
    clean = "" if result.clean and code_in_use().clean else ", with changes that are not committed"
    if clean and look.stage in REAL:
        return Seen(Grade.FAILED, f"{result.commit[:12]}{clean}: {told}", "commit, then " + again)
    return _ok(f"{result.commit[:12]}{clean}: {told}")


def _venue(look: Look) -> Seen:
    if look.stage not in look.parts.stages():
        what = "no live venue" if look.stage is Stage.LIVE else "no venue of this version runs it"
        return Seen(
            Grade.FAILED, f"{look.stage.value}: {what}", "wait for a version that has one; a gate decides before it runs"
        )
    return _ok(f"{look.stage.value} has a venue")


def _permit(look: Look) -> Seen:
    if look.stage is Stage.LIVE and not look.parts.settings.file.live.enabled:
        return Seen(
            Grade.FAILED, "live.enabled is false, and a permit is needed besides", "a gate decides: peak-trade gate status"
        )
    return readiness_gates.permit(look)


# ---- the exchange ----------------------------------------------------------------------------------------------------------


def _credentials(look: Look) -> Seen:
    settings = look.parts.settings
    testnet = settings.file.exchange.kraken_testnet
    names = (testnet.api_key_env, testnet.api_secret_env)
    if isinstance(look.keys, PeakTradeError):
        raise look.keys
    key, secret = (settings.secret(name).reveal() for name in names)
    if len(look.keys.secret) != 64 or len(key) < 20:
        long = f"a key of {len(key)} characters and a secret of {len(base64.b64decode(secret))} bytes"
        return Seen(Grade.WARNING, f"{long}; Kraken's have 56 and 64", "compare them with what Kraken showed")
    return _ok(f"{names[0]} and {names[1]} are set; their values are not shown")


def _rights(look: Look) -> Seen:
    rights = look.exchange.rights
    if rights is None:
        return Seen(Grade.UNKNOWN, "without a key its rights can't be read", "set the credentials")
    if isinstance(rights, Silence):
        todo = "check that key and secret belong together, and that no session uses the key: docs/runbooks/api_errors.md"
        return Seen(Grade.UNKNOWN, rights.words, todo)
    if dangerous := [right for right in rights if "withdraw" in right]:
        todo = "make a key at Kraken without that right, and delete this one"
        return Seen(Grade.FAILED, f"the key may {', '.join(dangerous)}", todo)
    if lacking := [f"{right} (to {why})" for right, why in NEEDED.items() if right not in rights]:
        return Seen(Grade.FAILED, f"the key lacks {', '.join(lacking)}", "give it these rights at Kraken")
    if more := sorted(set(rights) - NEEDED.keys() - {"access-ws", "query-ledger"}):
        return Seen(
            Grade.WARNING, f"the key also has {', '.join(more)}, which is not needed", "take these rights away at Kraken"
        )
    return _ok(f"{', '.join(rights)}; it may not withdraw")


def _clock(look: Look) -> Seen:
    limit = look.parts.settings.file.live_risk.max_clock_skew_ms
    skew = look.exchange.skew_ms
    if isinstance(skew, Silence):
        return Seen(Grade.UNKNOWN, skew.words, "check the network and base_url; docs/runbooks/api_errors.md")
    low, high = skew
    told = f"our clock minus the exchange's lies between {low:+.0f} and {high:+.0f} ms"
    nearest = max(low, -high, 0.0)
    if nearest > limit:
        return Seen(Grade.FAILED, f"{told}, the limit is {limit:g} ms", "let the machine's clock follow a time server (NTP)")
    return _ok(told)


def _status(look: Look) -> Seen:
    status = look.exchange.status
    if isinstance(status, Silence):
        return Seen(Grade.UNKNOWN, status.words, "check the network and base_url; docs/runbooks/api_errors.md")
    if status == "online":
        return _ok(f"online at {look.place}")
    return Seen(Grade.FAILED, status, "wait until it is online: docs/runbooks/maintenance.md")


def _symbols(look: Look) -> Seen:
    pairs = look.exchange.pairs
    if isinstance(pairs, Silence):
        return Seen(Grade.UNKNOWN, pairs.words, "check the network and base_url; docs/runbooks/api_errors.md")
    wrong, coarse = [], []
    names = _traded(look)
    for symbol in names:
        if symbol not in pairs:
            wrong.append(f"{symbol} is not listed")
        elif pairs[symbol].status != "online":
            wrong.append(f"{symbol} is {pairs[symbol].status}")
        else:
            found = _differences(look.parts, symbol, pairs[symbol])
            wrong += [words for words, refused in found if refused]
            coarse += [words for words, refused in found if not refused]
    if wrong:
        return Seen(Grade.FAILED, "; ".join(wrong), 'set the exchange\'s steps in [instrument."PAIR"], or choose other pairs')
    if coarse:
        return Seen(Grade.WARNING, "; ".join(coarse), 'set the exchange\'s steps in [instrument."PAIR"]')
    return _ok(f"{', '.join(names)} online, with our steps and minimums")


def _traded(look: Look) -> list[str]:
    file = look.parts.settings.file
    names = [*file.testnet_limits.symbols, *(name for profile in file.testnet_profiles.values() for name in profile.symbols)]
    return list(dict.fromkeys(parse_symbol(name) for name in names))


def _differences(parts: Parts, symbol: str, pair: AssetPair) -> list[tuple[str, bool]]:
    """Return how our steps and minimums differ from the exchange's, and whether it would refuse orders for that."""
    ours = parts.instrument(symbol)
    found = []
    for name, mine, theirs in (("tick_size", ours.tick_size, pair.tick_size), ("lot_step", ours.lot_step, pair.lot_step)):
        if mine != theirs:
            found.append((f"{symbol} {name} {mine} here, {theirs} there", mine % theirs != 0))
    for name, mine, theirs in (
        ("min_quantity", ours.min_quantity, pair.ordermin),
        ("min_notional", ours.min_notional, pair.costmin),
    ):
        if mine < theirs:
            found.append((f"{symbol} {name} {mine} here, {theirs} there", True))
    return found


def _limits(look: Look) -> Seen:
    parts, file = look.parts, look.parts.settings.file
    risk, run = file.live_risk, file.testnet_limits.run
    if run.max_order_notional > risk.max_order_notional:
        found = f"testnet_limits.run.max_order_notional {run.max_order_notional} is above live_risk's {risk.max_order_notional}"
        return Seen(Grade.FAILED, found, "lower it")
    said: list[str] = []
    for name in file.testnet_profiles:
        terms = terms_of(parts, name)
        pairs = look.exchange.pairs
        known = {} if isinstance(pairs, Silence) else pairs
        least = max((known[symbol].costmin for symbol in terms.symbols if symbol in known), default=Decimal(0))
        if terms.max_order_notional < least:
            found = f"profile {name} allows orders of {terms.max_order_notional}, the exchange none below {least}"
            return Seen(Grade.FAILED, found, "raise its max_order_notional")
        said += [f"profile {name}: {words}" for words in remarks_on(parts, terms)]
    if said:
        return Seen(Grade.WARNING, said[0], "change the profile")
    return _ok(f"{len(file.testnet_profiles)} profiles within [testnet_limits], those within [live_risk]")


def _budget(look: Look) -> Seen:
    now = look.parts.clock.now()
    left = budget_of(look.parts).left(now)
    told = f"{left.runs} sessions, {left.orders} orders and {float(left.minutes):g} minutes left on {left.day.isoformat()}"
    if left.day > now.date():
        return Seen(Grade.WARNING, f"{told}, a day that has not begun: a clock was ahead", "check the machine's clock")
    if not (left.runs and left.orders and left.minutes):
        return Seen(Grade.FAILED, told, "wait for the next UTC day, or raise a limit of [testnet_limits.daily]")
    return _ok(told)


CHECKS: tuple[StageCheck, ...] = (
    StageCheck("configuration", EVERY, EVERY, _sections),
    StageCheck("python", EVERY, EVERY, _python),
    StageCheck("packages", EVERY, REAL, _packages),
    StageCheck("registry", EVERY, EVERY, _health("registry")),
    StageCheck("database", EVERY, EVERY, _health("database")),
    StageCheck("journal", EVERY, EVERY, _journal),
    StageCheck("signing key", EVERY, EVERY, _health("signing key")),
    StageCheck("disk", EVERY, EVERY, _health("disk")),
    StageCheck("folders", EVERY, EVERY, _writable),
    StageCheck("machine's clock", EVERY, EVERY, _health("clock")),
    StageCheck("kill switch", EVERY, EVERY, _kill_switch),
    StageCheck("holds", EVERY, EVERY, _kept),
    StageCheck("credentials", TESTNET, TESTNET, _credentials),
    StageCheck("key's rights", TESTNET, TESTNET, _rights),
    StageCheck("exchange", EXCHANGE, EXCHANGE, _status),
    StageCheck("clock", EXCHANGE, EXCHANGE, _clock),
    StageCheck("symbols", EXCHANGE, EXCHANGE, _symbols),
    StageCheck("limits", TESTNET, TESTNET, _limits),
    StageCheck("budget", TESTNET, TESTNET, _budget),
    StageCheck("tests", EVERY, REAL, _tests),
    StageCheck("runbooks", EXCHANGE, EXCHANGE, _runbooks),
    StageCheck("roles", EXCHANGE, REAL, readiness_gates.roles),
    StageCheck("last drill", EXCHANGE, REAL, readiness_gates.drill),
    StageCheck("venue", REAL, REAL, _venue),
    StageCheck("permit", EXCHANGE, EXCHANGE, _permit),
)
