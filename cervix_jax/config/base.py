"""What the files in `configs/` share: every field of a run, with its default.

A config file's argument is `<data set>[,recipe=<recipe>]`, e.g.
`--config=configs/rcan.py:sipakmed/single_cell,recipe=paper`.

A config file is Python and is run: give only files that you trust. It is the one kind of file that
is; weights, checkpoints, data and the config.json of a run are read as data alone.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict

from cervix_jax.data.augment.settings import parse_settings
from cervix_jax.errors import InputError

DEFAULT_DATASET = "cervix_phantom/single_cell"
RECIPES = ("default", "paper")
# Variations that builders take, and the type of each.
SETTINGS = {
    "cervix_phantom": {
        "seed": int,
        "clusters_per_class": int,
        "cells_per_cluster": int,
        "overlap": float,
        "stain_variation": float,
        "blur": float,
        "debris": float,
        "confounding": float,
    },
    "cric/cell": {"side": int, "positions_width": int},
    "cric/field": {"positions_width": int},
    "image_folder": {"name": str, "csv": str, "group_pattern": str},
}


def parse_arg(arg: str) -> tuple[str, str]:
    """The data set and the recipe that a config's argument names.

    Raises:
      InputError: a part of the argument is not understood.
    """
    dataset, recipe = DEFAULT_DATASET, "default"
    for part in filter(None, (arg or "").split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            dataset = part
        elif name == "recipe" and value in RECIPES:
            recipe = value
        else:
            raise InputError(
                f"config argument {part!r} is not understood; write <data set>,recipe=<recipe> "
                f"with a recipe of {', '.join(RECIPES)}."
            )
    return dataset, recipe


def base_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config of a data set and recipe, but for the model's name.

    The default recipe is ours: AdamW with a warm-up and a cosine, label smoothing, a moving
    average of the weights, rotations, flips and stain jitter, and the honest `cluster` split. The
    "paper" recipe is that of arXiv 2106.00557 and its published code: Adam at a constant 1e-3,
    batch 16, 50 epochs, dropout 0.5, rotations of up to 25 degrees with black corners, 224 pixels,
    and its split.
    """
    dataset, recipe = parse_arg(arg)
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.eval_batch_size = 64
    config.num_epochs = 40
    config.image_size = 224
    config.learning_rate = 1e-3
    config.accumulation_steps = 1  # parts of a batch that go through the network in turn

    config.data = ml_collections.ConfigDict(
        {
            "dataset": dataset,
            "manual_dir": "",  # the raw files, for data sets that must be downloaded by hand
            "data_dir": "",  # prepared data; "" is the default folder of TFDS
            "placement": "device",  # or "host", for sets that do not fit in device memory
            "resize": "stretch",  # or "crop", "pad"
            "check_counts": True,  # insist on the official number of images
            "settings": _settings(dataset),  # variations of the data set; None is its default
        }
    )
    config.split = ml_collections.ConfigDict(
        {
            "protocol": "cluster",
            "fold": 0,
            "folds": 5,
            "seed": 0,  # of the division
            "refit": False,  # train on the validation images too, and keep the last epoch
            "seeds": 0,  # all folds, with so many seeds each; 0 is the one fold
        }
    )
    config.model = ml_collections.ConfigDict(
        {
            "name": "",
            "attention": "",
            "dropout": 0.0,
            "init_from": "",  # a file of weights, package:, hf: or a workdir to start from
            "remat": False,  # less memory: what lies inside a block is computed again
            "dtype": "auto",  # bfloat16 on accelerators, float32 on the CPU
            "normalization": "imagenet",
        }
    )
    config.optimizer = ml_collections.ConfigDict(
        {
            "name": "adamw",
            "weight_decay": 0.02,
            "momentum": 0.9,  # SGD only
            "clip_norm": 1.0,  # 0 does not clip
            "schedule": "cosine",
            "warmup_epochs": 2.0,
            "final_share": 0.01,  # of the learning rate, at the end of the cosine
            "freeze_epochs": 0.0,  # for so long only the head learns; 0 is off
            "layer_decay": 1.0,  # learning rate of each stage over that of the next; 1 is off
            "skip_nonfinite": 0,  # so many steps in a row may be left out; more stop the run
        }
    )
    config.loss = ml_collections.ConfigDict({"label_smoothing": 0.1, "class_weights": "none"})
    config.ema_decay = 0.99  # 0 keeps no moving average
    config.augment = _augment("cytology")
    config.early_stopping_epochs = 0  # 0 trains to the end
    config.checkpoint = ml_collections.ConfigDict(
        {"every_steps": 0, "best_metric": "accuracy"}  # besides the end of every epoch
    )
    if dataset.startswith("cervix_phantom/"):
        _few_minutes(config)
    if recipe == "paper":
        _paper(config)
    return config


