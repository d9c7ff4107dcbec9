"""The fill rules of research as one loop over bars, and the figures computed from its equity.

Every function here is plain arithmetic on sequences of numbers, so the same source runs in two ways: compiled by numba
(`compiled()`) on arrays, and interpreted on memory views of the same arrays for small inputs, where loading the
compiler would take longer than the work. Both give the same bits: no fast-math, no contraction, one order of operations.
A test compares them.

Invariant: all compiled code lives in this file, because numba's cache does not see changes in other files.
Invariant: a fill at bar t was decided from targets up to bar t - 1; an exit inside bar t uses its open, high and low.

The rules, in the order in which a bar is worked through:

1. *Open.* An order decided at the close before is filled at the open, slippage against you, fee on the notional.
   A purchase that the cash does not cover is cut down to what it covers; a short sale is cut down so that the short
   notional does not exceed the equity after this fill and its fee, at its price; covering a short and selling what is
   held are never cut. An order under the minimum quantity or notional is skipped and counted, unless it closes the
   whole position.
2. *Exits.* Stop-loss, take-profit and trailing stop are triggered market orders: filled at their level or, where the
   bar opens beyond it, at the open; slippage against you. A bar that opens beyond the take-profit takes it there; else,
   if stop and take-profit both lie in the bar, the stop wins. Stop-loss and take-profit are measured from the average
   entry price. The trailing level is measured from the best price since entry: the first fill, then the high (short:
   low) of *earlier* bars. Of two stops the nearer counts, of equal ones the stop-loss. A level is touched by a price
   within one part in 10^12 of it, because 1.1 * 1.1 is not 1.21.
3. *Close.* Equity is cash plus position at the close. If the target differs from the one before, an order is decided:
   the quantity is sized from this close and rounded down to the lot step. Equity at or below zero closes the position.
   An exit does not change the target, so the next entry waits for a new decision.

Under *scarcity* (`simulate_scarce`) a bar fills no more than a share of its volume, and an order pays for its size besides:

4. *Parts.* Fills of a bar take together at most its volume times the share, whole lots; a bar without volume fills nothing
   where size is paid for. What the volume does not cover waits for the next open; what the cash does not cover is given up.
   The minimum counts for the whole order, not for its parts. A new decision replaces what is left of the one before.
5. *Size.* The part that the volume covers pays, on top of the slippage, `impact` volatilities of the bar (range of the bar
   over 2 sqrt(ln 2)) times the root of its share of the volume; also where the cash then covers less of it.
6. *Exits in parts.* An exit withdraws what is left of an order. Its own rest is a market order at the next opens until the
   position is closed, whatever later prices do; a decision made meanwhile waits for that, and is filled at the open after it.
   An exit that the volume leaves nothing for stays what it was.
"""

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

#: A quantity this little below a whole lot counts as that lot, because 0.3 / 0.1 is 2.9999999999999996: a share of a
#: lot, or of the quantity where that is more (29,000,000 lots carry a larger rounding error).
LOT_TOLERANCE = 1e-9
LOT_ROUNDING = 4e-16
#: How near a price must come to an exit's level to touch it, relative.
TOUCH = 1e-12

#: Range of a bar in standard deviations of its returns, 2 * sqrt(ln 2): as in `model/fill_model.py`, by a test.
RANGE_PER_SIGMA = 1.6651092223153954
#: A sale keeps this much of its price, however large it is.
SLIPPAGE_MAX = 0.9999

# Why a fill happened.
BY_TARGET, BY_STOP_LOSS, BY_TAKE_PROFIT, BY_TRAILING_STOP, BY_RUIN = 0, 1, 2, 3, 4
REASONS = ("target", "stop_loss", "take_profit", "trailing_stop", "ruin")

# How a position is sized.
BY_FRACTION, BY_QUANTITY, BY_NOTIONAL = 0, 1, 2


class Rules(NamedTuple):
    """What the loop needs besides the market; all float or int so that one compiled version serves every call.

    Attributes:
        cash: starting cash, quote currency.
        fee, slippage: fractions of the notional and of the price.
        sizing: one of BY_FRACTION, BY_QUANTITY, BY_NOTIONAL; `size` is its amount at a target of 1.
        longs, shorts: 1 where such positions may be opened.
        stop_loss, take_profit: fractions of the average entry price; trailing_stop: of the best price. 0 is off.
        lot, min_quantity: base currency; min_notional: quote currency.
    """

    cash: float
    fee: float
    slippage: float
    sizing: int
    size: float
    longs: int
    shorts: int
    stop_loss: float
    take_profit: float
    trailing_stop: float
    lot: float
    min_quantity: float
    min_notional: float


