"""The matching engine of the emulated exchange: orders in, executions and book changes out. Pure; time is an argument.

Fills follow price-time priority; a triggered order becomes a market or limit order when the last price touches its trigger.
Holds: a sale holds its base, a purchase its cost at its limit (else its trigger) with the taker's fee; what is going to
trade at any price is checked against what the book gives when it does. Fees are taken in quote currency, or in base where that
was asked for (of a sale on top of what is sold), and rounded down to the asset's digits; no fill of an order pays more than
the taker's fee when it was placed: so a hold is never too small.
An iceberg shows a part; where that is taken, the next part goes behind all others of its price.
Only so many finished orders of an account, and so many executions of all, are remembered; the oldest go first.
"""

import itertools
import random
import string
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from enum import Enum, unique

from peak_trade.emulator.accounts import HOUSE, MARKET, Accounts
from peak_trade.emulator.book import Book, Level, Match, Queued
from peak_trade.emulator.orders import (
    ZERO,
    Amendment,
    ClientFill,
    Lasting,
    OrderStatus,
    OrderType,
    PlacedOrder,
    Print,
    Rejection,
    SelfTrade,
    Wish,
)
from peak_trade.emulator.pairs import PAIRS, Pair, PairTerms

#: Public trades kept for each pair.
PRINTS_MAX = 2_000
#: Changes of the best prices kept for each pair.
SPREADS_MAX = 200
#: An iceberg shows at least this part of its volume.
SHOWN_LEAST = 15
#: Finished orders kept for each account, and executions of all.
FINISHED_MAX, EXECUTIONS_MAX = 10_000, 50_000
#: How far a market order may go from the best price before the rest of it is cancelled (market price protection).
PROTECTION = Decimal("0.10")
#: A moment after all others, nanoseconds UTC.
NEVER = 1 << 63
_LETTERS = string.ascii_uppercase + string.digits


@unique
class What(Enum):
    """What happened to an order, under WebSocket v2's names of `exec_type`."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    TRADE = "trade"
    FILLED = "filled"
    ICEBERG_REFILL = "iceberg_refill"
    CANCELED = "canceled"
    EXPIRED = "expired"
    AMENDED = "amended"
    STATUS = "status"


@unique
class ExchangeMode(Enum):
    """What the exchange takes, under SystemStatus' names."""

    ONLINE = "online"
    MAINTENANCE = "maintenance"
    CANCEL_ONLY = "cancel_only"
    POST_ONLY = "post_only"
    LIMIT_ONLY = "limit_only"


@dataclass(frozen=True, slots=True)
class OrderNews:
    """Something that readers of streams are told; *execution* only of a trade."""

    what: What
    order: PlacedOrder
    at: int
    execution: ClientFill | None = None


@dataclass(slots=True)
class Listing:
    """A pair as it trades: its book, its last price, its prints, and what triggered orders wait for.

    Attributes:
        spreads: when the best bid and ask changed, nanoseconds UTC, and to what, in ticks; oldest first.
    """

    pair: Pair
    book: Book = field(default_factory=Book)
    last: Decimal = ZERO
    prints: deque[Print] = field(default_factory=lambda: deque(maxlen=PRINTS_MAX))
    spreads: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=SPREADS_MAX))
    waiting: dict[str, PlacedOrder] = field(default_factory=dict)
    trades: int = 0
    firing: bool = False


