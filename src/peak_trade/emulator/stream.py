"""Kraken's WebSocket v2 without a socket: what a connection sends in, what it is sent, and what is published to all.

Public data is looked at anew at each `publish`, a few times a second; executions and balances are told at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol

import msgspec

from peak_trade.emulator import words
from peak_trade.emulator.book import Book
from peak_trade.emulator.counters import NS, TIERS
from peak_trade.emulator.documents import rfc3339
from peak_trade.emulator.exchange import OrderNews, What
from peak_trade.emulator.faults import FaultPlace, FaultPlan, FaultTarget
from peak_trade.emulator.orders import LedgerEntry, Print
from peak_trade.emulator.pairs import ASSETS, PAIRS, Pair
from peak_trade.emulator.rest import INTERVALS, Candle, RestParts
from peak_trade.emulator.signing import ApiKey

Json = dict[str, Any]
DEPTHS = (10, 25, 100, 500, 1000)
#: Seconds without any other message after which a subscriber gets a heartbeat.
HEARTBEAT_S = 1.0
#: Longest message, bytes, and most messages that wait for one reader.
MESSAGE_MAX, QUEUE_MAX = 64 * 1024, 10_000
#: Most symbols of one request.
SYMBOLS_MAX = 200
PUBLIC = frozenset({"ticker", "book", "trade", "ohlc", "instrument", "status", "heartbeat"})
PRIVATE = frozenset({"executions", "balances"})
#: What each of the two addresses answers about the channels of the other, in Kraken's words of September 2026.
ELSEWHERE = {
    False: "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com",
    True: "Public market data subscriptions are unavailable on this endpoint. Try ws.kraken.com",
}


@dataclass(slots=True, eq=False)
class Subscription:
    """What a connection follows: a channel, of a pair where it has one, and how."""

    channel: str
    pair: Pair | None
    options: Json
    account: str = ""
    shown: dict[tuple[bool, int], int] = field(default_factory=dict)
    before: Any = None
    sequence: int = 0
    unsaid: list[Json] = field(default_factory=list)


class Connection:
    """One client's connection.

    Attributes:
        key: whose token was used on it, None before one was.
        received: when what it answers now came in, nanoseconds UTC.
        cut: whether a fault ends it without a word.
    """

    def __init__(self, hub: "Hub", number: int, now: int, *, private: bool) -> None:
        self.hub, self.number, self.private = hub, number, private
        self.subscriptions: dict[tuple[str, str, Any], Subscription] = {}
        self.outbox: list[str] = []
        self.late: dict[str, list[Json]] = {}
        self.last_sent = self.received = now
        self.key: ApiKey | None = None
        self.cut = False

    @property
    def address(self) -> str:
        """The path at which it was opened."""
        return "/auth/v2" if self.private else "/v2"

    def send(self, message: Json, now: int, text: str | None = None, depth: int = 0) -> None:
        """Put a message into the outbox, as the faults leave it.

        Args:
            message: what is sent; now: the moment.
            text: the message written, where that was done before; depth: of a book's.
        """
        if self.hub.faults.faults or self.late:
            told = [words.text(one) for one in self.hub.faulted(self, message, now, depth)]
        else:
            told = [text or words.text(message)]
        self.outbox += told
        self.last_sent = now if told else self.last_sent

    def receive(self, raw: str | bytes, now: int, came: int | None = None) -> None:
        """Take a message of the client's, which came in at *came*."""
        self.received = now if came is None else came
        started = rfc3339(self.received)
        try:
            message = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            self.send({"error": "Malformed request", "success": False, "time_in": started, "time_out": rfc3339(now)}, now)
            return
        frame: Json = {"method": message["method"], "time_in": started, "time_out": rfc3339(now)}
        if isinstance(message.get("req_id"), int) and not isinstance(message["req_id"], bool):
            frame["req_id"] = message["req_id"]
        if message["method"] == "ping":
            self.send(frame | {"method": "pong"}, now)
            return
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if message["method"] in ("subscribe", "unsubscribe"):
            for one in _by_symbol(params) if self.hub.faults.faults else (params,):
                if not self.hub.refused(self, frame, one, now):
                    self.hub.subscribe(self, frame, one, now)
        else:
            self.hub.trade(self, frame, params, now)


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What is published at one moment: trades and touched pairs since the last, and what was written for all readers."""

    now: int
    prints: dict[str, list[Print]]
    touched: set[str]
    shown: dict[tuple[str, int], dict[tuple[bool, int], int]] = field(default_factory=dict)
    ready: dict[tuple[Any, ...], tuple[Json, int, str]] = field(default_factory=dict)

    def written(self, key: tuple[Any, ...], make: Callable[[], Json]) -> tuple[Json, int, str]:
        """Return a message, the moment and the message as text; made by the first who needs it."""
        found = self.ready.get(key)
        if found is None:
            message = make()
            found = self.ready[key] = (message, self.now, words.text(message))
        return found


class StreamMethods(Protocol):
    """Answers trading methods."""

    def __call__(self, connection: Connection, frame: Json, params: Json, now: int) -> None:
        """Answer a message."""

    def target(self, frame: Any, connection: Connection) -> FaultTarget | None:
        """Return what faults that let a message wait are looked up for; None of what does not trade."""


class Hub:
    """All connections, and what is published to them."""

    def __init__(self, desk: RestParts, trade: StreamMethods, faults: FaultPlan) -> None:
        self._desk, self._exchange, self.faults = desk, desk.exchange, faults
        self.trade = trade
        self.connections: dict[int, Connection] = {}
        self._prints: dict[str, list[Print]] = {}
        self._touched: set[str] = set()
        self._number = 0
        self._mode, self._terms = desk.exchange.mode, dict(desk.exchange.terms)

    # ---- connections ---------------------------------------------------------------------------------------------------

    def connect(self, now: int, *, private: bool) -> Connection:
        """Begin a connection; it is told the exchange's status."""
        self._number += 1
        found = Connection(self, self._number, now, private=private)
        self.connections[self._number] = found
        found.send(self._status(found), now)
        return found

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.pop(connection.number, None)

    def faulted(self, connection: Connection, message: Json, now: int, depth: int = 0) -> list[Json]:
        """Return what is sent instead of a message; *depth* of a book's."""
        channel, found = str(message.get("channel", "")), [message]
        data = message.get("data")
        symbol = data[0].get("symbol") if isinstance(data, list) and data else None
        pair = PAIRS.get(symbol or "")
        target = FaultTarget(
            endpoint=connection.address,
            channel=channel,
            method=str(message.get("method", "")),
            pairs=(pair,) if pair else (),
            key=connection.key,
            message=message,
            at=now,
            depth=depth,
        )
        line = f"{channel} {symbol or ''}"
        late = connection.late.pop(line, [])
        for fault in self.faults.strikes(FaultPlace.MESSAGE, target, now, connection=connection.number):
            act, put_off = fault.kind.at(FaultPlace.MESSAGE), connection.late.setdefault(line, [])
            found = [one for before in found for one in (act(fault, self.faults, target, before, put_off) if act else [before])]
            if not found:
                # What is not sent any more can't be struck by another.
                break
        connection.late = {name: kept for name, kept in connection.late.items() if kept}
        return found + late

    def waiting(self, connection: Connection, raw: str | bytes) -> FaultTarget | None:
        """Return what faults that let a message wait are looked up for; None where it does not trade."""
        try:
            return self.trade.target(msgspec.json.decode(raw), connection)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def refused(self, connection: Connection, frame: Json, params: Json, now: int) -> bool:
        """Refuse a subscription, or leave it without an answer, where a fault says so; return whether one did."""
        channel, symbol = params.get("channel"), params.get("symbol")
        first = symbol[0] if isinstance(symbol, list) and symbol else symbol
        pair = PAIRS.get(first) if isinstance(first, str) else None
        owner = self._desk.tokens.get(params["token"]) if isinstance(params.get("token"), str) else None
        target = FaultTarget(
            endpoint=connection.address,
            channel=channel if isinstance(channel, str) else "",
            method=frame["method"],
            pairs=(pair,) if pair else (),
            key=owner[0] if owner else connection.key,
        )
        for fault in self.faults.strikes(FaultPlace.REQUEST, target, now, connection=connection.number):
            if error := fault.kind.act(fault):
                about = {"symbol": pair.symbol} if pair else {}
                connection.send(frame | about | {"error": error, "success": False}, now)
            return True
        return False

    def _status(self, connection: Connection) -> Json:
        data = {
            "api_version": "v2",
            "connection_id": 10**18 + connection.number,
            "system": self._exchange.mode.value,
            "version": "2.0.10",
        }
        return {"channel": "status", "data": [data], "type": "update"}

    # ---- subscriptions -------------------------------------------------------------------------------------------------

    def subscribe(self, connection: Connection, frame: Json, params: Json, now: int) -> None:
        """Answer a subscription or its end: one answer for each symbol."""
        channel = params.get("channel")
        if not isinstance(channel, str) or channel not in PUBLIC | PRIVATE or channel == "heartbeat":
            connection.send(frame | {"error": "Subscription channel not supported", "success": False}, now)
            return
        if channel != "status" and (channel in PRIVATE) is not connection.private:
            connection.send(frame | {"error": ELSEWHERE[connection.private], "success": False}, now)
            return
        if channel in PRIVATE:
            self._subscribe_private(connection, frame, params, now)
            return
        if channel in ("instrument", "status"):
            self._one(connection, frame, params, None, now)
            return
        symbols = params.get("symbol")
        symbols = [symbols] if isinstance(symbols, str) else symbols
        if not isinstance(symbols, list) or not symbols or not all(isinstance(name, str) for name in symbols):
            connection.send(frame | {"error": "Event(s) not found", "success": False}, now)
            return
        for name in symbols[:SYMBOLS_MAX]:
            pair = PAIRS.get(name)
            if pair is None or pair.symbol not in self._exchange.listings:
                error = f"Currency pair not supported {name}"
                connection.send(frame | {"error": error, "success": False, "symbol": name}, now)
            else:
                self._one(connection, frame, params, pair, now)

    def _one(self, connection: Connection, frame: Json, params: Json, pair: Pair | None, now: int) -> None:
        channel = params["channel"]
        options, wrong = _options(channel, params)
        symbol = {"symbol": pair.symbol} if pair else {}
        if wrong:
            connection.send(frame | symbol | {"error": wrong, "success": False}, now)
            return
        key = (channel, pair.symbol if pair else "", options.get("depth") or options.get("interval"))
        result = {"channel": channel, **symbol, **options}
        if frame["method"] == "unsubscribe":
            if connection.subscriptions.pop(key, None) is None:
                connection.send(frame | symbol | {"error": "Subscription Not Found", "success": False}, now)
                return
            result.pop("snapshot", None)
            connection.send(frame | {"result": result, "success": True}, now)
            return
        if key in connection.subscriptions:
            connection.send(frame | symbol | {"error": "Already subscribed", "success": False}, now)
            return
        found = Subscription(channel, pair, options)
        connection.subscriptions[key] = found
        connection.send(frame | {"result": result, "success": True}, now)
        self._snapshot(connection, found, now)

    def _subscribe_private(self, connection: Connection, frame: Json, params: Json, now: int) -> None:
        channel, token = params["channel"], params.get("token")
        owner = self._owner(token, now)
        if owner is None:
            error = "ESession:Invalid session" if isinstance(token, str) else "EGeneral:Invalid arguments:token"
            connection.send(frame | {"error": error, "success": False}, now)
            return
        key, connection.key = (channel, "", None), owner
        if frame["method"] == "unsubscribe":
            gone = connection.subscriptions.pop(key, None)
            ended: Json = {"result": {"channel": channel}, "success": True}
            connection.send(frame | (ended if gone else {"error": "Subscription Not Found", "success": False}), now)
            return
        if key in connection.subscriptions:
            connection.send(frame | {"error": "Already subscribed", "success": False}, now)
            return
        options: Json = {"snapshot": params.get("snapshot") is not False}
        if channel == "executions":
            options = {
                "maxratecount": int(TIERS[self._desk.tier].engine_most),
                "snap_orders": params.get("snap_orders") is not False,
                "snap_trades": params.get("snap_trades") is True,
            }
        told = {"result": {"channel": channel, **options}, "success": True}
        if channel == "executions" and params.get("ratecounter") is True:
            # As its reader's wish, and not in the answer, whose keys clients know.
            options["ratecounter"] = True
        found = Subscription(channel, None, options, owner.account)
        connection.subscriptions[key] = found
        connection.send(frame | told, now)
        self._snapshot(connection, found, now)

    def _owner(self, token: object, now: int) -> ApiKey | None:
        """Return whose token it is; None for nobody's, or one that is too old."""
        found = self._desk.tokens.get(token) if isinstance(token, str) else None
        return found[0] if found and found[1] >= now else None

    # ---- snapshots -----------------------------------------------------------------------------------------------------

    def _snapshot(self, connection: Connection, sub: Subscription, now: int) -> None:
        match sub.channel:
            case "status":
                connection.send(self._status(connection), now)
            case "instrument" if sub.options["snapshot"]:
                pairs = [listing.pair for listing in self._exchange.listings.values()]
                listed = words.instrument_document(pairs, self._exchange.terms)
                connection.send({"channel": "instrument", "data": listed, "type": "snapshot"}, now)
            case "ticker" if sub.options["snapshot"] and sub.pair:
                sub.before = self._ticker(sub.pair, now)
                connection.send({"channel": "ticker", "data": [sub.before], "type": "snapshot"}, now)
            case "trade" if sub.options["snapshot"] and sub.pair:
                prints = list(self._exchange.listings[sub.pair.symbol].prints)[-50:]
                data = [_print_document(sub.pair, one) for one in prints]
                connection.send({"channel": "trade", "data": data, "type": "snapshot"}, now)
            case "ohlc" if sub.options["snapshot"] and sub.pair:
                rows = self._desk.candles(sub.pair, sub.options["interval"])[-10:]
                data = [_candle_document(sub.pair, row, sub.options["interval"]) for row in rows]
                connection.send({"channel": "ohlc", "data": data, "timestamp": rfc3339(now), "type": "snapshot"}, now)
            case "book" if sub.pair:
                self._book_snapshot(connection, sub, sub.pair, now)
            case "executions":
                self._executions_snapshot(connection, sub, now)
            case "balances" if sub.options["snapshot"]:
                self._numbered(connection, sub, self._balances(sub.account), "snapshot", now)
            case _:
                pass

    def _book_snapshot(self, connection: Connection, sub: Subscription, pair: Pair, now: int) -> None:
        book = self._exchange.listings[pair.symbol].book
        sub.shown = _shown(book, sub.options["depth"])
        if not sub.options["snapshot"]:
            return
        data = {
            "asks": [words.level_document(level, pair) for level in book.asks.levels(sub.options["depth"])],
            "bids": [words.level_document(level, pair) for level in book.bids.levels(sub.options["depth"])],
            "checksum": book.checksum(),
            "symbol": pair.symbol,
            "timestamp": rfc3339(now),
        }
        connection.send({"channel": "book", "data": [data], "type": "snapshot"}, now, depth=sub.options["depth"])

    def _executions_snapshot(self, connection: Connection, sub: Subscription, now: int) -> None:
        data: list[Json] = []
        if sub.options["snap_orders"]:
            data += [words.order_report(order, "new", order.opened) for order in self._exchange.working[sub.account].values()]
        if sub.options["snap_trades"]:
            latest = islice(reversed(self._exchange.fills[sub.account].values()), 50)
            data += [words.trade_report(one, one.at) for one in latest][::-1]
        self._numbered(connection, sub, data, "snapshot", now)

    def _numbered(self, connection: Connection, sub: Subscription, data: list[Json], kind: str, now: int) -> None:
        sub.sequence += 1
        connection.send({"channel": sub.channel, "data": data, "sequence": sub.sequence, "type": kind}, now)

    # ---- what happens --------------------------------------------------------------------------------------------------

    def hear_print(self, pair: Pair, one: Print) -> None:
        """Take a public trade."""
        self._prints.setdefault(pair.symbol, []).append(one)

    def hear_level(self, pair: Pair, _buys: bool, _price: int) -> None:  # noqa: FBT001 - as the exchange tells it
        """Take note that a book changed."""
        self._touched.add(pair.symbol)

    def hear_news(self, news: OrderNews) -> None:
        """Tell an account what happened to its order, at once."""
        for connection in list(self.connections.values()):
            sub = connection.subscriptions.get(("executions", "", None))
            if sub is None or sub.account != news.order.account:
                continue
            if news.what is What.TRADE and news.execution is not None:
                report = words.trade_report(news.execution, news.at)
            else:
                report = words.order_report(news.order, news.what.value, news.at)
            if sub.options.get("ratecounter"):
                report["ratecount"] = self._rate_count(sub.account, news.order.wish.pair, news.at)
            if news.what is What.TRADE and not news.order.left and self._merges(connection, news):
                sub.unsaid.append(report)
                continue
            # What was kept back is the order's own: its end is told right after its last trade.
            told, sub.unsaid = [*sub.unsaid, report], []
            self._numbered(connection, sub, told, "update", news.at)

    def _merges(self, connection: Connection, news: OrderNews) -> bool:
        """Tell whether a fault lets an order's last trade and its end come in one message."""
        where: Json = {"endpoint": connection.address, "channel": "executions", "key": connection.key}
        target = FaultTarget(**where, pairs=(news.order.wish.pair,))
        return next(self.faults.strikes(FaultPlace.REPORT, target, news.at, connection=connection.number), None) is not None

    def _rate_count(self, account: str, pair: Pair, now: int) -> float:
        """Return how the engine's counter of an account and pair stands."""
        counter = self._desk.engine.get((account, pair.symbol))
        return round(counter.value(now), 2) if counter else 0

    def hear_entry(self, account: str, entry: LedgerEntry) -> None:
        """Tell an account that a balance changed, at once."""
        for connection in list(self.connections.values()):
            sub = connection.subscriptions.get(("balances", "", None))
            if sub is not None and sub.account == account:
                self._numbered(connection, sub, [_entry_document(entry)], "update", entry.at)

    def publish(self, now: int) -> None:
        """Send what changed since the last time, and heartbeats."""
        bulletin = Bulletin(now, self._prints, self._touched)
        self._prints, self._touched = {}, set()
        changed, self._mode = self._mode is not self._exchange.mode, self._exchange.mode
        before, self._terms = self._terms, dict(self._exchange.terms)
        pairs = [one.pair for name, one in self._exchange.listings.items() if before.get(name) != self._terms.get(name)]
        for connection in list(self.connections.values()):
            if changed:
                connection.send(self._status(connection), now)
            for sub in connection.subscriptions.values():
                if sub.channel == "instrument" and pairs:
                    told = words.instrument_document(pairs, self._terms)
                    connection.send({"channel": "instrument", "data": told, "type": "update"}, now)
                if sub.pair is not None:
                    self._tell(connection, sub, sub.pair, bulletin)
            if connection.subscriptions and now - connection.last_sent >= HEARTBEAT_S * NS:
                connection.send({"channel": "heartbeat"}, now)

    def _tell(self, connection: Connection, sub: Subscription, pair: Pair, bulletin: Bulletin) -> None:
        if key := self._due(sub, pair, bulletin):
            told = bulletin.written(key, lambda: self._update(sub, pair, bulletin))
            connection.send(*told, depth=sub.options.get("depth", 0))

    def _due(self, sub: Subscription, pair: Pair, bulletin: Bulletin) -> tuple[Any, ...]:
        """Return a name for what a subscriber must be told, the same for all who get the same; empty for nothing."""
        traded = pair.symbol in bulletin.prints
        match sub.channel:
            case "trade" | "ohlc" if traded:
                return sub.channel, pair.symbol, sub.options.get("interval")
            case "ticker" if traded or (sub.options["event_trigger"] == "bbo" and pair.symbol in bulletin.touched):
                return sub.channel, pair.symbol
            case "book" if pair.symbol in bulletin.touched:
                place = (pair.symbol, sub.options["depth"])
                if place not in bulletin.shown:
                    bulletin.shown[place] = _shown(self._exchange.listings[pair.symbol].book, sub.options["depth"])
                # Those who were shown the same until now get the same; who came in between has a view of his own.
                before, sub.shown, sub.before = sub.shown, bulletin.shown[place], sub.shown
                return ("book", *place, id(before)) if before != sub.shown else ()
            case _:
                return ()

    def _update(self, sub: Subscription, pair: Pair, bulletin: Bulletin) -> Json:
        """Return what changed for a subscriber."""
        now = bulletin.now
        if sub.channel == "trade":
            data = [_print_document(pair, one) for one in bulletin.prints[pair.symbol]]
            return {"channel": "trade", "data": data, "type": "update"}
        if sub.channel == "ohlc":
            rows = self._desk.candles(pair, sub.options["interval"])[-1:]
            data = [_candle_document(pair, row, sub.options["interval"]) for row in rows]
            return {"channel": "ohlc", "data": data, "timestamp": rfc3339(now), "type": "update"}
        if sub.channel == "ticker":
            return {"channel": "ticker", "data": [self._ticker(pair, now)], "type": "update"}
        return self._book_update(sub, pair, now)

    def _book_update(self, sub: Subscription, pair: Pair, now: int) -> Json:
        """Return the levels that changed; those that only fell out of the depth are the reader's to drop."""
        book, before = self._exchange.listings[pair.symbol].book, sub.before
        changed = [key for key, quantity in sub.shown.items() if before.get(key) != quantity]
        gone = [key for key in before if key not in sub.shown and book.side(buys=key[0]).quantity(key[1]) == 0]
        sides: dict[bool, list[Json]] = {True: [], False: []}
        for buys, price in (*gone, *changed):
            lots = book.side(buys=buys).quantity(price)
            sides[buys].append({"price": words.price_of(price, pair), "qty": words.lots_of(lots, pair)})
        data = {
            "asks": sides[False],
            "bids": sides[True],
            "checksum": book.checksum(),
            "symbol": pair.symbol,
            "timestamp": rfc3339(now),
        }
        return {"channel": "book", "data": [data], "type": "update"}

    def _ticker(self, pair: Pair, now: int) -> Json:
        listing = self._exchange.listings[pair.symbol]
        _, day = self._desk.spans(listing, now)
        ask, bid = listing.book.asks.levels(1), listing.book.bids.levels(1)
        change = listing.last - day.open
        return {
            "ask": words.price_of(ask[0].price, pair) if ask else Decimal(0),
            "ask_qty": words.lots_of(ask[0].quantity, pair) if ask else Decimal(0),
            "bid": words.price_of(bid[0].price, pair) if bid else Decimal(0),
            "bid_qty": words.lots_of(bid[0].quantity, pair) if bid else Decimal(0),
            "change": change,
            "change_pct": round(change / day.open * 100, 2),
            "high": day.high,
            "last": listing.last,
            "low": day.low,
            "symbol": pair.symbol,
            "timestamp": rfc3339(now),
            "trades": day.trades,
            "volume": day.volume,
            "vwap": day.vwap.quantize(pair.tick),
        }

    def _balances(self, account: str) -> list[Json]:
        return [
            {
                "asset": name,
                "asset_class": "currency",
                "balance": amount,
                "wallets": [{"balance": amount, "id": "main", "type": "spot"}],
            }
            for name, amount in self._exchange.accounts.by_name[account].balances.items()
        ]


