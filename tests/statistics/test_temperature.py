import numpy as np
import pytest
from random_tables import random_table
from scipy.special import log_softmax

from cervix_jax.statistics.table import PredictionTable
from cervix_jax.statistics.temperature import fit_temperature, scaled


def calibrated(seed, n, temperature):
    """Labels drawn from softmax(logits / temperature), which is then the right temperature."""
    random = np.random.default_rng(seed)
    logits = 4 * random.normal(size=(n, 3))
    p = np.exp(log_softmax(logits, axis=1))
    true = np.exp(log_softmax(logits / temperature, axis=1))
    labels = (true.cumsum(1) > random.random((n, 1))).argmax(1)
    names = tuple(str(i) for i in range(n))
    return PredictionTable(names, np.asarray(names), labels, p, ("a", "b", "c"), logits)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_right_temperature_is_found(temperature):
    fitted = fit_temperature(calibrated(0, 20_000, temperature))
    assert fitted.value == pytest.approx(temperature, rel=0.05)
    assert (fitted.problem, fitted.n) == ("", 20_000)


def test_it_is_the_best_of_a_grid():
    table = random_table(3)

    def nll(t):
        return -np.log(scaled(table, t).probabilities[np.arange(60), table.labels]).mean()

    grid = np.geomspace(0.05, 20, 4001)
    best = grid[np.argmin([nll(t) for t in grid])]
    assert fit_temperature(table).value == pytest.approx(best, rel=2e-3)


def test_probabilities_serve_as_well_as_logits():
    table = random_table(4)
    without = table.with_probabilities(table.probabilities)
    assert without.logits is None
    assert fit_temperature(without).value == pytest.approx(fit_temperature(table).value, rel=1e-5)
    np.testing.assert_allclose(scaled(without, 1.7).probabilities, scaled(table, 1.7).probabilities)


def test_scaling_keeps_the_order_of_classes_and_one_changes_nothing():
    table = random_table(5)
    assert (scaled(table, 3.0).predicted == table.predicted).all()
    np.testing.assert_allclose(scaled(table, 1.0).probabilities, table.probabilities)
    np.testing.assert_allclose(scaled(table, 20.0).probabilities.sum(1), 1)
    assert scaled(table, 2.0).probabilities.max() < table.probabilities.max()


def test_nothing_but_right_answers_set_no_limit():
    table = random_table(6)
    perfect = np.eye(3)[table.labels] * 0.9 + 0.1 / 3
    fitted = fit_temperature(table.with_probabilities(perfect))
    assert fitted.value == 1
    assert "every validation prediction is right" in fitted.problem


def test_worse_than_guessing_goes_to_the_bound():
    table = random_table(6)
    wrong = 0.9 * np.eye(3)[(table.labels + 1) % 3] + 0.1 / 3
    fitted = fit_temperature(table.with_probabilities(wrong))
    assert fitted.value == pytest.approx(20, rel=0.01)
    assert "bound" in fitted.problem


def test_probabilities_of_zero_are_not_infinite():
    table = random_table(7).with_probabilities(np.tile([1.0, 0.0, 0.0], (60, 1)))
    assert np.isfinite(scaled(table, fit_temperature(table).value).probabilities).all()
