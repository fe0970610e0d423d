"""Lists the images of a folder with class and group, and finds the usual mistakes."""

import dataclasses
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from absl import logging

from cervix_jax.errors import InputError
from cervix_jax.files import folders, images, tables
from cervix_jax.files.paths import require_file
from tfds_builders.image_folder.settings import compile_pattern

DEFAULT_CSV = "images.csv"
# Guards against folders linked into themselves.
_MAX_DEPTH = 10
_SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
_MASK_WORDS = ("gt", "label", "labels", "mask", "masks", "seg", "segmentation", "segmentations")
_MASK_FOLDERS = (*_MASK_WORDS, "annotation", "annotations", "ground_truth", "groundtruth")
# Herlev's masks end with "-d".
_MASK_STEM = re.compile(rf"(.+)[-_ .](?:d|{'|'.join(_MASK_WORDS)})", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Item:
    """One image: file, path below the folder with "/", class number and group."""

    path: Path
    filename: str
    label: int
    group: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """The classes, in the order of the labels, and the images, sorted by name."""

    class_names: tuple[str, ...]
    items: tuple[Item, ...]


# Path of an image, its name below the folder, its class and, in lists, its group.
_Found = tuple[Path, str, str, str]


def find_items(
    root: Path, *, csv: str = "", group_pattern: str = "", fewest_classes: int = 2
) -> Listing:
    """All images of a folder.

    Args:
      root: the folder.
      csv: file below it with columns path, label and perhaps group; "" takes `images.csv` where
        there is one, else the classes are the folders in `root`.
      group_pattern: see `settings.ImageFolderConfig`.
      fewest_classes: 1 for images that a trained network is only tried on.

    Raises:
      InputError: the folder holds one of the usual mistakes; names it.
    """
    pattern = compile_pattern(group_pattern)
    if csv or (root / DEFAULT_CSV).is_file():
        found = _listed(root, csv or DEFAULT_CSV, has_pattern=pattern is not None)
    else:
        found = _tree(root)
    for path, name, _, _ in found:
        require_file(path)
        if not _is_unicode(name):
            raise InputError(f"{path}: its name is no Unicode; rename it.")
    class_names = _class_names([label for _, _, label, _ in found], root, fewest_classes)
    number = {name: index for index, name in enumerate(class_names)}
    found = sorted(found, key=lambda entry: entry[1])
    groups = _groups(found, pattern, group_pattern)
    return Listing(
        class_names,
        tuple(
            Item(path, name, number[label], group)
            for (path, name, label, _), group in zip(found, groups, strict=True)
        ),
    )


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _class_names(labels: Sequence[str], root: Path, fewest: int) -> tuple[str, ...]:
    names = sorted(set(labels), key=_natural)
    if len(names) < fewest:
        raise InputError(
            f"{root}: all images are of one class, {', '.join(names) or 'none'}; give the folder "
            "that holds one folder per class."
        )
    folded = Counter(name.casefold() for name in names)
    alike = [name for name in names if folded[name.casefold()] > 1]
    if alike:
        raise InputError(f"{root}: the classes {', '.join(alike)} differ by case only; join them.")
    bad = [name for name in names if not name.isprintable() or name != name.strip()]
    if bad:
        raise InputError(f"{root}: the class {bad[0]!r} has unusual characters; rename it.")
    return tuple(names)


def _natural(name: str) -> tuple:
    """Sort key by which "grade 9" comes before "grade 10", whatever the case."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(int(part) if odd % 2 else part for odd, part in enumerate(parts)), name


def _groups(found: list[_Found], pattern: re.Pattern | None, given: str) -> Iterator[str]:
    if pattern is None:
        yield from (group or name for _, name, _, group in found)
        return
    matches = [pattern.search(name) for _, name, _, _ in found]
    unmatched = [
        entry[1]
        for entry, match in zip(found, matches, strict=True)
        if not match or not match["group"]
    ]
    if unmatched:
        raise InputError(
            f"image_folder setting group_pattern={given!r} does not fit {len(unmatched)} of "
            f"{len(found)} images, e.g. {unmatched[0]}; give another pattern."
        )
    yield from (match["group"] for match in matches if match)


# --- a list of images ---------------------------------------------------------------------------


def _listed(root: Path, csv: str, *, has_pattern: bool) -> list[_Found]:
    path = _inside(root, csv, "image_folder setting csv")
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file; give the setting csv its name.")
    found: list[_Found] = []
    lines: dict[str, str] = {}
    table = tables.Table(path, ("path", "label", "group"))
    table.require("path", "label")
    for row in table:
        where, label, group = row.where, row["label"], row.get("group")
        image = _inside(root, row["path"], where)
        name = image.relative_to(root).as_posix()
        if not label:
            raise InputError(f"{where}: the label of {name} is empty; give its class.")
        if group and has_pattern:
            raise InputError(
                f"{where}: has a group, but the setting group_pattern is given too; remove one."
            )
        if name in lines:
            raise InputError(f"{where}: {name} is listed already ({lines[name]}); remove one.")
        if not os.path.isfile(image):  # False also for a name that is too long
            raise InputError(f"{where}: there is no file {image}; complete the folder.")
        lines[name] = f"line {row.line}"
        found.append((image, name, label, group))
    if not found:
        raise InputError(f"{path}: lists no images; give columns path, label and perhaps group.")
    return found


def _inside(root: Path, name: str, where: str) -> Path:
    """The path `name` below `root`, whatever separators it is written with."""
    parts = PureWindowsPath(name)  # understands / and \\
    clean = PurePosixPath(*parts.parts) if parts.parts and not parts.anchor else None
    if clean is None or ".." in clean.parts or "\0" in name:
        raise InputError(
            f"{where}: the path {name[:80]!r} must lie in {root}: no absolute path and no '..'."
        )
    return root.joinpath(*clean.parts)


# --- a tree of class folders --------------------------------------------------------------------


def _tree(root: Path) -> list[_Found]:
    top = _unwrap(root)
    masks: list[Path] = []
    others: list[Path] = []
    classes: dict[str, list[Path]] = defaultdict(list)
    for folder in _class_folders(top, masks):
        classes[folder.name].append(folder)
    found = []
    for name, places in classes.items():
        files = [path for place in places for path in _walk(place, name, set(classes), masks)]
        pictures = [path for path in files if path.suffix.lower() in images.SUFFIXES]
        others += (path for path in files if path.suffix.lower() not in images.SUFFIXES)
        pictures, of_class = _without_masks(pictures)
        masks += of_class
        if not pictures:
            raise InputError(
                f"{places[0]}: this class folder holds no images (of {', '.join(images.SUFFIXES)}) "
                f"but {len(files)} other files; fill or remove it."
            )
        _refuse_nested_copies(pictures, name)
        found += [(path, path.relative_to(root).as_posix(), name, "") for path in pictures]
    loose = [p for p in folders.entries(top) if p.suffix.lower() in images.SUFFIXES]
    _report(root, loose, masks, others)
    if not classes:
        raise InputError(f"{root}: holds no folder with images; make one folder per class.")
    return found


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in images.SUFFIXES for path in folders.entries(folder))


def _unwrap(root: Path) -> Path:
    """The folder of the class folders: archives often pack it into another."""
    top = root
    for _ in range(_MAX_DEPTH):
        inner = folders.subfolders(top)
        if len(inner) != 1 or _has_images(top):
            break
        if _has_images(inner[0]) or not folders.subfolders(inner[0]):
            break
        top = inner[0]
    return top


def _class_folders(top: Path, masks: list[Path]) -> Iterator[Path]:
    """The folders of the classes; in a tree of train and test, those below either."""
    inner = folders.subfolders(top)
    if inner and all(folder.name.casefold() in _SPLIT_FOLDERS for folder in inner):
        logging.warning(
            "image_folder: %s is divided into %s; they are joined here, and split.protocol divides "
            "the images anew.",
            top,
            ", ".join(folder.name for folder in inner),
        )
        inner = [child for folder in inner for child in folders.subfolders(folder)]
    for folder in inner:
        if folder.name.casefold() in _MASK_FOLDERS:
            masks.append(folder)
        else:
            yield folder


def _walk(
    folder: Path, own: str, classes: set[str], masks: list[Path], depth: int = 0
) -> Iterator[Path]:
    if depth > _MAX_DEPTH:
        raise InputError(f"{folder}: lies more than {_MAX_DEPTH} folders deep; is it a loop?")
    for path in folders.entries(folder):
        if not path.is_dir():
            yield path
        elif path.name.casefold() in _MASK_FOLDERS:
            masks.append(path)
        elif path.name in classes and path.name != own:
            raise InputError(
                f"{path}: a folder of class {path.name} lies in that of class {own}; move it out."
            )
        else:
            yield from _walk(path, own, classes, masks, depth + 1)


def _without_masks(pictures: list[Path]) -> tuple[list[Path], list[Path]]:
    """Images, and files whose name says that they are the mask of one of them."""
    stems = {(path.parent, path.stem.casefold()) for path in pictures}
    kept: list[Path] = []
    masks: list[Path] = []
    for path in pictures:
        match = _MASK_STEM.fullmatch(path.stem)
        is_mask = match is not None and (path.parent, match[1].casefold()) in stems
        (masks if is_mask else kept).append(path)
    return kept, masks


def _refuse_nested_copies(pictures: list[Path], name: str) -> None:
    """A class folder nested in itself holds every image twice where it was unpacked twice."""
    seen: dict[tuple, Path] = {}
    for path in pictures:
        parts = path.parts
        key = tuple(p for i, p in enumerate(parts) if not (p == name and parts[i - 1] == name))
        folders.add_once(seen, key, path)


def _report(root: Path, loose: list[Path], masks: list[Path], others: list[Path]) -> None:
    for paths, text in (
        (loose, "images lie in no class folder"),
        (masks, "masks, by their names or folders,"),
        (others, "other files"),
    ):
        if paths:
            logging.warning(
                "image_folder: %d %s in %s are left out, e.g. %s.",
                len(paths),
                text,
                root,
                paths[0].relative_to(root),
            )