def _options(channel: str, params: Json) -> tuple[Json, str]:
    """Return how a channel is followed, or why it can't be."""
    snapshot = params.get("snapshot")
    found: Json = {"snapshot": snapshot is True if channel == "trade" else snapshot is not False}
    if channel == "book":
        found["depth"] = params.get("depth", 10)
        if found["depth"] not in DEPTHS or isinstance(found["depth"], bool):
            return found, "Subscription depth not supported"
    elif channel == "ohlc":
        found["interval"] = params.get("interval", 1)
        if found["interval"] not in INTERVALS or isinstance(found["interval"], bool):
            return found, "Subscription ohlc interval not supported"
    elif channel == "ticker":
        found["event_trigger"] = params.get("event_trigger", "trades")
        if found["event_trigger"] not in ("trades", "bbo"):
            return found, "Subscription event_trigger not supported"
    elif channel == "status":
        found = {}
    return found, ""


def _by_symbol(params: Json) -> list[Json]:
    """Return a request of each symbol, because a fault may strike some of them."""
    symbols = params.get("symbol")
    if not isinstance(symbols, list) or len(symbols) < 2 or not all(isinstance(name, str) for name in symbols):
        return [params]
    return [params | {"symbol": [name]} for name in symbols[:SYMBOLS_MAX]]


