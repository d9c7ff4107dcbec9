"""Holds, kill levels and a lost supervisor at random moments of sessions that die and go on: nothing is enlarged afterwards."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from tests.simulation.outcome import Outcome, check_books, check_proofs, check_sound, outcome_of
from tests.simulation.scenarios import CROWD, EXITS, FLIPS, LOSING, SCARCE
from tests.simulation.world import ACCOUNT, BEGIN, Forge, Killer, Scenario, World

from peak_trade.engine import runner
from peak_trade.model.errors import SafetyRefused, StrategyError
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.stage import Stage as Ladder
from peak_trade.risk.gate import CONDUCT, REACHES, Mode, farther
from peak_trade.runs.sessions.expectation import expected_profit
from peak_trade.runs.trading import session as session_module
from peak_trade.runs.trading import watch as session_watch
from peak_trade.runs.trading.session import LIVE_SESSION_SHADOW, is_rehearsal
from peak_trade.safety.holds import AccountHolds, Hold, HoldKind
from peak_trade.safety.kill_switch import KillSwitch

#: Ticks between two looks, as the simulation sets it.
TURN = 32
Act = Callable[["Stage"], None]


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """Ask the watches at every look, and compare no profit: what is limited on purpose has another one than the kernel.

    Nor is a check asked for of strategies that do what a list says.
    """
    monkeypatch.setattr(runner, "_WATCH_S", 0.0)
    monkeypatch.setattr(session_watch, "expected_profit", lambda *_arguments: None)
    monkeypatch.setattr(session_module, "check_proven", lambda *_arguments: None)


class Stage:
    """A world with what can be done to its session from outside."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.holds = AccountHolds(world.folder / "var" / "holds")
        self.switch = KillSwitch(world.folder / "var" / "kill_switch.json")
        self.trouble: str | None = None
        self.request = dataclasses.replace(world.request, run_type=LIVE_SESSION_SHADOW)
        world.request = self.request

    def hold(self, kind: HoldKind, *strategies: str) -> None:
        self.holds.place(ACCOUNT, Hold("2026-01-01T00:00:00Z", "kim", "a drill", kind, "by_hand", strategies), BEGIN)

    def kill(self, level: KillLevel) -> None:
        self.switch.trip("kim", "a drill", BEGIN, level)

    def lift(self) -> None:
        """Do what the restart procedure does."""
        self.holds.lift(ACCOUNT)
        self.switch.release()
        self.trouble = None


ACTS: dict[str, Act] = {
    "restrict": lambda stage: stage.hold(HoldKind.RESTRICT),
    "pause": lambda stage: stage.hold(HoldKind.PAUSE),
    "close": lambda stage: stage.hold(HoldKind.CLOSE),
    "close one": lambda stage: stage.hold(HoldKind.CLOSE, "scripted"),
    "lose supervisor": lambda stage: setattr(stage, "trouble", "it died"),
    **{f"kill {level.value}": lambda stage, level=level: stage.kill(level) for level in KillLevel},
}


class Demander(Killer):
    """A hook that does things at numbered calls, and may let the process die."""

    def __init__(self, stage: Stage, acts: dict[int, str], *, dies_at: int = 0) -> None:
        super().__init__(None, dies_at)
        self._stage, self._acts = stage, acts
        self.done: dict[str, int] = {}

    @property
    def ticks(self) -> int:
        return self.calls.get("venue.opened.after", 0) + self.calls.get("venue.traded.after", 0)

    def __call__(self, point: str) -> None:
        super().__call__(point)
        if (name := self._acts.get(self.total)) is not None:
            self.done[name] = self.ticks
            ACTS[name](self._stage)


def calls_of(forge: Forge, scenario: object) -> int:
    """Return how many points an undisturbed session passes."""
    world, counter = forge.world(scenario), Killer()
    world.run(counter)
    forge.drop(world)
    return counter.total


def check_walk(outcome: Outcome) -> Counter[str]:
    """Walk through a journal with the tables alone: its reach allows every order and every fill; return what was demanded."""
    held: Counter[tuple[str, str]] = Counter()
    reach, retired = None, set[str]()
    seen: Counter[str] = Counter()
    for record in outcome.records:
        body, kind = record.body, record.kind
        if kind == "tripped":
            level = KillLevel(body["level"]) if "level" in body else None
            reach = farther(reach, level or REACHES[Mode(body["mode"])])
            seen[f"kill {body['level']}" if level else body["code"]] += 1
        elif kind == "incident":
            reach = farther(reach, REACHES[Mode(body["mode"])] if body["mode"] != "killed" else None)
            retired |= set(filter(None, body.get("evidence", {}).get("legs", "").split(", ")))
        elif kind == "sending":
            intent = body["intent"]
            leg, quantity = intent["leg"], Decimal(intent["quantity"])
            position = sum((amount for (_, symbol), amount in held.items() if symbol == intent["symbol"]), Decimal(0))
            conduct = CONDUCT[reach]
            assert conduct.reduces, "an order was sent though nothing is"
            if not conduct.enlarges:
                assert quantity * position < 0, "an entry was sent"
                assert abs(quantity) <= abs(position), "a position was to be turned"
            if leg in retired:
                assert (intent["reason"], quantity) == ("closing_out", -held[leg, intent["symbol"]])
        elif kind == "filled":
            place, quantity = (body["leg"], body["symbol"]), Decimal(body["quantity"])
            before, held[place] = held[place], held[place] + quantity
            if CONDUCT[reach].recalls_entries or body["leg"] in retired:
                assert abs(held[place]) < abs(before), "a position was enlarged"
    return seen


