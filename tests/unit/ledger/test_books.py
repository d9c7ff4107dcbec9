"""The books: by hand, against naive ones in fractions, and when somebody has tampered with them."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from random import Random

import pytest
from tests.trading import SYMBOL, a_fill, dec
from tests.unit.ledger.naive import Naive

from peak_trade.ledger.books import CAPITAL, CASH, FLAT, Books, Position
from peak_trade.model.errors import InvariantBroken
from peak_trade.model.order import MONEY_STEP, Fill

SYMBOLS = (SYMBOL, "ETH/EUR", "ADA/EUR")
LEGS = ("alpha", "beta")
OPENED = Books.opened(dec(10_000))


def booked(*fills: Fill, books: Books = OPENED) -> Books:
    """Return the books after fills."""
    return reduce(Books.book, fills, books)


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_new_books_hold_the_capital():
    """What was put in is there as cash; nothing is held, earned or paid."""
    assert OPENED.cash == 10_000
    assert OPENED.accounts == {CASH: 10_000, CAPITAL: -10_000}
    assert OPENED.position("alpha", SYMBOL) == FLAT
    assert OPENED.held() == {}
    assert OPENED.equity({}) == 10_000
    assert OPENED.realized() == OPENED.unrealized({}) == OPENED.fees() == 0


def test_a_purchase_takes_cash_and_gives_inventory():
    """Cash falls by notional and fee; the position costs the notional without the fee."""
    books = booked(a_fill(2, 100, fee=3))

    assert books.accounts == {
        CASH: 9_797,
        CAPITAL: -10_000,
        ("inventory", "alpha", SYMBOL): 200,
        ("realized", "alpha"): 0,
        ("fees", "alpha"): 3,
    }
    assert books.position("alpha", SYMBOL) == Position(dec(2), dec(200), dec(100))
    assert books.equity({SYMBOL: dec(110)}) == 10_017
    assert books.unrealized({SYMBOL: dec(110)}) == 20


def test_adding_averages_and_reducing_keeps_the_entry():
    """The average entry is over what was bought; selling a part takes its share of the cost."""
    books = booked(a_fill(1, 100), a_fill(3, 120), a_fill(-1, 200))

    assert books.position("alpha", SYMBOL) == Position(dec(3), dec(345), dec(115))
    assert books.realized() == 85


def test_closing_leaves_nothing():
    """A closed position is gone from the books, with no cost left, whatever was rounded before."""
    books = booked(a_fill(3, "33.333333333333333"), a_fill(-1, 40), a_fill("-0.7", 40), a_fill("-1.3", 40))

    assert books.positions == {}
    assert books.accounts["inventory", "alpha", SYMBOL] == 0
    assert books.realized() == books.cash - 10_000


@pytest.mark.parametrize("side", [1, -1])
def test_a_flip_closes_and_opens(side):
    """A fill beyond flat realises the whole old position and opens the rest at its own price."""
    books = booked(a_fill(2 * side, 100), a_fill(-5 * side, 110, fee=7))

    assert books.realized() == 20 * side
    assert books.position("alpha", SYMBOL) == Position(dec(-3 * side), dec(-330 * side), dec(110))
    assert books.fees() == 7
    assert books.accounts["inventory", "alpha", SYMBOL] == -330 * side


def test_a_short_earns_when_prices_fall():
    """A short's cost is negative; unrealised and realised profit have the right sign."""
    books = booked(a_fill(-2, 100))

    assert books.position("alpha", SYMBOL).cost == -200
    assert books.cash == 10_200
    assert books.unrealized({SYMBOL: dec(90)}) == 20
    assert booked(a_fill(1, 90), books=books).realized() == 10


