"""The stack of stage 2 once from top to bottom, each layer by itself and with its time. Nothing of it stays.

Journal, registry and venue work in a folder that goes with the run; the exchange is asked, and one order is validated there.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from decimal import ROUND_UP, Decimal
from enum import Enum, unique
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.compose import AccountChoice, DataChoice, Parts
from peak_trade.journal.chain import Chain
from peak_trade.journal.registry import Registry
from peak_trade.journal.sessions import Sessions
from peak_trade.journal.signing import Signer, Verifier, public_path
from peak_trade.journal.verify import verify_account
from peak_trade.model.clock import nanoseconds
from peak_trade.model.errors import CheckFailed, InputError, PeakTradeError
from peak_trade.model.order import Fill, Intent, MarketBar, OrderKind, Reason
from peak_trade.risk.gate import Account, Approved, Mode, Refused, judge
from peak_trade.runs.limits import limits_of
from peak_trade.runs.testnet.profile import terms_of
from peak_trade.strategy.catalogue import make
from peak_trade.venue.kraken.gateway import Gateway
from peak_trade.venue.kraken.market_stream import BookNews, MarketNews, book_topic
from peak_trade.venue.kraken.reading import AssetPair, Balances, PairTicker
from peak_trade.venue.kraken.stream import LineNews, LineState
from peak_trade.venue.kraken.validating import ValidatingOrders
from peak_trade.venue.matching import Costs
from peak_trade.venue.port import Accepted
from peak_trade.venue.simulated import Market

#: Longest time for a layer and for one attempt to ask, and between two public questions, seconds.
LAYER_S, CALL_S, SPACE_S = 15.0, 5.0, 0.1
#: Levels of the book that are subscribed to.
DEPTH = 10
#: Cash of the simulated account, quote currency.
CASH = Decimal(10_000)
#: Bars that the strategy is asked about.
BARS = 500


@unique
class LayerState(Enum):
    """How a layer ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Layer(NamedTuple):
    """A layer of the stack: how it ended, what was found, and how long it took, milliseconds."""

    name: str
    outcome: LayerState
    found: str
    ms: float

    def to_json(self) -> dict[str, Any]:
        """Return the layer as a JSON object."""
        return {"name": self.name, "state": self.outcome.value, "found": self.found, "ms": round(self.ms, 3)}


class NotPossible(PeakTradeError):
    """A layer that can't be tried, and why."""


def smoke_test(parts: Parts, profile: str, without: str) -> list[Layer]:
    """Try every layer.

    Args:
        profile: whose strategy and pair are used.
        without: why there is no key, empty where there is one; without one the layers that need it are skipped.
    """
    with tempfile.TemporaryDirectory(prefix="peak_trade_smoke") as folder:
        return asyncio.run(_Stack(parts, profile, without, Path(folder)).run())


