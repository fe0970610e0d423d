"""Adaptation of batch normalisation: statistics of the images to be classified.

The stain of another laboratory shifts the inputs of a model's layers. Replacing the training
statistics by batch statistics of the new images corrects part of this shift (Schneider et al.,
"Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020; Nado
et al., arXiv:2006.10963). The method uses no labels. However, the prediction for an image then
depends on the other images (the method is transductive), so report such results separately.
"""

import functools
import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cervix_jax import distributed, target
from cervix_jax.data.normalization import normalize
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.errors import InputError
from cervix_jax.models.layers import BatchNorm, adapting
from cervix_jax.runs.arguments import Images
from cervix_jax.runs.inference import Forward, Predictions, Variables
from cervix_jax.runs.run import Run

WAYS = ("all", "group")
"""Whose statistics: of all images of a split, or of each group (cluster, slide) its own."""
PRIOR = 16
"""How many images the statistics of training count as (Schneider et al. give 8 to 64)."""
PART = 256
"""Images that are normalised together; the statistics of more are means over parts."""

Statistics = Callable[[Variables, jax.Array, jax.Array, jax.Array], dict]


def adapted_variables(
    graphdef: nnx.GraphDef, normalization: str, variables: Variables, images: np.ndarray
) -> Variables:
    """Return weights whose batch statistics are mostly those of the images.

    With n images the mean and variance of every layer become

        (PRIOR * of training + n * of the images) / (PRIOR + n),

    where the statistics of the images are computed after the preceding layers, which already use
    adapted statistics. More than `PART` images are divided into equal parts, and the statistics are
    averaged over the parts. The part of an image depends on its pixels only, so the order of the
    images does not matter.

    Args:
      graphdef: static part of the model.
      normalization: see `cervix_jax.data.normalization`.
      variables: {"params", "stats"}.
      images: uint8 [N, S, S, 3], at least one, at the model's input size.

    Returns:
      {"params", "stats"}; the parameters are those given.

    Raises:
      InputError: there are no images, or the model has normalisations of another kind.
    """
    if not len(images):
        raise InputError("batch statistics need at least one image; give some.")
    statistics = _statistics(graphdef, normalization, target.platform())
    order = sorted(range(len(images)), key=lambda index: _digest(images[index]))
    parts = np.array_split(np.array(order), -(-len(images) // PART))
    size = _filled_up(len(parts[0]))
    prior = jnp.float32(PRIOR / (PRIOR + len(images)))
    total: dict = {}
    for part in parts:
        batch = np.resize(images[part], (size, *images.shape[1:]))
        weights = jnp.asarray(np.arange(size) < len(part), jnp.float32)
        found = statistics(variables, jnp.asarray(batch), weights, prior)
        share = len(part) / len(images)
        scaled = jax.tree.map(lambda value, share=share: share * value, found)
        total = jax.tree.map(jnp.add, total, scaled) if total else scaled
    return {"params": variables["params"], "stats": total}


def adapted(run: Run, images: Images, *, mpp: float | None = None) -> Run:
    """Return the run with batch statistics of some images, for example of one slide.

        adapted(run, images).predict(images)

    Args:
      run: any run of a classifier.
      images: as for `Run.preprocess`; at least one.
      mpp: as for `Run.preprocess`.

    Raises:
      InputError: see `Run.squares` and `adapted_variables`.
    """
    squares = run.squares(images, mpp=mpp)
    name = run.config.model.normalization
    return run.with_variables(adapted_variables(run.graphdef, name, run.variables, squares))


def predict_adapted(
    way: str,
    forward: Forward,
    graphdef: nnx.GraphDef,
    normalization: str,
    variables: Variables,
    pipeline: Pipeline,
    indices: np.ndarray,
    groups: np.ndarray,
    labels: np.ndarray,
) -> Predictions:
    """As `inference.predict_split`, with batch statistics of the examples themselves.

    Args:
      way: one of `WAYS`.
      forward: from `make_forward`, optionally over symmetries; the statistics are those of the
        images without symmetries.
      graphdef: static part of the model.
      normalization: see `cervix_jax.data.normalization`.
      variables: {"params", "stats"}.
      pipeline: the source of the images.
      indices: int [N].
      groups: [N], groups of the examples.
      labels: int [N], passed to the result.

    Raises:
      InputError: there are several devices or processes; see also `adapted_variables`.
    """
    if pipeline.mesh.devices.size > 1:
        raise InputError(
            "--adapt computes batch statistics over whole groups of images and therefore requires "
            "one device; set CUDA_VISIBLE_DEVICES=0, or leave --adapt out."
        )
    names = np.asarray(groups, str) if way == "group" else np.zeros(len(indices), str)
    logits: np.ndarray | None = None
    for name in np.unique(names):
        places = np.flatnonzero(names == name)
        images = pipeline.images(indices[places])
        adapted = adapted_variables(graphdef, normalization, variables, images)
        size = _filled_up(min(len(images), PART))
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch = jax.device_put(
                np.resize(part, (size, *part.shape[1:])), distributed.batch_sharded(pipeline.mesh)
            )
            found = np.asarray(forward(adapted, batch))[: len(part)]
            if logits is None:
                logits = np.zeros((len(indices), found.shape[1]), np.float32)
            logits[places[start : start + size]] = found
    if logits is None:
        raise InputError("batch statistics need at least one image; the split has none.")
    return Predictions(indices, logits, labels)


@functools.lru_cache(maxsize=8)
def _statistics(graphdef: nnx.GraphDef, normalization: str, platform: str) -> Statistics:
    del platform  # the model's form depends on it, so each platform has its own program

    @jax.jit
    def statistics(
        variables: Variables, images: jax.Array, weights: jax.Array, prior: jax.Array
    ) -> dict:
        model = nnx.merge(graphdef, variables["params"], variables["stats"], copy=True)
        model.eval()
        for path, module in nnx.iter_modules(model):
            if isinstance(module, BatchNorm):
                module.use_running_average = False
            elif any(isinstance(value, nnx.BatchStat) for value in vars(module).values()):
                raise InputError(
                    f"the network's {'/'.join(map(str, path))} is a {type(module).__name__}, whose "
                    "statistics cannot be adapted; use cervix_jax.models.layers.BatchNorm there."
                )
        with adapting(weights, prior):
            model(normalize(images, normalization))
        return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return statistics


def _filled_up(count: int) -> int:
    """Return the next power of two, so that groups of many sizes share a few programs."""
    return 1 << (count - 1).bit_length()


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
