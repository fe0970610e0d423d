import jax
import numpy as np
import pytest
from flax import nnx

from cervix_jax import models
from cervix_jax.models.port import load_torch_state_dict

torch = pytest.importorskip("torch")
torch_twins = pytest.importorskip("torch_twins")

pytestmark = pytest.mark.torch


def numpy_state(twin):
    return {name: value.numpy().copy() for name, value in twin.state_dict().items()}


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("name", models.NAMES)
def test_logits_and_statistics_equal_those_of_the_torch_twin(name):
    torch.set_num_threads(2)
    twin = torch_twins.make(name, 5)
    state = numpy_state(twin)
    model = models.create(name, num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0)
    load_torch_state_dict(model, state)
    images = np.random.default_rng(0).normal(size=(4, 96, 64, 3)).astype(np.float32)
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
    nnx.update(model, statistics)
    copy = models.create(name, num_classes=5, rngs=nnx.Rngs(1), dropout_rate=0.0)
    load_torch_state_dict(copy, numpy_state(twin))
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5),
        nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)),
        nnx.to_pure_dict(nnx.state(copy, nnx.BatchStat)),
    )
