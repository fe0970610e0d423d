"""The folder of an export: written as a whole or not at all, verified by checksums on reading."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from absl import logging
from jax import export as jax_export

from cervix_jax.errors import InputError
from cervix_jax.export.card import FORMAT, make_card
from cervix_jax.export.model_card import model_card
from cervix_jax.export.program import PLATFORMS, Weights, named_weights, portable, trace
from cervix_jax.files import atomic
from cervix_jax.runs.run import Run, as_classifier

PROGRAM, WEIGHTS, CARD, MODEL_CARD = (
    "model.stablehlo",
    "weights.safetensors",
    "card.json",
    "README.md",
)
# Allowed difference between the program and the exported run, on random images.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
_CHECKED_IMAGES = 3


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """An export read from its folder.

    Attributes:
      card: contents of card.json.
      program: `call(weights, images) -> probabilities`; see `program.trace`.
      weights: float32 arrays by name.
    """

    card: dict[str, Any]
    program: jax_export.Exported
    weights: Weights

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, C] of uint8 RGB images [N, S, S, 3], S of the card.

        Raises:
          InputError: the images have another shape or type.
        """
        size = self.card["size"]
        wanted = (size, self.card.get("width", size), 3)  # earlier versions are square
        if images.dtype != np.uint8 or images.shape[1:] != wanted or not len(images):
            raise InputError(
                f"images are {images.dtype} {list(images.shape)}; this program takes uint8 images "
                f"[N, {', '.join(map(str, wanted))}]: resize them by the card's rule."
            )
        return np.asarray(self._call(self.weights, images))

    @functools.cached_property
    def _call(self):
        return jax.jit(self.program.call)


def export_run(run: Run | str | Path, out: str | Path) -> dict[str, Any]:
    """Write the export folder `out`.

        export_run("runs/rcan", "rcan")

    The exported program is compared with `run` on random images before the folder gets its name. A
    run with a workdir adds its `evaluate/test.json` to the cards, if it is of the same step, and
    the environment from its `env.json`.

    Args:
      run: a trained run, or its folder.
      out: the new folder; `model.stablehlo`, `weights.safetensors`, `card.json` and `README.md`.

    Returns:
      The contents of `card.json`.

    Raises:
      InputError: `out` exists or cannot be written, or a required package is not installed.
      RuntimeError: the results of the exported program differ from those of the run.
    """
    safetensors = _safetensors()
    run = portable(as_classifier(run))
    with atomic.new_folder(out) as folder:
        weights = named_weights(run)
        logging.info("Tracing the program for %s.", ", ".join(PLATFORMS))
        (folder / PROGRAM).write_bytes(trace(run).serialize())
        (folder / WEIGHTS).write_bytes(safetensors.save(weights))
        card = make_card(run, run.workdir, sum(array.size for array in weights.values()))
        card["sha256"] = {name: _sha256(folder / name) for name in (PROGRAM, WEIGHTS)}
        _write_card(folder, card)
        logging.info("Compiling the run and the program to compare their results.")
        card["check"] = _check(load_exported(folder), run)
        _write_card(folder, card)
        atomic.write_text(folder / MODEL_CARD, model_card(card))
    return card


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    atomic.write_json(folder / CARD, card)


def _check(exported: ExportedModel, run: Run) -> dict[str, Any]:
    shape = (_CHECKED_IMAGES, *run.picture_shape)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with jax.default_matmul_precision("highest"):
        expected = run.predict(images)
    difference = float(np.abs(exported.predict(images) - expected).max())
    tolerance = TOLERANCE[exported.card["dtype"]]
    if not difference <= tolerance:
        raise RuntimeError(
            f"the exported program differs from the run by {difference:g} in a probability, more "
            f"than {tolerance:g}; nothing was written."
        )
    return {
        "images": _CHECKED_IMAGES,
        "largest_difference": difference,
        "backend": jax.default_backend(),
    }


def load_exported(folder: str | Path) -> ExportedModel:
    """Read an export; code stored in it runs only when it is called.

    Raises:
      InputError: a file is missing, damaged or not the one that was exported.
    """
    safetensors = _safetensors()
    folder = Path(folder)
    card = _read_card(folder / CARD)
    for name, digest in card["sha256"].items():
        try:
            found = _sha256(folder / name)
        except OSError as error:
            raise InputError(
                f"{folder / name}: cannot be read ({error.strerror or error}); export again."
            ) from error
        if found != digest:
            raise InputError(
                f"{folder / name}: is not the exported file (SHA-256 is {found[:12]}..., "
                f"but {digest[:12]}... in the card); copy it again or export again."
            )
    try:
        program = jax_export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        weights = safetensors.load_file(folder / WEIGHTS)
    except Exception as error:  # files from a newer jax raise many kinds
        raise InputError(
            f"{folder}: jax {jax.__version__} cannot read it ({error}); it was exported with "
            f"{card.get('versions')}: install these versions, or export again."
        ) from error
    return ExportedModel(card, program, weights)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a folder that "
            "cervix_jax.export wrote."
        ) from error
    except ValueError:
        card = None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f"{path}: is not the card of an export ({FORMAT}); export again.")
    if set(card.get("sha256", ())) != {PROGRAM, WEIGHTS}:
        raise InputError(f"{path}: has no checksums of {PROGRAM} and {WEIGHTS}; export again.")
    return card


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _safetensors() -> ModuleType:
    try:
        import flatbuffers  # noqa: F401  jax.export serialises with it
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            f"export needs the package {error.name}; run pip install 'cervix_jax[export]'"
        ) from error
    return safetensors.numpy
