"""Guided backpropagation, alone and times Grad-CAM."""

from typing import Any

import jax
import numpy as np

from cervix_jax.explain.batches import sum_samples
from cervix_jax.explain.cam import grad_cam
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    call,
    check_inputs,
    score_of,
)
from cervix_jax.explain.rectifiers import with_guided_rectifiers


def guided_backprop(
    logits_fn: LogitsFn,
    images: np.ndarray | jax.Array,
    targets: Any,
    *,
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """The gradient where every ReLU passes only positive gradients back.

    Source: Springenberg et al., "Striving for Simplicity", 2015. Sharp pictures, but they depend
    little on the class and the weights (Adebayo et al., "Sanity Checks for Saliency Maps", 2018).
    ReLU6 counts as ReLU below its bound. Other activations, such as the sigmoid of attention,
    keep their gradients; a model without any ReLU is refused.

    Arguments, result and errors are those of `saliency`.
    """
    fn, examples = check_inputs(logits_fn, images, targets, output)
    run = {"batch_size": batch_size, "progress": progress, "output": output}
    return sum_samples(_guided_gradient, fn, examples, (), samples=1, **run)


def guided_grad_cam(
    features_fn: LogitsFn,
    images: np.ndarray | jax.Array,
    targets: Any,
    *,
    key: str = "pre_logits_2d",
    output: Output = "logit",
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """Guided backpropagation times the positive part of Grad-CAM, enlarged bilinearly.

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017, section 3.2.

    Args:
      features_fn: as for `grad_cam`, and so are the other arguments.
      images: float [N, H, W, 3].
      targets: int [N].
      key: the feature map of Grad-CAM.
      output: "logit", "log_probability" or "probability".
      batch_size: images at a time.
      progress: what the progress bar is called.

    Returns:
      float32 [N, H, W, 3], signed, not normalised.

    Raises:
      InputError: as for `grad_cam`, or a model without ReLU.
    """
    run = {"output": output, "batch_size": batch_size, "progress": progress}
    cam = grad_cam(features_fn, images, targets, key=key, relu=True, **run)
    return guided_backprop(features_fn, images, targets, **run) * cam[..., None]


def _guided_gradient(fn, examples, sample, shared, *, output):
    logits_fn = with_guided_rectifiers(lambda images: call(fn, images)[0])
    return jax.grad(lambda x: score_of(logits_fn(x), examples["targets"], output).sum())(
        examples["images"]
    )