class _Stack:
    """What the layers learn from those before them."""

    def __init__(self, parts: Parts, profile: str, without: str, folder: Path) -> None:
        self._parts, self._profile, self._without, self._folder = parts, profile, without, folder
        testnet = parts.settings.file.exchange.kraken_testnet
        self._base_url = testnet.base_url
        self._symbol = "BTC/EUR"
        self._pair: AssetPair | None = None
        self._ticker: PairTicker | None = None
        self._approved: Approved | None = None
        self._market = parts.public_market(SPACE_S, CALL_S)
        self._gateway: Gateway | None = None

    async def run(self) -> list[Layer]:
        layers: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
            ("configuration", self._configuration),
            ("market data", self._data),
            ("strategy", self._strategy),
            ("exchange: time", self._time),
            ("exchange: pairs", self._pairs),
            ("exchange: ticker", self._prices),
            ("exchange: depth", self._depth),
            ("risk gate", self._gate),
            ("journal", self._journal),
            ("registry", self._registry),
            ("simulated fill", self._fill),
            ("stream", self._stream),
            ("exchange: balance", self._balance),
            ("exchange: validated order", self._order),
        )
        try:
            return [await self._tried(name, work) for name, work in layers]
        finally:
            await self._market.close()
            if self._gateway is not None:
                await self._gateway.close()

    async def _tried(self, name: str, work: Callable[[], Awaitable[str]]) -> Layer:
        clock = self._parts.clock
        begun = clock.elapsed_s()
        try:
            async with asyncio.timeout(LAYER_S):
                found, outcome = await work(), LayerState.OK
        except NotPossible as error:
            found, outcome = str(error), LayerState.SKIPPED
        except TimeoutError:
            found, outcome = f"no end within {LAYER_S:g} s", LayerState.FAILED
        except (PeakTradeError, OSError, ValueError, ArithmeticError) as error:
            found, outcome = str(error) or type(error).__name__, LayerState.FAILED
        return Layer(name, outcome, found, (clock.elapsed_s() - begun) * 1000)

    # ---- on this machine -----------------------------------------------------------------------------------------------

    async def _configuration(self) -> str:
        terms = terms_of(self._parts, self._profile)
        self._symbol = terms.symbols[0]
        return f"{self._parts.settings.path}, profile {self._profile}"

    async def _data(self) -> str:
        bars = self._parts.dataset(DataChoice(path=None, symbol="SYN/USD", timeframe="1m")).bars
        return f"{len(bars):,} bars of SYN/USD"

    async def _strategy(self) -> str:
        terms = terms_of(self._parts, self._profile)
        strategy = make(terms.profile.strategy, dict(terms.params))
        bars = self._parts.dataset(DataChoice(path=None, symbol="SYN/USD", timeframe="1m")).bars[:BARS]
        targets = strategy.targets(bars)
        return f"{strategy.key}: {int((targets[1:] != targets[:-1]).sum())} changes of target over {len(bars)} bars"

    async def _gate(self) -> str:
        parts = self._parts
        limits = limits_of(parts.settings.file.live_risk)
        small = self._small_order()
        price = small.reference
        large = Intent.from_json(small.to_json() | {"quantity": str(limits.max_order_notional / price * 2)})
        verdicts = [judge(intent, self._account(price), limits) for intent in (small, large)]
        if not isinstance(verdicts[0], Approved) or not isinstance(verdicts[1], Refused):
            said = [reason.words for verdict in verdicts if isinstance(verdict, Refused) for reason in verdict.reasons]
            raise CheckFailed(f"expected a small order to pass and a large one not, found otherwise: {'; '.join(said)}")
        self._approved = verdicts[0]
        return f"a small order passes, one of twice the limit does not: {verdicts[1].reasons[0].code}"

    async def _journal(self) -> str:
        at = self._parts.clock.now()
        key = self._folder / "keys" / "journal.pem"
        chain = Chain.begin(
            self._folder / "journal", "smoke", "smoke", {"kind": "smoke"}, at=at, signer=Signer.load_or_make(key)
        )
        try:
            chain.append("smoke", {"words": "one record"}, at=at, durable=True)
            chain.sign(at=at)
        finally:
            chain.close()
        report = verify_account(self._folder / "journal", "smoke", Verifier.load(public_path(key)))
        if not report.intact:
            raise CheckFailed(f"expected a sound journal, found {report.flaws[0].words}")
        return f"{sum(part.records for part in report.segments)} records on disk, signed and verified"

    async def _registry(self) -> str:
        registry = Registry(f"sqlite:///{self._folder / 'registry.db'}")
        try:
            census = Sessions(registry.database).census()
            return f"made, migrated and asked: {len(census.started)} running sessions"
        finally:
            registry.close()

    async def _fill(self) -> str:
        approved = self._needed(self._approved, "risk gate")
        intent = approved.intent
        venue = self._parts.ideal_venue(
            AccountChoice(
                name="smoke",
                origin="smoke",
                instruments={self._symbol: self._parts.instrument(self._symbol)},
                cash=CASH,
                market=Market(costs=Costs(Decimal("0.004"), Decimal("0.0025"), Decimal(0))),
            )
        )
        try:
            reply = await venue.submit(approved)
            if not isinstance(reply, Accepted):
                raise CheckFailed(f"expected the simulated venue to take the order, found {reply.words}")
            price = float(intent.reference)
            bar = MarketBar(self._symbol, intent.decided_ns + 1, 60_000_000_000, price, price, price, price, 1.0)
            fills = [one for one in (*venue.opened(bar), *venue.traded(bar)) if isinstance(one, Fill)]
        finally:
            venue.close()
        if not fills:
            raise CheckFailed("expected the simulated venue to fill the order, found no fill")
        return f"{fills[0].quantity.normalize():f} at {fills[0].price.normalize():f}, fee {fills[0].fee.normalize():f}"

    # ---- at the exchange -----------------------------------------------------------------------------------------------

    async def _time(self) -> str:
        return f"unix time {(await self._market.time()).unixtime}"

    async def _pairs(self) -> str:
        pairs = await self._market.pairs()
        self._pair = pairs.get(self._symbol)
        if self._pair is None:
            raise InputError(f"expected {self._symbol} among {len(pairs)} pairs, found that it is not listed; choose another")
        return f"{len(pairs)} pairs; {self._symbol} is {self._pair.status}"

    async def _prices(self) -> str:
        pair = self._needed(self._pair, "exchange: pairs")
        self._ticker = await self._market.ticker(pair.altname)
        return f"{self._symbol}: {self._ticker.b[0]} bid, {self._ticker.a[0]} asked"

    async def _depth(self) -> str:
        pair = self._needed(self._pair, "exchange: pairs")
        depth = await self._market.depth(pair.altname, DEPTH)
        if not (depth.asks and depth.bids) or depth.bids[0].price >= depth.asks[0].price:
            raise CheckFailed("expected bids below asks, found a book that is empty or crossed")
        return f"{len(depth.bids)} bids, {len(depth.asks)} asks"

    async def _stream(self) -> str:
        pair = self._needed(self._pair, "exchange: pairs")
        heard: asyncio.Queue[MarketNews | LineNews] = asyncio.Queue()
        stream = self._parts.market_stream(
            [book_topic(self._symbol, DEPTH)], {self._symbol: pair}, heard.put_nowait, heard.put_nowait
        )
        following, news = asyncio.create_task(stream.run()), asyncio.create_task(self._first_book(heard))
        try:
            await asyncio.wait((following, news), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            return await news
        finally:
            for task in (following, news):
                task.cancel()
            await asyncio.gather(following, news, return_exceptions=True)

    @staticmethod
    async def _first_book(heard: "asyncio.Queue[MarketNews | LineNews]") -> str:
        while True:
            news = await heard.get()
            if isinstance(news, LineNews) and news.state is not LineState.OPEN:
                raise CheckFailed(f"expected a connection that stays, found: {news.words}")
            if isinstance(news, BookNews):
                if not news.book.valid:
                    raise CheckFailed("expected the book that its checksum says, found another")
                levels = len(news.book.asks(DEPTH)) + len(news.book.bids(DEPTH))
                return f"snapshot of {levels} levels, checksum {news.book.checksum()} is right"

    async def _balance(self) -> str:
        found = await self._private().read("Balance", Balances)
        return f"{sum(amount > 0 for amount in found.values())} assets with a balance; amounts are not shown"

    async def _order(self) -> str:
        gateway = self._private()
        approved, pair = self._needed(self._approved, "risk gate"), self._needed(self._pair, "exchange: pairs")
        reply = await ValidatingOrders(gateway, {self._symbol: pair}, self._parts.clock).submit(approved)
        if not isinstance(reply, Accepted):
            raise CheckFailed(f"expected {self._base_url} to call the order valid, found: {reply.words}")
        return f"{approved.intent.quantity} {self._symbol} at {approved.intent.price}: valid, and not placed"

    # ---- what several need -----------------------------------------------------------------------------------------------

    def _private(self) -> Gateway:
        if self._without:
            raise NotPossible(self._without)
        if self._gateway is None:
            self._gateway = self._parts.gateway(CALL_S)
        return self._gateway

    def _small_order(self) -> Intent:
        """Return the smallest purchase that the exchange takes, at the best bid."""
        pair, ticker = self._needed(self._pair, "exchange: pairs"), self._needed(self._ticker, "exchange: ticker")
        price = ticker.b[0].quantize(pair.tick_size)
        least = max(pair.ordermin, pair.costmin / price)
        quantity = (least / pair.lot_step).quantize(Decimal(1), ROUND_UP) * pair.lot_step
        now = self._parts.clock.now()
        name = hashlib.sha256(self._parts.ids.next_run().encode()).hexdigest()[:32]
        return Intent(
            client_id=name,
            leg="smoke",
            symbol=self._symbol,
            kind=OrderKind.LIMIT,
            quantity=quantity,
            reason=Reason.TARGET,
            reference=price,
            decided_ns=nanoseconds(now),
            price=price,
        )

    def _account(self, price: Decimal) -> Account:
        now_ns = nanoseconds(self._parts.clock.now())
        return Account(
            mode=Mode.RUNNING,
            now_ns=now_ns,
            priced_ns=now_ns,
            price=price,
            prices={self._symbol: price},
            positions={},
            pending={},
            equity=CASH,
            day_start_equity=CASH,
            recent=(),
            sent_today=0,
            clock_skew_ms=0.0,
            late_ns=0,
            exiting=frozenset(),
        )

    @staticmethod
    def _needed(found: Any, layer: str) -> Any:
        """Return what a layer before found.

        Raises:
            NotPossible: it found nothing.
        """
        if found is None:
            raise NotPossible(f"it needs what '{layer}' finds")
        return found


def proven(layers: Sequence[Layer]) -> bool:
    """Tell whether every layer worked."""
    return all(layer.outcome is LayerState.OK for layer in layers)
