"""The augmentation settings: meanings, defaults, allowed ranges, and presets."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from cervix_jax.data.decode import MARGINS
from cervix_jax.data.settings import check_names, check_settings, setting, settings_of
from cervix_jax.errors import check_choice

# Fields of `AugmentSettings` that say where pixels go and what comes in from beyond the border.
GEOMETRY = (
    "flip",
    "rot90",
    "rotation_degrees",
    "scale",
    "translate",
    "crop_area",
    "aspect",
    "fill",
)
# What may come in.
FILLS = ("reflect", "edge", "black", "white")

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # The published training code: torchvision RandomRotation(25), whose fill is black (and which
    # takes the nearest pixel where this package interpolates), then CenterCrop.
    "paper": {"rotation_degrees": 25.0, "fill": "black", "rotate_before_crop": True},
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
class AugmentSettings:
    """Checked augmentation settings; the defaults leave every image as it is.

    "+-" is uniform. Optical densities are natural logarithms; `stain_jitter` draws for each
    channel. With `flip` and `rot90` each of the 8 symmetries of the square is equally likely. The
    fills "reflect" (mirrored) and "edge" (repeated pixels) leave no corner that a classifier can
    read.
    An aspect of 1/3 is the usual range of 3/4 to 4/3. With `mixup_alpha` and `cutmix_alpha` each
    batch uses one of the two, with equal probability.
    """

    flip: bool = setting(False, "Mirror left-right and up-down, each with probability 1/2")
    rot90: bool = setting(False, "Rotate by 0, 90, 180 or 270 degrees; needs square images")
    rotation_degrees: float = setting(0.0, "Rotate by an angle of +- this many degrees", 0, 180)
    rotate_before_crop: bool = setting(
        False,
        "Rotate the whole image and then cut its centre out, where data.resize is crop or scale: "
        "corners show what lies beside the centre, as far as the image goes",
    )
    scale: float = setting(0.0, "Magnify by a factor log-uniform in [1 - scale, 1 + scale]", 0, 0.9)
    translate: float = setting(0.0, "Shift along each axis by +- this share of the side", 0, 1)
    crop_area: float = setting(
        0.0,
        "Cut a window of a share of the area uniform in [crop_area, 1], anywhere, and stretch it "
        "over the frame; 0 or 1 is off",
        0,
        1,
    )
    aspect: float = setting(
        0.0,
        "Stretch width against height by a ratio log-uniform in [1 / (1 + aspect), 1 + aspect]",
        0,
        3,
    )
    fill: str = setting(
        "reflect",
        "What lies outside of the image: mirrored or repeated pixels, black or white",
        choices=FILLS,
    )
    stain_vectors: float = setting(
        0.0,
        "The two stains found in each image: turn the direction of each in optical density by +- "
        "this many radians, along their plane and across it, and multiply its amount by 1 +- this",
        0,
        1,
    )
    stain_jitter: float = setting(
        0.0,
        "Optical density of every channel becomes a * od + b, a in 1 +- stain_jitter and b in +- "
        "stain_jitter",
        0,
        0.9,
    )
    hue: float = setting(
        0.0,
        "Mix the channels' optical densities by six terms of +- hue each; grey stays grey",
        0,
        0.5,
    )
    brightness: float = setting(
        0.0, "Lamp: add one value of +- brightness to all optical densities", 0, 0.9
    )
    contrast: float = setting(
        0.0,
        "Stain strength: multiply all optical densities by one factor of 1 +- contrast",
        0,
        0.9,
    )
    grey: float = setting(
        0.0, "Probability of replacing the colours by their mean optical density", 0, 1
    )
    blur_sigma: float = setting(
        0.0, "Gaussian blur of a deviation uniform in [0, blur_sigma] pixels", 0, 10
    )
    cutout: float = setting(
        0.0,
        "Side of one square, as a share of the shorter side, that takes the image's mean colour; "
        "its centre is uniform, so it may stick out",
        0,
        1,
    )
    mixup_alpha: float = setting(
        0.0, "Mix two images with a weight drawn from Beta(alpha, alpha)", 0, 100
    )
    cutmix_alpha: float = setting(
        0.0, "Paste a rectangle of another image, of area 1 - Beta(alpha, alpha)", 0, 100
    )

    def __post_init__(self):
        """Checks every field and casts it to its type; raises `InputError`."""
        check_settings(self, "augment.")

    def margin(self, size: int, resize: str) -> int:
        """Pixels about the centre of an image that its rotation brings into the frame.

        Args:
          size: side of the frame in pixels.
          resize: how images become square, see `data.decode.resize_square`.

        Returns:
          How many on each side; 0 unless `rotate_before_crop` has an effect.
        """
        if not (self.rotate_before_crop and resize in MARGINS):
            return 0
        # Half the diagonal is as far as a corner gets, at 45 degrees and beyond.
        angle = math.radians(min(self.rotation_degrees, 45.0))
        return math.ceil((math.cos(angle) + math.sin(angle) - 1) * (size - 1) / 2)

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
        matrix = (self.stain_vectors, self.stain_jitter, self.hue, self.contrast, self.grey)
        return any((*matrix, self.brightness))

    @property
    def mixes(self) -> bool:
        """Whether images of the batch are mixed."""
        return any((self.mixup_alpha, self.cutmix_alpha))


def parse_settings(settings: Mapping[str, Any]) -> AugmentSettings:
    """Checks settings given by a user.

    Args:
      settings: names and values as in `AugmentSettings`. An extra key `preset` names one of
        `PRESETS` to start from; the other keys override it.

    Returns:
      The complete settings.

    Raises:
      InputError: for an unknown name or a value out of range; says the field, value and range.
    """
    given = dict(settings)
    preset = given.pop("preset", "none")
    check_choice("augment.preset", preset, PRESETS)
    check_names(given, ["preset", *settings_of(AugmentSettings)], "augment.")
    return AugmentSettings(**(PRESETS[preset] | given))
