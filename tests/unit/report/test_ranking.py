"""A sweep's order and the landscape over its parameters."""

import math

from peak_trade.report.ranking import landscape, ranked, spread, swept


def row(value, **params):
    return params, {"sharpe": value}


def test_ranked():
    """Best first, without a value last, equals in the sweep's own order."""
    rows = [row(None, n=1), row(0.5, n=2), row(-2.0, n=3), row(0.5, n=4), row(math.nan, n=5), row(1.0, n=6)]

    assert [params["n"] for params, _ in ranked(rows, "sharpe")] == [6, 2, 4, 3, 1, 5]


def test_cells_by_hand():
    """Each cell holds the value of its pair; what has no combination or no value is empty."""
    grid = {"fast": [2, 4], "slow": [10, 20, 30]}
    rows = [
        row(1.0, fast=2.0, slow=10),
        row(2.0, fast=2.0, slow=20),
        row(None, fast=2.0, slow=30),
        row(4.0, fast=4.0, slow=20),
        row(5.0, fast=4.0, slow=30),
    ]

    land = landscape(grid, rows, "sharpe")

    assert (land.across.name, land.across.labels) == ("fast", ("2", "4"))
    assert (land.up.name, land.up.labels) == ("slow", ("10", "20", "30"))
    assert land.cells == ((1.0, None), (2.0, 4.0), (None, 5.0))


def test_best_over_others():
    """With a third swept parameter a cell is the best over it; a parameter with one value is no axis."""
    grid = {"fixed": [1], "a": [1, 2], "b": [1, 2], "c": [1, 2]}
    rows = [row(10.0 * a + b + 100.0 * c, fixed=1, a=a, b=b, c=c) for a in (1, 2) for b in (1, 2) for c in (2, 1)]

    land = landscape(grid, rows, "sharpe")

    assert (land.across.name, land.up.name, land.others) == ("a", "b", ("c",))
    assert land.cells == ((211.0, 221.0), (212.0, 222.0))
    assert swept(grid) == ["a", "b", "c"]


def test_one_parameter():
    """With one swept parameter there is a single line of values, however many."""
    values = list(range(250))

    land = landscape({"n": values}, [row(float(n), n=n) for n in values], "sharpe")

    assert land.up is None
    assert land.cells == (tuple(float(n) for n in values),)


def test_nothing_swept():
    """A single combination has no landscape."""
    assert landscape({"n": [1]}, [row(1.0, n=1)], "sharpe") is None


def test_fine_grids_share_cells():
    """More values than a drawing can show share cells, labelled by their ends, each the best of them."""
    grid = {"a": list(range(10)), "b": ["x", "y"]}
    rows = [row(float(a), a=a, b="x") for a in range(10)]

    land = landscape(grid, rows, "sharpe", limit=4)

    assert land.across.labels == ("0 to 2", "3 to 5", "6 to 8", "9")
    assert (land.across.span, land.up.span) == (3, 1)
    assert land.cells == ((2.0, 5.0, 8.0, 9.0), (None,) * 4)


def test_spread():
    """Quantiles run from best to worst over the rows that have a value."""
    rows = [row(float(n), n=n) for n in range(5)] + [row(None, n=9)]

    assert [value for _, value in spread(rows, "sharpe")] == [4.0, 3.0, 2.0, 1.0, 0.0]
    assert spread([row(None, n=1)], "sharpe") == []
