"""Search of image folders on disk, shared by several builders."""

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cervix_jax.errors import InputError
from cervix_jax.files.images import SUFFIXES

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Maximum depth of the class folders below the given folder.
SEARCH_DEPTH = 4
# Prefixes of files that operating systems, file servers and office programs leave in folders.
LEFTOVERS = (
    ".", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information",
    "lost+found", "Thumbs.db", "ehthumbs", "desktop.ini", "Desktop.ini", "~$",
)  # fmt: skip
# Suffixes of images that are not read, although users may expect it.
_OTHER_IMAGES = frozenset((
    ".apng", ".avif", ".bif", ".cr2", ".czi", ".dcm", ".dicom", ".dng", ".gif", ".heic",
    ".heif", ".ims", ".j2k", ".jp2", ".jpx", ".jxl", ".lif", ".mrxs", ".nd2", ".ndpi", ".nef",
    ".oib", ".oif", ".pgm", ".pnm", ".ppm", ".psd", ".raw", ".scn", ".svg", ".svs", ".tga",
    ".vms", ".vsi", ".webp", ".zvi",
))  # fmt: skip
_MAX_KINDS = 8  # suffixes in a message


class Unread:
    """Files in a folder that a command does not read, counted by suffix.

    unread = Unread()
    unread.add("cells/a.webp")
    print(unread.text())
    """

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._first: dict[str, str] = {}

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, path: str | Path) -> None:
        """Count a file by its suffix, ignoring case."""
        suffix = os.path.splitext(path)[1].lower()
        self._counts[suffix] += 1
        self._first.setdefault(suffix, str(path))

    def counts(self) -> dict[str, int]:
        """Files by suffix, the most frequent first; "" counts those without a suffix."""
        return dict(sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0])))

    def text(self) -> str:
        """Return one line without a full stop: files per suffix, an example, and the remedy."""
        counts = self.counts()
        kinds = [f"{n} {suffix or 'without suffix'}" for suffix, n in counts.items()]
        more = f" and {len(kinds) - _MAX_KINDS} more suffixes" if len(kinds) > _MAX_KINDS else ""
        pictures = [suffix for suffix in counts if suffix in _OTHER_IMAGES]
        example = self._first[(pictures or list(counts))[0]] if counts else ""
        files = "1 file is" if len(self) == 1 else f"{len(self)} files are"
        hint = ""
        if pictures:
            number = sum(counts[suffix] for suffix in pictures)
            hint = (
                f"; {number} of them {'is an image' if number == 1 else 'are images'} of a format "
                f"that is not read: save as one of {', '.join(SUFFIXES)}"
            )
        return f"{files} not read: {', '.join(kinds[:_MAX_KINDS])}{more} (e.g. {example}){hint}"


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name was left by an operating system or program."""
    return name.startswith(LEFTOVERS)


def manual_folder(dl_manager: "tfds.download.DownloadManager", name: str, way_out: str) -> Path:
    """Return the user's folder of images.

    Raises:
      InputError: it is missing or empty; the message names data set `name` and ends in `way_out`.
    """
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError as error:  # raised by TFDS
        raise InputError(
            f"{name}: the folder of the images is missing or empty; {way_out}"
        ) from error


def entries(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted, without files left by operating systems.

    Raises:
      InputError: the folder cannot be listed.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}); check its permissions."
        ) from error
    return [path for path in found if not is_leftover(path.name)]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; empty if the search must not enter it."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    return [path for path in entries(folder) if path.is_dir()]


def find_class_folders(
    root: Path, names: Sequence[str], canonical: Callable[[str], str | None]
) -> dict[str, list[Path]]:
    """Find the folders of the classes, level by level, until every class has one.

    Args:
      root: where the search starts, at most `SEARCH_DEPTH` levels deep.
      names: names of the classes.
      canonical: returns the class of a folder name, or None.

    Returns:
      class -> its folders, without those nested in another class folder.
    """
    found: dict[str, list[Path]] = {name: [] for name in names}
    level = [root]
    for _ in range(SEARCH_DEPTH):
        below = []
        for folder in (child for parent in level for child in subfolders(parent)):
            name = canonical(folder.name)
            if name is None:
                below.append(folder)
            else:
                found[name].append(folder)
        if all(found.values()):
            break
        level = below
    return found


def add_once(paths: dict, key: object, path: Path) -> None:
    """Record the file of an item.

    Raises:
      InputError: the item already has a file; the message names both.
    """
    if key in paths:
        raise InputError(
            f"{paths[key]} and {path} are duplicates of the same item; remove one of them."
        )
    paths[key] = path


def check_counts(
    root: Path, kind: str, found: Mapping[str, int], official: Mapping[str, int], *, insist: bool
) -> None:
    """Compare the number of files of every class with the official number.

    Args:
      root: the folder, for the message.
      kind: the counted items, for the message.
      found: number per class.
      official: official number per class, for the same classes.
      insist: whether every difference is an error; otherwise only classes without files.

    Raises:
      InputError: a number is wrong; the message lists every class.
    """
    wrong = [
        f"{name} has {found.get(name, 0)}, expected {count}"
        for name, count in official.items()
        if not found.get(name) or (insist and found[name] != count)
    ]
    if not wrong:
        return
    way_out = (
        "complete the set, or accept it with check_counts=False (prepare: --nocheck_counts)"
        if all(found.get(name) for name in official)
        else "every class needs at least one"
    )
    raise InputError(f"{root}: wrong number of {kind}: {'; '.join(wrong)}; {way_out}.")