def check_fields(
    config: ml_collections.ConfigDict, where: str, names: Sequence[str] | None = None
) -> None:
    """See that a config has its fields, each of the type of its default.

    Args:
      config: from a config file, or read from a run.
      where: the file, for the message.
      names: the fields that are needed, with dots; default all of `base_config`.

    Raises:
      InputError: names the field.
    """
    defaults = base_config().to_dict()
    for name in names or [n for n in _leaves(defaults) if not n.startswith("data.settings.")]:
        default: Any = defaults
        found: Any = config
        for part in name.split("."):
            default = default[part]
            found = found.get(part) if isinstance(found, ml_collections.ConfigDict) else None
        if found is None:
            raise InputError(
                f"{where}: has no field {name}; start from cervix_jax.config.base.base_config()."
            )
        if isinstance(default, dict):
            found = found.to_dict() if isinstance(found, ml_collections.ConfigDict) else found
        number = isinstance(default, float) and isinstance(found, int)
        if not isinstance(found, type(default)) and not number:
            raise InputError(
                f"{where}: {name}={found!r} is of type {type(found).__name__}; give "
                f"{type(default).__name__}."
            )


def _leaves(fields: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def known_settings(dataset: str) -> dict[str, type]:
    """The settings that a data set takes, and the type of each."""
    return SETTINGS.get(dataset) or SETTINGS.get(dataset.partition("/")[0], {})


def parse_data_settings(dataset: str, given: Sequence[str]) -> dict[str, int | float | str]:
    """The settings of a data set from `name=value` texts of a command line.

    Raises:
      InputError: the data set has no such setting, or the value is of another type.
    """
    kinds = known_settings(dataset)
    settings = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or key not in kinds:
            raise InputError(
                f"--setting={item}: {dataset} takes {', '.join(kinds) or 'no settings'}, each as "
                "name=value."
            )
        try:
            settings[key] = kinds[key](value)
        except ValueError as error:
            raise InputError(f"--setting={item}: give {kinds[key].__name__} for {key}.") from error
    return settings


def _settings(dataset: str) -> ml_collections.ConfigDict:
    known = known_settings(dataset)
    return ml_collections.ConfigDict(
        {name: config_dict.placeholder(kind) for name, kind in known.items()}
    )


def _few_minutes(config: ml_collections.ConfigDict) -> None:
    """What lets two CPU cores learn the phantom in minutes: small images, many short steps."""
    config.update({"image_size": 48, "batch_size": 16, "num_epochs": 10, "ema_decay": 0.98})
    config.optimizer.warmup_epochs = 1.0
    config.loss.label_smoothing = 0.05
    config.augment = _augment("none")
    config.augment.update({"flip": True, "rot90": True, "stain_jitter": 0.05, "contrast": 0.15})
    config.augment.brightness = 0.05


def _paper(config: ml_collections.ConfigDict) -> None:
    config.update({"batch_size": 16, "num_epochs": 50, "image_size": 224, "learning_rate": 1e-3})
    config.update({"ema_decay": 0.0, "augment": _augment("paper")})
    config.optimizer.update(
        {"name": "adam", "weight_decay": 0.0, "clip_norm": 0.0, "schedule": "constant"}
    )
    config.optimizer.warmup_epochs = 0.0
    config.loss.label_smoothing = 0.0
    config.split.protocol = "paper"
    config.data.resize = "crop"


def _augment(preset: str) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(dataclasses.asdict(parse_settings({"preset": preset})))
