"""A strategy decides in a process of its own: with other hashes of texts, and on request at another time and after others.

This module is both sides: `decide_elsewhere` begins the processes, and `python -m` of it is one. What goes in and out lies in
a folder that only this user can read. Invariant: a process that was asked to be *crowded* lets nothing of the first one be as
it was: not the clock, the working folder, the environment, what ran before, or the order in which strategies are made.
"""

import datetime
import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.machinery import all_suffixes
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from peak_trade.model.bar import COLUMNS, F64, PRICES, Bars
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.strategy.base import Strategy, checked_targets

#: By how much clocks are moved, seconds: half a day for rules of the hour, single days for rules of the weekday, and far.
SHIFTS_S = (43_200, 86_400, 3 * 86_400, 5 * 86_400, 200 * 86_400, 1_500 * 86_400)
#: Libraries that must have met the true clock before it is moved, where the first process has them.
_FIRST = ("pandas", "polars", "numba", "talib", "scipy.stats", "scipy.signal", "scipy.ndimage")
#: How long one process may take.
_LONGEST_S = 600.0
#: What a strategy's code reads for a variable of the environment that is not set.
_OTHER = "7"
#: open(2): a file without a name, which is empty; where there is no such thing, nothing has all of these marks.
_UNNAMED: int = getattr(os, "O_TMPFILE", -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """How another process makes a strategy: the class by its module and name, and the parameters as JSON."""

    module: str
    kind: str
    params: dict[str, Any]

    @classmethod
    def of(cls, strategy: Strategy) -> "Maker":
        """Return how one is made."""
        kind = type(strategy)
        return cls(module=kind.__module__, kind=kind.__qualname__, params=strategy.model_dump(mode="json"))

    def make(self) -> Strategy:
        """Make it.

        Raises:
            StrategyError: its module or class is not there.
        """
        try:
            kind: Any = importlib.import_module(self.module)
            for name in self.kind.split("."):
                kind = getattr(kind, name)
            made = kind.model_validate(self.params)
        except Exception as error:
            raise StrategyError(
                f"{self.kind} of {self.module} can't be made again ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(made, Strategy):
            raise StrategyError(f"{self.kind} of {self.module} is no strategy")
        return made


class Reply(NamedTuple):
    """What a strategy decided elsewhere: under which circumstances, over which of the markets, or why it did not."""

    way: str
    market: int
    targets: F64
    trouble: str


def decide_elsewhere(
    makers: Sequence[Maker],
    others: Sequence[Maker],
    markets: Sequence[Bars],
    seeds: Sequence[int],
    environment: Mapping[str, str],
) -> list[list[Reply]]:
    """Have strategies decide over markets in processes of their own: one for each hash seed, and a crowded one.

    Args:
        others: strategies whose instances run first in the crowded one. environment: of the processes.

    Returns:
        the answers, for each of *makers*.

    Raises:
        InputError: a process can't be begun, or did not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="peak_trade_check_") as name:
        folder = Path(name)
        with (folder / "markets.pickle").open("wb") as file:
            pickle.dump([_packed(bars) for bars in markets], file)
        tasks = [(seed, False) for seed in seeds] + [(max(seeds, default=0) + 1, True)]
        common = {
            "path": [str(Path(item).absolute()) for item in sys.path],
            "makers": [asdict(item) for item in makers],
            "others": [asdict(item) for item in others],
            "first": [module for module in _FIRST if module in sys.modules],
        }
        running = [_begun(folder, seed, common | {"crowded": crowded}, environment) for seed, crowded in tasks]
        try:
            answers = [_answers(folder, process, seed) for process, (seed, _) in zip(running, tasks, strict=True)]
        finally:
            for process in running:
                process.kill()
                process.communicate()
    return [[answer for told in answers for answer in told[index]] for index in range(len(makers))]


def _begun(folder: Path, seed: int, task: Mapping[str, Any], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    own = folder / str(seed)
    (own / "empty").mkdir(parents=True)
    (own / "task.json").write_text(json.dumps({**task, "seed": seed}), "utf-8")
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "peak_trade.research.elsewhere", str(own)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**environment, "PYTHONHASHSEED": str(seed)},
        )
    except OSError as error:
        raise InputError(
            f"expected to begin another process for the check, found {error.strerror or error}; try again"
        ) from error


def _answers(folder: Path, process: "subprocess.Popen[bytes]", seed: int) -> list[list[Reply]]:
    """Return what a process answered, when it has ended."""
    try:
        _, said = process.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"expected the strategy to decide within {_LONGEST_S:g} s in another process, found it at work; choose fewer bars"
        ) from None
    told = folder / str(seed) / "told.pickle"
    if process.returncode != 0 or not told.exists():
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise InputError(f"expected another process to make the strategy and ask it, found {last[0][:300]}; mend that")
    with told.open("rb") as file:
        # Our own process wrote it, into a folder of ours.
        return [[Reply(*item) for item in items] for items in pickle.load(file)]  # noqa: S301


def _packed(bars: Bars) -> tuple[Any, ...]:
    return bars.instrument, bars.timeframe, {name: np.array(getattr(bars, name)) for name in COLUMNS}


def _unpacked(packed: tuple[Any, ...]) -> Bars:
    instrument, timeframe, columns = packed
    return Bars(instrument=instrument, timeframe=timeframe, **{name: column.copy() for name, column in columns.items()})


# ---- within the process --------------------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    """Decide what the task of a folder asks for, and write it there."""
    task = json.loads((folder / "task.json").read_text("utf-8"))
    with (folder.parent / "markets.pickle").open("rb") as file:
        markets = pickle.load(file)  # noqa: S301 - written by the process that began this one
    sys.path[:] = task["path"]
    makers, others = ([Maker(**item) for item in task[name]] for name in ("makers", "others"))
    if task["crowded"]:
        for module in task["first"]:
            with suppress(ImportError):
                importlib.import_module(module)
        os.chdir(folder / "empty")
        clock = _MovedClock()
        watch = _Watch({item.module.partition(".")[0] for item in makers})
        found = [list(_crowded(maker, others, markets, clock, watch)) for maker in makers]
    else:
        # Later ones are made and asked the other way round.
        order = list(enumerate(makers))[:: 1 if task["seed"] % 2 else -1]
        way = f"another process, with PYTHONHASHSEED={task['seed']}"
        told = {index: list(_plain(maker, markets, way, task["seed"])) for index, maker in order}
        found = [told[index] for index in range(len(makers))]
    with (folder / "told.pickle").open("wb") as file:
        pickle.dump([[tuple(item) for item in items] for items in found], file)


def _plain(maker: Maker, markets: Sequence[tuple[Any, ...]], way: str, seed: int) -> Iterator[Reply]:
    places = range(len(markets))[:: 1 if seed % 3 else -1]
    for place in places:
        yield _asked(maker, markets[place], way, place)


def _crowded(
    maker: Maker, others: Sequence[Maker], markets: Sequence[tuple[Any, ...]], clock: "_MovedClock", watch: "_Watch"
) -> Iterator[Reply]:
    """Ask after everything else ran, at other times; what the first answer remembers must not show in the later ones."""
    clock.move(SHIFTS_S[0])
    for packed in markets:
        # Another market of the same length first: what is remembered by length, or as long as the class lives, comes out.
        mirrored = (*packed[:2], {name: _mirrored(name, column) for name, column in packed[2].items()})
        for other in (maker, *others):
            _asked(other, mirrored, "", 0)
    for shift in SHIFTS_S:
        clock.move(shift)
        for place, packed in enumerate(markets):
            with watch:
                found = _asked(maker, packed, f"after other strategies, and {shift / 86_400:g} days later", place)
            yield found
    for trouble in sorted(watch.seen):
        yield Reply("", 0, np.empty(0), trouble)
    watch.seen.clear()


def _mirrored(name: str, column: np.ndarray) -> np.ndarray:
    """Return a column of the market that goes the other way, sixteen times as high and more wildly."""
    if name not in PRICES:
        return column
    # The high of the mirror is the low of the market; open and close lie in between all the same.
    return 16.0 * column[0] * (column[0] / column) ** 1.7 if name in ("open", "close") else np.full(len(column), np.nan)


def _asked(maker: Maker, packed: tuple[Any, ...], way: str, place: int) -> Reply:
    try:
        return Reply(way, place, checked_targets(_unpacked(_whole(packed)), maker.make()), "")
    except StrategyError as error:
        return Reply(way, place, np.empty(0), str(error))


def _whole(packed: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill in the highs and lows of a mirrored market."""
    columns = dict(packed[2])
    if len(columns["high"]) and np.isnan(columns["high"][0]):
        columns["high"] = np.maximum(columns["open"], columns["close"])
        columns["low"] = np.minimum(columns["open"], columns["close"])
    return (*packed[:2], columns)


class _MovedClock:
    """The clocks of this process, moved; what was imported before keeps the true ones."""

    def __init__(self) -> None:
        self._shift_s = 0
        true = {
            name: getattr(time, name) for name in ("time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "monotonic")
        }

        def dated(name: str, place: int) -> Any:
            """Return a function of `time` whose moment, the argument at *place*, is the moved present where it is left out."""
            return lambda *given: true[name](*given, *([] if len(given) > place else [self._present(true, name)]))

        for name in ("localtime", "gmtime", "ctime"):
            setattr(time, name, dated(name, 0))
        setattr(time, "strftime", dated("strftime", 1))  # noqa: B010 - the type of a module's function is fixed
        setattr(time, "time", lambda: true["time"]() + self._shift_s)  # noqa: B010
        setattr(time, "time_ns", lambda: true["time_ns"]() + self._shift_s * 10**9)  # noqa: B010
        setattr(time, "monotonic", lambda: true["monotonic"]() + self._shift_s)  # noqa: B010
        self._dates()

    def move(self, shift_s: int) -> None:
        """Show a moment so many seconds later than it is."""
        self._shift_s = shift_s

    def _present(self, true: Mapping[str, Any], name: str) -> Any:
        later = true["time"]() + self._shift_s
        return true["localtime"](later) if name == "strftime" else later

    def _dates(self) -> None:
        moment: Any = datetime.datetime
        kinds = {True: datetime.datetime, False: datetime.date}

        class Like(type):
            def __instancecheck__(cls, item: object) -> bool:
                return isinstance(item, kinds[issubclass(cls, kinds[True])])

        def later() -> datetime.timedelta:
            return datetime.timedelta(seconds=self._shift_s)

        class MovedMoment(datetime.datetime, metaclass=Like):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Any:
                return moment.now(tz) + later()

            @classmethod
            def utcnow(cls) -> Any:
                return moment.now(datetime.UTC).replace(tzinfo=None) + later()

            @classmethod
            def today(cls) -> Any:
                return moment.now() + later()

        class MovedDate(datetime.date, metaclass=Like):
            @classmethod
            def today(cls) -> Any:
                return (moment.now() + later()).date()

        setattr(datetime, "datetime", MovedMoment)  # noqa: B010
        setattr(datetime, "date", MovedDate)  # noqa: B010


class _Watch:
    """Sees which files are read and connections made while a strategy decides, and answers its environment otherwise.

    Reading what belongs to Python and its packages, a compiled file or the time zones is nobody's fault, nor is writing.
    """

    def __init__(self, packages: set[str]) -> None:
        self.seen: set[str] = set()
        self._on = False
        self._packages = packages
        libraries = (sys.prefix, sys.base_prefix, *zoneinfo.TZPATH, "/dev", "/proc", "/sys")
        self._free = tuple(os.path.realpath(place) + os.sep for place in libraries)
        self._ends = (*all_suffixes(), ".nbi", ".nbc")
        sys.addaudithook(self._heard)
        self._answer_otherwise()

    def __enter__(self) -> None:
        self._on = True

    def __exit__(self, *_error: object) -> None:
        self._on = False

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open" and isinstance(given[0], str | bytes | os.PathLike):
            self._opened(os.fsdecode(given[0]), given[2])
        elif event == "socket.connect":
            self.seen.add("it connects to another program while it decides")
        elif event == "sqlite3.connect" and str(given[0]) != ":memory:":
            self._opened(str(given[0]), os.O_RDONLY)

    def _opened(self, path: str, flags: int) -> None:
        fresh = flags & os.O_CREAT or flags & _UNNAMED == _UNNAMED
        reads = flags & os.O_ACCMODE != os.O_WRONLY and not fresh
        place = os.path.realpath(path)
        if reads and not place.endswith(self._ends) and not place.startswith(self._free):
            self.seen.add(f"it reads the file {Path(path).name} while it decides, which is no part of its version")

    def _answer_otherwise(self) -> None:
        """Let a strategy's own code find each variable of the environment otherwise: gone where set, set where it is not."""
        kind: Any = os._Environ
        true = kind.__getitem__

        def other(environment: Any, name: str) -> str:
            if not self._on or not self._asks(sys._getframe(1)):
                return str(true(environment, name))
            try:
                true(environment, name)
            except KeyError:
                return _OTHER
            raise KeyError(name)

        kind.__getitem__ = other

    def _asks(self, frame: FrameType | None) -> bool:
        """Tell whether the code that asks is a strategy's own."""
        between = {"os", "_collections_abc", "collections.abc"}
        while frame is not None and frame.f_globals.get("__name__") in between:
            frame = frame.f_back
        name = "" if frame is None else str(frame.f_globals.get("__name__"))
        return name.partition(".")[0] in self._packages


if __name__ == "__main__":
    main(Path(sys.argv[1]))
