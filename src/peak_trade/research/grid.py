"""The sweep file: which strategy, which parameters, which combinations."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.metrics import LESS_IS_BETTER, Metrics
from peak_trade.research.sweep import COMBINATIONS_MAX, Constraint
from peak_trade.strategy.catalogue import Value, find, parse_value

#: How many combinations the top table shows unless the file says otherwise.
TOP = 20

#: Keys of `[sweep]` besides the grid; those that a backtest has too mean the same.
OPTIONS = (
    "strategy",
    "metric",
    "top",
    "constraints",
    "symbol",
    "timeframe",
    "data",
    "start",
    "end",
    "fee_bps",
    "slippage_bps",
    "initial_cash",
    "sizing",
    "side",
    "stop_loss",
    "take_profit",
    "trailing_stop",
    "fills",
    "max_volume_share",
    "delay_bars",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A checked sweep file; `options` holds what it sets of a backtest's options."""

    strategy: str
    metric: str
    top: int
    grid: Mapping[str, tuple[Value, ...]]
    constraints: tuple[Constraint, ...]
    options: Mapping[str, Value]

    def fixed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return which of a strategy's parameters every combination shares."""
        return {name: value for name, value in params.items() if name not in self.grid}

    def specification(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run over these combinations is specified by, besides its data and terms."""
        return {
            "strategy": self.strategy,
            "fixed": dict(fixed),
            "grid": [[name, list(values)] for name, values in self.grid.items()],
            "constraints": [constraint.text for constraint in self.constraints],
            "metric": self.metric,
        }


def read_plan(path: Path, metric: str | None = None) -> SweepPlan:
    """Read a sweep file; a metric that is given replaces its own.

    Raises:
        InputError: no such file, not TOML, an unknown key or a value that makes no sense.
        StrategyError: an unknown strategy or parameter.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"expected a sweep file at {path}, found none; config/sweeps/ has examples") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected a sweep file at {path}, found something unreadable ({error}); check it") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"expected TOML in {path}, found a mistake: {error}") from error
    if metric is not None and isinstance(raw.get("sweep"), dict):
        raw["sweep"]["metric"] = metric
    return _plan(raw, path)


def line_plan(
    strategy: str, grid: Sequence[str], constraints: Sequence[str], metric: str = "sharpe", top: int = TOP
) -> SweepPlan:
    """Read a plan from options of a command line.

    Args:
        strategy: its name.
        grid: `NAME=START:STOP:STEP`, the stop included, or `NAME=VALUE,VALUE,...`.
        constraints: as in a sweep file.
        metric: what ranks. top: how many a table shows.

    Raises:
        InputError: another form, or a value that makes no sense.
        StrategyError: an unknown strategy or parameter.
    """
    table: dict[str, Any] = {}
    for text in grid:
        name, sign, given = text.partition("=")
        name, parts = name.strip(), given.split(":")
        if not sign or not name or not given.strip() or len(parts) not in (1, 3):
            raise InputError(f"expected --grid NAME=5:50:5 or NAME=5,10,20, found {text!r}; correct it")
        if name in table:
            raise InputError(f"expected each parameter once as --grid, found {name} twice; remove one")
        if len(parts) == 3:
            table[name] = dict(zip(("start", "stop", "step"), map(parse_value, parts), strict=True))
        else:
            table[name] = [parse_value(value.strip()) for value in given.split(",")]
    return made_plan(strategy, table, constraints, metric, top, "the command line")


def made_plan(
    strategy: str, grid: Mapping[str, object], constraints: Sequence[str], metric: str, top: int = TOP, where: str = "the call"
) -> SweepPlan:
    """Return a plan from values.

    Args:
        grid: by parameter a list of values, one value, or `{start, stop, step}`, the stop included.
        where: what an error names as their place.

    Raises:
        InputError, StrategyError: see `read_plan`.
    """
    options = {"strategy": strategy, "constraints": list(constraints), "metric": metric, "top": top}
    return _plan({"sweep": options, "grid": grid}, Path(where))


