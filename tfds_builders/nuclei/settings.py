"""The settings of the nucleus detector's training set and the TFDS configs made from them."""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from cervix_jax.data.settings import (
    BuilderSettings,
    check_settings,
    register_settings,
    setting,
    vary_config,
)
from cervix_jax.errors import check_choice


@dataclasses.dataclass(frozen=True)
class NucleiSettings:
    """How fields are cut into tiles."""

    microns_per_pixel: float = setting(
        0.5, "Resolution of the tiles in micrometres per pixel, for all sources", 0.1, 2.0
    )
    side: int = setting(256, "Side of the tiles in pixels, a multiple of 16", 64, 1024)
    nucleus_radius: float = setting(
        2.0, "Radius in micrometres of the disc around a centre that counts as nucleus", 0.5, 5.0
    )
    phantom_fields: int = setting(20, "Number of fields in each class of the phantom", 0, 10_000)

    def __post_init__(self):
        """Checks every field; raises `InputError`."""
        check_settings(self, "nuclei setting ")


@dataclasses.dataclass(kw_only=True)
class NucleiConfig(tfds.core.BuilderConfig):
    """Which fields are cut into tiles.

    Attributes:
      real: whether the real fields of CRIC and SIPaKMeD are included.
      settings: how the fields are cut.
    """

    real: bool = True
    settings: NucleiSettings = dataclasses.field(default_factory=NucleiSettings)


BASE_CONFIGS = {
    "fields": NucleiConfig(
        name="fields",
        description="Fields of CRIC and SIPaKMeD with marked nuclei, and phantom fields.",
    ),
    "phantom": NucleiConfig(
        name="phantom", description="Phantom fields, in which every nucleus is known.", real=False
    ),
}


def nuclei_config(base: str, **settings: Any) -> NucleiConfig:
    """A config with custom settings, which its name lists.

    Args:
      base: "fields" or "phantom".
      **settings: fields of `NucleiSettings`.

    Raises:
      InputError: a setting is unknown or out of range.
    """
    check_choice("nuclei config", base, BASE_CONFIGS)
    return vary_config(BASE_CONFIGS[base], settings, f"nuclei/{base} setting ")


register_settings("nuclei", BuilderSettings(NucleiSettings, nuclei_config))
