"""Builders of data sets that a program registers, or that an installed package offers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from installed import install, write_package
from PIL import Image

import cervix_jax.data
from cervix_jax.config.fields import fields_of
from cervix_jax.data import builders, catalog
from cervix_jax.errors import InputError
from cervix_jax.evaluate.labelled_images import is_data_set

ROOT = Path(__file__).parents[2]
SOURCE = '''
import numpy as np
import tensorflow_datasets as tfds

from cervix_jax.files.images import png
from PIL import Image


class DrawnSquares(tfds.core.GeneratorBasedBuilder):
    """Dark and bright squares, four of a slide."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="default")]
    GROUP_FEATURE = "slide_id"

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["dark", "bright"]),
                    "filename": tfds.features.Text(),
                    "slide_id": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for number in range(80):
            label = number % 2
            pixels = rng.integers(0, 100, (32, 32, 3)) + 120 * label
            name = f"square{number:02d}.png"
            yield name, {
                "image": png(Image.fromarray(pixels.astype(np.uint8))),
                "label": label,
                "filename": name,
                "slide_id": f"slide{number // 4}",
            }
'''


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """What a test registers is forgotten after it, by TFDS too."""
    monkeypatch.setattr(builders, "_REGISTERED", {})
    registry = tfds.core.registered._DATASET_REGISTRY
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def builder_of(source: str = SOURCE) -> type:
    """The class that the text of a module defines, under the module's name."""
    names = {"__name__": "drawn_squares"}
    exec(source, names)
    return names["DrawnSquares"]


def expect(dataset) -> None:
    assert (dataset.name, dataset.version) == ("drawn_squares/default", "1.0.0")
    assert dataset.class_counts == {"dark": 40, "bright": 40}
    assert dataset.group_counts == {"dark": 20, "bright": 20}
    assert dataset.filenames[0].startswith("square")
    assert (dataset.microns_per_pixel, dataset.image_size) == (None, (32, 32))
    bright = [int(np.mean(dataset.decoded_source[i]["image"])) > 110 for i in range(80)]
    np.testing.assert_array_equal(bright, dataset.labels == 1)


def test_a_registered_builder_is_opened_like_any_other(tmp_path):
    assert cervix_jax.data.register is builders.register
    cervix_jax.data.register("drawn_squares", builder_of())
    expect(catalog.load("drawn_squares/default", data_dir=tmp_path))
    assert "drawn_squares/default" in catalog.dataset_names()
    assert is_data_set("drawn_squares/default")
    assert not is_data_set("drawn_circles/default")
    with pytest.raises(InputError, match="did you mean 'drawn_squares'"):
        catalog.find_builder("drawn_square/default")
    with pytest.raises(InputError, match=r"no config 'other'.*choose one of drawn_squares/default"):
        catalog.find_builder("drawn_squares/other")


def test_an_installed_builder_is_imported_when_it_is_named(tmp_path, monkeypatch):
    install(monkeypatch, tmp_path, "squares", SOURCE, datasets={"drawn_squares": "DrawnSquares"})
    assert "drawn_squares" in catalog.builder_names()
    assert "squares" not in sys.modules
    expect(catalog.load("drawn_squares/default", data_dir=tmp_path / "data"))
    assert "drawn_squares/default" in catalog.dataset_names()


SETTINGS = (
    """
import dataclasses
from cervix_jax.data.settings import BuilderSettings, check_settings, register_settings, setting

@dataclasses.dataclass(frozen=True)
class Settings:
    number: int = setting(3, "Number of squares", 1, 9)

register_settings("drawn_squares", BuilderSettings(Settings, lambda base, **given: base))
"""
    + SOURCE
)


def test_settings_of_an_installed_builder_are_fields_of_the_config(tmp_path, monkeypatch):
    settings = catalog.REGISTERED
    monkeypatch.setattr(catalog, "REGISTERED", settings)
    install(monkeypatch, tmp_path, "squares", SETTINGS, datasets={"drawn_squares": "DrawnSquares"})
    try:
        assert "data.settings.number" in fields_of("drawn_squares/default")
        given = catalog.parse_data_settings("drawn_squares/default", ["number=4"])
        assert given == {"number": 4}
    finally:
        settings.pop("drawn_squares", None)


def changed(old: str, new: str) -> str:
    assert old in SOURCE
    return SOURCE.replace(old, new)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (changed('GROUP_FEATURE = "slide_id"', ""), "it has no GROUP_FEATURE"),
        (changed('BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="default")]', ""), "no config"),
        (changed("DrawnSquares", "Squares"), "module 'squares' has no attribute 'DrawnSquares'"),
        ("DrawnSquares = int", "int is not a subclass of tensorflow_datasets.core.Generator"),
        (changed("(tfds.core", "(nothing.core"), "(NameError: name 'nothing' is not defined)"),
        ("class DrawnSquares(", "squares:DrawnSquares fails (SyntaxError: "),
    ],
)
def test_an_installed_builder_that_cannot_be_used_is_named_with_its_package(
    tmp_path, monkeypatch, source, message
):
    install(monkeypatch, tmp_path, "squares", source, datasets={"drawn_squares": "DrawnSquares"})
    with pytest.raises(InputError) as error:
        catalog.load("drawn_squares/default", data_dir=tmp_path / "data")
    text = str(error.value)
    package = "data set builder 'drawn_squares' of the installed package squares 1.0: "
    assert text.startswith(f"data set 'drawn_squares/default': {package}")
    assert message in text
    with pytest.raises(InputError, match="of the installed package squares"):
        fields_of("drawn_squares/default")
    # It does not stand in the way of the others.
    assert "sipakmed/single_cell" in catalog.dataset_names()
    assert "drawn_squares/default" not in catalog.dataset_names()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"filename": tfds.features.Text(),', "", "has no feature 'filename'"),
        ('"slide_id": tfds.features.Text(),', "", "'slide_id'; define it as tfds.features.Text()"),
        ('names=["dark", "bright"]', "", "has another kind of feature 'label'"),
        ("(None, None, 3)", "(None, None, 1)", "has another kind of feature 'image'"),
    ],
)
def test_features_that_are_missing_are_named_before_anything_is_prepared(
    tmp_path, old, new, message
):
    cervix_jax.data.register("drawn_squares", builder_of(changed(old, new)))
    with pytest.raises(InputError) as error:
        catalog.load("drawn_squares/default", data_dir=tmp_path)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_file_names_that_repeat_are_refused(tmp_path):
    source = changed('"filename": name', '"filename": "same.png"')
    cervix_jax.data.register("drawn_squares", builder_of(source))
    with pytest.raises(InputError, match=r"1 file names to more than one example .*'same.png'"):
        catalog.load("drawn_squares/default", data_dir=tmp_path)


def test_names_that_clash_are_refused(tmp_path, monkeypatch):
    builder_cls = builder_of()
    with pytest.raises(InputError, match="'herlev' is part of cervix_jax"):
        cervix_jax.data.register("herlev", builder_cls)
    with pytest.raises(
        InputError, match=r"the name 'drawn_squares' from .* of DrawnSquares; register"
    ):
        cervix_jax.data.register("circles", builder_cls)
    install(monkeypatch, tmp_path / "a", "squares", SOURCE, datasets={"herlev": "DrawnSquares"})
    with pytest.raises(InputError, match=r"cervix_jax has one of this name.*squares 1\.0 offers"):
        catalog.find_builder("herlev/default")
    assert catalog.find_builder("cric/cell").name == "cric"
    for name in ("b", "c"):
        entry = {"drawn_squares": "DrawnSquares"}
        install(monkeypatch, tmp_path / name, f"squares-{name}", SOURCE, datasets=entry)
    with pytest.raises(InputError, match=r"squares-c 1\.0 and squares-b 1\.0 both offer it"):
        catalog.find_builder("drawn_squares/default")


@pytest.mark.slow
def test_every_command_takes_an_installed_data_set_and_model(tmp_path):
    plugin = write_package(
        tmp_path / "plugin", "squares", f"from small import small\n{SOURCE}",
        datasets={"drawn_squares": "DrawnSquares"}, models={"net_of_squares": "small"},
    )  # fmt: skip
    name, data = "drawn_squares/default", f"--data_dir={tmp_path / 'data'}"
    places = os.pathsep.join(map(str, (plugin, ROOT, ROOT / "tests")))

    def run(command: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"cervix_jax.{command}", *arguments], cwd=ROOT, text=True,
            env=os.environ | {"PYTHONPATH": places}, capture_output=True, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "80 examples, 20 groups (slide_id)" in run("prepare", f"--dataset={name}", data)
    run("audit", f"--dataset={name}", data, f"--out={tmp_path}/audit")
    folder = f"--workdir={tmp_path / 'run'}"
    trained = run(
        "main", f"--config=configs/resnet50.py:{name}", folder, "--config.num_epochs=1",
        "--config.model.name=net_of_squares", f"--config.data.data_dir={tmp_path / 'data'}",
        "--config.image_size=32", "--config.batch_size=16", "--config.split.folds=4",
    )  # fmt: skip
    assert "n = 20" in trained
    assert "bright" in trained
    on = run("evaluate", folder, f"--on={name}", data, f"--out={tmp_path / 'on'}")
    assert "80" in on


def test_the_builder_of_the_page_on_extending_works(tmp_path):
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (block,) = [
        each.partition("```")[0] for each in page.split("```python\n") if "HospitalCells(" in each
    ]
    names = {"__name__": "hospital"}
    exec(block, names)
    for label in ("NILM", "LSIL", "HSIL"):
        (tmp_path / "raw" / label).mkdir(parents=True)
        for slide in range(2):
            pixels = np.random.default_rng(slide).integers(0, 256, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "raw" / label / f"slide{slide}_a.png")
    cervix_jax.data.register("hospital_cells", names["HospitalCells"])
    dataset = catalog.load(
        "hospital_cells/default", manual_dir=tmp_path / "raw", data_dir=tmp_path / "data"
    )
    assert dataset.class_counts == {"NILM": 2, "LSIL": 2, "HSIL": 2}
    assert set(dataset.groups) == {"slide0", "slide1"}
    assert "HSIL/slide1_a.png" in dataset.filenames


def test_a_data_set_in_the_place_of_its_name_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"^the data set is given as dict; give its name"):
        catalog.load({"cells": 1})  # pyright: ignore[reportArgumentType]
