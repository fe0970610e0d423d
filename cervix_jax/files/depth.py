"""The number of bits per channel of an image file, read from its header.

Pillow silently reduces many kinds of deeper images to 8 bits and gives them the mode of an 8-bit
image, so the number must be read from the file.
"""

from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF_MARKS = (b"II", b"MM")
_BIG_TIFF = 43
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
_KINDS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers"}
# JPEG's start-of-frame markers; C4, C8 and CC are other markers.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_START_OF_SCAN, _END = 0xDA, 0xD9


def why_too_deep(stream: BinaryIO) -> str:
    """Return the deviation from 8 bits per channel, e.g. "has 16 bits a channel"; "" for 8.

    Args:
      stream: the file, PNG, JPEG or TIFF; read from its beginning, and rewound.

    Returns:
      Also "" for other files, such as BMP, which have at most 8, and for damaged ones.
    """
    stream.seek(0)
    try:
        head = stream.read(26)
        if head.startswith(_PNG):
            return _too_many(head[24]) if head[12:16] == b"IHDR" else ""
        if head.startswith(b"\xff\xd8"):
            return _too_many(_jpeg_precision(stream))
        return _tiff(stream, head) if head[:2] in _TIFF_MARKS else ""
    except Exception:  # Pillow's many types for damaged files; decoding reports the damage
        return ""
    finally:
        stream.seek(0)


def _too_many(bits: int) -> str:
    return f"has {bits} bits a channel" if bits > 8 else ""


def _jpeg_precision(stream: BinaryIO) -> int:
    """Return bits per channel from the first start-of-frame marker; 8 if there is none."""
    stream.seek(2)
    while (byte := stream.read(1)) == b"\xff":
        while byte == b"\xff":  # may be repeated
            byte = stream.read(1)
        marker = byte[0]
        if marker in (_START_OF_SCAN, _END):
            break
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(stream.read(2), "big")
        if marker in _FRAMES:
            return stream.read(1)[0]
        stream.seek(length - 2, 1)
    return 8


def _tiff(stream: BinaryIO, head: bytes) -> str:
    stream.seek(0)
    header = stream.read(16 if _BIG_TIFF in head[2:4] else 8)
    directory = ImageFileDirectory_v2(header)
    stream.seek(directory.next)
    directory.load(stream)
    bits, kinds = (
        value if isinstance(value, tuple) else (value,)
        for value in (directory.get(_BITS_PER_SAMPLE, 1), directory.get(_SAMPLE_FORMAT, 1))
    )
    numbers = next((_KINDS[kind] for kind in kinds if kind in _KINDS), "")
    return f"has {numbers} of {max(bits)} bits as pixels" if numbers else _too_many(max(bits))
