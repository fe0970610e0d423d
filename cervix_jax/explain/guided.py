"""Guided backpropagation, and its product with Grad-CAM."""

from typing import Unpack

import jax
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.batches import sum_samples
from cervix_jax.explain.cam import AUTO, grad_cam
from cervix_jax.explain.contract import Common
from cervix_jax.explain.function import LogitsFn, Output, call, check_inputs, score_of
from cervix_jax.explain.rectifiers import with_guided_rectifiers


def guided_backprop(
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
    """The gradient of the score, with every ReLU passing back positive gradients only.

    Source: Springenberg et al., "Striving for Simplicity", 2015. The pictures are sharp but depend
    little on the class and the weights (Adebayo et al., "Sanity Checks for Saliency Maps", 2018).
    ReLU6 counts as ReLU below its bound. Other activations, such as the sigmoid of attention, keep
    their gradients. A model without ReLU raises an error.

    Arguments, result and errors are those of `saliency`.
    """
    del baselines, seed
    fn, examples = check_inputs(fn, images, targets, output)
    return sum_samples(
        _guided_gradient, fn, examples, (), batch_size=batch_size, progress=progress, output=output
    )


def guided_grad_cam(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    feature_map: str = AUTO,
    **common: Unpack[Common],
) -> np.ndarray:
    """Guided backpropagation times the positive part of Grad-CAM, enlarged bilinearly.

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017, section 3.2.

    Args:
      fn: as for `grad_cam`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      feature_map: feature map of Grad-CAM; "auto" as for `grad_cam`.
      **common: as for `grad_cam`.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: as for `grad_cam`, or the model has no ReLU.
    """
    cam = grad_cam(fn, images, targets, feature_map=feature_map, relu=True, **common)
    return guided_backprop(fn, images, targets, **common) * cam[..., None]


def _guided_gradient(fn, examples, sample, shared, *, output):
    logits_fn = with_guided_rectifiers(lambda images: call(fn, images)[0])
    return jax.grad(lambda x: score_of(logits_fn(x), examples["targets"], output).sum())(
        examples["images"]
    )
