"""Training of the pooling on bags, and its predictions."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.decomposition import PCA
from tqdm import tqdm

from cervix_jax.aggregate.bags import Bags
from cervix_jax.aggregate.pooling import AttentionPooling


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the pooling is trained.

    Attributes:
      components: principal components of the features that are used.
      epochs: passes over the bags.
      batch_size: bags a step; the last, smaller batch of an epoch is left out of it.
      learning_rate: of AdamW, falling to 0 as a cosine.
      weight_decay: of AdamW.
      instance_dropout: share of a bag's instances that are left out at random, at least one stays.
      heads: how many are trained, from different seeds; their probabilities are averaged.
      seed: of weights, order and dropout.
    """

    components: int = 64
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    instance_dropout: float = 0.3
    heads: int = 5
    seed: int = 0


def compress(train: Bags, bags: Bags, components: int) -> np.ndarray:
    """Features in the principal components of the training instances, each of variance 1.

    A network's thousand features of a few thousand cells are strongly correlated; a few components
    hold nearly all of it, and learn faster.

    Args:
      train: whose instances set the components.
      bags: bags to transform.
      components: how many, at most.

    Returns:
      float32 [B, K, components]; zero where there is no instance.
    """
    there = train.features[train.mask]
    count = min(components, *there.shape)
    analysis = PCA(count, whiten=True, svd_solver="covariance_eigh").fit(there)
    found = np.zeros((*bags.mask.shape, count), np.float32)
    found[bags.mask] = analysis.transform(bags.features[bags.mask])
    return found


def fit_and_predict(
    train: Bags, others: Sequence[Bags], settings: Settings, *, progress: str = ""
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Train on some bags and predict others.

    Args:
      train: the bags to learn from.
      others: bags to predict; none of them is trained on.
      settings: see there.
      progress: what the bar is called; "" shows none.

    Returns:
      For each of `others` the probabilities float64 [B, C] and the attention float64 [B, K], both
      averaged over the heads.
    """
    own = compress(train, train, settings.components)
    heads = [
        _fit(train, own, settings, settings.seed + number)
        for number in tqdm(range(settings.heads), desc=progress, disable=not progress)
    ]
    found = []
    for bags in others:
        arrays = (compress(train, bags, settings.components), bags.logits, bags.mask)
        results = [_predict(model, *arrays) for model in heads]
        found.append(tuple(np.mean([r[k] for r in results], axis=0, dtype=float) for k in range(2)))
    return found


@nnx.jit
def _predict(model: AttentionPooling, features, logits, mask) -> tuple[jax.Array, jax.Array]:
    found, attention = model(features, logits, mask)
    return jax.nn.softmax(found), attention


def _fit(train: Bags, features: np.ndarray, settings: Settings, seed: int) -> AttentionPooling:
    num_features, num_classes = features.shape[-1], train.logits.shape[-1]
    model = AttentionPooling(num_features, num_classes, rngs=nnx.Rngs(seed))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    size = min(settings.batch_size, len(train))
    steps = settings.epochs * (len(train) // size)
    schedule = optax.cosine_decay_schedule(settings.learning_rate, steps)
    optimizer = optax.adamw(schedule, weight_decay=settings.weight_decay)
    data = (features, train.logits, train.mask, train.labels)
    data = jax.tree.map(jnp.asarray, data)

    def loss(params, data, rows, key):
        x, logits, mask, labels = (array[rows] for array in data)
        keys = jax.random.split(key)
        kept = mask & (jax.random.uniform(keys[0], mask.shape) >= settings.instance_dropout)
        kept = jnp.where(kept.any(-1, keepdims=True), kept, mask)
        head = nnx.merge(graphdef, params, rest)
        found, _ = head(x, logits, kept, rngs=nnx.Rngs(dropout=keys[1]))
        return optax.softmax_cross_entropy_with_integer_labels(found, labels).mean()

    @jax.jit
    def step(params, state, data, rows, key):
        gradient = jax.grad(loss)(params, data, rows, key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    rng = np.random.default_rng(seed)
    state, key = optimizer.init(params), jax.random.key(seed)
    order = np.arange(len(train))
    for number in range(steps):
        start = number % (len(train) // size) * size
        if start == 0:
            order = rng.permutation(len(train))
        rows = jnp.asarray(order[start : start + size])
        params, state = step(params, state, data, rows, jax.random.fold_in(key, number))
    fitted = nnx.merge(graphdef, params, rest)
    fitted.eval()
    return fitted
