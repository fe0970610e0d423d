"""The base of all files in `configs/`: the config of a data set and a recipe.

`cervix_jax/config/fields.py` and docs/config.md list all fields.

The argument of a config file is `<data set>[,recipe=<recipe>]`, e.g.
`--config=configs/rcan.py:sipakmed/single_cell,recipe=paper`.

A config file is executed as Python, so use only files that you trust. No other file is executed:
weights, checkpoints, data and the config.json of a run are read as data.
"""

import dataclasses
from collections.abc import Sequence

import ml_collections
from ml_collections import config_dict

from cervix_jax.config.fields import FIELDS, fields_of
from cervix_jax.data.augment.settings import parse_settings
from cervix_jax.errors import InputError

DEFAULT_DATASET = str(FIELDS["data.dataset"].default)
RECIPES = ("default", "paper")


def parse_arg(
    arg: str, *, first: str = DEFAULT_DATASET, choices: Sequence[str] = ()
) -> tuple[str, str]:
    """The data set (or another choice of the config file) and the recipe of a config argument.

    Args:
      arg: `[<data set>][,recipe=<recipe>]`.
      first: the default, if the argument names no data set.
      choices: valid names instead of data sets; empty accepts any data set.

    Raises:
      InputError: a part of the argument is not understood.
    """
    dataset, recipe = first, "default"
    for part in filter(None, (arg or "").split(",")):
        name, equals, value = part.partition("=")
        if not equals and choices and part not in choices:
            raise InputError(f"config argument {part!r}: choose one of {', '.join(choices)}.")
        if not equals:
            dataset = part
        elif name == "recipe" and value in RECIPES:
            recipe = value
        else:
            raise InputError(
                f"config argument {part!r} is not understood; write e.g. "
                f"{choices[-1] if choices else 'sipakmed/single_cell'},recipe=paper (recipes: "
                f"{', '.join(RECIPES)})."
            )
    return dataset, recipe


def base_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config of a data set and a recipe, without the model's name.

    The "default" recipe trains with AdamW, a warm-up and a cosine schedule, label smoothing, a
    moving average of the weights, rotations, flips and stain jitter, on the `cluster` split, which
    keeps groups together. The "paper" recipe follows arXiv 2106.00557 and its published code for
    all architectures: Adam at a constant learning rate of 1e-3, batch size 16, 50 epochs, dropout
    0.5 before the classifier, rotations of up to 25 degrees with black corners before the centre
    crop, 224 pixels, and the paper's split.
    """
    dataset, recipe = parse_arg(arg)
    config = ml_collections.ConfigDict({"data": {"settings": {}}})
    for name, setting in fields_of(dataset).items():
        *sections, key = name.split(".")
        section = config
        for outer in sections:
            if outer not in section:
                section[outer] = ml_collections.ConfigDict()
            section = section[outer]
        # A data set setting of None takes the default of its builder.
        own = name.startswith("data.settings.")
        section[key] = config_dict.placeholder(setting.kind) if own else setting.default
    config.data.dataset = dataset
    if dataset.startswith("cervix_phantom/"):
        _few_minutes(config)
    if recipe == "paper":
        _paper(config)
    return config


def _few_minutes(config: ml_collections.ConfigDict) -> None:
    """Train the phantom in minutes on two CPU cores: small images and many short steps."""
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
    config.model.dropout = 0.5
    config.split.protocol = "paper"
    config.data.resize = "crop"


def _augment(preset: str) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(dataclasses.asdict(parse_settings({"preset": preset})))
