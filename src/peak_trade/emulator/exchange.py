"""The matching engine of the emulated exchange: orders in, executions and book changes out. Pure; time is an argument.

Fills follow price-time priority; a triggered order becomes a market or limit order when the last price touches its trigger.
Holds: a sale holds its base, a purchase its cost at its limit (else its trigger) with the taker's fee; what is going to
trade at any price is checked against what the book gives when it does. Fees are taken in quote currency, or of a purchase in
base where that was asked for, and rounded down to the asset's digits: so a hold is never too small.
Only so many finished orders of an account, and so many executions of all, are remembered; the oldest go first.
"""

import random
import string
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from enum import Enum, unique

from peak_trade.emulator.accounts import HOUSE, MARKET, Accounts
from peak_trade.emulator.book import Book, Match, Queued
from peak_trade.emulator.orders import (
    ZERO,
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
from peak_trade.emulator.pairs import PAIRS, Pair, fees_at

#: Public trades kept for each pair.
PRINTS_MAX = 2_000
#: Finished orders kept for each account, and executions of all.
FINISHED_MAX, EXECUTIONS_MAX = 10_000, 50_000
#: How far a market order may go from the best price before the rest of it is cancelled (market price protection).
PROTECTION = Decimal("0.10")
_LETTERS = string.ascii_uppercase + string.digits


@unique
class What(Enum):
    """What happened to an order, under WebSocket v2's names of `exec_type`."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    TRADE = "trade"
    FILLED = "filled"
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
    """A pair as it trades: its book, its last price, its prints, and what triggered orders wait for."""

    pair: Pair
    book: Book = field(default_factory=Book)
    last: Decimal = ZERO
    prints: deque[Print] = field(default_factory=lambda: deque(maxlen=PRINTS_MAX))
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
        """
        self._chance = random.Random(seed)  # noqa: S311 - names, not secrets
        self.listings = {pair.symbol: Listing(pair, last=pair.start) for pair in pairs}
        self.accounts = Accounts(lambda: self._name("L"))
        self.orders: dict[str, PlacedOrder] = {}
        self.executions: deque[ClientFill] = deque(maxlen=EXECUTIONS_MAX)
        self.working: dict[str, dict[str, PlacedOrder]] = defaultdict(dict)
        self.finished: dict[str, deque[PlacedOrder]] = defaultdict(deque)
        self._timed: dict[str, PlacedOrder] = {}
        self._uncovered: dict[str, PlacedOrder] = {}
        self.timers: dict[str, int] = {}
        self.mode = ExchangeMode.ONLINE
        self._tell, self._told_print, self._touched = tell, told_print, touched

    # ---- taking orders ------------------------------------------------------------------------------------------------

    def check(self, account: str, wish: Wish, now: int) -> None:
        """Look at everything that an order is refused for before it reaches the book.

        Raises:
            Rejection: in Kraken's words.
        """
        pair = wish.pair
        self._check_open()
        if self.mode is ExchangeMode.POST_ONLY and not wish.post_only:
            raise Rejection("EService:Market in post_only mode")
        if self.mode is ExchangeMode.LIMIT_ONLY and wish.type is not OrderType.LIMIT:
            raise Rejection("EService:Market in limit_only mode")
        if wish.deadline and now > wish.deadline:
            raise Rejection("EService:Deadline elapsed")
        if wish.cl_ord_id and any(order.wish.cl_ord_id == wish.cl_ord_id for order in self.working[account].values()):
            raise Rejection("EGeneral:Invalid arguments:cl_ord_id not unique")
        if wish.reduce_only:
            raise Rejection("EOrder:Reduce only:No position exists")
        if not wish.cash and wish.volume < pair.ordermin:
            raise Rejection("EGeneral:Invalid arguments:volume minimum not met")
        for value in (wish.price, wish.limit):
            _check_digits(value, pair)
        draft = self.draft(account, wish, now)
        if wish.type.triggered and draft.stop <= 0:
            raise Rejection("EGeneral:Invalid arguments:price")
        worth = wish.cash or wish.volume * (draft.limit or draft.stop or self.listings[pair.symbol].last)
        if worth < pair.costmin:
            raise Rejection("EOrder:Cost minimum not met")

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
        self.check(account, wish, now)
        order = self.draft(account, wish, now)
        listing = self.listings[wish.pair.symbol]
        if wish.type is not OrderType.MARKET:
            self._hold(order)
        elif wish.starts <= now:
            self._afford_at_once(order, listing)
        order.id = self._name("O")
        self.orders[order.id] = order
        self.working[account][order.id] = order
        if wish.expires or wish.starts > now:
            self._timed[order.id] = order
        self._tell(OrderNews(What.PENDING_NEW, order, now))
        if wish.starts <= now:
            self._activate(order, listing, now)
        return order

    def replace(self, order: PlacedOrder, wish: Wish, now: int) -> PlacedOrder:
        """Cancel a working order and place another instead, which may use what the first holds back.

        Raises:
            Rejection: in Kraken's words; nothing happened.
        """
        self.check(order.account, wish, now)
        asset, amount = self._need(self.draft(order.account, wish, now))
        own = order.held if order.held_in == asset else ZERO
        if amount > self.accounts.by_name[order.account].free(asset) + own:
            raise Rejection("EOrder:Insufficient funds")
        self._end(order, OrderStatus.CANCELED, "Order replaced", now)
        return self.add(order.account, wish, now)

    def draft(self, account: str, wish: Wish, now: int) -> PlacedOrder:
        """Return an order as it would begin, without a name."""
        order = PlacedOrder(id="", account=account, wish=wish, opened=now, volume=wish.volume)
        order.limit = wish.price if wish.type is OrderType.LIMIT else wish.limit
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
            return
        if wish.post_only and order.limit and listing.book.crosses(buys=wish.buys, price=self._ticks(order.limit, wish.pair)):
            self._tell(OrderNews(What.NEW, order, now))
            self._end(order, OrderStatus.CANCELED, "Post only order", now)
            return
        self._tell(OrderNews(What.NEW, order, now))
        self._match(order, listing, now)

    def _match(self, order: PlacedOrder, listing: Listing, now: int) -> None:
        """Match what can be traded at once; what is left rests, or ends."""
        wish, pair, book = order.wish, listing.pair, listing.book
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
            order.resting = Queued(
                order.id, order.account, wish.buys, self._ticks(order.limit, pair), self._lots(order.left, pair)
            )
            book.rest(order.resting)
            self._touched(pair, wish.buys, order.resting.price)
        else:
            self._end(order, OrderStatus.CANCELED, "Immediate or cancel" if order.limit else "Market price protection", now)
        self._fire(listing, now)

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

    def _offers(self, order: PlacedOrder, listing: Listing, limit: int | None) -> Iterator[Queued]:
        """Yield what an order would trade with at a limit, ticks, or better, before it meets its own account."""
        for maker in listing.book.facing(buys=order.wish.buys, price=limit):
            if maker.account != order.account or order.account == MARKET:
                yield maker
            elif order.wish.self_trade is not SelfTrade.CANCEL_OLDEST:
                return

    def _takeable(self, order: PlacedOrder, listing: Listing, limit: int | None, lots: int) -> int:
        """Return how much of so many lots an order could trade at once."""
        total = 0
        for maker in self._offers(order, listing, limit):
            total += maker.left
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
        tier = fees_at(self.accounts.by_name[order.account].volume)
        rate = (tier.maker if maker else tier.taker) / 100
        in_base = wish.fee_in_base and wish.buys
        asset = pair.base if in_base else pair.quote
        fee = (volume if in_base else cost) * rate
        fee = fee.quantize(Decimal(1).scaleb(-asset.decimals), ROUND_DOWN)
        name = self._name("T")
        order.done += volume
        self._slacken(order)
        sign = 1 if wish.buys else -1
        accounts, who = self.accounts, order.account
        lines = (
            accounts.move(who, pair.base.name, volume * sign, "trade", name, now, fee if in_base else ZERO),
            accounts.move(who, pair.quote.name, -cost * sign, "trade", name, now, ZERO if in_base else fee),
        )
        accounts.by_name[who].volume += cost * pair.quote.dollars
        order.cost += cost
        order.fee += fee * price if in_base else fee
        found = ClientFill(
            name, listing.trades, order, pair, wish.buys, price, volume, cost, fee, asset.name, maker, now, lines
        )
        order.trades.append(name)
        if wish.close is not None:
            order.uncovered += volume
            self._uncovered[order.id] = order
        self.executions.append(found)
        self._tell(OrderNews(What.TRADE, order, now, found))

    def _settle(self, who: str, pair: Pair, price: Decimal, volume: Decimal, now: int, *, buys: bool) -> None:
        sign = 1 if buys else -1
        self.accounts.move(who, pair.base.name, volume * sign, "trade", "", now)
        self.accounts.move(who, pair.quote.name, -price * volume * sign, "trade", "", now)

    def _filled(self, order: PlacedOrder, now: int) -> None:
        order.resting = None
        self._finish(order, OrderStatus.CLOSED, "", now)
        self._tell(OrderNews(What.FILLED, order, now))

    def take_back(self, orders: Iterable[PlacedOrder], ended: Iterable[PlacedOrder], resting: Iterable[Queued]) -> None:
        """Take orders of an earlier run as they were placed, as they ended, and what rests of them in turn; nobody is told."""
        for order in orders:
            self.orders[order.id] = order
            if not order.state.working:
                continue
            self.working[order.account][order.id] = order
            if order.wish.expires or order.state is OrderStatus.PENDING:
                self._timed[order.id] = order
            if order.wish.type.triggered and order.state is OrderStatus.OPEN and not order.fired:
                self.listings[order.wish.pair.symbol].waiting[order.id] = order
        self._uncovered = {order.id: order for order in self.orders.values() if order.uncovered}
        for order in ended:
            self.finished[order.account].append(order)
        for kept in self.finished.values():
            while len(kept) > FINISHED_MAX:
                del self.orders[kept.popleft().id]
        for queued in resting:
            self.listings[self.orders[queued.name].wish.pair.symbol].book.rest(queued)

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
        kept = self.finished[order.account]
        kept.append(order)
        if len(kept) > FINISHED_MAX:
            del self.orders[kept.popleft().id]

    # ---- changes of an order -------------------------------------------------------------------------------------------

    def amend(
        self,
        order: PlacedOrder,
        now: int,
        *,
        volume: Decimal | None,
        limit: Decimal | None,
        stop: Decimal | None,
        post_only: bool = False,
    ) -> None:
        """Change a working order; it keeps its place in the queue where only its quantity shrinks.

        Raises:
            Rejection: in Kraken's words; nothing happened.
        """
        self._check_amend(order, volume, limit, stop, post_only=post_only)
        pair, listing = order.wish.pair, self.listings[order.wish.pair.symbol]
        if volume is not None and volume <= order.done:
            order.volume = order.done
            self._end(order, OrderStatus.CANCELED, "User requested", now)
            return
        before = (order.volume, order.limit, order.stop)
        order.volume = order.volume if volume is None else volume
        order.limit = order.limit if limit is None else limit
        order.stop = order.stop if stop is None else stop
        try:
            self._rehold(order)
        except Rejection:
            order.volume, order.limit, order.stop = before
            raise
        order.amended = True
        self._tell(OrderNews(What.AMENDED, order, now))
        if order.resting is None:
            return
        lots, price = self._lots(order.left, pair), self._ticks(order.limit, pair)
        if price == order.resting.price and lots <= order.resting.left:
            if lots < order.resting.left:
                listing.book.side(buys=order.wish.buys).lessen(order.resting, order.resting.left - lots)
                self._touched(pair, order.wish.buys, price)
            return
        listing.book.remove(order.resting)
        self._touched(pair, order.wish.buys, order.resting.price)
        order.resting = None
        self._match(order, listing, now)

    def _check_amend(
        self, order: PlacedOrder, volume: Decimal | None, limit: Decimal | None, stop: Decimal | None, *, post_only: bool
    ) -> None:
        """Refuse a change that does not fit an order."""
        wish, pair = order.wish, order.wish.pair
        self._check_open()
        if volume is None and limit is None and stop is None:
            raise Rejection("EGeneral:Invalid arguments")
        if wish.type is OrderType.MARKET:
            raise Rejection("EOrder:Invalid order")
        if volume is not None and volume < pair.ordermin:
            raise Rejection("EGeneral:Invalid arguments:volume minimum not met")
        if limit is not None and (not wish.type.has_limit or not order.limit):
            raise Rejection("EGeneral:Invalid arguments:limit_price")
        if stop is not None and (not wish.type.triggered or wish.type.trails or order.fired):
            raise Rejection("EGeneral:Invalid arguments:trigger_price")
        for value in (limit, stop):
            _check_digits(value or ZERO, pair)
        price = limit or order.limit or stop or order.stop
        if price and (order.volume if volume is None else volume) * price < pair.costmin:
            raise Rejection("EOrder:Cost minimum not met")
        book = self.listings[pair.symbol].book
        if limit is None or order.resting is None or not (post_only or wish.post_only):
            return
        if book.crosses(buys=wish.buys, price=self._ticks(limit, pair)):
            raise Rejection("EOrder:Post only order")

    # ---- time and triggers ---------------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """Let time pass: orders begin and expire, dead-man timers fire."""
        for account, due in list(self.timers.items()):
            if due <= now:
                del self.timers[account]
                self.cancel_all(account, now, "Cancelled by dead man's switch")
        for order in list(self._timed.values()):
            if order.wish.expires and order.wish.expires <= now:
                self._end(order, OrderStatus.EXPIRED, "Order expired", now)
        for order in list(self._timed.values()):
            # An order that began before this one in the same moment may have ended it.
            if order.id in self._timed and order.state is OrderStatus.PENDING and order.wish.starts <= now:
                self._begin(order, now)

    def _begin(self, order: PlacedOrder, now: int) -> None:
        """Let an order begin whose time has come; a market order is looked at as if it came now."""
        if not order.wish.expires:
            del self._timed[order.id]
        listing = self.listings[order.wish.pair.symbol]
        if order.wish.type is OrderType.MARKET:
            try:
                self._afford_at_once(order, listing)
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
                    self._slacken(order)
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
                self._afford_at_once(order, listing)
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

    def _need(self, order: PlacedOrder) -> tuple[str, Decimal]:
        """Return what an order that rests or waits holds back."""
        pair, wish = order.wish.pair, order.wish
        if not wish.buys:
            return pair.base.name, order.left
        price = order.limit or order.stop
        if not order.limit and wish.limit_offset is not None:
            price += max(wish.limit_offset.of(order.stop), ZERO)
        rate = fees_at(self.accounts.by_name[order.account].volume).taker / 100
        return pair.quote.name, order.left * price * (1 + (ZERO if wish.fee_in_base else rate))

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

    def _slacken(self, order: PlacedOrder) -> None:
        """Hold back no more than an order needs now."""
        spare = order.held - self._need(order)[1] if order.held else ZERO
        if spare > 0:
            self.accounts.let_go(order.account, order.held_in, spare)
            order.held -= spare

    def _let_go(self, order: PlacedOrder) -> None:
        if order.held:
            self.accounts.let_go(order.account, order.held_in, order.held)
            order.held = ZERO

    def _afford_at_once(self, order: PlacedOrder, listing: Listing) -> None:
        """Work out what a market order will cost, and how much a purchase by cost buys.

        Raises:
            Rejection: the account has less than that.
        """
        wish, pair = order.wish, listing.pair
        account = self.accounts.by_name[order.account]
        cost, volume, wanted = ZERO, ZERO, order.left
        for maker in self._offers(order, listing, self._protected(listing, buys=wish.buys)):
            price = Decimal(maker.price).scaleb(-pair.price_decimals)
            part = Decimal(maker.left).scaleb(-pair.lot_decimals)
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
        if not wish.buys and account.free(pair.base.name) < order.left:
            raise Rejection("EOrder:Insufficient funds")
        rate = ZERO if wish.fee_in_base else fees_at(account.volume).taker / 100
        if wish.buys and account.free(pair.quote.name) < cost * (1 + rate):
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


def _touches(order: PlacedOrder, last: Decimal) -> bool:
    """Tell whether the last price is at or beyond an order's trigger."""
    wish = order.wish
    rising = wish.buys == (wish.type not in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT))
    return last >= order.stop if rising else last <= order.stop


def _check_digits(price: Decimal, pair: Pair) -> None:
    if price != price.quantize(pair.tick):
        digits = pair.price_decimals
        raise Rejection(f"EOrder:Invalid price:{pair.altname} price can only be specified up to {digits} decimals.")
