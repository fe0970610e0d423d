import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cervix_jax.config.base import base_config
from cervix_jax.config.fields import OPTIMIZERS
from cervix_jax.errors import InputError
from cervix_jax.training import optim


def make_config(**optimizer):
    config = base_config("sipakmed/single_cell")
    config.optimizer.update(optimizer)
    return config


def test_cosine_warms_up_peaks_and_falls_to_its_final_share():
    config = make_config(warmup_epochs=2.0, final_share=0.1)
    schedule = optim.make_schedule(config, steps_per_epoch=10, num_steps=100)
    rates = np.array([schedule(step) for step in range(101)])
    assert rates.argmax() == 20
    np.testing.assert_allclose(rates[20], config.learning_rate, rtol=1e-6)
    np.testing.assert_allclose(rates[100], 0.1 * config.learning_rate, rtol=1e-5)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[0] > 0, "the first step must not be lost"


def test_constant_schedule_of_the_paper():
    config = base_config("sipakmed/multi_cell,recipe=paper")
    schedule = optim.make_schedule(config, 42, 2100)
    assert float(schedule(0)) == float(schedule(2099)) == 1e-3


def test_warm_up_longer_than_the_run_is_cut():
    schedule = optim.make_schedule(make_config(warmup_epochs=50.0), 10, 30)
    assert np.isfinite([float(schedule(step)) for step in range(31)]).all()


def test_the_table_of_learning_rates_is_the_schedule():
    schedule = optim.make_schedule(make_config(warmup_epochs=2.0), 3, 12)
    table = optim.learning_rates(schedule, 12)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, [float(schedule(step)) for step in range(12)], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adamw", lambda rate: optax.adamw(rate, weight_decay=0.1, mask=optim.decays)),
        ("sgd", lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True)),
    ],
)
def test_a_rate_given_at_each_step_equals_optax_with_a_schedule(name, reference):
    decay = 0.1 if name == "adamw" else 0.0
    optimizer = optim.make_optimizer(make_config(name=name, weight_decay=decay, clip_norm=0.0))
    schedule = optax.linear_schedule(0.1, 0.01, 5)
    theirs = reference(schedule)
    params = others = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    state, other_state = optimizer.init(params), theirs.init(params)
    for step in range(5):
        updates, state = optimizer.update(params, state, params, learning_rate=schedule(step))
        params = optax.apply_updates(params, updates)
        updates, other_state = theirs.update(others, other_state, others)
        others = optax.apply_updates(others, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, others)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_descend_and_decay_kernels_only(name):
    config = make_config(name=name, weight_decay=0.1, clip_norm=0.0)
    optimizer = optim.make_optimizer(config)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    state = optimizer.init(params)
    updates, _ = optimizer.update(zero, state, params, learning_rate=0.05)
    assert (np.asarray(updates["kernel"]) < 0).all()
    assert (np.asarray(updates["bias"]) == 0).all()

    def loss(p):
        return sum(jnp.square(value).sum() for value in p.values())

    for _ in range(20):
        updates, state = optimizer.update(params, state, params, learning_rate=0.05)
        params = optax.apply_updates(params, updates)
    assert loss(params) < 6


def test_clipping_bounds_the_gradient():
    config = make_config(name="sgd", weight_decay=0.0, momentum=0.0, clip_norm=1.0)
    optimizer = optim.make_optimizer(config)
    params = {"kernel": jnp.zeros((1, 2))}
    gradient = {"kernel": jnp.array([[30.0, 40.0]])}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params, learning_rate=1.0)
    np.testing.assert_allclose(updates["kernel"], [[-0.6, -0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("name", optim.make_optimizer),
        ("schedule", lambda c: optim.make_schedule(c, 1, 2)),
    ],
)
def test_unknown_names_are_bad_input(field, make):
    with pytest.raises(InputError, match=f"optimizer.{field}='magic'"):
        make(make_config(**{field: "magic"}))


def transfer_params():
    return {
        "conv1": {"kernel": jnp.ones((2, 2))},
        "layer2": {0: {"conv1": {"kernel": jnp.ones((2, 2))}}},
        "fc": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_freezing_moves_only_the_head_until_it_ends(name):
    config = make_config(name=name, weight_decay=0.1, freeze_epochs=1.5)
    optimizer = optim.make_optimizer(config)
    params = transfer_params()
    state = optimizer.init(params)
    for step in range(5):
        updates, state = optimizer.update(
            params, state, params, learning_rate=0.01, head_only=np.bool_(step < 3)
        )
        moves = {k: any(u.any() for u in jax.tree.leaves(v)) for k, v in updates.items()}
        assert moves == {"conv1": step >= 3, "layer2": step >= 3, "fc": True}


def test_unfreezing_starts_without_a_jump():
    config = make_config(weight_decay=0.0, freeze_epochs=50.0)
    optimizer = optim.make_optimizer(config)
    params = transfer_params()
    state = optimizer.init(params)
    for step in range(60):
        updates, state = optimizer.update(
            params, state, params, learning_rate=0.01, head_only=np.bool_(step < 50)
        )
        if step >= 50:
            np.testing.assert_allclose(updates["conv1"]["kernel"], -0.01, rtol=1e-3)


def test_layer_decay_scales_each_stage():
    config = make_config(weight_decay=0.0, layer_decay=0.5)
    optimizer = optim.make_optimizer(config)
    params = transfer_params()
    updates, _ = optimizer.update(params, optimizer.init(params), params, learning_rate=0.01)
    sizes = [updates["fc"]["bias"], updates["layer2"][0]["conv1"]["kernel"]]
    sizes.append(updates["conv1"]["kernel"])
    for size, factor in zip(sizes, (1, 0.5**3, 0.5**5), strict=True):
        np.testing.assert_allclose(size, -0.01 * factor, rtol=1e-3)
