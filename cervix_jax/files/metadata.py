"""Removal of metadata from image files that are unreadable only because of damaged metadata."""

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
# Metadata that affect the displayed pixels: EXIF orientation, ICC profile. Kept unless damaged.
_PNG_LOOKS = (b"iCCP", b"eXIf")
_JPEG_LOOKS = (0xE0, 0xE1, 0xE2)
_JPEG_ADOBE, _JPEG_COMMENT, _JPEG_START_OF_SCAN = 0xEE, 0xFE, 0xDA
_JPEG_ADOBE_BYTES = 14  # including the length
_JPEG_APPLICATIONS = range(0xE0, 0xF0)
_TIFF_ORIENTATION, _TIFF_PROFILE, _TIFF_SHORT = 274, 34675, 3
# Size, layout and coding of the pixels.
_TIFF_PIXELS = frozenset((
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323,
    324, 325, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532,
))  # fmt: skip


def without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield the file with less metadata: first with orientation and profile only, then without.

    Args:
      data: the file.

    Yields:
      Nothing for file types other than JPEG, PNG and TIFF, or for files with other damage.
    """
    bare = _png if data.startswith(_PNG) else _jpeg if data.startswith(b"\xff\xd8") else _tiff
    last = data
    for keep_looks in (True, False):
        try:
            found = bare(data, keep_looks)
        except (IndexError, struct.error, ValueError):
            return
        if found != last:
            yield found
        last = found


def _png(data: bytes, keep_looks: bool) -> bytes:
    """Keep the critical PNG chunks and the transparency of the pixels."""
    parts, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        whole = end <= len(data) and _crc_fits(data[place + 4 : end])
        critical = not kind[0] & 32  # a capital letter
        if critical or kind == b"tRNS" or (keep_looks and whole and kind in _PNG_LOOKS):
            parts.append(data[place:end])
        place = end
        if kind == b"IEND":
            break
    return b"".join(parts)


def _crc_fits(chunk: bytes) -> bool:
    return zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:], "big")


def _jpeg(data: bytes, keep_looks: bool) -> bytes:
    """Keep tables, frame and scans, and Adobe's marker, which defines the colour coding."""
    parts, place = [data[:2]], 2
    while True:
        if data[place] != 0xFF:
            raise ValueError("no marker")  # the next one may belong to a thumbnail
        while data[place + 1] == 0xFF:
            place += 1
        marker = data[place + 1]
        if marker == _JPEG_START_OF_SCAN:
            return b"".join([*parts, data[place:]])
        end = place + 2 + struct.unpack_from(">H", data, place + 2)[0]
        optional = marker in _JPEG_APPLICATIONS or marker == _JPEG_COMMENT
        adobe = marker == _JPEG_ADOBE and end - place - 2 >= _JPEG_ADOBE_BYTES
        if not optional or adobe or (keep_looks and marker in _JPEG_LOOKS):
            parts.append(data[place:end])
        place = end


def _tiff(data: bytes, keep_looks: bool) -> bytes:
    """Return the file with a shorter first directory; not for BigTIFF."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("no TIFF")
    (place,) = struct.unpack_from(order + "I", data, 4)
    (number,) = struct.unpack_from(order + "H", data, place)
    start, end = place + 2, place + 2 + 12 * number
    kept = []
    for offset in range(start, end, 12):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", data, offset)
        whole = (kind, count) == (_TIFF_SHORT, 1) and 1 <= value <= 8
        looks = tag == _TIFF_PROFILE or (tag == _TIFF_ORIENTATION and whole)
        if tag in _TIFF_PIXELS or (keep_looks and looks):
            kept.append(data[offset : offset + 12])
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + data[end : end + 4]
    return data[:place] + directory + data[place + len(directory) :]
