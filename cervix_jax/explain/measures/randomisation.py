"""Sanity checks: does the map depend on what the network learnt, and on the class it explains?

Adebayo et al. (2018), "Sanity Checks for Saliency Maps"; Sixt, Granz and Landgraf (2020), "When
Explanations Lie" (random logit). A map that stays similar does not explain the network, and one
that is the same for all images does not explain the image.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from tqdm import tqdm

from cervix_jax.errors import InputError
from cervix_jax.explain.measures.maps import (
    Reduction,
    checked_ids,
    checked_maps,
    is_constant,
    reduce_channels,
)
from cervix_jax.explain.measures.robustness import ExplainFn
from cervix_jax.explain.measures.scoring import checked_images
from cervix_jax.models.stages import HEAD, STEM, stage_of

# From the output downwards, by the number that `stage_of` gives.
STAGES = {"head": HEAD, "stage4": 4, "stage3": 3, "stage2": 2, "stage1": 1, "stem": STEM}
WINDOW = 7  # side of the windows of SSIM in pixels, scikit-image's default

Variables = dict[str, Any]  # {"params": nested dict, "stats": nested dict}
# (variables, images [N, H, W, 3], targets [N]) -> maps
ExplainVariablesFn = Callable[[Variables, np.ndarray, np.ndarray], ArrayLike]


@dataclasses.dataclass(frozen=True)
class Similarity:
    """How alike two maps of each image are: 1 is equal. NaN where a map is constant.

    Attributes:
      spearman_signed: rank correlation over the pixels, float64 [N] (or [stages, N]).
      spearman_absolute: the same of absolute values.
      ssim_signed: structural similarity of the maps as a colour map with 0 in its middle shows
        them: a / max |a| from -1 to 1 becomes 0 to 1, since SSIM takes intensities for positive (of
        signed values with means of opposite sign it would call the negative of a map alike).
      ssim_absolute: the same of |a| / max |a|. Where both maps are almost 0, SSIM is almost 1, so
        that sparse maps look alike: read it beside the rank correlation.
    """

    spearman_signed: np.ndarray
    spearman_absolute: np.ndarray
    ssim_signed: np.ndarray
    ssim_absolute: np.ndarray


def similarity(maps: ArrayLike, others: ArrayLike, *, reduction: Reduction = "sum") -> Similarity:
    """Compare maps with others of the same images.

    Args:
      maps: float [N, H, W, C] or [N, H, W], H and W at least 7.
      others: of the same shape.
      reduction: see `reduce_channels`; absolute values are taken after it.

    Raises:
      InputError: maps that cannot be used, or of different shapes.
    """
    first = reduce_channels(maps, reduction)
    second = reduce_channels(checked_maps(others, first.shape), reduction)
    if min(first.shape[1:]) < WINDOW:
        raise InputError(
            f"maps are {first.shape[1]} x {first.shape[2]} pixels; SSIM needs at least "
            f"{WINDOW} x {WINDOW}: resize them to the images."
        )
    signed, absolute = (first, second), (np.abs(first), np.abs(second))
    return Similarity(
        spearman_signed=_for_each(_spearman, *signed),
        spearman_absolute=_for_each(_spearman, *absolute),
        ssim_signed=_for_each(lambda a, b: _ssim((a + 1) / 2, (b + 1) / 2), *map(_scaled, signed)),
        ssim_absolute=_for_each(_ssim, *map(_scaled, absolute)),
    )


def parameter_randomisation(
    explain_fn: ExplainVariablesFn,
    variables: Variables,
    fresh: Variables,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    cascading: bool = True,
    reduction: Reduction = "sum",
    progress: str = "",
) -> tuple[tuple[str, ...], Similarity]:
    """Similarity to the first maps while the network is replaced by a fresh one.

    Args:
      explain_fn: variables, float32 [N, H, W, 3] and int [N] to maps; it bounds its own memory.
        Jit it over the variables, and no stage compiles anew.
      variables: of the trained network, `{"params": ..., "stats": ...}`.
      fresh: of the same network as its own initialiser draws it from a seed: those of
        `models.create(name, ..., rngs=nnx.Rngs(seed))`.
      images: float32 [N, H, W, 3].
      targets: int [N]; they stay what they are.
      cascading: replace from the head down, each stage in addition to those above; else one stage
        at a time.
      reduction: see `reduce_channels`.
      progress: name of a progress bar; "" shows none.

    Returns:
      The stages from the head to the stem, and the similarity after each, float64 [stages, N].

    Raises:
      InputError: the variables are not of one network known here, names and shapes, or a map
        cannot be used.
    """
    pixels, classes = checked_images(images, targets)
    _check_alike(variables, fresh)
    first = explain_fn(variables, pixels, classes)
    found = []
    for stage in tqdm(
        STAGES.values(), desc=progress, unit="stage", leave=False, disable=not progress
    ):
        replaced = range(stage, HEAD + 1) if cascading else (stage,)
        mixed = replace_stages(variables, fresh, replaced)
        maps = explain_fn(mixed, pixels, classes)
        found.append(similarity(first, maps, reduction=reduction))
    stacked = (np.stack([getattr(each, field.name) for each in found])
               for field in dataclasses.fields(Similarity))  # fmt: skip
    return tuple(STAGES), Similarity(*stacked)


def replace_stages(variables: Variables, fresh: Variables, stages: Sequence[int]) -> Variables:
    """The variables, with those of some stages taken from `fresh`.

    Args:
      variables: `{"params": nested dict, "stats": nested dict}`.
      fresh: of the same structure.
      stages: numbers of `cervix_jax.models.stages`, 0 for the stem to 5 for the head.

    Raises:
      InputError: a variable belongs to no network known here.
    """

    def choose(path, ours, theirs):
        names = [part.key for part in path[1:]]  # without "params" or "stats"
        try:
            return theirs if stage_of(names) in stages else ours
        except KeyError as error:
            raise InputError(
                f"variables: {error.args[0]}; its stage must be known to randomise it."
            ) from error

    return jax.tree.map_with_path(choose, variables, fresh)


def random_logit(
    explain_fn: ExplainFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    num_classes: int,
    reduction: Reduction = "sum",
    seed: int = 0,
    ids: Sequence[int] | None = None,
) -> Similarity:
    """Similarity of the map of the target to that of another class, drawn at random.

    Args:
      explain_fn: float32 [N, H, W, 3] and int [N] to maps; it bounds its own memory.
      images: float32 [N, H, W, 3].
      targets: int [N], in [0, num_classes).
      num_classes: at least 2.
      reduction: see `reduce_channels`.
      seed: of the other classes.
      ids: see `maps.checked_ids`.

    Raises:
      InputError: an argument or a map that cannot be used.
    """
    pixels, classes = checked_images(images, targets)
    if num_classes < 2 or classes.min() < 0 or classes.max() >= num_classes:
        raise InputError(
            f"num_classes={num_classes}: give at least 2, and targets from 0 to num_classes - 1."
        )
    streams = checked_ids(ids, len(pixels))
    shifts = [np.random.default_rng([seed, i, 2]).integers(1, num_classes) for i in streams]
    others = (classes + shifts) % num_classes
    return similarity(explain_fn(pixels, classes), explain_fn(pixels, others), reduction=reduction)


def average_map_similarity(maps: ArrayLike, *, reduction: Reduction = "sum") -> Similarity:
    """Similarity of each map to the mean map of the other images.

    A map that is the same for every image, such as one that only peaks in the middle, does not
    explain any of them; where all images show a cell in the middle it still looks right. Maps are
    averaged after division by their largest absolute value.

    Args:
      maps: float [N, H, W, C] or [N, H, W], N at least 2.
      reduction: see `reduce_channels`.

    Raises:
      InputError: fewer than two maps, or maps that cannot be used.
    """
    scaled = _scaled(reduce_channels(maps, reduction))
    if len(scaled) < 2:
        raise InputError(f"{len(scaled)} maps have no others to compare with; give 2 or more.")
    others = (scaled.sum(axis=0) - scaled) / (len(scaled) - 1)
    return similarity(scaled, others)


def _check_alike(variables: Variables, fresh: Variables) -> None:
    ours, theirs = _shapes(variables), _shapes(fresh)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"fresh: {name} is {theirs.get(name, 'missing')}, but {ours.get(name, 'missing')} "
                "in the network; create the same network with the same options."
            )


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(variables)
    return {"/".join(str(part.key) for part in path): np.shape(leaf) for path, leaf in leaves}


def _for_each(compare, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    undefined = is_constant(first) | is_constant(second)
    pairs = zip(first, second, undefined, strict=True)
    return np.array([np.nan if skip else compare(a, b) for a, b, skip in pairs])


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def _scaled(maps: np.ndarray) -> np.ndarray:
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _ssim(first: np.ndarray, second: np.ndarray) -> float:
    return float(structural_similarity(first, second, win_size=WINDOW, data_range=1.0))
