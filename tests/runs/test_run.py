import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from selection import few
from small import Small, get_config

from cervix_jax import evaluate_run, load_run, models
from cervix_jax.config.base import base_config
from cervix_jax.data.experiment import open_data
from cervix_jax.distributed import make_mesh
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.models.build import build_model, compute_dtype
from cervix_jax.models.layers import BatchNorm
from cervix_jax.models.resnet import ResNet
from cervix_jax.runs.checkpoint import find_best_step, list_steps, read_arrays
from cervix_jax.runs.fit import fitted
from cervix_jax.runs.inference import make_forward, predict_split, probabilities_of
from cervix_jax.runs.run import Run, as_run
from cervix_jax.training.run import train_and_evaluate


@pytest.fixture(scope="module")
def run(trained):
    return load_run(trained[0])


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (20 + 3 * i, 30, 3), np.uint8) for i in range(5)]


def test_probabilities_of_images_of_any_size(run, images):
    probabilities = run.predict(images)
    assert probabilities.shape == (5, len(run.class_names))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_an_image(run, images, batch_size):
    for answer in (run.logits, run.features):
        with pytest.raises(InputError, match=f"batch_size={batch_size}: give a whole"):
            answer(images, batch_size=batch_size)


@pytest.mark.parametrize("given", [["a.png"], [[[[0, 0, 0]]]]])
def test_what_is_no_array_is_told_by_its_kind(run, given):
    with pytest.raises(InputError, match=r"image 0 is a (str|list); give arrays"):
        run.logits(given)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((20, 30, 3), 255, np.uint8), "has one colour only"),
        (np.eye(20, dtype=np.uint8)[..., None].repeat(3, -1), "has only 2 colours"),
        (np.zeros((0, 5, 3), np.uint8), "is uint8 [0, 5, 3]"),
    ],
)
def test_an_array_that_shows_nothing_is_refused_as_a_file_is(run, images, image, reason):
    with pytest.raises(InputError, match=re.escape(f"image 5 {reason}")):
        run.predict([*images, image])
    if image.size:
        assert run.logits([image]).shape == (1, 5)


def test_batch_size_does_not_change_the_result(run, images):
    np.testing.assert_allclose(run.predict(images, batch_size=2), run.predict(images), atol=1e-6)


@pytest.mark.slow
def test_model_and_preprocess_are_what_predict_does(run, images):
    logits, out = run.model(run.preprocess(images))
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(
        run.predict(images), exponents / exponents.sum(-1, keepdims=True), atol=1e-5
    )
    assert {"stem", "stage4", "pre_logits"} <= set(out)


def test_no_images_is_no_rows(run):
    assert run.predict([]).shape == run.logits([]).shape == (0, 5)
    assert run.features([], names=["pre_logits"])["pre_logits"].shape == (0, 68)


def test_logits_are_those_of_evaluation(run, trained):
    """Bit for bit, since both run one program on batches of one size."""
    data = run.open_data()
    images = data.pipeline.images(data.indices("test"))
    logits = run.logits(images, batch_size=run.config.eval_batch_size)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(
        logits, np.load(trained[0] / "evaluate" / "test_predictions_logits.npy")
    )
    np.testing.assert_array_equal(
        run.predict(images, batch_size=run.config.eval_batch_size),
        probabilities_of(logits),
    )


def test_features_are_those_of_the_model(run, images):
    features = run.features(images, batch_size=2)
    logits, out = run.model(run.preprocess(images))
    assert features.keys() == {"logits", *out}
    for name, found in features.items():
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(
            found, logits if name == "logits" else out[name], rtol=1e-3, atol=1e-4
        )
    few = run.features(images, names=["logits", "stage1"])
    assert few.keys() == {"logits", "stage1"}
    with pytest.raises(InputError, match=r"no feature 'stage9'; it has .*stage1"):
        run.features(images, names=["stage9"])


def test_functions_are_one_object(run):
    assert run.logits_fn is run.logits_fn
    assert run.features_fn is run.features_fn
    other = run.with_variables(run.variables)
    assert other.logits_fn is not run.logits_fn
    assert other.workdir == run.workdir


def test_a_run_knows_its_folder(run, trained):
    assert run.workdir == trained[0]
    assert Run(run.config, run.dataset, run.variables, run.step).workdir is None


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=["float", "grey", "alpha", "empty"],
)
def test_other_arrays_are_bad_input(run, image):
    with pytest.raises(InputError, match=r"image 0 is .* give uint8 images"):
        run.predict([image])


def test_best_and_latest_and_numbered_steps(trained):
    folder, report = trained
    steps = list_steps(folder / "checkpoints")
    assert load_run(folder).step == report["step"]
    assert load_run(folder, "latest").step == steps[-1] == 9
    assert load_run(folder, steps[0]).step == steps[0]
    with pytest.raises(InputError, match="has no checkpoint 5"):
        load_run(folder, 5)


def test_best_is_the_best_by_validation_accuracy(trained):
    folder, report = trained
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: (row["val/accuracy"], row["step"]))
    assert report["step"] == best["step"] == find_best_step(folder / "checkpoints", "accuracy")


def test_arrays_are_read_without_the_model(trained):
    folder, report = trained
    arrays = read_arrays(folder / "checkpoints", report["step"], "params", "ema", "absent")
    assert set(arrays) == {"params", "ema"}
    kernel = arrays["params"]["features"]["conv0"]["kernel"]
    assert isinstance(kernel, np.ndarray)
    assert kernel.shape == (7, 7, 3, 64)
    assert not np.array_equal(kernel, arrays["ema"]["params"]["features"]["conv0"]["kernel"])


