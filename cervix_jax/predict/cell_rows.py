"""Predictions of cells in fields and slides: a detector finds them, the network classifies them.

A slide is divided into rows of tiles, and each row is one unit of work; a plain image is one unit.
Threads read tiles ahead, the detector finds their nuclei, and the network classifies a square crop
around each nucleus at the resolution that it was trained at. No batch holds cells of two units, so
the result of a unit does not depend on the machine or on other units.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.data.cric_nuclei import PUBLISHED_WIDTH
from cervix_jax.detect.detector import Detector
from cervix_jax.detect.peaks import Found
from cervix_jax.errors import InputError
from cervix_jax.files.images import UnreadableImage
from cervix_jax.files.threads import map_in_order
from cervix_jax.predict import geojson
from cervix_jax.predict.class_columns import class_columns, class_values
from cervix_jax.predict.field_options import FieldOptions
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import make_folder
from cervix_jax.predict.parts import PART, REASON, ROWS, Entry, Unit
from cervix_jax.predict.picture_names import shown
from cervix_jax.predict.severity import severity_of
from cervix_jax.predict.square_side import microns_of_field, require_one_square, square_side
from cervix_jax.predict.validation import Validation
from cervix_jax.slides import Slide, Tile, is_whole_slide, open_slide, tile_rows

POSITION = ("cell", "x", "y", "nucleus")
# Number of slides whose tiles are kept in memory from listing to reading. Finding them again takes
# seconds, or minutes without a stored coarse level. Those of a large slide take a megabyte.
_REMEMBERED = 100
_EMPTY = "is empty: it has no stained area"
_CHANGED = "was changed while it was read; predict it again"


@dataclasses.dataclass(frozen=True)
class _Work:
    """A tile to read, or a field that could not be opened.

    Attributes:
      unit: the unit that the tile belongs to.
      slide: the open slide; None if it could not be opened, see `reason`.
      tile: the tile to read.
      ends_unit: whether it is the last tile of the unit.
      ends_slide: whether it is the last tile of the slide in this shard.
      reason: why the unit is left out.
    """

    unit: Unit
    slide: Slide | None = None
    tile: Tile | None = None
    ends_unit: bool = True
    ends_slide: bool = True
    reason: str = ""


class CellRows:
    """Computes the rows of the cells of every field and slide.

    Args:
      network: the classifier.
      detector: the detector of nuclei.
      options: options of the prediction and its output.
      validation: source of the conformal sets.
      max_pixels: see `files.images.read_image`; slides may have any size.

    Attributes:
      severity: the order of the classes.

    Raises:
      InputError: the size of crops is unknown, or the options do not fit the run's classes.
    """

    unit = "row"
    together = 1  # no batch holds cells of two units

    def __init__(
        self,
        network: Network,
        detector: Detector,
        options: FieldOptions,
        validation: Validation,
        max_pixels: int,
    ):
        self._network, self._detector, self._options = network, detector, options
        self._validation, self._max_pixels = validation, max_pixels
        run = network.run
        self.severity = severity_of(run.class_names, options.severity, options.abnormal)
        self._view = run.field_of_view
        self._rows: dict[str, list[list[Tile]]] = {}
        require_one_square(run)
        if not options.crop:
            square_side(run, options.mpp or 1.0, PUBLISHED_WIDTH)  # raises before any work is done

    @property
    def columns(self) -> list[str]:
        """Columns of the table."""
        return ["path", *POSITION, *class_columns(self._network.run.class_names, self._validation)]

    def units(self, paths: Iterator[str]) -> Iterator[Unit]:
        """The rows of tiles of all slides; one unit for a plain image or an unreadable file.

        Plain images are not read here, so each of several machines reads its own share only.
        """
        for path in paths:
            rows: list[list[Tile]] = []
            with contextlib.suppress(InputError):  # `batches` reports the reason
                if is_whole_slide(path, self._max_pixels):
                    with self._open(path) as slide:
                        rows = self._tiles(slide)
            if not rows:
                yield Unit(path)
                continue
            if len(self._rows) < _REMEMBERED:
                self._rows[path] = rows
            for row in range(1, len(rows) + 1):
                yield Unit(path, _named(row, len(rows)))

    def batches(self, units: Iterator[Unit]) -> Generator[list[Entry], None, None]:
        """Predict units one at a time; tiles are read ahead.

        Args:
          units: remaining units, in the order of `units`.

        Yields:
          The cells of a unit, or the reason why it was left out. After each earlier tile of the
          unit, an empty list, so that the caller can stop there.
        """
        make_folder("maps", Path(self._options.maps))
        with contextlib.ExitStack() as opened:
            found: list[Found] = []
            reason = ""
            work = map_in_order(self._read, self._work(units, opened))
            # The reading threads must end before the slides are closed.
            with contextlib.closing(work):
                for done, pixels, problem in work:
                    reason = reason or problem
                    if pixels is not None and not reason:
                        found.append(self._nuclei(done, pixels))
                    if done.ends_unit:
                        yield [self._entry(done.unit, done.slide, found, reason)]
                        found, reason = [], ""
                    else:
                        yield []
                    if done.ends_slide and done.slide is not None:
                        done.slide.close()

    def _open(self, path: str) -> Slide:
        slide = open_slide(path, self._options.mpp or None, self._max_pixels)
        if slide.mpp is None and slide.kind == "image":
            microns = microns_of_field(self._network.run, slide.size[0])
            slide = dataclasses.replace(slide, mpp=microns)
        if slide.mpp is None:
            slide.close()
            raise InputError(
                f"{path}: the file does not state its pixel size; give the micrometres, e.g. "
                "--mpp=0.25."
            )
        return slide

    def _tiles(self, slide: Slide) -> list[list[Tile]]:
        detector = self._detector
        return tile_rows(slide, mpp=detector.microns_per_pixel, margin=detector.context)

    def _work(self, units: Iterator[Unit], opened: contextlib.ExitStack) -> Iterator[_Work]:
        path, slide, rows, reason = None, None, [], ""
        pending: list[_Work] = []

        def of_unit(unit: Unit) -> list[_Work]:
            if slide is None or not rows:
                return [_Work(unit, slide, reason=reason or _EMPTY)]
            number = int(unit.part.split()[1]) if unit.part else 0
            if number and unit.part != _named(number, len(rows)):
                return [_Work(unit, slide, reason=_CHANGED)]
            tiles = rows[number - 1] if number else [tile for row in rows for tile in row]
            return [
                _Work(unit, slide, tile, number == len(tiles), False)
                for number, tile in enumerate(tiles, 1)
            ]

        for unit in units:
            if unit.path != path:
                if pending:
                    yield dataclasses.replace(pending.pop(), ends_slide=True)
                path, slide, rows, reason = unit.path, None, [], ""
                try:
                    slide = self._open(unit.path)
                    opened.callback(slide.close)
                    rows = self._rows.pop(path, None) or self._tiles(slide)
                except InputError as error:
                    reason = reason_of(error, unit.path)
            if pending:
                yield pending.pop()
            *most, last = of_unit(unit)
            yield from most
            pending.append(last)
        if pending:
            yield dataclasses.replace(pending.pop(), ends_slide=True)

    def _read(self, work: _Work) -> tuple[_Work, np.ndarray | None, str]:
        if work.slide is None or work.tile is None:
            return work, None, work.reason
        try:
            return work, work.slide.read(work.tile.box, work.tile.size), ""
        except UnreadableImage as error:
            return work, None, error.reason

    def _nuclei(self, work: _Work, pixels: np.ndarray) -> Found:
        """Nuclei in the core of a tile, in pixels of the slide."""
        assert work.tile is not None
        found = self._detector(pixels)
        left, top, right, bottom = work.tile.box
        scale = np.asarray([right - left, bottom - top]) / work.tile.size
        positions = found.positions * scale + (left, top)
        core = np.asarray(work.tile.core)
        inside = ((positions >= core[:2]) & (positions < core[2:])).all(1)
        return Found(positions[inside], found.scores[inside])

    def _entry(self, unit: Unit, slide: Slide | None, found: Sequence[Found], reason: str) -> Entry:
        """The entry of a unit: its cells if all tiles were read, or else the reason."""
        entry: dict[str, Any] = {"path": shown(unit.path)}
        entry |= {PART: unit.part} if unit.part else {}
        if slide is None or reason:
            return entry | {REASON: reason}
        try:
            rows = self._cells(slide, found)
        except UnreadableImage as error:  # the pyramid level of the crops may be damaged
            return entry | {REASON: error.reason}
        return entry | {
            ROWS: [{"path": entry["path"]} | row for row in rows],
            "file": unit.path,
            "size": list(slide.size),
            "mpp": slide.mpp,
            "orientation": slide.orientation,
            "view": self._side(slide),
        }

    def _cells(self, slide: Slide, found: Sequence[Found]) -> list[dict[str, Any]]:
        """Table columns for the cells found in a unit."""
        positions = np.concatenate([each.positions for each in found] or [np.zeros((0, 2))])
        scores = np.concatenate([each.scores for each in found] or [np.zeros(0)])
        # In reading order, as the detector's order depends on scores that are not shown.
        order = np.lexsort((positions[:, 0], positions[:, 1]))
        positions, scores = positions[order], scores[order]
        stored = geojson.as_stored(positions, slide.size, slide.orientation)
        return [
            {"x": float(x), "y": float(y), "nucleus": float(score)} | row
            for (x, y), score, row in zip(
                stored, scores, self._classified(slide, positions), strict=True
            )
        ]

    def _side(self, slide: Slide) -> float:
        """Side of the crop around a nucleus in pixels of the slide."""
        return float(self._options.crop) or float(self._view or 0) / slide.require_mpp()

    def _classified(self, slide: Slide, positions: np.ndarray) -> list[dict[str, Any]]:
        network, half = self._network, self._side(slide) / 2
        size = (network.image_size, network.image_size)

        def square(position: np.ndarray) -> np.ndarray:
            x, y = position.tolist()
            return slide.read((x - half, y - half, x + half, y + half), size)

        rows: list[dict[str, Any]] = []
        # On any exception, the threads must end before the slide is closed.
        with contextlib.closing(map_in_order(square, positions)) as squares:
            while batch := list(itertools.islice(squares, network.batch_size)):
                scores = network(np.stack(batch))
                rows += class_values(scores, network.run.class_names, self._validation)
        return rows


def _named(row: int, count: int) -> str:
    """Name of a unit that is a part of a slide."""
    return f"row {row} of {count}"


def reason_of(error: InputError, path: str) -> str:
    """The problem with a file, without its name."""
    if isinstance(error, UnreadableImage):
        return error.reason
    return " ".join(str(error).removeprefix(f"{path}: ").split())
