"""A market that switches between a quiet and a wild state, as far as it can be told at each bar.

Invariant: the probability of a bar uses parameters that were estimated on earlier bars, and returns up to that bar: it is the
filtered one, never the smoothed one, which looks ahead.

The model is Hamilton's (A New Approach to the Economic Analysis of Nonstationary Time Series and the Business Cycle,
Econometrica 57(2), 1989): returns are normal, with mean and variance of the state they are in; the state is a Markov chain.
statsmodels estimates; the filter is ours, because its own does not go on over bars that it was not fitted on, and so are the
likelihood and its slope that it climbs by, because its own is differentiated by trying (Hamilton, Time Series Analysis, 1994,
22.4; tests hold both against it).

Invariant: all compiled code of this file stands in it, because numba's cache does not see changes in other files.
"""

import math
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from peak_trade.model.bar import F64

#: Bars before the first estimate; the past has to grow by this factor before the next; the most bars that one reads.
FIT_FROM, GROWTH, FIT_MOST = 500, 1.25, 2_500
#: A state whose variance is a smaller share of all is one of identical prices; nothing is told by it.
_LEAST = 1e-6
#: No state is kept for certain, or left for certain.
_SURE = 1.0 - 1e-9


class Switching(NamedTuple):
    """Parameters, as estimated on the bars before one of them; the quiet state comes first.

    Attributes:
        since: index of the first bar that they are used for. bars: how many bars they were estimated on.
        means, variances: of log returns, per bar. stays: probability to be in the same state at the next bar.
        converged: whether the estimate came to rest.
    """

    since: int
    bars: int
    means: tuple[float, float]
    variances: tuple[float, float]
    stays: tuple[float, float]
    converged: bool


def refits(count: int, first: int = FIT_FROM, growth: float = GROWTH) -> list[int]:
    """Return at which of *count* bars parameters are estimated anew; what is there does not move as bars are added."""
    found, bar = [], first
    while bar < count:
        found.append(bar)
        bar = max(bar + 1, math.ceil(bar * growth))
    return found


def estimate(returns: F64, since: int) -> Switching | None:
    """Estimate the parameters on *returns*, by maximum likelihood; None where they can't be told.

    Args:
        returns: log returns, shape (bars,). since: index of the bar that comes after them.
    """
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    level, spread = float(np.mean(returns)), float(np.std(returns))
    if not spread > 0.0:
        return None
    scaled = (returns - level) / spread
    try:
        # What it warns of is that an estimate did not come to rest, which is said by `converged`.
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            model = MarkovRegression(scaled, k_regimes=2, trend="c", switching_variance=True)
            model.loglike, model.score = compiled_for(scaled)
            fitted = model.fit(disp=False, cov_type="none")
        found = dict(zip(model.param_names, map(float, fitted.params), strict=True))
    except (np.linalg.LinAlgError, ValueError, ArithmeticError):
        return None
    quiet, wild = sorted((0, 1), key=lambda state: found[f"sigma2[{state}]"])
    stay = {0: found["p[0->0]"], 1: 1.0 - found["p[1->0]"]}
    if not all(map(math.isfinite, found.values())) or found[f"sigma2[{quiet}]"] < _LEAST:
        return None
    return Switching(
        since=since,
        bars=len(returns),
        means=(level + spread * found[f"const[{quiet}]"], level + spread * found[f"const[{wild}]"]),
        variances=(spread**2 * found[f"sigma2[{quiet}]"], spread**2 * found[f"sigma2[{wild}]"]),
        stays=(_unsure(stay[quiet]), _unsure(stay[wild])),
        converged=bool(fitted.mle_retvals.get("converged", False)),
    )


#: Takes parameters in the order of statsmodels, (6,): stay quiet, leave wild, two means, two variances.
Climbed = Callable[..., Any]


def compiled_for(returns: F64) -> tuple[Climbed, Climbed]:
    """Return the log likelihood of returns and its slope, as functions of parameters; both as statsmodels defines them."""

    def told(params: F64, *, sloped: bool, transformed: bool) -> Any:
        given = np.asarray(params, dtype=np.float64)
        real, inner = given, np.ones(6)
        if not transformed:
            # statsmodels climbs over the log odds of the probabilities and the roots of the variances.
            odds = 1.0 / (1.0 + np.exp(-given[:2]))
            real = np.concatenate([odds, given[2:4], given[4:] ** 2])
            inner = np.concatenate([odds * (1.0 - odds), [1.0, 1.0], 2.0 * given[4:]])
        slope = np.zeros(6)
        height = _compiled()(returns, real, slope)
        return slope * inner if sloped else height

    def loglike(params: F64, transformed: bool = True) -> float:  # noqa: FBT001, FBT002 - statsmodels calls it so
        return float(told(params, sloped=False, transformed=transformed))

    def score(params: F64, transformed: bool = True) -> F64:  # noqa: FBT001, FBT002
        return np.asarray(told(params, sloped=True, transformed=transformed))

    return loglike, score


