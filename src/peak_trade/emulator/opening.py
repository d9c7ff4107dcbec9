"""An emulated exchange put together: engine, market, keys, interfaces, and the clock that they share."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peak_trade.emulator.accounts import HOUSE, MARKET
from peak_trade.emulator.candles import Candles
from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.control import Control
from peak_trade.emulator.exchange import MatchingEngine, OrderNews, What
from peak_trade.emulator.faults import FaultPlan
from peak_trade.emulator.market import SyntheticMarket
from peak_trade.emulator.orders import Print
from peak_trade.emulator.pairs import PAIRS, Pair
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
    """

    pairs: Sequence[str] = tuple(PAIRS)
    seed: int = 7
    speed: float = 1.0
    tier: str = "intermediate"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEmulator:
    """An emulator, ready to serve, with the keys of its client by name."""

    emulator: Emulator
    engine: MatchingEngine
    keys: dict[str, ApiKey]
    control_token: str


def open_emulator(choice: EmulatorChoice, wall: Callable[[], int], secrets: random.Random) -> OpenEmulator:
    """Put an emulator together.

    Args:
        choice: what it is opened with.
        wall: the present, nanoseconds UTC; the emulator's own clock begins there.
        secrets: where keys and tokens come from.
    """
    began = wall()

    def now() -> int:
        return began + int((wall() - began) * choice.speed)

    pairs = [PAIRS[name] for name in choice.pairs]
    candles = {pair.symbol: Candles() for pair in pairs}
    hubs: list[Hub] = []

    def hear_print(pair: Pair, one: Print) -> None:
        candles[pair.symbol].add(one)
        for hub in hubs:
            hub.hear_print(pair, one)

    def hear_news(news: OrderNews) -> None:
        if news.what is What.PENDING_NEW:
            faults.placed(news.order, news.at)
        for hub in hubs:
            hub.hear_news(news)

    def hear_level(pair: Pair, buys: bool, price: int) -> None:  # noqa: FBT001 - as the engine tells it
        for hub in hubs:
            hub.hear_level(pair, buys, price)

    engine = MatchingEngine(pairs, seed=choice.seed, tell=hear_news, told_print=hear_print, touched=hear_level)
    faults = FaultPlan(CATALOGUE, engine, choice.seed)
    market = SyntheticMarket(engine, choice.seed, began, candles)
    rights = {"trading": TRADING, "query": QUERY, "cancel": CANCEL_ONLY}
    keys = {name: make_key(name, CLIENT, allowed, secrets) for name, allowed in rights.items()}
    engine.accounts.open(CLIENT, at=began)
    parts = RestParts(
        engine,
        {key.id: key for key in keys.values()},
        secrets,
        lambda pair, interval: candles[pair.symbol].of(interval),
        choice.tier,
    )
    faults.keys = parts.keys
    rest = Rest(parts)
    hub = Hub(parts, StreamTrading(parts, rest, faults), faults)
    hubs.append(hub)
    engine.accounts.listen(lambda who, entry: None if who in (MARKET, HOUSE) else hub.hear_entry(who, entry))
    token = secrets.randbytes(32).hex()
    control = Control(faults, token, now)

    def step(now: int) -> None:
        shocks, faults.shocks = faults.shocks, []
        for symbol, factor in shocks:
            market.jump(PAIRS[symbol], factor)
        market.step(now, faults.still())

    emulator = Emulator(rest, hub, step, now, control=control, keys=parts.keys)
    return OpenEmulator(emulator=emulator, engine=engine, keys=keys, control_token=token)
