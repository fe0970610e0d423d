"""Source of the images to explain: a split of the run's own data set, or another data set."""

import dataclasses

import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.class_map import ClassMap
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.data.resolution import network_scale
from cervix_jax.errors import InputError
from cervix_jax.explain.baselines import Several, several
from cervix_jax.runs.own_data import with_classes
from cervix_jax.runs.run import Run

REFERENCE_IMAGES = 32  # training images that serve as baselines of expected gradients


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set and the positions to select images from.

    Attributes:
      dataset: the run's own data set, or another.
      pipeline: pipeline that reads its images.
      candidates: int, positions to choose from.
      data: the run's own data, split as in training; None for another data set.
    """

    dataset: Dataset
    pipeline: Pipeline
    candidates: np.ndarray
    data: ExperimentData | None

    @property
    def own(self) -> bool:
        """Whether the run was trained on this data set."""
        return self.data is not None


def open_source(
    run: Run,
    split: str,
    dataset: Dataset | None,
    manual_dir: str,
    data_dir: str,
    class_map: ClassMap | None = None,
) -> Source:
    """A split of the run's own data set, or all images of another data set.

    Raises:
      InputError: the data cannot be used, or the split is empty.
    """
    if dataset is None:
        data = run.open_data(manual_dir, data_dir, class_map=class_map, progress=True)
        return Source(data.dataset, data.pipeline, data.indices(split), data)
    named = _by_name(run, dataset, class_map)
    return Source(named, open_pipeline(run, named), np.arange(len(named)), None)


def _by_name(run: Run, dataset: Dataset, class_map: ClassMap | None) -> Dataset:
    """Another data set with the run's classes, whatever their order, if it has no others.

    Raises:
      InputError: `class_map` does not make its classes the run's.
    """
    try:
        return with_classes(dataset, run.class_names, class_map)
    except InputError:
        if class_map:
            raise
        return dataset  # labels and predictions are not comparable, but maps can be made


def open_pipeline(run: Run, dataset: Dataset) -> Pipeline:
    """Pipeline of a data set's images at the run's input size and resize rule."""
    return Pipeline(
        dataset,
        image_size=run.config.image_size,
        resize=run.config.data.resize,
        scale=scale_in(run, dataset),
        progress=False,
    )


def scale_in(run: Run, dataset: Dataset) -> float | None:
    """Pixels of the run's input per pixel of a data set's images, see `network_scale`."""
    return network_scale(run.config.data, dataset.microns_per_pixel, dataset.name)


def training_images(run: Run, source: Source, seed: int) -> Several:
    """Random training images of the run, the baselines of expected gradients."""
    data = source.data or run.open_data()  # from the folder that the run's config names
    training = data.indices("train")
    drawn = np.random.default_rng(seed).permutation(training)[:REFERENCE_IMAGES]
    return several(run.preprocess(data.pipeline.images(np.sort(drawn))))
