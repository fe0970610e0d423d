"""A run that version 0.1 trained, with its own config.json, checkpoint and evaluation."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small import small

import cervix_jax
from cervix_jax import explain_run, load_run, models, predict_images
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.runs.inference import probabilities_of

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_0_1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the run; its network is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_FACTORIES", dict(models._FACTORIES))
        models.register("small", small)
        yield Path(shutil.copytree(FIXTURE, tmp_path_factory.mktemp("old") / "run"))


@pytest.fixture(scope="module")
def run(folder):
    return load_run(folder)


@pytest.fixture(scope="module")
def stored():
    """The probabilities of the test images as version 0.1 wrote them, float32 [10, 5]."""
    return probabilities_of(np.load(FIXTURE / "evaluate" / "test_predictions_logits.npy"))


def test_it_loads(run, folder):
    assert (run.step, run.workdir, run.config.model.name) == (12, folder, "small")
    assert load_run(folder, "latest").step == 12
    assert run.dataset["name"] == "cervix_phantom/single_cell"
    assert (run.config.data.resize, run.config.data.microns_per_pixel) == ("stretch", 0.0)
    assert run.microns_per_pixel is run.field_of_view is None


def test_its_probabilities_are_the_same(run, prepared, stored):
    data = run.open_data(data_dir=str(prepared))
    images = data.pipeline.images(data.indices("test"))
    np.testing.assert_allclose(run.predict(images), stored, atol=1e-6)


def test_it_is_evaluated(run, folder, prepared, stored):
    before = json.loads((FIXTURE / "evaluate" / "test.json").read_text())
    report = cervix_jax.evaluate_run(run, "test", data_dir=str(prepared))
    for name in ("accuracy", "accuracy_interval", "n", "protocol", "fold", "leakage",
                 "confusion_matrix", "class_names"):  # fmt: skip
        assert report[name] == before[name], name
    table = read_table(folder / "evaluate" / "test_predictions.csv")
    old = read_table(FIXTURE / "evaluate" / "test_predictions.csv")
    assert list(table.filenames) == list(old.filenames)
    np.testing.assert_allclose(table.probabilities, stored, atol=1e-6)


def test_it_predicts_files(run, folder, prepared, stored, tmp_path):
    data = run.open_data(data_dir=str(prepared))
    index = data.indices("test")[0]
    (tmp_path / "cell.png").write_bytes(data.dataset.encoded_image(index))
    predict_images(run, [tmp_path / "cell.png"], out=tmp_path / "out.csv")
    written = (tmp_path / "out.csv").read_text()
    assert run.class_names[stored[0].argmax()] in written
    assert load_run(folder).weights_digest() == run.weights_digest()


def test_it_is_explained(run, prepared, tmp_path):
    report = explain_run(
        run, methods=["saliency"], images=2, effort=None, data_dir=str(prepared), out=tmp_path
    )
    assert "saliency" in report["methods"]
    assert any(tmp_path.rglob("saliency*"))
