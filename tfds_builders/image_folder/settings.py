"""The settings for a folder of images, their checks, and the TFDS config of one folder."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from cervix_jax.data.resolution import HIGHEST, check_microns
from cervix_jax.data.settings import (
    BuilderSettings,
    check_names,
    check_settings,
    register_settings,
    setting,
    settings_of,
)
from cervix_jax.errors import InputError, check_choice, did_you_mean
from cervix_jax.files.paths import nfc

_OWNER = "image_folder setting "
# Expressions searched for in an image's path relative to manual_dir, with "/" as separator.
GROUP_PATTERNS = {
    "prefix_number": r"(?:^|/)(?P<group>\d+)[^/]*$",
    "folder_and_number": r"^(?P<group>.+/\d+)[^/]*$",
    "before_underscore": r"(?:^|/)(?P<group>[^/_]+)_[^/]*$",
    "before_last_underscore": r"(?:^|/)(?P<group>[^/]+)_[^/_]*$",
    "before_hyphen": r"(?:^|/)(?P<group>[^/-]+)-[^/]*$",
    "parent": r"^(?P<group>.+)/[^/]+$",
}


@dataclasses.dataclass(kw_only=True)
class ImageFolderConfig(tfds.core.BuilderConfig):
    """One folder of images and how to read it.

    Attributes:
      csv: file in the folder that lists the images; "" uses `images.csv` if it exists, otherwise
        the tree of class folders.
      group_pattern: a name of `GROUP_PATTERNS`, or a regular expression with a group named
        "group", searched for in the path of an image; "" makes every image its own group.
      microns_per_pixel: resolution of the images; 0 if unknown. No example depends on it, so a
        change does not require a new preparation.
      folder: the folder; "" if unknown, to open prepared data by name.
    """

    csv: str = ""
    group_pattern: str = ""
    microns_per_pixel: float = 0.0
    folder: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """The settings that, besides the folder, determine the examples."""
        return {"csv": self.csv, "group_pattern": self.group_pattern}


BASE_CONFIG = ImageFolderConfig(
    name="default", description="A folder of images, as a tree <class>/<image> or with a list."
)


@dataclasses.dataclass(frozen=True)
class ImageFolderSettings:
    """How a folder is read, and the name of its prepared data."""

    name: str = setting("", "Name of the prepared data; empty derives it from the folder")
    csv: str = setting(
        "",
        "File in the folder that lists the images; empty uses images.csv if it exists, otherwise "
        "the tree of class folders",
    )
    group_pattern: str = setting(
        "",
        "Rule that derives the group of an image (patient, slide or field) from its path: a "
        f"regular expression with (?P<group>...), or {', '.join(GROUP_PATTERNS)}; empty makes "
        "every image its own group",
    )
    microns_per_pixel: float = setting(
        0.0, "Resolution of the images in micrometres per pixel; 0 if unknown", 0, HIGHEST
    )

    def __post_init__(self):
        """Checks every field; raises `InputError`."""
        check_settings(self, _OWNER)
        name = self.name
        named = re.fullmatch(r"[A-Za-z][\w-]{0,63}", name, re.ASCII)
        if name and (not named or name == BASE_CONFIG.name):
            raise InputError(
                f"{_OWNER}name={name!r}: give 1 to 64 letters, digits, _ and -, starting with a "
                f"letter, and not {BASE_CONFIG.name!r}."
            )
        compile_pattern(self.group_pattern)
        if self.microns_per_pixel:
            check_microns(f"{_OWNER}microns_per_pixel", self.microns_per_pixel)


def image_folder_config(base: str = "default", **settings: Any) -> ImageFolderConfig:
    """A config with custom settings.

    Args:
      base: "default".
      **settings: fields of `ImageFolderSettings`.

    Raises:
      InputError: a setting is unknown or invalid.
    """
    check_choice("image_folder config", base, [BASE_CONFIG.name])
    check_names(settings, list(settings_of(ImageFolderSettings)), _OWNER)
    chosen = ImageFolderSettings(**settings)
    return dataclasses.replace(
        BASE_CONFIG,
        name=chosen.name or base,
        csv=chosen.csv,
        group_pattern=chosen.group_pattern,
        microns_per_pixel=chosen.microns_per_pixel,
    )


def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """The compiled regular expression of the setting `group_pattern`; None if it is empty.

    Raises:
      InputError: it is neither a known name nor an expression with a group named "group".
    """
    if not pattern:
        return None
    known = ", ".join(GROUP_PATTERNS)
    try:
        compiled = re.compile(nfc(GROUP_PATTERNS.get(pattern, pattern)))  # NFC, like the names
    except re.error as error:
        raise InputError(
            f"{_OWNER}group_pattern={pattern!r} is not a regular expression ({error}); "
            f"give one, or one of {known}."
        ) from error
    if "group" not in compiled.groupindex:
        raise InputError(
            f"{_OWNER}group_pattern={pattern!r}{did_you_mean(pattern, GROUP_PATTERNS)}: give one "
            f"of {known}, or a regular expression with (?P<group>...)."
        )
    return compiled


def the_one_prepared(config: ImageFolderConfig, data_dir: Any, version: str) -> ImageFolderConfig:
    """The config of the only prepared folder, used if the caller names no folder.

    Args:
      config: how a folder is read.
      data_dir: folder of prepared data; None is the default of TFDS.
      version: version of the builder.

    Returns:
      A config with the name of the prepared data, or the given config if none are prepared.

    Raises:
      InputError: data of several folders are prepared; names the folders.
    """
    root = Path(data_dir or constants.DATA_DIR).expanduser() / "image_folder"
    found = {}
    for path in sorted(root.glob(f"*/{version}/metadata.json")):
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
            if metadata["settings"] == config.settings:
                found[path.parents[1].name] = metadata["folder"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another kind, or damaged: opening it raises the error
    if len(found) > 1:
        raise InputError(
            f"image_folder: {root} contains the data of {len(found)} folders; give one of them: "
            f"{', '.join(f'manual_dir={folder}' for folder in found.values())}."
        )
    return dataclasses.replace(config, name=next(iter(found))) if found else config


def of_folder(config: ImageFolderConfig, manual_dir: Any) -> ImageFolderConfig:
    """The config of one folder.

    Without a user-given name, its name consists of the folder's name and a digest of the path and
    the settings, so data prepared from different folders never share a place.

    Raises:
      InputError: neither the folder nor the name of prepared data is given.
    """
    if config.folder:
        return config
    if not manual_dir:
        if config.name == BASE_CONFIG.name:
            raise InputError(
                "image_folder: the folder is missing; give manual_dir=/path/to/the/images, or the "
                "setting name for data that were prepared under a name."
            )
        return config
    folder = str(Path(manual_dir).expanduser().resolve())
    name = config.name
    if name == BASE_CONFIG.name:
        parts = "\0".join([folder, *(f"{k}={v}" for k, v in config.settings.items())])
        digest = hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        name = f"{re.sub(r'[^A-Za-z0-9]+', '_', Path(folder).name)[:40].strip('_')}-{digest}"
    return dataclasses.replace(config, name=name.lstrip("-"), folder=folder)


register_settings("image_folder", BuilderSettings(ImageFolderSettings, image_folder_config))
