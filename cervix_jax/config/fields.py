"""The table of all config fields: default, meaning, and range or choices.

The config (`base.base_config`), all checks, `--help` and docs/config.md are generated from this
table. Augmentation settings are defined in `data/augment/settings.py` and data set settings in
`tfds_builders/<builder>/settings.py`; this module imports them, together with choices that other
modules define.
"""

import copy
import dataclasses
import difflib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_collections

from cervix_jax.data.augment.settings import PRESETS, AugmentSettings
from cervix_jax.data.settings import Setting, settings_of
from cervix_jax.errors import InputError

# Names that `cervix_jax.training` implements. That package imports this one, not the reverse.
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
CLASS_WEIGHTS = ("none", "balanced")
BEST_METRICS = ("accuracy", "balanced_accuracy", "loss")

# Old field names in earlier runs and commands, and the current names.
RENAMED = {"split.seeds": "cross_validation.seeds"}
# Fields that the earliest runs lack; the current defaults reproduce their behaviour.
ADDED = ("split.refit", "model.remat", "model.norm_groups", "data.microns_per_pixel")
MANY = 1_000_000  # an upper limit that no practical run reaches


def _table(module: str, name: str) -> Callable[[], tuple[str, ...]]:
    """A function that returns the names in another module's table, imported on the first call."""

    def choices() -> tuple[str, ...]:
        table: Any = getattr(importlib.import_module(f"cervix_jax.{module}"), name)
        names: Any = table() if callable(table) else table
        return tuple(names)

    return choices


def _augmentation() -> dict[str, Setting]:
    defaults = PRESETS["cytology"]
    return {
        f"augment.{name}": dataclasses.replace(setting, default=defaults.get(name, setting.default))
        for name, setting in settings_of(AugmentSettings).items()
    }


