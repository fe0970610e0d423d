"""What of CRIC can be varied, checked, and the TFDS configs made of it."""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, PUBLISHED_WIDTH
from cervix_jax.errors import InputError

# Setting -> smallest and largest value.
_RANGES = {"side": (8, PUBLISHED_WIDTH), "positions_width": (0, 100_000)}
_DEFAULTS = {"side": DEFAULT_SIDE, "positions_width": 0}


@dataclasses.dataclass(kw_only=True)
class CricConfig(tfds.core.BuilderConfig):
    """Which examples are made of the fields.

    Attributes:
      view: "field" for whole fields, "cell" for a square about every nucleus.
      side: side of the square in pixels of the published fields, `PUBLISHED_WIDTH` wide; fields of
        another width get squares that show the same part of the cell.
      positions_width: width in pixels of the fields that the positions are given in; 0 finds out
        whether they are those on disk or the published ones.
    """

    view: str = "cell"
    side: int = DEFAULT_SIDE
    positions_width: int = 0


BASE_CONFIGS = {
    "field": CricConfig(
        name="field", description="400 fields, labelled by the worst lesion.", view="field"
    ),
    "cell": CricConfig(name="cell", description="11,534 squares, each about a nucleus."),
}


def cric_config(base: str, **settings: Any) -> CricConfig:
    """A config of CRIC with settings of one's own.

    The name lists what is not the default, so data prepared with different settings never share a
    folder: `cric_config("cell", side=128)` is called `cell-side_128`.

    Args:
      base: "field" or "cell".
      **settings: `side` (of "cell" only) or `positions_width`, see `CricConfig`.

    Raises:
      InputError: a setting is unknown, out of its range or of no use to this config.
    """
    known = [name for name in _RANGES if base == "cell" or name != "side"]
    for name, value in settings.items():
        if name not in known:
            raise InputError(
                f"cric/{base} setting {name}={value!r} is unknown; give one of {', '.join(known)}."
            )
        low, high = _RANGES[name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise InputError(
                f"cric/{base} setting {name}={value!r}: give a whole number from {low} to {high}."
            )
    changed = {k: settings[k] for k in sorted(settings) if settings[k] != _DEFAULTS[k]}
    if not changed:
        return BASE_CONFIGS[base]
    return dataclasses.replace(
        BASE_CONFIGS[base],
        name="-".join([base, *(f"{key}_{value}" for key, value in changed.items())]),
        description=f"{BASE_CONFIGS[base].description} Settings: {changed}.",
        **changed,
    )
