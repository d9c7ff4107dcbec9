"""Options that several commands share, and what they mean together."""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.compose import DataChoice, Parts
    from peak_trade.research.executors import Workers
    from peak_trade.research.grid import SweepPlan
    from peak_trade.research.terms import Terms
    from peak_trade.strategy.catalogue import Value

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file instead of config.toml.")]
JsonOut = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what is being done.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Mark the run in the registry; repeatable.")]
ByName = Annotated[str | None, typer.Option("--by", help="Who does it; default the operating system's user.")]
DataFile = Annotated[Path | None, typer.Option("--data", help="File of bars (CSV or Parquet) instead of the store.")]
SymbolName = Annotated[str | None, typer.Option("--symbol", help="Pair, such as BTC/EUR.")]
TimeframeName = Annotated[str | None, typer.Option("--timeframe", help="Length of a bar, such as 1h.")]
StartTime = Annotated[str | None, typer.Option("--start", help="First bar opens at or after this UTC date or time.")]
EndTime = Annotated[str | None, typer.Option("--end", help="Last bar opens before this UTC date or time.")]
FeeBps = Annotated[float | None, typer.Option("--fee-bps", help="Fee on the filled notional, basis points.")]
SlippageBps = Annotated[float | None, typer.Option("--slippage-bps", help="Slippage against you, basis points.")]
InitialCash = Annotated[str | None, typer.Option("--initial-cash", help="Starting cash, quote currency.")]
SizingText = Annotated[
    str | None, typer.Option("--sizing", help="fraction=0.25 of equity, quantity=1 base units or notional=1000.")
]
SideName = Annotated[str | None, typer.Option("--side", help="Which positions may be opened: long, short or both.")]
StopLoss = Annotated[float | None, typer.Option("--stop-loss", help="Exit at this loss, a fraction of the entry price.")]
TakeProfit = Annotated[float | None, typer.Option("--take-profit", help="Exit at this gain, a fraction of the entry price.")]
TrailingStop = Annotated[
    float | None, typer.Option("--trailing-stop", help="Exit at this fraction below (short: above) the best price.")
]
FillKind = Annotated[
    str | None, typer.Option("--fills", help="fixed slippage, or model: the cost of size besides (peak-trade fills show).")
]
VolumeShare = Annotated[
    float | None, typer.Option("--max-volume-share", help="Part of a bar's volume that may be filled, 0 to 1; 0 is no limit.")
]
DelayBars = Annotated[int | None, typer.Option("--delay-bars", help="Bars between a decision and its order.")]


