"""Rules that see the future, each in a way that people have fallen into, and rules that only look as if they did.

A rule takes bars and gives targets. `LEAKS` must all be found out; of `INNOCENTS` none may be accused.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import polars as pl
import talib
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, filtfilt, lfilter, savgol_filter

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy

Rule = Callable[[Bars], F64]

LEAKS: dict[str, Rule] = {}
INNOCENTS: dict[str, Rule] = {}
#: Bars that every rule here declares as its warm-up.
WARMUP = 40


def strategy_of(name: str, rule: Rule, warmup: int = WARMUP) -> Strategy:
    """Return a strategy that follows a rule."""

    class Made(Strategy):
        def targets(self, bars: Bars) -> F64:
            return rule(bars)

        def warmup(self) -> int:
            return warmup

    Made.key, Made.source = name, "a test"
    return Made()


def _into(cases: dict[str, Rule]) -> Callable[[Rule], Rule]:
    def take(rule: Rule) -> Rule:
        cases[rule.__name__] = rule
        return rule

    return take


leak, innocent = _into(LEAKS), _into(INNOCENTS)


def sign(values: object) -> F64:
    """Return 1, 0, -1; what is not a number is flat."""
    return np.nan_to_num(np.sign(np.asarray(values, dtype=np.float64)))


def closes(bars: Bars) -> pd.Series:
    """Return the closes as a series of pandas, by time."""
    return bars.to_pandas()["close"]


def moves(bars: Bars) -> F64:
    """Return the relative change of each bar, 0 for the first."""
    return np.concatenate([[0.0], bars.close[1:] / bars.close[:-1] - 1.0])


# --- the whole sample ------------------------------------------------------------------------------------------------


@leak
def whole_sample_score(bars):
    """The distance from a mean over all bars, in deviations over all bars."""
    return sign(np.where(np.abs(score := (bars.close - bars.close.mean()) / bars.close.std()) > 1.0, -score, 0.0))


@leak
def whole_sample_range(bars):
    """Minimum and maximum of all bars."""
    return 2.0 * (bars.close - bars.close.min()) / (np.ptp(bars.close) + 1e-300) - 1.0


@leak
def whole_sample_quantile(bars):
    """Above the upper quintile of all moves."""
    return np.where(moves(bars) > np.quantile(moves(bars), 0.8), 1.0, 0.0)


@leak
def whole_sample_rank(bars):
    """The rank of a price among all prices."""
    return np.where(closes(bars).rank(pct=True).to_numpy() > 0.7, 1.0, 0.0)


@leak
def whole_sample_volatility(bars):
    """A size by the volatility of all bars."""
    return sign(moves(bars)) * min(1.0, 0.01 / (moves(bars).std() + 1e-12))


@leak
def whole_sample_median_volume(bars):
    """Trades where volume is above the median of all bars."""
    return np.where(bars.volume > np.median(bars.volume), sign(moves(bars)), 0.0)


@leak
def regression_over_everything(bars):
    """The residual of a trend line through all bars."""
    index = np.arange(len(bars), dtype=np.float64)
    if len(bars) < 3:
        return np.zeros(len(bars))
    slope, level = np.polyfit(index, np.log(bars.close), 1)
    return sign(slope * index + level - np.log(bars.close))


@leak
def sorted_prices(bars):
    """The position of a price in the sorted list of all prices."""
    return np.where(np.searchsorted(np.sort(bars.close), bars.close) < len(bars) // 3, 1.0, 0.0)


@leak
def clusters_of_volatility(bars):
    """Regimes cut at terciles of a rolling volatility over all bars."""
    spread = pd.Series(moves(bars)).rolling(10).std().to_numpy()
    known = spread[~np.isnan(spread)]
    return np.where(spread > (np.quantile(known, 0.66) if len(known) else np.inf), 0.0, sign(moves(bars)))


@leak
def best_hour_of_all(bars):
    """Long in the hour of the day whose mean move over all bars is best."""
    hour = bars.timestamp // 3_600_000_000_000 % 24
    means = [moves(bars)[hour == h].mean() if (hour == h).any() else -1.0 for h in range(24)]
    return np.where(hour == int(np.argmax(means)), 1.0, 0.0)


@leak
def threshold_that_paid_best(bars):
    """A threshold chosen for its profit over all bars."""
    then = np.concatenate([[0.0], moves(bars)[:-1]])
    profits = [(level, float((np.where(then > level, 1.0, 0.0) * moves(bars)).sum())) for level in np.linspace(-0.03, 0.03, 31)]
    level = max(profits, key=lambda pair: pair[1])[0]
    return np.where(moves(bars) > level, 1.0, 0.0)


@leak
def first_component(bars):
    """The first principal component of the columns, fitted to all bars."""
    columns = np.column_stack([bars.close, bars.high - bars.low, bars.volume])
    centred = (columns - columns.mean(axis=0)) / (columns.std(axis=0) + 1e-12)
    vectors = np.linalg.svd(centred, full_matrices=False)[2]
    return sign(centred @ (vectors[0] * sign(vectors[0][:1])))


# --- later bars -------------------------------------------------------------------------------------------------------


@leak
def shift_by_minus_one(bars):
    """The move of the next bar."""
    return sign(closes(bars).pct_change().shift(-1))


@leak
def next_open(bars):
    """Whether the next bar opens higher."""
    return np.append(sign(bars.open[1:] - bars.close[:-1]), 0.0)


@leak
def far_ahead(bars):
    """The price a day later."""
    return sign(closes(bars).shift(-24) - closes(bars))


@leak
def centred_window(bars):
    """A mean with as many bars after as before."""
    return sign(closes(bars).rolling(11, center=True).mean() - bars.close)


@leak
def centred_extremes(bars):
    """Turning points: the highest of five bars around."""
    high = pd.Series(bars.high)
    return np.where(high == high.rolling(5, center=True).max(), -1.0, 0.0)


@leak
def smooth_gradient(bars):
    """The slope between the bar before and the bar after."""
    return sign(np.gradient(bars.close)) if len(bars) > 1 else np.zeros(len(bars))


@leak
def savitzky_golay(bars):
    """A polynomial smoother."""
    return sign(np.diff(savgol_filter(bars.close, 21, 3), prepend=0.0)) if len(bars) >= 21 else np.zeros(len(bars))


@leak
def gaussian_smoother(bars):
    """A smoother whose kernel reaches both ways."""
    return sign(np.diff(gaussian_filter1d(bars.close, 3.0), prepend=0.0))


@leak
def filter_both_ways(bars):
    """A filter run forwards and backwards."""
    if len(bars) < 20:
        return np.zeros(len(bars))
    return sign(np.diff(filtfilt(*butter(2, 0.1), bars.close), prepend=0.0))


@leak
def fourier_low_pass(bars):
    """The slowest waves of the whole series."""
    waves = np.fft.rfft(bars.close)
    waves[8:] = 0.0
    return sign(np.diff(np.fft.irfft(waves, len(bars)), prepend=0.0)) if len(bars) > 1 else np.zeros(len(bars))


@leak
def convolution_in_the_middle(bars):
    """A moving average by convolution that is laid around its bar."""
    if len(bars) < 9:
        return np.zeros(len(bars))
    return sign(np.convolve(bars.close, np.ones(9) / 9.0, mode="same") - bars.close)


@leak
def day_labelled_left(bars):
    """The close of a day, known from its first hour on."""
    close = closes(bars)
    return sign(close.resample("1D", label="left").last().reindex(close.index, method="ffill") - close)


@leak
def high_of_the_day(bars):
    """Near the highest price of the running day, all of it."""
    frame = bars.to_pandas()
    return np.where(frame["close"] > 0.99 * frame.groupby(frame.index.floor("D"))["high"].transform("max"), -1.0, 0.0)


@leak
def joined_to_the_next(bars):
    """Values of every fourth bar, taken over by the nearest bars, later ones too."""
    frame = pl.DataFrame({"at": bars.timestamp, "close": bars.close})
    fourth = frame.gather_every(4).rename({"close": "then"})
    return sign(frame.join_asof(fourth, on="at", strategy="nearest")["then"].to_numpy() - bars.close)


@leak
def filled_backwards(bars):
    """Values that are missing are taken from the next that is there."""
    return sign(closes(bars).where(np.arange(len(bars)) % 7 == 0).bfill() - bars.close)


@leak
def warmup_filled_backwards(bars):
    """Only the first values of an average are taken from later on."""
    return sign(bars.close - closes(bars).rolling(30).mean().bfill().to_numpy())


@leak
def interpolated(bars):
    """Values that are missing lie on a line to the next that is there."""
    return sign(closes(bars).where(np.arange(len(bars)) % 5 == 0).interpolate().to_numpy() - bars.close)


@leak
def profit_of_the_trade(bars):
    """The label a model is trained with, used as its signal: what holding for five bars would bring."""
    gain = np.zeros(len(bars))
    gain[:-5] = bars.close[5:] / bars.close[:-5] - 1.0 if len(bars) > 5 else gain[:-5]
    return np.where(gain > 0.01, 1.0, 0.0)


@leak
def stop_that_is_not_hit(bars):
    """Enters only where the next three lows stay above a stop."""
    safe = np.ones(len(bars), dtype=bool)
    for ahead in (1, 2, 3):
        safe[: max(0, len(bars) - ahead)] &= bars.low[ahead:] > 0.98 * bars.close[: max(0, len(bars) - ahead)]
    return np.where(safe & (moves(bars) > 0.0), 1.0, 0.0)


@leak
def volume_of_the_next_bar(bars):
    """Trades before a burst of volume."""
    after = np.append(bars.volume[1:], 0.0)
    return np.where(after > 1.5 * bars.volume, sign(moves(bars)), 0.0)


@leak
def flat_before_a_hole(bars):
    """Leaves the market before bars are missing, as if that were known."""
    after = np.append(np.diff(bars.timestamp), bars.timeframe.step_ns)
    return np.where(after > bars.timeframe.step_ns, 0.0, 1.0)


# --- backwards, by length, by memory ------------------------------------------------------------------------------------


@leak
def cumulative_from_the_end(bars):
    """A sum that is taken from the last bar to the first."""
    return sign(np.cumsum(moves(bars)[::-1])[::-1])


@leak
def compared_with_the_last(bars):
    """Below the last close there is."""
    return sign(bars.close[-1] - bars.close)


@leak
def average_run_backwards(bars):
    """An exponential average over reversed bars."""
    return sign(closes(bars)[::-1].ewm(span=10).mean()[::-1].to_numpy() - bars.close)


@leak
def largest_fall_to_come(bars):
    """Flat while the lowest price that is to come is much lower."""
    return np.where(np.minimum.accumulate(bars.low[::-1])[::-1] < 0.9 * bars.close, 0.0, 1.0)


@leak
def seeded_by_the_length(bars):
    """Chance that depends on how many bars there are."""
    return np.random.default_rng(len(bars)).choice([-1.0, 0.0, 1.0], len(bars))


@leak
def shuffled_by_a_seed(bars):
    """A permutation of all bars, of one seed."""
    return sign(moves(bars)[np.random.default_rng(5).permutation(len(bars))])


@leak
def trained_on_the_first_part(bars):
    """A threshold from the first three quarters of whatever there is."""
    return np.where(bars.close > bars.close[: max(1, 3 * len(bars) // 4)].mean(), 1.0, -1.0)


@leak
def closed_at_the_end(bars):
    """An honest rule that is flat on the last bar, because there it is known to be the last."""
    return np.append(sign(moves(bars))[:-1], 0.0)


@leak
def seldom(bars):
    """One bar in two hundred looks at the next; else an honest rule."""
    honest = sign(bars.close - talib.SMA(bars.close, 20))
    ahead = np.append(sign(np.diff(bars.close)), 0.0)
    return np.where(bars.timestamp // bars.timeframe.step_ns % 200 == 17, ahead, honest)


@leak
def only_in_wild_markets(bars):
    """Looks ahead where the bar before moved by more than five per cent; else flat."""
    ahead = np.append(sign(np.diff(bars.close)), 0.0)
    return np.where(np.abs(moves(bars)) > 0.05, ahead, 0.0)


@leak
def in_long_series_only(bars):
    """Honest over few bars, and by the mean of everything over many."""
    return sign(bars.close - (bars.close.mean() if len(bars) > 300 else bars.close[0]))


@leak
def remembers(bars, kept={}):  # noqa: B006 - what is kept from call to call is the leak
    """Keeps the targets of the longest series it has seen that began with a price, and gives parts of them."""
    longest = kept.get(float(bars.close[0]), np.empty(0))
    if len(bars) > len(longest):
        longest = np.append(sign(np.diff(bars.close)), 0.0)
        kept[float(bars.close[0])] = longest
    return longest[: len(bars)]


@leak
def left_to_chance(bars):
    """Another answer each time."""
    return np.random.default_rng().choice([-1.0, 1.0], len(bars))


@leak
def fails_on_few_bars(bars):
    """No answer where there are few bars."""
    return sliding_window_view(bars.close, 30).mean(axis=1)[0] * np.zeros(len(bars))


# --- innocents: they look like leaks ---------------------------------------------------------------------------------------


@innocent
def expanding_score(bars):
    """The distance from a mean over all bars so far."""
    past = closes(bars).expanding(5)
    return np.nan_to_num(np.clip((closes(bars) - past.mean()) / past.std(), -1.0, 1.0))


@innocent
def expanding_range(bars):
    """Minimum and maximum of all bars so far."""
    low, high = np.minimum.accumulate(bars.low), np.maximum.accumulate(bars.high)
    return 2.0 * (bars.close - low) / (high - low + 1e-300) - 1.0


@innocent
def rolling_quantile(bars):
    """Above the upper quintile of the moves so far."""
    return np.where(moves(bars) > pd.Series(moves(bars)).rolling(30).quantile(0.8).to_numpy(), 1.0, 0.0)


@innocent
def rolling_rank(bars):
    """The rank of a price among the last prices."""
    return np.nan_to_num(closes(bars).rolling(30).rank(pct=True).to_numpy())


@innocent
def expanding_rank(bars):
    """The rank of a price among all so far."""
    return np.nan_to_num(closes(bars).expanding(3).rank(pct=True).to_numpy())


@innocent
def shift_by_plus_one(bars):
    """The move of the bar before."""
    return sign(closes(bars).pct_change().shift(1))


@innocent
def filled_forwards(bars):
    """Values that are missing are the last that was there."""
    return sign(closes(bars).where(np.arange(len(bars)) % 7 == 0).ffill() - bars.close)


@innocent
def day_before(bars):
    """The close of the day before, as it was known."""
    close = closes(bars)
    days = close.resample("1D").last().shift(1)
    return sign(close - days.reindex(close.index.floor("D")).to_numpy())


@innocent
def day_so_far(bars):
    """Near the highest price of the running day so far."""
    frame = bars.to_pandas()
    return np.where(frame["close"] > 0.99 * frame.groupby(frame.index.floor("D"))["high"].cummax(), -1.0, 0.0)


@innocent
def joined_to_the_last(bars):
    """Values of every fourth bar, taken over by the bars after it."""
    frame = pl.DataFrame({"at": bars.timestamp, "close": bars.close})
    fourth = frame.gather_every(4).rename({"close": "then"})
    return sign(frame.join_asof(fourth, on="at", strategy="backward")["then"].to_numpy() - bars.close)


@innocent
def filter_one_way(bars):
    """The same filter as its guilty brother, forwards only."""
    return sign(bars.close - lfilter(*butter(2, 0.1), bars.close))


@innocent
def convolution_of_the_past(bars):
    """A moving average by convolution that is laid before its bar."""
    return sign(np.convolve(bars.close, np.ones(9) / 9.0)[: len(bars)] - bars.close)


@innocent
def windows_of_the_past(bars):
    """The median of the last bars, through a view of windows."""
    found = np.full(len(bars), np.nan)
    if len(bars) >= 15:
        found[14:] = np.median(sliding_window_view(bars.close, 15), axis=1)
    return sign(bars.close - found)


@innocent
def confirmed_turning_point(bars):
    """The highest of five bars around, said two bars later."""
    high = pd.Series(bars.high)
    return np.where((high == high.rolling(5, center=True).max()).shift(2, fill_value=False), -1.0, 0.0)


@innocent
def average_run_forwards(bars):
    """An exponential average."""
    return sign(bars.close - closes(bars).ewm(span=10, adjust=False).mean().to_numpy())


@innocent
def weighted_average(bars):
    """An exponential average whose weights are made to sum to one at each bar."""
    return sign(bars.close - closes(bars).ewm(halflife=6).mean().to_numpy())


@innocent
def chance_of_one_seed(bars):
    """Chance in order, the same at each beginning."""
    return np.random.default_rng(3).normal(size=len(bars)).clip(-1.0, 1.0)


@innocent
def hour_of_the_day(bars):
    """Long in the morning, short in the evening."""
    hour = bars.timestamp // 3_600_000_000_000 % 24
    return np.where(hour < 8, 1.0, np.where(hour > 16, -1.0, 0.0))


@innocent
def flat_after_a_hole(bars):
    """Out of the market after bars were missing."""
    before = np.diff(bars.timestamp, prepend=bars.timestamp[0] - bars.timeframe.step_ns)
    return np.where(before > bars.timeframe.step_ns, 0.0, 1.0)


@innocent
def fall_from_the_top(bars):
    """Flat while the price is far below its highest so far."""
    return np.where(bars.close < 0.95 * np.maximum.accumulate(bars.high), 0.0, 1.0)


@innocent
def trained_as_it_goes(bars):
    """A slope that is fitted anew at each bar, to the bars before."""
    return sign(talib.LINEARREG_SLOPE(bars.close, 14))


@innocent
def trained_on_the_first_bars(bars):
    """A threshold from the first twenty bars, which are the past of all others."""
    found = np.zeros(len(bars))
    if len(bars) > 20:
        found[20:] = np.where(bars.close[20:] > bars.close[:20].mean(), 1.0, -1.0)
    return found


@innocent
def whole_numbers(bars):
    """Targets of another kind of number, and not in one piece."""
    return np.repeat(sign(moves(bars)).astype(np.int64), 2)[::2]


@innocent
def by_hand(bars):
    """A plain loop that holds a position."""
    held, found = 0.0, []
    for move in moves(bars).tolist():
        held = 1.0 if move > 0.015 else -1.0 if move < -0.015 else held
        found.append(held)
    return np.array(found)


@innocent
def not_a_number_at_first(bars):
    """Leaves the bars of its warm-up without a number."""
    return np.where(np.isnan(average := talib.SMA(bars.close, 20)), np.nan, sign(bars.close - average))


@innocent
def never_moves(bars):
    """The same target at every bar."""
    return np.full(len(bars), 0.5)


ALL: Mapping[str, Rule] = {**LEAKS, **INNOCENTS}