@cache
def _compiled() -> Callable[[F64, F64, F64], float]:
    """Return the likelihood compiled by numba; the machine code is cached on disk and made anew when this file changes."""
    from numba import njit

    compiled: Callable[[F64, F64, F64], float] = njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(_likelihood)
    return compiled


def _likelihood(returns: F64, params: F64, slope: F64) -> float:
    """Return the log likelihood, and add its slope by each parameter to *slope*, (6,)."""
    stay, back, quiet, wild = params[0], params[1], params[4], params[5]
    away = 1.0 - stay + back
    chance = back / away
    # By each parameter: of the probability of the first state, and of the two densities' logarithms.
    by = np.zeros(6)
    by[0], by[1] = back / away**2, (1.0 - stay) / away**2
    first, second = np.zeros(6), np.zeros(6)
    ahead = np.zeros(6)
    height = 0.0
    for value in returns:
        far, near = value - params[2], value - params[3]
        log_first = -0.5 * math.log(2.0 * math.pi * quiet) - 0.5 * far * far / quiet
        log_second = -0.5 * math.log(2.0 * math.pi * wild) - 0.5 * near * near / wild
        most = max(log_first, log_second)
        one, two = math.exp(log_first - most), math.exp(log_second - most)
        first[2], first[4] = far / quiet, 0.5 * (far * far / quiet - 1.0) / quiet
        second[3], second[5] = near / wild, 0.5 * (near * near / wild - 1.0) / wild
        expected = chance * stay + (1.0 - chance) * back
        whole = expected * one + (1.0 - expected) * two
        height += most + math.log(whole)
        after = expected * one / whole
        for k in range(6):
            ahead[k] = by[k] * (stay - back)
        ahead[0] += chance
        ahead[1] += 1.0 - chance
        for k in range(6):
            inner = ahead[k] * (one - two) + expected * one * first[k] + (1.0 - expected) * two * second[k]
            slope[k] += inner / whole
            by[k] = (ahead[k] * one + expected * one * first[k] - after * inner) / whole
        chance = after
    return height


def _unsure(chance: float) -> float:
    return min(max(chance, 1.0 - _SURE), _SURE)


def filter_wild(returns: F64, rule: Switching, first: float) -> F64:
    """Return the filtered probability of the wild state at each return, shape (bars,).

    Args:
        first: the probability before the first return.
    """
    (quiet_mean, wild_mean), (quiet_variance, wild_variance) = rule.means, rule.variances
    leave, stay = 1.0 - rule.stays[0], rule.stays[1]
    constant = 0.5 * math.log(quiet_variance / wild_variance)
    found = np.empty(len(returns))
    wild = first
    for bar, value in enumerate(returns.tolist()):
        expected = (1.0 - wild) * leave + wild * stay
        odds = constant + 0.5 * ((value - quiet_mean) ** 2 / quiet_variance - (value - wild_mean) ** 2 / wild_variance)
        ratio = math.exp(-min(max(odds, -700.0), 700.0))
        wild = expected / (expected + (1.0 - expected) * ratio)
        found[bar] = wild
    return found


def in_the_long_run(rule: Switching) -> float:
    """Return the share of bars that are wild in the long run."""
    leave, back = 1.0 - rule.stays[0], 1.0 - rule.stays[1]
    return leave / (leave + back)


def wild_probability(returns: F64) -> tuple[F64, list[Switching], int]:
    """Return the filtered probability of the wild state, the estimates used, and how often none could be made.

    The probability is not a number before the first estimate. Where none can be made the one before it stays.

    Args:
        returns: log returns, shape (bars,); the first one, which has no bar before it, is left out.
    """
    found = np.full(len(returns), np.nan)
    fits: list[Switching] = []
    failed = 0
    for begin, end in pairwise([*refits(len(returns)), len(returns)]):
        past = returns[max(1, begin - FIT_MOST) : begin]
        fit = estimate(past, begin)
        if fit is None:
            failed += 1
        else:
            fits.append(fit)
        if fits:
            before = filter_wild(past, fits[-1], in_the_long_run(fits[-1]))[-1]
            found[begin:end] = filter_wild(returns[begin:end], fits[-1], float(before))
    return found, fits, failed
