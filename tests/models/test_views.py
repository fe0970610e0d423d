"""Networks that see several squares of an image, which lie side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small import Small, small

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.layers import BatchNorm, Linear

IMAGES = np.random.default_rng(0).normal(size=(3, 32, 64, 3)).astype(np.float32)
LEFT, RIGHT = IMAGES[:, :, :32], IMAGES[:, :, 32:]


@pytest.fixture(scope="module", autouse=True)
def registered():
    models.register("small", small)


def both(name="small", **options):
    """A network of one view, and the same of two, in evaluation."""
    one = models.create(name, num_classes=5, dropout_rate=0.0, **options)
    two = models.create(
        name, num_classes=5, dropout_rate=0.0, views=2, rngs=nnx.Rngs(1),
        weights={"params": nnx.to_pure_dict(nnx.state(one, nnx.Param)),
                 "stats": nnx.to_pure_dict(nnx.state(one, nnx.BatchStat))},
        **options,
    )  # fmt: skip
    one.eval(), two.eval()
    return one, two


@pytest.mark.parametrize("name", ["small", pytest.param("rcan", marks=pytest.mark.slow)])
def test_each_square_has_the_features_that_it_has_alone(name):
    one, two = both(name)
    alone = [one(jnp.asarray(square))[1] for square in (LEFT, RIGHT)]
    logits, out = two(jnp.asarray(IMAGES))
    assert out.keys() == alone[0].keys()
    for key, value in out.items():
        parts = [of[key] for of in alone]
        if key == "pre_logits":
            expected = np.concatenate(parts, axis=1)
        elif value.ndim == 4:
            expected = np.concatenate(parts, axis=2)
        else:  # gates of channels
            expected = np.mean(parts, axis=0)
        np.testing.assert_allclose(value, expected, atol=2e-5, err_msg=key)
    kernel, bias = two.linear.kernel[...], two.linear.bias[...]
    np.testing.assert_allclose(logits, out["pre_logits"] @ kernel + bias, atol=1e-5)
    np.testing.assert_allclose(two.head(out["pre_logits_2d"]), logits, atol=1e-6)


def test_all_but_the_classifier_comes_from_a_network_of_one_view():
    one, two = both()
    assert one.linear.kernel.shape == (16, 5)
    assert two.linear.kernel.shape == (32, 5)
    single, double = (dict(nnx.to_flat_state(nnx.state(model))) for model in (one, two))
    assert single.keys() == double.keys()
    for path in single.keys() - {("classifier", "kernel"), ("classifier", "bias")}:
        np.testing.assert_array_equal(single[path][...], double[path][...])


def test_the_gradient_to_a_feature_map_is_that_of_its_square():
    _, two = both()
    graphdef, state = nnx.split(two)

    def score(perturbation):
        model = nnx.merge(graphdef, state)
        return model(jnp.asarray(IMAGES), perturbations={"pre_logits_2d": perturbation})[0][
            :, 0
        ].sum()

    shape = two(jnp.asarray(IMAGES))[1]["pre_logits_2d"].shape
    found = jax.grad(score)(jnp.zeros(shape))
    kernel = np.asarray(two.linear.kernel[...])[:, 0] / (shape[1] * shape[2] // 2)
    np.testing.assert_allclose(
        found[:, :, : shape[2] // 2], np.broadcast_to(kernel[:16], (3, 4, 4, 16)), atol=1e-6
    )
    np.testing.assert_allclose(
        found[:, :, shape[2] // 2 :], np.broadcast_to(kernel[16:], (3, 4, 4, 16)), atol=1e-6
    )


def test_groups_of_normalisation_hold_whole_images():
    model = models.create("small", num_classes=5, views=2, norm_groups=3)
    norms = [module for _, module in nnx.iter_modules(model) if isinstance(module, BatchNorm)]
    assert [norm.norm_groups for norm in norms] == [6, 6]
    assert model.norm_groups == 3
    whole = models.create("small", num_classes=5, views=2)
    squares = np.concatenate([IMAGES, IMAGES])  # two groups alike
    np.testing.assert_allclose(
        model(jnp.asarray(squares))[0], whole(jnp.asarray(squares))[0], atol=1e-5
    )


class Nested(Small):
    """Its classifier lies deeper."""

    def __init__(self, **options):
        super().__init__(**options)
        self.top = nnx.List([self.classifier])
        del self.classifier

    @property
    def linear(self) -> Linear:
        return self.top[0]


def test_bad_input():
    def nested(*, dropout_rate: float = 0.0, **fixed) -> Nested:
        return Nested(dropout_rate=dropout_rate, **fixed)

    models.register("nested", nested)
    with pytest.raises(InputError, match=r"nested: does not support 2 squares per image"):
        models.create("nested", num_classes=5, views=2)
    with pytest.raises(InputError, match="views"):
        models.create("small", num_classes=5, views=0)
    _, two = both()
    with pytest.raises(InputError, match=r"32 x 65 pixels; .* a multiple of 2"):
        two(jnp.asarray(np.pad(IMAGES, ((0, 0), (0, 0), (0, 1), (0, 0)))))
    with pytest.raises(InputError, match=r"at least 32 x 64"):
        two(jnp.asarray(IMAGES[:, :, :32]))