class MatchingEngine:
    """The exchange."""

    def __init__(
        self,
        pairs: Iterable[Pair] = PAIRS.values(),
        *,
        seed: int = 0,
        tell: Callable[[OrderNews], None] = lambda _news: None,
        told_print: Callable[[Pair, Print], None] = lambda _pair, _print: None,
        touched: Callable[[Pair, bool, int], None] = lambda _pair, _buys, _price: None,
    ) -> None:
        """Open with empty books.

        Args:
            tell: told what happens to clients' orders; told_print: told every trade; touched: told each changed level.

        Executions are kept together, oldest first; by account and id (`fills`); and by account in runs (`runs`):
        what one order took at once is a run, with an id of its own where there are several, and each fill of a resting
        order is one.
        """
        self._chance = random.Random(seed)  # noqa: S311 - names, not secrets
        self.listings = {pair.symbol: Listing(pair, last=pair.start) for pair in pairs}
        self.accounts = Accounts(lambda: self._name("L"))
        self.orders: dict[str, PlacedOrder] = {}
        self.executions: deque[ClientFill] = deque()
        self.fills: dict[str, dict[str, ClientFill]] = defaultdict(dict)
        # The first of a plain dict is slow to find where many before it were deleted.
        self.runs: dict[str, OrderedDict[str, list[ClientFill]]] = defaultdict(OrderedDict)
        self.working: dict[str, dict[str, PlacedOrder]] = defaultdict(dict)
        self._named: dict[tuple[str, str], PlacedOrder] = {}
        self._open_here: Counter[tuple[str, str]] = Counter()
        self.finished: dict[str, deque[PlacedOrder]] = defaultdict(deque)
        self._timed: dict[str, PlacedOrder] = {}
        self._due = NEVER
        self._uncovered: dict[str, PlacedOrder] = {}
        self.timers: dict[str, int] = {}
        self.mode = ExchangeMode.ONLINE
        self.terms: dict[str, PairTerms] = {}
        self._tell, self._told_print, self._told_level = tell, told_print, touched
        self._changed: set[str] = set()
        self._turns = itertools.count(1)

    # ---- taking orders ------------------------------------------------------------------------------------------------

    def check(self, account: str, wish: Wish, now: int) -> PlacedOrder:
        """Look at everything that an order is refused for before it reaches the book; return it, not placed yet.

        Raises:
            Rejection: in Kraken's words.
        """
        pair = wish.pair
        self._check_open()
        self._check_terms(pair, wish.type, post_only=wish.post_only, prices=(wish.price, wish.limit))
        if self.mode is ExchangeMode.POST_ONLY and not wish.post_only:
            raise Rejection("EService:Market in post_only mode")
        if self.mode is ExchangeMode.LIMIT_ONLY and not wish.type.is_limit:
            raise Rejection("EService:Market in limit_only mode")
        if wish.deadline and now > wish.deadline:
            raise Rejection("EService:Deadline elapsed")
        if wish.cl_ord_id and (account, wish.cl_ord_id) in self._named:
            raise Rejection("EGeneral:Invalid arguments:cl_ord_id not unique")
        if wish.reduce_only:
            raise Rejection("EOrder:Reduce only:No position exists")
        if not wish.cash and wish.volume < self._least(pair)[0]:
            raise Rejection("EGeneral:Invalid arguments:volume minimum not met")
        if wish.type is OrderType.ICEBERG:
            _check_shown(wish.display, wish.volume, "displayvol")
            if wish.display > wish.volume:
                raise Rejection("EGeneral:Invalid arguments:displayvol")
        for value in (wish.price, wish.limit):
            _check_digits(value, pair)
        draft = self.draft(account, wish, now)
        if wish.type.triggered and draft.stop <= 0:
            raise Rejection("EGeneral:Invalid arguments:price")
        worth = wish.cash or wish.volume * (draft.limit or draft.stop or self.listings[pair.symbol].last)
        if worth < self._least(pair)[1]:
            raise Rejection("EOrder:Cost minimum not met")
        return draft

    def _least(self, pair: Pair) -> tuple[Decimal, Decimal]:
        """Return the smallest volume and cost of an order."""
        terms = self.terms.get(pair.symbol, PairTerms())
        return terms.ordermin or pair.ordermin, terms.costmin or pair.costmin

    def _check_terms(self, pair: Pair, kind: OrderType, *, post_only: bool, prices: Iterable[Decimal | None]) -> None:
        """Refuse what a pair's terms of the moment do not allow."""
        terms = self.terms.get(pair.symbol)
        if terms is None:
            return
        if terms.status == "delisted":
            raise Rejection("EQuery:Unknown asset pair")
        if terms.status == "reduce_only":
            raise Rejection("EOrder:Reduce only:No position exists")
        closed = {"post_only": not post_only, "limit_only": kind is not OrderType.LIMIT, "cancel_only": True}
        if closed.get(terms.status, False):
            raise Rejection(f"EService:Market in {terms.status} mode")
        if terms.tick and any(price and price % terms.tick for price in prices):
            raise Rejection("EOrder:Tick size check failed")

    def _check_open(self) -> None:
        if self.mode is ExchangeMode.CANCEL_ONLY:
            raise Rejection("EService:Market in cancel_only mode")
        if self.mode is ExchangeMode.MAINTENANCE:
            raise Rejection("EService:Unavailable")

    def add(self, account: str, wish: Wish, now: int) -> PlacedOrder:
        """Take an order and match it.

        Raises:
            Rejection: in Kraken's words; nothing happened.
        """
        return self.place(self.check(account, wish, now), now)

    def place(self, order: PlacedOrder, now: int) -> PlacedOrder:
        """Take an order that was looked at just now, and match it.

        Raises:
            Rejection: in Kraken's words; nothing happened.
        """
        wish = order.wish
        listing = self.listings[wish.pair.symbol]
        if wish.type is not OrderType.MARKET:
            self._hold(order)
        elif wish.starts <= now:
            self._afford_at_once(order, listing, now)
        order.id = self._name("O")
        self.admit(order, now)
        self._tell(OrderNews(What.PENDING_NEW, order, now))
        if wish.starts <= now:
            self._activate(order, listing, now)
        return order

    def admit(self, order: PlacedOrder, now: int) -> None:
        """Enter a working order under all that it is found by; its money is held already, its place in a book is not taken."""
        wish, account = order.wish, order.account
        self.orders[order.id] = order
        self.working[account][order.id] = order
        self._open_here[account, wish.pair.symbol] += 1
        if wish.cl_ord_id:
            self._named[account, wish.cl_ord_id] = order
        if wish.expires or wish.starts > now:
            self._timed[order.id] = order
            self._due = min(self._due, _next_time(order))

    def named(self, account: str, name: str) -> PlacedOrder | None:
        """Return the working order to which its client gave a name."""
        return self._named.get((account, name))

    def open_here(self, account: str, pair: Pair) -> int:
        """Return how many orders of an account work in a pair."""
        return self._open_here[account, pair.symbol]

    def replace(self, order: PlacedOrder, wish: Wish, now: int) -> PlacedOrder:
        """Cancel a working order and place another instead, which may use what the first holds back.

        Raises:
            Rejection: in Kraken's words; nothing happened.
        """
        asset, amount = self._need(self.check(order.account, wish, now))
        own = order.held if order.held_in == asset else ZERO
        if amount > self.accounts.by_name[order.account].free(asset) + own:
            raise Rejection("EOrder:Insufficient funds")
        self._end(order, OrderStatus.CANCELED, "Order replaced", now)
        return self.add(order.account, wish, now)

    def draft(self, account: str, wish: Wish, now: int) -> PlacedOrder:
        """Return an order as it would begin, without a name."""
        order = PlacedOrder(id="", account=account, wish=wish, opened=now, volume=wish.volume, display=wish.display)
        order.rate = self.accounts.by_name[account].tier(now).taker / 100
        order.limit = wish.price if wish.type.is_limit else wish.limit
        order.stop = wish.price if wish.type.triggered and not wish.type.trails else ZERO
        if wish.type.trails:
            order.stop = self._trailed(order, self.listings[wish.pair.symbol].last)
        return order

    def _activate(self, order: PlacedOrder, listing: Listing, now: int) -> None:
        """Let an order begin to work."""
        order.state = OrderStatus.OPEN
        wish = order.wish
        if wish.type.triggered:
            listing.waiting[order.id] = order
            self._tell(OrderNews(What.NEW, order, now))
            if _touches(order, listing.last):
                self._fire(listing, now)
            return
        if wish.post_only and order.limit and listing.book.crosses(buys=wish.buys, price=self._ticks(order.limit, wish.pair)):
            self._tell(OrderNews(What.NEW, order, now))
            self._end(order, OrderStatus.CANCELED, "Post only order", now)
            return
        self._tell(OrderNews(What.NEW, order, now))
        self._match(order, listing, now)

    def _match(self, order: PlacedOrder, listing: Listing, now: int) -> None:
        """Match what can be traded at once; what is left rests, or ends."""
        wish, pair = order.wish, listing.pair
        limit = self._ticks(order.limit, pair) if order.limit else self._protected(listing, buys=wish.buys)
        lots = self._lots(order.left, pair)
        if wish.lasting is Lasting.FOK and self._takeable(order, listing, limit, lots) < lots:
            self._end(order, OrderStatus.CANCELED, "Fill or kill", now)
            return
        blocked = self._trade_through(order, listing, limit, now)
        if not order.left:
            self._filled(order, now)
        elif blocked:
            self._end(order, OrderStatus.CANCELED, "Self trade prevention", now)
        elif order.limit and wish.lasting in (Lasting.GTC, Lasting.GTD):
            self._rest(order, listing)
        else:
            self._end(order, OrderStatus.CANCELED, "Immediate or cancel" if order.limit else "Market price protection", now)
        self._fire(listing, now)

    def _rest(self, order: PlacedOrder, listing: Listing) -> None:
        """Put an order into the book, behind all others of its price; of an iceberg a part shows."""
        pair, lots = listing.pair, self._lots(order.left, listing.pair)
        shown = min(lots, self._lots(order.display, pair)) if order.display else lots
        price = self._ticks(order.limit, pair)
        order.resting = Queued(order.id, order.account, order.wish.buys, price, shown, lots - shown, next(self._turns))
        listing.book.rest(order.resting)
        self._touched(pair, order.wish.buys, price)

    def _touched(self, pair: Pair, buys: bool, price: int) -> None:  # noqa: FBT001 - as listeners are told it
        self._changed.add(pair.symbol)
        self._told_level(pair, buys, price)

    def _trade_through(self, order: PlacedOrder, listing: Listing, limit: int | None, now: int) -> bool:
        """Trade with all that is at a limit, ticks, or better; return whether the account's own orders ended that."""
        book, lots = listing.book, self._lots(order.left, listing.pair)
        while lots:
            maker = next(book.facing(buys=order.wish.buys, price=limit), None)
            if maker is None:
                return False
            if maker.account == order.account and order.account != MARKET:
                if order.wish.self_trade is not SelfTrade.CANCEL_NEWEST:
                    self._end(self.orders[maker.name], OrderStatus.CANCELED, "Self trade prevention", now)
                if order.wish.self_trade is not SelfTrade.CANCEL_OLDEST:
                    return True
                continue
            trade = book.hit(maker, lots)
            lots -= trade.quantity
            self._trade(order, trade, listing, now)
        return False

    def _offers(self, order: PlacedOrder, listing: Listing, limit: int | None) -> Iterator[Level]:
        """Yield what an order would trade with at a limit, ticks, or better, before it meets its own account.

        What icebergs hide of a price comes after all that shows there.
        """
        price = hidden = 0
        for maker in listing.book.facing(buys=order.wish.buys, price=limit):
            if maker.price != price:
                if hidden:
                    yield Level(price, hidden)
                price, hidden = maker.price, 0
            if maker.account != order.account or order.account == MARKET:
                hidden += maker.hidden
                yield Level(price, maker.left)
            elif order.wish.self_trade is not SelfTrade.CANCEL_OLDEST:
                return
        if hidden:
            yield Level(price, hidden)

    def _takeable(self, order: PlacedOrder, listing: Listing, limit: int | None, lots: int) -> int:
        """Return how much of so many lots an order could trade at once."""
        total = 0
        for offer in self._offers(order, listing, limit):
            total += offer.quantity
            if total >= lots:
                return lots
        return total

    # ---- trading -------------------------------------------------------------------------------------------------------

    def _trade(self, taker: PlacedOrder, trade: Match, listing: Listing, now: int) -> None:
        """Book one trade between an incoming order and a resting one."""
        pair = listing.pair
        price = Decimal(trade.price).scaleb(-pair.price_decimals)
        volume = Decimal(trade.quantity).scaleb(-pair.lot_decimals)
        listing.trades += 1
        listing.last = price
        maker = self.orders.get(trade.maker.name)
        self._touched(pair, trade.maker.buys, trade.price)
        self._fill(taker, price, volume, listing, now, maker=False)
        if maker is not None:
            self._fill(maker, price, volume, listing, now, maker=True)
            if not maker.left:
                self._filled(maker, now)
            elif maker.resting is not None and not maker.resting.left:
                self._rest(maker, listing)
                self._tell(OrderNews(What.ICEBERG_REFILL, maker, now))
        else:
            self._settle(MARKET, pair, price, volume, now, buys=not taker.wish.buys)
        # No two trades of a pair have the same time: who asks for the trades since one must miss none.
        at = max(now, listing.prints[-1].at + 1) if listing.prints else now
        told = Print(listing.trades, price, volume, taker.wish.buys, taker.wish.type is OrderType.MARKET, at)
        listing.prints.append(told)
        self._told_print(pair, told)

    def _fill(self, order: PlacedOrder, price: Decimal, volume: Decimal, listing: Listing, now: int, *, maker: bool) -> None:
        """Book an order's part of a trade."""
        pair, wish = listing.pair, order.wish
        cost = price * volume
        if order.account in (MARKET, HOUSE):
            self._settle(order.account, pair, price, volume, now, buys=wish.buys)
            order.done += volume
            return
        account = self.accounts.by_name[order.account]
        tier, in_base = account.tier(now), wish.fee_in_base
        rate = min(order.rate, (tier.maker if maker else tier.taker) / 100)
        asset = pair.base if in_base else pair.quote
        fee = (volume if in_base else cost) * rate
        fee = fee.quantize(Decimal(1).scaleb(-asset.decimals), ROUND_DOWN)
        name = self._name("T")
        order.done += volume
        self._slacken(order, now)
        sign = 1 if wish.buys else -1
        accounts, who = self.accounts, order.account
        lines = (
            accounts.move(who, pair.base.name, volume * sign, "trade", name, now, fee if in_base else ZERO),
            accounts.move(who, pair.quote.name, -cost * sign, "trade", name, now, ZERO if in_base else fee),
        )
        account.trade(cost * pair.quote.dollars, now)
        order.cost += cost
        order.fee += fee * price if in_base else fee
        found = ClientFill(
            name, listing.trades, order, pair, wish.buys, price, volume, cost, fee, asset.name, maker, now, lines
        )
        order.trades.append(name)
        self.remember(found)
        if wish.close is not None:
            order.uncovered += volume
            self._uncovered[order.id] = order
        self._tell(OrderNews(What.TRADE, order, now, found))

    def remember(self, found: ClientFill) -> None:
        """Keep an execution, and forget the oldest of all where there are too many."""
        order, runs = found.order, self.runs[found.order.account]
        name, last = next(reversed(runs.items()), ("", [found]))
        if name and _one_run(last[-1], found):
            # A run has the name of its only fill, and one of its own from the second on.
            if len(last) == 1:
                del runs[name]
                name = order.runs[-1] = self._name("T")
                runs[name] = last
            last.append(found)
        else:
            runs[found.id] = [found]
            order.runs.append(found.id)
        self.fills[order.account][found.id] = found
        self.executions.append(found)
        if len(self.executions) > EXECUTIONS_MAX:
            oldest = self.executions.popleft()
            who = oldest.order.account
            del self.fills[who][oldest.id]
            first = next(iter(self.runs[who]))
            self.runs[who][first].remove(oldest)
            if not self.runs[who][first]:
                del self.runs[who][first]

    def _settle(self, who: str, pair: Pair, price: Decimal, volume: Decimal, now: int, *, buys: bool) -> None:
        sign = 1 if buys else -1
        self.accounts.move(who, pair.base.name, volume * sign, "trade", "", now)
        self.accounts.move(who, pair.quote.name, -price * volume * sign, "trade", "", now)

    def _filled(self, order: PlacedOrder, now: int) -> None:
        order.resting = None
        self._finish(order, OrderStatus.CLOSED, "", now)
        self._tell(OrderNews(What.FILLED, order, now))

    def take_back(self, orders: Iterable[PlacedOrder], ended: Iterable[PlacedOrder], fills: Iterable[ClientFill]) -> None:
        """Take orders of an earlier run as they were placed, as they ended, and executions as they were; nobody is told."""
        for order in orders:
            self.orders[order.id] = order
            if not order.state.working:
                continue
            # One that waits for its time began neither while nobody served.
            self.admit(order, order.opened if order.state is OrderStatus.PENDING else NEVER)
            if order.wish.type.triggered and order.state is OrderStatus.OPEN and not order.fired:
                self.listings[order.wish.pair.symbol].waiting[order.id] = order
            if order.uncovered:
                self._uncovered[order.id] = order
        for order in ended:
            self.finished[order.account].append(order)
        for kept in self.finished.values():
            while len(kept) > FINISHED_MAX:
                del self.orders[kept.popleft().id]
        resting = sorted((order.resting for order in self.orders.values() if order.resting), key=lambda queued: queued.turn)
        for queued in resting:
            self.listings[self.orders[queued.name].wish.pair.symbol].book.rest(queued)
        self._turns = itertools.count(resting[-1].turn + 1 if resting else 1)
        self._recall(fills)

    def _recall(self, fills: Iterable[ClientFill]) -> None:
        """Take back executions, oldest first, in the runs that they were in, under the names that their orders know."""
        runs: dict[str, list[list[ClientFill]]] = defaultdict(list)
        for found in fills:
            mine = runs[found.order.account]
            if mine and _one_run(mine[-1][-1], found):
                mine[-1].append(found)
            else:
                mine.append([found])
            self.fills[found.order.account][found.id] = found
            self.executions.append(found)
        for account, mine in runs.items():
            # The oldest runs of an order may be forgotten, its newest are not.
            seen: Counter[str] = Counter()
            for run in reversed(mine):
                order = run[0].order
                seen[order.id] += 1
                self.runs[account][order.runs[-seen[order.id]]] = run
                self.runs[account].move_to_end(order.runs[-seen[order.id]], last=False)

    # ---- the market's own orders -----------------------------------------------------------------------------------------

    def quote(self, pair: Pair, price: int, quantity: int, *, buys: bool) -> Queued | None:
        """Rest an order of the market's in the book, in ticks and lots; None where it would cross."""
        book = self.listings[pair.symbol].book
        if not quantity or price <= 0 or book.crosses(buys=buys, price=price):
            return None
        order = Queued("", MARKET, buys, price, quantity)
        book.rest(order)
        self._touched(pair, buys, price)
        return order

    def withdraw(self, pair: Pair, order: Queued) -> None:
        """Take an order of the market's out of the book, if it is still there."""
        if order.left:
            self.listings[pair.symbol].book.remove(order)
            self._touched(pair, order.buys, order.price)

    def take(self, pair: Pair, volume: Decimal, now: int, *, buys: bool, limit: int | None = None) -> None:
        """Let the market trade against the book at once, at any price or at that one, ticks, or better."""
        listing = self.listings[pair.symbol]
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        wish = Wish(pair=pair, buys=buys, type=kind, volume=volume)
        order = PlacedOrder(id="", account=MARKET, wish=wish, opened=now, volume=volume)
        self._trade_through(order, listing, limit, now)
        self._fire(listing, now)

    def give(self, order: PlacedOrder, lots: int, now: int) -> None:
        """Let a resting order trade so many lots as taker, as if an offer of the market's at its price had been there."""
        queued, listing = order.resting, self.listings[order.wish.pair.symbol]
        if queued is None:
            return
        shows_on = lots < queued.left
        if shows_on:
            listing.book.side(buys=queued.buys).lessen(queued, lots)
        else:
            listing.book.remove(queued)
        self._trade(order, Match(Queued("", MARKET, not queued.buys, queued.price, lots), queued.price, lots), listing, now)
        self._touched(listing.pair, queued.buys, queued.price)
        if not order.left:
            self._filled(order, now)
        elif not shows_on:
            self._rest(order, listing)
            self._tell(OrderNews(What.ICEBERG_REFILL, order, now))
        self._fire(listing, now)

    # ---- ends ----------------------------------------------------------------------------------------------------------

    def cancel(self, order: PlacedOrder, now: int, reason: str = "User requested") -> None:
        """Cancel a working order."""
        self._end(order, OrderStatus.CANCELED, reason, now)

    def cancel_all(self, account: str, now: int, reason: str = "User requested") -> int:
        """Cancel all orders of an account; return how many there were."""
        found = list(self.working[account].values())
        for order in found:
            self._end(order, OrderStatus.CANCELED, reason, now)
        return len(found)

    def _end(self, order: PlacedOrder, state: OrderStatus, reason: str, now: int) -> None:
        listing = self.listings[order.wish.pair.symbol]
        if order.resting is not None:
            listing.book.remove(order.resting)
            self._touched(listing.pair, order.wish.buys, order.resting.price)
            order.resting = None
        self._finish(order, state, reason, now)
        self._tell(OrderNews(What.EXPIRED if state is OrderStatus.EXPIRED else What.CANCELED, order, now))

    def _finish(self, order: PlacedOrder, state: OrderStatus, reason: str, now: int) -> None:
        order.state, order.reason, order.closed = state, reason, now
        self.listings[order.wish.pair.symbol].waiting.pop(order.id, None)
        self._timed.pop(order.id, None)
        self._let_go(order)
        del self.working[order.account][order.id]
        self._open_here[order.account, order.wish.pair.symbol] -= 1
        if order.wish.cl_ord_id:
            self._named.pop((order.account, order.wish.cl_ord_id), None)
        kept = self.finished[order.account]
        kept.append(order)
        if len(kept) > FINISHED_MAX:
            del self.orders[kept.popleft().id]

    # ---- changes of an order -------------------------------------------------------------------------------------------

    def amend(self, order: PlacedOrder, change: Amendment, now: int) -> None:
        """Change a working order; it keeps its place in the queue where only its quantity, or what shows of it, shrinks.

        Raises:
            Rejection: in Kraken's words; nothing happened.
        """
        self._check_amend(order, change)
        listing = self.listings[order.wish.pair.symbol]
        if change.volume is not None and change.volume <= order.done:
            order.volume = order.done
            self._end(order, OrderStatus.CANCELED, "User requested", now)
            return
        before = (order.volume, order.limit, order.stop, order.display)
        order.volume = order.volume if change.volume is None else change.volume
        order.limit = order.limit if change.limit is None else change.limit
        order.stop = order.stop if change.stop is None else change.stop
        order.display = order.display if change.display is None else change.display
        try:
            self._rehold(order)
        except Rejection:
            order.volume, order.limit, order.stop, order.display = before
            raise
        order.amended = True
        self._tell(OrderNews(What.AMENDED, order, now))
        if order.id in listing.waiting and _touches(order, listing.last):
            self._fire(listing, now)
        elif order.resting is not None and not self._shrunk(order, order.resting, listing, anew=change.display is not None):
            listing.book.remove(order.resting)
            self._touched(listing.pair, order.wish.buys, order.resting.price)
            order.resting = None
            self._match(order, listing, now)

    def _shrunk(self, order: PlacedOrder, resting: Queued, listing: Listing, *, anew: bool) -> bool:
        """Make a resting order smaller where that is all that an amendment asks for; return whether it is.

        Args:
            anew: whether what shows of an iceberg is to be another part; else the rest of what shows still does.
        """
        pair, lots = listing.pair, self._lots(order.left, listing.pair)
        shown = min(lots, self._lots(order.display, pair) if anew else resting.left)
        if self._ticks(order.limit, pair) != resting.price or lots > resting.left + resting.hidden or shown > resting.left:
            return False
        if shown < resting.left:
            listing.book.side(buys=order.wish.buys).lessen(resting, resting.left - shown)
            self._touched(pair, order.wish.buys, resting.price)
        resting.hidden = lots - shown
        return True

    def _check_amend(self, order: PlacedOrder, change: Amendment) -> None:
        """Refuse a change that does not fit an order."""
        wish, pair = order.wish, order.wish.pair
        volume, limit, stop, display, post_only = change
        self._check_open()
        self._check_terms(pair, wish.type, post_only=post_only or wish.post_only, prices=(limit, stop))
        if (volume, limit, stop, display) == (None,) * 4:
            raise Rejection("EGeneral:Invalid arguments")
        if display is not None and wish.type is not OrderType.ICEBERG:
            raise Rejection("EGeneral:Invalid arguments:display_qty")
        if order.display and (volume is not None or display is not None):
            shown = order.display if display is None else display
            _check_shown(shown, order.volume if volume is None else volume, "display_qty")
        if wish.type is OrderType.MARKET:
            raise Rejection("EOrder:Invalid order")
        if volume is not None and volume < self._least(pair)[0]:
            raise Rejection("EGeneral:Invalid arguments:volume minimum not met")
        if limit is not None and (not wish.type.has_limit or not order.limit):
            raise Rejection("EGeneral:Invalid arguments:limit_price")
        if stop is not None and (not wish.type.triggered or wish.type.trails or order.fired):
            raise Rejection("EGeneral:Invalid arguments:trigger_price")
        for value in (limit, stop):
            _check_digits(value or ZERO, pair)
        price = limit or order.limit or stop or order.stop
        if price and (order.volume if volume is None else volume) * price < self._least(pair)[1]:
            raise Rejection("EOrder:Cost minimum not met")
        book = self.listings[pair.symbol].book
        if limit is None or order.resting is None or not (post_only or wish.post_only):
            return
        if book.crosses(buys=wish.buys, price=self._ticks(limit, pair)):
            raise Rejection("EOrder:Post only order")

    # ---- time and triggers ---------------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """Let time pass: orders begin and expire, dead-man timers fire, and changes of the best prices are noted."""
        for account, due in list(self.timers.items()):
            if due <= now:
                del self.timers[account]
                self.cancel_all(account, now, "Cancelled by dead man's switch")
        if now >= self._due:
            self._let_due(now)
        self._note_spreads(now)

    def _let_due(self, now: int) -> None:
        """Let orders begin and expire, and work out when the next ones do."""
        for order in list(self._timed.values()):
            if order.wish.expires and order.wish.expires <= now:
                self._end(order, OrderStatus.EXPIRED, "Order expired", now)
        for order in list(self._timed.values()):
            # An order that began before this one in the same moment may have ended it.
            if order.id in self._timed and order.state is OrderStatus.PENDING and order.wish.starts <= now:
                self._begin(order, now)
        self._due = min((_next_time(order) for order in self._timed.values()), default=NEVER)

    def _note_spreads(self, now: int) -> None:
        for symbol in self._changed:
            listing = self.listings[symbol]
            bid, ask = listing.book.bids.best(), listing.book.asks.best()
            before = listing.spreads[-1][1:] if listing.spreads else None
            if bid is not None and ask is not None and (bid, ask) != before:
                listing.spreads.append((now, bid, ask))
        self._changed.clear()

    def _begin(self, order: PlacedOrder, now: int) -> None:
        """Let an order begin whose time has come; a market order is looked at as if it came now."""
        if not order.wish.expires:
            del self._timed[order.id]
        listing = self.listings[order.wish.pair.symbol]
        if order.wish.type is OrderType.MARKET:
            try:
                self._afford_at_once(order, listing, now)
            except Rejection:
                self._end(order, OrderStatus.CANCELED, "Insufficient funds", now)
                return
        self._activate(order, listing, now)

    def _fire(self, listing: Listing, now: int) -> None:
        """Turn triggered orders whose price was touched into orders in the book, until none is left."""
        if listing.firing:
            return
        listing.firing = fired = True
        while fired:
            fired = False
            for order in list(listing.waiting.values()):
                if order.wish.type.trails:
                    order.stop = self._trailed(order, listing.last)
                    self._slacken(order, now)
                if _touches(order, listing.last):
                    del listing.waiting[order.id]
                    fired = True
                    self._triggered(order, listing, now)
                    break
        listing.firing = False
        self._cover(now)

    def _triggered(self, order: PlacedOrder, listing: Listing, now: int) -> None:
        """Bring an order whose trigger was touched into the book, if its account can pay for it now."""
        order.fired = True
        if order.wish.limit_offset is not None:
            order.limit = (order.stop + order.wish.limit_offset.of(order.stop)).quantize(listing.pair.tick)
        self._tell(OrderNews(What.STATUS, order, now))
        if order.wish.type.has_limit and order.limit <= 0:
            self._end(order, OrderStatus.CANCELED, "Invalid price", now)
            return
        try:
            if order.wish.type.has_limit:
                self._rehold(order)
            else:
                self._let_go(order)
                self._afford_at_once(order, listing, now)
        except Rejection:
            self._end(order, OrderStatus.CANCELED, "Insufficient funds", now)
            return
        self._match(order, listing, now)

    def _cover(self, now: int) -> None:
        """Place the closing orders of what was filled; too little of it waits for more, what can't be paid is left out."""
        due = [order for order in self._uncovered.values() if order.uncovered >= order.wish.pair.ordermin]
        for order in due:
            del self._uncovered[order.id]
        self._uncovered = {name: order for name, order in self._uncovered.items() if order.state.working}
        for order in due:
            volume, order.uncovered = order.uncovered, ZERO
            if order.wish.close is None:
                continue
            try:
                self.add(order.account, replace(order.wish.close, volume=volume), now).refid = order.id
            except Rejection:
                continue

    def _trailed(self, order: PlacedOrder, last: Decimal) -> Decimal:
        trail = order.wish.trail
        if trail is None:
            return order.stop
        distance = abs(trail.of(last))
        moved = (last + distance if order.wish.buys else last - distance).quantize(order.wish.pair.tick)
        if not order.stop:
            return moved
        return min(order.stop, moved) if order.wish.buys else max(order.stop, moved)

    # ---- money -----------------------------------------------------------------------------------------------------------

    def _rate(self, order: PlacedOrder, now: int) -> Decimal:
        """Return the most that a fill of an order pays from now on, a fraction."""
        return min(order.rate, self.accounts.by_name[order.account].tier(now).taker / 100)

    def _need(self, order: PlacedOrder) -> tuple[str, Decimal]:
        """Return what an order that rests or waits holds back."""
        pair, wish = order.wish.pair, order.wish
        if not wish.buys:
            return pair.base.name, order.left * (1 + order.rate) if wish.fee_in_base else order.left
        price = order.limit or order.stop
        if not order.limit and wish.limit_offset is not None:
            price += max(wish.limit_offset.of(order.stop), ZERO)
        return pair.quote.name, order.left * price * (1 + (ZERO if wish.fee_in_base else order.rate))

    def _hold(self, order: PlacedOrder) -> None:
        asset, amount = self._need(order)
        self.accounts.hold(order.account, asset, amount)
        order.held, order.held_in = amount, asset

    def _rehold(self, order: PlacedOrder) -> None:
        before = (order.held_in, order.held)
        if order.held:
            self.accounts.let_go(order.account, *before)
        try:
            self._hold(order)
        except Rejection:
            if before[1]:
                self.accounts.hold(order.account, *before)
            raise

    def _slacken(self, order: PlacedOrder, now: int) -> None:
        """Hold back no more than an order needs now, which pays less where the account's fees fell."""
        order.rate = self._rate(order, now)
        spare = order.held - self._need(order)[1] if order.held else ZERO
        if spare > 0:
            self.accounts.let_go(order.account, order.held_in, spare)
            order.held -= spare

    def _let_go(self, order: PlacedOrder) -> None:
        if order.held:
            self.accounts.let_go(order.account, order.held_in, order.held)
            order.held = ZERO

    def _afford_at_once(self, order: PlacedOrder, listing: Listing, now: int) -> None:
        """Work out what a market order will cost, and how much a purchase by cost buys.

        Raises:
            Rejection: the account has less than that.
        """
        wish, pair = order.wish, listing.pair
        account = self.accounts.by_name[order.account]
        cost, volume, wanted = ZERO, ZERO, order.left
        for offer in self._offers(order, listing, self._protected(listing, buys=wish.buys)):
            price = Decimal(offer.price).scaleb(-pair.price_decimals)
            part = Decimal(offer.quantity).scaleb(-pair.lot_decimals)
            if wish.cash:
                rest = ((wish.cash - cost) / price).quantize(Decimal(1).scaleb(-pair.lot_decimals), ROUND_DOWN)
                part = min(part, rest)
            else:
                part = min(part, wanted - volume)
            cost, volume = cost + part * price, volume + part
            if not part or volume == wanted:
                break
        if wish.cash:
            order.volume = volume
        rate = order.rate = self._rate(order, now)
        if not wish.buys and account.free(pair.base.name) < order.left * (1 + rate * wish.fee_in_base):
            raise Rejection("EOrder:Insufficient funds")
        if wish.buys and account.free(pair.quote.name) < cost * (1 + rate * (not wish.fee_in_base)):
            raise Rejection("EOrder:Insufficient funds")
        if order.volume < pair.ordermin:
            raise Rejection("EGeneral:Invalid arguments:volume minimum not met")

    # ---- small things --------------------------------------------------------------------------------------------------

    def _protected(self, listing: Listing, *, buys: bool) -> int | None:
        best = listing.book.side(buys=not buys).best()
        if best is None:
            return None
        return int(best * (1 + PROTECTION if buys else 1 - PROTECTION))

    def _name(self, first: str) -> str:
        letters = "".join(self._chance.choices(_LETTERS, k=16))
        return f"{first}{letters[:5]}-{letters[5:10]}-{letters[10:]}"

    @staticmethod
    def _ticks(price: Decimal, pair: Pair) -> int:
        return int(price.scaleb(pair.price_decimals))

    @staticmethod
    def _lots(volume: Decimal, pair: Pair) -> int:
        return int(volume.scaleb(pair.lot_decimals))


