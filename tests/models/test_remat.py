import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from selection import few

from cervix_jax import models


def kept_for_the_backward_pass(name, remat):
    """Bytes of what a training step at 64 pixels keeps between its two halves."""
    model = nnx.eval_shape(
        lambda: models.create(name, num_classes=5, rngs=nnx.Rngs(0), remat=remat, dropout_rate=0.0)
    )
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def pull_back(params, stats, images):
        def loss(params):
            return nnx.merge(graphdef, params, stats)(images)[0].sum()

        return jax.vjp(loss, params)[1]

    images = jax.ShapeDtypeStruct((8, 64, 64, 3), jnp.float32)
    kept = jax.tree.leaves(jax.eval_shape(pull_back, params, stats, images))
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    return 4 * (sum(leaf.size for leaf in kept) - weights)


@pytest.mark.parametrize("name", few(["resnet50", "densenet121", "efficientnet_lite0"], 0))
def test_remat_keeps_less(name):
    assert kept_for_the_backward_pass(name, True) < 0.5 * kept_for_the_backward_pass(name, False)
