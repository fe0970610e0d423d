"""Measures of explanations.

All of `MEASURES` take the same call, `measure(fn, images, targets, maps, *, ...)` with the keywords
of `explain.contract.Common` and some of their own (`masks` where they ask where a map lies,
`method` where they make maps anew). Those that look at maps alone can be called with these alone
too: `sparseness(maps)`, `relevance_mass(maps, masks)`.

Each gives one value an image, NaN where it is undefined; `summarise` makes of them a mean with its
interval and counts what was undefined. Nothing is normalised or made absolute unless the measure's
definition says so, and every choice is an argument.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cervix_jax.explain.measures.averages import summarise, summarise_by_class
from cervix_jax.explain.measures.axioms import Completeness, completeness
from cervix_jax.explain.measures.curves import (
    Curve,
    deletion,
    insertion,
    insertion_deletion,
)
from cervix_jax.explain.measures.distribution import complexity, effective_complexity, sparseness
from cervix_jax.explain.measures.faithfulness import (
    GaussianNoise,
    Infidelity,
    SquareRemoval,
    infidelity,
)
from cervix_jax.explain.measures.imputation import Road, road
from cervix_jax.explain.measures.localisation import (
    area_share,
    dilate,
    pointing_game,
    relevance_mass,
    relevance_rank,
    roc_auc,
)
from cervix_jax.explain.measures.maps import reduce_channels
from cervix_jax.explain.measures.randomisation import (
    STAGES,
    Similarity,
    average_map_similarity,
    parameter_randomisation,
    random_logit,
    similarity,
)
from cervix_jax.explain.measures.regions import Regions, cell_regions, nucleus_discs
from cervix_jax.explain.measures.robustness import sensitivity_max

MEASURES: Mapping[str, Callable[..., Any]] = {
    measure.__name__: measure
    for measure in (
        insertion, deletion, insertion_deletion, road, infidelity, completeness, sensitivity_max,
        parameter_randomisation, random_logit, average_map_similarity, sparseness, complexity,
        effective_complexity, relevance_mass, relevance_rank, roc_auc, pointing_game,
    )
}  # fmt: skip

__all__ = [
    "MEASURES",
    "STAGES",
    "Completeness",
    "Curve",
    "GaussianNoise",
    "Infidelity",
    "Regions",
    "Road",
    "Similarity",
    "SquareRemoval",
    "area_share",
    "average_map_similarity",
    "cell_regions",
    "completeness",
    "complexity",
    "deletion",
    "dilate",
    "effective_complexity",
    "infidelity",
    "insertion",
    "insertion_deletion",
    "nucleus_discs",
    "parameter_randomisation",
    "pointing_game",
    "random_logit",
    "reduce_channels",
    "relevance_mass",
    "relevance_rank",
    "road",
    "roc_auc",
    "sensitivity_max",
    "similarity",
    "sparseness",
    "summarise",
    "summarise_by_class",
]
