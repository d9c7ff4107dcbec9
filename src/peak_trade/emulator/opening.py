"""An emulated exchange put together: engine, market, keys, interfaces, and the clock that they share."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peak_trade.emulator.accounts import HOUSE, MARKET
from peak_trade.emulator.candles import Candles
from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.control import Control
from peak_trade.emulator.exchange import MatchingEngine, OrderNews, What
from peak_trade.emulator.faults import FaultPlan
from peak_trade.emulator.keeping import Keeper
from peak_trade.emulator.market import OpeningPast, SyntheticMarket
from peak_trade.emulator.orders import LedgerEntry, Print
from peak_trade.emulator.pairs import PAIRS, Pair
from peak_trade.emulator.replay import Recording, ReplayMarket, beginning, shift_of
from peak_trade.emulator.rest import Rest, RestParts
from peak_trade.emulator.server import Emulator
from peak_trade.emulator.signing import CANCEL_ONLY, QUERY, TRADING, ApiKey, make_key
from peak_trade.emulator.stream import Hub
from peak_trade.emulator.trading import StreamTrading

#: The account that the keys of a run belong to.
CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorChoice:
    """What an emulator is opened with.

    Attributes:
        pairs: symbols; seed: of the market and of every name; speed: how much faster its clock goes.
        tier: name of the rate limits in force.
        recordings: what is replayed, of each pair one; empty is the made-up market.
        begin: recorded time at which a replay begins, nanoseconds UTC; None leaves it to the recordings.
        data_clock: whether the emulator's clock begins at that recorded time, instead of the present.
    """

    pairs: Sequence[str] = tuple(PAIRS)
    seed: int = 7
    speed: float = 1.0
    tier: str = "intermediate"
    recordings: Sequence[Recording] = ()
    begin: int | None = None
    data_clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEmulator:
    """An emulator, ready to serve, with the keys of its client by name; *keeper* is what its state file is written by."""

    emulator: Emulator
    engine: MatchingEngine
    keys: dict[str, ApiKey]
    control_token: str
    keeper: Keeper | None = None


def open_emulator(
    choice: EmulatorChoice,
    wall: Callable[[], int],
    secrets: random.Random,
    keeper: Keeper | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> OpenEmulator:
    """Put an emulator together.

    Args:
        choice: what it is opened with.
        wall: the present, nanoseconds UTC; the emulator's own clock begins there, or where that of a state file ended if that
            is later.
        secrets: where keys and tokens come from.
        keeper: of the state file, which the exchange is taken from if it holds one.
        say: told in a sentence what a person should know.

    Raises:
        InputError: the state does not fit the choice, or nothing is recorded where the replay begins.
        StorageError: the state can't be written.
    """
    now, replayed = _clock(choice, wall, keeper)
    began = now()
    pairs = [PAIRS[name] for name in choice.pairs]
    candles = {pair.symbol: Candles() for pair in pairs}
    wires = Wires(candles, keeper)
    # No run may give a name that an earlier one gave.
    seed = (choice.seed << 32) + keeper.runs if keeper is not None else choice.seed
    engine = MatchingEngine(pairs, seed=seed, tell=wires.hear_news, told_print=wires.hear_print, touched=wires.hear_level)
    wires.faults = faults = FaultPlan(CATALOGUE, engine, choice.seed)
    engine.accounts.listen(wires.hear_entry)
    rights = {"trading": TRADING, "query": QUERY, "cancel": CANCEL_ONLY}
    keys = {} if keeper is None else keeper.keys()
    keys = keys or {name: make_key(name, CLIENT, allowed, secrets) for name, allowed in rights.items()}
    parts = RestParts(
        engine,
        {key.id: key for key in keys.values()},
        secrets,
        lambda pair, interval: candles[pair.symbol].of(interval),
        choice.tier,
    )
    faults.keys = parts.keys
    rest = Rest(parts)
    wires.hub = hub = Hub(parts, StreamTrading(parts, rest, faults), faults)
    if keeper is None or keeper.fresh:
        engine.accounts.open(CLIENT, at=began)
    else:
        keeper.restore(parts, candles, drawn=not choice.recordings)
        # What was due while nobody served happens before anybody can trade.
        engine.tick(began)

    def ended(now: int) -> None:
        faults.write("replay over", now)
        say("the replay is over: the market stands still from now on")

    market = _market(choice, engine, candles, began, replayed, keeper, ended)

    def step(now: int) -> None:
        shocks, faults.shocks = faults.shocks, []
        for symbol, factor in shocks:
            market.jump(PAIRS[symbol], factor)
        market.step(now, faults.still())

    def keep(now: int) -> None:
        if keeper is not None:
            keeper.save(parts, candles, now)

    if keeper is not None:
        keeper.runs += 1
    keep(began)
    token = secrets.randbytes(32).hex()
    emulator = Emulator(rest, hub, step, now, control=Control(faults, token, now), keys=parts.keys, keep=keep)
    return OpenEmulator(emulator=emulator, engine=engine, keys=keys, control_token=token, keeper=keeper)


class Wires:
    """Carries what the engine tells to all that hear it.

    Attributes:
        faults, hub: set once they are there; they need the engine, and the engine needs somebody to tell.
    """

    faults: FaultPlan
    hub: Hub | None = None

    def __init__(self, candles: Mapping[str, Candles], keeper: Keeper | None) -> None:
        self._candles, self._keeper = candles, keeper

    def hear_print(self, pair: Pair, one: Print) -> None:
        """Carry a public trade."""
        self._candles[pair.symbol].add(one)
        if self._keeper is not None:
            self._keeper.hear_print(pair, one)
        if self.hub is not None:
            self.hub.hear_print(pair, one)

    def hear_news(self, news: OrderNews) -> None:
        """Carry what happened to an order."""
        if news.what is What.PENDING_NEW:
            self.faults.placed(news.order, news.at)
        if self._keeper is not None:
            self._keeper.hear_news(news)
        if self.hub is not None:
            self.hub.hear_news(news)

    def hear_level(self, pair: Pair, buys: bool, price: int) -> None:  # noqa: FBT001 - as the engine tells it
        """Carry a change of a book."""
        if self.hub is not None:
            self.hub.hear_level(pair, buys, price)

    def hear_entry(self, account: str, entry: LedgerEntry) -> None:
        """Carry a line of a ledger."""
        if account in (MARKET, HOUSE):
            return
        if self._keeper is not None:
            self._keeper.hear_entry(account, entry)
        if self.hub is not None:
            self.hub.hear_entry(account, entry)


def _clock(choice: EmulatorChoice, wall: Callable[[], int], keeper: Keeper | None) -> tuple[Callable[[], int], int]:
    """Return the emulator's clock, and the recorded time at which a replay begins."""
    opened = begin = wall()
    first = opened
    if choice.recordings:
        begin = beginning(choice.recordings, choice.begin)
        first = begin if choice.data_clock else opened
    if keeper is not None:
        first = max(first, keeper.clock)
        if choice.begin is not None:
            keeper.origin.pop("shift", None)
        if choice.recordings and "shift" in keeper.origin:
            begin = first - keeper.origin["shift"]

    def now() -> int:
        return first + int((wall() - opened) * choice.speed)

    return now, begin


def _market(
    choice: EmulatorChoice,
    engine: MatchingEngine,
    candles: Mapping[str, Candles],
    began: int,
    begin: int,
    keeper: Keeper | None,
    ended: Callable[[int], None],
) -> SyntheticMarket | ReplayMarket:
    """Return the market, which goes on where a state file's ended."""
    origin: dict[str, Any] = {} if keeper is None else keeper.origin
    if choice.recordings:
        shift = origin.setdefault("shift", shift_of(choice.recordings, begin, began))
        return ReplayMarket(engine, choice.recordings, began - shift, shift, began, choice.seed, candles, ended)
    first, seed = origin.setdefault("began", began), origin.setdefault("seed", choice.seed)
    runs = 0 if keeper is None else keeper.runs
    return SyntheticMarket(engine, choice.seed + runs, began, candles, OpeningPast(seed, first))
