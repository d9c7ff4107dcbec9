"""Keeping what clients were told: what changed of the exchange goes into the state file before an answer leaves.

What goes round in a ring in memory (executions, ledgers, public trades, candles) goes round in the file too. The market's own
quotes, changes of the best prices, WebSocket tokens, subscriptions, faults and the log are not kept.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from peak_trade.emulator.accounts import LEDGER_MAX, ClientAccount
from peak_trade.emulator.candles import KEPT, Candles, still
from peak_trade.emulator.codec import NotRemembered, decoded_as, encoded
from peak_trade.emulator.counters import Counter
from peak_trade.emulator.exchange import EXECUTIONS_MAX, FINISHED_MAX, PRINTS_MAX, MatchingEngine, OrderNews
from peak_trade.emulator.orders import ClientFill, LedgerEntry, PlacedOrder, Print
from peak_trade.emulator.pairs import Pair
from peak_trade.emulator.rest import INTERVALS, MarketCandle, RestParts
from peak_trade.emulator.signing import ApiKey
from peak_trade.emulator.statefile import StateFile, StateRow
from peak_trade.model.errors import InputError

Stored = Mapping[str, Mapping[str, Any]]
_LEDGER = frozenset({"ledger"})


class Keeper:
    """Hears what happens, and stores it when it is told to.

    Attributes:
        origin: what the market needs to know of its first run: when it began, its seed, the shift of a recording.
        runs: how often the exchange was started from this file.
    """

    def __init__(self, file: StateFile) -> None:
        """Read what is stored.

        Raises:
            InputError: it is damaged.
        """
        self._file = file
        self._stored: Stored = file.load()
        self._told: dict[tuple[str, str], str] = {}
        self._orders: dict[str, PlacedOrder] = {}
        self._numbers: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._count = itertools.count(1)
        self._fills: list[ClientFill] = []
        self._fill_count = 0
        self._entries: list[tuple[str, LedgerEntry]] = []
        self._entry_counts: dict[str, int] = defaultdict(int)
        self._prints: list[tuple[Pair, Print]] = []
        self._drawn: dict[tuple[str, int], int] = {}
        alone = self._stored.get("alone", {})
        self.origin: dict[str, Any] = alone.get("origin", {})
        self.runs: int = alone.get("runs", 0)
        self.clock: int = alone.get("clock", 0)

    @property
    def fresh(self) -> bool:
        """Whether nothing was stored yet."""
        return not self._stored

    def keys(self) -> dict[str, ApiKey]:
        """Return the stored keys by name.

        Raises:
            InputError: they can't be read.
        """
        return {name: self._read(ApiKey, told, {}) for name, told in self._stored.get("key", {}).items()}

    # ---- hearing -------------------------------------------------------------------------------------------------------

    def hear_news(self, news: OrderNews) -> None:
        """Take note that an order changed."""
        self._orders[news.order.id] = news.order
        if not news.order.state.working and news.order.id not in self._ends:
            self._ends[news.order.id] = next(self._count)
        if news.execution is not None:
            self._fills.append(news.execution)

    def hear_entry(self, account: str, entry: LedgerEntry) -> None:
        """Take note of a line of a ledger."""
        self._entries.append((account, entry))

    def hear_print(self, pair: Pair, one: Print) -> None:
        """Take note of a public trade."""
        self._prints.append((pair, one))

    # ---- storing -------------------------------------------------------------------------------------------------------

    def save(self, desk: RestParts, candles: Mapping[str, Candles], now: int) -> None:
        """Store what changed since the last time, if anything did.

        Raises:
            StorageError: the disk refused; what changed is kept in mind for the next time.
        """
        engine = desk.exchange
        changed = dict(self._orders)
        changed |= engine._uncovered
        for listing in engine.listings.values():
            changed |= {order.id: order for order in listing.waiting.values() if order.wish.type.trails}
        single = list(self._singles(desk, changed))
        rows = [row for row in single if self._told.get(row[:2]) != row.text]
        rows += self._rings(candles)
        if not rows:
            return
        rows.append(StateRow("alone", "clock", str(now)))
        gone = self._forgotten(engine)
        self._file.save(rows, [("order", name) for name in gone] + [("amends", name) for name in gone])
        self._told |= {row[:2]: row.text for row in single}
        for name in [name for name in changed if not changed[name].state.working]:
            # It never changes again: there is nothing to compare it with.
            self._told.pop(("order", name), None)
            self._told.pop(("amends", name), None)
        for name in gone:
            self._numbers.pop(name, None)
            self._ends.pop(name, None)
        self._advance()

    def _advance(self) -> None:
        """Go on from what is stored now."""
        self._fill_count += len(self._fills)
        for account, _ in self._entries:
            self._entry_counts[account] += 1
        for pair, one in self._prints:
            for interval in INTERVALS:
                self._drawn[pair.symbol, interval] = one.at // 1_000_000_000 // (interval * 60) * interval * 60
        self._orders, self._fills, self._entries, self._prints = {}, [], [], []

    def _singles(self, desk: RestParts, changed: Mapping[str, PlacedOrder]) -> Iterable[StateRow]:
        """Yield what has one row of its own, changed or not."""
        engine = desk.exchange
        for name, order in changed.items():
            number = self._numbers.setdefault(name, next(self._count))
            told = {"number": number, "end": self._ends.get(name, 0), "order": encoded(order)}
            yield StateRow("order", name, json.dumps(told))
            if name in desk.amends:
                yield StateRow("amends", name, json.dumps(desk.amends[name]))
        for name, account in engine.accounts.by_name.items():
            yield StateRow("account", name, json.dumps(encoded(account, _LEDGER)))
        for key in desk.keys.values():
            yield StateRow("key", key.name, json.dumps(encoded(key)))
        for symbol, listing in engine.listings.items():
            yield StateRow("listing", symbol, json.dumps({"last": str(listing.last), "trades": listing.trades}))
        counters = [[list(name), vars(found)] for name, found in desk.engine.items()]
        calls, bad = ([[name, vars(found)] for name, found in held.items()] for held in (desk.calls, desk.bad))
        alone: dict[str, Any] = {"timers": engine.timers, "engine": counters, "calls": calls, "tier": desk.tier}
        alone |= {"bad": bad, "locked": desk.locked}
        for name, told in (alone | {"runs": self.runs, "origin": self.origin}).items():
            yield StateRow("alone", name, json.dumps(told))

    def _rings(self, candles: Mapping[str, Candles]) -> Iterable[StateRow]:
        """Yield what is only ever added."""
        for number, fill in enumerate(self._fills, self._fill_count):
            yield _ringed("fill", "", number, EXECUTIONS_MAX, encoded(fill))
        counts = dict(self._entry_counts)
        for account, entry in self._entries:
            number = counts.get(account, 0)
            counts[account] = number + 1
            yield _ringed("entry", account, number, LEDGER_MAX, encoded(entry))
        for pair, one in self._prints:
            yield _ringed("print", pair.symbol, one.number, PRINTS_MAX, encoded(one))
        for symbol in {pair.symbol for pair, _ in self._prints}:
            for interval in INTERVALS:
                for row in candles[symbol].since(interval, self._drawn.get((symbol, interval), 0)):
                    place = f"{symbol} {interval}"
                    yield _ringed("candle", place, row.at // (interval * 60), KEPT, encoded(row))

    def _forgotten(self, engine: MatchingEngine) -> list[str]:
        """Return the orders that nobody remembers any more; looked for only now and then."""
        if len(self._numbers) < len(engine.orders) + FINISHED_MAX // 10:
            return []
        named = {fill.order.id for fill in engine.executions}
        return [name for name in self._numbers if name not in engine.orders and name not in named]

    # ---- taking back ---------------------------------------------------------------------------------------------------

    def restore(self, desk: RestParts, candles: Mapping[str, Candles], *, drawn: bool) -> None:
        """Put what is stored into an exchange that was just made.

        Args:
            drawn: whether the stored candles are wanted too.

        Raises:
            InputError: it can't be read, or an order works on a pair that is not listed.
        """
        engine, stored = desk.exchange, self._stored
        for name, told in stored.get("account", {}).items():
            engine.accounts.by_name[name] = self._read(ClientAccount, told, {})
        self._take_orders(engine)
        for account, entries in _grouped(stored.get("entry", {})).items():
            ledger = engine.accounts.by_name[account].ledger
            ledger.extend(self._read(LedgerEntry, told["what"], {}) for told in entries)
            self._entry_counts[account] = entries[-1]["n"] + 1
        for symbol, told in stored.get("listing", {}).items():
            if listing := engine.listings.get(symbol):
                listing.last, listing.trades = type(listing.last)(told["last"]), told["trades"]
        for symbol, prints in _grouped(stored.get("print", {})).items():
            if symbol in engine.listings:
                engine.listings[symbol].prints.extend(self._read(Print, told["what"], {}) for told in prints)
        if drawn:
            self._take_candles(candles)
        self._take_rest(desk)
        # What was taken back is not wanted twice, and can be much.
        self._stored = {"alone": {}}

    def _take_orders(self, engine: MatchingEngine) -> None:
        found = sorted(self._stored.get("order", {}).values(), key=lambda told: told["number"])
        orders: dict[str, PlacedOrder] = {}
        for told in found:
            order = self._read(PlacedOrder, told["order"], {})
            if order.state.working and order.wish.pair.symbol not in engine.listings:
                raise InputError(
                    f"expected --pairs with {order.wish.pair.symbol}, because order {order.id} of {self._file.path} works "
                    "there, found it without; add it"
                )
            orders[order.id] = order
            self._numbers[order.id] = told["number"]
            if not order.state.working:
                self._ends[order.id] = told["end"]
        last = max((max(told["number"], told["end"]) for told in found), default=0)
        self._count = itertools.count(last + 1)
        ended = [orders[name] for name in sorted(self._ends, key=self._ends.__getitem__)]
        fills = sorted(self._stored.get("fill", {}).values(), key=lambda told: told["n"])
        engine.take_back(orders.values(), ended, [self._read(ClientFill, told["what"], orders) for told in fills])
        self._fill_count = 1 + fills[-1]["n"] if fills else 0
        # A fault that held money back is not there any more.
        for account in engine.accounts.by_name.values():
            account.held.clear()
        for order in engine.orders.values():
            if order.held:
                engine.accounts.hold(order.account, order.held_in, order.held)

    def _take_candles(self, candles: Mapping[str, Candles]) -> None:
        for place, told in _grouped(self._stored.get("candle", {})).items():
            symbol, interval = place.split(" ")
            if symbol not in candles:
                continue
            rows: list[MarketCandle] = []
            step = int(interval) * 60
            for one in told:
                row = self._read(MarketCandle, one["what"], {})
                rows += [*(still(rows[-1], step, row.at) if rows else ()), row]
            candles[symbol].put(int(interval), rows)
            self._drawn[symbol, int(interval)] = rows[-1].at

    def _take_rest(self, desk: RestParts) -> None:
        alone = self._stored.get("alone", {})
        desk.exchange.timers.update(alone.get("timers", {}))
        desk.amends.update(self._stored.get("amends", {}))
        desk.bad.update({name: _counter(told) for name, told in alone.get("bad", ())})
        desk.locked.update(alone.get("locked", {}))
        if alone.get("tier") == desk.tier:
            desk.engine.update({tuple(name): _counter(told) for name, told in alone.get("engine", ())})
            desk.calls.update({name: _counter(told) for name, told in alone.get("calls", ())})

    def _read(self, kind: type[Any], told: Any, orders: Mapping[str, PlacedOrder]) -> Any:
        try:
            return decoded_as(kind, told, orders)
        except NotRemembered as error:
            raise InputError(
                f"expected state of this version of Peak_Trade in {self._file.path}, found another ({error}); use the version "
                "that wrote it, or name another file"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _ringed(kind: str, place: str, number: int, size: int, what: Any) -> StateRow:
    return StateRow(kind, f"{place}/{number % size}", json.dumps({"n": number, "what": what}))


def _grouped(stored: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return rows of rings by what they belong to, oldest first."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name, told in stored.items():
        found[name.rsplit("/", 1)[0]].append(told)
    for rows in found.values():
        rows.sort(key=lambda told: told["n"])
    return found


def _counter(told: Mapping[str, Any]) -> Counter:
    found = Counter(0, 0)
    vars(found).update(told)
    return found
