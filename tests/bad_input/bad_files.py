"""What cases lay on disk: images of every kind, trees of classes, lists of predictions."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bad_case import Done
from PIL import Image

from cervix_jax.data import catalog

SIPAKMED = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")
Make = Callable[[Path], object]


def noise(seed: int = 0, size: tuple[int, int] = (24, 16)) -> np.ndarray:
    """uint8 [height, width, 3]; size is width and height."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    os.makedirs(path.parent, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tree(tmp: Path, *more: tuple[str, bytes]) -> Path:
    """`raw` with two classes of two images, and more files."""
    for seed, name in enumerate(("A/1.png", "A/2.png", "B/1.png", "B/2.png")):
        write(tmp / "raw" / name, encoded(noise(seed), "PNG"))
    for name, content in more:
        write(tmp / "raw" / name, content)
    return tmp / "raw"


def sipakmed_tree(tmp: Path) -> Path:
    """`raw` with two cells a class."""
    for name in SIPAKMED:
        for cell in (1, 2):
            path = tmp / "raw" / f"im_{name}" / "CROPPED" / f"001_{cell:02d}.bmp"
            write(path, encoded(noise(cell), "BMP"))
    return tmp / "raw"


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose head says that it is of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def dataset(done: Done) -> catalog.Dataset:
    """What `prepare` made of `raw`."""
    return catalog.load(
        "image_folder/default", manual_dir=done.folder / "raw", data_dir=done.folder / "data"
    )


def stored(done: Done, name: str) -> np.ndarray:
    """The pixels that `prepare` stored of an image of `raw`, uint8 [h, w, 3]."""
    made = dataset(done)
    return made.decoded_source[made.filenames.index(name)]["image"]
