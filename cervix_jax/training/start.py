"""`model.init_from`: the source of the weights at the start of training, and its checks."""

import contextlib
from collections.abc import Iterator

import ml_collections
import numpy as np
from absl import logging
from flax import nnx

from cervix_jax.data.normalization import scaling_of
from cervix_jax.errors import InputError
from cervix_jax.files.paths import user_path
from cervix_jax.models.build import build_model
from cervix_jax.models.weights import port
from cervix_jax.models.weights import read as weights
from cervix_jax.runs.run import load_run

DECLARED = {f"package:{name}": ("efficientnet_lite",) for name in weights.PACKAGES}
"""Sources whose normalisation is known for certain."""
CUSTOMARY = {
    "resnet50": ("imagenet",),
    "densenet121": ("imagenet",),
    "rcan": ("imagenet",),
    "ran92": ("imagenet",),
    **{f"efficientnet_lite{n}": ("efficientnet_lite", "inception") for n in range(3)},
}
"""What published weights of a model nearly always expect; a file does not say it."""


def starting_values(
    config: ml_collections.ConfigDict, class_names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return the weights of `config.model.init_from`, fitted to the model of the config.

    The source is a file, package or hub repository (`models.weights.read.read_state_dict`), or the
    folder of a run, whose best checkpoint is used. The classifier keeps its random weights if the
    source has another number of classes (for a run: other class names), and so does an attention
    module that the source lacks; everything else must match.

    Weights depend on the normalisation of their training. It could be folded into the first
    convolution only without zero padding: a padded zero represents the mean colour before the
    change and another colour after it. Therefore a difference is an error if the source's
    normalisation is known, and a warning if it is only customary.

    Args:
      config: the run's config; reads `model`.
      class_names: the classes of the data set.

    Returns:
      Arrays by path, for `models.weights.port.assign`; empty where `model.init_from` is "".

    Raises:
      InputError: the source cannot be read, does not match the model, or expects another
        normalisation.
    """
    source = config.model.init_from
    if not source:
        return {}
    model = nnx.eval_shape(lambda: build_model(config, len(class_names)))
    folder = user_path(source, "model.init_from")
    if folder.is_dir():
        run = load_run(folder)
        _check_normalization(config, (run.config.model.normalization,))
        same_classes = run.class_names == tuple(class_names)
        fit = "if_needed" if same_classes else True
        with _named(source):
            match = port.match_variables(model, run.variables, replace_head=fit)
    else:
        _check_normalization(config, DECLARED.get(source))
        state_dict = weights.read_state_dict(source)
        with _named(source):
            match = port.match_state_dict(model, state_dict, replace_head="if_needed")
    fresh = f"; newly initialised: {', '.join(match.kept)}" if match.kept else ""
    logging.info("Starting from %s: %d arrays%s.", source, len(match.values), fresh)
    return match.values


@contextlib.contextmanager
def _named(source: str) -> Iterator[None]:
    """Prefix errors with the source."""
    try:
        yield
    except InputError as error:
        raise InputError(f"model.init_from={source!r}: {error}") from error


def _check_normalization(
    config: ml_collections.ConfigDict, declared: tuple[str, ...] | None
) -> None:
    name, source = config.model.normalization, config.model.init_from
    # A reference stain changes the images but not the meaning of their pixel values.
    scaling = scaling_of(name)
    if declared and scaling not in map(scaling_of, declared):
        raise InputError(
            f"model.init_from={source!r} expects images normalised as {declared[0]!r}, and "
            f"model.normalization is {name!r}; set --config.model.normalization={declared[0]}"
        )
    customary = CUSTOMARY.get(config.model.name, ())
    if not declared and customary and scaling not in customary:
        logging.warning(
            "model.normalization is %r, but published weights of %s nearly always expect %s; check "
            "the source of the weights and set --config.model.normalization.",
            name, config.model.name, " or ".join(customary),
        )  # fmt: skip
