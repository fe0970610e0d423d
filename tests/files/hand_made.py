"""Image files of kinds that Pillow reads and does not write, byte by byte."""

import struct
import zlib

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    if crc is None:
        crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return PNG + b"".join(png_chunk(kind, data) for kind, data in chunks)


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of uint16 [H, W] or [H, W, 2 to 4]."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(">u2").reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return png_chunks((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))


def tiff(pixels: np.ndarray, *, bits: int = 0, order: str = "<", big: bool = False) -> bytes:
    """An uncompressed TIFF of the dtype of [H, W] or [H, W, C], with what it says of its bits."""
    pixels = pixels.astype(pixels.dtype.newbyteorder(order))
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = bits or 8 * pixels.dtype.itemsize
    data = pixels.tobytes()
    short, long = 3, 4
    bits_place = (16 if big else 8) + len(data)
    more = struct.pack(f"{order}{channels}H", *[bits] * channels)
    size = struct.calcsize("Q" if big else "I")
    inline = len(more) <= size
    entries = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, channels, int.from_bytes(more, {"<": "little", ">": "big"}[order])
         if inline and order == "<" else bits if inline else bits_place),
        (259, short, 1, 1),
        (262, short, 1, 1 if channels == 1 else 2),
        (273, long, 1, 16 if big else 8),
        (277, short, 1, channels),
        (278, short, 1, height),
        (279, long, 1, len(data)),
        *([(338, short, 1, 2)] if channels == 4 else []),
        (339, short, 1, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]),
    ]  # fmt: skip
    directory = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, kind, count, value in entries:
        code = {short: "H", long: "I"}[kind]
        if tag == 258 and ((inline and order == "<") or not inline):
            code = "Q" if big else "I"
        packed = struct.pack(order + code, value).ljust(size, b"\0")
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + packed
    mark = b"II" if order == "<" else b"MM"
    place = bits_place + len(more)
    head = (
        mark + struct.pack(order + "HHHQ", 43, 8, 0, place)
        if big
        else mark + struct.pack(order + "HI", 42, place)
    )
    return head + data + more + directory + bytes(8)


def bmp32(pixels: np.ndarray, *, top_down: bool, masks: bool) -> bytes:
    """A BMP of 32 bits a pixel whose fourth bytes are all zero; `masks` call them alpha."""
    height, width = pixels.shape[:2]
    rows = np.dstack([pixels[..., ::-1], np.zeros((height, width), np.uint8)])
    data = (rows if top_down else rows[::-1]).tobytes()
    size = 108 if masks else 40
    info = struct.pack(
        "<IiiHHIIiiII", size, width, -height if top_down else height, 1, 32, 3 if masks else 0,
        len(data), 2835, 2835, 0, 0,
    )  # fmt: skip
    if masks:
        info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = info.ljust(size, b"\0")
    place = 14 + size
    return b"BM" + struct.pack("<IHHI", place + len(data), 0, 0, place) + info + data
