r"""Baseline table of the benchmark: random forests on colour and size, and a frozen linear probe.

  python benchmarks/baselines.py --data_dir=tfds --sipakmed=/path/to/SIPaKMeD \
      --herlev=/path/to/Herlev --cric=/path/to/CRIC

The script measures these baselines for every split file of `benchmarks/splits/` whose data set is
given: the audit's random forests on size, colour, border and grey values of the images, and a
linear probe on frozen features of ImageNet's EfficientNet-Lite0 (`frozen_probe.py`). It writes the
accuracy over the test images of all folds with a Wilson interval, the balanced accuracy, and both
for every fold to `benchmarks/results/baselines.json`. Existing results are kept unless `--again` is
given. `--extra` adds views of the probe, such as `scale_reflect` or `stretch:reinhard`, for the
protocols in `--protocols`.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sides import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import frozen_probe  # noqa: E402

from cervix_jax.audit import baselines as forests  # noqa: E402
from cervix_jax.audit.features import DESCRIPTIONS, measure  # noqa: E402
from cervix_jax.data.catalog import Dataset, load  # noqa: E402
from cervix_jax.data.split_file import Names, SplitFile, read_split_file  # noqa: E402
from cervix_jax.files.atomic import read_json, write_json  # noqa: E402
from cervix_jax.statistics.intervals import wilson_interval  # noqa: E402

FOLDER = ROOT / "benchmarks/splits"
RESULTS = ROOT / "benchmarks/results/baselines.json"
FORESTS = ("size", "colour", "border", "grey")
VIEWS = ("stretch", "scale", "stretch+scale")
SHOWN = (
    "sipakmed_cells-cluster", "sipakmed_cells-joined", "sipakmed_cells-block",
    "sipakmed_cells-paper", "herlev-cluster", "herlev-paper", "cric_cells-cluster",
)  # fmt: skip
# All crops of cric/cell have one size and scale: views are equal, and size gives chance level.
ONE_SCALE = ("cric",)
FLAGS = ("sipakmed", "herlev", "cric")  # which are also the names of the builders


def columns_of(dataset: Dataset, split: SplitFile) -> np.ndarray:
    """Parts ("train", "val", "test") of a split file in the order of a data set, str [N, F]."""
    names = Names(split.filenames)
    places = [names.find(filename) for filename in dataset.filenames]
    if None in places or len(set(places)) < len(split.filenames):
        raise SystemExit(f"{split.path.name} is of other images than {dataset.path}.")
    return split.splits[places]


def judge(
    labels: np.ndarray, columns: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Accuracy and balanced accuracy over all folds and of each fold.

    Args:
      labels: int [N].
      columns: str [N, F] of "train", "val" or "test".
      predict: returns the predicted classes of the test part, given as bool [N].
    """
    started, folds = time.perf_counter(), []
    predicted = np.full(len(labels), -1)
    for column in columns.T:
        test = column == "test"
        predicted[test] = found = predict(test)
        folds.append(
            {
                "accuracy": float((found == labels[test]).mean()),
                "balanced_accuracy": forests.balanced_accuracy(labels[test], found),
            }
        )
    tested = predicted >= 0
    right, n = int((predicted == labels)[tested].sum()), int(tested.sum())
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_interval": list(wilson_interval(right, n)),
        "balanced_accuracy": forests.balanced_accuracy(labels[tested], predicted[tested]),
        "folds": folds,
        "seconds": round(time.perf_counter() - started, 1),
    }


def measured(dataset: Dataset, cache: Path) -> dict[str, np.ndarray]:
    """Features of the audit, cached in `cache`."""
    key = hashlib.sha256(repr((dataset.name, dataset.digests)).encode()).hexdigest()[:12]
    path = cache / f"{dataset.name.replace('/', '_')}-audit-{key}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, **measure(dataset, jobs=1).features)
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in FORESTS}


