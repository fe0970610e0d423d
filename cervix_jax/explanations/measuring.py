"""Every measure of every method: one value an image, kept on disk as they are made."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.tree_util import Partial

from cervix_jax.explain import measures
from cervix_jax.explanations.annotations import Annotations
from cervix_jax.explanations.methods import METHODS, Explainer
from cervix_jax.explanations.selection import Selection
from cervix_jax.explanations.store import load_or_make_values

Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
      perturbed_images: at most so many for measures that run the network on changed images.
      repeated_images: at most so many for measures that make maps anew.
      curve_steps: of insertion and deletion.
      infidelity_samples: perturbations of each image.
      sensitivity_samples: nearby images of each.
    """

    perturbed_images: int = 32
    repeated_images: int = 8
    curve_steps: int = 25
    infidelity_samples: int = 32
    sensitivity_samples: int = 5


@dataclasses.dataclass(frozen=True)
class Subject:
    """A method's maps, and what they are maps of.

    Attributes:
      name: of the method.
      explainer: the network.
      logits_fn: its logits; one object throughout, since programs are known by it.
      fresh: the network's variables as its initialiser draws them.
      maps: float32 [N, S, S, 3] or [N, S, S].
      images: float32 [N, S, S, 3].
      targets: int [N].
      ids: int [N], positions in the data set.
      masks: of the annotations, bool [N, K, S, S], or None.
      regions: K names.
      effort: how much is measured.
    """

    name: str
    explainer: Explainer
    logits_fn: Partial
    fresh: Mapping[str, Any]
    maps: np.ndarray
    images: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    masks: np.ndarray | None
    regions: tuple[str, ...]
    effort: Effort

    def first(self, count: int) -> "Subject":
        """The first images of it."""
        return dataclasses.replace(
            self,
            maps=self.maps[:count],
            images=self.images[:count],
            targets=self.targets[:count],
            ids=self.ids[:count],
            masks=None if self.masks is None else self.masks[:count],
        )

    @property
    def reduction(self):
        """How channels are reduced."""
        return METHODS[self.name].reduction

    @property
    def scored(self) -> dict[str, Any]:
        """Arguments of whatever scores perturbed images."""
        settings = self.explainer.settings
        return {"batch_size": settings.batch_size, "seed": settings.seed, "ids": self.ids}

    def explain(
        self, fn: Any, images: np.ndarray, targets: np.ndarray, **common: Any
    ) -> np.ndarray:
        """Maps of other images, as a method of the measures."""
        del fn, common
        return self.explainer.explain(self.name, images, targets)


def _curves(subject: Subject, progress: str) -> Values:
    common = (subject.logits_fn, subject.images, subject.targets, subject.maps)
    options = subject.scored | {
        "steps": min(subject.effort.curve_steps, subject.maps[0].size),
        "reduction": subject.reduction,
    }
    return {
        "insertion": measures.insertion(*common, **options, progress=f"{progress} insertion").auc,
        "deletion": measures.deletion(*common, **options, progress=f"{progress} deletion").auc,
    }


def _road(subject: Subject, progress: str) -> Values:
    found = measures.road(
        subject.logits_fn, subject.images, subject.targets, subject.maps,
        reduction=subject.reduction, progress=f"{progress} ROAD", **subject.scored,
    )  # fmt: skip
    return {"road": found.combined}


def _infidelity(subject: Subject, progress: str) -> Values:
    factor = METHODS[subject.name].factor
    found = measures.infidelity(
        subject.logits_fn, subject.images, subject.targets, subject.maps,
        multiplied_by=factor and factor(subject.explainer, subject.images),
        samples=subject.effort.infidelity_samples,
        output=subject.explainer.score_of(subject.name),
        progress=f"{progress} infidelity", **subject.scored,
    )  # fmt: skip
    # Of the map at its best scale, against a map of zeros: so methods in any units compare.
    unexplained = np.full(len(found.change), np.nan)
    np.divide(found.normalised, found.change, out=unexplained, where=found.change > 0)
    return {"infidelity": unexplained}


def _completeness(subject: Subject, progress: str) -> Values:
    del progress
    start = METHODS[subject.name].start
    assert start is not None
    found = measures.completeness(
        subject.logits_fn, subject.images, subject.targets, subject.maps,
        baselines=start(subject.explainer, subject.images),
        output=subject.explainer.score_of(subject.name),
        batch_size=subject.explainer.settings.batch_size,
    )  # fmt: skip
    return {"completeness": found.relative}


def _distribution(subject: Subject, progress: str) -> Values:
    del progress
    options = {"reduction": subject.reduction}
    return {
        "sparseness": measures.sparseness(subject.maps, **options),
        "complexity": measures.complexity(subject.maps, **options),
    }


