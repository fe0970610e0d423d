"""The knobs of the phantom, checked, and the TFDS configs made of them."""

import dataclasses
import math
from typing import Any

import tensorflow_datasets as tfds

from cervix_jax.errors import InputError

VIEWS = ("single_cell", "multi_cell")

_DEFAULT_CLUSTERS = {"single_cell": 60, "multi_cell": 100}

_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "clusters_per_class": (1, 999),
    "cells_per_cluster": (1, 12),
    "clusters_per_slide": (1, 999),
    "overlap": (0.0, 1.0),
    "stain_variation": (0.0, 3.0),
    "blur": (0.0, 5.0),
    "debris": (0.0, 5.0),
    "confounding": (0.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class PhantomSettings:
    """Everything that decides a pixel, apart from class and cluster number.

    Geometry (outlines, positions, masks) depends on `seed`, `cells_per_cluster` and `overlap`
    only, so two settings that differ in `confounding`, `stain_variation`, `blur` or `debris` show
    the same cells: a paired experiment. A field does not depend on how many others are drawn.

    Attributes:
        seed: Root of all random streams, 0 to 2**32 - 1.
        clusters_per_class: Fields of each of the five classes, 1 to 999.
        cells_per_cluster: Cells in every field, 1 to 12.
        clusters_per_slide: Consecutive cluster numbers of a class that lie on one slide.
        overlap: How closely cells crowd: 0 side by side where the field has room, 1 heaped.
        stain_variation: Spread of stain and light between slides, fields and cells; 0 none, 1 as
            wide as in SIPaKMeD.
        blur: Multiplies every defocus; 0 sharp, 1 as in SIPaKMeD.
        debris: Multiplies the expected number of leukocytes, red cells, mucus and debris.
        confounding: How far colour tells the class, 0 to 1. It is the share of a class's slides
            that were "prepared apart": such a slide holds cells of this class only and is stained
            around this class's measured SIPaKMeD colours. The other slides hold clusters of all
            five classes in one stain, drawn around the colours of a class picked regardless of
            what lies on it. At 0 every slide is shared: stain carries no class, though the
            nuclei's share of a crop still shows in its histogram. At 1 every slide is a class's
            own, and colour alone classifies a random split about as well as in the real data (91 %,
            and 84 % from a crop's border, as `python -m cervix_jax.audit` measures). Between, the
            share rises evenly along the cluster numbers, in steps of one slide position
            (`clusters_per_slide / clusters_per_class`). The default 0.5 leaves a shortcut that an
            audit finds and a model cannot follow all the way.
    """

    seed: int = 0
    clusters_per_class: int = 60
    cells_per_cluster: int = 5
    clusters_per_slide: int = 6
    overlap: float = 0.35
    stain_variation: float = 1.0
    blur: float = 1.0
    debris: float = 1.0
    confounding: float = 0.5

    def __post_init__(self):
        """Checks every field and casts it to its type; raises `InputError`."""
        for field in dataclasses.fields(self):
            value = _checked(
                field.name, getattr(self, field.name), whole=field.type in (int, "int")
            )
            object.__setattr__(self, field.name, value)


def _checked(name: str, value: Any, *, whole: bool) -> int | float:
    low, high = _RANGES[name]
    kind = "a whole number" if whole else "a number"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    boolean = isinstance(value, bool)
    # The comparison is false for NaN too.
    if boolean or not low <= number <= high or (whole and not number.is_integer()):
        raise InputError(
            f"cervix_phantom setting {name}={value!r}: give {kind} from {low:g} to {high:g}."
        )
    return int(number) if whole else number


@dataclasses.dataclass(eq=False)
class PhantomConfig(tfds.core.BuilderConfig):
    """A TFDS config: which view of the fields to store, and the settings they are drawn with.

    Make one with `phantom_config`, which names it after its settings.
    """

    view: str = "single_cell"
    settings: PhantomSettings = dataclasses.field(default_factory=PhantomSettings)


def default_settings(view: str) -> PhantomSettings:
    """The settings of the named config as it stands: 300 or 500 fields in all."""
    return PhantomSettings(clusters_per_class=_DEFAULT_CLUSTERS[view])


def phantom_config(base: str, **settings: Any) -> PhantomConfig:
    """A config of the phantom with settings of one's own.

    The name lists every setting that is not the default, so data prepared with different settings
    never share a folder: `phantom_config("single_cell", seed=3, confounding=0)` is called
    `single_cell-confounding_0.0-seed_3`. Without such settings it is the base config itself.

    Args:
        base: `single_cell` or `multi_cell`.
        **settings: Fields of `PhantomSettings`.

    Returns:
        The config, for `Builder(config=...)`.

    Raises:
        InputError: For an unknown base or field, or a value out of its range.
    """
    if base not in VIEWS:
        raise InputError(f"cervix_phantom config {base!r}: give one of {', '.join(VIEWS)}.")
    default = default_settings(base)
    known = [field.name for field in dataclasses.fields(PhantomSettings)]
    for name, value in settings.items():
        if name not in known:
            raise InputError(
                f"cervix_phantom setting {name}={value!r} is unknown: "
                f"give one of {', '.join(known)}."
            )
    chosen = dataclasses.replace(default, **settings)
    changed = {
        name: getattr(chosen, name)
        for name in sorted(known)
        if getattr(chosen, name) != getattr(default, name)
    }
    if not changed:
        return BASE_CONFIGS[base]
    name = "-".join([base, *(f"{key}_{value}" for key, value in changed.items())])
    return PhantomConfig(
        name=name,
        description=f"{BASE_CONFIGS[base].description} Settings: {changed}.",
        view=base,
        settings=chosen,
    )


BASE_CONFIGS = {
    "single_cell": PhantomConfig(
        name="single_cell",
        description="Crops about single cells of a cluster, neighbours visible at the border.",
        view="single_cell",
        settings=default_settings("single_cell"),
    ),
    "multi_cell": PhantomConfig(
        name="multi_cell",
        description="Whole fields with several overlapping cells of one class.",
        view="multi_cell",
        settings=default_settings("multi_cell"),
    ),
}
