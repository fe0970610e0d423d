import numpy as np

from cervix_jax.explanations.selection import choose

LABELS = np.repeat([0, 1, 2], [10, 6, 4])
RIGHT = np.ones(20, bool)
RIGHT[[0, 1, 12]] = False  # two errors of class 0, one of class 1


def test_classes_and_outcomes_take_turns():
    found = choose(LABELS, RIGHT, 5)
    assert LABELS[found].tolist() == [0, 1, 2, 0, 1]
    assert RIGHT[found].tolist() == [True, True, True, False, False]
    longer = choose(LABELS, RIGHT, 9)
    assert longer[:5].tolist() == found.tolist()
    assert (~RIGHT[longer]).sum() == 3  # all errors, before right ones follow
    np.testing.assert_array_equal(np.bincount(LABELS[longer]), [4, 3, 2])


def test_every_image_occurs_once_when_all_are_asked_for():
    for count in (20, 99):
        assert sorted(choose(LABELS, RIGHT, count)) == list(range(20))
    assert choose(LABELS, RIGHT, 0).tolist() == []


def test_the_seed_decides_within_a_stratum():
    first = choose(LABELS, RIGHT, 6, seed=1)
    assert choose(LABELS, RIGHT, 6, seed=1).tolist() == first.tolist()
    others = [choose(LABELS, RIGHT, 6, seed=seed).tolist() for seed in range(2, 6)]
    assert any(other != first.tolist() for other in others)


def test_without_outcomes_only_classes_take_turns():
    assert LABELS[choose(LABELS, None, 6)].tolist() == [0, 1, 2, 0, 1, 2]


def test_by_confidence_errors_come_surest_first_and_right_ones_from_both_ends():
    labels = np.array([0, 0, 0, 1, 1, 2, 1, 2, 0, 0])
    right = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], bool)
    confidence = np.array([0.9, 0.6, 0.8, 0.7, 0.95, 0.5, 0.99, 0.55, 0.4, 0.6])
    found = choose(labels, right, 10, confidence=confidence).tolist()
    # In turn the right ones of 0, 1 and 2, then their errors.
    assert found == [0, 4, 5, 9, 6, 7, 1, 3, 8, 2]
    assert choose(labels, right, 4, confidence=confidence).tolist() == found[:4]
