"""What the README shows, done; and what it names, there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


@pytest.mark.slow
def test_python_blocks_run(trained, tmp_path, monkeypatch):
    folder = trained[0]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "rcan").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    step = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3), np.uint8)
    (tmp_path / "cells").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "cells" / "cell.png")
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        if "explain_run" in block:  # examples/python_first.py does this, and its test runs it
            continue
        code = re.sub(
            r"/absolute/path/runs/rcan/checkpoints/\d+", f"{folder}/checkpoints/{step}", block
        )
        names = {"images": images, "uint8_images": images, "targets": np.array([0, 1, 2])}
        exec(compile(code, "README.md", "exec"), names)
        if "maps" in names:
            assert names["maps"].shape[0] == 3
            assert np.isfinite(names["maps"]).all()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_are_named_are_there(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", text)
    for link in links:
        assert (page.parent / link).exists(), link
    folders = "cervix_jax|configs|docs|examples|launch|benchmarks|tests|tfds_builders"
    for name in re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]+\.[a-z]+)\b", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_configs_and_commands_that_are_named_are_there(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"python -m cervix_jax\.(\w+(?:\.\w+)*)", text):
        module = ROOT.joinpath("cervix_jax", *name.split("."))
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), name
    for name in re.findall(r"--config=configs/(\w+)\.py", text):
        assert (ROOT / "configs" / f"{name}.py").exists(), name
