"""Write the weights of a trained detector to the file included in the package.

  python benchmarks/ship_detector.py --workdir=runs/nuclei --out=cervix_jax/detect/nuclei.npz

The detector's threshold comes from the run's evaluation, which chose it on validation fields.
Kernels are stored as float16; the script prints the largest change.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from cervix_jax import load_run
from cervix_jax.detect.detector import of_run
from cervix_jax.detect.shipped import store


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    run = load_run(args.workdir)
    detector = of_run(run)
    settings = {
        "model": run.config.model.name,
        "normalization": run.config.model.normalization,
        "microns_per_pixel": detector.microns_per_pixel,
        "least": round(detector.least, 4),
    }
    store(args.out, run.variables, settings)
    kernels = [np.asarray(leaf) for leaf in jax.tree.leaves(run.variables) if np.ndim(leaf) > 1]
    worst = max(np.abs(k - k.astype(np.float16)).max() / np.abs(k).max() for k in kernels)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes, {settings}")
    print(f"float16 changes a kernel by at most {worst:.1e} of its largest value")


if __name__ == "__main__":
    main()
