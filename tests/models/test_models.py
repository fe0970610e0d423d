import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import few

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models import densenet, layers, resnet

RESNET_LIKE = [(16, 256), (8, 512), (4, 1024), (2, 2048)]
DENSENET_LIKE = [(16, 256), (8, 512), (4, 1024), (2, 1024)]
CASES = {
    "resnet50": ("resnet50", {}, 23_518_277, RESNET_LIKE, {}),
    "densenet121": ("densenet121", {}, 6_958_981, DENSENET_LIKE, {}),
    "rcan": ("rcan", {}, 6_959_143, DENSENET_LIKE, {"denseblock4": (32,)}),
    "rcan_blocks": (
        "rcan",
        {"attention": "blocks"},
        # Two 3x3 convolutions with bias and one gate for each width of a block.
        6_958_981
        + sum(
            2 * (9 * c * c + c) + 2 * c * (c // 16) + c // 16 + c for c in (256, 512, 1024, 1024)
        ),
        DENSENET_LIKE,
        {f"denseblock{i}": (c,) for i, c in enumerate((256, 512, 1024, 1024), 1)},
    ),
    "ran92": (
        "ran92",
        {},
        83_195_589,
        RESNET_LIKE,
        {
            "stage1_1": (16, 16, 256),
            "stage2_1": (8, 8, 512),
            "stage2_2": (8, 8, 512),
            "stage3_1": (4, 4, 1024),
            "stage3_2": (4, 4, 1024),
            "stage3_3": (4, 4, 1024),
        },
    ),
}


def count(module):
    return sum(p.size for p in jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.Param))))


@functools.cache
def abstract(case):
    name, options, *_ = CASES[case]
    return nnx.eval_shape(
        lambda: models.create(name, num_classes=5, rngs=nnx.Rngs(0), **options),
    )


@functools.cache
def small(case, dtype="float32"):
    """The same code with one layer a stage, quick to compile; ran92 has no such form."""
    fixed = {"num_classes": 5, "blocks": (1, 1, 1, 1), "dtype": jnp.dtype(dtype)}
    model = {
        "resnet50": lambda: resnet.ResNet(**fixed),
        "densenet121": lambda: densenet.DenseNet(**fixed),
        "rcan": lambda: densenet.DenseNet(attention="last_layer", dropout_rate=0.5, **fixed),
        "rcan_blocks": lambda: densenet.DenseNet(attention="blocks", dropout_rate=0.5, **fixed),
    }[case]()
    layers.initialise(model, jax.random.key(0))
    if case == "rcan":
        # Else both hidden units of the gate may be off for the few images of a test.
        model.features.denseblock4.attention.squeeze.bias.set_value(jnp.ones(2))
    return model


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def forward(graphdef, training, state, images, key):
    model = nnx.merge(graphdef, state)
    model.train() if training else model.eval()
    logits, out = model(images, rngs=nnx.Rngs(dropout=key))
    return logits, out, nnx.to_pure_dict(nnx.state(model))


def run(model, images, *, training=False, seed=0):
    graphdef, state = nnx.split(model)
    return forward(graphdef, training, nnx.to_pure_dict(state), images, jax.random.key(seed))


@pytest.mark.parametrize("case", CASES)
def test_number_of_parameters(case):
    assert count(abstract(case)) == CASES[case][2]


def test_number_of_parameters_of_each_part_of_ran92():
    model = abstract("ran92")
    parts = {
        "conv1": 9_536,
        "residual_block1": 74_112,
        "attention_module1": 1_763_328,
        "residual_block2": 377_856,
        "attention_module2": 5_406_208,
        "attention_module2_2": 5_406_208,
        "residual_block3": 1_509_376,
        "attention_module3": 15_095_808,
        "attention_module3_2": 15_095_808,
        "attention_module3_3": 15_095_808,
        "residual_block4": 6_033_408,
        "residual_block5": 8_656_896,
        "residual_block6": 8_656_896,
        "norm": 4_096,
        "fc": 10_245,
    }
    assert {name: count(getattr(model, name)) for name in parts} == parts
    assert sum(parts.values()) == count(model)


