"""A slide of 100,000 x 100,000 pixels takes no more memory than a small one."""

import subprocess
import sys
from pathlib import Path

import make_slides
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
READ = """
import itertools, sys, time
from cervix_jax.slides import open_slide, tile_rows

began = time.perf_counter()
with open_slide(sys.argv[1]) as slide:
    rows = tile_rows(slide)
    thumbnail, _ = slide.thumbnail()
    planned = time.perf_counter()
    tiles = list(itertools.chain(*rows))
    step = int(sys.argv[2])
    for tile in tiles[::step]:
        pixels = slide.read(tile.box, tile.size)
    done = time.perf_counter()
with open("/proc/self/status") as file:
    (peak,) = [int(line.split()[1]) for line in file if line.startswith("VmHWM")]
rate = len(tiles[::step]) / (done - planned)
print(slide.size, len(tiles), round(planned - began, 2), round(rate, 2), peak // 1024)
"""


def read_in_a_process(path, step):
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(step)],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    print(done.stdout)  # seconds to the tiles, tiles a second, MiB
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("sides", "step"), [((100_000, 25_000, 6_250), 60), ((12_000,), 10)], ids=["pyramid", "flat"]
)
def test_memory_of_a_huge_slide(tmp_path, sides, step):
    tile = make_slides.drawn(256, 256)
    tile = np.where(np.hypot(*np.ogrid[-128:128, -128:128])[..., None] < 60, tile, 240)
    path = make_slides.repeated(tmp_path / "huge.tif", tile.astype(np.uint8), sides)
    assert path.stat().st_size < 20e6
    *_, peak = read_in_a_process(path, step)
    assert int(peak) < 1000  # MiB; an RGBA copy of a fiftieth of the slide would be 800
