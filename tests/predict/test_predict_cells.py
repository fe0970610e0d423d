"""From a field or slide to its cells: every drawn nucleus is one row, whoever does which share."""

import dataclasses
import functools
import io
import json
import os
import signal
import sys
from types import SimpleNamespace

import make_slides
import numpy as np
import pytest
import tifffile
from drawn_nuclei import MICRONS, draw, pale, save, scattered
from PIL import Image
from predicted_rows import probabilities_of, read_rows

from cervix_jax.command.preemption import Preempted
from cervix_jax.errors import InputError
from cervix_jax.predict import cell_rows
from cervix_jax.predict.cell_summary import summarise
from cervix_jax.predict.finish import merge_shards
from cervix_jax.predict.output import Output
from cervix_jax.predict.severity import severity_of
from cervix_jax.predict.workflow import predict_images
from cervix_jax.runs.run import Run, load_run

WIDTH, HEIGHT = 448, 320
# A nucleus on a corner of four tiles of 128 px, on an edge of two, and at borders of the slide.
AT_BORDERS = [(64.0, 64.0), (64.1, 100.2), (140.0, 127.9), (2.0, 30.0), (200.0, 157.5)]
FILES = ("geojson", "page")


@pytest.fixture(scope="module")
def run(workdir):
    return load_run(workdir)


@pytest.fixture(autouse=True)
def one_view(monkeypatch):
    """The phantom's images have many sizes; as if all showed 32 micrometres."""
    monkeypatch.setattr(Run, "field_of_view", property(lambda self: 32.0))


@pytest.fixture(scope="module")
def centres():
    return scattered(WIDTH, HEIGHT, 24, given=AT_BORDERS)


@pytest.fixture(scope="module")
def pixels(centres):
    return draw(centres, WIDTH, HEIGHT)


@pytest.fixture
def small_tiles(monkeypatch):
    tiles_of(128, monkeypatch)


def tiles_of(side, monkeypatch):
    rows = functools.partial(cell_rows.tile_rows, side=side)
    monkeypatch.setattr(cell_rows, "tile_rows", rows)


@pytest.fixture(scope="module")
def cells(run):
    """Calls the workflow; gives what it says and the rows of its table."""

    def call(images, out, **given):
        given = {"detector": "blobs", "progress": False} | given
        found = predict_images(run, images, out=out, field="cells", **given)
        return found, read_rows(out) if out.exists() else None

    return call


def places(rows) -> np.ndarray:
    return np.asarray([[float(row["x"]), float(row["y"])] for row in rows]).reshape(-1, 2)


def assert_found(rows, centres, mpp=MICRONS):
    """One row for each centre, whose place in micrometres is right, and no other.

    Blobs that the border cuts lie nearer to it, as their mirrored half belongs to them.
    """
    found = places(rows) * mpp
    distance = np.hypot(*(found[:, None] - centres[None]).transpose(2, 0, 1))
    assert len(found) == len(centres)
    edge = np.minimum(centres, (WIDTH * MICRONS, HEIGHT * MICRONS) - centres).min(1)
    assert (distance.min(0) < np.where(edge < 6, 2.5, 1.0)).all()
    assert sorted(distance.argmin(0)) == list(range(len(centres)))


def written(out):
    """All files of a table, by name."""
    files = {out.name: out.read_bytes()}
    for kind in ("fields", "skipped"):
        path = out.with_name(f"{out.stem}_{kind}.csv")
        files[kind] = path.read_bytes() if path.exists() else b""
    folder = out.with_suffix("")
    return files | {path.name: path.read_bytes() for path in folder.iterdir()}


def svs(path, pixels, mpp=MICRONS, factors=(1, 2)):
    return make_slides.aperio(path, make_slides.pyramid(pixels, factors), mpp)


