r"""Effect of adapted batch statistics on small groups of mixed classes and of one class each.

  python benchmarks/adaptation_groups.py --workdir=runs/block/seed0/fold4 \
      --manual_dir=/path/to/SIPaKMeD --data_dir=DATA

The script draws test cells of the run at random, equally many of each class. It forms groups of
`--group` cells twice: once at random and once class by class. The network computes its batch
statistics from each group (`cervix_jax.runs.adaptation`). The script prints the number of correct
predictions, and for comparison that of the network with its trained statistics. A field of SIPaKMeD
is a group of one class.
"""

import argparse

import numpy as np
from sides import in_one_line
from tqdm import tqdm

from cervix_jax.errors import InputError
from cervix_jax.runs.adaptation import adapted
from cervix_jax.runs.run import Run, load_run
from cervix_jax.statistics.intervals import wilson_interval


def drawn(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of `per_class` examples of each class, class by class, int [C * per_class].

    Raises:
      InputError: a class has fewer examples.
    """
    random, found = np.random.default_rng(seed), []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if len(own) < per_class:
            raise InputError(f"--per_class={per_class}: a class has only {len(own)}; give less.")
        found.append(random.choice(own, per_class, replace=False))
    return np.concatenate(found)


def called_right(
    run: Run, squares: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int
) -> int:
    """Number of correct predictions if each `size` images in this order form a group.

    Args:
      run: a run that classifies cells.
      squares: uint8 [N, S, S, 3], at the network's input size.
      labels: int [N].
      order: int [N], a permutation.
      size: images in one group.
    """
    right = 0
    for start in tqdm(range(0, len(order), size), unit="group", leave=False):
        group = order[start : start + size]
        logits = adapted(run, squares[group]).logits(squares[group], batch_size=size)
        right += int((logits.argmax(1) == labels[group]).sum())
    return right


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder of the run")
    parser.add_argument("--manual_dir", default="", help="folder of the raw files")
    parser.add_argument("--data_dir", default="", help="folder of prepared data")
    parser.add_argument("--per_class", type=int, default=32)
    parser.add_argument("--group", type=int, default=8, help="images in one group")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.per_class < 1 or args.group < 1 or args.per_class % args.group:
        raise InputError(
            "--per_class must be a multiple of --group, so that each group has one class."
        )
    run = load_run(args.workdir)
    data = run.open_data(args.manual_dir, args.data_dir)
    tested = data.indices("test")
    indices = tested[drawn(data.dataset.labels[tested], args.per_class, args.seed)]
    squares, labels = data.pipeline.images(indices), data.dataset.labels[indices]
    by_class = np.arange(len(labels))
    at_random = np.random.default_rng(args.seed + 1).permutation(by_class)
    as_trained = int((run.logits(squares).argmax(1) == labels).sum())
    found = {
        "as trained": as_trained,
        f"groups of {args.group}, mixed": called_right(run, squares, labels, at_random, args.group),
        f"groups of {args.group}, one class": called_right(
            run, squares, labels, by_class, args.group
        ),
    }
    for name, right in found.items():
        low, high = wilson_interval(right, len(labels))
        print(
            f"{name:24} {right} of {len(labels)}, {right / len(labels):.1%} "
            f"(95 %, Wilson: {low:.1%} to {high:.1%})"
        )


if __name__ == "__main__":
    in_one_line(main)
