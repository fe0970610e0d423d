"""Opens data sets by name and prepares them on first use.

The name of a data set is `<builder>/<config>`, e.g. `sipakmed/single_cell`. TensorFlow Datasets
(without TensorFlow) writes it as ArrayRecord files on first use. Examples are read by random
access.
"""

import importlib
import importlib.util
import inspect
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format

from cervix_jax.data.builders import (
    BUILDERS,
    builder_class,
    builder_names,
    check_features,
    dataset_names,
    find,
)
from cervix_jax.data.dataset import Dataset
from cervix_jax.data.preparation import ManualDir, check_files, is_prepared, prepare
from cervix_jax.data.prepared import Records, encoded_records, load_index
from cervix_jax.data.resolution import same_size, sampled_sizes
from cervix_jax.data.settings import REGISTERED, BuilderSettings, Setting
from cervix_jax.errors import InputError, did_you_mean
from cervix_jax.files.damaged import DamagedFiles
from cervix_jax.files.paths import nfc, user_path
from cervix_jax.files.storage import storage_problem

__all__ = [
    "BUILDERS",
    "Dataset",
    "builder_names",
    "dataset_names",
    "find_builder",
    "known_settings",
    "load",
    "parse_data_settings",
]
# Errors that TFDS raises for a dataset_info.json that it did not write.
_DAMAGED = (AssertionError, json_format.ParseError)


def find_builder(name: str) -> type[tfds.core.GeneratorBasedBuilder]:
    """The TFDS builder class of `<builder>/<config>`.

    Raises:
      InputError: the builder or its config does not exist.
    """
    return find(name)[0]


def load(
    name: str,
    *,
    manual_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    check_counts: bool = True,
    skip_damaged: bool = False,
) -> Dataset:
    """Open a data set and prepare it on first use.

    Args:
      name: `<builder>/<config>`.
      manual_dir: folder with the downloaded files, required to prepare data sets that cannot be
        downloaded automatically; prepared data are opened without it.
      data_dir: folder for prepared data sets; "" or None is the default folder of TFDS.
      settings: settings of the data set, for builders that have settings.
      check_counts: whether to require the official number of examples in every class.
      skip_damaged: whether the preparation leaves out unreadable files. Otherwise they are all
        listed and nothing is prepared. Data that are already prepared are not checked again.

    Raises:
      InputError: the name, a folder, a setting or the data are invalid.
    """
    builder_cls, config = find(name)
    manual = ManualDir.of(manual_dir)
    if not builder_cls.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual.require()
    kwargs: dict[str, Any] = {"config": _vary(name, config, settings)}
    if data_dir:
        kwargs["data_dir"] = user_path(data_dir, "data_dir")
    # Further arguments of the builder; the folder determines the classes of `image_folder`.
    offered = {
        "check_counts": check_counts,
        "manual_dir": manual.path,
        "skip_damaged": skip_damaged,
    }
    accepted = inspect.signature(builder_cls.__init__).parameters
    kwargs |= {key: value for key, value in offered.items() if key in accepted}
    try:
        builder = builder_cls(**kwargs)
        check_features(name, builder)
        if not is_prepared(builder):
            builder = prepare(name, builder, manual, lambda: builder_cls(**kwargs))
    except DamagedFiles as error:
        insists = check_counts and hasattr(builder_cls, "OFFICIAL_COUNTS")
        raise error.with_way_out(
            "leave "
            + ("it" if error.count == 1 else "them")
            + f" out with `{_command(name, manual.path, data_dir, settings, insists)}`"
        ) from error
    except _DAMAGED as error:
        raise InputError(
            f"{name}: the description of the prepared data in "
            f"{kwargs.get('data_dir', 'the default data_dir')} is damaged ({error}); delete the "
            "folder of that data set there and run again."
        ) from error
    except OSError as error:
        raise InputError(
            f"{name}: cannot be prepared under {kwargs.get('data_dir', 'the default data_dir')} "
            f"({error.strerror or error}: {error.filename}); give a data_dir that can be written."
        ) from error
    except RuntimeError as error:  # raised by ArrayRecord
        problem = storage_problem(error)
        if problem is None:
            raise
        raise InputError(
            f"{name}: cannot be prepared under {kwargs.get('data_dir', 'the default data_dir')} "
            f"({problem}); free some space, or give another data_dir."
        ) from error
    dataset = _open(name, builder, manual)
    if check_counts:
        _check_counts(dataset, config, builder_cls)
    return dataset


