import numpy as np
import pytest
from flax import nnx

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.weights.names import canonical_name, canonical_names, torch_name
from cervix_jax.models.weights.port import load_torch_state_dict


def create(name="densenet121", num_classes=5, seed=0, **options):
    return models.create(name, num_classes=num_classes, rngs=nnx.Rngs(seed), **options)


def to_torch(model):
    """The state dict that torch would hold for `model`."""
    state = {}
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        value = np.asarray(leaf[...])
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        state[torch_name(path)] = value
        if path[-1] == "mean":
            state[".".join([*map(str, path[:-1]), "num_batches_tracked"])] = np.int64(7)
    return state


def assert_equal(model, other, *, but=()):
    pairs = zip(
        nnx.to_flat_state(nnx.state(model)), nnx.to_flat_state(nnx.state(other)), strict=True
    )
    for (path, ours), (_, theirs) in pairs:
        equal = np.array_equal(ours[...], theirs[...])
        assert equal != any(name in path for name in but), path


@pytest.fixture(scope="module")
def source():
    model = create(seed=1)
    model.features.norm5.mean.set_value(np.arange(1024, dtype=np.float32))
    return model


@pytest.fixture(scope="module")
def state_dict(source):
    return to_torch(source)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("layer1", 0, "downsample", 1, "scale"), "layer1.0.downsample.1.weight"),
        (("layer4", 2, "bn3", "var"), "layer4.2.bn3.running_var"),
        (("features", "norm0", "mean"), "features.norm0.running_mean"),
        (("fc", "bias"), "fc.bias"),
    ],
)
def test_torch_names(path, name):
    assert torch_name(path) == name


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (
            "module.features.denseblock2.denselayer11.norm.1.running_var",
            "features.denseblock2.denselayer11.norm1.running_var",
        ),
        (
            "features.denseblock4.denselayer16.0.conv2.weight",
            "features.denseblock4.denselayer16.conv2.weight",
        ),
        (
            "features.denseblock4.denselayer16.1.conv_du.2.bias",
            "features.denseblock4.attention.excite.bias",
        ),
        ("classifier.1.weight", "classifier.weight"),
        ("attention_module1.softmax3_blocks.1.bn1.weight", "attention_module1.up.2.bn1.weight"),
        (
            "attention_module2_2.softmax3_blocks.conv1.weight",
            "attention_module2_2.up.0.conv1.weight",
        ),
        ("attention_module3.softmax2_blocks.5.weight", "attention_module3.mask.conv2.weight"),
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
    ],
)
def test_other_spellings(name, canonical):
    assert canonical_name(name) == canonical


def test_a_block_of_efficientnet_is_found_by_the_depth_of_its_network():
    fourth, last = "module._blocks.4._bn0.weight", "_blocks.20._bn0.weight"
    assert canonical_names([fourth])[fourth] == "blocks.2.1.bn1.weight"
    assert canonical_names([fourth, last]) == {
        fourth: "blocks.2.0.bn1.weight", last: "blocks.6.0.bn1.weight"
    }  # fmt: skip


def test_every_value_arrives_whatever_the_spelling(source, state_dict):
    old = {
        f"module.{name.replace('.norm1.', '.norm.1.').replace('.conv2.', '.conv.2.')}": value
        for name, value in state_dict.items()
    }
    assert sum(".norm.1." in name for name in old) > 100
    model = create()
    load_torch_state_dict(model, old)
    assert_equal(model, source)


def test_all_mismatches_are_told_at_once_and_nothing_changes(state_dict):
    model, same = create(num_classes=7), create(num_classes=7)
    broken = dict(state_dict)
    del broken["features.conv0.weight"]
    broken["features.extra.weight"] = np.zeros(3, np.float32)
    broken["features.norm0.bias"] = np.full(64, np.nan, np.float32)
    with pytest.raises(InputError) as raised:
        load_torch_state_dict(model, broken)
    message = str(raised.value)
    for part in (
        "1 missing (features.conv0.weight)",
        "1 unexpected (features.extra.weight)",
        "2 of another shape (classifier.bias (5,), not (7,), classifier.weight (1024, 5)",
        "1 not finite numbers (features.norm0.bias)",
        "replace_head=True",
    ):
        assert part in message
    assert "\n" not in message
    assert_equal(model, same)


def test_long_lists_are_cut(state_dict):
    with pytest.raises(InputError, match=r"\d+ missing .*and \d+ more.*unexpected"):
        load_torch_state_dict(create("resnet50"), state_dict)


def test_replace_head_keeps_the_new_classifier(source, state_dict):
    model = create(num_classes=7)
    before = np.asarray(model.classifier.kernel[...])
    load_torch_state_dict(model, state_dict, replace_head=True)
    np.testing.assert_array_equal(model.classifier.kernel[...], before)
    np.testing.assert_array_equal(
        model.features.conv0.kernel[...], source.features.conv0.kernel[...]
    )
    incomplete = {n: v for n, v in state_dict.items() if n != "features.norm5.bias"}
    with pytest.raises(InputError, match=r"missing \(features.norm5.bias\)"):
        load_torch_state_dict(model, incomplete, replace_head=True)


def test_transfer_to_rcan_keeps_its_new_attention(source, state_dict):
    model = create("rcan")
    load_torch_state_dict(model, state_dict, replace_head=True)
    np.testing.assert_array_equal(model.features.norm5.mean[...], source.features.norm5.mean[...])
    with pytest.raises(InputError, match="4 missing"):
        load_torch_state_dict(model, state_dict)


@pytest.mark.slow
def test_a_network_is_created_with_weights_in_one_call(source, state_dict, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **state_dict)
    assert_equal(models.create("densenet121", num_classes=5, weights=path), source)
    assert_equal(models.create("densenet121", num_classes=5, weights=state_dict), source)
    _, params, stats = nnx.split(source, nnx.Param, ...)
    variables = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
    assert_equal(models.create("densenet121", num_classes=5, weights=variables), source)
    other = models.create("densenet121", num_classes=7, rngs=nnx.Rngs(3), weights=state_dict)
    np.testing.assert_array_equal(
        other.classifier.kernel[...], create(num_classes=7, seed=3).classifier.kernel[...]
    )
    with pytest.raises(InputError, match="do not fit ResNet"):
        models.create("resnet50", num_classes=5, weights=state_dict)
    with pytest.raises(InputError, match="no such file of weights"):
        models.create("densenet121", num_classes=5, weights="absent.pth")
