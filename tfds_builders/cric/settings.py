"""The settings of the CRIC data set and the TFDS configs made from them."""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, PUBLISHED_WIDTH
from cervix_jax.data.settings import (
    BuilderSettings,
    check_settings,
    register_settings,
    setting,
    vary_config,
)
from cervix_jax.errors import check_choice


@dataclasses.dataclass(frozen=True)
class CricSettings:
    """How examples are cropped from the fields."""

    side: int = setting(
        DEFAULT_SIDE,
        "Side of the square around a nucleus, in pixels of the published fields; in fields of "
        "another width the square is scaled to show the same area",
        8,
        PUBLISHED_WIDTH,
    )
    positions_width: int = setting(
        0,
        "Width in pixels of the fields to which the nucleus positions refer; 0 detects whether "
        "they refer to the fields on disk or to the published fields",
        0,
        100_000,
    )

    def __post_init__(self):
        """Checks every field; raises `InputError`."""
        check_settings(self, "cric setting ")


@dataclasses.dataclass(kw_only=True)
class CricConfig(tfds.core.BuilderConfig):
    """Which examples are created from the fields.

    Attributes:
      view: "field" for whole fields, "cell" for a square around every nucleus.
      settings: how the squares are cropped.
    """

    view: str = "cell"
    settings: CricSettings = dataclasses.field(default_factory=CricSettings)


BASE_CONFIGS = {
    "field": CricConfig(
        name="field", description="400 fields, labelled with the worst finding.", view="field"
    ),
    "cell": CricConfig(name="cell", description="11,534 squares, each around a nucleus."),
}
_WITHOUT = {"field": ("side",)}


def cric_config(base: str, **settings: Any) -> CricConfig:
    """A config of CRIC with custom settings.

    The name lists every non-default setting, so data prepared with different settings never share
    a folder: `cric_config("cell", side=128)` has the name `cell-side_128`.

    Args:
      base: "field" or "cell".
      **settings: fields of `CricSettings`, `side` for "cell" only.

    Raises:
      InputError: a setting is unknown, out of range or not applicable to this config.
    """
    check_choice("cric config", base, BASE_CONFIGS)
    return vary_config(
        BASE_CONFIGS[base], settings, f"cric/{base} setting ", _WITHOUT.get(base, ())
    )


register_settings("cric", BuilderSettings(CricSettings, cric_config, without=_WITHOUT))
