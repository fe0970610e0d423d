r"""Put what a reproduction left to where this repository shows it.

  python benchmarks/publish_results.py --out=runs/reproduce

writes RESULTS.md, docs/results.png, benchmarks/results/reproduce.json and
benchmarks/results/predictions/, whole and without editing by hand; words of one's own go into the
head by `reproduce --note`. Predictions of rows that are not in the reproduction are removed.
"""

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax import figures  # noqa: E402
from cervix_jax.files.atomic import write_json, write_text  # noqa: E402
from cervix_jax.reproduce import results  # noqa: E402
from cervix_jax.reproduce.outcomes import collect  # noqa: E402

NUMBERS, PICTURE = "benchmarks/results/reproduce.json", "docs/results.png"
PREDICTIONS = "benchmarks/results/predictions"


def publish(out: Path, root: Path) -> None:
    """Write the page, its picture, its numbers and its predictions below `root`."""
    found = collect(out)
    if not found["outcomes"]:
        raise SystemExit(f"error: {out}/outcomes: holds no outcome; give the --out of reproduce.")
    folder = root / PREDICTIONS
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for outcome in found["outcomes"]:
        for name in outcome.get("predictions", {}).values():
            shutil.copyfile(out / name, folder / Path(name).name)
    write_json(root / NUMBERS, found)
    page = results.markdown(found, numbers=NUMBERS, picture=PICTURE, predictions=PREDICTIONS)
    write_text(root / "RESULTS.md", page)
    drawn = results.intervals_to_draw(found)
    (root / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    figures.intervals(drawn, xlabel=results.XLABEL, title=results.TITLE, path=root / PICTURE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="the --out of cervix_jax.reproduce")
    publish(Path(parser.parse_args().out), ROOT)


if __name__ == "__main__":
    main()
