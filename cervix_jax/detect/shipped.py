"""The weights of a nucleus detector that ship with the package, described in MODEL_CARD.md."""

import dataclasses
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from cervix_jax.files import atomic
from cervix_jax.runs.inference import Variables


@dataclasses.dataclass(frozen=True)
class Stored:
    """Weights of a detector with the settings needed to use them.

    Attributes:
      model: name of the network.
      normalization: normalisation of its images.
      microns_per_pixel: pixel size of its images in micrometres.
      least: minimum score of a nucleus.
      variables: {"params", "stats"}.
    """

    model: str
    normalization: str
    microns_per_pixel: float
    least: float
    variables: Variables


_SETTINGS = "settings"  # the entry of the file that is not an array of the network


def read_shipped() -> Stored:
    """Read the weights that ship with the package, see MODEL_CARD.md."""
    source = importlib.resources.files("cervix_jax.detect").joinpath("nuclei.npz")
    with importlib.resources.as_file(source) as path:
        return read_stored(path)


def read_stored(path: Path) -> Stored:
    """Read weights from a file written by `store`."""
    with np.load(path, allow_pickle=False) as file:
        settings: dict[str, Any] = json.loads(str(file[_SETTINGS]))
        flat = {
            tuple(int(part) if part.isdigit() else part for part in name.split("/")): jnp.asarray(
                file[name], jnp.float32
            )
            for name in file.files
            if name != _SETTINGS
        }
    return Stored(**settings, variables=traverse_util.unflatten_dict(flat))


def store(path: Path, variables: Variables, settings: Mapping[str, Any]) -> None:
    """Write weights for `read_stored`; kernels are stored as float16, half their size.

    Args:
      path: an .npz file.
      variables: {"params", "stats"}.
      settings: the other attributes of `Stored`.
    """
    flat: dict[Any, Any] = dict(traverse_util.flatten_dict(variables))
    arrays: dict[str, Any] = {
        "/".join(map(str, name)): np.asarray(value, np.float16 if np.ndim(value) > 1 else None)
        for name, value in flat.items()
    }
    with atomic.replacing(path) as temporary:
        named = {_SETTINGS: np.asarray(json.dumps(settings)), **arrays}
        np.savez_compressed(temporary, allow_pickle=False, **named)
