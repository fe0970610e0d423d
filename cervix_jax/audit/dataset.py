"""The audit of a data set: groups, duplicates and classes of its splits, and shortcut baselines."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cervix_jax.audit.baselines import TREES, share_above_chance, shortcut_table
from cervix_jax.audit.features import DESCRIPTIONS, Measurements, measure
from cervix_jax.data.catalog import Dataset
from cervix_jax.data.divide import divided
from cervix_jax.data.duplicates import (
    MAX_DISTANCE,
    MIN_CORRELATION,
    Pair,
    crossing_folds,
    find_duplicates,
    joined_groups,
)
from cervix_jax.data.splits import (
    ONE_SPLIT,
    SPLITS,
    UNKNOWN_GROUPS,
    leakage,
)
from cervix_jax.errors import InputError

PROTOCOLS = ("random", "cluster", "block")
JOINED = "joined"


def audit_dataset(
    dataset: Dataset,
    *,
    protocol: str = "cluster",
    folds: int = 5,
    seed: int = 0,
    trees: int = TREES,
    max_distance: int = MAX_DISTANCE,
    jobs: int = 0,
    progress: bool = True,
) -> dict:
    """Audit a data set under the protocols "random", "cluster" and "block".

        audit_dataset(data.load("sipakmed/single_cell", manual_dir="SIPaKMeD"))["reading"]

    If groups share an image, "joined" is added: "cluster" with such groups merged.

    Args:
      dataset: the prepared data set.
      protocol: the protocol to examine in detail; added if it is one of the paper's.
      folds: number of folds of every protocol.
      seed: seed of the splits.
      trees: number of trees of each random forest.
      max_distance: maximum number of differing bits, of 256, between near duplicates.
      jobs: number of threads; 0 uses every core. No result depends on it.
      progress: show progress bars.

    Returns:
      JSON-ready dict: `dataset, version, examples, groups, group_feature, groups_known` (if false,
      every leakage is None), `class_names, protocol, folds, chance, classes` (sizes and counts),
      `splits` (sizes, class counts, `leakage` and `duplicated` for every protocol and fold;
      `duplicated` is the share of test examples with a duplicate in train or val), `unavailable`
      (protocols that the data do not allow, with reasons), `duplicates` (also `joined`: group to
      the group that it is merged into), `baselines` (see `shortcut_table`), `descriptions` and
      `reading`.

    Raises:
      InputError: `protocol` or `folds` does not fit the data set.
    """
    # Splits first, as they can fail on the given arguments.
    splits, unavailable = _all_splits(dataset, protocol, folds, seed)
    found = measure(dataset, jobs=jobs, progress=progress)
    pairs = find_duplicates(dataset.fingerprints(), max_distance=max_distance, progress=progress)
    joined = joined_groups(dataset.groups, pairs)
    if protocol == JOINED or len(set(joined)) < len(set(dataset.groups)):
        try:
            splits[JOINED] = _folds(dataset, joined, JOINED, folds, seed)
        except InputError as error:
            if protocol == JOINED:
                raise
            unavailable[JOINED] = str(error)
    order = (*ONE_SPLIT, "random", "cluster", JOINED, "block")
    splits = {name: splits[name] for name in order if name in splits}
    baselines = shortcut_table(
        found.features, dataset.labels, splits, trees=trees, jobs=jobs, progress=progress
    )
    report = {
        "dataset": dataset.name,
        "data_title": dataset.title,
        "version": dataset.version,
        "examples": len(dataset),
        "groups": len(set(dataset.groups)),
        "group_feature": dataset.group_feature,
        "groups_known": dataset.groups_known,
        "class_names": list(dataset.class_names),
        "protocol": protocol,
        "folds": folds,
        "seed": seed,
        "trees": trees,
        "chance": 1 / int(np.count_nonzero(np.bincount(dataset.labels))),
        "classes": _classes(dataset, found),
        "splits": {
            name: [_describe_fold(dataset, each, pairs) for each in assigned]
            for name, assigned in splits.items()
        },
        "unavailable": unavailable,
        "duplicates": _describe_duplicates(dataset, pairs, joined, splits, max_distance),
        "baselines": baselines,
        "descriptions": {name: DESCRIPTIONS[name] for name in baselines},
    }
    return report | {"reading": reading(report)}


def _all_splits(
    dataset: Dataset, protocol: str, folds: int, seed: int
) -> tuple[dict[str, list[np.ndarray]], dict[str, str]]:
    splits, unavailable = {}, {}
    for name in dict.fromkeys((*PROTOCOLS, protocol)):
        try:
            # Merged groups are only known later; "cluster" has the same requirements.
            own = "cluster" if name == JOINED else name
            splits[name] = _folds(dataset, dataset.groups, own, folds, seed)
        except InputError as error:
            if name == protocol:
                raise
            unavailable[name] = str(error)
    return splits, unavailable


def _folds(
    dataset: Dataset, groups: Sequence[str], protocol: str, folds: int, seed: int
) -> list[np.ndarray]:
    return [
        divided(dataset, groups, protocol=protocol, fold=fold, folds=folds, seed=seed)
        for fold in range(1 if protocol in ONE_SPLIT else max(folds, 1))
    ]


def _classes(dataset: Dataset, found: Measurements) -> dict[str, dict]:
    groups = dataset.group_counts
    described = {}
    for label, name in enumerate(dataset.class_names):
        sizes = found.sizes[dataset.labels == label]
        spread = np.percentile(sizes, (10, 50, 90), axis=0) if len(sizes) else np.zeros((3, 2))
        described[name] = {
            "examples": len(sizes),
            "groups": groups[name],
            "width": spread[:, 0].tolist(),
            "height": spread[:, 1].tolist(),
        }
    return described


def _describe_fold(dataset: Dataset, splits: np.ndarray, pairs: Sequence[Pair]) -> dict:
    seen, duplicated = leakage(splits, dataset.groups, dataset.filenames), set()
    for pair in pairs:
        for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
            if splits[one] == "test" and splits[other] != "test":
                duplicated.add(one)
    return {
        "sizes": {split: int((splits == split).sum()) for split in SPLITS},
        "class_counts": {
            split: np.bincount(
                dataset.labels[splits == split], minlength=len(dataset.class_names)
            ).tolist()
            for split in SPLITS
        },
        "leakage": seen.share,
        "leakage_train": seen.share_in_train,
        "duplicated": len(duplicated) / seen.num_test,
    }


def _describe_duplicates(
    dataset: Dataset,
    pairs: Sequence[Pair],
    joined: Sequence[str],
    splits: dict[str, list[np.ndarray]],
    max_distance: int,
) -> dict:
    rows = []
    for pair in pairs:
        i, j = pair.first, pair.second
        crosses = {name: crossing_folds(pair, folds) for name, folds in splits.items()}
        rows.append(
            {
                "first": dataset.filenames[i],
                "second": dataset.filenames[j],
                "exact": pair.exact,
                "distance": pair.distance,
                "correlation": pair.correlation,
                "pose": pair.pose,
                "classes": [dataset.class_names[dataset.labels[k]] for k in (i, j)],
                "same_group": dataset.groups[i] == dataset.groups[j],
                "crosses": {name: folds for name, folds in crosses.items() if folds},
            }
        )
    return {
        "max_distance": max_distance,
        "min_correlation": MIN_CORRELATION,
        "exact": sum(pair.exact for pair in pairs),
        "near": sum(not pair.exact for pair in pairs),
        "poses": dict(Counter(pair.pose for pair in pairs)),
        "between_groups": sum(not row["same_group"] for row in rows),
        "between_classes": sum(len(set(row["classes"])) == 2 for row in rows),
        "examples": len({index for pair in pairs for index in (pair.first, pair.second)}),
        "groups_joined": len(set(joined)),
        "joined": {
            group: one
            for group, one in sorted(set(zip(dataset.groups, joined, strict=True)))
            if group != one
        },
        "crossing": {name: sum(name in row["crosses"] for row in rows) for name in splits},
        "pairs": rows,
    }


def reading(report: dict) -> str:
    """The findings of the audit as plain sentences."""
    protocol, chance = report["protocol"], report["chance"]
    means = {
        name: {each: score["mean"] for each, score in found.items()}
        for name, found in report["baselines"].items()
        if name != "shape"
    }
    colour = means["colour"]
    text = [
        f"From colour alone ({report['descriptions']['colour']}, no shape) a random forest reaches "
        f"balanced accuracy {colour[protocol]:.3f} under `{protocol}`, "
        f"{max(0.0, share_above_chance(colour[protocol], chance)):.0%} of the way from chance "
        f"({chance:.3f}) to perfect: compare a model with this baseline, not with chance."
    ]
    best = max(means, key=lambda name: means[name][protocol])
    if best != "colour":
        text.append(
            f"The strongest baseline without shape uses {report['descriptions'][best]}: "
            f"{means[best][protocol]:.3f}."
        )
    if {"random", "block"} <= set(colour) and colour["random"] - colour["block"] > 0.03:
        text.append(
            f"The colour baseline falls from {colour['random']:.3f} under `random` to "
            f"{colour['block']:.3f} under `block`. The difference is an upper bound for the "
            "accuracy that comes from recognising slides, not classes."
        )
    shares = [fold["leakage"] for fold in report["splits"][protocol]]
    if None in shares:
        text.append(f"Leakage is {UNKNOWN_GROUPS}.")
    elif (seen := max(shares)) > 0:
        text.append(
            f"Up to {seen:.1%} of a fold's test images come from groups in its training or "
            f"validation data: results under `{protocol}` are optimistic."
        )
    duplicates = report["duplicates"]
    crossing = duplicates["crossing"][protocol]
    if crossing:
        worst = max(fold["duplicated"] for fold in report["splits"][protocol])
        text.append(
            f"`{protocol}` puts one image of {crossing} duplicate or near-duplicate pairs into "
            f"test and the other into train or val; this affects up to {worst:.1%} of a fold's "
            "test images. Look at these pairs before you trust a result."
        )
    if duplicates["between_classes"]:
        text.append(
            f"{duplicates['between_classes']} pairs of duplicates or near duplicates have "
            "different labels."
        )
    return " ".join(text)