FIELDS: dict[str, Setting] = {
    "seed": Setting(
        0,
        "Random seed of the initial weights, the order of batches, augmentation and dropout",
        0,
        2**32 - 1,
    ),
    "batch_size": Setting(32, "Training batch size over all devices, in images", 1, MANY),
    "eval_batch_size": Setting(64, "Evaluation batch size over all devices, in images", 1, MANY),
    "num_epochs": Setting(40, "Number of passes over the training images", 1, 100_000),
    "image_size": Setting(224, "Side of the model's square input image, in pixels", 32, 4096),
    "learning_rate": Setting(1e-3, "Peak learning rate, reached after the warm-up", 0, 100),
    "accumulation_steps": Setting(
        1,
        "Number of micro-batches per training batch, whose gradients are accumulated to save "
        "memory",
        1,
        MANY,
    ),
    "data.dataset": Setting(
        "cervix_phantom/single_cell",
        "Data set, as <builder>/<config>",
        choices=_table("data.catalog", "dataset_names"),
        open=True,
    ),
    "data.manual_dir": Setting("", "Folder with the raw files of a manually downloaded data set"),
    "data.data_dir": Setting(
        "", "Folder for prepared data; empty uses the default folder of TensorFlow Datasets"
    ),
    "data.placement": Setting(
        "auto",
        "Location of decoded images: device keeps all of them in device memory, host decodes each "
        "batch when it is needed, auto selects device if the images take at most a quarter of the "
        "device memory and of the host's free memory",
        choices=_table("data.placement", "PLACEMENTS"),
    ),
    "data.resize": Setting(
        "stretch",
        "Method to make an image square: stretch changes the aspect ratio, crop takes the central "
        "square, pad fills with the border colour, scale resamples to data.microns_per_pixel and "
        "then crops or fills; two methods joined by + give the model two "
        "inputs, whose features are combined",
        choices=_table("data.decode", "RESIZE_MODES"),
    ),
    "data.microns_per_pixel": Setting(
        0.0,
        "Resolution of the model's input for data.resize=scale, stretch+scale and pad+scale, in "
        "micrometres per pixel; 0 for the other methods",
        0,
        10,
    ),
    "data.check_counts": Setting(
        True, "Require the official number of images in every class of the data set"
    ),
    "split.protocol": Setting(
        "cluster",
        "Method to assign images to train, val and test: paper is the split by file name "
        "of Wang et al. 2021 (arXiv 2106.00557), paper_clusters the same for whole groups, random "
        "ignores groups, cluster keeps each group (e.g. the cells of one field) in one split, "
        "joined also keeps groups together that share an image, block gives each split contiguous "
        "group numbers",
        choices=_table("data.splits", "PROTOCOLS"),
    ),
    "split.fold": Setting(
        0, "Index of the fold used as test set, from 0 to split.folds - 1", 0, MANY
    ),
    "split.folds": Setting(5, "Number of folds", 2, MANY),
    "split.seed": Setting(
        0, "Random seed of the split for the protocols random, cluster and joined", 0, 2**32 - 1
    ),
    "split.refit": Setting(
        False, "Train on the training and validation images, and keep the model of the last epoch"
    ),
    "cross_validation.seeds": Setting(
        0,
        "Number of seeds per fold (seed, seed + 1, ...) in a cross-validation over all folds; 0 "
        "trains split.fold only",
        0,
        10_000,
    ),
    "model.name": Setting(
        "",
        "Model architecture; rcan is the residual channel attention network of Wang et al. 2021, "
        "ran92 the Residual Attention Network-92",
        choices=_table("models", "known_names"),
        open=True,
    ),
    "model.attention": Setting(
        "",
        "Position of the channel attention: none, last_layer (in the last layer of RCAN's last "
        "dense block), blocks "
        "(after every dense block of RCAN), head (on EfficientNet's last stage); empty "
        "uses the default of the architecture",
        choices=_table("models", "known_attentions"),
        open=True,
    ),
    "model.dropout": Setting(
        0.0, "Dropout rate of the features before the classifier head", 0, 0.999
    ),
    "model.init_from": Setting(
        "",
        "Source of the initial weights: a file, package:<installed package of weights>, "
        "hf:<repository> or the workdir "
        "of a run; empty uses random weights",
    ),
    "model.remat": Setting(
        False, "Recompute the activations inside each block in the backward pass to save memory"
    ),
    "model.norm_groups": Setting(
        0,
        "Number of images per group of ghost batch normalisation in training (not the number of "
        "groups); 0 normalises over the whole batch",
        0,
        MANY,
    ),
    "model.dtype": Setting(
        "auto",
        "Floating-point type of the model's arithmetic; auto is bfloat16 on accelerators and "
        "float32 on the CPU",
        choices=_table("models.build", "DTYPES"),
    ),
    "model.normalization": Setting(
        "imagenet",
        "Normalisation of the input colours, which must match the initial weights; +reinhard first "
        "matches the mean and standard deviation of each image's optical density (-log intensity) "
        "to a reference",
        choices=_table("data.normalization", "normalization_names"),
    ),
    "optimizer.name": Setting("adamw", "Optimiser", choices=OPTIMIZERS),
    "optimizer.weight_decay": Setting(
        0.02,
        "Weight decay of the kernels: decoupled in adamw, added to the gradient in adam and sgd",
        0,
        1000,
    ),
    "optimizer.momentum": Setting(0.9, "Nesterov momentum; sgd only", 0, 0.9999),
    "optimizer.clip_norm": Setting(
        1.0, "Maximum global norm of the gradient; 0 turns clipping off", 0, 1e9
    ),
    "optimizer.schedule": Setting(
        "cosine", "Learning rate schedule after the warm-up", choices=SCHEDULES
    ),
    "optimizer.warmup_epochs": Setting(
        2.0, "Length of the linear learning rate warm-up, in epochs", 0, 100_000
    ),
    "optimizer.final_share": Setting(
        0.01, "Final learning rate of the cosine schedule, as a share of learning_rate", 0, 1
    ),
    "optimizer.freeze_epochs": Setting(
        0.0,
        "Number of initial epochs that train the classifier head only; 0 trains all layers from "
        "the start",
        0,
        100_000,
    ),
    "optimizer.layer_decay": Setting(
        1.0,
        "Layer-wise decay: ratio of each stage's learning rate to that of the next stage towards "
        "the classifier; 1 gives all stages the same rate",
        0.01,
        1,
    ),
    "optimizer.skip_nonfinite": Setting(
        0,
        "Maximum number of consecutive steps that are skipped for a non-finite loss or gradient; "
        "one more stops the run",
        0,
        10**9,
    ),
    "loss.label_smoothing": Setting(
        0.1, "Share of the target probability that is spread evenly over all classes", 0, 0.999
    ),
    "loss.class_weights": Setting(
        "none",
        "Class weights in the loss; balanced gives every class of the training images the same "
        "total weight",
        choices=CLASS_WEIGHTS,
    ),
    "ema_decay": Setting(
        0.99,
        "Decay of the exponential moving average of the weights, which evaluation uses; 0 "
        "evaluates the weights themselves",
        0,
        1,
    ),
    **_augmentation(),
    "early_stopping_epochs": Setting(
        0,
        "Number of epochs without an improvement of checkpoint.best_metric after which training "
        "stops; 0 turns early stopping off",
        0,
        100_000,
    ),
    "checkpoint.every_steps": Setting(
        0,
        "Number of steps between checkpoints within an epoch; 0 saves at the end of each epoch "
        "only",
        0,
        10**9,
    ),
    "checkpoint.best_metric": Setting(
        "accuracy", "Validation metric that selects the best checkpoint", choices=BEST_METRICS
    ),
}


