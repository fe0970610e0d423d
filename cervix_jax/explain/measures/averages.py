"""From one value for each image to a mean with its interval, and what was left out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.errors import InputError
from cervix_jax.statistics.intervals import ANY, UNIT, by_group, group_interval
from cervix_jax.statistics.resampling import RESAMPLES, Resamples

UNDEFINED = "no image in it has a defined value"


def summarise(
    values: ArrayLike,
    groups: Sequence[str] | np.ndarray,
    *,
    chance: ArrayLike | None = None,
    number: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Mean over the images, with a 95 % interval by resampling whole groups.

    Args:
      values: float [N]; NaN where the measure is undefined.
      groups: name of each image's group, such as its slide or field.
      chance: float [N], what an explanation that knows nothing would score, such as the area
        share of the mask; it is averaged over the images whose value is defined.
      number: of resamples.
      seed: of the resamples.

    Returns:
      JSON-ready: `estimate, interval, method` (and `why` where one is None), and the counts `n`,
      `groups` (both of defined values) and `undefined`. With `chance`: its mean as `chance`, and
      `above_chance` and `times_chance`, the difference and the ratio of the two means, each with
      its own interval from the same resamples.

    Raises:
      InputError: no values, other lengths, or an infinite value.
    """
    given = _checked("values", values)
    names = np.asarray(groups, str)
    if names.shape != given.shape:
        raise InputError(f"groups: {len(names)} names for {len(given)} values; give one for each.")
    defined = ~np.isnan(given)
    expected = None
    if chance is not None:
        expected = _checked("chance", chance)
        if expected.shape != given.shape:
            raise InputError(
                f"chance: {len(expected)} values for {len(given)} images; give one for each."
            )
        if np.isnan(expected[defined]).any():
            raise InputError("chance is NaN where a value is defined; give it for each of those.")
    counts = {
        "n": int(defined.sum()),
        "groups": len(np.unique(names[defined])),
        "undefined": int((~defined).sum()),
    }
    if not defined.any():
        return _estimate(np.full(1 + number, np.nan), 0, UNDEFINED) | counts
    # Undefined images are left out before groups are drawn: a group without any value cannot vary.
    resamples = Resamples(names[defined], number=number, seed=seed)
    means, drawn = resamples.means(given[defined]), resamples.num_groups
    # What has a chance level is a share.
    bounds = ANY if expected is None else UNIT
    summary = _estimate(means, drawn, UNDEFINED, bounds) | counts
    if expected is None:
        return summary
    by_chance = resamples.means(expected[defined])
    ratio = np.divide(means, by_chance, out=np.full(len(means), np.nan), where=by_chance > 0)
    return summary | {
        "chance": float(by_chance[0]),
        "above_chance": _estimate(means - by_chance, drawn, UNDEFINED),
        "times_chance": _estimate(ratio, drawn, "chance is 0", (0.0, np.inf)),
    }


def summarise_by_class(
    values: ArrayLike,
    groups: Sequence[str] | np.ndarray,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    chance: ArrayLike | None = None,
    number: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict]:
    """`summarise` for the images of each class; a class without images is left out.

    Args:
      values: float [N].
      groups: [N].
      labels: int [N], the class of each image.
      class_names: in the order of the labels.
      chance: float [N].
      number: of resamples.
      seed: of the resamples.

    Returns:
      A summary for each class that occurs, in the order of the labels.
    """
    given, names, classes = np.asarray(values), np.asarray(groups), np.asarray(labels)
    if not len(given) == len(names) == len(classes):
        raise InputError(
            f"{len(given)} values, {len(names)} groups and {len(classes)} labels; give one of "
            "each for every image."
        )
    found = {}
    for label, name in enumerate(class_names):
        rows = classes == label
        if rows.any():
            own = None if chance is None else np.asarray(chance)[rows]
            found[name] = summarise(given[rows], names[rows], chance=own, number=number, seed=seed)
    return found


def _estimate(
    statistic: np.ndarray, groups: int, undefined: str, bounds: tuple[float, float] = ANY
) -> dict:
    """`by_group`, but not rounded to decimals: an infidelity may be of any size."""
    found = by_group(statistic, groups, undefined, bounds=bounds)
    interval = group_interval(statistic, groups, bounds) if found["interval"] else None
    return found | {"interval": list(interval) if interval else None}


def _checked(name: str, values: ArrayLike) -> np.ndarray:
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not len(given):
        raise InputError(f"{name} have shape {given.shape}; give one number for each image.")
    if np.isinf(given).any():
        raise InputError(f"{name} hold an infinite value; find out why before averaging.")
    return given
