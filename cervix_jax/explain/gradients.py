"""Gradients with respect to the image, plain, times the image, and averaged over noise."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from cervix_jax import rng
from cervix_jax.errors import InputError
from cervix_jax.explain.batches import check_choice, check_count, sum_samples
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    check_inputs,
    gradient,
)

Kind = Literal["mean", "squared", "variance"]


def saliency(
    logits_fn: LogitsFn,
    images: np.ndarray | jax.Array,
    targets: Any,
    *,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """The gradient of the score with respect to the image.

    Source: Simonyan et al., "Deep Inside Convolutional Networks", 2014, who show its absolute
    value; here it keeps its sign.

    Args:
      logits_fn: maps float32 images [B, H, W, 3] to logits [B, C]. A `jax.tree_util.Partial` of a
        function and its weights, such as `run.logits_fn`, compiles quickest and shares programs
        between models; a Flax model will do; weights that any other function closes over are
        compiled into the program.
      images: float [N, H, W, 3], as the model takes them (see `Run.preprocess`).
      targets: int [N], the class explained for each image; or one for all.
      output: what of the class is explained: its logit, log-probability or probability.
      batch_size: images at a time.
      progress: what the progress bar is called; "" shows none.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: bad shapes, types or values, or gradients that are not finite.
    """
    fn, examples = check_inputs(logits_fn, images, targets, output)
    run = {"batch_size": batch_size, "progress": progress, "output": output}
    return sum_samples(_gradient, fn, examples, (), samples=1, **run)


def input_x_gradient(
    logits_fn: LogitsFn,
    images: np.ndarray | jax.Array,
    targets: Any,
    *,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """The image times the gradient: for a linear model, each value's part in the logit.

    The image is what the model is fed: a value of 0 counts for nothing, and after normalisation
    that is the mean colour, not black. Source: Shrikumar et al., "Not Just a Black Box", 2016.

    Arguments, result and errors are those of `saliency`.
    """
    run = {"output": output, "batch_size": batch_size, "progress": progress}
    return saliency(logits_fn, images, targets, **run) * np.asarray(images, np.float32)


def smooth_grad(
    logits_fn: LogitsFn,
    images: np.ndarray | jax.Array,
    targets: Any,
    *,
    kind: Kind = "mean",
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """The mean, mean square or variance of the gradient over noisy copies of the image.

    Sources: `mean`, Smilkov et al., "SmoothGrad", 2017; `squared` and `variance` (VarGrad), Hooker
    et al., "A Benchmark for Interpretability Methods in Deep Neural Networks", 2019, and Adebayo
    et al., "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter
    Values", 2018. The variance divides by `samples`.

    The noise of a sample is the same for every image, so that the map of an image does not depend
    on which others come with it.

    Args:
      logits_fn: as for `saliency`, and so are images, targets, output, batch_size and progress.
      images: float [N, H, W, 3].
      targets: int [N].
      kind: "mean" (signed), "squared" or "variance" (neither is ever negative).
      samples: noisy copies of each image; at least 2 for the variance.
      noise: standard deviation of the Gaussian noise as a share of the image's range.
      seed: decides the noise.
      output: "logit", "log_probability" or "probability".
      batch_size: noisy copies at a time.
      progress: what the progress bar is called.

    Returns:
      float32 [N, H, W, 3], not normalised.

    Raises:
      InputError: as for `saliency`, or bad settings.
    """
    check_choice("kind", kind, get_args(Kind))
    check_count("samples", samples, 2 if kind == "variance" else 1)
    if not (np.isfinite(noise) and noise >= 0):
        raise InputError(f"noise is {noise}; give a share of the image's range, 0 or more.")
    fn, examples = check_inputs(logits_fn, images, targets, output)
    key = rng.stream(seed, "smooth_grad")
    moments = sum_samples(
        _noisy_gradient,
        fn,
        examples,
        {"key": key, "noise": np.float32(noise)},
        samples=samples,
        batch_size=batch_size,
        progress=progress,
        output=output,
        kind=kind,
    )
    moments = {name: total / samples for name, total in moments.items()}
    if kind == "variance":
        return np.maximum(moments["squared"] - np.square(moments["mean"]), 0)
    return moments[kind]


def _gradient(fn, examples, sample, shared, *, output):
    return gradient(fn, examples["images"], examples["targets"], output)


def _noisy_gradient(fn, examples, sample, shared, *, output, kind):
    images = examples["images"]
    spread = images.max((1, 2, 3), keepdims=True) - images.min((1, 2, 3), keepdims=True)
    draws = normal(shared["key"], sample, images.shape[1:])
    noisy = images + shared["noise"] * spread * draws
    found = gradient(fn, noisy, examples["targets"], output)
    if kind == "mean":
        return {"mean": found}
    if kind == "squared":
        return {"squared": jnp.square(found)}
    return {"mean": found, "squared": jnp.square(found)}


def normal(key: jax.Array, sample: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal draws [B, *shape] that depend on the key and the number of the sample."""
    return jax.vmap(lambda n: jax.random.normal(jax.random.fold_in(key, n), shape))(sample)