class Tally(NamedTuple):
    """What the loop counted.

    Attributes:
        fills: how many rows of the fill arrays are in use.
        skipped: orders under the minimum, or that no cash was left for.
        held: bars that closed with a position.
        bad: index of the first target outside [-1, 1] or not a number; -1 where there is none.
        pending: 1 where the last close decided an order that no bar was left to fill.
    """

    fills: int
    skipped: int
    held: int
    bad: int
    pending: int


class Figures(NamedTuple):
    """Raw figures of a run; what can't be computed is not a number.

    Attributes:
        mean, deviation, downside: of the bar returns; deviation with one degree of freedom, downside root mean square.
        drawdown: deepest fall from a peak as a negative fraction.
        average_equity: mean over all bars.
        fees, traded: sums over all fills, quote currency.
        trades, wins, entries: closed round trips, those with a profit, positions opened.
        gross_profit, gross_loss: sums over closed trades after fees; the loss is positive.
    """

    mean: float
    deviation: float
    downside: float
    drawdown: float
    average_equity: float
    final_equity: float
    fees: float
    traded: float
    trades: int
    wins: int
    entries: int
    gross_profit: float
    gross_loss: float


def simulate(
    opens: Any, highs: Any, lows: Any, closes: Any, targets: Any, rules: Rules, equity: Any, rows: tuple[Any, ...]
) -> Tally:
    """Run the rules over all bars; fill `equity` (bars,) and the six `rows` of fills (at least 2 * bars + 2,).

    The rows are: bar, quantity (signed, positive for a purchase), price, fee (positive), reason and the position after
    the fill as a signed number of lots, which is exact where a sum of quantities is not.
    """
    cash = rules.cash
    position = entry = best = before = desired = 0.0
    pending = fills = skipped = held = 0
    reason = BY_TARGET
    exits = rules.stop_loss > 0.0 or rules.take_profit > 0.0 or rules.trailing_stop > 0.0
    bars = len(closes)
    bar = 0
    while bar < bars:
        if pending == 1:
            pending = 0
            price = opens[bar] * (1.0 + rules.slippage if desired > position else 1.0 - rules.slippage)
            wanted = affordable(desired, position, cash, price, rules)
            if tradable(wanted, position, price, rules):
                cash -= book(rows, fills, bar, position, wanted, price, reason, rules)
                fills += 1
                if position * wanted <= 0.0:
                    best = price
                entry = average_entry(entry, position, wanted, price)
                position = wanted
            else:
                skipped += 1
        if exits and position != 0.0:
            level, why = exit_level(opens[bar], highs[bar], lows[bar], position, entry, best, rules)
            if why > 0:
                price = level * (1.0 - rules.slippage if position > 0.0 else 1.0 + rules.slippage)
                cash -= book(rows, fills, bar, position, 0.0, price, why, rules)
                fills += 1
                position = 0.0
            elif position > 0.0:
                best = max(best, highs[bar])
            else:
                best = min(best, lows[bar])
        worth = cash + position * rules.lot * closes[bar]
        equity[bar] = worth
        if position != 0.0:
            held += 1
        target = targets[bar]
        if target != before:
            if not -1.0 <= target <= 1.0:
                return Tally(fills, skipped, held, bar, 0)
            before = target
            desired = sized(target, worth, closes[bar], rules)
            reason = BY_TARGET
            pending = 1 if desired != position else 0
        if worth <= 0.0 and position != 0.0:
            desired = 0.0
            reason = BY_RUIN
            pending = 1
        bar += 1
        if pending == 0 and (position == 0.0 or (position > 0.0 and not exits)):
            # Nothing can happen before the target changes: no exit is kept, and what is paid for can't be ruined.
            quiet = bar
            while bar < bars and targets[bar] == before:
                bar += 1
            mark(quiet, bar, cash, position * rules.lot, closes, equity)
            if position != 0.0:
                held += bar - quiet
    return Tally(fills, skipped, held, -1, pending)


