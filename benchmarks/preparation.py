r"""Preparation of many image files: time, memory and size on disk, and time of opening them.

  python benchmarks/preparation.py --counts=30000,200000

The script makes the given numbers of different JPEG files in two class folders, prepares them with
`cervix_jax.prepare` as the data set `image_folder/default`, and opens the prepared data again, each
in a separate process. It reports wall time and processor time; other jobs disturb processor time
less. Files have about 5 kB each and are deleted at the end.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("A", "B")
OPEN = """
import sys
from cervix_jax.data import catalog
dataset = catalog.load("image_folder/default", manual_dir=sys.argv[1], data_dir=sys.argv[2])
print(len(dataset), "images,", len(set(dataset.digests)), "of them different")
"""


def main() -> None:
    """Print a row for each count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--counts", default="30000,200000", help="numbers of images, one for each row"
    )
    parser.add_argument("--image_size", type=int, default=64, help="side in pixels")
    parser.add_argument(
        "--folder", default="", help="folder of the files; default a temporary folder"
    )
    args = parser.parse_args()
    print("| images | step | wall time, s | processor time, s | peak memory, MiB | on disk, MB |")
    print("|---|---|---|---|---|---|")
    for count in map(int, args.counts.split(",")):
        with tempfile.TemporaryDirectory(dir=args.folder or None) as folder:
            row(Path(folder), count, args.image_size)


def row(folder: Path, count: int, side: int) -> None:
    """Make files, prepare them, open them."""
    raw, prepared = folder / "raw", folder / "prepared"
    generate(raw, count, side)
    where = [f"--manual_dir={raw}", f"--data_dir={prepared}"]
    prepare = ["-m", "cervix_jax.prepare", "--dataset=image_folder/default", *where]
    for step, command in (("prepare", prepare), ("open", ["-c", OPEN, str(raw), str(prepared)])):
        seconds, processor, peak = run(command)
        size = sum(path.stat().st_size for path in prepared.rglob("*") if path.is_file()) / 1e6
        print(
            f"| {count} | {step} | {seconds:.1f} | {processor:.1f} | {peak:.0f} | {size:.0f} |",
            flush=True,
        )


def generate(folder: Path, count: int, side: int) -> None:
    """JPEG files of smooth random images, in a folder for each class."""
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        image = coarse.resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / CLASSES[number % len(CLASSES)] / f"{number:07d}.jpg", quality=90)


def run(arguments: list[str]) -> tuple[float, float, float]:
    """Run Python; returns wall time and processor time in seconds, and peak memory in MiB."""
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *arguments],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],  # standard output contains the table only
    )
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments[:2])} ended with status {status}")
    seconds = time.perf_counter() - begin
    # Linux counts memory in KiB.
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
