"""Explanations laid over the images they explain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cervix_jax.data.decode import Frame, views_of
from cervix_jax.explain import registry
from cervix_jax.explain.cam import AUTO, FINE_ENOUGH, FeatureMap, find_fine
from cervix_jax.explain.caption import captioned
from cervix_jax.explain.measures.maps import reduce_channels
from cervix_jax.explain.pictures import colour, lay_over, scale_of
from cervix_jax.figures import drawable
from cervix_jax.files.atomic import replacing
from cervix_jax.files.images import read_rgb
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import make_folder
from cervix_jax.predict.picture_names import picture_name

OVERLAY_METHODS = ("grad_cam", "integrated_gradients", "saliency")
# Drawn where the network has no feature map that is fine enough for Grad-CAM.
INSTEAD = "integrated_gradients"
# Smaller crops are enlarged, larger fields made smaller.
_SMALLEST, _LARGEST = 256, 2048


class Overlays:
    """Writes a PNG of every image, in grey, with the map of its predicted class over it.

    Red speaks for the class and blue against it (saliency is red alone). Each map has its own
    scale, up to the quantile 0.995 of its absolute values. Below the image stand the method, of
    Grad-CAM the feature map and its grid, the class with its probability, and a legend of the
    colours. Text fields of the PNG say the same: `caption`, `class`, `method`, `scale` and
    `feature_map`.

    Grad-CAM with the feature map "auto" needs one of at least 7 x 7; integrated gradients are drawn
    and named where the network has none.

    Args:
      folder: made if needed.
      method: one of `OVERLAY_METHODS`, which are in `explain.registry`.
      network: what is explained.
      max_pixels: see `files.images.read_image`.
      feature_map: that Grad-CAM is made of; "auto" as for `explain.grad_cam`.

    Raises:
      InputError: the network has no such feature map, or the folder cannot be made.
    """

    def __init__(
        self,
        folder: str | Path,
        method: str,
        network: Network,
        max_pixels: int,
        feature_map: str = AUTO,
    ):
        self._folder, self._method = Path(folder), method
        self._network, self._max_pixels = network, max_pixels
        self._grid: FeatureMap | None = None
        if registry.METHODS[method].features:
            shape = network.run.picture_shape
            self._grid = find_fine(network.run.features_fn, shape, feature_map)
            if self._grid is None:
                self._method = INSTEAD
                logging.warning(
                    "overlay: the network has no feature map of at least %d x %d for %s; %s is "
                    "drawn instead.",
                    FINE_ENOUGH, FINE_ENOUGH, registry.METHODS[method].label,
                    registry.METHODS[INSTEAD].label,
                )  # fmt: skip
        self._shown = drawable(network.run.class_names)
        make_folder("overlay", self._folder)

    def write(
        self,
        paths: Sequence[str],
        squares: np.ndarray,
        targets: np.ndarray,
        probabilities: np.ndarray,
    ) -> list[str]:
        """Draw a batch.

        Args:
          paths: of n images.
          squares: uint8 [n, S, S, 3], the images as the network takes them.
          targets: int [n], the class each is explained for.
          probabilities: float [n], of these classes.

        Returns:
          The names of the files in the folder.
        """
        run, fill = self._network.run, self._network.fill
        images = np.asarray(run.preprocess(fill(squares)))
        settings: dict[str, Any] = {"feature_map": self._grid.name} if self._grid else {}
        raw = registry.explain(
            self._method, run.features_fn, images, np.resize(targets, len(images)),
            input_range=run.input_range,
            **settings,
        )[: len(paths)]  # fmt: skip
        method = registry.METHODS[self._method]
        maps = reduce_channels(raw, method.reduction)
        names = []
        for path, values, target, p in zip(paths, maps, targets, probabilities, strict=True):
            names.append(picture_name(path, ".png"))
            scale = scale_of(values)
            image = read_rgb(path, max_pixels=self._max_pixels)
            drawn = overlay(image, values, scale, self._network.resize, self._network.scale)
            caption = f"{method.titled(self._grid)}; class {self._shown[target]} {p:.2f}"
            signed = method.reduction != "sum_absolute"
            whole = captioned(np.asarray(drawn), caption, scale, signed=signed)
            facts = PngInfo()
            facts.add_itxt("caption", caption)
            facts.add_itxt("class", run.class_names[target])
            facts.add_text("method", self._method)
            if self._grid:
                facts.add_text("feature_map", str(self._grid))
            facts.add_text("scale", f"{scale:.6g}")
            with replacing(self._folder / names[-1]) as temporary:
                Image.fromarray(whole).save(temporary, "PNG", pnginfo=facts)
        return names


def overlay(
    image: Image.Image,
    values: np.ndarray,
    scale: float,
    resize: str,
    zoom: float | None = None,
) -> Image.Image:
    """The image in grey with a map over it, where the network's square lies on the image.

    Grey, as a red cell under a map in red and blue would pass for a part of it.

    Args:
      image: RGB.
      values: float [S, S], signed; [S, 2 S] of two squares, whose values are added up where both
        show a pixel of the image.
      scale: absolute value of the strongest colour.
      resize: how the square was made of the image; what was cut off stays grey.
      zoom: pixels of the square per pixel of the image, where `resize` is "scale".
    """
    sides = np.asarray(image.size, np.float64)
    factor = max(1.0, _SMALLEST / sides.min())
    factor = min(factor, _LARGEST / sides.max())
    width, height = (max(1, round(side * factor)) for side in image.size)
    size = (width, height)
    placed = [
        Frame.of(size, len(values), view, zoom and zoom / factor) for view in views_of(resize)
    ]
    if len(placed) == 1:
        over = _mapped(Image.fromarray(colour(values, scale)), placed[0], size)
    else:
        squares = np.split(values.astype(np.float32), len(placed), axis=1)
        both = [
            np.asarray(_mapped(Image.fromarray(square), frame, size))
            for square, frame in zip(squares, placed, strict=True)
        ]
        over = Image.fromarray(colour(np.sum(both, axis=0), scale))
    under = image.convert("L").resize(size, Image.Resampling.BILINEAR).convert("RGB")
    return Image.fromarray(lay_over(np.asarray(under), np.asarray(over)))


def _mapped(square: Image.Image, frame: Frame, size: tuple[int, int]) -> Image.Image:
    """What a square of the network shows, where it lies on the image; 0 where it shows nothing."""
    place = (frame.scale[0], 0, frame.offset[0], 0, frame.scale[1], frame.offset[1])
    return square.transform(size, Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
