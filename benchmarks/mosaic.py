r"""Write a slide made of real fields with known cells, for testing the analysis of slides.

  python benchmarks/mosaic.py --cric=/path/to/cric --out=/tmp/mosaic.svs

Fields of CRIC lie on a grid with empty glass between them. The last positions of the grid, and with
the default grid a row and two columns, are empty. The slide is an SVS file in Aperio's page layout
with levels 1, 4 and 16 and JPEG quality 95. The script also writes <out>_cells.csv, with a row for
every cell that experts marked: image, x, y in pixels of the slide, class. Only one row of fields
and the coarse levels are in memory. Requires the packages of the tests: pip install
'cervix_jax[test]'.
"""

import argparse
import csv
import functools
import resource
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import make_slides  # noqa: E402

from cervix_jax.data.classes import CRIC  # noqa: E402
from cervix_jax.data.cric_nuclei import MICRONS_PER_PIXEL, PUBLISHED_WIDTH  # noqa: E402
from cervix_jax.data.resolution import microns_of_fields  # noqa: E402
from cervix_jax.files.images import read_rgb  # noqa: E402
from tfds_builders.cric.layout import Field, find_fields  # noqa: E402

PITCH = (1536, 1152)
CORNER = (64, 64)  # of a field in its place
GLASS = (241, 241, 243)
FACTORS = (1, 4, 16)


class Canvas:
    """The slide as an array that is made strip by strip; it also fills the coarse levels."""

    def __init__(self, fields: list[Field], columns: int, rows: int):
        self.fields, self.columns = fields, columns
        self.shape = (rows * PITCH[1], columns * PITCH[0], 3)
        self.coarse = [
            np.empty((self.shape[0] // factor, self.shape[1] // factor, 3), np.uint8)
            for factor in FACTORS[1:]
        ]

    def place(self, number: int) -> tuple[int, int]:
        """Left and top of a field in pixels of the slide."""
        row, column = divmod(number, self.filled_columns)
        return column * PITCH[0] + CORNER[0], row * PITCH[1] + CORNER[1]

    @property
    def filled_columns(self) -> int:
        """Columns of the grid with fields: all, or all but two in a wide grid."""
        return max(1, self.columns - 2) if self.columns > 4 else self.columns

    @functools.lru_cache(maxsize=1)  # noqa: B019 - one canvas a process
    def row(self, number: int) -> np.ndarray:
        """A row of fields on glass, uint8 [pitch, width, 3]."""
        whole = np.broadcast_to(np.uint8(GLASS), (PITCH[1], *self.shape[1:])).copy()
        first = number * self.filled_columns
        for index in range(first, min(first + self.filled_columns, len(self.fields))):
            pixels = np.asarray(read_rgb(self.fields[index].path))
            left, _ = self.place(index)
            high, wide = pixels.shape[:2]
            whole[CORNER[1] : CORNER[1] + high, left : left + wide] = pixels
        return whole

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        parts = []
        for number in range(start // PITCH[1], -(-stop // PITCH[1])):
            top = number * PITCH[1]
            parts.append(self.row(number)[max(0, start - top) : stop - top])
        strip = np.concatenate(parts)
        for factor, level in zip(FACTORS[1:], self.coarse, strict=True):
            small = np.asarray(Image.fromarray(strip).reduce(factor))
            level[start // factor : start // factor + len(small)] = small
        return strip


def main() -> None:
    """Write the slide and the table of its cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cric", type=Path, required=True, help="folder of CRIC's raw files")
    parser.add_argument("--out", type=Path, required=True, help="the slide, .svs")
    parser.add_argument("--columns", type=int, default=16, help=f"of {PITCH[0]} px each")
    parser.add_argument("--rows", type=int, default=14, help=f"of {PITCH[1]} px each")
    parser.add_argument("--names", type=Path, help="text file with the names of the fields to use")
    parser.add_argument(
        "--mpp", type=float, help="scale in micrometres a pixel; default as published"
    )
    args = parser.parse_args()
    began = time.perf_counter()
    fields = find_fields(args.cric, complete=False)
    if args.names:
        names = {Path(line).stem for line in args.names.read_text().split()}
        fields = [field for field in fields if field.image_id in names]
    canvas = Canvas(fields, args.columns, args.rows)
    if len(fields) > canvas.filled_columns * args.rows:
        parser.error(f"{len(fields)} fields do not fit: give more --columns or --rows")
    published = microns_of_fields(MICRONS_PER_PIXEL, PUBLISHED_WIDTH, [f.size for f in fields])
    mpp = args.mpp or published
    if not mpp:
        parser.error("the fields have several widths and therefore several scales: give --mpp")
    make_slides.aperio(args.out, [canvas, *canvas.coarse], mpp=round(mpp, 6))
    table = args.out.with_name(f"{args.out.stem}_cells.csv")
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x", "y", "class"])
        count = 0
        for number, field in enumerate(fields):
            left, top = canvas.place(number)
            for (x, y), label in zip(field.positions, field.labels, strict=True):
                writer.writerow([field.path.name, left + x, top + y, CRIC.names[label]])
                count += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    height, width = canvas.shape[:2]
    print(
        f"{args.out}: {width} x {height} px, {len(fields)} fields, {count} cells, "
        f"{args.out.stat().st_size / 1e6:.0f} MB in {time.perf_counter() - began:.0f} s, "
        f"peak memory {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
