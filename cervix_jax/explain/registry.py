"""Every attribution method by name, with the one default of each of its settings.

The explain command, the report, the overlays of `predict` and the benchmarks all make their maps
here, so that a method's name means the same map everywhere.

    maps = registry.explain("integrated_gradients", run.features_fn, images, targets,
                            input_range=run.input_range, steps=64)
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np

from cervix_jax.data.normalization import InputRange
from cervix_jax.errors import InputError, check_choice
from cervix_jax.explain import baselines as colours
from cervix_jax.explain import references
from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.cam import FeatureMap, grad_cam, grad_cam_plus_plus, layer_cam
from cervix_jax.explain.contract import Reduction
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.gradients import input_x_gradient, saliency, smooth_grad
from cervix_jax.explain.guided import guided_backprop, guided_grad_cam
from cervix_jax.explain.integrated import (
    blur_integrated_gradients,
    expected_gradients,
    integrated_gradients,
)
from cervix_jax.explain.perturbation import occlusion, rise

Baseline = Literal["white", "black", "mean", "blur"]
BLURRED = 1 / 8  # standard deviation of the baseline "blur", as a share of the image's height
# Arguments of every method; what else a method takes are its settings.
CALL = ("baselines", "input_range", "output", "batch_size", "seed", "progress")


@dataclasses.dataclass(frozen=True)
class Method:
    """An attribution method, and what others must know of it.

    Attributes:
      function: `(fn, images, targets, *, ...) -> maps`.
      label: what readers call it.
      description: what it is, for readers, without a full stop.
      reduction: how its channels become one number for each pixel wherever pixels are ranked or
        drawn. Gradients say how much a change of the pixel matters, whichever its direction: their
        absolute values are added. Shares of the score keep their sign.
      baseline: what it compares the image with: "colour", one of `Baseline`; "images", other
        images, which the caller must give; "" for nothing.
      features: whether `fn` must return feature maps too.
      rectifiers: whether `fn` must have a ReLU.
      one_pass: whether every image is one sample of a batch.
      seeded: whether maps depend on the seed.
      output: the score that it always explains; None where it is told.
      multiplied_by: (images, baselines) to what the sensitivities were multiplied by, for the
        infidelity; None for 1.
      start: (images, baselines) to the baselines whose score its maps start from, where it claims
        completeness.
      reference: knows nothing of the network; what an explanation should beat.
    """

    function: Callable[..., np.ndarray]
    label: str
    description: str
    reduction: Reduction = "sum"
    baseline: Literal["", "colour", "images"] = ""
    features: bool = False
    rectifiers: bool = False
    one_pass: bool = False
    seeded: bool = False
    output: Output | None = None
    multiplied_by: Callable[[np.ndarray, Any], np.ndarray] | None = None
    start: Callable[[np.ndarray, Any], Any] | None = None
    reference: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The method's own settings with their defaults: those of its function."""
        parameters = inspect.signature(self.function).parameters.values()
        return {
            each.name: each.default
            for each in parameters
            if each.kind is each.KEYWORD_ONLY and each.name not in CALL
        }

    def titled(self, grid: FeatureMap | None = None) -> str:
        """The label, of class activation maps with their feature map: "Grad-CAM, stage2, 8 x 8"."""
        return f"{self.label}, {grid}" if self.features and grid else self.label


def _max_sigma() -> float:
    return METHODS["blur_integrated_gradients"].settings["max_sigma"]


