"""Finds CRIC's fields and converts the positions of their nuclei to pixels of the files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from cervix_jax.data.cric_nuclei import PUBLISHED_WIDTH, Nucleus, read_nuclei
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images
from cervix_jax.files.damaged import Damaged
from cervix_jax.files.threads import map_in_order

_ANNOTATIONS = ("classifications.csv", "classifications.json")
# If positions in pixels of the published fields are applied to a copy of 1280 px, 2.7 % of all
# cells lie outside. A smaller share outside indicates errors in single rows.
_MIN_SHARE_OUTSIDE = 0.005


@dataclasses.dataclass(frozen=True)
class Field:
    """One field with its nuclei.

    Attributes:
      path: file of the image.
      size: width and height of the image in pixels.
      nuclei: its annotations, in file order; at least one.
      positions: float32 [n, 2], x and y of the nuclei in pixels of the image.
      labels: int64 [n], indices into `CRIC.names`.
    """

    path: Path
    size: tuple[int, int]
    nuclei: tuple[Nucleus, ...]
    positions: np.ndarray
    labels: np.ndarray

    @property
    def image_id(self) -> str:
        """Name of the image without its suffix, which differs between copies."""
        return self.path.stem


def find_fields(
    root: Path, *, positions_width: int = 0, complete: bool = True, damaged: Damaged | None = None
) -> list[Field]:
    """Find the annotated fields below `root`, sorted by name.

    Args:
      root: folder with classifications.csv or classifications.json (the CSV takes precedence) and
        the fields, in this folder or below.
      positions_width: width of the fields in which the positions are given; 0 detects it.
      complete: whether annotations of missing fields are an error; otherwise they are skipped.
      damaged: collects the errors of unreadable fields, which are skipped; None raises the first
        error.

    Raises:
      InputError: files are missing, unreadable or duplicated, or an annotation is wrong.
    """
    found, annotations = _files(root)
    nuclei: dict[str, list[Nucleus]] = {}
    absent: list[Nucleus] = []
    for nucleus in read_nuclei(annotations):
        stem = Path(nucleus.image).stem
        if stem in found:
            nuclei.setdefault(stem, []).append(nucleus)
        elif complete:
            raise InputError(
                f"{nucleus.where}: there is no image {nucleus.image} below {root}; complete the "
                "set, or leave such cells out with check_counts=False (prepare: --nocheck_counts)."
            )
        else:
            absent.append(nucleus)
    if not nuclei:
        raise InputError(f"{annotations}: none of its images is below {root}.")
    _report(found, nuclei, absent)

    def sized(stem: str) -> tuple[Path, tuple[int, int], list[Nucleus]]:
        return found[stem], images.image_size(found[stem]), nuclei[stem]

    fields = list((damaged.map if damaged else map_in_order)(sized, sorted(nuclei)))
    if damaged and not fields:
        damaged.report()
    frame = positions_width or _detect_frame([(size, cells) for _, size, cells in fields])
    return [_field(path, size, cells, frame) for path, size, cells in fields]


def _files(root: Path) -> tuple[dict[str, Path], Path]:
    """Return image files by name without suffix, and the file of the annotations."""
    found: dict[str, Path] = {}
    annotations: dict[str, Path] = {}
    unread = folders.Unread()
    level = [root]
    for _ in range(folders.SEARCH_DEPTH):
        for path in (path for folder in level for path in folders.entries(folder)):
            if not path.is_dir() and path.suffix.lower() in images.SUFFIXES:
                folders.add_once(found, path.stem, path)
            elif not path.is_dir() and path.name.lower() in _ANNOTATIONS:
                folders.add_once(annotations, path.name.lower(), path)
            elif not path.is_dir():
                unread.add(path)
        level = [child for folder in level for child in folders.subfolders(folder)]
    if not annotations:
        raise InputError(f"{root}: contains no {' or '.join(_ANNOTATIONS)}; download it from CRIC.")
    if unread:
        logging.warning("cric: in %s %s.", root, unread.text())
    return found, annotations[min(annotations)]


def _report(found: dict, nuclei: dict, absent: list[Nucleus]) -> None:
    unused = sorted(found.keys() - nuclei.keys())
    if unused:
        logging.warning(
            "cric: %d images have no annotated cell and are left out, e.g. %s.",
            len(unused),
            found[unused[0]],
        )
    if absent:
        logging.warning(
            "cric: %d cells of %d missing images are left out, e.g. %s.",
            len(absent),
            len({nucleus.image for nucleus in absent}),
            absent[0].image,
        )


def _detect_frame(fields: Sequence[tuple[tuple[int, int], list[Nucleus]]]) -> int:
    """Return the width of the positions' frame; 0 if it is each image's own."""
    resized = [(size, cells) for size, cells in fields if size[0] != PUBLISHED_WIDTH]
    if not resized:
        return 0  # both frames are the same
    outside = [n for size, cells in resized for n in cells if n.x >= size[0] or n.y >= size[1]]
    total = sum(len(cells) for _, cells in resized)
    official = len(outside) > _MIN_SHARE_OUTSIDE * total
    logging.info(
        "cric: %d fields are not %d px wide and %d of their %d positions lie outside of them: "
        "positions count as pixels of %s; the setting positions_width overrides this.",
        len(resized),
        PUBLISHED_WIDTH,
        len(outside),
        total,
        "the published fields" if official else "the given images",
    )
    return PUBLISHED_WIDTH if official else 0


def _field(path: Path, size: tuple[int, int], nuclei: list[Nucleus], frame: int) -> Field:
    width, height = size
    scale = width / frame if frame else 1.0
    for nucleus in nuclei:
        if nucleus.x * scale >= width or nucleus.y * scale >= height:
            raise InputError(
                f"{nucleus.where}: the nucleus at ({nucleus.x:g}, {nucleus.y:g}) is outside of "
                f"{path.name}, {width} x {height} px; repair it, or set positions_width to the "
                "width of the fields to which the positions refer."
            )
    return Field(
        path=path,
        size=size,
        nuclei=tuple(nuclei),
        positions=np.asarray([(n.x * scale, n.y * scale) for n in nuclei], np.float32),
        labels=np.asarray([n.label for n in nuclei], np.int64),
    )
