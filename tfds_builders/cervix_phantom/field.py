"""A field of view: clustered cells of one class, stained, illuminated and photographed."""

from dataclasses import dataclass

import numpy as np

from cervix_jax.data.classes import SIPAKMED
from tfds_builders.cervix_phantom.anatomy import (
    ANATOMY,
    FIELD_SHAPE,
    sample_areas,
)
from tfds_builders.cervix_phantom.cells import blurred, cell_outline, defocus, draw_cell
from tfds_builders.cervix_phantom.debris import add_debris
from tfds_builders.cervix_phantom.outline import Outline
from tfds_builders.cervix_phantom.settings import PhantomSettings
from tfds_builders.cervix_phantom.stains import (
    cell_streams,
    cell_uptake,
    field_light,
    slide_for,
    transmit,
)

_CANDIDATES = 128  # random positions tried per cell
_SENSOR_NOISE = 1.3  # grey levels, standard deviation at full light
_BORDER = 2  # pixels between a cell and the edge of the field


@dataclass(frozen=True)
class PlacedCell:
    """A cell of a field. Masks are bool arrays in the frame of `window`.

    Attributes:
      number: From 1; its value in the field's instance mask.
      window: Rows and columns of the field that contain the patch.
      cell_mask: The whole cell, including parts covered by other cells.
      nucleus_mask: Its nuclei.
      halo_mask: Its perinuclear cavity; empty except for koilocytes.
      overlap: Share of its area that other cells share, 0 to 1.
    """

    number: int
    window: tuple[slice, slice]
    cell_mask: np.ndarray
    nucleus_mask: np.ndarray
    halo_mask: np.ndarray
    overlap: float

    def crop_window(self, margin: float) -> tuple[slice, slice]:
        """Return rows and columns of the bounding box, with `margin` of its size on each side."""
        window = []
        for axis in (0, 1):
            occupied = np.flatnonzero(self.cell_mask.any(axis=1 - axis)) + self.window[axis].start
            first, last = int(occupied[0]), int(occupied[-1]) + 1
            extra = round(margin * (last - first)) + 1
            window.append(slice(max(first - extra, 0), min(last + extra, FIELD_SHAPE[axis])))
        return window[0], window[1]

    def in_field(self, name: str) -> np.ndarray:
        """Return the mask `name` in the frame of the whole field (bool [height, width])."""
        mask = np.zeros(FIELD_SHAPE, bool)
        mask[self.window] = getattr(self, name)
        return mask


@dataclass(frozen=True)
class Field:
    """A rendered field with its ground truth.

    Attributes:
      image: uint8 [288, 384, 3], RGB.
      instance_mask: uint8 [288, 384]: 0 background, else the number of the topmost cell.
      cells: In order of number; the last is on top.
      slide_id: The slide of the field.
    """

    image: np.ndarray
    instance_mask: np.ndarray
    cells: tuple[PlacedCell, ...]
    slide_id: str


def render_field(class_index: int, cluster: int, settings: PhantomSettings) -> Field:
    """Render one field, independently of all other fields.

    Args:
      class_index: Position in `SIPAKMED.names`.
      cluster: Cluster number within the class, 1 and up.
      settings: The phantom's settings.
    """
    class_name = SIPAKMED.names[class_index]
    root = np.random.SeedSequence([settings.seed, class_index, cluster])
    layout, drawing, dirt, camera = map(np.random.default_rng, root.spawn(4))
    slide = slide_for(class_index, cluster, settings)

    areas = sample_areas(layout, class_name, settings.cells_per_cluster)
    outlines = [cell_outline(layout, class_name, area) for area in areas[:, 1]]
    wanted = 1.02 - 0.55 * settings.overlap - ANATOMY[class_name].crowding
    centres = _arrange(layout, outlines, wanted)

    concentration = np.zeros((4, *FIELD_SHAPE), np.float32)
    add_debris(dirt, concentration, slide.nucleus, settings.debris)
    # Every cell has its own stream: an additional cell leaves the others unchanged.
    looks = cell_streams(slide, cluster, len(outlines), settings)
    streams = zip(drawing.spawn(len(outlines)), looks, strict=True)
    patches = []
    for outline, centre, area, (ink, look) in zip(outlines, centres, areas, streams, strict=True):
        cell = draw_cell(ink, class_name, outline, area[0])
        nucleus, cytoplasm = cell_uptake(look, slide, settings.stain_variation)
        cell = blurred(cell, settings.blur * defocus(look, class_name))
        window, inner = _windows(centre, cell.half)
        for dye in range(4):
            concentration[dye][window] += (
                np.float32(cytoplasm[dye]) * cell.cytoplasm[inner]
                + np.float32(nucleus[dye]) * cell.chromatin[inner]
            )
        patches.append(
            (window, cell.cell_mask[inner], cell.nucleus_mask[inner], cell.halo_mask[inner])
        )

    uptake, light = field_light(slide, cluster, FIELD_SHAPE, settings)
    light = transmit(concentration * uptake[:, None, None], slide.dyes, light)
    return Field(_photograph(camera, light), *_ground_truth(patches), slide.slide_id)


