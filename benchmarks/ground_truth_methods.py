"""What ground_truth.py explains with: the methods of `cervix_jax.explain`, some in two settings."""

import dataclasses

import numpy as np

from cervix_jax.explain.measures.maps import Reduction
from cervix_jax.explanations.methods import METHODS, Explainer, Settings

SETTINGS = Settings(baseline="mean", steps=16, samples=32, masks=300, window=12)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A method in settings of its own."""

    method: str
    settings: Settings = SETTINGS

    @property
    def reduction(self) -> Reduction:
        """How its channels become one number for each pixel."""
        return METHODS[self.method].reduction

    def maps(self, explainer: Explainer, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Maps, float [N, S, S, 3] or [N, S, S]."""
        own = dataclasses.replace(explainer, settings=self.settings)
        return own.explain(self.method, images, targets)


def _with(**settings: str) -> Settings:
    return dataclasses.replace(SETTINGS, **settings)


RANDOM, EDGES = "random map", "Sobel edges"
REFERENCES = (RANDOM, EDGES)
VARIANTS = {
    "saliency": Variant("saliency"),
    "input x gradient": Variant("input_x_gradient"),
    "SmoothGrad": Variant("smooth_grad"),
    "integrated gradients, white": Variant("integrated_gradients", _with(baseline="white")),
    "integrated gradients, black": Variant("integrated_gradients", _with(baseline="black")),
    "expected gradients": Variant("expected_gradients"),
    "blur-integrated gradients": Variant("blur_integrated_gradients"),
    "guided backpropagation": Variant("guided_backprop"),
    "Grad-CAM, 2 x 2": Variant("grad_cam"),
    "Grad-CAM, 4 x 4": Variant("grad_cam", _with(feature_map="stage3")),
    "Grad-CAM++, 4 x 4": Variant("grad_cam_plus_plus", _with(feature_map="stage3")),
    "LayerCAM, 8 x 8": Variant("layer_cam", _with(feature_map="stage2")),
    "guided Grad-CAM, 4 x 4": Variant("guided_grad_cam", _with(feature_map="stage3")),
    "occlusion, 12 pixels": Variant("occlusion"),
    "RISE": Variant("rise"),
    RANDOM: Variant("random"),
    EDGES: Variant("edges"),
}
