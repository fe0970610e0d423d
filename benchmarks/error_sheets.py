"""Contact sheets of wrongly classified cells with their most similar training cells."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from block_errors import Cells

SHOWN = 96  # maximum number of cells on a sheet, evenly spread
TILE = 80  # px


def draw_errors(cells: "Cells", chosen: np.ndarray, train: np.ndarray, path: Path) -> None:
    """Draw cells, each with the most similar training cell of its true and predicted class.

    Args:
      cells: all cells.
      chosen: bool [N], the cells to draw.
      train: positions of the training cells.
      path: PNG file to write.
    """
    scale = cells.stain[train].std(0)

    def described(rows: np.ndarray) -> np.ndarray:
        thumb = cells.thumb[rows] - cells.thumb[rows].mean(1, keepdims=True)
        thumb /= np.maximum(thumb.std(1, keepdims=True), 1) * thumb.shape[1] ** 0.5  # unit length
        size = cells.size[rows][:, None] / cells.size[train].std()
        return np.hstack([cells.stain[rows] / scale / np.sqrt(6), size, 2 * thumb])

    wrong = np.flatnonzero(chosen)
    order = wrong[np.lexsort((cells.field[wrong], cells.called[wrong], cells.labels[wrong]))]
    if len(order) > SHOWN:
        order = order[np.linspace(0, len(order) - 1, SHOWN).astype(int)]
    known = described(train)
    across = 4
    down = -(-len(order) // across)
    page = Image.new("RGB", (across * (3 * TILE + 16), down * (TILE + 26)), "white")
    draw = ImageDraw.Draw(page)
    for number, row in enumerate(order):
        distance = np.linalg.norm(known - described(np.array([row])), axis=1)
        x, y = (number % across) * (3 * TILE + 16), (number // across) * (TILE + 26)
        trio = [row]
        for label in (cells.labels[row], cells.called[row]):
            own = np.flatnonzero(cells.labels[train] == label)
            trio.append(train[own[distance[own].argmin()]])
        for place, index in enumerate(trio):
            picture = Image.fromarray(np.asarray(cells.dataset.decoded_source[int(index)]["image"]))
            page.paste(picture.resize((TILE, TILE)), (x + place * TILE, y + 24))
        group = cells.field_names[cells.field[row]]
        draw.text((x, y), f"{group} {cells.sure[row]:.2f}", fill="black")
        draw.text((x, y + 11), f"called {cells.names[cells.called[row]]}", fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
