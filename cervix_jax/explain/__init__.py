"""Explanations of a classifier: which pixels, and which channels, its score depends on.

The methods are pure functions of `logits_fn(images) -> logits`, images and target classes; they
give raw maps, signed and not normalised. They run in batches of `batch_size`, whatever the number
of images and samples, and give the same for every batch size up to rounding.

    run = load_run("runs/rcan")
    images = run.preprocess(uint8_images)
    maps = explain.integrated_gradients(run.logits_fn, images, targets,
                                        baselines=explain.baselines.black(run.input_range))
"""

from cervix_jax.explain import baselines
from cervix_jax.explain.cam import grad_cam, grad_cam_plus_plus, layer_cam
from cervix_jax.explain.gates import (
    ExtremeChannels,
    GateStatistics,
    channel_gates,
    channel_maps,
    extreme_channels,
    gate_names,
    gate_statistics,
)
from cervix_jax.explain.gradients import input_x_gradient, saliency, smooth_grad
from cervix_jax.explain.guided import guided_backprop, guided_grad_cam
from cervix_jax.explain.integrated import (
    blur_integrated_gradients,
    expected_gradients,
    integrated_gradients,
)
from cervix_jax.explain.perturbation import occlusion, rise

__all__ = [
    "ExtremeChannels",
    "GateStatistics",
    "baselines",
    "blur_integrated_gradients",
    "channel_gates",
    "channel_maps",
    "expected_gradients",
    "extreme_channels",
    "gate_names",
    "gate_statistics",
    "grad_cam",
    "grad_cam_plus_plus",
    "guided_backprop",
    "guided_grad_cam",
    "input_x_gradient",
    "integrated_gradients",
    "layer_cam",
    "occlusion",
    "rise",
    "saliency",
    "smooth_grad",
]
