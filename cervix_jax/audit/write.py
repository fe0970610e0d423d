"""Files of an audit: `audit.json`, a picture and, for data sets, their groups."""

import csv
import io
import textwrap
from pathlib import Path
from typing import Any

from cervix_jax import figures
from cervix_jax.data.catalog import Dataset
from cervix_jax.files.atomic import write_json, write_text


def write_dataset_audit(found: dict[str, Any], dataset: Dataset, folder: Path) -> None:
    """Write `audit.json`, `baselines.png` and `images.csv` from the result of `audit_dataset`.

    `images.csv` lists path, label and group of every image, with groups merged if they share an
    image, in the format that `image_folder` reads.
    """
    write_text(folder / "images.csv", _list_of_images(found, dataset))
    bars: dict[str, list[tuple[float, float, float]]] = {}
    for protocol in found["splits"]:
        rows = [each[protocol] for each in found["baselines"].values()]
        deviations = [row["deviation"] or 0.0 for row in rows]
        bars[protocol] = [(row["mean"], d, d) for row, d in zip(rows, deviations, strict=True)]
    figures.grouped_bars(
        bars,
        [f"{name}\n{_wrapped(found['descriptions'][name])}" for name in found["baselines"]],
        reference=("chance", found["chance"]),
        ylabel="balanced accuracy",
        title=f"{found['dataset']}: random forests on simple features, {found['folds']} folds",
        path=folder / "baselines.png",
    )
    write_json(folder / "audit.json", found)


def _list_of_images(found: dict[str, Any], dataset: Dataset) -> str:
    joined, text = found["duplicates"]["joined"], io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "group"])
    columns = zip(dataset.filenames, dataset.labels, dataset.groups, strict=True)
    for name, label, group in sorted(columns):
        rows.writerow([name, dataset.class_names[label], joined.get(group, group)])
    return text.getvalue()


def write_run_audit(found: dict[str, Any], folder: Path) -> None:
    """Write `audit.json` and `changes.png` from the result of `audit_run`."""
    bars = []
    for each in found["changes"].values():
        low, high = each["accuracy_interval"]
        bars.append((each["accuracy"], each["accuracy"] - low, high - each["accuracy"]))
    figures.grouped_bars(
        {"": bars},
        [f"{name}\n{_wrapped(each['description'])}" for name, each in found["changes"].items()],
        reference=("commonest class", found["majority"]),
        ylabel="accuracy (95 % interval)",
        title=f"{found['dataset']}, {found['split']}, n = {found['n']}: accuracy by removed cue",
        path=folder / "changes.png",
    )
    write_json(folder / "audit.json", found)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 24)
