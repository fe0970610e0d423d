"""Two runs, cross-validations or files of predictions, compared in one table."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.statistics.comparison import (
    COMPARED,
    FoldTest,
    PairedMetric,
    fold_test,
    mcnemar,
    paired_bootstrap,
)
from cervix_jax.statistics.intervals import ANY, group_interval
from cervix_jax.statistics.ranking import auroc_and_average_precision
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable, align, concatenate

Member = tuple[int, int]  # seed, fold
NOTE = (
    "Intervals resample whole groups, the same for A and B. McNemar's test assumes independent "
    "images, so its p-value is too small if images share a slide or cluster."
)


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two sides of a comparison.

    Attributes:
      name: its path.
      tables: predictions by seed and fold; one entry (0, 0) if it is not a cross-validation.
      test_per_train: n_test / n_train by seed and fold, where known.
    """

    name: str
    tables: dict[Member, PredictionTable]
    test_per_train: dict[Member, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; a value of None is left blank."""

    metric: str
    first: float | None = None
    second: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    test: str = ""

    def cells(self) -> tuple[str, str, str, str, str]:
        """A, B, their difference, its interval and p as text; "" for None."""
        return (
            "" if self.first is None else f"{self.first:.4f}",
            "" if self.second is None else f"{self.second:.4f}",
            "" if self.difference is None else f"{self.difference:+.4f}",
            f"{self.interval[0]:+.4f} to {self.interval[1]:+.4f}" if self.interval else "",
            "" if self.p_value is None else _p(self.p_value),
        )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result that `--compare` prints.

    Attributes:
      names: paths of A and B.
      rows: rows of the table.
      sentences: conclusions in plain words.
    """

    names: tuple[str, str]
    rows: list[Row]
    sentences: list[str]

    def text(self) -> str:
        """The table, a note on how to read it, and the sentences, as lines of text."""
        width = max(len(row.metric) for row in self.rows)
        lines = [
            f"A: {self.names[0]}",
            f"B: {self.names[1]}",
            f"{'':{width}}  {'A':>8}  {'B':>8}  {'A - B':>8}  {'95 % interval':>20}  {'p':>8}",
        ]
        for row in self.rows:
            first, second, difference, interval, p_value = row.cells()
            numbers = "  ".join(f"{each:>8}" for each in (first, second, difference))
            line = f"{row.metric:{width}}  {numbers}  {interval:>20}  {p_value:>8}  {row.test}"
            lines.append(line.rstrip())
        return "\n".join([*lines, NOTE, *self.sentences])


def compare(first: Side, second: Side, *, seed: int = 0) -> Comparison:
    """Compare two sides on the images that both were tested on.

    For cross-validations, the folds that both sides have are used. Folds of a seed are pooled.
    Differences are also tested over folds, each averaged over its seeds, which share one division
    into folds.

    Args:
      first: A.
      second: B.
      seed: seed of the bootstrap.

    Raises:
      InputError: they were not tested on the same images, or have no seed and fold in common.
    """
    seeds, folds = _common(first, second)
    names = (first.name, second.name)
    pairs = {
        (s, f): (first.tables[s, f], align(first.tables[s, f], second.tables[s, f], names))
        for s in seeds
        for f in folds
    }
    whole = [
        (concatenate([pairs[s, f][0] for f in folds]), concatenate([pairs[s, f][1] for f in folds]))
        for s in seeds
    ]
    # Seeds may store their images in another order.
    order = whole[0][0]
    pooled = [(align(order, a, names), align(order, b, names)) for a, b in whole]
    tests = [mcnemar(a.correct, b.correct) for a, b in pooled]
    metrics = dict(COMPARED)
    if len(pairs) == 1:  # scores of different models have no common ranking
        metrics |= _areas(pooled[0][0].class_names)
    rows, sentences = [], []
    groups = len(set(order.groups.tolist()))
    for name, (a, b) in paired_bootstrap(pooled, metrics, seed=seed).items():
        if np.isnan(a[0]):  # the AUROC of a class that does not occur
            continue
        row = Row(name, a[0], b[0], a[0] - b[0], group_interval(a - b, groups, ANY))
        if name == "accuracy" and len(tests) == 1:
            row = dataclasses.replace(row, p_value=tests[0].p_value, test="exact McNemar")
        rows.append(row)
    for s, (a, b), test in zip(seeds, pooled, tests, strict=True):
        right, other, total = int(a.correct.sum()), int(b.correct.sum()), len(a.labels)
        apart = abs(right - other)
        sentences.append(
            f"{f'seed {s}: ' if len(seeds) > 1 else ''}A is right on {right} and B on {other}: "
            f"a difference of {apart} of {total} images; "
            f"{_p_is(test.p_value)} (exact McNemar; {test.only_first} right by A alone, "
            f"{test.only_second} by B alone)."
        )
    if len(folds) > 1:
        ratios = second.test_per_train | first.test_per_train
        fold_rows, sentence = _over_folds(pairs, seeds, folds, ratios)
        rows += fold_rows
        sentences.append(sentence)
    return Comparison(names, rows, sentences)


def _common(first: Side, second: Side) -> tuple[list[int], list[int]]:
    """Seeds that both sides have, and for each the folds that both have."""
    both = first.tables.keys() & second.tables.keys()
    seeds = sorted({seed for seed, _ in both})
    folds = sorted({f for _, f in both if all((seed, f) in both for seed in seeds)})
    if not folds:
        raise InputError(
            f"{first.name} and {second.name} have no seed and fold in common; compare two runs, or "
            "two cross-validations of the same protocol."
        )
    return seeds, folds


def _areas(class_names: Sequence[str]) -> dict[str, PairedMetric]:
    """The AUROC of each class against the rest; for two classes only one, as both are equal."""

    def area(number: int) -> PairedMetric:
        def metric(resamples: Resamples, table: PredictionTable) -> np.ndarray:
            scores, positive = table.probabilities[:, number], table.labels == number
            return auroc_and_average_precision(resamples, scores, positive)[0]

        return metric

    numbers = range(len(class_names)) if len(class_names) > 2 else (1,)
    return {f"AUROC {class_names[number]}": area(number) for number in numbers}


def _over_folds(
    pairs: dict[Member, tuple[PredictionTable, PredictionTable]],
    seeds: Sequence[int],
    folds: Sequence[int],
    test_per_train: dict[Member, float],
) -> tuple[list[Row], str]:
    known = [test_per_train[key] for key in pairs if key in test_per_train]
    # Of k folds, one is for testing and half of one for validation.
    ratio = float(np.mean(known)) if known else 1 / (len(folds) - 1.5)
    rows, tests = [], {}
    for name, metric in COMPARED.items():
        values = np.array(
            [
                np.mean([[_value(metric, table) for table in pairs[s, f]] for s in seeds], axis=0)
                for f in folds
            ]
        )
        tests[name] = test = fold_test(values[:, 0] - values[:, 1], ratio)
        label = f"{name}, mean of {len(folds)} folds"
        first, second = (float(value) for value in values.mean(0))
        rows.append(Row(label, first, second, test.mean, test.interval, test.p_t, "corrected t"))
        rows.append(Row("", p_value=test.p_wilcoxon, test="Wilcoxon"))
    return rows, _fold_sentence(tests["accuracy"], len(folds))


def _fold_sentence(test: FoldTest, folds: int) -> str:
    return (
        f"Over {folds} folds the accuracies differ by {test.mean:+.4f} on average; "
        f"{_p_is(test.p_t)} (corrected resampled t), {_p_is(test.p_wilcoxon)} (Wilcoxon, which "
        f"cannot go below {_p(2 / 2**folds)} with {folds} folds)."
    )


def _value(metric: PairedMetric, table: PredictionTable) -> float:
    return float(metric(Resamples(table.groups, number=0), table)[0])


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _p_is(value: float | None) -> str:
    if value is None:
        return "p undefined"
    return f"p {_p(value)}" if value < 0.001 else f"p = {_p(value)}"
