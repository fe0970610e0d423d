"""Gradients along a path from a baseline to the image; they share out the rise of the score."""

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from cervix_jax import rng
from cervix_jax.errors import InputError
from cervix_jax.explain.baselines import Baselines, check_baselines, gaussian_blur, several
from cervix_jax.explain.batches import each_sample, sum_samples
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    call,
    check_inputs,
    gradient,
    score_of,
)
from cervix_jax.explain.quadrature import Quadrature, nodes_and_weights

Images = np.ndarray | jax.Array
Result = np.ndarray | tuple[np.ndarray, np.ndarray]


@overload
def integrated_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    baselines: Baselines,
    steps: int = ...,
    quadrature: Quadrature = ...,
    return_delta: Literal[False] = ...,
    output: Output = ...,
    batch_size: int = ...,
    progress: str = ...,
) -> np.ndarray: ...
@overload
def integrated_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    baselines: Baselines,
    steps: int = ...,
    quadrature: Quadrature = ...,
    return_delta: Literal[True],
    output: Output = ...,
    batch_size: int = ...,
    progress: str = ...,
) -> tuple[np.ndarray, np.ndarray]: ...
def integrated_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    baselines: Baselines,
    steps: int = 50,
    quadrature: Quadrature = "gauss_legendre",
    return_delta: bool = False,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> Result:
    """Image minus baseline, times the mean gradient on the straight line between them.

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017. The values
    of an image sum to the score of the image less that of the baseline, up to the error of the
    quadrature. With several baselines this is the mean over them. The paper's setting is
    `baselines=baselines.uniform(run.input_range, 10)`, `steps=50`, `quadrature="riemann_left"`
    and `output="probability"`.

    Args:
      logits_fn: as for `saliency`, and so are images, targets, output, batch_size and progress.
      images: float [N, H, W, 3].
      targets: int [N].
      baselines: one of `explain.baselines`, or an array that broadcasts to the images.
      steps: gradients on each line.
      quadrature: see `nodes_and_weights`; every rule's weights sum to 1.
      return_delta: whether to return the convergence delta too.
      output: "logit", "log_probability" or "probability".
      batch_size: gradients at a time, over images, baselines and steps alike.
      progress: what the progress bar is called.

    Returns:
      float32 [N, H, W, 3], signed, not normalised; with `return_delta` also float64 [N]: the sum of
      an image's map less the rise of the score that it should share out.

    Raises:
      InputError: as for `saliency`, or bad settings.
    """
    fn, examples = check_inputs(logits_fn, images, targets, output)
    nodes, weights = nodes_and_weights(quadrature, steps)
    own, many = check_baselines(baselines, examples["images"])
    count = 1 if many is None else many.count
    shared = {
        "nodes": np.float32(nodes),
        "weights": np.float32(weights / count),
        "baselines": many,
    }
    run = {"batch_size": batch_size, "output": output}
    with_own = examples if own is None else examples | {"baseline": own}
    maps = sum_samples(_line, fn, with_own, shared, samples=count * steps, progress=progress, **run)
    if not return_delta:
        return maps
    before = each_sample(_score_of_baseline, fn, with_own, shared, samples=count, **run)
    return maps, _delta(maps, fn, examples, before.mean(1, dtype=np.float64), run)


def expected_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    references: Images,
    samples: int = 50,
    seed: int = 0,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """Integrated gradients averaged over baselines drawn from a set of images.

    Each sample is a random reference and a random point on the line to it. Source: Erion et al.,
    "Improving Performance of Deep Learning Models with Axiomatic Attribution Priors and Expected
    Gradients", 2021. The values of an image sum to the score of the image less the mean score of
    the references, up to the noise of the sampling. The draws are the same for every image.

    Args:
      logits_fn: as for `saliency`, and so are images, targets, output, batch_size and progress.
      images: float [N, H, W, 3].
      targets: int [N].
      references: float [K, H, W, 3], for example training images, preprocessed; all are held on
        the device.
      samples: gradients for each image.
      seed: decides references and points.
      output: "logit", "log_probability" or "probability".
      batch_size: gradients at a time.
      progress: what the progress bar is called.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: as for `saliency`, or references that do not fit the images.
    """
    fn, examples = check_inputs(logits_fn, images, targets, output)
    held = several(references)
    check_baselines(held, examples["images"])
    key = rng.stream(seed, "expected_gradients")
    total = sum_samples(
        _random_point,
        fn,
        examples,
        {"references": held, "key": key},
        samples=samples,
        batch_size=batch_size,
        progress=progress,
        output=output,
    )
    return total / np.float32(samples)


