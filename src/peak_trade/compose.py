"""The only builder of concrete parts: settings in; store, registries, venues, instruments, datasets and provenance out.

Invariant: a venue is built here, by the stage table, and nowhere else; a stage without a row can't trade.
"""

import hashlib
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from peak_trade import __version__
from peak_trade.governance.ladder import Assignment
from peak_trade.governance.permits import NEED_PERMIT, Permit
from peak_trade.journal.evidence import EvidenceRows
from peak_trade.journal.operators import Operators
from peak_trade.journal.registry import Registry
from peak_trade.journal.sessions import Sessions
from peak_trade.journal.signing import Signer
from peak_trade.market.dataset import Dataset
from peak_trade.market.importing import read_dataset
from peak_trade.market.quality import remarks
from peak_trade.market.raw import guess_symbol
from peak_trade.market.sample import SAMPLES, sample
from peak_trade.market.store import Store
from peak_trade.model.address import is_loopback
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import Clock, IdSource, MachineClock, moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import ConfigError, DataError, InputError, NotFound, SafetyRefused
from peak_trade.model.instrument import KNOWN, Instrument, parse_symbol
from peak_trade.model.order import Candle, Intent
from peak_trade.model.points import Faults, no_faults
from peak_trade.model.stage import Stage, not_allowed
from peak_trade.safety.holds import AccountHolds, AccountKeys
from peak_trade.safety.kill_switch import KillSwitch
from peak_trade.settings import Settings
from peak_trade.venue.log import FileLog, NoLog
from peak_trade.venue.port import Venue
from peak_trade.venue.simulated import Market, SimulatedVenue
from peak_trade.venue.testnet import BookView, Note, OrderCheck, TestnetVenue

if TYPE_CHECKING:
    from peak_trade.market.download import BarSource
    from peak_trade.venue.kraken.gateway import Gateway, GatewayParts, ObservedCall
    from peak_trade.venue.kraken.market import KrakenMarket
    from peak_trade.venue.kraken.market_stream import MarketNews, MarketStream
    from peak_trade.venue.kraken.public import PublicMarket
    from peak_trade.venue.kraken.reading import AssetPair
    from peak_trade.venue.kraken.stream import LineNews, Topic
    from peak_trade.venue.kraken.wire import Credentials

#: Seconds between two public questions to an exchange, by its clock.
ASKED_EVERY_S = 1.0
#: For who asks no candles.
ANY_LENGTH = Timeframe.parse("1m")
#: Packages whose version can change the last digit of a result.
NUMERIC_PACKAGES = ("numpy", "numba", "polars", "ta-lib")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChoice:
    """Which bars to use: a file, or what the store (else a bundled sample) has for a symbol and timeframe.

    `symbol` and `timeframe` may be None for a file whose name and rows tell them.
    """

    path: Path | None
    symbol: str | None
    timeframe: str | None
    start: datetime | None = None
    end: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the choice as a JSON object."""
        return {
            "path": None if self.path is None else str(self.path),
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "start": None if self.start is None else self.start.isoformat(),
            "end": None if self.end is None else self.end.isoformat(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DataChoice":
        """Read what `to_json` wrote."""
        return cls(
            path=None if data["path"] is None else Path(data["path"]),
            symbol=data["symbol"],
            timeframe=data["timeframe"],
            start=None if data["start"] is None else parse_moment(data["start"]),
            end=None if data["end"] is None else parse_moment(data["end"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChoice:
    """Which account a venue is built for.

    Attributes:
        origin: the session that it began with.
        charge: takes an order from a budget; returns why there is none left, None where there was.
        prepay: takes the next one beforehand; called from another thread while nothing is charged.
        note: told what the venue saw besides its answers.
        climbers: the strategy versions that trade on it, as the gates know them; permits: what allows them to.
        allowed: asked right before every order that leaves; returns why none may any more, None where it may.
        known: orders that earlier processes of the session sent or may have sent; booked: names of the fills they booked.
        health: says why working orders must not be kept alive, empty where all is well.
    """

    name: str
    origin: str
    instruments: Mapping[str, Instrument]
    cash: Decimal
    market: Market
    charge: Callable[[], str | None] = lambda: None
    prepay: Callable[[], None] = lambda: None
    note: Note = lambda _kind, _body: None
    climbers: tuple[Assignment, ...] = ()
    permits: tuple[Permit, ...] = ()
    allowed: Callable[[], str | None] = lambda: None
    known: tuple[Intent, ...] = ()
    booked: tuple[str, ...] = ()
    health: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeAccess:
    """An exchange that is asked: where it is, how long it may take, and how much faster than ours its clock goes."""

    base_url: str
    websocket_url: str
    timeout_s: float
    speed: float = 1.0


class MarketReader(Protocol):
    """Who reads public data of an exchange, while it is entered."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def instrument(self, symbol: str) -> Instrument:
        """Return a pair with the steps that the exchange lists.

        Raises:
            InputError: it does not have it, or not with orders.
            Unavailable: it does not answer.
        """
        ...

    async def candles(self, symbol: str, after_ns: int) -> Sequence[Candle]:
        """Return the candles that open after a moment, oldest first, the running one last."""
        ...

    async def book(self, symbol: str) -> BookView:
        """Return the present book."""
        ...

    async def now_ns(self) -> int:
        """Return the exchange's present, nanoseconds UTC, to the second."""
        ...