def test_strategies_are_booked_apart():
    """Two strategies on one symbol have positions, profits and fees of their own; the symbol's holding is their sum."""
    books = booked(a_fill(2, 100, fee=1), a_fill(-3, 100, leg="beta", fee=2), a_fill(-2, 105, fee=1))

    assert books.position("alpha", SYMBOL) == FLAT
    assert books.position("beta", SYMBOL).quantity == -3
    assert books.held() == {SYMBOL: -3}
    assert (books.realized("alpha"), books.realized("beta"), books.realized()) == (10, 0, 10)
    assert (books.fees("alpha"), books.fees("beta"), books.fees()) == (2, 2, 4)
    assert books.unrealized({SYMBOL: dec(110)}, "alpha") == 0
    assert books.unrealized({SYMBOL: dec(110)}, "beta") == -30


def test_opposite_strategies_hold_nothing_together():
    """Where strategies cancel each other out the symbol is held with zero."""
    assert booked(a_fill(2), a_fill(-2, leg="beta")).held() == {SYMBOL: 0}


def test_a_rebate_is_a_negative_fee():
    """A venue that pays for a fill adds to the cash."""
    books = booked(a_fill(1, 100, fee="-0.5"))

    assert books.cash == dec("9900.5")
    assert books.fees() == dec("-0.5")


def test_books_are_never_changed():
    """Booking returns new books; the old ones still tell what was before."""
    first = booked(a_fill(1))
    before = (dict(first.accounts), dict(first.positions))

    booked(a_fill(-1, 120), books=first)

    assert (dict(first.accounts), dict(first.positions)) == before


def test_a_price_of_nothing_can_be_booked():
    """What was bought for nothing costs nothing, and its proceeds are all profit."""
    books = booked(a_fill(5, 0), a_fill(-2, 10))

    assert books.position("alpha", SYMBOL) == Position(dec(3), dec(0), dec(0))
    assert books.realized() == 20


def test_crumbs_below_the_step_of_money_balance():
    """A fill worth less than the step of money costs nothing and still leaves books that balance."""
    books = booked(a_fill("0.00000001", "0.00000001"), a_fill("-0.00000001", "0.00000001"))

    assert books.cash == 10_000
    assert books.positions == {}


# ---- random fills ----------------------------------------------------------------------------------------------------


def random_fills(seed: int) -> tuple[list[Fill], dict[str, Decimal]]:
    """Return some fills and last prices: at times tiny, at times large, often closing exactly what is held."""
    draw = Random(seed)
    levels = {symbol: Decimal(10) ** draw.randint(-6, 6) for symbol in SYMBOLS}
    digits = draw.choice([0, 3, 8])

    def price(symbol: str) -> Decimal:
        return levels[symbol] * draw.randint(500, 2_000) / draw.choice([1_000, 1_000, 999, 7])

    held: dict[tuple[str, str], Decimal] = {}
    fills = []
    for number in range(draw.randint(1, 40)):
        place = draw.choice(LEGS), draw.choice(SYMBOLS)
        quantity = dec(draw.choice([-1, 1]) * draw.randint(1, 10**6)).scaleb(-digits)
        position = held.get(place, Decimal(0))
        if position and draw.random() < 0.4:
            quantity = draw.choice([-position, -position / 2, -2 * position])
        held[place] = position + quantity
        cost = price(place[1])
        fee = abs(quantity) * cost * draw.choice([0, dec("0.004"), dec("0.0025")])
        fills.append(a_fill(quantity, cost, leg=place[0], symbol=place[1], fee=fee, fill_id=f"f-{number}"))
    return fills, {symbol: price(symbol) for symbol in SYMBOLS}


def near(found: Decimal, wanted: Fraction, fills: Sequence[Fill]) -> bool:
    """Tell whether an amount is the exact one, but for the rounding of each fill to the step of money."""
    scale = max((abs(fill.quantity * fill.price) for fill in fills), default=Decimal(1))
    return abs(Fraction(found) - wanted) <= len(fills) * Fraction(MONEY_STEP + scale * Decimal("1e-26")) * 2


