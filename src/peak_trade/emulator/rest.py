"""Kraken's REST interface without a socket: a request's parts in, a JSON answer out.

Checks come in Kraken's order: key, signature, nonce, permission, rate, arguments. Whatever is wrong is an answer with an error
string, never an exception.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import format_datetime
from typing import Any, NamedTuple

from peak_trade.emulator import documents as doc
from peak_trade.emulator.counters import AMEND, CANCEL, EDIT, NS, TIERS, Counter, by_age
from peak_trade.emulator.exchange import Listing, MatchingEngine
from peak_trade.emulator.orders import ZERO, OrderStatus, PlacedOrder, Rejection
from peak_trade.emulator.pairs import ASSETS, PAIRS, Pair, asset_of, fees_at, pair_of
from peak_trade.emulator.parameters import Parameters, decimal_of, wish_of
from peak_trade.emulator.signing import ApiKey, Right, accept_nonce, signed_by

Json = dict[str, Any]
#: Minutes of candles.
INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
PAGE = 50
#: Seconds for which a WebSocket token may be used.
TOKEN_S = 900


class RestCall(NamedTuple):
    """What was received: *now* is when, nanoseconds UTC; header names in small letters."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    now: int


class Candle(NamedTuple):
    """A candle; *at* is its opening, unix seconds."""

    at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    trades: int


def quiet(price: Decimal) -> Candle:
    """Return a candle in which nothing happened."""
    return Candle(0, price, price, price, price, price, ZERO, 0)


@dataclass(slots=True)
class RestParts:
    """What the interface works with, besides the exchange.

    Attributes:
        keys: by their id; tokens: keys by WebSocket token, with the moment until which each may be used.
        candles: returns a pair's candles of an interval in minutes, oldest first, the running one last.
        today: returns a pair's day: open, high, low, volume, cost, trades.
        tier: name of the rate limits in force.
    """

    exchange: MatchingEngine
    keys: dict[str, ApiKey]
    chance: random.Random
    candles: Callable[[Pair, int], list[Candle]]
    tier: str = "intermediate"
    tokens: dict[str, tuple[ApiKey, int]] = field(default_factory=dict)
    calls: dict[str, Counter] = field(default_factory=dict)
    engine: dict[tuple[str, str], Counter] = field(default_factory=dict)


