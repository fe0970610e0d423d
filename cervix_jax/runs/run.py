"""A trained run, for evaluation, explanation and analysis scripts."""

import copy
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from cervix_jax.runs import checkpoint, workdir
from cervix_jax import models
from cervix_jax.config.base import check_fields
from cervix_jax.data.decode import resize_square
from cervix_jax.data.normalization import InputRange, input_range, normalize
from cervix_jax.models.build import build_model
from cervix_jax.distributed import make_mesh
from cervix_jax.errors import InputError
from cervix_jax.runs.inference import Variables, make_forward

# Fields that reading a run asks for; the others differ between versions.
NEEDED = (
    "image_size", "eval_batch_size", "checkpoint.best_metric",
    *(f"data.{name}" for name in (
        "dataset", "manual_dir", "data_dir", "placement", "resize", "check_counts", "settings")),
    *(f"split.{name}" for name in ("protocol", "fold", "folds", "seed")),
    *(f"model.{name}" for name in ("name", "attention", "dropout", "dtype", "normalization")),
)  # fmt: skip


class Run:
    """A model with its trained weights, and how it wants its images.

    Attributes:
      model: the Flax NNX module in evaluation mode; `model(images) -> (logits, out)`.
      config: the run's config.
      class_names: C names, in the order of the logits.
      step: the training step of the weights.
      dataset: what the checkpoint says of its data set (name, version, class names, group feature).
      graphdef: static part of the model, for `nnx.merge`.
      variables: {"params", "stats"} as nested dicts.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        dataset: dict,
        variables: Variables,
        step: int,
    ):
        self.config, self.dataset, self.step = config, dataset, step
        self.class_names = tuple(dataset["class_names"])
        abstract = nnx.eval_shape(lambda: build_model(config, len(self.class_names)))
        self.graphdef = nnx.split(abstract, nnx.Param, ...)[0]
        self._take(variables)

    def with_variables(self, variables: Variables) -> "Run":
        """The same network with other weights, such as randomised ones.

        Args:
          variables: {"params", "stats"} of the same names and shapes.
        """
        other = copy.copy(self)
        other._take(variables)
        return other

    def weights_digest(self) -> str:
        """SHA-256 of all weights in hexadecimal digits; tells one checkpoint from another."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self.variables):
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()

    def preprocess(self, images: np.ndarray | Sequence[np.ndarray]) -> jax.Array:
        """What the model is fed for these images.

        Args:
          images: uint8 [N, H, W, 3], or a sequence of uint8 [H, W, 3] of any sizes.

        Returns:
          float32 [N, S, S, 3], resized and normalised as in training.

        Raises:
          InputError: an image is not uint8 RGB.
        """
        return normalize(self._resized(images), self.config.model.normalization)

    def predict(
        self, images: np.ndarray | Sequence[np.ndarray], *, batch_size: int = 64
    ) -> np.ndarray:
        """Class probabilities.

        Args:
          images: as for `preprocess`.
          batch_size: images at a time.

        Returns:
          float32 [N, C]; rows sum to 1.

        Raises:
          InputError: an image is not uint8 RGB.
        """
        found = [
            np.asarray(self._probabilities(self.variables, batch))[:count]
            for batch, count in self._batches(images, batch_size)
        ]
        return np.concatenate(found) if found else np.zeros((0, len(self.class_names)), np.float32)

    @property
    def logits_fn(self) -> Partial:
        """Maps what `preprocess` makes, float32 [B, S, S, 3], to logits float32 [B, C].

        Not compiled. The weights are arguments of a program that takes it as an argument, not
        constants; so runs of the same network share a program. What `explain` asks for.
        """
        return Partial(_logits, self.graphdef, self.variables)

    @property
    def features_fn(self) -> Partial:
        """As `logits_fn`, but gives what the model does, (logits, out).

        Takes `perturbations` too; see `cervix_jax.models.classifier.Classifier`.
        """
        return Partial(_features, self.graphdef, self.variables)

    @property
    def input_range(self) -> InputRange:
        """What `preprocess` makes of a black and of a white pixel, float32 [3] each."""
        return input_range(self.config.model.normalization)

    def _take(self, variables: Variables) -> None:
        self.variables = jax.tree.map(jnp.asarray, variables)
        self.model = nnx.merge(
            self.graphdef, self.variables["params"], self.variables["stats"], copy=True
        )
        self.model.eval()

    def _batches(self, images, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
        # Every batch is filled up to one size, so that the model is compiled once.
        size = min(batch_size, max(len(images), 1))
        for start in range(0, len(images), size):
            batch = self._resized(images[start : start + size])
            yield np.resize(batch, (size, *batch.shape[1:])), len(batch)

    def _resized(self, images) -> np.ndarray:
        for number, image in enumerate(images):
            if np.dtype(image.dtype) != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
                raise InputError(
                    f"image {number} is {image.dtype} {list(image.shape)}; "
                    "give uint8 images of shape [H, W, 3]."
                )
        size, resize = self.config.image_size, self.config.data.resize
        squares = [resize_square(np.asarray(image), size, resize) for image in images]
        return np.stack(squares) if squares else np.zeros((0, size, size, 3), np.uint8)

    @functools.cached_property
    def _probabilities(self):
        forward = make_forward(self.graphdef, self.config.model.normalization, make_mesh())
        return jax.jit(lambda variables, images: jax.nn.softmax(forward(variables, images), -1))


def _features(graphdef: nnx.GraphDef, variables: Variables, images: jax.Array, **options):
    model = nnx.merge(graphdef, variables["params"], variables["stats"], copy=True)
    model.eval()
    return model(images, **options)


def _logits(graphdef: nnx.GraphDef, variables: Variables, images: jax.Array) -> jax.Array:
    return _features(graphdef, variables, images)[0]


def load_run(folder: str | Path, step: str | int = "best") -> Run:
    """Load a trained run.

    Args:
      folder: the workdir that training wrote to.
      step: "best" (by the validation metric; the latest where nothing was validated), "latest", or
        the number of a kept checkpoint.

    Raises:
      InputError: there is no run, no such checkpoint, or it cannot be read.
    """
    folder = Path(folder)
    config = workdir.read_config(folder)
    check_fields(config, f"{folder / 'config.json'}", NEEDED)
    kept = folder / "checkpoints"
    if not kept.is_dir():
        raise InputError(f"{folder}: has no checkpoint yet; train it first.")
    steps = checkpoint.list_steps(kept)
    if isinstance(step, str) and step.isdecimal():  # as a flag gives it
        step = int(step)
    try:
        latest = max(steps, default=None)
        best = checkpoint.find_best_step(kept, config.checkpoint.best_metric) or latest
        named = {"best": best, "latest": latest}
        chosen = named.get(step, step)
        if chosen not in steps:
            raise InputError(
                f"{kept}: has no checkpoint {step!r}; give best, latest or one of {steps}."
            )
        dataset = checkpoint.read_json(kept, chosen, "dataset")
        if not (isinstance(dataset, dict) and dataset.get("class_names")):
            raise ValueError("it does not say what its classes are")
        arrays = checkpoint.read_arrays(kept, chosen, "ema")
        variables = arrays.get("ema") or checkpoint.read_arrays(kept, chosen, "params", "stats")
    except InputError:
        raise
    except Exception as error:  # Orbax raises many kinds for a damaged file
        raise InputError(
            f"{kept}: checkpoint {step!r} cannot be read ({error}); give another step of {steps}."
        ) from error
    _check_fits(kept / str(chosen), config, len(dataset["class_names"]), variables)
    return Run(config, dataset, variables, chosen)


def _check_fits(
    path: Path, config: ml_collections.ConfigDict, num_classes: int, variables: Variables
) -> None:
    """See that weights are those of the config's model.

    Raises:
      InputError: they are not, or the model is unknown.
    """
    abstract = nnx.eval_shape(lambda: build_model(config, num_classes))
    _, params, stats = nnx.split(abstract, nnx.Param, ...)
    wanted = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
    # By names, since a checkpoint has "0" where a model has 0.
    expected, found = (
        {
            jax.tree_util.keystr(name, simple=True, separator="/"): tuple(leaf.shape)
            for name, leaf in jax.tree.leaves_with_path(tree)
        }
        for tree in (wanted, dict(variables))
    )
    differing = [n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)]
    if differing:
        first = min(differing)
        raise InputError(
            f"{path}: these are not the weights of {config.model.name} with {num_classes} classes: "
            f"{first} has the shape {found.get(first, 'absent')}, not "
            f"{expected.get(first, 'absent')}; restore config.json and the checkpoint from one "
            "backup."
        )
