"""Optax transformations from the config; of the model they know the paths of its parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from cervix_jax.errors import InputError
from cervix_jax.models.stages import HEAD, stage_of

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


def stages(params: Any) -> Any:
    """The stage of each parameter, see `models.stages.stage_of`."""
    return jax.tree.map_with_path(lambda path, _: stage_of([entry.key for entry in path]), params)


def freeze_below_head(num_steps: int) -> optax.GradientTransformation:
    """No update of anything but the head in the first `num_steps` steps.

    The gradients still reach Adam's moments, so the rest does not start with a jump; batch
    statistics still follow the data, which adapts pretrained ones to its colours.
    """

    def share(step):
        return jnp.where(step < num_steps, 0.0, 1.0)

    def body(params: Any) -> Any:
        return jax.tree.map(lambda stage: stage < HEAD, stages(params))

    return optax.masked(optax.scale_by_schedule(share), body)


def decay_by_stage(decay: float) -> optax.GradientTransformation:
    """Updates times decay ** (5 - stage): the head at the full rate, the stem at decay ** 5.

    Source: layer-wise learning rate decay of Clark et al., ELECTRA, ICLR 2020, by stages.
    """
    # Labels are text, because checkpoints keep no other keys.
    by_stage = {str(stage): optax.scale(decay ** (HEAD - stage)) for stage in range(HEAD + 1)}
    return optax.partition(by_stage, lambda params: jax.tree.map(str, stages(params)))


def make_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule, steps_per_epoch: int = 1
) -> optax.GradientTransformation:
    """The optimiser of the config: gradient clipping, then Adam, AdamW or SGD with momentum.

    For "adam", `weight_decay` is added to the gradient (L2 regularisation, as in PyTorch's Adam);
    for "adamw" it is decoupled (Loshchilov and Hutter, 2019). Last come `optimizer.layer_decay`
    and `optimizer.freeze_epochs`, see `decay_by_stage` and `freeze_below_head`.

    Args:
      config: the run's config; reads `optimizer`.
      schedule: learning rate by step.
      steps_per_epoch: steps in an epoch, for `optimizer.freeze_epochs`.

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
    transfer = []
    if settings.layer_decay != 1:
        transfer.append(decay_by_stage(settings.layer_decay))
    if settings.freeze_epochs > 0:
        transfer.append(freeze_below_head(round(settings.freeze_epochs * steps_per_epoch)))
    return optax.chain(*clip, *update, *transfer)