class Scarcity(NamedTuple):
    """How a bar limits what is traded in it.

    Attributes:
        share: of the bar's volume that may be filled; 0 is no limit.
        impact: in bar volatilities, paid by an order as large as the bar's volume; 0 is off.
    """

    share: float
    impact: float


class Underway(NamedTuple):
    """Where a run under scarcity stands.

    Attributes:
        left: lots of the order at work that are still to be filled, signed.
        used: lots that the present bar has filled.
        pending, begun: 1 where an order is at work, and where a part of it was filled.
        leaving: reason of the exit at work, 0 without one.
        waiting: 1 where a decision waits for that exit.
    """

    cash: float
    position: float
    entry: float
    best: float
    left: float
    used: float
    pending: int
    begun: int
    leaving: int
    waiting: int
    fills: int
    skipped: int


def simulate_scarce(
    prices: tuple[Any, ...], volumes: Any, targets: Any, rules: Rules, scarcity: Scarcity, equity: Any, rows: tuple[Any, ...]
) -> Tally:
    """Run the rules over all bars under scarcity; *prices* are opens, highs, lows and closes, all else as for `simulate`.

    A bar fills at most twice, so that the rows of fills need no more room.
    """
    opens, highs, lows, closes = prices
    at = Underway(rules.cash, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0)
    before = desired = 0.0
    held = 0
    reason = BY_TARGET
    exits = rules.stop_loss > 0.0 or rules.take_profit > 0.0 or rules.trailing_stop > 0.0
    for bar in range(len(closes)):
        candle = (opens[bar], highs[bar], lows[bar], volumes[bar])
        at = scarce_open(at, bar, candle, desired, reason, rules, scarcity, rows)
        if exits and at.position != 0.0 and at.leaving == 0:
            at = scarce_exit(at, bar, candle, rules, scarcity, rows)
        worth = at.cash + at.position * rules.lot * closes[bar]
        equity[bar] = worth
        if at.position != 0.0:
            held += 1
        target = targets[bar]
        decided = target != before
        if decided:
            if not -1.0 <= target <= 1.0:
                return Tally(at.fills, at.skipped, held, bar, 0)
            before = target
            desired = sized(target, worth, closes[bar], rules)
            reason = BY_TARGET
        if worth <= 0.0 and at.position != 0.0:
            desired = 0.0
            reason = BY_RUIN
            decided = True
        if decided:
            left, pending, begun, waiting = at.left, at.pending, at.begun, 1
            if at.leaving == 0:
                left, pending, begun, waiting = desired - at.position, 1 if desired != at.position else 0, 0, 0
            at = Underway(
                at.cash,
                at.position,
                at.entry,
                at.best,
                left,
                at.used,
                pending,
                begun,
                at.leaving,
                waiting,
                at.fills,
                at.skipped,
            )
    return Tally(at.fills, at.skipped, held, -1, 1 if at.pending + at.leaving + at.waiting > 0 else 0)


def scarce_open(
    at: Underway,
    bar: int,
    candle: tuple[float, ...],
    desired: float,
    reason: int,
    rules: Rules,
    scarcity: Scarcity,
    rows: tuple[Any, ...],
) -> Underway:
    """Fill what an open covers of the order or exit at work; *candle* is open, high, low and volume of the bar."""
    cash, position, entry, best, left, used, pending, begun, leaving, waiting, fills, skipped = at
    used = 0.0
    if leaving > 0 or pending == 1:
        room = room_in(candle[3], 0.0, rules.lot, scarcity)
        goal = 0.0 if leaving > 0 else position + left
        price = slipped(candle[0], goal - position, min(abs(goal - position), room), candle, rules, scarcity)
        wanted = goal if leaving > 0 else affordable(goal, position, cash, price, rules)
        if leaving == 0 and not tradable(wanted, position, price, rules):
            pending = 0
            skipped += 1 - begun
        else:
            used = min(abs(wanted - position), room)
            if leaving == 0 and used == abs(wanted - position):
                pending = 0
            after = position + used if wanted > position else position - used
            if used > 0.0:
                cash -= book(rows, fills, bar, position, after, price, leaving if leaving > 0 else reason, rules)
                fills += 1
                begun = 1
                if position * after <= 0.0:
                    best = price
                entry = average_entry(entry, position, after, price)
                left -= after - position
                position = after
            if leaving > 0 and position == 0.0:
                # What waited is ordered now, too late for this open.
                pending = 1 if waiting == 1 and desired != 0.0 else 0
                left, begun, waiting, leaving = desired, 0, 0, 0
    return Underway(cash, position, entry, best, left, used, pending, begun, leaving, waiting, fills, skipped)


