import importlib.util
from pathlib import Path

import jax
import pytest
from flax import nnx

from cervix_jax import distributed
from cervix_jax.config.base import base_config, parse_arg
from cervix_jax.data.augment import parse_settings
from cervix_jax.errors import InputError
from cervix_jax.models.build import build_model
from cervix_jax.training.run import check_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARGS = ("", "sipakmed/single_cell", "sipakmed/multi_cell,recipe=paper")
CASES = [(path, arg) for path in CONFIGS if path.stem != "transfer_herlev" for arg in ARGS]
CASES += [(CONFIGS[0].with_name("transfer_herlev.py"), arg) for arg in ("", "resnet50")]


@pytest.mark.parametrize(("path", "arg"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_every_config_makes_a_valid_run(path, arg):
    config = load(path).get_config(arg)
    check_config(config, distributed.make_mesh())
    parse_settings(config.augment.to_dict())
    model = nnx.eval_shape(lambda: build_model(config, 5))
    image = jax.ShapeDtypeStruct((2, config.image_size, config.image_size, 3), "float32")
    logits, _ = jax.eval_shape(lambda m, x: m(x, rngs=nnx.Rngs(dropout=0)), model, image)
    assert logits.shape == (2, 5)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_header_shows_the_command(path):
    assert f"--config=configs/{path.name}" in load(path).__doc__


def test_paper_recipe_is_the_papers():
    config = load(CONFIGS[0].with_name("rcan.py")).get_config("sipakmed/multi_cell,recipe=paper")
    assert config.data.dataset == "sipakmed/multi_cell"
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
