"""Class activation maps: the feature maps of one layer, weighted by their gradients."""

from typing import Literal, NamedTuple, Unpack, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.errors import InputError, check_choice
from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.batches import Sample, sum_samples
from cervix_jax.explain.contract import Common
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    as_pytree,
    call,
    check_inputs,
    score_of,
)

Interpolation = Literal["bilinear", "nearest", "none"]
AUTO = "auto"
# A coarser grid, such as 2 x 2 for a small image, shows no position once it is enlarged.
FINE_ENOUGH = 7


def grad_cam(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    feature_map: str = AUTO,
    relu: bool = False,
    interpolation: Interpolation = "bilinear",
    **common: Unpack[Common],
) -> np.ndarray:
    """Grad-CAM: the sum of a layer's feature maps, each times its mean gradient.

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2.

        maps = explain.grad_cam(run.features_fn, images, targets, feature_map="stage4")

    Args:
      fn: function of images [B, H, W, 3] and `perturbations={feature_map: array}`, an array that it
        adds to that feature map. It returns logits [B, C] and a dict with the feature map; such as
        `run.features_fn` or a model of this package. Otherwise as for `saliency`.
      images: float [N, H, W, 3], preprocessed for the model.
      targets: int [N], the class to explain for each image; or one class for all.
      feature_map: "stem", "stage1" to "stage4", "pre_logits_2d" or another feature map of `fn`;
        "auto" takes the deepest of at least 7 x 7, see `find_feature_map`.
      relu: whether negative values become 0, as in the paper. The default keeps them, so that
        evidence against the class differs from no evidence.
      interpolation: rule for enlarging the map to the size of the images; "none" keeps its size.
      **common: `output`, `batch_size` and `progress` as for `saliency`; `baselines` and `seed` are
        not used.

    Returns:
      float32 [N, H, W], not normalised; [N, h, w] without interpolation.

    Raises:
      InputError: shapes, types or values are wrong, the feature map does not exist, or values are
        not finite.
    """
    return _map(_grad_cam, fn, images, targets, feature_map, relu, interpolation, **common)


def grad_cam_plus_plus(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    feature_map: str = AUTO,
    relu: bool = False,
    interpolation: Interpolation = "bilinear",
    **common: Unpack[Common],
) -> np.ndarray:
    """Grad-CAM++: like Grad-CAM, but uses positive gradients only, each with its own weight.

    Source: Chattopadhyay et al., "Grad-CAM++", WACV 2018, equations 10 and 19, with the
    exponential of the score as the class's output. The exponential cancels except for one factor
    for each image, which is omitted. A weight of 0/0 counts as 0.

    Arguments, result and errors are those of `grad_cam`.
    """
    return _map(
        _grad_cam_plus_plus, fn, images, targets, feature_map, relu, interpolation, **common
    )


def layer_cam(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    feature_map: str = AUTO,
    relu: bool = False,
    interpolation: Interpolation = "bilinear",
    **common: Unpack[Common],
) -> np.ndarray:
    """LayerCAM: each value of a layer times its own positive gradient; sharper in early layers.

    Source: Jiang et al., "LayerCAM", IEEE Transactions on Image Processing, 2021.

    Arguments, result and errors are those of `grad_cam`.
    """
    return _map(_layer_cam, fn, images, targets, feature_map, relu, interpolation, **common)


def _map(
    rule: Sample,
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    feature_map: str,
    relu: bool,
    interpolation: Interpolation,
    *,
    baselines: Baselines = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    del baselines, seed
    check_choice("interpolation", interpolation, get_args(Interpolation))
    fn, examples = check_inputs(fn, images, targets, output)
    feature_map = find_feature_map(fn, examples["images"].shape[1:], feature_map).name
    try:
        return sum_samples(
            rule,
            fn,
            examples,
            (),
            batch_size=batch_size,
            progress=progress,
            feature_map=feature_map,
            relu=relu,
            interpolation=interpolation,
            output=output,
        )
    except TypeError as error:  # of the call, as it is traced
        if "unexpected keyword argument 'perturbations'" not in str(error):
            raise
        raise InputError(
            "the function does not accept perturbations={name: array}; add this argument and add "
            "the array to the feature map of that name, as run.features_fn and this package's "
            "models do."
        ) from error


class FeatureMap(NamedTuple):
    """A feature map of `fn` and its grid.

    Attributes:
      name: name of the feature map in `fn`.
      height: rows of its grid.
      width: columns of its grid.
    """

    name: str
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.name}, {self.height} x {self.width}"


