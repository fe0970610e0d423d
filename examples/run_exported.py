"""Classify images with an exported run, without cervix_jax.

pip install jax flatbuffers safetensors pillow
python run_exported.py EXPORTED_FOLDER IMAGE...
"""

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy
from jax import export
from PIL import Image, ImageOps


def square(path: str, size: int, rule: str) -> np.ndarray:
    """The image as in training: uint8 [size, size, 3]."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.has_transparency_data:  # what is transparent is white
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if rule == "stretch":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    if rule == "crop":
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    return np.asarray(ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR, color=colour))


def main(folder: str, *paths: str) -> None:
    """Print the likeliest class of each image and its probability."""
    card = json.loads(Path(folder, "card.json").read_bytes())
    files = {name: Path(folder, name).read_bytes() for name in card["sha256"]}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != card["sha256"][name]:
            sys.exit(f"error: {Path(folder, name)}: is not the exported file; copy it again.")
    program = export.deserialize(bytearray(files["model.stablehlo"]))
    weights = safetensors.numpy.load(files["weights.safetensors"])
    images = np.stack([square(path, card["size"], card["resize"]) for path in paths])
    for path, row in zip(paths, jax.jit(program.call)(weights, images), strict=True):
        print(path, card["class_names"][row.argmax()], f"{row.max():.4f}", sep="\t")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError, TypeError, KeyError) as error:
        sys.exit(f"error: {error}")
