"""Attribution maps drawn over the images that they explain."""

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
# Used if the network has no feature map that is fine enough for Grad-CAM.
INSTEAD = "integrated_gradients"
# Smaller images are enlarged, larger ones reduced.
_SMALLEST, _LARGEST = 256, 2048


class Overlays:
    """Writes a PNG of every image, in grey, with the attribution map of its predicted class.

    Red pixels support the class and blue ones oppose it (saliency is red only). Each map has its
    own scale, up to the quantile 0.995 of its absolute values. The text below the image gives the
    method, for Grad-CAM the feature map and its grid, the class with its probability, and a legend
    of the colours. Text fields of the PNG repeat this: `caption`, `class`, `method`, `scale` and
    `feature_map`.

    Grad-CAM with the feature map "auto" needs one of at least 7 x 7. If the network has none,
    integrated gradients are drawn, and the caption names them.

    Args:
      folder: output folder; made if needed.
      method: one of `OVERLAY_METHODS`, which are in `explain.registry`.
      network: the network to explain.
      max_pixels: see `files.images.read_image`.
      feature_map: layer for Grad-CAM; "auto" as for `explain.grad_cam`.

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
          paths: n images.
          squares: uint8 [n, S, S, 3], the images as the network's input.
          targets: int [n], the class to explain for each.
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
    """The image in grey with a map over it, aligned with the network's square crop of the image.

    The image is grey because a red cell under a red and blue map would look like a part of it.

    Args:
      image: RGB.
      values: float [S, S], signed; [S, 2 S] for two squares, whose values are added in pixels of
        the image that both show.
      scale: absolute value of the strongest colour.
      resize: the rule that made the square from the image; parts that it cut off stay grey.
      zoom: pixels of the square per pixel of the image, if `resize` is "scale".
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
    """Values of a square of the network at its place in the image; 0 outside the square."""
    place = (frame.scale[0], 0, frame.offset[0], 0, frame.scale[1], frame.offset[1])
    return square.transform(size, Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
