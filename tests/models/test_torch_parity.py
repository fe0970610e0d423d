import jax
import numpy as np
import pytest
from flax import nnx

from cervix_jax import models
from cervix_jax.models.weights.names import canonical_names, torch_name
from cervix_jax.models.weights.port import load_torch_state_dict

torch = pytest.importorskip("torch")
torch_twins = pytest.importorskip("torch_twins")

pytestmark = pytest.mark.torch
LARGE = ("ran92",)


def numpy_state(twin):
    return {name: value.numpy().copy() for name, value in twin.state_dict().items()}


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def assert_parity(name, size):
    """Equal logits in both modes of BatchNorm, and equal running statistics after training."""
    torch.set_num_threads(2)
    twin = torch_twins.make(name, 5)
    model = models.create(name, num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0)
    load_torch_state_dict(model, numpy_state(twin))
    images = np.random.default_rng(0).normal(size=(3, *size, 3)).astype(np.float32)
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    @jax.jit
    def run(model, images):
        logits, _ = model(images)
        return logits, nnx.state(model, nnx.BatchStat)

    with torch.no_grad():
        evaluated, trained = twin.eval()(batch).numpy(), twin.train()(batch).numpy()
    model.eval()
    assert relative_error(np.asarray(run(model, images)[0]), evaluated) < 1e-4
    model.train()
    logits, statistics = run(model, images)
    assert relative_error(np.asarray(logits), trained) < 1e-4
    state = numpy_state(twin)
    names = canonical_names(state)
    expected = {names[key]: value for key, value in state.items()}
    for path, ours in nnx.to_flat_state(statistics):
        theirs = expected[torch_name(path)]
        np.testing.assert_allclose(ours[...], theirs, rtol=1e-4, atol=1e-5, err_msg=str(path))


@pytest.mark.slow
@pytest.mark.parametrize("name", models.NAMES)
def test_random_weights_at_64_pixels(name):
    assert_parity(name, (64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (160, 128)], ids=["224", "160x128"])
@pytest.mark.parametrize("name", [name for name in models.NAMES if name not in LARGE])
def test_random_weights_at_the_papers_size_and_at_an_odd_one(name, size):
    assert_parity(name, size)
