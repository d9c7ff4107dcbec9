"""Sessions with real orders at an emulator: stopped, killed, deaf; and what the exchange and the books then say."""

import contextlib
import json
import re
import shutil
import signal
from decimal import Decimal

import pytest
from tests.emulated import emulating, until
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.emulator.orders import OrderStatus
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import NOTES, verify_account
from peak_trade.runs.drills.emulated_session import EmulatedTerms, start_emulated
from peak_trade.runs.emulated import EmulatedRun
from peak_trade.runs.sessions.again import redecide
from peak_trade.settings import load_config

SPEED, PATIENCE_S = 20.0, 60
pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture(scope="module")
def exchange():
    """An emulator that all tests of this file share, whose clock goes twenty times as fast."""
    with emulating(speed=SPEED) as found:
        yield found


class Bench:
    """A folder, a key of its own at the emulator, and the session's process."""

    def __init__(self, folder, exchange, terms):
        shutil.copy(ROOT / "config.toml", folder)
        path = folder / "config.toml"
        path.write_text(re.sub(r"(?m)^max_data_age_s = .*$", "max_data_age_s = 3600", path.read_text()))
        self.folder, self.exchange, self.terms = folder, exchange, terms
        self.key = exchange.key()
        keys = {"trading": (self.key.id, self.key.secret_text)}
        self.run = EmulatedRun(base_url=exchange.url, stream_url=exchange.stream, keys=keys, control_token="")
        self.account = exchange.opened.engine.accounts.by_name[self.key.account]
        self.before = dict(self.account.balances)
        self.process = None

    def start(self):
        self.process = start_emulated(self.folder, self.run, self.terms, speed=SPEED)

    def end(self, *signals):
        for one in signals:
            self.process.send_signal(one)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()

    @property
    def orders(self):
        engine = self.exchange.opened.engine
        return self.exchange.inside(lambda: [one for one in engine.orders.values() if one.account == self.key.account])

    def working(self):
        return [order for order in self.orders if order.state is OrderStatus.OPEN]

    def records(self, kind):
        found = []
        for path in sorted((self.folder / "var" / "journal" / self.terms.account).glob("*.jsonl")):
            if ".heads" not in path.name:
                lines = path.read_text().splitlines(keepends=True)
                found += [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if one["kind"] == kind]

    def wait(self, met):
        def look():
            assert self.process.poll() is None, self.process.communicate()
            return met()

        return until(look, PATIENCE_S)

    def check(self):
        """Both accounts are the same, every fill is booked once, no name was used twice, and the journal comes out again."""
        engine = self.exchange.opened.engine
        theirs = self.exchange.inside(lambda: [one.id for one in engine.executions if one.order.account == self.key.account])
        filled = [record["body"] for record in self.records("filled")]
        assert [body["fill_id"] for body in filled] == theirs
        names = [order.wish.cl_ord_id for order in self.orders]
        assert len(names) == len(set(names))
        moved = self.account.balances["BTC"] - self.before["BTC"]
        assert sum(Decimal(body["quantity"]) for body in filled) == moved
        paid = sum(Decimal(body["quantity"]) * Decimal(body["price"]) + Decimal(body["fee"]) for body in filled)
        assert abs(self.account.balances["EUR"] - self.before["EUR"] + paid) < Decimal("0.001")
        with contextlib.closing(Parts(load_config(self.folder / "config.toml"))) as parts:
            verifier = Verifier.load(public_path(parts.key))
            report = verify_account(parts.journal, self.terms.account, verifier)
            assert [flaw for flaw in report.flaws if flaw.code not in NOTES] == []
            last = max(path.stem for path in (parts.journal / self.terms.account).glob("*.jsonl") if ".heads" not in path.name)
            again = redecide(parts, last)
            assert again.identical, again.difference


@pytest.fixture
def bench(tmp_path, exchange, request):
    found = Bench(tmp_path, exchange, EmulatedTerms(**getattr(request, "param", {})))
    with contextlib.closing(found):
        yield found


HOLDING = {"strategy": "buy_and_hold", "params": {}, "minutes": 100.0, "stop_loss": Decimal("0.2")}
#: With a dead-man switch that a busy machine does not let run out.
PATIENT = {"timeout_s": 1_200, "refresh_s": 20.0}


@pytest.mark.parametrize("bench", [HOLDING], indirect=True)
def test_a_process_that_stands_still_leaves_no_order_behind(bench):
    """Stopped, it refreshes nothing: a minute later the exchange cancelled all; it sees that, and opens nothing any more."""
    bench.start()
    [stop] = bench.wait(bench.working)
    assert bench.exchange.inside(lambda: bench.key.account in bench.exchange.opened.engine.timers)

    bench.process.send_signal(signal.SIGSTOP)
    until(lambda: stop.state is OrderStatus.CANCELED, PATIENCE_S)

    assert "dead man" in stop.reason
    timers = bench.exchange.inside(lambda: dict(bench.exchange.opened.engine.timers))
    assert bench.key.account not in timers
    bench.process.send_signal(signal.SIGCONT)
    bench.wait(lambda: [one for one in bench.records("incident") if one["body"]["code"] == "dead_man_lapsed"])
    bench.wait(lambda: [one for one in bench.records("closed") if "dead man" in one["body"]["why"]])
    code, out, err = bench.end(signal.SIGTERM)

    assert code == 0, err
    assert json.loads(out)["mode_at_end"] == "restricted"
    assert [order.wish.buys for order in bench.orders].count(True) == 1
    assert bench.working() == []
    bench.check()


@pytest.mark.parametrize("bench", [{**HOLDING, **PATIENT}], indirect=True)
def test_a_killed_session_goes_on_with_its_order(bench):
    """Killed with a stop at the exchange, the same command finds it and what was filled, and orders nothing anew."""
    bench.start()
    [stop] = bench.wait(bench.working)
    bench.end(signal.SIGKILL)
    bench.start()
    bench.wait(lambda: len(bench.records("reconciled")) == 2)
    assert stop.state is OrderStatus.OPEN
    code, out, err = bench.end(signal.SIGTERM)

    assert code == 0, err
    assert "going on with the session" in err
    assert len(bench.orders) == 2
    assert json.loads(out)["metrics"]["num_fills"] == 1
    assert bench.working() == []
    bench.check()


@pytest.mark.parametrize("bench", [{**HOLDING, **PATIENT}], indirect=True)
def test_an_order_whose_answer_was_lost_is_noticed(bench):
    """It was executed: the session asks, adopts it, books its fill, and protects what it bought."""
    emulator = bench.exchange.opened.emulator
    lost = {"name": "rest.reset_after", "match": {"endpoint": "AddOrder", "key": bench.key.id}, "count": 1}
    bench.exchange.inside(lambda: emulator.faults.add(lost, emulator.now()))
    bench.start()
    bench.wait(bench.working)
    code, _, err = bench.end(signal.SIGTERM)

    assert code == 0, err
    assert len(bench.records("unknown")) == len(bench.records("adopted")) == 1
    assert [order.wish.buys for order in bench.orders].count(True) == 1
    timers = bench.exchange.inside(lambda: dict(bench.exchange.opened.engine.timers))
    assert bench.key.account not in timers, "at an orderly end it is disarmed"
    bench.check()
