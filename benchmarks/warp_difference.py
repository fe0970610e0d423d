r"""Difference between the warp for GPU and TPU and that for the CPU, in grey levels.

  python benchmarks/warp_difference.py --images='/path/to/SIPaKMeD/**/CROPPED/*.jpg'

Both implementations rotate, shift, stretch and crop the same images with the same random numbers
(the geometry of the preset `cytology`). The images are evenly spread over the files that match the
pattern.
"""

import argparse
import glob
from pathlib import Path

import jax
import numpy as np

from cervix_jax import target
from cervix_jax.data.augment import PRESETS, make_augment
from cervix_jax.data.augment.settings import GEOMETRY
from cervix_jax.data.decode import decode_square


def main() -> None:
    """Print the mean, 99.9th percentile and largest difference over pixels and colours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="pattern of files")
    parser.add_argument("--count", type=int, default=32, help="images")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--seeds", type=int, default=4, help="number of random warps of each image")
    args = parser.parse_args()
    paths = sorted(glob.glob(args.images, recursive=True))
    if not paths:
        raise SystemExit(f"--images={args.images}: no file matches this pattern.")
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, args.count).astype(int)]
    images = np.stack([decode_square(Path(p).read_bytes(), args.image_size) for p in chosen])
    preset = PRESETS["cytology"]
    augment = make_augment({name: preset[name] for name in GEOMETRY if name in preset})
    labels = np.zeros(len(images), np.int32)
    differences = []
    for seed in range(args.seeds):
        forms = []
        for platform in ("cpu", "tpu"):
            with target.tracing_for(platform):
                forms.append(np.asarray(augment(jax.random.key(seed), images, labels, 2)[0]))
        differences.append(255 * np.abs(forms[0] - forms[1]).ravel())
    found = np.concatenate(differences)
    print(
        f"{len(images)} images at {args.image_size} pixels, {args.seeds} warps of each: mean "
        f"{found.mean():.2f} grey levels, 99.9th percentile {np.percentile(found, 99.9):.1f}, "
        f"largest {found.max():.1f}"
    )


if __name__ == "__main__":
    main()
