"""Whole slides through the command: memory, full disks, kills, and a run of one resolution."""

import functools
import os
import resource
import signal
import subprocess
import sys
import tracemalloc

import make_slides
import numpy as np
import pytest
import tifffile
from commands import TESTS
from drawn_nuclei import draw, scattered
from predicted_rows import read_rows
from small import get_config
from test_predict_resume import stopped

from cervix_jax.errors import InputError
from cervix_jax.predict import cell_rows
from cervix_jax.predict.cell_files import _gathered
from cervix_jax.predict.parts import ROWS
from cervix_jax.predict.workflow import predict_images
from cervix_jax.runs.run import load_run
from cervix_jax.training.run import train_and_evaluate

# The detector's tiles are of 1024 px of 0.5 micrometres: rows of one tile.
WIDTH, HEIGHT, MICRONS = 200, 5400, 0.5
GIVEN = {"field": "cells", "detector": "blobs", "progress": False}


def slide(path, width=WIDTH, height=HEIGHT, number=40):
    """A slide with so many nuclei, and their centres in pixels."""
    # At borders of rows of tiles too.
    given = [(50.0, 512.0), (80.0, 1024.2), (30.0, 1535.9)] if height == HEIGHT else ()
    centres = scattered(width, height, number, given=given)
    levels = make_slides.pyramid(draw(centres, width, height), (1, 4))
    return make_slides.aperio(path, levels, MICRONS), centres / MICRONS


def written(out):
    files = [out, out.with_name(f"{out.stem}_fields.csv"), *sorted(out.with_suffix("").iterdir())]
    return {path.name: path.read_bytes() for path in files}


def places(rows):
    return np.asarray([[float(row["x"]), float(row["y"])] for row in rows])


@pytest.mark.slow
def test_what_is_killed_within_a_slide_goes_on(workdir, tmp_path):
    path, centres = slide(tmp_path / "a.svs")
    given = ("--field=cells", "--detector=blobs", "--crop=64")
    whole, out = tmp_path / "whole/p.csv", tmp_path / "p.csv"
    for stop, rows, code in (
        (signal.SIGKILL, 2, -signal.SIGKILL), (signal.SIGTERM, 1, 75), (signal.SIGINT, 1, 130),
        (0, -1, 0),
    ):  # fmt: skip
        more = ("--resume",) if out.with_name("p.csv.part").exists() else ()
        done = stopped(stop, rows, [bytes(path)], workdir, out, *given, *more)
        assert done.returncode == code, done.stdout
        if code > 0:
            assert b"rows; they are in" in done.stdout
            assert b"with --resume continues" in done.stdout
    assert stopped(0, -1, [bytes(path)], workdir, whole, *given).returncode == 0
    assert written(out) == written(whole)
    distance = np.hypot(*(places(read_rows(out))[:, None] - centres).transpose(2, 0, 1))
    assert distance.shape == (len(centres), len(centres))
    assert distance.min(0).max() < 2
    assert distance.min(1).max() < 2


