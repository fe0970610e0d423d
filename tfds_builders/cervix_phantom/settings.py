"""The settings of the phantom data set and the TFDS configs made from them."""

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
    """Settings that, with the class and the cluster number, determine every pixel.

    Geometry (outlines, positions, masks) depends on `seed`, `cells_per_cluster` and `overlap`
    only. Data sets that differ only in `confounding`, `stain_variation`, `blur` or `debris`
    therefore show the same cells and can be compared in pairs. A field does not depend on the
    number of other fields.

    `confounding` is the share of a class's slides that are "prepared apart". Such a slide contains
    cells of this class only, in a stain drawn around this class's measured SIPaKMeD colours. Every
    other slide contains clusters of all five classes in one stain, drawn around the colours of a
    randomly chosen class. At 0 every slide is shared and the stain carries no information about the
    class, although the nucleus's share of a crop still shows in its histogram. At 1 no slide is
    shared, and colour alone classifies a random split about as well as in the real data (91 %, and
    84 % from a crop's border, measured with `python -m cervix_jax.audit`). In between, the share
    rises evenly along the cluster numbers, in steps of one slide position (`clusters_per_slide /
    clusters_per_class`). The default 0.5 leaves a shortcut that an audit detects and that gives a
    model only part of the classes.
    """

    seed: int = setting(0, "Random seed of the synthetic images (phantom)", 0, 2**32 - 1)
    clusters_per_class: int = setting(
        60, "Number of fields (clusters of cells) in each of the five classes", 1, 999
    )
    cells_per_cluster: int = setting(5, "Number of cells in each field", 1, 12)
    clusters_per_slide: int = setting(
        6, "Number of consecutive fields of a class on one slide", 1, 999
    )
    overlap: float = setting(
        0.35,
        "Crowding of the cells: 0 no overlap where there is room, 1 strong overlap",
        0.0,
        1.0,
    )
    stain_variation: float = setting(
        1.0,
        "Variation of stain and illumination between slides, fields and cells: 0 none, 1 as in "
        "SIPaKMeD",
        0.0,
        3.0,
    )
    blur: float = setting(1.0, "Strength of the defocus: 0 sharp, 1 as in SIPaKMeD", 0.0, 5.0)
    debris: float = setting(
        1.0,
        "Factor on the expected number of leukocytes, red cells, mucus and debris",
        0.0,
        5.0,
    )
    confounding: float = setting(
        0.5,
        "Share of each class's slides that contain this class only, in a stain typical of it; the "
        "other slides mix the classes in one stain; 0 makes the stain independent of the class",
        0.0,
        1.0,
    )

    def __post_init__(self):
        """Checks every field and casts it to its type; raises `InputError`."""
        check_settings(self, "cervix_phantom setting ")


@dataclasses.dataclass(eq=False)
class PhantomConfig(tfds.core.BuilderConfig):
    """A TFDS config: the view of the fields (single cells or whole fields) and the settings.

    Create it with `phantom_config`, which derives its name from the settings.
    """

    view: str = "single_cell"
    settings: PhantomSettings = dataclasses.field(default_factory=PhantomSettings)


def default_settings(view: str) -> PhantomSettings:
    """The default settings of a config: 300 fields (single_cell) or 500 (multi_cell)."""
    return PhantomSettings(clusters_per_class=_DEFAULT_CLUSTERS[view])


def phantom_config(base: str, **settings: Any) -> PhantomConfig:
    """A config of the phantom with custom settings.

    The name lists every non-default setting, so data prepared with different settings never share
    a folder: `phantom_config("single_cell", seed=3, confounding=0)` has the name
    `single_cell-confounding_0.0-seed_3`. Without such settings the base config is returned.

    Args:
      base: `single_cell` or `multi_cell`.
      **settings: Fields of `PhantomSettings`.

    Returns:
      The config, for `Builder(config=...)`.

    Raises:
      InputError: the base or a setting is unknown, or a value is out of range.
    """
    check_choice("cervix_phantom config", base, VIEWS)
    return vary_config(BASE_CONFIGS[base], settings, "cervix_phantom setting ")


BASE_CONFIGS = {
    "single_cell": PhantomConfig(
        name="single_cell",
        description="Crops around single cells of a cluster, with neighbours at the border.",
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
