"""Every attribution method as ground_truth.py runs it, and two maps that know no network."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage.color import rgb2gray
from skimage.filters import sobel

from cervix_jax import explain
from cervix_jax.explain.measures.maps import Reduction
from cervix_jax.run import Run

BATCH = 24
GRADIENTS = 16  # of a path, or noisy copies, or random points
MASKS = 100  # of RISE
RANDOM, EDGES = "random map", "Sobel edges"


@dataclasses.dataclass(frozen=True)
class Explained:
    """A network and images for it.

    Attributes:
      run: the network.
      pixels: uint8 [N, S, S, 3].
      targets: int [N], the classes that are explained.
      references: uint8 [K, S, S, 3], training images that expected gradients start from.
    """

    run: Run
    pixels: np.ndarray
    targets: np.ndarray
    references: np.ndarray

    def with_variables(self, variables: Any) -> "Explained":
        """The same with other weights."""
        run = Run(self.run.config, self.run.dataset, variables, self.run.step)
        return dataclasses.replace(self, run=run)

    def take(self, rows: np.ndarray | slice) -> "Explained":
        """Some of the images."""
        return dataclasses.replace(self, pixels=self.pixels[rows], targets=self.targets[rows])


@dataclasses.dataclass(frozen=True)
class Method:
    """`maps(explained)` gives float [N, S, S, 3] or [N, S, S].

    Gradients say how much a change of a pixel matters, whichever its direction: the absolute values
    of their channels are added. Shares of the score keep their sign.
    """

    maps: Callable[[Explained], np.ndarray]
    reduction: Reduction = "sum"


def _of_logits(method: Callable[..., np.ndarray], **options: Any):
    """A method of the logits; `baseline` is the name of one of `explain.baselines`."""
    baseline = options.pop("baseline", "")

    def maps(given: Explained) -> np.ndarray:
        images = np.asarray(given.run.preprocess(given.pixels))
        own = {}
        if baseline:
            make = getattr(explain.baselines, baseline)
            own["baselines"] = make(images if baseline == "mean" else given.run.input_range)
        if method is explain.expected_gradients:
            own["references"] = given.run.preprocess(given.references)
        return method(
            given.run.logits_fn, images, given.targets, batch_size=BATCH, **options, **own
        )

    return maps


def _of_features(method: Callable[..., np.ndarray], key: str):
    def maps(given: Explained) -> np.ndarray:
        images = given.run.preprocess(given.pixels)
        return method(given.run.features_fn, images, given.targets, key=key, batch_size=BATCH)

    return maps


def _random(given: Explained) -> np.ndarray:
    return np.random.default_rng(0).random(given.pixels.shape[:3])


def _edges(given: Explained) -> np.ndarray:
    return np.stack([sobel(rgb2gray(image)) for image in given.pixels])


METHODS = {
    "saliency": Method(_of_logits(explain.saliency), "sum_absolute"),
    "input x gradient": Method(_of_logits(explain.input_x_gradient)),
    "SmoothGrad": Method(_of_logits(explain.smooth_grad, samples=GRADIENTS), "sum_absolute"),
    "integrated gradients, white": Method(
        _of_logits(explain.integrated_gradients, baseline="white", steps=GRADIENTS)
    ),
    "integrated gradients, black": Method(
        _of_logits(explain.integrated_gradients, baseline="black", steps=GRADIENTS)
    ),
    "expected gradients": Method(_of_logits(explain.expected_gradients, samples=GRADIENTS)),
    "blur-integrated gradients": Method(
        _of_logits(explain.blur_integrated_gradients, steps=GRADIENTS)
    ),
    "guided backpropagation": Method(_of_logits(explain.guided_backprop), "sum_absolute"),
    "Grad-CAM, last (2 x 2)": Method(_of_features(explain.grad_cam, "pre_logits_2d")),
    "Grad-CAM, stage 3 (4 x 4)": Method(_of_features(explain.grad_cam, "stage3")),
    "Grad-CAM++, stage 3": Method(_of_features(explain.grad_cam_plus_plus, "stage3")),
    "LayerCAM, stage 2 (8 x 8)": Method(_of_features(explain.layer_cam, "stage2")),
    "guided Grad-CAM, stage 3": Method(
        _of_features(explain.guided_grad_cam, "stage3"), "sum_absolute"
    ),
    "occlusion, 16 pixels": Method(
        _of_logits(explain.occlusion, baseline="mean", window=16, stride=8)
    ),
    "RISE": Method(_of_logits(explain.rise, baseline="mean", samples=MASKS, grid=8)),
    RANDOM: Method(_random),
    EDGES: Method(_edges),
}
REFERENCES = (RANDOM, EDGES)
