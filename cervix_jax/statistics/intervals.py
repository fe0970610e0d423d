"""Intervals, and how an estimate is written down: with its intervals, or with why it has none.

An entry is JSON-ready and has always the same keys; see `proportion` and `resampled`.
"""

from typing import Any

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95
WILSON = "wilson"
BY_GROUP = "bootstrap over groups"
# With fewer, the rest says little of how the statistic varies: a class in only two groups is
# absent from (1 - 2/G)^G, 14 %, of the resamples.
MIN_DEFINED = 0.9


def wilson_interval(
    successes: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson, 1927); takes the trials for independent.

    Returns:
      Lower and upper bound in [0, 1]; (0, 1) where there is nothing to count.
    """
    if total == 0:
        return 0.0, 1.0
    interval = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def percentile_interval(
    samples: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Percentile bootstrap interval (Efron and Tibshirani 1993, 13.3).

    Args:
      samples: float [R], the statistic of every resample; NaN where it is undefined.
      confidence: in (0, 1).

    Returns:
      Lower and upper bound; None where fewer than 90 % of the resamples define the statistic, or
      all of them agree (one group, or nothing but right answers): no variation is no certainty.
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) < max(MIN_DEFINED * len(samples), 2) or np.ptp(defined) < 1e-12:
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def basic_interval(
    samples: np.ndarray, estimate: float, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Basic bootstrap interval (Davison and Hinkley 1997, eq. 5.6) of what is never negative.

    It reflects the percentiles about the estimate, so that a bias which resampling repeats, such as
    that of a calibration error, is taken off rather than doubled.

    Args:
      samples: as for `percentile_interval`, as is what is returned.
      estimate: of the data.
      confidence: in (0, 1).
    """
    interval = percentile_interval(samples, confidence)
    if interval is None:
        return None
    low, high = 2 * estimate - interval[1], 2 * estimate - interval[0]
    return max(low, 0.0), max(high, 0.0)


def by_group(statistic: np.ndarray, undefined: str = "", *, basic: bool = False) -> dict[str, Any]:
    """An estimate with its bootstrap interval, JSON-ready.

    Args:
      statistic: float [1 + R], of the data themselves and of every resample (see `Resamples`).
      undefined: why the statistic may be undefined.
      basic: whether to take the basic interval rather than the percentile one.

    Returns:
      `estimate, interval, method`, and `why` where the estimate or the interval is None.
    """
    estimate, samples = float(statistic[0]), statistic[1:]
    method = f"basic {BY_GROUP}" if basic else BY_GROUP
    if np.isnan(estimate):
        return {"estimate": None, "interval": None, "method": method, "why": undefined}
    interval = basic_interval(samples, estimate) if basic else percentile_interval(samples)
    described = {"estimate": estimate, "interval": listed(interval), "method": method}
    return described | ({} if interval else {"why": _without_interval(samples, undefined)})


def resampled(
    statistic: np.ndarray, n: int, undefined: str = "", *, basic: bool = False
) -> dict[str, Any]:
    """The entry of a metric whose only interval is that of resampled groups.

    Args:
      statistic: float [1 + R], of the data themselves and of every resample.
      n: how many examples it is computed from.
      undefined: why the statistic may be undefined.
      basic: whether to take the basic interval rather than the percentile one.

    Returns:
      `estimate, interval, interval_by_group` (the same), `method, n`, and `why` where one is None.
    """
    found = by_group(statistic, undefined, basic=basic)
    return {
        "estimate": found["estimate"],
        "interval": found["interval"],
        "interval_by_group": found["interval"],
        "method": found["method"],
        "n": n,
    } | ({"why": found["why"]} if "why" in found else {})


def proportion(
    successes: float, total: float, statistic: np.ndarray, nothing: str
) -> dict[str, Any]:
    """The entry of a proportion: Wilson's interval and, since that assumes independence, by group.

    Args:
      successes: count.
      total: count.
      statistic: float [1 + R], the proportion in the data and in every resample.
      nothing: why the total may be 0.

    Returns:
      `estimate, interval` (Wilson), `interval_by_group, method, n` (the total) and `successes`;
      `why` where one is None.
    """
    hits, count = int(successes), int(total)
    grouped = percentile_interval(statistic[1:]) if count else None
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
    """For JSON, which knows no tuples; resampling does not settle the seventh decimal."""
    return None if interval is None else [round(end, 6) for end in interval]


def _without_interval(samples: np.ndarray, undefined: str) -> str:
    missing = float(np.isnan(samples).mean())
    if missing > 1 - MIN_DEFINED:
        return f"undefined in {missing:.0%} of the resamples, too many: {undefined}"
    return "all resamples agree, so they show no spread"
