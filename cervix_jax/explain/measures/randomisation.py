"""Sanity checks: does the map depend on the trained weights, the explained class and the image?

Adebayo et al. (2018), "Sanity Checks for Saliency Maps"; Sixt, Granz and Landgraf (2020), "When
Explanations Lie" (random logit). A map that stays similar with random weights does not explain the
network, and a map that is the same for all images does not explain the image.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from cervix_jax.errors import InputError
from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.contract import Reduction
from cervix_jax.explain.function import LogitsFn, Output, as_pytree, count_classes
from cervix_jax.explain.measures.maps import (
    Ids,
    check_call,
    checked_ids,
    checked_maps,
    is_constant,
    of_maps,
    reduce_channels,
)
from cervix_jax.explain.measures.robustness import MakeMaps, settings_of
from cervix_jax.models.stages import HEAD, STEM, stage_of
from cervix_jax.progress import Bar

# From the output downwards, by the number that `stage_of` gives.
STAGES = {"head": HEAD, "stage4": 4, "stage3": 3, "stage2": 2, "stage1": 1, "stem": STEM}
WINDOW = 7  # side of the SSIM window in pixels, the default of scikit-image

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Similarity:
    """Similarity of two maps of each image; 1 means equal. NaN if a map is constant.

    Attributes:
      spearman_signed: rank correlation over the pixels, float64 [N] (or [stages, N]).
      spearman_absolute: the same for absolute values.
      ssim_signed: structural similarity (SSIM) of the maps after scaling a / max |a| from [-1, 1]
        to [0, 1]. SSIM assumes positive intensities; without the scaling it would rate a map and
        its negative as similar.
      ssim_absolute: SSIM of |a| / max |a|. SSIM is almost 1 where both maps are almost 0, so sparse
        maps have a high value; compare it with the rank correlation.
    """

    spearman_signed: np.ndarray
    spearman_absolute: np.ndarray
    ssim_signed: np.ndarray
    ssim_absolute: np.ndarray


def similarity(maps: ArrayLike, others: ArrayLike, *, reduction: Reduction = "sum") -> Similarity:
    """Compare maps with others of the same images.

    Args:
      maps: float [N, H, W, C] or [N, H, W], H and W at least 7.
      others: maps of the same shape.
      reduction: see `reduce_channels`; absolute values are taken after it.

    Raises:
      InputError: maps are invalid or have different shapes.
    """
    first = reduce_channels(maps, reduction)
    second = reduce_channels(checked_maps(others, first.shape), reduction)
    if min(first.shape[1:]) < WINDOW:
        raise InputError(
            f"maps are {first.shape[1]} x {first.shape[2]} pixels; SSIM needs at least "
            f"{WINDOW} x {WINDOW}: resize the maps to the images."
        )
    signed, absolute = (first, second), (np.abs(first), np.abs(second))
    return Similarity(
        spearman_signed=_for_each(_spearman, *signed),
        spearman_absolute=_for_each(_spearman, *absolute),
        ssim_signed=_for_each(lambda a, b: _ssim((a + 1) / 2, (b + 1) / 2), *map(_scaled, signed)),
        ssim_absolute=_for_each(_ssim, *map(_scaled, absolute)),
    )


def parameter_randomisation(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    method: MakeMaps,
    fresh: LogitsFn,
    cascading: bool = True,
    reduction: Reduction = "sum",
    baselines: Baselines = None,
    output: Output | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> tuple[tuple[str, ...], Similarity]:
    """Similarity of the given maps to maps of the network with random weights, stage by stage.

        untrained = models.create("rcan", num_classes=5, rngs=nnx.Rngs(1))
        measures.parameter_randomisation(
            model, images, targets, maps, method=explain.saliency, fresh=untrained
        )

    Args:
      fn: the trained network with its variables: a module, or a `Partial` such as `run.logits_fn`.
        A plain function hides them.
      images: float [N, H, W, 3].
      targets: int [N], or one for all; they do not change.
      maps: maps of `fn` by `method` with the same settings; they are not computed again.
      method: function that makes the maps of the changed networks, see `robustness.MakeMaps`.
      fresh: the same network with random, untrained weights, of the same kind as `fn`:
        `models.create(name, ..., rngs=nnx.Rngs(seed))`, or
        `run.with_variables(variables).logits_fn`.
      cascading: whether stages are replaced cumulatively from the head down; else one stage at a
        time.
      reduction: see `reduce_channels`.
      baselines: passed to `method`.
      output: passed to `method`.
      batch_size: passed to `method`.
      seed: passed to `method`.
      progress: label of the progress bar.

    Returns:
      The stages from the head to the stem, and the similarity after each, float64 [stages, N].

    Raises:
      InputError: names or shapes of the variables belong to no supported network, `fn` and `fresh`
        differ, or a map is invalid.
    """
    _, examples, first = check_call(fn, images, targets, maps, output or "logit")
    ours, theirs = as_pytree(fn), as_pytree(fresh)
    _check_alike(ours, theirs)
    options = settings_of(baselines, output, batch_size, seed, examples["images"])
    found = []
    for stage in Bar(
        STAGES.values(), desc=progress, unit="stage", leave=False, disable=not progress
    ):
        replaced = range(stage, HEAD + 1) if cascading else (stage,)
        mixed = replace_stages(ours, theirs, replaced)
        others = method(mixed, np.asarray(images), examples["targets"], **options)
        found.append(similarity(first, others, reduction=reduction))
    stacked = (np.stack([getattr(each, field.name) for each in found])
               for field in dataclasses.fields(Similarity))  # fmt: skip
    return tuple(STAGES), Similarity(*stacked)


def replace_stages(network: Tree, fresh: Tree, stages: Collection[int]) -> Tree:
    """The network with the variables of some stages replaced by those of `fresh`.

    Args:
      network: a tree of variables by name, such as `function.as_pytree` of a module. Values that
        are not floating point, such as the state of a random generator, are kept.
      fresh: a tree of the same structure.
      stages: numbers of `cervix_jax.models.stages`, 0 for the stem to 5 for the head.

    Raises:
      InputError: a variable belongs to no supported network.
    """

    def choose(path: tuple, ours: Any, theirs: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(ours), jnp.floating):
            return ours
        return theirs if stage_of(_names(path)[1]) in stages else ours

    return jax.tree.map_with_path(choose, network, fresh)


def random_logit(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    method: MakeMaps,
    reduction: Reduction = "sum",
    ids: Ids = None,
    baselines: Baselines = None,
    output: Output | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> Similarity:
    """Similarity of the target's map to the map of another class, drawn at random.

        measures.random_logit(fn, images, targets, maps, method=explain.saliency)

    Args:
      fn: as for `explain.saliency`, or as `method` requires; with at least 2 classes.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      maps: maps of the targets by `method` with the same settings; they are not computed again.
      method: function that makes the maps of the other classes, see `robustness.MakeMaps`.
      reduction: see `reduce_channels`.
      ids: see `maps.checked_ids`.
      baselines: passed to `method`.
      output: passed to `method`.
      batch_size: passed to `method`.
      seed: random seed of the other classes; also passed to `method`.
      progress: passed to `method`.

    Raises:
      InputError: an argument or a map is invalid, or the network has a single class.
    """
    function, examples, first = check_call(fn, images, targets, maps, output or "logit")
    classes = count_classes(function, examples["images"].shape[1:])
    if classes < 2:
        raise InputError("random_logit needs a network with at least 2 classes; this one has 1.")
    streams = checked_ids(ids, len(first))
    shifts = [np.random.default_rng([seed, i, 2]).integers(1, classes) for i in streams]
    others = (examples["targets"] + np.asarray(shifts, np.int32)) % classes
    options = settings_of(baselines, output, batch_size, seed, examples["images"])
    found = method(fn, np.asarray(images), others, progress=progress, **options)
    return similarity(first, found, reduction=reduction)


@of_maps
def average_map_similarity(maps: ArrayLike, *, reduction: Reduction = "sum") -> Similarity:
    """Similarity of each map to the mean map of the other images.

    A map that is the same for every image, such as a peak in the centre, explains none of them; it
    looks right if all images show a cell in the centre. Maps are averaged after division by their
    largest absolute value.

    Args:
      maps: float [N, H, W, C] or [N, H, W], N at least 2.
      reduction: see `reduce_channels`.

    Raises:
      InputError: there are fewer than two maps, or maps are invalid.
    """
    scaled = _scaled(reduce_channels(maps, reduction))
    if len(scaled) < 2:
        raise InputError(f"average_map_similarity needs 2 or more maps; given: {len(scaled)}.")
    others = (scaled.sum(axis=0) - scaled) / (len(scaled) - 1)
    return similarity(scaled, others)


def _names(path: tuple) -> tuple[str, list[str | int]]:
    """The name of a variable for readers, and its parts within the network."""
    parts = [part.key for part in path if isinstance(part, jax.tree_util.DictKey)]
    collection = parts and parts[0] in ("params", "stats", "batch_stats")
    return "/".join(map(str, parts)), parts[1:] if collection else parts


def _check_alike(network: Any, fresh: Any) -> None:
    ours, theirs = _shapes(network), _shapes(fresh)
    if not ours:
        raise InputError(
            "the variables of fn are not accessible; give a Flax module, or a "
            "jax.tree_util.Partial of a function and its variables, such as run.logits_fn."
        )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"{name} is {theirs.get(name, 'missing')} in fresh, but "
                f"{ours.get(name, 'missing')} in fn; create fresh with the same options."
            )
    if jax.tree.structure(network) != jax.tree.structure(fresh):
        raise InputError(
            "fresh has another structure than fn; create it as the same network with the same "
            "options."
        )


def _shapes(network: Any) -> dict[str, tuple[int, ...]]:
    return {_names(path)[0]: np.shape(leaf) for path, leaf in jax.tree.leaves_with_path(network)}


def _for_each(compare, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    undefined = is_constant(first) | is_constant(second)
    pairs = zip(first, second, undefined, strict=True)
    return np.array([np.nan if skip else compare(a, b) for a, b, skip in pairs])


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    found: Any = spearmanr(first.ravel(), second.ravel())
    return float(found.statistic)


def _scaled(maps: np.ndarray) -> np.ndarray:
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _ssim(first: np.ndarray, second: np.ndarray) -> float:
    found = structural_similarity(first, second, win_size=WINDOW, data_range=1.0)
    return float(np.asarray(found))
