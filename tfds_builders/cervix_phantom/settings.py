"""The knobs of the phantom, and the TFDS configs made of them."""

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

_DEFAULT_CLUSTERS = {"single_cell": 60, "multi_cell": 100}
VIEWS = tuple(_DEFAULT_CLUSTERS)


@dataclasses.dataclass(frozen=True)
class PhantomSettings:
    """Everything that decides a pixel, apart from class and cluster number.

    Geometry (outlines, positions, masks) depends on `seed`, `cells_per_cluster` and `overlap`
    only, so two settings that differ in `confounding`, `stain_variation`, `blur` or `debris` show
    the same cells: a paired experiment. A field does not depend on how many others are drawn.

    `confounding` is the share of a class's slides that were "prepared apart": such a slide holds
    cells of this class only and is stained around this class's measured SIPaKMeD colours. The other
    slides hold clusters of all five classes in one stain, drawn around the colours of a class
    picked regardless of what lies on it. At 0 every slide is shared: stain carries no class, though
    the nuclei's share of a crop still shows in its histogram. At 1 every slide is a class's own,
    and colour alone classifies a random split about as well as in the real data (91 %, and 84 %
    from a crop's border, as `python -m cervix_jax.audit` measures). Between, the share rises evenly
    along the cluster numbers, in steps of one slide position (`clusters_per_slide /
    clusters_per_class`). The default 0.5 leaves a shortcut that an audit finds and a model cannot
    follow all the way.
    """

    seed: int = setting(0, "Root of all random streams of the phantom", 0, 2**32 - 1)
    clusters_per_class: int = setting(60, "Fields of each of the five classes", 1, 999)
    cells_per_cluster: int = setting(5, "Cells in every field", 1, 12)
    clusters_per_slide: int = setting(
        6, "Consecutive cluster numbers of a class that lie on one slide", 1, 999
    )
    overlap: float = setting(
        0.35, "How closely cells crowd: 0 side by side where there is room, 1 heaped", 0.0, 1.0
    )
    stain_variation: float = setting(
        1.0,
        "Spread of stain and light between slides, fields and cells: 0 none, 1 as in SIPaKMeD",
        0.0,
        3.0,
    )
    blur: float = setting(1.0, "Multiplies every defocus: 0 sharp, 1 as in SIPaKMeD", 0.0, 5.0)
    debris: float = setting(
        1.0, "Multiplies the expected number of leukocytes, red cells, mucus and debris", 0.0, 5.0
    )
    confounding: float = setting(
        0.5,
        "How far colour tells the class: the share of a class's slides that were prepared apart "
        "and carry this class's stain",
        0.0,
        1.0,
    )

    def __post_init__(self):
        """Checks every field and casts it to its type; raises `InputError`."""
        check_settings(self, "cervix_phantom setting ")


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
    check_choice("cervix_phantom config", base, VIEWS)
    return vary_config(BASE_CONFIGS[base], settings, "cervix_phantom setting ")


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


register_settings(
    "cervix_phantom",
    BuilderSettings(
        PhantomSettings,
        phantom_config,
        defaults={view: {"clusters_per_class": count} for view, count in _DEFAULT_CLUSTERS.items()},
    ),
)
