"""Predictions of whole fields, by a sliding window or around nuclei with known positions."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cervix_jax.data.cric_nuclei import PUBLISHED_WIDTH
from cervix_jax.errors import InputError
from cervix_jax.figures import drawable
from cervix_jax.files.images import UnreadableImage, orientation, read_rgb, squares_about
from cervix_jax.files.threads import map_in_order
from cervix_jax.predict import geojson, heatmap
from cervix_jax.predict.field_options import FieldOptions
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import make_folder
from cervix_jax.predict.parts import REASON, Entry, Unit
from cervix_jax.predict.picture_names import picture_name, shown
from cervix_jax.predict.positions import Positions
from cervix_jax.predict.severity import Severity, severity_of
from cervix_jax.predict.windows import mean_over_windows, starts

WORST = ("worst", "worst_probability", "worst_object", "min_probability")


class FieldRows:
    """Computes the row of every field, its heat map and its GeoJSON file.

    Args:
      network: the classifier.
      options: options of the prediction and its output.
      positions: positions of nuclei, if `options.field` is "nuclei".
      max_pixels: see `files.images.read_image`.

    Attributes:
      folder: folder for pictures and GeoJSON.
      severity: the order of the classes.

    Raises:
      InputError: the options do not fit the run.
    """

    unit = "field"
    together = 1  # no batch holds squares of two fields

    def __init__(
        self,
        network: Network,
        options: FieldOptions,
        positions: Positions | None,
        max_pixels: int,
    ):
        self._network, self._options, self._max_pixels = network, options, max_pixels
        self._positions = positions
        self._class_names = network.run.class_names
        self.severity: Severity = severity_of(self._class_names, options.severity, options.abnormal)
        side = options.square_in(network.run, PUBLISHED_WIDTH)  # raises before any work is done
        if options.window and network.scale and side * network.scale > network.image_size + 1:
            raise InputError(
                f"--window={side}: larger than the network's field of view, "
                f"{network.run.field_of_view:g} micrometres or "
                f"{round(network.image_size / network.scale)} pixels; give a smaller window."
            )
        if options.heatmap == "abnormal" and self.severity.abnormal is None:
            raise InputError("--heatmap=abnormal: needs --abnormal=a,b with the abnormal classes.")
        self.folder = Path(options.maps)

    @property
    def columns(self) -> list[str]:
        """Columns of the table."""
        windows = ["windows", "empty"] if self._options.field == "window" else ["nuclei"]
        counts = [f"{windows[0]}_{name}" for name in self._class_names]
        worst = WORST if self.severity.known else ()
        return ["path", "width", "height", *windows, *worst, *counts, "heatmap", "geojson"]

    def units(self, paths: Iterator[str]) -> Iterator[Unit]:
        """One unit of work per field."""
        return map(Unit, paths)

    def batches(self, units: Iterator[Unit]) -> Generator[list[Entry], None, None]:
        """Predict fields one at a time; memory holds a few batches of windows.

        Args:
          units: the remaining fields.

        Yields:
          The row of a field, or the reason why it was left out.
        """
        make_folder("maps", self.folder)
        look = self._by_window if self._options.field == "window" else self._by_nuclei
        for path, _ in units:
            try:
                yield [look(path, read_rgb(path, max_pixels=self._max_pixels))]
            except UnreadableImage as error:
                yield [{"path": shown(path), REASON: error.reason}]

    def _by_window(self, path: str, field: Image.Image) -> Entry:
        options = self._options
        side = options.square_in(self._network.run, field.width)
        if side > min(field.size):
            raise UnreadableImage(
                path,
                f"is {field.width} x {field.height} pixels, and --window={side} is larger",
                "give a smaller window",
            )
        columns, rows = (starts(length, side, options.overlap) for length in field.size)
        x, y = np.meshgrid(columns, rows)
        corners = np.stack([x.ravel(), y.ravel()], axis=1)
        pixels = np.asarray(field)
        kept = np.ones(len(corners), bool)
        if options.min_contrast > 0:
            grey = np.asarray(field.convert("L"))
            kept = np.asarray(
                [grey[y : y + side, x : x + side].std() >= options.min_contrast for x, y in corners]
            )
        squares = (pixels[y : y + side, x : x + side] for x, y in corners[kept].tolist())
        found = self._probabilities(squares)
        row = self._row(path, field, found)
        row |= {"windows": len(found), "empty": int((~kept).sum())}
        small, scale = heatmap.shrink(field)
        grid = np.zeros((len(rows), len(columns), found.shape[1]))
        known = kept.reshape(grid.shape[:2])
        grid[known] = found
        y, x = (
            np.minimum((np.arange(drawn) + 0.5) / scale, length - 0.5)
            for drawn, length in ((small.height, field.height), (small.width, field.width))
        )
        shown_values = self._shown(grid)
        means = mean_over_windows(
            np.stack(list(shown_values.values()), axis=-1), known, (rows, columns), side, (y, x)
        )
        maps = {name: means[..., number] for number, name in enumerate(shown_values)}
        title = self._title(path, found, f"{len(found)} windows of {side} px")
        worst = self._worst(found)
        decided = None if worst is None else (*(corners[kept][worst[2]] * scale), side * scale)
        heatmap.draw_windows(small, maps, title, self.folder / row["heatmap"], decided)
        turned = orientation(path, max_pixels=self._max_pixels)
        stored = geojson.squares_as_stored(corners[kept], side, field.size, turned)
        geojson.write_geojson(
            self.folder / row["geojson"],
            geojson.squares(stored, side),
            found,
            self._class_names,
            "window",
            source=row["path"],
        )
        return row

    def _by_nuclei(self, path: str, field: Image.Image) -> Entry:
        assert self._positions is not None
        turned = orientation(path, max_pixels=self._max_pixels)
        stored = self._positions.of(path, geojson.stored_size(field.size, turned))
        if not len(stored):
            raise UnreadableImage(path, "has no positions", "add some, or leave it out")
        positions = geojson.as_upright(stored, field.size, turned)
        side = self._options.square_in(self._network.run, field.width)
        found = self._probabilities(squares_about(np.asarray(field), positions, side))
        row = self._row(path, field, found)
        row |= {"nuclei": len(found)}
        small, scale = heatmap.shrink(field)
        title = self._title(path, found, f"{len(found)} nuclei in squares of {side} px")
        heatmap.draw_nuclei(
            small,
            positions * scale,
            side * scale / 4,
            self._shown(found),
            title,
            self.folder / row["heatmap"],
        )
        geojson.write_geojson(
            self.folder / row["geojson"],
            geojson.points(stored),  # unchanged, as given
            found,
            self._class_names,
            "nucleus",
            source=row["path"],
        )
        return row

    def _probabilities(self, squares: Iterator[np.ndarray]) -> np.ndarray:
        """Probabilities float64 [n, C] of uint8 squares, resized in threads, a batch at a time."""
        network = self._network
        found = [np.zeros((0, len(self._class_names)))]
        batch: list[np.ndarray] = []
        for square in map_in_order(network.square, squares):
            batch.append(square)
            if len(batch) == network.batch_size:
                found.append(network(np.stack(batch)).probabilities)
                batch = []
        if batch:
            found.append(network(np.stack(batch)).probabilities)
        return np.concatenate(found)

    def _row(self, path: str, field: Image.Image, probabilities: np.ndarray) -> dict[str, Any]:
        names = self._class_names
        counts = np.bincount(probabilities.argmax(1), minlength=len(names))
        window = self._options.field == "window"
        counted, each = ("windows", "window") if window else ("nuclei", "nucleus")
        row: dict[str, Any] = {"path": shown(path), "width": field.width, "height": field.height}
        if worst := self._worst(probabilities):
            name, probability, number = worst
            # The object's name in the GeoJSON file, so that it can be found there.
            decided = (name, probability, f"{each} {number + 1}")
        else:
            decided = ("", None, "")
        row |= dict(zip(WORST, (*decided, self._options.min_probability), strict=True))
        row |= {f"{counted}_{name}": int(count) for name, count in zip(names, counts, strict=True)}
        return row | {
            "heatmap": picture_name(path, ".png"),
            "geojson": picture_name(path, ".geojson"),
        }

    def _worst(self, probabilities: np.ndarray) -> tuple[str, float, int] | None:
        return self.severity.worst(probabilities, self._options.min_probability)

    def _title(self, path: str, probabilities: np.ndarray, what: str) -> str:
        parts = [f"{shown(Path(path).name)}, {what}"]
        if self.severity.known and len(probabilities):
            least, names = self._options.min_probability, drawable(self._class_names)
            if found := self._worst(probabilities):
                name = names[self._class_names.index(found[0])]
                one = "window" if self._options.field == "window" else "nucleus"
                framed = ", framed" if one == "window" else ""
                parts.append(
                    f"worst finding (at least {least:g}): {name} ({found[1]:.2f} in {one} "
                    f"{found[2] + 1}{framed})"
                )
            else:
                greatest = int(probabilities.max(0).argmax())
                parts.append(
                    f"no class reaches {least:g}; most probable: {names[greatest]} "
                    f"({probabilities[:, greatest].max():.2f})"
                )
        return "; ".join(parts)

    def _shown(self, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        """Values shown by the panels of the picture, from probabilities [..., C]."""
        severity = self.severity
        drawn = drawable(severity.class_names)
        if self._options.heatmap != "classes" and severity.abnormal is not None:
            pairs = zip(drawn, severity.abnormal, strict=True)
            names = [name for name, is_abnormal in pairs if is_abnormal]
            return {
                f"abnormal: {' or '.join(names)}": probabilities[..., severity.abnormal].sum(-1)
            }
        return {name: probabilities[..., k] for k, name in enumerate(drawn)}
