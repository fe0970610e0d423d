r"""Time of the input pipeline in a training step: real batches compared with one repeated batch.

  python benchmarks/input_pipeline.py --config=configs/efficientnet_lite0.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD

The script alternates turns of a few steps on batches as training draws them
(`data.placement=device`, then `host`) and on one batch that stays on the device. It then measures
the time of a checkpoint: until `save` returns, and until it is on disk.

With --decoding no network runs. The script measures images per second of processor time on one
core, and the rate of streaming with threads (0) and with one and two worker processes.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from cervix_jax import distributed
from cervix_jax.command.run import run_command
from cervix_jax.data.decode import resize_square
from cervix_jax.data.experiment import open_data
from cervix_jax.data.pipeline import Pipeline, steps_per_epoch
from cervix_jax.files import images
from cervix_jax.runs.checkpoint import Checkpoints
from cervix_jax.training import losses, optim
from cervix_jax.training.step import RunInputs, init_state, make_train_step


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    config, mesh = args.config, distributed.make_mesh()
    if args.decoding:
        print(decoding_rates(open_data(config, mesh).dataset, config, args.rounds))
        return
    streams = {}
    for placement in ("device", "host"):
        with config.unlocked():
            config.data.placement = placement
        data = open_data(config, mesh)
        indices = data.indices("train")
        streams[placement] = data.pipeline.train_batches(indices, config.batch_size, seed=0)
    streams["one batch"] = itertools.repeat(next(streams["device"]))
    names = data.dataset.class_names
    epoch_steps = steps_per_epoch(len(indices), config.batch_size)
    schedule = optim.make_schedule(config, epoch_steps, 10**4)
    inputs = RunInputs(
        seed=0,
        learning_rates=optim.learning_rates(schedule, 10**4),
        head_only_steps=0,
        class_weights=losses.class_weights("none", np.zeros(1, int), len(names)),
    )
    graphdef, state = init_state(config, len(names), mesh)
    step = make_train_step(graphdef, config, len(names), mesh)
    number = 0

    def turn(batches, steps: int) -> float:
        nonlocal state, number
        began = time.perf_counter()
        for _ in range(steps):
            state = step(state, next(batches), inputs.at(number))
            number += 1
        jax.block_until_ready(state)
        return (time.perf_counter() - began) / steps

    for batches in streams.values():
        turn(batches, 2)
    times = {name: [] for name in streams}
    for _ in range(args.rounds):
        for name, batches in streams.items():
            times[name].append(turn(batches, args.steps))
    constant = np.array(times["one batch"])
    print("| batches | step, ms (median, lowest to highest) | over one batch, by turn |")
    print("|---|---|---|")
    for name, values in times.items():
        ms, ratios = 1e3 * np.array(values), np.array(values) / constant
        print(
            f"| {name} | {np.median(ms):.1f} ({ms.min():.1f} to {ms.max():.1f}) "
            f"| {np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f}) |"
        )
    print(checkpoint_cost(state, args.rounds))
    print(f"{jax.devices()}, jax {jax.__version__}, batch {config.batch_size}, "
          f"{config.image_size} px")  # fmt: skip


def decoding_rates(dataset, config, rounds: int, count: int = 512) -> str:
    """Images per second of each part on one core, and of streams with 0, 1 and 2 workers."""
    size, mode = config.image_size, config.data.resize
    numbers = np.random.default_rng(0).permutation(len(dataset))[:count]
    rates = {name: [] for name in ("read", "decode", "resize", "whole")}
    for _ in range(rounds):
        marks = [time.thread_time()]
        encoded = [dataset.source[int(index)]["image"] for index in numbers]
        marks.append(time.thread_time())
        decoded = [images.rgb(images.decode(data, "image")) for data in encoded]
        marks.append(time.thread_time())
        for picture in decoded:
            resize_square(picture, size, mode)
        marks.append(time.thread_time())
        spans = [*np.diff(marks), marks[-1] - marks[0]]
        for name, seconds in zip(rates, spans, strict=True):
            rates[name].append(len(numbers) / seconds)
    for workers in (0, 1, 2):
        pipeline = Pipeline(
            dataset, image_size=size, resize=mode, placement="host", workers=workers, progress=False
        )
        batches = pipeline.train_batches(np.arange(len(dataset)), config.batch_size, seed=0)
        next(batches)
        turns, steps = rates.setdefault(f"streamed, {workers} workers", []), 20
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(steps):
                next(batches)
            turns.append(steps * config.batch_size / (time.perf_counter() - began))
        del batches  # ends its workers
    rows = [
        f"| {name} | {np.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f}) |"
        for name, found in rates.items()
    ]
    head = ["| part | images/s (median, lowest to highest) |", "|---|---|"]
    return "\n".join([*head, *rows, f"{dataset.name}, {size} px, resize {mode}"])


def checkpoint_cost(state, rounds: int) -> str:
    """Time that saving a checkpoint stops the loop, and its total time."""
    returned, finished = [], []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        items = {"config": {}, "dataset": {}, "history": []}
        for number in range(rounds):
            began = time.perf_counter()
            checkpoints.save(number, state, items, {"accuracy": 0.5})
            returned.append(time.perf_counter() - began)
            checkpoints.wait()
            finished.append(time.perf_counter() - began)
        checkpoints.close()
    return (
        f"checkpoint: back in the loop after {1e3 * statistics.median(returned):.0f} ms, "
        f"on disk after {1e3 * statistics.median(finished):.0f} ms"
    )


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "A config file.", lock_config=True)
    flags.DEFINE_integer("rounds", 7, "Number of turns for each kind of batch.")
    flags.DEFINE_integer("steps", 5, "Steps a turn.")
    flags.DEFINE_bool("decoding", False, "Measure reading, decoding and resizing only.")
    flags.mark_flag_as_required("config")
    run_command(main)
