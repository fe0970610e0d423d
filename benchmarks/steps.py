"""The steps that throughput.py times: one of this package and one of PyTorch, on the same job.

A job is a dict of model, task ("train" or "infer"), batch_size, size, precision and torch_compile.
Each function returns `run`, which starts a step, `wait`, which waits for all started steps, and a
description of the step.
"""

import time

import numpy as np
from sides import jax_memory, machine, torch_device, torch_memory, torch_weights


def images_of(job: dict) -> np.ndarray:
    """A batch, the same in every process."""
    shape = (job["batch_size"], job["size"], job["size"], 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def jax_job(job: dict):
    """The step of this package, its wait function, and its description."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    from cervix_jax import models

    device = jax.devices()[0]
    automatic = "float32" if device.platform == "cpu" else "bfloat16"
    dtype = jnp.dtype(automatic if job["precision"] == "auto" else job["precision"])
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

    infer_step = jax.jit(infer, static_argnums=0)
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
    held = {"state": {"params": params, "stats": stats, "opt": optimizer.init(params)}}
    with jax.default_matmul_precision("float32"):
        logits = quickly_compiled(infer_step.lower(exact, params, stats, images[:2]), device)(
            params, stats, images[:2]
        )

    def run():
        if job["task"] == "train":
            held["state"] = train_step(held["state"], x, labels)
            held["last"] = held["state"]
        else:
            held["last"] = infer_step(graphdef, params, stats, x)

    def wait():
        jax.block_until_ready(held["last"])

    return run, wait, {
        "device": device.platform,
        "device_name": machine(device),
        "version": f"jax {jax.__version__} {dtype.name}",
        "logits": np.asarray(logits, np.float64).tolist(),
        "flops": operations(infer_step.lower(graphdef, params, stats, x), device),
        "program": lambda: train_step.lower(held["state"], x, labels).compile().as_text(),
        "matrix_flops_per_s": lambda: matrix_rate(dtype),
        "memory": lambda: jax_memory(device),
    }  # fmt: skip


def operations(lowered, device) -> float:
    """Floating-point operations of a program; on a GPU JAX reports them after compilation only."""
    cost = lowered.cost_analysis() or quickly_compiled(lowered, device).cost_analysis() or {}
    return float(cost.get("flops", float("nan")))


def quickly_compiled(lowered, device):
    """Compile a program that runs only once: on a GPU without searching the fastest algorithms."""
    import jax

    if device.platform == "gpu":
        try:
            return lowered.compile(compiler_options={"xla_gpu_autotune_level": 0})
        except jax.errors.JaxRuntimeError as error:  # not every version supports these options
            print(error)
    return lowered.compile()


def matrix_rate(dtype, repeats: int = 5, chained: int = 5) -> float:
    """Operations per second of a large matrix product in JAX on this device, best of several.

    The numbers are random, because a GPU multiplies ones faster (they need less power).
    """
    import jax
    import jax.numpy as jnp

    side = 8192 if jax.default_backend() != "cpu" else 2048
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(a, b).block_until_ready()
    best = 0.0
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(chained):
            product = multiply(a, b)
        product.block_until_ready()
        best = max(best, chained * 2 * side**3 / (time.perf_counter() - began))
    return best


def torch_job(job: dict):
    """PyTorch's step, its wait function, and its description."""
    import torch

    device = torch_device()
    accelerated = device.type == "cuda"
    automatic = "bfloat16" if accelerated else "float32"
    precision = automatic if job["precision"] == "auto" else job["precision"]
    backend = job["torch_compile"]
    if backend == "auto":
        backend = "inductor" if accelerated else "none"
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
    called = model if backend == "none" else torch.compile(model, backend=backend)

    def run():
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            if job["task"] == "train":
                loss = torch.nn.functional.cross_entropy(called(images), labels)
            else:
                with torch.inference_mode():
                    called(images)
        if job["task"] == "train":
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def wait():
        if accelerated:
            torch.cuda.synchronize()

    kind = "autocast bfloat16" if precision == "bfloat16" else "float32"
    compiled = "" if backend == "none" else f", torch.compile {backend}"
    name = torch.cuda.get_device_name() if accelerated else "cpu"
    return run, wait, {
        "device": device.type,
        "device_name": name,
        "version": f"torch {torch.__version__} channels_last, {kind}{compiled}",
        "logits": logits.astype(np.float64).tolist(),
        "memory": lambda: torch_memory(device),
    }  # fmt: skip
