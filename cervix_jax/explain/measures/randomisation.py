"""Sanity checks: does the map depend on what the network learnt, and on the class it explains?

Adebayo et al. (2018), "Sanity Checks for Saliency Maps"; Sixt, Granz and Landgraf (2020), "When
Explanations Lie" (random logit). A map that stays similar does not explain the network, and one
that is the same for all images does not explain the image.
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
from tqdm import tqdm

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

# From the output downwards, by the number that `stage_of` gives.
STAGES = {"head": HEAD, "stage4": 4, "stage3": 3, "stage2": 2, "stage1": 1, "stem": STEM}
WINDOW = 7  # side of the windows of SSIM in pixels, scikit-image's default

Tree = TypeVar("Tree")


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
    """Similarity to the given maps while the network is replaced by a fresh one.

        untrained = models.create("rcan", num_classes=5, rngs=nnx.Rngs(1))
        measures.parameter_randomisation(
            model, images, targets, maps, method=explain.saliency, fresh=untrained
        )

    Args:
      fn: the trained network with its variables: a module, or a `Partial` such as `run.logits_fn`.
        A plain function hides them.
      images: float [N, H, W, 3].
      targets: int [N], or one for all; they stay what they are.
      maps: what `method` makes of `fn` with the same settings; they are not made again.
      method: makes maps of the networks between, see `robustness.MakeMaps`.
      fresh: the same network as its own initialiser draws it, of the same kind as `fn`:
        `models.create(name, ..., rngs=nnx.Rngs(seed))`, or
        `run.with_variables(variables).logits_fn`.
      cascading: replace from the head down, each stage in addition to those above; else one stage
        at a time.
      reduction: see `reduce_channels`.
      baselines: given to `method`.
      output: given to `method`.
      batch_size: given to `method`.
      seed: given to `method`.
      progress: what the progress bar is called.

    Returns:
      The stages from the head to the stem, and the similarity after each, float64 [stages, N].

    Raises:
      InputError: the variables are not of one network known here, names and shapes, or a map
        cannot be used.
    """
    _, examples, first = check_call(fn, images, targets, maps, output or "logit")
    ours, theirs = as_pytree(fn), as_pytree(fresh)
    _check_alike(ours, theirs)
    options = settings_of(baselines, output, batch_size, seed, examples["images"])
    found = []
    for stage in tqdm(
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
    """The network, with the variables of some stages taken from `fresh`.

    Args:
      network: a tree of variables by name, such as `function.as_pytree` makes of a module. What is
        no floating point number, such as the state of a random generator, stays.
      fresh: of the same structure.
      stages: numbers of `cervix_jax.models.stages`, 0 for the stem to 5 for the head.

    Raises:
      InputError: a variable belongs to no network known here.
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
    """Similarity of the map of the target to that of another class, drawn at random.

        measures.random_logit(fn, images, targets, maps, method=explain.saliency)

    Args:
      fn: as for `explain.saliency`, or what `method` takes; of at least 2 classes.
      images: float [N, H, W, 3].
      targets: int [N], or one for all.
      maps: what `method` makes of the targets with the same settings; they are not made again.
      method: makes the maps of the other classes, see `robustness.MakeMaps`.
      reduction: see `reduce_channels`.
      ids: see `maps.checked_ids`.
      baselines: given to `method`.
      output: given to `method`.
      batch_size: given to `method`.
      seed: of the other classes; also given to `method`.
      progress: given to `method`.

    Raises:
      InputError: an argument or a map that cannot be used, or a network of a single class.
    """
    function, examples, first = check_call(fn, images, targets, maps, output or "logit")
    classes = count_classes(function, examples["images"].shape[1:])
    if classes < 2:
        raise InputError("the network has a single class; there is no other one to explain.")
    streams = checked_ids(ids, len(first))
    shifts = [np.random.default_rng([seed, i, 2]).integers(1, classes) for i in streams]
    others = (examples["targets"] + np.asarray(shifts, np.int32)) % classes
    options = settings_of(baselines, output, batch_size, seed, examples["images"])
    found = method(fn, np.asarray(images), others, progress=progress, **options)
    return similarity(first, found, reduction=reduction)


@of_maps
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


def _names(path: tuple) -> tuple[str, list[str | int]]:
    """The name of a variable for readers, and its parts within the network."""
    parts = [part.key for part in path if isinstance(part, jax.tree_util.DictKey)]
    collection = parts and parts[0] in ("params", "stats", "batch_stats")
    return "/".join(map(str, parts)), parts[1:] if collection else parts


def _check_alike(network: Any, fresh: Any) -> None:
    ours, theirs = _shapes(network), _shapes(fresh)
    if not ours:
        raise InputError(
            "fn hides its variables; give a Flax module, or a jax.tree_util.Partial of a function "
            "and its variables, such as run.logits_fn."
        )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"fresh: {name} is {theirs.get(name, 'missing')}, but {ours.get(name, 'missing')} "
                "in the network; create the same network with the same options."
            )
    if jax.tree.structure(network) != jax.tree.structure(fresh):
        raise InputError("fresh is not the same network as fn; create it with the same options.")


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
