"""Classify images with an exported run, without cervix_jax.

pip install jax flatbuffers safetensors pillow
python run_exported.py EXPORTED_FOLDER [--mpp=MICROMETRES_A_PIXEL] IMAGE...
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


def scaled(image: Image.Image, size: int, scale: float, colour: tuple[int, ...]) -> np.ndarray:
    """A square crop around the centre, resized by `scale`; `colour` fills pixels outside."""
    sides = np.array(image.size, float)
    corner = (sides - size / scale) / 2
    corner = np.floor(corner) if scale == 1 else corner
    first = np.clip(np.ceil(-corner * scale - 0.5), 0, (size - 1) // 2).astype(int)
    last = np.clip(np.floor((sides - corner) * scale + 0.5), first + 1, size).astype(int)
    start, end = corner + first / scale, corner + last / scale
    beyond = np.ceil(np.maximum(0, np.maximum(-start, end - sides))).astype(int)
    image = ImageOps.expand(image, tuple(beyond.tolist()), colour)
    box = (*(start + beyond).tolist(), *(end + beyond).tolist())
    seen = image.resize(tuple((last - first).tolist()), Image.Resampling.BILINEAR, box)
    return np.asarray(ImageOps.expand(seen, (*first.tolist(), *(size - last).tolist()), colour))


def square(path: str, size: int, rule: str, scale: float = 0.0) -> np.ndarray:
    """The image, resized as in training: uint8 [size, size, 3], or two squares side by side."""
    if "+" in rule:  # such as stretch+scale
        return np.concatenate([square(path, size, one, scale) for one in rule.split("+")], axis=1)
    image = ImageOps.exif_transpose(Image.open(path))
    if image.has_transparency_data:  # transparent pixels become white
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    rows = np.asarray(image)
    border = np.concatenate([rows[0], rows[-1], rows[:, 0], rows[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    if rule == "scale":
        return scaled(image, size, scale, colour)
    whole = (size, size), Image.Resampling.BILINEAR
    if rule == "stretch":
        return np.asarray(image.resize(*whole))
    if rule == "crop":
        return np.asarray(ImageOps.fit(image, *whole))
    return np.asarray(ImageOps.pad(image, *whole, colour))


def main(folder: str, *paths: str) -> None:
    """Print the most probable class of each image and its probability."""
    card = json.loads(Path(folder, "card.json").read_bytes())
    files = {name: Path(folder, name).read_bytes() for name in card["sha256"]}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != card["sha256"][name]:
            sys.exit(f"error: {Path(folder, name)} differs from the exported file; copy it again.")
    scale, mpp = 0.0, [path.partition("=")[2] for path in paths if path.startswith("--mpp=")]
    paths = tuple(path for path in paths if not path.startswith("--mpp="))
    if "scale" in card["resize"].split("+"):
        if not mpp:
            sys.exit("error: --mpp is missing; give the micrometres a pixel, e.g. --mpp=0.25.")
        scale = float(mpp[-1]) / card["microns_per_pixel"]
    program = export.deserialize(bytearray(files["model.stablehlo"]))
    weights = safetensors.numpy.load(files["weights.safetensors"])
    images = np.stack([square(path, card["size"], card["resize"], scale) for path in paths])
    for path, row in zip(paths, jax.jit(program.call)(weights, images), strict=True):
        print(path, card["class_names"][row.argmax()], f"{row.max():.4f}", sep="\t")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError, TypeError, KeyError) as error:
        sys.exit(f"error: {error}")
