"""Images in a tree of class folders."""

import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from cervix_jax.errors import InputError
from cervix_jax.files import folders
from cervix_jax.files.images import is_image
from cervix_jax.files.paths import nfc
from tfds_builders.image_folder.parts import inside, kind_of, parts_of

# Guards against folders linked into themselves.
_MAX_DEPTH = 10
_MASK_WORDS = ("gt", "label", "labels", "mask", "masks", "seg", "segmentation", "segmentations")
_MASK_FOLDERS = (*_MASK_WORDS, "annotation", "annotations", "ground_truth", "groundtruth")
# Herlev's masks end with "-d".
_MASK_STEM = re.compile(rf"(.+)[-_ .](?:d|{'|'.join(_MASK_WORDS)})", re.IGNORECASE)


@dataclasses.dataclass
class LeftOut:
    """Content of a folder besides the images of its classes.

    Attributes:
      parts: folders that divide the images, which are merged.
      strays: folders beside them that are no classes.
      loose: images outside class folders.
      masks: files and folders of masks, by their names.
      unread: files that are no images, or in a format that is not read.
    """

    parts: list[Path] = dataclasses.field(default_factory=list)
    strays: list[Path] = dataclasses.field(default_factory=list)
    loose: list[Path] = dataclasses.field(default_factory=list)
    masks: list[Path] = dataclasses.field(default_factory=list)
    unread: folders.Unread = dataclasses.field(default_factory=folders.Unread)

    def add_files(self, folder: Path) -> None:
        """Record the files in a folder that is no class."""
        for path in folders.entries(folder):
            if path.is_dir():
                continue
            if is_image(path):
                self.loose.append(path)
            else:
                self.unread.add(path)

    def report(self, root: Path) -> None:
        """Warn about each kind, with its number and an example."""
        if self.parts:
            logging.warning(
                "image_folder: %s is divided into %s; they are merged, and split.protocol "
                "divides the images anew.",
                self.parts[0].parent,
                ", ".join(folder.name for folder in self.parts),
            )
        for folder in self.strays:
            number = sum(sum(is_image(name) for name in names) for _, _, names in os.walk(folder))
            logging.warning(
                "image_folder: %s is beside the split folders and is not a class; its %d "
                "images are left out.",
                folder,
                number,
            )
        for paths, text in (
            (self.loose, "images lie in no class folder"),
            (self.masks, "masks, by their names or folders,"),
        ):
            if paths:
                logging.warning(
                    "image_folder: %d %s in %s are left out, e.g. %s.",
                    len(paths),
                    text,
                    root,
                    paths[0].relative_to(root),
                )
        if self.unread:
            logging.warning("image_folder: in %s %s.", root, self.unread.text())


def find_tree(root: Path) -> tuple[list[tuple[Path, str]], LeftOut]:
    """Find the images of the class folders of a tree.

    Args:
      root: the folder; the class folders may be deeper, in one folder or in parts of a division.

    Returns:
      The files with their classes, and the files left out.

    Raises:
      InputError: the folder contains a common mistake, which the message names.
    """
    left_out = LeftOut()
    top = _unwrap(root, left_out)
    classes: dict[str, list[Path]] = defaultdict(list)
    for folder in _class_folders(top, left_out):
        classes[nfc(folder.name)].append(folder)
    found: list[tuple[Path, str]] = []
    for name, places in classes.items():
        files = [
            path for place in places for path in _walk(place, name, set(classes), left_out.masks)
        ]
        pictures, masks = _without_masks([path for path in files if is_image(path)])
        left_out.masks += masks
        unread = folders.Unread()
        for path in files:
            if not is_image(path):
                unread.add(path)
                left_out.unread.add(path)
        if not pictures:
            what = f"; {unread.text()}" if unread else ""
            raise InputError(
                f"{places[0]}: this class folder contains no images{what}; fill or remove it."
            )
        _refuse_nested_copies(pictures, name)
        found += [(path, name) for path in pictures]
    if not classes and left_out.parts:
        raise InputError(
            f"{root}: the split folders {', '.join(part.name for part in left_out.parts)} contain "
            "no class folders; make one folder per class in each, or list the images with their "
            "classes in images.csv."
        )
    if not classes:
        what = f" ({left_out.unread.text()})" if left_out.unread else ""
        raise InputError(
            f"{root}: contains no folder with images{what}; make one folder per class."
        )
    return found, left_out


def _has_images(folder: Path) -> bool:
    return any(is_image(path) for path in folders.entries(folder))


def _unwrap(root: Path, left_out: LeftOut) -> Path:
    """Return the parent of the class folders: archives often nest it in another folder."""
    top = root
    for _ in range(_MAX_DEPTH):
        left_out.add_files(top)
        inner = folders.subfolders(top)
        if len(inner) != 1 or _has_images(top):
            break
        if _has_images(inner[0]) or not folders.subfolders(inner[0]):
            break
        top = inner[0]
    return top


def _class_folders(top: Path, left_out: LeftOut, depth: int = 0) -> Iterator[Path]:
    """Yield the class folders; in a tree of train and test, those below either."""
    inner = []
    for folder in folders.subfolders(top):
        if folder.name.casefold() in _MASK_FOLDERS:
            left_out.masks.append(folder)
        else:
            inner.append(folder)
    parts = parts_of(inner) if depth < _MAX_DEPTH else []
    if not parts:
        yield from inner
        return
    left_out.parts += parts
    below = []
    for part in parts:
        place = inside(part)
        for folder in dict.fromkeys((part, place)):
            left_out.add_files(folder)
        below += _class_folders(place, left_out, depth + 1)
    yield from below
    names = {nfc(folder.name) for folder in below}
    for folder in inner:
        if folder in parts:
            continue
        if nfc(folder.name) in names:  # folders beside "test" hold training images
            yield folder
        else:
            left_out.strays.append(folder)


def _walk(
    folder: Path, own: str, classes: set[str], masks: list[Path], depth: int = 0
) -> Iterator[Path]:
    if depth > _MAX_DEPTH:
        raise InputError(
            f"{folder}: lies more than {_MAX_DEPTH} folders deep; remove a link to a parent "
            "folder, or move the images up."
        )
    for path in folders.entries(folder):
        name = nfc(path.name)
        if not path.is_dir():
            yield path
        elif name.casefold() in _MASK_FOLDERS:
            masks.append(path)
        elif name in classes and name != own:
            hint = (
                f"; if {own} is a split folder (train, val, test or a fold) and not a class, merge "
                f"its class folders with those beside {own}"
                if kind_of(own)
                else ""
            )
            raise InputError(
                f"{path}: a folder of class {name} lies in that of class {own}; move it out{hint}."
            )
        else:
            yield from _walk(path, own, classes, masks, depth + 1)


def _without_masks(pictures: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the images, and the files whose names mark them as masks of these images."""
    stems = {(path.parent, path.stem.casefold()) for path in pictures}
    kept: list[Path] = []
    masks: list[Path] = []
    for path in pictures:
        match = _MASK_STEM.fullmatch(path.stem)
        is_mask = match is not None and (path.parent, match[1].casefold()) in stems
        (masks if is_mask else kept).append(path)
    return kept, masks


def _refuse_nested_copies(pictures: list[Path], name: str) -> None:
    """Raise an error for a class folder nested in itself, which holds every image twice."""
    seen: dict[tuple, Path] = {}
    for path in pictures:
        parts = [nfc(part) for part in path.parts]
        key = tuple(p for i, p in enumerate(parts) if not (p == name and parts[i - 1] == name))
        folders.add_once(seen, key, path)
