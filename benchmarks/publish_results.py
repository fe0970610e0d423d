r"""Publish the results of a reproduction in this repository.

  python benchmarks/publish_results.py --out=runs/reproduce
  python benchmarks/publish_results.py --note=note.md

The first command writes RESULTS.md, docs/results.png, benchmarks/results/reproduce.json and
benchmarks/results/predictions/. It removes the predictions of rows that the reproduction does not
have. Text for the head of the page comes from `reproduce --note`.

The second command keeps the published numbers. It writes the page and the picture again, with
another text in the head if --note is given.
"""

import argparse
import json
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
    _write(found, root)


def publish_again(root: Path, note: Path | None) -> None:
    """Write the page and its picture from the published numbers, with another note if given."""
    found = json.loads((root / NUMBERS).read_text(encoding="utf-8"))
    if note is not None:
        found["note"] = note.read_text(encoding="utf-8")
    _write(found, root)


def _write(found: dict, root: Path) -> None:
    write_json(root / NUMBERS, found)
    page = results.markdown(found, numbers=NUMBERS, picture=PICTURE, predictions=PREDICTIONS)
    write_text(root / "RESULTS.md", page)
    drawn = results.intervals_to_draw(found)
    (root / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    figures.intervals(drawn, xlabel=results.XLABEL, title=results.TITLE, path=root / PICTURE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder --out of cervix_jax.reproduce")
    parser.add_argument("--note", type=Path, help="Markdown file for the head; not with --out")
    arguments = parser.parse_args()
    if arguments.out and arguments.note:
        parser.error("--note is for the published numbers; give it to cervix_jax.reproduce instead")
    if arguments.out:
        publish(arguments.out, ROOT)
    else:
        publish_again(ROOT, arguments.note)


if __name__ == "__main__":
    main()
