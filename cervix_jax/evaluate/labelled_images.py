"""Labelled images to evaluate a trained run on, `evaluate --on`.

Sources: a data set of the catalogue, a folder of class folders, or a list with the columns path,
label and optional group. Folders and lists are read in place; nothing is prepared or copied.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from cervix_jax.data import catalog
from cervix_jax.data.resolution import check_microns
from cervix_jax.data.settings import check_names
from cervix_jax.errors import InputError
from cervix_jax.evaluate.labels import place_of, read_labels
from cervix_jax.files import images
from cervix_jax.files.listed import ListedFiles
from cervix_jax.files.paths import user_path

FOLDERS = "image_folder/default"
"""Data set of the catalogue whose rules apply to any folder of images."""
_MICRONS = "microns_per_pixel"


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images with one class each.

    Attributes:
      title: displayed name: the data set, the folder or the list.
      source: the argument of `open_labelled`; a path is made absolute.
      kind: "data set", "folder" or "list".
      class_names: the classes, in the order of the labels.
      filenames: N unique names.
      labels: int64 [N].
      groups: N names; an image without a known group is its own group.
      load: returns the image at a position, upright, in RGB; raises `images.UnreadableImage`.
      microns_per_pixel: pixel size of the images in micrometres; None if unknown.
    """

    title: str
    source: str
    kind: str
    class_names: tuple[str, ...]
    filenames: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    load: Callable[[int], Image.Image]
    microns_per_pixel: float | None = None

    def __len__(self) -> int:
        return len(self.filenames)


def open_labelled(
    on: str | Path,
    *,
    manual_dir: str = "",
    data_dir: str = "",
    settings: Mapping[str, Any] | None = None,
    check_counts: bool = True,
) -> LabelledImages:
    """Open labelled images.

    Args:
      on: a data set of the catalogue as `<builder>/<config>`; a folder with one folder per class,
        or with an `images.csv`; or a list, see `read_labels`, whose paths are absolute or relative
        to the folder of the list. Write `./cric/cell` for a folder that has the name of a data set.
      manual_dir: raw files of a data set, see `cervix_jax.data.catalog.load`; likewise
        `data_dir` and `check_counts`.
      data_dir: prepared data.
      settings: settings of the data set; for a folder those of `image_folder/default`, for a list
        only `microns_per_pixel`.
      check_counts: require the official number of images.

    Raises:
      InputError: the source does not exist, or cannot be used.
    """
    text = str(on)
    given = {name: value for name, value in (settings or {}).items() if value is not None}
    if is_data_set(text):
        dataset = catalog.load(
            text,
            manual_dir=manual_dir,
            data_dir=data_dir,
            settings=given,
            check_counts=check_counts,
        )
        return _of_data_set(dataset, text)
    path = user_path(on, "--on")
    if not path.exists():
        raise InputError(
            f"--on={text}: there is no such folder, list or data set; the data sets are "
            f"{', '.join(catalog.dataset_names())}."
        )
    if manual_dir:
        raise InputError(
            f"--manual_dir={manual_dir}: only for data sets; --on={text} is "
            f"{'a folder' if path.is_dir() else 'a list'}. Leave --manual_dir out."
        )
    if path.is_dir():
        return _of_folder(path.resolve(), given)
    if other := [name for name in given if name != _MICRONS]:
        raise InputError(
            f"--setting={other[0]}: the only setting of a list is {_MICRONS}; leave {other[0]} out."
        )
    return _of_list(path.resolve(), given.get(_MICRONS))


def is_data_set(text: str) -> bool:
    """Whether a text names a data set: it begins with a known builder and a slash."""
    builder, slash, config = text.partition("/")
    return builder in catalog.builder_names() and bool(slash) and "/" not in config


def _of_data_set(dataset: catalog.Dataset, name: str) -> LabelledImages:
    def load(index: int) -> Image.Image:
        filename = dataset.filenames[index]
        return images.rgb(images.decode(dataset.encoded_image(index), filename))

    return LabelledImages(
        name, name, "data set", dataset.class_names, dataset.filenames, dataset.labels,
        dataset.groups, load, dataset.microns_per_pixel,
    )  # fmt: skip


def _of_folder(root: Path, settings: Mapping[str, Any]) -> LabelledImages:
    check_names(settings, list(catalog.known_settings(FOLDERS)), "image_folder setting ")
    builder = cast(Any, catalog.find_builder(FOLDERS))
    kept = {name: value for name, value in settings.items() if name not in ("name", _MICRONS)}
    listing = builder.list_folder(root, fewest_classes=1, **kept)
    return _of_files(
        root,
        "folder",
        listing.class_names,
        [item.path for item in listing.items],
        [item.filename for item in listing.items],
        [item.label for item in listing.items],
        [item.group for item in listing.items],
        settings.get(_MICRONS),
    )


def _of_list(path: Path, microns_per_pixel: float | None) -> LabelledImages:
    rows = read_labels(path)
    files = ListedFiles()
    places = [files.find(place_of(row.name, path.parent)) for row in rows]
    missing = [row for row, place in zip(rows, places, strict=True) if not place.is_file()]
    if missing:
        raise InputError(
            f"{missing[0].where}: there is no file {missing[0].name}"
            f"{f', and {len(missing) - 1} others are missing' if len(missing) > 1 else ''}; "
            f"give paths that are absolute or relative to {path.parent}."
        )
    class_names = tuple(sorted({row.label for row in rows}))
    number = {name: label for label, name in enumerate(class_names)}
    return _of_files(
        path,
        "list",
        class_names,
        places,
        [row.name for row in rows],
        [number[row.label] for row in rows],
        [row.group or row.name for row in rows],
        microns_per_pixel,
    )


def _of_files(
    source: Path,
    kind: str,
    class_names: Sequence[str],
    paths: Sequence[Path],
    filenames: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[str],
    microns_per_pixel: float | None,
) -> LabelledImages:
    return LabelledImages(
        source.name or str(source),
        str(source),
        kind,
        tuple(class_names),
        tuple(filenames),
        np.asarray(labels, np.int64),
        tuple(groups),
        lambda index: images.read_rgb(paths[index]),
        check_microns(f"--setting={_MICRONS}", microns_per_pixel) if microns_per_pixel else None,
    )
