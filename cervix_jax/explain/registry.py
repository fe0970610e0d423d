"""All attribution methods by name, with one default for each setting.

The explain command, the report, the overlays of `predict` and the benchmarks make their maps with
this module, so a method name means the same map everywhere.

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
# Arguments of every method; all other arguments of a method are its settings.
CALL = ("baselines", "input_range", "output", "batch_size", "seed", "progress")


@dataclasses.dataclass(frozen=True)
class Method:
    """An attribution method and its properties.

    Attributes:
      function: `(fn, images, targets, *, ...) -> maps`.
      label: name for readers.
      description: description for readers, without a full stop.
      reduction: reduction of the channels to one number a pixel, used to rank and draw pixels.
        Gradients measure the effect of a change in either direction, so their absolute values are
        summed. Contributions to the score keep their sign.
      baseline: kind of baseline: "colour", one of `Baseline`; "images", images from the caller; ""
        for none.
      features: whether `fn` must also return feature maps.
      rectifiers: whether `fn` must contain a ReLU.
      one_pass: whether each image needs one pass only.
      seeded: whether maps depend on the seed.
      output: the score that the method always explains; None if the caller chooses it.
      multiplied_by: (images, baselines) to the factor by which the method multiplied the gradients,
        for the infidelity; None for 1.
      start: (images, baselines) to the baselines from which the score rises, for methods with
        completeness.
      reference: whether the map is a control map that ignores the network.
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
        """The label; for class activation maps with the feature map: "Grad-CAM, stage2, 8 x 8"."""
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
        "preprocessed image times the gradient of the score",
        one_pass=True,
        multiplied_by=lambda images, baselines: images,
    ),
    "smooth_grad": Method(
        smooth_grad,
        "SmoothGrad",
        "mean gradient over noisy copies of the image",
        "sum_absolute",
        seeded=True,
    ),
    "integrated_gradients": Method(
        integrated_gradients,
        "integrated gradients",
        "image minus baseline, times the mean gradient between the two",
        baseline="colour",
        multiplied_by=lambda images, baselines: images - baselines,
        start=lambda images, baselines: baselines,
    ),
    "expected_gradients": Method(
        expected_gradients,
        "expected gradients",
        "integrated gradients with training images as baselines",
        baseline="images",
        seeded=True,
        start=lambda images, baselines: baselines,
    ),
    "blur_integrated_gradients": Method(
        blur_integrated_gradients,
        "blur-integrated gradients",
        "integrated gradients from the blurred to the sharp image",
        start=lambda images, baselines: colours.blur(images, _max_sigma()),
    ),
    "guided_backprop": Method(
        guided_backprop,
        "guided backpropagation",
        "gradient through positive activations and positive gradients only",
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
        "feature maps weighted by their positive gradients at each position",
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
        "fall of the score when a square is replaced by the baseline",
        baseline="colour",
    ),
    "rise": Method(
        rise,
        "RISE",
        "mean probability over random masks that show the pixel",
        baseline="colour",
        seeded=True,
        output="probability",
    ),
    "random": Method(references.random, "random", "uniform noise", seeded=True, reference=True),
    "edges": Method(references.edges, "edges", "Sobel edges of the grey image", reference=True),
    "darkness": Method(references.darkness, "darkness", "darkness of the pixel", reference=True),
    "centre": Method(
        references.centre, "centre", "Gaussian around the centre of the image", reference=True
    ),
}
REFERENCES = tuple(name for name, method in METHODS.items() if method.reference)
EXPLANATIONS = tuple(name for name in METHODS if name not in REFERENCES)
# Without RISE, which needs many passes, and without variants of other methods.
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
      fn: function from images to logits [B, C], or to (logits, features) if the method needs
        feature maps; such as `run.features_fn`.
      images: float [N, H, W, 3], preprocessed for the model.
      targets: int [N], the class to explain for each image; or one class for all.
      input_range: `run.input_range`; needed for the baselines "white" and "black", and by "edges"
        and "darkness".
      baselines: baseline of the method: "white" (an empty slide), "black", "mean" (mean colour) or
        "blur" (blurred image), or a baseline of `explain.baselines`. Expected gradients need
        `several(images)`, for example training images.
      output: the score to explain; None takes the method's own default.
      batch_size: samples in one batch.
      seed: random seed.
      progress: label of the progress bar; "" shows none.
      **settings: settings of the method (`METHODS[name].settings`).

    Returns:
      float32 [N, H, W, 3] or [N, H, W], signed, not normalised.

    Raises:
      InputError: the method or a setting is unknown, or the method raises it.
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
    """The baselines that a method receives; None if it takes none. Arguments as for `explain`.

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
            f"{name} needs other images as baselines; give "
            "baselines=explain.baselines.several(images)."
        )
    check_choice("baselines", baselines, get_args(Baseline))
    if baselines == "mean":
        return colours.mean(images)
    if baselines == "blur":
        return colours.blur(images, images.shape[1] * BLURRED)
    if input_range is None:
        raise InputError(f"baselines={baselines!r} needs input_range=; give e.g. run.input_range.")
    return colours.white(input_range) if baselines == "white" else colours.black(input_range)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raises InputError if a setting does not exist for the method."""
    own = _method(name).settings
    for setting in settings:
        if setting not in own:
            known = f"choose from {', '.join(own)}" if own else "it has no settings"
            raise InputError(f"{name} has no setting {setting!r}; {known}.")


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The method names without repeats.

    Raises:
      InputError: a name is unknown or names a control map, or there is no name.
    """
    given = [names] if isinstance(names, str) else list(names or ())
    unknown = [name for name in given if name not in EXPLANATIONS]
    if unknown or not given:
        problem = f"{unknown[0]} is not a method" if unknown else "no method is given"
        raise InputError(f"{problem}; choose from {', '.join(EXPLANATIONS)}, or all.")
    return tuple(dict.fromkeys(given))


def _method(name: str) -> Method:
    check_choice("method", name, METHODS)
    return METHODS[name]