def predictors(
    dataset: Dataset, args: argparse.Namespace, known: Iterable[str], extra: bool
) -> Iterable[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """Name, description and prediction of every baseline that is not `known`."""
    one_scale = dataset.name.startswith(ONE_SCALE)
    labels, classes = dataset.labels, len(dataset.class_names)
    for name in FORESTS:
        if name not in known and not (one_scale and name == "size"):
            values = measured(dataset, args.cache)[name]
            yield (
                name,
                f"forest of {forests.TREES} trees on {DESCRIPTIONS[name]}",
                (lambda test, values=values: forests.predict(values, labels, test, jobs=1)),
            )
    views = VIEWS[:1] if one_scale else (*VIEWS, *(args.extra if extra else ()))
    for view in views:
        name = f"probe {view} {args.size}"
        if name not in known:
            values = frozen_probe.features(dataset, view, args.size, args.cache)
            yield (
                name,
                f"linear probe on frozen EfficientNet-Lite0, {args.size} px, {view}",
                (lambda test, values=values: frozen_probe.predict(values, labels, test, classes)),
            )


def markdown(table: Mapping[str, Any]) -> str:
    """The table of docs/benchmark.md: accuracy (balanced accuracy) in percent."""
    splits = {name: table["splits"][name] for name in SHOWN if name in table["splits"]}
    lines = ["| | " + " | ".join(f"`{name}`" for name in splits) + " |"]
    lines.append("|---" * (len(splits) + 1) + "|")
    rows = (*FORESTS, *(f"probe {view} 128" for view in VIEWS))
    for row in rows:
        cells = []
        for found in splits.values():
            cell = found.get(row)
            cells.append(
                f"{100 * cell['accuracy']:.1f} ({100 * cell['balanced_accuracy']:.1f})"
                if cell
                else "-"
            )
        kind = "forest, " if row in FORESTS else ""
        lines.append(f"| {kind}{row.removesuffix(' 128')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for flag in FLAGS:
        parser.add_argument(f"--{flag}", default="", help="folder of the raw files")
    parser.add_argument("--data_dir", default="", help="folder of prepared data")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/frozen_features"))
    parser.add_argument(
        "--size", type=int, default=128, help="side of the probe's square input, in pixels"
    )
    parser.add_argument("--splits", nargs="*", default=[], help="e.g. sipakmed_cells-block")
    parser.add_argument(
        "--extra", nargs="*", default=[], help="additional views of the probe, see frozen_probe.py"
    )
    parser.add_argument("--protocols", nargs="*", default=["block"], help="those of --extra")
    parser.add_argument("--again", action="store_true", help="replace existing results")
    args = parser.parse_args()
    table: dict[str, Any] = read_json(RESULTS) or {"splits": {}}
    table |= {
        "machine": machine(jax.devices()[0]),
        "field_um": frozen_probe.FIELD,
        "penalty": frozen_probe.PENALTY,
        "iterations": frozen_probe.ITERATIONS,
    }
    loaded: dict[str, Dataset] = {}
    for path in sorted(FOLDER.glob("*.csv")):
        split = read_split_file(path)
        name = split.facts["dataset"]
        place = getattr(args, name.partition("/")[0])
        if not place or name == "cric/field" or (args.splits and path.stem not in args.splits):
            continue
        if name not in loaded:
            loaded[name] = load(
                name, manual_dir=place, data_dir=args.data_dir,
                check_counts=not name.startswith("cric"),
            )  # fmt: skip
        columns = columns_of(loaded[name], split)
        rows = {} if args.again else table["splits"].get(path.stem, {})
        extra = split.facts["protocol"] in args.protocols
        for title, description, predict in predictors(loaded[name], args, rows, extra):
            rows[title] = {"what": description} | judge(loaded[name].labels, columns, predict)
            print(f"{path.stem:30} {title:28} {rows[title]['accuracy']:.4f}", flush=True)
            table["splits"][path.stem] = rows
            write_json(RESULTS, table)
    print(markdown(table))


if __name__ == "__main__":
    main()
