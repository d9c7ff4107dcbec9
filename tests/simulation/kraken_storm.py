"""Engine and Kraken venue through every fault of the emulator that touches orders: no sockets, made-up time.

A seed gives the market, the targets, the faults, the moment of the kill switch and the deaths of the process. What has to hold
is looked at while it blows, with the exchange's own eyes, and at the end.
"""

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from tests.simulation.world import Killed, Killer, open_files
from tests.trading import some_limits

from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.faults import FaultPlace
from peak_trade.emulator.opening import EmulatorChoice, open_emulator
from peak_trade.emulator.rest import RestCall
from peak_trade.engine.engine import Engine
from peak_trade.engine.feed import Tick
from peak_trade.engine.live import GrowingBars, Heard
from peak_trade.engine.records import booked_in, recorded_ticks, sent_in
from peak_trade.engine.replay import replay
from peak_trade.engine.runner import Course, Killing, Outlook, Runner
from peak_trade.engine.state import LegPlan, Plan
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import Chain, Record
from peak_trade.journal.signing import Signer, Verifier, public_path
from peak_trade.journal.verify import NOTES, verify_account
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import moment
from peak_trade.model.errors import ConfigError, InputError, SafetyRefused, Unavailable
from peak_trade.model.instrument import Instrument
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import MarketBar
from peak_trade.risk.gate import Mode
from peak_trade.runs.sessions.dead import lineage
from peak_trade.strategy.sizing import SizedBy, Sizing
from peak_trade.venue.kraken.budget import TIER_LIMITS
from peak_trade.venue.kraken.dead_man import DeadManSwitch
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.opening import OpeningFile
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.trading import KrakenVenue, VenueTimes, VenueWatch
from peak_trade.venue.kraken.wire import Credentials

SYMBOL, ALTNAME, ACCOUNT, URL = "BTC/EUR", "XBTEUR", "storm", "http://127.0.0.1:9"
NS, MINUTE_NS = 1_000_000_000, 60_000_000_000
BEGIN_NS = 1_767_225_600 * NS
#: Seconds until the client gives a call up, of a call that nothing disturbs, and between two looks of the trading loop.
TIMEOUT_S, CALL_S, LOOK_S = 1.5, 0.05, 5.0
CASH, LIMIT = Decimal(10_000), Decimal(1_000)
#: Every fault that touches an order, its answer or the account; but an order of somebody else's, which is to stop a session,
#: and one that executes what was only to be looked at, which is not sent here.
FAULTS = sorted(
    name
    for name in CATALOGUE
    if name.partition(".")[0] in ("rest", "auth", "limit", "order", "dms")
    or name in ("market.cancel_only", "market.post_only", "market.limit_only", "market.maintenance")
    if name not in ("order.ghost", "order.validate_executes", "limit.connections")
)


#: After these a session sees nothing for long, or loses its key, and opens nothing more: they come seldom.
HARSH = [name for name in FAULTS if name.startswith(("auth.", "dms.", "market.", "rest.captcha"))]
FAULTS = [name for name in FAULTS if name not in HARSH]


class StormTime:
    """A clock that goes on when somebody waits, and lets the exchange do what is due by then."""

    def __init__(self) -> None:
        self.wall_ns = BEGIN_NS
        self.emulator: Any = None

    def __call__(self) -> int:
        return self.wall_ns

    def now(self) -> datetime:
        return moment(self.wall_ns)

    def elapsed_s(self) -> float:
        return self.wall_ns / NS

    def go_on(self, seconds: float) -> None:
        """Let so many seconds pass; the market goes on in steps."""
        while seconds > 0:
            part = min(seconds, LOOK_S)
            self.wall_ns += int(part * NS)
            seconds -= part
            self.emulator.pass_time(self.wall_ns)

    async def sleep(self, seconds: float) -> None:
        self.go_on(seconds)
        await asyncio.sleep(0)


