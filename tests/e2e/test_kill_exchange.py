"""`kill --level` and `liquidate` at a running exchange, as their users see them: whatever became of the process that traded."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.emulated import Emulated, emulating, until

from peak_trade.compose import Parts
from peak_trade.emulator.signing import ApiKey
from peak_trade.engine.records import TRIPPED
from peak_trade.engine.runner import KILL_SWITCH
from peak_trade.journal.chain import Chain, holding
from peak_trade.model.errors import StorageError
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs import acts
from peak_trade.runs.safety import kill
from peak_trade.runs.safety.kill import sessions_told
from peak_trade.safety.holds import HoldKind
from peak_trade.safety.kill_switch import KillSwitch
from peak_trade.settings import load_config

FLATTEN = ("kill", "--level", "flatten", "--why", "prices look wrong", "--by", "kim")
FUNDS = {"EUR": "100000", "BTC": "0.05"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[Emulated]:
    with emulating() as found:
        yield found


@pytest.fixture(autouse=True)
def _calm(exchange: Emulated) -> Iterator[None]:
    yield
    exchange.inside(lambda: exchange.opened.emulator.faults.clear(exchange.clock()))


class Account:
    """An account with a trading key and a safety key, and a configuration that knows the latter."""

    def __init__(self, exchange: Emulated, project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exchange, self.folder = exchange, project.folder
        self.trading = exchange.key(funds=FUNDS)
        self.safety = exchange.key(account=self.trading.account)
        path = project.folder / "config.toml"
        text = path.read_text()
        place = '[safety]\nbase_url = "https://api.kraken.com"'
        assert place in text
        text = text.replace(place, f'[safety]\nbase_url = "{exchange.url}"').replace("lag_s = 3.0", "lag_s = 0.5")
        path.write_text(text.replace("sessions_s = 5.0", "sessions_s = 0.2"))
        self.give(monkeypatch, self.safety)

    def give(self, monkeypatch: pytest.MonkeyPatch, key: ApiKey) -> None:
        """Put a key into the environment as the safety key."""
        monkeypatch.setenv("KRAKEN_SAFETY_API_KEY", key.id)
        monkeypatch.setenv("KRAKEN_SAFETY_API_SECRET", key.secret_text)

    def rest_order(self, share: float = 0.5) -> None:
        """Have an order work that is far from the market."""
        args = {"account": self.trading.account, "side": "buy", "volume": "0.01"}
        price = f"{self.exchange.price('BTC/EUR', share):.1f}"
        self.fault("order.ghost", match={"pair": "XBTEUR"}, args=args | {"price": price})

    def fault(self, name: str, **told: Any) -> None:
        faults = self.exchange.opened.emulator.faults
        self.exchange.inside(lambda: faults.add({"name": name, **told}, self.exchange.opened.emulator.now()))

    @property
    def working(self) -> int:
        return self.exchange.inside(lambda: len(self.exchange.opened.engine.working[self.trading.account]))

    @property
    def held(self) -> Decimal:
        accounts = self.exchange.opened.engine.accounts.by_name
        return self.exchange.inside(lambda: accounts[self.trading.account].balances.get("BTC", Decimal(0)))


@pytest.fixture
def account(exchange, project, monkeypatch) -> Account:
    return Account(exchange, project, monkeypatch)


def last_act(project) -> list[dict[str, Any]]:
    """Return the records of the last act in the journal of operators."""
    folder = project.folder / "var" / "journal" / "operators"
    path = sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name)[-1]
    return [json.loads(line) for line in path.read_text().splitlines()]


#: A process that trades: it holds its account, its key's nonces and a connection; then it is stopped, and does nothing.
TRADER = """if True:
    import asyncio, random, sys, time
    from decimal import Decimal
    from pathlib import Path
    from peak_trade.journal.chain import holding
    from peak_trade.model.clock import MachineClock
    from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
    from peak_trade.venue.kraken.nonce import NonceStore
    from peak_trade.venue.kraken.proof import EmulatorProof
    from peak_trade.venue.kraken.wire import Credentials, live_order_request

    url, key, secret, folder, price = sys.argv[1:]
    keys = Credentials.read(key, secret)
    state = Path(folder) / "var"

    async def trade():
        nonces = NonceStore(state / "nonces", keys.short, time.time_ns)
        gateway = Gateway(keys, nonces, GatewayParts(clock=MachineClock(), chance=random.Random(1)), url, EmulatorProof.of(url))
        for order in (["market", None], ["limit", price]):
            kind, limit = order
            fields = [("pair", "XBTEUR"), ("type", "buy"), ("ordertype", kind), ("volume", "0.02")]
            fields += [("price", limit)] if limit else []
            print(await gateway.act(lambda k, n: live_order_request(k, n, fields), "XBTEUR", 1), flush=True)
        print("ready", flush=True)
        time.sleep(600)

    with holding(state / "journal", "paper", session_id="20260101T000000000Z-abcdef"):
        asyncio.run(trade())
