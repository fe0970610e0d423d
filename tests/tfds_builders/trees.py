"""Small images on disk, and what a builder makes of them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cervix_jax.errors import InputError


def picture(seed: int, size: tuple[int, int] = (24, 22)) -> Image.Image:
    """Noise of `size` (width, height), different for every seed."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def save(path: Path, seed: int = 0, size: tuple[int, int] = (24, 22), **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path, **kwargs)
    return path


def prepare(builder, root: Path) -> dict[str, dict]:
    """Prepare from `root`; the examples by file name."""
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=root), file_format="array_record"
    )
    return examples(builder)


def examples(builder) -> dict[str, dict]:
    source = builder.as_data_source("train")
    return {ex["filename"].decode(): ex for ex in (source[i] for i in range(len(source)))}


def refused(builder, root: Path) -> str:
    """The one line of the refusal; nothing is left behind."""
    with pytest.raises(InputError) as error:
        prepare(builder, root)
    assert not Path(builder.data_dir).exists()
    assert not list(Path(builder.data_dir).parent.glob("incomplete*"))
    return str(error.value)
