"""Detectors by name: the shipped weights, a run, or blobs."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from cervix_jax import models
from cervix_jax.data.normalization import normalize
from cervix_jax.detect.blobs import REACH, find_blobs
from cervix_jax.detect.peaks import Found, found_in, peak_scores
from cervix_jax.detect.shipped import read_shipped
from cervix_jax.errors import InputError, check_number
from cervix_jax.models.nucleus_detector import MULTIPLE
from cervix_jax.runs.inference import Variables, apply_weights
from cervix_jax.runs.run import Run, load_run

SHIPPED, BLOBS = "nuclei", "blobs"
# Pixel size in micrometres and minimum score for blobs. The number found depends on the stain: 40
# in a field of SIPaKMeD, and some 150 in one of CRIC.
_BLOB_MICRONS, _BLOB_LEAST = 0.5, 0.15
# Receptive field of the network around a position, in its pixels.
_CONTEXT = 96
# Images are padded to multiples of this, so that few sizes are compiled.
_ROUNDED = 8 * MULTIPLE


@dataclasses.dataclass(frozen=True)
class Detector:
    """Finds the centres of nuclei.

        detector = load_detector("nuclei")
        found = detector(tile)                 # uint8 [H, W, 3] at detector.microns_per_pixel
        found.positions, found.scores          # float64 [n, 2] and [n]

    Attributes:
      name: the name or folder given.
      microns_per_pixel: required pixel size of the images.
      least: minimum score of a nucleus.
      context: number of pixels around a part of an image that affect the detections in it.
      digest: digest of the weights; "" for blobs.
      find: finds nuclei with at least a given score.
    """

    name: str
    microns_per_pixel: float
    least: float
    context: int
    digest: str
    find: Callable[[np.ndarray, float], Found]

    def __call__(self, image: np.ndarray) -> Found:
        """The nuclei of an image uint8 [H, W, 3], the most probable first."""
        return self.find(image, self.least)

    def facts(self) -> dict[str, object]:
        """The facts that decide its detections; a resumed command must have the same."""
        return {
            "--detector": self.name,
            "detector's weights": self.digest,
            "detector's resolution": self.microns_per_pixel,
            "--min_nucleus": self.least,
        }


def load_detector(name: str | Path = SHIPPED, least: float | None = None) -> Detector:
    """Load a detector by name.

    Args:
      name: "nuclei" for the weights of this package; "blobs" for the Laplacian of a Gaussian; or
        the folder of a run that was trained with configs/nuclei.py.
      least: minimum score of a nucleus, 0 to 1; None uses the detector's own.

    Raises:
      InputError: there is no such detector, or the folder is a run of another network.
    """
    if least is not None:
        check_number("--min_nucleus", least, 0, 1)
    if str(name) == BLOBS:
        wanted = _BLOB_LEAST if least is None else least

        def blobs(image: np.ndarray, score: float) -> Found:
            return find_blobs(image, _BLOB_MICRONS, score)

        context = math.ceil(REACH / _BLOB_MICRONS)
        return Detector(BLOBS, _BLOB_MICRONS, wanted, context, "", blobs)
    if str(name) == SHIPPED:
        stored = read_shipped()
        graphdef = nnx.split(
            nnx.eval_shape(lambda: models.create(stored.model, num_classes=2)), nnx.Param, ...
        )[0]
        return _of_weights(
            SHIPPED, graphdef, stored.variables, stored.normalization, stored.microns_per_pixel,
            stored.least if least is None else least,
        )  # fmt: skip
    if not Path(name).is_dir():
        raise InputError(
            f"--detector={name}: give {SHIPPED}, {BLOBS}, or the folder of a run that was trained "
            "with configs/nuclei.py."
        )
    return of_run(load_run(name), least)


def of_run(run: Run, least: float | None = None) -> Detector:
    """The detector of a trained run; arguments and errors as for `load_detector`."""
    name = str(run.workdir or "the run")
    if not run.finds_nuclei:
        raise InputError(
            f"--detector={name}: is a run of {run.config.model.name}, which does not detect "
            "nuclei; give one that was trained with configs/nuclei.py."
        )
    microns = run.microns_per_pixel
    if microns is None:
        raise InputError(
            f"--detector={name}: its training images had no common, known pixel size in "
            "micrometres; train a detector on data that have one, e.g. nuclei/fields."
        )
    if least is None:
        least = _least_of(run)
    return _of_weights(
        name, run.graphdef, run.variables, run.config.model.normalization, microns, least
    )


def _least_of(run: Run) -> float:
    """The threshold that the run's evaluation chose on validation fields; else a default one."""
    path = Path(run.workdir or "") / "evaluate" / "test.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return float(report["threshold"]) if report["step"] == run.step else 0.3
    except (OSError, ValueError, KeyError, TypeError):
        return 0.3


def _of_weights(
    name: str,
    graphdef: nnx.GraphDef,
    variables: Variables,
    normalization: str,
    microns: float,
    least: float,
) -> Detector:
    digest = hashlib.sha256()
    for array in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(array).tobytes())
    scores_of = _scores_of(graphdef, normalization)

    def find(image: np.ndarray, score: float) -> Found:
        height, width = image.shape[:2]
        filled = [(0, -length % _ROUNDED) for length in (height, width)]
        padded = np.pad(image, (*filled, (0, 0)), mode="symmetric")
        scores = np.asarray(scores_of(variables, padded[None]))[0]
        found = found_in(scores, score)
        inside = (found.positions < (width, height)).all(1)
        return Found(found.positions[inside], found.scores[inside])

    return Detector(name, microns, least, _CONTEXT, digest.hexdigest(), find)


@functools.lru_cache(maxsize=4)
def _scores_of(graphdef: nnx.GraphDef, normalization: str) -> Callable:
    def scores_of(variables: Variables, images: jax.Array) -> jax.Array:
        return peak_scores(apply_weights(graphdef, variables, normalize(images, normalization))[0])

    return jax.jit(scores_of)