def scarce_exit(
    at: Underway, bar: int, candle: tuple[float, ...], rules: Rules, scarcity: Scarcity, rows: tuple[Any, ...]
) -> Underway:
    """Fill what the rest of a bar covers of the exit that it triggers, and move the best price."""
    cash, position, entry, best, left, used, pending, begun, leaving, waiting, fills, skipped = at
    level, why = exit_level(candle[0], candle[1], candle[2], position, entry, best, rules)
    room = room_in(candle[3], used * rules.lot, rules.lot, scarcity)
    size = min(abs(position), room) if why > 0 else 0.0
    if size > 0.0:
        price = slipped(level, -position, size, candle, rules, scarcity)
        after = position - size if position > 0.0 else position + size
        cash -= book(rows, fills, bar, position, after, price, why, rules)
        fills += 1
        position = after
        pending = 0
        leaving = why if position != 0.0 else 0
    best = max(best, candle[1]) if position > 0.0 else min(best, candle[2])
    return Underway(cash, position, entry, best, left, used, pending, begun, leaving, waiting, fills, skipped)


def room_in(volume: float, used: float, lot: float, scarcity: Scarcity) -> float:
    """Return how many lots a bar still fills, *used* being what it filled already, base currency."""
    if scarcity.share > 0.0:
        return whole(max(volume * scarcity.share - used, 0.0) / lot)
    return 0.0 if scarcity.impact > 0.0 and volume <= 0.0 else math.inf


def slipped(price: float, change: float, lots: float, candle: tuple[float, ...], rules: Rules, scarcity: Scarcity) -> float:
    """Return a price after slippage and the impact of so many lots; a positive change of the position is a purchase."""
    lost = rules.slippage
    if scarcity.impact > 0.0 and candle[3] > 0.0:
        volatility = (candle[1] / candle[2] - 1.0) / RANGE_PER_SIGMA
        lost += scarcity.impact * volatility * math.sqrt(lots * rules.lot / candle[3])
    return price * (1.0 + lost if change > 0.0 else 1.0 - min(lost, SLIPPAGE_MAX))


def tradable(wanted: float, position: float, price: float, rules: Rules) -> bool:
    """Tell whether the order from *position* to *wanted* is large enough; one that closes everything always is."""
    if wanted == position:
        return False
    size = abs(wanted - position) * rules.lot
    return wanted == 0.0 or (size >= rules.min_quantity and size * price >= rules.min_notional)


def book(
    rows: tuple[Any, ...], fill: int, bar: int, before: float, after: float, price: float, reason: int, rules: Rules
) -> float:
    """Write a fill that takes the position from *before* to *after* lots; return what it takes from the cash."""
    quantity = (after - before) * rules.lot
    cost = abs(quantity) * price * rules.fee
    rows[0][fill] = bar
    rows[1][fill] = quantity
    rows[2][fill] = price
    rows[3][fill] = cost
    rows[4][fill] = reason
    rows[5][fill] = after
    return quantity * price + cost


def average_entry(entry: float, position: float, wanted: float, price: float) -> float:
    """Return the average price of the position after a fill: reducing keeps it, adding averages, flipping renews it."""
    if position * wanted <= 0.0:
        return price
    if abs(wanted) > abs(position):
        return (entry * abs(position) + price * (abs(wanted) - abs(position))) / abs(wanted)
    return entry


def mark(first: int, last: int, cash: float, quantity: float, closes: Any, equity: Any) -> None:
    """Write the equity of bars *first* to *last* - 1, over which cash and quantity stay as they are."""
    # Slices share memory here; counting from zero lets the compiler use vector instructions.
    prices = closes[first:last]
    levels = equity[first:last]
    for step in range(last - first):
        levels[step] = cash + quantity * prices[step]


def whole(lots: float) -> float:
    """Round down to a whole number of lots (NumPy's floor stays a float where an integer would overflow)."""
    return float(np.floor(lots + max(LOT_TOLERANCE, lots * LOT_ROUNDING)))


