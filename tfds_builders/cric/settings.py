"""What of CRIC can be varied, and the TFDS configs made of it."""

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
    """How examples are cut out of the fields."""

    side: int = setting(
        DEFAULT_SIDE,
        "Side of the square about a nucleus, in pixels of the published fields; fields of another "
        "width get squares that show the same part of the cell",
        8,
        PUBLISHED_WIDTH,
    )
    positions_width: int = setting(
        0,
        "Width in pixels of the fields that the positions are given in; 0 finds out whether they "
        "are those on disk or the published ones",
        0,
        100_000,
    )

    def __post_init__(self):
        """Checks every field; raises `InputError`."""
        check_settings(self, "cric setting ")


@dataclasses.dataclass(kw_only=True)
class CricConfig(tfds.core.BuilderConfig):
    """Which examples are made of the fields.

    Attributes:
      view: "field" for whole fields, "cell" for a square about every nucleus.
      settings: how they are cut out.
    """

    view: str = "cell"
    settings: CricSettings = dataclasses.field(default_factory=CricSettings)


BASE_CONFIGS = {
    "field": CricConfig(
        name="field", description="400 fields, labelled by the worst lesion.", view="field"
    ),
    "cell": CricConfig(name="cell", description="11,534 squares, each about a nucleus."),
}
_WITHOUT = {"field": ("side",)}


def cric_config(base: str, **settings: Any) -> CricConfig:
    """A config of CRIC with settings of one's own.

    The name lists what is not the default, so data prepared with different settings never share a
    folder: `cric_config("cell", side=128)` is called `cell-side_128`.

    Args:
      base: "field" or "cell".
      **settings: fields of `CricSettings`, `side` for "cell" only.

    Raises:
      InputError: a setting is unknown, out of its range or of no use to this config.
    """
    check_choice("cric config", base, BASE_CONFIGS)
    return vary_config(
        BASE_CONFIGS[base], settings, f"cric/{base} setting ", _WITHOUT.get(base, ())
    )


register_settings("cric", BuilderSettings(CricSettings, cric_config, without=_WITHOUT))