def test_a_copied_workdir_loads_elsewhere(trained, tmp_path, images):
    shutil.copytree(trained[0], tmp_path / "copy")
    np.testing.assert_array_equal(
        load_run(tmp_path / "copy").predict(images), load_run(trained[0]).predict(images)
    )


def test_folders_that_are_no_runs(tmp_path, trained):
    with pytest.raises(InputError, match="not the folder of a run"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_run(tmp_path)
    shutil.copy(trained[0] / "config.json", tmp_path)
    with pytest.raises(InputError, match="no checkpoint yet"):
        load_run(tmp_path)


def test_damaged_checkpoint_is_bad_input(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "copy")
    for path in (tmp_path / "copy" / "checkpoints").glob("*/state/d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_run(tmp_path / "copy")


def test_compute_dtype():
    assert compute_dtype("bfloat16") == jnp.bfloat16
    assert compute_dtype("auto") == jnp.float32, "the tests run on the CPU"
    with pytest.raises(InputError, match=r"model\.dtype='half'"):
        compute_dtype("half")


@pytest.mark.slow
def test_models_with_lists_of_layers_are_loaded_too(tiny_config, monkeypatch, tmp_path):
    """ResNet-50 and RAN-92 hold lists, whose keys are numbers in memory and text on disk."""

    def tiny_resnet(*, dropout_rate: float, **fixed):
        return ResNet(blocks=(1, 1, 1, 1), dropout_rate=dropout_rate, **fixed)

    monkeypatch.setitem(models._FACTORIES, "tiny_resnet", tiny_resnet)
    monkeypatch.setattr(models, "NAMES", (*models.NAMES, "tiny_resnet"))
    config = tiny_config()
    config.model.name = "tiny_resnet"
    config.num_epochs = 1
    report = train_and_evaluate(config, tmp_path)
    run = load_run(tmp_path)
    assert type(run.model) is ResNet
    path = tmp_path / "evaluate" / "test.json"
    assert json.loads(path.read_text()) == report
    data = open_data(config, make_mesh())
    forward = make_forward(run.graphdef, config.model.normalization, make_mesh())
    predictions = predict_split(forward, run.variables, data.pipeline, data.indices("test"), 8)
    accuracy = (predictions.logits.argmax(-1) == predictions.labels).mean()
    assert accuracy == pytest.approx(report["accuracy"])


@pytest.mark.parametrize("name", few(models.NAMES, 2))
def test_weights_of_every_network_fit_it_as_a_checkpoint_names_them(name, tmp_path):
    """A checkpoint has only strings as keys, and a list of blocks has numbers."""
    config = base_config("sipakmed/single_cell")
    config.model.name = name

    def strings(tree):
        if not isinstance(tree, dict):
            return tree
        return {str(key): strings(below) for key, below in tree.items()}

    abstract = nnx.eval_shape(lambda: build_model(config, 5))
    _, params, stats = nnx.split(abstract, nnx.Param, ...)
    variables = {
        "params": strings(nnx.to_pure_dict(params)),
        "stats": strings(nnx.to_pure_dict(stats)),
    }
    fitted(tmp_path, config, 5, variables)
    with pytest.raises(InputError, match=r"these are not the weights of .* with 4 classes"):
        fitted(tmp_path, config, 4, variables)


def test_a_workflow_takes_a_run_or_its_folder(trained):
    folder, _ = trained
    run = load_run(folder)
    assert as_run(run) is run
    assert as_run(str(folder)).step == run.step
    with pytest.raises(InputError, match="not the folder of a run"):
        as_run(folder / "nowhere")


class Long(Small):
    """Twelve layers in a list, of which each does something else."""

    def __init__(self, **options):
        super().__init__(**options)
        self.blocks = nnx.List([BatchNorm(16) for _ in range(12)])

    def endpoints(self, images, perturb):
        out = super().endpoints(images, perturb)
        last = out["pre_logits_2d"]
        for block in self.blocks:
            last = nnx.silu(block(last))
        return out | {"pre_logits_2d": last}


def test_layers_of_a_long_list_keep_their_order(config_of_small, tmp_path):
    def long(*, dropout_rate: float = 0.0, **fixed) -> Long:
        return Long(dropout_rate=dropout_rate, **fixed)

    models.register("long", long)
    config = config_of_small
    config.model.name, config.num_epochs = "long", 1
    train_and_evaluate(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert list(run.variables["stats"]["blocks"]) == list(range(12))
    arrays = read_arrays(tmp_path / "run" / "checkpoints", run.step, "ema")["ema"]
    for number, block in enumerate(run.model.blocks):
        stored = arrays["stats"]["blocks"][str(number)]["mean"]
        np.testing.assert_array_equal(block.mean[...], stored)
    data = run.open_data()
    table = read_table(tmp_path / "run" / "evaluate" / "test_predictions.csv")
    found = run.predict(data.pipeline.images(data.indices("test")))
    np.testing.assert_allclose(found, table.probabilities, atol=1e-6)
    report = evaluate_run(run, adapt="group", out=tmp_path / "adapted")
    assert report["adapt"] == "group"


@pytest.fixture
def config_of_small(prepared):
    return get_config(str(prepared))