def sized(target: float, worth: float, close: float, rules: Rules) -> float:
    """Return the signed number of lots that a target asks for at this close; a side that is not allowed counts as flat."""
    if (target > 0.0 and rules.longs == 0) or (target < 0.0 and rules.shorts == 0):
        return 0.0
    if rules.sizing == BY_FRACTION:
        quantity = abs(target) * rules.size * max(worth, 0.0) / close
    elif rules.sizing == BY_QUANTITY:
        quantity = abs(target) * rules.size
    else:
        quantity = abs(target) * rules.size / close
    lots = whole(quantity / rules.lot)
    return lots if target >= 0.0 else -lots


def affordable(desired: float, position: float, cash: float, price: float, rules: Rules) -> float:
    """Return the position in lots, between the present and the desired one, that cash and equity allow."""
    unit = price * rules.lot
    gross = 1.0 + rules.fee
    if desired > position:
        if desired <= 0.0:
            return desired
        most = position + whole(max(cash, 0.0) / (unit * gross))
        return min(desired, max(most, position, 0.0))
    if desired >= 0.0:
        return desired
    worth = cash + position * unit * (1.0 - rules.fee)
    most = whole(max(worth, 0.0) / (unit * gross))
    return max(desired, min(-most, position))


def exit_level(
    opened: float, high: float, low: float, position: float, entry: float, best: float, rules: Rules
) -> tuple[float, int]:
    """Return price and reason of the exit that this bar triggers; reason 0 where it triggers none."""
    if position > 0.0:
        stop = entry * (1.0 - rules.stop_loss) if rules.stop_loss > 0.0 else 0.0
        why = BY_STOP_LOSS
        if rules.trailing_stop > 0.0 and best * (1.0 - rules.trailing_stop) > stop:
            stop = best * (1.0 - rules.trailing_stop)
            why = BY_TRAILING_STOP
        goal = entry * (1.0 + rules.take_profit) if rules.take_profit > 0.0 else math.inf
        if opened >= goal * (1.0 - TOUCH):
            return opened, BY_TAKE_PROFIT
        if low <= stop * (1.0 + TOUCH):
            return min(opened, stop), why
        if high >= goal * (1.0 - TOUCH):
            return goal, BY_TAKE_PROFIT
        return 0.0, 0
    stop = entry * (1.0 + rules.stop_loss) if rules.stop_loss > 0.0 else math.inf
    why = BY_STOP_LOSS
    if rules.trailing_stop > 0.0 and best * (1.0 + rules.trailing_stop) < stop:
        stop = best * (1.0 + rules.trailing_stop)
        why = BY_TRAILING_STOP
    goal = entry * (1.0 - rules.take_profit) if rules.take_profit > 0.0 else -math.inf
    if opened <= goal * (1.0 + TOUCH):
        return opened, BY_TAKE_PROFIT
    if high >= stop * (1.0 - TOUCH):
        return max(opened, stop), why
    if low <= goal * (1.0 + TOUCH):
        return goal, BY_TAKE_PROFIT
    return 0.0, 0


