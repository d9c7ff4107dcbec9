"""A permit in use: cheap while nothing changes, and never behind what did."""

import pytest
from tests.houses import House, Street

from peak_trade.runs.gates import permits


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


@pytest.fixture
def house(street, monkeypatch, capsys) -> House:
    return street.at("climbed", monkeypatch, capsys)


def test_nothing_is_read_while_nothing_changes(house, monkeypatch):
    """Before each order entries of files are looked at; their content only after one of them changed."""
    watch, reads = house.watch(), []
    ordinary = permits.gate_record
    monkeypatch.setattr(permits, "gate_record", lambda parts: reads.append(1) or ordinary(parts))
    assert [watch.trouble() for _ in range(50)] == [None] * 50
    assert reads == []
    house.tests_passed()
    assert [watch.trouble() for _ in range(50)] == [None] * 50

    assert 1 <= len(reads) <= 3


def test_it_ends_while_nothing_changes(house):
    """The clock is read each time."""
    watch = house.watch()
    house.later(days=179)
    assert watch.trouble() is None
    house.later(days=2)
    assert "permit_expired" in watch.trouble()


def test_what_can_not_be_read_allows_nothing(house):
    watch = house.watch()
    roles = house.folder / "governance" / "roles.toml"
    text = roles.read_text()
    roles.unlink()
    assert "can't be told" in watch.trouble()
    roles.write_text("people = [")
    assert "can't be told" in watch.trouble()
    roles.write_text(text)

    assert watch.trouble() is None


def test_a_file_of_somebody_else_is_passed_over(house):
    """It is none of the permits, and keeps none of them from counting."""
    folder = house.folder / "var" / "permits"
    (folder / "0000000000000000.json").write_text("{}")
    (folder / "0000000000000000.dossier.json").write_text("{}")
    (folder / "1111111111111111.json").write_text("nothing")
    (folder / "2222222222222222.json").symlink_to(house.permit_file)

    assert house.watch().trouble() is None
    assert sum(item["good"] for item in house.json("gate", "status")["permits"]) == 2
