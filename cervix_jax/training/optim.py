"""Optax transformations from the config; they depend on the parameters' paths in the model."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from cervix_jax.config.fields import OPTIMIZERS, SCHEDULES
from cervix_jax.errors import check_choice
from cervix_jax.models.stages import HEAD, stage_of


def make_schedule(
    config: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int
) -> optax.Schedule:
    """Return the learning rate by step: linear warm-up, then constant or cosine to a final share.

    Args:
      config: the run's config; reads `learning_rate` and `optimizer.{schedule, warmup_epochs,
        final_share}`.
      steps_per_epoch: steps in an epoch.
      num_steps: steps in the whole run.

    Raises:
      InputError: `optimizer.schedule` is unknown.
    """
    peak, settings = config.learning_rate, config.optimizer
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), num_steps - 1)
    check_choice("optimizer.schedule", settings.schedule, SCHEDULES)
    if settings.schedule == "constant":
        after = optax.constant_schedule(peak)
    else:
        after = optax.cosine_decay_schedule(peak, num_steps - warmup, settings.final_share)
    if warmup <= 0:
        return after
    return optax.join_schedules(
        [optax.linear_schedule(peak / warmup, peak, warmup), after], [warmup]
    )


def learning_rates(schedule: optax.Schedule, num_steps: int) -> np.ndarray:
    """Return the learning rate of every step of a run, float32 [num_steps]."""
    return np.asarray(jax.vmap(schedule)(jnp.arange(num_steps)), np.float32)


def decays(params: Any) -> Any:
    """Return the mask of the parameters with weight decay: kernels, not biases or norm scales."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def stages(params: Any) -> Any:
    """Return the stage of each parameter, see `models.stages.stage_of`."""
    return jax.tree.map_with_path(lambda path, _: stage_of([entry.key for entry in path]), params)


def scale_by_learning_rates(
    layer_decay: float, *, freezes: bool
) -> optax.GradientTransformationExtraArgs:
    """Multiply updates by minus their stage's learning rate; `update` takes `learning_rate`.

    The head has the full rate, and each stage below it `layer_decay` times the rate of the next,
    down to layer_decay ** 5 for the stem (layer-wise learning rate decay of Clark et al., ELECTRA,
    ICLR 2020, by stages). With `freezes`, only the head is updated while the argument `head_only`
    is true. The gradients still update Adam's moments, so the other parameters do not start with a
    jump, and batch statistics still follow the data, which adapts pretrained ones to its colours.
    """

    def scale(updates: Any, state: Any, params: Any = None, **arguments: Any) -> tuple[Any, Any]:
        del params
        learning_rate, head_only = arguments["learning_rate"], arguments.get("head_only", False)
        if layer_decay == 1 and not freezes:
            return jax.tree.map(lambda update: -learning_rate * update, updates), state

        def scaled(stage: int, update: jax.Array) -> jax.Array:
            rate = learning_rate * layer_decay ** (HEAD - stage)
            if freezes and stage < HEAD:
                rate = jnp.where(head_only, 0.0, rate)
            return -rate * update

        return jax.tree.map(scaled, stages(updates), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), scale)


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Return the optimiser of the config: gradient clipping, then Adam, AdamW or SGD with momentum.

    For "adam", `weight_decay` is added to the gradient (L2 regularisation, as in PyTorch's Adam);
    for "adamw" it is decoupled (Loshchilov and Hutter, 2019). The learning rates are applied last,
    see `scale_by_learning_rates`. `update` takes the arguments `learning_rate` and, for
    `optimizer.freeze_epochs`, `head_only`, so that runs with different schedules share one
    compiled step.

    Args:
      config: the run's config; reads `optimizer`.

    Raises:
      InputError: `optimizer.name` is unknown.
    """
    settings = config.optimizer
    l2 = optax.add_decayed_weights(settings.weight_decay, decays)
    check_choice("optimizer.name", settings.name, OPTIMIZERS)
    if settings.name == "adam":
        direction = [l2, optax.scale_by_adam()]
    elif settings.name == "adamw":
        direction = [optax.scale_by_adam(), l2]
    else:
        direction = [l2, optax.trace(settings.momentum, nesterov=True)]
    clip = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm > 0 else []
    rates = scale_by_learning_rates(settings.layer_decay, freezes=settings.freeze_epochs > 0)
    return optax.with_extra_args_support(optax.chain(*clip, *direction, rates))
