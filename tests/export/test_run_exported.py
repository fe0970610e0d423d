"""`examples/run_exported.py`, which has no cervix_jax."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cervix_jax import load_run
from cervix_jax.data.decode import RESIZE_MODES, decode_square

pytestmark = pytest.mark.slow  # a program for three platforms is traced and compiled

EXAMPLE = Path(__file__).parents[2] / "examples" / "run_exported.py"
ALONE = """
import runpy, sys
sys.modules.update(cervix_jax=None, flax=None)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def photographs(tmp_path):
    """Images of several shapes and modes."""
    random = np.random.default_rng(0)
    paths = []
    for number, (shape, mode) in enumerate(
        [((40, 40, 3), "RGB"), ((25, 61), "L"), ((70, 33, 4), "RGBA")]
    ):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(random.integers(0, 256, shape, np.uint8), mode).save(paths[-1])
    return paths


@pytest.mark.slow
def test_it_gives_the_classes_of_the_run_without_this_package(exported, trained, photographs):
    found = subprocess.run(
        [sys.executable, "-c", ALONE, EXAMPLE, exported, *photographs],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert not found.returncode, found.stderr
    run = load_run(trained[0])
    expected = run.predict([decode_square(path.read_bytes(), 32) for path in photographs])
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in photographs]
    assert [line[1] for line in lines] == [run.class_names[row.argmax()] for row in expected]
    np.testing.assert_allclose([float(line[2]) for line in lines], expected.max(1), atol=1e-4)


@pytest.mark.parametrize("rule", RESIZE_MODES)
def test_it_resizes_as_in_training(photographs, rule):
    square = runpy.run_path(str(EXAMPLE))["square"]
    for path in photographs:
        for scale in (0.37, 0.9, 1.0, 2.1):
            ours = decode_square(path.read_bytes(), 32, rule, scale=scale)
            np.testing.assert_array_equal(square(path, 32, rule, scale), ours)


def spoil(folder: Path, what: str) -> None:
    if what == "tampered":
        with (folder / "weights.safetensors").open("r+b") as file:
            file.seek(-4, 2)
            file.write(b"\1\2\3\4")
    elif what == "no card":
        (folder / "card.json").write_text(json.dumps({}))
    else:
        (folder / what).unlink()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("tampered", r"weights\.safetensors differs from the exported file"),
        ("model.stablehlo", r"No such file or directory: '.*model\.stablehlo'"),
        ("card.json", r"No such file or directory: '.*card\.json'"),
        ("no card", "sha256"),
    ],
)
def test_spoilt_folders_have_one_line(copy, photographs, monkeypatch, what, said):
    spoil(copy, what)
    monkeypatch.setattr(sys, "argv", ["run_exported.py", str(copy), str(photographs[0])])
    with pytest.raises(SystemExit, match=f"^error: .*{said}"):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