@overload
def blur_integrated_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    max_sigma: float = ...,
    steps: int = ...,
    quadrature: Quadrature = ...,
    return_delta: Literal[False] = ...,
    output: Output = ...,
    batch_size: int = ...,
    progress: str = ...,
) -> np.ndarray: ...
@overload
def blur_integrated_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    max_sigma: float = ...,
    steps: int = ...,
    quadrature: Quadrature = ...,
    return_delta: Literal[True],
    output: Output = ...,
    batch_size: int = ...,
    progress: str = ...,
) -> tuple[np.ndarray, np.ndarray]: ...
def blur_integrated_gradients(
    logits_fn: LogitsFn,
    images: Images,
    targets: Any,
    *,
    max_sigma: float = 50.0,
    steps: int = 50,
    quadrature: Quadrature = "gauss_legendre",
    return_delta: bool = False,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> Result:
    """Integrated gradients along ever less blurred images, which needs no baseline colour.

    Source: Xu et al., "Attribution in Scale and Space", CVPR 2020. The path is the image under a
    Gaussian whose standard deviation falls from `max_sigma` to 0; its direction is the exact
    derivative of the blur. The values of an image sum to the score of the image less that of the
    most blurred one, up to the error of the quadrature.

    Args:
      logits_fn: as for `saliency`, and so are images, targets, output, batch_size and progress.
      images: float [N, H, W, 3].
      targets: int [N].
      max_sigma: strongest blur, standard deviation in pixels.
      steps: gradients on the path.
      quadrature: see `nodes_and_weights`; only rules without a node at no blur at all, that is
        "gauss_legendre", "riemann_middle" and "riemann_left".
      return_delta: whether to return the convergence delta too, as in `integrated_gradients`.
      output: "logit", "log_probability" or "probability".
      batch_size: gradients at a time.
      progress: what the progress bar is called.

    Returns:
      As `integrated_gradients`.

    Raises:
      InputError: as for `saliency`, or bad settings.
    """
    if not (np.isfinite(max_sigma) and max_sigma > 0):
        raise InputError(f"max_sigma is {max_sigma}; give a positive number of pixels.")
    fn, examples = check_inputs(logits_fn, images, targets, output)
    nodes, weights = nodes_and_weights(quadrature, steps)
    if nodes.max() == 1:
        raise InputError(
            f"quadrature is {quadrature!r}, which takes the end of the path, where a blur of "
            "nothing has no derivative; choose gauss_legendre, riemann_middle or riemann_left."
        )
    sigmas = np.float32(max_sigma * (1 - nodes))
    # From the blurred image to the sharp one sigma falls.
    shared = {"sigmas": sigmas, "weights": np.float32(-max_sigma * weights)}
    run = {"batch_size": batch_size, "output": output}
    maps = sum_samples(_less_blur, fn, examples, shared, samples=steps, progress=progress, **run)
    if not return_delta:
        return maps
    blurred = {"sigmas": np.float32([max_sigma])}
    before = each_sample(_score_of_blurred, fn, examples, blurred, samples=1, **run)
    return maps, _delta(maps, fn, examples, before[:, 0].astype(np.float64), run)


def _delta(maps, fn, examples, before, run) -> np.ndarray:
    after = each_sample(_score, fn, examples, (), samples=1, **run)[:, 0].astype(np.float64)
    return maps.sum((1, 2, 3), dtype=np.float64) - (after - before)


def _line(fn, examples, sample, shared, *, output):
    images, weights = examples["images"], shared["weights"]
    number, step = jnp.divmod(sample, len(weights))
    difference = images - _baseline(examples, number, shared)
    # From the image backwards, so that a node of 1 is exactly the image.
    points = images - _column(1 - shared["nodes"][step]) * difference
    found = gradient(fn, points, examples["targets"], output)
    return _column(weights[step]) * difference * found


def _baseline(examples, number, shared) -> jax.Array:
    if "baseline" in examples:
        return examples["baseline"]
    return shared["baselines"].pick(number, examples["images"].shape[1:])


def _random_point(fn, examples, sample, shared, *, output):
    images, held = examples["images"], shared["references"]

    def draw(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        which, where = jax.random.split(jax.random.fold_in(shared["key"], number))
        return jax.random.randint(which, (), 0, held.count), jax.random.uniform(where)

    number, place = jax.vmap(draw)(sample)
    difference = images - held.pick(number, images.shape[1:])
    points = images - _column(1 - place) * difference
    return difference * gradient(fn, points, examples["targets"], output)


def _less_blur(fn, examples, sample, shared, *, output):
    images, sigma = examples["images"], shared["sigmas"][sample]
    blurred, direction = jax.jvp(
        lambda s: gaussian_blur(images, s), (sigma,), (jnp.ones_like(sigma),)
    )
    found = gradient(fn, blurred, examples["targets"], output)
    return _column(shared["weights"][sample]) * direction * found


def _score(fn, examples, sample, shared, *, output):
    return score_of(call(fn, examples["images"])[0], examples["targets"], output)


def _score_of_baseline(fn, examples, sample, shared, *, output):
    images = jnp.broadcast_to(_baseline(examples, sample, shared), examples["images"].shape)
    return score_of(call(fn, images)[0], examples["targets"], output)


def _score_of_blurred(fn, examples, sample, shared, *, output):
    blurred = gaussian_blur(examples["images"], shared["sigmas"][sample])
    return score_of(call(fn, blurred)[0], examples["targets"], output)


def _column(values: jax.Array) -> jax.Array:
    return values[:, None, None, None]