def find_feature_map(fn: LogitsFn, shape: tuple[int, ...], feature_map: str = AUTO) -> FeatureMap:
    """The feature map of this name, or the default feature map for class activation maps.

        find_feature_map(run.features_fn, (64, 64, 3))   # FeatureMap("stage2", 8, 8) of RCAN

    "auto" takes the deepest feature map with a grid of at least 7 x 7, the size of the last stage
    of common networks at 224 pixels. That is the coarsest such grid, and the last stage among equal
    grids. If all grids are coarser, it takes the finest.

    Args:
      fn: see `grad_cam`.
      shape: shape of one image, (H, W, 3).
      feature_map: a name, or "auto".

    Raises:
      InputError: `fn` returns no feature map [B, h, w, c] of that name.
    """
    out = feature_shapes(fn, shape)
    grids = {
        name: (int(value.shape[1]), int(value.shape[2]))
        for name, value in out.items()
        if value.ndim == 4 and "/" not in name
    }
    if feature_map == AUTO and grids:
        fine = [name for name, grid in grids.items() if min(grid) >= FINE_ENOUGH]
        least = min if fine else max
        side = least(min(grids[name]) for name in fine or grids)
        # `pre_logits_2d` is the normalised last stage; the stage itself has the usual name.
        feature_map = max(
            (name for name in fine or grids if min(grids[name]) == side),
            key=lambda name: (name.startswith("stage"), name),
        )
    if feature_map not in grids:
        known = f"choose one of {', '.join(grids)}" if grids else "it returns logits only"
        name = "" if feature_map == AUTO else f" {feature_map!r}"
        raise InputError(f"the function has no feature map{name}; {known}.")
    return FeatureMap(feature_map, *grids[feature_map])


def find_fine(fn: LogitsFn, shape: tuple[int, ...], feature_map: str = AUTO) -> FeatureMap | None:
    """As `find_feature_map`, but None if "auto" finds no grid of at least 7 x 7."""
    if feature_map != AUTO:
        return find_feature_map(fn, shape, feature_map)
    try:
        found = find_feature_map(fn, shape)
    except InputError:
        return None
    return found if min(found.height, found.width) >= FINE_ENOUGH else None


def feature_shapes(fn: LogitsFn, shape: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the features that `fn` returns with the logits for an image of this shape."""
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return dict(_features.eval_shape(as_pytree(fn), image))


# Never compiled; `jit` caches the traced program for `eval_shape`.
_features = jax.jit(lambda fn, images: call(fn, images)[1])


def _features_and_gradient(fn, examples, feature_map, output):
    """The feature map and the score's gradient with respect to it, float32 [B, h, w, c]."""
    images = examples["images"]
    shape = jax.eval_shape(lambda x: call(fn, x)[1][feature_map], images).shape

    def total(perturbation: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, out = call(fn, images, perturbations={feature_map: perturbation})
        scores = score_of(logits, examples["targets"], output)
        return scores.sum(), out[feature_map].astype(jnp.float32)

    gradient, features = jax.grad(total, has_aux=True)(jnp.zeros(shape, jnp.float32))
    return features, gradient


def _grad_cam(fn, examples, sample, shared, *, feature_map, relu, interpolation, output):
    features, gradient = _features_and_gradient(fn, examples, feature_map, output)
    weights = gradient.mean((1, 2), keepdims=True)
    return _finish((weights * features).sum(-1), examples, relu, interpolation)


def _grad_cam_plus_plus(fn, examples, sample, shared, *, feature_map, relu, interpolation, output):
    features, gradient = _features_and_gradient(fn, examples, feature_map, output)
    # Divided by its largest value, because its cube could underflow; undone below.
    scale = jnp.abs(gradient).max((1, 2, 3), keepdims=True)
    g = gradient / jnp.where(scale > 0, scale, 1)
    below = 2 * jnp.square(g) + scale * features.sum((1, 2), keepdims=True) * g**3
    alpha = jnp.where(below == 0, 0, jnp.square(g) / jnp.where(below == 0, 1, below))
    weights = (alpha * jax.nn.relu(gradient)).sum((1, 2), keepdims=True)
    return _finish((weights * features).sum(-1), examples, relu, interpolation)


def _layer_cam(fn, examples, sample, shared, *, feature_map, relu, interpolation, output):
    features, gradient = _features_and_gradient(fn, examples, feature_map, output)
    return _finish((jax.nn.relu(gradient) * features).sum(-1), examples, relu, interpolation)


def _finish(maps, examples, relu, interpolation):
    maps = jax.nn.relu(maps) if relu else maps
    if interpolation == "none":
        return maps
    size = examples["images"].shape[:3]
    return jax.image.resize(maps, size, interpolation, precision=jax.lax.Precision.HIGHEST)
