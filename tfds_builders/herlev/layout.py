"""Finds the images and segmentations of Herlev in all common folder layouts."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from cervix_jax.data.classes import HERLEV
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images

# Parts of a folder name that identify the class; the first match determines it.
_SPELLINGS = (
    (r"carcinoma_?(in_?situ)?|(carcinoma_)?cis", "carcinoma_in_situ"),
    (r"(light|mild)_dysplas(tic|ia|ias)", "light_dysplastic"),
    (r"moderate_dysplas(tic|ia|ias)", "moderate_dysplastic"),
    (r"severe_dysplas(tic|ia|ias)", "severe_dysplastic"),
    (r"(normal_)?columnar", "normal_columnar"),
    (r"(normal_)?intermediate", "normal_intermediate"),
    (r"(normal_)?superfici(el|al)", "normal_superficiel"),
)
_IMAGE = re.compile(r"(\d+)-(\d+)-(\d+)")
_MASK = re.compile(r"(\d+-\d+-\d+)-d")
# The archive's folder of the 917 images; the older, smaller set may be beside it.
_NEW_FOLDER = "new database pictures"


@dataclasses.dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
      path: the file.
      filename: `<class>/<file>`, the same in every layout.
      label: index into `HERLEV.names`.
      slide_id: first number of the name.
      mask: file of the segmentation, if there is one.
    """

    path: Path
    filename: str
    label: int
    slide_id: str
    mask: Path | None

    @property
    def key(self) -> str:
        """Unique name that does not depend on the file format."""
        return self.filename.rpartition(".")[0]


def class_of(folder_name: str) -> str | None:
    """Return the class of a folder name such as "Mild dysplasia"; None if it is no class."""
    words = re.sub(r"[^a-z]+", "_", folder_name.casefold()).strip("_")
    return next((name for spelling, name in _SPELLINGS if re.fullmatch(spelling, words)), None)


def find_items(root: Path) -> list[Item]:
    """Find all images below `root`, sorted by class and name.

    Raises:
      InputError: a class folder is missing, or an image or segmentation occurs twice.
    """
    found = folders.find_class_folders(_start(root), HERLEV.names, class_of)
    missing = [name for name in HERLEV.names if not found[name]]
    if missing:
        have = ", ".join(name for name in HERLEV.names if found[name]) or "none"
        raise InputError(
            f"{root}: no folder {', '.join(missing)} (found: {have}); give the folder that holds "
            "all seven class folders, e.g. smear2005."
        )
    pictures: dict[str, tuple[Path, int]] = {}
    masks: dict[str, Path] = {}
    strange: list[Path] = []
    unread = folders.Unread()
    for label, name in enumerate(HERLEV.names):
        of_class: dict[str, Path] = {}
        for path in (file for folder in found[name] for file in _files(folder, name)):
            if not images.is_image(path):
                unread.add(path)
                continue
            if match := _MASK.fullmatch(path.stem.lower()):
                folders.add_once(masks, match[1], path)
            elif _IMAGE.fullmatch(path.stem):
                folders.add_once(of_class, path.stem, path)
            else:
                strange.append(path)
        for stem, path in of_class.items():
            if stem in pictures:
                raise InputError(
                    f"{pictures[stem][0]} and {path}: the same cell in two classes; remove one."
                )
            pictures[stem] = (path, label)
    _report(strange, sorted(masks.keys() - pictures.keys()))
    if unread:
        logging.warning("herlev: in %s %s.", root, unread.text())
    return [
        Item(
            path=path,
            filename=f"{HERLEV.names[label]}/{path.name}",
            label=label,
            slide_id=stem.partition("-")[0],
            mask=masks.get(stem),
        )
        for stem, (path, label) in sorted(pictures.items(), key=lambda e: (e[1][1], e[0]))
    ]


def _report(strange: list[Path], orphans: list[str]) -> None:
    if strange:
        logging.warning(
            "herlev: %d images are not named as in Herlev (NNN-NNN-NNN.BMP) and are left out, "
            "e.g. %s.",
            len(strange),
            strange[0],
        )
    if orphans:
        logging.warning(
            "herlev: %d segmentations have no image and are left out, e.g. %s-d.bmp.",
            len(orphans),
            orphans[0],
        )


def _start(root: Path) -> Path:
    """Return the folder of the 917 images if its name identifies it, else `root`."""
    level = [root]
    for _ in range(folders.SEARCH_DEPTH):
        for folder in level:
            if folder.name.casefold().replace("_", " ") == _NEW_FOLDER:
                return folder
        level = [child for folder in level for child in folders.subfolders(folder)]
    return root


def _files(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a class folder, including one of the same class nested in it."""
    for path in folders.entries(folder):
        if not path.is_dir():
            yield path
        elif class_of(path.name) == name:
            yield from _files(path, name)
