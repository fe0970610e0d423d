r"""Coverage of 95 % intervals over groups, by number of groups.

  python benchmarks/interval_coverage.py --trials=400

The script draws data sets of groups with 3 to 10 images of three classes. Images of a group share
half of the variance of their logits; groups have one class (like clusters of cells) or several. The
true value is the metric of 40,000 groups. The script prints the coverage of percentile intervals
and of `group_interval`.
"""

import argparse

import numpy as np

from cervix_jax.statistics import confusion, scores
from cervix_jax.statistics.comparison import confusions
from cervix_jax.statistics.intervals import UNIT, group_interval
from cervix_jax.statistics.ranking import auroc_and_average_precision
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

CLASSES, RESAMPLES = 3, 400
GROUPS = (8, 12, 20, 30, 50, 100)
BOUNDS = {"Matthews": (-1.0, 1.0), "NLL": (0.0, -float(np.log(scores.SMALLEST)))}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    trials = parser.parse_args().trials
    for mixed in (False, True):
        everything = draw(np.random.default_rng(99), 40_000, mixed)
        truth = {name: s[0] for name, s in metrics(everything, resamples=0).items()}
        print(
            f"\n| groups of {'several classes' if mixed else 'one class'} | {' | '.join(truth)} |"
        )
        print("|---" * (1 + len(truth)) + "|")
        for groups in GROUPS:
            random = np.random.default_rng(groups)
            held = {name: np.zeros(2) for name in truth}
            defined = dict.fromkeys(truth, 0)
            for seed in range(trials):
                for name, statistic in metrics(draw(random, groups, mixed), seed=seed).items():
                    interval = group_interval(statistic, groups, BOUNDS.get(name, UNIT))
                    if interval is not None:
                        defined[name] += 1
                        plain = np.nanquantile(statistic[1:], [0.025, 0.975])
                        for way, (low, high) in enumerate((plain, interval)):
                            held[name][way] += low <= truth[name] <= high
            cells = [f"{a:.2f}, {b:.2f}" for a, b in (held[n] / defined[n] for n in truth)]
            print(f"| {groups} | {' | '.join(cells)} |", flush=True)


def draw(random: np.random.Generator, groups: int, mixed: bool) -> PredictionTable:
    """Predictions of images in groups."""
    index = np.repeat(np.arange(groups), random.integers(3, 11, groups))
    labels = random.integers(0, CLASSES, len(index))
    if not mixed:
        labels = random.permutation(np.arange(groups) % CLASSES)[index]
    shared = random.normal(size=(groups, CLASSES))[index]
    logits = 2.2 * np.eye(CLASSES)[labels] + shared + random.normal(size=(len(index), CLASSES))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = tuple(str(number) for number in range(len(index)))
    return PredictionTable(names, index, labels, p, ("a", "b", "c"))


def metrics(
    table: PredictionTable, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Metrics of the data and of every resample, float64 [1 + R] each."""
    drawn = Resamples(table.groups, number=resamples, seed=seed)
    matrices = confusions(drawn, table)
    counts = confusion.one_v_rest(matrices)
    sensitivity = confusion.quotient(counts["tp"], counts["tp"] + counts["fn"])[:, 0]
    auroc, _ = auroc_and_average_precision(drawn, table.probabilities[:, 0], table.labels == 0)
    losses = scores.negative_log_likelihood(table.labels, table.probabilities)
    return {
        "accuracy": confusion.accuracy(matrices),
        "macro F1": confusion.macro_f1(matrices),
        "Matthews": confusion.matthews(matrices),
        "sensitivity": sensitivity,
        "AUROC": auroc,
        "NLL": drawn.means(losses),
    }


if __name__ == "__main__":
    main()
