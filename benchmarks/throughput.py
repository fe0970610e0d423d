r"""Images per second of this package beside PyTorch: same networks, same weights, same batches.

  python benchmarks/throughput.py --models=densenet121,resnet50 --batch_sizes=16

PyTorch must be installed (`pip install torch`). Each side runs in a process of its own; the two
take turns, a few steps each after one that is not timed, so that a machine that slows down slows
both. Before any time is taken, both must give the same logits for the same weights. On an NVIDIA
card both compute in bfloat16 (PyTorch by autocast, channels_last and torch.compile); on the CPU in
float32 (channels_last). A training step is forward, backward and AdamW. PyTorch runs with and
without huge pages of memory on the CPU, and the faster counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Or JAX would take most of the card's memory before PyTorch comes.
ON_DEMAND = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
TOLERANCE = 1e-3


def main() -> None:
    """Compare, or serve as one side of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="densenet121,resnet50")
    parser.add_argument("--batch_sizes", default="16")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--tasks", default="train,infer")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn")
    parser.add_argument("--out", default="", help="a JSON file for the numbers")
    parser.add_argument("--side", choices=["jax", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(args)
        return
    rows = []
    for model in args.models.split(","):
        for task in args.tasks.split(","):
            for batch_size in map(int, args.batch_sizes.split(",")):
                rows.append(compare(args, model, task, batch_size))
                print(line(rows[-1]), flush=True)
    print("\n" + table(rows))
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


class Side:
    """The other end of a worker process.

    Args:
      side: "jax" or "torch".
      job: model, task, batch size and image size.
      environment: variables beside the present ones.
    """

    def __init__(self, side: str, job: dict, environment: dict[str, str]):
        command = [sys.executable, str(Path(__file__).resolve()), f"--side={side}"]
        self._process = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.times: list[float] = []
        self.about = self._ask(job)

    def take_turn(self, steps: int) -> None:
        """Run some steps and keep their times."""
        self.times += self._ask({"steps": steps})["times"]

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()

    def _ask(self, message: dict) -> dict:
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        for answer in self._process.stdout:
            if answer.startswith("{"):
                return json.loads(answer)
        raise SystemExit("a side of the comparison ended early; its error is above")


def compare(args: argparse.Namespace, model: str, task: str, batch_size: int) -> dict:
    """One row: both sides on the same job, in turns."""
    job = {"model": model, "task": task, "batch_size": batch_size, "size": args.image_size}
    sides = {"jax": Side("jax", job, HUGE_PAGES | ON_DEMAND), "torch": Side("torch", job, {})}
    if sides["jax"].about["device"] == "cpu":
        sides["torch, huge pages"] = Side("torch", job, HUGE_PAGES)
    ours, theirs = (np.array(sides[name].about["logits"]) for name in ("jax", "torch"))
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not error < TOLERANCE:
        raise SystemExit(f"{model}: the logits differ by {error:.2g} of the largest")
    for _ in range(args.rounds):
        for side in sides.values():
            side.take_turn(args.steps)
    row = job | {"logit_error": error, "device": sides["jax"].about["device_name"]}
    for name, side in sides.items():
        side.close()
        rates = batch_size / np.array(side.times)
        row[name] = {key: side.about[key] for key in ("version", "compile_s", "memory_gib")}
        row[name] |= {
            "images_per_s": statistics.median(rates),
            "lowest": rates.min(),
            "highest": rates.max(),
            "step_ms": 1e3 * statistics.median(side.times),
        }
    fastest = max((name for name in sides if name != "jax"),
                  key=lambda name: row[name]["images_per_s"])  # fmt: skip
    # Turn by turn, so that a slow minute of the machine does not decide.
    turns = [np.array(sides[n].times).reshape(args.rounds, -1).mean(1) for n in (fastest, "jax")]
    ratios = turns[0] / turns[1]
    flops = sides["jax"].about["flops"] * (3 if task == "train" else 1)
    row |= {
        "fastest_torch": fastest,
        "ratio": statistics.median(ratios),
        "ratios": [float(ratios.min()), float(ratios.max())],
        "share_of_matrix_rate": flops / (row["jax"]["step_ms"] / 1e3)
        / sides["jax"].about["matrix_flops_per_s"],
    }  # fmt: skip
    return row


def line(row: dict) -> str:
    """One row in words."""
    ours, theirs = row["jax"], row[row["fastest_torch"]]
    return (
        f"{row['model']:12s} {row['task']:5s} batch {row['batch_size']:3d}: "
        f"{ours['images_per_s']:7.2f} images/s here, {theirs['images_per_s']:7.2f} in PyTorch "
        f"({row['fastest_torch']}), ratio {row['ratio']:.2f} "
        f"({row['ratios'][0]:.2f} to {row['ratios'][1]:.2f})"
    )


def table(rows: list[dict]) -> str:
    """All rows in Markdown."""
    lines = [
        "| network | task | batch | here, images/s | PyTorch, images/s | ratio by turn "
        "| step, ms | compile, s | memory, GiB | share of matrix rate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row["jax"], row[row["fastest_torch"]]
        cells = [
            row["model"], row["task"], row["batch_size"],
            *(f"{s['images_per_s']:.2f} ({s['lowest']:.2f} to {s['highest']:.2f})"
              for s in (ours, theirs)),
            f"{row['ratio']:.2f} ({row['ratios'][0]:.2f} to {row['ratios'][1]:.2f})",
            f"{ours['step_ms']:.0f} / {theirs['step_ms']:.0f}",
            f"{ours['compile_s']:.0f} / {theirs['compile_s']:.0f}",
            f"{ours['memory_gib']:.2f} / {theirs['memory_gib']:.2f}",
            f"{row['share_of_matrix_rate']:.0%}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines.append(f"\n{rows[0]['device']}; {rows[0]['jax']['version']}; "
                 f"{rows[0]['torch']['version']}")  # fmt: skip
    return "\n".join(lines)


def serve(args: argparse.Namespace) -> None:
    """A worker: read a job, answer what it is like, then run steps as asked."""
    job = json.loads(sys.stdin.readline())
    run, about = (jax_job if args.side == "jax" else torch_job)(job)
    began = time.perf_counter()
    run()
    about["compile_s"] = time.perf_counter() - began
    run()
    about["memory_gib"] = about.pop("memory")()
    about.pop("program", None)
    print(json.dumps(about), flush=True)
    for message in sys.stdin:
        times = []
        run()  # after the wait for its turn a process first has to get its memory back
        for _ in range(json.loads(message)["steps"]):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        print(json.dumps({"times": times}), flush=True)


def torch_weights(name: str):
    """The torch twin of a network and its random weights; the same in every process."""
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    import torch_twins

    return torch_twins.make(name, 5)


def images_of(job: dict) -> np.ndarray:
    """A batch, the same in every process."""
    shape = (job["batch_size"], job["size"], job["size"], 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def jax_job(job: dict):
    """The step of this package, and what it is like."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    from cervix_jax import models

    device = jax.devices()[0]
    accelerated = device.platform != "cpu"
    dtype = jnp.bfloat16 if accelerated else jnp.float32
    weights = {k: v.numpy() for k, v in torch_weights(job["model"]).state_dict().items()}

    def build(dtype):
        model = models.create(
            job["model"], num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0, dtype=dtype
        )
        models.port.load_torch_state_dict(model, weights)
        graphdef, params, stats = nnx.split(model, nnx.Param, ...)
        return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    exact, params, stats = build(jnp.float32)
    graphdef = build(dtype)[0]
    images = images_of(job)

    def infer(graphdef, params, stats, images):
        model = nnx.merge(graphdef, params, stats)
        model.eval()
        return model(images)[0]

    with jax.default_matmul_precision("float32"):
        logits = jax.jit(infer, static_argnums=0)(exact, params, stats, images[:2])
    lowered = jax.jit(infer, static_argnums=0).lower(graphdef, params, stats, images)
    optimizer = optax.adamw(1e-3)
    x, labels = jnp.asarray(images), jnp.zeros(len(images), jnp.int32)

    def train(state, images, labels):
        def loss_fn(params):
            model = nnx.merge(graphdef, params, state["stats"])
            model.train()
            losses = optax.softmax_cross_entropy_with_integer_labels(model(images)[0], labels)
            return losses.mean(), nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

        (_, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
        updates, opt = optimizer.update(grads, state["opt"], state["params"])
        return {
            "params": optax.apply_updates(state["params"], updates),
            "stats": stats,
            "opt": opt,
        }

    train_step = jax.jit(train, donate_argnums=0)
    infer_step = jax.jit(infer, static_argnums=0)
    held = {"state": {"params": params, "stats": stats, "opt": optimizer.init(params)}}

    def run():
        if job["task"] == "train":
            held["state"] = train_step(held["state"], x, labels)
            jax.block_until_ready(held["state"])
        else:
            infer_step(graphdef, params, stats, x).block_until_ready()

    def memory():
        if accelerated:
            return device.memory_stats()["peak_bytes_in_use"] / 2**30
        return peak_memory()

    return run, {
        "device": device.platform,
        "device_name": device.device_kind if accelerated else f"{os.cpu_count()} CPU cores",
        "version": f"jax {jax.__version__} {jnp.dtype(dtype).name}",
        "logits": np.asarray(logits, np.float64).tolist(),
        "flops": lowered.cost_analysis()["flops"],
        "program": lambda: train_step.lower(held["state"], x, labels).compile().as_text(),
        "matrix_flops_per_s": matrix_rate(dtype),
        "memory": memory,
    }


def matrix_rate(dtype, repeats: int = 5) -> float:
    """Operations per second of a large matrix product in JAX on this device, the best of some."""
    import jax
    import jax.numpy as jnp

    side = 8192 if jax.default_backend() != "cpu" else 2048
    a = jnp.ones((side, side), dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(a, a).block_until_ready()
    best = 0.0
    for _ in range(repeats):
        began = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return best


def torch_job(job: dict):
    """PyTorch's step, and what it is like."""
    import torch

    accelerated = torch.cuda.is_available()
    device = torch.device("cuda" if accelerated else "cpu")
    model = torch_weights(job["model"]).to(device).to(memory_format=torch.channels_last)
    images = torch.from_numpy(images_of(job).transpose(0, 3, 1, 2).copy()).to(device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.zeros(len(images), dtype=torch.long, device=device)
    torch.backends.cudnn.allow_tf32 = False  # while the logits are compared
    with torch.inference_mode():
        logits = model.eval()(images[:2]).float().cpu().numpy()
    torch.backends.cudnn.allow_tf32 = True
    model.train(job["task"] == "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=accelerated)
    called = torch.compile(model) if accelerated else model

    def run():
        with torch.autocast("cuda", torch.bfloat16, enabled=accelerated):
            if job["task"] == "train":
                loss = torch.nn.functional.cross_entropy(called(images), labels)
            else:
                with torch.inference_mode():
                    called(images)
        if job["task"] == "train":
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if accelerated:
            torch.cuda.synchronize()

    def memory():
        return torch.cuda.max_memory_allocated() / 2**30 if accelerated else peak_memory()

    precision = "autocast bfloat16, compiled" if accelerated else "float32"
    return run, {
        "device": device.type,
        "version": f"torch {torch.__version__} channels_last, {precision}",
        "logits": logits.astype(np.float64).tolist(),
        "memory": memory,
    }


def peak_memory() -> float:
    """The most memory that this process has had, in GiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