"""


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_the_process_that_traded_hangs_or_is_dead(project, account, how):
    """Its orders are cancelled and its position is closed all the same; it is told that it does not answer; journalled."""
    price = f"{account.exchange.price('BTC/EUR', 0.5):.1f}"
    words = (account.exchange.url, account.trading.id, account.trading.secret_text, str(project.folder), price)
    with subprocess.Popen([sys.executable, "-c", TRADER, *words], stdout=subprocess.PIPE, text=True) as trader:
        try:
            assert trader.stdout is not None
            assert any(line == "ready\n" for line in trader.stdout)
            assert (account.working, account.held) == (1, Decimal("0.07"))
            trader.send_signal(how)
            if how is signal.SIGKILL:
                trader.wait()
            ended = project.run(*FLATTEN, "--json")
        finally:
            trader.kill()

    assert ended.code == 0, ended.err
    assert (account.working, account.held) == (0, 0)
    found = ended.json
    assert (found["level"], found["exchange"]["finished"], found["exchange"]["cancels"]) == ("flatten", True, 1)
    assert float(found["exchange"]["cancelled_s"]) <= float(found["exchange"]["flat_s"]) <= float(found["took_s"])
    silent = [(one["account"], one["session_id"], one["level"]) for one in found["sessions"]]
    assert silent == ([("paper", "20260101T000000000Z-abcdef", None)] if how is signal.SIGSTOP else [])
    begun, *rest, end = last_act(project)
    assert (begun["body"]["action"], begun["body"]["level"], end["body"]["status"]) == ("kill", "flatten", "completed")
    assert any("no order works any more" in one["body"]["words"] for one in rest)
    assert end["body"]["exchange"]["cancelled_s"] == found["exchange"]["cancelled_s"]
    assert project.run("journal", "verify").code == 0
    assert Parts(load_config()).kill_switch.level() is KillLevel.FLATTEN


def test_cancel_all(project, account):
    """Orders go, positions stay; the status tells how far it went, and the release that it is undone."""
    account.rest_order()
    ended = project.run("kill", "--level", "cancel-all", "--why", "x")

    assert (ended.code, account.working, account.held) == (0, 0, Decimal("0.05"))
    assert "1 cancelled, as the exchange says; confirmed gone after" in ended.out
    status = project.run("kill", "--status")
    assert (status.code, "(level cancel-all)" in status.out) == (1, True)
    released = project.run("release", "--why", "over")
    assert (released.code, "it had been on (cancel-all)" in released.out) == (0, True)
    assert project.run("kill", "--status", "--json").json["level"] is None
    # A mark that outlived the release would make this one go further than it was asked to.
    assert project.run("kill", "--why", "x", "--json").json["level"] == "reduce-only"


@pytest.mark.parametrize("level", ["no-new", "reduce-only"])
def test_milder_levels_ask_nothing_of_the_exchange(project, account, level):
    """They are the switch alone."""
    account.rest_order()
    ended = project.run("kill", "--level", level, "--why", "x", "--json")

    assert (ended.code, ended.json["level"], account.working) == (0, level, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--level", "everything"), "no-new, reduce-only, cancel-all, flatten"),
        (("--collar", "5"), "--level cancel-all or flatten"),
        (("--level", "cancel-all", "--collar", "5"), "--collar with --level flatten"),
        (("--level", "no-new", "--wait", "5"), "--level cancel-all or flatten"),
        (("--level", "flatten", "--status"), "--status by itself"),
    ],
)
def test_a_wrong_word_stops_nothing(project, words, told):
    """Exit code 2, one sentence, and the switch is as it was."""
    ended = project.run("kill", "--why", "x", *words)

    assert (ended.code, told in ended.err) == (2, True)
    assert project.run("kill", "--status").code == 0


@pytest.mark.parametrize("given", [{}, {"KEY": "abc"}, {"KEY": "abc", "SECRET": "no base64"}])
def test_without_a_safety_key(project, account, monkeypatch, given):
    """The switch is on all the same; one sentence says what was not done and what to do; exit code 1."""
    account.rest_order()
    for name in ("KEY", "SECRET"):
        monkeypatch.delenv(f"KRAKEN_SAFETY_API_{name}")
        if name in given:
            monkeypatch.setenv(f"KRAKEN_SAFETY_API_{name}", given[name])
    ended = project.run(*FLATTEN)

    assert (ended.code, account.working) == (1, 1)
    told = ended.err.splitlines()[-1]
    assert told.startswith("peak-trade: the kill switch is on (flatten), but expected a safety key")
    assert "cancel all open orders there" in told
    assert "no base64" not in ended.err + ended.out
    assert last_act(project)[-1]["body"]["why_not"]


def test_another_address_is_cancelled_at_and_not_sold_at(project, account, monkeypatch):
    """Exit code 3 with the positions that are left: no version of this program sends real orders."""
    from peak_trade.venue.kraken import emergency

    account.rest_order()
    monkeypatch.setattr(emergency, "is_loopback", lambda _url: False)
    ended = project.run(*FLATTEN)

    assert (ended.code, account.working, account.held) == (3, 0, Decimal("0.05"))
    assert "no version of this program sends real orders" in ended.err.splitlines()[-1]
    assert "XXBT 0.05" in ended.err.splitlines()[-1]


def test_nobody_listens(project, account, monkeypatch):
    """No network: the switch is on, nothing is claimed of the exchange, exit code 1."""
    path = project.folder / "config.toml"
    path.write_text(
        path.read_text().replace(account.exchange.url, "http://127.0.0.1:1").replace("deadline_s = 60.0", "deadline_s = 1.0")
    )
    ended = project.run(*FLATTEN)

    assert (ended.code, "whether orders work there is not known" in ended.err.splitlines()[-1]) == (1, True)
    assert project.run("kill", "--status").code == 1


def test_a_poisoned_key(project, account):
    """Somebody took its nonces to the end: one clear sentence."""
    account.exchange.inside(lambda: setattr(account.safety, "nonce", (1 << 64) - 2))
    ended = project.run(*FLATTEN)

    assert ended.code == 1
    assert "delete that key at Kraken and make another one" in ended.err.splitlines()[-1]


# ---- attacks on the command itself -----------------------------------------------------------------------------------------


def test_killed_in_the_middle_and_again(project, account):
    """`kill -9` of the command leaves the switch on and a journal that verifies; the next one ends it."""
    account.rest_order()
    account.fault("rest.slow", match={"endpoint": "OpenOrders"}, args={"seconds": 30.0}, for_s=600)
    with project.start(*FLATTEN) as command:
        until(lambda: account.working == 0)
        command.kill()
    account.exchange.inside(lambda: account.exchange.opened.emulator.faults.clear(account.exchange.clock()))

    assert project.run("kill", "--status").code == 1
    assert account.held == Decimal("0.05")
    assert project.run(*FLATTEN).code == 0
    assert (account.working, account.held) == (0, 0)
    assert project.run("journal", "verify").code == 0


def test_two_at_once(project, account):
    """With one key: both end, and nothing is sold twice."""
    for share in (0.5, 0.6):
        account.rest_order(share)
    with project.start(*FLATTEN) as other:
        mine = project.run(*FLATTEN)
        words = other.communicate()
        code = other.returncode

    assert (mine.code, code) == (0, 0), (mine.err, words)
    assert (account.working, account.held) == (0, 0)
    assert project.run("journal", "verify").code == 0


def test_a_journal_that_somebody_holds(project, account, monkeypatch):
    """What is done at the exchange waits for no lock; that it was not written down is told."""
    monkeypatch.setattr(acts, "WAIT_S", 0.2)
    with holding(project.folder / "var" / "journal", "operators"):
        ended = project.run(*FLATTEN)

    assert (ended.code, account.held) == (1, 0)
    assert "could not be written down" in ended.err.splitlines()[-1]


def test_a_disk_that_takes_no_byte(project, account):
    """The switch, the cancels and the closing need none; what could not be written is told."""
    account.rest_order()
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\nfrom peak_trade.cli.main import main\n"
    words = ["liquidate", "--why", "the disk is full"]
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}sys.exit(main({words!r}))"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, account.working, account.held) == (1, 0, 0), ended.stderr
    assert "could not be held" in ended.stderr
    assert "internal fault" not in ended.stderr
    assert project.run("kill", "--status", "--json").json["level"] == "flatten"


def test_a_switch_that_can_not_be_turned_on(project, account, monkeypatch):
    """The exchange is acted on all the same, and that nothing keeps sessions from going on is told first."""

    def refuse(*_given: object) -> None:
        raise StorageError("expected to set the kill switch, found that it can't be written")

    monkeypatch.setattr(KillSwitch, "trip", refuse)
    ended = project.run(*FLATTEN)

    assert (ended.code, account.held) == (1, 0)
    assert "the kill switch is NOT on, but expected to set the kill switch" in ended.err.splitlines()[-1]
    assert project.run("kill", "--status").code == 0


def test_a_fault_of_ours_meanwhile(project, account, monkeypatch):
    """What is done besides may fail in any way: the exchange is acted on to the end, and the exit code is not 0."""

    def fail(*_given: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(kill, "see_through", fail)
    account.rest_order()
    ended = project.run(*FLATTEN)

    assert (ended.code, account.working, account.held) == (1, 0, 0)
    assert "internal fault" in ended.err


def test_a_terminal_that_went_away(project, account, monkeypatch):
    """Who can't be told anything is helped all the same."""
    read, write = os.pipe()
    os.close(read)
    account.rest_order()
    with os.fdopen(write, "wb", buffering=0) as nobody, project.start(*FLATTEN, stdout=nobody, stderr=nobody) as command:
        command.wait()

    assert (account.working, account.held) == (0, 0)
    assert last_act(project)[-1]["body"]["exchange"]["finished"] is True