def fields_of(dataset: str) -> dict[str, Setting]:
    """The fields of every run, and the settings of one data set."""
    catalog = importlib.import_module("cervix_jax.data.catalog")  # imports TFDS, which is slow
    settings = catalog.known_settings(dataset)
    own = {f"data.settings.{name}": setting for name, setting in settings.items()}
    last = max(number for number, name in enumerate(FIELDS) if section_of(name) == "data")
    fields = list(FIELDS.items())
    return dict([*fields[: last + 1], *own.items(), *fields[last + 1 :]])


def section_of(name: str) -> str:
    """The part of a field's name before the last dot; "" for a field without a section."""
    return name.rpartition(".")[0]


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all fields of a config or a nested dict."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_types(config: ml_collections.ConfigDict, where: str, names: Sequence[str]) -> None:
    """Check that a config has the required fields and that each has the right type.

    Args:
      config: from a config file, or read from a run.
      where: the file, for the error message.
      names: dotted names of the required fields.

    Raises:
      InputError: a field is missing or has the wrong type; names the first one.
    """
    found = dict(leaves(config))
    for name in names:
        if name not in found:
            raise InputError(
                f"{where}: the field {name} is missing; build the config with "
                "cervix_jax.config.base.base_config()."
            )
        if not FIELDS[name].is_of_kind(found[name]):
            raise InputError(
                f"{where}: {name}={found[name]!r} has the type {type(found[name]).__name__}; give "
                f"{FIELDS[name].wanted()}."
            )


def check_fields(config: ml_collections.ConfigDict, where: str) -> None:
    """Check that a config has exactly the fields of `FIELDS`, each with the right type.

    Raises:
      InputError: a field is unknown, missing or of the wrong type; names the first one.
    """
    for name, _ in leaves(config):
        if name not in FIELDS and not name.startswith("data.settings."):
            raise InputError(
                f"{where}: the field {name!r} is unknown{meant_field(name, list(FIELDS))}"
            )
    check_types(config, where, list(FIELDS))


def check_values(config: ml_collections.ConfigDict) -> None:
    """Check that every field has a valid value. Combinations of fields are not checked here.

    Raises:
      InputError: a value is invalid; names the field, its value and the range or choices.
    """
    found = dict(leaves(config))
    for name, setting in fields_of(str(config.data.dataset)).items():
        value = found.get(name)
        if value is not None or name in FIELDS:  # a data set setting of None is not set
            setting.checked(name, value)


def meant_field(name: str, known: Sequence[str], flag: str = "") -> str:
    """The end of an error message about an unknown field: a suggestion or the known fields.

    Args:
      name: dotted name of the unknown field.
      known: the known fields.
      flag: prefix of a field's name on the command line, e.g. "--config.".
    """
    if name in RENAMED:
        return f"; its new name is {flag}{RENAMED[name]}"
    same_end = [field for field in known if field.rpartition(".")[2] == name]
    close = [*same_end, *difflib.get_close_matches(name, known, n=1, cutoff=0.5)]
    return f"; did you mean {flag}{close[0]}?" if close else f"; fields: {', '.join(known)}"


def as_of_today(fields: dict[str, Any]) -> dict[str, Any]:
    """The nested fields of an older run under their current names, completed with `ADDED`."""
    config = copy.deepcopy(fields)
    for old, new in RENAMED.items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        found = config.get(section)
        if isinstance(found, dict) and key in found:
            config.setdefault(new_section, {}).setdefault(new_key, found.pop(key))
    for name in ADDED:
        section, key = name.split(".")
        if isinstance(config.get(section), dict):
            config[section].setdefault(key, FIELDS[name].default)
    return config
