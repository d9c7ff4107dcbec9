"""Kraken's REST interface without a socket: a request's parts in, a JSON answer out.

Checks come in Kraken's order: key, signature, nonce, permission, rate, arguments. Whatever is wrong is an answer with an error
string, never an exception.
"""

import contextlib
import json
import random
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from email.utils import format_datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from peak_trade.emulator import documents as doc
from peak_trade.emulator.counters import ADD, AMEND, CANCEL, EDIT, NS, TIERS, Counter, batch_cost, by_age
from peak_trade.emulator.exchange import Listing, MatchingEngine
from peak_trade.emulator.orders import ZERO, Amendment, ClientFill, LedgerEntry, OrderType, PlacedOrder, Rejection
from peak_trade.emulator.pairs import ASSETS, PAIRS, Pair, asset_of, pair_of
from peak_trade.emulator.parameters import Parameters, deadline_of, decimal_of, offset_of, wish_of
from peak_trade.emulator.signing import ApiKey, Right, accept_nonce, signed_by

Json = dict[str, Any]
#: Minutes of candles.
INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
PAGE = 50
#: Most trades or ledger lines that are asked for by their ids.
NAMED_MAX = 20
#: Most candles in an answer.
CANDLES_MAX = 720
#: Most levels and trades in an answer: who asks for more gets these.
DEPTH_MAX, TRADES_MAX = 500, 1_000
#: Minutes of the candles that Ticker adds up.
SPAN_MIN = 15
#: So many bad signatures or nonces of a key, less one a second, and it is locked out for so many seconds.
BAD_MAX, LOCKOUT_S = 50, 900
#: What AssetPairs shows of a pair; empty is all.
INFO: dict[str, tuple[str, ...]] = {
    "info": (),
    "leverage": ("leverage_buy", "leverage_sell"),
    "fees": ("fees", "fees_maker", "fee_volume_currency"),
    "margin": ("margin_call", "margin_stop"),
}
#: Seconds for which a WebSocket token may be used.
TOKEN_S = 900
#: Tokens and amended orders that are remembered; the oldest go first.
TOKENS_MAX, AMENDS_MAX = 10_000, 10_000
SPAN = ("start", "end")
DAY_S = 86_400
HISTORY_TYPES = ("all", "any position", "closed position", "closing position", "no position")
Listed = TypeVar("Listed")
LETTERS = string.ascii_uppercase + string.digits


