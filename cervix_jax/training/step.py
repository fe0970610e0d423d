"""The training state and the jitted step on it: pure functions, no loop and no files.

Values that differ between the folds and seeds of one experiment are arguments of the step, not
constants in it, and the functions that create steps cache their results. So all runs of an
experiment in one process share one compiled program.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from cervix_jax import distributed, rng, target
from cervix_jax.data.augment import make_augment, parse_settings
from cervix_jax.data.decode import views_of
from cervix_jax.data.normalization import normalize
from cervix_jax.data.pipeline import Batch
from cervix_jax.models.build import build_model
from cervix_jax.models.weights.port import assign
from cervix_jax.runs.inference import Variables, thinned
from cervix_jax.training import losses, optim
from cervix_jax.training.gradient import make_gradient
from cervix_jax.training.metrics import LoopMetrics, judged

State = dict[str, Any]
# The parts of a config that are compiled into a step.
COMPILED_FIELDS = ("model", "optimizer", "loss", "augment", "ema_decay", "accumulation_steps")


@dataclasses.dataclass(frozen=True)
class RunInputs:
    """Inputs of the training steps besides the batches.

    Attributes:
      seed: random seed of augmentation and dropout.
      learning_rates: float32 [steps], learning rate of each step.
      head_only_steps: number of initial steps that train the classifier head only.
      class_weights: float32 [C], weight of each class in the loss.
    """

    seed: int
    learning_rates: np.ndarray
    head_only_steps: int
    class_weights: np.ndarray

    def at(self, step: int) -> dict[str, np.ndarray | np.generic]:
        """Return the arguments of the step after `step` finished ones."""
        return {
            "seed": np.uint32(self.seed),
            "learning_rate": self.learning_rates[step],
            "head_only": np.bool_(step < self.head_only_steps),
            "class_weights": self.class_weights,
        }


TrainStep = Callable[[State, Batch, dict[str, np.ndarray | np.generic]], State]


def init_state(
    config: ml_collections.ConfigDict,
    num_classes: int,
    mesh: Mesh,
    start_from: Mapping[str, np.ndarray] | None = None,
) -> tuple[nnx.GraphDef, State]:
    """Return the static part of the model and the state, a nested dict of arrays on every device.

    The state holds "step", "params", "stats" (BatchNorm), "opt", "metrics" (sums of the epoch so
    far), "nonfinite" (number of skipped updates, see `make_train_step`), and "ema"
    {"params", "stats"} if configured.

    Args:
      config: the run's config.
      num_classes: length of the logits.
      mesh: the devices.
      start_from: parameters and statistics by path that replace the random ones, see
        `start.starting_values`.
    """
    graphdef, init = _make_init(_compiled_part(config), num_classes, mesh, target.platform())
    return graphdef, init(np.uint32(config.seed), dict(start_from or {}))


def abstract_state(
    config: ml_collections.ConfigDict, num_classes: int, mesh: Mesh
) -> tuple[nnx.GraphDef, State]:
    """As `init_state`, with shapes instead of arrays, for devices that this machine lacks."""
    graphdef, init = _make_init(_compiled_part(config), num_classes, mesh, target.platform())
    return graphdef, jax.eval_shape(init, np.uint32(0), {})


@functools.lru_cache(maxsize=4)
def _make_init(
    config: ml_collections.FrozenConfigDict, num_classes: int, mesh: Mesh, platform: str
):
    del platform  # the model's form depends on it, so each platform has its own programs
    optimizer = optim.make_optimizer(config)

    def build(seed) -> nnx.Module:
        return build_model(config, num_classes, seed)

    def init(seed: jax.Array, values: dict[str, jax.Array]) -> State:
        model = build(seed)
        assign(model, values)
        _, params, stats = nnx.split(model, nnx.Param, ...)
        params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)
        state = {
            "step": jnp.int32(0),
            "params": params,
            "stats": stats,
            "opt": optimizer.init(params),
            "metrics": LoopMetrics.empty(),
            "nonfinite": {name: jnp.int32(0) for name in ("total", "current", "longest")},
        }
        if config.ema_decay:
            state["ema"] = jax.tree.map(jnp.array, {"params": params, "stats": stats})
        return state

    graphdef = nnx.split(nnx.eval_shape(build, np.uint32(0)), nnx.Param, ...)[0]
    return graphdef, jax.jit(init, out_shardings=distributed.replicated(mesh))


def make_train_step(
    graphdef: nnx.GraphDef, config: ml_collections.ConfigDict, num_classes: int, mesh: Mesh
) -> TrainStep:
    """Return a jitted `step(state, batch, inputs) -> state`, which reuses the old state's memory.

    Randomness (augmentation, dropout) depends only on the seed and the step, so the same batches
    give the same run however often it is resumed. An update with a non-finite loss or gradient is
    skipped: parameters, statistics and metrics stay unchanged, and `state["nonfinite"]` counts it
    ("total", "current" run of such steps, "longest" run).

    Args:
      graphdef: from `init_state`.
      config: the run's config; reads the fields of `COMPILED_FIELDS`, and whether its images have a
        margin (`AugmentSettings.margin`).
      num_classes: length of the logits.
      mesh: the devices.
    """
    settings = parse_settings(config.augment.to_dict())
    margin = settings.margin(config.image_size, config.data.resize)
    return _make_train_step(
        graphdef, _compiled_part(config), num_classes, mesh, margin, target.platform()
    )


@functools.lru_cache(maxsize=4)
def _make_train_step(
    graphdef,
    config: ml_collections.FrozenConfigDict,
    num_classes: int,
    mesh: Mesh,
    margin: int,
    platform: str,
) -> TrainStep:
    del platform  # as in `_make_init`
    views = len(views_of(config.data.resize))
    augment = make_augment(config.augment.to_dict(), margin, views)
    optimizer = optim.make_optimizer(config)

    def loss_fn(params, stats, images, targets, dropout, class_weights):
        model = nnx.merge(graphdef, params, stats)
        model.train()
        logits, _ = model(images, rngs=nnx.Rngs(dropout=dropout))
        loss = losses.cross_entropy(
            logits,
            thinned(targets, logits),
            class_weights,
            label_smoothing=config.loss.label_smoothing,
        ).mean()
        return loss, (nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))), logits)

    gradient = make_gradient(
        jax.value_and_grad(loss_fn, has_aux=True),
        config.accumulation_steps,
        config.model.norm_groups,
        mesh,
    )

    def step(state: State, batch: Batch, inputs: dict[str, jax.Array]) -> State:
        number, seed = state["step"], inputs["seed"]
        # The scopes label the parts of a step in profiles and in `cervix_jax.compile`.
        with jax.named_scope("augmentation"):
            images, targets = augment(
                rng.stream(seed, "augment", number), batch["image"], batch["label"], num_classes
            )
            images = normalize(images, config.model.normalization)
        dropout = rng.stream(seed, "dropout", number)
        loss, stats, logits, grads = gradient(
            state["params"], state["stats"], images, targets, dropout, inputs["class_weights"]
        )
        with jax.named_scope("optimiser"):
            updates, opt = optimizer.update(
                grads,
                state["opt"],
                state["params"],
                learning_rate=inputs["learning_rate"],
                head_only=inputs["head_only"],
            )
            params = optax.apply_updates(state["params"], updates)
        labels = batch["label"] if logits.ndim == 2 else judged(thinned(targets, logits), logits)
        now = LoopMetrics.single_from_model_output(loss=loss, logits=logits, labels=labels)
        new = {"params": params, "stats": stats, "opt": opt, "metrics": state["metrics"].merge(now)}
        if config.ema_decay:
            # A shorter memory early on, so that the random initial weights do not persist.
            share = 1 - jnp.minimum(config.ema_decay, (1.0 + number) / (10.0 + number))
            moved = {"params": params, "stats": stats}
            with jax.named_scope("optimiser"):
                new["ema"] = optax.incremental_update(moved, state["ema"], share)
        with jax.named_scope("optimiser"):
            # `Loop` checks that the new parameters are finite when it saves them: to read all of
            # them in every step takes a third of the optimiser's time on a TPU.
            finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads))
            old = {name: state[name] for name in new}
            new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, old)
        counts = _count_nonfinite(state["nonfinite"], finite)
        return new | {"step": number + 1, "nonfinite": counts}

    everywhere, split = distributed.replicated(mesh), distributed.batch_sharded(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, split, everywhere),
        out_shardings=everywhere,
    )


def _count_nonfinite(counts: dict[str, jax.Array], finite: jax.Array) -> dict[str, jax.Array]:
    current = jnp.where(finite, 0, counts["current"] + 1)
    return {
        "total": counts["total"] + ~finite,
        "current": current,
        "longest": jnp.maximum(counts["longest"], current),
    }


def _compiled_part(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Return the config fields compiled into a step; hashable, so equal ones share a step."""
    fields = config.to_dict()
    compiled = {name: fields[name] for name in COMPILED_FIELDS}
    # Number of squares in an image.
    compiled["data"] = {"resize": fields["data"]["resize"]}
    return ml_collections.FrozenConfigDict(compiled)


def inference_variables(state: State) -> Variables:
    """Return the weights for prediction: the moving average if there is one."""
    return state.get("ema") or {"params": state["params"], "stats": state["stats"]}
