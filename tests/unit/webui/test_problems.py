"""What each of our errors is in HTTP."""

import json

import pytest

from peak_trade.model import errors
from peak_trade.webui.problems import problem, status_of

EXPECTED = {
    errors.InputError: 400,
    errors.ConfigError: 400,
    errors.StrategyError: 400,
    errors.NotFound: 404,
    errors.CheckFailed: 409,
    errors.StorageError: 503,
    errors.SafetyRefused: 403,
    errors.ContractBroken: 502,
    errors.Unavailable: 502,
    errors.InvariantBroken: 500,
    errors.PeakTradeError: 500,
}


@pytest.mark.parametrize(("kind", "status"), EXPECTED.items())
def test_statuses(kind, status):
    """Each kind of error has its status and a title."""
    found, title = status_of(kind("expected one thing, found another"))

    assert found == status
    assert title


def test_damaged_data_is_nobody_s_input():
    """Data that fails a check while a page is made is a fault here, not of who asks."""
    assert status_of(errors.DataError("gap", "expected bars, found a hole")) == (500, "Damaged data")


def test_every_error_is_covered():
    """No error of ours was forgotten above."""
    ours = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PeakTradeError)}

    assert ours == {*EXPECTED, errors.DataError}


def test_a_problem_is_rfc_9457():
    """An error as JSON has the four members, its own media type, and any text as a text."""
    answer = problem(404, "Not found", 'expected "a", found <b>\u2028')

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": 'expected "a", found <b>\u2028',
    }
