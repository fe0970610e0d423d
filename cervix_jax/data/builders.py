"""Data set builders by name: those of this package, registered ones, and plug-ins.

`register` adds a builder in the running process. Every command finds the builder of a package that
has an entry point in the group `cervix_jax.datasets`.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from cervix_jax import plugins
from cervix_jax.data.prepared import features_of
from cervix_jax.errors import InputError, did_you_mean

BUILDERS = ("cervix_phantom", "cric", "herlev", "image_folder", "nuclei", "sipakmed")
Builder = type[tfds.core.GeneratorBasedBuilder]
_REGISTERED: dict[str, Builder] = {}


def register(name: str, builder_cls: Builder) -> None:
    """Make a custom builder available to configs, training, evaluation and the audit.

    A process that opens the data set, or evaluates a run on it, must register the builder first.
    Commands find a builder without registration if its package is installed with an entry point
    in the group `cervix_jax.datasets` whose value is `module:class`.

    Args:
      name: the part of `config.data.dataset` before the slash; equal to `builder_cls.name`, from
        which TFDS names the folder of the prepared data. A repeated name replaces the builder.
      builder_cls: a TFDS builder with at least one `BuilderConfig` and the class attribute
        `GROUP_FEATURE`, the name of the feature that holds the group (patient, slide or field) of
        an image. Its split `train` holds all examples, with the features `image` (three
        channels), `label` (`ClassLabel` with names), `filename` (text, unique) and the group
        (text). The method `microns_per_pixel(sizes)` is optional.

    Raises:
      InputError: the name is one of `BUILDERS`, or the builder lacks a required attribute.
    """
    if name in BUILDERS:
        raise InputError(f"data set builder {name!r} is part of cervix_jax; choose another name.")
    try:
        _check(name, builder_cls)
    except InputError as error:
        raise InputError(f"data set builder {name!r}: {error}") from error
    _REGISTERED[name] = builder_cls


def builder_names() -> tuple[str, ...]:
    """`BUILDERS`, then the registered builders, then those of installed packages."""
    return tuple(dict.fromkeys([*BUILDERS, *_REGISTERED, *plugins.names(plugins.DATASETS)]))


def builder_class(name: str) -> Builder:
    """Return the TFDS builder class of a name, without a config.

    Raises:
      InputError: the builder does not exist, or the package that provides it cannot be used.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    offered = plugins.load(
        plugins.DATASETS,
        "data set builder",
        name,
        taken=BUILDERS,
        check=lambda builder_cls: _check(name, builder_cls),
    )
    if offered is not None:
        return offered
    if name in BUILDERS:
        return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder
    known = builder_names()
    raise InputError(
        f"there is no builder {name!r}{did_you_mean(name, known)}; "
        f"choose one of {', '.join(known)}."
    )


def find(name: str) -> tuple[Builder, str]:
    """Return the builder class and the config name of `<builder>/<config>`.

    Raises:
      InputError: the name is not a text, the builder does not exist, or it has no such config.
    """
    if not isinstance(name, str):
        raise InputError(
            f"the data set is given as {type(name).__name__}; give its name, such as "
            "'cervix_phantom/single_cell'."
        )
    short, _, config = name.partition("/")
    try:
        builder_cls = builder_class(short)
    except InputError as error:
        raise InputError(f"data set {name!r}: {error}") from error
    configs = tuple(builder_cls.builder_configs)
    if config not in configs:
        problem = f"there is no config {config!r}" if config else "a config is missing"
        raise InputError(
            f"data set {name!r}: {problem}{did_you_mean(config, configs)}; "
            f"choose one of {', '.join(f'{short}/{each}' for each in configs)}."
        )
    return builder_cls, config


def dataset_names() -> tuple[str, ...]:
    """Return every `<builder>/<config>`; skips packages that cannot be used, with a warning."""
    listed: list[str] = []
    for short in builder_names():
        try:
            configs = builder_class(short).builder_configs
        except InputError as error:
            logging.log_first_n(logging.WARNING, "Left out: %s", 1, error)
            continue
        listed += [f"{short}/{config}" for config in configs]
    return tuple(listed)


def check_features(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Check that a builder provides the features that training, splits and evaluation read.

    Raises:
      InputError: a feature is missing or of another type.
    """
    features: Mapping[str, Any] = dict(features_of(builder.info).items())
    group = builder.GROUP_FEATURE  # pyright: ignore[reportAttributeAccessIssue]
    kinds = {
        "image": (tfds.features.Image, "tfds.features.Image(shape=(None, None, 3))"),
        "label": (tfds.features.ClassLabel, "tfds.features.ClassLabel(names=[...])"),
        "filename": (tfds.features.Text, "tfds.features.Text()"),
        group: (tfds.features.Text, "tfds.features.Text(), the GROUP_FEATURE"),
    }
    for feature, (kind, wanted) in kinds.items():
        found: Any = features.get(feature)
        fits = isinstance(found, kind)
        if fits and feature == "image":
            fits = found.shape[-1] == 3
        # The folder determines the classes of `image_folder` during preparation.
        if fits and feature == "label" and name.partition("/")[0] not in BUILDERS:
            fits = bool(found.num_classes)
        if not fits:
            problem = "has no feature" if found is None else "has another kind of feature"
            raise InputError(f"{name}: the builder {problem} {feature!r}; define it as {wanted}.")


def _check(name: str, builder_cls: Any) -> None:
    """Check that a class of another package is a usable builder for a name."""
    base = tfds.core.GeneratorBasedBuilder
    if not (isinstance(builder_cls, type) and issubclass(builder_cls, base)):
        kind = builder_cls if isinstance(builder_cls, type) else type(builder_cls)
        raise InputError(
            f"{kind.__name__} is not a subclass of tensorflow_datasets.core.GeneratorBasedBuilder; "
            "give the builder's class."
        )
    if builder_cls.name != name:
        raise InputError(
            f"TFDS derives the name {builder_cls.name!r} from the class or module of "
            f"{builder_cls.__name__}; register the builder under that name, or rename the class."
        )
    if not builder_cls.builder_configs:
        raise InputError(
            'it has no config; give it BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="default")].'
        )
    group = getattr(builder_cls, "GROUP_FEATURE", None)
    if not (isinstance(group, str) and group):
        raise InputError(
            "it has no GROUP_FEATURE; name the text feature that holds the patient, slide or field "
            'of an image, e.g. GROUP_FEATURE = "slide_id".'
        )
