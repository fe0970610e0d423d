"""Every tutorial runs as a script in a process of its own, and is a notebook."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
# What each prints, beside numbers that depend on the machine.
PRINTED = {
    "own_images": [
        r"120 images of 30 patients\n\{'large_nucleus': 60, 'small_nucleus': 60\}",
        r"120 b'\w+_nucleus/patient\d\d_\d.png' \(64, 64, 3\)",
        r"\{'large_nucleus': [01]\.\d+, 'small_nucleus': [01]\.\d+\}",
        r"open tutorial_own_images/run/report.html in a browser",
    ],
    "attribution_for_any_flax_model": [
        r"accuracy on 300 test images: 0\.[89]\d\d",
        r"saliency +deletion 0\.[01]\d\d  insertion 0\.[6-9]\d\d",
        r"random values +deletion 0\.[3-9]\d\d",
        r"integrated gradients +\{'head': ",
        r"the saliency of a linear model is its weights",
    ],
    "read_and_compare_runs": [
        r"learning_rate_0.0001: accuracy \d\.\d\d on 40 test images",
        r"two_convolutions, step \d+, classes Dyskeratotic, Koilocytotic",
        r"both ways give the same weights",
        r"A is right on \d+ and B on \d+",
        r"\d+ of 40 images\n",
    ],
}


def test_every_tutorial_is_tested_and_listed():
    assert {path.stem for path in TUTORIALS} == set(PRINTED)
    index = (ROOT / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    for path in TUTORIALS:
        assert path.name in index


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_as_a_script_without_data(path, tmp_path):
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=900,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for expected in PRINTED[path.stem]:
        assert re.search(expected, done.stdout), (expected, done.stdout)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_becomes_a_notebook(path, tmp_path):
    jupytext, nbformat = pytest.importorskip("jupytext"), pytest.importorskip("nbformat")
    out = tmp_path / f"{path.stem}.ipynb"
    notebook = jupytext.read(path)
    jupytext.write(notebook, out)
    read = nbformat.read(out, as_version=4)
    nbformat.validate(read)
    kinds = [cell.cell_type for cell in read.cells]
    assert min(kinds.count("markdown"), kinds.count("code")) >= 5
    assert read.cells[0].cell_type == "markdown"
    assert read.cells[0].source.startswith("# ")
    assert read.metadata.kernelspec.name == "python3"
    source = "\n".join(cell.source for cell in read.cells if cell.cell_type == "code")
    compile(source, path.name, "exec")
    assert source.count("plt.show()") >= 1  # pictures appear in the notebook
    assert "__file__" not in source  # a notebook has none
