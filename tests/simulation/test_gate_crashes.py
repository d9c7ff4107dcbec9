"""Processes that die, disks that fill and people who act at once while the gates write: no half state is a permit."""

import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.houses import House, Street

from peak_trade.journal.chain import Chain
from peak_trade.journal.operators import Operators
from peak_trade.model.errors import PeakTradeError, StorageError
from peak_trade.runs.gates import promotion


class Killed(BaseException):
    """The process ends here: nothing that handles errors runs."""


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


class Points:
    """Counts the moments before and after each write of an act, and does something at one of them, or from it on."""

    def __init__(self, last: int, fault: Callable[[], BaseException], *, for_good: bool) -> None:
        self.last, self.fault, self.for_good, self.passed = last, fault, for_good, 0

    def reach(self) -> None:
        """Pass a point."""
        self.passed += 1
        if self.passed == self.last or (self.for_good and self.passed > self.last > 0):
            raise self.fault()


@contextmanager
def watched(points: Points):
    """Let every write of an act pass the points."""
    with pytest.MonkeyPatch.context() as patch:
        for home, name in (
            (Chain, "begin"),
            (Chain, "append"),
            (Chain, "sign"),
            (Operators, "remember"),
            (promotion, "write_bytes"),
        ):
            _watch(patch, home, name, points)
        yield


def _watch(patch: pytest.MonkeyPatch, home: Any, name: str, points: Points) -> None:
    ordinary = getattr(home, name)

    def passing(*given: Any, **words: Any) -> Any:
        points.reach()
        found = ordinary(*given, **words)
        points.reach()
        return found

    patch.setattr(home, name, passing)


ACTS: dict[str, tuple[str, Callable[[House], object]]] = {
    "decide": ("signed", lambda house: promotion.decide_request(house.fresh(), house.request, "zoe")),
    "approve": ("asked", lambda house: promotion.sign(house.fresh(), house.request, key=house.key("olga"), signature=None)),
    "revoke": ("climbed", lambda house: promotion.revoke(house.fresh(), house.request, "zoe", "a doubt")),
    "demote": (
        "climbed",
        lambda house: promotion.demote_strategy(house.fresh(), "ma_crossover", "shadow", "zoe", "a doubt"),
    ),
}


def good(house: House) -> bool:
    """Tell whether the permit is good now."""
    try:
        return house.watch().trouble() is None
    except PeakTradeError:
        return False


def check_finished(house: House, name: str) -> None:
    """Do the act again, and check that it comes to its end or says why not, and that no permit is good without its decision."""
    told = [(item["what"], item.get("step")) for item in house.json("gate", "history")]
    if good(house):
        assert told[:2] == [("promoted", "shadow->testnet"), ("decided", "shadow->testnet")]
    try:
        ACTS[name][1](house)
    except PeakTradeError as error:
        assert "expected" in str(error), error
    events = [(item["what"], item.get("step")) for item in house.json("gate", "history")]
    match name:
        case "decide":
            assert good(house)
            assert events.count(("promoted", "shadow->testnet")) == 1
        case "approve":
            assert [item["person"] for item in house.json("gate", "status")["requests"][-1]["approvals"]] == ["olga"]
        case "revoke" | "demote":
            assert not good(house)


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("for_good", [False, True], ids=["killed", "disk full"])
def test_an_act_that_did_not_come_to_its_end(street, name, for_good, monkeypatch, capsys):
    """At every point between its records: killed there, or with a disk that takes nothing any more from there on."""
    point, act = ACTS[name]
    count = Points(0, Killed, for_good=False)
    with watched(count):
        act(street.at(point, monkeypatch, capsys))
    assert count.passed >= 8
    fault = (lambda: StorageError("the disk is full")) if for_good else Killed
    for number in range(1, count.passed + 1):
        house = street.at(point, monkeypatch, capsys)
        points = Points(number, fault, for_good=for_good)
        with watched(points), suppress(Killed, StorageError):
            act(house)
        assert points.passed >= number
        check_finished(house, name)


def both(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Do something twice at once, so that both have read before either writes; return what each came to."""
    barrier, ordinary = threading.Barrier(2, timeout=60), promotion.held

    def held(parts):
        if threading.current_thread() is not threading.main_thread() and not getattr(mine, "waited", False):
            mine.waited = True
            barrier.wait()
        return ordinary(parts)

    mine, found = threading.local(), []
    monkeypatch.setattr(promotion, "held", held)

    def run() -> None:
        try:
            found.append(act())
        except PeakTradeError as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    monkeypatch.setattr(promotion, "held", ordinary)
    assert len(found) == 2
    return found


def test_two_who_decide_at_once(street, monkeypatch, capsys):
    """One decides; the other is told, or makes the same permit."""
    house = street.at("signed", monkeypatch, capsys)
    found = both(lambda: ACTS["decide"][1](house), monkeypatch)

    assert sum(isinstance(item, promotion.Decision) for item in found) == 1
    assert ["somebody did" in str(item) for item in found].count(True) == 1
    events = [item["what"] for item in house.json("gate", "history")]
    assert events == ["promoted", "decided"] * 2
    assert good(house)
    assert house.decided() == {"pass"}


def test_two_who_approve_at_once(street, monkeypatch, capsys):
    """The same person twice counts once, whoever was first."""
    house = street.at("asked", monkeypatch, capsys)
    found = both(lambda: ACTS["approve"][1](house), monkeypatch)

    assert sum(isinstance(item, PeakTradeError) for item in found) == 1
    [request] = [item for item in house.json("gate", "status")["requests"] if item["id"] == house.request]
    assert [item["person"] for item in request["approvals"]] == ["olga"]