@pytest.mark.parametrize("case", CASES)
def test_outputs_have_the_promised_names_shapes_and_types(case):
    *_, stages, attention = CASES[case]
    batch = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    logits, out = jax.eval_shape(
        lambda model, x: model(x, rngs=nnx.Rngs(dropout=0)), abstract(case), batch
    )
    size, channels = stages[-1]
    expected = {f"stage{i}": (2, s, s, c) for i, (s, c) in enumerate(stages, 1)}
    expected |= {"stem": (2, 16, 16, 64), "pre_logits": (2, channels)}
    expected |= {"pre_logits_2d": (2, size, size, channels)}
    expected |= {f"attention/{block}": (2, *shape) for block, shape in attention.items()}
    assert {key: value.shape for key, value in out.items()} == expected
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)


@pytest.mark.parametrize("case", CASES)
def test_state_holds_parameters_and_statistics_only(case):
    _, parameters, rest = nnx.split(abstract(case), nnx.Param, ...)
    assert {type(leaf) for _, leaf in nnx.to_flat_state(rest)} == {nnx.BatchStat}
    leaves = jax.tree.leaves(nnx.to_pure_dict(parameters))
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("case", "path"),
    [
        ("resnet50", ("layer1", 0, "conv1", "kernel")),
        ("resnet50", ("layer2", 0, "downsample", 1, "scale")),
        ("densenet121", ("features", "denseblock1", "denselayer1", "norm1", "scale")),
        ("densenet121", ("features", "transition3", "conv", "kernel")),
        ("rcan", ("features", "denseblock4", "attention", "squeeze", "bias")),
        ("rcan_blocks", ("features", "rcab2", "attention", "excite", "kernel")),
        ("ran92", ("attention_module1", "trunk_branches", 1, "conv3", "kernel")),
    ],
)
def test_paths_of_the_state_are_stable(case, path):
    state = nnx.to_pure_dict(nnx.state(abstract(case), nnx.Param))
    for key in path:
        state = state[key]
    assert isinstance(state, jax.ShapeDtypeStruct)


@settings(max_examples=8)
@given(
    case=st.sampled_from(list(CASES)),
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(64, 300), st.integers(64, 300)),
)
@pytest.mark.slow
def test_any_size_from_64_pixels_has_the_same_outputs(case, batch, size):
    shape = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
    logits, out = jax.eval_shape(
        lambda model, x: model(x, rngs=nnx.Rngs(dropout=0)), abstract(case), shape
    )
    assert logits.shape == (batch, 5)
    assert {f"stage{i}" for i in range(1, 5)} < out.keys()


@pytest.mark.parametrize("case", few(["resnet50", "densenet121", "rcan", "rcan_blocks"], 1))
@pytest.mark.slow
def test_training_step_of_a_small_form(case):
    model, batch = small(case), images(2, 64, 96)
    graphdef, parameters, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def step(parameters, rest, key):
        def loss(parameters):
            model = nnx.merge(graphdef, parameters, rest)
            model.train()
            logits, out = model(batch, rngs=nnx.Rngs(dropout=key))
            statistics = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
            return jnp.square(logits).sum(), (logits, out, statistics)

        return jax.value_and_grad(loss, has_aux=True)(parameters)

    start = nnx.to_pure_dict(rest)
    (_, (logits, out, statistics)), gradients = step(
        nnx.to_pure_dict(parameters), start, jax.random.key(0)
    )
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0, path
    changed = jax.tree.map(lambda old, new: np.abs(old - new).max() > 0, start, statistics)
    assert all(jax.tree.leaves(changed))
    for name, value in out.items():
        assert np.isfinite(value).all()
        if name.startswith("attention/"):
            assert value.min() > 0
            assert value.max() < 1
    evaluated, *_, state = run(model, batch)
    assert np.abs(evaluated - logits).max() > 1e-3
    unchanged = nnx.to_pure_dict(nnx.state(model))
    jax.tree.map(np.testing.assert_array_equal, state, unchanged)


