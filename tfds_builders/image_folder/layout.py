"""Lists the images of a folder with class and group, and detects common mistakes."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cervix_jax.errors import InputError
from cervix_jax.files import folders, tables
from cervix_jax.files.paths import nfc, require_file
from tfds_builders.image_folder.image_list import find_listed
from tfds_builders.image_folder.settings import compile_pattern
from tfds_builders.image_folder.tree import find_tree

DEFAULT_CSV = "images.csv"


@dataclasses.dataclass(frozen=True)
class Item:
    """One image: file, path below the folder with "/", class number and group.

    Names are in Unicode form NFC, independent of the form on disk.
    """

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
    root: Path,
    *,
    csv: str = "",
    group_pattern: str = "",
    fewest_classes: int = 2,
    report: bool = True,
) -> Listing:
    """Find all images of a folder.

    Args:
      root: the folder.
      csv: file below it with columns path, label and optionally group; "" uses `images.csv` if it
        exists, otherwise the class folders in `root`.
      group_pattern: see `settings.ImageFolderConfig`.
      fewest_classes: minimum number of classes; 1 for images on which a model is only evaluated.
      report: whether to warn about files that are left out.

    Raises:
      InputError: the folder contains a common mistake, which the message names.
    """
    pattern = compile_pattern(group_pattern)
    if csv or (root / DEFAULT_CSV).is_file():
        found = find_listed(
            root, csv or DEFAULT_CSV, has_pattern=pattern is not None, report=report
        )
    else:
        files, left_out = find_tree(root)
        found = [(path, nfc(path.relative_to(root).as_posix()), label, "") for path, label in files]
        if report:
            left_out.report(root)
    for path, name, _, _ in found:
        require_file(path)
        if not _is_unicode(name):
            raise InputError(f"{path}: its name is not valid Unicode; rename it.")
    _refuse_equal_names(found)
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


def _refuse_equal_names(found: list[_Found]) -> None:
    """Raise an error for names that differ on disk only in Unicode form."""
    seen: dict[str, Path] = {}
    for path, name, _, _ in found:
        folders.add_once(seen, name, path)


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
    tables.refuse_same_number(names, root)
    bad = [name for name in names if not name.isprintable() or name != name.strip()]
    if bad:
        raise InputError(f"{root}: the class {bad[0]!r} has unusual characters; rename it.")
    return tuple(names)


def _natural(name: str) -> tuple:
    """Sort key by which "grade 9" comes before "grade 10", ignoring case."""
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
