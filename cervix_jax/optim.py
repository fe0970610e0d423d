"""Optax transformations from the config; knows nothing of models or of the training state."""

from typing import Any

import jax
import ml_collections
import optax

from cervix_jax.errors import InputError

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")


def make_schedule(
    config: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int
) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then constant or a cosine down to a final share.

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
    if settings.schedule == "constant":
        after = optax.constant_schedule(peak)
    elif settings.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, num_steps - warmup, settings.final_share)
    else:
        raise InputError(
            f"optimizer.schedule={settings.schedule!r} is unknown; "
            f"choose one of {', '.join(SCHEDULES)}."
        )
    if warmup <= 0:
        return after
    return optax.join_schedules(
        [optax.linear_schedule(peak / warmup, peak, warmup), after], [warmup]
    )


def decays(params: Any) -> Any:
    """Mask of the parameters that weight decay applies to: kernels, not biases or norm scales."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def make_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """The optimiser of the config: gradient clipping, then Adam, AdamW or SGD with momentum.

    For "adam", `weight_decay` is added to the gradient (L2 regularisation, as in PyTorch's Adam);
    for "adamw" it is decoupled (Loshchilov and Hutter, 2019).

    Raises:
      InputError: `optimizer.name` is unknown.
    """
    settings = config.optimizer
    l2 = optax.add_decayed_weights(settings.weight_decay, decays)
    if settings.name == "adam":
        update = [l2, optax.adam(schedule)]
    elif settings.name == "adamw":
        update = [optax.adamw(schedule, weight_decay=settings.weight_decay, mask=decays)]
    elif settings.name == "sgd":
        update = [l2, optax.sgd(schedule, momentum=settings.momentum, nesterov=True)]
    else:
        raise InputError(
            f"optimizer.name={settings.name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}."
        )
    clip = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm > 0 else []
    return optax.chain(*clip, *update)