def _command(
    name: str,
    manual: Path | None,
    data_dir: str | Path | None,
    settings: Mapping[str, Any] | None,
    insists: bool,
) -> str:
    """Return the command that prepares a data set without its damaged files."""
    words = ["python", "-m", "cervix_jax.prepare", f"--dataset={name}"]
    words += [f"--manual_dir={manual}"] if manual else []
    words += [f"--data_dir={data_dir}"] if data_dir else []
    words += [f"--setting={key}={value}" for key, value in (settings or {}).items() if value != ""]
    words += ["--nocheck_counts"] if insists else []
    return shlex.join([*words, "--skip_damaged"])


def known_settings(name: str) -> dict[str, Setting]:
    """Return the settings of the data set `<builder>/<config>`; empty if it is unknown."""
    short, _, config = str(name).partition("/")
    registered = _registered(short)
    return registered.of_config(config) if registered else {}


def parse_data_settings(name: str, given: Sequence[str]) -> dict[str, Any]:
    """Parse the settings of a data set from the `<setting>=<value>` texts of a command line.

    Raises:
      InputError: the data set has no such setting, or the value is of another type.
    """
    known = known_settings(name)
    settings = {}
    for item in given:
        key, equals, text = item.partition("=")
        if not equals or key not in known:
            hint = did_you_mean(key, known) if equals else ""
            raise InputError(
                f"--setting={item}: {name} takes {', '.join(known) or 'no settings'}, each as "
                f"name=value{hint}."
            )
        try:
            settings[key] = known[key].parsed(text)
        except ValueError as error:
            raise InputError(f"--setting={item}: give {known[key].wanted()} for {key}.") from error
    return settings


def _registered(short: str) -> BuilderSettings | None:
    """Return the settings of a builder.

    The module `settings` of a builder of this package registers them; a plug-in calls
    `register_settings` in the module of its builder.
    """
    if short not in builder_names():
        return None
    if short not in BUILDERS:
        builder_class(short)  # importing its module registers its settings
    elif importlib.util.find_spec(f"tfds_builders.{short}.settings"):
        importlib.import_module(f"tfds_builders.{short}.settings")
    return REGISTERED.get(short)


def _vary(name: str, config: str, settings: Mapping[str, Any] | None) -> Any:
    """Return the config itself, or a variation of it by `settings`."""
    if not settings:
        return config
    registered = _registered(name.partition("/")[0])
    if registered is None:
        raise InputError(f"{name} has no settings, but {', '.join(settings)} is given; remove it.")
    return registered.vary(config, **settings)


def _open(name: str, builder, manual: ManualDir) -> Dataset:
    path = Path(builder.data_dir)
    try:
        index = load_index(builder)
        source = encoded_records(builder)
        decoded = Records(builder.as_data_source("train"), path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{name}: the prepared data in {path} are damaged ({error}); "
            "delete that folder and run again."
        ) from error
    check_files(name, builder, index, manual)
    if twice := [each for each, count in Counter(index["filenames"]).items() if count > 1]:
        raise InputError(
            f"{name}: the builder gives {len(twice)} file names to more than one example (such as "
            f"{twice[0]!r}); predictions and splits need unique names. Correct the builder, "
            f"delete {path} and run again."
        )
    sizes = sampled_sizes(source)
    measured = getattr(builder, "microns_per_pixel", None)
    return Dataset(
        name=name,
        class_names=tuple(nfc(name) for name in builder.info.features["label"].names),
        filenames=tuple(map(nfc, index["filenames"])),
        labels=np.asarray(index["labels"], np.int64),
        groups=tuple(map(nfc, index["groups"])),
        source=source,
        decoded_source=decoded,
        version=str(builder.version),
        group_feature=builder.GROUP_FEATURE,
        info=builder.info,
        path=path,
        microns_per_pixel=measured(sizes) if measured else None,
        image_size=same_size(sizes),
    )


def _check_counts(dataset: Dataset, config: str, builder_cls) -> None:
    official = getattr(builder_cls, "OFFICIAL_COUNTS", {}).get(config)
    if official is None or dict(official) == dataset.class_counts:
        return
    wrong = [
        f"{key} {dataset.class_counts.get(key, 0)} instead of {count}"
        for key, count in official.items()
        if dataset.class_counts.get(key, 0) != count
    ]
    raise InputError(
        f"{dataset.name}: the prepared data in {dataset.path} do not have the official number of "
        f"examples ({', '.join(wrong)}); delete that folder and prepare the complete set, or "
        "accept it with check_counts=False (prepare: --nocheck_counts)."
    )
