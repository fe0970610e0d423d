r"""Write the splits of `benchmarks/splits/`, or check your own images against them.

  python benchmarks/write_splits.py --data_dir=tfds --sipakmed=/path/to/SIPaKMeD \
      --herlev=/path/to/Herlev --cric=/path/to/CRIC
  python benchmarks/write_splits.py --check --sipakmed=/path/to/SIPaKMeD

For every given data set the script writes one CSV file for each protocol, `<set>-<protocol>.csv`,
with `filename, label, group` and for every fold train, val or test; `<set>-images.csv.gz` with
width, height, the digest of the pixels and the perceptual hash of every image; and `index.json`,
which describes all files. `--check` writes nothing. It reports how many of your own images have the
same name, size, pixels and perceptual hash as the images of the splits.
"""

import argparse
import csv
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax.data.catalog import Dataset, load  # noqa: E402
from cervix_jax.data.divide import split_dataset  # noqa: E402
from cervix_jax.data.duplicates import MAX_DISTANCE  # noqa: E402
from cervix_jax.data.split_file import (  # noqa: E402
    INDEX,
    SplitFile,
    file_digest,
    names_digest,
    stem,
)
from cervix_jax.data.splits import ONE_SPLIT  # noqa: E402
from cervix_jax.files import compressed  # noqa: E402
from cervix_jax.files.atomic import read_json, write_json  # noqa: E402
from cervix_jax.files.tables import Table  # noqa: E402

FOLDER = ROOT / "benchmarks/splits"
VERSION = 1  # version of all files; increased by any change of an image, group or part
FOLDS, SEED = 5, 0
SHORT = 16  # hexadecimal digits of a digest; two of 5,000 images collide with probability 10^-12
# Short name to data set, flag, protocols, and the suffix of the published files.
SETS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "sipakmed_cells": (
        "sipakmed/single_cell",
        "sipakmed",
        ("cluster", "joined", "block", "paper", "paper_clusters"),
        ".bmp",
    ),
    "herlev": ("herlev/default", "herlev", ("cluster", "paper"), ".BMP"),
    "cric_cells": ("cric/cell", "cric", ("cluster",), ".png"),
    "cric_fields": ("cric/field", "cric", ("cluster",), ".png"),
}
NOTES = {
    "sipakmed_cells": "All 4,049 cells. The copies at hand were JPEG (quality 95) of the published "
    "bitmaps, so that digests are of the decoded JPEG; names, sizes and hashes are the same.",
    "herlev": "All 917 cells, the published bitmaps.",
    "cric_cells": "The 4,341 cells of the 171 fields at hand of 400, cut out of JPEG copies, 1280 "
    "px wide, of the published fields.",
    "cric_fields": "The 171 fields at hand of 400, JPEG copies, 1280 px wide, of the published "
    "fields; the label is that of the worst cell.",
}


def split_of(dataset: Dataset, protocol: str, suffix: str) -> SplitFile:
    """All folds of a protocol, in the order of the names."""
    folds = 1 if protocol in ONE_SPLIT else FOLDS
    columns = [
        split_dataset(dataset, protocol=protocol, fold=fold, folds=FOLDS, seed=SEED)
        for fold in range(folds)
    ]
    groups = dataset.joined_groups if protocol == "joined" else dataset.groups
    order = sorted(range(len(dataset)), key=lambda index: stem(dataset.filenames[index]))
    return SplitFile(
        FOLDER,
        tuple(stem(dataset.filenames[index]) + suffix for index in order),
        tuple(dataset.class_names[dataset.labels[index]] for index in order),
        tuple(groups[index] for index in order),
        np.stack(columns, axis=1)[order],
    )


def images_of(dataset: Dataset, suffix: str) -> list[dict[str, Any]]:
    """Identification of every image, one row each, in the order of the names."""
    prints = dataset.fingerprints()
    rows = []
    for index in sorted(range(len(dataset)), key=lambda index: stem(dataset.filenames[index])):
        height, width = np.asarray(dataset.decoded_source[index]["image"]).shape[:2]
        rows.append(
            {
                "filename": stem(dataset.filenames[index]) + suffix,
                "width": width,
                "height": height,
                "pixels_sha256": prints.digests[index][:SHORT],
                "hash": np.packbits(prints.hashes[index]).tobytes().hex(),
            }
        )
    return rows