class Wireless(httpx2.AsyncBaseTransport):
    """The way to the exchange without sockets: faults hold, cut and garble as they do over them, in made-up time."""

    def __init__(self, storm: "KrakenStorm") -> None:
        self._storm = storm

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        storm, body = self._storm, await request.aread()
        given = body or request.url.query
        headers = {name.lower(): value for name, value in request.headers.items()}
        storm.time.wall_ns += int(CALL_S * NS)
        call = RestCall(request.url.path, headers, given, storm.time())
        emulator = storm.opened.emulator
        target = emulator._target(call)
        emulator.faults.let_time_pass(call.now)
        held = sum(fault.kind.act(fault) for fault in emulator.faults.strikes(FaultPlace.WAIT, target, call.now))
        storm.time.go_on(held)
        endpoint = call.path.rsplit("/", 1)[-1]
        if endpoint == "AddOrder":
            storm.sent[dict(httpx2.QueryParams(body.decode()))["cl_ord_id"]] += 1
        found = emulator.answered(call._replace(now=storm.time()))
        storm.check_exposure()
        if held > TIMEOUT_S or found.cut:
            storm.time.go_on(0.0 if held else min(found.hold_s, TIMEOUT_S))
            if found.cut == "truncated":
                return httpx2.Response(200, content=b'{"error":[],"resu')
            raise httpx2.ReadTimeout("no answer", request=request)
        if found.answer is None:
            return httpx2.Response(found.status, content=found.body.encode())
        if endpoint == "OpenOrders" and not found.error:
            storm.seen_s = storm.time.elapsed_s()
        return httpx2.Response(200, json=found.answer)


class Drawn:
    """Targets drawn with a seed: every bar's is the same, whoever asks again."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def targets(self, number: int) -> tuple[tuple[int, float], ...]:
        chance = random.Random(f"{self._seed} {number // 2}")
        return ((0, chance.choice((0.0, 0.5, 0.5, 1.0))),)


class Minutes:
    """The exchange's bars of a minute, as its book has them, told as they happen; the weather changes between two looks."""

    def __init__(self, storm: "KrakenStorm", told: int) -> None:
        self._storm, self._told, self._open = storm, told, None

    async def next(self, _stop: asyncio.Event, _most_s: float) -> Heard | None:
        storm = self._storm
        if storm.calm:
            self._storm.time.go_on(LOOK_S)
        else:
            storm.blow()
            storm.time.go_on(storm.chance.uniform(0.5, LOOK_S))
        storm.check_sight()
        now, price = storm.time(), storm.price
        begun = now // MINUTE_NS * MINUTE_NS
        if self._open is None or begun > self._open.opened_ns:
            before, self._open = self._open, None
            if before is not None:
                bar = before._replace(high=max(before.open, price), low=min(before.open, price), close=price, volume=1.0)
                self._told += 1
                return Heard(Tick(bar, self._told - 1, complete=True), max(0, now - bar.closed_ns))
            self._open = MarketBar(SYMBOL, begun, MINUTE_NS, price, price, price, price, 0.0)
            return Heard(Tick(self._open, self._told, complete=False), now - begun)
        return None


