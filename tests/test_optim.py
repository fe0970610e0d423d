import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cervix_jax import optim
from cervix_jax.base_config import base_config
from cervix_jax.errors import InputError


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


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_optimisers_descend_and_decay_kernels_only(name):
    config = make_config(name=name, weight_decay=0.1, clip_norm=0.0)
    optimizer = optim.make_optimizer(config, lambda step: 0.05)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    state = optimizer.init(params)
    updates, _ = optimizer.update(zero, state, params)
    assert (np.asarray(updates["kernel"]) < 0).all()
    assert (np.asarray(updates["bias"]) == 0).all()

    def loss(p):
        return sum(jnp.square(value).sum() for value in p.values())

    for _ in range(20):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < 6


def test_clipping_bounds_the_gradient():
    config = make_config(name="sgd", weight_decay=0.0, momentum=0.0, clip_norm=1.0)
    optimizer = optim.make_optimizer(config, lambda step: 1.0)
    params = {"kernel": jnp.zeros((1, 2))}
    updates, _ = optimizer.update(
        {"kernel": jnp.array([[30.0, 40.0]])}, optimizer.init(params), params
    )
    np.testing.assert_allclose(updates["kernel"], [[-0.6, -0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("name", lambda c: optim.make_optimizer(c, lambda step: 1.0)),
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


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_freezing_moves_only_the_head_until_it_ends(name):
    config = make_config(name=name, weight_decay=0.1, freeze_epochs=1.5)
    optimizer = optim.make_optimizer(config, lambda step: 0.01, steps_per_epoch=2)
    params = transfer_params()
    state = optimizer.init(params)
    for step in range(5):
        updates, state = optimizer.update(params, state, params)
        moves = {k: any(u.any() for u in jax.tree.leaves(v)) for k, v in updates.items()}
        assert moves == {"conv1": step >= 3, "layer2": step >= 3, "fc": True}


def test_unfreezing_starts_without_a_jump():
    config = make_config(weight_decay=0.0, freeze_epochs=50.0)
    optimizer = optim.make_optimizer(config, lambda step: 0.01)
    params = transfer_params()
    state = optimizer.init(params)
    for step in range(60):
        updates, state = optimizer.update(params, state, params)
        if step >= 50:
            np.testing.assert_allclose(updates["conv1"]["kernel"], -0.01, rtol=1e-3)


def test_layer_decay_scales_each_stage():
    config = make_config(weight_decay=0.0, layer_decay=0.5)
    optimizer = optim.make_optimizer(config, lambda step: 0.01)
    params = transfer_params()
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    sizes = [updates["fc"]["bias"], updates["layer2"][0]["conv1"]["kernel"]]
    sizes.append(updates["conv1"]["kernel"])
    for size, factor in zip(sizes, (1, 0.5**3, 0.5**5), strict=True):
        np.testing.assert_allclose(size, -0.01 * factor, rtol=1e-3)
