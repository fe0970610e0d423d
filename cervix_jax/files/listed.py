"""Files that a list names, also if the names differ in case or lack the suffix of an image."""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from cervix_jax.files.images import is_image
from cervix_jax.files.paths import nfc, on_disk


class ListedFiles:
    """Finds the files of one list; lists every folder at most once.

        files = ListedFiles()
        files.find(root / "a/1.PNG")  # root / "a/1.png", where that alone fits

    Attributes:
      otherwise: names that differ from those of their files, as pairs (list, disk).
    """

    def __init__(self) -> None:
        self.otherwise: list[tuple[str, str]] = []
        self._folders: dict[tuple[Path, bool], dict[str, list[str]]] = {}

    def find(self, path: Path) -> Path:
        """Return the file of a path; the path itself if no file, or more than one, matches."""
        path = on_disk(path)
        if os.path.isfile(path) or "\0" in str(path):
            return path
        folder = self._folder(path.parent)
        for stems, fits in ((False, lambda name: True), (True, is_image)):
            found = self._one(folder, path.name, stems, fits)
            if found and os.path.isfile(folder / found):
                self.otherwise.append((path.name, found))
                return folder / found
        return path

    def several(self, path: Path) -> list[str]:
        """Return the names of the files between which `find` cannot choose."""
        folder = self._folder(path.parent)
        whole = self._names(folder, False).get(_key(path.name), [])
        stem = [n for n in self._names(folder, True).get(_key(path.name), []) if is_image(n)]
        return next((names for names in (whole, stem) if len(names) > 1), [])

    def _folder(self, path: Path) -> Path:
        if os.path.isdir(path) or path.parent == path:
            return path
        parent = self._folder(path.parent)
        found = self._one(parent, path.name, False, lambda name: True)
        return parent / (found or path.name)

    def _one(self, folder: Path, name: str, stems: bool, fits: Callable[[str], bool]) -> str:
        names = [each for each in self._names(folder, stems).get(_key(name), []) if fits(each)]
        return names[0] if len(names) == 1 else ""

    def _names(self, folder: Path, stems: bool) -> dict[str, list[str]]:
        key = (folder, stems)
        if key not in self._folders:
            found: dict[str, list[str]] = defaultdict(list)
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            for name in names:
                found[_key(os.path.splitext(name)[0] if stems else name)].append(name)
            self._folders[key] = dict(found)
        return self._folders[key]


def _key(name: str) -> str:
    return nfc(name).casefold()
