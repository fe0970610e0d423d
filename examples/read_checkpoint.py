"""Read the weights of a run, once with cervix_jax and once with Orbax and NumPy only.

python examples/read_checkpoint.py runs/rcan
"""

import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp


def with_orbax(workdir: str, step: int) -> dict:
    """The state of a checkpoint as a nested dict of NumPy arrays; does not need cervix_jax."""
    state = Path(workdir).resolve() / "checkpoints" / str(step) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(state).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(state, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def main(workdir: str) -> None:
    """Print the contents of a run and check that both ways read the same weights."""
    from cervix_jax import load_run  # imported here, so that with_orbax can be copied alone

    run = load_run(workdir, step="best")
    print(f"{run.config.model.name}, step {run.step}, classes {', '.join(run.class_names)}")
    state = with_orbax(workdir, run.step)
    # The moving average of the weights is evaluated; a run with ema_decay=0 has none.
    evaluated = state.get("ema") or {name: state[name] for name in ("params", "stats")}
    for path, array in jax.tree.leaves_with_path(evaluated["params"]):
        print(jax.tree_util.keystr(path, simple=True, separator="/"), array.dtype, array.shape)
    count = sum(array.size for array in jax.tree.leaves(evaluated["params"]))
    jax.tree.map(np.testing.assert_array_equal, evaluated["params"], run.variables["params"])
    print(f"{count} parameters, identical in both ways of reading")

    size = run.config.image_size
    grey = np.full((1, size, size, 3), 128, np.uint8)
    print(
        "logits of a grey square:",
        dict(zip(run.class_names, run.logits(grey)[0].round(3), strict=True)),
    )
    _, out = run.model(run.preprocess(grey))
    print("features:", {name: tuple(value.shape) for name, value in out.items()})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
