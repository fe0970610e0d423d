r"""Time of five folds with three seeds: fifteen commands, one command, or two at the same time.

  python benchmarks/many_runs.py --workdir=/tmp/many_runs

A small job (EfficientNet-Lite0 from random weights, 300 phantom cells of 48 pixels, two epochs) is
trained as fifteen commands, as one command with `cross_validation.seeds=3`, and as several such
commands at the same time, each with its own seeds. Each way starts with an empty compilation cache.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDS, SEEDS = 5, 3
JOB = (
    "--config=configs/efficientnet_lite0.py", "--config.model.init_from=",
    "--config.image_size=48", "--config.num_epochs=2",
    "--config.data.settings.clusters_per_class=12", f"--config.split.folds={FOLDS}",
)  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--ways", default="together,two at once,separate")
    args = parser.parse_args()
    ways = {"separate": separate, "together": together, "two at once": two_at_once}
    # Prepared once, outside the measurement.
    finish(start(args.workdir / "warm", args.workdir, "--config.num_epochs=1"))
    for name in args.ways.split(","):
        folder = args.workdir / name.replace(" ", "_")
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        ways[name](folder)
        seconds = time.perf_counter() - began
        accuracies = sorted(
            json.loads(path.read_text(encoding="utf-8"))["accuracy"]
            for path in folder.rglob("evaluate/test.json")
        )
        assert len(accuracies) == FOLDS * SEEDS, f"{len(accuracies)} runs finished"
        print(f"| {name} | {seconds:.0f} s | {sum(accuracies) / len(accuracies):.4f} |", flush=True)


def separate(folder: Path) -> None:
    """One process for each fold and seed, one after the other, with a shared compilation cache."""
    for seed in range(SEEDS):
        for fold in range(FOLDS):
            own = (f"--config.seed={seed}", f"--config.split.fold={fold}")
            finish(start(folder / f"{seed}-{fold}", folder, *own))


def together(folder: Path) -> None:
    """One process for all."""
    finish(start(folder / "all", folder, f"--config.cross_validation.seeds={SEEDS}"))


def two_at_once(folder: Path) -> None:
    """Two processes at the same time; the first trains two of the seeds."""
    finish(
        start(folder / "a", folder, "--config.cross_validation.seeds=2"),
        start(folder / "b", folder, "--config.cross_validation.seeds=1", "--config.seed=2"),
    )


def start(workdir: Path, cache: Path, *extra: str) -> subprocess.Popen:
    """Start a training command with its own compilation cache."""
    command = [sys.executable, "-m", "cervix_jax.main", *JOB, *extra, f"--workdir={workdir}"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache / "compiled")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(*processes: subprocess.Popen) -> None:
    """Wait for all processes; a failure ends the benchmark with the end of its output."""
    for process in processes:
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(errors.decode()[-2000:])


if __name__ == "__main__":
    main()