METHODS: Mapping[str, Method] = {
    "saliency": Method(
        saliency, "saliency", "gradient of the score", "sum_absolute", one_pass=True
    ),
    "input_x_gradient": Method(
        input_x_gradient,
        "input x gradient",
        "image, as the network takes it, times the gradient",
        one_pass=True,
        multiplied_by=lambda images, baselines: images,
    ),
    "smooth_grad": Method(
        smooth_grad,
        "SmoothGrad",
        "mean gradient over noisy copies",
        "sum_absolute",
        seeded=True,
    ),
    "integrated_gradients": Method(
        integrated_gradients,
        "integrated gradients",
        "gradients along the line from the baseline",
        baseline="colour",
        multiplied_by=lambda images, baselines: images - baselines,
        start=lambda images, baselines: baselines,
    ),
    "expected_gradients": Method(
        expected_gradients,
        "expected gradients",
        "integrated gradients from training images",
        baseline="images",
        seeded=True,
        start=lambda images, baselines: baselines,
    ),
    "blur_integrated_gradients": Method(
        blur_integrated_gradients,
        "blur-integrated gradients",
        "gradients along ever less blurred images",
        start=lambda images, baselines: colours.blur(images, _max_sigma()),
    ),
    "guided_backprop": Method(
        guided_backprop,
        "guided backpropagation",
        "gradient through positive paths only",
        "sum_absolute",
        rectifiers=True,
        one_pass=True,
    ),
    "grad_cam": Method(
        grad_cam,
        "Grad-CAM",
        "feature maps weighted by their mean gradients",
        features=True,
        one_pass=True,
    ),
    "grad_cam_plus_plus": Method(
        grad_cam_plus_plus,
        "Grad-CAM++",
        "feature maps weighted by their positive gradients",
        features=True,
        one_pass=True,
    ),
    "layer_cam": Method(
        layer_cam,
        "LayerCAM",
        "feature maps weighted by their positive gradients, place by place",
        features=True,
        one_pass=True,
    ),
    "guided_grad_cam": Method(
        guided_grad_cam,
        "guided Grad-CAM",
        "guided backpropagation times Grad-CAM",
        "sum_absolute",
        features=True,
        rectifiers=True,
        one_pass=True,
    ),
    "occlusion": Method(
        occlusion,
        "occlusion",
        "fall of the score when a square is covered by the baseline",
        baseline="colour",
    ),
    "rise": Method(
        rise,
        "RISE",
        "mean probability of randomly masked images",
        baseline="colour",
        seeded=True,
        output="probability",
    ),
    "random": Method(references.random, "random", "uniform noise", seeded=True, reference=True),
    "edges": Method(references.edges, "edges", "Sobel magnitude of the grey image", reference=True),
    "darkness": Method(references.darkness, "darkness", "how dark the pixel is", reference=True),
    "centre": Method(
        references.centre, "centre", "a Gaussian about the middle of the image", reference=True
    ),
}
REFERENCES = tuple(name for name, method in METHODS.items() if method.reference)
EXPLANATIONS = tuple(name for name in METHODS if name not in REFERENCES)
# Without what costs many passes (RISE) or is a variant of another.
QUICK = (
    "saliency", "input_x_gradient", "smooth_grad", "integrated_gradients", "expected_gradients",
    "guided_backprop", "grad_cam", "guided_grad_cam", "occlusion",
)  # fmt: skip


def explain(
    name: str,
    fn: LogitsFn,
    images: np.ndarray | jax.Array,
    targets: Any,
    *,
    input_range: InputRange | None = None,
    baselines: Baselines | Baseline = "white",
    output: Output | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
    **settings: Any,
) -> np.ndarray:
    """Raw maps of a method.

    Args:
      name: one of `METHODS`.
      fn: maps images to logits [B, C], or to (logits, features) where the method needs those; such
        as `run.features_fn`.
      images: float [N, H, W, 3], as the model takes them.
      targets: int [N], the class explained for each image; or one for all.
      input_range: `run.input_range`; needed for the baselines "white" and "black", and by "edges"
        and "darkness".
      baselines: where paths start and what covers: "white" (an empty slide), "black", "mean" or
        "blur" of the image, or anything of `explain.baselines`. Expected gradients need
        `several(images)`, for example of training images.
      output: the score that is explained; None is the method's own default.
      batch_size: samples at a time.
      seed: of everything random.
      progress: what the progress bar is called; "" shows none.
      **settings: the method's own (`METHODS[name].settings`).

    Returns:
      float32 [N, H, W, 3] or [N, H, W], signed, not normalised.

    Raises:
      InputError: an unknown method or setting, or what the method says.
    """
    method = _method(name)
    check_settings(name, settings)
    common: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "progress": progress}
    if method.output or output:
        common["output"] = method.output or output
    if method.baseline:
        common["baselines"] = baselines_of(name, images, baselines, input_range)
    if method.reference:
        common["input_range"] = input_range
    return method.function(fn, images, targets, **common, **settings)


def baselines_of(
    name: str,
    images: np.ndarray | jax.Array,
    baselines: Baselines | Baseline = "white",
    input_range: InputRange | None = None,
) -> Any:
    """What a method takes as baselines; None where it takes none. Arguments as for `explain`.

    Raises:
      InputError: it needs images, or the range of them, and was not given any.
    """
    kind = _method(name).baseline
    if not kind:
        return None
    if not isinstance(baselines, str):
        return baselines
    if kind == "images":
        raise InputError(
            f"{name} starts from other images; give baselines=explain.baselines.several(images)."
        )
    check_choice("baselines", baselines, get_args(Baseline))
    if baselines == "mean":
        return colours.mean(images)
    if baselines == "blur":
        return colours.blur(images, images.shape[1] * BLURRED)
    if input_range is None:
        raise InputError(f"baselines={baselines!r} needs input_range=, such as run.input_range.")
    return colours.white(input_range) if baselines == "white" else colours.black(input_range)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raises InputError for a setting that a method does not have."""
    own = _method(name).settings
    for setting in settings:
        if setting not in own:
            known = f"it has {', '.join(own)}" if own else "it has none"
            raise InputError(f"{name} has no setting {setting!r}; {known}.")


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The methods of these names, each once.

    Raises:
      InputError: one is unknown or a reference map, or there is none.
    """
    given = [names] if isinstance(names, str) else list(names or ())
    unknown = [name for name in given if name not in EXPLANATIONS]
    if unknown or not given:
        raise InputError(
            f"{unknown[0] if unknown else 'nothing'} is no method; choose from "
            f"{', '.join(EXPLANATIONS)}, or all."
        )
    return tuple(dict.fromkeys(given))


def _method(name: str) -> Method:
    check_choice("method", name, METHODS)
    return METHODS[name]