def write(name: str, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Write the files of a data set; returns their entries of the index."""
    _, _, protocols, suffix = SETS[name]
    entries = {}
    rows = images_of(dataset, suffix)
    path = FOLDER / f"{name}-images.csv.gz"
    with compressed.written(path) as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    shared = {
        "dataset": dataset.name,
        "version": VERSION,
        "images": len(rows),
        "names_sha256": names_digest(dataset.filenames),
    }
    digests = "".join(f"{row['pixels_sha256']}\n" for row in rows)
    entries[path.name] = shared | {
        "sha256": file_digest(path),
        "pixels": f"first {SHORT} hexadecimal digits of SHA-256 over width, height and RGB values, "
        "see cervix_jax.data.fingerprints.content_digest",
        "all_pixels_sha256": hashlib.sha256(digests.encode()).hexdigest(),
        "note": NOTES[name],
    }
    for protocol in protocols:
        split = split_of(dataset, protocol, suffix)
        path = FOLDER / f"{name}-{protocol}.csv"
        split.write(path)
        counts = [
            {part: int((column == part).sum()) for part in ("train", "val", "test")}
            for column in split.splits.T
        ]
        entries[path.name] = shared | {
            "protocol": protocol,
            "folds": split.folds,
            "seed": None if protocol in ONE_SPLIT else SEED,
            "groups": len(set(split.groups)),
            "parts": counts,
            "sha256": file_digest(path),
        }
    return entries


def check(name: str, dataset: Dataset, folder: Path = FOLDER) -> str:
    """Comparison of your own images with those of the splits, in a few lines."""
    table = Table(folder / f"{name}-images.csv.gz", ("filename", "width", "height", "hash"))
    known = {stem(row["filename"]): row for row in table}
    mine = {stem(row["filename"]): row for row in images_of(dataset, "")}
    both = sorted(known.keys() & mine.keys())
    sizes = [
        name
        for name in both
        if (int(known[name]["width"]), int(known[name]["height"]))
        == (mine[name]["width"], mine[name]["height"])
    ]
    same = [name for name in both if known[name]["pixels_sha256"] == mine[name]["pixels_sha256"]]
    bits = [
        int.bit_count(int(known[name]["hash"], 16) ^ int(mine[name]["hash"], 16)) for name in both
    ]
    alike = sum(distance <= MAX_DISTANCE for distance in bits)
    lines = [
        f"{name}: {len(both)} of {len(known)} names are there",
        f"  same width and height: {len(sizes)}",
        f"  same pixels: {len(same)}",
        f"  look alike (at most {MAX_DISTANCE} of 256 bits of the hash differ): {alike}",
    ]
    lines += [f"  not there, e.g. {sorted(known.keys() - mine.keys())[0]}"] * (
        len(both) < len(known)
    )
    lines += [f"  not in the splits, e.g. {sorted(mine.keys() - known.keys())[0]}"] * (
        len(both) < len(mine)
    )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for flag in dict.fromkeys(flag for _, flag, _, _ in SETS.values()):
        parser.add_argument(f"--{flag}", default="", help="folder of the raw files")
    parser.add_argument("--data_dir", default="", help="folder of prepared data")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare your own images with the splits; write nothing",
    )
    args = parser.parse_args()
    index = (read_json(FOLDER / INDEX) or {}).get("files", {})
    for name, (dataset_name, flag, _, _) in SETS.items():
        if not getattr(args, flag):
            continue
        dataset = load(
            dataset_name,
            manual_dir=getattr(args, flag),
            data_dir=args.data_dir,
            check_counts=flag != "cric",
        )
        if args.check:
            print(check(name, dataset))
            continue
        index |= write(name, dataset)
        print(f"{name}: written to {FOLDER}")
    if not args.check:
        write_json(FOLDER / INDEX, {"version": VERSION, "files": dict(sorted(index.items()))})


if __name__ == "__main__":
    main()
