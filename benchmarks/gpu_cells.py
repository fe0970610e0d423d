r"""Make a small copy of SIPaKMeD's single cells: JPEG files at the network's input size.

  python benchmarks/gpu_cells.py /path/to/SIPaKMeD cells

The copies keep the official names, so that every split protocol applies. A cell is scaled to fit
its shorter side and cropped at its centre, as in the paper's recipe (`data.resize=crop`). State in
your results that they were made with these copies.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageOps


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder that contains im_Dyskeratotic, ...")
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG")
    parser.add_argument(
        "--each", type=int, help="maximum number of cells of each class; default all"
    )
    args = parser.parse_args()
    folders = sorted(args.source.glob("im_*/**/CROPPED"))
    if not folders:
        raise SystemExit(f"{args.source} has no folder im_.../CROPPED: give SIPaKMeD's")
    total = count = 0
    for folder in folders:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".bmp", ".jpg", ".png"))
        for path in paths[: args.each]:
            target = (args.out / path.relative_to(args.source)).with_suffix(".jpg")
            target.parent.mkdir(parents=True, exist_ok=True)
            size = (args.side, args.side)
            with Image.open(path) as image:
                copy = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC)
            copy.save(target, quality=args.quality)
            total += target.stat().st_size
            count += 1
    print(f"{count} cells, {total / 2**20:.1f} MiB under {args.out}")


if __name__ == "__main__":
    main()
