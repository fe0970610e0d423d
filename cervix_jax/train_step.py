"""The training state and the jitted step on it: pure functions, no loop and no files."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from cervix_jax import distributed, losses, rng
from cervix_jax.data.augment import make_augment
from cervix_jax.data.normalization import normalize
from cervix_jax.inference import Variables
from cervix_jax.metrics import LoopMetrics
from cervix_jax.models.port import assign
from cervix_jax.run import build_model

State = dict[str, Any]


def init_state(
    config: ml_collections.ConfigDict,
    num_classes: int,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    start_from: Mapping[str, np.ndarray] | None = None,
) -> tuple[nnx.GraphDef, State]:
    """Static part of the model, and the training state: a nested dict of arrays on every device.

    The state holds "step", "params", "stats" (BatchNorm), "opt", "metrics" (sums of the epoch so
    far), and "ema" {"params", "stats"} where the config asks for it.

    Args:
      config: the run's config.
      num_classes: length of the logits.
      optimizer: what `optim.make_optimizer` made.
      mesh: the devices.
      start_from: parameters and statistics by path that take the place of those drawn, see
        `init_from.starting_values`.
    """

    def build() -> nnx.Module:
        return build_model(config, num_classes)

    def init(values: dict[str, jax.Array]) -> State:
        model = build()
        assign(model, values)
        _, params, stats = nnx.split(model, nnx.Param, ...)
        params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)
        state = {
            "step": jnp.int32(0),
            "params": params,
            "stats": stats,
            "opt": optimizer.init(params),
            "metrics": LoopMetrics.empty(),
        }
        if config.ema_decay:
            copy = jax.tree.map(jnp.array, {"params": params, "stats": stats})
            state["ema"] = copy
        return state

    graphdef = nnx.split(nnx.eval_shape(build), nnx.Param, ...)[0]
    everywhere = distributed.replicated(mesh)
    return graphdef, jax.jit(init, out_shardings=everywhere)(dict(start_from or {}))


def make_train_step(
    graphdef: nnx.GraphDef,
    config: ml_collections.ConfigDict,
    optimizer: optax.GradientTransformation,
    class_weights: np.ndarray,
    mesh: Mesh,
) -> Callable[[State, dict[str, jax.Array]], State]:
    """A jitted `step(state, batch) -> state`; the old state's memory is given to the new one.

    Randomness (augmentation, dropout) depends only on the seed and the step, so the same batches
    give the same run however often it is resumed.
    """
    augment = make_augment(config.augment.to_dict())
    num_classes = len(class_weights)
    decay = config.ema_decay

    def step(state: State, batch: dict[str, jax.Array]) -> State:
        number = state["step"]
        images, targets = augment(
            rng.stream(config.seed, "augment", number), batch["image"], batch["label"], num_classes
        )
        images = normalize(images, config.model.normalization)
        dropout = rng.stream(config.seed, "dropout", number)

        def loss_fn(params):
            model = nnx.merge(graphdef, params, state["stats"])
            model.train()
            logits, _ = model(images, rngs=nnx.Rngs(dropout=dropout))
            loss = losses.cross_entropy(
                logits, targets, class_weights, label_smoothing=config.loss.label_smoothing
            ).mean()
            return loss, (nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))), logits)

        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (stats, logits)), grads = gradient(state["params"])
        updates, opt = optimizer.update(grads, state["opt"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        now = LoopMetrics.single_from_model_output(loss=loss, logits=logits, labels=batch["label"])
        new = {
            "step": number + 1,
            "params": params,
            "stats": stats,
            "opt": opt,
            "metrics": state["metrics"].merge(now),
        }
        if decay:
            # Early on a shorter memory, or the first random weights would linger.
            share = 1 - jnp.minimum(decay, (1.0 + number) / (10.0 + number))
            moved = {"params": params, "stats": stats}
            new["ema"] = optax.incremental_update(moved, state["ema"], share)
        return new

    everywhere, split = distributed.replicated(mesh), distributed.batch_sharded(mesh)
    return jax.jit(
        step, donate_argnums=0, in_shardings=(everywhere, split), out_shardings=everywhere
    )


def inference_variables(state: State) -> Variables:
    """The weights to predict with: the moving average where there is one."""
    return state.get("ema") or {"params": state["params"], "stats": state["stats"]}
