r"""The baseline table of the benchmark: forests that see no shape, and a frozen probe.

  python benchmarks/baselines.py --data_dir=tfds --sipakmed=/path/to/SIPaKMeD \
      --herlev=/path/to/Herlev --cric=/path/to/CRIC

For every split file of `benchmarks/splits/` whose data set is given: random forests on size,
colour, border and grey of the images (the audit's), and a linear probe on frozen features of
ImageNet's EfficientNet-Lite0 (`frozen_probe.py`). Accuracy over the test images of all folds with
Wilson's interval, balanced accuracy, and both for every fold, into
`benchmarks/results/baselines.json`; what is there already is kept, unless `--again` is given.
`--extra` adds views of the probe, such as `scale_reflect` or `stretch:reinhard`, for the protocols
of `--protocols`.
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
# Crops of cric/cell all have one size and one scale: their views are the same, and size is chance.
ONE_SCALE = ("cric",)
FLAGS = ("sipakmed", "herlev", "cric")  # which are also the names of the builders


def columns_of(dataset: Dataset, split: SplitFile) -> np.ndarray:
    """The parts of a split file in the order of a data set, str [N, F]."""
    names = Names(split.filenames)
    places = [names.find(filename) for filename in dataset.filenames]
    if None in places or len(set(places)) < len(split.filenames):
        raise SystemExit(f"{split.path.name} is of other images than {dataset.path}.")
    return split.splits[places]


def judge(
    labels: np.ndarray, columns: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Accuracy and balanced accuracy over all folds and of each.

    Args:
      labels: int [N].
      columns: str [N, F] of "train", "val" or "test".
      predict: gives the classes of the test part, which is bool [N].
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
    """The audit's features, kept in `cache`."""
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
        parser.add_argument(f"--{flag}", default="", help="folder of its files")
    parser.add_argument("--data_dir", default="", help="folder of prepared data")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/frozen_features"))
    parser.add_argument("--size", type=int, default=128, help="side of the probe's square")
    parser.add_argument("--splits", nargs="*", default=[], help="e.g. sipakmed_cells-block")
    parser.add_argument("--extra", nargs="*", default=[], help="further views of the probe")
    parser.add_argument("--protocols", nargs="*", default=["block"], help="those of --extra")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
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
