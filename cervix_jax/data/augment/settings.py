"""The augmentation settings: names, defaults, allowed ranges, and presets."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cervix_jax.errors import InputError

FILLS = ("reflect", "edge", "black", "white")

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # The published training code: torchvision RandomRotation(25), whose fill is black (and which
    # takes the nearest pixel where this package interpolates).
    "paper": {"rotation_degrees": 25.0, "fill": "black"},
    # For crops of single cells. A cell has no natural orientation, so the whole rotation group.
    # Size is diagnostic (nuclear area), so it varies only a little. The colour terms cover
    # batches of stain and lamps; blur covers focus.
    "cytology": {
        "flip": True,
        "rot90": True,
        "rotation_degrees": 45.0,
        "scale": 0.15,
        "translate": 0.08,
        "aspect": 0.1,
        "stain_jitter": 0.05,
        "hue": 0.08,
        "brightness": 0.05,
        "contrast": 0.15,
        "blur_sigma": 0.8,
        "fill": "reflect",
    },
}
"""Name to settings, for `settings['preset']`."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Checked augmentation settings; the defaults leave every image as it is.

    Attributes:
      flip: mirror left-right and up-down, each with probability 1/2.
      rot90: rotate by 0, 90, 180 or 270 degrees; with `flip`, one of the 8 symmetries of the
        square with equal probability. Needs square images.
      rotation_degrees: rotate by an angle uniform in +- this many degrees.
      scale: magnify by a factor log-uniform in [1 - scale, 1 + scale].
      translate: shift along each axis by a uniform fraction of the side in +- this.
      crop_area: sample a window whose share of the image area is uniform in [crop_area, 1], at a
        uniform position, and stretch it over the frame. 0 or 1 is off.
      aspect: stretch width against height by a ratio log-uniform in [1 / (1 + aspect),
        1 + aspect]; 1/3 is the usual range of 3/4 to 4/3.
      fill: what lies outside the image: mirrored ("reflect") or repeated ("edge") pixels, which
        leave no corner that a classifier can read, or "black" or "white".
      stain_jitter: optical density of every channel becomes a * od + b, with a uniform in
        1 +- stain_jitter and b uniform in +- stain_jitter (natural logarithm), per channel.
      hue: each of the six cross terms of a 3 x 3 matrix that mixes the channels' optical
        densities is uniform in +- hue; grey stays grey.
      brightness: lamp: adds one value, uniform in +- brightness, to all optical densities.
      contrast: stain strength: multiplies all optical densities by one factor, uniform in
        1 +- contrast.
      grey: probability of replacing the colours by their mean optical density.
      blur_sigma: Gaussian blur with standard deviation uniform in [0, blur_sigma] pixels.
      cutout: side of one square, as a fraction of the shorter image side, that is replaced by
        the mean colour of the image. Its centre is uniform, so it may stick out.
      mixup_alpha: mix two images with a weight drawn from Beta(alpha, alpha).
      cutmix_alpha: paste a rectangle of another image, of area 1 - Beta(alpha, alpha). With
        `mixup_alpha` as well, each batch uses one of the two, with equal probability.
    """

    flip: bool = False
    rot90: bool = False
    rotation_degrees: float = 0.0
    scale: float = 0.0
    translate: float = 0.0
    crop_area: float = 0.0
    aspect: float = 0.0
    fill: str = "reflect"
    stain_jitter: float = 0.0
    hue: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    grey: float = 0.0
    blur_sigma: float = 0.0
    cutout: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @property
    def crops(self) -> bool:
        """Whether a random window is cut."""
        return 0 < self.crop_area < 1

    @property
    def warps(self) -> bool:
        """Whether pixels must be interpolated, beyond flips and quarter turns."""
        return self.crops or any((self.rotation_degrees, self.scale, self.translate, self.aspect))

    @property
    def recolours(self) -> bool:
        """Whether optical densities change."""
        return any((self.stain_jitter, self.hue, self.brightness, self.contrast, self.grey))

    @property
    def mixes(self) -> bool:
        """Whether images of the batch are mixed."""
        return any((self.mixup_alpha, self.cutmix_alpha))


RANGES: dict[str, tuple[float, float]] = {
    "rotation_degrees": (0, 180),
    "scale": (0, 0.9),
    "translate": (0, 1),
    "crop_area": (0, 1),
    "aspect": (0, 3),
    "stain_jitter": (0, 0.9),
    "hue": (0, 0.5),
    "brightness": (0, 0.9),
    "contrast": (0, 0.9),
    "grey": (0, 1),
    "blur_sigma": (0, 10),
    "cutout": (0, 1),
    "mixup_alpha": (0, 100),
    "cutmix_alpha": (0, 100),
}
"""Lowest and highest allowed value of every number, both included."""


def parse_settings(settings: Mapping[str, Any]) -> Settings:
    """Checks settings given by a user.

    Args:
      settings: names and values as in `Settings`. An extra key `preset` names one of `PRESETS` to
        start from; the other keys override it.

    Returns:
      The complete settings.

    Raises:
      InputError: for an unknown name or a value out of range; says the field, value and range.
    """
    given = dict(settings)
    preset = given.pop("preset", "none")
    if preset not in PRESETS:
        raise InputError(f"augment.preset is {preset!r}: choose one of {', '.join(PRESETS)}")
    names = [field.name for field in dataclasses.fields(Settings)]
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        raise InputError(
            f"augment.{unknown[0]} is not a setting: choose from preset, {', '.join(names)}"
        )
    checked = {name: _check(name, value) for name, value in (PRESETS[preset] | given).items()}
    return Settings(**checked)


def _check(name: str, value: Any) -> Any:
    if name == "fill":
        if not isinstance(value, str) or value not in FILLS:
            raise InputError(f"augment.fill is {value!r}: choose one of {', '.join(FILLS)}")
        return value
    boolean = isinstance(value, bool | np.bool_)
    number = isinstance(value, int | float | np.integer | np.floating) and not boolean
    if name not in RANGES:
        if not boolean and not (number and value in (0, 1)):
            raise InputError(f"augment.{name} is {value!r}: give True or False")
        return bool(value)
    low, high = RANGES[name]
    off = boolean and not value
    if not off and not (number and math.isfinite(value) and low <= value <= high):
        raise InputError(f"augment.{name} is {value!r}: give a number from {low} to {high}")
    return float(value)