class Rest:
    """The REST interface."""

    def __init__(self, desk: RestParts) -> None:
        self._desk = desk
        self._exchange = desk.exchange
        self._public: dict[str, Callable[[Parameters, int], Any]] = {
            "Time": self._time,
            "SystemStatus": self._status,
            "Assets": self._assets,
            "AssetPairs": self._pairs,
            "Ticker": self._ticker,
            "OHLC": self._ohlc,
            "Depth": self._depth,
            "Trades": self._trades,
            "Spread": self._spread,
        }
        self._private: dict[str, tuple[Right | None, float, Callable[[ApiKey, Parameters, int], Any]]] = {
            "Balance": (Right.FUNDS, 1, self._balance),
            "BalanceEx": (Right.FUNDS, 1, self._balance_ex),
            "TradeBalance": (Right.FUNDS, 1, self._trade_balance),
            "OpenOrders": (Right.OPEN_ORDERS, 1, self._open_orders),
            "ClosedOrders": (Right.CLOSED_ORDERS, 2, self._closed_orders),
            "QueryOrders": (Right.OPEN_ORDERS, 1, self._query_orders),
            "TradesHistory": (Right.CLOSED_ORDERS, 2, self._history),
            "QueryTrades": (Right.CLOSED_ORDERS, 1, self._query_trades),
            "OpenPositions": (Right.OPEN_ORDERS, 1, lambda _key, _given, _now: {}),
            "Ledgers": (Right.LEDGER, 2, self._ledgers),
            "QueryLedgers": (Right.LEDGER, 1, self._query_ledgers),
            "TradeVolume": (Right.FUNDS, 1, self._volume),
            "DepositStatus": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "WithdrawStatus": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "DepositMethods": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "GetApiKeyInfo": (None, 1, self._key_info),
            "GetWebSocketsToken": (Right.WEBSOCKET, 1, self._token),
            "AddOrder": (Right.TRADE, 0, self._add),
            "AddOrderBatch": (Right.TRADE, 0, self._add_batch),
            "AmendOrder": (Right.TRADE, 0, self._amend),
            "EditOrder": (Right.TRADE, 0, self._edit),
            "CancelOrder": (Right.CANCEL, 0, self._cancel),
            "CancelOrderBatch": (Right.CANCEL, 0, self._cancel_batch),
            "CancelAll": (Right.CANCEL, 0, self._cancel_all),
            "CancelAllOrdersAfter": (Right.CANCEL, 0, self._dead_man),
        }

    def answer(self, request: RestCall) -> Json:
        """Return the JSON of an answer; the HTTP status is always 200."""
        try:
            return {"error": [], "result": self._result(request)}
        except Rejection as refused:
            return {"error": [str(refused)]}

    def _result(self, request: RestCall) -> Any:
        parts = request.path.strip("/").split("/")
        if len(parts) != 3 or parts[0] != "0":
            raise Rejection("EGeneral:Unknown method")
        kind = request.headers.get("content-type", "")
        if parts[1] == "public":
            method = self._public.get(parts[2])
            if method is None:
                raise Rejection("EGeneral:Unknown method")
            return method(Parameters.read(request.body, kind), request.now)
        if parts[1] != "private" or parts[2] not in self._private:
            raise Rejection("EGeneral:Unknown method")
        right, cost, act = self._private[parts[2]]
        key = self._desk.keys.get(request.headers.get("api-key", ""))
        if key is None:
            raise Rejection("EAPI:Invalid key")
        try:
            given = Parameters.read(request.body, kind)
            nonce = given.text("nonce")
        except Rejection:
            given, nonce = Parameters({}), ""
        if not signed_by(key, request.path, nonce, request.body, request.headers.get("api-sign", "")):
            raise Rejection("EAPI:Invalid signature")
        if not accept_nonce(key, nonce):
            raise Rejection("EAPI:Invalid nonce")
        if right is not None and right not in key.rights:
            raise Rejection("EGeneral:Permission denied")
        if cost and not self._calls(key).count(cost, request.now):
            raise Rejection("EAPI:Rate limit exceeded")
        self.let_time_pass(request.now)
        return act(key, given, request.now)

    def let_time_pass(self, now: int) -> None:
        """Let orders begin and expire that are due."""
        self._exchange.tick(now)

    def act(self, name: str, key: ApiKey, given: Parameters, now: int) -> Any:
        """Do what a private method does for a key whose signature need not be looked at.

        Raises:
            Rejection: in Kraken's words.
        """
        right, _, method = self._private[name]
        if right is not None and right not in key.rights:
            raise Rejection("EGeneral:Permission denied")
        return method(key, given, now)

    def _calls(self, key: ApiKey) -> Counter:
        limits = TIERS[self._desk.tier]
        return self._desk.calls.setdefault(key.id, Counter(limits.rest_most, limits.rest_decay))

    def _charge(self, account: str, pair: Pair, cost: float, now: int) -> None:
        limits = TIERS[self._desk.tier]
        counter = self._desk.engine.setdefault((account, pair.symbol), Counter(limits.engine_most, limits.engine_decay))
        if not counter.count(cost, now):
            raise Rejection("EOrder:Rate limit exceeded")

    # ---- public --------------------------------------------------------------------------------------------------------

    def _time(self, _given: Parameters, now: int) -> Json:
        from datetime import UTC, datetime

        moment = datetime.fromtimestamp(now // NS, UTC)
        return {"unixtime": now // NS, "rfc1123": format_datetime(moment, usegmt=True).replace("GMT", "+0000")}

    def _status(self, _given: Parameters, now: int) -> Json:
        return {"status": self._exchange.mode.value, "timestamp": doc.rfc3339(now, 0)}

    def _assets(self, given: Parameters, _now: int) -> Json:
        names = given.names("asset")
        found = [asset_of(name) for name in names] if names else list(ASSETS.values())
        if not all(found):
            raise Rejection("EQuery:Unknown asset")
        return {asset.id: doc.asset_document(asset) for asset in found if asset}

    def _pairs(self, given: Parameters, _now: int) -> Json:
        if given.text("aclass_base", "currency") != "currency":
            return {}
        return {key: doc.pair_document(pair) for key, pair in self._named(given).items()}

    def _named(self, given: Parameters) -> dict[str, Pair]:
        """Return the pairs asked for under the key that an answer gives them: the id, or the slash name that was asked."""
        names = given.names("pair")
        if not names:
            return {pair.id: pair for pair in PAIRS.values() if pair.symbol in self._exchange.listings}
        found: dict[str, Pair] = {}
        for name in names:
            pair = pair_of(name)
            if pair is None or pair.symbol not in self._exchange.listings:
                raise Rejection("EQuery:Unknown asset pair")
            found[name if "/" in name else pair.id] = pair
        return found

    def _one(self, given: Parameters) -> tuple[str, Listing]:
        named = self._named(given)
        if not given.names("pair"):
            raise Rejection("EGeneral:Invalid arguments")
        key, pair = next(iter(named.items()))
        return key, self._exchange.listings[pair.symbol]

    def _ticker(self, given: Parameters, _now: int) -> Json:
        return {key: self._ticker_of(self._exchange.listings[pair.symbol]) for key, pair in self._named(given).items()}

    def _ticker_of(self, listing: Listing) -> Json:
        pair = listing.pair
        digits = max(pair.price_decimals, 5)
        ask, bid = listing.book.asks.levels(1), listing.book.bids.levels(1)
        candles = self._desk.candles(pair, 1440)
        day = candles[-1] if candles else quiet(listing.last)

        def level(levels: list[Any]) -> list[str]:
            if not levels:
                return ["0.00000", "0", "0.000"]
            price = Decimal(levels[0].price).scaleb(-pair.price_decimals)
            lots = Decimal(levels[0].quantity).scaleb(-pair.lot_decimals)
            return [doc.fixed(price, digits), str(int(lots)), doc.fixed(lots, 3)]

        last = listing.prints[-1].volume if listing.prints else ZERO
        return {
            "a": level(ask),
            "b": level(bid),
            "c": [doc.fixed(listing.last, digits), doc.fixed(last, 8)],
            "v": [doc.fixed(day.volume, 8)] * 2,
            "p": [doc.fixed(day.vwap, digits)] * 2,
            "t": [day.trades] * 2,
            "l": [doc.fixed(day.low, digits)] * 2,
            "h": [doc.fixed(day.high, digits)] * 2,
            "o": doc.fixed(day.open, digits),
        }

    def _ohlc(self, given: Parameters, _now: int) -> Json:
        key, listing = self._one(given)
        interval = given.whole("interval", 1, 1, 21600)
        if interval not in INTERVALS:
            raise Rejection("EGeneral:Invalid arguments:interval")
        since = given.whole("since", 0, 0, 2**62)
        digits = listing.pair.price_decimals
        found = self._desk.candles(listing.pair, interval)[-720:]
        rows = [
            [
                candle.at,
                *(doc.fixed(value, digits) for value in candle[1:6]),
                doc.fixed(candle.volume, 8),
                candle.trades,
            ]
            for candle in found
            if candle.at > since or candle is found[-1]
        ]
        return {key: rows, "last": found[-2].at if len(found) > 1 else 0}

    def _depth(self, given: Parameters, now: int) -> Json:
        key, listing = self._one(given)
        count, pair = given.whole("count", 100, 1, 500), listing.pair

        def side(levels: list[Any]) -> list[list[Any]]:
            return [
                [
                    doc.fixed(Decimal(level.price).scaleb(-pair.price_decimals), max(pair.price_decimals, 5)),
                    doc.fixed(Decimal(level.quantity).scaleb(-pair.lot_decimals), 3 if level.quantity % 100_000 == 0 else 8),
                    now // NS,
                ]
                for level in levels
            ]

        return {key: {"asks": side(listing.book.asks.levels(count)), "bids": side(listing.book.bids.levels(count))}}

    def _trades(self, given: Parameters, _now: int) -> Json:
        key, listing = self._one(given)
        since_text = given.text("since", "0") or "0"
        since = int(decimal_of("since", since_text))
        since = since if since > 10**14 else since * NS
        count = given.whole("count", 1000, 1, 1000)
        fresh = [one for one in listing.prints if one.at > since]
        found = fresh[:count] if since else fresh[-count:]
        digits = max(listing.pair.price_decimals, 5)
        rows = [
            [
                doc.fixed(one.price, digits),
                doc.fixed(one.volume, 8),
                doc.seconds(one.at),
                "b" if one.buys else "s",
                "m" if one.market else "l",
                "",
                one.number,
            ]
            for one in found
        ]
        return {key: rows, "last": str(found[-1].at if found else since)}

    def _spread(self, given: Parameters, now: int) -> Json:
        key, listing = self._one(given)
        pair = listing.pair
        ask, bid = listing.book.asks.best(), listing.book.bids.best()
        digits = max(pair.price_decimals, 5)
        texts = [doc.fixed(Decimal(price or 0).scaleb(-pair.price_decimals), digits) for price in (bid, ask)]
        return {key: [[now // NS, *texts]], "last": now // NS}

    # ---- account -------------------------------------------------------------------------------------------------------

    def _balance(self, key: ApiKey, _given: Parameters, _now: int) -> Json:
        account = self._exchange.accounts.by_name[key.account]
        return {ASSETS[name].id: doc.fixed(amount, ASSETS[name].decimals) for name, amount in account.balances.items()}

    def _balance_ex(self, key: ApiKey, _given: Parameters, _now: int) -> Json:
        account = self._exchange.accounts.by_name[key.account]
        return {
            ASSETS[name].id: {
                "balance": doc.fixed(amount, ASSETS[name].decimals),
                "hold_trade": doc.fixed(account.held.get(name, ZERO), ASSETS[name].decimals),
            }
            for name, amount in account.balances.items()
        }

    def _trade_balance(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        quote = asset_of(given.text("asset", "ZUSD") or "ZUSD")
        if quote is None:
            raise Rejection("EQuery:Unknown asset")
        account = self._exchange.accounts.by_name[key.account]
        worth = sum((self._worth(name, amount, quote.name) for name, amount in account.balances.items()), ZERO)
        zero, text = "0.0000", doc.fixed(worth, 4)
        return {"eb": text, "tb": text, "m": zero, "uv": zero, "n": zero, "c": zero, "v": zero, "e": text, "mf": text}

    def _worth(self, name: str, amount: Decimal, quote: str) -> Decimal:
        if name == quote:
            return amount
        listing = self._exchange.listings.get(f"{name}/{quote}")
        return amount * listing.last if listing else ZERO

    def _volume(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        volume = self._exchange.accounts.by_name[key.account].volume
        tier = fees_at(volume)
        told: Json = {"currency": "ZUSD", "volume": doc.fixed(volume, 4)}
        if given.names("pair"):
            for name, fee in (("fees", tier.taker), ("fees_maker", tier.maker)):
                told[name] = {
                    pair.id: {
                        "fee": doc.fixed(fee, 4),
                        "minfee": "0.1000" if name == "fees" else "0.0000",
                        "maxfee": "0.4000" if name == "fees" else "0.2500",
                        "nextfee": None,
                        "nextvolume": None,
                        "tiervolume": doc.fixed(tier.volume, 4),
                    }
                    for pair in self._named(given).values()
                }
        return told

    def _key_info(self, key: ApiKey, _given: Parameters, _now: int) -> Json:
        return {"api_key_name": key.name, "permissions": sorted(right.value for right in key.rights), "nonce": str(key.nonce)}

    def _token(self, key: ApiKey, _given: Parameters, now: int) -> Json:
        token = self._desk.chance.randbytes(32).hex()
        self._desk.tokens[token] = (key, now + TOKEN_S * NS)
        return {"token": token, "expires": TOKEN_S}

    # ---- orders --------------------------------------------------------------------------------------------------------

    def _open_orders(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        found = self._matching(self._exchange.working[key.account].values(), given)
        return {"open": {order.id: doc.order_document(order, trades=given.flag("trades")) for order in found}}

    def _closed_orders(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        every = self._matching(reversed(self._exchange.finished[key.account]), given)
        offset = given.whole("ofs", 0, 0, 10**9)
        told = {order.id: doc.order_document(order, trades=given.flag("trades")) for order in every[offset : offset + PAGE]}
        return {"closed": told} if given.flag("without_count") else {"closed": told, "count": len(every)}

    @staticmethod
    def _matching(orders: Any, given: Parameters) -> list[PlacedOrder]:
        ref, client = given.text("userref"), given.text("cl_ord_id")
        return [
            order
            for order in orders
            if (not ref or str(order.wish.userref) == ref) and (not client or order.wish.cl_ord_id == client)
        ]

    def _query_orders(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        names = given.names("txid")
        if not 1 <= len(names) <= PAGE:
            raise Rejection("EGeneral:Invalid arguments:txid")
        found = [self._exchange.orders.get(name) for name in names]
        if any(order is None or order.account != key.account for order in found):
            raise Rejection("EOrder:Invalid order")
        return {order.id: doc.order_document(order, trades=given.flag("trades")) for order in found if order}

    def _history(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        mine = [one for one in reversed(self._exchange.executions) if one.order.account == key.account]
        start, end = given.number("start"), given.number("end")
        mine = [one for one in mine if (not start or one.at > start * NS) and (not end or one.at <= end * NS)]
        offset = given.whole("ofs", 0, 0, 10**9)
        told = {one.id: doc.trade_document(one) for one in mine[offset : offset + PAGE]}
        return {"trades": told} if given.flag("without_count") else {"trades": told, "count": len(mine)}

    def _query_trades(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        wanted = set(given.names("txid"))
        mine = {one.id: one for one in self._exchange.executions if one.id in wanted and one.order.account == key.account}
        if not wanted or wanted - set(mine):
            raise Rejection("EQuery:Unknown trade" if wanted else "EGeneral:Invalid arguments:txid")
        return {name: doc.trade_document(one) for name, one in mine.items()}

    def _ledgers(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        names, kind = {found.name for name in given.names("asset") if (found := asset_of(name))}, given.text("type", "all")
        every = [
            entry
            for entry in reversed(self._exchange.accounts.by_name[key.account].ledger)
            if (not names or entry.asset in names) and kind in ("all", "", entry.type)
        ]
        offset = given.whole("ofs", 0, 0, 10**9)
        told = {entry.id: doc.entry_document(entry) for entry in every[offset : offset + PAGE]}
        return {"ledger": told, "count": len(every)}

    def _query_ledgers(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        wanted = set(given.names("id"))
        ledger = self._exchange.accounts.by_name[key.account].ledger
        return {entry.id: doc.entry_document(entry) for entry in ledger if entry.id in wanted}

    # ---- trading -------------------------------------------------------------------------------------------------------

    def _add(self, key: ApiKey, given: Parameters, now: int) -> Json:
        pair = given.pair()
        self._charge(key.account, pair, 1, now)
        wish = wish_of(given, pair, now)
        if given.flag("validate"):
            self._exchange.check(key.account, wish, now)
            return {
                "descr": {"order": doc.order_words(PlacedOrder(id="", account="", wish=wish, opened=now, volume=wish.volume))}
            }
        open_here = sum(order.wish.pair is pair for order in self._exchange.working[key.account].values())
        if open_here >= TIERS[self._desk.tier].open_orders:
            raise Rejection("EOrder:Orders limit exceeded")
        order = self._exchange.add(key.account, wish, now)
        return {"descr": {"order": doc.order_words(order)}, "txid": [order.id]}

    def _add_batch(self, key: ApiKey, given: Parameters, now: int) -> Json:
        pair, given_orders = given.pair(), given.values.get("orders")
        if not isinstance(given_orders, list) or not 2 <= len(given_orders) <= 15:
            raise Rejection("EGeneral:Invalid arguments:orders")
        if not all(isinstance(one, dict) for one in given_orders):
            raise Rejection("EGeneral:Invalid arguments:orders")
        self._charge(key.account, pair, 1 + len(given_orders) / 2, now)
        wishes = [wish_of(Parameters({**one, "deadline": given.text("deadline")}), pair, now) for one in given_orders]
        for wish in wishes:
            self._exchange.check(key.account, wish, now)
        if given.flag("validate"):
            return {"orders": [{"descr": {"order": ""}} for _ in wishes]}
        told: list[Json] = []
        for wish in wishes:
            try:
                order = self._exchange.add(key.account, wish, now)
                told.append({"txid": order.id, "descr": {"order": doc.order_words(order)}})
            except Rejection as refused:
                told.append({"error": str(refused)})
        return {"orders": told}

    def _found(self, key: ApiKey, given: Parameters) -> PlacedOrder:
        name, client = given.text("txid"), given.text("cl_ord_id")
        mine = self._exchange.working[key.account]
        order = mine.get(name) or next((one for one in mine.values() if client and one.wish.cl_ord_id == client), None)
        if order is None:
            raise Rejection("EOrder:Unknown order")
        return order

    def _amend(self, key: ApiKey, given: Parameters, now: int) -> Json:
        order = self._found(key, given)
        self._charge(key.account, order.wish.pair, 1 + by_age(AMEND, now - order.opened), now)
        values = {name: given.number(name) or None for name in ("order_qty", "limit_price", "trigger_price")}
        self._exchange.amend(order, now, volume=values["order_qty"], limit=values["limit_price"], stop=values["trigger_price"])
        return {"amend_id": "T" + order.id[1:]}

    def _edit(self, key: ApiKey, given: Parameters, now: int) -> Json:
        order = self._found(key, given)
        pair = order.wish.pair
        self._charge(key.account, pair, 1 + by_age(EDIT, now - order.opened), now)
        volume = given.number("volume") or order.volume
        price = given.number("price") or order.wish.price
        changed: Json = {
            "type": "buy" if order.wish.buys else "sell",
            "ordertype": order.wish.type.value,
            "volume": str(volume),
            "price": str(price),
            "price2": str(given.number("price2") or order.wish.limit or ""),
            "oflags": given.text("oflags", ",".join(order.wish.flags)),
            "userref": given.text("userref"),
        }
        wish = wish_of(Parameters(changed), pair, now)
        self._exchange.check(key.account, wish, now)
        self._exchange.cancel(order, now, "PlacedOrder replaced")
        new = self._exchange.add(key.account, wish, now)
        return {
            "status": "ok",
            "txid": new.id,
            "originaltxid": order.id,
            "volume": doc.fixed(new.volume, pair.lot_decimals),
            "price": doc.fixed(price, pair.price_decimals),
            "orders_cancelled": 1,
            "descr": {"order": doc.order_words(new)},
        }

    def _cancel(self, key: ApiKey, given: Parameters, now: int) -> Json:
        name = given.text("txid")
        mine = self._exchange.working[key.account]
        if name and name not in mine:
            by_ref = [order for order in mine.values() if order.wish.userref and str(order.wish.userref) == name]
            if by_ref:
                return {"count": sum(self._cancel_one(key, order, now) for order in by_ref)}
        return {"count": self._cancel_one(key, self._found(key, given), now)}

    def _cancel_one(self, key: ApiKey, order: PlacedOrder, now: int) -> int:
        self._charge(key.account, order.wish.pair, by_age(CANCEL, now - order.opened), now)
        self._exchange.cancel(order, now)
        return 1

    def _cancel_batch(self, key: ApiKey, given: Parameters, now: int) -> Json:
        names = [*_listed(given, "orders"), *_listed(given, "cl_ord_ids")]
        if not 1 <= len(names) <= PAGE:
            raise Rejection("EGeneral:Invalid arguments:orders")
        mine = self._exchange.working[key.account]
        wanted = [
            order
            for order in list(mine.values())
            if order.id in names or order.wish.cl_ord_id in names or str(order.wish.userref or "-") in names
        ]
        if not wanted:
            raise Rejection("EOrder:Unknown order")
        return {"count": sum(self._cancel_one(key, order, now) for order in wanted)}

    def _cancel_all(self, key: ApiKey, _given: Parameters, now: int) -> Json:
        return {"count": self._exchange.cancel_all(key.account, now)}

    def _dead_man(self, key: ApiKey, given: Parameters, now: int) -> Json:
        timeout = given.whole("timeout", -1, 0, 86_400)
        if timeout < 0:
            raise Rejection("EGeneral:Invalid arguments:timeout")
        if timeout:
            self._exchange.timers[key.account] = now + timeout * NS
        else:
            self._exchange.timers.pop(key.account, None)
        due = doc.rfc3339(now + timeout * NS, 0) if timeout else "0"
        return {"currentTime": doc.rfc3339(now, 0), "triggerTime": due}


def _listed(given: Parameters, name: str) -> list[str]:
    found = given.values.get(name) or []
    if isinstance(found, str):
        return [part.strip() for part in found.split(",") if part.strip()]
    if not isinstance(found, list):
        raise Rejection(f"EGeneral:Invalid arguments:{name}")
    return [str(one.get("txid", "")) if isinstance(one, dict) else str(one) for one in found]


def still_open(order: PlacedOrder) -> bool:
    """Tell whether an order may still trade."""
    return order.state in (OrderStatus.PENDING, OrderStatus.OPEN)
