"""From variables and uint8 images to predictions; what training, evaluation and `Run` share."""

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
from tqdm import tqdm

from cervix_jax import distributed
from cervix_jax.data.augment.geometry import dihedral
from cervix_jax.data.normalization import normalize
from cervix_jax.data.pipeline import Pipeline

Variables = dict[str, Any]  # {"params": nested dict, "stats": nested dict}
Forward = Callable[[Variables, jax.Array], jax.Array]


@functools.lru_cache(maxsize=8)
def make_forward(graphdef: nnx.GraphDef, normalization: str, mesh: Mesh) -> Forward:
    """A jitted `forward(variables, images uint8 [B, S, S, 3]) -> logits float32 [B, C]`.

    BatchNorm uses its running statistics and dropout is off. The logits lie whole on every device.
    The same arguments give the same function, so that folds and seeds share one program.
    """

    def forward(variables: Variables, images: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, variables["params"], variables["stats"])
        model.eval()
        logits, _ = model(normalize(images, normalization))
        return logits

    return jax.jit(forward, out_shardings=distributed.replicated(mesh))


def over_symmetries(forward: Forward) -> Forward:
    """Test-time augmentation: the mean of the probabilities over the 8 symmetries of the square.

    A cell has no natural orientation, so all 8 views are equally good. What it gives back are the
    logarithms of the mean probabilities (float32 [B, C]), whose softmax they are.
    """
    turned = jax.jit(dihedral, static_argnums=1)
    mean = jax.jit(
        lambda views: jax.nn.logsumexp(jnp.stack(views), axis=0, b=1 / len(views)),
    )

    def averaged(variables: Variables, images: jax.Array) -> jax.Array:
        views = [forward(variables, turned(images, number)) for number in range(8)]
        return mean([jax.nn.log_softmax(view, axis=-1) for view in views])

    return averaged


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions on some examples of a data set, in the order of `indices`.

    Attributes:
      indices: int [N], positions in the data set.
      logits: float32 [N, C].
      labels: int [N].
    """

    indices: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 [N, C]; rows sum to 1."""
        return np.asarray(jax.nn.softmax(jnp.asarray(self.logits), axis=-1), np.float64)


def predict_split(
    forward: Forward,
    variables: Variables,
    pipeline: Pipeline,
    indices: np.ndarray,
    batch_size: int,
    *,
    progress: str = "",
) -> Predictions:
    """Logits of the given examples, each exactly once.

    Args:
      forward: from `make_forward`.
      variables: {"params", "stats"}.
      pipeline: where the images come from.
      indices: int [N].
      batch_size: global batch size; the last batch is filled up and the filling dropped.
      progress: what the bar is called; "" shows none.
    """
    logits, labels, masks = [], [], []
    batches = pipeline.eval_batches(indices, batch_size)
    total = -(-len(indices) // batch_size)
    bar = tqdm(batches, desc=progress, total=total, unit="batch", leave=False, disable=not progress)
    for batch in bar:
        logits.append(np.asarray(forward(variables, batch["image"])))
        whole = multihost_utils.process_allgather(
            {"label": batch["label"], "mask": batch["mask"]}, tiled=True
        )
        labels.append(whole["label"])
        masks.append(whole["mask"])
    keep = np.concatenate(masks) > 0
    return Predictions(indices, np.concatenate(logits)[keep], np.concatenate(labels)[keep])
