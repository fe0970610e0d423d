"""Checks that the fields of a config are compatible; their ranges are defined with the fields."""

import ml_collections

from cervix_jax.config.fields import check_fields, check_values
from cervix_jax.data.decode import TWO_VIEWS, needs_scale
from cervix_jax.data.resolution import check_microns, unknown_resolution
from cervix_jax.errors import InputError
from cervix_jax.models import DETECTORS
from cervix_jax.models.nucleus_detector import MULTIPLE


def check_config(config: ml_collections.ConfigDict) -> None:
    """Check, before any work, that every field has a valid value and the fields are compatible.

    Raises:
      InputError: a field is invalid; the message gives the field and its value.
    """
    check_fields(config, "config")
    check_values(config)
    _check_resolution(config.data)
    parts = config.accumulation_steps
    if config.batch_size % parts:
        raise InputError(
            f"batch_size={config.batch_size} does not divide into accumulation_steps={parts}; "
            f"use a multiple of {parts}."
        )
    group = config.model.norm_groups
    if config.batch_size % batch_unit(config):
        of_part = f" in each of accumulation_steps={parts}" if parts > 1 else ""
        raise InputError(
            f"batch_size={config.batch_size} does not divide into groups of model.norm_groups="
            f"{group} images{of_part}; use a multiple of {batch_unit(config)}."
        )
    _check_detector(config)
    if config.early_stopping_epochs and config.split.refit:
        raise InputError(
            f"early_stopping_epochs={config.early_stopping_epochs} cannot be combined with "
            "split.refit=True, which trains on the validation images; remove one of them."
        )


def batch_unit(config: ml_collections.ConfigDict) -> int:
    """Return the number of which a batch, and each device's share of it, must be a multiple."""
    return int(config.accumulation_steps * max(config.model.norm_groups, 1))


def _check_resolution(wanted: ml_collections.ConfigDict) -> None:
    given = wanted.microns_per_pixel
    if not needs_scale(wanted.resize):
        if given:
            raise InputError(
                f"data.microns_per_pixel={given:g} requires data.resize=scale or "
                f"{' or '.join(TWO_VIEWS)}, but data.resize is {wanted.resize}; set one of those, "
                "or leave it out."
            )
        return
    if not given:
        raise InputError(
            f"data.resize={wanted.resize} needs data.microns_per_pixel, the pixel size "
            "of the model's input; give it, e.g. 0.25."
        )
    check_microns("data.microns_per_pixel", given)
    short = wanted.dataset.partition("/")[0]
    if short == "image_folder" and not wanted.settings.get("microns_per_pixel"):
        raise unknown_resolution(wanted.dataset)


def _check_detector(config: ml_collections.ConfigDict) -> None:
    """Check that a nucleus detector is trained on nuclei and a classifier on images.

    Raises:
      InputError: model and data set do not match, or a field does not apply to a detector.
    """
    name, dataset = config.model.name, str(config.data.dataset)
    is_detector = name in DETECTORS
    if is_detector != dataset.startswith("nuclei/"):
        others = "nuclei/fields or nuclei/phantom" if is_detector else "a network of images"
        raise InputError(
            f"model.name={name} and data.dataset={dataset}: one is for nucleus "
            f"detection and the other for image classification; use "
            f"{'data.dataset=' if is_detector else 'configs/nuclei.py, or '}{others}."
        )
    if not is_detector:
        return
    if config.data.resize in TWO_VIEWS:
        raise InputError(
            f"data.resize={config.data.resize}: requires one label per image; choose another for a "
            "detector of nuclei."
        )
    if config.image_size % MULTIPLE:
        raise InputError(
            f"image_size={config.image_size}: a nucleus detector requires multiples of {MULTIPLE}."
        )
    for field in ("loss.class_weights", "augment.mixup_alpha", "augment.cutmix_alpha",
                  "augment.cutout"):  # fmt: skip
        section, key = field.split(".")
        if config[section][key] not in (0, "none"):
            raise InputError(
                f"{field}={config[section][key]}: requires one label per image; leave it out "
                "for a detector of nuclei."
            )