WRITERS = {
    "png": lambda folder, pixels: save(folder / "a.png", pixels),
    "svs": lambda folder, pixels: svs(folder / "a.svs", pixels),
    "dicom": lambda folder, pixels: make_slides.dicom(
        folder / "a", make_slides.pyramid(pixels), MICRONS
    ),
    "sub_ifds": lambda folder, pixels: make_slides.generic(
        folder / "a.tif", make_slides.pyramid(pixels), MICRONS, sub_ifds=True
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_nucleus_is_one_row(cells, pixels, centres, tmp_path, monkeypatch, kind):
    path = WRITERS[kind](tmp_path, pixels)
    mpp = MICRONS if kind == "png" else 0.0
    found, one_tile = cells(path, tmp_path / "one.csv", mpp=mpp)
    assert_found(one_tile, centres)
    assert (found.images, found.rows, found.skipped) == (1, len(centres), 0)
    assert [row["cell"] for row in one_tile] == [str(k + 1) for k in range(len(centres))]
    assert [row["y"] for row in one_tile] == sorted((r["y"] for r in one_tile), key=float)
    tiles_of(128, monkeypatch)
    found, _ = cells(path, tmp_path / "many.csv", mpp=mpp)
    assert found.images == (1 if kind == "png" else 3)  # a plain image is one unit
    assert (tmp_path / "many.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.mark.parametrize("mpp", [0.25, 0.37, 1.1])
def test_tiles_of_any_resolution_share_the_cells(cells, centres, tmp_path, monkeypatch, mpp):
    width, height = (round(side * MICRONS / mpp) for side in (WIDTH, HEIGHT))
    path = svs(tmp_path / "a.svs", draw(centres, width, height, mpp), mpp)
    _, one_tile = cells(path, tmp_path / "one.csv")
    assert_found(one_tile, centres, mpp)
    tiles_of(64, monkeypatch)
    _, many = cells(path, tmp_path / "many.csv")
    assert_found(many, centres, mpp)


def test_half_the_micrometres_and_twice_the_pixels_are_the_same(cells, centres, tmp_path):
    found = []
    for mpp in (0.5, 0.25):
        size = round(WIDTH * MICRONS / mpp), round(HEIGHT * MICRONS / mpp)
        path = save(tmp_path / f"{mpp}.png", draw(centres, *size, mpp))
        found.append(cells(path, tmp_path / f"{mpp}.csv", mpp=mpp)[1])
    np.testing.assert_allclose(places(found[1]) / 2, places(found[0]), atol=1.01)
    np.testing.assert_allclose(probabilities_of(found[1]), probabilities_of(found[0]), atol=0.1)
    # By the data set's own resolution the nuclei are smaller than they are.
    path = save(tmp_path / "plain.png", draw(centres, WIDTH, HEIGHT, 0.35))
    _, rows = cells(path, tmp_path / "plain.csv")
    (field,) = read_rows(tmp_path / "plain_fields.csv")
    assert float(field["mpp"]) == 0.35
    assert len(rows) > 0


@pytest.mark.parametrize("turned", range(1, 9))
def test_places_are_those_of_the_stored_pixels(cells, pixels, centres, tmp_path, turned):
    exif = Image.Exif()
    exif[0x0112] = turned
    path = save(tmp_path / "a.jpg", pixels, quality=95, exif=exif)
    _, rows = cells(path, tmp_path / "p.csv", mpp=MICRONS)
    assert_found(rows, centres)
    (field,) = read_rows(tmp_path / "p_fields.csv")
    size = (HEIGHT, WIDTH) if turned >= 5 else (WIDTH, HEIGHT)
    assert (int(field["width"]), int(field["height"])) == size
    features = json.loads((tmp_path / "p" / field["geojson"]).read_text())["features"]
    rings = np.asarray([each["geometry"]["coordinates"][0][:-1] for each in features])
    np.testing.assert_allclose(rings.mean(1), places(rows), atol=0.05)


def test_cells_are_seen_as_images_cut_by_hand(run, cells, centres, tmp_path):
    mpp, side = MICRONS / 2, run.config.image_size
    pixels = draw(centres, 2 * WIDTH, 2 * HEIGHT, mpp)
    path = save(tmp_path / "a.png", pixels)
    _, rows = cells(path, tmp_path / "p.csv", mpp=mpp, crop=side)
    around = np.pad(pixels, ((side, side), (side, side), (0, 0)), mode="reflect")
    (tmp_path / "cut").mkdir()
    for row, (x, y) in zip(rows, places(rows).astype(int) + side // 2, strict=True):
        assert (float(row["x"]) + side // 2, float(row["y"]) + side // 2) == (x, y)
        cut = around[y : y + side, x : x + side]
        save(tmp_path / "cut" / f"{int(row['cell']):03d}.png", cut)
    predict_images(run, tmp_path / "cut", out=tmp_path / "c.csv", progress=False)
    expected = read_rows(tmp_path / "c.csv")
    assert {"conformal_set", "energy", "confidence", "class"} < set(expected[0])
    names = [name for name in expected[0] if name != "path"]
    assert [[row[n] for n in names] for row in rows] == [
        [row[n] for n in names] for row in expected
    ]
    assert len({row["class"] for row in rows} | {row["energy"] for row in rows}) > 3


@pytest.mark.parametrize("batch_size", [1, 5])
def test_any_batch_size_gives_the_same(cells, pixels, tmp_path, batch_size):
    path = save(tmp_path / "a.png", pixels)
    _, whole = cells(path, tmp_path / "p.csv", mpp=MICRONS)
    _, rows = cells(path, tmp_path / "q.csv", mpp=MICRONS, batch_size=batch_size)
    assert [(r["x"], r["y"], r["nucleus"]) for r in rows] == [
        (r["x"], r["y"], r["nucleus"]) for r in whole
    ]
    np.testing.assert_allclose(probabilities_of(rows), probabilities_of(whole), atol=1e-5)


@pytest.fixture
def several(pixels, tmp_path):
    """A slide, two fields of the same name, a field without a nucleus, and what is none."""
    folder = tmp_path / "in"
    for name in ("x", "y", "z"):
        (folder / name).mkdir(parents=True)
    svs(folder / "x/a.svs", pixels)
    save(folder / "y/a.png", pixels[:, :200])
    save(folder / "z/a.png", pixels[100:])
    save(folder / "pale.png", pale(200, 150))
    (folder / "no.svs").write_text("no slide")
    (folder / "notes.txt").write_text("no image")
    make_slides.dicom(folder / "dicom", make_slides.pyramid(pixels[:160]), MICRONS)
    return folder


@pytest.mark.usefixtures("small_tiles")
def test_several_fields_and_slides(run, cells, several, tmp_path):
    found, rows = cells(several, tmp_path / "p.csv", mpp=MICRONS)
    names = [os.path.relpath(path, several) for path in dict.fromkeys(row["path"] for row in rows)]
    assert names == ["dicom", "x/a.svs", "y/a.png", "z/a.png"]
    assert list(rows[0])[:6] == ["path", "cell", "x", "y", "nucleus", "class"]
    assert (found.rows, found.skipped, found.unread) == (len(rows), 1, {".txt": 1})
    assert found.images == 2 + 3 + 1 + 1 + 1 + 1
    (left,) = read_rows(tmp_path / "p_skipped.csv")
    assert (left["path"], "is not a slide" in left["reason"]) == (f"{several}/no.svs", True)
    fields = read_rows(tmp_path / "p_fields.csv")
    assert [os.path.relpath(field["path"], several) for field in fields] == [
        "dicom", "pale.png", "x/a.svs", "y/a.png", "z/a.png"
    ]  # fmt: skip
    severity = severity_of(run.class_names)
    sizes = [(448, 160), (200, 150), (448, 320), (200, 320), (448, 220)]
    for field, size in zip(fields, sizes, strict=True):
        own = [row for row in rows if row["path"] == field["path"]]
        assert [int(row["cell"]) for row in own] == list(range(1, len(own) + 1))
        p = probabilities_of(own).reshape(-1, len(run.class_names))
        expected = summarise(
            field["path"], size=size, mpp=MICRONS, severity=severity, rule="mean_log_probability",
            probabilities=p / np.maximum(p.sum(1, keepdims=True), 1e-9),
        )  # fmt: skip
        for name, value in expected.items():
            text = "" if value is None else f"{value:.6g}" if type(value) is float else str(value)
            assert field[name] == text, name
        assert list(field) == [*expected, "left_out", *FILES]
        assert field["left_out"] == "0"
        collection = json.loads((found.maps / field["geojson"]).read_text())
        assert len(collection["features"]) == len(own)
        page = (found.maps / field["page"]).read_text()
        assert ("No cell was detected" in page) == (not own)
    assert sorted(os.listdir(found.maps)) == sorted(row[n] for row in fields for n in FILES)


def test_a_table_of_lines_of_json(cells, pixels, tmp_path):
    path = save(tmp_path / "a.png", pixels)
    _, rows = cells(path, tmp_path / "p.csv", mpp=MICRONS)
    _, lines = cells(path, tmp_path / "q.jsonl", mpp=MICRONS)
    assert [list(line) for line in lines] == [list(row) for row in rows]
    assert [(line["cell"], line["x"]) for line in lines] == [
        (int(row["cell"]), float(row["x"])) for row in rows
    ]
    assert [line["conformal_set"] or ["{}"] for line in lines] == [
        row["conformal_set"].split("|") for row in rows
    ]


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_shards_write_what_one_process_writes(cells, several, tmp_path, count):
    cells(several, tmp_path / "whole/p.csv", mpp=MICRONS)
    out = tmp_path / "p.csv"
    for number in range(count, 0, -1):
        found, _ = cells(several, out, mpp=MICRONS, shard=f"{number}/{count}")
        assert bool(found.waiting) == (number > 1)
        assert (tmp_path / "p_fields.csv").exists() == (not found.waiting)
    assert written(out) == written(tmp_path / "whole/p.csv")


@pytest.mark.usefixtures("small_tiles")
def test_merging_where_the_slide_is_gone_leaves_out_its_page(
    cells, pixels, tmp_path, monkeypatch, capsys
):
    path, out = svs(tmp_path / "a.svs", pixels), tmp_path / "p.csv"
    cells(path, tmp_path / "whole/p.csv")
    cells(path, out, shard="1/2")
    with monkeypatch.context() as patch:
        patch.setattr(Output, "end", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cells(path, out, shard="2/2")
    with pytest.raises(InputError, match="shard 2 of 2 is unfinished"):
        merge_shards(out)
    found, _ = cells(path, out, shard="2/2", resume=True)
    assert written(out) == written(tmp_path / "whole/p.csv")
    for number in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr("cervix_jax.predict.workflow.finish_output", lambda output: found)
            cells(path, out, shard=f"{number}/2", overwrite=True)
    path.rename(tmp_path / "away.svs")
    assert merge_shards(out).rows == found.rows
    assert "no page for" in capsys.readouterr().err
    again = written(out)
    assert again[out.name] == written(tmp_path / "whole/p.csv")[out.name]
    assert read_rows(tmp_path / "p_fields.csv")[0]["page"] == ""


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, signal.SIGTERM])
def test_what_is_stopped_within_a_slide_goes_on(cells, pixels, tmp_path, monkeypatch, stop):
    path, out = svs(tmp_path / "a.svs", pixels), tmp_path / "p.csv"
    whole, _ = cells(path, tmp_path / "whole/p.csv")
    nuclei, seen = cell_rows.CellRows._nuclei, []

    def stopping(self, *given):
        seen.append(1)
        if len(seen) == 6:  # in the second row of four tiles
            if stop is KeyboardInterrupt:
                raise KeyboardInterrupt
            os.kill(os.getpid(), stop)
        return nuclei(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(cell_rows.CellRows, "_nuclei", stopping)
        with pytest.raises(Preempted if stop is signal.SIGTERM else KeyboardInterrupt):
            cells(path, out)
    assert len(seen) == 6  # at once, not at the end of the row
    assert (tmp_path / "p.csv.part").read_bytes().count(b"\n") == 2
    with pytest.raises(InputError, match="--resume"):
        cells(path, out)
    with pytest.raises(InputError, match="started with --min_nucleus="):
        cells(path, out, resume=True, min_nucleus=0.5)
    found, _ = cells(path, out, resume=True)
    assert (found.images, found.rows) == (whole.images, whole.rows)
    assert written(out) == written(tmp_path / "whole/p.csv")


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("step", ["_nuclei", "_classified"])
def test_a_slide_is_closed_after_its_last_read(cells, pixels, tmp_path, monkeypatch, step):
    """Also where it is stopped: OpenSlide crashes where a thread reads what is closed."""
    happened = []

    def watched(*given):
        slide = open_slide(*given)

        def level_of(level):
            def fetch(*box):
                happened.append("read")
                found = level.fetch(*box)
                happened.append("done")
                return found

            return dataclasses.replace(level, fetch=fetch)

        levels = [level_of(level) for level in slide.levels]
        close = lambda: [happened.append("close"), slide.close()]  # noqa: E731
        return dataclasses.replace(slide, levels=levels, close=close)

    open_slide = cell_rows.open_slide
    monkeypatch.setattr(cell_rows, "open_slide", watched)
    path = svs(tmp_path / "a.svs", pixels)
    cells(path, tmp_path / "p.csv")
    assert happened[-1] == "close"
    del happened[:]
    network = "cervix_jax.predict.network.Network.__call__"
    patched = network if step == "_classified" else cell_rows.CellRows._nuclei

    def stop(*unused):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if isinstance(patched, str):
            patch.setattr(patched, stop)
        else:
            patch.setattr(cell_rows.CellRows, step, stop)
        with pytest.raises(KeyboardInterrupt) as kept:  # the traceback keeps every frame
            cells(path, tmp_path / "q.csv")
    last = len(happened) - 1 - happened[::-1].index("close")
    assert "read" not in happened[last:], kept
    assert happened.count("read") == happened.count("done")


def damage(path, index):
    """Overwrites a tile of level 0."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        place, length = page.dataoffsets[index], page.databytecounts[index]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(length))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("crop", [0, 32])
def test_a_damaged_row_is_left_out_and_said(cells, tmp_path, crop):
    """With a crop of 32 px the nuclei are found on the coarse level, and cut from the damaged."""
    centres = scattered(256, 2100, 80)
    pixels = draw(centres, 512, 4200, 0.25)
    path = svs(tmp_path / "a.svs", pixels, 0.25, (1, 2) if crop else (1, 4))
    _, whole = cells(path, tmp_path / "whole.csv", crop=crop)
    assert_found(whole, centres, 0.25)
    damage(path, 11)  # in the sixth row of tiles of 256 px
    found, rows = cells(path, tmp_path / "p.csv", crop=crop)
    assert 0 < found.skipped <= 3
    reasons = read_rows(found.skipped_path)
    assert all("of 17: is damaged near pixel" in each["reason"] for each in reasons)
    rows_left = {int(each["reason"].split()[1]) for each in reasons}
    assert 6 in rows_left
    kept = [row for row in whole if int(float(row["y"]) // 256) + 1 not in rows_left]
    assert [(r["x"], r["y"], r["energy"]) for r in rows] == [
        (r["x"], r["y"], r["energy"]) for r in kept
    ]
    (field,) = read_rows(found.fields_path)
    assert (field["left_out"], field["cells"]) == (str(found.skipped), str(len(rows)))
    assert bool(field["page"]) == bool(crop)  # the overview is made of a whole level
    if crop:
        assert "could not be read, so the cells" in (found.maps / field["page"]).read_text()
    with pytest.raises(InputError, match=r"a\.svs: is damaged .* or leave out --strict"):
        cells(path, tmp_path / "s.csv", crop=crop, strict=True)


def test_a_run_of_many_sizes_says_that_it_cannot(cells, pixels, tmp_path, monkeypatch):
    path, out = save(tmp_path / "a.png", pixels), tmp_path / "p.csv"
    monkeypatch.setattr(Run, "field_of_view", property(lambda self: None))
    with pytest.raises(InputError, match=r"--crop is missing.*data.resize=scale"):
        cells(path, out, mpp=MICRONS)
    assert os.listdir(tmp_path) == ["a.png"]
    _, rows = cells(path, out, mpp=MICRONS, crop=40)
    assert len(rows) > 20


def test_what_is_said_on_the_way(predict, workdir, pixels, tmp_path, capsys):
    path = save(tmp_path / "a.png", pixels)
    given = {"workdir": workdir, "field": "cells", "detector": "blobs", "mpp": MICRONS}
    assert predict(path, out=tmp_path / "p.csv", excel=True, **given) is None
    said = capsys.readouterr()
    assert "cells in 1 fields or tile rows of slides" in said.out
    assert f"fields and slides: {tmp_path}/p_fields.csv" in said.out
    assert "1/1" in said.err
    for name in ("p.csv", "p_fields.csv"):
        assert (tmp_path / name).read_bytes().startswith(b"\xef\xbb\xbf")
    predict(path, out=tmp_path / "q.csv", shard="1/2", **given)
    assert "cells in 1 fields or tile rows of slides of shard 1/2: " in capsys.readouterr().out


def test_folders_beside_a_list_on_standard_input(predict, workdir, several, tmp_path, monkeypatch):
    listed = io.BytesIO(bytes(several / "pale.png"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=listed))
    given = {"workdir": workdir, "field": "cells", "detector": "blobs", "mpp": MICRONS}
    predict("-", several / "dicom", several / "x", out=tmp_path / "p.csv", **given)
    names = [row["path"] for row in read_rows(tmp_path / "p_fields.csv")]
    assert names == [f"{several}/{name}" for name in ("pale.png", "dicom", "x/a.svs")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"window": 9}, "--window needs --field=window; add it"),
        ({"positions": "p.csv"}, "--positions needs --field=nuclei; add it"),
        ({"overlap": 0.1}, "--overlap does not go with --field=cells"),
        ({"heatmap": "classes"}, "--heatmap does not go with --field=cells"),
        ({"group": "parent"}, "--group is for images"),
        ({"overlay": "o"}, "--overlay is for images"),
        ({"min_nucleus": 2.0}, "--min_nucleus=2"),
        ({"mpp": 20.0}, "--mpp=20"),
        ({"detector": "luck"}, "--detector=luck: give nuclei, blobs, or"),
        ({"aggregate": "luck"}, "--aggregate=luck"),
        ({"severity": ["a"]}, "--severity=a"),
    ],
)
def test_options_that_do_not_go(cells, pixels, tmp_path, given, said):
    path = save(tmp_path / "a.png", pixels)
    with pytest.raises(InputError, match=said):
        cells(path, tmp_path / "p.csv", **given)
    assert os.listdir(tmp_path) == ["a.png"]
