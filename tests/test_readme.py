"""The examples of the README and of the site run, and the files that they name exist."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *SITE]
REPOSITORY = "https://github.com/cervix-jax/cervix_jax/"
OF_A_RUN = ["python", "evaluation", "api/runs"]
ALONE = ["data", "api/data", "api/explain", "api/measures", "api/models", "api/statistics"]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks, f"docs/{page}.md has no example"
    return blocks


@pytest.mark.slow
@pytest.mark.parametrize("page", OF_A_RUN)
def test_examples_with_a_run(page, trained, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "rcan").symlink_to(trained[0])
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3), np.uint8)
    (tmp_path / "cells").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "cells" / "cell.png")
    ran = 0
    for block in _blocks(page):
        # examples/python_first.py trains, its own test runs it; the others need a second data set.
        if re.search(r"train_and_evaluate|evaluate_on|images_of_one_slide", block):
            continue
        names = {"images": images, "uint8_images": images, "targets": np.array([0, 1, 2])}
        exec(compile(block, page, "exec"), names)
        ran += 1
        if "maps" in names:
            assert names["maps"].shape[0] == 3
            assert np.isfinite(names["maps"]).all()
    assert ran


@pytest.mark.slow
@pytest.mark.parametrize("page", ALONE)
def test_examples_without_a_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in _blocks(page):
        exec(compile(block, page, "exec"), {})


def test_example_of_measures_prints_what_its_comment_says(capsys):
    (block,) = _blocks("api/measures")
    exec(compile(block, "measures", "exec"), {})
    assert capsys.readouterr().out.split() == ["[1.]"]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_are_named_are_there(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
    for link in re.findall(rf"{REPOSITORY}(?:blob|tree)/main/([^)#\s]+)", text):
        assert (ROOT / link).exists(), link
    folders = "cervix_jax|configs|docs|examples|launch|benchmarks|tests|tfds_builders"
    for name in re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]+\.[a-z]+)\b", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_configs_and_commands_that_are_named_are_there(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"python -m cervix_jax\.(\w+(?:\.\w+)*)", text):
        module = ROOT.joinpath("cervix_jax", *name.split("."))
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), name
    for name in re.findall(r"--config=configs/(\w+)\.py", text):
        assert (ROOT / "configs" / f"{name}.py").exists(), name