def _one_run(before: ClientFill, after: ClientFill) -> bool:
    """Tell whether two executions of an account, the one right after the other, are of what one order took at once."""
    return before.order is after.order and before.at == after.at and not before.maker and not after.maker


def _next_time(order: PlacedOrder) -> int:
    """Return when an order begins, or else expires; nanoseconds UTC."""
    wish = order.wish
    if order.state is OrderStatus.PENDING and wish.starts:
        return wish.starts
    return wish.expires or NEVER


def _touches(order: PlacedOrder, last: Decimal) -> bool:
    """Tell whether the last price is at or beyond an order's trigger."""
    wish = order.wish
    rising = wish.buys == (wish.type not in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT))
    return last >= order.stop if rising else last <= order.stop


def _check_shown(display: Decimal, volume: Decimal, name: str) -> None:
    """Refuse what an iceberg is to show where it is too little of its volume."""
    if display <= 0 or display * SHOWN_LEAST < volume:
        raise Rejection(f"EGeneral:Invalid arguments:{name}")


def _check_digits(price: Decimal, pair: Pair) -> None:
    if price != price.quantize(pair.tick):
        digits = pair.price_decimals
        raise Rejection(f"EOrder:Invalid price:{pair.altname} price can only be specified up to {digits} decimals.")
