"""All measures of a method: one value for each image, stored on disk as they are computed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.tree_util import Partial

from cervix_jax.explain import measures
from cervix_jax.explain.function import LogitsFn
from cervix_jax.explain.registry import METHODS, Method
from cervix_jax.explanations.annotations import Annotations
from cervix_jax.explanations.explainer import Explainer
from cervix_jax.explanations.selection import Selection
from cervix_jax.explanations.store import Store
from cervix_jax.runs.inference import Variables

Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Effort:
    """Numbers of images and samples for the measures.

    Attributes:
      perturbed_images: maximum number of images for measures that run the network on changed
        images.
      repeated_images: maximum number of images for measures that compute new maps.
      curve_steps: steps of the insertion and deletion curves.
      infidelity_samples: random perturbations of each image.
      sensitivity_samples: slightly changed copies of each image.
    """

    perturbed_images: int = 32
    repeated_images: int = 8
    curve_steps: int = 25
    infidelity_samples: int = 32
    sensitivity_samples: int = 5


@dataclasses.dataclass(frozen=True)
class Subject:
    """The maps of a method with everything needed to measure them.

    Attributes:
      name: name of the method.
      maps: float32 [N, S, S, 3] or [N, S, S].
      selection: the images.
      annotations: masks of the images; None if the data set has none.
      explainer: the network and the settings of the maps.
      fresh: random, untrained variables of the network, for parameter randomisation.
      effort: numbers of images and samples.
    """

    name: str
    maps: np.ndarray
    selection: Selection
    annotations: Annotations | None
    explainer: Explainer
    fresh: Variables
    effort: Effort

    def first(self, count: int) -> "Subject":
        """The same for the first images only."""
        annotations = self.annotations
        return dataclasses.replace(
            self,
            maps=self.maps[:count],
            selection=self.selection.first(count),
            annotations=None if annotations is None else annotations.first(count),
        )

    @property
    def method(self) -> Method:
        """The method that made the maps."""
        return METHODS[self.name]

    @property
    def images(self) -> np.ndarray:
        """The explained images, float32 [N, S, S, 3]."""
        return self.selection.images

    @property
    def targets(self) -> np.ndarray:
        """The class explained for each image, int [N]."""
        return self.selection.targets

    @property
    def explained(self) -> tuple[Partial, np.ndarray, np.ndarray, np.ndarray]:
        """Positional arguments of every measure: the network, images, targets and maps."""
        return self.explainer.function(self.name), self.images, self.targets, self.maps

    @property
    def common(self) -> dict[str, Any]:
        """Keyword arguments of every measure that runs the network."""
        settings = self.explainer.settings
        return {
            "batch_size": settings.batch_size,
            "seed": settings.seed,
            "ids": self.selection.indices,
        }

    def remake(
        self, fn: LogitsFn, images: np.ndarray, targets: np.ndarray, **common: Any
    ) -> np.ndarray:
        """Maps of other images or of another network with the same settings."""
        del common
        return self.explainer.explain(self.name, images, targets, fn=fn)


def _curves(subject: Subject, progress: str) -> Values:
    options = subject.common | {
        "steps": min(subject.effort.curve_steps, subject.maps[0].size),
        "reduction": subject.method.reduction,
    }
    return {
        "insertion": measures.insertion(
            *subject.explained, **options, progress=f"{progress} insertion"
        ).auc,
        "deletion": measures.deletion(
            *subject.explained, **options, progress=f"{progress} deletion"
        ).auc,
    }


def _road(subject: Subject, progress: str) -> Values:
    found = measures.road(
        *subject.explained, reduction=subject.method.reduction, progress=f"{progress} ROAD",
        **subject.common,
    )  # fmt: skip
    return {"road": found.combined}


def _infidelity(subject: Subject, progress: str) -> Values:
    factor, images = subject.method.multiplied_by, subject.images
    found = measures.infidelity(
        *subject.explained,
        multiplied_by=factor and factor(images, subject.explainer.baselines(subject.name, images)),
        samples=subject.effort.infidelity_samples,
        output=subject.explainer.score_of(subject.name),
        progress=f"{progress} infidelity", **subject.common,
    )  # fmt: skip
    # Scaled by its best factor and relative to a map of zeros, so that units do not matter.
    unexplained = np.full(len(found.change), np.nan)
    np.divide(found.normalised, found.change, out=unexplained, where=found.change > 0)
    return {"infidelity": unexplained}


def _completeness(subject: Subject, progress: str) -> Values:
    del progress
    start, images = subject.method.start, subject.images
    assert start is not None
    found = measures.completeness(
        *subject.explained,
        baselines=start(images, subject.explainer.baselines(subject.name, images)),
        output=subject.explainer.score_of(subject.name),
        batch_size=subject.explainer.settings.batch_size,
    )  # fmt: skip
    return {"completeness": found.relative}


def _distribution(subject: Subject, progress: str) -> Values:
    del progress
    reduction = subject.method.reduction
    return {
        "sparseness": measures.sparseness(subject.maps, reduction=reduction),
        "complexity": measures.complexity(subject.maps, reduction=reduction),
    }


def _sensitivity(subject: Subject, progress: str) -> Values:
    found = measures.sensitivity_max(
        *subject.explained, method=subject.remake, samples=subject.effort.sensitivity_samples,
        progress=f"{progress} sensitivity", **subject.common,
    )  # fmt: skip
    return {"sensitivity_max": found}


def _randomisation(subject: Subject, progress: str) -> Values:
    fresh = subject.explainer.with_variables(subject.fresh)
    stages, found = measures.parameter_randomisation(
        *subject.explained, method=subject.remake, fresh=fresh.function(subject.name),
        reduction=subject.method.reduction, progress=f"{progress} randomisation",
    )  # fmt: skip
    rows = zip(stages, found.spearman_absolute, strict=True)
    return {f"randomisation_{stage}": values for stage, values in rows}


def _random_logit(subject: Subject, progress: str) -> Values:
    found = measures.random_logit(
        *subject.explained, method=subject.remake, reduction=subject.method.reduction,
        progress=f"{progress} random logit", **subject.common,
    )  # fmt: skip
    return {"random_logit": found.spearman_signed}


def _average_map(subject: Subject, progress: str) -> Values:
    del progress
    found = measures.average_map_similarity(subject.maps, reduction=subject.method.reduction)
    return {"average_map": found.spearman_signed}


def _localisation(subject: Subject, progress: str) -> Values:
    del progress
    assert subject.annotations is not None
    reduction = subject.method.reduction
    names, masks = subject.annotations.names, subject.annotations.masks
    mass = measures.relevance_mass(subject.maps, masks, reduction=reduction)
    rank = measures.relevance_rank(subject.maps, masks, reduction=reduction)
    area = measures.area_share(masks)
    found = {}
    for column, region in enumerate(names):
        found[f"mass_{region}"] = mass[:, column]
        found[f"rank_{region}"] = rank[:, column]
        found[f"area_{region}"] = area[:, column]
    nucleus = masks[:, names.index("nucleus")]
    hits = measures.pointing_game(subject.maps, nucleus, reduction=reduction)
    return found | {"pointing_nucleus": hits}


@dataclasses.dataclass(frozen=True)
class Group:
    """Measures that are computed together.

    Attributes:
      measure: function of the subject and the label of the progress bar that returns values.
      images: field of `Effort` with the number of images; "" measures all images.
      effort: other fields of `Effort` that the values depend on.
      of_network: whether the measure runs the network; others use the maps only.
    """

    measure: Callable[[Subject, str], Values]
    images: str = ""
    effort: tuple[str, ...] = ()
    of_network: bool = True


GROUPS: Mapping[str, Group] = {
    "insertion_deletion": Group(_curves, "perturbed_images", ("curve_steps",)),
    "road": Group(_road, "perturbed_images"),
    "infidelity": Group(_infidelity, "perturbed_images", ("infidelity_samples",)),
    "completeness": Group(_completeness),
    "distribution": Group(_distribution, of_network=False),
    "sensitivity_max": Group(_sensitivity, "repeated_images", ("sensitivity_samples",)),
    "parameter_randomisation": Group(_randomisation, "repeated_images"),
    "random_logit": Group(_random_logit, "repeated_images"),
    "average_map": Group(_average_map, of_network=False),
    "localisation": Group(_localisation, of_network=False),
}
COMPLETENESS, AVERAGE_MAP, LOCALISATION = "completeness", "average_map", "localisation"


def measure(
    subject: Subject, store: Store, *, groups: Sequence[str] = tuple(GROUPS), progress: str = ""
) -> Values:
    """All values of one method; each measure uses the first images of the selection.

    Args:
      subject: the maps.
      store: store of the files `<group>.json`, with the settings of the maps.
      groups: names of `GROUPS`.
      progress: label of the progress bars.

    Returns:
      Measure to float64 [n]; n differs between measures.

    Raises:
      InputError: a file on disk has other settings or cannot be read.
    """
    values: Values = {}
    for key in groups:
        group, effort, whole = GROUPS[key], subject.effort, len(subject.maps)
        count = min(getattr(effort, group.images), whole) if group.images else whole
        if not count or not _applies(key, subject, count):
            continue
        settings = {"images": count} | {field: getattr(effort, field) for field in group.effort}
        if group.of_network:  # these measures draw random numbers
            settings |= {"seed": subject.explainer.settings.seed}
        if key == LOCALISATION and subject.annotations is not None:
            settings |= subject.annotations.settings

        def make(group: Group = group, count: int = count) -> Values:
            return group.measure(subject.first(count), progress)

        values |= store.values(key, settings, make)
    return values


def _applies(group: str, subject: Subject, count: int) -> bool:
    if group == LOCALISATION:
        return subject.annotations is not None
    if group == AVERAGE_MAP:
        return count > 1
    return group != COMPLETENESS or subject.method.start is not None
