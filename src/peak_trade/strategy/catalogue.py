"""The strategies there are: built in, and from other packages by the entry point `peak_trade.strategies`."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, entry_points
from inspect import getsourcefile
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from peak_trade.model.errors import StrategyError
from peak_trade.strategy.aside import foreign
from peak_trade.strategy.base import Strategy

#: A parameter as the command line and the configuration give it.
Value = bool | int | float | str | list[Any] | dict[str, Any]

GROUP = "peak_trade.strategies"

#: Module and class of each built-in; imported when the catalogue is first asked.
BUILT_IN = (
    ("ma_crossover", "MaCrossover"),
    ("rsi_reversion", "RsiReversion"),
    ("macd", "Macd"),
    ("bollinger_bands", "BollingerBands"),
    ("momentum", "Momentum"),
    ("mean_reversion", "MeanReversion"),
    ("trend_following", "TrendFollowing"),
    ("breakout", "Breakout"),
    ("combined", "VolRegimeFilter"),
    ("combined", "RegimeFilter"),
    ("combined", "Composite"),
    ("buy_and_hold", "BuyAndHold"),
)


#: The package that each installed strategy comes from, by key.
_PROVIDERS: dict[str, Distribution] = {}


@cache
def catalogue() -> Mapping[str, type[Strategy]]:
    """Return every strategy by key, built-ins first; what is wrong with an installed one is in `broken()`."""
    found: dict[str, type[Strategy]] = {}
    for module, name in BUILT_IN:
        kind: type[Strategy] = getattr(import_module(f"peak_trade.strategy.{module}"), name)
        found[kind.key] = kind
    names = {name for kind in found.values() for name in (kind.key, *kind.aliases)}
    _BROKEN.clear()
    _PROVIDERS.clear()
    for point in sorted(entry_points(group=GROUP), key=lambda item: item.name):
        try:
            kind = _load(point.name, point.load)
        except StrategyError as error:
            _BROKEN[point.name] = str(error)
            continue
        taken = names & {kind.key, *kind.aliases}
        if taken:
            _BROKEN[point.name] = (
                f"expected a new name for the installed strategy {point.value}, found {min(taken)} in use; rename it"
            )
            continue
        names |= {kind.key, *kind.aliases}
        found[kind.key] = kind
        if point.dist is not None:
            _PROVIDERS[kind.key] = point.dist
    return found


#: What is wrong with installed strategies, by the name of their entry point.
_BROKEN: dict[str, str] = {}


def broken() -> Mapping[str, str]:
    """Return what is wrong with each installed strategy that can't be used; the others work all the same."""
    catalogue()
    return _BROKEN


def _load(name: str, load: Any) -> type[Strategy]:
    try:
        with foreign():
            kind = load()
    except (Exception, SystemExit) as error:
        raise StrategyError(
            f"the installed strategy {name} can't be loaded ({type(error).__name__}: {error}); mend or uninstall its package"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise StrategyError(f"expected the entry point {name} of {GROUP} to name a Strategy class, found {kind!r}")
    missing = [part for part in ("key", "source") if not isinstance(getattr(kind, part, None), str)]
    missing += sorted(kind.__abstractmethods__)
    if missing:
        raise StrategyError(
            f"expected the installed strategy {name} to have {', '.join(missing)}, found it without; mend its class"
        )
    return kind


def providers(strategy: Strategy) -> dict[str, str]:
    """Return, for a strategy and those inside it, the installed packages they come from with version and source hash."""
    found: dict[str, str] = {}
    for part in (strategy, *strategy.parts()):
        dist = _PROVIDERS.get(type(part).key)
        if dist is not None:
            found[dist.name] = f"{dist.version} source:{_source_hash(type(part).__module__)}"
        if part is not strategy:
            found |= providers(part)
    return found


def keys_within(strategy: Strategy) -> frozenset[str]:
    """Return the keys of a strategy and of everything that it is made of."""
    return frozenset({type(strategy).key}).union(*(keys_within(part) for part in strategy.parts()))


def _source_hash(module: str) -> str:
    """Return a hash over every Python file of the package that a module belongs to."""
    file = Path(getsourcefile(import_module(module.partition(".")[0])) or "")
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()[:16]


def find(name: str) -> type[Strategy]:
    """Return the strategy of that key or alias.

    Raises:
        StrategyError: there is none; names the nearest.
    """
    kinds = catalogue()
    for kind in kinds.values():
        if name == kind.key or name in kind.aliases:
            return kind
    if name in broken():
        raise StrategyError(broken()[name])
    close = difflib.get_close_matches(name, [*kinds, *(alias for kind in kinds.values() for alias in kind.aliases)], 1)
    hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(kinds)}"
    raise StrategyError(f"expected the name of a strategy, found {name!r}{hint}")


def make(name: str, params: Mapping[str, Value]) -> Strategy:
    """Return the strategy with these parameters; what is left out keeps its default.

    Raises:
        StrategyError: no such strategy, no such parameter or a value out of its range.
    """
    return made(find(name), params)


def made(kind: type[Strategy], params: Mapping[str, Value]) -> Strategy:
    """Return a strategy of this class, which need not be in the catalogue, with these parameters.

    Raises:
        StrategyError: no such parameter or a value out of its range.
    """
    try:
        return kind.model_validate(dict(params))
    except ValidationError as error:
        raise StrategyError(_sentence(kind, error)) from error


def _sentence(kind: type[Strategy], error: ValidationError) -> str:
    problems = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    problem = problems[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _names_beside(kind, problem["loc"])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'none'}"
        return f"expected a parameter of {kind.key}, found {name}; {hint}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    where = f"{name} was {problem['input']!r}, but " if name else ""
    return f"the parameters of {kind.key} don't fit: {where}{message}"


def _names_beside(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the names that could stand at a place: of the strategy, or of a part inside it such as `members.0`."""
    model: type[BaseModel] = kind
    for part in place[:-1]:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inside = [item for item in (annotation, *get_args(annotation)) if isinstance(item, type)]
            model = next((item for item in inside if issubclass(item, BaseModel)), model)
    return list(model.model_fields)


def parse_value(text: str) -> Value:
    """Read a parameter as the command line gives it: JSON where it is JSON, else the text itself."""
    try:
        value: Value = json.loads(text)
    except ValueError:
        return text
    return text if value is None else value
