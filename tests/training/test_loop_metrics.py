import jax.numpy as jnp

from cervix_jax.training.metrics import LoopMetrics


def test_loop_metrics_add_up_over_batches():
    logits = jnp.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [0.0, 3.0]])
    labels = jnp.array([0, 1, 1, 1])
    total = LoopMetrics.empty()
    for part in (slice(0, 2), slice(2, 4)):
        total = total.merge(
            LoopMetrics.single_from_model_output(
                loss=jnp.float32(part.start), logits=logits[part], labels=labels[part]
            )
        )
    values = total.compute()
    assert float(values["accuracy"]) == 0.75
    assert float(values["loss"]) == 1.0
