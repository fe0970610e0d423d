"""Every field of a run: default, meaning, range or choices. The one table of them.

The config (`base.base_config`), every check, `--help` and docs/config.md are made from it. The
settings of augmentation and of the builders of data sets stand where they are used
(`data/augment/settings.py`, `tfds_builders/<builder>/settings.py`) and are taken from there, as are
choices that another room owns.
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

# Names that training knows; it lies above this room.
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
CLASS_WEIGHTS = ("none", "balanced")
BEST_METRICS = ("accuracy", "balanced_accuracy", "loss")

# Fields that older runs and commands call otherwise.
RENAMED = {"split.seeds": "cross_validation.seeds"}
# Fields that the oldest runs lack; what these did is today's default.
ADDED = ("split.refit", "model.remat", "model.norm_groups", "data.microns_per_pixel")
MANY = 1_000_000  # more than anyone means


def _table(module: str, name: str) -> Callable[[], tuple[str, ...]]:
    """The choices in another room's table, which is imported when they are first asked for."""

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
    "seed": Setting(0, "Decides first weights, batches, augmentation and dropout", 0, 2**32 - 1),
    "batch_size": Setting(32, "Images of a training step, on all devices together", 1, MANY),
    "eval_batch_size": Setting(
        64, "Images at a time in evaluation, on all devices together", 1, MANY
    ),
    "num_epochs": Setting(40, "How often training goes through the training images", 1, 100_000),
    "image_size": Setting(
        224, "Side of the square images that the network sees, in pixels", 32, 4096
    ),
    "learning_rate": Setting(1e-3, "Learning rate at the end of the warm-up", 0, 100),
    "accumulation_steps": Setting(
        1, "Parts of a batch that go through the network in turn, to save memory", 1, MANY
    ),
    "data.dataset": Setting(
        "cervix_phantom/single_cell",
        "Data set, <builder>/<config>",
        choices=_table("data.catalog", "dataset_names"),
        open=True,
    ),
    "data.manual_dir": Setting("", "Folder of the raw files, for sets downloaded by hand"),
    "data.data_dir": Setting("", "Folder of prepared data; empty is the default of TFDS"),
    "data.placement": Setting(
        "auto",
        "Where decoded images lie: device memory, or host, which decodes every batch anew; auto is "
        "device where they take at most a quarter of its memory",
        choices=_table("data.placement", "PLACEMENTS"),
    ),
    "data.resize": Setting(
        "stretch",
        "How an image becomes square: stretched, cut to its centre, padded, or brought to "
        "data.microns_per_pixel and then cut or filled with the colour of its border; joined by +, "
        "the network sees both squares",
        choices=_table("data.decode", "RESIZE_MODES"),
    ),
    "data.microns_per_pixel": Setting(
        0.0,
        "Micrometres that a pixel of the square of data.resize=scale measures, alone or beside "
        "another; 0 with the other modes",
        0,
        10,
    ),
    "data.check_counts": Setting(True, "Insist on the official number of images in every class"),
    "split.protocol": Setting(
        "cluster",
        "How images are divided into train, val and test; cluster and block keep groups together, "
        "joined also groups that share an image",
        choices=_table("data.splits", "PROTOCOLS"),
    ),
    "split.fold": Setting(0, "Which fold is the test set, below split.folds", 0, MANY),
    "split.folds": Setting(5, "Number of folds", 2, MANY),
    "split.seed": Setting(0, "Shuffles the division of random and cluster", 0, 2**32 - 1),
    "split.refit": Setting(False, "Train on the validation images too, and keep the last epoch"),
    "cross_validation.seeds": Setting(
        0,
        "Run all folds with so many seeds each, from seed on; 0 runs the one fold",
        0,
        10_000,
    ),
    "model.name": Setting("", "The network", choices=_table("models", "known_names"), open=True),
    "model.attention": Setting(
        "",
        "Where channel attention goes; empty is the network's own default",
        choices=_table("models", "known_attentions"),
        open=True,
    ),
    "model.dropout": Setting(0.0, "Share of the last features left out in training", 0, 0.999),
    "model.init_from": Setting(
        "",
        "Weights to start from: a file, package:<module>, hf:<repository> or the workdir of a run; "
        "empty draws them",
    ),
    "model.remat": Setting(
        False, "Compute again what lies inside a block, to save memory in training"
    ),
    "model.norm_groups": Setting(
        0,
        "Images of a group whose batch statistics a normalisation takes; 0 is the whole batch",
        0,
        MANY,
    ),
    "model.dtype": Setting(
        "auto",
        "Arithmetic of the network; auto is bfloat16 on accelerators and float32 on the CPU",
        choices=_table("models.build", "DTYPES"),
    ),
    "model.normalization": Setting(
        "imagenet",
        "Scaling of the colours, as the weights to start from expect it; with +reinhard every "
        "image gets a reference's mean and deviation of optical density first",
        choices=_table("data.normalization", "normalization_names"),
    ),
    "optimizer.name": Setting("adamw", "The optimiser", choices=OPTIMIZERS),
    "optimizer.weight_decay": Setting(
        0.02, "Pull of kernels to zero: decoupled in adamw, else added to the gradient", 0, 1000
    ),
    "optimizer.momentum": Setting(0.9, "Nesterov momentum, of sgd only", 0, 0.9999),
    "optimizer.clip_norm": Setting(
        1.0, "Norm that a gradient is clipped to; 0 does not clip", 0, 1e9
    ),
    "optimizer.schedule": Setting(
        "cosine", "What the learning rate does after the warm-up", choices=SCHEDULES
    ),
    "optimizer.warmup_epochs": Setting(
        2.0, "Epochs in which the learning rate rises from 0", 0, 100_000
    ),
    "optimizer.final_share": Setting(
        0.01, "Share of the learning rate that is left at the end of the cosine", 0, 1
    ),
    "optimizer.freeze_epochs": Setting(
        0.0, "Epochs in which only the head learns; 0 is off", 0, 100_000
    ),
    "optimizer.layer_decay": Setting(
        1.0, "Learning rate of each stage over that of the next; 1 is off", 0.01, 1
    ),
    "optimizer.skip_nonfinite": Setting(
        0, "Steps in a row that may be left out as not finite; more stop the run", 0, 10**9
    ),
    "loss.label_smoothing": Setting(
        0.1, "Share of the target that is spread over all classes", 0, 0.999
    ),
    "loss.class_weights": Setting(
        "none",
        "Weights of classes in the loss; balanced makes all that occur count the same",
        choices=CLASS_WEIGHTS,
    ),
    "ema_decay": Setting(
        0.99, "Decay of the moving average of weights that is evaluated; 0 keeps none", 0, 1
    ),
    **_augmentation(),
    "early_stopping_epochs": Setting(
        0, "Epochs without a better best_metric after which training ends; 0 never", 0, 100_000
    ),
    "checkpoint.every_steps": Setting(
        0, "Steps between checkpoints, besides the end of every epoch; 0 is only then", 0, 10**9
    ),
    "checkpoint.best_metric": Setting(
        "accuracy", "Validation metric by which the best checkpoint is chosen", choices=BEST_METRICS
    ),
}


