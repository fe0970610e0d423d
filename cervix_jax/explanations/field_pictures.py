"""Pictures of a field's explanation: a sheet of its cells, and the field with its map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.special import softmax

from cervix_jax.explain.caption import captioned
from cervix_jax.explain.field_map import FieldMap
from cervix_jax.explain.pictures import grey, lay_over
from cervix_jax.explain.registry import METHODS
from cervix_jax.explanations.cells import CellMaps
from cervix_jax.explanations.sheets import contact_sheet
from cervix_jax.figures import drawable
from cervix_jax.files.atomic import write_bytes
from cervix_jax.files.images import png

_FRAME = (255, 200, 0)


def draw_cells(
    class_names: Sequence[str], cells: CellMaps, numbers: np.ndarray, path: Path
) -> None:
    """Draw each cell next to its map, with its number and predicted class.

    Args:
      class_names: classes of the network.
      cells: one cell or more.
      numbers: int [n], numbers of the cells in their field.
      path: PNG file to write.
    """
    names = drawable(class_names)
    probabilities = softmax(cells.logits.astype(np.float64), axis=1)
    captions = []
    for number, target, p in zip(numbers, cells.targets, probabilities, strict=True):
        best = int(p.argmax())
        text = f"cell {number}: {names[best]} {p[best]:.2f}"
        other = "" if best == target else f"; explained: {names[target]} {p[target]:.2f}"
        captions.append(text + other)
    method = METHODS[cells.method]
    title = f"{method.label}: {method.description}"
    contact_sheet(cells.squares, cells.maps, captions, title, path)


def draw_field(
    thumbnail: np.ndarray,
    field: FieldMap,
    frames: Mapping[int, np.ndarray],
    caption: str,
    path: Path,
    *,
    sigma: float,
    signed: bool = True,
) -> None:
    """Draw a field in grey with its map as an overlay, and frame the crops of some cells.

    Args:
      thumbnail: uint8 [h, w, 3], at the size of the map.
      field: the map.
      frames: number of a cell to its crop: left, top, right and bottom in pixels of the thumbnail.
      caption: text below the picture.
      path: PNG file to write.
      sigma: standard deviation of the smoothing, see `FieldMap.colours`.
      signed: whether the legend includes blue, for evidence against the class.
    """
    colours, scale = field.colours(sigma)
    picture = Image.fromarray(lay_over(grey(thumbnail), colours))
    draw = ImageDraw.Draw(picture)
    letters = ImageFont.load_default(max(10, max(picture.size) // 80))
    for number, (left, top, right, bottom) in frames.items():
        draw.rectangle((left, top, right - 1, bottom - 1), outline=_FRAME)
        draw.text((max(left, 0) + 2, max(top, 0) + 1), str(number), fill=_FRAME, font=letters)
    shown = captioned(np.asarray(picture), caption, scale, signed=signed)
    write_bytes(path, png(Image.fromarray(shown)))
