"""Gradients with respect to the image: plain, times the image, and averaged over noise."""

from typing import Literal, Unpack, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax import rng
from cervix_jax.errors import InputError, check_choice, check_count
from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.batches import sum_samples
from cervix_jax.explain.contract import Common
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    check_inputs,
    gradient,
)

Kind = Literal["mean", "squared", "variance"]


def saliency(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    baselines: Baselines = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """The gradient of the score with respect to the image.

    Source: Simonyan et al., "Deep Inside Convolutional Networks", 2014. The paper shows absolute
    values; this function keeps the sign.

        maps = explain.saliency(run.logits_fn, run.preprocess(uint8_images), targets)

    Args:
      fn: maps images [B, H, W, 3] to logits [B, C], or to a tuple that begins with them: a
        function, a `jax.tree_util.Partial` of a function and its weights such as `run.logits_fn`,
        an `nnx` module, or a `linen` module that is bound to its variables. A second call with the
        same function, or with an equal one, does not compile again. Weights that a plain function
        closes over are compiled into the program as constants.
      images: float32 or bfloat16 [N, H, W, 3], preprocessed for the model (see `Run.preprocess`).
      targets: int [N], the class to explain for each image; or one class for all.
      baselines: not used; accepted by every method. See `explain.baselines`.
      output: score of the class to explain: its logit, log-probability or probability.
      batch_size: images in one batch.
      seed: not used; accepted by every method.
      progress: label of the progress bar; "" shows none.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: shapes, types or values are wrong, or gradients are not finite.
    """
    del baselines, seed
    fn, examples = check_inputs(fn, images, targets, output)
    return sum_samples(
        _gradient, fn, examples, (), batch_size=batch_size, progress=progress, output=output
    )


def input_x_gradient(
    fn: LogitsFn, images: ArrayLike, targets: ArrayLike, **common: Unpack[Common]
) -> np.ndarray:
    """The image times the gradient: for a linear model, each value's contribution to the logit.

    The image is the preprocessed input of the model. A value of 0 contributes nothing, and after
    normalisation 0 is the mean colour, not black. Source: Shrikumar et al., "Not Just a Black Box",
    2016.

    Arguments, result and errors are those of `saliency`.
    """
    return saliency(fn, images, targets, **common) * np.asarray(images, np.float32)


def smooth_grad(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    kind: Kind = "mean",
    samples: int = 50,
    noise: float = 0.15,
    baselines: Baselines = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """The mean, mean square or variance of the gradient over noisy copies of the image.

    Sources: `mean`, Smilkov et al., "SmoothGrad", 2017; `squared` and `variance` (VarGrad), Hooker
    et al., "A Benchmark for Interpretability Methods in Deep Neural Networks", 2019, and Adebayo
    et al., "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter
    Values", 2018. The variance divides by `samples`.

    The noise of a sample is the same for every image, so the map of an image does not depend on the
    other images of the call.

    Args:
      fn: as for `saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      kind: "mean" (signed), "squared" or "variance" (both are non-negative).
      samples: noisy copies of each image; at least 2 for the variance.
      noise: standard deviation of the Gaussian noise as a share of the image's range.
      baselines: not used.
      output: "logit", "log_probability" or "probability".
      batch_size: noisy copies in one batch.
      seed: random seed of the noise.
      progress: label of the progress bar.

    Returns:
      float32 [N, H, W, 3], not normalised.

    Raises:
      InputError: as for `saliency`, or a setting is out of range.
    """
    del baselines
    check_choice("kind", kind, get_args(Kind))
    check_count("samples", samples, 2 if kind == "variance" else 1)
    if not (np.isfinite(noise) and noise >= 0):
        raise InputError(f"noise={noise}: give a share of the image's range, 0 or more.")
    fn, examples = check_inputs(fn, images, targets, output)
    moments = sum_samples(
        _noisy_gradient,
        fn,
        examples,
        {"key": rng.stream(seed, "smooth_grad"), "noise": np.float32(noise)},
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
