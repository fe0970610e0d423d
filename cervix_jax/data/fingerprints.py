"""Fingerprints of images: a digest of the pixels, and compact forms for finding copies.

Two images with the same digest have identical pixels. The perceptual hash (Zauner 2010, with 256
instead of 64 bits) and the grey thumbnail find copies that were scaled, recompressed or rotated:
see `cervix_jax.data.duplicates`.
"""

import contextlib
import dataclasses
import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn

from cervix_jax.errors import InputError
from cervix_jax.files.atomic import replacing
from cervix_jax.files.threads import map_in_order
from cervix_jax.progress import Bar

# Smaller thumbnails find other pairs: of the 250 among SIPaKMeD's cells, 32 pixels lose 6 and add
# 9, and 16 pixels lose 14 and add 14.
THUMBNAIL_SIDE = 64
HASH_SIDE = 16
HASH_BITS = HASH_SIDE * HASH_SIDE


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of N images, in their order.

    Attributes:
      digests: N digests of the pixels, see `content_digest`.
      hashes: bool [N, 256], the perceptual hash of every image in its original pose.
      thumbnails: uint8 [N, 64, 64], see `thumbnail`.
    """

    digests: tuple[str, ...]
    hashes: np.ndarray
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.digests)

    @classmethod
    def of(
        cls,
        images: Iterable[np.ndarray],
        *,
        total: int | None = None,
        workers: int = 0,
        progress: bool = False,
    ) -> "Fingerprints":
        """Compute the fingerprints of images.

        Args:
          images: uint8 [H, W, 3] each.
          total: number of images, for the bar.
          workers: number of threads; 0 uses one per core, at most 8.
          progress: whether to show a bar.
        """
        found = Bar(
            map_in_order(_fingerprint, images, workers=workers),
            total=total,
            desc="fingerprints",
            unit="image",
            leave=False,
            disable=not progress,
        )
        # For large sets these arrays use most of the memory: they are filled in place.
        digests: list[str] = []
        hashes = np.empty((total or 64, HASH_BITS), bool)
        thumbnails = np.empty((total or 64, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
        for index, (digest, bits, small) in enumerate(found):
            if index == len(hashes):
                for column in (hashes, thumbnails):
                    column.resize((2 * index, *column.shape[1:]), refcheck=False)
            digests.append(digest)
            hashes[index], thumbnails[index] = bits, small
        for column in (hashes, thumbnails):
            column.resize((len(digests), *column.shape[1:]), refcheck=False)
        return cls(tuple(digests), hashes, thumbnails)

    def take(self, indices: np.ndarray) -> "Fingerprints":
        """Return the fingerprints at positions int [n], in that order."""
        digests = tuple(self.digests[int(index)] for index in indices)
        return Fingerprints(digests, self.hashes[indices], self.thumbnails[indices])

    def save(self, path: Path) -> None:
        """Write one .npz file atomically; raises `InputError` if it cannot be written."""
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                digests=np.asarray(self.digests, "S64"),
                hashes=np.packbits(self.hashes, axis=-1),
                thumbnails=self.thumbnails,
            )

    @classmethod
    def load(cls, path: Path) -> "Fingerprints":
        """Read a file written by `save`.

        Raises:
          FileNotFoundError: the file does not exist.
          InputError: the file is damaged; the message names it.
        """
        with _arrays(path) as arrays:
            digests = _digests(arrays)
            hashes = np.unpackbits(arrays["hashes"], axis=-1).astype(bool)
            thumbnails = np.asarray(arrays["thumbnails"], np.uint8)
            count, side = len(digests), THUMBNAIL_SIDE
            if hashes.shape != (count, HASH_BITS) or thumbnails.shape != (count, side, side):
                raise ValueError("its arrays do not match")
        return cls(digests, hashes, thumbnails)


def load_digests(path: Path) -> tuple[str, ...]:
    """Read only the digests of a file written by `Fingerprints.save`; the rest is far larger.

    Raises:
      FileNotFoundError: the file does not exist.
      InputError: the file is damaged; the message names it.
    """
    with _arrays(path) as arrays:
        return _digests(arrays)


@contextlib.contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the arrays of a file, each read on access; errors in the block name the file."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is damaged or not a file of fingerprints ({error}); delete it, and it is "
            "created again if the images are available."
        ) from error


def _digests(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    return tuple(digest.decode("ascii") for digest in arrays["digests"].tolist())


def content_digest(image: np.ndarray) -> str:
    """Return the SHA-256 of shape and pixels, in hexadecimal digits.

    Args:
      image: uint8 [H, W, 3].
    """
    pixels = np.ascontiguousarray(image)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def thumbnail(image: Image.Image) -> np.ndarray:
    """Return the image as 64 x 64 grey pixels, whatever its aspect ratio; uint8 [64, 64]."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(image.convert("L").resize(side, Image.Resampling.BOX))


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """Return the perceptual hashes of a thumbnail in its eight poses.

    Rotation and mirroring only change signs and swap axes of the discrete cosine transform, so all
    eight poses cost little more than one.

    Args:
      grey: uint8 [64, 64].

    Returns:
      bool [8, 256] in the order of `duplicates.POSES`: which of the 16 x 16 lowest frequencies lie
      above their median.
    """
    low = _low_frequencies(grey)
    odd = 1 - 2 * (np.arange(HASH_SIDE) % 2)
    poses = []
    for upright in (low, low.T):
        for rows, columns in ((1, 1), (1, odd), (odd[:, None], 1), (odd[:, None], odd)):
            poses.append(_above_median(upright * rows * columns))
    return np.stack(poses)


def _low_frequencies(grey: np.ndarray) -> np.ndarray:
    low = np.asarray(dctn(np.asarray(grey, np.float64), norm="ortho"))[:HASH_SIDE, :HASH_SIDE]
    low[0, 0] = 0  # the mean brightness
    return low


def _above_median(frequencies: np.ndarray) -> np.ndarray:
    return (frequencies > np.median(frequencies)).ravel()


def _fingerprint(image: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    small = thumbnail(Image.fromarray(np.ascontiguousarray(image)))
    return content_digest(image), _above_median(_low_frequencies(small)), small
