import jax
import numpy as np
import pytest

from cervix_jax import distributed, load_run
from cervix_jax.config.base import base_config
from cervix_jax.data.augment import parse_settings
from cervix_jax.data.experiment import open_data
from cervix_jax.training.run import train_and_evaluate
from cervix_jax.training.step import RunInputs, init_state, make_train_step

CLASSES = 5


def plain(tiny_config, **changes):
    """No randomness but the seed's, so that what is computed in two ways can be compared."""
    config = tiny_config()
    config.model.dropout = 0.0
    config.augment.update({name: 0.0 for name, v in config.augment.items() if isinstance(v, float)})
    config.augment.update({"flip": False, "rot90": False})
    config.update_from_flattened_dict(changes)
    return config


def make_inputs(seed=0, class_weights=(1.0,) * CLASSES, head_only_steps=0):
    rates = np.full(10, 1e-3, np.float32)
    return RunInputs(seed, rates, head_only_steps, np.asarray(class_weights, np.float32))


def make_batch(size=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, 32, 32, 3), np.uint8)
    return {"image": images, "label": np.arange(size, dtype=np.int32) % CLASSES}


def run(config, batch, inputs, steps=1):
    mesh = distributed.make_mesh()
    graphdef, state = init_state(config, CLASSES, mesh)
    step = make_train_step(graphdef, config, CLASSES, mesh)
    for number in range(steps):
        state = step(state, batch, inputs.at(number))
    return jax.tree.map(np.asarray, state)


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_runs_that_differ_in_seed_fold_and_schedule_share_one_program(tiny_config):
    mesh, steps = distributed.make_mesh(), []
    for seed, fold in [(0, 0), (1, 3)]:
        config = tiny_config()
        config.seed, config.split.fold, config.learning_rate = seed, fold, 1e-3 * (seed + 1)
        config.num_epochs += seed
        graphdef, _ = init_state(config, CLASSES, mesh)
        steps.append(make_train_step(graphdef, config, CLASSES, mesh))
    assert steps[0] is steps[1]
    config.model.dropout = 0.5
    assert make_train_step(init_state(config, CLASSES, mesh)[0], config, CLASSES, mesh) != steps[0]


@pytest.mark.slow
def test_the_seed_decides_weights_and_augmentation(tiny_config):
    config = tiny_config()
    same = [run(config, make_batch(), make_inputs(seed=1)) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *same)
    augmented = run(config, make_batch(), make_inputs(seed=2))
    assert augmented["metrics"].loss.compute() != same[0]["metrics"].loss.compute()
    config.seed = 5
    drawn = run(config, make_batch(), make_inputs(seed=1))
    kernels = [s["params"]["features"]["conv0"]["kernel"] for s in (drawn, same[0])]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


@pytest.mark.slow
def test_accumulation_of_equal_parts_is_the_whole_batch(tiny_config):
    half = make_batch(4)
    batch = {name: np.repeat(value, 2, axis=0) for name, value in half.items()}  # a a b b c c d d
    whole = run(plain(tiny_config, **{"optimizer.name": "sgd"}), batch, make_inputs())
    parts = run(
        plain(tiny_config, accumulation_steps=2, **{"optimizer.name": "sgd"}), batch, make_inputs()
    )
    assert_close(parts["params"], whole["params"], atol=1e-6)
    np.testing.assert_allclose(
        parts["metrics"].loss.compute(), whole["metrics"].loss.compute(), rtol=1e-5
    )
    assert parts["metrics"].accuracy.compute() == whole["metrics"].accuracy.compute()
    # Each part moves the running statistics, so they get further than by one whole batch.
    before = run(plain(tiny_config), batch, make_inputs(), steps=0)["stats"]
    moved = [
        np.abs(state["stats"]["features"]["norm0"]["mean"] - before["features"]["norm0"]["mean"])
        for state in (whole, parts)
    ]
    np.testing.assert_allclose(moved[1], 1.9 * moved[0], rtol=1e-3)


@pytest.mark.slow
def test_remat_gives_the_same_step(tiny_config):
    plainly, remat = (
        run(
            plain(tiny_config, **{"model.remat": remat, "optimizer.name": "sgd"}),
            make_batch(),
            make_inputs(),
        )
        for remat in (False, True)
    )
    assert_close(remat["params"], plainly["params"], atol=1e-5)
    assert_close(remat["stats"], plainly["stats"], atol=1e-5)


