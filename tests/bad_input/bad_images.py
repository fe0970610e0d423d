"""Files that are no image, or an unusual one."""

import numpy as np
from bad_case import Case, Done
from bad_files import encoded, noise, png_that_claims, sipakmed_tree, stored, tree
from PIL import Image

ARGS = ("--dataset=image_folder/default", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data")
SIPAKMED_ARGS = (
    "--dataset=sipakmed/single_cell", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data",
    "--nocheck_counts",
)  # fmt: skip


def _refused(id_: str, name: str, content: bytes, *expected: str) -> Case:
    """One more file in a tree of classes, which `prepare` refuses by name."""
    return Case(
        id_,
        "prepare",
        ARGS,
        (f"{{tmp}}/raw/{name}", *expected),
        lambda tmp: tree(tmp, (name, content)),
    )


def _kept(id_: str, name: str, content: bytes, pixels: np.ndarray, within: int = 0) -> Case:
    """One more file in a tree of classes, which is stored with these pixels."""

    def handled(done: Done):
        found = stored(done, name).astype(int)
        assert found.shape == pixels.shape
        assert np.abs(found - pixels).max() <= within

    return Case(id_, "prepare", ARGS, make=lambda tmp: tree(tmp, (name, content)), handled=handled)


def _left_out(id_: str, name: str, content: bytes) -> Case:
    """One more file, which is no image by its name."""

    def handled(done: Done):
        assert "4 examples" in done.out

    return Case(id_, "prepare", ARGS, make=lambda tmp: tree(tmp, (name, content)), handled=handled)


def exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def _cut(tmp):
    path = sipakmed_tree(tmp) / "im_Metaplastic" / "CROPPED" / "001_02.bmp"
    path.write_bytes(path.read_bytes()[:300])


RGB = noise(9)
ALPHA = np.dstack(
    [RGB, np.where(np.arange(24) < 12, 0, 255).astype(np.uint8) * np.ones((16, 1), np.uint8)]
)
ON_WHITE = np.where(ALPHA[..., 3:] == 255, RGB, 255)
SMOOTH = np.stack(
    np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(48) * 4, 90), -1
).astype(np.uint8)
DEEP = (noise(3)[..., 0].astype(np.uint16) << 8) + 7
FLOATS = np.where(np.eye(16, dtype=bool), np.nan, 0.5).astype(np.float32)
FRAMES = [Image.fromarray(noise(seed)) for seed in range(3)]
PALETTE = Image.fromarray(RGB).quantize(64)

CASES = [
    _refused("an empty file", "A/x.png", b"", "not a readable"),
    _refused("text called .jpg", "A/x.jpg", b"<html>not found</html>", "not a readable"),
    _refused("a cut PNG", "A/x.png", encoded(noise(5), "PNG")[:-200], "not a readable"),
    _refused(
        "a cut JPEG", "A/x.jpg", encoded(noise(5, (90, 80)), "JPEG")[:-2000], "not a readable"
    ),
    _refused("a cut TIFF", "A/x.tif", encoded(noise(5), "TIFF")[:-200], "not a readable"),
    Case(
        "a cut BMP of SIPaKMeD",
        "prepare",
        SIPAKMED_ARGS,
        ("im_Metaplastic/CROPPED/001_02.bmp", "not a readable"),
        _cut,
    ),
    Case(
        "a cut BMP of SIPaKMeD",
        "main",
        (
            "--config={root}/configs/rcan.py:sipakmed/single_cell",
            "--config.data.manual_dir={tmp}/raw",
            "--config.data.data_dir={tmp}/data",
            "--config.data.check_counts=False",
            "--workdir={tmp}/new",
        ),
        ("im_Metaplastic/CROPPED/001_02.bmp", "not a readable"),
        _cut,
    ),
    _refused(
        "a PNG that claims 10 gigapixels",
        "A/x.png",
        png_that_claims(100_000, 100_000),
        "64,000,000 pixels",
    ),
    _refused(
        "a PNG that claims 100 megapixels",
        "A/x.png",
        png_that_claims(10_000, 10_000),
        "64,000,000 pixels",
    ),
    _refused("a PNG of no pixels", "A/x.png", png_that_claims(0, 0), "not a readable"),
    _refused("16-bit grey", "A/x.png", encoded(DEEP, "PNG"), "8 bits a channel"),
    _refused("a TIFF of floats with NaN", "A/x.tif", encoded(FLOATS, "TIFF"), "8 bits a channel"),
    _refused(
        "a TIFF of 32-bit integers",
        "A/x.tif",
        encoded(DEEP.astype(np.int32), "TIFF"),
        "8 bits a channel",
    ),
    _refused(
        "a TIFF of three pages",
        "A/x.tif",
        encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]),
        "several images",
    ),
    _refused(
        "an animated PNG",
        "A/x.png",
        encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
        "several images",
    ),
    _refused(
        "an animated GIF called .png",
        "A/x.png",
        encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
        "not a readable",
    ),
    _left_out(
        "an animated GIF",
        "A/x.gif",
        encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    ),
    _refused(
        "1 bit a pixel",
        "A/x.png",
        encoded(Image.fromarray(RGB).convert("1"), "PNG"),
        "only 2 colours",
    ),
    _refused(
        "one colour",
        "A/x.png",
        encoded(np.full((9, 9, 3), 7, np.uint8), "PNG"),
        "has one colour only",
    ),
    _kept("grey", "A/x.png", encoded(RGB[..., 0], "PNG"), RGB[..., :1].repeat(3, -1)),
    _kept("a palette", "A/x.png", encoded(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    _kept(
        "CMYK JPEG",
        "A/x.jpg",
        encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95),
        SMOOTH,
        within=8,
    ),
    _kept(
        "EXIF orientation 3 of a JPEG",
        "A/x.jpg",
        encoded(SMOOTH, "JPEG", quality=95, exif=exif(3)),
        np.rot90(SMOOTH, 2),
        within=8,
    ),
    _kept("alpha lies on white", "A/x.png", encoded(ALPHA, "PNG"), ON_WHITE),
    _kept(
        "a transparent colour lies on white",
        "A/x.png",
        encoded(RGB, "PNG", transparency=tuple(int(v) for v in RGB[0, 0])),
        np.where((RGB[0, 0] == RGB).all(-1, keepdims=True), 255, RGB),
    ),
    *(
        _kept(
            f"EXIF orientation 6 of {kind}",
            f"A/x.{suffix}",
            encoded(RGB, kind, exif=exif(6)),
            np.rot90(RGB, -1),
        )
        for kind, suffix in (("PNG", "png"), ("TIFF", "tif"))
    ),
    _kept("a suffix in capitals", "A/X.BMP", encoded(RGB, "BMP"), RGB),
    _kept("a BMP called .jpg", "A/x.jpg", encoded(RGB, "BMP"), RGB),
    _left_out("no suffix", "A/x", encoded(RGB, "PNG")),
]
