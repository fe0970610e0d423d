"""What of the training set of nucleus detectors can be varied, and the TFDS configs made of it."""

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
    """How fields become tiles."""

    microns_per_pixel: float = setting(
        0.5, "Resolution of the tiles in micrometres a pixel, the same for every source", 0.1, 2.0
    )
    side: int = setting(256, "Side of the tiles in pixels, a multiple of 16", 64, 1024)
    nucleus_radius: float = setting(
        2.0, "Radius in micrometres of the disc about a centre that counts as nucleus", 0.5, 5.0
    )
    phantom_fields: int = setting(20, "Drawn fields of each of the phantom's classes", 0, 10_000)

    def __post_init__(self):
        """Checks every field; raises `InputError`."""
        check_settings(self, "nuclei setting ")


@dataclasses.dataclass(kw_only=True)
class NucleiConfig(tfds.core.BuilderConfig):
    """Which fields the tiles are cut from.

    Attributes:
      real: whether real fields are read, from CRIC and SIPaKMeD.
      settings: how they are cut.
    """

    real: bool = True
    settings: NucleiSettings = dataclasses.field(default_factory=NucleiSettings)


BASE_CONFIGS = {
    "fields": NucleiConfig(
        name="fields",
        description="Fields of CRIC and SIPaKMeD with marked nuclei, and the phantom.",
    ),
    "phantom": NucleiConfig(
        name="phantom", description="Drawn fields with every nucleus known.", real=False
    ),
}


def nuclei_config(base: str, **settings: Any) -> NucleiConfig:
    """A config with settings of one's own, which its name lists.

    Args:
      base: "fields" or "phantom".
      **settings: fields of `NucleiSettings`.

    Raises:
      InputError: a setting is unknown or out of its range.
    """
    check_choice("nuclei config", base, BASE_CONFIGS)
    return vary_config(BASE_CONFIGS[base], settings, f"nuclei/{base} setting ")


register_settings("nuclei", BuilderSettings(NucleiSettings, nuclei_config))