class RestCall(NamedTuple):
    """What was received: *now* is when, nanoseconds UTC; header names in small letters."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    now: int


class MarketCandle(NamedTuple):
    """A candle; *at* is its opening, unix seconds."""

    at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    trades: int


def summed(rows: list[MarketCandle]) -> MarketCandle | None:
    """Return one candle of those in which somebody traded, oldest first; None without any."""
    rows = [row for row in rows if row.trades]
    if not rows:
        return None
    volume = sum((row.volume for row in rows), ZERO)
    worth = sum((row.vwap * row.volume for row in rows), ZERO)
    return MarketCandle(
        rows[0].at,
        rows[0].open,
        max(row.high for row in rows),
        min(row.low for row in rows),
        rows[-1].close,
        worth / volume if volume else rows[-1].close,
        volume,
        sum(row.trades for row in rows),
    )


def quiet(price: Decimal) -> MarketCandle:
    """Return a candle in which nothing happened."""
    return MarketCandle(0, price, price, price, price, price, ZERO, 0)


def until(candles: list[MarketCandle], last: Decimal, step: int, now: int) -> list[MarketCandle]:
    """Return the newest candles up to the running one; where nothing was traded they stand still.

    Args:
        candles: oldest first; last: the price if there are none.
        step, now: seconds, unix seconds.
    """
    running = now // step * step
    price = candles[-1].close if candles else last
    first = candles[-1].at + step if candles else running
    first = max(first, running - (CANDLES_MAX - 1) * step)
    still = [quiet(price)._replace(at=at, vwap=ZERO) for at in range(first, running + 1, step)]
    return [*candles, *still][-CANDLES_MAX:]


@dataclass(slots=True)
class RestParts:
    """What the interface works with, besides the exchange.

    Attributes:
        keys: by their id; tokens: keys by WebSocket token, with the moment until which each may be used.
        candles: returns a pair's candles of an interval in minutes, oldest first, the running one last.
        tier: name of the rate limits in force.
        amends: what was done to orders, by their id; of the latest so many orders.
        bad: bad signatures and nonces by key; locked: until when a key is locked out, nanoseconds UTC.
    """

    exchange: MatchingEngine
    keys: dict[str, ApiKey]
    chance: random.Random
    candles: Callable[[Pair, int], list[MarketCandle]]
    tier: str = "intermediate"
    tokens: dict[str, tuple[ApiKey, int]] = field(default_factory=dict)
    calls: dict[str, Counter] = field(default_factory=dict)
    engine: dict[tuple[str, str], Counter] = field(default_factory=dict)
    amends: dict[str, list[Json]] = field(default_factory=dict)
    bad: dict[str, Counter] = field(default_factory=dict)
    locked: dict[str, int] = field(default_factory=dict)
    _before: dict[str, tuple[tuple[int, int], MarketCandle | None, MarketCandle | None]] = field(default_factory=dict)

    def spans(self, listing: Listing, now: int) -> tuple[MarketCandle, MarketCandle]:
        """Return what was traded in a pair since midnight UTC, and in the last 24 hours, each as one candle.

        Quarters of an hour are added up, so the 24 hours begin up to one too late; all but the running one only once.
        """
        rows = self.candles(listing.pair, SPAN_MIN)
        running, midnight = now // NS // (SPAN_MIN * 60) * SPAN_MIN * 60, now // NS // DAY_S * DAY_S
        last = rows[-1] if rows and rows[-1].at >= running else None
        sign = (running, len(rows) if last is None else len(rows) - 1)
        if listing.pair.symbol not in self._before or self._before[listing.pair.symbol][0] != sign:
            over = [row for row in rows if running - DAY_S < row.at < running]
            today = summed([row for row in over if row.at >= midnight])
            self._before[listing.pair.symbol] = (sign, today, summed(over))
        found = self._before[listing.pair.symbol][1:]
        one, two = (summed([row for row in (before, last) if row is not None]) for before in found)
        still = quiet(rows[-1].close if rows else listing.last)
        return one or still, two or still


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
            "OrderAmends": (Right.OPEN_ORDERS, 1, self._amends),
            "OpenPositions": (Right.OPEN_ORDERS, 1, lambda _key, _given, _now: {}),
            "Ledgers": (Right.LEDGER, 2, self._ledgers),
            "QueryLedgers": (Right.LEDGER, 1, self._query_ledgers),
            "TradeVolume": (Right.FUNDS, 1, self._volume),
            "DepositStatus": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "WithdrawStatus": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "DepositMethods": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "DepositAddresses": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "WithdrawMethods": (Right.FUNDS, 1, lambda _key, _given, _now: []),
            "WithdrawAddresses": (Right.FUNDS, 1, lambda _key, _given, _now: []),
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
        if self._desk.locked.get(key.id, 0) > request.now:
            raise Rejection("EGeneral:Temporary lockout")
        try:
            given = Parameters.read(request.body, kind)
            nonce = given.text("nonce")
        except Rejection:
            given, nonce = Parameters({}), ""
        if not signed_by(key, request.path, nonce, request.body, request.headers.get("api-sign", "")):
            raise self._bad(key, "EAPI:Invalid signature", request.now)
        if not accept_nonce(key, nonce):
            raise self._bad(key, "EAPI:Invalid nonce", request.now)
        if right is not None and right not in key.rights:
            raise Rejection("EGeneral:Permission denied")
        if cost and not self._calls(key).count(cost, request.now):
            raise Rejection("EAPI:Rate limit exceeded")
        self.let_time_pass(request.now)
        return act(key, given, request.now)

    def _bad(self, key: ApiKey, error: str, now: int) -> Rejection:
        """Count a bad request of a key, lock it out after too many, and return what it is told."""
        if not self._desk.bad.setdefault(key.id, Counter(BAD_MAX, 1)).count(1, now):
            self._desk.locked[key.id] = now + LOCKOUT_S * NS
            del self._desk.bad[key.id]
        return Rejection(error)

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
        moment = datetime.fromtimestamp(now // NS, UTC)
        return {"unixtime": now // NS, "rfc1123": format_datetime(moment, usegmt=True).replace("GMT", "+0000")}

    def _status(self, _given: Parameters, now: int) -> Json:
        return {"status": self._exchange.mode.value, "timestamp": doc.rfc3339(now, 0)}

    def _assets(self, given: Parameters, _now: int) -> Json:
        if given.text("aclass", "currency") != "currency":
            return {}
        names = given.names("asset")
        found = [asset_of(name) for name in names] if names else list(ASSETS.values())
        if not all(found):
            raise Rejection("EQuery:Unknown asset")
        return {asset.id: doc.asset_document(asset) for asset in found if asset}

    def _pairs(self, given: Parameters, _now: int) -> Json:
        if given.text("aclass_base", "currency") != "currency":
            return {}
        wanted = INFO.get(given.text("info") or "info")
        if wanted is None:
            raise Rejection("EGeneral:Invalid arguments:info")
        documents = {key: doc.pair_document(pair) for key, pair in self._named(given).items()}
        if not wanted:
            return documents
        return {key: {name: document[name] for name in wanted} for key, document in documents.items()}

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

    def _ticker(self, given: Parameters, now: int) -> Json:
        return {key: self._ticker_of(self._exchange.listings[pair.symbol], now) for key, pair in self._named(given).items()}

    def _ticker_of(self, listing: Listing, now: int) -> Json:
        pair = listing.pair
        digits = max(pair.price_decimals, 5)
        ask, bid = listing.book.asks.levels(1), listing.book.bids.levels(1)
        today, day = self._desk.spans(listing, now)

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
            "v": [doc.fixed(today.volume, 8), doc.fixed(day.volume, 8)],
            "p": [doc.fixed(today.vwap, digits), doc.fixed(day.vwap, digits)],
            "t": [today.trades, day.trades],
            "l": [doc.fixed(today.low, digits), doc.fixed(day.low, digits)],
            "h": [doc.fixed(today.high, digits), doc.fixed(day.high, digits)],
            "o": doc.fixed(today.open, digits),
        }

    def _ohlc(self, given: Parameters, now: int) -> Json:
        key, listing = self._one(given)
        interval = given.whole("interval", 1, 1, 21600)
        if interval not in INTERVALS:
            raise Rejection("EGeneral:Invalid arguments:interval")
        since = given.whole("since", 0, 0, 2**62)
        digits = listing.pair.price_decimals
        found = until(self._desk.candles(listing.pair, interval), listing.last, interval * 60, now // NS)
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
        count, pair = min(given.whole("count", 100, 1, 10**9), DEPTH_MAX), listing.pair

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
        asked = given.text("since")
        named = decimal_of("since", asked or "0", Decimal("1e20"))
        # Seconds and nanoseconds are told apart by their size: no second has so many digits before the year 5000.
        since = int(named if named > 10**14 else named * NS)
        # ccxt's own suite asks Kraken for 12,000 and is content with fewer.
        count = min(given.whole("count", TRADES_MAX, 1, 10**9), TRADES_MAX)
        fresh = [one for one in listing.prints if one.at > since]
        found = fresh[:count] if asked else fresh[-count:]
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
        self.let_time_pass(now)
        pair, since = listing.pair, given.whole("since", -1, 0, 2**62)
        digits = max(pair.price_decimals, 5)
        rows = [
            [at // NS, *(doc.fixed(Decimal(price).scaleb(-pair.price_decimals), digits) for price in prices)]
            for at, *prices in listing.spreads
            if at // NS > since
        ]
        newest = listing.spreads[-1][0] // NS if listing.spreads else now // NS
        return {key: rows, "last": max(newest, since)}

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

    def _volume(self, key: ApiKey, given: Parameters, now: int) -> Json:
        volume = self._exchange.accounts.by_name[key.account].volume(now)
        told: Json = {"currency": "ZUSD", "volume": doc.fixed(volume, 4)}
        if given.names("pair"):
            pairs = self._named(given).values()
            told["fees"] = {pair.id: doc.fee_document(volume, maker=False) for pair in pairs}
            told["fees_maker"] = {pair.id: doc.fee_document(volume, maker=True) for pair in pairs}
        return told

    def _key_info(self, key: ApiKey, _given: Parameters, _now: int) -> Json:
        return {
            "api_key_name": key.name,
            "api_key": key.id,
            "nonce": str(max(key.nonce, 0)),
            "nonce_window": key.nonce_window,
            "permissions": sorted(right.value for right in key.rights),
            "iban": "",
            "valid_until": "0",
            "query_from": "0",
            "query_to": "0",
        }

    def _token(self, key: ApiKey, _given: Parameters, now: int) -> Json:
        token = self._desk.chance.randbytes(32).hex()
        self._desk.tokens[token] = (key, now + TOKEN_S * NS)
        if len(self._desk.tokens) > TOKENS_MAX:
            del self._desk.tokens[next(iter(self._desk.tokens))]
        return {"token": token, "expires": TOKEN_S}

    # ---- orders --------------------------------------------------------------------------------------------------------

    def _open_orders(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        trades = given.flag("trades")
        found = self._matching(self._exchange.working[key.account].values(), given)
        return {"open": {order.id: doc.order_document(order, trades=trades) for order in found}}

    def _closed_orders(self, key: ApiKey, given: Parameters, now: int) -> Json:
        which, trades = given.text("closetime") or "both", given.flag("trades")
        if which not in ("both", "open", "close"):
            raise Rejection("EGeneral:Invalid arguments:closetime")
        runs, orders, finished = _merged(given), self._exchange.orders, self._exchange.finished[key.account]
        if not any(given.text(name) for name in (*SPAN, "userref", "cl_ord_id")):
            return _paged(given, "closed", reversed(finished), len(finished), _order_shown(trades=trades, runs=runs))
        low, high = (self._moment(given, name, lambda txid: _order_time(orders.get(txid), key), now) for name in SPAN)
        every = [
            order
            for order in self._matching(reversed(finished), given)
            if (which != "close" and low < order.opened <= high) or (which != "open" and low < order.closed <= high)
        ]
        return _paged(given, "closed", every, len(every), _order_shown(trades=trades, runs=runs))

    def _moment(self, given: Parameters, name: str, of: Callable[[str], int | None], now: int) -> int:
        """Return a bound of a span of time, nanoseconds: unix seconds, or the moment of what is named; start is outside."""
        text = given.text(name)
        if not text:
            return -1 if name == "start" else now
        found = of(text)
        return int(decimal_of(name, text) * NS) if found is None else found

    @staticmethod
    def _matching(orders: Any, given: Parameters) -> list[PlacedOrder]:
        ref, client = given.text("userref"), given.text("cl_ord_id")
        return [
            order
            for order in orders
            if (not ref or str(order.wish.userref) == ref) and (not client or order.wish.cl_ord_id == client)
        ]

    def _query_orders(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        names, trades, runs = given.names("txid"), given.flag("trades"), _merged(given)
        if not names and (given.text("userref") or given.text("cl_ord_id")):
            every = [*self._exchange.working[key.account].values(), *reversed(self._exchange.finished[key.account])]
            found = self._matching(every, given)[:PAGE]
        elif not 1 <= len(names) <= PAGE:
            raise Rejection("EGeneral:Invalid arguments:txid")
        else:
            found = [order for name in names if (order := self._exchange.orders.get(name)) and order.account == key.account]
            if len(found) < len(names):
                raise Rejection("EOrder:Invalid order")
            found = self._matching(found, given)
        return dict(map(_order_shown(trades=trades, runs=runs), found))

    def _history(self, key: ApiKey, given: Parameters, now: int) -> Json:
        if (given.text("type") or "all") not in HISTORY_TYPES:
            raise Rejection("EGeneral:Invalid arguments:type")
        exchange, merged, ledgers = self._exchange, _merged(given), given.flag("ledgers")
        mine, runs = exchange.fills[key.account], exchange.runs[key.account]
        newest = reversed(runs.items()) if merged else ((one.id, [one]) for one in reversed(mine.values()))
        # Nothing is traded on margin, so there are only trades without a position.
        if (given.text("type") or "all") not in ("all", "no position"):
            return _paged(given, "trades", [], 0, _run_shown(ledgers=ledgers))
        if not any(given.text(name) for name in SPAN):
            return _paged(given, "trades", newest, len(runs if merged else mine), _run_shown(ledgers=ledgers))

        def time_of(name: str) -> int | None:
            run = [mine[name]] if name in mine else runs.get(name)
            return run[0].at if run else None

        low, high = (self._moment(given, name, time_of, now) for name in SPAN)
        every = [(name, run) for name, run in newest if low < run[0].at <= high]
        return _paged(given, "trades", every, len(every), _run_shown(ledgers=ledgers))

    def _query_trades(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        wanted = given.names("txid")
        if not 1 <= len(wanted) <= NAMED_MAX:
            raise Rejection("EGeneral:Invalid arguments:txid")
        mine, runs = self._exchange.fills[key.account], self._exchange.runs[key.account]
        found = {name: [mine[name]] if name in mine else runs.get(name) for name in wanted}
        if not all(found.values()):
            raise Rejection("EQuery:Unknown trade")
        return {name: doc.run_document(run) for name, run in found.items() if run}

    def _ledgers(self, key: ApiKey, given: Parameters, now: int) -> Json:
        names, kind = given.names("asset"), given.text("type") or "all"
        assets = {found.name for name in names if (found := asset_of(name))}
        if names != ["all"] and len(assets) < len(set(names)):
            raise Rejection("EQuery:Unknown asset")
        ledger = self._exchange.accounts.by_name[key.account].ledger
        if kind == "all" and not assets and not any(given.text(name) for name in SPAN):
            return _paged(given, "ledger", reversed(ledger), len(ledger), _entry_shown)
        times = {entry.id: entry.at for entry in ledger} if given.text("start") or given.text("end") else {}
        low, high = (self._moment(given, name, times.get, now) for name in SPAN)
        every = [
            entry
            for entry in reversed(ledger)
            if (not assets or entry.asset in assets) and kind in ("all", entry.type) and low < entry.at <= high
        ]
        return _paged(given, "ledger", every, len(every), _entry_shown)

    def _query_ledgers(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        wanted = given.names("id")
        if not 1 <= len(wanted) <= NAMED_MAX:
            raise Rejection("EGeneral:Invalid arguments:id")
        mine = {entry.id: entry for entry in self._exchange.accounts.by_name[key.account].ledger if entry.id in wanted}
        if set(wanted) - set(mine):
            raise Rejection("EQuery:Unknown ledger")
        return {name: doc.entry_document(mine[name]) for name in wanted}

    # ---- trading -------------------------------------------------------------------------------------------------------

    def _pair(self, given: Parameters) -> Pair:
        pair = given.pair()
        if pair.symbol not in self._exchange.listings:
            raise Rejection("EQuery:Unknown asset pair")
        return pair

    def _room(self, account: str, pair: Pair) -> None:
        """Refuse an order beyond the most that may work at once."""
        if self._exchange.open_here(account, pair) >= TIERS[self._desk.tier].open_orders:
            raise Rejection("EOrder:Orders limit exceeded")

    def _add(self, key: ApiKey, given: Parameters, now: int) -> Json:
        pair = self._pair(given)
        self._charge(key.account, pair, ADD, now)
        wish = wish_of(given, pair, now, self._exchange.listings[pair.symbol].last)
        order = self._exchange.check(key.account, wish, now)
        described = doc.descr_document(order)
        if given.flag("validate"):
            return {"descr": described}
        self._room(key.account, pair)
        return {"descr": described, "txid": [self._exchange.place(order, now).id]}

    def _add_batch(self, key: ApiKey, given: Parameters, now: int) -> Json:
        pair, given_orders = self._pair(given), given.values.get("orders")
        if isinstance(given_orders, str):
            given_orders = decoded(given_orders)
        if not isinstance(given_orders, list) or not 2 <= len(given_orders) <= 15:
            raise Rejection("EGeneral:Invalid arguments:orders")
        if not all(isinstance(one, dict) for one in given_orders):
            raise Rejection("EGeneral:Invalid arguments:orders")
        only_look, deadline = given.flag("validate"), given.text("deadline")
        self._charge(key.account, pair, batch_cost(len(given_orders)), now)
        last = self._exchange.listings[pair.symbol].last
        wishes = [wish_of(Parameters({**one, "deadline": deadline}), pair, now, last) for one in given_orders]
        names = [wish.cl_ord_id for wish in wishes if wish.cl_ord_id]
        if len(set(names)) < len(names):
            raise Rejection("EGeneral:Invalid arguments:cl_ord_id not unique")
        drafts = [doc.descr_document(self._exchange.check(key.account, wish, now)) for wish in wishes]
        if only_look:
            return {"orders": [{"descr": described} for described in drafts]}
        told: list[Json] = []
        for wish, described in zip(wishes, drafts, strict=True):
            try:
                self._room(key.account, pair)
                told.append({"txid": self._exchange.add(key.account, wish, now).id, "descr": described})
            except Rejection as refused:
                told.append({"error": str(refused)})
        return {"orders": told}

    def _found(self, key: ApiKey, given: Parameters) -> PlacedOrder:
        """Return the working order that is named by its id, its client's id, or a userref that no other has."""
        name, client = given.text("txid"), given.text("cl_ord_id")
        if not name and not client:
            raise Rejection("EGeneral:Invalid arguments:txid")
        mine = self._exchange.working[key.account]
        order = mine.get(name) or (self._exchange.named(key.account, client) if client else None)
        by_ref = _by_ref(mine.values(), name) if order is None else []
        if len(by_ref) == 1:
            order = by_ref[0]
        if order is None:
            raise Rejection("EOrder:Unknown order")
        return order

    def _amend(self, key: ApiKey, given: Parameters, now: int) -> Json:
        order = self._found(key, given)
        pair = order.wish.pair
        self._charge(key.account, pair, 1 + by_age(AMEND, now - order.opened), now)
        self._in_time(given, now)
        last = self._exchange.listings[pair.symbol].last
        change = Amendment(
            volume=lots_of(given, "order_qty", pair),
            limit=near("limit_price", given, last, pair),
            stop=near("trigger_price", given, last, pair),
            display=lots_of(given, "display_qty", pair),
            post_only=given.flag("post_only"),
        )
        self._exchange.amend(order, change, now)
        amends = self._desk.amends.setdefault(order.id, [])
        amends.append({"amend_id": self._amend_name(), "at": now, "order": snapshot(order)})
        while len(self._desk.amends) > AMENDS_MAX:
            del self._desk.amends[next(iter(self._desk.amends))]
        return {"amend_id": amends[-1]["amend_id"]}

    def _amend_name(self) -> str:
        letters = "".join(self._desk.chance.choices(LETTERS, k=16))
        return f"T{letters[:5]}-{letters[5:10]}-{letters[10:]}"

    @staticmethod
    def _in_time(given: Parameters, now: int) -> None:
        deadline = deadline_of(given.text("deadline"), now)
        if deadline and now > deadline:
            raise Rejection("EService:Deadline elapsed")

    def _amends(self, key: ApiKey, given: Parameters, _now: int) -> Json:
        order = self._exchange.orders.get(given.text("order_id") or given.text("txid"))
        if order is None or order.account != key.account:
            raise Rejection("EOrder:Unknown order")
        wish, pair = order.wish, order.wish.pair
        first = {
            "amend_id": "T" + order.id[1:],
            "amend_type": "original",
            "order_qty": doc.fixed(wish.volume, pair.lot_decimals),
            "remaining_qty": doc.fixed(wish.volume, pair.lot_decimals),
            "limit_price": doc.fixed(wish.limit if wish.type.triggered else wish.price, pair.price_decimals),
            "timestamp": order.opened // 1_000_000,
        }
        told = [
            {"amend_id": one["amend_id"], "amend_type": "user", **one["order"], "timestamp": one["at"] // 1_000_000}
            for one in self._desk.amends.get(order.id, [])
        ]
        return {"count": 1 + len(told), "amends": [first, *told]}

    def _edit(self, key: ApiKey, given: Parameters, now: int) -> Json:
        order = self._found(key, given)
        pair, before = order.wish.pair, order.wish
        self._charge(key.account, pair, 1 + by_age(EDIT, now - order.opened), now)
        if given.text("pair") and pair_of(given.text("pair")) is not pair:
            raise Rejection("EGeneral:Invalid arguments:pair")
        if before.type is OrderType.MARKET:
            raise Rejection("EOrder:Invalid order")
        self._in_time(given, now)
        post = "post" in given.names("oflags") if given.text("oflags") else before.post_only
        flags = tuple(flag for flag in before.flags if flag != "post") + (("post",) if post else ())
        if post and not before.type.is_limit:
            raise Rejection("EGeneral:Invalid arguments:oflags")
        last = self._exchange.listings[pair.symbol].last
        current = order.stop if before.type.triggered else order.limit
        price = near("price", given, last, pair)
        if price is not None and before.type.trails:
            raise Rejection("EGeneral:Invalid arguments:price")
        limit = near("price2", given, last, pair)
        volume = lots_of(given, "volume", pair) or order.left
        shown = lots_of(given, "displayvol", pair) or min(order.display, volume)
        if bool(shown) is not bool(order.display):
            raise Rejection("EGeneral:Invalid arguments:displayvol")
        wish = replace(
            before,
            volume=volume,
            display=shown,
            price=price or (ZERO if before.type.trails else current),
            limit=limit or (ZERO if before.limit_offset else order.limit if before.type.triggered else ZERO),
            limit_offset=None if limit else before.limit_offset,
            post_only=post,
            flags=flags,
            starts=0,
            userref=given.whole("userref", before.userref, -(2**31), 2**31 - 1),
            cl_ord_id="",
            deadline=0,
        )
        told: Json = {
            "status": "ok",
            "originaltxid": order.id,
            "volume": doc.fixed(wish.volume, pair.lot_decimals),
            "price": doc.fixed(wish.price, pair.price_decimals),
            "olduserref": before.userref,
            "newuserref": wish.userref,
            "descr": doc.descr_document(self._exchange.draft(key.account, wish, now)),
        }
        if given.flag("validate"):
            self._exchange.check(key.account, wish, now)
            return told | {"orders_cancelled": 0}
        return told | {"txid": self._exchange.replace(order, wish, now).id, "orders_cancelled": 1}

    def _cancel(self, key: ApiKey, given: Parameters, now: int) -> Json:
        name = given.text("txid")
        mine = self._exchange.working[key.account]
        if name and name not in mine:
            by_ref = _by_ref(mine.values(), name)
            if by_ref:
                return {"count": self._cancel_these(key, by_ref, now)}
        return {"count": self._cancel_these(key, [self._found(key, given)], now)}

    def _cancel_these(self, key: ApiKey, orders: list[PlacedOrder], now: int) -> int:
        """Cancel all of them, or none where that costs too much."""
        costs: dict[str, int] = {}
        for order in orders:
            symbol = order.wish.pair.symbol
            costs[symbol] = costs.get(symbol, 0) + by_age(CANCEL, now - order.opened)
        for symbol, cost in costs.items():
            self._charge(key.account, PAIRS[symbol], cost, now)
        for order in orders:
            self._exchange.cancel(order, now)
        return len(orders)

    def _cancel_batch(self, key: ApiKey, given: Parameters, now: int) -> Json:
        names, clients = set(_listed(given, "orders")), set(_listed(given, "cl_ord_ids"))
        if not 1 <= len(names) + len(clients) <= PAGE:
            raise Rejection("EGeneral:Invalid arguments:orders")
        wanted = [
            order
            for order in self._exchange.working[key.account].values()
            if order.id in names
            or (order.wish.cl_ord_id and order.wish.cl_ord_id in names | clients)
            or (order.wish.userref and str(order.wish.userref) in names)
        ]
        if not wanted:
            raise Rejection("EOrder:Unknown order")
        return {"count": self._cancel_these(key, wanted, now)}

    def _cancel_all(self, key: ApiKey, _given: Parameters, now: int) -> Json:
        """Cancel all; each cancel counts, but who wants out of everything is never refused."""
        for order in self._exchange.working[key.account].values():
            with contextlib.suppress(Rejection):
                self._charge(key.account, order.wish.pair, by_age(CANCEL, now - order.opened), now)
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


def _paged(
    given: Parameters, name: str, every: Iterable[Listed], count: int, show: Callable[[Listed], tuple[str, Json]]
) -> Json:
    """Return a page of so many things, newest first, and how many there are."""
    offset = given.whole("ofs", 0, 0, 10**9)
    told: Json = {name: dict(map(show, islice(every, offset, offset + PAGE)))}
    return told if given.flag("without_count") else told | {"count": count}


def _merged(given: Parameters) -> bool:
    """Tell whether what an order took at once is to be shown as one trade, as it is unless told otherwise."""
    return not given.text("consolidate_taker") or given.flag("consolidate_taker")


def _order_shown(*, trades: bool, runs: bool) -> Callable[[PlacedOrder], tuple[str, Json]]:
    return lambda order: (order.id, doc.order_document(order, trades=trades, runs=runs))


def _run_shown(*, ledgers: bool) -> Callable[[tuple[str, list[ClientFill]]], tuple[str, Json]]:
    def show(named: tuple[str, list[ClientFill]]) -> tuple[str, Json]:
        found = doc.run_document(named[1])
        if not ledgers:
            del found["ledgers"]
        return named[0], found

    return show


def _entry_shown(entry: LedgerEntry) -> tuple[str, Json]:
    return entry.id, doc.entry_document(entry)


def _by_ref(orders: Iterable[PlacedOrder], name: str) -> list[PlacedOrder]:
    """Return the orders with a userref; text that is no number is none."""
    return [order for order in orders if order.wish.userref and str(order.wish.userref) == name] if name else []


def _order_time(order: PlacedOrder | None, key: ApiKey) -> int | None:
    return order.opened if order is not None and order.account == key.account else None


def _listed(given: Parameters, name: str) -> list[str]:
    found = given.values.get(name) or []
    if isinstance(found, str):
        found = decoded(found) if found.lstrip().startswith("[") else [part.strip() for part in found.split(",")]
    if not isinstance(found, list):
        raise Rejection(f"EGeneral:Invalid arguments:{name}")
    return [text for one in found if (text := str(one.get("txid", "")) if isinstance(one, dict) else str(one))]


def decoded(text: str) -> Any:
    """Return what JSON in a form's field says; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def lots_of(given: Parameters, name: str, pair: Pair) -> Decimal | None:
    """Return a quantity, rounded down to the pair's lots; None where it is not given."""
    return given.number(name).quantize(Decimal(1).scaleb(-pair.lot_decimals), ROUND_DOWN) if given.text(name) else None


def near(name: str, given: Parameters, last: Decimal, pair: Pair) -> Decimal | None:
    """Return a price, which may be relative to the last one; None where it is not given."""
    offset = offset_of(name, given.text(name))
    price = given.number(name) if offset is None else (last + offset.of(last)).quantize(pair.tick)
    if price < 0:
        raise Rejection(f"EGeneral:Invalid arguments:{name}")
    return price or None


def snapshot(order: PlacedOrder) -> Json:
    """Return what an amendment made of an order, as OrderAmends has it."""
    pair = order.wish.pair
    told = {
        "order_qty": doc.fixed(order.volume, pair.lot_decimals),
        "remaining_qty": doc.fixed(order.left, pair.lot_decimals),
        "limit_price": doc.fixed(order.limit, pair.price_decimals),
    }
    if order.display:
        told["display_qty"] = doc.fixed(order.display, pair.lot_decimals)
    return told | ({"trigger_price": doc.fixed(order.stop, pair.price_decimals)} if order.stop else {})
