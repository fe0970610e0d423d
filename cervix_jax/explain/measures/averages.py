"""Mean of one value for each image, with its confidence interval and the count of undefined."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.errors import InputError
from cervix_jax.statistics.intervals import ANY, UNIT, by_group, group_interval
from cervix_jax.statistics.resampling import RESAMPLES, Resamples

UNDEFINED = "no image has a defined value"


def summarise(
    values: ArrayLike,
    groups: Sequence[str] | np.ndarray,
    *,
    chance: ArrayLike | None = None,
    number: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Mean over the images, with a 95 % bootstrap interval over groups.

    Args:
      values: float [N]; NaN where the measure is undefined.
      groups: name of each image's group, such as its slide or field.
      chance: float [N], the chance level: the value of a map unrelated to the image, such as the
        mask's share of the area. It is averaged over the images with a defined value.
      number: number of resamples.
      seed: random seed of the resamples.

    Returns:
      JSON-ready: `estimate`, `interval` and `method` (and `why` if one of them is None), and the
      counts `n`, `groups` (both of defined values) and `undefined`. With `chance`: its mean as
      `chance`, and the difference `above_chance` and the ratio `times_chance` of the two means,
      each with an interval from the same resamples.

    Raises:
      InputError: there are no values, lengths differ, or a value is infinite.
    """
    given = _checked("values", values)
    names = np.asarray(groups, str)
    if names.shape != given.shape:
        raise InputError(
            f"groups: {len(names)} names for {len(given)} values; give one name for each value."
        )
    defined = ~np.isnan(given)
    expected = None
    if chance is not None:
        expected = _checked("chance", chance)
        if expected.shape != given.shape:
            raise InputError(
                f"chance: {len(expected)} values for {len(given)} images; give one for each."
            )
        if np.isnan(expected[defined]).any():
            raise InputError(
                "chance is NaN for an image with a defined value; give a number for each of those."
            )
    counts = {
        "n": int(defined.sum()),
        "groups": len(np.unique(names[defined])),
        "undefined": int((~defined).sum()),
    }
    if not defined.any():
        return _estimate(np.full(1 + number, np.nan), 0, UNDEFINED) | counts
    # Undefined images are dropped before groups are drawn, so groups without a value do not count.
    resamples = Resamples(names[defined], number=number, seed=seed)
    means, drawn = resamples.means(given[defined]), resamples.num_groups
    # Measures with a chance level are shares.
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
    """`summarise` for the images of each class; classes without images are omitted.

    Args:
      values: float [N].
      groups: [N].
      labels: int [N], the class of each image.
      class_names: class names in the order of the labels.
      chance: float [N].
      number: number of resamples.
      seed: random seed of the resamples.

    Returns:
      A summary for each class with images, in the order of the labels.
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
    """`by_group` without rounding to decimals, because measures can have any magnitude."""
    found = by_group(statistic, groups, undefined, bounds=bounds)
    interval = group_interval(statistic, groups, bounds) if found["interval"] else None
    return found | {"interval": list(interval) if interval else None}


def _checked(name: str, values: ArrayLike) -> np.ndarray:
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not len(given):
        raise InputError(f"{name} have shape {given.shape}; give one number for each image.")
    if np.isinf(given).any():
        raise InputError(f"{name} contain an infinite value; correct it before averaging.")
    return given