def _sensitivity(subject: Subject, progress: str) -> Values:
    found = measures.sensitivity_max(
        subject.logits_fn, subject.images, subject.targets, subject.maps, method=subject.explain,
        samples=subject.effort.sensitivity_samples, progress=f"{progress} sensitivity",
        **subject.scored,
    )  # fmt: skip
    return {"sensitivity_max": found}


def _randomisation(subject: Subject, progress: str) -> Values:
    def explain(fn, images, targets, **common):
        del common
        explainer = subject.explainer.with_variables(fn.args[1])
        return explainer.explain(subject.name, images, targets)

    run = subject.explainer.run
    stages, found = measures.parameter_randomisation(
        run.logits_fn, subject.images, subject.targets, subject.maps, method=explain,
        fresh=run.with_variables(subject.fresh).logits_fn,
        reduction=subject.reduction, progress=f"{progress} randomisation",
    )  # fmt: skip
    rows = zip(stages, found.spearman_absolute, strict=True)
    return {f"randomisation_{stage}": values for stage, values in rows}


def _random_logit(subject: Subject, progress: str) -> Values:
    del progress
    found = measures.random_logit(
        subject.logits_fn, subject.images, subject.targets, subject.maps, method=subject.explain,
        reduction=subject.reduction, seed=subject.explainer.settings.seed, ids=subject.ids,
    )  # fmt: skip
    return {"random_logit": found.spearman_signed}


def _average_map(subject: Subject, progress: str) -> Values:
    del progress
    found = measures.average_map_similarity(subject.maps, reduction=subject.reduction)
    return {"average_map": found.spearman_signed}


def _localisation(subject: Subject, progress: str) -> Values:
    del progress
    assert subject.masks is not None
    options = {"reduction": subject.reduction}
    mass = measures.relevance_mass(subject.maps, subject.masks, **options)
    rank = measures.relevance_rank(subject.maps, subject.masks, **options)
    area = measures.area_share(subject.masks)
    found = {}
    for column, region in enumerate(subject.regions):
        found[f"mass_{region}"] = mass[:, column]
        found[f"rank_{region}"] = rank[:, column]
        found[f"area_{region}"] = area[:, column]
    nucleus = subject.masks[:, subject.regions.index("nucleus")]
    return found | {"pointing_nucleus": measures.pointing_game(subject.maps, nucleus, **options)}


@dataclasses.dataclass(frozen=True)
class Group:
    """Measures that are computed together.

    Attributes:
      measure: subject and name of the bar to values.
      images: field of `Effort` with the number of images; "" measures all.
      effort: other fields of `Effort` that the values depend on.
      of_network: whether it looks at the network, and not at the maps alone.
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
    name: str,
    maps: np.ndarray,
    made_with: dict[str, Any],
    selection: Selection,
    explainer: Explainer,
    annotations: Annotations | None,
    effort: Effort,
    folder: Path,
    *,
    logits_fn: Partial,
    fresh: Mapping[str, Any],
    groups: tuple[str, ...] = tuple(GROUPS),
    overwrite: bool = False,
    progress: str = "",
) -> Values:
    """All values of one method, each measure over the first images of the selection.

    Args:
      name: of the method.
      maps: its maps of the selection.
      made_with: settings of the maps.
      selection: what is explained.
      explainer: how.
      annotations: masks, where the data set has any.
      effort: how many images, steps and samples.
      folder: gets `<group>.json`.
      logits_fn: of the run; always the same object.
      fresh: from `fresh.fresh_variables`.
      groups: names of `GROUPS`.
      overwrite: whether files of other settings are replaced.
      progress: what bars are called.

    Returns:
      Measure to float64 [n]; n differs between measures.

    Raises:
      InputError: a file on disk has other settings or cannot be read.
    """
    subject = Subject(
        name, explainer, logits_fn, fresh, maps, selection.images, selection.targets,
        selection.indices, None if annotations is None else annotations.masks,
        () if annotations is None else annotations.names, effort,
    )  # fmt: skip
    values: Values = {}
    for key in groups:
        group = GROUPS[key]
        count = min(getattr(effort, group.images), len(maps)) if group.images else len(maps)
        if not count or not _applies(key, name, count, annotations):
            continue
        settings = made_with | {"images": count}
        settings |= {field: getattr(effort, field) for field in group.effort}
        if group.of_network:  # also the seed of what is drawn
            settings |= {"seed": explainer.settings.seed}
        if key == LOCALISATION and annotations is not None:
            settings |= annotations.settings
        values |= load_or_make_values(
            folder / f"{key}.json",
            settings,
            lambda group=group, count=count: group.measure(subject.first(count), progress),
            overwrite=overwrite,
        )
    return values


def _applies(group: str, method: str, count: int, annotations: Annotations | None) -> bool:
    if group == LOCALISATION:
        return annotations is not None
    if group == AVERAGE_MAP:
        return count > 1
    return group != COMPLETENESS or METHODS[method].start is not None
