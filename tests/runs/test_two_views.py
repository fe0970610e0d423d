"""A run that sees each image twice: whole, and at a fixed resolution, side by side."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small import get_config

from cervix_jax import evaluate_run, explain_run, load_run
from cervix_jax.data.augment import make_augment
from cervix_jax.data.decode import TWO_VIEWS, resize_square
from cervix_jax.distributed import make_mesh
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.explanations.annotations import read_annotations
from cervix_jax.explanations.selection import select
from cervix_jax.explanations.source import scale_in
from cervix_jax.export.folder import export_run, load_exported
from cervix_jax.predict.workflow import predict_images
from cervix_jax.runs.inference import make_forward, over_symmetries
from cervix_jax.training.check import check_config
from cervix_jax.training.run import train_and_evaluate


@pytest.fixture(scope="module")
def config(prepared):
    config = get_config(str(prepared))
    config.update({"num_epochs": 1})
    config.data.update({"resize": "stretch+scale", "microns_per_pixel": 0.7})
    return config


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("views") / "run"
    train_and_evaluate(config, path)
    return path


@pytest.fixture
def run(folder):
    return load_run(folder)


def stored_images(run, count=4):
    data = run.open_data()
    indices = data.indices("test")[:count]
    return data, indices, [data.dataset.decoded_source[int(i)]["image"] for i in indices]


def test_training_evaluation_and_single_images_see_the_same(run, folder):
    assert run.model.views == 2
    assert run.picture_shape == (32, 64, 3)
    assert run.field_of_view is None
    data, indices, images = stored_images(run)
    squares = data.pipeline.images(indices)
    expected = [resize_square(image, 32, "stretch+scale", 0.5) for image in images]
    np.testing.assert_array_equal(squares, expected)
    np.testing.assert_array_equal(run.squares(images), squares)
    np.testing.assert_array_equal(run.logits(images), run.logits(squares))
    table = read_table(folder / "evaluate" / "test_predictions.csv")
    names = [data.dataset.filenames[index] for index in indices]
    rows = [table.filenames.index(name) for name in names]
    np.testing.assert_allclose(run.predict(images), table.probabilities[rows], atol=1e-6)
    assert run.predict([]).shape == (0, 5)
    assert run.features(images, names="pre_logits")["pre_logits"].shape == (4, 32)
    assert run.features([], names="stage4")["stage4"].shape[2] == 8


def test_predict_gives_what_evaluation_gave(run, folder, tmp_path):
    data, indices, images = stored_images(run)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    predict_images(run, [tmp_path], out=tmp_path / "out.csv", overlay=tmp_path / "maps")
    table = read_table(folder / "evaluate" / "test_predictions.csv")
    names = [data.dataset.filenames[index] for index in indices]
    expected = table.probabilities[[table.filenames.index(name) for name in names]]
    found = read_table(tmp_path / "out.csv", labelled=False).probabilities
    np.testing.assert_allclose(found, expected, atol=2e-4)  # as written
    drawings = sorted((tmp_path / "maps").iterdir())
    for path, image in zip(drawings, images, strict=True):
        with Image.open(path) as drawn:
            width = drawn.width
        assert width / image.shape[1] == pytest.approx(256 / min(image.shape[:2]), rel=0.02)


def test_evaluation_turns_each_square(run, tmp_path):
    _, _, images = stored_images(run)
    squares = run.squares(images)
    forward = make_forward(run.graphdef, run.config.model.normalization, make_mesh())
    averaged = over_symmetries(forward, 2)(run.variables, jnp.asarray(squares))
    expected = []
    for flip in (False, True):
        for turns in range(4):
            halves = np.split(squares[:, :, ::-1] if flip else squares, 2, axis=2)
            halves = halves[::-1] if flip else halves
            turned = np.concatenate([np.rot90(half, turns, (1, 2)) for half in halves], axis=2)
            expected.append(run.predict(turned))
    np.testing.assert_allclose(jax.nn.softmax(averaged, -1), np.mean(expected, 0), atol=1e-6)
    assert evaluate_run(run, "test", tta=True, out=tmp_path)["tta"]


def test_an_export_takes_both_squares(run, tmp_path, monkeypatch, capsys):
    export_run(run, tmp_path / "export")
    exported = load_exported(tmp_path / "export")
    _, _, images = stored_images(run)
    squares = run.squares(images)
    np.testing.assert_allclose(exported.predict(squares), run.predict(squares), atol=1e-5)
    assert (exported.card["size"], exported.card["width"]) == (32, 64)
    assert "the right one: scaled about its centre" in exported.card["input"]
    with pytest.raises(InputError, match=r"\[N, 32, 64, 3\]"):
        exported.predict(squares[:, :, :32])
    # The code of the model card, with the resolution of these images in it.
    Image.fromarray(images[0]).save(tmp_path / "export" / "cell.png")
    monkeypatch.chdir(tmp_path / "export")
    code = Path("README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(code.replace("scale = 0.25 /", "scale = 0.35 /"), "README.md", "exec"), {})
    printed = eval(capsys.readouterr().out.splitlines()[-1])
    np.testing.assert_allclose(list(printed.values()), run.predict(squares)[0], atol=1e-5)


def test_masks_and_maps_lie_over_both_squares(run, tmp_path):
    data, indices, _ = stored_images(run)
    selection = select(run, data.dataset, data.pipeline, indices, count=4)
    scale = scale_in(run, data.dataset)
    found = read_annotations(selection, resize="stretch+scale", scale=scale, nucleus_radius=0.0)
    assert found is not None
    nuclei = found.masks[:, found.names.index("nucleus")]
    assert nuclei.shape == (4, 32, 64)
    for pixels, mask in zip(selection.pixels, nuclei, strict=True):
        for half in (slice(32), slice(32, 64)):
            own = pixels[:, half]
            assert own[mask[:, half]].mean() < own[~mask[:, half]].mean()  # nuclei are dark
    explain_run(run, methods=["saliency", "grad_cam"], images=4, out=tmp_path, effort=None)
    assert list(tmp_path.rglob("*.png"))


def test_the_augmentation_draws_once_for_both_squares():
    square = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    both = np.concatenate([square, square], axis=2)
    key, labels = jax.random.key(0), np.arange(3)
    pixels, targets = make_augment({"preset": "cytology"}, views=2)(key, both, labels, 3)
    alone, same = make_augment({"preset": "cytology"})(key, square, labels, 3)
    np.testing.assert_array_equal(pixels[:, :, :24], alone)
    np.testing.assert_array_equal(pixels[:, :, 24:], alone)
    np.testing.assert_array_equal(targets, same)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"resize": "stretch+scale"}, r"stretch\+scale needs data\.microns_per_pixel"),
        ({"resize": "scale+stretch"}, r"data\.resize"),
    ],
)
def test_fields_that_do_not_fit(config, given, reason):
    wrong = config.copy_and_resolve_references()
    wrong.data.update({"microns_per_pixel": 0.0} | given)
    with pytest.raises(InputError, match=reason):
        check_config(wrong)


def test_modes_name_their_squares():
    assert TWO_VIEWS == ("stretch+scale", "pad+scale")