def test_interrupted(project, account, monkeypatch):
    """Ctrl+C ends it with 130 while the exchange is silent; the switch is on."""
    account.fault("rest.slow", args={"seconds": 30.0}, for_s=600)
    with project.start(*FLATTEN, stdin=subprocess.DEVNULL) as command:
        until((project.folder / "var" / "kill_switch.json.flatten").exists)
        threading.Event().wait(0.5)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)

    assert (command.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert project.run("kill", "--status").code == 1


# ---- liquidate -----------------------------------------------------------------------------------------------------------


def test_liquidate(project, account):
    """Everything off, every account held until the restart, a report as JSON and as Markdown; a release lifts no hold."""
    account.rest_order()
    ended = project.run("liquidate", "--why", "the venue is insolvent | <b>", "--by", "kim", "--json")

    assert (ended.code, account.working, account.held) == (0, 0, 0)
    assert ended.json["held"] == ["main", "paper"]
    files = [Path(path) for path in ended.json["files"]]
    body = json.loads(files[0].read_text())
    assert (body["ordered_by"], body["exchange"]["finished"], body["exchange"]["left_orders"]) == ("kim", True, [])
    told = files[1].read_text()
    assert "Nothing is left: no working order, no position." in told
    assert "insolvent \\| \\<b\\>" in told
    assert (last_act(project)[0]["body"]["action"], project.run("release", "--why", "over").code) == ("liquidate", 0)
    with closing(Parts(load_config())) as parts:
        assert [(hold.kind, hold.code) for hold in parts.holds.of("paper")] == [(HoldKind.PAUSE, "liquidated")]
    begun = project.run("session", "run", "--strategy", "ma_crossover", "--steps", "5", "--speed", "max", "--no-html")
    assert (begun.code, "expected nothing to hold the account paper" in begun.err) == (3, True), begun.err
    again = project.run("liquidate", "--why", "once more", "--json")
    assert (again.code, again.json["held"]) == (0, ["main", "paper"])
    with closing(Parts(load_config())) as parts:
        assert len(parts.holds.of("paper")) == 1


def test_liquidate_in_maintenance(project, account):
    """It says so, keeps the latch and the holds, ends with 1; with --wait it goes on, and ends it once that is over."""
    account.rest_order()
    path = project.folder / "config.toml"
    path.write_text(path.read_text().replace("deadline_s = 60.0", "deadline_s = 1.0"))
    account.fault("market.maintenance", for_s=600)
    for endpoint in ("CancelAll", "CancelOrder", "AddOrder"):
        account.fault("rest.service_unavailable", match={"endpoint": endpoint, "key": account.safety.id}, for_s=600)
    ended = project.run("liquidate", "--why", "x")

    assert (ended.code, account.working, account.held) == (1, 1, Decimal("0.05"))
    assert "in maintenance: neither placing nor cancelling works there" in ended.err
    assert "1 orders still work" in ended.err.splitlines()[-1]
    with closing(Parts(load_config())) as parts:
        assert (parts.kill_switch.level(), parts.holds.accounts()) == (KillLevel.FLATTEN, ("main", "paper"))
    emulator = account.exchange.opened.emulator
    clear = threading.Timer(1.0, lambda: account.exchange.inside(lambda: emulator.faults.clear(emulator.now())))
    clear.start()
    waited = project.run("liquidate", "--why", "x", "--wait", "2")
    clear.join()
    assert (waited.code, account.working, account.held) == (0, 0, 0), waited.err


# ---- sessions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (None, None),
        ({"code": "daily_loss"}, None),
        ({"code": KILL_SWITCH}, KillLevel.REDUCE_ONLY),
        ({"code": KILL_SWITCH, "level": "flatten"}, KillLevel.FLATTEN),
        ({"code": KILL_SWITCH, "level": "something else"}, KillLevel.REDUCE_ONLY),
    ],
)
def test_what_a_session_says(project, body, found):
    """A session at work is told with what its journal says; one whose account is free is none."""
    waits: list[float] = []
    with closing(Parts(load_config())) as parts:
        with holding(parts.journal, "paper", session_id="20260101T000000000Z-abcdef"):
            chain = Chain.begin(
                parts.journal, "paper", "20260101T000000000Z-abcdef", {}, at=datetime.now(UTC), signer=parts.signer
            )
            if body is not None:
                chain.append(TRIPPED, {"mode": "killed", "words": "x"} | body, at=datetime.now(UTC), durable=True)
            told = sessions_told(parts, KillLevel.FLATTEN, 0.0, waits.append)
            chain.close()
        free = sessions_told(parts, KillLevel.FLATTEN, 0.0, waits.append)

    assert [(one.account, one.process, one.level) for one in told] == [("paper", os.getpid(), found)]
    assert ("no answer" in str(told[0])) is (found is None)
    assert (free, waits) == ([], [])
