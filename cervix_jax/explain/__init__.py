"""Explanations of a classifier: the pixels and channels that its score depends on.

Every method has the signature
`method(fn, images, targets, *, baselines, output, batch_size, seed, progress, ...)`, and every
measure of a map `measure(fn, images, targets, maps, *, ...)` with the same keywords
(`contract.Common`) and some of its own. `fn(images) -> logits` is a function, a
`jax.tree_util.Partial`, an `nnx` module or a bound `linen` module. Maps are raw, signed and not
normalised. Methods and measures run in batches of `batch_size` for any number of images and
samples; results depend on the batch size only by rounding. A second call with the same `fn` does
not compile again.

    run = load_run("runs/rcan")
    images = run.preprocess(uint8_images)
    maps = explain.integrated_gradients(run.logits_fn, images, targets,
                                        baselines=explain.baselines.black(run.input_range))
    curve = explain.measures.deletion(run.logits_fn, images, targets, maps)
"""

import importlib
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from cervix_jax.explain import measures, pictures, registry

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
    "measures",
    "occlusion",
    "pictures",
    "registry",
    "rise",
    "saliency",
    "smooth_grad",
]

# Imported on first use, because they load SciPy, scikit-learn and scikit-image.
_LATER = ("measures", "pictures", "registry")


def __getattr__(name: str):
    if name in _LATER:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
