"""Groups of mixed classes and of one class are groups of the same cells."""

from pathlib import Path

import numpy as np
import pytest

from cervix_jax.errors import InputError


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_as_many_of_each_class_are_drawn():
    from adaptation_groups import drawn

    labels = np.repeat([2, 0, 1], [9, 7, 30])
    found = drawn(labels, 4, seed=0)
    assert labels[found].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(set(found.tolist())) == 12
    np.testing.assert_array_equal(found, drawn(labels, 4, seed=0))
    assert not np.array_equal(found, drawn(labels, 4, seed=1))
    with pytest.raises(InputError, match="only 7"):
        drawn(labels, 8, seed=0)


def test_each_group_is_adapted_to_itself(monkeypatch):
    import adaptation_groups

    class Network:
        """Calls everything the class that most of its batch statistics' images have."""

        majority = -1

        def logits(self, images, batch_size):
            assert len(images) == batch_size == 2
            return np.eye(3)[np.full(len(images), self.majority)]

    def adapted(run, images):
        del run
        network = Network()
        network.majority = int(images[0, 0, 0, 0])
        return network

    monkeypatch.setattr(adaptation_groups, "adapted", adapted)
    labels = np.array([0, 0, 1, 1, 2, 2])
    squares = labels.astype(np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    right = adaptation_groups.called_right
    assert right(Network(), squares, labels, np.arange(6), 2) == 6
    assert right(Network(), squares, labels, np.array([0, 2, 1, 4, 3, 5]), 2) == 3
