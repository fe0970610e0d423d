"""Gradients along a path from a baseline to the image; their map sums to the rise of the score."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax import rng, target
from cervix_jax.errors import InputError, check_choice, check_count
from cervix_jax.explain.baselines import Baselines, attach, gaussian_blur, pick
from cervix_jax.explain.batches import divide, plan, sum_batch, sum_samples
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    check_inputs,
    gradient,
)

Quadrature = Literal[
    "gauss_legendre", "riemann_middle", "riemann_left", "riemann_right", "trapezoid"
]


def integrated_gradients(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    baselines: Baselines = None,
    steps: int = 50,
    quadrature: Quadrature = "gauss_legendre",
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """Image minus baseline, times the mean gradient on the straight line between them.

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017. The map of an
    image sums to the score of the image minus the score of the baseline, up to the error of the
    quadrature, which `measures.completeness` measures. With several baselines the map is the mean
    over them. The settings of arXiv 2106.00557 are
    `baselines=baselines.uniform(run.input_range, 10)`, `steps=50`, `quadrature="riemann_left"` and
    `output="probability"`.

        black = explain.baselines.black(run.input_range)
        maps = explain.integrated_gradients(run.logits_fn, images, targets, baselines=black)

    Args:
      fn: as for `saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      baselines: start of the lines, see `explain.baselines`.
      steps: gradients on each line.
      quadrature: see `nodes_and_weights`; the weights of every rule sum to 1.
      output: "logit", "log_probability" or "probability".
      batch_size: gradients in one batch, counted over images, baselines and steps.
      seed: not used; `baselines.uniform` has its own seed.
      progress: label of the progress bar.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: as for `saliency`, or a setting is out of range.
    """
    del seed
    fn, examples = check_inputs(fn, images, targets, output)
    examples, shared, samples = _lines(examples, baselines, quadrature, steps)
    return sum_samples(
        _line, fn, examples, shared,
        samples=samples, batch_size=batch_size, progress=progress, output=output,
    )  # fmt: skip


def lower_integrated_gradients(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    baselines: Baselines = None,
    steps: int = 50,
    quadrature: Quadrature = "gauss_legendre",
    output: Output = "logit",
    batch_size: int = 32,
) -> jax.stages.Lowered:
    """The program that `integrated_gradients` runs for each batch, lowered but not run.

    Arguments as for `integrated_gradients`. The arrays of `fn` may be `jax.ShapeDtypeStruct`s,
    whose sharding then determines the device.
    """
    fn, examples = check_inputs(fn, images, targets, output)
    examples, shared, samples = _lines(examples, baselines, quadrature, steps)
    size, _ = divide(len(examples["images"]) * samples, batch_size)
    chunk = next(plan(len(examples["images"]), samples, size))
    own = {name: values[chunk.images] for name, values in examples.items()}
    return sum_batch.lower(
        _line, (("output", output),), samples, target.platform(), fn, own, chunk[2:], shared
    )


def _lines(
    examples: dict[str, np.ndarray], baselines: Baselines, quadrature: Quadrature, steps: int
) -> tuple[dict[str, np.ndarray], dict[str, Any], int]:
    """The examples with their baselines, the arrays of all lines, and the points for each image."""
    nodes, weights = nodes_and_weights(quadrature, steps)
    examples, several, count = attach(examples, baselines)
    shared = {
        "nodes": np.float32(nodes),
        "weights": np.float32(weights / count),
        "baselines": several,
    }
    return examples, shared, count * steps


def expected_gradients(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    baselines: Baselines = None,
    samples: int = 50,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """Integrated gradients averaged over baselines drawn from a set of images.

    Each sample takes a random baseline and a random point on the line from it to the image. Source:
    Erion et al., "Improving Performance of Deep Learning Models with Axiomatic Attribution Priors
    and Expected Gradients", 2021. The map of an image sums to the score of the image minus the mean
    score of the baselines, up to the noise of the sampling. The random numbers are the same for
    every image.

    Args:
      fn: as for `saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      baselines: the set of baselines, `baselines.several(training_images)`, preprocessed; all are
        held on the device. With a single baseline for each image, only the points are random.
      samples: gradients for each image.
      output: "logit", "log_probability" or "probability".
      batch_size: gradients in one batch.
      seed: random seed of the baselines and points.
      progress: label of the progress bar.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: as for `saliency`, or the baselines do not match the images.
    """
    fn, examples = check_inputs(fn, images, targets, output)
    examples, several, count = attach(examples, baselines)
    total = sum_samples(
        _random_point,
        fn,
        examples,
        {"baselines": several, "key": rng.stream(seed, "expected_gradients")},
        samples=samples,
        batch_size=batch_size,
        progress=progress,
        count=count,
        output=output,
    )
    return total / np.float32(samples)


def blur_integrated_gradients(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    max_sigma: float = 50.0,
    steps: int = 50,
    quadrature: Quadrature = "gauss_legendre",
    baselines: Baselines = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """Integrated gradients from the blurred to the sharp image; they need no baseline colour.

    Source: Xu et al., "Attribution in Scale and Space", CVPR 2020. The path is the image blurred by
    a Gaussian whose standard deviation falls from `max_sigma` to 0; the direction of the path is
    the exact derivative of the blur. The map of an image sums to the score of the image minus the
    score of the most blurred image, `baselines.blur(images, max_sigma)`, up to the error of the
    quadrature.

    Args:
      fn: as for `saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      max_sigma: standard deviation of the strongest blur, in pixels.
      steps: gradients on the path.
      quadrature: see `nodes_and_weights`; only rules without a node at the sharp image:
        "gauss_legendre", "riemann_middle" and "riemann_left".
      baselines: not used; paths start at the blurred image.
      output: "logit", "log_probability" or "probability".
      batch_size: gradients in one batch.
      seed: not used.
      progress: label of the progress bar.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: as for `saliency`, or a setting is out of range.
    """
    del baselines, seed
    if not (np.isfinite(max_sigma) and max_sigma > 0):
        raise InputError(f"max_sigma={max_sigma}: give a positive number of pixels.")
    fn, examples = check_inputs(fn, images, targets, output)
    nodes, weights = nodes_and_weights(quadrature, steps)
    if nodes.max() == 1:
        raise InputError(
            f"quadrature={quadrature!r} uses the end of the path, where the blur has no "
            "derivative; choose gauss_legendre, riemann_middle or riemann_left."
        )
    return sum_samples(
        _less_blur,
        fn,
        examples,
        # Sigma falls from the blurred to the sharp image.
        {
            "sigmas": np.float32(max_sigma * (1 - nodes)),
            "weights": np.float32(-max_sigma * weights),
        },
        samples=steps,
        batch_size=batch_size,
        progress=progress,
        output=output,
    )


def nodes_and_weights(rule: Quadrature, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a quadrature rule on [0, 1].

    Args:
      rule: Gauss-Legendre nodes; the middle, left or right ends of `steps` equal intervals; or
        trapezoids over `steps - 1` intervals, whose end nodes have half the weight. Captum's rules
        have the same nodes and weights, except that the weights of its "riemann_trapezoid" sum to
        (n - 1) / n for n steps, so its maps are smaller by that factor.
      steps: number of nodes; at least 2 for trapezoids.

    Returns:
      Nodes in [0, 1] and weights, float64 [steps]. The weights of every rule sum to 1.

    Raises:
      InputError: the rule is unknown, or there are too few steps.
    """
    check_choice("quadrature", rule, get_args(Quadrature))
    check_count("steps", steps)
    if rule == "trapezoid" and steps < 2:
        raise InputError("steps=1: the trapezoid rule needs at least 2 steps.")
    return _RULES[rule](steps)


def _gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _riemann(offset: float) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    return lambda steps: ((np.arange(steps) + offset) / steps, np.full(steps, 1 / steps))


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


_RULES = {
    "gauss_legendre": _gauss_legendre,
    "riemann_middle": _riemann(0.5),
    "riemann_left": _riemann(0.0),
    "riemann_right": _riemann(1.0),
    "trapezoid": _trapezoid,
}


def _line(fn, examples, sample, shared, *, output):
    images, weights = examples["images"], shared["weights"]
    number, step = jnp.divmod(sample, len(weights))
    baselines = pick(examples, shared["baselines"], number)
    points = _between(baselines, images, shared["nodes"][step])
    found = gradient(fn, points, examples["targets"], output)
    return _column(weights[step]) * (images - baselines) * found


def _random_point(fn, examples, sample, shared, *, count, output):
    images = examples["images"]

    def draw(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        which, where = jax.random.split(jax.random.fold_in(shared["key"], number))
        return jax.random.randint(which, (), 0, count), jax.random.uniform(where)

    number, place = jax.vmap(draw)(sample)
    baselines = pick(examples, shared["baselines"], number)
    points = _between(baselines, images, place)
    return (images - baselines) * gradient(fn, points, examples["targets"], output)


def _less_blur(fn, examples, sample, shared, *, output):
    images, sigma = examples["images"], shared["sigmas"][sample]
    blurred, direction = jax.jvp(
        lambda s: gaussian_blur(images, s), (sigma,), (jnp.ones_like(sigma),)
    )
    found = gradient(fn, blurred, examples["targets"], output)
    return _column(shared["weights"][sample]) * direction * found


def _between(baselines: jax.Array, images: jax.Array, place: jax.Array) -> jax.Array:
    """Points on the lines: exactly the baseline at 0 and the image at 1.

    A baseline of one colour has equal values at all positions, and so do its feature maps. Rounding
    would break the ties of max-pooling at random, which would change the gradient.
    """
    share = _column(place)
    return (1 - share) * baselines + share * images


def _column(values: jax.Array) -> jax.Array:
    return values[:, None, None, None]
