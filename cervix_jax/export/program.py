"""A run's computation from uint8 images to probabilities, as one serialisable StableHLO program."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from cervix_jax import target
from cervix_jax.data.normalization import normalize
from cervix_jax.runs.inference import apply_weights
from cervix_jax.runs.run import Run

PLATFORMS = ("cpu", "cuda", "tpu")
Weights = dict[str, np.ndarray]  # by dotted name


def portable(run: Run) -> Run:
    """The same run with arithmetic that does not depend on the machine.

    A `model.dtype` of "auto" becomes float32; otherwise the program would depend on the machine
    that exports it.
    """
    config = run.config.copy_and_resolve_references()
    with config.unlocked():
        config.model.dtype = "float32" if config.model.dtype == "auto" else config.model.dtype
        config.model.remat = False  # no gradients are computed here
    return Run(config, run.dataset, run.variables, run.step, run.workdir)


def named_weights(run: Run) -> Weights:
    """Parameters and batch statistics by name, such as `params.features.conv0.kernel`, float32."""
    found = jax.tree_util.tree_leaves_with_path(run.variables)
    return {_name(path): np.asarray(array) for path, array in found}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def trace(run: Run, platforms: Sequence[str] = PLATFORMS) -> jax_export.Exported:
    """Trace the program `call(weights, images) -> probabilities`.

    `weights` come from `named_weights`; `images` are uint8 [b, S, S, 3], RGB, for any b of at least
    1. The result is float32 [b, C] with rows that sum to 1. The program runs on each of
    `platforms`. On the CPU it uses forms of layers that are faster there (EfficientNet-Lite0 is 8
    times faster than with XLA's), elsewhere those of XLA. Matrix products have full float32
    precision everywhere, so all platforms agree.
    """
    spec = {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype)
        for name, array in named_weights(run).items()
    }
    (batch,) = jax_export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *run.picture_shape), jnp.uint8)
    on_cpu, elsewhere = (classify(run, platform) for platform in ("cpu", "tpu"))

    def by_platform(weights: Weights, images: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(weights, images, cpu=on_cpu, default=elsewhere)

    with jax.default_matmul_precision("highest"), _without_locations():
        return jax_export.export(jax.jit(by_platform), platforms=platforms)(spec, images)


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Keep the source paths of this machine out of programs traced in the block."""
    settings: Any = jax.config  # its attributes are defined at run time, with its options
    before = settings.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def classify(run: Run, platform: str) -> Callable[[Weights, jax.Array], jax.Array]:
    """The function that `trace` traces, with the forms of layers for one of `target.PLATFORMS`."""
    treedef = jax.tree.structure(run.variables)
    names = list(named_weights(run))  # in the order of the leaves

    def probabilities(weights: Weights, images: jax.Array) -> jax.Array:
        variables = jax.tree.unflatten(treedef, [weights[name] for name in names])
        wanted = normalize(images, run.config.model.normalization)
        with target.tracing_for(platform):
            logits, _ = apply_weights(run.graphdef, variables, wanted)
        return jax.nn.softmax(logits, axis=-1)

    return probabilities