@pytest.mark.parametrize("case", few(["resnet50", "rcan"], 0))
def test_jit_changes_nothing_and_the_head_continues_from_the_last_features(case):
    model, batch = small(case), images(2, 64, 64)
    logits, out, _ = run(model, batch)
    model.eval()
    eager, eager_out = model(batch)
    np.testing.assert_allclose(eager, logits, rtol=1e-4, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), eager_out, out
    )
    np.testing.assert_allclose(model.head(out["pre_logits_2d"]), logits, rtol=1e-5, atol=1e-6)
    model.train()


def test_dropout_follows_the_key_of_the_call():
    model, batch = small("rcan"), images(2, 64, 64)
    first, again, other = (run(model, batch, training=True, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    with pytest.raises(InputError, match="rngs="):
        model.head(jnp.ones((1, 2, 2, model.features.channels)))


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
    batch = images(2, 64, 64)
    logits, out, state = run(small("rcan", "bfloat16"), batch, training=True, seed=3)
    exact, *_ = run(small("rcan"), batch, training=True, seed=3)
    assert out["stage4"].dtype == jnp.bfloat16
    assert (logits.dtype, out["pre_logits"].dtype) == (jnp.float32, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype("float32")}
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()
    assert np.abs(logits - exact).max() > 0


def test_residual_channel_attention_blocks_start_near_the_identity():
    batch = images(2, 64, 64)
    plain, with_blocks = small("densenet121"), small("rcan_blocks")
    nnx.update(with_blocks, nnx.state(plain))
    ours, theirs = run(with_blocks, batch)[0], run(plain, batch)[0]
    assert 0 < np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()


@pytest.mark.slow
def test_create_is_deterministic_and_draws_the_promised_spread():
    def kernels(seed):
        model = models.create("densenet121", num_classes=3, rngs=nnx.Rngs(seed))
        layer = model.features.denseblock1.denselayer1
        return layer.conv2.kernel[...], model.classifier.kernel[...]

    first, other = kernels(0), kernels(1)
    jax.tree.map(np.testing.assert_array_equal, first, kernels(0))
    assert all(np.abs(a - b).max() > 0 for a, b in zip(first, other, strict=True))
    assert np.std(first[0]) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert np.abs(first[1]).max() == pytest.approx(1 / 32, rel=0.01)


def test_parameters_drawn_under_jit_are_the_same():
    def draw(key):
        model = densenet.DenseNet(num_classes=3, blocks=(1, 1, 1, 1))
        layers.initialise(model, key)
        return nnx.to_pure_dict(nnx.state(model, nnx.Param))

    key = jax.random.key(0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), jax.jit(draw)(key), draw(key)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "densnet121"}, "did you mean 'densenet121'"),
        ({"name": "vgg"}, "resnet50, densenet121, rcan, ran92"),
        ({"name": "rcan", "atention": "blocks"}, "did you mean 'attention'"),
        ({"name": "densenet121", "attention": "blocks"}, "no option 'attention'"),
        ({"name": "rcan", "attention": "spatial"}, "last_layer"),
        ({"name": "rcan", "dropout_rate": 1.0}, "dropout_rate"),
        ({"name": "rcan", "num_classes": 0}, "num_classes"),
        ({"name": "rcan", "dtype": "int8"}, "bfloat16"),
    ],
)
def test_create_refuses_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        models.create(**{"num_classes": 5, "rngs": nnx.Rngs(0)} | arguments)


@pytest.mark.parametrize(
    ("case", "batch", "message"),
    [
        ("resnet50", np.zeros((2, 64, 64, 1), np.float32), "height, width, 3"),
        ("resnet50", np.zeros((64, 64, 3), np.float32), "height, width, 3"),
        ("resnet50", np.zeros((2, 64, 64, 3), np.uint8), "normalise"),
        ("densenet121", np.zeros((2, 31, 64, 3), np.float32), "at least 32 x 32"),
        ("ran92", np.zeros((2, 64, 63, 3), np.float32), "at least 64 x 64"),
    ],
)
def test_models_refuse_bad_images(case, batch, message):
    with pytest.raises(InputError, match=message):
        abstract(case)(batch)