@dataclass(frozen=True, slots=True)
class Code:
    """Which code ran: the commit and whether the work tree under `src` held nothing else."""

    version: str
    clean: bool


class Parts:
    """The concrete parts for one configuration, each built when first asked for."""

    def __init__(self, settings: Settings, exchange_speed: float = 1.0) -> None:
        """Take the settings, and how much faster than the machine's the clock of the exchange goes: an emulator's may."""
        self.settings = settings
        self.exchange_speed = exchange_speed
        self.clock: Clock = MachineClock()
        self.ids = IdSource(self.clock, random.SystemRandom())
        #: Told of every call of an exchange; a session that runs watches them.
        self.call_seen: Callable[[ObservedCall], None] = lambda _call: None

    def close(self) -> None:
        """Let go of what was opened."""
        if "registry" in self.__dict__:
            self.registry.close()

    @cached_property
    def store(self) -> Store:
        """The local store of market data."""
        return Store(self.settings.folder(self.settings.file.paths.data))

    @cached_property
    def registry(self) -> Registry:
        """The registry of runs."""
        return Registry(self.settings.registry_url)

    @cached_property
    def sessions(self) -> Sessions:
        """The registry of sessions, in the same database."""
        return Sessions(self.registry.database)

    @cached_property
    def operators(self) -> Operators:
        """Who may act through the dashboard, in the same database."""
        return Operators(self.registry.database)

    @cached_property
    def evidence(self) -> EvidenceRows:
        """What sessions showed, in the same database: a copy for overviews."""
        return EvidenceRows(self.registry.database)

    @cached_property
    def kill_switch(self) -> KillSwitch:
        """What stops every session of this state folder."""
        return KillSwitch.of(self.state)

    @cached_property
    def holds(self) -> AccountHolds:
        """What keeps accounts of this state folder paused."""
        return AccountHolds(self.state / "holds", AccountKeys(self.state / "account_keys"))

    @cached_property
    def state(self) -> Path:
        """The folder of journals, their key, the kill switch and the simulated venue's memory."""
        return self.settings.folder(self.settings.file.paths.state)

    @property
    def journal(self) -> Path:
        """The folder in which each account has its journal."""
        return self.state / "journal"

    @property
    def key(self) -> Path:
        """The key that signs the journal's heads."""
        return self.state / "keys" / "journal.pem"

    @cached_property
    def signer(self) -> Signer:
        """The signer of the journal's heads; its key is made when it is first asked for."""
        return Signer.load_or_make(self.key)

    def venue(self, stage: Stage, account: AccountChoice, faults: Faults = no_faults) -> Venue:
        """Build the venue of a stage.

        Raises:
            SafetyRefused: the stage has no venue, or needs a permit that is not there.
            StorageError: the disk refused.
        """
        row = _STAGES.get(stage)
        if row is None:
            raise not_allowed(stage)
        if self.needs_permit(stage):
            _check_permits(stage, account, self.clock.now())
        return row.venue(self, stage, account, faults)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages whose sessions can run, from the bottom of the ladder."""
        return tuple(stage for stage in Stage if stage in _STAGES)

    def needs_permit(self, stage: Stage) -> bool:
        """Tell whether sessions of a stage need a permit: from stage 2 on, but for an exchange on this very machine."""
        place = self.exchange.base_url if stage is Stage.TESTNET else self.settings.file.live_exchange.base_url
        return stage in NEED_PERMIT and not is_loopback(place)

    def follows(self, stage: Stage) -> bool:
        """Tell whether sessions of a stage follow markets that are still going on."""
        row = _STAGES.get(stage)
        return row is not None and row.follows

    @cached_property
    def exchange(self) -> ExchangeAccess:
        """The exchange of stage 2."""
        section = self.settings.file.exchange.kraken_testnet
        return ExchangeAccess(
            base_url=section.base_url,
            websocket_url=section.websocket_url,
            timeout_s=section.timeout_s,
            speed=self.exchange_speed,
        )

    def market_reader(self, timeframe: Timeframe) -> MarketReader:
        """Return who reads public data of the exchange, with candles of one length."""
        return self._kraken_market(timeframe, ASKED_EVERY_S / self.exchange.speed)

    def order_check(self, market: "KrakenMarket") -> OrderCheck:
        """Return who has orders of a market's pairs validated, with the key of stage 2.

        Raises:
            ConfigError: there is no key in the environment.
            SafetyRefused: another process uses the key.
        """
        from peak_trade.venue.kraken.checking import KrakenCheck

        skew = self.settings.file.live_risk.max_clock_skew_ms
        return KrakenCheck(self.gateway(), market, self.clock, speed=self.exchange.speed, max_skew_ms=skew)

    def api_keys(self) -> "Credentials":
        """Return the API key of stage 2.

        Raises:
            ConfigError: it is not in the environment, or what is there can be none; names the variables.
        """
        from peak_trade.venue.kraken.wire import Credentials

        testnet = self.settings.file.exchange.kraken_testnet
        names = (testnet.api_key_env, testnet.api_secret_env)
        missing = [name for name in names if not self.settings.has_secret(name)]
        if missing:
            raise ConfigError(
                f"expected an API key in the environment ({' and '.join(names)}), found {' and '.join(missing)} not set; set "
                + " and ".join(f'{name}="..."' for name in missing)
                + " with export, or add --emulator, which makes keys for the run"
            )
        try:
            return Credentials.read(*(self.settings.secret(name).reveal() for name in names))
        except InputError:
            raise ConfigError(
                f"expected an API key and its secret in base64 in {' and '.join(names)}, as Kraken shows them, found something "
                "else; copy both again"
            ) from None

    def key_name(self, stage: Stage) -> str | None:
        """Return the short name of the key with which sessions of a stage trade; None where they ask no exchange.

        Raises:
            ConfigError: there is no key in the environment.
        """
        return self.api_keys().short if self.follows(stage) else None

    @property
    def nonces(self) -> Path:
        """The folder of the nonces of keys."""
        return self.state / "nonces"

    def gateway(self, longest_s: float | None = None) -> "Gateway":
        """Return the private calls of stage 2's key, which only look; close it, or no other process may use the key.

        Args:
            longest_s: for an answer, seconds, where that is less than configured.

        Raises:
            ConfigError: there is no key in the environment.
            SafetyRefused: another process uses the key.
        """
        from peak_trade.venue.kraken.gateway import Gateway
        from peak_trade.venue.kraken.nonce import NonceStore

        keys = self.api_keys()
        nonces = NonceStore(self.nonces, keys.short, lambda: nanoseconds(self.clock.now()))
        return Gateway(keys, nonces, self._gateway_parts(longest_s), self.exchange.base_url)

    def public_market(self, space_s: float, longest_s: float | None = None, base_url: str | None = None) -> "PublicMarket":
        """Return questions about the market, without a key.

        Args:
            space_s: seconds between two. longest_s: for an answer, where that is less than configured.
            base_url: of another exchange than stage 2's.
        """
        from peak_trade.venue.kraken.public import PublicMarket

        return PublicMarket(self._gateway_parts(longest_s), base_url or self.exchange.base_url, space_s)

    def book_reader(self) -> "KrakenMarket":
        """Return who reads books of the exchange."""
        return self._kraken_market(ANY_LENGTH, 0.0)

    def market_stream(
        self,
        topics: "Sequence[Topic]",
        pairs: "Mapping[str, AssetPair]",
        tell: "Callable[[MarketNews], None]",
        line: "Callable[[LineNews], None]",
    ) -> "MarketStream":
        """Return the exchange's public stream, not yet dialled.

        Args:
            topics: what is followed. pairs: by symbol; books need their digits.
            tell: told of everything. line: told what becomes of the connection.
        """
        from peak_trade.venue.kraken.market_stream import MarketStream
        from peak_trade.venue.kraken.stream import StreamParts

        parts = StreamParts(clock=self.clock, chance=self._gateway_parts().chance, line=line)
        return MarketStream(topics, pairs, tell, parts, self.exchange.websocket_url)

    def _kraken_market(self, timeframe: Timeframe, space_s: float) -> "KrakenMarket":
        from peak_trade.venue.kraken.market import KrakenMarket

        return KrakenMarket(self.public_market(space_s), timeframe)

    def _gateway_parts(self, longest_s: float | None = None) -> "GatewayParts":
        from peak_trade.venue.kraken.gateway import GatewayParts
        from peak_trade.venue.kraken.transport import Timeouts

        most = self.exchange.timeout_s if longest_s is None else min(longest_s, self.exchange.timeout_s)
        return GatewayParts(
            clock=self.clock,
            chance=random.Random(self.ids.randomness.getrandbits(64)),  # noqa: S311 - for the length of pauses
            observe=self.call_seen,
            timeouts=Timeouts(connect_s=min(most, 5.0), read_s=most, total_s=most),
        )

    def ideal_venue(self, account: AccountChoice) -> Venue:
        """Build a simulated venue that forgets: to compute what an account should have done."""
        return SimulatedVenue(Stage.SHADOW, dict(account.instruments), account.cash, account.market, NoLog())

    @cached_property
    def reports(self) -> Path:
        """The folder in which each run gets a folder of its own."""
        return self.settings.folder(self.settings.file.paths.reports) / "experiments"

    def instrument(self, symbol: str) -> Instrument:
        """Return an instrument by symbol: known, with what the configuration overrides, else with default steps.

        Raises:
            InputError: the text is no symbol.
        """
        name = parse_symbol(symbol)
        found = KNOWN.get(name, Instrument(symbol=name))
        for key, steps in self.settings.file.instrument.items():
            if parse_symbol(key) == name:
                found = replace(found, **{part: value for part, value in steps if value is not None})
        return found

    def dataset(self, choice: DataChoice) -> Dataset:
        """Load the chosen bars.

        Raises:
            InputError: no such file or dataset, or a file that does not tell its symbol.
            DataError: the file fails a check, or the period holds no bars.
        """
        whole = self._whole(choice)
        part = whole.between(choice.start, choice.end)
        if len(part.bars) < 2:
            raise DataError(
                "empty",
                f"expected at least 2 bars from {choice.start or 'the beginning'} to {choice.end or 'the end'}, found "
                f"{len(part.bars)}; the data covers {whole.period()}",
            )
        return part

    def bar_source(
        self, exchange: str, symbol: str, timeframe: Timeframe, *, base_url: str | None = None, paced: bool = True
    ) -> "BarSource":
        """Return what an exchange tells of a pair, without a key.

        Args:
            exchange: ccxt's id of it. symbol: the pair. timeframe: length of its bars.
            base_url: replaces scheme and host of every address. paced: whether to keep to its rate limit.

        Raises:
            InputError: there is no such exchange.
        """
        from peak_trade.market.exchanges import open_source

        timeout_s = self.settings.file.exchange.kraken_testnet.timeout_s
        return open_source(exchange, symbol, timeframe, self.clock, base_url=base_url, paced=paced, timeout_s=timeout_s)

    def _whole(self, choice: DataChoice) -> Dataset:
        timeframe = None if choice.timeframe is None else Timeframe.parse(choice.timeframe)
        if choice.path is not None:
            if not choice.path.exists():
                raise InputError(f"expected a file of bars at {choice.path}, found none; check the path")
            symbol = guess_symbol(choice.path.stem) if choice.symbol is None else choice.symbol
            if symbol is None:
                raise InputError(f"expected the symbol of {choice.path.name}, found none in its name; give --symbol BASE/QUOTE")
            return read_dataset(choice.path, self.instrument(symbol), timeframe)
        if choice.symbol is None or timeframe is None:
            raise InputError("expected a symbol and a timeframe, or a file with --data; give them")
        instrument = self.instrument(choice.symbol)
        if self.store.has(instrument, timeframe):
            return self.store.load(instrument, timeframe)
        if (bundled := sample(instrument, timeframe)) is not None:
            return bundled
        have = [f"{path.parent.name.replace('-', '/')} {path.stem}" for path in self.store.files()]
        have += [" ".join(key) for key in SAMPLES]
        raise NotFound(
            f"expected bars of {instrument.symbol} {timeframe.label} in {self.store.folder}, found none (there are "
            f"{', '.join(have)}); import a file with: peak-trade data import FILE --symbol {instrument.symbol} "
            f"--timeframe {timeframe.label}"
        )


def _check_permits(stage: Stage, account: AccountChoice, now: datetime) -> None:
    """Look that every strategy version of an account has a permit for a stage at a moment."""
    for climber in account.climbers:
        good = [type(permit) is Permit and not permit.objections(stage, climber, now) for permit in account.permits]
        if not any(good):
            raise SafetyRefused(
                f"expected a permit for {climber.version.key} in {stage.value} on {climber.account}, found none that is good; "
                "peak-trade gate status shows what its gate lacks"
            )
    if not account.climbers:
        raise SafetyRefused(f"expected a strategy version with a permit for {stage.value}, found none; a gate decides")


def _simulated(parts: Parts, stage: Stage, account: AccountChoice, faults: Faults) -> Venue:
    log = FileLog(parts.state / "venue" / account.name / f"{account.origin}.jsonl", faults)
    return SimulatedVenue(stage, dict(account.instruments), account.cash, account.market, log)


def _validated(parts: Parts, stage: Stage, account: AccountChoice, faults: Faults) -> Venue:
    inner = _simulated(parts, stage, account, faults)
    try:
        books = parts.book_reader()
        check = parts.order_check(books)
    except BaseException:
        inner.close()
        raise
    return TestnetVenue(
        inner,
        check,
        books,
        parts.clock,
        charge=account.charge,
        prepay=account.prepay,
        note=account.note,
        allowed=account.allowed,
    )


class StageRow(NamedTuple):
    """What a stage is made of: who fills its orders, and whether its sessions follow markets that are still going on."""

    venue: Callable[[Parts, Stage, AccountChoice, Faults], Venue]
    follows: bool


#: The stage table. A stage that is not here has nobody who fills its orders.
_STAGES: dict[Stage, StageRow] = {
    Stage.SHADOW: StageRow(_simulated, follows=False),
    Stage.TESTNET: StageRow(_validated, follows=True),
}


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Return what a run says of its data, as a JSON object."""
    bars = dataset.bars
    return {
        "sha256": bars.sha256(),
        "bars": len(bars),
        "first": moment_text(int(bars.timestamp[0])),
        "last": moment_text(int(bars.timestamp[-1])),
        "gaps": {
            "holes": len(dataset.gaps),
            "missing_bars": sum(gap.bars for gap in dataset.gaps),
            "by_kind": dataset.gap_counts(),
        },
        "origin": dataset.origin,
        "accepted": list(dataset.accepted),
        "notes": [*dataset.notes, *remarks(bars)],
    }


def numeric_versions() -> dict[str, str]:
    """Return the versions of Python, Peak_Trade and every package that can change a result."""
    return {"python": python_version(), "peak-trade": __version__} | {name: version(name) for name in NUMERIC_PACKAGES}


@cache
def code_sha256() -> str:
    """Return a hash over every source file of this package: what ran, whatever git knows of it."""
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def code_in_use() -> Code:
    """Return the commit of the checkout this code runs from, or the package version outside of one."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        # Both are named, so that variables such as GIT_DIR can't lead to another repository.
        place = [f"--git-dir={root / '.git'}", f"--work-tree={root}"]
        command = ["git", "-C", str(root), *place, "status", "--porcelain=v2", "--branch", "--", "src"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
        except (OSError, subprocess.SubprocessError):
            answer = []
        commit = next((line.split()[-1] for line in answer if line.startswith("# branch.oid ")), "")
        if commit and commit != "(initial)":
            return Code(commit, clean=all(line.startswith("#") for line in answer))
    # An installed package has no work tree that could hold changes; its hash is among the versions.
    return Code(__version__, clean=True)
