"""The trained networks whose deciding parts are known; see ground_truth.py."""

from pathlib import Path

import ml_collections
import numpy as np
from PIL import Image
from tqdm import tqdm

from cervix_jax.data import catalog
from cervix_jax.files import atomic
from cervix_jax.runs.run import Run, load_run
from cervix_jax.training.run import train_and_evaluate
from configs import efficientnet_lite0

PHANTOM = "cervix_phantom/single_cell"
IMAGE_SIZE = 64
MARKED = "Metaplastic"  # the class that gets the frame
COLOUR = (70, 90, 200)
FRAME_SHARE = 3 / 64  # of the side, on each side: 3 pixels of what the network sees
FREE, CONFOUNDED, FRAMED = "free", "confounded", "framed"
EPOCHS = {FREE: 5, CONFOUNDED: 5, FRAMED: 2}  # a frame is learnt at once


def train(name: str, out: Path) -> Run:
    """A run, trained or gone on with in `out / name`; at once when it is finished."""
    config = make_config(name, out)
    if not (out / name / "evaluate" / "test.json").is_file():
        train_and_evaluate(config, out / name)
    return load_run(out / name)


def make_config(name: str, out: Path) -> ml_collections.ConfigDict:
    """EfficientNet-Lite0 from ImageNet weights, on the phantom or on the framed copy of it."""
    dataset = "image_folder/default" if name == FRAMED else PHANTOM
    config = efficientnet_lite0.get_config(PHANTOM)
    config.image_size, config.num_epochs = IMAGE_SIZE, EPOCHS[name]
    config.data.data_dir = str(out / "data")
    if name == FRAMED:
        own = efficientnet_lite0.get_config(dataset)
        config.data.update({"dataset": dataset, "manual_dir": str(write_framed(out))})
        config.data.settings = own.data.settings
        config.data.settings.group_pattern = "folder_and_number"
    else:
        config.data.settings.confounding = float(name == CONFOUNDED)
    return config


def phantom(out: Path, confounding: float = 0.0) -> catalog.Dataset:
    """The phantom's single cells, prepared on first use."""
    settings = {"confounding": confounding}
    return catalog.load(PHANTOM, data_dir=out / "data", settings=settings)


def write_framed(out: Path) -> Path:
    """The unconfounded phantom as a folder of images, with a frame about those of one class."""
    folder = out / "framed_images"
    if folder.is_dir():
        return folder
    dataset = phantom(out)
    with atomic.new_folder(folder) as temporary:
        rows = zip(dataset.filenames, dataset.labels, dataset.decoded_source, strict=True)
        for filename, label, example in tqdm(rows, "framing", len(dataset), leave=False):
            image = example["image"]
            if dataset.class_names[label] == MARKED:
                image = add_frame(image)
            path = temporary / filename
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(image).save(path)
    return folder


def frame_mask(shape: tuple[int, ...]) -> np.ndarray:
    """Where the frame lies in an image of this height and width, bool [H, W]."""
    inside = np.ones(shape[:2], bool)
    high, wide = (max(2, round(FRAME_SHARE * side)) for side in shape[:2])
    inside[high:-high, wide:-wide] = False
    return inside


def add_frame(image: np.ndarray) -> np.ndarray:
    """The image uint8 [H, W, 3] with the coloured frame over its border."""
    return np.where(frame_mask(image.shape)[..., None], np.uint8(COLOUR), image)