def _arrange(
    rng: np.random.Generator, outlines: list[Outline], wanted: float
) -> list[tuple[int, int]]:
    """Return centres (row, column) at which each cell is about `wanted` from its nearest neighbour.

    `wanted` is the distance between neighbours over the sum of their mean radii; at 1 they touch.
    The best of many random positions inside the field is used, so a crowded field gets more
    overlap and never fails.
    """
    mean_radius = [float(np.sqrt(np.mean(outline.radii**2))) for outline in outlines]
    placed = np.empty((0, 3))
    order = np.argsort([-radius for radius in mean_radius], kind="stable")
    centres: dict[int, tuple[int, int]] = {}
    for index in order:
        margin = outlines[index].reach + _BORDER
        low = np.full(2, margin)
        high = np.maximum(np.array(FIELD_SHAPE) - 1 - margin, low)
        points = rng.uniform(low, high, (_CANDIDATES, 2))
        if len(placed):
            gap = np.hypot(*(points[:, None] - placed[None, :, :2]).transpose(2, 0, 1))
            nearest = (gap / (placed[:, 2] + mean_radius[index])).min(axis=1)
            target = wanted + rng.normal(0, 0.06)
            miss = np.abs(nearest - target) * np.where(nearest < target, 2.0, 1.0)
            point = points[np.argmin(miss)]
        else:
            point = points[0]
        centres[int(index)] = (round(point[0]), round(point[1]))
        placed = np.vstack([placed, [*point, mean_radius[index]]])
    return [centres[index] for index in range(len(outlines))]


def _windows(centre: tuple[int, int], half: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the field under a patch, and the part of the patch inside the field."""
    outer, inner = [], []
    for middle, size in zip(centre, FIELD_SHAPE, strict=True):
        start, stop = max(middle - half, 0), min(middle + half + 1, size)
        outer.append(slice(start, stop))
        inner.append(slice(start - middle + half, stop - middle + half))
    return (outer[0], outer[1]), (inner[0], inner[1])


def _photograph(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Convert light on the sensor, 0 to 1, to uint8 with noise."""
    image = 255 * light
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    # Half of the variance is read noise; the other half is proportional to the light (shot noise).
    image += _SENSOR_NOISE * noise * np.sqrt(0.5 + np.maximum(image, 0) / 510)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _ground_truth(patches: list[tuple]) -> tuple[np.ndarray, tuple[PlacedCell, ...]]:
    instance_mask = np.zeros(FIELD_SHAPE, np.uint8)
    layers = np.zeros(FIELD_SHAPE, np.uint8)
    for number, (window, cell_mask, _, _) in enumerate(patches, start=1):
        instance_mask[window][cell_mask] = number
        layers[window] += cell_mask
    cells = []
    for number, (window, cell_mask, nucleus_mask, halo_mask) in enumerate(patches, start=1):
        overlap = float(np.mean(layers[window][cell_mask] > 1))
        cells.append(PlacedCell(number, window, cell_mask, nucleus_mask, halo_mask, overlap))
    return instance_mask, tuple(cells)
