"""The command as a user runs it: what it says and how it exits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from selection import few

ROOT = Path(__file__).parents[2]


def run_main(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cervix_jax.main", *arguments],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def assert_one_line(done: subprocess.CompletedProcess, *parts: str):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for part in parts:
        assert part in errors[0]


@pytest.fixture
def tree(tmp_path):
    """A SIPaKMeD tree with two crops a class."""
    for name in (
        "Dyskeratotic",
        "Koilocytotic",
        "Metaplastic",
        "Parabasal",
        "Superficial-Intermediate",
    ):
        folder = tmp_path / "raw" / f"im_{name}" / "CROPPED"
        folder.mkdir(parents=True)
        for cell in (1, 2):
            image = Image.new("RGB", (40, 40), (cell, 80, 90))
            image.putpixel((cell, cell), (200, 80, 90))
            image.save(folder / f"001_{cell:02d}.bmp")
    return tmp_path / "raw"


def sipakmed(tmp_path, tree, *more):
    return run_main(
        "--config=configs/rcan.py:sipakmed/single_cell",
        f"--config.data.manual_dir={tree}",
        f"--config.data.data_dir={tmp_path / 'prepared'}",
        f"--workdir={tmp_path / 'run'}",
        *more,
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    few(
        [
            (
                ["--config=configs/rcan.py", "--config.learning_rat=1"],
                ["learning_rat", "did you mean"],
            ),
            (["--config=configs/rcan.py", "--config.batch_size=many"], ["batch_size"]),
            (["--config=configs/none.py"], ["configs/none.py"]),
            (["--config=configs/rcan.py:sipakmet/single_cell"], ["sipakmet", "sipakmed"]),
            (["--config=configs/rcan.py:a,recipe=best"], ["recipe=best", "paper"]),
            (
                ["--config=configs/rcan.py", "--config.model.name=rcam"],
                ["rcam", "did you mean 'rcan'"],
            ),
            (["--config=configs/rcan.py", "--confg=1"], ["confg"]),
            ([], ["config"]),
        ],
        1,
    ),
    ids=lambda value: value[-1] if value and value[0].startswith("--") else "",
)
def test_bad_arguments_are_one_line_and_exit_code_2(tmp_path, arguments, parts):
    done = run_main(*arguments, f"--workdir={tmp_path / 'run'}", XDG_CACHE_HOME=str(tmp_path))
    assert_one_line(done, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_data_folder_that_is_not_there(tmp_path, tree):
    assert_one_line(sipakmed(tmp_path, tmp_path / "gone"), "gone", "does not exist")


@pytest.mark.slow
def test_class_folder_that_is_not_there(tmp_path, tree):
    (tree / "im_Parabasal").rename(tmp_path / "elsewhere")
    assert_one_line(sipakmed(tmp_path, tree), "im_Parabasal")


@pytest.mark.slow
def test_incomplete_set_names_the_counts(tmp_path, tree):
    assert_one_line(sipakmed(tmp_path, tree), "im_Dyskeratotic", "813", "2")


@pytest.mark.parametrize("damage", few(["truncated", "not an image"], 1))
@pytest.mark.slow
def test_damaged_image_is_named(tmp_path, tree, damage):
    path = tree / "im_Metaplastic" / "CROPPED" / "001_02.bmp"
    path.write_bytes(path.read_bytes()[:600] if damage == "truncated" else b"hello")
    done = sipakmed(tmp_path, tree, "--config.data.check_counts=False")
    assert_one_line(done, "001_02.bmp")
    assert not list((tmp_path / "prepared").rglob("*.array_record*"))


@pytest.mark.slow
def test_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_main("--config=configs/rcan.py", f"--workdir={tmp_path / 'file' / 'run'}")
    assert_one_line(done, str(tmp_path / "file"))


@pytest.mark.slow
def test_help_lists_the_flags():
    done = run_main("--help")
    assert done.returncode == 0
    assert "--config" in done.stdout
    assert "--workdir" in done.stdout
