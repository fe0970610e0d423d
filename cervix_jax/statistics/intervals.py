"""Confidence intervals, and JSON entries of estimates with their intervals.

An entry always has the same keys; see `proportion` and `resampled`.
"""

import math
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import binomtest, t

CONFIDENCE = 0.95
WILSON = "wilson"
BY_GROUP = "bootstrap over groups"
UNIT = (0.0, 1.0)  # bounds of a proportion
ANY = (-math.inf, math.inf)
_FAR = 700.0  # largest exponent of a float64
# Required share of resamples that define the statistic. With fewer, the others do not show how the
# statistic varies: a class in only two groups is absent from (1 - 2/G)^G, 14 %, of the resamples.
MIN_DEFINED = 0.9


def wilson_interval(
    successes: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson, 1927); assumes independent trials.

    Returns:
      Lower and upper bound in [0, 1]; (0, 1) without trials.
    """
    if total == 0:
        return 0.0, 1.0
    interval = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def group_interval(
    statistic: np.ndarray, groups: int, bounds: tuple[float, float] = UNIT
) -> tuple[float, float] | None:
    """Student's t interval from the spread of a statistic over resampled groups.

    The half-width is the standard deviation of the resamples, times sqrt(G / (G - 1)) since
    resamples of G groups vary too little, times the quantile of t with G - 1 degrees of freedom. A
    statistic between two bounds is treated on the logit scale, one with a lower bound on the
    logarithmic scale, so that the interval is asymmetric where the statistic is and stays inside
    the bounds (Efron and Tibshirani 1993, 12.5 and 12.6). With 8 to 30 groups its coverage is
    right where that of percentiles is not: docs/evaluation.md.

    Args:
      statistic: float [1 + R], of the data themselves and of every resample; NaN if undefined.
      groups: number of resampled groups.
      bounds: lowest and highest possible value of the statistic; may be infinite.

    Returns:
      Lower and upper end; None if fewer than 90 % of the resamples define the statistic, or all
      resamples are equal (one group, or only right answers), which does not mean certainty.
    """
    estimate, defined = float(statistic[0]), _defined(statistic[1:], groups)
    if defined is None or math.isnan(estimate):
        return None
    deviation = float(np.std(defined, ddof=1)) * math.sqrt(groups / (groups - 1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * deviation
    low, high = bounds
    if math.isinf(low):
        return estimate - reach, estimate + reach
    if math.isinf(high):
        above = estimate - low
        if above <= 0:
            return low, low + reach
        factor = math.exp(min(reach / above, _FAR))
        return low + above / factor, low + above * factor
    share = (estimate - low) / (high - low)
    if not 0 < share < 1:  # the value in the data is at a bound, those of resamples are not
        return max(estimate - reach, low), min(estimate + reach, high)
    spread = reach / (high - low) / (share * (1 - share))
    ends = expit(logit(share) + np.array([-spread, spread]))
    return low + (high - low) * float(ends[0]), low + (high - low) * float(ends[1])


def basic_interval(statistic: np.ndarray, groups: int) -> tuple[float, float] | None:
    """Basic bootstrap interval (Davison and Hinkley 1997, eq. 5.6) of a non-negative statistic.

    It reflects the percentiles at the estimate. A bias that resampling repeats, such as that of a
    calibration error, is thus subtracted, not doubled. If the bias is larger than the spread, the
    reflection would exclude the estimate; the interval is then extended to it.

    Args:
      statistic: see `group_interval`, as for the result.
      groups: number of resampled groups.
    """
    estimate, defined = float(statistic[0]), _defined(statistic[1:], groups)
    if defined is None:
        return None
    lower, upper = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return max(min(2 * estimate - upper, estimate), 0.0), max(2 * estimate - lower, estimate)


def _defined(samples: np.ndarray, groups: int) -> np.ndarray | None:
    """Resamples that define a statistic, if they are sufficient in number and not all equal."""
    defined = samples[~np.isnan(samples)]
    enough = groups > 1 and len(defined) >= max(MIN_DEFINED * len(samples), 2)
    return defined if enough and np.ptp(defined) >= 1e-12 else None


def by_group(
    statistic: np.ndarray,
    groups: int,
    undefined: str = "",
    *,
    bounds: tuple[float, float] = UNIT,
    basic: bool = False,
) -> dict[str, Any]:
    """An estimate with its bootstrap interval, JSON-ready.

    Args:
      statistic: float [1 + R], of the data themselves and of every resample (see `Resamples`).
      groups: number of resampled groups.
      undefined: reason if the statistic is undefined.
      bounds: lowest and highest possible value of the statistic.
      basic: whether to use `basic_interval` rather than `group_interval`.

    Returns:
      `estimate, interval, method`, and `why` if the estimate or the interval is None.
    """
    estimate, samples = float(statistic[0]), statistic[1:]
    method = f"basic {BY_GROUP}" if basic else BY_GROUP
    if np.isnan(estimate):
        return {"estimate": None, "interval": None, "method": method, "why": undefined}
    if basic:
        interval = basic_interval(statistic, groups)
    else:
        interval = group_interval(statistic, groups, bounds)
    described = {"estimate": estimate, "interval": listed(interval), "method": method}
    return described | ({} if interval else {"why": _without_interval(samples, undefined)})


def resampled(
    statistic: np.ndarray,
    n: int,
    groups: int,
    undefined: str = "",
    *,
    bounds: tuple[float, float] = UNIT,
    basic: bool = False,
) -> dict[str, Any]:
    """The entry of a metric whose only interval is the bootstrap over groups.

    Args:
      statistic: float [1 + R], of the data themselves and of every resample.
      n: number of examples that it is computed from.
      groups: number of resampled groups.
      undefined: reason if the statistic is undefined.
      bounds: lowest and highest possible value of the statistic.
      basic: whether to use `basic_interval` rather than `group_interval`.

    Returns:
      `estimate, interval, interval_by_group` (equal), `method, n`, and `why` if a value is None.
    """
    found = by_group(statistic, groups, undefined, bounds=bounds, basic=basic)
    return {
        "estimate": found["estimate"],
        "interval": found["interval"],
        "interval_by_group": found["interval"],
        "method": found["method"],
        "n": n,
    } | ({"why": found["why"]} if "why" in found else {})


def proportion(
    successes: float, total: float, statistic: np.ndarray, groups: int, nothing: str
) -> dict[str, Any]:
    """The entry of a proportion: a Wilson interval, which assumes independence, and one by group.

    Args:
      successes: number of successes.
      total: number of trials.
      statistic: float [1 + R], the proportion in the data and in every resample.
      groups: number of resampled groups.
      nothing: reason if the total is 0.

    Returns:
      `estimate, interval` (Wilson), `interval_by_group, method, n` (the total) and `successes`;
      `why` if a value is None.
    """
    hits, count = int(successes), int(total)
    grouped = group_interval(statistic, groups) if count else None
    entry = {
        "estimate": hits / count if count else None,
        "interval": list(wilson_interval(hits, count)) if count else None,
        "interval_by_group": listed(grouped),
        "method": WILSON,
        "n": count,
        "successes": hits,
    }
    if grouped is None:
        entry["why"] = _without_interval(statistic[1:], nothing) if count else nothing
    return entry


def listed(interval: tuple[float, float] | None) -> list[float] | None:
    """An interval as a list for JSON, rounded; resampling does not determine the 7th decimal."""
    return None if interval is None else [round(end, 6) for end in interval]


def _without_interval(samples: np.ndarray, undefined: str) -> str:
    missing = float(np.isnan(samples).mean())
    if missing > 1 - MIN_DEFINED:
        return f"undefined in {missing:.0%} of the resamples, too many: {undefined}"
    return "all resamples are equal, so they show no spread"