@pytest.mark.parametrize("size", [100, 9_000, 40_000])
def test_a_full_disk_loses_nothing(workdir, tmp_path, size):
    """At the beginning, within the slide, and while the page is made."""
    run, out = load_run(workdir), tmp_path / "p.csv"
    path, _ = slide(tmp_path / "a.svs")
    given = GIVEN | {"crop": 64}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(InputError, match=r"File too large"):
            predict_images(run, path, out=out, **given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists()
    kept = tmp_path / "p.csv.part"
    assert (kept.stat().st_size if kept.exists() else 0) <= size
    predict_images(run, path, out=out, resume=kept.exists(), **given)
    predict_images(run, path, out=tmp_path / "whole/p.csv", **given)
    assert written(out) == written(tmp_path / "whole/p.csv")
    assert not kept.exists()


def test_many_cells_are_kept_as_arrays():
    """A hundred bytes a cell; as rows they would take ten times that."""
    names, number = ("a", "b", "c"), 1000

    def entries():
        for row in range(20):
            cells = [
                {"x": float(k), "y": float(row), "nucleus": 0.5, "confidence": 0.4, "energy": -1.0,
                 "conformal_set": ["a", "b"][: k % 3], "p_a": 0.4, "p_b": 0.3, "p_c": 0.3}
                for k in range(number)
            ]  # fmt: skip
            yield {"path": "a.svs", "part": f"row {row + 1} of 20", ROWS: cells}

    tracemalloc.start()
    found = _gathered(entries(), names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    assert found.probabilities.shape == (20 * number, 3)
    assert len(found.sets) == 20 * number
    assert set(found.sets) == {(), ("a",), ("a", "b")}
    assert peak < 20 * number * 300


@pytest.mark.slow
def test_a_run_of_one_resolution_sees_cells_at_it(prepared, tmp_path):
    config = get_config(str(prepared))
    config.update({"num_epochs": 1})
    config.data.update({"resize": "scale", "microns_per_pixel": 0.7})
    train_and_evaluate(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    path, centres = slide(tmp_path / "a.svs", 300, 260, 8)
    found = predict_images(run, path, out=tmp_path / "p.csv", **GIVEN)
    by_hand = predict_images(
        run, path, out=tmp_path / "q.csv", crop=round(32 * 0.7 / MICRONS), **GIVEN
    )
    assert found.rows == by_hand.rows == len(centres)
    # 44.8 pixels of the slide, which a whole number can but come near to.
    values = [
        np.asarray([float(row["confidence"]) for row in read_rows(each.path)])
        for each in (found, by_hand)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=0.05)
    pages = [(each.maps / read_rows(each.fields_path)[0]["page"]) for each in (found, by_hand)]
    assert ">0.7<" in pages[0].read_text()  # the resolution in the table of origins
    assert ">0.7031<" in pages[1].read_text()


@pytest.mark.slow
def test_the_shipped_detector_finds_at_seams_what_it_finds_elsewhere(
    workdir, shared, tmp_path, monkeypatch
):
    """On real fields, whose nuclei are no discs: tiles of 192 px against one tile."""
    run, given = load_run(workdir), GIVEN | {"detector": "nuclei", "crop": 80, "mpp": 0.245}
    fields = sorted((shared / "data/cric/images").glob("*.jpg"))[:3]
    if not fields:
        pytest.skip("no fields of CRIC")
    predict_images(run, fields, out=tmp_path / "one.csv", **given)
    smaller = functools.partial(cell_rows.tile_rows, side=192)
    monkeypatch.setattr(cell_rows, "tile_rows", smaller)
    predict_images(run, fields, out=tmp_path / "many.csv", **given)
    one, many = (read_rows(tmp_path / f"{name}.csv") for name in ("one", "many"))
    assert [row["path"] for row in one] == [row["path"] for row in many]
    # Peaks may move by a place of the map, where rounding decides.
    assert np.abs(places(one) - places(many)).max() * 0.245 <= 2
    assert len(one) > 20


def huge(path, side=100_000):
    """A slide that is glass but for a place in its middle, in a file of megabytes.

    Each level has two tiles, of glass and of nuclei, and its many offsets lead to one or the other.
    """
    nuclei = draw(np.asarray([(20.0, 20.0), (45.0, 40.0)]), 256, 256, 0.25)
    tiles = np.concatenate([draw(np.zeros((0, 2)), 256, 256), nuclei], axis=1)
    sides = (side, side // 4, side // 16)
    make_slides.generic(path, [tiles] * len(sides), 0.25)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page, length in zip(tiff.pages, sides, strict=True):
            count = -(-length // 256)
            covered = np.zeros((count, count), int)
            middle, reach = count // 2, max(1, 16 * length // side) // 2
            covered[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1] = 1
            for name in ("TileOffsets", "TileByteCounts"):
                given = page.tags[name].value
                page.tags[name].overwrite(tuple(given[kind] for kind in covered.ravel().tolist()))
            for name in ("ImageWidth", "ImageLength"):
                page.tags[name].overwrite(length)
    return path


PEAK = """
import runpy, sys
from tests import small
small.get_config()
sys.argv[0] = "predict"
try:
    runpy.run_module("cervix_jax.predict", run_name="__main__", alter_sys=True)
finally:
    with open("/proc/self/status") as file:
        print([line for line in file if line.startswith("VmHWM")][0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_of_a_huge_slide(workdir, tmp_path):
    path = huge(tmp_path / "huge.tif")
    assert path.stat().st_size < 20e6
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), f"--workdir={workdir}", "--field=cells",
         "--detector=blobs", "--crop=96", f"--out={tmp_path / 'p.csv'}"],
        cwd=TESTS.parent, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=900, check=True,
    )  # fmt: skip
    (peak,) = [int(line.split()[1]) for line in done.stdout.splitlines() if "VmHWM" in line]
    (field,) = read_rows(tmp_path / "p_fields.csv")
    print(peak // 1024, "MiB", field["cells"], "cells")
    assert (field["width"], field["height"]) == ("100000", "100000")
    assert int(field["cells"]) > 100
    assert peak < 1.5e6  # KiB