SheetOn = Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML report with its charts.")]
#: The configuration, of commands whose --config names a sweep file.
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Configuration file instead of config.toml.")]
WorkerCount = Annotated[int | None, typer.Option("--workers", min=1, max=256, help="How many work; default one a core.")]
ExecutorName = Annotated[
    str,
    typer.Option("--executor", help="threads; processes for plain Python strategies; local (no others); ray (a cluster)."),
]
ClusterAddress = Annotated[
    str | None, typer.Option("--address", help="Ray cluster, such as 10.0.0.5:6379 or auto; default one of this machine.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line or a sweep file said about data and terms; None leaves it to the configuration.

    Each field is an option of a command that is `taking` it: what is added here, every such command has.
    """

    data: DataFile = None
    symbol: SymbolName = None
    timeframe: TimeframeName = None
    start: StartTime = None
    end: EndTime = None
    fee_bps: FeeBps = None
    slippage_bps: SlippageBps = None
    initial_cash: InitialCash = None
    sizing: SizingText = None
    side: SideName = None
    stop_loss: StopLoss = None
    take_profit: TakeProfit = None
    trailing_stop: TrailingStop = None
    fills: FillKind = None
    max_volume_share: VolumeShare = None
    delay_bars: DelayBars = None


#: What a command is given before anything is said.
NOTHING = Given()
#: The options of `Given` that say which bars, and all of them.
DATA_OPTIONS = ("data", "symbol", "timeframe", "start", "end")
ALL_OPTIONS = tuple(item.name for item in fields(Given))


def taking(names: Sequence[str] = ALL_OPTIONS) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the named options of `Given` in place of its parameter `given`, which gets what they said."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(Given, include_extras=True)
        taken = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=hints[name])
            for name in names
        ]
        own = inspect.signature(command, eval_str=True)
        parameters = [
            item for parameter in own.parameters.values() for item in (taken if parameter.name == "given" else [parameter])
        ]

        @wraps(command)
        def told(**words: Any) -> None:
            command(given=Given(**{name: words.pop(name) for name in names}), **words)

        told.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        told.__annotations__ = {item.name: item.annotation for item in parameters} | {"return": None}
        return told

    return wrap


#: Commands that ask an exchange can ask one of their own.
Emulated = Annotated[bool, typer.Option("--emulator", help="Start an emulated exchange for this run, with keys of its own.")]


def open_parts(config: Path | None) -> "Parts":
    """Read the configuration and return the parts built from it."""
    from peak_trade.compose import Parts
    from peak_trade.settings import load_config

    return Parts(load_config(config))


def choose_data(parts: "Parts", given: Given) -> "DataChoice":
    """Return which bars are meant: a file, else symbol and timeframe, else the configuration's."""
    from peak_trade.compose import DataChoice

    defaults = parts.settings.file.backtest
    file = given.data
    start, end = moment_of(given.start, "--start"), moment_of(given.end, "--end")
    if start and end and start >= end:
        raise InputError(f"expected --start before --end, found {given.start} and {given.end}; correct one")
    return DataChoice(
        path=None if file is None else full_path(file),
        symbol=given.symbol if file or given.symbol is not None else defaults.symbol,
        timeframe=given.timeframe if file or given.timeframe is not None else defaults.timeframe,
        start=start,
        end=end,
    )


def choose_terms(parts: "Parts", given: Given) -> "Terms":
    """Return the terms: what was given, else the configuration's.

    Raises:
        InputError: a value that makes no sense.
    """
    from peak_trade.runs.configured import configured_terms, fill_costs, side_of
    from peak_trade.strategy.sizing import Sizing

    plain, usual = configured_terms(parts), parts.settings.file.backtest
    slippage_bps, impact = fill_costs(
        parts,
        usual.fills if given.fills is None else given.fills,
        _either(given.slippage_bps, usual.slippage_bps),
    )
    return replace(
        plain,
        cash=money(given.initial_cash, "--initial-cash", plain.cash),
        fee_bps=_either(given.fee_bps, plain.fee_bps),
        slippage_bps=slippage_bps,
        impact=impact,
        max_volume_share=_either(given.max_volume_share, plain.max_volume_share),
        delay_bars=plain.delay_bars if given.delay_bars is None else given.delay_bars,
        sizing=plain.sizing if given.sizing is None else Sizing.parse(given.sizing),
        side=plain.side if given.side is None else side_of(given.side, "--side"),
        stop_loss=_either(given.stop_loss, plain.stop_loss),
        take_profit=_either(given.take_profit, plain.take_profit),
        trailing_stop=_either(given.trailing_stop, plain.trailing_stop),
    )


def given_of(plan: "SweepPlan", line: Given, file: Path) -> Given:
    """Return the sweep file's options with those of the command line over them.

    Raises:
        InputError: a value of the wrong type in the file.
    """
    words = ("data", "symbol", "timeframe", "start", "end", "sizing", "side", "initial_cash")
    found: dict[str, object] = {}
    for name, value in plan.options.items():
        if name in words:
            found[name] = Path(str(value)) if name == "data" else str(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
        else:
            raise InputError(f"expected a number under sweep.{name} in {file}, found {value!r}; correct it")
    if line.data is not None or line.symbol is not None:
        found = {name: value for name, value in found.items() if name not in ("data", "symbol", "timeframe")}
    found |= {item.name: value for item in fields(line) if (value := getattr(line, item.name)) is not None}
    return replace(Given(), **found)  # type: ignore[arg-type]


def workers_of(executor: str, address: str | None) -> "Workers":
    """Return who works.

    Raises:
        InputError: there are no such workers, or an address without a cluster.
    """
    from peak_trade.research.executors import Workers

    kinds = [item.value for item in Workers]
    if executor not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as --executor, found {executor!r}; choose one")
    if address is not None and executor != Workers.RAY.value:
        raise InputError(f"expected --address with --executor ray alone, found it with {executor}; leave one out")
    return Workers(executor)


def full_path(path: Path) -> Path:
    """Return a path that does not depend on the present folder.

    Raises:
        InputError: it begins with the home of a user who does not exist.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise InputError(f"expected a path, found {path}, whose user has no home here; write it out") from error


def _real(path: Path) -> Path:
    """Return where a path leads; one that leads in circles stays as it is, and whoever opens it says so."""
    return Path(os.path.realpath(full_path(path)))


def parse_params(texts: list[str]) -> "dict[str, Value]":
    """Read repeated NAME=VALUE options.

    Raises:
        InputError: no `=`, no name, or a name twice.
    """
    from peak_trade.strategy.catalogue import parse_value

    params: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InputError(f"expected --param NAME=VALUE, found {text!r}; write for example --param fast_window=10")
        if name in params:
            raise InputError(f"expected each parameter once, found {name} twice; remove one")
        params[name] = parse_value(value.strip())
    return params


def check_outputs(parts: "Parts", inputs: list[Path | None], outputs: list[Path | None]) -> None:
    """Refuse to write over what the project lives on, over an input, or twice to one file.

    Raises:
        InputError: an output is such a file.
    """
    kept = [_real(parts.settings.path), *(_real(path) for path in inputs if path)]
    state = [
        parts.settings.root / "var",
        _real(parts.store.folder),
        Path(parts.settings.registry_url.removeprefix("sqlite:///")),
    ]
    seen: list[Path] = []
    for path in outputs:
        if path is None:
            continue
        target = _real(path)
        if target in kept or target in seen or any(target.is_relative_to(folder) for folder in state):
            raise InputError(f"expected a file of its own to write to, found {path}, which is in use; choose another name")
        seen.append(target)


def check_tags(tags: list[str] | None) -> tuple[str, ...]:
    """Return the tags without repetition.

    Raises:
        InputError: an empty tag, or one of over 64 characters or with control characters.
    """
    for tag in tags or []:
        if not tag.strip() or len(tag) > 64 or not tag.isprintable():
            raise InputError(f"expected a tag of 1 to 64 printable characters, found {tag[:80]!r}; shorten or correct it")
    return tuple(dict.fromkeys(tags or []))


def precise(given: float | None, option: str, default: float) -> Decimal:
    """Return an option or its default as the decimal that was written.

    Raises:
        InputError: it is no number.
    """
    value = Decimal(repr(default if given is None else given))
    if not value.is_finite():
        raise InputError(f"expected a number as {option}, found {given}; correct it")
    return value


def check_name(text: str | None, option: str, default: str) -> str:
    """Return a name for the record, else the default.

    Raises:
        InputError: it is empty, longer than 64 characters, or has control characters.
    """
    name = default if text is None else text
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise InputError(f"expected a name of 1 to 64 printable characters as {option}, found {name[:80]!r}; correct it")
    return name


def check_notes(text: str) -> str:
    """Return a remark for the record.

    Raises:
        InputError: it is too long or has control characters.
    """
    if len(text) > 2_000 or not text.replace("\n", " ").isprintable():
        raise InputError(f"expected notes of up to 2000 printable characters, found {len(text)}; shorten or correct them")
    return text


def check_reason(text: str | None, command: str) -> str:
    """Return why something is done.

    Raises:
        InputError: it is missing or empty, longer than 500 characters, or has control characters.
    """
    if text is None or not text.strip():
        raise InputError(f'expected --why TEXT, found none; write for example: {command} --why "prices look wrong"')
    if len(text) > 500 or not text.isprintable():
        raise InputError(f"expected a reason of up to 500 printable characters, found {len(text)}; shorten or correct it")
    return text


def _either(given: float | None, default: float) -> float:
    return default if given is None else given


def money(text: str | None, option: str, default: Decimal) -> Decimal:
    """Return an amount of money that an option gives, else the default.

    Raises:
        InputError: the text is no number.
    """
    if text is None:
        return default
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise InputError(f"expected an amount of money as {option}, found {text!r}; write for example 10000") from error


def moment_of(text: str | None, option: str) -> datetime | None:
    """Return what an option says as an aware UTC moment; None where it says nothing.

    Raises:
        InputError: it is no date.
    """
    if text is None:
        return None
    try:
        return parse_moment(text)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"expected a date like 2018-01-01 or 2018-01-01T12:00 as {option}, found {text!r}; correct it"
        ) from error