def simulate_all(
    market: tuple[Any, ...],
    sleeves: tuple[Any, ...],
    rules: Rules,
    steps_of: tuple[Any, ...],
    equity: Any,
    rows: tuple[Any, ...],
    state: tuple[Any, ...],
) -> Tally:
    """Run the rules over several sleeves, each a strategy on a symbol, with one cash account.

    A sleeve follows the rules above on the bars of its own symbol, with its weight's share of the equity as the worth that
    its orders are sized from. At a step in which its symbol has no bar nothing of it is traded, and it is marked at its
    symbol's last close. In a step the fills that reduce a position come first, in the sleeves' order. Purchases follow; where
    the cash does not cover them all, it is shared in proportion to what they cost. Short sales come last; all short
    notionals together, the others' at their last closes, do not exceed the equity.

    Args:
        market: opens, highs, lows, closes, each (steps, symbols), and 1 where the symbol has a bar, the same shape.
        sleeves: symbol of each (sleeves,), targets (steps, sleeves), weights (dates, sleeves), for how many steps a date's
            weights hold, and 1 where what is held is resized at each date.
        rules: those of all; steps_of: lot, least quantity and least notional of each symbol, which replace theirs.
        rows: as for `simulate`, and the sleeve as a seventh.
        state: seven arrays of zeros (sleeves,): position, average entry, best price, target before, desired, pending,
            reason; and the last closes (symbols,). All are left as they were after the last step.
    """
    opens, highs, lows, closes, there = market
    symbols, targets, weights, every, resized = sleeves
    position, entry, best, before, desired, pending, reason, last = state
    steps, count = targets.shape
    cash = rules.cash
    exits = rules.stop_loss > 0.0 or rules.take_profit > 0.0 or rules.trailing_stop > 0.0
    fills = skipped = held = 0
    for step in range(steps):
        waiting = 0
        for sleeve in range(count):
            if pending[sleeve] == 1.0 and there[step, symbols[sleeve]] == 1:
                waiting += 1
        if waiting > 0:
            cash, fills, skipped = fill_opens(step, cash, fills, skipped, market, sleeves, rules, steps_of, rows, state)
        if exits:
            for sleeve in range(count):
                symbol = symbols[sleeve]
                held_lots = position[sleeve]
                if held_lots == 0.0 or there[step, symbol] == 0:
                    continue
                own = rules_of(rules, steps_of, symbol)
                high, low = highs[step, symbol], lows[step, symbol]
                level, why = exit_level(opens[step, symbol], high, low, held_lots, entry[sleeve], best[sleeve], own)
                if why > 0:
                    price = level * (1.0 - own.slippage if held_lots > 0.0 else 1.0 + own.slippage)
                    rows[6][fills] = sleeve
                    cash -= book(rows, fills, step, held_lots, 0.0, price, why, own)
                    fills += 1
                    position[sleeve] = 0.0
                elif held_lots > 0.0:
                    best[sleeve] = max(best[sleeve], high)
                else:
                    best[sleeve] = min(best[sleeve], low)
        for symbol in range(len(last)):
            if there[step, symbol] == 1:
                last[symbol] = closes[step, symbol]
        worth = cash
        holds = 0
        for sleeve in range(count):
            if position[sleeve] != 0.0:
                worth += position[sleeve] * steps_of[0][symbols[sleeve]] * last[symbols[sleeve]]
                holds = 1
        equity[step] = worth
        held += holds
        due = resized == 1 and step % every == 0
        for sleeve in range(count):
            target = targets[step, sleeve]
            changed = target != before[sleeve]
            # An exit waits for another decision: only what is held is resized.
            if (changed or (due and position[sleeve] * target > 0.0)) and there[step, symbols[sleeve]] == 1:
                if not -1.0 <= target <= 1.0:
                    return Tally(fills, skipped, held, step * count + sleeve, 0)
                before[sleeve] = target
                own = rules_of(rules, steps_of, symbols[sleeve])
                desired[sleeve] = sized(target, worth * weights[step // every, sleeve], closes[step, symbols[sleeve]], own)
                reason[sleeve] = BY_TARGET
                pending[sleeve] = 1.0 if desired[sleeve] != position[sleeve] else 0.0
            if worth <= 0.0 and position[sleeve] != 0.0:
                desired[sleeve] = 0.0
                reason[sleeve] = BY_RUIN
                pending[sleeve] = 1.0
    left = 0
    for sleeve in range(count):
        if pending[sleeve] == 1.0:
            left = 1
    return Tally(fills, skipped, held, -1, left)


def fill_opens(
    step: int,
    cash: float,
    fills: int,
    skipped: int,
    market: tuple[Any, ...],
    sleeves: tuple[Any, ...],
    rules: Rules,
    steps_of: tuple[Any, ...],
    rows: tuple[Any, ...],
    state: tuple[Any, ...],
) -> tuple[float, int, int]:
    """Fill what was decided before at the opens of a step; return cash, fills and skipped orders so far."""
    opens, there, symbols = market[0], market[4], sleeves[0]
    position, entry, best, desired, pending, reason, last = state[0], state[1], state[2], state[4], state[5], state[6], state[7]
    count = len(symbols)
    for phase in range(3):
        needed = 0.0
        if phase == 1:
            for sleeve in range(count):
                symbol = symbols[sleeve]
                if pending[sleeve] == 1.0 and there[step, symbol] == 1 and phase_of(position[sleeve], desired[sleeve]) == 1:
                    needed += cost_of(opens[step, symbol], desired[sleeve] - position[sleeve], steps_of[0][symbol], rules)
        available = max(cash, 0.0)
        for sleeve in range(count):
            symbol = symbols[sleeve]
            if pending[sleeve] != 1.0 or there[step, symbol] == 0 or phase_of(position[sleeve], desired[sleeve]) != phase:
                continue
            pending[sleeve] = 0.0
            own = rules_of(rules, steps_of, symbol)
            rising = desired[sleeve] > position[sleeve]
            price = opens[step, symbol] * (1.0 + own.slippage if rising else 1.0 - own.slippage)
            allotted = cash
            if phase == 1 and needed > available:
                cost = cost_of(opens[step, symbol], desired[sleeve] - position[sleeve], own.lot, own)
                allotted = min(cash, available * (cost / needed))
            elif phase == 2:
                for other in range(count):
                    if other != sleeve and position[other] != 0.0:
                        value = position[other] * steps_of[0][symbols[other]] * last[symbols[other]]
                        # What others are short is owed, and takes as much of the room for shorts besides.
                        allotted += value + min(value, 0.0)
            wanted = affordable(desired[sleeve], position[sleeve], allotted, price, own)
            if tradable(wanted, position[sleeve], price, own):
                rows[6][fills] = sleeve
                cash -= book(rows, fills, step, position[sleeve], wanted, price, int(reason[sleeve]), own)
                fills += 1
                if position[sleeve] * wanted <= 0.0:
                    best[sleeve] = price
                entry[sleeve] = average_entry(entry[sleeve], position[sleeve], wanted, price)
                position[sleeve] = wanted
            else:
                skipped += 1
    return cash, fills, skipped


def cost_of(opened: float, lots: float, lot: float, rules: Rules) -> float:
    """Return what a purchase takes from the cash at an open."""
    return lots * lot * (opened * (1.0 + rules.slippage)) * (1.0 + rules.fee)


def rules_of(rules: Rules, steps_of: tuple[Any, ...], symbol: int) -> Rules:
    """Return the rules with the steps of a symbol."""
    return Rules(
        rules.cash,
        rules.fee,
        rules.slippage,
        rules.sizing,
        rules.size,
        rules.longs,
        rules.shorts,
        rules.stop_loss,
        rules.take_profit,
        rules.trailing_stop,
        steps_of[0][symbol],
        steps_of[1][symbol],
        steps_of[2][symbol],
    )


def phase_of(position: float, desired: float) -> int:
    """Return when in a step an order is filled: 0 reduces or closes, 1 buys into a long, 2 sells into a short."""
    if abs(desired) <= abs(position) and desired * position >= 0.0:
        return 0
    return 1 if desired > 0.0 else 2


def pair(fills: int, rows: tuple[Any, ...], trips: tuple[Any, ...]) -> int:
    """Pair fills into round trips, from flat to flat, in eight rows of at least `fills` entries; return their number.

    The rows are: entry bar, exit bar, size, entry price, exit price, profit after fees, fees and exit reason. Size is the
    largest position, signed: positive for a long. Prices are averages over the fills that built up and that reduced the
    position. A fill that flips the position ends one round trip and begins the next, its fee split by quantity. The last
    round trip may be open: then exit bar and reason are -1, exit price and profit not a number.
    """
    fill_bar, fill_quantity, fill_price, fill_fee, fill_reason, lots_after = rows
    entry_bar, exit_bar, size, entry_price, exit_price, profit, fees, exit_reason = trips
    trades = 0
    position = largest = built = spent = reduced = earned = paid = 0.0
    for fill in range(fills):
        amount = abs(fill_quantity[fill])
        price = fill_price[fill]
        fee = fill_fee[fill]
        after = lots_after[fill]
        closing = 0.0
        if position * fill_quantity[fill] < 0.0:
            closing = abs(position) / abs(after - position) if position * after < 0.0 else 1.0
            reduced += amount * closing
            earned += amount * closing * price
            paid += fee * closing
            fees[trades] = paid
            if position * after <= 0.0:
                exit_bar[trades] = fill_bar[fill]
                exit_price[trades] = earned / reduced
                profit[trades] = (earned - spent if position > 0.0 else spent - earned) - paid
                exit_reason[trades] = fill_reason[fill]
                trades += 1
        if after != 0.0 and position * after <= 0.0:
            entry_bar[trades] = fill_bar[fill]
            exit_bar[trades] = -1
            exit_price[trades] = math.nan
            profit[trades] = math.nan
            exit_reason[trades] = -1
            size[trades] = 0.0
            largest = 0.0
            built = 0.0
            spent = 0.0
            reduced = 0.0
            earned = 0.0
            paid = 0.0
        if after != 0.0 and closing < 1.0:
            built += amount * (1.0 - closing)
            spent += amount * (1.0 - closing) * price
            paid += fee * (1.0 - closing)
            entry_price[trades] = spent / built
            fees[trades] = paid
            if abs(after) > largest:
                largest = abs(after)
                size[trades] = built - reduced if after > 0.0 else reduced - built
        position = after
    return trades + (1 if position != 0.0 else 0)


def measure(equity: Any, cash: float, fills: int, rows: tuple[Any, ...], trades: int, trips: tuple[Any, ...]) -> Figures:
    """Compute the raw figures from equity, fills and round trips; the first bar's return is measured from *cash*."""
    fill_quantity, fill_price, fill_fee = rows[1], rows[2], rows[3]
    exit_bar, profit = trips[1], trips[5]
    bars = len(equity)
    total = 0.0
    squares = 0.0
    negative = 0.0
    levels = 0.0
    before = cash
    peak = cash
    floor = 1.0
    for bar in range(bars):
        worth = equity[bar]
        gain = worth / before - 1.0 if before > 0.0 else 0.0
        total += gain
        squares += gain * gain
        fall = min(gain, 0.0)
        negative += fall * fall
        levels += worth
        peak = max(peak, worth)
        if worth < peak * floor:
            floor = worth / peak
        before = worth
    mean = total / bars
    spread = (squares - total * mean) / (bars - 1) if bars > 1 else math.nan
    deviation = math.sqrt(max(spread, 0.0)) if bars > 1 else math.nan
    fees = 0.0
    traded = 0.0
    for fill in range(fills):
        fees += fill_fee[fill]
        traded += abs(fill_quantity[fill]) * fill_price[fill]
    closed = trades - 1 if trades > 0 and exit_bar[trades - 1] < 0 else trades
    wins = 0
    gross_profit = 0.0
    gross_loss = 0.0
    for trade in range(closed):
        if profit[trade] > 0.0:
            wins += 1
            gross_profit += profit[trade]
        else:
            gross_loss -= profit[trade]
    return Figures(
        mean,
        deviation,
        math.sqrt(negative / bars),
        floor - 1.0,
        levels / bars,
        before,
        fees,
        traded,
        closed,
        wins,
        trades,
        gross_profit,
        gross_loss,
    )


class Loop(NamedTuple):
    """The entry points; `view` turns an array into what they work on (`simulate_all` takes arrays as they are)."""

    simulate: Callable[..., Tally]
    pair: Callable[..., int]
    measure: Callable[..., Figures]
    view: Callable[[Any], Any]
    simulate_all: Callable[..., Tally]
    simulate_scarce: Callable[..., Tally]


#: Elements of a memory view are plain Python numbers, several times faster one by one than those of an array.
INTERPRETED = Loop(simulate, pair, measure, memoryview, simulate_all, simulate_scarce)


@cache
def compiled() -> Loop:
    """Return the loop compiled by numba; the machine code is cached on disk and made anew when this file changes."""
    from numba import njit

    # The compiled functions must see each other, the interpreted ones each other: hence a namespace of their own.
    space = dict(globals())
    helpers = (mark, whole, sized, affordable, exit_level, tradable, book, average_entry)
    shared = (cost_of, rules_of, phase_of, fill_opens, room_in, slipped, scarce_open, scarce_exit)
    for plain in (*helpers, *shared, simulate, pair, measure, simulate_all, simulate_scarce):
        twin = FunctionType(plain.__code__, space, plain.__name__)
        space[plain.__name__] = njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(twin)
    return Loop(space["simulate"], space["pair"], space["measure"], np.asarray, space["simulate_all"], space["simulate_scarce"])


#: Below this many bars a fresh process is done sooner interpreted (0.4 us a bar) than after loading numba (0.8 s).
INTERPRETED_BELOW = 400_000


def loop_for(bars: int) -> Loop:
    """Return the loop that finishes *bars* bars sooner; the bits are the same."""
    ready = compiled.cache_info().currsize > 0
    return compiled() if ready or bars >= INTERPRETED_BELOW else INTERPRETED
