"""Checks of a run's arguments: images in memory, the folder of a run, a checkpoint."""

import numbers
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np

from cervix_jax.errors import InputError, did_you_mean
from cervix_jax.files.paths import user_path

Images = np.ndarray | jax.Array | Sequence[np.ndarray]
_MEND = "give uint8 images of shape [H, W, 3]"


def listed_images(images: Images | Iterable[np.ndarray]) -> Images:
    """Return the images in a form that has a length; an iterator is read to its end.

    Raises:
      InputError: the argument is a single image, a path, a table, or contains no images.
    """
    if isinstance(images, np.ndarray | jax.Array):
        if images.ndim == 3 and images.shape[-1] == 3:
            raise InputError(
                f"images={images.dtype} {list(images.shape)} is one image; give a list, [image]."
            )
        if images.ndim in (0, 2):
            raise InputError(f"images={images.dtype} {list(images.shape)}: {_MEND}, as a list.")
        return images
    if isinstance(images, str | bytes | os.PathLike):
        raise InputError(
            f"images={str(images)[:80]!r} is a path; give arrays, uint8 [H, W, 3] "
            "(predict_images takes files)."
        )
    if isinstance(images, dict) or not isinstance(images, Iterable):
        raise InputError(f"images is a {type(images).__name__}; {_MEND}, as a list.")
    if hasattr(images, "__len__") and hasattr(images, "__getitem__"):
        return cast(Images, images)
    return list(images)


def check_image(number: int, image: object) -> None:
    """Check that an image is an array of uint8 RGB pixels.

    Args:
      number: position among the images, for the message.
      image: the given object.

    Raises:
      InputError: it is not such an array.
    """
    if not isinstance(image, np.ndarray | jax.Array):
        kind = type(image)
        if kind.__module__.startswith("PIL."):
            if str(getattr(image, "mode", "")).startswith(("I", "F")):
                raise InputError(
                    f"image {number} is a Pillow image with more than 8 bits a channel, which "
                    "convert('RGB') would clip; scale it to 8 bits by its own range first."
                )
            raise InputError(
                f"image {number} is a Pillow image; give "
                "np.asarray(picture.convert('RGB')), uint8 [H, W, 3]."
            )
        raise InputError(
            f"image {number} is a {kind.__name__}; give arrays, uint8 [H, W, 3] "
            "(predict_images takes files)."
        )
    uint8 = image.dtype == np.uint8
    if not uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        turned = image.ndim == 3 and image.shape[0] == 3 and image.shape[-1] != 3
        raise InputError(
            f"image {number} is {image.dtype} {list(image.shape)}; {_MEND}"
            + (" (channels last)." if turned else ".")
        )


def run_folder(folder: str | Path) -> Path:
    """Return the folder of a run; raises InputError, with the right folder, for a wrong one."""
    if not isinstance(folder, str | os.PathLike) or not str(folder).strip():
        raise InputError(f"folder={folder!r}: give the folder that training wrote to.")
    path = user_path(folder, "folder")
    for inner in (path, *path.parents[:2]):  # the folder of checkpoints, or one of them
        if inner.name == "checkpoints" and (inner.parent / "config.json").is_file():
            raise InputError(
                f"{path} is inside a run; give its folder, {inner.parent}, and the checkpoint "
                "as step."
            )
    if path.is_file():
        raise InputError(f"{path}: is a file; give the folder that training wrote to.")
    return path


def wanted_step(step: object) -> str | int:
    """Parse a requested step; raises InputError if the value cannot be a step."""
    named = ("best", "latest")
    if isinstance(step, str):
        if step.isdecimal():  # as given by a flag
            return int(step)
        if step in named:
            return step
    elif isinstance(step, numbers.Integral) and not isinstance(step, bool) and int(step) >= 0:
        return int(step)
    hint = did_you_mean(str(step).strip().lower(), named)
    raise InputError(f"step={step!r}{hint}: give best, latest or the number of a checkpoint.")
