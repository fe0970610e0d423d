"""A run with the settings of its maps, passed to `explain.registry` for each method."""

import dataclasses
from typing import Any, get_args

import numpy as np
from jax.tree_util import Partial

from cervix_jax.errors import check_choice, check_count
from cervix_jax.explain import registry
from cervix_jax.explain.baselines import Baselines, Several
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.registry import METHODS, Baseline, Method
from cervix_jax.runs.inference import Variables
from cervix_jax.runs.run import Run


@dataclasses.dataclass(frozen=True)
class MapSettings:
    """Settings of the maps; None keeps the default of `explain.registry`.

    Attributes:
      output: score to explain; RISE always explains the probability.
      baseline: baseline of integrated gradients, occlusion and RISE; white is an empty slide.
      steps: steps on the path of integrated gradients.
      samples: noisy copies (SmoothGrad) or random points (expected gradients) for each image.
      masks: random masks of RISE.
      window: side of the square that occlusion covers, in pixels.
      feature_map: feature map of class activation maps.
      seed: random seed.
      batch_size: images in one batch; results depend on it only by rounding.
    """

    output: Output = "logit"
    baseline: Baseline = "white"
    steps: int | None = None
    samples: int | None = None
    masks: int | None = None
    window: int | None = None
    feature_map: str | None = None
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self):
        check_choice("output", self.output, get_args(Output))
        check_choice("baseline", self.baseline, get_args(Baseline))
        for name in ("steps", "samples", "masks", "window"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_count("seed", self.seed, 0)
        check_count("batch_size", self.batch_size)

    def of(self, name: str) -> dict[str, Any]:
        """A method's own settings."""
        own = METHODS[name].settings
        given = {
            "steps": self.steps,
            "samples": self.masks if name == "rise" else self.samples,
            "window": self.window,
            "feature_map": self.feature_map,
        }
        return own | {k: value for k, value in given.items() if k in own and value is not None}


@dataclasses.dataclass(frozen=True)
class Explainer:
    """A run with the settings of its maps.

    Attributes:
      run: the run.
      settings: settings of all methods.
      references: training images as baselines of expected gradients; None if that method is not
        used.
    """

    run: Run
    settings: MapSettings
    references: Several | None

    def function(self, name: str) -> Partial:
        """The function of the network that a method requires."""
        return self.run.features_fn if METHODS[name].features else self.run.logits_fn

    def explain(
        self,
        name: str,
        images: np.ndarray,
        targets: np.ndarray,
        progress: str = "",
        *,
        fn: LogitsFn | None = None,
    ) -> np.ndarray:
        """Raw maps of a method.

        Args:
          name: one of `METHODS`.
          images: float32 [N, S, S, 3], preprocessed for the network.
          targets: int [N], the class to explain.
          progress: label of the progress bar.
          fn: network to explain instead of the run's own, such as one with random weights.

        Returns:
          float32 [N, S, S, 3] or [N, S, S].
        """
        method, count, settings = METHODS[name], len(images), self.settings
        if method.one_pass:  # padded to whole batches, since each batch size compiles a program
            whole = -(-count // settings.batch_size) * settings.batch_size
            images = np.resize(images, (whole, *images.shape[1:]))
            targets = np.resize(targets, whole)
        return registry.explain(
            name,
            self.function(name) if fn is None else fn,
            images,
            targets,
            input_range=self.run.input_range,
            baselines=self._baselines(method),
            output=settings.output,
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=progress,
            **settings.of(name),
        )[:count]

    def baselines(self, name: str, images: np.ndarray) -> Any:
        """Baselines of a method for these images; None if it takes no baselines."""
        given = self._baselines(METHODS[name])
        return registry.baselines_of(name, images, given, self.run.input_range)

    def _baselines(self, method: Method) -> Baselines | Baseline:
        return self.references if method.baseline == "images" else self.settings.baseline

    def with_variables(self, variables: Variables) -> "Explainer":
        """A copy with other weights."""
        return dataclasses.replace(self, run=self.run.with_variables(variables))

    def score_of(self, name: str) -> Output:
        """The score that a method's maps explain."""
        return METHODS[name].output or self.settings.output

    def options(self, name: str) -> dict[str, Any]:
        """Settings that a method's maps depend on, JSON-ready."""
        method, used = METHODS[name], self.settings.of(name)
        if not method.reference:
            used |= {"output": self.score_of(name)}
        if method.baseline == "colour":
            used |= {"baseline": self.settings.baseline}
        if method.baseline == "images":
            used |= {"references": 0 if self.references is None else self.references.count}
        if method.seeded:
            used |= {"seed": self.settings.seed}
        return used