@pytest.mark.slow
def test_an_update_that_is_not_finite_is_left_out_and_counted(tiny_config):
    config = tiny_config()
    fine, broken = make_inputs(), make_inputs(class_weights=[np.nan] * CLASSES)
    mesh = distributed.make_mesh()
    graphdef, state = init_state(config, CLASSES, mesh)
    step = make_train_step(graphdef, config, CLASSES, mesh)
    counts = []
    for number, inputs in enumerate([fine, broken, broken, fine, broken]):
        before = jax.tree.map(np.asarray, state)
        state = step(state, make_batch(), inputs.at(number))
        after = jax.tree.map(np.asarray, state)
        kept = {name: before[name] for name in before if name not in ("step", "nonfinite")}
        if inputs is broken:
            jax.tree.map(np.testing.assert_array_equal, kept, {name: after[name] for name in kept})
        else:
            assert not np.array_equal(
                before["params"]["classifier"]["kernel"], after["params"]["classifier"]["kernel"]
            )
        assert after["step"] == number + 1
        counts.append({name: int(value) for name, value in after["nonfinite"].items()})
    assert counts[-1] == {"total": 3, "current": 1, "longest": 2}
    assert counts[0] == {"total": 0, "current": 0, "longest": 0}


@pytest.mark.slow
@pytest.mark.parametrize("head_only_steps", [0, 3])
def test_only_the_head_learns_as_long_as_the_run_says(tiny_config, head_only_steps):
    config = plain(tiny_config, **{"optimizer.freeze_epochs": 1.0})
    before = run(config, make_batch(), make_inputs(), steps=0)["params"]
    inputs = make_inputs(head_only_steps=head_only_steps)
    after = run(config, make_batch(), inputs, steps=2)["params"]
    body = np.abs(after["features"]["conv0"]["kernel"] - before["features"]["conv0"]["kernel"])
    head = np.abs(after["classifier"]["kernel"] - before["classifier"]["kernel"])
    assert head.max() > 0
    assert (body.max() == 0) == (head_only_steps > 0)


@pytest.mark.slow
def test_bfloat16_keeps_parameters_statistics_and_loss_in_float32(tiny_config):
    exact, half = (
        run(plain(tiny_config, **{"model.dtype": dtype}), make_batch(), make_inputs(), steps=2)
        for dtype in ("float32", "bfloat16")
    )
    dtypes = {
        leaf.dtype for name in ("params", "stats", "ema") for leaf in jax.tree.leaves(half[name])
    }
    assert dtypes == {np.dtype(np.float32)}
    losses = [state["metrics"].loss.compute() for state in (half, exact)]
    assert half["metrics"].loss.total.dtype == np.float32
    assert 0 < abs(losses[0] - losses[1]) < 0.05 * losses[1]


@pytest.mark.slow
def test_training_turns_whole_fields_and_evaluation_sees_their_centres(tiny_config, tmp_path):
    """The margin is in training batches alone: the report is that of the run opened later."""
    config = tiny_config()
    config.data.dataset, config.data.resize = "cervix_phantom/multi_cell", "crop"
    config.augment = base_config("cervix_phantom/multi_cell,recipe=paper").augment
    config.num_epochs = 1
    margin = parse_settings(config.augment.to_dict()).margin(32, "crop")
    assert margin == 6
    data = open_data(config, progress=False)
    batch = next(data.pipeline.train_batches(data.indices("train"), 8, seed=0))
    assert batch["image"].shape == (8, 32 + 2 * margin, 32 + 2 * margin, 3)
    report = train_and_evaluate(config, tmp_path, data)
    run = load_run(tmp_path)
    own = run.open_data()
    indices = own.indices("test")
    assert own.pipeline.images(indices).shape[1:3] == (32, 32)
    np.testing.assert_array_equal(own.pipeline.images(indices), data.pipeline.images(indices))
    found = run.predict(own.pipeline.images(indices)).argmax(1)
    assert report["accuracy"] == np.mean(found == np.asarray(own.dataset.labels)[indices])
