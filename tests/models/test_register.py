import sys

import jax.numpy as jnp
import pytest
from flax import nnx
from installed import install

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.resnet import ResNet

PLUGIN = """
from cervix_jax.models.resnet import ResNet

def narrow(*, dropout_rate=0.0, **fixed):
    return ResNet(dropout_rate=dropout_rate, **fixed)
"""


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(models, "_FACTORIES", dict(models._FACTORIES))


def narrow(*, dropout_rate: float = 0.0, **fixed) -> ResNet:
    return ResNet(dropout_rate=dropout_rate, **fixed)


def make(name: str, **options):
    return nnx.eval_shape(
        lambda: models.create(name, num_classes=3, rngs=nnx.Rngs(0), dtype="bfloat16", **options)
    )


def test_registered_network_is_created_with_its_options():
    models.register("narrow", narrow)
    model = make("narrow", dropout_rate=0.25)
    assert (model.num_classes, model.dtype, model.dropout.rate) == (3, jnp.bfloat16, 0.25)
    assert "narrow" in models.known_names()
    assert "narrow" not in models.NAMES
    with pytest.raises(InputError, match="no option 'attention'"):
        make("narrow", attention="head")


def test_class_is_a_factory_too():
    class Narrow(ResNet):
        def __init__(self, *, num_classes: int, dtype, dropout_rate: float = 0.0):
            super().__init__(num_classes=num_classes, dtype=dtype, dropout_rate=dropout_rate)

    models.register("narrow", Narrow)
    assert make("narrow", dropout_rate=0.25).dropout.rate == 0.25
    with pytest.raises(InputError, match=r"no option 'depth'; it takes dropout_rate\n"):
        make("narrow", depth=3)


def test_unknown_name_lists_what_is_registered():
    models.register("narrow", narrow)
    with pytest.raises(InputError, match=r"did you mean 'narrow'.*resnet50.*narrow"):
        make("narow")


def test_own_names_cannot_be_taken():
    with pytest.raises(InputError, match="'rcan' is taken"):
        models.register("rcan", narrow)


@pytest.mark.parametrize(
    ("factory", "missing"),
    [
        (lambda **fixed: None, "dropout_rate"),
        (lambda dropout_rate=0.0, **fixed: None, "dropout_rate"),
        (lambda *, dropout_rate=0.0, dtype=None: None, "num_classes"),
    ],
)
def test_factory_that_training_cannot_call(factory, missing):
    with pytest.raises(InputError, match=missing):
        models.register("narrow", factory)


def test_installed_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    install(monkeypatch, tmp_path, "plugin-networks", PLUGIN, models={"plugged": "narrow"})
    assert "plugged" in models.known_names()
    assert "plugin_networks" not in sys.modules  # nothing is imported before it is asked for
    assert make("plugged").num_classes == 3


@pytest.mark.parametrize(
    ("name", "source", "target", "message"),
    [
        (
            "rcan",
            PLUGIN,
            "narrow",
            "model 'rcan': cervix_jax has one of this name, and the installed package "
            "plugin-networks 1.0 offers another",
        ),
        (
            "plugged",
            "import nothing_like_it",
            "narrow",
            "model 'plugged' of the installed package plugin-networks 1.0: importing "
            "plugin_networks:narrow fails (ModuleNotFoundError: No module named 'nothing_like_it')",
        ),
        ("plugged", PLUGIN, "wide", "plugin_networks:wide fails (AttributeError: module"),
        (
            "plugged",
            "def narrow(): pass",
            "narrow",
            "of the installed package plugin-networks 1.0: model 'plugged': its factory takes no "
            "keyword-only dropout_rate, dtype, num_classes",
        ),
        ("plugged", "narrow = 3", "narrow", "plugin-networks 1.0: model 'plugged': 3 cannot be"),
    ],
)
def test_installed_package_that_cannot_be_used_is_named(
    tmp_path, monkeypatch, name, source, target, message
):
    install(monkeypatch, tmp_path, "plugin-networks", source, models={name: target})
    with pytest.raises(InputError) as error:
        make(name)
    assert message in str(error.value)


def test_two_packages_that_offer_one_name_are_both_named(tmp_path, monkeypatch):
    install(monkeypatch, tmp_path / "a", "plugin-networks", PLUGIN, models={"plugged": "narrow"})
    install(monkeypatch, tmp_path / "b", "more-networks", PLUGIN, models={"plugged": "narrow"})
    with pytest.raises(InputError, match=r"more-networks 1\.0 and plugin-networks 1\.0 both"):
        make("plugged")
    models.register("plugged", narrow)  # what a program registers itself counts
    assert make("plugged").num_classes == 3
