"""Finds the images and contour files of SIPaKMeD in all common folder layouts."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import logging

from cervix_jax.data.classes import SIPAKMED
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images

CLASS_FOLDERS = tuple(f"im_{name}" for name in SIPAKMED.names)

_FIELD = re.compile(r"(\d+)$")
_CROP = re.compile(r"(\d+)_(\d+)$")
_FIELD_CONTOUR = re.compile(r"(\d+)_(cyt|nuc)(\d+)$")
_CROP_CONTOUR = re.compile(r"(\d+)_(\d+)_(cyt|nuc)$")

# (cluster number, cell number); the cell number of a field is None.
Key = tuple[int, int | None]
# Contour files of one cell: {"cyt": outer contour of the cell, "nuc": contour of the nucleus}.
CellContours = Mapping[str, Path]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
      path: the file.
      filename: `im_<class>/<file>`, the same in every layout.
      label: index into `SIPAKMED.names`.
      cluster_id: `im_<class>/<NNN>`, the field itself or the field that the crop is from.
      contours: contour files per cell; one cell for a crop, all cells for a field.
    """

    path: Path
    filename: str
    label: int
    cluster_id: str
    contours: tuple[CellContours, ...]

    @property
    def key(self) -> str:
        """Unique name that does not depend on the file format."""
        return self.filename.rpartition(".")[0]


def find_items(root: Path, *, crops: bool) -> list[Item]:
    """Find all single cells (`crops`) or all fields below `root`, sorted by class and number.

    Raises:
      InputError: a class folder is missing, or an image or contour file occurs twice.
    """
    canonical = {name.casefold(): name for name in CLASS_FOLDERS}
    found = folders.find_class_folders(
        root, CLASS_FOLDERS, lambda name: canonical.get(name.casefold())
    )
    missing = [name for name in CLASS_FOLDERS if not found[name]]
    if missing:
        raise InputError(_missing_message(root, missing, [n for n in CLASS_FOLDERS if found[n]]))
    items = []
    for label, name in enumerate(CLASS_FOLDERS):
        items += _class_items(found[name], name, label, crops=crops)
    return items


def _missing_message(root: Path, missing: list[str], found: list[str]) -> str:
    archives = sorted(path.name for path in root.iterdir() if path.suffix.lower() == ".7z")
    unpack = (
        f" The folder holds {', '.join(archives)}: unpack every .7z archive." if archives else ""
    )
    return (
        f"{root}: no folder {', '.join(missing)} (found: {', '.join(found) or 'none'}); "
        f"give the folder that holds all five class folders.{unpack}"
    )


def _files(folder: Path, name: str) -> Iterator[tuple[Path, bool]]:
    """Yield the files of a class folder, nested or not, and whether each is in its CROPPED."""
    for path in folders.entries(folder):
        if not path.is_dir():
            yield path, False
        elif path.name.casefold() == "cropped":
            yield from ((file, True) for file in folders.entries(path) if not file.is_dir())
        elif path.name.casefold() == name.casefold():
            yield from _files(path, name)


def _class_items(paths: list[Path], name: str, label: int, *, crops: bool) -> list[Item]:
    found: dict[Key, Path] = {}
    contours: dict[tuple[int, int, str], Path] = {}
    strange: list[Path] = []
    unread = folders.Unread()
    for path, in_cropped in (file for folder in paths for file in _files(folder, name)):
        suffix, stem = path.suffix.lower(), path.stem.lower()
        if images.is_image(path):
            if match := _CROP.match(stem):
                if crops:
                    folders.add_once(found, (int(match[1]), int(match[2])), path)
            elif (match := _FIELD.match(stem)) and not in_cropped:
                if not crops:
                    folders.add_once(found, (int(match[1]), None), path)
            else:
                strange.append(path)
        elif suffix == ".dat":
            if crops and (match := _CROP_CONTOUR.match(stem)):
                folders.add_once(contours, (int(match[1]), int(match[2]), match[3]), path)
            elif not crops and (match := _FIELD_CONTOUR.match(stem)):
                folders.add_once(contours, (int(match[1]), int(match[3]), match[2]), path)
        else:
            unread.add(path)
    if unread:
        logging.warning("%s: %s.", name, unread.text())
    if strange:
        logging.warning(
            "%s: %d images are not named as in SIPaKMeD (NNN.bmp, CROPPED/NNN_MM.bmp) and are "
            "left out, e.g. %s.",
            name,
            len(strange),
            strange[0],
        )
    cells: dict[Key, dict[int, dict[str, Path]]] = {}
    for (cluster, cell, kind), path in sorted(contours.items()):
        of_image = cells.setdefault((cluster, cell if crops else None), {})
        of_image.setdefault(cell, {})[kind] = path
    return [
        Item(
            path=path,
            filename=f"{name}/{path.name}",
            label=label,
            cluster_id=f"{name}/{key[0]:03d}",
            contours=tuple(cells.get(key, {}).values()),
        )
        for key, path in sorted(found.items(), key=lambda entry: (entry[0][0], entry[0][1] or 0))
    ]
