"""Measures of explanations.

All `MEASURES` have the signature `measure(fn, images, targets, maps, *, ...)`, with the keywords of
`explain.contract.Common` and some of their own (`masks` for measures of location, `method` for
measures that compute new maps). Measures that use maps only can also be called with maps only:
`sparseness(maps)`, `relevance_mass(maps, masks)`.

Each measure returns one value for each image, NaN if undefined. `summarise` computes the mean with
its confidence interval and counts undefined values. Maps are not normalised and keep their sign
unless the definition of the measure requires otherwise; every option is an argument.
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