def fields_of(dataset: str) -> dict[str, Setting]:
    """The fields of a run on a data set: those of all runs, and the settings of the data set."""
    catalog = importlib.import_module("cervix_jax.data.catalog")  # drags TFDS in
    settings = catalog.known_settings(dataset)
    own = {f"data.settings.{name}": setting for name, setting in settings.items()}
    last = max(number for number, name in enumerate(FIELDS) if section_of(name) == "data")
    fields = list(FIELDS.items())
    return dict([*fields[: last + 1], *own.items(), *fields[last + 1 :]])


def section_of(name: str) -> str:
    """What stands before the last dot of a field's name; "" for a field of no section."""
    return name.rpartition(".")[0]


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a config, or of a nested dict."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_types(config: ml_collections.ConfigDict, where: str, names: Sequence[str]) -> None:
    """See that a config has some fields, each of its type.

    Args:
      config: from a config file, or read from a run.
      where: the file, for the message.
      names: the fields that are needed, with dots.

    Raises:
      InputError: names the first field that is missing or of another type.
    """
    found = dict(leaves(config))
    for name in names:
        if name not in found:
            raise InputError(
                f"{where}: has no field {name}; start from cervix_jax.config.base.base_config()."
            )
        if not FIELDS[name].is_of_kind(found[name]):
            raise InputError(
                f"{where}: {name}={found[name]!r} is of type {type(found[name]).__name__}; give "
                f"{FIELDS[name].wanted()}."
            )


def check_fields(config: ml_collections.ConfigDict, where: str) -> None:
    """See that a config has the fields of `FIELDS` and no others, each of its type.

    Raises:
      InputError: names the field.
    """
    for name, _ in leaves(config):
        if name not in FIELDS and not name.startswith("data.settings."):
            raise InputError(
                f"{where}: no run has a field {name!r}{meant_field(name, list(FIELDS))}"
            )
    check_types(config, where, list(FIELDS))


def check_values(config: ml_collections.ConfigDict) -> None:
    """See that every field holds what it may hold. What two fields say together is not looked at.

    Raises:
      InputError: says the field, its value and the range or choices.
    """
    found = dict(leaves(config))
    for name, setting in fields_of(str(config.data.dataset)).items():
        value = found.get(name)
        if value is not None or name in FIELDS:  # settings of the data that are None are not given
            setting.checked(name, value)


def meant_field(name: str, known: Sequence[str], flag: str = "") -> str:
    """What may be meant by a field that there is not, to end an error message with.

    Args:
      name: with dots.
      known: the fields that there are.
      flag: what stands before a field's name where it is set, e.g. "--config.".
    """
    if name in RENAMED:
        return f"; it is called {flag}{RENAMED[name]} now"
    same_end = [field for field in known if field.rpartition(".")[2] == name]
    close = [*same_end, *difflib.get_close_matches(name, known, n=1, cutoff=0.5)]
    return f"; did you mean {flag}{close[0]}?" if close else f"; fields: {', '.join(known)}"


def as_of_today(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an older run, nested: under today's names, and with those of `ADDED`."""
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
