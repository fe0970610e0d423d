"""Slides that the tests make, read by OpenSlide, against the pixels they were made of."""

import concurrent.futures
import contextlib
import sys

import make_slides
import numpy as np
import pytest
import tifffile
from PIL import Image
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.files.images import UnreadableImage, read_rgb
from cervix_jax.slides import is_slide, open_slide

SIZE = (1603, 1207)  # not divided by a tile or a level
PIXELS = make_slides.drawn(*SIZE)
LEVELS = make_slides.pyramid(PIXELS, (1, 4, 8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return {
        "aperio": make_slides.aperio(folder / "a.svs", LEVELS),
        "pages": make_slides.generic(folder / "pages.tif", LEVELS),
        "sub-IFDs": make_slides.generic(folder / "sub.tif", LEVELS, sub_ifds=True),
        "dicom": make_slides.dicom(folder / "dicom", LEVELS),
    }


@pytest.mark.parametrize("kind", ["aperio", "pages", "sub-IFDs", "dicom"])
def test_pixels_size_and_resolution(made, kind):
    with open_slide(made[kind]) as slide:
        assert (slide.size, slide.kind, slide.orientation) == (SIZE, "slide", 1)
        assert slide.mpp == pytest.approx(0.25, rel=1e-3)
        assert [level.width for level in slide.levels] == [len(level[0]) for level in LEVELS]
        found = slide.read((300, 200, 1100, 900), (800, 700))
        assert found.dtype == np.uint8
        difference = np.abs(found.astype(int) - PIXELS[200:900, 300:1100])
        assert difference.max() < 8  # JPEG
        small, scale = slide.thumbnail(300)
        assert scale == pytest.approx(SIZE[0] / 300)
        asked = np.asarray(Image.fromarray(PIXELS).resize(small.shape[1::-1], 2))
        assert np.abs(small.astype(int) - asked)[1:-1, 1:-1].max() < 10


def _with_sub_ifds(path, levels):
    return make_slides.generic(path, levels, sub_ifds=True)


@pytest.mark.parametrize("write", [make_slides.aperio, _with_sub_ifds, make_slides.dicom])
def test_positions_stay(tmp_path, write):
    """A dark spot is found where it was drawn, at every resolution and from every level."""
    y, x = np.ogrid[: SIZE[1], : SIZE[0]]
    spot = np.hypot(x + 0.5 - 1290, y + 0.5 - 823) < 20
    pixels = np.where(spot[..., None], 40, 240).astype(np.uint8) + np.zeros(3, np.uint8)
    path = tmp_path / ("Präparat 1.svs" if write is make_slides.aperio else "a.tif")
    write(path, make_slides.pyramid(pixels, (1, 4, 8)))
    with open_slide(path) as slide:
        for shrunk in (0.8, 1, 2, 3.7, 4, 5.5, 8, 10):
            box = (1290 - 30 * shrunk - 7.3, 823 - 30 * shrunk + 5.1)
            box = (*box, box[0] + 60 * shrunk, box[1] + 60 * shrunk)
            found = 240.0 - slide.read(box, (60, 60))[..., 0]
            found[found < 30] = 0
            at = [
                box[axis] + shrunk * np.average(np.arange(60) + 0.5, weights=found.sum(axis))
                for axis in (0, 1)
            ]
            assert np.abs(np.subtract(at, (1290, 823))).max() < 1, shrunk


def test_a_level_is_chosen_by_resolution(tmp_path):
    """Every level has a colour of its own."""
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    levels = [
        np.broadcast_to(np.uint8(colour), level.shape).copy()
        for colour, level in zip(colours, LEVELS, strict=True)
    ]
    with open_slide(make_slides.aperio(tmp_path / "a.svs", levels)) as slide:
        for shrunk, level in ((0.5, 0), (1, 0), (3.9, 0), (4, 1), (7.5, 1), (8, 2), (30, 2)):
            found = slide.read((0, 0, 40 * shrunk, 40 * shrunk), (40, 40))
            assert np.abs(found[20, 20].astype(int) - colours[level]).max() < 8, shrunk


def test_some_levels_may_be_missing(tmp_path):
    """Without a coarse level the thumbnail is made of blocks of level 0."""
    path = make_slides.generic(tmp_path / "flat.tif", [PIXELS])
    with open_slide(path, max_pixels=1000) as slide:
        assert (slide.kind, len(slide.levels)) == ("slide", 1)
        small, _ = slide.thumbnail(200)
    asked = np.asarray(Image.fromarray(PIXELS).resize((200, small.shape[0]), 2))
    assert np.abs(small.astype(int) - asked).max() < 10


def test_many_threads_read_the_same(made):
    boxes = [(x * 50.5, x * 30.0, x * 50.5 + 300, x * 30.0 + 310) for x in range(24)]
    with open_slide(made["aperio"]) as slide:
        alone = [slide.read(box, (150, 155)) for box in boxes]
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            together = list(threads.map(lambda box: slide.read(box, (150, 155)), boxes))
    np.testing.assert_array_equal(alone, together)


def test_a_colour_profile_is_applied_as_to_plain_images(tmp_path):
    swapped = _swapping_profile()
    plain, whole = tmp_path / "a.png", tmp_path / "a.tif"
    Image.fromarray(PIXELS).save(plain, icc_profile=swapped)
    make_slides.generic(whole, LEVELS, profile=swapped)
    with open_slide(whole) as slide:
        found = slide.read((0, 0, *SIZE), SIZE).astype(int)
    assert np.abs(found - np.asarray(read_rgb(plain))).max() < 20
    assert np.abs(found - PIXELS).mean() > 20


def _swapping_profile() -> bytes:
    """sRGB's profile with the tags of red and green exchanged."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile.count(b"rXYZ") == profile.count(b"gXYZ") == 1
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "BMP", "TIFF"])
def test_plain_images_are_to_the_bit_what_is_read_elsewhere(tmp_path, format_):
    path = tmp_path / "field"
    Image.fromarray(PIXELS[:300, :400]).save(path, format_, dpi=(300, 300))
    with open_slide(path) as slide:
        assert (slide.kind, slide.size, slide.mpp) == ("image", (400, 300), None)
        np.testing.assert_array_equal(slide.read((0, 0, 400, 300), (400, 300)), read_rgb(path))
    with open_slide(path, mpp=0.2) as slide:
        assert slide.mpp == 0.2


def test_a_small_tiled_tiff_is_a_plain_image(tmp_path):
    path = make_slides.generic(tmp_path / "a.tif", [PIXELS], mpp=None)
    with open_slide(path) as slide:
        assert slide.kind == "image"
        np.testing.assert_array_equal(slide.read((0, 0, *SIZE), SIZE), read_rgb(path))


def test_plain_images_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PIXELS[:300, :400]).save(tmp_path / "a.png", exif=exif)
    with open_slide(tmp_path / "a.png") as slide:
        assert (slide.size, slide.orientation) == ((300, 400), 6)
        upright = np.rot90(PIXELS[:300, :400], -1)
        np.testing.assert_array_equal(slide.read((0, 0, 300, 400), (300, 400)), upright)


def test_what_the_scanner_left_out_is_white(tmp_path):
    with open_slide(make_slides.with_a_hole(tmp_path / "a.tif", PIXELS)) as slide:
        found = slide.read((0, 0, 256, 512), (256, 512))
    assert (found[:250] == 255).all()
    assert (found[260:] < 250).any()


def test_without_openslide_the_extra_is_named(made, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(InputError, match=r"pip install 'cervix_jax\[slides\]'"):
        open_slide(made["aperio"])
    Image.fromarray(PIXELS[:50, :50]).save(tmp_path / "a.png")
    open_slide(tmp_path / "a.png").close()


def _refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        open_slide(path, **options)
    message = str(caught.value)
    assert str(path) in message or not path
    assert "\n" not in message
    for word in words:
        assert word in message
    return caught.value


@pytest.mark.parametrize("kind", ["aperio", "pages", "sub-IFDs", "dicom"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_slide_is_refused(made, tmp_path, kind, share, caplog):
    whole = made[kind] / "0.dcm" if kind == "dicom" else made[kind]
    cut = tmp_path / whole.name
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    assert isinstance(_refused(cut), UnreadableImage)
    assert not caplog.records  # tifffile's, which would be a second line


def test_a_tile_without_end_is_refused(made, tmp_path):
    """OpenSlide asks for the memory of such a tile, and ends the process without it."""
    path = tmp_path / "a.svs"
    path.write_bytes(made["aperio"].read_bytes())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["TileWidth"].overwrite(65535)
        tiff.pages.first.tags["TileLength"].overwrite(65520)
    _refused(path, "claims tiles of 65535 x 65520 px")


def test_bytes_that_changed_end_in_one_line_or_in_pixels(made, tmp_path):
    """Of TIFFs: with a wrong table of frames in a DICOM file, OpenSlide may end the process."""
    for seed in range(tries(80)):
        random = np.random.default_rng(seed)
        source = made[("aperio", "pages", "sub-IFDs")[seed % 3]]
        data = bytearray(source.read_bytes())
        for _ in range(3):
            start = random.choice([0, max(0, len(data) - 3000), int(random.integers(len(data)))])
            data[min(len(data) - 1, start + int(random.integers(2000)))] = int(random.integers(256))
        path = tmp_path / source.name
        path.write_bytes(data)
        with contextlib.suppress(InputError), open_slide(path, mpp=0.25) as slide:
            assert slide.read((0, 0, *SIZE), (160, 120)).shape == (120, 160, 3)


def test_what_is_no_slide_is_refused(tmp_path):
    for name in ("text.svs", "text.dcm", "text.tif", "text.mrxs"):
        (tmp_path / name).write_text("not a slide")
        assert isinstance(_refused(tmp_path / name), UnreadableImage)
    Image.fromarray(PIXELS[:50, :50]).save(tmp_path / "flat.svs", "TIFF")
    _refused(tmp_path / "flat.svs", "is not a slide that OpenSlide can read")
    _refused(tmp_path / "none.svs", "no such file")
    folder = tmp_path / "empty"
    folder.mkdir()
    _refused(folder, "without .dcm files")
    (folder / "a.dcm").write_text("not a slide")
    _refused(folder, "not a whole-slide image")


def test_a_plain_image_may_be_too_large(tmp_path):
    for format_ in ("PNG", "TIFF"):
        Image.fromarray(PIXELS[:50, :50]).save(tmp_path / format_, format_)
        _refused(tmp_path / format_, "50 x 50 px", "tiled TIFF", max_pixels=2499)


def test_a_folder_of_dicom_may_have_other_files(made, tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    for path in made["dicom"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "-notes.dcm").write_text("no DICOM")
    (folder / "DICOMDIR").write_text("none either")
    with open_slide(folder) as slide, open_slide(folder / "1.dcm") as same:
        assert slide.size == same.size == SIZE
        assert slide.path == folder


def test_a_damaged_tile_is_found_when_it_is_read(made, tmp_path):
    data = bytearray(made["aperio"].read_bytes())
    path = tmp_path / "damaged.svs"
    data[3000:30000] = bytes(27000)  # tiles of level 0; the directories are elsewhere
    path.write_bytes(data)
    with open_slide(path) as slide, pytest.raises(UnreadableImage, match="damaged near pixel"):
        slide.read((0, 0, *SIZE), SIZE)


@pytest.mark.parametrize(
    ("mpp", "word"), [(352.8, "352.8"), (0.0001, "0.0001"), ((0.25, 0.3), "not square")]
)
def test_a_resolution_that_cannot_be_is_refused(tmp_path, mpp, word):
    path = make_slides.generic(tmp_path / "a.tif", LEVELS, mpp=mpp)
    _refused(path, word, "--mpp=0.25")
    with open_slide(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25


def test_an_absurd_aperio_resolution_is_refused(tmp_path):
    _refused(make_slides.aperio(tmp_path / "a.svs", LEVELS, mpp=25), "25 micrometres", "--mpp")


def test_sides_that_differ_little_are_averaged(tmp_path):
    with open_slide(make_slides.generic(tmp_path / "a.tif", LEVELS, mpp=(0.25, 0.26))) as slide:
        assert slide.mpp == pytest.approx(0.255, rel=1e-3)


@pytest.mark.parametrize("write", [make_slides.aperio, make_slides.generic])
def test_a_slide_may_say_no_resolution(tmp_path, write):
    path = write(tmp_path / ("a.svs" if write is make_slides.aperio else "a.tif"), LEVELS, mpp=None)
    with open_slide(path) as slide:
        assert slide.mpp is None
        with pytest.raises(InputError, match=r"--mpp=0\.25"):
            slide.require_mpp()
    with open_slide(path, mpp=0.5) as slide:
        assert slide.require_mpp() == 0.5


@pytest.mark.parametrize("mpp", [0, -1, 0.01, 11, float("nan")])
def test_an_absurd_mpp_is_refused(made, mpp):
    _refused("", "--mpp", mpp=mpp)


def test_names_of_slides():
    assert is_slide("A.SVS")
    assert is_slide("x/y.mrxs")
    assert not is_slide("x.tif")
