"""Writes small whole slides: Aperio's page layout, generic pyramids, DICOM."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

TILE = 256


def drawn(width: int = 1600, height: int = 1200, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]: smooth colours on glass, so that JPEG keeps them."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 230, (max(2, height // 80), max(2, width // 80), 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def pyramid(pixels: np.ndarray, factors: tuple[int, ...] = (1, 4)) -> list[np.ndarray]:
    image = Image.fromarray(pixels)
    return [pixels if factor == 1 else np.asarray(image.reduce(factor)) for factor in factors]


def tiles(pixels: np.ndarray, quality: int = 95) -> Iterator[bytes]:
    """JPEG tiles, row by row, filled up with white."""
    for top in range(0, pixels.shape[0], TILE):
        strip = pixels[top : top + TILE]  # of what makes its pixels when they are asked for
        for left in range(0, pixels.shape[1], TILE):
            part = strip[:, left : left + TILE]
            whole = np.full((TILE, TILE, 3), 255, np.uint8)
            whole[: len(part), : part.shape[1]] = part
            yield jpeg(whole, quality)


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def _write(tiff: tifffile.TiffWriter, pixels: np.ndarray, **options) -> None:
    tiff.write(
        tiles(pixels), shape=pixels.shape, dtype=np.uint8, tile=(TILE, TILE), compression="jpeg",
        photometric="ycbcr", subsampling=(1, 1), metadata=None, **options,
    )  # fmt: skip


def aperio(path: Path, levels: list[np.ndarray], mpp: object = 0.25) -> Path:
    """An SVS: level 0, a thumbnail in strips, the other levels, a label."""
    height, width = levels[0].shape[:2]
    said = "" if mpp is None else f"|MPP = {mpp}"
    head = f"Aperio Image Library v12.0.5\r\n{width}x{height} [0,0 {width}x{height}] "
    with tifffile.TiffWriter(path) as tiff:
        _write(
            tiff, levels[0], description=f"{head}({TILE}x{TILE}) JPEG/RGB Q=95|AppMag = 40{said}"
        )
        small = levels[-1][::2, ::2]
        tiff.write(small, photometric="rgb", metadata=None, description=f"{head}-> thumbnail")
        for level in levels[1:]:
            _write(tiff, level, description=f"{head}({TILE}x{TILE}) -> level", subfiletype=1)
        tiff.write(small, photometric="rgb", metadata=None, description="Aperio\r\nlabel 9x9")
    return path


def generic(
    path: Path,
    levels: list[np.ndarray],
    mpp: float | tuple[float, float] | None = 0.25,
    *,
    sub_ifds: bool = False,
    profile: bytes | None = None,
) -> Path:
    """A tiled TIFF with its levels in pages or in sub-IFDs, and its resolution in the tags."""
    said = {}
    if mpp is not None:
        x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
        said = {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    below = len(levels) - 1 if sub_ifds else 0
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        _write(tiff, levels[0], subifds=below, iccprofile=profile, **said)
        for level in levels[1:]:
            _write(tiff, level, subfiletype=1)
    return path


def with_a_hole(path: Path, pixels: np.ndarray) -> Path:
    """A pyramid of two levels whose first tile was never written."""
    generic(path, pyramid(pixels))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages.first.tags[name]
            tag.overwrite((0, *tag.value[1:]))
    return path


def dicom(folder: Path, levels: list[np.ndarray], mpp: float | None = 0.25) -> Path:
    """A VL whole slide microscopy series in baseline JPEG, one file a level."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

    folder.mkdir(parents=True)
    series, study, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    for number, pixels in enumerate(levels):
        height, width = pixels.shape[:2]
        image = Dataset()
        image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
        image.SOPInstanceUID, image.SeriesInstanceUID = generate_uid(), series
        image.StudyInstanceUID, image.FrameOfReferenceUID = study, frame_of_reference
        image.Modality, image.PatientID, image.SeriesNumber = "SM", "none", 1
        kind = "NONE" if number == 0 else "RESAMPLED"
        image.ImageType = ["ORIGINAL" if number == 0 else "DERIVED", "PRIMARY", "VOLUME", kind]
        image.DimensionOrganizationType = "TILED_FULL"
        image.TotalPixelMatrixColumns, image.TotalPixelMatrixRows = width, height
        image.Columns = image.Rows = TILE
        frames = list(tiles(pixels))
        image.NumberOfFrames = len(frames)
        image.SamplesPerPixel, image.PlanarConfiguration = 3, 0
        image.PhotometricInterpretation = "YBR_FULL_422"
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit, image.PixelRepresentation = 7, 0
        image.InstanceNumber = number + 1
        image.LossyImageCompression = "01"
        image.TotalPixelMatrixFocalPlanes = 1
        path = Dataset()
        path.OpticalPathIdentifier = "1"
        image.OpticalPathSequence = Sequence([path])
        image.NumberOfOpticalPaths = 1
        if mpp is not None:
            spacing = Dataset()
            spacing.PixelSpacing = [f"{mpp * levels[0].shape[1] / width / 1000:.9g}"] * 2
            functions = Dataset()
            functions.PixelMeasuresSequence = Sequence([spacing])
            image.SharedFunctionalGroupsSequence = Sequence([functions])
        image.PixelData = encapsulate(frames)
        image["PixelData"].VR = "OB"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = image.SOPClassUID
        meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        meta.TransferSyntaxUID = JPEGBaseline8Bit
        meta.ImplementationClassUID = generate_uid()
        image.file_meta = meta
        assert meta.TransferSyntaxUID != ExplicitVRLittleEndian
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def repeated(path: Path, tile: np.ndarray, sides: tuple[int, ...], mpp: float = 0.25) -> Path:
    """A square slide of huge levels that all show one tile [256, 256, 3], in a file of megabytes.

    Each level is stored as one tile; then its offsets are made many, all of the same bytes.
    """
    generic(path, [tile] * len(sides), mpp)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page, side in zip(tiff.pages, sides, strict=True):
            count = (-(-side // TILE)) ** 2
            for name in ("TileOffsets", "TileByteCounts"):
                page.tags[name].overwrite(page.tags[name].value * count)
            for name in ("ImageWidth", "ImageLength"):
                page.tags[name].overwrite(side)
    return path