def _plan(raw: Mapping[str, Any], path: Path) -> SweepPlan:
    _only_known(raw, ("sweep", "grid"), path, "")
    options = _table(raw, "sweep", path)
    grid = _table(raw, "grid", path)
    _only_known(options, OPTIONS, path, "sweep.")
    if not isinstance(options.get("strategy"), str):
        raise InputError(f"expected the name of a strategy under sweep.strategy in {path}, found {options.get('strategy')!r}")
    kind = find(options["strategy"])
    if not grid:
        raise InputError(
            f"expected at least one parameter under [grid] in {path}, found none; {kind.key} has {', '.join(kind.model_fields)}"
        )
    for name in grid:
        if name not in kind.model_fields:
            raise StrategyError(
                f"expected a parameter of {kind.key} under [grid] in {path}, found {name}; "
                f"it has {', '.join(kind.model_fields)}"
            )
    metric = options.get("metric", "sharpe")
    if metric in LESS_IS_BETTER:
        raise InputError(
            f"expected a metric of which more is better under sweep.metric in {path}, found {metric}; choose another"
        )
    if metric not in Metrics._fields:
        raise InputError(
            f"expected a metric under sweep.metric in {path}, found {metric!r}; there are {', '.join(Metrics._fields)}"
        )
    top = options.get("top", TOP)
    if not isinstance(top, int) or not 1 <= top <= 1_000:
        raise InputError(f"expected 1 to 1000 under sweep.top in {path}, found {top!r}; correct it")
    constraints = options.get("constraints", [])
    if not isinstance(constraints, list) or not all(isinstance(text, str) for text in constraints):
        raise InputError(f"expected a list of texts under sweep.constraints in {path}, found {constraints!r}; correct it")
    return SweepPlan(
        strategy=kind.key,
        metric=metric,
        top=top,
        grid={name: _values(name, given, path) for name, given in grid.items()},
        constraints=tuple(Constraint.parse(text, kind.model_fields) for text in constraints),
        options={name: value for name, value in options.items() if name not in ("strategy", "metric", "top", "constraints")},
    )


def _table(raw: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    found = raw.get(name)
    if not isinstance(found, Mapping):
        raise InputError(f"expected a section [{name}] in {path}, found {'none' if found is None else found!r}; add it")
    return found


def _only_known(table: Mapping[str, Any], known: tuple[str, ...], path: Path, prefix: str) -> None:
    for name in table:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"there are {', '.join(known)}"
            raise InputError(f"expected only known keys in {path}, found {prefix}{name}; {hint}")


def _values(name: str, given: object, path: Path) -> tuple[Value, ...]:
    """Read a list of values, one value, or a range `{start, stop, step}` whose stop is included."""
    if isinstance(given, list):
        if not given:
            raise InputError(f"expected at least one value for grid.{name} in {path}, found an empty list; add one")
        unique = list(dict.fromkeys(str(value) for value in given))
        if len(unique) != len(given):
            raise InputError(f"expected different values for grid.{name} in {path}, found one twice; remove it")
        return tuple(given)
    if not isinstance(given, Mapping):
        return (given,)  # type: ignore[return-value]
    if set(given) != {"start", "stop", "step"}:
        raise InputError(
            f"expected start, stop and step for grid.{name} in {path}, found {', '.join(given) or 'nothing'}; correct it"
        )
    try:
        start, stop, step = (Decimal(str(given[key])) for key in ("start", "stop", "step"))
    except InvalidOperation as error:
        raise InputError(
            f"expected numbers for start, stop and step of grid.{name} in {path}, found {dict(given)}; correct it"
        ) from error
    if not (start.is_finite() and stop.is_finite() and step.is_finite()):
        raise InputError(f"expected finite start, stop and step for grid.{name} in {path}, found {dict(given)}; correct it")
    if step <= 0 or stop < start:
        raise InputError(
            f"expected start <= stop and a positive step for grid.{name} in {path}, found {dict(given)}; correct it"
        )
    if (stop - start) / step > COMBINATIONS_MAX:
        raise InputError(
            f"expected at most {COMBINATIONS_MAX:,} values for grid.{name} in {path}, found {dict(given)}; take larger steps"
        )
    whole = all(isinstance(given[key], int) for key in given)
    steps = [start + step * index for index in range(int((stop - start) / step) + 1)]
    return tuple(int(value) if whole else float(value) for value in steps)