class KrakenStorm:
    """One seed's storm: the exchange, the processes that live and die in it, and what was seen."""

    def __init__(self, folder: Path, seed: int, minutes: int = 40) -> None:
        self.folder, self.seed, self.minutes = folder, seed, minutes
        self.chance = random.Random(seed)
        self.time = StormTime()
        choice = EmulatorChoice(pairs=[SYMBOL], seed=seed, tier="pro")
        self.opened = open_emulator(choice, self.time, random.Random(seed))
        self.time.emulator = self.opened.emulator
        self.time.go_on(120)
        self.key = self.opened.keys["trading"]
        self.account = self.opened.engine.accounts.by_name[self.key.account]
        self.before = dict(self.account.balances)
        self.signer = Signer.load_or_make(folder / "journal.pem")
        self.sent: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.engine: Engine | None = None
        self.engine_last: Engine | None = None
        self.names: list[str] = []
        self.calm = False
        self.kill_ns = BEGIN_NS + int(self.chance.uniform(0.5, 1.2) * minutes) * MINUTE_NS
        self.killed_ns = 0
        self.level = list(KillLevel)[seed % len(KillLevel)]
        self.seen_s = self.time.elapsed_s()
        self.restarts = self.deaths = 0
        self.instrument = Instrument(symbol=SYMBOL)
        self.worst = Decimal(0)
        self.force = self.chance.choice((0.1, 0.2, 0.3, 0.5))
        self.stops = self.chance.random() < 0.5

    @property
    def price(self) -> float:
        listing = self.opened.engine.listings[SYMBOL]
        ask, bid = listing.book.asks.best(), listing.book.bids.best()
        scale = 10**listing.pair.price_decimals
        return (ask + bid) / 2 / scale if ask and bid else float(listing.last)

    @property
    def records(self) -> list[Record]:
        return list(lineage(self.folder / "journal", ACCOUNT, self.names[-1])) if self.names else []

    # ---- weather -------------------------------------------------------------------------------------------------------

    def blow(self) -> None:
        """Set a fault now and then, and seldom clear all of them."""
        emulator, chance = self.opened.emulator, self.chance
        if chance.random() < 0.03:
            emulator.faults.clear(emulator.now())
        if chance.random() > self.force:
            return
        harsh = chance.random() < 0.015
        name = chance.choice(HARSH if harsh else FAULTS)
        most = 120 if harsh else 25
        lasts = {"for_s": chance.uniform(2, most), "rate": chance.choice((0.1, 0.3, 1.0)), "seed": chance.random()}
        seconds = {"args": {"seconds": chance.uniform(0.2, 4.0)}} if "seconds" in CATALOGUE[name].args else {}
        # Most strike what changes something; those that strike every question make a session blind, and soon over.
        about = {"match": {"endpoint": chance.choice(("AddOrder", "CancelOrder"))}}
        if harsh or chance.random() < 0.1:
            about, lasts["rate"] = {}, 0.3
        for told in (lasts | about, {"for_s": lasts["for_s"]} | about, {"for_s": lasts["for_s"]}, {}):
            with suppress(InputError):
                emulator.faults.add({"name": name, **seconds, **told}, emulator.now())
                self.struck[name] += 1
                return

    def fair(self) -> None:
        """End every fault, and the exchange's memory of a lockout."""
        self.calm = True
        emulator = self.opened.emulator
        emulator.faults.clear(emulator.now())
        self.time.go_on(1_000)

    # ---- what has to hold at any moment ----------------------------------------------------------------------------------

    def check_exposure(self) -> None:
        """As the exchange sees it: what is held and what may still be bought, at its price, lies below the limit.

        The gate knows the close of the last bar, and prices move on while orders are under way: hence a hundredth more.
        """
        engine = self.opened.engine
        held = self.account.balances.get("BTC", Decimal(0)) - self.before.get("BTC", Decimal(0))
        buying = sum(
            (order.volume - order.done for order in engine.working[self.key.account].values() if order.wish.buys),
            Decimal(0),
        )
        worth = (held + buying) * Decimal(str(self.price))
        self.worst = max(self.worst, worth)
        assert worth <= LIMIT * Decimal("1.01"), f"seed {self.seed}: an exposure of {worth:.2f}"
        assert held >= 0, f"seed {self.seed}: short by {held}"

    def check_sight(self) -> None:
        """A session that was not told of its account for longer than it may be is not one that opens positions."""
        engine = self.engine
        blind_s = self.time.elapsed_s() - self.seen_s
        if engine is not None and engine.live and blind_s > 45.0 + 60.0:
            assert engine.state.mode is not Mode.RUNNING, f"seed {self.seed}: running, blind for {blind_s:.0f} s"

    def killed_now(self) -> Killing | None:
        if self.time() < self.kill_ns:
            return None
        self.killed_ns = self.killed_ns or self.time()
        return Killing("a drill", self.level)

    # ---- processes -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run processes, one after the other, until the session has ended."""
        for _ in range(60):
            killer = Killer(self.chance.choice(POINTS), self.chance.randint(1, 6)) if not self.calm else Killer()
            before, past = open_files(), len([tick for tick in recorded_ticks(self.records) if tick.complete])
            if past >= self.minutes:
                self.fair()
            try:
                asyncio.run(self._process(killer))
            except Killed:
                self.deaths += 1
            except (Unavailable, ConfigError, SafetyRefused) as error:
                # A person looks, and gives the same command again; what was refused before the session began, as well.
                if not isinstance(error, Unavailable) and self.engine_last is not None:
                    raise
                self.restarts += 1
                self.time.go_on(self.chance.uniform(1, 120))
            else:
                return
            finally:
                for handle in open_files() - before:
                    with suppress(OSError):
                        if handle.readlink().is_relative_to(self.folder):
                            os.close(int(handle.name))
        raise AssertionError(f"seed {self.seed}: it did not end")

    async def _process(self, killer: Killer) -> None:
        records, self.engine_last = self.records, None
        venue, nonces, instrument = await self._venue(records)
        try:
            name = f"20260101T000000{len(self.names):03d}Z-00000a"
            body = {"continues": self.names[-1] if self.names else None, "origin": "storm"}
            chain = Chain.begin(self.folder / "journal", ACCOUNT, name, body, at=self.time.now(), signer=self.signer)
            self.names.append(name)
            await venue.prepare()
            self.engine = Engine(self._plan(instrument), venue, chain, Tape(records), self.time, faults=killer)
            venue._watch.health = lambda: "" if self.engine.compared else "not compared"
            past = list(recorded_ticks(records))
            live = Minutes(self, sum(tick.complete for tick in past))
            outlook = replace(
                self._outlook(instrument, past),
                course=Course(steps=self.minutes + 3),
                sign=lambda: chain.sign(at=self.time.now()),
                killed=self.killed_now,
                live=live,
            )
            await Runner(self.engine, outlook, self.time).run()
            self.instrument = instrument
            self.fair()
            assert await venue.left_open(self.engine.sent) == []
            await venue.release()
            chain.sign(at=self.time.now())
        finally:
            nonces.close()
            self.engine_last, self.engine = self.engine, None

    def _outlook(self, instrument: Instrument, past: list[Tick]) -> Outlook:
        return Outlook(
            series={SYMBOL: GrowingBars(instrument, Timeframe.parse("1m"))},
            deciders={SYMBOL: Drawn(self.seed)},
            traded_from=0,
            course=Course(),
            speed=None,
            heartbeat=None,
            max_clock_skew=timedelta.max,
            sign=lambda: None,
            progress=lambda _ticks: None,
            past=past,
        )

    async def _venue(self, records: list[Record]) -> tuple[KrakenVenue, NonceStore, Instrument]:
        keys = Credentials.read(self.key.id, self.key.secret_text)
        nonces = NonceStore(self.folder / "nonces", keys.short, self.time)
        parts = GatewayParts(
            clock=self.time,
            chance=random.Random(self.chance.random()),
            sleep=self.time.sleep,
            limits=TIER_LIMITS["pro"],
            transport=Wireless(self),
        )
        proof = EmulatorProof.of(URL)
        market = PublicMarket(parts, URL, 0.0)
        try:
            pairs = await market.pairs([ALTNAME])
        except BaseException:
            nonces.close()
            raise
        gateway = Gateway(keys, nonces, parts, URL, proof)
        watch = VenueWatch(
            market=market,
            cash=CASH,
            dead_man=DeadManSwitch(gateway, self.time),
            opening=OpeningFile(self.folder / "opening.json"),
        )
        venue = KrakenVenue(
            gateway,
            pairs,
            sent_in(records),
            VenueTimes(since_ns=BEGIN_NS, step_ns=MINUTE_NS),
            self.time,
            self.time.sleep,
            proof,
            watch=watch,
            booked=booked_in(records),
        )
        pair = pairs[SYMBOL]
        steps = {"tick_size": pair.tick_size, "lot_step": pair.lot_step, "min_notional": pair.costmin}
        return venue, nonces, Instrument(symbol=SYMBOL, min_quantity=pair.ordermin, **steps)

    def _plan(self, instrument: Instrument) -> Plan:
        # A target of 1 is more than the limit allows; half of it is less, and two halves are not.
        leg = LegPlan(
            name="drawn",
            symbol=SYMBOL,
            sizing=Sizing(SizedBy.FRACTION, Decimal("0.12")),
            stop_loss=Decimal("0.002") if self.stops else Decimal(0),
        )
        limits = some_limits(
            max_order_notional=LIMIT, max_symbol_exposure_notional=LIMIT, max_total_exposure_notional=LIMIT, max_data_age_s=1e6
        )
        return Plan(origin="storm", legs=(leg,), instruments={SYMBOL: instrument}, limits=limits, cash=CASH)

    # ---- what has to hold at the end -------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """No order twice, none that opens after the kill, no fill lost, equal accounts, a journal that comes out."""
        place = f"seed {self.seed}"
        orders = [order for order in self.opened.engine.orders.values() if order.account == self.key.account]
        names = [order.wish.cl_ord_id for order in orders]
        assert max(self.sent.values(), default=1) == 1, f"{place}: an order was sent twice"
        assert len(set(names)) == len(names), f"{place}: an intent has two orders"
        if self.killed_ns:
            late = [order for order in orders if order.wish.buys and order.opened > self.killed_ns + 2 * NS]
            assert not late, f"{place}: {len(late)} purchases after the kill"
        assert not any(order.state.working for order in orders), f"{place}: an order still works"
        engine = self.engine_last
        assert engine is not None
        theirs = {one.id: one for one in self.opened.engine.executions if one.order.account == self.key.account}
        ours = {record.body["fill_id"]: record.body for record in self.records if record.kind == "filled"}
        assert ours.keys() == theirs.keys(), f"{place}: fills {ours.keys() ^ theirs.keys()}"
        assert all(Decimal(ours[name]["quantity"]) == (1 if one.buys else -1) * one.volume for name, one in theirs.items())
        moved = {name: self.account.balances[name] - self.before.get(name, Decimal(0)) for name in ("EUR", "BTC")}
        books = engine.state.books
        assert abs(books.cash - CASH - moved["EUR"]) < Decimal("0.001"), f"{place}: cash"
        assert books.held().get(SYMBOL, Decimal(0)) == moved["BTC"], f"{place}: position"
        records = self.records
        tape = Tape(records)
        again = Engine(self._plan(self.instrument), None, None, tape, self.time)
        found = asyncio.run(replay(again, self._outlook(self.instrument, list(recorded_ticks(records))), engine.tick))
        assert not tape.left, f"{place}: the journal goes on with {tape.head.kind}, its replay does not"
        assert found.state.digest == engine.state.digest, f"{place}: decided otherwise"
        report = verify_account(self.folder / "journal", ACCOUNT, Verifier.load(public_path(self.folder / "journal.pem")))
        flaws = [flaw for flaw in report.flaws if flaw.code not in NOTES]
        assert not flaws, f"{place}: {flaws}"


#: Where a process dies.
POINTS = (
    *("venue.submit.before", "venue.submit.after", "venue.cancel.before", "venue.cancel.after"),
    *("venue.look_up.before", "venue.look_up.after", "venue.opened.before", "venue.traded.after"),
)


def weather_out(folder: Path, seed: int) -> KrakenStorm:
    """Let one seed's storm blow, and look at what is left."""
    folder.mkdir(parents=True, exist_ok=True)
    storm = KrakenStorm(folder, seed)
    storm.run()
    storm.check_end()
    return storm
