import jax
import numpy as np
import pytest

from cervix_jax.export.program import PLATFORMS, classify, named_weights, portable, trace

SIDE = 32


@pytest.fixture(scope="module")
def program(two_forms):
    return trace(portable(two_forms))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_any_number_of_images(program, two_forms, count):
    found = program.call(named_weights(two_forms), images(count))
    assert (found.shape, found.dtype) == ((count, 3), np.float32)
    expected = two_forms.predict(images(count))
    assert np.ptp(expected, axis=0).max() > 1e-3 or count == 1, "the images tell nothing apart"
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_both_forms_of_every_layer_agree(two_forms):
    run = portable(two_forms)
    weights = named_weights(run)
    ours, general = (jax.jit(classify(run, platform)) for platform in ("cpu", "tpu"))
    np.testing.assert_allclose(
        ours(weights, images(3)), general(weights, images(3)), rtol=1e-5, atol=1e-6
    )
    grouped, pooled = "feature_group_count = 8", "stablehlo.reduce_window"
    texts = [function.lower(weights, images(3)).as_text() for function in (ours, general)]
    assert [(grouped in text, pooled in text) for text in texts] == [(False, False), (True, True)]


def test_each_platform_has_its_form(program, two_forms):
    assert program.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    run = portable(two_forms)
    for platform in PLATFORMS:
        alone = str(trace(run, [platform]).mlir_module())
        assert ("feature_group_count = 8" in alone) == (platform != "cpu")
    together = str(program.mlir_module())
    assert "feature_group_count = 8" in together
    products = [line for line in together.splitlines() if "dot_general %" in line]
    assert products
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_source_files_are_not_in_the_program(program, two_forms):
    before = jax.config.jax_traceback_in_locations_limit
    content = bytes(program.serialize())
    assert b".py" not in content
    assert bytes(trace(portable(two_forms)).serialize()) == content, "not the same twice"
    assert jax.config.jax_traceback_in_locations_limit == before != 0


def test_arithmetic_is_settled_where_the_run_leaves_it_open(two_forms):
    assert two_forms.config.model.dtype == "auto"
    run = portable(two_forms)
    assert run.config.model.dtype == "float32"
    assert two_forms.config.model.dtype == "auto", "the run itself was changed"
    half = portable(two_forms)
    half.config.model.dtype = "bfloat16"
    assert portable(half).config.model.dtype == "bfloat16"
    assert portable(half).model.dtype == np.dtype("bfloat16")


def test_weights_are_named(two_forms):
    weights = named_weights(two_forms)
    assert weights["params.depthwise.kernel"].shape == (5, 5, 1, 8)
    np.testing.assert_array_equal(
        weights["stats.norm.var"], two_forms.variables["stats"]["norm"]["var"]
    )
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
