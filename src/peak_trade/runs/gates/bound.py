"""What a request is bound to, hashed as it is now: code, packages, configuration, limits, data, policy and checklist."""

import sys
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from peak_trade.compose import DataChoice, Parts, code_sha256
from peak_trade.governance.criteria import OF_VERSION, Evidence
from peak_trade.governance.documents import digest
from peak_trade.governance.files import POLICY, read_plain
from peak_trade.governance.ladder import StrategyVersion
from peak_trade.journal.chain import find_segment, read
from peak_trade.journal.run import sha256_of
from peak_trade.model.address import is_loopback
from peak_trade.model.errors import ConfigError, NotFound, PeakTradeError
from peak_trade.runs.gates.repository import CHECKOUT
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.again import spec_of
from peak_trade.settings import Settings, checked, load_config

LOCK = "requirements.lock"
#: How the parts are called that are no files.
PACKAGE, PACKAGES, LIMITS, JOURNALS = "peak_trade", "packages", "live_risk and testnet_limits", "journals"
#: Limits of [live_risk] that are stricter the larger they are.
_STRICTER_UP = frozenset({"duplicate_window_s"})


def file_hash(root: Path, path: Path) -> str:
    """Return the hash of a file below a folder, through no link.

    Raises:
        NotFound: there is none. SafetyRefused: a link stands in its path, or it is no regular file.
    """
    return digest(read_plain(root, path))


def bound_now(
    parts: Parts, version: StrategyVersion, checklist: Path | None, evidence: Sequence[Evidence]
) -> dict[str, dict[str, str]]:
    """Return the hashes by part and by name within it; what is not there any more is left out.

    Args:
        checklist: below the folder of the configuration. evidence: whose data count.

    Raises:
        SafetyRefused: a file is a link.
        ConfigError: the configuration in the file is malformed, or another than the one in use.
    """
    settings = parts.settings
    fresh = in_file(settings)
    return {
        "code": {PACKAGE: code_sha256()},
        "lock": {PACKAGES: installed_sha256()} | _named(CHECKOUT, Path(LOCK)),
        "config": {settings.path.name: file_hash(settings.path.parent, Path(settings.path.name))},
        "parameters": {version.key: version.params_sha256},
        "datasets": datasets_of(parts, evidence),
        "limits": {LIMITS: limits_sha256(fresh)},
        "policy": _named(settings.root, POLICY),
        "checklist": {} if checklist is None else _named(settings.root, checklist),
    }


def in_file(settings: Settings) -> Settings:
    """Return the settings as their file has them now.

    Raises:
        ConfigError: those in use are others: looser limits, or another section; a command may point the exchange at an emulator
            on this machine, and nowhere else.
    """
    fresh = _in_its_words(settings.path)
    for name in type(fresh.file).model_fields:
        if where := _strayed(name, fresh, settings):
            raise ConfigError(
                f"expected {where} in use as {settings.path.name} has it, found another value; start again with that file"
            )
    return fresh


def _in_its_words(path: Path) -> Settings:
    """Return the configuration of a file as it is now; the same text is understood once."""
    try:
        return _understood(path, path.read_text("utf-8"))
    except (OSError, ValueError):
        return load_config(path)  # which says what is wrong with it


@lru_cache(maxsize=2)
def _understood(path: Path, text: str) -> Settings:
    return checked(tomllib.loads(text), text=text, path=path)


def _strayed(name: str, fresh: Settings, used: Settings) -> str:
    """Return where a section in use is another than the file's, in a way that no command makes it; empty where it is not."""
    if getattr(fresh.file, name) == getattr(used.file, name):
        return ""
    if name == "live_risk":
        return f"live_risk.{looser}" if (looser := _looser(fresh, used)) else ""
    if name in ("exchange", "live_exchange") and is_loopback(used.file.exchange.kraken_testnet.base_url):
        return ""
    return f"[{name}]"


def _looser(fresh: Settings, used: Settings) -> str:
    """Return the first limit in use that allows more than the file does; empty where none does."""
    strict, mine = fresh.file.live_risk.model_dump(), used.file.live_risk.model_dump()
    for name, limit in strict.items():
        value = mine[name]
        if isinstance(limit, bool | str):
            good = value == limit
        elif isinstance(limit, tuple | list):
            good = set(value) <= set(limit)
        else:
            good = value >= limit if name in _STRICTER_UP else value <= limit
        if not good:
            return str(name)
    return ""


def limits_sha256(settings: Settings) -> str:
    """Return the hash of every limit that orders are held against."""
    file = settings.file
    return sha256_of(
        {"live_risk": file.live_risk.model_dump(mode="json"), "testnet_limits": file.testnet_limits.model_dump(mode="json")}
    )


def installed_sha256() -> str:
    """Return the hash of the names and versions of all packages that are installed: what runs, whatever a lock file says."""
    # A package that comes, goes or is exchanged changes the folder it lies in.
    return _installed(tuple((place, _changed_at(place)) for place in sys.path))


@lru_cache(maxsize=4)
def _installed(_places: tuple[tuple[str, int], ...]) -> str:
    names = sorted({f"{name.lower()}=={version}" for name, version in map(_named_in, distributions())})
    return digest("\n".join(names).encode())


def _changed_at(place: str) -> int:
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


def _named_in(package: Distribution) -> tuple[str, str]:
    """Return name and version as a package's metadata have them; reading all of these takes ten times as long."""
    text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    head = text.partition("\n\n")[0].splitlines()
    said = dict(line.split(": ", 1) for line in reversed(head) if line.startswith(("Name: ", "Version: ")))
    return said.get("Name", ""), said.get("Version", "")


def datasets_of(parts: Parts, evidence: Sequence[Evidence]) -> dict[str, str]:
    """Return the hash of the recorded bars that each run used, by run, as these bars are now.

    The bars of markets that were followed lie in the journals of their sessions; these stand for them all together.
    """
    known: dict[str, str] = {}
    found = {}
    for run in (item for item in evidence if item.kind in OF_VERSION and item.facts.get("journal_sound") is not False):
        for number, choice in enumerate(_choices(parts, run.run_id)):
            key = sha256_of(choice)
            try:
                known[key] = known.get(key) or parts.dataset(DataChoice.from_json(choice)).bars.sha256()
            except PeakTradeError:
                continue
            found[run.run_id if number == 0 else f"{run.run_id}.{number}"] = known[key]
    return found or {JOURNALS: sha256_of(sorted(item.sha256 for item in evidence if item.subject is not None))}


def _choices(parts: Parts, run_id: str) -> list[Json]:
    """Return which recorded bars a run was over."""
    try:
        records = [next(read(find_segment(parts.journal, run_id)))]
    except (NotFound, StopIteration):
        run = parts.registry.get(run_id)
        return [run.spec["data"]]
    return [item["choice"] for item in spec_of(records)["data"] if "followed_at" not in item]


def _named(root: Path, path: Path) -> dict[str, str]:
    try:
        return {path.as_posix(): file_hash(root, path)}
    except NotFound:
        return {}
