"""Predictions of images, one row per image."""

import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cervix_jax.errors import InputError, check_number
from cervix_jax.explain.cam import AUTO
from cervix_jax.files.images import UnreadableImage, read_rgb
from cervix_jax.files.threads import map_in_order
from cervix_jax.predict.class_columns import class_columns, class_values
from cervix_jax.predict.groups import group_rule
from cervix_jax.predict.network import Network
from cervix_jax.predict.overlays import OVERLAY_METHODS, Overlays
from cervix_jax.predict.parts import REASON, Entry, Unit
from cervix_jax.predict.picture_names import shown
from cervix_jax.predict.validation import Validation
from cervix_jax.statistics.aggregation import RULES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options for the prediction of images.

    Attributes:
      coverage: target coverage of conformal sets, e.g. 0.95: the share of images whose set contains
        the true class.
      group: "parent", or a regular expression whose first capture group is the name of the image's
        group; "" for no groups.
      aggregate: rule that combines the images of a group, one of `statistics.aggregation.RULES`.
      overlay: folder for a picture of each image with its attribution map; "" for none.
      method: attribution method, one of `overlays.OVERLAY_METHODS`.
      feature_map: layer for Grad-CAM; "auto" as for `explain.grad_cam`.

    Raises:
      InputError: a value cannot be used.
    """

    coverage: float = 0.95
    group: str = ""
    aggregate: str = "mean_log_probability"
    overlay: str | Path = ""
    method: str = "grad_cam"
    feature_map: str = AUTO

    def __post_init__(self):
        check_number("--coverage", self.coverage, 0, 1)
        if not 0 < self.coverage < 1:
            raise InputError(f"--coverage={self.coverage:g}: give a share, e.g. 0.95.")
        for name, known in (("aggregate", RULES), ("method", OVERLAY_METHODS)):
            if (value := getattr(self, name)) not in known:
                raise InputError(f"--{name}={value}: choose one of {', '.join(known)}.")
        if self.feature_map != AUTO and (not self.overlay or self.method != "grad_cam"):
            raise InputError(
                f"--feature_map={self.feature_map} needs --overlay=FOLDER --method=grad_cam; "
                "add these, or leave it out."
            )
        if self.group:
            group_rule(self.group)

    def deciding(self) -> dict[str, object]:
        """The options that decide the contents of rows, by flag."""
        return {
            "--coverage": self.coverage,
            "--group": self.group,
            "--overlay": str(self.overlay),
            "--method": self.method,
            "--feature_map": self.feature_map,
        }


class ImageRows:
    """Computes the row of every image.

    Args:
      network: the classifier.
      options: contents of rows.
      validation: source of the conformal sets.
      max_pixels: see `files.images.read_image`.
    """

    unit = "image"

    @property
    def together(self) -> int:
        """Number of images in a batch."""
        return self._network.batch_size

    def __init__(
        self, network: Network, options: ImageOptions, validation: Validation, max_pixels: int
    ):
        self._network, self._validation, self._max_pixels = network, validation, max_pixels
        self._group_of: Callable[[str], str] | None = None
        if options.group:
            self._group_of = group_rule(options.group)
        self._overlays: Overlays | None = None
        if options.overlay:
            self._overlays = Overlays(
                options.overlay, options.method, network, max_pixels, options.feature_map
            )

    @property
    def columns(self) -> list[str]:
        """Columns of the table."""
        return [
            "path",
            *(["group"] if self._group_of else []),
            *class_columns(self._network.run.class_names, self._validation),
            *(["overlay"] if self._overlays else []),
        ]

    def units(self, paths: Iterator[str]) -> Iterator[Unit]:
        """One unit of work per image."""
        return map(Unit, paths)

    def batches(self, units: Iterator[Unit]) -> Generator[list[Entry], None, None]:
        """Predict images in order, in batches of the network.

        Args:
          units: the remaining images.

        Yields:
          A row for every image that can be read, and the reason for every other.
        """
        network = self._network
        paths = (unit.path for unit in units)
        squares = read_squares(paths, network.square, self._max_pixels)
        while batch := list(itertools.islice(squares, network.batch_size)):
            read = {path: x for path, x in batch if not isinstance(x, UnreadableImage)}
            rows = self._rows(list(read), np.stack(list(read.values()))) if read else {}
            yield [
                {"path": shown(path), REASON: found.reason}
                if isinstance(found, UnreadableImage)
                else rows[path]
                for path, found in batch
            ]

    def _rows(self, paths: Sequence[str], images: np.ndarray) -> dict[str, Entry]:
        scores = self._network(images)
        best, sure = scores.probabilities.argmax(-1), scores.probabilities.max(-1)
        drawn = self._overlays.write(paths, images, best, sure) if self._overlays else None
        values = class_values(scores, self._network.run.class_names, self._validation)
        rows: dict[str, Entry] = {}
        for number, (path, found) in enumerate(zip(paths, values, strict=True)):
            row: dict[str, Any] = {"path": shown(path)} | found
            if self._group_of:
                row["group"] = self._group_of(path)
            if drawn:
                row["overlay"] = drawn[number]
            rows[path] = row
        return rows


Found = tuple[str, np.ndarray | UnreadableImage]


def read_squares(
    paths: Iterable[str], square: Callable[[Image.Image], np.ndarray], max_pixels: int
) -> Iterator[Found]:
    """Read images as the network's input, in order; threads decode a few ahead.

    Args:
      paths: files, taken from their iterator as needed.
      square: converts an RGB image to uint8 [S, S, 3].
      max_pixels: see `cervix_jax.files.images.read_image`.

    Yields:
      The path with uint8 [S, S, 3], or with the reason why it cannot be read.
    """

    def load(path: str) -> Found:
        try:
            return path, square(read_rgb(path, max_pixels=max_pixels))
        except UnreadableImage as error:
            return path, error

    return map_in_order(load, paths)
