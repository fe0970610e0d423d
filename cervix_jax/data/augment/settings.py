"""The augmentation settings: meanings, defaults, valid ranges and presets."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from cervix_jax.data.decode import MARGINS
from cervix_jax.data.settings import check_names, check_settings, setting, settings_of
from cervix_jax.errors import check_choice

# Fields of `AugmentSettings` that move pixels or define the fill beyond the image border.
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
# Fills for areas beyond the image border.
FILLS = ("reflect", "edge", "black", "white")

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # As in the published training code: torchvision's RandomRotation(25) with a black fill, then
    # CenterCrop. RandomRotation takes the nearest pixel; this package interpolates.
    "paper": {"rotation_degrees": 25.0, "fill": "black", "rotate_before_crop": True},
    # For crops of single cells. A cell has no natural orientation, so all rotations are used.
    # Size is diagnostic (nuclear area), so the scale varies only a little. The colour terms cover
    # differences between stain batches and lamps; blur covers focus.
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
    """Checked augmentation settings; the defaults leave every image unchanged.

    Values in a "+-" range are uniform. Optical densities are natural logarithms; `stain_jitter`
    draws separately for each channel. With `flip` and `rot90`, all 8 symmetries of the square are
    equally likely. The fills "reflect" (mirrored image) and "edge" (repeated border pixels) leave
    no visible corners from which a classifier could read the rotation. `aspect=1/3` gives the usual
    range of 3/4 to 4/3. If `mixup_alpha` and `cutmix_alpha` are both set, each batch uses one of
    them with equal probability.
    """

    flip: bool = setting(
        False, "Random left-right and up-down mirroring, each with probability 1/2"
    )
    rot90: bool = setting(
        False, "Random rotation by 0, 90, 180 or 270 degrees; requires square images"
    )
    rotation_degrees: float = setting(
        0.0, "Maximum angle of a uniform random rotation to either side, in degrees", 0, 180
    )
    rotate_before_crop: bool = setting(
        False,
        "Rotation of the whole image before the centre is cropped, for data.resize=crop and scale: "
        "the corners then show the image around the centre instead of augment.fill",
    )
    scale: float = setting(
        0.0,
        "Range of a random magnification, log-uniform in [1 - scale, 1 + scale]",
        0,
        0.9,
    )
    translate: float = setting(
        0.0, "Maximum random shift along each axis, as a share of the image side", 0, 1
    )
    crop_area: float = setting(
        0.0,
        "Minimum area of a random crop as a share of the image, uniform in [crop_area, 1]; the "
        "crop is stretched to the image size; 0 or 1 turns cropping off",
        0,
        1,
    )
    aspect: float = setting(
        0.0,
        "Range of a random change of the ratio of width to height, log-uniform in "
        "[1 / (1 + aspect), 1 + aspect]",
        0,
        3,
    )
    fill: str = setting(
        "reflect",
        "Fill of areas outside the image: reflect mirrors the image, edge repeats its border "
        "pixels, black and white are constant",
        choices=FILLS,
    )
    stain_vectors: float = setting(
        0.0,
        "Random change of the two stains estimated from each image: each stain's optical density "
        "vector turns by up to +- stain_vectors radians, within the stain plane and out of it, and "
        "its amount is multiplied by a factor in 1 +- stain_vectors",
        0,
        1,
    )
    stain_jitter: float = setting(
        0.0,
        "Random linear change of each channel's optical density od to a * od + b, with a in "
        "1 +- stain_jitter and b in +- stain_jitter",
        0,
        0.9,
    )
    hue: float = setting(
        0.0,
        "Random 3 x 3 mixing of the channels' optical densities: off-diagonal entries in +- hue, "
        "rows sum to 1, so grey stays grey",
        0,
        0.5,
    )
    brightness: float = setting(
        0.0,
        "Random change of illumination: one value in +- brightness is added to all optical "
        "densities",
        0,
        0.9,
    )
    contrast: float = setting(
        0.0,
        "Random change of stain strength: all optical densities are multiplied by one factor in "
        "1 +- contrast",
        0,
        0.9,
    )
    grey: float = setting(
        0.0,
        "Probability that an image becomes grey: each pixel takes the mean optical density of its "
        "channels",
        0,
        1,
    )
    blur_sigma: float = setting(
        0.0,
        "Maximum standard deviation of a random Gaussian blur, uniform in [0, blur_sigma] pixels",
        0,
        10,
    )
    cutout: float = setting(
        0.0,
        "Side of a square that is replaced by the image's mean colour, as a share of the shorter "
        "side; its centre is uniform, so it may extend beyond the border",
        0,
        1,
    )
    mixup_alpha: float = setting(
        0.0, "Parameter of mixup, which weights two images by Beta(alpha, alpha); 0 is off", 0, 100
    )
    cutmix_alpha: float = setting(
        0.0,
        "Parameter of CutMix, which pastes a rectangle of another image with a relative area of "
        "1 - Beta(alpha, alpha); 0 is off",
        0,
        100,
    )

    def __post_init__(self):
        """Checks every field and casts it to its type; raises `InputError`."""
        check_settings(self, "augment.")

    def margin(self, size: int, resize: str) -> int:
        """Width of the margin around the image centre that a rotation can bring into view.

        Args:
          size: side of the square image in pixels.
          resize: method to make images square, see `data.decode.resize_square`.

        Returns:
          Pixels on each side; 0 unless `rotate_before_crop` has an effect.
        """
        if not (self.rotate_before_crop and resize in MARGINS):
            return 0
        # At 45 degrees and beyond a corner reaches its maximum distance, half the diagonal.
        angle = math.radians(min(self.rotation_degrees, 45.0))
        return math.ceil((math.cos(angle) + math.sin(angle) - 1) * (size - 1) / 2)

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
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
      InputError: a name is unknown or a value is out of range; names the field, value and range.
    """
    given = dict(settings)
    preset = given.pop("preset", "none")
    check_choice("augment.preset", preset, PRESETS)
    check_names(given, ["preset", *settings_of(AugmentSettings)], "augment.")
    return AugmentSettings(**(PRESETS[preset] | given))