def _shown(book: Book, depth: int) -> dict[tuple[bool, int], int]:
    """Return what a reader of that depth sees: quantity by side and price."""
    return {(buys, level.price): level.quantity for buys in (False, True) for level in book.side(buys=buys).levels(depth)}


def _print_document(pair: Pair, one: Print) -> Json:
    return {
        "ord_type": "market" if one.market else "limit",
        "price": one.price,
        "qty": one.volume,
        "side": "buy" if one.buys else "sell",
        "symbol": pair.symbol,
        "timestamp": rfc3339(one.at),
        "trade_id": one.number,
    }


def _candle_document(pair: Pair, row: Candle, interval: int) -> Json:
    begin = row.at * NS
    return {
        "close": row.close,
        "high": row.high,
        "interval": interval,
        "interval_begin": rfc3339(begin, 9),
        "low": row.low,
        "open": row.open,
        "symbol": pair.symbol,
        "timestamp": rfc3339(begin + interval * 60 * NS),
        "trades": row.trades,
        "volume": row.volume,
        "vwap": row.vwap.quantize(pair.tick),
    }


def _entry_document(entry: LedgerEntry) -> Json:
    return {
        "amount": entry.amount,
        "asset": ASSETS[entry.asset].name,
        "asset_class": "currency",
        "balance": entry.balance,
        "category": entry.type,
        "fee": entry.fee,
        "ledger_id": entry.id,
        "ref_id": entry.refid,
        "subtype": "",
        "timestamp": rfc3339(entry.at),
        "type": entry.type,
        "wallet_id": "main",
        "wallet_type": "spot",
    }
