r"""Several runs in one vectorised program (`jax.vmap`) compared with one after the other.

  python benchmarks/vectorised_members.py --config=configs/efficientnet_lite0.py --members=4

A turn is one training step of every member. Both ways start from the same states and use the same
batches; their parameters are compared before time is measured.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_flags

from cervix_jax import distributed
from cervix_jax.command.run import run_command
from cervix_jax.training import losses, optim
from cervix_jax.training.step import RunInputs, init_state, make_train_step

CLASSES = 5


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    config, mesh = args.config, distributed.make_mesh()
    shape = (args.members, config.batch_size, config.image_size, config.image_size, 3)
    draw = np.random.default_rng(0)
    batches = {
        "image": draw.integers(0, 256, shape, dtype=np.uint8),
        "label": draw.integers(0, CLASSES, shape[:2], dtype=np.int32),
    }
    schedule = optim.make_schedule(config, 100, 10**4)
    rates = optim.learning_rates(schedule, 10**4)
    weights = losses.class_weights("none", np.zeros(1, int), CLASSES)
    states, inputs = [], []
    for seed in range(args.members):
        with config.unlocked():
            config.seed = seed
        graphdef, state = init_state(config, CLASSES, mesh)
        states.append(state)
        inputs.append(
            RunInputs(seed=seed, learning_rates=rates, head_only_steps=0, class_weights=weights)
        )
    step = make_train_step(graphdef, config, CLASSES, mesh)
    vectorised = jax.jit(jax.vmap(step), donate_argnums=0)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    held = {"vectorised": stacked, "in turn": states}

    def inputs_at(number: int) -> list[dict]:
        return [own.at(number) for own in inputs]

    def all_at_once(number: int) -> None:
        own = jax.tree.map(lambda *leaves: np.stack(leaves), *inputs_at(number))
        held["vectorised"] = jax.block_until_ready(vectorised(held["vectorised"], batches, own))

    def in_turn(number: int) -> None:
        for i, own in enumerate(inputs_at(number)):
            batch = jax.tree.map(lambda x, i=i: x[i], batches)
            held["in turn"][i] = step(held["in turn"][i], batch, own)
        jax.block_until_ready(held["in turn"])

    ways = {"in turn": in_turn, "vectorised": all_at_once}
    for way in ways.values():
        way(0)
    for i, state in enumerate(held["in turn"]):
        for a, b in zip(
            jax.tree.leaves(state["params"]),
            jax.tree.leaves(held["vectorised"]["params"]),
            strict=True,
        ):
            np.testing.assert_allclose(a, b[i], rtol=0.02, atol=2e-3)
    times = {name: [] for name in ways}
    for number in range(1, args.rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way(number)
            times[name].append(time.perf_counter() - began)
    ratios = np.array(times["vectorised"]) / np.array(times["in turn"])
    for name, values in times.items():
        ms = 1e3 * np.array(values)
        print(f"| {name} | {np.median(ms):.0f} ms ({ms.min():.0f} to {ms.max():.0f}) |")
    print(
        f"vectorised over in turn: {np.median(ratios):.2f} ({ratios.min():.2f} to "
        f"{ratios.max():.2f}); {config.model.name}, {args.members} members, batch "
        f"{config.batch_size}, {config.image_size} px, {jax.devices()}, jax {jax.__version__}"
    )


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "A config file.", lock_config=True)
    flags.DEFINE_integer("members", 4, "Runs at once.", lower_bound=2)
    flags.DEFINE_integer("rounds", 9, "Number of turns of each way.")
    flags.mark_flag_as_required("config")
    run_command(main)
