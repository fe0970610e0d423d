"""Predictions from variables and uint8 images, shared by training, evaluation and `Run`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from cervix_jax import distributed, target
from cervix_jax.data.augment.geometry import dihedral
from cervix_jax.data.normalization import normalize
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.errors import InputError
from cervix_jax.progress import Bar

Variables = dict[str, Any]  # {"params": nested dict, "stats": nested dict}
Forward = Callable[[Variables, jax.Array], jax.Array]
FeaturesForward = Callable[[Variables, jax.Array], dict[str, jax.Array]]


def apply_weights(
    graphdef: nnx.GraphDef, variables: Variables, images: jax.Array, **options: Any
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return (logits, out) of the model in evaluation mode for float32 images.

    BatchNorm uses its running statistics and dropout is off. For use inside compiled functions.

    Args:
      graphdef: static part of the model.
      variables: {"params", "stats"}.
      images: float32 [B, S, S, 3], normalised.
      **options: options of the model call, such as `perturbations`.
    """
    model = nnx.merge(graphdef, variables["params"], variables["stats"], copy=True)
    model.eval()
    return model(images, **options)


def thinned(values: Any, logits: Any) -> Any:
    """Return the values of the pixels nearest to the centres of the positions that have logits.

    Args:
      values: [B, ...] of whole images, returned unchanged; or [B, H, W, ...].
      logits: [B, C], or [B, h, w, C] with h and w divisors of H and W.
    """
    if logits.ndim == 2:
        return values
    step = values.shape[1] // logits.shape[1]
    return values[:, step // 2 :: step, step // 2 :: step]


def make_forward(graphdef: nnx.GraphDef, normalization: str, mesh: Mesh) -> Forward:
    """Return a jitted `forward(variables, images uint8 [B, S, S, 3]) -> logits float32 [B, C]`.

    Logits of a nucleus detector are [B, h, w, C]. Every device holds all logits. The same arguments
    return the same function, so that folds and seeds share one program.
    """
    return _make_forward(graphdef, normalization, mesh, target.platform())


@functools.lru_cache(maxsize=8)
def _make_forward(graphdef: nnx.GraphDef, normalization: str, mesh: Mesh, platform: str) -> Forward:
    del platform  # the model's form depends on it, so each platform has its own program

    def forward(variables: Variables, images: jax.Array) -> jax.Array:
        return apply_weights(graphdef, variables, normalize(images, normalization))[0]

    return jax.jit(forward, out_shardings=distributed.replicated(mesh))


@functools.lru_cache(maxsize=8)
def make_features(
    graphdef: nnx.GraphDef, normalization: str, mesh: Mesh, names: tuple[str, ...]
) -> FeaturesForward:
    """As `make_forward`, but returns {name: array} of the model's `out`, and of "logits".

    Args:
      graphdef: static part of the model.
      normalization: see `cervix_jax.data.normalization`.
      mesh: devices that share each batch.
      names: names of the features; () returns all.
    """

    def features(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
        logits, out = apply_weights(graphdef, variables, normalize(images, normalization))
        found = {"logits": logits, **out}
        if unknown := [name for name in names if name not in found]:
            raise InputError(
                f"the network has no feature {unknown[0]!r}; it has {', '.join(sorted(found))}."
            )
        return {name: found[name] for name in names or found}

    return jax.jit(features, out_shardings=distributed.replicated(mesh))


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits [N, C], float32; rows sum to 1. All predictions use it."""
    return np.asarray(jax.nn.softmax(jnp.asarray(logits), axis=-1))


def over_symmetries(forward: Forward, views: int = 1) -> Forward:
    """Test-time augmentation: the mean of the probabilities over the 8 symmetries of the square.

    A cell has no natural orientation, so all 8 views are equally good. The function returns the
    logarithms of the mean probabilities (float32 [B, C]), whose softmax gives these probabilities.

    Args:
      forward: from `make_forward`.
      views: number of squares side by side in an image; each is transformed.
    """

    def turn(images: jax.Array, number: int) -> jax.Array:
        squares = [dihedral(square, number) for square in jnp.split(images, views, axis=2)]
        return jnp.concatenate(squares, axis=2) if views > 1 else squares[0]

    turned = jax.jit(turn, static_argnums=1)
    mean = jax.jit(
        lambda views: jax.nn.logsumexp(jnp.stack(views), axis=0, b=1 / len(views)),
    )

    def averaged(variables: Variables, images: jax.Array) -> jax.Array:
        logits = [forward(variables, turned(images, number)) for number in range(8)]
        return mean([jax.nn.log_softmax(of_turned, axis=-1) for of_turned in logits])

    return averaged


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions on some examples of a data set, in the order of `indices`.

    Attributes:
      indices: int [N], positions in the data set.
      logits: float32 [N, C]; [N, h, w, C] for a nucleus detector.
      labels: int [N]; [N, h, w] for a nucleus detector, -1 for positions without a label.
    """

    indices: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 of the same shape; rows sum to 1."""
        return probabilities_of(self.logits).astype(np.float64)

    def scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels int [M] and probabilities [M, C] of all examples, or of positions with a label."""
        probabilities = self.probabilities
        if probabilities.ndim == 2:
            return self.labels, probabilities
        known = self.labels >= 0
        return self.labels[known], probabilities[known]


def predict_split(
    forward: Forward,
    variables: Variables,
    pipeline: Pipeline,
    indices: np.ndarray,
    batch_size: int,
    *,
    progress: str = "",
) -> Predictions:
    """Compute the logits of the given examples, each exactly once.

    Args:
      forward: from `make_forward`.
      variables: {"params", "stats"}.
      pipeline: the source of the images.
      indices: int [N].
      batch_size: global batch size, rounded up to a multiple of the device count; the last batch
        is padded and the padding dropped.
      progress: label of the bar; "" shows none.
    """
    batch_size = distributed.filled_up(batch_size, pipeline.mesh)
    logits, labels, masks = [], [], []
    batches = pipeline.eval_batches(indices, batch_size)
    total = -(-len(indices) // batch_size)
    bar = Bar(batches, desc=progress, total=total, unit="batch", leave=False, disable=not progress)
    for batch in bar:
        logits.append(np.asarray(forward(variables, batch["image"])))
        whole = multihost_utils.process_allgather(
            {"label": batch["label"], "mask": batch["mask"]}, tiled=True
        )
        labels.append(thinned(whole["label"], logits[-1]))
        masks.append(whole["mask"])
    keep = np.concatenate(masks) > 0
    return Predictions(indices, np.concatenate(logits)[keep], np.concatenate(labels)[keep])