def check_ended(stage: Stage) -> Counter[str]:
    """Check a session that ended: its orders, its books, and that it is decided again to the same digest."""
    outcome = outcome_of(stage.world)
    seen = check_walk(outcome)
    check_sound(stage.world, outcome)
    check_books(stage.world, outcome, check_proofs(stage.world)[-1])
    return seen


def some_acts(draw: random.Random, calls: int) -> dict[int, str]:
    """Return up to four things that happen at random calls."""
    return {draw.randint(1, calls * 3 // 4): draw.choice(sorted(ACTS)) for _ in range(draw.randint(1, 4))}


@pytest.mark.parametrize("name", sorted(ACTS))
@pytest.mark.parametrize("scenario", [EXITS, CROWD], ids=lambda scenario: scenario.name)
def test_each_demand_is_heeded_soon(forge, monkeypatch, scenario, name):
    """It is in the journal within as many ticks as lie between two looks, and the session goes on to its end."""
    stage = Stage(forge.world(scenario))
    monkeypatch.setattr(session_watch, "supervisor_trouble", lambda _parts: stage.trouble)
    demander = Demander(stage, {calls_of(forge, scenario) // 3: name})

    ended = stage.world.run(demander)

    [tripped] = [r for r in outcome_of(stage.world).records if r.kind in ("tripped", "retiring")][:1]
    assert 0 <= tripped.body["tick"] - demander.done[name] <= TURN
    check_ended(stage)
    mode = {"close one": "running", "restrict": "restricted", "lose supervisor": "restricted"}.get(name, "paused")
    assert ended.record["mode_at_end"] == ("killed" if name.startswith("kill") else mode)
    closed = name.startswith("close") or name == "kill flatten"
    assert bool(ended.record["retired"]) is closed
    if closed:
        gone = {leg["leg"] for leg in ended.record["by_leg"] if Decimal(leg["position"]) == 0}
        assert set(ended.record["retired"]) <= gone


@pytest.mark.parametrize("seed", range(20))
def test_random_demands_deaths_and_restarts(forge, monkeypatch, seed):
    """Whatever comes and whenever the process dies: the journal walks through, and replays to the same digest."""
    draw = random.Random(seed)
    scenario = draw.choice([EXITS, FLIPS, SCARCE, CROWD])
    calls = calls_of(forge, scenario)
    stage = Stage(forge.world(scenario, seed=seed))
    monkeypatch.setattr(session_watch, "supervisor_trouble", lambda _parts: stage.trouble)
    power = draw if seed % 2 else None
    for _ in range(2):
        if stage.world.killed(Demander(stage, some_acts(draw, calls), dies_at=draw.randint(20, calls // 2)), power=power):
            if stage.holds.held(ACCOUNT) or stage.switch.is_on():
                with pytest.raises(SafetyRefused, match=r"expected (nothing to hold|the kill switch)"):
                    stage.world.run()
            stage.lift()
        else:
            break
    else:
        stage.world.run(Demander(stage, some_acts(draw, calls)))

    check_ended(stage)


def test_a_daily_loss_outlives_its_session(forge, monkeypatch):
    """The account is held before the journal tells of the pause, and no session begins on it until it is lifted."""
    stage = Stage(forge.world(LOSING))
    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(session_watch, "report_incident", lambda _parts, **facts: reported.append(facts))
    seen: list[bool] = []

    def hook(_point: str) -> None:
        told = any(b'"code":"max_daily_loss_pct"' in path.read_bytes() for path in stage.world.journals())
        assert not told or stage.holds.held(ACCOUNT)
        seen.append(told)

    ended = stage.world.run(hook)

    assert any(seen)
    assert ended.record["mode_at_end"] == "paused"
    [hold] = stage.holds.of(ACCOUNT)
    assert (hold.kind, hold.code) == (HoldKind.PAUSE, "max_daily_loss_pct")
    [incident] = reported
    assert (incident["key"], incident["session_id"]) == (f"max_daily_loss_pct.{ACCOUNT}", stage.world.journals()[-1].stem)
    assert hold.by == f"session {stage.world.journals()[-1].stem}"
    with pytest.raises(SafetyRefused, match="peak-trade resume"):
        stage.world.run()
    stage.lift()
    check_ended(stage)
    stage.world.run()


def test_a_session_outside_the_registry_holds_its_account_too(forge):
    """Keeping it out of the list must not be a way around a hold."""
    stage = Stage(forge.world(LOSING))
    stage.world.request = dataclasses.replace(stage.request, register=False)

    stage.world.run()

    assert [hold.code for hold in stage.holds.of(ACCOUNT)] == ["max_daily_loss_pct"]
    with pytest.raises(SafetyRefused, match="peak-trade resume"):
        stage.world.run()


def test_only_recorded_bars_in_a_simulation_are_a_rehearsal(forge):
    request = forge.world(LOSING).request
    assert is_rehearsal(request)
    assert not is_rehearsal(dataclasses.replace(request, mode=Ladder.TESTNET))
    assert not is_rehearsal(dataclasses.replace(request, run_type=LIVE_SESSION_SHADOW))


@pytest.mark.parametrize("number", [1, 40])
def test_a_fault_in_the_core_holds_the_account(forge, monkeypatch, number):
    """An exception that nobody foresaw pauses the session, ends it as failed, and holds its account."""
    stage = Stage(forge.world(EXITS))
    calls = 0

    def fail(*_arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(runner.Marks, "add", fail)
    with pytest.raises(ZeroDivisionError):
        stage.world.run()

    assert ("core_exception", "ZeroDivisionError: nobody foresaw this") in outcome_of(stage.world).incidents
    assert [hold.code for hold in stage.holds.of(ACCOUNT)] == ["core_exception"]
    check_walk(outcome_of(stage.world))


def test_a_rehearsal_places_no_hold_and_minds_only_later_ones(forge):
    """Over recorded bars a session begins on a held account, and heeds what is placed while it runs."""
    world = forge.world(LOSING)
    request = world.request
    stage = Stage(world)
    world.request = request
    stage.hold(HoldKind.PAUSE)

    ended = world.run(Demander(stage, {60: "restrict"}))

    assert [body["mode"] for body in (r.body for r in outcome_of(world).records if r.kind == "tripped")][:1] == ["restricted"]
    assert ended.record["status"] == "completed"
    assert {hold.code for hold in stage.holds.of(ACCOUNT)} == {"by_hand"}


# ---- profit against the kernel ---------------------------------------------------------------------------------------


class AtOnce(ThreadPoolExecutor):
    """A pool whose work is waited for, so that a test does not depend on how fast it is."""

    def submit(self, *given: Any, **named: Any) -> Future[Any]:
        done = super().submit(*given, **named)
        done.exception()
        return done


@pytest.fixture
def compared(monkeypatch):
    """Compare with the real kernel at every look, and take the answer at the next."""
    monkeypatch.setattr(session_watch, "expected_profit", expected_profit)
    monkeypatch.setattr(session_watch, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(session_watch, "COMPARE_MIN_S", 0.0)
    monkeypatch.setattr(session_watch, "REST", 0.0)


RISING = Scenario(
    name="rising",
    prices=tuple(100 + number / 10 for number in range(120)),
    strategies=(("scripted", {"levels": [1.0], "stay": 0.0}),),
    paper={"position_fraction": "0.9"},
)
#: The same, but every entry is refused: it earns nothing where the kernel does.
REFUSED = dataclasses.replace(RISING, name="refused", limits={"max_order_notional": "10"})


@pytest.mark.usefixtures("compared")
def test_a_profit_that_is_missing_restricts(forge):
    """Once the kernel has earned more than the floor allows to differ, with both profits as evidence; not before."""
    stage = Stage(forge.world(REFUSED))

    ended = stage.world.run()

    [tripped] = [record.body for record in outcome_of(stage.world).records if record.kind == "tripped"]
    assert (tripped["code"], ended.record["mode_at_end"]) == ("pnl_divergence", "restricted")
    evidence = {name: Decimal(value) for name, value in tripped["evidence"].items()}
    assert evidence["actual"] == 0
    assert evidence["start_equity"] == 10_000
    assert evidence["expected"] > 25
    assert not stage.holds.held(ACCOUNT)
    check_ended(stage)


@pytest.mark.usefixtures("compared")
@pytest.mark.parametrize("scenario", [RISING, EXITS, FLIPS, CROWD], ids=lambda scenario: scenario.name)
def test_a_profit_as_expected_changes_nothing(forge, scenario):
    """One strategy against the kernel, several against the ideal session: no difference at any look."""
    stage = Stage(forge.world(scenario))

    ended = stage.world.run()

    assert ended.record["mode_at_end"] == "running"
    check_ended(stage)


@pytest.mark.usefixtures("compared")
def test_a_profit_that_can_not_be_told_restricts(forge, monkeypatch):
    """What is not known is not taken for good."""

    def fail(*_arguments: object) -> None:
        raise StrategyError("expected targets, found none")

    monkeypatch.setattr(session_watch, "expected_profit", fail)
    stage = Stage(forge.world(RISING))

    assert stage.world.run().record["mode_at_end"] == "restricted"