@pytest.mark.parametrize("block", range(4))
def test_books_agree_with_naive_ones(block):
    """On random fills of two strategies in three symbols every figure is the naive one, and the books balance throughout."""
    for seed in range(block * 60, block * 60 + 60):
        fills, prices = random_fills(seed)
        books, exact = OPENED, {symbol: Fraction(price) for symbol, price in prices.items()}
        naive = Naive(Fraction(10_000))
        for number, fill in enumerate(fills, 1):
            before, books = books, books.book(fill)
            naive.take([fill])
            done = fills[:number]

            assert sum(books.accounts.values()) == 0, seed
            assert books.accounts[CAPITAL] == before.accounts[CAPITAL] == -10_000, seed
            for place, holding in naive.held.items():
                position = books.position(*place)
                assert Fraction(position.quantity) == holding.quantity, seed
                assert near(position.cost, holding.quantity * holding.average, done), seed
                assert books.accounts["inventory", *place] == position.cost, seed
                assert (place in books.positions) is bool(holding.quantity), seed
                if holding.quantity:
                    assert abs(Fraction(position.entry) / holding.average - 1) < Fraction(1, 10**20), seed
            for leg in (*LEGS, None):
                assert near(books.realized(leg), naive.total("realized", leg), done), seed
                assert near(books.fees(leg), naive.total("fees", leg), done), seed
                assert near(books.unrealized(prices, leg), naive.unrealized(exact, leg), done), seed
            assert near(books.cash, naive.cash, done), seed
            assert near(books.equity(prices), naive.equity(exact), done), seed
            cost = sum(position.cost for position in books.positions.values())
            assert books.cash + cost == 10_000 + books.realized() - books.fees(), seed
            gain = books.realized() + books.unrealized(prices) - books.fees()
            assert near(books.equity(prices), Fraction(10_000 + gain), done), seed


@pytest.mark.parametrize("seed", range(20))
def test_closing_everything_makes_all_profit_real(seed):
    """After every position is closed there is no cost left anywhere, and cash is capital, profit and fees."""
    fills, prices = random_fills(seed)
    books = booked(*fills)
    for (leg, symbol), position in list(books.positions.items()):
        books = books.book(a_fill(-position.quantity, prices[symbol], leg=leg, symbol=symbol))

    assert books.positions == {}
    assert {amount for name, amount in books.accounts.items() if name[0] == "inventory"} == {0}
    assert books.cash == 10_000 + books.realized() - books.fees()


# ---- tampering -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [CASH, CAPITAL, ("realized", "alpha"), ("fees", "alpha"), ("inventory", "alpha", SYMBOL)])
def test_an_account_that_was_changed_is_noticed(name):
    """The books do not sum to zero any more: the next booking stops, however little was taken."""
    whole = booked(a_fill(1, 100, fee=1))
    books = Books({**whole.accounts, name: whole.accounts[name] + MONEY_STEP}, whole.positions)

    with pytest.raises(InvariantBroken, match="every book sums to zero, found 1E-12"):
        books.book(a_fill(1))


def test_a_cost_that_differs_from_its_account_is_noticed():
    """A position's cost is its inventory account: where they differ, the books are not gone on with."""
    whole = booked(a_fill(2, 100))
    books = Books(whole.accounts, {("alpha", SYMBOL): Position(dec(2), dec(150), dec(100))})

    with pytest.raises(InvariantBroken):
        books.book(a_fill(-2, 100))


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ["quantity", "price", "fee"])
def test_a_fill_that_is_no_number_is_not_booked(name, wrong):
    """Books never hold what can't be counted."""
    given = {"quantity": 1, "price": 100, "fee": 1, name: wrong}

    with pytest.raises((InvariantBroken, ArithmeticError)):
        booked(a_fill(given["quantity"], given["price"], fee=given["fee"]), books=booked(a_fill(-3)))


def test_amounts_that_do_not_fit_are_not_booked():
    """A notional beyond the digits of money is an error, not a rounded sum."""
    with pytest.raises((InvariantBroken, ArithmeticError)):
        booked(a_fill(10**10, 10**10))


def test_a_position_without_a_price_has_no_worth():
    """Equity needs the price of everything that is held."""
    with pytest.raises(KeyError):
        booked(a_fill(1)).equity({})
