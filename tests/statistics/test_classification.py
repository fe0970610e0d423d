import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from cervix_jax.statistics.classification import classification_report
from cervix_jax.statistics.intervals import wilson_interval
from cervix_jax.training.metrics import LoopMetrics


def test_wilson_interval_of_the_paper():
    """92 of 101, by the closed form of Wilson (1927)."""
    n, p, z = 101, 92 / 101, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    np.testing.assert_allclose(wilson_interval(92, 101), [centre - half, centre + half], atol=1e-9)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**31))
@settings(max_examples=40)
def test_report_agrees_with_counting(n, num_classes, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, n)
    probabilities = random.dirichlet(np.ones(num_classes), n)
    report = classification_report(labels, probabilities, tuple("abcdefg"[:num_classes]))
    predicted = probabilities.argmax(-1)
    matrix = np.asarray(report["confusion_matrix"])
    assert matrix.sum() == report["n"] == n
    assert report["accuracy"] == pytest.approx(np.trace(matrix) / n)
    assert report["balanced_accuracy"] == pytest.approx(
        np.mean([np.mean(predicted[labels == c] == c) for c in np.unique(labels)])
    )
    for index, row in enumerate(report["per_class"].values()):
        assert row["support"] == matrix[index].sum()
        assert row["recall"] == pytest.approx(matrix[index, index] / max(matrix[index].sum(), 1))
        assert row["precision"] == pytest.approx(
            matrix[index, index] / max(matrix[:, index].sum(), 1)
        )
    low, high = report["accuracy_interval"]
    assert 0 <= low <= report["accuracy"] <= high <= 1


def test_balanced_accuracy_is_that_of_scikit_learn():
    labels, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0])
    report = classification_report(labels, np.eye(3)[predicted], ("a", "b", "c"))
    assert report["balanced_accuracy"] == balanced_accuracy_score(labels, predicted)


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
