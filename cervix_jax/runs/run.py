"""A trained run, for evaluation, explanation and analysis scripts."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from cervix_jax.data.class_map import ClassMap
from cervix_jax.data.decode import picture_shape
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.data.fingerprints import Fingerprints
from cervix_jax.data.identity import DataIdentity
from cervix_jax.data.normalization import InputRange, input_range, normalize
from cervix_jax.data.resolution import field_of_view
from cervix_jax.distributed import batch_sharded, make_mesh
from cervix_jax.errors import InputError, check_count
from cervix_jax.files.images import why_no_picture
from cervix_jax.files.paths import nfc
from cervix_jax.jax_settings import as_in_every_run
from cervix_jax.models import DETECTORS
from cervix_jax.models.build import build_model
from cervix_jax.runs import workdir
from cervix_jax.runs.arguments import Images, listed_images, run_folder, wanted_step
from cervix_jax.runs.inference import (
    Variables,
    apply_weights,
    make_features,
    make_forward,
    probabilities_of,
)
from cervix_jax.runs.own_data import open_own_data
from cervix_jax.runs.reading import read_run
from cervix_jax.runs.squares import make_squares


class Run:
    """A trained model with its config, its weights and the preprocessing of its images.

        run = load_run("runs/rcan")
        run.predict(images)                      # uint8 images of any sizes -> probabilities
        data = run.open_data()
        run.logits(data.pipeline.images(data.indices("test")[:8]))

    Attributes:
      model: the Flax NNX module in evaluation mode; `model(images) -> (logits, out)`.
      config: the run's config.
      class_names: C names, in the order of the logits.
      step: the training step of the weights.
      dataset: the checkpoint's description of the data set (name, version, class names, group
        feature, micrometres per pixel, number of examples in each split, leakage).
      identity: the examples of the run; None for runs of earlier versions, which did not record
        them, and for runs created in memory.
      workdir: the folder from which the run was loaded; None for a run created in memory.
      graphdef: static part of the model, for `nnx.merge`.
      variables: {"params", "stats"} as nested dicts.
      logits_fn: maps the output of `preprocess`, float32 [B, S, S, 3], to logits float32 [B, C];
        the function for `explain`. Not compiled. A compiled function that takes it as an argument
        receives the weights as arguments and not as constants, so runs of the same model share one
        compiled program.
      features_fn: as `logits_fn`, but returns the model's output (logits, out). It also accepts
        `perturbations`, see `cervix_jax.models.classifier.Classifier`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        dataset: dict[str, Any],
        variables: Variables,
        step: int,
        workdir: str | Path | None = None,
        identity: DataIdentity | None = None,
    ):
        self.identity = identity
        self.config, self.dataset, self.step = config, dataset, step
        self.workdir = None if workdir is None else Path(workdir)
        self.class_names = tuple(nfc(name) for name in dataset["class_names"])
        abstract = nnx.eval_shape(lambda: build_model(config, len(self.class_names)))
        self.graphdef = nnx.split(abstract, nnx.Param, ...)[0]
        self._take(variables)

    def with_variables(self, variables: Variables) -> "Run":
        """The same model with other weights, such as randomised weights.

        Args:
          variables: {"params", "stats"} with the same names and shapes.
        """
        other = copy.copy(self)
        other._take(variables)
        return other

    def weights_digest(self) -> str:
        """SHA-256 digest of all weights in hexadecimal digits, which identifies the checkpoint."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self.variables):
            digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def open_data(
        self,
        manual_dir: str = "",
        data_dir: str = "",
        *,
        class_map: ClassMap | None = None,
        progress: bool = False,
    ) -> ExperimentData:
        """The run's data with the original split into train, val and test; prepared on first use.

        The examples are identified by their pixels in the current data. They keep the order, names
        and labels of the run. Images that were added later are ignored.

        Args:
          manual_dir: folder with the raw files; default as in training.
          data_dir: folder with prepared data; default as in training.
          class_map: for renamed classes: name in the run to name in the data set, see
            `cervix_jax.data.class_map.match_classes`.
          progress: whether to show a bar while decoding.

        Raises:
          InputError: the data cannot be found or read, images of the run are missing or have other
            pixels or another class, or the data have classes that are unknown to the run.
        """
        return open_own_data(
            self.config, self.identity, self.dataset, name=str(self.workdir or "the run"),
            manual_dir=manual_dir, data_dir=data_dir, class_map=class_map, progress=progress,
        )  # fmt: skip

    def fingerprints(self) -> Fingerprints | None:
        """Fingerprints of the examples of `identity`, in their order; None if they are not stored.

        Raises:
          InputError: the file of fingerprints is damaged.
        """
        if self.workdir is None or self.identity is None:
            return None
        return workdir.read_fingerprints(self.workdir, self.identity)

    @as_in_every_run()
    def squares(self, images: Images, *, mpp: float | None = None) -> np.ndarray:
        """Images at the model's input size, uint8 [N, S, S, 3]; arguments as for `preprocess`."""
        return make_squares(listed_images(images), self.config, self.dataset, mpp)

    @as_in_every_run()
    def preprocess(self, images: Images, *, mpp: float | None = None) -> jax.Array:
        """Resize and normalise images for the model.

        Args:
          images: uint8 [N, H, W, 3], or a list or iterator of uint8 [H, W, 3] of any sizes.
          mpp: resolution of the images in micrometres per pixel, for `data.resize=scale`. None uses
            that of the run's data set; an array [N, S, S, 3] is then used without resizing, see
            `squares.make_squares`.

        Returns:
          float32 [N, S, S, 3], resized and normalised as in training.

        Raises:
          InputError: an image is not uint8 RGB; or the batch size is no positive whole number.
        """
        return normalize(self.squares(images, mpp=mpp), self.config.model.normalization)

    @as_in_every_run()
    def predict(
        self, images: Images, *, batch_size: int = 64, mpp: float | None = None
    ) -> np.ndarray:
        """Class probabilities, float32 [N, C] with rows that sum to 1; arguments as for `logits`.

        Raises:
          InputError: an image is not uint8 RGB, or is empty by the rule for files (see
            `cervix_jax.files.images.why_no_picture`); `logits` accepts any pixels.
        """
        images = listed_images(images)
        logits = self.logits(images, batch_size=batch_size, mpp=mpp)
        for number, image in enumerate(images):
            if reason := why_no_picture(np.asarray(image)):
                raise InputError(
                    f"image {number} {reason}; leave it out, or use run.logits, which accepts any "
                    "pixels."
                )
        return probabilities_of(logits)

    @as_in_every_run()
    def logits(
        self, images: Images, *, batch_size: int = 64, mpp: float | None = None
    ) -> np.ndarray:
        """Logits, computed by the same program as in training and evaluation.

        Args:
          images: as for `preprocess`.
          batch_size: number of images per batch; the last batch is padded.
          mpp: as for `preprocess`.

        Returns:
          float32 [N, C].

        Raises:
          InputError: an image is not uint8 RGB; or the batch size is no positive whole number.
        """
        images = listed_images(images)
        forward = make_forward(self.graphdef, self.config.model.normalization, make_mesh())
        found = [
            np.asarray(forward(self.variables, batch))[:count]
            for batch, count in self._batches(images, batch_size, mpp)
        ]
        return np.concatenate(found) if found else np.zeros((0, len(self.class_names)), np.float32)

    @as_in_every_run()
    def features(
        self,
        images: Images,
        *,
        names: Sequence[str] = (),
        batch_size: int = 64,
        mpp: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Intermediate features of the model.

            run.features(images, names=["pre_logits"])["pre_logits"]   # float32 [N, D]

        Args:
          images: as for `preprocess`.
          names: keys of the model's `out` (see `cervix_jax.models.classifier.Classifier`), or
            "logits"; all features if empty.
          batch_size: number of images per batch.
          mpp: as for `preprocess`.

        Returns:
          {name: [N, ...]} in the model's dtype; "logits" and "pre_logits" are float32.

        Raises:
          InputError: an image is not uint8 RGB, or the model has no such feature.
        """
        images = listed_images(images)
        if isinstance(names, str):
            names = [names]
        features = make_features(
            self.graphdef, self.config.model.normalization, make_mesh(), tuple(names)
        )
        # Without images, one blank image determines the output shapes.
        filled = images if len(images) else np.zeros((1, *self.picture_shape), np.uint8)
        found: dict[str, list[np.ndarray]] = {}
        for batch, count in self._batches(filled, batch_size, mpp):
            for name, array in features(self.variables, batch).items():
                found.setdefault(name, []).append(np.asarray(array)[:count])
        return {name: np.concatenate(parts)[: len(images)] for name, parts in found.items()}

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the model's input."""
        return (*picture_shape(int(self.config.image_size), self.config.data.resize), 3)

    @property
    def field_of_view(self) -> float | None:
        """Side of the square of tissue in the model's input, in micrometres; None if the training
        images showed squares of several sizes, or of an unknown size.
        """
        return field_of_view(self.config, self.dataset)

    @property
    def microns_per_pixel(self) -> float | None:
        """Micrometres per pixel of the model's input; None as for `field_of_view`."""
        seen = self.field_of_view
        return seen and seen / self.config.image_size

    @property
    def finds_nuclei(self) -> bool:
        """Whether the model is a nucleus detector and not an image classifier."""
        return self.config.model.name in DETECTORS

    @property
    def input_range(self) -> InputRange:
        """The preprocessed values of a black and of a white pixel, float32 [3] each."""
        return input_range(self.config.model.normalization)

    def _take(self, variables: Variables) -> None:
        self.variables = jax.tree.map(jnp.asarray, variables)
        self.model = nnx.merge(
            self.graphdef, self.variables["params"], self.variables["stats"], copy=True
        )
        self.model.eval()
        self.logits_fn = Partial(_logits, self.graphdef, self.variables)
        self.features_fn = Partial(apply_weights, self.graphdef, self.variables)

    def _batches(
        self, images: Images, batch_size: int, mpp: float | None
    ) -> Iterator[tuple[jax.Array, int]]:
        # Every batch is padded to one size that the devices can share: one compiled program.
        check_count("batch_size", batch_size)
        mesh = make_mesh()
        devices = mesh.devices.size
        size = -(-min(batch_size, max(len(images), 1)) // devices) * devices
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch = make_squares(part, self.config, self.dataset, mpp, start)
            filled = np.resize(batch, (size, *batch.shape[1:]))
            yield jax.device_put(filled, batch_sharded(mesh)), len(batch)


def _logits(graphdef: nnx.GraphDef, variables: Variables, images: jax.Array) -> jax.Array:
    return apply_weights(graphdef, variables, images)[0]


@as_in_every_run()
def load_run(folder: str | Path, step: str | int = "best") -> Run:
    """Load a trained run.

    Args:
      folder: the workdir of the training run.
      step: "best" (by the validation metric; the latest checkpoint if the run has no validation
        images), "latest", or the number of a kept checkpoint.

    Raises:
      InputError: the run or the checkpoint does not exist, or cannot be read.
    """
    return Run(*read_run(run_folder(folder), wanted_step(step)))


def as_run(run: Run | str | Path, step: str | int = "best") -> Run:
    """The run itself, or the run in a folder.

    Args:
      run: a run, which is returned unchanged, or the folder of a run.
      step: which checkpoint of a folder, see `load_run`.

    Raises:
      InputError: as `load_run`.
    """
    return run if isinstance(run, Run) else load_run(run, step)


def as_classifier(run: Run | str | Path, step: str | int = "best") -> Run:
    """As `as_run`, but accepts only classifiers.

    Raises:
      InputError: as `load_run`; or the run is a nucleus detector.
    """
    found = as_run(run, step)
    if found.finds_nuclei:
        raise InputError(
            f"{found.workdir or 'the run'}: is a nucleus detector, which does not classify "
            "images; give the run of a classifier. Use a detector with predict --field=cells "
            "--detector, or evaluate it."
        )
    return found
