"""Every method by name: how the command calls it, and what the measures must know of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from cervix_jax import explain
from cervix_jax.errors import InputError
from cervix_jax.explain.function import Output
from cervix_jax.explain.measures.maps import Reduction
from cervix_jax.explanations import references
from cervix_jax.runs.run import Run

Baseline = Literal["white", "black", "mean", "blur"]
MAX_SIGMA = 50.0  # of blur-integrated gradients, in pixels


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the methods can be told.

    Attributes:
      output: which score is explained.
      baseline: where paths start and what covers; white is an empty slide.
      steps: gradients on a path.
      samples: noisy copies (SmoothGrad), or random points (expected gradients).
      masks: of RISE.
      window: side in pixels of the occluding square; 0 is a quarter of the image.
      feature_map: that class activation maps are made of.
      seed: of everything random.
      batch_size: images at a time; no result depends on it but for rounding.
    """

    output: Output = "logit"
    baseline: Baseline = "white"
    steps: int = 50
    samples: int = 50
    masks: int = 4000
    window: int = 0
    feature_map: str = "stage4"
    seed: int = 0
    batch_size: int = 32


@dataclasses.dataclass(frozen=True)
class Explainer:
    """A network, and how it is explained.

    Attributes:
      run: the network.
      settings: for all methods.
      references: float32 [K, S, S, 3], training images that expected gradients start from; none
        where that method is not asked for.
    """

    run: Run
    settings: Settings
    references: np.ndarray

    def explain(
        self, name: str, images: np.ndarray, targets: np.ndarray, progress: str = ""
    ) -> np.ndarray:
        """Raw maps of a method.

        Args:
          name: one of `METHODS`.
          images: float32 [N, S, S, 3], as the network takes them.
          targets: int [N].
          progress: what a bar is called.

        Returns:
          float32 [N, S, S, 3] or [N, S, S].
        """
        method, count = METHODS[name], len(images)
        if method.one_pass:  # filled up to whole batches: a program for each batch size is costly
            whole = -(-count // self.settings.batch_size) * self.settings.batch_size
            images = np.resize(images, (whole, *images.shape[1:]))
            targets = np.resize(targets, whole)
        return method.function(self, images, targets, progress)[:count]

    def baseline(self, images: np.ndarray) -> np.ndarray:
        """The baseline of these images, broadcastable to them."""
        name, input_range = self.settings.baseline, self.run.input_range
        if name == "white":
            return explain.baselines.white(input_range)
        if name == "black":
            return explain.baselines.black(input_range)
        if name == "mean":
            return explain.baselines.mean(images)
        return explain.baselines.blur(images, images.shape[1] / 8)

    def with_variables(self, variables: Mapping[str, Any]) -> "Explainer":
        """The same with other weights."""
        return dataclasses.replace(self, run=self.run.with_variables(variables))

    def score_of(self, name: str) -> Output:
        """The score that a method's maps explain."""
        return "probability" if name == "rise" else self.settings.output

    def options(self, name: str) -> dict[str, Any]:
        """The settings that a method's maps depend on, JSON-ready."""
        used = {key: getattr(self.settings, key) for key in METHODS[name].depends_on}
        if name == "expected_gradients":
            used["references"] = len(self.references)
        if name == "occlusion":
            used["window"] = self.window
        return used if METHODS[name].reference else {"output": self.score_of(name)} | used

    @property
    def window(self) -> int:
        """Side of the occluding square in pixels."""
        return self.settings.window or max(1, int(self.run.config.image_size) // 4)

    def fixed(self, progress: str) -> dict[str, Any]:
        """Arguments that every method takes."""
        settings = self.settings
        return {"output": settings.output, "batch_size": settings.batch_size, "progress": progress}


Function = Callable[[Explainer, np.ndarray, np.ndarray, str], np.ndarray]
Start = Callable[[Explainer, np.ndarray], Any]
More = Callable[[Explainer, np.ndarray], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method as the command runs it.

    Attributes:
      function: makes maps.
      description: for readers.
      reduction: how its channels become one number for each pixel wherever pixels are ranked.
        Gradients say how much a change of the pixel matters, whichever its direction: their
        absolute values are added. Shares of the score keep their sign.
      depends_on: fields of `Settings`, besides the output.
      one_pass: whether every image is one sample.
      factor: what the sensitivities were multiplied by, for the infidelity.
      start: the baselines whose score the map starts from, where it claims completeness.
      reference: knows nothing of the network; what an explanation should beat.
    """

    function: Function
    description: str
    reduction: Reduction = "sum"
    depends_on: tuple[str, ...] = ()
    one_pass: bool = False
    factor: Start | None = None
    start: Start | None = None
    reference: bool = False


def _of_logits(
    method: Callable[..., np.ndarray], more: More | None = None, **options: str
) -> Function:
    """A method of the logits.

    Args:
      method: of `cervix_jax.explain`.
      more: arguments that depend on the explainer and the images.
      **options: arguments of the method by the field of `Settings` that they take.
    """

    def function(explainer, images, targets, progress):
        given = {key: getattr(explainer.settings, field) for key, field in options.items()}
        own = more(explainer, images) if more else {}
        arguments = explainer.fixed(progress) | given | own
        return method(explainer.run.logits_fn, images, targets, **arguments)

    return function


def _of_features(method: Callable[..., np.ndarray]) -> Function:
    def function(explainer, images, targets, progress):
        own = {"feature_map": explainer.settings.feature_map}
        return method(
            explainer.run.features_fn, images, targets, **own, **explainer.fixed(progress)
        )

    return function


def _baselines(explainer: Explainer, images: np.ndarray) -> dict[str, Any]:
    return {"baselines": explainer.baseline(images)}


METHODS: Mapping[str, Method] = {
    "saliency": Method(
        _of_logits(explain.saliency), "gradient of the score", "sum_absolute", one_pass=True
    ),
    "input_x_gradient": Method(
        _of_logits(explain.input_x_gradient),
        "image, as the network takes it, times the gradient",
        one_pass=True,
        factor=lambda explainer, images: images,
    ),
    "smooth_grad": Method(
        _of_logits(explain.smooth_grad, samples="samples", seed="seed"),
        "mean gradient over noisy copies",
        "sum_absolute",
        ("samples", "seed"),
    ),
    "integrated_gradients": Method(
        _of_logits(explain.integrated_gradients, _baselines, steps="steps"),
        "gradients along the line from the baseline",
        depends_on=("baseline", "steps"),
        factor=lambda explainer, images: images - explainer.baseline(images),
        start=lambda explainer, images: explainer.baseline(images),
    ),
    "expected_gradients": Method(
        _of_logits(
            explain.expected_gradients,
            lambda explainer, images: {
                "baselines": explain.baselines.several(explainer.references)
            },
            samples="samples",
            seed="seed",
        ),
        "integrated gradients from training images",
        depends_on=("samples", "seed"),
        start=lambda explainer, images: explain.baselines.several(explainer.references),
    ),
    "blur_integrated_gradients": Method(
        _of_logits(
            explain.blur_integrated_gradients,
            lambda explainer, images: {"max_sigma": MAX_SIGMA},
            steps="steps",
        ),
        "gradients along ever less blurred images",
        depends_on=("steps",),
        start=lambda explainer, images: explain.baselines.blur(images, MAX_SIGMA),
    ),
    "guided_backprop": Method(
        _of_logits(explain.guided_backprop),
        "gradient through positive paths only",
        "sum_absolute",
        one_pass=True,
    ),
    "grad_cam": Method(
        _of_features(explain.grad_cam),
        "feature maps weighted by their mean gradients",
        depends_on=("feature_map",),
        one_pass=True,
    ),
    "grad_cam_plus_plus": Method(
        _of_features(explain.grad_cam_plus_plus),
        "Grad-CAM++",
        depends_on=("feature_map",),
        one_pass=True,
    ),
    "layer_cam": Method(
        _of_features(explain.layer_cam),
        "feature maps weighted by their positive gradients, place by place",
        depends_on=("feature_map",),
        one_pass=True,
    ),
    "guided_grad_cam": Method(
        _of_features(explain.guided_grad_cam),
        "guided backpropagation times Grad-CAM",
        "sum_absolute",
        ("feature_map",),
        one_pass=True,
    ),
    "occlusion": Method(
        _of_logits(
            explain.occlusion,
            lambda explainer, images: _baselines(explainer, images) | {"window": explainer.window},
        ),
        "fall of the score when a square is covered by the baseline",
        depends_on=("baseline", "window"),
    ),
    "rise": Method(
        _of_logits(
            explain.rise,
            lambda explainer, images: (
                _baselines(explainer, images) | {"output": explainer.score_of("rise")}
            ),
            samples="masks",
            seed="seed",
        ),
        "mean probability of randomly masked images",
        depends_on=("baseline", "masks", "seed"),
    ),
    "random": Method(
        lambda explainer, images, *_: references.random(images, explainer.settings.seed),
        "uniform noise",
        depends_on=("seed",),
        reference=True,
    ),
    "edges": Method(
        lambda explainer, images, *_: references.edges(images, explainer.run.input_range),
        "Sobel magnitude of the grey image",
        reference=True,
    ),
    "darkness": Method(
        lambda explainer, images, *_: references.darkness(images, explainer.run.input_range),
        "how dark the pixel is",
        reference=True,
    ),
    "centre": Method(
        lambda explainer, images, *_: references.centre(images),
        "a Gaussian about the middle of the image",
        reference=True,
    ),
}
REFERENCES = tuple(name for name, method in METHODS.items() if method.reference)
EXPLANATIONS = tuple(name for name in METHODS if name not in REFERENCES)
# Without what costs many passes (RISE) or is a variant of another.
DEFAULT = (
    "saliency", "input_x_gradient", "smooth_grad", "integrated_gradients", "expected_gradients",
    "guided_backprop", "grad_cam", "guided_grad_cam", "occlusion",
)  # fmt: skip
GUIDED = ("guided_backprop", "guided_grad_cam")


def parse_methods(text: str) -> tuple[str, ...]:
    """Names from a flag: a list with commas, "all", or "" for the default ones.

    Raises:
      InputError: a name is unknown.
    """
    if not text:
        return DEFAULT
    if text == "all":
        return EXPLANATIONS
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in EXPLANATIONS]
    if unknown or not names:
        raise InputError(
            f"--method={text}: {unknown[0] if unknown else 'nothing'} is no method; choose from "
            f"{', '.join(EXPLANATIONS)}, or all."
        )
    return names
