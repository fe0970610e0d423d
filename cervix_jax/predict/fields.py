"""Predictions of whole fields: by a sliding window, or about nuclei whose positions are known."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cervix_jax.data.decode import resize_square
from cervix_jax.files.images import UnreadableImage, read_rgb, squares_about
from cervix_jax.files.threads import map_in_order
from cervix_jax.predict import geojson, heatmap
from cervix_jax.predict.images import report
from cervix_jax.predict.names import picture_name, shown
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import Output, Row, make_folder
from cervix_jax.predict.positions import Positions
from cervix_jax.predict.severity import Severity
from cervix_jax.predict.windows import mean_over_windows, starts
from cervix_jax.training.preemption import StopRequest

KINDS = ("window", "nuclei")
HEATMAPS = ("auto", "abnormal", "classes")


@dataclasses.dataclass(frozen=True)
class FieldSettings:
    """What is looked at in a field, and what is written of it.

    Attributes:
      kind: one of `KINDS`.
      side: of a window, or of the square about a nucleus, in pixels of the field. With `reference`
        in pixels of a field that is so many pixels wide.
      reference: width in pixels, or 0.
      overlap: share of a window that the next one covers too.
      min_contrast: windows whose grey values (0 to 255) have a smaller standard deviation are empty
        background, and left out; 0 leaves out none.
      positions: of nuclei.
      severity: the order of the classes.
      least: probability that counts as a finding.
      heatmaps: "abnormal", or "classes" for one map a class.
      folder: where pictures and GeoJSON go.
      strict: fail at the first field that cannot be used.
      max_pixels: see `files.images.read_image`.
    """

    kind: str
    side: int
    reference: int
    overlap: float
    min_contrast: float
    positions: Positions | None
    severity: Severity
    least: float
    heatmaps: str
    folder: Path
    strict: bool
    max_pixels: int

    def columns(self, class_names: Sequence[str]) -> list[str]:
        """Columns of the table."""
        windows = ["windows", "empty"] if self.kind == "window" else ["nuclei"]
        counts = [f"n_{name}" for name in class_names]
        return ["path", "width", "height", *windows, "worst", "worst_probability", *counts,
                "heatmap", "geojson"]  # fmt: skip

    def side_in(self, width: int) -> int:
        """The side in pixels of a field of this width."""
        return max(1, round(self.side * width / self.reference)) if self.reference else self.side


def predict_fields(
    network: Network,
    paths: Iterator[str],
    output: Output,
    settings: FieldSettings,
    stop: StopRequest,
    total: int | None = None,
) -> None:
    """Write a row, a heat map and a GeoJSON file for every field that can be used.

    One field is in memory at a time, and of its windows a few batches.

    Arguments and errors are those of `images.predict_images`.
    """
    make_folder("maps", settings.folder)
    look = _by_window if settings.kind == "window" else _by_nuclei
    with tqdm(total=total, initial=output.images, desc="predicting", unit="field") as bar:
        for path in paths:
            rows: list[Row] = []
            skipped: list[tuple[str, str]] = []
            try:
                field = read_rgb(path, max_pixels=settings.max_pixels)
                rows = [look(network, path, field, settings)]
            except UnreadableImage as error:
                skipped = [(path, error.reason)]
                report(path, error.reason, output.skipped, settings.strict, bar)
            output.add([path], rows, skipped)
            bar.update()
            stop.check("predicting")


def _by_window(network: Network, path: str, field: Image.Image, settings: FieldSettings) -> Row:
    side = settings.side_in(field.width)
    if side > min(field.size):
        raise UnreadableImage(
            path,
            f"is {field.width} x {field.height} pixels, and --window={side} is larger",
            "give a smaller window",
        )
    columns, rows = (starts(length, side, settings.overlap) for length in field.size)
    x, y = np.meshgrid(columns, rows)
    corners = np.stack([x.ravel(), y.ravel()], axis=1)
    pixels = np.asarray(field)
    kept = np.ones(len(corners), bool)
    if settings.min_contrast > 0:
        grey = np.asarray(field.convert("L"))
        kept = np.asarray(
            [grey[y : y + side, x : x + side].std() >= settings.min_contrast for x, y in corners]
        )
    squares = (pixels[y : y + side, x : x + side] for x, y in corners[kept].tolist())
    found = _probabilities(network, squares)
    row = _row(network, path, field, found, settings)
    row |= {"windows": len(found), "empty": int((~kept).sum())}
    small, scale = heatmap.shrink(field)
    grid = np.zeros((len(rows), len(columns), found.shape[1]))
    known = kept.reshape(grid.shape[:2])
    grid[known] = found
    centres = (np.arange(small.height) + 0.5) / scale, (np.arange(small.width) + 0.5) / scale
    centres = tuple(
        np.minimum(c, length - 0.5) for c, length in zip(centres, field.size[::-1], strict=True)
    )
    shown_values = _shown(grid, settings)
    means = mean_over_windows(
        np.stack(list(shown_values.values()), axis=-1), known, (rows, columns), side, centres
    )
    maps = {name: means[..., number] for number, name in enumerate(shown_values)}
    title = _title(path, row, f"{len(found)} windows of {side} px")
    heatmap.draw_windows(small, maps, title, settings.folder / row["heatmap"])
    geojson.write_geojson(
        settings.folder / row["geojson"],
        geojson.squares(corners[kept], side),
        found,
        network.run.class_names,
        "window",
    )
    return row


def _by_nuclei(network: Network, path: str, field: Image.Image, settings: FieldSettings) -> Row:
    assert settings.positions is not None
    positions = settings.positions.of(path, field.size)
    if not len(positions):
        raise UnreadableImage(path, "has no positions", "add some, or leave it out")
    side = settings.side_in(field.width)
    found = _probabilities(network, squares_about(np.asarray(field), positions, side))
    row = _row(network, path, field, found, settings) | {"nuclei": len(found)}
    small, scale = heatmap.shrink(field)
    title = _title(path, row, f"{len(found)} nuclei in squares of {side} px")
    heatmap.draw_nuclei(
        small,
        positions * scale,
        side * scale / 4,
        _shown(found, settings),
        title,
        settings.folder / row["heatmap"],
    )
    geojson.write_geojson(
        settings.folder / row["geojson"],
        geojson.points(positions),
        found,
        network.run.class_names,
        "nucleus",
    )
    return row


def _probabilities(network: Network, squares: Iterator[np.ndarray]) -> np.ndarray:
    """Probabilities float64 [n, C] of uint8 squares, resized in threads, a batch at a time."""

    def resized(square: np.ndarray) -> np.ndarray:
        return resize_square(square, network.image_size, network.resize)

    found = [np.zeros((0, len(network.run.class_names)))]
    batch: list[np.ndarray] = []
    for square in map_in_order(resized, squares):
        batch.append(square)
        if len(batch) == network.batch_size:
            found.append(network(np.stack(batch)).probabilities)
            batch = []
    if batch:
        found.append(network(np.stack(batch)).probabilities)
    return np.concatenate(found)


def _row(
    network: Network,
    path: str,
    field: Image.Image,
    probabilities: np.ndarray,
    settings: FieldSettings,
) -> dict:
    names = network.run.class_names
    counts = np.bincount(probabilities.argmax(1), minlength=len(names))
    worst, probability = settings.severity.worst(probabilities, settings.least)
    row = {"path": shown(path), "width": field.width, "height": field.height}
    row |= {"worst": worst, "worst_probability": probability}
    row |= {f"n_{name}": int(count) for name, count in zip(names, counts, strict=True)}
    return row | {
        "heatmap": picture_name(path, ".png"),
        "geojson": picture_name(path, ".geojson"),
    }


def _shown(probabilities: np.ndarray, settings: FieldSettings) -> dict[str, np.ndarray]:
    """What the panels of the picture show of probabilities [..., C]."""
    severity = settings.severity
    if settings.heatmaps == "abnormal" and severity.abnormal is not None:
        pairs = zip(severity.class_names, severity.abnormal, strict=True)
        names = [name for name, is_abnormal in pairs if is_abnormal]
        return {f"abnormal: {' or '.join(names)}": probabilities[..., severity.abnormal].sum(-1)}
    return {name: probabilities[..., k] for k, name in enumerate(severity.class_names)}


def _title(path: str, row: dict, what: str) -> str:
    worst = "no class is probable enough"
    if row["worst"]:
        worst = f"worst: {row['worst']} ({row['worst_probability']:.2f})"
    # A dollar would begin a formula in matplotlib.
    return f"{shown(Path(path).name)}, {what}; {worst}".replace("$", r"\$")
